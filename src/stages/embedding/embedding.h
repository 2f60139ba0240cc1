/* stages/embedding/embedding.h - questions to vectors, as one batch. */
#ifndef RAGD_STAGES_EMBEDDING_H
#define RAGD_STAGES_EMBEDDING_H

#include "base/arena.h"
#include "flow/query.h"
#include "flow/qvec.h"
#include "model/encoder_pool.h"
#include "model/token_weight.h"

/* Vectors of n questions (of a long one: of its first window), each in its own arena; with `weights` the states of its
 * tokens too, EMBEDDING_TOKENS at most. RAG_ENOMEM. Thread-safe. */
enum { EMBEDDING_TOKENS = 64 };
RAG_MUST_CHECK rag_code embedding_run(struct encoder_pool *encoders, const struct token_weights *weights,
                                      const struct query *const *queries, struct arena *const *arenas, uint32_t n,
                                      struct qvec *const *out);

#endif
