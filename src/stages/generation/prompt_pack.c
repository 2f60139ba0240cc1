/* Which hits become passages: in order of rank, each at most once, as long as the budget lasts. The best one is always in.
 * A passage that does not fit ends at a sentence, if a third of it is left then; else a later, shorter one may fit. Only the
 * best may end inside a sentence: one that fills half of its room. */
#include "stages/generation/prompt_int.h"

#include <stdio.h>

#include "llm/catalogue.h"
#include "text/utf8.h"

enum {
    HITS_AT_MOST = 64, /* looked at */
    MARKS_TOKENS = 10, /* "<doc 0a1b2c3d>\n[12] \n\n</doc 0a1b2c3d>\n": 38 bytes */
    WORTH_TOKENS = 16, /* of budget left: with less it is full */
    SHORT_CHARS = 64,  /* a text as short as that means nothing without its heading */
    HEADINGS = 3,      /* innermost ones in the header */
    HEADING_TOKENS = 16,
    HEADING_BYTES = 256, /* read of one */
};

/* ---- the header ---- */

static bool is_columns(struct str heading)
{
    return memmem(heading.ptr, heading.len, " | ", 3) != NULL;
}

static struct str heading_line(struct str s, struct arena *a)
{
    s.len = utf8_floor(s, s.len < HEADING_BYTES ? s.len : HEADING_BYTES);
    struct str line = prompt_clean(s, CLEAN_LINE, a);
    size_t fits = line.ptr ? prompt_fit(line, HEADING_TOKENS) : 0;
    if (fits == line.len)
        return line;
    fits = prompt_fit(line, HEADING_TOKENS - 1);
    char *cut = arena_alloc(a, fits + PROMPT_ELLIPSIS.len);
    if (!cut)
        return (struct str){0};
    memcpy(cut, line.ptr, fits);
    memcpy(cut + fits, PROMPT_ELLIPSIS.ptr, PROMPT_ELLIPSIS.len);
    return str_make(cut, fits + PROMPT_ELLIPSIS.len);
}

static struct str next_heading(struct str *path)
{
    const char *sep = path->len ? memchr(path->ptr, '\x1f', path->len) : NULL;
    struct str e = str_make(path->ptr, sep ? (size_t)(sep - path->ptr) : path->len);
    size_t skip = e.len + (sep != NULL);
    *path = str_make(skip ? path->ptr + skip : path->ptr, path->len - skip);
    return e;
}

/* Title and innermost headings; the columns of a table's later part apart. */
static uint32_t collect_headings(const struct chunk_view *v, struct str out[HEADINGS + 1],
                                 struct str *columns)
{
    uint32_t n = v->title.len > 0;
    out[0] = v->title;
    *columns = (struct str){0};
    for (struct str path = v->heading_path; path.len;) {
        struct str e = next_heading(&path);
        if (e.len == 0 || (n && str_eq(e, out[n - 1])) || str_eq(e, v->title))
            continue;
        if (path.len == 0 && is_columns(e)) {
            *columns = e;
            break;
        }
        if (n == HEADINGS + 1) {
            memmove(out + 1, out + 2, (HEADINGS - 1) * sizeof *out);
            n--;
        } else if (v->title.len == 0 && n == HEADINGS) {
            memmove(out, out + 1, (HEADINGS - 1) * sizeof *out);
            n--;
        }
        out[n++] = e;
    }
    return n;
}

static rag_code make_header(struct packed *it, struct arena *a, struct str *columns)
{
    static const struct str then = {" > ", 3};
    struct str parts[HEADINGS + 1];
    uint32_t n = collect_headings(&it->view, parts, columns);
    size_t len = 0;
    for (uint32_t i = 0; i < n; i++) {
        parts[i] = heading_line(parts[i], a);
        if (!parts[i].ptr)
            return RAG_ENOMEM;
        len += parts[i].len + then.len;
    }
    char page[24] = "";
    if (it->view.page)
        len += (size_t)snprintf(page, sizeof page, ", page %u", it->view.page);
    char *out = arena_alloc(a, len), *at = out;
    if (!out)
        return RAG_ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        if (parts[i].len == 0)
            continue;
        if (at > out)
            at = mempcpy(at, then.ptr, then.len);
        at = mempcpy(at, parts[i].ptr, parts[i].len);
    }
    if (at > out)
        at = mempcpy(at, page, strlen(page));
    it->header = str_make(out, (size_t)(at - out));
    return RAG_OK;
}

/* ---- the text ---- */

/* Bytes at the start of `it` that the passage before it ends with: chunks that follow one another in a document overlap. */
static size_t repeated_start(const struct pack *p, const struct packed *it)
{
    const struct packed *before = p->n ? &p->items[p->n - 1] : NULL;
    const struct chunk_view *v = &it->view;
    if (!before || before->cut || before->view.seq != v->seq || before->view.ordinal + 1 != v->ordinal ||
        before->view.end <= v->start || !str_eq(before->view.document_id, v->document_id))
        return 0;
    size_t n = 0;
    for (uint32_t chars = before->view.end - v->start; chars && n < it->raw.len; chars--)
        utf8_next(it->raw, &n);
    return n < it->raw.len && before->raw.len >= n &&
                   memcmp(before->raw.ptr + before->raw.len - n, it->raw.ptr, n) == 0
               ? n
               : 0;
}

/* The columns go above rows that do not name them. */
static rag_code put_columns(struct packed *it, struct str columns, struct arena *a)
{
    const char *nl = it->text.len ? memchr(it->text.ptr, '\n', it->text.len) : NULL;
    struct str first = str_make(it->text.ptr, nl ? (size_t)(nl - it->text.ptr) : it->text.len);
    if (columns.len == 0 || !is_columns(first))
        return RAG_OK;
    columns = heading_line(columns, a);
    char *out = columns.ptr ? arena_alloc(a, columns.len + 1 + it->text.len) : NULL;
    if (!out)
        return RAG_ENOMEM;
    memcpy(out, columns.ptr, columns.len);
    out[columns.len] = '\n';
    memcpy(out + columns.len + 1, it->text.ptr, it->text.len);
    it->text = str_make(out, columns.len + 1 + it->text.len);
    return RAG_OK;
}

static uint32_t header_tokens(const struct packed *it)
{
    return MARKS_TOKENS + llm_count_tokens(it->header);
}

static rag_code load(struct pack *p, uint32_t hit, struct packed *it)
{
    const struct chunk_ref *ref = &p->h->items[hit].ref;
    const struct segment *s = p->h->list->e[ref->entry].segment;
    struct str columns;
    *it = (struct packed){.hit = hit};
    segment_chunk(s, ref->chunk, &it->view);
    it->raw = segment_chunk_text(s, ref->chunk, p->a);
    if (it->view.text_json.len && !it->raw.len)
        return RAG_ENOMEM;
    size_t skip = repeated_start(p, it);
    it->text = prompt_clean(str_make(it->raw.len ? it->raw.ptr + skip : "", it->raw.len - skip),
                            CLEAN_PASSAGE, p->a);
    it->print = arena_alloc(p->a, sizeof *it->print);
    if (!it->text.ptr || !it->print)
        return RAG_ENOMEM;
    if (it->text.len == 0)
        return RAG_OK;
    rag_code rc = make_header(it, p->a, &columns);
    if (!rc)
        rc = put_columns(it, columns, p->a);
    if (!rc)
        rc = prompt_print(it->text, p->a, it->print);
    return rc;
}

/* ---- choosing ---- */

static enum prompt_same compare(const struct pack *p, const struct packed *old, const struct packed *new)
{
    bool little = old->print->n_chars < SHORT_CHARS || new->print->n_chars < SHORT_CHARS;
    if ((little || p->careful) && !str_eq(old->header, new->header))
        return SAME_NOT;
    return prompt_same(old->print, new->print);
}

/* Is there a passage that says the same? One that says less gives its place to `it`, if that fits. */
static bool is_there(struct pack *p, struct packed *it)
{
    for (uint32_t i = 0; i < p->n; i++) {
        struct packed *old = &p->items[i];
        enum prompt_same same = compare(p, old, it);
        if (same == SAME_NOT)
            continue;
        uint64_t all = (uint64_t)header_tokens(it) + llm_count_tokens(it->text);
        if (same == SAME_CONTAINS && p->used - old->tokens + all > p->budget)
            continue;
        if (same == SAME_CONTAINS) {
            it->tokens = (uint32_t)all;
            p->used = p->used - old->tokens + it->tokens;
            *old = *it;
        }
        p->n_duplicates++;
        return true;
    }
    return false;
}

static rag_code cut_text(struct pack *p, struct packed *it, size_t len)
{
    char *out = arena_alloc(p->a, len + PROMPT_ELLIPSIS.len);
    if (!out)
        return RAG_ENOMEM;
    memcpy(out, it->text.ptr, len);
    memcpy(out + len, PROMPT_ELLIPSIS.ptr, PROMPT_ELLIPSIS.len);
    it->text = str_make(out, len + PROMPT_ELLIPSIS.len);
    it->cut = true;
    return prompt_print(it->text, p->a, it->print);
}

static rag_code add(struct pack *p, struct packed *it)
{
    uint32_t left = p->budget - p->used, head = header_tokens(it);
    if (left <= head)
        return RAG_OK;
    if (llm_count_tokens(it->text) > left - head) {
        uint32_t room = left - head - 1; /* of the ellipsis */
        size_t most = prompt_fit(it->text, room), len = prompt_fit_sentences(it->text, room);
        if (p->n > 0 && len < (it->text.len + 2) / 3)
            return RAG_OK;
        rag_code rc = cut_text(p, it, p->n > 0 || len >= most / 2 ? len : most);
        if (rc)
            return rc;
    }
    it->tokens = head + llm_count_tokens(it->text);
    p->used += it->tokens;
    p->items[p->n++] = *it;
    return RAG_OK;
}

rag_code prompt_pack(struct pack *p)
{
    uint32_t n = p->h->n < HITS_AT_MOST ? p->h->n : HITS_AT_MOST;
    for (uint32_t i = 0; i < n && p->n < p->most && p->budget - p->used > MARKS_TOKENS + WORTH_TOKENS; i++) {
        struct packed it;
        rag_code rc = load(p, i, &it);
        if (!rc && it.text.len && !is_there(p, &it))
            rc = add(p, &it);
        if (rc)
            return rc;
    }
    return p->n ? RAG_OK : RAG_ENOTFOUND;
}
