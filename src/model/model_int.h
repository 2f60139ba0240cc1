/* model/model_int.h - the weights of a mapped model, as the encoder reads them. */
#ifndef RAGD_MODEL_MODEL_INT_H
#define RAGD_MODEL_MODEL_INT_H

#include "kernel/gemm.h"
#include "model/model.h"
#include "sys/file.h"

struct layer_norm {
    const float *gamma, *beta; /* hidden; 64-byte aligned */
};
struct encoder_layer {
    struct gemm_matrix qkv; /* n = 3 * hidden: all of q, then k, then v */
    struct gemm_matrix attention_out;
    struct layer_norm attention_norm;
    struct gemm_matrix ffn_in, ffn_out; /* hidden -> intermediate (GELU) -> hidden */
    struct layer_norm ffn_norm;
};
struct model {
    struct model_info info;
    struct file_map map; /* empty when the bytes are somebody else's */
    struct str bytes;    /* the whole file */
    struct tokenizer *tokenizer;
    /* Word embeddings: int8 rows [vocabulary][hidden] with a scale for each row, or f32 rows. */
    const int8_t *word;
    const float *word_scale; /* vocabulary */
    const float *word_f32;
    const float *position; /* [max_tokens][hidden] by place in the window, from 0; token type 0 is added in */
    struct layer_norm embedding_norm;
    struct encoder_layer *layers; /* info.layers */
};

/* model_open on bytes that outlive the model and are 64-byte aligned. `what` names them in messages. */
RAG_MUST_CHECK rag_code model_open_bytes(struct str bytes, const char *what, bool verify, struct model **out,
                                         struct rag_err *err);

#endif
