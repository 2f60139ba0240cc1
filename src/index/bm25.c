/* Term at a time: one float per chunk of the segment being scored, then one pass that keeps the k best in a
 * heap. A 100,000-chunk collection costs a few hundred kilobytes of scratch and no branches per posting. */
#include "index/bm25.h"

#include <math.h>
#include <stdlib.h>

#include "base/bitmap.h"
#include "base/hash.h"
#include "index/filter_eval.h"
#include "index/segment_int.h"
#include "sys/clock.h"

struct query_term {
    struct str text;
    uint64_t hash;
    float weight, impact; /* impact = weight * idf */
    uint64_t df;
    bool counts;  /* in the masses: not only a bigram across words */
    uint32_t *in; /* term number in each entry's segment, UINT32_MAX when absent */
};
struct bm25_query {
    struct query_term *terms;
    uint32_t n;
    float k1, c0, c1; /* score = impact * (k1 + 1) * tf / (tf + c0 + c1 * length) */
};

static rag_code distinct_terms(const struct segment_list *list, const struct term_list *terms,
                               struct arena *a, struct query_term **out, uint32_t *n_out)
{
    struct query_term *q = arena_array(a, terms->n + 1, sizeof *q);
    if (!q)
        return RAG_ENOMEM;
    uint32_t n = 0;
    for (uint32_t i = 0; i < terms->n; i++) {
        struct str t = term_text(terms, i);
        uint64_t h = hash_bytes(t.ptr, t.len, 0);
        uint32_t j = 0;
        while (j < n && !(q[j].hash == h && str_eq(q[j].text, t)))
            j++;
        if (j == n) {
            q[n] = (struct query_term){.text = t, .hash = h};
            q[n].in = arena_alloc(a, ((size_t)list->n + 1) * sizeof *q[n].in);
            if (!q[n++].in)
                return RAG_ENOMEM;
        }
        if (terms->items[i].weight > q[j].weight)
            q[j].weight = terms->items[i].weight;
        q[j].counts |= terms->items[i].kind != TERM_BIGRAM;
    }
    bool any = false;
    for (uint32_t j = 0; j < n; j++)
        any |= q[j].counts;
    for (uint32_t j = 0; j < n && !any; j++)
        q[j].counts = true;
    *out = q;
    *n_out = n;
    return RAG_OK;
}

static void look_up(const struct segment_list *list, struct query_term *q, uint32_t n,
                    struct bm25_result *out)
{
    double big_n = (double)list->n_chunks;
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t e = 0; e < list->n; e++) {
            const struct segment *s = list->e[e].segment;
            q[i].in[e] = segment_find_term(s, q[i].text);
            if (q[i].in[e] != UINT32_MAX)
                q[i].df += s->terms[q[i].in[e]].df;
        }
        double df = (double)q[i].df > big_n ? big_n : (double)q[i].df; /* deleted chunks still count in df */
        q[i].impact = q[i].weight * (float)log(1 + (big_n - df + .5) / (df + .5));
        out->terms[out->n_terms++] = (struct bm25_term){q[i].text, q[i].impact, q[i].df > 0};
        float mass = q[i].counts ? q[i].impact : 0;
        out->idf_mass += mass;
        if (q[i].df) {
            out->n_known++;
            out->known_mass += mass;
        }
    }
}

static void score_segment(const struct segment *s, uint32_t entry, const struct bm25_query *q, float *acc)
{
    const uint16_t *lengths = s->lengths;
    float c0 = q->c0, c1 = q->c1;
    for (uint32_t i = 0; i < q->n; i++) {
        if (q->terms[i].in[entry] == UINT32_MAX)
            continue;
        const struct seg_term *t = &s->terms[q->terms[i].in[entry]];
        const uint32_t *chunks = s->post_chunks + t->first;
        const uint8_t *tfs = s->post_tfs + t->first;
        float impact = q->terms[i].impact * (q->k1 + 1);
        for (uint32_t j = 0; j < t->df; j++) {
            float tf = tfs[j];
            acc[chunks[j]] += impact * tf / (tf + c0 + c1 * lengths[chunks[j]]);
        }
    }
}

/* Worse: lower score, then later in the list. The heap keeps the worst of the k best at the top. */
static bool worse(const struct bm25_hit *x, const struct bm25_hit *y)
{
    if (x->score < y->score || x->score > y->score)
        return x->score < y->score;
    if (x->ref.entry != y->ref.entry)
        return x->ref.entry > y->ref.entry;
    return x->ref.chunk > y->ref.chunk;
}

static void sift_down(struct bm25_hit *h, uint32_t n, uint32_t i)
{
    for (;;) {
        uint32_t m = i, l = 2 * i + 1;
        if (l < n && worse(&h[l], &h[m]))
            m = l;
        if (l + 1 < n && worse(&h[l + 1], &h[m]))
            m = l + 1;
        if (m == i)
            return;
        struct bm25_hit t = h[i];
        h[i] = h[m];
        h[m] = t;
        i = m;
    }
}

static void heap_offer(struct bm25_hit *h, uint32_t *n, uint32_t k, struct bm25_hit x)
{
    if (*n < k) {
        uint32_t i = (*n)++;
        h[i] = x;
        while (i && worse(&h[i], &h[(i - 1) / 2])) {
            struct bm25_hit t = h[i];
            h[i] = h[(i - 1) / 2];
            h[(i - 1) / 2] = t;
            i = (i - 1) / 2;
        }
    } else if (worse(&h[0], &x)) {
        h[0] = x;
        sift_down(h, k, 0);
    }
}

static int best_first(const void *a, const void *b)
{
    const struct bm25_hit *x = a, *y = b;
    return worse(x, y) ? 1 : worse(y, x) ? -1 : 0;
}

/* Where the chunk stands in the term's postings, UINT32_MAX when it does not. */
static uint32_t posting_of(const struct segment *s, uint32_t term, uint32_t chunk)
{
    const struct seg_term *t = &s->terms[term];
    const uint32_t *c = s->post_chunks + t->first;
    uint32_t lo = 0, hi = t->df;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (c[mid] < chunk)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < t->df && c[lo] == chunk ? t->first + lo : UINT32_MAX;
}

void bm25_score(const struct segment_list *list, const struct bm25_result *r, struct chunk_ref ref, float *score,
                float *mass)
{
    const struct segment *s = list->e[ref.entry].segment;
    const struct bm25_query *q = r->query;
    *score = *mass = 0;
    for (uint32_t i = 0; q && i < q->n; i++) {
        const struct query_term *t = &q->terms[i];
        uint32_t at = t->in[ref.entry] == UINT32_MAX ? UINT32_MAX : posting_of(s, t->in[ref.entry], ref.chunk);
        if (at == UINT32_MAX)
            continue;
        float tf = s->post_tfs[at], impact = t->impact * (q->k1 + 1);
        *score += impact * tf / (tf + q->c0 + q->c1 * s->lengths[ref.chunk]);
        *mass += t->counts ? t->impact : 0;
    }
}

rag_code bm25_search(const struct segment_list *list, const struct term_list *terms, const struct filter *f,
                     struct bm25_params p, uint32_t k, int64_t deadline_ns, struct arena *a,
                     struct bm25_result *out)
{
    struct bm25_query *q = arena_zalloc(a, sizeof *q);
    *out = (struct bm25_result){.query = q};
    rag_code rc = q ? distinct_terms(list, terms, a, &q->terms, &q->n) : RAG_ENOMEM;
    if (rc)
        return rc;
    out->terms = arena_array(a, (size_t)q->n + 1, sizeof *out->terms);
    if (!out->terms)
        return RAG_ENOMEM;
    look_up(list, q->terms, q->n, out);
    float avg_len = list->n_chunks ? (float)((double)list->total_length / (double)list->n_chunks) : 1;
    if (!(avg_len > 0))
        avg_len = 1;
    q->k1 = p.k1;
    q->c0 = p.k1 * (1 - p.b);
    q->c1 = p.k1 * p.b / avg_len;
    uint32_t most = 1;
    for (uint32_t e = 0; e < list->n; e++)
        most = segment_n_chunks(list->e[e].segment) > most ? segment_n_chunks(list->e[e].segment) : most;
    out->hits = arena_array(a, (size_t)k + 1, sizeof *out->hits);
    float *acc = arena_alloc(a, (size_t)most * sizeof *acc);
    if (!out->hits || !acc)
        return RAG_ENOMEM;
    if (!out->n_known || k == 0)
        return RAG_OK;
    for (uint32_t e = 0; e < list->n && !rc; e++) {
        if (e && deadline_ns && clock_mono_ns() > deadline_ns) {
            rc = RAG_ETIMEOUT;
            break;
        }
        const struct segment *s = list->e[e].segment;
        uint32_t n_chunks = segment_n_chunks(s);
        uint64_t *docs;
        rc = filter_docs(s, f, a, &docs);
        if (rc)
            return rc;
        memset(acc, 0, (size_t)n_chunks * sizeof *acc);
        score_segment(s, e, q, acc);
        float floor = out->n == k ? out->hits[0].score : 0;
        for (uint32_t c = 0; c < n_chunks; c++) {
            if (acc[c] <= floor || !bitmap_get(list->e[e].live, c) ||
                (docs && !bitmap_get(docs, s->chunks[c].doc)))
                continue;
            heap_offer(out->hits, &out->n, k, (struct bm25_hit){{e, c}, acc[c], 0});
            if (out->n == k)
                floor = out->hits[0].score;
        }
    }
    qsort(out->hits, out->n, sizeof *out->hits, best_first);
    for (uint32_t i = 0; i < out->n; i++) {
        float again;
        bm25_score(list, out, out->hits[i].ref, &again, &out->hits[i].mass);
    }
    return rc;
}

rag_code list_by_filter(const struct segment_list *list, const struct filter *f, uint32_t k, struct arena *a,
                        struct bm25_result *out)
{
    *out = (struct bm25_result){0};
    out->hits = arena_array(a, (size_t)k + 1, sizeof *out->hits);
    if (!out->hits)
        return RAG_ENOMEM;
    for (uint32_t e = 0; e < list->n && out->n < k; e++) {
        const struct segment *s = list->e[e].segment;
        uint64_t *docs;
        rag_code rc = filter_docs(s, f, a, &docs);
        if (rc)
            return rc;
        for (uint32_t d = 0; d < segment_n_docs(s) && out->n < k; d++) {
            uint32_t c = s->docs[d].first_chunk;
            if (s->docs[d].n_chunks && bitmap_get(list->e[e].live, c) && (!docs || bitmap_get(docs, d)))
                out->hits[out->n++] = (struct bm25_hit){{e, c}, 0, 0};
        }
    }
    return RAG_OK;
}
