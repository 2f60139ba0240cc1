/* The path of a question: the rows of `stages`, in order. The name of a row is the folder under stages/, the
 * trace span and the `stage` label of the latency metric. A stage that fails stops the question with its code; one that runs
 * out of time does not: what it found so far goes on. */
#include "pipeline/ask.h"

#include "stages/analysis/analysis.h"
#include "stages/generation/extract_answer.h"
#include "stages/retrieval/retrieval.h"
#include "sys/clock.h"
#include "wire/json_out.h"

static rag_code analyse(const struct pipeline *p, struct ask *k)
{
    rag_code rc = analysis_run(p->analyzer, &k->query, &k->analysis);
    if (!rc && k->deadline_ns == 0)
        k->deadline_ns =
            clock_mono_ns() + (int64_t)p->profile.query_timeout_ms[k->analysis.complexity] * 1000000;
    return rc;
}

static rag_code retrieve(const struct pipeline *p, struct ask *k)
{
    uint32_t limit = p->profile.retrieve_lexical;
    if (limit < k->query.top_k)
        limit = k->query.top_k;
    rag_code rc =
        retrieval_run(&k->query, &k->analysis, &p->profile, limit, k->deadline_ns, k->arena, &k->hits);
    if (k->listing)
        return rc;
    k->confidence = calibrate_hits(&k->analysis, &k->hits);
    while (k->hits.n && (double)k->hits.items[k->hits.n - 1].score < k->query.min_score)
        k->hits.n--; /* scores never rise along the list: what is left reaches min_score, answer and all */
    return rc;
}

static rag_code generate(const struct pipeline *p, struct ask *k)
{
    return extract_answer(p->analyzer, &k->query, &k->analysis, &k->hits, k->confidence, &p->profile,
                          k->arena, &k->answer);
}

static void explain_analysis(const struct ask *k, struct buf *out)
{
    const struct query_analysis *a = &k->analysis;
    buf_addf(
        out,
        "\"language\":\"%s\",\"complexity\":\"%s\",\"kind\":\"%s\",\"answer_type\":\"%s\",\"confidence\":%.3f,"
        "\"asks\":%u,\"comparison\":%s,\"condition\":%s,\"aggregation\":%s,\"terms\":[",
        language_name(a->language), complexity_name(a->complexity), query_kind_name(a->kind),
        answer_type_name(a->answer_type), (double)a->confidence, a->n_asks,
        a->has_comparison ? "true" : "false", a->has_condition ? "true" : "false",
        a->has_aggregation ? "true" : "false");
    for (uint32_t i = 0; i < a->terms.n; i++) {
        struct str t = term_text(&a->terms, i);
        buf_addz(out, i ? ",{\"term\":\"" : "{\"term\":\"");
        json_escape(out, t);
        buf_addf(out, "\",\"weight\":%.3f}", (double)a->terms.items[i].weight);
    }
    buf_addc(out, ']');
}

static void explain_retrieval(const struct ask *k, struct buf *out)
{
    const struct hits *h = &k->hits;
    buf_addf(
        out,
        "\"segments\":%u,\"chunks\":%llu,\"candidates\":%u,\"terms\":%u,\"known_terms\":%u,\"idf_mass\":%.3f,"
        "\"known_mass\":%.3f,\"best_bm25\":%.3f,\"confidence\":%.3f",
        h->list->n, (unsigned long long)h->list->n_chunks, h->n, h->n_terms, h->n_known_terms,
        (double)h->idf_mass, (double)h->known_mass, h->n ? (double)h->items[0].bm25 : 0.0,
        (double)k->confidence);
}

static void explain_generation(const struct ask *k, struct buf *out)
{
    buf_addf(out, "\"source\":\"%s\",\"found\":%s,\"citations\":%u", answer_source_name(k->answer.source),
             k->answer.found ? "true" : "false", k->answer.n_citations);
}

static const struct stage_row {
    const char *name;
    rag_code (*run)(const struct pipeline *p, struct ask *k);
    void (*explain)(const struct ask *k, struct buf *out);
} stages[STAGES] = {
    [STAGE_ANALYSIS] = {"analysis", analyse, explain_analysis},
    [STAGE_RETRIEVAL] = {"retrieval", retrieve, explain_retrieval},
    [STAGE_GENERATION] = {"generation", generate, explain_generation},
};

const char *stage_name(enum stage s)
{
    return stages[s].name;
}

static rag_code run_stage(const struct pipeline *p, struct ask *k, enum stage s)
{
    int64_t start = clock_mono_ns();
    rag_code rc = stages[s].run(p, k);
    k->stage_ns[s] = clock_mono_ns() - start;
    if (rc == RAG_ETIMEOUT) {
        k->cut_short = stages[s].name;
        rc = RAG_OK;
    }
    if (!rc && k->query.explain) {
        buf_addf(&k->explain, "%s\"%s\":{\"ms\":%.3f,", k->explain.len ? "," : "", stages[s].name,
                 (double)k->stage_ns[s] / 1e6);
        stages[s].explain(k, &k->explain);
        buf_addc(&k->explain, '}');
        if (buf_failed(&k->explain)) /* half of it is no JSON */
            rc = RAG_ENOMEM;
    }
    return rc;
}

rag_code ask_run(const struct pipeline *p, struct ask *k, struct rag_err *err)
{
    int64_t start = clock_mono_ns();
    term_list_init(&k->analysis.terms);
    buf_init(&k->explain, MEM_REQUEST);
    k->pinned = false;
    for (int s = 0; s < STAGES; s++)
        k->stage_ns[s] = -1;
    if (k->query.text.len == 0 && !k->listing)
        return rag_err_param(err, RAG_EINVAL, "query", "the question is empty");
    rag_code rc = knowledge_pin(p->knowledge, k->query.collection, &k->hits.list);
    if (rc)
        return rag_err_param(err, rc, "collection", "no collection %.*s", (int)k->query.collection.len,
                             k->query.collection.ptr);
    k->pinned = true;
    for (int s = 0; s < STAGES && !rc; s++) {
        bool skip = (s == STAGE_ANALYSIS && k->listing) || (s == STAGE_GENERATION && k->search_only);
        if (!skip && (rc = run_stage(p, k, (enum stage)s)))
            rag_err_set(err, rc, "%s: %s", stages[s].name, rag_code_name(rc));
    }
    k->total_ns = clock_mono_ns() - start;
    return rc;
}

void ask_end(const struct pipeline *p, struct ask *k)
{
    if (k->pinned)
        knowledge_unpin(p->knowledge);
    k->pinned = false;
    term_list_clear(&k->analysis.terms);
    buf_clear(&k->explain);
}
