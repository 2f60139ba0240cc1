/* Flat, not a graph or lists: 100,000 rows of 384 dimensions are 19 MB of upper planes, read once at the memory's
 * speed; nothing to build, to train or to keep right under deletes, and a filter only makes it faster.
 *
 * Two passes. The scan estimates every row from its upper 4 bits and keeps the best 4k + SPARE. Of these the best k
 * are scored from all 8 bits, as integers, so that every CPU gives the same scores; then those of the others that
 * may still be better than the worst of them. An estimate's error is a sum of dims rounding errors, each uniform
 * over 16 steps: its deviation is known, and what lies more than DEVIATIONS of it too low is left alone. That
 * follows the density of the neighbours where a fixed number would not. Measured with bench/dense_bench.c on
 * crud-news-100k: 27, 77 and 249 rows scored for k 10, 30 and 100, recall as if every row were. With 2k + 64
 * candidates instead, 3 of 300 questions that meet some 200 copies of one text lost half of their best ten: hence
 * SPARE. Without a mean (zeros) the errors are too large for it: recall@30 falls by .007.
 *
 * Candidates are collected in a buffer twice as large as needed and cut to the better half by selection when it is
 * full. Rows are offered in list order, so a row that only equals the floor loses the tie and need not be offered.
 *
 * The score of row r (a vector minus the mean m; w = m / |m|; s, v: scale and int8 row; t: the row's stored r.w):
 *     q.m + r.q = q.m + (q.w) t + r.(q - (q.w) w), and r.(...) is taken as s v.(...)
 * Only the part of the question that is orthogonal to the mean meets the rounded row (see vectors.c). */
#include "index/dense.h"

#include <math.h>
#include <stdlib.h>

#include "base/bitmap.h"
#include "index/filter_eval.h"
#include "index/segment_int.h"
#include "index/vectors_int.h"
#include "kernel/scan.h"
#include "sys/clock.h"

enum {
    SPARE = 256,             /* candidates beyond 4k */
    RUNS_BETWEEN_LOOKS = 64, /* runs of 64 rows between two looks at the clock: some 20 microseconds */
    PREFETCH = 4             /* candidates */
};
static const double DEVIATIONS = 3;
_Static_assert(SCAN_MAX_ROW_BYTES * 2 == VECTOR_MAX_DIMS, "the kernels' limit is the blocks' limit");

/* Rounding a component adds half a unit at most. */
static const double Q16_SUM = SCAN_Q16_SUM_MAX - VECTOR_MAX_DIMS / 2;

/* A question in a vector space. */
struct prepared {
    const float *mean;          /* of the space; NULL: none yet */
    double base, along, unit16; /* score = base + along * alongs[row] + unit16 * scales[row] * exact */
    double deviation;           /* of an estimate's error, for scales[row] 1 */
    struct scan_question scan;
    _Alignas(64) int8_t q8[2 * SCAN_MAX_ROW_BYTES];
    _Alignas(64) int16_t q16[2 * SCAN_MAX_ROW_BYTES];
};
/* `p` is made again when a block of another space is met, which is at most once in a search. */
struct dense_query {
    struct prepared *p;
    uint32_t dims;
    float v[];
};

rag_code dense_query_new(const float *v, uint32_t dims, struct arena *a, struct dense_query **out)
{
    if (dims == 0 || dims > VECTOR_MAX_DIMS)
        return RAG_EINVAL;
    for (uint32_t i = 0; i < dims; i++)
        if (!(fabsf(v[i]) <= 1000)) /* NaN too */
            return RAG_EINVAL;
    struct dense_query *q = arena_alloc(a, sizeof *q + dims * sizeof q->v[0]);
    char *room = arena_alloc(a, sizeof *q->p + _Alignof(struct prepared));
    if (!q || !room)
        return RAG_ENOMEM;
    q->p = (void *)(room + (-(uintptr_t)room & (_Alignof(struct prepared) - 1)));
    q->p->mean = NULL;
    q->dims = dims;
    memcpy(q->v, v, dims * sizeof *v);
    *out = q;
    return RAG_OK;
}

/* Rounds the question without its part along the mean, to 16 bits for exact scores and to 8 for the scan. */
static void prepare(const struct dense_query *q, const struct vector_block *b)
{
    const float *mean = b->space.mean;
    struct prepared *p = q->p;
    if (p->mean == mean)
        return;
    double dot = 0, most = 0, sum = 0, squares = 0;
    for (uint32_t i = 0; i < q->dims; i++)
        dot += (double)q->v[i] * (double)mean[i];
    double along = b->mean_norm > 0 ? dot / b->mean_norm : 0,
           times = b->mean_norm > 0 ? along / b->mean_norm : 0;
    for (uint32_t i = 0; i < q->dims; i++) {
        double x = fabs((double)q->v[i] - times * (double)mean[i]);
        most = x > most ? x : most;
        sum += x;
        squares += x * x;
    }
    double unit8 = most / SCAN_Q8_MAX,
           unit16 = most / INT16_MAX > sum / Q16_SUM ? most / INT16_MAX : sum / Q16_SUM;
    double per8 = unit8 > 0 ? 1 / unit8 : 0, per16 = unit16 > 0 ? 1 / unit16 : 0;
    int32_t sum8 = 0;
    for (uint32_t i = 0; i < q->dims; i++) {
        double x = (double)q->v[i] - times * (double)mean[i], half = x < 0 ? -.5 : .5;
        p->q16[i] = (int16_t)(x * per16 + half);
        p->q8[i] = (int8_t)(x * per8 + half);
        sum8 += p->q8[i];
    }
    memset(p->q16 + q->dims, 0, (2 * b->row_bytes - q->dims) * sizeof p->q16[0]);
    memset(p->q8 + q->dims, 0, 2 * b->row_bytes - q->dims);
    p->mean = mean;
    p->base = dot;
    p->along = along;
    p->unit16 = unit16;
    p->deviation =
        sqrt(squares * (16 * 16 - 1) / 12); /* of a number uniform over 0 .. 15, times the question */
    /* A row's value is 16 u + l - 128, and l is 7.5 for all the scan knows: 16 (u - 120.5 / 16). */
    p->scan = (struct scan_question){.q8 = p->q8,
                                     .q16 = p->q16,
                                     .row_bytes = b->row_bytes,
                                     .base = (float)dot,
                                     .along = (float)along,
                                     .unit = (float)(16 * unit8),
                                     .offset = -120.5f / 16 * (float)sum8};
}

/* For the space that p was prepared for. */
static float exact_score(const struct prepared *p, const struct vector_block *b,
                         const struct scan_kernel *kernel, uint32_t row)
{
    int32_t dot = kernel->exact(&p->scan, b->upper + row * b->row_bytes, b->lower + row * b->row_bytes);
    return (float)(p->base + p->along * (double)b->alongs[row] + p->unit16 * (double)b->scales[row] * dot);
}

/* ---- the best so far --------------------------------------------------------------------------------------- */

/* A total order: higher score, then earlier in the list. Without branches, which a selection would mispredict. */
static bool better(const struct dense_hit *x, const struct dense_hit *y)
{
    uint64_t at_x = (uint64_t)x->ref.entry << 32 | x->ref.chunk,
             at_y = (uint64_t)y->ref.entry << 32 | y->ref.chunk;
    return (x->cosine > y->cosine) | (!(x->cosine < y->cosine) & (at_x < at_y));
}

static int best_first(const void *a, const void *b)
{
    return better(a, b) ? -1 : better(b, a) ? 1 : 0;
}

static void swap(struct dense_hit *x, struct dense_hit *y)
{
    struct dense_hit t = *x;
    *x = *y;
    *y = t;
}

/* Moves the k best of n > k to the front, in any order (quickselect, median of three). Hits are distinct. */
static void select_best(struct dense_hit *h, size_t n, size_t k)
{
    size_t lo = 0, hi = n; /* the border between in and out lies in lo .. hi */
    while (hi - lo > 1) {
        struct dense_hit *a = &h[lo], *b = &h[lo + (hi - lo) / 2], *c = &h[hi - 1];
        struct dense_hit *median = better(a, b) ? (better(b, c)   ? b
                                                   : better(a, c) ? c
                                                                  : a)
                                                : (better(a, c)   ? a
                                                   : better(b, c) ? c
                                                                  : b);
        swap(median, &h[hi - 1]);
        struct dense_hit pivot = h[hi - 1];
        size_t mid = lo;
        for (size_t i = lo; i < hi - 1; i++) {
            bool in = better(&h[i], &pivot);
            swap(&h[i], &h[mid]);
            mid += in;
        }
        swap(&h[mid], &h[hi - 1]);
        if (mid == k || mid + 1 == k)
            return;
        if (mid < k)
            lo = mid + 1;
        else
            hi = mid;
    }
}

struct candidates {
    struct dense_hit *h; /* 2 * want + SCAN_RUN */
    size_t n, want;
    float floor; /* what is not above it is not among the best `want` */
};

static void cut(struct candidates *c)
{
    if (c->n <= c->want)
        return;
    select_best(c->h, c->n, c->want);
    c->n = c->want;
    c->floor = c->h[0].cosine;
    for (size_t i = 1; i < c->n; i++)
        c->floor = c->h[i].cosine < c->floor ? c->h[i].cosine : c->floor;
}

/* ---- the scan ---------------------------------------------------------------------------------------------- */

struct scan {
    const struct scan_kernel *kernel;
    const struct prepared *p;
    struct candidates *c;
    uint64_t scanned;
};

static void scan_rows(struct scan *s, const struct vector_block *b, uint32_t entry, uint32_t first,
                      uint32_t n, uint64_t want)
{
    float est[SCAN_RUN];
    struct candidates *c = s->c;
    uint64_t hits = want & s->kernel->run(&s->p->scan, b->upper + first * b->row_bytes, b->scales + first,
                                          b->alongs + first, n, c->floor, est);
    for (; hits; hits &= hits - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(hits);
        c->h[c->n++] = (struct dense_hit){{entry, first + i}, est[i]};
    }
    if (c->n >= 2 * c->want)
        cut(c);
    s->scanned += n;
}

/* Bits lo .. lo + n - 1; n >= 1. */
static uint64_t bits(unsigned lo, unsigned n)
{
    return ~(uint64_t)0 >> (64 - n) << lo;
}

/* The rows of one word that pass, in as few runs as it takes without touching a row that is not there. */
static void scan_word(struct scan *s, const struct vector_block *b, uint32_t entry, uint32_t word,
                      uint64_t there, uint64_t pass)
{
    while (pass) {
        unsigned lo = (unsigned)__builtin_ctzll(pass), hi = 63 - (unsigned)__builtin_clzll(pass);
        unsigned n = hi - lo + 1;
        bool dense = 2 * (unsigned)__builtin_popcountll(pass) >= n;
        if (!dense || (there & bits(lo, n)) != bits(lo, n)) { /* only as far as one bit follows the other */
            uint64_t after = ~(pass >> lo);
            n = after ? (unsigned)__builtin_ctzll(after) : 64;
        }
        uint64_t run = pass & bits(lo, n);
        scan_rows(s, b, entry, word * 64 + lo, n, run >> lo);
        pass &= ~run;
    }
}

/* Sets the chunks of the documents that are set. */
static void chunks_of_docs(const struct segment *s, const uint64_t *docs, uint64_t *chunks)
{
    memset(chunks, 0, bitmap_words(segment_n_chunks(s)) * sizeof *chunks);
    for (uint32_t w = 0; w < bitmap_words(segment_n_docs(s)); w++)
        for (uint64_t left = docs[w]; left; left &= left - 1) {
            const struct seg_doc *d = &s->docs[w * 64 + (uint32_t)__builtin_ctzll(left)];
            for (uint32_t c = d->first_chunk; c < d->first_chunk + d->n_chunks; c++)
                bitmap_set(chunks, c);
        }
}

/* Offers the rows of an entry. `chunks`: those that pass the filter, NULL: all. */
static rag_code scan_entry(struct scan *s, const struct list_entry *e, uint32_t entry,
                           const struct vector_block *b, const uint64_t *chunks, int64_t deadline_ns)
{
    uint32_t words = (uint32_t)bitmap_words(b->h->rows);
    for (uint32_t w = 0; w < words; w++) {
        if (w % RUNS_BETWEEN_LOOKS == 0 && deadline_ns && clock_mono_ns() > deadline_ns)
            return RAG_ETIMEOUT;
        uint64_t there =
            atomic_load_explicit(&b->present[w], memory_order_acquire); /* pairs with row_is_there */
        uint64_t pass = there & e->live[w];
        scan_word(s, b, entry, w, there, chunks ? pass & chunks[w] : pass);
    }
    return RAG_OK;
}

/* Replaces the estimates of n candidates by exact scores. */
static void rescore(const struct segment_list *list, uint32_t slot, const struct dense_query *q,
                    const struct scan_kernel *kernel, struct dense_hit *h, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i + PREFETCH < n) {
            struct chunk_ref ahead = h[i + PREFETCH].ref;
            const struct vector_block *b = list->e[ahead.entry].vectors[slot];
            for (size_t at = 0; at < b->row_bytes; at += 64) {
                __builtin_prefetch(b->upper + ahead.chunk * b->row_bytes + at);
                __builtin_prefetch(b->lower + ahead.chunk * b->row_bytes + at);
            }
        }
        const struct vector_block *b = list->e[h[i].ref.entry].vectors[slot];
        prepare(q, b);
        h[i].cosine = exact_score(q->p, b, kernel, h[i].ref.chunk);
    }
}

/* Moves those of n candidates to the front that may score above `least`; returns how many. */
static size_t keep_possible(const struct segment_list *list, uint32_t slot, const struct dense_query *q,
                            struct dense_hit *h, size_t n, float least)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        const struct vector_block *b = list->e[h[i].ref.entry].vectors[slot];
        prepare(q, b);
        double reach = DEVIATIONS * q->p->deviation * (double)b->scales[h[i].ref.chunk];
        if ((double)h[i].cosine + reach >= (double)least)
            h[kept++] = h[i];
    }
    return kept;
}

/* From candidates with estimates to the k best with scores, best first; returns how many were scored. */
static size_t finish(const struct segment_list *list, uint32_t slot, const struct dense_query *q,
                     const struct scan_kernel *kernel, uint32_t k, struct candidates *c)
{
    size_t scored = c->n;
    if (c->n <= k) {
        rescore(list, slot, q, kernel, c->h, c->n);
    } else {
        select_best(c->h, c->n, k);
        rescore(list, slot, q, kernel, c->h, k);
        float least = c->h[0].cosine;
        for (size_t i = 1; i < k; i++)
            least = c->h[i].cosine < least ? c->h[i].cosine : least;
        size_t more = keep_possible(list, slot, q, c->h + k, c->n - k, least);
        rescore(list, slot, q, kernel, c->h + k, more);
        scored = k + more;
        if (more)
            select_best(c->h, scored, k);
        c->n = k;
    }
    qsort(c->h, c->n, sizeof *c->h, best_first);
    return scored;
}

rag_code dense_search(const struct segment_list *list, uint32_t slot, const struct dense_query *q,
                      const struct filter *f, uint32_t k, int64_t deadline_ns, struct arena *a,
                      struct dense_result *out)
{
    *out = (struct dense_result){0};
    uint64_t rows = 0;
    uint32_t most = 0;
    for (uint32_t e = 0; e < list->n; e++) {
        const struct vector_block *b = list->e[e].vectors[slot];
        if (!b)
            continue;
        if (b->space.dims != q->dims)
            return RAG_EINVAL;
        RAG_ASSERT(b->h->rows == segment_n_chunks(list->e[e].segment));
        rows += b->h->rows;
        most = b->h->rows > most ? b->h->rows : most;
    }
    uint64_t want = (uint64_t)4 * k + SPARE;
    struct candidates c = {.want = (size_t)(want < rows ? want : rows), .floor = -INFINITY};
    if (k == 0 || c.want == 0)
        return RAG_OK;
    c.h = arena_alloc(a, (2 * c.want + SCAN_RUN) * sizeof *c.h);
    uint64_t *chunks = f && f->n ? arena_alloc(a, bitmap_words(most) * sizeof *chunks) : NULL;
    if (!c.h || (f && f->n && !chunks))
        return RAG_ENOMEM;
    struct scan s = {.kernel = scan_kernel(), .p = q->p, .c = &c};
    rag_code rc = RAG_OK;
    for (uint32_t e = 0; e < list->n && !rc; e++) {
        const struct vector_block *b = list->e[e].vectors[slot];
        if (!b)
            continue;
        uint64_t *docs = NULL;
        if (chunks) {
            rc = filter_docs(list->e[e].segment, f, a, &docs);
            if (rc)
                return rc;
            if (docs)
                chunks_of_docs(list->e[e].segment, docs, chunks);
        }
        prepare(q, b);
        rc = scan_entry(&s, &list->e[e], e, b, docs ? chunks : NULL, deadline_ns);
    }
    cut(&c);
    out->scanned = s.scanned;
    out->rescored = finish(list, slot, q, s.kernel, k, &c);
    out->hits = c.h;
    out->n = (uint32_t)c.n;
    return rc;
}

bool dense_score(const struct segment_list *list, uint32_t slot, const struct dense_query *q,
                 struct chunk_ref ref, float *cosine)
{
    const struct vector_block *b = list->e[ref.entry].vectors[slot];
    if (!b || b->space.dims != q->dims || !vector_block_has(b, ref.chunk))
        return false;
    prepare(q, b);
    *cosine = exact_score(q->p, b, scan_kernel(), ref.chunk);
    return true;
}
