#include "test.h"

#include <stdlib.h>

#include "model/encoder.h"
#include "model/model_int.h"

/* A random model in memory, and the same forward pass in plain double precision. */
enum { VOCAB = 37, LAYERS = 3, WIDEST = 80, MOST_TOKENS = 24 };

static uint32_t seed = 99;
static float uniform(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return (float)seed / 4294967296.0f * 2 - 1;
}

struct fixture {
    struct model model;
    struct encoder_layer layers[LAYERS];
    float *plain[LAYERS][4]; /* row-major weights: qkv, attention_out, ffn_in, ffn_out */
    void *blocks[512];
    size_t n_blocks;
    struct buf tokenizer;
};

static void *block(struct fixture *f, size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    assert_non_null(p);
    return f->blocks[f->n_blocks++] = p;
}

static float *random_floats(struct fixture *f, size_t n, float size, float centre)
{
    float *p = block(f, n * sizeof *p);
    for (size_t i = 0; i < n; i++)
        p[i] = centre + size * uniform();
    return p;
}

static struct gemm_matrix random_matrix(struct fixture *f, uint32_t n, uint32_t k, bool quantized, float **plain)
{
    struct gemm_matrix m = {.n = n, .k = k, .bias = random_floats(f, gemm_pad_n(n), .2f, 0)};
    float *weights = *plain = random_floats(f, (size_t)n * k, 1.6f / sqrtf((float)k), 0);
    if (quantized) {
        int8_t *w = block(f, (size_t)gemm_pad_n(n) * gemm_pad_k(k));
        float *scale = block(f, gemm_pad_n(n) * sizeof *scale);
        int32_t *sum = block(f, gemm_pad_n(n) * sizeof *sum);
        gemm_pack(weights, n, k, w, scale, sum);
        m.w = w;
        m.scale = scale;
        m.sum = sum;
    } else {
        float *wf = block(f, (size_t)gemm_pad_n(n) * k * sizeof *wf);
        gemm_pack_f32(weights, n, k, wf);
        m.wf = wf;
    }
    return m;
}

static struct layer_norm random_norm(struct fixture *f, uint32_t n)
{
    return (struct layer_norm){random_floats(f, n, .3f, 1), random_floats(f, n, .3f, 0)};
}

static void make_tokenizer(struct fixture *f)
{
    static const char *const special[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]"};
    static char letters[VOCAB][2];
    struct str pieces[VOCAB];
    for (uint32_t i = 0; i < VOCAB; i++) {
        letters[i][0] = (char)(i - 4 < 26 ? 'a' + (i - 4) : '0' + (i - 30));
        pieces[i] = i < 4 ? str_make(special[i], strlen(special[i])) : str_make(letters[i], 1);
    }
    struct tokenizer_spec spec = {.kind = TOKENIZER_WORDPIECE,
                                  .pieces = pieces,
                                  .n_pieces = VOCAB,
                                  .unk = 1,
                                  .first = 2,
                                  .last = 3,
                                  .clean_text = true,
                                  .chinese_chars = true,
                                  .lowercase = true,
                                  .continuing_prefix = STR_LIT("##"),
                                  .max_word_chars = 100};
    struct rag_err err;
    buf_init(&f->tokenizer, MEM_MODEL);
    CHECK_OK(tokenizer_build(&spec, &f->tokenizer, &err));
    CHECK_OK(tokenizer_open(buf_str(&f->tokenizer), &f->model.tokenizer, &err));
}

static struct fixture *make(uint32_t hidden, uint32_t heads, enum model_weights weights, enum model_pooling pooling)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    bool quantized = weights == MODEL_INT8;
    f->model.info = (struct model_info){.pooling = pooling,
                                        .weights = weights,
                                        .normalize = true,
                                        .dims = hidden,
                                        .hidden = hidden,
                                        .heads = heads,
                                        .layers = LAYERS,
                                        .intermediate = WIDEST,
                                        .vocabulary = VOCAB,
                                        .max_tokens = MOST_TOKENS,
                                        .layer_norm_eps = 1e-12f};
    make_tokenizer(f);
    strcpy(f->model.info.query_prefix, "q r s ");
    f->model.word_f32 = random_floats(f, (size_t)VOCAB * hidden, 1, 0);
    f->model.position = random_floats(f, (size_t)MOST_TOKENS * hidden, 1, 0);
    f->model.embedding_norm = random_norm(f, hidden);
    f->model.layers = f->layers;
    for (int i = 0; i < LAYERS; i++)
        f->layers[i] = (struct encoder_layer){
            .qkv = random_matrix(f, 3 * hidden, hidden, quantized, &f->plain[i][0]),
            .attention_out = random_matrix(f, hidden, hidden, quantized, &f->plain[i][1]),
            .attention_norm = random_norm(f, hidden),
            .ffn_in = random_matrix(f, WIDEST, hidden, quantized, &f->plain[i][2]),
            .ffn_out = random_matrix(f, hidden, WIDEST, quantized, &f->plain[i][3]),
            .ffn_norm = random_norm(f, hidden),
        };
    return f;
}

static void destroy(struct fixture *f)
{
    tokenizer_close(f->model.tokenizer);
    buf_clear(&f->tokenizer);
    for (size_t i = 0; i < f->n_blocks; i++)
        free(f->blocks[i]);
    free(f);
}

/* ---- the reference ------------------------------------------------------------------------------------------- */
typedef double row[3 * WIDEST];

static void reference_linear(const struct gemm_matrix *m, const float *w, const double *x, double *y)
{
    for (uint32_t c = 0; c < m->n; c++) {
        y[c] = (double)m->bias[c];
        for (uint32_t i = 0; i < m->k; i++)
            y[c] += (double)w[(size_t)c * m->k + i] * x[i];
    }
}

static void reference_norm(double *x, const double *add, const struct layer_norm *l, uint32_t n)
{
    double mean = 0, var = 0;
    for (uint32_t i = 0; i < n; i++)
        mean += (x[i] += add ? add[i] : 0) / n;
    for (uint32_t i = 0; i < n; i++)
        var += (x[i] - mean) * (x[i] - mean) / n;
    for (uint32_t i = 0; i < n; i++)
        x[i] = (x[i] - mean) / sqrt(var + 1e-12) * (double)l->gamma[i] + (double)l->beta[i];
}

static void reference_layer(const struct fixture *f, int at, row *x, uint32_t n)
{
    static row qkv[MOST_TOKENS], context, y, wide;
    const struct encoder_layer *l = &f->layers[at];
    uint32_t hidden = f->model.info.hidden, dim = hidden / f->model.info.heads;
    for (uint32_t t = 0; t < n; t++)
        reference_linear(&l->qkv, f->plain[at][0], x[t], qkv[t]);
    for (uint32_t t = 0; t < n; t++) {
        for (uint32_t h = 0; h < hidden; h += dim) {
            double p[MOST_TOKENS], total = 0;
            for (uint32_t s = 0; s < n; s++) {
                double dot = 0;
                for (uint32_t c = h; c < h + dim; c++)
                    dot += qkv[t][c] * qkv[s][hidden + c];
                total += p[s] = exp(dot / sqrt(dim));
            }
            for (uint32_t c = h; c < h + dim; c++) {
                context[c] = 0;
                for (uint32_t s = 0; s < n; s++)
                    context[c] += p[s] / total * qkv[s][2 * hidden + c];
            }
        }
        reference_linear(&l->attention_out, f->plain[at][1], context, y);
        reference_norm(x[t], y, &l->attention_norm, hidden);
        reference_linear(&l->ffn_in, f->plain[at][2], x[t], wide);
        for (uint32_t i = 0; i < WIDEST; i++)
            wide[i] = wide[i] * .5 * (1 + erf(wide[i] / sqrt(2)));
        reference_linear(&l->ffn_out, f->plain[at][3], wide, y);
        reference_norm(x[t], y, &l->ffn_norm, hidden);
    }
}

/* Adds weight * vector of one window of ids, first and last included. */
static void reference_window(const struct fixture *f, const uint32_t *ids, uint32_t n, double weight, double *out)
{
    static row x[MOST_TOKENS];
    uint32_t hidden = f->model.info.hidden;
    for (uint32_t t = 0; t < n; t++) {
        for (uint32_t i = 0; i < hidden; i++)
            x[t][i] = (double)f->model.word_f32[ids[t] * hidden + i] + (double)f->model.position[t * hidden + i];
        reference_norm(x[t], NULL, &f->model.embedding_norm, hidden);
    }
    for (int l = 0; l < LAYERS; l++)
        reference_layer(f, l, x, n);
    row v = {0};
    double squares = 0;
    for (uint32_t i = 0; i < hidden; i++) {
        for (uint32_t t = 0; t < (f->model.info.pooling == MODEL_POOL_CLS ? 1 : n); t++)
            v[i] += x[t][i];
        squares += v[i] * v[i];
    }
    for (uint32_t i = 0; i < hidden; i++)
        out[i] += weight * v[i] / sqrt(squares);
}

static double cosine(const float *a, const double *b, uint32_t n)
{
    double ab = 0, aa = 0, bb = 0;
    for (uint32_t i = 0; i < n; i++) {
        ab += (double)a[i] * b[i];
        aa += (double)a[i] * (double)a[i];
        bb += b[i] * b[i];
    }
    return ab / sqrt(aa * bb);
}

/* Ids of single letters and digits with spaces between: one token each. */
static uint32_t window_of(const char *s, size_t from, size_t n, uint32_t *ids)
{
    uint32_t at = 0;
    ids[at++] = 2;
    for (size_t i = from; i < from + n; i++)
        ids[at++] = (uint32_t)(s[2 * i] >= 'a' ? s[2 * i] - 'a' + 4 : s[2 * i] - '0' + 30);
    ids[at++] = 3;
    return at;
}

enum { TEXTS = 30 };
static char letters[TEXTS][64];
static struct str texts[TEXTS];

static void make_texts(void)
{
    for (uint32_t i = 0; i < TEXTS; i++) {
        uint32_t n = i % (MOST_TOKENS - 1); /* up to a full window */
        for (uint32_t j = 0; j < n; j++) {
            letters[i][2 * j] = "abcdefghijklmnopqrstuvwxyz0123"[(i * 7 + j * j + j) % 30];
            letters[i][2 * j + 1] = ' ';
        }
        texts[i] = str_make(letters[i], n ? 2 * n - 1 : 0);
    }
}

static void check_model(uint32_t hidden, uint32_t heads, enum model_weights weights, enum model_pooling pooling,
                        double least)
{
    struct fixture *f = make(hidden, heads, weights, pooling);
    struct encoder *e;
    float out[TEXTS][WIDEST], alone[WIDEST];
    float *flat = calloc(TEXTS, hidden * sizeof *flat);
    uint64_t tokens;
    make_texts();
    CHECK_OK(encoder_new(&f->model, &e));
    CHECK_OK(encoder_run(e, ENCODE_PLAIN, texts, TEXTS, NULL, flat, &tokens));
    uint64_t expected = 0;
    for (uint32_t i = 0; i < TEXTS; i++) {
        uint32_t ids[MOST_TOKENS], n = window_of(letters[i], 0, (texts[i].len + 1) / 2, ids);
        double want[WIDEST] = {0};
        expected += n;
        memcpy(out[i], flat + i * hidden, hidden * sizeof(float));
        reference_window(f, ids, n, 1, want);
        double c = cosine(out[i], want, hidden);
        if (c < least) {
            print_error("text %u: cosine %.7f, at least %.7f wanted\n", i, c, least);
            fail();
        }
        CHECK_NEAR(cosine(out[i], (double[WIDEST]){1}, 1), out[i][0] > 0 ? 1 : -1, 1e-6);
        CHECK_OK(encoder_run(e, ENCODE_PLAIN, &texts[i], 1, NULL, alone, NULL));
        for (uint32_t k = 0; k < hidden; k++) /* a text's vector does not depend on its neighbours */
            CHECK(alone[k] == out[i][k]);
    }
    CHECK_EQ(tokens, expected);
    encoder_free(e);
    free(flat);
    destroy(f);
}

TEST(f32_model_equals_the_reference)
{
    check_model(48, 4, MODEL_F32, MODEL_POOL_MEAN, .99999);
    check_model(48, 4, MODEL_F32, MODEL_POOL_CLS, .99999);
    check_model(40, 5, MODEL_F32, MODEL_POOL_CLS, .99999);
}

TEST(int8_model_is_close_to_the_reference)
{
    check_model(64, 2, MODEL_INT8, MODEL_POOL_MEAN, .998);
    check_model(48, 4, MODEL_INT8, MODEL_POOL_CLS, .998);
    check_model(36, 3, MODEL_INT8, MODEL_POOL_MEAN, .998);
}

TEST(long_texts_run_as_overlapping_windows)
{
    struct fixture *f = make(48, 4, MODEL_F32, MODEL_POOL_MEAN);
    struct encoder *e;
    char s[101];
    float v[48];
    double want[48] = {0};
    uint32_t ids[MOST_TOKENS];
    uint64_t tokens;
    for (int i = 0; i < 50; i++) {
        s[2 * i] = (char)('a' + i * i % 26);
        s[2 * i + 1] = ' ';
    }
    CHECK_OK(encoder_new(&f->model, &e));
    /* 22 a window, overlap 2: 0-22, 20-42, and the last one, 28-50, which adds 8. */
    CHECK_OK(encoder_run(e, ENCODE_PLAIN, &(struct str){s, 99}, 1, NULL, v, &tokens));
    CHECK_EQ(tokens, 72);
    reference_window(f, ids, window_of(s, 0, 22, ids), 22 / 50.0, want);
    reference_window(f, ids, window_of(s, 20, 22, ids), 20 / 50.0, want);
    reference_window(f, ids, window_of(s, 28, 22, ids), 8 / 50.0, want);
    CHECK(cosine(v, want, 48) > .99999);

    /* The prefix opens each window: 19 of content a window, overlap 2. */
    CHECK_OK(encoder_run(e, ENCODE_QUERY, &(struct str){s, 99}, 1, NULL, v, &tokens));
    CHECK_EQ(tokens, 72);
    /* Beyond 64 windows nothing is read; an empty text is its prefix. */
    size_t big = 100000;
    char *p = malloc(big);
    for (size_t i = 0; i < big; i++)
        p[i] = i % 2 ? ' ' : 'b';
    CHECK_OK(encoder_run(e, ENCODE_PLAIN, &(struct str){p, big}, 1, NULL, v, &tokens));
    CHECK_EQ(tokens, 64 * MOST_TOKENS);
    CHECK_OK(encoder_run(e, ENCODE_QUERY, &(struct str){NULL, 0}, 1, NULL, v, &tokens));
    CHECK_EQ(tokens, 5);
    CHECK_OK(encoder_run(e, ENCODE_PLAIN, NULL, 0, NULL, NULL, &tokens));
    CHECK_EQ(tokens, 0);
    free(p);
    encoder_free(e);
    destroy(f);
}

TEST(many_texts_run_in_steps)
{
    enum { MANY = 700 };
    struct fixture *f = make(48, 4, MODEL_INT8, MODEL_POOL_CLS);
    struct encoder *e;
    static struct str many[MANY];
    static float all[MANY * 48], one[48];
    make_texts();
    for (uint32_t i = 0; i < MANY; i++)
        many[i] = texts[i < 300 ? 0 : i % TEXTS]; /* at first two tokens each: the window table fills before the step */
    CHECK_OK(encoder_new(&f->model, &e));
    CHECK_OK(encoder_run(e, ENCODE_PLAIN, many, MANY, NULL, all, NULL));
    for (uint32_t i = 0; i < MANY; i += 13) {
        CHECK_OK(encoder_run(e, ENCODE_PLAIN, &many[i], 1, NULL, one, NULL));
        CHECK(memcmp(one, all + i * 48, sizeof one) == 0);
    }
    encoder_free(e);
    destroy(f);
}

TEST(cancel_and_failed_allocations)
{
    struct fixture *f = make(48, 4, MODEL_INT8, MODEL_POOL_MEAN);
    static float out[TEXTS * 48];
    make_texts();
    bool fired = true;
    for (unsigned nth = 1; fired; nth++) {
        struct encoder *e = NULL;
        fault_arm_alloc(nth);
        rag_code rc = encoder_new(&f->model, &e);
        if (!rc)
            rc = encoder_run(e, ENCODE_QUERY, texts, TEXTS, NULL, out, NULL);
        fired = fault_disarm();
        CHECK_EQ(rc, fired ? RAG_ENOMEM : RAG_OK);
        if (e) /* and it works again afterwards */
            CHECK_OK(encoder_run(e, ENCODE_QUERY, texts, TEXTS, NULL, out, NULL));
        encoder_free(e);
    }
    struct encoder *e;
    atomic_bool cancel = true;
    CHECK_OK(encoder_new(&f->model, &e));
    CHECK_EQ(encoder_run(e, ENCODE_PLAIN, texts, 1, &cancel, out, NULL), RAG_ECANCELED);
    CHECK_OK(encoder_run(e, ENCODE_PLAIN, texts, 1, NULL, out, NULL));
    encoder_free(e);
    destroy(f);
}
