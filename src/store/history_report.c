/* Reports read on a connection of their own, in one snapshot: they never wait for the writer, nor it for them. */
#include <stdlib.h>
#include <unicode/ucasemap.h>

#include "store/history_int.h"

struct report {
    struct commit_queue *file;
    sqlite3 *db;
    sqlite3_stmt *st; /* the one at work; the queue's close finalizes it */
    struct rag_err *err;
};

static rag_code report_fail(struct report *r)
{
    rag_code rc = commit_queue_code(r->db);
    return rag_err_set(r->err, rc, "history: cannot read: %s", sqlite3_errmsg(r->db));
}

static rag_code report_open(const struct history *h, struct report *r, struct rag_err *err)
{
    char path[4200];
    struct commit_options co;
    *r = (struct report){.err = err};
    history_commit_options(h, path, &co);
    co.read_only = co.unchecked = true;
    rag_code rc = commit_queue_open(&co, &r->file, err);
    if (rc)
        return rc;
    r->db = commit_queue_db(r->file);
    return sqlite3_exec(r->db, "BEGIN", NULL, NULL, NULL) ? report_fail(r) : RAG_OK;
}

static void report_close(struct report *r)
{
    commit_queue_close(r->file);
}

/* A statement over [?1, ?2). */
static rag_code ask(struct report *r, const char *sql, int64_t since_ms, int64_t until_ms)
{
    sqlite3_finalize(r->st);
    r->st = NULL;
    if (sqlite3_prepare_v2(r->db, sql, -1, &r->st, NULL))
        return report_fail(r);
    sqlite3_bind_int64(r->st, 1, since_ms);
    sqlite3_bind_int64(r->st, 2, until_ms);
    return RAG_OK;
}

static rag_code next_row(struct report *r, bool *row)
{
    int rc = sqlite3_step(r->st);
    *row = rc == SQLITE_ROW;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? RAG_OK : report_fail(r);
}

static uint64_t count_at(const struct report *r, int column)
{
    return (uint64_t)sqlite3_column_int64(r->st, column);
}

/* ---- totals ---------------------------------------------------------------------------------------------- */

static rag_code count_queries(struct report *r, int64_t since_ms, int64_t until_ms, struct history_totals *out)
{
    bool row;
    rag_code rc = ask(r,
                      "SELECT count(*), sum(found), count(degraded_reason), sum(cost_nano), sum(source = 'primary'),"
                      " sum(source = 'fallback'), sum(source = 'extract'), sum(source = 'cache')"
                      " FROM queries WHERE at_ms >= ?1 AND at_ms < ?2",
                      since_ms, until_ms);
    if (!rc)
        rc = next_row(r, &row);
    if (rc)
        return rc;
    out->queries = count_at(r, 0);
    out->found = count_at(r, 1);
    out->degraded = count_at(r, 2);
    out->cost_nano = sqlite3_column_int64(r->st, 3);
    for (int i = 0; i < 4; i++)
        out->by_source[i] = count_at(r, 4 + i);
    return RAG_OK;
}

static rag_code count_feedback(struct report *r, int64_t since_ms, int64_t until_ms, struct history_totals *out)
{
    bool row;
    rag_code rc = ask(r,
                      "SELECT sum(type = 'thumbs_up'), sum(type = 'thumbs_down'), count(rating), avg(rating)"
                      " FROM feedback WHERE at_ms >= ?1 AND at_ms < ?2",
                      since_ms, until_ms);
    if (!rc)
        rc = next_row(r, &row);
    if (rc)
        return rc;
    out->up = count_at(r, 0);
    out->down = count_at(r, 1);
    out->ratings = count_at(r, 2);
    out->rating_mean = sqlite3_column_double(r->st, 3);
    return RAG_OK;
}

/* One walk over the times in order; n of them. */
static rag_code find_quantiles(struct report *r, int64_t since_ms, int64_t until_ms, uint64_t n, struct history_totals *out)
{
    const uint64_t rank[] = {(n * 50 + 99) / 100, (n * 95 + 99) / 100, (n * 99 + 99) / 100}; /* from 1 */
    uint32_t *const to[] = {&out->p50_ms, &out->p95_ms, &out->p99_ms};
    bool row = n > 0;
    if (!row)
        return RAG_OK;
    rag_code rc = ask(r, "SELECT total_ms FROM queries WHERE at_ms >= ?1 AND at_ms < ?2 ORDER BY total_ms", since_ms,
                      until_ms);
    for (uint64_t i = 1; i <= rank[2] && row && !rc; i++) {
        rc = next_row(r, &row);
        for (int k = 0; k < 3 && row; k++)
            if (i == rank[k])
                *to[k] = (uint32_t)sqlite3_column_int64(r->st, 0);
    }
    return rc;
}

rag_code history_totals(struct history *h, int64_t since_ms, int64_t until_ms, struct history_totals *out,
                        struct rag_err *err)
{
    struct report r;
    *out = (struct history_totals){0};
    rag_code rc = report_open(h, &r, err);
    if (!rc)
        rc = count_queries(&r, since_ms, until_ms, out);
    if (!rc)
        rc = count_feedback(&r, since_ms, until_ms, out);
    if (!rc)
        rc = find_quantiles(&r, since_ms, until_ms, out->queries, out);
    report_close(&r);
    return rc;
}

/* ---- what was not answered ------------------------------------------------------------------------------- */

/* fold(text): trimmed, case folded; SQLite's own lower() knows ASCII only. */
static void fold(sqlite3_context *ctx, int n, sqlite3_value **args)
{
    const UCaseMap *map = sqlite3_user_data(ctx);
    const char *p = (const char *)sqlite3_value_text(args[0]);
    struct str s = str_trim(str_make(p, p ? (size_t)sqlite3_value_bytes(args[0]) : 0));
    size_t room;
    (void)n;
    if (!size_mul_ok(s.len, 3, &room) || room > INT32_MAX) { /* no folding makes a text three times as long */
        sqlite3_result_error_toobig(ctx);
        return;
    }
    char *out = sqlite3_malloc64(room + 1);
    UErrorCode status = U_ZERO_ERROR;
    if (!out) {
        sqlite3_result_error_nomem(ctx);
        return;
    }
    int32_t len = ucasemap_utf8FoldCase(map, out, (int32_t)room + 1, s.len ? s.ptr : "", (int32_t)s.len, &status);
    if (U_FAILURE(status)) {
        sqlite3_free(out);
        sqlite3_result_error(ctx, u_errorName(status), -1);
        return;
    }
    sqlite3_result_text64(ctx, out, (uint64_t)len, sqlite3_free, SQLITE_UTF8);
}

static rag_code walk_unanswered(struct report *r, int64_t since_ms, int64_t until_ms, uint32_t limit,
                                bool (*each)(void *ctx, struct str query, uint64_t times), void *ctx)
{
    bool more;
    /* A bare column beside max() is of the row that has the maximum. */
    rag_code rc = ask(r,
                      "SELECT trim(query, char(9, 10, 11, 12, 13, 32)), count(*) AS times, max(at_ms) AS last FROM queries"
                      " WHERE at_ms >= ?1 AND at_ms < ?2 AND NOT found GROUP BY fold(query)"
                      " ORDER BY times DESC, last DESC LIMIT ?3",
                      since_ms, until_ms);
    if (rc)
        return rc;
    sqlite3_bind_int64(r->st, 3, limit);
    while ((rc = next_row(r, &more)) == RAG_OK && more) {
        const char *p = (const char *)sqlite3_column_text(r->st, 0);
        if (!each(ctx, str_make(p, p ? (size_t)sqlite3_column_bytes(r->st, 0) : 0), count_at(r, 1)))
            break;
    }
    return rc;
}

rag_code history_unanswered(struct history *h, int64_t since_ms, int64_t until_ms, uint32_t limit,
                            bool (*each)(void *ctx, struct str query, uint64_t times), void *ctx, struct rag_err *err)
{
    struct report r;
    UErrorCode status = U_ZERO_ERROR;
    UCaseMap *map = ucasemap_open("", U_FOLD_CASE_DEFAULT, &status);
    if (U_FAILURE(status))
        return rag_err_set(err, RAG_ENOMEM, "history: %s", u_errorName(status));
    rag_code rc = report_open(h, &r, err);
    if (!rc && sqlite3_create_function(r.db, "fold", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, map, fold, NULL, NULL))
        rc = report_fail(&r);
    if (!rc)
        rc = walk_unanswered(&r, since_ms, until_ms, limit, each, ctx);
    report_close(&r);
    ucasemap_close(map);
    return rc;
}
