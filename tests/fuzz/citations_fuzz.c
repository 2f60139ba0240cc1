/* The text that goes on is the same however it was cut, valid when it came valid, and holds no mark that is not of a
 * passage. The first byte says how many passages there are and how the text is cut. */
#include <stdint.h>

#include "stages/generation/citations.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct citation_filter run(struct str s, uint32_t n_passages, size_t most, uint32_t seed,
                                  struct buf *out)
{
    struct citation_filter f;
    citation_filter_init(&f, n_passages);
    while (s.len) {
        seed = seed * 1664525u + 1013904223u;
        size_t n = 1 + (seed >> 8) % most;
        n = n < s.len ? n : s.len;
        citation_filter_feed(&f, str_make(s.ptr, n), out);
        RAG_ASSERT(f.n_held <= sizeof f.held && f.n_held_chars < CITATIONS_HOLD_CHARS && f.n_part < 4);
        s = str_make(s.ptr + n, s.len - n);
    }
    citation_filter_end(&f, out);
    return f;
}

static bool opens(uint32_t c)
{
    return c == '[' || c == 0xFF3B || c == 0x3010;
}
static bool closes(uint32_t c)
{
    return c == ']' || c == 0xFF3D || c == 0x3011;
}

/* Reads the output as its reader does: a bracket, one to three digits, a bracket. */
static void check_marks(struct str s, uint32_t n_passages, const struct citation_filter *f)
{
    uint64_t cited = 0;
    for (size_t i = 0; i < s.len;) {
        if (!opens(utf8_next(s, &i)))
            continue;
        uint32_t n = 0, digits = 0, c = 0;
        size_t k = i;
        while (k < s.len) {
            c = utf8_next(s, &k);
            uint32_t d = c >= 0xFF10 && c <= 0xFF19 ? c - 0xFF10 : c - '0';
            if (d > 9 || ++digits > 3)
                break;
            n = n * 10 + d;
        }
        if (digits == 0 || digits > 3 || !closes(c))
            continue;
        RAG_ASSERT(n >= 1 && n <= n_passages);
        cited |= 1ull << n;
    }
    uint64_t listed = 0;
    for (uint32_t i = 0; i < f->n_cited; i++)
        listed |= 1ull << f->order[i];
    RAG_ASSERT(listed == cited && (uint32_t)__builtin_popcountll(listed) == f->n_cited);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    struct str s = str_make((const char *)data + 1, size - 1);
    uint32_t n_passages = data[0] % (CITATIONS_MAX_PASSAGES + 1);
    struct buf whole = {0}, bytes = {0}, cut = {0};
    struct citation_filter a = run(s, n_passages, SIZE_MAX / 2, 0, &whole);
    struct citation_filter b = run(s, n_passages, 1, 0, &bytes);
    struct citation_filter c = run(s, n_passages, 7, data[0], &cut);
    RAG_ASSERT(str_eq(buf_str(&whole), buf_str(&bytes)) && str_eq(buf_str(&whole), buf_str(&cut)));
    RAG_ASSERT(a.not_found == b.not_found && a.n_dropped == b.n_dropped && a.n_cited == b.n_cited);
    RAG_ASSERT(a.not_found == c.not_found && a.n_dropped == c.n_dropped && a.n_cited == c.n_cited);
    RAG_ASSERT(memcmp(a.order, b.order, sizeof a.order) == 0 &&
               memcmp(a.order, c.order, sizeof a.order) == 0);
    if (utf8_valid(s)) {
        RAG_ASSERT(utf8_valid(buf_str(&whole)));
        check_marks(buf_str(&whole), n_passages, &a);
    }
    buf_clear(&whole);
    buf_clear(&bytes);
    buf_clear(&cut);
    return 0;
}
