#include "net/client_int.h"

#include "base/mem.h"

static void put(struct timer_heap *h, uint32_t i, struct net_timer *t)
{
    h->at[i] = t;
    t->at = i + 1;
}

/* Moves t, which belongs at i or somewhere above or below it, to its place. */
static void settle(struct timer_heap *h, uint32_t i, struct net_timer *t)
{
    for (; i && h->at[(i - 1) / 2]->due_ns > t->due_ns; i = (i - 1) / 2)
        put(h, i, h->at[(i - 1) / 2]);
    for (uint32_t child; (child = 2 * i + 1) < h->n; i = child) {
        child += child + 1 < h->n && h->at[child + 1]->due_ns < h->at[child]->due_ns;
        if (h->at[child]->due_ns >= t->due_ns)
            break;
        put(h, i, h->at[child]);
    }
    put(h, i, t);
}

static bool grow(struct timer_heap *h)
{
    size_t bytes;
    uint32_t cap = h->cap ? 2 * h->cap : 64;
    if (cap < h->cap || !size_mul_ok(cap, sizeof *h->at, &bytes))
        return false;
    struct net_timer **at = mem_realloc(MEM_MISC, h->at, bytes);
    if (!at)
        return false;
    h->at = at;
    h->cap = cap;
    return true;
}

bool timer_heap_set(struct timer_heap *h, struct net_timer *t, int64_t due_ns)
{
    if (!t->at) {
        if (h->n == h->cap && !grow(h))
            return false;
        t->at = ++h->n;
    }
    t->due_ns = due_ns;
    settle(h, t->at - 1, t);
    return true;
}

void timer_heap_stop(struct timer_heap *h, struct net_timer *t)
{
    if (!t->at)
        return;
    uint32_t hole = t->at - 1;
    struct net_timer *last = h->at[--h->n];
    t->at = 0;
    if (last != t)
        settle(h, hole, last);
}

void timer_heap_clear(struct timer_heap *h)
{
    for (uint32_t i = 0; i < h->n; i++)
        h->at[i]->at = 0;
    mem_free(MEM_MISC, h->at);
    *h = (struct timer_heap){0};
}
