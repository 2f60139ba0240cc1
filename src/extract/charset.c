/* Which charset a file has, without being told. In this order:
 *   1. a byte order mark;
 *   2. UTF-16 without one: NUL bytes at one parity only, or nearly every unit a plausible character in one byte
 *      order and not in the other;
 *   3. UTF-8: all of it, or nearly (a few damaged bytes become U+FFFD);
 *   4. the charset that an html page declares;
 *   5. GB18030: every sequence well formed, and at least 70 % of the pairs in the rows that Chinese text uses
 *      (GB 2312 hanzi and punctuation) - Western text has accented letters next to ASCII ones, which are no pairs, or lone ones;
 *   6. windows-1252, which fits everything. */
#include <ctype.h>
#include <unicode/ucnv.h>

#include "extract/extract_int.h"
#include "text/utf8.h"

/* Code point at s[*i]; false when the bytes there are damaged. */
static bool next_ok(struct str s, size_t *i, uint32_t *cp)
{
    size_t at = *i;
    *cp = utf8_next(s, i);
    return *cp != 0xFFFD || (*i - at == 3 && memcmp(s.ptr + at, "\xEF\xBF\xBD", 3) == 0);
}

static bool plain_byte(unsigned char c)
{
    return (c >= 0x20 && c < 0x7F) || c == '\n' || c == '\t';
}

void text_clean(struct buf *out, struct str s)
{
    if (s.len == 0)
        return;
    size_t i = 0, from = 0; /* s[from, i) is clean and not yet copied */
    while (i < s.len) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (plain_byte(c)) {
            i++;
            continue;
        }
        size_t at = i;
        uint32_t cp;
        bool ok = next_ok(s, &i, &cp);
        if (ok && cp >= 0xA0 && cp != 0xFEFF && cp != 0x2028 && cp != 0x2029)
            continue;
        buf_add(out, s.ptr + from, at - from);
        if (!ok)
            buf_addz(out, "\xEF\xBF\xBD");
        else if (cp == '\r' && i < s.len && s.ptr[i] == '\n')
            ; /* the '\n' follows */
        else if (cp == '\r' || cp == '\v' || cp == '\f')
            buf_addc(out, '\n');
        else if (cp == 0x85 || cp == 0x2028 || cp == 0x2029)
            buf_addc(out, ' '); /* not a line end: json may hold these raw inside a string */
        from = i;
    }
    buf_add(out, s.ptr + from, s.len - from);
}

void text_squeeze(struct buf *out, struct str s)
{
    bool any = false, gap = false;
    for (size_t i = 0; i < s.len;) {
        size_t at = i;
        uint32_t cp;
        bool ok = next_ok(s, &i, &cp);
        if (cp == ' ' || (cp >= 9 && cp <= 13) || cp == 0x85 || cp == 0xA0 || cp == 0x3000 || cp == 0x2028 ||
            cp == 0x2029) {
            gap = any;
            continue;
        }
        if (cp < 0x20 || (cp >= 0x7F && cp < 0xA0) || cp == 0xFEFF)
            continue;
        if (gap)
            buf_addc(out, ' ');
        gap = false;
        any = true;
        if (ok)
            buf_add(out, s.ptr + at, i - at);
        else
            buf_addz(out, "\xEF\xBF\xBD");
    }
}

static unsigned unit_at(struct str s, size_t i, bool big)
{
    unsigned a = (unsigned char)s.ptr[i], b = (unsigned char)s.ptr[i + 1];
    return big ? a << 8 | b : b << 8 | a;
}

static bool unit_plausible(unsigned u)
{
    return (u >= 0x20 && u < 0x7F) || u == '\n' || u == '\r' || u == '\t' || (u >= 0x4E00 && u < 0xA000) ||
           (u >= 0x3000 && u < 0x3100) || (u >= 0xFF00 && u < 0xFFF0) || (u >= 0x2010 && u < 0x2030) ||
           (u >= 0xA1 && u < 0x180);
}

/* "UTF-16LE", "UTF-16BE" or NULL. */
static const char *utf16_guess(struct str s)
{
    size_t n = (s.len < 8192 ? s.len : 8192) / 2, fit[2] = {0, 0}, nul[2] = {0, 0};
    if (n < 2 || s.len % 2)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        nul[0] += s.ptr[2 * i] == 0;
        nul[1] += s.ptr[2 * i + 1] == 0;
        fit[0] += unit_plausible(unit_at(s, 2 * i, false));
        fit[1] += unit_plausible(unit_at(s, 2 * i, true));
    }
    for (int big = 0; big < 2; big++) {
        bool nuls = nul[!big] > 0 && nul[big] * 8 <= nul[!big];
        if (fit[big] * 10 >= n * 9 && (fit[!big] * 10 < n * 7 || nuls))
            return big ? "UTF-16BE" : "UTF-16LE";
    }
    return NULL;
}

/* Mostly UTF-8: at least 20 good sequences for each bad byte. */
static bool nearly_utf8(struct str s)
{
    size_t good = 0, bad = 0;
    for (size_t i = 0; i < s.len;) {
        if ((unsigned char)s.ptr[i] < 0x80) {
            i++;
            continue;
        }
        size_t at = i;
        uint32_t cp;
        if (next_ok(s, &i, &cp))
            good++;
        else
            bad += i - at;
    }
    return bad == 0 || good >= bad * 20;
}

static bool between(unsigned char c, unsigned lo, unsigned hi)
{
    return c >= lo && c <= hi;
}

static bool gb18030_fits(struct str s)
{
    size_t pairs = 0, usual = 0;
    const unsigned char *p = (const unsigned char *)s.ptr;
    for (size_t i = 0; i < s.len;) {
        if (p[i] < 0x80) {
            i++;
            continue;
        }
        if (!between(p[i], 0x81, 0xFE))
            return false;
        if (i + 1 >= s.len)
            break; /* cut in the middle of the last one */
        if (i + 3 < s.len && between(p[i + 1], 0x30, 0x39)) {
            if (!between(p[i + 2], 0x81, 0xFE) || !between(p[i + 3], 0x30, 0x39))
                return false;
            i += 4;
            continue;
        }
        if (!between(p[i + 1], 0x40, 0xFE) || p[i + 1] == 0x7F)
            return false;
        bool inside_word = i > 0 && isalpha(p[i - 1]) && p[i - 1] < 0x80 && i + 2 < s.len &&
                           p[i + 2] < 0x80 && isalpha(p[i + 2]); /* the two middle letters of a German word */
        pairs++;
        usual += !inside_word && p[i + 1] >= 0xA1 && (between(p[i], 0xB0, 0xF7) || between(p[i], 0xA1, 0xA9));
        i += 2;
    }
    return usual * 10 >= pairs * 7;
}

/* The value after "charset=" in the first 2 KiB, as a C string. */
static bool declared_charset(struct str s, char *name, size_t cap)
{
    size_t n = s.len < 2048 ? s.len : 2048;
    for (size_t i = 0; i + 8 < n; i++) {
        if (strncasecmp(s.ptr + i, "charset=", 8) != 0)
            continue;
        i += 8;
        while (i < n && strchr("\"' ", s.ptr[i]) && s.ptr[i])
            i++;
        size_t k = 0;
        while (i < n && k + 1 < cap && (isalnum((unsigned char)s.ptr[i]) || strchr("-_:", s.ptr[i])) &&
               s.ptr[i])
            name[k++] = s.ptr[i++];
        name[k] = 0;
        if (strncasecmp(name, "gb2312", 6) == 0 || strncasecmp(name, "gbk", 3) == 0)
            memcpy(name, "gb18030", 8); /* its superset, as browsers do */
        return k > 0;
    }
    return false;
}

static rag_code convert(struct str s, const char *charset, struct buf *out, struct rag_err *err)
{
    UErrorCode e = U_ZERO_ERROR;
    UConverter *from = ucnv_open(charset, &e), *to = ucnv_open("UTF-8", &e);
    struct buf utf8;
    buf_init(&utf8, MEM_EXTRACT);
    rag_code rc = RAG_OK;
    if (U_FAILURE(e)) {
        rc = rag_err_set(err, e == U_MEMORY_ALLOCATION_ERROR ? RAG_ENOMEM : RAG_EFORMAT, "charset %s: %s",
                         charset, u_errorName(e));
        goto done;
    }
    UChar pivot[4096], *ps = pivot, *pt = pivot;
    const char *src = s.ptr, *end = s.ptr + s.len;
    for (bool reset = true;; reset = false) {
        if (!buf_reserve(&utf8, 64 << 10)) {
            rc = RAG_ENOMEM;
            goto done;
        }
        char *dst = utf8.ptr + utf8.len;
        e = U_ZERO_ERROR;
        ucnv_convertEx(to, from, &dst, utf8.ptr + utf8.cap, &src, end, pivot, &ps, &pt, pivot + 4096, reset,
                       true, &e);
        utf8.len = (size_t)(dst - utf8.ptr);
        if (e != U_BUFFER_OVERFLOW_ERROR)
            break;
    }
    if (U_FAILURE(e)) {
        rc = rag_err_set(err, RAG_EFORMAT, "charset %s: %s", charset, u_errorName(e));
        goto done;
    }
    text_clean(out, buf_str(&utf8));
    if (buf_failed(out))
        rc = RAG_ENOMEM;
done:
    if (from)
        ucnv_close(from);
    if (to)
        ucnv_close(to);
    buf_clear(&utf8);
    return rc;
}

/* No text format has many control bytes; pictures, archives and programs do. */
static bool looks_binary(struct str s)
{
    size_t n = s.len < 65536 ? s.len : 65536, bad = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        bad += c < 0x20 && !strchr("\t\n\v\f\r\x1b", c);
        bad += c == 0;
    }
    return bad > 4 && bad * 20 > n;
}

static bool starts(struct str s, const char *lit, size_t n)
{
    return s.len >= n && memcmp(s.ptr, lit, n) == 0;
}

rag_code charset_decode(struct str s, bool html, struct buf *out, struct rag_err *err)
{
    char name[40];
    const char *guess = NULL;
    if (starts(s, "\xEF\xBB\xBF", 3)) {
        text_clean(out, s);
        return buf_failed(out) ? RAG_ENOMEM : RAG_OK;
    }
    if (starts(s, "\xFF\xFE\0\0", 4) || starts(s, "\0\0\xFE\xFF", 4))
        guess = s.ptr[0] ? "UTF-32LE" : "UTF-32BE";
    else if (starts(s, "\xFF\xFE", 2))
        guess = "UTF-16LE";
    else if (starts(s, "\xFE\xFF", 2))
        guess = "UTF-16BE";
    else if (memchr(s.ptr ? s.ptr : "", 0, s.len) || !utf8_valid(s))
        guess = utf16_guess(s);
    if (guess)
        return convert(s, guess, out, err);
    if (looks_binary(s))
        return rag_err_set(err, RAG_EFORMAT, "not text: control bytes");
    if (nearly_utf8(s)) {
        text_clean(out, s);
        return buf_failed(out) ? RAG_ENOMEM : RAG_OK;
    }
    if (html && declared_charset(s, name, sizeof name) && strncasecmp(name, "utf", 3) != 0) {
        UErrorCode e = U_ZERO_ERROR;
        UConverter *c = ucnv_open(name, &e);
        if (c)
            ucnv_close(c);
        if (U_SUCCESS(e))
            return convert(s, name, out, err);
    }
    return convert(s, gb18030_fits(s) ? "gb18030" : "windows-1252", out, err);
}
