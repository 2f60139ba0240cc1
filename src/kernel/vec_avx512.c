#if defined(__x86_64__)
#include "kernel/vec_int.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

enum { LANES = 16 };
typedef __m512 vf;

static inline vf v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline void v_store(float *p, vf v)
{
    _mm512_storeu_ps(p, v);
}
static inline vf v_set(float x)
{
    return _mm512_set1_ps(x);
}
static inline vf v_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
static inline vf v_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
static inline vf v_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
static inline vf v_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
static inline vf v_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline vf v_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
static inline vf v_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
static inline vf v_round(vf a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vf v_pow2(vf n)
{
    return _mm512_scalef_ps(_mm512_set1_ps(1), n);
}
static inline void v_store_i8(int8_t *p, vf v, int32_t add)
{
    __m512i i = _mm512_add_epi32(_mm512_cvtps_epi32(v), _mm512_set1_epi32(add));
    _mm_storeu_si128((__m128i *)p, _mm_max_epi8(_mm512_cvtsepi32_epi8(i), _mm_set1_epi8(-GEMM_ACT_MAX)));
}
static inline float v_total(vf a)
{
    return _mm512_reduce_add_ps(a);
}
static inline float v_least(vf a)
{
    return _mm512_reduce_min_ps(a);
}
static inline float v_largest(vf a)
{
    return _mm512_reduce_max_ps(a);
}

#define VEC_F32_ROWS 12
#define VEC_NAME     vec_avx512
#define VEC_LABEL    "avx512"
#include "kernel/vec_body.inc"
#else
typedef int vec_avx512_is_for_x86_64;
#endif
