/* pdftotext's XHTML is read with a scanner of our own: it is a fixed form (one element after the other, attributes
 * that are numbers, five entities), hundreds of megabytes at worst, and as hostile as the file it was made from. The
 * scanner passes over the bytes once, looks at nothing but the elements title, page, line and word, and believes no
 * number: coordinates are clamped. */
#include "extract/pdf_int.h"
#include "text/utf8.h"

enum {
    MAX_TAG = 512,
    MAX_COORDINATE = 20000000, /* a page has at most 14,400 points */
};

struct reader {
    struct pdf_layout *l;
    struct doc_writer *w;
    struct str rest;
    struct buf decoded, squeezed;
    struct pdf_line line; /* being read */
    bool in_line, in_page, complete;
    uint64_t heights, chars; /* of the line's upright characters */
    uint32_t n_words, n_chars;
};

void pdf_layout_init(struct pdf_layout *l)
{
    struct buf *const bufs[] = {&l->text, &l->title, &l->lines, &l->pages, &l->tables, &l->cells};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_init(bufs[i], MEM_EXTRACT);
}

void pdf_layout_clear(struct pdf_layout *l)
{
    struct buf *const bufs[] = {&l->text, &l->title, &l->lines, &l->pages, &l->tables, &l->cells};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_clear(bufs[i]);
}

/* ---- joining text ---- */

/* Written without blanks between words. */
static bool is_wide(uint32_t cp)
{
    return utf8_is_cjk(cp) || (cp >= 0x3000 && cp < 0x3040) || (cp >= 0xFF00 && cp < 0xFFF0);
}

uint32_t pdf_last_char(struct str s)
{
    size_t at = s.len;
    while (at && ((unsigned char)s.ptr[--at] & 0xC0) == 0x80)
        ;
    return s.len ? utf8_next(s, &at) : 0;
}

uint64_t pdf_units(struct str s)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s.len;)
        n += utf8_is_cjk(utf8_next(s, &i)) ? 2 : 1;
    return n;
}

static uint32_t first_char(struct str s)
{
    size_t at = 0;
    return s.len ? utf8_next(s, &at) : 0;
}

static bool is_lower(uint32_t cp)
{
    return (cp >= 'a' && cp <= 'z') || (cp >= 0xDF && cp <= 0xFF && cp != 0xF7);
}

/* Bytes of the hyphen that breaks a word at the end of s, before `next`; 0: none does. */
static size_t broken_by(struct str s, uint32_t next)
{
    static const char *const hyphens[] = {"-", "\xE2\x80\x90", "\xC2\xAD"};
    for (size_t i = 0; i < sizeof hyphens / sizeof *hyphens; i++) {
        size_t n = strlen(hyphens[i]);
        if (s.len > n && memcmp(s.ptr + s.len - n, hyphens[i], n) == 0 &&
            is_lower(pdf_last_char(str_make(s.ptr, s.len - n))) && is_lower(next))
            return n;
    }
    return 0;
}

void pdf_append(struct buf *out, size_t from, struct str s)
{
    struct str before = buf_slice(out, from, out->len - from);
    uint32_t a = pdf_last_char(before), b = first_char(s);
    size_t hyphen = broken_by(before, b);
    if (hyphen)
        out->len -= hyphen;
    else if (before.len && s.len && !is_wide(a) && !is_wide(b))
        buf_addc(out, ' ');
    buf_adds(out, s);
}

void pdf_lines_join(struct pdf_layout *l, struct pdf_line *a, struct pdf_line *b, bool below)
{
    size_t need = (size_t)a->len + b->len + 1;
    if (!buf_reserve(&l->text, need))
        return;
    if ((size_t)a->off + a->len != l->text.len) { /* else it grows in place */
        size_t at = l->text.len;
        buf_add(&l->text, l->text.ptr + a->off, a->len);
        a->off = (uint32_t)at;
    }
    if (!below)
        buf_addc(&l->text, ' ');
    struct str s = pdf_line_text(l, b);
    if (below)
        pdf_append(&l->text, a->off, s);
    else
        buf_adds(&l->text, s);
    a->len = (uint32_t)(l->text.len - a->off);
    if (!below && b->height > 0) /* a bullet is no measure */
        a->height = (int32_t)(((int64_t)a->height * (a->len - b->len) + (int64_t)b->height * b->len) / a->len);
    a->x0 = a->x0 < b->x0 ? a->x0 : b->x0;
    a->x1 = a->x1 > b->x1 ? a->x1 : b->x1;
    a->y0 = a->y0 < b->y0 ? a->y0 : b->y0;
    a->y1 = a->y1 > b->y1 ? a->y1 : b->y1;
    b->dropped = true;
}

/* ---- scanning ---- */

/* A decimal number as hundredths; what is none is 0. */
static int32_t number_of(struct str s)
{
    size_t i = 0;
    bool minus = s.len && s.ptr[0] == '-';
    int64_t v = 0, scale = 100;
    for (i = minus; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9' && v < MAX_COORDINATE; i++)
        v = v * 10 + (s.ptr[i] - '0');
    v *= scale;
    if (i < s.len && s.ptr[i] == '.')
        for (i++; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9' && scale > 1; i++) {
            scale /= 10;
            v += (s.ptr[i] - '0') * scale;
        }
    v = v > MAX_COORDINATE ? MAX_COORDINATE : v;
    return (int32_t)(minus ? -v : v);
}

/* ` name="` in the tag, up to the next quote. */
static int32_t attribute(struct str tag, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i + n + 3 < tag.len; i++) {
        if (tag.ptr[i] != ' ' || memcmp(tag.ptr + i + 1, name, n) != 0 || tag.ptr[i + 1 + n] != '=' ||
            tag.ptr[i + 2 + n] != '"')
            continue;
        size_t at = i + 3 + n;
        const char *quote = memchr(tag.ptr + at, '"', tag.len - at);
        return quote ? number_of(str_make(tag.ptr + at, (size_t)(quote - tag.ptr) - at)) : 0;
    }
    return 0;
}

/* The next tag, without its brackets; r->rest goes on behind it. False at the end. */
static bool next_tag(struct reader *r, struct str *tag)
{
    const char *open = r->rest.len ? memchr(r->rest.ptr, '<', r->rest.len) : NULL;
    if (!open)
        return false;
    const char *end = r->rest.ptr + r->rest.len;
    size_t room = (size_t)(end - open) < MAX_TAG ? (size_t)(end - open) : MAX_TAG;
    const char *close = memchr(open, '>', room);
    if (!close) {
        docw_fail(r->w, RAG_EFORMAT, "pdftotext gave something else than a layout");
        return false;
    }
    *tag = str_make(open + 1, (size_t)(close - open) - 1);
    r->rest = str_make(close + 1, (size_t)(end - close) - 1);
    return true;
}

static bool tag_is(struct str tag, const char *name)
{
    size_t n = strlen(name);
    return tag.len >= n && memcmp(tag.ptr, name, n) == 0 && (tag.len == n || tag.ptr[n] == ' ');
}

/* The characters up to the next tag, entities undone, white space squeezed, into r->squeezed. */
static struct str content(struct reader *r)
{
    static const struct {
        const char *name;
        char c;
    } entities[] = {{"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}, {"&amp;", '&'}};
    const char *open = r->rest.len ? memchr(r->rest.ptr, '<', r->rest.len) : NULL;
    struct str s = str_make(r->rest.ptr, open ? (size_t)(open - r->rest.ptr) : r->rest.len);
    buf_reset(&r->decoded);
    buf_reset(&r->squeezed);
    for (size_t i = 0; i < s.len;) {
        size_t n = 0;
        for (size_t k = 0; s.ptr[i] == '&' && k < sizeof entities / sizeof *entities; k++) {
            n = strlen(entities[k].name);
            if (s.len - i >= n && memcmp(s.ptr + i, entities[k].name, n) == 0) {
                buf_addc(&r->decoded, entities[k].c);
                break;
            }
            n = 0;
        }
        if (n == 0)
            buf_addc(&r->decoded, s.ptr[i]);
        i += n ? n : 1;
    }
    text_squeeze(&r->squeezed, buf_str(&r->decoded));
    return buf_slice(&r->squeezed, 0, r->squeezed.len);
}

/* Ligatures become their letters, soft hyphens inside a word go: what a reader would type and search. */
static void put_letters(struct buf *out, struct str s)
{
    static const char *const ligatures[] = {"ff", "fi", "fl", "ffi", "ffl", "st", "st"};
    for (size_t i = 0; i < s.len;) {
        size_t at = i;
        uint32_t cp = utf8_next(s, &i);
        if (cp >= 0xFB00 && cp <= 0xFB06)
            buf_addz(out, ligatures[cp - 0xFB00]);
        else if (cp != 0xAD || i == s.len)
            buf_add(out, s.ptr + at, i - at);
    }
}

static void add_word(struct reader *r, struct str tag)
{
    struct pdf_line *ln = &r->line;
    struct str s = content(r);
    int32_t x0 = attribute(tag, "xMin"), y0 = attribute(tag, "yMin"), x1 = attribute(tag, "xMax"),
            y1 = attribute(tag, "yMax");
    struct buf *text = &r->l->text;
    if (s.len == 0 || x1 < x0 || y1 < y0)
        return;
    int32_t height = y1 - y0;
    if (ln->len == 0)
        ln->x0 = x0, ln->y0 = y0, ln->x1 = x1, ln->y1 = y1;
    else
        buf_addc(text, ' ');
    put_letters(text, s);
    ln->len = (uint32_t)(text->len - ln->off);
    ln->x0 = x0 < ln->x0 ? x0 : ln->x0;
    ln->y0 = y0 < ln->y0 ? y0 : ln->y0;
    ln->x1 = x1 > ln->x1 ? x1 : ln->x1;
    ln->y1 = y1 > ln->y1 ? y1 : ln->y1;
    uint64_t n = utf8_count(s);
    r->n_words++;
    r->n_chars += (uint32_t)n;
    if (n >= 3 && height > 2 * (x1 - x0))
        return; /* upwards or downwards */
    r->heights += (uint64_t)height * n;
    r->chars += n;
}

static void line_begin(struct reader *r)
{
    r->in_line = true;
    r->line = (struct pdf_line){.page = (uint32_t)pdf_n_pages(r->l), .off = (uint32_t)r->l->text.len};
    r->heights = r->chars = 0;
    r->n_words = r->n_chars = 0;
}

/* Chinese set wide ("目 录") comes as words of one character: the blanks between them go. */
static void close_up(struct reader *r)
{
    struct buf *text = &r->l->text;
    if (r->n_words < 2 || r->n_chars * 2 >= r->n_words * 3)
        return;
    size_t to = r->line.off;
    for (size_t i = to; i < text->len; i++) {
        bool between = text->ptr[i] == ' ' && is_wide(pdf_last_char(buf_slice(text, r->line.off, to - r->line.off))) &&
                       is_wide(first_char(buf_slice(text, i + 1, text->len - i - 1)));
        if (!between)
            text->ptr[to++] = text->ptr[i];
    }
    text->len = to;
    r->line.len = (uint32_t)(to - r->line.off);
}

/* "Fees . . . . . . . 12" of a table of contents keeps three of its dots. */
static void drop_leaders(struct reader *r)
{
    struct buf *text = &r->l->text;
    size_t to = r->line.off;
    for (size_t i = to; i < text->len;) {
        size_t end = i, dots = 0;
        while (end < text->len && (text->ptr[end] == '.' || (dots && text->ptr[end] == ' ')))
            dots += text->ptr[end++] == '.';
        if (dots > 3) {
            memcpy(text->ptr + to, "... ", 4); /* there is room: more than three dots stood here, and a blank or the end */
            to += 3 + (text->ptr[end - 1] == ' ');
            i = end;
        } else {
            end = end > i ? end : i + 1;
            memmove(text->ptr + to, text->ptr + i, end - i);
            to += end - i;
            i = end;
        }
    }
    text->len = to;
    r->line.len = (uint32_t)(to - r->line.off);
}

static void line_end(struct reader *r)
{
    r->in_line = false;
    if (r->line.len == 0)
        return;
    close_up(r);
    drop_leaders(r);
    r->line.height = r->chars ? (int32_t)(r->heights / r->chars) : 0;
    BUF_ADD_VALUE(&r->l->lines, r->line);
    if (!buf_failed(&r->l->lines))
        ((struct pdf_page *)(void *)(r->l->pages.ptr + r->l->pages.len))[-1].n++;
}

static void page_begin(struct reader *r, struct str tag)
{
    struct pdf_page p = {.first = (uint32_t)pdf_n_lines(r->l), .height = attribute(tag, "height")};
    r->in_page = true;
    if (pdf_n_pages(r->l) >= PDF_MAX_PAGES)
        docw_fail(r->w, RAG_ETOOBIG, "more than %d pages", PDF_MAX_PAGES);
    BUF_ADD_VALUE(&r->l->pages, p);
}

static void take_tag(struct reader *r, struct str tag)
{
    if (tag_is(tag, "word") && r->in_line)
        add_word(r, tag);
    else if (tag_is(tag, "line") && r->in_page)
        line_begin(r);
    else if (tag_is(tag, "/line") && r->in_line)
        line_end(r);
    else if (tag_is(tag, "page"))
        page_begin(r, tag);
    else if (tag_is(tag, "/page"))
        r->in_page = false;
    else if (tag_is(tag, "title") && r->l->title.len == 0)
        buf_adds(&r->l->title, content(r));
    else if (tag_is(tag, "/doc"))
        r->complete = true;
}

void pdf_layout_parse(struct pdf_layout *l, struct doc_writer *w, struct str s)
{
    struct reader r = {.l = l, .w = w, .rest = s};
    struct str tag;
    buf_init(&r.decoded, MEM_EXTRACT);
    buf_init(&r.squeezed, MEM_EXTRACT);
    while (!w->rc && next_tag(&r, &tag)) {
        take_tag(&r, tag);
        if (buf_failed(&l->text) || buf_failed(&l->lines) || buf_failed(&l->pages) || buf_failed(&l->title) ||
            buf_failed(&r.decoded) || buf_failed(&r.squeezed))
            docw_fail(w, RAG_ENOMEM, "out of memory");
        else if (l->text.len > w->max_bytes)
            docw_fail(w, RAG_ETOOBIG, "more than %llu bytes of text", (unsigned long long)w->max_bytes);
    }
    if (!r.complete)
        docw_fail(w, RAG_EFORMAT, "pdftotext gave something else than a layout");
    buf_clear(&r.decoded);
    buf_clear(&r.squeezed);
}
