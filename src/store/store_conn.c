#include <stdio.h>
#include <string.h>

#include "store/store_int.h"

rag_code conn_fail(struct conn *c, int rc, const char *what, struct rag_err *err)
{
    rag_code code = RAG_EIO;
    switch (rc & 0xff) {
    case SQLITE_FULL: code = RAG_ENOSPC; break;
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM: code = RAG_EREADONLY; break;
    case SQLITE_NOMEM: code = RAG_ENOMEM; break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: code = RAG_ECORRUPT; break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: code = RAG_EBUSY; break;
    case SQLITE_TOOBIG: code = RAG_ETOOBIG; break;
    default: break;
    }
    return rag_err_set(err, code, "database: cannot %s: %s", what, c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(rc));
}

rag_code conn_exec(struct conn *c, const char *sql, struct rag_err *err)
{
    int rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
    return rc ? conn_fail(c, rc, "run a statement", err) : RAG_OK;
}

rag_code conn_open(struct conn *c, const struct store_options *opt, int flags, struct rag_err *err)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/ragd.db", opt->dir) >= (int)sizeof path)
        return rag_err_set(err, RAG_ETOOBIG, "database: path too long");
    int rc = sqlite3_open_v2(path, &c->db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc)
        return conn_fail(c, rc, "open", err);
    sqlite3_extended_result_codes(c->db, 1);
    sqlite3_busy_timeout(c->db, 5000);
    return conn_exec(c, "PRAGMA foreign_keys=ON; PRAGMA cache_size=-8192; PRAGMA mmap_size=0; PRAGMA trusted_schema=OFF;", err);
}

void conn_close(struct conn *c)
{
    for (unsigned i = 0; i < c->n_cached; i++)
        sqlite3_finalize(c->cache[i].stmt);
    c->n_cached = 0;
    sqlite3_close(c->db);
    c->db = NULL;
}

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
    sqlite3_reset(st);
    return rc == SQLITE_DONE ? RAG_OK : conn_fail(c, rc, what, err);
}
