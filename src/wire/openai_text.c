/* Bytes of a provider made fit for the strict parser. */
#include "wire/json_in.h"
#include "wire/openai_int.h"
#include "wire/sse_read.h"

static bool continues(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

size_t openai_utf8_len(const char *s, size_t left)
{
    const unsigned char *p = (const unsigned char *)s;
    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xC2 && p[0] <= 0xDF)
        return left >= 2 && continues(s[1]) ? 2 : 0;
    if (p[0] >= 0xE0 && p[0] <= 0xEF) {
        if (left < 3 || !continues(s[1]) || !continues(s[2]))
            return 0;
        bool overlong = p[0] == 0xE0 && p[1] < 0xA0, surrogate = p[0] == 0xED && p[1] > 0x9F;
        return overlong || surrogate ? 0 : 3;
    }
    if (p[0] >= 0xF0 && p[0] <= 0xF4) {
        if (left < 4 || !continues(s[1]) || !continues(s[2]) || !continues(s[3]))
            return 0;
        bool overlong = p[0] == 0xF0 && p[1] < 0x90, beyond = p[0] == 0xF4 && p[1] > 0x8F;
        return overlong || beyond ? 0 : 4;
    }
    return 0;
}

int openai_hex4(const char *p, size_t left)
{
    int v = 0;
    if (left < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i], low = (char)(c | 32);
        if (c >= '0' && c <= '9')
            v = v * 16 + (c - '0');
        else if (low >= 'a' && low <= 'f')
            v = v * 16 + (low - 'a' + 10);
        else
            return -1;
    }
    return v;
}

/* Appends the character at s[i], or U+FFFD; returns the bytes read. */
static size_t add_char(struct buf *out, struct str s, size_t i)
{
    size_t n = openai_utf8_len(s.ptr + i, s.len - i);
    if (n) {
        buf_add(out, s.ptr + i, n);
        return n;
    }
    buf_addz(out, "\xEF\xBF\xBD");
    for (n = 1; n < 4 && i + n < s.len && continues(s.ptr[i + n]); n++)
        ;
    return n;
}

void openai_add_valid(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.len;)
        i += add_char(out, s, i);
}

/* The same for the escape at s[i] == '\\'; one that is none is left to the parser. */
static size_t add_escape(struct buf *out, struct str s, size_t i)
{
    size_t left = s.len - i, n = 1;
    if (left >= 2 && s.ptr[i + 1] == 'u') {
        int v = openai_hex4(s.ptr + i + 2, left - 2);
        bool high = v >= 0xD800 && v < 0xDC00, low = v >= 0xDC00 && v < 0xE000;
        if (high && left >= 8 && s.ptr[i + 6] == '\\' && s.ptr[i + 7] == 'u') {
            int second = openai_hex4(s.ptr + i + 8, left - 8);
            if (second >= 0xDC00 && second < 0xE000) {
                buf_add(out, s.ptr + i, 12);
                return 12;
            }
        }
        if (high || low || v == 0) {
            buf_addz(out, "\\uFFFD");
            return 6;
        }
        n = v < 0 ? 2 : 6;
    } else if (left >= 2 && (unsigned char)s.ptr[i + 1] < 0x80) {
        n = 2;
    }
    buf_add(out, s.ptr + i, n);
    return n;
}

rag_code openai_json(struct str data, json_t **out)
{
    struct buf b;
    *out = NULL;
    if (data.len > SSE_MAX_EVENT_BYTES)
        return RAG_EFORMAT;
    buf_init(&b, MEM_REQUEST);
    (void)buf_reserve(&b, data.len + 1);
    for (size_t i = 0; i < data.len;)
        i += data.ptr[i] == '\\' ? add_escape(&b, data, i) : add_char(&b, data, i);
    rag_code rc = RAG_ENOMEM;
    if (!buf_failed(&b))
        rc = json_in_parse(buf_str(&b), SIZE_MAX, out, NULL);
    buf_clear(&b);
    return rc && rc != RAG_ENOMEM ? RAG_EFORMAT : rc;
}
