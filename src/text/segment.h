/* text/segment.h - a run of CJK characters to words: the most probable path over all dictionary words in it. */
#ifndef RAGD_TEXT_SEGMENT_H
#define RAGD_TEXT_SEGMENT_H

#include "text/lexicon.h"
#include "text/normalize_int.h"

/* What is known at each character of a text. Arrays are the caller's; index = character. */
struct segment {
    uint32_t *words; /* bit l - 1: the next l characters are a word inside the run */
    uint8_t *next;   /* length of the word the best path has here; meaningful where a word begins */
    uint8_t *mixed;  /* length of the longest word from here that leaves the run, else 0 */
    int32_t *best;   /* scratch: cost from here to the run's end */
};

/* Segments text[from, to), all CJK. Words of `user` (NULL: none) win against any other path. A word may
 * go on past `to` up to n characters ("T恤", "A股"): that is noted in `mixed` only.
 * unit: length of a unit of measure at `from` ("元" after 3600), favoured as a word; 0 for none.
 * Linear: every position looks at most LEXICON_MAX_WORD characters ahead. Thread-safe.
 * Source: the unigram path model of every Chinese dictionary segmenter (Sproat et al. 1996). No model of unknown
 * words: what it invents differs between a document and a question; character bigrams cover them. */
void segment_run(const struct lexicon *user, const struct norm_cp *text, uint32_t from, uint32_t to,
                 uint32_t n, uint32_t unit, struct segment *s);

/* Length of the longest word that begins at text[at], 0 when none: for words that begin outside a run. */
uint32_t segment_longest(const struct lexicon *user, const struct norm_cp *text, uint32_t at, uint32_t n);

#endif
