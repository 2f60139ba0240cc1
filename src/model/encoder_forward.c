/* The forward pass: word + position, layer norm, then for each layer
 *
 *   x --quantise--> qkv --attention, a head of a text at a time--> context
 *   in blocks of rows: context --quantise--> attention_out, + x, norm --quantise--> ffn_in, GELU --quantise--> ffn_out,
 *   + x, norm --> x
 *
 * Tokens of all windows lie one after another; only attention sees where a window ends. With CLS pooling, unless the
 * tokens' states are wanted, the last layer needs every k and v, but the query, the output and the feed-forward part of
 * each window's first token alone: the rows of x are packed to those, and the rest of the pass runs on them. */
#include "model/encoder_int.h"

#include <math.h>
#include <string.h>

/* ---- memory -------------------------------------------------------------------------------------------------- */
enum { ALIGN = 64 };

struct carver {
    char *base; /* NULL: only counting */
    size_t used;
    bool failed;
};

static void *carve(struct carver *c, size_t rows, size_t row_bytes)
{
    size_t bytes, end;
    if (!size_mul_ok(rows, row_bytes, &bytes) || !size_add_ok(bytes, ALIGN - 1, &bytes) ||
        !size_add_ok(c->used, bytes / ALIGN * ALIGN, &end)) {
        c->failed = true;
        return NULL;
    }
    char *p = c->base ? c->base + c->used : NULL;
    c->used = end;
    return p;
}

static struct quantized carve_quantized(struct carver *c, size_t rows, size_t width)
{
    struct quantized q = {carve(c, rows, width), NULL, NULL};
    q.scale = carve(c, rows, sizeof *q.scale);
    q.zero = carve(c, rows, sizeof *q.zero);
    return q;
}

static void carve_all(struct encoder *e, struct carver *c, uint32_t n)
{
    const struct model_info *info = &e->model->info;
    size_t f = sizeof(float), hidden = info->hidden, wide = gemm_pad_n(info->intermediate);
    size_t widest = info->intermediate > info->hidden ? info->intermediate : info->hidden;
    e->tokens = carve(c, n, sizeof *e->tokens);
    e->x = carve(c, n, hidden * f);
    e->qkv = carve(c, n, gemm_pad_n(3 * info->hidden) * f);
    e->context = carve(c, n, hidden * f);
    e->heads = carve(c, vec_attention_scratch(n, info->hidden / info->heads), f);
    e->wide = carve(c, BLOCK_ROWS, wide * f);
    e->narrow = carve(c, BLOCK_ROWS, gemm_pad_n(info->hidden) * f);
    e->input = carve_quantized(c, n, gemm_pad_k(info->hidden));
    e->block = carve_quantized(c, BLOCK_ROWS, gemm_pad_k((uint32_t)widest));
}

rag_code encoder_reserve(struct encoder *e, uint32_t n)
{
    if (n <= e->capacity)
        return RAG_OK;
    n = (n + 63) / 64 * 64;
    struct carver c = {0};
    carve_all(e, &c, n);
    size_t size;
    void *memory = !c.failed && size_add_ok(c.used, ALIGN - 1, &size) ? mem_alloc(MEM_MODEL, size) : NULL;
    if (memory && e->n_tokens) { /* the step that is being filled moves along */
        c = (struct carver){(char *)(((uintptr_t)memory + ALIGN - 1) / ALIGN * ALIGN), 0, false};
        uintptr_t old = ((uintptr_t)e->memory + ALIGN - 1) / ALIGN * ALIGN; /* tokens come first in the block */
        memcpy(c.base, (const void *)old, e->n_tokens * sizeof *e->tokens);
    }
    mem_free(MEM_MODEL, e->memory);
    e->memory = memory;
    e->capacity = memory ? n : 0;
    if (!memory)
        return RAG_ENOMEM;
    c = (struct carver){(char *)(((uintptr_t)memory + ALIGN - 1) / ALIGN * ALIGN), 0, false};
    carve_all(e, &c, n);
    return RAG_OK;
}

/* ---- one layer ----------------------------------------------------------------------------------------------- */
static void quantize_rows(const struct encoder *e, const float *x, size_t stride, uint32_t m, uint32_t k,
                          const struct quantized *to)
{
    if (e->model->info.weights != MODEL_INT8)
        return;
    uint32_t padded = gemm_pad_k(k);
    for (uint32_t r = 0; r < m; r++)
        e->vec->quantize(x + r * stride, k, padded, to->q + (size_t)r * padded, to->scale + r, to->zero + r);
}

/* out[m][out_stride] = x times w; `q` are the same rows, quantised. */
static void multiply(const struct encoder *e, const float *x, size_t stride, const struct quantized *q, uint32_t m,
                     const struct gemm_matrix *w, float *out, size_t out_stride)
{
    if (e->model->info.weights == MODEL_INT8) {
        struct gemm_rows rows = {q->q, q->scale, q->zero, m};
        e->gemm->int8(&rows, w, out, out_stride);
    } else {
        e->vec->gemm_f32(x, stride, m, w, out, out_stride);
    }
}

/* x = norm(x + y) for m rows; y has y_stride floats a row. */
static void add_norm(const struct encoder *e, float *x, const float *y, size_t y_stride, uint32_t m,
                     const struct layer_norm *norm)
{
    uint32_t hidden = e->model->info.hidden;
    for (uint32_t r = 0; r < m; r++)
        e->vec->norm(x + (size_t)r * hidden, y + r * y_stride, norm->gamma, norm->beta, hidden,
                     e->model->info.layer_norm_eps);
}

static void embed(struct encoder *e)
{
    const struct model *m = e->model;
    uint32_t hidden = m->info.hidden;
    for (uint32_t w = 0; w < e->n_windows; w++)
        for (uint32_t t = 0; t < e->windows[w].n; t++) {
            size_t at = e->windows[w].first + t, id = e->tokens[at];
            float *x = e->x + at * hidden;
            const float *position = m->position + (size_t)t * hidden;
            if (m->word) {
                const int8_t *word = m->word + id * hidden;
                for (uint32_t i = 0; i < hidden; i++)
                    x[i] = m->word_scale[id] * (float)word[i] + position[i];
            } else {
                const float *word = m->word_f32 + id * hidden;
                for (uint32_t i = 0; i < hidden; i++)
                    x[i] = word[i] + position[i];
            }
            e->vec->norm(x, NULL, m->embedding_norm.gamma, m->embedding_norm.beta, hidden, m->info.layer_norm_eps);
        }
}

/* Context of all tokens, or of each window's first one alone: rows of q and context are then one a window. */
static void attend(const struct encoder *e, const float *q, size_t q_stride, bool first_only)
{
    const struct model_info *info = &e->model->info;
    size_t stride = gemm_pad_n(3 * info->hidden);
    uint32_t dim = info->hidden / info->heads;
    for (uint32_t w = 0; w < e->n_windows; w++) {
        const struct window *win = &e->windows[w];
        size_t row = first_only ? w : win->first;
        const float *own = e->qkv + win->first * stride;
        for (uint32_t h = 0; h < info->heads; h++) {
            struct vec_attention a = {.q = q + row * q_stride + h * dim,
                                      .k = own + info->hidden + h * dim,
                                      .v = own + 2 * info->hidden + h * dim,
                                      .out = e->context + row * info->hidden + h * dim,
                                      .scratch = e->heads,
                                      .q_stride = q_stride,
                                      .kv_stride = stride,
                                      .out_stride = info->hidden,
                                      .n_q = first_only ? 1 : win->n,
                                      .n = win->n,
                                      .dim = dim};
            e->vec->attend(&a);
        }
    }
}

/* All after attention, for `rows` rows of context and x. */
static void feed_forward(struct encoder *e, const struct encoder_layer *l, uint32_t rows)
{
    const struct model_info *info = &e->model->info;
    uint32_t hidden = info->hidden, wide = info->intermediate;
    size_t narrow_stride = gemm_pad_n(hidden), wide_stride = gemm_pad_n(wide);
    for (uint32_t row = 0; row < rows; row += BLOCK_ROWS) {
        uint32_t m = rows - row < BLOCK_ROWS ? rows - row : BLOCK_ROWS;
        float *x = e->x + (size_t)row * hidden, *context = e->context + (size_t)row * hidden;
        quantize_rows(e, context, hidden, m, hidden, &e->block);
        multiply(e, context, hidden, &e->block, m, &l->attention_out, e->narrow, narrow_stride);
        add_norm(e, x, e->narrow, narrow_stride, m, &l->attention_norm);
        quantize_rows(e, x, hidden, m, hidden, &e->block);
        multiply(e, x, hidden, &e->block, m, &l->ffn_in, e->wide, wide_stride);
        for (uint32_t r = 0; r < m; r++)
            e->vec->gelu(e->wide + r * wide_stride, wide);
        quantize_rows(e, e->wide, wide_stride, m, wide, &e->block);
        multiply(e, e->wide, wide_stride, &e->block, m, &l->ffn_out, e->narrow, narrow_stride);
        add_norm(e, x, e->narrow, narrow_stride, m, &l->ffn_norm);
    }
}

static void full_layer(struct encoder *e, const struct encoder_layer *l)
{
    uint32_t hidden = e->model->info.hidden;
    size_t stride = gemm_pad_n(3 * hidden);
    quantize_rows(e, e->x, hidden, e->n_tokens, hidden, &e->input);
    multiply(e, e->x, hidden, &e->input, e->n_tokens, &l->qkv, e->qkv, stride);
    attend(e, e->qkv, stride, false);
    feed_forward(e, l, e->n_tokens);
}

/* The last layer under CLS pooling: afterwards row w of x is the first token of window w. */
static void first_token_layer(struct encoder *e, const struct encoder_layer *l)
{
    uint32_t hidden = e->model->info.hidden;
    size_t stride = gemm_pad_n(3 * hidden);
    quantize_rows(e, e->x, hidden, e->n_tokens, hidden, &e->input);
    struct gemm_matrix kv = gemm_slice(&l->qkv, hidden, 2 * hidden), q = gemm_slice(&l->qkv, 0, hidden);
    multiply(e, e->x, hidden, &e->input, e->n_tokens, &kv, e->qkv + hidden, stride);
    for (uint32_t w = 0; w < e->n_windows; w++) /* rows only move towards the start */
        memmove(e->x + (size_t)w * hidden, e->x + (size_t)e->windows[w].first * hidden, hidden * sizeof *e->x);
    for (uint32_t w = 0; w < e->n_windows; w += BLOCK_ROWS) { /* their queries wait in the q columns of rows w */
        uint32_t m = e->n_windows - w < BLOCK_ROWS ? e->n_windows - w : BLOCK_ROWS;
        const float *x = e->x + (size_t)w * hidden;
        quantize_rows(e, x, hidden, m, hidden, &e->block);
        multiply(e, x, hidden, &e->block, m, &q, e->qkv + w * stride, stride);
    }
    attend(e, e->qkv, stride, true);
    feed_forward(e, l, e->n_windows);
}

/* ---- vectors ------------------------------------------------------------------------------------------------- */
void encoder_normalize(float *v, uint32_t dims)
{
    double squares = 0;
    for (uint32_t i = 0; i < dims; i++)
        squares += (double)v[i] * (double)v[i];
    double inverse = 1 / sqrt(squares);
    bool fine = isfinite(squares) && isfinite(inverse);
    for (uint32_t i = 0; i < dims; i++)
        v[i] = fine ? (float)((double)v[i] * inverse) : 0;
}

static void pool(struct encoder *e, bool packed, float *out)
{
    const struct model_info *info = &e->model->info;
    uint32_t dims = info->hidden;
    for (uint32_t w = 0; w < e->n_windows; w++) {
        const struct window *win = &e->windows[w];
        float *v = e->context; /* free by now */
        memcpy(v, e->x + (size_t)(packed ? w : win->first) * dims, dims * sizeof *v);
        if (info->pooling == MODEL_POOL_MEAN) {
            for (uint32_t t = 1; t < win->n; t++)
                for (uint32_t i = 0; i < dims; i++)
                    v[i] += e->x[(size_t)(win->first + t) * dims + i];
            for (uint32_t i = 0; i < dims; i++)
                v[i] /= (float)win->n;
        }
        if (info->normalize)
            encoder_normalize(v, dims);
        for (uint32_t i = 0; i < dims; i++)
            out[(size_t)win->text * dims + i] += win->weight * v[i];
    }
}

static void hand_out_states(const struct encoder *e)
{
    for (uint32_t w = 0; w < e->n_windows; w++) {
        const struct window *win = &e->windows[w];
        size_t at = win->first + win->new_from;
        uint32_t n = win->n - 1 - win->new_from;
        if (n)
            e->sink->take(e->sink->ctx, win->text, e->tokens + at, e->x + at * e->model->info.hidden, n);
    }
}

rag_code encoder_forward(struct encoder *e, const atomic_bool *cancel, float *out)
{
    const struct model_info *info = &e->model->info;
    /* A slice of qkv starts at a multiple of GEMM_N only when hidden is one. */
    bool first_only = info->pooling == MODEL_POOL_CLS && info->hidden % GEMM_N == 0 && !e->sink;
    embed(e);
    for (uint32_t i = 0; i < info->layers; i++) {
        if (cancel && atomic_load_explicit(cancel, memory_order_relaxed))
            return RAG_ECANCELED;
        if (first_only && i + 1 == info->layers)
            first_token_layer(e, &e->model->layers[i]);
        else
            full_layer(e, &e->model->layers[i]);
    }
    if (e->sink)
        hand_out_states(e);
    pool(e, first_only && info->layers > 0, out);
    return RAG_OK;
}
