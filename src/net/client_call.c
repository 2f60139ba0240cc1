/* Calls on curl's multi interface.
 *
 * curl forbids most of its functions inside its own callbacks. So those only write records to `inbox`: here is a head, here
 * are bytes of a body. When curl has returned, calls_tell hands the records to the owners of the calls, who may then start,
 * cancel, pause and resume whatever they like, at once. The copy is small beside the system call that read the bytes.
 *
 * Invariants: 1. no owner's function runs while curl is at work; 2. a call that ended or was cancelled is `gone`, and its
 * memory stays until the records that may name it are told (calls_tell frees it); 3. a call's records are told before its end. */
#include "net/client.h"

#include <stddef.h>
#include <stdio.h>
#include <strings.h>

#include "base/mem.h"
#include "net/client_int.h"
#include "sys/clock.h"

enum {
    READ_BYTES = 8192,          /* curl's buffer of a call: hundreds of calls stream small events at once */
    MAX_HEAD_BYTES = 256 << 10, /* of all header lines; curl limits one line only */
    DAY_MS = 86400000
};

struct net_call {
    struct net_client *client;
    struct net_call *next, *prev;
    CURL *easy;
    struct curl_slist *headers, *secret; /* secret: the node with the bearer */
    struct net_call_events events;
    void *ctx;
    bool head_done, gone, paused;
    enum net_result fault; /* why a callback gave up; NET_DONE: it did not */
    size_t head_bytes;
    struct net_head head;
    int64_t retry_ms, retry_s_ms; /* the two headers, in milliseconds; -1 */
    char content_type[128];
    char error[CURL_ERROR_SIZE];
};

/* In inbox; the bytes follow. */
struct record {
    struct net_call *call;
    size_t len;
    bool head;
};

const char *net_result_name(enum net_result r)
{
    static const char *const names[] = {"done", "resolve", "refused", "connect_timeout", "tls",
                                        "cut",  "garbage", "memory",  "stopped"};
    return names[r];
}

/* ---- what curl calls ---------------------------------------------------------------------------------------- */
static bool record(struct net_call *call, bool head, const char *bytes, size_t len)
{
    struct buf *b = &call->client->inbox;
    struct record r = {.call = call, .len = len, .head = head};
    if (!buf_reserve(b, sizeof r + len)) {
        b->failed = false; /* this call's failure, not the next one's */
        call->fault = NET_MEMORY;
        return false;
    }
    BUF_ADD_VALUE(b, r);
    buf_add(b, bytes, len);
    return true;
}

/* Seconds, perhaps with a fraction, times `unit`; -1: not a number. */
static int64_t parse_wait(struct str s, int64_t unit)
{
    int64_t n = 0, part = unit;
    size_t i = 0;
    for (; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9'; i++)
        n = n > DAY_MS ? n : n * 10 + (s.ptr[i] - '0');
    if (!i)
        return -1;
    n = n > DAY_MS ? DAY_MS : n * unit;
    if (i < s.len && s.ptr[i] == '.')
        for (i++; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9'; i++)
            n += (s.ptr[i] - '0') * (part /= 10);
    return i < s.len ? -1 : n > DAY_MS ? DAY_MS : n;
}

static int64_t parse_date(struct str s)
{
    char z[64];
    snprintf(z, sizeof z, "%.*s", (int)(s.len < sizeof z ? s.len : sizeof z - 1), s.ptr);
    time_t t = curl_getdate(z, NULL);
    if (t < 0)
        return -1;
    int64_t ms = (int64_t)t * 1000 - clock_unix_ms();
    return ms < 0 ? 0 : ms > DAY_MS ? DAY_MS : ms;
}

static bool header_is(struct str line, const char *name, struct str *value)
{
    size_t n = strlen(name);
    if (line.len <= n || line.ptr[n] != ':' || strncasecmp(line.ptr, name, n) != 0)
        return false;
    *value = str_trim(str_make(line.ptr + n + 1, line.len - n - 1));
    return true;
}

static void begin_head(struct net_call *call)
{
    call->head = (struct net_head){.retry_after_ms = -1};
    call->retry_ms = call->retry_s_ms = -1;
    call->content_type[0] = 0;
}

static bool end_head(struct net_call *call)
{
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &call->head.status);
    if (call->head.status < 200)
        return true; /* 1xx: another one follows */
    call->head.content_type = str_of(call->content_type);
    call->head.retry_after_ms = call->retry_ms >= 0 ? call->retry_ms : call->retry_s_ms;
    call->head_done = true;
    return record(call, true, NULL, 0);
}

static void take_header(struct net_call *call, struct str line)
{
    struct str v;
    if (header_is(line, "content-type", &v)) {
        size_t n = v.len < sizeof call->content_type ? v.len : sizeof call->content_type - 1;
        memcpy(call->content_type, v.ptr, n);
        call->content_type[n] = 0;
    } else if (header_is(line, "retry-after-ms", &v)) {
        call->retry_ms = parse_wait(v, 1);
    } else if (header_is(line, "retry-after", &v)) {
        int64_t ms = parse_wait(v, 1000);
        call->retry_s_ms = ms >= 0 ? ms : parse_date(v);
    }
}

static size_t on_header(char *data, size_t size, size_t n, void *ctx)
{
    struct net_call *call = ctx;
    struct str line = str_make(data, size * n);
    call->head_bytes += line.len;
    if (call->head_bytes > MAX_HEAD_BYTES)
        call->fault = NET_GARBAGE;
    if (call->fault)
        return 0; /* ends the call */
    if (call->head_done)
        return line.len; /* a trailer */
    if (line.len >= 5 && memcmp(line.ptr, "HTTP/", 5) == 0)
        begin_head(call);
    else if (str_trim(line).len)
        take_header(call, line);
    else if (!end_head(call))
        return 0;
    return line.len;
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
    struct net_call *call = ctx;
    if (call->paused && !call->fault)
        return CURL_WRITEFUNC_PAUSE; /* curl keeps the bytes until it is resumed */
    return call->fault || !record(call, false, data, size * n) ? 0 : size * n;
}

static int on_socket_wanted(CURL *easy, curl_socket_t fd, int what, void *ctx, void *known)
{
    struct net_client *c = ctx;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(c->epoll, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    struct epoll_event ev = {.data.u64 = (uint64_t)fd << 1 | 1};
    ev.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (epoll_ctl(c->epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev) != 0)
        return -1;
    if (!known)
        curl_multi_assign(c->multi, fd, c);
    return 0;
}

static int on_time_wanted(CURLM *multi, long ms, void *ctx)
{
    struct net_client *c = ctx;
    (void)multi;
    c->curl_due_ns = ms < 0 ? INT64_MAX : clock_mono_ns() + ms * 1000000;
    return 0;
}

/* ---- the end of a call -------------------------------------------------------------------------------------- */
static enum net_result classify(const struct net_call *call, CURLcode rc)
{
    long sent = 0;
    if (call->fault || rc == CURLE_OK)
        return call->fault;
    curl_easy_getinfo(call->easy, CURLINFO_REQUEST_SIZE, &sent);
    switch (rc) {
    case CURLE_COULDNT_RESOLVE_HOST: return NET_RESOLVE;
    case CURLE_COULDNT_CONNECT: return NET_REFUSED;
    case CURLE_OPERATION_TIMEDOUT: return NET_CONNECT_TIMEOUT; /* the only limit that curl knows */
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CLIENTCERT:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_USE_SSL_FAILED: return NET_TLS;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9, HTTP/4 */
    case CURLE_HTTP2:
    case CURLE_BAD_CONTENT_ENCODING: return NET_GARBAGE;
    case CURLE_OUT_OF_MEMORY: /* also a header line above curl's limit */
        return sent && !call->head_done ? NET_GARBAGE : NET_MEMORY;
    case CURLE_FAILED_INIT:
    case CURLE_ABORTED_BY_CALLBACK: return NET_MEMORY;
    default: return sent ? NET_CUT : NET_REFUSED;
    }
}

static void call_free(struct net_call *call)
{
    if (call->easy)
        curl_easy_cleanup(call->easy);
    if (call->secret)
        explicit_bzero(call->secret->data, strlen(call->secret->data));
    curl_slist_free_all(call->headers);
    mem_free(MEM_MISC, call);
}

/* curl closes connections above this number whenever one falls idle; those at work count as well. */
static void count_calls(struct net_client *c, int change)
{
    c->n_calls += (uint32_t)change;
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)c->n_calls + (long)c->idle_connections);
}

static void free_gone(struct net_client *c)
{
    while (c->gone) {
        struct net_call *call = c->gone;
        c->gone = call->next;
        call_free(call);
    }
}

/* No event comes after it. The connection is closed unless the response is complete. */
static void call_leave(struct net_call *call)
{
    struct net_client *c = call->client;
    RAG_ASSERT(!call->gone);
    curl_multi_remove_handle(c->multi, call->easy);
    count_calls(c, -1);
    *(call->prev ? &call->prev->next : &c->calls) = call->next;
    if (call->next)
        call->next->prev = call->prev;
    call->gone = true;
    call->next = c->gone;
    c->gone = call;
}

static void call_end(struct net_call *call, enum net_result r, const char *why)
{
    struct net_call_events events = call->events;
    char line[CURL_ERROR_SIZE];
    snprintf(line, sizeof line, "%s", why);
    for (char *p = line; *p; p++) /* may quote what the peer sent */
        *p = *p < ' ' || *p > '~' ? ' ' : *p;
    call_leave(call);
    events.end(call->ctx, r, line);
}

static void call_finish(const CURLMsg *m)
{
    struct net_call *call;
    CURLcode rc = m->data.result; /* m is gone with the handle */
    curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&call);
    enum net_result r = classify(call, rc);
    call_end(call, r, r == NET_DONE ? "" : call->error[0] ? call->error : curl_easy_strerror(rc));
}

static void tell_records(struct net_client *c)
{
    struct buf told = c->inbox;
    c->inbox = c->outbox;
    c->outbox = told;
    for (size_t at = 0; at < told.len;) {
        struct record r;
        memcpy(&r, told.ptr + at, sizeof r);
        at += sizeof r;
        if (!r.call->gone && r.head)
            r.call->events.head(r.call->ctx, &r.call->head);
        else if (!r.call->gone)
            r.call->events.body(r.call->ctx, str_make(told.ptr + at, r.len));
        at += r.len;
    }
    buf_reset(&c->outbox);
}

void calls_tell(struct net_client *c)
{
    for (;;) {
        int left;
        CURLMsg *m;
        if (c->inbox
                .len) /* again after each end, too: a call that was resumed may have handed over what curl had kept */
            tell_records(c);
        else if ((m = curl_multi_info_read(c->multi, &left)) == NULL)
            break;
        else if (m->msg == CURLMSG_DONE)
            call_finish(m);
    }
    free_gone(c);
}

void calls_end_all(struct net_client *c, enum net_result r, const char *why)
{
    while (c->calls)
        call_end(c->calls, r, why);
    buf_reset(&c->inbox);
    free_gone(c);
}

/* ---- the loop's side ---------------------------------------------------------------------------------------- */
static void act(struct net_client *c, curl_socket_t fd, int what)
{
    int running;
    CURLMcode rc = curl_multi_socket_action(c->multi, fd, what, &running);
    calls_tell(c);
    if (rc) /* epoll took no descriptor: curl has given up on all calls */
        calls_end_all(c, NET_MEMORY, curl_multi_strerror(rc));
}

void calls_on_socket(struct net_client *c, int fd, uint32_t ev)
{
    int what = (ev & EPOLLIN ? CURL_CSELECT_IN : 0) | (ev & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
               (ev & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
    act(c, fd, what);
}

void calls_on_time(struct net_client *c)
{
    c->curl_due_ns = INT64_MAX;
    act(c, CURL_SOCKET_TIMEOUT, 0);
}

rag_code calls_init(struct net_client *c)
{
    buf_init(&c->inbox, MEM_MISC);
    buf_init(&c->outbox, MEM_MISC);
    c->curl_due_ns = INT64_MAX;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) /* counted: further ones are cheap */
        return RAG_ENOMEM;
    c->multi = curl_multi_init();
    if (!c->multi)
        return RAG_ENOMEM;
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket_wanted);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_time_wanted);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    return RAG_OK;
}

void calls_clear(struct net_client *c)
{
    if (c->multi)
        curl_multi_cleanup(c->multi);
    buf_clear(&c->inbox);
    buf_clear(&c->outbox);
}

/* ---- for the owners of calls -------------------------------------------------------------------------------- */
/* Bytes that a header line can carry: no line break can be smuggled in. */
static bool header_ok(const char *z)
{
    for (; *z; z++)
        if (((unsigned char)*z < ' ' && *z != '\t') || *z == 0x7f)
            return false;
    return true;
}

static bool add_header(struct net_call *call, const char *line)
{
    struct curl_slist *l = curl_slist_append(call->headers, line);
    if (l)
        call->headers = l;
    return l != NULL;
}

static bool add_bearer(struct net_call *call, const char *bearer)
{
    static const char prefix[] = "Authorization: Bearer ";
    size_t n = strlen(bearer) + sizeof prefix;
    char *line = mem_alloc(MEM_MISC, n);
    if (!line)
        return false;
    snprintf(line, n, "%s%s", prefix, bearer);
    bool ok = add_header(call, line);
    explicit_bzero(line, n);
    mem_free(MEM_MISC, line);
    for (call->secret = ok ? call->headers : NULL; call->secret && call->secret->next;)
        call->secret = call->secret->next;
    return ok;
}

static rag_code add_headers(struct net_call *call, const struct net_call_options *opt)
{
    bool ok = add_header(call, "Content-Type: application/json") &&
              add_header(call, "Accept: text/event-stream, application/json") && add_header(call, "Expect:");
    for (uint32_t i = 0; ok && i < opt->n_headers; i++) {
        if (!header_ok(opt->headers[i]))
            return RAG_EINVAL;
        ok = add_header(call, opt->headers[i]);
    }
    if (opt->bearer && !header_ok(opt->bearer))
        return RAG_EINVAL;
    return ok && (!opt->bearer || add_bearer(call, opt->bearer)) ? RAG_OK : RAG_ENOMEM;
}

static rag_code check_url(const char *url)
{
    CURLU *u = curl_url();
    char *scheme = NULL;
    if (!u)
        return RAG_ENOMEM;
    bool ok = curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
              curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
              (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    curl_free(scheme);
    curl_url_cleanup(u);
    return ok ? RAG_OK : RAG_EINVAL;
}

static bool set_options(struct net_call *call, const struct net_call_options *opt)
{
    CURL *e = call->easy;
    bool ok = curl_easy_setopt(e, CURLOPT_URL, opt->url) == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_PROXY, "") == CURLE_OK &&
              curl_easy_setopt(e, CURLOPT_USERAGENT, "ragd") == CURLE_OK;
    if (opt->ca_file)
        ok = ok && curl_easy_setopt(e, CURLOPT_CAINFO, opt->ca_file) == CURLE_OK;
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT,
                     1L); /* a cancelled call does not wait for the resolver's thread */
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)opt->connect_ms);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, 30L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, 10L);
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, (long)READ_BYTES);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, call->headers);
    curl_easy_setopt(e, CURLOPT_POST, 1L);
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)opt->body.len);
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, opt->body.len ? opt->body.ptr : "");
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, call->error);
    curl_easy_setopt(e, CURLOPT_PRIVATE, call);
    return ok;
}

static void call_link(struct net_client *c, struct net_call *call)
{
    call->next = c->calls;
    if (c->calls)
        c->calls->prev = call;
    c->calls = call;
    count_calls(c, 1);
}

rag_code net_call_start(struct net_client *c, const struct net_call_options *opt, struct net_call **out,
                        struct rag_err *err)
{
    RAG_DEBUG_ASSERT(net_on_thread(c));
    if (c->stopping)
        return rag_err_set(err, RAG_EBUSY, "the server is stopping");
    struct net_call *call = mem_zalloc(MEM_MISC, sizeof *call);
    if (!call)
        return rag_err_set(err, RAG_ENOMEM, "call: out of memory");
    call->client = c;
    call->events = opt->events;
    call->ctx = opt->ctx;
    begin_head(call);
    rag_code rc = check_url(opt->url);
    if (rc) {
        rag_err_set(err, rc, "call: not an http:// or https:// URL");
        goto failed;
    }
    rc = add_headers(call, opt);
    if (rc) {
        rag_err_set(err, rc,
                    rc == RAG_EINVAL ? "call: a header has control characters" : "call: out of memory");
        goto failed;
    }
    call->easy = curl_easy_init();
    if (!call->easy || !set_options(call, opt) || curl_multi_add_handle(c->multi, call->easy) != CURLM_OK) {
        rc = rag_err_set(err, RAG_ENOMEM, "call: out of memory");
        goto failed;
    }
    call_link(c, call);
    *out = call;
    return RAG_OK;
failed:
    call_free(call);
    return rc;
}

void net_call_cancel(struct net_call *call)
{
    RAG_DEBUG_ASSERT(net_on_thread(call->client));
    call_leave(call);
}

void net_call_pause(struct net_call *call, bool paused)
{
    RAG_DEBUG_ASSERT(net_on_thread(call->client));
    if (call->paused == paused)
        return;
    call->paused = paused;
    if (call->head_done) /* before, on_body pauses: curl would forget it when it connects, or hand all headers over as one */
        curl_easy_pause(call->easy,
                        paused ? CURLPAUSE_RECV : CURLPAUSE_CONT); /* may call on_body: told by the loop */
}
