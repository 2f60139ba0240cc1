/* To the server that holds the folder: lines in batches, each file as an upload, all read by this process. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/ingest_int.h"
#include "wire/json_in.h"

enum { SEND_TIMEOUT_MS = 600000, MAX_RETRIES = 9 };

struct remote {
    struct ingest *in;
    struct http_client *client;
    struct http_reply reply;
    char url[128];
    struct buf body;             /* {"documents":[line,line */
    char paths[BATCH_ITEMS][32]; /* of the lines */
    struct batch_fill fill;
};

/* One document's result: {"status", "chunks"} or {"status":"failed","error"}. */
static void take_result(struct ingest *in, const char *path, const json_t *o, const char *otherwise)
{
    const char *status = json_string_value(json_object_get(o, "status"));
    const char *why = json_string_value(json_object_get(json_object_get(o, "error"), "message"));
    uint64_t chunks = (uint64_t)json_integer_value(json_object_get(o, "chunks"));
    if (status && strcmp(status, "added") == 0)
        ingest_succeeded(in, STORE_ADDED, chunks);
    else if (status && strcmp(status, "updated") == 0)
        ingest_succeeded(in, STORE_UPDATED, chunks);
    else if (status && strcmp(status, "unchanged") == 0)
        ingest_succeeded(in, STORE_UNCHANGED, chunks);
    else
        ingest_failed(in, path, why ? why : otherwise);
}

/* Sends until the answer is not 503: the server is at its limit and says how long to stay away (Retry-After), and
 * nothing is lost by asking again. What ends the wait lies in another process. */
static rag_code send_patiently(struct remote *r, const struct http_part *parts, uint32_t n_parts,
                               struct rag_err *err)
{
    rag_code rc;
    for (unsigned tries = 0;; tries++) {
        if (tries)
            sleep(r->reply.retry_after_s ? r->reply.retry_after_s : 1);
        rc = parts ? http_client_upload(r->client, r->url, parts, n_parts, SEND_TIMEOUT_MS, &r->reply, err)
                   : http_client_send(r->client, "POST", r->url, "application/json", buf_str(&r->body),
                                      SEND_TIMEOUT_MS, &r->reply, err);
        if (rc || r->reply.status != 503 || tries == MAX_RETRIES)
            return rc;
    }
}

static void reason_of(const struct remote *r, rag_code rc, const struct rag_err *err, char *why, size_t size)
{
    if (rc)
        snprintf(why, size, "%s", ingest_reason(rc, err));
    else
        cli_reply_message(&r->reply, why, size);
}

static void send_lines(void *worker)
{
    struct remote *r = worker;
    struct rag_err err = {0};
    char why[512];
    buf_addz(&r->body, "]}");
    rag_code rc = buf_failed(&r->body) ? RAG_ENOMEM : send_patiently(r, NULL, 0, &err);
    reason_of(r, rc, &err, why, sizeof why);
    json_t *o =
        !rc && r->reply.status == 200 ? json_loadb(r->reply.body.ptr, r->reply.body.len, 0, NULL) : NULL;
    const json_t *results = json_object_get(o, "results");
    for (uint32_t i = 0; i < r->fill.n; i++)
        take_result(r->in, r->paths[i], json_array_get(results, i), why);
    json_decref(o);
    r->fill = (struct batch_fill){0};
    buf_clear(&r->body);
}

/* Only whole JSON goes into a batch, so that a bad line is its own failure. */
static void add_line(struct remote *r, const struct item *item)
{
    struct rag_err err = {0};
    json_t *o = NULL;
    rag_code rc = json_in_parse(str_make(item->line, item->line_len), MAX_LINE, &o, &err);
    json_decref(o);
    if (rc) {
        ingest_failed(r->in, item->path, ingest_reason(rc, &err));
        return;
    }
    buf_addz(&r->body, r->fill.n ? "," : "{\"documents\":[");
    buf_add(&r->body, item->line, item->line_len);
    r->fill.bytes = r->body.len;
    snprintf(r->paths[r->fill.n++], sizeof r->paths[0], "%s", item->path);
}

static void send_file(struct remote *r, const struct item *item)
{
    struct ingest_file f;
    struct buf name;
    struct rag_err err = {0};
    char why[512];
    buf_init(&name, MEM_MISC);
    ingest_add_readable(&name, ingest_base_name(item->path));
    buf_addc(&name, 0);
    rag_code rc = ingest_file_read(r->in, item, &f, &err);
    if (!rc && buf_failed(&name))
        rc = RAG_ENOMEM;
    struct http_part parts[] = {{"id", NULL, buf_str(&f.id)},
                                {"source", NULL, buf_str(&f.source)},
                                {"file", name.ptr, buf_str(&f.bytes)}};
    if (!rc)
        rc = send_patiently(r, parts, 3, &err);
    reason_of(r, rc, &err, why, sizeof why);
    bool ok = !rc && (r->reply.status == 200 || r->reply.status == 201);
    json_t *o = ok ? json_loadb(r->reply.body.ptr, r->reply.body.len, 0, NULL) : NULL;
    take_result(r->in, item->path, o, why);
    json_decref(o);
    buf_clear(&name);
    ingest_file_clear(&f);
}

/* Files go at once, each a request of its own; lines wait in the batch. */
static void add_item(void *worker, const struct item *item)
{
    struct remote *r = worker;
    if (item->real_path)
        send_file(r, item);
    else
        add_line(r, item);
}

void ingest_remote_work(struct ingest *in)
{
    struct remote r = {.in = in};
    http_reply_init(&r.reply);
    buf_init(&r.body, MEM_MISC);
    snprintf(r.url, sizeof r.url, "/v1/collections/%s/documents", in->collection);
    if (http_client_new(in->house->holder.address, in->house->holder.token, &r.client))
        ingest_fail_all(in);
    else
        ingest_batches(in, &r.fill, &r, add_item, send_lines);
    http_reply_clear(&r.reply);
    buf_clear(&r.body);
    http_client_free(r.client);
}

int ingest_remote_create(struct ingest *in)
{
    struct http_client *c = NULL;
    struct http_reply reply;
    struct rag_err err = {0};
    char url[128], why[512];
    http_reply_init(&reply);
    snprintf(url, sizeof url, "/v1/collections/%s", in->collection);
    rag_code rc = http_client_new(in->house->holder.address, in->house->holder.token, &c);
    if (!rc)
        rc = http_client_send(c, "GET", url, NULL, str_make(NULL, 0), SEND_TIMEOUT_MS, &reply, &err);
    if (!rc && reply.status == 404)
        rc =
            http_client_send(c, "PUT", url, "application/json", STR_LIT("{}"), SEND_TIMEOUT_MS, &reply, &err);
    int status = -1;
    if (rc) {
        status = cli_fail(EXIT_FAIL, "ingest: %s: is the server still up?", ingest_reason(rc, &err));
    } else if (reply.status >= 300) {
        cli_reply_message(&reply, why, sizeof why);
        status = cli_fail(EXIT_FAIL, "ingest: collection %s: %s", in->collection, why);
    }
    http_client_free(c);
    http_reply_clear(&reply);
    return status;
}
