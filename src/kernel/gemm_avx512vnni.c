#if defined(__x86_64__)
#include "kernel/gemm_int.h"

#include <immintrin.h>
#include <string.h>

/* vpdpbusd takes unsigned by signed bytes: w + 128 (a flipped top bit) stands for w, and each accumulator starts at
 * -128 times the sum of its row. The activation is then the operand that can be broadcast from memory. 14 rows x 32
 * channels: 28 accumulators, two of weights, the flip and a broadcast are the 32 registers. */
enum { ROWS = 14 };

static inline int32_t row_sum(const int8_t *q, uint32_t n)
{
    __m512i acc = _mm512_setzero_si512();
    for (uint32_t i = 0; i < n; i += 64)
        acc = _mm512_dpbusd_epi32(acc, _mm512_set1_epi8(1), _mm512_loadu_si512(q + i));
    return _mm512_reduce_add_epi32(acc);
}

static inline void store(float *out, __m512i acc, float scale, int32_t zero, const struct gemm_matrix *b, uint32_t ch)
{
    acc = _mm512_sub_epi32(acc, _mm512_mullo_epi32(_mm512_set1_epi32(zero), _mm512_loadu_si512(b->sum + ch)));
    __m512 s = _mm512_mul_ps(_mm512_set1_ps(scale), _mm512_loadu_ps(b->scale + ch));
    _mm512_storeu_ps(out, _mm512_add_ps(_mm512_mul_ps(s, _mm512_cvtepi32_ps(acc)), _mm512_loadu_ps(b->bias + ch)));
}

/* Inlined with constant rows and blocks (1 or 2 of 16 channels), so that the accumulators are registers. */
__attribute__((always_inline)) static inline void tile(const struct gemm_rows *a, const int32_t *row_sums,
                                                       const struct gemm_matrix *b, uint32_t row, uint32_t block,
                                                       float *out, size_t stride, uint32_t rows, uint32_t blocks)
{
    uint32_t padded_k = gemm_pad_k(b->k);
    const int8_t *w = b->w + (size_t)block * padded_k, *q = a->q + (size_t)row * padded_k;
    const int8_t *w_next = w + (size_t)GEMM_N * padded_k;
    const __m512i flip = _mm512_set1_epi8((char)0x80);
    __m512i acc[ROWS][2];
GEMM_UNROLL
    for (uint32_t r = 0; r < rows; r++)
        acc[r][0] = acc[r][1] = _mm512_set1_epi32(-128 * row_sums[r]);
    for (uint32_t i = 0; i < padded_k; i += 4, w += 4 * GEMM_N, w_next += 4 * GEMM_N) {
        __m512i w0 = _mm512_xor_si512(_mm512_loadu_si512(w), flip), w1 = w0;
        if (blocks == 2)
            w1 = _mm512_xor_si512(_mm512_loadu_si512(w_next), flip);
        /* The next blocks, from L3 or memory. */
        _mm_prefetch((const char *)w + blocks * GEMM_N * (size_t)padded_k, _MM_HINT_T1);
        if (blocks == 2)
            _mm_prefetch((const char *)w_next + blocks * GEMM_N * (size_t)padded_k, _MM_HINT_T1);
GEMM_UNROLL
        for (uint32_t r = 0; r < rows; r++) {
            int32_t four;
            memcpy(&four, q + (size_t)r * padded_k + i, sizeof four);
            __m512i v = _mm512_set1_epi32(four);
            acc[r][0] = _mm512_dpbusd_epi32(acc[r][0], w0, v);
            if (blocks == 2)
                acc[r][1] = _mm512_dpbusd_epi32(acc[r][1], w1, v);
        }
    }
GEMM_UNROLL
    for (uint32_t r = 0; r < rows; r++) {
        float *o = out + (row + r) * stride + block;
        store(o, acc[r][0], a->scale[row + r], a->zero[row + r], b, block);
        if (blocks == 2)
            store(o + GEMM_N, acc[r][1], a->scale[row + r], a->zero[row + r], b, block + GEMM_N);
    }
}

#define TILE(rows, blocks)                                                                                          \
    static void tile_##rows##x##blocks(const struct gemm_rows *a, const int32_t *row_sums,                          \
                                       const struct gemm_matrix *b, uint32_t row, uint32_t block, float *out,       \
                                       size_t stride)                                                               \
    {                                                                                                               \
        tile(a, row_sums, b, row, block, out, stride, rows, blocks);                                                \
    }
#define TILES(rows) TILE(rows, 1) TILE(rows, 2)
TILES(1) TILES(2) TILES(3) TILES(4) TILES(5) TILES(6) TILES(7)
TILES(8) TILES(9) TILES(10) TILES(11) TILES(12) TILES(13) TILES(14)

typedef void tile_fn(const struct gemm_rows *, const int32_t *, const struct gemm_matrix *, uint32_t, uint32_t,
                     float *, size_t);
static tile_fn *const tiles[ROWS + 1][2] = {
    {NULL, NULL},           {tile_1x1, tile_1x2},   {tile_2x1, tile_2x2},   {tile_3x1, tile_3x2},
    {tile_4x1, tile_4x2},   {tile_5x1, tile_5x2},   {tile_6x1, tile_6x2},   {tile_7x1, tile_7x2},
    {tile_8x1, tile_8x2},   {tile_9x1, tile_9x2},   {tile_10x1, tile_10x2}, {tile_11x1, tile_11x2},
    {tile_12x1, tile_12x2}, {tile_13x1, tile_13x2}, {tile_14x1, tile_14x2},
};

enum { SUMS = 112 }; /* rows whose sums are on the stack */

static void some_rows(const struct gemm_rows *a, const struct gemm_matrix *b, float *out, size_t stride)
{
    uint32_t padded_k = gemm_pad_k(b->k), padded_n = gemm_pad_n(b->n);
    int32_t sums[SUMS];
    for (uint32_t r = 0; r < a->m; r++)
        sums[r] = row_sum(a->q + (size_t)r * padded_k, padded_k);
    for (uint32_t block = 0; block < padded_n; block += 2 * GEMM_N) {
        unsigned two = padded_n - block > GEMM_N;
        for (uint32_t row = 0, rows; row < a->m; row += rows) {
            rows = gemm_group(a->m - row, ROWS);
            tiles[rows][two](a, sums + row, b, row, block, out, stride);
        }
    }
}

void gemm_int8_avx512vnni(const struct gemm_rows *a, const struct gemm_matrix *b, float *out, size_t stride)
{
    for (uint32_t row = 0; row < a->m; row += SUMS) {
        uint32_t m = a->m - row < SUMS ? a->m - row : SUMS;
        struct gemm_rows part = {a->q + (size_t)row * gemm_pad_k(b->k), a->scale + row, a->zero + row, m};
        some_rows(&part, b, out + row * stride, stride);
    }
}
#else
typedef int gemm_avx512vnni_is_for_x86_64;
#endif
