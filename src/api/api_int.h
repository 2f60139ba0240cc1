/* api/api_int.h - what the files of api/ share: the server's state, a request, how a route answers.
 *
 * A request belongs to one thread at a time: the I/O thread of its connection, or, between request_suspend and
 * request_resume, the worker or writer that has it. */
#ifndef RAGD_API_INT_H
#define RAGD_API_INT_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "api/server.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/str.h"

enum { HTTP_GET = 1, HTTP_POST = 2, HTTP_PUT = 4, HTTP_DELETE = 8, HTTP_OPTIONS = 16 };
enum { PATH_MAX_SEGMENTS = 8, N_ROUTES = 29, N_STATUSES = 24 };

struct request;
struct answering;
struct api_route {
    const char *pattern;             /* "/v1/collections/{c}": a segment in braces takes any value */
    unsigned method;                 /* one of HTTP_*; HEAD comes as GET */
    uint32_t scopes;                 /* any of these admits; 0: no key needed */
    bool documents;                  /* body up to max_body_bytes, else max_query_bytes */
    void (*run)(struct request *rq); /* the whole request is there: replies, or suspends */
};
extern const struct api_route api_routes[N_ROUTES];

struct key_state {
    uint8_t digest[32]; /* SHA-256 of the secret */
    pthread_mutex_t mu; /* guards the bucket */
    double tokens;
    int64_t filled_ns;
};

struct api_metrics {
    struct counter *queries[4][4];            /* [enum query_status][enum complexity], cache_hit none */
    struct histogram *latency[STAGES + 2][4]; /* [stage, or LATENCY_TOTAL, LATENCY_ADMISSION][complexity] */
    struct gauge *concurrent;
    struct counter
        *_Atomic http[N_ROUTES + 1][N_STATUSES]; /* route, last: none matched; made when first used */
    struct gauge *connections;
};
enum query_status { QUERY_OK, QUERY_DEGRADED, QUERY_REJECTED, QUERY_ERROR };
enum { LATENCY_TOTAL = STAGES, LATENCY_ADMISSION = STAGES + 1 };

enum { CONSOLE_FILES = 10, ETAG_CHARS = 35 };
enum { UPLOADS_WAITING = 64, EMBEDDINGS_WAITING = 64, MAX_WORKERS = 64, WORK_MOST = 16, POOLED_REQUESTS = 128 };

/* Requests that wait for a thread of their own kind, and those threads. */
struct work_queue {
    pthread_mutex_t mu; /* guards items, at, n, stop */
    pthread_cond_t cv;
    struct request **items; /* ring */
    uint32_t capacity, at, n;
    uint32_t most; /* taken at once */
    bool stop;
    void (*run)(struct request *const *rqs, uint32_t n);
    pthread_t threads[MAX_WORKERS];
    uint32_t n_threads;
};

struct api {
    struct api_options opt;
    struct MHD_Daemon *daemon;
    struct metrics *metrics, *own_metrics;
    struct api_metrics m;
    struct key_state *keys;
    uint8_t local_digest[32];
    char host[256]; /* what opt.host points to */
    uint16_t port;
    int64_t started_ns, started_ms;
    char id_prefix[17]; /* random hex of this start */
    atomic_uint_fast64_t next_id;
    atomic_int n_connections;
    int hard_connections; /* more are closed unanswered */
    atomic_bool draining, was_ready;
    _Atomic int64_t last_body_ns; /* when a piece of some body came */
    char console_etags[CONSOLE_FILES][2][ETAG_CHARS], openapi_etag[ETAG_CHARS]; /* etag_make; console: as it is, gzip */
    struct buf console_gzip[CONSOLE_FILES];                                    /* empty: only as it is */

    pthread_mutex_t mu;     /* guards all below; taken last */
    pthread_cond_t idle_cv; /* n_requests or n_suspended fell to 0 */
    int n_requests, n_suspended;
    int n_receiving; /* of n_requests: the body is not all there */
    int n_answerings; /* models at work (answering.h) */
    bool abandon;    /* no request may be suspended any more */
    struct request *pool;
    uint32_t n_pooled;

    struct work_queue uploads;
    struct work_queue questions;  /* with an encoder, which makes them heavy, or a model that answers */
    struct work_queue embeddings; /* with an encoder */
    atomic_bool abandoned; /* the same as abandon, for the encoder */
};

struct request {
    struct api *api;
    struct MHD_Connection *conn;
    struct request *next; /* in the pool */
    struct arena arena;
    struct buf body, out;
    const struct api_route *route; /* NULL: none matched */
    unsigned method;
    bool head;
    struct str path[PATH_MAX_SEGMENTS]; /* decoded segments */
    uint32_t n_path;
    uint64_t limit, discarded;  /* of the body */
    uint64_t announced;         /* Content-Length; 0 when not given */
    bool receiving, impatient;  /* counted in n_receiving; has the short timeout */
    int64_t start_ns, ready_ns; /* headers there; body there */

    const struct api_key *key; /* NULL: open server or local token */
    uint32_t scopes;
    char id[129];         /* X-Request-Id */
    char traceparent[56]; /* "" when none */
    const char *origin;   /* allowed Origin for CORS, else NULL */
    bool limited;
    uint32_t rate_limit, rate_remaining, rate_reset_s;

    unsigned status; /* 0: no reply yet */
    const char *content_type, *allow, *csp;
    const char *content_encoding; /* "": as it is, where others get another; NULL: the same for all */
    const char *etag; /* may be kept by the client and asked about; NULL: never stored */
    unsigned retry_after_s;
    bool close;                         /* the connection ends after this answer */
    bool suspended;                     /* written by the I/O thread only */
    void (*work)(struct request *rq);   /* what an upload thread runs: it ends in request_resume, or passes rq on */
    void (*finish)(struct request *rq); /* what runs on the I/O thread after the resume */
    struct answering *stream;           /* the body comes from it, not from out */
    void *state;                        /* the route's own, in the arena */
    void (*clear)(
        struct request *rq); /* frees what state holds outside the arena; also when the client is gone */
};

/* ---- replies (reply.c): set status and body once ---------------------------------------------------------- */
void reply_json(struct request *rq, unsigned status); /* rq->out holds the JSON */
/* 200 {name, deleted}: what the third part of the path names is gone. */
void reply_deleted(struct request *rq);
/* Replaces rq->out by the error object. param and code may be NULL. */
void reply_error(struct request *rq, unsigned status, const char *code, const char *param,
                 const char *message);
/* By the code's own status; one of 500 and up is logged and counted as an error of `component`. */
void reply_rc(struct request *rq, rag_code rc, const struct rag_err *err, const char *component);
unsigned status_of(rag_code rc);
/* The error object's fields into `out`, for a reply or one result of a batch. */
void error_json(struct buf *out, const char *request_id, unsigned status, const char *code, const char *param,
                const char *message);
/* What is linked in: 304 when the client has it still. type and etag outlive the request. */
void reply_embedded(struct request *rq, struct str bytes, const char *type, const char *etag);
void etag_make(struct str bytes, char out[ETAG_CHARS]); /* "32 hex digits of the SHA-256" with the quotes */
enum MHD_Result reply_send(struct request *rq);

/* ---- requests (request.c) --------------------------------------------------------------------------------- */
struct request *request_new(struct api *api, struct MHD_Connection *conn);
void request_done(struct request *rq);     /* back to the pool */
void request_received(struct request *rq); /* the body is all there, or never will be */
void request_begin(struct request *rq, const char *url,
                   const char *method);                           /* route, guard, key; may reply */
const char *request_header(struct request *rq, const char *name); /* NULL when absent */
/* Decoded query arguments by name (out[i].ptr NULL: absent). False: replied 400 (unknown name, bad encoding). */
bool request_args(struct request *rq, const char *const *names, struct str *out, uint32_t n);
bool percent_decode(struct arena *a, struct str raw,
                    struct str *out); /* false: bad escape, NUL or not UTF-8 */
/* Content-Type is `type`, or absent where that is allowed. False: replied 415. */
bool request_is_json(struct request *rq);
/* Hands the connection's time to another thread. False: the server is stopping, replied 503. */
bool request_suspend(struct request *rq);
void request_resume(struct request *rq, void (*finish)(struct request *rq)); /* gives rq back; any thread */

/* ---- keys (auth.c) ---------------------------------------------------------------------------------------- */
rag_code auth_init(struct api *api);
void auth_clear(struct api *api);
bool auth_host_ok(struct request *rq); /* false: replied 403 */
bool auth_check(struct request *rq);   /* key, scope, rate; false: replied 401, 403, 429 */
bool auth_collection(struct request *rq, struct str name); /* false: replied 403 */
bool auth_may_see(const struct request *rq, struct str name);
bool auth_is_loopback(struct str host);

/* ---- workers (work.c) ------------------------------------------------------------------------------------- */
/* run gets at most `most` requests that waited; each must end in request_resume or be passed on. */
rag_code work_start(struct work_queue *q, uint32_t n_threads, uint32_t capacity, uint32_t most,
                    void (*run)(struct request *const *rqs, uint32_t n));
void work_stop(struct work_queue *q); /* a zeroed one is fine */
/* Suspends rq and hands it to the queue. False: replied 503, or will when it resumes. */
bool work_submit(struct work_queue *q, struct request *rq);
void upload_work(struct request *const *rqs, uint32_t n);
void query_work(struct request *const *rqs, uint32_t n);
void embeddings_work(struct request *const *rqs, uint32_t n);

/* ---- metrics (api_metrics.c) ------------------------------------------------------------------------------ */
void api_metrics_init(struct api *api);
void api_metrics_clear(struct api *api);
void api_count_http(struct request *rq, unsigned status);
void api_count_error(struct api *api, const char *type, const char *component);

/* ---- routes ----------------------------------------------------------------------------------------------- */
void route_query(struct request *rq);
void route_search(struct request *rq);
void route_feedback(struct request *rq);
void route_embeddings(struct request *rq);
void route_collections(struct request *rq);
void route_collection_get(struct request *rq);
void route_collection_put(struct request *rq);
void route_collection_delete(struct request *rq);
void route_documents_post(struct request *rq);
void route_documents_list(struct request *rq);
void route_documents_delete(struct request *rq);
void route_document_get(struct request *rq);
void route_document_delete(struct request *rq);
void route_versions(struct request *rq);
void route_labelled(struct request *rq);
void route_labelled_put(struct request *rq);
void route_health(struct request *rq);
void route_live(struct request *rq);
void route_ready(struct request *rq);
void route_startup(struct request *rq);
void route_metrics(struct request *rq);
void route_info(struct request *rq);
void route_stats(struct request *rq);
void route_config(struct request *rq);
void route_openapi(struct request *rq);
void route_page(struct request *rq);
void route_console_file(struct request *rq);
void console_init(struct api *api); /* before the first request */
void console_clear(struct api *api);
void openapi_init(struct api *api); /* likewise */

#endif
