/* POST /v1/feedback. The connection waits until the feedback is durable: a thumb that was answered is not lost. */
#include "api/api_int.h"
#include "api/feedback_json.h"
#include "sys/clock.h"
#include "wire/json_out.h"

struct feedback {
    struct history_feedback in;
    const char *chunk_field;
    rag_code code;
    struct rag_err err;
};

static void out_of_memory(struct request *rq)
{
    reply_error(rq, 503, "out_of_memory", NULL, "out of memory");
}

static void reply_feedback(struct request *rq)
{
    struct feedback *f = rq->state;
    if (f->code == RAG_ENOTFOUND) {
        bool query = strcmp(f->err.param, "query_id") == 0;
        reply_error(rq, 404, query ? "query_not_found" : "chunk_not_found", query ? "query_id" : f->chunk_field,
                    f->err.msg);
        return;
    }
    if (f->code) {
        reply_rc(rq, f->code, &f->err, "history");
        return;
    }
    json_add_open(&rq->out, '{');
    json_add_key(&rq->out, "stored");
    json_add_bool(&rq->out, true);
    json_add_key(&rq->out, "query_id");
    json_add_string(&rq->out, f->in.query_id);
    json_add_close(&rq->out, '}');
    reply_json(rq, 200);
}

/* On the history's thread. */
static void stored(void *ctx, rag_code rc, const struct rag_err *err)
{
    struct request *rq = ctx;
    struct feedback *f = rq->state;
    f->code = rc;
    f->err = *err;
    request_resume(rq, reply_feedback);
}

void route_feedback(struct request *rq)
{
    struct rag_err err = {0};
    struct history *history = rq->api->opt.history;
    if (!history) {
        reply_error(rq, 404, "history_off", NULL, "feedback is not kept: the setting history.enabled is off");
        return;
    }
    if (!request_is_json(rq))
        return;
    struct feedback *f = arena_zalloc(&rq->arena, sizeof *f);
    if (!f) {
        out_of_memory(rq);
        return;
    }
    rag_code rc = feedback_from_json(buf_str(&rq->body), rq->api->opt.max_query_bytes, &rq->arena, &f->in,
                                     &f->chunk_field, &err);
    if (rc) {
        reply_rc(rq, rc, &err, "api");
        return;
    }
    f->in.at_ms = clock_unix_ms();
    if (!(rq->scopes & SCOPE_ADMIN)) /* a key speaks of its own questions */
        f->in.key = str_of(rq->key ? rq->key->name : "");
    rq->state = f;
    if (request_suspend(rq) && history_feedback(history, &f->in, stored, rq))
        request_resume(rq, out_of_memory);
}
