#if defined(__x86_64__)
#include "kernel/gemm_int.h"

#include <immintrin.h>
#include <string.h>

/* vpmaddubsw multiplies unsigned by signed bytes, so the weight's sign moves to the activation: |w| * sign(a, w).
 * 127 * 127 * 2 fits an i16: the sum of a pair never saturates. 4 rows x 16 channels: 8 accumulators, w, |w|, the
 * broadcast, a product and the ones fill the 16 registers. */
enum { ROWS = 4 };

static inline __m256i multiply(__m256i acc, __m256i w, __m256i w_abs, __m256i a, __m256i ones)
{
    __m256i pairs = _mm256_maddubs_epi16(w_abs, _mm256_sign_epi8(a, w));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, ones));
}

static inline void store(float *out, __m256i acc, float scale, int32_t zero, const struct gemm_matrix *b, uint32_t ch)
{
    __m256i sum = _mm256_loadu_si256((const __m256i *)(b->sum + ch));
    acc = _mm256_sub_epi32(acc, _mm256_mullo_epi32(_mm256_set1_epi32(zero), sum));
    __m256 s = _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_loadu_ps(b->scale + ch));
    _mm256_storeu_ps(out, _mm256_add_ps(_mm256_mul_ps(s, _mm256_cvtepi32_ps(acc)), _mm256_loadu_ps(b->bias + ch)));
}

/* Inlined with a constant number of rows, so that the accumulators are registers. */
__attribute__((always_inline)) static inline void tile(const struct gemm_rows *a, const struct gemm_matrix *b,
                                                       uint32_t row, uint32_t block, float *out, size_t stride,
                                                       uint32_t rows)
{
    uint32_t padded_k = gemm_pad_k(b->k);
    const int8_t *w = b->w + (size_t)block * padded_k, *q = a->q + (size_t)row * padded_k;
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i acc[ROWS][2];
    for (uint32_t r = 0; r < rows; r++)
        acc[r][0] = acc[r][1] = _mm256_setzero_si256();
    for (uint32_t i = 0; i < padded_k; i += 4, w += 4 * GEMM_N) {
        __m256i w0 = _mm256_loadu_si256((const __m256i *)w), w1 = _mm256_loadu_si256((const __m256i *)(w + 32));
        __m256i abs0 = _mm256_abs_epi8(w0), abs1 = _mm256_abs_epi8(w1);
#pragma GCC unroll 8
        for (uint32_t r = 0; r < rows; r++) {
            int32_t four;
            memcpy(&four, q + (size_t)r * padded_k + i, sizeof four);
            __m256i v = _mm256_set1_epi32(four);
            acc[r][0] = multiply(acc[r][0], w0, abs0, v, ones);
            acc[r][1] = multiply(acc[r][1], w1, abs1, v, ones);
        }
    }
    for (uint32_t r = 0; r < rows; r++) {
        float *o = out + (row + r) * stride + block;
        store(o, acc[r][0], a->scale[row + r], a->zero[row + r], b, block);
        store(o + 8, acc[r][1], a->scale[row + r], a->zero[row + r], b, block + 8);
    }
}

void gemm_int8_avx2(const struct gemm_rows *a, const struct gemm_matrix *b, float *out, size_t stride)
{
    for (uint32_t block = 0; block < gemm_pad_n(b->n); block += GEMM_N)
        for (uint32_t row = 0, rows; row < a->m; row += rows) {
            rows = gemm_group(a->m - row, ROWS);
            switch (rows) {
            case 1: tile(a, b, row, block, out, stride, 1); break;
            case 2: tile(a, b, row, block, out, stride, 2); break;
            case 3: tile(a, b, row, block, out, stride, 3); break;
            default: tile(a, b, row, block, out, stride, 4); break;
            }
        }
}
#else
typedef int gemm_avx2_is_for_x86_64;
#endif
