#include <math.h>
#include <stdio.h>
#include <strings.h>

#include "api/api_int.h"
#include "api/request_json.h"
#include "obs/log.h"
#include "sys/clock.h"
#include "wire/json_out.h"
#include "wire/sse.h"

/* ---- parts of an answer -------------------------------------------------------------------------------- */

static void add_heading_path(struct buf *out, struct str path)
{
    json_add_open(out, '[');
    while (path.len) {
        const char *sep = memchr(path.ptr, '\x1f', path.len);
        size_t n = sep ? (size_t)(sep - path.ptr) : path.len;
        json_add_string(out, str_make(path.ptr, n));
        path = sep ? str_make(path.ptr + n + 1, path.len - n - 1) : (struct str){0};
    }
    json_add_close(out, ']');
}

/* document_id, version, chunk_id, title, heading_path: what names a chunk. */
static void add_chunk_name(struct buf *out, const struct chunk_view *c)
{
    json_add_key(out, "document_id");
    json_add_string(out, c->document_id);
    json_add_key(out, "version");
    json_add_u64(out, c->version);
    json_add_key(out, "chunk_id");
    json_add_open(out, '"');
    json_escape(out, c->document_id);
    buf_addf(out, "#%u\"", c->ordinal);
    json_add_key(out, "title");
    json_add_string(out, c->title);
    json_add_key(out, "heading_path");
    add_heading_path(out, c->heading_path);
}

static void add_span(struct buf *out, uint32_t start, uint32_t end)
{
    json_add_key(out, "start");
    json_add_u64(out, start);
    json_add_key(out, "end");
    json_add_u64(out, end);
}

static void hit_view(const struct hits *h, uint32_t i, struct chunk_view *out)
{
    segment_chunk(h->list->e[h->items[i].ref.entry].segment, h->items[i].ref.chunk, out);
}

/* A hit of /v1/search, a context of /v1/query: the same object. */
static void add_hit(struct buf *out, const struct hits *h, uint32_t i)
{
    struct chunk_view c;
    hit_view(h, i, &c);
    json_add_open(out, '{');
    add_chunk_name(out, &c);
    json_add_key(out, "text");
    json_add_open(out, '"');
    buf_adds(out, c.text_json); /* escaped when it was indexed */
    buf_addc(out, '"');
    add_span(out, c.start, c.end);
    json_add_key(out, "source");
    json_add_string(out, c.source);
    json_add_key(out, "metadata");
    json_add_raw(out, c.metadata_json.len ? c.metadata_json : STR_LIT("{}"));
    json_add_key(out, "score");
    json_add_fixed(out, (double)h->items[i].score, 4);
    json_add_key(out, "scores");
    json_add_open(out, '{');
    json_add_key(out, "bm25");
    json_add_fixed(out, (double)h->items[i].bm25, 4);
    json_add_key(out, "coverage");
    json_add_fixed(out, (double)h->items[i].coverage, 4);
    json_add_key(out, "dense");
    if (h->items[i].has_cosine)
        json_add_fixed(out, (double)h->items[i].cosine, 4);
    else
        json_add_null(out);
    json_add_key(out, "fused");
    json_add_fixed(out, (double)h->items[i].fused, 4);
    json_add_close(out, '}');
    json_add_close(out, '}');
}

static bool is_cited(const struct answer *a, uint32_t hit)
{
    for (uint32_t i = 0; i < a->n_citations; i++)
        if (a->citations[i].hit == hit)
            return true;
    return false;
}

/* The first top_k hits, and every cited one: a citation always finds its context. */
static void add_contexts(struct buf *out, const struct ask *k)
{
    uint32_t n = 0;
    json_add_open(out, '[');
    for (uint32_t i = 0; i < k->hits.n; i++) {
        bool wanted = n < k->query.top_k;
        n += wanted;
        if (wanted || is_cited(&k->answer, i))
            add_hit(out, &k->hits, i);
    }
    json_add_close(out, ']');
}

static void add_citations(struct buf *out, const struct ask *k)
{
    json_add_open(out, '[');
    for (uint32_t i = 0; i < k->answer.n_citations; i++) {
        const struct citation *ct = &k->answer.citations[i];
        struct chunk_view c;
        hit_view(&k->hits, ct->hit, &c);
        json_add_open(out, '{');
        json_add_key(out, "n");
        json_add_u64(out, ct->n);
        add_chunk_name(out, &c);
        add_span(out, ct->start, ct->end);
        json_add_close(out, '}');
    }
    json_add_close(out, ']');
}

static void add_timings(struct buf *out, const struct ask *k, int64_t admission_ns)
{
    json_add_key(out, "timings_ms");
    json_add_open(out, '{');
    json_add_key(out, "total");
    json_add_fixed(out, (double)(k->total_ns + admission_ns) / 1e6, 3);
    json_add_key(out, "admission");
    json_add_fixed(out, (double)admission_ns / 1e6, 3);
    for (int s = 0; s < STAGES; s++)
        if (k->stage_ns[s] >= 0) {
            json_add_key(out, stage_name((enum stage)s));
            json_add_fixed(out, (double)k->stage_ns[s] / 1e6, 3);
        }
    json_add_close(out, '}');
}

static void add_explain(struct buf *out, const struct ask *k)
{
    if (!k->query.explain)
        return;
    json_add_key(out, "explain");
    json_add_open(out, '{');
    if (k->explain.len)
        json_add_raw(out, buf_str(&k->explain));
    json_add_key(out, "cut_short");
    if (k->cut_short)
        json_add_string(out, str_of(k->cut_short));
    else
        json_add_null(out);
    json_add_close(out, '}');
}

static void add_id(struct request *rq)
{
    uint64_t n = atomic_fetch_add_explicit(&rq->api->next_id, 1, memory_order_relaxed);
    json_add_key(&rq->out, "id");
    json_add_open(&rq->out, '"');
    buf_addf(&rq->out, "qry-%s-%llx\"", rq->api->id_prefix, (unsigned long long)n);
}

/* Everything of an answer but its contexts. */
static void add_answer(struct request *rq, const struct ask *k, int64_t admission_ns)
{
    struct buf *out = &rq->out;
    const struct answer *a = &k->answer;
    json_add_key(out, "answer");
    json_add_string(out, a->text);
    json_add_key(out, "found");
    json_add_bool(out, a->found);
    json_add_key(out, "confidence");
    json_add_fixed(out, (double)a->confidence, 4);
    json_add_key(out, "citations");
    add_citations(out, k);
    json_add_key(out, "cache_hit");
    json_add_string(out, STR_LIT("none"));
    json_add_key(out, "complexity");
    json_add_string(out, str_of(complexity_name(k->analysis.complexity)));
    json_add_key(out, "model");
    json_add_null(out);
    json_add_key(out, "source");
    json_add_string(out, str_of(answer_source_name(a->source)));
    json_add_raw(out, STR_LIT("\"degraded\":false,\"degraded_reason\":null,\"cost_cny\":0,"
                              "\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0,\"total_tokens\":0}"));
    add_timings(out, k, admission_ns);
    add_explain(out, k);
}

static void write_answer(struct request *rq, const struct ask *k, int64_t admission_ns)
{
    json_add_open(&rq->out, '{');
    add_id(rq);
    add_answer(rq, k, admission_ns);
    json_add_key(&rq->out, "contexts");
    add_contexts(&rq->out, k);
    json_add_close(&rq->out, '}');
    reply_json(rq, 200);
}

/* The events of the same answer: context, token ..., done (the answer without its contexts). */
static void write_stream(struct request *rq, const struct ask *k, int64_t admission_ns)
{
    struct buf *out = &rq->out;
    const struct answer *a = &k->answer;
    sse_begin(out, "context");
    json_add_open(out, '{');
    json_add_key(out, "contexts");
    add_contexts(out, k);
    json_add_close(out, '}');
    sse_end(out);
    for (uint32_t i = 0; i < a->n_pieces; i++) {
        sse_begin(out, "token");
        json_add_open(out, '{');
        json_add_key(out, "text");
        json_add_string(out, str_make(a->text.ptr + a->pieces[i], a->pieces[i + 1] - a->pieces[i]));
        json_add_close(out, '}');
        sse_end(out);
    }
    sse_begin(out, "done");
    json_add_open(out, '{');
    add_id(rq);
    add_answer(rq, k, admission_ns);
    json_add_close(out, '}');
    sse_end(out);
    reply_json(rq, 200);
    rq->content_type = SSE_CONTENT_TYPE;
}

static void write_hits(struct request *rq, const struct ask *k, int64_t admission_ns)
{
    json_add_open(&rq->out, '{');
    add_id(rq);
    json_add_key(&rq->out, "hits");
    add_contexts(&rq->out, k);
    add_timings(&rq->out, k, admission_ns);
    add_explain(&rq->out, k);
    json_add_close(&rq->out, '}');
    reply_json(rq, 200);
}

/* ---- one query ----------------------------------------------------------------------------------------- */

static void count_query(struct api *api, const struct ask *k, enum query_status status, int64_t admission_ns)
{
    enum complexity c = status == QUERY_OK && !k->listing ? k->analysis.complexity : COMPLEXITY_UNKNOWN;
    counter_add(api->m.queries[status][c], 1);
    if (status != QUERY_OK)
        return;
    for (int s = 0; s < STAGES; s++)
        if (k->stage_ns[s] >= 0)
            histogram_observe(api->m.latency[s][c], k->stage_ns[s]);
    histogram_observe(api->m.latency[LATENCY_ADMISSION][c], admission_ns);
    histogram_observe(api->m.latency[LATENCY_TOTAL][c], k->total_ns + admission_ns);
}

static const char *failed_stage(const struct ask *k)
{
    int last = -1;
    for (int s = 0; s < STAGES; s++)
        if (k->stage_ns[s] >= 0)
            last = s;
    return last < 0 ? "admission" : stage_name((enum stage)last);
}

static bool wants_stream(struct request *rq)
{
    const char *accept = request_header(rq, "Accept");
    return accept && strcasestr(accept, "text/event-stream");
}

/* A question between admission and its answer: rq->state. */
struct question {
    struct ask ask;
    struct rag_err err;
    int64_t admission_ns;
};

static void write_result(struct request *rq, struct question *q, rag_code rc)
{
    struct api *api = rq->api;
    struct ask *k = &q->ask;
    int64_t admission_ns = q->admission_ns;
    if (rc) {
        bool refused = rc == RAG_EINVAL || rc == RAG_ENOTFOUND;
        reply_rc(rq, rc, &q->err, failed_stage(k));
        count_query(api, k, refused ? QUERY_REJECTED : QUERY_ERROR, admission_ns);
    } else {
        if (k->search_only)
            write_hits(rq, k, admission_ns);
        else if (k->query.stream || wants_stream(rq))
            write_stream(rq, k, admission_ns);
        else
            write_answer(rq, k, admission_ns);
        count_query(api, k, QUERY_OK, admission_ns);
    }
    ask_end(api->opt.pipeline, k);
    gauge_add(api->m.concurrent, -1);
}

static void run_questions(struct request *const *rqs, uint32_t n)
{
    struct ask *asks[ASK_BATCH] = {0};
    struct rag_err err[ASK_BATCH];
    rag_code rc[ASK_BATCH];
    for (uint32_t i = 0; i < n; i++) {
        struct question *q = rqs[i]->state;
        asks[i] = &q->ask;
        err[i] = (struct rag_err){0};
        q->ask.arena = &rqs[i]->arena;
        q->ask.arrived_ns = rqs[i]->ready_ns;
        q->admission_ns = clock_mono_ns() - rqs[i]->ready_ns;
    }
    ask_run_batch(rqs[0]->api->opt.pipeline, asks, n, rc, err);
    for (uint32_t i = 0; i < n; i++) {
        struct question *q = rqs[i]->state;
        q->err = err[i];
        log_set_request_id(rqs[i]->id);
        write_result(rqs[i], q, rc[i]);
        log_set_request_id(NULL);
    }
}

void query_work(struct request *const *rqs, uint32_t n)
{
    run_questions(rqs, n);
    for (uint32_t i = 0; i < n; i++)
        request_resume(rqs[i], NULL);
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
    if (rc) {
        reply_rc(rq, rc, &err, "admission");
        counter_add(api->m.queries[QUERY_REJECTED][COMPLEXITY_UNKNOWN], 1);
        return;
    }
    if (!auth_collection(rq, k->query.collection))
        return;
    if (gauge_add(api->m.concurrent, 1) > (int64_t)api->opt.max_concurrent_queries) {
        reply_error(rq, 503, "too_many_queries", NULL, "too many queries at a time; try again");
        counter_add(api->m.queries[QUERY_REJECTED][COMPLEXITY_UNKNOWN], 1);
        gauge_add(api->m.concurrent, -1);
    } else if (ask_is_heavy(api->opt.pipeline) && !k->listing) {
        if (!work_submit(&api->questions, rq))
            gauge_add(api->m.concurrent, -1);
    } else {
        run_questions(&rq, 1);
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
