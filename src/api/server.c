/* Start, stop and the three callbacks of libmicrohttpd.
 *
 * A request: on_request is called with the head (request_begin finds route and key), then with pieces of the body, then
 * without a piece: the route runs. A route that waits suspends the connection; after the resume on_request is called
 * again, and `finish` replies, unless whoever had it has written the reply already. on_completed gives the request back.
 *
 * Connections: one beyond max_connections gets 503; one beyond hard_connections is closed unanswered. The
 * library's own limit is out of reach, because at it connections would hang in the backlog.
 *
 * Stop: 1. stop listening; 2. wait for requests in flight that move; 3. no more suspensions, models at work are
 * stopped, wait until every suspended connection is resumed (the library demands it; the writer may still hold their
 * jobs); 4. stop the daemon. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "api/api_int.h"
#include "obs/log.h"
#include "sys/clock.h"
#include "sys/cpu.h"

enum {
    OVERFLOW_CONNECTIONS = 1024,
    OTHER_DESCRIPTORS = 256,
    IDLE_TIMEOUT_S = 75,
    BODY_TIMEOUT_S = 20,
    CONNECTION_BYTES = 16 << 10,
    DRAIN_MAX = 16 << 20
};
static const int64_t body_silence_ns =
    2000000000; /* at the stop, a body without a new piece for so long is given up */

/* ---- callbacks ----------------------------------------------------------------------------------------- */

static enum MHD_Result on_accept(void *cls, const struct sockaddr *addr, socklen_t len)
{
    struct api *api = cls;
    (void)addr;
    (void)len;
    return atomic_load_explicit(&api->n_connections, memory_order_relaxed) < api->hard_connections ? MHD_YES
                                                                                                   : MHD_NO;
}

static void on_connection(void *cls, struct MHD_Connection *conn, void **ctx,
                          enum MHD_ConnectionNotificationCode code)
{
    struct api *api = cls;
    (void)conn;
    bool started = code == MHD_CONNECTION_NOTIFY_STARTED;
    int before = atomic_fetch_add_explicit(&api->n_connections, started ? 1 : -1, memory_order_relaxed);
    gauge_add(api->m.connections, started ? 1 : -1);
    if (started) /* one that came too many is refused at its first request; the others go on */
        *ctx = before >= (int)api->opt.max_connections ? api : NULL;
}

/* libmicrohttpd polls edge-triggered and does not see a client that hung up right behind a piece of its body: a body in
 * the middle has a short timeout of its own. One that comes in one piece, as a question does, never pays for it. */
static void set_patience(struct request *rq, bool impatient)
{
    if (rq->impatient == impatient)
        return;
    rq->impatient = impatient;
    (void)MHD_set_connection_option(rq->conn, MHD_CONNECTION_OPTION_TIMEOUT,
                                    impatient ? (unsigned)BODY_TIMEOUT_S : (unsigned)IDLE_TIMEOUT_S);
}

static void take_body(struct request *rq, const char *data, size_t n)
{
    atomic_store_explicit(&rq->api->last_body_ns, clock_mono_ns(), memory_order_relaxed);
    if (!rq->status && (uint64_t)rq->body.len + n > rq->limit)
        reply_error(rq, 413, "too_large", NULL, "the body is larger than this address takes");
    if (!rq->status)
        buf_add(&rq->body, data, n);
    else
        rq->discarded += n;
    set_patience(rq, rq->body.len + rq->discarded < rq->announced);
}

static void run_route(struct request *rq)
{
    rq->ready_ns = clock_mono_ns();
    log_set_request_id(rq->id);
    if (buf_failed(&rq->body))
        reply_error(rq, 503, "out_of_memory", NULL, "out of memory");
    else
        rq->route->run(rq);
    log_set_request_id(NULL);
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url, const char *method,
                                  const char *version, const char *data, size_t *n_data, void **con_cls)
{
    struct request *rq = *con_cls;
    (void)version;
    if (!rq) {
        rq = request_new(cls, conn);
        if (!rq)
            return MHD_NO;
        *con_cls = rq;
        request_begin(rq, url, method);
        return rq->status && rq->close ? reply_send(rq) : MHD_YES;
    }
    if (*n_data) {
        take_body(rq, data, *n_data);
        *n_data = 0;
        return rq->discarded > DRAIN_MAX ? MHD_NO : MHD_YES;
    }
    request_received(rq);
    set_patience(rq, false);
    if (rq->suspended) { /* resumed */
        rq->suspended = false;
        log_set_request_id(rq->id);
        if (rq->finish)
            rq->finish(rq);
        log_set_request_id(NULL);
    } else if (!rq->status) {
        run_route(rq);
    }
    return rq->suspended ? MHD_YES : reply_send(rq);
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **con_cls,
                         enum MHD_RequestTerminationCode code)
{
    struct request *rq = *con_cls;
    (void)cls;
    (void)conn;
    if (!rq)
        return;
    if (log_enabled(LOG_DEBUG))
        log_debug("request", LOG_STR("request_id", rq->id),
                  LOG_STR("route", rq->route ? rq->route->pattern : "other"), LOG_INT("status", rq->status),
                  LOG_INT("bytes", rq->out.len), LOG_INT("ended", code),
                  LOG_STR("key", rq->key ? rq->key->name : ""),
                  LOG_NUM("ms", (double)(clock_mono_ns() - rq->start_ns) / 1e6), LOG_END);
    *con_cls = NULL;
    request_done(rq);
}

/* Paths and arguments are decoded by us, after they are cut: an id may hold "%2F". */
static size_t keep_escapes(void *cls, struct MHD_Connection *conn, char *s)
{
    (void)cls;
    (void)conn;
    return strlen(s);
}

static void on_log(void *cls, const char *fmt, va_list ap) RAG_PRINTF(2, 0);
static void on_log(void *cls, const char *fmt, va_list ap)
{
    char text[256];
    (void)cls;
    if (!log_enabled(LOG_DEBUG)) /* mostly clients that break off */
        return;
    vsnprintf(text, sizeof text, fmt, ap);
    log_debug("http library", LOG_SPAN("text", str_trim(str_of(text))), LOG_END);
}

/* ---- start --------------------------------------------------------------------------------------------- */

static void set_defaults(struct api_options *o)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    o->host = o->host && o->host[0] ? o->host : "127.0.0.1";
    o->max_concurrent_queries = o->max_concurrent_queries ? o->max_concurrent_queries : 1000;
    o->max_generations = o->max_generations ? o->max_generations : 50;
    o->max_connections = o->max_connections ? o->max_connections : 2 * o->max_concurrent_queries + 1000;
    o->io_threads = o->io_threads ? o->io_threads : cores > 0 ? (uint32_t)cores : 1;
    o->io_threads = o->io_threads > 64 ? 64 : o->io_threads;
    o->workers = o->workers ? o->workers : 2;
    o->question_threads = o->question_threads ? o->question_threads : cpu_count();
    o->max_body_bytes = o->max_body_bytes ? o->max_body_bytes : 64u << 20;
    o->max_query_bytes = o->max_query_bytes ? o->max_query_bytes : 256u << 10;
    o->version = o->version ? o->version : "unknown";
    o->profile = o->profile ? o->profile : "balanced";
}

/* Room for the connections; without it, fewer connections. */
static void set_descriptor_limit(struct api *api)
{
    struct rlimit lim;
    rlim_t want = (rlim_t)api->opt.max_connections + OVERFLOW_CONNECTIONS + OTHER_DESCRIPTORS +
                  (rlim_t)api->opt.max_generations +        /* calls */
                  (rlim_t)api->opt.max_concurrent_queries; /* copies of their clients' sockets, waiting ones too */
    api->hard_connections = (int)api->opt.max_connections + OVERFLOW_CONNECTIONS;
    if (getrlimit(RLIMIT_NOFILE, &lim) || lim.rlim_cur >= want)
        return;
    lim.rlim_cur = lim.rlim_max < want ? lim.rlim_max : want;
    if (setrlimit(RLIMIT_NOFILE, &lim))
        (void)getrlimit(RLIMIT_NOFILE, &lim);
    if (lim.rlim_cur >= want)
        return;
    rlim_t room = lim.rlim_cur > 2 * OTHER_DESCRIPTORS ? lim.rlim_cur - OTHER_DESCRIPTORS : lim.rlim_cur / 2;
    api->hard_connections = (int)room;
    if (api->opt.max_connections > room * 3 / 4)
        api->opt.max_connections = (uint32_t)(room * 3 / 4);
    log_warn("fewer connections than configured: the limit of open descriptors is low",
             LOG_INT("descriptors", lim.rlim_cur), LOG_INT("max_connections", api->opt.max_connections),
             LOG_END);
}

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

static rag_code listen_on(struct api *api, const struct addrinfo *ai, int *out, struct rag_err *err)
{
    int on = 1, off = 0;
    struct sockaddr_storage bound;
    socklen_t len = sizeof bound;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return rag_err_set(err, rag_code_from_errno(errno), "listen: no socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (ai->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) || listen(fd, 4096) ||
        getsockname(fd, (struct sockaddr *)&bound, &len)) {
        int e = errno;
        rag_code rc = e == EADDRINUSE      ? RAG_ECONFLICT
                      : e == EADDRNOTAVAIL ? RAG_EINVAL
                                           : rag_code_from_errno(e);
        close(fd);
        return rag_err_set(err, rc, "listen on %s:%u: %s: %s", api->opt.host, api->opt.port,
                           e == EADDRINUSE      ? "another program has this port"
                           : e == EACCES        ? "no right to this port"
                           : e == EADDRNOTAVAIL ? "not an address of this machine"
                                                : "failed",
                           "choose another with --listen HOST:PORT");
    }
    api->port = ntohs(bound.ss_family == AF_INET ? ((struct sockaddr_in *)(void *)&bound)->sin_port
                                                 : ((struct sockaddr_in6 *)(void *)&bound)->sin6_port);
    *out = fd;
    return RAG_OK;
}

static rag_code open_socket(struct api *api, int *fd, struct rag_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *ai = NULL;
    char service[8];
    snprintf(service, sizeof service, "%u", api->opt.port);
    struct str h = str_of(api->opt.host);
    bool bracketed = h.len > 2 && h.ptr[0] == '[' && h.ptr[h.len - 1] == ']';
    char *host = mem_strndup(MEM_API, h.ptr + bracketed, h.len - 2 * bracketed);
    int e = host ? getaddrinfo(host, service, &hints, &ai) : EAI_MEMORY;
    mem_free(MEM_API, host);
    if (e)
        return rag_err_param(err, RAG_EINVAL, "listen", "listen on %s: %s: give HOST:PORT", api->opt.host,
                             gai_strerror(e));
    rag_code rc = RAG_OK;
    if (api->opt.n_keys == 0 && !is_loopback(ai->ai_addr))
        rc = rag_err_param(
            err, RAG_EINVAL, "listen",
            "listen on %s: without keys only loopback is allowed: set auth.keys, or listen on 127.0.0.1",
            api->opt.host);
    else
        rc = listen_on(api, ai, fd, err);
    freeaddrinfo(ai);
    return rc;
}

static struct MHD_Daemon *start_daemon(struct api *api, int fd)
{
    unsigned flags =
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    unsigned limit = api->opt.io_threads *
                     ((unsigned)api->hard_connections + 64); /* divided by threads, so never reached */
    return MHD_start_daemon(flags, api->port, on_accept, api, on_request, api, MHD_OPTION_EXTERNAL_LOGGER,
                            on_log, NULL, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE,
                            api->opt.io_threads > 1 ? api->opt.io_threads : 0u, MHD_OPTION_CONNECTION_LIMIT,
                            limit, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
                            MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION,
                            on_connection, api, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
                            MHD_OPTION_END);
}

static void api_free(struct api *api)
{
    for (struct request *rq = api->pool, *next; rq; rq = next) {
        next = rq->next;
        arena_clear(&rq->arena);
        buf_clear(&rq->body);
        buf_clear(&rq->out);
        mem_free(MEM_API, rq);
    }
    auth_clear(api);
    api_metrics_clear(api);
    console_clear(api);
    pthread_mutex_destroy(&api->mu);
    pthread_cond_destroy(&api->idle_cv);
    mem_free(MEM_API, api);
}

rag_code api_start(const struct api_options *opt, struct api **out, struct rag_err *err)
{
    int fd = -1;
    uint8_t prefix[8];
    rag_code rc = RAG_ENOMEM;
    struct api *api = mem_zalloc(MEM_API, sizeof *api);
    *out = NULL;
    if (!api)
        return rag_err_set(err, RAG_ENOMEM, "server: out of memory");
    api->opt = *opt;
    set_defaults(&api->opt);
    snprintf(api->host, sizeof api->host, "%s", api->opt.host);
    api->opt.host = api->host;
    api->started_ns = clock_mono_ns();
    api->started_ms = clock_unix_ms();
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&api->mu, NULL);
    pthread_cond_init(&api->idle_cv, &attr);
    pthread_condattr_destroy(&attr);
    console_init(api);
    openapi_init(api);
    RAG_ASSERT(RAND_bytes(prefix, sizeof prefix) == 1);
    for (size_t i = 0; i < sizeof prefix; i++)
        snprintf(api->id_prefix + 2 * i, 3, "%02x", prefix[i]);
    if (!opt->metrics)
        api->own_metrics = metrics_new();
    api->metrics = opt->metrics ? opt->metrics : api->own_metrics;
    if (!api->metrics || auth_init(api)) {
        rag_err_set(err, rc, "server: out of memory");
        api_free(api);
        return rc;
    }
    api_metrics_init(api);
    rc = work_start(&api->uploads, api->opt.workers, UPLOADS_WAITING, 1, upload_work);
    if (!rc && (ask_is_heavy(api->opt.pipeline) || api->opt.pipeline->llm))
        rc = work_start(&api->questions, api->opt.question_threads, api->opt.max_concurrent_queries + 1, ASK_BATCH,
                        query_work);
    if (!rc && ask_is_heavy(api->opt.pipeline))
        rc = work_start(&api->embeddings, 1, EMBEDDINGS_WAITING, 1, embeddings_work);
    if (rc)
        rag_err_set(err, rc, "server: cannot start its threads");
    if (!rc) {
        rc = open_socket(api, &fd, err);
        if (!rc) {
            set_descriptor_limit(api);
            api->daemon = start_daemon(api, fd);
            rc = api->daemon ? RAG_OK : rag_err_set(err, RAG_EIO, "server: cannot start the HTTP threads");
        }
    }
    if (rc) {
        if (fd >= 0)
            close(fd);
        work_stop(&api->questions);
        work_stop(&api->embeddings);
        work_stop(&api->uploads);
        api_free(api);
        return rc;
    }
    *out = api;
    return RAG_OK;
}

uint16_t api_port(const struct api *api)
{
    return api->port;
}

/* ---- stop ---------------------------------------------------------------------------------------------- */

/* Until *n is 0, or the deadline. */
static void wait_for(struct api *api, const int *n, int64_t deadline_ns)
{
    struct timespec t = {.tv_sec = (time_t)(deadline_ns / 1000000000),
                         .tv_nsec = (long)(deadline_ns % 1000000000)};
    while (*n > 0 && pthread_cond_timedwait(&api->idle_cv, &api->mu, &t) != ETIMEDOUT)
        ;
}

/* Requests in flight, as long as they move: what is left may be bodies whose senders are gone. */
static void drain(struct api *api, int64_t deadline_ns)
{
    int64_t began_ns = clock_mono_ns();
    for (int64_t now = began_ns; api->n_requests > 0 && now < deadline_ns; now = clock_mono_ns()) {
        int64_t last = atomic_load_explicit(&api->last_body_ns, memory_order_relaxed);
        int64_t quiet_since = last > began_ns ? last : began_ns;
        if (api->n_requests == api->n_receiving && now - quiet_since > body_silence_ns)
            return;
        int64_t next = now + 100000000;
        wait_for(api, &api->n_requests, next < deadline_ns ? next : deadline_ns);
    }
}

void api_stop(struct api *api, uint32_t drain_ms)
{
    if (!api)
        return;
    atomic_store(&api->draining, true);
    int fd = MHD_quiesce_daemon(api->daemon);
    if (fd >= 0)
        close(fd);
    pthread_mutex_lock(&api->mu);
    drain(api, clock_mono_ns() + (int64_t)drain_ms * 1000000);
    api->abandon = true;
    atomic_store(&api->abandoned, true);
    if (api->opt.pipeline->llm)
        llm_stop(api->opt.pipeline->llm);
    while (api->n_suspended > 0 || api->n_answerings > 0)
        pthread_cond_wait(&api->idle_cv, &api->mu);
    if (api->n_requests > api->n_receiving)
        wait_for(api, &api->n_requests, clock_mono_ns() + 500000000); /* their answers */
    pthread_mutex_unlock(&api->mu);
    MHD_stop_daemon(api->daemon);
    work_stop(&api->questions);
    work_stop(&api->embeddings);
    work_stop(&api->uploads);
    api_free(api);
}
