/* The events are the same however the bytes are cut; so is the end. The first byte says how they are. */
#include <stdint.h>

#include "wire/sse_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct log {
    struct buf events;
    unsigned left; /* events until the receiver stops */
};

static bool note(void *ctx, struct str name, struct str data)
{
    struct log *l = ctx;
    RAG_ASSERT(name.len > 0 && !memchr(name.ptr, '\n', name.len) &&
               !memchr(data.ptr ? data.ptr : "", '\r', data.len));
    BUF_ADD_VALUE(&l->events, name.len);
    buf_adds(&l->events, name);
    BUF_ADD_VALUE(&l->events, data.len);
    buf_adds(&l->events, data);
    return --l->left > 0;
}

/* Pieces have 1 to `most` bytes, `seed` says how many. */
static rag_code feed(struct str s, size_t most, uint32_t seed, struct log *l)
{
    struct sse_reader r = {0};
    rag_code rc = RAG_OK;
    while (s.len && !rc) {
        seed = seed * 1664525u + 1013904223u;
        size_t n = 1 + (seed >> 8) % most;
        n = n < s.len ? n : s.len;
        char *copy = mem_strndup(MEM_MISC, s.ptr, n);
        rc = sse_reader_feed(&r, str_make(copy, n), note, l);
        mem_free(MEM_MISC, copy);
        s = str_make(s.ptr + n, s.len - n);
    }
    sse_reader_clear(&r);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    struct str s = str_make((const char *)data + 1, size - 1);
    struct log whole = {.left = 1 + data[0] % 16u * 8}, cut = whole;
    rag_code a = feed(s, SIZE_MAX / 2, 0, &whole), b = feed(s, 1 + data[0] / 16u, data[0], &cut);
    RAG_ASSERT(a == b && (a == RAG_OK || a == RAG_ECANCELED));
    RAG_ASSERT(str_eq(buf_str(&whole.events), buf_str(&cut.events)));
    buf_clear(&whole.events);
    buf_clear(&cut.events);
    return 0;
}
