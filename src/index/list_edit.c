/* A live bitmap is shared by the lists that hold it and copied when a document in it dies. */
#include "index/list_edit.h"

#include <stdatomic.h>

#include "base/bitmap.h"
#include "index/segment_int.h"

struct live_bits {
    _Atomic uint32_t refs;
    uint64_t words[];
};

static struct live_bits *bits_of(const uint64_t *words)
{
    return (struct live_bits *)((uintptr_t)words - offsetof(struct live_bits, words));
}

static struct live_bits *bits_new(uint32_t n, const uint64_t *from)
{
    struct live_bits *b = mem_zalloc(MEM_INDEX, sizeof *b + (bitmap_words(n) + 1) * sizeof b->words[0]);
    if (!b)
        return NULL;
    atomic_init(&b->refs, 1);
    if (from)
        memcpy(b->words, from, bitmap_words(n) * sizeof *from);
    else
        bitmap_fill(b->words, n);
    return b;
}

static void bits_unref(struct live_bits *b)
{
    if (atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
        mem_free(MEM_INDEX, b);
}

struct segment_list *list_new_empty(void)
{
    return mem_zalloc(MEM_INDEX, sizeof(struct segment_list));
}

static void entry_unref(struct list_entry *e)
{
    segment_unref(e->segment);
    bits_unref(bits_of(e->live));
    for (uint32_t s = 0; s < VECTOR_SLOTS; s++)
        vector_block_unref(e->vectors[s]);
}

/* Takes the references of a copied entry, with the blocks that `c` sets. */
static void entry_ref(struct list_entry *e, const struct list_change *c)
{
    segment_ref(e->segment);
    atomic_fetch_add_explicit(&bits_of(e->live)->refs, 1, memory_order_relaxed);
    for (uint32_t i = 0; i < c->n_set; i++)
        if (c->set[i].segment == e->segment)
            e->vectors[c->set[i].slot] = c->set[i].block;
    for (uint32_t s = 0; s < VECTOR_SLOTS; s++)
        if (e->vectors[s])
            vector_block_ref(e->vectors[s]);
}

void list_free(void *p)
{
    struct segment_list *l = p;
    if (!l)
        return;
    for (uint32_t i = 0; i < l->n; i++)
        entry_unref(&l->e[i]);
    mem_free(MEM_INDEX, l);
}

static void count_live(struct list_entry *e)
{
    const struct segment *s = e->segment;
    e->n_live = e->n_live_docs = 0;
    e->live_length = 0;
    for (uint32_t c = 0; c < s->h->n_chunks; c++) {
        if (bitmap_get(e->live, c)) {
            e->n_live++;
            e->live_length += s->lengths[c];
            e->n_live_docs += s->docs[s->chunks[c].doc].first_chunk == c;
        }
    }
}

/* Clears the dead documents' bits in a private copy, made at the first hit. */
static rag_code kill_docs(struct list_entry *e, const int64_t *dead, uint32_t n_dead)
{
    struct live_bits *own = NULL;
    for (uint32_t i = 0; i < n_dead; i++) {
        uint32_t d = segment_find_seq(e->segment, dead[i]);
        if (d == UINT32_MAX || e->segment->docs[d].n_chunks == 0 ||
            !bitmap_get(e->live, e->segment->docs[d].first_chunk))
            continue;
        if (!own) {
            own = bits_new(e->segment->h->n_chunks, e->live);
            if (!own)
                return RAG_ENOMEM;
            bits_unref(bits_of(e->live));
            e->live = own->words;
        }
        const struct seg_doc *doc = &e->segment->docs[d];
        for (uint32_t c = doc->first_chunk; c < doc->first_chunk + doc->n_chunks; c++) {
            bitmap_unset(own->words, c);
            e->n_live--;
            e->live_length -= e->segment->lengths[c];
        }
        e->n_live_docs--;
    }
    return RAG_OK;
}

static bool is_dropped(const struct list_change *c, const struct segment *s)
{
    for (uint32_t i = 0; i < c->n_drop; i++)
        if (c->drop[i] == s)
            return true;
    return false;
}

rag_code list_edit(const struct segment_list *cur, const struct list_change *c, struct segment_list **out)
{
    struct segment_list *l = mem_zalloc(MEM_INDEX, sizeof *l + ((size_t)cur->n + 1) * sizeof l->e[0]);
    if (!l)
        return RAG_ENOMEM;
    rag_code rc = RAG_OK;
    for (uint32_t i = 0; i < cur->n && !rc; i++) {
        if (is_dropped(c, cur->e[i].segment))
            continue;
        struct list_entry *e = &l->e[l->n++];
        *e = cur->e[i];
        entry_ref(e, c);
        rc = kill_docs(e, c->dead, c->n_dead);
    }
    if (!rc && c->add) {
        struct live_bits *b = bits_new(c->add->h->n_chunks, c->add_live);
        if (b) {
            struct list_entry *e = &l->e[l->n++];
            *e = (struct list_entry){.segment = segment_ref(c->add), .live = b->words};
            for (uint32_t v = 0; v < VECTOR_SLOTS; v++)
                e->vectors[v] = c->add_vectors[v] ? vector_block_ref(c->add_vectors[v]) : NULL;
            count_live(e);
            rc = kill_docs(e, c->dead, c->n_dead);
        } else {
            rc = RAG_ENOMEM;
        }
    }
    if (rc) {
        list_free(l);
        return rc;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < l->n; i++) {
        if (l->e[i].n_live == 0) {
            entry_unref(&l->e[i]);
            continue;
        }
        l->n_chunks += l->e[i].n_live;
        l->n_docs += l->e[i].n_live_docs;
        l->total_length += l->e[i].live_length;
        l->e[kept++] = l->e[i];
    }
    l->n = kept;
    l->generation = cur->generation + 1;
    *out = l;
    return RAG_OK;
}
