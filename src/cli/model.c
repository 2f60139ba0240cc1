#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/model_int.h"
#include "model/encoder.h"
#include "sys/file.h"
#include "wire/json_out.h"

enum { LINES = 16 }; /* of one batch of `embed` */

/* ---- shared --------------------------------------------------------------------------------------------- */
static int fail(const char *what, rag_code rc, const struct rag_err *err)
{
    return cli_fail(rc == RAG_EINVAL ? EXIT_USAGE : EXIT_FAIL, "model %s: %s", what,
                    err->msg[0] ? err->msg : rag_code_name(rc));
}

int model_cli_open(const char *what, const char *name, bool verify, struct model **out)
{
    char path[4096];
    struct rag_err err = {0};
    rag_code rc = model_resolve(name, path, sizeof path, &err);
    if (!rc)
        rc = model_open(path, verify, out, &err);
    return rc ? fail(what, rc, &err) : -1;
}

int model_cli_print(struct buf *b)
{
    bool failed = buf_failed(b), ok = !failed && fwrite(b->ptr, 1, b->len, stdout) == b->len;
    buf_clear(b);
    if (failed)
        return cli_fail(EXIT_FAIL, "model: out of memory");
    return ok ? EXIT_OK : cli_fail(EXIT_FAIL, "model: cannot write the output");
}

void model_cli_hex(const uint8_t *bytes, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static const char *weights_name(enum model_weights w)
{
    return w == MODEL_F32 ? "f32" : "int8";
}

static void add_info(struct buf *b, const struct model *m, const char *name)
{
    const struct model_info *in = model_info(m);
    char digest[65];
    model_cli_hex(in->digest, 32, digest);
    json_add_key(b, "name");
    json_add_string(b, str_of(name ? name : in->name));
    json_add_key(b, "digest");
    json_add_string(b, str_of(digest));
    json_add_key(b, "architecture");
    json_add_string(b, str_of(in->arch == MODEL_XLMR ? "xlm-roberta" : "bert"));
    json_add_key(b, "weights");
    json_add_string(b, str_of(weights_name(in->weights)));
    json_add_key(b, "pooling");
    json_add_string(b, str_of(in->pooling == MODEL_POOL_CLS ? "cls" : "mean"));
    json_add_key(b, "normalize");
    json_add_bool(b, in->normalize);
    const struct {
        const char *key;
        uint64_t value;
    } sizes[] = {{"dims", in->dims},
                 {"layers", in->layers},
                 {"heads", in->heads},
                 {"intermediate", in->intermediate},
                 {"vocabulary", in->vocabulary},
                 {"max_tokens", in->max_tokens},
                 {"bytes", model_bytes(m)}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        json_add_key(b, sizes[i].key);
        json_add_u64(b, sizes[i].value);
    }
    json_add_key(b, "query_prefix");
    json_add_string(b, str_of(in->query_prefix));
    json_add_key(b, "passage_prefix");
    json_add_string(b, str_of(in->passage_prefix));
}

/* "NAME: 384 dims, 12 layers, int8, 118.3 MB, digest 0123456789ab" */
static void add_line(struct buf *b, const struct model *m, const char *name)
{
    const struct model_info *in = model_info(m);
    char digest[13];
    model_cli_hex(in->digest, 6, digest);
    buf_addf(b, "%s: %u dims, %u layers, %s, %.1f MB, digest %s", name ? name : in->name, in->dims, in->layers,
             weights_name(in->weights), (double)model_bytes(m) / 1e6, digest);
}

/* ---- import --------------------------------------------------------------------------------------------- */
struct import_view {
    struct cli_progress bar;
    const char *step;
};

static void on_progress(void *ctx, const char *step, unsigned done, unsigned total)
{
    struct import_view *v = ctx;
    if (v->step != step) {
        cli_progress_end(&v->bar);
        cli_progress_start(&v->bar, step);
        v->step = step;
    }
    cli_progress_step(&v->bar, done, total);
}

static rag_code default_out(const char *dir, const char *name, char *path, size_t size, struct rag_err *err)
{
    char cache[3900], model_name[65];
    rag_code rc = model_import_name(dir, name, model_name, err);
    if (!rc)
        rc = model_cache_dir(cache, sizeof cache, err);
    if (rc)
        return rc;
    rc = file_mkdirs(cache, 0700);
    if (rc)
        return rag_err_set(err, rc, "folder of models %s: cannot create: %s: set RAGD_MODELS", cache, strerror(errno));
    if (snprintf(path, size, "%s/%s.ragm", cache, model_name) >= (int)size)
        return rag_err_set(err, RAG_ETOOBIG, "%.100s...: path too long", cache);
    return RAG_OK;
}

static int run_import(int argc, char **argv)
{
    const char *name = NULL, *weights = "int8", *out = NULL;
    bool json = false;
    const struct cli_option options[] = {
        {"--name", &name, NULL}, {"--weights", &weights, NULL}, {"--out", &out, NULL}, {"--json", NULL, &json}, {0}};
    int n, status = cli_parse("model", argc, argv, options, &n);
    if (status >= 0)
        return status;
    if (n != 1)
        return cli_fail(EXIT_USAGE, "model import: one folder is wanted: see ragd help model");
    bool f32 = strcmp(weights, "f32") == 0;
    if (!f32 && strcmp(weights, "int8") != 0)
        return cli_fail(EXIT_USAGE, "model import: --weights %s: is not int8 or f32", weights);
    char path[4096];
    struct rag_err err = {0};
    struct import_view view = {.step = NULL};
    struct model_import_options opt = {name, f32 ? MODEL_F32 : MODEL_INT8, on_progress, &view};
    rag_code rc = RAG_OK;
    if (out && snprintf(path, sizeof path, "%s", out) >= (int)sizeof path)
        return cli_fail(EXIT_FAIL, "model import: --out: path too long");
    if (!out)
        rc = default_out(argv[0], name, path, sizeof path, &err);
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is then an error of write */
    if (!rc)
        rc = model_import(argv[0], &opt, path, &err);
    cli_progress_end(&view.bar);
    struct model *m = NULL;
    if (!rc)
        rc = model_open(path, false, &m, &err);
    if (rc)
        return fail("import", rc, &err);
    struct buf b;
    buf_init(&b, MEM_MISC);
    if (json) {
        json_add_open(&b, '{');
        json_add_key(&b, "path");
        json_add_string(&b, str_of(path));
        add_info(&b, m, NULL);
        json_add_close(&b, '}');
    } else {
        add_line(&b, m, NULL);
        buf_addf(&b, ": %s", path);
    }
    buf_addc(&b, '\n');
    model_close(m);
    return model_cli_print(&b);
}

/* ---- list ----------------------------------------------------------------------------------------------- */
static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* File names of packed models without the ending, sorted; the caller frees them. */
static rag_code packed_names(const char *cache, char ***out, size_t *n)
{
    *out = NULL;
    *n = 0;
    DIR *d = opendir(cache);
    if (!d)
        return RAG_OK; /* none yet */
    rag_code rc = RAG_OK;
    for (struct dirent *e; !rc && (e = readdir(d)) != NULL;) {
        size_t len = strlen(e->d_name);
        if (len <= 5 || strcmp(e->d_name + len - 5, ".ragm") != 0)
            continue;
        char **more = mem_realloc(MEM_MISC, *out, (*n + 1) * sizeof *more);
        *out = more ? more : *out;
        char *name = more ? mem_strndup(MEM_MISC, e->d_name, len - 5) : NULL;
        if (name)
            (*out)[(*n)++] = name;
        else
            rc = RAG_ENOMEM;
    }
    closedir(d);
    if (*n)
        qsort(*out, *n, sizeof **out, by_name);
    return rc;
}

static void add_packed(struct buf *b, const char *cache, const char *name, bool json)
{
    char path[4300];
    struct model *m = NULL;
    struct rag_err err = {0};
    snprintf(path, sizeof path, "%s/%s.ragm", cache, name);
    rag_code rc = model_open(path, false, &m, &err);
    if (json) {
        json_add_open(b, '{');
        if (rc) {
            json_add_key(b, "name");
            json_add_string(b, str_of(name));
            json_add_key(b, "error");
            json_add_string(b, str_of(err.msg));
        } else {
            add_info(b, m, name);
        }
        json_add_close(b, '}');
    } else if (rc) {
        buf_addf(b, "  %s: %s\n", name, err.msg);
    } else {
        buf_addz(b, "  ");
        add_line(b, m, name);
        buf_addc(b, '\n');
    }
    model_close(m);
}

static void add_catalogue(struct buf *b, bool json)
{
    for (const struct model_known *k = model_catalogue; k->name; k++) {
        if (!json) {
            buf_addf(b, "  %s: %u dims, %u layers, %s; languages: %s; %s\n", k->name, k->dims, k->layers, k->licence,
                     k->languages, k->source);
            continue;
        }
        json_add_open(b, '{');
        const char *const pairs[][2] = {
            {"name", k->name}, {"source", k->source}, {"licence", k->licence}, {"languages", k->languages}};
        for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
            json_add_key(b, pairs[i][0]);
            json_add_string(b, str_of(pairs[i][1]));
        }
        json_add_key(b, "dims");
        json_add_u64(b, k->dims);
        json_add_key(b, "layers");
        json_add_u64(b, k->layers);
        json_add_close(b, '}');
    }
}

static int run_list(int argc, char **argv)
{
    bool json = false;
    const struct cli_option options[] = {{"--json", NULL, &json}, {0}};
    int n, status = cli_parse("model", argc, argv, options, &n);
    if (status >= 0)
        return status;
    if (n)
        return cli_fail(EXIT_USAGE, "model list: unexpected argument %s: see ragd help model", argv[0]);
    char cache[3900], **names;
    struct rag_err err = {0};
    size_t n_names;
    rag_code rc = model_cache_dir(cache, sizeof cache, &err);
    if (rc)
        return fail("list", rc, &err);
    struct buf b;
    buf_init(&b, MEM_MISC);
    rc = packed_names(cache, &names, &n_names);
    if (json) {
        json_add_open(&b, '{');
        json_add_key(&b, "folder");
        json_add_string(&b, str_of(cache));
        json_add_key(&b, "models");
        json_add_open(&b, '[');
    } else {
        buf_addf(&b, "packed, in %s:%s\n", cache, n_names ? "" : " none");
    }
    for (size_t i = 0; i < n_names; i++) {
        add_packed(&b, cache, names[i], json);
        mem_free(MEM_MISC, names[i]);
    }
    mem_free(MEM_MISC, names);
    if (json) {
        json_add_close(&b, ']');
        json_add_key(&b, "known");
        json_add_open(&b, '[');
        add_catalogue(&b, true);
        json_add_close(&b, ']');
        json_add_close(&b, '}');
        buf_addc(&b, '\n');
    } else {
        buf_addz(&b, "\nknown to work, by licence and where Hugging Face has the folder:\n");
        add_catalogue(&b, false);
        buf_addz(&b, "\nDownload the folder (config.json, tokenizer.json, model.safetensors, modules.json, 1_Pooling and "
                     "the other JSON files),\nthen: ragd model import DIR --name NAME\n");
    }
    status = model_cli_print(&b);
    return rc ? cli_fail(EXIT_FAIL, "model list: %s", rag_code_name(rc)) : status;
}

/* ---- info, verify, bench -------------------------------------------------------------------------------- */
static void print_prefix(const char *what, const char *prefix)
{
    if (prefix[0])
        printf("  %-15s \"%s\"\n", what, prefix);
}

static int show_info(const struct model *m, bool json)
{
    const struct model_info *in = model_info(m);
    if (json) {
        struct buf b;
        buf_init(&b, MEM_MISC);
        json_add_open(&b, '{');
        add_info(&b, m, NULL);
        json_add_close(&b, '}');
        buf_addc(&b, '\n');
        return model_cli_print(&b);
    }
    char digest[65];
    model_cli_hex(in->digest, 32, digest);
    double length = 0;
    for (uint32_t i = 0; i < in->dims; i++)
        length += (double)in->mean[i] * (double)in->mean[i];
    printf("%s\n  digest          %s\n", in->name, digest);
    printf("  network         %s, %u layers of %u, %u heads, inner %u\n",
           in->arch == MODEL_XLMR ? "xlm-roberta" : "bert", in->layers, in->hidden, in->heads, in->intermediate);
    printf("  vectors         %u dims, %s pooling, %s, length of the mean %.3f\n", in->dims,
           in->pooling == MODEL_POOL_CLS ? "cls" : "mean", in->normalize ? "unit length" : "not normalised",
           sqrt(length));
    printf("  window          %u tokens, vocabulary %u\n", in->max_tokens, in->vocabulary);
    print_prefix("query prefix", in->query_prefix);
    print_prefix("passage prefix", in->passage_prefix);
    printf("  file            %s weights, %.1f MB\n", weights_name(in->weights), (double)model_bytes(m) / 1e6);
    return EXIT_OK;
}

/* A vector of each kind is finite, has its length, and differs for texts that differ. */
static rag_code try_vectors(const struct model *m, struct rag_err *err)
{
    const struct model_info *in = model_info(m);
    static const char *const texts[] = {"How long is the warranty of the machine?", "机器的保修期是两年，从签收之日算起。"};
    struct str s[2] = {str_of(texts[0]), str_of(texts[1])};
    struct encoder *e = NULL;
    float *v = mem_alloc(MEM_MODEL, 2 * (size_t)in->dims * sizeof *v);
    rag_code rc = v ? encoder_new(m, &e) : RAG_ENOMEM;
    for (int kind = ENCODE_PLAIN; kind <= ENCODE_PASSAGE && !rc; kind++) {
        rc = encoder_run(e, (enum encode_kind)kind, s, 2, NULL, v, NULL);
        double length[2] = {0, 0}, apart = 0;
        for (uint32_t i = 0; i < in->dims && !rc; i++) {
            double a = (double)v[i], b = (double)v[in->dims + i];
            length[0] += a * a;
            length[1] += b * b;
            apart += (a - b) * (a - b);
        }
        for (int i = 0; i < 2 && !rc; i++)
            if (!isfinite(length[i]) || (in->normalize && !(fabs(sqrt(length[i]) - 1) < 1e-3)))
                rc = rag_err_set(err, RAG_ECORRUPT, "%s: a vector has length %g: import it again", in->name,
                                 sqrt(length[i]));
        if (!rc && apart < 1e-12)
            rc = rag_err_set(err, RAG_ECORRUPT, "%s: different texts have the same vector: its weights are damaged",
                             in->name);
    }
    encoder_free(e);
    mem_free(MEM_MODEL, v);
    return rc;
}

static int verify(const struct model *m, bool json)
{
    struct rag_err err = {0};
    rag_code rc = try_vectors(m, &err);
    if (rc)
        return fail("verify", rc, &err);
    struct buf b;
    buf_init(&b, MEM_MISC);
    if (json) {
        json_add_open(&b, '{');
        json_add_key(&b, "ok");
        json_add_bool(&b, true);
        add_info(&b, m, NULL);
        json_add_close(&b, '}');
    } else {
        add_line(&b, m, NULL);
        buf_addz(&b, ": fine");
    }
    buf_addc(&b, '\n');
    return model_cli_print(&b);
}

/* One model and --json: what three of the commands take. */
static int with_model(const char *what, int argc, char **argv, bool check, int (*run)(const struct model *, bool))
{
    bool json = false;
    const struct cli_option options[] = {{"--json", NULL, &json}, {0}};
    struct model *m = NULL;
    int n, status = cli_parse("model", argc, argv, options, &n);
    if (status >= 0)
        return status;
    if (n != 1)
        return cli_fail(EXIT_USAGE, "model %s: one name or file is wanted: see ragd model list", what);
    status = model_cli_open(what, argv[0], check, &m);
    if (status < 0)
        status = run(m, json);
    model_close(m);
    return status;
}

static int run_info(int argc, char **argv)
{
    return with_model("info", argc, argv, false, show_info);
}
static int run_verify(int argc, char **argv)
{
    return with_model("verify", argc, argv, true, verify);
}
static int run_bench(int argc, char **argv)
{
    return with_model("bench", argc, argv, false, model_bench);
}

/* ---- embed, tokens -------------------------------------------------------------------------------------- */
/* The next line of stdin without its end; false at the end of the input. */
static bool next_line(char **line, size_t *cap, struct str *out)
{
    ssize_t n = getline(line, cap, stdin);
    if (n < 0)
        return false;
    *out = str_make(*line, (size_t)n - ((*line)[n - 1] == '\n'));
    return true;
}

/* NaN and infinity have no JSON. */
static bool add_vector(struct buf *b, const float *v, uint32_t dims)
{
    bool finite = true;
    buf_addc(b, '[');
    for (uint32_t i = 0; i < dims; i++) {
        finite = finite && isfinite(v[i]);
        buf_addf(b, i ? ",%.9g" : "%.9g", (double)v[i]);
    }
    buf_addz(b, "]\n");
    return finite;
}

struct embedder {
    struct encoder *encoder;
    enum encode_kind kind;
    uint32_t dims;
    char *lines[LINES];
    size_t caps[LINES];
    float *v; /* LINES * dims */
};

/* Reads up to LINES lines and prints their vectors; *more is false at the end of the input. */
static rag_code embed_batch(struct embedder *e, bool *more)
{
    struct str texts[LINES];
    uint32_t n = 0;
    while (n < LINES && (*more = next_line(&e->lines[n], &e->caps[n], &texts[n])))
        n++;
    if (!n)
        return RAG_OK;
    rag_code rc = encoder_run(e->encoder, e->kind, texts, n, NULL, e->v, NULL);
    struct buf b;
    buf_init(&b, MEM_MISC);
    for (uint32_t i = 0; i < n && !rc; i++)
        if (!add_vector(&b, e->v + (size_t)i * e->dims, e->dims))
            rc = RAG_ECORRUPT;
    if (!rc && buf_failed(&b))
        rc = RAG_ENOMEM;
    if (!rc && fwrite(b.ptr, 1, b.len, stdout) != b.len)
        rc = RAG_EIO;
    buf_clear(&b);
    return rc;
}

static int run_embed(int argc, char **argv)
{
    const char *as = "query";
    const struct cli_option options[] = {{"--as", &as, NULL}, {0}};
    int n, status = cli_parse("model", argc, argv, options, &n);
    if (status >= 0)
        return status;
    static const char *const kinds[] = {[ENCODE_PLAIN] = "plain", [ENCODE_QUERY] = "query", [ENCODE_PASSAGE] = "passage"};
    int kind = 0;
    while (kind < 3 && strcmp(kinds[kind], as) != 0)
        kind++;
    if (kind == 3)
        return cli_fail(EXIT_USAGE, "model embed: --as %s: is not query, passage or plain", as);
    if (n != 1)
        return cli_fail(EXIT_USAGE, "model embed: one name or file is wanted: see ragd model list");
    struct model *m = NULL;
    status = model_cli_open("embed", argv[0], false, &m);
    if (status >= 0)
        return status;
    struct embedder e = {.kind = (enum encode_kind)kind, .dims = model_info(m)->dims};
    e.v = mem_alloc(MEM_MISC, (size_t)LINES * e.dims * sizeof *e.v);
    rag_code rc = e.v ? encoder_new(m, &e.encoder) : RAG_ENOMEM;
    for (bool more = true; more && !rc;)
        rc = embed_batch(&e, &more);
    for (int i = 0; i < LINES; i++)
        free(e.lines[i]);
    encoder_free(e.encoder);
    mem_free(MEM_MISC, e.v);
    model_close(m);
    return rc ? cli_fail(EXIT_FAIL, "model embed: %s", rag_code_name(rc)) : EXIT_OK;
}

static int run_tokens(int argc, char **argv)
{
    const struct cli_option options[] = {{0}};
    int n, status = cli_parse("model", argc, argv, options, &n);
    if (status >= 0)
        return status;
    if (n != 1)
        return cli_fail(EXIT_USAGE, "model tokens: one name or file is wanted: see ragd model list");
    struct model *m = NULL;
    status = model_cli_open("tokens", argv[0], false, &m);
    if (status >= 0)
        return status;
    struct tokenizer_scratch *scratch = NULL;
    struct buf ids, b;
    struct str line;
    char *text = NULL;
    size_t cap = 0;
    buf_init(&ids, MEM_MISC);
    buf_init(&b, MEM_MISC);
    rag_code rc = tokenizer_scratch_new(&scratch);
    while (!rc && next_line(&text, &cap, &line)) {
        buf_reset(&ids);
        buf_reset(&b);
        rc = tokenizer_encode(model_tokenizer(m), scratch, line, &ids);
        json_add_open(&b, '[');
        for (size_t i = 0; i < ids.len / sizeof(uint32_t) && !rc; i++)
            json_add_u64(&b, ((const uint32_t *)(const void *)ids.ptr)[i]);
        json_add_close(&b, ']');
        buf_addc(&b, '\n');
        if (!rc && buf_failed(&b))
            rc = RAG_ENOMEM;
        if (!rc && fwrite(b.ptr, 1, b.len, stdout) != b.len)
            rc = RAG_EIO;
    }
    free(text);
    buf_clear(&b);
    buf_clear(&ids);
    tokenizer_scratch_free(scratch);
    model_close(m);
    return rc ? cli_fail(EXIT_FAIL, "model tokens: %s", rag_code_name(rc)) : EXIT_OK;
}

/* ---- dispatch ------------------------------------------------------------------------------------------- */
int cmd_model(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } commands[] = {{"import", run_import}, {"list", run_list},   {"info", run_info},    {"verify", run_verify},
                    {"bench", run_bench},   {"embed", run_embed}, {"tokens", run_tokens}};
    if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        cli_print_help(cli_find("model"));
        return EXIT_OK;
    }
    for (size_t i = 0; argc >= 2 && i < sizeof commands / sizeof *commands; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (argc >= 2)
        return cli_fail(EXIT_USAGE, "model %s: no such command: see ragd help model", argv[1]);
    return cli_fail(EXIT_USAGE, "model: import, list, info, verify, bench, embed or tokens: see ragd help model");
}
