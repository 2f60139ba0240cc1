/* The history: what was asked, what people thought of it, and the ways the world breaks it. RAGD_BENCH=1 prints times. */
#include "store/history.h"

#include "test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "obs/log.h"
#include "store/history_int.h"
#include "sys/clock.h"
#include "temp_dir.h"

#define DAY (INT64_C(86400000))
#define NOON (INT64_C(1800000000000))

static _Atomic int64_t now = NOON;
static int64_t test_clock(void)
{
    return atomic_load(&now);
}

static struct history *open_with(struct metrics *m, uint32_t keep_days)
{
    struct history *h = NULL;
    struct rag_err err = {0};
    log_set_level(LOG_OFF);
    rag_code rc = history_open(
        &(struct history_options){.dir = dir, .keep_days = keep_days, .metrics = m, .now_ms = test_clock}, &h, &err);
    if (rc)
        print_error("%s\n", err.msg);
    CHECK_OK(rc);
    return h;
}

static struct history_query a_query(const char *id)
{
    return (struct history_query){.id = str_of(id),
                                  .at_ms = test_clock(),
                                  .collection = STR_LIT("default"),
                                  .user_id = STR_LIT("u-1"),
                                  .key = STR_LIT("crm"),
                                  .query = STR_LIT("白金卡年费多少？"),
                                  .answer = STR_LIT("3600元 [1]"),
                                  .model = STR_LIT("small"),
                                  .source = "primary",
                                  .complexity = "simple",
                                  .found = true,
                                  .confidence = .75f,
                                  .cost_nano = 1500,
                                  .total_ms = 12,
                                  .chunks = STR_LIT("[\"a#0\",\"b\\u5e74#1\"]")};
}

/* Feedback, waited for. */
struct waiter {
    pthread_mutex_t mu;
    pthread_cond_t cv;
    bool there;
    rag_code rc;
    struct rag_err err;
};

static void came(void *ctx, rag_code rc, const struct rag_err *err)
{
    struct waiter *w = ctx;
    pthread_mutex_lock(&w->mu);
    w->there = true;
    w->rc = rc;
    w->err = *err;
    pthread_cond_signal(&w->cv);
    pthread_mutex_unlock(&w->mu);
}

static rag_code give(struct history *h, const struct history_feedback *f, struct rag_err *err)
{
    struct waiter w = {.mu = PTHREAD_MUTEX_INITIALIZER, .cv = PTHREAD_COND_INITIALIZER};
    struct timespec until;
    CHECK_OK(history_feedback(h, f, came, &w));
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    pthread_mutex_lock(&w.mu);
    while (!w.there && pthread_cond_timedwait(&w.cv, &w.mu, &until) == 0)
        ;
    pthread_mutex_unlock(&w.mu);
    if (!w.there) {
        print_error("no answer within a minute\n");
        abort(); /* the waiter is on this stack */
    }
    if (err)
        *err = w.err;
    return w.rc;
}

static struct history_feedback a_feedback(const char *id, enum feedback_type type)
{
    return (struct history_feedback){.query_id = str_of(id), .type = type, .at_ms = test_clock()};
}

static rag_code thumb(struct history *h, const char *id, enum feedback_type type)
{
    struct history_feedback f = a_feedback(id, type);
    return give(h, &f, NULL);
}

static sqlite3 *raw_open(void)
{
    char path[128];
    sqlite3 *db = NULL;
    snprintf(path, sizeof path, "%s/history.db", dir);
    CHECK_EQ(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    sqlite3_busy_timeout(db, 30000);
    return db;
}

static int64_t raw_int(const char *sql)
{
    sqlite3 *db = raw_open();
    sqlite3_stmt *st = NULL;
    CHECK_EQ(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    CHECK_EQ(sqlite3_step(st), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

static struct history_totals totals(struct history *h)
{
    struct history_totals t;
    struct rag_err err = {0};
    rag_code rc = history_totals(h, 0, INT64_MAX, &t, &err);
    if (rc)
        print_error("%s\n", err.msg);
    CHECK_OK(rc);
    return t;
}

static bool shows(struct metrics *m, const char *line)
{
    struct buf b;
    buf_init(&b, MEM_MISC);
    metrics_render(m, METRICS_PROMETHEUS, &b);
    buf_addc(&b, 0);
    bool found = strstr(b.ptr, line) != NULL;
    buf_clear(&b);
    return found;
}

static uint64_t dropped(struct metrics *m)
{
    return counter_get(metrics_counter(m, "ragd_history_dropped_total", "", 1, NULL, 0));
}

/* ---- questions and feedback ------------------------------------------------------------------------------ */

TEST(feedback_may_come_right_behind_its_question)
{
    temp_dir_make();
    struct history *h = open_with(NULL, 30);
    for (int i = 0; i < 20; i++) {
        char id[16];
        snprintf(id, sizeof id, "qry-%d", i);
        struct history_query q = a_query(id);
        CHECK(history_add(h, &q));
        CHECK_OK(thumb(h, id, i % 4 ? FEEDBACK_UP : FEEDBACK_DOWN));
    }
    struct history_totals t = totals(h);
    CHECK_EQ(t.queries, 20);
    CHECK_EQ(t.up, 15);
    CHECK_EQ(t.down, 5);
    history_close(h);
    temp_dir_drop();
}

TEST(every_column_is_what_was_handed_over)
{
    temp_dir_make();
    struct history *h = open_with(NULL, 30);
    struct history_query q = a_query("qry-1");
    struct history_feedback f = a_feedback("qry-1", FEEDBACK_RATING);
    const struct str chunks[] = {STR_LIT("b年#1"), STR_LIT("a#0")};
    q.degraded_reason = "timeout";
    f.rating = 4;
    f.comment = STR_LIT("it's \"fine\"\n");
    f.user_id = STR_LIT("u-2");
    f.chunk_ids = chunks;
    f.n_chunk_ids = 2;
    CHECK(history_add(h, &q));
    CHECK(history_add(h, &q)); /* the same id is the same question */
    CHECK_OK(give(h, &f, NULL));
    q = (struct history_query){.id = STR_LIT("qry-2")}; /* nothing but an id */
    CHECK(history_add(h, &q));
    history_close(h);
    CHECK_EQ(raw_int("SELECT count(*) FROM queries"), 2);
    CHECK_EQ(raw_int("SELECT count(*) FROM queries WHERE id='qry-1' AND at_ms=1800000000000 AND total_ms=12 AND found=1"
                     " AND confidence=0.75 AND cost_nano=1500 AND source='primary' AND complexity='simple'"
                     " AND degraded_reason='timeout' AND collection='default' AND key='crm' AND user_id='u-1'"
                     " AND model='small' AND query='白金卡年费多少？' AND answer='3600元 [1]'"
                     " AND chunks='[\"a#0\",\"b\\u5e74#1\"]'"),
             1);
    CHECK_EQ(raw_int("SELECT count(*) FROM queries WHERE id='qry-2' AND degraded_reason IS NULL AND chunks='[]'"), 1);
    CHECK_EQ(raw_int("SELECT count(*) FROM feedback JOIN queries ON feedback.query=queries.n WHERE id='qry-1' AND type='rating'"
                     " AND rating=4 AND comment='it''s \"fine\"'||char(10) AND feedback.user_id='u-2'"
                     " AND chunk_ids='[\"b年#1\",\"a#0\"]'"),
             1);
    CHECK_EQ(raw_int("PRAGMA application_id"), 0x52414748);
    CHECK_EQ(raw_int("PRAGMA user_version"), 1);
    char path[128];
    struct stat st;
    snprintf(path, sizeof path, "%s/history.db", dir);
    CHECK_EQ(stat(path, &st), 0);
    CHECK_EQ(st.st_mode & 0777, 0600);
    temp_dir_drop();
}

TEST(unknown_questions_and_chunks_are_not_found)
{
    temp_dir_make();
    struct metrics *m = metrics_new();
    struct history *h = open_with(m, 30);
    struct rag_err err;
    struct history_query q = a_query("qry-1");
    struct history_feedback f = a_feedback("qry-2", FEEDBACK_UP);
    const struct str chunks[] = {STR_LIT("a#0"), STR_LIT("a#1")};
    CHECK(history_add(h, &q));
    CHECK_EQ(give(h, &f, &err), RAG_ENOTFOUND);
    assert_string_equal(err.param, "query_id");

    f = a_feedback("qry-1", FEEDBACK_CLICKED);
    f.chunk_ids = chunks;
    f.n_chunk_ids = 2;
    CHECK_EQ(give(h, &f, &err), RAG_ENOTFOUND);
    assert_string_equal(err.param, "chunk_ids");
    f.n_chunk_ids = 1;
    CHECK_OK(give(h, &f, &err));

    f.key = STR_LIT("other"); /* another key's question is as good as none */
    CHECK_EQ(give(h, &f, &err), RAG_ENOTFOUND);
    assert_string_equal(err.param, "query_id");
    f.key = STR_LIT("");
    CHECK_EQ(give(h, &f, &err), RAG_ENOTFOUND);
    f.key = STR_LIT("crm");
    CHECK_OK(give(h, &f, &err));
    CHECK(shows(m, "ragd_feedback_total{type=\"clicked\"} 2\n"));
    CHECK(!shows(m, "ragd_satisfaction"));
    history_close(h);
    CHECK_EQ(raw_int("SELECT count(*) FROM feedback"), 2);
    metrics_free(m);
    temp_dir_drop();
}

TEST(bad_feedback_is_logged_without_its_comment)
{
    char path[128], text[4096] = "";
    temp_dir_make();
    struct history *h = open_with(NULL, 30);
    struct history_query q = a_query("qry-1");
    struct history_feedback f = a_feedback("qry-1", FEEDBACK_RATING);
    f.comment = STR_LIT("SECRET");
    f.user_id = STR_LIT("USER");
    snprintf(path, sizeof path, "%s/log", dir);
    int keep = dup(2), fd = open(path, O_RDWR | O_CREAT, 0600);
    CHECK(history_add(h, &q));
    dup2(fd, 2);
    log_set_level(LOG_WARN);
    rag_code rc[4];
    for (uint32_t i = 0; i < 2; i++) {
        f.rating = 2 + i; /* 2 is bad, 3 is not */
        rc[i] = give(h, &f, NULL);
    }
    f.rating = 0;
    f.type = FEEDBACK_DOWN;
    rc[2] = give(h, &f, NULL);
    f.type = FEEDBACK_UP;
    rc[3] = give(h, &f, NULL);
    log_set_level(LOG_OFF);
    dup2(keep, 2);
    close(keep);
    for (int i = 0; i < 4; i++)
        CHECK_OK(rc[i]);
    CHECK(pread(fd, text, sizeof text - 1, 0) > 0);
    close(fd);
    int lines = 0;
    for (const char *p = text; (p = strchr(p, '\n')) != NULL; p++)
        lines++;
    CHECK_EQ(lines, 2);
    CHECK(strstr(text, "\"query_id\":\"qry-1\",\"query\":\"白金卡年费多少？\",\"type\":\"rating\",\"rating\":2"));
    CHECK(strstr(text, "\"type\":\"thumbs_down\""));
    CHECK(!strstr(text, "SECRET") && !strstr(text, "USER"));
    history_close(h);
    temp_dir_drop();
}

/* ---- reports --------------------------------------------------------------------------------------------- */

TEST(totals_and_quantiles_over_a_time)
{
    static const char *const sources[] = {"primary", "fallback", "extract", "cache"};
    temp_dir_make();
    struct history *h = open_with(NULL, 30);
    CHECK_EQ(totals(h).p99_ms, 0);
    for (uint32_t i = 1; i <= 100; i++) {
        char id[16];
        snprintf(id, sizeof id, "qry-%u", i);
        struct history_query q = a_query(id);
        q.at_ms = NOON + i;
        q.total_ms = 1000 - 10 * i; /* 0 .. 990 */
        q.found = i % 4 != 0;
        q.source = sources[i % 4];
        q.degraded_reason = i % 10 ? NULL : "budget";
        q.cost_nano = i;
        CHECK(history_add(h, &q));
    }
    struct history_feedback f = a_feedback("qry-1", FEEDBACK_RATING);
    for (f.rating = 3; f.rating <= 5; f.rating += 2) {
        f.at_ms = NOON + f.rating;
        CHECK_OK(give(h, &f, NULL));
    }
    struct history_totals t = totals(h);
    CHECK_EQ(t.queries, 100);
    CHECK_EQ(t.found, 75);
    CHECK_EQ(t.degraded, 10);
    CHECK_EQ(t.cost_nano, 5050);
    for (int s = 0; s < 4; s++)
        CHECK_EQ(t.by_source[s], 25);
    CHECK_EQ(t.ratings, 2);
    CHECK_NEAR(t.rating_mean, 4, 1e-9);
    CHECK_EQ(t.p50_ms, 490); /* the 50th of 0, 10 .. 990 */
    CHECK_EQ(t.p95_ms, 940);
    CHECK_EQ(t.p99_ms, 980);

    CHECK_OK(history_totals(h, NOON + 3, NOON + 5, &t, NULL)); /* the end is not in it */
    CHECK_EQ(t.queries, 2);
    CHECK_EQ(t.cost_nano, 7);
    CHECK_EQ(t.ratings, 1);
    CHECK_EQ(t.p50_ms, 960);
    CHECK_EQ(t.p95_ms, 970);
    CHECK_EQ(t.p99_ms, 970);
    CHECK_OK(history_totals(h, NOON + 1000, NOON + 2000, &t, NULL));
    CHECK_EQ(t.queries + t.found + t.ratings + t.p50_ms, 0);
    CHECK_NEAR(t.rating_mean, 0, 0);
    history_close(h);
    temp_dir_drop();
}

struct list {
    char text[8][64];
    uint64_t times[8];
    uint32_t n, most;
};

static bool collect(void *ctx, struct str query, uint64_t times)
{
    struct list *l = ctx;
    snprintf(l->text[l->n], sizeof l->text[0], "%.*s", (int)query.len, query.ptr);
    l->times[l->n++] = times;
    return l->n < l->most;
}

TEST(unanswered_questions_the_most_asked_first)
{
    static const char *const asked[] = {"ÄPFEL kaufen?", "一卡通",         "Where IS it", " where is it\n",
                                        "äpfel kaufen?", "where is it?",  "WHERE is IT", "answered",  NULL};
    temp_dir_make();
    struct history *h = open_with(NULL, 30);
    for (int i = 0; asked[i]; i++) {
        char id[16];
        snprintf(id, sizeof id, "qry-%d", i);
        struct history_query q = a_query(id);
        q.at_ms = NOON + i;
        q.query = str_of(asked[i]);
        q.found = strcmp(asked[i], "answered") == 0;
        CHECK(history_add(h, &q));
    }
    CHECK_EQ(thumb(h, "none", FEEDBACK_UP), RAG_ENOTFOUND); /* all is written */
    struct list l = {.most = 8};
    CHECK_OK(history_unanswered(h, 0, INT64_MAX, 100, collect, &l, NULL));
    CHECK_EQ(l.n, 4);
    assert_string_equal(l.text[0], "WHERE is IT");
    CHECK_EQ(l.times[0], 3);
    assert_string_equal(l.text[1], "äpfel kaufen?");
    CHECK_EQ(l.times[1], 2);
    assert_string_equal(l.text[2], "where is it?");
    assert_string_equal(l.text[3], "一卡通");
    l = (struct list){.most = 8};
    CHECK_OK(history_unanswered(h, 0, INT64_MAX, 2, collect, &l, NULL));
    CHECK_EQ(l.n, 2);
    l = (struct list){.most = 1};
    CHECK_OK(history_unanswered(h, NOON, NOON + 3, 100, collect, &l, NULL));
    CHECK_EQ(l.n, 1); /* it said: enough */
    l = (struct list){.most = 8};
    CHECK_OK(history_unanswered(h, 0, INT64_MAX, 0, collect, &l, NULL));
    CHECK_EQ(l.n, 0);
    history_close(h);
    temp_dir_drop();
}

/* ---- time passes ----------------------------------------------------------------------------------------- */

TEST(a_restart_knows_what_was)
{
    temp_dir_make();
    struct metrics *m = metrics_new();
    struct history *h = open_with(m, 30);
    struct history_query q = a_query("qry-1");
    CHECK(history_add(h, &q));
    CHECK_OK(thumb(h, "qry-1", FEEDBACK_UP));
    CHECK_OK(thumb(h, "qry-1", FEEDBACK_UP));
    CHECK_OK(thumb(h, "qry-1", FEEDBACK_DOWN));
    CHECK(shows(m, "ragd_satisfaction 0.666667\n"));
    history_close(h);
    metrics_free(m);
    m = metrics_new();
    h = open_with(m, 30);
    CHECK(shows(m, "ragd_satisfaction 0.666667\n"));
    CHECK_OK(thumb(h, "qry-1", FEEDBACK_DOWN));
    CHECK(shows(m, "ragd_satisfaction 0.5\n"));
    CHECK_EQ(totals(h).queries, 1);
    history_close(h);
    metrics_free(m);
    temp_dir_drop();
}

/* Until the purge, which goes slice by slice behind everything, leaves n. */
static void wait_for_queries(struct history *h, uint64_t n)
{
    for (int64_t end = clock_mono_ns() + INT64_C(60000000000); totals(h).queries != n;) {
        CHECK(clock_mono_ns() < end);
        usleep(10000);
    }
}

TEST(old_questions_go_with_their_feedback)
{
    temp_dir_make();
    atomic_store(&now, NOON);
    struct metrics *m = metrics_new();
    struct history *h = open_with(m, 30);
    for (int i = 0; i < 2500; i++) {
        char id[16];
        snprintf(id, sizeof id, "old-%d", i);
        struct history_query q = a_query(id);
        CHECK(history_add(h, &q));
    }
    CHECK_OK(thumb(h, "old-0", FEEDBACK_DOWN));
    CHECK_OK(thumb(h, "old-1", FEEDBACK_UP));
    atomic_store(&now, NOON + 20 * DAY);
    struct history_query q = a_query("young");
    CHECK(history_add(h, &q));
    CHECK_OK(thumb(h, "young", FEEDBACK_DOWN));
    CHECK(shows(m, "ragd_satisfaction 0.333333\n"));
    CHECK_EQ(totals(h).queries, 2501);

    atomic_store(&now, NOON + 31 * DAY); /* the next commit starts it */
    q = a_query("new");
    CHECK(history_add(h, &q));
    wait_for_queries(h, 2);
    CHECK_OK(thumb(h, "young", FEEDBACK_UP)); /* behind the slices, and their done */
    CHECK(shows(m, "ragd_satisfaction 0.5\n"));
    CHECK_EQ(thumb(h, "old-0", FEEDBACK_UP), RAG_ENOTFOUND);
    history_close(h);
    CHECK_EQ(raw_int("SELECT count(*) FROM feedback"), 2);

    atomic_store(&now, NOON + 51 * DAY); /* and the start does */
    h = open_with(NULL, 30);
    wait_for_queries(h, 1);
    history_close(h);
    atomic_store(&now, NOON + 500 * DAY);
    h = open_with(NULL, 0);
    CHECK_EQ(thumb(h, "new", FEEDBACK_UP), RAG_OK);
    history_close(h);
    atomic_store(&now, NOON);
    metrics_free(m);
    temp_dir_drop();
}

/* ---- what breaks ----------------------------------------------------------------------------------------- */

/* Somebody else holds the file: nothing gets written meanwhile. */
static sqlite3 *hold(void)
{
    sqlite3 *db = raw_open();
    CHECK_EQ(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    return db;
}

static void add_until_full(struct history *h, struct metrics *m, uint32_t most, struct str answer)
{
    sqlite3 *other = hold();
    uint32_t added = 0, refused = 0;
    for (uint32_t i = 0; i < most; i++) {
        char id[16];
        snprintf(id, sizeof id, "qry-%u", i);
        struct history_query q = {.id = str_of(id), .answer = answer};
        if (history_add(h, &q))
            added++;
        else
            refused++;
    }
    sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_close(other);
    history_close(h);
    CHECK(refused > 0);
    CHECK(added > 0);
    CHECK(dropped(m) >= refused);
    CHECK_EQ((uint64_t)raw_int("SELECT count(*) FROM queries") + dropped(m), most);
}

TEST(too_many_that_wait_are_dropped_and_counted)
{
    struct metrics *m = metrics_new();
    temp_dir_make();
    add_until_full(open_with(m, 0), m, 66000, STR_LIT(""));
    temp_dir_drop();
    metrics_free(m);

    char *long_answer = mem_zalloc(MEM_MISC, 1 << 20);
    memset(long_answer, 'x', 1 << 20);
    m = metrics_new();
    temp_dir_make();
    add_until_full(open_with(m, 0), m, 70, str_make(long_answer, 1 << 20));
    temp_dir_drop();
    metrics_free(m);
    mem_free(MEM_MISC, long_answer);
}

TEST(what_cannot_be_written_is_said_and_the_next_works)
{
    temp_dir_make();
    struct metrics *m = metrics_new();
    struct history *h = open_with(m, 0);
    struct rag_err err;
    struct history_feedback f = a_feedback("qry-1", FEEDBACK_UP);
    sqlite3_busy_timeout(commit_queue_db(h->queue), 1); /* its thread has not touched it yet */
    sqlite3 *other = hold();
    for (int i = 0; i < 10; i++) {
        struct history_query q = a_query("qry-1");
        CHECK(history_add(h, &q));
    }
    CHECK_EQ(give(h, &f, &err), RAG_EBUSY);
    CHECK(err.msg[0]);
    CHECK_EQ(dropped(m), 10);
    CHECK_EQ(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    CHECK_EQ(sqlite3_exec(other,
                          "CREATE TRIGGER t BEFORE INSERT ON queries WHEN new.id = 'bad' BEGIN SELECT raise(ABORT, 'x'); END",
                          NULL, NULL, NULL),
             SQLITE_OK);
    sqlite3_close(other);

    struct history_query q = a_query("bad");
    CHECK(history_add(h, &q));
    CHECK(thumb(h, "bad", FEEDBACK_UP) == RAG_ENOTFOUND);
    CHECK_EQ(dropped(m), 11);
    q = a_query("qry-1");
    CHECK(history_add(h, &q));
    CHECK_OK(give(h, &f, NULL));
    CHECK_EQ(totals(h).queries, 1);
    history_close(h);
    metrics_free(m);
    temp_dir_drop();
}

TEST(failed_allocations_are_reported)
{
    temp_dir_make();
    int64_t before = mem_in_use(MEM_STORE);
    struct metrics *m = metrics_new();
    struct history *h = open_with(m, 0);
    struct history_query q = a_query("qry-1");
    struct history_feedback f = a_feedback("qry-1", FEEDBACK_UP);
    fault_arm_alloc(1);
    CHECK(!history_add(h, &q));
    CHECK(fault_disarm());
    CHECK_EQ(dropped(m), 1);
    fault_arm_alloc(1);
    CHECK_EQ(history_feedback(h, &f, came, NULL), RAG_ENOMEM);
    CHECK(fault_disarm());
    history_close(h);
    metrics_free(m);
    bool fired = true;
    for (unsigned nth = 1; fired; nth++) {
        fault_arm_alloc(nth);
        rag_code rc = history_open(&(struct history_options){.dir = dir}, &h, NULL);
        if (!rc)
            history_close(h);
        fired = fault_disarm();
        CHECK_EQ(mem_in_use(MEM_STORE), before);
    }
    temp_dir_drop();
}

TEST(a_damaged_or_foreign_file_is_refused_clearly)
{
    char path[128];
    struct rag_err err = {0};
    struct history *h = NULL;
    struct history_options opt = {.dir = dir, .keep_days = 30};
    temp_dir_make();
    snprintf(path, sizeof path, "%s/history.db", dir);
    opt.read_only = true;
    CHECK_EQ(history_open(&opt, &h, &err), RAG_ENOTFOUND);
    opt.read_only = false;
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 4096; i++)
        fputc('x', f);
    fclose(f);
    CHECK_EQ(history_open(&opt, &h, &err), RAG_ECORRUPT);
    CHECK(strstr(err.msg, path) != NULL);
    CHECK(unlink(path) == 0);

    h = open_with(NULL, 30); /* a page in the middle is overwritten */
    for (int i = 0; i < 500; i++) {
        char id[16];
        snprintf(id, sizeof id, "qry-%d", i);
        struct history_query q = a_query(id);
        CHECK(history_add(h, &q));
    }
    history_close(h);
    int fd = open(path, O_WRONLY);
    char junk[4096];
    memset(junk, 0xa5, sizeof junk);
    CHECK_EQ(pwrite(fd, junk, sizeof junk, 4096 * 2), (ssize_t)sizeof junk);
    close(fd);
    CHECK_EQ(history_open(&opt, &h, &err), RAG_ECORRUPT);
    CHECK(strstr(err.msg, path) != NULL);
    temp_dir_drop();
}

TEST(reports_need_no_server)
{
    struct history_options opt = {.dir = dir, .read_only = true};
    temp_dir_make();
    struct history *h = open_with(NULL, 30), *reader = NULL;
    struct history_query q = a_query("qry-1");
    CHECK(history_add(h, &q));
    CHECK_OK(thumb(h, "qry-1", FEEDBACK_UP));
    CHECK_OK(history_open(&opt, &reader, NULL)); /* beside one that writes */
    CHECK_EQ(totals(reader).up, 1);
    history_close(reader);
    history_close(h);
    CHECK_OK(history_open(&opt, &reader, NULL)); /* and alone */
    CHECK_EQ(totals(reader).queries, 1);
    history_close(reader);
    temp_dir_drop();
}

/* ---- many at once ---------------------------------------------------------------------------------------- */

enum { THREADS = 16, EACH = 200 };
struct crowd {
    struct history *h;
    int n;
    atomic_int *failed;
};

static void *ask_and_judge(void *arg)
{
    const struct crowd *c = arg;
    for (int i = 0; i < EACH; i++) {
        char id[32];
        snprintf(id, sizeof id, "qry-%d-%d", c->n, i);
        struct history_query q = a_query(id);
        if (!history_add(c->h, &q))
            atomic_fetch_add(c->failed, 1);
        if (i % 40 == 0 && thumb(c->h, id, FEEDBACK_UP))
            atomic_fetch_add(c->failed, 1);
        struct history_totals t;
        if (i % 100 == 99 && history_totals(c->h, 0, INT64_MAX, &t, NULL))
            atomic_fetch_add(c->failed, 1);
    }
    return NULL;
}

TEST(sixteen_threads_lose_nothing)
{
    pthread_t threads[THREADS];
    struct crowd crowd[THREADS];
    atomic_int failed = 0;
    temp_dir_make();
    struct history *h = open_with(NULL, 30);
    for (int i = 0; i < THREADS; i++) {
        crowd[i] = (struct crowd){h, i, &failed};
        CHECK_EQ(pthread_create(&threads[i], NULL, ask_and_judge, &crowd[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    history_close(h);
    CHECK_EQ(failed, 0);
    CHECK_EQ(raw_int("SELECT count(*) FROM queries"), THREADS * EACH);
    CHECK_EQ(raw_int("SELECT count(*) FROM feedback"), THREADS * EACH / 40);
    temp_dir_drop();
}

/* ---- figures --------------------------------------------------------------------------------------------- */

static double cpu_s(int who)
{
    struct rusage u;
    getrusage(who, &u);
    return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

TEST(figures)
{
    enum { N = 50000, FEEDBACKS = 50 };
    if (!getenv("RAGD_BENCH"))
        return;
    static char answer[700], chunks[400];
    memset(answer, 'a', sizeof answer);
    memset(chunks, 'c', sizeof chunks);
    memcpy(chunks, "[\"", 2);
    memcpy(chunks + sizeof chunks - 2, "\"]", 2);
    temp_dir_make();
    struct history *h = open_with(NULL, 30);
    double all = cpu_s(RUSAGE_SELF), mine = cpu_s(RUSAGE_THREAD);
    int64_t start = clock_mono_ns(), adding = 0;
    for (int i = 0; i < N; i++) {
        char id[48];
        snprintf(id, sizeof id, "qry-0123456789abcdef-%x", i);
        struct history_query q = a_query(id);
        q.answer = str_make(answer, sizeof answer);
        q.chunks = str_make(chunks, sizeof chunks);
        int64_t t = clock_mono_ns();
        CHECK(history_add(h, &q));
        adding += clock_mono_ns() - t;
        if (i % 200 == 199)
            usleep(5000);
    }
    int64_t last = clock_mono_ns();
    history_close(h);
    double wall = (double)(clock_mono_ns() - start) / 1e9, tail = (double)(clock_mono_ns() - last) / 1e9;
    double thread_cpu = cpu_s(RUSAGE_SELF) - all - (cpu_s(RUSAGE_THREAD) - mine);
    print_message("history_add: %.2f us a question; its thread: %.1f us of CPU a question; %d questions in %.2f s, %.2f s "
                  "of them behind the last\n",
                  (double)adding / 1e3 / N, thread_cpu * 1e6 / N, N, wall, tail);
    h = open_with(NULL, 30);
    start = clock_mono_ns();
    for (int i = 0; i < FEEDBACKS; i++)
        CHECK_OK(thumb(h, "qry-0123456789abcdef-1", FEEDBACK_UP));
    print_message("feedback, one after the other: %.1f ms each\n", (double)(clock_mono_ns() - start) / 1e6 / FEEDBACKS);
    start = clock_mono_ns();
    totals(h);
    print_message("totals over %d: %.1f ms\n", N, (double)(clock_mono_ns() - start) / 1e6);
    struct list l = {.most = 8};
    start = clock_mono_ns();
    CHECK_OK(history_unanswered(h, 0, INT64_MAX, 8, collect, &l, NULL));
    print_message("unanswered over %d: %.1f ms\n", N, (double)(clock_mono_ns() - start) / 1e6);
    history_close(h);
    atomic_store(&now, NOON + 31 * DAY);
    all = cpu_s(RUSAGE_SELF);
    h = open_with(NULL, 30);
    start = clock_mono_ns();
    wait_for_queries(h, 0);
    print_message("deleting %d in slices of 1,000: %.2f s, CPU %.2f s with the polling\n", N,
                  (double)(clock_mono_ns() - start) / 1e9, cpu_s(RUSAGE_SELF) - all);
    atomic_store(&now, NOON);
    history_close(h);
    temp_dir_drop();
}
