/* stages/retrieval/retrieval.h - candidates from the segments: the lexical and the dense leg. */
#ifndef RAGD_STAGES_RETRIEVAL_H
#define RAGD_STAGES_RETRIEVAL_H

#include "base/arena.h"
#include "base/status.h"
#include "flow/hits.h"
#include "flow/profile.h"
#include "flow/query.h"
#include "flow/qvec.h"

/* Candidates wanted of each leg; 0: the leg does not run. */
struct retrieval_limits {
    uint32_t lexical, dense;
};

/* Fills out->items from the pinned out->list with the union of both legs' candidates, each with its exact scores from
 * both (fused and score not yet: the fusion stage's). Without a vector the dense leg does not run.
 * With empty query text: documents by filter, one chunk each, unscored.
 * RAG_ETIMEOUT: deadline passed, out holds what was found. RAG_ENOMEM. Thread-safe. */
RAG_MUST_CHECK rag_code retrieval_run(const struct query *q, const struct query_analysis *qa, const struct qvec *v,
                                      const struct profile *p, struct retrieval_limits limits, int64_t deadline_ns,
                                      struct arena *a, struct hits *out);

#endif
