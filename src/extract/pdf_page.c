/* What stands on a page besides running text, found by where it stands. A page is looked at as rows: lines of one
 * height, from left to right.
 *
 * Lines cut at a blank. pdftotext ends a line at a gap of .7 of the letters' height, and an ordinary Chinese space is 1.
 *
 * Running heads and feet. A line near the upper or lower edge is one when the same text, digits aside, stands at the
 * same height on three pages or on half of them (two at least): so page numbers go as well.
 *
 * Tables. pdftotext reads columns downwards, so a table comes as one column after the other. Rows below one another
 * are a table when their cells fall into the same columns (ranges that do not overlap), there are enough of them, and
 * the cells are short: the lines of two columns of prose stand beside one another, too, but they are long. */
#include <stdlib.h>

#include "base/hash.h"
#include "extract/pdf_int.h"
#include "text/utf8.h"

enum {
    EDGE_PERCENT = 12,      /* of the page's height: where running heads and feet stand */
    SAME_HEIGHT = 300,      /* 3 points */
    MAX_COLUMNS = 32,
    MAX_CELL_UNITS = 24,    /* mean width of a table's cells, a Chinese character counting 2 */
    MAX_PAIR_UNITS = 18,    /* the same of two columns, which prose has more often */
    MAX_JOINED_CELL = 4096, /* bytes; a cell that goes on over more lines becomes rows */
};

struct place {
    int32_t y, x;
    uint32_t line;
};
struct row {
    uint32_t first, n; /* places */
    int32_t y0, y1;
};
/* One page's lines by rows. */
struct rows {
    struct buf places, rows;
};

static int32_t letters(const struct pdf_line *ln)
{
    return ln->height > 0 ? ln->height : ln->y1 - ln->y0;
}

static int by_y(const void *a, const void *b)
{
    const struct place *p = a, *q = b;
    if (p->y != q->y)
        return p->y < q->y ? -1 : 1;
    return p->x != q->x ? (p->x < q->x ? -1 : 1) : (p->line > q->line) - (p->line < q->line);
}

static int by_x(const void *a, const void *b)
{
    const struct place *p = a, *q = b;
    return p->x != q->x ? (p->x < q->x ? -1 : 1) : (p->line > q->line) - (p->line < q->line);
}

static void row_add(struct rows *r, const struct pdf_line *lines, uint32_t first, uint32_t n)
{
    struct place *p = (struct place *)(void *)r->places.ptr + first;
    struct row row = {.first = first, .n = n, .y0 = INT32_MAX, .y1 = INT32_MIN};
    qsort(p, n, sizeof *p, by_x);
    for (uint32_t i = 0; i < n; i++) {
        const struct pdf_line *ln = &lines[p[i].line];
        row.y0 = ln->y0 < row.y0 ? ln->y0 : row.y0;
        row.y1 = ln->y1 > row.y1 ? ln->y1 : row.y1;
    }
    BUF_ADD_VALUE(&r->rows, row);
}

static void rows_make(struct rows *r, const struct pdf_layout *l, const struct pdf_page *pg, struct doc_writer *w)
{
    const struct pdf_line *lines = pdf_lines(l);
    buf_reset(&r->places);
    buf_reset(&r->rows);
    for (uint32_t i = pg->first; i < pg->first + pg->n; i++) {
        struct place p = {lines[i].y0 / 2 + lines[i].y1 / 2, lines[i].x0, i};
        if (!lines[i].dropped && lines[i].height > 0)
            BUF_ADD_VALUE(&r->places, p);
    }
    if (buf_failed(&r->places)) {
        docw_fail(w, RAG_ENOMEM, "out of memory");
        return;
    }
    struct place *p = (struct place *)(void *)r->places.ptr;
    uint32_t n = (uint32_t)(r->places.len / sizeof *p), first = 0;
    if (n)
        qsort(p, n, sizeof *p, by_y);
    for (uint32_t i = 1; i <= n; i++) {
        int32_t a = letters(&lines[p[first].line]), b = i < n ? letters(&lines[p[i].line]) : 0;
        if (i < n && (p[i].y - p[first].y) * 100LL <= 35LL * (a < b ? a : b))
            continue;
        row_add(r, lines, first, i - first);
        first = i;
    }
    if (buf_failed(&r->rows))
        docw_fail(w, RAG_ENOMEM, "out of memory");
}

/* ---- lines cut at a blank ---- */

static bool has_wide(struct str s)
{
    for (size_t i = 0; i < s.len;)
        if (utf8_is_cjk(utf8_next(s, &i)))
            return true;
    return false;
}

/* A bullet or a number, whose text stands some way off. */
static bool is_marker(struct str s)
{
    if (utf8_count(s) == 1)
        return (unsigned char)s.ptr[0] >= 0x80 ? !has_wide(s) : strchr("-*+o", s.ptr[0]) != NULL;
    char end = s.ptr[s.len - 1];
    return s.len <= 4 && (end == '.' || end == ')');
}

static bool belongs_behind(const struct pdf_layout *l, const struct pdf_line *a, const struct pdf_line *b)
{
    struct str s = pdf_line_text(l, a), t = pdf_line_text(l, b);
    int64_t ha = letters(a), hb = letters(b), h = ha > hb ? ha : hb, gap = (int64_t)b->x0 - a->x1;
    if ((ha > hb ? ha - hb : hb - ha) * 10 > h * 3 || gap * 2 < -h)
        return false;
    if (is_marker(s))
        return gap <= 4 * h;
    return gap * 10 <= h * (has_wide(s) && has_wide(t) ? 12 : 9);
}

static void join_rows(struct pdf_layout *l, const struct rows *r)
{
    struct pdf_line *lines = pdf_lines(l);
    const struct row *row = (const struct row *)(const void *)r->rows.ptr;
    const struct place *p = (const struct place *)(const void *)r->places.ptr;
    for (size_t i = 0; i < r->rows.len / sizeof *row; i++) {
        struct pdf_line *a = &lines[p[row[i].first].line];
        for (uint32_t k = 1; k < row[i].n; k++) {
            struct pdf_line *b = &lines[p[row[i].first + k].line];
            if (!belongs_behind(l, a, b)) {
                a = b;
                continue;
            }
            bool marker = is_marker(pdf_line_text(l, a));
            pdf_lines_join(l, a, b, false);
            if (marker) { /* bullets are a column of their own: what stays in its place is the text */
                *b = *a;
                b->dropped = false;
                a->dropped = true;
                a = b;
            }
        }
    }
}

/* ---- running heads and feet ---- */

struct edge_line {
    uint64_t text; /* hash, digits left out */
    int32_t y;
    uint32_t page, line;
};

static bool is_roman(struct str s)
{
    if (s.len > 8)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!strchr("ivxlcIVXLC", s.ptr[i]))
            return false;
    return true;
}

static uint64_t hash_without_digits(struct str s, struct buf *scratch)
{
    buf_reset(scratch);
    if (is_roman(s))
        s.len = 0;
    for (size_t i = 0; i < s.len;) {
        size_t at = i;
        uint32_t cp = utf8_next(s, &i);
        if (cp != ' ' && !(cp >= '0' && cp <= '9') && !(cp >= 0xFF10 && cp <= 0xFF19))
            buf_add(scratch, s.ptr + at, i - at);
    }
    return hash_bytes(scratch->ptr, scratch->len, 0);
}

static int by_text(const void *a, const void *b)
{
    const struct edge_line *p = a, *q = b;
    if (p->text != q->text)
        return p->text < q->text ? -1 : 1;
    if (p->y != q->y)
        return p->y < q->y ? -1 : 1;
    return (p->line > q->line) - (p->line < q->line);
}

static int by_page(const void *a, const void *b)
{
    const struct edge_line *p = a, *q = b;
    return p->page != q->page ? (p->page < q->page ? -1 : 1) : (p->line > q->line) - (p->line < q->line);
}

static void collect_edges(const struct pdf_layout *l, struct buf *edges, struct buf *scratch)
{
    const struct pdf_line *lines = pdf_lines(l);
    const struct pdf_page *pg = (const struct pdf_page *)(const void *)l->pages.ptr;
    for (size_t i = 0; i < pdf_n_lines(l); i++) {
        const struct pdf_line *ln = &lines[i];
        int64_t h = pg[ln->page - 1].height;
        bool above = ln->y1 * 100LL < h * EDGE_PERCENT, below = ln->y0 * 100LL > h * (100 - EDGE_PERCENT);
        if (ln->dropped || (!above && !below))
            continue;
        struct edge_line e = {.text = hash_without_digits(pdf_line_text(l, ln), scratch),
                              .y = ln->y0,
                              .page = ln->page,
                              .line = (uint32_t)i};
        BUF_ADD_VALUE(edges, e);
    }
}

/* e[0, n) have one text at one height. */
static void drop_repeated(struct pdf_layout *l, struct edge_line *e, size_t n)
{
    size_t pages = 1;
    qsort(e, n, sizeof *e, by_page);
    for (size_t i = 1; i < n; i++)
        pages += e[i].page != e[i - 1].page;
    if (pages < 2 || (pages < 3 && pages * 2 < pdf_n_pages(l)))
        return;
    for (size_t i = 0; i < n; i++)
        pdf_lines(l)[e[i].line].dropped = true;
}

static void drop_heads(struct pdf_layout *l, struct doc_writer *w)
{
    struct buf edges, scratch;
    buf_init(&edges, MEM_EXTRACT);
    buf_init(&scratch, MEM_EXTRACT);
    collect_edges(l, &edges, &scratch);
    if (buf_failed(&edges) || buf_failed(&scratch))
        docw_fail(w, RAG_ENOMEM, "out of memory");
    struct edge_line *e = (struct edge_line *)(void *)edges.ptr;
    size_t n = w->rc ? 0 : edges.len / sizeof *e, first = 0;
    if (n)
        qsort(e, n, sizeof *e, by_text);
    for (size_t i = 1; i <= n; i++) {
        if (i < n && e[i].text == e[i - 1].text && e[i].y - e[i - 1].y <= SAME_HEIGHT)
            continue;
        drop_repeated(l, e + first, i - first);
        first = i;
    }
    buf_clear(&edges);
    buf_clear(&scratch);
}

/* ---- tables ---- */

struct column {
    int32_t x0, x1;
};
/* Of the page before, when a table reaches down to its last row. */
struct open_table {
    struct column col[MAX_COLUMNS];
    uint32_t n_cols, page, table;
};
struct shape { /* of the rows that are looked at as a table */
    struct column col[MAX_COLUMNS];
    uint32_t n_cols, n_rows, n_cells, n_full; /* rows; cells of full rows; rows of two cells and more */
    uint64_t units;                           /* width of those cells' text */
    int32_t pitch;                            /* largest distance of two rows */
};

/* The column that [x0, x1] lies in, made when there is none; -1: it reaches over several. */
static int column_of(struct shape *sh, int32_t x0, int32_t x1)
{
    int found = -1;
    uint32_t at = 0;
    for (uint32_t c = 0; c < sh->n_cols; c++) {
        at += sh->col[c].x1 < x0;
        if (sh->col[c].x0 > x1 || sh->col[c].x1 < x0)
            continue;
        if (found >= 0)
            return -1;
        found = (int)c;
    }
    if (found >= 0) {
        struct column *c = &sh->col[found];
        c->x0 = c->x0 < x0 ? c->x0 : x0;
        c->x1 = c->x1 > x1 ? c->x1 : x1;
        return found;
    }
    if (sh->n_cols == MAX_COLUMNS)
        return -1;
    memmove(sh->col + at + 1, sh->col + at, (sh->n_cols - at) * sizeof *sh->col);
    sh->col[at] = (struct column){x0, x1};
    sh->n_cols++;
    return (int)at;
}

/* Takes the row into the shape, or leaves it as it was. */
static bool row_fits(const struct pdf_layout *l, const struct rows *r, const struct row *row, struct shape *sh)
{
    const struct pdf_line *lines = pdf_lines(l);
    const struct place *p = (const struct place *)(const void *)r->places.ptr + row->first;
    struct shape next = *sh;
    if (row->n > MAX_COLUMNS || (row->n == 1 && sh->n_rows == 0))
        return false;
    for (uint32_t i = 0; i < row->n; i++) {
        const struct pdf_line *ln = &lines[p[i].line];
        if (column_of(&next, ln->x0, ln->x1) < 0 || (row->n == 1 && next.n_cols != sh->n_cols) ||
            (i && ln->x0 <= lines[p[i - 1].line].x1))
            return false;
        if (row->n > 1)
            next.units += pdf_units(pdf_line_text(l, ln));
    }
    for (uint32_t i = 1; i < row->n; i++) { /* two cells in one column */
        const struct pdf_line *a = &lines[p[i - 1].line], *b = &lines[p[i].line];
        for (uint32_t c = 0; c < next.n_cols; c++)
            if (next.col[c].x0 <= a->x0 && b->x1 <= next.col[c].x1)
                return false;
    }
    next.n_rows++;
    next.n_full += row->n > 1;
    next.n_cells += row->n > 1 ? row->n : 0;
    *sh = next;
    return true;
}

static bool is_table(const struct shape *sh)
{
    bool pair = sh->n_cols == 2;
    return sh->n_cols >= 2 && sh->n_full >= (pair ? 3U : 2U) &&
           sh->units <= (uint64_t)(pair ? MAX_PAIR_UNITS : MAX_CELL_UNITS) * sh->n_cells &&
           sh->n_cells * 2 >= sh->n_cols * sh->n_full && sh->n_full * 2 >= sh->n_rows;
}

/* The table's rows as they are numbered, and what each column's cell of the present one is. */
struct filling {
    uint32_t table, row;
    uint32_t last[MAX_COLUMNS]; /* line; UINT32_MAX: none yet */
};

static void row_begin(struct filling *f)
{
    f->row++;
    memset(f->last, 0xFF, sizeof f->last);
}

static void cell_put(struct pdf_layout *l, struct filling *f, uint32_t line, uint32_t col)
{
    struct pdf_line *lines = pdf_lines(l);
    if (f->last[col] != UINT32_MAX && lines[f->last[col]].len < MAX_JOINED_CELL) {
        pdf_lines_join(l, &lines[f->last[col]], &lines[line], true);
        return;
    }
    if (f->last[col] != UINT32_MAX) /* never of a real table */
        row_begin(f);
    f->last[col] = line;
    lines[line].table = f->table;
    struct pdf_cell c = {line, f->row, col};
    BUF_ADD_VALUE(&l->cells, c);
}

/* A row that goes on with the cells of the row before: it lacks the first cell, or has nothing else, and follows
 * closer than other rows do; a lone cell without a name beside it can be nothing else. */
static bool goes_on(const struct shape *sh, const struct row *row, const struct row *before, int first_col)
{
    bool close = (row->y0 - before->y0) * 10LL < sh->pitch * 8LL;
    return row->n == 1 ? first_col > 0 || close : first_col > 0 && close;
}

static void table_add(struct pdf_layout *l, const struct rows *r, const struct row *row, uint32_t n,
                      uint32_t header, struct shape *sh)
{
    const struct pdf_line *lines = pdf_lines(l);
    const struct place *p = (const struct place *)(const void *)r->places.ptr;
    struct pdf_table t = {.first = (uint32_t)(l->cells.len / sizeof(struct pdf_cell)), .header = header};
    struct filling f = {.table = (uint32_t)(l->tables.len / sizeof t) + 1};
    for (uint32_t i = 1; i < n; i++)
        sh->pitch = row[i].y0 - row[i - 1].y0 > sh->pitch ? row[i].y0 - row[i - 1].y0 : sh->pitch;
    for (uint32_t i = 0; i < n; i++) {
        const struct place *cell = p + row[i].first;
        int first = column_of(sh, lines[cell->line].x0, lines[cell->line].x1);
        if (i == 0 || !goes_on(sh, row + i, row + i - 1, first))
            row_begin(&f);
        for (uint32_t k = 0; k < row[i].n; k++) {
            int col = column_of(sh, lines[cell[k].line].x0, lines[cell[k].line].x1);
            RAG_ASSERT(col >= 0); /* row_fits has put it there */
            cell_put(l, &f, cell[k].line, (uint32_t)col);
        }
    }
    t.n = (uint32_t)(l->cells.len / sizeof(struct pdf_cell)) - t.first;
    BUF_ADD_VALUE(&l->tables, t);
}

/* The table at the top of a page that goes on with the one at the end of the page before: its number. */
static uint32_t goes_on_with(const struct open_table *o, const struct shape *sh, uint32_t page)
{
    if (!o->table || o->page + 1 != page || o->n_cols != sh->n_cols)
        return 0;
    for (uint32_t c = 0; c < sh->n_cols; c++)
        if (o->col[c].x0 > sh->col[c].x1 || sh->col[c].x0 > o->col[c].x1)
            return 0;
    return o->table;
}

static void find_tables(struct pdf_layout *l, const struct rows *r, uint32_t page, struct open_table *open)
{
    struct open_table before = *open;
    open->table = 0;
    const struct pdf_line *lines = pdf_lines(l);
    const struct place *p = (const struct place *)(const void *)r->places.ptr;
    const struct row *row = (const struct row *)(const void *)r->rows.ptr;
    uint32_t n = (uint32_t)(r->rows.len / sizeof *row);
    for (uint32_t i = 0, end; i < n; i = end) {
        struct shape sh = {.n_cols = 0};
        for (end = i; end < n; end++) {
            bool far = end > i && row[end].y0 - row[end - 1].y1 > 3LL * letters(&lines[p[row[end].first].line]);
            if (far || !row_fits(l, r, row + end, &sh))
                break;
        }
        while (end > i + 1 && row[end - 1].n == 1) { /* a line below the table, unless it goes on with a cell */
            const struct pdf_line *ln = &lines[p[row[end - 1].first].line];
            if (ln->x0 > sh.col[0].x1 && row[end - 1].y0 - row[end - 2].y1 < letters(ln) / 2)
                break;
            end--;
            sh.n_rows--;
        }
        uint32_t header = i == 0 && end > i ? goes_on_with(&before, &sh, page) : 0;
        if (header || (end > i + 1 && is_table(&sh))) {
            table_add(l, r, row + i, end - i, header, &sh);
            if (end == n) {
                uint32_t newest = (uint32_t)(l->tables.len / sizeof(struct pdf_table));
                *open = (struct open_table){.n_cols = sh.n_cols, .page = page, .table = header ? header : newest};
                memcpy(open->col, sh.col, sizeof sh.col);
            }
        } else if (end == i) {
            end++;
        }
    }
}

void pdf_pages_tidy(struct pdf_layout *l, struct doc_writer *w)
{
    struct rows r;
    const struct pdf_page *pg = (const struct pdf_page *)(const void *)l->pages.ptr;
    struct open_table open = {.table = 0};
    buf_init(&r.places, MEM_EXTRACT);
    buf_init(&r.rows, MEM_EXTRACT);
    for (size_t i = 0; i < pdf_n_pages(l) && !w->rc; i++) {
        rows_make(&r, l, pg + i, w);
        if (!w->rc)
            join_rows(l, &r);
        if (buf_failed(&l->text))
            docw_fail(w, RAG_ENOMEM, "out of memory");
    }
    if (!w->rc)
        drop_heads(l, w);
    for (size_t i = 0; i < pdf_n_pages(l) && !w->rc; i++) {
        rows_make(&r, l, pg + i, w);
        if (!w->rc)
            find_tables(l, &r, (uint32_t)i + 1, &open);
        if (buf_failed(&l->text) || buf_failed(&l->cells) || buf_failed(&l->tables))
            docw_fail(w, RAG_ENOMEM, "out of memory");
    }
    buf_clear(&r.places);
    buf_clear(&r.rows);
}
