/* A SQLite connection: opening, errors as rag_codes, cached statements, memory through base/mem.h. */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/store_int.h"

/* ---- memory: counted under MEM_STORE, and tests can fail the n-th allocation inside SQLite ------------------ */

static void *sql_malloc(int n)
{
    return mem_alloc(MEM_STORE, (size_t)n);
}

static void sql_free(void *p)
{
    mem_free(MEM_STORE, p);
}

static void *sql_realloc(void *p, int n)
{
    return mem_realloc(MEM_STORE, p, (size_t)n);
}

static int sql_size(void *p)
{
    return p ? (int)malloc_usable_size(p) : 0;
}

static int sql_roundup(int n)
{
    return (n + 7) & ~7;
}

static int sql_init(void *ctx)
{
    (void)ctx;
    return SQLITE_OK;
}

static void sql_shutdown(void *ctx)
{
    (void)ctx;
}

static void configure(void)
{
    static const sqlite3_mem_methods methods = {sql_malloc,  sql_free, sql_realloc,  sql_size,
                                                sql_roundup, sql_init, sql_shutdown, NULL};
    /* Refused when SQLite is in use already: then it keeps its own allocator, which is no harm. Its statistics
     * would take a global lock at every allocation. */
    sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

/* ---- errors ---------------------------------------------------------------------------------------------- */

/* The reason behind "cannot open" and "I/O error". */
static rag_code code_of_errno(const struct conn *c, rag_code otherwise)
{
    int e = c->db ? sqlite3_system_errno(c->db) : 0;
    switch (e) {
    case ENOSPC:
    case EDQUOT:
    case EROFS:
    case EACCES:
    case EPERM:
    case ENOMEM: return rag_code_from_errno(e);
    default: return otherwise;
    }
}

static rag_code code_of(const struct conn *c, int rc)
{
    switch (rc & 0xff) {
    case SQLITE_FULL: return RAG_ENOSPC;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH: return RAG_EREADONLY;
    case SQLITE_CANTOPEN: /* errno ENOENT: the read-only attempt after "may not create the -wal or -shm" */
        return code_of_errno(c, c->db && sqlite3_system_errno(c->db) == ENOENT ? RAG_EREADONLY : RAG_EIO);
    case SQLITE_IOERR: return rc == SQLITE_IOERR_NOMEM ? RAG_ENOMEM : code_of_errno(c, RAG_EIO);
    case SQLITE_NOMEM: return RAG_ENOMEM;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return RAG_ECORRUPT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return RAG_EBUSY;
    case SQLITE_TOOBIG: return RAG_ETOOBIG;
    default: return RAG_EIO;
    }
}

rag_code conn_fail(struct conn *c, int rc, const char *what, struct rag_err *err)
{
    c->last_failure = code_of(c, rc);
    return rag_err_set(err, c->last_failure, "database: cannot %s: %s", what,
                       c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(rc));
}

rag_code conn_exec(struct conn *c, const char *sql, struct rag_err *err)
{
    int rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
    return rc ? conn_fail(c, rc, "run a statement", err) : RAG_OK;
}

/* ---- opening --------------------------------------------------------------------------------------------- */

rag_code conn_open(struct conn *c, const struct store_options *opt, int flags, struct rag_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    char path[4096];
    pthread_once(&once, configure);
    if (snprintf(path, sizeof path, "%s/ragd.db", opt->dir) >= (int)sizeof path)
        return rag_err_set(err, RAG_ETOOBIG, "database: path too long");
    int rc = sqlite3_open_v2(path, &c->db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc) {
        rag_code code = conn_fail(c, rc, "open", err);
        if (c->db && sqlite3_system_errno(c->db) == ENOENT)
            code = flags & SQLITE_OPEN_CREATE && access(opt->dir, F_OK) == 0 ? RAG_EREADONLY : RAG_ENOTFOUND;
        return rag_err_set(err, code, "%s: cannot open: %s", path, rag_code_name(code));
    }
    sqlite3_extended_result_codes(c->db, 1);
    sqlite3_busy_timeout(c->db, 5000);
    /* SQLite falls back to reading when the file cannot be written. */
    if (flags & SQLITE_OPEN_READWRITE && sqlite3_db_readonly(c->db, "main") == 1)
        return rag_err_set(err, RAG_EREADONLY, "%s: cannot be written", path);
    return conn_exec(
        c, "PRAGMA foreign_keys=ON; PRAGMA cache_size=-8192; PRAGMA mmap_size=0; PRAGMA trusted_schema=OFF;",
        err);
}

void conn_close(struct conn *c)
{
    for (unsigned i = 0; i < c->n_cached; i++)
        sqlite3_finalize(c->cache[i].stmt);
    c->n_cached = 0;
    sqlite3_close(c->db);
    c->db = NULL;
}

/* ---- statements ------------------------------------------------------------------------------------------ */

rag_code conn_prepare(struct conn *c, const char *sql, sqlite3_stmt **out, struct rag_err *err)
{
    for (unsigned i = 0; i < c->n_cached; i++)
        if (c->cache[i].sql == sql) {
            *out = c->cache[i].stmt;
            sqlite3_reset(*out);
            sqlite3_clear_bindings(*out);
            return RAG_OK;
        }
    RAG_ASSERT(c->n_cached < STORE_STATEMENTS);
    int rc = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL);
    if (rc)
        return conn_fail(c, rc, "prepare a statement", err);
    c->cache[c->n_cached].sql = sql;
    c->cache[c->n_cached++].stmt = *out;
    return RAG_OK;
}

rag_code conn_run(struct conn *c, sqlite3_stmt *st, const char *what, struct rag_err *err)
{
    int rc = sqlite3_step(st);
    rag_code code = rc == SQLITE_DONE ? RAG_OK : conn_fail(c, rc, what, err);
    sqlite3_reset(st);
    return code;
}
