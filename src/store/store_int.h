/* store/store_int.h - shared by store*.c: a connection with its statements. */
#ifndef RAGD_STORE_INT_H
#define RAGD_STORE_INT_H

#include <sqlite3.h>

#include "store/store.h"

enum { STORE_APPLICATION_ID = 0x52414744, STORE_STATEMENTS = 40 }; /* "RAGD" */

/* One SQLite connection and its prepared statements, by the address of their SQL text. */
struct conn {
    sqlite3 *db;
    struct {
        const char *sql;
        sqlite3_stmt *stmt;
    } cache[STORE_STATEMENTS];
    unsigned n_cached;
    rag_code last_failure;
};
struct store {
    struct conn c;
    bool in_transaction; /* as the caller sees it: SQLite may have rolled back by itself (disk full) */
};
struct store_reader {
    struct conn c;
};

extern const char *const store_steps[STORE_SCHEMA_VERSION];

/* RAG_EVERSION: newer. RAG_ECORRUPT: another program's database. *version is 0 for an empty one. */
rag_code schema_check(struct conn *c, int *version, struct rag_err *err);
/* Runs the steps after `version` in one transaction. */
rag_code schema_migrate(struct conn *c, int version, struct rag_err *err);

rag_code conn_open(struct conn *c, const struct store_options *opt, int flags, struct rag_err *err);
void conn_close(struct conn *c);
rag_code conn_exec(struct conn *c, const char *sql, struct rag_err *err);
/* The SQLite error of the connection as a code with a message. */
rag_code conn_fail(struct conn *c, int sqlite_rc, const char *what, struct rag_err *err);
/* A prepared statement, reset and unbound. `sql` must be a literal. */
rag_code conn_prepare(struct conn *c, const char *sql, sqlite3_stmt **out, struct rag_err *err);
/* Runs to the end a statement that returns no rows. */
rag_code conn_run(struct conn *c, sqlite3_stmt *st, const char *what, struct rag_err *err);

/* Several statements that must see one state of the database. Nests: only the outermost begins and ends. */
rag_code reader_snapshot(struct store_reader *r, bool *mine, struct rag_err *err);
void reader_snapshot_end(struct store_reader *r, bool mine);
/* Resets st; rc is what its last step gave. `failed`: memory was out. */
rag_code reader_end(struct store_reader *r, sqlite3_stmt *st, int rc, bool failed, struct rag_err *err);

static inline void bind_str(sqlite3_stmt *st, int i, struct str s)
{
    sqlite3_bind_text64(st, i, s.ptr ? s.ptr : "", s.len, SQLITE_STATIC, SQLITE_UTF8);
}

#endif
