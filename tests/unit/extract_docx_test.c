/* Word documents, written here part by part. */
#include <stdlib.h>
#include <time.h>

#include "extract/extract.h"
#include "test.h"
#include "zip_writer.h"

static struct text_doc doc;
static struct rag_err err;

#define W    "xmlns:w='http://schemas.openxmlformats.org/wordprocessingml/2006/main' "
#define MC   "xmlns:mc='http://schemas.openxmlformats.org/markup-compatibility/2006' "
#define M    "xmlns:m='http://schemas.openxmlformats.org/officeDocument/2006/math' "
#define RELS "<Relationships xmlns='http://schemas.openxmlformats.org/package/2006/relationships'>"
#define P(t) "<w:p><w:r><w:t>" t "</w:t></w:r></w:p>"
#define R(t) "<w:r><w:t>" t "</w:t></w:r>"

static const char styles[] =
    "<w:styles " W
    "><w:style w:type='paragraph' w:default='1' w:styleId='a'><w:name w:val='Normal'/></w:style>"
    "<w:style w:type='paragraph' w:styleId='1'><w:name w:val='heading 1'/><w:basedOn w:val='a'/><w:pPr><w:outlineLvl w:val='0'/></w:pPr></w:style>"
    "<w:style w:type='paragraph' w:styleId='2'><w:name w:val='标题 2'/><w:basedOn w:val='a'/></w:style>"
    "<w:style w:type='paragraph' w:styleId='mine'><w:name w:val='Mine'/><w:basedOn w:val='2'/></w:style>"
    "<w:style w:type='paragraph' w:styleId='circle'><w:name w:val='Circle'/><w:basedOn w:val='circle'/></w:style>"
    "<w:style w:type='paragraph' w:styleId='article'><w:name w:val='Article'/><w:basedOn w:val='1'/><w:pPr><w:numPr><w:numId w:val='3'/></w:numPr></w:pPr></w:style>"
    "<w:style w:type='paragraph' w:styleId='body'><w:name w:val='Body of heading'/><w:basedOn w:val='1'/><w:pPr><w:outlineLvl w:val='9'/></w:pPr></w:style>"
    "<w:style w:type='paragraph' w:styleId='t'><w:name w:val='Title'/></w:style>"
    "<w:style w:type='paragraph' w:styleId='toc'><w:name w:val='toc 1'/></w:style>"
    "<w:style w:type='character' w:styleId='secret'><w:name w:val='secret'/><w:rPr><w:vanish/></w:rPr></w:style>"
    "</w:styles>";

static const char numbering[] =
    "<w:numbering " W "><w:abstractNum w:abstractNumId='0'>"
    "<w:lvl w:ilvl='0'><w:numFmt w:val='bullet'/><w:lvlText w:val='&#xF0B7;'/></w:lvl>"
    "<w:lvl w:ilvl='1'><w:numFmt w:val='bullet'/><w:lvlText w:val='o'/></w:lvl></w:abstractNum>"
    "<w:abstractNum w:abstractNumId='1'><w:lvl w:ilvl='0'><w:start w:val='1'/><w:numFmt w:val='decimal'/><w:lvlText w:val='%1.'/></w:lvl>"
    "<w:lvl w:ilvl='1'><w:start w:val='1'/><w:numFmt w:val='lowerLetter'/><w:lvlText w:val='%1%2)'/></w:lvl></w:abstractNum>"
    "<w:abstractNum w:abstractNumId='2'><w:lvl w:ilvl='0'><w:start w:val='1'/><w:numFmt w:val='chineseCounting'/><w:lvlText w:val='第%1条'/></w:lvl>"
    "<w:lvl w:ilvl='1'><w:start w:val='1'/><w:numFmt w:val='decimal'/><w:isLgl/><w:lvlText w:val='%1.%2'/></w:lvl></w:abstractNum>"
    "<w:num w:numId='1'><w:abstractNumId w:val='0'/></w:num><w:num w:numId='2'><w:abstractNumId w:val='1'/></w:num>"
    "<w:num w:numId='3'><w:abstractNumId w:val='2'/></w:num>"
    "<w:num w:numId='4'><w:abstractNumId w:val='1'/><w:lvlOverride w:ilvl='0'><w:startOverride w:val='7'/></w:lvlOverride></w:num>"
    "<w:num w:numId='5'><w:abstractNumId w:val='99'/></w:num></w:numbering>";

static const char footnotes[] = "<w:footnotes " W "><w:footnote w:type='separator' w:id='0'>" P(
    "SEPARATOR") "</w:footnote>"
                 "<w:footnote w:id='2'>" P("first note")
                     P("its second paragraph") "</w:footnote>"
                                               "<w:footnote w:id='3'>" P(
                                                   "never referred to") "</w:footnote></w:footnotes>";

static const char endnotes[] =
    "<w:endnotes " W "><w:endnote w:id='2'>" P("end note") "</w:endnote></w:endnotes>";

/* The whole file around the body, or around `whole` in place of the document part. */
static void docx_make(const char *body, const char *whole, struct buf *zip)
{
    buf_init(zip, MEM_MISC);
    size_t n = strlen(body) + strlen(whole ? whole : "");
    struct archive *a = zip_start(zip, (1 << 20) + n, &zip->len);
    struct buf document;
    buf_init(&document, MEM_MISC);
    buf_addf(&document, "<w:document " W MC M "xmlns:x='urn:x'><w:body>%s<w:sectPr/></w:body></w:document>",
             body);
    if (whole)
        zip_addz(a, "word/document.xml", whole);
    else
        zip_add(a, "word/document.xml", document.ptr, document.len, 1);
    zip_addz(
        a, "_rels/.rels",
        RELS
        "<Relationship Id='a' Type='http://x/officeDocument' Target='word/document.xml'/>"
        "<Relationship Id='b' Type='http://x/core-properties' Target='docProps/core.xml'/></Relationships>");
    zip_addz(a, "word/_rels/document.xml.rels",
             RELS "<Relationship Id='1' Type='http://x/styles' Target='styles.xml'/>"
                  "<Relationship Id='2' Type='http://x/numbering' Target='/word/numbering.xml'/>"
                  "<Relationship Id='3' Type='http://x/footnotes' Target='./footnotes.xml'/>"
                  "<Relationship Id='4' Type='http://x/endnotes' Target='endnotes.xml'/>"
                  "<Relationship Id='5' Type='http://x/header' Target='header1.xml'/>"
                  "<Relationship Id='6' Type='http://x/comments' Target='comments.xml'/></Relationships>");
    zip_addz(a, "word/styles.xml", styles);
    zip_addz(a, "word/numbering.xml", numbering);
    zip_addz(a, "word/footnotes.xml", footnotes);
    zip_addz(a, "word/endnotes.xml", endnotes);
    zip_addz(a, "word/header1.xml", "<w:hdr " W ">" P("HEADER") "</w:hdr>");
    zip_addz(a, "word/comments.xml", "<w:comments " W ">" P("COMMENT") "</w:comments>");
    zip_addz(a, "docProps/core.xml",
             "<cp xmlns:dc='http://purl.org/dc/elements/1.1/'><dc:title>Core &amp; title</dc:title></cp>");
    archive_write_free(a);
    buf_clear(&document);
}

static rag_code extract(struct str bytes)
{
    text_doc_clear(&doc);
    text_doc_init(&doc);
    err = (struct rag_err){0};
    return extract_bytes(FORMAT_DOCX, bytes, "dir/file.docx", &extract_default_limits, &doc, &err);
}

static rag_code extract_body(const char *body)
{
    struct buf zip;
    docx_make(body, NULL, &zip);
    rag_code rc = extract(buf_str(&zip));
    buf_clear(&zip);
    return rc;
}

static rag_code extract_whole(const char *document)
{
    struct buf zip;
    docx_make("", document, &zip);
    rag_code rc = extract(buf_str(&zip));
    buf_clear(&zip);
    return rc;
}

/* Blocks as lines "kind[level] text", line ends inside shown as '/'. */
static void show(struct buf *b)
{
    static const char *const kinds[] = {"H", "P", "L", "C", "T", "R"};
    const struct text_block *k = (const struct text_block *)(const void *)doc.blocks.ptr;
    buf_init(b, MEM_MISC);
    for (size_t i = 0; i < doc.blocks.len / sizeof *k; i++) {
        buf_addz(b, kinds[k[i].kind]);
        if (k[i].level)
            buf_addf(b, "%u", k[i].level);
        buf_addc(b, ' ');
        for (uint32_t c = k[i].start; c < k[i].end; c++)
            buf_addc(b, doc.text.ptr[c] == '\n' ? '/' : doc.text.ptr[c] == '\t' ? '>' : doc.text.ptr[c]);
        buf_addc(b, '\n');
    }
}

static void check(const char *body, const char *want)
{
    struct buf b;
    rag_code rc = extract_body(body);
    if (rc)
        print_error("%s\n", err.msg);
    CHECK_OK(rc);
    show(&b);
    CHECK_STR(buf_str(&b), want);
    buf_clear(&b);
    text_doc_clear(&doc);
}

TEST(paragraphs_and_runs)
{
    check("", "");
    check(P("one") P("") P("two"), "P one\nP two\n");
    check("<w:p><w:r><w:t xml:space='preserve'>a </w:t></w:r><w:hyperlink>" R(
              "link") "</w:hyperlink><w:r><w:tab/><w:t> b </w:t><w:br/>"
                      "<w:t>c</w:t><w:noBreakHyphen/><w:t>d\xC2\xAD"
                      "e</w:t><w:softHyphen/><w:t>f</w:t></w:r></w:p>",
          "P a link>b/c-def\n");
    check("<w:p><w:pPr><w:tabs><w:tab w:val='left'/></w:tabs></w:pPr>" R("no tab of the ruler") "</w:p>",
          "P no tab of the ruler\n");
    check(
        "<w:p><w:r><w:sym w:font='Wingdings' w:char='F0FE'/><w:sym w:font='Symbol' w:char='F061'/><w:sym w:font='Symbol' w:char='F0B3'/>"
        "<w:sym w:font='Arial' w:char='20AC'/><w:sym w:font='Wingdings' w:char='F021'/><w:sym w:font='Symbol' w:char='F057'/></w:r></w:p>",
        "P ☑α≥€Ω\n");
    check("<w:p><w:r><w:ruby><w:rt>" R("yin") "</w:rt><w:rubyBase>" R("银") "</w:rubyBase></w:ruby></w:r>" R(
              "行") "</w:p>",
          "P 银行\n");
    check("<w:sdt><w:sdtPr><w:alias w:val='x'/></w:sdtPr><w:sdtContent>" P(
              "in a control") "</w:sdtContent></w:sdt>",
          "P in a control\n");
    check(
        "<w:p><m:oMath><m:f><m:num><m:r><m:t>a</m:t></m:r></m:num><m:den><m:r><m:t>b</m:t></m:r></m:den></m:f></m:oMath></w:p>",
        "P a/b\n");
}

TEST(headings_by_style_and_level)
{
    check(
        "<w:p><w:pPr><w:pStyle w:val='1'/></w:pPr>" R("one") "</w:p><w:p><w:pPr><w:pStyle w:val='mine'/></w:pPr>" R(
            "two") "</w:p>"
                   "<w:p><w:pPr><w:outlineLvl w:val='4'/></w:pPr>" R("five") "</w:p><w:p><w:pPr><w:pStyle w:val='body'/></w:pPr>" R(
                       "body") "</w:p>"
                               "<w:p><w:pPr><w:pStyle w:val='circle'/></w:pPr>" R("circle") "</w:p><w:p><w:pPr><w:pStyle w:val='none'/></w:pPr>" R(
                                   "none") "</w:p>"
                                           "<w:p><w:pPr><w:pStyle w:val='toc'/></w:pPr>" R(
                                               "one......1") "</w:p>",
        "H1 one\nH2 two\nH5 five\nP body\nP circle\nP none\n");
    check(
        "<w:p><w:pPr><w:pStyle w:val='1'/><w:pPrChange><w:pPr><w:pStyle w:val='a'/></w:pPr></w:pPrChange></w:pPr>" R(
            "kept") "</w:p>",
        "H1 kept\n");
}

TEST(titles)
{
    CHECK_OK(extract_body("<w:p><w:pPr><w:pStyle w:val='t'/></w:pPr>" R("白金卡手册") "</w:p>"));
    CHECK_STR(buf_str(&doc.title), "白金卡手册");
    CHECK_OK(extract_body("<w:p><w:pPr><w:pStyle w:val='1'/></w:pPr>" R("Chapter") "</w:p>"));
    CHECK_STR(buf_str(&doc.title), "Core & title");
    text_doc_clear(&doc);
}

#define ITEM(list, level, t)                                                                                 \
    "<w:p><w:pPr><w:numPr><w:ilvl w:val='" level "'/><w:numId w:val='" list                                  \
    "'/></w:numPr></w:pPr>" R(t) "</w:p>"

TEST(lists)
{
    check(ITEM("1", "0", "a") ITEM("1", "1", "b") ITEM("2", "0", "x") ITEM("2", "1", "y") ITEM("2", "1", "z")
              ITEM("2", "0", "w") ITEM("2", "1", "v"),
          "L - a\nL - b\nL 1. x\nL 1a) y\nL 1b) z\nL 2. w\nL 2a) v\n");
    check(ITEM("2", "0", "a") ITEM("4", "0", "b") ITEM("4", "0", "c"), "L 1. a\nL 7. b\nL 8. c\n");
    check(ITEM("5", "0", "no such list") ITEM("77", "0", "none") ITEM("0", "0", "off")
              ITEM("2", "88", "deep"),
          "P no such list\nP none\nP off\nL 1. deep\n");
    check(
        "<w:p><w:pPr><w:pStyle w:val='article'/></w:pPr>" R("总则") "</w:p>" ITEM("3", "1", "范围") "<w:p><w:pPr><w:pStyle w:val='article'/></w:pPr>" R(
            "年费") "</w:p><w:p><w:pPr><w:pStyle w:val='article'/><w:numPr><w:numId w:val='0'/></w:numPr></w:pPr>" R("附则") "</w:p>",
        "H1 第一条 总则\nL 1.1 范围\nH1 第二条 年费\nH1 附则\n");
}

#define TC(t)   "<w:tc><w:tcPr/>" P(t) "</w:tc>"
#define GRID(n) "<w:tblGrid>" n "</w:tblGrid>"
#define COL     "<w:gridCol/>"

TEST(tables)
{
    check(P("before") "<w:tbl><w:tblPr><w:tblStyle w:val='x'/></w:tblPr>" GRID(COL COL) "<w:tr>" TC("卡种")
              TC("年费") "</w:tr><w:tr>" TC("白金卡") TC("3600") "</w:tr><w:tr>" TC("金卡")
                  TC("600") "</w:tr></w:tbl>" P("after"),
          "P before\nT 卡种 | 年费/卡种: 白金卡; 年费: 3600/卡种: 金卡; 年费: 600\nP after\n");
    /* two header rows with merged cells, a category merged downwards */
    check(
        "<w:tbl>" GRID(COL COL COL) "<w:tr><w:trPr><w:tblHeader/></w:trPr><w:tc><w:tcPr><w:vMerge w:val='restart'/></w:tcPr>" P(
            "卡种") "</w:tc>"
                    "<w:tc><w:tcPr><w:gridSpan w:val='2'/></w:tcPr>" P(
                        "年费") "</w:tc></w:tr>"
                                "<w:tr><w:trPr><w:tblHeader/></w:trPr><w:tc><w:tcPr><w:vMerge/></w:tcPr><w:p/></w:tc>" TC(
                                    "主卡")
                                    TC("附属卡") "</w:tr>"
                                                 "<w:tr><w:tc><w:tcPr><w:vMerge w:val='restart'/></w:tcPr>" P(
                                                     "白金卡") "</w:tc>" TC("3600")
                                                     TC("2000") "</w:tr>"
                                                                "<w:tr><w:tc><w:tcPr><w:vMerge/></w:tcPr><w:p/></w:tc>" TC(
                                                                    "3000") TC("1000") "</w:tr></w:tbl>",
        "T 卡种 | 年费 / 主卡 | 年费 / 附属卡/卡种: 白金卡; 年费 / 主卡: 3600; 年费 / 附属卡: 2000/"
        "卡种: 白金卡; 年费 / 主卡: 3000; 年费 / 附属卡: 1000\n");
    check("<w:tbl>" GRID(COL) "<w:tr><w:tc><w:tcPr/><w:p><w:pPr><w:pStyle w:val='1'/></w:pPr>" R(
              "Heading in a frame") "</w:p>" P("text") "<w:tbl>" GRID(COL COL) "<w:tr>" TC("a")
              TC("b") "</w:tr><w:tr>" TC("c") TC("1") "</w:tr></w:tbl></w:tc></w:tr></w:tbl>",
          "H1 Heading in a frame\nP text\nT a | b/a: c; b: 1\n");
    check("<w:tbl>" GRID(COL COL) "<w:tr>" TC("a")
              TC("b") "</w:tr><w:tr>" TC("c") "<w:tc>" P("d") "<w:tbl>" GRID(COL COL) "<w:tr>" TC("e")
                  TC("f") "</w:tr></w:tbl>" P("g") "</w:tc></w:tr></w:tbl>",
          "T a | b/a: c; b: d e f g\n");
    check("<w:tbl>" GRID(COL COL) "<w:tr>" TC("a")
              TC("b") "</w:tr><w:tr><w:trPr><w:del/></w:trPr>" TC("deleted")
                  TC("9") "</w:tr>"
                          "<w:tr><w:trPr><w:ins/></w:trPr>" TC("inserted") TC("1") "</w:tr></w:tbl>",
          "T a | b/a: inserted; b: 1\n");
    check("<w:tbl>" GRID(COL COL) "<w:tr>" TC("a") TC("b") "</w:tr><w:tr><w:tc>" ITEM("1", "0", "x")
              ITEM("1", "0", "y") "</w:tc>" TC("1") "</w:tr></w:tbl>",
          "T a | b/a: - x - y; b: 1\n");
    check("<w:tbl>" GRID(COL COL COL) "<w:tr><w:tc><w:tcPr><w:gridSpan w:val='3'/></w:tcPr>" P(
              "Caption") "</w:tc></w:tr><w:tr>" TC("a") TC("b") TC("c") "</w:tr><w:tr>" TC("x") TC("1")
              TC("2") "</w:tr></w:tbl>",
          "P Caption\nT a | b | c/a: x; b: 1; c: 2\n");
}

TEST(notes_follow_their_paragraph_once)
{
#define NOTE(kind) "<w:r><w:" kind "Reference w:id='2'/></w:r>"
    check("<w:p>" R("text") NOTE("footnote") R(" goes on")
              NOTE("endnote") "</w:p>" P("next") "<w:p>" R("again") NOTE("footnote") "</w:p>",
          "P textgoes on\nP first note/its second paragraph\nP end note\nP next\nP again\n");
    check("<w:tbl>" GRID(COL COL) "<w:tr>" TC("a") TC("b") "</w:tr><w:tr>" TC("c") "<w:tc><w:p>" R("1")
              NOTE("footnote") "</w:p></w:tc></w:tr></w:tbl>" P("z"),
          "T a | b/a: c; b: 1\nP first note/its second paragraph\nP z\n");
    check(
        "<w:p>" R(
            "x") "<w:r><w:commentReference w:id='1'/></w:r><w:r><w:footnoteReference w:id='999'/></w:r></w:p>",
        "P x\n");
}

TEST(changes_fields_and_hidden_text)
{
    check("<w:p>" R("a") "<w:del><w:r><w:delText>no</w:delText><w:t>no</w:t></w:r></w:del><w:ins>" R(
              "b") "</w:ins>"
                   "<w:moveFrom>" R("no") "</w:moveFrom><w:moveTo>" R("c") "</w:moveTo></w:p>",
          "P abc\n");
    check("<w:p><w:pPr><w:rPr><w:del/></w:rPr></w:pPr>" R("one ") "</w:p>" P("line") P("next"),
          "P oneline\nP next\n");
    check(
        "<w:p>" R(
            "a") "<w:r><w:rPr><w:vanish/></w:rPr><w:t>no</w:t></w:r><w:r><w:rPr><w:rStyle w:val='secret'/></w:rPr><w:t>no</w:t></w:r>"
                 "<w:r><w:rPr><w:rStyle w:val='secret'/><w:vanish w:val='0'/></w:rPr><w:t>b</w:t></w:r>" R(
                     "c") "</w:p>",
        "P abc\n");
#define FIELD(type) "<w:r><w:fldChar w:fldCharType='" type "'/></w:r>"
    check("<w:p>" R("page ") FIELD("begin") "<w:r><w:instrText>IF </w:instrText></w:r>" FIELD(
              "begin") "<w:r><w:instrText>X</w:instrText></w:r>" FIELD("separate")
              R("inner result of the code") FIELD("end") FIELD("separate") R("7") FIELD("end")
                  R("!") "</w:p>"
                         "<w:p><w:fldSimple w:instr='DATE'>" R("2024") "</w:fldSimple></w:p>",
          "P page7!\nP 2024\n");
    check("<w:p>" FIELD("begin") R("lost") "</w:p>" P("not lost") "<w:p>" FIELD("end") FIELD("end")
              R("x") "</w:p>",
          "P not lost\nP x\n");
}

TEST(text_boxes_once)
{
    check(
        "<w:p>" R("a") "<w:r><mc:AlternateContent><mc:Choice Requires='wps'><w:drawing><x:wsp><x:txbx><w:txbxContent>" P(
            "box")
            P("two") "</w:txbxContent></x:txbx></x:wsp></w:drawing></mc:Choice><mc:Fallback><w:pict><x:textbox><w:txbxContent>" P(
                "box")
                P("two") "</w:txbxContent></x:textbox></w:pict></mc:Fallback></mc:AlternateContent></w:r>" R(
                    "b") "</w:p>" P("c"),
        "P ab\nP box/two\nP c\n");
    check("<w:p><w:r><mc:AlternateContent><mc:Fallback><w:t>only this</w:t><w:pict><w:txbxContent>" P(
              "old") "</w:txbxContent></w:pict></mc:Fallback>"
                     "</mc:AlternateContent></w:r></w:p>",
          "P old\n");
    check("<w:p><w:r><w:pict><w:txbxContent>" P("outer") "<w:p><w:r><w:pict><w:txbxContent>" P(
              "inner") "</w:txbxContent></w:pict></w:r></w:p>"
                       "<w:tbl>" GRID(COL COL) "<w:tr>" TC("x")
                           TC("y") "</w:tr></w:tbl></w:txbxContent></w:pict></w:r></w:p>",
          "P inner\nP outer/x/y\n");
}

TEST(strict_documents)
{
    CHECK_OK(
        extract_whole("<w:document xmlns:w='http://purl.oclc.org/ooxml/wordprocessingml/main'><w:body>" P(
            "strict") "</w:body></w:document>"));
    CHECK_STR(buf_str(&doc.text), "strict");
    text_doc_clear(&doc);
}

static rag_code extract_zip_of(const char *name, const char *content)
{
    struct buf zip;
    buf_init(&zip, MEM_MISC);
    struct archive *a = zip_start(&zip, 1 << 20, &zip.len);
    zip_addz(a, name, content);
    archive_write_free(a);
    rag_code rc = extract(buf_str(&zip));
    buf_clear(&zip);
    return rc;
}

TEST(what_is_no_word_document)
{
    CHECK_EQ(extract(STR_LIT("")), RAG_EFORMAT);
    CHECK_EQ(extract(STR_LIT("\xD0\xCF\x11\xE0 an old one")), RAG_EFORMAT);
    CHECK(strstr(err.msg, "old .doc"));
    CHECK_EQ(extract(STR_LIT("PK\3\4 cut")), RAG_EFORMAT);
    CHECK_EQ(extract_zip_of("readme.txt", "hello"), RAG_EFORMAT);
    CHECK(strstr(err.msg, "is a zip but not a Word document"));
    CHECK_EQ(extract_zip_of("../../word/document.xml", "<w:document " W "/>"), RAG_EFORMAT);
    CHECK_EQ(extract_whole("<workbook/>"), RAG_EFORMAT);
    CHECK(strstr(err.msg, "is a zip but not a Word document"));
    CHECK_EQ(extract_whole("<w:document " W "><w:body>" P("cut")), RAG_EFORMAT);
    CHECK_EQ(extract_format_of("a.DOCX"), FORMAT_DOCX);
    CHECK_EQ(extract_format_of("a.docm"), FORMAT_UNKNOWN);
    CHECK(strstr(extract_advice("a.docm"), "macros"));
    CHECK(strstr(extract_advice("a.bin"), "docx"));
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void repeat(struct buf *b, const char *s, int times)
{
    for (int i = 0; i < times; i++)
        buf_addz(b, s);
}

static rag_code extract_repeated(const char *open, int times, const char *middle, const char *close)
{
    struct buf b;
    buf_init(&b, MEM_MISC);
    repeat(&b, open, times);
    buf_addz(&b, middle);
    repeat(&b, close, times);
    buf_addc(&b, 0);
    rag_code rc = extract_body(b.ptr);
    buf_clear(&b);
    return rc;
}

TEST(hostile_documents)
{
    double t = seconds();
    CHECK_EQ(extract_whole("<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><w:document " W
                           "><w:body><w:p><w:r><w:t>&e;</w:t></w:r></w:p></w:body></w:document>"),
             RAG_EFORMAT);
    CHECK(strstr(err.msg, "document type"));
    CHECK_EQ(extract_whole("<!DOCTYPE x SYSTEM 'http://127.0.0.1:1/x.dtd'><w:document " W "/>"), RAG_EFORMAT);
    CHECK_EQ(extract_whole("<w:document " W "><w:body>&nope;</w:body></w:document>"), RAG_EFORMAT);
    CHECK_EQ(extract_repeated("<w:ins>", 5000, "", "</w:ins>"), RAG_ETOOBIG);
    CHECK_EQ(extract_repeated("<w:txbxContent>", 100, "", "</w:txbxContent>"), RAG_ETOOBIG);
    CHECK_OK(extract_repeated("<w:tbl><w:tr><w:tc>", 60, P("deep"), "</w:tc></w:tr></w:tbl>"));
    CHECK_STR(buf_str(&doc.text), "deep");
    CHECK_EQ(extract_body(
                 "<w:tbl><w:tr><w:tc><w:tcPr><w:gridSpan w:val='999999'/></w:tcPr></w:tc></w:tr></w:tbl>"),
             RAG_ETOOBIG);
    CHECK_OK(extract_body("<w:tr><w:tc>" P("a") "</w:tc></w:tr><w:tc/><w:tr/>"));
    CHECK_OK(extract_repeated("<w:tbl><w:tr><w:tc><w:tcPr><w:vMerge/></w:tcPr></w:tc></w:tr></w:tbl>", 3000,
                              P("x"), ""));

    /* a bomb: blanks that pack 1000 to 1 */
    static char blanks[1 << 16];
    memset(blanks, ' ', sizeof blanks);
    struct buf zip;
    buf_init(&zip, MEM_MISC);
    struct archive *a = zip_start(&zip, 8 << 20, &zip.len);
    zip_add(a, "word/document.xml", blanks, sizeof blanks, 4096);
    archive_write_free(a);
    CHECK_EQ(extract(buf_str(&zip)), RAG_ETOOBIG);
    buf_clear(&zip);
    print_message("           hostile documents: %.1f s\n", seconds() - t);
    CHECK(seconds() - t < 10);
    text_doc_clear(&doc);
}

TEST(a_damaged_zip_is_an_error_and_no_more)
{
    struct buf zip;
    docx_make(P("text") ITEM("2", "0", "x"), NULL, &zip);
    for (size_t cut = 0; cut < zip.len; cut += 97)
        CHECK(extract(str_make(zip.ptr, cut)) != RAG_OK);
    for (size_t i = 0; i < zip.len; i += 13) {
        zip.ptr[i] ^= 0x55;
        rag_code rc = extract(buf_str(&zip));
        CHECK(rc == RAG_OK || rc == RAG_EFORMAT || rc == RAG_ETOOBIG);
        zip.ptr[i] ^= 0x55;
    }
    buf_clear(&zip);
    text_doc_clear(&doc);
}

TEST(every_failed_allocation_is_reported)
{
    struct buf zip;
    bool fired = true;
    docx_make("<w:p><w:pPr><w:pStyle w:val='1'/></w:pPr>" R("h")
                  NOTE("footnote") "</w:p>" ITEM("2", "0", "x") "<w:tbl><w:tr>" TC("a")
                      TC("b") "</w:tr><w:tr>" TC("c") TC("1") "</w:tr></w:tbl>",
              NULL, &zip);
    for (unsigned nth = 1; fired; nth++) {
        text_doc_clear(&doc);
        fault_arm_alloc(nth);
        rag_code rc = extract_bytes(FORMAT_DOCX, buf_str(&zip), "f", &extract_default_limits, &doc, &err);
        fired = fault_disarm();
        if (rc != (fired ? RAG_ENOMEM : RAG_OK))
            print_error("allocation %u: %s\n", nth, rag_code_name(rc));
        CHECK_EQ(rc, fired ? RAG_ENOMEM : RAG_OK);
    }
    buf_clear(&zip);
    text_doc_clear(&doc);
}
