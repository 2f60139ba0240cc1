/* stages/generation/citations.h - a model's text on its way to the reader: marks [n] are checked as they pass.
 *
 * Text from '[' (also '［', '【') is held back while it can still become a mark, at most CITATIONS_HOLD_CHARS characters;
 * a mark of a passage goes on as "[n]", one of no passage is dropped, anything else is text. Lists inside one mark
 * ("[1, 2]", "[1，2]", "[1-3]") become one mark each; "[1†source]" and "[4:0†name]" become "[1]" and "[4]". A number of
 * more than three digits is text: "[2016]" is a year, or a part of the number of a Chinese document. What stands before or
 * after a mark does not matter: "a[1]" and "[1](url)" hold marks. "[0]" is how the model says that the passages do not
 * answer (prompt.h): dropped and noted. */
#ifndef RAGD_STAGES_CITATIONS_H
#define RAGD_STAGES_CITATIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

enum {
    CITATIONS_MAX_PASSAGES = 32,
    CITATIONS_HOLD_CHARS = 24, /* "[1, 2, 3]" has 9, "[1†source]" 10 */
    CITATIONS_HOLD_BYTES = 4 * CITATIONS_HOLD_CHARS
};

struct citation_filter {
    uint32_t n_passages;             /* valid marks are 1 .. n_passages */
    char held[CITATIONS_HOLD_BYTES]; /* bytes held back */
    uint8_t n_held, n_held_chars;
    char part[4]; /* the beginning of a character whose end comes with the next piece */
    uint8_t n_part;
    bool open_end;  /* what went through ends with a bracket and digits, which could become a mark */
    bool not_found; /* [0] was seen */
    uint32_t order[CITATIONS_MAX_PASSAGES], n_cited; /* passages cited, in order of their first mark */
    uint32_t n_dropped;                              /* marks of no passage */
    bool has_text; /* something but white space went through: white space before the first text is dropped,
                                 so that a dropped mark at the start leaves none */
};
/* n_passages <= CITATIONS_MAX_PASSAGES. */
void citation_filter_init(struct citation_filter *f, uint32_t n_passages);
/* Appends to `out` what may be shown now. Pieces are UTF-8, cut anywhere; only whole characters go on. The output is the
 * same however the text is cut, and holds no mark of at most three digits that is not of a passage. */
void citation_filter_feed(struct citation_filter *f, struct str piece, struct buf *out);
void citation_filter_end(struct citation_filter *f, struct buf *out); /* what is still held, as text */

#endif
