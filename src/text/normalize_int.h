/* text/normalize_int.h - the normaliser's inner step, for callers that want code points instead of bytes. */
#ifndef RAGD_TEXT_NORMALIZE_INT_H
#define RAGD_TEXT_NORMALIZE_INT_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct norm_cp {
    uint32_t cp;
    uint32_t start, end; /* bytes of the source */
};

#define NORM_STEP_MIN                                                                                        \
    1024 /* smallest output array: one cluster of 32 characters, each folding to at most 18 */

/* Normalises from s[*i] on until s ends or fewer than NORM_STEP_MIN places of out[cap] are free; moves *i on.
 * Code points written; 0 with *i < s.len only when cap < NORM_STEP_MIN or everything up to *i vanished. */
size_t normalize_step(struct str s, size_t *i, struct norm_cp *out, size_t cap);

#endif
