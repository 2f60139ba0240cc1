/* Into the folder, which this process has locked: a batch is one job of the writer, so one commit. */
#include <string.h>

#include "api/request_json.h"
#include "cli/ingest_int.h"

struct batch {
    struct ingest *in;
    struct arena arena; /* strings of docs */
    struct doc_input docs[BATCH_ITEMS];
    struct doc_result results[BATCH_ITEMS];
    const char *paths[BATCH_ITEMS];
    struct batch_fill fill;
};

/* The writer's queue is longer than there are workers, each with one job in it, so it is never full here. */
static void batch_apply(void *worker)
{
    struct batch *b = worker;
    struct ingest *in = b->in;
    struct job job = {.kind = JOB_PUT,
                      .collection = str_of(in->collection),
                      .docs = b->docs,
                      .results = b->results,
                      .n = b->fill.n};
    rag_code rc = knowledge_apply(in->house->knowledge, &job);
    for (uint32_t i = 0; i < b->fill.n; i++) {
        const struct doc_result *r = &b->results[i];
        const struct rag_err *e = rc ? &job.err : &r->err;
        rag_code code = rc ? rc : r->code;
        if (code)
            ingest_failed(in, b->paths[i], ingest_reason(code, e));
        else
            ingest_succeeded(in, r->put, r->n_chunks);
        text_doc_clear(&b->docs[i].doc);
    }
    arena_reset(&b->arena);
    b->fill.n = 0;
    b->fill.bytes = 0;
}

static struct str copy(struct arena *a, struct str s)
{
    return str_make(arena_strndup(a, s.len ? s.ptr : "", s.len), s.len);
}

/* The next free slot, its strings empty. The caller counts it by ++b->fill.n once it is good. */
static struct doc_input *batch_slot(struct batch *b, const char *path)
{
    struct doc_input *d = &b->docs[b->fill.n];
    *d = (struct doc_input){0};
    b->results[b->fill.n] = (struct doc_result){0};
    b->paths[b->fill.n] = copy(&b->arena, str_of(path)).ptr;
    if (!b->paths[b->fill.n])
        b->paths[b->fill.n] = "?";
    text_doc_init(&d->doc);
    return d;
}

/* Plain text is not parsed, so it needs no child; the server does the same. */
static rag_code extract(struct ingest *in, enum extract_format f, struct str bytes, const char *name,
                        struct text_doc *out, struct rag_err *err)
{
    return f == FORMAT_TEXT ? extract_bytes(f, bytes, name, &in->limits, out, err)
                            : extract_in_child(in->self_exe, f, bytes, name, &in->limits, out, err);
}

/* Strings live in `a`. */
static rag_code file_to_doc(struct ingest *in, const struct item *item, struct arena *a, struct doc_input *d,
                            struct rag_err *err)
{
    struct ingest_file f;
    rag_code rc = ingest_file_read(in, item, &f, err);
    if (!rc)
        rc = extract(in, extract_format_of(item->path), buf_str(&f.bytes), ingest_base_name(item->path),
                     &d->doc, err);
    d->id = copy(a, buf_str(&f.id));
    d->source = copy(a, buf_str(&f.source));
    if (!rc && (!d->id.ptr || !d->source.ptr))
        rc = RAG_ENOMEM;
    ingest_file_clear(&f);
    return rc;
}

/* A line as POST .../documents takes it, checked by the same code. Strings live in `a`. */
static rag_code line_to_doc(struct ingest *in, struct str line, struct arena *a, struct doc_input *d,
                            struct rag_err *err)
{
    struct document_in *doc = NULL;
    uint32_t n;
    bool batch;
    rag_code rc = documents_from_json(line, MAX_LINE, a, &doc, &n, &batch, err);
    if (rc)
        return rc;
    if (batch)
        return rag_err_set(err, RAG_EINVAL, "one document a line, not {\"documents\": [...]}");
    if (doc->code) {
        *err = doc->err;
        return doc->code;
    }
    enum extract_format f = doc->format.len ? extract_format_by_name(doc->format) : FORMAT_TEXT;
    if (f == FORMAT_UNKNOWN)
        return rag_err_param(err, RAG_EUNSUPPORTED, "format", "unknown format %.*s", (int)doc->format.len,
                             doc->format.ptr);
    d->id = doc->id;
    d->title = doc->title;
    d->source = doc->source;
    d->metadata_json = doc->metadata_json;
    return extract(in, f, doc->text, "", &d->doc, err);
}

static void add_item(void *worker, const struct item *item)
{
    struct batch *b = worker;
    struct rag_err err = {0};
    struct doc_input *d = batch_slot(b, item->path);
    rag_code rc = item->real_path
                      ? file_to_doc(b->in, item, &b->arena, d, &err)
                      : line_to_doc(b->in, str_make(item->line, item->line_len), &b->arena, d, &err);
    if (rc) {
        ingest_failed(b->in, item->path, ingest_reason(rc, &err));
        text_doc_clear(&d->doc);
        return;
    }
    b->fill.bytes += d->doc.text.len;
    b->fill.n++;
}

void ingest_local_work(struct ingest *in)
{
    struct batch *b = mem_zalloc(MEM_MISC, sizeof *b);
    if (!b) {
        ingest_fail_all(in);
        return;
    }
    b->in = in;
    ingest_batches(in, &b->fill, b, add_item, batch_apply);
    arena_clear(&b->arena);
    mem_free(MEM_MISC, b);
}

int ingest_local_create(struct ingest *in)
{
    if (knowledge_collection_id(in->house->knowledge, str_of(in->collection)))
        return -1;
    struct job job = {
        .kind = JOB_COLLECTION_ADD, .collection = str_of(in->collection), .settings = STR_LIT("{}")};
    rag_code rc = knowledge_apply(in->house->knowledge, &job);
    if (rc && rc != RAG_ECONFLICT)
        return cli_fail(EXIT_FAIL, "ingest: collection %s: %s", in->collection, ingest_reason(rc, &job.err));
    return -1;
}
