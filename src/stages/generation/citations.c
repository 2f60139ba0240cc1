/* Every character goes through filter_char: into the hold while the held text can still become a mark, else out. The
 * grammar is read anew from the hold for each character; it is never longer than 24.
 *
 *   mark   = open list close | open number (":" number)? "†" any* close
 *   list   = item (sep item)*        item = number (dash number)?        white space anywhere between
 *
 * Nothing that comes out may be read as a mark that was not checked. Text goes out as soon as it is no mark, so the one
 * danger is a mark that is dropped from within another ("[[0]9]"): a space is left in its place (open_end). */
#include "stages/generation/citations.h"

#include "base/status.h"
#include "text/utf8.h"

enum { MAX_DIGITS = 3, MAX_ITEMS = CITATIONS_HOLD_CHARS / 2 };

struct mark {
    struct {
        uint32_t from, to;
    } items[MAX_ITEMS];
    uint32_t n;
};
enum verdict { IS_TEXT, IS_OPEN, IS_MARK };

void citation_filter_init(struct citation_filter *f, uint32_t n_passages)
{
    RAG_ASSERT(n_passages <= CITATIONS_MAX_PASSAGES);
    *f = (struct citation_filter){.n_passages = n_passages};
}

static bool is_opener(uint32_t c)
{
    return c == '[' || c == 0xFF3B /* ［ */ || c == 0x3010 /* 【 */;
}
static bool is_closer(uint32_t c)
{
    return c == ']' || c == 0xFF3D /* ］ */ || c == 0x3011 /* 】 */;
}
static bool is_space(uint32_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || c == 0xA0 || c == 0x3000;
}
static bool is_separator(uint32_t c)
{
    return c == ',' || c == ';' || c == 0xFF0C /* ， */ || c == 0x3001 /* 、 */ || c == 0xFF1B /* ； */;
}
static bool is_dash(uint32_t c)
{
    return c == '-' || c == '~' || (c >= 0x2010 && c <= 0x2015) || c == 0xFF0D || c == 0xFF5E || c == 0x301C;
}
static int digit_of(uint32_t c)
{
    return c >= '0' && c <= '9' ? (int)(c - '0') : c >= 0xFF10 && c <= 0xFF19 ? (int)(c - 0xFF10) : -1;
}

/* Walks over the held text; 0 is its end. */
struct walk {
    struct str s;
    size_t i;
    uint32_t c; /* the character in hand */
};
static void step(struct walk *w)
{
    w->c = w->i < w->s.len ? utf8_next(w->s, &w->i) : 0;
}
static void step_spaces(struct walk *w)
{
    while (is_space(w->c))
        step(w);
}

/* A number and the spaces around it. IS_MARK: it is one; IS_OPEN: the text ends where one may begin or go on. */
static enum verdict walk_number(struct walk *w, uint32_t *out)
{
    unsigned digits = 0;
    *out = 0;
    step_spaces(w);
    for (int d; (d = digit_of(w->c)) >= 0; step(w)) {
        *out = *out * 10 + (uint32_t)d;
        if (++digits > MAX_DIGITS)
            return IS_TEXT;
    }
    step_spaces(w);
    return digits ? IS_MARK : w->c ? IS_TEXT : IS_OPEN;
}

/* Behind the dagger: anything up to a closing bracket. */
static enum verdict walk_label(struct walk *w)
{
    while (w->c && !is_closer(w->c)) {
        if (w->c == '\n')
            return IS_TEXT;
        step(w);
    }
    return w->c ? IS_MARK : IS_OPEN;
}

static enum verdict walk_source(struct walk *w)
{
    uint32_t ignored;
    if (w->c == ':') {
        step(w);
        enum verdict v = walk_number(w, &ignored);
        if (v != IS_MARK)
            return v;
    }
    if (w->c == 0x2020 /* † */)
        return walk_label(w);
    return w->c ? IS_TEXT : IS_OPEN;
}

static enum verdict walk_item(struct walk *w, struct mark *m)
{
    uint32_t from, to;
    enum verdict v = walk_number(w, &from);
    if (v != IS_MARK)
        return v;
    to = from;
    if (is_dash(w->c)) {
        step(w);
        v = walk_number(w, &to);
    }
    if (v == IS_MARK) {
        RAG_ASSERT(m->n < MAX_ITEMS); /* an item has two characters at least, with what ends it */
        m->items[m->n].from = from;
        m->items[m->n++].to = to;
    }
    return v;
}

static enum verdict read_mark(struct str held, struct mark *m)
{
    struct walk w = {.s = held};
    m->n = 0;
    step(&w); /* the opening bracket */
    do {
        step(&w);
        enum verdict v = walk_item(&w, m);
        if (v != IS_MARK)
            return v;
    } while (is_separator(w.c));
    if (is_closer(w.c))
        return IS_MARK;
    if (!w.c)
        return IS_OPEN;
    return m->n == 1 && m->items[0].from == m->items[0].to ? walk_source(&w) : IS_TEXT;
}

/* One character of text. */
static void put_char(struct citation_filter *f, const char *p, size_t n, uint32_t c, struct buf *out)
{
    if (!f->has_text && is_space(c))
        return;
    f->has_text = true;
    f->open_end = is_opener(c) || (f->open_end && digit_of(c) >= 0);
    buf_add(out, p, n);
}

static void put_held(struct citation_filter *f, struct buf *out)
{
    struct str s = str_make(f->held, f->n_held);
    for (size_t i = 0; i < s.len;) {
        size_t from = i;
        uint32_t c = utf8_next(s, &i);
        put_char(f, s.ptr + from, i - from, c, out);
    }
    f->n_held = f->n_held_chars = 0;
}

static void cite(struct citation_filter *f, uint32_t n, struct buf *out)
{
    buf_addf(out, "[%u]", n);
    f->has_text = true;
    f->open_end = false;
    for (uint32_t i = 0; i < f->n_cited; i++)
        if (f->order[i] == n)
            return;
    f->order[f->n_cited++] = n;
}

/* A span that is written backwards is two passages. */
static void put_item(struct citation_filter *f, uint32_t from, uint32_t to, struct buf *out)
{
    if (from > to) {
        put_item(f, from, from, out);
        put_item(f, to, to, out);
        return;
    }
    f->n_dropped += from == 0 || to > f->n_passages;
    for (uint32_t n = from ? from : 1; n <= to && n <= f->n_passages; n++)
        cite(f, n, out);
}

static void put_mark(struct citation_filter *f, const struct mark *m, struct buf *out)
{
    size_t before = out->len;
    f->n_held = f->n_held_chars = 0;
    if (m->n == 1 && m->items[0].from == 0 && m->items[0].to == 0) {
        f->not_found = true;
    } else {
        for (uint32_t i = 0; i < m->n; i++)
            put_item(f, m->items[i].from, m->items[i].to, out);
    }
    if (out->len == before && f->open_end)
        put_char(f, " ", 1, ' ', out);
}

static void filter_char(struct citation_filter *f, const char *p, size_t n, uint32_t c, struct buf *out)
{
    struct mark m;
    if (is_opener(c)) {
        put_held(f, out); /* brackets within brackets: the inner ones may be a mark */
    } else if (!f->n_held) {
        put_char(f, p, n, c, out);
        return;
    }
    memcpy(f->held + f->n_held, p, n);
    f->n_held = (uint8_t)(f->n_held + n);
    f->n_held_chars++;
    enum verdict v = read_mark(str_make(f->held, f->n_held), &m);
    if (v == IS_MARK)
        put_mark(f, &m, out);
    else if (v == IS_TEXT || f->n_held_chars == CITATIONS_HOLD_CHARS)
        put_held(f, out);
}

/* Bytes that the character beginning with `lead` should have. */
static size_t wanted_len(unsigned char lead)
{
    return lead >= 0xF0 && lead <= 0xF4  ? 4
           : lead >= 0xE0 && lead < 0xF0 ? 3
           : lead >= 0xC2 && lead < 0xE0 ? 2
                                         : 1;
}

static void filter_part(struct citation_filter *f, struct buf *out)
{
    struct str s = str_make(f->part, f->n_part);
    size_t i = 0;
    uint32_t c = utf8_next(s, &i);
    f->n_part = 0;
    if (i == s.len && (c != 0xFFFD || str_eqz(s, "\xEF\xBF\xBD")))
        filter_char(f, s.ptr, s.len, c, out);
    else
        for (i = 0; i < s.len; i++) /* bad UTF-8 goes on as it came */
            filter_char(f, s.ptr + i, 1, 0xFFFD, out);
}

void citation_filter_feed(struct citation_filter *f, struct str piece, struct buf *out)
{
    for (size_t i = 0; i < piece.len; i++) {
        unsigned char b = (unsigned char)piece.ptr[i];
        if (f->n_part && (b & 0xC0) != 0x80)
            filter_part(f, out); /* it broke off */
        f->part[f->n_part++] = (char)b;
        if (f->n_part == wanted_len((unsigned char)f->part[0]))
            filter_part(f, out);
    }
}

void citation_filter_end(struct citation_filter *f, struct buf *out)
{
    if (f->n_part)
        filter_part(f, out);
    put_held(f, out);
}
