/* kernel/scan.h - scoring rows of 4-bit and 8-bit codes against one question: the inner loops of dense retrieval.
 *
 * Rows as in docs/formats.md: byte j of a row holds dimension j in its lower half and dimension row_bytes + j in its
 * upper half, row_bytes is a multiple of SCAN_ALIGN, rows start on SCAN_ALIGN boundaries. Every implementation gives
 * the same bits as scalar, floats too (no fused multiply-add). Thread-safe. */
#ifndef RAGD_KERNEL_SCAN_H
#define RAGD_KERNEL_SCAN_H

#include <stddef.h>
#include <stdint.h>

enum {
    SCAN_ALIGN = 64,
    SCAN_RUN = 64,
    SCAN_MAX_ROW_BYTES = 2048,
    SCAN_Q8_MAX = 127,
    SCAN_Q16_SUM_MAX = (1 << 24) - 1
};

/* A question in the terms of one vector space: q8 and q16 are 2 * row_bytes numbers, 64-byte aligned, q8 within
 * -SCAN_Q8_MAX .. SCAN_Q8_MAX, the absolute values of q16 together at most SCAN_Q16_SUM_MAX. */
struct scan_question {
    const int8_t *q8;
    const int16_t *q16;
    size_t row_bytes;
    float base, along; /* estimate = (base + along * alongs[row]) + (scales[row] * unit) * (dot + offset) */
    float unit, offset;
};

struct scan_kernel {
    const char *name;
    /* Estimates of n <= SCAN_RUN rows from their upper plane; dot = sum of q8 times the row's 4-bit codes.
     * est[n]; returns the rows with est > floor, bit per row. */
    uint64_t (*run)(const struct scan_question *q, const uint8_t *upper, const float *scales,
                    const float *alongs, uint32_t n, float floor, float *est);
    /* Sum of q16 times the row's signed 8-bit values: 16 * upper + lower - 128. */
    int32_t (*exact)(const struct scan_question *q, const uint8_t *upper, const uint8_t *lower);
};

/* The best for this CPU (cpu_features). */
const struct scan_kernel *scan_kernel(void);
/* The i-th that this CPU can run, from 0 = scalar; NULL after the last. For tests and comparisons. */
const struct scan_kernel *scan_kernel_at(unsigned i);

/* One per file. */
extern const struct scan_kernel scan_scalar;
#if defined(__x86_64__)
extern const struct scan_kernel scan_avx2, scan_avx512vnni;
#endif

#endif
