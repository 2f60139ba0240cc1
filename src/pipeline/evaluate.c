/* The corpus becomes segments and a list as in a data folder, without one; questions run through the same stages as
 * online. What differs: no store, no deadline, deeper rankings. */
#include "pipeline/evaluate.h"

#include <string.h>

#include "extract/extract.h"
#include "index/list_edit.h"
#include "index/segment.h"
#include "pipeline/chunk_terms.h"
#include "stages/analysis/analysis.h"
#include "stages/embedding/embedding.h"
#include "stages/fusion/fusion.h"
#include "stages/retrieval/retrieval.h"
#include "sys/clock.h"
#include "text/utf8.h"

enum {
    SEGMENT_CHUNKS = 65536,
    CHUNKS_A_DOC = 4 /* ranked deeper by this much where a document has several */
};

struct indexer {
    const struct analyzer *an;
    const struct eval_cut *cut; /* NULL: documents stay whole */
    struct segment_builder *builder;
    uint32_t n_chunks;
    struct segment_list *list;
    struct chunk_terms terms;
    struct text_chunks chunks;
};

/* Seals what is built and appends it to the list. */
static rag_code seal(struct indexer *x)
{
    if (x->n_chunks == 0)
        return RAG_OK;
    struct segment *s = NULL;
    struct segment_list *next = NULL;
    rag_code rc = segment_builder_finish(x->builder, &s);
    if (!rc)
        rc = list_edit(x->list, &(struct list_change){.add = s}, &next);
    segment_unref(s);
    if (rc)
        return rc;
    list_free(x->list);
    x->list = next;
    x->n_chunks = 0;
    segment_builder_free(x->builder);
    x->builder = NULL;
    return segment_builder_new(analyzer_fingerprint(x->an), &x->builder);
}

/* start: of the text in its document, in code points */
static rag_code add_chunk(struct indexer *x, struct str title, struct str heading, struct str text, uint32_t start)
{
    rag_code rc = chunk_terms_run(&x->terms, x->an, title, heading, text);
    if (rc)
        return rc;
    struct segment_chunk_in in = {.text = text,
                                  .heading_path = heading,
                                  .start = start,
                                  .end = start + (uint32_t)utf8_count(text),
                                  .terms = &x->terms.terms,
                                  .length = x->terms.length};
    x->n_chunks++;
    return segment_builder_chunk(x->builder, &in);
}

static enum extract_format format_of(struct str id)
{
    char name[16];
    size_t n = id.len < sizeof name ? id.len : sizeof name - 1;
    memcpy(name, id.ptr + id.len - n, n);
    name[n] = '\0';
    enum extract_format f = extract_format_of(name);
    return f == FORMAT_MARKDOWN || f == FORMAT_HTML ? f : FORMAT_TEXT;
}

static rag_code add_cut(struct indexer *x, const struct eval_doc *d, struct rag_err *err)
{
    struct text_doc doc;
    text_doc_init(&doc);
    rag_code rc = extract_bytes(format_of(d->id), d->text, "", &extract_default_limits, &doc, err);
    if (!rc)
        rc = (x->cut->windows ? eval_windows : chunker_run)(&doc, &x->cut->size, &x->chunks);
    const struct text_chunk *c = (const struct text_chunk *)(const void *)x->chunks.chunks.ptr;
    uint32_t at = 0, chars = 0; /* code points before byte `at` */
    for (size_t i = 0; !rc && i < x->chunks.chunks.len / sizeof *c; i++) {
        chars += (uint32_t)utf8_count(str_make(doc.text.ptr + at, c[i].start - at));
        at = c[i].start;
        rc = add_chunk(x, d->title, str_make(x->chunks.headings.ptr + c[i].heading_off, c[i].heading_len),
                       str_make(doc.text.ptr + at, c[i].end - at), chars);
    }
    text_doc_clear(&doc);
    return rc;
}

static rag_code add_doc(struct indexer *x, const struct eval_doc *d, uint32_t number, struct rag_err *err)
{
    struct segment_doc_in in = {.id = d->id,
                                .title = d->title,
                                .metadata_json = STR_LIT("{}"),
                                .version = 1,
                                .seq = (int64_t)number + 1};
    rag_code rc = segment_builder_doc(x->builder, &in);
    if (!rc)
        rc = x->cut ? add_cut(x, d, err) : add_chunk(x, d->title, str_make(NULL, 0), d->text, 0);
    if (!rc && x->n_chunks >= SEGMENT_CHUNKS)
        rc = seal(x);
    return rc;
}

rag_code eval_index(const struct eval_data *d, const struct analyzer *an, const struct eval_cut *cut,
                    eval_progress *progress, void *ctx, struct segment_list **out, struct rag_err *err)
{
    struct indexer x = {.an = an, .cut = cut, .list = list_new_empty()};
    chunk_terms_init(&x.terms);
    text_chunks_init(&x.chunks);
    rag_code rc = x.list ? segment_builder_new(analyzer_fingerprint(an), &x.builder) : RAG_ENOMEM;
    const struct eval_doc *docs = (const struct eval_doc *)(const void *)d->docs.ptr;
    uint32_t n = (uint32_t)(d->docs.len / sizeof *docs);
    for (uint32_t i = 0; i < n && !rc; i++) {
        struct rag_err why = {0};
        rc = add_doc(&x, &docs[i], i, &why);
        if (rc)
            rag_err_set(err, rc, "document %.*s: %s", (int)docs[i].id.len, docs[i].id.ptr,
                        why.msg[0] ? why.msg : rag_code_name(rc));
        if (progress && i % 64 == 0)
            progress(ctx, i, n);
    }
    if (!rc)
        rc = seal(&x);
    segment_builder_free(x.builder);
    chunk_terms_clear(&x.terms);
    text_chunks_clear(&x.chunks);
    if (rc)
        list_free(x.list);
    else
        *out = x.list;
    return rc;
}

/* ---- running ------------------------------------------------------------------------------------------- */
/* Hits to documents, each where its best chunk stands. `seen` is the number of the query that saw a document last. */
static uint32_t rank_docs(const struct hits *h, uint32_t *seen, uint32_t query, uint32_t depth,
                          struct eval_ranked *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < h->n && n < depth; i++) {
        struct chunk_view c;
        segment_chunk(h->list->e[h->items[i].ref.entry].segment, h->items[i].ref.chunk, &c);
        uint32_t doc = (uint32_t)(c.seq - 1);
        if (seen[doc] == query + 1)
            continue;
        seen[doc] = query + 1;
        out[n++] = (struct eval_ranked){doc, h->items[i].reranked};
    }
    return n;
}

static void measure(const struct eval_query *q, const struct eval_ranked *ranked, uint32_t n, struct arena *a,
                    double out[EVAL_METRICS])
{
    uint32_t *grades = arena_array(a, n + 1, sizeof *grades),
             *ideal = arena_array(a, q->n_judged, sizeof *ideal);
    RAG_ASSERT(grades && ideal);
    for (uint32_t j = 0; j < q->n_judged; j++)
        ideal[j] = q->judged[j].grade;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < q->n_judged; j++)
            if (q->judged[j].doc == ranked[i].doc)
                grades[i] = q->judged[j].grade;
    eval_measure(grades, n, ideal, q->n_judged, out);
}

struct runner {
    const struct segment_list *list;
    const struct analyzer *an;
    const struct eval_questions *v;
    const struct eval_setting *s;
    struct query_analysis qa;
    struct arena arena; /* of one query */
    uint32_t *seen;
    struct eval_ranked *ranked;
    struct hits hits; /* of the query at hand */
    struct rerank_report rerank;
};

static rag_code run_one(struct runner *r, const struct eval_query *q, uint32_t number, uint32_t *n,
                        int64_t ns[EVAL_STAGES])
{
    struct query query = {.text = q->text, .collection = STR_LIT("eval"), .top_k = r->s->depth};
    struct hits *hits = &r->hits;
    *hits = (struct hits){.list = r->list};
    int64_t start = clock_mono_ns();
    rag_code rc = analysis_run(r->an, &query, &r->qa);
    ns[EVAL_ANALYSIS] = clock_mono_ns() - start;
    for (uint32_t i = 0; i < r->qa.terms.n && r->s->equal_weights; i++)
        r->qa.terms.items[i].weight = 1;
    uint64_t docs = r->list->n_docs ? r->list->n_docs : 1;
    uint32_t limit = r->s->depth * (r->list->n_chunks > docs ? CHUNKS_A_DOC : 1);
    struct qvec qvec = {0};
    ns[EVAL_EMBEDDING] = 0;
    if (r->s->dense) {
        qvec = r->v->vectors[number];
        ns[EVAL_EMBEDDING] = (int64_t)(r->v->ms[number] * 1e6);
    }
    struct retrieval_limits limits = {r->s->lexical ? limit : 0, r->s->dense ? limit : 0};
    start = clock_mono_ns();
    if (!rc)
        rc = retrieval_run(&query, &r->qa, &qvec, &r->s->profile, limits, 0, &r->arena, hits);
    ns[EVAL_RETRIEVAL] = clock_mono_ns() - start;
    struct profile p = r->s->profile;
    if (!r->s->lexical) { /* the dense leg alone */
        p.fusion_method = FUSION_CONVEX;
        p.dense_weight[0] = p.dense_weight[1] = p.dense_weight[2] = 1;
    }
    start = clock_mono_ns();
    if (!rc)
        rc = fusion_run(&r->qa, &p, &r->arena, hits);
    ns[EVAL_FUSION] = clock_mono_ns() - start;
    start = clock_mono_ns();
    if (!rc)
        rc = rerank_run(&query, &r->qa, &qvec, r->v ? r->v->coder : NULL, &p, 0, &r->arena, hits, &r->rerank);
    ns[EVAL_RERANKING] = clock_mono_ns() - start;
    if (!rc)
        *n = rank_docs(hits, r->seen, number, r->s->depth, r->ranked);
    return rc;
}

rag_code eval_embed_questions(const struct eval_data *d, struct encoder_pool *encoders, struct token_tools tokens,
                              struct arena *a, struct eval_questions *out)
{
    const struct eval_query *q = (const struct eval_query *)(const void *)d->queries.ptr;
    size_t n = d->queries.len / sizeof *q;
    struct qvec *vectors = arena_array(a, n + 1, sizeof *vectors);
    double *ms = arena_array(a, n + 1, sizeof *ms);
    rag_code rc = vectors && ms ? RAG_OK : RAG_ENOMEM;
    for (size_t i = 0; i < n && !rc; i++) {
        struct query query = {.text = q[i].text};
        int64_t start = clock_mono_ns();
        rc = embedding_run(encoders, tokens.weights, (const struct query *[]){&query}, (struct arena *[]){a}, 1,
                           (struct qvec *[]){&vectors[i]});
        ms[i] = (double)(clock_mono_ns() - start) / 1e6;
    }
    *out = (struct eval_questions){vectors, ms, tokens.coder};
    return rc;
}

rag_code eval_run(const struct eval_data *d, const struct segment_list *list, const struct analyzer *an,
                  const struct eval_questions *v, const struct eval_setting *s, eval_each *each, void *ctx, struct eval_result *out,
                  struct rag_err *err)
{
    const struct eval_query *queries = (const struct eval_query *)(const void *)d->queries.ptr;
    *out = (struct eval_result){.n = (uint32_t)(d->queries.len / sizeof *queries)};
    struct runner r = {.list = list, .an = an, .v = v, .s = s};
    term_list_init(&r.qa.terms);
    r.seen = arena_array(&out->arena, d->docs.len / sizeof(struct eval_doc) + 1, sizeof *r.seen);
    r.ranked = arena_array(&out->arena, s->depth, sizeof *r.ranked);
    rag_code rc = r.seen && r.ranked ? RAG_OK : RAG_ENOMEM;
    for (int m = 0; m < EVAL_METRICS; m++)
        if (!(out->per_query[m] = arena_array(&out->arena, out->n, sizeof(double))))
            rc = RAG_ENOMEM;
    for (int t = 0; t < EVAL_STAGES; t++)
        if (!(out->ms[t] = arena_array(&out->arena, out->n, sizeof(double))))
            rc = RAG_ENOMEM;
    for (uint32_t i = 0; i < out->n && !rc; i++) {
        uint32_t n = 0;
        int64_t ns[EVAL_STAGES];
        double m[EVAL_METRICS];
        arena_reset(&r.arena);
        rc = run_one(&r, &queries[i], i, &n, ns);
        if (rc) {
            rag_err_set(err, rc, "query %.*s: %s", (int)queries[i].id.len, queries[i].id.ptr,
                        rag_code_name(rc));
            break;
        }
        measure(&queries[i], r.ranked, n, &r.arena, m);
        for (int k = 0; k < EVAL_METRICS; k++)
            out->per_query[k][i] = m[k];
        for (int t = 0; t < EVAL_STAGES; t++)
            out->ms[t][i] = (double)ns[t] / 1e6;
        if (each)
            each(ctx, i, &(struct eval_seen){r.ranked, n, &r.hits, &r.rerank});
    }
    term_list_clear(&r.qa.terms);
    arena_clear(&r.arena);
    return rc;
}

void eval_result_clear(struct eval_result *r)
{
    arena_clear(&r->arena);
    *r = (struct eval_result){0};
}
