/* index/filter_eval.h - which documents of a segment a filter lets through. */
#ifndef RAGD_INDEX_FILTER_EVAL_H
#define RAGD_INDEX_FILTER_EVAL_H

#include "base/arena.h"
#include "index/filter.h"
#include "index/segment.h"

/* Bitmap over the segment's documents, in `a`; *out is NULL when f has no clauses (everything passes).
 * RAG_ENOMEM. Values are found by binary search in the segment's columns; document_id, title and source are
 * compared document by document. */
RAG_MUST_CHECK rag_code filter_docs(const struct segment *s, const struct filter *f, struct arena *a,
                                    uint64_t **out);

#endif
