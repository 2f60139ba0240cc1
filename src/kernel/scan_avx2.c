/* AVX2: pairs of u8 x s8 products in 16 bits. A pair is at most 2 * 15 * 127 = 3810, so 8 of them (two halves of four
 * 32-byte steps) stay below 2^15 before they are widened. Four rows at a time share the question's loads. */
#include "kernel/scan.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum { STEP = 32, STEPS = 4, ROWS = 4 };

static inline __m256i load(const void *p)
{
    return _mm256_load_si256(p);
}

/* Sums of each of 4 registers of 8. */
static inline __m128i sums(const __m256i *a)
{
    __m256i s = _mm256_hadd_epi32(_mm256_hadd_epi32(a[0], a[1]), _mm256_hadd_epi32(a[2], a[3]));
    return _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
}

/* dots[i] of `rows` rows, 1 .. ROWS; always inlined, so that the loops over rows vanish. */
static inline __attribute__((always_inline)) void dot4(const struct scan_question *q, const uint8_t *row,
                                                       int rows, int32_t *dots)
{
    const size_t bytes = q->row_bytes;
    const __m256i nibble = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    __m256i wide[ROWS];
    for (int r = 0; r < ROWS; r++)
        wide[r] = _mm256_setzero_si256();
    for (size_t at = 0; at < bytes;) {
        size_t end = bytes - at > STEPS * STEP ? at + STEPS * STEP : bytes;
        __m256i sum[ROWS];
        for (int r = 0; r < rows; r++)
            sum[r] = _mm256_setzero_si256();
        for (; at < end; at += STEP) {
            __m256i low = load(q->q8 + at), high = load(q->q8 + bytes + at);
            for (int r = 0; r < rows; r++) {
                __m256i c = load(row + (size_t)r * bytes + at);
                __m256i l = _mm256_maddubs_epi16(_mm256_and_si256(c, nibble), low);
                __m256i h = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(c, 4), nibble), high);
                sum[r] = _mm256_add_epi16(sum[r], _mm256_add_epi16(l, h));
            }
        }
        for (int r = 0; r < rows; r++)
            wide[r] = _mm256_add_epi32(wide[r], _mm256_madd_epi16(sum[r], ones));
    }
    __m128i s = sums(wide);
    if (rows == ROWS)
        _mm_storeu_si128((__m128i *)dots, s);
    else
        *dots = _mm_cvtsi128_si32(s);
}

static uint64_t run(const struct scan_question *q, const uint8_t *upper, const float *scales,
                    const float *alongs, uint32_t n, float floor, float *est)
{
    int32_t dots[SCAN_RUN];
    uint64_t above = 0;
    uint32_t i = 0;
    for (; i + ROWS <= n; i += ROWS)
        dot4(q, upper + i * q->row_bytes, ROWS, dots + i);
    for (; i < n; i++)
        dot4(q, upper + i * q->row_bytes, 1, dots + i);
    const __m256 base = _mm256_set1_ps(q->base), along = _mm256_set1_ps(q->along),
                 unit = _mm256_set1_ps(q->unit), offset = _mm256_set1_ps(q->offset),
                 least = _mm256_set1_ps(floor);
    for (i = 0; i + 8 <= n; i += 8) {
        __m256 dot = _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)(const void *)(dots + i)));
        __m256 e = _mm256_add_ps(base, _mm256_mul_ps(along, _mm256_loadu_ps(alongs + i)));
        __m256 s = _mm256_mul_ps(_mm256_loadu_ps(scales + i), unit);
        e = _mm256_add_ps(e, _mm256_mul_ps(s, _mm256_add_ps(dot, offset)));
        _mm256_storeu_ps(est + i, e);
        above |= (uint64_t)(unsigned)_mm256_movemask_ps(_mm256_cmp_ps(e, least, _CMP_GT_OQ)) << i;
    }
    for (; i < n; i++) {
        est[i] = (q->base + q->along * alongs[i]) + (scales[i] * q->unit) * ((float)dots[i] + q->offset);
        above |= (uint64_t)(est[i] > floor) << i;
    }
    return above;
}

static inline __m256i madd16(const int16_t *q, __m128i row)
{
    return _mm256_madd_epi16(_mm256_cvtepi8_epi16(row), load(q));
}

static int32_t exact(const struct scan_question *q, const uint8_t *upper, const uint8_t *lower)
{
    const int16_t *low = q->q16, *high = q->q16 + q->row_bytes;
    const __m256i nibble = _mm256_set1_epi8(15), sign = _mm256_set1_epi8((char)0x80);
    __m256i sum[4];
    for (int i = 0; i < 4; i++)
        sum[i] = _mm256_setzero_si256();
    for (size_t j = 0; j < q->row_bytes; j += STEP) {
        __m256i u = load(upper + j), l = load(lower + j);
        /* 16 * upper + lower as bytes; flipping the top bit subtracts 128 */
        __m256i a =
            _mm256_or_si256(_mm256_slli_epi16(_mm256_and_si256(u, nibble), 4), _mm256_and_si256(l, nibble));
        __m256i b = _mm256_or_si256(_mm256_andnot_si256(nibble, u),
                                    _mm256_and_si256(_mm256_srli_epi16(l, 4), nibble));
        a = _mm256_xor_si256(a, sign);
        b = _mm256_xor_si256(b, sign);
        sum[0] = _mm256_add_epi32(sum[0], madd16(low + j, _mm256_castsi256_si128(a)));
        sum[1] = _mm256_add_epi32(sum[1], madd16(low + j + 16, _mm256_extracti128_si256(a, 1)));
        sum[2] = _mm256_add_epi32(sum[2], madd16(high + j, _mm256_castsi256_si128(b)));
        sum[3] = _mm256_add_epi32(sum[3], madd16(high + j + 16, _mm256_extracti128_si256(b, 1)));
    }
    __m128i s = sums(sum);
    s = _mm_hadd_epi32(s, s);
    return _mm_cvtsi128_si32(_mm_hadd_epi32(s, s));
}

const struct scan_kernel scan_avx2 = {"avx2", run, exact};
#endif
