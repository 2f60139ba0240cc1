/* Reading order. pdftotext's is right for one column and for columns of one paragraph; when paragraphs of two columns
 * happen to end at one height it goes across. So a page is looked at again: its gutter is the place that the fewest
 * lines cross while lines stand on both sides. Lines that cross it (titles, tables, full width) divide the page into
 * bands; in a band with prose on both sides the left side is read before the right, each in the same way, for three
 * columns and more. A page without a gutter keeps pdftotext's order. */
#include <stdlib.h>

#include "extract/pdf_int.h"

enum {
    STEPS = 512,    /* places looked at over a page's width */
    MIN_LINES = 3,  /* on each side of a gutter */
    MIN_UNITS = 14, /* mean width of a side's lines: labels and values are no columns */
    MAX_DEPTH = 4,
};

struct orderer {
    const struct pdf_layout *l;
    struct buf scratch; /* uint32_t[], as many as a page has lines */
};

static int by_place(const void *a, const void *b, void *ctx)
{
    const struct pdf_line *lines = ctx, *p = &lines[*(const uint32_t *)a], *q = &lines[*(const uint32_t *)b];
    if (p->y0 != q->y0)
        return p->y0 < q->y0 ? -1 : 1;
    return p->x0 != q->x0 ? (p->x0 < q->x0 ? -1 : 1) : (p > q) - (p < q);
}

static int64_t step_of(int64_t x, int64_t x0, int64_t width)
{
    int64_t s = (x - x0) * STEPS / width;
    return s < 0 ? 0 : s > STEPS ? STEPS : s;
}

/* The place between columns, or INT32_MIN. */
static int32_t gutter_of(const struct orderer *o, const uint32_t *at, uint32_t n)
{
    const struct pdf_line *lines = pdf_lines(o->l);
    int32_t x0 = INT32_MAX, x1 = INT32_MIN;
    int32_t over[STEPS + 2] = {0}, ended[STEPS + 2] = {0}, begun[STEPS + 2] = {0};
    for (uint32_t i = 0; i < n; i++) {
        x0 = lines[at[i]].x0 < x0 ? lines[at[i]].x0 : x0;
        x1 = lines[at[i]].x1 > x1 ? lines[at[i]].x1 : x1;
    }
    int64_t width = (int64_t)x1 - x0;
    if (n < 2 * MIN_LINES || width <= 0)
        return INT32_MIN;
    for (uint32_t i = 0; i < n; i++) {
        int64_t a = step_of(lines[at[i]].x0, x0, width), b = step_of(lines[at[i]].x1, x0, width);
        over[a]++, over[b + 1]--;
        if (!lines[at[i]].table)
            ended[b + 1]++, begun[a]++;
    }
    int32_t crossing = 0, left = 0, right = 0, best = INT32_MAX, first = -1, last = -1;
    for (int s = 0; s <= STEPS; s++)
        right += begun[s];
    for (int s = 0; s <= STEPS; s++) {
        crossing += over[s], left += ended[s], right -= begun[s];
        bool fits = left >= MIN_LINES && right >= MIN_LINES && crossing < left + right;
        if (fits && crossing < best)
            best = crossing, first = last = s;
        else if (fits && crossing == best && s == last + 1)
            last = s;
    }
    return first < 0 ? INT32_MIN : (int32_t)(x0 + width * (first + last + 1) / (2 * STEPS));
}

static bool is_prose(const struct orderer *o, const uint32_t *at, uint32_t n)
{
    const struct pdf_line *lines = pdf_lines(o->l);
    uint64_t units = 0;
    for (uint32_t i = 0; i < n; i++)
        units += pdf_units(pdf_line_text(o->l, &lines[at[i]]));
    return n >= 2 && units >= (uint64_t)MIN_UNITS * n;
}

/* How many of a band's lines, sorted by place, belong to columns divided at x: a title below the end of the right
 * column, larger than everything in the columns, begins what comes after them. */
static uint32_t columns_end(const struct orderer *o, const uint32_t *at, uint32_t n, int32_t x)
{
    const struct pdf_line *lines = pdf_lines(o->l);
    int32_t top = INT32_MAX, bottom = INT32_MIN, largest = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct pdf_line *ln = &lines[at[i]];
        if (ln->x1 <= x)
            continue;
        top = ln->y0 < top ? ln->y0 : top;
        bottom = ln->y1 > bottom ? ln->y1 : bottom;
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct pdf_line *ln = &lines[at[i]];
        if (largest && ln->y0 >= bottom && ln->height * 100LL > largest * 105LL)
            return i;
        if (ln->y1 > top)
            largest = ln->height > largest ? ln->height : largest;
    }
    return n;
}

static bool order(struct orderer *o, uint32_t *at, uint32_t n, unsigned depth);

/* A band's lines, none across x: the left ones first. */
static void order_band(struct orderer *o, uint32_t *at, uint32_t n, int32_t x, unsigned depth)
{
    const struct pdf_line *lines = pdf_lines(o->l);
    uint32_t *copy = (uint32_t *)(void *)o->scratch.ptr, n_left = 0, n_right = 0;
    memcpy(copy, at, n * sizeof *copy);
    for (uint32_t i = 0; i < n; i++)
        if (lines[copy[i]].x1 <= x)
            at[n_left++] = copy[i];
    for (uint32_t i = 0; i < n; i++)
        if (lines[copy[i]].x1 > x)
            at[n_left + n_right++] = copy[i];
    if (!is_prose(o, at, n_left) || !is_prose(o, at + n_left, n_right)) {
        qsort_r(at, n, sizeof *at, by_place, pdf_lines(o->l));
        return;
    }
    order(o, at, n_left, depth + 1);
    order(o, at + n_left, n_right, depth + 1);
}

/* Lines in any order into reading order. False: there is no gutter, they are as they were. */
static bool order(struct orderer *o, uint32_t *at, uint32_t n, unsigned depth)
{
    struct pdf_line *lines = pdf_lines(o->l);
    int32_t x = depth < MAX_DEPTH ? gutter_of(o, at, n) : INT32_MIN;
    if (x == INT32_MIN)
        return false;
    qsort_r(at, n, sizeof *at, by_place, lines);
    for (uint32_t i = 0, end; i < n; i = end) {
        end = i;
        while (end < n && !lines[at[end]].table && (lines[at[end]].x0 >= x || lines[at[end]].x1 <= x))
            end++;
        if (end > i) {
            end = i + columns_end(o, at + i, end - i, x);
            order_band(o, at + i, end - i, x, depth);
        } else {
            end++;
        }
    }
    return true;
}

/* Moves the page's lines into the order of `at`; to[line] is where it went. */
static void apply(struct pdf_layout *l, const uint32_t *at, const struct pdf_page *pg, struct pdf_line *copy,
                  uint32_t *to)
{
    struct pdf_line *lines = pdf_lines(l);
    memcpy(copy, lines + pg->first, pg->n * sizeof *copy);
    for (uint32_t i = 0; i < pg->n; i++) {
        lines[pg->first + i] = copy[at[i] - pg->first];
        to[at[i]] = pg->first + i;
    }
}

static void order_page(struct orderer *o, struct pdf_layout *l, const struct pdf_page *pg, uint32_t *at,
                       struct pdf_line *copy, uint32_t *to)
{
    uint32_t n = 0, last = pg->n;
    for (uint32_t i = pg->first; i < pg->first + pg->n; i++) /* dropped ones go to the end */
        if (pdf_lines(l)[i].dropped)
            at[--last] = i;
        else
            at[n++] = i;
    if (n && order(o, at, n, 0))
        apply(l, at, pg, copy, to);
}

void pdf_columns_order(struct pdf_layout *l, struct doc_writer *w)
{
    struct orderer o = {.l = l};
    const struct pdf_page *pg = (const struct pdf_page *)(const void *)l->pages.ptr;
    size_t n = pdf_n_lines(l), most = 1;
    for (size_t i = 0; i < pdf_n_pages(l); i++)
        most = pg[i].n > most ? pg[i].n : most;
    buf_init(&o.scratch, MEM_EXTRACT);
    uint32_t *at = mem_alloc(MEM_EXTRACT, most * sizeof *at), *to = mem_alloc(MEM_EXTRACT, (n + 1) * sizeof *to);
    struct pdf_line *copy = mem_alloc(MEM_EXTRACT, most * sizeof *copy);
    if (!at || !to || !copy || !buf_reserve(&o.scratch, most * sizeof *at)) {
        docw_fail(w, RAG_ENOMEM, "out of memory");
    } else {
        for (size_t i = 0; i < n; i++)
            to[i] = (uint32_t)i;
        for (size_t i = 0; i < pdf_n_pages(l); i++)
            order_page(&o, l, pg + i, at, copy, to);
        struct pdf_cell *c = (struct pdf_cell *)(void *)l->cells.ptr;
        for (size_t i = 0; i < l->cells.len / sizeof *c; i++)
            c[i].line = to[c[i].line];
    }
    mem_free(MEM_EXTRACT, at);
    mem_free(MEM_EXTRACT, to);
    mem_free(MEM_EXTRACT, copy);
    buf_clear(&o.scratch);
}
