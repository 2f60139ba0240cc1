#include <archive.h>
#include <archive_entry.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pipeline/evaluate.h"
#include "text/utf8.h"

enum { READ_BLOCK = 1 << 16 };
#define MAX_FILE ((size_t)4 << 30)

rag_code eval_read_file(const char *path, struct buf *out, struct rag_err *err)
{
    if (access(path, R_OK))
        return rag_err_set(err, RAG_ENOTFOUND, "%s: no such file", path);
    struct archive *ar = archive_read_new();
    if (!ar)
        return RAG_ENOMEM;
    archive_read_support_filter_all(ar);
    archive_read_support_format_raw(ar);
    archive_read_support_format_empty(ar);
    struct archive_entry *entry;
    rag_code rc = RAG_OK;
    int end = archive_read_open_filename(ar, path, READ_BLOCK);
    if (end == ARCHIVE_OK)
        end = archive_read_next_header(ar, &entry);
    while (end == ARCHIVE_OK && !rc) {
        if (!buf_reserve(out, READ_BLOCK)) {
            rc = RAG_ENOMEM;
            break;
        }
        la_ssize_t n = archive_read_data(ar, out->ptr + out->len, READ_BLOCK);
        if (n < 0)
            end = ARCHIVE_FATAL;
        if (n <= 0)
            break;
        out->len += (size_t)n;
        rc = out->len > MAX_FILE ? RAG_ETOOBIG : RAG_OK;
    }
    if (!rc && end != ARCHIVE_OK && end != ARCHIVE_EOF)
        rc = RAG_EFORMAT;
    if (rc)
        rag_err_set(err, rc, "%s: %s", path,
                    rc == RAG_EFORMAT ? archive_error_string(ar) : rag_code_name(rc));
    archive_read_free(ar);
    return rc;
}

/* dir/name or dir/name.gz, whichever is there; also the place where BEIR's own archives keep the qrels. */
static rag_code read_named(const char *dir, const char *name, char *path, size_t size, struct buf *out,
                           struct rag_err *err)
{
    const char *const forms[] = {"%s/%s", "%s/%s.gz", "%s/qrels/test.tsv"};
    uint32_t n = strcmp(name, "qrels.tsv") == 0 ? 3 : 2;
    for (uint32_t i = 0; i < n; i++) {
        int len = i == 0   ? snprintf(path, size, "%s/%s", dir, name)
                  : i == 1 ? snprintf(path, size, "%s/%s.gz", dir, name)
                           : snprintf(path, size, "%s/qrels/test.tsv", dir);
        if (len < 0 || (size_t)len >= size)
            return rag_err_set(err, RAG_ETOOBIG, "%s: path too long", forms[i]);
        if (access(path, F_OK) == 0)
            return eval_read_file(path, out, err);
    }
    return rag_err_set(err, RAG_ENOTFOUND, "%s: neither %s nor %s.gz is there", dir, name, name);
}

static bool next_line(struct str *rest, struct str *line, uint32_t *number)
{
    if (rest->len == 0)
        return false;
    const char *nl = memchr(rest->ptr, '\n', rest->len);
    size_t n = nl ? (size_t)(nl - rest->ptr) : rest->len;
    *line = str_make(rest->ptr, n);
    n += nl != NULL;
    *rest = str_make(rest->ptr + n, rest->len - n);
    ++*number;
    return true;
}

static struct str copy(struct arena *a, const json_t *v)
{
    size_t n = json_string_length(v);
    return str_make(arena_strndup(a, n ? json_string_value(v) : "", n), n);
}

/* One {"_id", "title", "text"} of a corpus or of the queries. */
static rag_code parse_record(struct arena *a, struct str line, struct eval_doc *out)
{
    json_t *o = json_loadb(line.ptr, line.len, 0, NULL);
    const json_t *id = json_object_get(o, "_id"), *text = json_object_get(o, "text"),
                 *title = json_object_get(o, "title");
    rag_code rc = RAG_EFORMAT;
    if (json_is_string(id) && json_is_string(text) &&
        (!title || json_is_string(title) || json_is_null(title))) {
        *out = (struct eval_doc){copy(a, id), copy(a, json_is_string(title) ? title : NULL), copy(a, text)};
        rc = out->id.ptr && out->title.ptr && out->text.ptr ? RAG_OK : RAG_ENOMEM;
    }
    json_decref(o);
    return rc;
}

static rag_code load_corpus(struct eval_data *d, const char *path, struct str bytes, struct rag_err *err)
{
    struct str line;
    for (uint32_t number = 0, id; next_line(&bytes, &line, &number);) {
        if (str_trim(line).len == 0)
            continue;
        struct eval_doc doc;
        rag_code rc = parse_record(&d->arena, line, &doc);
        uint32_t before = d->doc_ids.n;
        if (!rc)
            rc = strset_add(&d->doc_ids, doc.id, &id);
        if (!rc && d->doc_ids.n == before)
            return rag_err_set(err, RAG_EFORMAT, "%s:%u: _id %.*s is there twice", path, number,
                               (int)doc.id.len, doc.id.ptr);
        if (rc)
            return rag_err_set(err, rc, "%s:%u: %s", path, number,
                               rc == RAG_EFORMAT ? "not an object with strings _id and text"
                                                 : rag_code_name(rc));
        BUF_ADD_VALUE(&d->docs, doc);
    }
    return buf_failed(&d->docs) ? RAG_ENOMEM : RAG_OK;
}

/* A line of the qrels while they are gathered. */
struct qrel {
    struct str query;
    struct eval_judgment j;
};

static rag_code parse_qrel(struct eval_data *d, struct str line, struct qrel *out, int *grade)
{
    struct str field[4] = {0};
    uint32_t n = 0;
    while (line.len && n < 4) {
        const char *tab = memchr(line.ptr, '\t', line.len);
        size_t len = tab ? (size_t)(tab - line.ptr) : line.len;
        field[n++] = str_trim(str_make(line.ptr, len));
        len += tab != NULL;
        line = str_make(line.ptr + len, line.len - len);
    }
    if (n < 3) /* query, document, grade; TREC's form has an unused second column */
        return RAG_EFORMAT;
    struct str doc = field[n == 4 ? 2 : 1], score = field[n == 4 ? 3 : 2];
    char text[16], *end;
    snprintf(text, sizeof text, "%.*s", (int)(score.len < 15 ? score.len : 15), score.ptr);
    long v = strtol(text, &end, 10);
    if (end == text || (*end && *end != '.') || v > 1000)
        return RAG_EFORMAT;
    uint32_t id = strset_find(&d->doc_ids, doc);
    *grade = (int)v;
    *out = (struct qrel){field[0], {id == STRSET_NONE ? EVAL_ABSENT : id, v > 0 ? (uint32_t)v : 0}};
    return RAG_OK;
}

static rag_code load_qrels(struct eval_data *d, const char *path, struct str bytes, struct buf *qrels,
                           struct rag_err *err)
{
    struct str line;
    for (uint32_t number = 0; next_line(&bytes, &line, &number);) {
        struct qrel q;
        int grade;
        if (str_trim(line).len == 0)
            continue;
        rag_code rc = parse_qrel(d, line, &q, &grade);
        if (rc && number == 1)
            continue; /* the header */
        if (rc)
            return rag_err_set(err, rc, "%s:%u: not query<TAB>document<TAB>grade", path, number);
        if (grade > 0)
            BUF_ADD_VALUE(qrels, q);
    }
    return buf_failed(qrels) ? RAG_ENOMEM : RAG_OK;
}

static int by_query(const void *a, const void *b)
{
    const struct qrel *x = a, *y = b;
    int c = str_cmp(x->query, y->query);
    return c ? c : (x->j.doc > y->j.doc) - (x->j.doc < y->j.doc);
}

/* The judgments of one query, each document once (the last grade stands); NULL when it has none. */
static struct eval_judgment *judgments(struct arena *a, const struct qrel *q, size_t n, struct str query,
                                       uint32_t *count)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (str_cmp(q[mid].query, query) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    size_t end = lo;
    while (end < n && str_eq(q[end].query, query))
        end++;
    *count = 0;
    struct eval_judgment *out = end > lo ? arena_array(a, end - lo, sizeof *out) : NULL;
    for (size_t i = lo; i < end && out; i++) {
        bool again = *count && q[i].j.doc != EVAL_ABSENT && out[*count - 1].doc == q[i].j.doc;
        out[again ? *count - 1 : (*count)++] = q[i].j;
    }
    return out;
}

static rag_code load_queries(struct eval_data *d, const char *path, struct str bytes, const struct buf *qrels,
                             struct rag_err *err)
{
    const struct qrel *q = (const struct qrel *)(const void *)qrels->ptr;
    size_t n = qrels->len / sizeof *q;
    struct str line;
    for (uint32_t number = 0; next_line(&bytes, &line, &number);) {
        if (str_trim(line).len == 0)
            continue;
        struct eval_doc record;
        rag_code rc = parse_record(&d->arena, line, &record);
        if (rc)
            return rag_err_set(err, rc, "%s:%u: %s", path, number,
                               rc == RAG_EFORMAT ? "not an object with strings _id and text"
                                                 : rag_code_name(rc));
        struct eval_query query = {.id = record.id, .text = record.text};
        query.judged = judgments(&d->arena, q, n, query.id, &query.n_judged);
        if (query.n_judged)
            BUF_ADD_VALUE(&d->queries, query);
        else
            d->n_unjudged++;
    }
    return buf_failed(&d->queries) ? RAG_ENOMEM : RAG_OK;
}

rag_code eval_data_load(const struct eval_files *f, struct eval_data *out, struct rag_err *err)
{
    *out = (struct eval_data){0};
    buf_init(&out->docs, MEM_MISC);
    buf_init(&out->queries, MEM_MISC);
    strset_init(&out->doc_ids, MEM_MISC, 0);
    struct buf bytes, qrel_bytes, qrels;
    buf_init(&bytes, MEM_MISC);
    buf_init(&qrel_bytes, MEM_MISC);
    buf_init(&qrels, MEM_MISC);
    char path[4096];
    rag_code rc = read_named(f->dir, f->corpus ? f->corpus : "corpus.jsonl", path, sizeof path, &bytes, err);
    if (!rc)
        rc = load_corpus(out, path, buf_str(&bytes), err);
    if (!rc)
        rc = read_named(f->dir, f->qrels ? f->qrels : "qrels.tsv", path, sizeof path, &qrel_bytes, err);
    if (!rc)
        rc = load_qrels(out, path, buf_str(&qrel_bytes), &qrels, err);
    if (!rc && qrels.len)
        qsort(qrels.ptr, qrels.len / sizeof(struct qrel), sizeof(struct qrel), by_query);
    buf_reset(&bytes);
    if (!rc)
        rc = read_named(f->dir, f->queries ? f->queries : "queries.jsonl", path, sizeof path, &bytes, err);
    if (!rc)
        rc = load_queries(out, path, buf_str(&bytes), &qrels, err);
    if (!rc && out->queries.len == 0)
        rc = rag_err_set(err, RAG_EFORMAT, "%s: no query of the qrels is among the queries", path);
    buf_clear(&qrels);
    buf_clear(&qrel_bytes);
    buf_clear(&bytes);
    return rc;
}

void eval_data_clear(struct eval_data *d)
{
    buf_clear(&d->docs);
    buf_clear(&d->queries);
    strset_clear(&d->doc_ids);
    arena_clear(&d->arena);
}
