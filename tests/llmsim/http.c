#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sim.h"

/* ---- timers: a heap of connections, by the time at which each has something to do ---------------------------- */
static void heap_put(struct sim *s, uint32_t at, struct conn *c)
{
    s->heap[at] = c;
    c->heap_at = at;
}

static void heap_settle(struct sim *s, uint32_t at, struct conn *c)
{
    for (; at > 1 && s->heap[at / 2]->due_ns > c->due_ns; at /= 2)
        heap_put(s, at, s->heap[at / 2]);
    for (uint32_t child; (child = at * 2) <= s->n_heap; at = child) {
        if (child < s->n_heap && s->heap[child + 1]->due_ns < s->heap[child]->due_ns)
            child++;
        if (s->heap[child]->due_ns >= c->due_ns)
            break;
        heap_put(s, at, s->heap[child]);
    }
    heap_put(s, at, c);
}

void conn_timer(struct conn *c, int64_t due_ns)
{
    struct sim *s = c->sim;
    c->due_ns = due_ns;
    if (!c->heap_at) {
        if (s->n_heap + 1 >= s->heap_cap) {
            uint32_t cap = s->heap_cap ? s->heap_cap * 2 : 256;
            struct conn **bigger = mem_get(cap * sizeof *bigger);
            if (s->heap)
                memcpy(bigger, s->heap, s->heap_cap * sizeof *bigger);
            free(s->heap);
            s->heap = bigger;
            s->heap_cap = cap;
        }
        c->heap_at = ++s->n_heap;
    }
    heap_settle(s, c->heap_at, c);
}

void conn_timer_stop(struct conn *c)
{
    struct sim *s = c->sim;
    uint32_t at = c->heap_at;
    if (!at)
        return;
    c->heap_at = 0;
    struct conn *last = s->heap[s->n_heap--];
    if (last != c)
        heap_settle(s, at, last);
}

/* ---- the end of a connection ------------------------------------------------------------------------------------ */
static void conn_die(struct conn *c)
{
    if (c->dead)
        return;
    c->dead = true;
    conn_timer_stop(c);
    close(c->fd);
    c->sim->connections_open--;
    c->next_dead = c->sim->dead;
    c->sim->dead = c;
}

void conn_bury(struct sim *s)
{
    while (s->dead) {
        struct conn *c = s->dead;
        s->dead = c->next_dead;
        buf_free(&c->in);
        buf_free(&c->out);
        free(c);
    }
}

static void peer_closed(struct conn *c)
{
    if (c->call.open)
        chat_client_closed(c);
    conn_die(c);
}

/* FIN first, and what the peer still sends is read: closing beside unread bytes would be an RST. */
static void conn_linger(struct conn *c)
{
    shutdown(c->fd, SHUT_WR);
    c->lingering = true;
    conn_timer(c, now_ns() + 2 * NS_PER_S);
}

void conn_close(struct conn *c, bool reset)
{
    if (c->dead || c->closing)
        return;
    c->closing = true;
    if (reset) {
        struct linger none = {.l_onoff = 1, .l_linger = 0};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
        conn_die(c);
    } else if (!c->out.len) {
        conn_linger(c);
    }
}

/* ---- writing ------------------------------------------------------------------------------------------------------ */
static void conn_watch(struct conn *c)
{
    if (c->dead)
        return;
    uint32_t want = EPOLLRDHUP | (c->in.len < MAX_BODY + MAX_HEAD ? EPOLLIN : 0u) | (c->out.len ? EPOLLOUT : 0u);
    if (want == c->events)
        return;
    struct epoll_event e = {.events = want, .data.ptr = c};
    if (!epoll_ctl(c->sim->epoll, c->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &e))
        c->events = want;
}

void conn_send(struct conn *c, const struct iovec *v, int n)
{
    ssize_t took = 0;
    if (c->dead || c->broken)
        return;
    if (!c->out.len) {
        took = writev(c->fd, v, n);
        if (took < 0 && errno != EAGAIN && errno != EINTR) {
            c->broken = true;
            return;
        }
    }
    size_t skip = took > 0 ? (size_t)took : 0;
    for (int i = 0; i < n; i++) {
        size_t over = skip < v[i].iov_len ? skip : v[i].iov_len;
        buf_add(&c->out, (const char *)v[i].iov_base + over, v[i].iov_len - over);
        skip -= over;
    }
    if (c->out.len)
        conn_watch(c);
}

void conn_send_buf(struct conn *c, struct buf *b)
{
    struct iovec v = {b->p, b->len};
    conn_send(c, &v, 1);
    buf_free(b);
}

static void conn_flush(struct conn *c)
{
    while (c->out_at < c->out.len) {
        ssize_t took = write(c->fd, c->out.p + c->out_at, c->out.len - c->out_at);
        if (took < 0) {
            if (errno != EAGAIN && errno != EINTR)
                c->broken = true;
            return;
        }
        c->out_at += (size_t)took;
    }
    buf_free(&c->out);
    c->out_at = 0;
    if (c->closing) {
        conn_linger(c);
    } else if (c->blocked && c->call.open) {
        c->blocked = false;
        c->call.held_ns = now_ns();
        chat_step(c);
    }
}

void conn_reply(struct conn *c, int status, const char *type, const char *headers, struct buf *body)
{
    static const struct {
        int status;
        const char *phrase;
    } phrases[] = {{200, "OK"}, {400, "Bad Request"}, {401, "Unauthorized"}, {402, "Payment Required"},
                   {404, "Not Found"}, {411, "Length Required"}, {413, "Content Too Large"}, {429, "Too Many Requests"},
                   {431, "Request Header Fields Too Large"}, {500, "Internal Server Error"},
                   {503, "Service Unavailable"}};
    const char *phrase = "";
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
        if (phrases[i].status == status)
            phrase = phrases[i].phrase;
    struct buf head = {0};
    buf_fmt(&head, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%sConnection: %s\r\n\r\n", status,
            phrase, type, body->len, headers, c->keep_alive ? "keep-alive" : "close");
    struct iovec v[] = {{head.p, head.len}, {body->p, body->len}};
    conn_send(c, v, 2);
    buf_free(&head);
    buf_free(body);
    if (!c->keep_alive)
        conn_close(c, false);
}

/* ---- requests ------------------------------------------------------------------------------------------------------ */
static bool is_header(const char *line, const char *name, size_t len, const char **value, int *n)
{
    size_t k = strlen(name);
    if (len <= k || line[k] != ':' || strncasecmp(line, name, k))
        return false;
    const char *v = line + k + 1, *end = line + len;
    while (v < end && (*v == ' ' || *v == '\t'))
        v++;
    while (end > v && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *value = v;
    *n = (int)(end - v);
    return true;
}

/* Returns 0, or the status of the refusal. */
static int head_parse(struct conn *c, struct request *rq, bool *expects)
{
    const char *p = c->in.p, *end = p + c->head_len - 2, *v;
    char line[256];
    int n, status = 0;
    const char *eol = memmem(p, (size_t)(end - p) + 2, "\r\n", 2);
    size_t len = (size_t)(eol - p) < sizeof line - 1 ? (size_t)(eol - p) : sizeof line - 1;
    memcpy(line, p, len);
    line[len] = 0;
    *rq = (struct request){0};
    if (sscanf(line, "%7[A-Z] %63[^ ?]", rq->method, rq->path) != 2 || !strstr(line, " HTTP/1.1"))
        return 400;
    c->keep_alive = true;
    c->body_len = 0;
    for (p = eol + 2; p < end; p = eol + 2) {
        eol = memmem(p, (size_t)(end - p) + 2, "\r\n", 2);
        len = (size_t)(eol - p);
        if (is_header(p, "Content-Length", len, &v, &n)) {
            c->body_len = strtoull(v, NULL, 10);
            if (n > 9 || c->body_len > MAX_BODY)
                status = 413;
        } else if (is_header(p, "Transfer-Encoding", len, &v, &n)) {
            status = 411;
        } else if (is_header(p, "Connection", len, &v, &n)) {
            c->keep_alive = !(n == 5 && !strncasecmp(v, "close", 5));
        } else if (is_header(p, "Expect", len, &v, &n)) {
            *expects = true;
        } else if (is_header(p, "Authorization", len, &v, &n)) {
            rq->authorized = n > 0;
        } else if (is_header(p, "X-Request-Id", len, &v, &n)) {
            snprintf(rq->request_id, sizeof rq->request_id, "%.*s", n, v);
        } else if (is_header(p, "traceparent", len, &v, &n)) {
            snprintf(rq->traceparent, sizeof rq->traceparent, "%.*s", n, v);
        }
    }
    return status;
}

static bool is(const struct request *rq, const char *method, const char *path)
{
    return !strcmp(rq->method, method) && !strcmp(rq->path, path);
}

static void set_spec(struct conn *c, const struct request *rq)
{
    struct json body;
    struct buf name = {0}, text = {0}, out = {0};
    char why[200] = "no JSON object with model and spec";
    bool ok = json_parse(rq->body, rq->body_len, &body) && json_text(json_get(body, "model"), &name) &&
              json_text(json_get(body, "spec"), &text);
    buf_add(&name, "", 1);
    buf_add(&text, "", 1);
    ok = ok && sim_set(c->sim, name.p, text.p, why);
    if (ok) {
        buf_str(&out, "{}");
        conn_reply(c, 200, "application/json", "", &out);
    } else {
        chat_error(c, 400, "invalid_request_error", "spec", why, "");
    }
    buf_free(&name);
    buf_free(&text);
}

static void list_models(struct sim *s, struct buf *out)
{
    buf_str(out, "{\"object\":\"list\",\"data\":[");
    for (uint32_t i = s->n_models > 1 ? 1 : 0; i < s->n_models; i++) {
        buf_str(out, i > 1 ? ",{\"id\":" : "{\"id\":");
        buf_json(out, s->models[i].name, strlen(s->models[i].name));
        buf_str(out, ",\"object\":\"model\",\"created\":0,\"owned_by\":\"llmsim\"}");
    }
    buf_str(out, "]}");
}

static void dispatch(struct conn *c, const struct request *rq)
{
    struct sim *s = c->sim;
    struct buf out = {0};
    if (is(rq, "POST", "/v1/chat/completions") || is(rq, "POST", "/chat/completions")) {
        chat_open(c, rq);
        return;
    }
    if (is(rq, "POST", "/sim/set")) {
        set_spec(c, rq);
        return;
    }
    if (is(rq, "GET", "/v1/models") || is(rq, "GET", "/models"))
        list_models(s, &out);
    else if (is(rq, "GET", "/sim/stats"))
        sim_stats(s, &out);
    else if (is(rq, "GET", "/sim/bodies"))
        sim_bodies(s, &out);
    else if (is(rq, "POST", "/sim/reset"))
        sim_reset(s);
    else {
        chat_error(c, 404, "invalid_request_error", "not_found", "no such route", "");
        return;
    }
    if (!out.len)
        buf_str(&out, "{}");
    conn_reply(c, 200, "application/json", "", &out);
}

static void refuse(struct conn *c, int status)
{
    c->keep_alive = false;
    buf_free(&c->in);
    chat_error(c, status, "invalid_request_error", "http", "llmsim takes HTTP/1.1 with Content-Length up to 4 MB", "");
}

/* One request, when it is there as a whole. */
static bool request_take(struct conn *c)
{
    struct request rq;
    bool expects = false;
    if (!c->in.len)
        return false;
    if (!c->head_len) {
        size_t look = c->in.len < MAX_HEAD ? c->in.len : MAX_HEAD;
        const char *end = memmem(c->in.p, look, "\r\n\r\n", 4);
        if (!end && look == MAX_HEAD)
            refuse(c, 431);
        if (!end)
            return false;
        c->head_len = (size_t)(end - c->in.p) + 4;
        int status = head_parse(c, &rq, &expects);
        if (status) {
            refuse(c, status);
            return false;
        }
        if (expects && c->in.len < c->head_len + c->body_len) {
            struct iovec v = {(char[]){"HTTP/1.1 100 Continue\r\n\r\n"}, 25};
            conn_send(c, &v, 1);
        }
    }
    if (c->in.len < c->head_len + c->body_len)
        return false;
    head_parse(c, &rq, &expects);
    rq.body = c->in.p + c->head_len;
    rq.body_len = c->body_len;
    size_t whole = c->head_len + c->body_len;
    c->head_len = 0;
    dispatch(c, &rq);
    buf_drop(&c->in, whole);
    if (!c->in.len && c->in.cap > 1 << 16)
        buf_free(&c->in);
    return true;
}

static void conn_settle(struct conn *c)
{
    while (!c->call.open && !c->closing && !c->dead && !c->broken && request_take(c))
        ;
    if (c->broken && !c->dead)
        peer_closed(c);
    conn_watch(c);
}

/* False: the peer has closed. */
static bool conn_read(struct conn *c)
{
    while (c->in.len < MAX_BODY + MAX_HEAD) {
        buf_reserve(&c->in, 1 << 14);
        size_t room = c->in.cap - c->in.len;
        ssize_t got = read(c->fd, c->in.p + c->in.len, room);
        if (got == 0)
            return false;
        if (got < 0)
            return errno == EAGAIN || errno == EINTR;
        c->in.len += c->lingering ? 0 : (size_t)got;
        if ((size_t)got < room)
            break;
    }
    return true;
}

void conn_event(struct conn *c, uint32_t events)
{
    if (c->dead)
        return;
    bool there = !(events & EPOLLIN) || conn_read(c);
    if (events & EPOLLOUT)
        conn_flush(c);
    conn_settle(c);
    if (!c->dead && (!there || events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        peer_closed(c);
}

void conn_timers(struct sim *s, int64_t now)
{
    while (s->n_heap && s->heap[1]->due_ns <= now) {
        struct conn *c = s->heap[1];
        conn_timer_stop(c);
        if (c->lingering) {
            conn_die(c);
        } else if (c->call.open) {
            chat_step(c);
            conn_settle(c);
        }
    }
}

void conn_accept(struct sim *s)
{
    for (int i = 0; i < 64; i++) { /* then the calls at work have their turn */
        int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
        if (fd < 0)
            return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct conn *c = mem_get(sizeof *c);
        c->sim = s;
        c->fd = fd;
        s->connections++;
        s->connections_open++;
        conn_watch(c);
        if (!c->events)
            conn_die(c);
    }
}
