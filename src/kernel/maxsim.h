/* kernel/maxsim.h - late interaction over tokens of one bit a dimension: the inner loop of the reranker.
 *
 * A row is a token: `words` 64-bit words, bit i set when dimension i is positive. A question's token is MAXSIM_PLANES
 * rows: bit p of the level (0..15) of dimension i is bit i of plane p. Every implementation gives the same numbers as
 * scalar. Thread-safe. */
#ifndef RAGD_KERNEL_MAXSIM_H
#define RAGD_KERNEL_MAXSIM_H

#include <stdint.h>

enum { MAXSIM_PLANES = 4, MAXSIM_MAX_WORDS = 64 };

struct maxsim_kernel {
    const char *name;
    /* best[q] = max over rows r of sum over dimensions of (2 * level[q] - 15) * bit[r], for n_q questions' tokens
     * (planes: [n_q][MAXSIM_PLANES][words]) and n_rows > 0 rows ([n_rows][words]); words <= MAXSIM_MAX_WORDS. */
    void (*best)(const uint64_t *planes, uint32_t n_q, const uint64_t *rows, uint32_t n_rows, uint32_t words,
                 int32_t *best);
};

/* The best for this CPU (cpu_features). */
const struct maxsim_kernel *maxsim_kernel(void);
/* The i-th that this CPU can run, from 0 = scalar; NULL after the last. For tests and comparisons. */
const struct maxsim_kernel *maxsim_kernel_at(unsigned i);

/* One per file. */
extern const struct maxsim_kernel maxsim_scalar;
#if defined(__x86_64__)
extern const struct maxsim_kernel maxsim_avx2, maxsim_avx512popcnt;
#endif

#endif
