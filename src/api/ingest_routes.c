/* POST .../documents. A worker parses the body and extracts texts (files in a child), then the writer has the job,
 * then the connection's I/O thread replies. Each hands the request on; nothing waits for anything. */
#include <stdio.h>

#include "api/api_int.h"
#include "api/multipart.h"
#include "api/request_json.h"
#include "extract/extract.h"
#include "text/utf8.h"
#include "wire/json_out.h"

struct ingest {
    struct document_in *in;
    uint32_t n;
    bool batch;
    struct text_doc *docs; /* n, initialised */
    uint32_t *job_index;   /* job document -> input */
    struct job job;
    rag_code code; /* of the whole request */
    struct rag_err err;
};

static void reply_ingest(struct request *rq);

/* ---- reading ------------------------------------------------------------------------------------------- */

static rag_code part_text(const struct multipart_part *p, size_t max, struct str *out, struct rag_err *err)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)p->name.len, p->name.ptr);
    if (p->value.len > max)
        return rag_err_param(err, RAG_ETOOBIG, name, "%s has %zu bytes, the limit is %zu", name, p->value.len,
                             max);
    if (!utf8_valid(p->value) || (p->value.len && memchr(p->value.ptr, 0, p->value.len)))
        return rag_err_param(err, RAG_EINVAL, name, "%s must be UTF-8", name);
    for (size_t i = 0; i < p->value.len; i++)
        if ((unsigned char)p->value.ptr[i] < 0x20 && !str_eqz(p->name, "metadata"))
            return rag_err_param(err, RAG_EINVAL, name, "%s holds a control character", name);
    *out = p->value;
    return RAG_OK;
}

static rag_code take_part(const struct multipart_part *p, struct arena *a, struct document_in *d,
                          struct rag_err *err)
{
    struct str text;
    rag_code rc;
    if (str_eqz(p->name, "file")) {
        if (d->text.ptr)
            return rag_err_param(err, RAG_EINVAL, "file", "one file a request");
        d->text = p->value;
        d->filename = p->filename;
        return RAG_OK;
    }
    if (str_eqz(p->name, "id")) {
        rc = part_text(p, DOCUMENT_ID_MAX, &d->id, err);
        return rc || d->id.len == 0 ? rc : document_id_check(d->id, err);
    }
    if (str_eqz(p->name, "title"))
        return part_text(p, 1024, &d->title, err);
    if (str_eqz(p->name, "source"))
        return part_text(p, 4096, &d->source, err);
    if (str_eqz(p->name, "format"))
        return part_text(p, 32, &d->format, err);
    if (str_eqz(p->name, "metadata")) {
        rc = part_text(p, 4 * METADATA_MAX, &text, err);
        return rc ? rc : metadata_from_text(text, a, &d->metadata_json, err);
    }
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)p->name.len, p->name.ptr);
    return rag_err_param(err, RAG_EINVAL, name, "unknown field %s", name);
}

static rag_code from_multipart(struct request *rq, const char *type, struct ingest *g)
{
    struct multipart_part *parts;
    uint32_t n;
    g->in = arena_array(&rq->arena, 1, sizeof *g->in);
    g->n = 1;
    if (!g->in)
        return rag_err_set(&g->err, RAG_ENOMEM, "out of memory");
    rag_code rc = multipart_parse(type, buf_str(&rq->body), &rq->arena, &parts, &n, &g->err);
    for (uint32_t i = 0; i < n && !rc; i++)
        rc = take_part(&parts[i], &rq->arena, &g->in[0], &g->err);
    if (!rc && !g->in[0].text.ptr)
        rc = rag_err_param(&g->err, RAG_EINVAL, "file", "the part file is missing");
    if (!rc && !utf8_valid(g->in[0].filename))
        g->in[0].filename = (struct str){0};
    if (!rc && g->in[0].source.len == 0 && g->in[0].filename.len <= 4096)
        g->in[0].source = g->in[0].filename;
    return rc;
}

static enum extract_format format_of(const struct document_in *d, const char *filename, bool file)
{
    if (d->format.len)
        return extract_format_by_name(d->format);
    return file ? extract_format_of(filename) : FORMAT_TEXT;
}

static rag_code extract_one(struct request *rq, struct document_in *d, struct text_doc *out)
{
    struct api *api = rq->api;
    bool file = d->filename.len > 0;
    const char *name = arena_strndup(&rq->arena, d->filename.ptr, d->filename.len);
    if (!name)
        return rag_err_set(&d->err, RAG_ENOMEM, "out of memory");
    enum extract_format f = format_of(d, name, file);
    if (f == FORMAT_UNKNOWN) {
        if (d->format.len)
            return rag_err_param(&d->err, RAG_EUNSUPPORTED, "format", "unknown format %.*s",
                                 (int)d->format.len, d->format.ptr);
        return rag_err_param(&d->err, RAG_EUNSUPPORTED, "file",
                             "%s: %s, or name the format in the field format", name, extract_advice(name));
    }
    struct extract_limits lim = api->opt.extract_limits ? *api->opt.extract_limits : extract_default_limits;
    if (lim.max_input_bytes > api->opt.max_body_bytes)
        lim.max_input_bytes = api->opt.max_body_bytes;
    if (f == FORMAT_TEXT)
        return extract_bytes(f, d->text, name, &lim, out, &d->err);
    if (!api->opt.self_exe)
        return rag_err_param(&d->err, RAG_EUNSUPPORTED, "format", "%s is not taken by this server",
                             extract_format_name(f));
    return extract_in_child(api->opt.self_exe, f, d->text, name, &lim, out, &d->err);
}

/* ---- on the worker --------------------------------------------------------------------------------------- */

static void written(struct job *j)
{
    request_resume(j->ctx, reply_ingest); /* on the writer; j is the request's again */
}

static rag_code build_job(struct request *rq, struct ingest *g)
{
    struct job *j = &g->job;
    j->docs = arena_array(&rq->arena, g->n, sizeof *j->docs);
    j->results = arena_array(&rq->arena, g->n, sizeof *j->results);
    g->job_index = arena_array(&rq->arena, g->n, sizeof *g->job_index);
    g->docs = arena_array(&rq->arena, g->n, sizeof *g->docs);
    if (!j->docs || !j->results || !g->job_index || !g->docs) {
        g->docs = NULL;
        return rag_err_set(&g->err, RAG_ENOMEM, "out of memory");
    }
    for (uint32_t i = 0; i < g->n; i++)
        text_doc_init(&g->docs[i]);
    for (uint32_t i = 0; i < g->n; i++) {
        struct document_in *d = &g->in[i];
        if (!d->code)
            d->code = extract_one(rq, d, &g->docs[i]);
        if (d->code)
            continue;
        g->job_index[j->n] = i;
        j->docs[j->n++] = (struct doc_input){.id = d->id,
                                             .title = d->title,
                                             .source = d->source,
                                             .metadata_json = d->metadata_json,
                                             .doc = g->docs[i]};
    }
    return RAG_OK;
}

/* The texts are ours again after the job; each is freed once, wherever it lies now. */
static void ingest_clear(struct request *rq)
{
    struct ingest *g = rq->state;
    for (uint32_t k = 0; k < g->job.n; k++)
        g->docs[g->job_index[k]] = g->job.docs[k].doc;
    for (uint32_t i = 0; g->docs && i < g->n; i++)
        text_doc_clear(&g->docs[i]);
}

static void work_on(struct request *rq)
{
    struct ingest *g = rq->state;
    const char *type = request_header(rq, "Content-Type");
    if (multipart_is(type))
        g->code = from_multipart(rq, type, g);
    else
        g->code = documents_from_json(buf_str(&rq->body), rq->api->opt.max_body_bytes, &rq->arena, &g->in,
                                      &g->n, &g->batch, &g->err);
    if (!g->code)
        g->code = build_job(rq, g);
    if (g->code || g->job.n == 0) {
        request_resume(rq, reply_ingest);
        return;
    }
    struct job *j = &g->job;
    j->kind = JOB_PUT;
    j->collection = rq->path[2];
    j->done = written;
    j->ctx = rq;
    rag_code rc = knowledge_submit(rq->api->opt.pipeline->knowledge, j);
    if (rc) {
        g->code = rag_err_set(&g->err, rc, "the writer's queue is full; try again");
        request_resume(rq, reply_ingest);
    }
}

/* ---- replying ------------------------------------------------------------------------------------------ */

static const char *put_name(enum store_put_result r)
{
    return r == STORE_ADDED ? "added" : r == STORE_UPDATED ? "updated" : "unchanged";
}

static void add_result(struct buf *out, const struct doc_result *r)
{
    json_add_open(out, '{');
    json_add_key(out, "id");
    json_add_string(out, str_of(r->id));
    json_add_key(out, "version");
    json_add_u64(out, r->version);
    json_add_key(out, "status");
    json_add_string(out, str_of(put_name(r->put)));
    json_add_key(out, "chunks");
    json_add_u64(out, r->n_chunks);
    json_add_close(out, '}');
}

static void add_failure(struct request *rq, struct str id, rag_code rc, const struct rag_err *err)
{
    struct buf *out = &rq->out;
    json_add_open(out, '{');
    json_add_key(out, "id");
    if (id.len)
        json_add_string(out, id);
    else
        json_add_null(out);
    json_add_key(out, "status");
    json_add_string(out, STR_LIT("failed"));
    json_add_key(out, "error");
    error_json(out, rq->id, status_of(rc), rag_code_name(rc), err->param,
               err->msg[0] ? err->msg : rag_code_name(rc));
    json_add_close(out, '}');
}

static void reply_batch(struct request *rq, const struct ingest *g)
{
    uint32_t count[3] = {0}, failed = 0, next = 0;
    json_add_open(&rq->out, '{');
    json_add_key(&rq->out, "results");
    json_add_open(&rq->out, '[');
    for (uint32_t i = 0; i < g->n; i++) {
        const struct document_in *d = &g->in[i];
        const struct doc_result *r = d->code ? NULL : &g->job.results[next++];
        if (r && !r->code) {
            count[r->put]++;
            add_result(&rq->out, r);
        } else {
            failed++;
            add_failure(rq, document_id_check(d->id, NULL) ? (struct str){0} : d->id, r ? r->code : d->code,
                        r ? &r->err : &d->err);
        }
    }
    json_add_close(&rq->out, ']');
    for (int s = STORE_ADDED; s <= STORE_UNCHANGED; s++) {
        json_add_key(&rq->out, put_name((enum store_put_result)s));
        json_add_u64(&rq->out, count[s]);
    }
    json_add_key(&rq->out, "failed");
    json_add_u64(&rq->out, failed);
    json_add_close(&rq->out, '}');
    reply_json(rq, 200);
}

static void reply_ingest(struct request *rq)
{
    struct ingest *g = rq->state;
    rag_code rc = g->code;
    const struct rag_err *err = &g->err;
    if (!rc && g->job.code) {
        rc = g->job.code;
        err = &g->job.err;
    } else if (!rc && !g->batch) {
        const struct document_in *d = &g->in[0];
        rc = d->code ? d->code : g->job.results[0].code;
        err = d->code ? &d->err : &g->job.results[0].err;
    }
    if (rc) {
        reply_rc(rq, rc, err, "store");
    } else if (g->batch) {
        reply_batch(rq, g);
    } else {
        add_result(&rq->out, &g->job.results[0]);
        reply_json(rq, g->job.results[0].put == STORE_ADDED ? 201 : 200);
    }
}

void route_documents_post(struct request *rq)
{
    if (!auth_collection(rq, rq->path[2]))
        return;
    if (!multipart_is(request_header(rq, "Content-Type")) && !request_is_json(rq))
        return;
    if (!knowledge_collection_id(rq->api->opt.pipeline->knowledge, rq->path[2])) {
        reply_error(rq, 404, "collection_not_found", "collection", "there is no such collection");
        return;
    }
    rq->state = arena_zalloc(&rq->arena, sizeof(struct ingest));
    if (!rq->state) {
        reply_error(rq, 503, "out_of_memory", NULL, "out of memory");
        return;
    }
    rq->clear = ingest_clear;
    rq->work = work_on;
    work_submit(&rq->api->uploads, rq);
}
