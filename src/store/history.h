/* store/history.h - the questions that were answered and what people thought of the answers: DATA/history.db.
 *
 * Questions are recorded behind the answer, many in one commit: a crash may lose the last second of them. Feedback is
 * acknowledged when it is durable; it may come right after its answer, the order is kept. */
#ifndef RAGD_STORE_HISTORY_H
#define RAGD_STORE_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"
#include "obs/metrics.h"

struct history;
struct history_options {
    const char *dir;        /* data folder */
    uint32_t keep_days;     /* older questions and their feedback are deleted, in the background; 0: never */
    struct metrics *metrics; /* NULL: none */
    int64_t (*now_ms)(void); /* NULL: clock_unix_ms; for tests */
    bool read_only;          /* for reports: add and feedback must not be called */
};
/* The codes of commit_queue_open. */
RAG_MUST_CHECK rag_code history_open(const struct history_options *opt, struct history **out, struct rag_err *err);
void history_close(struct history *h); /* everything handed over is written; NULL is fine */

/* One answered question; everything is copied. */
struct history_query {
    struct str id;                 /* "qry-..." of the answer */
    int64_t at_ms;
    struct str collection, user_id, key; /* key: the API key's name */
    struct str query, answer;
    struct str model;              /* "" : none */
    const char *source, *complexity, *degraded_reason /* NULL: not degraded */;
    bool found;
    float confidence;
    int64_t cost_nano;
    uint32_t total_ms;
    struct str chunks;             /* JSON list of the chunk ids shown */
};
/* Never waits. False: too many wait already (65,536 or 64 MiB), or no memory: not recorded, counted in
 * ragd_history_dropped_total. Any thread. */
bool history_add(struct history *h, const struct history_query *q);

enum feedback_type { FEEDBACK_UP, FEEDBACK_DOWN, FEEDBACK_CLICKED, FEEDBACK_SKIPPED, FEEDBACK_RATING };
const char *feedback_type_name(enum feedback_type t); /* "thumbs_up", "thumbs_down", "clicked", "skipped", "rating" */
struct history_feedback {
    struct str query_id;
    struct str key;              /* name of the key that gives it: must be the one that asked; ptr NULL: may be any */
    enum feedback_type type;
    const struct str *chunk_ids; /* each must have been shown with that answer */
    uint32_t n_chunk_ids;
    uint32_t rating;             /* 1..5; 0: none */
    struct str comment, user_id;
    int64_t at_ms;
};
/* Everything is copied; done comes on the history's thread: RAG_OK durable; RAG_ENOTFOUND with param "query_id" or
 * "chunk_ids"; RAG_EIO ... The return value alone: RAG_ENOMEM, done does not come. Each one given is kept: a second thumb
 * does not take back the first. Thumbs down and ratings up to 2 are logged with the question's text, without the
 * comment. Counts ragd_feedback_total{type}; ragd_satisfaction is up / (up + down) over what is kept, set at each
 * feedback and at the start, not there before the first thumb. Any thread. */
RAG_MUST_CHECK rag_code history_feedback(struct history *h, const struct history_feedback *f,
                                         void (*done)(void *ctx, rag_code rc, const struct rag_err *err), void *ctx);

struct history_totals {
    uint64_t queries, found, degraded;
    uint64_t by_source[4];  /* enum answer_source */
    uint64_t up, down, ratings; /* given in that time, to whichever question */
    double rating_mean;         /* 0 without ratings */
    int64_t cost_nano;
    uint32_t p50_ms, p95_ms, p99_ms; /* of total_ms; nearest rank */
};
/* Over [since, until), Unix ms; any thread (opens a connection of its own). */
RAG_MUST_CHECK rag_code history_totals(struct history *h, int64_t since_ms, int64_t until_ms, struct history_totals *out,
                                       struct rag_err *err);
/* The questions that were not answered (found false), the most asked first, then the latest, at most `limit`; the same
 * text (trimmed, case folded) is one, shown as it was asked last. False from `each`: enough. */
RAG_MUST_CHECK rag_code history_unanswered(struct history *h, int64_t since_ms, int64_t until_ms, uint32_t limit,
                                           bool (*each)(void *ctx, struct str query, uint64_t times), void *ctx,
                                           struct rag_err *err);

#endif
