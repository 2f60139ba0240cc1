/* Phase two of the extract: what each unit is worth, and which are quoted.
 *
 * A unit's worth is the share of the question it covers, its own terms in full, those of its headings in part, raised by
 * the rank of its chunk, by terms that stand close together and by what the question asks for (a number, a date, a
 * reason). The choice is greedy: the next unit is the one that is worth most after what has been said is taken off. */
#include <math.h>

#include "stages/generation/extract_int.h"

/* Chosen on training questions of cmrc2018 and drcd (tools/answer_quality.py), where answers are flat around them: context
 * .35 to .75, rank .35 to .7, type .05 to .15 and closeness .08 to .15 move F1 by .01 at most. REPEAT_MALUS trades length:
 * at .3 the extract is a fifth longer, quotes the answer 2 points more often and loses .02 F1. */
static const float CONTEXT_SHARE = 0.75F; /* of a term that only the heading holds */
static const float RANK_SHARE = 0.50F;    /* of the worth that comes with the rank of the chunk */
static const float TYPE_BONUS = 0.10F;
static const float CLOSE_BONUS = 0.08F;
static const float QUESTION_MALUS = 0.35F; /* factor taken off a unit that only asks */
static const float FORBIDDEN_MALUS =
    0.5F; /* under a heading like "Never say", when the question asks what to say */
static const float OTHER_MALUS = 0.7F; /* about another thing than the one asked about; .5 and .9 change no answer of the sample */
static const float REPEAT_MALUS = 0.50F; /* of a term that has been said */
static const float TOO_ALIKE = 0.70F;    /* share of common signature bits: the same thing again */
/* Least worth of a further unit against the first, by complexity. */
static const float WORTH_SAYING[3] = {0.55F, 0.45F, 0.35F};

/* ---- what the question asks for ---- */

static bool has_any(struct str s, const char *const *words)
{
    for (; *words; words++)
        if (memmem(s.ptr, s.len, *words, strlen(*words)))
            return true;
    return false;
}

static bool has_digit(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] >= '0' && s.ptr[i] <= '9')
            return true;
    return false;
}

/* A capital inside the sentence: a name, in English text. Always so in text without capitals. */
static bool has_name(struct str s)
{
    bool latin = false;
    for (size_t i = 1; i < s.len; i++) {
        latin = latin || (s.ptr[i] >= 'a' && s.ptr[i] <= 'z');
        if (s.ptr[i] >= 'A' && s.ptr[i] <= 'Z' && s.ptr[i - 1] == ' ')
            return true;
    }
    return !latin;
}

bool extract_answers_type(enum answer_type t, const struct unit *u, struct str s)
{
    static const char *const number_zh[] = {
        "百",   "千",     "万",      "两",       "三",      "四",      "五",   "六",     "七",    "八",
        "九",   "十",     "一个",    "一次",     "免费",    "one ",    "two ", "three ", "four ", "five ",
        "six ", "seven ", "hundred", "thousand", "million", "billion", "free", NULL};
    static const char *const time[] = {
        "年",      "月",     "日",        "天",       "周",       "小时",     "分钟", "期间",
        "时候",    "世纪",   "day",       "week",     "month",    "year",     "hour", "minute",
        "century", "Monday", "January",   "February", "March",    "April",    "May ", "June",
        "July",    "August", "September", "October",  "November", "December", NULL};
    static const char *const reason[] = {"因为",    "由于",        "所以",    "因此",    "原因",   "为了",
                                         "導致",    "导致",        "because", "Because", "due to", "since ",
                                         "so that", "in order to", "reason",  "caus",    NULL};
    static const char *const procedure[] = {"先",    "再",    "然后",  "步",     "打开",   "点击",  "选择",
                                            "进入",  "致电",  "提交",  "登录",   "first",  "First", "then",
                                            "Then",  "open ", "Open ", "choose", "select", "call ", "submit",
                                            "click", "Go to", "step",  NULL};
    static const char *const yes_no[] = {"可以", "不",   "能",   "无需", "免", "没有", "必须",
                                         "需要", "只",   "can",  "not",  "No", "Yes",  "no ",
                                         "must", "only", "free", "may ", NULL};
    static const char *const place[] = {"省", "市", "县", "区", "国",   "州", "镇",
                                        "村", "山", "河", "路", "位于", "在", NULL};
    switch (t) {
    case ANSWER_NUMBER: return has_digit(s) || has_any(s, number_zh);
    case ANSWER_TIME: return has_digit(s) || has_any(s, time);
    case ANSWER_PERSON: return has_name(s);
    case ANSWER_PLACE: return has_any(s, place) || has_name(s);
    case ANSWER_PROCEDURE: return u->kind == UNIT_ITEM || has_any(s, procedure);
    case ANSWER_REASON: return has_any(s, reason);
    case ANSWER_YES_NO: return has_any(s, yes_no);
    case ANSWER_LIST:
        return u->kind != UNIT_SENTENCE || memmem(s.ptr, s.len, "、", 3) || memmem(s.ptr, s.len, ", ", 2);
    case ANSWER_ANY: break;
    }
    return false;
}

/* ---- worth ---- */

static float covered(const struct extract *x, const struct unit *u)
{
    return mask_weight(x, u->own) + CONTEXT_SHARE * mask_weight(x, u->context & ~u->own);
}

/* A list of what not to say or do holds a customer's words, and is not how to answer them. */
static bool forbids(const struct extract_chunk *c)
{
    static const char *const starts[] = {"不要",  "不得",   "不能",  "禁",    "避免",   "切忌", "Never",
                                         "never", "Do not", "Don't", "Avoid", "Not to", NULL};
    struct str last = c->view.title;
    for (struct str path = c->view.heading_path; path.len;)
        last = path_next(&path);
    for (const char *const *s = starts; *s; s++)
        if (last.len >= strlen(*s) && memcmp(last.ptr, *s, strlen(*s)) == 0)
            return true;
    return false;
}

static float worth(const struct extract *x, const struct unit *u)
{
    const struct extract_chunk *c = &x->chunks[u->chunk];
    struct str s = unit_text(x, u);
    if (u->kind == UNIT_HEADING || u->kind == UNIT_FIELD || c->witness)
        return 0;
    float own = mask_weight(x, u->own), w = covered(x, u);
    w *= 1 - RANK_SHARE + RANK_SHARE * c->rank;
    if (u->own && u->last_at > u->first_at)
        w += CLOSE_BONUS * own * (float)u->matched / (float)(u->last_at - u->first_at);
    if (extract_answers_type(x->qa->answer_type, u, s))
        w += TYPE_BONUS;
    if (u->other_subject)
        w *= 1 - OTHER_MALUS;
    if (u->question)
        w *= 1 - QUESTION_MALUS;
    if ((x->qa->kind == QUERY_UTTERANCE || x->qa->answer_type == ANSWER_PROCEDURE) && forbids(c))
        w *= 1 - FORBIDDEN_MALUS;
    if (s.len < 12 && !has_digit(s)) /* a label, a lone word */
        w *= 0.6F;
    return w;
}

static float alike(const struct unit *a, const struct unit *b)
{
    int common = 0, na = 0, nb = 0;
    for (int i = 0; i < SIGNATURE_WORDS; i++) {
        common += __builtin_popcountll(a->signature[i] & b->signature[i]);
        na += __builtin_popcountll(a->signature[i]);
        nb += __builtin_popcountll(b->signature[i]);
    }
    int less = na < nb ? na : nb;
    return less ? (float)common / (float)less : 1;
}

/* ---- the choice ---- */

static bool same_doc(const struct extract *x, const struct unit *a, const struct unit *b)
{
    const struct chunk_view *v = &x->chunks[a->chunk].view, *w = &x->chunks[b->chunk].view;
    return v->seq == w->seq && str_eq(v->document_id, w->document_id);
}

static float gain(const struct extract *x, const struct unit *u, uint64_t said)
{
    return u->score - REPEAT_MALUS * mask_weight(x, u->own & said) -
           REPEAT_MALUS * CONTEXT_SHARE * mask_weight(x, u->context & ~u->own & said) * 0.5F;
}

static uint64_t keys_of(const struct extract *x, uint64_t mask)
{
    uint64_t keys = 0;
    for (; mask; mask &= mask - 1)
        if (x->terms[__builtin_ctzll(mask)].key)
            keys |= mask & (~mask + 1);
    return keys;
}

/* Does the unit, or what it stands under, hold a word of the question that carries meaning, or go on with what was said? */
static bool is_relevant(const struct extract *x, const struct unit *u)
{
    bool relevant = !x->has_keys || x->n_chosen == 0 || keys_of(x, u->own | u->context);
    for (uint32_t i = 0; i < x->n_chosen && !relevant; i++)
        relevant = x->units[x->chosen[i]].chunk == u->chunk;
    return relevant;
}

/* Another row of a table of which one has been said that the question names better: not the row that was asked for. */
static bool is_other_row(const struct extract *x, const struct unit *u)
{
    bool row = (u->kind == UNIT_ROW || u->kind == UNIT_RECORD) && !x->qa->has_comparison && x->qa->n_asks == 1;
    uint64_t keys = row ? keys_of(x, u->own) : 0;
    for (uint32_t i = 0; row && i < x->n_chosen; i++) {
        const struct unit *v = &x->units[x->chosen[i]];
        uint64_t said = keys_of(x, v->own);
        if (v->kind == u->kind && same_doc(x, u, v) && (said & keys) == keys && said != keys)
            return true;
    }
    return false;
}

static bool repeats(const struct extract *x, const struct unit *u)
{
    for (uint32_t i = 0; i < x->n_chosen; i++) {
        const struct unit *v = &x->units[x->chosen[i]];
        float limit =
            u->kind == v->kind && u->kind != UNIT_SENTENCE && u->chunk == v->chunk ? 1.01F : TOO_ALIKE;
        if (v == u || alike(u, v) >= limit)
            return true;
    }
    return false;
}

/* The unit of most gain that is not yet chosen; must_have: only units with one of these terms. */
static uint32_t next_unit(const struct extract *x, uint64_t said, uint64_t must_have, float *gained)
{
    uint32_t best = NO_UNIT;
    float most = 0;
    for (uint32_t i = 0; i < x->n_units; i++) {
        const struct unit *u = &x->units[i];
        if (!(u->score > 0) || (must_have && !(u->whole & must_have)))
            continue;
        float g = gain(x, u, must_have ? 0 : said);
        if (g > most && is_relevant(x, u) && !repeats(x, u) && !is_other_row(x, u)) {
            most = g;
            best = i;
        }
    }
    *gained = most;
    return best;
}

/* The sentence that answers a question quoted from the documents is the one after it. */
static void answer_follows(struct extract *x)
{
    for (uint32_t i = 0; i + 1 < x->n_units; i++) {
        struct unit *u = &x->units[i], *v = u + 1;
        if (u->question && v->chunk == u->chunk && !v->question && v->score > 0 &&
            v->score < 0.95F * u->score / (1 - QUESTION_MALUS))
            v->score = 0.95F * u->score / (1 - QUESTION_MALUS);
    }
}

static void choose(struct extract *x, uint32_t most, enum complexity c)
{
    uint64_t said = 0, named = 0;
    float first = 0, g = 0;
    while (x->n_chosen < most) {
        uint32_t u = next_unit(x, said, 0, &g);
        if (u == NO_UNIT || (x->n_chosen && g < WORTH_SAYING[c] * first))
            break;
        first = x->n_chosen ? first : x->units[u].score;
        said |= x->units[u].own | x->units[u].context;
        named |= x->units[u].whole;
        x->chosen[x->n_chosen++] = u;
    }
    /* What a complex question names must be represented: a place is kept by giving up the last unit chosen. */
    for (uint32_t t = 0; c == COMPLEXITY_COMPLEX && t < x->n_terms && x->n_chosen; t++) {
        uint64_t bit = (uint64_t)1 << t;
        if (!x->terms[t].key || (named & bit))
            continue;
        uint32_t u = next_unit(x, 0, bit, &g);
        if (u == NO_UNIT || g < 0.4F * first)
            continue;
        named |= x->units[u].whole;
        x->chosen[x->n_chosen < most ? x->n_chosen++ : x->n_chosen - 1] = u;
    }
}

/* ---- the order: the front's unit, then documents by their best unit, inside them as they are written ---- */

static bool is_front(const struct extract *x, const struct unit *u)
{
    return x->front_unit != NO_UNIT && u == &x->units[x->front_unit];
}

static float doc_score(const struct extract *x, const struct unit *u)
{
    if (x->front_unit != NO_UNIT && same_doc(x, u, &x->units[x->front_unit]))
        return INFINITY;
    float best = u->score;
    for (uint32_t i = 0; i < x->n_chosen; i++) {
        const struct unit *v = &x->units[x->chosen[i]];
        if (same_doc(x, u, v) && v->score > best)
            best = v->score;
    }
    return best;
}

static bool before(const struct extract *x, const struct unit *a, const struct unit *b)
{
    if (!same_doc(x, a, b)) {
        float da = doc_score(x, a), db = doc_score(x, b);
        return da > db || (!(da < db) && a->chunk < b->chunk);
    }
    if (is_front(x, a) || is_front(x, b))
        return is_front(x, a);
    uint32_t oa = x->chunks[a->chunk].view.ordinal, ob = x->chunks[b->chunk].view.ordinal;
    return oa != ob ? oa < ob : a->start < b->start;
}

/* The unit that the front comes from is said in any case. */
static void have_front(struct extract *x, uint32_t most)
{
    for (uint32_t i = 0; i < x->n_chosen; i++)
        if (x->chosen[i] == x->front_unit)
            return;
    x->chosen[x->n_chosen < most ? x->n_chosen++ : x->n_chosen - 1] = x->front_unit;
}

static void put_in_order(struct extract *x)
{
    for (uint32_t i = 1; i < x->n_chosen; i++) {
        uint32_t u = x->chosen[i], j = i;
        for (; j > 0 && before(x, &x->units[u], &x->units[x->chosen[j - 1]]); j--)
            x->chosen[j] = x->chosen[j - 1];
        x->chosen[j] = u;
    }
}

rag_code extract_select(struct extract *x, uint32_t most)
{
    x->front_unit = NO_UNIT;
    x->chosen = arena_array(x->arena, most ? most : 1, sizeof *x->chosen);
    if (!x->chosen)
        return RAG_ENOMEM;
    for (uint32_t i = 0; i < x->n_units; i++)
        x->units[i].score = worth(x, &x->units[i]);
    answer_follows(x);
    choose(x, most, x->qa->complexity < COMPLEXITY_UNKNOWN ? x->qa->complexity : COMPLEXITY_MEDIUM);
    rag_code rc = x->n_chosen ? extract_find_front(x) : RAG_OK;
    if (rc)
        return rc;
    if (x->front_unit != NO_UNIT)
        have_front(x, most);
    put_in_order(x);
    return RAG_OK;
}
