/* kernel/gemm.h - matrix kernels of the encoders: packed weights times a few rows of activations.
 *
 * Packed weights serve every instruction set: blocks of GEMM_N output channels, in each block groups of 4 inputs, in
 * each group 4 consecutive weights of channel 0, of channel 1, ... (64 bytes a group: one zmm, two ymm, or a row of an
 * AMX tile). k is padded to GEMM_K, n to GEMM_N, with zeros. Weights and activations are signed and symmetric in range
 * (-127 .. 127), so that no instruction set saturates on the way; every implementation gives the same integers, and
 * the same floats made from them, as scalar. 7-bit weights were measured and rejected (docs/performance.md). */
#ifndef RAGD_KERNEL_GEMM_H
#define RAGD_KERNEL_GEMM_H

#include <stddef.h>
#include <stdint.h>

/* GEMM_MAX_K: an i32 holds 127 * 254 * k. */
enum { GEMM_N = 16, GEMM_K = 64, GEMM_WEIGHT_MAX = 127, GEMM_ACT_MAX = 127, GEMM_MAX_K = 65536 };

static inline uint32_t gemm_pad_n(uint32_t n)
{
    return (n + GEMM_N - 1) / GEMM_N * GEMM_N;
}
static inline uint32_t gemm_pad_k(uint32_t k)
{
    return (k + GEMM_K - 1) / GEMM_K * GEMM_K;
}

/* A packed matrix of n outputs by k inputs; pointers 64-byte aligned, into the mapped model. */
struct gemm_matrix {
    uint32_t n, k;
    const int8_t *w;     /* gemm_pad_n(n) * gemm_pad_k(k) bytes, or NULL when the model holds f32 */
    const float *scale;  /* gemm_pad_n(n): weight = scale[channel] * w */
    const int32_t *sum;  /* gemm_pad_n(n): sum of w over the inputs of a channel, for the activations' zero point */
    const float *bias;   /* gemm_pad_n(n) */
    const float *wf;     /* f32 models: blocks of GEMM_N channels, in each k rows of GEMM_N floats; else NULL */
};

/* Quantises and packs row-major weights [n][k]: w, scale, sum of the sizes above. Deterministic. */
void gemm_pack(const float *weights, uint32_t n, uint32_t k, int8_t *w, float *scale, int32_t *sum);
/* The f32 layout: gemm_pad_n(n) * k floats. */
void gemm_pack_f32(const float *weights, uint32_t n, uint32_t k, float *wf);

/* Channels first .. first + n - 1 of m, as a matrix; first is a multiple of GEMM_N. */
struct gemm_matrix gemm_slice(const struct gemm_matrix *m, uint32_t first, uint32_t n);

/* m rows of quantised activations: value = scale[row] * (q - zero[row]). */
struct gemm_rows {
    const int8_t *q;     /* [m][gemm_pad_k(k)], -GEMM_ACT_MAX .. GEMM_ACT_MAX; bytes beyond k are 0 */
    const float *scale;  /* m */
    const int32_t *zero; /* m, -GEMM_ACT_MAX .. GEMM_ACT_MAX */
    uint32_t m;
};

/* One implementation for one instruction set. Thread-safe.
 *   out  float[m][stride], stride >= gemm_pad_n(b->n); the padding columns are written too
 * out = scale_a * scale_w * (acc - zero * sum) + bias. */
struct gemm_kernel {
    const char *name; /* "avx512-vnni", "avx2", "scalar" */
    void (*int8)(const struct gemm_rows *a, const struct gemm_matrix *b, float *out, size_t stride);
};
/* The best of this CPU (cpu_features). */
const struct gemm_kernel *gemm_kernel(void);
/* All that this build holds and this CPU can run, the best first; NULL beyond the last. For tests and benchmarks. */
const struct gemm_kernel *gemm_kernel_at(unsigned i);

#endif
