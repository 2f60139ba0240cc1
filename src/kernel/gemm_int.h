/* kernel/gemm_int.h - the implementations behind gemm_kernel(); each file is compiled for its instruction set. */
#ifndef RAGD_KERNEL_GEMM_INT_H
#define RAGD_KERNEL_GEMM_INT_H

#include <stdbool.h>

#include "kernel/gemm.h"

/* Before a loop over the rows of a tile: its accumulators are registers only when it is unrolled to the end. */
#if defined(__clang__)
#define GEMM_UNROLL _Pragma("clang loop unroll(full)")
#else
#define GEMM_UNROLL _Pragma("GCC unroll 16")
#endif

typedef void gemm_int8_fn(const struct gemm_rows *a, const struct gemm_matrix *b, float *out, size_t stride);

gemm_int8_fn gemm_int8_scalar;
#if defined(__x86_64__)
gemm_int8_fn gemm_int8_avx2, gemm_int8_avxvnni, gemm_int8_avx512vnni, gemm_int8_amx;

/* For rows that hardly go below zero (what GELU gives): up to GEMM_SOME_ROWS, zero <= GEMM_ONE_SIDED in all, as a hint.
 * False, and nothing written: they are not of this kind, or too long. */
enum { GEMM_ONE_SIDED = -64, GEMM_SOME_ROWS = 128 };
bool gemm_one_sided_avx2(const struct gemm_rows *a, const struct gemm_matrix *b, float *out, size_t stride);
#elif defined(__aarch64__)
gemm_int8_fn gemm_int8_neon;
#endif

/* Rows of the next group when `left` remain and a kernel holds at most `max`: even groups, so that 16 rows run as 8 + 8
 * and not as 14 + 2. */
static inline uint32_t gemm_group(uint32_t left, uint32_t max)
{
    uint32_t groups = (left + max - 1) / max;
    return (left + groups - 1) / groups;
}

#endif
