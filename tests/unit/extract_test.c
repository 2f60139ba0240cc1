#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "extract/extract.h"
#include "extract/extract_int.h"
#include "extract/number_format.h"
#include "test.h"
#include "text/utf8.h"
#include "zip_writer.h"

/* This program is also its own extracting child, and three that misbehave. */
__attribute__((constructor)) static void be_the_child(int argc, char **argv)
{
    if (argc < 4 || strcmp(argv[1], "extract-child") != 0)
        return;
    if (strcmp(argv[3], "die") == 0)
        raise(SIGKILL);
    if (strcmp(argv[3], "hang") == 0)
        sleep(60);
    if (strcmp(argv[3], "lie") == 0) {
        char reply[48 + 6] = "RGX1";
        reply[16] = 6; /* six bytes of text that are no UTF-8 */
        memset(reply + 48, 0xFF, 6);
        _exit(write(1, reply, sizeof reply) == sizeof reply ? 0 : 1);
    }
    if (strcmp(argv[3], "babble") == 0)
        for (char b[4096] = "x"; write(1, b, sizeof b) > 0;)
            ;
    exit(extract_child_main(argc, argv));
}

static struct text_doc doc;
static struct rag_err err;

static rag_code extract(enum extract_format f, const char *bytes, size_t n, const char *name)
{
    text_doc_clear(&doc);
    text_doc_init(&doc);
    err = (struct rag_err){0};
    return extract_bytes(f, str_make(bytes, n), name, &extract_default_limits, &doc, &err);
}

static size_t n_blocks(void)
{
    return doc.blocks.len / sizeof(struct text_block);
}

static const struct text_block *block(size_t i)
{
    return (const struct text_block *)(const void *)doc.blocks.ptr + i;
}

/* All blocks as lines "kind[level or row, label] text", line ends inside shown as '/'. */
static struct str show(void)
{
    static struct buf b;
    static const char *const kinds[] = {"H", "P", "L", "C", "T", "R"};
    buf_init(&b, MEM_MISC);
    for (size_t i = 0; i < n_blocks(); i++) {
        const struct text_block *k = block(i);
        buf_addz(&b, kinds[k->kind]);
        if (k->level || k->row)
            buf_addf(&b, "%u", k->level ? k->level : k->row);
        if (k->label_len)
            buf_addf(&b, "[%.*s]", (int)k->label_len, doc.labels.ptr + k->label_off);
        buf_addc(&b, ' ');
        for (uint32_t c = k->start; c < k->end; c++)
            buf_addc(&b, doc.text.ptr[c] == '\n' ? '/' : doc.text.ptr[c]);
        buf_addc(&b, '\n');
    }
    return buf_str(&b);
}

static void check(enum extract_format f, const char *in, const char *want)
{
    rag_code rc = extract(f, in, strlen(in), "dir/file.x");
    if (rc)
        print_error("%s\n", err.msg);
    CHECK_OK(rc);
    struct str s = show();
    CHECK_STR(s, want);
    free((void *)(uintptr_t)s.ptr);
    text_doc_clear(&doc);
}

TEST(formats_by_name)
{
    CHECK_EQ(extract_format_of("a/b.MD"), FORMAT_MARKDOWN);
    CHECK_EQ(extract_format_of("fees.tsv"), FORMAT_CSV);
    CHECK_EQ(extract_format_of("x.tar.gz"), FORMAT_UNKNOWN);
    CHECK_EQ(extract_format_of("dir.md/readme"), FORMAT_UNKNOWN);
    CHECK_EQ(extract_format_of(".md"), FORMAT_UNKNOWN);
    CHECK_EQ(extract_format_by_name(STR_LIT("xlsx")), FORMAT_XLSX);
    CHECK_EQ(extract_format_by_name(STR_LIT("unknown")), FORMAT_UNKNOWN);
    CHECK(strcmp(extract_format_name(FORMAT_JSONL), "jsonl") == 0);
}

TEST(plain_text)
{
    check(FORMAT_TEXT, "", "");
    check(FORMAT_TEXT, "one\ntwo\r\n\r\n  three  \n\n\n", "P one/two\nP three\n");
    check(FORMAT_TEXT, "第一章 总则\n本办法适用。\n\n（一）范围\n全行。",
          "H1 第一章 总则\nP 本办法适用。\nH3 （一）范围\nP 全行。\n");
    check(FORMAT_TEXT, "三、请按时还款。", "P 三、请按时还款。\n");
    check(FORMAT_TEXT,
          "a\x01"
          "b\x7f\xEF\xBB\xBF"
          "c",
          "P abc\n");
}

TEST(markdown)
{
    check(FORMAT_MARKDOWN, "# 白金卡 #\ntext\nmore\n\nSub\n---\n- a\n  b\n* c\n1. d\n",
          "H1 白金卡\nP text/more\nH2 Sub\nL - a/b\nL - c\nL 1. d\n");
    check(
        FORMAT_MARKDOWN,
        "a **bold** _it_ `x*y` [link](http://u \"t\") ![pic](p.png) [r][ref] <b>b</b> snake_case_x 2 * 3 \\*\n\n[ref]: http://x\n",
        "P a bold it x*y link pic r b snake_case_x 2 * 3 *\n");
    check(FORMAT_MARKDOWN, "x <!-- no\nno --> y\n```c\n<!-- yes -->\n  # code\n```\nz",
          "P x  y\nC <!-- yes -->/  # code\nP z\n");
    check(FORMAT_MARKDOWN, "| 卡种 | 年费 |\n|---|--:|\n| **白金卡** | 3600元 |\n| 金卡 | |\nend",
          "T 卡种 | 年费/卡种: 白金卡; 年费: 3600元/卡种: 金卡\nP end\n");
    check(FORMAT_MARKDOWN, "> quote\n> more\n\n    code\n      x\n", "P quote/more\nC code/  x\n");
    check(FORMAT_MARKDOWN, "run <command> with <em>care</em>, <https://x.cn>",
          "P run <command> with care, https://x.cn\n");
    check(FORMAT_MARKDOWN, "***\n****a\n[[[[x](", "P ****a/[[[[x](\n");
    const char *front = "---\ntitle: \"Fees\"\nx: y\n---\n# H\n";
    CHECK_OK(extract(FORMAT_MARKDOWN, front, strlen(front), "a.md"));
    CHECK_STR(buf_str(&doc.title), "Fees");
    CHECK_OK(extract(FORMAT_MARKDOWN, "# H\ntext", 8, "a.md"));
    CHECK_STR(buf_str(&doc.title), "H");
    CHECK_OK(extract(FORMAT_MARKDOWN, "text", 4, "/x/fees 2024.md"));
    CHECK_STR(buf_str(&doc.title), "fees 2024");
    text_doc_clear(&doc);
}

TEST(html)
{
    check(
        FORMAT_HTML,
        "<html><head><title>T &amp; x</title><style>no</style></head><body><nav>menu</nav><h1>Head</h1><p>a <b>b</b>\n c"
        "<ul><li>one<li>two<ol><li>x</ol></ul><pre>  int x;\n y</pre><script>no()</script><footer>no</footer>end</body>",
        "H1 Head\nP a b c\nL - one\nL - two\nL 1. x\nC   int x;/ y\nP end\n");
    CHECK_OK(extract(FORMAT_HTML, "<title>A\n B</title><p>x", 22, "f.html"));
    CHECK_STR(buf_str(&doc.title), "A B");
    check(
        FORMAT_HTML,
        "<table><tr><th rowspan=2>卡种<th colspan=2>年费<tr><th>主卡<th>附属卡<tr><td rowspan=2>白金卡<td>3600元<td>2000元"
        "<tr><td>再议<td>无</table>",
        "T 卡种 | 年费 / 主卡 | 年费 / 附属卡/卡种: 白金卡; 年费 / 主卡: 3600元; 年费 / 附属卡: 2000元/卡种: 白金卡; 年费 / 主卡: 再议; 年费 / 附属卡: 无\n");
    check(
        FORMAT_HTML,
        "<div class=breadcrumbs>a &gt; <div>b</div></div><ul role=navigation><li>c</ul><p>text<div id=cookie-notice>d",
        "P text\n");
    check(FORMAT_HTML, "<form><p>all in a form</form>", "P all in a form\n");
    check(FORMAT_HTML, "<table><tr><td><p>layout<p>more</table>", "P layout more\n");
    check(FORMAT_HTML, "&nbsp;&lt;x&gt; &unknown; &#x5e74;", "P <x> &unknown; 年\n");
}

#define LONG                                                                                                 \
    "The annual fee of the platinum card is waived in the first year and again after eighteen payments."

TEST(html_without_what_is_no_content)
{
    check(
        FORMAT_HTML,
        "<body><header>Site <a href=/>home</a></header><nav><ul><li><a>a</a><li><a>b</a></ul></nav><div>before<nav>menu</nav></div>"
        "<main><article><header><h1>Fees</h1></header><p>" LONG
        "<aside>An aside of the article.</aside></article></main>"
        "<aside>Advertisement</aside><div role=complementary>related</div><div id=Cookie-bar>We use cookies</div><footer>(c) 2024</footer>",
        "H1 Fees\nP " LONG "\nP An aside of the article.\n");
    /* without <main>: what stands before a menu is not part of it */
    check(FORMAT_HTML, "<div>" LONG "<nav>menu</nav></div><footer>imprint</footer>", "P " LONG "\n");
    check(
        FORMAT_HTML,
        "<p>" LONG
        "<ul><li><a>one</a><li><a>two</a><li><a>three</a><li><a>four</a></ul><p>See <a>this</a>.<p><a>alone</a>",
        "P " LONG "\nP See this.\nP alone\n");
    check(FORMAT_HTML, "<p>" LONG "<div><a>one</a> | <a>two</a> | <a>three</a> | <a>four</a></div>",
          "P " LONG "\n");
    check(
        FORMAT_HTML,
        "<p>" LONG
        "<p hidden>no</p><p style='color:red; display: none'>no</p><p>x<span aria-hidden=true>*</span>y <button>Buy</button><select><option>no</select>",
        "P " LONG "\nP xy\n");
    check(FORMAT_HTML, "<h2><button>Is there a fee?</button></h2><div>" LONG "</div>",
          "H2 Is there a fee?\nP " LONG "\n");
}

TEST(html_is_never_dropped_as_a_whole)
{
    check(FORMAT_HTML, "<form><p>" LONG "</form><p>x", "P " LONG "\nP x\n");
    check(FORMAT_HTML, "<aside><p>" LONG "</aside><main>x</main>", "P " LONG "\nP x\n");
    check(FORMAT_HTML, "<nav><p>only a menu</nav>", "P only a menu\n");
    check(FORMAT_HTML, "<body style='display:none'><p>" LONG, "P " LONG "\n");
    check(FORMAT_HTML, "<ul><li><a>one</a><li><a>two</a><li><a>three</a><li><a>four</a></ul>",
          "L - one\nL - two\nL - three\nL - four\n");
}

TEST(html_tables_and_definitions)
{
    check(
        FORMAT_HTML,
        "<table><caption>Fees 2024</caption><thead><tr><td>card<td>fee</thead><tr><td>Gold<td>600<tr><td>Platinum<td>3600</table>",
        "P Fees 2024\nT card | fee/card: Gold; fee: 600/card: Platinum; fee: 3600\n");
    check(FORMAT_HTML, "<table><tr><td><th>main<th>extra<tr><td>Gold<td>600<td>300</table>",
          "T main | extra/Gold; main: 600; extra: 300\n");
    check(FORMAT_HTML, "<table><tr><th>bank<td>Spruce<tr><th>fee<td>3600</table>",
          "T bank | Spruce/fee | 3600\n");
    check(FORMAT_HTML, "<table role=presentation><tr><td><p>left<td><h3>right</h3></table>",
          "P left\nH3 right\n");
    check(
        FORMAT_HTML,
        "<table><tr><td>menu<td><h1>Title</h1><p>text<table><tr><th>a<th>b<tr><td>c<td>1</table>end</table>after",
        "P menu\nH1 Title\nP text\nT a | b/a: c; b: 1\nP end\nP after\n");
    check(FORMAT_HTML, "<table><tr><td colspan=3>Caption<tr><td>a<td>b<td>c<tr><td>x<td>1<td>2</table>",
          "P Caption\nT a | b | c/a: x; b: 1; c: 2\n");
    check(
        FORMAT_HTML,
        "<dl><dt>APR<dd>18.25 % a year<dt>Limit<dt>Credit limit<dd><p>one<p>two<dd>three<dt>Alone</dl>x",
        "P APR: 18.25 % a year\nP Limit / Credit limit: one\nP two\nP Limit / Credit limit: three\nP Alone\nP x\n");
}

static void check_title(const char *page, const char *want)
{
    CHECK_OK(extract(FORMAT_HTML, page, strlen(page), "f.html"));
    CHECK_STR(buf_str(&doc.title), want);
    text_doc_clear(&doc);
}

TEST(html_titles)
{
    check_title("<title>Fees - Bank</title><h1>Fees</h1>x", "Fees");
    check_title("<title>Fees - Bank</title><h1>One</h1>x<h1>Two</h1>y", "Fees - Bank");
    check_title("<title>Fees - Bank</title><header><h1>The Bank</h1></header><h1>Fees</h1><p>" LONG, "Fees");
    check_title("<p>x", "f");
}

TEST(csv)
{
    check(FORMAT_CSV, "卡种,年费,备注\n白金卡,3600元,\n\"金,卡\",\"a\"\"b\nc\",x\n",
          "R2 卡种: 白金卡/年费: 3600元\nR3 卡种: 金,卡/年费: a\"b c/备注: x\n");
    check(FORMAT_CSV, "a;b\n1,5;2\n\n2,5;3\n", "R2 a: 1,5/b: 2\nR4 a: 2,5/b: 3\n");
    check(FORMAT_CSV, "1\t2\n3\t4\n", "R1 A: 1/B: 2\nR2 A: 3/B: 4\n");
    check(FORMAT_CSV, "Fee table 2024,,\nname,fee,note\nGold,1,x\n",
          "H1 Fee table 2024\nR3 name: Gold/fee: 1/note: x\n");
    check(FORMAT_CSV, "name,fee,n\nGold,1,2\n注：含税,,\n", "R2 name: Gold/fee: 1/n: 2\nR3 注：含税\n");
    check(FORMAT_CSV, "q,,2023,2024\na,z,1,2\n", "R2 q: a/B: z/2023: 1/2024: 2\n");
    CHECK_EQ(extract(FORMAT_CSV, "a,b\n\"x", 6, "f.csv"), RAG_EFORMAT);
}

TEST(json)
{
    check(
        FORMAT_JSON,
        "[{\"q\":\"年费多少?\",\"a\":\"3600元\",\"n\":null,\"t\":[\"x\",\"y\"],\"d\":{\"e\":[{\"f\":1.5}]}},{}]",
        "R1 q: 年费多少?/a: 3600元/t: x, y/d.e[0].f: 1.5\n");
    check(
        FORMAT_JSON,
        "{\"title\":\"T\",\"ok\":true,\"fees\":{\"main\":3600,\"x\":{\"y\":0.1}},\"cards\":[{\"id\":1},{\"id\":2}]}",
        "P title: T/ok: true\nH1 fees\nP fees.main: 3600/fees.x.y: 0.1\nR1[cards] id: 1\nR2[cards] id: 2\n");
    check(FORMAT_JSONL, "{\"a\":1}\n\n{\"a\":\"x\\u0000\\ny\"}\n", "R1 a: 1\nR3 a: x y\n");
    CHECK_EQ(extract(FORMAT_JSON, "{\"a\":", 5, "f"), RAG_EFORMAT);
    CHECK_EQ(extract(FORMAT_JSON, "", 0, "f"), RAG_EFORMAT);
    CHECK_EQ(extract(FORMAT_JSONL, "{}\n{]", 5, "f"), RAG_EFORMAT);
    CHECK(strstr(err.msg, "line 2"));
}

TEST(deep_or_huge_json_is_refused_before_it_is_built)
{
    struct buf b;
    buf_init(&b, MEM_MISC);
    for (int i = 0; i < 100000; i++)
        buf_addc(&b, '[');
    CHECK_EQ(extract(FORMAT_JSON, b.ptr, b.len, "f"), RAG_ETOOBIG);
    CHECK_EQ(extract(FORMAT_JSONL, b.ptr, b.len, "f"), RAG_ETOOBIG);
    buf_reset(&b);
    buf_addc(&b, '[');
    for (int i = 0; i < 5000000; i++)
        buf_addz(&b, "0,");
    buf_addz(&b, "0]");
    CHECK_EQ(extract(FORMAT_JSON, b.ptr, b.len, "f"), RAG_ETOOBIG);
    buf_clear(&b);
}

static void check_charset(const char *bytes, size_t n, const char *want)
{
    struct buf out;
    buf_init(&out, MEM_TEXT);
    CHECK_OK(charset_decode(str_make(bytes, n), false, &out, &err));
    CHECK_STR(buf_str(&out), want);
    buf_clear(&out);
}
#define CHECK_CHARSET(lit, want) check_charset(lit, sizeof lit - 1, want)

TEST(charsets)
{
    CHECK_CHARSET("", "");
    CHECK_CHARSET("\xEF\xBB\xBF"
                  "a",
                  "a");
    CHECK_CHARSET("\xFF\xFE"
                  "a\0\x74\x5e",
                  "a年");
    CHECK_CHARSET("\xFE\xFF"
                  "\0a\x5e\x74",
                  "a年");
    CHECK_CHARSET("a\0b\0c\0\r\0\n\0d\0", "abc\nd");
    CHECK_CHARSET("\x74\x5e\x39\x8d\x0a\0\x74\x5e\x39\x8d", "年费\n年费"); /* UTF-16LE without a mark */
    CHECK_CHARSET("\xc4\xea\xb7\xd1 3600 \xd4\xaa", "年费 3600 元");       /* GBK */
    CHECK_CHARSET("\xb0\xd7\xbd\xf0\xbf\xa8\x81\x30\x81\x30", "白金卡");   /* a four-byte sequence: U+0080 */
    CHECK_CHARSET("年费是每年收取的费用主卡和附属卡分别计算金额\xff。",
                  "年费是每年收取的费用主卡和附属卡分别计算金额\xEF\xBF\xBD。");
    CHECK_CHARSET("caf\xe9 au lait \x80 5", "café au lait € 5");
    CHECK_CHARSET("Gr\xf6\xdf"
                  "e",
                  "Größe");
    CHECK_CHARSET("f\xfcr die Gr\xf6\xdf"
                  "e",
                  "für die Größe");
    CHECK_CHARSET("\xab\x48\xa5\xce\xa5\x64\xaa\xba\xa6\x7e\xb6\x4f\xac\x4f\xa4\x40\xa4\x64\xa4\xb8",
                  "信用卡的年費是一千元"); /* Big5 */
    CHECK_CHARSET("\x94\x4e\x89\xef\x94\xef\x82\xcd\x88\xea\x96\x9c\x89\x7e\x82\xc5\x82\xb7",
                  "年会費は一万円です"); /* Shift-JIS */
    CHECK_CHARSET("\x74\x5e\x39\x8d\x2f\x66\0\x4e\x43\x53\x43\x51",
                  "年费是一千元"); /* UTF-16LE: a NUL on the other side */
    CHECK_CHARSET("\x5e\x74\x8d\x39\x66\x2f\x4e\0\x53\x43\x51\x43", "年费是一千元");
    CHECK_CHARSET("\x13\x04\x3e\x04\x34\x04 \0\x12\x04\x3e\x04\x3b\x04\x33\x04\x30\x04", "Год Волга");
    CHECK_CHARSET("Lead plugs may be present: the \x93"
                  "crown\x94 of the firebox.",
                  "Lead plugs may be present: the “crown” of the firebox.");
    CHECK_CHARSET("L\x92"
                  "\xe9t\xe9 \x85 \xab o\xf9 \xbb",
                  "L’été … « où »");
    CHECK_CHARSET("a cut one: \xe5\xb9", "a cut one: \xEF\xBF\xBD");
    const char page[] = "<meta charset=\"big5\"><p>\xa6\x7e\xb6\x4f";
    CHECK_OK(extract(FORMAT_HTML, page, sizeof page - 1, "f"));
    CHECK_STR(buf_str(&doc.text), "年費");
    const char xml[] = "<?xml version='1.0' encoding='Shift_JIS'?><p>\x94\x4e\x89\xef\x94\xef";
    CHECK_OK(extract(FORMAT_HTML, xml, sizeof xml - 1, "f"));
    CHECK_STR(buf_str(&doc.text), "年会費");
    /* windows-1251: not one of ours, and better refused than stored as nonsense */
    const char russian[] =
        "\xc3\xee\xe4\xee\xe2\xe0\xff \xef\xeb\xe0\xf2\xe0 \xe7\xe0 \xea\xe0\xf0\xf2\xf3 \xf1\xee\xf1\xf2\xe0\xe2\xeb\xff\xe5\xf2";
    CHECK_EQ(extract(FORMAT_TEXT, russian, sizeof russian - 1, "f"), RAG_EFORMAT);
    CHECK(strstr(err.msg, "UTF-8"));
    char binary[256];
    for (int i = 0; i < 256; i++)
        binary[i] = (char)(i % 32);
    CHECK_EQ(extract(FORMAT_TEXT, binary, sizeof binary, "f"), RAG_EFORMAT);
    text_doc_clear(&doc);
}

static void check_number(double v, const char *code, const char *want)
{
    struct buf b;
    buf_init(&b, MEM_TEXT);
    number_format(&b, v, str_of(code), false);
    CHECK_STR(buf_str(&b), want);
    buf_clear(&b);
}

TEST(numbers_as_the_sheet_shows_them)
{
    check_number(3600, "", "3600");
    check_number(0.1 + 0.2, "General", "0.3");
    check_number(13812345678.0, "", "13812345678");
    check_number(1234567.891, "#,##0.00", "1,234,567.89");
    check_number(-1234.5, "#,##0.00", "-1,234.50");
    check_number(-5, "0;(0)", "(5)");
    check_number(0, "0;-0;\"none\"", "none");
    check_number(0.035, "0.0%", "3.5%");
    check_number(0, "0.0%", "0.0%");
    check_number(0, "¥#,##0", "¥0");
    check_number(1.005, "0.00", "1.01");
    check_number(999.996, "0.00", "1000.00");
    check_number(0.004, "0.00", "0.00");
    check_number(0.5, "0", "1");
    check_number(3600, "[$¥-804]#,##0", "¥3,600");
    check_number(3600, "0\"元\"", "3600元");
    check_number(12345, "0.0,\"k\"", "12.3k");
    check_number(0.5, "#.##", ".5");
    check_number(7, "000", "007");
    check_number(1500, "0.00E+00", "1.50E+03");
    check_number(45306, "yyyy-mm-dd", "2024-01-15");
    check_number(45306, "yyyy\"年\"m\"月\"d\"日\"", "2024年1月15日");
    check_number(45306.75, "yyyy/m/d h:mm AM/PM", "2024/1/15 6:00 PM");
    check_number(1.5, "[h]:mm:ss", "36:00:00");
    check_number(45306.5, "[$-409]d-mmm-yy;@", "15-Jan-24");
    check_number(59, "m/d", "2/28");
    check_number(61, "m/d", "3/1");
    check_number(-1, "yyyy", "-1");
    check_number(0.25, "# ?/?", "0.25");
    check_number(42, "[Red]0_);[Blue](0)", "42 ");
    check_number(42, ";;;", "42");
    for (unsigned id = 0; id < 200; id++) {
        struct buf b;
        buf_init(&b, MEM_TEXT);
        number_format(&b, 45306.1234, number_format_builtin(id), true);
        CHECK(b.len && utf8_valid(buf_str(&b)));
        buf_clear(&b);
    }
}

/* --- workbooks, written here --- */

static void book_start(struct archive *a)
{
    zip_addz(a, "xl/workbook.xml",
             "<workbook xmlns:r='r'><sheets><sheet name='费用 &amp; 权益' sheetId='1' r:id='rId1'/>"
             "<sheet name='hidden' sheetId='2' state='hidden' r:id='rId1'/></sheets></workbook>");
    zip_addz(a, "xl/_rels/workbook.xml.rels",
             "<Relationships><Relationship Id='rId1' Type='x/worksheet' Target='worksheets/sheet1.xml'/>"
             "<Relationship Id='rId2' Type='x/sharedStrings' Target='sharedStrings.xml'/>"
             "<Relationship Id='rId3' Type='x/styles' Target='/xl/styles.xml'/></Relationships>");
    zip_addz(
        a, "xl/styles.xml",
        "<styleSheet><numFmts><numFmt numFmtId='164' formatCode='0&quot;元&quot;'/></numFmts><cellStyleXfs><xf "
        "numFmtId='9'/></cellStyleXfs><cellXfs><xf numFmtId='0'/><xf numFmtId='164'/><xf numFmtId='10'/><xf "
        "numFmtId='14'/></cellXfs></styleSheet>");
}

static const char shared[] =
    "<sst><si><t>卡种</t></si><si><t>年费</t></si><si><r><t>主</t></r><r><t>卡</t></r><rPh><t>zhu</t></rPh></si>"
    "<si><t>附属卡</t></si><si><t>白金卡</t></si><si><t>利率</t></si><si><t>日期</t></si></sst>";

static void book_make(const char *sheet, const char *strings, struct buf *zip)
{
    buf_init(zip, MEM_MISC);
    struct archive *a = zip_start(zip, 8 << 20, &zip->len);
    zip_addz(a, "xl/worksheets/sheet1.xml", sheet);
    zip_addz(a, "xl/sharedStrings.xml", strings);
    book_start(a);
    archive_write_free(a);
}

static rag_code extract_book(const char *sheet, const char *strings)
{
    struct buf zip;
    book_make(sheet, strings, &zip);
    rag_code rc = extract(FORMAT_XLSX, zip.ptr, zip.len, "费用.xlsx");
    buf_clear(&zip);
    return rc;
}

TEST(a_workbook)
{
    rag_code rc = extract_book(
        "<worksheet><sheetData><row r='1'><c r='A1' t='inlineStr'><is><t>信用卡一览</t></is></c></row>"
        "<row r='2'><c r='A2' t='s'><v>0</v></c><c r='B2' t='s'><v>1</v></c><c r='C2'/><c r='E2' t='s'><v>5</v></c><c r='F2' t='s'><v>6</v></c></row>"
        "<row r='3'><c r='B3' t='s'><v>2</v></c><c r='C3' t='s'><v>3</v></c></row>"
        "<row r='5'><c r='A5' t='s'><v>4</v></c><c r='B5' s='1'><v>3600</v></c><c r='C5' s='1'><f>1+1</f><v>2000</v></c>"
        "<c r='E5' s='2'><v>0.18250000000000001</v></c><c r='F5' s='3'><v>45306</v></c></row>"
        "<row r='6'><c r='B6'><v>1.5</v></c><c r='C6' t='b'><v>1</v></c><c r='E6' t='e'><v>#N/A</v></c></row></sheetData>"
        "<mergeCells><mergeCell ref='A1:F1'/><mergeCell ref='A2:A3'/><mergeCell ref='B2:C2'/><mergeCell ref='A5:A6'/></mergeCells></worksheet>",
        shared);
    CHECK_OK(rc);
    struct str s = show();
    CHECK_STR(
        s,
        "H1 信用卡一览\n"
        "R5[费用 & 权益] 卡种: 白金卡/年费 / 主卡: 3600元/年费 / 附属卡: 2000元/利率: 18.25%/日期: 2024-01-15\n"
        "R6[费用 & 权益] 卡种: 白金卡/年费 / 主卡: 1.5/年费 / 附属卡: TRUE\n");
    CHECK_STR(buf_str(&doc.title), "信用卡一览");
    free((void *)(uintptr_t)s.ptr);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

TEST(hostile_workbooks)
{
    double t0 = seconds();
    CHECK_EQ(
        extract_book(
            "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'><!ENTITY c "
            "'&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;'>]><worksheet><sheetData><row><c t='str'><v>&c;</v></c></row></sheetData></worksheet>",
            shared),
        RAG_EFORMAT);
    CHECK_EQ(
        extract_book(
            "<worksheet><sheetData><row r='1'><c r='A1' t='s'><v>99</v></c></row></sheetData></worksheet>",
            shared),
        RAG_EFORMAT);
    CHECK_EQ(extract_book(
                 "<worksheet><sheetData><row r='1'><c r='ZZZ1'><v>99</v></c></row></sheetData></worksheet>",
                 shared),
             RAG_EFORMAT);
    CHECK_EQ(extract_book("<worksheet><sheetData>", shared), RAG_EFORMAT);

    struct buf b;
    buf_init(&b, MEM_MISC);
    for (int i = 0; i < 2000; i++)
        buf_addz(&b, "<a>");
    buf_addc(&b, 0);
    CHECK_EQ(extract_book(b.ptr, shared), RAG_ETOOBIG);
    buf_clear(&b);

    /* merges that cover everything */
    CHECK_OK(extract_book(
        "<worksheet><sheetData><row r='1'><c r='A1' t='str'><v>a</v></c><c r='B1' t='str'><v>b</v></c></row><row "
        "r='2'><c r='A2'><v>1</v></c><c r='B2'><v>1</v></c></row><row r='1048576'><c r='XFD1048576'><v>2</v></c></row></sheetData>"
        "<mergeCells><mergeCell ref='A1:XFD1048576'/><mergeCell ref='A2:XFD1048576'/></mergeCells></worksheet>",
        shared));

    /* a bomb: 1 GiB of blanks, and 40 million cells */
    static char blanks[1 << 16];
    memset(blanks, ' ', sizeof blanks);
    size_t used = 0;
    struct buf zip;
    buf_init(&zip, MEM_MISC);
    struct archive *a = zip_start(&zip, 8 << 20, &used);
    book_start(a);
    zip_add(a, "xl/worksheets/sheet1.xml", blanks, sizeof blanks, 4096);
    archive_write_free(a);
    double t1 = seconds();
    CHECK_EQ(extract(FORMAT_XLSX, zip.ptr, used, "bomb.xlsx"), RAG_ETOOBIG);
    CHECK(seconds() - t1 < 5);
    CHECK_EQ(extract(FORMAT_XLSX, zip.ptr, used / 2, "cut.xlsx"), RAG_EFORMAT);
    CHECK_EQ(extract(FORMAT_XLSX, "PK\3\4", 4, "cut.xlsx"), RAG_EFORMAT);
    CHECK_EQ(extract(FORMAT_XLSX, "\xD0\xCF\x11\xE0", 4, "old.xlsx"), RAG_EFORMAT);
    CHECK_EQ(extract(FORMAT_XLSX, "", 0, "empty.xlsx"), RAG_EFORMAT);
    buf_clear(&zip);
    print_message("           hostile workbooks: %.1f s\n", seconds() - t0);
}

TEST(a_workbook_with_too_many_cells)
{
    struct buf zip, row;
    size_t used = 0;
    buf_init(&zip, MEM_MISC);
    buf_init(&row, MEM_MISC);
    buf_addz(&row, "<row>");
    for (int i = 0; i < 200; i++)
        buf_addf(&row, "<c><v>%d</v></c>", (i * 7919 + 13) % 100003);
    buf_addz(&row, "</row>");
    struct archive *a = zip_start(&zip, 32 << 20, &used);
    book_start(a);
    struct buf all;
    buf_init(&all, MEM_MISC);
    buf_addz(&all, "<worksheet><sheetData>");
    for (int i = 0; i < 22000; i++)
        buf_adds(&all, buf_str(&row));
    buf_addz(&all, "</sheetData></worksheet>");
    zip_add(a, "xl/worksheets/sheet1.xml", all.ptr, all.len, 1);
    archive_write_free(a);
    CHECK_EQ(extract(FORMAT_XLSX, zip.ptr, used, "many.xlsx"), RAG_ETOOBIG);
    buf_clear(&zip);
    buf_clear(&row);
    buf_clear(&all);
}

static void check_book(const char *sheet, const char *strings, const char *want)
{
    rag_code rc = extract_book(sheet, strings);
    if (rc)
        print_error("%s\n", err.msg);
    CHECK_OK(rc);
    struct str s = show();
    CHECK_STR(s, want);
    free((void *)(uintptr_t)s.ptr);
    text_doc_clear(&doc);
}

#define CELL(t) "<c t='str'><v>" t "</v></c>"
#define HEAD    "<row>" CELL("card") CELL("fee") CELL("note") "</row>"

TEST(a_sheet_without_what_it_hides)
{
    /* columns and rows that are hidden; not rows or columns of a folded group */
    check_book(
        "<worksheet><cols><col min='2' max='2' hidden='1'/><col min='3' max='3' hidden='1' outlineLevel='1'/></cols><sheetData>" HEAD
        "<row>" CELL("a") CELL("1") CELL("x") "</row><row hidden='1'>" CELL("b") CELL("2")
            CELL("y") "</row>"
                      "<row hidden='true' outlineLevel='1'>" CELL("c") CELL("3")
                          CELL("z") "</row></sheetData></worksheet>",
        shared, "R2[费用 & 权益] card: a/note: x\nR4[费用 & 权益] card: c/note: z\n");
    /* rows that a filter hides at the moment */
    check_book(
        "<worksheet><sheetData>" HEAD
        "<row hidden='1'>" CELL("a") CELL("b") CELL("c") "</row><row r='9' hidden='1'>" CELL("d") CELL("e") CELL(
            "f") "</row></sheetData><autoFilter ref='A1:C5'><filterColumn colId='0'/></autoFilter></worksheet>",
        shared, "R2[费用 & 权益] card: a/fee: b/note: c\n");
    /* a filter that is not set hides nothing: what is hidden was hidden by hand */
    check_book("<worksheet><sheetData>" HEAD "<row hidden='1'>" CELL("a") CELL("b")
                   CELL("c") "</row><row>" CELL("d") CELL("e")
                       CELL("f") "</row></sheetData><autoFilter ref='A1:C5'/></worksheet>",
               shared, "R3[费用 & 权益] card: d/fee: e/note: f\n");
    check_book("<worksheet><sheetData>" HEAD "<row hidden='1'>" CELL("a") CELL("b")
                   CELL("c") "</row></sheetData><tableParts><tablePart id='x'/></tableParts></worksheet>",
               shared, "R2[费用 & 权益] card: a/fee: b/note: c\n");
}

TEST(header_rows_of_a_sheet)
{
    /* two rows of names without merged cells */
    check_book(
        "<worksheet><sheetData><row r='1'><c r='A1' t='str'><v>卡种</v></c><c r='B1' t='str'><v>年费</v></c><c r='D1' t='str'><v>额度</v></c></row>"
        "<row r='2'><c r='B2' t='str'><v>主卡</v></c><c r='C2' t='str'><v>附属卡</v></c><c r='D2' t='str'><v>最低</v></c><c r='E2' t='str'><v>最高</v></c></row>"
        "<row r='3'><c r='A3' t='str'><v>金卡</v></c><c r='B3'><v>1</v></c><c r='C3'><v>2</v></c><c r='D3'><v>3</v></c><c r='E3'><v>4</v></c></row></sheetData></worksheet>",
        shared, "R3[费用 & 权益] 卡种: 金卡/年费 / 主卡: 1/年费 / 附属卡: 2/额度 / 最低: 3/额度 / 最高: 4\n");
    /* a first row of data with an empty category is no header */
    check_book("<worksheet><sheetData>" HEAD "<row><c/>" CELL("x") CELL("y") "</row><row>" CELL("a") CELL("b")
                   CELL("c") "</row></sheetData></worksheet>",
               shared, "R2[费用 & 权益] fee: x/note: y\nR3[费用 & 权益] card: a/fee: b/note: c\n");
}

TEST(cells_of_every_kind)
{
    check_book(
        "<worksheet><dimension ref='A1:XFD1048576'/><sheetData>" HEAD
        "<row><c t='inlineStr'><is><r><t>a</t></r><rPh><t>no</t></rPh><r><t xml:space='preserve'> b</t></r></is></c>"
        "<c t='str'><f>NA()</f><v>line_x000D_\none_x005F_x</v></c><c t='s'><v>2</v></c></row>"
        "<row><c t='d'><v>2024-01-15</v></c><c t='e'><v>#DIV/0!</v></c><c><f>A1</f></c></row>"
        "<row><c s='3'><v>1</v></c><c t='b'><v>0</v></c><c t='n'><v>1e3</v></c></row></sheetData></worksheet>",
        shared,
        "R2[费用 & 权益] card: a b/fee: line one_x/note: 主卡\nR3[费用 & 权益] card: 2024-01-15\n"
        "R4[费用 & 权益] card: 1900-01-01/fee: FALSE/note: 1000\n");
    CHECK_EQ(
        extract_book("<worksheet><sheetData><row r='99999999'><c><v>1</v></c></row></sheetData></worksheet>",
                     shared),
        RAG_EFORMAT);
    CHECK_EQ(extract_book(
                 "<worksheet><sheetData><row><c r='A4294967297'><v>1</v></c></row></sheetData></worksheet>",
                 shared),
             RAG_EFORMAT);
    CHECK_EQ(extract(FORMAT_XLSX, "PK\3\4", 4, "f.xlsx"), RAG_EFORMAT);
}

TEST(a_million_empty_rows_cost_little)
{
    struct buf b;
    buf_init(&b, MEM_MISC);
    buf_addz(&b, "<worksheet><sheetData>" HEAD "<row>" CELL("a") CELL("b") CELL("c") "</row>");
    for (int i = 3; i <= 1000000; i++)
        buf_addf(&b, i % 2 ? "<row r='%d' spans='1:3'/>" : "<row r='%d'><c r='A%d' s='1'/></row>", i, i);
    buf_addz(&b, "</sheetData></worksheet>");
    buf_addc(&b, 0);
    double t = seconds();
    int64_t before = mem_in_use(MEM_EXTRACT);
    check_book(b.ptr, shared, "R2[费用 & 权益] card: a/fee: b/note: c\n");
    CHECK(seconds() - t < 5);
    CHECK_EQ(mem_in_use(MEM_EXTRACT), before);
    buf_clear(&b);
}

TEST(hostile_html)
{
    struct buf b;
    buf_init(&b, MEM_MISC);
    const char *laughs = "<!DOCTYPE html [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]><p>&b;";
    CHECK_EQ(extract(FORMAT_HTML, laughs, strlen(laughs), "f"), RAG_ETOOBIG);
    for (int i = 0; i < 200000; i++)
        buf_addz(&b, "<div>");
    double t = seconds();
    CHECK_EQ(extract(FORMAT_HTML, b.ptr, b.len, "f"), RAG_ETOOBIG);
    CHECK(seconds() - t < 5);
    buf_reset(&b);
    for (int i = 0; i < 20000; i++)
        buf_addz(&b, "<table><tr><td rowspan=1000 colspan=1000>x</td></table>");
    CHECK_OK(extract(FORMAT_HTML, b.ptr, b.len, "f"));
    buf_clear(&b);
}

TEST(repeated_marks_take_linear_time)
{
    static const char *const marks[] = {"[",  "*a ",  "`", "<",  "![", "_",   "- ",
                                        "> ", "<!--", "|", "\\", "](", "``` "};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        struct buf b;
        buf_init(&b, MEM_MISC);
        while (b.len < 300000)
            buf_addz(&b, marks[i]);
        double t = seconds();
        rag_code rc = extract(FORMAT_MARKDOWN, b.ptr, b.len, "f");
        CHECK(rc == RAG_OK);
        if (seconds() - t > 3)
            print_error("%s: %.1f s\n", marks[i], seconds() - t);
        CHECK(seconds() - t < 3);
        buf_clear(&b);
    }
}

TEST(limits_of_the_caller)
{
    struct extract_limits lim = extract_default_limits;
    lim.max_input_bytes = 3;
    text_doc_clear(&doc);
    CHECK_EQ(extract_bytes(FORMAT_TEXT, STR_LIT("four"), "f", &lim, &doc, &err), RAG_ETOOBIG);
    lim.max_input_bytes = 0;
    lim.max_output_bytes = 40;
    CHECK_EQ(extract_bytes(FORMAT_TEXT, STR_LIT("a\n\nb\n\nc\n\nd"), "f", &lim, &doc, &err), RAG_ETOOBIG);
    CHECK_EQ(extract_bytes(FORMAT_UNKNOWN, STR_LIT("x"), "f", &lim, &doc, &err), RAG_EUNSUPPORTED);
    text_doc_clear(&doc);
}

static rag_code in_child(enum extract_format f, struct str s, const char *name,
                         const struct extract_limits *lim)
{
    text_doc_clear(&doc);
    text_doc_init(&doc);
    return extract_in_child("/proc/self/exe", f, s, name, lim, &doc, &err);
}

TEST(the_child)
{
    struct extract_limits lim = extract_default_limits;
    CHECK_OK(in_child(FORMAT_MARKDOWN, STR_LIT("# 年费\n\n3600元"), "费.md", &lim));
    struct str s = show();
    CHECK_STR(s, "H1 年费\nP 3600元\n");
    CHECK_STR(buf_str(&doc.title), "年费");
    free((void *)(uintptr_t)s.ptr);
    CHECK_OK(in_child(FORMAT_TEXT, STR_LIT(""), "", &lim));
    CHECK_EQ(in_child(FORMAT_JSON, STR_LIT("{"), "bad.json", &lim), RAG_EFORMAT);
    CHECK(strstr(err.msg, "bad.json: line 1"));
    CHECK_EQ(in_child(FORMAT_UNKNOWN, STR_LIT("x"), "f", &lim), RAG_EUNSUPPORTED);
    CHECK_EQ(in_child(FORMAT_TEXT, STR_LIT("x"), "die", &lim), RAG_EFORMAT);
    CHECK_EQ(in_child(FORMAT_TEXT, STR_LIT("x"), "lie", &lim), RAG_EFORMAT);
    CHECK_EQ(in_child(FORMAT_TEXT, STR_LIT("x"), "babble", &lim), RAG_ETOOBIG);
    lim.wall_ms = 300;
    CHECK_EQ(in_child(FORMAT_TEXT, STR_LIT("x"), "hang", &lim), RAG_ETIMEOUT);
    CHECK_EQ(doc.text.len, 0);
    text_doc_clear(&doc);
}

TEST(the_child_takes_a_large_text)
{
    struct buf b;
    buf_init(&b, MEM_MISC);
    while (b.len < 20 << 20)
        buf_addz(&b, "白金卡的年费为3600元，可用积分抵扣。\n\n");
    double t = seconds();
    CHECK_OK(in_child(FORMAT_TEXT, buf_str(&b), "big.txt", &extract_default_limits));
    print_message("           child: %.0f MB/s of text\n", (double)b.len / 1e6 / (seconds() - t));
    CHECK(doc.text.len > 20 << 20);
    buf_clear(&b);
    text_doc_clear(&doc);
}

/* Fails each allocation of one extraction in turn. */
static void check_each_allocation(enum extract_format f, struct str s)
{
    bool fired = true;
    for (unsigned nth = 1; fired; nth++) {
        text_doc_clear(&doc);
        fault_arm_alloc(nth);
        rag_code rc = extract_bytes(f, s, "f", &extract_default_limits, &doc, &err);
        fired = fault_disarm();
        if (rc != (fired ? RAG_ENOMEM : RAG_OK))
            print_error("%s, allocation %u: %s\n", extract_format_name(f), nth, rag_code_name(rc));
        CHECK_EQ(rc, fired ? RAG_ENOMEM : RAG_OK);
        CHECK(!fired || doc.text.len == 0);
    }
    text_doc_clear(&doc);
}

TEST(every_failed_allocation_is_reported)
{
    static const struct {
        enum extract_format f;
        const char *s;
    } cases[] = {
        {FORMAT_TEXT, "a\n\nb"},
        {FORMAT_MARKDOWN, "---\ntitle: x\n---\n# a\nb **c**\n- d\n\n|a|b|\n|-|-|\n|1|2|\n\n    code\n"},
        {FORMAT_HTML,
         "<title>x</title><h1>a</h1><table><tr><th>a<th colspan=2>b<tr><td rowspan=2>1<td>2</table><ul><li>x"},
        {FORMAT_CSV, "a,b\n\"x\",1\n"},
        {FORMAT_JSON, "{\"a\":1,\"b\":{\"c\":[1,2]},\"d\":[{\"e\":1}]}"},
        {FORMAT_JSONL, "{\"a\":1}\n{\"b\":2}"},
        {FORMAT_TEXT, "\xc4\xea\xb7\xd1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_each_allocation(cases[i].f, str_of(cases[i].s));
    struct buf zip;
    book_make(
        "<x><sheetData><row><c t='s'><v>0</v></c><c t='s'><v>1</v></c></row><row><c s='1'><v>1</v></c><c s='3'><v>2</v></c></row>"
        "<row><c/><c t='b'><v>1</v></c></row></sheetData><mergeCells><mergeCell ref='A2:A3'/></mergeCells></x>",
        shared, &zip);
    check_each_allocation(FORMAT_XLSX, str_make(zip.ptr, zip.len));
    buf_clear(&zip);
}
