#if defined(__x86_64__)
#include "kernel/gemm_int.h"

#include <immintrin.h>
#include <string.h>

/* vpmaddubsw multiplies unsigned by signed bytes, so the activation's sign moves to the weight: |a| * (w ^ s), where s
 * is -1 for a negative a and 0 else. w ^ -1 is -w - 1: what that takes too much is the sum of |a| over a row's negative
 * activations, and a row's accumulators start there. 127 * 128 * 2 fits an i16: the sum of a pair never saturates.
 * vpsignb needs no such correction, but shares its two ports with the multiplies: 1.5 cycles for 32 products instead
 * of 1 (Zen 4, measured; 158 and 237 Gop/s at 3.7 GHz). Rows with hardly anything below zero have a shorter way:
 * gemm_onesided_avx2.c.
 *
 * |a| and s of a row are computed once, 4 bytes of each in turn, and read as two broadcasts. 4 rows x 16 channels: 8
 * accumulators, two of weights, both broadcasts, a product and the ones fit into the 16 registers. */
enum { ROWS = 4 };
/* Bytes of split rows on the stack: one of GEMM_MAX_K inputs, 42 of 1536. */
enum { SPLIT = 2 * GEMM_MAX_K, SPLIT_ROWS = GEMM_SOME_ROWS };

static inline __m256i multiply(__m256i acc, __m256i w, __m256i size, __m256i sign, __m256i ones)
{
    __m256i pairs = _mm256_maddubs_epi16(size, _mm256_xor_si256(w, sign));
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, ones));
    __asm__("" : "+x"(acc)); /* gcc 12 would add up unrolled steps first, and spill the accumulators */
    return acc;
}

static inline void store(float *out, __m256i acc, float scale, int32_t zero, const struct gemm_matrix *b, uint32_t ch)
{
    __m256i sum = _mm256_loadu_si256((const __m256i *)(b->sum + ch));
    acc = _mm256_sub_epi32(acc, _mm256_mullo_epi32(_mm256_set1_epi32(zero), sum));
    __m256 s = _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_loadu_ps(b->scale + ch));
    _mm256_storeu_ps(out, _mm256_add_ps(_mm256_mul_ps(s, _mm256_cvtepi32_ps(acc)), _mm256_loadu_ps(b->bias + ch)));
}

/* split[2 * n] = |a| and s of 4 inputs in turn; returns the sum of |a| over the negative a. */
static int32_t split_row(const int8_t *q, size_t n, int8_t *split)
{
    const __m256i ones8 = _mm256_set1_epi8(1), ones16 = _mm256_set1_epi16(1);
    __m256i negative = _mm256_setzero_si256();
    for (size_t i = 0; i < n; i += 32) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(q + i));
        __m256i size = _mm256_abs_epi8(a), sign = _mm256_cmpgt_epi8(_mm256_setzero_si256(), a);
        __m256i low = _mm256_unpacklo_epi32(size, sign), high = _mm256_unpackhi_epi32(size, sign);
        _mm256_storeu_si256((__m256i *)(split + 2 * i), _mm256_permute2x128_si256(low, high, 0x20));
        _mm256_storeu_si256((__m256i *)(split + 2 * i + 32), _mm256_permute2x128_si256(low, high, 0x31));
        __m256i pairs = _mm256_maddubs_epi16(_mm256_and_si256(size, sign), ones8);
        negative = _mm256_add_epi32(negative, _mm256_madd_epi16(pairs, ones16));
    }
    __m128i v = _mm_add_epi32(_mm256_castsi256_si128(negative), _mm256_extracti128_si256(negative, 1));
    v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0x4e));
    v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0xb1));
    return _mm_cvtsi128_si32(v);
}

static inline __m256i broadcast(const int8_t *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm256_set1_epi32(four);
}

/* 4 inputs. */
__attribute__((always_inline)) static inline void step(__m256i acc[ROWS][2], const int8_t *w, const int8_t *p,
                                                       size_t padded_k, __m256i ones, uint32_t rows)
{
    __m256i w0 = _mm256_loadu_si256((const __m256i *)w), w1 = _mm256_loadu_si256((const __m256i *)(w + 32));
    _mm_prefetch((const char *)w + GEMM_N * padded_k, _MM_HINT_T1); /* the next block, from L3 or memory */
    GEMM_UNROLL
    for (uint32_t r = 0; r < rows; r++) {
        __m256i size = broadcast(p + 2 * r * padded_k), sign = broadcast(p + 2 * r * padded_k + 4);
        acc[r][0] = multiply(acc[r][0], w0, size, sign, ones);
        acc[r][1] = multiply(acc[r][1], w1, size, sign, ones);
    }
}

/* Inlined with a constant number of rows, so that the accumulators are registers. */
__attribute__((always_inline)) static inline void tile(const struct gemm_rows *a, const int8_t *split,
                                                       const int32_t *negative, const struct gemm_matrix *b,
                                                       uint32_t row, uint32_t block, float *out, size_t stride,
                                                       uint32_t rows)
{
    size_t padded_k = gemm_pad_k(b->k);
    const int8_t *w = b->w + block * padded_k, *p = split + 2 * row * padded_k;
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i acc[ROWS][2];
    GEMM_UNROLL
    for (uint32_t r = 0; r < rows; r++)
        acc[r][0] = acc[r][1] = _mm256_set1_epi32(negative[row + r]);
    for (size_t i = 0; i < padded_k; i += 8, w += 8 * GEMM_N, p += 16) {
        step(acc, w, p, padded_k, ones, rows);
        step(acc, w + 4 * GEMM_N, p + 8, padded_k, ones, rows);
    }
    GEMM_UNROLL
    for (uint32_t r = 0; r < rows; r++) {
        float *o = out + (row + r) * stride + block;
        store(o, acc[r][0], a->scale[row + r], a->zero[row + r], b, block);
        store(o + 8, acc[r][1], a->scale[row + r], a->zero[row + r], b, block + 8);
    }
}

static void some_rows(const struct gemm_rows *a, const struct gemm_matrix *b, float *out, size_t stride)
{
    int8_t split[SPLIT] __attribute__((aligned(64)));
    int32_t negative[SPLIT_ROWS];
    size_t padded_k = gemm_pad_k(b->k);
    for (uint32_t r = 0; r < a->m; r++)
        negative[r] = split_row(a->q + r * padded_k, padded_k, split + 2 * r * padded_k);
    for (uint32_t block = 0; block < gemm_pad_n(b->n); block += GEMM_N)
        for (uint32_t row = 0, rows; row < a->m; row += rows) {
            rows = gemm_group(a->m - row, ROWS);
            switch (rows) {
            case 1: tile(a, split, negative, b, row, block, out, stride, 1); break;
            case 2: tile(a, split, negative, b, row, block, out, stride, 2); break;
            case 3: tile(a, split, negative, b, row, block, out, stride, 3); break;
            default: tile(a, split, negative, b, row, block, out, stride, 4); break;
            }
        }
}

/* Of one row, the plan would cost more than it saves. */
static bool one_sided(const struct gemm_rows *a)
{
    if (a->m == 1)
        return false;
    for (uint32_t r = 0; r < a->m; r++)
        if (a->zero[r] > GEMM_ONE_SIDED)
            return false;
    return true;
}

void gemm_int8_avx2(const struct gemm_rows *a, const struct gemm_matrix *b, float *out, size_t stride)
{
    size_t padded_k = gemm_pad_k(b->k), most = SPLIT / 2 / padded_k;
    most = most > SPLIT_ROWS ? SPLIT_ROWS : most > ROWS ? most / ROWS * ROWS : most;
    for (uint32_t row = 0, m; row < a->m; row += m) {
        m = gemm_group(a->m - row, (uint32_t)most);
        struct gemm_rows part = {a->q + row * padded_k, a->scale + row, a->zero + row, m};
        if (!one_sided(&part) || !gemm_one_sided_avx2(&part, b, out + row * stride, stride))
            some_rows(&part, b, out + row * stride, stride);
    }
}
#else
typedef int gemm_avx2_is_for_x86_64;
#endif
