/* A Word document, as its reader sees it with all changes accepted:
 *
 *   its relations -> where the parts are; styles and lists (docx_styles.c); footnotes and endnotes, kept until they are
 *   referred to; then the document itself as a stream of elements
 *
 * Words gather in `words` until a paragraph ends; then they become a block: a heading by the outline level of the
 * paragraph or its style, a list item when the paragraph has a number or bullet, else prose. In a table they become
 * words of the open cell (grid.c makes rows of cells). What stands beside the text - notes, text boxes - waits in
 * `aside` and follows the paragraph or table that it belongs to. A table inside a cell is words of the cell; a table
 * of one column is layout, and its paragraphs are read as if it were not there.
 *
 * Left out: deleted and moved-away text, hidden text, field codes (their results are text), comments, headers and
 * footers, the table of contents, the second form of what Word writes twice (mc:Fallback), phonetic guides. */
#include <stdio.h>
#include <stdlib.h>

#include "extract/docx_styles.h"
#include "extract/docx_symbol.h"
#include "extract/grid.h"

enum {
    MAX_DEPTH = 256,
    MAX_TABLE_COLUMNS = 1024, /* Word has 63 */
    MAX_NOTES = 65536,
    MAX_BOXES = 32,
    MAX_FIELDS = 64,
    MAX_HEADING = 400, /* bytes; longer: prose in a heading's clothes, which must not be lost as a heading */
};

enum element {
    EL_OTHER,
    EL_P,
    EL_R,
    EL_T,
    EL_P_PR,
    EL_R_PR,
    EL_NUM_PR,
    EL_P_STYLE,
    EL_R_STYLE,
    EL_OUTLINE,
    EL_NUM_ID,
    EL_LEVEL,
    EL_VANISH,
    EL_TAB,
    EL_BREAK,
    EL_HYPHEN,
    EL_SYMBOL,
    EL_FIELD,
    EL_NOTE_REF,
    EL_NOTE,
    EL_DELETED,
    EL_SKIP,
    EL_BOX,
    EL_TABLE,
    EL_GRID_COLUMN,
    EL_ROW,
    EL_ROW_PR,
    EL_HEAD_ROW,
    EL_GAP_BEFORE,
    EL_HIDDEN_ROW,
    EL_CELL,
    EL_SPAN,
    EL_DOWN,
    EL_MATH_RUN,
    EL_DENOMINATOR,
    EL_SUPERSCRIPT,
    EL_ALTERNATE,
    EL_CHOICE,
    EL_FALLBACK,
};

enum space { SPACE_WORD, SPACE_MATH, SPACE_COMPAT, SPACE_OTHER };

static const struct {
    const char *name;
    enum element el;
    enum space space;
} elements[] = {
    {"p", EL_P, SPACE_WORD},
    {"r", EL_R, SPACE_WORD},
    {"t", EL_T, SPACE_WORD},
    {"pPr", EL_P_PR, SPACE_WORD},
    {"rPr", EL_R_PR, SPACE_WORD},
    {"numPr", EL_NUM_PR, SPACE_WORD},
    {"pStyle", EL_P_STYLE, SPACE_WORD},
    {"rStyle", EL_R_STYLE, SPACE_WORD},
    {"outlineLvl", EL_OUTLINE, SPACE_WORD},
    {"numId", EL_NUM_ID, SPACE_WORD},
    {"ilvl", EL_LEVEL, SPACE_WORD},
    {"vanish", EL_VANISH, SPACE_WORD},
    {"tab", EL_TAB, SPACE_WORD},
    {"ptab", EL_TAB, SPACE_WORD},
    {"br", EL_BREAK, SPACE_WORD},
    {"cr", EL_BREAK, SPACE_WORD},
    {"noBreakHyphen", EL_HYPHEN, SPACE_WORD},
    {"sym", EL_SYMBOL, SPACE_WORD},
    {"fldChar", EL_FIELD, SPACE_WORD},
    {"footnoteReference", EL_NOTE_REF, SPACE_WORD},
    {"endnoteReference", EL_NOTE_REF, SPACE_WORD},
    {"footnote", EL_NOTE, SPACE_WORD},
    {"endnote", EL_NOTE, SPACE_WORD},
    {"del", EL_DELETED, SPACE_WORD},
    {"moveFrom", EL_DELETED, SPACE_WORD},
    {"sectPr", EL_SKIP, SPACE_WORD},
    {"sdtPr", EL_SKIP, SPACE_WORD},
    {"sdtEndPr", EL_SKIP, SPACE_WORD},
    {"tblPr", EL_SKIP, SPACE_WORD},
    {"tblPrEx", EL_SKIP, SPACE_WORD},
    {"rt", EL_SKIP, SPACE_WORD},
    {"pPrChange", EL_SKIP, SPACE_WORD},
    {"rPrChange", EL_SKIP, SPACE_WORD},
    {"trPrChange", EL_SKIP, SPACE_WORD},
    {"tcPrChange", EL_SKIP, SPACE_WORD},
    {"tblGridChange", EL_SKIP, SPACE_WORD},
    {"numberingChange", EL_SKIP, SPACE_WORD},
    {"txbxContent", EL_BOX, SPACE_WORD},
    {"tbl", EL_TABLE, SPACE_WORD},
    {"gridCol", EL_GRID_COLUMN, SPACE_WORD},
    {"tr", EL_ROW, SPACE_WORD},
    {"trPr", EL_ROW_PR, SPACE_WORD},
    {"tblHeader", EL_HEAD_ROW, SPACE_WORD},
    {"gridBefore", EL_GAP_BEFORE, SPACE_WORD},
    {"hidden", EL_HIDDEN_ROW, SPACE_WORD},
    {"tc", EL_CELL, SPACE_WORD},
    {"gridSpan", EL_SPAN, SPACE_WORD},
    {"vMerge", EL_DOWN, SPACE_WORD},
    {"r", EL_MATH_RUN, SPACE_MATH},
    {"t", EL_T, SPACE_MATH},
    {"den", EL_DENOMINATOR, SPACE_MATH},
    {"sup", EL_SUPERSCRIPT, SPACE_MATH},
    {"AlternateContent", EL_ALTERNATE, SPACE_COMPAT},
    {"Choice", EL_CHOICE, SPACE_COMPAT},
    {"Fallback", EL_FALLBACK, SPACE_COMPAT},
};

struct paragraph {
    const struct docx_style *style; /* NULL: none */
    int outline, list_level;        /* as the paragraph itself says; -1: nothing */
    int64_t list;
    size_t start;    /* in words */
    bool joins_next; /* its end was deleted */
};

/* A text box, inside the run that it is drawn at. */
struct box {
    struct paragraph paragraph;
    size_t start; /* of its text in words */
    bool run_hidden;
};

struct note {
    uint32_t id;
    bool end_note, used;
    uint32_t off, len; /* in note_text */
};

struct docx {
    struct doc_writer *w;
    struct ooxml pkg;
    struct docx_styles styles;
    bool is_document;

    uint8_t path[MAX_DEPTH + 1];   /* enum element of the open elements */
    bool chosen[MAX_DEPTH + 1];    /* an alternate content had its choice */
    unsigned skip;                 /* depth of the element that is being left out with all in it; 0: none */
    struct buf words, line, aside; /* line: scratch of paragraph_end */
    struct buf aside_ends;         /* uint32_t[]: where the pieces of aside end */
    struct paragraph p;
    bool collect, keep_space, run_hidden;
    size_t text_start;    /* of the open <w:t> in words */
    unsigned fields;      /* open ones */
    uint64_t field_codes; /* bit: the field is still in its code */

    struct box boxes[MAX_BOXES];
    unsigned n_boxes;

    struct buf notes, note_text; /* struct note[] */
    bool reading_notes;
    struct note note;

    unsigned tables;       /* open ones inside the one that is read into the grid, that one included */
    unsigned flat_tables;  /* layout tables around it */
    uint32_t grid_columns; /* that the open table declares */
    struct grid grid;
    uint32_t cells; /* of the tables before */
    uint32_t row, col, span, head_rows;
    bool row_heads, down, down_starts;         /* of the open row and cell */
    struct grid_merge open[MAX_TABLE_COLUMNS]; /* a cell merged downwards so far, by column; r1 0: none */
};

static enum space space_of(const char *uri)
{
    if (strstr(uri, "/wordprocessingml/"))
        return SPACE_WORD;
    if (strstr(uri, "/officeDocument/") && strstr(uri, "/math"))
        return SPACE_MATH;
    return strstr(uri, "/markup-compatibility/") ? SPACE_COMPAT : SPACE_OTHER;
}

static enum element element_of(const struct ooxml_element *e)
{
    enum space space = space_of(e->uri);
    for (size_t i = 0; space != SPACE_OTHER && i < sizeof elements / sizeof *elements; i++)
        if (elements[i].space == space && strcmp(e->name, elements[i].name) == 0)
            return elements[i].el;
    return EL_OTHER;
}

static bool is_off(struct str v)
{
    return str_eqz(v, "0") || str_eqz(v, "false") || str_eqz(v, "off");
}

static void check(struct docx *d)
{
    if (buf_failed(&d->words) || buf_failed(&d->line) || buf_failed(&d->aside) ||
        buf_failed(&d->aside_ends) || buf_failed(&d->notes) || buf_failed(&d->note_text))
        docw_fail(d->w, RAG_ENOMEM, "out of memory");
    else if (d->words.len + d->aside.len + d->note_text.len > 2 * d->w->max_bytes)
        docw_fail(d->w, RAG_ETOOBIG, "too much text");
}

/* --- what stands beside the text --- */

static void aside_add(struct docx *d, struct str s)
{
    s = str_trim(s);
    if (s.len == 0)
        return;
    buf_adds(&d->aside, s);
    uint32_t end = (uint32_t)d->aside.len;
    buf_add(&d->aside_ends, &end, sizeof end);
    check(d);
}

static void aside_emit(struct docx *d)
{
    const uint32_t *ends = (const uint32_t *)(const void *)d->aside_ends.ptr;
    uint32_t from = 0;
    for (size_t i = 0; i < d->aside_ends.len / sizeof *ends; from = ends[i++])
        docw_block(d->w, BLOCK_PARAGRAPH, 0, buf_slice(&d->aside, from, ends[i] - from));
    buf_reset(&d->aside);
    buf_reset(&d->aside_ends);
}

static int by_note(const void *a, const void *b)
{
    const struct note *x = a, *y = b;
    return x->end_note != y->end_note ? x->end_note - y->end_note : (x->id > y->id) - (x->id < y->id);
}

static void note_start(struct docx *d, const struct ooxml_element *e)
{
    struct str type = ooxml_attribute(e, "type");
    d->note = (struct note){.end_note = e->name[0] == 'e', .off = (uint32_t)d->note_text.len};
    /* separators are notes too */
    d->note.used = !ooxml_number(ooxml_attribute(e, "id"), UINT32_MAX, &d->note.id) ||
                   (type.len && !str_eqz(type, "normal"));
    buf_reset(&d->words);
}

static void note_end(struct docx *d)
{
    struct str s = str_trim(buf_str(&d->words));
    if (!d->note.used && s.len) {
        d->note.len = (uint32_t)s.len;
        buf_adds(&d->note_text, s);
        ooxml_add(&d->pkg, &d->notes, &d->note, sizeof d->note, MAX_NOTES, "notes");
    }
    buf_reset(&d->words);
    check(d);
}

/* A note follows where it is referred to first. */
static void note_refer(struct docx *d, const struct ooxml_element *e)
{
    struct note key = {.end_note = e->name[0] == 'e'}, *n = NULL;
    if (d->reading_notes || d->notes.len == 0 || d->run_hidden || d->field_codes ||
        !ooxml_number(ooxml_attribute(e, "id"), UINT32_MAX, &key.id))
        return;
    n = bsearch(&key, d->notes.ptr, d->notes.len / sizeof *n, sizeof *n, by_note);
    if (!n || n->used)
        return;
    n->used = true;
    aside_add(d, buf_slice(&d->note_text, n->off, n->len));
}

/* --- paragraphs --- */

/* Inside a text box or a note: text only, paragraph under paragraph. */
static bool is_plain(const struct docx *d)
{
    return d->n_boxes > 0 || d->reading_notes;
}

static void paragraph_start(struct docx *d)
{
    bool joined = d->p.joins_next && d->p.start <= d->words.len;
    size_t start = joined ? d->p.start : d->words.len;
    d->p = (struct paragraph){.outline = -1, .list_level = -1, .list = -1, .start = start};
}

static int outline_of(const struct paragraph *p)
{
    return p->outline >= 0 ? p->outline : p->style ? p->style->outline : -1;
}

/* Its number or bullet, to line. */
static void put_label(struct docx *d)
{
    const struct docx_style *s = d->p.style;
    int64_t list = d->p.list >= 0 ? d->p.list : s ? s->list : -1;
    int level = d->p.list_level >= 0 ? d->p.list_level : s && s->list_level >= 0 ? s->list_level : 0;
    if (list > 0 && list <= UINT32_MAX)
        docx_list_label(&d->styles, &d->pkg, (uint32_t)list, (uint32_t)level, &d->line);
}

static void emit_paragraph(struct docx *d, struct str text, size_t label)
{
    int outline = outline_of(&d->p);
    struct str whole = buf_str(&d->line);
    bool title = d->p.style && d->p.style->title && outline < 0;
    if (title)
        docw_title(d->w, text);
    if (title || (outline >= 0 && outline < DOCX_BODY_LEVEL && text.len <= MAX_HEADING)) {
        docw_block(d->w, BLOCK_HEADING, title ? 1 : (unsigned)outline + 1, whole);
    } else if (label) {
        int level = d->p.list_level >= 0 ? d->p.list_level : d->p.style ? d->p.style->list_level : 0;
        docw_begin(d->w, BLOCK_LIST_ITEM, 0);
        for (int i = 0; i < level; i++)
            docw_text(d->w, STR_LIT("  "));
        docw_text(d->w, whole);
        docw_end(d->w);
    } else {
        docw_block(d->w, BLOCK_PARAGRAPH, 0, whole);
    }
}

static void paragraph_end(struct docx *d)
{
    d->field_codes = 0; /* a field that never ends must not swallow the rest */
    if (d->p.joins_next || d->p.start > d->words.len)
        return;
    struct str text = str_trim(buf_slice(&d->words, d->p.start, d->words.len - d->p.start));
    bool contents = d->p.style && d->p.style->contents;
    buf_reset(&d->line);
    if (!contents)
        put_label(d);
    size_t label = d->line.len;
    if (text.len && !contents)
        buf_adds(&d->line, text);
    check(d);
    if (is_plain(d) || d->tables) {
        d->words.len = d->p.start;
        if (text.len) {
            buf_adds(&d->words, buf_str(&d->line));
            buf_addc(&d->words, d->tables && !is_plain(d) ? ' ' : '\n');
        }
        check(d);
        return;
    }
    if (text.len && !contents)
        emit_paragraph(d, text, label);
    buf_reset(&d->words);
    aside_emit(d);
}

static void box_start(struct docx *d)
{
    if (d->n_boxes == MAX_BOXES) {
        docw_fail(d->w, RAG_ETOOBIG, "more than %d text boxes inside one another", MAX_BOXES);
        return;
    }
    d->boxes[d->n_boxes++] = (struct box){d->p, d->words.len, d->run_hidden};
    d->p = (struct paragraph){.start = d->words.len};
    d->run_hidden = false;
}

static void box_end(struct docx *d)
{
    if (d->n_boxes == 0)
        return;
    const struct box *b = &d->boxes[--d->n_boxes];
    if (b->start <= d->words.len) {
        aside_add(d, buf_slice(&d->words, b->start, d->words.len - b->start));
        d->words.len = b->start;
    }
    d->p = b->paragraph;
    d->run_hidden = b->run_hidden;
}

/* --- runs --- */

static bool shows(const struct docx *d)
{
    return !d->run_hidden && !d->field_codes;
}

static void run_start(struct docx *d)
{
    d->run_hidden = d->p.style && d->p.style->hidden > 0;
}

static void field(struct docx *d, struct str type)
{
    if (str_eqz(type, "begin")) {
        if (d->fields++ < MAX_FIELDS)
            d->field_codes |= (uint64_t)1 << (d->fields - 1);
        return;
    }
    if (d->fields == 0)
        return;
    if (d->fields <= MAX_FIELDS)
        d->field_codes &= ~((uint64_t)1 << (d->fields - 1));
    if (str_eqz(type, "end"))
        d->fields--;
}

/* Inside a run. */
static void put(struct docx *d, const char *s)
{
    if (shows(d))
        buf_addz(&d->words, s);
}

/* Soft hyphens show only where a line breaks; white space at the ends counts only if the file says so. */
static void text_end(struct docx *d)
{
    d->collect = false;
    if (d->text_start > d->words.len)
        return;
    struct str s = buf_slice(&d->words, d->text_start, d->words.len - d->text_start);
    if (!d->keep_space)
        s = str_trim(s);
    char *to = d->words.ptr + d->text_start;
    for (size_t i = 0; i < s.len;) {
        if (s.ptr[i] == '\xC2' && i + 1 < s.len && s.ptr[i + 1] == '\xAD')
            i += 2;
        else
            *to++ = s.ptr[i++];
    }
    if (d->words.ptr)
        d->words.len = (size_t)(to - d->words.ptr);
}

static void text_start(struct docx *d, const struct ooxml_element *e, bool math)
{
    d->collect = shows(d);
    d->keep_space = math || str_eqz(ooxml_attribute(e, "space"), "preserve");
    d->text_start = d->words.len;
}

/* --- tables --- */

static void flush_loose(struct docx *d)
{
    if (d->tables == 0 && !is_plain(d) && d->words.len) { /* words outside of any paragraph */
        d->p = (struct paragraph){.outline = -1, .list_level = -1, .list = -1};
        paragraph_end(d);
    }
}

static void table_start(struct docx *d)
{
    flush_loose(d);
    if (is_plain(d) || d->tables++ > 0)
        return;
    grid_reset(&d->grid);
    d->grid.max_cells = EXTRACT_MAX_CELLS - d->cells;
    d->row = d->col = d->head_rows = d->grid_columns = 0;
    memset(d->open, 0, sizeof d->open);
    buf_reset(&d->words);
}

static void row_start(struct docx *d)
{
    if (is_plain(d) || d->tables != 1)
        return;
    if (d->row == 0 && d->grid_columns == 1) {
        d->tables = 0;
        d->flat_tables++;
        return;
    }
    d->row++;
    d->col = 0;
    d->row_heads = false;
}

static void row_end(struct docx *d)
{
    if (!is_plain(d) && d->tables == 1 && d->row_heads && d->row == d->head_rows + 1)
        d->head_rows++;
}

static void cell_start(struct docx *d)
{
    if (is_plain(d) || d->tables != 1)
        return;
    buf_reset(&d->words);
    d->span = 1;
    d->down = d->down_starts = false;
}

static void merge_close(struct docx *d, uint32_t col)
{
    struct grid_merge *m = &d->open[col];
    if (m->r1 && (m->r2 > m->r1 || m->c2 > m->c1))
        grid_merge(&d->grid, d->w, *m);
    m->r1 = 0;
}

static void cell_end(struct docx *d)
{
    if (is_plain(d) || d->tables == 0)
        return;
    if (d->tables > 1) {
        buf_addc(&d->words, ' ');
        return;
    }
    if (d->row == 0 || d->col >= MAX_TABLE_COLUMNS || d->span > MAX_TABLE_COLUMNS - d->col) {
        docw_fail(d->w, RAG_ETOOBIG, "a table of more than %d columns", MAX_TABLE_COLUMNS);
        return;
    }
    struct str s = str_trim(buf_str(&d->words));
    struct grid_merge *m = &d->open[d->col];
    if (d->down && !d->down_starts && m->r1) {
        m->r2 = d->row;
    } else {
        for (uint32_t c = d->col; c < d->col + d->span; c++)
            merge_close(d, c);
        *m = (struct grid_merge){d->row, d->col, d->row, d->col + d->span - 1};
        if (!d->down)
            merge_close(d, d->col);
    }
    grid_add(&d->grid, d->w, d->row, d->col, grid_kind_of(s), s);
    d->col += d->span;
    buf_reset(&d->words);
}

static void table_end(struct docx *d)
{
    if (is_plain(d))
        return;
    if (d->tables == 0) {
        d->flat_tables -= d->flat_tables > 0;
        return;
    }
    if (--d->tables > 0)
        return;
    for (uint32_t c = 0; c < MAX_TABLE_COLUMNS; c++)
        merge_close(d, c);
    d->cells += (uint32_t)grid_cell_count(&d->grid);
    grid_emit_page_table(&d->grid, d->w, d->head_rows ? (int)d->head_rows : -1);
    buf_reset(&d->words);
    aside_emit(d);
}

/* A row that is deleted or hidden: the rest of it is skipped. */
static void row_drop(struct docx *d, const struct ooxml_element *e)
{
    d->skip = e->depth - 2;
    if (!is_plain(d) && d->tables == 1)
        d->row -= d->row > 0;
}

/* --- elements --- */

static void property(struct docx *d, enum element el, const struct ooxml_element *e, enum element parent)
{
    uint32_t v;
    struct str val = ooxml_attribute(e, "val");
    bool number = ooxml_number(val, INT32_MAX, &v);
    enum element above = e->depth > 2 ? d->path[e->depth - 2] : EL_OTHER;
    switch (el) {
    case EL_P_STYLE: d->p.style = docx_style_find(&d->styles, &d->pkg, val); break;
    case EL_OUTLINE:
        if (parent == EL_P_PR && number)
            d->p.outline = (int)v;
        break;
    case EL_NUM_ID:
        if (parent == EL_NUM_PR && number)
            d->p.list = v;
        break;
    case EL_LEVEL:
        if (parent == EL_NUM_PR && number && v < DOCX_LIST_LEVELS)
            d->p.list_level = (int)v;
        break;
    case EL_R_STYLE: {
        const struct docx_style *s = docx_style_find(&d->styles, &d->pkg, val);
        if (above == EL_R && s && s->hidden >= 0)
            d->run_hidden = s->hidden;
        break;
    }
    case EL_VANISH:
        if (parent == EL_R_PR && above == EL_R)
            d->run_hidden = !is_off(val);
        break;
    case EL_HEAD_ROW: d->row_heads |= !is_off(val); break;
    case EL_GAP_BEFORE:
        if (!is_plain(d) && d->tables == 1 && number && v < MAX_TABLE_COLUMNS)
            d->col = v;
        break;
    case EL_SPAN:
        if (d->tables == 1 && number && v > 0)
            d->span = v;
        break;
    case EL_DOWN:
        if (d->tables == 1) {
            d->down = true;
            d->down_starts = str_eqz(val, "restart");
        }
        break;
    default: break;
    }
}

static void deleted(struct docx *d, const struct ooxml_element *e, enum element parent)
{
    if (parent == EL_R_PR) /* of a paragraph's properties: its end */
        d->p.joins_next |= e->depth > 2 && d->path[e->depth - 2] == EL_P_PR;
    else if (parent == EL_ROW_PR)
        row_drop(d, e);
    else
        d->skip = e->depth;
}

static void on_start(void *ctx, const struct ooxml_element *e)
{
    struct docx *d = ctx;
    if (e->depth == 1)
        d->is_document = strcmp(e->name, "document") == 0 && space_of(e->uri) == SPACE_WORD;
    if (d->skip)
        return;
    enum element el = element_of(e), parent = d->path[e->depth - 1];
    d->path[e->depth] = (uint8_t)el;
    switch (el) {
    case EL_P: paragraph_start(d); break;
    case EL_R: run_start(d); break;
    case EL_T:
        if (parent == EL_R || parent == EL_MATH_RUN)
            text_start(d, e, parent == EL_MATH_RUN);
        break;
    case EL_TAB:
        if (parent == EL_R)
            put(d, "\t");
        break;
    case EL_BREAK:
        if (parent == EL_R)
            put(d, "\n");
        break;
    case EL_HYPHEN: put(d, "-"); break;
    case EL_SYMBOL:
        if (shows(d))
            docx_symbol(&d->words, ooxml_attribute(e, "font"), ooxml_attribute(e, "char"));
        break;
    case EL_DENOMINATOR: put(d, "/"); break;
    case EL_SUPERSCRIPT: put(d, "^"); break;
    case EL_FIELD: field(d, ooxml_attribute(e, "fldCharType")); break;
    case EL_NOTE_REF: note_refer(d, e); break;
    case EL_NOTE:
        if (d->reading_notes)
            note_start(d, e);
        break;
    case EL_DELETED: deleted(d, e, parent); break;
    case EL_HIDDEN_ROW:
        if (parent == EL_ROW_PR && !is_off(ooxml_attribute(e, "val")))
            row_drop(d, e);
        break;
    case EL_SKIP: d->skip = e->depth; break;
    case EL_ALTERNATE: d->chosen[e->depth] = false; break;
    case EL_CHOICE:
    case EL_FALLBACK:
        if (d->chosen[e->depth - 1])
            d->skip = e->depth;
        d->chosen[e->depth - 1] = true;
        break;
    case EL_BOX: box_start(d); break;
    case EL_TABLE: table_start(d); break;
    case EL_GRID_COLUMN: d->grid_columns += d->tables == 1; break;
    case EL_ROW: row_start(d); break;
    case EL_CELL: cell_start(d); break;
    default: property(d, el, e, parent);
    }
    check(d);
}

static void on_end(void *ctx, const struct ooxml_element *e)
{
    struct docx *d = ctx;
    if (d->skip) {
        if (e->depth > d->skip)
            return;
        d->skip = 0;
    }
    switch (element_of(e)) {
    case EL_P: paragraph_end(d); break;
    case EL_T:
        if (d->collect)
            text_end(d);
        break;
    case EL_BOX: box_end(d); break;
    case EL_NOTE:
        if (d->reading_notes)
            note_end(d);
        break;
    case EL_CELL: cell_end(d); break;
    case EL_ROW: row_end(d); break;
    case EL_TABLE: table_end(d); break;
    default: break;
    }
    check(d);
}

static void on_text(void *ctx, struct str s)
{
    struct docx *d = ctx;
    if (!d->collect || d->skip)
        return;
    buf_adds(&d->words, s);
    check(d);
}

/* --- parts --- */

static const struct ooxml_reader reader = {on_start, on_end, on_text};

static bool part_read(struct docx *d, const char *path)
{
    d->skip = d->n_boxes = d->tables = d->flat_tables = d->fields = 0;
    d->field_codes = 0;
    d->collect = d->run_hidden = false;
    d->p = (struct paragraph){.outline = -1, .list_level = -1, .list = -1};
    buf_reset(&d->words);
    return ooxml_read(&d->pkg, str_of(path), &reader, d);
}

static void notes_read(struct docx *d, const char *main_path, const char *type)
{
    char path[OOXML_MAX_PATH];
    if (!ooxml_target(&d->pkg, str_make(NULL, 0), type, main_path, path))
        return;
    d->reading_notes = true;
    part_read(d, path);
    d->reading_notes = false;
}

struct core {
    struct buf title;
    bool open;
};

static void core_start(void *ctx, const struct ooxml_element *e)
{
    struct core *c = ctx;
    c->open = strcmp(e->name, "title") == 0;
}

static void core_end(void *ctx, const struct ooxml_element *e)
{
    struct core *c = ctx;
    (void)e;
    c->open = false;
}

static void core_text(void *ctx, struct str s)
{
    struct core *c = ctx;
    if (c->open && c->title.len < 4096)
        buf_adds(&c->title, s);
}

/* The title of the file's properties; relations are those of the file. */
static void core_read(struct docx *d, const char *path)
{
    static const struct ooxml_reader core_reader = {core_start, core_end, core_text};
    struct core c = {0};
    buf_init(&c.title, MEM_EXTRACT);
    ooxml_read(&d->pkg, str_of(path), &core_reader, &c);
    if (buf_failed(&c.title))
        docw_fail(d->w, RAG_ENOMEM, "out of memory");
    docw_title(d->w, buf_str(&c.title));
    buf_clear(&c.title);
}

static void document_read(struct docx *d)
{
    char main_path[OOXML_MAX_PATH], core_path[OOXML_MAX_PATH], path[OOXML_MAX_PATH];
    struct str any = str_make(NULL, 0);
    ooxml_main_part(&d->pkg, "word/document.xml", main_path);
    if (!ooxml_target(&d->pkg, any, "/core-properties", "", core_path))
        snprintf(core_path, sizeof core_path, "docProps/core.xml");
    ooxml_relations(&d->pkg, main_path);
    if (ooxml_target(&d->pkg, any, "/styles", main_path, path))
        docx_styles_read(&d->styles, &d->pkg, path);
    if (ooxml_target(&d->pkg, any, "/numbering", main_path, path))
        docx_lists_read(&d->styles, &d->pkg, path);
    notes_read(d, main_path, "/footnotes");
    notes_read(d, main_path, "/endnotes");
    if (d->notes.len)
        qsort(d->notes.ptr, d->notes.len / sizeof(struct note), sizeof(struct note), by_note);
    d->is_document = false;
    if (!part_read(d, main_path) || !d->is_document) {
        docw_fail(d->w, RAG_EFORMAT, "is a zip but not a Word document");
        return;
    }
    flush_loose(d);
    aside_emit(d);
    core_read(d, core_path);
}

rag_code extract_docx(struct doc_writer *w, struct str bytes)
{
    struct docx *d = mem_zalloc(MEM_EXTRACT, sizeof *d);
    if (!d)
        return docw_fail(w, RAG_ENOMEM, "out of memory");
    struct buf *const bufs[] = {&d->words, &d->line, &d->aside, &d->aside_ends, &d->notes, &d->note_text};
    d->w = w;
    ooxml_init(&d->pkg, w, bytes, "a Word document", MAX_DEPTH);
    docx_styles_init(&d->styles);
    grid_init(&d->grid, EXTRACT_MAX_CELLS);
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_init(bufs[i], MEM_EXTRACT);
    if (bytes.len < 4 || memcmp(bytes.ptr, "PK", 2) != 0)
        docw_fail(w, RAG_EFORMAT, "not a Word document (an old .doc, or protected by a password?)");
    else
        document_read(d);
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_clear(bufs[i]);
    grid_clear(&d->grid);
    docx_styles_clear(&d->styles);
    ooxml_clear(&d->pkg);
    mem_free(MEM_EXTRACT, d);
    return w->rc;
}
