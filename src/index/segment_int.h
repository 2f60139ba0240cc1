/* index/segment_int.h - the bytes of a segment, shared by its builder and its readers. docs/formats.md has the
 * same in words. Little-endian; sections start on 8-byte boundaries. */
#ifndef RAGD_INDEX_SEGMENT_INT_H
#define RAGD_INDEX_SEGMENT_INT_H

#include <stdatomic.h>

#include "base/buf.h"
#include "index/segment.h"
#include "sys/file.h"

#define SEGMENT_MAGIC "RAGDSEG\n"
enum { SEGMENT_VERSION = 2 };

enum seg_section {
    SEC_STRINGS,    /* bytes: ids, titles, sources, metadata, heading paths, field names, string values */
    SEC_DOCS,       /* struct seg_doc[n_docs] */
    SEC_DOC_SEQS,   /* struct seg_seq[n_docs], ascending by seq */
    SEC_CHUNKS,     /* struct seg_chunk[n_chunks] */
    SEC_LENGTHS,    /* uint16_t[n_chunks]: BM25 lengths */
    SEC_TEXT,       /* bytes: chunk texts, escaped for JSON */
    SEC_TERM_BYTES, /* bytes of the terms */
    SEC_TERMS,      /* struct seg_term[n_terms] */
    SEC_TERM_SLOTS, /* uint32_t[power of two]: term number + 1 by hash (XXH3, hash_seed), linear probing, 0 = free */
    SEC_POST_CHUNKS, /* uint32_t[n_postings]: chunk numbers, ascending within a term */
    SEC_POST_TFS,    /* uint8_t[n_postings]: term frequency, 255 = 255 or more */
    SEC_FIELDS,      /* struct seg_field[], ascending by name */
    SEC_VALUES,      /* struct seg_value[], ascending by (type, value) within a field */
    SEC_VALUE_DOCS,  /* uint32_t[]: document numbers, ascending within a value */
    SEC_COUNT
};

struct seg_span {
    uint32_t off, len; /* bytes of SEC_STRINGS, unless said otherwise */
};
struct seg_doc {
    struct seg_span id, title, source, metadata;
    uint32_t version, first_chunk, n_chunks, reserved;
    int64_t seq, updated_ms;
};
struct seg_seq {
    int64_t seq;
    uint32_t doc, reserved;
};
struct seg_chunk {
    uint32_t doc, ordinal;
    uint32_t start, end; /* code points of the document's text */
    struct seg_span heading;
    struct seg_span text; /* bytes of SEC_TEXT */
    uint32_t page;        /* that it starts on; 0: none */
};
struct seg_term {
    struct seg_span bytes; /* of SEC_TERM_BYTES */
    uint32_t first, df;    /* postings */
};
struct seg_field {
    struct seg_span name;
    uint32_t first_value, n_values;
};
struct seg_value {
    uint32_t type, reserved; /* enum value_type */
    double number;
    struct seg_span string;
    uint32_t first_doc, n_docs; /* of SEC_VALUE_DOCS */
};
struct seg_header {
    char magic[8];
    uint32_t version, header_bytes;
    uint64_t file_bytes;
    uint64_t
        checksum; /* XXH3-64, seed 0, of the header with this field zero, then with that as seed of the rest */
    uint64_t analyzer; /* analyzer_fingerprint */
    uint64_t total_length;
    uint64_t hash_seed; /* of the term slots: random, so that no upload can choose its collisions */
    uint32_t n_docs, n_chunks, n_terms, n_postings;
    struct {
        uint64_t off, len; /* bytes of the file */
    } sec[SEC_COUNT];
};

struct segment {
    _Atomic uint32_t refs;
    const char *base; /* the bytes */
    size_t len;
    struct file_map map; /* base is map.ptr when mapped */
    char *owned;         /* base when in memory */
    const struct seg_header *h;
    /* the sections */
    const char *strings, *text, *term_bytes;
    const struct seg_doc *docs;
    const struct seg_seq *seqs;
    const struct seg_chunk *chunks;
    const uint16_t *lengths;
    const struct seg_term *terms;
    const uint32_t *term_slots;
    uint32_t term_mask;
    const uint32_t *post_chunks;
    const uint8_t *post_tfs;
    const struct seg_field *fields;
    uint32_t n_fields;
    const struct seg_value *values;
    const uint32_t *value_docs;
};

static inline struct str seg_str(const struct segment *s, struct seg_span sp)
{
    return str_make(s->strings + sp.off, sp.len);
}
static inline struct str seg_term_str(const struct segment *s, uint32_t t)
{
    return str_make(s->term_bytes + s->terms[t].bytes.off, s->terms[t].bytes.len);
}
/* Term number, or UINT32_MAX. */
uint32_t segment_find_term(const struct segment *s, struct str term);
/* Document number by seq, or UINT32_MAX. */
uint32_t segment_find_seq(const struct segment *s, int64_t seq);
/* header.checksum of these bytes; len >= sizeof(struct seg_header). */
uint64_t segment_checksum(const char *base, size_t len);
/* Takes ownership of `owned` (MEM_INDEX) even on failure; checks nothing when trusted. */
rag_code segment_adopt(char *owned, size_t len, bool trusted, struct segment **out, struct rag_err *err);

#endif
