/* sim.h - the parts of llmsim; main.c describes what it does. One thread, so nothing here takes a lock. */
#ifndef LLMSIM_SIM_H
#define LLMSIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)
enum { MAX_BODY = 4 << 20, MAX_HEAD = 32 << 10, MAX_MODELS = 64, MAX_FAILS = 8, KEPT_BODIES = 100 };

int64_t now_ns(void); /* monotonic */

/* ---- util.c: memory (ends the process when there is none) and bytes that grow ------------------------------ */
struct buf {
    char *p;
    size_t len, cap;
};
void *mem_get(size_t n); /* zeroed */
void buf_reserve(struct buf *b, size_t more);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_str(struct buf *b, const char *s);
void buf_fmt(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_json(struct buf *b, const char *p, size_t n);   /* a quoted JSON string */
void buf_escape(struct buf *b, const char *p, size_t n); /* the same without its quotes */
void buf_drop(struct buf *b, size_t n);                  /* the first n bytes */
void buf_free(struct buf *b);
uint64_t random_next(uint64_t *state); /* splitmix64 */
double random_share(uint64_t *state);  /* [0, 1) */

/* ---- json.c: values are spans of a text that was checked as a whole ----------------------------------------- */
struct json {
    const char *p, *end; /* p is NULL: absent */
};
bool json_parse(const char *p, size_t n, struct json *out); /* false: not RFC 8259, or deeper than 64 */
struct json json_get(struct json object, const char *key);
/* Walks an array or object: start with *at = NULL; false at the end. key may be NULL. */
bool json_each(struct json v, const char **at, struct json *key, struct json *value);
bool json_text(struct json v, struct buf *out); /* appends a string's bytes as UTF-8; false: no string */
long json_long(struct json v, long otherwise);
bool json_true(struct json v);

/* ---- spec.c: how a model behaves ------------------------------------------------------------------------------ */
#define FAULTS(X)                                                                                                     \
    X(NONE, "none")                                                                                                   \
    X(HTTP_500, "http_500")                                                                                           \
    X(HTTP_503, "http_503")                                                                                           \
    X(HTTP_429, "http_429")                                                                                           \
    X(HTTP_429_AFTER, "http_429_after")                                                                               \
    X(HTTP_400, "http_400")                                                                                           \
    X(HTTP_401, "http_401")                                                                                           \
    X(HTTP_402, "http_402")                                                                                           \
    X(QUOTA, "quota")                                                                                                 \
    X(CONTEXT, "context")                                                                                             \
    X(REFUSE, "refuse")                                                                                               \
    X(NO_HEADERS, "no_headers")                                                                                       \
    X(STALL, "stall")                                                                                                 \
    X(CUT, "cut")                                                                                                     \
    X(GARBAGE, "garbage")                                                                                             \
    X(BAD_JSON, "bad_json")                                                                                           \
    X(HTML, "html")                                                                                                   \
    X(DRIP, "drip")                                                                                                   \
    X(ERROR_IN_STREAM, "error_in_stream")                                                                             \
    X(NO_DONE, "no_done")                                                                                             \
    X(EMPTY, "empty")                                                                                                 \
    X(COMMENTS_ONLY, "comments_only")                                                                                 \
    X(SLOW_HEADERS, "slow_headers")                                                                                   \
    X(HUGE_EVENT, "huge")
#define X(id, name) FAULT_##id,
enum fault { FAULTS(X) N_FAULTS };
#undef X
extern const char *const fault_names[N_FAULTS];

enum usage { USAGE_FULL, USAGE_NONE, USAGE_WRONG, USAGE_CACHED, USAGE_CACHED_DEEPSEEK };
enum after_as { AFTER_BOTH, AFTER_SECONDS, AFTER_MS, AFTER_DATE };
enum cite { CITE_NONE, CITE_GOOD, CITE_BAD };

struct token { /* a piece of the answer, escaped for JSON */
    uint32_t at, len;
};
struct spec { /* shared by the model and the calls that began with it */
    uint32_t refs;
    double ttft_ms, tps, jitter_ms, fail_ms, drip_ms, ping_ms, after;
    uint32_t tokens, over, at, cached_pct;
    bool english, reset; /* reset: a cut is an RST */
    enum cite cite;
    enum usage usage;
    enum after_as after_as;
    uint64_t random;
    char file[256];
    struct {
        enum fault kind;
        double share;
    } fails[MAX_FAILS];
    uint32_t n_fails;
    struct buf text;       /* escaped */
    struct token *answer;  /* [tokens] */
};
/* NULL: `why` says what is wrong with the text. */
struct spec *spec_parse(const char *text, char why[200]);
void spec_unref(struct spec *s);
enum fault spec_draw(struct spec *s);
/* answer.c: fills text, answer and, for a file, tokens. False: the file cannot be read. */
bool answer_make(struct spec *s, bool all_of_file);
uint32_t count_tokens(const char *p, size_t n);

/* ---- stats.c ---------------------------------------------------------------------------------------------------- */
struct counters {
    uint64_t requests, faults[N_FAULTS], completed, client_closed, tokens_sent;
    uint64_t billed_prompt, billed_cached, billed_completion, calls_billed;
    uint64_t open, most_open;
    int64_t worst_late_ns, close_ns_last, close_ns_worst;
};
struct model {
    char name[128];
    struct spec *spec;
    struct counters n;
};
struct sim {
    int epoll, listener;
    struct model models[MAX_MODELS]; /* 0: "default" */
    uint32_t n_models;
    struct counters total;
    uint64_t connections, connections_open, last_id;
    bool keep_bodies;
    struct buf bodies[KEPT_BODIES];
    uint64_t n_bodies;
    bool last_authorized;
    char last_request_id[160], last_traceparent[160];
    struct conn **heap; /* by due_ns; [1 .. n_heap] */
    uint32_t n_heap, heap_cap;
    struct conn *dead; /* freed when the events of this round are over */
};
struct model *sim_model(struct sim *s, const char *name); /* default when unknown */
bool sim_set(struct sim *s, const char *name, const char *text, char why[200]);
void sim_reset(struct sim *s);
void sim_stats(struct sim *s, struct buf *out);
void sim_bodies(struct sim *s, struct buf *out);
void sim_keep_body(struct sim *s, const char *p, size_t n);

/* ---- http.c: connections ---------------------------------------------------------------------------------------- */
struct call { /* one chat completion at work */
    bool open, stream, include_usage, began, cut_short; /* began: headers were sent; cut_short: max_tokens ended it */
    struct model *model;
    struct spec *spec;
    enum fault fault;
    uint64_t id;
    long max_tokens;
    uint32_t n, next, sent, prompt; /* next: place in the answer; sent: what the client was given of it */
    int64_t created, start_ns, last_ns, due_ns, held_ns; /* last: of the last token; due: of the next; held: until then
                                                            the client did not read */
    struct buf prefix, drip;
    size_t dripped;
};
struct conn {
    struct sim *sim;
    int fd;
    uint32_t events;
    struct buf in, out;
    size_t out_at, head_len, body_len; /* head_len 0: no head read yet */
    bool keep_alive, closing, lingering, blocked, broken, dead, continued;
    int64_t due_ns;
    uint32_t heap_at;
    struct conn *next_dead;
    struct call call;
};
struct request {
    char method[8], path[64];
    const char *body;
    size_t body_len;
    bool authorized;
    char request_id[160], traceparent[160];
};
void conn_accept(struct sim *s);
void conn_event(struct conn *c, uint32_t events);
void conn_send(struct conn *c, const struct iovec *v, int n); /* what the socket does not take waits in `out` */
void conn_send_buf(struct conn *c, struct buf *b);            /* and frees it */
void conn_reply(struct conn *c, int status, const char *type, const char *headers, struct buf *body); /* frees body */
void conn_close(struct conn *c, bool reset); /* at once by RST, or by FIN when `out` is sent */
void conn_timer(struct conn *c, int64_t due_ns);
void conn_timer_stop(struct conn *c);
void conn_timers(struct sim *s, int64_t now);
void conn_bury(struct sim *s); /* frees the dead */

/* ---- chat.c: calls; stream.c: what they send ---------------------------------------------------------------------- */
void chat_open(struct conn *c, const struct request *rq);
void chat_step(struct conn *c);
void chat_end(struct conn *c, bool whole);
void chat_client_closed(struct conn *c);
void chat_error(struct conn *c, int status, const char *type, const char *code, const char *message,
                const char *headers);
void stream_step(struct conn *c);
void whole_step(struct conn *c);
/* Appends a usage object; what it says is billed when the call ends whole. */
struct usage_said {
    uint64_t prompt, cached, completion;
};
struct usage_said usage_of(const struct call *k);
void usage_write(struct buf *b, const struct call *k);
int64_t call_due(struct call *k, uint32_t i); /* of piece i; draws its jitter */

#endif
