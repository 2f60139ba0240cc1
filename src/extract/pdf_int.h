/* extract/pdf_int.h - a PDF's pages as pdftotext lays them out, and how they become blocks. Lengths are hundredths of a
 * point; y grows downwards. One thread at a time. */
#ifndef RAGD_EXTRACT_PDF_INT_H
#define RAGD_EXTRACT_PDF_INT_H

#include "extract/extract_int.h"

enum { PDF_MAX_PAGES = 10000 };

/* Words that stand beside one another, as far as pdftotext saw a gap: a line of a column, or a cell of a table. */
struct pdf_line {
    int32_t x0, y0, x1, y1;
    int32_t height;      /* of its letters, the mean over characters; 0: it runs upwards or downwards */
    int32_t left, right; /* how far the lines reach that it stands among: set by pdf_blocks_write */
    uint32_t page;       /* from 1 */
    uint32_t off, len;   /* in pdf_layout.text */
    uint32_t table;      /* number from 1; 0: none */
    bool dropped;        /* a running head or foot, or joined to another line */
};
struct pdf_page {
    uint32_t first, n; /* lines, in reading order */
    int32_t height;
};
struct pdf_cell {
    uint32_t line, row, col; /* row from 1, col from 0 */
};
struct pdf_table {
    uint32_t first, n; /* cells */
    uint32_t header;   /* number of the table on the page before that it goes on with; 0: none */
};
struct pdf_layout {
    struct buf text;   /* clean UTF-8 without line ends */
    struct buf title;  /* as the file's properties have it */
    struct buf lines;  /* struct pdf_line[] */
    struct buf pages;  /* struct pdf_page[] */
    struct buf tables; /* struct pdf_table[] */
    struct buf cells;  /* struct pdf_cell[] */
};

static inline struct pdf_line *pdf_lines(const struct pdf_layout *l)
{
    return (struct pdf_line *)(void *)l->lines.ptr;
}
static inline size_t pdf_n_lines(const struct pdf_layout *l)
{
    return l->lines.len / sizeof(struct pdf_line);
}
static inline size_t pdf_n_pages(const struct pdf_layout *l)
{
    return l->pages.len / sizeof(struct pdf_page);
}
static inline struct str pdf_line_text(const struct pdf_layout *l, const struct pdf_line *line)
{
    return buf_slice(&l->text, line->off, line->len);
}

void pdf_layout_init(struct pdf_layout *l);
void pdf_layout_clear(struct pdf_layout *l);
/* Reads what `pdftotext -bbox-layout` writes. Errors go to w: RAG_EFORMAT when it is something else or breaks off,
 * RAG_ETOOBIG past PDF_MAX_PAGES, RAG_ENOMEM. */
void pdf_layout_parse(struct pdf_layout *l, struct doc_writer *w, struct str s);
/* Appends line b's text to line a's and drops b. below: b stands below a, not behind it. */
void pdf_lines_join(struct pdf_layout *l, struct pdf_line *a, struct pdf_line *b, bool below);
/* The last character; 0: none. */
uint32_t pdf_last_char(struct str s);
/* Width of a text in letters; a Chinese character counts 2. */
uint64_t pdf_units(struct str s);
/* Appends the line `s` to `out`, whose bytes from `from` on are the lines above it: a word broken by a hyphen becomes
 * whole, beside a Chinese character comes no blank, else one. */
void pdf_append(struct buf *out, size_t from, struct str s);

/* Joins lines that a wide blank cut, drops running heads, feet and page numbers, finds tables. Errors go to w. */
void pdf_pages_tidy(struct pdf_layout *l, struct doc_writer *w);
/* Puts the lines of pages with columns of prose into reading order. Errors go to w. */
void pdf_columns_order(struct pdf_layout *l, struct doc_writer *w);
/* Paragraphs, headings, list items and tables into w, each block with its page; the title. RAG_EFORMAT: no text. */
void pdf_blocks_write(struct pdf_layout *l, struct doc_writer *w);

/* All of it: the layout's bytes to blocks. Returns w->rc. */
rag_code pdf_text(struct doc_writer *w, struct str layout);

#endif
