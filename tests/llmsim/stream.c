#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum { OUT_HIGH = 256 << 10, HUGE_BYTES = 2 << 20 };

static const char delta_open[] = ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"";
static const char delta_close[] = "\"},\"finish_reason\":null}]}\n\n\r\n";

/* ---- pieces of a stream ------------------------------------------------------------------------------------------- */
/* Wraps an event as a chunk of the transfer encoding. */
static void add_chunk(struct buf *out, const struct buf *event)
{
    buf_fmt(out, "%zx\r\n", event->len);
    buf_add(out, event->p, event->len);
    buf_str(out, "\r\n");
}

static void add_event(struct buf *events, const struct call *k, const char *choices, bool usage)
{
    buf_str(events, "data: ");
    buf_add(events, k->prefix.p, k->prefix.len);
    buf_fmt(events, ",\"choices\":[%s]", choices);
    if (usage)
        usage_write(events, k);
    buf_str(events, "}\n\n");
}

static void stream_begin(struct conn *c)
{
    struct call *k = &c->call;
    struct buf out = {0}, event = {0};
    buf_fmt(&out,
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
            "Transfer-Encoding: chunked\r\nConnection: %s\r\n\r\n",
            c->keep_alive ? "keep-alive" : "close");
    if (k->fault != FAULT_COMMENTS_ONLY) {
        add_event(&event, k,
                  "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}", false);
        add_chunk(&out, &event);
    }
    buf_free(&event);
    conn_send_buf(c, &out);
    k->began = true;
}

/* Ends the chunked body, and the call. */
static void stream_close(struct conn *c, struct buf *out, bool whole)
{
    buf_str(out, "0\r\n\r\n");
    conn_send_buf(c, out);
    chat_end(c, whole);
    if (!c->keep_alive)
        conn_close(c, false);
}

static const char *finish_choice(const struct call *k)
{
    return k->cut_short ? "{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}"
                        : "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}";
}

static bool tells_usage(const struct call *k)
{
    return k->include_usage && k->spec->usage != USAGE_NONE;
}

static void stream_finish(struct conn *c)
{
    struct call *k = &c->call;
    struct buf out = {0}, event = {0};
    if (k->fault == FAULT_NO_DONE) {
        stream_close(c, &out, false);
        return;
    }
    add_event(&event, k, finish_choice(k), false);
    add_chunk(&out, &event);
    if (tells_usage(k)) {
        event.len = 0;
        add_event(&event, k, "", true);
        add_chunk(&out, &event);
    }
    event.len = 0;
    buf_str(&event, "data: [DONE]\n\n");
    add_chunk(&out, &event);
    buf_free(&event);
    stream_close(c, &out, true);
}

/* ---- one token ---------------------------------------------------------------------------------------------------- */
static void count_token(struct conn *c, int64_t now)
{
    struct call *k = &c->call;
    struct counters *n[] = {&k->model->n, &c->sim->total};
    for (int i = 0; i < 2; i++) {
        n[i]->tokens_sent++;
        if (k->due_ns >= k->held_ns && now - k->due_ns > n[i]->worst_late_ns)
            n[i]->worst_late_ns = now - k->due_ns;
    }
    k->sent++;
    k->last_ns = now;
}

static void send_piece(struct conn *c, const char *p, size_t len)
{
    struct call *k = &c->call;
    char head[24];
    size_t size = 6 + k->prefix.len + sizeof delta_open - 1 + len + sizeof delta_close - 1 - 2;
    int n = snprintf(head, sizeof head, "%zx\r\ndata: ", size);
    struct iovec v[] = {{head, (size_t)n},
                        {k->prefix.p, k->prefix.len},
                        {(void *)(uintptr_t)delta_open, sizeof delta_open - 1},
                        {(void *)(uintptr_t)p, len},
                        {(void *)(uintptr_t)delta_close, sizeof delta_close - 1}};
    conn_send(c, v, 5);
}

static void send_bad_json(struct conn *c)
{
    struct buf out = {0}, event = {0};
    buf_str(&event, "data: {\"choices\":[{\"delta\":{\"content\":\"\n\n");
    add_chunk(&out, &event);
    buf_free(&event);
    conn_send_buf(c, &out);
}

static void send_huge(struct conn *c)
{
    char *p = mem_get(HUGE_BYTES);
    memset(p, 'x', HUGE_BYTES);
    send_piece(c, p, HUGE_BYTES);
    free(p);
}

static void token_send(struct conn *c, int64_t now)
{
    struct call *k = &c->call;
    const struct spec *p = k->spec;
    uint32_t at = p->at < k->n ? p->at : k->n - 1;
    if (k->fault == FAULT_BAD_JSON && k->next >= at) {
        send_bad_json(c);
    } else {
        if (k->fault == FAULT_HUGE_EVENT && k->next == at)
            send_huge(c);
        else
            send_piece(c, p->text.p + p->answer[k->next].at, p->answer[k->next].len);
        count_token(c, now);
    }
    k->next++;
    k->due_ns = call_due(k, k->next);
}

/* ---- the stream ----------------------------------------------------------------------------------------------------- */
static int64_t pause_ns(double ms)
{
    return ms < 1 ? NS_PER_MS : (int64_t)(ms * 1e6);
}

static void ping_step(struct conn *c)
{
    struct iovec v = {(char[]){"8\r\n: ping\n\n\r\n"}, 13};
    if (c->out.len < OUT_HIGH)
        conn_send(c, &v, 1);
    conn_timer(c, now_ns() + pause_ns(c->call.spec->ping_ms));
}

static void drip_make(struct call *k)
{
    for (uint32_t i = 0; i < k->n; i++) {
        const struct token *t = &k->spec->answer[i];
        buf_str(&k->drip, "data: ");
        buf_add(&k->drip, k->prefix.p, k->prefix.len);
        buf_str(&k->drip, delta_open);
        buf_add(&k->drip, k->spec->text.p + t->at, t->len);
        buf_add(&k->drip, delta_close, sizeof delta_close - 3);
    }
}

static void drip_step(struct conn *c)
{
    struct call *k = &c->call;
    if (!k->drip.p)
        drip_make(k);
    if (k->dripped == k->drip.len) {
        stream_finish(c);
        return;
    }
    char chunk[] = "1\r\n?\r\n";
    chunk[3] = k->drip.p[k->dripped++];
    struct iovec v = {chunk, 6};
    conn_send(c, &v, 1);
    int64_t now = now_ns();
    if (chunk[3] == '\n' && k->drip.p[k->dripped - 2] == '\n') {
        k->due_ns = now;
        count_token(c, now);
    }
    conn_timer(c, now + pause_ns(k->spec->drip_ms));
}

static void stream_fault(struct conn *c)
{
    struct call *k = &c->call;
    struct buf out = {0}, event = {0};
    bool reset = k->spec->reset;
    if (k->fault == FAULT_STALL)
        return;
    if (k->fault == FAULT_CUT) {
        chat_end(c, false);
        conn_close(c, reset);
        return;
    }
    buf_str(&event, "data: {\"error\":{\"message\":\"The server had an error\",\"type\":\"server_error\",\"param\":null,"
                    "\"code\":\"internal\"}}\n\n");
    add_chunk(&out, &event);
    buf_free(&event);
    stream_close(c, &out, false);
}

void stream_step(struct conn *c)
{
    struct call *k = &c->call;
    bool stops = k->fault == FAULT_STALL || k->fault == FAULT_CUT || k->fault == FAULT_ERROR_IN_STREAM;
    uint32_t until = stops && k->spec->at < k->n ? k->spec->at : k->n;
    if (!k->began && k->fault == FAULT_SLOW_HEADERS && now_ns() < k->due_ns) {
        conn_timer(c, k->due_ns);
        return;
    }
    if (!k->began)
        stream_begin(c);
    if (k->fault == FAULT_COMMENTS_ONLY || k->fault == FAULT_DRIP) {
        (k->fault == FAULT_DRIP ? drip_step : ping_step)(c);
        return;
    }
    while (!c->broken) {
        int64_t now = now_ns();
        bool over = k->next == until && k->next && !stops; /* ends with its last token, not one later */
        if (c->out.len > OUT_HIGH) {
            c->blocked = true;
            return;
        }
        if (!over && k->due_ns > now) {
            conn_timer(c, k->due_ns);
            return;
        }
        if (k->next == until)
            break;
        token_send(c, now);
    }
    if (c->broken)
        return;
    if (stops)
        stream_fault(c);
    else
        stream_finish(c);
}

/* ---- without a stream ------------------------------------------------------------------------------------------------- */
static void whole_content(struct buf *b, const struct call *k)
{
    if (k->fault == FAULT_HUGE_EVENT) {
        buf_reserve(b, HUGE_BYTES);
        memset(b->p + b->len, 'x', HUGE_BYTES);
        b->len += HUGE_BYTES;
        return;
    }
    for (uint32_t i = 0; i < k->n; i++)
        buf_add(b, k->spec->text.p + k->spec->answer[i].at, k->spec->answer[i].len);
}

static void whole_body(struct buf *b, const struct call *k)
{
    if (k->fault == FAULT_ERROR_IN_STREAM) {
        buf_str(b, "{\"error\":{\"message\":\"The server had an error\",\"type\":\"server_error\",\"param\":null,"
                   "\"code\":\"internal\"}}");
        return;
    }
    buf_add(b, k->prefix.p, k->prefix.len);
    buf_str(b, ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"");
    whole_content(b, k);
    buf_fmt(b, "\"},\"finish_reason\":%s}]",
            k->fault == FAULT_NO_DONE ? "null" : k->cut_short ? "\"length\"" : "\"stop\"");
    if (tells_usage(k))
        usage_write(b, k);
    buf_str(b, "}");
    if (k->fault == FAULT_BAD_JSON)
        b->len /= 2;
}

static void whole_drip(struct conn *c)
{
    struct call *k = &c->call;
    struct iovec v = {k->drip.p + k->dripped, 1};
    if (k->dripped++ < k->drip.len) {
        conn_send(c, &v, 1);
        conn_timer(c, now_ns() + pause_ns(k->spec->drip_ms));
        return;
    }
    chat_end(c, true);
    if (!c->keep_alive)
        conn_close(c, false);
}

/* Headers and half of the body. */
static void whole_part(struct conn *c, const struct buf *body)
{
    struct buf out = {0};
    buf_fmt(&out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", body->len);
    if (c->call.fault != FAULT_DRIP)
        buf_add(&out, body->p, body->len / 2);
    conn_send_buf(c, &out);
}

void whole_step(struct conn *c)
{
    struct call *k = &c->call;
    struct buf body = {0};
    bool reset = k->spec->reset;
    if (k->began && k->fault == FAULT_DRIP)
        whole_drip(c);
    if (k->began)
        return;
    int64_t now = now_ns();
    if (k->due_ns > now) {
        conn_timer(c, k->due_ns);
        return;
    }
    k->began = true;
    for (uint32_t i = 0; i < k->n; i++)
        count_token(c, now);
    whole_body(&body, k);
    switch (k->fault) {
    case FAULT_STALL:
    case FAULT_COMMENTS_ONLY:
        whole_part(c, &body);
        buf_free(&body);
        return;
    case FAULT_CUT:
        whole_part(c, &body);
        buf_free(&body);
        chat_end(c, false);
        conn_close(c, reset);
        return;
    case FAULT_DRIP:
        whole_part(c, &body);
        k->drip = body;
        whole_drip(c);
        return;
    default:
        conn_reply(c, 200, "application/json", "", &body);
        chat_end(c, true);
    }
}
