/* The reranker's parts over small lists: what they see, what they move, when they leave the order alone. */
#include "test.h"

#include <stdlib.h>

#include "index/list_edit.h"
#include "model/token_weight.h"
#include "pipeline/evaluate.h"
#include "stages/analysis/analysis.h"
#include "stages/fusion/fusion.h"
#include "stages/reranking/reranking_int.h"
#include "stages/retrieval/retrieval.h"
#include "sys/clock.h"

enum { DIMS = 128 };

struct world {
    struct analyzer *an;
    struct segment_list *list;
    struct arena arena;
    struct query query;
    struct query_analysis qa;
    struct hits hits;
    struct profile profile;
    struct rerank_report report;
};

static void open_world(struct world *w, const struct eval_doc *docs, uint32_t n)
{
    struct rag_err err;
    struct eval_data d = {0};
    *w = (struct world){.profile = profile_balanced};
    w->profile.rerank_skip_above = 1; /* never */
    CHECK_OK(analyzer_new(NULL, 0, &w->an, &err));
    buf_init(&d.docs, MEM_MISC);
    buf_add(&d.docs, docs, n * sizeof *docs);
    CHECK_OK(eval_index(&d, w->an, NULL, NULL, NULL, &w->list, &err));
    buf_clear(&d.docs);
    term_list_init(&w->qa.terms);
}

/* The fused order of all documents for the question. */
static void ask(struct world *w, const char *question)
{
    w->query = (struct query){.text = str_of(question), .collection = STR_LIT("c"), .top_k = 10};
    w->hits = (struct hits){.list = w->list};
    CHECK_OK(analysis_run(w->an, &w->query, &w->qa));
    CHECK_OK(retrieval_run(&w->query, &w->qa, NULL, &w->profile, (struct retrieval_limits){30, 0}, 0, &w->arena, &w->hits));
    CHECK_OK(fusion_run(&w->qa, &w->profile, &w->arena, &w->hits));
}

static rag_code rerank(struct world *w, const struct qvec *v, const struct token_coder *coder, int64_t deadline)
{
    struct qvec none = {0};
    return rerank_run(&w->query, &w->qa, v ? v : &none, coder, &w->profile, deadline, &w->arena, &w->hits, &w->report);
}

static void close_world(struct world *w)
{
    term_list_clear(&w->qa.terms);
    list_free(w->list);
    analyzer_free(w->an);
    arena_clear(&w->arena);
    CHECK_EQ(mem_in_use(MEM_INDEX), 0);
}

static const float *features_of(struct world *w, const char *question, const char *title, const char *text, float x[])
{
    struct eval_doc doc = {STR_LIT("d"), str_of(title), str_of(text)};
    open_world(w, &doc, 1);
    ask(w, question);
    struct matcher m;
    struct chunk_view view = {.title = str_of(title)};
    CHECK_OK(matcher_init(&m, &w->query, &w->qa, &w->hits, &w->arena));
    CHECK_OK(matcher_features(&m, &view, str_of(text), &w->arena, x));
    for (int f = 0; f < RERANK_FEATURES; f++)
        CHECK(x[f] >= 0 && x[f] <= 1.0001F);
    close_world(w);
    return x;
}

TEST(features_say_what_question_and_text_share)
{
    struct world w;
    float x[RERANK_FEATURES], y[RERANK_FEATURES];
    features_of(&w, "白金卡年费是多少", "费用", "白金卡年费是3600元。逾期利息每天万分之五。", x);
    CHECK(x[RERANK_COVERAGE] > 0.4F);
    CHECK_NEAR(x[RERANK_COVERAGE], x[RERANK_SENTENCE], 0.01); /* all in one sentence */
    CHECK(x[RERANK_PHRASE] > 0.7F);                           /* 白金卡年费是 of 白金卡年费是多少 */
    CHECK_NEAR(x[RERANK_HEADING], 0, 1e-6);
    features_of(&w, "白金卡年费是多少", "费用", "白金卡很好。还有别的。年费是3600元。", y);
    CHECK(y[RERANK_SENTENCE] < y[RERANK_COVERAGE]);
    CHECK(y[RERANK_PHRASE] < x[RERANK_PHRASE]);
    CHECK(y[RERANK_NEARNESS] < x[RERANK_NEARNESS]);
    /* Traditional, full width and case fold as in the index. */
    features_of(&w, "白金卡年费", "費用", "白金卡年費為３６００元", y);
    CHECK_NEAR(y[RERANK_PHRASE], 1, 1e-6);
    features_of(&w, "Which countries accept the CARD?", "Abroad", "Cards are accepted in every country of Europe.", x);
    CHECK(x[RERANK_COVERAGE] > 0.4F); /* stems: countri, accept, card */
    features_of(&w, "art of war", "Party", "The party started early.", x);
    CHECK_NEAR(x[RERANK_COVERAGE], 0, 1e-6); /* not inside other words */
}

TEST(features_of_headings_and_numbers)
{
    struct world w;
    float x[RERANK_FEATURES];
    features_of(&w, "How do I reset my password?", "How do I reset my password?", "Call us.", x);
    CHECK_NEAR(x[RERANK_NAME], 1, 0.01);
    CHECK(x[RERANK_HEADING] > 0.9F);
    CHECK_NEAR(x[RERANK_SENTENCE], 0, 1e-6);
    features_of(&w, "error 1205 or 1206", "Errors", "Error 1205 means a deadlock.", x);
    CHECK_NEAR(x[RERANK_NUMBERS], 0.5, 0.01);
    features_of(&w, "error 1205", "Errors", "Error 12051 is another one.", x);
    CHECK_NEAR(x[RERANK_NUMBERS], 0, 1e-6);
}

TEST(hostile_texts_are_read_within_bounds)
{
    struct world w;
    float x[RERANK_FEATURES];
    char *big = malloc(400001);
    for (int i = 0; i < 400000; i++)
        big[i] = "ab "[i % 3];
    big[400000] = 0;
    features_of(&w, "ab ab ab ab ab ab", "", big, x);
    CHECK_NEAR(x[RERANK_LENGTH], 1, 0.01);
    for (int i = 0; i < 399999; i += 3)
        memcpy(big + i, "\xe4\xb8\x80", 3);
    big[399999] = 0;
    features_of(&w, "一一一一一一", "一", big, x);
    CHECK_NEAR(x[RERANK_PHRASE], 1, 1e-6);
    big[8000] = 0; /* as long as a question may be */
    features_of(&w, big, "一", "一", x);
    features_of(&w, "？！", "", "。", x);
    free(big);
}

static const struct eval_doc docs[] = {
    {STR_LIT("0"), STR_LIT("a"), STR_LIT("annual fee annual fee annual fee annual fee")},
    {STR_LIT("1"), STR_LIT("b"), STR_LIT("the annual fee of the gold card")},
    {STR_LIT("2"), STR_LIT("c"), STR_LIT("gold bars and an annual report about the fee for storing a card")},
    {STR_LIT("3"), STR_LIT("d"), STR_LIT("a fee")},
};

static uint32_t doc_at(const struct world *w, uint32_t i)
{
    return w->hits.items[i].ref.chunk;
}

TEST(the_order_stands_when_reranking_does_not_run)
{
    struct world w;
    open_world(&w, docs, 4);
    ask(&w, "annual fee of the gold card");
    CHECK_EQ(w.hits.n, 4);
    uint32_t before[4];
    for (uint32_t i = 0; i < 4; i++)
        before[i] = doc_at(&w, i);
    w.profile.stage_reranking = false;
    CHECK_OK(rerank(&w, NULL, NULL, 0));
    CHECK_STR(str_of(w.report.skipped), "off");
    w.profile.stage_reranking = true;
    w.profile.rerank_features = w.profile.rerank_late = false;
    CHECK_OK(rerank(&w, NULL, NULL, 0));
    CHECK_STR(str_of(w.report.skipped), "off");
    w.profile.rerank_features = w.profile.rerank_late = true;
    CHECK_EQ(rerank(&w, NULL, NULL, 1), RAG_ETIMEOUT);
    CHECK_STR(str_of(w.report.skipped), "no time left");
    w.profile.rerank_skip_above = 0;
    CHECK_OK(rerank(&w, NULL, NULL, 0));
    CHECK_STR(str_of(w.report.skipped), "the first is clear");
    for (uint32_t i = 0; i < 4; i++) {
        CHECK_EQ(doc_at(&w, i), before[i]);
        CHECK_NEAR(w.hits.items[i].reranked, w.hits.items[i].fused, 1e-7);
    }
    w.profile.rerank_skip_above = 1;
    CHECK_OK(rerank(&w, NULL, NULL, 0));
    CHECK(w.report.skipped == NULL && w.report.features && !w.report.late);
    for (uint32_t i = 0; i < 4; i++) {
        CHECK_NEAR(w.hits.items[i].reranked, w.hits.items[i].fused + w.report.rows[i].gain, 1e-6);
        CHECK(i == 0 || w.hits.items[i].reranked <= w.hits.items[i - 1].reranked);
    }
    w.hits.n = 1;
    CHECK_OK(rerank(&w, NULL, NULL, 0));
    CHECK_STR(str_of(w.report.skipped), "nothing to order");
    w.hits.n = 0;
    CHECK_OK(rerank(&w, NULL, NULL, 0));
    close_world(&w);
}

TEST(the_order_stands_when_memory_is_short)
{
    struct world w;
    bool fired = true;
    open_world(&w, docs, 4);
    ask(&w, "annual fee of the gold card");
    w.profile.rerank_skip_above = 1;
    for (unsigned nth = 1; fired; nth++) {
        struct arena a = {0};
        struct qvec none = {0};
        uint32_t before = doc_at(&w, 0);
        fault_arm_alloc(nth);
        rag_code rc = rerank_run(&w.query, &w.qa, &none, NULL, &w.profile, 0, &a, &w.hits, &w.report);
        fired = fault_disarm();
        CHECK_EQ(rc, fired ? RAG_ENOMEM : RAG_OK);
        if (fired) {
            CHECK(w.report.skipped != NULL && w.report.n == 0 && w.report.rows == NULL);
            CHECK_EQ(doc_at(&w, 0), before);
        }
        arena_clear(&a);
    }
    close_world(&w);
}

/* A state that stands for a meaning: the same number gives the same direction. */
static void state_of(uint32_t meaning, float *out)
{
    uint64_t x = meaning * 0x9e3779b97f4a7c15u + 1;
    for (uint32_t i = 0; i < DIMS; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out[i] = (float)(int32_t)(x >> 32) / 0x1p31F;
    }
}

/* Scores are any finite numbers of a file; a weight that is not finite would make every similarity a NaN. */
TEST(a_token_never_weighs_more_than_all_others_can_bear)
{
    static const struct str pieces[] = {STR_LIT("<unk>"), STR_LIT("<s>"), STR_LIT("</s>"), STR_LIT("card"), STR_LIT("fee"),
                                        STR_LIT(",")};
    static const double scores[] = {0, 0, 0, -9, -1e300, -8};
    struct tokenizer_spec spec = {
        .kind = TOKENIZER_UNIGRAM, .pieces = pieces, .scores = scores, .n_pieces = 6, .unk = 0, .first = 1, .last = 2};
    struct tokenizer *t;
    struct token_weights *w;
    struct buf block;
    struct rag_err err;
    buf_init(&block, MEM_MISC);
    CHECK_OK(tokenizer_build(&spec, &block, &err));
    CHECK_OK(tokenizer_open(buf_str(&block), &t, &err));
    CHECK_OK(token_weights_new(t, &w));
    CHECK_NEAR(token_weight(w, 3), 9, 1e-6);
    CHECK(token_weight(w, 4) > 9 && token_weight(w, 4) < 1000);
    CHECK_NEAR(token_weight(w, 5), 0, 1e-9); /* nothing but a sign */
    CHECK_NEAR(token_weight(w, 6), 0, 1e-9); /* no piece */
    token_weights_free(w);
    tokenizer_close(t);
    buf_clear(&block);
}

TEST(late_interaction_moves_what_means_the_same)
{
    struct world w;
    static const float mean[DIMS];
    float v[DIMS] = {1}, states[2][DIMS], weights[2] = {1, 1};
    uint8_t codes[2][DIMS / 8];
    struct token_coder *coder;
    struct vector_space space = {.dims = DIMS, .mean = mean, .token_rules = TOKEN_RULES};
    struct vector_block *b;
    open_world(&w, docs, 4);
    CHECK_OK(token_coder_new(DIMS, mean, &coder));
    CHECK_OK(vector_block_new(&space, 4, &b));
    for (uint32_t d = 0; d < 4; d++) { /* document d means d and d + 1; document 3 has no tokens */
        for (uint32_t t = 0; t < 2; t++) {
            state_of(d + t, states[t]);
            token_encode(coder, states[t], codes[t]);
        }
        vector_block_put(b, d, v, d == 3 ? str_make(NULL, 0) : str_make((char *)codes, sizeof codes));
    }
    struct vectors_set set = {.segment = w.list->e[0].segment, .block = b};
    struct segment_list *with;
    CHECK_OK(list_edit(w.list, &(struct list_change){.set = &set, .n_set = 1}, &with));
    list_free(w.list);
    vector_block_unref(b);
    w.list = with;
    ask(&w, "fee"); /* all four have it */
    for (uint32_t i = 0; i < 4; i++)
        w.hits.items[i].fused = 0.5F; /* a tie: late interaction decides */
    w.profile.rerank_features = false;
    state_of(1, states[0]);
    state_of(2, states[1]);
    struct qvec q = {.v = v, .dims = DIMS, .token_states = states[0], .token_weights = weights, .n_tokens = 2};
    CHECK_OK(rerank(&w, &q, coder, 0));
    CHECK(w.report.late && !w.report.features);
    CHECK_EQ(doc_at(&w, 0), 1); /* means both */
    CHECK(w.report.rows[0].late > 0.9F && w.report.rows[0].late < 1.1F);
    for (uint32_t i = 0; i < 4; i++)
        if (doc_at(&w, i) == 3) {
            CHECK(!w.report.rows[i].has_late);
            CHECK_NEAR(w.report.rows[i].gain, 0, 1e-7);
        } else if (i) {
            CHECK(w.report.rows[i].late > 0.3F && w.report.rows[i].late < 0.7F); /* means one of two */
        }
    /* Only the candidates are moved. */
    for (int c = 0; c < 3; c++)
        w.profile.rerank_candidates[c] = 2;
    ask(&w, "fee");
    uint32_t third = doc_at(&w, 2);
    CHECK_OK(rerank(&w, &q, coder, 0));
    CHECK_EQ(w.report.n, 2);
    CHECK_EQ(doc_at(&w, 2), third);
    token_coder_free(coder);
    close_world(&w);
}
