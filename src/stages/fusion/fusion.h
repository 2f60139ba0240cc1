/* stages/fusion/fusion.h - one order out of two legs, and what a place in it is worth. */
#ifndef RAGD_STAGES_FUSION_H
#define RAGD_STAGES_FUSION_H

#include "base/status.h"
#include "flow/hits.h"
#include "flow/profile.h"
#include "flow/query.h"

/* Sets `fused` of every hit and sorts by it, best first; ties in list order. Without the dense leg the order is BM25's.
 *   convex  w * cosine + (1 - w) * bm25, each brought to 0..1 over the candidates (min-max); w by the kind of question
 *   rrf     sum over the legs of weight / (k + rank), ranks over the candidates' exact scores
 * A chunk without a vector takes the mean of the candidates' cosines: not known is not bad.
 * RAG_ENOMEM. Thread-safe. Sources: Bruch et al. 2023 (convex); Cormack et al. 2009 (RRF). */
RAG_MUST_CHECK rag_code fusion_run(const struct query_analysis *qa, const struct profile *p, struct arena *a,
                                   struct hits *h);

/* Turns raw numbers into score (per hit) and returns the confidence that the documents answer the question: 0..1,
 * calibrated on training questions (docs/quality.md). Hits in their final order. */
float calibrate_hits(const struct query_analysis *qa, struct hits *h);

#endif
