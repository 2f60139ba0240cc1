/* stages/analysis/cues.h - the words and phrases that tell what a question wants: one table, read top to bottom. */
#ifndef RAGD_STAGES_CUES_H
#define RAGD_STAGES_CUES_H

#include <stdint.h>

#include "base/str.h"

/* What a cue says. Several may hold at once. */
enum cue_sense {
    CUE_ASK = 1 << 0,       /* makes its clause a question or a request */
    CUE_COMPARE = 1 << 1,   /* two things side by side */
    CUE_BEST = 1 << 2,      /* the best, the highest: a comparison only with "which" */
    CUE_WHICH = 1 << 3,     /* which one */
    CUE_CONDITION = 1 << 4, /* if, provided that */
    CUE_AGGREGATE = 1 << 5, /* a sum, a count over several, each of several */
    CUE_EXPLAIN = 1 << 6,   /* wants rules, meaning, advice: more than one fact */
    CUE_PROCEDURE = 1 << 7, /* these and the next: the type of the answer */
    CUE_REASON = 1 << 8,
    CUE_NUMBER = 1 << 9,
    CUE_TIME = 1 << 10,
    CUE_PERSON = 1 << 11,
    CUE_PLACE = 1 << 12,
    CUE_LIST = 1 << 13,
    CUE_YES_NO = 1 << 14,
    CUE_OBJECTION = 1 << 15, /* what a customer holds against it */
    CUE_REPORT = 1 << 16,    /* somebody said */
    CUE_SPEAKER = 1 << 17,   /* I, you: somebody speaks */
    CUE_START = 1 << 18,     /* counts at the start of a clause only */
    CUE_OR = 1 << 19,        /* A or B: a comparison in a question that asks which is better */
};

/* Normalised (lower case, simplified). Where cues overlap and one contains the other, the longer alone counts: an entry
 * without a sense keeps a shorter one from being seen in it. Words of letters match whole words. */
struct cue {
    struct str text;
    uint32_t sense;
};
extern const struct cue cues[];
extern const uint32_t n_cues;

#endif
