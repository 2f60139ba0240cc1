/* text/tokenizer_trie.h - pieces to ids: a double array over bytes, built once, read in place. */
#ifndef RAGD_TEXT_TOKENIZER_TRIE_H
#define RAGD_TEXT_TOKENIZER_TRIE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "base/str.h"

/* A node is one uint32_t: its children's base << 9 | has a value << 8 | the byte that leads to it. The child of byte c
 * is at base ^ c and is one when its label is c; the value is at base ^ 0, as value << 9. Byte 0 leads nowhere, so free
 * units (0) and values are never children. Bases are distinct, hence comparing the label with the byte is enough. The
 * array is whole blocks of 256, so that base < n units keeps every step inside, whatever the bytes say. */
enum { TRIE_BLOCK = 256, TRIE_VALUE = 0x100, TRIE_BASE_SHIFT = 9 };
#define TRIE_MAX_BASE ((uint32_t)1 << (32 - TRIE_BASE_SHIFT))

struct trie_key {
    struct str bytes; /* not empty, without byte 0 */
    uint32_t value;   /* < TRIE_MAX_BASE */
};

/* Appends the units of n distinct keys, ascending by str_cmp. RAG_ENOMEM. RAG_ETOOBIG: over TRIE_MAX_BASE units. */
RAG_MUST_CHECK rag_code trie_build(const struct trie_key *keys, uint32_t n, struct buf *out);

/* Every base is inside. O(n), nothing else is read. */
bool trie_check(const uint32_t *units, uint64_t n);

/* One step from *node: false, *node unchanged, when no key goes on with byte c. */
static inline bool trie_step(const uint32_t *units, uint32_t *node, unsigned char c)
{
    uint32_t next = units[(*node >> TRIE_BASE_SHIFT) ^ c];
    if ((next & 0xff) != c || c == 0)
        return false;
    *node = next;
    return true;
}
/* Value of a node; only when it has one (TRIE_VALUE). */
static inline uint32_t trie_value(const uint32_t *units, uint32_t node)
{
    return units[node >> TRIE_BASE_SHIFT] >> TRIE_BASE_SHIFT;
}

#endif
