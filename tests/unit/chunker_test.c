#include <time.h>

#include "base/hash.h"
#include "base/mem.h"
#include "test.h"
#include "text/chunker.h"
#include "text/utf8.h"

struct fixture {
    struct text_doc doc;
    struct text_chunks out;
};

static void set_up(struct fixture *f)
{
    text_doc_init(&f->doc);
    text_chunks_init(&f->out);
}

static void tear_down(struct fixture *f)
{
    text_doc_clear(&f->doc);
    text_chunks_clear(&f->out);
}

static struct text_block *add(struct fixture *f, enum block_kind kind, unsigned level, const char *s)
{
    if (f->doc.text.len)
        buf_addz(&f->doc.text, "\n\n");
    struct text_block b = {
        .start = (uint32_t)f->doc.text.len, .kind = (uint8_t)kind, .level = (uint8_t)level};
    buf_addz(&f->doc.text, s);
    b.end = (uint32_t)f->doc.text.len;
    buf_add(&f->doc.blocks, &b, sizeof b);
    return (struct text_block *)(void *)(f->doc.blocks.ptr + f->doc.blocks.len - sizeof b);
}

static size_t count(const struct fixture *f)
{
    return f->out.chunks.len / sizeof(struct text_chunk);
}

static const struct text_chunk *chunk(const struct fixture *f, size_t i)
{
    return (const struct text_chunk *)(const void *)f->out.chunks.ptr + i;
}

static struct str text(const struct fixture *f, size_t i)
{
    return str_make(f->doc.text.ptr + chunk(f, i)->start, chunk(f, i)->end - chunk(f, i)->start);
}

static struct str path(const struct fixture *f, size_t i)
{
    return str_make(f->out.headings.ptr + chunk(f, i)->heading_off, chunk(f, i)->heading_len);
}

static void run(struct fixture *f, uint32_t size, uint32_t overlap)
{
    CHECK_OK(chunker_run(&f->doc, &(struct chunker_options){size, overlap}, &f->out));
}

TEST(an_empty_document_has_no_chunks)
{
    struct fixture f;
    set_up(&f);
    run(&f, 256, 32);
    CHECK_EQ(count(&f), 0);
    tear_down(&f);
}

TEST(headings_start_chunks_and_make_paths)
{
    struct fixture f;
    set_up(&f);
    add(&f, BLOCK_HEADING, 1, "白金卡");
    add(&f, BLOCK_HEADING, 2, "年费");
    add(&f, BLOCK_PARAGRAPH, 0, "主卡年费3600元。");
    add(&f, BLOCK_HEADING, 2, "积分");
    add(&f, BLOCK_PARAGRAPH, 0, "积分永久有效。");
    run(&f, 256, 32);
    CHECK_EQ(count(&f), 2);
    CHECK_STR(text(&f, 0), "年费\n\n主卡年费3600元。"); /* the first heading has no text directly below */
    CHECK_STR(path(&f, 0), "白金卡\x1f"
                           "年费");
    CHECK_STR(text(&f, 1), "积分\n\n积分永久有效。");
    CHECK_STR(path(&f, 1), "白金卡\x1f"
                           "积分");
    tear_down(&f);
}

TEST(a_short_introduction_stays_with_the_section_below)
{
    struct fixture f;
    set_up(&f);
    add(&f, BLOCK_HEADING, 1, "Cards");
    add(&f, BLOCK_PARAGRAPH, 0, "Two cards.");
    add(&f, BLOCK_HEADING, 2, "Gold");
    add(&f, BLOCK_PARAGRAPH, 0, "It is yellow.");
    run(&f, 256, 32);
    CHECK_EQ(count(&f), 1);
    CHECK_STR(text(&f, 0), "Cards\n\nTwo cards.\n\nGold\n\nIt is yellow.");
    CHECK_STR(path(&f, 0), "Cards");
    tear_down(&f);
}

TEST(long_prose_is_cut_at_sentences_with_overlap)
{
    struct fixture f;
    set_up(&f);
    struct buf b;
    buf_init(&b, MEM_TEXT);
    for (int i = 0; i < 40; i++)
        buf_addf(&b, "第%02d条规定持卡人应当按时还款。", i);
    buf_addc(&b, 0);
    add(&f, BLOCK_PARAGRAPH, 0, b.ptr);
    run(&f, 60, 20);
    CHECK(count(&f) > 5);
    for (size_t i = 0; i < count(&f); i++) {
        struct str s = text(&f, i);
        CHECK(text_token_count(s) <= 60);
        CHECK(memcmp(s.ptr, "第", 3) == 0);
        CHECK(memcmp(s.ptr + s.len - 3, "。", 3) == 0);
        if (i) {
            CHECK(chunk(&f, i)->start < chunk(&f, i - 1)->end); /* one sentence is repeated */
            CHECK(chunk(&f, i)->start > chunk(&f, i - 1)->start);
        }
    }
    buf_clear(&b);
    tear_down(&f);
}

TEST(records_are_chunks_of_their_own)
{
    struct fixture f;
    set_up(&f);
    buf_addz(&f.doc.labels, "年费表");
    for (uint32_t i = 0; i < 3; i++) {
        struct text_block *b = add(&f, BLOCK_RECORD, 0, "卡种: 白金卡\n年费: 3600元");
        b->row = i + 2;
        b->label_len = i ? 9 : 0;
    }
    run(&f, 256, 32);
    CHECK_EQ(count(&f), 3);
    CHECK_STR(path(&f, 0), "row 2");
    CHECK_STR(path(&f, 2), "年费表\x1f"
                           "row 4");
    CHECK_STR(text(&f, 1), "卡种: 白金卡\n年费: 3600元");
    run(&f, 2,
        0); /* 4 x 2 tokens are fewer than a record has: split at its lines and, as those are long, inside */
    CHECK(count(&f) > 6);
    CHECK_STR(path(&f, 1), "row 2");
    tear_down(&f);
}

TEST(a_long_table_is_split_at_rows_and_carries_its_header)
{
    struct fixture f;
    set_up(&f);
    struct buf b;
    buf_init(&b, MEM_TEXT);
    buf_addz(&b, "卡种 | 年费");
    for (int i = 0; i < 50; i++)
        buf_addf(&b, "\n卡种: 卡%d; 年费: %d元", i, i * 100);
    buf_addc(&b, 0);
    add(&f, BLOCK_HEADING, 1, "年费");
    add(&f, BLOCK_TABLE, 0, b.ptr);
    run(&f, 64, 16);
    CHECK(count(&f) > 3);
    CHECK_STR(path(&f, 0), "年费");
    for (size_t i = 1; i < count(&f); i++) {
        CHECK_STR(path(&f, i), "年费\x1f"
                               "卡种 | 年费");
        CHECK(memcmp(text(&f, i).ptr, "卡种: ", 8) == 0);
        CHECK(chunk(&f, i)->start >= chunk(&f, i - 1)->end);
    }
    buf_clear(&b);
    tear_down(&f);
}

TEST(code_is_kept_whole_when_it_fits)
{
    struct fixture f;
    set_up(&f);
    add(&f, BLOCK_PARAGRAPH, 0, "Some words that take a few tokens before the code comes.");
    add(&f, BLOCK_CODE, 0, "int main(void)\n{\n    return 0;\n}");
    run(&f, 18, 0);
    CHECK_EQ(count(&f), 2);
    CHECK_STR(text(&f, 1), "int main(void)\n{\n    return 0;\n}");
    tear_down(&f);
}

TEST(a_sentence_without_end_is_cut_between_characters)
{
    struct fixture f;
    set_up(&f);
    struct buf b;
    buf_init(&b, MEM_TEXT);
    for (int i = 0; i < 3000; i++)
        buf_addz(&b, i % 7 == 0 ? "é" : "客");
    buf_addc(&b, 0);
    add(&f, BLOCK_PARAGRAPH, 0, b.ptr);
    run(&f, 64, 16);
    uint32_t at = 0;
    for (size_t i = 0; i < count(&f); i++) {
        CHECK(utf8_valid(text(&f, i)));
        CHECK(text_token_count(text(&f, i)) <= 64);
        CHECK_EQ(chunk(&f, i)->start, at);
        at = chunk(&f, i)->end;
    }
    CHECK_EQ(at, f.doc.text.len);
    buf_clear(&b);
    tear_down(&f);
}

TEST(a_chunk_has_the_page_of_its_first_byte)
{
    struct fixture f;
    set_up(&f);
    for (uint16_t page = 1; page <= 3; page++) { /* the heading of page 2 leads the chunk of its paragraph */
        add(&f, BLOCK_HEADING, 1, "Fees")->page = page;
        add(&f, BLOCK_PARAGRAPH, 0, "One sentence of nine words that says very little.")->page =
            page == 2 ? 3 : page;
    }
    run(&f, 256, 0);
    CHECK_EQ(count(&f), 3);
    for (size_t i = 0; i < 3; i++)
        CHECK_EQ(chunk(&f, i)->page, i + 1);
    tear_down(&f);

    set_up(&f); /* a paragraph over two pages is two blocks; the overlap goes back to the first */
    add(&f, BLOCK_PARAGRAPH, 0, "Alpha one two three. Beta one two three.")->page = 7;
    add(&f, BLOCK_PARAGRAPH, 0, "Gamma one two three. Delta one two three. Omega one two three. Kappa one two three.")->page = 8;
    run(&f, 12, 6);
    CHECK(count(&f) >= 3);
    for (size_t i = 0; i < count(&f); i++)
        CHECK_EQ(chunk(&f, i)->page, chunk(&f, i)->start < strlen("Alpha one two three. Beta one two three.") ? 7 : 8);
    tear_down(&f);
}

TEST(broken_blocks_are_refused)
{
    struct fixture f;
    set_up(&f);
    add(&f, BLOCK_PARAGRAPH, 0, "客户");
    struct text_block *b = (struct text_block *)(void *)f.doc.blocks.ptr, good = *b;
    const struct text_block bad[] = {
        {.start = 0, .end = 7},
        {.start = 3, .end = 3},
        {.start = 1, .end = 6},
        {.start = 0, .end = 4},
        {.start = 0, .end = 6, .kind = BLOCK_KINDS},
        {.start = 0, .end = 6, .kind = BLOCK_RECORD, .label_off = UINT32_MAX, .label_len = UINT32_MAX},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        *b = bad[i];
        CHECK_EQ(chunker_run(&f.doc, &(struct chunker_options){256, 32}, &f.out), RAG_EFORMAT);
    }
    *b = good;
    buf_add(&f.doc.blocks, &good, sizeof good); /* twice the same place */
    CHECK_EQ(chunker_run(&f.doc, &(struct chunker_options){256, 32}, &f.out), RAG_EFORMAT);
    tear_down(&f);
}

TEST(every_failed_allocation_is_reported)
{
    struct fixture f;
    set_up(&f);
    add(&f, BLOCK_HEADING, 1, "Title");
    for (int i = 0; i < 20; i++)
        add(&f, BLOCK_PARAGRAPH, 0, "One sentence. Another one.");
    bool fired = true;
    for (unsigned nth = 1; fired; nth++) {
        text_chunks_clear(&f.out);
        fault_arm_alloc(nth);
        rag_code rc = chunker_run(&f.doc, &(struct chunker_options){8, 2}, &f.out);
        fired = fault_disarm();
        CHECK_EQ(rc, fired ? RAG_ENOMEM : RAG_OK);
    }
    tear_down(&f);
}

/* Random documents: order, range, and that no byte of text is lost. */
TEST(every_byte_is_in_a_chunk)
{
    static const char *const words[] = {"年费",
                                        "The fee is high. ",
                                        "3.5%",
                                        "，",
                                        "。",
                                        "word ",
                                        "\n",
                                        "；",
                                        "积分 ",
                                        "Mr. Li said so! ",
                                        "https://example.com/a/very/long/path/without/spaces "};
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct fixture f;
        set_up(&f);
        uint64_t r = hash_bytes(&seed, sizeof seed, 1);
        for (int i = 0; i < 30; i++) {
            struct buf b;
            buf_init(&b, MEM_TEXT);
            r = hash_bytes(&r, sizeof r, 2);
            enum block_kind kind = (enum block_kind)(r % BLOCK_KINDS);
            for (uint64_t k = 0, n = 1 + r / 8 % 60; k < n; k++) {
                r = hash_bytes(&r, sizeof r, 3);
                buf_addz(&b, words[r % (sizeof words / sizeof *words)]);
            }
            buf_addc(&b, 0);
            add(&f, kind, 1 + (unsigned)(r / 100 % 4), b.ptr);
            buf_clear(&b);
        }
        run(&f, 8 + (uint32_t)(seed % 90), (uint32_t)(seed % 20));
        char *seen = mem_zalloc(MEM_TEXT, f.doc.text.len);
        for (size_t i = 0; i < count(&f); i++) {
            CHECK(chunk(&f, i)->start < chunk(&f, i)->end && chunk(&f, i)->end <= f.doc.text.len);
            CHECK(i == 0 || chunk(&f, i)->start > chunk(&f, i - 1)->start);
            CHECK(utf8_valid(text(&f, i)) && utf8_valid(path(&f, i)));
            memset(seen + chunk(&f, i)->start, 1, chunk(&f, i)->end - chunk(&f, i)->start);
        }
        const struct text_block *b = (const struct text_block *)(const void *)f.doc.blocks.ptr;
        for (int i = 0; i < 30; i++)
            for (uint32_t k = b[i].start; k < b[i].end; k++)
                CHECK(b[i].kind == BLOCK_HEADING || seen[k] || strchr(" \n", f.doc.text.ptr[k]));
        mem_free(MEM_TEXT, seen);
        tear_down(&f);
    }
}

static double mb_per_s(const char *sentence, size_t bytes)
{
    struct fixture f;
    struct timespec a, z;
    set_up(&f);
    struct buf b;
    buf_init(&b, MEM_TEXT);
    while (b.len < bytes)
        buf_addz(&b, sentence);
    buf_addc(&b, 0);
    add(&f, BLOCK_PARAGRAPH, 0, b.ptr);
    clock_gettime(CLOCK_MONOTONIC, &a);
    run(&f, 256, 32);
    clock_gettime(CLOCK_MONOTONIC, &z);
    buf_clear(&b);
    tear_down(&f);
    return (double)bytes / 1e6 / ((double)(z.tv_sec - a.tv_sec) + (double)(z.tv_nsec - a.tv_nsec) / 1e9);
}

TEST(time_is_linear)
{
    static const char *const kinds[] = {"The annual fee of the platinum card is 3600 yuan. ",
                                        "白金卡的年费为3600元，可用积分抵扣。", "x", "客"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        double v = mb_per_s(kinds[i], 4 << 20);
        print_message("           chunker: %.0f MB/s on \"%s\"...\n", v, kinds[i]);
        CHECK(v > 1); /* 20 and more in a quiet release build; this catches a quadratic one on any machine */
    }
}
