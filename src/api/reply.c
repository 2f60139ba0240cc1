#include <openssl/sha.h>
#include <stdio.h>

#include "api/answering.h"
#include "obs/log.h"
#include "text/utf8.h"
#include "wire/json_out.h"

unsigned status_of(rag_code rc)
{
    switch (rc) {
    case RAG_OK: return 200;
    case RAG_EINVAL: return 400;
    case RAG_EUNAUTH: return 401;
    case RAG_EFORBIDDEN: return 403;
    case RAG_ENOTFOUND: return 404;
    case RAG_ECONFLICT: return 409;
    case RAG_ETOOBIG: return 413;
    case RAG_EUNSUPPORTED: return 415;
    case RAG_EFORMAT: return 422;
    case RAG_ERATE: return 429;
    case RAG_EBUSY:
    case RAG_ECANCELED:
    case RAG_ENOMEM: return 503;
    case RAG_ETIMEOUT: return 504;
    case RAG_ENOSPC: return 507;
    default: return 500;
    }
}

static const char *error_type(unsigned status)
{
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 409: return "conflict_error";
    case 429: return "rate_limit_error";
    case 503: return "overloaded_error";
    case 504: return "timeout_error";
    default: return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

/* Messages may quote a client's bytes and may be cut: only whole UTF-8 sequences go out. */
static void add_message(struct buf *out, const char *z)
{
    struct str s = str_of(z);
    json_add_open(out, '"');
    while (s.len && !utf8_valid(s)) {
        size_t i = 0, start = 0;
        while (i < s.len) {
            start = i;
            uint32_t cp = utf8_next(s, &i);
            if (cp == 0xfffd)
                break;
        }
        json_escape(out, str_make(s.ptr, start));
        buf_addz(out, i < s.len ? "\xef\xbf\xbd" : "");
        s = str_make(s.ptr + i, s.len - i);
    }
    json_escape(out, s);
    buf_addc(out, '"');
}

void error_json(struct buf *out, const char *request_id, unsigned status, const char *code, const char *param,
                const char *message)
{
    json_add_open(out, '{');
    json_add_key(out, "type");
    json_add_string(out, str_of(error_type(status)));
    json_add_key(out, "message");
    add_message(out, message);
    json_add_key(out, "param");
    if (param && param[0])
        add_message(out, param);
    else
        json_add_null(out);
    json_add_key(out, "code");
    if (code)
        json_add_string(out, str_of(code));
    else
        json_add_null(out);
    json_add_key(out, "request_id");
    json_add_string(out, str_of(request_id));
    json_add_close(out, '}');
}

void reply_json(struct request *rq, unsigned status)
{
    rq->status = status;
    rq->content_type = "application/json";
}

void reply_deleted(struct request *rq)
{
    json_add_open(&rq->out, '{');
    json_add_key(&rq->out, "name");
    json_add_string(&rq->out, rq->path[2]);
    json_add_key(&rq->out, "deleted");
    json_add_bool(&rq->out, true);
    json_add_close(&rq->out, '}');
    reply_json(rq, 200);
}

void reply_error(struct request *rq, unsigned status, const char *code, const char *param,
                 const char *message)
{
    buf_reset(&rq->out);
    json_add_open(&rq->out, '{');
    json_add_key(&rq->out, "error");
    error_json(&rq->out, rq->id, status, code, param, message);
    json_add_close(&rq->out, '}');
    if ((status == 503 || status == 429) && !rq->retry_after_s)
        rq->retry_after_s = 1;
    reply_json(rq, status);
}

void reply_rc(struct request *rq, rag_code rc, const struct rag_err *err, const char *component)
{
    unsigned status = status_of(rc);
    const char *code = rag_code_name(rc);
    if (rc == RAG_ENOTFOUND && strcmp(err->param, "collection") == 0)
        code = "collection_not_found";
    reply_error(rq, status, code, err->param, err->msg[0] ? err->msg : rag_code_name(rc));
    if (status >= 500) {
        log_warn("request failed", LOG_INT("status", status), LOG_STR("error", code),
                 LOG_STR("route", rq->route ? rq->route->pattern : ""), LOG_STR("why", err->msg), LOG_END);
        api_count_error(rq->api, code, component);
    }
}

void etag_make(struct str bytes, char out[ETAG_CHARS])
{
    unsigned char digest[32];
    SHA256((const unsigned char *)bytes.ptr, bytes.len, digest);
    *out++ = '"';
    for (int b = 0; b < 16; b++)
        out += sprintf(out, "%02x", digest[b]);
    memcpy(out, "\"", 2);
}

/* If-None-Match: "*" or a list of tags, where W/ makes no difference (RFC 9110, 13.1.2). No tag of ours lies inside
 * another tag, since it brings its quotes. */
static bool client_has(struct request *rq, const char *etag)
{
    const char *given = request_header(rq, "If-None-Match");
    return given && (str_eqz(str_trim(str_of(given)), "*") || strstr(given, etag));
}

void reply_embedded(struct request *rq, struct str bytes, const char *type, const char *etag)
{
    rq->etag = etag;
    if (client_has(rq, etag)) {
        rq->status = 304;
        return;
    }
    buf_adds(&rq->out, bytes);
    rq->status = 200;
    rq->content_type = type;
}

static void add_header(struct MHD_Response *r, const char *name, const char *value)
{
    (void)MHD_add_response_header(r, name,
                                  value); /* fails for want of memory only: the answer goes without it */
}

static void add_number(struct MHD_Response *r, const char *name, unsigned long n)
{
    char text[24];
    snprintf(text, sizeof text, "%lu", n);
    add_header(r, name, text);
}

static void add_headers(struct request *rq, struct MHD_Response *r)
{
    add_header(r, "X-Request-Id", rq->id);
    if (rq->content_type)
        add_header(r, "Content-Type", rq->content_type);
    add_header(r, "Cache-Control", rq->etag ? "no-cache" : "no-store");
    if (rq->etag)
        add_header(r, "ETag", rq->etag);
    if (rq->content_encoding) {
        if (rq->content_encoding[0])
            add_header(r, "Content-Encoding", rq->content_encoding);
        add_header(r, "Vary", "Accept-Encoding");
    }
    add_header(r, "X-Content-Type-Options", "nosniff");
    if (rq->traceparent[0])
        add_header(r, "traceparent", rq->traceparent);
    if (rq->allow)
        add_header(r, "Allow", rq->allow);
    if (rq->retry_after_s)
        add_number(r, "Retry-After", rq->retry_after_s);
    if (rq->status == 401)
        add_header(r, "WWW-Authenticate", "Bearer realm=\"ragd\"");
    if (rq->limited) {
        add_number(r, "X-RateLimit-Limit", rq->rate_limit);
        add_number(r, "X-RateLimit-Remaining", rq->rate_remaining);
        add_number(r, "X-RateLimit-Reset", rq->rate_reset_s);
    }
    if (rq->csp) {
        add_header(r, "Content-Security-Policy", rq->csp);
        add_header(r, "X-Frame-Options", "DENY");
        add_header(r, "Referrer-Policy", "no-referrer");
    }
    if (rq->api->opt.n_cors_origins)
        add_header(r, "Vary", "Origin");
    if (rq->origin) {
        add_header(r, "Access-Control-Allow-Origin", rq->origin);
        if (rq->method == HTTP_OPTIONS) {
            add_header(r, "Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS");
            add_header(r, "Access-Control-Allow-Headers",
                       "Authorization, X-API-Key, Content-Type, X-Request-Id, traceparent");
            add_header(r, "Access-Control-Max-Age", "600");
        } else {
            add_header(
                r, "Access-Control-Expose-Headers",
                "X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After");
        }
    }
    if (rq->close || atomic_load_explicit(&rq->api->draining, memory_order_relaxed))
        add_header(r, "Connection", "close");
}

enum MHD_Result reply_send(struct request *rq)
{
    if (buf_failed(&rq->out)) {
        buf_clear(&rq->out);
        reply_error(rq, 503, "out_of_memory", NULL, "out of memory");
    }
    /* The bytes stay in rq->out until the request is completed: no copy. */
    struct MHD_Response *r =
        rq->stream ? answering_response(rq->stream)
                   : MHD_create_response_from_buffer(rq->out.len, rq->out.ptr, MHD_RESPMEM_PERSISTENT);
    rq->stream = NULL;
    if (!r)
        return MHD_NO;
    add_headers(rq, r);
    enum MHD_Result ok = MHD_queue_response(rq->conn, rq->status, r);
    MHD_destroy_response(r);
    api_count_http(rq, rq->status);
    return ok;
}
