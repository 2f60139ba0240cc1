/* Feedback: one job each. Found and checked within the transaction that stores it, so it sees every question before it. */
#include <jansson.h>
#include <stdlib.h>

#include "obs/log.h"
#include "store/history_int.h"

struct feedback_job {
    struct commit_job job;
    struct history *h;
    void (*done)(void *ctx, rag_code rc, const struct rag_err *err);
    void *ctx;
    struct rag_err err;
    enum feedback_type type;
    uint32_t rating;
    int64_t at_ms;
    bool any_key;
    struct str query_id, key, comment, user_id;
    char *chunk_ids; /* JSON list; jansson's */
    char *question;  /* for the log; NULL: not needed, or no memory */
    char data[];
};

const char *feedback_type_name(enum feedback_type t)
{
    static const char *const names[FEEDBACK_TYPES] = {"thumbs_up", "thumbs_down", "clicked", "skipped", "rating"};
    return names[t];
}

void history_show_satisfaction(struct history *h)
{
    int64_t n = h->up + h->down;
    if (n <= 0)
        return;
    if (!h->satisfaction)
        h->satisfaction = metrics_gauge(h->metrics, "ragd_satisfaction", "Share of thumbs that are up, over what is kept.",
                                        1e-6, NULL, 0);
    gauge_set(h->satisfaction, (int64_t)(1e6 * (double)h->up / (double)n + 0.5));
}

/* ---- on the queue's thread ------------------------------------------------------------------------------- */

static bool is_bad(const struct feedback_job *f)
{
    return f->type == FEEDBACK_DOWN || (f->type == FEEDBACK_RATING && f->rating <= 2);
}

static struct str column(sqlite3_stmt *st, int i)
{
    const char *p = (const char *)sqlite3_column_text(st, i);
    return str_make(p, p ? (size_t)sqlite3_column_bytes(st, i) : 0);
}

/* The statement stands on the question's row, or on none. */
static rag_code check(struct feedback_job *f, sqlite3_stmt *st, int step, int64_t *query)
{
    if (step != SQLITE_ROW && step != SQLITE_DONE)
        return commit_queue_code(sqlite3_db_handle(st));
    if (step == SQLITE_DONE || !(f->any_key || str_eq(column(st, 1), f->key)))
        return rag_err_param(&f->err, RAG_ENOTFOUND, "query_id", "there is no such question");
    if (!sqlite3_column_int(st, 3))
        return rag_err_param(&f->err, RAG_ENOTFOUND, "chunk_ids", "a chunk was not shown with that answer");
    *query = sqlite3_column_int64(st, 0);
    struct str text = column(st, 2);
    if (is_bad(f))
        f->question = mem_strndup(MEM_STORE, text.ptr ? text.ptr : "", text.len);
    return RAG_OK;
}

static rag_code store_feedback(struct commit_job *j, sqlite3 *db)
{
    struct feedback_job *f = (struct feedback_job *)(void *)j;
    sqlite3_stmt *find = f->h->sql[SQL_FIND], *st = f->h->sql[SQL_FEEDBACK];
    int64_t query = 0;
    (void)db;
    history_bind(find, 1, f->query_id);
    history_bind(find, 2, str_of(f->chunk_ids));
    rag_code rc = check(f, find, sqlite3_step(find), &query);
    sqlite3_reset(find);
    if (rc)
        return rc;
    sqlite3_bind_int64(st, 1, query);
    history_bind(st, 2, str_of(feedback_type_name(f->type)));
    sqlite3_bind_int64(st, 3, f->rating);
    history_bind(st, 4, f->comment);
    history_bind(st, 5, f->user_id);
    sqlite3_bind_int64(st, 6, f->at_ms);
    history_bind(st, 7, str_of(f->chunk_ids));
    return history_run(st);
}

static void say_bad(const struct feedback_job *f)
{
    struct str question = str_of(f->question ? f->question : "");
    if (f->type == FEEDBACK_RATING)
        log_warn("bad feedback", LOG_SPAN("query_id", f->query_id), LOG_SPAN("query", question),
                 LOG_STR("type", feedback_type_name(f->type)), LOG_INT("rating", f->rating), LOG_END);
    else
        log_warn("bad feedback", LOG_SPAN("query_id", f->query_id), LOG_SPAN("query", question),
                 LOG_STR("type", feedback_type_name(f->type)), LOG_END);
}

static void free_job(struct feedback_job *f)
{
    free(f->chunk_ids);
    mem_free(MEM_STORE, f->question);
    mem_free(MEM_STORE, f);
}

static void feedback_stored(struct commit_job *j, rag_code rc)
{
    struct feedback_job *f = (struct feedback_job *)(void *)j;
    struct history *h = f->h;
    if (!rc) {
        counter_add(h->feedback[f->type], 1);
        h->up += f->type == FEEDBACK_UP;
        h->down += f->type == FEEDBACK_DOWN;
        history_show_satisfaction(h);
        if (is_bad(f))
            say_bad(f);
    } else if (!f->err.msg[0]) {
        rag_err_set(&f->err, rc, "feedback cannot be stored: %s", rag_code_name(rc));
    }
    f->done(f->ctx, rc, &f->err);
    free_job(f);
    history_purge_if_due(h);
}

/* ---- any thread ------------------------------------------------------------------------------------------ */

/* A JSON list in memory of its own (free); NULL: no memory. */
static char *list_json(const struct str *ids, uint32_t n)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (uint32_t i = 0; i < n && ok; i++)
        ok = json_array_append_new(list, json_stringn(ids[i].ptr ? ids[i].ptr : "", ids[i].len)) == 0;
    char *text = ok ? json_dumps(list, JSON_COMPACT) : NULL;
    json_decref(list);
    return text;
}

static struct str copy_to(char **at, struct str s)
{
    struct str copy = str_make(*at, s.len);
    if (s.len)
        memcpy(*at, s.ptr, s.len);
    *at += s.len;
    return copy;
}

static struct feedback_job *copy_feedback(struct history *h, const struct history_feedback *from)
{
    size_t size = sizeof(struct feedback_job);
    if (!size_add_ok(size, from->query_id.len, &size) || !size_add_ok(size, from->key.len, &size) ||
        !size_add_ok(size, from->comment.len, &size) || !size_add_ok(size, from->user_id.len, &size))
        return NULL;
    struct feedback_job *f = mem_zalloc(MEM_STORE, size);
    if (!f)
        return NULL;
    char *at = f->data;
    f->job = (struct commit_job){.apply = store_feedback, .done = feedback_stored};
    f->h = h;
    f->type = from->type;
    f->rating = from->rating;
    f->at_ms = from->at_ms;
    f->any_key = !from->key.ptr;
    f->query_id = copy_to(&at, from->query_id);
    f->key = copy_to(&at, from->key);
    f->comment = copy_to(&at, from->comment);
    f->user_id = copy_to(&at, from->user_id);
    f->chunk_ids = list_json(from->chunk_ids, from->n_chunk_ids);
    if (f->chunk_ids)
        return f;
    free_job(f);
    return NULL;
}

rag_code history_feedback(struct history *h, const struct history_feedback *from,
                          void (*done)(void *ctx, rag_code rc, const struct rag_err *err), void *ctx)
{
    struct feedback_job *f = copy_feedback(h, from);
    if (!f)
        return RAG_ENOMEM;
    f->done = done;
    f->ctx = ctx;
    commit_queue_submit(h->queue, &f->job);
    return RAG_OK;
}
