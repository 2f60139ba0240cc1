#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/half.h"
#include "model/encoder.h"
#include "model/model_format.h"
#include "model/model_int.h"
#include "model/safetensors.h"
#include "sys/file.h"

/* ---- a model folder of a few kilobytes, with one thing wrong when asked for ------------------------------- */
enum { HIDDEN = 24, LAYERS = 2, HEADS = 3, INNER = 40, VOCABULARY = 45, POSITIONS = 34 };

struct tiny {
    bool xlmr;
    const char *prefix; /* of the tensors' names */
    const char *type;   /* "F32" when NULL */
    const char *drop;   /* this tensor is missing */
    const char *nan;    /* this one has a NaN at its end */
    const char *shape;  /* this one has a row too much */
    const char *other;  /* this one says it is I8 */
    uint32_t seed;
};

struct folder {
    char dir[64], out[80];
};

static void folder_new(struct folder *f)
{
    snprintf(f->dir, sizeof f->dir, "/tmp/ragd-model-XXXXXX");
    CHECK(mkdtemp(f->dir) != NULL);
    snprintf(f->out, sizeof f->out, "%s/x.ragm", f->dir);
}

static void remove_tree(const char *dir)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        char path[600];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (unlink(path) != 0)
            remove_tree(path);
    }
    if (d)
        closedir(d);
    rmdir(dir);
}

static void put(const struct folder *f, const char *file, const char *text)
{
    char dir[160];
    snprintf(dir, sizeof dir, "%s/%s", f->dir, file);
    *strrchr(dir, '/') = 0;
    mkdir(dir, 0700);
    CHECK_OK(file_write_atomic(f->dir, file, text, strlen(text), NULL));
}

static float value(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return ((float)(*state >> 8) / 16777216 - 0.5F) * 0.4F;
}

struct writer {
    const struct tiny *t;
    struct buf header, data;
    uint32_t state;
};

static void tensor(struct writer *w, const char *name, uint32_t rows, uint32_t columns)
{
    const struct tiny *t = w->t;
    const char *type = t->type ? t->type : "F32";
    if (t->drop && strcmp(t->drop, name) == 0)
        return;
    if (t->shape && strcmp(t->shape, name) == 0)
        rows += rows ? 1 : 0, columns += rows ? 0 : 1;
    if (t->other && strcmp(t->other, name) == 0)
        type = "I8";
    size_t n = (size_t)(rows ? rows : 1) * columns, begin = w->data.len;
    for (size_t i = 0; i < n; i++) {
        float v = value(&w->state);
        if (strstr(name, "LayerNorm.weight"))
            v += 1;
        if (t->nan && strcmp(t->nan, name) == 0 && i == n - 1)
            v = NAN;
        uint16_t h;
        uint32_t bits;
        memcpy(&bits, &v, sizeof bits);
        h = strcmp(type, "F16") == 0 ? float_to_half(v) : (uint16_t)(bits >> 16);
        if (strcmp(type, "F32") == 0)
            BUF_ADD_VALUE(&w->data, v);
        else if (strcmp(type, "I8") == 0)
            buf_addc(&w->data, 1);
        else
            BUF_ADD_VALUE(&w->data, h);
    }
    buf_addf(&w->header, "%c\"%s%s\":{\"dtype\":\"%s\",\"shape\":", w->header.len ? ',' : '{', t->prefix ? t->prefix : "",
             name, type);
    if (rows)
        buf_addf(&w->header, "[%u,%u]", rows, columns);
    else
        buf_addf(&w->header, "[%u]", columns);
    buf_addf(&w->header, ",\"data_offsets\":[%zu,%zu]}", begin, w->data.len);
}

static void write_tensors(const struct folder *f, const struct tiny *t)
{
    static const char *const attention[] = {"query", "key", "value"};
    struct writer w = {.t = t, .state = t->seed + 1};
    char name[100];
    buf_init(&w.header, MEM_MISC);
    buf_init(&w.data, MEM_MISC);
    tensor(&w, "embeddings.word_embeddings.weight", VOCABULARY, HIDDEN);
    tensor(&w, "embeddings.position_embeddings.weight", POSITIONS, HIDDEN);
    tensor(&w, "embeddings.token_type_embeddings.weight", t->xlmr ? 1 : 2, HIDDEN);
    tensor(&w, "embeddings.LayerNorm.weight", 0, HIDDEN);
    tensor(&w, "embeddings.LayerNorm.bias", 0, HIDDEN);
    for (uint32_t i = 0; i < LAYERS; i++) {
#define NAMED(...) (snprintf(name, sizeof name, __VA_ARGS__), name)
        for (int k = 0; k < 3; k++) {
            tensor(&w, NAMED("encoder.layer.%u.attention.self.%s.weight", i, attention[k]), HIDDEN, HIDDEN);
            tensor(&w, NAMED("encoder.layer.%u.attention.self.%s.bias", i, attention[k]), 0, HIDDEN);
        }
        tensor(&w, NAMED("encoder.layer.%u.attention.output.dense.weight", i), HIDDEN, HIDDEN);
        tensor(&w, NAMED("encoder.layer.%u.attention.output.dense.bias", i), 0, HIDDEN);
        tensor(&w, NAMED("encoder.layer.%u.attention.output.LayerNorm.weight", i), 0, HIDDEN);
        tensor(&w, NAMED("encoder.layer.%u.attention.output.LayerNorm.bias", i), 0, HIDDEN);
        tensor(&w, NAMED("encoder.layer.%u.intermediate.dense.weight", i), INNER, HIDDEN);
        tensor(&w, NAMED("encoder.layer.%u.intermediate.dense.bias", i), 0, INNER);
        tensor(&w, NAMED("encoder.layer.%u.output.dense.weight", i), HIDDEN, INNER);
        tensor(&w, NAMED("encoder.layer.%u.output.dense.bias", i), 0, HIDDEN);
        tensor(&w, NAMED("encoder.layer.%u.output.LayerNorm.weight", i), 0, HIDDEN);
        tensor(&w, NAMED("encoder.layer.%u.output.LayerNorm.bias", i), 0, HIDDEN);
#undef NAMED
    }
    tensor(&w, "pooler.dense.weight", HIDDEN, HIDDEN); /* left out by the import */
    buf_addc(&w.header, '}');
    struct buf file;
    buf_init(&file, MEM_MISC);
    uint64_t len = w.header.len;
    BUF_ADD_VALUE(&file, len);
    buf_adds(&file, buf_str(&w.header));
    buf_adds(&file, buf_str(&w.data));
    CHECK(!buf_failed(&file));
    CHECK_OK(file_write_atomic(f->dir, "model.safetensors", file.ptr, file.len, NULL));
    buf_clear(&file);
    buf_clear(&w.header);
    buf_clear(&w.data);
}

static void write_config(const struct folder *f, bool xlmr, const char *extra)
{
    char text[1000];
    snprintf(text, sizeof text,
             "{\"model_type\":\"%s\",\"hidden_size\":%d,\"num_hidden_layers\":%d,\"num_attention_heads\":%d,"
             "\"intermediate_size\":%d,\"vocab_size\":%d,\"max_position_embeddings\":%d,\"type_vocab_size\":%d,"
             "\"pad_token_id\":%d,\"hidden_act\":\"gelu\",\"layer_norm_eps\":1e-5%s}",
             xlmr ? "xlm-roberta" : "bert", HIDDEN, LAYERS, HEADS, INNER, VOCABULARY, POSITIONS, xlmr ? 1 : 2, xlmr, extra);
    put(f, "config.json", text);
}

static const char wordpiece[] =
    "{\"added_tokens\":[{\"id\":0,\"content\":\"[PAD]\",\"special\":true},{\"id\":1,\"content\":\"[UNK]\",\"special\":true},"
    "{\"id\":2,\"content\":\"[CLS]\",\"special\":true},{\"id\":3,\"content\":\"[SEP]\",\"special\":true}],"
    "\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,"
    "\"strip_accents\":null,\"lowercase\":true},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"[CLS]\",\"type_id\":0}},"
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"[SEP]\",\"type_id\":0}}],\"pair\":[],"
    "\"special_tokens\":{\"[CLS]\":{\"id\":\"[CLS]\",\"ids\":[2],\"tokens\":[\"[CLS]\"]},"
    "\"[SEP]\":{\"id\":\"[SEP]\",\"ids\":[3],\"tokens\":[\"[SEP]\"]}}},"
    "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","
    "\"max_input_chars_per_word\":100,\"vocab\":{\"[PAD]\":0,\"[UNK]\":1,\"[CLS]\":2,\"[SEP]\":3,\"the\":4,\"a\":5,\"b\":6,"
    "\"##a\":7,\"##b\":8,\"##s\":9,\"of\":10,\".\":11,\"卡\":12,\"年\":13,\"费\":14,\"。\":15,\"is\":16,\"##e\":17,\"t\":18,"
    "\"##t\":19}}}";
static const char unigram[] =
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true},{\"id\":1,\"content\":\"<pad>\",\"special\":true},"
    "{\"id\":2,\"content\":\"</s>\",\"special\":true},{\"id\":3,\"content\":\"<unk>\",\"special\":true}],"
    "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"▁\",\"add_prefix_space\":true},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"</s>\",\"type_id\":0}}],\"pair\":[],"
    "\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[0],\"tokens\":[\"<s>\"]},"
    "\"</s>\":{\"id\":\"</s>\",\"ids\":[2],\"tokens\":[\"</s>\"]}}},"
    "\"model\":{\"type\":\"Unigram\",\"unk_id\":3,\"vocab\":[[\"<s>\",0],[\"<pad>\",0],[\"</s>\",0],[\"<unk>\",0],"
    "[\"▁\",-2.5],[\"a\",-3],[\"b\",-3],[\"e\",-3],[\"t\",-3],[\"the\",-4],[\"▁the\",-3.5],[\"卡\",-5],[\"年费\",-6],[\".\",-4]]}}";

static void folder_fill(const struct folder *f, const struct tiny *t)
{
    write_config(f, t->xlmr, "");
    put(f, "tokenizer.json", t->xlmr ? unigram : wordpiece);
    write_tensors(f, t);
}

static rag_code import_as(const struct folder *f, const char *name, enum model_weights weights, struct rag_err *err)
{
    struct model_import_options opt = {.name = name, .weights = weights};
    return model_import(f->dir, &opt, f->out, err);
}

static unsigned files_like(const char *dir, const char *ending)
{
    unsigned n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        size_t a = strlen(e->d_name), b = strlen(ending);
        n += a >= b && strcmp(e->d_name + a - b, ending) == 0;
    }
    if (d)
        closedir(d);
    return n;
}

/* The import is refused with this code, says this, and leaves no file. */
static void refused(const struct folder *f, rag_code want, const char *says)
{
    struct rag_err err = {0};
    rag_code rc = import_as(f, NULL, MODEL_INT8, &err);
    if (rc != want || !strstr(err.msg, says)) {
        print_error("got %s \"%s\", want %s \"%s\"\n", rag_code_name(rc), err.msg, rag_code_name(want), says);
        fail();
    }
    CHECK_EQ(files_like(f->dir, ".ragm"), 0);
    CHECK_EQ(files_like(f->dir, ".tmp"), 0);
}

/* ---- what an import makes ----------------------------------------------------------------------------------- */
static float weight_of(const struct gemm_matrix *m, uint32_t channel, uint32_t input)
{
    size_t block = (size_t)(channel / GEMM_N) * GEMM_N;
    if (m->wf)
        return m->wf[block * m->k + (size_t)input * GEMM_N + channel % GEMM_N];
    return m->scale[channel] *
           (float)m->w[block * gemm_pad_k(m->k) + (size_t)(input / 4) * 64 + channel % GEMM_N * 4 + input % 4];
}

/* Tensor `name` of the folder as f32. */
static float *floats_of(const struct folder *f, const char *name)
{
    char path[100];
    struct safetensors *st = NULL;
    snprintf(path, sizeof path, "%s/model.safetensors", f->dir);
    CHECK_OK(safetensors_open(path, &st, NULL));
    const struct safetensor *t = safetensors_find(st, name);
    CHECK(t != NULL);
    float *v = malloc(t->n * sizeof *v);
    CHECK(v != NULL);
    safetensor_read(t, 0, t->n, v);
    safetensors_close(st);
    return v;
}

static void check_matrix(const struct folder *f, const struct gemm_matrix *m, uint32_t first, const char *name, uint32_t n)
{
    float *w = floats_of(f, name);
    for (uint32_t c = 0; c < n; c++)
        for (uint32_t i = 0; i < m->k; i++)
            CHECK_NEAR(weight_of(m, first + c, i), w[(size_t)c * m->k + i], m->wf ? 0 : 0.2 / GEMM_WEIGHT_MAX);
    free(w);
}

static void check_packed(const struct folder *f, const struct tiny *t, enum model_weights weights)
{
    struct model *m = NULL;
    struct rag_err err = {0};
    CHECK_OK(model_open(f->out, true, &m, &err));
    const struct model_info *in = model_info(m);
    uint32_t offset = t->xlmr ? 2 : 0;
    CHECK_EQ(in->arch, t->xlmr ? MODEL_XLMR : MODEL_BERT);
    CHECK_EQ(in->weights, weights);
    CHECK_EQ(in->dims, HIDDEN);
    CHECK_EQ(in->max_tokens, POSITIONS - offset);
    CHECK_NEAR(in->layer_norm_eps, 1e-5, 1e-12);
    CHECK_EQ(tokenizer_first(model_tokenizer(m)), t->xlmr ? 0 : 2);
    float *position = floats_of(f, "embeddings.position_embeddings.weight");
    float *type = floats_of(f, "embeddings.token_type_embeddings.weight");
    float *word = floats_of(f, "embeddings.word_embeddings.weight");
    for (uint32_t i = 0; i < in->max_tokens * HIDDEN; i++)
        CHECK_NEAR(m->position[i], position[offset * HIDDEN + i] + type[i % HIDDEN], 1e-7);
    for (uint32_t i = 0; i < VOCABULARY * HIDDEN; i++)
        if (weights == MODEL_F32)
            CHECK_NEAR(m->word_f32[i], word[i], 0);
        else
            CHECK_NEAR(m->word_scale[i / HIDDEN] * (float)m->word[i], word[i], 0.11 / 127);
    free(position);
    free(type);
    free(word);
    const struct encoder_layer *l = &m->layers[1];
    check_matrix(f, &l->qkv, 0, "encoder.layer.1.attention.self.query.weight", HIDDEN);
    check_matrix(f, &l->qkv, HIDDEN, "encoder.layer.1.attention.self.key.weight", HIDDEN);
    check_matrix(f, &l->qkv, 2 * HIDDEN, "encoder.layer.1.attention.self.value.weight", HIDDEN);
    check_matrix(f, &l->ffn_in, 0, "encoder.layer.1.intermediate.dense.weight", INNER);
    check_matrix(f, &l->ffn_out, 0, "encoder.layer.1.output.dense.weight", HIDDEN);
    float *bias = floats_of(f, "encoder.layer.1.attention.self.value.bias");
    float *beta = floats_of(f, "encoder.layer.1.output.LayerNorm.bias");
    for (uint32_t i = 0; i < HIDDEN; i++) {
        CHECK_NEAR(l->qkv.bias[2 * HIDDEN + i], bias[i], 0);
        CHECK_NEAR(l->ffn_norm.beta[i], beta[i], 0);
        CHECK((uintptr_t)l->qkv.bias % 64 == 0 && (uintptr_t)l->ffn_norm.beta % 64 == 0);
    }
    free(bias);
    free(beta);
    model_close(m);
}

TEST(an_import_holds_what_the_folder_held)
{
    for (int xlmr = 0; xlmr <= 1; xlmr++)
        for (int weights = MODEL_INT8; weights <= MODEL_F32; weights++) {
            struct folder f;
            struct tiny t = {.xlmr = xlmr};
            struct rag_err err = {0};
            folder_new(&f);
            folder_fill(&f, &t);
            rag_code rc = import_as(&f, NULL, (enum model_weights)weights, &err);
            if (rc)
                print_error("%s\n", err.msg);
            CHECK_OK(rc);
            CHECK_EQ(files_like(f.dir, ".tmp"), 0);
            check_packed(&f, &t, (enum model_weights)weights);
            remove_tree(f.dir);
        }
}

TEST(half_floats_and_prefixes_of_names_are_taken)
{
    static const char *const prefixes[] = {"bert.", "roberta.", "0.auto_model."};
    static const char *const types[] = {"F16", "BF16"};
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < 2; k++) {
            struct folder f;
            struct tiny t = {.prefix = prefixes[i], .type = types[k]};
            struct model *m = NULL;
            folder_new(&f);
            folder_fill(&f, &t);
            CHECK_OK(import_as(&f, NULL, MODEL_F32, NULL));
            CHECK_OK(model_open(f.out, true, &m, NULL));
            uint32_t random = 1;
            for (uint32_t j = 0; j < 100; j++)
                CHECK_NEAR(m->word_f32[j], value(&random), 0.2 / 128);
            model_close(m);
            remove_tree(f.dir);
        }
}

TEST(vectors_have_unit_length_and_the_mean_is_of_them)
{
    struct folder f;
    struct model *m = NULL;
    struct encoder *e = NULL;
    float v[2 * HIDDEN];
    struct str texts[2] = {STR_LIT("the a b"), STR_LIT("年费 is the b.")};
    folder_new(&f);
    folder_fill(&f, &(struct tiny){0});
    CHECK_OK(import_as(&f, NULL, MODEL_INT8, NULL));
    CHECK_OK(model_open(f.out, false, &m, NULL));
    CHECK_OK(encoder_new(m, &e));
    CHECK_OK(encoder_run(e, ENCODE_PLAIN, texts, 2, NULL, v, NULL));
    double length = 0, mean = 0;
    for (int i = 0; i < HIDDEN; i++) {
        length += (double)v[i] * (double)v[i];
        mean += (double)model_info(m)->mean[i] * (double)model_info(m)->mean[i];
    }
    CHECK_NEAR(length, 1, 1e-4);
    CHECK(mean > 0.01 && mean < 1.01);
    encoder_free(e);
    model_close(m);
    remove_tree(f.dir);
}

TEST(the_digest_is_of_the_vectors_not_of_the_name)
{
    uint8_t digest[5][32];
    for (int i = 0; i < 5; i++) {
        struct folder f;
        struct model *m = NULL;
        folder_new(&f);
        folder_fill(&f, &(struct tiny){.seed = i == 2});
        if (i == 3)
            put(&f, "ragd.json", "{\"passage_prefix\": \"the \"}");
        CHECK_OK(import_as(&f, i == 1 ? "other" : "one", i == 4 ? MODEL_F32 : MODEL_INT8, NULL));
        CHECK_OK(model_open(f.out, true, &m, NULL));
        CHECK_STR(str_of(model_info(m)->name), i == 1 ? "other" : "one");
        memcpy(digest[i], model_info(m)->digest, 32);
        model_close(m);
        remove_tree(f.dir);
    }
    CHECK(memcmp(digest[0], digest[1], 32) == 0);
    for (int i = 2; i < 5; i++)
        for (int k = 0; k < i; k++)
            CHECK(memcmp(digest[i], digest[k], 32) != 0 || (i == 1 && k == 0));
}

/* ---- configuration files --------------------------------------------------------------------------------------- */
static void imported_info(const struct folder *f, const char *name, struct model_info *out)
{
    struct model *m = NULL;
    struct rag_err err = {0};
    rag_code rc = import_as(f, name, MODEL_INT8, &err);
    if (rc)
        print_error("%s\n", err.msg);
    CHECK_OK(rc);
    CHECK_OK(model_open(f->out, true, &m, NULL));
    *out = *model_info(m);
    out->mean = NULL;
    model_close(m);
}

TEST(families_have_the_prefixes_they_were_trained_with)
{
    static const struct {
        const char *name, *query, *passage;
        enum model_pooling pooling;
    } families[] = {
        {"multilingual-E5-small", "query: ", "passage: ", MODEL_POOL_MEAN},
        {"bge-small-zh-v1.5", "为这个句子生成表示以用于检索相关文章：", "", MODEL_POOL_CLS},
        {"bge-small-en-v1.5", "Represent this sentence for searching relevant passages: ", "", MODEL_POOL_CLS},
        {"all-MiniLM-L6-v2", "", "", MODEL_POOL_MEAN},
        {"e51-like5", "", "", MODEL_POOL_MEAN},
    };
    struct folder f;
    folder_new(&f);
    folder_fill(&f, &(struct tiny){0});
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        struct model_info in;
        imported_info(&f, families[i].name, &in);
        CHECK_STR(str_of(in.query_prefix), families[i].query);
        CHECK_STR(str_of(in.passage_prefix), families[i].passage);
        CHECK_EQ(in.pooling, families[i].pooling);
        CHECK(in.normalize);
    }
    remove_tree(f.dir);
}

TEST(sentence_files_and_ragd_json_decide)
{
    struct folder f;
    struct model_info in;
    folder_new(&f);
    folder_fill(&f, &(struct tiny){0});
    put(&f, "modules.json",
        "[{\"idx\":0,\"path\":\"\",\"type\":\"sentence_transformers.models.Transformer\"},"
        "{\"idx\":1,\"path\":\"1_Pooling\",\"type\":\"sentence_transformers.models.Pooling\"}]");
    put(&f, "1_Pooling/config.json", "{\"pooling_mode_cls_token\":true,\"pooling_mode_mean_tokens\":false}");
    put(&f, "sentence_bert_config.json", "{\"max_seq_length\":20,\"do_lower_case\":false}");
    put(&f, "config_sentence_transformers.json",
        "{\"prompts\":{\"query\":\"ask: \",\"document\":\"\"},\"similarity_fn_name\":\"cosine\"}");
    imported_info(&f, "e5", &in);
    CHECK_EQ(in.pooling, MODEL_POOL_CLS);
    CHECK_EQ(in.max_tokens, 20);
    CHECK_STR(str_of(in.query_prefix), "ask: ");
    CHECK_STR(str_of(in.passage_prefix), "passage: "); /* an empty prompt says nothing */
    CHECK(in.normalize);
    put(&f, "config_sentence_transformers.json", "{\"similarity_fn_name\":\"dot\"}");
    imported_info(&f, "x", &in);
    CHECK(!in.normalize);
    put(&f, "ragd.json",
        "{\"name\":\"ours\",\"pooling\":\"mean\",\"normalize\":true,\"query_prefix\":\"q \",\"passage_prefix\":\"\","
        "\"max_tokens\":9}");
    imported_info(&f, NULL, &in);
    CHECK_STR(str_of(in.name), "ours");
    CHECK_EQ(in.pooling, MODEL_POOL_MEAN);
    CHECK_EQ(in.max_tokens, 9);
    CHECK_STR(str_of(in.query_prefix), "q ");
    CHECK(in.normalize);
    remove_tree(f.dir);
}

TEST(other_pooling_and_modules_are_refused_by_name)
{
    static const struct {
        const char *file, *text, *says;
        rag_code rc;
    } wrong[] = {
        {"1_Pooling/config.json", "{\"pooling_mode_max_tokens\":true}", "pooling max", RAG_EUNSUPPORTED},
        {"1_Pooling/config.json", "{\"pooling_mode\":\"lasttoken\"}", "pooling lasttoken", RAG_EUNSUPPORTED},
        {"1_Pooling/config.json", "{\"pooling_mode_mean_tokens\":true,\"pooling_mode_cls_token\":true}", "2 pooling modes",
         RAG_EUNSUPPORTED},
        {"1_Pooling/config.json", "{}", "0 pooling modes", RAG_EFORMAT},
        {"modules.json", "[{\"type\":\"sentence_transformers.models.Dense\",\"path\":\"2_Dense\"}]", "module Dense",
         RAG_EUNSUPPORTED},
        {"modules.json", "{}", "not a JSON list", RAG_EFORMAT},
        {"modules.json", "[{\"type\":\"x.Pooling\",\"path\":\"../../etc\"}]", "not a folder beside it", RAG_EFORMAT},
        {"ragd.json", "{\"pooling\":\"max\"}", "pooling max", RAG_EUNSUPPORTED},
        {"ragd.json", "{\"max_tokens\":100000}", "max_tokens", RAG_ETOOBIG},
        {"ragd.json", "{\"name\":\"../x\"}", "name", RAG_EFORMAT},
        {"ragd.json", "{\"colour\":1}", "colour", RAG_EFORMAT},
        {"ragd.json", "{\"name\":", "ragd.json", RAG_EFORMAT},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct folder f;
        folder_new(&f);
        folder_fill(&f, &(struct tiny){0});
        put(&f, wrong[i].file, wrong[i].text);
        refused(&f, wrong[i].rc, wrong[i].says);
        remove_tree(f.dir);
    }
}

TEST(nonsense_in_config_json_is_refused)
{
    static const struct {
        const char *from, *to, *says;
        rag_code rc;
    } wrong[] = {
        {"\"bert\"", "\"gpt2\"", "model_type: gpt2", RAG_EUNSUPPORTED},
        {"\"bert\"", "7", "model_type: missing", RAG_EFORMAT},
        {"\"gelu\"", "\"relu\"", "hidden_act: relu", RAG_EUNSUPPORTED},
        {"\"hidden_size\":24", "\"hidden_size\":0", "hidden_size: 0", RAG_EFORMAT},
        {"\"hidden_size\":24", "\"hidden_size\":-1", "hidden_size: -1", RAG_EFORMAT},
        {"\"hidden_size\":24", "\"hidden_size\":4104", "hidden_size: 4104", RAG_ETOOBIG},
        {"\"hidden_size\":24", "\"hidden_size\":9223372036854775807", "hidden_size", RAG_ETOOBIG},
        {"\"hidden_size\":24", "\"hidden_size\":24.5", "not a whole number", RAG_EFORMAT},
        {"\"hidden_size\":24", "\"size\":24", "hidden_size: missing", RAG_EFORMAT},
        {"\"num_hidden_layers\":2", "\"num_hidden_layers\":49", "num_hidden_layers", RAG_ETOOBIG},
        {"\"num_hidden_layers\":2", "\"num_hidden_layers\":3", "encoder.layer.2", RAG_EFORMAT},
        {"\"num_attention_heads\":3", "\"num_attention_heads\":5", "does not divide", RAG_EFORMAT},
        {"\"vocab_size\":45", "\"vocab_size\":10", "20 ids", RAG_EFORMAT},
        {"\"vocab_size\":45", "\"vocab_size\":2097153", "vocab_size", RAG_ETOOBIG},
        {"\"vocab_size\":45", "\"vocab_size\":46", "word_embeddings", RAG_EFORMAT},
        {"\"max_position_embeddings\":34", "\"max_position_embeddings\":9000", "max_position_embeddings", RAG_ETOOBIG},
        {"1e-5", "0", "layer_norm_eps", RAG_EFORMAT},
        {"1e-5", "\"x\"", "layer_norm_eps", RAG_EFORMAT},
        {"1e-5", "1e-5,\"position_embedding_type\":\"relative_key\"", "relative_key", RAG_EUNSUPPORTED},
        {"1e-5", "1e-5,\"architectures\":[\"XLMRobertaForSequenceClassification\"]", "not an encoder", RAG_EUNSUPPORTED},
        {"1e-5", "1e-5,\"is_decoder\":true", "is_decoder", RAG_EUNSUPPORTED},
        {"{", "[", "config.json", RAG_EFORMAT},
        {"{", "{\"vocab_size\":1,", "config.json", RAG_EFORMAT}, /* a key twice */
    };
    struct folder f;
    struct buf text, changed;
    char path[100];
    folder_new(&f);
    folder_fill(&f, &(struct tiny){0});
    snprintf(path, sizeof path, "%s/config.json", f.dir);
    buf_init(&text, MEM_MISC);
    buf_init(&changed, MEM_MISC);
    CHECK_OK(file_read_all(path, 10000, &text, NULL));
    buf_addc(&text, 0);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *at = strstr(text.ptr, wrong[i].from);
        CHECK(at != NULL);
        buf_reset(&changed);
        buf_add(&changed, text.ptr, (size_t)(at - text.ptr));
        buf_addz(&changed, wrong[i].to);
        buf_addz(&changed, at + strlen(wrong[i].from));
        buf_addc(&changed, 0);
        put(&f, "config.json", changed.ptr);
        refused(&f, wrong[i].rc, wrong[i].says);
    }
    buf_clear(&text);
    buf_clear(&changed);
    remove_tree(f.dir);
}

/* ---- weights and tokenizer --------------------------------------------------------------------------------------- */
TEST(tensors_that_are_not_right_are_named)
{
    static const char word[] = "embeddings.word_embeddings.weight", key[] = "encoder.layer.1.attention.self.key.weight",
                      bias[] = "encoder.layer.0.output.LayerNorm.bias", type[] = "embeddings.token_type_embeddings.weight",
                      position[] = "embeddings.position_embeddings.weight";
    const struct {
        struct tiny t;
        rag_code rc;
        const char *says;
    } wrong[] = {
        {{.drop = word}, RAG_EFORMAT, word},    {{.drop = key}, RAG_EFORMAT, key},
        {{.drop = bias}, RAG_EFORMAT, bias},    {{.drop = type}, RAG_EFORMAT, type},
        {{.shape = word}, RAG_EFORMAT, word},   {{.shape = key}, RAG_EFORMAT, "shape 25 x 24"},
        {{.shape = bias}, RAG_EFORMAT, bias},   {{.shape = type}, RAG_EFORMAT, type},
        {{.nan = word}, RAG_EFORMAT, "nan"},    {{.nan = key}, RAG_EFORMAT, key},
        {{.nan = bias}, RAG_EFORMAT, bias},     {{.nan = position}, RAG_EFORMAT, position},
        {{.other = key}, RAG_EUNSUPPORTED, "I8"}, {{.other = bias}, RAG_EUNSUPPORTED, bias},
        {{.prefix = "gpt."}, RAG_EFORMAT, "no tensor embeddings.word_embeddings.weight"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct folder f;
        folder_new(&f);
        folder_fill(&f, &wrong[i].t);
        refused(&f, wrong[i].rc, wrong[i].says);
        remove_tree(f.dir);
    }
}

TEST(missing_files_say_which_and_what_to_do)
{
    static const struct {
        const char *gone, *instead, *says;
        rag_code rc;
    } cases[] = {
        {"config.json", NULL, "config.json: missing", RAG_ENOTFOUND},
        {"tokenizer.json", NULL, "tokenizer.json: missing", RAG_ENOTFOUND},
        {"model.safetensors", NULL, "model.safetensors: missing", RAG_ENOTFOUND},
        {"model.safetensors", "model.safetensors.index.json", "save_pretrained", RAG_EUNSUPPORTED},
        {"model.safetensors", "pytorch_model.bin", "save_pretrained", RAG_EUNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct folder f;
        char path[100];
        folder_new(&f);
        folder_fill(&f, &(struct tiny){0});
        snprintf(path, sizeof path, "%s/%s", f.dir, cases[i].gone);
        CHECK_OK(file_remove(path));
        if (cases[i].instead)
            put(&f, cases[i].instead, "{}");
        refused(&f, cases[i].rc, cases[i].says);
        remove_tree(f.dir);
    }
    struct rag_err err = {0};
    CHECK_EQ(model_import("/nonexistent/folder", NULL, "/tmp/ragd-nothing.ragm", &err), RAG_ENOTFOUND);
    CHECK_EQ(model_import("/etc/passwd", NULL, "/tmp/ragd-nothing.ragm", &err), RAG_EFORMAT);
}

TEST(an_unknown_tokenizer_is_refused)
{
    struct folder f;
    folder_new(&f);
    folder_fill(&f, &(struct tiny){0});
    put(&f, "tokenizer.json", "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}");
    refused(&f, RAG_EUNSUPPORTED, "BPE");
    put(&f, "tokenizer.json", "nonsense");
    refused(&f, RAG_EFORMAT, "tokenizer.json");
    remove_tree(f.dir);
}

/* ---- safetensors --------------------------------------------------------------------------------------------- */
static rag_code parse(const char *header, size_t data, char *says, size_t size)
{
    struct buf b;
    struct safetensors *st = NULL;
    struct rag_err err = {0};
    uint64_t len = strlen(header);
    buf_init(&b, MEM_MISC);
    BUF_ADD_VALUE(&b, len);
    buf_addz(&b, header);
    for (size_t i = 0; i < data; i++)
        buf_addc(&b, (char)i);
    rag_code rc = safetensors_open_bytes(buf_str(&b), &st, &err);
    snprintf(says, size, "%s", err.msg);
    safetensors_close(st);
    buf_clear(&b);
    return rc;
}

TEST(safetensors_headers_are_not_believed)
{
    static const struct {
        const char *header;
        size_t data;
        rag_code rc;
        const char *says;
    } cases[] = {
        {"{}", 0, RAG_OK, ""},
        {"{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, RAG_OK, ""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, RAG_OK, ""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[4,4]}}", 4, RAG_OK, ""},
        {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[3],\"data_offsets\":[0,3]}}", 4, RAG_OK, ""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, RAG_EFORMAT, "outside the file"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, RAG_EFORMAT, "does not match"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 8, RAG_EFORMAT, "match"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 8, RAG_EFORMAT, "shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 8, RAG_EFORMAT, "shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 8, RAG_EFORMAT, "dimensions"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,4]}}", 8, RAG_EFORMAT, "outside"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 8, RAG_EFORMAT, "outside"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 8, RAG_EFORMAT, "data_offsets"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 8, RAG_EFORMAT, "dtype"},
        {"{\"a\":7}", 8, RAG_EFORMAT, "dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],"
         "\"data_offsets\":[2,6]}}", 8, RAG_EFORMAT, "another tensor"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],"
         "\"data_offsets\":[4,8]}}", 8, RAG_EFORMAT, "duplicate"},
        {"[]", 0, RAG_EFORMAT, "not a JSON object"},
        {"{\"a\":", 0, RAG_EFORMAT, "not a JSON object"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char says[448];
        rag_code rc = parse(cases[i].header, cases[i].data, says, sizeof says);
        if (rc != cases[i].rc || !strstr(says, cases[i].says)) {
            print_error("%s: got %s \"%s\"\n", cases[i].header, rag_code_name(rc), says);
            fail();
        }
    }
    struct safetensors *st = NULL;
    uint64_t lens[] = {0, 1, SAFETENSORS_MAX_HEADER + 1, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < 5; i++)
        CHECK_EQ(safetensors_open_bytes(str_make((const char *)&lens[i], 8), &st, NULL), RAG_EFORMAT);
    CHECK_EQ(safetensors_open_bytes(str_make("1234567", 7), &st, NULL), RAG_EFORMAT);
}

/* ---- hostile packed files ------------------------------------------------------------------------------------- */
static struct str packed_bytes(const struct folder *f, struct file_map *map)
{
    CHECK_OK(file_map_open(map, f->out));
    char *copy = aligned_alloc(64, (map->len + 63) / 64 * 64);
    CHECK(copy != NULL);
    memcpy(copy, map->ptr, map->len);
    return str_make(copy, map->len);
}

static void one_folder(struct folder *f)
{
    folder_new(f);
    folder_fill(f, &(struct tiny){0});
    CHECK_OK(import_as(f, NULL, MODEL_INT8, NULL));
}

static rag_code open_bytes(struct str b, bool verify)
{
    struct model *m = NULL;
    rag_code rc = model_open_bytes(b, "test", verify, &m, NULL);
    CHECK((rc == RAG_OK) == (m != NULL));
    model_close(m);
    return rc;
}

TEST(a_file_cut_anywhere_is_corrupt)
{
    struct folder f;
    struct file_map map;
    one_folder(&f);
    struct str whole = packed_bytes(&f, &map);
    CHECK_OK(open_bytes(whole, true));
    for (size_t n = 0; n < whole.len; n += n < 2000 ? 13 : 997)
        CHECK_EQ(open_bytes(str_make(whole.ptr, n), false), RAG_ECORRUPT);
    CHECK_EQ(open_bytes(str_make(whole.ptr, whole.len - 1), false), RAG_ECORRUPT);
    free((void *)(uintptr_t)whole.ptr);
    file_map_clear(&map);
    remove_tree(f.dir);
}

TEST(a_flipped_byte_is_found_by_verify_and_never_crashes)
{
    struct folder f;
    struct file_map map;
    one_folder(&f);
    struct str whole = packed_bytes(&f, &map);
    char *b = (char *)(uintptr_t)whole.ptr;
    for (size_t i = 0; i < whole.len; i += i < 2200 ? 1 : 61) {
        b[i] = (char)(b[i] ^ 0x41);
        rag_code rc = open_bytes(whole, true);
        CHECK(rc == RAG_ECORRUPT || rc == RAG_EVERSION);
        rc = open_bytes(whole, false);
        CHECK(rc == RAG_OK || rc == RAG_ECORRUPT || rc == RAG_EVERSION);
        b[i] = (char)(b[i] ^ 0x41);
    }
    CHECK_OK(open_bytes(whole, true));
    free(b);
    file_map_clear(&map);
    remove_tree(f.dir);
}

/* Right checksum, wrong contents: what a stranger could make. */
TEST(numbers_that_no_import_writes_are_corrupt)
{
    struct folder f;
    struct file_map map;
    one_folder(&f);
    struct str whole = packed_bytes(&f, &map);
    char *b = (char *)(uintptr_t)whole.ptr;
    struct model_header *h = (void *)b;
    const struct model_section *sec = (const void *)(b + sizeof *h);
    float bad = INFINITY;
    for (uint32_t i = 0; i < h->n_sections; i++) {
        if (sec[i].kind == MODEL_SEC_WORD || sec[i].kind == MODEL_SEC_TOKENIZER)
            continue;
        bool matrix = sec[i].kind == MODEL_SEC_QKV || sec[i].kind == MODEL_SEC_ATTENTION_OUT ||
                      sec[i].kind == MODEL_SEC_FFN_IN || sec[i].kind == MODEL_SEC_FFN_OUT;
        char *at = matrix ? b + sec[i].off + sec[i].len - 4 : b + sec[i].off;
        float old;
        memcpy(&old, at, sizeof old);
        memcpy(at, &bad, sizeof bad);
        CHECK_EQ(open_bytes(whole, false), RAG_ECORRUPT);
        memcpy(at, &old, sizeof old);
    }
    struct model_header good = *h;
    h->version = MODEL_VERSION + 1;
    h->checksum = model_checksum(b, whole.len);
    CHECK_EQ(open_bytes(whole, true), RAG_EVERSION);
    *h = good;
    h->digest[0] ^= 1;
    h->checksum = model_checksum(b, whole.len);
    CHECK_EQ(open_bytes(whole, true), RAG_ECORRUPT);
    *h = good;
    h->shape.vocabulary = MODEL_MAX_VOCABULARY + 1;
    CHECK_EQ(open_bytes(whole, false), RAG_ECORRUPT);
    *h = good;
    h->shape.hidden = 48; /* sections no longer fit */
    CHECK_EQ(open_bytes(whole, false), RAG_ECORRUPT);
    *h = good;
    memset(h->shape.query_prefix, 'x', sizeof h->shape.query_prefix); /* no end */
    CHECK_EQ(open_bytes(whole, false), RAG_ECORRUPT);
    *h = good;
    memset(h->name, 'x', sizeof h->name);
    CHECK_EQ(open_bytes(whole, false), RAG_ECORRUPT);
    free(b);
    file_map_clear(&map);
    remove_tree(f.dir);
    struct model *m = NULL;
    CHECK_EQ(model_open("/nonexistent.ragm", false, &m, NULL), RAG_ENOTFOUND);
    CHECK_EQ(model_open("/tmp", false, &m, NULL), RAG_ECORRUPT);
    CHECK_EQ(model_open("/dev/null", false, &m, NULL), RAG_ECORRUPT);
}

/* ---- the ways the world breaks an import ----------------------------------------------------------------------- */
TEST(an_import_survives_each_failed_allocation)
{
    struct folder f;
    folder_new(&f);
    folder_fill(&f, &(struct tiny){0});
    bool fired = true;
    for (unsigned nth = 1; fired; nth += 1 + nth / 10) { /* the first ten, then ever fewer */
        fault_arm_alloc(nth);
        rag_code rc = import_as(&f, NULL, MODEL_INT8, NULL);
        fired = fault_disarm();
        if (fired)
            CHECK_EQ(rc, RAG_ENOMEM);
        CHECK_EQ(files_like(f.dir, ".tmp"), 0);
        CHECK_EQ(files_like(f.dir, ".ragm"), rc == RAG_OK);
        file_remove(f.out);
    }
    remove_tree(f.dir);
}

TEST(an_import_that_cannot_write_leaves_nothing)
{
    struct folder f;
    struct rlimit old;
    struct rag_err err = {0};
    folder_new(&f);
    folder_fill(&f, &(struct tiny){0});
    CHECK_OK(getrlimit(RLIMIT_FSIZE, &old));
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    struct rlimit low = {9000, old.rlim_max};
    CHECK_OK(setrlimit(RLIMIT_FSIZE, &low));
    rag_code rc = import_as(&f, NULL, MODEL_INT8, &err);
    CHECK_OK(setrlimit(RLIMIT_FSIZE, &old));
    signal(SIGXFSZ, before);
    CHECK_EQ(rc, RAG_ETOOBIG);
    CHECK(strstr(err.msg, "x.ragm") != NULL);
    CHECK_EQ(files_like(f.dir, ".tmp"), 0);
    CHECK_EQ(files_like(f.dir, ".ragm"), 0);
    snprintf(f.out, sizeof f.out, "%s/no/such/x.ragm", f.dir);
    CHECK_EQ(import_as(&f, NULL, MODEL_INT8, &err), RAG_ENOTFOUND);
    remove_tree(f.dir);
}

TEST(what_a_killed_import_left_is_overwritten)
{
    struct folder f;
    struct model *m = NULL;
    folder_new(&f);
    folder_fill(&f, &(struct tiny){0});
    put(&f, "x.ragm.tmp", "half a file");
    CHECK_OK(import_as(&f, NULL, MODEL_INT8, NULL));
    CHECK_EQ(files_like(f.dir, ".tmp"), 0);
    CHECK_OK(model_open(f.out, true, &m, NULL));
    model_close(m);
    remove_tree(f.dir);
}

/* ---- finding ------------------------------------------------------------------------------------------------------ */
TEST(resolve_takes_names_files_and_folders)
{
    struct folder f, cache;
    char path[4096], again[4096], name[100];
    struct rag_err err = {0};
    struct model *m = NULL;
    one_folder(&f);
    folder_new(&cache);
    CHECK_OK(setenv("RAGD_MODELS", cache.dir, 1));
    CHECK_EQ(model_resolve("nothing", path, sizeof path, &err), RAG_ENOTFOUND);
    CHECK(strstr(err.msg, "ragd model import") != NULL);
    CHECK_EQ(model_resolve("a b", path, sizeof path, &err), RAG_EINVAL);
    CHECK_EQ(model_resolve("", path, sizeof path, &err), RAG_EINVAL);
    CHECK_EQ(model_resolve("/nonexistent/x.ragm", path, sizeof path, &err), RAG_ENOTFOUND);
    CHECK_OK(model_resolve(f.out, path, sizeof path, &err));
    CHECK_STR(str_of(path), f.out);
    CHECK_EQ(model_resolve(f.out, path, 5, &err), RAG_ETOOBIG);
    struct model_import_options opt = {.name = "known"};
    snprintf(name, sizeof name, "%s/known.ragm", cache.dir);
    CHECK_OK(model_import(f.dir, &opt, name, NULL));
    CHECK_OK(model_resolve("known", path, sizeof path, &err));
    CHECK_STR(str_of(path), name);
    struct stat first, second;
    CHECK_OK(model_resolve(f.dir, path, sizeof path, &err));
    CHECK_OK(stat(path, &first));
    CHECK_OK(model_resolve(f.dir, again, sizeof again, &err));
    CHECK_OK(stat(again, &second));
    CHECK(strcmp(path, again) == 0 && first.st_ino == second.st_ino); /* packed once */
    CHECK_OK(model_open(path, true, &m, NULL));
    model_close(m);
    put(&f, "ragd.json", "{\"query_prefix\":\"the \"}"); /* another content, another file */
    CHECK_OK(model_resolve(f.dir, again, sizeof again, &err));
    CHECK(strcmp(path, again) != 0);
    unsetenv("RAGD_MODELS");
    CHECK_OK(setenv("XDG_CACHE_HOME", "/x", 1));
    CHECK_OK(model_cache_dir(path, sizeof path, &err));
    CHECK_STR(str_of(path), "/x/ragd/models");
    CHECK_EQ(model_cache_dir(path, 8, &err), RAG_ETOOBIG);
    unsetenv("XDG_CACHE_HOME");
    remove_tree(f.dir);
    remove_tree(cache.dir);
}

/* ---- real weights ------------------------------------------------------------------------------------------------- */
TEST(real_models_import)
{
    const char *root = getenv("RAGD_TEST_MODELS");
    DIR *d = root ? opendir(root) : NULL;
    if (!d) {
        print_message("skipped: RAGD_TEST_MODELS names no folder of model folders\n");
        skip();
    }
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        struct folder f;
        struct model *m = NULL;
        struct rag_err err = {0};
        char dir[1024], config[1100];
        snprintf(dir, sizeof dir, "%s/%s", root, e->d_name);
        snprintf(config, sizeof config, "%s/config.json", dir);
        if (e->d_name[0] == '.' || access(config, R_OK) != 0)
            continue;
        folder_new(&f);
        rag_code rc = model_import(dir, NULL, f.out, &err);
        if (rc)
            print_error("%s\n", err.msg);
        CHECK_OK(rc);
        CHECK_OK(model_open(f.out, true, &m, &err));
        model_close(m);
        remove_tree(f.dir);
    }
    closedir(d);
}
