/* flow/hits.h - retrieved chunks, best first. */
#ifndef RAGD_FLOW_HITS_H
#define RAGD_FLOW_HITS_H

#include <stdbool.h>
#include <stdint.h>

#include "index/bm25.h"
#include "index/list.h"

struct hit {
    struct chunk_ref ref;
    float bm25;      /* raw BM25, exact also for a chunk that only the dense leg found */
    float coverage;  /* share of the question's weighted IDF mass whose terms the chunk holds, 0..1 */
    float cosine;    /* exact also for a chunk that only the lexical leg found; 0 when it has no vector */
    bool has_cosine; /* both the question and the chunk have a vector */
    float fused;     /* 0..1, what the order is by; comparable within one question only */
    float reranked;  /* what the first candidates are ordered by in the end; `fused` where nothing was reranked */
    float score;     /* calibrated, 0..1, comparable over queries: probability that the chunk is relevant */
};
struct hits {
    const struct segment_list *list; /* pinned for the life of the ask */
    struct hit *items;               /* in the ask's arena */
    uint32_t n;
    bool dense;                 /* the dense leg ran */
    float background_median, background_spread; /* cosines of chunks taken at random: what no relation looks like */
    float tail_cosine;          /* mean cosine of the candidates behind the first ten */
    float floor;                /* confidence below it: the documents do not answer (calibrate_hits) */
    uint32_t n_lexical, n_dense; /* candidates of each leg */
    const struct bm25_term *terms; /* the question's distinct terms, n_terms */
    float idf_mass;   /* sum over distinct query terms of weight x idf; terms the collection lacks included */
    float known_mass; /* the same over terms the collection has */
    uint32_t n_terms, n_known_terms; /* distinct query terms, and those of them that the collection has */
};

#endif
