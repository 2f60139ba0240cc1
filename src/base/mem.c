#include "base/mem.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic int64_t in_use[MEM_TAGS];
static _Atomic long fault_countdown; /* 0: off; 1: the next allocation fails */
static atomic_bool fault_fired;

const char *mem_tag_name(enum mem_tag tag)
{
    static const char *const names[MEM_TAGS] = {"misc",  "request", "text", "index",
                                                "store", "extract", "api",  "model"};
    return (unsigned)tag < MEM_TAGS ? names[tag] : "unknown";
}

static bool fault_now(void)
{
    if (atomic_load_explicit(&fault_countdown, memory_order_relaxed) == 0)
        return false;
    if (atomic_fetch_sub_explicit(&fault_countdown, 1, memory_order_relaxed) != 1)
        return false;
    atomic_store_explicit(&fault_fired, true, memory_order_relaxed);
    return true;
}

static void count(enum mem_tag tag, int64_t delta)
{
    atomic_fetch_add_explicit(&in_use[tag], delta, memory_order_relaxed);
}

void *mem_alloc(enum mem_tag tag, size_t n)
{
    if (fault_now())
        return NULL;
    void *p = malloc(n ? n : 1);
    if (p)
        count(tag, (int64_t)malloc_usable_size(p));
    return p;
}

void *mem_zalloc(enum mem_tag tag, size_t n)
{
    if (fault_now())
        return NULL;
    void *p = calloc(1, n ? n : 1);
    if (p)
        count(tag, (int64_t)malloc_usable_size(p));
    return p;
}

void *mem_realloc(enum mem_tag tag, void *p, size_t n)
{
    if (fault_now())
        return NULL;
    int64_t before = p ? (int64_t)malloc_usable_size(p) : 0;
    void *q = realloc(p, n ? n : 1);
    if (q)
        count(tag, (int64_t)malloc_usable_size(q) - before);
    return q;
}

char *mem_strndup(enum mem_tag tag, const char *s, size_t n)
{
    char *p = mem_alloc(tag, n + 1);
    if (p) {
        if (n)
            memcpy(p, s, n);
        p[n] = 0;
    }
    return p;
}

void mem_free(enum mem_tag tag, void *p)
{
    if (!p)
        return;
    count(tag, -(int64_t)malloc_usable_size(p));
    free(p);
}

int64_t mem_in_use(enum mem_tag tag)
{
    return atomic_load_explicit(&in_use[tag], memory_order_relaxed);
}

void fault_arm_alloc(unsigned nth)
{
    atomic_store(&fault_fired, false);
    atomic_store(&fault_countdown, (long)nth);
}

bool fault_disarm(void)
{
    atomic_store(&fault_countdown, 0L);
    return atomic_load(&fault_fired);
}
