/* `ragd model bench`: what this machine does with a model. Texts are made to a length in tokens of that model, times
 * are medians of many runs, threads run until one end so that all of them work all the time. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/model_int.h"
#include "model/encoder.h"
#include "sys/clock.h"
#include "sys/cpu.h"
#include "wire/json_out.h"

enum { QUESTION_TOKENS = 16, PASSAGE_TOKENS = 100, N_TEXTS = 8, MIN_RUNS = 5, MAX_RUNS = 2000, MAX_THREADS = 256 };
static const int64_t run_ns = 1500000000;

static const char *const words[] = {"how",    "long", "does",  "the",      "bank", "take", "to",   "return",
                                    "money",  "when", "a",     "customer", "paid", "with", "card", "and",
                                    "cancels", "an",  "order", "before",   "it",   "was",  "sent", "from"};

struct bench_texts {
    struct buf bytes[N_TEXTS];
    struct str texts[N_TEXTS];
};

struct bench_result {
    double question_ms, questions_ms; /* one, and N_TEXTS at once */
    double one, all;                  /* passages a second: one thread, all cores */
    double question_gops, passage_gops; /* one thread */
    unsigned threads;
    double question_tokens, passage_tokens; /* mean of a text, prefix and special ids included */
};

/* Words from `start` on until the text has `tokens` ids, those around it included. */
static rag_code make_text(const struct model *m, struct tokenizer_scratch *scratch, const char *prefix, uint32_t start,
                          uint32_t tokens, struct buf *out)
{
    struct buf ids, text;
    buf_init(&ids, MEM_MISC);
    buf_init(&text, MEM_MISC);
    buf_addz(&text, prefix);
    rag_code rc = RAG_OK;
    for (uint32_t i = start; !rc && i < start + tokens; i++) {
        if (i > start)
            buf_addc(out, ' ');
        buf_addz(out, words[i * 7 % (sizeof words / sizeof *words)]);
        buf_reset(&ids);
        text.len = strlen(prefix);
        buf_adds(&text, buf_str(out));
        rc = buf_failed(&text) ? RAG_ENOMEM : tokenizer_encode(model_tokenizer(m), scratch, buf_str(&text), &ids);
        if (ids.len / sizeof(uint32_t) + 2 >= tokens)
            break;
    }
    buf_clear(&text);
    buf_clear(&ids);
    return rc;
}

static void texts_clear(struct bench_texts *t)
{
    for (int i = 0; i < N_TEXTS; i++)
        buf_clear(&t->bytes[i]);
}

static rag_code texts_make(const struct model *m, const char *prefix, uint32_t tokens, struct bench_texts *t)
{
    struct tokenizer_scratch *scratch = NULL;
    uint32_t most = model_info(m)->max_tokens;
    for (int i = 0; i < N_TEXTS; i++)
        buf_init(&t->bytes[i], MEM_MISC);
    rag_code rc = tokenizer_scratch_new(&scratch);
    for (uint32_t i = 0; i < N_TEXTS && !rc; i++) {
        rc = make_text(m, scratch, prefix, i * 3, tokens < most ? tokens : most, &t->bytes[i]);
        t->texts[i] = buf_str(&t->bytes[i]);
        if (!rc && buf_failed(&t->bytes[i]))
            rc = RAG_ENOMEM;
    }
    tokenizer_scratch_free(scratch);
    return rc;
}

/* Multiplications and additions of the matrices for texts of so many tokens; norms and softmax are not counted. */
static double operations(const struct model_info *in, double tokens)
{
    double h = in->hidden, inner = in->intermediate;
    return tokens * in->layers * (2 * (4 * h * h + 2 * h * inner) + 4 * tokens * h);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median milliseconds of encoding n texts at once; *tokens: mean of a text. */
static rag_code median_ms(struct encoder *e, const struct bench_texts *t, uint32_t n, float *v, double *ms,
                          double *tokens)
{
    double *times = mem_alloc(MEM_MISC, MAX_RUNS * sizeof *times);
    int64_t end = clock_mono_ns() + run_ns;
    int runs = 0;
    uint64_t n_tokens = 0;
    rag_code rc = times ? encoder_run(e, ENCODE_QUERY, t->texts, n, NULL, v, &n_tokens) : RAG_ENOMEM; /* warm */
    while (!rc && runs < MAX_RUNS && (runs < MIN_RUNS || clock_mono_ns() < end)) {
        int64_t start = clock_mono_ns();
        rc = encoder_run(e, ENCODE_QUERY, t->texts, n, NULL, v, NULL);
        times[runs++] = (double)(clock_mono_ns() - start) / 1e6;
    }
    if (!rc) {
        qsort(times, (size_t)runs, sizeof *times, by_value);
        *ms = times[runs / 2];
        *tokens = (double)n_tokens / n;
    }
    mem_free(MEM_MISC, times);
    return rc;
}

struct worker {
    pthread_t thread;
    const struct model *model;
    const struct bench_texts *texts;
    int64_t end_ns;
    uint64_t passages, tokens;
    int64_t busy_ns; /* of this thread, from its first to its last passage */
    rag_code rc;
};

static void *work(void *ctx)
{
    struct worker *w = ctx;
    struct encoder *e = NULL;
    float *v = mem_alloc(MEM_MISC, N_TEXTS * (size_t)model_info(w->model)->dims * sizeof *v);
    w->rc = v ? encoder_new(w->model, &e) : RAG_ENOMEM;
    if (!w->rc)
        w->rc = encoder_run(e, ENCODE_PASSAGE, w->texts->texts, N_TEXTS, NULL, v, NULL); /* warm */
    int64_t start = clock_mono_ns();
    do {
        uint64_t n = 0;
        if (!w->rc)
            w->rc = encoder_run(e, ENCODE_PASSAGE, w->texts->texts, N_TEXTS, NULL, v, &n);
        w->passages += N_TEXTS;
        w->tokens += n;
    } while (!w->rc && clock_mono_ns() < w->end_ns);
    w->busy_ns = clock_mono_ns() - start;
    encoder_free(e);
    mem_free(MEM_MISC, v);
    return NULL;
}

/* Passages a second of so many threads, each with an encoder of its own. */
static rag_code passages_per_s(const struct model *m, const struct bench_texts *t, unsigned threads, double *out,
                               double *tokens)
{
    struct worker *w = mem_zalloc(MEM_MISC, threads * sizeof *w);
    rag_code rc = w ? RAG_OK : RAG_ENOMEM;
    unsigned started = 0;
    int64_t end = clock_mono_ns() + 2 * run_ns;
    while (!rc && started < threads) {
        w[started] = (struct worker){.model = m, .texts = t, .end_ns = end};
        rc = pthread_create(&w[started].thread, NULL, work, &w[started]) ? RAG_ENOMEM : RAG_OK;
        started += !rc;
    }
    *out = 0;
    uint64_t passages = 0, all_tokens = 0;
    for (unsigned i = 0; i < started; i++) {
        pthread_join(w[i].thread, NULL);
        rc = rc ? rc : w[i].rc;
        *out += (double)w[i].passages / ((double)w[i].busy_ns / 1e9);
        passages += w[i].passages;
        all_tokens += w[i].tokens;
    }
    if (!rc)
        *tokens = (double)all_tokens / (double)passages;
    mem_free(MEM_MISC, w);
    return rc;
}

static rag_code measure(const struct model *m, struct bench_result *r)
{
    struct bench_texts questions, passages;
    const struct model_info *in = model_info(m);
    struct encoder *e = NULL;
    float *v = mem_alloc(MEM_MISC, N_TEXTS * (size_t)in->dims * sizeof *v);
    double tokens;
    rag_code rc = texts_make(m, in->query_prefix, QUESTION_TOKENS, &questions);
    rag_code rc2 = texts_make(m, in->passage_prefix, PASSAGE_TOKENS, &passages);
    rc = rc ? rc : rc2 ? rc2 : v ? encoder_new(m, &e) : RAG_ENOMEM;
    if (!rc)
        rc = median_ms(e, &questions, 1, v, &r->question_ms, &r->question_tokens);
    if (!rc)
        rc = median_ms(e, &questions, N_TEXTS, v, &r->questions_ms, &tokens);
    encoder_free(e);
    r->threads = cpu_count() < MAX_THREADS ? cpu_count() : MAX_THREADS;
    if (!rc)
        rc = passages_per_s(m, &passages, 1, &r->one, &r->passage_tokens);
    if (!rc)
        rc = passages_per_s(m, &passages, r->threads, &r->all, &tokens);
    r->question_gops = operations(in, r->question_tokens) / r->question_ms / 1e6;
    r->passage_gops = operations(in, r->passage_tokens) * r->one / 1e9;
    texts_clear(&questions);
    texts_clear(&passages);
    mem_free(MEM_MISC, v);
    return rc;
}

static int print_json(const struct model *m, const struct bench_result *r)
{
    const struct model_info *in = model_info(m);
    char digest[65];
    struct buf b;
    buf_init(&b, MEM_MISC);
    model_cli_hex(in->digest, 32, digest);
    const char *const strings[][2] = {{"model", in->name},
                                      {"digest", digest},
                                      {"kernels", encoder_kernels()},
                                      {"cpu", cpu_name()},
                                      {"cpu_features", cpu_feature_list()}};
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"question_tokens", r->question_tokens}, {"question_ms", r->question_ms},
                   {"question_gops", r->question_gops},     {"questions_8_ms", r->questions_ms},
                   {"passage_tokens", r->passage_tokens},   {"passages_per_s_1_thread", r->one},
                   {"passage_gops", r->passage_gops},       {"passages_per_s_all", r->all},
                   {"threads", r->threads}};
    json_add_open(&b, '{');
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
        json_add_key(&b, strings[i][0]);
        json_add_string(&b, str_of(strings[i][1]));
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        json_add_key(&b, numbers[i].key);
        json_add_fixed(&b, numbers[i].value, 3);
    }
    json_add_close(&b, '}');
    buf_addc(&b, '\n');
    return model_cli_print(&b);
}

int model_bench(const struct model *m, bool json)
{
    struct bench_result r = {0};
    rag_code rc = measure(m, &r);
    if (rc)
        return cli_fail(EXIT_FAIL, "model bench: %s", rag_code_name(rc));
    if (json)
        return print_json(m, &r);
    const struct model_info *in = model_info(m);
    printf("%s, %s weights, kernels %s\n%s, %u cores, %s\n", in->name, in->weights == MODEL_F32 ? "f32" : "int8",
           encoder_kernels(), cpu_name(), cpu_count(), cpu_feature_list());
    printf("  one question of %.0f tokens     %8.2f ms  (median; 1 thread; %.0f Gop/s)\n", r.question_tokens,
           r.question_ms, r.question_gops);
    printf("  %d questions at once            %8.2f ms\n", N_TEXTS, r.questions_ms);
    printf("  passages of %.0f tokens        %8.1f a second with 1 thread (%.0f Gop/s)\n", r.passage_tokens, r.one,
           r.passage_gops);
    printf("                                %8.1f a second with %u threads\n", r.all, r.threads);
    return EXIT_OK;
}
