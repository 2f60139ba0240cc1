#include "test.h"

#include "stages/generation/citations.h"

/* The answer in pieces of `piece` bytes; must be the same for every size. */
static struct citation_filter run(struct str text, uint32_t n_passages, size_t piece, struct buf *out)
{
    struct citation_filter f;
    citation_filter_init(&f, n_passages);
    for (size_t i = 0; i < text.len; i += piece)
        citation_filter_feed(&f, str_make(text.ptr + i, text.len - i < piece ? text.len - i : piece), out);
    citation_filter_end(&f, out);
    return f;
}

static struct citation_filter check(const char *text, uint32_t n_passages, const char *want)
{
    struct citation_filter f = {0};
    for (size_t piece = 1; piece <= strlen(text); piece++) {
        struct buf out = {0};
        f = run(str_of(text), n_passages, piece, &out);
        CHECK_STR(buf_str(&out), want);
        buf_clear(&out);
    }
    return f;
}

TEST(marks_of_passages_go_through_and_are_counted_once)
{
    struct citation_filter f =
        check("白金卡年费3600元[2]，可减免[1][2]。", 3, "白金卡年费3600元[2]，可减免[1][2]。");
    CHECK_EQ(f.n_cited, 2);
    CHECK_EQ(f.order[0], 2);
    CHECK_EQ(f.order[1], 1);
    CHECK_EQ(f.n_dropped, 0);
    CHECK(!f.not_found && f.has_text);
}

TEST(marks_of_no_passage_are_dropped)
{
    struct citation_filter f = check("a[4] b[3] c[999]", 3, "a b[3] c");
    CHECK_EQ(f.n_cited, 1);
    CHECK_EQ(f.n_dropped, 2);
    check("a[1]", 0, "a");
}

TEST(every_bracket_and_digit_becomes_the_plain_form)
{
    check("一【1】二［２］三【 3 】", 3, "一[1]二[2]三[3]");
    check("[01][1】", 1, "[1][1]");
}

TEST(a_list_becomes_one_mark_each)
{
    check("x[1, 2]", 3, "x[1][2]");
    check("x[1，2、3]", 3, "x[1][2][3]");
    check("x[1, 2, 3, 4, 5]", 5, "x[1][2][3][4][5]");
    check("x[1-3]", 5, "x[1][2][3]");
    check("x[1–2；4]", 5, "x[1][2][4]");
    CHECK_EQ(check("x[2-9]", 3, "x[2][3]").n_dropped, 1);
    CHECK_EQ(check("x[1,9]", 3, "x[1]").n_dropped, 1);
    check("x[3-1]", 3, "x[3][1]");
    CHECK_EQ(
        check(
            "x[0-999]", 32,
            "x[1][2][3][4][5][6][7][8][9][10][11][12][13][14][15][16][17][18][19][20][21][22][23][24][25][26][27]"
            "[28][29][30][31][32]")
            .n_cited,
        32);
}

TEST(the_models_own_forms_are_understood)
{
    check("x【1†source】", 2, "x[1]");
    check("x[1†卡片说明.md]", 2, "x[1]");
    check("x【2:0†source】", 2, "x[2]");
    CHECK_EQ(check("x【7†source】", 2, "x").n_dropped, 1);
    check("x[1†a\nb]", 2, "x[1†a\nb]");
}

TEST(anything_else_is_text)
{
    static const char *const texts[] = {
        "[",
        "a[",
        "[]",
        "[ ]",
        "[1",
        "[text](http://a/b)",
        "[a1]",
        "[1a]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1-]",
        "[12:30]",
        "[1:2]",
        "]1[",
        "1]",
        "财税[2016]36号",
        "[2016-2020]",
        "[- [ ] x]",
        "【注意】年费",
        "[1, 2 and more]",
        "[0009]",
        "[^1]",
        "[1†a label that is too long]",
        "[-1]",
        "[1.5]",
        "[1[x]",
        "[1,2,3,4,5,6,7,8,9,10,11,12]",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct citation_filter f = check(texts[i], 12, texts[i]);
        CHECK_EQ(f.n_cited + f.n_dropped, 0);
    }
}

TEST(what_stands_beside_a_mark_does_not_matter)
{
    check("a[1] [1](http://x) [[1]] [[[2]", 2, "a[1] [1](http://x) [[1]] [[[2]");
    check("[1[2]", 2, "[1[2]");
}

TEST(a_dropped_mark_makes_no_new_one)
{
    check("x[[0]9]", 3, "x[ 9]");
    check("x[1[8]2]", 3, "x[1 2]");
    check("x【[9]7】", 3, "x【 7】");
    check("x[[9][8]7]", 3, "x[ 7]");
    check("x[[8]", 3, "x[ ");
}

TEST(not_found_is_noted_and_leaves_nothing)
{
    struct citation_filter f = check("[0]", 3, "");
    CHECK(f.not_found && !f.has_text);
    CHECK_EQ(f.n_dropped, 0);
    f = check(" \n【0】 \n文档没有写。", 3, "文档没有写。");
    CHECK(f.not_found && f.has_text);
    f = check("[0, 1]", 3, "[1]");
    CHECK(!f.not_found);
    CHECK_EQ(f.n_dropped, 1);
}

TEST(text_is_held_only_while_it_can_become_a_mark)
{
    struct citation_filter f;
    struct buf out = {0};
    citation_filter_init(&f, 3);
    citation_filter_feed(&f, STR_LIT("see [1"), &out);
    CHECK_STR(buf_str(&out), "see ");
    citation_filter_feed(&f, STR_LIT("x"), &out);
    CHECK_STR(buf_str(&out), "see [1x");
    citation_filter_feed(&f, STR_LIT("["), &out);
    for (int i = 0; i < CITATIONS_HOLD_CHARS - 2; i++)
        citation_filter_feed(&f, STR_LIT(" "), &out);
    CHECK_STR(buf_str(&out), "see [1x");
    citation_filter_feed(&f, STR_LIT(" "), &out);
    CHECK_EQ(out.len, strlen("see [1x") + CITATIONS_HOLD_CHARS);
    buf_clear(&out);
}

TEST(bad_bytes_go_on_as_they_came)
{
    check("a\xE3\x80[1]\xFF\x80[1†\xF0\x9F]\xED\xA0\x80", 2, "a\xE3\x80[1]\xFF\x80[1]\xED\xA0\x80");
    check("\xE3\x80", 2, "\xE3\x80");
}
