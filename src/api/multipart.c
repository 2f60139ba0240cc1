#include "api/multipart.h"

#include <strings.h>

bool multipart_is(const char *content_type)
{
    return content_type && strncasecmp(content_type, "multipart/form-data", 19) == 0 &&
           (content_type[19] == ';' || content_type[19] == ' ' || content_type[19] == 0);
}

/* Value of `name=` among the ;-separated parameters after a header's value, quotes and their escapes taken off.
 * Browsers write " in a file name as %22 and send the rest as it is. */
static bool parameter(struct str s, const char *name, struct arena *a, struct str *out)
{
    size_t name_len = strlen(name), i = 0;
    while (i < s.len && s.ptr[i] != ';')
        i++;
    while (i < s.len) {
        i++;
        while (i < s.len && (s.ptr[i] == ' ' || s.ptr[i] == '\t'))
            i++;
        bool hit =
            s.len - i > name_len && s.ptr[i + name_len] == '=' && strncasecmp(s.ptr + i, name, name_len) == 0;
        while (i < s.len && s.ptr[i] != '=' && s.ptr[i] != ';')
            i++;
        if (i == s.len || s.ptr[i] == ';')
            continue;
        i++;
        char *p = arena_alloc(a, s.len - i + 1);
        size_t n = 0;
        if (!p)
            return false;
        if (i < s.len && s.ptr[i] == '"') {
            for (i++; i < s.len && s.ptr[i] != '"'; i++) {
                if (s.ptr[i] == '\\' && i + 1 < s.len && (s.ptr[i + 1] == '"' || s.ptr[i + 1] == '\\'))
                    i++;
                p[n++] = s.ptr[i];
            }
            while (i < s.len && s.ptr[i] != ';')
                i++;
        } else {
            while (i < s.len && s.ptr[i] != ';')
                p[n++] = s.ptr[i++];
            while (n && (p[n - 1] == ' ' || p[n - 1] == '\t'))
                n--;
        }
        if (hit) {
            p[n] = 0;
            *out = str_make(p, n);
            return true;
        }
    }
    return false;
}

/* The line at *i without its CRLF; *i is past it. False at the end of the body. */
static bool next_line(struct str body, size_t *i, struct str *line)
{
    const char *nl = *i < body.len ? memchr(body.ptr + *i, '\n', body.len - *i) : NULL;
    if (!nl)
        return false;
    size_t end = (size_t)(nl - body.ptr);
    *line = str_make(body.ptr + *i, end - *i);
    if (line->len && line->ptr[line->len - 1] == '\r')
        line->len--;
    *i = end + 1;
    return true;
}

static rag_code bad(struct rag_err *err, const char *why)
{
    return rag_err_set(err, RAG_EINVAL, "multipart/form-data: %s", why);
}

/* Headers of one part up to the empty line. */
static rag_code part_head(struct str body, size_t *i, struct arena *a, struct multipart_part *p,
                          struct rag_err *err)
{
    struct str line;
    while (next_line(body, i, &line)) {
        if (line.len == 0)
            return p->name.len ? RAG_OK : bad(err, "a part has no name");
        static const char cd[] = "content-disposition:";
        if (line.len > sizeof cd - 1 && strncasecmp(line.ptr, cd, sizeof cd - 1) == 0) {
            (void)parameter(line, "name", a, &p->name);
            (void)parameter(line, "filename", a, &p->filename);
        }
    }
    return bad(err, "the body is cut off in the head of a part");
}

rag_code multipart_parse(const char *content_type, struct str body, struct arena *a,
                         struct multipart_part **out, uint32_t *n, struct rag_err *err)
{
    struct str boundary;
    *n = 0;
    *out = arena_array(a, MULTIPART_MAX_PARTS, sizeof **out);
    if (!*out)
        return rag_err_set(err, RAG_ENOMEM, "out of memory");
    if (!parameter(str_of(content_type), "boundary", a, &boundary) || boundary.len == 0 || boundary.len > 70)
        return bad(err, "no boundary in the Content-Type");
    char mark[76] = "\r\n--"; /* what ends a part; the first one may lack its line end */
    memcpy(mark + 4, boundary.ptr, boundary.len);
    size_t mark_len = 4 + boundary.len, i = 0;
    if (body.len >= mark_len - 2 && memcmp(body.ptr, mark + 2, mark_len - 2) == 0) {
        i = mark_len - 2;
    } else {
        const char *first = memmem(body.ptr, body.len, mark, mark_len);
        if (!first)
            return bad(err, "the boundary does not occur in the body");
        i = (size_t)(first - body.ptr) + mark_len;
    }
    for (;;) {
        struct str rest;
        if (body.len - i >= 2 && body.ptr[i] == '-' && body.ptr[i + 1] == '-')
            return RAG_OK;
        if (!next_line(body, &i, &rest))
            return bad(err, "the body is cut off");
        if (*n == MULTIPART_MAX_PARTS)
            return rag_err_set(err, RAG_ETOOBIG, "multipart/form-data: more than %d parts",
                               MULTIPART_MAX_PARTS);
        struct multipart_part *p = &(*out)[*n];
        rag_code rc = part_head(body, &i, a, p, err);
        if (rc)
            return rc;
        /* An empty part's end mark shares the line end of its head. */
        size_t from = i >= 2 && body.ptr[i - 2] == '\r' ? i - 2 : i;
        const char *end = memmem(body.ptr + from, body.len - from, mark, mark_len);
        if (!end)
            return bad(err, "the body is cut off");
        size_t at = (size_t)(end - body.ptr);
        p->value = at > i ? str_make(body.ptr + i, at - i) : str_make(body.ptr + i, 0);
        (*n)++;
        i = at + mark_len;
    }
}
