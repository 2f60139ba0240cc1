/* index/list.h - a collection, to a query: a list of segments with live bitmaps, immutable once published. */
#ifndef RAGD_INDEX_LIST_H
#define RAGD_INDEX_LIST_H

#include <stdint.h>

#include "index/segment.h"
#include "index/vectors.h"

/* Vectors of two models may stand side by side while one replaces the other. */
enum { VECTOR_SLOTS = 2 };

struct list_entry {
    struct segment *segment;
    struct vector_block *vectors[VECTOR_SLOTS]; /* one row a chunk; NULL: none. A reference each */
    const uint64_t *live; /* bit per chunk; owned by the list's live_ref */
    uint32_t n_live;      /* chunks */
    uint32_t n_live_docs;
    uint64_t live_length; /* sum of BM25 lengths of live chunks */
};
struct segment_list {
    uint32_t n;
    uint64_t n_chunks, n_docs, total_length; /* live, summed */
    uint64_t generation;                     /* grows with each publication of this collection */
    struct list_entry e[];
};

/* A chunk of a pinned list. */
struct chunk_ref {
    uint32_t entry; /* index in the list */
    uint32_t chunk; /* index in the segment */
};

#endif
