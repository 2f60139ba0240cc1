/* extract/extract_int.h - what the extractors share: the document writer, the charset guess, the limits. */
#ifndef RAGD_EXTRACT_EXTRACT_INT_H
#define RAGD_EXTRACT_EXTRACT_INT_H

#include <stdbool.h>
#include <stdint.h>

#include "extract/extract.h"

enum {
    EXTRACT_MAX_DEPTH = 64,       /* nesting of json, and of the XML of sheets */
    EXTRACT_MAX_HTML_DEPTH = 512, /* open elements */
    EXTRACT_MAX_CELLS = 4 << 20,  /* of one file */
    EXTRACT_MAX_COLUMNS = 16384,  /* what a sheet can have */
    EXTRACT_MAX_ROWS = 1 << 20,
    EXTRACT_MAX_JSON_VALUES = 4 << 20,
};

/* Part of a buffer; defined for an empty one too, whose pointer is NULL. */
static inline struct str buf_slice(const struct buf *b, size_t off, size_t len)
{
    return len ? str_make(b->ptr + off, len) : STR_LIT("");
}

/* Appends blocks to a document. Errors are sticky in rc (RAG_ENOMEM, RAG_ETOOBIG): after one every call does
 * nothing, and loops over input test rc. */
struct doc_writer {
    struct text_doc *doc;
    struct rag_err *err;
    uint64_t max_bytes;
    rag_code rc;
    bool open;
    uint8_t last_kind; /* of the block before; BLOCK_KINDS at the start */
    size_t rollback;   /* text length before the open block's separator */
    uint16_t page; /* of the blocks that begin from now on; 0: none */
    struct text_block cur;
};
void docw_init(struct doc_writer *w, struct text_doc *doc, const struct extract_limits *lim,
               struct rag_err *err);
/* First failure wins; returns w->rc. */
rag_code docw_fail(struct doc_writer *w, rag_code rc, const char *fmt, ...) RAG_PRINTF(3, 4);
void docw_begin(struct doc_writer *w, enum block_kind kind, unsigned level);
void docw_begin_record(struct doc_writer *w, uint32_t row, uint32_t label_off, uint32_t label_len);
/* The same behind the block before with `sep` ("" or " ") between: a paragraph that goes on on the next page. */
void docw_begin_behind(struct doc_writer *w, enum block_kind kind, const char *sep);
void docw_text(struct doc_writer *w, struct str s); /* cleaned as text_clean does */
void docw_line(struct doc_writer *w,
               struct str s);        /* the same, white space and line ends become one space each run */
void docw_end(struct doc_writer *w); /* trims; a block without text is taken back */
void docw_block(struct doc_writer *w, enum block_kind kind, unsigned level, struct str s);
void docw_label(struct doc_writer *w, struct str s, uint32_t *off, uint32_t *len);
void docw_title(struct doc_writer *w, struct str s); /* the first non-empty one stays */

/* Appends s as valid UTF-8 with '\n' line ends, no NUL, no control characters but '\n' and '\t', no BOM. */
void text_clean(struct buf *out, struct str s);
/* The same, each run of white space (also U+00A0, U+3000) one space, none at the ends. */
void text_squeeze(struct buf *out, struct str s);

/* Guesses the charset and appends the text, cleaned. html: a declared charset in the first bytes is believed when
 * the bytes are no valid UTF-8. RAG_EFORMAT: binary. RAG_ENOMEM. */
RAG_MUST_CHECK
rag_code charset_decode(struct str bytes, bool html, struct buf *out, struct rag_err *err);

/* What a file of another kind is, by its first bytes ("a PDF", "a PNG image"); NULL: not known. */
const char *extract_kind_of(struct str bytes);

/* One per format. `s` is cleaned UTF-8, except for xlsx, docx and pdf (the file's bytes). They return w->rc. */
rag_code extract_text(struct doc_writer *w, struct str s);
rag_code extract_markdown(struct doc_writer *w, struct str s);
rag_code extract_html(struct doc_writer *w, struct str s);
rag_code extract_csv(struct doc_writer *w, struct str s);
rag_code extract_json(struct doc_writer *w, struct str s);
rag_code extract_jsonl(struct doc_writer *w, struct str s);
rag_code extract_xlsx(struct doc_writer *w, struct str bytes);
rag_code extract_docx(struct doc_writer *w, struct str bytes);
rag_code extract_pdf(struct doc_writer *w, struct str bytes, const struct extract_limits *lim);

#endif
