/* text/utf8.h - decoding, validation and counting. Thread-safe, no allocation. */
#ifndef RAGD_TEXT_UTF8_H
#define RAGD_TEXT_UTF8_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

/* Next code point at s[*i], i advanced past it; U+FFFD for a bad sequence (advances by >= 1). *i < s.len. */
uint32_t utf8_next(struct str s, size_t *i);
bool utf8_valid(struct str s);                /* strict RFC 3629: no surrogates, no overlong forms */
size_t utf8_count(struct str s);              /* code points, counting bytes that start one */
size_t utf8_encode(uint32_t cp, char out[4]); /* bytes written, 1..4; cp must be a scalar value */
size_t utf8_floor(struct str s, size_t i);    /* largest character boundary <= i */
bool utf8_is_cjk(uint32_t cp);                /* Han ideographs, kana and hangul: no spaces between words */

/* Tokens counted without a model: a CJK character is one, other text one for each 4 bytes, rounded up. */
size_t text_token_count(struct str s);

#endif
