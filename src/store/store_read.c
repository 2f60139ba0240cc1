/* The reading side: a read-only connection for each thread that needs one, with short transactions. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "store/store_int.h"

/* A WAL database in a folder that cannot be written has nowhere to put its -shm. When no -wal waits to be
 * recovered, the file alone is the whole truth and nobody can be writing it: SQLite calls that immutable. */
static rag_code open_immutable(struct store_reader *r, const struct store_options *opt, struct rag_err *err)
{
    char uri[3 * 4096 + 64], wal[4200];
    struct stat st;
    size_t n = 0;
    if (snprintf(wal, sizeof wal, "%s/ragd.db-wal", opt->dir) >= (int)sizeof wal || strlen(opt->dir) >= 4096)
        return rag_err_set(err, RAG_ETOOBIG, "database: path too long");
    if (stat(wal, &st) == 0 && st.st_size > 0)
        return rag_err_set(err, RAG_EREADONLY, "database: %s must be recovered first and cannot be written",
                           wal);
    n += (size_t)snprintf(uri, sizeof uri, "file:");
    for (const char *p = opt->dir; *p; p++)
        n += (size_t)snprintf(uri + n, sizeof uri - n, *p == '%' || *p == '?' || *p == '#' ? "%%%02x" : "%c",
                              (unsigned char)*p);
    snprintf(uri + n, sizeof uri - n, "/ragd.db?immutable=1");
    int rc =
        sqlite3_open_v2(uri, &r->c.db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, NULL);
    return rc ? conn_fail(&r->c, rc, "open", err)
              : conn_exec(&r->c, "PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF", err);
}

static rag_code open_usual(struct store_reader *r, const struct store_options *opt, struct rag_err *err)
{
    /* Not SQLITE_OPEN_READONLY: the first reader of a WAL database may have to make its -shm file. */
    rag_code rc = conn_open(&r->c, opt, opt->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE, err);
    if (!rc && !opt->read_only) /* the writer's connection alone checkpoints (WAL-reset race of 3.40) */
        sqlite3_db_config(r->c.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
    return rc ? rc
              : conn_exec(&r->c, "SELECT 1 FROM sqlite_schema LIMIT 1", err); /* now the files are opened */
}

rag_code store_reader_open(const struct store_options *opt, struct store_reader **out, struct rag_err *err)
{
    int version = 0;
    struct store_reader *r = mem_zalloc(MEM_STORE, sizeof *r);
    *out = NULL;
    if (!r)
        return rag_err_set(err, RAG_ENOMEM, "database: out of memory");
    rag_code rc = open_usual(r, opt, err);
    if (rc == RAG_EREADONLY && opt->read_only) {
        conn_close(&r->c);
        rc = open_immutable(r, opt, err);
    }
    if (!rc)
        rc = conn_exec(&r->c, "PRAGMA query_only=ON; PRAGMA cache_size=-2048;", err);
    if (!rc)
        rc = schema_check(&r->c, &version, err);
    if (!rc && version < STORE_SCHEMA_VERSION)
        rc = rag_err_set(err, RAG_EVERSION, "database: schema %d must be migrated by a start of ragd first",
                         version);
    if (rc) {
        store_reader_close(r);
        return rc;
    }
    *out = r;
    return RAG_OK;
}

void store_reader_close(struct store_reader *r)
{
    if (!r)
        return;
    conn_close(&r->c);
    mem_free(MEM_STORE, r);
}

rag_code reader_snapshot(struct store_reader *r, bool *mine, struct rag_err *err)
{
    sqlite3_stmt *st;
    *mine = sqlite3_get_autocommit(r->c.db) != 0;
    if (!*mine)
        return RAG_OK;
    rag_code rc = conn_prepare(&r->c, "BEGIN", &st, err);
    if (!rc)
        rc = conn_run(&r->c, st, "begin to read", err);
    *mine = rc == RAG_OK;
    return rc;
}

void reader_snapshot_end(struct store_reader *r, bool mine)
{
    if (mine && !sqlite3_get_autocommit(r->c.db))
        sqlite3_exec(r->c.db, "ROLLBACK", NULL, NULL,
                     NULL); /* it only read: nothing to commit, and this cannot fail */
}

static struct str column_str(sqlite3_stmt *st, int i, struct arena *a, bool *failed)
{
    const char *p = (const char *)sqlite3_column_text(st, i);
    size_t n = (size_t)sqlite3_column_bytes(st, i);
    if (!p) {
        if (sqlite3_column_type(st, i) != SQLITE_NULL)
            *failed = true; /* no memory for its terminating NUL */
        return (struct str){0};
    }
    char *copy = arena_strndup(a, p, n);
    if (!copy)
        *failed = true;
    return str_make(copy, copy ? n : 0);
}

/* Rows into an array that grows in the arena. */
static void *grow(struct arena *a, void *old, uint32_t n, uint32_t *cap, size_t size)
{
    if (n < *cap)
        return old;
    uint32_t next = *cap ? *cap * 2 : 16;
    void *p = arena_array(a, next, size);
    if (p && n)
        memcpy(p, old, n * size);
    *cap = next;
    return p;
}

rag_code reader_end(struct store_reader *r, sqlite3_stmt *st, int rc, bool failed, struct rag_err *err)
{
    rag_code code = failed ? rag_err_set(err, RAG_ENOMEM, "database: out of memory")
                    : rc == SQLITE_DONE || rc == SQLITE_ROW ? RAG_OK
                                                            : conn_fail(&r->c, rc, "read", err);
    sqlite3_reset(st);
    return code;
}

rag_code store_collections(struct store_reader *r, struct arena *a, struct store_collection **out,
                           uint32_t *n, struct rag_err *err)
{
    sqlite3_stmt *st;
    uint32_t cap = 0;
    bool failed = false;
    *out = NULL;
    *n = 0;
    rag_code rc =
        conn_prepare(&r->c, "SELECT id, name, settings, created_ms FROM collections ORDER BY name", &st, err);
    if (rc)
        return rc;
    int got;
    while (!failed && (got = sqlite3_step(st)) == SQLITE_ROW) {
        *out = grow(a, *out, *n, &cap, sizeof **out);
        if (!*out) {
            failed = true;
            break;
        }
        (*out)[(*n)++] = (struct store_collection){.id = sqlite3_column_int64(st, 0),
                                                   .name = column_str(st, 1, a, &failed),
                                                   .settings = column_str(st, 2, a, &failed),
                                                   .created_ms = sqlite3_column_int64(st, 3)};
    }
    return reader_end(r, st, failed ? SQLITE_DONE : got, failed, err);
}

#define VERSION_COLUMNS                                                                                      \
    "v.collection, v.id, v.version, v.seq, v.title, v.source, v.metadata, v.content_hash, d.created_ms,"     \
    " v.updated_ms, d.n_chunks, v.text_len, d.seq"

static void read_document(sqlite3_stmt *st, struct arena *a, struct store_document *d, bool *failed)
{
    *d = (struct store_document){.collection = sqlite3_column_int64(st, 0),
                                 .id = column_str(st, 1, a, failed),
                                 .version = (uint32_t)sqlite3_column_int64(st, 2),
                                 .seq = sqlite3_column_int64(st, 3),
                                 .title = column_str(st, 4, a, failed),
                                 .source = column_str(st, 5, a, failed),
                                 .metadata = column_str(st, 6, a, failed),
                                 .created_ms = sqlite3_column_int64(st, 8),
                                 .updated_ms = sqlite3_column_int64(st, 9),
                                 .text = {NULL, (size_t)sqlite3_column_int64(st, 11)}};
    if (sqlite3_column_bytes(st, 7) == 32)
        memcpy(d->content_hash, sqlite3_column_blob(st, 7), 32);
    if (sqlite3_column_int64(st, 12) == d->seq)
        d->n_chunks = (uint32_t)sqlite3_column_int64(st, 10);
}

static rag_code read_chunks(struct store_reader *r, struct arena *a, struct store_document *d,
                            struct rag_err *err)
{
    sqlite3_stmt *st;
    bool failed = false;
    uint32_t want = d->n_chunks, n = 0;
    d->n_chunks = 0;
    if (!want)
        return RAG_OK;
    if (want > d->text.len) /* each holds a byte at least: allocate nothing on the word of a damaged row */
        return rag_err_set(err, RAG_ECORRUPT, "database: document %.*s: more chunks than its text can hold",
                           (int)(d->id.len < 200 ? d->id.len : 200), d->id.ptr);
    rag_code rc =
        conn_prepare(&r->c,
                     "SELECT start, end, char_start, char_end, heading_path, page FROM chunks WHERE seq=?1"
                     " ORDER BY ordinal",
                     &st, err);
    if (rc)
        return rc;
    struct store_chunk *c = arena_array(a, want, sizeof *c);
    if (!c)
        return rag_err_set(err, RAG_ENOMEM, "database: out of memory");
    sqlite3_bind_int64(st, 1, d->seq);
    int got;
    bool inside = true;
    while ((got = sqlite3_step(st)) == SQLITE_ROW && n < want && inside && !failed) {
        int64_t start = sqlite3_column_int64(st, 0), end = sqlite3_column_int64(st, 1);
        c[n++] = (struct store_chunk){(uint32_t)start, (uint32_t)end, (uint32_t)sqlite3_column_int64(st, 2),
                                      (uint32_t)sqlite3_column_int64(st, 3), column_str(st, 4, a, &failed),
                                      (uint32_t)sqlite3_column_int64(st, 5)};
        inside = start >= 0 && start <= end && (uint64_t)end <= d->text.len &&
                 c[n - 1].char_start <= c[n - 1].char_end;
    }
    rc = reader_end(r, st, got, failed, err);
    if (rc)
        return rc;
    if (!inside || n != want || got == SQLITE_ROW)
        return rag_err_set(err, RAG_ECORRUPT, "database: document %.*s: its chunks do not fit its text",
                           (int)(d->id.len < 200 ? d->id.len : 200), d->id.ptr);
    d->chunks = c;
    d->n_chunks = n;
    return RAG_OK;
}

/* One row of `st` with its text and, for the current version, its chunks, of one snapshot: between two
 * statements the writer may replace the document and take the chunks away. */
static rag_code read_whole(struct store_reader *r, sqlite3_stmt *st, struct arena *a,
                           struct store_document *out, struct rag_err *err)
{
    bool failed = false, mine;
    rag_code rc = reader_snapshot(r, &mine, err);
    if (rc)
        return rc;
    int got = sqlite3_step(st);
    if (got == SQLITE_ROW) {
        read_document(st, a, out, &failed);
        out->text = column_str(st, 13, a, &failed);
    }
    rc = reader_end(r, st, got, failed, err);
    if (!rc && got == SQLITE_DONE)
        rc = rag_err_set(err, RAG_ENOTFOUND, "no such document or version");
    if (!rc)
        rc = read_chunks(r, a, out, err);
    reader_snapshot_end(r, mine);
    return rc;
}

rag_code store_get(struct store_reader *r, int64_t collection, struct str id, uint32_t version,
                   struct arena *a, struct store_document *out, struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc =
        conn_prepare(&r->c,
                     "SELECT " VERSION_COLUMNS ", v.text FROM documents d JOIN versions v"
                     " ON v.collection=d.collection AND v.id=d.id AND v.version=iif(?3=0, d.version, ?3)"
                     " WHERE d.collection=?1 AND d.id=?2",
                     &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, collection);
    bind_str(st, 2, id);
    sqlite3_bind_int64(st, 3, version);
    return read_whole(r, st, a, out, err);
}

rag_code store_get_by_seq(struct store_reader *r, int64_t seq, struct arena *a, struct store_document *out,
                          struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc =
        conn_prepare(&r->c,
                     "SELECT " VERSION_COLUMNS ", v.text FROM documents d JOIN versions v ON v.seq=d.seq"
                     " WHERE d.seq=?1",
                     &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, seq);
    return read_whole(r, st, a, out, err);
}

static rag_code read_list(struct store_reader *r, sqlite3_stmt *st, struct arena *a,
                          struct store_document **out, uint32_t *n, struct rag_err *err)
{
    uint32_t cap = 0;
    bool failed = false;
    int got = SQLITE_DONE;
    *out = NULL;
    *n = 0;
    while (!failed && (got = sqlite3_step(st)) == SQLITE_ROW) {
        *out = grow(a, *out, *n, &cap, sizeof **out);
        if (!*out)
            failed = true;
        else
            read_document(st, a, &(*out)[(*n)++], &failed);
    }
    return reader_end(r, st, got, failed, err);
}

rag_code store_list(struct store_reader *r, int64_t collection, struct str after, uint32_t limit,
                    struct arena *a, struct store_document **out, uint32_t *n, struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&r->c,
                               "SELECT " VERSION_COLUMNS " FROM documents d JOIN versions v ON v.seq=d.seq"
                               " WHERE d.collection=?1 AND d.id>?2 ORDER BY d.id LIMIT ?3",
                               &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, collection);
    bind_str(st, 2, after);
    sqlite3_bind_int64(st, 3, limit);
    return read_list(r, st, a, out, n, err);
}

rag_code store_versions(struct store_reader *r, int64_t collection, struct str id, struct arena *a,
                        struct store_document **out, uint32_t *n, struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&r->c,
                               "SELECT " VERSION_COLUMNS " FROM documents d JOIN versions v"
                               " ON v.collection=d.collection AND v.id=d.id"
                               " WHERE d.collection=?1 AND d.id=?2 ORDER BY v.version DESC",
                               &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, collection);
    bind_str(st, 2, id);
    rc = read_list(r, st, a, out, n, err);
    return rc ? rc : *n ? RAG_OK : rag_err_set(err, RAG_ENOTFOUND, "no such document");
}

rag_code store_each_seq(struct store_reader *r, rag_code (*each)(void *ctx, int64_t collection, int64_t seq),
                        void *ctx, struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&r->c, "SELECT collection, seq FROM documents ORDER BY seq", &st, err);
    if (rc)
        return rc;
    int got = SQLITE_DONE;
    while (!rc && (got = sqlite3_step(st)) == SQLITE_ROW)
        rc = each(ctx, sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1));
    rag_code ended = reader_end(r, st, got, false, err);
    return rc ? rag_err_set(err, rc, "database: %s", rag_code_name(rc)) : ended;
}

/* One row of up to two numbers; ?1 is arg where the statement has it. */
static rag_code numbers(struct store_reader *r, const char *sql, int64_t arg, uint64_t *x, uint64_t *y,
                        struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&r->c, sql, &st, err);
    if (rc)
        return rc;
    if (sqlite3_bind_parameter_count(st))
        sqlite3_bind_int64(st, 1, arg);
    int got = sqlite3_step(st);
    if (got == SQLITE_ROW) {
        *x = (uint64_t)sqlite3_column_int64(st, 0);
        if (y)
            *y = (uint64_t)sqlite3_column_int64(st, 1);
    }
    return reader_end(r, st, got, false, err);
}

rag_code store_last_seq(struct store_reader *r, int64_t *out, struct rag_err *err)
{
    uint64_t seq = 0;
    rag_code rc = numbers(r, "SELECT seq FROM sqlite_sequence WHERE name='versions'", 0, &seq, NULL, err);
    *out = (int64_t)seq;
    return rc;
}

rag_code store_count(struct store_reader *r, int64_t collection, struct store_counts *out,
                     struct rag_err *err)
{
    bool mine;
    *out = (struct store_counts){0};
    rag_code rc = reader_snapshot(r, &mine, err);
    if (rc)
        return rc;
    rc = numbers(r, "SELECT count(*) FROM collections", 0, &out->collections, NULL, err);
    if (!rc && collection)
        rc = numbers(r, "SELECT count(*), coalesce(sum(n_chunks), 0) FROM documents WHERE collection=?1",
                     collection, &out->documents, &out->chunks, err);
    else if (!rc)
        rc = numbers(r, "SELECT count(*), coalesce(sum(n_chunks), 0) FROM documents", 0, &out->documents,
                     &out->chunks, err);
    reader_snapshot_end(r, mine);
    return rc;
}
