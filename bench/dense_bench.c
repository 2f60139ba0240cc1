/* bench/dense_bench.c - recall and speed of the dense leg on ready vectors. Build and run from the repository's root:
 *   make && cc -std=c11 -D_GNU_SOURCE -O2 -iquote src -o build/dense_bench bench/dense_bench.c build/libragd.a \
 *       $(pkg-config --libs libxml-2.0 libarchive jansson sqlite3 icu-uc icu-i18n libxxhash libcurl libcrypto) \
 *       -lstemmer -lm -pthread
 *   build/dense_bench FOLDER [own|first|questions|none [QUESTIONS]]
 * FOLDER holds vectors.i8 (int8[n][384]), scales.f32 (float[n]; vector = int8 x scale), queries.f32 (float[][384]). The
 * second argument says where the mean comes from: all vectors, the first 200, the questions, or zeros. RAGD_CPU
 * restricts the instruction sets. Truth is exhaustive float search over vectors.i8 x scales.f32. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "index/dense.h"
#include "index/list_edit.h"
#include "index/vectors_int.h"
#include "kernel/scan.h"
#include "sys/clock.h"
#include "sys/cpu.h"
#include "sys/file.h"

enum { DIMS = 384, SEGMENT_CHUNKS = 65536, MOST = 100, SWEEP_BYTES = 96 << 20, PASSES = 15 };

struct set {
    uint32_t n, n_questions;
    float *v; /* n x DIMS */
    const float *questions;
    float mean[DIMS];
    struct vector_space space;
    struct segment_list *list;
    uint32_t *truth; /* n_questions x MOST */
};

static void die(const char *what)
{
    fprintf(stderr, "dense_bench: %s\n", what);
    exit(1);
}

static const void *read_file(const char *folder, const char *name, size_t *len)
{
    char path[4096];
    struct buf b;
    struct rag_err err;
    buf_init(&b, MEM_MISC);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (file_read_all(path, (uint64_t)1 << 32, &b, &err))
        die(err.msg);
    *len = b.len;
    return b.ptr;
}

static void load(struct set *s, const char *folder)
{
    size_t n8, ns, nq;
    const int8_t *codes = read_file(folder, "vectors.i8", &n8);
    const float *scales = read_file(folder, "scales.f32", &ns);
    s->questions = read_file(folder, "queries.f32", &nq);
    s->n = (uint32_t)(n8 / DIMS);
    s->n_questions = (uint32_t)(nq / DIMS / sizeof(float));
    if (ns != s->n * sizeof(float))
        die("vectors.i8 and scales.f32 do not fit");
    s->v = malloc((size_t)s->n * DIMS * sizeof *s->v);
    for (uint32_t i = 0; i < s->n; i++) {
        double sum = 0;
        float *v = s->v + (size_t)i * DIMS;
        for (uint32_t d = 0; d < DIMS; d++) {
            v[d] = scales[i] * codes[(size_t)i * DIMS + d];
            sum += (double)v[d] * (double)v[d];
        }
        for (uint32_t d = 0; d < DIMS; d++)
            v[d] /= (float)sqrt(sum);
    }
}

static void set_mean(struct set *s, const char *from)
{
    uint32_t n = strcmp(from, "first") == 0 ? 200 : strcmp(from, "questions") == 0 ? s->n_questions : s->n;
    const float *v = strcmp(from, "questions") == 0 ? s->questions : s->v;
    for (uint32_t d = 0; d < DIMS; d++) {
        double sum = 0;
        for (uint32_t i = 0; i < n; i++)
            sum += (double)v[(size_t)i * DIMS + d];
        s->mean[d] = strcmp(from, "none") == 0 ? 0 : (float)(sum / n);
    }
    s->space = (struct vector_space){.dims = DIMS, .mean = s->mean};
}

static void build(struct set *s)
{
    struct term_list none;
    term_list_init(&none);
    s->list = list_new_empty();
    int64_t ns = 0;
    for (uint32_t first = 0; first < s->n; first += SEGMENT_CHUNKS) {
        uint32_t n = s->n - first < SEGMENT_CHUNKS ? s->n - first : SEGMENT_CHUNKS;
        struct segment_builder *b;
        struct segment *segment;
        struct vector_block *block;
        struct segment_list *next;
        if (segment_builder_new(1, &b) || vector_block_new(&s->space, n, &block))
            die("out of memory");
        for (uint32_t i = 0; i < n; i++) {
            struct segment_doc_in d = {
                .id = STR_LIT("x"), .metadata_json = STR_LIT("{}"), .seq = first + i + 1};
            if (segment_builder_doc(b, &d) ||
                segment_builder_chunk(b, &(struct segment_chunk_in){.text = STR_LIT("x"), .terms = &none}))
                die("cannot build a segment");
            int64_t t = clock_mono_ns();
            vector_block_put(block, i, s->v + (size_t)(first + i) * DIMS, str_make(NULL, 0));
            ns += clock_mono_ns() - t;
        }
        if (segment_builder_finish(b, &segment) ||
            list_edit(s->list, &(struct list_change){.add = segment, .add_vectors = {block}}, &next))
            die("out of memory");
        list_free(s->list);
        s->list = next;
        segment_builder_free(b);
        segment_unref(segment);
        vector_block_unref(block);
    }
    printf("put: %.2f us a row\n", (double)ns / s->n / 1000);
}

static float dot(const float *a, const float *b)
{
    float part[8] = {0};
    for (uint32_t i = 0; i < DIMS; i += 8)
        for (uint32_t j = 0; j < 8; j++)
            part[j] += a[i + j] * b[i + j];
    return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

/* The MOST best of scores[n], best first; ties: the smaller number. */
static void best(const float *scores, uint32_t n, uint32_t *out)
{
    uint32_t have = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (have == MOST && scores[i] <= scores[out[MOST - 1]])
            continue;
        uint32_t at = have < MOST ? have++ : MOST - 1;
        for (; at && scores[i] > scores[out[at - 1]]; at--)
            out[at] = out[at - 1];
        out[at] = i;
    }
}

/* How many of the `n` found are as good as the n-th of the truth: equal texts are equally right. */
static double recall(const struct set *s, uint32_t q, const uint32_t *found, uint32_t n_found, uint32_t n)
{
    const float *v = s->questions + (size_t)q * DIMS;
    float least = dot(v, s->v + (size_t)s->truth[q * MOST + n - 1] * DIMS) - 1e-6f;
    uint32_t right = 0;
    for (uint32_t i = 0; i < n && i < n_found; i++)
        right += dot(v, s->v + (size_t)found[i] * DIMS) >= least;
    return (double)right / n;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static volatile uint64_t sink;
/* Puts other bytes into the caches, the last level's 32 MB too. */
static void sweep(void)
{
    static uint64_t *other;
    if (!other && !(other = calloc(1, SWEEP_BYTES)))
        die("out of memory");
    for (size_t i = 0; i < SWEEP_BYTES / 8; i += 8)
        sink += ++other[i];
}

static void measure_kernels(const struct set *s)
{
    /* Any question does: the time of a scan does not depend on it. */
    _Alignas(64) int8_t q8[DIMS];
    _Alignas(64) int16_t q16[DIMS];
    for (int i = 0; i < DIMS; i++)
        q16[i] = q8[i] = (int8_t)(i % 255 - 127);
    struct scan_question q = {q8, q16, DIMS / 2, 0, 0, 1, 0};
    const struct scan_kernel *k;
    for (unsigned i = 0; (k = scan_kernel_at(i)) != NULL; i++) {
        double us[2][PASSES];
        for (int cold = 0; cold < 2; cold++)
            for (int pass = 0; pass < PASSES; pass++) {
                if (cold)
                    sweep();
                float est[SCAN_RUN];
                int64_t t = clock_mono_ns();
                for (uint32_t e = 0; e < s->list->n; e++) {
                    const struct vector_block *b = s->list->e[e].vectors[0];
                    for (uint32_t r = 0; r + SCAN_RUN <= b->h->rows; r += SCAN_RUN)
                        sink += k->run(&q, b->upper + r * b->row_bytes, b->scales + r, b->alongs + r,
                                       SCAN_RUN, INFINITY, est);
                }
                us[cold][pass] = (double)(clock_mono_ns() - t) / 1000;
            }
        for (int cold = 0; cold < 2; cold++) {
            qsort(us[cold], PASSES, sizeof us[0][0], by_value);
            double median = us[cold][PASSES / 2];
            printf("scan of the upper planes, %-10s %s: %6.0f us, %4.0f Mrows/s, %5.1f GB/s\n", k->name,
                   cold ? "cold" : "hot ", median, s->n / median, s->n / median * (DIMS / 2 + 8) / 1000);
        }
    }
}

/* Latencies: each question once when the one before it has just read the same planes, every fourth cold. */
static void measure_latency(const struct set *s, struct arena *a, uint32_t k)
{
    static double us[2][1000];
    uint32_t n[2] = {0};
    uint64_t rescored = 0;
    for (uint32_t cold = 0; cold < 2; cold++)
        for (uint32_t i = 0; i < s->n_questions && n[cold] < 1000; i += cold ? 4 : 1) {
            struct dense_result r;
            struct dense_query *q;
            if (cold)
                sweep();
            arena_reset(a);
            int64_t t = clock_mono_ns();
            if (dense_query_new(s->questions + (size_t)i * DIMS, DIMS, a, &q) ||
                dense_search(s->list, 0, q, NULL, k, 0, a, &r))
                die("search failed");
            us[cold][n[cold]++] = (double)(clock_mono_ns() - t) / 1000;
            rescored += cold ? 0 : r.rescored;
        }
    for (int cold = 0; cold < 2; cold++)
        qsort(us[cold], n[cold], sizeof us[0][0], by_value);
    printf("k %3u: hot median %4.0f us, p99 %4.0f; cold median %4.0f us; %.0f rows rescored\n", k,
           us[0][n[0] / 2], us[0][n[0] * 99 / 100], us[1][n[1] / 2], (double)rescored / n[0]);
}

static void measure_recall(const struct set *s, struct arena *a, uint32_t k)
{
    double sum[2][3] = {{0}}; /* found; every row scored exactly: at 10, 30, k */
    const uint32_t at[3] = {10, 30, k};
    float *scores = malloc(s->n * sizeof *scores);
    for (uint32_t i = 0; i < s->n_questions; i++) {
        struct dense_result r;
        struct dense_query *q;
        uint32_t found[MOST], n = 0;
        arena_reset(a);
        if (dense_query_new(s->questions + (size_t)i * DIMS, DIMS, a, &q) ||
            dense_search(s->list, 0, q, NULL, k, 0, a, &r))
            die("search failed");
        for (; n < r.n && n < MOST; n++)
            found[n] = r.hits[n].ref.entry * SEGMENT_CHUNKS + r.hits[n].ref.chunk;
        for (int j = 0; j < 3; j++)
            sum[0][j] += recall(s, i, found, n, at[j]);
        for (uint32_t j = 0; j < s->n; j++)
            if (!dense_score(s->list, 0, q, (struct chunk_ref){j / SEGMENT_CHUNKS, j % SEGMENT_CHUNKS},
                             &scores[j]))
                die("a row is missing");
        best(scores, s->n, found);
        for (int j = 0; j < 3; j++)
            sum[1][j] += recall(s, i, found, MOST, at[j]);
    }
    for (int j = 0; j < 3; j++)
        if (at[j] <= k && (j == 0 || at[j] != at[j - 1]))
            printf("k %3u: recall@%-3u %.4f; every row scored from its 8 bits %.4f\n", k, at[j],
                   sum[0][j] / s->n_questions, sum[1][j] / s->n_questions);
    free(scores);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        die("FOLDER [own|first|questions|none [QUESTIONS]]");
    struct set s = {0};
    struct arena a = {0};
    const char *from = argc > 2 ? argv[2] : "own";
    load(&s, argv[1]);
    set_mean(&s, from);
    uint32_t asked = argc > 3 ? (uint32_t)atoi(argv[3]) : 300;
    s.n_questions = asked < s.n_questions ? asked : s.n_questions;
    printf("%s (%s), kernel %s; %u vectors, %u questions, mean of %s\n", cpu_name(), cpu_feature_list(),
           scan_kernel()->name, s.n, s.n_questions, from);
    build(&s);
    measure_kernels(&s);
    s.truth = malloc((size_t)s.n_questions * MOST * sizeof *s.truth);
    float *scores = malloc(s.n * sizeof *scores);
    for (uint32_t q = 0; q < s.n_questions; q++) {
        for (uint32_t i = 0; i < s.n; i++)
            scores[i] = dot(s.questions + (size_t)q * DIMS, s.v + (size_t)i * DIMS);
        best(scores, s.n, s.truth + q * MOST);
    }
    static const uint32_t ks[] = {10, 30, 100};
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++)
        measure_latency(&s, &a, ks[i]);
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++)
        measure_recall(&s, &a, ks[i]);
    return 0;
}
