/* One request to one model: reserve, send, read the stream, settle. */
#include "llm/llm_int.h"

#include <stdio.h>
#include <strings.h>

#include "obs/log.h"
#include "sys/clock.h"
#include "text/utf8.h"

/* An answer may be as long as tokens of this many bytes make it: an upstream that ignores max_tokens is cut off. */
enum { MAX_BYTES_A_TOKEN = 64, SPARE_BYTES = 4096 };
/* After the last word the connection has so long to end by itself, and to be used again. */
enum { REST_MS = 100 };
/* Silence that our own pauses may explain is not held against the upstream for longer than this. */
enum { MOST_PATIENCE_MS = 60000 };
enum { MAX_BYTES_WITHOUT_CONTENT = 8 << 20, MAX_ERROR_BYTES = 16 << 10 };

static int64_t ms(uint32_t n)
{
    return (int64_t)n * 1000000;
}

/* ---- the end --------------------------------------------------------------------------------------------- */

/* Once for each attempt: at its first token, or at its end when none came. */
static void report(struct attempt *a, enum fate fate)
{
    if (a->is_reported)
        return;
    a->is_reported = true;
    struct breaker *b = &a->m->breaker;
    const struct breaker_rules *rules = &a->llm->opt.breaker;
    enum breaker_state before = b->state;
    int64_t now = clock_mono_ns();
    if (fate == FATE_OK)
        breaker_succeed(b, rules, now, a->ticket);
    else if (fate == FATE_RETRY || fate == FATE_NEXT || fate == FATE_LATE)
        breaker_fail(b, rules, now, a->ticket);
    else
        breaker_ignore(b, a->ticket);
    if (b->state != before)
        log_warn("breaker", LOG_STR("model", a->m->model->name), LOG_STR("state", breaker_state_name(b->state)),
                 LOG_END);
    llm_publish_breaker(a->llm, a->m);
}

static uint32_t text_tokens(const struct attempt *a)
{
    uint64_t n = a->cjk + (a->other_bytes + 3) / 4;
    return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

/* What the upstream is thought to ask for: its own count when it gave one; nothing for what it refused; else ours. */
static void settle(struct attempt *a, const char *outcome)
{
    struct llm_call *c = a->call;
    struct chat_usage u = a->usage;
    bool billed = u.given || (a->was_sent && (a->status == 0 || (a->status >= 200 && a->status < 300)));
    if (!u.given && billed)
        u = (struct chat_usage){.prompt = c->prompt_tokens, .completion = text_tokens(a)};
    struct settlement s = {.cost = llm_cost(&a->m->model->price, u.prompt, u.cached, u.completion),
                           .prompt = u.prompt,
                           .cached = u.cached,
                           .completion = u.completion,
                           .counted_here = billed && !u.given,
                           .outcome = outcome};
    ledger_settle(a->llm->opt.ledger, a->reservation, &s);
    a->reservation = NULL;
    c->result.cost += s.cost;
    if (c->winner == a)
        c->result.usage = u;
    if (!a->llm->opt.metrics)
        return;
    const struct {
        const char *type;
        uint32_t n;
    } tokens[] = {{"prompt", u.prompt}, {"cached", u.cached}, {"completion", u.completion}};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        counter_add(metrics_counter(a->llm->opt.metrics, "ragd_llm_tokens_total", "Tokens by model and type.", 1,
                                    METRIC_LABELS({"model", a->m->model->name}, {"type", tokens[i].type})),
                    tokens[i].n);
}

static void count(const struct attempt *a, const char *outcome, enum fate fate)
{
    struct metrics *m = a->llm->opt.metrics;
    const char *model = a->m->model->name;
    if (m)
        counter_add(metrics_counter(m, "ragd_llm_attempts_total", "Requests to models by how they ended.", 1,
                                    METRIC_LABELS({"model", model}, {"outcome", outcome})),
                    1);
    if (fate == FATE_OK || fate == FATE_CANCELED)
        return;
    if (m)
        counter_add(metrics_counter(m, "production_rag_errors_total", "Errors by type and component.", 1,
                                    METRIC_LABELS({"error_type", outcome}, {"component", model})),
                    1);
    log_info("model failed", LOG_STR("model", model), LOG_STR("outcome", outcome), LOG_INT("status", a->status),
             LOG_NUM("ms", (double)(clock_mono_ns() - a->start_ns) / 1e6),
             LOG_STR("request_id", a->call ? a->call->request_id : ""), LOG_END);
}

static void attempt_free(struct attempt *a)
{
    sse_reader_clear(&a->sse);
    buf_clear(&a->body);
    buf_clear(&a->error);
    mem_free(MEM_REQUEST, a);
}

void attempt_over(struct attempt *a, const char *outcome, enum fate fate, enum llm_reason reason)
{
    struct llm_call *c = a->call;
    uint32_t plan = a->plan;
    int64_t retry_after_ms = a->retry_after_ms;
    if (a->net)
        net_call_cancel(a->net);
    a->net = NULL;
    net_timer_stop(a->llm->opt.net, &a->timer);
    report(a, fate);
    count(a, outcome, fate);
    call_record_end(c, a->record, outcome, clock_mono_ns());
    for (int i = 0; i < MAX_AT_ONCE; i++)
        if (c->at_once[i] == a)
            c->at_once[i] = NULL;
    if (a->state == ATTEMPT_RESERVING) { /* the ledger still has it */
        a->call = NULL;
    } else {
        if (a->reservation) /* the ledger keeps the pointer: a literal */
            settle(a, a->status && a->status != 200 ? "http_error" : outcome);
        if (c->winner == a)
            snprintf(c->result.finish, sizeof c->result.finish, "%s", a->finish);
        attempt_free(a);
    }
    if (fate != FATE_CANCELED && fate != FATE_LATE)
        call_attempt_over(c, plan, fate, reason, retry_after_ms);
}

/* ---- reading ---------------------------------------------------------------------------------------------- */

static struct attempt *of_timer(struct net_timer *t)
{
    return (struct attempt *)(void *)((char *)t - offsetof(struct attempt, timer));
}

static void on_silence(struct net_timer *t)
{
    struct attempt *a = of_timer(t);
    if (!a->has_content)
        attempt_over(a, a->finished ? "empty" : "timeout", FATE_NEXT, a->finished ? LLM_UPSTREAM : LLM_TIMEOUT);
    else if (a->finished) /* the rest of the connection does not matter */
        attempt_over(a, "ok", FATE_OK, LLM_OPTIMAL);
    else
        attempt_over(a, "stall", FATE_CUT, LLM_TIMEOUT);
}

static void restart_clock(struct attempt *a)
{
    const struct llm *l = a->llm;
    int64_t silent_at = clock_mono_ns() + ms(l->opt.inter_token_ms);
    if (!a->call->paused)
        (void)net_timer_set(l->opt.net, &a->timer, silent_at > a->patient_until_ns ? silent_at : a->patient_until_ns);
}

void attempt_pause(struct attempt *a, bool paused)
{
    if (!a->net)
        return;
    net_call_pause(a->net, paused);
    int64_t now = clock_mono_ns();
    if (paused) {
        if (now > a->patient_until_ns)
            a->paused_ns = now;
        net_timer_stop(a->llm->opt.net, &a->timer);
        return;
    }
    /* While we did not read, the sender's TCP tried again at intervals that double: its next try is about as far away as we
     * have been holding it back, and that silence is ours. Pauses that follow each other within it count as one. */
    int64_t held_back = now - a->paused_ns < ms(MOST_PATIENCE_MS) ? now - a->paused_ns : ms(MOST_PATIENCE_MS),
            patient_until = now + held_back + ms(a->llm->opt.inter_token_ms);
    a->patient_until_ns = patient_until > a->patient_until_ns ? patient_until : a->patient_until_ns;
    restart_clock(a);
}

static void count_text(struct attempt *a, struct str s)
{
    for (size_t i = 0; i < s.len;) {
        size_t at = i;
        if (utf8_is_cjk(utf8_next(s, &i)))
            a->cjk++;
        else
            a->other_bytes += i - at;
    }
}

static void on_content(struct attempt *a, struct str text)
{
    struct llm_call *c = a->call;
    if (!a->has_content) {
        a->has_content = true;
        a->state = ATTEMPT_STREAMING;
        report(a, FATE_OK); /* the model works; a probe's place is not held while its answer flows */
        call_first_token(c, a); /* the others are gone then */
    }
    a->bytes_without_content = 0;
    restart_clock(a);
    count_text(a, text);
    c->events.text(c->ctx, text);
    a->text_bytes += text.len;
    if (a->text_bytes > (uint64_t)c->max_tokens * MAX_BYTES_A_TOKEN + SPARE_BYTES)
        a->too_long = true;
}

/* An error inside a stream, which has no status of its own. */
static const char *error_name(struct str data)
{
    char message[256];
    switch (openai_error_parse(0, data, message)) {
    case CHAT_ERROR_QUOTA: return "quota";
    case CHAT_ERROR_RATE: return "rate_limited";
    case CHAT_ERROR_CONTEXT: return "context";
    default: return "error_in_stream";
    }
}

static void take_chunk(struct attempt *a, const struct chat_chunk *k, struct str data)
{
    if (k->usage.given)
        a->usage = k->usage;
    if (k->finish.len) {
        a->finished = true;
        snprintf(a->finish, sizeof a->finish, "%.*s", (int)k->finish.len, k->finish.ptr);
    }
    if (k->done) {
        a->finished = true;
        (void)net_timer_set(a->llm->opt.net, &a->timer, clock_mono_ns() + ms(REST_MS)); /* is set: only moved */
    }
    if (k->is_error)
        a->broken = error_name(data);
    else if (k->content.len)
        on_content(a, k->content);
    else if (k->reasoning && a->has_content)
        restart_clock(a);
}

static bool on_event(void *ctx, struct str name, struct str data)
{
    struct attempt *a = ctx;
    struct chat_chunk k;
    (void)name;
    arena_reset(&a->llm->arena);
    rag_code rc = openai_chunk_parse(data, &a->llm->arena, &k);
    if (rc)
        a->broken = rc == RAG_ENOMEM ? "internal" : "garbage";
    else
        take_chunk(a, &k, data);
    return !a->broken && !a->too_long;
}

static void on_head(void *ctx, const struct net_head *h)
{
    struct attempt *a = ctx;
    char type[64];
    snprintf(type, sizeof type, "%.*s", (int)h->content_type.len, h->content_type.ptr ? h->content_type.ptr : "");
    a->status = h->status;
    a->retry_after_ms = h->retry_after_ms;
    a->is_stream = h->status == 200 && (type[0] == 0 || strcasestr(type, "event-stream"));
}

/* Nonsense is worth one more try: what sends it twice sends it again. */
static enum fate once(const struct attempt *a)
{
    return a->call->tries[a->plan] < 2 ? FATE_RETRY : FATE_NEXT;
}

/* Broken before or after its first token. */
static void over_broken(struct attempt *a)
{
    const char *why = a->broken;
    if (a->has_content && a->finished) /* the answer was complete */
        attempt_over(a, "ok", FATE_OK, LLM_OPTIMAL);
    else if (a->has_content)
        attempt_over(a, why, FATE_CUT, LLM_UPSTREAM);
    else if (strcmp(why, "quota") == 0)
        attempt_over(a, why, FATE_NEXT, LLM_UPSTREAM);
    else if (strcmp(why, "context") == 0)
        attempt_over(a, why, FATE_REFUSED, LLM_UPSTREAM);
    else if (strcmp(why, "rate_limited") == 0)
        attempt_over(a, why, FATE_RETRY, LLM_RATE_LIMITED);
    else
        attempt_over(a, why, once(a), LLM_UPSTREAM);
}

static void on_body(void *ctx, struct str bytes)
{
    struct attempt *a = ctx;
    if (!a->is_stream) {
        size_t most = a->status == 200 ? SSE_MAX_EVENT_BYTES : MAX_ERROR_BYTES, room = most - a->error.len;
        buf_add(&a->error, bytes.ptr, bytes.len < room ? bytes.len : room);
        return;
    }
    a->bytes_without_content += bytes.len;
    rag_code rc = sse_reader_feed(&a->sse, bytes, on_event, a);
    if (a->too_long) {
        snprintf(a->finish, sizeof a->finish, "length");
        attempt_over(a, "too_long", FATE_OK, LLM_OPTIMAL);
        return;
    }
    if (rc && !a->broken)
        a->broken = rc == RAG_ENOMEM ? "internal" : "garbage";
    if (!a->broken && a->bytes_without_content > MAX_BYTES_WITHOUT_CONTENT)
        a->broken = "garbage";
    if (a->broken)
        over_broken(a);
}

/* ---- the end of the response ------------------------------------------------------------------------------ */

static void over_status(struct attempt *a)
{
    char message[256], outcome[24];
    enum chat_error e = openai_error_parse(a->status, buf_str(&a->error), message);
    snprintf(outcome, sizeof outcome, "http_%ld", a->status);
    if (message[0])
        log_info("model refused", LOG_STR("model", a->m->model->name), LOG_INT("status", a->status),
                 LOG_STR("message", message), LOG_END);
    if (a->status == 402 || e == CHAT_ERROR_QUOTA)
        attempt_over(a, "quota", FATE_NEXT, LLM_UPSTREAM);
    else if (a->status == 429)
        attempt_over(a, outcome, FATE_RETRY, LLM_RATE_LIMITED);
    else if (a->status == 408 || a->status == 500 || a->status == 502 || a->status == 503 || a->status == 504 ||
             a->status == 529)
        attempt_over(a, outcome, FATE_RETRY, LLM_UPSTREAM);
    else if (a->status >= 500)
        attempt_over(a, outcome, FATE_NEXT, LLM_UPSTREAM);
    else
        attempt_over(a, e == CHAT_ERROR_CONTEXT ? "context" : outcome, FATE_REFUSED, LLM_UPSTREAM);
}

/* A server that does not stream sends one object. */
static void read_whole(struct attempt *a)
{
    struct chat_chunk k;
    arena_reset(&a->llm->arena);
    if (openai_chunk_parse(buf_str(&a->error), &a->llm->arena, &k))
        a->broken = "garbage";
    else
        take_chunk(a, &k, buf_str(&a->error));
    a->finished |= a->has_content;
}

static void on_end(void *ctx, enum net_result r, const char *why)
{
    struct attempt *a = ctx;
    a->net = NULL;
    if (r == NET_RESOLVE || r == NET_REFUSED || r == NET_CONNECT_TIMEOUT || r == NET_TLS)
        a->was_sent = false;
    if (r == NET_DONE && a->status == 200 && !a->is_stream && a->error.len)
        read_whole(a);
    if (r != NET_DONE && why && log_enabled(LOG_DEBUG))
        log_debug("model connection", LOG_STR("model", a->m->model->name), LOG_STR("result", net_result_name(r)),
                  LOG_STR("why", why), LOG_END);
    if (a->broken)
        over_broken(a);
    else if (a->has_content && a->finished)
        attempt_over(a, "ok", FATE_OK, LLM_OPTIMAL);
    else if (a->has_content)
        attempt_over(a, "cut", FATE_CUT, LLM_UPSTREAM);
    else if (r == NET_DONE && a->status != 200)
        over_status(a);
    else if (r == NET_DONE)
        attempt_over(a, a->finished ? "empty" : a->is_stream ? "cut" : "garbage",
                     a->finished     ? FATE_NEXT
                     : a->is_stream ? FATE_RETRY
                                    : once(a),
                     LLM_UPSTREAM);
    else if (r == NET_RESOLVE || r == NET_REFUSED || r == NET_CUT)
        attempt_over(a, net_result_name(r), FATE_RETRY, LLM_UPSTREAM);
    else if (r == NET_GARBAGE)
        attempt_over(a, "garbage", once(a), LLM_UPSTREAM);
    else if (r == NET_CONNECT_TIMEOUT)
        attempt_over(a, "connect_timeout", FATE_NEXT, LLM_TIMEOUT);
    else if (r == NET_TLS)
        attempt_over(a, "tls", FATE_NEXT, LLM_UPSTREAM);
    else
        attempt_over(a, "internal", FATE_REFUSED, LLM_INTERNAL);
}

/* ---- the start -------------------------------------------------------------------------------------------- */

static bool send_request(struct attempt *a)
{
    struct llm_call *c = a->call;
    const struct llm_model *model = a->m->model;
    char url[2048], id[160], trace[80];
    const char *headers[2];
    uint32_t n_headers = 0;
    size_t n = strlen(model->provider->base_url);
    while (n && model->provider->base_url[n - 1] == '/')
        n--;
    if (snprintf(url, sizeof url, "%.*s/chat/completions", (int)n, model->provider->base_url) >= (int)sizeof url)
        return false;
    struct chat_request rq = {.model = model->model,
                              .messages = c->messages,
                              .n_messages = c->n_messages,
                              .max_tokens = c->max_tokens,
                              .temperature = c->temperature,
                              .cache_control = model->provider->cache_control};
    openai_request_write(&a->body, &rq);
    if (c->request_id[0]) {
        snprintf(id, sizeof id, "X-Request-Id: %s", c->request_id);
        headers[n_headers++] = id;
    }
    if (c->traceparent[0]) {
        snprintf(trace, sizeof trace, "traceparent: %s", c->traceparent);
        headers[n_headers++] = trace;
    }
    struct net_call_options opt = {.url = url,
                                   .body = buf_str(&a->body),
                                   .bearer = model->provider->key,
                                   .ca_file = model->provider->ca_file,
                                   .headers = headers,
                                   .n_headers = n_headers,
                                   .connect_ms = a->llm->opt.connect_ms,
                                   .events = {on_head, on_body, on_end},
                                   .ctx = a};
    struct rag_err err = {0};
    if (buf_failed(&a->body) || net_call_start(a->llm->opt.net, &opt, &a->net, &err)) {
        if (err.msg[0])
            log_warn("model not reachable", LOG_STR("model", model->name), LOG_STR("why", err.msg), LOG_END);
        return false;
    }
    a->was_sent = true;
    return true;
}

/* Back on the net thread: the reservation is durable, or cannot be. */
static void on_reserved(struct net_task *t)
{
    struct attempt *a = (struct attempt *)(void *)((char *)t - offsetof(struct attempt, reserve_task));
    struct llm *l = a->llm;
    if (!a->call) { /* given up meanwhile */
        if (!a->reserved)
            ledger_settle(l->opt.ledger, a->reservation, &(struct settlement){.outcome = "canceled"});
        attempt_free(a);
    } else if (a->reserved) {
        a->reservation = NULL;
        a->state = ATTEMPT_SENT;
        attempt_over(a, "ledger", FATE_REFUSED, LLM_INTERNAL);
    } else {
        a->state = ATTEMPT_SENT;
        if (!net_timer_set(l->opt.net, &a->timer, clock_mono_ns() + ms(l->opt.first_token_ms)) || !send_request(a))
            attempt_over(a, "internal", FATE_REFUSED, LLM_INTERNAL);
    }
    llm_count_open(l, -1);
}

static void reserve_done(void *ctx, struct reservation *r, rag_code rc)
{
    struct attempt *a = ctx;
    a->reservation = r;
    a->reserved = rc;
    net_post(a->llm->opt.net, &a->reserve_task);
}

bool attempt_start(struct llm_call *c, uint32_t plan)
{
    struct llm *l = c->llm;
    struct model_state *m = &l->models[c->order[plan]];
    int64_t now = clock_mono_ns();
    struct breaker_ticket ticket;
    bool allowed = breaker_enter(&m->breaker, &l->opt.breaker, now, &ticket);
    llm_publish_breaker(l, m);
    if (!allowed) {
        call_record_end(c, call_record(c, m->model, now), "breaker", now);
        call_note(c, plan, LLM_BREAKER);
        return false;
    }
    int slot = 0;
    while (c->at_once[slot])
        slot++;
    struct attempt *a = mem_zalloc(MEM_REQUEST, sizeof *a);
    struct reserve_options ro = {
        .service = "llm",
        .model = m->model->name,
        .key = c->key,
        .key_daily = c->key_daily,
        .amount = llm_upper_bound(&m->model->price, c->prompt_bytes, c->n_messages, c->max_tokens),
        .done = reserve_done,
        .ctx = a};
    struct reservation *ignored;
    if (a) {
        *a = (struct attempt){.llm = l, .call = c, .plan = plan, .m = m, .ticket = ticket, .start_ns = now,
                              .retry_after_ms = -1, .reserve_task.run = on_reserved, .timer.fire = on_silence};
        buf_init(&a->body, MEM_REQUEST);
        buf_init(&a->error, MEM_REQUEST);
    }
    llm_count_open(l, 1);
    rag_code rc = !a                                ? RAG_ENOMEM
                  : ro.amount > LEDGER_MAX_AMOUNT ? RAG_EFORBIDDEN
                                                  : ledger_reserve(l->opt.ledger, &ro, &ignored);
    if (rc) {
        llm_count_open(l, -1);
        mem_free(MEM_REQUEST, a);
        breaker_ignore(&m->breaker, ticket);
        llm_publish_breaker(l, m);
        call_record_end(c, call_record(c, m->model, now), rc == RAG_EFORBIDDEN ? "budget" : "internal", now);
        call_note(c, plan, rc == RAG_EFORBIDDEN ? LLM_BUDGET_EXCEEDED : LLM_INTERNAL);
        return false;
    }
    a->record = call_record(c, m->model, now);
    c->at_once[slot] = a;
    c->tries[plan]++;
    return true;
}
