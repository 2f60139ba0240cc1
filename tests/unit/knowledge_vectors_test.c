/* Vectors beside the segments: claimed, applied, kept over merges, restarts and damage, replaced by another model's. The
 * vectors are made up from the text, so that each can be told from every other. */
#include "test.h"

#include "temp_dir.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "index/dense.h"
#include "pipeline/knowledge.h"

enum { DIMS = 48 };

static struct analyzer *an;
static float mean[DIMS];
static struct vector_space first = {.digest = {1, 2, 3}, .dims = DIMS, .mean = mean};
static struct vector_space second = {.digest = {9, 8, 7}, .dims = DIMS, .mean = mean};

static void fresh_dir(void)
{
    if (!an)
        CHECK_OK(analyzer_new(NULL, 0, &an, NULL));
    temp_dir_make();
}

static struct knowledge *open_with(const struct vector_space *now, const struct vector_space *old, uint32_t flush)
{
    struct knowledge *k;
    struct rag_err err = {0};
    struct knowledge_options opt = {.dir = dir,
                                    .chunker = {256, 32},
                                    .analyzer = an,
                                    .flush_chunks = flush,
                                    .wait_ready = true,
                                    .spaces = {now, old},
                                    .model_name = "made-up"};
    rag_code rc = knowledge_open(&opt, &k, &err);
    if (rc)
        print_error("%s\n", err.msg);
    CHECK_OK(rc);
    return k;
}

static void put(struct knowledge *k, const char *id, const char *text)
{
    struct doc_input d = {.id = str_of(id)};
    struct doc_result r = {0};
    text_doc_init(&d.doc);
    buf_addz(&d.doc.text, text);
    struct text_block b = {.start = 0, .end = (uint32_t)strlen(text), .kind = BLOCK_PARAGRAPH};
    BUF_ADD_VALUE(&d.doc.blocks, b);
    struct job j = {.kind = JOB_PUT, .collection = STR_LIT("default"), .docs = &d, .results = &r, .n = 1};
    CHECK_OK(knowledge_apply(k, &j));
    CHECK_OK(r.code);
    text_doc_clear(&d.doc);
}

static void put_many(struct knowledge *k, int from, int to)
{
    for (int i = from; i < to; i++) {
        char id[32], text[64];
        snprintf(id, sizeof id, "doc%d", i);
        snprintf(text, sizeof text, "passage number %d", i);
        put(k, id, text);
    }
}

/* A unit vector that the text decides. */
static void vector_of(struct str text, float out[DIMS])
{
    uint64_t x = 1469598103934665603U;
    for (size_t i = 0; i < text.len; i++)
        x = (x ^ (unsigned char)text.ptr[i]) * 1099511628211U;
    double sum = 0;
    for (int d = 0; d < DIMS; d++) {
        x = x * 6364136223846793005U + 1442695040888963407U;
        out[d] = (float)((double)(x >> 40) / (1 << 23) - 1);
        sum += (double)out[d] * (double)out[d];
    }
    for (int d = 0; d < DIMS; d++)
        out[d] = (float)((double)out[d] / sqrt(sum));
}

/* Claims until nothing is missing; returns how many were. */
static uint32_t embed_all(struct knowledge *k)
{
    uint32_t n = 0;
    static struct missing_vectors m;
    for (;;) {
        struct arena a = {0};
        static struct vector_row rows[MISSING_MOST];
        static float v[MISSING_MOST][DIMS];
        CHECK_OK(knowledge_vectors_claim(k, 1000, &a, &m));
        for (uint32_t i = 0; i < m.n; i++) {
            vector_of(m.items[i].text, v[i]);
            rows[i] = (struct vector_row){.seq = m.items[i].seq, .ordinal = m.items[i].ordinal, .vector = v[i]};
        }
        struct job j = {.kind = JOB_VECTORS, .collection = str_of(m.collection), .rows = rows, .n = m.n};
        if (m.n)
            CHECK_OK(knowledge_apply(k, &j));
        knowledge_vectors_release(k, &m);
        arena_clear(&a);
        n += m.n;
        if (m.n == 0)
            return n;
    }
}

/* Document id of the nearest chunk to a text's vector, with its cosine. */
static float nearest(struct knowledge *k, uint32_t slot, const char *text, char id[64])
{
    const struct segment_list *l;
    struct arena a = {0};
    struct dense_query *q;
    struct dense_result r;
    float v[DIMS];
    vector_of(str_of(text), v);
    CHECK_OK(knowledge_pin(k, STR_LIT("default"), &l));
    CHECK_OK(dense_query_new(v, DIMS, &a, &q));
    CHECK_OK(dense_search(l, slot, q, &(struct filter){0}, 1, 0, &a, &r));
    float c = 0;
    id[0] = 0;
    if (r.n) {
        struct chunk_view view;
        segment_chunk(l->e[r.hits[0].ref.entry].segment, r.hits[0].ref.chunk, &view);
        snprintf(id, 64, "%.*s", (int)view.document_id.len, view.document_id.ptr);
        c = r.hits[0].cosine;
    }
    knowledge_unpin(k);
    arena_clear(&a);
    return c;
}

static void check_nearest(struct knowledge *k, uint32_t slot, int from, int to)
{
    for (int i = from; i < to; i++) {
        char text[64], id[64], want[64];
        snprintf(text, sizeof text, "passage number %d", i);
        snprintf(want, sizeof want, "doc%d", i);
        CHECK(nearest(k, slot, text, id) > 0.98F);
        assert_string_equal(id, want);
    }
}

static uint64_t missing(struct knowledge *k)
{
    struct knowledge_stats s;
    knowledge_stats(k, &s);
    return s.vectors_missing;
}

static void delete_doc(struct knowledge *k, const char *id)
{
    struct doc_input d = {.id = str_of(id)};
    struct doc_result r = {0};
    struct job j = {.kind = JOB_DELETE, .collection = STR_LIT("default"), .docs = &d, .results = &r, .n = 1};
    CHECK_OK(knowledge_apply(k, &j));
    CHECK_OK(r.code);
}

/* Vector files whose name holds `model`. */
static int companions_of(const char *model)
{
    char path[128];
    int n = 0;
    snprintf(path, sizeof path, "%s/segments", dir);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));)
        n += strstr(e->d_name, ".vec") && strstr(e->d_name, model);
    if (d)
        closedir(d);
    return n;
}

static int companions(void)
{
    return companions_of("");
}

TEST(vectors_follow_documents_and_survive_merges_and_a_restart)
{
    fresh_dir();
    struct knowledge *k = open_with(&first, NULL, 16);
    put_many(k, 0, 10);
    CHECK_EQ(missing(k), 10);
    CHECK_EQ(embed_all(k), 10);
    CHECK_EQ(missing(k), 0);
    put_many(k, 10, 100); /* merges in memory and into files */
    CHECK_EQ(embed_all(k), 90);
    check_nearest(k, 0, 0, 100);
    knowledge_close(k);
    CHECK(companions() > 0);
    k = open_with(&first, NULL, 16);
    CHECK_EQ(missing(k), 0);
    check_nearest(k, 0, 0, 100);
    knowledge_close(k);
    temp_dir_drop();
}

TEST(a_replaced_document_is_embedded_again_and_its_old_vector_is_gone)
{
    fresh_dir();
    struct knowledge *k = open_with(&first, NULL, 0);
    char id[64];
    put(k, "a", "one text");
    put(k, "b", "another text");
    CHECK_EQ(embed_all(k), 2);
    put(k, "a", "a third text");
    CHECK_EQ(missing(k), 1);
    CHECK(nearest(k, 0, "one text", id) < 0.9F);
    CHECK_EQ(embed_all(k), 1);
    CHECK(nearest(k, 0, "a third text", id) > 0.98F);
    assert_string_equal(id, "a");
    delete_doc(k, "b");
    nearest(k, 0, "another text", id);
    assert_string_equal(id, "a");
    knowledge_close(k);
    temp_dir_drop();
}

static rag_code count_vector(void *ctx, uint32_t ordinal, struct str vector)
{
    CHECK_EQ(ordinal, 0);
    CHECK_EQ(vector.len, 2 * DIMS);
    ++*(uint32_t *)ctx;
    return RAG_OK;
}

/* Without its companion files a folder reads its vectors from the database: nothing is embedded twice. */
TEST(lost_companions_come_back_from_the_store)
{
    fresh_dir();
    struct knowledge *k = open_with(&first, NULL, 16);
    put_many(k, 0, 40);
    CHECK_EQ(embed_all(k), 40);
    knowledge_close(k);
    char cmd[256];
    snprintf(cmd, sizeof cmd, "for f in %s/segments/*.vec; do printf damage > $f; done", dir);
    CHECK_EQ(system(cmd), 0);
    k = open_with(&first, NULL, 16);
    CHECK_EQ(missing(k), 40);
    struct store_reader *r;
    CHECK_OK(knowledge_reader(k, &r, NULL));
    struct arena a = {0};
    static struct missing_vectors m;
    CHECK_OK(knowledge_vectors_claim(k, 1 << 20, &a, &m));
    CHECK_EQ(m.n, 40);
    struct store_model *models;
    uint32_t n_models;
    CHECK_OK(store_models(r, &a, &models, &n_models, NULL));
    CHECK_EQ(n_models, 1);
    CHECK_EQ(models[0].id, m.model);
    CHECK_EQ(models[0].dims, DIMS);
    for (uint32_t i = 0; i < m.n; i++) {
        uint32_t in_store = 0;
        CHECK_OK(store_vectors(r, m.model, m.items[i].seq, 0, UINT32_MAX, count_vector, &in_store, NULL));
        CHECK_EQ(in_store, 1);
    }
    knowledge_vectors_release(k, &m);
    knowledge_reader_give(k, r);
    arena_clear(&a);
    knowledge_close(k);
    temp_dir_drop();
}

/* A document dies between the claim of its chunk and its vector: the block may be complete without it, and mapped. */
TEST(a_vector_that_comes_too_late_is_no_harm)
{
    fresh_dir();
    struct knowledge *k = open_with(&first, NULL, 16);
    static struct missing_vectors late;
    struct arena a = {0};
    float v[DIMS];
    put_many(k, 0, 64);
    CHECK_OK(knowledge_vectors_claim(k, 1, &a, &late));
    CHECK_EQ(late.n, 1);
    char id[64];
    static const char before[] = "passage number ";
    struct str text = late.items[0].text;
    snprintf(id, sizeof id, "doc%.*s", (int)(text.len - strlen(before)), text.ptr + strlen(before));
    CHECK_EQ(embed_all(k), 63);
    delete_doc(k, id);
    for (int i = 0; i < 100 && !companions(); i++) /* written by the writer when it has nothing else to do */
        usleep(50000);
    CHECK(companions() > 0);
    vector_of(late.items[0].text, v);
    struct vector_row row = {.seq = late.items[0].seq, .ordinal = late.items[0].ordinal, .vector = v};
    struct job j = {.kind = JOB_VECTORS, .collection = STR_LIT("default"), .rows = &row, .n = 1};
    CHECK_OK(knowledge_apply(k, &j));
    knowledge_vectors_release(k, &late);
    CHECK_EQ(missing(k), 0);
    arena_clear(&a);
    knowledge_close(k);
    temp_dir_drop();
}

TEST(merges_keep_the_vectors_of_a_replaced_model)
{
    fresh_dir();
    struct knowledge *k = open_with(&first, NULL, 16);
    put_many(k, 0, 40);
    embed_all(k);
    knowledge_close(k);
    k = open_with(&second, &first, 16);
    for (int i = 0; i < 25; i++) { /* most of its file: it is written anew */
        char id[16];
        snprintf(id, sizeof id, "doc%d", i);
        delete_doc(k, id);
    }
    struct knowledge_stats s = {0};
    for (int i = 0; i < 100 && !s.merges; i++) {
        usleep(50000);
        knowledge_stats(k, &s);
    }
    CHECK(s.merges > 0);
    CHECK(companions_of("-010203") > 0); /* in a file at once: nothing but it has the old vectors */
    check_nearest(k, 1, 25, 40);
    put_many(k, 40, 200); /* merges in memory and of files */
    check_nearest(k, 1, 25, 40);
    knowledge_close(k);
    k = open_with(&second, &first, 16);
    CHECK_EQ(knowledge_dense_slot(k), 1);
    check_nearest(k, 1, 25, 40);
    knowledge_close(k);
    temp_dir_drop();
}

TEST(two_claims_never_share_a_chunk)
{
    fresh_dir();
    struct knowledge *k = open_with(&first, NULL, 0);
    struct arena a = {0};
    static struct missing_vectors x, y;
    put_many(k, 0, 6);
    CHECK_OK(knowledge_vectors_claim(k, 1, &a, &x)); /* bytes for one only */
    CHECK_EQ(x.n, 1);
    CHECK_OK(knowledge_vectors_claim(k, 1 << 20, &a, &y));
    CHECK_EQ(y.n, 5);
    for (uint32_t i = 0; i < y.n; i++)
        CHECK(y.items[i].seq != x.items[0].seq);
    knowledge_vectors_release(k, &x);
    knowledge_vectors_release(k, &y);
    CHECK_OK(knowledge_vectors_claim(k, 1 << 20, &a, &x));
    CHECK_EQ(x.n, 6);
    knowledge_vectors_release(k, &x);
    arena_clear(&a);
    knowledge_close(k);
    temp_dir_drop();
}

TEST(a_replaced_model_serves_until_the_new_one_is_complete)
{
    fresh_dir();
    struct knowledge *k = open_with(&first, NULL, 16);
    put_many(k, 0, 40);
    embed_all(k);
    knowledge_close(k);
    k = open_with(&second, &first, 16);
    CHECK_EQ(knowledge_dense_slot(k), 1);
    CHECK(knowledge_has_replaced(k));
    CHECK_EQ(missing(k), 40);
    check_nearest(k, 1, 0, 40); /* the old model's vectors */
    CHECK_EQ(embed_all(k), 40);
    check_nearest(k, 0, 0, 40);
    struct job j = {.kind = JOB_DROP_REPLACED, .collection = STR_LIT("default")};
    CHECK_OK(knowledge_apply(k, &j));
    CHECK_EQ(knowledge_dense_slot(k), 0);
    CHECK(!knowledge_has_replaced(k));
    check_nearest(k, 0, 0, 40);
    struct store_reader *r;
    struct store_model *models;
    uint32_t n_models;
    struct arena a = {0};
    CHECK_OK(knowledge_reader(k, &r, NULL));
    CHECK_OK(store_models(r, &a, &models, &n_models, NULL));
    CHECK_EQ(n_models, 1);
    CHECK_EQ(models[0].digest[0], 9);
    knowledge_reader_give(k, r);
    arena_clear(&a);
    knowledge_close(k);
    k = open_with(&second, NULL, 16);
    CHECK_EQ(missing(k), 0);
    check_nearest(k, 0, 0, 40);
    knowledge_close(k);
    temp_dir_drop();
}

TEST(without_a_model_a_folder_that_has_vectors_opens)
{
    fresh_dir();
    struct knowledge *k = open_with(&first, NULL, 16);
    put_many(k, 0, 20);
    embed_all(k);
    knowledge_close(k);
    k = open_with(NULL, NULL, 16);
    CHECK_EQ(missing(k), 0);
    put_many(k, 20, 24);
    knowledge_close(k);
    CHECK(companions() > 0); /* kept for this start */
    k = open_with(&first, NULL, 16);
    CHECK_EQ(missing(k), 4);
    check_nearest(k, 0, 0, 20);
    knowledge_close(k);
    temp_dir_drop();
}
