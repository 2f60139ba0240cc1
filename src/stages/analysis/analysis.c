/* The verdict on a question, from cues (cues.c) found in its normalised text.
 *
 *   1. find cues; where one contains another, only the longer counts ("手续费" hides "手续", "how much" hides "how")
 *   2. cut the text into clauses, count those that ask
 *   3. complex: a comparison, several asks, a sum over several things, several conditions
 *      medium:  one ask for a procedure, reason, explanation, list or rule, one condition; an objection; a long text
 *      simple:  the rest
 *
 * Substring search in Chinese, whole words elsewhere. A filter of the text's byte triples skips nearly all cues, so the
 * cost is one pass over the text and one over the table: about 10 us. */
#include "stages/analysis/analysis.h"

#include "stages/analysis/cues.h"
#include "text/normalize.h"
#include "text/utf8.h"

enum {
    LOOKED_AT = 2048, /* bytes of a longer question that cues are looked for in */
    MAX_FOUND = 160,
    MAX_CLAUSES = 64,
    FILTER_BITS = 8192,
    LONG_CJK = 60, /* characters: a text of this length wants more than one fact */
    LONG_WORDS = 28,
    SHORT_CJK = 10, /* without any cue: keywords */
    SHORT_WORDS = 5,
    AGAIN = 18, /* bytes of a clause that only asks again for what was asked before it */
};

struct found {
    uint32_t start, end, sense;
};
struct clause {
    uint32_t start, end, sense;
    bool digits, asks;
};
struct reading {
    char text[LOOKED_AT + 1]; /* normalised; white space is single spaces, curly apostrophes straight */
    uint32_t len;
    struct found found[MAX_FOUND];
    uint32_t n_found;
    struct clause clauses[MAX_CLAUSES];
    uint32_t n_clauses;
    uint32_t sense; /* of all cues that count */
    uint32_t cjk, words, kana, other;
    bool question_mark;
};

/* ---- the text ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool in_word(const struct reading *r, size_t i)
{
    return i < r->len && (is_letter(r->text[i]) || is_digit(r->text[i]) || (unsigned char)r->text[i] == 0xC3);
}

static void flatten(struct reading *r, struct str s)
{
    bool space = true;
    for (size_t i = 0; i < s.len;) {
        size_t at = i;
        uint32_t cp = utf8_next(s, &i);
        if (r->len + (i - at) > LOOKED_AT)
            break;
        if (cp == ' ' || cp == '\t' || cp == '\n' || cp == '\r' || cp == 0x3000) {
            if (!space)
                r->text[r->len++] = cp == '\n' ? ';' : ' ';
            space = true;
            continue;
        }
        space = false;
        if (cp == 0x2019 || cp == 0x2018) {
            r->text[r->len++] = '\'';
        } else {
            memcpy(r->text + r->len, s.ptr + at, i - at);
            r->len += (uint32_t)(i - at);
        }
        if (cp == '?')
            r->question_mark = true;
        if (cp >= 0x3040 && cp < 0x3100)
            r->kana++;
        else if (utf8_is_cjk(cp))
            r->cjk++;
        else if (cp >= 0x250 && cp < 0x2000)
            r->other++;
    }
    while (r->len && r->text[r->len - 1] == ' ')
        r->len--;
    for (uint32_t i = 0; i < r->len; i++) {
        bool begins = in_word(r, i) && (i == 0 || (!in_word(r, i - 1) && r->text[i - 1] != '\''));
        if (!begins)
            continue;
        uint32_t letters = 0, n = 0;
        for (; in_word(r, i + n); n++)
            letters += !is_digit(r->text[i + n]);
        r->words += letters == n;
    }
}

/* Latin words of one language inside the other; short ones (ATM, app) are at home in both. */
static enum language language_of(const struct reading *r)
{
    if (r->kana > r->cjk || r->other > r->cjk + r->words)
        return LANGUAGE_OTHER;
    uint32_t long_words = 0;
    for (uint32_t i = 0, run = 0; i <= r->len; i++) {
        bool letter = i < r->len && is_letter(r->text[i]);
        long_words += !letter && run >= 4;
        run = letter ? run + 1 : 0;
    }
    if (r->cjk && long_words)
        return LANGUAGE_MIXED;
    return r->cjk ? LANGUAGE_ZH : r->words ? LANGUAGE_EN : LANGUAGE_OTHER;
}

/* ---- cues ---- */

static uint32_t triple(const char *p)
{
    return ((unsigned char)p[0] * 961U + (unsigned char)p[1] * 31U + (unsigned char)p[2]) % FILTER_BITS;
}

static void keep(struct reading *r, uint32_t start, uint32_t end, uint32_t sense)
{
    if (r->n_found < MAX_FOUND)
        r->found[r->n_found++] = (struct found){start, end, sense};
}

static void find_one(struct reading *r, const struct cue *c)
{
    bool latin = is_letter(c->text.ptr[0]);
    for (const char *p = r->text, *end = r->text + r->len;
         (p = memmem(p, (size_t)(end - p), c->text.ptr, c->text.len)) != NULL; p += c->text.len) {
        uint32_t at = (uint32_t)(p - r->text);
        if (latin &&
            ((at && (in_word(r, at - 1) || r->text[at - 1] == '\'')) || in_word(r, at + c->text.len)))
            continue;
        keep(r, at, at + (uint32_t)c->text.len, c->sense);
    }
}

static void find_cues(struct reading *r)
{
    uint64_t filter[FILTER_BITS / 64] = {0};
    for (uint32_t i = 0; i + 3 <= r->len; i++) {
        uint32_t k = triple(r->text + i);
        filter[k / 64] |= (uint64_t)1 << (k % 64);
    }
    for (uint32_t i = 0; i < n_cues; i++) {
        uint32_t k = cues[i].text.len >= 3 ? triple(cues[i].text.ptr) : 0;
        if (cues[i].text.len < 3 || (filter[k / 64] >> (k % 64) & 1))
            find_one(r, &cues[i]);
    }
    for (uint32_t i = 0; i < r->n_found; i++) {
        struct found *a = &r->found[i];
        for (uint32_t j = 0; j < r->n_found && a->sense; j++) {
            const struct found *b = &r->found[j];
            if (b->start <= a->start && b->end >= a->end && b->end - b->start > a->end - a->start)
                a->sense = 0;
        }
    }
}

/* ---- clauses ---- */

static bool asks_at(const struct reading *r, uint32_t at)
{
    for (uint32_t i = 0; i < r->n_found; i++)
        if (r->found[i].start == at && (r->found[i].sense & CUE_ASK))
            return true;
    return false;
}

/* Length of a separator of clauses at i, 0 when there is none. "and", "or" and a comma part English clauses only where a
 * question begins after them. */
static uint32_t separator(const struct reading *r, uint32_t i)
{
    struct str s = str_make(r->text, r->len);
    size_t next = i;
    uint32_t cp = utf8_next(s, &next);
    uint32_t n = (uint32_t)next - i;
    if (cp == '?' || cp == '!' || cp == ';' || cp == 0x3002 ||
        (cp == '.' && (next == r->len || r->text[next] == ' ')))
        return n;
    bool cjk_side = i > 0 && (unsigned char)r->text[i - 1] >= 0x80;
    if (cp == ',') {
        if (cjk_side)
            return n;
        uint32_t after = i + n + (i + n < r->len && r->text[i + n] == ' ');
        if (after + 4 < r->len && memcmp(r->text + after, "and ", 4) == 0)
            after += 4;
        return asks_at(r, after) ? after - i : 0;
    }
    if (cp == ' ' && i + 5 < r->len && memcmp(r->text + i, " and ", 5) == 0 && asks_at(r, i + 5))
        return 5;
    return 0;
}

static void close_clause(struct reading *r, uint32_t start, uint32_t end)
{
    while (start < end && r->text[start] == ' ')
        start++;
    if (start >= end || r->n_clauses == MAX_CLAUSES)
        return;
    struct clause *c = &r->clauses[r->n_clauses++];
    *c = (struct clause){.start = start, .end = end};
    for (uint32_t i = 0; i < r->n_found; i++) {
        struct found *f = &r->found[i];
        if (f->start < start || f->end > end)
            continue;
        if ((f->sense & CUE_START) && f->start != start)
            f->sense = 0;
        c->sense |= f->sense;
    }
    for (uint32_t i = start; i < end; i++)
        c->digits = c->digits || is_digit(r->text[i]);
    c->asks = c->sense & CUE_ASK;
    r->sense |= c->sense;
}

static void cut_clauses(struct reading *r)
{
    uint32_t start = 0;
    for (uint32_t i = 0; i < r->len;) {
        uint32_t n = separator(r, i);
        if (n) {
            close_clause(r, start, i);
            start = i + n;
        }
        size_t next = i;
        if (!n)
            (void)utf8_next(str_make(r->text, r->len), &next);
        i = n ? i + n : (uint32_t)next;
    }
    close_clause(r, start, r->len);
}

/* ---- the verdict ---- */

static uint32_t count_sense(const struct reading *r, uint32_t sense)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->n_found; i++)
        n += (r->found[i].sense & sense) != 0;
    return n;
}

/* An order rather than a vote: "为什么" wants a reason whatever else is said. */
static enum answer_type answer_type_of(uint32_t sense)
{
    static const struct {
        uint32_t sense;
        enum answer_type type;
    } order[] = {
        {CUE_REASON, ANSWER_REASON}, {CUE_PERSON, ANSWER_PERSON}, {CUE_PLACE, ANSWER_PLACE},
        {CUE_TIME, ANSWER_TIME},     {CUE_NUMBER, ANSWER_NUMBER}, {CUE_PROCEDURE, ANSWER_PROCEDURE},
        {CUE_LIST, ANSWER_LIST},     {CUE_YES_NO, ANSWER_YES_NO},
    };
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (sense & order[i].sense)
            return order[i].type;
    return ANSWER_ANY;
}

/* What the clauses that ask are about; without one, the whole text. */
static uint32_t sense_of_asks(const struct reading *r)
{
    uint32_t asking = 0;
    for (uint32_t i = 0; i < r->n_clauses; i++)
        asking |= r->clauses[i].asks ? r->clauses[i].sense : 0;
    return asking ? asking : r->sense;
}

static enum query_kind kind_of(const struct reading *r)
{
    bool objects = r->sense & CUE_OBJECTION, asks = r->sense & CUE_ASK;
    bool speaks = r->sense & CUE_SPEAKER, how = r->sense & (CUE_PROCEDURE | CUE_NUMBER | CUE_LIST);
    if (r->sense & CUE_REPORT)
        return QUERY_UTTERANCE;
    if (objects && (!asks || (speaks && !how)))
        return QUERY_UTTERANCE;
    if (asks || r->question_mark)
        return QUERY_QUESTION;
    if (speaks)
        return QUERY_UTTERANCE;
    return r->cjk <= SHORT_CJK && r->words <= SHORT_WORDS ? QUERY_KEYWORDS : QUERY_QUESTION;
}

static uint32_t count_asks(const struct reading *r)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->n_clauses; i++) {
        const struct clause *c = &r->clauses[i];
        bool again = n && (c->sense & CUE_EXPLAIN) && c->end - c->start <= AGAIN; /* ", please explain" */
        n += c->asks && !again;
    }
    return n ? n : 1;
}

/* Cues, and facts given beside the ask ("月收入8000，有一张卡，能办吗"): from the second on, since one fact sets the scene. */
static uint32_t count_conditions(const struct reading *r)
{
    uint32_t given = 0;
    for (uint32_t i = 0; i < r->n_clauses; i++)
        given += !r->clauses[i].asks && r->clauses[i].digits && !(r->clauses[i].sense & CUE_CONDITION);
    return count_sense(r, CUE_CONDITION) + (given > 1 ? given : 0);
}

static bool compares(const struct reading *r)
{
    if (r->sense & CUE_COMPARE)
        return true;
    for (uint32_t i = 0; i < r->n_clauses; i++) {
        uint32_t s = r->clauses[i].sense;
        if ((s & CUE_OR) && (s & CUE_BEST))
            return true;
        if ((s & CUE_WHICH) && (s & CUE_BEST))
            return true;
    }
    /* "A还是B": an alternative that is asked for */
    return (r->sense & CUE_OR) && r->cjk && (r->question_mark || (r->sense & CUE_BEST));
}

static void judge(const struct reading *r, struct query_analysis *out)
{
    uint32_t conditions = count_conditions(r);
    out->kind = kind_of(r);
    out->n_asks = count_asks(r);
    out->answer_type = answer_type_of(sense_of_asks(r));
    if (out->kind == QUERY_UTTERANCE && out->answer_type == ANSWER_ANY)
        out->answer_type = ANSWER_PROCEDURE; /* what to say to it */
    out->has_comparison = compares(r);
    out->has_condition = conditions > 0;
    out->has_aggregation = r->sense & CUE_AGGREGATE;

    bool says = out->kind == QUERY_UTTERANCE;
    uint32_t strong = 2 * (uint32_t)out->has_comparison + (uint32_t)out->has_aggregation * 2 +
                      (out->n_asks > 1 && !says ? out->n_asks - 1 : 0) +
                      (conditions > 1 && (r->sense & CUE_ASK) ? conditions - 1 : 0);
    uint32_t weak = count_sense(r, CUE_PROCEDURE | CUE_REASON | CUE_EXPLAIN) +
                    (uint32_t)out->has_condition * 2 + (uint32_t)says * 2 +
                    (uint32_t)((r->sense & CUE_LIST) != 0) +
                    (uint32_t)(r->cjk > LONG_CJK || r->words > LONG_WORDS);
    out->complexity = strong ? COMPLEXITY_COMPLEX : weak ? COMPLEXITY_MEDIUM : COMPLEXITY_SIMPLE;
    if (strong)
        out->confidence = strong > 2 ? 0.95F : strong > 1 ? 0.85F : 0.6F;
    else if (weak)
        out->confidence = weak > 2 ? 0.9F : weak > 1 ? 0.8F : 0.65F;
    else
        out->confidence =
            out->kind == QUERY_KEYWORDS || (r->sense & (CUE_NUMBER | CUE_TIME | CUE_PERSON | CUE_PLACE))
                ? 0.9F
                : 0.7F;
}

/* Letters and digits in one name: "ds-2024-01", "v1.2.3", "p2p"; not "12km", "20th", "3600元". */
static bool is_identifier(struct str s)
{
    bool letters = false, digits = false, after_digit = false, joined = false;
    for (size_t i = 0; i < s.len; i++) {
        letters |= is_letter(s.ptr[i]);
        after_digit |= is_digit(s.ptr[i]) && letters;
        digits |= is_digit(s.ptr[i]);
        joined |= i > 0 && i + 1 < s.len && strchr("-_./#", s.ptr[i]) && s.ptr[i];
        if ((unsigned char)s.ptr[i] >= 0x80)
            return false;
    }
    return digits && letters && (after_digit || joined);
}

rag_code analysis_run(const struct analyzer *an, const struct query *q, struct query_analysis *out)
{
    struct norm_text norm;
    struct reading r;
    r.len = r.n_found = r.n_clauses = r.sense = r.cjk = r.words = r.kana = r.other = 0;
    r.question_mark = false;
    norm_text_init(&norm);
    size_t look = q->text.len > 2 * LOOKED_AT ? utf8_floor(q->text, 2 * LOOKED_AT) : q->text.len;
    rag_code rc = normalize_run(str_make(q->text.ptr, look), &norm);
    if (!rc)
        rc = analyzer_run(an, q->text, ANALYZE_QUERY, &out->terms);
    if (!rc) {
        flatten(&r, buf_str(&norm.text));
        find_cues(&r);
        cut_clauses(&r);
        out->language = language_of(&r);
        judge(&r, out);
        out->has_number = out->has_identifier = false;
        for (uint32_t i = 0; i < out->terms.n; i++) {
            struct str t = term_text(&out->terms, i);
            for (size_t k = 0; k < t.len; k++)
                out->has_number |= is_digit(t.ptr[k]);
            out->has_identifier |= out->terms.items[i].kind == TERM_WHOLE && is_identifier(t);
        }
    }
    norm_text_clear(&norm);
    return rc;
}
