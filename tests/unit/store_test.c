/* The database: what a document's life leaves behind, and the ways the world breaks it. RAGD_BENCH=1 prints rates. */
#include "store/store.h"

#include "test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/store_int.h"
#include "sys/clock.h"

struct fixture {
    char dir[64];
    struct store *s;
    struct store_reader *r;
    struct arena a;
};

static struct store_options at(const struct fixture *f)
{
    return (struct store_options){.dir = f->dir};
}

static void make_dir(struct fixture *f)
{
    *f = (struct fixture){.dir = "/tmp/ragd-store-XXXXXX"};
    assert_non_null(mkdtemp(f->dir));
}

static void start(struct fixture *f)
{
    struct store_options o;
    make_dir(f);
    o = at(f);
    CHECK_OK(store_open(&o, &f->s, NULL));
    CHECK_OK(store_reader_open(&o, &f->r, NULL));
}

static void stop(struct fixture *f)
{
    char cmd[256];
    store_reader_close(f->r);
    store_close(f->s);
    arena_clear(&f->a);
    snprintf(cmd, sizeof cmd, "chmod -R u+rwx %s; rm -rf %s", f->dir, f->dir);
    CHECK_EQ(system(cmd), 0);
}

/* Runs SQL behind the store's back. */
static void sql(const struct fixture *f, const char *text)
{
    char path[128];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/ragd.db", f->dir);
    CHECK_EQ(sqlite3_open(path, &db), SQLITE_OK);
    CHECK_EQ(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static int64_t sql_int(const struct fixture *f, const char *text)
{
    char path[128];
    sqlite3 *db;
    sqlite3_stmt *st;
    snprintf(path, sizeof path, "%s/ragd.db", f->dir);
    CHECK_EQ(sqlite3_open(path, &db), SQLITE_OK);
    CHECK_EQ(sqlite3_prepare_v2(db, text, -1, &st, NULL), SQLITE_OK);
    CHECK_EQ(sqlite3_step(st), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

/* A document of two chunks: "<text>" cut in the middle. Its text is ASCII unless chunks are given. */
static struct store_document document(const char *id, const char *text)
{
    static struct store_chunk chunks[2];
    uint32_t n = (uint32_t)strlen(text), half = n / 2;
    chunks[0] = (struct store_chunk){0, half, 0, half, STR_LIT("Top"), 0};
    chunks[1] = (struct store_chunk){half, n, half, n,
                                     STR_LIT("Top\x1f"
                                             "Below"),
                                     0};
    struct store_document d = {.collection = 1,
                               .id = str_of(id),
                               .title = STR_LIT("title"),
                               .source = STR_LIT("a.md"),
                               .metadata = STR_LIT("{\"lang\":\"en\"}"),
                               .text = str_of(text),
                               .updated_ms = 1000,
                               .chunks = chunks,
                               .n_chunks = 2};
    memset(d.content_hash, 0, 32);
    memcpy(d.content_hash, text, n < 32 ? n : 32);
    return d;
}

static rag_code put(struct fixture *f, const char *id, const char *text, enum store_put_result *res,
                    int64_t *seq)
{
    struct store_document d = document(id, text);
    int64_t old;
    rag_code rc = store_put(f->s, &d, res, &old, NULL);
    *seq = d.seq;
    return rc;
}

static rag_code put_alone(struct fixture *f, struct store_document *d, enum store_put_result *res,
                          int64_t *old)
{
    rag_code rc = store_begin(f->s, NULL);
    if (!rc)
        rc = store_put(f->s, d, res, old, NULL);
    if (rc)
        store_rollback(f->s);
    else
        rc = store_commit(f->s, NULL);
    return rc;
}

static int64_t put_ok(struct fixture *f, const char *id, const char *text)
{
    enum store_put_result res;
    int64_t seq;
    CHECK_OK(put(f, id, text, &res, &seq));
    return seq;
}

static int64_t put_committed(struct fixture *f, const char *id, const char *text)
{
    CHECK_OK(store_begin(f->s, NULL));
    int64_t seq = put_ok(f, id, text);
    CHECK_OK(store_commit(f->s, NULL));
    return seq;
}

static rag_code get(struct fixture *f, const char *id, uint32_t version, struct store_document *d)
{
    return store_get(f->r, 1, str_of(id), version, &f->a, d, NULL);
}

static uint32_t findings(struct fixture *f, struct rag_err *err)
{
    uint32_t n = 99;
    rag_code rc = store_verify(f->r, &n, err);
    CHECK(rc == (n ? RAG_ECORRUPT : RAG_OK));
    return n;
}

/* ---- documents ------------------------------------------------------------------------------------------ */

TEST(a_document_comes_back_as_it_was_put)
{
    struct fixture f;
    struct store_document d, x;
    enum store_put_result res;
    int64_t old = -1;
    start(&f);
    const char *text = "年费三千六百元。\n积分 \xf0\x9f\x98\x80 兑换";
    struct store_chunk c[] = {{0, 25, 0, 9,
                               STR_LIT("卡\x1f"
                                       "费用"),
                               0},
                              {25, (uint32_t)strlen(text), 9, 16, {0}, 12}};
    d = document("卡/白金.md", text);
    d.chunks = c;
    CHECK_OK(store_begin(f.s, NULL));
    CHECK_OK(store_put(f.s, &d, &res, &old, NULL));
    CHECK_EQ(get(&f, "卡/白金.md", 0, &x), RAG_ENOTFOUND); /* not before the commit */
    CHECK_OK(store_commit(f.s, NULL));
    CHECK_EQ(res, STORE_ADDED);
    CHECK_EQ(old, 0);
    CHECK_EQ(d.version, 1);
    CHECK(d.seq > 0 && d.created_ms == 1000);

    for (int by_seq = 0; by_seq < 2; by_seq++) {
        CHECK_OK(by_seq ? store_get_by_seq(f.r, d.seq, &f.a, &x, NULL) : get(&f, "卡/白金.md", 0, &x));
        CHECK_EQ(x.collection, 1);
        CHECK_EQ(x.version, 1);
        CHECK_EQ(x.seq, d.seq);
        CHECK_EQ(x.created_ms, 1000);
        CHECK_EQ(x.updated_ms, 1000);
        CHECK_STR(x.id, "卡/白金.md");
        CHECK_STR(x.title, "title");
        CHECK_STR(x.source, "a.md");
        CHECK_STR(x.metadata, "{\"lang\":\"en\"}");
        CHECK_STR(x.text, text);
        CHECK(memcmp(x.content_hash, d.content_hash, 32) == 0);
        CHECK_EQ(x.n_chunks, 2);
        for (int i = 0; i < 2; i++) {
            CHECK_EQ(x.chunks[i].start, c[i].start);
            CHECK_EQ(x.chunks[i].end, c[i].end);
            CHECK_EQ(x.chunks[i].char_start, c[i].char_start);
            CHECK_EQ(x.chunks[i].char_end, c[i].char_end);
            CHECK(str_eq(x.chunks[i].heading_path, c[i].heading_path));
            CHECK_EQ(x.chunks[i].page, c[i].page);
        }
    }
    CHECK_EQ(findings(&f, NULL), 0);
    stop(&f);
}

TEST(empty_and_odd_values_survive)
{
    struct fixture f;
    struct store_document d = document("x", ""), x;
    enum store_put_result res;
    int64_t old;
    start(&f);
    d.text = d.title = d.source = d.metadata = (struct str){0};
    d.n_chunks = 0;
    CHECK_OK(put_alone(&f, &d, &res, &old));
    CHECK_OK(get(&f, "x", 0, &x));
    CHECK(x.text.ptr != NULL && x.text.len == 0 && x.title.len == 0 && x.n_chunks == 0);
    d = document("nul", "a");
    d.text = str_make("a\0b", 3);
    d.chunks = &(struct store_chunk){0, 3, 0, 3, {0}, 0};
    d.n_chunks = 1;
    CHECK_OK(put_alone(&f, &d, &res, &old));
    CHECK_OK(get(&f, "nul", 0, &x));
    CHECK(x.text.len == 3 && memcmp(x.text.ptr, "a\0b", 3) == 0);
    CHECK_EQ(findings(&f, NULL), 0);
    stop(&f);
}

TEST(the_same_content_is_not_written_again)
{
    struct fixture f;
    struct store_document d = document("a", "some text");
    enum store_put_result res;
    int64_t first, old, seq;
    start(&f);
    first = put_committed(&f, "a", "some text");
    int64_t changes = sqlite3_total_changes64(f.s->c.db);
    CHECK_OK(store_begin(f.s, NULL));
    d.updated_ms = 5000;
    CHECK_OK(store_put(f.s, &d, &res, &old, NULL));
    CHECK_OK(store_commit(f.s, NULL));
    CHECK_EQ(res, STORE_UNCHANGED);
    CHECK_EQ(sqlite3_total_changes64(f.s->c.db), changes);
    CHECK(d.seq == first && old == first && d.version == 1 && d.created_ms == 1000);
    CHECK_OK(store_begin(f.s, NULL));
    CHECK_OK(put(&f, "a", "other text", &res, &seq));
    CHECK_EQ(res, STORE_UPDATED);
    CHECK(seq > first);
    CHECK_OK(put(&f, "a", "some text", &res, &seq)); /* back again is a change */
    CHECK_EQ(res, STORE_UPDATED);
    CHECK_OK(store_commit(f.s, NULL));
    stop(&f);
}

TEST(versions_are_kept_up_to_the_limit)
{
    struct fixture f;
    struct store_document x, *v;
    uint32_t n;
    char text[32];
    int64_t seq[16] = {0};
    start(&f);
    for (int i = 1; i <= STORE_KEEP_VERSIONS + 3; i++) {
        snprintf(text, sizeof text, "text of version %d", i);
        seq[i] = put_committed(&f, "a", text);
        CHECK(seq[i] > seq[i - 1]);
    }
    CHECK_OK(store_versions(f.r, 1, STR_LIT("a"), &f.a, &v, &n, NULL));
    CHECK_EQ(n, STORE_KEEP_VERSIONS + 3);
    for (uint32_t i = 0; i < n; i++) {
        CHECK_EQ(v[i].version, n - i);
        CHECK_EQ(v[i].seq, seq[n - i]);
        CHECK_EQ(v[i].text.len, strlen("text of version 1") + (n - i > 9));
        CHECK_EQ(v[i].n_chunks, i == 0 ? 2 : 0);
        CHECK_OK(get(&f, "a", n - i, &x));
        CHECK((x.text.ptr != NULL) == (i < STORE_KEEP_VERSIONS));
        CHECK_EQ(x.n_chunks, i == 0 ? 2 : 0);
    }
    CHECK_OK(get(&f, "a", 5, &x));
    CHECK_STR(x.text, "text of version 5");
    CHECK_EQ(get(&f, "a", 99, &x), RAG_ENOTFOUND);
    CHECK_EQ(get(&f, "b", 0, &x), RAG_ENOTFOUND);
    CHECK_EQ(store_get_by_seq(f.r, seq[1], &f.a, &x, NULL), RAG_ENOTFOUND); /* not the current one */
    CHECK_EQ(store_versions(f.r, 1, STR_LIT("b"), &f.a, &v, &n, NULL), RAG_ENOTFOUND);
    CHECK_EQ(sql_int(&f, "SELECT count(*) FROM chunks"), 2);
    CHECK_EQ(findings(&f, NULL), 0);
    stop(&f);
}

TEST(deleting_takes_everything_and_never_reuses_a_seq)
{
    struct fixture f;
    struct store_document x;
    int64_t seq = 0, none = 7;
    start(&f);
    CHECK_OK(store_last_seq(f.r, &none, NULL));
    CHECK_EQ(none, 0);
    put_committed(&f, "a", "first text");
    int64_t last = put_committed(&f, "a", "second text");
    put_committed(&f, "b", "another");
    CHECK_OK(store_begin(f.s, NULL));
    CHECK_OK(store_delete(f.s, 1, STR_LIT("a"), &seq, NULL));
    CHECK_EQ(seq, last);
    CHECK_EQ(store_delete(f.s, 1, STR_LIT("a"), &seq, NULL), RAG_ENOTFOUND);
    CHECK_EQ(store_delete(f.s, 7, STR_LIT("b"), &seq, NULL), RAG_ENOTFOUND);
    CHECK_OK(store_commit(f.s, NULL));
    CHECK_EQ(get(&f, "a", 0, &x), RAG_ENOTFOUND);
    CHECK_EQ(sql_int(&f, "SELECT count(*) FROM versions"), 1);
    CHECK_EQ(sql_int(&f, "SELECT count(*) FROM chunks"), 2);
    CHECK_OK(store_begin(f.s, NULL));
    CHECK_OK(store_delete(f.s, 1, STR_LIT("b"), &seq, NULL));
    CHECK_OK(store_commit(f.s, NULL));
    int64_t highest = 0;
    CHECK_OK(store_last_seq(f.r, &highest, NULL));
    CHECK_EQ(highest, seq);
    int64_t again = put_committed(&f, "a", "third text");
    CHECK(again > seq); /* a deleted seq names nothing else, ever */
    CHECK_OK(store_last_seq(f.r, &highest, NULL));
    CHECK_EQ(highest, again);
    CHECK_OK(get(&f, "a", 0, &x));
    CHECK_EQ(x.version, 1);
    stop(&f);
}

TEST(bad_documents_are_refused)
{
    struct fixture f;
    struct store_document d;
    enum store_put_result res;
    int64_t old;
    struct rag_err err = {0};
    start(&f);
    CHECK_OK(store_begin(f.s, NULL));
    put_ok(&f, "good", "good text");
    CHECK_OK(store_savepoint(f.s, NULL));
    d = document("a", "some text");
    d.collection = 77;
    CHECK_EQ(store_put(f.s, &d, &res, &old, &err), RAG_ENOTFOUND);
    CHECK(strstr(err.msg, "collection") != NULL);
    store_rollback_to_savepoint(f.s);
    d = document("", "some text");
    CHECK_EQ(store_put(f.s, &d, &res, &old, NULL), RAG_EINVAL);
    static char id[514];
    memset(id, 'i', 513);
    d = document(id, "some text");
    CHECK_EQ(store_put(f.s, &d, &res, &old, NULL), RAG_EINVAL);
    d.id.len = 512;
    CHECK_OK(store_put(f.s, &d, &res, &old, NULL));
    d = document("a", "some text");
    d.text.len = 3; /* the chunks reach further */
    CHECK_EQ(store_put(f.s, &d, &res, &old, NULL), RAG_EINVAL);
    d = document("a", "some text");
    d.text.len = (size_t)STORE_MAX_TEXT_BYTES + 1; /* refused before it is looked at */
    CHECK_EQ(store_put(f.s, &d, &res, &old, NULL), RAG_ETOOBIG);
    CHECK_OK(store_commit(f.s, NULL));
    struct store_counts n;
    CHECK_OK(store_count(f.r, 0, &n, NULL));
    CHECK_EQ(n.documents, 2);
    CHECK_EQ(findings(&f, NULL), 0);
    stop(&f);
}

/* ---- transactions ---------------------------------------------------------------------------------------- */

TEST(rollback_and_savepoints)
{
    struct fixture f;
    struct store_document x;
    start(&f);
    put_committed(&f, "kept", "kept text");
    CHECK_OK(store_begin(f.s, NULL));
    put_ok(&f, "gone", "gone text");
    put_ok(&f, "kept", "gone text");
    store_rollback(f.s);
    store_rollback(f.s); /* nothing open: fine */
    CHECK_EQ(get(&f, "gone", 0, &x), RAG_ENOTFOUND);
    CHECK_OK(get(&f, "kept", 0, &x));
    CHECK_STR(x.text, "kept text");

    CHECK_OK(store_begin(f.s, NULL));
    CHECK_OK(store_savepoint(f.s, NULL));
    put_ok(&f, "one", "one text");
    CHECK_OK(store_release(f.s, NULL));
    CHECK_OK(store_savepoint(f.s, NULL));
    put_ok(&f, "two", "two text");
    store_rollback_to_savepoint(f.s);
    CHECK_OK(store_savepoint(f.s, NULL));
    put_ok(&f, "three", "three text");
    CHECK_OK(store_release(f.s, NULL));
    CHECK_OK(store_commit(f.s, NULL));
    CHECK_OK(get(&f, "one", 0, &x));
    CHECK_EQ(get(&f, "two", 0, &x), RAG_ENOTFOUND);
    CHECK_OK(get(&f, "three", 0, &x));
    CHECK(store_begin(f.s, NULL) == RAG_OK && store_begin(f.s, NULL) != RAG_OK);
    store_rollback(f.s);
    stop(&f);
}

static void fill(char *text, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++)
        text[i] = (char)('a' + i * 7 % 23);
    text[n - 1] = 0;
}

/* A batch that runs out of disk: some documents fail, then the commit does, and nothing of it stays. */
static void run_out_of_space(struct fixture *f, rag_code want)
{
    static char text[300000];
    struct rag_err err = {0};
    enum store_put_result res;
    struct store_document x;
    int64_t seq;
    rag_code rc = RAG_OK;
    char id[16];
    fill(text, sizeof text);
    CHECK_OK(store_begin(f->s, NULL));
    put_ok(f, "small", "small text");
    for (int i = 0; i < 100 && !rc; i++) {
        snprintf(id, sizeof id, "big%d", i);
        rc = store_savepoint(f->s, &err);
        if (!rc) {
            rc = put(f, id, text, &res, &seq);
            if (rc)
                store_rollback_to_savepoint(f->s);
            else
                rc = store_release(f->s, &err);
        }
    }
    if (rc) {
        CHECK_EQ(rc, want);
        if (sqlite3_get_autocommit(f->s->c.db)) { /* the whole transaction went */
            CHECK_EQ(store_savepoint(f->s, &err), want);
            CHECK_EQ(put(f, "after", "not alone in a transaction", &res, &seq), want);
            CHECK_EQ(store_delete(f->s, 1, STR_LIT("before"), &seq, NULL), want);
            CHECK_EQ(store_commit(f->s, &err), want);
            CHECK(err.msg[0] != 0);
        } else {
            store_rollback(f->s);
        }
    } else {
        CHECK_EQ(store_commit(f->s, &err), want);
    }
    CHECK_EQ(get(f, "small", 0, &x), RAG_ENOTFOUND);
    CHECK_EQ(get(f, "after", 0, &x), RAG_ENOTFOUND);
    CHECK_OK(get(f, "before", 0, &x));
    CHECK_STR(x.text, "before text");
    CHECK_EQ(findings(f, NULL), 0);
}

TEST(a_full_disk_loses_the_batch_and_nothing_else)
{
    struct fixture f;
    struct store_document x;
    start(&f);
    put_committed(&f, "before", "before text");
    CHECK_EQ(sqlite3_exec(f.s->c.db, "PRAGMA max_page_count=200", NULL, NULL, NULL), SQLITE_OK);
    run_out_of_space(&f, RAG_ENOSPC);
    CHECK_EQ(sqlite3_exec(f.s->c.db, "PRAGMA max_page_count=1000000", NULL, NULL, NULL), SQLITE_OK);
    put_committed(&f, "later", "there is room again");
    CHECK_OK(get(&f, "later", 0, &x));
    stop(&f);
}

TEST(a_write_error_loses_the_batch_and_nothing_else)
{
    struct fixture f;
    pid_t child = fork();
    if (child == 0) { /* the limit on file size makes write() fail, as a broken disk would */
        start(&f);
        put_committed(&f, "before", "before text");
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){2 << 20, RLIM_INFINITY});
        run_out_of_space(&f, RAG_EIO);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY});
        put_committed(&f, "later", "there is room again");
        stop(&f);
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
}

TEST(each_failed_allocation_is_an_error_and_nothing_is_torn)
{
    struct fixture f;
    struct store_document x;
    bool fired = true;
    char text[32];
    start(&f);
    put_committed(&f, "a", "text 0");
    for (unsigned nth = 1; fired; nth++) {
        struct store *s = NULL;
        struct store_options o = at(&f);
        enum store_put_result res;
        int64_t seq;
        store_close(f.s);
        f.s = NULL;
        snprintf(text, sizeof text, "text %u", nth);
        fault_arm_alloc(nth);
        rag_code rc = store_open(&o, &s, NULL);
        CHECK((rc == RAG_OK) == (s != NULL));
        f.s = s;
        if (!rc)
            rc = store_begin(s, NULL);
        if (!rc)
            rc = put(&f, "a", text, &res, &seq);
        if (s && !rc)
            rc = store_commit(s, NULL);
        else if (s)
            store_rollback(s);
        fired = fault_disarm();
        CHECK(rc == RAG_OK || fired);
        char was[32];
        snprintf(was, sizeof was, "text %u", nth - 1);
        CHECK_OK(get(&f, "a", 0, &x));
        if (rc == RAG_OK)
            CHECK_STR(x.text, text);
        else if (str_eqz(x.text, was) == false) /* an earlier failure left an earlier text */
            CHECK(x.text.len > 5 && !str_eqz(x.text, text));
        arena_clear(&f.a);
    }
    CHECK_EQ(findings(&f, NULL), 0);
    fired = true;
    for (unsigned nth = 1; fired; nth++) {
        struct store_options o = at(&f);
        struct store_document *l;
        struct store_collection *c;
        struct store_counts counts;
        uint32_t n;
        store_reader_close(f.r);
        f.r = NULL;
        fault_arm_alloc(nth);
        rag_code rc = store_reader_open(&o, &f.r, NULL);
        CHECK((rc == RAG_OK) == (f.r != NULL));
        if (!rc)
            rc = get(&f, "a", 0, &x);
        if (!rc)
            CHECK(x.text.ptr && x.n_chunks == 2 && x.chunks);
        if (!rc)
            rc = store_list(f.r, 1, STR_LIT(""), 10, &f.a, &l, &n, NULL);
        if (!rc)
            rc = store_collections(f.r, &f.a, &c, &n, NULL);
        if (!rc)
            rc = store_versions(f.r, 1, STR_LIT("a"), &f.a, &l, &n, NULL);
        if (!rc)
            rc = store_count(f.r, 0, &counts, NULL);
        if (!rc)
            rc = store_verify(f.r, &n, NULL);
        fired = fault_disarm();
        CHECK(rc == RAG_OK || (fired && rc == RAG_ENOMEM));
        arena_clear(&f.a);
    }
    stop(&f);
    CHECK_EQ(mem_in_use(MEM_STORE) < 1 << 20, true);
}

/* ---- collections ----------------------------------------------------------------------------------------- */

TEST(collections_have_a_life_of_their_own)
{
    struct fixture f;
    struct store_collection *c;
    struct store_counts counts;
    uint32_t n;
    int64_t id = 0, again = 0;
    start(&f);
    CHECK_OK(store_collections(f.r, &f.a, &c, &n, NULL));
    CHECK_EQ(n, 1);
    CHECK_STR(c[0].name, "default");
    CHECK_EQ(c[0].id, 1);
    CHECK_OK(store_collection_add(f.s, STR_LIT("Cards_2.x-1"), STR_LIT("{\"a\":1}"), 55, &id, NULL));
    CHECK_EQ(store_collection_add(f.s, STR_LIT("Cards_2.x-1"), STR_LIT("{}"), 56, &again, NULL),
             RAG_ECONFLICT);
    CHECK_EQ(again, id);
    const char *bad[] = {
        "",    ".",  "..",  "a b",
        "a/b", "卡", "a\n", "12345678901234567890123456789012345678901234567890123456789012345"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_EQ(store_collection_add(f.s, str_of(bad[i]), STR_LIT("{}"), 1, &again, NULL), RAG_EINVAL);
    CHECK_OK(store_collection_set(f.s, id, STR_LIT("{\"a\":2}"), NULL));
    CHECK_EQ(store_collection_set(f.s, 99, STR_LIT("{}"), NULL), RAG_ENOTFOUND);
    CHECK_OK(store_collections(f.r, &f.a, &c, &n, NULL));
    CHECK_EQ(n, 2);
    CHECK_STR(c[0].name, "Cards_2.x-1"); /* by name */
    CHECK_STR(c[0].settings, "{\"a\":2}");
    CHECK_EQ(c[0].created_ms, 55);

    struct store_document d = document("same id", "in two collections"), x;
    enum store_put_result res;
    int64_t old;
    put_committed(&f, "same id", "in two collections");
    d.collection = id;
    CHECK_OK(put_alone(&f, &d, &res, &old));
    CHECK_EQ(res, STORE_ADDED);
    CHECK_OK(store_count(f.r, id, &counts, NULL));
    CHECK(counts.collections == 2 && counts.documents == 1 && counts.chunks == 2);
    CHECK_OK(store_count(f.r, 0, &counts, NULL));
    CHECK(counts.collections == 2 && counts.documents == 2 && counts.chunks == 4);
    CHECK_OK(store_collection_delete(f.s, id, NULL));
    CHECK_EQ(store_collection_delete(f.s, id, NULL), RAG_ENOTFOUND);
    CHECK_EQ(sql_int(&f, "SELECT count(*) FROM versions"), 1);
    CHECK_EQ(sql_int(&f, "SELECT count(*) FROM chunks"), 2);
    CHECK_EQ(store_get(f.r, id, STR_LIT("same id"), 0, &f.a, &x, NULL), RAG_ENOTFOUND);
    CHECK_OK(get(&f, "same id", 0, &x));
    CHECK_OK(store_collection_add(f.s, STR_LIT("next"), STR_LIT("{}"), 1, &again, NULL));
    CHECK(again > id); /* segments name collections by id: never given twice */
    CHECK_EQ(findings(&f, NULL), 0);
    stop(&f);
}

/* ---- lists ------------------------------------------------------------------------------------------------ */

static rag_code count_seq(void *ctx, int64_t collection, int64_t seq)
{
    int64_t *w = ctx; /* number, last, stop at */
    if (collection != 1 || seq <= w[1])
        return RAG_ECORRUPT;
    w[1] = seq;
    return ++w[0] == w[2] ? RAG_ECANCELED : RAG_OK;
}

TEST(lists_come_in_pages)
{
    struct fixture f;
    struct store_document *l;
    uint32_t n, seen = 0;
    char id[16];
    start(&f);
    CHECK_OK(store_begin(f.s, NULL));
    for (int i = 0; i < 57; i++) {
        snprintf(id, sizeof id, "d%03d", i * 31 % 57);
        put_ok(&f, id, id);
    }
    CHECK_OK(store_commit(f.s, NULL));
    struct str after = {0};
    do {
        CHECK_OK(store_list(f.r, 1, after, 10, &f.a, &l, &n, NULL));
        for (uint32_t i = 0; i < n; i++, seen++) {
            snprintf(id, sizeof id, "d%03u", seen);
            CHECK_STR(l[i].id, id);
            CHECK(l[i].text.ptr == NULL && l[i].text.len == 4 && l[i].chunks == NULL);
            CHECK_EQ(l[i].n_chunks, 2);
        }
        if (n)
            after = l[n - 1].id;
    } while (n == 10);
    CHECK_EQ(seen, 57);
    CHECK_OK(store_list(f.r, 1, after, 10, &f.a, &l, &n, NULL));
    CHECK_EQ(n, 0);
    CHECK_OK(store_list(f.r, 2, STR_LIT(""), 10, &f.a, &l, &n, NULL));
    CHECK_EQ(n, 0);

    put_committed(&f, "d005", "changed");
    int64_t all[3] = {0, 0, -1};
    CHECK_OK(store_each_seq(f.r, count_seq, all, NULL));
    CHECK_EQ(all[0], 57);
    int64_t stopped[3] = {0, 0, 5};
    CHECK_EQ(store_each_seq(f.r, count_seq, stopped, NULL), RAG_ECANCELED);
    CHECK_EQ(stopped[0], 5);
    stop(&f);
}

struct reading {
    struct fixture *f;
    atomic_bool stop;
    unsigned torn, reads;
};

static void *keep_reading(void *arg)
{
    struct reading *g = arg;
    struct store_options o = at(g->f);
    struct store_reader *r;
    struct arena a = {0};
    if (store_reader_open(&o, &r, NULL))
        return NULL;
    while (!atomic_load(&g->stop)) {
        struct store_document d;
        if (store_get(r, 1, STR_LIT("a"), 0, &a, &d, NULL) || d.n_chunks != 2 ||
            d.chunks[1].end != d.text.len)
            g->torn++;
        g->reads++;
        arena_reset(&a);
    }
    arena_clear(&a);
    store_reader_close(r);
    return NULL;
}

TEST(a_reader_beside_the_writer_sees_whole_documents)
{
    struct fixture f;
    pthread_t t;
    char text[64];
    start(&f);
    put_committed(&f, "a", "text");
    struct reading g = {.f = &f};
    CHECK_EQ(pthread_create(&t, NULL, keep_reading, &g), 0);
    for (int i = 0; i < 2000; i++) {
        snprintf(text, sizeof text, "text %d %.*s", i, i % 40, "0123456789012345678901234567890123456789");
        put_committed(&f, "a", text);
    }
    atomic_store(&g.stop, true);
    pthread_join(t, NULL);
    CHECK_EQ(g.torn, 0);
    CHECK(g.reads > 0);
    stop(&f);
}

/* ---- opening ---------------------------------------------------------------------------------------------- */

static rag_code reopen(struct fixture *f, struct rag_err *err)
{
    struct store_options o = at(f);
    return store_open(&o, &f->s, err);
}

static void spoil(const struct fixture *f, off_t at_byte, const char *bytes, size_t n, bool truncate)
{
    char path[128];
    snprintf(path, sizeof path, "%s/ragd.db", f->dir);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    CHECK(fd >= 0 && (!truncate || ftruncate(fd, 0) == 0));
    CHECK_EQ(pwrite(fd, bytes, n, at_byte), (ssize_t)n);
    close(fd);
}

TEST(an_empty_file_and_a_version_0_database_are_migrated)
{
    for (int kind = 0; kind < 3; kind++) {
        struct fixture f;
        struct store_options o;
        struct store_document x;
        make_dir(&f);
        o = at(&f);
        if (kind == 1)
            spoil(&f, 0, "", 0, true); /* a cut right after its creation */
        else if (kind == 2)
            sql(&f, "PRAGMA journal_mode=WAL; PRAGMA user_version=0; CREATE TABLE t(x); DROP TABLE t");
        CHECK_EQ(store_reader_open(&o, &f.r, NULL), kind ? RAG_EVERSION : RAG_ENOTFOUND);
        CHECK(f.r == NULL);
        CHECK_OK(reopen(&f, NULL));
        CHECK_OK(store_reader_open(&o, &f.r, NULL));
        put_committed(&f, "a", "text");
        CHECK_OK(get(&f, "a", 0, &x));
        CHECK_EQ(sql_int(&f, "PRAGMA user_version"), STORE_SCHEMA_VERSION);
        CHECK_EQ(sql_int(&f, "PRAGMA application_id"), STORE_APPLICATION_ID);
        store_close(f.s);
        CHECK_OK(reopen(&f, NULL)); /* nothing to migrate */
        CHECK_OK(get(&f, "a", 0, &x));
        stop(&f);
    }
}

TEST(a_migration_that_fails_changes_nothing)
{
    struct fixture f;
    make_dir(&f);
    spoil(&f, 0, "", 0, true);
    struct conn c = {0};
    struct store_options o = at(&f);
    CHECK_OK(conn_open(&c, &o, SQLITE_OPEN_READWRITE, NULL));
    CHECK_OK(conn_exec(&c, "CREATE TABLE chunks(x)", NULL)); /* the last table of step 1 is in the way */
    CHECK(schema_migrate(&c, 0, NULL) != RAG_OK);
    conn_close(&c);
    CHECK_EQ(sql_int(&f, "SELECT count(*) FROM sqlite_schema"), 1);
    CHECK_EQ(sql_int(&f, "PRAGMA user_version"), 0);
    stop(&f);
}

TEST(a_schema_1_database_keeps_its_documents)
{
    struct fixture f;
    struct store_document x;
    make_dir(&f);
    spoil(&f, 0, "", 0, true);
    struct conn c = {0};
    struct store_options o = at(&f);
    CHECK_OK(conn_open(&c, &o, SQLITE_OPEN_READWRITE, NULL));
    CHECK_OK(conn_exec(&c, store_steps[0], NULL));
    CHECK_OK(conn_exec(&c,
                       "PRAGMA user_version=1; PRAGMA application_id=0x52414744;"
                       "BEGIN;"
                       "INSERT INTO documents VALUES(1, 'old', 1, 1, 1, 5);"
                       "INSERT INTO versions VALUES(1, 1, 'old', 1, 't', 's', '{}', 'text', 4, zeroblob(32), 5);"
                       "INSERT INTO chunks VALUES(1, 0, 0, 4, 0, 4, '');"
                       "COMMIT",
                       NULL));
    conn_close(&c);
    CHECK_OK(reopen(&f, NULL));
    CHECK_OK(store_reader_open(&o, &f.r, NULL));
    CHECK_OK(get(&f, "old", 0, &x));
    CHECK_STR(x.text, "text");
    CHECK_EQ(x.n_chunks, 1);
    CHECK_EQ(x.chunks[0].page, 0);
    CHECK_EQ(sql_int(&f, "PRAGMA user_version"), STORE_SCHEMA_VERSION);
    CHECK_EQ(sql_int(&f, "SELECT count(*) FROM vectors"), 0);
    stop(&f);
}

/* ---- vectors ---------------------------------------------------------------------------------------------- */

static rag_code keep_first_byte(void *ctx, uint32_t ordinal, struct str vector)
{
    int *bytes = ctx;
    CHECK(ordinal < 4 && vector.len == 8);
    bytes[ordinal] = vector.ptr[0];
    return RAG_OK;
}

static int64_t add_model(struct fixture *f, uint8_t first_byte)
{
    struct store_model m = {.digest = {first_byte}, .name = STR_LIT("model"), .dims = 4};
    CHECK_OK(store_begin(f->s, NULL));
    CHECK_OK(store_model_add(f->s, &m, NULL));
    CHECK_OK(store_commit(f->s, NULL));
    return m.id;
}

static void put_vector(struct fixture *f, int64_t model, int64_t seq, uint32_t ordinal, char first_byte)
{
    char v[8] = {first_byte};
    CHECK_OK(store_begin(f->s, NULL));
    CHECK_OK(store_vector_put(f->s, model, seq, ordinal, str_make(v, sizeof v), NULL));
    CHECK_OK(store_commit(f->s, NULL));
}

TEST(vectors_go_with_their_chunks)
{
    struct fixture f;
    struct store_document x;
    uint32_t findings;
    start(&f);
    put_committed(&f, "a", "text");
    CHECK_OK(get(&f, "a", 0, &x));
    int64_t m1 = add_model(&f, 1), m2 = add_model(&f, 2);
    CHECK(m1 != m2);
    CHECK_EQ(add_model(&f, 1), m1);
    put_vector(&f, m1, x.seq, 0, 7);
    put_vector(&f, m2, x.seq, 0, 9);
    put_vector(&f, m1, x.seq, 3, 1);       /* no such chunk: skipped */
    put_vector(&f, m1, x.seq + 100, 0, 1); /* no such version */
    int bytes[4] = {0};
    CHECK_OK(store_vectors(f.r, m1, x.seq, 1, UINT32_MAX, keep_first_byte, bytes, NULL));
    CHECK_EQ(bytes[0], 0); /* not of those asked for */
    CHECK_OK(store_vectors(f.r, m1, x.seq, 0, 0, keep_first_byte, bytes, NULL));
    CHECK_EQ(bytes[0], 7);
    CHECK_EQ(bytes[3], 0);
    CHECK_EQ(sql_int(&f, "SELECT count(*) FROM vectors"), 2);
    CHECK_OK(store_verify(f.r, &findings, NULL));
    CHECK_OK(store_quick_check(f.r, NULL));
    uint64_t missing = 9;
    CHECK_OK(store_vectors_missing(f.r, m1, x.collection, &missing, NULL));
    CHECK_EQ(missing, 1); /* of two chunks */
    CHECK_OK(store_vectors_missing(f.r, m2 + 1, x.collection, &missing, NULL)); /* no such model has any */
    CHECK_EQ(missing, x.n_chunks);
    CHECK_OK(store_vectors_missing(f.r, m1, x.collection + 1, &missing, NULL));
    CHECK_EQ(missing, 0);
    put_committed(&f, "a", "another text"); /* the old version's chunks are gone, and with them their vectors */
    CHECK_EQ(sql_int(&f, "SELECT count(*) FROM vectors"), 0);
    stop(&f);
}

TEST(models_that_are_replaced_are_pruned_in_steps)
{
    struct fixture f;
    struct store_document x;
    struct store_model *models;
    uint32_t n;
    int64_t at = 0;
    uint64_t count;
    start(&f);
    for (int i = 0; i < 5; i++) {
        char id[16];
        snprintf(id, sizeof id, "d%d", i);
        put_committed(&f, id, "text");
        CHECK_OK(get(&f, id, 0, &x));
        put_vector(&f, add_model(&f, 1), x.seq, 0, 1);
        put_vector(&f, add_model(&f, 2), x.seq, 0, 2);
    }
    int64_t keep = add_model(&f, 2);
    sql(&f, "UPDATE sqlite_sequence SET seq=5000 WHERE name='versions'"); /* the sixth is in another slice */
    put_committed(&f, "far", "text");
    CHECK_OK(get(&f, "far", 0, &x));
    CHECK_EQ(x.seq, 5001);
    put_vector(&f, add_model(&f, 1), x.seq, 0, 1);
    for (int steps = 0; steps == 0 || at; steps++) {
        CHECK(steps < 2);
        CHECK_OK(store_begin(f.s, NULL));
        CHECK_OK(store_models_prune(f.s, keep, &at, NULL));
        CHECK_OK(store_commit(f.s, NULL));
    }
    CHECK_OK(store_vector_count(f.r, keep, &count, NULL));
    CHECK_EQ(count, 5);
    CHECK_EQ(sql_int(&f, "SELECT count(*) FROM vectors"), 5);
    CHECK_OK(store_models(f.r, &f.a, &models, &n, NULL));
    CHECK_EQ(n, 1);
    CHECK_EQ(models[0].id, keep);
    stop(&f);
}

TEST(other_databases_are_left_alone)
{
    static const struct {
        const char *sql;
        rag_code want;
    } cases[] = {
        {"PRAGMA user_version=1000; PRAGMA application_id=0x52414744", RAG_EVERSION},
        {"PRAGMA user_version=1; PRAGMA application_id=77", RAG_ECORRUPT},
        {"CREATE TABLE somebody(elses)", RAG_ECORRUPT},
        {"PRAGMA user_version=1", RAG_ECORRUPT},
        {"PRAGMA user_version=-1; PRAGMA application_id=0x52414744", RAG_ECORRUPT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture f;
        struct rag_err err = {0};
        struct stat before, after;
        char path[128];
        make_dir(&f);
        struct store_options o = {.dir = f.dir, .read_only = true};
        sql(&f, cases[i].sql);
        snprintf(path, sizeof path, "%s/ragd.db", f.dir);
        CHECK_EQ(stat(path, &before), 0);
        CHECK_EQ(reopen(&f, &err), cases[i].want);
        CHECK(err.msg[0] && f.s == NULL);
        CHECK_EQ(store_open(&o, &f.s, NULL), cases[i].want);
        CHECK_EQ(store_reader_open(&o, &f.r, NULL), cases[i].want);
        CHECK_EQ(stat(path, &after), 0);
        CHECK(before.st_mtim.tv_nsec == after.st_mtim.tv_nsec && before.st_size == after.st_size);
        stop(&f);
    }
}

TEST(a_damaged_file_is_corrupt_not_empty)
{
    struct fixture f;
    struct rag_err err = {0};
    start(&f);
    put_committed(&f, "a", "text");
    store_reader_close(f.r);
    store_close(f.s);
    f.r = NULL;
    spoil(&f, 0, "Not the header of SQLite", 24, false);
    CHECK_EQ(reopen(&f, &err), RAG_ECORRUPT);
    CHECK(err.msg[0] != 0);
    static const char note[] =
        "some text that was here before, longer than the header of a database: one hundred"
        " bytes, and some more";
    spoil(&f, 0, note, sizeof note, true);
    CHECK_EQ(reopen(&f, &err), RAG_ECORRUPT);
    struct store_options o = {.dir = f.dir, .read_only = true};
    CHECK_EQ(store_reader_open(&o, &f.r, &err), RAG_ECORRUPT);
    stop(&f);

    make_dir(&f);
    o.dir = "/nonexistent";
    CHECK_EQ(store_open(&o, &f.s, &err), RAG_ENOTFOUND);
    o.read_only = false;
    CHECK_EQ(store_open(&o, &f.s, &err), RAG_ENOTFOUND);
    stop(&f);
}

/* As an ordinary user, for whom the folder cannot be written. */
static int without_rights(const struct fixture *f, bool leftover_wal)
{
    struct store_options o = at(f), empty;
    struct store *s;
    struct store_reader *r;
    struct rag_err err = {0};
    uint32_t n;
    char path[128];
    snprintf(path, sizeof path, "%s/empty", f->dir);
    empty = (struct store_options){.dir = path};
    if (getuid() == 0 && setuid(65534))
        return 2;
    if (store_open(&empty, &s, &err) != RAG_EREADONLY || store_reader_open(&empty, &r, &err) != RAG_ENOTFOUND)
        return 7;
    if (store_open(&o, &s, &err) != RAG_EREADONLY || !err.msg[0])
        return 3;
    if (store_reader_open(&o, &r, &err) != RAG_EREADONLY)
        return 4;
    o.read_only = true;
    rag_code rc = store_reader_open(&o, &r, &err);
    if (leftover_wal && rc != RAG_EREADONLY)
        print_error("%d %s\n", rc, err.msg);
    if (leftover_wal)
        return rc == RAG_EREADONLY ? 0 : 5;
    if (rc || store_verify(r, &n, &err))
        return 6;
    store_reader_close(r);
    return 0;
}

TEST(a_read_only_folder_can_be_read_and_says_so_to_a_writer)
{
    for (int leftover = 0; leftover < 2; leftover++) {
        struct fixture f;
        char cmd[400];
        int status;
        start(&f);
        put_committed(&f, "a", "text");
        store_reader_close(f.r);
        f.r = NULL;
        if (leftover) { /* what a kill leaves: keep the -wal, lose the -shm */
            snprintf(cmd, sizeof cmd, "cd %s && mkdir x && cp ragd.db ragd.db-wal x/", f.dir);
            CHECK_EQ(system(cmd), 0);
        }
        store_close(f.s);
        f.s = NULL;
        if (leftover) {
            snprintf(cmd, sizeof cmd, "cd %s && mv x/* . && rmdir x && test -s ragd.db-wal", f.dir);
            CHECK_EQ(system(cmd), 0);
        }
        snprintf(cmd, sizeof cmd, "mkdir %s/empty && chmod 0555 %s/empty && chmod a+r %s/* && chmod 0555 %s",
                 f.dir, f.dir, f.dir, f.dir);
        CHECK_EQ(system(cmd), 0);
        pid_t child = fork();
        if (child == 0)
            _exit(without_rights(&f, leftover));
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_EQ(status, 0);
        if (leftover) {
            CHECK_EQ(chmod(f.dir, 0755), 0);
            CHECK_OK(reopen(&f, NULL)); /* recovers it */
            struct store_options o = at(&f);
            struct store_document x;
            CHECK_OK(store_reader_open(&o, &f.r, NULL));
            CHECK_OK(get(&f, "a", 0, &x));
        }
        stop(&f);
    }
}

/* ---- verification ----------------------------------------------------------------------------------------- */

TEST(verification_finds_what_is_broken)
{
    static const struct {
        const char *sql, *says;
    } cases[] = {
        {"UPDATE chunks SET end=end+100 WHERE ordinal=1", "do not fit"},
        {"UPDATE chunks SET start=2, end=4", "offsets"}, /* inside a character */
        {"UPDATE chunks SET char_end=char_end+1 WHERE ordinal=0", "offsets"},
        {"DELETE FROM chunks WHERE ordinal=1", "half a document"},
        {"PRAGMA foreign_keys=OFF; DELETE FROM versions", "without its parent"},
        {"PRAGMA foreign_keys=OFF; DELETE FROM documents", "without its parent"},
        {"PRAGMA foreign_keys=OFF; DELETE FROM collections", "without its parent"},
        {"UPDATE versions SET text=NULL", "more chunks"},
        {"UPDATE versions SET text=CAST(x'e5b9b4ff6161616161616161616161' AS TEXT)", "not UTF-8"},
        {"UPDATE versions SET text='年'", "wrong length"},
        {"UPDATE documents SET version=4", "half a document"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture f;
        struct rag_err err = {0};
        start(&f);
        struct store_document d = document("a", "年费，积分");
        struct store_chunk c[] = {{0, 6, 0, 2, {0}, 0}, {6, 15, 2, 5, {0}, 0}};
        enum store_put_result res;
        int64_t old;
        d.chunks = c;
        CHECK_OK(put_alone(&f, &d, &res, &old));
        CHECK_EQ(findings(&f, &err), 0);
        sql(&f, cases[i].sql);
        CHECK(findings(&f, &err) > 0);
        if (!strstr(err.msg, cases[i].says))
            print_error("%s: %s\n", cases[i].sql, err.msg);
        CHECK(strstr(err.msg, cases[i].says) != NULL);
        CHECK(findings(&f, NULL) > 0);
        stop(&f);
    }
}

TEST(verification_survives_random_damage)
{
    struct fixture f;
    static char text[3000];
    start(&f);
    fill(text, sizeof text);
    CHECK_OK(store_begin(f.s, NULL));
    for (int i = 0; i < 50; i++) {
        char id[16];
        snprintf(id, sizeof id, "d%d", i);
        put_ok(&f, id, text);
    }
    CHECK_OK(store_commit(f.s, NULL));
    store_reader_close(f.r);
    store_close(f.s);
    f.s = NULL;
    f.r = NULL;
    char path[128], cmd[300];
    struct stat st;
    snprintf(path, sizeof path, "%s/ragd.db", f.dir);
    CHECK_EQ(stat(path, &st), 0);
    snprintf(cmd, sizeof cmd, "cp %s %s.whole", path, path);
    CHECK_EQ(system(cmd), 0);
    snprintf(cmd, sizeof cmd, "cp %s.whole %s", path, path);
    unsigned found = 0, seed = 5;
    for (int round = 0; round < 40; round++) {
        struct store_options o = {.dir = f.dir, .read_only = true};
        struct rag_err err = {0};
        uint32_t n;
        char junk[64];
        CHECK_EQ(system(cmd), 0);
        for (size_t k = 0; k < sizeof junk; k++)
            junk[k] = (char)(rand_r(&seed) & 0xff);
        spoil(&f, rand_r(&seed) % (st.st_size - 64), junk, sizeof junk, false);
        rag_code rc = store_reader_open(&o, &f.r, &err);
        if (!rc)
            rc = store_verify(f.r, &n, &err);
        CHECK(rc == RAG_OK || err.msg[0]);
        found += rc != RAG_OK;
        store_reader_close(f.r);
        f.r = NULL;
    }
    CHECK(found > 20);
    stop(&f);
}

TEST(rates)
{
    if (!getenv("RAGD_BENCH"))
        return;
    struct fixture f;
    static char text[200];
    char id[16];
    enum { DOCS = 100000 };
    start(&f);
    fill(text, sizeof text);
    int64_t t = clock_mono_ns();
    for (int i = 0; i < DOCS; i++) {
        if (i % 100 == 0)
            CHECK_OK(store_begin(f.s, NULL));
        snprintf(id, sizeof id, "doc-%d", i);
        memcpy(text, id, strlen(id));
        CHECK_OK(store_savepoint(f.s, NULL));
        put_ok(&f, id, text);
        CHECK_OK(store_release(f.s, NULL));
        if (i % 100 == 99)
            CHECK_OK(store_commit(f.s, NULL));
    }
    printf("put: %.0f documents/s (100 in a transaction, 200 bytes, 2 chunks)\n",
           DOCS / ((double)(clock_mono_ns() - t) * 1e-9));
    int64_t all[3] = {0, 0, -1};
    t = clock_mono_ns();
    CHECK_OK(store_each_seq(f.r, count_seq, all, NULL));
    printf("each_seq: %.1f ms for %d documents\n", (double)(clock_mono_ns() - t) * 1e-6, DOCS);
    struct store_document x;
    t = clock_mono_ns();
    for (int64_t s = 1; s <= DOCS; s += 10) {
        CHECK_OK(store_get_by_seq(f.r, s, &f.a, &x, NULL));
        arena_reset(&f.a);
    }
    printf("get_by_seq: %.0f documents/s\n", DOCS / 10 / ((double)(clock_mono_ns() - t) * 1e-9));
    t = clock_mono_ns();
    for (int i = 0; i < 500; i++) {
        snprintf(id, sizeof id, "one-%d", i);
        put_committed(&f, id, text);
    }
    printf("put: %.0f documents/s (one in a transaction)\n", 500 / ((double)(clock_mono_ns() - t) * 1e-9));
    uint32_t n;
    t = clock_mono_ns();
    CHECK_OK(store_verify(f.r, &n, NULL));
    printf("verify: %.0f ms; memory of SQLite and the store: %.1f MB\n", (double)(clock_mono_ns() - t) * 1e-6,
           (double)mem_in_use(MEM_STORE) * 1e-6);
    stop(&f);
}
