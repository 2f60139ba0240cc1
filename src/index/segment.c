/* Opening, checking and reading segments. Invariant: once segment_check passed, no accessor can leave the
 * mapped bytes, whatever they hold; the checksum finds damage, the offset checks make hostile files safe. */
#include "index/segment_int.h"

#include <stdio.h>
#include <sys/mman.h>

#include "base/hash.h"
#include "wire/json_out.h"

uint64_t segment_checksum(const char *base, size_t len)
{
    struct seg_header h;
    memcpy(&h, base, sizeof h);
    h.checksum = 0;
    uint64_t head = hash_bytes(&h, sizeof h, 0);
    return hash_bytes(base + sizeof h, len - sizeof h, head);
}

static bool span_ok(struct seg_span sp, uint64_t limit)
{
    return (uint64_t)sp.off + sp.len <= limit;
}

/* Points the section members into the bytes; every section's place and size is checked here. */
static bool sections_ok(struct segment *s)
{
    const struct seg_header *h = s->h;
    for (int i = 0; i < SEC_COUNT; i++)
        if (h->sec[i].off % 8 || h->sec[i].off < sizeof *h || h->sec[i].off > s->len ||
            h->sec[i].len > s->len - h->sec[i].off)
            return false;
#define SEC(i)             (s->base + h->sec[i].off)
#define SEC_IS(i, n, size) (h->sec[i].len == (uint64_t)(n) * (size))
    s->strings = SEC(SEC_STRINGS);
    s->text = SEC(SEC_TEXT);
    s->term_bytes = SEC(SEC_TERM_BYTES);
    s->docs = (const void *)SEC(SEC_DOCS);
    s->seqs = (const void *)SEC(SEC_DOC_SEQS);
    s->chunks = (const void *)SEC(SEC_CHUNKS);
    s->lengths = (const void *)SEC(SEC_LENGTHS);
    s->terms = (const void *)SEC(SEC_TERMS);
    s->term_slots = (const void *)SEC(SEC_TERM_SLOTS);
    s->post_chunks = (const void *)SEC(SEC_POST_CHUNKS);
    s->post_tfs = (const void *)SEC(SEC_POST_TFS);
    s->fields = (const void *)SEC(SEC_FIELDS);
    s->values = (const void *)SEC(SEC_VALUES);
    s->value_docs = (const void *)SEC(SEC_VALUE_DOCS);
    uint64_t n_slots = h->sec[SEC_TERM_SLOTS].len / 4;
    s->term_mask = (uint32_t)n_slots - 1;
    s->n_fields = (uint32_t)(h->sec[SEC_FIELDS].len / sizeof(struct seg_field));
    return SEC_IS(SEC_DOCS, h->n_docs, sizeof(struct seg_doc)) &&
           SEC_IS(SEC_DOC_SEQS, h->n_docs, sizeof(struct seg_seq)) &&
           SEC_IS(SEC_CHUNKS, h->n_chunks, sizeof(struct seg_chunk)) && SEC_IS(SEC_LENGTHS, h->n_chunks, 2) &&
           SEC_IS(SEC_TERMS, h->n_terms, sizeof(struct seg_term)) &&
           SEC_IS(SEC_POST_CHUNKS, h->n_postings, 4) && SEC_IS(SEC_POST_TFS, h->n_postings, 1) &&
           h->sec[SEC_TERM_SLOTS].len % 4 == 0 && n_slots > h->n_terms && n_slots <= UINT32_MAX &&
           (n_slots & (n_slots - 1)) == 0 && h->sec[SEC_FIELDS].len % sizeof(struct seg_field) == 0 &&
           h->sec[SEC_VALUES].len % sizeof(struct seg_value) == 0 && h->sec[SEC_VALUE_DOCS].len % 4 == 0;
#undef SEC
#undef SEC_IS
}

static bool docs_and_chunks_ok(const struct segment *s)
{
    const struct seg_header *h = s->h;
    uint64_t strings = h->sec[SEC_STRINGS].len, text = h->sec[SEC_TEXT].len;
    uint32_t next = 0;
    for (uint32_t i = 0; i < h->n_docs; i++) {
        const struct seg_doc *d = &s->docs[i];
        if (!span_ok(d->id, strings) || !span_ok(d->title, strings) || !span_ok(d->source, strings) ||
            !span_ok(d->metadata, strings) || d->first_chunk != next || d->n_chunks > h->n_chunks - next)
            return false;
        for (uint32_t c = next; c < next + d->n_chunks; c++)
            if (s->chunks[c].doc != i)
                return false;
        next += d->n_chunks;
        if (s->seqs[i].doc >= h->n_docs || (i && s->seqs[i].seq <= s->seqs[i - 1].seq))
            return false;
    }
    if (next != h->n_chunks)
        return false;
    for (uint32_t i = 0; i < h->n_chunks; i++)
        if (!span_ok(s->chunks[i].heading, strings) || !span_ok(s->chunks[i].text, text) ||
            s->chunks[i].start > s->chunks[i].end)
            return false;
    return true;
}

static bool terms_ok(const struct segment *s)
{
    const struct seg_header *h = s->h;
    uint32_t next = 0, free_slots = 0;
    for (uint32_t t = 0; t < h->n_terms; t++) {
        const struct seg_term *e = &s->terms[t];
        if (!span_ok(e->bytes, h->sec[SEC_TERM_BYTES].len) || e->first != next ||
            e->df > h->n_postings - next)
            return false;
        for (uint32_t i = next; i < next + e->df; i++)
            if (s->post_chunks[i] >= h->n_chunks || (i > next && s->post_chunks[i] <= s->post_chunks[i - 1]))
                return false;
        next += e->df;
    }
    for (uint32_t i = 0; i <= s->term_mask; i++) {
        free_slots += s->term_slots[i] == 0;
        if (s->term_slots[i] > h->n_terms)
            return false;
    }
    return next == h->n_postings && free_slots > 0; /* a free slot ends every probe */
}

static bool fields_ok(const struct segment *s)
{
    const struct seg_header *h = s->h;
    uint64_t strings = h->sec[SEC_STRINGS].len, n_values = h->sec[SEC_VALUES].len / sizeof(struct seg_value);
    uint64_t n_docs = h->sec[SEC_VALUE_DOCS].len / 4;
    for (uint32_t i = 0; i < s->n_fields; i++)
        if (!span_ok(s->fields[i].name, strings) ||
            (uint64_t)s->fields[i].first_value + s->fields[i].n_values > n_values)
            return false;
    for (uint64_t i = 0; i < n_values; i++)
        if (!span_ok(s->values[i].string, strings) || s->values[i].type > VALUE_STRING ||
            (uint64_t)s->values[i].first_doc + s->values[i].n_docs > n_docs)
            return false;
    for (uint64_t i = 0; i < n_docs; i++)
        if (s->value_docs[i] >= h->n_docs)
            return false;
    return true;
}

static rag_code segment_check(struct segment *s, uint64_t fingerprint, const char *name, struct rag_err *err)
{
    const struct seg_header *h = s->h;
    if (s->len < sizeof *h || memcmp(h->magic, SEGMENT_MAGIC, 8) != 0)
        return rag_err_set(err, RAG_ECORRUPT, "segment %s: not a segment file", name);
    if (h->version > SEGMENT_VERSION)
        return rag_err_set(err, RAG_EVERSION, "segment %s: format %u is newer than this ragd reads (%d)",
                           name, h->version, SEGMENT_VERSION);
    if (h->version && h->version < SEGMENT_VERSION)
        return rag_err_set(err, RAG_ECONFLICT, "segment %s: format %u is older than this ragd writes (%d)",
                           name, h->version, SEGMENT_VERSION);
    if (h->version != SEGMENT_VERSION || h->header_bytes != sizeof *h || h->file_bytes != s->len)
        return rag_err_set(err, RAG_ECORRUPT, "segment %s: truncated or damaged header", name);
    if (h->checksum != segment_checksum(s->base, s->len))
        return rag_err_set(err, RAG_ECORRUPT, "segment %s: checksum does not match", name);
    if (!sections_ok(s) || !docs_and_chunks_ok(s) || !terms_ok(s) || !fields_ok(s))
        return rag_err_set(err, RAG_ECORRUPT, "segment %s: offsets out of range", name);
    if (fingerprint != h->analyzer)
        return rag_err_set(err, RAG_ECONFLICT, "segment %s: built with other text rules", name);
    return RAG_OK;
}

static struct segment *segment_alloc(const char *base, size_t len)
{
    struct segment *s = mem_zalloc(MEM_INDEX, sizeof *s);
    if (s) {
        atomic_init(&s->refs, 1);
        s->base = base;
        s->len = len;
        s->h = (const void *)base;
    }
    return s;
}

rag_code segment_open(const char *path, uint64_t fingerprint, struct segment **out, struct rag_err *err)
{
    struct file_map map = {0};
    rag_code rc = file_map_open(&map, path);
    if (rc)
        return rag_err_set(err, rc, "segment %s: cannot map", path);
    struct segment *s = segment_alloc(map.ptr, map.len);
    if (!s) {
        file_map_clear(&map);
        return rag_err_set(err, RAG_ENOMEM, "segment %s: out of memory", path);
    }
    s->map = map;
    rc = segment_check(s, fingerprint, path, err);
    if (rc) {
        segment_unref(s);
        return rc;
    }
    /* The check touched every page; let them be counted again only as queries use them. */
    madvise((void *)(uintptr_t)map.ptr, map.len, MADV_DONTNEED);
    *out = s;
    return RAG_OK;
}

rag_code segment_adopt(char *owned, size_t len, bool trusted, struct segment **out, struct rag_err *err)
{
    struct segment *s = segment_alloc(owned, len);
    if (!s) {
        mem_free(MEM_INDEX, owned);
        return RAG_ENOMEM;
    }
    s->owned = owned;
    rag_code rc = RAG_OK;
    if (trusted)
        RAG_ASSERT(sections_ok(s));
    else
        rc = segment_check(s, len >= sizeof *s->h ? s->h->analyzer : 0, "(memory)", err);
    if (rc) {
        segment_unref(s);
        return rc;
    }
    *out = s;
    return RAG_OK;
}

rag_code segment_open_bytes(struct str bytes, uint64_t fingerprint, struct segment **out, struct rag_err *err)
{
    char *copy = mem_strndup(MEM_INDEX, bytes.ptr, bytes.len);
    if (!copy)
        return RAG_ENOMEM;
    struct segment *s;
    rag_code rc = segment_adopt(copy, bytes.len, false, &s, err);
    if (rc)
        return rc;
    if (s->h->analyzer != fingerprint) {
        segment_unref(s);
        return rag_err_set(err, RAG_ECONFLICT, "segment: built with other text rules");
    }
    *out = s;
    return RAG_OK;
}

rag_code segment_write(const struct segment *s, const char *dir, const char *name, struct segment **out,
                       struct rag_err *err)
{
    rag_code rc = file_write_atomic(dir, name, s->base, s->len, err);
    if (rc)
        return rc;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return segment_open(path, s->h->analyzer, out, err);
}

struct segment *segment_ref(struct segment *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void segment_unref(struct segment *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    file_map_clear(&s->map);
    mem_free(MEM_INDEX, s->owned);
    mem_free(MEM_INDEX, s);
}

uint32_t segment_n_chunks(const struct segment *s)
{
    return s->h->n_chunks;
}

uint32_t segment_n_docs(const struct segment *s)
{
    return s->h->n_docs;
}

size_t segment_bytes(const struct segment *s)
{
    return s->len;
}

void segment_chunk(const struct segment *s, uint32_t chunk, struct chunk_view *out)
{
    const struct seg_chunk *c = &s->chunks[chunk];
    const struct seg_doc *d = &s->docs[c->doc];
    *out = (struct chunk_view){
        .document_id = seg_str(s, d->id),
        .title = seg_str(s, d->title),
        .source = seg_str(s, d->source),
        .metadata_json = seg_str(s, d->metadata),
        .heading_path = seg_str(s, c->heading),
        .text_json = str_make(s->text + c->text.off, c->text.len),
        .version = d->version,
        .ordinal = c->ordinal,
        .start = c->start,
        .end = c->end,
        .page = c->page,
        .seq = d->seq,
        .updated_ms = d->updated_ms,
    };
}

struct str segment_chunk_text(const struct segment *s, uint32_t chunk, struct arena *a)
{
    struct str esc = str_make(s->text + s->chunks[chunk].text.off, s->chunks[chunk].text.len);
    char *out = arena_alloc(a, esc.len + 1);
    if (!out)
        return (struct str){0};
    return str_make(out, json_unescape(esc, out));
}

uint32_t segment_find_term(const struct segment *s, struct str term)
{
    for (uint32_t i = (uint32_t)hash_bytes(term.ptr, term.len, s->h->hash_seed) & s->term_mask;
         s->term_slots[i]; i = (i + 1) & s->term_mask)
        if (str_eq(seg_term_str(s, s->term_slots[i] - 1), term))
            return s->term_slots[i] - 1;
    return UINT32_MAX;
}

uint32_t segment_find_seq(const struct segment *s, int64_t seq)
{
    uint32_t lo = 0, hi = s->h->n_docs;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (s->seqs[mid].seq < seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < s->h->n_docs && s->seqs[lo].seq == seq ? s->seqs[lo].doc : UINT32_MAX;
}
