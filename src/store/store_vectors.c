/* Vectors of record: what the segments' companions are made from, so that a restart embeds nothing twice. */
#include <string.h>

#include "store/store_int.h"

rag_code store_model_add(struct store *s, struct store_model *m, struct rag_err *err)
{
    sqlite3_stmt *st;
    RAG_ASSERT(s->in_transaction);
    rag_code rc = conn_prepare(
        &s->c, "INSERT INTO models(digest, name, dims) VALUES(?1, ?2, ?3) ON CONFLICT(digest) DO UPDATE SET name=?2",
        &st, err);
    if (rc)
        return rc;
    sqlite3_bind_blob(st, 1, m->digest, sizeof m->digest, SQLITE_STATIC);
    bind_str(st, 2, m->name);
    sqlite3_bind_int64(st, 3, m->dims);
    rc = conn_run(&s->c, st, "add a model", err);
    if (!rc)
        rc = conn_prepare(&s->c, "SELECT id FROM models WHERE digest=?1", &st, err);
    if (rc)
        return rc;
    sqlite3_bind_blob(st, 1, m->digest, sizeof m->digest, SQLITE_STATIC);
    int got = sqlite3_step(st);
    if (got == SQLITE_ROW)
        m->id = sqlite3_column_int64(st, 0);
    else
        rc = conn_fail(&s->c, got, "look a model up", err);
    sqlite3_reset(st);
    return rc;
}

rag_code store_vector_put(struct store *s, int64_t model, int64_t seq, uint32_t ordinal, struct str vector,
                          struct rag_err *err)
{
    sqlite3_stmt *st;
    RAG_ASSERT(s->in_transaction);
    rag_code rc = conn_prepare(&s->c,
                               "INSERT OR REPLACE INTO vectors(seq, ordinal, model, vector) SELECT ?1, ?2, ?3, ?4"
                               " WHERE EXISTS(SELECT 1 FROM chunks WHERE seq=?1 AND ordinal=?2)",
                               &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, seq);
    sqlite3_bind_int64(st, 2, ordinal);
    sqlite3_bind_int64(st, 3, model);
    sqlite3_bind_blob64(st, 4, vector.ptr, vector.len, SQLITE_STATIC);
    return conn_run(&s->c, st, "write a vector", err);
}

/* One row with one number, or none: *out stays as it is. */
static rag_code read_number(struct conn *c, sqlite3_stmt *st, const char *what, int64_t *out, struct rag_err *err)
{
    int got = sqlite3_step(st);
    rag_code rc = got == SQLITE_ROW || got == SQLITE_DONE ? RAG_OK : conn_fail(c, got, what, err);
    if (got == SQLITE_ROW)
        *out = sqlite3_column_int64(st, 0);
    sqlite3_reset(st);
    return rc;
}

rag_code store_models_prune(struct store *s, int64_t keep, int64_t *seq, struct rag_err *err)
{
    enum { STEP = 1000 };
    sqlite3_stmt *st;
    int64_t next = 0;
    RAG_ASSERT(s->in_transaction);
    rag_code rc = conn_prepare(&s->c, "DELETE FROM vectors WHERE seq>=?1 AND seq<?2 AND model<>?3", &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, *seq);
    sqlite3_bind_int64(st, 2, *seq + STEP);
    sqlite3_bind_int64(st, 3, keep);
    rc = conn_run(&s->c, st, "drop vectors", err);
    if (!rc)
        rc = conn_prepare(&s->c, "SELECT seq FROM vectors WHERE seq>=?1 ORDER BY seq LIMIT 1", &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, *seq + STEP);
    rc = read_number(&s->c, st, "look for vectors", &next, err);
    if (!rc && !next)
        rc = conn_prepare(&s->c, "DELETE FROM models WHERE id<>?1", &st, err);
    if (!rc && !next) {
        sqlite3_bind_int64(st, 1, keep);
        rc = conn_run(&s->c, st, "drop models", err);
    }
    if (!rc)
        *seq = next;
    return rc;
}

rag_code store_vector_count(struct store_reader *r, int64_t model, uint64_t *n, struct rag_err *err)
{
    sqlite3_stmt *st;
    int64_t count = 0;
    rag_code rc = conn_prepare(&r->c, "SELECT count(*) FROM vectors WHERE model=?1", &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, model);
    rc = read_number(&r->c, st, "count vectors", &count, err);
    *n = (uint64_t)count;
    return rc;
}

rag_code store_vectors_missing(struct store_reader *r, int64_t model, int64_t collection, uint64_t *n,
                               struct rag_err *err)
{
    sqlite3_stmt *st;
    int64_t count = 0;
    rag_code rc = conn_prepare(&r->c,
                               "SELECT count(*) FROM documents d JOIN chunks c ON c.seq=d.seq WHERE d.collection=?1 AND"
                               " NOT EXISTS(SELECT 1 FROM vectors v WHERE v.seq=c.seq AND v.ordinal=c.ordinal AND v.model=?2)",
                               &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, collection);
    sqlite3_bind_int64(st, 2, model);
    rc = read_number(&r->c, st, "count chunks without vectors", &count, err);
    *n = (uint64_t)count;
    return rc;
}

rag_code store_models(struct store_reader *r, struct arena *a, struct store_model **out, uint32_t *n,
                      struct rag_err *err)
{
    enum { MOST = 64 };
    sqlite3_stmt *st;
    *n = 0;
    *out = arena_array(a, MOST, sizeof **out);
    if (!*out)
        return rag_err_set(err, RAG_ENOMEM, "database: out of memory");
    rag_code rc = conn_prepare(&r->c, "SELECT id, digest, name, dims FROM models ORDER BY id", &st, err);
    if (rc)
        return rc;
    int got;
    bool failed = false;
    while ((got = sqlite3_step(st)) == SQLITE_ROW && *n < MOST && !failed) {
        struct store_model *m = &(*out)[*n];
        if (sqlite3_column_bytes(st, 1) != sizeof m->digest)
            continue; /* verify's business */
        m->id = sqlite3_column_int64(st, 0);
        memcpy(m->digest, sqlite3_column_blob(st, 1), sizeof m->digest);
        m->dims = (uint32_t)sqlite3_column_int64(st, 3);
        struct str name = str_make((const char *)sqlite3_column_text(st, 2), (size_t)sqlite3_column_bytes(st, 2));
        char *copy = arena_alloc(a, name.len + 1);
        failed = !copy;
        if (copy) {
            memcpy(copy, name.ptr ? name.ptr : "", name.len);
            m->name = str_make(copy, name.len);
            ++*n;
        }
    }
    return reader_end(r, st, got == SQLITE_ROW ? SQLITE_DONE : got, failed, err);
}

rag_code store_vectors(struct store_reader *r, int64_t model, int64_t seq, uint32_t first, uint32_t last,
                       rag_code (*each)(void *ctx, uint32_t ordinal, struct str vector), void *ctx,
                       struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&r->c,
                               "SELECT ordinal, vector FROM vectors WHERE seq=?1 AND ordinal BETWEEN ?3 AND ?4 AND model=?2"
                               " ORDER BY ordinal",
                               &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, seq);
    sqlite3_bind_int64(st, 2, model);
    sqlite3_bind_int64(st, 3, first);
    sqlite3_bind_int64(st, 4, last);
    int got = SQLITE_DONE;
    while (!rc && (got = sqlite3_step(st)) == SQLITE_ROW)
        rc = each(ctx, (uint32_t)sqlite3_column_int64(st, 0),
                  str_make(sqlite3_column_blob(st, 1), (size_t)sqlite3_column_bytes(st, 1)));
    rag_code ended = reader_end(r, st, rc ? SQLITE_DONE : got, false, err);
    return rc ? rc : ended;
}
