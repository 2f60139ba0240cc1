/* ragd report: what was spent (ledger.db) and asked (history.db). Both are only read, so it does not matter whether a server
 * is at work on the folder. Names stand last in a line: Chinese ones need no width then. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "cli/cli.h"
#include "llm/ledger.h"
#include "store/history.h"
#include "sys/clock.h"
#include "sys/zone.h"
#include "text/utf8.h"
#include "wire/json_out.h"


enum { UNANSWERED = 10, DEFAULT_DAYS = 7, HOUR_MS = 3600000 };

struct sum {
    uint64_t calls, prompt, cached, completion;
    nano_cny cost;
};
struct group { /* sums by name, in order of appearance */
    struct strset names;
    struct buf sums; /* struct sum[names.n] */
};
struct report {
    int64_t since_ms, until_ms;
    struct zone *zone;
    const char *zone_name;
    bool json;
    struct buf out;
    struct sum all;
    struct group by_model, by_key, by_day; /* by_model: "service\0model" */
    uint32_t n_unanswered;
};

/* ---- times ----------------------------------------------------------------------------------------------- */

/* "7d", "24h": so long before now. At most 100 years. */
static bool parse_back(const char *z, int64_t now_ms, int64_t *out)
{
    int64_t n = 0;
    const char *p = z;
    for (; isdigit((unsigned char)*p) && n < 1000000; p++)
        n = n * 10 + (*p - '0');
    int64_t hours = *p == 'd' ? n * 24 : n;
    if (p == z || (*p != 'd' && *p != 'h') || p[1] || hours > 876600)
        return false;
    *out = now_ms - hours * HOUR_MS;
    return true;
}

static bool parse_time(const struct report *r, const char *z, bool end, int64_t now_ms, int64_t *out)
{
    int32_t day;
    if (parse_back(z, now_ms, out))
        return true;
    if (!civil_parse(str_of(z), &day))
        return false;
    *out = zone_day_start_ms(r->zone, day + end); /* --until names the last day that counts */
    return true;
}

static int parse_range(struct report *r, const char *since, const char *until)
{
    static const char usage[] = "report: --%s %s: give a day like 2026-11-24, or 7d or 24h for so long ago";
    int64_t now = clock_unix_ms();
    r->until_ms = now;
    if (until && !parse_time(r, until, true, now, &r->until_ms))
        return cli_fail(EXIT_USAGE, usage, "until", until);
    r->since_ms = r->until_ms - (int64_t)DEFAULT_DAYS * 24 * HOUR_MS;
    if (since && !parse_time(r, since, false, now, &r->since_ms))
        return cli_fail(EXIT_USAGE, usage, "since", since);
    if (r->since_ms >= r->until_ms)
        return cli_fail(EXIT_USAGE, "report: --since is not before --until");
    return -1;
}

/* ---- sums ------------------------------------------------------------------------------------------------ */

static void sum_add(struct sum *s, const struct ledger_row *row)
{
    s->calls += row->calls;
    s->prompt += row->prompt;
    s->cached += row->cached;
    s->completion += row->completion;
    s->cost = row->cost > INT64_MAX - s->cost ? INT64_MAX : s->cost + row->cost;
}

static bool group_add(struct group *g, struct str name, const struct ledger_row *row)
{
    uint32_t id, before = g->names.n;
    if (strset_add(&g->names, name, &id))
        return false;
    if (id == before)
        BUF_ADD_VALUE(&g->sums, (struct sum){0});
    if (buf_failed(&g->sums))
        return false;
    sum_add((struct sum *)(void *)g->sums.ptr + id, row);
    return true;
}

static bool add_row(void *ctx, const struct ledger_row *row)
{
    struct report *r = ctx;
    struct buf model;
    buf_init(&model, MEM_MISC);
    buf_addf(&model, "%s%c%s", row->service, 0, row->model);
    bool ok = !buf_failed(&model) && group_add(&r->by_model, buf_str(&model), row) &&
              group_add(&r->by_key, str_of(row->key), row) && group_add(&r->by_day, str_of(row->day), row);
    buf_clear(&model);
    sum_add(&r->all, row);
    return ok;
}

static void group_init(struct group *g)
{
    strset_init(&g->names, MEM_MISC, 0);
    buf_init(&g->sums, MEM_MISC);
}

static void group_clear(struct group *g)
{
    strset_clear(&g->names);
    buf_clear(&g->sums);
}

static double share(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0;
}

static double cny(nano_cny n)
{
    return (double)n / (double)NANO_PER_CNY;
}

/* ---- text ------------------------------------------------------------------------------------------------ */

/* What people typed and files hold, harmless to a terminal: one line, no control characters. */
static void add_plain(struct buf *out, struct str s)
{
    char one[4];
    for (size_t i = 0; i < s.len;) {
        uint32_t cp = utf8_next(s, &i);
        bool control = cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x2028 || cp == 0x2029 ||
                       (cp >= 0x202a && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069);
        buf_add(out, one, utf8_encode(control ? ' ' : cp, one));
    }
}

static void print_sum(struct buf *out, const struct sum *s)
{
    buf_addf(out, "%14.6f %9llu %11.6f %12llu %6.1f%% %11llu  ", cny(s->cost), (unsigned long long)s->calls,
             s->calls ? cny(s->cost) / (double)s->calls : 0, (unsigned long long)s->prompt,
             100 * share(s->cached, s->prompt), (unsigned long long)s->completion);
}

static void print_group(struct buf *out, const struct group *g, const char *what)
{
    buf_addf(out, "\n%14s %9s %11s %12s %7s %11s  %s\n", "CNY", "calls", "CNY/call", "prompt", "cached",
             "completion", what);
    for (uint32_t i = 0; i < g->names.n; i++) {
        print_sum(out, (const struct sum *)(const void *)g->sums.ptr + i);
        struct str name = strset_get(&g->names, i);
        if (name.len == 0)
            buf_addz(out, "-");
        add_plain(out, name);
        buf_addc(out, '\n');
    }
}

static void print_spend(struct report *r)
{
    print_group(&r->out, &r->by_model, "service, model");
    print_group(&r->out, &r->by_key, "key");
    print_group(&r->out, &r->by_day, "day");
    buf_addc(&r->out, '\n');
    print_sum(&r->out, &r->all);
    buf_addz(&r->out, "total\n");
}

/* ---- JSON ------------------------------------------------------------------------------------------------ */

static void json_text(struct buf *out, const char *key, struct str s)
{
    json_add_key(out, key);
    json_add_string(out, utf8_valid(s) ? s : STR_LIT("?"));
}

static void json_count(struct buf *out, const char *key, uint64_t n)
{
    json_add_key(out, key);
    json_add_u64(out, n);
}

static void json_real(struct buf *out, const char *key, double v)
{
    json_add_key(out, key);
    json_add_double(out, v);
}

static void json_sum(struct buf *out, const struct sum *s)
{
    json_real(out, "cost_cny", cny(s->cost));
    json_count(out, "calls", s->calls);
    json_real(out, "cost_per_call_cny", s->calls ? cny(s->cost) / (double)s->calls : 0);
    json_count(out, "prompt_tokens", s->prompt);
    json_count(out, "cached_tokens", s->cached);
    json_real(out, "cached_share", share(s->cached, s->prompt));
    json_count(out, "completion_tokens", s->completion);
}

/* second: NULL, or the member for what stands behind the NUL of a name. */
static void json_group(struct buf *out, const struct group *g, const char *list, const char *first,
                       const char *second)
{
    json_add_key(out, list);
    json_add_open(out, '[');
    for (uint32_t i = 0; i < g->names.n; i++) {
        struct str name = strset_get(&g->names, i);
        size_t n = second ? strnlen(name.ptr, name.len) : name.len;
        json_add_open(out, '{');
        json_text(out, first, str_make(name.ptr, n));
        if (second)
            json_text(out, second, n < name.len ? str_make(name.ptr + n + 1, name.len - n - 1) : STR_LIT(""));
        json_sum(out, (const struct sum *)(const void *)g->sums.ptr + i);
        json_add_close(out, '}');
    }
    json_add_close(out, ']');
}

static void json_spend(struct report *r)
{
    json_add_open(&r->out, '{');
    json_sum(&r->out, &r->all);
    json_group(&r->out, &r->by_model, "by_model", "service", "model");
    json_group(&r->out, &r->by_key, "by_key", "key", NULL);
    json_group(&r->out, &r->by_day, "by_day", "day", NULL);
    json_add_close(&r->out, '}');
}

/* ---- the two files --------------------------------------------------------------------------------------- */

/* A file that does not exist yet is no error. */
static rag_code nothing_yet(struct report *r, rag_code rc, const char *data, const char *file)
{
    if (rc != RAG_ENOTFOUND)
        return rc;
    if (r->json)
        json_add_null(&r->out);
    else
        buf_addf(&r->out, "\n%s/%s: does not exist yet: nothing recorded\n", data, file);
    return RAG_OK;
}

static rag_code report_spend(struct report *r, const char *data, struct rag_err *err)
{
    struct ledger_options opt = {
        .dir = data, .warn = 1, .stop = 1, .timezone = r->zone_name, .read_only = true};
    struct ledger *l = NULL;
    if (r->json)
        json_add_key(&r->out, "spend");
    rag_code rc = ledger_open(&opt, &l, err);
    if (rc)
        return nothing_yet(r, rc, data, "ledger.db");
    rc = ledger_report(l, r->since_ms, r->until_ms, add_row, r, err);
    ledger_close(l);
    if (rc == RAG_ECANCELED) /* add_row ran out */
        return rag_err_set(err, RAG_ENOMEM, "out of memory");
    if (!rc && r->json)
        json_spend(r);
    else if (!rc && r->all.calls)
        print_spend(r);
    else if (!rc)
        buf_addz(&r->out, "\nNo calls of models in this time.\n");
    return rc;
}

static bool add_unanswered(void *ctx, struct str query, uint64_t times)
{
    struct report *r = ctx;
    if (r->json) {
        json_add_open(&r->out, '{');
        json_text(&r->out, "query", query);
        json_count(&r->out, "times", times);
        json_add_close(&r->out, '}');
        return !buf_failed(&r->out);
    }
    if (r->n_unanswered++ == 0)
        buf_addz(&r->out, "\nAsked most without an answer:\n");
    buf_addf(&r->out, "%9llu  ", (unsigned long long)times);
    add_plain(&r->out, query);
    buf_addc(&r->out, '\n');
    return !buf_failed(&r->out);
}

static void json_questions(struct buf *out, const struct history_totals *t)
{
    json_count(out, "count", t->queries);
    json_real(out, "found_share", share(t->found, t->queries));
    json_real(out, "degraded_share", share(t->degraded, t->queries));
    json_count(out, "p50_ms", t->p50_ms);
    json_count(out, "p95_ms", t->p95_ms);
    json_count(out, "p99_ms", t->p99_ms);
    json_count(out, "thumbs_up", t->up);
    json_count(out, "thumbs_down", t->down);
    json_add_key(out, "satisfaction");
    if (t->up + t->down)
        json_add_double(out, share(t->up, t->up + t->down));
    else
        json_add_null(out);
    json_count(out, "ratings", t->ratings);
    json_add_key(out, "rating_mean");
    if (t->ratings)
        json_add_double(out, t->rating_mean);
    else
        json_add_null(out);
}

static void print_questions(struct buf *out, const struct history_totals *t)
{
    if (t->queries == 0) {
        buf_addz(out, "\nNo questions in this time.\n");
        return;
    }
    buf_addf(out, "\n%llu questions: %.1f%% found, %.1f%% degraded; p50 %u ms, p95 %u ms, p99 %u ms\n",
             (unsigned long long)t->queries, 100 * share(t->found, t->queries),
             100 * share(t->degraded, t->queries), t->p50_ms, t->p95_ms, t->p99_ms);
    if (t->up + t->down)
        buf_addf(out, "satisfaction %.1f%% (%llu up, %llu down)\n", 100 * share(t->up, t->up + t->down),
                 (unsigned long long)t->up, (unsigned long long)t->down);
    if (t->ratings)
        buf_addf(out, "rated %.2f of 5 (%llu ratings)\n", t->rating_mean, (unsigned long long)t->ratings);
}

static rag_code report_questions(struct report *r, const char *data, struct rag_err *err)
{
    struct history_options opt = {.dir = data, .read_only = true};
    struct history *h = NULL;
    struct history_totals t;
    if (r->json)
        json_add_key(&r->out, "questions");
    rag_code rc = history_open(&opt, &h, err);
    if (rc)
        return nothing_yet(r, rc, data, "history.db");
    rc = history_totals(h, r->since_ms, r->until_ms, &t, err);
    if (!rc && r->json) {
        json_add_open(&r->out, '{');
        json_questions(&r->out, &t);
        json_add_key(&r->out, "unanswered");
        json_add_open(&r->out, '[');
    } else if (!rc) {
        print_questions(&r->out, &t);
    }
    if (!rc)
        rc = history_unanswered(h, r->since_ms, r->until_ms, UNANSWERED, add_unanswered, r, err);
    if (!rc && r->json) {
        json_add_close(&r->out, ']');
        json_add_close(&r->out, '}');
    }
    history_close(h);
    return rc;
}

/* ---- the command ----------------------------------------------------------------------------------------- */

static void add_moment(struct buf *out, const struct zone *z, int64_t unix_ms)
{
    char day[16];
    int32_t n = zone_day(z, unix_ms);
    int64_t s = unix_ms / 1000 + zone_offset_s(z, unix_ms / 1000) - (int64_t)n * 86400;
    civil_format(n, day);
    buf_addf(out, "%s %02d:%02d", day, (int)(s / 3600), (int)(s / 60 % 60));
}

static void add_head(struct report *r)
{
    if (r->json) {
        json_add_open(&r->out, '{');
        json_add_key(&r->out, "since");
        json_add_time_ms(&r->out, r->since_ms);
        json_add_key(&r->out, "until");
        json_add_time_ms(&r->out, r->until_ms);
        json_text(&r->out, "timezone", str_of(r->zone_name));
        return;
    }
    add_moment(&r->out, r->zone, r->since_ms);
    buf_addz(&r->out, " to ");
    add_moment(&r->out, r->zone, r->until_ms);
    buf_addf(&r->out, " (%s)\n", r->zone_name);
}

static int report_run(struct report *r, const char *data)
{
    struct rag_err err = {0};
    add_head(r);
    rag_code rc = report_spend(r, data, &err);
    if (!rc)
        rc = report_questions(r, data, &err);
    if (r->json)
        json_add_close(&r->out, '}');
    if (!rc && buf_failed(&r->out))
        rc = RAG_ENOMEM;
    if (rc)
        return cli_fail(EXIT_FAIL, "report: %s", err.msg[0] ? err.msg : rag_code_name(rc));
    printf("%.*s%s", (int)r->out.len, r->out.ptr, r->json ? "\n" : "");
    return EXIT_OK;
}

int cmd_report(int argc, char **argv)
{
    struct cli_common common = {0};
    struct report r = {0};
    const char *since = NULL, *until = NULL;
    const struct cli_option options[] = {CLI_COMMON_OPTIONS(&common),
                                         {"--since", &since, NULL},
                                         {"--until", &until, NULL},
                                         {"--json", NULL, &r.json},
                                         {0}};
    int n, status = cli_parse("report", argc, argv, options, &n);
    if (status >= 0)
        return status;
    if (n)
        return cli_fail(EXIT_USAGE, "report: %s: takes no arguments", argv[0]);
    struct config cfg;
    status = cli_load_config("report", &common, &cfg);
    if (status >= 0)
        return status;
    struct rag_err err = {0};
    r.zone_name = cfg.budget_timezone;
    buf_init(&r.out, MEM_MISC);
    group_init(&r.by_model);
    group_init(&r.by_key);
    group_init(&r.by_day);
    if (zone_open(r.zone_name, &r.zone, &err))
        status = cli_fail(EXIT_FAIL, "report: budget.timezone: %s", err.msg);
    if (status < 0)
        status = parse_range(&r, since, until);
    if (status < 0)
        status = report_run(&r, cfg.data);
    group_clear(&r.by_model);
    group_clear(&r.by_key);
    group_clear(&r.by_day);
    buf_clear(&r.out);
    zone_close(r.zone);
    config_clear(&cfg);
    return status;
}
