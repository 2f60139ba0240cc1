/* model/encoder_pool.h - encoders of one model for any number of threads. Thread-safe. */
#ifndef RAGD_MODEL_ENCODER_POOL_H
#define RAGD_MODEL_ENCODER_POOL_H

#include "model/encoder.h"

struct encoder_pool;
/* The model outlives the pool. */
RAG_MUST_CHECK rag_code encoder_pool_new(const struct model *m, struct encoder_pool **out);
void encoder_pool_free(struct encoder_pool *p); /* NULL is fine; nobody runs */
const struct model *encoder_pool_model(const struct encoder_pool *p);
/* encoder_run_tokens with an encoder that is free, or a new one. */
RAG_MUST_CHECK rag_code encoder_pool_run(struct encoder_pool *p, enum encode_kind kind, const struct str *texts,
                                         uint32_t n, const atomic_bool *cancel, const struct token_sink *sink, float *out,
                                         uint64_t *n_tokens);

#endif
