/* The reading side: a read-only connection for each thread that needs one; every call is one short statement. */
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "store/store_int.h"
#include "text/utf8.h"

rag_code store_reader_open(const struct store_options *opt, struct store_reader **out, struct rag_err *err)
{
    struct store_reader *r = mem_zalloc(MEM_STORE, sizeof *r);
    if (!r)
        return rag_err_set(err, RAG_ENOMEM, "database: out of memory");
    /* Not SQLITE_OPEN_READONLY: the first reader of a WAL database may have to make its -shm file. */
    rag_code rc = conn_open(&r->c, opt, opt->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE, err);
    if (!rc)
        rc = conn_exec(&r->c, "PRAGMA query_only=ON; PRAGMA cache_size=-2048;", err);
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

static struct str column_str(sqlite3_stmt *st, int i, struct arena *a, bool *failed)
{
    const char *p = (const char *)sqlite3_column_text(st, i);
    size_t n = (size_t)sqlite3_column_bytes(st, i);
    if (!p)
        return (struct str){0};
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

static rag_code end(struct store_reader *r, sqlite3_stmt *st, int rc, bool failed, struct rag_err *err)
{
    rag_code code = failed ? rag_err_set(err, RAG_ENOMEM, "database: out of memory")
                    : rc == SQLITE_DONE || rc == SQLITE_ROW ? RAG_OK
                                                            : conn_fail(&r->c, rc, "read", err);
    sqlite3_reset(st);
    return code;
}

rag_code store_collections(struct store_reader *r, struct arena *a, struct store_collection **out, uint32_t *n,
                           struct rag_err *err)
{
    sqlite3_stmt *st;
    uint32_t cap = 0;
    bool failed = false;
    *out = NULL;
    *n = 0;
    rag_code rc = conn_prepare(&r->c, "SELECT id, name, settings, created_ms FROM collections ORDER BY name", &st, err);
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
    return end(r, st, failed ? SQLITE_DONE : got, failed, err);
}

#define VERSION_COLUMNS                                                                                       \
    "v.collection, v.id, v.version, v.seq, v.title, v.source, v.metadata, v.content_hash, d.created_ms,"      \
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

static rag_code read_chunks(struct store_reader *r, struct arena *a, struct store_document *d, struct rag_err *err)
{
    sqlite3_stmt *st;
    bool failed = false;
    if (!d->n_chunks)
        return RAG_OK;
    rag_code rc = conn_prepare(&r->c,
                               "SELECT start, end, char_start, char_end, heading_path FROM chunks WHERE seq=?1"
                               " ORDER BY ordinal",
                               &st, err);
    if (rc)
        return rc;
    struct store_chunk *c = arena_array(a, d->n_chunks, sizeof *c);
    if (!c)
        return rag_err_set(err, RAG_ENOMEM, "database: out of memory");
    sqlite3_bind_int64(st, 1, d->seq);
    uint32_t n = 0;
    int got = SQLITE_DONE;
    while (n < d->n_chunks && (got = sqlite3_step(st)) == SQLITE_ROW) {
        c[n++] = (struct store_chunk){(uint32_t)sqlite3_column_int64(st, 0), (uint32_t)sqlite3_column_int64(st, 1),
                                      (uint32_t)sqlite3_column_int64(st, 2), (uint32_t)sqlite3_column_int64(st, 3),
                                      column_str(st, 4, a, &failed)};
        if (c[n - 1].start > c[n - 1].end || c[n - 1].end > d->text.len) {
            sqlite3_reset(st);
            return rag_err_set(err, RAG_ECORRUPT, "database: chunk outside its document's text");
        }
    }
    d->chunks = c;
    d->n_chunks = n;
    return end(r, st, got, failed, err);
}

/* One row of `st` with its text and, for the current version, its chunks. */
static rag_code read_whole(struct store_reader *r, sqlite3_stmt *st, struct arena *a, struct store_document *out,
                           struct rag_err *err)
{
    bool failed = false;
    int got = sqlite3_step(st);
    if (got == SQLITE_DONE) {
        sqlite3_reset(st);
        return rag_err_set(err, RAG_ENOTFOUND, "no such document or version");
    }
    if (got == SQLITE_ROW) {
        read_document(st, a, out, &failed);
        out->text = column_str(st, 13, a, &failed);
    }
    rag_code rc = end(r, st, got, failed, err);
    return rc ? rc : read_chunks(r, a, out, err);
}

rag_code store_get(struct store_reader *r, int64_t collection, struct str id, uint32_t version, struct arena *a,
                   struct store_document *out, struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&r->c,
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
    rag_code rc = conn_prepare(&r->c,
                               "SELECT " VERSION_COLUMNS ", v.text FROM documents d JOIN versions v ON v.seq=d.seq"
                               " WHERE d.seq=?1",
                               &st, err);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, seq);
    return read_whole(r, st, a, out, err);
}

static rag_code read_list(struct store_reader *r, sqlite3_stmt *st, struct arena *a, struct store_document **out,
                          uint32_t *n, struct rag_err *err)
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
    return end(r, st, got, failed, err);
}

rag_code store_list(struct store_reader *r, int64_t collection, struct str after, uint32_t limit, struct arena *a,
                    struct store_document **out, uint32_t *n, struct rag_err *err)
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

rag_code store_each_seq(struct store_reader *r, rag_code (*each)(void *ctx, int64_t collection, int64_t seq), void *ctx,
                        struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&r->c, "SELECT collection, seq FROM documents ORDER BY seq", &st, err);
    if (rc)
        return rc;
    int got = SQLITE_DONE;
    while (!rc && (got = sqlite3_step(st)) == SQLITE_ROW)
        rc = each(ctx, sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1));
    rag_code ended = end(r, st, got, false, err);
    return rc ? rag_err_set(err, rc, "database: %s", rag_code_name(rc)) : ended;
}

static rag_code scalar(struct store_reader *r, const char *sql, int64_t arg, uint64_t *out, struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&r->c, sql, &st, err);
    if (rc)
        return rc;
    if (sqlite3_bind_parameter_count(st))
        sqlite3_bind_int64(st, 1, arg);
    int got = sqlite3_step(st);
    *out = got == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(st, 0) : 0;
    return end(r, st, got, false, err);
}

rag_code store_count(struct store_reader *r, int64_t collection, struct store_counts *out, struct rag_err *err)
{
    rag_code rc = scalar(r, "SELECT count(*) FROM collections", 0, &out->collections, err);
    if (!rc)
        rc = scalar(r, "SELECT count(*) FROM documents WHERE ?1 IN (0, collection)", collection, &out->documents, err);
    if (!rc)
        rc = scalar(r, "SELECT coalesce(sum(n_chunks), 0) FROM documents WHERE ?1 IN (0, collection)", collection,
                    &out->chunks, err);
    return rc;
}

/* ---- verification ---------------------------------------------------------------------------------------- */

static void finding(uint32_t *n, struct rag_err *err, const char *what, struct str detail)
{
    if ((*n)++ == 0)
        rag_err_set(err, RAG_ECORRUPT, "database: %s %.*s", what, (int)(detail.len < 200 ? detail.len : 200), detail.ptr);
}

static rag_code integrity(struct store_reader *r, const char *pragma, const char *what, uint32_t *n, struct rag_err *err)
{
    sqlite3_stmt *st;
    rag_code rc = conn_prepare(&r->c, pragma, &st, err);
    if (rc)
        return rc;
    int got;
    while ((got = sqlite3_step(st)) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(st, 0);
        if (text && strcmp(text, "ok") != 0)
            finding(n, err, what, str_of(text));
    }
    return end(r, st, got, false, err);
}

static rag_code verify_document(struct store_reader *r, int64_t seq, uint32_t *n, struct rag_err *err)
{
    struct arena a = {0};
    struct store_document d;
    struct rag_err why;
    rag_code rc = store_get_by_seq(r, seq, &a, &d, &why);
    if (rc == RAG_ECORRUPT || rc == RAG_ENOTFOUND) {
        finding(n, err, why.msg, STR_LIT(""));
        rc = RAG_OK;
    } else if (!rc) {
        if (!d.text.ptr || !utf8_valid(d.text))
            finding(n, err, "text missing or not UTF-8 in", d.id);
        for (uint32_t i = 0; i < d.n_chunks && d.text.ptr; i++)
            if (utf8_floor(d.text, d.chunks[i].start) != d.chunks[i].start ||
                utf8_floor(d.text, d.chunks[i].end) != d.chunks[i].end)
                finding(n, err, "chunk cuts a character in", d.id);
    } else {
        *err = why;
    }
    arena_clear(&a);
    return rc;
}

struct seq_list {
    struct buf seqs;
};
static rag_code keep_seq(void *ctx, int64_t collection, int64_t seq)
{
    struct seq_list *l = ctx;
    (void)collection;
    BUF_ADD_VALUE(&l->seqs, seq);
    return buf_failed(&l->seqs) ? RAG_ENOMEM : RAG_OK;
}

rag_code store_verify(struct store_reader *r, uint32_t *n_findings, struct rag_err *err)
{
    struct seq_list l;
    uint64_t bad = 0;
    *n_findings = 0;
    buf_init(&l.seqs, MEM_STORE);
    rag_code rc = integrity(r, "PRAGMA integrity_check", "integrity check:", n_findings, err);
    if (!rc)
        rc = integrity(r, "PRAGMA foreign_key_check", "row without its parent in", n_findings, err);
    if (!rc)
        rc = scalar(r,
                    "SELECT count(*) FROM documents d LEFT JOIN versions v ON v.seq=d.seq WHERE v.seq IS NULL OR"
                    " v.version<>d.version OR d.n_chunks<>(SELECT count(*) FROM chunks c WHERE c.seq=d.seq)",
                    0, &bad, err);
    if (!rc && bad)
        finding(n_findings, err, "half documents found", STR_LIT(""));
    if (!rc)
        rc = store_each_seq(r, keep_seq, &l, err);
    for (size_t i = 0; i < l.seqs.len / sizeof(int64_t) && !rc; i++)
        rc = verify_document(r, ((int64_t *)(void *)l.seqs.ptr)[i], n_findings, err);
    buf_clear(&l.seqs);
    return rc ? rc : *n_findings ? RAG_ECORRUPT : RAG_OK;
}
