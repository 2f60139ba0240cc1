/* Schema history. A step is SQL that brings user_version n-1 to n; steps are never edited once released. */
#include <stdio.h>

#include "store/store_int.h"

const char *const store_steps[STORE_SCHEMA_VERSION] = {
    /* 1 */
    "CREATE TABLE collections("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, settings TEXT NOT NULL,"
    " created_ms INTEGER NOT NULL);"
    "CREATE TABLE documents("
    " collection INTEGER NOT NULL REFERENCES collections(id) ON DELETE CASCADE,"
    " id TEXT NOT NULL, seq INTEGER NOT NULL UNIQUE, version INTEGER NOT NULL, n_chunks INTEGER NOT NULL,"
    " created_ms INTEGER NOT NULL,"
    " PRIMARY KEY(collection, id)) WITHOUT ROWID;"
    /* One row for each version ever written. seq numbers versions over the whole store. text is NULL once the
     * version is older than the ones kept. */
    "CREATE TABLE versions("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL, id TEXT NOT NULL,"
    " version INTEGER NOT NULL, title TEXT NOT NULL, source TEXT NOT NULL, metadata TEXT NOT NULL, text TEXT,"
    " text_len INTEGER NOT NULL, content_hash BLOB NOT NULL, updated_ms INTEGER NOT NULL,"
    " UNIQUE(collection, id, version),"
    " FOREIGN KEY(collection, id) REFERENCES documents(collection, id) ON DELETE CASCADE"
    " DEFERRABLE INITIALLY DEFERRED);"
    /* Chunks of current versions: spans of the version's text, in bytes and in code points. */
    "CREATE TABLE chunks("
    " seq INTEGER NOT NULL REFERENCES versions(seq) ON DELETE CASCADE, ordinal INTEGER NOT NULL,"
    " start INTEGER NOT NULL, end INTEGER NOT NULL, char_start INTEGER NOT NULL, char_end INTEGER NOT NULL,"
    " heading_path TEXT NOT NULL, PRIMARY KEY(seq, ordinal)) WITHOUT ROWID;"
    "INSERT INTO collections(name, settings, created_ms) VALUES('default', '{}', 0);",
    /* 2: vectors of record, half floats; they go with their chunk. */
    "CREATE TABLE models("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL UNIQUE, name TEXT NOT NULL, dims INTEGER NOT NULL);"
    "CREATE TABLE vectors("
    " seq INTEGER NOT NULL, ordinal INTEGER NOT NULL, model INTEGER NOT NULL, vector BLOB NOT NULL,"
    " PRIMARY KEY(seq, ordinal, model),"
    " FOREIGN KEY(seq, ordinal) REFERENCES chunks(seq, ordinal) ON DELETE CASCADE) WITHOUT ROWID;",
    /* 3: page of a paged document that a chunk starts on; 0: none. */
    "ALTER TABLE chunks ADD COLUMN page INTEGER NOT NULL DEFAULT 0;",
};

static rag_code read_int(struct conn *c, const char *sql, int *out, struct rag_err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(c->db, sql, -1, &st, NULL);
    if (!rc)
        rc = sqlite3_step(st);
    rag_code code = rc == SQLITE_ROW ? RAG_OK : conn_fail(c, rc, "read the version", err);
    if (!code)
        *out = sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    return code;
}

rag_code schema_check(struct conn *c, int *version, struct rag_err *err)
{
    int app = 0, tables = 0;
    rag_code rc = read_int(c, "PRAGMA user_version", version, err);
    if (!rc)
        rc = read_int(c, "PRAGMA application_id", &app, err);
    if (!rc)
        rc = read_int(c, "SELECT count(*) FROM sqlite_schema", &tables, err);
    if (rc)
        return rc;
    if (app != STORE_APPLICATION_ID && (app || tables || *version))
        return rag_err_set(err, RAG_ECORRUPT, "database: ragd.db is not one of ragd's");
    if (*version > STORE_SCHEMA_VERSION)
        return rag_err_set(err, RAG_EVERSION, "database: schema %d is newer than this ragd reads (%d)",
                           *version, STORE_SCHEMA_VERSION);
    return *version < 0 ? rag_err_set(err, RAG_ECORRUPT, "database: schema version %d", *version) : RAG_OK;
}

rag_code schema_migrate(struct conn *c, int version, struct rag_err *err)
{
    char sql[128];
    rag_code rc = conn_exec(c, "BEGIN IMMEDIATE", err);
    for (int v = version; v < STORE_SCHEMA_VERSION && !rc; v++)
        rc = conn_exec(c, store_steps[v], err);
    snprintf(sql, sizeof sql, "PRAGMA user_version=%d; PRAGMA application_id=%d", STORE_SCHEMA_VERSION,
             STORE_APPLICATION_ID);
    if (!rc)
        rc = conn_exec(c, sql, err);
    if (!rc)
        rc = conn_exec(c, "COMMIT", err);
    if (rc && !sqlite3_get_autocommit(c->db))
        sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}
