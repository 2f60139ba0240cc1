#include "wire/json_out.h"

static const char hex[] = "0123456789abcdef";

/* Length of the prefix that needs no escape. */
static size_t plain_len(struct str s)
{
    size_t i = 0;
    while (i < s.len && (unsigned char)s.ptr[i] >= 0x20 && s.ptr[i] != '"' && s.ptr[i] != '\\' && s.ptr[i] != 0x7f)
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
        char two = c == '"' ? '"' : c == '\\' ? '\\' : c == '\n' ? 'n' : c == '\t' ? 't' : c == '\r' ? 'r' : 0;
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
