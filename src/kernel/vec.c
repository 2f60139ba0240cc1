#include "kernel/vec.h"

#include <stdbool.h>

#include "kernel/vec_int.h"
#include "sys/cpu.h"

const struct vec_kernel *vec_kernel_at(unsigned i)
{
    const struct cpu_features *cpu = cpu_features();
    const struct {
        const struct vec_kernel *kernel;
        bool usable;
    } kernels[] = {
#if defined(__x86_64__)
        {&vec_avx512, cpu->avx512},
        {&vec_avx2, cpu->avx2},
#elif defined(__aarch64__)
        {&vec_neon, cpu->neon},
#endif
        {&vec_scalar, cpu != NULL},
    };
    for (unsigned k = 0; k < sizeof kernels / sizeof *kernels; k++)
        if (kernels[k].usable && i-- == 0)
            return kernels[k].kernel;
    return NULL;
}

const struct vec_kernel *vec_kernel(void)
{
    return vec_kernel_at(0);
}
