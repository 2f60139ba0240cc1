/* llm/ledger.h - what was spent, what may still be spent: DATA/ledger.db.
 *
 * Reserve before the call, settle after. A reservation is an upper bound of the call's cost, durable before the call is
 * made; reservations that wait together share one commit. Whatever fails here means no call (fail closed). A reservation
 * whose process died is booked at its full amount at the next start, marked so. A reservation belongs to the day on which it
 * was made, in the configured time zone; its settlement does, too. All functions: any thread. */
#ifndef RAGD_LLM_LEDGER_H
#define RAGD_LLM_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "llm/catalogue.h"
#include "obs/metrics.h"

struct ledger;
struct ledger_options {
    const char *dir;          /* data folder */
    nano_cny daily, monthly;  /* 0: no limit */
    double warn, stop;        /* shares of a limit, 0 < warn <= stop <= 1 */
    const char *timezone;     /* IANA name, or "+08:00" */
    bool read_only;           /* for reports */
    struct metrics *metrics;  /* NULL: none. production_rag_cost_cny_total{service}, budget gauges, overruns */
    int64_t (*now_ms)(void);  /* NULL: clock_unix_ms; for tests */
};
/* RAG_EINVAL, RAG_EFORMAT: the time zone. Those of commit_queue_open. */
RAG_MUST_CHECK rag_code ledger_open(const struct ledger_options *opt, struct ledger **out, struct rag_err *err);
/* Everything settled is durable. Nothing is reserved or on its way any more, else it is booked at the next start in full.
 * NULL is fine. */
void ledger_close(struct ledger *l);

/* The highest of daily, monthly and the key's own daily budget. Spent counts open reservations at their full amount.
 * OK below warn, WARN from there on (cheapest models), STOP from `stop` on (no calls). */
enum budget_level { BUDGET_OK, BUDGET_WARN, BUDGET_STOP };
enum budget_level ledger_level(struct ledger *l, const char *key, nano_cny key_daily);

#define LEDGER_MAX_AMOUNT (INT64_MAX / 4)
struct reservation; /* the ledger's memory, from reserve to settle */
struct reserve_options {
    const char *service; /* "llm", "embedding", "reranking"; copied, like the next two */
    const char *model;
    const char *key;     /* name of the API key; "" without keys */
    nano_cny key_daily;  /* the key's own daily budget; 0: none */
    nano_cny amount;     /* 0 .. LEDGER_MAX_AMOUNT */
    /* On the ledger's thread, once: durable (RAG_OK), or it cannot be written (then it is released already and *r is
     * gone). Must not block. */
    void (*done)(void *ctx, struct reservation *r, rag_code rc);
    void *ctx;
};
/* RAG_OK: done will come. RAG_EFORBIDDEN: at or over `stop`, or the amount does not fit below the whole limit; done does
 * not come. RAG_ENOMEM. Never waits for the disk. */
RAG_MUST_CHECK rag_code ledger_reserve(struct ledger *l, const struct reserve_options *opt, struct reservation **out);

struct settlement {
    nano_cny cost; /* may exceed the reservation: booked, logged, counted */
    uint32_t prompt, cached, completion; /* tokens */
    bool counted_here;   /* the upstream sent no usage: tokens are ours */
    const char *outcome; /* a literal: "ok", "cut", "timeout", "canceled", "failed", ... */
};
/* Books it; cost 0 releases. After done said RAG_OK (also within it), once. Never fails, never waits; durable soon
 * after; a write that fails is tried again with the next one that succeeds. r is gone. */
void ledger_settle(struct ledger *l, struct reservation *r, const struct settlement *s);

struct ledger_totals {
    nano_cny day_spent, day_open, day_limit;       /* spent: settled; open: reserved */
    nano_cny month_spent, month_open, month_limit;
    uint64_t overruns;                             /* settlements above their reservation, since the start */
    uint64_t recovered;                            /* reservations of a dead process booked at the start */
};
void ledger_totals(struct ledger *l, struct ledger_totals *out);

/* What was spent between two times (Unix ms, until exclusive) by day, service, model and key, in this order; open
 * reservations are left out. RAG_ECANCELED when `each` returns false. */
struct ledger_row {
    const char *day; /* "2026-11-24" in the time zone */
    const char *service, *model, *key;
    uint64_t calls, prompt, cached, completion;
    nano_cny cost;
};
RAG_MUST_CHECK rag_code ledger_report(struct ledger *l, int64_t since_ms, int64_t until_ms,
                                      bool (*each)(void *ctx, const struct ledger_row *row), void *ctx, struct rag_err *err);

#endif
