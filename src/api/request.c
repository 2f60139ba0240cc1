#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "api/answering.h"
#include "obs/log.h"
#include "sys/clock.h"
#include "text/utf8.h"

/* A request in the pool keeps this much of each of its buffers. */
enum { KEEP_BYTES = 64 << 10, DRAIN_BYTES = 16 << 20 };

/* ---- the pool ------------------------------------------------------------------------------------------ */

static struct request *pool_take(struct api *api)
{
    pthread_mutex_lock(&api->mu);
    struct request *rq = api->pool;
    if (rq) {
        api->pool = rq->next;
        api->n_pooled--;
    }
    api->n_requests++;
    api->n_receiving++;
    pthread_mutex_unlock(&api->mu);
    return rq;
}

static void pool_give(struct api *api, struct request *rq, bool receiving)
{
    pthread_mutex_lock(&api->mu);
    api->n_receiving -= receiving;
    if (rq && api->n_pooled < POOLED_REQUESTS) {
        rq->next = api->pool;
        api->pool = rq;
        api->n_pooled++;
        rq = NULL;
    }
    if (--api->n_requests == 0)
        pthread_cond_broadcast(&api->idle_cv);
    pthread_mutex_unlock(&api->mu);
    if (rq) {
        arena_clear(&rq->arena);
        buf_clear(&rq->body);
        buf_clear(&rq->out);
        mem_free(MEM_API, rq);
    }
}

/* A counter under a prefix of this start: unique, cheap, not a secret. */
static void make_id(struct api *api, char out[129])
{
    uint64_t n = atomic_fetch_add_explicit(&api->next_id, 1, memory_order_relaxed);
    snprintf(out, 129, "%s-%llx", api->id_prefix, (unsigned long long)n);
}

struct request *request_new(struct api *api, struct MHD_Connection *conn)
{
    struct request *rq = pool_take(api);
    if (!rq && !(rq = mem_zalloc(MEM_API, sizeof *rq))) {
        pool_give(api, NULL, true);
        return NULL;
    }
    struct request keep = {.api = api,
                           .conn = conn,
                           .arena = rq->arena,
                           .body = rq->body,
                           .out = rq->out,
                           .receiving = true,
                           .start_ns = clock_mono_ns()};
    *rq = keep;
    rq->body.tag = rq->out.tag = MEM_REQUEST;
    return rq;
}

void request_received(struct request *rq)
{
    if (!rq->receiving)
        return;
    rq->receiving = false;
    pthread_mutex_lock(&rq->api->mu);
    rq->api->n_receiving--;
    pthread_mutex_unlock(&rq->api->mu);
}

static void recycle(struct buf *b)
{
    if (b->cap > KEEP_BYTES)
        buf_clear(b);
    else
        buf_reset(b);
}

void request_done(struct request *rq)
{
    if (rq->clear)
        rq->clear(rq);
    if (rq->stream)
        answering_drop(rq->stream);
    if (rq->arena.used > KEEP_BYTES)
        arena_clear(&rq->arena);
    else
        arena_reset(&rq->arena);
    recycle(&rq->body);
    recycle(&rq->out);
    pool_give(rq->api, rq, rq->receiving);
}

/* ---- reading the head ---------------------------------------------------------------------------------- */

const char *request_header(struct request *rq, const char *name)
{
    return MHD_lookup_connection_value(rq->conn, MHD_HEADER_KIND, name);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool percent_decode(struct arena *a, struct str raw, struct str *out)
{
    char *p = arena_alloc(a, raw.len + 1);
    size_t n = 0;
    if (!p)
        return false;
    for (size_t i = 0; i < raw.len; i++) {
        char c = raw.ptr[i];
        if (c == '%') {
            if (raw.len - i < 3)
                return false;
            int hi = hex_value(raw.ptr[i + 1]), lo = hex_value(raw.ptr[i + 2]);
            if (hi < 0 || lo < 0)
                return false;
            c = (char)(hi << 4 | lo);
            i += 2;
        }
        if (c == 0)
            return false;
        p[n++] = c;
    }
    p[n] = 0;
    *out = str_make(p, n);
    return utf8_valid(*out);
}

static bool id_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || strchr("._:-", c);
}

static void take_request_id(struct request *rq)
{
    const char *given = request_header(rq, "X-Request-Id");
    size_t n = given ? strlen(given) : 0, i = 0;
    while (i < n && id_char(given[i]))
        i++;
    if (n && n <= 128 && i == n)
        memcpy(rq->id, given, n + 1);
    else
        make_id(rq->api, rq->id);
}

/* W3C Trace Context, version 00: 00-<32 hex>-<16 hex>-<2 hex>, ids not all zero, lower case. */
static void take_traceparent(struct request *rq)
{
    const char *t = request_header(rq, "traceparent");
    if (!t || strlen(t) != 55 || strncmp(t, "00-", 3) || t[35] != '-' || t[52] != '-')
        return;
    bool trace = false, span = false;
    for (int i = 3; i < 55; i++) {
        if (i == 35 || i == 52)
            continue;
        if (hex_value(t[i]) < 0 || (t[i] >= 'A' && t[i] <= 'F'))
            return;
        trace |= i < 35 && t[i] != '0';
        span |= i > 35 && i < 52 && t[i] != '0';
    }
    if (trace && span)
        memcpy(rq->traceparent, t, 56);
}

static bool split_path(struct request *rq, const char *url)
{
    const char *p = url;
    while (*p == '/') {
        size_t n = strcspn(p + 1, "/");
        if (rq->n_path == PATH_MAX_SEGMENTS)
            return true; /* longer than any route: no match */
        if (!percent_decode(&rq->arena, str_make(p + 1, n), &rq->path[rq->n_path]))
            return false;
        rq->n_path++;
        p += 1 + n;
    }
    return true;
}

static bool pattern_matches(const struct request *rq, const char *pattern)
{
    uint32_t i = 0;
    const char *p = pattern;
    for (; *p == '/'; i++) {
        size_t n = strcspn(p + 1, "/");
        if (i == rq->n_path || (p[1] != '{' && !str_eq(rq->path[i], str_make(p + 1, n))))
            return false;
        if (p[1] == '{' && rq->path[i].len == 0)
            return false;
        p += 1 + n;
    }
    return i == rq->n_path;
}

static const struct {
    const char *name;
    unsigned bit;
} methods[] = {{"GET", HTTP_GET}, {"HEAD", HTTP_GET},      {"POST", HTTP_POST},
               {"PUT", HTTP_PUT}, {"DELETE", HTTP_DELETE}, {"OPTIONS", HTTP_OPTIONS}};
enum { N_METHODS = sizeof methods / sizeof *methods };

static const char *allow_text(struct request *rq, unsigned bits)
{
    char text[64] = "OPTIONS";
    for (int i = 0; i < N_METHODS - 1; i++)
        if (methods[i].bit & bits) {
            size_t n = strlen(text);
            snprintf(text + n, sizeof text - n, ", %s", methods[i].name);
        }
    return arena_strndup(&rq->arena, text, strlen(text));
}

/* Finds the route; otherwise replies 404, 405 or, for OPTIONS, 204. */
static void match(struct request *rq)
{
    unsigned allowed = 0;
    for (int i = 0; i < N_ROUTES; i++) {
        if (!pattern_matches(rq, api_routes[i].pattern))
            continue;
        allowed |= api_routes[i].method;
        if (api_routes[i].method == rq->method) {
            rq->route = &api_routes[i];
            return;
        }
    }
    if (!allowed) {
        reply_error(rq, 404, "unknown_route", NULL, "there is nothing at this address");
        return;
    }
    rq->allow = allow_text(rq, allowed);
    if (rq->method == HTTP_OPTIONS)
        rq->status = 204;
    else
        reply_error(rq, 405, "method_not_allowed", NULL, "this address does not take that method; see Allow");
}

static void check_length(struct request *rq)
{
    const char *text = request_header(rq, "Content-Length");
    uint64_t n = rq->announced = text ? strtoull(text, NULL, 10) : 0;
    rq->limit =
        rq->route && rq->route->documents ? rq->api->opt.max_body_bytes : rq->api->opt.max_query_bytes;
    if (!rq->status && n > rq->limit)
        reply_error(rq, 413, "too_large", NULL, "the body is larger than this address takes");
    /* A refused body that is not too long is read and forgotten, so that the client gets to read the answer. */
    if (rq->status && (n > DRAIN_BYTES || (request_header(rq, "Expect") && n)))
        rq->close = true;
}

void request_begin(struct request *rq, const char *url, const char *method)
{
    take_request_id(rq);
    take_traceparent(rq);
    for (int i = 0; i < N_METHODS; i++)
        if (strcmp(method, methods[i].name) == 0)
            rq->method = methods[i].bit;
    rq->head = strcmp(method, "HEAD") == 0;
    const union MHD_ConnectionInfo *refused =
        MHD_get_connection_info(rq->conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    if (refused && refused->socket_context) {
        reply_error(rq, 503, "too_many_connections", NULL, "too many open connections; try again");
        rq->close = true;
    } else if (!split_path(rq, url)) {
        reply_error(rq, 400, "bad_path", NULL, "the path is not percent-encoded UTF-8");
    } else if (auth_host_ok(rq)) {
        match(rq);
        if (rq->route)
            (void)auth_check(rq); /* replies by itself */
    }
    check_length(rq);
}

struct args {
    struct request *rq;
    const char *const *names;
    struct str *out;
    uint32_t n;
    bool ok;
};

static enum MHD_Result take_arg(void *cls, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct args *a = cls;
    (void)kind;
    for (uint32_t i = 0; i < a->n; i++)
        if (strcmp(key, a->names[i]) == 0) {
            if (!a->out[i].ptr && percent_decode(&a->rq->arena, str_of(value), &a->out[i]))
                return MHD_YES;
            a->ok = false;
            reply_error(a->rq, 400, "invalid", a->names[i], "given twice, or not percent-encoded UTF-8");
            return MHD_NO;
        }
    a->ok = false;
    reply_error(a->rq, 400, "invalid", key, "unknown parameter in the address");
    return MHD_NO;
}

bool request_args(struct request *rq, const char *const *names, struct str *out, uint32_t n)
{
    struct args a = {rq, names, out, n, true};
    memset(out, 0, n * sizeof *out);
    MHD_get_connection_values(rq->conn, MHD_GET_ARGUMENT_KIND, take_arg, &a);
    return a.ok;
}

bool request_is_json(struct request *rq)
{
    const char *type = request_header(rq, "Content-Type");
    if (!type)
        return true;
    size_t n = strcspn(type, ";");
    struct str media = str_trim(str_make(type, n));
    bool json = media.len == 16 && strncasecmp(media.ptr, "application/json", 16) == 0;
    const char *charset = json ? strcasestr(type + n, "charset=") : NULL;
    if (charset) {
        charset += 8 + (charset[8] == '"');
        json = strncasecmp(charset, "utf-8", 5) == 0 || strncasecmp(charset, "utf8", 4) == 0;
    }
    if (!json)
        reply_error(rq, 415, "unsupported", "Content-Type",
                    "send JSON in UTF-8 with Content-Type: application/json");
    return json;
}

/* ---- waiting ------------------------------------------------------------------------------------------- */

bool request_suspend(struct request *rq)
{
    struct api *api = rq->api;
    pthread_mutex_lock(&api->mu);
    bool refused = api->abandon;
    if (!refused)
        api->n_suspended++;
    pthread_mutex_unlock(&api->mu);
    if (refused) {
        reply_error(rq, 503, "shutting_down", NULL, "the server is stopping");
        return false;
    }
    rq->suspended = true;
    MHD_suspend_connection(rq->conn);
    return true;
}

void request_resume(struct request *rq, void (*finish)(struct request *rq))
{
    struct api *api = rq->api;
    rq->finish = finish;
    MHD_resume_connection(rq->conn); /* rq is the I/O thread's from here on */
    pthread_mutex_lock(&api->mu);
    if (--api->n_suspended == 0)
        pthread_cond_broadcast(&api->idle_cv);
    pthread_mutex_unlock(&api->mu);
}
