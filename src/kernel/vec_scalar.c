#include "kernel/vec_int.h"

#include <math.h>
#include <string.h>

/* One lane: the specification. */
enum { LANES = 1 };
typedef float vf;

static inline vf v_load(const float *p)
{
    return *p;
}
static inline void v_store(float *p, vf v)
{
    *p = v;
}
static inline vf v_set(float x)
{
    return x;
}
static inline vf v_add(vf a, vf b)
{
    return a + b;
}
static inline vf v_sub(vf a, vf b)
{
    return a - b;
}
static inline vf v_mul(vf a, vf b)
{
    return a * b;
}
static inline vf v_div(vf a, vf b)
{
    return a / b;
}
static inline vf v_fma(vf a, vf b, vf c)
{
    return a * b + c;
}
static inline vf v_min(vf a, vf b)
{
    return a < b ? a : b; /* b when one is not a number, as minps */
}
static inline vf v_max(vf a, vf b)
{
    return a > b ? a : b;
}
static inline vf v_round(vf a)
{
    return rintf(a);
}
static inline vf v_pow2(vf n)
{
    return ldexpf(1, (int)n);
}
static inline void v_store_i8(int8_t *p, vf v, int32_t add)
{
    float q = rintf(v) + (float)add;
    q = q < (float)GEMM_ACT_MAX ? q : (float)GEMM_ACT_MAX; /* and what is no number */
    *p = (int8_t)(q > -(float)GEMM_ACT_MAX ? q : -(float)GEMM_ACT_MAX);
}
static inline float v_total(vf a)
{
    return a;
}
static inline float v_least(vf a)
{
    return a;
}
static inline float v_largest(vf a)
{
    return a;
}

#define VEC_F32_ROWS 4
#define VEC_NAME     vec_scalar
#define VEC_LABEL    "scalar"
#include "kernel/vec_body.inc"
