#include <stdio.h>
#include <strings.h>

#include "api/answer_json.h"
#include "api/answering.h"
#include "api/request_json.h"
#include "obs/log.h"
#include "sys/clock.h"
#include "wire/json_out.h"
#include "wire/sse.h"

/* ---- answers that are whole ------------------------------------------------------------------------------ */

static struct answer_parts parts_of(const struct question *q, struct str citations, struct str explain)
{
    const struct ask *k = &q->ask;
    return (struct answer_parts){.id = str_of(q->id),
                                 .text = k->answer.text,
                                 .found = k->answer.found,
                                 .supported = true,
                                 .confidence = k->answer.confidence,
                                 .citations = citations,
                                 .complexity = k->analysis.complexity,
                                 .source = k->answer.source,
                                 .degraded_reason = k->prompt ? "internal" : NULL,
                                 .stage_ns = k->stage_ns,
                                 .admission_ns = q->admission_ns,
                                 .total_ns = k->total_ns,
                                 .explain = explain};
}

static void write_answer(struct request *rq, const struct answer_parts *a, const struct ask *k)
{
    json_add_open(&rq->out, '{');
    answer_json_add(&rq->out, a);
    json_add_key(&rq->out, "contexts");
    answer_json_contexts(&rq->out, k);
    json_add_close(&rq->out, '}');
    reply_json(rq, 200);
}

/* The events of the same answer: context, token ..., done (the answer without its contexts). */
static void write_events(struct request *rq, const struct answer_parts *p, const struct ask *k)
{
    struct buf *out = &rq->out;
    const struct answer *a = &k->answer;
    sse_begin(out, "context");
    json_add_open(out, '{');
    json_add_key(out, "contexts");
    answer_json_contexts(out, k);
    json_add_close(out, '}');
    sse_end(out);
    for (uint32_t i = 0; i < a->n_pieces; i++)
        answering_add_token(out, str_make(a->text.ptr + a->pieces[i], a->pieces[i + 1] - a->pieces[i]));
    sse_begin(out, "done");
    json_add_open(out, '{');
    answer_json_add(out, p);
    json_add_close(out, '}');
    sse_end(out);
    reply_json(rq, 200);
    rq->content_type = SSE_CONTENT_TYPE;
}

static void record(struct api *api, const struct question *q, const struct request *rq)
{
    const struct ask *k = &q->ask;
    struct buf chunks;
    if (!api->opt.history)
        return;
    buf_init(&chunks, MEM_REQUEST);
    answer_json_chunk_ids(&chunks, k);
    struct history_query h = {.id = str_of(q->id),
                              .at_ms = clock_unix_ms(),
                              .collection = k->query.collection,
                              .user_id = k->query.user_id,
                              .key = str_of(rq->key ? rq->key->name : ""),
                              .query = k->query.text,
                              .answer = k->answer.text,
                              .model = STR_LIT(""),
                              .source = answer_source_name(k->answer.source),
                              .complexity = complexity_name(k->analysis.complexity),
                              .degraded_reason = k->prompt ? "internal" : NULL,
                              .found = k->answer.found,
                              .confidence = k->answer.confidence,
                              .total_ms = (uint32_t)((k->total_ns + q->admission_ns) / 1000000),
                              .chunks = buf_str(&chunks)};
    if (!buf_failed(&chunks))
        (void)history_add(api->opt.history, &h); /* counts what it drops */
    buf_clear(&chunks);
}

static void write_extract(struct request *rq, struct question *q)
{
    const struct ask *k = &q->ask;
    struct buf citations, explain;
    buf_init(&citations, MEM_REQUEST);
    buf_init(&explain, MEM_REQUEST);
    answer_json_citations(&citations, k);
    if (k->query.explain)
        answer_json_explain(&explain, k);
    struct answer_parts parts = parts_of(q, buf_str(&citations), buf_str(&explain));
    if (buf_failed(&citations) || buf_failed(&explain))
        reply_error(rq, 503, "out_of_memory", NULL, "out of memory");
    else if (q->stream)
        write_events(rq, &parts, k);
    else
        write_answer(rq, &parts, k);
    buf_clear(&citations);
    buf_clear(&explain);
    record(rq->api, q, rq);
}

static void write_hits(struct request *rq, const struct question *q)
{
    const struct ask *k = &q->ask;
    json_add_open(&rq->out, '{');
    json_add_key(&rq->out, "id");
    json_add_string(&rq->out, str_of(q->id));
    json_add_key(&rq->out, "found");
    json_add_bool(&rq->out, k->hits.n && (k->listing || k->confidence >= k->hits.floor));
    json_add_key(&rq->out, "confidence");
    if (k->listing)
        json_add_null(&rq->out);
    else
        json_add_fixed(&rq->out, (double)k->confidence, 4);
    json_add_key(&rq->out, "hits");
    answer_json_contexts(&rq->out, k);
    answer_json_timings(&rq->out, k->stage_ns, q->admission_ns, k->total_ns);
    if (k->query.explain) {
        json_add_key(&rq->out, "explain");
        json_add_open(&rq->out, '{');
        answer_json_explain(&rq->out, k);
        json_add_close(&rq->out, '}');
    }
    json_add_close(&rq->out, '}');
    reply_json(rq, 200);
}

/* ---- one query ----------------------------------------------------------------------------------------- */

void count_query(struct api *api, enum query_status status, enum complexity c, const int64_t *stage_ns, int64_t total_ns,
                 int64_t admission_ns)
{
    bool answered = status == QUERY_OK || status == QUERY_DEGRADED;
    if (!answered)
        c = COMPLEXITY_UNKNOWN;
    counter_add(api->m.queries[status][c], 1);
    if (!answered)
        return;
    for (int s = 0; s < STAGES; s++)
        if (stage_ns[s] >= 0)
            histogram_observe(api->m.latency[s][c], stage_ns[s]);
    histogram_observe(api->m.latency[LATENCY_ADMISSION][c], admission_ns);
    histogram_observe(api->m.latency[LATENCY_TOTAL][c], total_ns + admission_ns);
}

static const char *failed_stage(const struct ask *k)
{
    int last = -1;
    for (int s = 0; s < STAGES; s++)
        if (k->stage_ns[s] >= 0)
            last = s;
    return last < 0 ? "admission" : stage_name((enum stage)last);
}

/* The body says it, or, where it does not, a client that takes nothing but events. */
static bool wants_stream(struct request *rq, const struct query *q)
{
    const char *accept = request_header(rq, "Accept");
    if (q->stream || q->no_stream)
        return q->stream;
    return accept && strcasestr(accept, "text/event-stream") && !strcasestr(accept, "application/json");
}

static void end_question(struct request *rq)
{
    struct question *q = rq->state;
    ask_end(rq->api->opt.pipeline, &q->ask);
    arena_clear(&q->scratch);
    gauge_add(rq->api->m.concurrent, -1);
}

/* False: a model goes on with it, and who answers resumes or has answered already. */
static bool write_result(struct request *rq, struct question *q, rag_code rc)
{
    struct api *api = rq->api;
    struct ask *k = &q->ask;
    enum query_status status;
    if (!rc && k->prompt) {
        if (answering_start(rq, q) == RAG_OK)
            return false;
        rc = ask_extract(api->opt.pipeline, k);
    }
    if (rc) {
        reply_rc(rq, rc, &q->err, failed_stage(k));
        status = rc == RAG_EINVAL || rc == RAG_ENOTFOUND ? QUERY_REJECTED : QUERY_ERROR;
    } else {
        if (k->search_only)
            write_hits(rq, q);
        else
            write_extract(rq, q);
        status = k->prompt ? QUERY_DEGRADED : QUERY_OK;
    }
    count_query(api, status, k->listing ? COMPLEXITY_UNKNOWN : k->analysis.complexity, k->stage_ns, k->total_ns,
                q->admission_ns);
    end_question(rq);
    return true;
}

/* done[i]: the reply is written. */
static void run_questions(struct request *const *rqs, uint32_t n, bool *done)
{
    struct ask *asks[ASK_BATCH] = {0};
    struct rag_err err[ASK_BATCH];
    rag_code rc[ASK_BATCH];
    for (uint32_t i = 0; i < n; i++) {
        struct question *q = rqs[i]->state;
        asks[i] = &q->ask;
        err[i] = (struct rag_err){0};
        q->ask.arena = rqs[i]->api->opt.pipeline->llm ? &q->scratch : &rqs[i]->arena;
        q->ask.arrived_ns = rqs[i]->ready_ns;
        q->admission_ns = clock_mono_ns() - rqs[i]->ready_ns;
    }
    ask_run_batch(rqs[0]->api->opt.pipeline, asks, n, rc, err);
    for (uint32_t i = 0; i < n; i++) {
        struct question *q = rqs[i]->state;
        q->err = err[i];
        log_set_request_id(rqs[i]->id);
        done[i] = write_result(rqs[i], q, rc[i]);
        log_set_request_id(NULL);
    }
}

void query_work(struct request *const *rqs, uint32_t n)
{
    bool done[ASK_BATCH];
    run_questions(rqs, n, done);
    for (uint32_t i = 0; i < n; i++)
        if (done[i])
            request_resume(rqs[i], NULL);
}

static rag_code override(struct request *rq, struct ask *k, struct rag_err *err)
{
    const struct api_options *opt = &rq->api->opt;
    struct profile *own = arena_alloc(&rq->arena, sizeof *own);
    if (!own)
        return rag_err_set(err, RAG_ENOMEM, "out of memory");
    k->profile = own;
    return opt->override ? opt->override(opt->config_ctx, k->query.overrides, own, err)
                         : rag_err_param(err, RAG_EINVAL, "overrides", "this server takes no overrides");
}

static void admit(struct request *rq, bool search)
{
    struct api *api = rq->api;
    struct rag_err err = {0};
    struct question *q = arena_zalloc(&rq->arena, sizeof *q);
    if (!request_is_json(rq))
        return;
    if (!q) {
        reply_error(rq, 503, "out_of_memory", NULL, "out of memory");
        return;
    }
    struct ask *k = &q->ask;
    rq->state = q;
    k->search_only = search;
    for (int s = 0; s < STAGES; s++)
        k->stage_ns[s] = -1;
    rag_code rc = query_from_json(buf_str(&rq->body), api->opt.max_query_bytes, search, &rq->arena, &k->query,
                                  &k->listing, &err);
    if (!rc && k->query.overrides.len)
        rc = override(rq, k, &err);
    if (rc) {
        reply_rc(rq, rc, &err, "admission");
        counter_add(api->m.queries[QUERY_REJECTED][COMPLEXITY_UNKNOWN], 1);
        return;
    }
    if (!auth_collection(rq, k->query.collection))
        return;
    uint64_t number = atomic_fetch_add_explicit(&api->next_id, 1, memory_order_relaxed);
    snprintf(q->id, sizeof q->id, "qry-%s-%llx", api->id_prefix, (unsigned long long)number);
    q->stream = !search && wants_stream(rq, &k->query);
    if (gauge_add(api->m.concurrent, 1) > (int64_t)api->opt.max_concurrent_queries) {
        reply_error(rq, 503, "too_many_queries", NULL, "too many queries at a time; try again");
        counter_add(api->m.queries[QUERY_REJECTED][COMPLEXITY_UNKNOWN], 1);
        gauge_add(api->m.concurrent, -1);
    } else if (!k->listing && (ask_is_heavy(api->opt.pipeline) || (api->opt.pipeline->llm && !search))) {
        if (!work_submit(&api->questions, rq))
            gauge_add(api->m.concurrent, -1);
    } else {
        bool done;
        run_questions(&rq, 1, &done);
    }
}

void route_query(struct request *rq)
{
    admit(rq, false);
}

void route_search(struct request *rq)
{
    admit(rq, true);
}
