#include "pipeline/passage_tokens.h"

#include "index/vectors.h"

static void take(void *ctx, uint32_t text, const uint32_t *ids, const float *states, uint32_t n)
{
    struct passage_tokens *t = ctx;
    uint8_t code[VECTOR_MAX_DIMS / 8];
    uint32_t dims = token_coder_dims(t->tools.coder);
    size_t size = token_code_bytes(dims);
    for (uint32_t i = 0; i < n; i++)
        if (token_weight(t->tools.weights, ids[i]) > 0) {
            token_encode(t->tools.coder, states + (size_t)i * dims, code);
            buf_add(&t->codes[text], code, size);
        }
}

struct token_sink passage_tokens_sink(struct passage_tokens *t)
{
    return (struct token_sink){t->tools.coder ? take : NULL, t};
}
