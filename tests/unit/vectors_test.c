#include "test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "index/dense.h"
#include "index/list_edit.h"
#include "index/token_code.h"
#include "index/vectors_int.h"
#include "kernel/scan.h"
#include "sys/clock.h"
#include "sys/file.h"

enum { DIMS = 96 };

static uint64_t seed = 1;
static uint32_t random_u32(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}
static float random_unit(void) /* -1 .. 1 */
{
    return (float)random_u32() / 0x1p30f - 1;
}

static double dot(const float *a, const float *b, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* Unit vectors in a cone around the mean, as real encoders make them. */
static void random_vector(float *v, const float *mean, uint32_t dims)
{
    for (uint32_t i = 0; i < dims; i++)
        v[i] = mean[i] + .5f * random_unit() / sqrtf((float)dims);
    float norm = (float)sqrt(dot(v, v, dims));
    for (uint32_t i = 0; i < dims; i++)
        v[i] /= norm;
}

static float mean_of_space[VECTOR_MAX_DIMS];
static struct vector_space space_of(uint32_t dims)
{
    struct vector_space s = {.digest = {7, 1}, .dims = dims, .mean = mean_of_space};
    for (uint32_t i = 0; i < dims; i++)
        mean_of_space[i] = .9f * (i % 3 ? 1 : -1) / sqrtf((float)dims);
    return s;
}

/* A segment of n_docs documents with `per` chunks each; document i has metadata {"n": i % 10}. */
static struct segment *segment_of(uint32_t n_docs, uint32_t per)
{
    static int64_t seq;
    struct segment_builder *b;
    struct segment *s;
    CHECK_OK(segment_builder_new(1, &b));
    struct term_list none;
    term_list_init(&none);
    for (uint32_t d = 0; d < n_docs; d++) {
        char id[16], metadata[16];
        snprintf(id, sizeof id, "%u", d);
        snprintf(metadata, sizeof metadata, "{\"n\":%u}", d % 10);
        CHECK_OK(segment_builder_doc(
            b, &(struct segment_doc_in){
                   .id = str_of(id), .metadata_json = str_of(metadata), .version = 1, .seq = ++seq}));
        for (uint32_t c = 0; c < per; c++)
            CHECK_OK(
                segment_builder_chunk(b, &(struct segment_chunk_in){.text = STR_LIT("x"), .terms = &none}));
    }
    CHECK_OK(segment_builder_finish(b, &s));
    segment_builder_free(b);
    term_list_clear(&none);
    return s;
}

/* A list of two segments, 120 and 2000 chunks, their vectors in rows[], and a third segment without any. */
struct world {
    struct vector_space space;
    struct segment *s[3];
    struct vector_block *b[2];
    struct segment_list *list;
    float rows[2120][DIMS];
    struct arena a;
};

static struct segment_list *list_with(struct segment_list *cur, struct segment *s, struct vector_block *b,
                                      const uint64_t *live)
{
    struct segment_list *next;
    struct list_change c = {.add = s, .add_live = live, .add_vectors = {NULL, b}};
    CHECK_OK(list_edit(cur, &c, &next));
    list_free(cur);
    return next;
}

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof *w);
    w->space = space_of(DIMS);
    w->s[0] = segment_of(60, 2);
    w->s[1] = segment_of(400, 5);
    w->s[2] = segment_of(3, 1);
    w->list = list_new_empty();
    uint32_t n = 0;
    for (int i = 0; i < 2; i++) {
        CHECK_OK(vector_block_new(&w->space, segment_n_chunks(w->s[i]), &w->b[i]));
        for (uint32_t r = 0; r < segment_n_chunks(w->s[i]); r++, n++) {
            random_vector(w->rows[n], w->space.mean, DIMS);
            vector_block_put(w->b[i], r, w->rows[n], str_make(NULL, 0));
        }
        w->list = list_with(w->list, w->s[i], w->b[i], NULL);
    }
    w->list = list_with(w->list, w->s[2], NULL, NULL);
    return w;
}

static void world_free(struct world *w)
{
    list_free(w->list);
    for (int i = 0; i < 3; i++)
        segment_unref(w->s[i]);
    vector_block_unref(w->b[0]);
    vector_block_unref(w->b[1]);
    arena_clear(&w->a);
    free(w);
    CHECK_EQ(mem_in_use(MEM_INDEX), 0);
}

static struct dense_query *question(struct world *w, float *v)
{
    struct dense_query *q;
    random_vector(v, w->space.mean, DIMS);
    CHECK_OK(dense_query_new(v, DIMS, &w->a, &q));
    return q;
}

TEST(kernels_give_the_bits_of_scalar)
{
    enum { ROWS = 67 };
    uint8_t *bytes = aligned_alloc(64, (size_t)2 * ROWS * SCAN_MAX_ROW_BYTES);
    int8_t *q8 = aligned_alloc(64, 2 * SCAN_MAX_ROW_BYTES);
    int16_t *q16 = aligned_alloc(64, 4 * SCAN_MAX_ROW_BYTES);
    float scales[ROWS], alongs[ROWS];
    unsigned others = 0;
    for (unsigned kind = 0; kind < 3; kind++) /* random; the largest products; the smallest */
        for (size_t row_bytes = 64; row_bytes <= SCAN_MAX_ROW_BYTES;
             row_bytes += row_bytes < 512 ? 64 : 512) {
            size_t dims = 2 * row_bytes;
            int limit = (int)(SCAN_Q16_SUM_MAX / dims);
            limit = limit > INT16_MAX ? INT16_MAX : limit;
            for (size_t i = 0; i < 2 * ROWS * row_bytes; i++)
                bytes[i] = kind ? (kind == 1 ? 255 : 0) : (uint8_t)random_u32();
            for (size_t i = 0; i < dims; i++) {
                q8[i] = (int8_t)(kind ? (kind == 1 ? 127 : -127) : (int)(random_u32() % 255) - 127);
                q16[i] = (int16_t)(kind ? (kind == 1 ? limit : -limit)
                                        : (int)(random_u32() % (2u * (unsigned)limit + 1)) - limit);
            }
            for (int i = 0; i < ROWS; i++) {
                scales[i] = random_unit() * .01f;
                alongs[i] = random_unit();
            }
            struct scan_question q = {q8, q16, row_bytes, .8f, .7f, .003f, -123.75f};
            const struct scan_kernel *k;
            for (unsigned i = 1; (k = scan_kernel_at(i)) != NULL; i++, others++) {
                for (uint32_t n = 0; n <= SCAN_RUN; n++) {
                    float want[SCAN_RUN + 1], got[SCAN_RUN + 1];
                    want[n] = got[n] = 4711;
                    uint32_t from = n % 3; /* scales and alongs may start anywhere */
                    const uint8_t *upper = bytes + from * row_bytes;
                    CHECK_EQ(k->run(&q, upper, scales + from, alongs + from, n, .75f, got),
                             scan_scalar.run(&q, upper, scales + from, alongs + from, n, .75f, want));
                    CHECK(memcmp(want, got, (n + 1) * sizeof *got) == 0);
                }
                for (size_t r = 0; r < ROWS; r++)
                    CHECK_EQ(k->exact(&q, bytes + r * row_bytes, bytes + (ROWS + r) * row_bytes),
                             scan_scalar.exact(&q, bytes + r * row_bytes, bytes + (ROWS + r) * row_bytes));
            }
        }
    if (!others)
        print_message("skipped: this CPU has no kernel beside scalar\n");
    free(bytes);
    free(q8);
    free(q16);
}

TEST(score_is_the_dot_product_for_every_number_of_dimensions)
{
    static const uint32_t sizes[] = {1, 2, 63, 64, 65, 127, 128, 129, 200, 384, 768, 1000, 1024, 4095, 4096};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint32_t dims = sizes[i];
        struct vector_space space = space_of(dims);
        struct vector_block *b;
        struct arena a = {0};
        struct dense_query *q;
        static float v[5][VECTOR_MAX_DIMS], x[VECTOR_MAX_DIMS];
        CHECK_OK(vector_block_new(&space, 5, &b));
        struct segment *s = segment_of(1, 5);
        for (uint32_t r = 0; r < 5; r++) {
            random_vector(v[r], space.mean, dims);
            vector_block_put(b, r, v[r], str_make(NULL, 0));
        }
        struct segment_list *l = list_with(list_new_empty(), s, b, NULL);
        random_vector(x, space.mean, dims);
        CHECK_OK(dense_query_new(x, dims, &a, &q));
        for (uint32_t r = 0; r < 5; r++) {
            float got;
            CHECK(dense_score(l, 1, q, (struct chunk_ref){0, r}, &got));
            CHECK_NEAR(got, dot(x, v[r], dims), .002);
            CHECK(!dense_score(l, 0, q, (struct chunk_ref){0, r}, &got));
        }
        arena_clear(&a);
        list_free(l);
        segment_unref(s);
        vector_block_unref(b);
    }
    struct vector_block *b;
    struct vector_space none = space_of(0), many = {.dims = VECTOR_MAX_DIMS + 1};
    CHECK_EQ(vector_block_new(&none, 1, &b), RAG_EINVAL);
    CHECK_EQ(vector_block_new(&many, 1, &b), RAG_EINVAL);
}

/* The best k by scoring every row that passes; checks hits, order and scores. */
static void check_search(struct world *w, const struct filter *f, uint32_t k, uint32_t mod,
                         uint64_t *const live[2])
{
    float v[DIMS];
    struct dense_query *q = question(w, v);
    struct dense_result r;
    CHECK_OK(dense_search(w->list, 1, q, f, k, 0, &w->a, &r));
    uint32_t found = 0, all = 0, in_place = 0;
    float worst = r.n ? r.hits[r.n - 1].cosine : 2;
    for (uint32_t e = 0; e < 2; e++)
        for (uint32_t c = 0; c < segment_n_chunks(w->s[e]); c++) {
            float score;
            uint32_t doc = c / (e ? 5 : 2);
            if ((mod && doc % 10 != mod) || (live && !bitmap_get(live[e], c)))
                continue;
            all++;
            CHECK(dense_score(w->list, 1, q, (struct chunk_ref){e, c}, &score));
            CHECK_NEAR(score, dot(v, w->rows[e * 120 + c], DIMS), .002);
            for (uint32_t i = 0; i < r.n; i++)
                if (r.hits[i].ref.entry == e && r.hits[i].ref.chunk == c) {
                    found++;
                    CHECK(memcmp(&r.hits[i].cosine, &score, sizeof score) == 0);
                }
            in_place += score > worst;
        }
    CHECK_EQ(r.n, k < all ? k : all);
    CHECK_EQ(found, r.n); /* each hit is one of those that pass */
    if (r.n)
        CHECK_EQ(in_place, r.n - 1); /* and no better one was missed */
    for (uint32_t i = 1; i < r.n; i++)
        CHECK(r.hits[i - 1].cosine >= r.hits[i].cosine);
}

TEST(search_finds_what_scoring_every_row_finds)
{
    struct world *w = world_new();
    static const uint32_t ks[] = {0, 1, 2, 30, 100, 900, 2119, 2120, 5000, UINT32_MAX};
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++)
        for (int times = 0; times < 5; times++)
            check_search(w, NULL, ks[i], 0, NULL);
    world_free(w);
}

TEST(filters_come_before_the_candidates)
{
    struct world *w = world_new();
    struct value three = {VALUE_NUMBER, 3, {0}}, id = {VALUE_STRING, 0, STR_LIT("13")},
                 nine = {VALUE_NUMBER, 99, {0}};
    struct filter_clause by_n = {STR_LIT("n"), FILTER_ANY_OF, &three, 1};
    struct filter_clause by_id = {STR_LIT("document_id"), FILTER_ANY_OF, &id, 1};
    struct filter_clause nothing = {STR_LIT("n"), FILTER_ANY_OF, &nine, 1};
    for (int times = 0; times < 10; times++)
        check_search(w, &(struct filter){&by_n, 1}, 10, 3, NULL);
    float v[DIMS];
    struct dense_result r;
    struct dense_query *q = question(w, v);
    CHECK_OK(dense_search(w->list, 1, q, &(struct filter){&by_id, 1}, 50, 0, &w->a, &r));
    CHECK_EQ(r.n, 2 + 5); /* document 13 of either segment */
    CHECK_EQ(r.scanned, 7);
    CHECK_OK(dense_search(w->list, 1, q, &(struct filter){&nothing, 1}, 50, 0, &w->a, &r));
    CHECK_EQ(r.n, 0);
    CHECK_OK(dense_search(w->list, 0, q, NULL, 50, 0, &w->a, &r)); /* no vectors in that slot */
    CHECK_EQ(r.n, 0);
    world_free(w);
}

TEST(the_dead_and_the_missing_are_not_found)
{
    struct world *w = world_new();
    uint64_t bits[2][32], *const live[2] = {bits[0], bits[1]};
    for (int dense = 0; dense < 2; dense++) {
        struct vector_block *half;
        CHECK_OK(vector_block_new(&w->space, 2000, &half));
        for (uint32_t i = 0; i < 64; i++)
            bits[i / 32][i % 32] = 0;
        for (uint32_t c = 0; c < 2000; c++) {
            bool alive = dense ? random_u32() % 10 != 0 : random_u32() % 10 == 0;
            if (alive && c < 120)
                bitmap_set(bits[0], c);
            if (alive)
                bitmap_set(bits[1], c);
        }
        list_free(w->list);
        w->list = list_with(list_new_empty(), w->s[0], w->b[0], bits[0]);
        w->list = list_with(w->list, w->s[1], half, bits[1]);
        for (uint32_t c = 0; c < 2000; c++)
            if (c < 700 || c % 7 == 3)
                vector_block_copy(half, c, w->b[1], c);
            else
                bitmap_unset(bits[1], c);
        CHECK_EQ(vector_block_present(half), 700 + (2000 - 1 - 3) / 7 + 1 - 100);
        for (int times = 0; times < 10; times++)
            check_search(w, NULL, 40, 0, live);
        vector_block_unref(half);
    }
    world_free(w);
}

TEST(equal_scores_come_in_list_order)
{
    struct world *w = world_new();
    struct vector_block *same;
    CHECK_OK(vector_block_new(&w->space, 2000, &same));
    for (uint32_t c = 0; c < 2000; c++)
        vector_block_copy(same, c, w->b[0], 5);
    list_free(w->list);
    w->list = list_with(list_new_empty(), w->s[0], w->b[0], NULL);
    w->list = list_with(w->list, w->s[1], same, NULL);
    float v[DIMS];
    struct dense_result r;
    struct dense_query *q;
    memcpy(v, w->rows[5], sizeof v);
    CHECK_OK(dense_query_new(v, DIMS, &w->a, &q));
    CHECK_OK(dense_search(w->list, 1, q, NULL, 20, 0, &w->a, &r));
    CHECK_EQ(r.n, 20);
    CHECK(r.hits[0].ref.entry == 0 && r.hits[0].ref.chunk == 5);
    for (uint32_t i = 1; i < 20; i++)
        CHECK(r.hits[i].ref.entry == 1 && r.hits[i].ref.chunk == i - 1);
    CHECK_NEAR(r.hits[0].cosine, 1, .002);
    vector_block_unref(same);
    world_free(w);
}

TEST(deadline_keeps_what_was_found)
{
    struct world *w = world_new();
    float v[DIMS];
    struct dense_result r;
    struct dense_query *q = question(w, v);
    CHECK_EQ(dense_search(w->list, 1, q, NULL, 20, clock_mono_ns() - 1, &w->a, &r), RAG_ETIMEOUT);
    CHECK_EQ(r.n, 0);
    CHECK_OK(dense_search(w->list, 1, q, NULL, 20, clock_mono_ns() + 60 * (int64_t)1000000000, &w->a, &r));
    CHECK_EQ(r.n, 20);
    struct dense_query *other;
    CHECK_OK(dense_query_new(v, DIMS - 1, &w->a, &other));
    CHECK_EQ(dense_search(w->list, 1, other, NULL, 20, 0, &w->a, &r), RAG_EINVAL);
    v[3] = NAN;
    CHECK_EQ(dense_query_new(v, DIMS, &w->a, &other), RAG_EINVAL);
    v[3] = INFINITY;
    CHECK_EQ(dense_query_new(v, DIMS, &w->a, &other), RAG_EINVAL);
    CHECK_EQ(dense_query_new(v, 0, &w->a, &other), RAG_EINVAL);
    CHECK_EQ(dense_query_new(v, VECTOR_MAX_DIMS + 1, &w->a, &other), RAG_EINVAL);
    world_free(w);
}

TEST(broken_vectors_are_harmless)
{
    struct world *w = world_new();
    static const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f, 1e-45f, 0};
    struct vector_block *b;
    CHECK_OK(vector_block_new(&w->space, 120, &b));
    for (uint32_t i = 0; i < 6; i++) {
        float v[DIMS];
        for (uint32_t d = 0; d < DIMS; d++)
            v[d] = i < 4 && d % 5 ? w->space.mean[d] : bad[i];
        vector_block_put(b, i, v, str_make(NULL, 0));
    }
    vector_block_put(b, 6, w->space.mean, str_make(NULL, 0));
    list_free(w->list);
    w->list = list_with(list_new_empty(), w->s[0], b, NULL);
    float v[DIMS];
    struct dense_result r;
    CHECK_OK(dense_search(w->list, 1, question(w, v), NULL, 50, 0, &w->a, &r));
    CHECK_EQ(r.n, 7);
    for (uint32_t i = 0; i < r.n; i++)
        CHECK(isfinite(r.hits[i].cosine));
    vector_block_unref(b);
    world_free(w);
}

TEST(survives_each_failed_allocation)
{
    struct world *w = world_new();
    bool fired = true;
    for (unsigned nth = 1; fired; nth++) {
        struct vector_block *b = NULL;
        fault_arm_alloc(nth);
        rag_code rc = vector_block_new(&w->space, 100, &b);
        fired = fault_disarm();
        CHECK_EQ(rc, fired ? RAG_ENOMEM : RAG_OK);
        CHECK((rc == RAG_OK) == (b != NULL));
        vector_block_unref(b);
    }
    fired = true;
    for (unsigned nth = 1; fired; nth++) {
        struct vector_block *b = NULL;
        fault_arm_alloc(nth);
        rag_code rc =
            vector_block_open_bytes(str_make(w->b[0]->base, w->b[0]->len), &w->space, 120, &b, NULL);
        fired = fault_disarm();
        CHECK(fired ? rc == RAG_ENOMEM : rc == RAG_ECORRUPT); /* the checksum comes with writing */
    }
    fired = true;
    struct value three = {VALUE_NUMBER, 3, {0}};
    struct filter_clause by_n = {STR_LIT("n"), FILTER_ANY_OF, &three, 1};
    for (unsigned nth = 1; fired; nth++) {
        struct arena a = {0};
        struct dense_query *q;
        struct dense_result r;
        fault_arm_alloc(nth);
        rag_code rc = dense_query_new(w->rows[0], DIMS, &a, &q);
        if (!rc)
            rc = dense_search(w->list, 1, q, &(struct filter){&by_n, 1}, 1000, 0, &a, &r);
        fired = fault_disarm();
        CHECK_EQ(rc, fired ? RAG_ENOMEM : RAG_OK);
        arena_clear(&a);
    }
    world_free(w);
}

/* ---- files ------------------------------------------------------------------------------------------------- */

static char folder[] = "/tmp/ragd_vectors_XXXXXX", path[64];

static void remove_folder(void)
{
    file_remove(path);
    CHECK_EQ(rmdir(folder), 0);
    strcpy(folder, "/tmp/ragd_vectors_XXXXXX");
}

TEST(file_gives_back_what_was_put_in)
{
    CHECK(mkdtemp(folder) != NULL);
    struct world *w = world_new();
    struct vector_block *part, *mapped, *again;
    struct rag_err err;
    snprintf(path, sizeof path, "%s/a.vec", folder);
    CHECK_OK(vector_block_new(&w->space, 2000, &part));
    for (uint32_t c = 0; c < 2000; c++)
        if (c % 3)
            vector_block_copy(part, c, w->b[1], c);
    CHECK(!vector_block_is_file(part));
    CHECK_OK(vector_block_write(part, folder, "a.vec", &mapped, &err));
    CHECK(vector_block_is_file(mapped));
    CHECK_EQ(vector_block_present(mapped), 1333);
    CHECK_EQ(vector_block_rows(mapped), 2000);
    CHECK_EQ(vector_block_bytes(mapped), vector_block_bytes(part));
    for (uint32_t c = 0; c < 2000; c++)
        CHECK_EQ(vector_block_has(mapped, c), c % 3 != 0);
    CHECK(!vector_block_has(mapped, 2000));
    vector_block_put(part, 0, w->rows[120], str_make(NULL, 0)); /* more rows, the same name */
    CHECK_OK(vector_block_write(part, folder, "a.vec", &again, &err));
    CHECK_EQ(vector_block_present(again), 1334);
    CHECK_EQ(vector_block_present(mapped), 1333);
    vector_block_unref(mapped);
    CHECK_OK(
        vector_block_write(again, folder, "a.vec", &mapped, &err)); /* a mapped one is written as it is */
    vector_block_unref(again);

    list_free(w->list);
    w->list = list_with(list_new_empty(), w->s[1], mapped, NULL);
    w->list = list_with(w->list, w->s[1], part, NULL);
    float v[DIMS], x, y;
    struct dense_query *q = question(w, v);
    for (uint32_t c = 0; c < 2000; c++) {
        bool there = dense_score(w->list, 1, q, (struct chunk_ref){0, c}, &x);
        CHECK_EQ(dense_score(w->list, 1, q, (struct chunk_ref){1, c}, &y), there);
        CHECK(!there || memcmp(&x, &y, sizeof x) == 0);
    }

    CHECK_EQ(vector_block_open(path, &w->space, 1999, &again, &err), RAG_ECONFLICT);
    struct vector_space other = w->space;
    other.digest[31] = 1;
    CHECK_EQ(vector_block_open(path, &other, 2000, &again, &err), RAG_ECONFLICT);
    other = w->space;
    float mean[DIMS];
    memcpy(mean, w->space.mean, sizeof mean);
    mean[DIMS - 1] += .001f;
    other.mean = mean;
    CHECK_EQ(vector_block_open(path, &other, 2000, &again, &err), RAG_ECONFLICT);
    other = w->space;
    other.dims--;
    CHECK_EQ(vector_block_open(path, &other, 2000, &again, &err), RAG_ECONFLICT);
    CHECK_OK(file_remove(path));
    CHECK_EQ(vector_block_open(path, &w->space, 2000, &again, &err), RAG_ENOTFOUND);
    vector_block_unref(mapped);
    vector_block_unref(part);
    world_free(w);
    remove_folder();
}

/* ---- tokens ------------------------------------------------------------------------------------------------- */

/* Codes of `n` tokens that say whose they are. */
static struct str codes_of(uint32_t row, uint32_t n, char *out)
{
    size_t len = n * token_code_bytes(DIMS);
    for (size_t i = 0; i < len; i++)
        out[i] = (char)(row * 31 + i);
    return str_make(out, len);
}

static void check_codes(const struct vector_block *b, uint32_t row, uint32_t from, uint32_t n)
{
    char want[64 * 64];
    struct str codes = vector_block_tokens(b, row), w = codes_of(from, n, want);
    CHECK_EQ(codes.len, w.len);
    CHECK(codes.len == 0 || memcmp(codes.ptr, w.ptr, w.len) == 0);
    CHECK_EQ((uintptr_t)codes.ptr % 8, 0);
}

TEST(tokens_go_where_their_rows_go)
{
    enum { ROWS = 40 };
    CHECK(mkdtemp(folder) != NULL);
    struct world *w = world_new();
    struct vector_space with = w->space;
    with.token_rules = TOKEN_RULES;
    struct vector_block *a, *file, *merged, *again, *plain;
    struct rag_err err;
    char codes[64 * 64];
    CHECK_OK(vector_block_new(&with, ROWS, &a));
    uint64_t bytes = 0;
    for (uint32_t r = 0; r < ROWS; r++)
        if (r != 7) {
            vector_block_put(a, r, w->rows[r], codes_of(r, r % 5, codes));
            bytes += r % 5 * token_code_bytes(DIMS);
        }
    CHECK_EQ(vector_block_token_bytes(a), bytes);
    CHECK_OK(vector_block_write(a, folder, "a.vec", &file, &err));
    snprintf(path, sizeof path, "%s/a.vec", folder);
    CHECK_OK(vector_file_verify(path, &err));
    CHECK_EQ(vector_block_token_bytes(file), bytes);
    /* One row of the memory, one of the file, one that came from the file by way of another block. */
    CHECK_OK(vector_block_new(&with, 3, &merged));
    vector_block_copy(merged, 0, a, 4);
    vector_block_copy(merged, 1, file, 9);
    CHECK_OK(vector_block_new(&with, 2, &again));
    vector_block_copy(again, 0, merged, 1);
    vector_block_put(again, 1, w->rows[1], codes_of(1, 3, codes) /* kept */);
    for (uint32_t r = 0; r < ROWS; r++)
        if (r != 7) {
            check_codes(a, r, r, r % 5);
            check_codes(file, r, r, r % 5);
        }
    vector_block_unref(a);
    vector_block_unref(file); /* its pages are still mapped: rows of others lie in them */
    check_codes(merged, 0, 4, 4);
    check_codes(merged, 1, 9, 4);
    vector_block_unref(merged);
    check_codes(again, 0, 9, 4);
    check_codes(again, 1, 1, 3);
    CHECK_OK(vector_block_write(again, folder, "b.vec", &file, &err));
    check_codes(file, 0, 9, 4);
    check_codes(file, 1, 1, 3);
    vector_block_unref(again);
    /* A space that wants no tokens takes such a file, one that wants them does not take a file without. */
    snprintf(path, sizeof path, "%s/b.vec", folder);
    CHECK_OK(vector_block_open(path, &w->space, 2, &plain, &err));
    vector_block_unref(plain);
    CHECK_OK(vector_block_new(&w->space, 2, &plain));
    vector_block_put(plain, 0, w->rows[0], codes_of(1, 3, codes));
    CHECK_EQ(vector_block_tokens(plain, 0).len, 0);
    CHECK_OK(vector_block_write(plain, folder, "c.vec", &again, &err));
    vector_block_unref(again);
    vector_block_unref(plain);
    snprintf(path, sizeof path, "%s/c.vec", folder);
    CHECK_EQ(vector_block_open(path, &with, 2, &again, &err), RAG_ECONFLICT);
    /* A flipped bit among the codes opens, and verify finds it; ends beyond the codes do not open. */
    snprintf(path, sizeof path, "%s/b.vec", folder);
    int fd = open(path, O_RDWR);
    CHECK(fd >= 0 && pwrite(fd, "?", 1, (off_t)file->len + 5) == 1 && close(fd) == 0);
    CHECK_EQ(vector_file_verify(path, &err), RAG_ECORRUPT);
    vector_block_unref(file);
    CHECK_OK(vector_block_open(path, &with, 2, &file, &err));
    CHECK_EQ(vector_file_verify(path, &err), RAG_ECORRUPT);
    vector_block_unref(file);
    for (const char *name = "abc"; *name; name++) {
        snprintf(path, sizeof path, "%s/%c.vec", folder, *name);
        CHECK_OK(file_remove(path));
    }
    world_free(w);
    remove_folder();
}

/* Opens changed bytes with a checksum that fits them, if asked. */
static rag_code open_changed(const struct vector_block *b, size_t len, size_t at, uint8_t flip,
                             bool right_checksum)
{
    char *copy = malloc(len + 1);
    memcpy(copy, b->base, len);
    if (flip)
        copy[at] = (char)(copy[at] ^ flip);
    if (right_checksum) {
        uint64_t sum = vectors_checksum(copy, len);
        memcpy(copy + offsetof(struct vec_header, checksum), &sum, sizeof sum);
    }
    struct vector_block *out;
    struct rag_err err;
    rag_code rc = vector_block_open_bytes(str_make(copy, len), &b->space, b->h->rows, &out, &err);
    if (!rc)
        vector_block_unref(out);
    free(copy);
    return rc;
}

TEST(damaged_files_are_refused)
{
    CHECK(mkdtemp(folder) != NULL);
    struct world *w = world_new();
    struct vector_block *b;
    struct rag_err err;
    snprintf(path, sizeof path, "%s/a.vec", folder);
    CHECK_OK(vector_block_write(w->b[0], folder, "a.vec", &b, &err));
    size_t len = b->len;
    CHECK_OK(open_changed(b, len, 0, 0, false));
    CHECK_OK(open_changed(b, len, 0, 0, true));
    for (size_t n = 0; n < len; n += n < 200 ? 1 : 97)
        CHECK_EQ(open_changed(b, n, 0, 0, n >= sizeof(struct vec_header)), RAG_ECORRUPT);
    for (size_t at = 0; at < len; at += 1 + at / 100) {
        rag_code rc = open_changed(b, len, at, 1, false);
        CHECK(rc == RAG_ECORRUPT || (at < 12 && rc == RAG_EVERSION));
    }
    CHECK_EQ(open_changed(b, len, offsetof(struct vec_header, version), 2, true), RAG_EVERSION);
    CHECK_EQ(open_changed(b, len, offsetof(struct vec_header, version), 1, true), RAG_EVERSION);
    CHECK_EQ(open_changed(b, len, offsetof(struct vec_header, rows) + 3, 255, true), RAG_ECORRUPT);
    CHECK_EQ(open_changed(b, len, offsetof(struct vec_header, dims) + 3, 255, true), RAG_ECORRUPT);
    CHECK_EQ(open_changed(b, len, offsetof(struct vec_header, present), 1, true), RAG_ECORRUPT);
    struct vec_layout l;
    CHECK(vectors_layout(DIMS, 120, &l));
    CHECK_EQ(open_changed(b, len, l.token_ends, 1, true), RAG_ECORRUPT);
    CHECK_EQ(open_changed(b, len, offsetof(struct vec_header, token_bytes), 8, true), RAG_ECORRUPT);
    CHECK_EQ(open_changed(b, len, l.present, 1, true), RAG_ECORRUPT); /* one fewer than the header says */
    CHECK_EQ(open_changed(b, len, l.present + 15, 0x80, true), RAG_ECORRUPT); /* beyond the last row */
    CHECK_EQ(open_changed(b, len, l.scales + 3, 0x80, true), RAG_ECORRUPT);   /* negative */
    CHECK_EQ(open_changed(b, len, l.alongs + 3, 0x7f, true), RAG_ECORRUPT);   /* huge or not a number */
    CHECK_OK(open_changed(b, len, l.upper, 255, true));
    CHECK(!vectors_layout(VECTOR_MAX_DIMS, UINT32_MAX, &l) || l.bytes > (size_t)UINT32_MAX * VECTOR_MAX_DIMS);
    vector_block_unref(b);
    world_free(w);
    remove_folder();
}

/* ---- one thread puts, others read -------------------------------------------------------------------------- */

struct filling {
    struct world *w;
    struct vector_block *b;
};

static void *fill(void *arg)
{
    struct filling *f = arg;
    for (uint32_t c = 0; c < 2000; c++)
        vector_block_put(f->b, (c * 7) % 2000, f->w->rows[120 + (c * 7) % 2000], str_make(NULL, 0));
    return NULL;
}

TEST(readers_see_whole_rows_while_a_block_fills)
{
    struct world *w = world_new();
    struct filling f = {.w = w};
    CHECK_OK(vector_block_new(&w->space, 2000, &f.b));
    list_free(w->list);
    w->list = list_with(list_new_empty(), w->s[1], f.b, NULL);
    float v[DIMS];
    struct dense_query *q = question(w, v);
    pthread_t t;
    CHECK_EQ(pthread_create(&t, NULL, fill, &f), 0);
    bool done = false;
    while (!done) {
        struct dense_result r;
        done = vector_block_present(f.b) == 2000;
        CHECK_OK(dense_search(w->list, 1, q, NULL, 10, 0, &w->a, &r));
        for (uint32_t i = 0; i < r.n; i++)
            CHECK_NEAR(r.hits[i].cosine, dot(v, w->rows[120 + r.hits[i].ref.chunk], DIMS), .002);
        CHECK(!done || r.n == 10);
        arena_reset(&w->a);
        CHECK_OK(dense_query_new(v, DIMS, &w->a, &q));
    }
    CHECK_EQ(pthread_join(t, NULL), 0);
    vector_block_unref(f.b);
    world_free(w);
}

/* A merge in the background copies rows of a block that the writer writes to its file. */
static void *write_often(void *arg)
{
    const struct vector_block *b = arg;
    for (int i = 0; i < 20; i++) {
        struct vector_block *file;
        CHECK_OK(vector_block_write(b, folder, "a.vec", &file, NULL));
        vector_block_unref(file);
    }
    return NULL;
}

TEST(rows_are_copied_while_their_block_is_written)
{
    enum { ROWS = 500 };
    CHECK(mkdtemp(folder) != NULL);
    struct world *w = world_new();
    char codes[64 * 64];
    for (uint32_t rules = 0; rules <= TOKEN_RULES; rules += TOKEN_RULES) {
        struct vector_space space = w->space;
        struct vector_block *from, *to;
        pthread_t t;
        space.token_rules = rules;
        CHECK_OK(vector_block_new(&space, ROWS, &from));
        for (uint32_t r = 0; r < ROWS; r++)
            vector_block_put(from, r, w->rows[r], codes_of(r, r % 5, codes));
        CHECK_EQ(pthread_create(&t, NULL, write_often, from), 0);
        for (int i = 0; i < 20; i++) {
            CHECK_OK(vector_block_new(&space, ROWS, &to));
            for (uint32_t r = 0; r < ROWS; r++)
                vector_block_copy(to, r, from, r);
            check_codes(to, 9, 9, rules ? 4 : 0);
            vector_block_unref(to);
        }
        CHECK_EQ(pthread_join(t, NULL), 0);
        vector_block_unref(from);
    }
    snprintf(path, sizeof path, "%s/a.vec", folder);
    CHECK_OK(file_remove(path));
    world_free(w);
    remove_folder();
}
