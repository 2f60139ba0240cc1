#include "index/token_code.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "index/vectors.h"
#include "kernel/maxsim.h"

/* Rounds of random signs and a Hadamard transform: of the first 2^k dimensions and of the last 2^k in turn, so that any
 * number of dimensions is mixed. */
enum { ROUNDS = 4, LEVELS = 16 };
/* Mean of |x| over its root mean square in a normal distribution: what a sign keeps of a dimension. */
static const float SIGN_KEEPS = 0.79788456F;

struct token_coder {
    uint32_t dims, power; /* power: the largest 2^k <= dims */
    float *mean;
    float *signs; /* ROUNDS x dims, each 1 or -1 */
};

struct token_query {
    const struct maxsim_kernel *kernel;
    uint32_t n, words;
    uint64_t *planes;
    float *factor, *offset; /* cosine = factor * (best - offset); the weight is in the factor */
    int32_t *best;
};

size_t token_code_bytes(uint32_t dims)
{
    return ((size_t)dims + 63) / 64 * 8;
}

rag_code token_coder_new(uint32_t dims, const float *mean, struct token_coder **out)
{
    if (dims == 0 || dims > VECTOR_MAX_DIMS)
        return RAG_EINVAL;
    struct token_coder *c = mem_zalloc(MEM_INDEX, sizeof *c + (ROUNDS + 1) * dims * sizeof(float));
    if (!c)
        return RAG_ENOMEM;
    c->dims = dims;
    for (c->power = 1; c->power * 2 <= dims;)
        c->power *= 2;
    c->mean = (float *)(void *)(c + 1);
    c->signs = c->mean + dims;
    memcpy(c->mean, mean, dims * sizeof *mean);
    uint64_t x = 0x9e3779b97f4a7c15u;
    for (uint32_t i = 0; i < ROUNDS * dims; i++) { /* xorshift64: the same on every machine, for ever */
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        c->signs[i] = x >> 63 ? 1 : -1;
    }
    *out = c;
    return RAG_OK;
}

void token_coder_free(struct token_coder *c)
{
    mem_free(MEM_INDEX, c);
}

uint32_t token_coder_dims(const struct token_coder *c)
{
    return c->dims;
}

static void hadamard(float *x, uint32_t n)
{
    for (uint32_t half = 1; half < n; half *= 2)
        for (uint32_t i = 0; i < n; i += 2 * half)
            for (uint32_t j = i; j < i + half; j++) {
                float a = x[j], b = x[j + half];
                x[j] = a + b;
                x[j + half] = a - b;
            }
    float scale = 1 / sqrtf((float)n);
    for (uint32_t i = 0; i < n; i++)
        x[i] *= scale;
}

/* What is left of a state without the mean, rotated; its direction is what counts. */
static void turn(const struct token_coder *c, const float *state, float *x)
{
    float squares = 0;
    for (uint32_t i = 0; i < c->dims; i++)
        squares += state[i] * state[i];
    float inverse = squares > 0 ? 1 / sqrtf(squares) : 0;
    for (uint32_t i = 0; i < c->dims; i++)
        x[i] = state[i] * inverse - c->mean[i];
    for (uint32_t r = 0; r < ROUNDS; r++) {
        const float *signs = c->signs + (size_t)r * c->dims;
        for (uint32_t i = 0; i < c->dims; i++)
            x[i] *= signs[i];
        hadamard(r & 1 ? x + (c->dims - c->power) : x, c->power);
    }
}

void token_encode(const struct token_coder *c, const float *state, uint8_t *out)
{
    float x[VECTOR_MAX_DIMS];
    turn(c, state, x);
    for (uint32_t w = 0; w * 64 < c->dims; w++) {
        uint64_t bits = 0;
        for (uint32_t i = 0; i < 64 && w * 64 + i < c->dims; i++)
            bits |= (uint64_t)(x[w * 64 + i] > 0) << i;
        memcpy(out + w * sizeof bits, &bits, sizeof bits);
    }
}

/* One of the question's tokens: x is about scale * (level - 7.5). */
static void add_planes(struct token_query *q, uint32_t t, const float *x, uint32_t dims, float weight)
{
    uint64_t *planes = q->planes + (size_t)t * MAXSIM_PLANES * q->words;
    float most = 0, squares = 0;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < dims; i++) {
        most = fmaxf(most, fabsf(x[i])); /* a NaN is passed over */
        squares += x[i] * x[i];
    }
    float scale = most > 0x1p-60F ? most / ((LEVELS - 1) / 2.0F) : 1;
    for (uint32_t i = 0; i < dims; i++) {
        float place = x[i] / scale + LEVELS / 2.0F;
        uint32_t level = place > 0 ? (place < LEVELS ? (uint32_t)place : LEVELS - 1) : 0;
        sum += level;
        for (uint32_t p = 0; p < MAXSIM_PLANES; p++)
            planes[p * q->words + i / 64] |= (uint64_t)(level >> p & 1) << (i % 64);
    }
    bool sane = isfinite(squares) && squares > 0;
    q->factor[t] = sane ? weight * scale / (sqrtf(squares) * sqrtf((float)dims) * SIGN_KEEPS) : 0;
    q->offset[t] = (float)sum - (LEVELS - 1) / 2.0F * (float)dims;
}

rag_code token_query_new(const struct token_coder *c, const float *states, const float *weights, uint32_t n,
                         struct arena *a, struct token_query **out)
{
    uint32_t words = (uint32_t)(token_code_bytes(c->dims) / sizeof(uint64_t));
    struct token_query *q = arena_zalloc(a, sizeof *q);
    float *x = arena_array(a, c->dims, sizeof *x);
    if (!q || !x)
        return RAG_ENOMEM;
    *q = (struct token_query){.kernel = maxsim_kernel(), .n = n, .words = words};
    q->planes = arena_array(a, (size_t)n * MAXSIM_PLANES * words, sizeof *q->planes);
    q->factor = arena_array(a, n, sizeof *q->factor);
    q->offset = arena_array(a, n, sizeof *q->offset);
    q->best = arena_array(a, n, sizeof *q->best);
    if (!q->planes || !q->factor || !q->offset || !q->best)
        return RAG_ENOMEM;
    memset(q->planes, 0, (size_t)n * MAXSIM_PLANES * words * sizeof *q->planes);
    float all = 0;
    for (uint32_t t = 0; t < n; t++)
        all += weights[t];
    for (uint32_t t = 0; t < n; t++) {
        turn(c, states + (size_t)t * c->dims, x);
        add_planes(q, t, x, c->dims, all > 0 ? weights[t] / all : 0);
    }
    *out = q;
    return RAG_OK;
}

float token_score(const struct token_query *q, struct str codes)
{
    float sum = 0;
    q->kernel->best(q->planes, q->n, (const uint64_t *)(const void *)codes.ptr,
                    (uint32_t)(codes.len / sizeof(uint64_t) / q->words), q->words, q->best);
    for (uint32_t t = 0; t < q->n; t++)
        sum += q->factor[t] * ((float)q->best[t] - q->offset[t]);
    return sum;
}
