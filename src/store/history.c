/* Questions come far more often than the disk can say yes, and nobody waits for them. They gather in a list; the first of
 * a list is also the job that writes all of it, so a list costs one savepoint and the caller one allocation and one lock.
 *
 * 1. A question that was added before a feedback was given is written before it: its list's job was submitted earlier.
 * 2. h->head is the record whose job waits in the queue. Its apply (or, when the transaction could not begin, its done)
 *    takes the list; what comes later starts the next one.
 * 3. The small columns stand before the texts, and the index by time holds all that totals need: a report reads no text. */
#include "obs/log.h"
#include "store/history_int.h"
#include "sys/clock.h"

enum {
    APPLICATION_ID = 0x52414748, /* "RAGH" */
    VERSION = 1,
    MOST_WAITING = 65536,
    MOST_BYTES = 64 << 20,
    LINGER_MS = 50, /* of a question behind its answer: about 20 commits a second at most; feedback waits as long */
    PURGE_SLICE = 1000,
    PURGE_EVERY_MS = 3600 * 1000
};
#define DAY_MS ((int64_t)24 * 3600 * 1000)

static const char schema[] =
    "CREATE TABLE queries("
    " n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at_ms INTEGER NOT NULL, total_ms INTEGER NOT NULL,"
    " found INTEGER NOT NULL, confidence REAL NOT NULL, cost_nano INTEGER NOT NULL, source TEXT NOT NULL,"
    " complexity TEXT NOT NULL, degraded_reason TEXT, collection TEXT NOT NULL, key TEXT NOT NULL,"
    " user_id TEXT NOT NULL, model TEXT NOT NULL, query TEXT NOT NULL, answer TEXT NOT NULL, chunks TEXT NOT NULL);"
    "CREATE INDEX queries_by_time ON queries(at_ms, found, source, degraded_reason, cost_nano, total_ms);"
    "CREATE TABLE feedback("
    " n INTEGER PRIMARY KEY, query INTEGER NOT NULL, type TEXT NOT NULL, rating INTEGER, comment TEXT NOT NULL,"
    " user_id TEXT NOT NULL, at_ms INTEGER NOT NULL, chunk_ids TEXT NOT NULL);"
    "CREATE INDEX feedback_by_query ON feedback(query);"
    "CREATE INDEX feedback_by_time ON feedback(at_ms, type, rating);";

#define EXPIRED "(SELECT n FROM queries WHERE at_ms < ?1 ORDER BY at_ms LIMIT ?2)"
static const char *const sqls[HISTORY_SQLS] = {
    [SQL_ADD] = "INSERT INTO queries(id, at_ms, total_ms, found, confidence, cost_nano, source, complexity,"
                " degraded_reason, collection, key, user_id, model, query, answer, chunks)"
                " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)"
                " ON CONFLICT(id) DO NOTHING",
    [SQL_FIND] = "SELECT n, key, query, NOT EXISTS(SELECT 1 FROM json_each(?2) WHERE value NOT IN"
                 " (SELECT value FROM json_each(chunks))) FROM queries WHERE id = ?1",
    [SQL_FEEDBACK] = "INSERT INTO feedback(query, type, rating, comment, user_id, at_ms, chunk_ids)"
                     " VALUES(?1, ?2, nullif(?3, 0), ?4, ?5, ?6, ?7)",
    [SQL_PURGE_FEEDBACK] = "DELETE FROM feedback WHERE query IN " EXPIRED " RETURNING type",
    [SQL_PURGE] = "DELETE FROM queries WHERE n IN " EXPIRED,
};

rag_code history_run(sqlite3_stmt *st)
{
    int rc = sqlite3_step(st);
    rag_code code = rc == SQLITE_DONE ? RAG_OK : commit_queue_code(sqlite3_db_handle(st));
    sqlite3_reset(st);
    return code;
}

/* ---- questions ------------------------------------------------------------------------------------------- */

enum { R_ID, R_COLLECTION, R_USER, R_KEY, R_QUERY, R_ANSWER, R_MODEL, R_SOURCE, R_COMPLEXITY, R_DEGRADED, R_CHUNKS, R_TEXTS };

struct history_record {
    struct commit_job job; /* of the first of a list */
    struct history *h;
    struct history_record *next;
    size_t bytes;
    bool taken;
    bool found, degraded;
    float confidence;
    uint32_t total_ms;
    int64_t at_ms, cost_nano;
    struct str text[R_TEXTS];
    char data[];
};

/* Its list, which is then its own: what comes later starts another. */
static void take_list(struct history_record *first)
{
    struct history *h = first->h;
    pthread_mutex_lock(&h->mu);
    RAG_ASSERT(h->head == first);
    first->taken = true;
    h->head = NULL;
    h->tail = &h->head;
    pthread_mutex_unlock(&h->mu);
}

static rag_code insert(sqlite3_stmt *st, const struct history_record *r)
{
    static const int column[R_TEXTS] = {[R_ID] = 1,          [R_SOURCE] = 7, [R_COMPLEXITY] = 8, [R_DEGRADED] = 9,
                                        [R_COLLECTION] = 10, [R_KEY] = 11,   [R_USER] = 12,      [R_MODEL] = 13,
                                        [R_QUERY] = 14,      [R_ANSWER] = 15, [R_CHUNKS] = 16};
    for (int i = 0; i < R_TEXTS; i++)
        history_bind(st, column[i], r->text[i]);
    if (!r->degraded)
        sqlite3_bind_null(st, column[R_DEGRADED]);
    sqlite3_bind_int64(st, 2, r->at_ms);
    sqlite3_bind_int64(st, 3, r->total_ms);
    sqlite3_bind_int(st, 4, r->found);
    sqlite3_bind_double(st, 5, (double)r->confidence);
    sqlite3_bind_int64(st, 6, r->cost_nano);
    return history_run(st);
}

static rag_code write_list(struct commit_job *j, sqlite3 *db)
{
    struct history_record *first = (struct history_record *)(void *)j;
    rag_code rc = RAG_OK;
    (void)db;
    take_list(first);
    for (const struct history_record *r = first; r && !rc; r = r->next)
        rc = insert(first->h->sql[SQL_ADD], r);
    return rc;
}

static void say_failure(struct history *h, rag_code rc, uint32_t n)
{
    if (rc)
        counter_add(h->dropped, n);
    if (rc && !h->failing)
        log_error("history: questions cannot be recorded", LOG_STR("error", rag_code_name(rc)), LOG_INT("lost", n),
                  LOG_END);
    if (!rc && h->failing)
        log_info("history: questions are recorded again", LOG_END);
    h->failing = rc != RAG_OK;
}

static void list_written(struct commit_job *j, rag_code rc)
{
    struct history_record *first = (struct history_record *)(void *)j, *next;
    struct history *h = first->h;
    size_t bytes = 0;
    uint32_t n = 0;
    if (!first->taken) /* the transaction did not begin */
        take_list(first);
    for (struct history_record *r = first; r; r = next) {
        next = r->next;
        bytes += r->bytes;
        n++;
        mem_free(MEM_STORE, r);
    }
    pthread_mutex_lock(&h->mu);
    h->n_waiting -= n;
    h->bytes_waiting -= bytes;
    pthread_mutex_unlock(&h->mu);
    say_failure(h, rc, n);
    history_purge_if_due(h);
}

static struct history_record *copy_query(struct history *h, const struct history_query *q)
{
    const struct str from[R_TEXTS] = {
        [R_ID] = q->id,         [R_COLLECTION] = q->collection,         [R_USER] = q->user_id,
        [R_KEY] = q->key,       [R_QUERY] = q->query,                   [R_ANSWER] = q->answer,
        [R_MODEL] = q->model,   [R_SOURCE] = str_of(q->source),         [R_COMPLEXITY] = str_of(q->complexity),
        [R_CHUNKS] = q->chunks.len ? q->chunks : STR_LIT("[]"), [R_DEGRADED] = str_of(q->degraded_reason)};
    size_t size = sizeof(struct history_record);
    for (int i = 0; i < R_TEXTS; i++)
        if (!size_add_ok(size, from[i].len, &size))
            return NULL;
    if (size > MOST_BYTES)
        return NULL;
    struct history_record *r = mem_alloc(MEM_STORE, size);
    if (!r)
        return NULL;
    *r = (struct history_record){.h = h,
                                 .bytes = size,
                                 .found = q->found,
                                 .degraded = q->degraded_reason != NULL,
                                 .confidence = q->confidence,
                                 .total_ms = q->total_ms,
                                 .at_ms = q->at_ms,
                                 .cost_nano = q->cost_nano};
    r->job = (struct commit_job){.apply = write_list, .done = list_written, .lazy = true};
    char *at = r->data;
    for (int i = 0; i < R_TEXTS; i++) {
        r->text[i] = str_make(at, from[i].len);
        if (from[i].len)
            memcpy(at, from[i].ptr, from[i].len);
        at += from[i].len;
    }
    return r;
}

static bool push(struct history *h, struct history_record *r)
{
    pthread_mutex_lock(&h->mu);
    bool ok = h->n_waiting < MOST_WAITING && h->bytes_waiting + r->bytes <= MOST_BYTES;
    if (ok) {
        bool first = !h->head;
        *h->tail = r;
        h->tail = &r->next;
        h->n_waiting++;
        h->bytes_waiting += r->bytes;
        if (first)
            commit_queue_submit(h->queue, &r->job);
    }
    pthread_mutex_unlock(&h->mu);
    return ok;
}

bool history_add(struct history *h, const struct history_query *q)
{
    struct history_record *r = copy_query(h, q);
    if (r && push(h, r))
        return true;
    mem_free(MEM_STORE, r);
    counter_add(h->dropped, 1);
    return false;
}

/* ---- retention: a slice a commit, the next slice behind whoever came meanwhile --------------------------- */

static rag_code purge_slice(struct commit_job *j, sqlite3 *db)
{
    struct history_purge *p = (struct history_purge *)(void *)j;
    struct history *h = p->h;
    sqlite3_stmt *votes = h->sql[SQL_PURGE_FEEDBACK], *st = h->sql[SQL_PURGE];
    p->at_ms = h->now_ms();
    int64_t before = p->at_ms - h->keep_ms;
    int step;
    p->up = p->down = p->deleted = 0;
    sqlite3_bind_int64(votes, 1, before);
    sqlite3_bind_int(votes, 2, PURGE_SLICE);
    while ((step = sqlite3_step(votes)) == SQLITE_ROW) {
        struct str type = str_of((const char *)sqlite3_column_text(votes, 0));
        p->up += str_eqz(type, feedback_type_name(FEEDBACK_UP));
        p->down += str_eqz(type, feedback_type_name(FEEDBACK_DOWN));
    }
    rag_code rc = step == SQLITE_DONE ? RAG_OK : commit_queue_code(db);
    sqlite3_reset(votes);
    sqlite3_bind_int64(st, 1, before);
    sqlite3_bind_int(st, 2, PURGE_SLICE);
    if (!rc)
        rc = history_run(st);
    p->deleted = rc ? 0 : sqlite3_changes(db);
    return rc;
}

static void submit_purge(struct history *h)
{
    pthread_mutex_lock(&h->mu);
    h->purging = !h->closing;
    if (h->purging)
        commit_queue_submit(h->queue, &h->purge.job);
    pthread_mutex_unlock(&h->mu);
}

static void slice_purged(struct commit_job *j, rag_code rc)
{
    struct history_purge *p = (struct history_purge *)(void *)j;
    struct history *h = p->h;
    h->purging = false;
    h->purge_due_ms = p->at_ms + PURGE_EVERY_MS;
    if (rc) {
        log_warn("history: old questions cannot be deleted", LOG_STR("error", rag_code_name(rc)), LOG_END);
        return;
    }
    h->up -= p->up;
    h->down -= p->down;
    if (p->up || p->down)
        history_show_satisfaction(h);
    if (p->deleted == PURGE_SLICE)
        submit_purge(h);
}

void history_purge_if_due(struct history *h)
{
    if (h->keep_ms && !h->purging && h->now_ms() >= h->purge_due_ms)
        submit_purge(h);
}

/* ---- opening --------------------------------------------------------------------------------------------- */

static rag_code migrate(sqlite3 *db, uint32_t from, struct rag_err *err)
{
    (void)from; /* 0: there was no earlier version */
    if (sqlite3_exec(db, schema, NULL, NULL, NULL) == SQLITE_OK)
        return RAG_OK;
    return rag_err_set(err, commit_queue_code(db), "history: cannot make its tables: %s", sqlite3_errmsg(db));
}

void history_commit_options(const struct history *h, char path[4200], struct commit_options *out)
{
    snprintf(path, 4200, "%s/history.db", h->dir);
    *out = (struct commit_options){.path = path,
                                   .name = "history",
                                   .application_id = APPLICATION_ID,
                                   .version = VERSION,
                                   .migrate = migrate,
                                   .linger_ms = LINGER_MS};
}

static rag_code count_thumbs(struct history *h)
{
    sqlite3_stmt *st = NULL;
    sqlite3 *db = commit_queue_db(h->queue);
    rag_code rc = RAG_OK;
    if (sqlite3_prepare_v2(db, "SELECT coalesce(sum(type = 'thumbs_up'), 0), coalesce(sum(type = 'thumbs_down'), 0) FROM feedback",
                           -1, &st, NULL) ||
        sqlite3_step(st) != SQLITE_ROW) {
        rc = commit_queue_code(db);
    } else {
        h->up = sqlite3_column_int64(st, 0);
        h->down = sqlite3_column_int64(st, 1);
    }
    sqlite3_finalize(st);
    return rc;
}

static rag_code prepare(struct history *h, struct rag_err *err)
{
    sqlite3 *db = commit_queue_db(h->queue);
    for (int i = 0; i < HISTORY_SQLS; i++)
        if (sqlite3_prepare_v3(db, sqls[i], -1, SQLITE_PREPARE_PERSISTENT, &h->sql[i], NULL))
            return rag_err_set(err, commit_queue_code(db), "history: cannot prepare: %s", sqlite3_errmsg(db));
    rag_code rc = count_thumbs(h);
    return rc ? rag_err_set(err, rc, "history: cannot read: %s", sqlite3_errmsg(db)) : RAG_OK;
}

static void init_metrics(struct history *h)
{
    h->dropped = metrics_counter(h->metrics, "ragd_history_dropped_total",
                                 "Answered questions that were not recorded in the history.", 1, NULL, 0);
    for (int t = 0; t < FEEDBACK_TYPES; t++)
        h->feedback[t] = metrics_counter(h->metrics, "ragd_feedback_total", "Feedback that was stored, by type.", 1,
                                         METRIC_LABELS({"type", feedback_type_name((enum feedback_type)t)}));
}

/* Only checks the file: each report opens it by itself. */
static rag_code open_read_only(struct commit_options *co, struct rag_err *err)
{
    struct commit_queue *q = NULL;
    co->read_only = true;
    rag_code rc = commit_queue_open(co, &q, err);
    commit_queue_close(q);
    return rc;
}

static rag_code open_to_write(struct history *h, const struct commit_options *co, struct rag_err *err)
{
    rag_code rc = commit_queue_open(co, &h->queue, err);
    if (!rc)
        rc = prepare(h, err);
    if (rc)
        return rc;
    init_metrics(h);
    history_show_satisfaction(h);
    h->purge = (struct history_purge){.job = {.apply = purge_slice, .done = slice_purged, .lazy = true}, .h = h};
    history_purge_if_due(h);
    return RAG_OK;
}

rag_code history_open(const struct history_options *opt, struct history **out, struct rag_err *err)
{
    char path[4200];
    struct commit_options co;
    struct history *h = mem_zalloc(MEM_STORE, sizeof *h);
    if (!h)
        return rag_err_set(err, RAG_ENOMEM, "history: out of memory");
    pthread_mutex_init(&h->mu, NULL);
    h->tail = &h->head;
    h->now_ms = opt->now_ms ? opt->now_ms : clock_unix_ms;
    h->keep_ms = opt->keep_days * DAY_MS;
    h->metrics = opt->metrics ? opt->metrics : (h->own_metrics = metrics_new());
    rag_code rc = RAG_OK;
    if (!h->metrics)
        rc = rag_err_set(err, RAG_ENOMEM, "history: out of memory");
    else if (snprintf(h->dir, sizeof h->dir, "%s", opt->dir) >= (int)sizeof h->dir)
        rc = rag_err_set(err, RAG_ETOOBIG, "history: path too long");
    history_commit_options(h, path, &co);
    if (!rc)
        rc = opt->read_only ? open_read_only(&co, err) : open_to_write(h, &co, err);
    if (rc)
        history_close(h);
    else
        *out = h;
    return rc;
}

void history_close(struct history *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->mu);
    h->closing = true;
    pthread_mutex_unlock(&h->mu);
    commit_queue_close(h->queue);
    metrics_free(h->own_metrics);
    pthread_mutex_destroy(&h->mu);
    mem_free(MEM_STORE, h);
}
