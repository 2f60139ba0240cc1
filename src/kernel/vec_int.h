/* kernel/vec_int.h - the tables behind vec_kernel(); each file is compiled for its instruction set. */
#ifndef RAGD_KERNEL_VEC_INT_H
#define RAGD_KERNEL_VEC_INT_H

#include "kernel/vec.h"

extern const struct vec_kernel vec_scalar;
#if defined(__x86_64__)
extern const struct vec_kernel vec_avx2, vec_avx512;
#elif defined(__aarch64__)
extern const struct vec_kernel vec_neon;
#endif

#endif
