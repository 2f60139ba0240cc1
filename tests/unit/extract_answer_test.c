#include "test.h"

#include "index/list_edit.h"
#include "pipeline/chunk_terms.h"
#include "stages/analysis/analysis.h"
#include "stages/fusion/fusion.h"
#include "stages/generation/extract_answer.h"
#include "stages/generation/extract_int.h"
#include "stages/retrieval/retrieval.h"
#include "text/utf8.h"

struct doc {
    const char *id, *title, *path, *text;
};

/* A small collection: prose with headings, a table, records, questions and answers, and filler of other things. */
static const struct doc docs[] = {
    {"gold", "金卡产品说明", "金卡产品说明\x1f年费",
     "年费\n主卡每年300元，当年刷卡满12次免次年年费。附属卡每年150元。账单日可以自选。"},
    {"platinum", "白金卡产品说明", "白金卡产品说明\x1f费用",
     "主卡年费3600元，前2张附属卡免费。外币交易手续费1.0%，取现手续费0.5%。"},
    {"lounge", "贵宾室", "贵宾室",
     "卡种 | 次数 | 规则\n卡种: 旅行卡; 次数: 4次; 规则: 宾客扣次\n卡种: 白金卡; 次数: 12次; 规则: 宾客扣次"},
    {"fees", "费用表", "年费\x1frow 2",
     "卡种: 青春卡\n费用项目: 挂失手续费\n标准: 40元/次\n生效日期: 2026-01-01"},
    {"faq", "faq", "row 1",
     "id: F9\nquestion: 卡片丢了怎么补办？\nanswer: 在App锁卡，再致电热线补办，5个工作日寄达。"},
    {"lost", "Lost cards", "Lost cards\x1fWhat to do",
     "- Lock the card in the app at once;\n- Call the hotline to report the loss;\n- Order a replacement, which arrives within 5 days."},
    {"golf", "Golf", "Golf",
     "The Spruce golf club lies in Millbrook. It was founded in 1931. Members play at a discount of 20 percent."},
    {"f1", "Weather", "", "Rain falls in spring. The north is dry."},
    {"f2", "Trains", "", "Trains leave every hour. Tickets are sold at the station."},
    {"f3", "公司介绍", "", "公司成立于1998年，总部设在海州。员工两千人。"},
    {"f4", "食堂", "", "食堂中午十二点开饭。周五有鱼。"},
    {"history", "海州大桥", "",
     "海州大桥位于海州市东部，2003年9月5日通车。大桥全长1.8公里，耗资约12亿元，被当地人称为彩虹桥。"
     "桥上的灯光包括红、黄、蓝三色，每晚亮到十点。"},
    {"observatory", "Observatory", "",
     "The Larch Observatory was opened on 4 May 1962. Its main mirror has a diameter of 3.5 metres. "
     "About 60 percent of nights are clear at the observatory. The dome stands on Cedar Ridge near Millbrook."},
    {"boats", "Kestrel and Heron in detail", "Kestrel and Heron in detail\x1fKestrel Kayak",
     "Kestrel Kayak\n\nIt is for calm water and short trips with a light bag. The hull, which is built of cedar strips by hand and "
     "varnished three times, is a load of 21 kg; two people carry it to the water. Varnish it again each spring."},
    {"boats", "Kestrel and Heron in detail", "Kestrel and Heron in detail\x1fHeron Kayak",
     "Heron Kayak\n\nThe load of the hull is 34 kg. It has room for 3 people."},
    {"tents", "Tents", "Tents", "Tent | Poles | Sleeps\nTent: Lark; Poles: 3; Sleeps: 2\nTent: Swift; Poles: 5; Sleeps: 4"},
    {"groundsheets", "Care of tents", "Care of tents",
     "Swift: the groundsheet weighs 900 g.\nLark: the groundsheet is sewn in twice along the seams and weighs 700 g.\n"
     "Pegs are sold in bags of ten."},
    {"storms", "Storm cover", "Storm cover", "Cover: Swift storm; Lark: ¥400; Swift: ¥600; Tern: ¥800"},
    {"ages", "申请条件", "申请条件", "卡种 | 年龄 | 收入\n卡种: 旅行卡; 年龄: 22岁以上; 收入: 12万元\n卡种: 白金卡; 年龄: 25岁以上; 收入: 30万元"},
    {"invited", "百夫长卡说明", "百夫长卡说明\x1f条件", "年龄要求28岁以上。审核约需10天。"},
    {"names", "卡片名单", "卡片名单", "卡种 | 上市\n卡种: 百夫长卡; 上市: 秋季\n卡种: 旅行卡; 上市: 春季"},
};

static struct fixture {
    struct analyzer *an;
    struct segment_list *list;
    struct arena arena;
    struct query_analysis qa;
    struct hits hits;
    struct query q;
    struct answer a;
    float confidence;
} fx;

static void set_up(void)
{
    if (fx.an)
        return;
    struct rag_err err;
    struct segment_builder *b;
    struct segment *s;
    struct chunk_terms t;
    CHECK_OK(analyzer_new(NULL, 0, &fx.an, &err));
    CHECK_OK(segment_builder_new(analyzer_fingerprint(fx.an), &b));
    chunk_terms_init(&t);
    for (size_t i = 0; i < sizeof docs / sizeof *docs; i++) {
        const struct doc *d = &docs[i];
        struct segment_doc_in in = {.id = str_of(d->id),
                                    .title = str_of(d->title),
                                    .metadata_json = STR_LIT("{}"),
                                    .version = 1,
                                    .seq = (int64_t)i + 1};
        if (i == 0 || strcmp(d->id, docs[i - 1].id) != 0)
            CHECK_OK(segment_builder_doc(b, &in));
        CHECK_OK(chunk_terms_run(&t, fx.an, in.title, str_of(d->path), str_of(d->text)));
        struct segment_chunk_in c = {.text = str_of(d->text),
                                     .heading_path = str_of(d->path),
                                     .start = 1000,
                                     .end = 1000 + (uint32_t)utf8_count(str_of(d->text)),
                                     .terms = &t.terms,
                                     .length = t.length};
        CHECK_OK(segment_builder_chunk(b, &c));
    }
    chunk_terms_clear(&t);
    CHECK_OK(segment_builder_finish(b, &s));
    segment_builder_free(b);
    struct segment_list *empty = list_new_empty();
    CHECK_OK(list_edit(empty, &(struct list_change){.add = s}, &fx.list));
    list_free(empty);
    segment_unref(s);
    term_list_init(&fx.qa.terms);
}

static rag_code answer_rc(const char *question)
{
    arena_reset(&fx.arena);
    fx.q = (struct query){.text = str_of(question), .top_k = 10};
    fx.hits = (struct hits){.list = fx.list};
    rag_code rc = analysis_run(fx.an, &fx.q, &fx.qa);
    if (!rc)
        rc = retrieval_run(&fx.q, &fx.qa, NULL, &profile_balanced, (struct retrieval_limits){30, 0}, 0, &fx.arena,
                           &fx.hits);
    if (!rc)
        rc = fusion_run(&fx.qa, &profile_balanced, &fx.arena, &fx.hits);
    if (rc)
        return rc;
    fx.confidence = calibrate_hits(&fx.qa, &fx.hits);
    return extract_answer(fx.an, &fx.q, &fx.qa, &fx.hits, fx.confidence, &profile_balanced, &fx.arena, &fx.a);
}

static const struct doc *cited(uint32_t i)
{
    struct chunk_view v;
    const struct hit *h = &fx.hits.items[fx.a.citations[i].hit];
    segment_chunk(fx.list->e[h->ref.entry].segment, h->ref.chunk, &v);
    return &docs[v.seq - 1];
}

/* What must hold of every answer. */
static void check_form(void)
{
    const struct answer *a = &fx.a;
    CHECK(a->text.len > 0 && utf8_valid(a->text));
    CHECK(a->n_pieces >= 1 && a->pieces[0] == 0 && a->pieces[a->n_pieces] == a->text.len);
    for (uint32_t i = 0; i < a->n_pieces; i++) {
        CHECK(a->pieces[i] < a->pieces[i + 1]);
        CHECK(utf8_valid(str_make(a->text.ptr + a->pieces[i], a->pieces[i + 1] - a->pieces[i])));
    }
    CHECK(a->found == (a->n_citations > 0));
    for (uint32_t i = 0; i < a->n_citations; i++) {
        char mark[16];
        int n = snprintf(mark, sizeof mark, "[%u]", i + 1);
        CHECK_EQ(a->citations[i].n, i + 1);
        CHECK(memmem(a->text.ptr, a->text.len, mark, (size_t)n) != NULL);
        CHECK(a->citations[i].start >= 1000 && a->citations[i].start < a->citations[i].end);
        CHECK(a->citations[i].end <= 1000 + utf8_count(str_of(cited(i)->text)));
    }
}

static void answer(const char *question)
{
    set_up();
    CHECK_OK(answer_rc(question));
    check_form();
}

static bool says(const char *words)
{
    return memmem(fx.a.text.ptr, fx.a.text.len, words, strlen(words)) != NULL;
}

static void check_says(const char *words)
{
    if (!says(words))
        print_error("\"%s\" is not in \"%.*s\"\n", words, (int)fx.a.text.len, fx.a.text.ptr);
    CHECK(says(words));
}

TEST(a_fact_is_quoted_with_its_place)
{
    answer("白金卡年费多少？");
    check_says("主卡年费3600元");
    CHECK_STR(str_of(cited(0)->id), "platinum");
    CHECK_EQ(fx.a.citations[0].start, 1000);
    CHECK_EQ(fx.a.citations[0].end, 1000 + utf8_count(STR_LIT("主卡年费3600元，前2张附属卡免费。")));
    answer("When was the golf club founded?");
    check_says("1931");
    CHECK_STR(str_of(cited(0)->id), "golf");
}

TEST(a_heading_line_is_not_an_answer)
{
    answer("金卡刷卡满几次免年费");
    check_says("12次");
    CHECK(fx.a.citations[0].start > 1000);
}

TEST(a_row_keeps_its_columns)
{
    answer("白金卡贵宾室次数");
    check_says("卡种：白金卡；次数：12次；规则：宾客扣次");
    CHECK(!says("卡种 | 次数"));
}

TEST(a_record_answers_with_the_fields_that_matter)
{
    answer("青春卡挂失手续费多少");
    check_says("青春卡");
    check_says("40元/次");
    answer("卡片丢了怎么补办？");
    check_says("在App锁卡");
    CHECK(!says("F9"));
    CHECK(!says("question"));
}

TEST(list_items_stand_on_lines_without_loose_ends)
{
    answer("What should I do when I lost my card, how do I report the loss and get a replacement?");
    check_says("- Lock the card in the app at once [");
    check_says("\n- ");
    CHECK(!says("; ["));
}

TEST(a_comparison_names_both)
{
    answer("对比金卡和白金卡的年费");
    CHECK(fx.qa.complexity == COMPLEXITY_COMPLEX);
    bool gold = false, platinum = false;
    for (uint32_t i = 0; i < fx.a.n_citations; i++) {
        gold |= strcmp(cited(i)->id, "gold") == 0;
        platinum |= strcmp(cited(i)->id, "platinum") == 0;
    }
    CHECK(gold && platinum);
}

static void check_front(const char *question, const char *words)
{
    char want[128];
    answer(question);
    bool zh = utf8_is_cjk(utf8_next(str_of(question), &(size_t){0}));
    int n = snprintf(want, sizeof want, zh ? "**%s**——" : "**%s** — ", words);
    bool is = fx.a.text.len > (size_t)n && memcmp(fx.a.text.ptr, want, (size_t)n) == 0;
    if (!is)
        print_error("%s: \"%s\" is not in front of \"%.*s\"\n", question, want, (int)fx.a.text.len, fx.a.text.ptr);
    CHECK(is);
}

static void check_no_front(const char *question)
{
    answer(question);
    bool has = memmem(fx.a.text.ptr, fx.a.text.len, "**——", 8) || memmem(fx.a.text.ptr, fx.a.text.len, "** — ", 7);
    if (has)
        print_error("%s: %.*s\n", question, (int)fx.a.text.len, fx.a.text.ptr);
    CHECK(!has);
}

TEST(few_words_that_answer_stand_in_front)
{
    check_front("海州大桥全长多少公里？", "1.8公里");
    check_front("海州大桥是哪一年通车的？", "2003年9月5日");
    check_front("海州大桥耗资约多少元？", "12亿元");
    check_front("When was the Larch Observatory opened?", "4 May 1962");
    check_front("What percentage of nights are clear at the Larch Observatory?", "60 percent");
    CHECK_EQ(fx.a.citations[0].n, 1);
}

TEST(a_cell_that_was_asked_for_stands_in_front)
{
    check_front("白金卡贵宾室次数", "12次");
    check_front("青春卡挂失手续费多少", "40元/次");
    check_says("卡种：青春卡");
}

static void check_silent(const char *words)
{
    if (says(words))
        print_error("\"%s\" is in \"%.*s\"\n", words, (int)fx.a.text.len, fx.a.text.ptr);
    CHECK(!says(words));
}

TEST(a_title_of_two_things_names_neither_section)
{
    answer("What is the load of the hull of the Kestrel?");
    check_says("21 kg");
    check_silent("34 kg");
    answer("How many people does the Heron have room for?");
    check_says("3 people");
    check_silent("two people");
}

TEST(an_alternative_is_not_the_thing_asked_for)
{
    answer("How much does the groundsheet of the Lark weigh?");
    check_says("700 g");
    check_silent("900 g");
    answer("How much does the groundsheet of the Swift weigh?");
    check_says("900 g");
    check_silent("700 g");
    answer("旅行卡的年龄要求是多少？");
    check_says("22岁以上");
    check_silent("25岁以上");
    check_silent("28岁以上");
}

TEST(both_are_there_where_both_are_asked_for)
{
    answer("Compare the groundsheets of the Lark and the Swift");
    check_says("700 g");
    check_says("900 g");
}

TEST(a_word_that_names_the_row_names_no_column)
{
    check_front("How much Swift storm cover does the Lark have?", "¥400");
}

TEST(what_shares_no_word_with_the_question_is_left_out)
{
    answer("How do I take care of the groundsheet of the Lark?");
    check_says("700 g");
    check_silent("bags of ten");
}

TEST(nothing_stands_in_front_where_few_words_do_not_answer)
{
    check_no_front("卡片丢了怎么补办？");
    check_no_front("对比金卡和白金卡的年费");
    check_no_front("How do I report a lost card?");
    check_no_front("年费");
}

TEST(what_is_not_there_is_said_plainly)
{
    static const char *const questions[] = {"天气怎么样", "who won the world cup", "红烧肉怎么做才不腻？",
                                            "量子计算机的原理"};
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
        answer(questions[i]);
        if (fx.a.found)
            print_error("%s: %.3f %.*s\n", questions[i], (double)fx.confidence, (int)fx.a.text.len,
                        fx.a.text.ptr);
        CHECK(!fx.a.found);
        CHECK_EQ(fx.a.n_citations, 0);
    }
    answer("who won the world cup");
    CHECK_STR(fx.a.text, "The documents do not answer this question.");
    answer("天气怎么样");
    CHECK_STR(fx.a.text, "现有文档中没有找到这个问题的答案。");
}

TEST(one_word_that_the_documents_hold_is_enough)
{
    answer("年费");
    CHECK(fx.a.found);
    CHECK(fx.confidence > 0.5F);
}

TEST(scores_and_confidence_are_probabilities_in_order)
{
    set_up();
    CHECK_OK(answer_rc("白金卡年费多少？"));
    CHECK(fx.confidence > 0 && fx.confidence < 1);
    CHECK_NEAR(fx.a.confidence, fx.confidence, 1e-6);
    for (uint32_t i = 0; i < fx.hits.n; i++) {
        CHECK(fx.hits.items[i].score > 0 && fx.hits.items[i].score < 1);
        CHECK(i == 0 || fx.hits.items[i].score <= fx.hits.items[i - 1].score);
    }
    struct hits none = {.list = fx.list};
    CHECK_NEAR(calibrate_hits(&fx.qa, &none), 0, 0);
}

/* More of the question in the chunk, more BM25: never less sure. */
TEST(calibration_is_monotone)
{
    struct query_analysis qa = {0};
    for (int mass = 0; mass <= 40; mass += 4) {
        float before = 0;
        for (int c = 0; c <= 10; c++) {
            struct hit hit = {.coverage = (float)c / 10, .bm25 = (float)(mass * c) / 10};
            struct hits h = {.items = &hit, .n = 1, .idf_mass = (float)mass, .known_mass = (float)mass};
            float p = calibrate_hits(&qa, &h);
            CHECK(p >= before && p <= 1 && hit.score >= 0 && hit.score <= 1);
            before = p;
        }
    }
}

static void check_asked(const char *question, enum span_kind kind, const char *noun)
{
    struct span_question q;
    CHECK_OK(span_question_read(str_of(question), &fx.arena, &q));
    if (q.kind != kind)
        print_error("%s: kind %d, not %d\n", question, (int)q.kind, (int)kind);
    CHECK(q.kind == kind);
    CHECK_STR(q.noun, noun);
}

TEST(what_is_asked_for_is_read_from_the_question_word)
{
    set_up();
    check_asked("铁路全长多少公里？", SPAN_NUMBER, "公里");
    check_asked("年费多少", SPAN_MONEY, "");
    check_asked("要幾天才能收到？", SPAN_DURATION, "");
    check_asked("他是什么时候出生的？", SPAN_TIME, "");
    check_asked("由誰建立?", SPAN_PERSON, "");
    check_asked("总部在哪个城市？", SPAN_PLACE, "");
    check_asked("哪一個學院排名第一?", SPAN_NAME, "学院排名第");
    check_asked("有哪些权益？", SPAN_LIST, "权益");
    check_asked("为什么被拒？", SPAN_NONE, "");
    check_asked("好几个人来过", SPAN_NONE, "");
    check_asked("How many visits are free?", SPAN_NUMBER, "visits");
    check_asked("In what year was it built?", SPAN_TIME, "year");
    check_asked("What is the percentage of members?", SPAN_PERCENT, "percentage");
    check_asked("Which country is it in?", SPAN_PLACE, "country");
    check_asked("somehow it works", SPAN_NONE, "");
    check_asked("", SPAN_NONE, "");
}

/* Any bytes, as question and as sentence: spans lie inside, on character boundaries, within the bound. */
TEST(spans_of_anything_lie_inside)
{
    static const char *const pieces[] = {"多少", "几", "什么", "哪", "谁", "what ", "when ", "who ", "how many ", "年", "月", "日",
                                         "第", "3", "1,800", ".", "、", "·", "(", ")", "《", "等", "是", "由", "在", " ", "A", "Bc", "-",
                                         "400-000", "%", "¥", "。", "，", "百万", "\xF0\x9F\x98\x80", "é", "ﬁ", "㎡", "\n", "元"};
    static const char *const asks[] = {"多少公里", "是哪一年", "由谁建立", "位于哪里", "哪一个国家的", "有哪些", "什么政策", "when did A",
                                       "who made", "what percentage", "which Bc", "how many"};
    uint32_t seed = 1;
    set_up();
    for (int round = 0; round < 4000; round++) {
        char text[700];
        size_t len = 0;
        for (int n = (int)(seed % 60); n > 0; n--) {
            seed = seed * 1664525 + 1013904223;
            const char *p = pieces[(seed >> 8) % (sizeof pieces / sizeof *pieces)];
            memcpy(text + len, p, strlen(p));
            len += strlen(p);
        }
        seed = seed * 1664525 + 1013904223;
        struct span_question q;
        struct span_candidate out[SPAN_CANDIDATES];
        struct span_term term = {.start = 0, .end = len ? 1 : 0, .term = 63, .weight = 1};
        uint32_t n = 0;
        arena_reset(&fx.arena);
        CHECK_OK(span_question_read(round % 5 ? str_of(asks[round % 12]) : str_make(text, len), &fx.arena, &q));
        CHECK_OK(span_candidates(&q, str_make(text, len), 1, &term, len ? 1 : 0, &fx.arena, out, &n));
        CHECK(n <= SPAN_CANDIDATES);
        for (uint32_t i = 0; i < n; i++) {
            CHECK(out[i].at.start < out[i].at.end && out[i].at.end <= len);
            CHECK(utf8_valid(str_make(text + out[i].at.start, out[i].at.end - out[i].at.start)));
            CHECK(out[i].at.probability >= 0 && out[i].at.probability <= 1);
        }
    }
}

TEST(cells_parts_and_pairs)
{
    struct str out[8], key, value;
    CHECK_EQ(extract_cells(STR_LIT("| a | b || c |"), out, 8), 4);
    CHECK_STR(out[1], "b");
    CHECK_EQ(extract_cells(STR_LIT("a | b | c"), out, 8), 3);
    CHECK_EQ(extract_cells(STR_LIT(""), out, 8), 0);
    CHECK_EQ(extract_parts(STR_LIT("Lounges; A: 1; B: 2 or 3; more"), out, 8), 3);
    CHECK_STR(out[0], "Lounges");
    CHECK_STR(out[2], "B: 2 or 3; more");
    CHECK_EQ(extract_parts(STR_LIT("It rained; we stayed."), out, 8), 0);
    CHECK(extract_pair(STR_LIT("卡种：白金卡"), &key, &value));
    CHECK_STR(value, "白金卡");
    CHECK(!extract_pair(STR_LIT("at 10:30 sharp"), &key, &value));
    CHECK(!extract_pair(STR_LIT(": x"), &key, &value));
}

TEST(survives_each_failed_allocation)
{
    bool fired = true;
    answer("对比金卡和白金卡的年费");
    for (unsigned nth = 1; fired; nth++) {
        arena_clear(&fx.arena);
        fault_arm_alloc(nth);
        rag_code rc = answer_rc("对比金卡和白金卡的年费");
        fired = fault_disarm();
        CHECK(rc == RAG_OK || (fired && rc == RAG_ENOMEM));
    }
}
