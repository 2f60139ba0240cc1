#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>

/* Blocks double from 16 KiB up to 1 MiB; a larger request gets a block of its own. */
struct arena_block {
    struct arena_block *next;
    size_t cap, len;
    alignas(16) char data[];
};

enum { ARENA_FIRST = 16 << 10, ARENA_MAX = 1 << 20 };

void arena_clear(struct arena *a)
{
    for (struct arena_block *b = a->head, *next; b; b = next) {
        next = b->next;
        mem_free(MEM_REQUEST, b);
    }
    *a = (struct arena){0};
}

void arena_reset(struct arena *a)
{
    struct arena_block *keep = a->head;
    for (struct arena_block *b = a->head; b; b = b->next)
        if (b->cap > keep->cap && b->cap <= ARENA_MAX)
            keep = b;
    for (struct arena_block *b = a->head, *next; b; b = next) {
        next = b->next;
        if (b != keep)
            mem_free(MEM_REQUEST, b);
    }
    if (keep) {
        keep->next = NULL;
        keep->len = 0;
    }
    a->head = keep;
    a->used = 0;
}

void *arena_alloc(struct arena *a, size_t n)
{
    if (n > SIZE_MAX / 2)
        return NULL;
    n = n ? (n + 15) & ~(size_t)15 : 16;
    struct arena_block *b = a->head;
    if (!b || b->cap - b->len < n) {
        size_t cap = b ? b->cap * 2 : ARENA_FIRST;
        if (cap > ARENA_MAX)
            cap = ARENA_MAX;
        if (cap < n)
            cap = n;
        b = mem_alloc(MEM_REQUEST, sizeof *b + cap);
        if (!b)
            return NULL;
        b->cap = cap;
        b->len = 0;
        b->next = a->head;
        a->head = b;
    }
    void *p = b->data + b->len;
    b->len += n;
    a->used += n;
    return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
    void *p = arena_alloc(a, n);
    return p ? memset(p, 0, n) : NULL;
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
    size_t total;
    return size_mul_ok(n, size, &total) ? arena_zalloc(a, total) : NULL;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    char *p = arena_alloc(a, n + 1);
    if (p) {
        if (n)
            memcpy(p, s, n);
        p[n] = 0;
    }
    return p;
}
