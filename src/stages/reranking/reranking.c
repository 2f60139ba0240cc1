/* The order is by fused + gain. gain = sum of weights times features (part a) + a weight times the late interaction's
 * place among the candidates (part b), both without the candidates' mean. Weights: tools/train_reranker.py. */
#include "stages/reranking/reranking.h"

#include <math.h>
#include <stdlib.h>

#include "stages/reranking/reranking_int.h"
#include "sys/clock.h"

static const float weights[RERANK_FEATURES] = {
    [RERANK_COVERAGE] = 0.16F, [RERANK_PHRASE] = 0.02F,  [RERANK_HEADING] = 0.30F,
    [RERANK_NAME] = 0.06F,     [RERANK_NUMBERS] = 0.02F,
};
static const float late_weight = 0.06F;

const char *rerank_feature_name(enum rerank_feature f)
{
    static const char *const names[RERANK_FEATURES] = {"coverage", "sentence", "nearness", "phrase",
                                                       "heading",  "name",     "numbers",  "length"};
    return names[f];
}

static bool is_late(int64_t deadline_ns)
{
    return deadline_ns && clock_mono_ns() > deadline_ns;
}

static rag_code look(const struct matcher *m, const struct hits *h, uint32_t n, int64_t deadline_ns, struct arena *a,
                     struct rerank_row *rows)
{
    for (uint32_t i = 0; i < n; i++) {
        struct chunk_view view;
        const struct segment *s = h->list->e[h->items[i].ref.entry].segment;
        segment_chunk(s, h->items[i].ref.chunk, &view);
        struct str text = segment_chunk_text(s, h->items[i].ref.chunk, a);
        if (!text.ptr)
            return RAG_ENOMEM;
        if (is_late(deadline_ns))
            return RAG_ETIMEOUT;
        rag_code rc = matcher_features(m, &view, text, a, rows[i].x);
        if (rc)
            return rc;
    }
    return RAG_OK;
}

/* The rows' MaxSim; *n_out: how many have tokens. */
static rag_code interact(const struct qvec *v, const struct token_coder *coder, const struct hits *h, uint32_t n,
                         int64_t deadline_ns, struct arena *a, struct rerank_row *rows, uint32_t *n_out)
{
    struct token_query *q;
    rag_code rc = token_query_new(coder, v->token_states, v->token_weights, v->n_tokens, a, &q);
    *n_out = 0;
    for (uint32_t i = 0; i < n && !rc; i++) {
        const struct vector_block *b = h->list->e[h->items[i].ref.entry].vectors[v->slot];
        struct str codes = b && vector_block_has(b, h->items[i].ref.chunk) ? vector_block_tokens(b, h->items[i].ref.chunk)
                                                                           : str_make(NULL, 0);
        if (is_late(deadline_ns))
            rc = RAG_ETIMEOUT;
        else if (codes.len) {
            rows[i].late = token_score(q, codes);
            rows[i].has_late = true;
            ++*n_out;
        }
    }
    return rc;
}

/* Adds weight * (late - mean) / spread; a chunk without tokens stays where it is. */
static void add_late(struct rerank_row *rows, uint32_t n, uint32_t n_late)
{
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < n; i++)
        if (rows[i].has_late) {
            sum += (double)rows[i].late;
            squares += (double)rows[i].late * (double)rows[i].late;
        }
    double mean = sum / n_late, spread = sqrt(fmax(squares / n_late - mean * mean, 0));
    for (uint32_t i = 0; i < n && spread > 1e-6; i++)
        if (rows[i].has_late)
            rows[i].gain += late_weight * (float)(((double)rows[i].late - mean) / spread);
}

static void add_features(struct rerank_row *rows, uint32_t n)
{
    for (int f = 0; f < RERANK_FEATURES; f++) {
        float mean = 0;
        for (uint32_t i = 0; i < n; i++)
            mean += rows[i].x[f] / (float)n;
        for (uint32_t i = 0; i < n; i++)
            rows[i].gain += weights[f] * (rows[i].x[f] - mean);
    }
}

struct placed {
    struct hit hit;
    struct rerank_row row;
    uint32_t before;
};

static int best_first(const void *x, const void *y)
{
    const struct placed *a = x, *b = y;
    if (a->hit.reranked > b->hit.reranked || a->hit.reranked < b->hit.reranked)
        return a->hit.reranked > b->hit.reranked ? -1 : 1;
    return a->before < b->before ? -1 : a->before > b->before;
}

static rag_code put_in_order(struct hits *h, struct rerank_report *r, struct arena *a)
{
    struct placed *p = arena_array(a, r->n, sizeof *p);
    if (!p)
        return RAG_ENOMEM;
    for (uint32_t i = 0; i < r->n; i++) {
        p[i] = (struct placed){h->items[i], r->rows[i], i};
        p[i].hit.reranked = p[i].hit.fused + p[i].row.gain;
    }
    qsort(p, r->n, sizeof *p, best_first);
    for (uint32_t i = 0; i < r->n; i++) {
        h->items[i] = p[i].hit;
        r->rows[i] = p[i].row;
        r->moved += p[i].before != i;
    }
    return RAG_OK;
}

static const char *why_not(const struct profile *p, const struct hits *h)
{
    if (!p->stage_reranking || !(p->rerank_features || p->rerank_late))
        return "off";
    if (h->n < 2)
        return "nothing to order";
    if (h->items[0].fused - h->items[1].fused > p->rerank_skip_above)
        return "the first is clear";
    return NULL;
}

rag_code rerank_run(const struct query *q, const struct query_analysis *qa, const struct qvec *v,
                    const struct token_coder *coder, const struct profile *p, int64_t deadline_ns, struct arena *a,
                    struct hits *h, struct rerank_report *out)
{
    *out = (struct rerank_report){.skipped = why_not(p, h)};
    for (uint32_t i = 0; i < h->n; i++)
        h->items[i].reranked = h->items[i].fused;
    if (out->skipped)
        return RAG_OK;
    enum complexity c = qa->complexity < COMPLEXITY_UNKNOWN ? qa->complexity : COMPLEXITY_MEDIUM;
    out->n = p->rerank_candidates[c] < h->n ? p->rerank_candidates[c] : h->n;
    out->rows = arena_array(a, out->n, sizeof *out->rows);
    struct matcher *m = arena_alloc(a, sizeof *m);
    rag_code rc = out->rows && m ? RAG_OK : RAG_ENOMEM;
    uint32_t n_late = 0;
    if (!rc && p->rerank_late && coder && v->n_tokens) {
        rc = interact(v, coder, h, out->n, deadline_ns, a, out->rows, &n_late);
        out->late = n_late > 0;
    }
    if (!rc && p->rerank_features) {
        rc = matcher_init(m, q, qa, h, a);
        if (!rc)
            rc = look(m, h, out->n, deadline_ns, a, out->rows);
        out->features = true;
    }
    if (!rc && out->late)
        add_late(out->rows, out->n, n_late);
    if (!rc && out->features)
        add_features(out->rows, out->n);
    if (!rc)
        rc = put_in_order(h, out, a);
    if (rc) /* no rows: there may be none, and the order is not theirs */
        *out = (struct rerank_report){.skipped = rc == RAG_ETIMEOUT ? "no time left" : "out of memory"};
    return rc;
}
