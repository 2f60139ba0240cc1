#include "base/hash.h"

#define XXH_INLINE_ALL
#define XXH_NO_STREAM
#include <xxhash.h>

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed)
{
    return XXH3_64bits_withSeed(p, n, seed);
}

void strset_init(struct strset *s, enum mem_tag tag, uint64_t seed)
{
    *s = (struct strset){.seed = seed};
    buf_init(&s->bytes, tag);
}

void strset_clear(struct strset *s)
{
    enum mem_tag tag = s->bytes.tag;
    buf_clear(&s->bytes);
    mem_free(tag, s->off);
    mem_free(tag, s->slots);
    *s = (struct strset){.seed = s->seed, .bytes = {.tag = tag}};
}

/* The slot that holds key, or the free slot where it belongs. n_slots is a power of two. */
static uint32_t slot_of(const struct strset *s, struct str key)
{
    uint32_t mask = s->n_slots - 1;
    uint32_t i = (uint32_t)hash_bytes(key.ptr, key.len, s->seed) & mask;
    while (s->slots[i] && !str_eq(strset_get(s, s->slots[i] - 1), key))
        i = (i + 1) & mask;
    return i;
}

static rag_code grow(struct strset *s)
{
    enum mem_tag tag = s->bytes.tag;
    uint32_t cap = s->cap ? s->cap * 2 : 64;
    if (cap > UINT32_MAX / 8)
        return RAG_ETOOBIG;
    uint32_t *off = mem_realloc(tag, s->off, ((size_t)cap + 1) * sizeof *off);
    if (!off)
        return RAG_ENOMEM;
    s->off = off;
    if (s->n == 0)
        off[0] = 0;
    uint32_t *slots = mem_zalloc(tag, (size_t)cap * 2 * sizeof *slots);
    if (!slots)
        return RAG_ENOMEM;
    mem_free(tag, s->slots);
    s->slots = slots;
    s->cap = cap;
    s->n_slots = cap * 2;
    for (uint32_t id = 0; id < s->n; id++)
        slots[slot_of(s, strset_get(s, id))] = id + 1;
    return RAG_OK;
}

rag_code strset_add(struct strset *s, struct str key, uint32_t *id)
{
    if (s->n == s->cap) {
        rag_code rc = grow(s);
        if (rc)
            return rc;
    }
    uint32_t i = slot_of(s, key);
    if (s->slots[i]) {
        *id = s->slots[i] - 1;
        return RAG_OK;
    }
    if (key.len > UINT32_MAX - s->bytes.len)
        return RAG_ETOOBIG;
    buf_adds(&s->bytes, key);
    if (buf_failed(&s->bytes))
        return RAG_ENOMEM;
    *id = s->n++;
    s->off[s->n] = (uint32_t)s->bytes.len;
    s->slots[i] = *id + 1;
    return RAG_OK;
}

uint32_t strset_find(const struct strset *s, struct str key)
{
    if (!s->n)
        return STRSET_NONE;
    uint32_t i = slot_of(s, key);
    return s->slots[i] ? s->slots[i] - 1 : STRSET_NONE;
}
