#include "test.h"

#include "base/str.h"
#include "llm/breaker.h"

static const struct breaker_rules rules = {.failures = 5, .successes = 2, .open_ns = 60};

static struct breaker_ticket enter(struct breaker *b, int64_t now)
{
    struct breaker_ticket t;
    CHECK(breaker_allows(b, &rules, now));
    CHECK(breaker_enter(b, &rules, now, &t));
    return t;
}

static void trip(struct breaker *b, int64_t now)
{
    for (int i = 0; i < 5; i++)
        breaker_fail(b, &rules, now, enter(b, now));
    CHECK_EQ(b->state, BREAKER_OPEN);
}

TEST(five_failures_in_a_row_open_it)
{
    struct breaker b = {0};
    for (int i = 0; i < 4; i++)
        breaker_fail(&b, &rules, 0, enter(&b, 0));
    breaker_ignore(&b, enter(&b, 0)); /* says nothing */
    CHECK_EQ(b.failures, 4);
    breaker_succeed(&b, &rules, 0, enter(&b, 0));
    CHECK_EQ(b.failures, 0);
    trip(&b, 10);
    CHECK_EQ(b.times_opened, 1);
    struct breaker_ticket t;
    CHECK(!breaker_enter(&b, &rules, 69, &t));
    CHECK_EQ(b.refused, 1);
    CHECK_EQ(breaker_retry_in_ns(&b, &rules, 69), 1);
    CHECK_EQ(breaker_retry_in_ns(&b, &rules, 70), 0);
}

TEST(a_row_is_counted_in_the_order_of_the_starts)
{
    struct breaker b = {0};
    struct breaker_ticket t[40];
    for (int i = 0; i < 40; i++)
        t[i] = enter(&b, 0);
    for (int i = 0; i < 40; i += 4) /* ten of forty fail, and come back first */
        breaker_fail(&b, &rules, 0, t[i]);
    CHECK_EQ(b.state, BREAKER_CLOSED);
    for (int i = 0; i < 40; i++)
        if (i % 4)
            breaker_succeed(&b, &rules, 0, t[i]);
    CHECK_EQ(b.state, BREAKER_CLOSED);
    for (int i = 0; i < 5; i++)
        t[i] = enter(&b, 0);
    for (int i = 4; i > 0; i--)
        breaker_fail(&b, &rules, 0, t[i]);
    CHECK_EQ(b.state, BREAKER_CLOSED);
    breaker_fail(&b, &rules, 0, t[0]); /* the row is whole */
    CHECK_EQ(b.state, BREAKER_OPEN);
}

TEST(an_attempt_that_is_out_for_very_long_is_forgotten)
{
    struct breaker b = {0};
    struct breaker_ticket late = enter(&b, 0);
    for (int i = 0; i < BREAKER_WINDOW; i++)
        breaker_succeed(&b, &rules, 0, enter(&b, 0));
    breaker_fail(&b, &rules, 0, late);
    CHECK_EQ(b.failures, 0);
    trip(&b, 1);
}

TEST(half_open_lets_one_probe_out_at_a_time)
{
    struct breaker b = {0};
    trip(&b, 0);
    struct breaker_ticket t, probe = enter(&b, 60);
    CHECK_EQ(b.state, BREAKER_HALF_OPEN);
    CHECK(probe.probe);
    CHECK(!breaker_enter(&b, &rules, 60, &t));
    breaker_ignore(&b, probe); /* frees the place, counts for nothing */
    probe = enter(&b, 61);
    breaker_succeed(&b, &rules, 61, probe);
    CHECK_EQ(b.state, BREAKER_HALF_OPEN);
    breaker_succeed(&b, &rules, 62, enter(&b, 62));
    CHECK_EQ(b.state, BREAKER_CLOSED);
    CHECK_EQ(b.failures, 0);
}

TEST(one_failure_of_a_probe_opens_it_again)
{
    struct breaker b = {0};
    trip(&b, 0);
    breaker_succeed(&b, &rules, 60, enter(&b, 60));
    breaker_fail(&b, &rules, 65, enter(&b, 64));
    CHECK_EQ(b.state, BREAKER_OPEN);
    CHECK(!breaker_allows(&b, &rules, 124));
    CHECK(breaker_allows(&b, &rules, 125));
    breaker_succeed(&b, &rules, 125, enter(&b, 125)); /* the success before counts no more */
    CHECK_EQ(b.state, BREAKER_HALF_OPEN);
}

TEST(a_stale_ticket_changes_nothing)
{
    struct breaker b = {0};
    struct breaker_ticket old = enter(&b, 0), old2 = enter(&b, 0);
    trip(&b, 0);
    breaker_succeed(&b, &rules, 1, old);
    CHECK_EQ(b.state, BREAKER_OPEN);
    struct breaker_ticket t, probe = enter(&b, 60);
    breaker_fail(&b, &rules, 60, old2);
    CHECK_EQ(b.state, BREAKER_HALF_OPEN);
    CHECK(!breaker_enter(&b, &rules, 60, &t)); /* the probe is still out */
    breaker_succeed(&b, &rules, 60, probe);
}

/* The rules once more, from the history of reports instead of counters. */
struct model {
    char log[4096]; /* attempts of the running generation by start: p (out), s, f, i */
    int n, state, probes_out, generation;
    int64_t opened;
};

static void model_change(struct model *m, int state)
{
    m->state = state;
    m->n = m->probes_out = 0;
    m->generation++;
}

/* The attempt's place in the log, or -1. */
static int model_enter(struct model *m, int64_t now)
{
    if (m->state == BREAKER_OPEN && now < m->opened + rules.open_ns)
        return -1;
    if (m->state == BREAKER_OPEN)
        model_change(m, BREAKER_HALF_OPEN);
    if (m->state == BREAKER_HALF_OPEN && m->probes_out)
        return -1;
    m->probes_out += m->state == BREAKER_HALF_OPEN;
    m->log[m->n] = 'p';
    return m->n++;
}

/* Failures in a row around a place, those that are ignored left out. */
static int row_around(const struct model *m, int place)
{
    int from = place, n = 0;
    while (from > 0 && (m->log[from - 1] == 'f' || m->log[from - 1] == 'i'))
        from--;
    for (int i = from; i < m->n && (m->log[i] == 'f' || m->log[i] == 'i'); i++)
        n += m->log[i] == 'f';
    return n;
}

static void model_report(struct model *m, int64_t now, int generation, int place, char what)
{
    if (generation != m->generation)
        return;
    if (m->state == BREAKER_HALF_OPEN)
        m->probes_out--;
    m->log[place] = what;
    int good = 0;
    for (int i = 0; i < m->n; i++)
        good += m->log[i] == 's';
    if (what == 'f' && (m->state == BREAKER_HALF_OPEN || row_around(m, place) >= 5)) {
        m->opened = now;
        model_change(m, BREAKER_OPEN);
    } else if (m->state == BREAKER_HALF_OPEN && good == 2) {
        model_change(m, BREAKER_CLOSED);
    }
}

static uint32_t rnd(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*s >> 33);
}

TEST(random_events_agree_with_the_naive_model)
{
    int seen[3] = {0};
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct breaker b = {0};
        struct model m = {0};
        struct {
            struct breaker_ticket t;
            int generation, place;
        } out[64];
        int n = 0;
        int64_t now = 0;
        uint64_t s = seed;
        for (int step = 0; step < 2000; step++) {
            now += rnd(&s) % 12;
            if (n < 64 && rnd(&s) % 2) {
                bool allows = breaker_allows(&b, &rules, now);
                out[n].place = model_enter(&m, now);
                bool let = out[n].place >= 0;
                CHECK_EQ(allows, let);
                CHECK_EQ(breaker_enter(&b, &rules, now, &out[n].t), let);
                out[n].generation = m.generation;
                n += let;
            } else if (n) {
                int i = (int)(rnd(&s) % (uint32_t)n);
                char what = "sffi"[rnd(&s) % 4];
                if (what == 's')
                    breaker_succeed(&b, &rules, now, out[i].t);
                else if (what == 'f')
                    breaker_fail(&b, &rules, now, out[i].t);
                else
                    breaker_ignore(&b, out[i].t);
                model_report(&m, now, out[i].generation, out[i].place, what);
                out[i] = out[--n];
            }
            CHECK_EQ(b.state, m.state);
            CHECK_EQ(b.generation, (uint64_t)m.generation);
            CHECK(b.state == BREAKER_HALF_OPEN ? b.probing == (m.probes_out == 1) : !b.probing);
            seen[b.state]++;
        }
    }
    CHECK(seen[BREAKER_CLOSED] > 1000 && seen[BREAKER_HALF_OPEN] > 1000 && seen[BREAKER_OPEN] > 1000);
}

TEST(states_have_names)
{
    CHECK_STR(str_of(breaker_state_name(BREAKER_CLOSED)), "closed");
    CHECK_STR(str_of(breaker_state_name(BREAKER_HALF_OPEN)), "half_open");
    CHECK_STR(str_of(breaker_state_name(BREAKER_OPEN)), "open");
}
