/* stages/generation/answer_span_int.h - what the files of answer_span share: normalised text that knows where it came
 * from, and stretches of it. */
#ifndef RAGD_STAGES_ANSWER_SPAN_INT_H
#define RAGD_STAGES_ANSWER_SPAN_INT_H

#include "stages/generation/answer_span.h"
#include "text/utf8.h"

/* NFKC, lower case, simplified: full-width punctuation is ASCII here, except 。、《》「」. */
struct span_text {
    struct str s, source;
    const uint32_t *from, *to; /* of each byte of s: bytes of the source */
};
/* A stretch of a span_text, bytes of s. */
struct stretch {
    uint32_t start, end;
    uint8_t kind;       /* enum span_kind: what it is by its form */
    uint8_t unit;       /* enum span_unit of an amount */
    uint32_t number_end; /* of an amount: where its number ends and its unit begins */
};
enum span_unit { UNIT_CLASS_NONE, UNIT_CLASS_MONEY, UNIT_CLASS_PERCENT, UNIT_CLASS_TIME, UNIT_CLASS_OTHER };

enum { SPAN_ANCHORS = 4 };
struct span_anchor {
    uint32_t at;    /* end of a left one, start of a right one; bytes of the sentence */
    uint32_t end;
    uint32_t begin; /* of a left one: after what only links it to what follows ("是", "大约") */
    uint32_t chars;
};
struct span_anchors {
    struct span_anchor items[SPAN_ANCHORS];
    uint32_t n;
};
/* A sentence that is looked through. */
struct span_finder {
    const struct span_question *q;
    struct span_text t;
    const struct span_term *terms;
    uint32_t n_terms;
    float worth;
    struct span_anchors left, right;
    struct stretch found[SPAN_CANDIDATES];

    uint32_t n;
};

/* answer_span_place.c: finds the anchors and adds the candidates by place. */
void span_by_place(struct span_finder *f);
bool span_is_bound(struct str s, size_t i);       /* of a clause */
size_t span_bound_after(struct str s, size_t i); /* the next one from i on, or the end */
/* Length of the first of the words that s begins (ends) with; 0. */
size_t span_word_of(struct str s, const char *const *words, size_t n, bool at_end);
/* answer_span_scan.c: stretches that look like what is asked for, in the order of the text, at most `most`. */
uint32_t span_scan(const struct span_question *q, const struct span_text *t, struct stretch *out, uint32_t most);

static inline bool span_at(struct str s, size_t i, struct str word)
{
    return i + word.len <= s.len && word.len && memcmp(s.ptr + i, word.ptr, word.len) == 0;
}
static inline bool span_digit(struct str s, size_t i)
{
    return i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9';
}
static inline bool span_letter(struct str s, size_t i)
{
    return i < s.len && ((s.ptr[i] >= 'a' && s.ptr[i] <= 'z') || (s.ptr[i] >= 'A' && s.ptr[i] <= 'Z'));
}
static inline size_t span_next(struct str s, size_t i)
{
    (void)utf8_next(s, &i);
    return i;
}
/* Start of the character before i; i > 0. */
static inline size_t span_before(struct str s, size_t i)
{
    return utf8_floor(s, i - 1);
}
/* The longest of the words at i, its index through *which; 0 when there is none. Words of letters end at a word's end. */
static inline size_t span_longest(struct str s, size_t i, const char *const *words, size_t n, size_t *which)
{
    size_t best = 0;
    for (size_t k = 0; k < n; k++) {
        if (i >= s.len || s.ptr[i] != words[k][0]) /* nearly always */
            continue;
        struct str w = str_of(words[k]);
        if (w.len > best && span_at(s, i, w) && !(span_letter(w, w.len - 1) && span_letter(s, i + w.len))) {
            best = w.len;
            *which = k;
        }
    }
    return best;
}

#endif
