/* flow/answer.h - what goes back: an answer with citations and the chunks it stands on. */
#ifndef RAGD_FLOW_ANSWER_H
#define RAGD_FLOW_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "flow/hits.h"

enum answer_source { SOURCE_PRIMARY, SOURCE_FALLBACK, SOURCE_EXTRACT, SOURCE_CACHE };
const char *answer_source_name(enum answer_source s);

struct citation {
    uint32_t n;          /* the [n] in the text, from 1 */
    uint32_t hit;        /* index into hits: document, version, chunk, heading path come from there */
    uint32_t start, end; /* code points of the document's text: the cited sentence or field */
};
struct answer {
    bool found;       /* false: the documents do not answer; text says so plainly, no citations */
    float confidence; /* 0..1, calibrated: probability that the documents answer the question */
    struct str text;  /* UTF-8 with [n] marks; in the question's language */
    struct citation *citations;
    uint32_t n_citations;
    enum answer_source source;
    /* text cut where a stream may cut it: offsets of pieces, pieces[0] = 0 .. pieces[n_pieces] = text.len */
    uint32_t *pieces;
    uint32_t n_pieces;
};

#endif
