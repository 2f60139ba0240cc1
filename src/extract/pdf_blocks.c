/* From lines to blocks, in two passes: paragraphs are put together line by line, and only when all of them are known,
 * with the size of the letters that most of the text has, are some of them seen to be headings.
 *
 * A line opens a paragraph when it stands further below the line before than lines of this document usually do, is set
 * in or out, has other letters, begins with a bullet or a number, or when the line before ended early: its end had
 * room for this line's first word. At the top of a page or column only a sentence that the line before left open goes
 * on. A paragraph over two pages becomes a block on each, one behind the other in the text without a gap, so that
 * every chunk knows its page.
 *
 * A heading has letters at least 12 % larger than most (fonts of one size differ by up to 8 % in what pdftotext calls
 * their height), or is a short line of its own with a number ("3.2 Fees", "第三章 费用") that neither ends like a
 * sentence nor stands among others of its kind, as list items and tables of contents do. The larger the letters the
 * higher the level; numbered ones of ordinary size lie below all of those. */
#include <stdlib.h>
#include <strings.h>

#include "extract/grid.h"
#include "extract/pdf_int.h"
#include "text/utf8.h"

enum {
    MAX_SIZES = 5,            /* levels by size */
    MAX_HEADING_LINES = 4,
    MAX_HEADING_UNITS = 160,  /* a Chinese character counts 2 */
    MAX_NUMBERED_UNITS = 80,
    DEFAULT_PITCH = 125,      /* percent of the letters' height */
    MAX_PITCH = 220,          /* lines that are set wider than double stand alone */
};

enum marker {
    MARK_NONE,
    MARK_BULLET,
    MARK_ITEM,    /* "1)", "(2)", "①" */
    MARK_SECTION, /* "3.2", "第三章", "一、": a heading or an item; depth says which kind */
};

struct para {
    uint32_t off, len; /* in writer.text */
    uint32_t first_mark, n_marks;
    uint32_t n_lines, table; /* table: number, the rest is 0 */
    int32_t height;
    uint8_t marker, depth;
};
struct page_mark {
    uint32_t off, page; /* from here on; off in writer.text */
};

struct writer {
    struct pdf_layout *l;
    struct doc_writer *w;
    struct buf text, paras, marks;
    int32_t body;           /* height of most letters */
    int32_t pitch;          /* usual distance of lines, percent of their height */
    bool open;
    struct para cur;
    int32_t first_x;        /* of the open paragraph's first line */
    const struct pdf_line *last; /* line of the open paragraph */
    int32_t sizes[MAX_SIZES];
    unsigned n_sizes;
};

static bool close_to(int32_t a, int32_t b, int percent)
{
    int64_t d = a > b ? (int64_t)a - b : (int64_t)b - a, m = a > b ? a : b;
    return d * 100 <= m * percent;
}

/* ---- what a line begins with ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool one_of(uint32_t cp, const char *set)
{
    struct str s = str_of(set);
    for (size_t i = 0; i < s.len;)
        if (utf8_next(s, &i) == cp)
            return true;
    return false;
}

/* Bytes of Chinese or ASCII numerals at s[i]. */
static size_t numerals(struct str s, size_t i)
{
    size_t at = i;
    while (at < s.len && at - i < 18) {
        size_t next = at;
        uint32_t cp = utf8_next(s, &next);
        if (!(cp >= '0' && cp <= '9') && !one_of(cp, "一二三四五六七八九十百零〇"))
            break;
        at = next;
    }
    return at - i;
}

/* "第三章", "第 2 节", "一、", "（三）". */
static enum marker chinese_marker(struct str s, uint8_t *depth)
{
    static const char *const units[] = {"编部篇卷", "章", "节", "条"};
    size_t i = 0, n;
    uint32_t first = utf8_next(s, &i), cp;
    bool numbered = first == 0x7B2C || first == '(' || first == 0xFF08; /* 第 */
    if (!numbered)
        i = 0;
    while (first == 0x7B2C && i < s.len && s.ptr[i] == ' ')
        i++;
    n = numerals(s, i);
    if (n == 0 || i + n >= s.len || (!numbered && is_digit(s.ptr[0])))
        return MARK_NONE;
    i += n;
    while (first == 0x7B2C && i + 1 < s.len && s.ptr[i] == ' ')
        i++;
    cp = utf8_next(s, &i);
    for (uint8_t u = 0; first == 0x7B2C && u < 4; u++)
        if (one_of(cp, units[u])) {
            *depth = (uint8_t)(u + 1);
            return MARK_SECTION;
        }
    if (!numbered && (cp == 0x3001 || cp == '.' || cp == 0xFF0E)) {
        *depth = 2;
        return MARK_SECTION;
    }
    if (numbered && first != 0x7B2C && (cp == ')' || cp == 0xFF09)) {
        *depth = 3;
        return is_digit(s.ptr[i - (cp == ')' ? 2 : 4)]) ? MARK_ITEM : MARK_SECTION;
    }
    return MARK_NONE;
}

/* "3", "3.", "3.2", "3.2.1." and a blank or a Chinese character behind it; "3)". */
static enum marker number_marker(struct str s, uint8_t *depth)
{
    size_t i = 0, groups = 0;
    while (i < s.len && is_digit(s.ptr[i])) {
        size_t start = i;
        while (i < s.len && is_digit(s.ptr[i]))
            i++;
        if (i - start > 2)
            return MARK_NONE; /* a year, an amount */
        groups++;
        if (i + 1 >= s.len || s.ptr[i] != '.' || !is_digit(s.ptr[i + 1]))
            break;
        i++;
    }
    if (groups == 0 || groups > 6 || i >= s.len)
        return MARK_NONE;
    *depth = (uint8_t)groups;
    if (s.ptr[i] == ')')
        return MARK_ITEM;
    bool dot = s.ptr[i] == '.';
    i += dot;
    if (!dot && i + 3 <= s.len && memcmp(s.ptr + i, "\xE3\x80\x81", 3) == 0) /* 、 */
        return MARK_SECTION;
    while (i < s.len && s.ptr[i] == ' ')
        i++;
    if (i >= s.len || (s.ptr[i - 1] != ' ' && (unsigned char)s.ptr[i] < 0x80))
        return MARK_NONE;
    size_t at = i;
    uint32_t cp = utf8_next(s, &at);
    bool title = (cp >= 'A' && cp <= 'Z') || utf8_is_cjk(cp) || (cp >= 0xC0 && cp < 0x250);
    return title && (dot || groups > 1 || s.ptr[i - 1] == ' ') ? MARK_SECTION : dot ? MARK_ITEM : MARK_NONE;
}

/* Bytes of a bullet and the blanks behind it; 0: none. */
static size_t bullet_len(struct str s)
{
    size_t i = 0;
    if (s.len == 0)
        return 0;
    uint32_t cp = utf8_next(s, &i);
    bool needs_blank = one_of(cp, "-–*o·+");
    if (!needs_blank && !one_of(cp, "•●○◦▪▫■□◆◇▶►➢➤✓✔") && !(cp >= 0xF000 && cp < 0xF100))
        return 0;
    size_t blank = i;
    while (blank < s.len && s.ptr[blank] == ' ')
        blank++;
    return blank >= s.len || (needs_blank && blank == i) ? 0 : blank;
}

static enum marker marker_of(struct str s, uint8_t *depth)
{
    size_t i = 0;
    *depth = 0;
    if (s.len == 0)
        return MARK_NONE;
    if (bullet_len(s))
        return MARK_BULLET;
    enum marker m = number_marker(s, depth);
    if (m == MARK_NONE)
        m = chinese_marker(s, depth);
    if (m != MARK_NONE)
        return m;
    uint32_t cp = utf8_next(s, &i);
    if (cp >= 0x2460 && cp <= 0x2473)
        return MARK_ITEM;
    bool letter = s.len > 3 && ((s.ptr[0] >= 'a' && s.ptr[0] <= 'z') || s.ptr[0] == '(') &&
                  (s.ptr[1] == ')' || (s.ptr[0] == '(' && s.ptr[2] == ')'));
    return letter ? MARK_ITEM : MARK_NONE;
}

static bool ends_sentence(struct str s)
{
    return one_of(pdf_last_char(s), ".!?:;。！？：；…");
}

/* ---- where lines stand ---- */

static bool is_below(const struct pdf_line *a, const struct pdf_line *b)
{
    return a->page == b->page && b->y0 > a->y0 && b->x0 <= a->x1 && a->x0 <= b->x1;
}

/* b is the next line of a's column: below it, not further than usual, with letters of its size. */
static bool follows(const struct writer *p, const struct pdf_line *a, const struct pdf_line *b)
{
    return is_below(a, b) && a->height > 0 && b->height > 0 && close_to(a->height, b->height, 12) &&
           ((int64_t)b->y0 - a->y0) * 100 <= (int64_t)b->height * p->pitch * 13 / 10;
}

/* ---- paragraphs ---- */

static struct str cur_text(const struct writer *p)
{
    return buf_slice(&p->text, p->cur.off, p->text.len - p->cur.off);
}

static void para_close(struct writer *p)
{
    if (!p->open)
        return;
    p->open = false;
    p->cur.len = (uint32_t)(p->text.len - p->cur.off);
    p->cur.n_marks = (uint32_t)(p->marks.len / sizeof(struct page_mark)) - p->cur.first_mark;
    BUF_ADD_VALUE(&p->paras, p->cur);
}

static void mark_page(struct writer *p, uint32_t page)
{
    struct page_mark m = {(uint32_t)p->text.len, page};
    BUF_ADD_VALUE(&p->marks, m);
}

static void para_open(struct writer *p, const struct pdf_line *ln)
{
    para_close(p);
    p->open = true;
    p->cur = (struct para){.off = (uint32_t)p->text.len,
                           .first_mark = (uint32_t)(p->marks.len / sizeof(struct page_mark)),
                           .height = ln->height > 0 ? ln->height : p->body};
    p->cur.marker = (uint8_t)marker_of(pdf_line_text(p->l, ln), &p->cur.depth);
    p->first_x = ln->x0;
    mark_page(p, ln->page);
}

/* The end of the line before had room for the first word of this one. */
static bool ended_early(const struct writer *p, const struct pdf_line *ln)
{
    struct str s = pdf_line_text(p->l, ln);
    size_t i = 0;
    uint32_t cp = utf8_next(s, &i);
    int64_t room = (int64_t)p->last->right - p->last->x1, width = (int64_t)ln->x1 - ln->x0, em = ln->height;
    if (utf8_is_cjk(cp))
        return room > 2 * em;
    const char *blank = memchr(s.ptr, ' ', s.len);
    size_t word = blank ? (size_t)(blank - s.ptr) : s.len;
    return room > width * (int64_t)word / (int64_t)s.len + em;
}


/* At the top of a page or column: the sentence goes on. */
static bool continues(const struct writer *p, const struct pdf_line *ln, enum marker m)
{
    struct str s = pdf_line_text(p->l, ln);
    size_t i = 0;
    uint32_t cp = utf8_next(s, &i), end = pdf_last_char(cur_text(p));
    bool open_end = !ends_sentence(cur_text(p)) && !one_of(end, "”’\"」』）)");
    bool goes_on = (cp >= 'a' && cp <= 'z') || utf8_is_cjk(cp) || one_of(end, ",，、-");
    return m == MARK_NONE && open_end && goes_on && close_to(p->cur.height, ln->height, 8) &&
           close_to(p->cur.height, p->body, 11) &&
           (int64_t)p->last->right - p->last->x1 < 4LL * p->last->height;
}

static bool opens(const struct writer *p, const struct pdf_line *ln)
{
    uint8_t depth;
    const struct pdf_line *last = p->last;
    enum marker m = marker_of(pdf_line_text(p->l, ln), &depth);
    if (!p->open || ln->height <= 0 || last->height <= 0)
        return true;
    if (m == MARK_BULLET)
        return true;
    if (!follows(p, last, ln))
        return is_below(last, ln) || !continues(p, ln, m);
    int64_t em = ln->height;
    bool early = ended_early(p, ln), finished = ends_sentence(cur_text(p));
    bool item = p->cur.marker != MARK_NONE;
    if (m != MARK_NONE && (early || finished || item))
        return true;
    if (early && p->cur.marker == MARK_SECTION && p->cur.n_lines == 1) /* a heading right above its text */
        return true;
    if (early && (finished || ((int64_t)last->right - last->x1) * 2 > (int64_t)last->right - last->left))
        return true;
    if ((int64_t)ln->x0 - last->x0 > em * 8 / 10) /* set in: a paragraph, or the second line of a hanging one */
        return p->cur.n_lines > 1 ? last->x0 <= p->first_x : !item && (early || finished);
    return p->cur.n_lines > 1 && (int64_t)last->x0 - ln->x0 > em * 8 / 10 && last->x0 > p->first_x;
}

static void line_add(struct writer *p, const struct pdf_line *ln)
{
    if (opens(p, ln))
        para_open(p, ln);
    else if (ln->page != p->last->page)
        mark_page(p, ln->page);
    struct str s = pdf_line_text(p->l, ln);
    if (p->cur.marker == MARK_BULLET && p->cur.n_lines == 0) {
        size_t n = bullet_len(s);
        s = str_make(s.ptr + n, s.len - n);
    }
    pdf_append(&p->text, p->cur.off, s);
    p->cur.n_lines++;
    p->last = ln;
}

static void table_open(struct writer *p, uint32_t table)
{
    para_close(p);
    p->cur = (struct para){.table = table};
    BUF_ADD_VALUE(&p->paras, p->cur);
}

/* How far the lines reach that follow one another. */
static void find_columns(const struct writer *p)
{
    struct pdf_line *lines = pdf_lines(p->l), *before = NULL;
    size_t n = pdf_n_lines(p->l), first = 0;
    int32_t left = 0, right = 0;
    for (size_t i = 0; i <= n; i++) {
        if (i < n && (lines[i].dropped || lines[i].table))
            continue;
        const struct pdf_line *ln = i < n ? &lines[i] : NULL;
        if (before && (!ln || !follows(p, before, ln))) {
            for (size_t k = first; k < i; k++)
                lines[k].left = left, lines[k].right = right;
            before = NULL;
        }
        if (!ln)
            break;
        if (!before) {
            first = i;
            left = ln->x0, right = ln->x1;
        }
        left = ln->x0 < left ? ln->x0 : left;
        right = ln->x1 > right ? ln->x1 : right;
        before = &lines[i];
    }
}

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Of numbers with weights (value << 32 | weight): half of the weight lies below it. */
static int32_t weighted_median(struct buf *b, int32_t otherwise)
{
    uint64_t *v = (uint64_t *)(void *)b->ptr, all = 0, sum = 0;
    size_t n = b->len / sizeof *v;
    if (n)
        qsort(v, n, sizeof *v, by_value);
    for (size_t i = 0; i < n; i++)
        all += (uint32_t)v[i];
    for (size_t i = 0; i < n; i++) {
        sum += (uint32_t)v[i];
        if (sum * 2 >= all)
            return (int32_t)(v[i] >> 32);
    }
    return otherwise;
}

static void measure(struct writer *p)
{
    struct buf heights, pitches;
    const struct pdf_line *lines = pdf_lines(p->l), *before = NULL;
    buf_init(&heights, MEM_EXTRACT);
    buf_init(&pitches, MEM_EXTRACT);
    for (size_t i = 0; i < pdf_n_lines(p->l); i++) {
        const struct pdf_line *ln = &lines[i];
        if (ln->dropped || ln->height <= 0)
            continue;
        uint64_t h = (uint64_t)ln->height << 32 | ln->len;
        BUF_ADD_VALUE(&heights, h);
        if (ln->table)
            continue;
        if (before && is_below(before, ln) && close_to(before->height, ln->height, 12)) {
            uint64_t pitch = (uint64_t)((int64_t)ln->y0 - before->y0) * 100 / (uint64_t)ln->height;
            pitch = (pitch < 1000 ? pitch : 1000) << 32 | ln->len;
            BUF_ADD_VALUE(&pitches, pitch);
        }
        before = ln;
    }
    if (buf_failed(&heights) || buf_failed(&pitches))
        docw_fail(p->w, RAG_ENOMEM, "out of memory");
    p->body = weighted_median(&heights, 0);
    p->pitch = weighted_median(&pitches, DEFAULT_PITCH);
    p->pitch = p->pitch < MAX_PITCH ? p->pitch : MAX_PITCH;
    buf_clear(&heights);
    buf_clear(&pitches);
}

static void collect(struct writer *p)
{
    const struct pdf_line *lines = pdf_lines(p->l);
    uint32_t tables_seen = 0;
    for (size_t i = 0; i < pdf_n_lines(p->l) && !p->w->rc; i++) {
        if (lines[i].dropped)
            continue;
        if (lines[i].table > tables_seen) /* tables are numbered by page; within one, columns are read in any order */
            table_open(p, tables_seen = lines[i].table);
        else if (!lines[i].table)
            line_add(p, &lines[i]);
        if (buf_failed(&p->text) || buf_failed(&p->paras) || buf_failed(&p->marks))
            docw_fail(p->w, RAG_ENOMEM, "out of memory");
    }
    para_close(p);
    if (buf_failed(&p->paras))
        docw_fail(p->w, RAG_ENOMEM, "out of memory");
}

/* ---- headings ---- */

static struct str para_text(const struct writer *p, const struct para *q)
{
    return buf_slice(&p->text, q->off, q->len);
}

static bool is_large(const struct writer *p, const struct para *q)
{
    struct str s = para_text(p, q);
    return !q->table && q->n_lines <= MAX_HEADING_LINES && q->marker != MARK_BULLET &&
           q->height * 100LL >= p->body * 112LL && pdf_units(s) <= MAX_HEADING_UNITS && numerals(s, 0) < s.len;
}

/* The sizes that headings have, largest first; what is smaller than the last kept one shares its level. */
static void find_sizes(struct writer *p)
{
    const struct para *q = (const struct para *)(const void *)p->paras.ptr;
    for (size_t i = 0; i < p->paras.len / sizeof *q; i++) {
        if (!is_large(p, q + i))
            continue;
        unsigned k = 0;
        while (k < p->n_sizes && p->sizes[k] > q[i].height && !close_to(p->sizes[k], q[i].height, 5))
            k++;
        if (k == MAX_SIZES || (k < p->n_sizes && close_to(p->sizes[k], q[i].height, 5)))
            continue;
        unsigned keep = p->n_sizes < MAX_SIZES ? p->n_sizes : MAX_SIZES - 1;
        memmove(p->sizes + k + 1, p->sizes + k, (keep > k ? keep - k : 0) * sizeof *p->sizes);
        p->sizes[k] = q[i].height;
        p->n_sizes = keep + 1;
    }
}

static bool is_numbered_heading(const struct writer *p, const struct para *q, const struct para *before,
                                const struct para *after)
{
    if (q->table || q->marker != MARK_SECTION || q->n_lines != 1 || !after)
        return false;
    struct str s = para_text(p, q);
    if (pdf_units(s) > MAX_NUMBERED_UNITS || one_of(pdf_last_char(s), ".!?;,:。！？；，、："))
        return false;
    const struct para *near[] = {before, after};
    for (int i = 0; i < 2; i++)
        if (near[i] && near[i]->marker == MARK_SECTION && near[i]->depth == q->depth)
            return false;
    return true;
}

/* 0: none. */
static unsigned heading_level(const struct writer *p, const struct para *q, const struct para *before,
                              const struct para *after)
{
    if (is_large(p, q)) {
        unsigned k = 0;
        while (k + 1 < p->n_sizes && p->sizes[k] > q->height && !close_to(p->sizes[k], q->height, 5))
            k++;
        return k + 1;
    }
    if (!is_numbered_heading(p, q, before, after))
        return 0;
    unsigned level = p->n_sizes + q->depth;
    return level < 9 ? level : 9;
}

/* ---- writing ---- */

/* Where the part of a paragraph that stands on the next page begins: words are not cut. */
static size_t page_break(struct str s, size_t at)
{
    if (at >= s.len)
        return s.len;
    size_t i = at, back = at;
    while (back && ((unsigned char)s.ptr[--back] & 0xC0) == 0x80)
        ;
    size_t k = back;
    if (s.ptr[at] == ' ' || (at && utf8_is_cjk(utf8_next(s, &k))))
        return at;
    while (i < s.len && s.ptr[i] != ' ')
        i++;
    return i;
}

static void write_para(struct writer *p, const struct para *q, unsigned level)
{
    const struct page_mark *m = (const struct page_mark *)(const void *)p->marks.ptr + q->first_mark;
    struct str s = para_text(p, q);
    enum block_kind kind = level ? BLOCK_HEADING : q->marker ? BLOCK_LIST_ITEM : BLOCK_PARAGRAPH;
    size_t from = 0;
    for (uint32_t i = 0; i < q->n_marks && from < s.len; i++) {
        size_t to = i + 1 < q->n_marks ? page_break(s, m[i + 1].off - q->off) : s.len;
        if (to <= from)
            continue;
        p->w->page = (uint16_t)m[i].page;
        bool blank = s.ptr[from] == ' ';
        if (from == 0)
            docw_begin(p->w, kind, level);
        else
            docw_begin_behind(p->w, kind, blank ? " " : "");
        from += blank;
        docw_text(p->w, str_make(s.ptr + from, to - from));
        docw_end(p->w);
        from = to;
        if (level)
            break;
    }
}

/* Cells [0, n) of table t, `down` rows further down. */
static void put_cells(struct writer *p, struct grid *g, const struct pdf_table *t, uint32_t n, uint32_t down)
{
    const struct pdf_cell *c = (const struct pdf_cell *)(const void *)p->l->cells.ptr + t->first;
    for (uint32_t i = 0; i < n && !p->w->rc; i++) {
        struct str s = pdf_line_text(p->l, &pdf_lines(p->l)[c[i].line]);
        grid_add(g, p->w, c[i].row + down, c[i].col, grid_kind_of(s), s);
    }
}

/* One that goes on with the table of the page before gets that one's first row, its header, as its own unless it
 * repeats it. */
static void write_table(struct writer *p, uint32_t table)
{
    const struct pdf_table *tables = (const struct pdf_table *)(const void *)p->l->tables.ptr;
    const struct pdf_table *t = &tables[table - 1];
    const struct pdf_cell *c = (const struct pdf_cell *)(const void *)p->l->cells.ptr;
    const struct pdf_line *lines = pdf_lines(p->l);
    struct grid g;
    grid_init(&g, EXTRACT_MAX_CELLS);
    uint32_t down = 0;
    if (t->header) {
        const struct pdf_table *h = &tables[t->header - 1];
        uint32_t n = 0;
        while (n < h->n && c[h->first + n].row == 1)
            n++;
        down = !str_eq(pdf_line_text(p->l, &lines[c[h->first].line]), pdf_line_text(p->l, &lines[c[t->first].line]));
        put_cells(p, &g, h, down ? n : 0, 0);
    }
    put_cells(p, &g, t, t->n, down);
    p->w->page = (uint16_t)lines[c[t->first].line].page;
    grid_emit_table(&g, p->w, -1);
    grid_clear(&g);
}

/* Programs fill the title in with the name of a file, or with nothing. */
static struct str title_of(const struct pdf_layout *l)
{
    static const char *const made_by[] = {"Microsoft Word - ", "Microsoft PowerPoint - ", "Microsoft Excel - "};
    static const char *const ends[] = {".doc", ".docx", ".pdf", ".ppt", ".pptx", ".xls",  ".xlsx", ".wps",
                                       ".odt", ".rtf",  ".txt", ".tex", ".dvi",  ".indd", ".qxd",  ".html"};
    static const char *const nothing[] = {"untitled", "无标题", "未命名"};
    struct str s = buf_slice(&l->title, 0, l->title.len);
    for (size_t i = 0; i < sizeof made_by / sizeof *made_by; i++) {
        size_t n = strlen(made_by[i]);
        if (s.len > n && memcmp(s.ptr, made_by[i], n) == 0)
            s = str_make(s.ptr + n, s.len - n);
    }
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t n = strlen(ends[i]);
        if (s.len > n && strncasecmp(s.ptr + s.len - n, ends[i], n) == 0)
            return STR_LIT("");
    }
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++)
        if (s.len >= strlen(nothing[i]) && strncasecmp(s.ptr, nothing[i], strlen(nothing[i])) == 0)
            return STR_LIT("");
    return s;
}

/* The first of the largest headings on the first page. */
static struct str first_page_title(const struct writer *p)
{
    const struct para *q = (const struct para *)(const void *)p->paras.ptr, *best = NULL;
    const struct page_mark *m = (const struct page_mark *)(const void *)p->marks.ptr;
    for (size_t i = 0; i < p->paras.len / sizeof *q; i++) {
        if (q[i].table || !is_large(p, q + i))
            continue;
        if (m[q[i].first_mark].page > 1)
            break;
        if (!best || (q[i].height > best->height && !close_to(q[i].height, best->height, 5)))
            best = q + i;
    }
    return best ? para_text(p, best) : STR_LIT("");
}

static void write_all(struct writer *p)
{
    const struct para *q = (const struct para *)(const void *)p->paras.ptr;
    size_t n = p->paras.len / sizeof *q;
    docw_title(p->w, title_of(p->l));
    docw_title(p->w, first_page_title(p));
    for (size_t i = 0; i < n && !p->w->rc; i++) {
        if (q[i].table)
            write_table(p, q[i].table);
        else
            write_para(p, q + i, heading_level(p, q + i, i ? q + i - 1 : NULL, i + 1 < n ? q + i + 1 : NULL));
    }
}

static void check_text(struct writer *p)
{
    const struct pdf_line *lines = pdf_lines(p->l);
    size_t pages = pdf_n_pages(p->l), n = pdf_n_lines(p->l), kept = 0;
    for (size_t i = 0; i < n; i++)
        kept += !lines[i].dropped;
    if (pages == 0)
        docw_fail(p->w, RAG_EFORMAT, "damaged: a PDF without pages");
    else if (kept == 0)
        docw_fail(p->w, RAG_EFORMAT, "image only: %zu page%s without text%s; run OCR first", pages,
                  pages == 1 ? "" : "s", n ? " but running heads" : "");
}

void pdf_blocks_write(struct pdf_layout *l, struct doc_writer *w)
{
    struct writer p = {.l = l, .w = w};
    buf_init(&p.text, MEM_EXTRACT);
    buf_init(&p.paras, MEM_EXTRACT);
    buf_init(&p.marks, MEM_EXTRACT);
    check_text(&p);
    if (!w->rc) {
        measure(&p);
        find_columns(&p);
        collect(&p);
    }
    if (!w->rc) {
        find_sizes(&p);
        write_all(&p);
    }
    buf_clear(&p.text);
    buf_clear(&p.paras);
    buf_clear(&p.marks);
}
