#include "sys/cpu.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

static struct cpu_features found;
static char name[128] = "unknown", list[96];
static pthread_once_t once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__)
enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };

static unsigned long long xgetbv0(void)
{
    unsigned lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (unsigned long long)hi << 32 | lo;
}

static void probe(struct cpu_features *f)
{
    unsigned a, b, c, d, a1 = 0, b1, c1, d1;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return;
    unsigned long long os = xgetbv0();
    bool ymm = (os & 0x6) == 0x6, zmm = (os & 0xe6) == 0xe6, tile = (os & 0x60000) == 0x60000;
    bool fma = (c & bit_FMA) && (c & bit_F16C);
    if (!ymm || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return;
    unsigned max_sub = a;
    f->avx2 = (b & bit_AVX2) && fma;
    bool bw = (b & bit_AVX512F) && (b & bit_AVX512BW) && (b & bit_AVX512DQ) && (b & bit_AVX512VL);
    f->avx512 = f->avx2 && zmm && bw;
    f->avx512vnni = f->avx512 && (c & bit_AVX512VNNI);
    f->avx512popcnt = f->avx512 && (c & bit_AVX512VPOPCNTDQ);
    if (max_sub >= 1 && __get_cpuid_count(7, 1, &a1, &b1, &c1, &d1))
        f->avx_vnni = f->avx2 && (a1 >> 4 & 1);
    bool amx = (d >> 24 & 1) && (d >> 25 & 1);
    f->amx_int8 =
        f->avx512vnni && amx && tile && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}
#elif defined(__aarch64__)
static void probe(struct cpu_features *f)
{
    f->neon = true;
    f->neon_dot = getauxval(AT_HWCAP) >> 20 & 1; /* HWCAP_ASIMDDP */
}
#else
static void probe(struct cpu_features *f)
{
    (void)f;
}
#endif

/* Takes away what lies above the level that RAGD_CPU names. */
static void restrict_to(struct cpu_features *f, const char *level)
{
    static const char *const levels[] = {"scalar", "avx2", "avxvnni", "avx512", "avx512vnni", "amx"};
    int at = -1;
    for (int i = 0; i < 6; i++)
        if (strcmp(level, levels[i]) == 0)
            at = i;
    if (at < 0)
        return;
    f->avx2 &= at >= 1;
    f->avx_vnni &= at >= 2;
    f->avx512 &= at >= 3;
    f->avx512vnni &= at >= 4;
    f->avx512popcnt &= at >= 4;
    f->amx_int8 &= at >= 5;
    f->neon &= at >= 1;
    f->neon_dot &= at >= 2;
}

static void read_name(void)
{
    FILE *f = fopen("/proc/cpuinfo", "re");
    char line[256];
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon && colon[1]) {
            colon[2 + strcspn(colon + 2, "\n")] = 0;
            snprintf(name, sizeof name, "%.100s", colon + 2);
            break;
        }
    }
    if (f)
        fclose(f);
}

static void probe_all(void)
{
    probe(&found);
    const char *level = getenv("RAGD_CPU");
    if (level)
        restrict_to(&found, level);
    read_name();
    const struct {
        bool on;
        const char *label;
    } rows[] = {{found.avx2, "avx2"},       {found.avx_vnni, "avx-vnni"}, {found.avx512, "avx512"},
                {found.avx512vnni, "avx512-vnni"}, {found.avx512popcnt, "avx512-popcnt"}, {found.amx_int8, "amx-int8"},
                {found.neon, "neon"},
                {found.neon_dot, "neon-dot"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].on)
            snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", list[0] ? "," : "", rows[i].label);
    if (!list[0])
        snprintf(list, sizeof list, "baseline");
}

const struct cpu_features *cpu_features(void)
{
    pthread_once(&once, probe_all);
    return &found;
}

const char *cpu_name(void)
{
    pthread_once(&once, probe_all);
    return name;
}

const char *cpu_feature_list(void)
{
    pthread_once(&once, probe_all);
    return list;
}

unsigned cpu_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (unsigned)CPU_COUNT(&set);
    return 1;
}
