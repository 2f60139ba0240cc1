#include "net/http_client.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

enum { MAX_BODY = 256 << 20, CONNECT_MS = 5000 };

struct http_client {
    CURL *curl;
    char base_url[2048];
    char authorization[4096 + 24]; /* "" when there is none */
    const char *ca_file;           /* NULL: the system's */
    char error[CURL_ERROR_SIZE];
};

rag_code http_client_global_init(void)
{
    return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? RAG_OK : RAG_ENOMEM;
}

rag_code http_client_new(const char *base_url, const char *bearer, struct http_client **out)
{
    struct http_client *c = mem_zalloc(MEM_MISC, sizeof *c);
    if (!c)
        return RAG_ENOMEM;
    c->curl = curl_easy_init();
    if (!c->curl) {
        mem_free(MEM_MISC, c);
        return RAG_ENOMEM;
    }
    size_t url = (size_t)snprintf(c->base_url, sizeof c->base_url, "%s", base_url), head = 0;
    if (bearer && *bearer)
        head = (size_t)snprintf(c->authorization, sizeof c->authorization, "Authorization: Bearer %s", bearer);
    if (url >= sizeof c->base_url || head >= sizeof c->authorization) {
        http_client_free(c);
        return RAG_ETOOBIG;
    }
    *out = c;
    return RAG_OK;
}

void http_client_trust(struct http_client *c, const char *ca_file)
{
    c->ca_file = ca_file;
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    curl_easy_cleanup(c->curl);
    explicit_bzero(c->authorization, sizeof c->authorization);
    mem_free(MEM_MISC, c);
}

void http_reply_init(struct http_reply *r)
{
    *r = (struct http_reply){0};
    buf_init(&r->body, MEM_MISC);
}

void http_reply_clear(struct http_reply *r)
{
    buf_clear(&r->body);
}

static size_t take_body(char *data, size_t size, size_t n, void *ctx)
{
    struct buf *b = ctx;
    size_t len = size * n;
    if (b->len + len > MAX_BODY)
        return 0; /* ends the transfer: CURLE_WRITE_ERROR */
    buf_add(b, data, len);
    return buf_failed(b) ? 0 : len;
}

static bool reached(CURL *curl, CURLINFO time)
{
    curl_off_t us = 0;
    return curl_easy_getinfo(curl, time, &us) == CURLE_OK && us > 0;
}

static enum http_step step_of(CURL *curl, CURLcode rc, bool tls)
{
    switch (rc) {
    case CURLE_OK: return HTTP_DONE;
    case CURLE_COULDNT_RESOLVE_HOST: return HTTP_NAME;
    case CURLE_COULDNT_CONNECT: return HTTP_CONNECT;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CACERT_BADFILE: return HTTP_TLS;
    default: break;
    }
    return !reached(curl, CURLINFO_NAMELOOKUP_TIME_T)          ? HTTP_NAME
           : !reached(curl, CURLINFO_CONNECT_TIME_T)           ? HTTP_CONNECT
           : tls && !reached(curl, CURLINFO_APPCONNECT_TIME_T) ? HTTP_TLS
                                                               : HTTP_ANSWER;
}

/* Of the server's own certificate, the first of the chain. */
static int64_t certificate_end(CURL *curl)
{
    static const char label[] = "Expire date:";
    struct curl_certinfo *chain = NULL;
    if (curl_easy_getinfo(curl, CURLINFO_CERTINFO, &chain) != CURLE_OK || !chain || chain->num_of_certs < 1)
        return 0;
    for (const struct curl_slist *l = chain->certinfo[0]; l; l = l->next)
        if (strncmp(l->data, label, sizeof label - 1) == 0) {
            int64_t t = curl_getdate(l->data + sizeof label - 1, NULL);
            return t > 0 ? t : 0;
        }
    return 0;
}

static rag_code perform(struct http_client *c, const char *path, struct curl_slist *headers,
                        uint32_t timeout_ms, struct http_reply *out, struct rag_err *err)
{
    struct buf url;
    buf_init(&url, MEM_MISC);
    buf_addf(&url, "%s%s", c->base_url, path);
    buf_addc(&url, 0);
    buf_reset(&out->body);
    out->status = 0;
    c->error[0] = 0;
    if (buf_failed(&url)) {
        buf_clear(&url);
        return rag_err_set(err, RAG_ENOMEM, "%s: out of memory", c->base_url);
    }
    curl_easy_setopt(c->curl, CURLOPT_URL, url.ptr);
    curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, c->error);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &out->body);
    curl_easy_setopt(c->curl, CURLOPT_CERTINFO, 1L);
    if (c->ca_file)
        curl_easy_setopt(c->curl, CURLOPT_CAINFO, c->ca_file);
    CURLcode rc = curl_easy_perform(c->curl);
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &out->status);
    curl_off_t retry_after = 0;
    curl_easy_getinfo(c->curl, CURLINFO_RETRY_AFTER, &retry_after);
    out->retry_after_s = retry_after > 60 ? 60 : (uint32_t)retry_after;
    out->failed_at = step_of(c->curl, rc, strncmp(url.ptr, "https:", 6) == 0);
    out->certificate_end_s = certificate_end(c->curl);
    curl_easy_reset(c->curl); /* keeps the connection */
    buf_clear(&url);
    if (rc == CURLE_OK)
        return RAG_OK;
    if (rc == CURLE_WRITE_ERROR)
        return rag_err_set(err, buf_failed(&out->body) ? RAG_ENOMEM : RAG_ETOOBIG,
                           "%s: the answer is too large", c->base_url);
    return rag_err_set(err, rc == CURLE_OPERATION_TIMEDOUT ? RAG_ETIMEOUT : RAG_EIO, "%s: %s", c->base_url,
                       c->error[0] ? c->error : curl_easy_strerror(rc));
}

/* Adds a header; the list stays valid when memory is out (the request then fails for want of the header). */
static struct curl_slist *with(struct curl_slist *l, const char *header)
{
    struct curl_slist *next = header[0] ? curl_slist_append(l, header) : l;
    return next ? next : l;
}

rag_code http_client_send(struct http_client *c, const char *method, const char *path,
                          const char *content_type, struct str body, uint32_t timeout_ms,
                          struct http_reply *out, struct rag_err *err)
{
    char type[128] = "";
    if (content_type)
        snprintf(type, sizeof type, "Content-Type: %s", content_type);
    struct curl_slist *h = with(with(with(NULL, c->authorization), type), "Expect:");
    curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
    if (body.ptr) {
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body.ptr);
    }
    rag_code rc = perform(c, path, h, timeout_ms, out, err);
    curl_slist_free_all(h);
    return rc;
}

rag_code http_client_upload(struct http_client *c, const char *path, const struct http_part *parts,
                            uint32_t n, uint32_t timeout_ms, struct http_reply *out, struct rag_err *err)
{
    curl_mime *mime = curl_mime_init(c->curl);
    bool ok = mime != NULL;
    for (uint32_t i = 0; i < n && ok; i++) {
        curl_mimepart *p = curl_mime_addpart(mime);
        ok = p && curl_mime_name(p, parts[i].name) == CURLE_OK &&
             curl_mime_data(p, parts[i].data.ptr ? parts[i].data.ptr : "", parts[i].data.len) == CURLE_OK &&
             (!parts[i].filename || curl_mime_filename(p, parts[i].filename) == CURLE_OK);
    }
    rag_code rc = RAG_ENOMEM;
    if (ok) {
        struct curl_slist *h = with(with(NULL, c->authorization), "Expect:");
        curl_easy_setopt(c->curl, CURLOPT_MIMEPOST, mime);
        rc = perform(c, path, h, timeout_ms, out, err);
        curl_slist_free_all(h);
    } else {
        rag_err_set(err, rc, "%s: out of memory", c->base_url);
    }
    curl_mime_free(mime);
    return rc;
}
