#include "text/chartab.h"

#include <pthread.h>
#include <unicode/uchar.h>
#include <unicode/unorm2.h>

#include "base/status.h"
#include "text/lexicon.h"
#include "text/utf8.h"

static struct chartab table;
static uint16_t simple[0x10000 - 0x2E80]; /* simplified form of the characters from U+2E80 on */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static enum char_class class_of(uint32_t cp)
{
    if (utf8_is_cjk(cp)) {
        bool han = (cp >= 0x3400 && cp <= 0x9FFF) || cp == 0x3005 || cp == 0x3007 ||
                   (cp >= 0xF900 && cp <= 0xFAFF) || cp >= 0x20000;
        return han ? CLASS_HAN : CLASS_SYLLABLE;
    }
    UChar32 c = (UChar32)cp;
    if (u_isdigit(c))
        return CLASS_DIGIT;
    if (u_isalpha(c) || u_charType(c) == U_OTHER_NUMBER || u_charType(c) == U_LETTER_NUMBER)
        return CLASS_LETTER;
    if (U_GET_GC_MASK(c) & U_GC_M_MASK)
        return CLASS_MARK;
    return CLASS_OTHER;
}

/* The ASCII letter that c decomposes to, however many accents it carries; 0 when there is none. */
static uint8_t latin_base(const UNormalizer2 *nfc, UChar32 c)
{
    for (int depth = 0; depth < 4 && c >= 0x80; depth++) {
        UChar d[8];
        UErrorCode e = U_ZERO_ERROR;
        int32_t n = unorm2_getRawDecomposition(nfc, c, d, 8, &e);
        if (U_FAILURE(e) || n < 1)
            return 0;
        c = d[0];
    }
    return c >= 'a' && c <= 'z' ? (uint8_t)c : 0;
}

static void fill_row(const UNormalizer2 *nn, uint32_t c)
{
    if (c >= 0xD800 && c <= 0xDFFF)
        return;
    uint8_t info = (uint8_t)class_of(c);
    if (unorm2_hasBoundaryBefore(nn, (UChar32)c))
        info |= CHAR_BOUNDARY;
    UChar src = (UChar)c, out[40];
    UErrorCode e = U_ZERO_ERROR;
    int32_t n = 1;
    out[0] = src;
    if (!unorm2_isInert(nn, (UChar32)c))
        n = unorm2_normalize(nn, &src, 1, out, 40, &e);
    if (U_SUCCESS(e) && n == 1 && !(out[0] >= 0xD800 && out[0] <= 0xDFFF)) {
        info |= CHAR_SINGLE;
        table.fold[c] = (uint16_t)chartab_simplify(out[0]);
    }
    table.info[c] = info;
}

static void fill(void)
{
    UErrorCode e = U_ZERO_ERROR;
    const UNormalizer2 *nn = unorm2_getNFKCCasefoldInstance(&e);
    const UNormalizer2 *nfc = unorm2_getNFCInstance(&e);
    RAG_ASSERT(U_SUCCESS(e)); /* both are compiled into libicuuc */
    uint32_t n;
    const uint16_t *pairs = lexicon_simplified(&n);
    for (uint32_t i = 0; i < n; i++)
        if (pairs[2 * i] >= 0x2E80)
            simple[pairs[2 * i] - 0x2E80] = pairs[2 * i + 1];
    for (uint32_t c = 0; c < 0x10000; c++)
        fill_row(nn, c);
    for (uint32_t c = 0x80; c < CHAR_ACCENTED; c++)
        table.latin[c] = latin_base(nfc, (UChar32)c);
}

const struct chartab *chartab_get(void)
{
    pthread_once(&once, fill);
    return &table;
}

uint32_t chartab_simplify(uint32_t cp)
{
    if (cp < 0x2E80 || cp > 0xFFFF || !simple[cp - 0x2E80])
        return cp;
    return simple[cp - 0x2E80];
}

enum char_class chartab_class(const struct chartab *t, uint32_t cp)
{
    return cp < 0x10000 ? (enum char_class)(t->info[cp] & CHAR_CLASS) : class_of(cp);
}
