/* What is spent and reserved lives in memory, under one mutex, and is what admits a call; the file follows through the
 * commit queue and is read once, at the start.
 *
 * 1. Admission and the sum it is added to are one step under mu, so settled + open never passes a limit by admission.
 * 2. A reservation's row is durable before its call is told; a failed write gives the money back and refuses the call. So a
 *    ledger that cannot be written admits nothing, and each reservation is also the attempt to write again.
 * 3. A settlement is booked in memory at once. If its write fails it waits in `unwritten` for the next write that succeeds.
 *    What never gets written stays a row of state open, and the next start books that at its full amount.
 * 4. Time never goes back while the process lives: last_ms. A day or month that begins starts from nothing; reservations of
 *    the one before settle in the file only (and in the month, while that lasts). */
#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "llm/ledger_int.h"
#include "obs/log.h"
#include "sys/clock.h"

/* ---- levels ---------------------------------------------------------------------------------------------- */

static nano_cny used_of(const struct spending *s)
{
    return money_add(s->spent, s->open);
}

/* roundl: 0.8 of 100 CNY is 80, not a nano-CNY above it. */
static enum budget_level level_of(const struct ledger *l, const struct spending *s, nano_cny limit)
{
    if (limit <= 0)
        return BUDGET_OK;
    nano_cny used = used_of(s);
    if (used >= (nano_cny)roundl((long double)limit * (long double)l->opt.stop))
        return BUDGET_STOP;
    return used >= (nano_cny)roundl((long double)limit * (long double)l->opt.warn) ? BUDGET_WARN : BUDGET_OK;
}

static bool fits(const struct spending *s, nano_cny limit, nano_cny amount)
{
    return limit <= 0 || amount <= limit - used_of(s);
}

static enum budget_level max_level(enum budget_level a, enum budget_level b)
{
    return a > b ? a : b;
}

static int64_t now_ms(const struct ledger *l)
{
    return l->opt.now_ms ? l->opt.now_ms() : clock_unix_ms();
}

/* What was crossed upwards, once a period; logged after mu is left. */
struct crossing {
    const char *period;
    enum budget_level level;
    nano_cny used, limit;
};
struct crossings {
    struct crossing at[3];
    uint32_t n;
};

static void notice(const struct ledger *l, struct spending *s, nano_cny limit, const char *period,
                   struct crossings *out)
{
    enum budget_level level = level_of(l, s, limit);
    if (level <= s->told)
        return;
    s->told = level;
    out->at[out->n++] = (struct crossing){period, level, used_of(s), limit};
}

static void log_crossings(const struct crossings *c, const char *key)
{
    for (uint32_t i = 0; i < c->n; i++)
        log_warn(c->at[i].level == BUDGET_STOP ? "budget: no more calls in this period"
                                               : "budget: cheapest models only",
                 LOG_STR("period", c->at[i].period), LOG_STR("key", key),
                 LOG_NUM("used_cny", (double)c->at[i].used / (double)NANO_PER_CNY),
                 LOG_NUM("limit_cny", (double)c->at[i].limit / (double)NANO_PER_CNY), LOG_END);
}

/* ---- days and keys --------------------------------------------------------------------------------------- */

static int32_t month_of(int32_t day)
{
    struct civil c = civil_of_day(day);
    return c.year * 12 + (int32_t)c.month - 1;
}

/* The time now, never before what was now already; a new day or month starts from nothing. */
static int64_t roll_locked(struct ledger *l)
{
    int64_t now = now_ms(l);
    if (now <= l->last_ms)
        return l->last_ms;
    l->last_ms = now;
    int32_t day = zone_day(l->zone, now);
    if (day <= l->day)
        return now;
    l->day = day;
    l->today = (struct spending){0};
    memset(l->key_today, 0, l->keys.n * sizeof *l->key_today);
    if (month_of(day) != l->month) {
        l->month = month_of(day);
        l->this_month = (struct spending){0};
    }
    return now;
}

static rag_code key_id_locked(struct ledger *l, struct str name, uint32_t *id)
{
    if (l->keys.n == l->key_cap) {
        uint32_t cap = l->key_cap * 2;
        struct spending *p = mem_realloc(MEM_MISC, l->key_today, cap * sizeof *p);
        if (!p)
            return RAG_ENOMEM;
        memset(p + l->key_cap, 0, (cap - l->key_cap) * sizeof *p);
        l->key_today = p;
        l->key_cap = cap;
    }
    return strset_add(&l->keys, name, id);
}

enum budget_level ledger_level(struct ledger *l, const char *key, nano_cny key_daily)
{
    pthread_mutex_lock(&l->mu);
    roll_locked(l);
    enum budget_level level =
        max_level(level_of(l, &l->today, l->opt.daily), level_of(l, &l->this_month, l->opt.monthly));
    uint32_t id = key_daily > 0 ? strset_find(&l->keys, str_of(key)) : STRSET_NONE;
    if (id != STRSET_NONE)
        level = max_level(level, level_of(l, &l->key_today[id], key_daily));
    pthread_mutex_unlock(&l->mu);
    return level;
}

/* ---- the file's answers, on the queue's thread ------------------------------------------------------------- */

static void note_write(struct ledger *l, rag_code rc)
{
    pthread_mutex_lock(&l->mu);
    bool changed = l->failing != (rc != RAG_OK);
    l->failing = rc != RAG_OK;
    pthread_mutex_unlock(&l->mu);
    if (changed && rc)
        log_error("ledger cannot be written: no calls until it can", LOG_STR("file", l->path),
                  LOG_STR("why", rag_code_name(rc)), LOG_END);
    else if (changed)
        log_info("ledger is written again", LOG_STR("file", l->path), LOG_END);
}

static void settle_done(struct commit_job *j, rag_code rc)
{
    struct reservation *r = (struct reservation *)j;
    struct ledger *l = r->l;
    note_write(l, rc);
    if (rc == RAG_ECORRUPT)
        log_error("ledger: a settlement is lost: its call is booked as reserved at the next start",
                  LOG_STR("file", l->path), LOG_INT("call", r->id), LOG_INT("cost_nano", r->s.cost), LOG_END);
    if (rc == RAG_OK || rc == RAG_ECORRUPT) {
        mem_free(MEM_MISC, r);
        return;
    }
    pthread_mutex_lock(&l->mu);
    r->next = l->unwritten;
    l->unwritten = r;
    pthread_mutex_unlock(&l->mu);
}

/* Also what could not be written before. */
static void submit_unwritten(struct ledger *l)
{
    pthread_mutex_lock(&l->mu);
    struct reservation *list = l->unwritten;
    l->unwritten = NULL;
    pthread_mutex_unlock(&l->mu);
    for (struct reservation *r = list, *next; r; r = next) {
        next = r->next;
        commit_queue_submit(l->queue, &r->job);
    }
}

/* Takes the reservation out of the sums of its own day and month and books cost there. */
static void book_locked(struct ledger *l, const struct reservation *r, nano_cny cost)
{
    l->open -= r->amount;
    if (r->day == l->day) {
        struct spending *key = &l->key_today[r->key_id];
        l->today.open -= r->amount;
        l->today.spent = money_add(l->today.spent, cost);
        key->open -= r->amount;
        key->spent = money_add(key->spent, cost);
    }
    if (r->month == l->month) {
        l->this_month.open -= r->amount;
        l->this_month.spent = money_add(l->this_month.spent, cost);
    }
}

static void reserve_done(struct commit_job *j, rag_code rc)
{
    struct reservation *r = (struct reservation *)j;
    struct ledger *l = r->l;
    note_write(l, rc);
    if (!rc) {
        submit_unwritten(l);
        r->done(r->ctx, r, RAG_OK); /* may settle it: r is no longer ours */
        return;
    }
    pthread_mutex_lock(&l->mu);
    book_locked(l, r, 0);
    pthread_mutex_unlock(&l->mu);
    r->done(r->ctx, r, rc);
    mem_free(MEM_MISC, r);
}

/* ---- reserve, settle --------------------------------------------------------------------------------------- */

static const char *put(char **to, const char *z)
{
    size_t n = strlen(z) + 1;
    char *p = memcpy(*to, z, n);
    *to += n;
    return p;
}

static struct reservation *reservation_new(struct ledger *l, const struct reserve_options *opt)
{
    size_t n = sizeof(struct reservation) + strlen(opt->service) + strlen(opt->model) + strlen(opt->key) + 3;
    struct reservation *r = mem_zalloc(MEM_MISC, n);
    if (!r)
        return NULL;
    char *to = r->text;
    r->service = put(&to, opt->service);
    r->model = put(&to, opt->model);
    r->key = put(&to, opt->key);
    r->l = l;
    r->amount = opt->amount;
    r->done = opt->done;
    r->ctx = opt->ctx;
    r->job = (struct commit_job){.apply = ledger_db_reserve, .done = reserve_done};
    return r;
}

static rag_code admit_locked(struct ledger *l, struct reservation *r, nano_cny key_daily, struct crossings *c)
{
    r->at_ms = roll_locked(l);
    rag_code rc = key_id_locked(l, str_of(r->key), &r->key_id);
    if (rc)
        return rc;
    struct {
        struct spending *s;
        nano_cny limit;
        const char *period;
    } budgets[] = {{&l->today, l->opt.daily, "day"},
                   {&l->this_month, l->opt.monthly, "month"},
                   {&l->key_today[r->key_id], key_daily, "day of a key"}};
    for (int i = 0; i < 3; i++)
        if (level_of(l, budgets[i].s, budgets[i].limit) == BUDGET_STOP ||
            !fits(budgets[i].s, budgets[i].limit, r->amount))
            return RAG_EFORBIDDEN;
    r->id = l->next_id++;
    r->day = l->day;
    r->month = l->month;
    l->open = money_add(l->open, r->amount);
    for (int i = 0; i < 3; i++) {
        budgets[i].s->open = money_add(budgets[i].s->open, r->amount);
        notice(l, budgets[i].s, budgets[i].limit, budgets[i].period, c);
    }
    return RAG_OK;
}

rag_code ledger_reserve(struct ledger *l, const struct reserve_options *opt, struct reservation **out)
{
    RAG_ASSERT(!l->opt.read_only && opt->amount >= 0 && opt->amount <= LEDGER_MAX_AMOUNT);
    struct reservation *r = reservation_new(l, opt);
    if (!r)
        return RAG_ENOMEM;
    struct crossings c = {.n = 0};
    pthread_mutex_lock(&l->mu);
    rag_code rc = admit_locked(l, r, opt->key_daily, &c);
    pthread_mutex_unlock(&l->mu);
    log_crossings(&c, r->key);
    if (rc) {
        mem_free(MEM_MISC, r);
        return rc;
    }
    *out = r; /* before done can come */
    commit_queue_submit(l->queue, &r->job);
    return RAG_OK;
}

static void count_cost(struct ledger *l, const char *service, nano_cny cost)
{
    if (l->opt.metrics)
        counter_add(metrics_counter(l->opt.metrics, "production_rag_cost_cny_total",
                                    "Spent on upstream calls, CNY.", 1e-9,
                                    METRIC_LABELS({"service", service})),
                    (uint64_t)cost);
}

void ledger_settle(struct ledger *l, struct reservation *r, const struct settlement *s)
{
    r->s = *s;
    if (r->s.cost < 0)
        r->s.cost = 0;
    bool over = r->s.cost > r->amount;
    struct crossings c = {.n = 0};
    pthread_mutex_lock(&l->mu);
    roll_locked(l);
    book_locked(l, r, r->s.cost);
    notice(l, &l->today, l->opt.daily, "day", &c);
    notice(l, &l->this_month, l->opt.monthly, "month", &c);
    l->overruns += over;
    pthread_mutex_unlock(&l->mu);
    count_cost(l, r->service, r->s.cost);
    log_crossings(&c, r->key);
    if (over) {
        log_warn("ledger: a call cost more than was reserved", LOG_STR("model", r->model),
                 LOG_INT("reserved_nano", r->amount), LOG_INT("cost_nano", r->s.cost), LOG_END);
        if (l->overrun_count)
            counter_add(l->overrun_count, 1);
    }
    /* What is lost with the process or the power is booked at its reserved amount: only more than that cannot wait. */
    r->job = (struct commit_job){.apply = ledger_db_settle, .done = settle_done, .lazy = !over};
    commit_queue_submit(l->queue, &r->job);
}

void ledger_totals(struct ledger *l, struct ledger_totals *out)
{
    pthread_mutex_lock(&l->mu);
    roll_locked(l);
    *out = (struct ledger_totals){l->today.spent,     l->today.open,  l->opt.daily, l->this_month.spent,
                                  l->this_month.open, l->opt.monthly, l->overruns,  l->recovered};
    pthread_mutex_unlock(&l->mu);
}

/* ---- metrics --------------------------------------------------------------------------------------------- */

static void set_budget(struct metrics *m, const char *period, nano_cny spent, nano_cny limit)
{
    gauge_set(metrics_gauge(m, "ragd_budget_spent_cny", "Settled in the running period, CNY.", 1e-9,
                            METRIC_LABELS({"period", period})),
              spent);
    gauge_set(metrics_gauge(m, "ragd_budget_limit_cny", "Budget of the period, CNY; 0: none.", 1e-9,
                            METRIC_LABELS({"period", period})),
              limit);
}

/* When somebody reads: a day that nobody asked in must show, too. */
static void render_metrics(void *ctx)
{
    struct ledger *l = ctx;
    struct ledger_totals t;
    ledger_totals(l, &t);
    set_budget(l->opt.metrics, "day", t.day_spent, t.day_limit);
    set_budget(l->opt.metrics, "month", t.month_spent, t.month_limit);
    pthread_mutex_lock(&l->mu);
    nano_cny open = l->open;
    pthread_mutex_unlock(&l->mu);
    gauge_set(metrics_gauge(l->opt.metrics, "ragd_budget_open_cny",
                            "Reserved for calls that are on their way, CNY.", 1e-9, NULL, 0),
              open);
}

static void start_metrics(struct ledger *l)
{
    struct metrics *m = l->opt.metrics;
    if (!m)
        return;
    l->overrun_count = metrics_counter(m, "ragd_budget_overruns_total",
                                       "Calls that cost more than was reserved for them.", 1, NULL, 0);
    counter_add(metrics_counter(m, "ragd_budget_recovered_total",
                                "Reservations of a dead process, booked at their full amount.", 1, NULL, 0),
                l->recovered);
    count_cost(l, "llm", 0);
    metrics_on_render(m, render_metrics, l);
}

/* ---- opening --------------------------------------------------------------------------------------------- */

static rag_code load_key(struct ledger *l, struct str name, nano_cny spent)
{
    uint32_t id;
    rag_code rc = key_id_locked(l, name, &id);
    if (!rc) {
        l->key_today[id].spent = spent;
        l->today.spent = money_add(l->today.spent, spent);
    }
    return rc;
}

static rag_code start(struct ledger *l, struct rag_err *err)
{
    nano_cny recovered = 0;
    struct crossings c = {.n = 0};
    l->last_ms = now_ms(l);
    l->day = zone_day(l->zone, l->last_ms);
    l->month = month_of(l->day);
    rag_code rc = ledger_db_open(l, err);
    if (!rc && !l->opt.read_only)
        rc = ledger_db_recover(l, &recovered, err);
    if (!rc)
        rc = ledger_db_load(l, load_key, err);
    if (rc || l->opt.read_only)
        return rc;
    if (l->recovered)
        log_warn("ledger: calls of a process that died are booked as reserved",
                 LOG_INT("calls", (int64_t)l->recovered),
                 LOG_NUM("cny", (double)recovered / (double)NANO_PER_CNY), LOG_END);
    notice(l, &l->today, l->opt.daily, "day", &c);
    notice(l, &l->this_month, l->opt.monthly, "month", &c);
    log_crossings(&c, "");
    start_metrics(l);
    return RAG_OK;
}

rag_code ledger_open(const struct ledger_options *opt, struct ledger **out, struct rag_err *err)
{
    struct ledger *l = mem_zalloc(MEM_MISC, sizeof *l);
    if (!l)
        return rag_err_set(err, RAG_ENOMEM, "ledger: out of memory");
    pthread_mutex_init(&l->mu, NULL);
    pthread_mutex_init(&l->report_mu, NULL);
    strset_init(&l->keys, MEM_MISC, 0);
    l->opt = *opt;
    l->key_cap = 16;
    l->key_today = mem_zalloc(MEM_MISC, l->key_cap * sizeof *l->key_today);
    rag_code rc = l->key_today ? RAG_OK : rag_err_set(err, RAG_ENOMEM, "ledger: out of memory");
    if (!rc && snprintf(l->path, sizeof l->path, "%s/ledger.db", opt->dir) >= (int)sizeof l->path)
        rc = rag_err_set(err, RAG_ETOOBIG, "ledger: path too long");
    if (!rc)
        rc = zone_open(opt->timezone, &l->zone, err);
    if (!rc)
        rc = start(l, err);
    l->opt.dir = l->opt.timezone = NULL;
    if (rc) {
        l->opt.metrics = NULL; /* not registered */
        ledger_close(l);
    } else {
        *out = l;
    }
    return rc;
}

void ledger_close(struct ledger *l)
{
    if (!l)
        return;
    if (l->opt.metrics && !l->opt.read_only)
        metrics_off_render(l->opt.metrics, render_metrics, l);
    if (l->queue && !l->opt.read_only)
        submit_unwritten(l);
    commit_queue_close(l->queue);
    for (struct reservation *r = l->unwritten, *next; r; r = next) {
        next = r->next;
        mem_free(MEM_MISC, r);
    }
    zone_close(l->zone);
    strset_clear(&l->keys);
    mem_free(MEM_MISC, l->key_today);
    pthread_mutex_destroy(&l->report_mu);
    pthread_mutex_destroy(&l->mu);
    mem_free(MEM_MISC, l);
}
