/* sys/cpu.h - what this CPU and this operating system let us use. */
#ifndef RAGD_SYS_CPU_H
#define RAGD_SYS_CPU_H

#include <stdbool.h>
#include <stddef.h>

struct cpu_features {
    bool avx2;       /* with FMA and F16C; the system saves ymm (XGETBV) */
    bool avx_vnni;   /* 256-bit vpdpbusd, VEX encoded */
    bool avx512;     /* F, BW, DQ, VL; the system saves zmm */
    bool avx512vnni; /* 512-bit vpdpbusd */
    bool avx512popcnt; /* 512-bit vpopcntq */
    bool amx_int8;   /* tiles; the system granted the permission for them */
    bool neon;       /* aarch64 */
    bool neon_dot;   /* sdot, udot */
};

/* Probed once; RAGD_CPU=scalar|avx2|avxvnni|avx512|avx512vnni|amx in the environment takes the features above that
 * one away (tests, comparisons). Thread-safe. */
const struct cpu_features *cpu_features(void);
/* "AMD EPYC ..." as the system names it; at least "unknown". */
const char *cpu_name(void);
/* Comma-separated names of the features in use, such as "avx2,avx512,avx512vnni"; "baseline" when none. */
const char *cpu_feature_list(void);
/* Cores this process may use; at least 1. */
unsigned cpu_count(void);

#endif
