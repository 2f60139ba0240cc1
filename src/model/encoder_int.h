/* model/encoder_int.h - the ragged batch that encoder.c fills and encoder_forward.c runs. */
#ifndef RAGD_MODEL_ENCODER_INT_H
#define RAGD_MODEL_ENCODER_INT_H

#include <stdatomic.h>

#include "base/buf.h"
#include "kernel/gemm.h"
#include "kernel/vec.h"
#include "model/encoder.h"
#include "model/model_int.h"

/* Tokens of one forward pass: enough rows for the kernels, few enough that q, k and v of a step stay in the outer
 * caches (bench/encoder_bench.c: 128, 256 and 512 are equal within noise). */
enum { STEP_TOKENS = 256, STEP_WINDOWS = STEP_TOKENS / 2 };
/* Rows that run through the feed-forward part together, so that their activations (56 x 1536 floats) stay in L2 while
 * the layer's weights stream by once. A multiple of 4 and 14, the rows of the AVX2 and AVX-512 kernels. */
enum { BLOCK_ROWS = 56 };

struct window {
    uint32_t first, n; /* its tokens in the step */
    uint32_t text;     /* row of out that it adds to */
    float weight;      /* its share of the text's vector */
    uint32_t new_from; /* tokens [new_from, n - 1) are content that no window before had */
};

/* Quantised rows; unused in f32 models. */
struct quantized {
    int8_t *q;
    float *scale;
    int32_t *zero;
};

struct encoder {
    const struct model *model;
    const struct gemm_kernel *gemm;
    const struct vec_kernel *vec;
    struct tokenizer_scratch *tokenizer;
    struct buf text, ids, prefix; /* prefix + text; its ids; ids of the prefix alone */

    struct window windows[STEP_WINDOWS];
    uint32_t n_windows, n_tokens; /* of the step that is being filled */
    const struct token_sink *sink; /* of the run; NULL: nobody wants states */

    /* One block, carved by encoder_reserve for `capacity` tokens. Rows are `hidden` floats unless said. */
    void *memory;
    uint32_t capacity;
    uint32_t *tokens;
    float *x;           /* capacity: the residual stream */
    float *qkv;         /* capacity rows of gemm_pad_n(3 * hidden) */
    float *context;     /* capacity: what attention gives */
    float *heads;       /* scratch of one head's attention */
    float *wide;        /* BLOCK_ROWS of gemm_pad_n(intermediate) */
    float *narrow;      /* BLOCK_ROWS of gemm_pad_n(hidden) */
    struct quantized input; /* capacity: x */
    struct quantized block; /* BLOCK_ROWS: what the next product reads, hidden or intermediate wide */
};

/* Room for a step of n tokens, n <= max(STEP_TOKENS, max_tokens). RAG_ENOMEM. */
RAG_MUST_CHECK rag_code encoder_reserve(struct encoder *e, uint32_t n);
/* Runs the step; adds weight * vector of each window to its row of out, the vectors of unit length when the model says
 * so. RAG_ECANCELED, checked between layers. */
RAG_MUST_CHECK rag_code encoder_forward(struct encoder *e, const atomic_bool *cancel, float *out);
/* v of unit length; zeros when it has none (not finite). */
void encoder_normalize(float *v, uint32_t dims);

#endif
