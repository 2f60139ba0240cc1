#include "model/encoder_pool.h"

#include <pthread.h>

#include "base/mem.h"

enum { POOL_KEEPS = 32 };

struct encoder_pool {
    const struct model *model;
    pthread_mutex_t mu;
    struct encoder *free_list[POOL_KEEPS]; /* under mu */
    uint32_t n;
};

rag_code encoder_pool_new(const struct model *m, struct encoder_pool **out)
{
    struct encoder_pool *p = mem_zalloc(MEM_MODEL, sizeof *p);
    if (!p)
        return RAG_ENOMEM;
    p->model = m;
    pthread_mutex_init(&p->mu, NULL);
    *out = p;
    return RAG_OK;
}

void encoder_pool_free(struct encoder_pool *p)
{
    if (!p)
        return;
    for (uint32_t i = 0; i < p->n; i++)
        encoder_free(p->free_list[i]);
    pthread_mutex_destroy(&p->mu);
    mem_free(MEM_MODEL, p);
}

const struct model *encoder_pool_model(const struct encoder_pool *p)
{
    return p->model;
}

rag_code encoder_pool_run(struct encoder_pool *p, enum encode_kind kind, const struct str *texts, uint32_t n,
                          const atomic_bool *cancel, const struct token_sink *sink, float *out, uint64_t *n_tokens)
{
    struct encoder *e = NULL;
    pthread_mutex_lock(&p->mu);
    if (p->n)
        e = p->free_list[--p->n];
    pthread_mutex_unlock(&p->mu);
    rag_code rc = e ? RAG_OK : encoder_new(p->model, &e);
    if (rc)
        return rc;
    rc = encoder_run_tokens(e, kind, texts, n, cancel, sink, out, n_tokens);
    pthread_mutex_lock(&p->mu);
    if (p->n < POOL_KEEPS) {
        p->free_list[p->n++] = e;
        e = NULL;
    }
    pthread_mutex_unlock(&p->mu);
    encoder_free(e);
    return rc;
}
