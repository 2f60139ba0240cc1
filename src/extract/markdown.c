/* Markdown by lines. A line either continues what is open (paragraph, list item, code, table) or closes it and opens
 * something else; there is no tree. Block quotes lose their '>' and are read like the rest; a list item's later
 * paragraphs are paragraphs. Good enough for text that will be searched: what matters is that every word stays, that
 * headings are found, and that code and tables are whole. */
#include <ctype.h>

#include "extract/grid.h"
#include "extract/markdown_int.h"
#include "text/utf8.h"

struct md {
    struct doc_writer *w;
    struct str s;
    size_t at;         /* the next line */
    struct buf para;   /* raw text of the open paragraph or list item */
    uint8_t para_kind; /* BLOCK_PARAGRAPH or BLOCK_LIST_ITEM */
    struct buf scratch;
    struct grid grid;
    uint32_t cells;    /* of all tables so far */
    bool blank_before; /* the line before was blank */
    bool in_list;      /* an item was open and nothing but blank or indented lines came since */
};

static bool line_next(struct md *m, struct str *line)
{
    if (m->at >= m->s.len)
        return false;
    const char *p = m->s.ptr + m->at, *nl = memchr(p, '\n', m->s.len - m->at);
    line->ptr = p;
    line->len = nl ? (size_t)(nl - p) : m->s.len - m->at;
    m->at += line->len + (nl != NULL);
    return true;
}

static size_t indent_of(struct str line)
{
    size_t n = 0;
    for (size_t i = 0; i < line.len; i++) {
        if (line.ptr[i] == ' ')
            n++;
        else if (line.ptr[i] == '\t')
            n += 4 - n % 4;
        else
            break;
    }
    return n;
}

static bool is_han(uint32_t cp)
{
    return cp >= 0x3400 && cp < 0xA000;
}

/* Line ends inside a paragraph are kept, except between two ideographs of a long line: there the author's editor
 * wrapped a Chinese sentence. */
static void join_lines(struct buf *b)
{
    enum { WRAPPED_BYTES = 60 };
    size_t keep = 0, line = 0;
    struct str s = buf_str(b);
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\n') {
            size_t before = utf8_floor(s, i ? i - 1 : 0), after = i + 1;
            uint32_t a = i ? utf8_next(s, &before) : 0, z = after < s.len ? utf8_next(s, &after) : 0;
            bool wrapped = i - line >= WRAPPED_BYTES && is_han(a) && is_han(z);
            line = i + 1;
            if (wrapped)
                continue;
        }
        b->ptr[keep++] = b->ptr[i];
    }
    b->len = keep;
}

static void inline_block(struct md *m, enum block_kind kind, unsigned level, struct str raw)
{
    markdown_inline(raw, &m->scratch);
    if (buf_failed(&m->scratch))
        docw_fail(m->w, RAG_ENOMEM, "out of memory");
    if (kind == BLOCK_PARAGRAPH)
        join_lines(&m->scratch);
    docw_block(m->w, kind, level, buf_str(&m->scratch));
}

static void para_flush(struct md *m)
{
    if (buf_failed(&m->para))
        docw_fail(m->w, RAG_ENOMEM, "out of memory");
    if (m->para.len)
        inline_block(m, m->para_kind, 0, buf_str(&m->para));
    buf_reset(&m->para);
    m->para_kind = BLOCK_PARAGRAPH;
}

static void para_add(struct md *m, struct str line)
{
    struct str t = str_trim(line);
    if (m->para.len)
        buf_addc(&m->para, '\n');
    if (t.len && t.ptr[t.len - 1] == '\\') /* a hard line break; ours are all kept */
        t.len--;
    buf_adds(&m->para, t);
}

/* Level of "## text", the text in *text; 0: no. */
static unsigned atx(struct str line, struct str *text)
{
    unsigned n = 0;
    struct str t = str_trim(line);
    while (n < t.len && t.ptr[n] == '#')
        n++;
    if (n == 0 || n > 6 || (n < t.len && t.ptr[n] != ' ' && t.ptr[n] != '\t'))
        return 0;
    t = str_trim(str_make(t.ptr + n, t.len - n));
    size_t end = t.len;
    while (end > 0 && t.ptr[end - 1] == '#')
        end--;
    if (end == 0 || t.ptr[end - 1] == ' ')
        t.len = end;
    *text = str_trim(t);
    return n;
}

/* The line consists of at least `least` of the character c (and spaces, if allowed). */
static bool only(struct str line, char c, size_t least, bool spaces)
{
    size_t n = 0;
    struct str t = str_trim(line);
    for (size_t i = 0; i < t.len; i++) {
        if (t.ptr[i] == c)
            n++;
        else if (!(spaces && t.ptr[i] == ' '))
            return false;
    }
    return n >= least;
}

static bool is_rule(struct str line)
{
    return only(line, '-', 3, true) || only(line, '*', 3, true) || only(line, '_', 3, true);
}

/* Bytes of a list marker with the white space after it, counted in the trimmed line; 0: none. */
static size_t list_marker(struct str t)
{
    size_t i = 0;
    if (t.len && strchr("-*+", t.ptr[0])) {
        i = 1;
    } else {
        while (i < t.len && i < 9 && isdigit((unsigned char)t.ptr[i]))
            i++;
        if (i == 0 || i >= t.len || (t.ptr[i] != '.' && t.ptr[i] != ')'))
            return 0;
        i++;
    }
    if (i < t.len && t.ptr[i] != ' ' && t.ptr[i] != '\t')
        return 0;
    return i < t.len ? i + 1 : i;
}

/* Length of the fence at the start of the trimmed line; its character in *c. */
static size_t fence(struct str t, char *c)
{
    size_t n = 0;
    if (t.len < 3 || (t.ptr[0] != '`' && t.ptr[0] != '~'))
        return 0;
    *c = t.ptr[0];
    while (n < t.len && t.ptr[n] == *c)
        n++;
    if (n < 3 || (*c == '`' && memchr(t.ptr + n, '`', t.len - n)))
        return 0;
    return n;
}

static void fenced_code(struct md *m, char c, size_t n)
{
    size_t start = m->at, end = m->at;
    struct str line;
    while (line_next(m, &line)) {
        if (indent_of(line) < 4 && only(line, c, n, false))
            break;
        end = m->at;
    }
    docw_block(m->w, BLOCK_CODE, 0, str_make(m->s.ptr + start, end - start));
}

static void indented_code(struct md *m, struct str line)
{
    buf_reset(&m->scratch);
    size_t at = m->at;
    do {
        struct str t = str_trim(line);
        if (t.len && indent_of(line) < 4)
            break;
        size_t cut = 0;
        for (size_t col = 0; cut < line.len && col < 4; cut++)
            col += line.ptr[cut] == '\t' ? 4 - col % 4 : 1;
        buf_add(&m->scratch, line.ptr + cut, line.len - cut);
        buf_addc(&m->scratch, '\n');
        at = m->at;
    } while (line_next(m, &line));
    m->at = at;
    if (buf_failed(&m->scratch))
        docw_fail(m->w, RAG_ENOMEM, "out of memory");
    docw_block(m->w, BLOCK_CODE, 0, buf_str(&m->scratch));
}

/* |---|:--:| with at least one dash in each cell. */
static bool is_delimiter_row(struct str line)
{
    bool dash = false, bar = false;
    struct str t = str_trim(line);
    for (size_t i = 0; i < t.len; i++) {
        if (!strchr("|-: \t", t.ptr[i]))
            return false;
        dash |= t.ptr[i] == '-';
        bar |= t.ptr[i] == '|';
    }
    return dash && bar;
}

static void table_row(struct md *m, uint32_t row, struct str line)
{
    struct str t = str_trim(line);
    size_t i = t.len && t.ptr[0] == '|' ? 1 : 0;
    bool code = false;
    for (uint32_t col = 0; i < t.len && !m->w->rc; col++) {
        size_t from = i;
        for (; i < t.len && (code || t.ptr[i] != '|'); i++) {
            if (t.ptr[i] == '\\')
                i++;
            else if (t.ptr[i] == '`')
                code = !code && memchr(t.ptr + i + 1, '`', t.len - i - 1);
        }
        i = i < t.len ? i : t.len;
        markdown_inline(str_make(t.ptr + from, i - from), &m->scratch);
        struct str v = str_trim(buf_str(&m->scratch));
        grid_add(&m->grid, m->w, row, col, grid_kind_of(v), v);
        i++;
    }
}

static void table(struct md *m, struct str head)
{
    struct str line;
    uint32_t row = 1;
    grid_reset(&m->grid);
    m->grid.max_cells = EXTRACT_MAX_CELLS - m->cells;
    table_row(m, row, head);
    bool named = grid_cell_count(&m->grid) > 0;
    (void)line_next(m, &line); /* the delimiter row */
    for (size_t at = m->at; line_next(m, &line) && !m->w->rc; at = m->at) {
        if (str_trim(line).len == 0 || !memchr(line.ptr, '|', line.len)) {
            m->at = at;
            break;
        }
        table_row(m, ++row, line);
    }
    m->cells += (uint32_t)grid_cell_count(&m->grid);
    grid_emit_table(&m->grid, m->w, named);
}

/* "[name]: url" */
static bool is_reference(struct str t)
{
    const char *e = t.len && t.ptr[0] == '[' ? memchr(t.ptr, ']', t.len) : NULL;
    return e && e + 1 < t.ptr + t.len && e[1] == ':' && t.ptr[1] != '^';
}

/* Its marker stays; the depth of nesting would only cost tokens. */
static void list_item(struct md *m, struct str t, size_t marker)
{
    para_flush(m);
    m->para_kind = BLOCK_LIST_ITEM;
    struct str rest = str_trim(str_make(t.ptr + marker, t.len - marker));
    if (rest.len >= 4 && rest.ptr[0] == '[' && rest.ptr[2] == ']' &&
        rest.ptr[3] == ' ') /* a task's check box */
        rest = str_trim(str_make(rest.ptr + 3, rest.len - 3));
    if (isdigit((unsigned char)t.ptr[0]))
        buf_adds(&m->para, str_trim(str_make(t.ptr, marker)));
    else
        buf_addc(&m->para, '-');
    buf_addc(&m->para, ' ');
    buf_adds(&m->para, rest);
    m->in_list = true;
}

static void one_line(struct md *m, struct str line)
{
    struct str text, next;
    char c = 0;
    bool blank_before = m->blank_before;
    m->blank_before = false;
    size_t indent = indent_of(line);
    struct str t = str_trim(line);
    while (indent < 4 && t.len && t.ptr[0] == '>') { /* block quote */
        t = str_make(t.ptr + 1, t.len - 1);
        indent = indent_of(t);
        line = t;
        t = str_trim(t);
    }
    if (t.len == 0) {
        para_flush(m);
        m->blank_before = true;
        return;
    }
    if (indent >= 4 && m->para.len == 0 && !m->in_list && blank_before) {
        indented_code(m, line);
        m->blank_before = true;
        return;
    }
    if (blank_before && indent == 0)
        m->in_list = false;
    size_t n = fence(t, &c);
    if (n) {
        para_flush(m);
        fenced_code(m, c, n);
        return;
    }
    unsigned level = indent < 4 ? atx(t, &text) : 0;
    if (level) {
        para_flush(m);
        m->in_list = false;
        inline_block(m, BLOCK_HEADING, level, text);
        return;
    }
    if (m->para.len && m->para_kind == BLOCK_PARAGRAPH &&
        (only(t, '=', 1, false) || only(t, '-', 2, false))) {
        inline_block(m, BLOCK_HEADING, t.ptr[0] == '=' ? 1 : 2, buf_str(&m->para));
        buf_reset(&m->para);
        return;
    }
    if (is_rule(t)) {
        para_flush(m);
        return;
    }
    size_t marker = list_marker(t);
    if (marker && !(m->para.len && m->para_kind == BLOCK_PARAGRAPH && isdigit((unsigned char)t.ptr[0]) &&
                    !(t.ptr[0] == '1' && marker <= 3))) {
        list_item(m, t, marker);
        return;
    }
    if (memchr(t.ptr, '|', t.len)) {
        size_t at = m->at;
        bool is_table = line_next(m, &next) && is_delimiter_row(next);
        m->at = at;
        if (is_table) {
            para_flush(m);
            table(m, t);
            return;
        }
    }
    if (m->para.len == 0 && is_reference(t))
        return;
    para_add(m, line);
}

/* "---", `key: value` lines, "---": only the title is of use. Returns the text after it. */
static struct str front_matter(struct doc_writer *w, struct str s)
{
    struct md m = {.s = s};
    struct str line, title = {0};
    if (!line_next(&m, &line) || !str_eqz(str_trim(line), "---"))
        return s;
    for (int i = 0; i < 200 && line_next(&m, &line); i++) {
        struct str t = str_trim(line);
        if (str_eqz(t, "---") || str_eqz(t, "...")) {
            if (title.len >= 2 && (title.ptr[0] == '"' || title.ptr[0] == '\'') &&
                title.ptr[title.len - 1] == title.ptr[0])
                title = str_make(title.ptr + 1, title.len - 2);
            docw_title(w, title);
            return str_make(s.ptr + m.at, s.len - m.at);
        }
        if (line.len > 6 && strncasecmp(line.ptr, "title:", 6) == 0)
            title = str_trim(str_make(line.ptr + 6, line.len - 6));
    }
    return s; /* a rule, not front matter */
}

/* Copies s without its html comments; those inside fenced code and code spans stay. */
static void drop_comments(struct str s, struct buf *out)
{
    struct md m = {.s = s};
    struct str line;
    char fence_c = 0, c = 0;
    size_t fence_n = 0;
    while (line_next(&m, &line)) {
        struct str t = str_trim(line);
        size_t n = fence(t, &c), from = (size_t)(line.ptr - s.ptr), i = from, end = from + line.len;
        if (fence_n) {
            if (only(t, fence_c, fence_n, false))
                fence_n = 0;
        } else if (n) {
            fence_n = n;
            fence_c = c;
        } else {
            for (bool code = false; i < end; i++) {
                if (s.ptr[i] == '`')
                    code = !code;
                if (code || s.len - i < 4 || memcmp(s.ptr + i, "<!--", 4) != 0)
                    continue;
                const char *e = memmem(s.ptr + i + 4, s.len - i - 4, "-->", 3);
                if (!e) { /* never closed: text, here and in what follows */
                    buf_add(out, s.ptr + from, s.len - from);
                    return;
                }
                buf_add(out, s.ptr + from, i - from);
                from = (size_t)(e - s.ptr) + 3;
                if (from > end) { /* go on in the line where it ends */
                    const char *nl = memchr(s.ptr + from, '\n', s.len - from);
                    end = nl ? (size_t)(nl - s.ptr) : s.len;
                }
                i = from - 1;
            }
            m.at = end < s.len ? end + 1 : s.len;
        }
        buf_add(out, s.ptr + from, m.at - from);
    }
}

rag_code extract_markdown(struct doc_writer *w, struct str s)
{
    struct buf plain;
    struct md m = {.w = w, .blank_before = true, .para_kind = BLOCK_PARAGRAPH};
    buf_init(&plain, MEM_EXTRACT);
    buf_init(&m.para, MEM_EXTRACT);
    buf_init(&m.scratch, MEM_EXTRACT);
    grid_init(&m.grid, EXTRACT_MAX_CELLS);
    drop_comments(front_matter(w, s), &plain);
    if (buf_failed(&plain))
        docw_fail(w, RAG_ENOMEM, "out of memory");
    m.s = buf_slice(&plain, 0, plain.len);
    for (struct str line; !w->rc && line_next(&m, &line);)
        one_line(&m, line);
    para_flush(&m);
    buf_clear(&plain);
    buf_clear(&m.para);
    buf_clear(&m.scratch);
    grid_clear(&m.grid);
    return w->rc;
}
