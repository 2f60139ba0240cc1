#include "test.h"

#include "stages/generation/route.h"

static struct query_analysis lookup(enum complexity c)
{
    return (struct query_analysis){.complexity = c, .kind = QUERY_QUESTION, .n_asks = 1};
}

TEST(budgets_and_class_follow_complexity)
{
    const struct profile *p = &profile_balanced;
    for (int c = COMPLEXITY_SIMPLE; c <= COMPLEXITY_COMPLEX; c++) {
        struct query_analysis qa = lookup((enum complexity)c);
        struct route r = route_choose(&qa, 0.5F, p);
        CHECK_EQ(r.class, p->model_class[c]);
        CHECK(!r.one_down);
        CHECK_EQ(r.output_tokens, p->output_tokens[c]);
        CHECK_EQ(r.context_tokens, p->context_tokens[c]);
        CHECK_EQ(r.passages, p->passages[c]);
    }
    struct query_analysis unknown = lookup(COMPLEXITY_UNKNOWN);
    CHECK_EQ(route_choose(&unknown, 0.5F, p).output_tokens, p->output_tokens[COMPLEXITY_MEDIUM]);
}

TEST(a_sure_lookup_takes_one_class_less)
{
    struct query_analysis qa = lookup(COMPLEXITY_MEDIUM);
    struct route r = route_choose(&qa, 0.95F, &profile_balanced);
    CHECK(r.one_down);
    CHECK_EQ(r.class, CLASS_SMALL);
    CHECK_EQ(r.output_tokens, profile_balanced.output_tokens[COMPLEXITY_MEDIUM]);
    qa.kind = QUERY_KEYWORDS;
    CHECK_EQ(route_choose(&qa, 0.95F, &profile_balanced).class, CLASS_SMALL);
    qa = lookup(COMPLEXITY_COMPLEX);
    CHECK_EQ(route_choose(&qa, 0.95F, &profile_balanced).class, CLASS_MEDIUM);
    qa = lookup(COMPLEXITY_SIMPLE); /* there is nothing below small */
    r = route_choose(&qa, 1.0F, &profile_balanced);
    CHECK_EQ(r.class, CLASS_SMALL);
    CHECK(!r.one_down);
}

static void check_keeps(struct query_analysis qa, float confidence, const struct profile *p)
{
    struct route r = route_choose(&qa, confidence, p);
    CHECK_EQ(r.class, CLASS_MEDIUM);
    CHECK(!r.one_down);
}

TEST(anything_else_keeps_its_class)
{
    struct query_analysis qa = lookup(COMPLEXITY_MEDIUM);
    check_keeps(qa, profile_balanced.class_down_above, &profile_balanced); /* above, not at */
    check_keeps(qa, 0.1F, &profile_balanced);
    check_keeps(qa, NAN, &profile_balanced);
    qa.kind = QUERY_UTTERANCE;
    check_keeps(qa, 0.95F, &profile_balanced);
    qa = lookup(COMPLEXITY_MEDIUM);
    qa.n_asks = 2;
    check_keeps(qa, 0.95F, &profile_balanced);
    qa = lookup(COMPLEXITY_MEDIUM);
    qa.has_comparison = true;
    check_keeps(qa, 0.95F, &profile_balanced);
    qa = lookup(COMPLEXITY_MEDIUM);
    qa.has_aggregation = true;
    check_keeps(qa, 0.95F, &profile_balanced);
    struct profile never = profile_balanced;
    never.class_down_above = 1;
    check_keeps(lookup(COMPLEXITY_MEDIUM), 1, &never);
    never.model_class[COMPLEXITY_MEDIUM] = 99; /* a class that is none is the largest */
    qa = lookup(COMPLEXITY_MEDIUM);
    CHECK_EQ(route_choose(&qa, 0, &never).class, CLASS_LARGE);
}
