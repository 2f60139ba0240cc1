/* HTML through libxml2's forgiving parser as a stream of events: no tree is built, so a page costs its text. The
 * parser resolves the named characters of HTML only; it neither reads a document type nor fetches anything, and a
 * page that declares entities is refused before it starts.
 *
 * Words gather in `words` until an element that is a block opens or closes; then they become a block whose kind
 * follows from what is open (heading, list item, pre, table cell). Scripts and controls are left out there. Of every
 * block it is noted where it stands: in a menu, in the page's header, outside <main>, ... (html_content.h); at the end
 * the blocks that are no content go.
 *
 * A table is layout when it says so, has one column, cells as long as chapters, a table or a main heading in a cell: its
 * cells are then read as if it were not there. */
#include <libxml/HTMLparser.h>
#include <stdio.h>
#include <stdlib.h>

#include "extract/grid.h"
#include "extract/html_content.h"

enum {
    MAX_SPAN = 1000,
    MAX_LIST_DEPTH = 32,
};

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
    EL_DEFINITIONS,
    EL_TERM,
    EL_DEFINITION,
    EL_HEAD_ROWS,
    EL_MAIN,
    EL_ARTICLE,
    EL_LINK,
    EL_SKIP,   /* left out always */
    EL_BUTTON, /* the same, except in a heading */
    EL_NAV,
    EL_CHROME, /* of the page, unless it is inside <main> or <article> */
    EL_FORM,
};

static const struct {
    const char *name;
    enum element el;
} elements[] = {
    {"p", EL_BLOCK},         {"div", EL_BLOCK},        {"section", EL_BLOCK},    {"article", EL_ARTICLE},
    {"main", EL_MAIN},       {"blockquote", EL_BLOCK}, {"dl", EL_DEFINITIONS},   {"dt", EL_TERM},
    {"dd", EL_DEFINITION},   {"figure", EL_BLOCK},     {"figcaption", EL_BLOCK}, {"caption", EL_BLOCK},
    {"address", EL_BLOCK},   {"hr", EL_BLOCK},         {"body", EL_BLOCK},       {"center", EL_BLOCK},
    {"details", EL_BLOCK},   {"summary", EL_BLOCK},    {"fieldset", EL_BLOCK},   {"head", EL_BLOCK},
    {"br", EL_BREAK},        {"title", EL_TITLE},      {"h1", EL_HEADING},       {"h2", EL_HEADING},
    {"h3", EL_HEADING},      {"h4", EL_HEADING},       {"h5", EL_HEADING},       {"h6", EL_HEADING},
    {"li", EL_ITEM},         {"ul", EL_LIST},          {"ol", EL_NUMBERED},      {"pre", EL_PRE},
    {"table", EL_TABLE},     {"tr", EL_ROW},           {"td", EL_CELL},          {"th", EL_HEAD_CELL},
    {"script", EL_SKIP},     {"style", EL_SKIP},       {"noscript", EL_SKIP},    {"template", EL_SKIP},
    {"svg", EL_SKIP},        {"iframe", EL_SKIP},      {"object", EL_SKIP},      {"select", EL_SKIP},
    {"textarea", EL_SKIP},   {"datalist", EL_SKIP},    {"nav", EL_NAV},          {"header", EL_CHROME},
    {"footer", EL_CHROME},   {"aside", EL_CHROME},     {"form", EL_FORM},        {"button", EL_BUTTON},
    {"thead", EL_HEAD_ROWS}, {"a", EL_LINK},
};

struct page {
    struct doc_writer *w;
    htmlParserCtxtPtr ctxt;
    uint8_t place[EXTRACT_MAX_HTML_DEPTH + 1]; /* of the open elements, by depth */
    uint8_t here;                              /* of the words so far */
    struct buf places;                         /* uint8_t[]: of the blocks so far */
    unsigned depth, pre, heading, item, title; /* pre, item, title: open elements of that kind */
    unsigned link, terms, definitions;         /* open ones */
    size_t link_bytes, links;                  /* of the words so far */
    struct buf term;                           /* <dt> that its <dd> still has to name */
    bool term_defined, definition_starts;
    unsigned skip;    /* depth of the element that is being left out with all in it, 0: none */
    struct buf words; /* of the open block */
    struct buf title_text;
    bool numbered[MAX_LIST_DEPTH];
    uint32_t number[MAX_LIST_DEPTH];
    unsigned lists;
    bool item_started;    /* the marker of the open item is still to be written */
    unsigned tables;      /* open ones inside the one that is read into the grid, that one included */
    unsigned flat_tables; /* layout tables around it */
    struct grid grid;
    uint32_t cells, row, col;
    uint32_t col_span, row_span;
    uint32_t head_rows; /* leading rows of th only */
    bool in_head_rows, row_has_td, row_has_th, cell_is_head, row_labels;
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

/* Also one without a value. */
static bool has_attribute(const xmlChar **atts, const char *name)
{
    for (size_t i = 0; atts && atts[i]; i += 2)
        if (strcmp((const char *)atts[i], name) == 0)
            return true;
    return false;
}

static uint32_t span_attribute(const xmlChar **atts, const char *name)
{
    const char *v = attribute(atts, name);
    long n = v ? strtol(v, NULL, 10) : 1;
    return n < 1 ? 1 : n > MAX_SPAN ? MAX_SPAN : (uint32_t)n;
}

/* Notes for the blocks written last where they stand. */
static void note_places(struct page *p, unsigned also)
{
    size_t n = p->w->doc->blocks.len / sizeof(struct text_block);
    while (p->places.len < n && !buf_failed(&p->places))
        buf_addc(&p->places, (char)(p->here | also));
    if (buf_failed(&p->places))
        docw_fail(p->w, RAG_ENOMEM, "out of memory");
}

static void put_item(struct page *p, struct str s)
{
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
}

/* A definition names its term, so that it says something when it is found alone. */
static void put_definition(struct page *p, struct str s)
{
    docw_begin(p->w, BLOCK_PARAGRAPH, 0);
    if (p->definition_starts && p->term.len) {
        docw_text(p->w, buf_str(&p->term));
        docw_text(p->w, STR_LIT(": "));
    }
    docw_text(p->w, s);
    docw_end(p->w);
    p->definition_starts = false;
    p->term_defined = true;
}

/* A term that nothing defines is a paragraph. */
static void term_flush(struct page *p)
{
    if (!p->term_defined && p->term.len) {
        docw_block(p->w, BLOCK_PARAGRAPH, 0, buf_str(&p->term));
        note_places(p, 0);
    }
    buf_reset(&p->term);
}

/* The words so far become a block. */
static void flush(struct page *p)
{
    struct buf *b = &p->words;
    if (buf_failed(b) || buf_failed(&p->term))
        docw_fail(p->w, RAG_ENOMEM, "out of memory");
    if (p->tables) { /* a cell's inner blocks are words of the cell */
        if (b->len)
            buf_addc(b, ' ');
        return;
    }
    struct str s = str_trim(buf_str(b));
    bool is_link = p->links > 0 && p->link_bytes * 5 >= s.len * 4;
    bool is_row = p->links >= HTML_LINK_RUN && p->link_bytes * 5 >= s.len * 3; /* with signs between them */
    if (s.len == 0)
        ;
    else if (p->pre)
        docw_block(p->w, BLOCK_CODE, 0, buf_str(b));
    else if (p->heading)
        docw_block(p->w, BLOCK_HEADING, p->heading, s);
    else if (p->terms) {
        if (p->term.len)
            buf_addz(&p->term, " / ");
        buf_adds(&p->term, s);
    } else if (p->item)
        put_item(p, s);
    else if (p->definitions)
        put_definition(p, s);
    else
        docw_block(p->w, BLOCK_PARAGRAPH, 0, s);
    note_places(p, p->heading ? 0 : is_row ? IN_LINKS : is_link ? IS_LINK : 0);
    buf_reset(b);
    p->link_bytes = p->links = 0;
}

static void cell_end(struct page *p)
{
    if (p->tables != 1 || p->row == 0 || p->col_span == 0)
        return;
    while (p->col < EXTRACT_MAX_COLUMNS && p->busy_until[p->col] >= p->row)
        p->col++;
    struct str s = str_trim(buf_str(&p->words));
    if (s.len) {
        p->row_has_th |= p->cell_is_head;
        p->row_has_td |= !p->cell_is_head;
        p->row_labels |= p->row == 1 && p->col == 0 && p->cell_is_head;
    }
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
    if (p->row && p->row == p->head_rows + 1 && (p->in_head_rows || (p->row_has_th && !p->row_has_td)))
        p->head_rows++;
}

/* Rows of a label and its values have no header: head_rows is 0, and so no header is looked for. */
static void table_end(struct page *p)
{
    row_end(p);
    p->tables = 0;
    p->cells += (uint32_t)grid_cell_count(&p->grid);
    grid_emit_page_table(&p->grid, p->w, p->head_rows || p->row_labels ? (int)p->head_rows : -1);
    note_places(p, 0);
    buf_reset(&p->words);
}

/* The open table turns out to be layout: what it had so far becomes paragraphs, the rest is read without it. */
static void table_dissolve(struct page *p)
{
    const struct grid_cell *c = (const struct grid_cell *)(const void *)p->grid.cells.ptr;
    size_t n = grid_cell_count(&p->grid);
    p->tables = 0;
    p->flat_tables++;
    p->cells += (uint32_t)n;
    for (size_t i = 0; i < n; i++)
        docw_block(p->w, BLOCK_PARAGRAPH, 0, str_make(p->grid.text.ptr + c[i].off, c[i].len));
    note_places(p, 0);
    flush(p);
}

static void table_start(struct page *p, const xmlChar **atts)
{
    const char *role = attribute(atts, "role");
    if (p->tables == 1)
        table_dissolve(p);
    flush(p);
    if (role && (strcasecmp(role, "presentation") == 0 || strcasecmp(role, "none") == 0)) {
        p->flat_tables++;
        return;
    }
    p->tables = 1;
    grid_reset(&p->grid);
    p->grid.max_cells = EXTRACT_MAX_CELLS - p->cells;
    p->row = p->col = p->head_rows = p->col_span = 0;
    p->in_head_rows = p->row_has_td = p->row_has_th = p->row_labels = false;
    memset(p->busy_until, 0, EXTRACT_MAX_COLUMNS * sizeof *p->busy_until);
    buf_reset(&p->words);
}

static void row_start(struct page *p)
{
    if (p->tables != 1)
        return;
    row_end(p);
    if (p->row == 0) { /* the caption */
        docw_block(p->w, BLOCK_PARAGRAPH, 0, str_trim(buf_str(&p->words)));
        note_places(p, 0);
    }
    buf_reset(&p->words);
    p->row++;
    p->col = 0;
    p->row_has_td = p->row_has_th = false;
}

static void cell_start(struct page *p, bool head, const xmlChar **atts)
{
    flush(p);
    if (p->tables != 1)
        return;
    if (p->row == 0)
        row_start(p);
    cell_end(p);
    buf_reset(&p->words);
    p->col_span = span_attribute(atts, "colspan");
    p->row_span = span_attribute(atts, "rowspan");
    p->cell_is_head = head;
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

static bool is_one_of(const char *v, const char *const *list, size_t n)
{
    for (size_t i = 0; v && i < n; i++)
        if (strcasecmp(v, list[i]) == 0)
            return true;
    return false;
}
#define IS_ONE_OF(v, list) is_one_of((v), (list), sizeof(list) / sizeof *(list))

static bool is_hidden(const xmlChar **atts)
{
    const char *aria = attribute(atts, "aria-hidden"), *style = attribute(atts, "style");
    return has_attribute(atts, "hidden") || (aria && strcasecmp(aria, "true") == 0) ||
           (style && (strcasestr(style, "display:none") || strcasestr(style, "display: none")));
}

/* Where the words inside an element stand, as the element and its attributes say. */
static uint8_t place_of(enum element el, const xmlChar **atts, uint8_t around)
{
    static const char *const menus[] = {"navigation", "search", "menu", "menubar"}, *const chrome[] = {
                                                                                        "banner",
                                                                                        "contentinfo",
                                                                                        "complementary"};
    const char *role = attribute(atts, "role"), *const names[] = {attribute(atts, "class"),
                                                                  attribute(atts, "id")};
    bool content = around & (IN_MAIN | IN_ARTICLE);
    unsigned p = around;
    if (el == EL_NAV || IS_ONE_OF(role, menus))
        p |= IN_MENU;
    if ((el == EL_CHROME && !content) || IS_ONE_OF(role, chrome))
        p |= IN_CHROME;
    if (el == EL_FORM)
        p |= IN_FORM;
    if (el == EL_MAIN || (role && strcasecmp(role, "main") == 0))
        p |= IN_MAIN;
    if (el == EL_ARTICLE)
        p |= IN_ARTICLE;
    for (size_t i = 0; i < 2 && el != EL_INLINE && el != EL_LINK; i++)
        if (names[i] && strcasestr(names[i], "breadcrumb"))
            p |= IN_MENU;
        else if (names[i] && (strcasestr(names[i], "cookie") || strcasestr(names[i], "gdpr")))
            p |= IN_CHROME;
    if (is_hidden(atts))
        p |= IN_HIDDEN;
    return (uint8_t)p;
}

/* With all that is in it, whatever else the page has. An inline element that is hidden is an icon or a second form
 * of what stands beside it. */
static bool skipped(const struct page *p, enum element el, const xmlChar **atts)
{
    return el == EL_SKIP || (el == EL_BUTTON && !p->heading && !p->terms) ||
           ((el == EL_INLINE || el == EL_LINK) && is_hidden(atts));
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
        if (el == EL_SKIP)
            flush(p);
        p->skip = p->depth;
        return;
    }
    p->place[p->depth] = place_of(el, atts, p->place[p->depth - 1]);
    switch (el) {
    case EL_INLINE:
    case EL_BUTTON: break;
    case EL_LINK:
        p->link++;
        p->links++;
        break;
    case EL_BLOCK:
    case EL_MAIN:
    case EL_ARTICLE:
    case EL_NAV:
    case EL_CHROME:
    case EL_FORM: flush(p); break;
    case EL_DEFINITIONS:
        flush(p);
        term_flush(p);
        break;
    case EL_TERM:
        flush(p);
        if (p->term_defined)
            buf_reset(&p->term);
        p->term_defined = false;
        p->terms++;
        break;
    case EL_DEFINITION:
        flush(p);
        p->definitions++;
        p->definition_starts = true;
        break;
    case EL_BREAK: buf_addc(&p->words, p->tables || p->heading ? ' ' : '\n'); break;
    case EL_TITLE: p->title++; break;
    case EL_HEADING:
        if (p->tables == 1 && name[1] <= '2' && p->row && !p->cell_is_head)
            table_dissolve(p);
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
    case EL_TABLE: table_start(p, atts); break;
    case EL_HEAD_ROWS: p->in_head_rows = p->tables == 1; break;
    case EL_ROW: row_start(p); break;
    case EL_CELL:
    case EL_HEAD_CELL: cell_start(p, el == EL_HEAD_CELL, atts); break;
    case EL_SKIP: break;
    }
    p->here = p->place[p->depth];
}

static void element_end(struct page *p, enum element el)
{
    switch (el) {
    case EL_INLINE:
    case EL_BUTTON:
    case EL_SKIP:
    case EL_BREAK: break;
    case EL_LINK: p->link -= p->link > 0; break;
    case EL_TITLE: p->title -= p->title > 0; break;
    case EL_BLOCK:
    case EL_MAIN:
    case EL_ARTICLE:
    case EL_NAV:
    case EL_CHROME:
    case EL_FORM: flush(p); break;
    case EL_TERM:
        flush(p);
        p->terms -= p->terms > 0;
        break;
    case EL_DEFINITION:
        flush(p);
        p->definitions -= p->definitions > 0;
        break;
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
        flush(p);
        if (p->tables == 1)
            row_end(p);
        break;
    case EL_HEAD_ROWS:
        if (p->tables == 1)
            row_end(p);
        p->in_head_rows = false;
        break;
    case EL_DEFINITIONS:
        flush(p);
        term_flush(p);
        break;
    case EL_TABLE:
        if (p->tables == 1)
            table_end(p);
        else
            p->flat_tables -= p->flat_tables > 0;
        break;
    }
}

static void on_end(void *ctx, const xmlChar *xname)
{
    struct page *p = ctx;
    enum element el = element_of((const char *)xname);
    if (p->w->rc)
        return;
    if (p->skip) {
        if (p->depth <= p->skip)
            p->skip = 0;
    } else {
        element_end(p, el);
    }
    p->depth -= p->depth > 0;
    p->here = p->place[p->depth];
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
    size_t before = p->words.len;
    if (p->title)
        add_words(&p->title_text, (const char *)s, (size_t)len);
    else if (p->skip)
        return;
    else if (p->pre && !p->tables)
        buf_add(&p->words, s, (size_t)len);
    else
        add_words(&p->words, (const char *)s, (size_t)len);
    if (p->link)
        p->link_bytes += p->words.len - before;
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
    term_flush(p);
    return p->w->rc;
}

/* The page's only main heading; else what <title> says, which often names the site too. */
static void put_title(struct page *p)
{
    const struct text_block *b = (const struct text_block *)(const void *)p->w->doc->blocks.ptr, *h1 = NULL;
    size_t n = p->w->doc->blocks.len / sizeof *b, found = 0;
    for (size_t i = 0; i < n; i++)
        if (b[i].kind == BLOCK_HEADING && b[i].level == 1) {
            h1 = b + i;
            found++;
        }
    if (found == 1)
        docw_title(p->w, str_make(p->w->doc->text.ptr + h1->start, h1->end - h1->start));
    docw_title(p->w, buf_str(&p->title_text));
}

rag_code extract_html(struct doc_writer *w, struct str s)
{
    if (s.len > INT32_MAX)
        return docw_fail(w, RAG_ETOOBIG, "page too large");
    if (declares_entities(s))
        return docw_fail(w, RAG_ETOOBIG, "the page declares entities, which could expand without bound");
    if (s.len == 0)
        return w->rc;
    struct page p = {.w = w};
    struct buf *const bufs[] = {&p.words, &p.title_text, &p.places, &p.term};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_init(bufs[i], MEM_EXTRACT);
    grid_init(&p.grid, EXTRACT_MAX_CELLS);
    p.busy_until = mem_zalloc(MEM_EXTRACT, EXTRACT_MAX_COLUMNS * sizeof *p.busy_until);
    if (!p.busy_until)
        docw_fail(w, RAG_ENOMEM, "out of memory");
    else if (parse(&p, s) == RAG_OK)
        html_keep_content(w->doc, (uint8_t *)p.places.ptr);
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        if (buf_failed(bufs[i]))
            docw_fail(w, RAG_ENOMEM, "out of memory");
    if (!w->rc)
        put_title(&p);
    mem_free(MEM_EXTRACT, p.busy_until);
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_clear(bufs[i]);
    grid_clear(&p.grid);
    return w->rc;
}
