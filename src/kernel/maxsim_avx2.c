/* Every CPU with AVX2 counts 64 bits with one instruction. At 384 dimensions that is as quick as counting by byte
 * shuffles in 32-byte registers, and simpler. */
#include "kernel/maxsim.h"

#if defined(__x86_64__)
#include <stddef.h>

#include "kernel/maxsim_body.inc"

const struct maxsim_kernel maxsim_avx2 = {"avx2", best};
#endif
