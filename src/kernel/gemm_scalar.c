#include "kernel/gemm_int.h"

/* The specification. */
void gemm_int8_scalar(const struct gemm_rows *a, const struct gemm_matrix *b, float *out, size_t stride)
{
    uint32_t padded_k = gemm_pad_k(b->k);
    for (uint32_t block = 0; block < gemm_pad_n(b->n); block += GEMM_N) {
        const int8_t *w = b->w + (size_t)block * padded_k;
        for (uint32_t r = 0; r < a->m; r++) {
            const int8_t *q = a->q + (size_t)r * padded_k;
            int32_t acc[GEMM_N] = {0};
            for (uint32_t i = 0; i < padded_k; i += 4)
                for (uint32_t c = 0; c < GEMM_N; c++)
                    for (uint32_t j = 0; j < 4; j++)
                        acc[c] += q[i + j] * w[(size_t)i * GEMM_N + c * 4 + j];
            for (uint32_t c = 0; c < GEMM_N; c++) {
                uint32_t ch = block + c;
                float scale = a->scale[r] * b->scale[ch];
                uint32_t exact = (uint32_t)acc[c] - (uint32_t)a->zero[r] * (uint32_t)b->sum[ch]; /* wraps as SIMD */
                out[r * stride + ch] = scale * (float)(int32_t)exact + b->bias[ch];
            }
        }
    }
}
