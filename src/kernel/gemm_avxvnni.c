#if defined(__x86_64__)
#include "kernel/gemm_int.h"

#include <immintrin.h>
#include <string.h>

/* vpdpbusd takes unsigned by signed bytes: w + 128 (a flipped top bit) stands for w, and each accumulator starts at
 * -128 times the sum of its row. 6 rows x 16 channels: 12 accumulators. */
enum { ROWS = 6 };

static inline int32_t row_sum(const int8_t *q, uint32_t n)
{
    __m256i ones = _mm256_set1_epi8(1), acc = _mm256_setzero_si256();
    for (uint32_t i = 0; i < n; i += 32)
        acc = _mm256_dpbusd_avx_epi32(acc, ones, _mm256_loadu_si256((const __m256i *)(q + i)));
    __m128i v = _mm_add_epi32(_mm256_castsi256_si128(acc), _mm256_extracti128_si256(acc, 1));
    v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0x4e));
    v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0xb1));
    return _mm_cvtsi128_si32(v);
}

static inline void store(float *out, __m256i acc, float scale, int32_t zero, const struct gemm_matrix *b, uint32_t ch)
{
    __m256i sum = _mm256_loadu_si256((const __m256i *)(b->sum + ch));
    acc = _mm256_sub_epi32(acc, _mm256_mullo_epi32(_mm256_set1_epi32(zero), sum));
    __m256 s = _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_loadu_ps(b->scale + ch));
    _mm256_storeu_ps(out, _mm256_add_ps(_mm256_mul_ps(s, _mm256_cvtepi32_ps(acc)), _mm256_loadu_ps(b->bias + ch)));
}

__attribute__((always_inline)) static inline void tile(const struct gemm_rows *a, const int32_t *row_sums,
                                                       const struct gemm_matrix *b, uint32_t row, uint32_t block,
                                                       float *out, size_t stride, uint32_t rows)
{
    uint32_t padded_k = gemm_pad_k(b->k);
    const int8_t *w = b->w + (size_t)block * padded_k, *q = a->q + (size_t)row * padded_k;
    const __m256i flip = _mm256_set1_epi8((char)0x80);
    __m256i acc[ROWS][2];
    for (uint32_t r = 0; r < rows; r++)
        acc[r][0] = acc[r][1] = _mm256_set1_epi32(-128 * row_sums[r]);
    for (uint32_t i = 0; i < padded_k; i += 4, w += 4 * GEMM_N) {
        __m256i w0 = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)w), flip);
        __m256i w1 = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(w + 32)), flip);
#pragma GCC unroll 8
        for (uint32_t r = 0; r < rows; r++) {
            int32_t four;
            memcpy(&four, q + (size_t)r * padded_k + i, sizeof four);
            __m256i v = _mm256_set1_epi32(four);
            acc[r][0] = _mm256_dpbusd_avx_epi32(acc[r][0], w0, v);
            acc[r][1] = _mm256_dpbusd_avx_epi32(acc[r][1], w1, v);
        }
    }
    for (uint32_t r = 0; r < rows; r++) {
        float *o = out + (row + r) * stride + block;
        store(o, acc[r][0], a->scale[row + r], a->zero[row + r], b, block);
        store(o + 8, acc[r][1], a->scale[row + r], a->zero[row + r], b, block + 8);
    }
}

enum { SUMS = 96 }; /* rows whose sums are on the stack */

static void some_rows(const struct gemm_rows *a, const struct gemm_matrix *b, float *out, size_t stride)
{
    uint32_t padded_k = gemm_pad_k(b->k);
    int32_t sums[SUMS];
    for (uint32_t r = 0; r < a->m; r++)
        sums[r] = row_sum(a->q + (size_t)r * padded_k, padded_k);
    for (uint32_t block = 0; block < gemm_pad_n(b->n); block += GEMM_N)
        for (uint32_t row = 0, rows; row < a->m; row += rows) {
            rows = gemm_group(a->m - row, ROWS);
            switch (rows) {
            case 1: tile(a, sums + row, b, row, block, out, stride, 1); break;
            case 2: tile(a, sums + row, b, row, block, out, stride, 2); break;
            case 3: tile(a, sums + row, b, row, block, out, stride, 3); break;
            case 4: tile(a, sums + row, b, row, block, out, stride, 4); break;
            case 5: tile(a, sums + row, b, row, block, out, stride, 5); break;
            default: tile(a, sums + row, b, row, block, out, stride, 6); break;
            }
        }
}

void gemm_int8_avxvnni(const struct gemm_rows *a, const struct gemm_matrix *b, float *out, size_t stride)
{
    for (uint32_t row = 0; row < a->m; row += SUMS) {
        uint32_t m = a->m - row < SUMS ? a->m - row : SUMS;
        struct gemm_rows part = {a->q + (size_t)row * gemm_pad_k(b->k), a->scale + row, a->zero + row, m};
        some_rows(&part, b, out + row * stride, stride);
    }
}
#else
typedef int gemm_avxvnni_is_for_x86_64;
#endif
