#include "api/answering.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "api/answer_json.h"
#include "obs/log.h"
#include "sys/clock.h"
#include "wire/json_out.h"
#include "wire/sse.h"

/* A stream is paused above HIGH_WATER bytes that the client has not taken, and goes on below LOW_WATER. */
enum { HIGH_WATER = 16 << 10, LOW_WATER = 4 << 10, BLOCK_BYTES = 2 << 10 };

/* Shared by the net thread (events) and the request's side (reader); the last one frees. */
struct answering {
    atomic_int refs;
    struct api *api;
    struct generation *generation;
    struct MHD_Connection *conn;
    struct request *rq; /* of a client without a stream: suspended until the end; else NULL */
    int64_t started_ns;

    struct net_watch watch; /* on a copy of the client's socket; net thread only */
    struct net_task begin;
    bool watching_done;

    pthread_mutex_t mu; /* guards what follows */
    struct buf out;     /* events the client has not taken, from `sent` on */
    size_t sent;
    bool waiting; /* the reader suspended the connection */
    bool paused, ended, gone, started;
    bool broken; /* no memory for what follows */

    /* Of the answer; written by the question thread before generation_go. */
    char id[64], request_id[129], key[65];
    enum complexity complexity;
    float confidence;
    bool explain;
    int64_t stage_ns[STAGES], admission_ns, total_ns;
    struct buf contexts;          /* JSON list; not of a stream, which has sent it */
    struct buf extract_citations; /* JSON list */
    struct buf passages;          /* one citation after the other, commas between */
    uint32_t passage_end[CITATIONS_MAX_PASSAGES];
    struct buf explain_json, chunk_ids;
    struct buf question; /* collection, user id and text, for the history */
    uint32_t collection_len, user_len;
};

void answering_add_token(struct buf *out, struct str text)
{
    sse_begin(out, "token");
    json_add_open(out, '{');
    json_add_key(out, "text");
    json_add_string(out, text);
    json_add_close(out, '}');
    sse_end(out);
}

static void unref(struct answering *a)
{
    if (atomic_fetch_sub(&a->refs, 1) != 1)
        return;
    generation_free(a->generation);
    pthread_mutex_destroy(&a->mu);
    struct buf *all[] = {&a->out,          &a->contexts,  &a->extract_citations, &a->passages,
                         &a->explain_json, &a->chunk_ids, &a->question};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buf_clear(all[i]);
    mem_free(MEM_REQUEST, a);
}

/* ---- the client's side ----------------------------------------------------------------------------------- */

/* Counted like every suspended connection, so that the stop waits for it. */
static void count_suspended(struct api *api, int n)
{
    pthread_mutex_lock(&api->mu);
    api->n_suspended += n;
    if (api->n_suspended == 0)
        pthread_cond_broadcast(&api->idle_cv);
    pthread_mutex_unlock(&api->mu);
}

/* With a->mu held; true: count_suspended(-1) is due when it is released. */
static bool wake_reader(struct answering *a)
{
    bool waiting = a->waiting;
    a->waiting = false;
    if (waiting)
        MHD_resume_connection(a->conn);
    return waiting;
}

static ssize_t read_events(void *cls, uint64_t pos, char *to, size_t most)
{
    struct answering *a = cls;
    ssize_t got = 0;
    (void)pos;
    pthread_mutex_lock(&a->mu);
    size_t left = a->out.len - a->sent;
    if (left) {
        got = (ssize_t)(left < most ? left : most);
        memcpy(to, a->out.ptr + a->sent, (size_t)got);
        a->sent += (size_t)got;
        if (a->sent == a->out.len) {
            if (a->out.cap > LOW_WATER) /* the contexts went out: the tokens need little */
                buf_clear(&a->out);
            buf_reset(&a->out);
            a->sent = 0;
        }
        if (a->paused && a->out.len - a->sent < LOW_WATER) { /* under the lock: the last wish is the right one */
            a->paused = false;
            generation_pause(a->generation, false);
        }
    } else if (a->ended) {
        got = buf_failed(&a->out) ? MHD_CONTENT_READER_END_WITH_ERROR : MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        a->waiting = true;
        count_suspended(a->api, 1);
        MHD_suspend_connection(a->conn);
    }
    pthread_mutex_unlock(&a->mu);
    return got;
}

/* The response is over, or its client is gone. */
void answering_drop(struct answering *a)
{
    pthread_mutex_lock(&a->mu);
    bool ended = a->ended;
    a->gone = true;
    pthread_mutex_unlock(&a->mu);
    if (!ended)
        generation_cancel(a->generation);
    unref(a);
}

static void on_response_freed(void *cls)
{
    answering_drop(cls);
}

struct MHD_Response *answering_response(struct answering *a)
{
    struct MHD_Response *r =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, read_events, a, on_response_freed);
    if (!r)
        answering_drop(a);
    return r;
}

/* ---- the model's side: net thread ------------------------------------------------------------------------ */

static void on_gone(struct net_watch *w)
{
    struct answering *a = (struct answering *)(void *)((char *)w - offsetof(struct answering, watch));
    generation_cancel(a->generation);
}

static void stop_watching(struct answering *a)
{
    net_watch_stop(llm_net(a->api->opt.pipeline->llm), &a->watch);
    if (a->watch.fd >= 0)
        close(a->watch.fd);
    a->watch.fd = -1;
    a->watching_done = true;
}

static void begin_watching(struct net_task *t)
{
    struct answering *a = (struct answering *)(void *)((char *)t - offsetof(struct answering, begin));
    if (!a->watching_done && a->watch.fd >= 0)
        (void)net_watch_start(llm_net(a->api->opt.pipeline->llm), &a->watch); /* without it only a failing write tells */
    unref(a);
}

static void on_text(void *ctx, struct str piece)
{
    struct answering *a = ctx;
    bool woke = false;
    if (a->rq) /* the outcome has the whole */
        return;
    pthread_mutex_lock(&a->mu);
    if (!a->gone) {
        answering_add_token(&a->out, piece);
        a->started = true;
        if (!a->paused && a->out.len - a->sent > HIGH_WATER) {
            a->paused = true;
            generation_pause(a->generation, true);
        }
        woke = wake_reader(a);
    }
    pthread_mutex_unlock(&a->mu);
    if (woke)
        count_suspended(a->api, -1);
}

static void add_citations(const struct answering *a, const struct generation_outcome *o, struct buf *out)
{
    if (o->source == SOURCE_EXTRACT) {
        buf_adds(out, a->extract_citations.len ? buf_str(&a->extract_citations) : STR_LIT("[]"));
        return;
    }
    json_add_open(out, '[');
    for (uint32_t i = 0; i < o->n_cited; i++) {
        uint32_t at = o->cited[i] - 1, start = at ? a->passage_end[at - 1] + 1 : 0; /* a comma between */
        json_add_raw(out, str_make(a->passages.ptr + start, a->passage_end[at] - start));
    }
    json_add_close(out, ']');
}

static void add_explain(struct answering *a, const struct generation_outcome *o)
{
    if (!a->explain)
        return;
    json_add_key(&a->explain_json, "generation");
    json_add_open(&a->explain_json, '{');
    generation_explain(a->generation, o, &a->explain_json);
    json_add_close(&a->explain_json, '}');
}

static void record(struct answering *a, const struct generation_outcome *o)
{
    struct api *api = a->api;
    const char *text = a->question.ptr;
    if (!api->opt.history || o->canceled || a->broken)
        return;
    struct history_query h = {
        .id = str_of(a->id),
        .at_ms = clock_unix_ms(),
        .collection = str_make(text, a->collection_len),
        .user_id = str_make(text + a->collection_len, a->user_len),
        .key = str_of(a->key),
        .query = str_make(text + a->collection_len + a->user_len, a->question.len - a->collection_len - a->user_len),
        .answer = o->text,
        .model = str_of(o->source == SOURCE_EXTRACT || !o->llm->model ? "" : o->llm->model->name),
        .source = answer_source_name(o->source),
        .complexity = complexity_name(a->complexity),
        .degraded_reason = o->reason,
        .found = o->found,
        .confidence = a->confidence,
        .cost_nano = o->llm->cost,
        .total_ms = (uint32_t)((a->total_ns + a->admission_ns) / 1000000),
        .chunks = buf_str(&a->chunk_ids),
    };
    (void)history_add(api->opt.history, &h); /* counts what it drops */
}

/* The stage `total` ends where the context goes out: what a model takes is the stage `generation`. */
static void count(struct answering *a, const struct generation_outcome *o)
{
    int64_t generation_ns = clock_mono_ns() - a->started_ns;
    a->stage_ns[STAGE_GENERATION] = generation_ns;
    count_query(a->api, o->canceled ? QUERY_REJECTED : o->degraded ? QUERY_DEGRADED : QUERY_OK, a->complexity, a->stage_ns,
                a->total_ns, a->admission_ns);
    a->total_ns += generation_ns;
}

static void write_answer(struct answering *a, struct answer_parts *p, struct request *rq)
{
    json_add_open(&rq->out, '{');
    answer_json_add(&rq->out, p);
    json_add_key(&rq->out, "contexts");
    json_add_raw(&rq->out, buf_str(&a->contexts));
    json_add_close(&rq->out, '}');
    reply_json(rq, 200);
}

/* What ends a stream: the extract where nothing or not all came, and the whole answer. With a->mu held. */
static void write_end(struct answering *a, const struct answer_parts *p)
{
    if (p->degraded_reason) {
        sse_begin(&a->out, "degraded");
        json_add_open(&a->out, '{');
        json_add_key(&a->out, "reason");
        json_add_string(&a->out, str_of(p->degraded_reason));
        json_add_key(&a->out, "replaces");
        json_add_bool(&a->out, a->started);
        json_add_key(&a->out, "answer");
        json_add_string(&a->out, p->text);
        json_add_close(&a->out, '}');
        sse_end(&a->out);
    }
    sse_begin(&a->out, "done");
    json_add_open(&a->out, '{');
    answer_json_add(&a->out, p);
    json_add_close(&a->out, '}');
    sse_end(&a->out);
}

static void write_error(struct answering *a, const char *code, const char *message)
{
    sse_begin(&a->out, "error");
    json_add_open(&a->out, '{');
    json_add_key(&a->out, "error");
    error_json(&a->out, a->request_id, 503, code, NULL, message);
    json_add_close(&a->out, '}');
    sse_end(&a->out);
}

/* The stop may go on after the last one: nothing of the api is touched then. */
static void count_answering(struct api *api, int n)
{
    pthread_mutex_lock(&api->mu);
    api->n_answerings += n;
    pthread_cond_broadcast(&api->idle_cv);
    pthread_mutex_unlock(&api->mu);
}

static void on_end(void *ctx, const struct generation_outcome *o)
{
    struct answering *a = ctx;
    struct buf citations;
    bool woke = false;
    log_set_request_id(a->request_id);
    stop_watching(a);
    gauge_add(a->api->m.concurrent, -1);
    count(a, o);
    record(a, o);
    buf_init(&citations, MEM_REQUEST);
    if (!a->broken) {
        add_citations(a, o, &citations);
        add_explain(a, o);
    }
    a->broken |= buf_failed(&citations) || buf_failed(&a->explain_json);
    struct answer_parts p = {
        .id = str_of(a->id),
        .text = o->text,
        .found = o->found,
        .supported = o->supported,
        .confidence = a->confidence,
        .citations = buf_str(&citations),
        .complexity = a->complexity,
        .model = o->source == SOURCE_EXTRACT || !o->llm->model ? NULL : o->llm->model->name,
        .source = o->source,
        .degraded_reason = o->reason,
        .cost = o->llm->cost,
        .usage = o->llm->usage,
        .stage_ns = a->stage_ns,
        .admission_ns = a->admission_ns,
        .total_ns = a->total_ns,
        .explain = a->explain ? buf_str(&a->explain_json) : (struct str){0},
    };
    struct request *rq = a->rq;
    if (rq) {
        if (o->canceled)
            reply_error(rq, 503, "canceled", NULL, "the server is stopping, or the client went away");
        else if (a->broken)
            reply_error(rq, 503, "out_of_memory", NULL, "out of memory");
        else
            write_answer(a, &p, rq);
        request_resume(rq, NULL);
    } else {
        pthread_mutex_lock(&a->mu);
        if (o->canceled)
            write_error(a, "shutting_down", "the server is stopping");
        else if (a->broken)
            write_error(a, "out_of_memory", "out of memory");
        else
            write_end(a, &p);
        a->ended = true;
        woke = wake_reader(a);
        pthread_mutex_unlock(&a->mu);
        if (woke)
            count_suspended(a->api, -1);
    }
    buf_clear(&citations);
    count_answering(a->api, -1);
    log_set_request_id(NULL);
    unref(a);
}

/* ---- start: a question thread ----------------------------------------------------------------------------- */

/* Everything that names chunks, while they are pinned. */
static void render(struct answering *a, const struct ask *k, bool stream, bool extract)
{
    for (uint32_t i = 0; i < k->prompt->n_passages; i++) {
        answer_json_passage(&a->passages, k, i);
        a->passage_end[i] = (uint32_t)a->passages.len;
    }
    if (extract)
        answer_json_citations(&a->extract_citations, k);
    answer_json_chunk_ids(&a->chunk_ids, k);
    if (k->query.explain)
        answer_json_explain(&a->explain_json, k);
    if (stream) {
        sse_begin(&a->out, "context");
        json_add_open(&a->out, '{');
        json_add_key(&a->out, "contexts");
        answer_json_contexts(&a->out, k);
        json_add_close(&a->out, '}');
        sse_end(&a->out);
    } else {
        answer_json_contexts(&a->contexts, k);
    }
    buf_adds(&a->question, k->query.collection);
    buf_adds(&a->question, k->query.user_id);
    buf_adds(&a->question, k->query.text);
    a->collection_len = (uint32_t)k->query.collection.len;
    a->user_len = (uint32_t)k->query.user_id.len;
    a->broken = buf_failed(&a->out) || buf_failed(&a->contexts) || buf_failed(&a->extract_citations) ||
                buf_failed(&a->passages) || buf_failed(&a->explain_json) || buf_failed(&a->chunk_ids) ||
                buf_failed(&a->question);
}

static struct answering *new_answering(struct request *rq, const struct question *q)
{
    struct answering *a = mem_zalloc(MEM_REQUEST, sizeof *a);
    const struct ask *k = &q->ask;
    if (!a)
        return NULL;
    atomic_init(&a->refs, 1);
    pthread_mutex_init(&a->mu, NULL);
    struct buf *all[] = {&a->out,          &a->contexts,  &a->extract_citations, &a->passages,
                         &a->explain_json, &a->chunk_ids, &a->question};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buf_init(all[i], MEM_REQUEST);
    a->api = rq->api;
    a->conn = rq->conn;
    a->rq = q->stream ? NULL : rq;
    a->watch = (struct net_watch){.fd = -1, .gone = on_gone};
    a->begin.run = begin_watching;
    snprintf(a->id, sizeof a->id, "%s", q->id);
    snprintf(a->request_id, sizeof a->request_id, "%s", rq->id);
    snprintf(a->key, sizeof a->key, "%s", rq->key ? rq->key->name : "");
    a->complexity = k->analysis.complexity;
    a->confidence = k->confidence;
    a->explain = k->query.explain;
    a->admission_ns = q->admission_ns;
    a->total_ns = k->total_ns;
    memcpy(a->stage_ns, k->stage_ns, sizeof a->stage_ns);
    return a;
}

/* The kernel's own copy of the socket: it stays watchable whatever the HTTP library does with its descriptor. */
static int copy_socket(struct MHD_Connection *conn)
{
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);
    return i ? fcntl(i->connect_fd, F_DUPFD_CLOEXEC, 3) : -1;
}

rag_code answering_start(struct request *rq, struct question *q)
{
    struct api *api = rq->api;
    struct llm *llm = api->opt.pipeline->llm;
    struct answering *a = new_answering(rq, q);
    bool stream = q->stream;
    if (!a)
        return RAG_ENOMEM;
    struct generation_options opt = {
        .key = a->key,
        .key_daily = rq->key ? rq->key->daily : 0,
        .request_id = rq->id,
        .traceparent = rq->traceparent,
        .events = {on_text, on_end},
        .ctx = a,
    };
    atomic_store(&a->refs, stream ? 3 : 2); /* the events, begin_watching, the reader */
    a->watch.fd = copy_socket(rq->conn);
    a->started_ns = clock_mono_ns();
    count_answering(api, 1);
    rag_code rc = generation_start(api->opt.pipeline, &q->ask, &opt, &a->generation);
    if (rc) {
        if (a->watch.fd >= 0)
            close(a->watch.fd);
        count_answering(api, -1);
        atomic_store(&a->refs, 1);
        unref(a);
        return rc;
    }
    bool made = ask_extract(api->opt.pipeline, &q->ask) == RAG_OK; /* while the model is being asked */
    if (made)
        generation_stand_in(a->generation, &q->ask);
    render(a, &q->ask, stream, made);
    ask_end(api->opt.pipeline, &q->ask);
    arena_clear(&q->scratch);
    if (stream) {
        rq->stream = a;
        rq->state = NULL;
        arena_clear(&rq->arena); /* q too: a stream keeps what it needs itself, and there may be many */
        buf_clear(&rq->body);
        rq->status = 200;
        rq->content_type = SSE_CONTENT_TYPE;
        request_resume(rq, NULL); /* rq is the I/O thread's */
    }
    net_post(llm_net(llm), &a->begin);
    generation_go(a->generation); /* from here on `a`, and rq of a client without a stream, are the events' */
    return RAG_OK;
}
