/* The specification of the MaxSim kernels, and what runs on a CPU without its own. */
#include "kernel/maxsim.h"

#include <stddef.h>

#include "kernel/maxsim_body.inc"

const struct maxsim_kernel maxsim_scalar = {"scalar", best};
