/* extract/docx_styles.h - what a Word document's paragraphs refer to: styles and list numbering. One thread at a time.
 * Errors go to the writer of the package. */
#ifndef RAGD_EXTRACT_DOCX_STYLES_H
#define RAGD_EXTRACT_DOCX_STYLES_H

#include "extract/ooxml.h"

enum {
    DOCX_BODY_LEVEL = 9, /* outline levels 0..8 are headings */
    DOCX_LIST_LEVELS = 9,
};

/* A style with what it inherits. -1 where it says nothing. */
struct docx_style {
    struct ooxml_span id, name, based_on;
    int8_t outline, hidden, list_level;
    int32_t list;         /* 0: none, on purpose */
    bool title, contents; /* the document's title; a line of the table of contents */
};

struct docx_styles {
    struct buf styles;    /* struct docx_style[], by id */
    struct buf abstracts; /* struct abstract_list[], by id */
    struct buf lists;     /* struct list[], by id */
};
void docx_styles_init(struct docx_styles *s);
void docx_styles_clear(struct docx_styles *s);
/* Reads the part styles.xml; what is missing is treated as saying nothing. */
void docx_styles_read(struct docx_styles *s, struct ooxml *x, const char *path);
/* The same for numbering.xml. */
void docx_lists_read(struct docx_styles *s, struct ooxml *x, const char *path);

/* The style with this id, or NULL. */
const struct docx_style *docx_style_find(const struct docx_styles *s, const struct ooxml *x, struct str id);
/* What the name of a style says, as "heading 2" or "标题 2": its outline level; -1: no heading. */
int docx_heading_of_name(struct str name);

/* Counts one paragraph of the list and appends what stands before it, with a space: "- ", "2. ", "第三条 ". Appends
 * nothing for a list or level that shows nothing. */
void docx_list_label(struct docx_styles *s, const struct ooxml *x, uint32_t list, uint32_t level,
                     struct buf *out);

#endif
