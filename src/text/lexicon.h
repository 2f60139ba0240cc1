/* text/lexicon.h - words and their costs as a trie over code points: the compiled-in dictionary and user words. */
#ifndef RAGD_TEXT_LEXICON_H
#define RAGD_TEXT_LEXICON_H

#include <stdint.h>

#include "base/status.h"

#define LEXICON_MAX_WORD 32   /* characters */
#define LEXICON_COST_ONE 1024 /* one nat of -log(probability) */

/* Node 0 is the root. The children of a node lie side by side, ordered by label: first[i] .. first[i + 1].
 * cost[i] is 0 when no word ends at node i. Labels are lexicon_label(). */
struct lexicon {
    const uint32_t *first; /* n_nodes + 1 */
    const uint16_t *label;
    const uint16_t *cost;
    uint32_t n_nodes;
};

/* Header of the compiled-in file that tools/mklexicon.c writes: then first, label, cost (one each for every
 * node, `first` one more), then n_pairs times two uint16_t: a traditional character and its simplified form. */
struct lexicon_header {
    char magic[8];
    uint64_t hash; /* of everything after the header */
    uint32_t n_nodes;
    uint32_t n_pairs;
    uint32_t unknown_cost; /* of a character that is no word */
    uint32_t reserved;
};
#define LEXICON_MAGIC "RAGDLEX1"

/* A character as 16 bits. Those beyond the BMP share the 2,048 values that no character has: two of them may
 * be mistaken for one another, which can only move a word boundary. */
static inline uint16_t lexicon_label(uint32_t cp)
{
    return (uint16_t)(cp < 0x10000 ? cp : 0xD800 + (cp & 0x7FF));
}

/* The child of `node` under `label`; 0 (the root) when there is none. */
static inline uint32_t lexicon_child(const struct lexicon *lx, uint32_t node, uint16_t label)
{
    uint32_t lo = lx->first[node], hi = lx->first[node + 1];
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (lx->label[mid] < label)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < lx->first[node + 1] && lx->label[lo] == label ? lo : 0;
}

/* A word to build from. */
struct lexicon_word {
    const uint16_t *labels;
    uint16_t len;  /* 1..LEXICON_MAX_WORD */
    uint16_t cost; /* > 0 */
};

/* Sorts `words`, lets the cheapest of equal ones stand, and builds the trie. *block is what to free (one block
 * of MEM_TEXT that out's arrays lie in). RAG_ENOMEM. */
RAG_MUST_CHECK
rag_code lexicon_build(struct lexicon_word *words, uint32_t n, struct lexicon *out, void **block);

/* The compiled-in dictionary. Process-wide constants. */
struct lexicon lexicon_builtin(void);
uint64_t lexicon_builtin_hash(void);
uint32_t lexicon_unknown_cost(void);
const uint16_t *lexicon_simplified(uint32_t *n_pairs);

#endif
