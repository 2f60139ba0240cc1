/* The calls as a whole: waiting, the plan, retries, hedges, clocks, the end. */
#include "llm/llm_int.h"

#include <stdio.h>
#include <string.h>

#include "obs/log.h"
#include "sys/clock.h"
#include "sys/random.h"

static const int64_t WORTH_A_TRY_NS = 100000000; /* a retry or another model needs at least so long */
static const double RETRIES_IN_HAND = 10;

const char *llm_reason_name(enum llm_reason r)
{
    static const char *const names[] = {"optimal",        "budget_warning", "budget_exceeded", "breaker", "timeout",
                                        "upstream_error", "rate_limited",   "busy",            "internal"};
    return names[r];
}

static int64_t ms(uint32_t n)
{
    return (int64_t)n * 1000000;
}

#define CALL_OF(pointer, member) ((struct llm_call *)(void *)((char *)(pointer) - offsetof(struct llm_call, member)))

void llm_count_open(struct llm *l, int n)
{
    pthread_mutex_lock(&l->mu);
    l->n_open += (uint32_t)n;
    if (l->n_open == 0)
        pthread_cond_broadcast(&l->idle_cv);
    pthread_mutex_unlock(&l->mu);
}

static void unref(struct llm_call *c)
{
    if (atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    mem_free(MEM_REQUEST, c->text);
    mem_free(MEM_REQUEST, c);
}

/* ---- what is told to the outside -------------------------------------------------------------------------- */

void llm_publish_breaker(struct llm *l, struct model_state *m)
{
    size_t i = (size_t)(m - l->models);
    pthread_mutex_lock(&l->mu);
    l->health[i] = (struct llm_health){.model = m->model,
                                       .state = m->breaker.state,
                                       .failures = m->breaker.failures,
                                       .times_opened = m->breaker.times_opened};
    l->opened_ns[i] = m->breaker.opened_ns;
    pthread_mutex_unlock(&l->mu);
    if (m->breaker_gauge)
        gauge_set(m->breaker_gauge, m->breaker.state);
}

void llm_health(struct llm *l, struct llm_health *out)
{
    int64_t now = clock_mono_ns();
    pthread_mutex_lock(&l->mu);
    for (uint32_t i = 0; i < l->opt.catalogue.n; i++) {
        out[i] = l->health[i];
        struct breaker b = {.state = out[i].state, .opened_ns = l->opened_ns[i]};
        out[i].retry_in_ms = (breaker_retry_in_ns(&b, &l->opt.breaker, now) + 999999) / 1000000;
    }
    pthread_mutex_unlock(&l->mu);
}

uint32_t llm_at_work(struct llm *l)
{
    return atomic_load(&l->at_work);
}

const struct llm_catalogue *llm_models(const struct llm *l)
{
    return &l->opt.catalogue;
}

struct ledger *llm_ledger(const struct llm *l)
{
    return l->opt.ledger;
}

struct net_client *llm_net(const struct llm *l)
{
    return l->opt.net;
}

static void count_working(struct llm *l, int n)
{
    l->n_working += (uint32_t)n;
    atomic_store(&l->at_work, l->n_working);
    if (l->calls_gauge)
        gauge_set(l->calls_gauge, l->n_working);
}

/* ---- records of attempts ----------------------------------------------------------------------------------- */

uint32_t call_record(struct llm_call *c, const struct llm_model *m, int64_t start_ns)
{
    struct llm_result *r = &c->result;
    if (r->n_attempts == LLM_MAX_ATTEMPTS)
        return LLM_MAX_ATTEMPTS;
    r->attempts[r->n_attempts] = (struct llm_attempt){.model = m, .start_ns = start_ns - c->begin_ns};
    return r->n_attempts++;
}

void call_record_end(struct llm_call *c, uint32_t record, const char *outcome, int64_t now_ns)
{
    if (record == LLM_MAX_ATTEMPTS)
        return;
    struct llm_attempt *a = &c->result.attempts[record];
    a->took_ns = now_ns - c->begin_ns - a->start_ns;
    snprintf(a->outcome, sizeof a->outcome, "%s", outcome);
}

void call_note(struct llm_call *c, uint32_t plan, enum llm_reason reason)
{
    if (plan == 0 && !c->failed_first) {
        c->failed_first = true;
        c->first_reason = reason;
    }
    if (!c->failed_any || reason != LLM_BREAKER) /* a breaker says least when there is more to say */
        c->last_reason = reason;
    c->failed_any = true;
}

/* ---- the end ------------------------------------------------------------------------------------------------ */

static void work(struct llm_call *c);

static void leave_waiting(struct llm_call *c)
{
    struct llm *l = c->llm;
    struct llm_call *before = NULL;
    for (struct llm_call *w = l->first_waiting; w; before = w, w = w->next_waiting) {
        if (w != c)
            continue;
        if (before)
            before->next_waiting = c->next_waiting;
        else
            l->first_waiting = c->next_waiting;
        if (l->last_waiting == c)
            l->last_waiting = before;
        break;
    }
    c->waiting = false;
}

/* Not from within itself: one that ends at once would start the next one deeper and deeper. */
static void start_waiting_calls(struct llm *l)
{
    if (l->starting || l->stopped)
        return;
    l->starting = true;
    while (l->first_waiting && l->n_working < l->opt.max_calls) {
        struct llm_call *c = l->first_waiting;
        leave_waiting(c);
        work(c);
    }
    l->starting = false;
}

/* A model that was asked late cannot be blamed for the end of the call's time. */
static bool had_long_enough(const struct attempt *a)
{
    const struct llm_options *o = &a->llm->opt;
    uint32_t expected = o->first_token_ms < o->answer_ms ? o->first_token_ms : o->answer_ms;
    return a->state != ATTEMPT_RESERVING && clock_mono_ns() - a->start_ns >= ms(expected) / 2;
}

static void end_call(struct llm_call *c, enum llm_end end, enum llm_reason reason)
{
    struct llm *l = c->llm;
    RAG_ASSERT(!c->ended);
    c->ended = true;
    net_timer_stop(l->opt.net, &c->answer_timer);
    net_timer_stop(l->opt.net, &c->retry_timer);
    net_timer_stop(l->opt.net, &c->hedge_timer);
    for (int i = 0; i < MAX_AT_ONCE; i++)
        if (c->at_once[i])
            attempt_over(c->at_once[i], end == LLM_CANCELED ? "canceled" : "timeout",
                         end == LLM_FAILED && had_long_enough(c->at_once[i]) ? FATE_LATE : FATE_CANCELED, reason);
    if (c->waiting)
        leave_waiting(c);
    if (c->working)
        count_working(l, -1);
    if (c->before)
        c->before->next = c->next;
    else if (l->calls == c)
        l->calls = c->next;
    if (c->next)
        c->next->before = c->before;
    c->result.end = end;
    c->result.reason = reason;
    c->result.took_ns = clock_mono_ns() - c->begin_ns;
    c->events.end(c->ctx, &c->result);
    unref(c);
    start_waiting_calls(l);
    llm_count_open(l, -1); /* llm_close may go on from here */
}

static enum llm_reason chosen_because(const struct llm_call *c)
{
    if (c->warned)
        return LLM_BUDGET_WARNING;
    return c->result.fallback && c->failed_first ? c->first_reason : LLM_OPTIMAL;
}

/* ---- attempts, one after the other ---------------------------------------------------------------------------- */

static bool any_at_once(const struct llm_call *c)
{
    return c->at_once[0] || c->at_once[1] || c->retry_waiting;
}

static bool time_for(const struct llm_call *c, int64_t delay_ns)
{
    return clock_mono_ns() + delay_ns + WORTH_A_TRY_NS < c->deadline_ns;
}

/* Starts the next model of the plan that can be started. */
static bool start_next(struct llm_call *c)
{
    while (c->next_plan < c->n_order && (c->next_plan == 0 || time_for(c, 0)))
        if (attempt_start(c, c->next_plan++))
            return true;
    return false;
}

static void go_on(struct llm_call *c)
{
    if (!start_next(c) && !any_at_once(c))
        end_call(c, LLM_FAILED, c->failed_any ? c->last_reason : LLM_UPSTREAM);
}

/* Retries may be no more than a share of the calls: an outage is not made worse by those who suffer from it. */
static bool has_retry(struct llm *l)
{
    int64_t now = clock_mono_ns();
    if (l->opt.retry_budget <= 0)
        return false;
    l->retry_tokens += (double)(now - l->refilled_ns) / 1e9; /* one a second whatever happens */
    l->refilled_ns = now;
    if (l->retry_tokens > RETRIES_IN_HAND)
        l->retry_tokens = RETRIES_IN_HAND;
    return l->retry_tokens >= 1;
}

static void on_retry(struct net_timer *t)
{
    struct llm_call *c = CALL_OF(t, retry_timer);
    c->retry_waiting = false;
    if (!attempt_start(c, c->retry_plan))
        go_on(c);
}

/* Full jitter, and no sooner than the upstream asked. */
static int64_t retry_delay_ns(const struct llm_call *c, uint32_t plan, int64_t retry_after_ms)
{
    const struct llm_options *o = &c->llm->opt;
    double most = o->retry_initial_ms;
    uint32_t r;
    for (uint32_t i = 1; i < c->tries[plan]; i++)
        most *= o->retry_factor;
    if (most > o->retry_max_ms)
        most = o->retry_max_ms;
    random_bytes(&r, sizeof r);
    int64_t delay = (int64_t)(most * 1e6 * ((double)r / 4294967296.0));
    if (retry_after_ms > 0 && delay < retry_after_ms * 1000000)
        delay = retry_after_ms * 1000000 + delay / 10;
    return delay;
}

static bool try_again(struct llm_call *c, uint32_t plan, int64_t retry_after_ms)
{
    int64_t delay = retry_delay_ns(c, plan, retry_after_ms);
    if (c->tries[plan] >= c->llm->opt.attempts || any_at_once(c) || !time_for(c, delay) || !has_retry(c->llm))
        return false;
    if (!net_timer_set(c->llm->opt.net, &c->retry_timer, clock_mono_ns() + delay))
        return false;
    c->llm->retry_tokens -= 1;
    c->retry_plan = plan;
    c->retry_waiting = true;
    if (c->llm->retries)
        counter_add(c->llm->retries, 1);
    return true;
}

void call_attempt_over(struct llm_call *c, uint32_t plan, enum fate fate, enum llm_reason reason, int64_t retry_after_ms)
{
    if (fate == FATE_OK) {
        end_call(c, LLM_ANSWERED, chosen_because(c));
    } else if (fate == FATE_CUT) {
        end_call(c, LLM_CUT, reason);
    } else {
        call_note(c, plan, reason);
        if (!(fate == FATE_RETRY && try_again(c, plan, retry_after_ms)))
            go_on(c);
    }
}

void call_first_token(struct llm_call *c, struct attempt *a)
{
    struct llm *l = c->llm;
    c->winner = a;
    c->result.model = a->m->model;
    c->result.fallback = a->plan > 0;
    c->result.first_token_ns = clock_mono_ns() - c->begin_ns;
    if (a->m->first_token)
        histogram_observe(a->m->first_token, clock_mono_ns() - a->start_ns);
    net_timer_stop(l->opt.net, &c->answer_timer);
    net_timer_stop(l->opt.net, &c->retry_timer);
    net_timer_stop(l->opt.net, &c->hedge_timer);
    c->retry_waiting = false;
    for (int i = 0; i < MAX_AT_ONCE; i++)
        if (c->at_once[i] && c->at_once[i] != a)
            attempt_over(c->at_once[i], "canceled", FATE_CANCELED, LLM_OPTIMAL);
    mem_free(MEM_REQUEST, c->text); /* nothing is repeated from here on */
    c->text = NULL;
    c->n_messages = 0;
    if (c->paused)
        attempt_pause(a, true);
}

static void on_hedge(struct net_timer *t)
{
    struct llm_call *c = CALL_OF(t, hedge_timer);
    bool room = !c->at_once[0] || !c->at_once[1];
    if (c->winner || c->warned || !room || !has_retry(c->llm) || !start_next(c))
        return;
    c->llm->retry_tokens -= 1;
    if (!c->failed_first) { /* it may still come, but it is late */
        c->failed_first = true;
        c->first_reason = LLM_TIMEOUT;
    }
    if (c->llm->hedges)
        counter_add(c->llm->hedges, 1);
}

static void on_answer_time_over(struct net_timer *t)
{
    struct llm_call *c = CALL_OF(t, answer_timer);
    end_call(c, LLM_FAILED, c->waiting ? LLM_BUSY : LLM_TIMEOUT);
}

static void work(struct llm_call *c)
{
    struct llm *l = c->llm;
    enum budget_level level = ledger_level(l->opt.ledger, c->key, c->key_daily);
    c->working = true;
    count_working(l, 1);
    l->retry_tokens += l->opt.retry_budget;
    if (level == BUDGET_STOP) {
        end_call(c, LLM_FAILED, LLM_BUDGET_EXCEEDED);
        return;
    }
    c->warned = level == BUDGET_WARN;
    c->n_order = llm_plan(&l->opt.catalogue, c->want, c->warned, c->prompt_tokens + c->max_tokens, c->order);
    if (l->opt.hedge_ms)
        (void)net_timer_set(l->opt.net, &c->hedge_timer, clock_mono_ns() + ms(l->opt.hedge_ms));
    go_on(c);
}

/* ---- start, cancel, pause: from any thread to the net thread -------------------------------------------------- */

static void on_start(struct net_task *t)
{
    struct llm_call *c = CALL_OF(t, start_task);
    struct llm *l = c->llm;
    c->begun = true;
    c->next = l->calls;
    if (c->next)
        c->next->before = c;
    l->calls = c;
    c->deadline_ns = c->begin_ns + ms(l->opt.answer_ms);
    if (l->stopped || atomic_load(&c->cancel_posted)) {
        end_call(c, LLM_CANCELED, LLM_OPTIMAL);
    } else if (!net_timer_set(l->opt.net, &c->answer_timer, c->deadline_ns)) {
        end_call(c, LLM_FAILED, LLM_INTERNAL);
    } else if (l->n_working < l->opt.max_calls) {
        work(c);
    } else {
        c->waiting = true;
        if (l->last_waiting)
            l->last_waiting->next_waiting = c;
        else
            l->first_waiting = c;
        l->last_waiting = c;
    }
}

static void on_cancel(struct net_task *t)
{
    struct llm_call *c = CALL_OF(t, cancel_task);
    if (c->begun && !c->ended)
        end_call(c, LLM_CANCELED, LLM_OPTIMAL);
    unref(c);
}

static void on_pause(struct net_task *t)
{
    struct llm_call *c = CALL_OF(t, pause_task);
    atomic_store(&c->pause_posted, false); /* before the wish is read: a later one posts again */
    bool paused = atomic_load(&c->pause_wanted);
    if (!c->ended && c->paused != paused) {
        c->paused = paused;
        if (c->winner)
            attempt_pause(c->winner, paused);
    }
    unref(c);
}

/* The caller's messages, in one block. */
static bool copy_request(struct llm_call *c, const struct llm_request *rq)
{
    size_t n = 0;
    if (rq->n_messages == 0 || rq->n_messages > sizeof c->messages / sizeof *c->messages)
        return false;
    for (uint32_t i = 0; i < rq->n_messages; i++)
        n += rq->messages[i].content.len;
    char *p = c->text = mem_alloc(MEM_REQUEST, n);
    if (!p)
        return false;
    for (uint32_t i = 0; i < rq->n_messages; i++) {
        struct str s = rq->messages[i].content;
        memcpy(p, s.ptr, s.len);
        c->messages[i] = (struct chat_message){rq->messages[i].role, str_make(p, s.len)};
        c->prompt_tokens += llm_count_tokens(s);
        p += s.len;
    }
    c->n_messages = rq->n_messages;
    c->prompt_bytes = n;
    return true;
}

rag_code llm_start(struct llm *l, const struct llm_request *rq, struct llm_call **out)
{
    struct llm_call *c = mem_zalloc(MEM_REQUEST, sizeof *c);
    if (!c || !copy_request(c, rq)) {
        mem_free(MEM_REQUEST, c);
        return RAG_ENOMEM;
    }
    c->llm = l;
    atomic_init(&c->refs, 2); /* the caller's and, until the end, the net thread's */
    c->start_task.run = on_start;
    c->cancel_task.run = on_cancel;
    c->pause_task.run = on_pause;
    c->answer_timer.fire = on_answer_time_over;
    c->retry_timer.fire = on_retry;
    c->hedge_timer.fire = on_hedge;
    c->want = rq->want;
    c->max_tokens = rq->max_tokens;
    c->temperature = rq->temperature;
    c->key_daily = rq->key_daily;
    snprintf(c->key, sizeof c->key, "%s", rq->key ? rq->key : "");
    snprintf(c->request_id, sizeof c->request_id, "%s", rq->request_id ? rq->request_id : "");
    snprintf(c->traceparent, sizeof c->traceparent, "%s", rq->traceparent ? rq->traceparent : "");
    c->events = rq->events;
    c->ctx = rq->ctx;
    c->begin_ns = clock_mono_ns();
    llm_count_open(l, 1);
    *out = c;
    net_post(l->opt.net, &c->start_task);
    return RAG_OK;
}

void llm_cancel(struct llm_call *c)
{
    if (atomic_exchange(&c->cancel_posted, true))
        return;
    atomic_fetch_add(&c->refs, 1);
    net_post(c->llm->opt.net, &c->cancel_task);
}

void llm_pause(struct llm_call *c, bool paused)
{
    atomic_store(&c->pause_wanted, paused);
    if (atomic_exchange(&c->pause_posted, true))
        return;
    atomic_fetch_add(&c->refs, 1);
    net_post(c->llm->opt.net, &c->pause_task);
}

void llm_release(struct llm_call *c)
{
    unref(c);
}

/* ---- the whole ------------------------------------------------------------------------------------------------ */

static void on_stop(struct net_task *t)
{
    struct llm *l = (struct llm *)(void *)((char *)t - offsetof(struct llm, stop_task));
    l->stopped = true;
    while (l->calls)
        end_call(l->calls, LLM_CANCELED, LLM_OPTIMAL);
    llm_count_open(l, -1);
}

void llm_stop(struct llm *l)
{
    if (atomic_exchange(&l->stop_posted, true))
        return;
    llm_count_open(l, 1);
    net_post(l->opt.net, &l->stop_task);
}

static void init_metrics(struct llm *l)
{
    struct metrics *m = l->opt.metrics;
    if (!m)
        return;
    l->retries = metrics_counter(m, "ragd_llm_retries_total", "Requests to a model that were repeated.", 1, NULL, 0);
    l->hedges = metrics_counter(m, "ragd_llm_hedges_total", "Second models asked because the first was late.", 1, NULL, 0);
    l->calls_gauge = metrics_gauge(m, "ragd_llm_calls", "Answers that models are writing.", 1, NULL, 0);
    for (uint32_t i = 0; i < l->opt.catalogue.n; i++) {
        const char *name = l->models[i].model->name;
        l->models[i].first_token = metrics_histogram(m, "ragd_llm_first_token_seconds", "Time to the first token of a request.",
                                                     METRIC_LABELS({"model", name}));
        l->models[i].breaker_gauge = metrics_gauge(m, "ragd_llm_breaker_state", "0 closed, 1 half-open, 2 open.", 1,
                                                   METRIC_LABELS({"model", name}));
    }
}

rag_code llm_open(const struct llm_options *opt, struct llm **out, struct rag_err *err)
{
    *out = NULL;
    if (opt->catalogue.n == 0 || opt->catalogue.n > LLM_MAX_MODELS)
        return rag_err_set(err, RAG_EINVAL, "llm: 1 to %d models, not %u", LLM_MAX_MODELS, opt->catalogue.n);
    struct llm *l = mem_zalloc(MEM_MISC, sizeof *l);
    if (!l)
        return rag_err_set(err, RAG_ENOMEM, "llm: out of memory");
    l->opt = *opt;
    l->opt.max_calls = opt->max_calls ? opt->max_calls : 1;
    l->stop_task.run = on_stop;
    l->retry_tokens = RETRIES_IN_HAND;
    l->refilled_ns = clock_mono_ns();
    pthread_mutex_init(&l->mu, NULL);
    pthread_cond_init(&l->idle_cv, NULL);
    for (uint32_t i = 0; i < opt->catalogue.n; i++)
        l->models[i].model = &opt->catalogue.models[i];
    init_metrics(l);
    for (uint32_t i = 0; i < opt->catalogue.n; i++)
        llm_publish_breaker(l, &l->models[i]);
    *out = l;
    return RAG_OK;
}

void llm_close(struct llm *l)
{
    if (!l)
        return;
    llm_stop(l);
    pthread_mutex_lock(&l->mu);
    while (l->n_open)
        pthread_cond_wait(&l->idle_cv, &l->mu);
    pthread_mutex_unlock(&l->mu);
    pthread_mutex_destroy(&l->mu);
    pthread_cond_destroy(&l->idle_cv);
    arena_clear(&l->arena);
    mem_free(MEM_MISC, l);
}
