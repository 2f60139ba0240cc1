#include "stages/generation/units.h"

#include "text/sentence.h"

enum { MAX_UNITS_PER_CHUNK = 64, MAX_TERMS = 64 };

float units_mass(const struct hits *h, uint64_t set)
{
    float m = 0;
    for (uint32_t i = 0; i < h->n_terms && i < MAX_TERMS; i++)
        if (set >> i & 1)
            m += h->terms[i].impact;
    return m;
}

static uint64_t bit_of(const struct hits *h, struct str term)
{
    for (uint32_t i = 0; i < h->n_terms && i < MAX_TERMS; i++)
        if (str_eq(h->terms[i].text, term))
            return (uint64_t)1 << i;
    return 0;
}

/* Question terms anywhere in `text`. */
static rag_code terms_in(const struct analyzer *an, const struct hits *h, struct str text, struct term_list *l, uint64_t *out)
{
    rag_code rc = analyzer_run(an, text, ANALYZE_DOCUMENT, l);
    for (uint32_t i = 0; !rc && i < l->n; i++)
        *out |= bit_of(h, term_text(l, i));
    return rc;
}

/* A record is lines of `column: value`; every line must look so. */
static bool is_record(struct str text)
{
    size_t lines = 0;
    while (text.len) {
        const char *nl = memchr(text.ptr, '\n', text.len);
        struct str line = str_make(text.ptr, nl ? (size_t)(nl - text.ptr) : text.len);
        const char *colon = line.len > 2 ? memchr(line.ptr, ':', line.len) : NULL;
        if (!colon || colon == line.ptr || colon - line.ptr > 60 || colon + 1 >= line.ptr + line.len || colon[1] != ' ')
            return false;
        lines++;
        size_t skip = line.len + (nl != NULL);
        text = str_make(text.ptr + skip, text.len - skip);
    }
    return lines > 0;
}

static size_t line_len(struct str s)
{
    const char *nl = memchr(s.ptr, '\n', s.len);
    return nl ? (size_t)(nl - s.ptr) + 1 : s.len;
}

static void cut(struct str text, uint32_t hit, bool record, struct units *u)
{
    size_t at = 0;
    for (uint32_t k = 0; at < text.len && k < MAX_UNITS_PER_CHUNK; k++) {
        struct str rest = str_make(text.ptr + at, text.len - at);
        size_t n = record ? line_len(rest) : sentence_len(rest);
        struct str t = str_trim(str_make(rest.ptr, n));
        at += n;
        if (t.len == 0)
            continue;
        u->items[u->n++] = (struct unit){.hit = hit,
                                         .start = (uint32_t)(t.ptr - text.ptr),
                                         .end = (uint32_t)(t.ptr - text.ptr + (ptrdiff_t)t.len),
                                         .text = t,
                                         .field = record};
    }
}

/* Marks the terms of one chunk's units: the analyser runs once over the chunk. */
static rag_code mark(const struct analyzer *an, const struct hits *h, struct units *u, uint32_t first, struct str text,
                     struct term_list *l)
{
    rag_code rc = analyzer_run(an, text, ANALYZE_DOCUMENT, l);
    uint32_t k = first;
    uint64_t all = 0;
    for (uint32_t i = 0; !rc && i < l->n; i++) {
        const struct term *t = &l->items[i];
        while (k < u->n && u->items[k].end <= t->start)
            k++;
        if (k == u->n || t->start < u->items[k].start)
            continue;
        uint64_t bit = bit_of(h, term_text(l, i));
        u->items[k].terms |= bit;
        u->items[k].n_words += t->kind == TERM_WORD || t->kind == TERM_CHAR || t->kind == TERM_WHOLE;
        all |= bit;
    }
    for (k = first; k < u->n; k++) {
        struct unit *x = &u->items[k];
        if (x->field)
            x->context |= all & ~x->terms; /* the row's other fields say what the value is about */
        for (size_t i = 0; i < x->text.len; i++)
            x->has_number |= x->text.ptr[i] >= '0' && x->text.ptr[i] <= '9';
    }
    return rc;
}

static rag_code collect_chunk(const struct analyzer *an, const struct hits *h, uint32_t hit, struct arena *a,
                              struct term_list *l, struct units *u)
{
    const struct segment *s = h->list->e[h->items[hit].ref.entry].segment;
    struct chunk_view v;
    uint64_t context = 0;
    segment_chunk(s, h->items[hit].ref.chunk, &v);
    struct str text = segment_chunk_text(s, h->items[hit].ref.chunk, a);
    u->chunk_text[hit] = text;
    uint32_t first = u->n;
    cut(text, hit, is_record(text), u);
    rag_code rc = terms_in(an, h, v.title, l, &context);
    if (!rc)
        rc = terms_in(an, h, v.heading_path, l, &context);
    if (!rc)
        rc = mark(an, h, u, first, text, l);
    for (uint32_t k = first; k < u->n; k++)
        u->items[k].context |= context & ~u->items[k].terms;
    return rc;
}

rag_code units_collect(const struct analyzer *an, const struct hits *h, uint32_t n_hits, struct arena *a, struct units *out)
{
    struct term_list l;
    *out = (struct units){.n_hits = n_hits < h->n ? n_hits : h->n};
    out->items = arena_array(a, (size_t)out->n_hits * MAX_UNITS_PER_CHUNK + 1, sizeof *out->items);
    out->chunk_text = arena_array(a, out->n_hits + 1, sizeof *out->chunk_text);
    if (!out->items || !out->chunk_text)
        return RAG_ENOMEM;
    term_list_init(&l);
    rag_code rc = RAG_OK;
    for (uint32_t i = 0; i < out->n_hits && !rc; i++)
        rc = collect_chunk(an, h, i, a, &l, out);
    term_list_clear(&l);
    return rc;
}
