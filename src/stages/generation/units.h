/* stages/generation/units.h - what an extract is made of: sentences, list items, table fields of retrieved chunks. */
#ifndef RAGD_STAGES_UNITS_H
#define RAGD_STAGES_UNITS_H

#include "base/arena.h"
#include "base/status.h"
#include "flow/hits.h"
#include "flow/query.h"

struct unit {
    uint32_t hit;          /* index into hits */
    uint32_t start, end;   /* bytes of the chunk's text */
    struct str text;       /* trimmed; in the arena */
    uint64_t terms;        /* question terms in the unit itself, bit i = hits.terms[i] (the first 64) */
    uint64_t context;      /* question terms in the chunk's title and heading path, or its row's other fields */
    uint32_t n_words;      /* terms of the unit, for density */
    bool field;            /* `column: value` line of a record */
    bool has_number;
    float score;
};
struct units {
    struct unit *items;
    uint32_t n;
    struct str *chunk_text; /* by hit, n_hits */
    uint32_t n_hits;        /* hits looked at */
};

/* Cuts the first n_hits hits into units and marks which question terms each holds. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code units_collect(const struct analyzer *an, const struct hits *h, uint32_t n_hits, struct arena *a,
                                      struct units *out);

/* Sum of the impacts of the terms in the set. */
float units_mass(const struct hits *h, uint64_t set);

#endif
