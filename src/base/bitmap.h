/* base/bitmap.h - plain bitmaps over uint64_t words. */
#ifndef RAGD_BASE_BITMAP_H
#define RAGD_BASE_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline size_t bitmap_words(size_t bits)
{
    return (bits + 63) / 64;
}
static inline bool bitmap_get(const uint64_t *w, size_t i)
{
    return w[i / 64] >> (i % 64) & 1;
}
static inline void bitmap_set(uint64_t *w, size_t i)
{
    w[i / 64] |= (uint64_t)1 << (i % 64);
}
static inline void bitmap_unset(uint64_t *w, size_t i)
{
    w[i / 64] &= ~((uint64_t)1 << (i % 64));
}
/* Sets the first n bits, clears the rest of the last word. */
static inline void bitmap_fill(uint64_t *w, size_t n)
{
    for (size_t i = 0; i < n / 64; i++)
        w[i] = ~(uint64_t)0;
    if (n % 64)
        w[n / 64] = ((uint64_t)1 << (n % 64)) - 1;
}
static inline size_t bitmap_count(const uint64_t *w, size_t bits)
{
    size_t n = 0;
    for (size_t i = 0; i < bitmap_words(bits); i++)
        n += (size_t)__builtin_popcountll(w[i]);
    return n;
}

#endif
