#include "api/api_int.h"

/* Takes what is queued, at most q->most, and never waits for more. */
static void *work_loop(void *arg)
{
    struct work_queue *q = arg;
    struct request *taken[WORK_MOST];
    pthread_mutex_lock(&q->mu);
    while (!q->stop || q->n) {
        if (!q->n) {
            pthread_cond_wait(&q->cv, &q->mu);
            continue;
        }
        uint32_t n = 0;
        for (; n < q->most && q->n; q->n--) {
            taken[n++] = q->items[q->at];
            q->at = (q->at + 1) % q->capacity;
        }
        pthread_mutex_unlock(&q->mu);
        q->run(taken, n); /* gives them away */
        pthread_mutex_lock(&q->mu);
    }
    pthread_mutex_unlock(&q->mu);
    return NULL;
}

rag_code work_start(struct work_queue *q, uint32_t n_threads, uint32_t capacity, uint32_t most,
                    void (*run)(struct request *const *rqs, uint32_t n))
{
    pthread_mutex_init(&q->mu, NULL);
    pthread_cond_init(&q->cv, NULL);
    q->capacity = capacity;
    q->most = most < WORK_MOST ? most : WORK_MOST;
    q->run = run;
    q->items = mem_alloc(MEM_API, capacity * sizeof(struct request *));
    if (!q->items)
        return RAG_ENOMEM;
    for (uint32_t i = 0; i < n_threads && i < MAX_WORKERS; i++) {
        if (pthread_create(&q->threads[i], NULL, work_loop, q))
            return RAG_ENOMEM;
        q->n_threads++;
    }
    return RAG_OK;
}

void work_stop(struct work_queue *q)
{
    if (!q->capacity)
        return;
    pthread_mutex_lock(&q->mu);
    q->stop = true;
    pthread_cond_broadcast(&q->cv);
    pthread_mutex_unlock(&q->mu);
    for (uint32_t i = 0; i < q->n_threads; i++)
        pthread_join(q->threads[i], NULL);
    pthread_mutex_destroy(&q->mu);
    pthread_cond_destroy(&q->cv);
    mem_free(MEM_API, q->items);
}

void upload_work(struct request *const *rqs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        rqs[i]->work(rqs[i]);
}

static void refuse(struct request *rq)
{
    reply_error(rq, 503, "busy", NULL, "too many requests of this kind are waiting; try again");
}

static bool push(struct work_queue *q, struct request *rq)
{
    pthread_mutex_lock(&q->mu);
    bool full = q->n == q->capacity;
    if (!full) {
        q->items[(q->at + q->n++) % q->capacity] = rq;
        pthread_cond_signal(&q->cv);
    }
    pthread_mutex_unlock(&q->mu);
    return !full;
}

bool work_submit(struct work_queue *q, struct request *rq)
{
    if (!request_suspend(rq)) /* before the hand-over: the worker may be done at once */
        return false;
    if (push(q, rq))
        return true;
    request_resume(rq, refuse);
    return false;
}
