/* extract/html_content.h - which blocks of a page are its content. Thread-safe. */
#ifndef RAGD_EXTRACT_HTML_CONTENT_H
#define RAGD_EXTRACT_HTML_CONTENT_H

#include <stdint.h>

#include "text/chunker.h"

enum { HTML_LINK_RUN = 4 }; /* so many links in a row, or blocks that are links, are a menu */

/* Where a block stands. */
enum place {
    IN_MENU = 1,   /* <nav>, breadcrumbs, search: no content in any page */
    IN_CHROME = 2, /* header, footer or aside of the page, cookie banner */
    IN_FORM = 4,
    IN_HIDDEN = 8,
    IN_LINKS = 16,
    IN_MAIN = 32,
    IN_ARTICLE = 64,
    IS_LINK = 128, /* nearly all of its words are link text */
};

/* Takes menus, headers, forms, hidden text and what stands outside <main> or <article> out of the document: as many
 * kinds of them as leave at least a quarter of the text that is in no menu. Some pages are one big form, or have their
 * text in the <aside>; the last resort is all of it.
 *   places  enum place of each block, as a set of bits; IN_LINKS is added here to runs of IS_LINK */
void html_keep_content(struct text_doc *d, uint8_t *places);

#endif
