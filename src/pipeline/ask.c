/* The path of a question: the rows of `stages`, in order. The name of a row is the folder under stages/, the
 * trace span and the `stage` label of the latency metric. A stage that fails stops the question with its code, or, where its
 * row says SKIP, is left out; one that runs out of time hands on what it found. */
#include "pipeline/ask.h"

#include "obs/log.h"
#include "stages/analysis/analysis.h"
#include "stages/embedding/embedding.h"
#include "stages/fusion/fusion.h"
#include "stages/generation/extract_answer.h"
#include "stages/reranking/reranking.h"
#include "stages/retrieval/retrieval.h"
#include "sys/clock.h"
#include "wire/json_out.h"

static rag_code analyse(const struct pipeline *p, struct ask *const *ks, uint32_t n)
{
    struct ask *k = ks[0];
    (void)n;
    rag_code rc = analysis_run(p->analyzer, &k->query, &k->analysis);
    if (!rc && k->deadline_ns == 0)
        k->deadline_ns =
            (k->arrived_ns ? k->arrived_ns : clock_mono_ns()) +
            (int64_t)k->profile->query_timeout_ms[k->analysis.complexity] * 1000000;
    return rc;
}

/* All of them are compared in one slot; another slot's wait for the next call. */
static rag_code embed(const struct pipeline *p, struct ask *const *ks, uint32_t n)
{
    const struct query *queries[ASK_BATCH];
    struct arena *arenas[ASK_BATCH];
    struct qvec *out[ASK_BATCH];
    uint32_t slot = knowledge_dense_slot(p->knowledge), m = 0; /* m of them want a vector */
    bool reranks = false; /* any of them: the tokens' states are wanted */
    bool late = true; /* every one: whoever still has time needs the vectors */
    for (uint32_t i = 0; i < n; i++) {
        bool off = !ks[i]->profile->stage_dense;
        ks[i]->qvec = (struct qvec){.slot = slot, .why_not = off ? "off" : p->why_no_encoder};
        if (off)
            continue;
        queries[m] = &ks[i]->query;
        arenas[m] = ks[i]->arena;
        out[m++] = &ks[i]->qvec;
        reranks |= ks[i]->profile->stage_reranking && ks[i]->profile->rerank_late;
        late &= ks[i]->deadline_ns && clock_mono_ns() > ks[i]->deadline_ns;
    }
    if (!p->encoders[slot] || !m)
        return RAG_OK;
    if (late) {
        for (uint32_t i = 0; i < m; i++)
            out[i]->why_not = "no time left";
        return RAG_ETIMEOUT;
    }
    rag_code rc = embedding_run(p->encoders[slot], slot == 0 && reranks ? p->tokens.weights : NULL, queries, arenas, m, out);
    for (uint32_t i = 0; i < m && rc; i++)
        *out[i] = (struct qvec){.slot = slot, .why_not = rag_code_name(rc)};
    return rc;
}

static rag_code retrieve(const struct pipeline *p, struct ask *const *ks, uint32_t n)
{
    struct ask *k = ks[0];
    struct retrieval_limits limits = {k->profile->retrieve_lexical, k->profile->retrieve_dense};
    (void)p, (void)n;
    if (limits.lexical < k->query.top_k)
        limits.lexical = k->query.top_k;
    if (limits.dense < k->query.top_k)
        limits.dense = k->query.top_k;
    return retrieval_run(&k->query, &k->analysis, &k->qvec, k->profile, limits, k->deadline_ns, k->arena, &k->hits);
}

static rag_code fuse(const struct pipeline *p, struct ask *const *ks, uint32_t n)
{
    struct ask *k = ks[0];
    (void)p, (void)n;
    return fusion_run(&k->analysis, k->profile, k->arena, &k->hits);
}

static rag_code rerank(const struct pipeline *p, struct ask *const *ks, uint32_t n)
{
    struct ask *k = ks[0];
    (void)n;
    int64_t deadline = clock_mono_ns() + (int64_t)k->profile->rerank_timeout_ms * 1000000;
    if (k->deadline_ns && k->deadline_ns < deadline)
        deadline = k->deadline_ns;
    rag_code rc = rerank_run(&k->query, &k->analysis, &k->qvec, k->qvec.slot == 0 ? p->tokens.coder : NULL, k->profile,
                             deadline, k->arena, &k->hits, &k->rerank);
    k->confidence = calibrate_hits(&k->analysis, &k->hits);
    while (k->hits.n && (double)k->hits.items[k->hits.n - 1].score < k->query.min_score)
        k->hits.n--; /* scores never rise along the list: what is left reaches min_score, answer and all */
    return rc;
}

/* With models: what they are told. The extract then waits until they are asked (ask_extract). */
static rag_code write_prompt(const struct pipeline *p, struct ask *k)
{
    struct str own = knowledge_system_prompt(p->knowledge, k->query.collection);
    struct prompt_options opt = {own.len ? own : p->system_prompt, p->nonce_key};
    struct prompt *prompt = arena_alloc(k->arena, sizeof *prompt);
    if (!prompt)
        return RAG_ENOMEM;
    k->route = route_choose(&k->analysis, k->confidence, k->profile);
    rag_code rc = prompt_build(&opt, &k->query, &k->analysis, &k->hits, &k->route, k->arena, prompt);
    if (!rc)
        k->prompt = prompt;
    return rc == RAG_ENOTFOUND ? RAG_OK : rc;
}

static rag_code generate(const struct pipeline *p, struct ask *const *ks, uint32_t n)
{
    struct ask *k = ks[0];
    (void)n;
    rag_code rc = p->llm && k->profile->stage_generation && k->hits.n ? write_prompt(p, k) : RAG_OK;
    return rc || k->prompt ? rc : ask_extract(p, k);
}

rag_code ask_extract(const struct pipeline *p, struct ask *k)
{
    return extract_answer(p->analyzer, &k->query, &k->analysis, &k->hits, k->confidence, k->profile, k->arena,
                          &k->answer);
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

static void explain_embedding(const struct ask *k, struct buf *out)
{
    if (k->qvec.v)
        buf_addf(out, "\"dimensions\":%u", k->qvec.dims);
    else
        buf_addf(out, "\"skipped\":\"%s\"", k->qvec.why_not ? k->qvec.why_not : "");
}

static void explain_retrieval(const struct ask *k, struct buf *out)
{
    const struct hits *h = &k->hits;
    buf_addf(
        out,
        "\"segments\":%u,\"chunks\":%llu,\"lexical\":%u,\"dense\":%u,\"candidates\":%u,\"terms\":%u,"
        "\"known_terms\":%u,\"idf_mass\":%.3f,\"known_mass\":%.3f",
        h->list->n, (unsigned long long)h->list->n_chunks, h->n_lexical, h->n_dense, h->n, h->n_terms,
        h->n_known_terms, (double)h->idf_mass, (double)h->known_mass);
}

static void explain_fusion(const struct ask *k, struct buf *out)
{
    const struct hits *h = &k->hits;
    buf_addf(out, "\"legs\":\"%s\",\"best_bm25\":%.3f,\"best_cosine\":%.3f,\"tail_cosine\":%.3f,\"background\":[%.3f,%.3f]",
             h->dense ? "lexical,dense" : "lexical", h->n ? (double)h->items[0].bm25 : 0.0,
             h->n ? (double)h->items[0].cosine : 0.0, (double)h->tail_cosine, (double)h->background_median,
             (double)h->background_spread);
}

static void explain_reranking(const struct ask *k, struct buf *out)
{
    const struct rerank_report *r = &k->rerank;
    buf_addf(out, "\"confidence\":%.3f,", (double)k->confidence);
    if (r->skipped) {
        buf_addf(out, "\"skipped\":\"%s\"", r->skipped);
        return;
    }
    buf_addf(out, "\"parts\":\"%s\",\"candidates\":%u,\"moved\":%u,\"rows\":[",
             r->features && r->late ? "features,late_interaction" : r->late ? "late_interaction" : r->features ? "features" : "none", r->n, r->moved);
    for (uint32_t i = 0; i < r->n && i < k->hits.n; i++) {
        const struct rerank_row *row = &r->rows[i];
        buf_addf(out, "%s{\"fused\":%.4f,\"gain\":%.4f", i ? "," : "", (double)k->hits.items[i].fused, (double)row->gain);
        if (row->has_late)
            buf_addf(out, ",\"late_interaction\":%.4f", (double)row->late);
        for (int f = 0; f < RERANK_FEATURES && r->features; f++)
            buf_addf(out, ",\"%s\":%.3f", rerank_feature_name((enum rerank_feature)f), (double)row->x[f]);
        buf_addc(out, '}');
    }
    buf_addc(out, ']');
}

static void explain_generation(const struct ask *k, struct buf *out)
{
    buf_addf(out, "\"source\":\"%s\",\"found\":%s,\"citations\":%u", answer_source_name(k->answer.source),
             k->answer.found ? "true" : "false", k->answer.n_citations);
}

enum together { ALONE, BATCH };
enum on_failure { STOP, SKIP };

static const struct stage_row {
    const char *name;
    enum together together; /* ALONE: run gets one question at a time */
    enum on_failure on_failure;
    rag_code (*run)(const struct pipeline *p, struct ask *const *asks, uint32_t n);
    void (*explain)(const struct ask *k, struct buf *out);
} stages[STAGES] = {
    [STAGE_ANALYSIS] = {"analysis", ALONE, STOP, analyse, explain_analysis},
    [STAGE_EMBEDDING] = {"embedding", BATCH, SKIP, embed, explain_embedding},
    [STAGE_RETRIEVAL] = {"retrieval", ALONE, STOP, retrieve, explain_retrieval},
    [STAGE_FUSION] = {"fusion", ALONE, STOP, fuse, explain_fusion},
    [STAGE_RERANKING] = {"reranking", ALONE, SKIP, rerank, explain_reranking},
    [STAGE_GENERATION] = {"generation", ALONE, STOP, generate, explain_generation},
};

const char *stage_name(enum stage s)
{
    return stages[s].name;
}

static bool is_left_out(const struct ask *k, enum stage s)
{
    switch (s) {
    case STAGE_ANALYSIS:
    case STAGE_EMBEDDING:
    case STAGE_FUSION:
    case STAGE_RERANKING: return k->listing;
    case STAGE_GENERATION: return k->search_only;
    default: return false;
    }
}

static rag_code explain(struct ask *k, enum stage s)
{
    buf_addf(&k->explain, "%s\"%s\":{\"ms\":%.3f,", k->explain.len ? "," : "", stages[s].name,
             (double)k->stage_ns[s] / 1e6);
    stages[s].explain(k, &k->explain);
    buf_addc(&k->explain, '}');
    return buf_failed(&k->explain) ? RAG_ENOMEM : RAG_OK; /* half of it is no JSON */
}

/* Runs one stage for n questions at once; rc of each. */
static void run_stage(const struct pipeline *p, struct ask *const *ks, uint32_t n, enum stage s, rag_code *rc)
{
    int64_t start = clock_mono_ns();
    rag_code got = stages[s].run(p, ks, n);
    int64_t took = clock_mono_ns() - start;
    if (got && got != RAG_ETIMEOUT && stages[s].on_failure == SKIP) {
        log_warn("stage left out", LOG_STR("stage", stages[s].name), LOG_STR("why", rag_code_name(got)), LOG_END);
        got = RAG_OK;
    }
    for (uint32_t i = 0; i < n; i++) {
        ks[i]->stage_ns[s] = took;
        if (got == RAG_ETIMEOUT)
            ks[i]->cut_short = stages[s].name;
        rc[i] = got == RAG_ETIMEOUT ? RAG_OK : got;
        if (!rc[i] && ks[i]->query.explain && !ks[i]->prompt) /* with one, generation is not over yet */
            rc[i] = explain(ks[i], s);
    }
}

static rag_code begin(const struct pipeline *p, struct ask *k, struct rag_err *err)
{
    term_list_init(&k->analysis.terms);
    buf_init(&k->explain, MEM_REQUEST);
    k->pinned = false;
    k->qvec = (struct qvec){0};
    k->prompt = NULL;
    if (!k->profile)
        k->profile = &p->profile;
    for (int s = 0; s < STAGES; s++)
        k->stage_ns[s] = -1;
    if (k->query.text.len == 0 && !k->listing)
        return rag_err_param(err, RAG_EINVAL, "query", "the question is empty");
    rag_code rc = knowledge_pin(p->knowledge, k->query.collection, &k->hits.list);
    if (rc)
        return rag_err_param(err, rc, "collection", "no collection %.*s", (int)k->query.collection.len,
                             k->query.collection.ptr);
    k->pinned = true;
    return RAG_OK;
}

void ask_run_batch(const struct pipeline *p, struct ask *const *asks, uint32_t n, rag_code *rc, struct rag_err *err)
{
    int64_t start = clock_mono_ns();
    RAG_ASSERT(n <= ASK_BATCH);
    for (uint32_t i = 0; i < n; i++)
        rc[i] = begin(p, asks[i], &err[i]);
    for (int s = 0; s < STAGES; s++) {
        struct ask *at_once[ASK_BATCH];
        uint32_t from[ASK_BATCH], m = 0;
        rag_code got[ASK_BATCH];
        for (uint32_t i = 0; i < n; i++)
            if (!rc[i] && !is_left_out(asks[i], (enum stage)s)) {
                from[m] = i;
                at_once[m++] = asks[i];
            }
        if (stages[s].together == BATCH && m)
            run_stage(p, at_once, m, (enum stage)s, got);
        for (uint32_t i = 0; i < m; i++) {
            if (stages[s].together == ALONE)
                run_stage(p, &at_once[i], 1, (enum stage)s, &got[i]);
            rc[from[i]] = got[i];
            if (got[i] && !err[from[i]].msg[0])
                rag_err_set(&err[from[i]], got[i], "%s: %s", stages[s].name, rag_code_name(got[i]));
        }
    }
    for (uint32_t i = 0; i < n; i++)
        asks[i]->total_ns = clock_mono_ns() - start;
}

rag_code ask_run(const struct pipeline *p, struct ask *k, struct rag_err *err)
{
    rag_code rc;
    struct rag_err why = {0};
    ask_run_batch(p, &k, 1, &rc, err ? err : &why);
    return rc;
}

bool ask_is_heavy(const struct pipeline *p)
{
    return p->encoders[0] || p->encoders[1];
}

void ask_end(const struct pipeline *p, struct ask *k)
{
    if (k->pinned)
        knowledge_unpin(p->knowledge);
    k->pinned = false;
    term_list_clear(&k->analysis.terms);
    buf_clear(&k->explain);
}
