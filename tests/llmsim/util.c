#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim.h"

int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static void *checked(void *p)
{
    if (!p) {
        fputs("llmsim: out of memory\n", stderr);
        exit(1);
    }
    return p;
}

void *mem_get(size_t n)
{
    return checked(calloc(1, n));
}

void buf_reserve(struct buf *b, size_t more)
{
    if (b->cap - b->len >= more)
        return;
    size_t cap = b->cap ? b->cap : 256;
    while (cap - b->len < more)
        cap *= 2; /* bodies and answers are bounded: no overflow */
    b->p = checked(realloc(b->p, cap));
    b->cap = cap;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    if (!n)
        return;
    buf_reserve(b, n);
    memcpy(b->p + b->len, p, n);
    b->len += n;
}

void buf_str(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_fmt(struct buf *b, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    if (n < 0)
        return;
    buf_reserve(b, (size_t)n + 1);
    va_start(ap, format);
    vsnprintf(b->p + b->len, (size_t)n + 1, format, ap);
    va_end(ap);
    b->len += (size_t)n;
}

void buf_escape(struct buf *b, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char ch = (unsigned char)p[i];
        if (ch == '"' || ch == '\\')
            buf_fmt(b, "\\%c", ch);
        else if (ch == '\n')
            buf_str(b, "\\n");
        else if (ch < 0x20 || ch == 0x7f)
            buf_fmt(b, "\\u%04x", ch);
        else
            buf_add(b, &p[i], 1);
    }
}

void buf_json(struct buf *b, const char *p, size_t n)
{
    buf_str(b, "\"");
    buf_escape(b, p, n);
    buf_str(b, "\"");
}

void buf_drop(struct buf *b, size_t n)
{
    b->len -= n;
    if (b->len)
        memmove(b->p, b->p + n, b->len);
}

void buf_free(struct buf *b)
{
    free(b->p);
    *b = (struct buf){0};
}

uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

double random_share(uint64_t *state)
{
    return (double)(random_next(state) >> 11) * 0x1p-53;
}
