#if defined(__x86_64__)
#include "kernel/gemm_int.h"

#include <immintrin.h>
#include <string.h>

/* tdpbssd: a tile of 16 rows x 64 signed bytes times a tile of 16 groups x (16 channels x 4 inputs) gives 16 x 16 sums.
 * A block of packed weights is a column of such tiles as it lies. 2 x 2 sums in tiles 0-3 share two tiles of rows (4, 5)
 * and two of weights (6, 7). */
struct tile_config { /* the layout that ldtilecfg reads: Intel SDM, volume 1, 18.3 */
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
_Static_assert(sizeof(struct tile_config) == 64, "ldtilecfg reads 64 bytes");

static void configure(uint32_t rows0, uint32_t rows1)
{
    struct tile_config c = {.palette = 1};
    uint32_t rows[8] = {rows0, rows0, rows1, rows1, rows0, rows1, 16, 16};
    for (int t = 0; t < 8; t++) {
        c.row_bytes[t] = 64;
        c.rows[t] = (uint8_t)(rows[t] ? rows[t] : 1);
    }
    _tile_loadconfig(&c);
}

static void store(const int32_t sums[16][16], const struct gemm_rows *a, const struct gemm_matrix *b, uint32_t row,
                  uint32_t rows, uint32_t block, float *out, size_t stride)
{
    __m512i sum = _mm512_loadu_si512(b->sum + block);
    __m512 scale = _mm512_loadu_ps(b->scale + block), bias = _mm512_loadu_ps(b->bias + block);
    for (uint32_t r = 0; r < rows; r++) {
        __m512i zero = _mm512_set1_epi32(a->zero[row + r]);
        __m512i acc = _mm512_sub_epi32(_mm512_load_si512(sums[r]), _mm512_mullo_epi32(zero, sum));
        __m512 s = _mm512_mul_ps(_mm512_set1_ps(a->scale[row + r]), scale);
        _mm512_storeu_ps(out + (row + r) * stride + block, _mm512_add_ps(_mm512_mul_ps(s, _mm512_cvtepi32_ps(acc)), bias));
    }
}

/* Up to 32 rows over all channels. */
static void some_rows(const struct gemm_rows *a, const struct gemm_matrix *b, uint32_t row, uint32_t rows, float *out,
                      size_t stride)
{
    uint32_t padded_k = gemm_pad_k(b->k), padded_n = gemm_pad_n(b->n);
    uint32_t rows0 = rows < 16 ? rows : 16, rows1 = rows - rows0;
    const int8_t *q0 = a->q + (size_t)row * padded_k, *q1 = q0 + (size_t)16 * padded_k;
    _Alignas(64) int32_t sums[4][16][16];
    configure(rows0, rows1);
    for (uint32_t block = 0; block < padded_n; block += 2 * GEMM_N) {
        const int8_t *w0 = b->w + (size_t)block * padded_k, *w1 = w0 + (size_t)GEMM_N * padded_k;
        uint32_t two = padded_n - block > GEMM_N;
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (uint32_t i = 0; i < padded_k; i += GEMM_K) {
            _tile_loadd(6, w0 + (size_t)i * GEMM_N, 64);
            _tile_loadd(4, q0 + i, padded_k);
            _tile_dpbssd(0, 4, 6);
            if (two) {
                _tile_loadd(7, w1 + (size_t)i * GEMM_N, 64);
                _tile_dpbssd(1, 4, 7);
            }
            if (rows1) {
                _tile_loadd(5, q1 + i, padded_k);
                _tile_dpbssd(2, 5, 6);
                if (two)
                    _tile_dpbssd(3, 5, 7);
            }
        }
        _tile_stored(0, sums[0], 64);
        store(sums[0], a, b, row, rows0, block, out, stride);
        if (two) {
            _tile_stored(1, sums[1], 64);
            store(sums[1], a, b, row, rows0, block + GEMM_N, out, stride);
        }
        if (rows1) {
            _tile_stored(2, sums[2], 64);
            store(sums[2], a, b, row + 16, rows1, block, out, stride);
        }
        if (rows1 && two) {
            _tile_stored(3, sums[3], 64);
            store(sums[3], a, b, row + 16, rows1, block + GEMM_N, out, stride);
        }
    }
    _tile_release();
}

void gemm_int8_amx(const struct gemm_rows *a, const struct gemm_matrix *b, float *out, size_t stride)
{
    for (uint32_t row = 0; row < a->m; row += 32)
        some_rows(a, b, row, a->m - row < 32 ? a->m - row : 32, out, stride);
}
#else
typedef int gemm_amx_is_for_x86_64;
#endif
