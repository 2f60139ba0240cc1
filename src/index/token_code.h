/* index/token_code.h - the states of a text's tokens as codes of one bit a dimension, and MaxSim over them.
 *
 * A state is brought to unit length, the model's mean is subtracted, the rest is rotated (so that every dimension says
 * equally much) and of each dimension the sign is kept. A question's tokens keep 4 bits a dimension. Which tokens are kept
 * at all is model/token_weight.h's business. Immutable; every function is safe from any thread. */
#ifndef RAGD_INDEX_TOKEN_CODE_H
#define RAGD_INDEX_TOKEN_CODE_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/str.h"

/* Version of codes and of the choice of tokens: codes of other rules are not compared, but made anew. */
enum { TOKEN_RULES = 1 };

/* Of one token: dims bits in whole 64-bit words. */
size_t token_code_bytes(uint32_t dims);

struct token_coder;
/* mean: dims floats, copied. RAG_EINVAL: dims is 0 or above VECTOR_MAX_DIMS. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code token_coder_new(uint32_t dims, const float *mean, struct token_coder **out);
void token_coder_free(struct token_coder *c); /* NULL is fine */
uint32_t token_coder_dims(const struct token_coder *c);
/* state[dims] to token_code_bytes(dims) bytes. */
void token_encode(const struct token_coder *c, const float *state, uint8_t *out);

/* A question's tokens, made ready for comparing. */
struct token_query;
/* states[n][dims] with weights[n] >= 0, n > 0. Lives in `a`. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code token_query_new(const struct token_coder *c, const float *states, const float *weights,
                                        uint32_t n, struct arena *a, struct token_query **out);
/* Weighted mean over the question's tokens of the cosine to their most similar token in `codes` (whole codes, 8-byte
 * aligned, at least one). Source: Khattab & Zaharia 2020 (MaxSim); Gao & Long 2024 (one bit a dimension). */
float token_score(const struct token_query *q, struct str codes);

#endif
