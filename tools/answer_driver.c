/* tools/answer_driver.c - runs judged questions through the stages, in memory, for calibrate.py and
 * answer_quality.py. Built by them against libragd.a:
 *   answer_driver features|answers|spans DIR CORPUS QUERIES QRELS LIMIT [MODEL VECTORS]
 * LIMIT: at most so many questions, taken evenly (0: all). MODEL: a packed model's file; VECTORS: the folder that keeps
 * passage vectors; without them the dense leg does not run.
 * features: a line per question: id, terms, known terms, idf mass, known mass, chunks, kind, background mean and spread; then bm25, coverage, cosine,
 * fused and id of up to 100 hits, tab-separated. answers: a JSON line per question: id, found, confidence, text, cited document ids. spans:
 * a line per candidate of what could stand in front of the extract: question, kind, unit's rank and share of the best
 * score, features (answer_span.c), words. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "index/list_edit.h"
#include "pipeline/evaluate.h"
#include "stages/analysis/analysis.h"
#include "stages/embedding/embedding.h"
#include "stages/fusion/fusion.h"
#include "stages/generation/extract_int.h"
#include "stages/retrieval/retrieval.h"
#include "wire/json_out.h"

struct driver {
    struct eval_data data;
    struct segment_list *list;
    struct analyzer *an;
    struct model *model;
    struct encoder_pool *encoders;
    struct arena arena;
    int64_t ns;
    uint32_t n;
};

/* Time that this thread computed: what else runs on the machine does not count. */
static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct str hit_id(const struct hits *h, uint32_t i)
{
    struct chunk_view v;
    segment_chunk(h->list->e[h->items[i].ref.entry].segment, h->items[i].ref.chunk, &v);
    return v.document_id;
}

static void print_features(const struct eval_query *eq, enum query_kind kind, const struct hits *h)
{
    printf("%.*s\t%u\t%u\t%.4f\t%.4f\t%llu\t%s\t%.5f\t%.5f", (int)eq->id.len, eq->id.ptr, h->n_terms, h->n_known_terms,
           (double)h->idf_mass, (double)h->known_mass, (unsigned long long)h->list->n_chunks, query_kind_name(kind),
           (double)h->background_median, (double)h->background_spread);
    for (uint32_t i = 0; i < h->n && i < 100; i++) {
        struct str id = hit_id(h, i);
        printf("\t%.4f\t%.4f\t%.5f\t%.4f\t%.*s", (double)h->items[i].bm25, (double)h->items[i].coverage,
               (double)h->items[i].cosine, (double)h->items[i].fused, (int)id.len, id.ptr);
    }
    printf("\n");
}

static void print_answer(const struct eval_query *eq, const struct hits *h, const struct answer *a)
{
    struct buf b;
    buf_init(&b, MEM_MISC);
    json_escape(&b, a->text);
    printf("{\"id\":\"%.*s\",\"found\":%s,\"confidence\":%.4f,\"text\":\"%.*s\",\"cited\":[", (int)eq->id.len, eq->id.ptr,
           a->found ? "true" : "false", (double)a->confidence, (int)b.len, b.ptr);
    for (uint32_t i = 0; i < a->n_citations; i++) {
        struct str id = hit_id(h, a->citations[i].hit);
        printf("%s\"%.*s\"", i ? "," : "", (int)id.len, id.ptr);
    }
    printf("]}\n");
    buf_clear(&b);
}

/* A line for each candidate of the best units: question, kind, unit's rank and share of the best score, features, words. */
static rag_code print_spans(struct driver *d, const struct eval_query *eq, const struct query *q,
                            const struct query_analysis *qa, const struct hits *h)
{
    struct extract x = {.an = d->an, .q = q, .qa = qa, .h = h, .confidence = 1, .arena = &d->arena};
    struct span_question asked;
    uint32_t best[4], n = 0;
    rag_code rc = h->n ? extract_gather(&x, 10) : RAG_OK;
    if (!rc && h->n)
        rc = extract_select(&x, 3);
    if (!rc)
        rc = span_question_read(q->text, &d->arena, &asked);
    uint32_t n_best = !rc ? extract_best_units(&x, best, 4) : 0;
    for (uint32_t i = 0; i < n_best && !rc; i++) {
        struct span_candidate c[SPAN_CANDIDATES];
        struct str s = unit_text(&x, &x.units[best[i]]);
        rc = extract_unit_spans(&x, &x.units[best[i]], x.units[best[i]].score / x.units[best[0]].score, &asked, c, &n);
        for (uint32_t k = 0; k < n && !rc; k++) {
            printf("%.*s\t%u\t%u\t%.4f", (int)eq->id.len, eq->id.ptr, asked.kind, i,
                   (double)(x.units[best[i]].score / x.units[best[0]].score));
            for (int j = 0; j < SPAN_FEATURES; j++)
                printf("\t%.4f", (double)c[k].features[j]);
            printf("\t%.*s\n", (int)(c[k].at.end - c[k].at.start), s.ptr + c[k].at.start);
        }
    }
    return rc;
}

static rag_code ask_one(struct driver *d, const struct eval_query *eq, bool features, bool spans)
{
    struct query q = {.text = eq->text, .collection = STR_LIT("default"), .top_k = 10};
    struct query_analysis qa = {0};
    struct hits h = {.list = d->list};
    struct answer a = {0};
    term_list_init(&qa.terms);
    rag_code rc = analysis_run(d->an, &q, &qa);
    struct qvec qvec = {0}, *to[] = {&qvec};
    if (!rc && d->encoders)
        rc = embedding_run(d->encoders, NULL, (const struct query *[]){&q}, (struct arena *[]){&d->arena}, 1, to);
    if (!rc)
        rc = retrieval_run(&q, &qa, &qvec, &profile_balanced, (struct retrieval_limits){30, 30}, 0, &d->arena, &h);
    if (!rc)
        rc = fusion_run(&qa, &profile_balanced, &d->arena, &h);
    if (!rc && features)
        print_features(eq, qa.kind, &h);
    if (!rc && spans)
        rc = print_spans(d, eq, &q, &qa, &h);
    if (!rc && !features && !spans) {
        int64_t start = cpu_ns();
        float confidence = calibrate_hits(&qa, &h);
        rc = extract_answer(d->an, &q, &qa, &h, confidence, &profile_balanced, &d->arena, &a);
        d->ns += cpu_ns() - start;
        d->n++;
        if (!rc)
            print_answer(eq, &h, &a);
    }
    term_list_clear(&qa.terms);
    arena_reset(&d->arena);
    return rc;
}

int main(int argc, char **argv)
{
    struct driver d = {0};
    struct rag_err err = {0};
    if (argc != 7 && argc != 9)
        return 2;
    bool features = strcmp(argv[1], "features") == 0;
    struct eval_files f = {.dir = argv[2], .corpus = argv[3], .queries = argv[4], .qrels = argv[5]};
    rag_code rc = analyzer_new(NULL, 0, &d.an, &err);
    if (!rc)
        rc = eval_data_load(&f, &d.data, &err);
    if (!rc)
        rc = eval_index(&d.data, d.an, NULL, NULL, NULL, &d.list, &err);
    if (!rc && argc == 9)
        rc = model_open(argv[7], false, &d.model, &err);
    if (!rc && argc == 9)
        rc = encoder_pool_new(d.model, &d.encoders);
    if (!rc && argc == 9) {
        const struct model_info *m = model_info(d.model);
        struct vector_space space = {.dims = m->dims, .mean = m->mean};
        uint64_t embedded;
        memcpy(space.digest, m->digest, sizeof space.digest);
        rc = eval_embed(&d.list, d.encoders, &space, (struct token_tools){0}, argv[8], NULL, NULL, &embedded, &err);
    }
    const struct eval_query *queries = (const struct eval_query *)(const void *)d.data.queries.ptr;
    size_t n = d.data.queries.len / sizeof *queries, limit = strtoul(argv[6], NULL, 10);
    size_t want = limit && limit < n ? limit : n;
    for (size_t i = 0; i < want && !rc; i++)
        rc = ask_one(&d, &queries[i * n / want], features, strcmp(argv[1], "spans") == 0);
    if (rc)
        fprintf(stderr, "answer_driver: %s %s\n", rag_code_name(rc), err.msg);
    if (d.n)
        fprintf(stderr, "%u answers, %.1f us of CPU each\n", d.n, (double)d.ns / 1e3 / d.n);
    eval_data_clear(&d.data);
    list_free(d.list);
    encoder_pool_free(d.encoders);
    model_close(d.model);
    analyzer_free(d.an);
    arena_clear(&d.arena);
    return rc ? 1 : 0;
}
