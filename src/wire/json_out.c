#include "wire/json_out.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char hex[] = "0123456789abcdef";

static bool needs_escape(unsigned char c)
{
    return c < 0x20 || c == '"' || c == '\\' || c == 0x7f;
}

/* Nonzero when one of the eight bytes of w may need an escape; bytes >= 0x80 do not. A borrow can flag the byte
 * above a true hit, never hide one, so the caller looks at the bytes then. */
static uint64_t escape_mask(uint64_t w)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    uint64_t quote = w ^ (ones * '"'), slash = w ^ (ones * '\\'), del = w ^ (ones * 0x7f);
    uint64_t hit = (w - ones * 0x20) | (quote - ones) | (slash - ones) | (del - ones);
    return hit & ~w & high;
}

/* Length of the prefix that needs no escape. */
static size_t plain_len(struct str s)
{
    size_t i = 0;
    for (uint64_t w; i + 8 <= s.len; i += 8) {
        memcpy(&w, s.ptr + i, 8);
        if (escape_mask(w))
            break;
    }
    while (i < s.len && !needs_escape((unsigned char)s.ptr[i]))
        i++;
    return i;
}

void json_escape(struct buf *out, struct str s)
{
    while (s.len) {
        size_t n = plain_len(s);
        buf_add(out, s.ptr, n);
        if (n == s.len)
            return;
        unsigned char c = (unsigned char)s.ptr[n];
        char esc[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        char two = c == '"'    ? '"'
                   : c == '\\' ? '\\'
                   : c == '\n' ? 'n'
                   : c == '\t' ? 't'
                   : c == '\r' ? 'r'
                               : 0;
        if (two)
            esc[1] = two;
        buf_add(out, esc, two ? 2 : 6);
        s = str_make(s.ptr + n + 1, s.len - n - 1);
    }
}

static unsigned hex_digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10) & 15;
}

size_t json_unescape(struct str s, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '\\' && i + 1 < s.len) {
            c = s.ptr[++i];
            if (c == 'u' && i + 4 < s.len) {
                c = (char)(hex_digit(s.ptr[i + 3]) << 4 | hex_digit(s.ptr[i + 4]));
                i += 4;
            } else {
                c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
            }
        }
        out[n++] = c;
    }
    return n;
}

/* A value never ends in one of these: its last byte is a quote, a digit, a letter or a closing bracket. White space
 * stands before a value that starts a line of an event stream. */
static void separate(struct buf *out)
{
    char last = out->len ? out->ptr[out->len - 1] : '[';
    if (last != '{' && last != '[' && last != ':' && last != ',' && last != ' ' && last != '\n')
        buf_addc(out, ',');
}

void json_add_key(struct buf *out, const char *key)
{
    separate(out);
    buf_addc(out, '"');
    buf_addz(out, key);
    buf_add(out, "\":", 2);
}

void json_add_open(struct buf *out, char bracket)
{
    separate(out);
    buf_addc(out, bracket);
}

void json_add_close(struct buf *out, char bracket)
{
    buf_addc(out, bracket);
}

void json_add_string(struct buf *out, struct str s)
{
    separate(out);
    buf_addc(out, '"');
    json_escape(out, s);
    buf_addc(out, '"');
}

static void add_digits(struct buf *out, uint64_t v)
{
    char text[20];
    size_t i = sizeof text;
    do
        text[--i] = (char)('0' + v % 10);
    while (v /= 10);
    buf_add(out, text + i, sizeof text - i);
}

void json_add_u64(struct buf *out, uint64_t v)
{
    separate(out);
    add_digits(out, v);
}

void json_add_bool(struct buf *out, bool v)
{
    separate(out);
    buf_addz(out, v ? "true" : "false");
}

void json_add_null(struct buf *out)
{
    separate(out);
    buf_addz(out, "null");
}

void json_add_raw(struct buf *out, struct str json)
{
    separate(out);
    buf_adds(out, json);
}

void json_add_fixed(struct buf *out, double v, unsigned decimals)
{
    static const uint32_t powers[] = {1, 10, 100, 1000, 10000, 100000, 1000000};
    separate(out);
    if (!(fabs(v) < 1e12))
        v = 0;
    if (decimals > 6)
        decimals = 6;
    uint64_t n = (uint64_t)llround(fabs(v) * powers[decimals]);
    if (v < 0 && n)
        buf_addc(out, '-');
    uint64_t whole = n / powers[decimals], rest = n % powers[decimals];
    add_digits(out, whole);
    if (rest == 0)
        return;
    char text[8] = ".";
    size_t len = 1;
    for (unsigned d = decimals; d-- > 0;)
        text[len++] = (char)('0' + rest / powers[d] % 10);
    while (text[len - 1] == '0')
        len--;
    buf_add(out, text, len);
}

void json_add_double(struct buf *out, double v)
{
    char text[40];
    separate(out);
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    buf_addz(out, text);
}

void json_add_time_ms(struct buf *out, int64_t ms)
{
    char text[64];
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&s, &tm);
    size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, sizeof text - n, ".%03dZ", (int)(ms % 1000));
    json_add_string(out, str_of(text));
}
