/* A workbook, in this order, since the zip may have its parts in any:
 *
 *   workbook.xml -> sheets, their state, 1904 dates; its relations -> where the parts are; styles -> number formats;
 *   shared strings; then sheet by sheet into a grid (grid.c finds headers and makes records)
 *
 * Left out, as no reader of the workbook sees it: hidden sheets, hidden columns, hidden rows. What only the present
 * view hides is kept: rows that a filter hides, and rows and columns of a folded group.
 *
 * Cells, shared strings, sheets and styles have limits; ooxml.c has those of the file as a whole. The extent that a
 * sheet declares (<dimension>) is not read: what counts is where its cells are. */
#include <stdio.h>
#include <stdlib.h>

#include "extract/grid.h"
#include "extract/number_format.h"
#include "extract/ooxml.h"

enum {
    MAX_SHEETS = 256,
    MAX_STYLES = 65536,
    MAX_FORMATS = 4096,
    MAX_STRINGS = 4 << 20,
    MAX_CELL_BYTES = 1 << 20, /* a cell holds at most 32,767 characters */
};

struct text_span {
    uint32_t off, len; /* in book.string_bytes */
};
struct sheet {
    struct ooxml_span name, rel_id;
    bool hidden;
};
struct custom_format {
    uint32_t id;
    struct ooxml_span code;
};

struct cell_style {
    uint32_t format_id;
    struct ooxml_span code; /* of a custom format, see styles_resolve; len 0: built in */
};

struct book {
    struct ooxml pkg;
    struct doc_writer *w;
    bool is_workbook, date1904;
    struct buf sheets;                /* struct sheet[] */
    struct buf formats;               /* struct custom_format[] */
    struct buf styles;                /* struct cell_style[] */
    struct buf string_bytes, strings; /* struct text_span[] */
    struct grid grid;
    uint32_t cells; /* of the sheets before */

    /* the part being read */
    bool in_cell_xfs, collect, phonetic;
    struct buf text;                    /* characters of the element being collected */
    uint32_t row, col, next_col, style; /* of the open cell; rows from 1 */
    char type[12];

    /* what the sheet being read does not show */
    bool hidden_col[EXTRACT_MAX_COLUMNS];
    bool row_hidden;
    struct buf hidden_cells;         /* uint32_t[]: indexes of cells of the grid, ascending */
    struct grid_merge filter;        /* where the sheet has one */
    uint32_t filter_from, filter_to; /* rows of a filter that is set; 0: none */
    bool has_tables;                 /* whose filters stand in other parts */
};

static bool is_true(struct str v)
{
    return str_eqz(v, "1") || str_eqz(v, "true");
}

static void workbook_start(void *ctx, const struct ooxml_element *e)
{
    struct book *b = ctx;
    if (e->depth == 1)
        b->is_workbook = strcmp(e->name, "workbook") == 0;
    if (strcmp(e->name, "workbookPr") == 0)
        b->date1904 = is_true(ooxml_attribute(e, "date1904"));
    if (strcmp(e->name, "sheet") != 0)
        return;
    struct str state = ooxml_attribute(e, "state");
    struct sheet s = {.hidden = state.len && !str_eqz(state, "visible")};
    s.name = ooxml_keep(&b->pkg, ooxml_attribute(e, "name"));
    s.rel_id = ooxml_keep(&b->pkg, ooxml_attribute(e, "id"));
    ooxml_add(&b->pkg, &b->sheets, &s, sizeof s, MAX_SHEETS, "sheets");
}

static void styles_start(void *ctx, const struct ooxml_element *e)
{
    struct book *b = ctx;
    uint32_t id = 0;
    bool has_id = ooxml_number(ooxml_attribute(e, "numFmtId"), UINT32_MAX, &id);
    if (strcmp(e->name, "cellXfs") == 0) {
        b->in_cell_xfs = true;
    } else if (strcmp(e->name, "numFmt") == 0 && has_id) {
        struct custom_format f = {id, ooxml_keep(&b->pkg, ooxml_attribute(e, "formatCode"))};
        ooxml_add(&b->pkg, &b->formats, &f, sizeof f, MAX_FORMATS, "number formats");
    } else if (strcmp(e->name, "xf") == 0 && b->in_cell_xfs) {
        struct cell_style st = {.format_id = id};
        ooxml_add(&b->pkg, &b->styles, &st, sizeof st, MAX_STYLES, "cell styles");
    }
}

static void styles_end(void *ctx, const struct ooxml_element *e)
{
    struct book *b = ctx;
    if (strcmp(e->name, "cellXfs") == 0)
        b->in_cell_xfs = false;
}

/* In strings, characters that XML cannot hold are written _xHHHH_ (ECMA-376 part 1, 22.9.2.19): here the ASCII ones,
 * which are line ends and the escape of '_' itself. In place. */
static void undo_escapes(struct buf *b)
{
    size_t to = 0;
    for (size_t i = 0; i < b->len; to++) {
        unsigned c;
        char hex[5] = "";
        if (b->len - i >= 7 && memcmp(b->ptr + i, "_x00", 4) == 0 && b->ptr[i + 6] == '_') {
            memcpy(hex, b->ptr + i + 2, 4);
            if (strspn(hex, "0123456789ABCDEFabcdef") == 4 && (c = (unsigned)strtoul(hex, NULL, 16)) < 0x80) {
                b->ptr[to] = c ? (char)c : ' ';
                i += 7;
                continue;
            }
        }
        b->ptr[to] = b->ptr[i++];
    }
    b->len = to;
}

static void strings_start(void *ctx, const struct ooxml_element *e)
{
    struct book *b = ctx;
    if (strcmp(e->name, "si") == 0)
        buf_reset(&b->text);
    else if (strcmp(e->name, "rPh") == 0) /* how to read it aloud */
        b->phonetic = true;
    else if (strcmp(e->name, "t") == 0)
        b->collect = !b->phonetic;
}

static void strings_end(void *ctx, const struct ooxml_element *e)
{
    struct book *b = ctx;
    if (strcmp(e->name, "t") == 0)
        b->collect = false;
    else if (strcmp(e->name, "rPh") == 0)
        b->phonetic = false;
    if (strcmp(e->name, "si") != 0)
        return;
    undo_escapes(&b->text);
    struct text_span s = {(uint32_t)b->string_bytes.len, (uint32_t)b->text.len};
    buf_adds(&b->string_bytes, buf_str(&b->text));
    if (b->string_bytes.len > 2 * b->w->max_bytes || b->string_bytes.len > UINT32_MAX / 2)
        docw_fail(b->w, RAG_ETOOBIG, "shared strings too large");
    if (buf_failed(&b->string_bytes))
        docw_fail(b->w, RAG_ENOMEM, "out of memory");
    ooxml_add(&b->pkg, &b->strings, &s, sizeof s, MAX_STRINGS, "shared strings");
}

/* "AB12": column 27, row 12. */
static bool reference(struct str s, uint32_t *row, uint32_t *col)
{
    uint32_t c = 0;
    size_t i = 0;
    for (; i < s.len && i < 4 && s.ptr[i] >= 'A' && s.ptr[i] <= 'Z'; i++)
        c = c * 26 + (uint32_t)(s.ptr[i] - 'A' + 1);
    if (c == 0 || !ooxml_number(str_make(s.ptr + i, s.len - i), EXTRACT_MAX_ROWS, row))
        return false;
    *col = c - 1;
    return *row > 0 && c <= EXTRACT_MAX_COLUMNS;
}

/* Once, when styles and formats are both known: cells then find their format at once. */
static void styles_resolve(struct book *b)
{
    struct cell_style *st = (struct cell_style *)(void *)b->styles.ptr;
    const struct custom_format *f = (const struct custom_format *)(const void *)b->formats.ptr;
    for (size_t i = 0; i < b->styles.len / sizeof *st; i++)
        for (size_t k = 0; k < b->formats.len / sizeof *f; k++)
            if (f[k].id == st[i].format_id) {
                st[i].code = f[k].code;
                break;
            }
}

static struct str format_of(const struct book *b, uint32_t style)
{
    const struct cell_style *st = (const struct cell_style *)(const void *)b->styles.ptr;
    if (style >= b->styles.len / sizeof *st)
        return str_make(NULL, 0);
    return st[style].code.len ? ooxml_name(&b->pkg, st[style].code)
                              : number_format_builtin(st[style].format_id);
}

static void cell_number(struct book *b)
{
    char text[64], *end;
    struct str s = str_trim(buf_str(&b->text));
    if (s.len == 0 || s.len >= sizeof text)
        return;
    memcpy(text, s.ptr, s.len);
    text[s.len] = 0;
    double v = strtod(text, &end);
    if (*end) {
        grid_add(&b->grid, b->w, b->row, b->col, CELL_TEXT, s);
        return;
    }
    struct buf shown;
    buf_init(&shown, MEM_EXTRACT);
    number_format(&shown, v, format_of(b, b->style), b->date1904);
    if (buf_failed(&shown))
        docw_fail(b->w, RAG_ENOMEM, "out of memory");
    grid_add(&b->grid, b->w, b->row, b->col, CELL_NUMBER, buf_str(&shown));
    buf_clear(&shown);
}

static void cell_value(struct book *b)
{
    uint32_t i;
    if (strcmp(b->type, "str") == 0 || strcmp(b->type, "inlineStr") == 0)
        undo_escapes(&b->text);
    struct str s = str_trim(buf_str(&b->text));
    if (s.len == 0)
        return;
    if (strcmp(b->type, "s") == 0) {
        const struct text_span *strings = (const struct text_span *)(const void *)b->strings.ptr;
        if (!ooxml_number(s, UINT32_MAX, &i) || i >= b->strings.len / sizeof *strings)
            docw_fail(b->w, RAG_EFORMAT, "row %u: no such shared string", b->row);
        else
            grid_add(&b->grid, b->w, b->row, b->col, CELL_TEXT,
                     buf_slice(&b->string_bytes, strings[i].off, strings[i].len));
    } else if (strcmp(b->type, "b") == 0) {
        grid_add(&b->grid, b->w, b->row, b->col, CELL_NUMBER, str_of(str_eqz(s, "1") ? "TRUE" : "FALSE"));
    } else if (strcmp(b->type, "str") == 0 || strcmp(b->type, "inlineStr") == 0) {
        grid_add(&b->grid, b->w, b->row, b->col, CELL_TEXT, s);
    } else if (strcmp(b->type, "d") == 0) {
        grid_add(&b->grid, b->w, b->row, b->col, CELL_NUMBER, s);
    } else if (strcmp(b->type, "e") != 0) { /* #N/A and the like say nothing */
        cell_number(b);
    }
}

static void cell_end(struct book *b)
{
    size_t n = grid_cell_count(&b->grid);
    if (b->col < EXTRACT_MAX_COLUMNS && b->hidden_col[b->col])
        return;
    cell_value(b);
    if (b->row_hidden && grid_cell_count(&b->grid) > n) {
        uint32_t index = (uint32_t)n;
        buf_add(&b->hidden_cells, &index, sizeof index);
        if (buf_failed(&b->hidden_cells))
            docw_fail(b->w, RAG_ENOMEM, "out of memory");
    }
}

/* "A1:C5" */
static bool range_of(struct str ref, struct grid_merge *m)
{
    const char *colon = ref.len ? memchr(ref.ptr, ':', ref.len) : NULL;
    return colon && reference(str_make(ref.ptr, (size_t)(colon - ref.ptr)), &m->r1, &m->c1) &&
           reference(str_make(colon + 1, ref.len - (size_t)(colon - ref.ptr) - 1), &m->r2, &m->c2);
}

/* Hidden for good, rather than folded away in a group. */
static bool is_hidden(const struct ooxml_element *e)
{
    struct str level = ooxml_attribute(e, "outlineLevel");
    return is_true(ooxml_attribute(e, "hidden")) && (level.len == 0 || str_eqz(level, "0"));
}

static void columns_start(struct book *b, const struct ooxml_element *e)
{
    uint32_t from, to;
    if (is_hidden(e) && ooxml_number(ooxml_attribute(e, "min"), EXTRACT_MAX_COLUMNS, &from) && from > 0 &&
        ooxml_number(ooxml_attribute(e, "max"), EXTRACT_MAX_COLUMNS, &to))
        for (uint32_t c = from - 1; c < to; c++)
            b->hidden_col[c] = true;
}

static void row_start(struct book *b, const struct ooxml_element *e)
{
    uint32_t v;
    struct str r = ooxml_attribute(e, "r");
    if (r.len && !ooxml_number(r, EXTRACT_MAX_ROWS, &v))
        docw_fail(b->w, RAG_EFORMAT, "a row with a wrong number");
    else
        b->row = r.len ? v : b->row + 1;
    b->next_col = 0;
    b->row_hidden = is_hidden(e);
}

static void cell_start(struct book *b, const struct ooxml_element *e)
{
    uint32_t v;
    struct str t = ooxml_attribute(e, "t"), ref = ooxml_attribute(e, "r");
    b->col = b->next_col;
    if (ref.len && !reference(ref, &b->row, &b->col))
        docw_fail(b->w, RAG_EFORMAT, "a cell with a wrong reference");
    b->next_col = b->col + 1;
    b->style = ooxml_number(ooxml_attribute(e, "s"), MAX_STYLES, &v) ? v : 0;
    snprintf(b->type, sizeof b->type, "%.*s", (int)(t.len < 11 ? t.len : 11), t.len ? t.ptr : "");
    buf_reset(&b->text);
}

static void sheet_start(void *ctx, const struct ooxml_element *e)
{
    struct book *b = ctx;
    struct grid_merge m;
    if (strcmp(e->name, "c") == 0)
        cell_start(b, e);
    else if (strcmp(e->name, "v") == 0 || strcmp(e->name, "t") == 0)
        b->collect = !b->phonetic;
    else if (strcmp(e->name, "rPh") == 0)
        b->phonetic = true;
    else if (strcmp(e->name, "row") == 0)
        row_start(b, e);
    else if (strcmp(e->name, "col") == 0)
        columns_start(b, e);
    else if (strcmp(e->name, "mergeCell") == 0 && range_of(ooxml_attribute(e, "ref"), &m))
        grid_merge(&b->grid, b->w, m);
    else if (strcmp(e->name, "autoFilter") == 0 && !range_of(ooxml_attribute(e, "ref"), &b->filter))
        b->filter = (struct grid_merge){0};
    else if (strcmp(e->name, "filterColumn") == 0) {
        b->filter_from = b->filter.r1;
        b->filter_to = b->filter.r2;
    } else if (strcmp(e->name, "tablePart") == 0) {
        b->has_tables = true;
    }
}

static void sheet_end(void *ctx, const struct ooxml_element *e)
{
    struct book *b = ctx;
    if (strcmp(e->name, "v") == 0 || strcmp(e->name, "t") == 0)
        b->collect = false;
    else if (strcmp(e->name, "rPh") == 0)
        b->phonetic = false;
    else if (strcmp(e->name, "c") == 0)
        cell_end(b);
}

/* Filters stand behind the cells, so what they hide is known only now. */
static void drop_hidden_cells(struct book *b)
{
    struct grid_cell *c = (struct grid_cell *)(void *)b->grid.cells.ptr;
    const uint32_t *h = (const uint32_t *)(const void *)b->hidden_cells.ptr;
    size_t n = grid_cell_count(&b->grid), n_hidden = b->hidden_cells.len / sizeof *h, to = 0, k = 0;
    if (b->has_tables || n_hidden == 0)
        return;
    for (size_t i = 0; i < n; i++) {
        bool hidden = k < n_hidden && h[k] == i;
        k += hidden;
        if (!hidden || (c[i].row >= b->filter_from && c[i].row <= b->filter_to))
            c[to++] = c[i];
    }
    b->grid.cells.len = to * sizeof *c;
}

static void on_text(void *ctx, struct str s)
{
    struct book *b = ctx;
    if (!b->collect)
        return;
    buf_adds(&b->text, s);
    if (buf_failed(&b->text))
        docw_fail(b->w, RAG_ENOMEM, "out of memory");
    else if (b->text.len > MAX_CELL_BYTES)
        docw_fail(b->w, RAG_ETOOBIG, "a cell of more than 1 MiB");
}

static bool part_read(struct book *b, const char *path, const struct ooxml_reader *r)
{
    b->in_cell_xfs = b->collect = b->phonetic = false;
    b->row = b->col = b->next_col = b->style = 0;
    buf_reset(&b->text);
    return ooxml_read(&b->pkg, str_of(path), r, b);
}

static void sheet_read(struct book *b, const struct sheet *s, const char *path)
{
    static const struct ooxml_reader reader = {sheet_start, sheet_end, on_text};
    grid_reset(&b->grid);
    buf_reset(&b->hidden_cells);
    memset(b->hidden_col, 0, sizeof b->hidden_col);
    b->filter = (struct grid_merge){0};
    b->filter_from = b->filter_to = 0;
    b->has_tables = b->row_hidden = false;
    b->grid.max_cells = EXTRACT_MAX_CELLS - b->cells;
    if (!part_read(b, path, &reader)) {
        docw_fail(b->w, RAG_EFORMAT, "sheet \"%.*s\" is missing", (int)s->name.len,
                  b->pkg.names.ptr + s->name.off);
        return;
    }
    b->cells += (uint32_t)grid_cell_count(&b->grid);
    drop_hidden_cells(b);
    grid_emit_records(&b->grid, b->w, ooxml_name(&b->pkg, s->name));
}

static void sheets_read(struct book *b, const char *book_path)
{
    char path[OOXML_MAX_PATH];
    size_t n = b->sheets.len / sizeof(struct sheet);
    for (size_t i = 0; i < n && !b->w->rc; i++) {
        const struct sheet *s = (const struct sheet *)(const void *)b->sheets.ptr + i;
        if (!s->hidden && s->rel_id.len &&
            ooxml_target(&b->pkg, ooxml_name(&b->pkg, s->rel_id), "", book_path, path) &&
            !strstr(path, "chartsheets/"))
            sheet_read(b, s, path);
    }
}

static void book_read(struct book *b)
{
    static const struct ooxml_reader workbook = {workbook_start, NULL, NULL},
                                     styles = {styles_start, styles_end, NULL},
                                     strings = {strings_start, strings_end, on_text};
    char path[OOXML_MAX_PATH], book_path[OOXML_MAX_PATH];
    ooxml_main_part(&b->pkg, "xl/workbook.xml", book_path);
    if (!part_read(b, book_path, &workbook) || !b->is_workbook) {
        docw_fail(b->w, RAG_EFORMAT, "is a zip but not a workbook");
        return;
    }
    ooxml_relations(&b->pkg, book_path);
    if (ooxml_target(&b->pkg, str_make(NULL, 0), "/styles", book_path, path))
        part_read(b, path, &styles);
    styles_resolve(b);
    if (ooxml_target(&b->pkg, str_make(NULL, 0), "/sharedStrings", book_path, path))
        part_read(b, path, &strings);
    sheets_read(b, book_path);
}

rag_code extract_xlsx(struct doc_writer *w, struct str bytes)
{
    struct book *b = mem_zalloc(MEM_EXTRACT, sizeof *b);
    if (!b)
        return docw_fail(w, RAG_ENOMEM, "out of memory");
    struct buf *const bufs[] = {&b->sheets,  &b->formats, &b->styles,      &b->string_bytes,
                                &b->strings, &b->text,    &b->hidden_cells};
    b->w = w;
    ooxml_init(&b->pkg, w, bytes, "a workbook", EXTRACT_MAX_DEPTH);
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_init(bufs[i], MEM_EXTRACT);
    grid_init(&b->grid, EXTRACT_MAX_CELLS);
    if (bytes.len < 4 || memcmp(bytes.ptr, "PK", 2) != 0)
        docw_fail(w, RAG_EFORMAT, "not a workbook (an old .xls, or protected by a password?)");
    else
        book_read(b);
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_clear(bufs[i]);
    ooxml_clear(&b->pkg);
    grid_clear(&b->grid);
    mem_free(MEM_EXTRACT, b);
    return w->rc;
}
