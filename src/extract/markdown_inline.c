/* Inline marks to readable text in one pass. A mark that may turn out to be one (an emphasis run, a bracket) is
 * copied and remembered on a stack; when its partner comes, both are struck out of the output. Text without a
 * partner stays as written. The stack is bounded: past it the oldest marks are plain text, and time is linear. */
#include "extract/markdown_int.h"

#include <ctype.h>

enum { STACK = 64, URL_MAX = 4096 };

struct mark {
    size_t at, len; /* in the output */
    char c;         /* '*', '_', '~', '[', '!' (for "![") */
};
struct inline_out {
    struct buf *out; /* scratch; struck bytes are NUL, removed at the end */
    struct mark stack[STACK];
    size_t depth;
};

static void push(struct inline_out *o, char c, size_t len)
{
    if (o->depth == STACK) {
        memmove(o->stack, o->stack + 1, (STACK - 1) * sizeof *o->stack);
        o->depth--;
    }
    o->stack[o->depth++] = (struct mark){o->out->len, len, c};
}

static void strike(struct inline_out *o, size_t at, size_t len)
{
    if (at + len <= o->out->len)
        memset(o->out->ptr + at, 0, len);
}

static bool space_at(struct str s, size_t i)
{
    return i >= s.len || isspace((unsigned char)s.ptr[i]);
}

static bool word_at(struct str s, size_t i)
{
    return i < s.len && isalnum((unsigned char)s.ptr[i]);
}

/* A run of '*', '_' or '~' at i. */
static size_t emphasis(struct inline_out *o, struct str s, size_t i)
{
    size_t n = 1;
    char c = s.ptr[i];
    while (i + n < s.len && s.ptr[i + n] == c)
        n++;
    bool open = !space_at(s, i + n), close = i > 0 && !space_at(s, i - 1);
    if (c == '_') { /* snake_case is no emphasis */
        open = open && !(i > 0 && word_at(s, i - 1));
        close = close && !word_at(s, i + n);
    }
    if (n > 3 || (c == '~' && n != 2))
        open = close = false;
    if (close)
        for (size_t k = o->depth; k > 0; k--) {
            struct mark *m = o->stack + k - 1;
            if (m->c == '[' || m->c == '!')
                break;
            if (m->c != c || m->len != n)
                continue;
            strike(o, m->at, m->len);
            o->depth = k - 1;
            return i + n;
        }
    if (open)
        push(o, c, n);
    buf_add(o->out, s.ptr + i, n);
    return i + n;
}

/* The end of "(url "title")" that starts at i, or i. */
static size_t link_target(struct str s, size_t i)
{
    int depth = 0;
    for (size_t k = i; k < s.len && k - i < URL_MAX; k++) {
        if (s.ptr[k] == '\\')
            k++;
        else if (s.ptr[k] == '(')
            depth++;
        else if (s.ptr[k] == ')' && --depth == 0)
            return k + 1;
        else if (s.ptr[k] == '\n' && k > i && s.ptr[k - 1] == '\n')
            break;
    }
    return i;
}

static size_t bracket_close(struct inline_out *o, struct str s, size_t i)
{
    size_t k = o->depth, after = i + 1;
    while (k > 0 && o->stack[k - 1].c != '[' && o->stack[k - 1].c != '!')
        k--;
    if (k == 0) {
        buf_addc(o->out, ']');
        return after;
    }
    struct mark m = o->stack[k - 1];
    o->depth = k - 1;
    if (after < s.len && s.ptr[after] == '(') {
        after = link_target(s, after);
    } else if (after < s.len && s.ptr[after] == '[') { /* [text][reference] */
        const char *e = memchr(s.ptr + after, ']', s.len - after < 200 ? s.len - after : 200);
        after = e ? (size_t)(e - s.ptr) + 1 : after;
    }
    if (after == i + 1) {
        buf_addc(o->out, ']');
        return after;
    }
    strike(o, m.at, m.len);
    return after;
}

/* A code span: its content as written. */
static size_t code_span(struct inline_out *o, struct str s, size_t i)
{
    size_t n = 0, k;
    while (i + n < s.len && s.ptr[i + n] == '`')
        n++;
    size_t end = s.len - i > URL_MAX ? i + URL_MAX : s.len;
    for (k = i + n; k < end; k++) {
        size_t m = 0;
        while (k + m < end && s.ptr[k + m] == '`')
            m++;
        if (m == n) {
            struct str code = str_trim(str_make(s.ptr + i + n, k - i - n));
            buf_adds(o->out, code);
            return k + n;
        }
        k += m;
    }
    buf_add(o->out, s.ptr + i, n);
    return i + n;
}

/* A tag of html, as against a placeholder like <name>, which is text. */
static bool is_tag(struct str in)
{
    static const char *const tags[] = {
        "a",    "abbr",  "b",      "blockquote", "br",     "center", "code",    "del",     "details", "div",
        "em",   "font",  "h1",     "h2",         "h3",     "h4",     "h5",      "h6",      "hr",      "i",
        "img",  "ins",   "kbd",    "li",         "mark",   "ol",     "p",       "picture", "pre",     "s",
        "samp", "small", "source", "span",       "strong", "sub",    "summary", "sup",     "table",   "tbody",
        "td",   "th",    "thead",  "tr",         "tt",     "u",      "ul",      "video"};
    if (in.len && in.ptr[0] == '/')
        in = str_make(in.ptr + 1, in.len - 1);
    size_t n = 0;
    while (n < in.len && isalnum((unsigned char)in.ptr[n]))
        n++;
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        if (strlen(tags[i]) == n && strncasecmp(in.ptr, tags[i], n) == 0)
            return true;
    return false;
}

/* "<b>", "</span>", "<br/>", "<https://...>". */
static size_t angle(struct inline_out *o, struct str s, size_t i)
{
    size_t end = s.len - i > 1000 ? i + 1000 : s.len;
    const char *e = memchr(s.ptr + i, '>', end - i);
    struct str in = e ? str_make(s.ptr + i + 1, (size_t)(e - (s.ptr + i)) - 1) : str_make(NULL, 0);
    bool tag = is_tag(in), link = in.len && memmem(in.ptr, in.len, ":", 1) && !memchr(in.ptr, ' ', in.len);
    if (!tag && !link) {
        buf_addc(o->out, '<');
        return i + 1;
    }
    if (!tag)
        buf_adds(o->out, in);
    else if (in.len >= 2 && strncasecmp(in.ptr, "br", 2) == 0)
        buf_addc(o->out, '\n');
    return i + in.len + 2;
}

static size_t entity(struct inline_out *o, struct str s, size_t i)
{
    static const struct {
        const char *name, *text;
    } known[] = {{"&amp;", "&"},    {"&lt;", "<"},  {"&gt;", ">"},    {"&quot;", "\""},
                 {"&nbsp;", " "},   {"&#39;", "'"}, {"&mdash;", "—"}, {"&ndash;", "–"},
                 {"&hellip;", "…"}, {"&yen;", "¥"}, {"&copy;", "©"}};
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        size_t n = strlen(known[k].name);
        if (s.len - i >= n && memcmp(s.ptr + i, known[k].name, n) == 0) {
            buf_addz(o->out, known[k].text);
            return i + n;
        }
    }
    buf_addc(o->out, '&');
    return i + 1;
}

void markdown_inline(struct str s, struct buf *out)
{
    struct inline_out o = {.out = out};
    buf_reset(out);
    for (size_t i = 0; i < s.len && !buf_failed(out);) {
        char c = s.ptr[i];
        switch (c) {
        case '\\':
            if (i + 1 < s.len && ispunct((unsigned char)s.ptr[i + 1]))
                i++;
            buf_addc(out, s.ptr[i++]);
            break;
        case '*':
        case '_':
        case '~': i = emphasis(&o, s, i); break;
        case '`': i = code_span(&o, s, i); break;
        case '<': i = angle(&o, s, i); break;
        case '&': i = entity(&o, s, i); break;
        case '!':
            if (i + 1 < s.len && s.ptr[i + 1] == '[') {
                push(&o, '!', 2);
                buf_addz(out, "![");
                i += 2;
            } else {
                buf_addc(out, s.ptr[i++]);
            }
            break;
        case '[':
            push(&o, '[', 1);
            buf_addc(out, s.ptr[i++]);
            break;
        case ']': i = bracket_close(&o, s, i); break;
        default: buf_addc(out, s.ptr[i++]);
        }
    }
    size_t keep = 0;
    for (size_t i = 0; i < out->len; i++)
        if (out->ptr[i])
            out->ptr[keep++] = out->ptr[i];
    out->len = keep;
}
