#include "test.h"

#include <pthread.h>
#include <stdlib.h>

#include "text/analyzer.h"
#include "text/lexicon.h"
#include "text/normalize.h"
#include "text/sentence.h"
#include "text/stopwords.h"
#include "text/utf8.h"

static struct analyzer *analyzer_plain(void)
{
    static struct analyzer *a;
    if (!a)
        CHECK_OK(analyzer_new(NULL, 0, &a, NULL));
    return a;
}

/* Every term as "kind:text", joined by spaces: "W:" word, s subword, b bigram, c char, N whole, p part. */
static const char *terms_with(const struct analyzer *a, const char *text)
{
    static char out[8192];
    struct term_list l;
    term_list_init(&l);
    CHECK_OK(analyzer_run(a, str_of(text), ANALYZE_DOCUMENT, &l));
    size_t n = 0;
    out[0] = 0;
    for (uint32_t i = 0; i < l.n; i++) {
        struct str t = term_text(&l, i);
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%c:%.*s", i ? " " : "", "WsbcNp"[l.items[i].kind],
                              (int)t.len, t.ptr);
    }
    term_list_clear(&l);
    return out;
}

static const char *terms(const char *text)
{
    return terms_with(analyzer_plain(), text);
}

static bool has(const char *list, const char *term)
{
    size_t n = strlen(term);
    for (const char *p = strstr(list, term); p; p = strstr(p + 1, term))
        if ((p == list || p[-1] == ' ') && (p[n] == 0 || p[n] == ' '))
            return true;
    return false;
}

static float weight_of(const char *question, const char *term)
{
    struct term_list l;
    float w = 0;
    term_list_init(&l);
    CHECK_OK(analyzer_run(analyzer_plain(), str_of(question), ANALYZE_QUERY, &l));
    for (uint32_t i = 0; i < l.n; i++)
        if (str_eqz(term_text(&l, i), term) && l.items[i].weight > w)
            w = l.items[i].weight;
    term_list_clear(&l);
    return w;
}

/* ---- utf8 ---- */

TEST(utf8_round_trip_of_every_scalar_value)
{
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp++) {
        if (cp >= 0xD800 && cp <= 0xDFFF)
            continue;
        char b[4];
        size_t n = utf8_encode(cp, b), i = 0;
        struct str s = str_make(b, n);
        if (utf8_next(s, &i) != cp || i != n || !utf8_valid(s))
            fail_msg("U+%04X", cp);
    }
}

TEST(utf8_refuses_what_rfc_3629_refuses)
{
    static const char *const bad[] = {
        "\x80",         "\xC0\x80",     "\xC1\xBF",         "\xE0\x80\x80",     "\xE0\x9F\xBF",
        "\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
        "\xFF",         "\xE4\xB8",     "a\xE4\xB8z",       "\xF0\x9F\x98"};
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
        CHECK(!utf8_valid(str_of(bad[k])));
        bool replaced = false;
        for (size_t i = 0; i < strlen(bad[k]);)
            replaced |= utf8_next(str_of(bad[k]), &i) == 0xFFFD;
        CHECK(replaced);
    }
    CHECK(utf8_valid(STR_LIT("")));
    CHECK(utf8_valid(STR_LIT("plain ascii of more than eight bytes, then 中文")));
    CHECK(!utf8_valid(STR_LIT("plain ascii of more than eight bytes, then \xE4")));
}

TEST(utf8_floor_counts_and_tokens)
{
    struct str s = STR_LIT("a中b");
    CHECK_EQ(utf8_floor(s, 0), 0);
    CHECK_EQ(utf8_floor(s, 1), 1);
    CHECK_EQ(utf8_floor(s, 2), 1);
    CHECK_EQ(utf8_floor(s, 3), 1);
    CHECK_EQ(utf8_floor(s, 4), 4);
    CHECK_EQ(utf8_floor(s, 99), 5);
    CHECK_EQ(utf8_count(s), 3);
    CHECK_EQ(text_token_count(STR_LIT("白金卡")), 3);
    CHECK_EQ(text_token_count(STR_LIT("hello")), 2);
    CHECK_EQ(text_token_count(STR_LIT("白金卡 VIP!")), 3 + 2);
    CHECK_EQ(text_token_count(STR_LIT("")), 0);
}

/* ---- normalize ---- */

static const char *normal(const char *text)
{
    static char out[1024];
    struct norm_text t;
    norm_text_init(&t);
    CHECK_OK(normalize_run(str_of(text), &t));
    CHECK(t.text.len < sizeof out);
    CHECK_EQ(t.start.len, t.text.len * 4);
    CHECK_EQ(t.end.len, t.text.len * 4);
    const uint32_t *s = (const void *)t.start.ptr, *e = (const void *)t.end.ptr;
    for (size_t i = 0; i < t.text.len; i++) {
        CHECK(s[i] < e[i] && e[i] <= strlen(text));
        CHECK(i == 0 || (s[i - 1] <= s[i] && e[i - 1] <= e[i]));
        CHECK_EQ(utf8_floor(str_of(text), s[i]), s[i]);
        CHECK_EQ(utf8_floor(str_of(text), e[i]), e[i]);
    }
    if (t.text.len)
        memcpy(out, t.text.ptr, t.text.len);
    out[t.text.len] = 0;
    norm_text_clear(&t);
    return out;
}

TEST(normalize_folds)
{
    assert_string_equal(normal("Hello WORLD"), "hello world");
    assert_string_equal(normal("Ｆｕｌｌ　ｗｉｄｔｈ１２３％"), "full width123%");
    assert_string_equal(normal("信用卡積分兌換"), "信用卡积分兑换");
    assert_string_equal(normal("ﬁne ① ㎏ ㍿ Straße"), "fine 1 kg 株式会社 strasse");
    assert_string_equal(normal("cafe\xCC\x81 CAFÉ"), "café café"); /* composed */
    assert_string_equal(normal("so\xC2\xADrt\xE2\x80\x8B"
                               "ed"),
                        "sorted"); /* soft hyphen, zero width space */
    assert_string_equal(normal("ｶﾞｲﾄﾞ"), "ガイド");
    assert_string_equal(normal("\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB"), "한"); /* jamo compose */
    assert_string_equal(normal("𠮷𝐀"), "𠮷a");
    assert_string_equal(normal("a\xFF"
                               "b\xE4\xB8"),
                        "a\xEF\xBF\xBD"
                        "b\xEF\xBF\xBD");
    assert_string_equal(normal(""), "");
}

TEST(normalize_offsets_point_at_the_source)
{
    struct norm_text t;
    norm_text_init(&t);
    CHECK_OK(normalize_run(STR_LIT("x㎏e\xCC\x81積"), &t)); /* x kg é 积 at 0, 1..4, 4..7, 7..10 */
    CHECK_STR(buf_str(&t.text), "xkgé积");
    const uint32_t *s = (const void *)t.start.ptr, *e = (const void *)t.end.ptr;
    const uint32_t want_s[] = {0, 1, 1, 4, 4, 7, 7, 7}, want_e[] = {1, 4, 4, 7, 7, 10, 10, 10};
    CHECK_EQ(t.text.len, 8);
    for (size_t i = 0; i < 8; i++) {
        CHECK_EQ(s[i], want_s[i]);
        CHECK_EQ(e[i], want_e[i]);
    }
    norm_text_clear(&t);
}

TEST(normalize_is_linear_in_piled_accents)
{
    struct buf b;
    struct norm_text t;
    buf_init(&b, MEM_TEXT);
    norm_text_init(&t);
    buf_addc(&b, 'a');
    for (int i = 0; i < 50000; i++)
        buf_add(&b, i % 2 ? "\xCC\x81" : "\xCC\xA3", 2);
    for (int i = 0; i < 5000; i++)
        buf_addz(&b, "\xEF\xB7\xBA"); /* folds to 18 characters */
    CHECK_OK(normalize_run(buf_str(&b), &t));
    CHECK(t.text.len > 5000 * 18);
    buf_clear(&b);
    norm_text_clear(&t);
}

/* ---- analyzer ---- */

TEST(chinese_words_subwords_and_bigrams)
{
    const char *t = terms("白金卡的年费是多少");
    CHECK(has(t, "W:年费") && has(t, "W:多少") && has(t, "c:的"));
    CHECK(has(t, "W:白金卡") && has(t, "s:白金") && has(t, "s:金卡"));
    assert_string_equal(
        terms("中华人民共和国"),
        "W:中华人民共和国 s:中华 s:中华人民 s:华人 s:人民 s:人民共和国 b:民共 s:共和 s:共和国 b:和国");
}

TEST(a_two_character_word_is_not_a_bigram_too)
{
    const char *t = terms("北京大学生");
    CHECK((has(t, "s:北京") || has(t, "W:北京")) && has(t, "b:京大") && strstr(t, ":大学 "));
    CHECK(!has(t, "b:北京") && !has(t, "b:大学"));
}

TEST(traditional_meets_simplified)
{
    char simplified[4096];
    snprintf(simplified, sizeof simplified, "%s", terms("信用卡积分兑换规则"));
    assert_string_equal(terms("信用卡積分兌換規則"), simplified);
}

TEST(kana_and_hangul_are_bigrams)
{
    assert_string_equal(terms("カード"), "b:カー b:ード");
    assert_string_equal(terms("신용카드"), "b:신용 b:용카 b:카드");
    assert_string_equal(terms("の"), "c:の");
}

TEST(english_is_stemmed)
{
    assert_string_equal(terms("Cards redeeming customers' customer’s"), "W:card W:redeem W:custom W:custom");
    assert_string_equal(terms("Beyoncé naïve"), "W:beyonc W:naiv");
    assert_string_equal(terms("don't"), "W:don't");
    assert_string_equal(terms("Привет МИР"), "W:привет W:мир");
}

TEST(hyphenated_words_whole_and_apart)
{
    assert_string_equal(terms("credit-cards"), "N:credit-cards W:credit W:card");
}

TEST(numbers_and_identifiers_whole_and_in_parts)
{
    assert_string_equal(terms("3600"), "N:3600");
    assert_string_equal(terms("1,000"), "N:1000");
    assert_string_equal(terms("12,34"), "N:12 N:34");
    assert_string_equal(terms("3.5%"), "N:3.5% p:3.5");
    assert_string_equal(terms("３５％"), "N:35% p:35");
    const char *t = terms("3600元");
    CHECK(has(t, "N:3600元") && has(t, "p:3600") && has(t, "c:元"));
    t = terms("3,600元年费");
    CHECK(has(t, "N:3600元") && has(t, "p:3600") && has(t, "W:年费"));
    t = terms("DS-2024-01");
    CHECK(has(t, "N:ds-2024-01") && has(t, "p:ds") && has(t, "p:2024") && has(t, "p:01"));
    t = terms("v1.2.3");
    CHECK(has(t, "N:v1.2.3") && has(t, "p:1.2.3"));
    t = terms("C++ and C#, not C");
    CHECK(has(t, "N:c++") && has(t, "N:c#") && has(t, "W:c"));
    t = terms("a@example.com");
    CHECK(has(t, "N:a@example.com") && has(t, "W:exampl"));
    t = terms("12:30 2024/01/02 iPhone15");
    CHECK(has(t, "N:12:30") && has(t, "N:2024/01/02") && has(t, "p:2024") && has(t, "N:iphone15") &&
          has(t, "p:15"));
}

TEST(different_percentages_share_no_term)
{
    char a[256];
    snprintf(a, sizeof a, "%s", terms("3.5%"));
    const char *b = terms("35%");
    for (char *save, *t = strtok_r(a, " ", &save); t; t = strtok_r(NULL, " ", &save)) {
        const char *text = strchr(t, ':') + 1;
        const char *hit = strstr(b, text);
        CHECK(!hit || hit[-1] != ':' || (hit[strlen(text)] != ' ' && hit[strlen(text)] != 0));
    }
}

TEST(words_across_scripts)
{
    CHECK(has(terms("一件T恤"), "W:t恤"));
    CHECK(has(terms("买A股"), "W:a股"));
    CHECK(!has(terms("VISA股"), "W:a股"));
}

TEST(spans_are_exact_and_ordered)
{
    static const char text[] = "e\xCC\x81t\xC3\xA9 ３６００元，白金卡 v1.2.3 積分 don’t x\xFFy 中文C++";
    struct str s = STR_LIT(text);
    struct term_list l;
    term_list_init(&l);
    for (int mode = ANALYZE_DOCUMENT; mode <= ANALYZE_QUERY; mode++) {
        CHECK_OK(analyzer_run(analyzer_plain(), s, (enum analyze_mode)mode, &l));
        CHECK(l.n > 10);
        for (uint32_t i = 0; i < l.n; i++) {
            const struct term *t = &l.items[i];
            CHECK(t->start < t->end && t->end <= s.len);
            CHECK(utf8_floor(s, t->start) == t->start && utf8_floor(s, t->end) == t->end);
            CHECK(i == 0 || l.items[i - 1].start <= t->start);
            CHECK(t->weight > 0 && t->weight <= 1);
            CHECK(mode == ANALYZE_QUERY || t->weight >= 1);
            CHECK(utf8_valid(term_text(&l, i)) && term_text(&l, i).len > 0);
            if (str_eqz(term_text(&l, i), "3600元"))
                CHECK_STR(str_make(s.ptr + t->start, t->end - t->start), "３６００元");
            if (str_eqz(term_text(&l, i), "ete"))
                CHECK_STR(str_make(s.ptr + t->start, t->end - t->start), "e\xCC\x81t\xC3\xA9");
        }
    }
    term_list_clear(&l);
}

TEST(questions_weigh_stop_words_low)
{
    CHECK(weight_of("白金卡的年费是多少？", "年费") > 2 * weight_of("白金卡的年费是多少？", "多少"));
    CHECK(weight_of("白金卡的年费是多少？", "年费") > 2 * weight_of("白金卡的年费是多少？", "的"));
    CHECK(weight_of("what is the annual fee", "fee") > 2 * weight_of("what is the annual fee", "what"));
    CHECK(weight_of("信用卡", "信用卡") > weight_of("信用卡", "信用"));
    CHECK(weight_of("的", "的") > 0);
}

TEST(stop_words_are_sorted)
{
    static const char *const words[] = {
#include "text/stopwords.inc"
    };
    size_t n = sizeof words / sizeof words[0];
    for (size_t i = 0; i < n; i++) {
        CHECK(i == 0 || str_cmp(str_of(words[i - 1]), str_of(words[i])) < 0);
        CHECK(stopword_is(str_of(words[i])));
        assert_string_equal(normal(words[i]), words[i]);
    }
    CHECK(!stopword_is(STR_LIT("年费")) && !stopword_is(STR_LIT("")));
}

TEST(user_words_are_kept_whole)
{
    const struct str words[] = {STR_LIT("凤凰云卡"), STR_LIT("龙卡全球支付"), STR_LIT("iPhone 15 Pro"),
                                STR_LIT("𠮷野家")};
    struct analyzer *a = NULL;
    CHECK_OK(analyzer_new(words, 4, &a, NULL));
    CHECK(has(terms_with(a, "办理鳳凰雲卡的条件"), "W:凤凰云卡"));
    CHECK(has(terms_with(a, "办理凤凰云卡的条件"), "s:凤凰"));
    CHECK(has(terms_with(a, "龙卡全球支付怎么用"), "W:龙卡全球支付"));
    CHECK(has(terms_with(a, "龙卡全球支付怎么用"), "s:支付"));
    CHECK(strstr(terms_with(a, "买IPHONE 15 PRO手机"), "W:iphone 15 pro"));
    CHECK(!strstr(terms_with(a, "iPhone 15 Prome"), "W:iphone 15 pro"));
    CHECK(has(terms_with(a, "去𠮷野家吃饭"), "W:𠮷野家"));
    CHECK(!has(terms("办理凤凰云卡的条件"), "W:凤凰云卡"));
    CHECK(analyzer_fingerprint(a) != analyzer_fingerprint(analyzer_plain()));
    analyzer_free(a);
}

TEST(bad_user_words_are_named)
{
    static const char *const bad[] = {"", "  ", "\xFF", "\xE2\x80\x8B",
                                      "一二三四五六七八九十一二三四五六七八九十一二三四五六七八九十一二三"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct str words[] = {STR_LIT("白金卡"), str_of(bad[i])};
        struct analyzer *a = (void *)1;
        struct rag_err err = {0};
        CHECK_EQ(analyzer_new(words, 2, &a, &err), RAG_EINVAL);
        CHECK(a == NULL && strstr(err.msg, "user word 2"));
    }
}

TEST(fingerprint_ignores_the_order_of_user_words)
{
    const struct str ab[] = {STR_LIT("白金卡"), STR_LIT("百夫长卡")},
                     ba[] = {STR_LIT("百夫长卡"), STR_LIT("白金卡")};
    struct analyzer *x, *y;
    CHECK_OK(analyzer_new(ab, 2, &x, NULL));
    CHECK_OK(analyzer_new(ba, 2, &y, NULL));
    CHECK(analyzer_fingerprint(x) == analyzer_fingerprint(y));
    analyzer_free(x);
    analyzer_free(y);
}

TEST(long_texts_give_the_terms_of_their_lines)
{
    struct buf b;
    struct term_list l;
    static const char line[] = "信用卡积分兑换规则 version 2.0 的说明。\n";
    buf_init(&b, MEM_TEXT);
    term_list_init(&l);
    CHECK_OK(analyzer_run(analyzer_plain(), STR_LIT(line), ANALYZE_DOCUMENT, &l));
    uint32_t once = l.n;
    for (int i = 0; i < 3000; i++)
        buf_addz(&b, line);
    CHECK_OK(analyzer_run(analyzer_plain(), buf_str(&b), ANALYZE_DOCUMENT, &l));
    CHECK_EQ(l.n, once * 3000);
    for (uint32_t i = 1; i < l.n; i++)
        CHECK(l.items[i - 1].start <= l.items[i].start && l.items[i - 1].pos <= l.items[i].pos);
    buf_reset(&b);
    for (int i = 0; i < 200000; i++) /* no place to cut */
        buf_addz(&b, i % 3 ? "卡" : "a1");
    CHECK_OK(analyzer_run(analyzer_plain(), buf_str(&b), ANALYZE_DOCUMENT, &l));
    buf_reset(&b);
    for (int i = 0; i < 100000; i++)
        buf_addz(&b, "\x80\xBF.-");
    CHECK_OK(analyzer_run(analyzer_plain(), buf_str(&b), ANALYZE_QUERY, &l));
    term_list_clear(&l);
    buf_clear(&b);
}

static void *analyze_in_thread(void *fired)
{
    struct term_list l;
    term_list_init(&l);
    rag_code rc = analyzer_run(analyzer_plain(), STR_LIT("信用卡 3600元 customers v1.2"), ANALYZE_QUERY, &l);
    *(bool *)fired = fault_disarm();
    CHECK_EQ(rc, *(bool *)fired ? RAG_ENOMEM : RAG_OK);
    if (!rc)
        CHECK(l.n > 5);
    term_list_clear(&l);
    return NULL;
}

TEST(analysis_survives_each_failed_allocation)
{
    (void)analyzer_plain();
    bool fired = true;
    for (unsigned nth = 1; fired; nth++) { /* a new thread has no scratch yet */
        pthread_t t;
        fault_arm_alloc(nth);
        CHECK_EQ(pthread_create(&t, NULL, analyze_in_thread, &fired), 0);
        pthread_join(t, NULL);
    }
    fired = true;
    for (unsigned nth = 1; fired; nth++) {
        const struct str words[] = {STR_LIT("白金卡"), STR_LIT("百夫长卡")};
        struct analyzer *a = NULL;
        fault_arm_alloc(nth);
        rag_code rc = analyzer_new(words, 2, &a, NULL);
        fired = fault_disarm();
        CHECK((rc == RAG_OK) == (a != NULL) && (rc == RAG_ENOMEM) == fired);
        analyzer_free(a);
    }
    fired = true;
    for (unsigned nth = 1; fired; nth++) {
        struct norm_text t;
        norm_text_init(&t);
        fault_arm_alloc(nth);
        rag_code rc = normalize_run(STR_LIT("信用卡"), &t);
        fired = fault_disarm();
        CHECK_EQ(rc, fired ? RAG_ENOMEM : RAG_OK);
        norm_text_clear(&t);
    }
}

TEST(too_big_is_refused)
{
    struct term_list l;
    struct norm_text t;
    term_list_init(&l);
    norm_text_init(&t);
    struct str huge = str_make("x", ((size_t)256 << 20) + 1); /* refused before it is read */
    CHECK_EQ(analyzer_run(analyzer_plain(), huge, ANALYZE_DOCUMENT, &l), RAG_ETOOBIG);
    CHECK_EQ(normalize_run(huge, &t), RAG_ETOOBIG);
    term_list_clear(&l);
    norm_text_clear(&t);
}

TEST(any_bytes_are_accepted)
{
    struct term_list l;
    term_list_init(&l);
    uint32_t x = 1;
    char bytes[300];
    for (int round = 0; round < 2000; round++) {
        for (size_t i = 0; i < sizeof bytes; i++) {
            x = x * 1664525u + 1013904223u;
            bytes[i] = (char)(round % 2 ? x >> 24 : (x >> 24) % 96 + 32);
        }
        struct str s = str_make(bytes, sizeof bytes);
        CHECK_OK(analyzer_run(analyzer_plain(), s, ANALYZE_QUERY, &l));
        for (uint32_t i = 0; i < l.n; i++)
            CHECK(l.items[i].start < l.items[i].end && l.items[i].end <= s.len && l.items[i].weight > 0);
        size_t n = 0;
        while (n < s.len) {
            size_t k = sentence_len(str_make(bytes + n, s.len - n));
            CHECK(k > 0 && n + k <= s.len);
            n += k;
        }
    }
    term_list_clear(&l);
}

/* ---- sentences ---- */

/* The sentences of `text`, joined by '/', line breaks shown as '~'. */
static const char *sentences(const char *text)
{
    static char out[2048];
    size_t n = 0;
    struct str s = str_of(text);
    out[0] = 0;
    while (s.len) {
        size_t k = sentence_len(s);
        CHECK(k > 0 && k <= s.len);
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%.*s", n ? "/" : "", (int)k, s.ptr);
        s = str_make(s.ptr + k, s.len - k);
    }
    for (char *p = out; *p; p++)
        if (*p == '\n')
            *p = '~';
    return out;
}

TEST(sentences_in_chinese)
{
    assert_string_equal(sentences("年费多少？白金卡3600元。“真的吗？”他问。"),
                        "年费多少？/白金卡3600元。/“真的吗？”/他问。");
    assert_string_equal(sentences("好的……下一句！结束"), "好的……/下一句！/结束");
    assert_string_equal(sentences("第一行没有句号\n第二行"), "第一行没有句号~/第二行");
    assert_string_equal(sentences("利率3.5%。完"), "利率3.5%。/完");
}

TEST(sentences_in_english)
{
    assert_string_equal(sentences("The fee is 3.5%. See v1.2 for more. Done."),
                        "The fee is 3.5%. /See v1.2 for more. /Done.");
    assert_string_equal(sentences("Ask Mr. Smith, e.g. by mail. He said \"yes.\" Then he left."),
                        "Ask Mr. Smith, e.g. by mail. /He said \"yes.\" /Then he left.");
    assert_string_equal(sentences("J. Smith of the U.S. Army came. Is it No. 5? No. It is not."),
                        "J. Smith of the U.S. Army came. /Is it No. 5? /No. /It is not.");
    assert_string_equal(sentences("A line that is\nwrapped goes on. Next."),
                        "A line that is~wrapped goes on. /Next.");
    assert_string_equal(sentences("Really?! Yes..."), "Really?! /Yes...");
}

TEST(sentences_end_at_structural_line_breaks)
{
    assert_string_equal(sentences("Intro\n- one\n- two\n\nAfter"), "Intro~/- one~/- two~~/After");
    assert_string_equal(sentences("Fee: 100\nLimit: 200"), "Fee: 100~/Limit: 200");
    assert_string_equal(sentences("1. First\n2. Second"), "1. First~/2. Second");
    assert_string_equal(sentences("| a | b |\n| c | d |"), "| a | b |~/| c | d |");
    assert_string_equal(sentences(""), "");
    assert_string_equal(sentences("\n\n"), "~~");
}
