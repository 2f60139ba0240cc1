#include "text/sentence.h"

#include <stdint.h>

#include "text/utf8.h"

static bool is_space(uint32_t cp)
{
    return cp == ' ' || cp == '\t' || cp == '\n' || cp == '\r' || cp == '\f' || cp == '\v' || cp == 0x3000 ||
           cp == 0xA0;
}

static bool is_digit(uint32_t cp)
{
    return cp >= '0' && cp <= '9';
}

static bool is_ascii_letter(uint32_t cp)
{
    return (cp | 0x20) >= 'a' && (cp | 0x20) <= 'z';
}

static uint32_t peek(struct str s, size_t i)
{
    return i < s.len ? utf8_next(s, &i) : 0;
}

/* Ends a sentence wherever it stands. */
static bool is_full_stop(uint32_t cp)
{
    return cp == 0x3002 || cp == 0xFF01 || cp == 0xFF1F || cp == 0xFF0E || cp == 0xFF61 || cp == 0x203C ||
           (cp >= 0x2047 && cp <= 0x2049);
}

static bool is_closer(uint32_t cp)
{
    return cp == '"' || cp == '\'' || cp == ')' || cp == ']' || cp == '}' || cp == 0x201D || cp == 0x2019 ||
           cp == 0xFF09 || cp == 0x300D || cp == 0x300F || cp == 0x3011 || cp == 0x300B || cp == 0x3009 ||
           cp == 0x3015 || cp == 0xFF02 || cp == 0xBB;
}

/* The word before the '.' at s[dot]: from *from on. */
static size_t word_before(struct str s, size_t dot)
{
    size_t i = dot;
    while (i > 0 && dot - i < 24 &&
           (is_ascii_letter((unsigned char)s.ptr[i - 1]) || s.ptr[i - 1] == '.' ||
            is_digit((unsigned char)s.ptr[i - 1])))
        i--;
    return i;
}

static bool is_one_of(const char *const *list, struct str w)
{
    for (; *list; list++)
        if (str_eqz(w, *list))
            return true;
    return false;
}

/* `next` is the character that the text goes on with. */
static bool is_abbreviation(struct str w, uint32_t next)
{
    static const char *const always[] = {"mr",  "mrs",  "ms",     "dr",  "prof", "sr",   "jr",
                                         "st",  "vs",   "cf",     "al",  "eds",  "gen",  "col",
                                         "sgt", "capt", "lt",     "rev", "hon",  "gov",  "sen",
                                         "rep", "pres", "approx", "ca",  "dept", "univ", NULL};
    static const char *const with_number[] = {"no",  "nos", "fig", "figs", "eq",  "eqs",  "sec", "ch",
                                              "vol", "pp",  "p",   "art",  "ref", "refs", NULL};
    char low[8];
    if (w.len == 0 || w.len >= sizeof low)
        return false;
    for (size_t i = 0; i < w.len; i++)
        low[i] = (char)(w.ptr[i] >= 'A' && w.ptr[i] <= 'Z' ? w.ptr[i] + 32 : w.ptr[i]);
    struct str lower = str_make(low, w.len);
    if (is_one_of(always, lower) || (is_digit(next) && is_one_of(with_number, lower)))
        return true;
    if (w.len == 1 && low[0] != 'i' && is_ascii_letter((unsigned char)low[0])) /* an initial: J. Smith */
        return true;
    for (size_t i = 1; i < w.len; i += 2) /* U.S, a.m */
        if (low[i] != '.')
            return false;
    return w.len >= 3;
}

/* Does the ASCII '.' at s[dot] end a sentence? What follows it begins at `after`, closers skipped. */
static bool dot_ends(struct str s, size_t dot, size_t after)
{
    uint32_t next = peek(s, after);
    if (after >= s.len)
        return true;
    if (!is_space(next))
        return utf8_is_cjk(next) && dot > 0 && !is_digit((unsigned char)s.ptr[dot - 1]);
    size_t k = after;
    while (k < s.len && k - after < 8 && is_space(peek(s, k)))
        (void)utf8_next(s, &k);
    uint32_t begin = peek(s, k);
    size_t w = word_before(s, dot);
    struct str word = str_make(s.ptr + w, dot - w);
    if (begin >= 'a' && begin <= 'z')
        return false;
    bool number = word.len > 0 && word.len <= 3;
    for (size_t i = 0; i < word.len; i++)
        number = number && is_digit((unsigned char)word.ptr[i]);
    if (number && (w == 0 || s.ptr[w - 1] == '\n')) /* "1. First" of a list */
        return false;
    return !is_abbreviation(word, begin);
}

/* ---- lines ---- */

/* Blank, list item, table row, heading or quotation: something that begins anew. */
static bool begins_anew(struct str s, size_t i)
{
    while (i < s.len && (s.ptr[i] == ' ' || s.ptr[i] == '\t' || s.ptr[i] == '\r'))
        i++;
    if (i >= s.len || s.ptr[i] == '\n' || s.ptr[i] == '|' || s.ptr[i] == '#' || s.ptr[i] == '>')
        return true;
    uint32_t cp = peek(s, i), second = peek(s, i + 1);
    if (cp == '-' || cp == '*' || cp == '+')
        return i + 1 >= s.len || is_space(second);
    if (cp == 0x2022 || cp == 0x25CF || cp == 0x25A0 || cp == 0x25AA || cp == 0xB7 ||
        (cp >= 0x2460 && cp <= 0x2473))
        return true;
    size_t k = i;
    if (k < s.len && (s.ptr[k] == '(' || cp == 0xFF08))
        (void)utf8_next(s, &k);
    size_t digits = k;
    while (k < s.len && k - digits < 3 && is_digit((unsigned char)s.ptr[k]))
        k++;
    uint32_t mark = peek(s, k);
    return k > digits && (mark == ')' || mark == 0x3001 || mark == 0xFF09 ||
                          (mark == '.' && (k + 1 >= s.len || is_space(peek(s, k + 1)))));
}

/* "key: value" with a short key; not a URL, not a time. */
static bool is_pair(struct str line)
{
    size_t n = 0;
    for (size_t i = 0; i < line.len && n < 40; n++) {
        uint32_t cp = utf8_next(line, &i);
        if (cp == 0xFF1A)
            return n > 0;
        if (cp == ':')
            return n > 0 && (i >= line.len || is_space(peek(line, i)));
        if (cp == '.' || cp == ',')
            return false;
    }
    return false;
}

static bool has_cjk(struct str line)
{
    for (size_t i = 0; i < line.len;) {
        if ((unsigned char)line.ptr[i] < 0x80)
            i++;
        else if (utf8_is_cjk(utf8_next(line, &i)))
            return true;
    }
    return false;
}

static bool break_ends(struct str s, size_t line, size_t newline)
{
    struct str l = str_make(s.ptr + line, newline - line);
    return begins_anew(s, newline + 1) || str_trim(l).len == 0 || is_pair(str_trim(l)) || has_cjk(l) ||
           (l.len && str_trim(l).ptr[0] == '|');
}

static size_t skip_space(struct str s, size_t i)
{
    while (i < s.len) {
        size_t k = i;
        if (!is_space(utf8_next(s, &k)))
            break;
        i = k;
    }
    return i;
}

/* More closing punctuation and closers after i: "?!", "……”". */
static size_t skip_closing(struct str s, size_t i)
{
    while (i < s.len) {
        size_t k = i;
        uint32_t cp = utf8_next(s, &k);
        if (!is_full_stop(cp) && !is_closer(cp) && cp != '!' && cp != '?' && cp != '.' && cp != 0x2026)
            break;
        i = k;
    }
    return i;
}

size_t sentence_len(struct str s)
{
    size_t i = skip_space(s, 0), line = i;
    while (i < s.len) {
        size_t at = i;
        uint32_t cp = utf8_next(s, &i);
        if (cp == '\n') {
            if (break_ends(s, line, at))
                return skip_space(s, i);
            line = i;
            continue;
        }
        if (cp != '.' && cp != '!' && cp != '?' && cp != 0x2026 && !is_full_stop(cp))
            continue;
        size_t after = skip_closing(s, i);
        uint32_t next = peek(s, after);
        bool ends = is_full_stop(cp);
        if (cp == '!' || cp == '?' || cp == 0x2026)
            ends = after >= s.len || is_space(next) || (cp != 0x2026 && utf8_is_cjk(next)) ||
                   (cp == 0x2026 && after - i >= 3);
        else if (cp == '.')
            ends = dot_ends(s, at, after);
        if (ends)
            return skip_space(s, after);
        i = after > i ? after : i;
    }
    return s.len;
}
