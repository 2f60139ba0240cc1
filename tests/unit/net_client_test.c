/* The HTTP client against small servers of this file, each a thread on a loopback socket. */
#include "test.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "net/client.h"
#include "sys/clock.h"

enum { PATIENCE_S = 60, MS = 1000000 }; /* bounds every wait; never measured against */

static bool wait_for(sem_t *s)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += PATIENCE_S;
    int rc;
    while ((rc = sem_timedwait(s, &t)) < 0 && errno == EINTR)
        ;
    return rc == 0;
}

/* ---- names: no test asks a real server ---------------------------------------------------------------------- */
static sem_t resolver_entered, resolver_go;

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
    if (node && strstr(node, ".invalid")) {
        if (strncmp(node, "slow", 4) == 0) {
            sem_post(&resolver_entered);
            wait_for(&resolver_go);
        }
        return EAI_NONAME;
    }
    typedef int real_fn(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    real_fn *real;
    void *found = dlsym(RTLD_NEXT, "getaddrinfo");
    memcpy(&real, &found, sizeof real);
    return real(node, service, hints, res);
}

/* ---- servers ------------------------------------------------------------------------------------------------ */
struct server {
    int fd, port;
    pthread_t thread, conns[256];
    atomic_int accepted;
    void (*handle)(struct server *s, int fd, int nth); /* nth connection, from 0; does not close fd */
    sem_t sem, sem2;                                   /* for the test's own use */
    atomic_long n;
    _Atomic(void *) ctx;
};
struct conn {
    struct server *s;
    int fd, nth;
};

static void *conn_main(void *arg)
{
    struct conn c = *(struct conn *)arg;
    free(arg);
    c.s->handle(c.s, c.fd, c.nth);
    close(c.fd);
    return NULL;
}

static void *server_main(void *arg)
{
    struct server *s = arg;
    for (int fd; (fd = accept(s->fd, NULL, NULL)) >= 0;) {
        struct conn *c = malloc(sizeof *c);
        *c = (struct conn){s, fd, atomic_fetch_add(&s->accepted, 1)};
        assert_int_equal(pthread_create(&s->conns[c->nth], NULL, conn_main, c), 0);
    }
    return NULL;
}

static void server_listen(struct server *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(s->fd >= 0 && bind(s->fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(s->fd, 128) == 0);
    CHECK(getsockname(s->fd, (struct sockaddr *)&a, &len) == 0);
    s->port = ntohs(a.sin_port);
}

static void server_start(struct server *s, void (*handle)(struct server *, int, int))
{
    memset(s, 0, sizeof *s);
    s->handle = handle;
    sem_init(&s->sem, 0, 0);
    sem_init(&s->sem2, 0, 0);
    server_listen(s);
    CHECK_EQ(pthread_create(&s->thread, NULL, server_main, s), 0);
}

static void server_stop(struct server *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    for (int i = 0; i < s->accepted; i++)
        pthread_join(s->conns[i], NULL);
    close(s->fd);
}

/* Reads one request with its body into out, a string; false: the peer closed. */
static bool read_request(int fd, char *out, size_t cap)
{
    size_t len = 0, want = SIZE_MAX;
    while (len < want) {
        ssize_t n = len + 1 < cap ? recv(fd, out + len, cap - 1 - len, 0) : 0;
        if (n <= 0)
            return false;
        len += (size_t)n;
        out[len] = 0;
        char *end = strstr(out, "\r\n\r\n"), *length = strstr(out, "Content-Length: ");
        if (end)
            want = (size_t)(end + 4 - out) + (length ? (size_t)atol(length + 16) : 0);
    }
    return true;
}

static bool send_all(int fd, const char *p, size_t n)
{
    for (ssize_t k; n; p += k, n -= (size_t)k)
        if ((k = send(fd, p, n, MSG_NOSIGNAL)) <= 0)
            return false;
    return true;
}

static bool send_z(int fd, const char *z)
{
    return send_all(fd, z, strlen(z));
}

static void wait_until_closed(int fd)
{
    char b[4096];
    while (recv(fd, b, sizeof b, 0) > 0)
        ;
}

/* ---- the client's side -------------------------------------------------------------------------------------- */
static struct net_client *client;

struct on_net {
    struct net_task task;
    void (*fn)(void *arg);
    void *arg;
    sem_t done;
};

static void on_net_run(struct net_task *t)
{
    struct on_net *o = (struct on_net *)t;
    o->fn(o->arg);
    sem_post(&o->done);
}

static void on_net(void (*fn)(void *), void *arg)
{
    struct on_net o = {.task.run = on_net_run, .fn = fn, .arg = arg};
    sem_init(&o.done, 0, 0);
    net_post(client, &o.task);
    CHECK(wait_for(&o.done));
}

static void start_client(void)
{
    struct net_client_options opt = {0};
    CHECK_OK(net_client_start(&opt, &client, NULL));
}

static void stop_client(void)
{
    net_client_stop(client);
    client = NULL;
    CHECK_EQ(mem_in_use(MEM_MISC), 0);
}

struct got {
    char url[128];
    struct net_call_options opt;
    rag_code rc;
    struct net_call *call;
    int heads, ends;
    long status;
    char type[64], why[256];
    int64_t retry_ms;
    struct buf body;
    size_t body_len; /* counts when body is not kept */
    uint32_t pieces;
    enum net_result result;
    void (*on_head)(struct got *g);
    void (*on_body)(struct got *g, struct str bytes);
    void (*on_end)(struct got *g);
    struct got *other;
    sem_t first_body, ended;
};

static void got_head(void *ctx, const struct net_head *h)
{
    struct got *g = ctx;
    assert_true(net_on_thread(client) && !g->heads && !g->ends);
    g->heads++;
    g->status = h->status;
    g->retry_ms = h->retry_after_ms;
    snprintf(g->type, sizeof g->type, "%.*s", (int)h->content_type.len, h->content_type.ptr);
    if (g->on_head)
        g->on_head(g);
}

static void got_body(void *ctx, struct str bytes)
{
    struct got *g = ctx;
    assert_true(g->heads == 1 && !g->ends && bytes.len);
    g->body_len += bytes.len;
    if (g->on_body)
        g->on_body(g, bytes);
    else
        buf_adds(&g->body, bytes);
    if (!g->pieces++)
        sem_post(&g->first_body);
}

static void got_end(void *ctx, enum net_result r, const char *why)
{
    struct got *g = ctx;
    assert_true(!g->ends);
    g->ends++;
    g->result = r;
    snprintf(g->why, sizeof g->why, "%s", why);
    if (g->on_end)
        g->on_end(g);
    sem_post(&g->ended);
}

static void got_init(struct got *g, const char *scheme, int port, const char *path)
{
    memset(g, 0, sizeof *g);
    snprintf(g->url, sizeof g->url, "%s://127.0.0.1:%d%s", scheme, port, path);
    buf_init(&g->body, MEM_REQUEST);
    sem_init(&g->first_body, 0, 0);
    sem_init(&g->ended, 0, 0);
    g->opt = (struct net_call_options){.url = g->url,
                                       .body = STR_LIT("{\"q\":1}"),
                                       .connect_ms = PATIENCE_S * 1000,
                                       .events = {got_head, got_body, got_end},
                                       .ctx = g};
}

static void start_call(void *arg)
{
    struct got *g = arg;
    g->rc = net_call_start(client, &g->opt, &g->call, NULL);
}

static void cancel_call(void *arg)
{
    net_call_cancel(((struct got *)arg)->call);
}

static void resume_call(void *arg)
{
    net_call_pause(((struct got *)arg)->call, false);
}

static void nothing(void *arg)
{
    (void)arg;
}

static void run_call(struct got *g)
{
    on_net(start_call, g);
    CHECK_OK(g->rc);
    CHECK(wait_for(&g->ended));
}

static enum net_result result_of(const char *scheme, int port, uint32_t connect_ms)
{
    struct got g;
    got_init(&g, scheme, port, "/");
    g.opt.connect_ms = connect_ms;
    run_call(&g);
    CHECK(g.why[0] != 0);
    CHECK_EQ(g.heads, 0);
    buf_clear(&g.body);
    return g.result;
}

/* ---- requests and responses --------------------------------------------------------------------------------- */
static void serve_echo(struct server *s, int fd, int nth)
{
    char rq[8192], head[128];
    (void)s, (void)nth;
    while (read_request(fd, rq, sizeof rq)) {
        snprintf(head, sizeof head,
                 "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", strlen(rq));
        if (!send_z(fd, head) || !send_z(fd, rq))
            return;
    }
}

TEST(calls_reuse_a_connection_and_send_what_they_should)
{
    struct server s;
    server_start(&s, serve_echo);
    start_client();
    for (int i = 0; i < 3; i++) {
        struct got g;
        const char *const headers[] = {"X-Request-Id: r-17"};
        got_init(&g, "http", s.port, "/v1/chat");
        g.opt.bearer = "sk-secret";
        g.opt.headers = headers;
        g.opt.n_headers = 1;
        run_call(&g);
        CHECK_EQ(g.result, NET_DONE);
        CHECK_EQ(g.status, 200);
        CHECK_EQ(g.retry_ms, -1);
        CHECK_STR(str_of(g.type), "text/plain");
        buf_addc(&g.body, 0);
        const char *sent = g.body.ptr;
        CHECK(strncmp(sent, "POST /v1/chat HTTP/1.1\r\n", 24) == 0);
        CHECK(strstr(sent, "\r\nAuthorization: Bearer sk-secret\r\n"));
        CHECK(strstr(sent, "\r\nX-Request-Id: r-17\r\n"));
        CHECK(strstr(sent, "\r\nContent-Type: application/json\r\n"));
        CHECK(strstr(sent, "\r\nAccept: text/event-stream, application/json\r\n"));
        CHECK(strstr(sent, "\r\nUser-Agent: ragd\r\n"));
        CHECK(!strstr(sent, "Expect") && !strstr(sent, "Accept-Encoding"));
        CHECK(strstr(sent, "\r\n\r\n{\"q\":1}"));
        buf_clear(&g.body);
    }
    stop_client();
    server_stop(&s);
    CHECK_EQ(s.accepted, 1);
}

/* The path says which response. */
static void serve_by_path(struct server *s, int fd, int nth)
{
    char rq[8192], date[64], rs[512];
    time_t in_an_hour = time(NULL) + 3600;
    struct tm tm;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&in_an_hour, &tm));
    (void)s, (void)nth;
    while (read_request(fd, rq, sizeof rq)) {
        const char *retry = "";
        switch (rq[6]) {
        case 's': retry = "Retry-After: 7\r\n"; break;
        case 'f': retry = "retry-after:\t1.5 \r\n"; break;
        case 'm': retry = "Retry-After: 9\r\nRetry-After-Ms: 1500\r\n"; break;
        case 'd': retry = date; break;
        case 'p': retry = "Retry-After: Mon, 02 Jan 2006 15:04:05 GMT\r\n"; break;
        case 'h': retry = "Retry-After: 99999999999999999999999999\r\n"; break;
        case 'x': retry = "Retry-After: soon\r\n"; break;
        default: break;
        }
        snprintf(rs, sizeof rs,
                 "HTTP/1.1 100 Continue\r\nRetry-After: 1\r\n\r\n"
                 "HTTP/1.1 %s\r\nLocation: http://127.0.0.1:1/\r\n%s%s%sContent-Length: 4\r\n\r\nbusy",
                 rq[6] == 'r' ? "302 Found" : "429 Slow Down", retry == date ? "Retry-After: " : "", retry,
                 retry == date ? "\r\n" : "");
        if (!send_z(fd, rs))
            return;
    }
}

static int64_t retry_of(int port, const char *path, long status)
{
    struct got g;
    got_init(&g, "http", port, path);
    run_call(&g);
    CHECK_EQ(g.result, NET_DONE);
    CHECK_EQ(g.status, status);
    CHECK_STR(buf_str(&g.body), "busy");
    buf_clear(&g.body);
    return g.retry_ms;
}

TEST(errors_are_responses_with_their_body_and_retry_after)
{
    struct server s;
    server_start(&s, serve_by_path);
    start_client();
    CHECK_EQ(retry_of(s.port, "/none", 429), -1);
    CHECK_EQ(retry_of(s.port, "/seconds", 429), 7000);
    CHECK_EQ(retry_of(s.port, "/fraction", 429), 1500);
    CHECK_EQ(retry_of(s.port, "/ms", 429), 1500);
    int64_t ms = retry_of(s.port, "/date", 429);
    CHECK(ms > 3000000 && ms <= 3600000);
    CHECK_EQ(retry_of(s.port, "/past", 429), 0);
    CHECK_EQ(retry_of(s.port, "/huge", 429), 86400000);
    CHECK_EQ(retry_of(s.port, "/x", 429), -1);
    CHECK_EQ(retry_of(s.port, "/redirect", 302), -1); /* shown, not followed */
    stop_client();
    server_stop(&s);
}

/* Sends a piece whenever the test says so. */
static void serve_pieces(struct server *s, int fd, int nth)
{
    char rq[8192], piece[64];
    (void)nth;
    if (!read_request(fd, rq, sizeof rq))
        return;
    send_z(fd, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 5 && wait_for(&s->sem); i++) {
        snprintf(piece, sizeof piece, "9\r\ndata: %d\n\n\r\n", i);
        send_z(fd, piece);
    }
    send_z(fd, "0\r\nRetry-After: 3\r\n\r\n"); /* a trailer is no header */
    wait_until_closed(fd);
}

static void ask_for_more(struct got *g, struct str bytes)
{
    buf_adds(&g->body, bytes);
    sem_post(&((struct server *)g->other)->sem);
}

TEST(a_stream_comes_piece_by_piece)
{
    struct server s;
    struct got g;
    server_start(&s, serve_pieces);
    start_client();
    got_init(&g, "http", s.port, "/");
    g.other = (struct got *)&s;
    g.on_body = ask_for_more; /* the next piece is only sent when this one was told */
    sem_post(&s.sem);
    run_call(&g);
    CHECK_EQ(g.result, NET_DONE);
    CHECK_EQ(g.pieces, 5);
    CHECK_EQ(g.retry_ms, -1);
    CHECK_STR(buf_str(&g.body), "data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\n");
    buf_clear(&g.body);
    stop_client();
    server_stop(&s);
}

/* ---- failures ----------------------------------------------------------------------------------------------- */
static void serve_half(struct server *s, int fd, int nth)
{
    char rq[8192];
    (void)s, (void)nth;
    if (read_request(fd, rq, sizeof rq))
        send_z(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc");
}

static void serve_nothing(struct server *s, int fd, int nth)
{
    char rq[8192];
    (void)s, (void)nth;
    read_request(fd, rq, sizeof rq);
}

static void serve_reset(struct server *s, int fd, int nth)
{
    char rq[8192];
    struct linger now = {.l_onoff = 1};
    serve_half(s, fd, nth);
    read_request(fd, rq, 0);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

TEST(a_cut_is_told_with_what_came_before)
{
    void (*const handlers[])(struct server *, int, int) = {serve_half, serve_reset};
    start_client();
    for (int i = 0; i < 2; i++) {
        struct server s;
        struct got g;
        server_start(&s, handlers[i]);
        got_init(&g, "http", s.port, "/");
        run_call(&g);
        CHECK_EQ(g.result, NET_CUT);
        if (i == 0) { /* a reset may overtake what was sent */
            CHECK_EQ(g.heads, 1);
            CHECK_STR(buf_str(&g.body), "abc");
        }
        buf_clear(&g.body);
        server_stop(&s);
    }
    struct server s;
    server_start(&s, serve_nothing);
    CHECK_EQ(result_of("http", s.port, PATIENCE_S * 1000), NET_CUT);
    server_stop(&s);
    stop_client();
}

static void serve_line(struct server *s, int fd, int nth)
{
    char rq[8192];
    (void)nth;
    if (read_request(fd, rq, sizeof rq))
        send_z(fd, s->ctx);
    wait_until_closed(fd);
}

static void serve_endless_line(struct server *s, int fd, int nth)
{
    char rq[8192];
    (void)s, (void)nth;
    if (!read_request(fd, rq, sizeof rq) || !send_z(fd, "HTTP/1.1 200 OK\r\nX: "))
        return;
    while (send_z(fd, "0123456789012345678901234567890123456789"))
        ;
}

static void serve_endless_head(struct server *s, int fd, int nth)
{
    char rq[8192];
    (void)s, (void)nth;
    if (!read_request(fd, rq, sizeof rq) || !send_z(fd, "HTTP/1.1 200 OK\r\n"))
        return;
    while (send_z(fd, "X-Filler: 0123456789012345678901234567890123456789\r\n"))
        ;
}

TEST(what_is_not_http_is_garbage)
{
    static char lines[][64] = {"SSH-2.0-OpenSSH_9.2\r\n", "HTTP/7.3 200 OK\r\nContent-Length: 0\r\n\r\n",
                               "220 mail ready\r\n\r\n"};
    struct server s;
    start_client();
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        server_start(&s, serve_line);
        s.ctx = lines[i];
        CHECK_EQ(result_of("http", s.port, PATIENCE_S * 1000), NET_GARBAGE);
        server_stop(&s);
    }
    server_start(&s, serve_endless_line);
    CHECK_EQ(result_of("http", s.port, PATIENCE_S * 1000), NET_GARBAGE);
    server_stop(&s);
    server_start(&s, serve_endless_head);
    CHECK_EQ(result_of("http", s.port, PATIENCE_S * 1000), NET_GARBAGE);
    server_stop(&s);
    stop_client();
}

static void serve_silence(struct server *s, int fd, int nth)
{
    (void)s, (void)nth;
    wait_until_closed(fd);
}

static void serve_plain(struct server *s, int fd, int nth)
{
    char hello[4096];
    (void)s, (void)nth;
    if (recv(fd, hello, sizeof hello, 0) > 0)
        send_z(fd, "HTTP/1.1 400 Bad Request\r\n\r\n");
    wait_until_closed(fd);
}

TEST(failures_before_the_request_are_told_apart)
{
    struct server s;
    start_client();
    server_listen(&s);
    close(s.fd);
    CHECK_EQ(result_of("http", s.port, PATIENCE_S * 1000), NET_REFUSED);

    server_start(&s, serve_plain);
    CHECK_EQ(result_of("https", s.port, PATIENCE_S * 1000), NET_TLS);
    server_stop(&s);

    server_start(&s, serve_silence); /* accepts, but never answers the TLS hello */
    CHECK_EQ(result_of("https", s.port, 100), NET_CONNECT_TIMEOUT);
    server_stop(&s);

    struct got g;
    got_init(&g, "http", 1, "/");
    g.opt.url = "http://no-such-host.invalid/v1";
    run_call(&g);
    CHECK_EQ(g.result, NET_RESOLVE);
    CHECK(strstr(g.why, "no-such-host.invalid"));
    stop_client();
    CHECK_STR(str_of(net_result_name(NET_RESOLVE)), "resolve");
    CHECK_STR(str_of(net_result_name(NET_STOPPED)), "stopped");
}

TEST(bad_arguments_are_refused_at_the_start)
{
    static const char *const urls[] = {"ftp://127.0.0.1/", "file:///etc/passwd", "127.0.0.1", "http://", ""};
    static const char *const bad[] = {"X-Id: a\r\nX-Admin: yes"};
    struct got g;
    start_client();
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        got_init(&g, "http", 1, "/");
        g.opt.url = urls[i];
        on_net(start_call, &g);
        CHECK_EQ(g.rc, RAG_EINVAL);
    }
    got_init(&g, "http", 1, "/");
    g.opt.headers = bad;
    g.opt.n_headers = 1;
    on_net(start_call, &g);
    CHECK_EQ(g.rc, RAG_EINVAL);
    g.opt.n_headers = 0;
    g.opt.bearer = "sk\nX: y";
    on_net(start_call, &g);
    CHECK_EQ(g.rc, RAG_EINVAL);
    stop_client();
}

/* An answer on the first connection; then it is closed: at once, or when the next request has come. */
static void serve_once(struct server *s, int fd, int nth)
{
    char rq[8192];
    if (!read_request(fd, rq, sizeof rq))
        return;
    char *body = strstr(rq, "\r\n\r\n") + 4, head[128];
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", strlen(body));
    send_z(fd, head);
    send_z(fd, body);
    if (s->ctx && nth == 0)
        read_request(fd, rq, sizeof rq);
    else if (nth == 0)
        shutdown(fd, SHUT_RDWR);
    else
        wait_until_closed(fd);
}

TEST(a_call_survives_an_idle_connection_that_the_server_closed)
{
    for (int late = 0; late < 2; late++) {
        struct server s;
        server_start(&s, serve_once);
        s.ctx = late ? &s : NULL;
        start_client();
        for (int i = 0; i < 2; i++) {
            struct got g;
            got_init(&g, "http", s.port, "/");
            run_call(&g);
            CHECK_EQ(g.result, NET_DONE);
            CHECK_EQ(g.heads, 1);
            CHECK_STR(buf_str(&g.body), "{\"q\":1}");
            buf_clear(&g.body);
        }
        stop_client();
        server_stop(&s);
        CHECK_EQ(s.accepted, 2);
    }
}

/* ---- cancelling, pausing ------------------------------------------------------------------------------------ */
/* Sends a little, then waits for the client to close and says so. */
static void serve_until_closed(struct server *s, int fd, int nth)
{
    char rq[8192];
    (void)nth;
    if (!read_request(fd, rq, sizeof rq))
        return;
    if (!s->ctx)
        send_z(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n");
    sem_post(&s->sem);
    wait_until_closed(fd);
    sem_post(&s->sem2);
}

static void cancel_in_head(struct got *g)
{
    net_call_cancel(g->call);
}

static void cancel_in_body(struct got *g, struct str bytes)
{
    (void)bytes;
    net_call_cancel(g->call);
}

static void cancel_other(struct got *g, struct str bytes)
{
    (void)bytes;
    net_call_cancel(g->other->call);
    net_call_cancel(g->call);
}

TEST(a_cancelled_call_is_silent_and_its_connection_closed)
{
    for (int how = 0; how < 4; how++) {
        struct server s;
        struct got g, other;
        server_start(&s, serve_until_closed);
        s.ctx = how == 0 ? &s : NULL;
        start_client();
        got_init(&g, "http", s.port, "/");
        got_init(&other, "http", s.port, "/");
        g.on_head = how == 1 ? cancel_in_head : NULL;
        g.on_body = how == 2 ? cancel_in_body : how == 3 ? cancel_other : NULL;
        g.other = &other;
        if (how == 3) {
            on_net(start_call, &other);
            CHECK(wait_for(&other.first_body));
        }
        on_net(start_call, &g);
        CHECK(wait_for(&s.sem));
        if (how == 0)
            on_net(cancel_call, &g);
        CHECK(wait_for(&s.sem2));
        if (how == 3)
            CHECK(wait_for(&s.sem2));
        stop_client();
        server_stop(&s);
        CHECK_EQ(g.ends + other.ends, 0);
        CHECK_EQ(g.heads, how != 0);
        CHECK_EQ(g.pieces, how >= 2);
        buf_clear(&g.body);
        buf_clear(&other.body);
    }
}

TEST(cancelling_does_not_wait_for_a_name)
{
    struct got g;
    sem_init(&resolver_entered, 0, 0);
    sem_init(&resolver_go, 0, 0);
    start_client();
    got_init(&g, "http", 1, "/");
    g.opt.url = "http://slow.invalid/";
    on_net(start_call, &g);
    CHECK(wait_for(&resolver_entered));
    on_net(nothing, NULL); /* the thread is free while the name is looked up */
    on_net(cancel_call, &g);
    on_net(nothing, NULL);
    sem_post(&resolver_go);
    stop_client();
    CHECK_EQ(g.ends, 0);
}

enum { FLOOD = 32 << 20 };

static char flood_byte(size_t i)
{
    return (char)(i * 7 + (i >> 13));
}

/* Sends FLOOD bytes; says so (sem) when the client takes no more. */
static void serve_flood(struct server *s, int fd, int nth)
{
    static char block[65536];
    char rq[8192];
    bool told = false;
    (void)nth;
    if (!read_request(fd, rq, sizeof rq))
        return;
    snprintf(rq, sizeof rq, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", FLOOD);
    send_z(fd, rq);
    for (size_t at = 0; at < FLOOD;) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (poll(&p, 1, told ? PATIENCE_S * 1000 : 500) == 0) {
            if (told)
                return;
            told = true;
            s->n = (long)at;
            sem_post(&s->sem);
            continue;
        }
        size_t n = FLOOD - at < sizeof block ? FLOOD - at : sizeof block;
        for (size_t i = 0; i < n; i++)
            block[i] = flood_byte(at + i);
        ssize_t k = send(fd, block, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (k < 0 && errno != EAGAIN)
            return;
        at += k > 0 ? (size_t)k : 0;
    }
    if (!told)
        sem_post(&s->sem2); /* was never held back */
    wait_until_closed(fd);
}

static void pause_in_head(struct got *g)
{
    net_call_pause(g->call, true);
}

static void start_paused(void *arg)
{
    start_call(arg);
    net_call_pause(((struct got *)arg)->call, true);
}

static void check_flood(struct got *g, struct str bytes)
{
    for (size_t i = 0, at = g->body_len - bytes.len; i < bytes.len; i++)
        if (bytes.ptr[i] != flood_byte(at + i))
            g->status = -1;
}

TEST(a_paused_call_holds_the_sender_back_and_loses_nothing)
{
    for (int early = 0; early < 2; early++) {
        struct server s;
        struct got g;
        server_start(&s, serve_flood);
        start_client();
        got_init(&g, "http", s.port, "/");
        g.on_body = check_flood;
        g.on_head = early ? NULL : pause_in_head;
        on_net(early ? start_paused : start_call, &g);
        CHECK(wait_for(&s.sem));
        on_net(nothing, NULL);
        CHECK(s.n < FLOOD && g.body_len < FLOOD / 4 && !g.ends);
        on_net(resume_call, &g);
        CHECK(wait_for(&g.ended));
        CHECK_EQ(g.result, NET_DONE);
        CHECK_EQ(g.status, 200);
        CHECK_EQ(g.body_len, FLOOD);
        stop_client();
        server_stop(&s);
    }
}

static void resume_and_cancel(void *arg)
{
    resume_call(arg);
    cancel_call(arg);
}

TEST(a_call_may_be_cancelled_with_bytes_that_are_not_told_yet)
{
    struct server s;
    struct got g;
    server_start(&s, serve_flood);
    start_client();
    got_init(&g, "http", s.port, "/");
    on_net(start_paused, &g); /* curl keeps the first bytes */
    CHECK(wait_for(&s.sem));
    on_net(resume_and_cancel, &g);
    stop_client();
    server_stop(&s);
    CHECK(!g.ends && !g.pieces);
}

static void resume_other(struct got *g, struct str bytes)
{
    buf_adds(&g->body, bytes);
    net_call_pause(g->other->call, false);
    net_call_pause(g->call, true);
    net_call_pause(g->call, false);
}

TEST(a_call_is_resumed_from_within_another)
{
    struct server s, s2;
    struct got g, other;
    server_start(&s, serve_flood);
    server_start(&s2, serve_pieces);
    start_client();
    got_init(&other, "http", s.port, "/");
    other.on_head = pause_in_head;
    other.on_body = check_flood;
    on_net(start_call, &other);
    CHECK(wait_for(&s.sem));
    got_init(&g, "http", s2.port, "/");
    g.on_body = resume_other;
    g.other = &other;
    for (int i = 0; i < 5; i++)
        sem_post(&s2.sem);
    run_call(&g);
    CHECK(wait_for(&other.ended));
    CHECK_EQ(other.body_len, FLOOD);
    CHECK_EQ(other.status, 200);
    CHECK_STR(buf_str(&g.body), "data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\n");
    buf_clear(&g.body);
    stop_client();
    server_stop(&s);
    server_stop(&s2);
}

static void start_next(struct got *g)
{
    if (g->other)
        start_call(g->other);
}

TEST(the_end_of_a_call_may_start_the_next)
{
    struct server s;
    struct got g[8];
    server_start(&s, serve_echo);
    start_client();
    for (int i = 0; i < 8; i++) {
        got_init(&g[i], "http", s.port, "/");
        g[i].other = i < 7 ? &g[i + 1] : NULL;
        g[i].on_end = start_next;
    }
    on_net(start_call, &g[0]);
    for (int i = 0; i < 8; i++) {
        CHECK(wait_for(&g[i].ended));
        CHECK_EQ(g[i].result, NET_DONE);
        buf_clear(&g[i].body);
    }
    stop_client();
    server_stop(&s);
    CHECK_EQ(s.accepted, 1);
}

TEST(many_calls_at_once_keep_their_connections_for_the_next_round)
{
    enum { N = 60 }; /* more than are kept idle */
    static struct got g[N];
    struct server s;
    server_start(&s, serve_echo);
    start_client();
    for (int i = 0; i < N; i++) {
        got_init(&g[i], "http", s.port, "/");
        on_net(start_call, &g[i]);
    }
    for (int i = 0; i < N; i++) {
        CHECK(wait_for(&g[i].ended));
        CHECK_EQ(g[i].result, NET_DONE);
        CHECK_EQ(g[i].status, 200);
        buf_clear(&g[i].body);
    }
    stop_client();
    server_stop(&s);
    CHECK(s.accepted <= N);
}

/* ---- timers, tasks, watches --------------------------------------------------------------------------------- */
struct alarm {
    struct net_timer t;
    int id, times;
    struct alarm *stops;
};
static struct alarm alarms[200];
static int fired[1000], n_fired;
static sem_t all_fired;

static void alarm_fire(struct net_timer *t)
{
    struct alarm *a = (struct alarm *)t;
    assert_true(clock_mono_ns() >= t->due_ns && !t->at);
    fired[n_fired++] = a->id;
    if (a->stops)
        net_timer_stop(client, &a->stops->t);
    if (--a->times > 0)
        assert_true(net_timer_set(client, t, t->due_ns));
    if (a->id == 199)
        sem_post(&all_fired);
}

static void set_alarms(void *arg)
{
    int64_t now = clock_mono_ns();
    (void)arg;
    for (int i = 0; i < 200; i++) {
        int k = i * 71 % 200; /* in a scattered order, all far away first */
        alarms[k] = (struct alarm){.t.fire = alarm_fire, .id = k, .times = k == 50 ? 3 : 1};
        assert_true(net_timer_set(client, &alarms[k].t, now + (int64_t)(1000 - k) * 1000 * MS));
    }
    for (int i = 0; i < 200; i++) {
        int k = i * 37 % 200;
        assert_true(net_timer_set(client, &alarms[k].t, now + k * MS / 2));
    }
    for (int k = 0; k < 200; k += 10)
        if (k != 50)
            net_timer_stop(client, &alarms[k].t);
    net_timer_stop(client, &alarms[0].t); /* not set any more */
    alarms[101].stops = &alarms[103];
}

TEST(timers_fire_in_order_moved_stopped_and_set_again)
{
    sem_init(&all_fired, 0, 0);
    n_fired = 0;
    start_client();
    on_net(set_alarms, NULL);
    CHECK(wait_for(&all_fired));
    on_net(nothing, NULL);
    stop_client();
    int want = 0, at = 0;
    for (int k = 1; k < 200; k++)
        if ((k % 10 && k != 103) || k == 50)
            for (int i = 0; i < (k == 50 ? 3 : 1); i++, want++)
                CHECK(at < n_fired && fired[at++] == k);
    CHECK_EQ(n_fired, want);
}

static struct alarm restless = {.id = 1};

static void restless_fire(struct net_timer *t)
{
    assert_true(net_timer_set(client, t, 0));
}

static void set_restless(void *arg)
{
    (void)arg;
    restless.t = (struct net_timer){.fire = restless_fire};
    restless_fire(&restless.t);
}

TEST(a_timer_that_is_always_due_lets_others_work)
{
    struct server s;
    struct got g;
    server_start(&s, serve_echo);
    start_client();
    on_net(set_restless, NULL);
    got_init(&g, "http", s.port, "/");
    run_call(&g);
    CHECK_EQ(g.result, NET_DONE);
    buf_clear(&g.body);
    stop_client();
    server_stop(&s);
    CHECK_EQ(restless.t.at, 0);
}

enum { POSTERS = 4, POSTS = 10000 };
struct posted {
    struct net_task task;
    int poster, nth;
};
static int next_of[POSTERS];
static bool out_of_order;

static void posted_run(struct net_task *t)
{
    struct posted *p = (struct posted *)t;
    out_of_order |= next_of[p->poster]++ != p->nth || !net_on_thread(client);
    free(p);
}

static void *post_many(void *arg)
{
    int poster = *(int *)arg;
    for (int i = 0; i < POSTS; i++) {
        struct posted *p = malloc(sizeof *p);
        *p = (struct posted){.task.run = posted_run, .poster = poster, .nth = i};
        net_post(client, &p->task);
    }
    return NULL;
}

TEST(posts_run_in_order_and_all_of_them_before_the_stop)
{
    pthread_t t[POSTERS];
    int ids[POSTERS];
    memset(next_of, 0, sizeof next_of);
    start_client();
    CHECK(!net_on_thread(client));
    for (int i = 0; i < POSTERS; i++) {
        ids[i] = i;
        CHECK_EQ(pthread_create(&t[i], NULL, post_many, &ids[i]), 0);
    }
    for (int i = 0; i < POSTERS; i++)
        pthread_join(t[i], NULL);
    struct net_client *c = client; /* posted_run reads `client` */
    net_client_stop(c);
    client = NULL;
    CHECK(!out_of_order);
    for (int i = 0; i < POSTERS; i++)
        CHECK_EQ(next_of[i], POSTS);
}

struct watched {
    struct net_watch w;
    int peer;
    atomic_int gone;
    bool started;
    struct watched *stops;
    sem_t sem;
};

static void watched_gone(struct net_watch *w)
{
    struct watched *x = (struct watched *)w;
    assert_true(!w->on && net_on_thread(client));
    x->gone++;
    if (x->stops)
        net_watch_stop(client, &x->stops->w);
    sem_post(&x->sem);
}

static void watch_start(void *arg)
{
    struct watched *x = arg;
    x->started = net_watch_start(client, &x->w);
}

static void watch_stop(void *arg)
{
    net_watch_stop(client, &((struct watched *)arg)->w);
}

/* A TCP connection: one end watched, the other in peer. */
static void watched_init(struct watched *x)
{
    struct server s = {0};
    memset(x, 0, sizeof *x);
    sem_init(&x->sem, 0, 0);
    server_listen(&s);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons((uint16_t)s.port)};
    x->peer = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(x->peer, (struct sockaddr *)&a, sizeof a) == 0);
    x->w.fd = accept(s.fd, NULL, NULL);
    x->w.gone = watched_gone;
    CHECK(x->w.fd >= 0);
    close(s.fd);
}

TEST(a_watch_tells_when_the_peer_closes_half_closes_or_resets)
{
    start_client();
    for (int how = 0; how < 3; how++) {
        struct watched x;
        struct linger now = {.l_onoff = 1};
        watched_init(&x);
        on_net(watch_start, &x);
        CHECK(x.started);
        CHECK(send_z(x.peer, "GET / HTTP/1.1\r\n")); /* somebody else reads this */
        on_net(nothing, NULL);
        on_net(nothing, NULL);
        CHECK_EQ(x.gone, 0);
        if (how == 1)
            shutdown(x.peer, SHUT_WR);
        if (how == 2)
            setsockopt(x.peer, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        if (how != 1)
            close(x.peer);
        CHECK(wait_for(&x.sem));
        on_net(nothing, NULL);
        CHECK_EQ(x.gone, 1);
        on_net(watch_start, &x); /* once more: it is known to be gone */
        CHECK(wait_for(&x.sem));
        on_net(watch_stop, &x);
        close(x.w.fd);
        if (how == 1)
            close(x.peer);
    }
    struct watched bad = {.w = {.fd = -1, .gone = watched_gone}};
    on_net(watch_start, &bad);
    CHECK(!bad.started);
    stop_client();
}

static struct watched pair[2];

/* Both are gone before the thread looks again: their events come together. */
static void lose_both(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2; i++) {
        watch_start(&pair[i]);
        assert_true(pair[i].started);
        close(pair[i].peer);
    }
}

TEST(a_watch_that_was_stopped_is_silent)
{
    start_client();
    for (int i = 0; i < 2; i++) {
        watched_init(&pair[i]);
        pair[i].stops = &pair[1 - i]; /* whichever comes first stops the other */
    }
    on_net(lose_both, NULL);
    for (int i = 0; i < 1000 && pair[0].gone + pair[1].gone == 0; i++)
        on_net(nothing, NULL); /* the loop turns at least once for each */
    on_net(nothing, NULL);
    CHECK_EQ(pair[0].gone + pair[1].gone, 1);

    struct watched x;
    watched_init(&x);
    on_net(watch_start, &x);
    on_net(watch_stop, &x);
    on_net(watch_stop, &x);
    close(x.peer);
    on_net(nothing, NULL);
    on_net(nothing, NULL);
    CHECK_EQ(x.gone, 0);
    stop_client();
    close(x.w.fd);
    close(pair[0].w.fd);
    close(pair[1].w.fd);
}

/* ---- stopping, memory --------------------------------------------------------------------------------------- */
static atomic_int late_tasks;
static struct net_task late_task;

static void late_run(struct net_task *t)
{
    (void)t;
    late_tasks++;
}

static void post_and_start(struct got *g)
{
    late_task.run = late_run;
    net_post(client, &late_task);
    start_call(g->other);
}

TEST(stopping_ends_calls_and_runs_what_their_ends_post)
{
    struct server s;
    struct got g, next;
    server_start(&s, serve_until_closed);
    start_client();
    got_init(&g, "http", s.port, "/");
    got_init(&next, "http", s.port, "/");
    g.other = &next;
    g.on_end = post_and_start;
    late_tasks = 0;
    on_net(start_call, &g);
    CHECK(wait_for(&g.first_body));
    struct net_client *c = client;
    net_client_stop(c); /* `client` stays for the callbacks */
    client = NULL;
    CHECK_EQ(g.ends, 1);
    CHECK_EQ(g.result, NET_STOPPED);
    CHECK_EQ(next.rc, RAG_EBUSY);
    CHECK_EQ(late_tasks, 1);
    server_stop(&s);
    buf_clear(&g.body);
    net_client_stop(NULL);
}

TEST(starting_survives_each_failed_allocation)
{
    bool fired_one = true;
    for (unsigned nth = 1; fired_one; nth++) {
        struct net_client_options opt = {0};
        struct net_client *c = NULL;
        fault_arm_alloc(nth);
        rag_code rc = net_client_start(&opt, &c, NULL);
        fired_one = fault_disarm();
        CHECK_EQ(rc, fired_one ? RAG_ENOMEM : RAG_OK);
        net_client_stop(c);
    }
    CHECK_EQ(mem_in_use(MEM_MISC), 0);
}

static unsigned fail_nth;

static void start_failing(void *arg)
{
    fault_arm_alloc(fail_nth);
    start_call(arg);
}

static void count_only(struct got *g, struct str bytes)
{
    (void)g, (void)bytes;
}

TEST(a_call_survives_each_failed_allocation)
{
    struct server s;
    bool fired_one = true;
    server_start(&s, serve_echo);
    for (fail_nth = 1; fired_one; fail_nth++) {
        struct got g;
        start_client();
        got_init(&g, "http", s.port, "/");
        g.opt.bearer = "sk-secret";
        g.on_body = count_only;
        on_net(start_failing, &g);
        if (!g.rc)
            CHECK(wait_for(&g.ended));
        fired_one = fault_disarm();
        CHECK_EQ(g.rc ? g.rc : RAG_OK, g.rc ? RAG_ENOMEM : RAG_OK);
        CHECK_EQ(!g.rc && g.result == NET_DONE, !fired_one);
        if (!g.rc && fired_one)
            CHECK_EQ(g.result, NET_MEMORY);
        stop_client();
    }
    CHECK(fail_nth > 4); /* the call, the bearer, the records */
    server_stop(&s);
}
