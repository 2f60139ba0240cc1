#include "test.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/commit_queue.h"
#include "temp_dir.h"

enum { APP = 0x54455354 };
static char path[128];

static rag_code migrate(sqlite3 *db, uint32_t from, struct rag_err *err)
{
    const char *sql = from == 0 ? "CREATE TABLE t(x INTEGER NOT NULL); CREATE TABLE u(x INTEGER)"
                                : "CREATE TABLE u(x INTEGER)";
    return sqlite3_exec(db, sql, NULL, NULL, NULL) ? rag_err_set(err, RAG_EIO, "migrate") : RAG_OK;
}

static struct commit_options options(void)
{
    snprintf(path, sizeof path, "%s/q.db", dir);
    return (struct commit_options){.path = path,
                                   .name = "test",
                                   .application_id = APP,
                                   .version = 2,
                                   .migrate = migrate};
}

static struct commit_queue *queue_open(struct commit_options opt)
{
    struct commit_queue *q = NULL;
    struct rag_err err = {0};
    rag_code rc = commit_queue_open(&opt, &q, &err);
    if (rc)
        print_error("%s\n", err.msg);
    CHECK_OK(rc);
    return q;
}

static rag_code open_fails(struct commit_options opt)
{
    struct commit_queue *q = NULL;
    struct rag_err err = {0};
    rag_code rc = commit_queue_open(&opt, &q, &err);
    CHECK(rc && !q && strstr(err.msg, "test"));
    return rc;
}

static int64_t count(const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *st;
    CHECK_OK(sqlite3_open(path, &db));
    CHECK_OK(sqlite3_prepare_v2(db, sql, -1, &st, NULL));
    CHECK_EQ(sqlite3_step(st), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

struct insert {
    struct commit_job job;
    int x, fail; /* fail: 1 after it has written */
    rag_code got;
    bool done;
};
static int order[100000], n_order; /* the queue's thread */

static rag_code insert_apply(struct commit_job *j, sqlite3 *db)
{
    struct insert *in = (struct insert *)j;
    char sql[64];
    snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%d)", in->x);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL))
        return commit_queue_code(db);
    return in->fail ? RAG_ENOTFOUND : RAG_OK;
}

static void insert_done(struct commit_job *j, rag_code rc)
{
    struct insert *in = (struct insert *)j;
    in->got = rc;
    in->done = true;
    order[n_order++] = in->x;
}

static struct insert insert_of(int x, int fail)
{
    return (struct insert){.job = {.apply = insert_apply, .done = insert_done}, .x = x, .fail = fail};
}

TEST(jobs_are_committed_in_order_and_a_failed_one_is_undone_alone)
{
    temp_dir_make();
    static struct insert in[100];
    struct commit_options opt = options();
    opt.linger_ms = 50; /* so that they share a batch */
    struct commit_queue *q = queue_open(opt);
    n_order = 0;
    for (int i = 0; i < 100; i++) {
        in[i] = insert_of(i, i % 10 == 3);
        in[i].job.lazy = i < 99;
        commit_queue_submit(q, &in[i].job);
    }
    commit_queue_close(q);
    CHECK_EQ(n_order, 100);
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(order[i], i);
        CHECK_EQ(in[i].got, i % 10 == 3 ? RAG_ENOTFOUND : RAG_OK);
    }
    CHECK_EQ(count("SELECT count(*) FROM t"), 90);
    CHECK_EQ(count("SELECT count(*) FROM t WHERE x % 10 = 3"), 0);
    temp_dir_drop();
}

struct sender {
    pthread_t thread;
    struct commit_queue *q;
    struct insert in[500];
    int base;
};

static void *send_all(void *arg)
{
    struct sender *s = arg;
    for (int i = 0; i < 500; i++) {
        s->in[i] = insert_of(s->base + i, 0);
        commit_queue_submit(s->q, &s->in[i].job);
    }
    return NULL;
}

TEST(many_threads_submit_and_each_keeps_its_order)
{
    temp_dir_make();
    static struct sender s[8];
    struct commit_queue *q = queue_open(options());
    n_order = 0;
    for (int i = 0; i < 8; i++) {
        s[i].q = q;
        s[i].base = i * 1000;
        CHECK_OK(pthread_create(&s[i].thread, NULL, send_all, &s[i]));
    }
    for (int i = 0; i < 8; i++)
        pthread_join(s[i].thread, NULL);
    commit_queue_close(q);
    CHECK_EQ(n_order, 4000);
    int last[8] = {0};
    for (int i = 0; i < 4000; i++) {
        int who = order[i] / 1000;
        CHECK_EQ(order[i] % 1000, last[who]++);
    }
    CHECK_EQ(count("SELECT count(DISTINCT x) FROM t"), 4000);
    temp_dir_drop();
}

/* done may submit, also while the queue closes. */
struct chain {
    struct commit_job job;
    struct commit_queue *q;
    int left;
};

static rag_code chain_apply(struct commit_job *j, sqlite3 *db)
{
    (void)j;
    return sqlite3_exec(db, "INSERT INTO t VALUES(7)", NULL, NULL, NULL) ? RAG_EIO : RAG_OK;
}

static void chain_done(struct commit_job *j, rag_code rc)
{
    struct chain *c = (struct chain *)j;
    if (!rc && --c->left)
        commit_queue_submit(c->q, j);
}

TEST(done_may_submit_while_the_queue_closes)
{
    temp_dir_make();
    struct chain c = {.job = {.apply = chain_apply, .done = chain_done}, .left = 20};
    c.q = queue_open(options());
    commit_queue_submit(c.q, &c.job);
    commit_queue_close(c.q);
    CHECK_EQ(c.left, 0);
    CHECK_EQ(count("SELECT count(*) FROM t"), 20);
    temp_dir_drop();
}

/* A limit on pages stands for the full disk: SQLite answers SQLITE_FULL. */
static rag_code fill_apply(struct commit_job *j, sqlite3 *db)
{
    (void)j;
    return sqlite3_exec(db,
                        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
                        " INSERT INTO t SELECT -i FROM n",
                        NULL, NULL, NULL)
               ? commit_queue_code(db)
               : RAG_OK;
}

TEST(a_full_disk_fails_the_batch_and_the_next_one_goes_on)
{
    temp_dir_make();
    struct commit_options opt = options();
    opt.linger_ms = 50;
    struct commit_queue *q = queue_open(opt);
    CHECK_OK(sqlite3_exec(commit_queue_db(q), "PRAGMA max_page_count=8", NULL, NULL, NULL));
    static struct insert in[3];
    in[0] = insert_of(1, 0);
    in[1] = insert_of(2, 0);
    in[1].job.apply = fill_apply;
    in[2] = insert_of(3, 0);
    for (int i = 0; i < 3; i++) {
        in[i].job.lazy = true;
        commit_queue_submit(q, &in[i].job);
    }
    commit_queue_close(q);
    CHECK_EQ(in[1].got, RAG_ENOSPC);
    CHECK(in[0].done && in[2].done);
    for (int i = 0; i < 3; i += 2) { /* whoever was told RAG_OK is there, whoever was not is not */
        char sql[64];
        snprintf(sql, sizeof sql, "SELECT count(*) FROM t WHERE x = %d", in[i].x);
        CHECK_EQ(count(sql), in[i].got == RAG_OK);
    }
    q = queue_open(opt);
    in[0] = insert_of(9, 0);
    commit_queue_submit(q, &in[0].job);
    commit_queue_close(q);
    CHECK_OK(in[0].got);
    temp_dir_drop();
}

TEST(a_locked_file_fails_with_busy)
{
    temp_dir_make();
    struct commit_queue *q = queue_open(options());
    CHECK_OK(sqlite3_exec(commit_queue_db(q), "PRAGMA busy_timeout=1", NULL, NULL, NULL));
    sqlite3 *other;
    CHECK_OK(sqlite3_open(path, &other));
    CHECK_OK(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL));
    struct insert in = insert_of(1, 0);
    n_order = 0;
    commit_queue_submit(q, &in.job);
    commit_queue_close(q);
    CHECK_EQ(in.got, RAG_EBUSY);
    sqlite3_close(other);
    CHECK_EQ(count("SELECT count(*) FROM t"), 0);
    temp_dir_drop();
}

TEST(the_file_is_private_and_migrates)
{
    temp_dir_make();
    struct commit_options opt = options();
    opt.read_only = true;
    CHECK_EQ(open_fails(opt), RAG_ENOTFOUND);
    sqlite3 *db;
    CHECK_OK(sqlite3_open(path, &db));
    CHECK_OK(sqlite3_exec(db, "PRAGMA application_id=0x54455354; PRAGMA user_version=1; CREATE TABLE t(x)",
                          NULL, NULL, NULL));
    sqlite3_close(db);
    CHECK_EQ(open_fails(opt), RAG_EVERSION); /* reading brings nothing up to date */
    opt.read_only = false;
    commit_queue_close(queue_open(opt));
    CHECK_EQ(count("PRAGMA user_version"), 2);
    CHECK_EQ(count("SELECT count(*) FROM u"), 0);
    unlink(path);
    commit_queue_close(queue_open(opt));
    struct stat st;
    CHECK_OK(stat(path, &st));
    CHECK_EQ(st.st_mode & 0777, 0600);
    temp_dir_drop();
}

TEST(other_files_are_refused)
{
    temp_dir_make();
    struct commit_options opt = options();
    commit_queue_close(queue_open(opt));
    CHECK_EQ(count("PRAGMA application_id"), APP);
    opt.application_id = 1;
    CHECK_EQ(open_fails(opt), RAG_ECORRUPT);
    opt = options();
    opt.version = 1;
    CHECK_EQ(open_fails(opt), RAG_EVERSION);
    opt = options();
    FILE *f = fopen(path, "r+");
    fseek(f, 4096 + 2, SEEK_SET);
    fwrite("damaged!damaged!", 1, 16, f);
    fclose(f);
    CHECK_EQ(open_fails(opt), RAG_ECORRUPT);
    f = fopen(path, "w");
    fputs("no database at all, but long enough to be looked at", f);
    fclose(f);
    CHECK_EQ(open_fails(opt), RAG_ECORRUPT);
    opt.path = "/nonexistent/q.db";
    CHECK_EQ(open_fails(opt), RAG_ENOTFOUND);
    temp_dir_drop();
}

TEST(a_reader_works_beside_the_writer)
{
    temp_dir_make();
    struct commit_options opt = options();
    struct commit_queue *q = queue_open(opt);
    opt.read_only = opt.unchecked = true;
    struct commit_queue *r = queue_open(opt);
    struct insert in = insert_of(5, 0);
    commit_queue_submit(q, &in.job);
    commit_queue_close(q);
    sqlite3_stmt *st; /* left to close */
    CHECK_OK(sqlite3_prepare_v2(commit_queue_db(r), "SELECT x FROM t", -1, &st, NULL));
    CHECK_EQ(sqlite3_step(st), SQLITE_ROW);
    CHECK_EQ(sqlite3_column_int(st, 0), 5);
    commit_queue_close(r);
    commit_queue_close(NULL);
    temp_dir_drop();
}

TEST(opening_survives_each_failed_allocation)
{
    temp_dir_make();
    bool fired = true;
    for (unsigned nth = 1; fired; nth++) {
        struct commit_options opt = options();
        struct commit_queue *q = NULL;
        fault_arm_alloc(nth);
        rag_code rc = commit_queue_open(&opt, &q, NULL);
        fired = fault_disarm();
        CHECK((rc == RAG_OK) == (q != NULL));
        commit_queue_close(q);
    }
    temp_dir_drop();
}
