/* model/encoder.h - texts to vectors: the transformer's forward pass. */
#ifndef RAGD_MODEL_ENCODER_H
#define RAGD_MODEL_ENCODER_H

#include <stdatomic.h>

#include "model/model.h"

/* Scratch and state of one worker thread. Grows to what the largest batch needed. */
struct encoder;
RAG_MUST_CHECK rag_code encoder_new(const struct model *m, struct encoder **out);
void encoder_free(struct encoder *e); /* NULL is fine */

enum encode_kind { ENCODE_PLAIN, ENCODE_QUERY, ENCODE_PASSAGE }; /* which of the model's prefixes goes before */

/* Vectors of n texts into out [n][dims], of unit length when the model says so. All texts run as one ragged batch (no
 * padding), in steps of a bounded number of tokens. A text longer than the window runs as overlapping windows whose
 * vectors are averaged by their number of new tokens; of texts beyond 64 windows the rest is left out. An empty text
 * has the vector of its prefix alone. *n_tokens (NULL: not wanted) counts what was read, prefixes and special ids
 * included. `cancel` (NULL: never) is looked at between layers: RAG_ECANCELED. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code encoder_run(struct encoder *e, enum encode_kind kind, const struct str *texts, uint32_t n,
                                    const atomic_bool *cancel, float *out, uint64_t *n_tokens);

/* The last layer's state of every token of a text that is not a special id or part of the prefix, in order: ids[n] and
 * states[n][dims], not normalised. Called once a window (of a long text several times, each token once); what it points
 * at is gone when it returns. */
struct token_sink {
    void (*take)(void *ctx, uint32_t text, const uint32_t *ids, const float *states, uint32_t n);
    void *ctx;
};
/* encoder_run that also hands out the states. sink NULL: encoder_run. */
RAG_MUST_CHECK rag_code encoder_run_tokens(struct encoder *e, enum encode_kind kind, const struct str *texts, uint32_t n,
                                           const atomic_bool *cancel, const struct token_sink *sink, float *out,
                                           uint64_t *n_tokens);

/* Name of the kernels in use: "avx512-vnni", "avx2", "scalar", ... */
const char *encoder_kernels(void);

#endif
