#include "test.h"

#include "stages/fusion/fusion.h"

static struct hits two_legs(struct hit *items, uint32_t n)
{
    return (struct hits){.items = items, .n = n, .dense = true};
}

static struct hit hit(uint32_t chunk, float bm25, float cosine)
{
    return (struct hit){.ref = {0, chunk}, .bm25 = bm25, .cosine = cosine, .has_cosine = true};
}

TEST(convex_weighs_the_legs)
{
    struct hit items[] = {hit(0, 10, 0.80F), hit(1, 5, 0.90F), hit(2, 0, 0.85F)};
    struct hits h = two_legs(items, 3);
    struct query_analysis qa = {.kind = QUERY_QUESTION};
    struct profile p = {.fusion_method = FUSION_CONVEX, .dense_weight = {0.6F, 1, 0}};
    struct arena a = {0};
    CHECK_OK(fusion_run(&qa, &p, &a, &h));
    CHECK_EQ(h.items[0].ref.chunk, 1); /* .6 * 1 + .4 * .5 */
    CHECK_NEAR(h.items[0].fused, 0.8, 1e-5);
    CHECK_EQ(h.items[1].ref.chunk, 0); /* .4 * 1 */
    CHECK_NEAR(h.items[1].fused, 0.4, 1e-5);
    CHECK_NEAR(h.items[2].fused, 0.3, 1e-5);
    qa.kind = QUERY_KEYWORDS; /* dense alone */
    CHECK_OK(fusion_run(&qa, &p, &a, &h));
    CHECK_EQ(h.items[1].ref.chunk, 2);
    qa.kind = QUERY_UTTERANCE; /* lexical alone */
    CHECK_OK(fusion_run(&qa, &p, &a, &h));
    CHECK_EQ(h.items[0].ref.chunk, 0);
    arena_clear(&a);
}

TEST(rrf_counts_ranks)
{
    struct hit items[] = {hit(0, 10, 0.80F), hit(1, 5, 0.90F), hit(2, 0, 0.85F)};
    struct hits h = two_legs(items, 3);
    struct query_analysis qa = {0};
    struct profile p = {.fusion_method = FUSION_RRF, .rrf_k = 60, .rrf_weights = {0.4F, 0.6F}};
    struct arena a = {0};
    CHECK_OK(fusion_run(&qa, &p, &a, &h));
    CHECK_EQ(h.items[0].ref.chunk, 1);
    CHECK_NEAR(h.items[0].fused, (0.4 / 62 + 0.6 / 61) / (1.0 / 61), 1e-5);
    CHECK_EQ(h.items[1].ref.chunk, 0);
    CHECK_NEAR(h.items[1].fused, (0.4 / 61 + 0.6 / 63) / (1.0 / 61), 1e-5);
    arena_clear(&a);
}

TEST(a_chunk_without_a_vector_stands_where_the_average_does)
{
    struct hit items[] = {hit(0, 1, 0.9F), hit(1, 1, 0.7F), {.ref = {0, 2}, .bm25 = 1}};
    struct hits h = two_legs(items, 3);
    struct query_analysis qa = {0};
    struct profile p = {.dense_weight = {0.5F, 0.5F, 0.5F}};
    struct arena a = {0};
    CHECK_OK(fusion_run(&qa, &p, &a, &h));
    CHECK_EQ(h.items[1].ref.chunk, 2);
    CHECK_NEAR(h.items[1].cosine, 0.8, 1e-5);
    CHECK(!h.items[1].has_cosine);
    arena_clear(&a);
}

TEST(without_the_dense_leg_the_order_is_bm25s)
{
    struct hit items[] = {hit(0, 2, 0), hit(1, 8, 0), hit(2, 4, 0)};
    struct hits h = {.items = items, .n = 3};
    struct query_analysis qa = {0};
    struct profile p = {.dense_weight = {1, 1, 1}};
    struct arena a = {0};
    CHECK_OK(fusion_run(&qa, &p, &a, &h));
    CHECK_EQ(h.items[0].ref.chunk, 1);
    CHECK_NEAR(h.items[0].fused, 1, 1e-6);
    CHECK_NEAR(h.items[2].fused, 0.25, 1e-6);
    h.n = 0;
    CHECK_OK(fusion_run(&qa, &p, &a, &h));
    arena_clear(&a);
}

TEST(a_hit_that_reranking_put_in_front_scores_no_less_than_what_follows)
{
    struct hit items[] = {hit(0, 1, 0), hit(1, 6, 0), hit(2, 2, 0)}, alone[] = {hit(1, 6, 0)}, last[] = {hit(2, 2, 0)};
    struct hits h = {.items = items, .n = 3, .idf_mass = 10, .known_mass = 10},
                one = {.items = alone, .n = 1, .idf_mass = 10, .known_mass = 10},
                two = {.items = last, .n = 1, .idf_mass = 10, .known_mass = 10};
    struct query_analysis qa = {0};
    calibrate_hits(&qa, &h);
    calibrate_hits(&qa, &one);
    calibrate_hits(&qa, &two);
    CHECK_NEAR(h.items[0].score, h.items[1].score, 1e-7);
    CHECK_NEAR(h.items[1].score, one.items[0].score, 1e-7); /* not pushed down by the weaker one before it */
    CHECK_NEAR(h.items[2].score, two.items[0].score, 1e-7); /* nor lifted by the stronger one */
    CHECK(h.items[2].score < h.items[1].score);
}
