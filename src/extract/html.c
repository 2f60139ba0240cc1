/* HTML through libxml2's forgiving parser as a stream of events: no tree is built, so a page costs its text. The
 * parser resolves the named characters of HTML only; it neither reads a document type nor fetches anything, and a
 * page that declares entities is refused before it starts.
 *
 * Words gather in `words` until an element that is a block opens or closes; then they become a block whose kind
 * follows from what is open (heading, list item, pre, table cell). Menus, scripts and forms are left out; when that
 * leaves nothing (some pages are one big form), a second pass keeps all but the scripts. */
#include <libxml/HTMLparser.h>
#include <stdio.h>
#include <stdlib.h>

#include "extract/grid.h"

enum { MAX_SPAN = 1000, LONG_CELL = 1000, MAX_LIST_DEPTH = 32 };

enum element {
    EL_INLINE, /* part of the words around it */
    EL_BLOCK,  /* ends the words before it and its own */
    EL_BREAK,
    EL_TITLE,
    EL_HEADING, /* h1..h6 */
    EL_ITEM,
    EL_LIST, /* ul */
    EL_NUMBERED,
    EL_PRE,
    EL_TABLE,
    EL_ROW,
    EL_CELL,
    EL_HEAD_CELL,
    EL_SKIP,   /* left out always */
    EL_CHROME, /* left out in the first pass */
};

static const struct {
    const char *name;
    enum element el;
} elements[] = {
    {"p", EL_BLOCK},       {"div", EL_BLOCK},        {"section", EL_BLOCK},    {"article", EL_BLOCK},
    {"main", EL_BLOCK},    {"blockquote", EL_BLOCK}, {"dl", EL_BLOCK},         {"dt", EL_BLOCK},
    {"dd", EL_BLOCK},      {"figure", EL_BLOCK},     {"figcaption", EL_BLOCK}, {"caption", EL_BLOCK},
    {"address", EL_BLOCK}, {"hr", EL_BLOCK},         {"body", EL_BLOCK},       {"center", EL_BLOCK},
    {"details", EL_BLOCK}, {"summary", EL_BLOCK},    {"fieldset", EL_BLOCK},   {"head", EL_BLOCK},
    {"br", EL_BREAK},      {"title", EL_TITLE},      {"h1", EL_HEADING},       {"h2", EL_HEADING},
    {"h3", EL_HEADING},    {"h4", EL_HEADING},       {"h5", EL_HEADING},       {"h6", EL_HEADING},
    {"li", EL_ITEM},       {"ul", EL_LIST},          {"ol", EL_NUMBERED},      {"pre", EL_PRE},
    {"table", EL_TABLE},   {"tr", EL_ROW},           {"td", EL_CELL},          {"th", EL_HEAD_CELL},
    {"script", EL_SKIP},   {"style", EL_SKIP},       {"noscript", EL_SKIP},    {"template", EL_SKIP},
    {"svg", EL_SKIP},      {"iframe", EL_SKIP},      {"object", EL_SKIP},      {"select", EL_SKIP},
    {"textarea", EL_SKIP}, {"nav", EL_CHROME},       {"header", EL_CHROME},    {"footer", EL_CHROME},
    {"aside", EL_CHROME},  {"form", EL_CHROME},      {"button", EL_CHROME},
};

struct page {
    struct doc_writer *w;
    htmlParserCtxtPtr ctxt;
    bool keep_chrome;
    unsigned depth, pre, heading, item, title; /* pre, item, title: open elements of that kind */
    unsigned skip;    /* depth of the element that is being left out with all in it, 0: none */
    struct buf words; /* of the open block */
    struct buf title_text;
    bool numbered[MAX_LIST_DEPTH];
    uint32_t number[MAX_LIST_DEPTH];
    unsigned lists;
    bool item_started; /* the marker of the open item is still to be written */
    unsigned tables;
    struct grid grid; /* the outermost open table */
    uint32_t cells, row, col;
    uint32_t col_span, row_span;
    uint32_t head_rows; /* leading rows of th only */
    bool row_has_td, row_has_th, long_cell;
    uint32_t *busy_until; /* [EXTRACT_MAX_COLUMNS] last row that a rowspan above covers */
};

static enum element element_of(const char *name)
{
    for (size_t i = 0; i < sizeof elements / sizeof *elements; i++)
        if (strcmp(name, elements[i].name) == 0)
            return elements[i].el;
    return EL_INLINE;
}

static void stop(struct page *p)
{
    if (p->ctxt)
        xmlStopParser(p->ctxt);
}

static const char *attribute(const xmlChar **atts, const char *name)
{
    for (size_t i = 0; atts && atts[i]; i += 2)
        if (strcmp((const char *)atts[i], name) == 0)
            return (const char *)atts[i + 1];
    return NULL;
}

static uint32_t span_attribute(const xmlChar **atts, const char *name)
{
    const char *v = attribute(atts, name);
    long n = v ? strtol(v, NULL, 10) : 1;
    return n < 1 ? 1 : n > MAX_SPAN ? MAX_SPAN : (uint32_t)n;
}

/* The words so far become a block. */
static void flush(struct page *p)
{
    struct buf *b = &p->words;
    if (buf_failed(b))
        docw_fail(p->w, RAG_ENOMEM, "out of memory");
    if (p->tables) { /* a cell's inner blocks are words of the cell */
        if (b->len)
            buf_addc(b, ' ');
        return;
    }
    struct str s = str_trim(buf_str(b));
    if (s.len == 0) {
        buf_reset(b);
        return;
    }
    if (p->pre) {
        docw_block(p->w, BLOCK_CODE, 0, buf_str(b));
    } else if (p->heading) {
        docw_block(p->w, BLOCK_HEADING, p->heading, s);
    } else if (p->item) {
        docw_begin(p->w, p->item_started ? BLOCK_LIST_ITEM : BLOCK_PARAGRAPH, 0);
        unsigned d = p->lists < MAX_LIST_DEPTH ? p->lists : MAX_LIST_DEPTH - 1;
        char mark[16];
        if (p->item_started) {
            int n = p->numbered[d] ? snprintf(mark, sizeof mark, "%u. ", p->number[d])
                                   : snprintf(mark, sizeof mark, "- ");
            docw_text(p->w, str_make(mark, (size_t)n));
        }
        docw_text(p->w, s);
        docw_end(p->w);
        p->item_started = false;
    } else {
        docw_block(p->w, BLOCK_PARAGRAPH, 0, s);
    }
    buf_reset(b);
}

static void cell_end(struct page *p)
{
    if (p->tables != 1 || p->row == 0 || p->col_span == 0)
        return;
    while (p->col < EXTRACT_MAX_COLUMNS && p->busy_until[p->col] >= p->row)
        p->col++;
    struct str s = str_trim(buf_str(&p->words));
    p->long_cell |= s.len > LONG_CELL;
    if (p->col < EXTRACT_MAX_COLUMNS) {
        struct grid_merge m = {p->row, p->col, p->row + p->row_span - 1, p->col + p->col_span - 1};
        grid_add(&p->grid, p->w, p->row, p->col, grid_kind_of(s), s);
        if (p->row_span > 1 || p->col_span > 1)
            grid_merge(&p->grid, p->w, m);
        for (uint32_t c = p->col; c <= m.c2 && c < EXTRACT_MAX_COLUMNS && p->row_span > 1; c++)
            p->busy_until[c] = m.r2;
        p->col += p->col_span;
    }
    p->col_span = p->row_span = 0;
    buf_reset(&p->words);
}

static void row_end(struct page *p)
{
    cell_end(p);
    if (p->row && p->row == p->head_rows + 1 && p->row_has_th && !p->row_has_td)
        p->head_rows++;
}

/* A table of one column, or with cells as long as chapters, is layout: its cells are paragraphs. */
static void table_end(struct page *p)
{
    row_end(p);
    const struct grid_cell *c = (const struct grid_cell *)(const void *)p->grid.cells.ptr;
    size_t n = grid_cell_count(&p->grid);
    bool one_column = true;
    for (size_t i = 0; i < n; i++)
        one_column &= c[i].col == 0;
    p->tables = 0;
    if (p->long_cell || one_column)
        for (size_t i = 0; i < n; i++)
            docw_block(p->w, BLOCK_PARAGRAPH, 0, str_make(p->grid.text.ptr + c[i].off, c[i].len));
    else
        grid_emit_table(&p->grid, p->w, p->head_rows ? (int)p->head_rows : -1);
    p->cells += (uint32_t)n;
    buf_reset(&p->words);
}

static void table_start(struct page *p)
{
    flush(p);
    if (p->tables++ > 0)
        return;
    grid_reset(&p->grid);
    p->grid.max_cells = EXTRACT_MAX_CELLS - p->cells;
    p->row = p->col = p->head_rows = p->col_span = 0;
    p->long_cell = p->row_has_td = p->row_has_th = false;
    memset(p->busy_until, 0, EXTRACT_MAX_COLUMNS * sizeof *p->busy_until);
    buf_reset(&p->words);
}

static void row_start(struct page *p)
{
    if (p->tables != 1)
        return;
    row_end(p);
    buf_reset(&p->words);
    p->row++;
    p->col = 0;
    p->row_has_td = p->row_has_th = false;
}

static void list_start(struct page *p, bool numbered)
{
    flush(p);
    p->lists++;
    unsigned d = p->lists < MAX_LIST_DEPTH ? p->lists : MAX_LIST_DEPTH - 1;
    p->numbered[d] = numbered;
    p->number[d] = 0;
}

static void item_start(struct page *p)
{
    flush(p);
    p->item++;
    p->item_started = true;
    p->number[p->lists < MAX_LIST_DEPTH ? p->lists : MAX_LIST_DEPTH - 1]++;
}

/* What pages mark as no content by other means than the element. */
static bool is_chrome(const xmlChar **atts)
{
    static const char *const roles[] = {"navigation", "banner", "contentinfo", "search"};
    const char *const names[] = {attribute(atts, "class"), attribute(atts, "id")};
    const char *role = attribute(atts, "role");
    for (size_t i = 0; role && i < sizeof roles / sizeof *roles; i++)
        if (strcasecmp(role, roles[i]) == 0)
            return true;
    for (size_t i = 0; i < 2; i++)
        if (names[i] && (strcasestr(names[i], "breadcrumb") || strcasestr(names[i], "cookie")))
            return true;
    return false;
}

static bool skipped(const struct page *p, enum element el, const xmlChar **atts)
{
    if (el == EL_SKIP || p->keep_chrome)
        return el == EL_SKIP;
    return el == EL_CHROME || ((el == EL_BLOCK || el == EL_LIST || el == EL_NUMBERED) && is_chrome(atts));
}

static void on_start(void *ctx, const xmlChar *xname, const xmlChar **atts)
{
    struct page *p = ctx;
    const char *name = (const char *)xname;
    enum element el = element_of(name);
    if (p->w->rc || ++p->depth > EXTRACT_MAX_HTML_DEPTH) {
        docw_fail(p->w, RAG_ETOOBIG, "more than %d elements inside one another", EXTRACT_MAX_HTML_DEPTH);
        stop(p);
        return;
    }
    if (p->skip)
        return;
    if (skipped(p, el, atts)) {
        flush(p);
        p->skip = p->depth;
        return;
    }
    switch (el) {
    case EL_INLINE: break;
    case EL_BLOCK: flush(p); break;
    case EL_BREAK: buf_addc(&p->words, p->tables || p->heading ? ' ' : '\n'); break;
    case EL_TITLE: p->title++; break;
    case EL_HEADING:
        flush(p);
        p->heading = (unsigned)(name[1] - '0');
        break;
    case EL_LIST:
    case EL_NUMBERED: list_start(p, el == EL_NUMBERED); break;
    case EL_ITEM: item_start(p); break;
    case EL_PRE:
        flush(p);
        p->pre++;
        break;
    case EL_TABLE: table_start(p); break;
    case EL_ROW: row_start(p); break;
    case EL_CELL:
    case EL_HEAD_CELL:
        flush(p);
        if (p->tables == 1) {
            if (p->row == 0)
                row_start(p);
            cell_end(p);
            buf_reset(&p->words);
            p->col_span = span_attribute(atts, "colspan");
            p->row_span = span_attribute(atts, "rowspan");
            p->row_has_td |= el == EL_CELL;
            p->row_has_th |= el == EL_HEAD_CELL;
        }
        break;
    case EL_SKIP:
    case EL_CHROME: flush(p); break;
    }
}

static void on_end(void *ctx, const xmlChar *xname)
{
    struct page *p = ctx;
    enum element el = element_of((const char *)xname);
    if (p->w->rc)
        return;
    unsigned depth = p->depth;
    p->depth -= depth > 0;
    if (p->skip) {
        if (depth <= p->skip)
            p->skip = 0;
        return;
    }
    switch (el) {
    case EL_INLINE:
    case EL_BREAK: break;
    case EL_TITLE: p->title -= p->title > 0; break;
    case EL_BLOCK:
    case EL_SKIP:
    case EL_CHROME: flush(p); break;
    case EL_HEADING:
        flush(p);
        p->heading = 0;
        break;
    case EL_LIST:
    case EL_NUMBERED:
        flush(p);
        p->lists -= p->lists > 0;
        break;
    case EL_ITEM:
        flush(p);
        p->item -= p->item > 0;
        p->item_started = false;
        break;
    case EL_PRE:
        flush(p);
        p->pre -= p->pre > 0;
        break;
    case EL_CELL:
    case EL_HEAD_CELL:
        flush(p);
        cell_end(p);
        break;
    case EL_ROW:
        if (p->tables == 1)
            row_end(p);
        break;
    case EL_TABLE:
        if (p->tables == 1)
            table_end(p);
        else if (p->tables > 1)
            p->tables--;
        break;
    }
}

/* White space runs become one space, also across calls. */
static void add_words(struct buf *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool space = s[i] == ' ' || (s[i] >= 9 && s[i] <= 13);
        if (s[i] == '\xC2' && i + 1 < n && s[i + 1] == '\xA0') { /* &nbsp; */
            space = true;
            i++;
        }
        if (!space)
            buf_addc(b, s[i]);
        else if (b->len && b->ptr[b->len - 1] != ' ' && b->ptr[b->len - 1] != '\n')
            buf_addc(b, ' ');
    }
}

static void on_text(void *ctx, const xmlChar *s, int len)
{
    struct page *p = ctx;
    if (p->w->rc || len <= 0)
        return;
    if (p->title)
        add_words(&p->title_text, (const char *)s, (size_t)len);
    else if (p->skip)
        return;
    else if (p->pre && !p->tables)
        buf_add(&p->words, s, (size_t)len);
    else
        add_words(&p->words, (const char *)s, (size_t)len);
    if (p->words.len > p->w->max_bytes) {
        docw_fail(p->w, RAG_ETOOBIG, "too much text");
        stop(p);
    }
}

/* A document type with an internal part that declares entities. */
static bool declares_entities(struct str s)
{
    size_t n = s.len < 65536 ? s.len : 65536;
    for (size_t i = 0; i + 9 < n; i++) {
        const char *lt = memchr(s.ptr + i, '<', n - i);
        if (!lt)
            return false;
        i = (size_t)(lt - s.ptr);
        if (i + 9 < n && strncasecmp(lt, "<!DOCTYPE", 9) == 0) {
            const char *gt = memchr(lt, '>', n - i), *open = memchr(lt, '[', n - i);
            return open && (!gt || open < gt) && memmem(open, s.len - (size_t)(open - s.ptr), "<!ENTITY", 8);
        }
    }
    return false;
}

static rag_code parse(struct page *p, struct str s)
{
    htmlSAXHandler sax = {
        .startElement = on_start,
        .endElement = on_end,
        .characters = on_text,
        .ignorableWhitespace = on_text,
        .cdataBlock = on_text,
    };
    p->ctxt = htmlNewParserCtxt();
    if (!p->ctxt)
        return docw_fail(p->w, RAG_ENOMEM, "out of memory");
    *p->ctxt->sax = sax;
    p->ctxt->userData = p;
    xmlDocPtr doc = htmlCtxtReadMemory(p->ctxt, s.ptr, (int)s.len, NULL, "UTF-8",
                                       HTML_PARSE_NONET | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING |
                                           HTML_PARSE_RECOVER | HTML_PARSE_IGNORE_ENC);
    xmlFreeDoc(doc);
    htmlFreeParserCtxt(p->ctxt);
    p->ctxt = NULL;
    p->skip = 0;
    if (p->tables)
        table_end(p);
    flush(p);
    return p->w->rc;
}

static rag_code one_pass(struct doc_writer *w, struct str s, bool keep_chrome)
{
    struct page p = {.w = w, .keep_chrome = keep_chrome};
    buf_init(&p.words, MEM_EXTRACT);
    buf_init(&p.title_text, MEM_EXTRACT);
    grid_init(&p.grid, EXTRACT_MAX_CELLS);
    p.busy_until = mem_zalloc(MEM_EXTRACT, EXTRACT_MAX_COLUMNS * sizeof *p.busy_until);
    if (!p.busy_until)
        docw_fail(w, RAG_ENOMEM, "out of memory");
    else
        parse(&p, s);
    if (buf_failed(&p.title_text) || buf_failed(&p.words))
        docw_fail(w, RAG_ENOMEM, "out of memory");
    docw_title(w, buf_str(&p.title_text));
    mem_free(MEM_EXTRACT, p.busy_until);
    buf_clear(&p.words);
    buf_clear(&p.title_text);
    grid_clear(&p.grid);
    return w->rc;
}

rag_code extract_html(struct doc_writer *w, struct str s)
{
    if (s.len > INT32_MAX)
        return docw_fail(w, RAG_ETOOBIG, "page too large");
    if (declares_entities(s))
        return docw_fail(w, RAG_ETOOBIG, "the page declares entities, which could expand without bound");
    if (s.len == 0 || one_pass(w, s, false) || w->doc->blocks.len)
        return w->rc;
    return one_pass(w, s, true);
}
