/* Phase three of the extract: the text.
 *
 * One paragraph for each document. Sentences follow one another; items, table rows and records of a longer answer stand
 * on lines of their own. Where what a unit is about stands only in its headings, they are put in front, once. */
#include "base/buf.h"
#include "stages/generation/extract_int.h"
#include "text/utf8.h"

enum { MAX_CELLS = 32, PIECE_CHARS = 12 /* of text without spaces that a stream sends at a time */ };
static const float OPAQUE = 0.2F; /* weight that only the headings hold: they are named */

struct writer {
    const struct extract *x;
    struct buf text;
    struct citation *citations;
    uint32_t n;
    bool zh;          /* of the unit being written */
    uint64_t said;    /* terms this document's paragraph has shown */
    struct str where; /* heading path of the unit before */
    bool titled;      /* this paragraph has named its document */
};

static bool is_zh(struct str s)
{
    uint32_t cjk = 0, other = 0;
    for (size_t i = 0; i < s.len;) {
        uint32_t cp = utf8_next(s, &i);
        if (utf8_is_cjk(cp))
            cjk++;
        else if ((cp | 0x20) >= 'a' && (cp | 0x20) <= 'z')
            other++;
    }
    return cjk * 4 > other;
}

static uint32_t chars_before(const struct extract_chunk *c, uint32_t byte)
{
    return c->view.start + (uint32_t)utf8_count(str_make(c->text.ptr, byte));
}

/* Text on one line: runs of white space are one space, none between CJK characters. */
static void put_flat(struct buf *b, struct str s)
{
    s = str_trim(s);
    for (size_t i = 0; i < s.len;) {
        size_t at = i;
        uint32_t cp = utf8_next(s, &i);
        if (cp != '\n' && cp != '\t' && cp != '\r' && cp != ' ') {
            buf_add(b, s.ptr + at, i - at);
            continue;
        }
        bool line_end = cp == '\n';
        while (i < s.len && (s.ptr[i] == ' ' || s.ptr[i] == '\t' || s.ptr[i] == '\n' || s.ptr[i] == '\r'))
            line_end |= s.ptr[i++] == '\n';
        size_t next = i;
        bool cjk_after = i < s.len && utf8_next(s, &next) >= 0x2E80;
        if (!line_end || !cjk_after || (unsigned char)s.ptr[at - 1] < 0x80)
            buf_addc(b, ' ');
    }
}

/* ---- headings in front ---- */

/* Title and the two innermost headings; without the title where the paragraph has named it. False: nothing to name. */
static bool put_heading(struct writer *w, const struct extract_chunk *c)
{
    struct str parts[3] = {{0}}, path = c->view.heading_path, last = c->view.title;
    uint32_t n = 0;
    if (last.len && !w->titled)
        parts[n++] = last;
    while (path.len) {
        struct str e = path_next(&path);
        bool row = e.len > 4 && memcmp(e.ptr, "row ", 4) == 0;
        if (e.len == 0 || row || memmem(e.ptr, e.len, " | ", 3) || str_eq(e, last))
            continue;
        if (n == 3) {
            parts[1] = parts[2];
            n = 2;
        }
        parts[n++] = last = e;
    }
    if (n == 0)
        return false;
    buf_addz(&w->text, "**");
    for (uint32_t i = 0; i < n; i++) {
        buf_addz(&w->text, i ? " › " : "");
        put_flat(&w->text, parts[i]);
    }
    buf_addz(&w->text, w->zh ? "**：" : "**: ");
    w->titled = true;
    return true;
}

static bool hides(const struct writer *w, uint64_t hidden)
{
    bool key = false;
    for (uint64_t m = w->x->qa->has_comparison ? hidden : 0; m; m &= m - 1)
        key |= w->x->terms[__builtin_ctzll(m)].key;
    return key || mask_weight(w->x, hidden) >= OPAQUE;
}

static bool maybe_heading(struct writer *w, const struct unit *u)
{
    const struct extract_chunk *c = &w->x->chunks[u->chunk];
    bool moved = w->where.ptr && !str_eq(c->view.heading_path, w->where);
    bool put = hides(w, c->heading & ~u->own & ~(moved ? 0 : w->said)) && put_heading(w, c);
    w->said |= u->own | c->heading;
    w->where = c->view.heading_path.len ? c->view.heading_path : STR_LIT("");
    return put;
}

/* ---- units ---- */

static void put_pair(struct writer *w, struct str key, struct str value, bool first)
{
    if (!first)
        buf_addz(&w->text, w->zh ? "；" : "; ");
    if (key.len) {
        put_flat(&w->text, key);
        buf_addz(&w->text, w->zh ? "：" : ": ");
    }
    put_flat(&w->text, value);
}

static void put_row(struct writer *w, const struct unit *u)
{
    struct cell cells[MAX_CELLS];
    uint32_t n = extract_row_cells(w->x, u, cells, MAX_CELLS);
    bool first = true;
    for (uint32_t i = 0; i < n; i++) {
        if (cells[i].value.len == 0)
            continue;
        put_pair(w, cells[i].key, cells[i].value, first);
        first = false;
    }
}

static void put_record(struct writer *w, const struct unit *u, struct citation *cite)
{
    const struct extract_chunk *c = &w->x->chunks[u->chunk];
    uint64_t fields = extract_fields(w->x, c);
    bool only = (fields & (fields - 1)) == 0, first = true;
    for (uint32_t i = 0; i < c->n_units && i < 64; i++) {
        const struct unit *f = &w->x->units[c->first_unit + i];
        struct str key, value, s = unit_text(w->x, f);
        if (!(fields >> i & 1))
            continue;
        if (!extract_pair(s, &key, &value)) {
            key = str_make(NULL, 0);
            value = s;
        }
        if (value.len == 0)
            continue;
        put_pair(w, only ? str_make(NULL, 0) : key, value, first);
        if (first)
            cite->start = chars_before(c, f->start);
        cite->end = chars_before(c, f->end);
        first = false;
    }
}

static struct str without_marker(struct str s)
{
    size_t i = 0;
    uint32_t cp = s.len ? utf8_next(s, &i) : 0;
    if (cp == '-' || cp == '*' || cp == '+' || cp == 0x2022 || cp == 0xB7)
        return str_trim(str_make(s.ptr + i, s.len - i));
    return s;
}

/* The comma, semicolon or colon after which it went on where it was taken from. */
static void trim_end(struct buf *b)
{
    static const struct str marks[] = {STR_LIT("；"), STR_LIT("，"), STR_LIT("："), STR_LIT("、"),
                                       STR_LIT(";"),  STR_LIT(","),  STR_LIT(":")};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        if (b->len < marks[i].len || memcmp(b->ptr + b->len - marks[i].len, marks[i].ptr, marks[i].len) != 0)
            continue;
        b->len -= marks[i].len;
        return;
    }
}

static void put_unit(struct writer *w, const struct unit *u)
{
    const struct extract_chunk *c = &w->x->chunks[u->chunk];
    struct citation *cite = &w->citations[w->n];
    *cite = (struct citation){
        .n = w->n + 1, .hit = c->hit, .start = chars_before(c, u->start), .end = chars_before(c, u->end)};
    if (u->kind == UNIT_RECORD)
        put_record(w, u, cite);
    else if (u->kind == UNIT_ROW)
        put_row(w, u);
    else
        put_flat(&w->text, u->kind == UNIT_ITEM ? without_marker(unit_text(w->x, u)) : unit_text(w->x, u));
    trim_end(&w->text);
    buf_addf(&w->text, "%s[%u]", w->zh ? "" : " ", ++w->n);
}

/* ---- pieces ---- */

static rag_code cut_pieces(struct str t, struct arena *a, struct answer *out)
{
    out->pieces = arena_array(a, t.len + 2, sizeof *out->pieces);
    if (!out->pieces)
        return RAG_ENOMEM;
    uint32_t n = 1, chars = 0;
    bool mark = false; /* inside [n] */
    for (size_t i = 0; i < t.len;) {
        uint32_t cp = utf8_next(t, &i);
        chars++;
        mark = cp == '[' || (mark && cp != ']');
        bool word = cp == ' ' || cp == '\n' || cp == ']' || (cp >= 0x3000 && cp <= 0x3011) || cp == 0xFF0C ||
                    cp == 0xFF1B;
        if (mark || i == t.len || !(word || (chars >= PIECE_CHARS && utf8_is_cjk(cp))))
            continue;
        if (t.ptr[i] == '[' ||
            (cp != '\n' && t.ptr[i] == '\n')) /* the mark and the line end stay with the words */
            continue;
        out->pieces[n++] = (uint32_t)i;
        chars = 0;
    }
    out->pieces[n] = (uint32_t)t.len;
    out->n_pieces = n;
    return RAG_OK;
}

/* ---- the whole ---- */

static bool same_doc(const struct extract *x, const struct unit *a, const struct unit *b)
{
    return x->chunks[a->chunk].view.seq == x->chunks[b->chunk].view.seq &&
           str_eq(x->chunks[a->chunk].view.document_id, x->chunks[b->chunk].view.document_id);
}

static bool in_one_list(const struct extract *x, const struct unit *a, const struct unit *b)
{
    return a && b && same_doc(x, a, b) && a->kind != UNIT_SENTENCE && b->kind != UNIT_SENTENCE;
}

/* Paragraphs part documents, line ends part items; sentences follow one another. */
static void put_between(struct writer *w, const struct unit *before, const struct unit *u)
{
    if (!same_doc(w->x, before, u)) {
        buf_addz(&w->text, "\n\n");
        w->said = 0;
        w->titled = false;
        w->where = str_make(NULL, 0);
    } else {
        bool lines = u->kind != UNIT_SENTENCE || before->kind != UNIT_SENTENCE;
        buf_addz(&w->text, lines ? "\n" : w->zh ? "" : " ");
    }
}

/* "**3600元**——" before the unit that says it; a Markdown strong run, so that a page shows it as the answer. */
static void put_front(struct writer *w)
{
    if (w->x->front.len == 0)
        return;
    buf_addz(&w->text, "**");
    put_flat(&w->text, w->x->front);
    buf_addz(&w->text, w->zh ? "**——" : "** — ");
}

static const struct unit *chosen(const struct extract *x, uint32_t i)
{
    return i < x->n_chosen ? &x->units[x->chosen[i]] : NULL;
}

rag_code extract_write(const struct extract *x, struct answer *out)
{
    struct writer w = {.x = x};
    buf_init(&w.text, MEM_REQUEST);
    w.citations = arena_array(x->arena, x->n_chosen, sizeof *w.citations);
    if (!w.citations)
        return RAG_ENOMEM;
    for (uint32_t i = 0; i < x->n_chosen; i++) {
        const struct unit *u = chosen(x, i), *before = i ? chosen(x, i - 1) : NULL;
        struct str text = unit_text(x, u);
        w.zh = is_zh(text);
        if (before)
            put_between(&w, before, u);
        if (i == 0)
            put_front(&w);
        bool item = in_one_list(x, before, u) || in_one_list(x, u, chosen(x, i + 1));
        if (maybe_heading(&w, u) && item)
            buf_addc(&w.text, '\n');
        if (item && !(text.len && text.ptr[0] >= '0' && text.ptr[0] <= '9'))
            buf_addz(&w.text, "- ");
        put_unit(&w, u);
    }
    out->citations = w.citations;
    out->n_citations = w.n;
    char *copy = buf_failed(&w.text) ? NULL : arena_strndup(x->arena, w.text.ptr, w.text.len);
    out->text = str_make(copy, copy ? w.text.len : 0);
    buf_clear(&w.text);
    return copy ? cut_pieces(out->text, x->arena, out) : RAG_ENOMEM;
}
