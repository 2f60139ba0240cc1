/* base/arena.h - bump allocation for what lives as long as one request. One thread at a time. */
#ifndef RAGD_BASE_ARENA_H
#define RAGD_BASE_ARENA_H

#include <stddef.h>

#include "base/mem.h"
#include "base/str.h"

struct arena_block;
struct arena {
    struct arena_block *head; /* current block first */
    size_t used;              /* bytes given out since the last reset */
};

/* A zeroed struct arena is valid. */
void arena_clear(struct arena *a);            /* frees everything */
void arena_reset(struct arena *a);            /* forgets everything, keeps the largest block */
void *arena_alloc(struct arena *a, size_t n); /* 16-byte aligned, uninitialised; NULL when out of memory */
void *arena_zalloc(struct arena *a, size_t n);
void *arena_array(struct arena *a, size_t n, size_t size);     /* zeroed; overflow-checked */
char *arena_strndup(struct arena *a, const char *s, size_t n); /* NUL-terminated */

#endif
