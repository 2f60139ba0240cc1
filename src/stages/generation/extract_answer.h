/* stages/generation/extract_answer.h - the answer without a model: the best sentences, cited. */
#ifndef RAGD_STAGES_EXTRACT_ANSWER_H
#define RAGD_STAGES_EXTRACT_ANSWER_H

#include "base/arena.h"
#include "base/status.h"
#include "flow/answer.h"
#include "flow/hits.h"
#include "flow/profile.h"
#include "flow/query.h"

/* Picks sentences or table fields from the first hits, orders them, writes [n] citations. Where a few words of the first one
 * answer by themselves they stand in front of it, "**3600元**——" or "**4 May 1962** — ", and its [1] covers them. found is false when
 * confidence is below the floor. Everything in `out` lives in `a`. RAG_ENOMEM. Thread-safe. */
RAG_MUST_CHECK rag_code extract_answer(const struct analyzer *an, const struct query *q,
                                       const struct query_analysis *qa, const struct hits *h,
                                       float confidence, const struct profile *p, struct arena *a,
                                       struct answer *out);

/* "not in the documents", in the language of the question's text: a literal. */
struct str answer_not_found(struct str question);

#endif
