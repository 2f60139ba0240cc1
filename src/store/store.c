/* The writing side. One connection, WAL, synchronous=FULL: a commit that returned is on the disk. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "store/store_int.h"
#include "sys/file.h"

static rag_code pragma_int(struct conn *c, const char *sql, int *out, struct rag_err *err)
{
    sqlite3_stmt *st;
    int rc = sqlite3_prepare_v2(c->db, sql, -1, &st, NULL);
    if (!rc)
        rc = sqlite3_step(st);
    if (rc != SQLITE_ROW) {
        sqlite3_finalize(st);
        return conn_fail(c, rc, "read the version", err);
    }
    *out = sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    return RAG_OK;
}

/* Checks whose database it is and brings it to STORE_SCHEMA_VERSION in one transaction. */
static rag_code migrate(struct conn *c, bool may_write, struct rag_err *err)
{
    int version = 0, app = 0;
    rag_code rc = pragma_int(c, "PRAGMA user_version", &version, err);
    if (!rc)
        rc = pragma_int(c, "PRAGMA application_id", &app, err);
    if (rc)
        return rc;
    if (version > STORE_SCHEMA_VERSION)
        return rag_err_set(err, RAG_EVERSION, "database: schema %d is newer than this ragd reads (%d)", version,
                           STORE_SCHEMA_VERSION);
    if (version > 0 && app != STORE_APPLICATION_ID)
        return rag_err_set(err, RAG_ECORRUPT, "database: not one of ragd's");
    if (version == STORE_SCHEMA_VERSION)
        return RAG_OK;
    if (!may_write)
        return rag_err_set(err, RAG_EVERSION, "database: schema %d must be migrated by a start of ragd first", version);
    rc = conn_exec(c, "BEGIN IMMEDIATE", err);
    for (int v = version; v < STORE_SCHEMA_VERSION && !rc; v++)
        rc = conn_exec(c, store_steps[v], err);
    char sql[128];
    snprintf(sql, sizeof sql, "PRAGMA user_version=%d; PRAGMA application_id=%d", STORE_SCHEMA_VERSION, STORE_APPLICATION_ID);
    if (!rc)
        rc = conn_exec(c, sql, err);
    if (!rc)
        rc = conn_exec(c, "COMMIT", err);
    if (rc)
        sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

rag_code store_open(const struct store_options *opt, struct store **out, struct rag_err *err)
{
    struct store *s = mem_zalloc(MEM_STORE, sizeof *s);
    if (!s)
        return rag_err_set(err, RAG_ENOMEM, "database: out of memory");
    rag_code rc = conn_open(&s->c, opt, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, err);
    if (!rc)
        rc = conn_exec(&s->c, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA journal_size_limit=67108864;", err);
    if (!rc)
        rc = migrate(&s->c, true, err);
    if (!rc && (rc = file_sync_dir(opt->dir))) /* the new file's name */
        rag_err_set(err, rc, "data folder %s: cannot sync", opt->dir);
    if (rc) {
        store_close(s);
        return rc;
    }
    *out = s;
    return RAG_OK;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    conn_close(&s->c);
    mem_free(MEM_STORE, s);
}

rag_code store_begin(struct store *s, struct rag_err *err)
{
    return conn_exec(&s->c, "BEGIN IMMEDIATE", err);
}

rag_code store_commit(struct store *s, struct rag_err *err)
{
    rag_code rc = conn_exec(&s->c, "COMMIT", err);
    if (rc)
        store_rollback(s);
    return rc;
}

void store_rollback(struct store *s)
{
    if (!sqlite3_get_autocommit(s->c.db))
        sqlite3_exec(s->c.db, "ROLLBACK", NULL, NULL, NULL);
}

rag_code store_savepoint(struct store *s, struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&s->c, "SAVEPOINT doc", &st, err);
    return rc ? rc : conn_run(&s->c, st, "set a savepoint", err);
}

rag_code store_release(struct store *s, struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&s->c, "RELEASE doc", &st, err);
    return rc ? rc : conn_run(&s->c, st, "release a savepoint", err);
}

void store_rollback_to_savepoint(struct store *s)
{
    sqlite3_exec(s->c.db, "ROLLBACK TO doc; RELEASE doc", NULL, NULL, NULL);
}

/* ---- collections --------------------------------------------------------------------------------------- */

rag_code store_collection_add(struct store *s, struct str name, struct str settings, int64_t now_ms, int64_t *id,
                              struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&s->c, "SELECT id FROM collections WHERE name=?1", &st, err);
    if (rc)
        return rc;
    bind_str(st, 1, name);
    int found = sqlite3_step(st);
    if (found == SQLITE_ROW) {
        *id = sqlite3_column_int64(st, 0);
        sqlite3_reset(st);
        return rag_err_set(err, RAG_ECONFLICT, "collection %.*s exists", (int)name.len, name.ptr);
    }
    sqlite3_reset(st);
    rc = conn_prepare(&s->c, "INSERT INTO collections(name, settings, created_ms) VALUES(?1, ?2, ?3)", &st, err);
    if (rc)
        return rc;
    bind_str(st, 1, name);
    bind_str(st, 2, settings);
    sqlite3_bind_int64(st, 3, now_ms);
    rc = conn_run(&s->c, st, "add a collection", err);
    *id = sqlite3_last_insert_rowid(s->c.db);
    return rc;
}

rag_code store_collection_set(struct store *s, int64_t id, struct str settings, struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&s->c, "UPDATE collections SET settings=?2 WHERE id=?1", &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, id);
    bind_str(st, 2, settings);
    rc = conn_run(&s->c, st, "change a collection", err);
    return rc ? rc : sqlite3_changes(s->c.db) ? RAG_OK : rag_err_set(err, RAG_ENOTFOUND, "no such collection");
}

rag_code store_collection_delete(struct store *s, int64_t id, struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&s->c, "DELETE FROM collections WHERE id=?1", &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, id);
    rc = conn_run(&s->c, st, "delete a collection", err);
    return rc ? rc : sqlite3_changes(s->c.db) ? RAG_OK : rag_err_set(err, RAG_ENOTFOUND, "no such collection");
}

/* ---- documents ------------------------------------------------------------------------------------------ */

struct current {
    bool exists;
    uint32_t version;
    int64_t seq, created_ms;
    bool same;
};

static rag_code find_current(struct store *s, const struct store_document *d, struct current *out, struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&s->c,
                               "SELECT d.version, d.seq, d.created_ms, v.content_hash FROM documents d"
                               " JOIN versions v ON v.seq=d.seq WHERE d.collection=?1 AND d.id=?2",
                               &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, d->collection);
    bind_str(st, 2, d->id);
    int got = sqlite3_step(st);
    if (got == SQLITE_ROW) {
        out->exists = true;
        out->version = (uint32_t)sqlite3_column_int64(st, 0);
        out->seq = sqlite3_column_int64(st, 1);
        out->created_ms = sqlite3_column_int64(st, 2);
        out->same = sqlite3_column_bytes(st, 3) == 32 && memcmp(sqlite3_column_blob(st, 3), d->content_hash, 32) == 0;
    } else if (got != SQLITE_DONE) {
        rc = conn_fail(&s->c, got, "look a document up", err);
    }
    sqlite3_reset(st);
    return rc;
}

static rag_code insert_version(struct store *s, struct store_document *d, struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&s->c,
                               "INSERT INTO versions(collection, id, version, title, source, metadata, text, text_len,"
                               " content_hash, updated_ms) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                               &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, d->collection);
    bind_str(st, 2, d->id);
    sqlite3_bind_int64(st, 3, d->version);
    bind_str(st, 4, d->title);
    bind_str(st, 5, d->source);
    bind_str(st, 6, d->metadata);
    bind_str(st, 7, d->text);
    sqlite3_bind_int64(st, 8, (int64_t)d->text.len);
    sqlite3_bind_blob(st, 9, d->content_hash, 32, SQLITE_STATIC);
    sqlite3_bind_int64(st, 10, d->updated_ms);
    rc = conn_run(&s->c, st, "write a document", err);
    d->seq = sqlite3_last_insert_rowid(s->c.db);
    return rc;
}

static rag_code upsert_document(struct store *s, const struct store_document *d, struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&s->c,
                               "INSERT INTO documents(collection, id, seq, version, n_chunks, created_ms)"
                               " VALUES(?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT(collection, id) DO UPDATE SET"
                               " seq=excluded.seq, version=excluded.version, n_chunks=excluded.n_chunks",
                               &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, d->collection);
    bind_str(st, 2, d->id);
    sqlite3_bind_int64(st, 3, d->seq);
    sqlite3_bind_int64(st, 4, d->version);
    sqlite3_bind_int64(st, 5, d->n_chunks);
    sqlite3_bind_int64(st, 6, d->created_ms);
    return conn_run(&s->c, st, "write a document", err);
}

static rag_code insert_chunks(struct store *s, const struct store_document *d, struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = RAG_OK;
    for (uint32_t i = 0; i < d->n_chunks && !rc; i++) {
        const struct store_chunk *c = &d->chunks[i];
        rc = conn_prepare(&s->c, "INSERT INTO chunks VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)", &st, err);
        if (rc)
            break;
        sqlite3_bind_int64(st, 1, d->seq);
        sqlite3_bind_int64(st, 2, i);
        sqlite3_bind_int64(st, 3, c->start);
        sqlite3_bind_int64(st, 4, c->end);
        sqlite3_bind_int64(st, 5, c->char_start);
        sqlite3_bind_int64(st, 6, c->char_end);
        bind_str(st, 7, c->heading_path);
        rc = conn_run(&s->c, st, "write a chunk", err);
    }
    return rc;
}

/* The replaced version loses its chunks; the one that falls out of the kept window loses its text. */
static rag_code retire_old(struct store *s, const struct store_document *d, int64_t old_seq, struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&s->c, "DELETE FROM chunks WHERE seq=?1", &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, old_seq);
    rc = conn_run(&s->c, st, "drop old chunks", err);
    if (rc || d->version <= STORE_KEEP_VERSIONS)
        return rc;
    rc = conn_prepare(&s->c, "UPDATE versions SET text=NULL WHERE collection=?1 AND id=?2 AND version=?3", &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, d->collection);
    bind_str(st, 2, d->id);
    sqlite3_bind_int64(st, 3, d->version - STORE_KEEP_VERSIONS);
    return conn_run(&s->c, st, "drop an old text", err);
}

rag_code store_put(struct store *s, struct store_document *d, enum store_put_result *result, int64_t *old_seq,
                   struct rag_err *err)
{
    struct current cur = {0};
    rag_code rc = find_current(s, d, &cur, err);
    if (rc)
        return rc;
    *old_seq = cur.seq;
    d->created_ms = cur.exists ? cur.created_ms : d->updated_ms;
    if (cur.same) {
        *result = STORE_UNCHANGED;
        d->version = cur.version;
        d->seq = cur.seq;
        return RAG_OK;
    }
    *result = cur.exists ? STORE_UPDATED : STORE_ADDED;
    d->version = cur.version + 1;
    rc = insert_version(s, d, err);
    if (!rc)
        rc = upsert_document(s, d, err);
    if (!rc)
        rc = insert_chunks(s, d, err);
    if (!rc && cur.exists)
        rc = retire_old(s, d, cur.seq, err);
    return rc;
}

rag_code store_delete(struct store *s, int64_t collection, struct str id, int64_t *seq, struct rag_err *err)
{
    sqlite3_stmt *st;
    struct current cur = {0};
    struct store_document d = {.collection = collection, .id = id};
    rag_code rc = find_current(s, &d, &cur, err);
    if (rc)
        return rc;
    if (!cur.exists)
        return rag_err_set(err, RAG_ENOTFOUND, "no document %.*s", (int)(id.len < 200 ? id.len : 200), id.ptr);
    *seq = cur.seq;
    rc = conn_prepare(&s->c, "DELETE FROM documents WHERE collection=?1 AND id=?2", &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, collection);
    bind_str(st, 2, id);
    return conn_run(&s->c, st, "delete a document", err); /* versions and chunks follow by cascade */
}
