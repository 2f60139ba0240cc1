#include "kernel/maxsim.h"

#include "sys/cpu.h"

const struct maxsim_kernel *maxsim_kernel_at(unsigned i)
{
    const struct maxsim_kernel *have[4] = {&maxsim_scalar};
#if defined(__x86_64__)
    unsigned n = 1;
    const struct cpu_features *cpu = cpu_features();
    if (cpu->avx2)
        have[n++] = &maxsim_avx2;
    if (cpu->avx512popcnt)
        have[n++] = &maxsim_avx512popcnt;
#endif
    return i < 4 ? have[i] : NULL;
}

const struct maxsim_kernel *maxsim_kernel(void)
{
    unsigned i = 0;
    while (maxsim_kernel_at(i + 1))
        i++;
    return maxsim_kernel_at(i);
}
