#include <stdlib.h>
#include <string.h>

#include "sim.h"

static const char *blanks(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++;
    return p;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Each skip_* returns what follows, or NULL when the text is wrong. */
static const char *skip_string(const char *p, const char *end)
{
    for (p++; p < end; p++) {
        if (*p == '"')
            return p + 1;
        if ((unsigned char)*p < 0x20)
            return NULL;
        if (*p != '\\')
            continue;
        if (++p == end)
            return NULL;
        if (*p == 'u') {
            if (end - p < 5 || !is_hex(p[1]) || !is_hex(p[2]) || !is_hex(p[3]) || !is_hex(p[4]))
                return NULL;
            p += 4;
        } else if (!memchr("\"\\/bfnrt", *p, 8)) {
            return NULL;
        }
    }
    return NULL;
}

static const char *skip_digits(const char *p, const char *end)
{
    const char *start = p;
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p > start ? p : NULL;
}

static const char *skip_number(const char *p, const char *end)
{
    if (p < end && *p == '-')
        p++;
    p = skip_digits(p, end);
    if (p && p < end && *p == '.')
        p = skip_digits(p + 1, end);
    if (p && p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        p = skip_digits(p, end);
    }
    return p;
}

static const char *skip_value(const char *p, const char *end, int depth);

static const char *skip_members(const char *p, const char *end, int depth)
{
    bool object = *p == '{';
    char close = object ? '}' : ']';
    p = blanks(p + 1, end);
    if (p < end && *p == close)
        return p + 1;
    while (p < end) {
        if (object) {
            if (*p != '"' || !(p = skip_string(p, end)))
                return NULL;
            p = blanks(p, end);
            if (p == end || *p != ':')
                return NULL;
            p = blanks(p + 1, end);
        }
        p = skip_value(p, end, depth + 1);
        if (!p)
            return NULL;
        p = blanks(p, end);
        if (p == end)
            return NULL;
        if (*p == close)
            return p + 1;
        if (*p != ',')
            return NULL;
        p = blanks(p + 1, end);
    }
    return NULL;
}

static const char *skip_value(const char *p, const char *end, int depth)
{
    if (p == end || depth > 64)
        return NULL;
    if (*p == '"')
        return skip_string(p, end);
    if (*p == '{' || *p == '[')
        return skip_members(p, end, depth);
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(end - p) >= n && !memcmp(p, words[i], n))
            return p + n;
    }
    return skip_number(p, end);
}

bool json_parse(const char *p, size_t n, struct json *out)
{
    if (!n)
        return false;
    const char *end = p + n, *start = blanks(p, end);
    const char *after = skip_value(start, end, 0);
    if (!after || blanks(after, end) != end)
        return false;
    *out = (struct json){start, after};
    return true;
}

bool json_each(struct json v, const char **at, struct json *key, struct json *value)
{
    if (!v.p || (*v.p != '{' && *v.p != '['))
        return false;
    const char *p = *at ? blanks(*at, v.end) : v.p;
    if (*at && *p != ',')
        return false; /* the closing bracket */
    p = blanks(p + 1, v.end);
    if (*p == '}' || *p == ']')
        return false;
    if (*v.p == '{') {
        const char *name_end = skip_string(p, v.end);
        if (key)
            *key = (struct json){p, name_end};
        p = blanks(blanks(name_end, v.end) + 1, v.end);
    }
    *at = skip_value(p, v.end, 0);
    *value = (struct json){p, *at};
    return true;
}

struct json json_get(struct json object, const char *key)
{
    struct json name, value;
    size_t n = strlen(key);
    const char *at = NULL;
    if (object.p && *object.p == '{')
        while (json_each(object, &at, &name, &value))
            if ((size_t)(name.end - name.p) == n + 2 && !memcmp(name.p + 1, key, n))
                return value;
    return (struct json){0};
}

static uint32_t hex4(const char *p)
{
    char digits[5] = {p[0], p[1], p[2], p[3], 0};
    return (uint32_t)strtoul(digits, NULL, 16);
}

static void add_utf8(struct buf *b, uint32_t u)
{
    char s[4];
    size_t n = 0;
    if (u < 0x80) {
        s[n++] = (char)u;
    } else if (u < 0x800) {
        s[n++] = (char)(0xc0 | u >> 6);
        s[n++] = (char)(0x80 | (u & 63));
    } else if (u < 0x10000) {
        s[n++] = (char)(0xe0 | u >> 12);
        s[n++] = (char)(0x80 | (u >> 6 & 63));
        s[n++] = (char)(0x80 | (u & 63));
    } else {
        s[n++] = (char)(0xf0 | u >> 18);
        s[n++] = (char)(0x80 | (u >> 12 & 63));
        s[n++] = (char)(0x80 | (u >> 6 & 63));
        s[n++] = (char)(0x80 | (u & 63));
    }
    buf_add(b, s, n);
}

static const char *add_escaped(struct buf *b, const char *p, const char *end)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (*p != 'u') {
        buf_add(b, &to[strchr(from, *p) - from], 1);
        return p + 1;
    }
    uint32_t u = hex4(p + 1);
    p += 5;
    if (u >= 0xd800 && u < 0xdc00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
        uint32_t low = hex4(p + 2);
        if (low >= 0xdc00 && low < 0xe000) {
            add_utf8(b, 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00));
            return p + 6;
        }
    }
    add_utf8(b, u >= 0xd800 && u < 0xe000 ? 0xfffd : u);
    return p;
}

bool json_text(struct json v, struct buf *out)
{
    if (!v.p || *v.p != '"')
        return false;
    const char *p = v.p + 1, *end = v.end - 1;
    while (p < end) {
        const char *plain = p;
        while (p < end && *p != '\\')
            p++;
        buf_add(out, plain, (size_t)(p - plain));
        if (p < end)
            p = add_escaped(out, p + 1, end);
    }
    return true;
}

long json_long(struct json v, long otherwise)
{
    char digits[24] = "";
    size_t n = v.p ? (size_t)(v.end - v.p) : 0;
    if (!n || n >= sizeof digits || *v.p == '"')
        return otherwise;
    memcpy(digits, v.p, n);
    char *end;
    long value = strtol(digits, &end, 10);
    return end > digits ? value : otherwise;
}

bool json_true(struct json v)
{
    return v.p && *v.p == 't';
}
