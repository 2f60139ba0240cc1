/* ragd bench cost: every question under every profile, and once as if nobody cared what it costs. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/bench_int.h"
#include "cli/cli.h"
#include "pipeline/evaluate.h"
#include "text/utf8.h"
#include "wire/json_in.h"

enum { MAX_QUESTIONS = 10000, MAX_QUESTION_BYTES = 8192, MAX_ANSWER_TOKENS = 32768 };
static const char sample[] = "sample/questions.jsonl";

const char *const cost_row_names[COST_ROWS] = {"baseline", "balanced", "latency", "throughput", "cost"};
/* Contract of the product: what costs are promised for. */
const struct llm_price cost_promised_prices[CLASSES] = {
    [CLASS_SMALL] = {200000000, 200000000, 400000000},
    [CLASS_MEDIUM] = {700000000, 700000000, 1400000000},
    [CLASS_LARGE] = {1400000000, 1400000000, 2800000000},
};

struct cost_bench {
    struct cli_common common;
    const char *file, *collection, *upstream, *output_tokens;
    bool json;
    struct arena arena; /* texts, questions, results */
    struct str *questions;
    uint32_t n;
    struct cost_question *rows[COST_ROWS];
    struct llm_provider provider; /* of --upstream, or nobody's */
    struct llm_model models[LLM_MAX_MODELS];
    struct llm_catalogue catalogue;
    bool call, priced;
    uint32_t answer_tokens;
    char accounts[4096]; /* folder of a ledger that nobody keeps; "": the data folder's is used */
};

/* ---- questions ------------------------------------------------------------------------------------------- */

/* A line of JSON has it as "text"; else the line is the question. Empty: none in this line. */
static rag_code read_question(struct cost_bench *b, struct str line, struct str *out, struct rag_err *err)
{
    json_t *root = NULL;
    *out = str_trim(line);
    if (out->len && out->ptr[0] == '{') {
        rag_code rc = json_in_parse(*out, out->len, &root, err);
        const json_t *text = rc ? NULL : json_object_get(root, "text");
        if (!rc && !json_is_string(text))
            rc = rag_err_set(err, RAG_EFORMAT, "no \"text\"");
        if (rc) {
            json_decref(root);
            return rc;
        }
        *out = str_trim(json_in_str(text));
    }
    rag_code rc = RAG_OK;
    if (out->len > MAX_QUESTION_BYTES || !utf8_valid(*out))
        rc =
            rag_err_set(err, RAG_EFORMAT, "a question is UTF-8 of at most %d bytes", (int)MAX_QUESTION_BYTES);
    char *copy = rc ? NULL : arena_strndup(&b->arena, out->ptr, out->len);
    *out = str_make(copy, copy ? out->len : 0);
    json_decref(root);
    return rc ? rc : copy ? RAG_OK : RAG_ENOMEM;
}

static rag_code split_questions(struct cost_bench *b, struct str bytes, struct rag_err *err)
{
    rag_code rc = RAG_OK;
    struct rag_err why = {0};
    for (uint32_t line = 1; bytes.len && !rc; line++) {
        const char *nl = memchr(bytes.ptr, '\n', bytes.len);
        size_t len = nl ? (size_t)(nl - bytes.ptr) : bytes.len;
        struct str q;
        rc = read_question(b, str_make(bytes.ptr, len), &q, &why);
        if (!rc && q.len && b->n == MAX_QUESTIONS)
            rc = rag_err_set(&why, RAG_ETOOBIG, "more than %d questions", (int)MAX_QUESTIONS);
        if (rc)
            return rag_err_set(err, rc == RAG_EINVAL ? RAG_EFORMAT : rc, "%s:%u: %s", b->file, line,
                               why.msg[0] ? why.msg : rag_code_name(rc));
        if (q.len)
            b->questions[b->n++] = q;
        len += nl != NULL;
        bytes = str_make(bytes.ptr + len, bytes.len - len);
    }
    return b->n ? RAG_OK : rag_err_set(err, RAG_EFORMAT, "%s: no questions", b->file);
}

static rag_code load_questions(struct cost_bench *b, struct rag_err *err)
{
    struct buf bytes;
    if (!b->file && access(sample, R_OK) != 0)
        return rag_err_set(err, RAG_EINVAL, "no questions: name a file with --questions");
    b->file = b->file ? b->file : sample;
    buf_init(&bytes, MEM_MISC);
    b->questions = arena_array(&b->arena, MAX_QUESTIONS, sizeof *b->questions);
    rag_code rc = b->questions ? eval_read_file(b->file, &bytes, err) : RAG_ENOMEM;
    if (!rc)
        rc = split_questions(b, buf_str(&bytes), err);
    buf_clear(&bytes);
    for (int r = 0; r < COST_ROWS && !rc; r++)
        if (!(b->rows[r] = arena_array(&b->arena, b->n, sizeof **b->rows)))
            rc = RAG_ENOMEM;
    return rc;
}

/* ---- models ---------------------------------------------------------------------------------------------- */

static void promised_models(struct cost_bench *b, const char *url)
{
    b->provider = (struct llm_provider){.name = "upstream", .base_url = url};
    for (int c = 0; c < CLASSES; c++)
        b->models[c] = (struct llm_model){.name = model_class_name((enum model_class)c),
                                          .provider = &b->provider,
                                          .model = model_class_name((enum model_class)c),
                                          .class = (enum model_class)c};
    b->catalogue.n = CLASSES;
}

/* The upstream's, the configured ones, or three that nobody asks. Without any price they get the promised ones. */
static void choose_models(struct cost_bench *b, const struct config *cfg)
{
    b->catalogue = (struct llm_catalogue){b->models, cfg->catalogue.n};
    bool configured = !b->upstream && cfg->catalogue.n;
    if (configured)
        memcpy(b->models, cfg->catalogue.models, cfg->catalogue.n * sizeof *b->models);
    else
        promised_models(b, b->upstream ? b->upstream : "http://127.0.0.1:9/v1");
    b->priced = false;
    for (uint32_t i = 0; i < b->catalogue.n; i++)
        b->priced |= b->models[i].price.input > 0 || b->models[i].price.output > 0;
    for (uint32_t i = 0; i < b->catalogue.n && !b->priced; i++)
        b->models[i].price = cost_promised_prices[b->models[i].class];
    b->call = !b->output_tokens && (b->upstream || (configured && cfg->profile.stage_generation));
}

static bool at_promised_prices(const struct cost_bench *b)
{
    bool same = true;
    for (uint32_t i = 0; i < b->catalogue.n; i++) {
        const struct llm_price *p = &b->models[i].price, *q = &cost_promised_prices[b->models[i].class];
        same &= p->input == q->input && p->cached_input == q->cached_input && p->output == q->output;
    }
    return same;
}

/* ---- accounts: what is no real money must not be in the data folder's ----------------------------------- */

static rag_code accounts_new(struct cost_bench *b, struct rag_err *err)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(b->accounts, sizeof b->accounts, "%s/ragd-cost-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (mkdtemp(b->accounts))
        return RAG_OK;
    rag_code rc = rag_err_set(err, rag_code_from_errno(errno), "%s: %s", b->accounts, strerror(errno));
    b->accounts[0] = 0;
    return rc;
}

static void accounts_remove(struct cost_bench *b)
{
    DIR *d = b->accounts[0] ? opendir(b->accounts) : NULL;
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.')
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
    if (b->accounts[0])
        rmdir(b->accounts);
}

/* ---- runs ------------------------------------------------------------------------------------------------ */

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    cli_progress_step(ctx, done, total);
}

static rag_code run_row(struct cost_bench *b, const struct cli_house *h, const struct config *cfg,
                        struct llm *llm, enum cost_row row, struct rag_err *err)
{
    struct pipeline p = open_pipeline(cfg, h->analyzer, &h->models, h->knowledge, llm);
    struct cli_progress bar;
    cli_progress_start(&bar, cost_row_names[row]);
    struct cost_options opt = {.pipeline = &p,
                               .collection = b->collection ? str_of(b->collection) : STR_LIT("default"),
                               .baseline = row == ROW_BASELINE,
                               .call = b->call,
                               .answer_tokens = b->answer_tokens,
                               .progress = on_progress,
                               .ctx = &bar};
    rag_code rc = cost_run(&opt, b->questions, b->n, b->rows[row], err);
    cli_progress_end(&bar);
    return rc;
}

/* A profile's row has the profile's configuration; the baseline retrieves as balanced does. */
static int bench_profile(struct cost_bench *b, const struct cli_house *h, enum cost_row row)
{
    struct config cfg;
    struct cli_common common = b->common;
    struct open_llm llm = {0};
    struct rag_err err = {0};
    common.profile = cost_row_names[row == ROW_BASELINE ? ROW_BALANCED : row];
    int status = cli_load_config("bench", &common, &cfg);
    if (status >= 0)
        return status;
    rag_code rc = b->call && !b->upstream ? cli_resolve_keys("bench cost", &cfg) : RAG_OK;
    if (rc) {
        config_clear(&cfg);
        return EXIT_FAIL;
    }
    choose_models(b, &cfg);
    cfg.catalogue = b->catalogue;
    cfg.profile.stage_generation = true;
    if (b->accounts[0]) {
        cfg.data = b->accounts;
        cfg.budget_daily = cfg.budget_monthly = 0;
    }
    rc = open_llm(&cfg, NULL, &llm, &err);
    if (!rc)
        rc = run_row(b, h, &cfg, llm.llm, row, &err);
    open_llm_close(&llm);
    config_clear(&cfg);
    if (rc)
        return cli_fail(EXIT_FAIL, "bench cost: %s", err.msg[0] ? err.msg : rag_code_name(rc));
    return -1;
}

/* Without one answer, the lengths are no measurement. */
static int check_answers(const struct cost_bench *b)
{
    uint32_t asked = 0, degraded = 0;
    for (int r = 0; r < COST_ROWS; r++)
        for (uint32_t i = 0; i < b->n; i++) {
            asked += b->rows[r][i].asked;
            degraded += b->rows[r][i].degraded;
        }
    if (asked == 0)
        return cli_fail(EXIT_FAIL,
                        "bench cost: nothing was found for any question: fill the folder with ragd ingest");
    if (degraded == asked)
        return cli_fail(EXIT_FAIL,
                        "bench cost: no model answered: see ragd query --explain, or assume the answers' "
                        "length with --output-tokens simulated");
    return -1;
}

static int print(const struct cost_bench *b)
{
    struct cost_report r = {.file = b->file,
                            .n = b->n,
                            .models = &b->catalogue,
                            .priced = b->priced,
                            .promised = at_promised_prices(b),
                            .answers = b->call            ? ANSWERS_CALLED
                                       : b->answer_tokens ? ANSWERS_FIXED
                                                          : ANSWERS_EXTRACT,
                            .answer_tokens = b->answer_tokens};
    struct buf out;
    for (int i = 0; i < COST_ROWS; i++)
        r.rows[i] = b->rows[i];
    buf_init(&out, MEM_MISC);
    rag_code rc = bench_cost_print(&r, b->json, &out);
    if (!rc)
        fwrite(out.ptr, 1, out.len, stdout);
    buf_clear(&out);
    return rc ? cli_fail(EXIT_FAIL, "bench cost: %s", rag_code_name(rc)) : EXIT_OK;
}

static int run(struct cost_bench *b, const struct cli_house *h)
{
    struct rag_err err = {0};
    if (h->remote)
        return cli_fail(
            EXIT_FAIL,
            "bench cost: data folder %s: a server at %s holds it: stop it, or name another folder with "
            "--data",
            h->cfg.data, h->holder.address);
    rag_code rc = load_questions(b, &err);
    choose_models(b, &h->cfg);
    if (!rc && (!b->call || b->upstream))
        rc = accounts_new(b, &err);
    if (rc)
        return cli_fail(rc == RAG_EINVAL ? EXIT_USAGE : EXIT_FAIL, "bench cost: %s",
                        err.msg[0] ? err.msg : rag_code_name(rc));
    int status = -1;
    for (int r = 0; r < COST_ROWS && status < 0; r++)
        status = bench_profile(b, h, (enum cost_row)r);
    if (status < 0)
        status = check_answers(b);
    accounts_remove(b);
    choose_models(b, &h->cfg); /* what they point to lives as long as their configuration */
    return status < 0 ? print(b) : status;
}

static int parse_output_tokens(struct cost_bench *b)
{
    const char *z = b->output_tokens;
    if (!z || strcmp(z, "simulated") == 0)
        return -1;
    char *end;
    errno = 0;
    unsigned long n = *z >= '0' && *z <= '9' ? strtoul(z, &end, 10) : 0;
    if (n == 0 || errno || *end || n > MAX_ANSWER_TOKENS)
        return cli_fail(EXIT_USAGE, "bench cost: --output-tokens %s: simulated, or 1 to %d", z,
                        (int)MAX_ANSWER_TOKENS);
    b->answer_tokens = (uint32_t)n;
    return -1;
}

int bench_cost(int argc, char **argv)
{
    struct cost_bench b = {0};
    const struct cli_option options[] = {
        CLI_COMMON_OPTIONS(&b.common),     {"--questions", &b.file, NULL},
        {"--queries", &b.file, NULL},      {"--collection", &b.collection, NULL},
        {"--upstream", &b.upstream, NULL}, {"--output-tokens", &b.output_tokens, NULL},
        {"--json", NULL, &b.json},         {0}};
    int n, status = cli_parse("bench", argc, argv, options, &n);
    if (status >= 0)
        return status;
    if (n)
        return cli_fail(EXIT_USAGE, "bench cost: %s: takes no arguments", argv[0]);
    if (b.upstream && b.output_tokens)
        return cli_fail(EXIT_USAGE, "bench cost: --upstream and --output-tokens: one of them");
    if (b.upstream && strncmp(b.upstream, "http://", 7) != 0 && strncmp(b.upstream, "https://", 8) != 0)
        return cli_fail(EXIT_USAGE, "bench cost: --upstream %s: a base URL like http://127.0.0.1:9000/v1",
                        b.upstream);
    status = parse_output_tokens(&b);
    if (status >= 0)
        return status;
    for (size_t len; b.upstream && (len = strlen(b.upstream)) && b.upstream[len - 1] == '/';)
        if (!(b.upstream = arena_strndup(&b.arena, b.upstream, len - 1)))
            return cli_fail(EXIT_FAIL, "bench cost: out of memory");
    struct cli_house house;
    status = cli_house_open("bench cost", &b.common, true, &house);
    if (status < 0) {
        status = run(&b, &house);
        cli_house_close(&house);
    }
    arena_clear(&b.arena);
    return status;
}
