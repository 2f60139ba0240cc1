#include "pipeline/embedder.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "obs/log.h"
#include "pipeline/passage.h"
#include "pipeline/vector_record.h"
#include "sys/clock.h"
#include "sys/cpu.h"

enum { MAX_THREADS = 64, BATCH_BYTES = 24 << 10, IDLE_MS = 1000, FAILED_MS = 5000, FULL_MS = 100, RATE_WINDOW_S = 10 };

struct embedder {
    struct embedder_options opt;
    uint32_t dims;
    pthread_t threads[MAX_THREADS];
    unsigned n_threads;
    atomic_bool stop;
    _Atomic uint64_t embedded, tokens, failures;
    pthread_mutex_t mu;
    int64_t window_ns; /* start of the window, and what was embedded since then: under mu */
    uint64_t window_n;
    double rate;
    int64_t last_ns; /* when the last batch ended */
};

/* What one thread works on. */
struct worker {
    struct embedder *e;
    struct arena arena;
    struct missing_vectors missing;
    struct vector_row rows[MISSING_MOST];
    float *vectors; /* MISSING_MOST x dims */
    struct buf codes[MISSING_MOST]; /* of the tokens */
    bool has[MISSING_MOST];
};

/* ---- what the store has already ------------------------------------------------------------------------ */

struct lookup {
    struct worker *w;
    int64_t seq;
};

static rag_code take_stored(void *ctx, uint32_t ordinal, struct str vector)
{
    struct lookup *l = ctx;
    struct worker *w = l->w;
    for (uint32_t i = 0; i < w->missing.n; i++) {
        struct str codes;
        if (w->missing.items[i].seq != l->seq || w->missing.items[i].ordinal != ordinal ||
            !vector_record_read(w->e->opt.space, vector, w->vectors + (size_t)i * w->e->dims, &codes))
            continue;
        buf_adds(&w->codes[i], codes);
        w->has[i] = !buf_failed(&w->codes[i]);
    }
    return RAG_OK;
}

/* Of a document only the chunks that are missing: a large one has many batches, and records are large. */
static rag_code look_up(struct worker *w, struct rag_err *err)
{
    struct store_reader *r;
    rag_code rc = knowledge_reader(w->e->opt.knowledge, &r, err);
    if (rc)
        return rc;
    for (uint32_t i = 0, end; i < w->missing.n && !rc; i = end) {
        const struct missing_vector *m = w->missing.items;
        struct lookup l = {w, m[i].seq};
        for (end = i + 1; end < w->missing.n && m[end].seq == l.seq && m[end].ordinal > m[end - 1].ordinal;)
            end++;
        rc = store_vectors(r, w->missing.model, l.seq, m[i].ordinal, m[end - 1].ordinal, take_stored, &l, err);
    }
    knowledge_reader_give(w->e->opt.knowledge, r);
    return rc;
}

/* ---- one batch ----------------------------------------------------------------------------------------- */

static rag_code embed_rest(struct worker *w)
{
    struct embedder *e = w->e;
    struct str texts[MISSING_MOST];
    uint32_t at[MISSING_MOST], n = 0;
    for (uint32_t i = 0; i < w->missing.n; i++) {
        const struct missing_vector *m = &w->missing.items[i];
        if (w->has[i])
            continue;
        struct buf b;
        buf_init(&b, MEM_TEXT);
        passage_text(m->title, m->heading_path, m->text, &b);
        char *copy = buf_failed(&b) ? NULL : arena_alloc(&w->arena, b.len + 1);
        if (copy) {
            memcpy(copy, b.ptr ? b.ptr : "", b.len);
            texts[n] = str_make(copy, b.len);
            at[n++] = i;
        }
        buf_clear(&b);
        if (!copy)
            return RAG_ENOMEM;
    }
    if (n == 0)
        return RAG_OK;
    float *out = arena_array(&w->arena, (size_t)n * e->dims, sizeof *out);
    struct buf codes[MISSING_MOST];
    for (uint32_t i = 0; i < n; i++)
        codes[i] = w->codes[at[i]]; /* lent: they come back below, in every case */
    struct passage_tokens tokens = {e->opt.tokens, codes};
    struct token_sink sink = passage_tokens_sink(&tokens);
    uint64_t n_tokens = 0;
    rag_code rc = out ? encoder_pool_run(e->opt.encoders, ENCODE_PASSAGE, texts, n, &e->stop,
                                         sink.take ? &sink : NULL, out, &n_tokens)
                      : RAG_ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        w->codes[at[i]] = codes[i];
        rc = !rc && buf_failed(&codes[i]) ? RAG_ENOMEM : rc;
    }
    for (uint32_t i = 0; i < n && !rc; i++)
        memcpy(w->vectors + (size_t)at[i] * e->dims, out + (size_t)i * e->dims, e->dims * sizeof *out);
    if (!rc) {
        atomic_fetch_add(&e->embedded, n);
        atomic_fetch_add(&e->tokens, n_tokens);
    }
    return rc;
}

static void count_rate(struct embedder *e, uint32_t n)
{
    int64_t now = clock_mono_ns();
    pthread_mutex_lock(&e->mu);
    if (now - e->last_ns > (int64_t)RATE_WINDOW_S * 1000000000 || !e->window_ns) {
        e->window_ns = now; /* it was idle */
        e->window_n = 0;
    } else {
        e->window_n += n;
    }
    if (now - e->window_ns > 500000000)
        e->rate = (double)e->window_n * 1e9 / (double)(now - e->window_ns);
    if (now - e->window_ns > (int64_t)RATE_WINDOW_S * 1000000000) {
        e->window_ns = now;
        e->window_n = 0;
    }
    e->last_ns = now;
    pthread_mutex_unlock(&e->mu);
}

static rag_code apply(struct worker *w, struct rag_err *err)
{
    for (uint32_t i = 0; i < w->missing.n; i++)
        w->rows[i] = (struct vector_row){.seq = w->missing.items[i].seq,
                                         .ordinal = w->missing.items[i].ordinal,
                                         .stored = w->has[i],
                                         .vector = w->vectors + (size_t)i * w->e->dims,
                                         .tokens = buf_str(&w->codes[i])};
    struct job j = {.kind = JOB_VECTORS,
                    .collection = str_of(w->missing.collection),
                    .rows = w->rows,
                    .n = w->missing.n};
    rag_code rc; /* the writer's queue may be full: it empties with the next publications */
    while ((rc = knowledge_apply(w->e->opt.knowledge, &j)) == RAG_EBUSY && !atomic_load(&w->e->stop))
        knowledge_vectors_wait(w->e->opt.knowledge, knowledge_vectors_seen(w->e->opt.knowledge), FULL_MS);
    *err = j.err;
    return rc;
}

static void run_batch(struct worker *w)
{
    struct embedder *e = w->e;
    struct rag_err err = {0};
    memset(w->has, 0, sizeof w->has);
    for (uint32_t i = 0; i < MISSING_MOST; i++) {
        if (buf_failed(&w->codes[i]))
            buf_clear(&w->codes[i]);
        buf_reset(&w->codes[i]);
    }
    rag_code rc = look_up(w, &err);
    if (!rc)
        rc = embed_rest(w);
    if (!rc)
        rc = apply(w, &err);
    if (!rc) {
        count_rate(e, w->missing.n);
    } else if (rc != RAG_ECANCELED && !atomic_load(&e->stop)) {
        atomic_fetch_add(&e->failures, 1);
        log_error("passages not embedded; tried again", LOG_STR("why", err.msg[0] ? err.msg : rag_code_name(rc)),
                  LOG_END);
        /* The claim is kept meanwhile: the other threads go on behind it. */
        knowledge_vectors_wait(e->opt.knowledge, knowledge_vectors_seen(e->opt.knowledge), FAILED_MS);
    }
    knowledge_vectors_release(e->opt.knowledge, &w->missing);
}

/* Nothing is missing and nobody else is at work on something: the replaced model can go. */
static void drop_replaced(struct embedder *e)
{
    struct knowledge_stats s;
    knowledge_stats(e->opt.knowledge, &s);
    if (s.vectors_missing || s.pending_rebuild)
        return;
    struct job j = {.kind = JOB_DROP_REPLACED, .collection = STR_LIT("default")};
    rag_code rc;
    do
        rc = knowledge_apply(e->opt.knowledge, &j);
    while (!rc && j.n_affected && !atomic_load(&e->stop));
    if (!rc && !j.n_affected)
        log_info("every chunk has a vector of the new model; the old one's are gone", LOG_END);
}

static void *embedder_main(void *arg)
{
    struct embedder *e = arg;
    struct worker w = {.e = e};
    struct sched_param p = {0};
    pthread_setschedparam(pthread_self(), SCHED_BATCH, &p);
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19); /* Linux: of this thread */
    for (uint32_t i = 0; i < MISSING_MOST; i++)
        buf_init(&w.codes[i], MEM_MODEL);
    w.vectors = mem_alloc(MEM_MODEL, (size_t)MISSING_MOST * e->dims * sizeof *w.vectors);
    while (w.vectors && !atomic_load(&e->stop)) {
        arena_reset(&w.arena);
        uint64_t seen = knowledge_vectors_seen(e->opt.knowledge);
        rag_code rc = knowledge_vectors_claim(e->opt.knowledge, BATCH_BYTES, &w.arena, &w.missing);
        if (!rc && w.missing.n) {
            run_batch(&w);
            continue;
        }
        if (!rc && knowledge_has_replaced(e->opt.knowledge))
            drop_replaced(e);
        if (!atomic_load(&e->stop))
            knowledge_vectors_wait(e->opt.knowledge, seen, IDLE_MS);
    }
    for (uint32_t i = 0; i < MISSING_MOST; i++)
        buf_clear(&w.codes[i]);
    mem_free(MEM_MODEL, w.vectors);
    arena_clear(&w.arena);
    return NULL;
}

rag_code embedder_start(const struct embedder_options *opt, struct embedder **out, struct rag_err *err)
{
    struct embedder *e = mem_zalloc(MEM_MODEL, sizeof *e);
    if (!e)
        return rag_err_set(err, RAG_ENOMEM, "embedding: out of memory");
    e->opt = *opt;
    e->dims = model_info(encoder_pool_model(opt->encoders))->dims;
    pthread_mutex_init(&e->mu, NULL);
    unsigned n = opt->threads ? opt->threads : cpu_count();
    for (unsigned i = 0; i < n && i < MAX_THREADS; i++) {
        if (pthread_create(&e->threads[i], NULL, embedder_main, e))
            break;
        e->n_threads++;
    }
    if (!e->n_threads) {
        embedder_stop(e);
        return rag_err_set(err, RAG_EBUSY, "embedding: cannot start threads");
    }
    *out = e;
    return RAG_OK;
}

void embedder_stop(struct embedder *e)
{
    if (!e)
        return;
    atomic_store(&e->stop, true);
    for (unsigned i = 0; i < e->n_threads; i++) {
        knowledge_vectors_notify(e->opt.knowledge);
        pthread_join(e->threads[i], NULL);
    }
    pthread_mutex_destroy(&e->mu);
    mem_free(MEM_MODEL, e);
}

void embedder_stats(struct embedder *e, struct embedder_stats *out)
{
    int64_t now = clock_mono_ns();
    *out = (struct embedder_stats){.embedded = atomic_load(&e->embedded),
                                   .tokens = atomic_load(&e->tokens),
                                   .failures = atomic_load(&e->failures)};
    pthread_mutex_lock(&e->mu);
    out->passages_per_s = now - e->last_ns < 3000000000 ? e->rate : 0;
    pthread_mutex_unlock(&e->mu);
}
