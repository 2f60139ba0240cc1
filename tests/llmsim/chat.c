#include <stdio.h>
#include <string.h>
#include <time.h>

#include "sim.h"

void chat_error(struct conn *c, int status, const char *type, const char *code, const char *message,
                const char *headers)
{
    struct buf body = {0};
    buf_str(&body, "{\"error\":{\"message\":");
    buf_json(&body, message, strlen(message));
    buf_fmt(&body, ",\"type\":\"%s\",\"param\":null,\"code\":\"%s\"}}", type, code);
    conn_reply(c, status, "application/json", headers, &body);
}

/* ---- the request ------------------------------------------------------------------------------------------------- */
static void add_content(struct json content, struct buf *out)
{
    struct json part;
    const char *at = NULL;
    if (json_text(content, out))
        return;
    while (json_each(content, &at, NULL, &part))
        json_text(json_get(part, "text"), out);
}

static uint32_t prompt_tokens(struct json messages)
{
    struct buf all = {0};
    struct json message;
    const char *at = NULL;
    while (json_each(messages, &at, NULL, &message))
        add_content(json_get(message, "content"), &all);
    uint32_t n = count_tokens(all.p, all.len);
    buf_free(&all);
    return n;
}

static void remember(struct sim *s, const struct request *rq)
{
    s->last_authorized = rq->authorized;
    snprintf(s->last_request_id, sizeof s->last_request_id, "%s", rq->request_id);
    snprintf(s->last_traceparent, sizeof s->last_traceparent, "%s", rq->traceparent);
    if (s->keep_bodies)
        sim_keep_body(s, rq->body, rq->body_len);
}

static void count_open(struct counters *n, enum fault f)
{
    n->requests++;
    if (f != FAULT_NONE)
        n->faults[f]++;
    if (++n->open > n->most_open)
        n->most_open = n->open;
}

/* What every chunk begins with, up to its choices. */
static void write_prefix(struct buf *b, const struct call *k, struct json model)
{
    buf_fmt(b, "{\"id\":\"chatcmpl-%llu\",\"object\":\"chat.completion%s\",\"created\":%lld,\"model\":",
            (unsigned long long)k->id, k->stream ? ".chunk" : "", (long long)k->created);
    buf_add(b, model.p, (size_t)(model.end - model.p));
}

int64_t call_due(struct call *k, uint32_t i)
{
    const struct spec *p = k->spec;
    double ms = p->ttft_ms + (p->tps > 0 ? 1000.0 * i / p->tps : 0);
    if (p->jitter_ms > 0)
        ms += p->jitter_ms * random_share(&k->spec->random);
    int64_t due = k->start_ns + (int64_t)(ms * 1e6);
    return due > k->due_ns ? due : k->due_ns;
}

void chat_open(struct conn *c, const struct request *rq)
{
    struct json body, messages, model;
    struct buf name = {0};
    if (!json_parse(rq->body, rq->body_len, &body)) {
        chat_error(c, 400, "invalid_request_error", "json", "the body is not JSON", "");
        return;
    }
    messages = json_get(body, "messages");
    model = json_get(body, "model");
    if (!json_text(model, &name) || !messages.p || *messages.p != '[') {
        buf_free(&name);
        chat_error(c, 400, "invalid_request_error", "field", "model and messages are needed", "");
        return;
    }
    buf_add(&name, "", 1);
    remember(c->sim, rq);
    struct call *k = &c->call;
    *k = (struct call){.open = true, .model = sim_model(c->sim, name.p), .id = ++c->sim->last_id,
                       .created = time(NULL), .start_ns = now_ns()};
    buf_free(&name);
    k->spec = k->model->spec;
    k->spec->refs++;
    k->fault = spec_draw(k->spec);
    k->stream = json_true(json_get(body, "stream"));
    k->include_usage = !k->stream || json_true(json_get(json_get(body, "stream_options"), "include_usage"));
    k->max_tokens = json_long(json_get(body, "max_tokens"), json_long(json_get(body, "max_completion_tokens"), -1));
    k->prompt = prompt_tokens(messages);
    k->n = k->fault == FAULT_EMPTY ? 0 : k->spec->tokens;
    k->cut_short = k->max_tokens >= 0 && k->max_tokens < (long)k->n;
    if (k->cut_short)
        k->n = (uint32_t)k->max_tokens;
    k->due_ns = call_due(k, !k->stream && k->n ? k->n - 1 : 0);
    write_prefix(&k->prefix, k, model);
    count_open(&k->model->n, k->fault);
    count_open(&c->sim->total, k->fault);
    chat_step(c);
}

/* ---- its end ------------------------------------------------------------------------------------------------------- */
struct usage_said usage_of(const struct call *k)
{
    struct usage_said u = {.prompt = k->prompt, .completion = k->sent};
    const struct spec *p = k->spec;
    if (p->usage == USAGE_CACHED || p->usage == USAGE_CACHED_DEEPSEEK)
        u.cached = u.prompt * p->cached_pct / 100;
    if (p->usage == USAGE_WRONG) {
        u.prompt = u.prompt * 2 + 100;
        u.completion = u.completion * 2 + 100;
    }
    if (p->over)
        u.completion = (k->max_tokens >= 0 ? (uint64_t)k->max_tokens : u.completion) + p->over;
    return u;
}

void usage_write(struct buf *b, const struct call *k)
{
    struct usage_said u = usage_of(k);
    unsigned long long prompt = u.prompt, cached = u.cached, completion = u.completion;
    buf_fmt(b, ",\"usage\":{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"total_tokens\":%llu", prompt, completion,
            prompt + completion);
    if (k->spec->usage == USAGE_CACHED)
        buf_fmt(b, ",\"prompt_tokens_details\":{\"cached_tokens\":%llu}", cached);
    if (k->spec->usage == USAGE_CACHED_DEEPSEEK)
        buf_fmt(b, ",\"prompt_cache_hit_tokens\":%llu,\"prompt_cache_miss_tokens\":%llu", cached, prompt - cached);
    buf_str(b, "}");
}

static void count_end(struct counters *n, const struct usage_said *u, bool billed, bool whole)
{
    n->open--;
    n->completed += whole;
    if (!billed)
        return;
    n->calls_billed++;
    n->billed_prompt += u->prompt;
    n->billed_cached += u->cached;
    n->billed_completion += u->completion;
}

static void count_closed(struct counters *n, int64_t took_ns)
{
    n->client_closed++;
    n->close_ns_last = took_ns;
    if (took_ns > n->close_ns_worst)
        n->close_ns_worst = took_ns;
}

void chat_client_closed(struct conn *c)
{
    struct call *k = &c->call;
    int64_t took = now_ns() - (k->last_ns ? k->last_ns : k->start_ns);
    count_closed(&k->model->n, took);
    count_closed(&c->sim->total, took);
    c->broken = false; /* counted */
    chat_end(c, false);
}

void chat_end(struct conn *c, bool whole)
{
    struct call *k = &c->call;
    if (c->broken) {
        chat_client_closed(c);
        c->broken = true; /* whoever called us closes the connection */
        return;
    }
    bool said = whole && k->include_usage && k->spec->usage != USAGE_NONE;
    struct usage_said u = said ? usage_of(k) : (struct usage_said){.prompt = k->prompt, .completion = k->sent};
    count_end(&k->model->n, &u, k->began, whole);
    count_end(&c->sim->total, &u, k->began, whole);
    spec_unref(k->spec);
    buf_free(&k->prefix);
    buf_free(&k->drip);
    *k = (struct call){0};
    if (!c->lingering)
        conn_timer_stop(c);
}

/* ---- answers that are no completion ---------------------------------------------------------------------------------- */
static void retry_headers(const struct spec *p, char out[160])
{
    long seconds = (long)p->after + (p->after > (double)(long)p->after);
    char date[64];
    time_t then = time(NULL) + seconds;
    struct tm tm;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&then, &tm));
    if (p->after_as == AFTER_DATE)
        snprintf(out, 160, "Retry-After: %s\r\n", date);
    else if (p->after_as == AFTER_SECONDS)
        snprintf(out, 160, "Retry-After: %ld\r\n", seconds);
    else if (p->after_as == AFTER_MS)
        snprintf(out, 160, "retry-after-ms: %.0f\r\n", p->after * 1000);
    else
        snprintf(out, 160, "Retry-After: %ld\r\nretry-after-ms: %.0f\r\n", seconds, p->after * 1000);
}

static void send_garbage(struct conn *c, uint64_t *state)
{
    struct buf b = {0};
    buf_str(&b, "\x16\x03garbage");
    for (int i = 0; i < 64; i++) {
        uint64_t r = random_next(state);
        buf_add(&b, &r, sizeof r);
    }
    conn_send_buf(c, &b);
}

struct refusal {
    enum fault fault;
    int status;
    const char *type, *code, *message;
};
static const struct refusal refusals[] = {
    {FAULT_HTTP_500, 500, "server_error", "internal", "The server had an error"},
    {FAULT_HTTP_503, 503, "server_error", "overloaded", "The model is overloaded"},
    {FAULT_HTTP_429, 429, "rate_limit_error", "rate_limit_exceeded", "Rate limit reached"},
    {FAULT_HTTP_429_AFTER, 429, "rate_limit_error", "rate_limit_exceeded", "Rate limit reached"},
    {FAULT_HTTP_400, 400, "invalid_request_error", "invalid_value", "A field has a wrong value"},
    {FAULT_HTTP_401, 401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided"},
    {FAULT_HTTP_402, 402, "unknown_error", "insufficient_balance", "Insufficient Balance"},
    {FAULT_QUOTA, 429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota"},
    {FAULT_CONTEXT, 400, "invalid_request_error", "context_length_exceeded",
     "This model's maximum context length is exceeded"},
};

/* True: the call was one of those, and is over. */
static bool refused(struct conn *c)
{
    struct call *k = &c->call;
    char headers[160] = "";
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const struct refusal *r = &refusals[i];
        if (r->fault != k->fault)
            continue;
        if (k->fault == FAULT_HTTP_429_AFTER)
            retry_headers(k->spec, headers);
        chat_error(c, r->status, r->type, r->code, r->message, headers);
        chat_end(c, false);
        return true;
    }
    if (k->fault == FAULT_HTML) {
        struct buf page = {0};
        buf_str(&page, "<!doctype html><html><head><title>Gateway</title></head><body>It works.</body></html>\n");
        conn_reply(c, 200, "text/html", "", &page);
        chat_end(c, false);
        return true;
    }
    if (k->fault != FAULT_GARBAGE && k->fault != FAULT_REFUSE)
        return false;
    bool reset = k->fault == FAULT_REFUSE;
    if (!reset)
        send_garbage(c, &k->spec->random);
    chat_end(c, false);
    conn_close(c, reset);
    return true;
}

static bool before_headers(enum fault f)
{
    return (f >= FAULT_HTTP_500 && f <= FAULT_REFUSE) || f == FAULT_GARBAGE || f == FAULT_HTML;
}

void chat_step(struct conn *c)
{
    struct call *k = &c->call;
    if (k->fault == FAULT_NO_HEADERS)
        return;
    if (before_headers(k->fault)) {
        int64_t due = k->start_ns + (int64_t)(k->spec->fail_ms * 1e6);
        if (now_ns() < due)
            conn_timer(c, due);
        else
            refused(c);
        return;
    }
    if (k->stream)
        stream_step(c);
    else
        whole_step(c);
}
