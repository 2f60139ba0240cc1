/* Integrity, in one snapshot: SQLite's own checks, the ties between the tables, then every current document as a
 * rebuild of its segment would read it. Memory is bounded by the largest document. */
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "store/store_int.h"

static void finding(uint32_t *n, struct rag_err *err, const char *what, struct str detail)
{
    if ((*n)++ == 0)
        rag_err_set(err, RAG_ECORRUPT, "%s%s%s%.*s",
                    strncmp(what, "database: ", 10) == 0 ? "" : "database: ", what, detail.len ? " " : "",
                    (int)(detail.len < 200 ? detail.len : 200), detail.len ? detail.ptr : "");
}

/* Each row of `sql` whose first column is not "ok" is a finding. */
static rag_code rows_are_findings(struct store_reader *r, const char *sql, const char *what, uint32_t *n,
                                  struct rag_err *err)
{
    sqlite3_stmt *st;
    struct rag_err why = {0};
    rag_code rc = conn_prepare(&r->c, sql, &st, &why);
    if (!rc) {
        int got;
        while ((got = sqlite3_step(st)) == SQLITE_ROW) {
            const char *text = (const char *)sqlite3_column_text(st, 0);
            if (!text || strcmp(text, "ok") != 0)
                finding(n, err, what, str_of(text));
        }
        rc = reader_end(r, st, got, false, &why);
    }
    if (rc == RAG_ECORRUPT) { /* too damaged for the statement itself */
        finding(n, err, why.msg, STR_LIT(""));
        rc = RAG_OK;
    } else if (rc) {
        rag_err_set(err, rc, "%s", why.msg);
    }
    return rc;
}

/* Length of the well-formed UTF-8 character (RFC 3629) at s[i], 0 when there is none. The store is a stranger to
 * text/, and this is all it needs. */
static size_t utf8_step(struct str s, size_t i)
{
    const unsigned char *p = (const unsigned char *)s.ptr + i;
    size_t left = s.len - i, n = p[0] < 0x80   ? 1
                                 : p[0] < 0xc2 ? 0
                                 : p[0] < 0xe0 ? 2
                                 : p[0] < 0xf0 ? 3
                                 : p[0] < 0xf5 ? 4
                                               : 0;
    if (n == 0 || n > left)
        return 0;
    for (size_t k = 1; k < n; k++)
        if ((p[k] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

/* Whether byte offset `byte` is a character boundary and `chars` characters lie before it, given that `from_chars`
 * lie before the boundary `from` <= byte. */
static bool position_ok(struct str s, size_t from, uint32_t from_chars, size_t byte, uint32_t chars)
{
    while (from < byte) {
        from_chars += ((unsigned char)s.ptr[from] & 0xc0) != 0x80;
        from++;
    }
    return from_chars == chars && (byte == s.len || ((unsigned char)s.ptr[byte] & 0xc0) != 0x80);
}

static void check_text(const struct store_document *d, uint32_t *n, struct rag_err *err)
{
    struct store_chunk at = {0}; /* a known good position: chunks come in order, so this is one pass */
    for (size_t i = 0, step; i < d->text.len; i += step)
        if ((step = utf8_step(d->text, i)) == 0) {
            finding(n, err, "text is not UTF-8 in", d->id);
            return;
        }
    for (uint32_t i = 0; i < d->n_chunks; i++) {
        const struct store_chunk *c = &d->chunks[i];
        if (c->start < at.start)
            at = (struct store_chunk){0};
        if (!position_ok(d->text, at.start, at.char_start, c->start, c->char_start) ||
            !position_ok(d->text, c->start, c->char_start, c->end, c->char_end))
            finding(n, err, "chunk offsets are wrong in", d->id);
        else
            at = *c;
    }
}

static rag_code verify_document(struct store_reader *r, int64_t seq, uint32_t *n, struct rag_err *err)
{
    struct arena a = {0};
    struct store_document d;
    struct rag_err why = {0};
    rag_code rc = store_get_by_seq(r, seq, &a, &d, &why);
    if (rc == RAG_ECORRUPT || rc == RAG_ENOTFOUND) {
        finding(n, err, why.msg, STR_LIT(""));
        rc = RAG_OK;
    } else if (rc) {
        rag_err_set(err, rc, "%s", why.msg);
    } else if (!d.text.ptr) {
        finding(n, err, "text missing in", d.id);
    } else {
        check_text(&d, n, err);
    }
    arena_clear(&a);
    return rc;
}

static rag_code keep_seq(void *ctx, int64_t collection, int64_t seq)
{
    struct buf *seqs = ctx;
    (void)collection;
    BUF_ADD_VALUE(seqs, seq);
    return buf_failed(seqs) ? RAG_ENOMEM : RAG_OK;
}

static rag_code verify_documents(struct store_reader *r, uint32_t *n, struct rag_err *err)
{
    struct buf seqs;
    struct rag_err why = {0};
    buf_init(&seqs, MEM_STORE);
    rag_code rc = store_each_seq(r, keep_seq, &seqs, &why);
    if (rc == RAG_ECORRUPT) {
        finding(n, err, why.msg, STR_LIT(""));
        rc = RAG_OK;
    } else if (rc) {
        rag_err_set(err, rc, "%s", why.msg);
    }
    for (size_t i = 0; i < seqs.len / sizeof(int64_t) && !rc; i++) {
        int64_t seq;
        memcpy(&seq, seqs.ptr + i * sizeof seq, sizeof seq);
        rc = verify_document(r, seq, n, err);
    }
    buf_clear(&seqs);
    return rc;
}

rag_code store_quick_check(struct store_reader *r, struct rag_err *err)
{
    uint32_t n = 0;
    rag_code rc = rows_are_findings(r, "PRAGMA quick_check(1)", "database:", &n, err);
    return rc ? rc : n ? RAG_ECORRUPT : RAG_OK;
}

rag_code store_verify(struct store_reader *r, uint32_t *n_findings, struct rag_err *err)
{
    static const struct {
        const char *sql, *what;
    } checks[] = {
        {"PRAGMA integrity_check", "integrity check:"},
        {"PRAGMA foreign_key_check", "row without its parent in"},
        {"SELECT d.id FROM documents d LEFT JOIN versions v ON v.seq=d.seq WHERE v.seq IS NULL OR v.version<>d.version"
         " OR v.collection<>d.collection OR v.id<>d.id OR d.n_chunks<>(SELECT count(*) FROM chunks c WHERE c.seq=d.seq)",
         "half a document:"},
        {"SELECT DISTINCT c.seq FROM chunks c WHERE NOT EXISTS (SELECT 1 FROM documents d WHERE d.seq=c.seq)",
         "chunks of no current version:"},
        {"SELECT v.id FROM versions v WHERE v.text IS NOT NULL AND v.text_len<>length(CAST(v.text AS BLOB))",
         "text of the wrong length in"},
        {"SELECT x.seq FROM vectors x LEFT JOIN models m ON m.id=x.model WHERE m.id IS NULL OR length(x.vector)<2*m.dims"
         /* a vector alone, or with a byte and whole codes of its tokens */
         " OR (length(x.vector)>2*m.dims AND (length(x.vector)-2*m.dims-1)%(8*((m.dims+63)/64))<>0)",
         "vector of no model or of another size in version"},
    };
    bool mine;
    *n_findings = 0;
    rag_code rc = reader_snapshot(r, &mine, err);
    for (size_t i = 0; i < sizeof checks / sizeof *checks && !rc; i++)
        rc = rows_are_findings(r, checks[i].sql, checks[i].what, n_findings, err);
    if (!rc)
        rc = verify_documents(r, n_findings, err);
    reader_snapshot_end(r, mine);
    return rc ? rc : *n_findings ? RAG_ECORRUPT : RAG_OK;
}
