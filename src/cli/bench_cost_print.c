/* What `ragd bench cost` says: a table, what was promised beside it, and how sure the figures are. */
#include <stddef.h>
#include <stdlib.h>

#include "cli/bench_int.h"
#include "wire/json_out.h"

enum { SEED = 1, SHUFFLES = 1000 };
static const double zipf_s = 0.8; /* of the contract's mix */

/* What the product promises at cost_promised_prices; 0: nothing. */
static const struct promise {
    double share;     /* of the baseline's cost, full contexts */
    double short_cny; /* CNY per 1,000 at prompts of COST_SHORT_PROMPT tokens */
} promises[COST_ROWS] = {[ROW_BALANCED] = {0.40, 0.13}, [ROW_COST] = {0.25, 0.08}};

struct figures {
    double cny, each_once, shortest_cny,
        short_cny;                   /* per 1,000 questions; each_once: none more often than another */
    double share, share_each_once;   /* of the baseline */
    double share_low, share_high;    /* 5 % and 95 % of SHUFFLES */
    double hit_rate, short_hit_rate; /* that a cache needs to reach promise.short_cny: with full contexts,
                                                       with short prompts */
    struct cost_spread prompt, answer, rules, shortest;
    double classes[CLASSES], one_down;
    uint32_t n_degraded, n_fallback, n_unasked;
};

/* ---- figures --------------------------------------------------------------------------------------------- */

static double per_1000(double nano)
{
    return nano * 1000 / (double)NANO_PER_CNY;
}

static double cost_of(const struct cost_question *q, const double *w, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += w[i] * (double)q[i].cost;
    return sum;
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

static void add_question(struct figures *f, const struct cost_question *q, double weight, uint32_t n)
{
    f->cny += weight * (double)q->cost;
    f->each_once += (double)q->cost / n;
    f->shortest_cny += weight * (double)q->cost_shortest;
    f->short_cny += weight * (double)q->cost_short;
    f->one_down += q->one_down ? weight : 0;
    f->classes[q->class] += q->asked && !q->degraded ? weight : 0;
    f->n_degraded += q->degraded;
    f->n_fallback += q->fallback;
    f->n_unasked += !q->asked;
}

static rag_code count(const struct cost_report *r, enum cost_row row, const double *w, struct figures *f)
{
    const struct cost_question *q = r->rows[row];
    const double wanted = promises[row].short_cny;
    double base = 0;
    *f = (struct figures){0};
    for (uint32_t i = 0; i < r->n; i++)
        add_question(f, &q[i], w[i], r->n);
    f->share = ratio(f->cny, cost_of(r->rows[ROW_BASELINE], w, r->n));
    for (uint32_t i = 0; i < r->n; i++)
        base += (double)r->rows[ROW_BASELINE][i].cost / r->n;
    f->share_each_once = ratio(f->each_once, base);
    f->cny = per_1000(f->cny);
    f->each_once = per_1000(f->each_once);
    f->shortest_cny = per_1000(f->shortest_cny);
    f->short_cny = per_1000(f->short_cny);
    f->hit_rate = wanted > 0 && f->cny > wanted ? 1 - wanted / f->cny : 0;
    f->short_hit_rate = wanted > 0 && f->short_cny > wanted ? 1 - wanted / f->short_cny : 0;
    rag_code rc = cost_spread(q, w, r->n, offsetof(struct cost_question, prompt), &f->prompt);
    if (!rc)
        rc = cost_spread(q, w, r->n, offsetof(struct cost_question, answer), &f->answer);
    if (!rc)
        rc = cost_spread(q, w, r->n, offsetof(struct cost_question, rules), &f->rules);
    if (!rc)
        rc = cost_spread(q, w, r->n, offsetof(struct cost_question, shortest), &f->shortest);
    return rc;
}

static int by_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Which question is asked most is chance, so the share is looked at under many shuffles. w is overwritten. */
static rag_code count_range(const struct cost_report *r, double *w, struct figures f[COST_ROWS])
{
    static double shares[COST_ROWS][SHUFFLES]; /* 40 KB */
    for (uint32_t s = 0; s < SHUFFLES; s++) {
        rag_code rc = cost_zipf(zipf_s, SEED + 1 + s, w, r->n);
        if (rc)
            return rc;
        double base = cost_of(r->rows[ROW_BASELINE], w, r->n);
        for (int row = 0; row < COST_ROWS; row++)
            shares[row][s] = ratio(cost_of(r->rows[row], w, r->n), base);
    }
    for (int row = 0; row < COST_ROWS; row++) {
        qsort(shares[row], SHUFFLES, sizeof **shares, by_double);
        f[row].share_low = shares[row][SHUFFLES / 20];
        f[row].share_high = shares[row][SHUFFLES - 1 - SHUFFLES / 20];
    }
    return RAG_OK;
}

/* ---- text ------------------------------------------------------------------------------------------------ */

static double price_cny(nano_cny n)
{
    return (double)n / (double)NANO_PER_CNY;
}

static void add_prices(const struct cost_report *r, struct buf *out)
{
    buf_addf(out, "prices %s, CNY per million tokens in/out:",
             r->priced ? "of the configuration" : "as in the promise");
    for (int c = CLASSES - 1; c >= 0; c--)
        for (uint32_t i = 0; i < r->models->n; i++) {
            const struct llm_model *m = &r->models->models[i];
            if (m->class == (enum model_class)c)
                buf_addf(out, " %s %g/%g", model_class_name(m->class), price_cny(m->price.input),
                         price_cny(m->price.output));
        }
    buf_addc(out, '\n');
}

static void add_answers(const struct cost_report *r, const struct figures *f, struct buf *out)
{
    if (r->answers == ANSWERS_CALLED)
        buf_addz(out, "answers: the models were asked; tokens as their provider counts them");
    else if (r->answers == ANSWERS_FIXED)
        buf_addf(out, "answers: no model was asked; assumed: %u tokens each, within the output budget",
                 r->answer_tokens);
    else
        buf_addz(
            out,
            "answers: no model was asked; assumed: as long as the extract that stands in for one, within the "
            "output budget");
    const struct cost_spread *a = &f[ROW_BALANCED].answer;
    buf_addf(out, ";\n  mean %.0f, half of them up to %.0f, 95 %% up to %.0f tokens (balanced)\n", a->mean,
             a->p50, a->p95);
}

static void add_table(const struct figures *f, struct buf *out)
{
    buf_addf(out, "\n%-12s %9s %8s %10s %15s   %-22s %-22s %s\n", "", "CNY/1,000", "share", "each once",
             "5 to 95 %", "prompt mean, p50, p95", "answer mean, p50, p95",
             "small, medium, large, one class down");
    for (int i = 0; i < COST_ROWS; i++) {
        const struct figures *x = &f[i];
        buf_addf(out,
                 "%-12s %9.4f %6.1f %% %8.1f %% %6.1f to %4.1f %%   %6.0f %6.0f %6.0f   %6.0f %6.0f %6.0f   ",
                 cost_row_names[i], x->cny, 100 * x->share, 100 * x->share_each_once, 100 * x->share_low,
                 100 * x->share_high, x->prompt.mean, x->prompt.p50, x->prompt.p95, x->answer.mean,
                 x->answer.p50, x->answer.p95);
        for (int c = 0; c < CLASSES; c++)
            buf_addf(out, "%5.1f ", 100 * x->classes[c]);
        buf_addf(out, "%5.1f %%\n", 100 * x->one_down);
    }
    buf_addf(
        out,
        "baseline: every question to large, the best %d chunks in full, no cache. share: of its cost; each once: when every "
        "question is\nasked equally often; 5 to 95 %%: for %d other shuffles\n",
        COST_BASELINE_CHUNKS, SHUFFLES);
}

static void add_trouble(const struct figures *f, struct buf *out)
{
    for (int i = 0; i < COST_ROWS; i++)
        if (f[i].n_degraded || f[i].n_fallback || f[i].n_unasked)
            buf_addf(
                out,
                "%s: %u answered by another model than planned, %u by none (these cost too little), %u without a "
                "prompt\n",
                cost_row_names[i], f[i].n_fallback, f[i].n_degraded, f[i].n_unasked);
}

static const char *verdict(double got, double limit, bool strictly)
{
    return (strictly ? got < limit : got <= limit) ? "kept" : "NOT kept";
}

static void add_promises(const struct figures *f, struct buf *out)
{
    buf_addz(out, "\npromised with full contexts:\n");
    for (int i = 0; i < COST_ROWS; i++)
        if (promises[i].share > 0)
            buf_addf(out, "  %-10s at most %.0f %% of the baseline: %.1f %%, %s\n", cost_row_names[i],
                     100 * promises[i].share, 100 * f[i].share,
                     verdict(f[i].share, promises[i].share, false));
    buf_addf(
        out,
        "promised with prompts of about %d tokens (the same classes and answers, prices of %d prompt tokens):\n",
        COST_SHORT_PROMPT, COST_SHORT_PROMPT);
    for (int i = 0; i < COST_ROWS; i++)
        if (promises[i].short_cny > 0)
            buf_addf(
                out,
                "  %-10s below ¥%.2f: ¥%.4f, %s; a cache that answers %.0f %% of the questions gets there (full contexts: "
                "%.0f %%)\n  %-10s the shortest real prompts: mean %.0f tokens, %.0f of them rules: ¥%.4f\n",
                cost_row_names[i], promises[i].short_cny, f[i].short_cny,
                verdict(f[i].short_cny, promises[i].short_cny, true), 100 * f[i].short_hit_rate,
                100 * f[i].hit_rate, "", f[i].shortest.mean, f[i].rules.mean, f[i].shortest_cny);
}

static void add_text(const struct cost_report *r, const struct figures *f, struct buf *out)
{
    buf_addf(
        out,
        "%u questions of %s, asked as often as Zipf's law says (s = %.1f over %d, fixed shuffle); no cache\n",
        r->n, r->file, zipf_s, (int)(r->n > COST_MIX ? r->n : COST_MIX));
    add_prices(r, out);
    add_answers(r, f, out);
    add_table(f, out);
    add_trouble(f, out);
    if (r->promised)
        add_promises(f, out);
    else
        buf_addz(
            out,
            "\nWhat is promised holds at other prices (large 1.4/2.8, medium 0.7/1.4, small 0.2/0.4).\n");
}

/* ---- JSON ------------------------------------------------------------------------------------------------ */

static void real(struct buf *out, const char *key, double v)
{
    json_add_key(out, key);
    json_add_fixed(out, v, 6);
}

static void whole(struct buf *out, const char *key, uint64_t v)
{
    json_add_key(out, key);
    json_add_u64(out, v);
}

static void spread(struct buf *out, const char *key, const struct cost_spread *s)
{
    json_add_key(out, key);
    json_add_open(out, '{');
    real(out, "mean", s->mean);
    real(out, "p50", s->p50);
    real(out, "p95", s->p95);
    json_add_close(out, '}');
}

static void truth(struct buf *out, const char *key, bool v)
{
    json_add_key(out, key);
    json_add_bool(out, v);
}

static void json_promise(struct buf *out, const struct promise *p, const struct figures *f)
{
    json_add_key(out, "promised");
    json_add_open(out, '{');
    real(out, "share", p->share);
    truth(out, "share_kept", f->share <= p->share);
    real(out, "at_200_tokens_cny_per_1000", p->short_cny);
    truth(out, "at_200_tokens_kept", f->short_cny < p->short_cny);
    real(out, "cache_hit_rate_needed", f->hit_rate);
    real(out, "at_200_tokens_cache_hit_rate_needed", f->short_hit_rate);
    json_add_close(out, '}');
}

static void json_row(const struct cost_report *r, int row, const struct figures *f, struct buf *out)
{
    json_add_open(out, '{');
    json_add_key(out, "name");
    json_add_string(out, str_of(cost_row_names[row]));
    real(out, "cny_per_1000", f->cny);
    real(out, "each_once_cny_per_1000", f->each_once);
    real(out, "share", f->share);
    real(out, "share_each_once", f->share_each_once);
    real(out, "share_p5", f->share_low);
    real(out, "share_p95", f->share_high);
    spread(out, "prompt_tokens", &f->prompt);
    real(out, "rules_tokens", f->rules.mean);
    spread(out, "answer_tokens", &f->answer);
    json_add_key(out, "classes");
    json_add_open(out, '{');
    for (int c = 0; c < CLASSES; c++)
        real(out, model_class_name((enum model_class)c), f->classes[c]);
    json_add_close(out, '}');
    real(out, "one_class_down", f->one_down);
    spread(out, "shortest_prompt_tokens", &f->shortest);
    real(out, "shortest_prompt_cny_per_1000", f->shortest_cny);
    real(out, "at_200_tokens_cny_per_1000", f->short_cny);
    whole(out, "fallback", f->n_fallback);
    whole(out, "degraded", f->n_degraded);
    whole(out, "without_prompt", f->n_unasked);
    if (r->promised && promises[row].share > 0)
        json_promise(out, &promises[row], f);
    json_add_close(out, '}');
}

static void add_json(const struct cost_report *r, const struct figures *f, struct buf *out)
{
    static const char *const answers[] = {"extract", "fixed", "models"};
    json_add_open(out, '{');
    whole(out, "questions", r->n);
    json_add_key(out, "file");
    json_add_string(out, str_of(r->file));
    real(out, "zipf_s", zipf_s);
    json_add_key(out, "answers");
    json_add_string(out, str_of(answers[r->answers]));
    json_add_key(out, "models");
    json_add_open(out, '[');
    for (uint32_t i = 0; i < r->models->n; i++) {
        const struct llm_model *m = &r->models->models[i];
        json_add_open(out, '{');
        json_add_key(out, "name");
        json_add_string(out, str_of(m->name));
        json_add_key(out, "class");
        json_add_string(out, str_of(model_class_name(m->class)));
        real(out, "input", price_cny(m->price.input));
        real(out, "output", price_cny(m->price.output));
        json_add_close(out, '}');
    }
    json_add_close(out, ']');
    json_add_key(out, "rows");
    json_add_open(out, '[');
    for (int i = 0; i < COST_ROWS; i++)
        json_row(r, i, &f[i], out);
    json_add_close(out, ']');
    json_add_close(out, '}');
    buf_addc(out, '\n');
}

rag_code bench_cost_print(const struct cost_report *r, bool json, struct buf *out)
{
    struct figures f[COST_ROWS];
    size_t bytes;
    double *w = size_mul_ok(r->n, sizeof *w, &bytes) ? mem_alloc(MEM_MISC, bytes) : NULL;
    if (!w)
        return RAG_ENOMEM;
    rag_code rc = cost_zipf(zipf_s, SEED, w, r->n);
    for (int i = 0; i < COST_ROWS && !rc; i++)
        rc = count(r, (enum cost_row)i, w, &f[i]);
    if (!rc)
        rc = count_range(r, w, f);
    if (!rc && json)
        add_json(r, f, out);
    else if (!rc)
        add_text(r, f, out);
    mem_free(MEM_MISC, w);
    return rc ? rc : buf_failed(out) ? RAG_ENOMEM : RAG_OK;
}
