#include "text/utf8.h"

/* Decodes one strict RFC 3629 sequence at s[i]; its length, or 0 when it is not one. */
static size_t decode(struct str s, size_t i, uint32_t *cp)
{
    const unsigned char *p = (const unsigned char *)s.ptr + i;
    size_t left = s.len - i;
    if (p[0] < 0x80) {
        *cp = p[0];
        return 1;
    }
    if (p[0] >= 0xC2 && p[0] <= 0xDF && left >= 2 && (p[1] & 0xC0) == 0x80) {
        *cp = (uint32_t)(p[0] & 0x1F) << 6 | (p[1] & 0x3F);
        return 2;
    }
    if (p[0] >= 0xE0 && p[0] <= 0xEF && left >= 3 && (p[1] & 0xC0) == 0x80 && (p[2] & 0xC0) == 0x80) {
        *cp = (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3F);
        return *cp >= 0x800 && (*cp < 0xD800 || *cp > 0xDFFF) ? 3 : 0;
    }
    if (p[0] >= 0xF0 && p[0] <= 0xF4 && left >= 4 && (p[1] & 0xC0) == 0x80 && (p[2] & 0xC0) == 0x80 &&
        (p[3] & 0xC0) == 0x80) {
        *cp = (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12 | (uint32_t)(p[2] & 0x3F) << 6 |
              (p[3] & 0x3F);
        return *cp >= 0x10000 && *cp <= 0x10FFFF ? 4 : 0;
    }
    return 0;
}

uint32_t utf8_next(struct str s, size_t *i)
{
    uint32_t cp;
    size_t n = decode(s, *i, &cp);
    if (n) {
        *i += n;
        return cp;
    }
    /* One replacement for a bad byte and the stray continuation bytes after it, so that a span never
     * begins in the middle of a broken sequence. */
    size_t k = *i + 1;
    for (size_t stop = *i + 4; k < s.len && k < stop && ((unsigned char)s.ptr[k] & 0xC0) == 0x80; k++)
        ;
    *i = k;
    return 0xFFFD;
}

bool utf8_valid(struct str s)
{
    size_t i = 0;
    while (i < s.len) {
        uint64_t w;
        if (s.len - i >= sizeof w) {
            memcpy(&w, s.ptr + i, sizeof w);
            if (!(w & 0x8080808080808080u)) {
                i += sizeof w;
                continue;
            }
        }
        uint32_t cp;
        size_t n = decode(s, i, &cp);
        if (!n)
            return false;
        i += n;
    }
    return true;
}

size_t utf8_count(struct str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += ((unsigned char)s.ptr[i] & 0xC0) != 0x80;
    return n;
}

size_t utf8_encode(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}

size_t utf8_floor(struct str s, size_t i)
{
    if (i >= s.len)
        return s.len;
    size_t k = i;
    while (k > 0 && i - k < 3 && ((unsigned char)s.ptr[k] & 0xC0) == 0x80)
        k--;
    uint32_t cp;
    size_t n = decode(s, k, &cp);
    return k + (n ? n : 1) > i ? k : i; /* a stray continuation byte is its own character */
}

bool utf8_is_cjk(uint32_t cp)
{
    if (cp < 0x1100)
        return false;
    if (cp >= 0x4E00 && cp <= 0x9FFF)
        return true;
    return (cp >= 0x3400 && cp <= 0x4DBF) || (cp >= 0x3041 && cp <= 0x30FF && cp != 0x30A0 && cp != 0x30FB) ||
           (cp >= 0xAC00 && cp <= 0xD7A3) || cp == 0x3005 || cp == 0x3007 || (cp >= 0x3105 && cp <= 0x312F) ||
           (cp >= 0x3131 && cp <= 0x318E) || (cp >= 0x31A0 && cp <= 0x31BF) ||
           (cp >= 0x31F0 && cp <= 0x31FF) || cp <= 0x11FF || (cp >= 0xF900 && cp <= 0xFAFF) ||
           (cp >= 0xFF66 && cp <= 0xFFDC) || (cp >= 0x20000 && cp <= 0x323AF);
}

size_t text_token_count(struct str s)
{
    size_t cjk = 0, other = 0;
    for (size_t i = 0; i < s.len;) {
        size_t was = i;
        if (utf8_is_cjk(utf8_next(s, &i)))
            cjk++;
        else
            other += i - was;
    }
    return cjk + (other + 3) / 4;
}
