#include "stages/embedding/embedding.h"

rag_code embedding_run(struct encoder_pool *encoders, const struct query *const *queries,
                       struct arena *const *arenas, uint32_t n, struct qvec *const *out)
{
    uint32_t dims = model_info(encoder_pool_model(encoders))->dims;
    struct str *texts = arena_array(arenas[0], n, sizeof *texts);
    float *all = arena_array(arenas[0], (size_t)n * dims, sizeof *all);
    if (!texts || !all)
        return RAG_ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        texts[i] = queries[i]->text;
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
