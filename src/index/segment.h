/* index/segment.h - an immutable, checksummed piece of a collection: what queries read.
 *
 * Layout: docs/formats.md. One block of bytes, mapped from a file or in memory, offsets instead of pointers.
 * Immutable, so every function here is safe from any thread while a reference is held. */
#ifndef RAGD_INDEX_SEGMENT_H
#define RAGD_INDEX_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/str.h"
#include "index/filter.h"
#include "text/analyzer.h"

struct segment;

/* What a chunk and its document look like to readers. Spans point into the segment. */
struct chunk_view {
    struct str document_id, title, source;
    struct str metadata_json; /* JSON object */
    struct str heading_path;  /* elements joined by '\x1f', outermost first */
    struct str text_json;     /* chunk text escaped for a JSON string, without the quotes */
    uint32_t version;         /* of the document */
    uint32_t ordinal;         /* chunk's number in its document, from 0 */
    uint32_t start, end;      /* code points of the document's text */
    uint32_t page;            /* that it starts on, from 1; 0: none */
    int64_t seq;              /* store's number of this document version */
    int64_t updated_ms;
};
void segment_chunk(const struct segment *s, uint32_t chunk, struct chunk_view *out);
/* The chunk's text, unescaped, in `a`. Empty when out of memory. */
struct str segment_chunk_text(const struct segment *s, uint32_t chunk, struct arena *a);

uint32_t segment_n_chunks(const struct segment *s);
uint32_t segment_n_docs(const struct segment *s);
size_t segment_bytes(const struct segment *s);

/* ---- building ---------------------------------------------------------------------------------------- */
struct segment_builder;
struct segment_chunk_in {
    struct str text; /* valid UTF-8 */
    struct str heading_path;
    uint32_t start, end;           /* code points */
    uint32_t page;                 /* 0: none */
    const struct term_list *terms; /* of title + heading path + text, source order */
    uint32_t length;               /* BM25 length */
};
struct segment_doc_in {
    struct str id, title, source, metadata_json; /* metadata: JSON object of scalars and lists of scalars */
    uint32_t version;
    int64_t seq, updated_ms;
};
RAG_MUST_CHECK rag_code segment_builder_new(uint64_t analyzer_fingerprint, struct segment_builder **out);
void segment_builder_free(struct segment_builder *b);
/* Starts a document; its chunks follow. RAG_EFORMAT: the metadata is no JSON object; the builder is unchanged.
 * After any other failure, here and below, the builder is only good for segment_builder_free. */
RAG_MUST_CHECK rag_code segment_builder_doc(struct segment_builder *b, const struct segment_doc_in *doc);
RAG_MUST_CHECK rag_code segment_builder_chunk(struct segment_builder *b,
                                              const struct segment_chunk_in *chunk);
/* Appends the chunks of `s` that are set in `live` (NULL: all). */
RAG_MUST_CHECK rag_code segment_builder_merge(struct segment_builder *b, const struct segment *s,
                                              const uint64_t *live);
/* Seals: one reference to an in-memory segment. The builder is empty afterwards and must still be freed. */
RAG_MUST_CHECK rag_code segment_builder_finish(struct segment_builder *b, struct segment **out);

/* ---- files ------------------------------------------------------------------------------------------- */
/* Writes dir/name atomically and durably; *out is the same segment, mapped from the file. */
RAG_MUST_CHECK rag_code segment_write(const struct segment *s, const char *dir, const char *name,
                                      struct segment **out, struct rag_err *err);
/* Maps and checks: magic, version (RAG_EVERSION when newer), checksum and every offset (RAG_ECORRUPT),
 * analyzer fingerprint (RAG_ECONFLICT: built with other rules or by an older version, rebuild it). */
RAG_MUST_CHECK rag_code segment_open(const char *path, uint64_t analyzer_fingerprint, struct segment **out,
                                     struct rag_err *err);
/* The same checks on bytes in memory (copied); for fuzzing. */
RAG_MUST_CHECK rag_code segment_open_bytes(struct str bytes, uint64_t analyzer_fingerprint,
                                           struct segment **out, struct rag_err *err);
struct segment *segment_ref(struct segment *s);
void segment_unref(struct segment *s); /* NULL is fine */

#endif
