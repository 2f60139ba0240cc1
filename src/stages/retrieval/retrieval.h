/* stages/retrieval/retrieval.h - candidates from the segments: the lexical leg. */
#ifndef RAGD_STAGES_RETRIEVAL_H
#define RAGD_STAGES_RETRIEVAL_H

#include "base/arena.h"
#include "base/status.h"
#include "flow/hits.h"
#include "flow/profile.h"
#include "flow/query.h"

/* Fills out->items (score not yet: calibrate_hits) from the pinned out->list, at most `limit`, best first.
 * With empty query text: documents by filter, one chunk each, unscored.
 * RAG_ETIMEOUT: deadline passed, out holds what was found. RAG_ENOMEM. Thread-safe. */
RAG_MUST_CHECK rag_code retrieval_run(const struct query *q, const struct query_analysis *qa,
                                      const struct profile *p, uint32_t limit, int64_t deadline_ns,
                                      struct arena *a, struct hits *out);

#endif
