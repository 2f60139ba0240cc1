/* text/analyzer.h - text to index terms, Chinese and English, the same for documents and questions. */
#ifndef RAGD_TEXT_ANALYZER_H
#define RAGD_TEXT_ANALYZER_H

#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "base/str.h"

/* What a term is. Documents index every kind; questions weigh them (struct term.weight). */
enum term_kind {
    TERM_WORD,    /* a dictionary word of Chinese, or a stemmed English word */
    TERM_SUBWORD, /* a dictionary word inside a longer word */
    TERM_BIGRAM,  /* two neighbouring CJK characters that are not themselves the word: the safety net */
    TERM_CHAR,    /* one CJK character standing alone between non-CJK neighbours, or a one-character word */
    TERM_WHOLE,   /* identifier or number as written: "v1.2.3", "ds-2024-01", "3.5%", "3600元" */
    TERM_PART,    /* a piece of a TERM_WHOLE: "ds", "2024", "3600" */
};

struct term {
    uint32_t text_off; /* bytes of the normalised term: term_text() */
    uint32_t text_len;
    uint32_t start, end; /* byte span in the source text, on character boundaries, start < end */
    uint32_t pos;        /* position counter; terms over the same place share or overlap positions */
    float weight;        /* 1 in documents; in questions 0 < weight <= 1 by kind and stop words */
    uint8_t kind;        /* enum term_kind */
};

/* Reusable output; one thread at a time. Zeroed is not valid: term_list_init. */
struct term_list {
    struct term *items;
    uint32_t n, cap;
    struct buf bytes; /* the terms' normalised bytes */
};
void term_list_init(struct term_list *l);
void term_list_clear(struct term_list *l);
static inline struct str term_text(const struct term_list *l, uint32_t i)
{
    return str_make(l->bytes.ptr + l->items[i].text_off, l->items[i].text_len);
}

enum analyze_mode { ANALYZE_DOCUMENT, ANALYZE_QUERY };

struct analyzer; /* immutable after analyzer_new; shared by all threads */

/* user_words: UTF-8, one word each, NULL when n is 0. They are kept whole by the segmenter (and their
 * sub-words are indexed too). RAG_EINVAL names the bad word; RAG_ENOMEM. */
RAG_MUST_CHECK
rag_code analyzer_new(const struct str *user_words, uint32_t n, struct analyzer **out, struct rag_err *err);
void analyzer_free(struct analyzer *a);

/* Changes whenever the terms of some text change (rules, lexicon, user words): segments record it and are
 * rebuilt when it differs. */
uint64_t analyzer_fingerprint(const struct analyzer *a);

/* Terms of `text` in source order into `out` (emptied first). Any bytes are accepted: invalid UTF-8 acts
 * as U+FFFD, a separator. Linear in text.len. RAG_ENOMEM; RAG_ETOOBIG above 256 MiB. Thread-safe for
 * different `out`. */
RAG_MUST_CHECK
rag_code analyzer_run(const struct analyzer *a, struct str text, enum analyze_mode mode,
                      struct term_list *out);

#endif
