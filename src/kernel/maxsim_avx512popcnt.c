/* Eight counts an instruction (VPOPCNTDQ). Up to 512 dimensions a row is one register: the counts of the planes are
 * added there, and four questions' tokens share one sum across lanes. */
#include "kernel/maxsim.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>

#include "kernel/maxsim_body.inc"

/* Lane i: 2^p times the ones that the i-th words of plane p and the row share, over all planes. */
static inline __m512i weighed(const uint64_t *planes, __m512i row, uint32_t words, __mmask8 in)
{
    __m512i sum = _mm512_setzero_si512();
    for (int p = MAXSIM_PLANES - 1; p >= 0; p--) {
        __m512i both = _mm512_and_si512(_mm512_maskz_loadu_epi64(in, planes + (size_t)p * words), row);
        sum = _mm512_add_epi64(_mm512_slli_epi64(sum, 1), _mm512_popcnt_epi64(both));
    }
    return sum;
}

/* Sums of the lanes of four registers, as four 64-bit numbers. */
static inline __m256i sums4(__m512i a, __m512i b, __m512i c, __m512i d)
{
    __m512i ab = _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b)),
            cd = _mm512_add_epi64(_mm512_unpacklo_epi64(c, d), _mm512_unpackhi_epi64(c, d));
    __m512i x = _mm512_add_epi64(_mm512_shuffle_i64x2(ab, cd, 0x44), _mm512_shuffle_i64x2(ab, cd, 0xee));
    /* 128-bit lanes of x: ab, ab, cd, cd */
    __m512i y = _mm512_add_epi64(_mm512_shuffle_i64x2(x, x, 0x08), _mm512_shuffle_i64x2(x, x, 0x0d));
    return _mm512_castsi512_si256(y);
}

static void best512(const uint64_t *planes, uint32_t n_q, const uint64_t *rows, uint32_t n_rows, uint32_t words,
                    int32_t *out)
{
    if (words > 8) {
        best(planes, n_q, rows, n_rows, words, out);
        return;
    }
    __mmask8 in = (__mmask8)((1u << words) - 1);
    size_t stride = (size_t)MAXSIM_PLANES * words;
    for (uint32_t q = 0; q < n_q; q++)
        out[q] = INT32_MIN;
    for (uint32_t r = 0; r < n_rows; r++) {
        __m512i row = _mm512_maskz_loadu_epi64(in, rows + (size_t)r * words);
        int32_t all = 15 * (int32_t)_mm512_reduce_add_epi64(_mm512_popcnt_epi64(row));
        uint32_t q = 0;
        for (; q + 4 <= n_q; q += 4) {
            const uint64_t *p = planes + q * stride;
            __m256i sums = sums4(weighed(p, row, words, in), weighed(p + stride, row, words, in),
                                 weighed(p + 2 * stride, row, words, in), weighed(p + 3 * stride, row, words, in));
            __m128i dots = _mm_sub_epi32(_mm_slli_epi32(_mm256_cvtepi64_epi32(sums), 1), _mm_set1_epi32(all));
            __m128i *to = (__m128i *)(void *)(out + q);
            _mm_storeu_si128(to, _mm_max_epi32(_mm_loadu_si128(to), dots));
        }
        for (; q < n_q; q++) {
            int32_t dot = 2 * (int32_t)_mm512_reduce_add_epi64(weighed(planes + q * stride, row, words, in)) - all;
            out[q] = dot > out[q] ? dot : out[q];
        }
    }
}

const struct maxsim_kernel maxsim_avx512popcnt = {"avx512-popcnt", best512};
#endif
