/* One thread owns the connection. It takes everything that waits as one batch, runs it in one transaction, each job in a
 * savepoint of its own, commits, and only then says so. While it waits for the disk, the next batch gathers: the slower
 * the disk, the more share one fsync (group commit). A savepoint costs 0.5 us, a commit at least a hundred times that, so
 * there is no second way for lone jobs.
 *
 * What a job's done is told: apply's failure if it had one, else what became of the transaction. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/commit_queue.h"
#include "store/store_int.h"

struct commit_queue {
    struct conn c; /* the thread's; before the first submit the opener's */
    char path[4096];
    char name[32];
    uint32_t linger_ms;
    bool read_only;
    bool full;      /* synchronous=FULL is set */
    int wal_frames; /* since the last checkpoint */
    pthread_t thread;
    bool started;
    pthread_mutex_t mu;
    pthread_cond_t wake; /* a job came to an empty queue, or closing */
    struct commit_job *head, **tail;
    uint32_t n_prompt; /* jobs that are not lazy */
    bool closing;
};

/* ---- the thread ------------------------------------------------------------------------------------------ */

/* A checkpoint syncs the file twice; one in so many frames (4 KB each), behind the answers of its batch. */
enum { CHECKPOINT_FRAMES = 4000 };

static void wait_for_company(struct commit_queue *q, uint32_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    while (!q->closing && !q->n_prompt && pthread_cond_timedwait(&q->wake, &q->mu, &until) != ETIMEDOUT)
        ;
}

/* All that waits, in order; NULL: closed and nothing left. */
static struct commit_job *take_batch(struct commit_queue *q)
{
    pthread_mutex_lock(&q->mu);
    while (!q->head && !q->closing)
        pthread_cond_wait(&q->wake, &q->mu);
    if (!q->n_prompt)
        wait_for_company(q, q->linger_ms);
    struct commit_job *batch = q->head;
    q->head = NULL;
    q->n_prompt = 0;
    q->tail = &q->head;
    pthread_mutex_unlock(&q->mu);
    return batch;
}

static rag_code exec(struct commit_queue *q, const char *sql)
{
    int rc = sqlite3_exec(q->c.db, sql, NULL, NULL, NULL);
    return rc ? conn_fail(&q->c, rc, "commit", NULL) : RAG_OK;
}

static rag_code run(struct commit_queue *q, const char *literal)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&q->c, literal, &st, NULL);
    return rc ? rc : conn_run(&q->c, st, "commit", NULL);
}

/* One job in its savepoint. The result is the transaction's: a job that failed alone does not stop the others. */
static rag_code apply_one(struct commit_queue *q, struct commit_job *j)
{
    rag_code rc = run(q, "SAVEPOINT job");
    if (rc)
        return rc;
    j->rc = j->apply(j, q->c.db);
    if (j->rc && sqlite3_get_autocommit(q->c.db))
        return j->rc; /* SQLite has rolled everything back */
    if (j->rc)
        rc = run(q, "ROLLBACK TO job");
    return rc ? rc : run(q, "RELEASE job");
}

static bool any_prompt(const struct commit_job *j)
{
    while (j && j->lazy)
        j = j->next;
    return j != NULL;
}

/* FULL for a batch that somebody waits for, NORMAL for one of lazy jobs only. */
static rag_code choose_sync(struct commit_queue *q, bool full)
{
    rag_code rc = full == q->full ? RAG_OK : exec(q, full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL");
    if (!rc)
        q->full = full;
    return rc;
}

static int count_frames(void *ctx, sqlite3 *db, const char *name, int frames)
{
    struct commit_queue *q = ctx;
    (void)db;
    (void)name;
    q->wal_frames = frames;
    return SQLITE_OK;
}

static void commit_batch(struct commit_queue *q, struct commit_job *batch)
{
    rag_code rc = choose_sync(q, any_prompt(batch));
    if (!rc)
        rc = run(q, "BEGIN IMMEDIATE");
    for (struct commit_job *j = batch; j; j = j->next) {
        j->rc = RAG_OK;
        if (!rc)
            rc = apply_one(q, j);
    }
    if (!rc)
        rc = run(q, "COMMIT");
    if (rc && !sqlite3_get_autocommit(q->c.db))
        exec(q, "ROLLBACK");
    for (struct commit_job *j = batch, *next; j; j = next) {
        next = j->next; /* done may free it */
        j->done(j, j->rc ? j->rc : rc);
    }
    if (q->wal_frames > CHECKPOINT_FRAMES)
        sqlite3_wal_checkpoint_v2(q->c.db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL); /* or after a later batch */
}

static void *queue_main(void *arg)
{
    struct commit_queue *q = arg;
    struct commit_job *batch;
    while ((batch = take_batch(q)) != NULL)
        commit_batch(q, batch);
    return NULL;
}

void commit_queue_submit(struct commit_queue *q, struct commit_job *j)
{
    j->next = NULL;
    pthread_mutex_lock(&q->mu);
    RAG_ASSERT(q->started && (!q->closing || pthread_equal(pthread_self(), q->thread)));
    bool wake = !q->head || (!j->lazy && q->n_prompt == 0);
    *q->tail = j;
    q->tail = &j->next;
    q->n_prompt += !j->lazy;
    if (wake)
        pthread_cond_signal(&q->wake);
    pthread_mutex_unlock(&q->mu);
}

/* ---- opening --------------------------------------------------------------------------------------------- */

static rag_code fail(struct commit_queue *q, rag_code rc, const char *what, struct rag_err *err)
{
    return rag_err_set(err, rc, "%s %s: %s: %s", q->name, q->path, what,
                       q->c.db && sqlite3_errcode(q->c.db) ? sqlite3_errmsg(q->c.db) : rag_code_name(rc));
}

static rag_code fail_sql(struct commit_queue *q, int sqlite_rc, const char *what, struct rag_err *err)
{
    return fail(q, conn_fail(&q->c, sqlite_rc, what, NULL), what, err);
}

/* SQLite makes files 0644; the -wal and -shm take the mode of the file. O_EXCL: closing a descriptor of a file that is
 * open elsewhere in the process would drop its locks. */
static rag_code make_file(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == EEXIST ? RAG_OK : rag_code_from_errno(errno);
    close(fd);
    return RAG_OK;
}

static rag_code connect_file(struct commit_queue *q, struct rag_err *err)
{
    rag_code code = q->read_only ? RAG_OK : make_file(q->path);
    if (code)
        return fail(q, code, "cannot make it", err);
    if (q->read_only && access(q->path, F_OK) != 0)
        return fail(q, rag_code_from_errno(errno), "cannot open", err);
    int rc = sqlite3_open_v2(
        q->path, &q->c.db,
        (q->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc)
        return fail_sql(q, rc, "cannot open", err);
    sqlite3_extended_result_codes(q->c.db, 1);
    sqlite3_busy_timeout(q->c.db, 5000);
    if (!q->read_only && sqlite3_db_readonly(q->c.db, "main") == 1)
        return fail(q, RAG_EREADONLY, "cannot be written", err);
    rc = sqlite3_exec(q->c.db, "PRAGMA cache_size=-4096; PRAGMA mmap_size=0; PRAGMA trusted_schema=OFF;",
                      NULL, NULL, NULL);
    return rc ? fail_sql(q, rc, "cannot open", err) : RAG_OK;
}

static rag_code read_int(struct commit_queue *q, const char *sql, int64_t *out, struct rag_err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(q->c.db, sql, -1, &st, NULL);
    if (!rc)
        rc = sqlite3_step(st);
    rag_code code = rc == SQLITE_ROW ? RAG_OK : fail_sql(q, rc, "cannot read it", err);
    if (!code)
        *out = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return code;
}

/* Whose file it is; *version is 0 for an empty one. */
static rag_code check_owner(struct commit_queue *q, const struct commit_options *opt, int64_t *version,
                            struct rag_err *err)
{
    int64_t app = 0, tables = 0;
    rag_code rc = read_int(q, "PRAGMA user_version", version, err);
    if (!rc)
        rc = read_int(q, "PRAGMA application_id", &app, err);
    if (!rc)
        rc = read_int(q, "SELECT count(*) FROM sqlite_schema", &tables, err);
    if (rc)
        return rc;
    if ((uint32_t)app != opt->application_id && (app || tables || *version))
        return rag_err_set(err, RAG_ECORRUPT, "%s %s: is another program's database", q->name, q->path);
    if (*version > opt->version)
        return rag_err_set(err, RAG_EVERSION, "%s %s: version %lld is newer than this ragd reads (%u)",
                           q->name, q->path, (long long)*version, opt->version);
    if (*version < 0)
        return rag_err_set(err, RAG_ECORRUPT, "%s %s: version %lld", q->name, q->path, (long long)*version);
    if (q->read_only && *version < opt->version)
        return rag_err_set(err, *version ? RAG_EVERSION : RAG_ENOTFOUND,
                           *version ? "%s %s: of an older version: ragd serve brings it up to date"
                                    : "%s %s: nothing in it yet",
                           q->name, q->path);
    return RAG_OK;
}

static rag_code check_bytes(struct commit_queue *q, struct rag_err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(q->c.db, "PRAGMA quick_check(1)", -1, &st, NULL);
    if (!rc)
        rc = sqlite3_step(st);
    rag_code code = rc == SQLITE_ROW ? RAG_OK : fail_sql(q, rc, "cannot check it", err);
    const char *said = code ? NULL : (const char *)sqlite3_column_text(st, 0);
    if (said && strrchr(said, '\n')) /* behind "*** in database main ***" */
        said = strrchr(said, '\n') + 1;
    if (!code && (!said || strcmp(said, "ok") != 0))
        code = rag_err_set(err, RAG_ECORRUPT, "%s %s: damaged: %s", q->name, q->path, said ? said : "?");
    sqlite3_finalize(st);
    return code;
}

static rag_code use_wal(struct commit_queue *q, struct rag_err *err)
{
    int rc = sqlite3_exec(q->c.db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
    q->full = true;
    sqlite3_wal_hook(q->c.db, count_frames, q); /* in the place of the automatic checkpoint */
    if (!rc)
        rc = sqlite3_exec(q->c.db, "PRAGMA synchronous=FULL", NULL, NULL, NULL);
    return rc ? fail_sql(q, rc, "cannot use a write-ahead log", err) : RAG_OK;
}

static rag_code migrate(struct commit_queue *q, const struct commit_options *opt, uint32_t from,
                        struct rag_err *err)
{
    char sql[128];
    snprintf(sql, sizeof sql, "PRAGMA user_version=%u; PRAGMA application_id=%d; COMMIT", opt->version,
             (int)opt->application_id);
    int rc = sqlite3_exec(q->c.db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (rc)
        return fail_sql(q, rc, "cannot be written", err);
    rag_code code = opt->migrate(q->c.db, from, err);
    if (!code && (rc = sqlite3_exec(q->c.db, sql, NULL, NULL, NULL)) != 0)
        code = fail_sql(q, rc, "cannot be written", err);
    if (code && !sqlite3_get_autocommit(q->c.db))
        sqlite3_exec(q->c.db, "ROLLBACK", NULL, NULL, NULL);
    return code;
}

static rag_code open_file(struct commit_queue *q, const struct commit_options *opt, struct rag_err *err)
{
    int64_t version = 0;
    rag_code rc = connect_file(q, err);
    if (!rc)
        rc = check_owner(q, opt, &version, err);
    if (!rc && !q->read_only)
        rc = use_wal(q, err);
    if (!rc && !opt->unchecked)
        rc = check_bytes(q, err);
    if (!rc && version < opt->version)
        rc = migrate(q, opt, (uint32_t)version, err);
    return rc;
}

rag_code commit_queue_open(const struct commit_options *opt, struct commit_queue **out, struct rag_err *err)
{
    struct commit_queue *q = mem_zalloc(MEM_STORE, sizeof *q);
    if (!q)
        return rag_err_set(err, RAG_ENOMEM, "%s: out of memory", opt->name);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&q->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&q->mu, NULL);
    q->tail = &q->head;
    q->linger_ms = opt->linger_ms;
    q->read_only = opt->read_only;
    snprintf(q->name, sizeof q->name, "%s", opt->name);
    rag_code rc = RAG_OK;
    if (snprintf(q->path, sizeof q->path, "%s", opt->path) >= (int)sizeof q->path)
        rc = rag_err_set(err, RAG_ETOOBIG, "%s: path too long", opt->name);
    if (!rc)
        rc = open_file(q, opt, err);
    if (!rc && !q->read_only) {
        q->started = pthread_create(&q->thread, NULL, queue_main, q) == 0;
        if (!q->started)
            rc = rag_err_set(err, RAG_ENOMEM, "%s: cannot start a thread", q->name);
    }
    if (rc)
        commit_queue_close(q);
    else
        *out = q;
    return rc;
}

sqlite3 *commit_queue_db(struct commit_queue *q)
{
    return q->c.db;
}

rag_code commit_queue_code(sqlite3 *db)
{
    struct conn c = {.db = db};
    return conn_fail(&c, sqlite3_extended_errcode(db), "run a statement", NULL);
}

void commit_queue_close(struct commit_queue *q)
{
    if (!q)
        return;
    if (q->started) {
        pthread_mutex_lock(&q->mu);
        q->closing = true;
        pthread_cond_signal(&q->wake);
        pthread_mutex_unlock(&q->mu);
        pthread_join(q->thread, NULL);
        sqlite3_wal_checkpoint_v2(q->c.db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL,
                                  NULL); /* or the next start does it */
    }
    for (sqlite3_stmt *st; q->c.db && (st = sqlite3_next_stmt(q->c.db, NULL)) != NULL;)
        sqlite3_finalize(st);
    q->c.n_cached = 0; /* those were among them */
    conn_close(&q->c);
    pthread_cond_destroy(&q->wake);
    pthread_mutex_destroy(&q->mu);
    mem_free(MEM_STORE, q);
}
