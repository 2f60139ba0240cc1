/* The ledger's file. `calls` has a row for each attempt, written when it is reserved and again when it is settled. `sums`
 * is the same money by day, service, model and key, kept in the same transactions, so that neither the start nor a report
 * reads every call: sums = calls that are not open, grouped. A month is the first seven characters of a day. */
#include <stdio.h>

#include "llm/ledger_int.h"

enum { LEDGER_APPLICATION_ID = 0x5241474c, LEDGER_VERSION = 1 }; /* "RAGL" */

/* STRICT and the CHECKs are also what quick_check holds a damaged file against. */
static const char schema[] =
    "CREATE TABLE calls("
    " id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, day TEXT NOT NULL CHECK(length(day) = 10),"
    " key TEXT NOT NULL, service TEXT NOT NULL, model TEXT NOT NULL,"
    " reserved INTEGER NOT NULL CHECK(reserved >= 0), cost INTEGER NOT NULL DEFAULT 0 CHECK(cost >= 0),"
    " prompt INTEGER NOT NULL DEFAULT 0, cached INTEGER NOT NULL DEFAULT 0, completion INTEGER NOT NULL DEFAULT 0,"
    " state INTEGER NOT NULL DEFAULT 0 CHECK(state BETWEEN 0 AND 2)," /* enum call_state */
    " counted_here INTEGER NOT NULL DEFAULT 0, outcome TEXT NOT NULL DEFAULT '') STRICT;"
    "CREATE INDEX calls_open ON calls(id) WHERE state = 0;"
    "CREATE INDEX calls_day ON calls(day, at_ms);"
    "CREATE TABLE sums("
    " day TEXT NOT NULL, service TEXT NOT NULL, model TEXT NOT NULL, key TEXT NOT NULL,"
    " calls INTEGER NOT NULL CHECK(calls >= 0), cost INTEGER NOT NULL CHECK(cost >= 0),"
    " prompt INTEGER NOT NULL, cached INTEGER NOT NULL, completion INTEGER NOT NULL,"
    " PRIMARY KEY(day, service, model, key)) STRICT, WITHOUT ROWID;";

#define ADD_TO_SUMS                                                                                          \
    " ON CONFLICT(day, service, model, key) DO UPDATE SET calls = calls + excluded.calls,"                   \
    " cost = cost + excluded.cost, prompt = prompt + excluded.prompt, cached = cached + excluded.cached,"    \
    " completion = completion + excluded.completion"

static rag_code sql_fail(struct ledger *l, sqlite3 *db, const char *what, struct rag_err *err)
{
    rag_code rc = commit_queue_code(db);
    if (sqlite3_errcode(db) == SQLITE_ERROR || sqlite3_errcode(db) == SQLITE_CONSTRAINT)
        rc = RAG_ECORRUPT; /* a table or column that should be there, a sum out of range */
    return rag_err_set(err, rc, "ledger %s: cannot %s: %s", l->path, what, sqlite3_errmsg(db));
}

static rag_code migrate(sqlite3 *db, uint32_t from, struct rag_err *err)
{
    (void)from;
    if (sqlite3_exec(db, schema, NULL, NULL, NULL) == SQLITE_OK)
        return RAG_OK;
    return rag_err_set(err, commit_queue_code(db), "ledger: cannot make its tables: %s", sqlite3_errmsg(db));
}

static rag_code prepare(struct ledger *l, sqlite3 *db, const char *sql, sqlite3_stmt **out,
                        struct rag_err *err)
{
    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) == SQLITE_OK)
        return RAG_OK;
    return sql_fail(l, db, "prepare a statement", err);
}

static rag_code open_queue(struct ledger *l, bool read_only, bool unchecked, struct commit_queue **out,
                           struct rag_err *err)
{
    struct commit_options opt = {.path = l->path,
                                 .name = "ledger",
                                 .application_id = LEDGER_APPLICATION_ID,
                                 .version = LEDGER_VERSION,
                                 .migrate = migrate,
                                 .read_only = read_only,
                                 .unchecked = unchecked};
    return commit_queue_open(&opt, out, err);
}

rag_code ledger_db_open(struct ledger *l, struct rag_err *err)
{
    rag_code rc = open_queue(l, l->opt.read_only, false, &l->queue, err);
    if (rc || l->opt.read_only)
        return rc;
    sqlite3 *db = commit_queue_db(l->queue);
    rc = prepare(
        l, db,
        "INSERT INTO calls(id, at_ms, day, key, service, model, reserved) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        &l->st.reserve, err);
    if (!rc)
        rc = prepare(l, db,
                     "UPDATE calls SET state = 1, cost = ?2, prompt = ?3, cached = ?4, completion = ?5,"
                     " counted_here = ?6, outcome = ?7 WHERE id = ?1 AND state = 0",
                     &l->st.settle, err);
    if (!rc)
        rc = prepare(l, db,
                     "INSERT INTO sums(day, service, model, key, calls, cost, prompt, cached, completion)"
                     " VALUES(?1, ?2, ?3, ?4, 1, ?5, ?6, ?7, ?8)" ADD_TO_SUMS,
                     &l->st.sum, err);
    return rc;
}

/* ---- the start ------------------------------------------------------------------------------------------- */

static rag_code read_two(struct ledger *l, const char *sql, const char *text, int64_t *a, int64_t *b,
                         struct rag_err *err)
{
    sqlite3 *db = commit_queue_db(l->queue);
    sqlite3_stmt *st = NULL;
    rag_code rc = prepare(l, db, sql, &st, err);
    if (!rc && text)
        sqlite3_bind_text(st, 1, text, -1, SQLITE_STATIC);
    if (!rc && sqlite3_step(st) != SQLITE_ROW)
        rc = sql_fail(l, db, "read it", err);
    if (!rc) {
        *a = sqlite3_column_int64(st, 0);
        *b = sqlite3_column_int64(st, 1);
    }
    sqlite3_finalize(st);
    return rc;
}

rag_code ledger_db_recover(struct ledger *l, nano_cny *sum, struct rag_err *err)
{
    int64_t n = 0;
    rag_code rc = read_two(l, "SELECT count(*), coalesce(sum(reserved), 0) FROM calls WHERE state = 0", NULL,
                           &n, sum, err);
    if (rc || n == 0)
        return rc;
    sqlite3 *db = commit_queue_db(l->queue);
    int failed =
        sqlite3_exec(db,
                     "BEGIN IMMEDIATE;"
                     "INSERT INTO sums(day, service, model, key, calls, cost, prompt, cached, completion)"
                     " SELECT day, service, model, key, count(*), sum(reserved), 0, 0, 0 FROM calls"
                     " WHERE state = 0 GROUP BY day, service, model, key" ADD_TO_SUMS ";"
                     "UPDATE calls SET state = 2, cost = reserved, outcome = 'recovered' WHERE state = 0;"
                     "COMMIT",
                     NULL, NULL, NULL);
    if (failed)
        rc = sql_fail(l, db, "book what was open", err);
    if (failed && !sqlite3_get_autocommit(db))
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    l->recovered = rc ? 0 : (uint64_t)n;
    return rc;
}

static rag_code load_keys(struct ledger *l, const char *day,
                          rag_code (*key)(struct ledger *l, struct str name, nano_cny spent),
                          struct rag_err *err)
{
    sqlite3 *db = commit_queue_db(l->queue);
    sqlite3_stmt *st = NULL;
    rag_code rc = prepare(l, db, "SELECT key, sum(cost) FROM sums WHERE day = ?1 GROUP BY key", &st, err);
    if (!rc)
        sqlite3_bind_text(st, 1, day, -1, SQLITE_STATIC);
    int step = SQLITE_DONE;
    while (!rc && (step = sqlite3_step(st)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(st, 0);
        nano_cny spent = sqlite3_column_int64(st, 1);
        if (!name || spent < 0)
            rc = rag_err_set(err, name ? RAG_ECORRUPT : RAG_ENOMEM, "ledger %s: a sum that cannot be",
                             l->path);
        else
            rc = key(l, str_make(name, (size_t)sqlite3_column_bytes(st, 0)), spent);
    }
    if (!rc && step != SQLITE_DONE)
        rc = sql_fail(l, db, "read its sums", err);
    sqlite3_finalize(st);
    return rc;
}

rag_code ledger_db_load(struct ledger *l, rag_code (*key)(struct ledger *l, struct str name, nano_cny spent),
                        struct rag_err *err)
{
    char day[16], month[16];
    int64_t last = 0, unused;
    civil_format(l->day, day);
    snprintf(month, sizeof month, "%.7s", day);
    rag_code rc = load_keys(l, day, key, err);
    if (!rc)
        rc = read_two(
            l, "SELECT coalesce(sum(cost), 0), 0 FROM sums WHERE day >= ?1 || '-01' AND day <= ?1 || '-31'",
            month, &l->this_month.spent, &unused, err);
    if (!rc)
        rc = read_two(l, "SELECT coalesce(max(id), 0), 0 FROM calls", NULL, &last, &unused, err);
    if (!rc && (l->this_month.spent < 0 || last < 0 || last == INT64_MAX))
        rc = rag_err_set(err, RAG_ECORRUPT, "ledger %s: numbers that cannot be", l->path);
    l->next_id = rc ? 0 : last + 1;
    return rc;
}

/* ---- jobs ------------------------------------------------------------------------------------------------ */

static rag_code run(sqlite3 *db, sqlite3_stmt *st)
{
    rag_code rc = sqlite3_step(st) == SQLITE_DONE ? RAG_OK : commit_queue_code(db);
    sqlite3_reset(st);
    return rc;
}

static void bind_text(sqlite3_stmt *st, int i, const char *z)
{
    sqlite3_bind_text(st, i, z, -1, SQLITE_STATIC);
}

rag_code ledger_db_reserve(struct commit_job *j, sqlite3 *db)
{
    const struct reservation *r = (const struct reservation *)j;
    sqlite3_stmt *st = r->l->st.reserve;
    char day[16];
    civil_format(r->day, day);
    sqlite3_bind_int64(st, 1, r->id);
    sqlite3_bind_int64(st, 2, r->at_ms);
    bind_text(st, 3, day);
    bind_text(st, 4, r->key);
    bind_text(st, 5, r->service);
    bind_text(st, 6, r->model);
    sqlite3_bind_int64(st, 7, r->amount);
    rag_code rc = run(db, st);
    sqlite3_clear_bindings(st);
    return rc;
}

static rag_code add_to_sums(const struct reservation *r, sqlite3 *db)
{
    sqlite3_stmt *st = r->l->st.sum;
    char day[16];
    civil_format(r->day, day);
    bind_text(st, 1, day);
    bind_text(st, 2, r->service);
    bind_text(st, 3, r->model);
    bind_text(st, 4, r->key);
    sqlite3_bind_int64(st, 5, r->s.cost);
    sqlite3_bind_int64(st, 6, r->s.prompt);
    sqlite3_bind_int64(st, 7, r->s.cached);
    sqlite3_bind_int64(st, 8, r->s.completion);
    rag_code rc = run(db, st);
    sqlite3_clear_bindings(st);
    return rc;
}

rag_code ledger_db_settle(struct commit_job *j, sqlite3 *db)
{
    const struct reservation *r = (const struct reservation *)j;
    sqlite3_stmt *st = r->l->st.settle;
    sqlite3_bind_int64(st, 1, r->id);
    sqlite3_bind_int64(st, 2, r->s.cost);
    sqlite3_bind_int64(st, 3, r->s.prompt);
    sqlite3_bind_int64(st, 4, r->s.cached);
    sqlite3_bind_int64(st, 5, r->s.completion);
    sqlite3_bind_int(st, 6, r->s.counted_here);
    bind_text(st, 7, r->s.outcome);
    rag_code rc = run(db, st);
    sqlite3_clear_bindings(st);
    if (!rc && sqlite3_changes(db) != 1)
        rc = RAG_ECORRUPT; /* its row is gone */
    return rc ? rc : add_to_sums(r, db);
}

/* ---- reports --------------------------------------------------------------------------------------------- */

static const char *column(sqlite3_stmt *st, int i)
{
    const char *z = (const char *)sqlite3_column_text(st, i);
    return z ? z : "";
}

static uint64_t count_of(sqlite3_stmt *st, int i)
{
    int64_t n = sqlite3_column_int64(st, i);
    return n > 0 ? (uint64_t)n : 0;
}

/* Whole days from sums, the first and the last day, which may be cut, from calls. */
static const char report_sql[] =
    "SELECT day, service, model, key, calls, prompt, cached, completion, cost FROM sums WHERE day > ?1 AND day < ?2 "
    "UNION ALL "
    "SELECT day, service, model, key, count(*), sum(prompt), sum(cached), sum(completion), sum(cost) FROM calls"
    " WHERE day IN (?1, ?2) AND state <> 0 AND at_ms >= ?3 AND at_ms < ?4 GROUP BY day, service, model, key "
    "ORDER BY 1, 2, 3, 4";

static rag_code report(struct ledger *l, sqlite3 *db, int64_t since_ms, int64_t until_ms,
                       bool (*each)(void *ctx, const struct ledger_row *row), void *ctx, struct rag_err *err)
{
    char first[16], last[16];
    civil_format(zone_day(l->zone, since_ms), first);
    civil_format(zone_day(l->zone, until_ms > INT64_MIN ? until_ms - 1 : until_ms), last);
    sqlite3_stmt *st = NULL;
    rag_code rc = prepare(l, db, report_sql, &st, err);
    if (rc)
        return rc;
    bind_text(st, 1, first);
    bind_text(st, 2, last);
    sqlite3_bind_int64(st, 3, since_ms);
    sqlite3_bind_int64(st, 4, until_ms);
    int step = SQLITE_DONE;
    while (!rc && (step = sqlite3_step(st)) == SQLITE_ROW) {
        struct ledger_row row = {column(st, 0),   column(st, 1),   column(st, 2),
                                 column(st, 3),   count_of(st, 4), count_of(st, 5),
                                 count_of(st, 6), count_of(st, 7), sqlite3_column_int64(st, 8)};
        if (!each(ctx, &row))
            rc = RAG_ECANCELED;
    }
    if (!rc && step != SQLITE_DONE)
        rc = sql_fail(l, db, "read it", err);
    sqlite3_finalize(st);
    return rc;
}

rag_code ledger_report(struct ledger *l, int64_t since_ms, int64_t until_ms,
                       bool (*each)(void *ctx, const struct ledger_row *row), void *ctx, struct rag_err *err)
{
    if (until_ms <= since_ms)
        return RAG_OK;
    if (l->opt.read_only) {
        pthread_mutex_lock(&l->report_mu);
        rag_code rc = report(l, commit_queue_db(l->queue), since_ms, until_ms, each, ctx, err);
        pthread_mutex_unlock(&l->report_mu);
        return rc;
    }
    struct commit_queue *q = NULL; /* the queue's connection is its thread's */
    rag_code rc = open_queue(l, true, true, &q, err);
    if (!rc)
        rc = report(l, commit_queue_db(q), since_ms, until_ms, each, ctx, err);
    commit_queue_close(q);
    return rc;
}
