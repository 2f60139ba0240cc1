#include "api/answer_json.h"

#include <stdio.h>

#include "wire/json_out.h"

void answer_json_heading_path(struct buf *out, struct str path)
{
    json_add_open(out, '[');
    while (path.len) {
        const char *sep = memchr(path.ptr, '\x1f', path.len);
        size_t n = sep ? (size_t)(sep - path.ptr) : path.len;
        json_add_string(out, str_make(path.ptr, n));
        path = sep ? str_make(path.ptr + n + 1, path.len - n - 1) : (struct str){0};
    }
    json_add_close(out, ']');
}

/* document_id, version, chunk_id, title, heading_path, page where there is one: what names a chunk. */
static void add_chunk_name(struct buf *out, const struct chunk_view *c)
{
    json_add_key(out, "document_id");
    json_add_string(out, c->document_id);
    json_add_key(out, "version");
    json_add_u64(out, c->version);
    json_add_key(out, "chunk_id");
    json_add_open(out, '"');
    json_escape(out, c->document_id);
    buf_addf(out, "#%u\"", c->ordinal);
    json_add_key(out, "title");
    json_add_string(out, c->title);
    json_add_key(out, "heading_path");
    answer_json_heading_path(out, c->heading_path);
    if (c->page) {
        json_add_key(out, "page");
        json_add_u64(out, c->page);
    }
}

static void add_span(struct buf *out, uint32_t start, uint32_t end)
{
    json_add_key(out, "start");
    json_add_u64(out, start);
    json_add_key(out, "end");
    json_add_u64(out, end);
}

static void hit_view(const struct hits *h, uint32_t i, struct chunk_view *out)
{
    segment_chunk(h->list->e[h->items[i].ref.entry].segment, h->items[i].ref.chunk, out);
}

/* A hit of /v1/search, a context of /v1/query: the same object. */
static void add_hit(struct buf *out, const struct hits *h, uint32_t i)
{
    struct chunk_view c;
    hit_view(h, i, &c);
    json_add_open(out, '{');
    add_chunk_name(out, &c);
    json_add_key(out, "text");
    json_add_open(out, '"');
    buf_adds(out, c.text_json); /* escaped when it was indexed */
    buf_addc(out, '"');
    add_span(out, c.start, c.end);
    json_add_key(out, "source");
    json_add_string(out, c.source);
    json_add_key(out, "metadata");
    json_add_raw(out, c.metadata_json.len ? c.metadata_json : STR_LIT("{}"));
    json_add_key(out, "score");
    json_add_fixed(out, (double)h->items[i].score, 4);
    json_add_key(out, "scores");
    json_add_open(out, '{');
    json_add_key(out, "bm25");
    json_add_fixed(out, (double)h->items[i].bm25, 4);
    json_add_key(out, "coverage");
    json_add_fixed(out, (double)h->items[i].coverage, 4);
    json_add_key(out, "dense");
    if (h->items[i].has_cosine)
        json_add_fixed(out, (double)h->items[i].cosine, 4);
    else
        json_add_null(out);
    json_add_key(out, "fused");
    json_add_fixed(out, (double)h->items[i].fused, 4);
    json_add_key(out, "reranked");
    json_add_fixed(out, (double)h->items[i].reranked, 4);
    json_add_close(out, '}');
    json_add_close(out, '}');
}

static bool is_shown(const struct ask *k, uint32_t hit)
{
    for (uint32_t i = 0; i < k->answer.n_citations; i++)
        if (k->answer.citations[i].hit == hit)
            return true;
    for (uint32_t i = 0; k->prompt && i < k->prompt->n_passages; i++)
        if (k->prompt->passages[i].hit == hit)
            return true;
    return false;
}

/* A citation always finds its context. */
static void each_context(struct buf *out, const struct ask *k, void (*add)(struct buf *, const struct hits *, uint32_t))
{
    json_add_open(out, '[');
    for (uint32_t i = 0; i < k->hits.n; i++)
        if (i < k->query.top_k || is_shown(k, i))
            add(out, &k->hits, i);
    json_add_close(out, ']');
}

void answer_json_contexts(struct buf *out, const struct ask *k)
{
    each_context(out, k, add_hit);
}

static void add_chunk_id(struct buf *out, const struct hits *h, uint32_t i)
{
    struct chunk_view c;
    hit_view(h, i, &c);
    json_add_open(out, '"');
    json_escape(out, c.document_id);
    buf_addf(out, "#%u\"", c.ordinal);
}

void answer_json_chunk_ids(struct buf *out, const struct ask *k)
{
    each_context(out, k, add_chunk_id);
}

static void add_citation(struct buf *out, uint32_t n, const struct chunk_view *c, uint32_t start, uint32_t end)
{
    json_add_open(out, '{');
    json_add_key(out, "n");
    json_add_u64(out, n);
    add_chunk_name(out, c);
    add_span(out, start, end);
    json_add_close(out, '}');
}

void answer_json_citations(struct buf *out, const struct ask *k)
{
    json_add_open(out, '[');
    for (uint32_t i = 0; i < k->answer.n_citations; i++) {
        const struct citation *ct = &k->answer.citations[i];
        struct chunk_view c;
        hit_view(&k->hits, ct->hit, &c);
        add_citation(out, ct->n, &c, ct->start, ct->end);
    }
    json_add_close(out, ']');
}

void answer_json_passage(struct buf *out, const struct ask *k, uint32_t i)
{
    struct chunk_view c;
    hit_view(&k->hits, k->prompt->passages[i].hit, &c);
    add_citation(out, i + 1, &c, c.start, c.end);
}

void answer_json_timings(struct buf *out, const int64_t *stage_ns, int64_t admission_ns, int64_t total_ns)
{
    json_add_key(out, "timings_ms");
    json_add_open(out, '{');
    json_add_key(out, "total");
    json_add_fixed(out, (double)(total_ns + admission_ns) / 1e6, 3);
    json_add_key(out, "admission");
    json_add_fixed(out, (double)admission_ns / 1e6, 3);
    for (int s = 0; s < STAGES; s++)
        if (stage_ns[s] >= 0) {
            json_add_key(out, stage_name((enum stage)s));
            json_add_fixed(out, (double)stage_ns[s] / 1e6, 3);
        }
    json_add_close(out, '}');
}

void answer_json_explain(struct buf *out, const struct ask *k)
{
    if (k->explain.len)
        json_add_raw(out, buf_str(&k->explain));
    if (k->query.overrides.len) {
        json_add_key(out, "overrides");
        json_add_raw(out, k->query.overrides);
    }
    json_add_key(out, "cut_short");
    if (k->cut_short)
        json_add_string(out, str_of(k->cut_short));
    else
        json_add_null(out);
}

static void add_text_or_null(struct buf *out, const char *key, const char *value)
{
    json_add_key(out, key);
    if (value)
        json_add_string(out, str_of(value));
    else
        json_add_null(out);
}

static void add_usage(struct buf *out, const struct chat_usage *u)
{
    json_add_key(out, "usage");
    json_add_open(out, '{');
    json_add_key(out, "prompt_tokens");
    json_add_u64(out, u->prompt);
    json_add_key(out, "completion_tokens");
    json_add_u64(out, u->completion);
    json_add_key(out, "total_tokens");
    json_add_u64(out, (uint64_t)u->prompt + u->completion);
    json_add_key(out, "cached_tokens");
    json_add_u64(out, u->cached);
    json_add_close(out, '}');
}

/* Nano-CNY as CNY, exactly. */
static void add_cost(struct buf *out, nano_cny cost)
{
    char text[40];
    int n = snprintf(text, sizeof text, "%lld.%09lld", (long long)(cost / NANO_PER_CNY), (long long)(cost % NANO_PER_CNY));
    while (text[n - 1] == '0')
        n--;
    n -= text[n - 1] == '.';
    json_add_key(out, "cost_cny");
    json_add_raw(out, str_make(text, (size_t)n));
}

void answer_json_add(struct buf *out, const struct answer_parts *a)
{
    json_add_key(out, "id");
    json_add_string(out, a->id);
    json_add_key(out, "answer");
    json_add_string(out, a->text);
    json_add_key(out, "found");
    json_add_bool(out, a->found);
    json_add_key(out, "supported");
    json_add_bool(out, a->supported);
    json_add_key(out, "confidence");
    json_add_fixed(out, (double)a->confidence, 4);
    json_add_key(out, "citations");
    json_add_raw(out, a->citations);
    add_text_or_null(out, "cache_hit", "none");
    add_text_or_null(out, "complexity", complexity_name(a->complexity));
    add_text_or_null(out, "model", a->model);
    add_text_or_null(out, "source", answer_source_name(a->source));
    json_add_key(out, "degraded");
    json_add_bool(out, a->degraded_reason != NULL);
    add_text_or_null(out, "degraded_reason", a->degraded_reason);
    add_cost(out, a->cost);
    add_usage(out, &a->usage);
    answer_json_timings(out, a->stage_ns, a->admission_ns, a->total_ns);
    if (a->explain.ptr) {
        json_add_key(out, "explain");
        json_add_open(out, '{');
        json_add_raw(out, a->explain);
        json_add_close(out, '}');
    }
}
