/* pipeline/chunk_terms.h - which text of a chunk is indexed, and how long it counts. */
#ifndef RAGD_PIPELINE_CHUNK_TERMS_H
#define RAGD_PIPELINE_CHUNK_TERMS_H

#include "base/buf.h"
#include "base/status.h"
#include "base/str.h"
#include "text/analyzer.h"

struct chunk_terms {
    struct buf text; /* scratch */
    struct term_list terms;
    uint32_t length; /* BM25 length: every term counts (best on training questions) */
};
void chunk_terms_init(struct chunk_terms *c);
void chunk_terms_clear(struct chunk_terms *c);

/* Terms of title, heading path (elements joined by '\x1f'; one equal to the title counts once) and text.
 * RAG_ENOMEM, RAG_ETOOBIG. One thread at a time for one `c`. */
RAG_MUST_CHECK rag_code chunk_terms_run(struct chunk_terms *c, const struct analyzer *an, struct str title,
                                        struct str heading_path, struct str text);

#endif
