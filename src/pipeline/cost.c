/* The prompt is the one that the generation stage made, so the report follows whatever the stage does. Only the baseline and
 * the shortest prompt are built here, from the same hits, while they are pinned.
 *
 * Calls overlap (AT_ONCE of them) with the stages of the questions behind them: the net thread writes a call's result into
 * its question and wakes this thread, which reads them when all calls are over. */
#include "pipeline/cost.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sys/clock.h"

enum { AT_ONCE = 8, TOP_K = 5, ALL_TOKENS = 1 << 20 };
static const int64_t long_enough_ns = INT64_C(60000000000); /* a slow machine changes no figure */

struct calls;
struct call {
    struct calls *all;
    struct cost_question *q;
    struct llm_call *llm;
};
struct calls {
    pthread_mutex_t mu;
    pthread_cond_t fewer;
    uint32_t at_work; /* under mu */
    struct call *items;
};

/* ---- calls ---------------------------------------------------------------------------------------------- */

static void on_text(void *ctx, struct str piece)
{
    (void)ctx;
    (void)piece;
}

static void take_result(struct cost_question *q, const struct llm_result *r)
{
    q->cost = r->cost;
    q->degraded = r->end != LLM_ANSWERED;
    q->fallback = r->fallback && !q->degraded;
    if (!r->model)
        return;
    q->class = r->model->class;
    q->prompt = r->usage.prompt;
    q->answer = r->usage.completion;
    q->cost_shortest = llm_cost(&r->model->price, q->shortest, 0, q->answer);
    q->cost_short = llm_cost(&r->model->price, COST_SHORT_PROMPT, 0, q->answer);
}

static void on_end(void *ctx, const struct llm_result *r) /* net thread */
{
    struct call *c = ctx;
    struct calls *all = c->all;
    take_result(c->q, r);
    llm_release(c->llm);
    pthread_mutex_lock(&all->mu);
    all->at_work--;
    pthread_cond_signal(&all->fewer);
    pthread_mutex_unlock(&all->mu);
}

static void wait_for(struct calls *all, uint32_t at_most)
{
    pthread_mutex_lock(&all->mu);
    while (all->at_work > at_most)
        pthread_cond_wait(&all->fewer, &all->mu);
    pthread_mutex_unlock(&all->mu);
}

static rag_code start_call(const struct pipeline *p, const struct prompt *prompt, const struct route *r,
                           struct call *c)
{
    struct llm_request rq = {.want = r->class,
                             .messages = prompt->messages,
                             .n_messages = 2,
                             .max_tokens = r->output_tokens,
                             .temperature = p->profile.temperature,
                             .key = "",
                             .events = {on_text, on_end},
                             .ctx = c};
    wait_for(c->all, AT_ONCE - 1);
    pthread_mutex_lock(&c->all->mu);
    c->all->at_work++;
    pthread_mutex_unlock(&c->all->mu);
    rag_code rc = llm_start(p->llm, &rq, &c->llm);
    if (rc) {
        pthread_mutex_lock(&c->all->mu);
        c->all->at_work--;
        pthread_mutex_unlock(&c->all->mu);
    }
    return rc;
}

/* ---- one question --------------------------------------------------------------------------------------- */

static rag_code build(const struct pipeline *p, const struct ask *k, const struct route *r,
                      struct prompt *out)
{
    struct str own = knowledge_system_prompt(p->knowledge, k->query.collection);
    struct prompt_options opt = {own.len ? own : p->system_prompt, p->nonce_key};
    return prompt_build(&opt, &k->query, &k->analysis, &k->hits, r, k->arena, out);
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static rag_code assume_answer(const struct cost_options *opt, struct ask *k, const struct route *r,
                              struct cost_question *q, struct rag_err *err)
{
    const struct llm_catalogue *models = llm_models(opt->pipeline->llm);
    uint32_t order[LLM_MAX_MODELS];
    rag_code rc = ask_extract(opt->pipeline, k);
    if (rc)
        return rc;
    if (llm_plan(models, r->class, false, q->prompt + r->output_tokens, order) == 0)
        return rag_err_set(err, RAG_EUNSUPPORTED, "no model has room for %u tokens",
                           q->prompt + r->output_tokens);
    const struct llm_model *m = &models->models[order[0]];
    q->class = m->class;
    q->answer =
        least(opt->answer_tokens ? opt->answer_tokens : llm_count_tokens(k->answer.text), r->output_tokens);
    q->cost = llm_cost(&m->price, q->prompt, 0, q->answer);
    q->cost_shortest = llm_cost(&m->price, q->shortest, 0, q->answer);
    q->cost_short = llm_cost(&m->price, COST_SHORT_PROMPT, 0, q->answer);
    return RAG_OK;
}

static rag_code price(const struct cost_options *opt, struct ask *k, struct call *c, struct rag_err *err)
{
    struct cost_question *q = c->q;
    struct prompt made;
    const struct prompt *prompt = k->prompt;
    struct route route = k->route, shortest = k->route;
    rag_code rc = RAG_OK;
    if (opt->baseline) {
        route.class = CLASS_LARGE;
        route.one_down = false;
        route.context_tokens = ALL_TOKENS;
        route.passages = COST_BASELINE_CHUNKS;
        prompt = &made;
        rc = build(opt->pipeline, k, &route, &made);
    }
    struct prompt little;
    shortest.context_tokens = 0; /* the least that the prompt allows */
    shortest.passages = 1;
    if (!rc)
        rc = build(opt->pipeline, k, &shortest, &little);
    if (rc)
        return rc;
    *q = (struct cost_question){.asked = true,
                                .one_down = route.one_down,
                                .class = route.class,
                                .prompt = prompt->tokens,
                                .rules = llm_count_tokens(prompt->messages[0].content),
                                .shortest = little.tokens};
    return opt->call ? start_call(opt->pipeline, prompt, &route, c) : assume_answer(opt, k, &route, q, err);
}

static rag_code run_question(const struct cost_options *opt, struct str text, struct arena *a, struct call *c,
                             struct rag_err *err)
{
    struct ask k = {.arena = a,
                    .query = {.text = text, .collection = opt->collection, .top_k = TOP_K},
                    .deadline_ns = clock_mono_ns() + long_enough_ns};
    *c->q = (struct cost_question){0};
    rag_code rc = ask_run(opt->pipeline, &k, err);
    if (!rc && k.prompt)
        rc = price(opt, &k, c, err);
    ask_end(opt->pipeline, &k);
    arena_reset(a);
    return rc;
}

rag_code cost_run(const struct cost_options *opt, const struct str *questions, uint32_t n,
                  struct cost_question *out, struct rag_err *err)
{
    struct calls all = {.mu = PTHREAD_MUTEX_INITIALIZER, .fewer = PTHREAD_COND_INITIALIZER};
    struct arena arena = {0};
    rag_code rc = RAG_OK;
    size_t bytes;
    if (!size_mul_ok(n, sizeof *all.items, &bytes) || !(all.items = mem_zalloc(MEM_MISC, bytes)))
        return RAG_ENOMEM;
    for (uint32_t i = 0; i < n && !rc; i++) {
        all.items[i] = (struct call){.all = &all, .q = &out[i]};
        rc = run_question(opt, questions[i], &arena, &all.items[i], err);
        if (opt->progress)
            opt->progress(opt->ctx, i + 1, n);
    }
    wait_for(&all, 0);
    arena_clear(&arena);
    mem_free(MEM_MISC, all.items);
    pthread_cond_destroy(&all.fewer);
    pthread_mutex_destroy(&all.mu);
    return rc;
}

/* ---- numbers -------------------------------------------------------------------------------------------- */

static uint64_t next(uint64_t *state) /* splitmix64: Steele, Lea & Flood 2014 */
{
    uint64_t z = *state += 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
}

static void shuffle(uint32_t *order, uint32_t n,
                    uint64_t *state) /* Fisher and Yates; the bias of % is n / 2^64 */
{
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = (uint32_t)(next(state) % i), t = order[j];
        order[j] = order[i - 1];
        order[i - 1] = t;
    }
}

rag_code cost_zipf(double s, uint64_t seed, double *w, uint32_t n)
{
    size_t bytes;
    uint32_t *order = size_mul_ok(n, sizeof *order, &bytes) ? mem_alloc(MEM_MISC, bytes) : NULL;
    uint32_t ranks = n > COST_MIX ? n : COST_MIX;
    double sum = 0;
    if (!order)
        return RAG_ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        order[i] = i;
        w[i] = 0;
    }
    for (uint32_t rank = 0; rank < ranks && n; rank++) {
        if (rank % n == 0)
            shuffle(order, n, &seed);
        double share = pow(rank + 1, -s);
        w[order[rank % n]] += share;
        sum += share;
    }
    for (uint32_t i = 0; i < n; i++)
        w[i] /= sum;
    mem_free(MEM_MISC, order);
    return RAG_OK;
}

struct weighted {
    uint32_t value;
    double weight;
};

static int by_value(const void *a, const void *b)
{
    const struct weighted *x = a, *y = b;
    return (x->value > y->value) - (x->value < y->value);
}

static double quantile(const struct weighted *v, uint32_t n, double at)
{
    double sum = 0;
    uint32_t i = 0;
    for (; i + 1 < n && sum + v[i].weight < at; i++)
        sum += v[i].weight;
    return n ? v[i].value : 0;
}

rag_code cost_spread(const struct cost_question *q, const double *w, uint32_t n, size_t offset,
                     struct cost_spread *out)
{
    size_t bytes;
    struct weighted *v = size_mul_ok(n, sizeof *v, &bytes) ? mem_alloc(MEM_MISC, bytes) : NULL;
    *out = (struct cost_spread){0};
    if (!v)
        return RAG_ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        v[i].weight = w[i];
        memcpy(&v[i].value, (const char *)&q[i] + offset, sizeof v[i].value);
        out->mean += w[i] * v[i].value;
    }
    qsort(v, n, sizeof *v, by_value);
    out->p50 = quantile(v, n, 0.5);
    out->p95 = quantile(v, n, 0.95);
    mem_free(MEM_MISC, v);
    return RAG_OK;
}
