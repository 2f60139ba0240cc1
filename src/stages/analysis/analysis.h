/* stages/analysis/analysis.h - the rule-based query analyser: language, complexity, kind, numbers, asks. */
#ifndef RAGD_STAGES_ANALYSIS_H
#define RAGD_STAGES_ANALYSIS_H

#include "base/status.h"
#include "flow/query.h"

/* Fills *out (out->terms initialised by the caller). `an` is shared and immutable. Under 100 us for a
 * question of 200 bytes. RAG_ENOMEM. Thread-safe for different `out`. */
RAG_MUST_CHECK rag_code analysis_run(const struct analyzer *an, const struct query *q,
                                     struct query_analysis *out);

#endif
