/* kernel/vec.h - the float side of the encoders: layer norm, GELU, quantising, attention, and the f32 matrix product.
 *
 * Sizes are any; pointers need no alignment. Results of two instruction sets differ by rounding only; `quantize` gives
 * the same bytes on all for the same floats. Thread-safe. */
#ifndef RAGD_KERNEL_VEC_H
#define RAGD_KERNEL_VEC_H

#include <stddef.h>
#include <stdint.h>

#include "kernel/gemm.h"

/* Queries of one head of one text against all its tokens.
 *   q        rows of `dim` floats, q_stride floats apart; n_q of them
 *   k, v     n rows each, kv_stride floats apart
 *   out      n_q rows of dim floats: softmax(q k' / sqrt(dim)) v
 *   scratch  vec_attention_scratch(n, dim) floats */
struct vec_attention {
    const float *q, *k, *v;
    float *out, *scratch;
    size_t q_stride, kv_stride, out_stride;
    uint32_t n_q, n, dim;
};
enum { VEC_ATTENTION_ROWS = 6, VEC_WIDEST = 16 };
static inline size_t vec_attention_scratch(size_t n, size_t dim)
{
    size_t padded = (n + VEC_WIDEST - 1) / VEC_WIDEST * VEC_WIDEST;
    size_t padded_dim = (dim + VEC_WIDEST - 1) / VEC_WIDEST * VEC_WIDEST;
    return dim * padded + n * padded_dim + VEC_ATTENTION_ROWS * padded;
}

struct vec_kernel {
    const char *name; /* "avx512", "avx2", "neon", "scalar" */
    /* x = layer norm of x + add (NULL: of x), n floats. */
    void (*norm)(float *x, const float *add, const float *gamma, const float *beta, size_t n, float eps);
    /* x = x * (1 + erf(x / sqrt 2)) / 2, within 1e-6 * max(1, |x|). */
    void (*gelu)(float *x, size_t n);
    /* Bytes q of n floats (gemm_rows), zeros up to `padded`. The range always holds 0, so that 0 stays exact. */
    void (*quantize)(const float *x, size_t n, size_t padded, int8_t *q, float *scale, int32_t *zero);
    void (*attend)(const struct vec_attention *a);
    /* out[m][stride] = a[m][a_stride] times b->wf, plus bias. */
    void (*gemm_f32)(const float *a, size_t a_stride, uint32_t m, const struct gemm_matrix *b, float *out,
                     size_t stride);
};
/* The best of this CPU. */
const struct vec_kernel *vec_kernel(void);
/* All that this build holds and this CPU can run, the best first; NULL beyond the last. For tests and benchmarks. */
const struct vec_kernel *vec_kernel_at(unsigned i);

#endif
