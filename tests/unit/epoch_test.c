/* Pins and retirement: nothing is freed under a reader, everything is freed in the end. */
#include "test.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "sys/epoch.h"

enum { READERS = 4, SWAPS = 20000, ALIVE = 0x600d };

struct thing {
    unsigned alive; /* plain: a free beside a read is a race that the thread sanitizer sees */
};
static _Atomic(struct thing *) shared;
static atomic_bool stop;
static atomic_uint freed, seen_dead;

static struct thing *thing_new(void)
{
    struct thing *t = mem_alloc(MEM_MISC, sizeof *t);
    CHECK(t != NULL);
    t->alive = ALIVE;
    return t;
}

static void thing_free(void *p)
{
    ((struct thing *)p)->alive = 0;
    mem_free(MEM_MISC, p);
    atomic_fetch_add(&freed, 1);
}

static void *reader_main(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        epoch_pin();
        struct thing *t = atomic_load(&shared);
        epoch_pin(); /* nests */
        for (int i = 0; i < 20; i++)
            if (t->alive != ALIVE)
                atomic_fetch_add(&seen_dead, 1);
        epoch_unpin();
        if (t->alive != ALIVE)
            atomic_fetch_add(&seen_dead, 1);
        epoch_unpin();
    }
    return NULL;
}

TEST(nothing_is_freed_under_a_reader_and_everything_in_the_end)
{
    pthread_t t[READERS];
    int64_t before = mem_in_use(MEM_MISC);
    atomic_store(&shared, thing_new());
    for (int i = 0; i < READERS; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, reader_main, NULL), 0);
    for (int i = 0; i < SWAPS; i++) {
        struct thing *old = atomic_exchange(&shared, thing_new());
        epoch_retire(old, thing_free);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < READERS; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(atomic_load(&seen_dead), 0);
    CHECK_EQ(epoch_collect(), 0);
    CHECK_EQ(atomic_load(&freed), SWAPS);
    thing_free(atomic_load(&shared));
    CHECK_EQ(mem_in_use(MEM_MISC), before);
}

TEST(a_pin_holds_what_was_retired_after_it_until_the_outermost_unpin)
{
    atomic_store(&freed, 0);
    epoch_pin();
    epoch_pin();
    epoch_retire(thing_new(), thing_free);
    epoch_unpin();
    CHECK_EQ(epoch_collect(), 1);
    CHECK_EQ(atomic_load(&freed), 0);
    epoch_unpin();
    CHECK_EQ(epoch_collect(), 0);
    CHECK_EQ(atomic_load(&freed), 1);
}

static void *pin_once(void *arg)
{
    (void)arg;
    epoch_pin();
    epoch_unpin();
    return NULL;
}

TEST(a_thread_that_ended_gives_its_slot_back)
{
    for (int i = 0; i < EPOCH_THREADS + 10; i++) {
        pthread_t t;
        CHECK_EQ(pthread_create(&t, NULL, pin_once, NULL), 0);
        pthread_join(t, NULL);
    }
}

TEST(retiring_without_memory_waits_for_readers_and_leaks_under_its_own_pin)
{
    atomic_store(&freed, 0);
    fault_arm_alloc(2);
    epoch_retire(thing_new(), thing_free);
    CHECK(fault_disarm());
    CHECK_EQ(atomic_load(&freed), 1);
    struct thing *t = thing_new();
    epoch_pin();
    fault_arm_alloc(1);
    epoch_retire(t, thing_free);
    CHECK(fault_disarm());
    CHECK_EQ(t->alive, ALIVE);
    epoch_unpin();
    CHECK_EQ(epoch_collect(), 0);
    CHECK_EQ(atomic_load(&freed), 1);
    mem_free(MEM_MISC, t);
}

TEST(retiring_without_memory_beside_readers_frees_nothing_under_them)
{
    pthread_t t[READERS];
    atomic_store(&stop, false);
    atomic_store(&seen_dead, 0);
    atomic_store(&shared, thing_new());
    for (int i = 0; i < READERS; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, reader_main, NULL), 0);
    for (int i = 0; i < 200; i++) {
        struct thing *old = atomic_exchange(&shared, thing_new());
        fault_arm_alloc(1);
        epoch_retire(old, thing_free);
        CHECK(fault_disarm());
    }
    atomic_store(&stop, true);
    for (int i = 0; i < READERS; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(atomic_load(&seen_dead), 0);
    thing_free(atomic_load(&shared));
}
