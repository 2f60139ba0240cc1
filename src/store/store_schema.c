/* Schema history. A step is SQL that brings user_version n-1 to n; steps are never edited once released. */
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
};
