/* AVX-512 with VNNI: vpdpbusd multiplies and adds four u8 x s8 pairs into 32 bits. Four rows at a time, two chains
 * each, since one instruction waits four to five cycles for the one before it. */
#include "kernel/scan.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum { STEP = 64, ROWS = 4 };

static inline __m256i halves(__m512i a)
{
    return _mm256_add_epi32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1));
}

static inline __attribute__((always_inline)) void dot4(const struct scan_question *q, const uint8_t *row,
                                                       int rows, int32_t *dots)
{
    const size_t bytes = q->row_bytes;
    const __m512i nibble = _mm512_set1_epi8(15);
    __m512i a[ROWS], b[ROWS];
    for (int r = 0; r < ROWS; r++)
        a[r] = b[r] = _mm512_setzero_si512();
    for (size_t at = 0; at < bytes; at += STEP) {
        __m512i low = _mm512_load_si512(q->q8 + at), high = _mm512_load_si512(q->q8 + bytes + at);
        for (int r = 0; r < rows; r++) {
            __m512i c = _mm512_load_si512(row + (size_t)r * bytes + at);
            a[r] = _mm512_dpbusd_epi32(a[r], _mm512_and_si512(c, nibble), low);
            b[r] = _mm512_dpbusd_epi32(b[r], _mm512_and_si512(_mm512_srli_epi16(c, 4), nibble), high);
        }
    }
    __m256i h[ROWS];
    for (int r = 0; r < ROWS; r++)
        h[r] = halves(_mm512_add_epi32(a[r], b[r]));
    __m256i s = _mm256_hadd_epi32(_mm256_hadd_epi32(h[0], h[1]), _mm256_hadd_epi32(h[2], h[3]));
    __m128i t = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    if (rows == ROWS)
        _mm_storeu_si128((__m128i *)dots, t);
    else
        *dots = _mm_cvtsi128_si32(t);
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
    const __m512 base = _mm512_set1_ps(q->base), along = _mm512_set1_ps(q->along),
                 unit = _mm512_set1_ps(q->unit), offset = _mm512_set1_ps(q->offset),
                 least = _mm512_set1_ps(floor);
    for (i = 0; i < n; i += 16) {
        __mmask16 in = (__mmask16)(n - i >= 16 ? 0xffffu : (1u << (n - i)) - 1);
        __m512 dot = _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(in, dots + i));
        __m512 e = _mm512_add_ps(base, _mm512_mul_ps(along, _mm512_maskz_loadu_ps(in, alongs + i)));
        __m512 s = _mm512_mul_ps(_mm512_maskz_loadu_ps(in, scales + i), unit);
        e = _mm512_add_ps(e, _mm512_mul_ps(s, _mm512_add_ps(dot, offset)));
        _mm512_mask_storeu_ps(est + i, in, e);
        above |= (uint64_t)_mm512_mask_cmp_ps_mask(in, e, least, _CMP_GT_OQ) << i;
    }
    return above;
}

static inline __m512i madd16(const int16_t *q, __m256i row)
{
    return _mm512_madd_epi16(_mm512_cvtepi8_epi16(row), _mm512_load_si512(q));
}

static int32_t exact(const struct scan_question *q, const uint8_t *upper, const uint8_t *lower)
{
    const int16_t *low = q->q16, *high = q->q16 + q->row_bytes;
    const __m512i nibble = _mm512_set1_epi8(15), sign = _mm512_set1_epi8((char)0x80);
    __m512i x = _mm512_setzero_si512(), y = x;
    for (size_t j = 0; j < q->row_bytes; j += STEP) {
        __m512i u = _mm512_load_si512(upper + j), l = _mm512_load_si512(lower + j);
        /* 16 * upper + lower as bytes; flipping the top bit subtracts 128 */
        __m512i a =
            _mm512_or_si512(_mm512_slli_epi16(_mm512_and_si512(u, nibble), 4), _mm512_and_si512(l, nibble));
        __m512i b = _mm512_or_si512(_mm512_andnot_si512(nibble, u),
                                    _mm512_and_si512(_mm512_srli_epi16(l, 4), nibble));
        a = _mm512_xor_si512(a, sign);
        b = _mm512_xor_si512(b, sign);
        x = _mm512_add_epi32(x, madd16(low + j, _mm512_castsi512_si256(a)));
        y = _mm512_add_epi32(y, madd16(low + j + 32, _mm512_extracti64x4_epi64(a, 1)));
        x = _mm512_add_epi32(x, madd16(high + j, _mm512_castsi512_si256(b)));
        y = _mm512_add_epi32(y, madd16(high + j + 32, _mm512_extracti64x4_epi64(b, 1)));
    }
    return _mm512_reduce_add_epi32(_mm512_add_epi32(x, y));
}

const struct scan_kernel scan_avx512vnni = {"avx512vnni", run, exact};
#endif
