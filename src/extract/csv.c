/* RFC 4180 with the separators that spreadsheets write: comma, semicolon, tab. The separator is the one under which
 * the first rows agree best on a number of columns. A quote opens a quoted field only at its start; inside an
 * unquoted field it is a character. */
#include "extract/grid.h"

enum { SNIFF_BYTES = 64 << 10, SNIFF_ROWS = 50 };

struct csv_reader {
    struct str s;
    size_t at;
    char sep;
    bool unclosed; /* the last field read ran to the end of the text inside its quotes */
};

/* One field into `field` (NULL: skipped). True when another field follows on this row. */
static bool csv_field(struct csv_reader *r, struct buf *field)
{
    struct str s = r->s;
    size_t i = r->at;
    if (field)
        buf_reset(field);
    if (i < s.len && s.ptr[i] == '"') {
        for (i++;;) {
            const char *q = memchr(s.ptr + i, '"', s.len - i);
            size_t end = q ? (size_t)(q - s.ptr) : s.len;
            if (field)
                buf_add(field, s.ptr + i, end - i);
            r->unclosed = !q;
            i = q ? end + 1 : end;
            if (!q || i >= s.len || s.ptr[i] != '"')
                break;
            if (field)
                buf_addc(field, '"');
            i++;
        }
    }
    size_t from = i;
    while (i < s.len && s.ptr[i] != r->sep && s.ptr[i] != '\n')
        i++;
    if (field)
        buf_add(field, s.ptr + from, i - from);
    bool more = i < s.len && s.ptr[i] == r->sep;
    r->at = i < s.len ? i + 1 : i;
    return more;
}

/* How well `sep` explains the first rows: rows that have the most frequent width, times the width. */
static double sniff_score(struct str s, char sep)
{
    size_t count[64] = {0}, rows = 0, best = 0;
    struct csv_reader r = {.s = s, .sep = sep};
    while (r.at < s.len && rows < SNIFF_ROWS) {
        size_t w = 1;
        while (csv_field(&r, NULL))
            w++;
        rows++;
        count[w < 63 ? w : 63]++;
    }
    for (size_t w = 2; w < 64; w++)
        if (count[w] && (best == 0 || count[w] > count[best]))
            best = w;
    if (best == 0)
        return 0;
    double share = (double)count[best] / (double)rows;
    return share * share * (1 + (double)best / 64);
}

static char sniff(struct str s)
{
    static const char seps[] = {',', '\t', ';'};
    char best = ',';
    double top = 0;
    if (s.len > SNIFF_BYTES)
        s.len = SNIFF_BYTES;
    for (size_t i = 0; i < sizeof seps; i++) {
        double score = sniff_score(s, seps[i]);
        if (score > top) {
            top = score;
            best = seps[i];
        }
    }
    return best;
}

rag_code extract_csv(struct doc_writer *w, struct str s)
{
    struct grid g;
    struct buf field;
    grid_init(&g, EXTRACT_MAX_CELLS);
    buf_init(&field, MEM_EXTRACT);
    struct csv_reader r = {.s = s, .sep = sniff(s)};
    if (s.len > 5 && strncasecmp(s.ptr, "sep=", 4) == 0 &&
        s.ptr[5] == '\n') { /* what Excel takes as a hint */
        r.sep = s.ptr[4];
        r.at = 6;
    }
    for (uint32_t row = 1; r.at < s.len && !w->rc; row++) {
        bool more = true;
        for (uint32_t col = 0; more && !w->rc; col++) {
            more = csv_field(&r, &field);
            if (r.unclosed)
                docw_fail(w, RAG_EFORMAT, "row %u: a quoted field is never closed", row);
            else if (buf_failed(&field))
                docw_fail(w, RAG_ENOMEM, "out of memory");
            else if (field.len)
                grid_add(&g, w, row, col, grid_kind_of(str_trim(buf_str(&field))), buf_str(&field));
        }
    }
    grid_emit_records(&g, w, str_make(NULL, 0));
    grid_clear(&g);
    buf_clear(&field);
    return w->rc;
}
