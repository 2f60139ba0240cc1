/* index/dense.h - the dense leg: nearest vectors over a list of segments. */
#ifndef RAGD_INDEX_DENSE_H
#define RAGD_INDEX_DENSE_H

#include "base/arena.h"
#include "index/filter.h"
#include "index/list.h"

/* A question's vector, made ready for scanning. */
struct dense_query;
/* v: dims floats, unit length. Lives in `a`; one thread at a time, since it keeps what it works out. RAG_ENOMEM;
 * RAG_EINVAL: dims is 0 or above VECTOR_MAX_DIMS, or v has a component that is not within -1000 .. 1000. */
RAG_MUST_CHECK rag_code dense_query_new(const float *v, uint32_t dims, struct arena *a,
                                        struct dense_query **out);

struct dense_hit {
    struct chunk_ref ref;
    float cosine; /* question (16 bits a dimension) against the stored int8 row, mean added back */
};
struct dense_result {
    struct dense_hit *hits; /* best first; ties in list order */
    uint32_t n;
    uint64_t scanned;  /* rows looked at in the first pass */
    uint64_t rescored; /* rows scored exactly */
};

/* The k live chunks nearest to the question among those that have a vector in `slot` and pass the filter (NULL: no
 * filter). First a scan of the upper 4 bits of every row, then exact scores of the best few. Results and scratch live in `a`. RAG_ENOMEM; RAG_EINVAL: a block of the slot has another number of dimensions than the question;
 * RAG_ETIMEOUT when deadline_ns (monotonic, 0: none) passed: the hits so far are valid. The list must be pinned.
 * Thread-safe, each with a query of its own. The same hits and scores on every CPU. */
RAG_MUST_CHECK rag_code dense_search(const struct segment_list *list, uint32_t slot,
                                     const struct dense_query *q, const struct filter *f, uint32_t k,
                                     int64_t deadline_ns, struct arena *a, struct dense_result *out);
/* Exact score of one chunk, the same as in a hit; false when it has no vector. Thread-safe in the same way. */
bool dense_score(const struct segment_list *list, uint32_t slot, const struct dense_query *q,
                 struct chunk_ref ref, float *cosine);

#endif
