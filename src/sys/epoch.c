/* Each thread owns a slot with the epoch it pinned, 0 when it is outside. A retired pointer carries the epoch
 * at its retirement, E, and the global epoch moves on to E + 1. A reader whose slot shows <= E may still hold
 * it. A reader that read the global epoch E before, but stores its slot after we scanned it as 0, loads the
 * shared pointer after that store, hence after the swap that preceded the scan: it cannot see the old one
 * (all four accesses are seq_cst). */
#include "sys/epoch.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"

struct slot {
    _Alignas(64) _Atomic uint64_t epoch;
    atomic_bool taken;
};
struct retired {
    struct retired *next;
    void *p;
    void (*free_fn)(void *);
    uint64_t epoch;
};

static struct slot slots[EPOCH_THREADS];
static _Atomic uint64_t global_epoch = 1;
static pthread_mutex_t retired_mu = PTHREAD_MUTEX_INITIALIZER;
static struct retired *retired_list; /* under retired_mu */
static pthread_key_t slot_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Thread_local struct slot *my_slot;
static _Thread_local unsigned my_depth;

static void slot_release(void *p)
{
    struct slot *s = p;
    atomic_store(&s->epoch, 0);
    atomic_store(&s->taken, false);
}

static void init_key(void)
{
    RAG_ASSERT(pthread_key_create(&slot_key, slot_release) == 0);
}

static struct slot *slot_claim(void)
{
    pthread_once(&once, init_key);
    for (unsigned i = 0; i < EPOCH_THREADS; i++) {
        bool no = false;
        if (atomic_compare_exchange_strong(&slots[i].taken, &no, true)) {
            pthread_setspecific(slot_key, &slots[i]);
            return &slots[i];
        }
    }
    rag_assert_failed("at most EPOCH_THREADS threads hold epoch pins", __FILE__, __LINE__);
}

void epoch_pin(void)
{
    if (my_depth++)
        return;
    if (!my_slot)
        my_slot = slot_claim();
    atomic_store(&my_slot->epoch, atomic_load(&global_epoch));
}

void epoch_unpin(void)
{
    RAG_ASSERT(my_depth);
    if (--my_depth == 0)
        atomic_store(&my_slot->epoch, 0);
}

static uint64_t oldest_pin(void)
{
    uint64_t oldest = UINT64_MAX;
    for (unsigned i = 0; i < EPOCH_THREADS; i++) {
        uint64_t e = atomic_load(&slots[i].epoch);
        if (e && e < oldest)
            oldest = e;
    }
    return oldest;
}

unsigned epoch_collect(void)
{
    struct retired *ready = NULL;
    unsigned waiting = 0;
    pthread_mutex_lock(&retired_mu);
    uint64_t oldest = oldest_pin();
    for (struct retired **at = &retired_list, *r; (r = *at);) {
        if (r->epoch < oldest) {
            *at = r->next;
            r->next = ready;
            ready = r;
        } else {
            at = &r->next;
            waiting++;
        }
    }
    pthread_mutex_unlock(&retired_mu);
    while (ready) {
        struct retired *r = ready;
        ready = r->next;
        r->free_fn(r->p);
        mem_free(MEM_MISC, r);
    }
    return waiting;
}

void epoch_retire(void *p, void (*free_fn)(void *))
{
    if (!p)
        return;
    struct retired *r = mem_alloc(MEM_MISC, sizeof *r);
    uint64_t epoch = atomic_fetch_add(&global_epoch, 1);
    if (!r) { /* nowhere to note it: wait for the readers here. A pin of our own would never end: a leak is better */
        while (!my_depth && oldest_pin() <= epoch)
            sched_yield();
        if (!my_depth)
            free_fn(p);
        return;
    }
    *r = (struct retired){.p = p, .free_fn = free_fn, .epoch = epoch};
    pthread_mutex_lock(&retired_mu);
    r->next = retired_list;
    retired_list = r;
    pthread_mutex_unlock(&retired_mu);
    epoch_collect();
}
