#include "kernel/scan.h"

#include "sys/cpu.h"

const struct scan_kernel *scan_kernel_at(unsigned i)
{
    const struct scan_kernel *have[4] = {&scan_scalar};
#if defined(__x86_64__)
    unsigned n = 1;
    const struct cpu_features *cpu = cpu_features();
    if (cpu->avx2)
        have[n++] = &scan_avx2;
    if (cpu->avx512vnni)
        have[n++] = &scan_avx512vnni;
#endif
    return i < 4 ? have[i] : NULL;
}

const struct scan_kernel *scan_kernel(void)
{
    unsigned i = 0;
    while (scan_kernel_at(i + 1))
        i++;
    return scan_kernel_at(i);
}
