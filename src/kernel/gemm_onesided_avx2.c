/* The AVX2 product for rows that hardly go below zero. Such a row's range begins near -127, so u = q + 127 is unsigned
 * and mostly small: vpmaddubsw takes it as it is, without the sign of gemm_avx2.c, and the i16 sums of two groups of 4
 * inputs often fit together: two vpmaddubsw, vpaddw, vpmaddwd and vpaddd for 64 products, 1.5 cycles instead of 2.
 *
 * Which groups go together is decided once for a tile of 4 rows. A group's size is the largest sum of two neighbours u
 * in it; a product of size s stays within 127 s, and an i16 holds 127 * 258. Groups are listed by size / 64:
 *
 *   0 tiny   with anything up to 2:  63 + 191
 *   1 low    with low or tiny:      127 + 127
 *   2 mid    with tiny, else alone: up to 191
 *   3 high   alone, as min(u, 129) and what is left, up to 126: each at most 258
 *
 * The order of a sum of integers is free, so the result is the same. GELU of multilingual-e5-small: 81 % of the groups
 * are tiny or low, 1 % above 258 (511 tokens of Chinese news). */
#if defined(__x86_64__)
#include "kernel/gemm_int.h"

#include <immintrin.h>
#include <string.h>

enum { ROWS = 4, SHIFT = 127, HALF = 129 };
enum { LONGEST = 8192, TILES = GEMM_SOME_ROWS };
enum { ENTRY = 4 * ROWS }; /* bytes of a group: 4 inputs of each row */

/* A tile's groups in the order in which they are multiplied: pairs first. */
struct plan {
    const int8_t *entries;  /* ENTRY bytes each */
    const uint16_t *groups; /* whose weights */
    uint32_t pairs, singles;
};

static inline __m256i load(const int8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

static inline __m256i broadcast(const int8_t *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm256_set1_epi32(four);
}

static inline __m256i add_pairs(__m256i acc, __m256i pairs, __m256i ones)
{
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, ones));
    __asm__("" : "+x"(acc)); /* as in gemm_avx2.c */
    return acc;
}

static inline void store(float *out, __m256i acc, float scale, int32_t zero, const struct gemm_matrix *b, uint32_t ch)
{
    __m256i sum = _mm256_loadu_si256((const __m256i *)(b->sum + ch));
    acc = _mm256_sub_epi32(acc, _mm256_mullo_epi32(_mm256_set1_epi32(zero + SHIFT), sum));
    __m256 s = _mm256_mul_ps(_mm256_set1_ps(scale), _mm256_loadu_ps(b->scale + ch));
    _mm256_storeu_ps(out, _mm256_add_ps(_mm256_mul_ps(s, _mm256_cvtepi32_ps(acc)), _mm256_loadu_ps(b->bias + ch)));
}

__attribute__((always_inline)) static inline void tile(const struct gemm_rows *a, const struct plan *plan,
                                                       const struct gemm_matrix *b, uint32_t row, uint32_t block,
                                                       float *out, size_t stride, uint32_t rows)
{
    const int8_t *w = b->w + (size_t)block * gemm_pad_k(b->k), *p = plan->entries;
    size_t next = (size_t)GEMM_N * gemm_pad_k(b->k); /* to the block that comes next, from L3 or memory */
    const uint16_t *g = plan->groups, *end = g + 2 * plan->pairs;
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i acc[ROWS][2];
    GEMM_UNROLL
    for (uint32_t r = 0; r < rows; r++)
        acc[r][0] = acc[r][1] = _mm256_setzero_si256();
    for (; g < end; g += 2, p += 2 * ENTRY) {
        const int8_t *v = w + (size_t)g[0] * 4 * GEMM_N, *x = w + (size_t)g[1] * 4 * GEMM_N;
        _mm_prefetch((const char *)v + next, _MM_HINT_T1);
        _mm_prefetch((const char *)x + next, _MM_HINT_T1);
        GEMM_UNROLL
        for (uint32_t r = 0; r < rows; r++) {
            __m256i one = broadcast(p + 4 * r), two = broadcast(p + 4 * r + ENTRY);
            __m256i low = _mm256_add_epi16(_mm256_maddubs_epi16(one, load(v)), _mm256_maddubs_epi16(two, load(x)));
            acc[r][0] = add_pairs(acc[r][0], low, ones);
            __m256i high = _mm256_add_epi16(_mm256_maddubs_epi16(one, load(v + 32)),
                                            _mm256_maddubs_epi16(two, load(x + 32)));
            acc[r][1] = add_pairs(acc[r][1], high, ones);
        }
    }
    for (end += plan->singles; g < end; g++, p += ENTRY) {
        const int8_t *v = w + (size_t)*g * 4 * GEMM_N;
        _mm_prefetch((const char *)v + next, _MM_HINT_T1);
        GEMM_UNROLL
        for (uint32_t r = 0; r < rows; r++) {
            __m256i one = broadcast(p + 4 * r);
            acc[r][0] = add_pairs(acc[r][0], _mm256_maddubs_epi16(one, load(v)), ones);
            acc[r][1] = add_pairs(acc[r][1], _mm256_maddubs_epi16(one, load(v + 32)), ones);
        }
    }
    GEMM_UNROLL
    for (uint32_t r = 0; r < rows; r++) {
        float *o = out + (row + r) * stride + block;
        store(o, acc[r][0], a->scale[row + r], a->zero[row + r], b, block);
        store(o + 8, acc[r][1], a->scale[row + r], a->zero[row + r], b, block + 8);
    }
}

/* u of one group: 4 inputs of 4 rows. */
static inline __m128i shifted(const int8_t *const q[ROWS], size_t group)
{
    int32_t v[ROWS];
    for (int r = 0; r < ROWS; r++)
        memcpy(&v[r], q[r] + 4 * group, sizeof v[r]);
    return _mm_add_epi8(_mm_setr_epi32(v[0], v[1], v[2], v[3]), _mm_set1_epi8(SHIFT));
}

/* The largest of the sums of two neighbours, 0 .. 508. */
static inline uint32_t size_of(__m128i u)
{
    __m128i sums = _mm_maddubs_epi16(u, _mm_set1_epi8(1)); /* vphminposuw finds the least: of the complements */
    return ~(uint32_t)_mm_cvtsi128_si32(_mm_minpos_epu16(_mm_xor_si128(sums, _mm_set1_epi32(-1)))) & 0xffff;
}

struct lists {
    uint32_t n[4];
    uint16_t groups[4][LONGEST / 4];
};

/* Writes entries and groups of one tile; false: more than an eighth of the groups is high. */
static bool make_plan(const int8_t *const q[ROWS], uint32_t n, struct lists *lists, int8_t *entries, uint16_t *groups,
                      struct plan *plan)
{
    memset(lists->n, 0, sizeof lists->n);
    for (uint32_t g = 0; g < n; g++) {
        uint32_t kind = size_of(shifted(q, g)) / 64;
        kind = kind < 3 ? kind : 3;
        lists->groups[kind][lists->n[kind]++] = (uint16_t)g;
    }
    const uint16_t *tiny = lists->groups[0], *low = lists->groups[1], *mid = lists->groups[2], *high = lists->groups[3];
    uint32_t n_tiny = lists->n[0], n_low = lists->n[1], n_mid = lists->n[2], n_high = lists->n[3];
    if (n_high > n / 8)
        return false;
    uint32_t used = 0, both = n_tiny < n_mid ? n_tiny : n_mid;
    for (uint32_t i = 0; i < both; i++) {
        groups[used++] = tiny[i];
        groups[used++] = mid[i];
    }
    for (uint32_t i = both; i < n_tiny; i++)
        groups[used++] = tiny[i];
    for (uint32_t i = 0; i < n_low; i++)
        groups[used++] = low[i];
    plan->pairs = used / 2;
    for (uint32_t i = both; i < n_mid; i++)
        groups[used++] = mid[i];
    plan->entries = entries;
    plan->groups = groups;
    for (uint32_t i = 0; i < used; i++, entries += ENTRY)
        _mm_storeu_si128((__m128i *)entries, shifted(q, groups[i]));
    for (uint32_t i = 0; i < n_high; i++, entries += 2 * ENTRY) {
        __m128i u = shifted(q, high[i]), half = _mm_set1_epi8((char)HALF);
        _mm_storeu_si128((__m128i *)entries, _mm_min_epu8(u, half));
        _mm_storeu_si128((__m128i *)(entries + ENTRY), _mm_subs_epu8(u, half));
        groups[used++] = high[i];
        groups[used++] = high[i];
    }
    plan->singles = used - 2 * plan->pairs;
    return true;
}

bool gemm_one_sided_avx2(const struct gemm_rows *a, const struct gemm_matrix *b, float *out, size_t stride)
{
    /* 128 KiB of entries: a tile's groups, and an eighth more for the high ones. */
    enum { MOST = 1 << 17 };
    int8_t entries[MOST] __attribute__((aligned(64)));
    uint16_t groups[MOST / ENTRY];
    struct lists lists;
    struct plan plans[TILES];
    uint32_t padded_k = gemm_pad_k(b->k), n = padded_k / 4, most = n + n / 8, tiles = 0;
    if (padded_k > LONGEST || a->m > GEMM_SOME_ROWS)
        return false;
    for (uint32_t row = 0, rows; row < a->m; row += rows, tiles++) {
        rows = gemm_group(a->m - row, ROWS);
        const int8_t *q[ROWS];
        for (uint32_t r = 0; r < ROWS; r++) /* a row that is not there counts as the last one */
            q[r] = a->q + (size_t)(row + (r < rows ? r : rows - 1)) * padded_k;
        if ((tiles + 1) * most > MOST / ENTRY ||
            !make_plan(q, n, &lists, entries + (size_t)tiles * most * ENTRY, groups + tiles * most, plans + tiles))
            return false;
    }
    for (uint32_t block = 0; block < gemm_pad_n(b->n); block += GEMM_N) {
        const struct plan *plan = plans;
        for (uint32_t row = 0, rows; row < a->m; row += rows, plan++) {
            rows = gemm_group(a->m - row, ROWS);
            switch (rows) {
            case 1: tile(a, plan, b, row, block, out, stride, 1); break;
            case 2: tile(a, plan, b, row, block, out, stride, 2); break;
            case 3: tile(a, plan, b, row, block, out, stride, 3); break;
            default: tile(a, plan, b, row, block, out, stride, 4); break;
            }
        }
    }
    return true;
}
#else
typedef int gemm_onesided_avx2_is_for_x86_64;
#endif
