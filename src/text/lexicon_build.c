/* The trie is laid out breadth first from the sorted words. A node stands for a range of words that share a
 * prefix; its children are cut from that range by the next character, so a queue of ranges is all the state. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/lexicon.h"

struct range {
    uint32_t lo, hi; /* words that begin with the node's prefix */
    uint32_t depth;  /* its length */
};

static int word_order(const void *x, const void *y)
{
    const struct lexicon_word *a = x, *b = y;
    for (uint32_t i = 0; i < a->len && i < b->len; i++)
        if (a->labels[i] != b->labels[i])
            return a->labels[i] < b->labels[i] ? -1 : 1;
    if (a->len != b->len)
        return a->len < b->len ? -1 : 1;
    return (a->cost > b->cost) - (a->cost < b->cost);
}

rag_code lexicon_build(struct lexicon_word *words, uint32_t n, struct lexicon *out, void **block)
{
    size_t most = 1; /* nodes: at most one per character */
    for (uint32_t i = 0; i < n; i++)
        most += words[i].len;
    size_t row = sizeof(uint32_t) + 2 * sizeof(uint16_t);
    char *mem = mem_zalloc(MEM_TEXT, (most + 1) * row);
    struct range *queue = mem_alloc(MEM_TEXT, most * sizeof *queue);
    if (!mem || !queue) {
        mem_free(MEM_TEXT, mem);
        mem_free(MEM_TEXT, queue);
        return RAG_ENOMEM;
    }
    uint32_t *first = (uint32_t *)(void *)mem;
    uint16_t *label = (uint16_t *)(void *)(first + most + 1);
    uint16_t *cost = label + most;
    if (n)
        qsort(words, n, sizeof *words, word_order);
    uint32_t tail = 1;
    queue[0] = (struct range){0, n, 0};
    for (uint32_t node = 0; node < tail; node++) {
        struct range r = queue[node];
        first[node] = tail;
        uint32_t i = r.lo;
        while (i < r.hi && words[i].len == r.depth) { /* the words that end here; the first is the cheapest */
            if (r.depth && !cost[node])
                cost[node] = words[i].cost;
            i++;
        }
        while (i < r.hi) {
            uint32_t j = i + 1;
            while (j < r.hi && words[j].labels[r.depth] == words[i].labels[r.depth])
                j++;
            label[tail] = words[i].labels[r.depth];
            queue[tail++] = (struct range){i, j, r.depth + 1};
            i = j;
        }
    }
    first[tail] = tail;
    mem_free(MEM_TEXT, queue);
    *out = (struct lexicon){first, label, cost, tail};
    *block = mem;
    return RAG_OK;
}
