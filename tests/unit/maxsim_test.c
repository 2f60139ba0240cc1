/* The kernels of late interaction against the definition, bit for bit. */
#include "test.h"

#include <stdlib.h>

#include "kernel/maxsim.h"

enum { MOST_Q = 19, MOST_ROWS = 37 };

static uint64_t seed = 88172645463325252u;
static uint64_t next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static int32_t definition(const uint8_t *levels, const uint64_t *rows, uint32_t n_rows, uint32_t words)
{
    int32_t best = INT32_MIN;
    for (uint32_t r = 0; r < n_rows; r++) {
        int32_t dot = 0;
        for (uint32_t d = 0; d < words * 64; d++)
            if (rows[r * words + d / 64] >> (d % 64) & 1)
                dot += 2 * levels[d] - 15;
        best = dot > best ? dot : best;
    }
    return best;
}

static void check(uint32_t n_q, uint32_t n_rows, uint32_t words)
{
    uint8_t *levels = calloc(n_q, words * 64);
    uint64_t *planes = calloc((size_t)n_q * MAXSIM_PLANES * words, sizeof *planes),
             *rows = calloc((size_t)n_rows * words, sizeof *rows);
    assert_true(levels && planes && rows);
    for (uint32_t q = 0; q < n_q; q++)
        for (uint32_t d = 0; d < words * 64; d++) {
            uint8_t level = levels[q * words * 64 + d] = (uint8_t)(next() % 16);
            for (uint32_t p = 0; p < MAXSIM_PLANES; p++)
                planes[(q * MAXSIM_PLANES + p) * words + d / 64] |= (uint64_t)(level >> p & 1) << (d % 64);
        }
    for (uint32_t i = 0; i < n_rows * words; i++)
        rows[i] = next();
    const struct maxsim_kernel *k;
    for (unsigned i = 0; (k = maxsim_kernel_at(i)); i++) {
        int32_t got[MOST_Q + 1];
        got[n_q] = 77;
        k->best(planes, n_q, rows, n_rows, words, got);
        CHECK_EQ(got[n_q], 77);
        for (uint32_t q = 0; q < n_q; q++)
            if (got[q] != definition(levels + q * words * 64, rows, n_rows, words)) {
                print_error("%s: question token %u of %u, %u rows of %u words\n", k->name, q, n_q, n_rows, words);
                fail();
            }
    }
    free(levels);
    free(planes);
    free(rows);
}

TEST(every_maxsim_kernel_agrees_with_the_definition)
{
    static const uint32_t words[] = {1, 2, 5, 6, 7, 8, 9, 12, 16, MAXSIM_MAX_WORDS};
    for (size_t w = 0; w < sizeof words / sizeof *words; w++)
        for (uint32_t n_q = 1; n_q <= MOST_Q; n_q += w < 4 ? 1 : 6)
            for (uint32_t n_rows = 1; n_rows <= MOST_ROWS; n_rows += 9)
                check(n_q, n_rows, words[w]);
}
