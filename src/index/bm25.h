/* index/bm25.h - the lexical leg: BM25 over a list of segments. */
#ifndef RAGD_INDEX_BM25_H
#define RAGD_INDEX_BM25_H

#include "base/arena.h"
#include "index/filter.h"
#include "index/list.h"

struct bm25_params {
    float k1, b;
};
struct bm25_hit {
    struct chunk_ref ref;
    float score;
    float
        mass; /* sum of weight x idf of the query terms the chunk holds; bigrams across words left out, since
                 * a paraphrase breaks them without meaning anything else */
};
struct bm25_query;
/* A distinct term of the question. */
struct bm25_term {
    struct str text;
    float impact; /* weight x idf */
    bool known;   /* some chunk has it */
};
struct bm25_result {
    struct bm25_term *terms; /* n_terms */
    struct bm25_hit *hits;   /* best first; ties in list order */
    uint32_t n;
    float idf_mass, known_mass; /* the same for all distinct terms, and for those the collection holds */
    uint32_t n_terms, n_known;
    const struct bm25_query *query; /* for bm25_score */
};

/* The k best live chunks for the query's terms (equal terms count once, with their largest weight):
 *   sum over terms of weight * idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / average length)),
 *   idf = ln(1 + (N - df + .5) / (df + .5)), N and df summed over the list.
 * Results and scratch live in `a`. RAG_ENOMEM; RAG_ETIMEOUT when deadline_ns (monotonic, 0: none) passed: the
 * hits so far are valid. The list must be pinned. Thread-safe.
 * Source: Robertson & Zaragoza 2009, with the idf of Lucene (never negative). */
RAG_MUST_CHECK rag_code bm25_search(const struct segment_list *list, const struct term_list *terms,
                                    const struct filter *f, struct bm25_params p, uint32_t k,
                                    int64_t deadline_ns, struct arena *a, struct bm25_result *out);
/* Score and mass of one chunk for the question that `r` is the result of: exactly what bm25_search gives it. */
void bm25_score(const struct segment_list *list, const struct bm25_result *r, struct chunk_ref ref, float *score,
                float *mass);

/* The first k live chunks' documents in list order one hit per document, by filter. */
RAG_MUST_CHECK rag_code list_by_filter(const struct segment_list *list, const struct filter *f, uint32_t k,
                                       struct arena *a, struct bm25_result *out);

#endif
