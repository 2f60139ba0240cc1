/* What a unit is about, so that the answer for one thing is not given for another.
 *
 * 1. A title that names several things ("Platinum and Centurion") lends a section only the name that no other section
 *    bears: under "Centurion" nothing is about Platinum because the title says so too.
 * 2. Things of one kind stand under one another in a column: the other values of a column in which the question's own
 *    word stands are its alternatives. The nearest place that names one of them says what a unit is about: the row's own
 *    label, its words, the question or the heading lines above it, the headings, the title, the sentences before it.
 *    Where that names an alternative and not what was asked about, the unit is about something else. In a heading a
 *    short label counts only beside one of the same form ("Gold Card" beside "Platinum Card"), since it may be a common
 *    word ("Travel insurance").
 * Chunks that are not quoted are read for columns too: a label may stand beside its alternatives there only. */
#include "stages/generation/extract_int.h"
#include "text/utf8.h"

enum {
    MAX_LABELS = 64 /* bits of a mask */,
    MAX_GROUPS = 4,
    MAX_COLUMNS = 16,
    MAX_SHAPES = 32,
    MAX_CELLS = 32,
    MAX_LEADS = 64,       /* of a chunk: a dialogue shows itself before */
    ASKED_BYTES = 600,    /* of a longer question */
    NAMING_CELLS = 3,     /* of a row: a number, a class and a name */
    LABEL_CHARS = 24,
};

/* ---- 1. what a title lends ---- */

static struct str innermost(const struct extract_chunk *c)
{
    struct str last = str_make(NULL, 0);
    for (struct str path = c->view.heading_path; path.len;)
        last = path_next(&path);
    return last;
}

static bool holds(struct str s, struct str part)
{
    return part.len && part.len <= s.len && memmem(s.ptr, s.len, part.ptr, part.len) != NULL;
}

static bool same_doc(const struct extract_chunk *a, const struct extract_chunk *b)
{
    return a->view.seq == b->view.seq && str_eq(a->view.document_id, b->view.document_id);
}

/* Is `heading` the title, or on the way to the innermost one? */
static bool stands_over(const struct extract_chunk *c, struct str heading)
{
    if (str_eq(c->view.title, heading))
        return true;
    for (struct str path = c->view.heading_path; path.len;)
        if (str_eq(path_next(&path), heading))
            return true;
    return false;
}

/* Does what stands over the chunk's own heading name that one too, by a word that `other` lacks? */
static rag_code is_enumerated(const struct extract *x, const struct extract_chunk *c, struct str other, bool *is)
{
    struct str own = innermost(c), over = c->view.heading_path;
    struct term_list l;
    over.len = (size_t)(own.ptr - over.ptr);
    term_list_init(&l);
    rag_code rc = analyzer_run(x->an, own, ANALYZE_QUERY, &l);
    *is = false;
    for (uint32_t i = 0; !rc && i < l.n; i++) {
        const struct term *t = &l.items[i];
        struct str word = str_make(own.ptr + t->start, t->end - t->start);
        bool carries = (t->kind == TERM_WORD || t->kind == TERM_WHOLE) && t->weight >= 0.9F && utf8_count(word) > 1;
        *is = *is || (carries && !holds(other, word) && (holds(c->view.title, word) || holds(over, word)));
    }
    term_list_clear(&l);
    return rc;
}

rag_code extract_limit_headings(struct extract *x)
{
    for (uint32_t i = 0; i < x->n_chunks; i++) {
        struct extract_chunk *c = &x->chunks[i];
        uint64_t taken = 0;
        for (uint32_t k = 0; k < x->n_chunks; k++) {
            const struct extract_chunk *d = &x->chunks[k];
            uint64_t claimed = c->heading & ~c->innermost & d->innermost & ~taken;
            bool is = false;
            if (!claimed || !same_doc(c, d) || stands_over(c, innermost(d)))
                continue;
            rag_code rc = is_enumerated(x, c, innermost(d), &is);
            if (rc)
                return rc;
            taken |= is ? claimed : 0;
        }
        c->heading &= ~taken;
        c->heading_whole &= ~taken;
    }
    return RAG_OK;
}

/* ---- 2. alternatives: the labels ---- */

struct label {
    struct str text;
    bool any_case; /* written without a capital */
};
/* What stands before and after an asked label in a heading. */
struct shape {
    struct str before, label, after;
    uint32_t group;
};
/* A column, by where it was seen first. */
struct column {
    const struct extract_chunk *chunk;
    struct str key;
    uint32_t at;
};
struct labels {
    struct label items[MAX_LABELS];
    uint32_t n;
    uint64_t group[MAX_GROUPS]; /* labels of one kind, as bits */
    uint32_t n_groups;
    uint64_t asked;       /* those that the question names */
    const uint64_t *unit; /* those in each unit's text */
    struct column columns[MAX_COLUMNS];
    uint32_t n_columns;
    struct shape shapes[MAX_SHAPES];
    uint32_t n_shapes;
};

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static bool is_alnum(char c)
{
    return is_letter(c) || (c >= '0' && c <= '9');
}
static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Not an amount, a date or a sentence: a word or a few, of two ideographs or three letters at least. */
static bool is_label(struct str s)
{
    size_t first = 0, chars = utf8_count(s);
    uint32_t cp = s.len ? utf8_next(s, &first) : 0;
    bool latin = cp < 0x80;
    return chars >= (latin ? 3 : 2) && chars <= LABEL_CHARS && (latin ? is_letter(s.ptr[0]) : cp != 0xFFE5) &&
           !memchr(s.ptr, '\n', s.len) && !memchr(s.ptr, ':', s.len);
}

/* A cell may name several: "Young, Gold, Travel", 青春卡、金卡. */
static struct str next_name(struct str *cell)
{
    static const struct str marks[] = {STR_LIT("、"), STR_LIT("，"), STR_LIT(", "), STR_LIT("/")};
    size_t end = cell->len, skip = 0;
    for (size_t k = 0; k < sizeof marks / sizeof *marks; k++) {
        const char *at = cell->len ? memmem(cell->ptr, cell->len, marks[k].ptr, marks[k].len) : NULL;
        if (at && (size_t)(at - cell->ptr) < end) {
            end = (size_t)(at - cell->ptr);
            skip = marks[k].len;
        }
    }
    struct str name = str_trim(str_make(cell->ptr, end));
    *cell = str_make(cell->ptr + end + skip, cell->len - end - skip);
    return name;
}

static bool stands_at(struct str s, size_t i, struct str word, bool any_case)
{
    if (i + word.len > s.len)
        return false;
    for (size_t k = 0; k < word.len; k++)
        if (s.ptr[i + k] != word.ptr[k] && !(any_case && lower(s.ptr[i + k]) == lower(word.ptr[k])))
            return false;
    bool joined = (i && is_alnum(word.ptr[0]) && is_alnum(s.ptr[i - 1])) ||
                  (i + word.len < s.len && is_alnum(word.ptr[word.len - 1]) && is_alnum(s.ptr[i + word.len]));
    return !joined;
}

/* The next label from *at on, the longest where several begin; MAX_LABELS when there is none. */
static uint32_t next_label(const struct labels *l, struct str s, size_t *at, bool any_case)
{
    for (size_t i = *at; i < s.len; (void)utf8_next(s, &i)) {
        uint32_t best = MAX_LABELS;
        for (uint32_t k = 0; k < l->n; k++)
            if ((best == MAX_LABELS || l->items[k].text.len > l->items[best].text.len) &&
                stands_at(s, i, l->items[k].text, any_case || l->items[k].any_case))
                best = k;
        if (best < MAX_LABELS) {
            *at = i;
            return best;
        }
    }
    return MAX_LABELS;
}

static uint64_t labels_in(const struct labels *l, struct str s, bool any_case)
{
    uint64_t mask = 0;
    size_t at = 0;
    for (uint32_t k; (k = next_label(l, s, &at, any_case)) < MAX_LABELS; at += l->items[k].text.len)
        mask |= (uint64_t)1 << k;
    return mask;
}

static struct str question(const struct extract *x)
{
    struct str q = x->q->text;
    return q.len > ASKED_BYTES ? str_make(q.ptr, utf8_floor(q, ASKED_BYTES)) : q;
}

/* Does the question hold the label, from the start of one of its words to the end of one, and is one of them no stop word? */
static bool is_asked(const struct extract *x, struct str label)
{
    const struct term_list *l = &x->qa->terms;
    struct str q = question(x);
    for (size_t i = 0; i + label.len <= q.len; i++) {
        bool starts = false, ends = false, carries = false;
        if (!stands_at(q, i, label, true))
            continue;
        for (uint32_t k = 0; k < l->n; k++) {
            const struct term *t = &l->items[k];
            bool word = t->kind == TERM_WORD || t->kind == TERM_WHOLE || t->kind == TERM_CHAR;
            if (!word || t->start < i || t->end > i + label.len)
                continue;
            starts = starts || t->start == i;
            ends = ends || t->end == i + label.len;
            carries = carries || (t->kind != TERM_CHAR && t->weight >= 0.9F);
        }
        if (starts && ends && carries)
            return true;
    }
    return false;
}

static void add_label(struct labels *l, struct str text, uint32_t group)
{
    for (uint32_t k = 0; k < l->n; k++)
        if (str_eq(l->items[k].text, text)) {
            l->group[group] |= (uint64_t)1 << k;
            return;
        }
    if (l->n == MAX_LABELS)
        return;
    bool capital = false;
    for (size_t i = 0; i < text.len; i++)
        capital = capital || (text.ptr[i] >= 'A' && text.ptr[i] <= 'Z');
    l->items[l->n] = (struct label){.text = text, .any_case = !capital};
    l->group[group] |= (uint64_t)1 << l->n++;
}

static bool in_column(const struct column *col, const struct extract_chunk *c, const struct cell *cells, uint32_t n)
{
    return same_doc(col->chunk, c) && col->at < n && str_eq(cells[col->at].key, col->key);
}

/* "Platinum: 3 rounds of golf": what a sentence or an item begins with. */
static bool leads(const struct extract *x, const struct unit *u, struct str *label)
{
    struct str rest;
    return (u->kind == UNIT_SENTENCE || u->kind == UNIT_ITEM) && extract_pair(unit_text(x, u), label, &rest) && is_label(*label);
}

/* The cells of a row that may say which row it is; what leads a sentence is a column of its own. */
static uint32_t naming_cells(const struct extract *x, const struct unit *u, struct cell *cells)
{
    struct str label;
    if (leads(x, u, &label)) {
        cells[0] = (struct cell){.key = STR_LIT(":"), .value = label};
        return 1;
    }
    uint32_t n = u->kind == UNIT_ROW || u->kind == UNIT_RECORD ? extract_row_cells(x, u, cells, MAX_CELLS) : 0;
    return n < NAMING_CELLS ? n : NAMING_CELLS;
}

/* Speakers come again and again in one chunk, things have one line each. */
static void find_dialogues(struct extract *x)
{
    for (uint32_t i = 0; i < x->n_chunks; i++) {
        struct extract_chunk *c = &x->chunks[i];
        struct str seen[MAX_LEADS];
        uint32_t n = 0;
        for (uint32_t k = 0; k < c->n_units && n < MAX_LEADS; k++) {
            if (!leads(x, &x->units[c->first_unit + k], &seen[n]))
                continue;
            for (uint32_t before = 0; before < n; before++)
                c->dialogue = c->dialogue || str_eq(seen[before], seen[n]);
            n++;
        }
    }
}

static bool in_dialogue(const struct extract *x, const struct extract_chunk *doc)
{
    for (uint32_t i = 0; i < x->n_chunks; i++)
        if (x->chunks[i].dialogue && same_doc(&x->chunks[i], doc))
            return true;
    return false;
}

/* The group that has the label already, else a new one; MAX_GROUPS when there are too many. */
static uint32_t group_of(struct labels *l, struct str label)
{
    for (uint32_t g = 0; g < l->n_groups; g++)
        for (uint64_t m = l->group[g]; m; m &= m - 1)
            if (str_eq(l->items[__builtin_ctzll(m)].text, label))
                return g;
    return l->n_groups < MAX_GROUPS ? l->n_groups++ : MAX_GROUPS;
}

static void add_column(const struct extract *x, struct labels *l, const struct column *col, uint32_t group)
{
    struct cell cells[MAX_CELLS];
    for (uint32_t i = 0; i < x->n_units; i++) {
        const struct unit *u = &x->units[i];
        uint32_t n = naming_cells(x, u, cells);
        if (!n || !in_column(col, &x->chunks[u->chunk], cells, n))
            continue;
        for (struct str cell = cells[col->at].value; cell.len;) {
            struct str name = next_name(&cell);
            if (is_label(name))
                add_label(l, name, group);
        }
    }
}

/* Columns in which a label stands that the question names, with all that stands in them. */
static void gather_labels(const struct extract *x, struct labels *l)
{
    struct cell cells[MAX_CELLS];
    for (uint32_t i = 0; i < x->n_units; i++) {
        const struct extract_chunk *c = &x->chunks[x->units[i].chunk];
        uint32_t n = naming_cells(x, &x->units[i], cells);
        for (uint32_t at = 0; at < n; at++) {
            bool known = l->n_columns == MAX_COLUMNS;
            for (uint32_t k = 0; k < l->n_columns && !known; k++)
                known = l->columns[k].at == at && in_column(&l->columns[k], c, cells, n);
            for (struct str cell = cells[at].value; cell.len && !known;) {
                struct str name = next_name(&cell);
                if (!is_label(name) || !is_asked(x, name))
                    continue;
                if (str_eqz(cells[at].key, ":") && in_dialogue(x, c))
                    break;
                uint32_t group = group_of(l, name);
                known = true;
                l->columns[l->n_columns++] = (struct column){c, cells[at].key, at};
                if (group < MAX_GROUPS)
                    add_column(x, l, &l->columns[l->n_columns - 1], group);
            }
        }
    }
    uint64_t named = labels_in(l, question(x), true);
    for (uint32_t k = 0; k < l->n; k++)
        if ((named >> k & 1) && is_asked(x, l->items[k].text))
            l->asked |= (uint64_t)1 << k;
}

/* ---- 2. alternatives: what a unit is about ---- */

/* The form of a heading around its first label of the group. */
static bool shape_of(const struct labels *l, struct str heading, uint32_t group, struct shape *out)
{
    size_t at = 0;
    for (uint32_t k; (k = next_label(l, heading, &at, false)) < MAX_LABELS; at += l->items[k].text.len)
        if (l->group[group] >> k & 1) {
            size_t end = at + l->items[k].text.len;
            *out = (struct shape){.before = str_make(heading.ptr, at),
                                  .label = l->items[k].text,
                                  .after = str_make(heading.ptr + end, heading.len - end),
                                  .group = group};
            return true;
        }
    return false;
}

static void add_shapes(struct labels *l, struct str heading, uint64_t named)
{
    uint64_t asked = named & l->asked;
    for (uint32_t g = 0; asked && g < l->n_groups; g++)
        if (l->n_shapes < MAX_SHAPES && (l->group[g] & asked) && shape_of(l, heading, g, &l->shapes[l->n_shapes]))
            l->n_shapes++;
}

static void gather_shapes(const struct extract *x, struct labels *l)
{
    for (uint32_t i = 0; i < x->n_chunks; i++) {
        add_shapes(l, x->chunks[i].view.title, labels_in(l, x->chunks[i].view.title, false));
        for (struct str path = x->chunks[i].view.heading_path; path.len;) {
            struct str heading = path_next(&path);
            add_shapes(l, heading, labels_in(l, heading, false));
        }
    }
    for (uint32_t i = 0; i < x->n_units; i++)
        if (x->units[i].kind == UNIT_HEADING)
            add_shapes(l, unit_text(x, &x->units[i]), l->unit[i]);
}

enum about { ABOUT_UNSAID, ABOUT_ASKED, ABOUT_OTHER };

static enum about by_mask(const struct labels *l, uint64_t mask, uint32_t group)
{
    mask &= l->group[group];
    return mask & l->asked ? ABOUT_ASKED : mask ? ABOUT_OTHER : ABOUT_UNSAID;
}

static size_t first_not_letter(struct str s)
{
    size_t i = 0;
    while (i < s.len && is_letter(s.ptr[i]))
        i++;
    return i;
}

/* Several words, a word with a digit, three ideographs: no common word that happens to be a name too. */
static bool is_distinct(struct str label)
{
    if (is_letter(label.ptr[0]))
        return first_not_letter(label) < label.len;
    return utf8_count(label) > 2;
}

static enum about by_heading(const struct labels *l, struct str heading, uint64_t named, uint32_t group)
{
    struct shape s;
    enum about a = by_mask(l, named, group);
    if (a != ABOUT_OTHER || !shape_of(l, heading, group, &s))
        return a;
    if (is_distinct(s.label))
        return ABOUT_OTHER;
    for (uint32_t i = 0; i < l->n_shapes; i++)
        if (l->shapes[i].group == group && str_eq(l->shapes[i].before, s.before) && str_eq(l->shapes[i].after, s.after))
            return ABOUT_OTHER;
    return ABOUT_UNSAID;
}

/* The cells that are labels and nothing else. */
static enum about by_row_label(const struct extract *x, const struct labels *l, const struct unit *u, uint32_t group)
{
    struct cell cells[MAX_CELLS];
    uint64_t mask = 0;
    for (uint32_t i = 0, n = naming_cells(x, u, cells); i < n; i++)
        for (struct str cell = cells[i].value; cell.len;) {
            struct str name = next_name(&cell);
            for (uint32_t k = 0; k < l->n; k++)
                mask |= str_eq(l->items[k].text, name) ? (uint64_t)1 << k : 0;
        }
    return by_mask(l, mask, group);
}

/* Heading lines and questions above the unit in its chunk, the nearest first. */
static enum about by_lines_above(const struct extract *x, const struct labels *l, const struct unit *u, uint32_t group)
{
    const struct unit *first = &x->units[x->chunks[u->chunk].first_unit];
    enum about a = ABOUT_UNSAID;
    for (const struct unit *v = u; !a && u->kind != UNIT_RECORD && v-- > first;) {
        if (v->kind == UNIT_HEADING)
            a = by_heading(l, unit_text(x, v), l->unit[v - x->units], group);
        else if (v->question)
            a = by_mask(l, l->unit[v - x->units], group);
    }
    return a;
}

/* The nearest sentence before it that names one. */
static enum about by_what_was_said(const struct extract *x, const struct labels *l, const struct unit *u, uint32_t group)
{
    const struct unit *first = &x->units[x->chunks[u->chunk].first_unit];
    enum about a = ABOUT_UNSAID;
    for (const struct unit *v = u; !a && u->kind == UNIT_SENTENCE && v-- > first && v->kind == UNIT_SENTENCE;)
        a = by_mask(l, l->unit[v - x->units], group);
    return a;
}

static enum about by_path(const struct labels *l, const struct extract_chunk *c, uint32_t group)
{
    enum about a = ABOUT_UNSAID;
    for (struct str path = c->view.heading_path; path.len;) {
        struct str heading = path_next(&path);
        enum about inner = by_heading(l, heading, labels_in(l, heading, false), group);
        a = inner ? inner : a;
    }
    return a ? a : by_heading(l, c->view.title, labels_in(l, c->view.title, false), group);
}

static enum about about(const struct extract *x, const struct labels *l, const struct unit *u, uint32_t group)
{
    enum about row = by_row_label(x, l, u, group), own = by_mask(l, l->unit[u - x->units], group);
    if (row || own == ABOUT_ASKED)
        return row ? row : own;
    enum about over = by_lines_above(x, l, u, group);
    over = over ? over : by_path(l, &x->chunks[u->chunk], group);
    if (own || over) /* under "Centurion": "who has held Platinum for two years" */
        return own && over != ABOUT_ASKED ? own : over;
    return by_what_was_said(x, l, u, group);
}

/* Of what the question names in one kind, an alternative; where it asks for several things, one of them is enough. */
static bool is_elsewhere(const struct extract *x, const struct labels *l, const struct unit *u)
{
    bool several = x->qa->n_asks > 1 || x->qa->has_comparison, asked = false, other = false;
    for (uint32_t g = 0; g < l->n_groups; g++) {
        enum about a = l->group[g] & l->asked ? about(x, l, u, g) : ABOUT_UNSAID;
        asked = asked || a == ABOUT_ASKED;
        other = other || a == ABOUT_OTHER;
    }
    return other && !(several && asked);
}

rag_code extract_find_subjects(struct extract *x)
{
    struct labels l = {0};
    find_dialogues(x);
    gather_labels(x, &l);
    if (!l.asked)
        return RAG_OK;
    uint64_t *masks = arena_array(x->arena, x->n_units, sizeof *masks);
    if (!masks)
        return RAG_ENOMEM;
    for (uint32_t i = 0; i < x->n_units; i++)
        masks[i] = labels_in(&l, unit_text(x, &x->units[i]), false);
    l.unit = masks;
    gather_shapes(x, &l);
    for (uint32_t i = 0; i < x->n_units; i++)
        x->units[i].other_subject = !x->chunks[x->units[i].chunk].witness && is_elsewhere(x, &l, &x->units[i]);
    return RAG_OK;
}
