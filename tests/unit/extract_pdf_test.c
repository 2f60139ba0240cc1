/* The layout that pdftotext writes, made here line by line, to blocks. Real PDFs: tests/e2e/test_pdf.py. */
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "extract/pdf_int.h"
#include "test.h"
#include "text/utf8.h"

static struct buf layout;
static struct text_doc doc;
static struct rag_err err;

/* ---- writing a layout ---- */

static void begin(const char *title)
{
    buf_clear(&layout);
    buf_init(&layout, MEM_MISC);
    buf_addf(&layout, "<!DOCTYPE html><html xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n<title>%s</title>\n</head>\n"
                      "<body>\n<doc>\n",
             title);
}

static void page_begin(void)
{
    buf_addz(&layout, "  <page width=\"595.000000\" height=\"842.000000\">\n");
}

static void page_end(void)
{
    buf_addz(&layout, "  </page>\n");
}

static double width_of(struct str s, double size)
{
    double w = 0;
    for (size_t i = 0; i < s.len;)
        w += utf8_is_cjk(utf8_next(s, &i)) ? size : size / 2;
    return w;
}

/* One line whose letters are `size` high and half as wide, words at blanks. Returns its right end. */
static double line(double x, double y, double size, const char *text)
{
    buf_addz(&layout, "<flow><block><line>\n");
    while (*text) {
        size_t n = strcspn(text, " ");
        double end = x + width_of(str_make(text, n), size);
        buf_addf(&layout, "<word xMin=\"%.6f\" yMin=\"%.6f\" xMax=\"%.6f\" yMax=\"%.6f\">%.*s</word>\n", x, y, end,
                 y + size, (int)n, text);
        text += n;
        x = end;
        while (*text == ' ')
            text++, x += size / 2;
    }
    buf_addz(&layout, "</line></block></flow>\n");
    return x;
}

static rag_code run(void)
{
    struct doc_writer w;
    buf_addz(&layout, "</doc>\n</body>\n</html>\n");
    text_doc_clear(&doc);
    text_doc_init(&doc);
    err = (struct rag_err){0};
    docw_init(&w, &doc, &extract_default_limits, &err);
    return pdf_text(&w, buf_str(&layout));
}

static const struct text_block *block(size_t i)
{
    return (const struct text_block *)(const void *)doc.blocks.ptr + i;
}

/* Lines "kind[level]@page text"; line ends inside shown as '/'. */
static void check(const char *want)
{
    static const char *const kinds[] = {"H", "P", "L", "C", "T", "R"};
    struct buf b;
    rag_code rc = run();
    if (rc)
        print_error("%s\n", err.msg);
    CHECK_OK(rc);
    buf_init(&b, MEM_MISC);
    for (size_t i = 0; i < doc.blocks.len / sizeof(struct text_block); i++) {
        const struct text_block *k = block(i);
        buf_addz(&b, kinds[k->kind]);
        if (k->level)
            buf_addf(&b, "%u", k->level);
        buf_addf(&b, "@%u ", k->page);
        for (uint32_t c = k->start; c < k->end; c++)
            buf_addc(&b, doc.text.ptr[c] == '\n' ? '/' : doc.text.ptr[c]);
        buf_addc(&b, '\n');
    }
    CHECK_STR(buf_str(&b), want);
    buf_clear(&b);
}

static void stop(void)
{
    buf_clear(&layout);
    text_doc_clear(&doc);
}

/* ---- paragraphs ---- */

TEST(lines_become_paragraphs_and_broken_words_whole)
{
    begin("");
    page_begin();
    line(72, 100, 10, "The annual fee of this card is charged once a year, on the day of the exam-");
    line(72, 113, 10, "ple that the bank has chosen for you; a well-known co-operation of the North-");
    line(72, 126, 10, "South kind ends here.");
    line(72, 139, 10, "A second paragraph begins here because the line before it ended its sentence.");
    line(72, 170, 10, "A third one stands further below.");
    page_end();
    check("P@1 The annual fee of this card is charged once a year, on the day of the example that the bank has chosen "
          "for you; a well-known co-operation of the North- South kind ends here.\n"
          "P@1 A second paragraph begins here because the line before it ended its sentence.\n"
          "P@1 A third one stands further below.\n");
    stop();
}

TEST(chinese_lines_join_without_blanks)
{
    begin("");
    page_begin();
    line(92, 100, 10, "白金卡的年费为每年三千六百元，客户在一个自然年度内刷卡消费满十八次可");
    line(72, 115, 10, "以免除次年年费；积分可以兑换航空里程，每十八积分换一里，兑换后不能撤");
    line(72, 130, 10, "销。");
    line(92, 145, 10, "第二段从这里开始，它的首行缩进两个字，说明 2024 年的新规定从一月起执");
    line(72, 160, 10, "行。");
    page_end();
    check("P@1 白金卡的年费为每年三千六百元，客户在一个自然年度内刷卡消费满十八次可以免除次年年费；积分可以兑换航空里程，"
          "每十八积分换一里，兑换后不能撤销。\n"
          "P@1 第二段从这里开始，它的首行缩进两个字，说明 2024 年的新规定从一月起执行。\n");
    stop();
}

TEST(a_line_cut_at_a_wide_blank_is_one_line)
{
    begin("");
    page_begin();
    double x = line(72, 100, 10, "年费每年三千六百元，自2024");
    line(x + 10, 100, 10, "年起调整。");
    line(72, 130, 10, "•");
    line(100, 130, 10, "a bullet whose text stands off");
    line(72, 160, 10, "目 录");
    page_end();
    check("P@1 年费每年三千六百元，自2024 年起调整。\nL@1 a bullet whose text stands off\nP@1 目录\n");
    stop();
}

TEST(columns_are_read_one_after_the_other)
{
    static const char *const left[] = {"The left column tells of fees and goes", "on for as many lines as the right",
                                       "one, and its last sentence is not yet"},
                             *const right[] = {"over when the column ends. The right", "column then tells of points, which",
                                               "are another thing altogether, mind."};
    begin("");
    page_begin();
    for (int i = 0; i < 3; i++)
        line(50, 100 + 13 * i, 10, left[i]);
    for (int i = 0; i < 3; i++)
        line(310, 100 + 13 * i, 10, right[i]);
    page_end();
    check("P@1 The left column tells of fees and goes on for as many lines as the right one, and its last sentence is "
          "not yet over when the column ends. The right column then tells of points, which are another thing "
          "altogether, mind.\n");
    stop();
}

TEST(paragraphs_side_by_side_are_not_read_across)
{
    begin("");
    page_begin();
    line(50, 50, 14, "A title that stands above both of the columns of this page");
    for (int side = 0; side < 2; side++) /* as pdftotext has it: block by block across the page */
        line(side ? 310 : 50, 100, 12, side ? "Right one" : "Left one");
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < 2; i++)
            line(side ? 310 : 50, 120 + 13 * i, 10,
                 side ? (i ? "not read before its own head." : "The text of the right part is")
                      : (i ? "the one that is read at first." : "The text of the left part, and"));
    for (int side = 0; side < 2; side++)
        line(side ? 310 : 50, 180, 12, side ? "Right two" : "Left two");
    for (int side = 0; side < 2; side++)
        line(side ? 310 : 50, 200, 10, side ? "The end of the right column." : "The end of the left column.");
    line(50, 250, 14, "What comes after");
    line(50, 280, 10, "A paragraph over the whole width that no column has anything to do with at all.");
    page_end();
    check("H1@1 A title that stands above both of the columns of this page\n"
          "H2@1 Left one\nP@1 The text of the left part, and the one that is read at first.\n"
          "H2@1 Left two\nP@1 The end of the left column.\n"
          "H2@1 Right one\nP@1 The text of the right part is not read before its own head.\n"
          "H2@1 Right two\nP@1 The end of the right column.\n"
          "H1@1 What comes after\n"
          "P@1 A paragraph over the whole width that no column has anything to do with at all.\n");
    stop();
}

TEST(columns_in_the_middle_of_a_page_are_not_read_line_by_line)
{
    static const char *const left[] = {"小额免密默认一千元以内，可以自行", "关闭；商户退货的，退款原路退回，",
                                       "通常七个工作日内入账，不能退成现", "金。"},
                             *const right[] = {"自账单日起六十天内提出，银行四十", "五天内答复；逾期没有提出的，视为",
                                               "认可账单，此后不再受理同一笔交易", "的疑问。"};
    begin("");
    page_begin();
    line(50, 60, 10, "本页上方的段落占满整个版心的宽度，说明两栏里的条文从哪一天开始施行。");
    for (int i = 0; i < 4; i++) { /* as pdftotext has it when lines are set wide and the gutter is narrow */
        line(50, 100 + 15.5 * i, 10, left[i]);
        line(234, 100 + 15.5 * i, 10, right[i]);
    }
    line(50, 190, 10, "本页下方的段落又占满整个版心的宽度，说明条文由谁来解释，以及何时修订。");
    page_end();
    check("P@1 本页上方的段落占满整个版心的宽度，说明两栏里的条文从哪一天开始施行。\n"
          "P@1 小额免密默认一千元以内，可以自行关闭；商户退货的，退款原路退回，通常七个工作日内入账，不能退成现金。\n"
          "P@1 自账单日起六十天内提出，银行四十五天内答复；逾期没有提出的，视为认可账单，此后不再受理同一笔交易的疑问。\n"
          "P@1 本页下方的段落又占满整个版心的宽度，说明条文由谁来解释，以及何时修订。\n");
    stop();
}

TEST(items_keep_the_lines_that_hang_below_them)
{
    begin("");
    page_begin();
    for (int i = 0; i < 2; i++)
        line(72, 100 + 26 * i, 10, "•");
    for (int i = 0; i < 2; i++) {
        line(90, 100 + 26 * i, 10, "An item whose text is long enough to need a second line, which");
        line(90, 113 + 26 * i, 10, "hangs below the first.");
    }
    page_end();
    check("L@1 An item whose text is long enough to need a second line, which hangs below the first.\n"
          "L@1 An item whose text is long enough to need a second line, which hangs below the first.\n");
    stop();
}

TEST(a_paragraph_over_two_pages_is_two_blocks_without_a_gap)
{
    begin("");
    page_begin();
    line(72, 100, 10, "Some words that fill the line up to its end so that it cannot have been the last");
    line(72, 113, 10, "one of the paragraph, which goes on and on until the page is over and the sen-");
    page_end();
    page_begin();
    line(72, 100, 10, "tence is not. It ends here.");
    line(72, 126, 10, "Another paragraph.");
    page_end();
    check("P@1 Some words that fill the line up to its end so that it cannot have been the last one of the paragraph, "
          "which goes on and on until the page is over and the sentence\n"
          "P@2 is not. It ends here.\n"
          "P@2 Another paragraph.\n");
    CHECK_EQ(block(1)->start, block(0)->end + 1);
    begin("");
    page_begin();
    line(72, 100, 10, "白金卡的年费为每年三千六百元，客户在一个自然年度内刷卡消费满十八次可以免");
    page_end();
    page_begin();
    line(72, 100, 10, "除次年年费。");
    page_end();
    check("P@1 白金卡的年费为每年三千六百元，客户在一个自然年度内刷卡消费满十八次可以免\nP@2 除次年年费。\n");
    CHECK_EQ(block(1)->start, block(0)->end);
    stop();
}

/* ---- running heads ---- */

TEST(roman_page_numbers_go)
{
    static const char *const numbers[] = {"i", "ii", "iii", "iv"};
    static const char *const bodies[] = {"One says this.", "Two says that.", "Three says nothing.", "Four is silent."};
    begin("");
    for (int i = 0; i < 4; i++) {
        page_begin();
        line(72, 300, 10, bodies[i]);
        line(290, 800, 10, numbers[i]);
        page_end();
    }
    check("P@1 One says this.\nP@2 Two says that.\nP@3 Three says nothing.\nP@4 Four is silent.\n");
    stop();
}

static void page_with_heads(int n, const char *body)
{
    char foot[32];
    page_begin();
    line(72, 40, 8, "Price list of the bank");
    line(72, 300, 10, body);
    snprintf(foot, sizeof foot, "Page %d", n);
    line(290, 800, 8, foot);
    page_end();
}

TEST(running_heads_and_page_numbers_go)
{
    begin("");
    for (int i = 1; i <= 4; i++)
        page_with_heads(i, i == 1   ? "The first page says something."
                           : i == 2 ? "The second page, too, does."
                           : i == 3 ? "2024"
                                    : "Price list of the bank");
    check("P@1 The first page says something.\nP@2 The second page, too, does.\nP@3 2024\nP@4 Price list of the bank\n");
    stop();
}

TEST(what_stands_on_one_page_stays)
{
    begin("");
    page_with_heads(1, "Alone on its page, and longer than what stands above and below.");
    check("P@1 Price list of the bank\nP@1 Alone on its page, and longer than what stands above and below.\nP@1 Page 1\n");
    begin(""); /* on two of six pages */
    for (int i = 1; i <= 6; i++) {
        page_begin();
        line(72, 40, 10, i == 3 || i == 5 ? "Notes" : i % 2 ? "Odd" : i == 2 ? "Two" : "Even and more");
        line(72, 300, 10, i % 2 ? "Some text." : "Other text.");
        page_end();
    }
    rag_code rc = run();
    CHECK_OK(rc);
    CHECK(memmem(doc.text.ptr, doc.text.len, "Notes", 5) != NULL);
    stop();
}

TEST(dot_leaders_are_cut_short)
{
    begin("");
    page_begin();
    line(72, 100, 10, "Fees . . . . . . . . . . 12");
    line(72, 130, 10, "Points.............. 14 ...... ");
    line(72, 160, 10, "And so on... or not. . .");
    page_end();
    check("P@1 Fees ... 12\nP@1 Points... 14 ...\nP@1 And so on... or not. . .\n");
    stop();
}

/* ---- headings ---- */

TEST(headings_by_size_and_by_number)
{
    begin("Microsoft Word - 价目表.doc");
    page_begin();
    line(72, 60, 22, "Price list");
    line(72, 100, 14, "Credit cards");
    line(72, 125, 10, "The cards of this bank are listed below with what they cost in a year of use.");
    line(72, 150, 10, "1.1 Platinum");
    line(72, 175, 10, "The platinum card costs a good deal, but it comes with a lounge and a driver.");
    line(72, 200, 14, "Accounts");
    line(72, 225, 10, "Accounts are free of charge for everybody who has a card of this bank already.");
    line(72, 250, 10, "第三章 积分规则");
    line(72, 275, 10, "每消费一元累积一分，积分两年有效，到期自动清零，不另行通知持卡人本人。");
    line(72, 300, 10, "一、兑换方式");
    line(72, 325, 10, "客户可以在手机银行里兑换，也可以到任何一家网点办理，兑换以后不能撤销。");
    page_end();
    check("H1@1 Price list\nH2@1 Credit cards\n"
          "P@1 The cards of this bank are listed below with what they cost in a year of use.\n"
          "H4@1 1.1 Platinum\n"
          "P@1 The platinum card costs a good deal, but it comes with a lounge and a driver.\nH2@1 Accounts\n"
          "P@1 Accounts are free of charge for everybody who has a card of this bank already.\n"
          "H4@1 第三章 积分规则\nP@1 每消费一元累积一分，积分两年有效，到期自动清零，不另行通知持卡人本人。\n"
          "H4@1 一、兑换方式\nP@1 客户可以在手机银行里兑换，也可以到任何一家网点办理，兑换以后不能撤销。\n");
    CHECK_STR(buf_str(&doc.title), "Price list");
    stop();
}

TEST(numbered_items_are_no_headings)
{
    begin("Rules &amp; <more");
    page_begin();
    line(72, 100, 10, "To block a card do this:");
    line(72, 113, 10, "1. Open the app");
    line(72, 126, 10, "2. Choose the card");
    line(72, 139, 10, "3. Tap on block");
    line(72, 152, 10, "a) at once, or");
    line(72, 165, 10, "2024 was the year in which this began.");
    page_end();
    check("P@1 To block a card do this:\nL@1 1. Open the app\nL@1 2. Choose the card\nL@1 3. Tap on block\n"
          "L@1 a) at once, or\nP@1 2024 was the year in which this began.\n");
    CHECK_STR(buf_str(&doc.title), "Rules &");
    stop();
}

/* ---- tables ---- */

static void cells(double y, const char *a, const char *b, const char *c)
{
    if (a)
        line(72, y, 10, a);
    if (b)
        line(222, y, 10, b);
    if (c)
        line(372, y, 10, c);
}

TEST(aligned_words_are_a_table)
{
    begin("");
    page_begin();
    line(72, 80, 10, "What the cards cost is told by this table, and by nothing else that you may find.");
    /* as pdftotext gives it: a column after the other */
    static const char *const rows[][3] = {{"Card", "Annual fee", "Points"},
                                          {"Platinum", "3600 CNY", "10"},
                                          {"Gold", "300 CNY", "5"},
                                          {NULL, "(100 if young)", NULL},
                                          {"Classic", "0 CNY", "1"}};
    for (int c = 0; c < 3; c++)
        for (int r = 0; r < 5; r++)
            cells(120 + 20 * r - (r == 3 ? 7 : 0), c == 0 ? rows[r][0] : NULL, c == 1 ? rows[r][1] : NULL,
                  c == 2 ? rows[r][2] : NULL);
    line(72, 240, 10, "Below the table the text goes on as it did above it, with a line of some length.");
    page_end();
    check("P@1 What the cards cost is told by this table, and by nothing else that you may find.\n"
          "T@1 Card | Annual fee | Points/Card: Platinum; Annual fee: 3600 CNY; Points: 10/"
          "Card: Gold; Annual fee: 300 CNY (100 if young); Points: 5/Card: Classic; Annual fee: 0 CNY; Points: 1\n"
          "P@1 Below the table the text goes on as it did above it, with a line of some length.\n");
    stop();
}

TEST(a_table_over_two_pages_keeps_its_header)
{
    begin("");
    for (int p = 0; p < 2; p++) {
        page_begin();
        if (p == 0) {
            line(72, 80, 10, "What the cards cost is told by this table, and by nothing else that you may find.");
            cells(660, "Card", "Annual fee", "Points");
            cells(680, "Platinum", "3600 CNY", "10");
            cells(700, "Gold", "300 CNY", "5");
        } else {
            cells(60, "Classic", "0 CNY", "1");
        }
        page_end();
    }
    check("P@1 What the cards cost is told by this table, and by nothing else that you may find.\n"
          "T@1 Card | Annual fee | Points/Card: Platinum; Annual fee: 3600 CNY; Points: 10/"
          "Card: Gold; Annual fee: 300 CNY; Points: 5\n"
          "T@2 Card | Annual fee | Points/Card: Classic; Annual fee: 0 CNY; Points: 1\n");
    stop();
}

/* ---- errors ---- */

static rag_code raw(const char *s)
{
    struct doc_writer w;
    text_doc_clear(&doc);
    text_doc_init(&doc);
    err = (struct rag_err){0};
    docw_init(&w, &doc, &extract_default_limits, &err);
    return pdf_text(&w, str_of(s));
}

TEST(what_is_wrong_is_said)
{
    begin("");
    for (int i = 0; i < 3; i++) {
        page_begin();
        page_end();
    }
    CHECK_EQ(run(), RAG_EFORMAT);
    assert_string_equal(err.msg, "image only: 3 pages without text; run OCR first");
    begin("");
    for (int i = 1; i <= 3; i++) { /* a scan that was stamped */
        page_begin();
        line(72, 40, 8, "Copy 17");
        page_end();
    }
    CHECK_EQ(run(), RAG_EFORMAT);
    assert_string_equal(err.msg, "image only: 3 pages without text but running heads; run OCR first");
    begin("");
    CHECK_EQ(run(), RAG_EFORMAT);
    assert_string_equal(err.msg, "damaged: a PDF without pages");
    begin("");
    for (int i = 0; i <= PDF_MAX_PAGES; i++) {
        page_begin();
        page_end();
    }
    CHECK_EQ(run(), RAG_ETOOBIG);
    assert_string_equal(err.msg, "more than 10000 pages");
    CHECK_EQ(raw(""), RAG_EFORMAT);
    CHECK_EQ(raw("no layout at all"), RAG_EFORMAT);
    CHECK_EQ(raw("<doc><page height=\"9\"><line><word xMin=\"1\" yMin=\"1\" xMax=\"9\" yMax=\"9\">cut off"), RAG_EFORMAT);
    CHECK_EQ(raw("<line><word xMin=\"1\">outside</word></line></doc>"), RAG_EFORMAT);
    stop();
}

TEST(the_file_is_looked_at_before_it_is_read)
{
    static const struct {
        const char *bytes, *says;
    } cases[] = {
        {"\x89PNG\r\n\x1a\n", "x.pdf: is a PNG image, not a PDF"},
        {"", "x.pdf: is not a PDF: no %PDF- in its first 1024 bytes"},
        {"%PDF-1.4\n1 0 obj\n<< /Type /Catalog", "x.pdf: truncated: the end of the PDF is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_EQ(extract_bytes(FORMAT_PDF, str_of(cases[i].bytes), "x.pdf", &extract_default_limits, &doc, &err),
                 RAG_EFORMAT);
        assert_string_equal(err.msg, cases[i].says);
    }
}

TEST(a_missing_pdftotext_is_named)
{
    struct str pdf = STR_LIT("%PDF-1.4\n%%EOF\n");
    setenv("RAGD_PDFTOTEXT", "/nonexistent/pdftotext", 1);
    CHECK_EQ(extract_bytes(FORMAT_PDF, pdf, "x.pdf", &extract_default_limits, &doc, &err), RAG_EUNSUPPORTED);
    CHECK(strstr(err.msg, "poppler-utils") != NULL);
    setenv("RAGD_PDFTOTEXT", "/bin/cat", 1); /* fails on its arguments */
    CHECK_EQ(extract_bytes(FORMAT_PDF, pdf, "x.pdf", &extract_default_limits, &doc, &err), RAG_EFORMAT);
    setenv("RAGD_PDFTOTEXT", "/bin/true", 1); /* says nothing */
    CHECK_EQ(extract_bytes(FORMAT_PDF, pdf, "x.pdf", &extract_default_limits, &doc, &err), RAG_EFORMAT);
    unsetenv("RAGD_PDFTOTEXT");
}

TEST(odd_numbers_and_letters_do_no_harm)
{
    CHECK_OK(raw("<doc><page height=\"nan\"><line>"
                 "<word xMin=\"-1e99\" yMin=\"99999999999999999999\" xMax=\"inf\" yMax=\"99999999999999999999\">a</word>"
                 "<word xMin=\"3\" yMin=\"1\" xMax=\"9\" yMax=\"4\">o\xEF\xAC\x83"
                 "ce &lt;&amp;&unknown; soft\xC2\xADhyphen \xFF</word>"
                 "</line></page></doc>"));
    CHECK_STR(buf_str(&doc.text), "a office <&&unknown; softhyphen \xEF\xBF\xBD");
    stop();
}

TEST(every_failed_allocation_is_reported)
{
    begin("Title");
    page_begin();
    line(72, 60, 22, "Price list");
    cells(100, "Card", "Fee", "Points");
    cells(115, "Gold", "300", "5");
    cells(130, "Classic", "0", "1");
    line(72, 200, 10, "Some words that fill the line up to its end so that it cannot have been the last");
    page_end();
    page_begin();
    line(72, 100, 10, "one. It ends here.");
    page_end();
    size_t len = layout.len;
    bool fired = true;
    for (unsigned nth = 1; fired; nth++) {
        layout.len = len;
        fault_arm_alloc(nth);
        rag_code rc = run();
        fired = fault_disarm();
        CHECK_EQ(rc, fired ? RAG_ENOMEM : RAG_OK);
        text_doc_clear(&doc);
    }
    stop();
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MOST_SECONDS = 200 }; /* ten times as slow */
#else
enum { MOST_SECONDS = 20 }; /* of CPU: a few when linear, hours when not */
#endif

/* One line, or one page, of what each step looks at again and again. */
TEST(hostile_layouts_take_no_longer)
{
    enum { N = 200000 };
    struct timespec a, b;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    for (int kind = 0; kind < 4; kind++) {
        begin("");
        page_begin();
        if (kind == 0) { /* a word without end at the edge */
            buf_addz(&layout, "<line><word xMin=\"1\" yMin=\"1\" xMax=\"9\" yMax=\"9\">");
            for (int i = 0; i < N * 10; i++)
                buf_addc(&layout, 'i');
            buf_addz(&layout, "</word></line>");
        }
        for (int i = 0; i < N / 10 && kind > 0; i++)
            line(kind == 1 ? 5 * i : 50 + 200 * (i % 2), kind == 1 ? 100 : kind == 2 ? 300 + i / 2 : 20, 10,
                 kind == 1 ? "•" : kind == 2 ? "iii" : "a . . . . .");
        page_end();
        rag_code rc = run();
        CHECK(rc == RAG_OK || rc == RAG_EFORMAT || rc == RAG_ETOOBIG);
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    CHECK(b.tv_sec - a.tv_sec < MOST_SECONDS);
    stop();
}

TEST(time_is_linear)
{
    double seconds[2];
    for (int k = 0; k < 2; k++) {
        struct timespec a, b;
        begin("");
        for (int p = 0; p < 100 << k; p++) {
            page_begin();
            for (int i = 0; i < 50; i++)
                line(50 + i % 3 * 170, 50 + 14 * i, 10, "some words of a page that is full");
            page_end();
        }
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
        CHECK_OK(run());
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
        seconds[k] = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
    }
    print_message("           pdf layout: %.0f pages/s\n", 200 / seconds[1]);
    CHECK(seconds[1] < 6 * seconds[0] + .05);
    stop();
}
