/* Opening, closing and reading. At the start the store says which documents there are (their seqs); mapped
 * segments that hold one make it live, and what no segment holds is rebuilt. So a segment file that is
 * missing, damaged, stale or of other text rules only costs time. */
#include "pipeline/knowledge.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bitmap.h"
#include "index/manifest.h"
#include "index/segment_int.h"
#include "obs/log.h"
#include "pipeline/knowledge_int.h"
#include "sys/epoch.h"
#include "sys/file.h"

/* ---- readers ------------------------------------------------------------------------------------------- */

rag_code knowledge_pin(struct knowledge *k, struct str name, const struct segment_list **list)
{
    epoch_pin();
    struct collection *c = knowledge_find(atomic_load(&k->catalog), name);
    if (!c) {
        epoch_unpin();
        return RAG_ENOTFOUND;
    }
    *list = atomic_load(&c->list);
    return RAG_OK;
}

void knowledge_unpin(struct knowledge *k)
{
    (void)k;
    epoch_unpin();
}

struct str knowledge_system_prompt(struct knowledge *k, struct str name)
{
    struct collection *c = knowledge_find(atomic_load(&k->catalog), name);
    const char *text = c ? atomic_load(&c->system_prompt) : NULL;
    return text ? str_of(text) : (struct str){0};
}

int64_t knowledge_collection_id(struct knowledge *k, struct str name)
{
    epoch_pin();
    struct collection *c = knowledge_find(atomic_load(&k->catalog), name);
    int64_t id = c ? c->id : 0;
    epoch_unpin();
    return id;
}

rag_code knowledge_reader(struct knowledge *k, struct store_reader **r, struct rag_err *err)
{
    *r = NULL;
    pthread_mutex_lock(&k->reader_mu);
    if (k->n_readers)
        *r = k->readers[--k->n_readers];
    pthread_mutex_unlock(&k->reader_mu);
    return *r ? RAG_OK : store_reader_open(&(struct store_options){.dir = k->dir}, r, err);
}

void knowledge_reader_give(struct knowledge *k, struct store_reader *r)
{
    pthread_mutex_lock(&k->reader_mu);
    if (k->n_readers < READER_POOL) {
        k->readers[k->n_readers++] = r;
        r = NULL;
    }
    pthread_mutex_unlock(&k->reader_mu);
    store_reader_close(r);
}

bool knowledge_ready(const struct knowledge *k)
{
    return atomic_load(&k->ready);
}

void knowledge_stats(struct knowledge *k, struct knowledge_stats *out)
{
    *out = (struct knowledge_stats){.pending_rebuild = atomic_load(&k->n_pending),
                                    .merges = atomic_load(&k->merges),
                                    .rebuilt_documents = atomic_load(&k->rebuilt),
                                    .damaged_segments = atomic_load(&k->damaged)};
    epoch_pin();
    const struct catalog *cat = atomic_load(&k->catalog);
    out->collections = cat->n;
    for (uint32_t i = 0; i < cat->n; i++) {
        const struct segment_list *l = atomic_load(&cat->c[i]->list);
        out->documents += l->n_docs;
        out->chunks += l->n_chunks;
        out->segments += l->n;
        for (uint32_t e = 0; e < l->n; e++) {
            const struct vector_block *b = l->e[e].vectors[0];
            uint32_t missing = b ? vector_block_missing(b, l->e[e].live) : 0;
            out->vectors += b ? l->e[e].n_live - missing : 0;
            out->vectors_missing += missing;
            out->vector_bytes += b ? vector_block_bytes(b) + vector_block_token_bytes(b) : 0;
        }
        for (uint32_t e = 0; e < l->n; e++) {
            out->segments_in_memory += l->e[e].segment->owned != NULL;
            out->segment_bytes += segment_bytes(l->e[e].segment);
        }
    }
    epoch_unpin();
    pthread_mutex_lock(&k->queue_mu);
    out->queue_len = k->queue_len;
    pthread_mutex_unlock(&k->queue_mu);
}

/* ---- submitting ---------------------------------------------------------------------------------------- */

rag_code knowledge_submit(struct knowledge *k, struct job *j)
{
    j->next = NULL;
    j->n_affected = 0;
    j->created = false;
    j->code = RAG_OK;
    j->err = (struct rag_err){0};
    pthread_mutex_lock(&k->queue_mu);
    bool full = k->closing || k->queue_len >= QUEUE_MAX;
    if (!full) {
        if (k->tail)
            k->tail->next = j;
        else
            k->head = j;
        k->tail = j;
        k->queue_len++;
        pthread_cond_signal(&k->queue_cv);
    }
    pthread_mutex_unlock(&k->queue_mu);
    return full ? RAG_EBUSY : RAG_OK;
}

struct waiter {
    pthread_mutex_t mu;
    pthread_cond_t cv;
    bool done;
};

static void wake(struct job *j)
{
    struct waiter *w = j->ctx;
    pthread_mutex_lock(&w->mu);
    w->done = true;
    pthread_cond_signal(&w->cv);
    pthread_mutex_unlock(&w->mu);
}

rag_code knowledge_apply(struct knowledge *k, struct job *j)
{
    struct waiter w = {.mu = PTHREAD_MUTEX_INITIALIZER, .cv = PTHREAD_COND_INITIALIZER};
    j->done = wake;
    j->ctx = &w;
    rag_code rc = knowledge_submit(k, j);
    if (rc)
        return rc;
    pthread_mutex_lock(&w.mu);
    while (!w.done)
        pthread_cond_wait(&w.cv, &w.mu);
    pthread_mutex_unlock(&w.mu);
    return j->code;
}

/* ---- opening ------------------------------------------------------------------------------------------- */

struct live_seq {
    int64_t seq, collection;
    bool claimed;
};
struct opening {
    struct knowledge *k;
    struct store_reader *reader;
    struct arena arena;
    struct buf seqs; /* struct live_seq[], ascending by seq */
};

static rag_code add_seq(void *ctx, int64_t collection, int64_t seq)
{
    struct opening *o = ctx;
    struct live_seq s = {seq, collection, false};
    BUF_ADD_VALUE(&o->seqs, s);
    return buf_failed(&o->seqs) ? RAG_ENOMEM : RAG_OK;
}

static struct live_seq *find_seq(struct opening *o, int64_t seq)
{
    struct live_seq *s = (void *)o->seqs.ptr;
    size_t lo = 0, hi = o->seqs.len / sizeof *s;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s[mid].seq < seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < o->seqs.len / sizeof *s && s[lo].seq == seq ? &s[lo] : NULL;
}

/* Adds a mapped segment to its collection, with the documents live that the store still has. */
static rag_code adopt_segment(struct opening *o, struct collection *c, struct segment *s, const char *file)
{
    struct segment_list *next;
    uint64_t *live = mem_zalloc(MEM_INDEX, bitmap_words(s->h->n_chunks) * sizeof *live);
    if (!live)
        return RAG_ENOMEM;
    for (uint32_t d = 0; d < s->h->n_docs; d++) {
        struct live_seq *q = find_seq(o, s->docs[d].seq);
        if (!q || q->claimed || q->collection != c->id)
            continue;
        q->claimed = true;
        for (uint32_t i = 0; i < s->docs[d].n_chunks; i++)
            bitmap_set(live, s->docs[d].first_chunk + i);
    }
    struct list_change change = {.add = s, .add_live = live};
    rag_code rc = knowledge_blocks_open(o->k, file, s->h->n_chunks, live, change.add_vectors);
    if (!rc)
        rc = list_edit(atomic_load(&c->list), &change, &next);
    knowledge_blocks_unref(change.add_vectors);
    if (!rc) {
        bool listed = next->n && next->e[next->n - 1].segment == s;
        knowledge_publish(c, next);
        if (listed && !knowledge_add_file(o->k, c->id, s, file))
            rc = RAG_ENOMEM;
    }
    mem_free(MEM_INDEX, live);
    return rc;
}

/* Only what a newer ragd wrote, or memory, is an error: without a manifest everything is rebuilt. */
static rag_code read_manifest(struct knowledge *k, struct manifest *m, struct rag_err *out_err)
{
    char path[4096];
    struct buf bytes;
    struct rag_err err = {0};
    buf_init(&bytes, MEM_INDEX);
    snprintf(path, sizeof path, "%s/MANIFEST", k->segment_dir);
    rag_code rc = file_read_all(path, 64 << 20, &bytes, &err);
    if (!rc)
        rc = manifest_parse(buf_str(&bytes), m, &err);
    buf_clear(&bytes);
    if (rc == RAG_EVERSION || rc == RAG_ENOMEM)
        return rag_err_set(out_err, rc, "%s", err.msg);
    if (rc && rc != RAG_ENOTFOUND) {
        log_warn("segment manifest unusable; segments are rebuilt", LOG_STR("why", err.msg), LOG_END);
        atomic_fetch_add(&k->damaged, 1);
        buf_reset(&m->entries);
    }
    return RAG_OK;
}

/* Removes files that no manifest names: left by a crash, or damaged. Keeps the file counter above them all. */
static void sweep_files(struct knowledge *k)
{
    DIR *d = opendir(k->segment_dir);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        bool known = strcmp(e->d_name, "MANIFEST") == 0 || e->d_name[0] == '.';
        bool companion_kept = !k->opt.spaces[0] && strstr(e->d_name, ".vec"); /* without a model: for the next start */
        const struct segment_file *f = (const void *)k->files.ptr;
        for (size_t i = 0; i < k->files.len / sizeof *f && !known; i++) {
            known = strcmp(f[i].file, e->d_name) == 0 || (companion_kept && strncmp(f[i].file, e->d_name, 10) == 0);
            for (uint32_t slot = 0; slot < VECTOR_SLOTS && !known; slot++) {
                char companion[64];
                knowledge_companion_name(k, slot, f[i].file, companion);
                known = k->opt.spaces[slot] && strcmp(companion, e->d_name) == 0;
            }
        }
        unsigned long long n = strtoull(e->d_name, NULL, 10);
        if (n >= k->next_file && n < MANIFEST_MAX_FILE)
            k->next_file = n + 1;
        if (!known) {
            char path[4096];
            snprintf(path, sizeof path, "%s/%s", k->segment_dir, e->d_name);
            file_remove(path);
        }
    }
    closedir(d);
}

static rag_code map_segments(struct opening *o, struct rag_err *err)
{
    struct knowledge *k = o->k;
    struct manifest m;
    int64_t last_seq = 0;
    manifest_init(&m);
    rag_code rc = read_manifest(k, &m, err);
    if (!rc)
        rc = store_last_seq(o->reader, &last_seq, err);
    k->next_file = m.next_file;
    const struct manifest_entry *e = (const void *)m.entries.ptr;
    for (size_t i = 0; i < m.entries.len / sizeof *e && !rc; i++) {
        char path[4096];
        struct segment *s;
        struct rag_err why;
        struct collection *c = knowledge_find_id(atomic_load(&k->catalog), e[i].collection);
        if (!c)
            continue;
        snprintf(path, sizeof path, "%s/%s", k->segment_dir, e[i].file);
        rc = segment_open(path, analyzer_fingerprint(k->opt.analyzer), &s, &why);
        if (!rc && s->h->n_docs && s->seqs[s->h->n_docs - 1].seq > last_seq) {
            segment_unref(s); /* the database was restored from a backup: it gives these seqs out again */
            rc = rag_err_set(&why, RAG_ECONFLICT, "segment %s: newer than the database", path);
        }
        if (rc == RAG_EVERSION) {
            rag_err_set(err, rc, "%s", why.msg);
        } else if (rc && rc != RAG_ENOMEM) {
            log_warn("segment unusable; its documents are rebuilt", LOG_STR("why", why.msg), LOG_END);
            atomic_fetch_add(&k->damaged, 1);
            rc = RAG_OK;
        } else if (!rc) {
            rc = adopt_segment(o, c, s, e[i].file);
            segment_unref(s);
        }
    }
    manifest_clear(&m);
    if (!rc)
        sweep_files(k);
    return rc;
}

static rag_code open_collections(struct opening *o, struct rag_err *err)
{
    struct store_collection *c;
    uint32_t n;
    rag_code rc = store_collections(o->reader, &o->arena, &c, &n, err);
    for (uint32_t i = 0; i < n && !rc; i++)
        rc = knowledge_collection_publish(o->k, c[i].name, c[i].id, c[i].settings, list_new_empty());
    return rc;
}

static rag_code open_index(struct knowledge *k, struct rag_err *err)
{
    struct opening o = {.k = k};
    buf_init(&o.seqs, MEM_INDEX);
    rag_code rc = knowledge_reader(k, &o.reader, err);
    if (!rc)
        rc = open_collections(&o, err);
    if (!rc)
        rc = store_each_seq(o.reader, add_seq, &o, err);
    if (!rc)
        rc = map_segments(&o, err);
    const struct live_seq *s = (const void *)o.seqs.ptr;
    for (size_t i = 0; i < o.seqs.len / sizeof *s && !rc; i++) {
        struct pending_doc p = {s[i].collection, s[i].seq};
        if (!s[i].claimed)
            BUF_ADD_VALUE(&k->pending, p);
    }
    if (!rc && buf_failed(&k->pending))
        rc = RAG_ENOMEM;
    atomic_store(&k->n_pending, k->pending.len / sizeof(struct pending_doc));
    atomic_store(&k->ready, k->pending.len == 0);
    if (o.reader)
        knowledge_reader_give(k, o.reader);
    buf_clear(&o.seqs);
    arena_clear(&o.arena);
    return rc;
}

static rag_code start_threads(struct knowledge *k, struct rag_err *err)
{
    k->background_started = pthread_create(&k->background, NULL, knowledge_background_main, k) == 0;
    k->writer_started =
        k->background_started && pthread_create(&k->writer, NULL, knowledge_writer_main, k) == 0;
    return k->writer_started ? RAG_OK : rag_err_set(err, RAG_EBUSY, "threads: cannot start");
}

rag_code knowledge_open(const struct knowledge_options *opt, struct knowledge **out, struct rag_err *err)
{
    struct knowledge *k = mem_zalloc(MEM_INDEX, sizeof *k);
    if (!k)
        return rag_err_set(err, RAG_ENOMEM, "data folder %s: out of memory", opt->dir);
    k->opt = *opt;
    if (!k->opt.flush_chunks)
        k->opt.flush_chunks = 4096;
    pthread_mutex_init(&k->queue_mu, NULL);
    pthread_mutex_init(&k->task_mu, NULL);
    pthread_mutex_init(&k->reader_mu, NULL);
    pthread_mutex_init(&k->claim_mu, NULL);
    pthread_mutex_init(&k->wait_mu, NULL);
    pthread_cond_init(&k->wait_cv, NULL);
    buf_init(&k->claims, MEM_INDEX);
    atomic_store(&k->dense_slot, opt->spaces[1] ? 1 : 0);
    pthread_cond_init(&k->queue_cv, NULL);
    pthread_cond_init(&k->task_cv, NULL);
    pthread_cond_init(&k->ready_cv, NULL);
    buf_init(&k->files, MEM_INDEX);
    buf_init(&k->pending, MEM_INDEX);
    chunk_terms_init(&k->terms);
    text_chunks_init(&k->chunks);
    atomic_store(&k->catalog, (struct catalog *)mem_zalloc(MEM_INDEX, sizeof(struct catalog)));
    rag_code rc = atomic_load(&k->catalog) ? RAG_OK : RAG_ENOMEM;
    if (strlen(opt->dir) >= sizeof k->dir)
        rc = RAG_ETOOBIG;
    else
        memcpy(k->dir, opt->dir, strlen(opt->dir) + 1);
    snprintf(k->segment_dir, sizeof k->segment_dir, "%s/segments", k->dir);
    if (!rc)
        rc = store_open(&(struct store_options){.dir = k->dir}, &k->store, err);
    if (!rc && (rc = file_mkdirs(k->segment_dir, 0700)))
        rag_err_set(err, rc, "folder %s: cannot create", k->segment_dir);
    if (!rc)
        rc = knowledge_models_open(k, err);
    if (!rc)
        rc = open_index(k, err);
    if (!rc)
        rc = start_threads(k, err);
    if (rc) {
        if (err && !err->msg[0])
            rag_err_set(err, rc, "data folder %s: %s", opt->dir, rag_code_name(rc));
        knowledge_close(k);
        return rc;
    }
    pthread_mutex_lock(&k->queue_mu);
    while (opt->wait_ready && !knowledge_ready(k))
        pthread_cond_wait(&k->ready_cv, &k->queue_mu);
    pthread_mutex_unlock(&k->queue_mu);
    *out = k;
    return RAG_OK;
}

void knowledge_close(struct knowledge *k)
{
    if (!k)
        return;
    pthread_mutex_lock(&k->queue_mu);
    k->closing = true;
    pthread_cond_signal(&k->queue_cv);
    pthread_mutex_unlock(&k->queue_mu);
    if (k->writer_started)
        pthread_join(k->writer, NULL);
    pthread_mutex_lock(&k->task_mu);
    k->task_stop = true;
    pthread_cond_broadcast(&k->task_cv);
    pthread_mutex_unlock(&k->task_mu);
    if (k->background_started)
        pthread_join(k->background, NULL);
    struct segment_file *f = (void *)k->files.ptr;
    for (size_t i = 0; i < k->files.len / sizeof *f; i++)
        segment_unref(f[i].segment);
    struct catalog *cat = atomic_load(&k->catalog);
    for (uint32_t i = 0; cat && i < cat->n; i++) {
        list_free(atomic_load(&cat->c[i]->list));
        mem_free(MEM_INDEX, cat->c[i]);
    }
    mem_free(MEM_INDEX, cat);
    for (uint32_t i = 0; i < k->n_readers; i++)
        store_reader_close(k->readers[i]);
    store_close(k->store);
    buf_clear(&k->files);
    buf_clear(&k->pending);
    buf_clear(&k->claims);
    chunk_terms_clear(&k->terms);
    text_chunks_clear(&k->chunks);
    epoch_collect();
    mem_free(MEM_INDEX, k);
}
