#include "pipeline/evaluate.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "daemon/open.h"
#include "index/list_edit.h"
#include "sys/clock.h"
#include "wire/json_out.h"

enum { DEPTH = 100, ONLINE_DEPTH = 30, MAX_ROWS = 32, HITS_WRITTEN = 64 };

struct row {
    char name[48];
    struct eval_setting setting;
    struct eval_result result;
};

struct eval_args {
    struct cli_common common;
    struct eval_files files;
    const char *legs, *run_file, *hits_file, *rows_file, *vectors_dir, *chunk_style;
    bool ablation, json, chunk;
};

/* ---- rows ---------------------------------------------------------------------------------------------- */
static void add_row(struct row *rows, uint32_t *n, const struct eval_setting *s, const char *name)
{
    struct row *r = &rows[(*n)++];
    *r = (struct row){.setting = *s};
    snprintf(r->name, sizeof r->name, "%s", name);
}

/* The first row is the pipeline as configured; each other one changes one thing. */
static uint32_t make_rows(const struct config *cfg, const struct eval_args *a, bool with_model, struct row *rows)
{
    struct eval_setting base = {.profile = open_profile(cfg),
                                .lexical = strcmp(a->legs, "dense") != 0,
                                .dense = with_model && strcmp(a->legs, "bm25") != 0,
                                .depth = DEPTH},
                        s;
    uint32_t n = 0;
    base.profile.stage_reranking &= strcmp(a->legs, "full") == 0;
    add_row(rows, &n, &base, a->legs);
    if (!a->ablation)
        return n;
    static const struct {
        const char *name;
        bool on, features, late;
    } reranked[] = {{"hybrid", false, false, false},
                    {"with features", true, true, false},
                    {"with late interaction", true, false, true},
                    {"full", true, true, true}};
    for (size_t i = 0; i < sizeof reranked / sizeof *reranked; i++) {
        s = base;
        s.profile.stage_reranking = reranked[i].on;
        s.profile.rerank_features = reranked[i].features;
        s.profile.rerank_late = reranked[i].late;
        if (strcmp(reranked[i].name, a->legs) != 0 && (base.dense || !reranked[i].late))
            add_row(rows, &n, &s, reranked[i].name);
    }
    base.profile.stage_reranking = false; /* of what comes below, the retrieval */
    if (base.dense) {
        s = base;
        s.dense = false;
        s.lexical = true;
        add_row(rows, &n, &s, "bm25");
        s.dense = true;
        s.lexical = false;
        add_row(rows, &n, &s, "dense");
        s.lexical = true;
        s.profile.fusion_method = FUSION_RRF;
        add_row(rows, &n, &s, "hybrid, rrf");
        s.profile.fusion_method = FUSION_CONVEX;
        for (int w = 3; w <= 8; w++) {
            char name[48];
            for (int i = 0; i < 3; i++)
                s.profile.dense_weight[i] = (float)w / 10;
            snprintf(name, sizeof name, "hybrid, dense weight .%d", w);
            add_row(rows, &n, &s, name);
        }
    }
    s = base;
    s.depth = ONLINE_DEPTH;
    add_row(rows, &n, &s, "30 candidates (online)");
    static const struct {
        float k1, b;
    } bm25[] = {{0.9F, 0.4F}, {1.2F, 0.75F}, {1.2F, 0.4F}, {2.0F, 0.75F}};
    for (size_t i = 0; i < sizeof bm25 / sizeof *bm25; i++) {
        char name[48];
        s = base;
        s.profile.bm25_k1 = bm25[i].k1;
        s.profile.bm25_b = bm25[i].b;
        snprintf(name, sizeof name, "k1 %.1f, b %.2f", (double)bm25[i].k1, (double)bm25[i].b);
        bool same = fabsf(bm25[i].k1 - base.profile.bm25_k1) < 1e-6F &&
                    fabsf(bm25[i].b - base.profile.bm25_b) < 1e-6F;
        if (!same)
            add_row(rows, &n, &s, name);
    }
    s = base;
    s.equal_weights = true;
    add_row(rows, &n, &s, "all terms weigh 1");
    return n;
}

/* ---- run file ------------------------------------------------------------------------------------------ */
struct run_writer {
    FILE *f, *hits, *rows; /* NULL: not wanted */
    const struct eval_data *data;
};

/* One line a candidate of the reranker, for training: query, document, grade, fused score, MaxSim ("-": none), features. */
static void write_rerank_rows(const struct run_writer *w, const struct eval_query *q, const struct eval_seen *seen)
{
    const struct eval_doc *docs = (const struct eval_doc *)(const void *)w->data->docs.ptr;
    for (uint32_t i = 0; i < seen->rerank->n; i++) {
        const struct hit *h = &seen->hits->items[i];
        const struct rerank_row *row = &seen->rerank->rows[i];
        struct chunk_view view;
        segment_chunk(seen->hits->list->e[h->ref.entry].segment, h->ref.chunk, &view);
        uint32_t doc = (uint32_t)(view.seq - 1), grade = 0;
        for (uint32_t j = 0; j < q->n_judged; j++)
            grade = q->judged[j].doc == doc ? q->judged[j].grade : grade;
        fprintf(w->rows, "%.*s\t%.*s\t%u\t%.6f\t", (int)q->id.len, q->id.ptr, (int)docs[doc].id.len, docs[doc].id.ptr, grade,
                (double)h->fused);
        if (row->has_late)
            fprintf(w->rows, "%.6f", (double)row->late);
        else
            fputc('-', w->rows);
        for (int f = 0; f < RERANK_FEATURES; f++)
            fprintf(w->rows, "\t%.5f", (double)row->x[f]);
        fputc('\n', w->rows);
    }
}

/* One JSON line a question: its first chunks, with their place in the document (code points). */
static void write_hits(FILE *f, const struct eval_query *q, const struct hits *hits)
{
    struct buf b;
    buf_init(&b, MEM_MISC);
    buf_addz(&b, "{\"query\":\"");
    json_escape(&b, q->id);
    buf_addz(&b, "\",\"hits\":[");
    for (uint32_t i = 0; i < hits->n && i < HITS_WRITTEN; i++) {
        struct chunk_view v;
        segment_chunk(hits->list->e[hits->items[i].ref.entry].segment, hits->items[i].ref.chunk, &v);
        buf_addz(&b, i ? ",{\"document\":\"" : "{\"document\":\"");
        json_escape(&b, v.document_id);
        buf_addf(&b, "\",\"ordinal\":%u,\"start\":%u,\"end\":%u,\"title\":\"", v.ordinal, v.start, v.end);
        json_escape(&b, v.title);
        buf_addz(&b, "\",\"heading_path\":\"");
        json_escape(&b, v.heading_path);
        buf_addz(&b, "\",\"text\":\"");
        buf_add(&b, v.text_json.ptr, v.text_json.len);
        buf_addz(&b, "\"}");
    }
    buf_addz(&b, "]}\n");
    fwrite(b.ptr, 1, b.len, f);
    buf_clear(&b);
}

/* Scores fall strictly, so that a tool that sorts by score (and breaks ties its own way) sees our order. */
static void write_run(void *ctx, uint32_t query, const struct eval_seen *seen)
{
    struct run_writer *w = ctx;
    const struct eval_query *q = (const struct eval_query *)(const void *)w->data->queries.ptr + query;
    const struct eval_ranked *ranked = seen->ranked;
    uint32_t n = w->f ? seen->n : 0;
    if (w->rows)
        write_rerank_rows(w, q, seen);
    if (w->hits)
        write_hits(w->hits, q, seen->hits);
    const struct eval_doc *docs = (const struct eval_doc *)(const void *)w->data->docs.ptr;
    float before = INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        float score = ranked[i].score < before ? ranked[i].score : nextafterf(before, -INFINITY);
        const struct eval_doc *d = &docs[ranked[i].doc];
        fprintf(w->f, "%.*s Q0 %.*s %u %.9g ragd\n", (int)q->id.len, q->id.ptr, (int)d->id.len, d->id.ptr,
                i + 1, (double)score);
        before = score;
    }
}

/* ---- output -------------------------------------------------------------------------------------------- */
static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct timing {
    double mean, p50, p99;
};

static struct timing timing(double *ms, uint32_t n) /* sorts ms */
{
    struct timing t = {0};
    for (uint32_t i = 0; i < n; i++)
        t.mean += ms[i] / n;
    qsort(ms, n, sizeof *ms, by_value);
    if (n) {
        t.p50 = ms[n / 2];
        t.p99 = ms[(size_t)((double)(n - 1) * 0.99)];
    }
    return t;
}

static const char *const stage_names[EVAL_STAGES] = {"analysis", "embedding", "retrieval", "fusion", "reranking"};

struct embed_report {
    const char *model; /* NULL: words only */
    uint64_t passages; /* not found in --vectors */
    double seconds;
};

static void print_rows(struct row *rows, uint32_t n, const struct eval_data *d, uint64_t n_chunks,
                       double index_s, const struct embed_report *embed)
{
    if (embed->model)
        printf("%s: %llu passages embedded in %.1f s (%.0f/s)\n", embed->model, (unsigned long long)embed->passages,
               embed->seconds, embed->seconds > 0 ? (double)embed->passages / embed->seconds : 0);
    printf(
        "%zu documents, %llu chunks indexed in %.1f s; %u judged queries (%u without judgments left out)\n\n",
        d->docs.len / sizeof(struct eval_doc), (unsigned long long)n_chunks, index_s, rows[0].result.n,
        d->n_unjudged);
    printf("%-24s", "");
    for (int m = 0; m < EVAL_METRICS; m++)
        printf("  %-19s", eval_metric_names[m]);
    printf("  ms/query: analysis  embedding (p50)  retrieval (p50, p99)  reranking (p50, p99)\n");
    for (uint32_t i = 0; i < n; i++) {
        struct row *r = &rows[i];
        printf("%-24s", r->name);
        for (int m = 0; m < EVAL_METRICS; m++) {
            double mean, lo, hi;
            char cell[64];
            eval_interval(r->result.per_query[m], r->result.n, &mean, &lo, &hi);
            snprintf(cell, sizeof cell, "%.4f [%.3f %.3f]", mean, lo, hi);
            printf("  %-19s", cell);
        }
        struct timing a = timing(r->result.ms[EVAL_ANALYSIS], r->result.n);
        struct timing e = timing(r->result.ms[EVAL_EMBEDDING], r->result.n);
        struct timing t = timing(r->result.ms[EVAL_RETRIEVAL], r->result.n);
        struct timing k = timing(r->result.ms[EVAL_RERANKING], r->result.n);
        printf("            %.3f     %.3f (%.3f)     %.3f (%.3f, %.3f)     %.3f (%.3f, %.3f)\n", a.mean, e.mean, e.p50, t.mean,
               t.p50, t.p99, k.mean, k.p50, k.p99);
    }
    if (n == 1)
        return;
    printf("\nndcg@10 against the first row, paired by query, 95 %% interval:\n");
    double *diff = mem_alloc(MEM_MISC, sizeof *diff * (rows[0].result.n + 1));
    for (uint32_t i = 1; i < n && diff; i++) {
        double mean, lo, hi;
        for (uint32_t q = 0; q < rows[0].result.n; q++)
            diff[q] = rows[i].result.per_query[EVAL_NDCG10][q] - rows[0].result.per_query[EVAL_NDCG10][q];
        eval_interval(diff, rows[0].result.n, &mean, &lo, &hi);
        printf("%-24s  %+.4f [%+.4f %+.4f]\n", rows[i].name, mean, lo, hi);
    }
    mem_free(MEM_MISC, diff);
}

static void row_json(struct buf *out, struct row *r)
{
    buf_addz(out, "{\"name\":\"");
    json_escape(out, str_of(r->name));
    buf_addf(out, "\",\"depth\":%u,\"metrics\":{", r->setting.depth);
    for (int m = 0; m < EVAL_METRICS; m++) {
        double mean, lo, hi;
        eval_interval(r->result.per_query[m], r->result.n, &mean, &lo, &hi);
        buf_addf(out, "%s\"%s\":{\"value\":%.6f,\"low\":%.6f,\"high\":%.6f}", m ? "," : "",
                 eval_metric_names[m], mean, lo, hi);
    }
    buf_addz(out, "},\"ms_per_query\":{");
    for (int s = 0; s < EVAL_STAGES; s++) {
        struct timing t = timing(r->result.ms[s], r->result.n);
        buf_addf(out, "%s\"%s\":{\"mean\":%.4f,\"p50\":%.4f,\"p99\":%.4f}", s ? "," : "", stage_names[s],
                 t.mean, t.p50, t.p99);
    }
    buf_addz(out, "}}");
}

static void print_json(struct row *rows, uint32_t n, const struct eval_data *d, const char *dir,
                       uint64_t n_chunks, double index_s, const struct embed_report *embed)
{
    struct buf b;
    buf_init(&b, MEM_MISC);
    buf_addz(&b, "{\"dataset\":\"");
    json_escape(&b, str_of(dir));
    buf_addf(&b, "\",\"documents\":%zu,\"chunks\":%llu,\"queries\":%u,\"index_s\":%.3f",
             d->docs.len / sizeof(struct eval_doc), (unsigned long long)n_chunks, rows[0].result.n, index_s);
    if (embed->model)
        buf_addf(&b, ",\"model\":\"%s\",\"embedded\":%llu,\"embed_s\":%.3f", embed->model,
                 (unsigned long long)embed->passages, embed->seconds);
    buf_addz(&b, ",\"rows\":[");
    for (uint32_t i = 0; i < n; i++) {
        buf_addz(&b, i ? "," : "");
        row_json(&b, &rows[i]);
    }
    buf_addz(&b, "]}\n");
    fwrite(b.ptr, 1, b.len, stdout);
    buf_clear(&b);
}

/* ---- the command --------------------------------------------------------------------------------------- */
static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    cli_progress_step(ctx, done, total);
}

static rag_code run_rows(struct row *rows, uint32_t n, const struct eval_data *d,
                         const struct segment_list *list, const struct analyzer *an, const struct eval_questions *v,
                         const struct eval_args *a, struct rag_err *err)
{
    struct run_writer w = {.data = d};
    const struct {
        const char *path;
        FILE **f;
    } files[] = {{a->run_file, &w.f}, {a->hits_file, &w.hits}, {a->rows_file, &w.rows}};
    rag_code rc = RAG_OK;
    bool wanted = false;
    for (size_t i = 0; i < sizeof files / sizeof *files && !rc; i++) {
        if (files[i].path && !(*files[i].f = fopen(files[i].path, "we")))
            rc = rag_err_set(err, rag_code_from_errno(errno), "%s: %s", files[i].path, strerror(errno));
        wanted |= files[i].path != NULL;
    }
    for (uint32_t i = 0; i < n && !rc; i++)
        rc = eval_run(d, list, an, v, &rows[i].setting, i == 0 && wanted ? write_run : NULL, &w, &rows[i].result, err);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (*files[i].f && (ferror(*files[i].f) | fclose(*files[i].f)) && !rc)
            rc = rag_err_set(err, RAG_EIO, "%s: cannot write", files[i].path);
    return rc;
}

static int evaluate(const struct config *cfg, const struct eval_args *a)
{
    struct eval_data data;
    struct rag_err err = {0};
    struct analyzer *an = NULL;
    struct segment_list *list = NULL;
    struct open_models models = {0};
    struct row rows[MAX_ROWS];
    uint32_t n = 0;
    struct eval_cut cut = {.size = {cfg->chunk_size_tokens, cfg->chunk_overlap_tokens},
                           .windows = strcmp(a->chunk_style, "windows") == 0};
    rag_code rc = eval_data_load(&a->files, &data, &err);
    if (!rc && strcmp(a->legs, "bm25") != 0)
        rc = open_models(cfg, NULL, &models);
    if (!rc && !models.model[0] && strcmp(a->legs, "bm25") != 0 && strcmp(a->legs, "full") != 0)
        rc = rag_err_set(&err, RAG_ENOTFOUND, "--legs %s wants a model: %s", a->legs, models.why_not);
    if (!rc)
        n = make_rows(cfg, a, models.model[0] != NULL, rows);
    if (!rc)
        rc = open_analyzer(cfg, &an, &err);
    struct cli_progress p;
    cli_progress_start(&p, "index");
    int64_t start = clock_mono_ns();
    if (!rc)
        rc = eval_index(&data, an, a->chunk ? &cut : NULL, on_progress, &p, &list, &err);
    double index_s = (double)(clock_mono_ns() - start) / 1e9;
    cli_progress_end(&p);
    struct embed_report embed = {0};
    if (!rc && models.model[0]) {
        cli_progress_start(&p, "embed");
        start = clock_mono_ns();
        rc = eval_embed(&list, models.encoders[0], &models.space[0], models.tokens, a->vectors_dir, on_progress, &p, &embed.passages,
                        &err);
        embed.seconds = (double)(clock_mono_ns() - start) / 1e9;
        embed.model = model_info(models.model[0])->name;
        cli_progress_end(&p);
    }
    struct arena arena = {0};
    struct eval_questions questions = {0};
    if (!rc && models.model[0])
        rc = eval_embed_questions(&data, models.encoders[0], models.tokens, &arena, &questions);
    if (!rc)
        rc = run_rows(rows, n, &data, list, an, &questions, a, &err);
    arena_clear(&arena);
    int status = EXIT_OK;
    if (rc)
        status = cli_fail(EXIT_FAIL, "eval: %s", err.msg[0] ? err.msg : rag_code_name(rc));
    else if (a->json)
        print_json(rows, n, &data, a->files.dir, list->n_chunks, index_s, &embed);
    else
        print_rows(rows, n, &data, list->n_chunks, index_s, &embed);
    for (uint32_t i = 0; i < n; i++)
        eval_result_clear(&rows[i].result);
    list_free(list);
    open_models_close(&models);
    analyzer_free(an);
    eval_data_clear(&data);
    return status;
}

int cmd_eval(int argc, char **argv)
{
    struct eval_args a = {.legs = "full", .chunk_style = "headings"};
    const struct cli_option options[] = {CLI_COMMON_OPTIONS(&a.common),
                                         {"--profile", &a.common.profile, NULL},
                                         {"--dataset", &a.files.dir, NULL},
                                         {"--corpus", &a.files.corpus, NULL},
                                         {"--queries", &a.files.queries, NULL},
                                         {"--qrels", &a.files.qrels, NULL},
                                         {"--legs", &a.legs, NULL},
                                         {"--run", &a.run_file, NULL},
                                         {"--hits", &a.hits_file, NULL},
                                         {"--rerank-rows", &a.rows_file, NULL},
                                         {"--vectors", &a.vectors_dir, NULL},
                                         {"--ablation", NULL, &a.ablation},
                                         {"--chunk", NULL, &a.chunk},
                                         {"--chunk-style", &a.chunk_style, NULL},
                                         {"--json", NULL, &a.json},
                                         {0}};
    int n, status = cli_parse("eval", argc, argv, options, &n);
    if (status >= 0)
        return status;
    if (n || !a.files.dir)
        return cli_fail(EXIT_USAGE, "eval: %s: ragd eval --dataset DIR",
                        n ? "unexpected argument" : "no data set");
    static const char *const legs[] = {"bm25", "dense", "hybrid", "full"};
    bool known = false;
    for (size_t i = 0; i < sizeof legs / sizeof *legs; i++)
        known |= strcmp(a.legs, legs[i]) == 0;
    if (!known)
        return cli_fail(EXIT_USAGE, "eval: --legs %s: use bm25, dense, hybrid or full", a.legs);
    if (strcmp(a.chunk_style, "headings") != 0 && strcmp(a.chunk_style, "windows") != 0)
        return cli_fail(EXIT_USAGE, "eval: --chunk-style %s: use headings or windows", a.chunk_style);
    struct config cfg;
    status = cli_load_config("eval", &a.common, &cfg);
    if (status >= 0)
        return status;
    status = evaluate(&cfg, &a);
    config_clear(&cfg);
    return status;
}
