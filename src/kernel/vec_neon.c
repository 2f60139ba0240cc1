#if defined(__aarch64__)
#include "kernel/vec_int.h"

#include <arm_neon.h>
#include <math.h>
#include <string.h>

enum { LANES = 4 };
typedef float32x4_t vf;

static inline vf v_load(const float *p)
{
    return vld1q_f32(p);
}
static inline void v_store(float *p, vf v)
{
    vst1q_f32(p, v);
}
static inline vf v_set(float x)
{
    return vdupq_n_f32(x);
}
static inline vf v_add(vf a, vf b)
{
    return vaddq_f32(a, b);
}
static inline vf v_sub(vf a, vf b)
{
    return vsubq_f32(a, b);
}
static inline vf v_mul(vf a, vf b)
{
    return vmulq_f32(a, b);
}
static inline vf v_div(vf a, vf b)
{
    return vdivq_f32(a, b);
}
static inline vf v_fma(vf a, vf b, vf c)
{
    return vfmaq_f32(c, a, b);
}
static inline vf v_min(vf a, vf b)
{
    return vbslq_f32(vcltq_f32(a, b), a, b); /* b when one is not a number */
}
static inline vf v_max(vf a, vf b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}
static inline vf v_round(vf a)
{
    return vrndnq_f32(a);
}
static inline vf v_pow2(vf n)
{
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23));
}
static inline void v_store_i8(int8_t *p, vf v, int32_t add)
{
    int16x4_t w = vqmovn_s32(vaddq_s32(vcvtnq_s32_f32(v), vdupq_n_s32(add)));
    int8_t eight[8];
    vst1_s8(eight, vmax_s8(vqmovn_s16(vcombine_s16(w, w)), vdup_n_s8(-GEMM_ACT_MAX)));
    memcpy(p, eight, 4);
}
static inline float v_total(vf a)
{
    return vaddvq_f32(a);
}
static inline float v_least(vf a)
{
    return vminvq_f32(a);
}
static inline float v_largest(vf a)
{
    return vmaxvq_f32(a);
}

#define VEC_F32_ROWS 6
#define VEC_NAME     vec_neon
#define VEC_LABEL    "neon"
#include "kernel/vec_body.inc"
#else
typedef int vec_neon_is_for_aarch64;
#endif
