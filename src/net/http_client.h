/* net/http_client.h - a small blocking HTTP client for the commands: one connection, kept open. */
#ifndef RAGD_NET_HTTP_CLIENT_H
#define RAGD_NET_HTTP_CLIENT_H

#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "base/str.h"

struct http_client; /* one thread at a time; a thread each for requests at once */

/* Call once before threads start. */
RAG_MUST_CHECK rag_code http_client_global_init(void);

/* base_url like "http://127.0.0.1:8001", at most 2047 bytes; bearer may be NULL, at most 4096. Proxies of the environment
 * are not used. RAG_ETOOBIG, RAG_ENOMEM. */
RAG_MUST_CHECK rag_code http_client_new(const char *base_url, const char *bearer, struct http_client **out);
void http_client_free(struct http_client *c); /* NULL is fine */
/* For https: the roots to trust instead of the system's; outlives c. NULL: the system's. */
void http_client_trust(struct http_client *c, const char *ca_file);

/* How far a request came that failed. */
enum http_step { HTTP_DONE, HTTP_NAME, HTTP_CONNECT, HTTP_TLS, HTTP_ANSWER };
struct http_reply {
    long status;
    uint32_t retry_after_s;    /* Retry-After, at most 60; 0: none */
    enum http_step failed_at;  /* HTTP_DONE: it did not */
    int64_t certificate_end_s; /* Unix seconds; 0: no certificate, or of a connection that was open before */
    struct buf body;
};
void http_reply_init(struct http_reply *r);
void http_reply_clear(struct http_reply *r);

/* Sends method + path (percent-encoded by the caller) with a body (none when ptr is NULL). Any status is
 * RAG_OK; the body is read whole, at most 256 MiB (RAG_ETOOBIG). RAG_EIO: no connection or it broke.
 * RAG_ETIMEOUT: no answer within timeout_ms. */
RAG_MUST_CHECK rag_code http_client_send(struct http_client *c, const char *method, const char *path,
                                         const char *content_type, struct str body, uint32_t timeout_ms,
                                         struct http_reply *out, struct rag_err *err);

struct http_part {
    const char *name;
    const char *filename; /* NULL: a plain field */
    struct str data;
};
/* The same as multipart/form-data by POST. */
RAG_MUST_CHECK rag_code http_client_upload(struct http_client *c, const char *path,
                                           const struct http_part *parts, uint32_t n, uint32_t timeout_ms,
                                           struct http_reply *out, struct rag_err *err);

#endif
