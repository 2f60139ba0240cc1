#include "test.h"

#include <stdlib.h>

#include "kernel/gemm.h"
#include "kernel/vec.h"

static uint32_t seed = 12345;
static uint32_t next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}
static float uniform(void)
{
    return (float)next() / 4294967296.0f * 2 - 1;
}

enum { MAX_M = 40, MAX_N = 96, MAX_K = 320 };
static int8_t w[MAX_N * MAX_K] __attribute__((aligned(64)));
static float scale[MAX_N] __attribute__((aligned(64))), bias[MAX_N] __attribute__((aligned(64)));
static int32_t sum[MAX_N] __attribute__((aligned(64)));
static float weights[MAX_N * MAX_K], wf[MAX_N * MAX_K] __attribute__((aligned(64)));
static int8_t q[MAX_M * MAX_K];
static float a_scale[MAX_M], floats[MAX_M * MAX_K], want[MAX_M * MAX_N], got[MAX_M * MAX_N];
static int32_t zero[MAX_M];

static struct gemm_matrix packed(uint32_t n, uint32_t k)
{
    for (uint32_t i = 0; i < n * k; i++)
        weights[i] = uniform();
    for (uint32_t i = 0; i < gemm_pad_n(n); i++)
        bias[i] = i < n ? uniform() : 0;
    gemm_pack(weights, n, k, w, scale, sum);
    gemm_pack_f32(weights, n, k, wf);
    return (struct gemm_matrix){n, k, w, scale, sum, bias, wf};
}

static struct gemm_rows rows(uint32_t m, uint32_t k)
{
    for (uint32_t r = 0; r < m; r++) {
        a_scale[r] = .01f + fabsf(uniform());
        zero[r] = (int32_t)(next() % 255) - 127;
        for (uint32_t i = 0; i < gemm_pad_k(k); i++)
            q[r * gemm_pad_k(k) + i] = i < k ? (int8_t)((int)(next() % 255) - 127) : 0;
    }
    return (struct gemm_rows){q, a_scale, zero, m};
}

static void check_against_scalar(const struct gemm_rows *a, const struct gemm_matrix *b)
{
    const struct gemm_kernel *k, *scalar = NULL;
    for (unsigned i = 0; (k = gemm_kernel_at(i)); i++)
        scalar = k; /* the last one */
    size_t bytes = a->m * gemm_pad_n(b->n) * sizeof(float);
    scalar->int8(a, b, want, gemm_pad_n(b->n));
    for (unsigned i = 0; (k = gemm_kernel_at(i)) != scalar; i++) {
        memset(got, 0xee, sizeof got);
        k->int8(a, b, got, gemm_pad_n(b->n));
        if (memcmp(got, want, bytes) != 0) {
            print_error("%s differs from scalar: m %u n %u k %u\n", k->name, a->m, b->n, b->k);
            fail();
        }
    }
}

TEST(every_int8_kernel_gives_the_bits_of_scalar)
{
    static const uint32_t ns[] = {1, 15, 16, 17, 32, 33, 48, 65, 96}, ks[] = {1, 3, 4, 63, 64, 65, 128, 200, 320};
    for (size_t i = 0; i < sizeof ns / sizeof *ns; i++)
        for (size_t j = 0; j < sizeof ks / sizeof *ks; j++) {
            struct gemm_matrix b = packed(ns[i], ks[j]);
            for (uint32_t m = 1; m <= MAX_M; m++) {
                struct gemm_rows a = rows(m, ks[j]);
                check_against_scalar(&a, &b);
            }
        }
}

/* What GELU leaves: near the lower end, with a part of large values that decides how groups of inputs are paired. */
TEST(one_sided_rows_give_the_bits_of_scalar)
{
    static const uint32_t ks[] = {3, 64, 200, 320};
    for (uint32_t large = 1; large <= 256; large *= 2) /* of 256 */
        for (size_t j = 0; j < sizeof ks / sizeof *ks; j++) {
            struct gemm_matrix b = packed(33, ks[j]);
            for (uint32_t m = 1; m <= MAX_M; m++) {
                struct gemm_rows a = rows(m, ks[j]);
                for (uint32_t r = 0; r < m; r++) {
                    zero[r] = -127 + (int32_t)(next() % 60);
                    for (uint32_t i = 0; i < ks[j]; i++)
                        q[r * gemm_pad_k(ks[j]) + i] =
                            next() % 256 < large ? (int8_t)(127 - next() % 128) : (int8_t)(-127 + (int)(next() % 60));
                }
                check_against_scalar(&a, &b);
            }
        }
}

TEST(no_kernel_saturates_at_the_extremes)
{
    for (int signs = 0; signs < 4; signs++) {
        struct gemm_matrix b = packed(32, MAX_K);
        for (uint32_t c = 0; c < 32; c++) {
            sum[c] = 0;
            scale[c] = 1;
            bias[c] = 0;
        }
        for (uint32_t i = 0; i < 32 * MAX_K; i++) {
            w[i] = (int8_t)(signs & 1 ? -127 : 127);
            sum[i / 4 % 16 + i / (16 * MAX_K) * 16] += w[i];
        }
        for (uint32_t m = 1; m <= 20; m++) {
            struct gemm_rows a = rows(m, MAX_K);
            memset(q, signs & 2 ? -127 : 127, m * MAX_K);
            for (uint32_t r = 0; r < m; r++) {
                zero[r] = signs & 2 ? 127 : -127;
                a_scale[r] = 1;
            }
            check_against_scalar(&a, &b);
            int32_t exact = 254 * 127 * MAX_K * ((signs & 1) != (signs >> 1) ? -1 : 1);
            CHECK(want[0] == (float)exact && want[m * 32 - 1] == (float)exact);
        }
    }
}

TEST(no_pair_of_groups_saturates)
{
    static const int sizes[] = {0, 31, 32, 63, 64, 65, 95, 96, 126, 127, 128, 129, 130, 191, 254}; /* q + 127 */
    for (int sign = -1; sign <= 1; sign += 2) {
        struct gemm_matrix b = packed(16, MAX_K);
        for (uint32_t i = 0; i < 16 * MAX_K; i++)
            w[i] = (int8_t)(127 * sign);
        for (uint32_t c = 0; c < 16; c++)
            sum[c] = 127 * sign * MAX_K;
        for (uint32_t round = 0; round < 200; round++) {
            struct gemm_rows a = rows(1 + round % 9, MAX_K);
            for (uint32_t r = 0; r < a.m; r++)
                zero[r] = -127;
            for (uint32_t i = 0; i < a.m * MAX_K; i++) /* mostly small, so that there are pairs */
                q[i] = (int8_t)(sizes[next() % 64 ? next() % (6 + round % 9) : 14] - 127);
            check_against_scalar(&a, &b);
        }
    }
}

TEST(packing_keeps_the_product)
{
    struct gemm_matrix b = packed(37, 130);
    for (uint32_t r = 0; r < 5; r++) {
        for (uint32_t i = 0; i < 130; i++)
            floats[r * 130 + i] = uniform() * 3;
        vec_kernel()->quantize(floats + r * 130, 130, gemm_pad_k(130), q + r * gemm_pad_k(130), a_scale + r, zero + r);
    }
    struct gemm_rows a = {q, a_scale, zero, 5};
    gemm_kernel()->int8(&a, &b, got, 48);
    struct gemm_matrix part = gemm_slice(&b, 16, 21);
    gemm_kernel()->int8(&a, &part, want, 32);
    for (uint32_t r = 0; r < 5; r++)
        for (uint32_t c = 0; c < 37; c++) {
            double x = (double)bias[c];
            for (uint32_t i = 0; i < 130; i++)
                x += (double)weights[c * 130 + i] * (double)floats[r * 130 + i];
            CHECK_NEAR(got[r * 48 + c], x, .35);
            if (c >= 16)
                CHECK(want[r * 32 + c - 16] == got[r * 48 + c]);
        }
    for (uint32_t c = 37; c < 48; c++)
        CHECK(got[c] == 0.0f);
}

TEST(f32_product_is_right_for_every_row_count)
{
    const struct vec_kernel *v;
    for (unsigned i = 0; (v = vec_kernel_at(i)); i++)
        for (uint32_t m = 1; m <= MAX_M; m++) {
            uint32_t n = 1 + next() % MAX_N, k = 1 + next() % MAX_K, padded = gemm_pad_n(n);
            struct gemm_matrix b = packed(n, k);
            for (uint32_t j = 0; j < m * k; j++)
                floats[j] = uniform();
            v->gemm_f32(floats, k, m, &b, got, padded);
            for (uint32_t r = 0; r < m; r++)
                for (uint32_t c = 0; c < n; c++) {
                    double x = (double)bias[c];
                    for (uint32_t j = 0; j < k; j++)
                        x += (double)weights[c * k + j] * (double)floats[r * k + j];
                    CHECK_NEAR(got[r * padded + c], x, 2e-5);
                }
        }
}

TEST(quantising_gives_the_same_bytes_everywhere)
{
    const struct vec_kernel *v, *scalar = NULL;
    for (unsigned i = 0; (v = vec_kernel_at(i)); i++)
        scalar = v;
    for (size_t n = 1; n <= 130; n++) {
        float x[130];
        for (size_t i = 0; i < n; i++)
            x[i] = uniform() * (n % 3 ? 5.0f : 1e-3f) + (float)(n % 5) - 1;
        int8_t ours[192], theirs[192];
        float s[2];
        int32_t z[2];
        size_t padded = gemm_pad_k((uint32_t)n);
        scalar->quantize(x, n, padded, ours, &s[0], &z[0]);
        for (unsigned k = 0; (v = vec_kernel_at(k)); k++) {
            memset(theirs, 0x55, sizeof theirs);
            v->quantize(x, n, padded, theirs, &s[1], &z[1]);
            CHECK(memcmp(ours, theirs, padded) == 0 && s[0] == s[1] && z[0] == z[1]);
        }
        for (size_t i = 0; i < n; i++)
            CHECK_NEAR(s[0] * (float)(ours[i] - z[0]), x[i], s[0] * 1.01f);
        for (size_t i = n; i < padded; i++)
            CHECK_EQ(ours[i], 0);
    }
}

TEST(quantising_survives_what_no_model_gives)
{
    const struct vec_kernel *v;
    for (unsigned k = 0; (v = vec_kernel_at(k)); k++)
        for (int kind = 0; kind < 5; kind++) {
            float x[35] = {0};
            if (kind)
                x[kind * 7] = kind == 1 ? NAN : kind == 2 ? INFINITY : kind == 3 ? -INFINITY : 1e-44f;
            int8_t bytes[64];
            float s;
            int32_t z;
            v->quantize(x, 35, 64, bytes, &s, &z);
            CHECK(isfinite(s) && abs(z) <= 127);
        }
}

TEST(gelu_is_the_erf_form)
{
    const struct vec_kernel *v;
    for (unsigned k = 0; (v = vec_kernel_at(k)); k++)
        for (int i = -12000; i <= 12000; i += 7) {
            float x[21];
            for (int j = 0; j < 21; j++)
                x[j] = (float)i / 1000;
            v->gelu(x, 21);
            double exact = i / 1000.0 * .5 * (1 + erf(i / 1000.0 / sqrt(2)));
            CHECK_NEAR(x[0], exact, 1e-6 * fmax(1, abs(i) / 1000.0));
            CHECK_NEAR(x[20], exact, 1e-6 * fmax(1, abs(i) / 1000.0));
        }
}

TEST(norm_is_right_for_every_tail)
{
    const struct vec_kernel *v;
    for (unsigned k = 0; (v = vec_kernel_at(k)); k++)
        for (size_t n = 1; n <= 130; n++) {
            float x[130] = {0}, y[130], gamma[130], beta[130], r[130];
            double mean = 0, var = 0;
            for (size_t i = 0; i < n; i++) {
                x[i] = uniform() + 2;
                y[i] = uniform();
                gamma[i] = uniform();
                beta[i] = uniform();
                mean += ((double)x[i] + (double)y[i]) / (double)n;
            }
            for (size_t i = 0; i < n; i++)
                var += pow((double)x[i] + (double)y[i] - mean, 2) / (double)n;
            memcpy(r, x, sizeof r);
            v->norm(r, y, gamma, beta, n, 1e-5f);
            for (size_t i = 0; i < n; i++) {
                double exact = ((double)x[i] + (double)y[i] - mean) / sqrt(var + 1e-5) * (double)gamma[i];
                CHECK_NEAR(r[i], exact + (double)beta[i], 2e-4);
            }
        }
}

TEST(attention_is_right_for_odd_lengths_and_heads)
{
    static const uint32_t lengths[] = {1, 2, 7, 16, 17, 31, 33, 70}, dims[] = {1, 3, 8, 20, 32, 33, 64};
    static float qkv[70 * 3 * 64], out[70 * 64], scratch[64 * 80 + 70 * 64 + 6 * 80];
    const struct vec_kernel *v;
    for (unsigned k = 0; (v = vec_kernel_at(k)); k++)
        for (size_t i = 0; i < 8; i++)
            for (size_t j = 0; j < 7; j++) {
                uint32_t n = lengths[i], d = dims[j];
                CHECK(vec_attention_scratch(n, d) <= sizeof scratch / sizeof *scratch);
                for (uint32_t t = 0; t < n * 3 * d; t++)
                    qkv[t] = uniform() * 3;
                struct vec_attention a = {qkv, qkv + d, qkv + 2 * d, out, scratch, 3 * d, 3 * d, d, n, n, d};
                v->attend(&a);
                for (uint32_t r = 0; r < n; r++) {
                    double p[70], total = 0;
                    for (uint32_t t = 0; t < n; t++) {
                        double s = 0;
                        for (uint32_t c = 0; c < d; c++)
                            s += (double)qkv[r * 3 * d + c] * (double)qkv[(t * 3 + 1) * d + c];
                        total += p[t] = exp(s / sqrt(d));
                    }
                    for (uint32_t c = 0; c < d; c++) {
                        double x = 0;
                        for (uint32_t t = 0; t < n; t++)
                            x += p[t] / total * (double)qkv[(t * 3 + 2) * d + c];
                        CHECK_NEAR(out[r * d + c], x, 5e-5);
                    }
                }
            }
}

TEST(which_kernels_were_tested)
{
    printf("matrix kernels:");
    for (unsigned i = 0; gemm_kernel_at(i); i++)
        printf(" %s", gemm_kernel_at(i)->name);
    printf("; float kernels:");
    for (unsigned i = 0; vec_kernel_at(i); i++)
        printf(" %s", vec_kernel_at(i)->name);
    printf(" (others need another CPU)\n");
}
