#include "test.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "llm/ledger_int.h"
#include "sys/clock.h"
#include "temp_dir.h"

#define CNY NANO_PER_CNY
static _Atomic int64_t test_now;

static int64_t fake_now(void)
{
    return test_now;
}

static int64_t at(const char *date, int h, int m)
{
    int32_t day;
    CHECK(civil_parse(str_of(date), &day));
    return ((int64_t)day * 1440 + h * 60 + m) * 60000 - 8 * 3600000; /* in +08:00 */
}

static struct ledger_options options(nano_cny daily, nano_cny monthly)
{
    return (struct ledger_options){.dir = dir,
                                   .daily = daily,
                                   .monthly = monthly,
                                   .warn = .8,
                                   .stop = .95,
                                   .timezone = "Asia/Shanghai",
                                   .now_ms = fake_now};
}

static struct ledger *ledger_make(struct ledger_options opt)
{
    struct ledger *l = NULL;
    struct rag_err err = {0};
    rag_code rc = ledger_open(&opt, &l, &err);
    if (rc)
        print_error("%s\n", err.msg);
    CHECK_OK(rc);
    return l;
}

/* ---- one reservation, waited for --------------------------------------------------------------------------- */
struct waiter {
    pthread_mutex_t mu;
    pthread_cond_t cond;
    bool done;
    rag_code rc;
};

static void wake(void *ctx, struct reservation *r, rag_code rc)
{
    (void)r;
    struct waiter *w = ctx;
    pthread_mutex_lock(&w->mu);
    w->done = true;
    w->rc = rc;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mu);
}

static rag_code reserve_key(struct ledger *l, const char *model, const char *key, nano_cny key_daily,
                            nano_cny amount, struct reservation **out)
{
    struct waiter w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, RAG_OK};
    struct reserve_options opt = {"llm", model, key, key_daily, amount, wake, &w};
    *out = NULL;
    rag_code rc = ledger_reserve(l, &opt, out);
    if (rc)
        return rc;
    pthread_mutex_lock(&w.mu);
    while (!w.done)
        pthread_cond_wait(&w.cond, &w.mu);
    pthread_mutex_unlock(&w.mu);
    return w.rc;
}

static rag_code reserve(struct ledger *l, nano_cny amount, struct reservation **out)
{
    return reserve_key(l, "m", "", 0, amount, out);
}

static void settle(struct ledger *l, struct reservation *r, nano_cny cost)
{
    ledger_settle(
        l, r,
        &(struct settlement){.cost = cost, .prompt = 100, .cached = 40, .completion = 10, .outcome = "ok"});
}

static void spend(struct ledger *l, nano_cny amount)
{
    struct reservation *r;
    CHECK_OK(reserve(l, amount, &r));
    settle(l, r, amount);
}

static struct ledger_totals totals(struct ledger *l)
{
    struct ledger_totals t;
    ledger_totals(l, &t);
    return t;
}

static int64_t sql(const char *query)
{
    char path[128];
    sqlite3 *db;
    sqlite3_stmt *st;
    snprintf(path, sizeof path, "%s/ledger.db", dir);
    CHECK_OK(sqlite3_open(path, &db));
    CHECK_OK(sqlite3_prepare_v2(db, query, -1, &st, NULL));
    int rc = sqlite3_step(st);
    int64_t n = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : -1;
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

/* sums is what calls say. */
static void check_sums(void)
{
    CHECK_EQ(
        sql("SELECT count(*) FROM (SELECT day, service, model, key, count(*), sum(cost), sum(prompt), sum(cached),"
            " sum(completion) FROM calls WHERE state <> 0 GROUP BY 1, 2, 3, 4 EXCEPT SELECT * FROM sums)"),
        0);
    CHECK_EQ(sql("SELECT (SELECT sum(cost) FROM sums) IS (SELECT sum(cost) FROM calls WHERE state <> 0)"), 1);
}

/* ---- budgets ----------------------------------------------------------------------------------------------- */

TEST(levels_follow_what_is_spent_and_reserved)
{
    temp_dir_make();
    test_now = at("2026-11-24", 12, 0);
    struct ledger *l = ledger_make(options(100 * CNY, 2000 * CNY));
    struct reservation *r, *none;
    CHECK_EQ(ledger_level(l, "", 0), BUDGET_OK);
    spend(l, 80 * CNY - 1);
    CHECK_EQ(ledger_level(l, "", 0), BUDGET_OK);
    CHECK_OK(reserve(l, 1, &r));
    CHECK_EQ(ledger_level(l, "", 0), BUDGET_WARN); /* open counts */
    settle(l, r, 0);
    CHECK_EQ(ledger_level(l, "", 0), BUDGET_OK); /* released */
    spend(l, 15 * CNY);
    CHECK_EQ(ledger_level(l, "", 0), BUDGET_WARN);
    CHECK_EQ(reserve(l, 5 * CNY + 2, &none), RAG_EFORBIDDEN); /* does not fit below the whole limit */
    CHECK_OK(reserve(l, 5 * CNY + 1, &r));                    /* fits to the last nano-CNY */
    CHECK_EQ(ledger_level(l, "", 0), BUDGET_STOP);
    CHECK_EQ(reserve(l, 0, &none), RAG_EFORBIDDEN);
    settle(l, r, 0);
    spend(l, 1);
    CHECK_EQ(totals(l).day_spent, 95 * CNY);
    CHECK_EQ(ledger_level(l, "", 0), BUDGET_STOP);
    CHECK_EQ(reserve(l, 0, &none), RAG_EFORBIDDEN);
    ledger_close(l);
    CHECK_EQ(sql("SELECT count(*) FROM calls WHERE state = 1"), 5);
    check_sums();
    temp_dir_drop();
}

TEST(no_limit_is_no_limit)
{
    temp_dir_make();
    test_now = at("2026-11-24", 12, 0);
    struct ledger *l = ledger_make(options(0, 0));
    spend(l, LEDGER_MAX_AMOUNT);
    spend(l, LEDGER_MAX_AMOUNT);
    CHECK_EQ(ledger_level(l, "", 0), BUDGET_OK);
    ledger_close(l);
    temp_dir_drop();
}

TEST(a_call_that_costs_more_is_booked)
{
    temp_dir_make();
    test_now = at("2026-11-24", 12, 0);
    struct metrics *m = metrics_new();
    struct ledger_options opt = options(100 * CNY, 0);
    opt.metrics = m;
    struct ledger *l = ledger_make(opt);
    struct reservation *r;
    CHECK_OK(reserve(l, 90 * CNY, &r));
    settle(l, r, 120 * CNY);
    CHECK_EQ(totals(l).day_spent, 120 * CNY);
    CHECK_EQ(totals(l).day_open, 0);
    CHECK_EQ(totals(l).overruns, 1);
    CHECK_EQ(reserve(l, 0, &r), RAG_EFORBIDDEN);
    struct buf text;
    buf_init(&text, MEM_MISC);
    metrics_render(m, METRICS_PROMETHEUS, &text);
    buf_addc(&text, 0);
    CHECK(strstr(text.ptr, "\nproduction_rag_cost_cny_total{service=\"llm\"} 120\n"));
    CHECK(strstr(text.ptr, "\nragd_budget_spent_cny{period=\"day\"} 120\n"));
    CHECK(strstr(text.ptr, "\nragd_budget_limit_cny{period=\"day\"} 100\n"));
    CHECK(strstr(text.ptr, "\nragd_budget_open_cny 0\n"));
    CHECK(strstr(text.ptr, "\nragd_budget_overruns_total 1\n"));
    CHECK(strstr(text.ptr, "\nragd_budget_recovered_total 0\n"));
    buf_clear(&text);
    ledger_close(l);
    metrics_free(m);
    temp_dir_drop();
}

TEST(a_key_has_a_budget_of_its_own)
{
    temp_dir_make();
    test_now = at("2026-11-24", 12, 0);
    struct ledger *l = ledger_make(options(100 * CNY, 0));
    struct reservation *r;
    CHECK_OK(reserve_key(l, "m", "crm", 10 * CNY, 9 * CNY, &r));
    CHECK_EQ(ledger_level(l, "crm", 10 * CNY), BUDGET_WARN);
    CHECK_EQ(ledger_level(l, "web", 10 * CNY), BUDGET_OK);
    CHECK_EQ(ledger_level(l, "crm", 0), BUDGET_OK);
    settle(l, r, 9 * CNY);
    CHECK_EQ(reserve_key(l, "m", "crm", 10 * CNY, CNY + 1, &r), RAG_EFORBIDDEN);
    CHECK_OK(reserve_key(l, "m", "web", 10 * CNY, 2 * CNY, &r));
    settle(l, r, 2 * CNY);
    for (int i = 0; i < 40; i++) { /* more keys than the first table holds */
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        CHECK_OK(reserve_key(l, "m", key, CNY, CNY / 2, &r));
        settle(l, r, CNY / 2);
    }
    ledger_close(l);
    l = ledger_make(options(100 * CNY, 0)); /* it remembers */
    CHECK_EQ(totals(l).day_spent, 31 * CNY);
    CHECK_EQ(ledger_level(l, "crm", 10 * CNY), BUDGET_WARN);
    CHECK_EQ(ledger_level(l, "k39", CNY / 2), BUDGET_STOP);
    ledger_close(l);
    temp_dir_drop();
}

/* ---- time -------------------------------------------------------------------------------------------------- */

TEST(midnight_of_the_zone_opens_the_budget_again)
{
    temp_dir_make();
    test_now = at("2026-11-24", 23, 59);
    struct ledger *l = ledger_make(options(100 * CNY, 2000 * CNY));
    struct reservation *old, *r;
    CHECK_OK(reserve_key(l, "m", "crm", 50 * CNY, 40 * CNY, &old));
    spend(l, 55 * CNY);
    CHECK_EQ(ledger_level(l, "", 0), BUDGET_STOP);
    test_now += 60000;
    CHECK_EQ(ledger_level(l, "", 0), BUDGET_OK);
    CHECK_EQ(ledger_level(l, "crm", 50 * CNY), BUDGET_OK);
    CHECK_EQ(totals(l).day_open, 0);
    CHECK_EQ(totals(l).month_open, 40 * CNY);
    CHECK_EQ(totals(l).month_spent, 55 * CNY);
    settle(l, old, 30 * CNY); /* belongs to yesterday */
    CHECK_EQ(totals(l).day_spent, 0);
    CHECK_EQ(totals(l).month_spent, 85 * CNY);
    CHECK_OK(reserve(l, 96 * CNY, &r));
    settle(l, r, 96 * CNY);
    test_now -= 3600000; /* a clock that goes back opens nothing */
    CHECK_EQ(ledger_level(l, "", 0), BUDGET_STOP);
    CHECK_EQ(reserve(l, 1, &r), RAG_EFORBIDDEN);
    ledger_close(l);
    CHECK_EQ(sql("SELECT cost FROM sums WHERE day = '2026-11-24' AND key = 'crm'"), 30 * CNY);
    CHECK_EQ(sql("SELECT cost FROM sums WHERE day = '2026-11-25'"), 96 * CNY);
    check_sums();
    temp_dir_drop();
}

TEST(a_month_ends_in_the_zone)
{
    temp_dir_make();
    test_now = at("2026-12-31", 23, 59);
    struct ledger *l = ledger_make(options(0, 100 * CNY));
    struct reservation *old;
    spend(l, 50 * CNY);
    CHECK_OK(reserve(l, 45 * CNY, &old));
    CHECK_EQ(ledger_level(l, "", 0), BUDGET_STOP);
    test_now = at("2027-01-01", 0, 0);
    CHECK_EQ(ledger_level(l, "", 0), BUDGET_OK);
    settle(l, old, 45 * CNY);
    CHECK_EQ(totals(l).month_spent, 0);
    spend(l, 7 * CNY);
    ledger_close(l);
    l = ledger_make(options(0, 100 * CNY));
    CHECK_EQ(totals(l).month_spent, 7 * CNY);
    ledger_close(l);
    test_now = at("2026-12-31", 12, 0);
    l = ledger_make(options(0, 100 * CNY));
    CHECK_EQ(totals(l).month_spent, 95 * CNY);
    ledger_close(l);
    struct ledger_options opt = options(0, 100 * CNY); /* in Berlin it is still the 31st */
    opt.timezone = "+01:00";
    test_now = at("2027-01-01", 6, 0);
    l = ledger_make(opt);
    CHECK_EQ(totals(l).month_spent, 95 * CNY);
    ledger_close(l);
    temp_dir_drop();
}

TEST(an_unknown_zone_is_refused)
{
    temp_dir_make();
    struct ledger_options opt = options(0, 0);
    struct ledger *l = NULL;
    struct rag_err err = {0};
    opt.timezone = "Mars/Olympus";
    CHECK_EQ(ledger_open(&opt, &l, &err), RAG_EINVAL);
    CHECK(strstr(err.msg, "Mars/Olympus"));
    temp_dir_drop();
}

/* ---- reports ----------------------------------------------------------------------------------------------- */

static char report_text[1024];

static bool add_row(void *ctx, const struct ledger_row *row)
{
    (void)ctx;
    size_t n = strlen(report_text);
    snprintf(report_text + n, sizeof report_text - n, "%s %s %s %s %llu %llu %llu %llu %lld\n", row->day,
             row->service, row->model, row->key, (unsigned long long)row->calls,
             (unsigned long long)row->prompt, (unsigned long long)row->cached,
             (unsigned long long)row->completion, (long long)row->cost);
    return true;
}

static void check_report(struct ledger *l, int64_t since, int64_t until, const char *want)
{
    report_text[0] = 0;
    struct rag_err err = {0};
    CHECK_OK(ledger_report(l, since, until, add_row, NULL, &err));
    CHECK_STR(str_of(report_text), want);
}

static bool stop_at_once(void *ctx, const struct ledger_row *row)
{
    (void)ctx, (void)row;
    return false;
}

TEST(a_report_counts_what_lies_between_two_times)
{
    temp_dir_make();
    test_now = at("2026-11-22", 10, 0);
    struct ledger *l = ledger_make(options(0, 0));
    struct reservation *r;
    spend(l, 1);
    test_now = at("2026-11-22", 20, 0);
    spend(l, 10);
    test_now = at("2026-11-23", 10, 0);
    CHECK_OK(reserve_key(l, "a", "crm", 0, 100, &r));
    settle(l, r, 100);
    spend(l, 1000);
    test_now = at("2026-11-24", 10, 0);
    spend(l, 10000);
    CHECK_OK(reserve(l, 5, &r)); /* open: left out */
    struct ledger_options opt = options(0, 0);
    opt.read_only = true;
    struct ledger *reader = ledger_make(opt); /* beside the live one */
    CHECK_EQ(ledger_report(l, 0, INT64_MAX, stop_at_once, NULL, NULL), RAG_ECANCELED);
    struct ledger *both[] = {l, reader};
    for (int i = 0; i < 2; i++) {
        check_report(both[i], at("2026-11-22", 12, 0), at("2026-11-24", 10, 0),
                     "2026-11-22 llm m  1 100 40 10 10\n2026-11-23 llm a crm 1 100 40 10 100\n"
                     "2026-11-23 llm m  1 100 40 10 1000\n");
        check_report(both[i], at("2026-11-24", 0, 0), at("2026-11-25", 0, 0),
                     "2026-11-24 llm m  1 100 40 10 10000\n");
        check_report(both[i], at("2026-11-22", 9, 0), at("2026-11-22", 11, 0),
                     "2026-11-22 llm m  1 100 40 10 1\n");
        check_report(both[i], 5, 5, "");
    }
    settle(l, r, 5);
    ledger_close(reader);
    ledger_close(l);
    temp_dir_drop();
}

/* ---- many at once ------------------------------------------------------------------------------------------ */

enum { THREADS = 16, ROUNDS = 60 };
static struct ledger *shared;
static _Atomic int64_t told_spent, over_limit, refused;

static void *spend_all(void *arg)
{
    uint64_t s = (uint64_t)(uintptr_t)arg;
    for (int i = 0; i < ROUNDS; i++) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        nano_cny amount = (nano_cny)(s >> 20) % CNY + 1, cost = (nano_cny)(s >> 13) % (amount + 1);
        struct reservation *r;
        rag_code rc = reserve_key(shared, "m", i % 2 ? "odd" : "even", 60 * CNY, amount, &r);
        struct ledger_totals t = totals(shared);
        if (t.day_spent + t.day_open > t.day_limit || t.month_spent + t.month_open > t.month_limit)
            over_limit++;
        if (rc) {
            refused += rc == RAG_EFORBIDDEN;
            continue;
        }
        ledger_settle(shared, r, &(struct settlement){.cost = cost, .outcome = "ok"});
        told_spent += cost;
    }
    return NULL;
}

TEST(many_threads_never_pass_a_limit)
{
    temp_dir_make();
    test_now = at("2026-11-24", 12, 0);
    struct ledger_options opt = options(100 * CNY, 120 * CNY);
    opt.stop = 1; /* only the fit stands before the limit */
    shared = ledger_make(opt);
    told_spent = over_limit = refused = 0;
    pthread_t t[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_OK(pthread_create(&t[i], NULL, spend_all, (void *)(i + 1)));
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(over_limit, 0);
    CHECK(refused > 0);
    CHECK_EQ(totals(shared).day_spent, told_spent);
    CHECK_EQ(totals(shared).day_open, 0);
    CHECK(told_spent > 95 * CNY && told_spent <= 100 * CNY);
    ledger_close(shared);
    CHECK_EQ(sql("SELECT sum(cost) FROM calls"), told_spent);
    CHECK_EQ(sql("SELECT count(*) FROM calls WHERE state <> 1"), 0);
    check_sums();
    temp_dir_drop();
}

/* ---- a disk that fails ------------------------------------------------------------------------------------- */

TEST(a_ledger_that_cannot_be_written_admits_nothing)
{
    temp_dir_make();
    test_now = at("2026-11-24", 12, 0);
    struct ledger *l = ledger_make(options(100 * CNY, 0));
    struct reservation *r, *none;
    CHECK_OK(sqlite3_exec(commit_queue_db(l->queue), "PRAGMA busy_timeout=1", NULL, NULL, NULL));
    CHECK_OK(reserve(l, 10 * CNY, &r));
    char path[128];
    snprintf(path, sizeof path, "%s/ledger.db", dir);
    sqlite3 *other; /* a lock stands for the disk that fails */
    CHECK_OK(sqlite3_open(path, &other));
    CHECK_OK(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL));
    settle(l, r, 7 * CNY); /* booked in memory, waits for the file */
    CHECK_EQ(reserve(l, CNY, &none), RAG_EBUSY);
    CHECK_EQ(totals(l).day_spent, 7 * CNY);
    CHECK_EQ(totals(l).day_open, 0); /* given back */
    CHECK_EQ(reserve(l, CNY, &none), RAG_EBUSY);
    CHECK_OK(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL));
    sqlite3_close(other);
    CHECK_OK(reserve(l, CNY, &r));
    settle(l, r, CNY);
    ledger_close(l);
    CHECK_EQ(sql("SELECT sum(cost) FROM calls WHERE state = 1"), 8 * CNY);
    CHECK_EQ(sql("SELECT count(*) FROM calls"), 2);
    check_sums();
    CHECK_EQ(mem_in_use(MEM_MISC), 0);
    temp_dir_drop();
}

TEST(memory_that_fails_refuses_the_call)
{
    temp_dir_make();
    test_now = at("2026-11-24", 12, 0);
    struct ledger *l = ledger_make(options(100 * CNY, 0));
    bool fired = true;
    for (unsigned nth = 1; fired; nth++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", nth);
        struct reservation *r = NULL;
        struct waiter w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, RAG_OK};
        struct reserve_options opt = {"llm", "m", key, 0, CNY, wake, &w};
        fault_arm_alloc(nth);
        rag_code rc = ledger_reserve(l, &opt, &r);
        fired = fault_disarm();
        CHECK(!rc || rc == RAG_ENOMEM);
        pthread_mutex_lock(&w.mu);
        while (!rc && !w.done)
            pthread_cond_wait(&w.cond, &w.mu);
        pthread_mutex_unlock(&w.mu);
        if (!rc)
            settle(l, r, 0);
    }
    CHECK_EQ(totals(l).day_open, 0);
    ledger_close(l);
    CHECK_EQ(mem_in_use(MEM_MISC), 0);
    temp_dir_drop();
}

/* ---- kill -9 ----------------------------------------------------------------------------------------------- */

/* The child says over a pipe what it was told: 'r' a durable reservation, 's' what it will settle (before it does). */
struct said {
    char what;
    int32_t who;
    int32_t amount;
};
static int child_pipe;

static void *child_loop(void *arg)
{
    int32_t who = (int32_t)(uintptr_t)arg;
    for (;; who += 4) {
        char model[16];
        snprintf(model, sizeof model, "m%d", who);
        struct reservation *r;
        struct said s = {'r', who, who % 1000 + 5};
        if (reserve_key(shared, model, "k", 0, s.amount, &r))
            _exit(3);
        if (write(child_pipe, &s, sizeof s) != sizeof s)
            _exit(4);
        s = (struct said){'s', who, who % 3 ? who % 7 : 0};
        if (write(child_pipe, &s, sizeof s) != sizeof s)
            _exit(4);
        if (who % 5 != 0) /* others stay open */
            ledger_settle(shared, r, &(struct settlement){.cost = s.amount, .outcome = "ok"});
    }
    return NULL;
}

static void child_main(int fd, int32_t first)
{
    child_pipe = fd;
    struct ledger_options opt = options(0, 0);
    if (ledger_open(&opt, &shared, NULL))
        _exit(2);
    pthread_t t[4];
    for (int32_t i = 0; i < 4; i++)
        if (pthread_create(&t[i], NULL, child_loop, (void *)(uintptr_t)(uint32_t)(first + i)))
            _exit(2);
    pthread_join(t[0], NULL);
    _exit(5);
}

/* Each acknowledged reservation has its row, settled at what was said or booked in full; nothing is open. */
static void check_said(const struct said *said, int n)
{
    char path[128];
    sqlite3 *db;
    sqlite3_stmt *st;
    snprintf(path, sizeof path, "%s/ledger.db", dir);
    CHECK_OK(sqlite3_open(path, &db));
    CHECK_OK(sqlite3_prepare_v2(db, "SELECT state, cost, reserved FROM calls WHERE model = 'm' || ?1", -1,
                                &st, NULL));
    for (int i = 0; i < n; i++) {
        if (said[i].what != 'r')
            continue;
        sqlite3_bind_int(st, 1, said[i].who);
        CHECK_EQ(sqlite3_step(st), SQLITE_ROW);
        CHECK_EQ(sqlite3_column_int(st, 2), said[i].amount);
        int32_t settled = said[i].who % 3 ? said[i].who % 7 : 0;
        if (sqlite3_column_int(st, 0) == CALL_SETTLED)
            CHECK_EQ(sqlite3_column_int(st, 1), settled);
        else
            CHECK(sqlite3_column_int(st, 0) == CALL_RECOVERED && sqlite3_column_int(st, 1) == said[i].amount);
        CHECK_EQ(sqlite3_step(st), SQLITE_DONE);
        sqlite3_reset(st);
    }
    sqlite3_finalize(st);
    sqlite3_close(db);
    CHECK_EQ(sql("SELECT count(*) FROM calls WHERE state = 0"), 0);
    check_sums();
}

TEST(kill_9_loses_no_acknowledged_money)
{
    enum { KILLS = 12, MAX = 200000 };
    static struct said said[MAX];
    int n = 0;
    int64_t recovered = 0;
    temp_dir_make();
    test_now = at("2026-11-24", 12, 0);
    for (int kill_no = 0; kill_no < KILLS; kill_no++) {
        int fd[2];
        CHECK_OK(pipe(fd));
        pid_t pid = fork();
        if (pid == 0) {
            close(fd[0]);
            child_main(fd[1], kill_no * 100000 + 1);
        }
        CHECK(pid > 0);
        close(fd[1]);
        int before = n, want = before + 20 + kill_no * 7; /* killed after so many messages */
        struct said s;
        while (read(fd[0], &s, sizeof s) == sizeof s &&
               n < MAX) { /* messages are below PIPE_BUF: whole or not at all */
            said[n++] = s;
            if (n == want)
                kill(pid, SIGKILL);
        }
        close(fd[0]);
        int status;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        struct ledger *l = ledger_make(options(0, 0));
        recovered += (int64_t)totals(l).recovered;
        nano_cny spent = totals(l).day_spent;
        ledger_close(l);
        CHECK_EQ(sql("SELECT sum(cost) FROM calls"), spent);
        check_said(said, n);
    }
    CHECK(recovered >= KILLS); /* the fifths that were never settled */
    temp_dir_drop();
}

TEST(what_is_open_is_booked_in_full_at_the_next_start)
{
    temp_dir_make();
    test_now = at("2026-11-24", 12, 0);
    struct ledger *l = ledger_make(options(100 * CNY, 0));
    struct reservation *r;
    spend(l, CNY);
    CHECK_OK(reserve_key(l, "big", "crm", 0, 60 * CNY, &r));
    ledger_close(l); /* as if it had died: r is never settled */
    mem_free(MEM_MISC, r);
    l = ledger_make(options(100 * CNY, 0));
    CHECK_EQ(totals(l).recovered, 1);
    CHECK_EQ(totals(l).day_spent, 61 * CNY);
    CHECK_EQ(ledger_level(l, "crm", 61 * CNY), BUDGET_STOP);
    spend(l, CNY); /* ids go on */
    ledger_close(l);
    l = ledger_make(options(100 * CNY, 0));
    CHECK_EQ(totals(l).recovered, 0);
    ledger_close(l);
    CHECK_EQ(sql("SELECT count(*) FROM calls WHERE state = 2 AND outcome = 'recovered' AND cost = reserved"),
             1);
    check_sums();
    temp_dir_drop();
}

TEST(a_damaged_ledger_is_refused)
{
    temp_dir_make();
    test_now = at("2026-11-24", 12, 0);
    ledger_close(ledger_make(options(0, 0)));
    char path[128];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/ledger.db", dir);
    CHECK_OK(sqlite3_open(path, &db)); /* what CHECK forbids, as flipped bits could have it */
    CHECK_OK(sqlite3_exec(
        db,
        "PRAGMA ignore_check_constraints=1; INSERT INTO sums VALUES('2026-11-24','llm','m','',1,-5,0,0,0)",
        NULL, NULL, NULL));
    sqlite3_close(db);
    struct ledger_options opt = options(0, 0);
    struct ledger *l = NULL;
    struct rag_err err = {0};
    CHECK_EQ(ledger_open(&opt, &l, &err), RAG_ECORRUPT);
    CHECK(strstr(err.msg, "ledger.db"));
    CHECK_OK(sqlite3_open(path, &db));
    CHECK_OK(sqlite3_exec(db, "DROP TABLE sums", NULL, NULL, NULL));
    sqlite3_close(db);
    CHECK_EQ(ledger_open(&opt, &l, &err), RAG_ECORRUPT);
    CHECK_EQ(mem_in_use(MEM_MISC), 0);
    temp_dir_drop();
}

TEST(opening_survives_each_failed_allocation)
{
    temp_dir_make();
    test_now = at("2026-11-24", 12, 0);
    bool fired = true;
    for (unsigned nth = 1; fired; nth++) {
        struct ledger_options opt = options(0, 0);
        struct ledger *l = NULL;
        fault_arm_alloc(nth);
        rag_code rc = ledger_open(&opt, &l, NULL);
        fired = fault_disarm();
        CHECK((rc == RAG_OK) == (l != NULL));
        ledger_close(l);
    }
    CHECK_EQ(mem_in_use(MEM_MISC), 0);
    temp_dir_drop();
}
