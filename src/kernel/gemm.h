/* kernel/gemm.h - matrix kernels of the encoders: packed weights times a few rows of activations.
 *
 * Packed weights serve every instruction set: blocks of GEMM_N output channels, in each block groups of 4 inputs, in
 * each group 4 consecutive weights of channel 0, of channel 1, ... (64 bytes a group: one zmm, two ymm, or a row of an
 * AMX tile). k is padded to GEMM_K, n to GEMM_N, with zeros. Weights are 7-bit (-GEMM_WEIGHT_MAX ..), so that AVX2's
 * pairwise multiply-add of u8 by s8 cannot saturate; every implementation gives the same integers as scalar. */
#ifndef RAGD_KERNEL_GEMM_H
#define RAGD_KERNEL_GEMM_H

#include <stddef.h>
#include <stdint.h>

enum { GEMM_N = 16, GEMM_K = 64, GEMM_WEIGHT_MAX = 63 };

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

#endif
