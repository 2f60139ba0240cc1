/* api/server.h - the HTTP server: routes, keys, limits, answers (docs: contract, section 2).
 *
 * Threads: one I/O thread per core owns its connections and, without an encoder and language models, answers queries to
 * completion; with either, questions run on threads of their own (answers by a model: api/answering.h) and lists of /v1/embeddings on another. A few workers parse and extract uploads;
 * changes wait on the knowledge's writer. A connection that waits is suspended, and resumed by
 * whoever finished its work. Offsets in every answer (start, end) are Unicode code points of the document's text. */
#ifndef RAGD_API_SERVER_H
#define RAGD_API_SERVER_H

#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "extract/extract.h"
#include "obs/metrics.h"
#include "pipeline/ask.h"
#include "store/history.h"

enum api_scope { SCOPE_QUERY = 1, SCOPE_INGEST = 2, SCOPE_ADMIN = 4 };

struct api_key {
    const char *name; /* for logs and metrics; never the secret */
    const char *secret;
    uint32_t scopes;                /* enum api_scope; ADMIN includes the others */
    const char *const *collections; /* names the key may use; n 0: all */
    uint32_t n_collections;
    double rate_per_s; /* token bucket of one second's worth (at least 1); 0: no limit */
    nano_cny daily;    /* its own budget of a day; 0: none */
};

/* Everything pointed to outlives the server. A 0 takes the default in brackets. */
struct api_options {
    const char *host; /* name or address to listen on; copied */
    uint16_t port;    /* 0: any free one, see api_port */
    const struct pipeline *pipeline;
    struct embedder *embedder; /* for statistics; NULL: none */
    const char *data;          /* the data folder, for labelled questions; NULL: none are kept */
    struct history *history;   /* keeps questions and feedback; NULL: off */
    const struct api_key *keys; /* none: open, and only on loopback */
    uint32_t n_keys;
    const char *const *cors_origins; /* "https://app.example"; "*": every origin */
    uint32_t n_cors_origins;
    const char *local_token;         /* of the data folder's LOCK: acts as admin; NULL: none */
    uint32_t max_concurrent_queries; /* [1000] over it: 503 with Retry-After */
    uint32_t max_generations;        /* [50] for the count of descriptors; the llm limits them */
    uint32_t max_connections;        /* [2 x queries + 1000] over it: 503 */
    uint32_t io_threads;             /* [one per core] */
    uint32_t workers;                /* [2] threads for uploads */
    uint32_t question_threads;       /* [one per core] for questions that run an encoder */
    uint64_t max_body_bytes;         /* [64 MiB] documents */
    uint64_t max_query_bytes;        /* [256 KiB] every other body */
    const char *self_exe; /* this program, for extraction in a child; NULL: only plain text is taken */
    const struct extract_limits
        *extract_limits; /* [extract_default_limits] of one document; never past max_body_bytes */
    const char *version; /* ["unknown"] for /v1/info */
    const char *profile; /* ["balanced"] */
    void (*config_json)(void *ctx,
                        struct buf *out); /* the effective configuration, one JSON value; NULL: {} */
    /* The profile of a question that sets `json`, an object of configuration keys, for itself. RAG_EINVAL names the key.
     * NULL: `overrides` are refused. Any thread. */
    rag_code (*override)(void *ctx, struct str json, struct profile *out, struct rag_err *err);
    void *config_ctx; /* of both */
    struct metrics *metrics; /* NULL: one of its own */
};

struct api;

/* Listens and serves. RAG_EINVAL: not loopback without keys, bad host. RAG_ECONFLICT: the address is taken.
 * RAG_EREADONLY: no right to this port. RAG_ENOMEM, RAG_EIO. May raise the soft limit of open descriptors. */
RAG_MUST_CHECK rag_code api_start(const struct api_options *opt, struct api **out, struct rag_err *err);
uint16_t api_port(const struct api *api);
/* Stops accepting, turns /health/ready to 503, lets requests in flight finish for up to drain_ms, then ends the
 * rest (changes that the writer already has are always waited for), stops the threads and frees. NULL is fine.
 * Call before the knowledge is closed. */
void api_stop(struct api *api, uint32_t drain_ms);

#endif
