/* llm/llm.h - one answer by a model, whatever fails: models in order, retries, clocks, breakers, budget.
 *
 * A call tries the models of its plan. An attempt that fails before its first token is repeated (retry rules, Retry-After,
 * while answer_ms allows, while the retry budget lasts) or left to the next model; a first-token timeout goes to the next
 * model at once. After the first token nothing is repeated. Every attempt is reserved in the ledger before it is sent and
 * settled when it ended. The state of all calls lives on the net thread; events come there. */
#ifndef RAGD_LLM_LLM_H
#define RAGD_LLM_LLM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "base/str.h"
#include "llm/breaker.h"
#include "llm/catalogue.h"
#include "llm/ledger.h"
#include "net/client.h"
#include "obs/metrics.h"
#include "wire/openai.h"

struct llm;
struct llm_options {
    struct net_client *net;
    struct ledger *ledger;
    struct llm_catalogue catalogue; /* at least one model */
    struct breaker_rules breaker;
    uint32_t connect_ms, first_token_ms, inter_token_ms, answer_ms;
    uint32_t attempts; /* of one model in one call, the first included */
    uint32_t retry_initial_ms, retry_max_ms;
    double retry_factor;
    double retry_budget; /* retries allowed as a share of calls (token bucket, 10 in hand at the start and at least one a
                            second); 0: none */
    uint32_t hedge_ms;   /* no first token after so long: the next model is asked as well, the first token wins; 0: off */
    uint32_t max_calls;  /* at work at once; more wait in order until their answer_ms is over */
    struct metrics *metrics; /* NULL: none */
};
RAG_MUST_CHECK rag_code llm_open(const struct llm_options *opt, struct llm **out, struct rag_err *err);
/* After the last call was released; then the ledger closes, then net stops. Waits for what is on its way. NULL is fine. */
void llm_close(struct llm *l);

/* Every call ends with LLM_CANCELED, those that start later, too. Any thread. */
void llm_stop(struct llm *l);

enum llm_end {
    LLM_ANSWERED, /* the stream ended as it should */
    LLM_CUT,      /* text came, then nothing more: broken, silent for inter_token_ms, or garbage */
    LLM_FAILED,   /* no text came */
    LLM_CANCELED
};
/* Why a model was chosen, or why none answered: shown in explain and as degraded_reason. */
enum llm_reason {
    LLM_OPTIMAL,         /* the first choice */
    LLM_BUDGET_WARNING,  /* cheapest models only */
    LLM_BUDGET_EXCEEDED, /* no money for a call */
    LLM_BREAKER,         /* a breaker stood before the first choice (or before all) */
    LLM_TIMEOUT,         /* the first choice (or all) gave no token in time */
    LLM_UPSTREAM,        /* the first choice (or all) failed: refused, 4xx, 5xx, garbage, cut */
    LLM_RATE_LIMITED,    /* the same by 429 */
    LLM_BUSY,            /* max_calls at work for all of answer_ms */
    LLM_INTERNAL         /* out of memory, ledger not writable */
};
const char *llm_reason_name(enum llm_reason r); /* "optimal", "budget_warning", "budget_exceeded", "breaker", "timeout",
                                                   "upstream_error", "rate_limited", "busy", "internal" */

struct llm_attempt {
    const struct llm_model *model;
    char outcome[24]; /* "ok", "cut", "timeout", "refused", "resolve", "connect_timeout", "tls", "garbage", "http_429",
                         "quota", "canceled" (a hedge that lost), "breaker" (not sent), ... */
    int64_t start_ns, took_ns; /* start: since the call began */
};
enum { LLM_MAX_ATTEMPTS = 16 };

struct llm_result {
    enum llm_end end;
    enum llm_reason reason;
    const struct llm_model *model; /* whose text came; NULL: none */
    bool fallback;                 /* not the plan's first model */
    struct chat_usage usage;       /* of that model; given is false when counted here */
    nano_cny cost;                 /* of all attempts */
    int64_t first_token_ns;        /* from the start of the call; 0: none came */
    int64_t took_ns;
    char finish[16];               /* "stop", "length", ... */
    struct llm_attempt attempts[LLM_MAX_ATTEMPTS];
    uint32_t n_attempts;           /* those after the 16th are not kept */
};
/* On the net thread. After end no event comes. */
struct llm_events {
    void (*text)(void *ctx, struct str piece); /* UTF-8, never empty; a character is never cut between pieces */
    void (*end)(void *ctx, const struct llm_result *r);
};
struct llm_request { /* everything but ctx is copied */
    enum model_class want;
    const struct chat_message *messages;
    uint32_t n_messages;
    uint32_t max_tokens;
    float temperature;
    const char *key; /* API key's name; "" */
    nano_cny key_daily;
    const char *request_id, *traceparent; /* sent on as X-Request-Id, traceparent; NULL or "": none */
    struct llm_events events;
    void *ctx;
};
struct llm_call;
/* Any thread. *out is set before the first event can come, which may be before this returns; on the net thread itself
 * events come later, never within this call. The caller owes one llm_release. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code llm_start(struct llm *l, const struct llm_request *rq, struct llm_call **out);
/* Ends it as soon as possible: end comes with LLM_CANCELED unless it came before. Any thread, any number of times. */
void llm_cancel(struct llm_call *c);
/* Backpressure: reads no more from the upstream; the inter-token clock stands still meanwhile. Any thread. */
void llm_pause(struct llm_call *c, bool paused);
/* Once, when end has come and nobody will cancel or pause it any more; also from within end. Any thread. */
void llm_release(struct llm_call *c);

struct llm_health {
    const struct llm_model *model;
    enum breaker_state state;
    uint32_t failures; /* in a row */
    uint64_t times_opened;
    int64_t retry_in_ms; /* open: until the next probe */
};
/* Any thread; out has room for catalogue.n. */
void llm_health(struct llm *l, struct llm_health *out);
uint32_t llm_at_work(struct llm *l); /* calls */
const struct llm_catalogue *llm_models(const struct llm *l);
struct ledger *llm_ledger(const struct llm *l);
struct net_client *llm_net(const struct llm *l);

#endif
