/* text/normalize.h - NFKC, case folding and traditional-to-simplified folding with offsets back to the source. */
#ifndef RAGD_TEXT_NORMALIZE_H
#define RAGD_TEXT_NORMALIZE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "base/str.h"

/* Normalised text and, for each of its bytes, where it came from. Reusable; zeroed is not valid. */
struct norm_text {
    struct buf text;  /* UTF-8 */
    struct buf start; /* uint32_t[text.len]: source byte where the character that made this byte begins */
    struct buf end;   /* uint32_t[text.len]: source byte after it */
};
void norm_text_init(struct norm_text *t);
void norm_text_clear(struct norm_text *t);

/* NFKC_Casefold, then traditional to simplified Chinese, character by character. Invalid UTF-8 becomes
 * U+FFFD. Offsets are non-decreasing and lie on character boundaries of the source.
 * RAG_ENOMEM; RAG_ETOOBIG above 256 MiB. Thread-safe for different `out`. */
RAG_MUST_CHECK
rag_code normalize_run(struct str src, struct norm_text *out);

#endif
