/* text/chunker.h - a document's blocks to chunks: what is indexed, retrieved and cited. */
#ifndef RAGD_TEXT_CHUNKER_H
#define RAGD_TEXT_CHUNKER_H

#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "base/str.h"

enum block_kind {
    BLOCK_HEADING,   /* level 1..9 */
    BLOCK_PARAGRAPH, /* prose; may be split at sentences */
    BLOCK_LIST_ITEM, /* split only when alone too long */
    BLOCK_CODE,      /* split only at line ends, when too long */
    BLOCK_TABLE,  /* a table inside prose (markdown, html): the first line is its header; split at rows only,
                        the header's line is repeated in the heading path, not in the text */
    BLOCK_RECORD, /* one row of a csv, sheet or json list as `column: value` lines: always its own chunk */
    BLOCK_KINDS
};

/* A span of the document's text. Blocks are in order and do not overlap; white space may lie between. */
struct text_block {
    uint32_t start, end; /* bytes of the document's text */
    uint8_t kind;        /* enum block_kind */
    uint8_t level;       /* heading level, else 0 */
    uint16_t page;      /* that it starts on, from 1; 0: the format has none */
    uint32_t row;       /* BLOCK_RECORD: row number as the sheet shows it, from 1; else 0 */
    uint32_t label_off; /* BLOCK_RECORD: sheet name in the labels' bytes; len 0: none */
    uint32_t label_len;
};

/* A document as extractors give it and the store keeps it. */
struct text_doc {
    struct buf text;   /* UTF-8, valid, '\n' line ends, no NUL */
    struct buf blocks; /* struct text_block[] */
    struct buf labels; /* bytes that label_off points into */
    struct buf title;  /* UTF-8; may be empty */
};
void text_doc_init(struct text_doc *d);
void text_doc_clear(struct text_doc *d);

struct chunker_options {
    uint32_t size_tokens;    /* target size, text_token_count */
    uint32_t overlap_tokens; /* whole sentences repeated from the chunk before, at most this many tokens */
};

/* One chunk: text[start, end) of the document, trimmed of white space. */
struct text_chunk {
    uint32_t start, end;
    uint32_t heading_off,
        heading_len; /* in text_chunks.headings: path elements joined by '\x1f', outermost first */
    uint32_t page;   /* that its first byte stands on; 0: none */
};
struct text_chunks {
    struct buf chunks; /* struct text_chunk[] */
    struct buf headings;
};
void text_chunks_init(struct text_chunks *c);
void text_chunks_clear(struct text_chunks *c);

/* Cuts a document into chunks. Headings start a new chunk unless the current one is small and the heading is
 * deeper; a heading's own line is part of the chunk's text only when text follows it directly. A BLOCK_RECORD's path is
 * its sheet name and "row N". Never cuts inside a UTF-8 sequence; a sentence longer than the size is cut at
 * clause punctuation, then at white space, then at a character. Every non-space byte of a block of the
 * document other than headings is in at least one chunk. Offsets are validated: RAG_EFORMAT for blocks
 * out of order or range. RAG_ENOMEM. Thread-safe. */
RAG_MUST_CHECK
rag_code chunker_run(const struct text_doc *doc, const struct chunker_options *opt, struct text_chunks *out);

#endif
