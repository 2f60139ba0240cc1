/* Lines are put together first, events after: what a piece leaves unfinished waits in `line`, the data of the event so
 * far in `data`. A line that lies within one piece is read where it is. */
#include "wire/sse_read.h"

enum { MAX_LINE_BYTES = SSE_MAX_EVENT_BYTES + 64 }; /* "data: " and the most data */

void sse_reader_clear(struct sse_reader *r)
{
    buf_clear(&r->line);
    buf_clear(&r->data);
    buf_clear(&r->event);
    *r = (struct sse_reader){0};
}

static rag_code add_data(struct sse_reader *r, struct str value)
{
    if (r->data.len + r->has_data + value.len > SSE_MAX_EVENT_BYTES)
        return RAG_ETOOBIG;
    if (r->has_data)
        buf_addc(&r->data, '\n');
    buf_adds(&r->data, value);
    r->has_data = true;
    return buf_failed(&r->data) ? RAG_ENOMEM : RAG_OK;
}

static rag_code read_field(struct sse_reader *r, struct str line)
{
    const char *colon = memchr(line.ptr, ':', line.len);
    struct str name = line, value = {0};
    if (colon) {
        name.len = (size_t)(colon - line.ptr);
        value = str_make(colon + 1, line.len - name.len - 1);
        if (value.len && value.ptr[0] == ' ')
            value = str_make(value.ptr + 1, value.len - 1);
    }
    if (str_eqz(name, "data"))
        return add_data(r, value);
    if (str_eqz(name, "event")) {
        buf_reset(&r->event);
        buf_adds(&r->event, value);
        return buf_failed(&r->event) ? RAG_ENOMEM : RAG_OK;
    }
    return RAG_OK; /* a comment has an empty name */
}

static rag_code end_event(struct sse_reader *r, bool (*each)(void *, struct str, struct str), void *ctx)
{
    bool go_on = true;
    if (r->has_data)
        go_on = each(ctx, r->event.len ? buf_str(&r->event) : STR_LIT("message"), buf_str(&r->data));
    buf_reset(&r->data);
    buf_reset(&r->event);
    r->has_data = false;
    return go_on ? RAG_OK : RAG_ECANCELED;
}

static rag_code end_line(struct sse_reader *r, struct str line, bool (*each)(void *, struct str, struct str),
                         void *ctx)
{
    if (!r->started && line.len >= 3 && memcmp(line.ptr, "\xEF\xBB\xBF", 3) == 0)
        line = str_make(line.ptr + 3, line.len - 3);
    r->started = true;
    return line.len ? read_field(r, line) : end_event(r, each, ctx);
}

/* Length of the first line, without its end; s.len when there is no end. */
static size_t line_len(struct str s)
{
    const char *lf = memchr(s.ptr, '\n', s.len);
    size_t n = lf ? (size_t)(lf - s.ptr) : s.len;
    const char *cr = memchr(s.ptr, '\r', n);
    return cr ? (size_t)(cr - s.ptr) : n;
}

rag_code sse_reader_feed(struct sse_reader *r, struct str bytes,
                         bool (*each)(void *ctx, struct str name, struct str data), void *ctx)
{
    while (bytes.len) {
        if (r->after_cr && bytes.ptr[0] == '\n') {
            r->after_cr = false;
            bytes = str_make(bytes.ptr + 1, bytes.len - 1);
            continue;
        }
        r->after_cr = false;
        struct str line = str_make(bytes.ptr, line_len(bytes));
        if (r->line.len + line.len > MAX_LINE_BYTES)
            return RAG_ETOOBIG;
        bool ended = line.len < bytes.len;
        if (r->line.len || !ended) {
            buf_adds(&r->line, line);
            if (buf_failed(&r->line))
                return RAG_ENOMEM;
        }
        if (!ended)
            return RAG_OK;
        r->after_cr = bytes.ptr[line.len] == '\r';
        bytes = str_make(bytes.ptr + line.len + 1, bytes.len - line.len - 1);
        rag_code rc = end_line(r, r->line.len ? buf_str(&r->line) : line, each, ctx);
        buf_reset(&r->line);
        if (rc)
            return rc;
    }
    return RAG_OK;
}
