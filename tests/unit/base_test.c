#include "test.h"

#include "base/arena.h"
#include "base/bitmap.h"
#include "base/buf.h"
#include "base/hash.h"

TEST(strset_numbers_distinct_strings_in_order)
{
    struct strset s;
    strset_init(&s, MEM_MISC, 7);
    for (int round = 0; round < 2; round++)
        for (uint32_t i = 0; i < 1000; i++) {
            char key[16];
            int n = snprintf(key, sizeof key, "k%u", i);
            uint32_t id;
            CHECK_OK(strset_add(&s, str_make(key, (size_t)n), &id));
            CHECK_EQ(id, i);
        }
    CHECK_EQ(s.n, 1000);
    CHECK_STR(strset_get(&s, 999), "k999");
    CHECK_EQ(strset_find(&s, STR_LIT("absent")), STRSET_NONE);
    strset_clear(&s);
}

TEST(strset_survives_each_failed_allocation)
{
    bool fired = true;
    for (unsigned nth = 1; fired; nth++) {
        struct strset s;
        strset_init(&s, MEM_MISC, 1);
        fault_arm_alloc(nth);
        rag_code rc = RAG_OK;
        for (uint32_t i = 0; i < 300 && !rc; i++) {
            uint32_t id;
            rc = strset_add(&s, str_make((char *)&i, sizeof i), &id);
        }
        fired = fault_disarm();
        CHECK_EQ(rc, fired ? RAG_ENOMEM : RAG_OK);
        strset_clear(&s);
    }
    CHECK_EQ(mem_in_use(MEM_MISC), 0);
}

TEST(buf_failure_is_sticky)
{
    struct buf b;
    buf_init(&b, MEM_MISC);
    fault_arm_alloc(1);
    buf_addz(&b, "x");
    buf_addf(&b, "%d", 12);
    CHECK(fault_disarm());
    CHECK(buf_failed(&b));
    buf_clear(&b);
    buf_addf(&b, "%05d", 12);
    CHECK_STR(buf_str(&b), "00012");
    buf_clear(&b);
}

TEST(arena_gives_aligned_memory_and_keeps_one_block)
{
    struct arena a = {0};
    for (size_t n = 0; n < 3000; n += 7) {
        char *p = arena_alloc(&a, n);
        CHECK(p && ((uintptr_t)p & 15) == 0);
        memset(p, 1, n);
    }
    arena_reset(&a);
    CHECK_EQ(a.used, 0);
    CHECK(arena_array(&a, SIZE_MAX, 8) == NULL);
    arena_clear(&a);
}

TEST(bitmap_counts_what_fill_sets)
{
    for (size_t n = 0; n < 200; n++) {
        uint64_t w[5] = {0};
        bitmap_fill(w, n);
        CHECK_EQ(bitmap_count(w, 320), n);
    }
}
