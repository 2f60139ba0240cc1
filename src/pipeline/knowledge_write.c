/* The writer: takes the queued jobs as one batch, makes one SQLite transaction of it, turns what was committed
 * into one small segment for each collection, publishes the lists, and only then tells the callers. */
#include <openssl/evp.h>
#include <stdio.h>

#include "index/filter_eval.h"
#include "index/segment_int.h"
#include "base/bitmap.h"
#include "obs/log.h"
#include "pipeline/knowledge_int.h"
#include "sys/clock.h"
#include "sys/epoch.h"
#include "wire/json_in.h"
#include "text/utf8.h"

/* What a batch did to one collection. */
struct touched {
    struct collection *c;
    struct segment_builder *builder; /* NULL: no new documents */
    struct buf dead;                 /* int64_t seqs that were replaced or deleted */
};
struct batch {
    struct knowledge *k;
    struct touched t[BATCH_COLLECTIONS]; /* a batch ends before it touches more collections */
    uint32_t n;
};

struct collection *knowledge_find(struct catalog *cat, struct str name)
{
    uint32_t lo = 0, hi = cat->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = str_cmp(str_of(cat->c[mid]->name), name);
        if (c == 0)
            return cat->c[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

struct collection *knowledge_find_id(struct catalog *cat, int64_t id)
{
    for (uint32_t i = 0; i < cat->n; i++)
        if (cat->c[i]->id == id)
            return cat->c[i];
    return NULL;
}

void knowledge_publish(struct collection *c, struct segment_list *next)
{
    struct segment_list *old = atomic_load(&c->list); /* we are its only writer */
    atomic_store(&c->list, next);                     /* pairs with knowledge_pin */
    epoch_retire(old, list_free);
}

static void catalog_free(void *p)
{
    mem_free(MEM_INDEX, p);
}

static void collection_free(void *p)
{
    struct collection *c = p;
    list_free(atomic_load(&c->list));
    mem_free(MEM_INDEX, atomic_load(&c->system_prompt));
    mem_free(MEM_INDEX, c);
}

static void text_free(void *p)
{
    mem_free(MEM_INDEX, p);
}

/* What questions need of the settings, a copy; *out NULL: nothing. Settings are checked where they come in. */
static rag_code copy_system_prompt(struct str settings, char **out)
{
    json_t *root;
    struct rag_err why;
    *out = NULL;
    rag_code rc = json_in_parse(settings, settings.len, &root, &why);
    if (rc)
        return rc == RAG_ENOMEM ? rc : RAG_OK;
    const json_t *v = json_object_get(root, "system_prompt");
    if (json_is_string(v) && json_string_length(v)) {
        *out = mem_strndup(MEM_INDEX, json_string_value(v), json_string_length(v));
        rc = *out ? RAG_OK : RAG_ENOMEM;
    }
    json_decref(root);
    return rc;
}

static void publish_system_prompt(struct collection *c, char *text)
{
    char *old = atomic_load(&c->system_prompt);
    atomic_store(&c->system_prompt, text); /* pairs with knowledge_system_prompt */
    if (old)
        epoch_retire(old, text_free);
}

static void catalog_swap(struct knowledge *k, struct catalog *next)
{
    struct catalog *old = atomic_load(&k->catalog);
    atomic_store(&k->catalog, next);
    epoch_retire(old, catalog_free);
}

/* The catalog with one more collection, which takes `list`. NULL when out of memory: the list is freed then. */
static struct catalog *catalog_with(const struct catalog *old, struct str name, int64_t id,
                                    struct segment_list *list, struct collection **added)
{
    struct catalog *next = mem_alloc(MEM_INDEX, sizeof *next + ((size_t)old->n + 1) * sizeof next->c[0]);
    struct collection *c = mem_zalloc(MEM_INDEX, sizeof *c);
    if (!next || !c || !list) {
        mem_free(MEM_INDEX, next);
        mem_free(MEM_INDEX, c);
        list_free(list);
        return NULL;
    }
    c->id = id;
    snprintf(c->name, sizeof c->name, "%.*s", (int)name.len, name.ptr);
    atomic_init(&c->list, list);
    uint32_t at = 0;
    while (at < old->n && str_cmp(str_of(old->c[at]->name), name) < 0)
        at++;
    memcpy(next->c, old->c, at * sizeof next->c[0]);
    next->c[at] = c;
    memcpy(next->c + at + 1, old->c + at, (old->n - at) * sizeof next->c[0]);
    next->n = old->n + 1;
    *added = c;
    return next;
}

static struct catalog *catalog_without(const struct catalog *old, const struct collection *c)
{
    struct catalog *next = mem_alloc(MEM_INDEX, sizeof *next + (size_t)old->n * sizeof next->c[0]);
    if (!next)
        return NULL;
    next->n = 0;
    for (uint32_t i = 0; i < old->n; i++)
        if (old->c[i] != c)
            next->c[next->n++] = old->c[i];
    return next;
}

rag_code knowledge_collection_publish(struct knowledge *k, struct str name, int64_t id, struct str settings,
                                      struct segment_list *list)
{
    struct collection *c;
    char *prompt = NULL;
    if (copy_system_prompt(settings, &prompt)) {
        list_free(list);
        return RAG_ENOMEM;
    }
    struct catalog *next = catalog_with(atomic_load(&k->catalog), name, id, list, &c);
    if (!next) {
        mem_free(MEM_INDEX, prompt);
        return RAG_ENOMEM;
    }
    publish_system_prompt(c, prompt);
    catalog_swap(k, next);
    return RAG_OK;
}

/* ---- one document -------------------------------------------------------------------------------------- */

static void sha256(const struct str *parts, size_t n, uint8_t out[32])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    RAG_ASSERT(ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL));
    for (size_t i = 0; i < n; i++) {
        uint64_t len = parts[i].len; /* lengths between the parts: no two inputs join to the same bytes */
        EVP_DigestUpdate(ctx, &len, sizeof len);
        EVP_DigestUpdate(ctx, parts[i].ptr, parts[i].len);
    }
    EVP_DigestFinal_ex(ctx, out, NULL);
    EVP_MD_CTX_free(ctx);
}

/* Over everything that makes a version, how it is cut included. */
static void content_hash(const struct knowledge *k, const struct doc_input *in, struct str title,
                         uint8_t out[32])
{
    struct str parts[] = {title,
                          in->source,
                          in->metadata_json,
                          buf_str(&in->doc.text),
                          buf_str(&in->doc.blocks),
                          buf_str(&in->doc.labels),
                          str_make((const char *)&k->opt.chunker, sizeof k->opt.chunker)};
    sha256(parts, sizeof parts / sizeof *parts, out);
}

/* Chunk offsets in bytes and code points, heading paths: what the store keeps and the segment shows. */
static rag_code cut(struct knowledge *k, const struct text_doc *doc, struct arena *a,
                    struct store_chunk **out, uint32_t *n_out)
{
    struct text_chunks *ch = &k->chunks;
    rag_code rc = chunker_run(doc, &k->opt.chunker, ch);
    if (rc)
        return rc;
    struct str text = str_trim(buf_str(&doc->text));
    struct text_chunk whole = {.start = (uint32_t)(text.ptr - doc->text.ptr)};
    whole.end = whole.start + (uint32_t)text.len;
    if (ch->chunks.len == 0 && text.len) /* nothing but headings is still something to find */
        BUF_ADD_VALUE(&ch->chunks, whole);
    if (buf_failed(&ch->chunks))
        return RAG_ENOMEM;
    const struct text_chunk *c = (const void *)ch->chunks.ptr;
    uint32_t n = (uint32_t)(ch->chunks.len / sizeof *c);
    struct store_chunk *s = arena_array(a, n + 1, sizeof *s);
    if (!s)
        return RAG_ENOMEM;
    uint32_t at = 0, chars = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (c[i].start < at) /* chunks overlap: count again from the start */
            at = chars = 0;
        chars += (uint32_t)utf8_count(str_make(doc->text.ptr + at, c[i].start - at));
        at = c[i].start;
        s[i] = (struct store_chunk){
            .start = c[i].start,
            .end = c[i].end,
            .char_start = chars,
            .char_end =
                chars + (uint32_t)utf8_count(str_make(doc->text.ptr + c[i].start, c[i].end - c[i].start)),
            .heading_path = str_make(ch->headings.ptr + c[i].heading_off, c[i].heading_len),
            .page = c[i].page};
    }
    *out = s;
    *n_out = n;
    return RAG_OK;
}

static rag_code index_document(struct knowledge *k, struct segment_builder *b, const struct store_document *d)
{
    struct segment_doc_in in = {.id = d->id,
                                .title = d->title,
                                .source = d->source,
                                .metadata_json = d->metadata,
                                .version = d->version,
                                .seq = d->seq,
                                .updated_ms = d->updated_ms};
    rag_code rc = segment_builder_doc(b, &in);
    for (uint32_t i = 0; i < d->n_chunks && !rc; i++) {
        const struct store_chunk *c = &d->chunks[i];
        struct str text = str_make(d->text.ptr + c->start, c->end - c->start);
        rc = chunk_terms_run(&k->terms, k->opt.analyzer, d->title, c->heading_path, text);
        if (!rc)
            rc = segment_builder_chunk(b, &(struct segment_chunk_in){.text = text,
                                                                     .heading_path = c->heading_path,
                                                                     .start = c->char_start,
                                                                     .end = c->char_end,
                                                                     .page = c->page,
                                                                     .terms = &k->terms.terms,
                                                                     .length = k->terms.length});
    }
    return rc;
}

static struct touched *touch(struct batch *b, struct collection *c)
{
    for (uint32_t i = 0; i < b->n; i++)
        if (b->t[i].c == c)
            return &b->t[i];
    if (b->n == sizeof b->t / sizeof *b->t)
        return NULL;
    struct touched *t = &b->t[b->n++];
    *t = (struct touched){.c = c};
    buf_init(&t->dead, MEM_INDEX);
    return t;
}

static rag_code mark_dead(struct touched *t, int64_t seq)
{
    BUF_ADD_VALUE(&t->dead, seq);
    return buf_failed(&t->dead) ? RAG_ENOMEM : RAG_OK;
}

/* Under a savepoint. A failure that can be undone is the document's own: r->code. What is returned fails the
 * batch: the transaction is gone (what comes after it refuses then), or the builder holds half a document. */
static rag_code store_and_index(struct knowledge *k, struct touched *t, struct store_document *d,
                                struct doc_result *r)
{
    int64_t old_seq = 0;
    rag_code fatal = store_savepoint(k->store, &r->err);
    if (fatal)
        return fatal;
    r->code = store_put(k->store, d, &r->put, &old_seq, &r->err);
    if (!r->code && r->put != STORE_UNCHANGED) {
        if (!t->builder)
            fatal = segment_builder_new(analyzer_fingerprint(k->opt.analyzer), &t->builder);
        if (!fatal)
            fatal = index_document(k, t->builder, d);
        if (fatal == RAG_EFORMAT) {
            r->code = rag_err_param(&r->err, fatal, "metadata", "not a JSON object");
            fatal = RAG_OK;
        } else if (!fatal && old_seq) {
            fatal = mark_dead(t, old_seq);
        }
    }
    if (fatal)
        return fatal;
    if (r->code) {
        store_rollback_to_savepoint(k->store);
        return RAG_OK;
    }
    r->version = d->version;
    r->n_chunks = d->n_chunks;
    return store_release(k->store, &r->err);
}

/* Result of one document; returns what fails the batch. */
static rag_code put_document(struct batch *b, struct touched *t, struct doc_input *in, struct doc_result *r)
{
    struct knowledge *k = b->k;
    struct arena a = {0};
    struct store_document d = {.collection = t->c->id, .source = in->source, .text = buf_str(&in->doc.text)};
    struct store_chunk *chunks = NULL;
    rag_code fatal = RAG_OK;
    d.title = in->title.len ? in->title : buf_str(&in->doc.title);
    d.metadata = in->metadata_json.len ? in->metadata_json : STR_LIT("{}");
    content_hash(k, in, d.title, d.content_hash);
    if (in->id.len) {
        snprintf(r->id, sizeof r->id, "%.*s", (int)in->id.len, in->id.ptr);
    } else {
        for (int i = 0; i < 16; i++)
            snprintf(r->id + 2 * i, 3, "%02x", d.content_hash[i]);
    }
    d.id = str_of(r->id);
    d.updated_ms = clock_unix_ms();
    r->code = cut(k, &in->doc, &a, &chunks, &d.n_chunks);
    if (r->code)
        rag_err_set(&r->err, r->code, "document %s: cannot be cut into chunks", r->id);
    else if (d.n_chunks == 0)
        r->code = rag_err_param(&r->err, RAG_EFORMAT, "text", "no text in it");
    d.chunks = chunks;
    if (!r->code)
        fatal = store_and_index(k, t, &d, r);
    arena_clear(&a);
    return fatal;
}

/* ---- jobs ---------------------------------------------------------------------------------------------- */

static rag_code delete_one(struct batch *b, struct touched *t, struct str id, struct rag_err *err)
{
    int64_t seq;
    rag_code rc = store_delete(b->k->store, t->c->id, id, &seq, err);
    return rc ? rc : mark_dead(t, seq);
}

/* The documents that the filter lets through, of the published list (the batch's own changes are separate
 * jobs' business: a batch is cut before a delete by filter). */
static rag_code delete_by_filter(struct batch *b, struct touched *t, struct job *j)
{
    struct arena a = {0};
    const struct segment_list *l = atomic_load(&t->c->list);
    rag_code rc = b->k->pending_at * sizeof(struct pending_doc) < b->k->pending.len
                      ? rag_err_set(&j->err, RAG_EBUSY, "delete by filter: documents are still being rebuilt")
                      : RAG_OK;
    for (uint32_t e = 0; e < l->n && !rc; e++) {
        const struct segment *s = l->e[e].segment;
        uint64_t *docs;
        rc = filter_docs(s, &j->filter, &a, &docs);
        for (uint32_t d = 0; d < segment_n_docs(s) && !rc; d++) {
            if ((docs && !bitmap_get(docs, d)) || s->docs[d].n_chunks == 0 ||
                !bitmap_get(l->e[e].live, s->docs[d].first_chunk))
                continue;
            rc = delete_one(b, t, seg_str(s, s->docs[d].id), &j->err);
            j->n_affected++;
        }
    }
    arena_clear(&a);
    return rc;
}

static rag_code run_documents(struct batch *b, struct job *j)
{
    struct collection *c = knowledge_find(atomic_load(&b->k->catalog), j->collection);
    if (!c) {
        j->code = rag_err_param(&j->err, RAG_ENOTFOUND, "collection", "no collection %.*s",
                                (int)j->collection.len, j->collection.ptr);
        return RAG_OK;
    }
    struct touched *t = touch(b, c);
    RAG_ASSERT(t);
    rag_code fatal = RAG_OK;
    if (j->kind == JOB_DELETE_FILTER) {
        fatal = j->code = delete_by_filter(b, t, j);
    } else if (j->kind == JOB_DELETE) {
        for (uint32_t i = 0; i < j->n && !fatal; i++) {
            j->results[i].code = delete_one(b, t, j->docs[i].id, &j->results[i].err);
            j->n_affected += j->results[i].code == RAG_OK;
            if (j->results[i].code && j->results[i].code != RAG_ENOTFOUND) {
                fatal = j->results[i].code;
                j->err = j->results[i].err;
            }
        }
    } else {
        for (uint32_t i = 0; i < j->n && !fatal; i++) {
            fatal = put_document(b, t, &j->docs[i], &j->results[i]);
            j->n_affected += j->results[i].n_chunks;
            if (fatal)
                j->err = j->results[i].err;
        }
    }
    return fatal;
}

/* Collection jobs run alone in their transaction; the next catalog is made before the commit, so that nothing can
 * fail between durable and visible. */
static void run_collection_job(struct knowledge *k, struct job *j)
{
    struct catalog *now = atomic_load(&k->catalog), *next = NULL;
    struct collection *c = knowledge_find(now, j->collection), *added = NULL;
    struct str settings = j->settings.len ? j->settings : STR_LIT("{}");
    int64_t id = c ? c->id : 0;
    char *prompt = NULL;
    rag_code rc = copy_system_prompt(settings, &prompt);
    if (!rc)
        rc = store_begin(k->store, &j->err);
    if (rc) {
        mem_free(MEM_INDEX, prompt);
        j->code = rc;
        return;
    }
    if (j->kind == JOB_COLLECTION_DELETE) {
        if (!c)
            rc = rag_err_param(&j->err, RAG_ENOTFOUND, "collection", "no collection %.*s",
                               (int)j->collection.len, j->collection.ptr);
        else
            rc = store_collection_delete(k->store, id, &j->err);
        if (!rc && !(next = catalog_without(now, c)))
            rc = RAG_ENOMEM;
    } else if (c && j->kind == JOB_COLLECTION_ADD) {
        rc = rag_err_param(&j->err, RAG_ECONFLICT, "collection", "collection %s exists", c->name);
    } else if (c) {
        rc = store_collection_set(k->store, id, settings, &j->err);
    } else {
        rc = store_collection_add(k->store, j->collection, settings, clock_unix_ms(), &id, &j->err);
        if (!rc && !(next = catalog_with(now, j->collection, id, list_new_empty(), &added)))
            rc = RAG_ENOMEM;
    }
    if (rc)
        store_rollback(k->store);
    else
        rc = store_commit(k->store, &j->err);
    if (!rc && j->kind != JOB_COLLECTION_DELETE) {
        publish_system_prompt(added ? added : c, prompt);
        prompt = NULL;
    }
    if (!rc && next)
        catalog_swap(k, next);
    mem_free(MEM_INDEX, prompt);
    if (!rc && j->kind == JOB_COLLECTION_DELETE) {
        epoch_retire(c, collection_free);
        knowledge_forget_files(k, id, NULL);
    }
    if (rc && next) {
        catalog_free(next);
        if (added)
            collection_free(added);
    }
    if (rc && !j->err.msg[0])
        rag_err_set(&j->err, rc, "write failed: %s", rag_code_name(rc));
    j->created = added && !rc;
    j->code = rc;
}

/* ---- the batch ----------------------------------------------------------------------------------------- */

static void batch_clear(struct batch *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        segment_builder_free(b->t[i].builder);
        buf_clear(&b->t[i].dead);
    }
    b->n = 0;
}

/* The next list of a touched collection, small segments merged; not yet visible. */
static rag_code next_list(struct knowledge *k, struct touched *t, struct segment_list **out)
{
    struct segment *add = NULL;
    struct segment_list *next = NULL;
    struct list_change change = {.dead = (const void *)t->dead.ptr,
                                 .n_dead = (uint32_t)(t->dead.len / sizeof(int64_t))};
    rag_code rc = t->builder ? segment_builder_finish(t->builder, &add) : RAG_OK;
    if (!rc && add)
        rc = knowledge_blocks_new(k, segment_n_chunks(add), change.add_vectors);
    change.add = add;
    if (!rc)
        rc = list_edit(atomic_load(&t->c->list), &change, &next);
    segment_unref(add);
    knowledge_blocks_unref(change.add_vectors);
    if (!rc)
        knowledge_merge_small(k, &next);
    *out = next;
    return rc;
}

static rag_code batch_lists(struct batch *b, struct segment_list *next[BATCH_COLLECTIONS])
{
    rag_code rc = RAG_OK;
    for (uint32_t i = 0; i < b->n && !rc; i++)
        rc = next_list(b->k, &b->t[i], &next[i]);
    return rc;
}

/* Commits and publishes. The lists are built before the commit, so that nothing can fail between durable and
 * visible. */
static rag_code batch_finish(struct batch *b, struct rag_err *err)
{
    struct segment_list *next[BATCH_COLLECTIONS] = {0};
    rag_code rc = batch_lists(b, next);
    if (rc) {
        rag_err_set(err, rc, "index: %s", rag_code_name(rc));
        store_rollback(b->k->store);
    } else {
        rc = store_commit(b->k->store, err);
    }
    for (uint32_t i = 0; i < b->n; i++) {
        if (rc) {
            list_free(next[i]);
            continue;
        }
        knowledge_publish(b->t[i].c, next[i]);
        knowledge_vectors_notify(b->k);
        if (b->t[i].dead.len)
            knowledge_forget_files(b->k, b->t[i].c->id, next[i]);
    }
    batch_clear(b);
    return rc;
}

static void run_batch(struct knowledge *k, struct job *jobs)
{
    struct batch b = {.k = k};
    struct rag_err err = {0};
    rag_code rc = store_begin(k->store, &err);
    for (struct job *j = jobs; j && !rc; j = j->next) {
        rc = run_documents(&b, j);
        if (rc) {
            err = j->err.code ? j->err : (struct rag_err){.code = rc};
            store_rollback(k->store);
            batch_clear(&b);
        }
    }
    if (!rc)
        rc = batch_finish(&b, &err);
    if (rc && !err.msg[0])
        rag_err_set(&err, rc, "write failed: %s", rag_code_name(rc));
    for (struct job *j = jobs, *after; j; j = after) {
        after = j->next;
        if (rc) {
            j->code = rc;
            j->err = err;
            j->n_affected = 0;
            for (uint32_t i = 0; i < j->n && j->results; i++) {
                j->results[i].code = rc;
                j->results[i].err = err;
            }
        }
        j->done(j); /* j may be gone after this */
    }
    if (rc)
        log_error("batch not written", LOG_STR("why", err.msg), LOG_END);
}

static bool is_document_job(const struct job *j)
{
    return j->kind == JOB_PUT || j->kind == JOB_DELETE || j->kind == JOB_DELETE_FILTER;
}

/* The jobs at the head of the queue that may share a transaction: at most BATCH_DOCS documents and BATCH_BYTES
 * of text (at least one job); a delete by filter or a job on a collection goes alone. */
static struct job *take_jobs(struct knowledge *k)
{
    struct job *first = k->head, *last = NULL;
    uint32_t docs = 0, jobs = 0;
    uint64_t bytes = 0;
    for (struct job *j = first; j; j = j->next) {
        bool alone = j->kind != JOB_PUT && j->kind != JOB_DELETE;
        for (uint32_t i = 0; j->kind == JOB_PUT && i < j->n; i++)
            bytes += j->docs[i].doc.text.len;
        if (last && (alone || docs + j->n > BATCH_DOCS || bytes > BATCH_BYTES || jobs == BATCH_COLLECTIONS))
            break;
        last = j;
        docs += j->n;
        jobs++;
        if (alone)
            break;
    }
    if (last) {
        k->head = last->next;
        if (!k->head)
            k->tail = NULL;
        last->next = NULL;
        k->queue_len -= jobs;
    }
    return first;
}

/* ---- rebuilding what no segment holds ------------------------------------------------------------------- */

static rag_code rebuild_into(struct batch *b, struct store_reader *r, struct pending_doc p, uint64_t *bytes,
                             struct rag_err *err)
{
    struct knowledge *k = b->k;
    struct collection *c = knowledge_find_id(atomic_load(&k->catalog), p.collection);
    struct touched *t = c ? touch(b, c) : NULL;
    struct arena a = {0};
    struct store_document d;
    if (c && !t)
        return RAG_EBUSY; /* a new batch */
    rag_code rc = c ? store_get_by_seq(r, p.seq, &a, &d, err) : RAG_ENOTFOUND;
    if (!rc && !t->builder)
        rc = segment_builder_new(analyzer_fingerprint(k->opt.analyzer), &t->builder);
    if (!rc) {
        rc = index_document(k, t->builder, &d);
        *bytes += d.text.len;
    }
    arena_clear(&a);
    return rc == RAG_ENOTFOUND ? RAG_OK : rc; /* replaced or deleted meanwhile */
}

/* Rebuilds pending documents from pending_at on, `most` at most, and publishes them. *at: the first that is left.
 * After an error none of them is visible. */
static rag_code rebuild_some(struct knowledge *k, size_t most, size_t *at, struct rag_err *err)
{
    struct batch b = {.k = k};
    struct segment_list *next[BATCH_COLLECTIONS] = {0};
    struct store_reader *r = NULL;
    const struct pending_doc *p = (const void *)k->pending.ptr;
    uint64_t bytes = 0;
    rag_code rc = knowledge_reader(k, &r, err);
    for (*at = k->pending_at; *at < k->pending_at + most && bytes < BATCH_BYTES && !rc; ++*at) {
        rc = rebuild_into(&b, r, p[*at], &bytes, err);
        if (rc == RAG_EBUSY) {
            rc = RAG_OK;
            break;
        }
    }
    if (r)
        knowledge_reader_give(k, r);
    if (!rc)
        rc = batch_lists(&b, next);
    for (uint32_t i = 0; i < b.n; i++) {
        if (rc)
            list_free(next[i]);
        else
            knowledge_publish(b.t[i].c, next[i]);
    }
    knowledge_vectors_notify(k);
    batch_clear(&b);
    return rc;
}

/* A document that cannot be rebuilt (a damaged row) must not take its neighbours along: after a failed batch its
 * documents come one by one, and only what fails alone is left out. */
static void rebuild_step(struct knowledge *k)
{
    struct rag_err err = {0};
    size_t n = k->pending.len / sizeof(struct pending_doc), left = n - k->pending_at, at;
    size_t most = k->pending_at < k->rebuild_alone ? 1 : left < REBUILD_DOCS ? left : REBUILD_DOCS;
    rag_code rc = rebuild_some(k, most, &at, &err);
    if (!rc) {
        atomic_fetch_add(&k->rebuilt, at - k->pending_at);
    } else if (most > 1) {
        k->rebuild_alone = k->pending_at + most;
        at = k->pending_at;
    } else {
        at = k->pending_at + 1;
        log_error("document not rebuilt; it cannot be found until the next start",
                  LOG_STR("why", err.msg[0] ? err.msg : rag_code_name(rc)), LOG_END);
    }
    k->pending_at = at;
    atomic_store(&k->n_pending, n - at);
    if (at == n) {
        buf_clear(&k->pending);
        k->pending_at = k->rebuild_alone = 0;
        pthread_mutex_lock(&k->queue_mu);
        atomic_store(&k->ready, true);
        pthread_cond_broadcast(&k->ready_cv);
        pthread_mutex_unlock(&k->queue_mu);
    }
}

void *knowledge_writer_main(void *arg)
{
    struct knowledge *k = arg;
    for (bool more = false;;) {
        bool pending = k->pending.len > 0;
        pthread_mutex_lock(&k->queue_mu);
        if (!k->head && !k->closing && !pending && !more) {
            struct timespec t;
            clock_gettime(CLOCK_REALTIME, &t);
            t.tv_sec += 1; /* a failed merge is tried again without a new job */
            pthread_cond_timedwait(&k->queue_cv, &k->queue_mu, &t);
        }
        struct job *jobs = take_jobs(k);
        bool closing = k->closing;
        pthread_mutex_unlock(&k->queue_mu);
        more = false;
        if (jobs && is_document_job(jobs)) {
            run_batch(k, jobs);
        } else if (jobs && (jobs->kind == JOB_VECTORS || jobs->kind == JOB_DROP_REPLACED)) {
            knowledge_vectors_job(k, jobs);
            jobs->done(jobs);
        } else if (jobs) {
            run_collection_job(k, jobs);
            jobs->done(jobs);
        } else if (pending && !closing) {
            rebuild_step(k);
        } else if (closing) {
            knowledge_flush(k);
            return NULL;
        } else {
            more = knowledge_companion_step(k);
        }
        knowledge_merge_step(k);
        epoch_collect();
    }
}
