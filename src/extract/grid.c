/* Merged cells. A file stores the value in the top left cell only. In the header a merged name covers all its
 * columns and rows ("annual fee" over "main card" and "extra card" gives "annual fee / main card"); in the data a
 * value merged downwards belongs to each of its rows (a category column), while one merged sideways is one value.
 *
 * The header is the first row with more than one cell, when its cells are names: mostly text, and not more numbers
 * than the row below. It goes on downwards as far as cells merged from its first row reach, and for one row more
 * when some of its cells are merged sideways only. Without merged cells, a second row of names is seen by its empty
 * first column and by the names that it has below gaps of the first row; a gap there belongs to the name on its left. */
#include "extract/grid.h"

#include <stdio.h>
#include <stdlib.h>

#include "text/utf8.h"

enum { MAX_HEADER_ROWS = 5, MAX_MERGES = 1 << 17, MAX_NAME = 200, LONG_CELL = 1000 };

struct carry { /* a value merged downwards */
    uint32_t until_row;
    struct str value;
};

struct layout {
    const struct grid_cell *cells;
    size_t n;
    size_t first, data; /* cells: header rows are [first, data), rows above are captions */
    uint32_t n_cols;
    struct str *names; /* [n_cols], in name_bytes; len 0: none */
    struct buf name_bytes;
    struct carry *carry; /* [n_cols] */
    struct buf active;   /* uint32_t columns with a carry, ascending */
    const struct grid_merge *merges;
    size_t n_merges, next_merge;
    bool has_names;
    bool gaps; /* of the first header row belong to the name on their left */
};

void grid_init(struct grid *g, uint32_t max_cells)
{
    *g = (struct grid){.max_cells = max_cells};
    buf_init(&g->text, MEM_EXTRACT);
    buf_init(&g->cells, MEM_EXTRACT);
    buf_init(&g->merges, MEM_EXTRACT);
}

void grid_clear(struct grid *g)
{
    buf_clear(&g->text);
    buf_clear(&g->cells);
    buf_clear(&g->merges);
}

void grid_reset(struct grid *g)
{
    buf_reset(&g->text);
    buf_reset(&g->cells);
    buf_reset(&g->merges);
    g->unsorted = false;
}

size_t grid_cell_count(const struct grid *g)
{
    return g->cells.len / sizeof(struct grid_cell);
}

void grid_add(struct grid *g, struct doc_writer *w, uint32_t row, uint32_t col, enum cell_kind kind,
              struct str s)
{
    if (w->rc)
        return;
    size_t off = g->text.len, n = grid_cell_count(g);
    text_squeeze(&g->text, s);
    if (g->text.len == off && !buf_failed(&g->text))
        return;
    if (row > EXTRACT_MAX_ROWS || col >= EXTRACT_MAX_COLUMNS || n >= g->max_cells ||
        g->text.len > w->max_bytes) {
        docw_fail(w, RAG_ETOOBIG, "too many cells (at row %u, column %u)", row, col + 1);
        return;
    }
    if (n) {
        const struct grid_cell *last = (const struct grid_cell *)(const void *)g->cells.ptr + (n - 1);
        g->unsorted |= row < last->row || (row == last->row && col <= last->col);
    }
    struct grid_cell c = {.row = row,
                          .col = col,
                          .off = (uint32_t)off,
                          .len = (uint32_t)(g->text.len - off),
                          .kind = (uint8_t)kind};
    buf_add(&g->cells, &c, sizeof c);
    if (buf_failed(&g->text) || buf_failed(&g->cells))
        docw_fail(w, RAG_ENOMEM, "out of memory");
}

void grid_merge(struct grid *g, struct doc_writer *w, struct grid_merge m)
{
    if (w->rc || m.r1 > m.r2 || m.c1 > m.c2 || m.c2 >= EXTRACT_MAX_COLUMNS)
        return;
    if (g->merges.len / sizeof m >= MAX_MERGES) {
        docw_fail(w, RAG_ETOOBIG, "too many merged cells");
        return;
    }
    buf_add(&g->merges, &m, sizeof m);
    if (buf_failed(&g->merges))
        docw_fail(w, RAG_ENOMEM, "out of memory");
}

enum cell_kind grid_kind_of(struct str s)
{
    bool digit = false;
    for (size_t i = 0; i < s.len;) {
        uint32_t cp = utf8_next(s, &i);
        if (cp >= '0' && cp <= '9')
            digit = true;
        else if (!(cp < 0x80 && strchr(" +-.,/:%$", (int)cp)) && cp != 0xA5 && cp != 0xFFE5 && cp != 0x20AC)
            return CELL_TEXT;
    }
    return digit ? CELL_NUMBER : CELL_TEXT;
}

static int by_place(const void *a, const void *b)
{
    const struct grid_cell *x = a, *y = b;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    if (x->col != y->col)
        return x->col < y->col ? -1 : 1;
    return x->off < y->off ? -1 : x->off > y->off;
}

static int by_first_row(const void *a, const void *b)
{
    const struct grid_merge *x = a, *y = b;
    if (x->r1 != y->r1)
        return x->r1 < y->r1 ? -1 : 1;
    return x->c1 < y->c1 ? -1 : x->c1 > y->c1;
}

static size_t row_end(const struct layout *l, size_t i)
{
    size_t j = i;
    while (j < l->n && l->cells[j].row == l->cells[i].row)
        j++;
    return j;
}

static struct str cell_str(const struct grid *g, const struct grid_cell *c)
{
    return str_make(g->text.ptr + c->off, c->len);
}

static size_t numbers_in(const struct layout *l, size_t from, size_t to)
{
    size_t n = 0;
    for (size_t i = from; i < to; i++)
        n += l->cells[i].kind == CELL_NUMBER;
    return n;
}

static bool is_year(struct str s)
{
    return s.len == 4 && (memcmp(s.ptr, "19", 2) == 0 || memcmp(s.ptr, "20", 2) == 0) && s.ptr[2] >= '0' &&
           s.ptr[2] <= '9' && s.ptr[3] >= '0' && s.ptr[3] <= '9';
}

static bool are_names(const struct grid *g, const struct layout *l, size_t from, size_t to)
{
    size_t numbers = numbers_in(l, from, to), below_end = to < l->n ? row_end(l, to) : to;
    for (size_t i = from; i < to; i++) /* years name columns */
        numbers -= l->cells[i].kind == CELL_NUMBER && is_year(cell_str(g, l->cells + i));
    if (numbers * 2 > to - from || l->cells[from].kind == CELL_NUMBER)
        return false;
    for (size_t i = from; i < to; i++)
        if (l->cells[i].len > MAX_NAME) /* a name of a column is not a paragraph */
            return false;
    return numbers == 0 || numbers_in(l, to, below_end) > numbers;
}

/* Whether cells [end, below) are a second row of names without merged cells: see the essay. */
static bool fills_gaps(const struct layout *l, size_t first, size_t end, size_t below)
{
    uint32_t row = l->cells[first].row, col = l->cells[first].col;
    if (l->cells[end].row != row + 1 || l->cells[end].col <= col || below >= l->n ||
        l->cells[below].col != col || numbers_in(l, end, below) > 0)
        return false;
    size_t gaps = 0, i = first;
    for (size_t k = end; k < below; k++) {
        while (i < end && l->cells[i].col < l->cells[k].col)
            i++;
        gaps += i >= end || l->cells[i].col != l->cells[k].col;
    }
    return gaps > 0 && gaps < below - end && row_end(l, below) - below > below - end;
}

/* Rows that the header takes in: see the essay. */
static uint32_t header_last_row(struct layout *l, size_t first, size_t end)
{
    uint32_t row = l->cells[first].row, last = row;
    bool sideways = false;
    for (size_t i = 0; i < l->n_merges && l->merges[i].r1 <= row; i++) {
        const struct grid_merge *m = l->merges + i;
        if (m->r1 != row)
            continue;
        if (m->r2 > last && m->r2 - row < MAX_HEADER_ROWS)
            last = m->r2;
        sideways |= m->c2 > m->c1;
    }
    if (last == row && sideways && end < l->n && l->cells[end].row == row + 1) {
        size_t below = row_end(l, end);
        if (below < l->n && numbers_in(l, end, below) == 0)
            last = row + 1;
    }
    if (last == row && !sideways && end < l->n && fills_gaps(l, first, end, row_end(l, end))) {
        l->gaps = true;
        last = row + 1;
    }
    return last;
}

/* want: as grid_emit_table's header. */
static void find_header(const struct grid *g, struct layout *l, int want)
{
    size_t widest = 0, i = 0;
    int seen = 0;
    for (size_t j = 0; j < l->n && seen < 50; j = row_end(l, j), seen++) {
        size_t w = row_end(l, j) - j;
        widest = w > widest ? w : widest;
    }
    if (want < 0) /* captions: single cells above something wider */
        while (i < l->n && widest > 1 && row_end(l, i) - i == 1)
            i = row_end(l, i);
    l->first = l->data = i;
    if (want == 0 || i >= l->n)
        return;
    size_t end = row_end(l, i);
    uint32_t last = l->cells[i].row;
    if (want < 0) {
        if (end >= l->n || !are_names(g, l, i, end))
            return;
        last = header_last_row(l, i, end);
    } else {
        last += (uint32_t)want - 1;
    }
    while (end < l->n && l->cells[end].row <= last)
        end = row_end(l, end);
    l->data = end;
    l->has_names = true;
}

/* Appends " / value" to the name of a column unless the name ends with it already. */
static void name_add(struct buf *b, size_t start, struct str v)
{
    struct str have = buf_slice(b, start, b->len - start);
    if (v.len > MAX_NAME)
        v.len = utf8_floor(v, MAX_NAME);
    if (v.len == 0 || (have.len >= v.len && memcmp(have.ptr + have.len - v.len, v.ptr, v.len) == 0))
        return;
    if (have.len)
        buf_addz(b, " / ");
    buf_adds(b, v);
}

/* The values of one header row by column, merged ones filled in. */
static void header_row(const struct grid *g, const struct layout *l, size_t from, size_t to, struct str *row)
{
    size_t budget = l->n_cols; /* merges of one row do not overlap in an honest file */
    memset(row, 0, l->n_cols * sizeof *row);
    for (size_t i = from; i < to; i++)
        row[l->cells[i].col] = cell_str(g, l->cells + i);
    for (size_t k = 0; k < l->n_merges; k++) {
        const struct grid_merge *m = l->merges + k;
        if (m->r1 != l->cells[from].row || m->c1 >= l->n_cols)
            continue;
        for (uint32_t c = m->c1 + 1; c <= m->c2 && c < l->n_cols && budget; c++, budget--)
            if (row[c].len == 0)
                row[c] = row[m->c1];
    }
}

static void fill_gaps(struct str *row, const struct str *below, uint32_t n_cols)
{
    for (uint32_t c = 1; c < n_cols; c++)
        if (row[c].len == 0 && below[c].len && below[c - 1].len)
            row[c] = row[c - 1];
}

static rag_code build_names(const struct grid *g, struct layout *l)
{
    size_t n_rows = 0;
    struct str *rows = mem_zalloc(MEM_EXTRACT, (MAX_HEADER_ROWS + 1) * l->n_cols * sizeof *rows);
    size_t *off = mem_alloc(MEM_EXTRACT, (l->n_cols + 1) * sizeof *off);
    rag_code rc = RAG_ENOMEM;
    if (!rows || !off)
        goto done;
    for (size_t i = l->first; i < l->data && n_rows < MAX_HEADER_ROWS; i = row_end(l, i))
        header_row(g, l, i, row_end(l, i), rows + n_rows++ * l->n_cols);
    if (l->gaps)
        fill_gaps(rows, rows + l->n_cols, l->n_cols);
    for (uint32_t c = 0; c < l->n_cols; c++) {
        off[c] = l->name_bytes.len;
        for (size_t r = 0; r < n_rows; r++)
            name_add(&l->name_bytes, off[c], rows[r * l->n_cols + c]);
    }
    off[l->n_cols] = l->name_bytes.len;
    if (buf_failed(&l->name_bytes))
        goto done;
    for (uint32_t c = 0; c < l->n_cols; c++)
        l->names[c] = buf_slice(&l->name_bytes, off[c], off[c + 1] - off[c]);
    rc = RAG_OK;
done:
    mem_free(MEM_EXTRACT, rows);
    mem_free(MEM_EXTRACT, off);
    return rc;
}

static void layout_clear(struct layout *l)
{
    mem_free(MEM_EXTRACT, l->names);
    mem_free(MEM_EXTRACT, l->carry);
    buf_clear(&l->name_bytes);
    buf_clear(&l->active);
}

static rag_code layout_init(struct layout *l, struct grid *g, int header)
{
    *l = (struct layout){.n = grid_cell_count(g), .n_merges = g->merges.len / sizeof(struct grid_merge)};
    buf_init(&l->name_bytes, MEM_EXTRACT);
    buf_init(&l->active, MEM_EXTRACT);
    if (g->unsorted && l->n)
        qsort(g->cells.ptr, l->n, sizeof(struct grid_cell), by_place);
    if (l->n_merges)
        qsort(g->merges.ptr, l->n_merges, sizeof(struct grid_merge), by_first_row);
    l->cells = (const struct grid_cell *)(const void *)g->cells.ptr;
    l->merges = (const struct grid_merge *)(const void *)g->merges.ptr;
    for (size_t i = 0; i < l->n; i++)
        if (l->cells[i].col >= l->n_cols)
            l->n_cols = l->cells[i].col + 1;
    l->names = mem_zalloc(MEM_EXTRACT, l->n_cols * sizeof *l->names);
    l->carry = mem_zalloc(MEM_EXTRACT, l->n_cols * sizeof *l->carry);
    if (!l->names || !l->carry)
        return RAG_ENOMEM;
    find_header(g, l, header);
    return l->has_names ? build_names(g, l) : RAG_OK;
}

static const struct grid_cell *cell_in(const struct layout *l, size_t from, size_t to, uint32_t col)
{
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (l->cells[mid].col == col)
            return l->cells + mid;
        if (l->cells[mid].col < col)
            from = mid + 1;
        else
            to = mid;
    }
    return NULL;
}

/* Starts the carries of merges that begin in the row of cells [from, to), ends those that are over. */
static void carry_update(struct layout *l, const struct grid *g, uint32_t row, size_t from, size_t to)
{
    uint32_t *a = (uint32_t *)(void *)l->active.ptr;
    size_t n = l->active.len / sizeof *a, keep = 0;
    for (size_t i = 0; i < n; i++)
        if (l->carry[a[i]].until_row >= row)
            a[keep++] = a[i];
    l->active.len = keep * sizeof *a;
    for (; l->next_merge < l->n_merges && l->merges[l->next_merge].r1 <= row; l->next_merge++) {
        const struct grid_merge *m = l->merges + l->next_merge;
        if (m->r1 != row || m->r2 == m->r1)
            continue;
        const struct grid_cell *c = cell_in(l, from, to, m->c1);
        if (!c)
            continue;
        if (l->carry[m->c1].until_row < row)
            buf_add(&l->active, &m->c1, sizeof m->c1);
        l->carry[m->c1] = (struct carry){m->r2, cell_str(g, c)};
    }
    a = (uint32_t *)(void *)l->active.ptr; /* few, nearly sorted */
    for (size_t i = 1; i < l->active.len / sizeof *a; i++)
        for (size_t j = i; j > 0 && a[j - 1] > a[j]; j--) {
            uint32_t t = a[j];
            a[j] = a[j - 1];
            a[j - 1] = t;
        }
}

static void put_name(struct doc_writer *w, const struct layout *l, uint32_t col)
{
    if (l->names[col].len) {
        docw_text(w, l->names[col]);
        return;
    }
    char letters[4], *p = letters + sizeof letters; /* as a sheet names its columns: A, B, ..., AA */
    for (uint32_t c = col + 1; c > 0; c = (c - 1) / 26)
        *--p = (char)('A' + (c - 1) % 26);
    docw_text(w, str_make(p, (size_t)(letters + sizeof letters - p)));
}

struct style {
    bool named;   /* `column: value` */
    bool letters; /* a nameless column gets its letter */
    const char *between;
};

static void put_value(struct doc_writer *w, const struct layout *l, uint32_t col, struct str v,
                      const struct style *st, bool *first)
{
    if (!*first)
        docw_text(w, str_of(st->between));
    *first = false;
    if (st->named && (st->letters || l->names[col].len)) {
        put_name(w, l, col);
        docw_text(w, STR_LIT(": "));
    }
    docw_text(w, v);
}

/* The cells [from, to) of one row and the values carried into it, in column order. */
static void put_row(struct doc_writer *w, const struct grid *g, const struct layout *l, size_t from,
                    size_t to, const struct style *st)
{
    const uint32_t *a = (const uint32_t *)(const void *)l->active.ptr;
    size_t n = l->active.len / sizeof *a, k = 0;
    bool first = true;
    for (size_t i = from; i < to || k < n;) {
        if (k < n && (i >= to || a[k] < l->cells[i].col)) {
            put_value(w, l, a[k], l->carry[a[k]].value, st, &first);
            k++;
            continue;
        }
        if (k < n && a[k] == l->cells[i].col)
            k++;
        put_value(w, l, l->cells[i].col, cell_str(g, l->cells + i), st, &first);
        i++;
    }
}

/* A sheet's caption heads its rows; one of a table inside prose must not end the section that the table is in. */
static void put_captions(struct doc_writer *w, const struct grid *g, const struct layout *l, bool sheet)
{
    for (size_t i = 0; i < l->first; i++)
        if (sheet && l->cells[i].len <= MAX_NAME)
            docw_block(w, BLOCK_HEADING, 1, cell_str(g, l->cells + i));
        else
            docw_block(w, BLOCK_PARAGRAPH, 0, cell_str(g, l->cells + i));
}

/* A remark below the rows that stands in the first column for want of a better place. */
static bool is_remark(const struct grid *g, const struct layout *l, size_t from, size_t to)
{
    static const char *const starts[] = {"注", "备注", "说明", "Note", "*", "※"};
    if (to - from != 1 || l->active.len || l->n_cols < 3 || l->cells[from].col != 0)
        return false;
    struct str s = cell_str(g, l->cells + from);
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (s.len >= strlen(starts[i]) && memcmp(s.ptr, starts[i], strlen(starts[i])) == 0)
            return true;
    return false;
}

static void emit_records(struct grid *g, struct doc_writer *w, struct layout *l, struct str label)
{
    uint32_t label_off, label_len;
    const struct style named = {.named = true, .letters = true, .between = "\n"}, plain = {.between = "\n"};
    docw_label(w, label, &label_off, &label_len);
    put_captions(w, g, l, true);
    for (size_t i = l->data, end; i < l->n && !w->rc; i = end) {
        end = row_end(l, i);
        carry_update(l, g, l->cells[i].row, i, end);
        if (buf_failed(&l->active))
            docw_fail(w, RAG_ENOMEM, "out of memory");
        docw_begin_record(w, l->cells[i].row, label_off, label_len);
        put_row(w, g, l, i, end, is_remark(g, l, i, end) ? &plain : &named);
        docw_end(w);
    }
}

void grid_emit_records(struct grid *g, struct doc_writer *w, struct str label)
{
    struct layout l;
    if (w->rc || grid_cell_count(g) == 0)
        return;
    if (layout_init(&l, g, -1))
        docw_fail(w, RAG_ENOMEM, "out of memory");
    else
        emit_records(g, w, &l, label);
    layout_clear(&l);
}

static void emit_table(struct grid *g, struct doc_writer *w, struct layout *l)
{
    const struct style plain = {.between = " | "};
    const struct style named = {.named = true, .between = "; "};
    bool first = true;
    put_captions(w, g, l, false);
    docw_begin(w, BLOCK_TABLE, 0);
    for (uint32_t c = 0; c < l->n_cols && l->has_names; c++)
        if (l->names[c].len)
            put_value(w, l, c, l->names[c], &plain, &first);
    for (size_t i = l->data, end; i < l->n && !w->rc; i = end) {
        end = row_end(l, i);
        carry_update(l, g, l->cells[i].row, i, end);
        if (buf_failed(&l->active))
            docw_fail(w, RAG_ENOMEM, "out of memory");
        if (!first)
            docw_text(w, STR_LIT("\n"));
        first = false;
        put_row(w, g, l, i, end, l->has_names ? &named : &plain);
    }
    docw_end(w);
}

void grid_emit_table(struct grid *g, struct doc_writer *w, int header)
{
    struct layout l;
    if (w->rc || grid_cell_count(g) == 0)
        return;
    if (layout_init(&l, g, header > MAX_HEADER_ROWS ? MAX_HEADER_ROWS : header))
        docw_fail(w, RAG_ENOMEM, "out of memory");
    else
        emit_table(g, w, &l);
    layout_clear(&l);
}

void grid_emit_page_table(struct grid *g, struct doc_writer *w, int header)
{
    const struct grid_cell *c = (const struct grid_cell *)(const void *)g->cells.ptr;
    size_t n = grid_cell_count(g);
    bool layout = true;
    for (size_t i = 0; i < n; i++)
        layout &= c[i].col == 0;
    for (size_t i = 0; i < n; i++)
        layout |= c[i].len > LONG_CELL;
    if (!layout)
        grid_emit_table(g, w, header);
    for (size_t i = 0; i < n && layout; i++)
        docw_block(w, BLOCK_PARAGRAPH, 0, cell_str(g, c + i));
}
