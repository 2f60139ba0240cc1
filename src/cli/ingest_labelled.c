/* ragd ingest --labelled: a file of labelled questions becomes a set, in the folder or at the server that holds it. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli/ingest_int.h"
#include "pipeline/labelled.h"
#include "sys/clock.h"
#include "sys/file.h"

enum { SEND_TIMEOUT_MS = 60000 };

struct stored { /* what became of the file; the collection is the file's own where it names one */
    uint32_t questions;
    char collection[LABELLED_NAME_MAX + 1];
};

static enum labelled_form form_of(const char *path)
{
    size_t n = strlen(path);
    return n > 5 && strcmp(path + n - 5, ".json") == 0 ? LABELLED_JSON : LABELLED_LINES;
}

static rag_code put_local(const struct cli_house *h, const char *name, const char *collection, enum labelled_form form,
                          struct str body, struct stored *out, struct rag_err *err)
{
    struct arena a = {0};
    struct labelled_set set;
    struct str json;
    bool created;
    rag_code rc = labelled_parse(form, body, str_of(collection), clock_unix_ms(), &a, &set, &json, err);
    if (!rc)
        rc = labelled_put(h->cfg.data, str_of(name), json, &created, err);
    if (!rc) {
        out->questions = set.questions;
        snprintf(out->collection, sizeof out->collection, "%.*s", (int)set.collection.len, set.collection.ptr);
    }
    arena_clear(&a);
    return rc;
}

static rag_code put_remote(const struct cli_house *h, const char *name, const char *collection, enum labelled_form form,
                           struct str body, struct stored *out, struct rag_err *err)
{
    struct http_client *c = NULL;
    struct http_reply reply;
    char url[256], why[400];
    http_reply_init(&reply);
    snprintf(url, sizeof url, "/v1/labelled/%s?collection=%s", name, collection);
    rag_code rc = http_client_new(h->holder.address, h->holder.token, &c);
    if (!rc)
        rc = http_client_send(c, "PUT", url, form == LABELLED_JSON ? "application/json" : "application/x-ndjson", body,
                              SEND_TIMEOUT_MS, &reply, err);
    if (!rc && reply.status >= 300) {
        cli_reply_message(&reply, why, sizeof why);
        rc = rag_err_set(err, RAG_EINVAL, "%s", why);
    }
    json_t *o = rc ? NULL : json_loadb(reply.body.ptr, reply.body.len, 0, NULL);
    const char *in = json_string_value(json_object_get(o, "collection"));
    out->questions = (uint32_t)json_integer_value(json_object_get(o, "questions"));
    snprintf(out->collection, sizeof out->collection, "%s", in ? in : "");
    json_decref(o);
    http_client_free(c);
    http_reply_clear(&reply);
    return rc;
}

int ingest_labelled(const struct cli_house *h, const char *name, const char *collection, const char *path, bool json)
{
    struct buf body;
    struct rag_err err = {0};
    struct stored stored = {0};
    buf_init(&body, MEM_MISC);
    rag_code rc = file_read_all(path, LABELLED_MAX_BYTES, &body, &err);
    if (!rc)
        rc = (h->remote ? put_remote : put_local)(h, name, collection, form_of(path), buf_str(&body), &stored, &err);
    buf_clear(&body);
    if (rc)
        return cli_fail(EXIT_FAIL, "ingest: %s: %s", path, ingest_reason(rc, &err));
    if (json)
        printf("{\"name\":\"%s\",\"collection\":\"%s\",\"questions\":%u}\n", name, stored.collection, stored.questions);
    else
        printf("%u labelled questions in the set %s\n", stored.questions, name);
    return EXIT_OK;
}
