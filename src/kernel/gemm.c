#include "kernel/gemm.h"

#include <math.h>
#include <string.h>

#include "kernel/gemm_int.h"
#include "sys/cpu.h"

/* Best first. Which rows count is decided by the CPU, not by the build. */
static const struct {
    struct gemm_kernel kernel;
    size_t needs; /* offset of the bool in struct cpu_features */
} kernels[] = {
#if defined(__x86_64__)
    {{"amx-int8", gemm_int8_amx}, offsetof(struct cpu_features, amx_int8)},
    {{"avx512-vnni", gemm_int8_avx512vnni}, offsetof(struct cpu_features, avx512vnni)},
    {{"avx-vnni", gemm_int8_avxvnni}, offsetof(struct cpu_features, avx_vnni)},
    {{"avx2", gemm_int8_avx2}, offsetof(struct cpu_features, avx2)},
#elif defined(__aarch64__)
    {{"neon", gemm_int8_neon}, offsetof(struct cpu_features, neon)},
#endif
    {{"scalar", gemm_int8_scalar}, SIZE_MAX},
};

const struct gemm_kernel *gemm_kernel_at(unsigned i)
{
    const struct cpu_features *cpu = cpu_features();
    for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++) {
        bool usable = kernels[k].needs == SIZE_MAX;
        if (!usable)
            memcpy(&usable, (const char *)cpu + kernels[k].needs, sizeof usable);
        if (usable && i-- == 0)
            return &kernels[k].kernel;
    }
    return NULL;
}

const struct gemm_kernel *gemm_kernel(void)
{
    return gemm_kernel_at(0);
}

/* Place of weight (channel, input) in the packed bytes. */
static size_t packed_at(uint32_t channel, uint32_t input, uint32_t padded_k)
{
    return (size_t)(channel / GEMM_N) * GEMM_N * padded_k + (size_t)(input / 4) * 4 * GEMM_N +
           (size_t)(channel % GEMM_N) * 4 + input % 4;
}

void gemm_pack(const float *weights, uint32_t n, uint32_t k, int8_t *w, float *scale, int32_t *sum)
{
    uint32_t padded_n = gemm_pad_n(n), padded_k = gemm_pad_k(k);
    memset(w, 0, (size_t)padded_n * padded_k);
    memset(scale, 0, padded_n * sizeof *scale);
    memset(sum, 0, padded_n * sizeof *sum);
    for (uint32_t c = 0; c < n; c++) {
        const float *row = weights + (size_t)c * k;
        float max = 0;
        for (uint32_t i = 0; i < k; i++)
            if (fabsf(row[i]) > max && isfinite(row[i]))
                max = fabsf(row[i]);
        if (max < 1e-30f) /* nothing there, and a scale whose inverse is infinite */
            continue;
        scale[c] = max / (float)GEMM_WEIGHT_MAX;
        for (uint32_t i = 0; i < k; i++) {
            float q = isfinite(row[i]) ? rintf(row[i] / scale[c]) : 0;
            q = fminf(fmaxf(q, -(float)GEMM_WEIGHT_MAX), (float)GEMM_WEIGHT_MAX);
            w[packed_at(c, i, padded_k)] = (int8_t)q;
            sum[c] += (int32_t)q;
        }
    }
}

void gemm_pack_f32(const float *weights, uint32_t n, uint32_t k, float *wf)
{
    for (uint32_t c = 0; c < gemm_pad_n(n); c++)
        for (uint32_t i = 0; i < k; i++)
            wf[((size_t)(c / GEMM_N) * k + i) * GEMM_N + c % GEMM_N] = c < n ? weights[(size_t)c * k + i] : 0;
}

struct gemm_matrix gemm_slice(const struct gemm_matrix *m, uint32_t first, uint32_t n)
{
    struct gemm_matrix s = {.n = n, .k = m->k, .bias = m->bias + first};
    if (m->w) {
        s.w = m->w + (size_t)first * gemm_pad_k(m->k);
        s.scale = m->scale + first;
        s.sum = m->sum + first;
    }
    if (m->wf)
        s.wf = m->wf + (size_t)first * m->k;
    return s;
}
