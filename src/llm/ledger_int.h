/* llm/ledger_int.h - shared by ledger*.c: what is in memory (ledger.c) and what is in the file (ledger_db.c). */
#ifndef RAGD_LLM_LEDGER_INT_H
#define RAGD_LLM_LEDGER_INT_H

#include <pthread.h>

#include "base/hash.h"
#include "llm/ledger.h"
#include "store/commit_queue.h"
#include "sys/zone.h"

enum call_state { CALL_OPEN, CALL_SETTLED, CALL_RECOVERED };

struct spending {
    nano_cny spent, open;
    enum budget_level told; /* the highest that was logged in this period */
};

struct ledger_statements { /* the queue's thread; finalized with its connection */
    sqlite3_stmt *reserve, *settle, *sum;
};

struct ledger {
    struct commit_queue *queue;
    struct zone *zone;
    struct ledger_options opt; /* dir and timezone are not kept */
    char path[4096];
    struct ledger_statements st;
    pthread_mutex_t report_mu; /* the queue's connection, when read-only */

    pthread_mutex_t mu; /* all below; nothing is waited for under it */
    int64_t last_ms;    /* time never goes back */
    int32_t day;
    int32_t month;      /* year * 12 + month */
    struct spending today, this_month;
    nano_cny open;      /* of all days */
    struct strset keys;
    struct spending *key_today; /* [keys.n] */
    uint32_t key_cap;
    int64_t next_id;
    uint64_t overruns, recovered;
    bool failing;                /* the last write failed */
    struct reservation *unwritten; /* settlements whose write failed, by `next` */
    struct counter *overrun_count;
};

struct reservation {
    struct commit_job job; /* first; of the reservation, then of its settlement */
    struct ledger *l;
    struct reservation *next;
    int64_t id, at_ms;
    int32_t day, month;
    uint32_t key_id;
    nano_cny amount;
    void (*done)(void *ctx, struct reservation *r, rag_code rc);
    void *ctx;
    struct settlement s;
    const char *service, *model, *key; /* in text */
    char text[];
};

/* ---- ledger_db.c ----------------------------------------------------------------------------------------- */
rag_code ledger_db_open(struct ledger *l, struct rag_err *err);
/* Books what a dead process left open; fills l->recovered and *sum. */
rag_code ledger_db_recover(struct ledger *l, nano_cny *sum, struct rag_err *err);
/* Calls `key` for each key's spending on l->day and sets this_month and next_id. */
rag_code ledger_db_load(struct ledger *l, rag_code (*key)(struct ledger *l, struct str name, nano_cny spent),
                        struct rag_err *err);
/* apply functions of commit jobs */
rag_code ledger_db_reserve(struct commit_job *j, sqlite3 *db);
rag_code ledger_db_settle(struct commit_job *j, sqlite3 *db);

static inline nano_cny money_add(nano_cny a, nano_cny b) /* both >= 0 */
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

#endif
