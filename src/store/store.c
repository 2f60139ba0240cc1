/* The writing side. One connection, WAL, synchronous=FULL: a commit that returned is on the disk. */
#include <string.h>

#include "base/mem.h"
#include "store/store_int.h"
#include "sys/file.h"

/* A filesystem without shared memory would silently keep the old journal mode. */
static rag_code use_wal(struct conn *c, struct rag_err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(c->db, "PRAGMA journal_mode=WAL", -1, &st, NULL);
    if (!rc)
        rc = sqlite3_step(st);
    const char *mode = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
    rag_code code = rc != SQLITE_ROW ? conn_fail(c, rc, "open", err)
                    : mode && strcmp(mode, "wal") == 0
                        ? RAG_OK
                        : rag_err_set(err, RAG_EIO, "database: this filesystem has no WAL mode");
    sqlite3_finalize(st);
    return code ? code : conn_exec(c, "PRAGMA synchronous=FULL; PRAGMA journal_size_limit=67108864", err);
}

rag_code store_open(const struct store_options *opt, struct store **out, struct rag_err *err)
{
    int version = 0;
    struct store *s = mem_zalloc(MEM_STORE, sizeof *s);
    *out = NULL;
    if (!s)
        return rag_err_set(err, RAG_ENOMEM, "database: out of memory");
    rag_code rc = conn_open(
        &s->c, opt, opt->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, err);
    if (!rc)
        rc = schema_check(&s->c, &version, err); /* before anything is written: it may be another program's */
    if (!rc && opt->read_only && version < STORE_SCHEMA_VERSION)
        rc = rag_err_set(err, RAG_EVERSION, "database: schema %d must be migrated by a start of ragd first",
                         version);
    if (!rc && !opt->read_only)
        rc = use_wal(&s->c, err);
    if (!rc && version < STORE_SCHEMA_VERSION)
        rc = schema_migrate(&s->c, version, err);
    if (!rc && !opt->read_only && (rc = file_sync_dir(opt->dir))) /* the new file's name */
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
    store_rollback(s);
    /* The last connection's close checkpoints; with readers open this one does what they let it. */
    if (s->c.db && !sqlite3_db_readonly(s->c.db, "main"))
        sqlite3_wal_checkpoint_v2(s->c.db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    conn_close(&s->c);
    mem_free(MEM_STORE, s);
}

/* ---- transactions ---------------------------------------------------------------------------------------- */

/* After some errors (disk full, out of memory) SQLite rolls the whole transaction back by itself. A savepoint
 * set then would start a transaction of its own and commit it on release: everything refuses until commit or
 * rollback has told the caller. */
static rag_code still_in_transaction(struct store *s, struct rag_err *err)
{
    RAG_ASSERT(s->in_transaction);
    if (!sqlite3_get_autocommit(s->c.db))
        return RAG_OK;
    return rag_err_set(err, s->c.last_failure ? s->c.last_failure : RAG_EIO,
                       "database: the transaction was rolled back after: %s",
                       rag_code_name(s->c.last_failure));
}

static rag_code run_sql(struct store *s, const char *sql, const char *what, struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&s->c, sql, &st, err);
    return rc ? rc : conn_run(&s->c, st, what, err);
}

rag_code store_begin(struct store *s, struct rag_err *err)
{
    s->c.last_failure = RAG_OK;
    rag_code rc = run_sql(s, "BEGIN IMMEDIATE", "begin", err);
    s->in_transaction = rc == RAG_OK;
    return rc;
}

rag_code store_commit(struct store *s, struct rag_err *err)
{
    rag_code rc = still_in_transaction(s, err);
    if (!rc)
        rc = run_sql(s, "COMMIT", "commit", err);
    store_rollback(s); /* nothing to do after a commit */
    return rc;
}

void store_rollback(struct store *s)
{
    s->in_transaction = false;
    if (s->c.db && !sqlite3_get_autocommit(s->c.db))
        sqlite3_exec(s->c.db, "ROLLBACK", NULL, NULL, NULL);
}

rag_code store_savepoint(struct store *s, struct rag_err *err)
{
    rag_code rc = still_in_transaction(s, err);
    return rc ? rc : run_sql(s, "SAVEPOINT doc", "set a savepoint", err);
}

rag_code store_release(struct store *s, struct rag_err *err)
{
    rag_code rc = still_in_transaction(s, err);
    return rc ? rc : run_sql(s, "RELEASE doc", "release a savepoint", err);
}

void store_rollback_to_savepoint(struct store *s)
{
    if (!sqlite3_get_autocommit(s->c.db) &&
        sqlite3_exec(s->c.db, "ROLLBACK TO doc; RELEASE doc", NULL, NULL, NULL))
        sqlite3_exec(s->c.db, "ROLLBACK", NULL, NULL, NULL); /* half a document must not be committed */
}

/* ---- collections --------------------------------------------------------------------------------------- */

static bool name_ok(struct str n)
{
    if (n.len < 1 || n.len > 64 || str_eqz(n, ".") || str_eqz(n, ".."))
        return false;
    for (size_t i = 0; i < n.len; i++) {
        char c = n.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
              c == '.' || c == '-'))
            return false;
    }
    return true;
}

rag_code store_collection_add(struct store *s, struct str name, struct str settings, int64_t now_ms,
                              int64_t *id, struct rag_err *err)
{
    sqlite3_stmt *st;
    if (!name_ok(name))
        return rag_err_set(err, RAG_EINVAL, "collection name: not [A-Za-z0-9_.-]{1,64}");
    rag_code rc = conn_prepare(&s->c, "SELECT id FROM collections WHERE name=?1", &st, err);
    if (rc)
        return rc;
    bind_str(st, 1, name);
    int got = sqlite3_step(st);
    if (got == SQLITE_ROW)
        *id = sqlite3_column_int64(st, 0);
    else if (got != SQLITE_DONE)
        rc = conn_fail(&s->c, got, "look a collection up", err);
    sqlite3_reset(st);
    if (got == SQLITE_ROW)
        return rag_err_set(err, RAG_ECONFLICT, "collection %.*s exists", (int)name.len, name.ptr);
    if (!rc)
        rc = conn_prepare(&s->c, "INSERT INTO collections(name, settings, created_ms) VALUES(?1, ?2, ?3)",
                          &st, err);
    if (rc)
        return rc;
    bind_str(st, 1, name);
    bind_str(st, 2, settings);
    sqlite3_bind_int64(st, 3, now_ms);
    rc = conn_run(&s->c, st, "add a collection", err);
    if (!rc)
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
    return rc                         ? rc
           : sqlite3_changes(s->c.db) ? RAG_OK
                                      : rag_err_set(err, RAG_ENOTFOUND, "no such collection");
}

rag_code store_collection_delete(struct store *s, int64_t id, struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&s->c, "DELETE FROM collections WHERE id=?1", &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, id);
    rc = conn_run(&s->c, st, "delete a collection", err);
    return rc                         ? rc
           : sqlite3_changes(s->c.db) ? RAG_OK
                                      : rag_err_set(err, RAG_ENOTFOUND, "no such collection");
}

/* ---- documents ------------------------------------------------------------------------------------------ */

struct current {
    bool exists;
    uint32_t version;
    int64_t seq, created_ms;
    bool same;
};

static rag_code find_current(struct store *s, const struct store_document *d, struct current *out,
                             struct rag_err *err)
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
        out->same =
            sqlite3_column_bytes(st, 3) == 32 && memcmp(sqlite3_column_blob(st, 3), d->content_hash, 32) == 0;
    } else if (got != SQLITE_DONE) {
        rc = conn_fail(&s->c, got, "look a document up", err);
    }
    sqlite3_reset(st);
    return rc;
}

static rag_code insert_version(struct store *s, struct store_document *d, struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc =
        conn_prepare(&s->c,
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
    if (!rc)
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
    rc = conn_run(&s->c, st, "write a document", err);
    if (rc && sqlite3_extended_errcode(s->c.db) == SQLITE_CONSTRAINT_FOREIGNKEY)
        return rag_err_set(err, RAG_ENOTFOUND, "no such collection");
    return rc;
}

static rag_code insert_chunks(struct store *s, const struct store_document *d, struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = RAG_OK;
    for (uint32_t i = 0; i < d->n_chunks && !rc; i++) {
        const struct store_chunk *c = &d->chunks[i];
        rc = conn_prepare(&s->c, "INSERT INTO chunks VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)", &st, err);
        if (rc)
            break;
        sqlite3_bind_int64(st, 1, d->seq);
        sqlite3_bind_int64(st, 2, i);
        sqlite3_bind_int64(st, 3, c->start);
        sqlite3_bind_int64(st, 4, c->end);
        sqlite3_bind_int64(st, 5, c->char_start);
        sqlite3_bind_int64(st, 6, c->char_end);
        bind_str(st, 7, c->heading_path);
        sqlite3_bind_int64(st, 8, c->page);
        rc = conn_run(&s->c, st, "write a chunk", err);
    }
    return rc;
}

/* The replaced version loses its chunks; the one that falls out of the kept window loses its text. */
static rag_code retire_old(struct store *s, const struct store_document *d, int64_t old_seq,
                           struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&s->c, "DELETE FROM chunks WHERE seq=?1", &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, old_seq);
    rc = conn_run(&s->c, st, "drop old chunks", err);
    if (rc || d->version <= STORE_KEEP_VERSIONS)
        return rc;
    rc = conn_prepare(&s->c, "UPDATE versions SET text=NULL WHERE collection=?1 AND id=?2 AND version=?3",
                      &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, d->collection);
    bind_str(st, 2, d->id);
    sqlite3_bind_int64(st, 3, d->version - STORE_KEEP_VERSIONS);
    return conn_run(&s->c, st, "drop an old text", err);
}

static rag_code check_document(const struct store_document *d, struct rag_err *err)
{
    if (d->id.len < 1 || d->id.len > STORE_MAX_ID_BYTES)
        return rag_err_set(err, RAG_EINVAL, "document id: 1 to %d bytes", STORE_MAX_ID_BYTES);
    /* SQLite's limit is 1e9 bytes for a row; a value over it would be bound as NULL */
    if (d->text.len > STORE_MAX_TEXT_BYTES || d->metadata.len > STORE_MAX_TEXT_BYTES / 8 ||
        d->title.len > STORE_MAX_TEXT_BYTES / 8 || d->source.len > STORE_MAX_TEXT_BYTES / 8)
        return rag_err_set(err, RAG_ETOOBIG, "document: larger than the store takes");
    for (uint32_t i = 0; i < d->n_chunks; i++)
        if (d->chunks[i].start > d->chunks[i].end || d->chunks[i].end > d->text.len ||
            d->chunks[i].heading_path.len > STORE_MAX_TEXT_BYTES / 8)
            return rag_err_set(err, RAG_EINVAL, "document: chunk %u is outside its text", i);
    return RAG_OK;
}

rag_code store_put(struct store *s, struct store_document *d, enum store_put_result *result, int64_t *old_seq,
                   struct rag_err *err)
{
    struct current cur = {0};
    rag_code rc = check_document(d, err);
    if (!rc)
        rc = still_in_transaction(s, err);
    if (!rc)
        rc = find_current(s, d, &cur, err);
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
    rag_code rc = still_in_transaction(s, err);
    if (!rc)
        rc = find_current(s, &d, &cur, err);
    if (rc)
        return rc;
    if (!cur.exists)
        return rag_err_set(err, RAG_ENOTFOUND, "no document %.*s", (int)(id.len < 200 ? id.len : 200),
                           id.ptr);
    *seq = cur.seq;
    rc = conn_prepare(&s->c, "DELETE FROM documents WHERE collection=?1 AND id=?2", &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, collection);
    bind_str(st, 2, id);
    return conn_run(&s->c, st, "delete a document", err); /* versions and chunks follow by cascade */
}
