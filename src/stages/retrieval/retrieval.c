#include "stages/retrieval/retrieval.h"

#include "index/bm25.h"

rag_code retrieval_run(const struct query *q, const struct query_analysis *qa, const struct profile *p,
                       uint32_t limit, int64_t deadline_ns, struct arena *a, struct hits *out)
{
    struct bm25_result r;
    rag_code rc = q->text.len == 0
                      ? list_by_filter(out->list, &q->filter, limit, a, &r)
                      : bm25_search(out->list, &qa->terms, &q->filter,
                                    (struct bm25_params){p->bm25_k1, p->bm25_b}, limit, deadline_ns, a, &r);
    if (rc && rc != RAG_ETIMEOUT)
        return rc;
    out->items = arena_array(a, (size_t)r.n + 1, sizeof *out->items);
    if (!out->items)
        return RAG_ENOMEM;
    out->n = r.n;
    out->idf_mass = r.idf_mass;
    out->known_mass = r.known_mass;
    out->terms = r.terms;
    out->n_terms = r.n_terms;
    out->n_known_terms = r.n_known;
    for (uint32_t i = 0; i < r.n; i++)
        out->items[i] = (struct hit){.ref = r.hits[i].ref,
                                     .bm25 = r.hits[i].score,
                                     .coverage = r.idf_mass > 0 ? r.hits[i].mass / r.idf_mass : 0};
    return rc;
}
