#include "stages/retrieval/retrieval.h"

#include <math.h>
#include <stdlib.h>

#include "base/bitmap.h"
#include "index/dense.h"

enum { BACKGROUND = 256 };

static int by_place(const void *a, const void *b)
{
    const struct hit *x = a, *y = b;
    if (x->ref.entry != y->ref.entry)
        return x->ref.entry < y->ref.entry ? -1 : 1;
    return x->ref.chunk < y->ref.chunk ? -1 : x->ref.chunk > y->ref.chunk;
}

/* Both legs' candidates without the doubles; what a leg does not know of a candidate is asked for exactly, since a
 * false zero would push a good chunk of one leg behind middling ones of both. */
static rag_code unite(const struct bm25_result *lexical, const struct dense_result *near,
                      const struct dense_query *dq, uint32_t slot, struct arena *a, struct hits *out)
{
    uint32_t n = lexical->n + near->n;
    struct hit *items = arena_array(a, (size_t)n + 1, sizeof *items);
    if (!items)
        return RAG_ENOMEM;
    for (uint32_t i = 0; i < lexical->n; i++)
        items[i].ref = lexical->hits[i].ref;
    for (uint32_t i = 0; i < near->n; i++)
        items[lexical->n + i].ref = near->hits[i].ref;
    qsort(items, n, sizeof *items, by_place);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++)
        if (i == 0 || by_place(&items[i], &items[kept - 1]) != 0)
            items[kept++] = items[i];
    for (uint32_t i = 0; i < kept; i++) {
        float mass;
        bm25_score(out->list, lexical, items[i].ref, &items[i].bm25, &mass);
        items[i].coverage = lexical->idf_mass > 0 ? mass / lexical->idf_mass : 0;
        items[i].has_cosine = dq && dense_score(out->list, slot, dq, items[i].ref, &items[i].cosine);
    }
    out->items = items;
    out->n = kept;
    return RAG_OK;
}

static int rising(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

/* What the question's cosines to chunks spread evenly over the list look like: their median, and their spread (a standard
 * deviation, if they are normal) taken between the upper quarter and the upper tenth. Upper, because a collection in two
 * languages has two heaps of cosines, and the farther one says nothing. */
static void sample_background(const struct dense_query *dq, uint32_t slot, struct hits *out)
{
    static const float NORMAL_75_TO_90 = 0.607F;
    float c[BACKGROUND + 1];
    uint32_t n = 0;
    const struct segment_list *l = out->list;
    uint64_t rows = 0, before = 0;
    for (uint32_t e = 0; e < l->n; e++)
        rows += segment_n_chunks(l->e[e].segment);
    double step = rows > BACKGROUND ? (double)rows / BACKGROUND : 1, next = step / 2;
    for (uint32_t e = 0; e < l->n; e++) {
        uint64_t end = before + segment_n_chunks(l->e[e].segment);
        for (; next < (double)end && n < BACKGROUND; next += step) {
            struct chunk_ref ref = {e, (uint32_t)((uint64_t)next - before)};
            n += bitmap_get(l->e[e].live, ref.chunk) && dense_score(l, slot, dq, ref, &c[n]);
        }
        before = end;
    }
    if (n == 0)
        return;
    qsort(c, n, sizeof *c, rising);
    out->background_median = c[n / 2];
    out->background_spread = fmaxf((c[n * 9 / 10] - c[n * 3 / 4]) / NORMAL_75_TO_90, 1e-3F);
}

rag_code retrieval_run(const struct query *q, const struct query_analysis *qa, const struct qvec *v,
                       const struct profile *p, struct retrieval_limits limits, int64_t deadline_ns,
                       struct arena *a, struct hits *out)
{
    struct bm25_result lexical = {0};
    struct dense_result near = {0};
    struct dense_query *dq = NULL;
    rag_code rc, late = RAG_OK;
    if (q->text.len == 0)
        rc = list_by_filter(out->list, &q->filter, limits.lexical, a, &lexical);
    else
        rc = bm25_search(out->list, &qa->terms, &q->filter, (struct bm25_params){p->bm25_k1, p->bm25_b},
                         limits.lexical, deadline_ns, a, &lexical);
    if (rc == RAG_ETIMEOUT) {
        late = rc;
        rc = RAG_OK;
    }
    if (!rc && v && v->v && limits.dense) {
        rc = dense_query_new(v->v, v->dims, a, &dq);
        if (rc == RAG_EINVAL) { /* not a vector to compare with: words answer */
            dq = NULL;
            rc = RAG_OK;
        }
        if (!rc && !late && dq)
            rc = dense_search(out->list, v->slot, dq, &q->filter, limits.dense, deadline_ns, a, &near);
        if (rc == RAG_ETIMEOUT) {
            late = rc;
            rc = RAG_OK;
        }
    }
    if (rc)
        return rc;
    out->dense = dq != NULL;
    if (dq)
        sample_background(dq, v->slot, out);
    out->n_lexical = lexical.n;
    out->n_dense = near.n;
    out->idf_mass = lexical.idf_mass;
    out->known_mass = lexical.known_mass;
    out->terms = lexical.terms;
    out->n_terms = lexical.n_terms;
    out->n_known_terms = lexical.n_known;
    rc = unite(&lexical, &near, dq, v ? v->slot : 0, a, out);
    return rc ? rc : late;
}
