/* What stands in front of the extract: the few words that answer, when one of the best units holds such words and they are
 * likely enough to be right. In a table or a record that is the cell of the column that the question names; elsewhere the
 * best candidate of answer_span.h. */
#include "stages/generation/extract_int.h"
#include "text/utf8.h"

enum { LOOKED_THROUGH = 4 /* units, best first */, MAX_TERMS = 256, MAX_CELLS = 32, LONGEST_CELL = 40 /* characters */ };

/* Of 367 training questions answered by hand, 28 % have a candidate above it, and of those 84 % are right, by weights fitted
 * without the set that is judged (docs/quality.md). */
static const float SURE = 0.55F;
static const float MOST_OF_UNIT = 0.6F; /* a unit that says little else needs nothing in front */
static const float CELL_WORTH = 0.9F;   /* of the best unit's score: the row itself is what was asked for */
static const float COLUMN_NAMED = 0.01F; /* least weight of the question's terms in a column's name, by their share of it */
static const float WORDS_KNOWN = 0.80F;  /* least share of the question that the collection has: an unknown word may name a row */
static const float WORTH_A_LOOK = 0.70F; /* of the best unit's score */
static const float ROW_NAMED = 0.10F;    /* ... in a value of the row */
static const float VALUE_NAMED = 0.05F;  /* ... in a value that says which row it is: more than a stop word */
static const float MOST_OF_VALUE = 0.5F; /* ... of its bytes, where it holds a digit: 12期, not "¥80,000 in the card year" */
static const float ANSWERED = 0.50F;     /* least probability times that of the documents answering at all */

/* Terms of the question in a text, in order. */
static rag_code terms_in(const struct extract *x, struct str s, struct span_term *out, uint32_t *n_out)
{
    struct term_list l;
    *n_out = 0;
    term_list_init(&l);
    rag_code rc = analyzer_run(x->an, s, ANALYZE_DOCUMENT, &l);
    for (uint32_t i = 0; !rc && i < l.n && *n_out < MAX_TERMS; i++) {
        uint32_t k = 0;
        while (k < x->n_terms && !str_eq(x->terms[k].text, term_text(&l, i)))
            k++;
        if (k < x->n_terms)
            out[(*n_out)++] = (struct span_term){
                .start = l.items[i].start, .end = l.items[i].end, .term = (uint8_t)k, .weight = x->terms[k].weight};
    }
    term_list_clear(&l);
    return rc;
}

rag_code extract_unit_spans(const struct extract *x, const struct unit *u, float worth, const struct span_question *q,
                            struct span_candidate *out, uint32_t *n_out)
{
    struct span_term terms[MAX_TERMS];
    uint32_t n;
    rag_code rc = terms_in(x, unit_text(x, u), terms, &n);
    return rc ? rc : span_candidates(q, unit_text(x, u), worth, terms, n, x->arena, out, n_out);
}

uint32_t extract_best_units(const struct extract *x, uint32_t *out, uint32_t most)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < x->n_units; i++) {
        const struct unit *u = &x->units[i];
        if (!(u->score > 0) || u->question || u->other_subject)
            continue;
        uint32_t at = n < most ? n++ : most;
        for (; at > 0 && x->units[out[at - 1]].score < u->score; at--)
            if (at < most)
                out[at] = out[at - 1];
        if (at < most)
            out[at] = i;
    }
    return n;
}

static bool has_digit(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] >= '0' && s.ptr[i] <= '9')
            return true;
    return false;
}

/* Short, no sentence, and with a digit where an amount or a date is asked for. */
static bool will_do(enum span_kind kind, struct str value)
{
    static const struct str stop = STR_LIT("。");
    bool sentence = value.len >= stop.len && (memcmp(value.ptr + value.len - stop.len, stop.ptr, stop.len) == 0 ||
                                              value.ptr[value.len - 1] == '.');
    if (value.len == 0 || sentence || utf8_count(value) > LONGEST_CELL)
        return false;
    return has_digit(value) || kind > SPAN_TIME || kind == SPAN_NONE;
}

/* Terms of the question in a text, and the bytes that those outside `except` cover. */
static rag_code mask_in(const struct extract *x, struct str s, uint64_t except, uint64_t *mask, uint32_t *bytes)
{
    struct span_term terms[MAX_TERMS];
    uint32_t n = 0, last = 0;
    *mask = 0;
    *bytes = 0;
    rag_code rc = s.len ? terms_in(x, s, terms, &n) : RAG_OK;
    for (uint32_t i = 0; i < n; i++) {
        *mask |= (uint64_t)1 << terms[i].term;
        if (except >> terms[i].term & 1)
            continue;
        if (terms[i].end > last)
            *bytes += terms[i].end - (terms[i].start > last ? terms[i].start : last);
        last = terms[i].end > last ? terms[i].end : last;
    }
    return rc;
}

/* "per year" asked, "per day" the column. */
static bool other_period(struct str question, struct str column)
{
    static const char *const periods[][2] = {{"year", "年"}, {"month", "月"}, {"day", "天"}};
    bool asked = false, same = false, named = false;
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 2; k++) {
            const char *w = periods[i][k];
            bool in_column = memmem(column.ptr, column.len, w, strlen(w)) != NULL;
            bool in_question = memmem(question.ptr, question.len, w, strlen(w)) != NULL;
            asked |= in_question;
            named |= in_column;
            same |= in_column && in_question;
        }
    return asked && named && !same;
}

/* An amount or a date of the kind that is asked for; a fee may be a share. */
static rag_code is_of_kind(const struct extract *x, const struct span_question *q, struct str value, bool *is)
{
    struct span_candidate found[SPAN_CANDIDATES];
    uint32_t n = 0;
    rag_code rc = q->kind >= SPAN_NUMBER && q->kind <= SPAN_TIME
                      ? span_candidates(q, value, 1, NULL, 0, x->arena, found, &n)
                      : RAG_OK;
    *is = false;
    for (uint32_t i = 0; i < n; i++)
        *is = *is || found[i].features[SPAN_UNIT_FITS] > 0 ||
              (q->kind == SPAN_MONEY && !(found[i].features[SPAN_UNIT_DIFFERS] > 0));
    return rc;
}

/* What the cells of a row are to the question. */
struct row_reading {
    float column, row; /* most of the question's weight in a column's name, by its share of it; in a value */
    uint32_t named;    /* the cell under that column */
    bool partly;       /* ... which holds other words of the question too: not all of it answers */
    uint32_t typed, n_typed; /* a cell of the kind asked for, and how many there are */
};

/* Does the cell say which row it is? Then *value has its words of the question, which with those of its column's name name
 * no other column: in "Cover: Travel accident; Travel: none" the question's "travel" is used up. *partly: it holds some. */
static rag_code names_row(const struct extract *x, const struct cell *c, uint64_t *value, bool *partly, uint64_t *named,
                          float *most)
{
    uint32_t bytes, ignored;
    uint64_t key = 0;
    rag_code rc = mask_in(x, c->value, 0, value, &bytes);
    float weight = mask_weight(x, *value);
    *most = weight > *most ? weight : *most;
    *partly = weight >= VALUE_NAMED;
    if (!*partly || (has_digit(c->value) && (float)bytes < MOST_OF_VALUE * (float)c->value.len))
        *value = 0;
    else if (!rc)
        rc = mask_in(x, c->key, 0, &key, &ignored);
    *named |= *value | key;
    return rc;
}

static rag_code read_row(const struct extract *x, const struct span_question *q, const struct cell *cells, uint32_t n,
                         struct row_reading *r)
{
    uint64_t values[MAX_CELLS], named = 0;
    bool partly[MAX_CELLS];
    rag_code rc = RAG_OK;
    *r = (struct row_reading){0};
    for (uint32_t i = 0; i < n && !rc; i++)
        rc = names_row(x, &cells[i], &values[i], &partly[i], &named, &r->row);
    for (uint32_t i = 0; i < n && !rc; i++) {
        uint64_t key;
        uint32_t bytes;
        bool typed = false;
        if (values[i])
            continue;
        rc = mask_in(x, cells[i].key, named, &key, &bytes);
        if (!rc && !partly[i])
            rc = is_of_kind(x, q, cells[i].value, &typed);
        float weight = mask_weight(x, key & ~named) * (cells[i].key.len ? (float)bytes / (float)cells[i].key.len : 0);
        if (weight > r->column) {
            r->column = weight;
            r->named = i;
            r->partly = partly[i];
        }
        r->typed = typed ? i : r->typed;
        r->n_typed += typed;
    }
    return rc;
}

/* In a row that the question names: the value under the column that it names too, else the only one of the kind that it
 * asks for. *column: the value under the column that the question names, whether it will do or not; else empty. */
static rag_code asked_cell(const struct extract *x, const struct unit *u, const struct span_question *q, struct str *out,
                           struct str *column)
{
    struct cell cells[MAX_CELLS];
    struct row_reading r;
    rag_code rc = read_row(x, q, cells, extract_row_cells(x, u, cells, MAX_CELLS), &r);
    bool known = x->h->known_mass >= WORDS_KNOWN * x->h->idf_mass;
    bool has_column = !rc && r.column >= COLUMN_NAMED;
    if (has_column)
        *column = cells[r.named].value;
    if (rc || !known || r.row < ROW_NAMED || (has_column ? r.partly : r.n_typed != 1))
        return rc;
    const struct cell *c = &cells[has_column ? r.named : r.typed];
    if (will_do(q->kind, c->value) && !(has_column && other_period(x->q->text, c->key)))
        *out = c->value;
    return RAG_OK;
}

static bool is_inside(struct str part, struct str s)
{
    return part.ptr >= s.ptr && part.ptr + part.len <= s.ptr + s.len;
}

/* Does what is written of the unit hold these words: a record shows only some of its fields. */
static bool is_shown(const struct extract *x, const struct unit *u, struct str words)
{
    if (u->kind != UNIT_RECORD)
        return true;
    const struct extract_chunk *c = &x->chunks[u->chunk];
    uint64_t fields = extract_fields(x, c);
    for (uint32_t i = 0; i < c->n_units && i < 64; i++) {
        struct str s = unit_text(x, &x->units[c->first_unit + i]);
        if ((fields >> i & 1) && is_inside(words, s))
            return true;
    }
    return false;
}

static void consider(struct extract *x, uint32_t unit, struct str words, float p, float *best)
{
    const struct unit *u = &x->units[unit];
    bool needed = (float)words.len < MOST_OF_UNIT * (float)(u->end - u->start);
    if (p <= *best || p * x->confidence < ANSWERED || !is_shown(x, u, words))
        return;
    *best = p;
    x->front_unit = needed ? unit : NO_UNIT;
    x->front = needed ? words : str_make(NULL, 0);
}

static rag_code look_at(struct extract *x, const struct span_question *q, uint32_t unit, float worth, float *best)
{
    const struct unit *u = &x->units[unit];
    struct span_candidate found[SPAN_CANDIDATES];
    struct str cell = {0}, column = {0}, text = unit_text(x, u);
    bool row = u->kind == UNIT_ROW || u->kind == UNIT_RECORD;
    uint32_t n = 0;
    if (worth < WORTH_A_LOOK)
        return RAG_OK;
    rag_code rc = row ? asked_cell(x, u, q, &cell, &column) : RAG_OK;
    if (!rc && cell.len && worth >= CELL_WORTH)
        consider(x, unit, cell, worth, best);
    if (!rc)
        rc = extract_unit_spans(x, u, worth, q, found, &n);
    for (uint32_t i = 0; i < n; i++) {
        struct str words = str_make(text.ptr + found[i].at.start, found[i].at.end - found[i].at.start);
        if (!column.len || is_inside(words, column))
            consider(x, unit, words, found[i].at.probability, best);
    }
    return rc;
}

/* One ask for one thing. */
static bool wants_few_words(const struct query_analysis *qa, const struct span_question *q)
{
    bool asks = q->kind != SPAN_NONE || qa->kind == QUERY_KEYWORDS;
    return asks && qa->n_asks == 1 && !qa->has_comparison && qa->kind != QUERY_UTTERANCE;
}

rag_code extract_find_front(struct extract *x)
{
    struct span_question q;
    uint32_t units[LOOKED_THROUGH];
    x->front_unit = NO_UNIT;
    rag_code rc = span_question_read(x->q->text, x->arena, &q);
    if (rc || !wants_few_words(x->qa, &q))
        return rc;
    float best = SURE;
    uint32_t n = extract_best_units(x, units, LOOKED_THROUGH);
    for (uint32_t i = 0; i < n && !rc; i++)
        rc = look_at(x, &q, units[i], x->units[units[i]].score / x->units[units[0]].score, &best);
    return rc;
}
