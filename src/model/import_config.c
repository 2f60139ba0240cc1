/* From the JSON files of a model folder to a plan. Each file adds to the one before and may correct it:
 *   config.json                        the network's sizes
 *   the family, by name                prefixes and pooling that the authors trained with, when no file says them
 *   modules.json, N_Pooling            pooling, normalisation (sentence-transformers)
 *   sentence_bert_config.json          the window
 *   config_sentence_transformers.json  prompts
 *   ragd.json                          ours: corrects all of them
 * What we do not know is refused by name rather than guessed at: a wrong pooling gives vectors that look right. */
#include "model/import_int.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "sys/file.h"
#include "wire/json_in.h"

enum { JSON_BYTES = 4 << 20 }; /* of a configuration file; real ones have a few KB */

rag_code import_path(char *out, const char *dir, const char *file, struct rag_err *err)
{
    if (snprintf(out, 4096, "%s/%s", dir, file) >= 4096)
        return rag_err_set(err, RAG_ETOOBIG, "%.100s...: path too long", dir);
    return RAG_OK;
}

/* One configuration file, open. */
struct json_file {
    char path[4096];
    json_t *root;
};

/* RAG_ENOTFOUND when it is not there. `array`: the root is a list, else an object. */
static rag_code file_load(struct json_file *f, const char *dir, const char *file, bool array, struct rag_err *err)
{
    f->root = NULL;
    rag_code rc = import_path(f->path, dir, file, err);
    struct stat st;
    if (rc)
        return rc;
    if (stat(f->path, &st) != 0)
        return rag_err_set(err, rag_code_from_errno(errno), "%s: %s", f->path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return rag_err_set(err, RAG_EFORMAT, "%s: not a file", f->path);
    struct buf bytes;
    struct rag_err why = {0};
    buf_init(&bytes, MEM_MODEL);
    rc = file_read_all(f->path, JSON_BYTES, &bytes, err);
    if (!rc) {
        rc = json_in_parse(buf_str(&bytes), JSON_BYTES, &f->root, &why);
        if (rc)
            rc = rag_err_set(err, rc == RAG_EINVAL ? RAG_EFORMAT : rc, "%s: %s", f->path, why.msg);
        else if (array ? !json_is_array(f->root) : !json_is_object(f->root))
            rc = rag_err_set(err, RAG_EFORMAT, "%s: not a JSON %s", f->path, array ? "list" : "object");
    }
    buf_clear(&bytes);
    if (rc) {
        json_decref(f->root);
        f->root = NULL;
    }
    return rc;
}

/* ---- values --------------------------------------------------------------------------------------------- */
static rag_code get_u32(const struct json_file *f, const char *key, uint32_t min, uint32_t max, uint32_t *out,
                        struct rag_err *err)
{
    json_t *v = json_object_get(f->root, key);
    if (!json_is_integer(v))
        return rag_err_set(err, RAG_EFORMAT, "%s: %s: %s", f->path, key, v ? "not a whole number" : "missing");
    json_int_t n = json_integer_value(v);
    if (n < (json_int_t)min || n > (json_int_t)max)
        return rag_err_set(err, n > (json_int_t)max ? RAG_ETOOBIG : RAG_EFORMAT, "%s: %s: %lld is not in %u..%u",
                           f->path, key, (long long)n, min, max);
    *out = (uint32_t)n;
    return RAG_OK;
}

/* A string that must be one of those we take when it is there. */
static rag_code must_be(const struct json_file *f, const char *key, const char *only, struct rag_err *err)
{
    json_t *v = json_object_get(f->root, key);
    if (!v || json_is_null(v) || (json_is_string(v) && strcmp(json_string_value(v), only) == 0))
        return RAG_OK;
    return rag_err_set(err, RAG_EUNSUPPORTED, "%s: %s: %.80s: only %s is supported", f->path, key,
                       json_is_string(v) ? json_string_value(v) : "not a string", only);
}

static rag_code set_prefix(const struct json_file *f, const char *key, const json_t *v, char out[MODEL_PREFIX_BYTES],
                           struct rag_err *err)
{
    if (!json_is_string(v))
        return rag_err_set(err, RAG_EFORMAT, "%s: %s: not a string", f->path, key);
    if (json_string_length(v) >= MODEL_PREFIX_BYTES)
        return rag_err_set(err, RAG_ETOOBIG, "%s: %s: longer than %d bytes", f->path, key, MODEL_PREFIX_BYTES - 1);
    memset(out, 0, MODEL_PREFIX_BYTES);
    memcpy(out, json_string_value(v), json_string_length(v));
    return RAG_OK;
}

/* ---- config.json ---------------------------------------------------------------------------------------- */
static rag_code check_kind(const struct json_file *f, struct import_plan *p, struct rag_err *err)
{
    const char *type = json_string_value(json_object_get(f->root, "model_type"));
    if (!type)
        return rag_err_set(err, RAG_EFORMAT, "%s: model_type: missing", f->path);
    bool bert = strcmp(type, "bert") == 0;
    if (!bert && strcmp(type, "xlm-roberta") != 0 && strcmp(type, "roberta") != 0)
        return rag_err_set(err, RAG_EUNSUPPORTED, "%s: model_type: %.80s: only bert, xlm-roberta and roberta are supported",
                           f->path, type);
    p->shape.arch = bert ? MODEL_BERT : MODEL_XLMR;
    const char *head = json_string_value(json_array_get(json_object_get(f->root, "architectures"), 0));
    if (head && (strstr(head, "Classification") || strstr(head, "QuestionAnswering")))
        return rag_err_set(err, RAG_EUNSUPPORTED, "%s: architectures: %.80s: not an encoder of vectors", f->path, head);
    if (json_is_true(json_object_get(f->root, "is_decoder")))
        return rag_err_set(err, RAG_EUNSUPPORTED, "%s: is_decoder: true: only encoders are supported", f->path);
    rag_code rc = must_be(f, "hidden_act", "gelu", err);
    return rc ? rc : must_be(f, "position_embedding_type", "absolute", err);
}

static rag_code read_sizes(const struct json_file *f, struct import_plan *p, struct rag_err *err)
{
    struct model_shape *s = &p->shape;
    rag_code rc = get_u32(f, "hidden_size", 8, MODEL_MAX_HIDDEN, &s->hidden, err);
    if (!rc)
        rc = get_u32(f, "num_hidden_layers", 1, MODEL_MAX_LAYERS, &s->layers, err);
    if (!rc)
        rc = get_u32(f, "num_attention_heads", 1, s->hidden, &s->heads, err);
    if (!rc && s->hidden % s->heads)
        rc = rag_err_set(err, RAG_EFORMAT, "%s: num_attention_heads: %u does not divide hidden_size %u", f->path,
                         s->heads, s->hidden);
    if (!rc && s->hidden % 8)
        rc = rag_err_set(err, RAG_EUNSUPPORTED, "%s: hidden_size: %u is no multiple of 8", f->path, s->hidden);
    if (!rc)
        rc = get_u32(f, "intermediate_size", 8, MODEL_MAX_INTERMEDIATE, &s->intermediate, err);
    if (!rc)
        rc = get_u32(f, "vocab_size", 4, MODEL_MAX_VOCABULARY, &s->vocabulary, err);
    p->type_rows = 1;
    if (!rc && json_object_get(f->root, "type_vocab_size"))
        rc = get_u32(f, "type_vocab_size", 1, 1024, &p->type_rows, err);
    p->position_offset = 0;
    if (!rc && s->arch == MODEL_XLMR) {
        uint32_t pad = 1; /* fairseq's */
        if (json_is_integer(json_object_get(f->root, "pad_token_id")))
            rc = get_u32(f, "pad_token_id", 0, 1024, &pad, err);
        p->position_offset = pad + 1;
    }
    if (!rc)
        rc = get_u32(f, "max_position_embeddings", MODEL_MIN_TOKENS + p->position_offset,
                     MODEL_MAX_TOKENS + p->position_offset, &p->position_rows, err);
    if (rc)
        return rc;
    s->max_tokens = p->position_rows - p->position_offset;
    json_t *eps = json_object_get(f->root, "layer_norm_eps");
    double e = eps ? json_number_value(eps) : 1e-12; /* BERT's default, as the library has it */
    if ((eps && !json_is_number(eps)) || !(e >= 1e-15 && e <= 0.1))
        return rag_err_set(err, RAG_EFORMAT, "%s: layer_norm_eps: not a number in 1e-15..0.1", f->path);
    s->layer_norm_eps = (float)e;
    return RAG_OK;
}

/* ---- families ------------------------------------------------------------------------------------------- */
/* `word` as a whole word of `name`, letters of either case: e5 in "multilingual-E5-small", not in "ae51". */
static bool has_word(const char *name, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = name; *p; p++)
        if (strncasecmp(p, word, n) == 0 && (p == name || !isalnum((unsigned char)p[-1])) &&
            !isalnum((unsigned char)p[n]))
            return true;
    return false;
}

static void apply_family(const char *name, struct model_shape *s)
{
    s->pooling = MODEL_POOL_MEAN;
    s->normalize = 1;
    if (has_word(name, "e5")) {
        if (has_word(name, "instruct")) {
            snprintf(s->query_prefix, sizeof s->query_prefix,
                     "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: ");
            return;
        }
        snprintf(s->query_prefix, sizeof s->query_prefix, "query: ");
        snprintf(s->passage_prefix, sizeof s->passage_prefix, "passage: ");
    } else if (has_word(name, "bge")) {
        s->pooling = MODEL_POOL_CLS;
        if (has_word(name, "zh"))
            snprintf(s->query_prefix, sizeof s->query_prefix, "为这个句子生成表示以用于检索相关文章：");
        else if (has_word(name, "en"))
            snprintf(s->query_prefix, sizeof s->query_prefix,
                     "Represent this sentence for searching relevant passages: ");
    }
}

/* ---- sentence-transformers ------------------------------------------------------------------------------ */
static const char *const pooling_modes[][2] = {
    {"pooling_mode_cls_token", "cls"},
    {"pooling_mode_mean_tokens", "mean"},
    {"pooling_mode_max_tokens", "max"},
    {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"},
    {"pooling_mode_weightedmean_tokens", "weightedmean"},
    {"pooling_mode_lasttoken", "lasttoken"},
};

static rag_code set_pooling(const struct json_file *f, const char *mode, struct model_shape *s, struct rag_err *err)
{
    if (strcmp(mode, "mean") == 0)
        s->pooling = MODEL_POOL_MEAN;
    else if (strcmp(mode, "cls") == 0)
        s->pooling = MODEL_POOL_CLS;
    else
        return rag_err_set(err, RAG_EUNSUPPORTED, "%s: pooling %.80s: only mean and cls are supported", f->path, mode);
    return RAG_OK;
}

static rag_code read_pooling(const char *dir, const char *folder, struct model_shape *s, struct rag_err *err)
{
    struct json_file f;
    char file[512];
    if (strstr(folder, "..") || folder[0] == '/' ||
        snprintf(file, sizeof file, "%s/config.json", folder) >= (int)sizeof file)
        return rag_err_set(err, RAG_EFORMAT, "%s/modules.json: path %.80s: not a folder beside it", dir, folder);
    rag_code rc = file_load(&f, dir, file, false, err);
    if (rc)
        return rc;
    const char *mode = json_string_value(json_object_get(f.root, "pooling_mode"));
    unsigned n = mode != NULL;
    for (size_t i = 0; i < sizeof pooling_modes / sizeof *pooling_modes; i++)
        if (json_is_true(json_object_get(f.root, pooling_modes[i][0]))) {
            mode = pooling_modes[i][1];
            n++;
        }
    if (n != 1)
        rc = rag_err_set(err, n ? RAG_EUNSUPPORTED : RAG_EFORMAT, "%s: %u pooling modes: one is supported", f.path, n);
    else if (json_is_false(json_object_get(f.root, "include_prompt")))
        rc = rag_err_set(err, RAG_EUNSUPPORTED, "%s: include_prompt: false: not supported", f.path);
    else
        rc = set_pooling(&f, mode, s, err);
    json_decref(f.root);
    return rc;
}

/* The last part of "sentence_transformers.models.Pooling", in whatever package it is. */
static const char *module_kind(const json_t *m)
{
    const char *type = json_string_value(json_object_get(m, "type"));
    const char *dot = type ? strrchr(type, '.') : NULL;
    return dot ? dot + 1 : type ? type : "(no type)";
}

static rag_code read_modules(const char *dir, struct model_shape *s, bool *has_normalize, struct rag_err *err)
{
    struct json_file f;
    rag_code rc = file_load(&f, dir, "modules.json", true, err);
    if (rc)
        return rc;
    size_t i;
    json_t *m;
    bool pooling = false;
    *has_normalize = false;
    json_array_foreach(f.root, i, m)
    {
        const char *kind = module_kind(m), *path = json_string_value(json_object_get(m, "path"));
        if (strcmp(kind, "Normalize") == 0) {
            *has_normalize = true;
        } else if (strcmp(kind, "Pooling") == 0) {
            rc = read_pooling(dir, path ? path : "1_Pooling", s, err);
            pooling = true;
        } else if (strcmp(kind, "Transformer") != 0) {
            rc = rag_err_set(err, RAG_EUNSUPPORTED,
                             "%s: module %.80s: only Transformer, Pooling and Normalize are supported", f.path, kind);
        } else if (path && path[0] && strcmp(path, ".") != 0) {
            rc = rag_err_set(err, RAG_EUNSUPPORTED, "%s: the encoder is in the folder %.80s: import that one with a ragd.json",
                             f.path, path);
        }
        if (rc)
            break;
    }
    if (!rc && !pooling)
        rc = rag_err_set(err, RAG_EFORMAT, "%s: no Pooling module", f.path);
    json_decref(f.root);
    return rc;
}

static rag_code read_window(const char *dir, struct model_shape *s, struct rag_err *err)
{
    struct json_file f;
    rag_code rc = file_load(&f, dir, "sentence_bert_config.json", false, err);
    if (rc)
        return rc == RAG_ENOTFOUND ? RAG_OK : rc;
    json_t *v = json_object_get(f.root, "max_seq_length");
    uint32_t n;
    if (v && !json_is_null(v)) {
        rc = get_u32(&f, "max_seq_length", MODEL_MIN_TOKENS, INT32_MAX, &n, err);
        if (!rc && n < s->max_tokens)
            s->max_tokens = n;
    }
    json_decref(f.root);
    return rc;
}

/* Newer libraries write empty prompts into every folder they save: an empty one says nothing. */
static rag_code read_prompts(const char *dir, struct model_shape *s, bool *dot, struct rag_err *err)
{
    struct json_file f;
    *dot = false;
    rag_code rc = file_load(&f, dir, "config_sentence_transformers.json", false, err);
    if (rc)
        return rc == RAG_ENOTFOUND ? RAG_OK : rc;
    static const char *const names[] = {"query", "document", "passage"};
    json_t *prompts = json_object_get(f.root, "prompts");
    for (int i = 0; i < 3 && !rc; i++) {
        json_t *v = json_object_get(prompts, names[i]);
        if (v && json_string_length(v) > 0)
            rc = set_prefix(&f, names[i], v, i ? s->passage_prefix : s->query_prefix, err);
    }
    const char *similarity = json_string_value(json_object_get(f.root, "similarity_fn_name"));
    *dot = similarity && strcmp(similarity, "dot") == 0;
    json_decref(f.root);
    return rc;
}

/* Without a Normalize module the library compares by cosine unless told otherwise, which is the same as vectors of
 * unit length; only models trained for the dot product keep theirs. */
static rag_code read_sentence_files(const char *dir, struct model_shape *s, struct rag_err *err)
{
    bool has_normalize = true, dot;
    rag_code rc = read_modules(dir, s, &has_normalize, err);
    if (rc == RAG_ENOTFOUND) {
        struct rag_err none;
        rc = read_pooling(dir, "1_Pooling", s, &none);
        if (rc && rc != RAG_ENOTFOUND && err)
            *err = none;
        rc = rc == RAG_ENOTFOUND ? RAG_OK : rc;
        has_normalize = true;
    }
    if (!rc)
        rc = read_window(dir, s, err);
    if (!rc)
        rc = read_prompts(dir, s, &dot, err);
    if (!rc && !has_normalize && dot)
        s->normalize = 0;
    return rc;
}

/* ---- ragd.json ------------------------------------------------------------------------------------------ */
static rag_code apply_ours(const struct json_file *f, struct import_plan *p, bool named, struct rag_err *err)
{
    rag_code rc = RAG_OK;
    const char *key;
    json_t *v;
    json_object_foreach(f->root, key, v)
    {
        struct model_shape *s = &p->shape;
        if (strcmp(key, "name") == 0) {
            const char *name = json_string_value(v);
            if (!name || !model_name_ok(name))
                return rag_err_set(err, RAG_EFORMAT, "%s: name: not 1 to 64 of A-Z a-z 0-9 _ . -", f->path);
            if (!named)
                snprintf(p->name, sizeof p->name, "%s", name);
        } else if (strcmp(key, "pooling") == 0) {
            rc = set_pooling(f, json_is_string(v) ? json_string_value(v) : "(not a string)", s, err);
        } else if (strcmp(key, "normalize") == 0) {
            if (!json_is_boolean(v))
                return rag_err_set(err, RAG_EFORMAT, "%s: normalize: not true or false", f->path);
            s->normalize = json_is_true(v);
        } else if (strcmp(key, "query_prefix") == 0) {
            rc = set_prefix(f, key, v, s->query_prefix, err);
        } else if (strcmp(key, "passage_prefix") == 0) {
            rc = set_prefix(f, key, v, s->passage_prefix, err);
        } else if (strcmp(key, "max_tokens") == 0) {
            rc = get_u32(f, key, MODEL_MIN_TOKENS, p->position_rows - p->position_offset, &s->max_tokens, err);
        } else {
            rc = rag_err_set(err, RAG_EFORMAT, "%s: %.80s: no such key", f->path, key);
        }
        if (rc)
            return rc;
    }
    return RAG_OK;
}

void import_folder_name(const char *dir, char *out)
{
    char real[PATH_MAX];
    if (!realpath(dir, real))
        snprintf(real, sizeof real, "%s", "model");
    const char *slash = strrchr(real, '/'), *base = slash ? slash + 1 : real;
    while (*base == '.' || *base == '-')
        base++;
    size_t n = 0;
    for (; base[n] && n < 64; n++) {
        char c[2] = {base[n], 0};
        out[n] = c[0] == '.' || c[0] == '-' || model_name_ok(c) ? c[0] : '-';
    }
    out[n] = 0;
    if (!model_name_ok(out))
        memcpy(out, "model", sizeof "model");
}

rag_code import_plan(const char *dir, const char *name, enum model_weights weights, struct import_plan *p,
                     struct rag_err *err)
{
    struct json_file config, ours;
    *p = (struct import_plan){.shape = {.weights = weights}};
    rag_code rc = file_load(&config, dir, "config.json", false, err);
    if (rc == RAG_ENOTFOUND)
        return rag_err_set(err, rc, "%s: missing: not a model folder in the Hugging Face layout", config.path);
    if (rc)
        return rc;
    import_folder_name(dir, p->name);
    char family[200];
    const char *origin = json_string_value(json_object_get(config.root, "_name_or_path"));
    const char *slash = origin ? strrchr(origin, '/') : NULL;
    snprintf(family, sizeof family, "%s/%s/%.60s", p->name, name ? name : "", slash ? slash + 1 : origin ? origin : "");
    if (name)
        snprintf(p->name, sizeof p->name, "%s", name);
    rc = check_kind(&config, p, err);
    if (!rc)
        rc = read_sizes(&config, p, err);
    json_decref(config.root);
    if (rc)
        return rc;
    apply_family(family, &p->shape);
    rc = read_sentence_files(dir, &p->shape, err);
    if (rc)
        return rc;
    rc = file_load(&ours, dir, "ragd.json", false, err);
    if (rc)
        return rc == RAG_ENOTFOUND ? RAG_OK : rc;
    rc = apply_ours(&ours, p, name != NULL, err);
    json_decref(ours.root);
    return rc;
}
