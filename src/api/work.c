#include "api/api_int.h"

static void *work_loop(void *arg)
{
    struct api *api = arg;
    pthread_mutex_lock(&api->work_mu);
    while (!api->work_stop || api->work_n) {
        if (!api->work_n) {
            pthread_cond_wait(&api->work_cv, &api->work_mu);
            continue;
        }
        struct work w = api->work[api->work_at];
        api->work_at = (api->work_at + 1) % WORK_QUEUE;
        api->work_n--;
        pthread_mutex_unlock(&api->work_mu);
        w.run(w.rq); /* gives rq away */
        pthread_mutex_lock(&api->work_mu);
    }
    pthread_mutex_unlock(&api->work_mu);
    return NULL;
}

rag_code work_start(struct api *api, uint32_t n)
{
    pthread_mutex_init(&api->work_mu, NULL);
    pthread_cond_init(&api->work_cv, NULL);
    for (uint32_t i = 0; i < n && i < MAX_WORKERS; i++) {
        if (pthread_create(&api->workers[i], NULL, work_loop, api))
            return RAG_ENOMEM;
        api->n_workers++;
    }
    return RAG_OK;
}

void work_stop(struct api *api)
{
    pthread_mutex_lock(&api->work_mu);
    api->work_stop = true;
    pthread_cond_broadcast(&api->work_cv);
    pthread_mutex_unlock(&api->work_mu);
    for (uint32_t i = 0; i < api->n_workers; i++)
        pthread_join(api->workers[i], NULL);
    pthread_mutex_destroy(&api->work_mu);
    pthread_cond_destroy(&api->work_cv);
}

static void refuse(struct request *rq)
{
    reply_error(rq, 503, "busy", NULL, "too many uploads are waiting; try again");
}

void work_submit(struct request *rq, void (*fn)(struct request *rq))
{
    struct api *api = rq->api;
    if (!request_suspend(rq)) /* before the hand-over: the worker may be done at once */
        return;
    pthread_mutex_lock(&api->work_mu);
    bool full = api->work_n == WORK_QUEUE;
    if (!full) {
        api->work[(api->work_at + api->work_n++) % WORK_QUEUE] = (struct work){rq, fn};
        pthread_cond_signal(&api->work_cv);
    }
    pthread_mutex_unlock(&api->work_mu);
    if (full)
        request_resume(rq, refuse);
}
