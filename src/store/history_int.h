/* store/history_int.h - shared by history*.c. */
#ifndef RAGD_STORE_HISTORY_INT_H
#define RAGD_STORE_HISTORY_INT_H

#include <pthread.h>
#include <stdio.h>

#include "base/mem.h"
#include "store/commit_queue.h"
#include "store/history.h"

enum { FEEDBACK_TYPES = FEEDBACK_RATING + 1 };
enum history_sql { SQL_ADD, SQL_FIND, SQL_FEEDBACK, SQL_PURGE_FEEDBACK, SQL_PURGE, HISTORY_SQLS };

struct history_record;
struct history_purge {
    struct commit_job job;
    struct history *h;
    int64_t at_ms;      /* when it ran: what grows old later is the next one's */
    int deleted;        /* questions of this slice */
    int64_t up, down;   /* thumbs of this slice */
};
struct history {
    char dir[4096];
    int64_t (*now_ms)(void);
    int64_t keep_ms;
    struct commit_queue *queue; /* NULL: read-only */
    struct metrics *own_metrics;
    struct counter *dropped, *feedback[FEEDBACK_TYPES];
    struct metrics *metrics;

    pthread_mutex_t mu;         /* guards down to closing; before the queue's own lock */
    struct history_record *head, **tail; /* not taken yet; head's job waits in the queue */
    uint32_t n_waiting;         /* until they are written */
    size_t bytes_waiting;
    bool closing;

    /* the queue's thread only */
    sqlite3_stmt *sql[HISTORY_SQLS];
    struct gauge *satisfaction; /* made at the first thumb */
    int64_t up, down;
    struct history_purge purge;
    bool purging;
    int64_t purge_due_ms;
    bool failing;               /* the last batch of questions could not be written */
};

void history_commit_options(const struct history *h, char path[4200], struct commit_options *out);
/* After the statement is bound: runs it to its end, resets it. */
rag_code history_run(sqlite3_stmt *st);
void history_show_satisfaction(struct history *h);
void history_purge_if_due(struct history *h);

static inline void history_bind(sqlite3_stmt *st, int i, struct str s)
{
    sqlite3_bind_text64(st, i, s.ptr ? s.ptr : "", s.len, SQLITE_STATIC, SQLITE_UTF8);
}

#endif
