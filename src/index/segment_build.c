/* Building a segment: from documents as they arrive, or from the live chunks of other segments.
 *
 * Postings are collected as (term, chunk, frequency) triples. Documents give them chunk by chunk, merges term
 * by term, both with chunk numbers that never decrease within a term; so one counting sort by term at the end
 * leaves each term's postings in chunk order. */
#include <jansson.h>
#include <stdlib.h>

#include "base/bitmap.h"
#include "base/hash.h"
#include "index/segment_int.h"
#include "sys/random.h"
#include "wire/json_out.h"

struct triple {
    uint32_t term, chunk;
    uint32_t tf;
};
struct field_value { /* one value of one document */
    uint32_t field;
    uint32_t type;
    double number;
    struct seg_span string;
    uint32_t doc;
};
struct segment_builder {
    uint64_t analyzer, hash_seed;
    struct strset strings; /* ids, titles, headings ...: equal ones are stored once */
    struct strset terms, field_names;
    struct buf docs, chunks, lengths, text, triples, values;
    struct buf last_seen; /* uint32_t[2] per term: chunk + 1 where last seen, index of its triple */
    uint32_t n_docs, n_chunks;
    uint64_t total_length;
};

rag_code segment_builder_new(uint64_t fingerprint, struct segment_builder **out)
{
    struct segment_builder *b = mem_zalloc(MEM_INDEX, sizeof *b);
    if (!b)
        return RAG_ENOMEM;
    b->analyzer = fingerprint;
    random_bytes(&b->hash_seed, sizeof b->hash_seed);
    strset_init(&b->strings, MEM_INDEX, b->hash_seed);
    strset_init(&b->terms, MEM_INDEX, b->hash_seed);
    strset_init(&b->field_names, MEM_INDEX, b->hash_seed);
    struct buf *bufs[] = {&b->docs,    &b->chunks, &b->lengths,  &b->text,
                          &b->triples, &b->values, &b->last_seen};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_init(bufs[i], MEM_INDEX);
    *out = b;
    return RAG_OK;
}

static void builder_empty(struct segment_builder *b)
{
    strset_clear(&b->strings);
    strset_clear(&b->terms);
    strset_clear(&b->field_names);
    buf_clear(&b->docs);
    buf_clear(&b->chunks);
    buf_clear(&b->lengths);
    buf_clear(&b->text);
    buf_clear(&b->triples);
    buf_clear(&b->values);
    buf_clear(&b->last_seen);
    b->n_docs = b->n_chunks = 0;
    b->total_length = 0;
}

void segment_builder_free(struct segment_builder *b)
{
    if (!b)
        return;
    builder_empty(b);
    mem_free(MEM_INDEX, b);
}

static rag_code intern(struct segment_builder *b, struct str s, struct seg_span *out)
{
    uint32_t id;
    rag_code rc = strset_add(&b->strings, s, &id);
    if (!rc)
        *out = (struct seg_span){b->strings.off[id], (uint32_t)s.len};
    return rc;
}

/* ---- metadata values ---------------------------------------------------------------------------------- */

static rag_code add_value(struct segment_builder *b, uint32_t field, const json_t *j)
{
    struct field_value v = {.field = field, .doc = b->n_docs};
    if (json_is_string(j)) {
        v.type = VALUE_STRING;
        rag_code rc = intern(b, str_make(json_string_value(j), json_string_length(j)), &v.string);
        if (rc)
            return rc;
    } else if (json_is_number(j)) {
        v.type = VALUE_NUMBER;
        v.number = json_number_value(j);
    } else if (json_is_boolean(j)) {
        v.type = VALUE_BOOL;
        v.number = json_is_true(j);
    } else {
        return RAG_OK; /* null and nested objects are kept in the JSON but are no filter values */
    }
    BUF_ADD_VALUE(&b->values, v);
    return buf_failed(&b->values) ? RAG_ENOMEM : RAG_OK;
}

static rag_code add_metadata(struct segment_builder *b, json_t *root)
{
    rag_code rc = RAG_OK;
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        uint32_t field;
        rc = strset_add(&b->field_names, str_of(key), &field);
        if (!rc && json_is_array(value)) {
            size_t i;
            json_t *item;
            json_array_foreach(value, i, item)
            {
                if (!rc)
                    rc = add_value(b, field, item);
            }
        } else if (!rc) {
            rc = add_value(b, field, value);
        }
        if (rc)
            break;
    }
    return rc;
}

/* ---- documents and chunks ----------------------------------------------------------------------------- */

rag_code segment_builder_doc(struct segment_builder *b, const struct segment_doc_in *in)
{
    struct seg_doc d = {
        .version = in->version, .first_chunk = b->n_chunks, .seq = in->seq, .updated_ms = in->updated_ms};
    json_t *metadata = NULL;
    if (in->metadata_json.len > 2) { /* first of all: bad metadata leaves the builder as it was */
        metadata = json_loadb(in->metadata_json.ptr, in->metadata_json.len, JSON_ALLOW_NUL, NULL);
        if (!json_is_object(metadata)) {
            json_decref(metadata);
            return RAG_EFORMAT;
        }
    }
    rag_code rc = intern(b, in->id, &d.id);
    if (!rc)
        rc = intern(b, in->title, &d.title);
    if (!rc)
        rc = intern(b, in->source, &d.source);
    if (!rc)
        rc = intern(b, in->metadata_json, &d.metadata);
    if (!rc && metadata)
        rc = add_metadata(b, metadata);
    json_decref(metadata);
    if (rc)
        return rc;
    BUF_ADD_VALUE(&b->docs, d);
    if (buf_failed(&b->docs))
        return RAG_ENOMEM;
    b->n_docs++;
    return RAG_OK;
}

/* `c` names its ordinal, span and page; the rest is filled in. */
static rag_code add_chunk_record(struct segment_builder *b, struct seg_chunk c, struct str heading,
                                 uint64_t text_off, uint32_t length)
{
    c.doc = b->n_docs - 1;
    uint16_t len16 = (uint16_t)(length > UINT16_MAX ? UINT16_MAX : length);
    if (b->text.len > UINT32_MAX)
        return RAG_ETOOBIG;
    c.text = (struct seg_span){(uint32_t)text_off, (uint32_t)(b->text.len - text_off)};
    rag_code rc = intern(b, heading, &c.heading);
    if (rc)
        return rc;
    BUF_ADD_VALUE(&b->chunks, c);
    BUF_ADD_VALUE(&b->lengths, len16);
    if (buf_failed(&b->chunks) || buf_failed(&b->lengths) || buf_failed(&b->text))
        return RAG_ENOMEM;
    ((struct seg_doc *)(void *)b->docs.ptr)[b->n_docs - 1].n_chunks++;
    b->n_chunks++;
    b->total_length += len16;
    return RAG_OK;
}

static rag_code add_triple(struct segment_builder *b, uint32_t term, uint32_t chunk, uint32_t tf)
{
    struct triple t = {term, chunk, tf};
    BUF_ADD_VALUE(&b->triples, t);
    return buf_failed(&b->triples) ? RAG_ENOMEM : RAG_OK;
}

/* Counts a term once more in the current chunk. */
static rag_code count_term(struct segment_builder *b, struct str text)
{
    uint32_t term;
    rag_code rc = strset_add(&b->terms, text, &term);
    if (rc)
        return rc;
    if (b->last_seen.len <= term * sizeof(uint32_t[2])) {
        uint32_t none[2] = {0, 0};
        BUF_ADD_VALUE(&b->last_seen, none);
        if (buf_failed(&b->last_seen))
            return RAG_ENOMEM;
    }
    uint32_t *seen = (uint32_t *)(void *)b->last_seen.ptr + (size_t)term * 2;
    if (seen[0] == b->n_chunks + 1) {
        ((struct triple *)(void *)b->triples.ptr)[seen[1]].tf++;
        return RAG_OK;
    }
    seen[0] = b->n_chunks + 1;
    seen[1] = (uint32_t)(b->triples.len / sizeof(struct triple));
    return add_triple(b, term, b->n_chunks, 1);
}

rag_code segment_builder_chunk(struct segment_builder *b, const struct segment_chunk_in *in)
{
    RAG_ASSERT(b->n_docs);
    for (uint32_t i = 0; i < in->terms->n; i++) {
        rag_code rc = count_term(b, term_text(in->terms, i));
        if (rc)
            return rc;
    }
    uint64_t off = b->text.len;
    json_escape(&b->text, in->text);
    uint32_t ordinal = ((struct seg_doc *)(void *)b->docs.ptr)[b->n_docs - 1].n_chunks;
    struct seg_chunk c = {.ordinal = ordinal, .start = in->start, .end = in->end, .page = in->page};
    return add_chunk_record(b, c, in->heading_path, off, in->length);
}

/* ---- merging ------------------------------------------------------------------------------------------ */

static rag_code merge_docs(struct segment_builder *b, const struct segment *s, const uint64_t *live,
                           uint32_t *new_chunk)
{
    for (uint32_t d = 0; d < s->h->n_docs; d++) {
        const struct seg_doc *sd = &s->docs[d];
        bool alive = sd->n_chunks && (!live || bitmap_get(live, sd->first_chunk));
        if (!alive) { /* a document lives or dies whole */
            for (uint32_t i = 0; i < sd->n_chunks; i++)
                new_chunk[sd->first_chunk + i] = UINT32_MAX;
            continue;
        }
        struct segment_doc_in in = {.id = seg_str(s, sd->id),
                                    .title = seg_str(s, sd->title),
                                    .source = seg_str(s, sd->source),
                                    .metadata_json = seg_str(s, sd->metadata),
                                    .version = sd->version,
                                    .seq = sd->seq,
                                    .updated_ms = sd->updated_ms};
        rag_code rc = segment_builder_doc(b, &in);
        for (uint32_t i = sd->first_chunk; !rc && i < sd->first_chunk + sd->n_chunks; i++) {
            const struct seg_chunk *c = &s->chunks[i];
            uint64_t off = b->text.len;
            new_chunk[i] = b->n_chunks;
            buf_add(&b->text, s->text + c->text.off, c->text.len);
            rc = add_chunk_record(b, *c, seg_str(s, c->heading), off, s->lengths[i]);
        }
        if (rc)
            return rc;
    }
    return RAG_OK;
}

static rag_code merge_terms(struct segment_builder *b, const struct segment *s, const uint32_t *new_chunk)
{
    for (uint32_t t = 0; t < s->h->n_terms; t++) {
        uint32_t term = STRSET_NONE;
        for (uint32_t i = s->terms[t].first; i < s->terms[t].first + s->terms[t].df; i++) {
            uint32_t c = new_chunk[s->post_chunks[i]];
            if (c == UINT32_MAX)
                continue;
            rag_code rc = RAG_OK;
            if (term == STRSET_NONE)
                rc = strset_add(&b->terms, seg_term_str(s, t), &term);
            if (!rc)
                rc = add_triple(b, term, c, s->post_tfs[i]);
            if (rc)
                return rc;
        }
    }
    return RAG_OK;
}

rag_code segment_builder_merge(struct segment_builder *b, const struct segment *s, const uint64_t *live)
{
    uint32_t *new_chunk = mem_alloc(MEM_INDEX, (size_t)s->h->n_chunks * sizeof *new_chunk);
    if (!new_chunk)
        return RAG_ENOMEM;
    rag_code rc = merge_docs(b, s, live, new_chunk);
    if (!rc)
        rc = merge_terms(b, s, new_chunk);
    mem_free(MEM_INDEX, new_chunk);
    return rc;
}

/* ---- sealing ------------------------------------------------------------------------------------------ */

static void section_begin(struct buf *out, struct seg_header *h, enum seg_section sec)
{
    while (out->len % 8 && !buf_failed(out))
        buf_addc(out, 0);
    h->sec[sec].off = out->len;
}
static void section_end(struct buf *out, struct seg_header *h, enum seg_section sec)
{
    h->sec[sec].len = out->len - h->sec[sec].off;
}
static void section(struct buf *out, struct seg_header *h, enum seg_section sec, const void *p, size_t n)
{
    section_begin(out, h, sec);
    buf_add(out, p, n);
    section_end(out, h, sec);
}

static int by_seq(const void *a, const void *b)
{
    const struct seg_seq *x = a, *y = b;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

static rag_code write_docs(struct segment_builder *b, struct buf *out, struct seg_header *h)
{
    section(out, h, SEC_DOCS, b->docs.ptr, b->docs.len);
    section_begin(out, h, SEC_DOC_SEQS);
    size_t at = out->len;
    for (uint32_t d = 0; d < b->n_docs; d++) {
        struct seg_seq q = {((struct seg_doc *)(void *)b->docs.ptr)[d].seq, d, 0};
        BUF_ADD_VALUE(out, q);
    }
    if (buf_failed(out))
        return RAG_ENOMEM;
    qsort(out->ptr + at, b->n_docs, sizeof(struct seg_seq), by_seq);
    section_end(out, h, SEC_DOC_SEQS);
    return RAG_OK;
}

static rag_code write_terms(struct segment_builder *b, struct buf *out, struct seg_header *h)
{
    uint32_t n = b->terms.n;
    const struct triple *tr = (const void *)b->triples.ptr;
    size_t n_post = b->triples.len / sizeof *tr;
    if (n_post > UINT32_MAX)
        return RAG_ETOOBIG;
    struct seg_term *terms = mem_zalloc(MEM_INDEX, ((size_t)n + 1) * sizeof *terms);
    uint32_t *next = mem_zalloc(MEM_INDEX, ((size_t)n + 1) * sizeof *next);
    uint32_t *chunks = mem_alloc(MEM_INDEX, n_post * sizeof *chunks);
    uint8_t *tfs = mem_alloc(MEM_INDEX, n_post);
    uint32_t n_slots = 4;
    while (n_slots < n + n / 2 + 2)
        n_slots *= 2;
    uint32_t *slots = mem_zalloc(MEM_INDEX, (size_t)n_slots * sizeof *slots);
    rag_code rc = terms && next && chunks && tfs && slots ? RAG_OK : RAG_ENOMEM;
    if (rc)
        goto done;
    for (size_t i = 0; i < n_post; i++)
        terms[tr[i].term].df++;
    for (uint32_t t = 0, sum = 0; t < n; t++) {
        struct str s = strset_get(&b->terms, t);
        terms[t].bytes = (struct seg_span){b->terms.off[t], (uint32_t)s.len};
        terms[t].first = next[t] = sum;
        sum += terms[t].df;
        uint32_t i = (uint32_t)hash_bytes(s.ptr, s.len, h->hash_seed) & (n_slots - 1);
        while (slots[i])
            i = (i + 1) & (n_slots - 1);
        slots[i] = t + 1;
    }
    for (size_t i = 0; i < n_post; i++) {
        uint32_t at = next[tr[i].term]++;
        chunks[at] = tr[i].chunk;
        tfs[at] = (uint8_t)(tr[i].tf > 255 ? 255 : tr[i].tf);
    }
    h->n_terms = n;
    h->n_postings = (uint32_t)n_post;
    section(out, h, SEC_TERM_BYTES, b->terms.bytes.ptr, b->terms.bytes.len);
    section(out, h, SEC_TERMS, terms, (size_t)n * sizeof *terms);
    section(out, h, SEC_TERM_SLOTS, slots, (size_t)n_slots * sizeof *slots);
    section(out, h, SEC_POST_CHUNKS, chunks, n_post * sizeof *chunks);
    section(out, h, SEC_POST_TFS, tfs, n_post);
done:
    mem_free(MEM_INDEX, terms);
    mem_free(MEM_INDEX, next);
    mem_free(MEM_INDEX, chunks);
    mem_free(MEM_INDEX, tfs);
    mem_free(MEM_INDEX, slots);
    return rc;
}

/* Order of values: field name, type, value, document. */
static int by_value(const void *a, const void *b, void *ctx)
{
    const struct segment_builder *bd = ctx;
    const struct field_value *x = a, *y = b;
    if (x->field != y->field)
        return str_cmp(strset_get(&bd->field_names, x->field), strset_get(&bd->field_names, y->field));
    if (x->type != y->type)
        return x->type < y->type ? -1 : 1;
    int c = x->type == VALUE_STRING ? str_cmp(str_make(bd->strings.bytes.ptr + x->string.off, x->string.len),
                                              str_make(bd->strings.bytes.ptr + y->string.off, y->string.len))
                                    : (x->number > y->number) - (x->number < y->number);
    return c ? c : (x->doc > y->doc) - (x->doc < y->doc);
}

static bool same_value(const struct field_value *x, const struct field_value *y)
{
    return x->field == y->field && x->type == y->type && x->string.off == y->string.off &&
           x->string.len == y->string.len &&
           (x->type == VALUE_STRING || !(x->number < y->number || x->number > y->number));
}

static rag_code write_fields(struct segment_builder *b, struct buf *out, struct seg_header *h)
{
    struct field_value *v = (void *)b->values.ptr;
    size_t n = b->values.len / sizeof *v;
    struct buf fields, values, docs;
    buf_init(&fields, MEM_INDEX);
    buf_init(&values, MEM_INDEX);
    buf_init(&docs, MEM_INDEX);
    if (n)
        qsort_r(v, n, sizeof *v, by_value, b);
    rag_code rc = RAG_OK;
    for (size_t i = 0; i < n && !rc; i++) {
        if (i == 0 || v[i].field != v[i - 1].field) {
            struct seg_field f = {.first_value = (uint32_t)(values.len / sizeof(struct seg_value))};
            rc = intern(b, strset_get(&b->field_names, v[i].field), &f.name);
            BUF_ADD_VALUE(&fields, f);
        }
        if (i == 0 || !same_value(&v[i], &v[i - 1])) {
            struct seg_value sv = {.type = v[i].type,
                                   .number = v[i].number,
                                   .string = v[i].string,
                                   .first_doc = (uint32_t)(docs.len / 4)};
            BUF_ADD_VALUE(&values, sv);
            if (!buf_failed(&fields))
                ((struct seg_field *)(void *)(fields.ptr + fields.len))[-1].n_values++;
        } else if (v[i].doc == v[i - 1].doc) {
            continue; /* the same item twice in one list */
        }
        BUF_ADD_VALUE(&docs, v[i].doc);
        if (buf_failed(&fields) || buf_failed(&values) || buf_failed(&docs))
            rc = RAG_ENOMEM;
        else
            ((struct seg_value *)(void *)(values.ptr + values.len))[-1].n_docs++;
    }
    if (!rc) {
        section(out, h, SEC_FIELDS, fields.ptr, fields.len);
        section(out, h, SEC_VALUES, values.ptr, values.len);
        section(out, h, SEC_VALUE_DOCS, docs.ptr, docs.len);
    }
    buf_clear(&fields);
    buf_clear(&values);
    buf_clear(&docs);
    return rc;
}

rag_code segment_builder_finish(struct segment_builder *b, struct segment **out)
{
    struct seg_header h = {.version = SEGMENT_VERSION,
                           .header_bytes = sizeof h,
                           .analyzer = b->analyzer,
                           .n_docs = b->n_docs,
                           .n_chunks = b->n_chunks,
                           .total_length = b->total_length,
                           .hash_seed = b->hash_seed};
    memcpy(h.magic, SEGMENT_MAGIC, 8);
    struct buf bytes;
    buf_init(&bytes, MEM_INDEX);
    buf_add(&bytes, &h, sizeof h);
    rag_code rc = write_docs(b, &bytes, &h);
    section(&bytes, &h, SEC_CHUNKS, b->chunks.ptr, b->chunks.len);
    section(&bytes, &h, SEC_LENGTHS, b->lengths.ptr, b->lengths.len);
    section(&bytes, &h, SEC_TEXT, b->text.ptr, b->text.len);
    if (!rc)
        rc = write_terms(b, &bytes, &h);
    if (!rc)
        rc = write_fields(b, &bytes, &h);
    section(&bytes, &h, SEC_STRINGS, b->strings.bytes.ptr, b->strings.bytes.len);
    while (bytes.len % 8 && !buf_failed(&bytes))
        buf_addc(&bytes, 0);
    if (!rc && buf_failed(&bytes))
        rc = RAG_ENOMEM;
    builder_empty(b);
    if (rc) {
        buf_clear(&bytes);
        return rc;
    }
    h.file_bytes = bytes.len;
    memcpy(bytes.ptr, &h, sizeof h);
    h.checksum = segment_checksum(bytes.ptr, bytes.len);
    memcpy(bytes.ptr, &h, sizeof h);
    char *fit = mem_realloc(MEM_INDEX, bytes.ptr, bytes.len); /* doubling left slack */
    return segment_adopt(fit ? fit : bytes.ptr, h.file_bytes, true, out, NULL);
}
