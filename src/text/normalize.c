/* Text is cut into clusters: a character and those after it that normalisation may join to it. Nearly every
 * cluster is one character, and a table row (chartab.h) gives its result; the others go through ICU, and all
 * they produce carries the span of the whole cluster. */
#include "text/normalize.h"

#include <unicode/unorm2.h>
#include <unicode/utf16.h>

#include "text/chartab.h"
#include "text/normalize_int.h"
#include "text/utf8.h"

#define MAX_SOURCE  ((size_t)256 << 20)
#define MAX_CLUSTER 32 /* characters; a longer pile of accents is cut, so work stays linear */

void norm_text_init(struct norm_text *t)
{
    buf_init(&t->text, MEM_TEXT);
    buf_init(&t->start, MEM_TEXT);
    buf_init(&t->end, MEM_TEXT);
}

void norm_text_clear(struct norm_text *t)
{
    buf_clear(&t->text);
    buf_clear(&t->start);
    buf_clear(&t->end);
}

static bool joins_before(const struct chartab *tab, const UNormalizer2 *nn, uint32_t cp)
{
    if (cp < 0x10000)
        return !(tab->info[cp] & CHAR_BOUNDARY);
    return !unorm2_hasBoundaryBefore(nn, (UChar32)cp);
}

/* The slow path: s[from, to) is one cluster. */
static size_t step_cluster(const UNormalizer2 *nn, struct str s, size_t from, size_t to, struct norm_cp *out)
{
    UChar in[2 * MAX_CLUSTER], folded[NORM_STEP_MIN];
    int32_t n_in = 0;
    for (size_t i = from; i < to;) {
        uint32_t cp = utf8_next(s, &i);
        U16_APPEND_UNSAFE(in, n_in, cp);
    }
    UErrorCode e = U_ZERO_ERROR;
    int32_t n = unorm2_normalize(nn, in, n_in, folded, NORM_STEP_MIN, &e);
    if (U_FAILURE(e)) {
        out[0] = (struct norm_cp){0xFFFD, (uint32_t)from, (uint32_t)to};
        return 1;
    }
    size_t k = 0;
    for (int32_t i = 0; i < n;) {
        UChar32 c;
        U16_NEXT(folded, i, n, c);
        out[k++] = (struct norm_cp){chartab_simplify((uint32_t)c), (uint32_t)from, (uint32_t)to};
    }
    return k;
}

size_t normalize_step(struct str s, size_t *i, struct norm_cp *out, size_t cap)
{
    const struct chartab *tab = chartab_get();
    UErrorCode e = U_ZERO_ERROR;
    const UNormalizer2 *nn = unorm2_getNFKCCasefoldInstance(&e);
    size_t n = 0, from = *i, to = from;
    if (from >= s.len || cap < NORM_STEP_MIN)
        return 0;
    uint32_t cp = utf8_next(s, &to);
    while (n + NORM_STEP_MIN <= cap) {
        size_t len = 1, next_end = to;
        uint32_t next = 0;
        while (to < s.len) { /* finds the end of the cluster; `next` is the character after it */
            next_end = to;
            next = utf8_next(s, &next_end);
            if (!joins_before(tab, nn, next) || len == MAX_CLUSTER)
                break;
            to = next_end;
            len++;
        }
        if (len == 1 && cp < 0x10000 && (tab->info[cp] & CHAR_SINGLE))
            out[n++] = (struct norm_cp){tab->fold[cp], (uint32_t)from, (uint32_t)to};
        else
            n += step_cluster(nn, s, from, to, out + n);
        from = to;
        if (to >= s.len)
            break;
        cp = next;
        to = next_end;
    }
    *i = from;
    return n;
}

static rag_code append(struct norm_text *out, const struct norm_cp *cps, size_t n)
{
    if (!buf_reserve(&out->text, n * 4) || !buf_reserve(&out->start, n * 4 * sizeof(uint32_t)) ||
        !buf_reserve(&out->end, n * 4 * sizeof(uint32_t)))
        return RAG_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        size_t len = utf8_encode(cps[i].cp, out->text.ptr + out->text.len);
        out->text.len += len;
        for (size_t k = 0; k < len; k++) {
            BUF_ADD_VALUE(&out->start, cps[i].start);
            BUF_ADD_VALUE(&out->end, cps[i].end);
        }
    }
    return RAG_OK;
}

rag_code normalize_run(struct str src, struct norm_text *out)
{
    buf_reset(&out->text);
    buf_reset(&out->start);
    buf_reset(&out->end);
    if (src.len > MAX_SOURCE)
        return RAG_ETOOBIG;
    struct norm_cp cps[2 * NORM_STEP_MIN];
    for (size_t i = 0; i < src.len;) {
        size_t n = normalize_step(src, &i, cps, 2 * NORM_STEP_MIN);
        rag_code rc = append(out, cps, n);
        if (rc)
            return rc;
    }
    return RAG_OK;
}
