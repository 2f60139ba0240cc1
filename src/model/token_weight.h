/* model/token_weight.h - how much a token of a question says in late interaction, and which tokens say nothing.
 *
 * 0: pieces without a letter or digit, which are neither kept of passages nor asked for. Immutable; safe from any thread. */
#ifndef RAGD_MODEL_TOKEN_WEIGHT_H
#define RAGD_MODEL_TOKEN_WEIGHT_H

#include "base/status.h"
#include "text/tokenizer.h"

struct token_weights;
RAG_MUST_CHECK rag_code token_weights_new(const struct tokenizer *t, struct token_weights **out);
void token_weights_free(struct token_weights *w); /* NULL is fine */
float token_weight(const struct token_weights *w, uint32_t id);

#endif
