/* extract/markdown_int.h - the two halves of the markdown extractor: blocks (markdown.c) and inline marks. */
#ifndef RAGD_EXTRACT_MARKDOWN_INT_H
#define RAGD_EXTRACT_MARKDOWN_INT_H

#include "extract/extract_int.h"

/* Replaces `out` by s without its marks: links and images to their text, emphasis, code marks, html tags and
 * backslashes dropped. s holds no NUL. */
void markdown_inline(struct str s, struct buf *out);

#endif
