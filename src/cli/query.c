/* One path for both cases: without a server, the command serves the folder to itself for this one request, on a
 * loopback port that only its own random token opens. So answer, checks and errors are the server's. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/server.h"
#include "cli/cli.h"

enum { QUERY_TIMEOUT_MS = 120000 };

struct self_server {
    struct api_key key;
    struct pipeline pipeline;
    struct open_llm llm;
    struct history *history;
    struct api *api;
    char url[64];
};

static int self_serve(struct cli_house *h, struct self_server *s)
{
    struct rag_err err = {0};
    struct history_options ho = {.dir = h->cfg.data, .keep_days = h->cfg.history_days};
    rag_code rc = cli_resolve_keys("query", &h->cfg);
    if (rc)
        return EXIT_FAIL;
    if (h->cfg.history_enabled)
        rc = history_open(&ho, &s->history, &err);
    if (!rc)
        rc = open_llm(&h->cfg, NULL, &s->llm, &err);
    if (rc)
        return cli_fail(EXIT_FAIL, "query: %s", err.msg[0] ? err.msg : rag_code_name(rc));
    s->pipeline = open_pipeline(&h->cfg, h->analyzer, &h->models, h->knowledge, s->llm.llm);
    s->key = (struct api_key){.name = "local", .secret = h->lock.token, .scopes = SCOPE_ADMIN};
    struct api_options opt = {.host = "127.0.0.1",
                              .pipeline = &s->pipeline,
                              .history = s->history,
                              .keys = &s->key,
                              .n_keys = 1,
                              .io_threads = 1,
                              .workers = 1,
                              .question_threads = 1,
                              .max_concurrent_queries = 4,
                              .max_connections = 16};
    rc = api_start(&opt, &s->api, &err);
    if (rc)
        return cli_fail(EXIT_FAIL, "query: %s", err.msg[0] ? err.msg : rag_code_name(rc));
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%u", (unsigned)api_port(s->api));
    return -1;
}

/* ---- output -------------------------------------------------------------------------------------------- */
static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static void print_citation(const json_t *c)
{
    const char *title = text_of(c, "title");
    printf("  [%lld] %s", (long long)json_integer_value(json_object_get(c, "n")),
           *title ? title : text_of(c, "document_id"));
    size_t i;
    json_t *h;
    json_array_foreach(json_object_get(c, "heading_path"), i,
                       h) if (i || strcmp(json_string_value(h), title) != 0)
        printf(" > %s", json_string_value(h));
    long long page = (long long)json_integer_value(json_object_get(c, "page"));
    if (page)
        printf(", page %lld", page);
    printf("\n      %s, version %lld, characters %lld to %lld\n", text_of(c, "document_id"),
           (long long)json_integer_value(json_object_get(c, "version")),
           (long long)json_integer_value(json_object_get(c, "start")),
           (long long)json_integer_value(json_object_get(c, "end")));
}

static void print_answer(const json_t *o, bool explain)
{
    printf("%s\n", text_of(o, "answer"));
    const json_t *citations = json_object_get(o, "citations");
    size_t i;
    json_t *c;
    if (json_array_size(citations))
        printf("\n");
    json_array_foreach(citations, i, c) print_citation(c);
    const char *model = text_of(o, "model"), *reason = text_of(o, "degraded_reason");
    if (*reason)
        printf("\nextract instead of a model's answer: %s", reason);
    else if (*model)
        printf("\nanswered by %s, ¥%.6f", model, json_number_value(json_object_get(o, "cost_cny")));
    printf("\nconfidence %.2f, %s question, %.1f ms\n", json_number_value(json_object_get(o, "confidence")),
           text_of(o, "complexity"),
           json_number_value(json_object_get(json_object_get(o, "timings_ms"), "total")));
    if (!explain)
        return;
    char *text = json_dumps(json_object_get(o, "explain"), JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    printf("\n%s\n\n", text ? text : "{}");
    free(text);
    json_array_foreach(json_object_get(o, "contexts"), i, c) printf(
        "%2zu. score %.3f  bm25 %.2f  %s\n", i + 1, json_number_value(json_object_get(c, "score")),
        json_number_value(json_object_get(json_object_get(c, "scores"), "bm25")), text_of(c, "chunk_id"));
}

static int show(const struct http_reply *r, bool explain, bool json)
{
    char why[512];
    if (r->status != 200) {
        cli_reply_message(r, why, sizeof why);
        return cli_fail(r->status == 400 ? EXIT_USAGE : EXIT_FAIL, "query: %s%s", why,
                        r->status == 404 ? ": fill it with ragd ingest or name another with --collection"
                                         : "");
    }
    if (json) {
        printf("%.*s\n", (int)r->body.len, r->body.ptr);
        return EXIT_OK;
    }
    json_t *o = json_loadb(r->body.ptr, r->body.len, 0, NULL);
    if (!o)
        return cli_fail(EXIT_FAIL, "query: the answer is no JSON: is another service listening there?");
    print_answer(o, explain);
    json_decref(o);
    return EXIT_OK;
}

static int ask(const char *url, const char *token, const char *collection, const char *text, bool explain,
               bool json)
{
    struct http_client *c = NULL;
    struct http_reply reply;
    struct rag_err err = {0};
    http_reply_init(&reply);
    json_t *body = json_pack("{s:s, s:b}", "query", text, "explain", explain);
    if (body && collection)
        json_object_set_new(body, "collection", json_string(collection));
    char *bytes = body ? json_dumps(body, JSON_COMPACT) : NULL;
    rag_code rc = bytes ? http_client_global_init() : RAG_EINVAL;
    if (!bytes)
        rag_err_set(&err, rc, "the question is not valid UTF-8");
    if (!rc)
        rc = http_client_new(url, token, &c);
    if (!rc)
        rc = http_client_send(c, "POST", "/v1/query", "application/json", str_of(bytes), QUERY_TIMEOUT_MS,
                              &reply, &err);
    int status = rc ? cli_fail(rc == RAG_EINVAL ? EXIT_USAGE : EXIT_FAIL, "query: %s",
                               err.msg[0] ? err.msg : rag_code_name(rc))
                    : show(&reply, explain, json);
    http_client_free(c);
    http_reply_clear(&reply);
    free(bytes);
    json_decref(body);
    return status;
}

/* The words of the command line as one question. */
static void join(struct buf *out, int n, char **words)
{
    for (int i = 0; i < n; i++)
        buf_addf(out, "%s%s", i ? " " : "", words[i]);
    buf_addc(out, 0);
}

int cmd_query(int argc, char **argv)
{
    struct cli_common common = {0};
    const char *collection = NULL;
    bool explain = false, json = false;
    const struct cli_option options[] = {CLI_COMMON_OPTIONS(&common),
                                         {"--collection", &collection, NULL},
                                         {"--explain", NULL, &explain},
                                         {"--json", NULL, &json},
                                         {0}};
    int n, status = cli_parse("query", argc, argv, options, &n);
    if (status >= 0)
        return status;
    struct buf text;
    buf_init(&text, MEM_MISC);
    join(&text, n, argv);
    struct cli_house house;
    if (n == 0 || str_trim(str_make(text.ptr, text.len - 1)).len == 0)
        status = cli_fail(EXIT_USAGE, "query: no question: ragd query 'what is the annual fee?'");
    else
        status = cli_house_open("query", &common, true, &house);
    if (status < 0) {
        struct self_server self = {0};
        if (!house.remote)
            status = self_serve(&house, &self);
        if (status < 0)
            status = ask(house.remote ? house.holder.address : self.url,
                         house.remote ? house.holder.token : house.lock.token, collection, text.ptr, explain,
                         json);
        api_stop(self.api, 1000);
        open_llm_close(&self.llm);
        history_close(self.history);
        cli_house_close(&house);
    }
    buf_clear(&text);
    return status;
}
