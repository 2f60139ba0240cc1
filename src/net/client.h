/* net/client.h - the server's one HTTP client: libcurl's multi interface on a thread of its own, which also keeps timers
 * and watches sockets.
 *
 * Whoever talks to a service (the generation of answers, later remote embeddings and rerankers) lives on this thread:
 * its state changes only in the callbacks below, so it needs no lock. Other threads hand work over with net_post.
 * Callbacks must not block. All times are clock_mono_ns. */
#ifndef RAGD_NET_CLIENT_H
#define RAGD_NET_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"

struct net_client;
struct net_client_options {
    uint32_t idle_connections; /* kept open for later calls; 0: 20 */
};
/* RAG_ENOMEM, RAG_EIO (no descriptors, no thread). Signals are blocked on the thread. */
RAG_MUST_CHECK rag_code net_client_start(const struct net_client_options *opt, struct net_client **out,
                                         struct rag_err *err);
/* Runs what was posted, ends calls that are left with NET_STOPPED, joins the thread. Timers and watches that are left are
 * dropped. Nobody may be in net_post meanwhile, but for the client's own thread. NULL is fine. */
void net_client_stop(struct net_client *c);

/* ---- work from other threads ---------------------------------------------------------------------------- */
/* Lives in the poster's memory until it runs; run may free it. */
struct net_task {
    void (*run)(struct net_task *t);
    struct net_task *next;
};
/* Runs t->run on the client's thread, in the order of posting. Any thread, the client's own too (it runs later, never
 * within the call). Never fails; a task that is waiting must not be posted again. */
void net_post(struct net_client *c, struct net_task *t);
bool net_on_thread(const struct net_client *c);

/* ---- on the client's thread only ------------------------------------------------------------------------ */
/* A zeroed one is not set. fire may set it again or free what it is part of. */
struct net_timer {
    int64_t due_ns;
    void (*fire)(struct net_timer *t);
    uint32_t at; /* place in the heap, from 1; 0: not set */
};
/* Sets it or moves it. False: out of memory (a timer that is set can always be moved). */
bool net_timer_set(struct net_client *c, struct net_timer *t, int64_t due_ns);
void net_timer_stop(struct net_client *c, struct net_timer *t); /* one that is not set is fine */

/* A socket of somebody else, watched for its peer hanging up (closed, half-closed or reset). */
struct net_watch {
    int fd;
    void (*gone)(struct net_watch *w); /* once; then it is not watched any more */
    bool on;
};
/* False: cannot be watched. net_watch_stop must run before the owner closes the descriptor. */
bool net_watch_start(struct net_client *c, struct net_watch *w);
void net_watch_stop(struct net_client *c, struct net_watch *w);

enum net_result {
    NET_DONE,            /* the whole response came */
    NET_RESOLVE,         /* no such host, or the resolver failed */
    NET_REFUSED,         /* connection refused, reset or unreachable before anything was sent */
    NET_CONNECT_TIMEOUT, /* no connection (TLS included) within connect_ms */
    NET_TLS,             /* handshake or certificate */
    NET_CUT,             /* the connection broke after the request was sent, before the response ended */
    NET_GARBAGE,         /* not HTTP */
    NET_MEMORY,
    NET_STOPPED /* net_client_stop */
};
const char *net_result_name(enum net_result r); /* "done", "resolve", ...: stable, for logs and metrics */

struct net_head {
    long status;
    struct str content_type; /* as sent; valid within the callback */
    int64_t
        retry_after_ms; /* Retry-After (seconds or an HTTP date), retry-after-ms; -1: none; at most a day */
};
/* In this order: head (once, of the final response, a redirect or an error like any other; 1xx never shows), body (any
 * number), end (once). head is missing when the response never came. Within each, any call may be started, cancelled,
 * paused and resumed. */
struct net_call_events {
    void (*head)(void *ctx, const struct net_head *h);
    void (*body)(void *ctx, struct str bytes);
    void (*end)(void *ctx, enum net_result r,
                const char *why); /* the call is gone after it; `why`: one line, no secrets */
};
struct net_call_options {
    const char *url;     /* http:// or https:// only; copied */
    struct str body;     /* sent by POST with Content-Type: application/json; must outlive the call */
    const char *bearer;  /* secret for Authorization; NULL: none. Never in a log line or in `why` */
    const char *ca_file; /* PEM file of trusted roots; NULL: the system's. Certificates are always verified */
    const char *const *headers; /* "Name: value"; copied */
    uint32_t n_headers;
    uint32_t connect_ms;
    struct net_call_events events;
    void *ctx;
};
struct net_call;
/* Starts it; HTTP/1.1, and HTTP/2 where TLS agrees on it. Connections are reused. No redirects, no proxies of the
 * environment, no decompression. Events never come within this call. RAG_EINVAL: the URL, or a control character in a header
 * or the bearer. RAG_EBUSY: the client is stopping. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code net_call_start(struct net_client *c, const struct net_call_options *opt,
                                       struct net_call **out, struct rag_err *err);
/* No event comes any more, the connection is closed (an HTTP/2 stream is reset); the call is gone. */
void net_call_cancel(struct net_call *call);
/* Reads no more from the connection until resumed: TCP holds the sender back. Few bytes may still come. */
void net_call_pause(struct net_call *call, bool paused);

#endif
