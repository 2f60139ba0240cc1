/* Vectors of the segments' chunks: blocks beside the segments, their companion files, which chunks are still without
 * one. The vectors of record are in the store; a block that is lost only costs reading them again. */
#include <stdio.h>

#include "base/bitmap.h"
#include "index/segment_int.h"
#include "obs/log.h"
#include "pipeline/knowledge_int.h"
#include "pipeline/vector_record.h"
#include "sys/clock.h"
#include "sys/epoch.h"

static const int64_t COMPANION_RETRY_NS = 60 * INT64_C(1000000000);

struct claim {
    int64_t seq;
    uint32_t ordinal;
};

/* ---- blocks -------------------------------------------------------------------------------------------- */

void knowledge_blocks_unref(struct vector_block *blocks[VECTOR_SLOTS])
{
    for (uint32_t s = 0; s < VECTOR_SLOTS; s++) {
        vector_block_unref(blocks[s]);
        blocks[s] = NULL;
    }
}

rag_code knowledge_blocks_new(struct knowledge *k, uint32_t n_chunks, struct vector_block *out[VECTOR_SLOTS])
{
    /* A replaced model makes no new vectors. */
    return k->opt.spaces[0] ? vector_block_new(k->opt.spaces[0], n_chunks, &out[0]) : RAG_OK;
}

void knowledge_blocks_copy(const struct list_entry *const *e, uint64_t *const *live, uint32_t n,
                           struct vector_block *const out[VECTOR_SLOTS])
{
    for (uint32_t s = 0; s < VECTOR_SLOTS; s++) {
        uint32_t row = 0;
        for (uint32_t i = 0; i < n && out[s]; i++) {
            const uint64_t *bits = live ? live[i] : e[i]->live;
            const struct vector_block *from = e[i]->vectors[s];
            for (uint32_t c = 0; c < segment_n_chunks(e[i]->segment); c++) {
                if (!bitmap_get(bits, c))
                    continue;
                RAG_ASSERT(row < vector_block_rows(out[s]));
                if (from && vector_block_has(from, c) && !vector_block_has(out[s], row))
                    vector_block_copy(out[s], row, from, c);
                row++;
            }
        }
    }
}

rag_code knowledge_blocks_merge(struct knowledge *k, const struct list_entry *const *e, uint64_t *const *live,
                                uint32_t n, uint32_t n_chunks, struct vector_block *out[VECTOR_SLOTS])
{
    rag_code rc = RAG_OK;
    for (uint32_t s = 0; s < VECTOR_SLOTS && !rc; s++) {
        bool any = s == 0;
        for (uint32_t i = 0; i < n; i++)
            any |= e[i]->vectors[s] != NULL && knowledge_has_replaced(k);
        if (any && k->opt.spaces[s])
            rc = vector_block_new(k->opt.spaces[s], n_chunks, &out[s]);
    }
    if (rc)
        knowledge_blocks_unref(out);
    else
        knowledge_blocks_copy(e, live, n, out);
    return rc;
}

void knowledge_companion_name(const struct knowledge *k, uint32_t slot, const char *file, char out[64])
{
    const struct vector_space *sp = k->opt.spaces[slot];
    out[0] = 0;
    if (!sp)
        return;
    const uint8_t *d = sp->digest;
    snprintf(out, 64, "%.10s-%02x%02x%02x%02x%02x%02x%02x%02x.vec", file, d[0], d[1], d[2], d[3], d[4], d[5], d[6],
             d[7]);
}

/* A file that is not complete becomes a block in memory, since rows will be added. */
static rag_code open_block(struct knowledge *k, uint32_t slot, const char *file, uint32_t n_chunks,
                           const uint64_t *live, struct vector_block **out)
{
    char name[64], path[4096];
    struct vector_block *mapped = NULL;
    struct rag_err why = {0};
    const struct vector_space *space = k->opt.spaces[slot];
    knowledge_companion_name(k, slot, file, name);
    snprintf(path, sizeof path, "%s/%s", k->segment_dir, name);
    rag_code rc = vector_block_open(path, space, n_chunks, &mapped, &why);
    if (rc == RAG_ENOMEM)
        return rc;
    if (rc && rc != RAG_ENOTFOUND)
        log_warn("vector file unusable; its vectors are read from the database", LOG_STR("why", why.msg), LOG_END);
    if (!rc && (slot || !vector_block_missing(mapped, live))) {
        *out = mapped;
        return RAG_OK;
    }
    if (rc && slot)
        return RAG_OK; /* nothing fills the block of a replaced model */
    rc = vector_block_new(space, n_chunks, out);
    for (uint32_t c = 0; c < n_chunks && mapped && !rc; c++)
        if (vector_block_has(mapped, c))
            vector_block_copy(*out, c, mapped, c);
    vector_block_unref(mapped);
    return rc;
}

rag_code knowledge_blocks_open(struct knowledge *k, const char *file, uint32_t n_chunks, const uint64_t *live,
                               struct vector_block *out[VECTOR_SLOTS])
{
    rag_code rc = RAG_OK;
    for (uint32_t s = 0; s < VECTOR_SLOTS && !rc; s++)
        if (k->opt.spaces[s])
            rc = open_block(k, s, file, n_chunks, live, &out[s]);
    if (rc)
        knowledge_blocks_unref(out);
    return rc;
}

void knowledge_blocks_write(struct knowledge *k, const char *file, struct vector_block *blocks[VECTOR_SLOTS])
{
    for (uint32_t s = 0; s < VECTOR_SLOTS; s++) {
        char name[64];
        struct vector_block *mapped;
        struct rag_err err = {0};
        if (!blocks[s] || vector_block_is_file(blocks[s]) || !vector_block_present(blocks[s]))
            continue;
        knowledge_companion_name(k, s, file, name);
        if (vector_block_write(blocks[s], k->segment_dir, name, &mapped, &err)) {
            log_warn("vector file not written", LOG_STR("why", err.msg), LOG_END);
            continue;
        }
        vector_block_unref(blocks[s]);
        blocks[s] = mapped;
    }
}

/* The entry of a segment file whose vectors are complete and only in memory; NULL: none. */
static const struct list_entry *complete_in_memory(const struct segment_list *l)
{
    for (uint32_t i = 0; i < l->n; i++) {
        const struct list_entry *e = &l->e[i];
        if (!e->segment->owned && e->vectors[0] && !vector_block_is_file(e->vectors[0]) &&
            !vector_block_missing(e->vectors[0], e->live))
            return e;
    }
    return NULL;
}

static const char *file_name_of(const struct knowledge *k, const struct segment *s)
{
    const struct segment_file *f = (const void *)k->files.ptr;
    for (size_t i = 0; i < k->files.len / sizeof *f; i++)
        if (f[i].segment == s)
            return f[i].file;
    return NULL;
}

bool knowledge_companion_step(struct knowledge *k)
{
    struct catalog *cat = atomic_load(&k->catalog);
    if (k->companion_retry_ns && clock_mono_ns() < k->companion_retry_ns)
        return false;
    for (uint32_t i = 0; i < cat->n && k->opt.spaces[0]; i++) {
        struct segment_list *now = atomic_load(&cat->c[i]->list), *next;
        const struct list_entry *e = complete_in_memory(now);
        const char *file = e ? file_name_of(k, e->segment) : NULL;
        if (!file)
            continue;
        struct vector_block *blocks[VECTOR_SLOTS] = {vector_block_ref(e->vectors[0])};
        knowledge_blocks_write(k, file, blocks);
        struct vectors_set set = {e->segment, 0, blocks[0]};
        rag_code rc = vector_block_is_file(blocks[0])
                          ? list_edit(now, &(struct list_change){.set = &set, .n_set = 1}, &next)
                          : RAG_EIO;
        if (!rc) {
            next->generation = now->generation; /* the same content */
            knowledge_publish(cat->c[i], next);
        }
        knowledge_blocks_unref(blocks);
        k->companion_retry_ns = rc ? clock_mono_ns() + COMPANION_RETRY_NS : 0;
        return rc == RAG_OK;
    }
    return false;
}

void knowledge_flush_companion(struct knowledge *k, const struct segment_file *f)
{
    struct collection *c = knowledge_find_id(atomic_load(&k->catalog), f->collection);
    const struct segment_list *l = c ? atomic_load(&c->list) : NULL;
    for (uint32_t i = 0; l && i < l->n; i++)
        if (l->e[i].segment == f->segment) {
            struct vector_block *blocks[VECTOR_SLOTS];
            for (uint32_t s = 0; s < VECTOR_SLOTS; s++)
                blocks[s] = l->e[i].vectors[s] ? vector_block_ref(l->e[i].vectors[s]) : NULL;
            knowledge_blocks_write(k, f->file, blocks);
            knowledge_blocks_unref(blocks);
        }
}

/* ---- which chunks are without -------------------------------------------------------------------------- */

void knowledge_vectors_notify(struct knowledge *k)
{
    pthread_mutex_lock(&k->wait_mu);
    k->publications++;
    pthread_cond_broadcast(&k->wait_cv);
    pthread_mutex_unlock(&k->wait_mu);
}

uint64_t knowledge_vectors_seen(struct knowledge *k)
{
    pthread_mutex_lock(&k->wait_mu);
    uint64_t n = k->publications;
    pthread_mutex_unlock(&k->wait_mu);
    return n;
}

void knowledge_vectors_wait(struct knowledge *k, uint64_t seen, unsigned timeout_ms)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += timeout_ms / 1000;
    t.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&k->wait_mu);
    while (seen == k->publications)
        if (pthread_cond_timedwait(&k->wait_cv, &k->wait_mu, &t))
            break;
    pthread_mutex_unlock(&k->wait_mu);
}

static bool is_claimed(const struct knowledge *k, int64_t seq, uint32_t ordinal)
{
    const struct claim *c = (const void *)k->claims.ptr;
    for (size_t i = 0; i < k->claims.len / sizeof *c; i++)
        if (c[i].seq == seq && c[i].ordinal == ordinal)
            return true;
    return false;
}

static rag_code copy_str(struct arena *a, struct str s, struct str *out)
{
    char *p = arena_alloc(a, s.len + 1);
    if (!p)
        return RAG_ENOMEM;
    memcpy(p, s.ptr ? s.ptr : "", s.len);
    *out = str_make(p, s.len);
    return RAG_OK;
}

/* Claims what is missing of one entry; *bytes counts texts. */
static rag_code claim_entry(struct knowledge *k, const struct list_entry *e, uint32_t max_bytes, struct arena *a,
                            struct missing_vectors *out, size_t *bytes)
{
    const struct vector_block *b = e->vectors[0];
    rag_code rc = RAG_OK;
    if (!b || !vector_block_missing(b, e->live))
        return RAG_OK;
    for (uint32_t c = 0; c < segment_n_chunks(e->segment) && !rc; c++) {
        struct chunk_view v;
        if (vector_block_has(b, c) || !bitmap_get(e->live, c))
            continue;
        if (out->n == MISSING_MOST || (out->n && *bytes >= max_bytes))
            return RAG_OK;
        segment_chunk(e->segment, c, &v);
        if (is_claimed(k, v.seq, v.ordinal))
            continue;
        struct missing_vector *m = &out->items[out->n];
        *m = (struct missing_vector){.seq = v.seq, .ordinal = v.ordinal};
        m->text = segment_chunk_text(e->segment, c, a);
        rc = m->text.ptr ? copy_str(a, v.title, &m->title) : RAG_ENOMEM;
        if (!rc)
            rc = copy_str(a, v.heading_path, &m->heading_path);
        struct claim claim = {v.seq, v.ordinal};
        if (!rc)
            BUF_ADD_VALUE(&k->claims, claim);
        if (!rc && buf_failed(&k->claims))
            rc = RAG_ENOMEM;
        if (!rc) {
            out->n++;
            *bytes += m->text.len;
        }
    }
    return rc;
}

rag_code knowledge_vectors_claim(struct knowledge *k, uint32_t max_bytes, struct arena *a,
                                 struct missing_vectors *out)
{
    rag_code rc = RAG_OK;
    size_t bytes = 0;
    out->n = 0;
    out->model = atomic_load(&k->model_id);
    epoch_pin();
    pthread_mutex_lock(&k->claim_mu);
    const struct catalog *cat = atomic_load(&k->catalog);
    for (uint32_t i = 0; i < cat->n && !out->n && !rc; i++) {
        const struct segment_list *l = atomic_load(&cat->c[i]->list);
        snprintf(out->collection, sizeof out->collection, "%s", cat->c[i]->name);
        for (uint32_t e = 0; e < l->n && !rc && out->n < MISSING_MOST && (!out->n || bytes < max_bytes); e++)
            rc = claim_entry(k, &l->e[e], max_bytes, a, out, &bytes);
    }
    pthread_mutex_unlock(&k->claim_mu);
    epoch_unpin();
    if (rc) {
        knowledge_vectors_release(k, out);
        out->n = 0;
    }
    return rc;
}

void knowledge_vectors_release(struct knowledge *k, const struct missing_vectors *m)
{
    pthread_mutex_lock(&k->claim_mu);
    struct claim *c = (void *)k->claims.ptr;
    size_t n = k->claims.len / sizeof *c;
    for (uint32_t i = 0; i < m->n; i++)
        for (size_t j = 0; j < n; j++)
            if (c[j].seq == m->items[i].seq && c[j].ordinal == m->items[i].ordinal) {
                c[j] = c[--n];
                break;
            }
    k->claims.len = n * sizeof *c;
    k->claims.failed = false;
    pthread_mutex_unlock(&k->claim_mu);
}

uint32_t knowledge_dense_slot(const struct knowledge *k)
{
    return atomic_load(&k->dense_slot);
}

bool knowledge_has_replaced(const struct knowledge *k)
{
    return atomic_load(&k->has_replaced);
}

/* ---- the writer's jobs --------------------------------------------------------------------------------- */

rag_code knowledge_models_open(struct knowledge *k, struct rag_err *err)
{
    struct store_reader *r;
    struct store_model *m;
    struct arena a = {0};
    uint32_t n = 0;
    if (!k->opt.spaces[0])
        return RAG_OK;
    rag_code rc = knowledge_reader(k, &r, err);
    if (rc)
        return rc;
    rc = store_models(r, &a, &m, &n, err);
    for (uint32_t i = 0; i < n && !rc; i++)
        if (memcmp(m[i].digest, k->opt.spaces[0]->digest, sizeof m[i].digest) == 0)
            atomic_store(&k->model_id, m[i].id);
        else
            atomic_store(&k->has_replaced, true);
    knowledge_reader_give(k, r);
    arena_clear(&a);
    return rc;
}

/* A model is known to the store from its first vector on: looking at a folder with another one leaves no trace. */
static rag_code register_model(struct knowledge *k, struct rag_err *err)
{
    struct store_model m = {.name = str_of(k->opt.model_name), .dims = k->opt.spaces[0]->dims};
    memcpy(m.digest, k->opt.spaces[0]->digest, sizeof m.digest);
    rag_code rc = store_model_add(k->store, &m, err);
    if (!rc)
        k->model_new = m.id;
    return rc;
}

static void put_row(const struct segment_list *l, const struct vector_row *r)
{
    for (uint32_t i = 0; i < l->n; i++) {
        const struct list_entry *e = &l->e[i];
        uint32_t d = segment_find_seq(e->segment, r->seq);
        if (d == UINT32_MAX || !e->vectors[0] || r->ordinal >= e->segment->docs[d].n_chunks)
            continue;
        uint32_t c = e->segment->docs[d].first_chunk + r->ordinal;
        /* A document that died meanwhile needs none, and its block may be complete and mapped without it. */
        if (e->segment->chunks[c].ordinal == r->ordinal && bitmap_get(e->live, c) &&
            !vector_block_has(e->vectors[0], c) && !vector_block_is_file(e->vectors[0]))
            vector_block_put(e->vectors[0], c, r->vector, r->tokens);
    }
}

static rag_code store_rows(struct knowledge *k, const struct job *j, struct rag_err *err)
{
    struct buf record;
    buf_init(&record, MEM_INDEX);
    rag_code rc = store_begin(k->store, err);
    k->model_new = atomic_load(&k->model_id);
    if (!rc && !k->model_new)
        rc = register_model(k, err);
    for (uint32_t i = 0; i < j->n && !rc; i++) {
        const struct vector_row *r = &j->rows[i];
        if (r->stored)
            continue;
        buf_reset(&record);
        vector_record_write(k->opt.spaces[0], r->vector, r->tokens, &record);
        rc = buf_failed(&record) ? RAG_ENOMEM
                                 : store_vector_put(k->store, k->model_new, r->seq, r->ordinal, buf_str(&record), err);
    }
    if (rc)
        store_rollback(k->store);
    else
        rc = store_commit(k->store, err);
    if (!rc)
        atomic_store(&k->model_id, k->model_new);
    buf_clear(&record);
    return rc;
}

static void run_vectors(struct knowledge *k, struct job *j)
{
    bool all_stored = true;
    for (uint32_t i = 0; i < j->n; i++)
        all_stored &= j->rows[i].stored;
    if (!k->opt.spaces[0])
        j->code = rag_err_set(&j->err, RAG_ECONFLICT, "vectors: no model");
    else if (!all_stored)
        j->code = store_rows(k, j, &j->err);
    struct collection *c = knowledge_find(atomic_load(&k->catalog), j->collection);
    for (uint32_t i = 0; i < j->n && c && !j->code; i++)
        put_row(atomic_load(&c->list), &j->rows[i]);
}

static void drop_blocks(struct knowledge *k, struct collection *c)
{
    struct segment_list *now = atomic_load(&c->list), *next;
    struct vectors_set *set = mem_alloc(MEM_INDEX, ((size_t)now->n + 1) * sizeof *set);
    for (uint32_t i = 0; set && i < now->n; i++) {
        set[i] = (struct vectors_set){now->e[i].segment, 1, NULL};
        const char *file = file_name_of(k, now->e[i].segment);
        if (file) {
            char name[64], path[4096];
            knowledge_companion_name(k, 1, file, name);
            snprintf(path, sizeof path, "%s/%s", k->segment_dir, name);
            file_remove(path);
        }
    }
    if (set && !list_edit(now, &(struct list_change){.set = set, .n_set = now->n}, &next)) {
        next->generation = now->generation;
        knowledge_publish(c, next);
    }
    mem_free(MEM_INDEX, set);
}

/* One slice of the store's rows a job, so that writes come between; n_affected: versions left to look at. */
static void run_drop_replaced(struct knowledge *k, struct job *j)
{
    struct catalog *cat = atomic_load(&k->catalog);
    if (atomic_exchange(&k->dense_slot, 0) == 1)
        for (uint32_t i = 0; i < cat->n; i++)
            drop_blocks(k, cat->c[i]);
    j->code = store_begin(k->store, &j->err);
    if (!j->code)
        j->code = store_models_prune(k->store, atomic_load(&k->model_id), &k->prune_seq, &j->err);
    if (j->code)
        store_rollback(k->store);
    else
        j->code = store_commit(k->store, &j->err);
    j->n_affected = k->prune_seq != 0;
    if (!j->code && !k->prune_seq)
        atomic_store(&k->has_replaced, false);
}

void knowledge_vectors_job(struct knowledge *k, struct job *j)
{
    if (j->kind == JOB_VECTORS)
        run_vectors(k, j);
    else
        run_drop_replaced(k, j);
}
