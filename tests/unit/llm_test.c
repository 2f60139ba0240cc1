/* Answers by models against scripted HTTP servers of this file: each a thread on a loopback socket, a thread for each of
 * its connections. What a test waits for is bounded by PATIENCE_S and never measured; clocks of the product are either far
 * longer than a test takes or are what the test waits for. */
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "llm/llm.h"
#include "base/mem.h"
#include "sys/clock.h"
#include "temp_dir.h"

enum { PATIENCE_S = 60, SERVERS = 3, CONNS = 256, SCRIPT = 12 };

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

static void nap(int ms)
{
    nanosleep(&(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000}, NULL);
}

/* ---- servers ------------------------------------------------------------------------------------------------ */

struct server;
typedef void reply(struct server *s, int fd);
struct server {
    int fd, port;
    pthread_t thread, conns[CONNS];
    int accepted;
    reply *script[SCRIPT]; /* of the nth request; the last one repeats */
    atomic_int requests;
    atomic_llong billed; /* what the usage that was sent costs */
    struct llm_price price;
    sem_t came, go; /* a request is there; a reply that waits may go on */
    pthread_mutex_t mu;
    char last[8192]; /* the last request; under mu until the server has stopped */
};
struct conn {
    struct server *s;
    int fd;
};

/* False: the peer closed. */
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

static void send_z(int fd, const char *z)
{
    size_t n = strlen(z);
    for (ssize_t k; n; z += k, n -= (size_t)k)
        if ((k = send(fd, z, n, MSG_NOSIGNAL)) <= 0)
            return;
}

static void wait_until_closed(int fd)
{
    char b[1024];
    while (recv(fd, b, sizeof b, 0) > 0)
        ;
}

static void *conn_main(void *arg)
{
    struct conn c = *(struct conn *)arg;
    char request[sizeof c.s->last];
    free(arg);
    if (read_request(c.fd, request, sizeof request)) {
        int nth = atomic_fetch_add(&c.s->requests, 1), at = 0;
        while (at < nth && at + 1 < SCRIPT && c.s->script[at + 1])
            at++;
        pthread_mutex_lock(&c.s->mu);
        strcpy(c.s->last, request);
        pthread_mutex_unlock(&c.s->mu);
        sem_post(&c.s->came);
        c.s->script[at](c.s, c.fd);
    }
    close(c.fd);
    return NULL;
}

static void *server_main(void *arg)
{
    struct server *s = arg;
    for (int fd; (fd = accept(s->fd, NULL, NULL)) >= 0;) {
        struct conn *c = malloc(sizeof *c);
        *c = (struct conn){s, fd};
        if (s->accepted == CONNS || pthread_create(&s->conns[s->accepted], NULL, conn_main, c))
            abort();
        s->accepted++;
    }
    return NULL;
}

static void server_start(struct server *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    memset(s, 0, sizeof *s);
    sem_init(&s->came, 0, 0);
    sem_init(&s->go, 0, 0);
    pthread_mutex_init(&s->mu, NULL);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(s->fd >= 0 && bind(s->fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(s->fd, 128) == 0);
    CHECK(getsockname(s->fd, (struct sockaddr *)&a, &len) == 0);
    s->port = ntohs(a.sin_port);
    CHECK_EQ(pthread_create(&s->thread, NULL, server_main, s), 0);
}

/* The port stays ours, and refuses. */
static void server_stop_listening(struct server *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    s->thread = 0;
}

static void server_stop(struct server *s)
{
    if (s->thread)
        server_stop_listening(s);
    for (int i = 0; i < s->accepted; i++)
        pthread_join(s->conns[i], NULL);
    close(s->fd);
}

/* ---- what they reply ---------------------------------------------------------------------------------------- */

static void begin_stream(int fd)
{
    send_z(
        fd,
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
}

static void event(int fd, const char *data)
{
    char b[2048];
    snprintf(b, sizeof b, "%zx\r\ndata: %s\n\n\r\n", strlen(data) + 8, data);
    send_z(fd, b);
}

static void token(int fd, const char *text)
{
    char b[1024];
    snprintf(b, sizeof b, "{\"choices\":[{\"delta\":{\"content\":\"%s\"}}]}", text);
    event(fd, b);
}

static void usage(struct server *s, int fd, uint32_t prompt, uint32_t cached, uint32_t completion)
{
    char b[256];
    snprintf(b, sizeof b,
             "{\"choices\":[],\"usage\":{\"prompt_tokens\":%u,\"completion_tokens\":%u,"
             "\"prompt_tokens_details\":{\"cached_tokens\":%u}}}",
             prompt, completion, cached);
    atomic_fetch_add(&s->billed, llm_cost(&s->price, prompt, cached, completion));
    event(fd, b);
}

static void finish(int fd)
{
    event(fd, "{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}");
}

static void end_stream(int fd)
{
    event(fd, "[DONE]");
    send_z(fd, "0\r\n\r\n");
}

static void ok(struct server *s, int fd)
{
    begin_stream(fd);
    token(fd, "Hello");
    token(fd, " world");
    finish(fd);
    usage(s, fd, 100, 40, 20);
    end_stream(fd);
}

static void ok_without_usage(struct server *s, int fd)
{
    (void)s;
    begin_stream(fd);
    token(fd, "Hello world");
    finish(fd);
    end_stream(fd);
}

static void ok_after_go(struct server *s, int fd)
{
    if (wait_for(&s->go))
        ok(s, fd);
}

/* One token; the rest after go. */
static void token_then_go(struct server *s, int fd)
{
    begin_stream(fd);
    token(fd, "Hello");
    if (!wait_for(&s->go))
        return;
    token(fd, " again");
    finish(fd);
    usage(s, fd, 100, 0, 20);
    end_stream(fd);
}

static void token_after_go_then_go(struct server *s, int fd)
{
    if (wait_for(&s->go))
        token_then_go(s, fd);
}

static void silent(struct server *s, int fd)
{
    (void)s;
    wait_until_closed(fd);
}

static void head_only(struct server *s, int fd)
{
    (void)s;
    begin_stream(fd);
    wait_until_closed(fd);
}

static void token_then_silence(struct server *s, int fd)
{
    (void)s;
    begin_stream(fd);
    token(fd, "Hello");
    wait_until_closed(fd);
}

static void cut_before(struct server *s, int fd)
{
    (void)s;
    begin_stream(fd);
}

static void cut_after(struct server *s, int fd)
{
    (void)s;
    begin_stream(fd);
    token(fd, "Hello");
}

static void garbage(struct server *s, int fd)
{
    (void)s;
    begin_stream(fd);
    event(fd, "this is not JSON");
    wait_until_closed(fd);
}

static void plain(int fd, const char *status_and_headers, const char *body)
{
    char b[1024];
    snprintf(
        b, sizeof b,
        "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
        status_and_headers, strlen(body), body);
    send_z(fd, b);
}

static void status_500(struct server *s, int fd)
{
    (void)s;
    plain(fd, "500 Oops", "{\"error\":{\"message\":\"oops\"}}");
}

static void status_400(struct server *s, int fd)
{
    (void)s;
    plain(fd, "400 Bad", "{\"error\":{\"message\":\"bad\"}}");
}

static void status_202(struct server *s, int fd)
{
    (void)s;
    plain(fd, "202 Later", "{}");
}

static void status_402(struct server *s, int fd)
{
    (void)s;
    plain(fd, "402 Pay", "{\"error\":{\"message\":\"no money\"}}");
}

static void status_429_300ms(struct server *s, int fd)
{
    (void)s;
    plain(fd, "429 Slow down\r\nretry-after-ms: 300", "{}");
}

static void status_429_10s(struct server *s, int fd)
{
    (void)s;
    plain(fd, "429 Slow down\r\nRetry-After: 10", "{}");
}

static void status_429_hour(struct server *s, int fd)
{
    (void)s;
    plain(fd, "429 Slow down\r\nRetry-After: 3600", "{}");
}

/* ---- the whole: three models, large, medium and small, each at a server of its own ------------------------------ */

static struct world {
    struct server server[SERVERS];
    struct llm_provider provider[SERVERS];
    struct llm_model model[SERVERS];
    char url[SERVERS][64];
    struct net_client *net;
    struct ledger *ledger;
    struct metrics *metrics;
    struct llm *llm;
    struct llm_options opt;
    struct ledger_options ledger_opt;
    int64_t mem_before;
} w;
static struct server *const large = &w.server[0], *const medium = &w.server[1], *const small = &w.server[2];

/* Clocks that no test reaches by accident. n_models: the first ones of the three. */
static void prepare(uint32_t n_models)
{
    static const char *const names[SERVERS] = {"large", "medium", "small"};
    static const enum model_class classes[SERVERS] = {CLASS_LARGE, CLASS_MEDIUM, CLASS_SMALL};
    static const struct llm_price prices[SERVERS] = {{1400000000, 700000000, 2800000000},
                                                     {700000000, 350000000, 1400000000},
                                                     {200000000, 100000000, 400000000}};
    temp_dir_make();
    memset(&w, 0, sizeof w);
    w.mem_before = mem_in_use(MEM_REQUEST);
    for (int i = 0; i < SERVERS; i++) {
        server_start(&w.server[i]);
        w.server[i].script[0] = ok;
        w.server[i].price = prices[i];
        snprintf(w.url[i], sizeof w.url[i], "http://127.0.0.1:%d/v1", w.server[i].port);
        w.provider[i] = (struct llm_provider){.name = names[i], .base_url = w.url[i], .key = "a-secret"};
        w.model[i] = (struct llm_model){.name = names[i],
                                        .provider = &w.provider[i],
                                        .model = names[i],
                                        .class = classes[i],
                                        .price = prices[i]};
    }
    w.ledger_opt = (struct ledger_options){
        .dir = dir, .daily = 1000 * NANO_PER_CNY, .warn = 0.8, .stop = 0.95, .timezone = "UTC"};
    w.opt = (struct llm_options){.catalogue = {w.model, n_models},
                                 .breaker = {.failures = 1000, .successes = 2, .open_ns = 60000000000},
                                 .connect_ms = 30000,
                                 .first_token_ms = 30000,
                                 .inter_token_ms = 30000,
                                 .answer_ms = 60000,
                                 .attempts = 3,
                                 .retry_initial_ms = 1,
                                 .retry_max_ms = 2,
                                 .retry_factor = 2,
                                 .retry_budget = 1,
                                 .max_calls = 100};
}

static void open_world(void)
{
    struct net_client_options no = {0};
    w.metrics = metrics_new();
    CHECK(w.metrics != NULL);
    CHECK_OK(net_client_start(&no, &w.net, NULL));
    CHECK_OK(ledger_open(&w.ledger_opt, &w.ledger, NULL));
    w.opt.net = w.net;
    w.opt.ledger = w.ledger;
    w.opt.metrics = w.metrics;
    CHECK_OK(llm_open(&w.opt, &w.llm, NULL));
}

/* Nothing is left but the folder: no call, no reservation, no memory. */
static void close_all(void)
{
    struct ledger_totals t;
    llm_close(w.llm);
    ledger_totals(w.ledger, &t);
    CHECK_EQ(t.day_open, 0);
    CHECK_EQ(t.month_open, 0);
    CHECK_EQ(metrics_gauge(w.metrics, "ragd_llm_calls", "", 1, NULL, 0)->n, 0);
    net_client_stop(w.net);
    ledger_close(w.ledger);
    metrics_free(w.metrics);
    for (int i = 0; i < SERVERS; i++)
        server_stop(&w.server[i]);
    CHECK_EQ(mem_in_use(MEM_REQUEST), w.mem_before);
}

static void close_world(void)
{
    close_all();
    temp_dir_drop();
}

static uint64_t retries(void)
{
    return counter_get(metrics_counter(w.metrics, "ragd_llm_retries_total", "", 1, NULL, 0));
}

static struct llm_health health_of(uint32_t model)
{
    struct llm_health h[SERVERS];
    llm_health(w.llm, h);
    return h[model];
}

/* ---- a call ------------------------------------------------------------------------------------------------- */

struct call {
    struct llm_call *c;
    char text[256];
    atomic_int ends;
    sem_t token, ended;
    struct llm_result r;
};

static void on_text(void *ctx, struct str piece)
{
    struct call *k = ctx;
    size_t n = strlen(k->text);
    snprintf(k->text + n, sizeof k->text - n, "%.*s", (int)piece.len, piece.ptr);
    sem_post(&k->token);
}

static void on_end(void *ctx, const struct llm_result *r)
{
    struct call *k = ctx;
    k->r = *r;
    atomic_fetch_add(&k->ends, 1);
    sem_post(&k->ended);
}

static const char system_text[] = "Answer from the passages.", user_text[] = "年费多少?";

static void start_as(struct call *k, enum model_class want, const char *key, nano_cny key_daily)
{
    struct chat_message m[] = {{"system", STR_LIT("Answer from the passages.")}, {"user", str_of(user_text)}};
    memset(k, 0, sizeof *k);
    sem_init(&k->token, 0, 0);
    sem_init(&k->ended, 0, 0);
    struct llm_request rq = {.want = want,
                             .messages = m,
                             .n_messages = 2,
                             .max_tokens = 100,
                             .key = key,
                             .key_daily = key_daily,
                             .request_id = "rid-1",
                             .traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                             .events = {on_text, on_end},
                             .ctx = k};
    CHECK_OK(llm_start(w.llm, &rq, &k->c));
}

static void start(struct call *k)
{
    start_as(k, CLASS_LARGE, "", 0);
}

static void wait_end(struct call *k)
{
    CHECK(wait_for(&k->ended));
    llm_release(k->c);
    CHECK_EQ(k->ends, 1);
}

static void run(struct call *k)
{
    start(k);
    wait_end(k);
}

#define CHECK_END(k, e, why)                                                                                 \
    do {                                                                                                     \
        CHECK_EQ((k)->r.end, e);                                                                             \
        CHECK_STR(str_of(llm_reason_name((k)->r.reason)), why);                                              \
    } while (0)

/* "large:http_500 medium:ok" */
static void check_attempts(const struct call *k, const char *want)
{
    char got[512] = "";
    for (uint32_t i = 0; i < k->r.n_attempts; i++) {
        size_t n = strlen(got);
        snprintf(got + n, sizeof got - n, "%s%s:%s", i ? " " : "", k->r.attempts[i].model->name,
                 k->r.attempts[i].outcome);
    }
    CHECK_STR(str_of(got), want);
}

/* What was posted before has run when it returns. */
struct barrier {
    struct net_task task;
    sem_t done;
};

static void on_barrier(struct net_task *t)
{
    sem_post(&((struct barrier *)t)->done);
}

static void barrier(void)
{
    struct barrier b = {.task.run = on_barrier};
    sem_init(&b.done, 0, 0);
    net_post(w.net, &b.task);
    CHECK(wait_for(&b.done));
}

/* ---- answers and failures ------------------------------------------------------------------------------------- */

TEST(an_answer_comes_with_its_usage_and_its_cost)
{
    struct call k;
    struct ledger_totals t;
    prepare(3);
    open_world();
    run(&k);
    CHECK_END(&k, LLM_ANSWERED, "optimal");
    CHECK_STR(str_of(k.text), "Hello world");
    check_attempts(&k, "large:ok");
    CHECK(k.r.model == &w.model[0] && !k.r.fallback && k.r.first_token_ns > 0 &&
          k.r.took_ns >= k.r.first_token_ns);
    CHECK(k.r.usage.given && k.r.usage.prompt == 100 && k.r.usage.cached == 40 && k.r.usage.completion == 20);
    CHECK_STR(str_of(k.r.finish), "stop");
    CHECK_EQ(k.r.cost, 60 * 1400 + 40 * 700 + 20 * 2800);
    CHECK_EQ(k.r.cost, large->billed);
    ledger_totals(w.ledger, &t);
    CHECK_EQ(t.day_spent, k.r.cost);
    close_world();
    CHECK(strstr(large->last, "POST /v1/chat/completions HTTP/1.1\r\n") == large->last);
    CHECK(strstr(large->last, "\r\nAuthorization: Bearer a-secret\r\n"));
    CHECK(strstr(large->last, "\r\nX-Request-Id: rid-1\r\n"));
    CHECK(
        strstr(large->last, "\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"));
}

TEST(without_usage_the_tokens_are_counted_here)
{
    struct call k;
    prepare(1);
    large->script[0] = ok_without_usage;
    open_world();
    run(&k);
    CHECK_END(&k, LLM_ANSWERED, "optimal");
    uint32_t prompt = llm_count_tokens(str_of(system_text)) + llm_count_tokens(str_of(user_text));
    CHECK(!k.r.usage.given && k.r.usage.prompt == prompt && k.r.usage.completion == 3); /* 11 bytes */
    CHECK_EQ(k.r.cost, llm_cost(&w.model[0].price, prompt, 0, 3));
    close_world();
}

TEST(a_failure_is_repeated_and_then_left_to_the_next_model)
{
    struct call k;
    prepare(3);
    large->script[0] = status_500;
    large->script[1] = ok;
    large->script[2] = status_500;
    open_world();
    run(&k);
    CHECK_END(&k, LLM_ANSWERED, "optimal");
    check_attempts(&k, "large:http_500 large:ok");
    CHECK_EQ(retries(), 1);
    run(&k);
    CHECK_END(&k, LLM_ANSWERED, "upstream_error");
    check_attempts(&k, "large:http_500 large:http_500 large:http_500 medium:ok");
    CHECK(k.r.fallback && k.r.model == &w.model[1]);
    CHECK_EQ(k.r.cost, medium->billed); /* what was refused costs nothing */
    close_world();
}

TEST(what_no_repetition_can_help_goes_to_the_next_model_at_once)
{
    struct call k;
    prepare(3);
    large->script[0] = status_402;
    medium->script[0] = status_400;
    open_world();
    run(&k);
    CHECK_END(&k, LLM_ANSWERED, "upstream_error");
    check_attempts(&k, "large:quota medium:http_400 small:ok");
    CHECK_EQ(health_of(0).failures, 1); /* 402 counts, 400 does not */
    CHECK_EQ(health_of(1).failures, 0);
    close_world();
}

TEST(all_models_failing_says_why)
{
    struct call k;
    prepare(2);
    large->script[0] = garbage;
    medium->script[0] = status_429_hour;
    open_world();
    run(&k);
    CHECK_END(&k, LLM_FAILED, "rate_limited");
    check_attempts(&k, "large:garbage large:garbage medium:http_429");
    CHECK(k.r.model == NULL && k.r.first_token_ns == 0 && k.text[0] == 0);
    close_world();
}

TEST(retry_after_is_obeyed)
{
    struct call k;
    prepare(3);
    large->script[0] = status_429_300ms;
    large->script[1] = ok;
    open_world();
    run(&k);
    CHECK_END(&k, LLM_ANSWERED, "optimal");
    check_attempts(&k, "large:http_429 large:ok");
    CHECK(k.r.attempts[1].start_ns - k.r.attempts[0].start_ns >= 300000000);
    close_world();
}

TEST(retry_after_that_does_not_fit_means_the_next_model)
{
    struct call k;
    prepare(3);
    large->script[0] = status_429_hour;
    open_world();
    run(&k);
    CHECK_END(&k, LLM_ANSWERED, "rate_limited");
    check_attempts(&k, "large:http_429 medium:ok");
    close_world();
}

/* Ten in hand, one a second, and a share of the calls that is next to nothing. */
TEST(retries_end_when_their_budget_does)
{
    enum { CALLS = 30 };
    struct call k;
    prepare(1);
    large->script[0] = status_500;
    w.opt.retry_budget = 0.0001;
    open_world();
    int64_t began = clock_mono_ns();
    for (int i = 0; i < CALLS; i++)
        run(&k);
    uint64_t most = 11 + (uint64_t)((clock_mono_ns() - began) / 1000000000);
    CHECK_END(&k, LLM_FAILED, "upstream_error");
    CHECK(retries() >= 10 && retries() <= most);
    CHECK_EQ(large->requests, CALLS + retries());
    close_world();
}

TEST(no_retry_budget_means_no_retry)
{
    struct call k;
    prepare(2);
    large->script[0] = status_500;
    w.opt.retry_budget = 0;
    open_world();
    run(&k);
    check_attempts(&k, "large:http_500 medium:ok");
    close_world();
}

TEST(a_late_first_token_means_the_next_model_and_never_the_same_again)
{
    struct call k;
    prepare(2);
    large->script[0] = head_only;
    medium->script[0] = status_500;
    w.opt.first_token_ms = 1000;
    w.opt.attempts = 2;
    open_world();
    run(&k);
    CHECK_END(&k, LLM_FAILED, "upstream_error");
    check_attempts(&k, "large:timeout medium:http_500 medium:http_500");
    CHECK_EQ(large->requests, 1);
    CHECK(k.r.attempts[0].took_ns >= 1000000000);
    close_world();
}

TEST(the_answer_clock_ends_what_first_tokens_do_not)
{
    struct call k;
    prepare(2);
    large->script[0] = silent;
    w.opt.answer_ms = 2000;
    open_world();
    start(&k);
    CHECK(wait_for(&large->came));
    wait_end(&k);
    CHECK_END(&k, LLM_FAILED, "timeout");
    check_attempts(&k, "large:timeout");
    CHECK_EQ(health_of(0).failures, 1); /* it had most of the time there was */
    CHECK_EQ(medium->requests, 0);
    close_world();
}

TEST(after_the_first_token_nothing_is_repeated)
{
    struct call k;
    prepare(3);
    large->script[0] = cut_before;
    large->script[1] = cut_after;
    open_world();
    run(&k);
    CHECK_END(&k, LLM_CUT, "upstream_error");
    check_attempts(&k, "large:cut large:cut");
    CHECK_STR(str_of(k.text), "Hello");
    CHECK_EQ(health_of(0).failures, 0); /* the first token was a success; a cut after it says nothing */
    CHECK_EQ(medium->requests, 0);
    close_world();
}

TEST(silence_after_the_first_token_is_a_cut)
{
    struct call k;
    prepare(3);
    large->script[0] = token_then_silence;
    w.opt.inter_token_ms = 300;
    open_world();
    run(&k);
    CHECK_END(&k, LLM_CUT, "timeout");
    check_attempts(&k, "large:stall");
    CHECK_STR(str_of(k.text), "Hello");
    close_world();
}

TEST(what_was_never_sent_costs_nothing)
{
    struct call k;
    prepare(1);
    server_stop_listening(large);
    open_world();
    run(&k);
    CHECK_END(&k, LLM_FAILED, "upstream_error");
    check_attempts(&k, "large:refused large:refused large:refused");
    CHECK_EQ(k.r.cost, 0);
    close_world();
}

/* ---- breakers ------------------------------------------------------------------------------------------------- */

TEST(a_breaker_opens_lets_one_probe_through_and_closes)
{
    struct call k, other;
    prepare(1);
    for (int i = 0; i < 5; i++)
        large->script[i] = status_500;
    large->script[5] = ok_after_go;
    large->script[6] = ok;
    w.opt.attempts = 1;
    w.opt.breaker = (struct breaker_rules){.failures = 5, .successes = 2, .open_ns = 2000000000};
    open_world();
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(health_of(0).state, BREAKER_CLOSED);
        run(&k);
        CHECK_END(&k, LLM_FAILED, "upstream_error");
        CHECK(wait_for(&large->came));
    }
    CHECK_EQ(health_of(0).state, BREAKER_OPEN);
    CHECK_EQ(health_of(0).times_opened, 1);
    run(&k); /* at once: nothing is sent */
    CHECK_END(&k, LLM_FAILED, "breaker");
    check_attempts(&k, "large:breaker");
    CHECK_EQ(large->requests, 5);
    CHECK_EQ(k.r.cost, 0);

    do
        nap(20); /* it is rounded down */
    while (health_of(0).retry_in_ms > 0);
    nap(5);
    start(&k); /* the probe */
    CHECK(wait_for(&large->came));
    CHECK_EQ(health_of(0).state, BREAKER_HALF_OPEN);
    run(&other);
    CHECK_END(&other, LLM_FAILED, "breaker");
    CHECK_EQ(large->requests, 6);
    sem_post(&large->go);
    wait_end(&k);
    CHECK_END(&k, LLM_ANSWERED, "optimal");
    CHECK_EQ(health_of(0).state, BREAKER_HALF_OPEN);
    run(&k);
    CHECK_END(&k, LLM_ANSWERED, "optimal");
    CHECK_EQ(health_of(0).state, BREAKER_CLOSED);
    close_world();
}

TEST(a_canceled_probe_frees_its_place)
{
    struct call k;
    prepare(1);
    large->script[0] = status_500;
    large->script[1] = silent;
    large->script[2] = ok;
    w.opt.attempts = 1;
    w.opt.breaker = (struct breaker_rules){.failures = 1, .successes = 1, .open_ns = 1000000};
    open_world();
    run(&k);
    CHECK(wait_for(&large->came));
    nap(5);
    start(&k);
    CHECK(wait_for(&large->came));
    llm_cancel(k.c);
    wait_end(&k);
    CHECK_END(&k, LLM_CANCELED, "optimal");
    CHECK_EQ(health_of(0).state, BREAKER_HALF_OPEN);
    run(&k);
    CHECK_END(&k, LLM_ANSWERED, "optimal");
    CHECK_EQ(health_of(0).state, BREAKER_CLOSED);
    close_world();
}

TEST(a_probe_gives_its_place_back_with_its_first_token)
{
    struct call probe, k;
    prepare(1);
    large->script[0] = status_500;
    large->script[1] = token_then_go;
    large->script[2] = ok;
    w.opt.attempts = 1;
    w.opt.breaker = (struct breaker_rules){.failures = 1, .successes = 2, .open_ns = 1000000};
    open_world();
    run(&k);
    nap(5);
    start(&probe);
    CHECK(wait_for(&probe.token));
    run(&k); /* the second success, while the first still streams */
    CHECK_END(&k, LLM_ANSWERED, "optimal");
    CHECK_EQ(health_of(0).state, BREAKER_CLOSED);
    sem_post(&large->go);
    wait_end(&probe);
    CHECK_END(&probe, LLM_ANSWERED, "optimal");
    CHECK_EQ(health_of(0).state, BREAKER_CLOSED);
    CHECK_EQ(health_of(0).times_opened, 1);
    close_world();
}

TEST(an_open_breaker_is_passed_by)
{
    struct call k;
    prepare(2);
    large->script[0] = status_500;
    w.opt.attempts = 1;
    w.opt.breaker = (struct breaker_rules){.failures = 1, .successes = 1, .open_ns = 60000000000};
    open_world();
    run(&k);
    check_attempts(&k, "large:http_500 medium:ok");
    run(&k);
    CHECK_END(&k, LLM_ANSWERED, "breaker");
    check_attempts(&k, "large:breaker medium:ok");
    CHECK(k.r.fallback);
    CHECK_EQ(large->requests, 1);
    close_world();
}

/* ---- budgets -------------------------------------------------------------------------------------------------- */

static void on_reserved(void *ctx, struct reservation *r, rag_code rc)
{
    (void)r;
    if (!rc)
        sem_post(ctx);
}

static void spend(nano_cny amount)
{
    sem_t done;
    struct reservation *r;
    sem_init(&done, 0, 0);
    struct reserve_options o = {
        .service = "llm", .model = "m", .key = "", .amount = amount, .done = on_reserved, .ctx = &done};
    CHECK_OK(ledger_reserve(w.ledger, &o, &r));
    CHECK(wait_for(&done));
    ledger_settle(w.ledger, r, &(struct settlement){.cost = amount, .outcome = "ok"});
}

TEST(a_budget_that_runs_out_means_the_cheapest_and_then_none)
{
    struct call k;
    prepare(3);
    w.ledger_opt.daily = NANO_PER_CNY;
    open_world();
    spend(NANO_PER_CNY / 100 * 85);
    run(&k);
    CHECK_END(&k, LLM_ANSWERED, "budget_warning");
    check_attempts(&k, "small:ok");
    CHECK(!k.r.fallback);
    spend(NANO_PER_CNY / 100 * 10);
    run(&k);
    CHECK_END(&k, LLM_FAILED, "budget_exceeded");
    CHECK_EQ(large->requests + medium->requests + small->requests, 1);
    close_world();
}

TEST(a_key_has_a_budget_of_its_own)
{
    struct call k;
    prepare(1);
    open_world();
    start_as(&k, CLASS_LARGE, "poor", 1); /* less than any call may cost */
    wait_end(&k);
    CHECK_END(&k, LLM_FAILED, "budget_exceeded");
    check_attempts(&k, "large:budget");
    start_as(&k, CLASS_LARGE, "rich", NANO_PER_CNY);
    wait_end(&k);
    CHECK_END(&k, LLM_ANSWERED, "optimal");
    CHECK_EQ(large->requests, 1);
    close_world();
}

/* Of the closed ledger's file. */
static int64_t rows_of_calls(const char *where)
{
    sqlite3 *db;
    sqlite3_stmt *st;
    char path[128], sql[256];
    snprintf(path, sizeof path, "%s/ledger.db", dir);
    snprintf(sql, sizeof sql, "SELECT count(*) FROM calls WHERE %s", where);
    CHECK_EQ(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    CHECK_EQ(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    CHECK_EQ(sqlite3_step(st), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

TEST(the_ledger_holds_what_the_servers_billed)
{
    enum { CALLS = 24 };
    static struct call k[CALLS];
    struct ledger_totals t;
    nano_cny cost = 0;
    int answered = 0;
    prepare(3);
    large->script[0] = ok;
    large->script[1] = status_500;
    large->script[2] = ok;
    large->script[3] = status_402;
    large->script[4] = status_429_hour;
    large->script[5] = ok;
    large->script[6] = status_400;
    medium->script[0] = status_500;
    medium->script[1] = ok;
    w.opt.max_calls = 6;
    open_world();
    for (int i = 0; i < CALLS; i++)
        start(&k[i]);
    for (int i = 0; i < CALLS; i++) {
        wait_end(&k[i]);
        answered += k[i].r.end == LLM_ANSWERED;
        cost += k[i].r.cost;
    }
    CHECK_EQ(answered, CALLS);
    CHECK_EQ(cost, large->billed + medium->billed + small->billed);
    ledger_totals(w.ledger, &t);
    CHECK_EQ(t.day_spent, cost);
    CHECK_EQ(t.overruns, 0);
    close_all();
    CHECK_OK(ledger_open(&w.ledger_opt, &w.ledger, NULL)); /* and so does its file */
    ledger_totals(w.ledger, &t);
    CHECK_EQ(t.day_spent, cost);
    CHECK_EQ(t.recovered, 0);
    ledger_close(w.ledger);
    CHECK_EQ(
        rows_of_calls(
            "state <> 1 OR outcome NOT IN ('ok', 'quota', 'http_error', 'http_500', 'http_429', 'http_400')"),
        0);
    CHECK_EQ(rows_of_calls("outcome = 'ok'"), CALLS);
    CHECK_EQ(rows_of_calls("outcome <> 'ok' AND cost <> 0"), 0);
    temp_dir_drop();
}

/* Not those that lived on a stack. */
TEST(the_ledger_keeps_its_own_words)
{
    struct call k;
    prepare(1);
    large->script[0] = status_202;
    open_world();
    for (int i = 0; i < 10; i++)
        run(&k);
    CHECK_END(&k, LLM_FAILED, "upstream_error");
    check_attempts(&k, "large:http_202");
    close_all();
    CHECK_EQ(rows_of_calls("outcome IN ('http_error', 'http_202')"), 10);
    temp_dir_drop();
}

/* ---- waiting and hedges --------------------------------------------------------------------------------------- */

TEST(a_call_beyond_the_most_waits_its_turn)
{
    struct call a, b, c;
    prepare(1);
    large->script[0] = token_then_go;
    large->script[1] = ok;
    w.opt.max_calls = 1;
    open_world();
    start(&a);
    CHECK(wait_for(&a.token));
    start(&b);
    start(&c);
    barrier();
    CHECK_EQ(llm_at_work(w.llm), 1);
    CHECK_EQ(large->requests, 1);
    sem_post(&large->go);
    wait_end(&a);
    wait_end(&b);
    wait_end(&c);
    CHECK_END(&a, LLM_ANSWERED, "optimal");
    CHECK_END(&b, LLM_ANSWERED, "optimal");
    CHECK_END(&c, LLM_ANSWERED, "optimal");
    close_world();
}

TEST(a_call_that_waits_too_long_is_told_that_all_are_busy)
{
    struct call a, b;
    prepare(1);
    large->script[0] = token_then_go;
    w.opt.max_calls = 1;
    w.opt.answer_ms = 2000; /* the first token of the first call fits */
    open_world();
    start(&a);
    CHECK(wait_for(&a.token));
    run(&b);
    CHECK_END(&b, LLM_FAILED, "busy");
    CHECK_EQ(b.r.n_attempts, 0);
    sem_post(&large->go);
    wait_end(&a);
    CHECK_END(&a, LLM_ANSWERED, "optimal"); /* a stream that flows is not cut */
    CHECK_STR(str_of(a.text), "Hello again");
    close_world();
}

TEST(a_hedge_wins)
{
    struct call k;
    prepare(3);
    large->script[0] = silent;
    w.opt.hedge_ms = 20;
    open_world();
    run(&k);
    CHECK_END(&k, LLM_ANSWERED, "timeout");
    check_attempts(&k, "large:canceled medium:ok");
    CHECK(k.r.fallback && k.r.model == &w.model[1]);
    CHECK_STR(str_of(k.text), "Hello world");
    CHECK_EQ(health_of(0).failures, 0);
    uint32_t prompt = llm_count_tokens(str_of(system_text)) + llm_count_tokens(str_of(user_text));
    CHECK_EQ(k.r.cost,
             medium->billed + llm_cost(&w.model[0].price, prompt, 0, 0)); /* it may have read the prompt */
    close_world();
}

TEST(a_hedge_loses)
{
    struct call k;
    prepare(3);
    large->script[0] = ok_after_go;
    medium->script[0] = silent;
    w.opt.hedge_ms = 20;
    open_world();
    start(&k);
    CHECK(wait_for(&medium->came));
    sem_post(&large->go);
    wait_end(&k);
    CHECK_END(&k, LLM_ANSWERED, "optimal");
    check_attempts(&k, "large:ok medium:canceled");
    CHECK(!k.r.fallback);
    close_world();
}

TEST(a_hedge_goes_on_when_the_first_model_fails)
{
    struct call k;
    prepare(2);
    large->script[0] = silent;
    medium->script[0] = ok_after_go;
    w.opt.hedge_ms = 20;
    w.opt.first_token_ms = 1500;
    open_world();
    start(&k);
    CHECK(wait_for(&medium->came));
    while (health_of(0).failures == 0) /* its first token is late */
        nap(10);
    sem_post(&medium->go);
    wait_end(&k);
    close_world();
    CHECK_EQ(large->requests, 1);
    CHECK(k.r.end == LLM_ANSWERED ||
          k.r.reason == LLM_TIMEOUT); /* medium has 1.5 s as well, and a slow machine less */
}

/* ---- cancel, pause, stop -------------------------------------------------------------------------------------- */

static void cancel_and_check(struct call *k)
{
    llm_cancel(k->c);
    llm_cancel(k->c);
    wait_end(k);
    CHECK_END(k, LLM_CANCELED, "optimal");
}

TEST(cancel_while_it_waits_for_its_turn)
{
    struct call a, b, c;
    prepare(1);
    large->script[0] = token_then_go;
    large->script[1] = ok;
    w.opt.max_calls = 1;
    open_world();
    start(&a);
    CHECK(wait_for(&a.token));
    start(&b);
    start(&c);
    barrier();
    cancel_and_check(&b);
    CHECK_EQ(b.r.n_attempts, 0);
    sem_post(&large->go);
    wait_end(&a);
    wait_end(&c); /* is not lost with the one before it */
    CHECK_END(&c, LLM_ANSWERED, "optimal");
    CHECK_EQ(large->requests, 2);
    close_world();
}

/* Another connection holds the file's lock: reservations wait. */
static sqlite3 *hold_ledger(void)
{
    sqlite3 *db;
    char path[128];
    snprintf(path, sizeof path, "%s/ledger.db", dir);
    CHECK_EQ(sqlite3_open(path, &db), SQLITE_OK);
    CHECK_EQ(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    return db;
}

TEST(cancel_while_its_reservation_is_on_its_way)
{
    struct call k;
    struct ledger_totals t;
    prepare(1);
    open_world();
    sqlite3 *db = hold_ledger();
    start(&k);
    barrier();
    ledger_totals(w.ledger, &t);
    CHECK(t.day_open > 0);
    cancel_and_check(&k);
    check_attempts(&k, "large:canceled");
    sqlite3_close(db);
    close_world();
    CHECK_EQ(large->requests, 0);
}

TEST(cancel_while_it_connects)
{
    struct call k;
    prepare(1);
    large->script[0] = silent;
    snprintf(w.url[0], sizeof w.url[0], "https://127.0.0.1:%d",
             large->port); /* the server never shakes hands */
    open_world();
    start(&k);
    for (int i = 0; i < 5; i++) {
        nap(10);
        barrier();
    }
    cancel_and_check(&k);
    check_attempts(&k, "large:canceled");
    close_world();
}

TEST(cancel_while_it_waits_for_the_head_and_while_it_waits_for_the_first_token)
{
    struct call k;
    prepare(1);
    large->script[0] = silent;
    large->script[1] = head_only;
    open_world();
    for (int i = 0; i < 2; i++) {
        start(&k);
        CHECK(wait_for(&large->came));
        nap(20);
        cancel_and_check(&k);
        check_attempts(&k, "large:canceled");
    }
    CHECK_EQ(health_of(0).failures, 0);
    close_world();
}

TEST(cancel_while_it_streams)
{
    struct call k;
    prepare(1);
    large->script[0] = token_then_silence;
    open_world();
    start(&k);
    CHECK(wait_for(&k.token));
    cancel_and_check(&k);
    CHECK(k.r.model == &w.model[0]);
    CHECK(k.r.cost > 0); /* what had come is counted */
    close_world();
}

TEST(cancel_between_two_attempts)
{
    struct call k;
    prepare(1);
    large->script[0] = status_429_10s;
    open_world();
    start(&k);
    while (retries() == 0)
        nap(5);
    cancel_and_check(&k);
    check_attempts(&k, "large:http_429");
    CHECK_EQ(large->requests, 1);
    close_world();
}

TEST(cancel_after_the_end_does_nothing)
{
    struct call k;
    prepare(1);
    open_world();
    start(&k);
    CHECK(wait_for(&k.ended));
    llm_cancel(k.c);
    llm_pause(k.c, true);
    llm_release(k.c);
    barrier();
    CHECK_EQ(k.ends, 1);
    CHECK_END(&k, LLM_ANSWERED, "optimal");
    close_world();
}

TEST(the_clock_stands_still_while_a_call_is_paused)
{
    struct call k;
    prepare(1);
    large->script[0] = token_then_go;
    w.opt.inter_token_ms = 1000;
    open_world();
    start(&k);
    CHECK(wait_for(&k.token));
    llm_pause(k.c, true);
    barrier();
    nap(1500);
    CHECK_EQ(k.ends, 0);
    sem_post(&large->go);
    llm_pause(k.c, false);
    wait_end(&k);
    CHECK_END(&k, LLM_ANSWERED, "optimal");
    CHECK_STR(str_of(k.text), "Hello again");
    close_world();
}

TEST(a_pause_before_the_first_token_holds_from_there_on)
{
    struct call k;
    prepare(1);
    large->script[0] = token_after_go_then_go;
    w.opt.inter_token_ms = 1000;
    open_world();
    start(&k);
    CHECK(wait_for(&large->came));
    llm_pause(k.c, true);
    barrier();
    sem_post(&large->go);
    CHECK(wait_for(&k.token)); /* a few bytes still come */
    nap(1500);
    CHECK_EQ(k.ends, 0);
    sem_post(&large->go);
    llm_pause(k.c, false);
    wait_end(&k);
    CHECK_END(&k, LLM_ANSWERED, "optimal");
    CHECK_STR(str_of(k.text), "Hello again");
    close_world();
}

TEST(stop_ends_calls_in_every_state)
{
    enum { SILENT, HEAD, STREAM, PAUSED, RETRY, QUEUED, CALLS };
    static struct call k[CALLS];
    struct call late;
    prepare(1);
    large->script[SILENT] = silent;
    large->script[HEAD] = head_only;
    large->script[STREAM] = token_then_silence;
    large->script[PAUSED] = token_then_silence;
    large->script[RETRY] = status_429_10s;
    w.opt.max_calls = QUEUED;
    open_world();
    for (int i = 0; i < CALLS; i++) {
        start(&k[i]);
        if (i != QUEUED)
            CHECK(wait_for(&large->came));
    }
    CHECK(wait_for(&k[STREAM].token) && wait_for(&k[PAUSED].token));
    llm_pause(k[PAUSED].c, true);
    while (retries() == 0)
        nap(5);
    llm_stop(w.llm);
    for (int i = 0; i < CALLS; i++) {
        wait_end(&k[i]);
        CHECK_END(&k[i], LLM_CANCELED, "optimal");
    }
    run(&late);
    CHECK_END(&late, LLM_CANCELED, "optimal");
    CHECK_EQ(large->requests, QUEUED);
    close_world();
}

TEST(stop_while_a_reservation_is_on_its_way)
{
    struct call k;
    prepare(1);
    open_world();
    sqlite3 *db = hold_ledger();
    start(&k);
    barrier();
    llm_stop(w.llm);
    wait_end(&k);
    CHECK_END(&k, LLM_CANCELED, "optimal");
    sqlite3_close(db);
    close_world();
}
