#include "test.h"

#include "llm/catalogue.h"
#include "text/utf8.h"

static const struct llm_price price = {.input = 1400000000, .cached_input = 140000000, .output = 2800000000};

TEST(cost_is_exact_and_rounds_each_part_up)
{
    CHECK_EQ(llm_cost(&price, 1000000, 0, 1000000), 4200000000);
    CHECK_EQ(llm_cost(&price, 200, 0, 100), 200 * 1400 + 100 * 2800);
    CHECK_EQ(llm_cost(&price, 200, 200, 0), 200 * 140);
    CHECK_EQ(llm_cost(&price, 200, 50, 0), 150 * 1400 + 50 * 140);
    CHECK_EQ(llm_cost(&price, 10, 4000000000u, 0), 10 * 140); /* cached is a part of prompt */
    struct llm_price tiny = {.input = 1, .cached_input = 1, .output = 1};
    CHECK_EQ(llm_cost(&tiny, 2, 1, 1), 3);
    CHECK_EQ(llm_cost(&tiny, 0, 0, 0), 0);
    CHECK_EQ(llm_cost(&(struct llm_price){0}, 9, 9, 9), 0);
}

TEST(cost_saturates)
{
    struct llm_price dear = {.input = INT64_C(1000000000000000),
                             .cached_input = INT64_C(1000000000000000),
                             .output = INT64_C(1000000000000000)};
    CHECK_EQ(llm_cost(&dear, 1000000, 0, 0), INT64_C(1000000000000000));
    CHECK(llm_cost(&dear, UINT32_MAX, UINT32_MAX / 2, UINT32_MAX) == INT64_C(8589934590000000000));
    dear.input = dear.output = INT64_MAX;
    CHECK(llm_cost(&dear, UINT32_MAX, 0, UINT32_MAX) == INT64_MAX);
    CHECK(llm_upper_bound(&dear, UINT64_MAX, UINT32_MAX, UINT32_MAX) == INT64_MAX);
}

TEST(the_upper_bound_is_never_below_a_cost)
{
    CHECK_EQ(llm_upper_bound(&price, 1000, 2, 300), 1128 * 1400 + 1 + 300 * 2800);
    CHECK_EQ(llm_upper_bound(&(struct llm_price){0}, 1000, 2, 300), 0);
    struct llm_price odd = {.input = 3, .cached_input = 7, .output = 999999};
    for (uint32_t prompt = 0; prompt < 300; prompt += 7)
        for (uint32_t cached = 0; cached <= prompt; cached += 5)
            CHECK(llm_upper_bound(&odd, prompt, 0, 20) >= llm_cost(&odd, prompt, cached, 20));
}

static const struct llm_model models[] = {
    {.name = "l0", .class = CLASS_LARGE, .context = 32000},
    {.name = "s0", .class = CLASS_SMALL, .context = 4000},
    {.name = "m0", .class = CLASS_MEDIUM},
    {.name = "s1", .class = CLASS_SMALL, .context = 8000},
    {.name = "m1", .class = CLASS_MEDIUM, .context = 8000},
};
static const struct llm_catalogue catalogue = {models, 5};

static void check_plan(enum model_class want, bool cheapest, uint32_t tokens, const char *names)
{
    uint32_t order[LLM_MAX_MODELS], n = llm_plan(&catalogue, want, cheapest, tokens, order);
    char got[64] = "";
    for (uint32_t i = 0; i < n; i++)
        strcat(strcat(got, models[order[i]].name), " ");
    CHECK_STR(str_of(got), names);
}

TEST(a_plan_is_the_class_then_its_neighbours)
{
    check_plan(CLASS_SMALL, false, 100, "s0 s1 m0 m1 l0 ");
    check_plan(CLASS_MEDIUM, false, 100, "m0 m1 s0 s1 l0 ");
    check_plan(CLASS_LARGE, false, 100, "l0 m0 m1 s0 s1 ");
    check_plan(CLASS_LARGE, true, 100, "s0 s1 m0 m1 l0 ");
    check_plan(CLASS_SMALL, false, 4000, "s0 s1 m0 m1 l0 ");
    check_plan(CLASS_SMALL, false, 4001, "s1 m0 m1 l0 ");
    check_plan(CLASS_SMALL, false, 40000, "m0 "); /* unknown: tried */
    uint32_t order[LLM_MAX_MODELS];
    CHECK_EQ(llm_plan(&(struct llm_catalogue){0}, CLASS_SMALL, false, 0, order), 0);
}

TEST(no_plan_is_longer_than_its_room)
{
    static struct llm_model many[100];
    uint32_t order[LLM_MAX_MODELS];
    CHECK_EQ(llm_plan(&(struct llm_catalogue){many, 100}, CLASS_LARGE, false, 0, order), LLM_MAX_MODELS);
}

TEST(tokens_are_counted_as_the_chunker_counts_them)
{
    static const char *const texts[] = {"",     "a",         "abcd",        "abcde",
                                        "年费", "年费 3600", "café 白金卡", "\xff\xfe年"};
    static const uint32_t counts[] = {0, 1, 1, 2, 2, 4, 5};
    for (size_t i = 0; i < 7; i++)
        CHECK_EQ(llm_count_tokens(str_of(texts[i])), counts[i]);
    for (size_t i = 0; i < 8; i++)
        CHECK_EQ(llm_count_tokens(str_of(texts[i])), text_token_count(str_of(texts[i])));
}

TEST(classes_have_names)
{
    CHECK_STR(str_of(model_class_name(CLASS_SMALL)), "small");
    CHECK_STR(str_of(model_class_name(CLASS_LARGE)), "large");
}
