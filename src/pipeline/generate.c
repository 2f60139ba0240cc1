#include "pipeline/generate.h"

#include "stages/generation/citations.h"
#include "stages/generation/extract_answer.h"
#include "wire/json_out.h"

struct generation {
    struct generation_events events;
    void *ctx;
    struct llm_call *call;
    struct citation_filter filter;
    struct buf shown; /* everything that went out */
    struct buf piece; /* the part of it that goes out now */
    struct str not_found; /* a literal */
    struct buf extract;
    bool extract_found;
    struct net_client *net;
    struct net_task go_task;
    bool going;                 /* net thread: events are passed on */
    struct buf early;           /* text that came before */
    const struct llm_result *early_end; /* NULL: it had not ended */
    struct llm_result early_copy;
    struct route route;
    uint32_t n_passages, n_duplicates, prompt_tokens;
};

/* ---- events of the call: net thread --------------------------------------------------------------------- */

static void pass_on(struct generation *g)
{
    if (g->piece.len) {
        buf_adds(&g->shown, buf_str(&g->piece));
        g->events.text(g->ctx, buf_str(&g->piece));
    }
    buf_reset(&g->piece);
}

static void on_text(void *ctx, struct str text)
{
    struct generation *g = ctx;
    if (!g->going) {
        buf_adds(&g->early, text);
        return;
    }
    citation_filter_feed(&g->filter, text, &g->piece);
    pass_on(g);
}

static void stand_in(const struct generation *g, const char *reason, struct generation_outcome *o)
{
    o->source = SOURCE_EXTRACT;
    o->degraded = true;
    o->reason = reason;
    o->text = g->extract.len ? buf_str(&g->extract) : g->not_found;
    o->found = g->extract_found;
    o->supported = true;
}

static void tell_end(struct generation *g, const struct llm_result *r)
{
    struct generation_outcome o = {.llm = r, .canceled = r->end == LLM_CANCELED};
    if (r->end == LLM_ANSWERED) {
        citation_filter_end(&g->filter, &g->piece);
        if (g->filter.not_found && g->shown.len + g->piece.len == 0)
            buf_adds(&g->piece, g->not_found);
        pass_on(g);
        o.source = r->fallback ? SOURCE_FALLBACK : SOURCE_PRIMARY;
        o.text = buf_str(&g->shown);
        o.cited = g->filter.order;
        o.n_cited = g->filter.n_cited;
        o.n_dropped = g->filter.n_dropped;
        o.found = !(g->filter.not_found && g->filter.n_cited == 0);
        o.supported = !o.found || g->filter.n_cited > 0;
        if (g->shown.len == 0 || buf_failed(&g->shown) || buf_failed(&g->piece) || buf_failed(&g->early))
            stand_in(g, g->shown.len ? "internal" : "empty_answer", &o);
    } else if (!o.canceled) {
        stand_in(g, r->end == LLM_CUT ? "cut" : llm_reason_name(r->reason), &o);
    }
    g->events.end(g->ctx, &o);
}

static void on_end(void *ctx, const struct llm_result *r)
{
    struct generation *g = ctx;
    if (g->going) {
        tell_end(g, r);
    } else {
        g->early_copy = *r;
        g->early_end = &g->early_copy;
    }
}

static void on_go(struct net_task *t)
{
    struct generation *g = (struct generation *)(void *)((char *)t - offsetof(struct generation, go_task));
    g->going = true;
    if (g->early.len)
        on_text(g, buf_str(&g->early));
    if (g->early_end)
        tell_end(g, g->early_end);
}

/* ---- life ------------------------------------------------------------------------------------------------ */

rag_code generation_start(const struct pipeline *p, const struct ask *k, const struct generation_options *opt,
                          struct generation **out)
{
    struct generation *g = mem_zalloc(MEM_REQUEST, sizeof *g);
    if (!g)
        return RAG_ENOMEM;
    g->events = opt->events;
    g->ctx = opt->ctx;
    g->not_found = answer_not_found(k->query.text);
    g->route = k->route;
    g->n_passages = k->prompt->n_passages;
    g->n_duplicates = k->prompt->n_duplicates;
    g->prompt_tokens = k->prompt->tokens;
    citation_filter_init(&g->filter, k->prompt->n_passages);
    buf_init(&g->shown, MEM_REQUEST);
    buf_init(&g->piece, MEM_REQUEST);
    buf_init(&g->extract, MEM_REQUEST);
    buf_init(&g->early, MEM_REQUEST);
    g->net = llm_net(p->llm);
    g->go_task.run = on_go;
    *out = g;
    struct llm_request rq = {
        .want = k->route.class,
        .messages = k->prompt->messages,
        .n_messages = 2,
        .max_tokens = k->route.output_tokens,
        .temperature = k->profile->temperature,
        .key = opt->key,
        .key_daily = opt->key_daily,
        .request_id = opt->request_id,
        .traceparent = opt->traceparent,
        .events = {on_text, on_end},
        .ctx = g,
    };
    rag_code rc = llm_start(p->llm, &rq, &g->call);
    if (rc) {
        *out = NULL;
        g->call = NULL;
        generation_free(g);
    }
    return rc;
}

void generation_stand_in(struct generation *g, const struct ask *k)
{
    buf_adds(&g->extract, k->answer.text);
    g->extract_found = k->answer.found && !buf_failed(&g->extract);
    if (buf_failed(&g->extract))
        buf_clear(&g->extract);
}

void generation_go(struct generation *g)
{
    net_post(g->net, &g->go_task);
}

void generation_cancel(struct generation *g)
{
    llm_cancel(g->call);
}

void generation_pause(struct generation *g, bool paused)
{
    llm_pause(g->call, paused);
}

void generation_free(struct generation *g)
{
    if (!g)
        return;
    if (g->call)
        llm_release(g->call);
    buf_clear(&g->shown);
    buf_clear(&g->piece);
    buf_clear(&g->extract);
    buf_clear(&g->early);
    mem_free(MEM_REQUEST, g);
}

/* ---- explain --------------------------------------------------------------------------------------------- */

static void add_attempts(struct buf *out, const struct llm_result *r)
{
    json_add_key(out, "attempts");
    json_add_open(out, '[');
    for (uint32_t i = 0; i < r->n_attempts; i++) {
        const struct llm_attempt *a = &r->attempts[i];
        json_add_open(out, '{');
        json_add_key(out, "model");
        json_add_string(out, str_of(a->model->name));
        json_add_key(out, "outcome");
        json_add_string(out, str_of(a->outcome));
        json_add_key(out, "start_ms");
        json_add_fixed(out, (double)a->start_ns / 1e6, 3);
        json_add_key(out, "ms");
        json_add_fixed(out, (double)a->took_ns / 1e6, 3);
        json_add_close(out, '}');
    }
    json_add_close(out, ']');
}

void generation_explain(const struct generation *g, const struct generation_outcome *o, struct buf *out)
{
    const struct llm_result *r = o->llm;
    buf_addf(out,
             "\"ms\":%.3f,\"source\":\"%s\",\"found\":%s,\"citations\":%u,\"dropped_citations\":%u,\"class\":\"%s\","
             "\"one_class_down\":%s,\"reason\":\"%s\",\"passages\":%u,\"duplicates\":%u,\"prompt_tokens\":%u,"
             "\"max_tokens\":%u",
             (double)r->took_ns / 1e6, answer_source_name(o->source), o->found ? "true" : "false", o->n_cited,
             o->n_dropped, model_class_name(g->route.class), g->route.one_down ? "true" : "false",
             llm_reason_name(r->reason), g->n_passages, g->n_duplicates, g->prompt_tokens, g->route.output_tokens);
    json_add_key(out, "first_token_ms");
    if (r->first_token_ns)
        json_add_fixed(out, (double)r->first_token_ns / 1e6, 3);
    else
        json_add_null(out);
    json_add_key(out, "finish");
    json_add_string(out, str_of(r->finish));
    add_attempts(out, r);
}
