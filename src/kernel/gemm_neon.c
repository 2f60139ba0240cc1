#if defined(__aarch64__)
#include "kernel/gemm_int.h"

#include <arm_neon.h>
#include <string.h>

/* No dot-product instructions assumed: vmull of 8 signed bytes, then a pairwise add into i32. A 16-byte load holds 4
 * channels x 4 inputs; pairs of 32-bit sums are added at the end. 2 rows x 16 channels: 16 accumulators. */
enum { ROWS = 2 };

__attribute__((always_inline)) static inline void tile(const struct gemm_rows *a, const struct gemm_matrix *b,
                                                       uint32_t row, uint32_t block, float *out, size_t stride,
                                                       uint32_t rows)
{
    uint32_t padded_k = gemm_pad_k(b->k);
    const int8_t *w = b->w + (size_t)block * padded_k, *q = a->q + (size_t)row * padded_k;
    int32x4_t acc[ROWS][8];
    for (uint32_t r = 0; r < rows; r++)
        for (int j = 0; j < 8; j++)
            acc[r][j] = vdupq_n_s32(0);
    for (uint32_t i = 0; i < padded_k; i += 4, w += 4 * GEMM_N) {
        int8x8_t v[ROWS];
        for (uint32_t r = 0; r < rows; r++) {
            int32_t four;
            memcpy(&four, q + (size_t)r * padded_k + i, sizeof four);
            v[r] = vreinterpret_s8_s32(vdup_n_s32(four));
        }
        for (int j = 0; j < 8; j++) { /* 2 channels each */
            int8x8_t two = vld1_s8(w + 8 * j);
            for (uint32_t r = 0; r < rows; r++)
                acc[r][j] = vpadalq_s16(acc[r][j], vmull_s8(two, v[r]));
        }
    }
    for (uint32_t r = 0; r < rows; r++) {
        float *o = out + (row + r) * stride + block;
        for (uint32_t j = 0; j < 4; j++) {
            uint32_t ch = block + 4 * j;
            int32x4_t sum = vpaddq_s32(acc[r][2 * j], acc[r][2 * j + 1]);
            sum = vsubq_s32(sum, vmulq_n_s32(vld1q_s32(b->sum + ch), a->zero[row + r]));
            float32x4_t s = vmulq_n_f32(vld1q_f32(b->scale + ch), a->scale[row + r]);
            vst1q_f32(o + 4 * j, vaddq_f32(vmulq_f32(s, vcvtq_f32_s32(sum)), vld1q_f32(b->bias + ch)));
        }
    }
}

void gemm_int8_neon(const struct gemm_rows *a, const struct gemm_matrix *b, float *out, size_t stride)
{
    for (uint32_t block = 0; block < gemm_pad_n(b->n); block += GEMM_N)
        for (uint32_t row = 0; row < a->m; row += ROWS) {
            if (a->m - row >= 2)
                tile(a, b, row, block, out, stride, 2);
            else
                tile(a, b, row, block, out, stride, 1);
        }
}
#else
typedef int gemm_neon_is_for_aarch64;
#endif
