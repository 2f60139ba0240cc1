/* pipeline/passage_tokens.h - the codes of passages' tokens, collected while they are embedded. One thread at a time. */
#ifndef RAGD_PIPELINE_PASSAGE_TOKENS_H
#define RAGD_PIPELINE_PASSAGE_TOKENS_H

#include "base/buf.h"
#include "index/token_code.h"
#include "model/encoder.h"
#include "model/token_weight.h"

/* Of one model; NULL both: no tokens are kept. */
struct token_tools {
    const struct token_coder *coder;
    const struct token_weights *weights;
};

struct passage_tokens {
    struct token_tools tools;
    struct buf *codes; /* one a text, initialised by the caller */
};
/* What encoder_run_tokens is given; t stays where it is meanwhile. */
struct token_sink passage_tokens_sink(struct passage_tokens *t);

#endif
