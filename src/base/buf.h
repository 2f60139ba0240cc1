/* base/buf.h - a growable byte buffer. Append-only; an allocation failure is sticky: appends after it
 * do nothing and buf_failed() says so, so a writer checks once at the end. One thread at a time. */
#ifndef RAGD_BASE_BUF_H
#define RAGD_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"
#include "base/str.h"

struct buf {
    char *ptr;
    size_t len, cap;
    enum mem_tag tag;
    bool failed;
};

void buf_init(struct buf *b, enum mem_tag tag);
void buf_clear(struct buf *b); /* frees; the buffer is then empty and usable */
void buf_reset(struct buf *b); /* len = 0, keeps the memory */
bool buf_reserve(struct buf *b,
                 size_t extra); /* room for extra more bytes; false and sticky when out of memory */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_addf(struct buf *b, const char *fmt, ...) RAG_PRINTF(2, 3);

static inline void buf_addc(struct buf *b, char c)
{
    if (b->len < b->cap)
        b->ptr[b->len++] = c;
    else
        buf_add(b, &c, 1);
}
static inline void buf_adds(struct buf *b, struct str s)
{
    buf_add(b, s.ptr, s.len);
}
static inline void buf_addz(struct buf *b, const char *z)
{
    buf_add(b, z, strlen(z));
}
static inline struct str buf_str(const struct buf *b)
{
    return str_make(b->ptr, b->len);
}
static inline bool buf_failed(const struct buf *b)
{
    return b->failed;
}

/* Appends a fixed-size value in memory order. */
#define BUF_ADD_VALUE(b, v) buf_add((b), &(v), sizeof(v))

#endif
