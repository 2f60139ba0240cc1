/* extract/grid.h - a table of cells, from a csv file, a sheet, or a table inside prose, and how it becomes text. */
#ifndef RAGD_EXTRACT_GRID_H
#define RAGD_EXTRACT_GRID_H

#include "extract/extract_int.h"

enum cell_kind {
    CELL_TEXT,
    CELL_NUMBER
}; /* number: also dates, percentages, booleans: not a column's name */

struct grid_cell {
    uint32_t row, col; /* row from 1, col from 0 */
    uint32_t off, len; /* in grid.text */
    uint8_t kind;
};
struct grid_merge {
    uint32_t r1, c1, r2, c2; /* inclusive */
};

/* Sparse: empty cells are not stored. Zeroed is not valid: grid_init. */
struct grid {
    struct buf text, cells, merges;
    uint32_t max_cells;
    bool unsorted;
};
void grid_init(struct grid *g, uint32_t max_cells);
void grid_clear(struct grid *g);
void grid_reset(struct grid *g); /* forgets the cells, keeps the memory */
size_t grid_cell_count(const struct grid *g);

/* Adds a cell unless it is blank. Errors go to w: RAG_ETOOBIG past max_cells, rows or columns. */
void grid_add(struct grid *g, struct doc_writer *w, uint32_t row, uint32_t col, enum cell_kind kind,
              struct str s);
void grid_merge(struct grid *g, struct doc_writer *w, struct grid_merge m);
/* What a csv or html value looks like: digits with separators, currency, percent, date signs. */
enum cell_kind grid_kind_of(struct str s);

/* One BLOCK_RECORD a row: `column: value` lines under the names of the header rows found at the top. Rows above
 * the header that hold a single cell become headings, so the first one titles the document. */
void grid_emit_records(struct grid *g, struct doc_writer *w, struct str label);
/* One BLOCK_TABLE: the names joined by " | ", then for each row a line `column: value; column: value`, so that a
 * row retrieved alone explains itself. header: -1 find it (single cells above it become paragraphs), 0 none (values
 * joined by " | "), n that many rows. */
void grid_emit_table(struct grid *g, struct doc_writer *w, int header);
/* The same for a table that may only be layout: when it has one column, or cells as long as chapters, its cells become
 * paragraphs. */
void grid_emit_page_table(struct grid *g, struct doc_writer *w, int header);

#endif
