#include "stages/embedding/embedding.h"

#include "text/utf8.h"

/* About one window of tokens: what comes after it would cost as much again and hardly turn the vector. */
enum { QUESTION_BYTES = 1536 };

rag_code embedding_run(struct encoder_pool *encoders, const struct query *const *queries,
                       struct arena *const *arenas, uint32_t n, struct qvec *const *out)
{
    uint32_t dims = model_info(encoder_pool_model(encoders))->dims;
    struct str *texts = arena_array(arenas[0], n, sizeof *texts);
    float *all = arena_array(arenas[0], (size_t)n * dims, sizeof *all);
    if (!texts || !all)
        return RAG_ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        texts[i] = str_make(queries[i]->text.ptr, utf8_floor(queries[i]->text, QUESTION_BYTES));
    rag_code rc = encoder_pool_run(encoders, ENCODE_QUERY, texts, n, NULL, all, NULL);
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
