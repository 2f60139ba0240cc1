/* bench/encoder_bench.c - speed and vectors of the encoder, one thread. Not built by the Makefile:
 *
 *   make && gcc -O2 -std=c11 -D_GNU_SOURCE -iquote src bench/encoder_bench.c build/libragd.a -o encoder_bench \
 *       $(pkg-config --libs libmicrohttpd libcurl jansson yaml-0.1 sqlite3 icu-uc icu-i18n libxml-2.0 libarchive \
 *         libcrypto libxxhash) -lstemmer -lm -pthread
 *
 *   encoder_bench gemm                          the matrix kernels alone, Gop/s
 *   encoder_bench import FOLDER OUT.ragm [f32]  packs a model
 *   encoder_bench vectors MODEL.ragm            lines of stdin to float32 vectors on stdout
 *   encoder_bench speed MODEL.ragm              ms for each batch of texts of stdin: batches end at an empty line
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernel/gemm.h"
#include "kernel/vec.h"
#include "model/encoder.h"
#include "sys/cpu.h"

/* CPU time of this thread: what other processes take on a shared machine does not count. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int bench_gemm(void)
{
    static const uint32_t shapes[][2] = {{1152, 384}, {384, 384}, {1536, 384}, {384, 1536}, {384, 1536}},
                          ms[] = {1, 8, 16, 56, 100};
    enum { MOST = 1536 * 384 };
    int8_t *w = aligned_alloc(64, MOST), *q = aligned_alloc(64, 128 * 1536);
    float *scale = calloc(2048, sizeof *scale), *out = calloc(128 * 1536, sizeof *out);
    int32_t *sum = calloc(2048, sizeof *sum), *zero = calloc(128, sizeof *zero);
    if (!w || !q || !scale || !out || !sum || !zero)
        return 1;
    for (int i = 0; i < MOST; i++)
        w[i] = (int8_t)(rand() % 255 - 127);
    for (int i = 0; i < 128 * 1536; i++)
        q[i] = (int8_t)(rand() % 255 - 127);
    const struct gemm_kernel *k;
    for (size_t s = 0; s < 5; s++) {
        if (s == 4) /* what GELU gives: near the lower end, and a few large values */
            for (int i = 0; i < 128 * 1536; i++) {
                q[i] = (int8_t)(rand() % 256 ? -127 + rand() % 48 : rand() % 255 - 127);
                zero[i / 1536] = -120;
            }
        for (unsigned i = 0; (k = gemm_kernel_at(i)); i++)
            for (size_t m = 0; m < 5; m++) {
                struct gemm_matrix b = {shapes[s][0], shapes[s][1], w, scale, sum, scale, NULL};
                struct gemm_rows a = {q, scale, zero, ms[m]};
                double best = 1e9, ops = 2.0 * ms[m] * b.n * b.k;
                int reps = strcmp(k->name, "scalar") == 0 ? 1 : 1 + (int)(2e8 / ops);
                for (int round = 0; round < 7; round++) {
                    double t = now();
                    for (int r = 0; r < reps; r++)
                        k->int8(&a, &b, out, b.n);
                    t = (now() - t) / reps;
                    best = t < best ? t : best;
                }
                printf("%-12s %3u x %4u x %4u%s  %6.1f Gop/s\n", k->name, ms[m], b.n, b.k, s == 4 ? " GELU" : "",
                       ops / best * 1e-9);
            }
    }
    return 0;
}

static int fail_with(const struct rag_err *err)
{
    fprintf(stderr, "%s\n", err->msg);
    return 1;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

enum { MAX_TEXTS = 100000 };

int main(int argc, char **argv)
{
    struct rag_err err = {0};
    fprintf(stderr, "%s; %s, %s\n", cpu_name(), gemm_kernel()->name, vec_kernel()->name);
    if (argc == 2 && strcmp(argv[1], "gemm") == 0)
        return bench_gemm();
    if (argc >= 4 && strcmp(argv[1], "import") == 0) {
        struct model_import_options opt = {.weights = argc > 4 ? MODEL_F32 : MODEL_INT8};
        return model_import(argv[2], &opt, argv[3], &err) ? fail_with(&err) : 0;
    }
    if (argc != 3)
        return 2;
    struct model *m;
    struct encoder *e;
    if (model_open(argv[2], false, &m, &err))
        return fail_with(&err);
    if (encoder_new(m, &e))
        return 1;
    static struct str texts[MAX_TEXTS];
    uint32_t n = 0, dims = model_info(m)->dims;
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    bool vectors = strcmp(argv[1], "vectors") == 0;
    do {
        len = getline(&line, &size, stdin);
        if (len > 0 && line[len - 1] == '\n')
            len--;
        if (len > 0 && n < MAX_TEXTS) {
            texts[n++] = str_make(strndup(line, (size_t)len), (size_t)len);
            continue;
        }
        float *out = calloc(n + 1, dims * sizeof *out);
        uint64_t tokens = 0;
        if (!out || encoder_run(e, ENCODE_PLAIN, texts, n, NULL, out, &tokens))
            return 1;
        if (vectors) {
            fwrite(out, sizeof *out * dims, n, stdout);
        } else if (n) {
            double times[200];
            int rounds = tokens > 500 ? 10 : tokens > 50 ? 30 : 100;
            for (int r = 0; r < rounds; r++) {
                double t = now();
                if (encoder_run(e, ENCODE_PLAIN, texts, n, NULL, out, &tokens))
                    return 1;
                times[r] = now() - t;
            }
            qsort(times, (size_t)rounds, sizeof *times, compare);
            printf("%4u texts %6llu tokens: best %8.3f median %8.3f ms\n", n, (unsigned long long)tokens,
                   times[0] * 1e3, times[rounds / 2] * 1e3);
        }
        free(out);
        n = 0;
    } while (len >= 0);
    encoder_free(e);
    model_close(m);
    return 0;
}
