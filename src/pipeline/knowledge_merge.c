/* Merging. Small segments live in memory and are merged at once, four of a size into one, so that the cost of
 * a chunk grows with the logarithm of the collection. A segment of flush_chunks becomes a file; files of one
 * size are merged in the background, up to MAX_SEGMENT_CHUNKS; a file that is half dead is rewritten. All
 * background work is one task: merge these segments into one file. The writer publishes its result and kills
 * the documents that died meanwhile. */
#include <inttypes.h>
#include <stdio.h>

#include "base/bitmap.h"
#include "index/manifest.h"
#include "index/segment_int.h"
#include "obs/log.h"
#include "pipeline/knowledge_int.h"
#include "sys/clock.h"
#include "sys/file.h"

#define MERGE_RETRY_NS (10 * INT64_C(1000000000))

static struct segment_file *file_of(struct knowledge *k, const struct segment *s)
{
    struct segment_file *f = (void *)k->files.ptr;
    for (size_t i = 0; i < k->files.len / sizeof *f; i++)
        if (f[i].segment == s)
            return &f[i];
    return NULL;
}

static bool in_task(const struct knowledge *k, const struct segment *s)
{
    for (uint32_t i = 0; i < k->task.n; i++)
        if (k->task.source[i].segment == s)
            return true;
    return false;
}

/* Sizes of one tier are within a factor of MERGE_FACTOR. */
static unsigned tier_of(uint32_t n_chunks)
{
    unsigned t = 0;
    for (n_chunks /= 8; n_chunks; n_chunks /= MERGE_FACTOR)
        t++;
    return t;
}

/* ---- in memory, on the writer ------------------------------------------------------------------------- */

static rag_code merge_entries(struct knowledge *k, struct segment_list **list, const uint32_t *at, uint32_t n)
{
    struct segment_builder *b;
    struct segment *drop[MERGE_MOST];
    const struct list_entry *source[MERGE_MOST];
    struct list_change change = {.drop = drop, .n_drop = n};
    struct segment_list *next = NULL;
    rag_code rc = segment_builder_new(analyzer_fingerprint(k->opt.analyzer), &b);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < n && !rc; i++) {
        source[i] = &(*list)->e[at[i]];
        drop[i] = source[i]->segment;
        rc = segment_builder_merge(b, drop[i], source[i]->live);
    }
    if (!rc)
        rc = segment_builder_finish(b, &change.add);
    if (!rc)
        rc = knowledge_blocks_merge(k, source, NULL, n, segment_n_chunks(change.add), change.add_vectors);
    if (!rc)
        rc = list_edit(*list, &change, &next);
    if (!rc) {
        next->generation = (*list)->generation;
        list_free(*list);
        *list = next;
    }
    segment_unref(change.add);
    knowledge_blocks_unref(change.add_vectors);
    segment_builder_free(b);
    return rc;
}

void knowledge_merge_small(struct knowledge *k, struct segment_list **list)
{
    for (bool again = true; again;) {
        again = false;
        for (unsigned tier = 0; tier < 16 && !again; tier++) {
            uint32_t at[MERGE_FACTOR], n = 0;
            for (uint32_t i = 0; i < (*list)->n && n < MERGE_FACTOR; i++) {
                const struct list_entry *e = &(*list)->e[i];
                if (e->segment->owned && tier_of(e->n_live) == tier && e->n_live < k->opt.flush_chunks &&
                    !in_task(k, e->segment)) {
                    at[n++] = i;
                }
            }
            if (n < MERGE_FACTOR)
                continue;
            if (merge_entries(k, list, at, n))
                return;
            again = true;
        }
    }
}

/* ---- files, in the background ------------------------------------------------------------------------- */

static void task_clear(struct merge_task *t)
{
    for (uint32_t i = 0; i < t->n; i++) {
        segment_unref(t->source[i].segment);
        knowledge_blocks_unref(t->source[i].vectors);
        mem_free(MEM_INDEX, t->live[i]);
    }
    segment_unref(t->result);
    knowledge_blocks_unref(t->vectors);
    t->n = 0;
    t->result = NULL;
}

static void merge_run(struct knowledge *k, struct merge_task *t)
{
    struct segment_builder *b;
    struct segment *mem = NULL;
    const struct list_entry *source[MERGE_MOST];
    rag_code rc = segment_builder_new(analyzer_fingerprint(k->opt.analyzer), &b);
    if (rc) {
        rag_err_set(&t->err, rc, "merge: out of memory");
        return;
    }
    for (uint32_t i = 0; i < t->n && !rc; i++) {
        source[i] = &t->source[i];
        rc = segment_builder_merge(b, t->source[i].segment, t->live[i]);
    }
    if (!rc)
        rc = segment_builder_finish(b, &mem);
    if (!rc)
        rc = knowledge_blocks_merge(k, source, t->live, t->n, segment_n_chunks(mem), t->vectors);
    if (rc)
        rag_err_set(&t->err, rc, "merge: %s", rag_code_name(rc));
    else if (segment_write(mem, k->segment_dir, t->file, &t->result, &t->err))
        t->result = NULL;
    segment_unref(mem);
    segment_builder_free(b);
}

void *knowledge_background_main(void *arg)
{
    struct knowledge *k = arg;
    for (;;) {
        pthread_mutex_lock(&k->task_mu);
        while (k->task.state != MERGE_RUNNING && !k->task_stop)
            pthread_cond_wait(&k->task_cv, &k->task_mu);
        bool stop = k->task.state != MERGE_RUNNING;
        pthread_mutex_unlock(&k->task_mu);
        if (stop)
            return NULL;
        merge_run(k, &k->task);
        pthread_mutex_lock(&k->task_mu);
        k->task.state = MERGE_DONE;
        pthread_cond_broadcast(&k->task_cv);
        pthread_mutex_unlock(&k->task_mu);
        pthread_mutex_lock(&k->queue_mu);
        pthread_cond_signal(&k->queue_cv);
        pthread_mutex_unlock(&k->queue_mu);
    }
}

static rag_code task_add(struct merge_task *t, const struct list_entry *e)
{
    size_t words = bitmap_words(segment_n_chunks(e->segment));
    uint64_t *live = mem_alloc(MEM_INDEX, words * sizeof *live);
    if (!live)
        return RAG_ENOMEM;
    memcpy(live, e->live, words * sizeof *live);
    t->live[t->n] = live;
    struct list_entry *s = &t->source[t->n++];
    *s = (struct list_entry){.segment = segment_ref(e->segment)};
    for (uint32_t v = 0; v < VECTOR_SLOTS; v++)
        s->vectors[v] = e->vectors[v] ? vector_block_ref(e->vectors[v]) : NULL;
    return RAG_OK;
}

/* What should become one file: a large in-memory segment, a half-dead file, or MERGE_FACTOR files of a tier. */
static uint32_t pick(struct knowledge *k, const struct segment_list *l, uint32_t *at)
{
    for (uint32_t i = 0; i < l->n; i++) {
        const struct list_entry *e = &l->e[i];
        bool large = e->segment->owned && e->n_live >= k->opt.flush_chunks;
        bool half_dead = !e->segment->owned && e->n_live < segment_n_chunks(e->segment) / 2;
        if (large || half_dead) {
            at[0] = i;
            return 1;
        }
    }
    for (unsigned tier = 0; tier < 16; tier++) {
        uint32_t n = 0, total = 0;
        for (uint32_t i = 0; i < l->n && n < MERGE_FACTOR; i++) {
            const struct list_entry *e = &l->e[i];
            if (!e->segment->owned && tier_of(e->n_live) == tier && total + e->n_live <= MAX_SEGMENT_CHUNKS) {
                at[n++] = i;
                total += e->n_live;
            }
        }
        if (n == MERGE_FACTOR)
            return n;
    }
    return 0;
}

static void next_file_name(struct knowledge *k, char file[32])
{
    snprintf(file, 32, "%010" PRIu64 ".seg", k->next_file++);
}

static void start_if_due(struct knowledge *k)
{
    if (k->merge_retry_ns && clock_mono_ns() < k->merge_retry_ns)
        return;
    struct catalog *cat = atomic_load(&k->catalog);
    for (uint32_t i = 0; i < cat->n; i++) {
        const struct segment_list *l = atomic_load(&cat->c[i]->list);
        uint32_t at[MERGE_MOST], n = pick(k, l, at);
        if (n == 0)
            continue;
        struct merge_task *t = &k->task;
        t->collection = cat->c[i]->id;
        t->err = (struct rag_err){0};
        next_file_name(k, t->file);
        rag_code rc = RAG_OK;
        for (uint32_t j = 0; j < n && !rc; j++)
            rc = task_add(t, &l->e[at[j]]);
        if (rc) {
            task_clear(t);
            return;
        }
        pthread_mutex_lock(&k->task_mu);
        t->state = MERGE_RUNNING;
        pthread_cond_broadcast(&k->task_cv);
        pthread_mutex_unlock(&k->task_mu);
        return;
    }
}

rag_code knowledge_write_manifest(struct knowledge *k, struct rag_err *err)
{
    struct manifest m;
    struct buf bytes;
    manifest_init(&m);
    buf_init(&bytes, MEM_INDEX);
    m.next_file = k->next_file;
    const struct segment_file *f = (const void *)k->files.ptr;
    for (size_t i = 0; i < k->files.len / sizeof *f; i++) {
        struct manifest_entry e = {.collection = f[i].collection};
        memcpy(e.file, f[i].file, sizeof e.file);
        BUF_ADD_VALUE(&m.entries, e);
    }
    manifest_format(&m, &bytes);
    rag_code rc = buf_failed(&m.entries) || buf_failed(&bytes)
                      ? rag_err_set(err, RAG_ENOMEM, "manifest: out of memory")
                      : file_write_atomic(k->segment_dir, "MANIFEST", bytes.ptr, bytes.len, err);
    manifest_clear(&m);
    buf_clear(&bytes);
    return rc;
}

static void file_remove_record(struct knowledge *k, struct segment_file *f)
{
    segment_unref(f->segment);
    struct segment_file *last = (struct segment_file *)(void *)(k->files.ptr + k->files.len) - 1;
    *f = *last;
    k->files.len -= sizeof *f;
}

bool knowledge_add_file(struct knowledge *k, int64_t collection, struct segment *s, const char *file)
{
    struct segment_file f = {.segment = s, .collection = collection};
    snprintf(f.file, sizeof f.file, "%s", file);
    BUF_ADD_VALUE(&k->files, f);
    if (buf_failed(&k->files))
        return false;
    segment_ref(s);
    return true;
}

static void unlink_segment(struct knowledge *k, const char *file)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", k->segment_dir, file);
    file_remove(path);
    for (uint32_t slot = 0; slot < VECTOR_SLOTS; slot++) {
        char companion[64];
        if (!k->opt.spaces[slot])
            continue;
        knowledge_companion_name(k, slot, file, companion);
        snprintf(path, sizeof path, "%s/%s", k->segment_dir, companion);
        file_remove(path);
    }
}

/* Records result's file in the place of the sources' files, writes the manifest, unlinks the old files. */
static rag_code swap_files(struct knowledge *k, int64_t collection, struct segment *const *source, uint32_t n,
                           struct segment *result, const char *file, struct rag_err *err)
{
    char gone[MERGE_MOST][32];
    uint32_t n_gone = 0;
    if (!knowledge_add_file(k, collection, result, file))
        return rag_err_set(err, RAG_ENOMEM, "segment files: out of memory");
    for (uint32_t i = 0; i < n; i++) {
        struct segment_file *f = file_of(k, source[i]);
        if (f) {
            memcpy(gone[n_gone++], f->file, sizeof gone[0]);
            file_remove_record(k, f);
        }
    }
    rag_code rc = knowledge_write_manifest(k, err);
    if (!rc) /* an old manifest still names them: keep the files until a manifest without them is durable */
        for (uint32_t i = 0; i < n_gone; i++)
            unlink_segment(k, gone[i]);
    return rc;
}

/* Documents of the sources that were live when the merge began and are not any more. */
static rag_code died_meanwhile(const struct merge_task *t, const struct segment_list *now, struct buf *dead)
{
    for (uint32_t i = 0; i < t->n; i++) {
        const struct segment *s = t->source[i].segment;
        const uint64_t *live = NULL;
        for (uint32_t e = 0; e < now->n; e++)
            if (now->e[e].segment == s)
                live = now->e[e].live;
        for (uint32_t d = 0; d < s->h->n_docs; d++) {
            uint32_t c = s->docs[d].first_chunk;
            if (s->docs[d].n_chunks && bitmap_get(t->live[i], c) && !(live && bitmap_get(live, c)))
                BUF_ADD_VALUE(dead, s->docs[d].seq);
        }
    }
    return buf_failed(dead) ? RAG_ENOMEM : RAG_OK;
}

static void take_in(struct knowledge *k, struct merge_task *t)
{
    struct collection *c = knowledge_find_id(atomic_load(&k->catalog), t->collection);
    struct buf dead;
    struct segment_list *next = NULL;
    buf_init(&dead, MEM_INDEX);
    if (!t->result) {
        log_error("segment merge failed", LOG_STR("why", t->err.msg), LOG_END);
        k->merge_retry_ns = clock_mono_ns() + MERGE_RETRY_NS;
    } else if (!c) {
        unlink_segment(k, t->file); /* the collection was deleted meanwhile */
    } else {
        const struct segment_list *now = atomic_load(&c->list);
        struct segment *drop[MERGE_MOST];
        const struct list_entry *source[MERGE_MOST];
        for (uint32_t i = 0; i < t->n; i++) {
            drop[i] = t->source[i].segment;
            source[i] = &t->source[i];
        }
        knowledge_blocks_copy(source, t->live, t->n, t->vectors); /* what came while the merge ran */
        if (!knowledge_has_replaced(k)) {
            vector_block_unref(t->vectors[1]);
            t->vectors[1] = NULL;
        }
        struct vector_block *replaced[VECTOR_SLOTS] = {NULL, t->vectors[1]};
        knowledge_blocks_write(k, t->file, replaced); /* nothing else writes it, and the sources' files go now */
        t->vectors[1] = replaced[1];
        rag_code rc = died_meanwhile(t, now, &dead);
        struct list_change change = {.drop = drop,
                                     .n_drop = t->n,
                                     .add = t->result,
                                     .dead = (const void *)dead.ptr,
                                     .n_dead = (uint32_t)(dead.len / sizeof(int64_t))};
        memcpy(change.add_vectors, t->vectors, sizeof change.add_vectors);
        if (!rc)
            rc = list_edit(now, &change, &next);
        if (rc) {
            unlink_segment(k, t->file);
            k->merge_retry_ns = clock_mono_ns() + MERGE_RETRY_NS;
        } else {
            next->generation = now->generation; /* the same content in other segments */
            knowledge_publish(c, next);
            if (swap_files(k, t->collection, drop, t->n, t->result, t->file, &t->err))
                log_error("manifest not written", LOG_STR("why", t->err.msg), LOG_END);
            k->merge_retry_ns = 0;
            atomic_fetch_add(&k->merges, 1);
        }
    }
    buf_clear(&dead);
    task_clear(t);
    /* What died while the task held it: files of a deleted collection, or of documents that are all gone. */
    knowledge_forget_files(k, t->collection, c ? atomic_load(&c->list) : NULL);
    pthread_mutex_lock(&k->task_mu);
    t->state = MERGE_IDLE;
    pthread_mutex_unlock(&k->task_mu);
}

void knowledge_merge_step(struct knowledge *k)
{
    pthread_mutex_lock(&k->task_mu);
    int state = (int)k->task.state;
    pthread_mutex_unlock(&k->task_mu);
    if (state == MERGE_DONE) {
        take_in(k, &k->task);
        state = MERGE_IDLE;
    }
    if (state == MERGE_IDLE)
        start_if_due(k);
}

/* One file for all in-memory segments of a collection. */
static void flush_collection(struct knowledge *k, struct collection *c)
{
    struct segment_list *now = atomic_load(&c->list), *next = NULL;
    struct segment_builder *b;
    struct segment *mem = NULL, **source = NULL;
    const struct list_entry **entry = NULL;
    struct list_change change = {0};
    uint32_t n = 0;
    struct rag_err err = {0};
    char file[32];
    rag_code rc = segment_builder_new(analyzer_fingerprint(k->opt.analyzer), &b);
    if (rc)
        return;
    source = mem_alloc(MEM_INDEX, ((size_t)now->n + 1) * sizeof *source);
    entry = mem_alloc(MEM_INDEX, ((size_t)now->n + 1) * sizeof *entry);
    rc = source && entry ? RAG_OK : RAG_ENOMEM;
    for (uint32_t i = 0; i < now->n && !rc; i++)
        if (now->e[i].segment->owned) {
            entry[n] = &now->e[i];
            source[n++] = now->e[i].segment;
            rc = segment_builder_merge(b, now->e[i].segment, now->e[i].live);
        }
    if (!rc && n) {
        next_file_name(k, file);
        rc = segment_builder_finish(b, &mem);
        if (!rc)
            rc = segment_write(mem, k->segment_dir, file, &change.add, &err);
        if (!rc)
            rc = knowledge_blocks_merge(k, entry, NULL, n, segment_n_chunks(mem), change.add_vectors);
        if (!rc) {
            knowledge_blocks_write(k, file, change.add_vectors);
            change.drop = source;
            change.n_drop = n;
            rc = list_edit(now, &change, &next);
        }
        if (!rc) {
            knowledge_publish(c, next);
            rc = swap_files(k, c->id, NULL, 0, change.add, file, &err);
        }
    }
    if (rc)
        log_error("segments not flushed; they are rebuilt at the next start", LOG_STR("why", err.msg),
                  LOG_END);
    mem_free(MEM_INDEX, source);
    mem_free(MEM_INDEX, entry);
    segment_unref(mem);
    segment_unref(change.add);
    knowledge_blocks_unref(change.add_vectors);
    segment_builder_free(b);
}

void knowledge_flush(struct knowledge *k)
{
    pthread_mutex_lock(&k->task_mu);
    while (k->task.state == MERGE_RUNNING)
        pthread_cond_wait(&k->task_cv, &k->task_mu);
    pthread_mutex_unlock(&k->task_mu);
    if (k->task.state == MERGE_DONE)
        take_in(k, &k->task);
    struct catalog *cat = atomic_load(&k->catalog);
    for (uint32_t i = 0; i < cat->n; i++)
        flush_collection(k, cat->c[i]);
    const struct segment_file *f = (const void *)k->files.ptr;
    for (size_t i = 0; i < k->files.len / sizeof *f; i++)
        knowledge_flush_companion(k, &f[i]);
}

static bool in_list(const struct segment_list *l, const struct segment *s)
{
    for (uint32_t i = 0; l && i < l->n; i++)
        if (l->e[i].segment == s)
            return true;
    return false;
}

void knowledge_forget_files(struct knowledge *k, int64_t collection, const struct segment_list *list)
{
    struct rag_err err;
    struct segment_file *f = (void *)k->files.ptr;
    struct buf gone;
    buf_init(&gone, MEM_INDEX);
    for (size_t i = 0; i < k->files.len / sizeof *f;) {
        if (f[i].collection == collection && !in_list(list, f[i].segment) && !in_task(k, f[i].segment)) {
            buf_add(&gone, f[i].file, sizeof f[i].file);
            file_remove_record(k, &f[i]);
        } else {
            i++;
        }
    }
    if (gone.len && !knowledge_write_manifest(k, &err))
        for (size_t i = 0; i < gone.len; i += sizeof f->file)
            unlink_segment(k, gone.ptr + i);
    buf_clear(&gone);
}
