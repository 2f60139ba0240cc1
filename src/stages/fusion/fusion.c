#include "stages/fusion/fusion.h"

#include <stdlib.h>

static int best_first(const void *a, const void *b)
{
    const struct hit *x = a, *y = b;
    if (x->fused > y->fused || x->fused < y->fused)
        return x->fused > y->fused ? -1 : 1;
    if (x->ref.entry != y->ref.entry)
        return x->ref.entry < y->ref.entry ? -1 : 1;
    return x->ref.chunk < y->ref.chunk ? -1 : x->ref.chunk > y->ref.chunk;
}

struct range {
    float low, high;
};

static float place_in(struct range r, float x)
{
    return r.high > r.low ? (x - r.low) / (r.high - r.low) : 1;
}

/* A chunk whose vector is not made yet stands where the average candidate does. */
static void fill_missing_cosines(struct hits *h)
{
    double sum = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < h->n; i++)
        if (h->items[i].has_cosine) {
            sum += (double)h->items[i].cosine;
            n++;
        }
    for (uint32_t i = 0; i < h->n && n; i++)
        if (!h->items[i].has_cosine)
            h->items[i].cosine = (float)(sum / n);
}

static void fuse_convex(struct hits *h, float dense_weight)
{
    struct range b = {h->items[0].bm25, h->items[0].bm25}, c = {h->items[0].cosine, h->items[0].cosine};
    for (uint32_t i = 1; i < h->n; i++) {
        const struct hit *x = &h->items[i];
        b.low = x->bm25 < b.low ? x->bm25 : b.low;
        b.high = x->bm25 > b.high ? x->bm25 : b.high;
        c.low = x->cosine < c.low ? x->cosine : c.low;
        c.high = x->cosine > c.high ? x->cosine : c.high;
    }
    for (uint32_t i = 0; i < h->n; i++) {
        struct hit *x = &h->items[i];
        x->fused = dense_weight * place_in(c, x->cosine) + (1 - dense_weight) * place_in(b, x->bm25);
    }
}

struct ranked {
    float score;
    uint32_t item;
};

static int ranked_first(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score > y->score || x->score < y->score)
        return x->score > y->score ? -1 : 1;
    return x->item < y->item ? -1 : x->item > y->item;
}

static rag_code fuse_rrf(struct hits *h, const struct profile *p, struct arena *a)
{
    struct ranked *r = arena_array(a, h->n, sizeof *r);
    if (!r)
        return RAG_ENOMEM;
    const float weights[2] = {p->rrf_weights[0], p->rrf_weights[1]};
    float best = (weights[0] + weights[1]) / (p->rrf_k + 1);
    for (uint32_t i = 0; i < h->n; i++)
        h->items[i].fused = 0;
    for (int leg = 0; leg < 2; leg++) {
        for (uint32_t i = 0; i < h->n; i++)
            r[i] = (struct ranked){leg ? h->items[i].cosine : h->items[i].bm25, i};
        qsort(r, h->n, sizeof *r, ranked_first);
        for (uint32_t i = 0; i < h->n; i++)
            h->items[r[i].item].fused += weights[leg] / (p->rrf_k + 1 + (float)i) / best;
    }
    return RAG_OK;
}

rag_code fusion_run(const struct query_analysis *qa, const struct profile *p, struct arena *a, struct hits *h)
{
    rag_code rc = RAG_OK;
    if (h->n == 0)
        return RAG_OK;
    if (!h->dense) {
        float best = 0;
        for (uint32_t i = 0; i < h->n; i++)
            best = h->items[i].bm25 > best ? h->items[i].bm25 : best;
        for (uint32_t i = 0; i < h->n; i++)
            h->items[i].fused = best > 0 ? h->items[i].bm25 / best : 0;
    } else {
        fill_missing_cosines(h);
        if (p->fusion_method == FUSION_RRF)
            rc = fuse_rrf(h, p, a);
        else
            fuse_convex(h, p->dense_weight[qa->kind]);
    }
    qsort(h->items, h->n, sizeof *h->items, best_first);
    return rc;
}
