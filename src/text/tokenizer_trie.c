/* Building the double array. Nodes are placed in depth-first order. Free units of the last WINDOW blocks are a list in
 * ascending order; a node goes to the first place where all its children fit, or into a new block. Older holes are
 * given up: that bounds the search and costs a few per cent of the space. */
#include "text/tokenizer_trie.h"

#include <string.h>

enum { WINDOW = 16 * TRIE_BLOCK };

struct builder {
    const struct trie_key *keys;
    uint32_t *units;
    uint8_t *marks;                      /* USED: the unit; BASE: some node has this base */
    uint32_t n, cap;                     /* n is a multiple of TRIE_BLOCK */
    uint32_t next[WINDOW], prev[WINDOW]; /* places of the window, by place % WINDOW */
    uint32_t head;                       /* first free place, NONE */
    uint32_t tail;
};
enum { USED = 1, BASE = 2 };
#define NONE UINT32_MAX

static void list_remove(struct builder *b, uint32_t at)
{
    uint32_t next = b->next[at % WINDOW], prev = b->prev[at % WINDOW];
    if (prev == NONE)
        b->head = next;
    else
        b->next[prev % WINDOW] = next;
    if (next == NONE)
        b->tail = prev;
    else
        b->prev[next % WINDOW] = prev;
}

static void list_append(struct builder *b, uint32_t at)
{
    b->next[at % WINDOW] = NONE;
    b->prev[at % WINDOW] = b->tail;
    if (b->tail == NONE)
        b->head = at;
    else
        b->next[b->tail % WINDOW] = at;
    b->tail = at;
}

static rag_code add_block(struct builder *b)
{
    if (b->n + TRIE_BLOCK > TRIE_MAX_BASE)
        return RAG_ETOOBIG;
    if (b->n == b->cap) {
        uint32_t cap = b->cap ? b->cap * 2 : WINDOW;
        uint32_t *units = mem_realloc(MEM_MODEL, b->units, (size_t)cap * sizeof *units);
        if (!units)
            return RAG_ENOMEM;
        b->units = units;
        uint8_t *marks = mem_realloc(MEM_MODEL, b->marks, cap);
        if (!marks)
            return RAG_ENOMEM;
        b->marks = marks;
        b->cap = cap;
    }
    while (b->head != NONE && b->head + WINDOW < b->n + TRIE_BLOCK) /* the block that leaves the window */
        list_remove(b, b->head);
    memset(b->units + b->n, 0, TRIE_BLOCK * sizeof *b->units);
    memset(b->marks + b->n, 0, TRIE_BLOCK);
    for (uint32_t i = 0; i < TRIE_BLOCK; i++)
        list_append(b, b->n + i);
    b->n += TRIE_BLOCK;
    return RAG_OK;
}

static bool fits(const struct builder *b, uint32_t base, const unsigned char *labels, unsigned n)
{
    if (b->marks[base] & BASE)
        return false;
    for (unsigned i = 0; i < n; i++)
        if (b->marks[base ^ labels[i]] & USED)
            return false;
    return true;
}

static rag_code find_base(struct builder *b, const unsigned char *labels, unsigned n, uint32_t *base)
{
    for (uint32_t at = b->head; at != NONE; at = b->next[at % WINDOW])
        if (fits(b, at ^ labels[0], labels, n)) {
            *base = at ^ labels[0];
            return RAG_OK;
        }
    *base = b->n;
    return add_block(b);
}

/* Byte of key i at `depth`; 0 where it ends. */
static unsigned char label_of(const struct builder *b, uint32_t i, size_t depth)
{
    struct str s = b->keys[i].bytes;
    return depth < s.len ? (unsigned char)s.ptr[depth] : 0;
}

/* Places the children of the node at `at`, which keys [from, to) go through. Recursion is as deep as the longest key:
 * tokenizer_build bounds that. */
static rag_code place(struct builder *b, uint32_t at, uint32_t from, uint32_t to, size_t depth)
{
    unsigned char labels[256];
    unsigned n = 0;
    for (uint32_t i = from; i < to; i++)
        if (n == 0 || labels[n - 1] != label_of(b, i, depth))
            labels[n++] = label_of(b, i, depth);
    uint32_t base;
    rag_code rc = find_base(b, labels, n, &base);
    if (rc)
        return rc;
    b->marks[base] |= BASE;
    b->units[at] |= base << TRIE_BASE_SHIFT | (labels[0] == 0 ? TRIE_VALUE : 0u);
    for (unsigned i = 0; i < n; i++) {
        uint32_t child = base ^ labels[i];
        b->marks[child] |= USED;
        list_remove(b, child);
        b->units[child] = labels[i] ? labels[i] : b->keys[from].value << TRIE_BASE_SHIFT;
    }
    uint32_t i = from + (labels[0] == 0); /* the key that ends here is the first one */
    while (i < to && !rc) {
        unsigned char c = label_of(b, i, depth);
        uint32_t end = i + 1;
        while (end < to && label_of(b, end, depth) == c)
            end++;
        rc = place(b, base ^ c, i, end, depth + 1);
        i = end;
    }
    return rc;
}

rag_code trie_build(const struct trie_key *keys, uint32_t n, struct buf *out)
{
    struct builder *b = mem_zalloc(MEM_MODEL, sizeof *b);
    if (!b)
        return RAG_ENOMEM;
    b->keys = keys;
    b->head = b->tail = NONE;
    rag_code rc = add_block(b);
    if (!rc) {
        b->marks[0] |= USED; /* the root */
        list_remove(b, 0);
        if (n)
            rc = place(b, 0, 0, n, 0);
        else
            b->marks[0] |= BASE;
    }
    for (uint32_t i = 0; i < n && !rc; i++) /* trie_check reads values as bases */
        while (!rc && keys[i].value >= b->n)
            rc = add_block(b);
    if (!rc) {
        buf_add(out, b->units, (size_t)b->n * sizeof *b->units);
        rc = buf_failed(out) ? RAG_ENOMEM : RAG_OK;
    }
    mem_free(MEM_MODEL, b->units);
    mem_free(MEM_MODEL, b->marks);
    mem_free(MEM_MODEL, b);
    return rc;
}

bool trie_check(const uint32_t *units, uint64_t n)
{
    if (n == 0 || n % TRIE_BLOCK || n > TRIE_MAX_BASE)
        return false;
    uint32_t outside =
        0; /* top bit: some base was beyond; written so that the compiler takes several at once */
    for (uint64_t i = 0; i < n; i += TRIE_BLOCK)
        for (uint32_t k = 0; k < TRIE_BLOCK; k++)
            outside |= (uint32_t)n - 1 - (units[i + k] >> TRIE_BASE_SHIFT);
    return !(outside >> 31);
}
