/* extract/docx_symbol.h - what a character of a symbol font means. Thread-safe. */
#ifndef RAGD_EXTRACT_DOCX_SYMBOL_H
#define RAGD_EXTRACT_DOCX_SYMBOL_H

#include "base/buf.h"
#include "base/str.h"

/* Appends the character that the code `hex` (of 1 to 4 hexadecimal digits; the private use area's F000 is the font's 0)
 * of `font` looks like, for the signs of Symbol and Wingdings that carry meaning; other ornaments append nothing, and
 * in any other font the code is a Unicode one. */
void docx_symbol(struct buf *out, struct str font, struct str hex);

#endif
