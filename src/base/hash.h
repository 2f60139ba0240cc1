/* base/hash.h - hashing (XXH3) and a string set that numbers its strings 0, 1, 2, ... */
#ifndef RAGD_BASE_HASH_H
#define RAGD_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "base/str.h"

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed); /* XXH3-64; not for secrets */

/* Distinct strings in order of arrival; ids are dense from 0. Zeroed is not valid: strset_init.
 * Bytes are copied. At most 2^32-2 strings and 4 GiB of bytes. One thread at a time. */
struct strset {
    struct buf bytes; /* the strings back to back */
    uint32_t *off;    /* off[id] .. off[id+1]: bytes of string id; cap + 1 entries */
    uint32_t *slots;  /* open addressing, id + 1, 0 = free */
    uint32_t n, cap, n_slots;
    uint64_t seed;
};

#define STRSET_NONE UINT32_MAX

void strset_init(struct strset *s, enum mem_tag tag, uint64_t seed);
void strset_clear(struct strset *s);
/* Id of `key`, added when new. RAG_ENOMEM, RAG_ETOOBIG. */
RAG_MUST_CHECK rag_code strset_add(struct strset *s, struct str key, uint32_t *id);
uint32_t strset_find(const struct strset *s, struct str key); /* STRSET_NONE when absent */
static inline struct str strset_get(const struct strset *s, uint32_t id)
{
    return str_make(s->bytes.ptr + s->off[id], s->off[id + 1] - s->off[id]);
}

#endif
