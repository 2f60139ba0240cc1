#include <arpa/inet.h>
#include <math.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <strings.h>

#include "api/api_int.h"
#include "sys/clock.h"

/* ---- keys ---------------------------------------------------------------------------------------------- */

static void digest_of(struct str s, uint8_t out[32])
{
    SHA256((const unsigned char *)s.ptr, s.len, out);
}

static double bucket_size(const struct api_key *k)
{
    return k->rate_per_s < 1 ? 1 : k->rate_per_s;
}

rag_code auth_init(struct api *api)
{
    const struct api_options *o = &api->opt;
    if (o->local_token)
        digest_of(str_of(o->local_token), api->local_digest);
    if (o->n_keys == 0)
        return RAG_OK;
    api->keys = mem_zalloc(MEM_API, o->n_keys * sizeof *api->keys);
    if (!api->keys)
        return RAG_ENOMEM;
    for (uint32_t i = 0; i < o->n_keys; i++) {
        digest_of(str_of(o->keys[i].secret), api->keys[i].digest);
        pthread_mutex_init(&api->keys[i].mu, NULL);
        api->keys[i].tokens = bucket_size(&o->keys[i]);
        api->keys[i].filled_ns = clock_mono_ns();
    }
    return RAG_OK;
}

void auth_clear(struct api *api)
{
    for (uint32_t i = 0; api->keys && i < api->opt.n_keys; i++)
        pthread_mutex_destroy(&api->keys[i].mu);
    mem_free(MEM_API, api->keys);
    api->keys = NULL;
}

/* The secret that came with the request; ptr NULL when none did. */
static struct str presented(struct request *rq)
{
    const char *h = request_header(rq, "Authorization");
    if (h && strncasecmp(h, "Bearer ", 7) == 0)
        return str_trim(str_of(h + 7));
    return str_of(request_header(rq, "X-API-Key"));
}

/* Takes one token. False: none left. Fills the numbers of the X-RateLimit headers. */
static bool take_token(struct request *rq, const struct api_key *k, struct key_state *s)
{
    double size = bucket_size(k);
    int64_t now = clock_mono_ns();
    pthread_mutex_lock(&s->mu);
    s->tokens += (double)(now - s->filled_ns) / 1e9 * k->rate_per_s;
    if (s->tokens > size)
        s->tokens = size;
    s->filled_ns = now;
    bool ok = s->tokens >= 1;
    if (ok)
        s->tokens -= 1;
    double left = s->tokens;
    pthread_mutex_unlock(&s->mu);
    rq->limited = true;
    rq->rate_limit = (uint32_t)ceil(size);
    rq->rate_remaining = (uint32_t)left;
    rq->rate_reset_s = (uint32_t)ceil((size - left) / k->rate_per_s);
    if (!ok)
        rq->retry_after_s = (unsigned)ceil((1 - left) / k->rate_per_s);
    return ok;
}

/* Every key is compared, each in constant time. */
static uint32_t find_key(const struct api *api, const uint8_t digest[32])
{
    uint32_t found = UINT32_MAX;
    for (uint32_t i = 0; i < api->opt.n_keys; i++)
        if (CRYPTO_memcmp(api->keys[i].digest, digest, 32) == 0)
            found = i;
    return found;
}

bool auth_check(struct request *rq)
{
    struct api *api = rq->api;
    uint32_t needed = rq->route->scopes;
    if (needed == 0)
        return true;
    if (api->opt.n_keys == 0) {
        rq->scopes = SCOPE_ADMIN;
        return true;
    }
    uint8_t digest[32];
    struct str secret = presented(rq);
    if (secret.len == 0) {
        reply_error(rq, 401, "unauthorized", NULL,
                    "a key is needed: Authorization: Bearer KEY, or X-API-Key: KEY");
        return false;
    }
    digest_of(secret, digest);
    if (api->opt.local_token && CRYPTO_memcmp(api->local_digest, digest, 32) == 0) {
        rq->scopes = SCOPE_ADMIN;
        return true;
    }
    uint32_t i = find_key(api, digest);
    if (i == UINT32_MAX) {
        reply_error(rq, 401, "unauthorized", NULL, "the key is not known here");
        return false;
    }
    rq->key = &api->opt.keys[i];
    rq->scopes = rq->key->scopes;
    if (rq->key->rate_per_s > 0 && !take_token(rq, rq->key, &api->keys[i])) {
        reply_error(rq, 429, "rate_limited", NULL, "the key's rate limit is reached");
        return false;
    }
    if (!(rq->scopes & (needed | SCOPE_ADMIN))) {
        reply_error(rq, 403, "scope_missing", NULL,
                    needed & SCOPE_QUERY    ? "the key lacks the scope query"
                    : needed & SCOPE_INGEST ? "the key lacks the scope ingest"
                                            : "the key lacks the scope admin");
        return false;
    }
    return true;
}

bool auth_may_see(const struct request *rq, struct str name)
{
    if (!rq->key || rq->key->n_collections == 0)
        return true;
    for (uint32_t i = 0; i < rq->key->n_collections; i++)
        if (str_eqz(name, rq->key->collections[i]))
            return true;
    return false;
}

bool auth_collection(struct request *rq, struct str name)
{
    if (auth_may_see(rq, name))
        return true;
    reply_error(rq, 403, "collection_forbidden", "collection", "the key may not use this collection");
    return false;
}

/* ---- whose page asks: DNS rebinding, CORS --------------------------------------------------------------- */

bool auth_is_loopback(struct str host)
{
    char text[64];
    struct in_addr v4;
    struct in6_addr v6;
    if (host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
        host = str_make(host.ptr + 1, host.len - 2);
    if (host.len == 0 || host.len >= sizeof text)
        return false;
    memcpy(text, host.ptr, host.len);
    text[host.len] = 0;
    if (strcasecmp(text, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, text, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* "name:port", "[v6]:port" or "name" without its port. */
static struct str without_port(struct str s)
{
    for (size_t i = s.len; i-- > 0 && s.ptr[i] != ']';)
        if (s.ptr[i] == ':')
            return str_make(s.ptr, i);
    return s;
}

static bool equal_nocase(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.ptr, b.ptr, a.len) == 0);
}

static bool origin_configured(const struct api *api, const char *origin)
{
    for (uint32_t i = 0; i < api->opt.n_cors_origins; i++)
        if (strcmp(api->opt.cors_origins[i], "*") == 0 || strcasecmp(api->opt.cors_origins[i], origin) == 0)
            return true;
    return false;
}

static bool origin_is_own(const char *origin, const char *host)
{
    const char *sep = strstr(origin, "://");
    return sep && host && equal_nocase(str_of(sep + 3), str_of(host));
}

/* With keys a foreign page gains nothing, since a browser sends no key by itself: only the open server looks. */
bool auth_host_ok(struct request *rq)
{
    struct api *api = rq->api;
    const char *host = request_header(rq, "Host"), *origin = request_header(rq, "Origin");
    if (origin && origin_configured(api, origin))
        rq->origin = origin;
    if (api->opt.n_keys)
        return true;
    if (host) {
        struct str name = without_port(str_of(host));
        if (!auth_is_loopback(name) && !equal_nocase(name, str_of(api->opt.host))) {
            reply_error(rq, 403, "foreign_host", NULL, "the Host of this request is not this server's");
            return false;
        }
    }
    if (origin && !rq->origin && !origin_is_own(origin, host)) {
        reply_error(rq, 403, "foreign_origin", NULL, "the Origin of this request is not in cors_origins");
        return false;
    }
    return true;
}
