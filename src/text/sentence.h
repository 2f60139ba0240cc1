/* text/sentence.h - where sentences end, Chinese and English. */
#ifndef RAGD_TEXT_SENTENCE_H
#define RAGD_TEXT_SENTENCE_H

#include "base/str.h"

/* Length in bytes of the first sentence of s, its closing punctuation, quotes and following white space
 * included; s.len when there is only one. Never 0 unless s.len is 0. A line break ends a sentence where the
 * next line is a list item, a table row, or blank, or where the line holds CJK text or a `key: value` pair.
 * Abbreviations (e.g., Mr., 3.5, v1.2) do not end one. Thread-safe, no allocation. */
size_t sentence_len(struct str s);

#endif
