#include "stages/embedding/embedding.h"

#include <string.h>

#include "text/utf8.h"

/* About one window of tokens: what comes after it would cost as much again and hardly turn the vector. */
enum { QUESTION_BYTES = 1536 };

struct collector {
    const struct token_weights *weights;
    struct arena *const *arenas;
    struct qvec *const *out;
    uint32_t dims;
    bool failed;
};

static void take(void *ctx, uint32_t text, const uint32_t *ids, const float *states, uint32_t n)
{
    struct collector *c = ctx;
    struct qvec *v = c->out[text];
    if (!v->token_states) {
        v->token_states = arena_array(c->arenas[text], (size_t)EMBEDDING_TOKENS * c->dims, sizeof(float));
        v->token_weights = arena_array(c->arenas[text], EMBEDDING_TOKENS, sizeof(float));
    }
    float *to = (float *)(uintptr_t)v->token_states, *weights = (float *)(uintptr_t)v->token_weights;
    c->failed |= !to || !weights;
    for (uint32_t i = 0; i < n && v->n_tokens < EMBEDDING_TOKENS && !c->failed; i++) {
        float weight = token_weight(c->weights, ids[i]);
        if (!(weight > 0))
            continue;
        memcpy(to + (size_t)v->n_tokens * c->dims, states + (size_t)i * c->dims, c->dims * sizeof *to);
        weights[v->n_tokens++] = weight;
    }
}

rag_code embedding_run(struct encoder_pool *encoders, const struct token_weights *weights,
                       const struct query *const *queries, struct arena *const *arenas, uint32_t n,
                       struct qvec *const *out)
{
    uint32_t dims = model_info(encoder_pool_model(encoders))->dims;
    struct str *texts = arena_array(arenas[0], n, sizeof *texts);
    float *all = arena_array(arenas[0], (size_t)n * dims, sizeof *all);
    if (!texts || !all)
        return RAG_ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        texts[i] = str_make(queries[i]->text.ptr, utf8_floor(queries[i]->text, QUESTION_BYTES));
    struct collector c = {weights, arenas, out, dims, false};
    struct token_sink sink = {take, &c};
    rag_code rc = encoder_pool_run(encoders, ENCODE_QUERY, texts, n, NULL, weights ? &sink : NULL, all, NULL);
    if (!rc && c.failed)
        rc = RAG_ENOMEM;
    for (uint32_t i = 0; i < n && !rc; i++) {
        float *v = arena_array(arenas[i], dims, sizeof *v);
        if (!v)
            return RAG_ENOMEM;
        memcpy(v, all + (size_t)i * dims, dims * sizeof *v);
        out[i]->v = v;
        out[i]->dims = dims;
        out[i]->why_not = NULL;
    }
    return rc;
}
