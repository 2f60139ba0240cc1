#include <stdio.h>
#include <stdlib.h>

#include "api/answer_json.h"
#include "api/api_int.h"
#include "api/request_json.h"
#include "wire/json_out.h"

enum { LIST_DEFAULT = 100, LIST_MAX = 1000 };

/* ---- helpers ------------------------------------------------------------------------------------------- */

static struct knowledge *knowledge_of(struct request *rq)
{
    return rq->api->opt.pipeline->knowledge;
}

static void no_collection(struct request *rq)
{
    reply_error(rq, 404, "collection_not_found", "collection", "there is no such collection");
}

/* Id of the collection in the path; 0: replied 403 or 404. */
static int64_t collection_id(struct request *rq)
{
    if (!auth_collection(rq, rq->path[2]))
        return 0;
    int64_t id = knowledge_collection_id(knowledge_of(rq), rq->path[2]);
    if (!id)
        no_collection(rq);
    return id;
}

/* limit and after of a paged list. False: replied 400. */
static bool page_args(struct request *rq, uint32_t *limit, struct str *after)
{
    static const char *const names[] = {"limit", "after"};
    struct str v[2];
    *limit = LIST_DEFAULT;
    if (!request_args(rq, names, v, 2))
        return false;
    if (v[0].ptr) {
        char *end;
        unsigned long n = strtoul(v[0].ptr, &end, 10);
        if (v[0].len == 0 || v[0].len > 4 || *end || v[0].ptr[0] < '0' || v[0].ptr[0] > '9' || n < 1 ||
            n > LIST_MAX) {
            reply_error(rq, 400, "invalid", "limit", "limit must be an integer from 1 to 1000");
            return false;
        }
        *limit = (uint32_t)n;
    }
    *after = v[1].ptr ? v[1] : (struct str){0};
    return true;
}

/* version=N; 0 when absent. False: replied 400. */
static bool version_arg(struct request *rq, uint32_t *version)
{
    static const char *const names[] = {"version"};
    struct str v;
    *version = 0;
    if (!request_args(rq, names, &v, 1))
        return false;
    if (!v.ptr)
        return true;
    char *end;
    unsigned long n = strtoul(v.ptr, &end, 10);
    if (v.len == 0 || v.len > 9 || *end || v.ptr[0] < '0' || v.ptr[0] > '9' || n < 1) {
        reply_error(rq, 400, "invalid", "version", "version must be a positive integer");
        return false;
    }
    *version = (uint32_t)n;
    return true;
}

/* ---- changes: a job for the writer, then a reply ---------------------------------------------------------- */

static void job_done(struct job *j)
{
    struct request *rq = j->ctx;
    request_resume(rq, rq->finish);
}

static void job_refused(struct request *rq)
{
    reply_error(rq, 503, "busy", NULL, "the writer's queue is full; try again");
}

static struct job *new_job(struct request *rq, enum job_kind kind)
{
    struct job *j = arena_zalloc(&rq->arena, sizeof *j);
    if (!j) {
        reply_error(rq, 503, "out_of_memory", NULL, "out of memory");
        return NULL;
    }
    j->kind = kind;
    j->collection = rq->path[2];
    rq->state = j;
    return j;
}

static void submit(struct request *rq, struct job *j, void (*reply)(struct request *rq))
{
    if (!request_suspend(rq))
        return;
    rq->finish = reply;
    j->done = job_done;
    j->ctx = rq;
    if (knowledge_submit(knowledge_of(rq), j))
        request_resume(rq, job_refused);
}

/* ---- collections ----------------------------------------------------------------------------------------- */

/* Chunks that have a vector of the configured model. */
static uint64_t count_vectors(const struct segment_list *l)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < l->n; i++) {
        const struct vector_block *b = l->e[i].vectors[0];
        n += b ? l->e[i].n_live - vector_block_missing(b, l->e[i].live) : 0;
    }
    return n;
}

static void add_collection(struct request *rq, const struct store_collection *c)
{
    const struct segment_list *l;
    struct buf *out = &rq->out;
    uint64_t docs = 0, chunks = 0, vectors = 0;
    if (!knowledge_pin(knowledge_of(rq), c->name, &l)) {
        docs = l->n_docs;
        chunks = l->n_chunks;
        vectors = count_vectors(l);
        knowledge_unpin(knowledge_of(rq));
    }
    json_add_open(out, '{');
    json_add_key(out, "name");
    json_add_string(out, c->name);
    json_add_key(out, "documents");
    json_add_u64(out, docs);
    json_add_key(out, "chunks");
    json_add_u64(out, chunks);
    json_add_key(out, "vectors");
    if (rq->api->opt.pipeline->encoders[0])
        json_add_u64(out, vectors);
    else
        json_add_null(out);
    json_add_key(out, "settings");
    json_add_raw(out, c->settings.len ? c->settings : STR_LIT("{}"));
    json_add_key(out, "created_at");
    json_add_time_ms(out, c->created_ms);
    json_add_close(out, '}');
}

/* All collections in the arena, by name. False: replied. */
static bool load_collections(struct request *rq, struct store_collection **c, uint32_t *n)
{
    struct store_reader *r;
    struct rag_err err = {0};
    rag_code rc = knowledge_reader(knowledge_of(rq), &r, &err);
    if (!rc) {
        rc = store_collections(r, &rq->arena, c, n, &err);
        knowledge_reader_give(knowledge_of(rq), r);
    }
    if (rc)
        reply_rc(rq, rc, &err, "store");
    return rc == RAG_OK;
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct store_collection *)a)->name, ((const struct store_collection *)b)->name);
}

static void add_next(struct buf *out, struct str last, bool more)
{
    json_add_key(out, "has_more");
    json_add_bool(out, more);
    json_add_key(out, "next");
    if (more)
        json_add_string(out, last);
    else
        json_add_null(out);
}

void route_collections(struct request *rq)
{
    struct store_collection *c;
    uint32_t n, limit, shown = 0, i;
    struct str after, last = {0};
    if (!page_args(rq, &limit, &after) || !load_collections(rq, &c, &n))
        return;
    qsort(c, n, sizeof *c, by_name);
    json_add_open(&rq->out, '{');
    json_add_key(&rq->out, "collections");
    json_add_open(&rq->out, '[');
    for (i = 0; i < n; i++) {
        if ((after.len && str_cmp(c[i].name, after) <= 0) || !auth_may_see(rq, c[i].name))
            continue;
        if (shown == limit)
            break;
        add_collection(rq, &c[i]);
        last = c[i].name;
        shown++;
    }
    json_add_close(&rq->out, ']');
    add_next(&rq->out, last, i < n);
    json_add_close(&rq->out, '}');
    reply_json(rq, 200);
}

static void reply_collection(struct request *rq, unsigned status)
{
    struct store_collection *c;
    uint32_t n;
    if (!load_collections(rq, &c, &n))
        return;
    for (uint32_t i = 0; i < n; i++)
        if (str_eq(c[i].name, rq->path[2])) {
            add_collection(rq, &c[i]);
            reply_json(rq, status);
            return;
        }
    no_collection(rq);
}

void route_collection_get(struct request *rq)
{
    if (collection_id(rq))
        reply_collection(rq, 200);
}

static void put_done(struct request *rq)
{
    struct job *j = rq->state;
    if (j->code)
        reply_rc(rq, j->code, &j->err, "store");
    else
        reply_collection(rq, j->created ? 201 : 200);
}

void route_collection_put(struct request *rq)
{
    struct rag_err err = {0};
    struct str settings;
    if (!collection_name_ok(rq->path[2])) {
        reply_error(rq, 400, "invalid", "collection", "a collection's name is 1 to 64 of A-Z a-z 0-9 _ . -");
        return;
    }
    if (!auth_collection(rq, rq->path[2]) || (rq->body.len && !request_is_json(rq)))
        return;
    rag_code rc =
        collection_from_json(buf_str(&rq->body), rq->api->opt.max_query_bytes, &rq->arena, &settings, &err);
    if (rc) {
        reply_rc(rq, rc, &err, "api");
        return;
    }
    struct job *j = new_job(rq, JOB_COLLECTION_SET);
    if (!j)
        return;
    j->settings = settings;
    submit(rq, j, put_done);
}

static void collection_deleted(struct request *rq)
{
    struct job *j = rq->state;
    if (j->code) {
        reply_rc(rq, j->code, &j->err, "store");
        return;
    }
    reply_deleted(rq);
}

void route_collection_delete(struct request *rq)
{
    if (!collection_id(rq))
        return;
    if (str_eqz(rq->path[2], "default")) {
        reply_error(rq, 409, "default_collection", "collection",
                    "the collection default always exists; delete its documents");
        return;
    }
    struct job *j = new_job(rq, JOB_COLLECTION_DELETE);
    if (j)
        submit(rq, j, collection_deleted);
}

/* ---- documents: reading ---------------------------------------------------------------------------------- */

static void add_document(struct buf *out, const struct store_document *d)
{
    json_add_key(out, "id");
    json_add_string(out, d->id);
    json_add_key(out, "version");
    json_add_u64(out, d->version);
    json_add_key(out, "title");
    json_add_string(out, d->title);
    json_add_key(out, "source");
    json_add_string(out, d->source);
    json_add_key(out, "metadata");
    json_add_raw(out, d->metadata.len ? d->metadata : STR_LIT("{}"));
    json_add_key(out, "created_at");
    json_add_time_ms(out, d->created_ms);
    json_add_key(out, "updated_at");
    json_add_time_ms(out, d->updated_ms);
}

/* Where the chunks of the current version lie in the text, in code points. */
static void add_chunk_spans(struct buf *out, const struct store_document *d)
{
    json_add_key(out, "chunk_spans");
    json_add_open(out, '[');
    for (uint32_t i = 0; i < d->n_chunks; i++) {
        const struct store_chunk *c = &d->chunks[i];
        json_add_open(out, '{');
        json_add_key(out, "start");
        json_add_u64(out, c->char_start);
        json_add_key(out, "end");
        json_add_u64(out, c->char_end);
        json_add_key(out, "heading_path");
        answer_json_heading_path(out, c->heading_path);
        if (c->page) {
            json_add_key(out, "page");
            json_add_u64(out, c->page);
        }
        json_add_close(out, '}');
    }
    json_add_close(out, ']');
}

/* One version with its text; text null when it is no longer kept. */
static void reply_document(struct request *rq, int64_t collection, uint32_t version)
{
    struct store_reader *r;
    struct store_document d = {0};
    struct rag_err err = {0};
    rag_code rc = knowledge_reader(knowledge_of(rq), &r, &err);
    if (!rc) {
        rc = store_get(r, collection, rq->path[4], version, &rq->arena, &d, &err);
        knowledge_reader_give(knowledge_of(rq), r);
    }
    if (rc == RAG_ENOTFOUND) {
        reply_error(rq, 404, version ? "version_not_found" : "document_not_found", version ? "version" : "id",
                    version ? "there is no such version of this document" : "there is no such document");
        return;
    }
    if (rc) {
        reply_rc(rq, rc, &err, "store");
        return;
    }
    json_add_open(&rq->out, '{');
    add_document(&rq->out, &d);
    if (d.n_chunks) {
        json_add_key(&rq->out, "chunks");
        json_add_u64(&rq->out, d.n_chunks);
        add_chunk_spans(&rq->out, &d);
    }
    json_add_key(&rq->out, "text");
    if (d.text.ptr)
        json_add_string(&rq->out, d.text);
    else
        json_add_null(&rq->out);
    json_add_close(&rq->out, '}');
    reply_json(rq, 200);
}

void route_document_get(struct request *rq)
{
    uint32_t version;
    int64_t c = collection_id(rq);
    if (c && version_arg(rq, &version))
        reply_document(rq, c, version);
}

void route_versions(struct request *rq)
{
    struct store_reader *r;
    struct store_document *d = NULL;
    struct rag_err err = {0};
    uint32_t n = 0, version;
    int64_t c = collection_id(rq);
    if (!c || !version_arg(rq, &version))
        return;
    if (version) {
        reply_document(rq, c, version);
        return;
    }
    rag_code rc = knowledge_reader(knowledge_of(rq), &r, &err);
    if (!rc) {
        rc = store_versions(r, c, rq->path[4], &rq->arena, &d, &n, &err);
        knowledge_reader_give(knowledge_of(rq), r);
    }
    if (rc == RAG_ENOTFOUND || (!rc && n == 0)) {
        reply_error(rq, 404, "document_not_found", "id", "there is no such document");
        return;
    }
    if (rc) {
        reply_rc(rq, rc, &err, "store");
        return;
    }
    json_add_open(&rq->out, '{');
    json_add_key(&rq->out, "versions");
    json_add_open(&rq->out, '[');
    for (uint32_t i = 0; i < n; i++) {
        json_add_open(&rq->out, '{');
        add_document(&rq->out, &d[i]);
        json_add_key(&rq->out, "current");
        json_add_bool(&rq->out, i == 0);
        json_add_key(&rq->out, "text_available");
        json_add_bool(&rq->out, d[i].text.len > 0);
        json_add_close(&rq->out, '}');
    }
    json_add_close(&rq->out, ']');
    json_add_close(&rq->out, '}');
    reply_json(rq, 200);
}

void route_documents_list(struct request *rq)
{
    struct store_reader *r;
    struct store_document *d = NULL;
    struct rag_err err = {0};
    uint32_t n = 0, limit;
    struct str after;
    int64_t c = collection_id(rq);
    if (!c || !page_args(rq, &limit, &after))
        return;
    rag_code rc = knowledge_reader(knowledge_of(rq), &r, &err);
    if (!rc) {
        rc =
            store_list(r, c, after, limit + 1, &rq->arena, &d, &n, &err); /* one more: is there a next page */
        knowledge_reader_give(knowledge_of(rq), r);
    }
    if (rc) {
        reply_rc(rq, rc, &err, "store");
        return;
    }
    bool more = n > limit;
    json_add_open(&rq->out, '{');
    json_add_key(&rq->out, "documents");
    json_add_open(&rq->out, '[');
    for (uint32_t i = 0; i < n && i < limit; i++) {
        json_add_open(&rq->out, '{');
        add_document(&rq->out, &d[i]);
        json_add_key(&rq->out, "chunks");
        json_add_u64(&rq->out, d[i].n_chunks);
        json_add_close(&rq->out, '}');
    }
    json_add_close(&rq->out, ']');
    add_next(&rq->out, more ? d[limit - 1].id : (struct str){0}, more);
    json_add_close(&rq->out, '}');
    reply_json(rq, 200);
}

/* ---- documents: deleting --------------------------------------------------------------------------------- */

static void document_deleted(struct request *rq)
{
    struct job *j = rq->state;
    if (!j->code && j->results[0].code == RAG_ENOTFOUND) {
        reply_error(rq, 404, "document_not_found", "id", "there is no such document");
        return;
    }
    if (j->code || j->results[0].code) {
        reply_rc(rq, j->code ? j->code : j->results[0].code, j->code ? &j->err : &j->results[0].err, "store");
        return;
    }
    json_add_open(&rq->out, '{');
    json_add_key(&rq->out, "id");
    json_add_string(&rq->out, rq->path[4]);
    json_add_key(&rq->out, "deleted");
    json_add_bool(&rq->out, true);
    json_add_close(&rq->out, '}');
    reply_json(rq, 200);
}

void route_document_delete(struct request *rq)
{
    if (!collection_id(rq))
        return;
    struct job *j = new_job(rq, JOB_DELETE);
    if (!j)
        return;
    j->docs = arena_array(&rq->arena, 1, sizeof *j->docs);
    j->results = arena_array(&rq->arena, 1, sizeof *j->results);
    if (!j->docs || !j->results) {
        reply_error(rq, 503, "out_of_memory", NULL, "out of memory");
        return;
    }
    j->docs[0].id = rq->path[4];
    j->n = 1;
    submit(rq, j, document_deleted);
}

static void filter_deleted(struct request *rq)
{
    struct job *j = rq->state;
    if (j->code) {
        reply_rc(rq, j->code, &j->err, "store");
        return;
    }
    json_add_open(&rq->out, '{');
    json_add_key(&rq->out, "deleted");
    json_add_u64(&rq->out, j->n_affected);
    json_add_close(&rq->out, '}');
    reply_json(rq, 200);
}

void route_documents_delete(struct request *rq)
{
    struct rag_err err = {0};
    struct filter filter;
    if (!collection_id(rq) || !request_is_json(rq))
        return;
    rag_code rc =
        delete_from_json(buf_str(&rq->body), rq->api->opt.max_query_bytes, &rq->arena, &filter, &err);
    if (rc) {
        reply_rc(rq, rc, &err, "api");
        return;
    }
    struct job *j = new_job(rq, JOB_DELETE_FILTER);
    if (!j)
        return;
    j->filter = filter;
    submit(rq, j, filter_deleted);
}
