/* llm/llm_int.h - what llm.c (the calls as a whole) and attempt.c (one request to one model) share. All of it but what a
 * comment names otherwise belongs to the net thread. */
#ifndef RAGD_LLM_LLM_INT_H
#define RAGD_LLM_LLM_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "llm/llm.h"
#include "wire/sse_read.h"

struct model_state {
    const struct llm_model *model;
    struct breaker breaker;
    struct histogram *first_token; /* these are NULL without metrics */
    struct gauge *breaker_gauge;
};

struct llm {
    struct llm_options opt;
    struct model_state models[LLM_MAX_MODELS];
    struct llm_call *calls; /* all that have begun and not ended */
    struct llm_call *first_waiting, *last_waiting;
    uint32_t n_working;
    bool stopped, starting;
    double retry_tokens;
    int64_t refilled_ns;
    struct arena arena; /* of the chunk being read */
    struct net_task stop_task;
    atomic_bool stop_posted;
    atomic_uint at_work;
    struct counter *retries, *hedges;
    struct gauge *calls_gauge;

    pthread_mutex_t mu; /* guards what follows */
    pthread_cond_t idle_cv;
    struct llm_health health[LLM_MAX_MODELS];
    int64_t opened_ns[LLM_MAX_MODELS];
    uint32_t n_open; /* calls, and attempts whose reservation is on its way: llm_close waits for them */
};

enum { MAX_AT_ONCE = 2 };
enum attempt_state { ATTEMPT_RESERVING, ATTEMPT_SENT, ATTEMPT_STREAMING };

/* One request to one model. */
struct attempt {
    struct llm *llm;
    struct llm_call *call; /* NULL: given up while its reservation was on its way */
    uint32_t plan;         /* place in the call's order */
    struct model_state *m;
    enum attempt_state state;
    struct breaker_ticket ticket;
    struct reservation *reservation;
    rag_code reserved;     /* written by the ledger's thread before it posts */
    struct net_task reserve_task;
    struct net_call *net;  /* NULL: not sent, or over */
    struct net_timer timer; /* first token, then between tokens */
    int64_t paused_ns, patient_until_ns; /* when the last pauses began; no silence counts before this */
    int64_t start_ns;
    uint32_t record;       /* place in result.attempts; LLM_MAX_ATTEMPTS: none */
    struct buf body;       /* the request */
    struct sse_reader sse;
    struct buf error;      /* the body of an error, or of an answer that is no stream */
    long status;
    bool is_stream, has_content, finished;
    bool was_sent;         /* the upstream may have begun to work */
    bool is_reported;      /* the breaker knows */
    int64_t retry_after_ms;
    uint64_t bytes_without_content, text_bytes;
    bool too_long;
    uint32_t cjk;          /* of the text that came: what llm_count_tokens counts */
    uint64_t other_bytes;
    struct chat_usage usage;
    char finish[16];
    const char *broken;    /* what the stream turned out to be, found while it is read; NULL: fine */
};

struct llm_call {
    struct llm *llm;
    atomic_int refs;
    struct net_task start_task, cancel_task, pause_task;
    atomic_bool cancel_posted, pause_posted, pause_wanted;

    enum model_class want; /* the request; messages point into text */
    struct chat_message messages[8];
    uint32_t n_messages, max_tokens, prompt_tokens;
    uint64_t prompt_bytes;
    float temperature;
    char *text;
    char key[129], request_id[129], traceparent[56];
    nano_cny key_daily;
    struct llm_events events;
    void *ctx;

    struct llm_call *next, *before;   /* in llm.calls */
    struct llm_call *next_waiting;
    bool begun, waiting, working, ended, paused, warned;
    int64_t begin_ns, deadline_ns;    /* of the first token */
    uint32_t order[LLM_MAX_MODELS], n_order, next_plan;
    uint32_t tries[LLM_MAX_MODELS];   /* by place in the plan */
    struct attempt *at_once[MAX_AT_ONCE];
    struct attempt *winner;
    struct net_timer answer_timer, retry_timer, hedge_timer;
    uint32_t retry_plan;
    bool retry_waiting;
    enum llm_reason first_reason, last_reason; /* why the first choice, the last one tried, failed */
    bool failed_first, failed_any;
    struct llm_result result;
};

/* How an attempt ended, for the call and for the breaker. */
enum fate {
    FATE_OK,
    FATE_CUT,      /* after the first token */
    FATE_RETRY,    /* failed; the same model may do better soon */
    FATE_NEXT,     /* failed; another model */
    FATE_REFUSED,  /* the request is at fault (4xx), not the model: another one may take it */
    FATE_LATE,     /* the call's own time was over; the model had long enough */
    FATE_CANCELED
};

/* attempt.c */
/* Breaker, reservation, request. False: not possible now (recorded, the reason noted). */
bool attempt_start(struct llm_call *c, uint32_t plan);
/* Settles, reports to the breaker, frees. The call is told by call_attempt_over unless it ends by itself (FATE_LATE,
 * FATE_CANCELED). */
void attempt_over(struct attempt *a, const char *outcome, enum fate fate, enum llm_reason reason);
void attempt_pause(struct attempt *a, bool paused);

/* llm.c */
void call_first_token(struct llm_call *c, struct attempt *a);
void call_attempt_over(struct llm_call *c, uint32_t plan, enum fate fate, enum llm_reason reason, int64_t retry_after_ms);
void call_note(struct llm_call *c, uint32_t plan, enum llm_reason reason);
uint32_t call_record(struct llm_call *c, const struct llm_model *m, int64_t start_ns);
void call_record_end(struct llm_call *c, uint32_t record, const char *outcome, int64_t now_ns);
void llm_publish_breaker(struct llm *l, struct model_state *m); /* after each change */
void llm_count_open(struct llm *l, int n);

#endif
