#include <stdarg.h>
#include <stdio.h>

#include "extract/extract_int.h"

void docw_init(struct doc_writer *w, struct text_doc *doc, const struct extract_limits *lim,
               struct rag_err *err)
{
    /* Offsets are 32 bits; half of that leaves room for the separators of the last block. */
    uint64_t max = lim->max_output_bytes && lim->max_output_bytes < UINT32_MAX / 2 ? lim->max_output_bytes
                                                                                   : UINT32_MAX / 2;
    *w = (struct doc_writer){.doc = doc, .err = err, .max_bytes = max, .last_kind = BLOCK_KINDS};
}

rag_code docw_fail(struct doc_writer *w, rag_code rc, const char *fmt, ...)
{
    if (w->rc)
        return w->rc;
    char msg[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    w->rc = rc;
    return rag_err_set(w->err, rc, "%s", msg);
}

static void check(struct doc_writer *w)
{
    const struct text_doc *d = w->doc;
    if (buf_failed(&d->text) || buf_failed(&d->blocks) || buf_failed(&d->labels) || buf_failed(&d->title))
        docw_fail(w, RAG_ENOMEM, "out of memory");
    else if (d->text.len + d->blocks.len + d->labels.len + d->title.len > w->max_bytes)
        docw_fail(w, RAG_ETOOBIG, "more than %llu bytes of text", (unsigned long long)w->max_bytes);
}

static void begin(struct doc_writer *w, enum block_kind kind, unsigned level, const char *sep)
{
    if (w->rc)
        return;
    RAG_ASSERT(!w->open);
    struct buf *t = &w->doc->text;
    w->rollback = t->len;
    if (t->len)
        buf_addz(t, sep);
    w->cur = (struct text_block){.start = (uint32_t)t->len,
                                 .kind = (uint8_t)kind,
                                 .level = (uint8_t)(level > 9 ? 9 : level),
                                 .page = w->page};
    w->open = true;
}

void docw_begin(struct doc_writer *w, enum block_kind kind, unsigned level)
{
    begin(w, kind, level, kind == BLOCK_LIST_ITEM && w->last_kind == BLOCK_LIST_ITEM ? "\n" : "\n\n");
}

void docw_begin_behind(struct doc_writer *w, enum block_kind kind, const char *sep)
{
    begin(w, kind, 0, sep);
}

void docw_begin_record(struct doc_writer *w, uint32_t row, uint32_t label_off, uint32_t label_len)
{
    docw_begin(w, BLOCK_RECORD, 0);
    w->cur.row = row;
    w->cur.label_off = label_off;
    w->cur.label_len = label_len;
}

void docw_text(struct doc_writer *w, struct str s)
{
    if (w->rc)
        return;
    text_clean(&w->doc->text, s);
    check(w);
}

void docw_line(struct doc_writer *w, struct str s)
{
    if (w->rc)
        return;
    text_squeeze(&w->doc->text, s);
    check(w);
}

void docw_end(struct doc_writer *w)
{
    if (w->rc || !w->open)
        return;
    w->open = false;
    struct buf *t = &w->doc->text;
    while (t->len > w->cur.start && strchr(" \t\n", t->ptr[t->len - 1]))
        t->len--;
    /* Code keeps the indentation of its first line; everything else starts at its first character. */
    const char *space = w->cur.kind == BLOCK_CODE ? "\n" : " \t\n";
    while (w->cur.start < t->len && strchr(space, t->ptr[w->cur.start]))
        w->cur.start++;
    if (t->len == w->cur.start) {
        t->len = w->rollback;
        return;
    }
    w->cur.end = (uint32_t)t->len;
    buf_add(&w->doc->blocks, &w->cur, sizeof w->cur);
    w->last_kind = w->cur.kind;
    check(w);
}

void docw_block(struct doc_writer *w, enum block_kind kind, unsigned level, struct str s)
{
    docw_begin(w, kind, level);
    if (kind == BLOCK_HEADING)
        docw_line(w, s);
    else
        docw_text(w, s);
    docw_end(w);
}

void docw_label(struct doc_writer *w, struct str s, uint32_t *off, uint32_t *len)
{
    *off = *len = 0;
    if (w->rc)
        return;
    size_t start = w->doc->labels.len;
    text_squeeze(&w->doc->labels, s);
    check(w);
    if (w->rc || w->doc->labels.len == start)
        return;
    *off = (uint32_t)start;
    *len = (uint32_t)(w->doc->labels.len - start);
}

void docw_title(struct doc_writer *w, struct str s)
{
    enum { TITLE_MAX = 512 };
    if (w->rc || w->doc->title.len)
        return;
    struct buf *t = &w->doc->title;
    text_squeeze(t, s);
    if (t->len > TITLE_MAX) {
        t->len = TITLE_MAX;
        while (t->len && ((unsigned char)t->ptr[t->len] & 0xC0) == 0x80)
            t->len--;
    }
    check(w);
}
