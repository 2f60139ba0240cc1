#include "test.h"

#include <stdlib.h>

#include "model/tokenizer_json.h"
#include "text/tokenizer_int.h"

/* Ids that these tests expect are those of the Hugging Face library, version 0.23.3, for the same files. */

static const char *const bert_pieces[] = {"[PAD]",
                                          "[UNK]",
                                          "[CLS]",
                                          "[SEP]",
                                          "un",
                                          "##aff",
                                          "##able",
                                          "hello",
                                          ",",
                                          "!",
                                          "\xE4\xB8\xAD",
                                          "cafe",
                                          "##s",
                                          "i",
                                          "[",
                                          "]",
                                          "sep",
                                          "a",
                                          "##a",
                                          "\xE1\x84\x80\xE1\x85\xA1",
                                          "##\xCC\xB4",
                                          "\xE5\x8F\xA5"};
enum { N_BERT = sizeof bert_pieces / sizeof *bert_pieces };

static struct tokenizer_spec bert_spec(struct str *pieces)
{
    for (size_t i = 0; i < N_BERT; i++)
        pieces[i] = str_of(bert_pieces[i]);
    return (struct tokenizer_spec){.kind = TOKENIZER_WORDPIECE,
                                   .pieces = pieces,
                                   .n_pieces = N_BERT,
                                   .unk = 1,
                                   .first = 2,
                                   .last = 3,
                                   .clean_text = true,
                                   .chinese_chars = true,
                                   .strip_accents = true,
                                   .lowercase = true,
                                   .continuing_prefix = STR_LIT("##"),
                                   .max_word_chars = 100};
}

/* "id id id" of a text. */
static const char *encode(const struct tokenizer *t, struct str text)
{
    static char out[4096];
    struct tokenizer_scratch *s;
    struct buf ids;
    buf_init(&ids, MEM_MISC);
    CHECK_OK(tokenizer_scratch_new(&s));
    CHECK_OK(tokenizer_encode(t, s, text, &ids));
    size_t at = 0;
    out[0] = 0;
    for (size_t i = 0; i < ids.len && at < sizeof out - 16; i += 4) {
        uint32_t id;
        memcpy(&id, ids.ptr + i, 4);
        at += (size_t)snprintf(out + at, sizeof out - at, i ? " %u" : "%u", id);
    }
    tokenizer_scratch_free(s);
    buf_clear(&ids);
    return out;
}

struct built {
    struct buf block;
    struct tokenizer *t;
};

static struct built build(const struct tokenizer_spec *spec)
{
    struct built b = {.t = NULL};
    struct rag_err err = {0};
    buf_init(&b.block, MEM_MISC);
    rag_code rc = tokenizer_build(spec, &b.block, &err);
    if (rc)
        print_error("%s\n", err.msg);
    CHECK_OK(rc);
    CHECK_OK(tokenizer_open(buf_str(&b.block), &b.t, &err));
    return b;
}

static void built_clear(struct built *b)
{
    tokenizer_close(b->t);
    buf_clear(&b->block);
}

#define ENCODES(t, text, ids) assert_string_equal(encode((t), STR_LIT(text)), (ids))

TEST(wordpiece_takes_the_longest_piece_first)
{
    struct str pieces[N_BERT];
    struct tokenizer_spec spec = bert_spec(pieces);
    struct built b = build(&spec);
    ENCODES(b.t, "unaffable", "4 5 6");
    ENCODES(b.t, "Hello, HELLO!", "7 8 7 9");
    ENCODES(b.t, "unaffablex", "1");
    ENCODES(b.t, "##aff aff", "1 1 1 1");
    ENCODES(b.t, "[SEP]", "14 16 15");
    ENCODES(b.t, "", "");
    ENCODES(b.t, " \t\r\n\xC2\xA0\xE3\x80\x80", "");
    CHECK_EQ(tokenizer_vocabulary(b.t), N_BERT);
    CHECK_EQ(tokenizer_first(b.t), 2);
    CHECK_EQ(tokenizer_last(b.t), 3);
    CHECK_STR(tokenizer_piece(b.t, 6), "##able");
    CHECK_EQ(tokenizer_piece(b.t, N_BERT).len, 0);
    built_clear(&b);
}

TEST(wordpiece_normalises_as_bert)
{
    struct str pieces[N_BERT];
    struct tokenizer_spec spec = bert_spec(pieces);
    struct built b = build(&spec);
    ENCODES(b.t, "Caf\xC3\xA9s", "11 12");  /* e with acute */
    ENCODES(b.t, "Cafe\xCC\x81s", "11 12"); /* the same in two */
    ENCODES(b.t,
            "a\xE4\xB8\xAD"
            "a",
            "17 10 17");                              /* Chinese stands alone */
    ENCODES(b.t, "\xC4\xB0", "13");                   /* U+0130 */
    ENCODES(b.t, "he\0l\x01lo\xEF\xBF\xBD\xFF", "7"); /* NUL, control, U+FFFD and a bad byte go */
    ENCODES(b.t, "\xEA\xB0\x80", "19");               /* Hangul becomes its letters */
    ENCODES(b.t, "\xEF\xA5\xA4", "1");                /* compatibility ideograph U+F964 */
    ENCODES(b.t, "\xEF\xA4\x86", "21");               /* U+F906 becomes U+53E5 */
    built_clear(&b);

    spec.clean_text = spec.chinese_chars = spec.strip_accents = spec.lowercase = false;
    b = build(&spec);
    ENCODES(b.t,
            "a\xE4\xB8\xAD"
            "a",
            "1");
    ENCODES(b.t, "Hello hello", "1 7");
    ENCODES(b.t, "a\0a", "1");
    ENCODES(b.t, "a\xCC\xB4", "17 20");
    built_clear(&b);
}

/* U+302E (class 224) is no Mn in the library's tables, U+1D165 (216) too: they stay, and NFD sorts them. */
TEST(wordpiece_sorts_marks_that_stay)
{
    struct str pieces[] = {STR_LIT("[UNK]"), STR_LIT("a\xF0\x9D\x85\xA5\xE3\x80\xAE"),
                           STR_LIT("a\xE3\x80\xAE\xF0\x9D\x85\xA5")};
    struct tokenizer_spec spec = bert_spec((struct str[N_BERT]){{0}});
    spec.pieces = pieces;
    spec.n_pieces = 3;
    spec.unk = spec.first = spec.last = 0;
    struct built b = build(&spec);
    ENCODES(b.t, "a\xE3\x80\xAE\xF0\x9D\x85\xA5", "1");
    ENCODES(b.t, "a\xF0\x9D\x85\xA5\xE3\x80\xAE", "1");
    char many[4 * 3000];
    for (size_t i = 0; i < sizeof many; i += 4)
        memcpy(many + i, "\xF0\x9D\x85\xA5", 4);
    assert_string_equal(encode(b.t, str_make(many, sizeof many)), "0");
    built_clear(&b);
}

TEST(wordpiece_gives_up_at_the_limit)
{
    struct str pieces[N_BERT];
    struct tokenizer_spec spec = bert_spec(pieces);
    spec.max_word_chars = 5;
    struct built b = build(&spec);
    ENCODES(b.t, "aaaaa", "17 18 18 18 18");
    ENCODES(b.t, "aaaaaa a", "1 17");
    ENCODES(b.t, "\xC3\xA0\xC3\xA0\xC3\xA0\xC3\xA0\xC3\xA0", "17 18 18 18 18"); /* characters, not bytes */
    built_clear(&b);
}

/* ---- Unigram ---------------------------------------------------------------------------------------------- */
#define MARK "\xE2\x96\x81"
static const struct {
    const char *piece;
    double score;
} sp_pieces[] = {{"<s>", 0},
                 {"<pad>", 0},
                 {"</s>", 0},
                 {"<unk>", 0},
                 {MARK, -3},
                 {MARK "hello", -5},
                 {"hell", -4},
                 {"o", -4},
                 {MARK "world", -6},
                 {"wor", -5},
                 {"ld", -5},
                 {"ab", -4},
                 {"a", -2},
                 {"b", -2},
                 {"\xE4\xB8\xAD", -7},
                 {"zq", -9},
                 {"\xE4\xB8\xAD\xE6\x96\x87", -8}};
enum { N_SP = sizeof sp_pieces / sizeof *sp_pieces };

static struct tokenizer_spec sp_spec(struct str *pieces, double *scores)
{
    for (size_t i = 0; i < N_SP; i++) {
        pieces[i] = str_of(sp_pieces[i].piece);
        scores[i] = sp_pieces[i].score;
    }
    return (struct tokenizer_spec){.kind = TOKENIZER_UNIGRAM,
                                   .pieces = pieces,
                                   .scores = scores,
                                   .n_pieces = N_SP,
                                   .unk = 3,
                                   .first = 0,
                                   .last = 2,
                                   .collapse_spaces = true,
                                   .metaspace_prepend = true};
}

TEST(unigram_finds_the_most_probable_pieces)
{
    struct str pieces[N_SP];
    double scores[N_SP];
    struct tokenizer_spec spec = sp_spec(pieces, scores);
    struct built b = build(&spec);
    ENCODES(b.t, "hello world", "5 8");
    ENCODES(b.t, "  hello   world ", "5 8 4");
    ENCODES(b.t, "hellohello", "5 6 7");
    ENCODES(b.t, "ab", "4 11"); /* a tie with a, b: the first one found stays, and longer pieces end later */
    ENCODES(b.t, "xyz", "4 3"); /* unknown ones are one */
    ENCODES(b.t, "xazq", "4 3 12 15");
    ENCODES(b.t, "</s><s>", "4 2 0"); /* pieces like any other */
    ENCODES(b.t, MARK "hello", "5");
    ENCODES(b.t, "\xE4\xB8\xAD\xE6\x96\x87\xE4\xB8\xAD", "4 16 14");
    ENCODES(b.t,
            "\xFF"
            "a\0a",
            "4 3 12 3 12");
    ENCODES(b.t, "", "");
    built_clear(&b);
}

TEST(unigram_pre_tokenises_as_asked)
{
    struct str pieces[N_SP];
    double scores[N_SP];
    struct tokenizer_spec spec = sp_spec(pieces, scores);
    spec.split_whitespace = true;
    struct built b = build(&spec);
    ENCODES(b.t, " hello\t\xE3\x80\x80world ", "5 8");
    built_clear(&b);

    spec.metaspace_off = true;
    b = build(&spec);
    ENCODES(b.t, "hello world", "6 7 9 10");
    built_clear(&b);

    spec.split_whitespace = spec.metaspace_off = spec.metaspace_prepend = false;
    spec.strip_left = spec.strip_right = spec.collapse_to_metaspace = true;
    b = build(&spec);
    ENCODES(b.t, " \xC2\xA0 hello  hello\xE3\x80\x80 ", "6 7 5");
    built_clear(&b);
}

/* A map of two keys: "A" to "a", "A" U+0301 to "zq". */
static struct str small_map(uint32_t *bytes)
{
    uint32_t *u = bytes + 1, size = 1024;
    memcpy(bytes, &size, 4);
    memset(u, 0, size);
    /* root at 0, base 0x80; 'A' at 0xC1, base 0x02; value at 0x02; 0xCC at 0xCE, base 0x10; 0x81 at 0x91, base 0x20 */
    u[0] = 0x80u << 10;
    u[0xC1] = (0xC1u ^ 0x02u) << 10 | 0x100 | 'A';
    u[0x02] = 0x80000000u | 0;
    u[0xCE] = (0xCEu ^ 0x10u) << 10 | 0xCC;
    u[0x91] = (0x91u ^ 0x20u) << 10 | 0x100 | 0x81;
    u[0x20] = 0x80000000u | 2;
    memcpy(u + 256, "a\0zq\0", 5);
    return str_make((const char *)bytes, 4 + 1024 + 5);
}

TEST(unigram_maps_clusters)
{
    struct str pieces[N_SP];
    double scores[N_SP];
    uint32_t bytes[260];
    struct tokenizer_spec spec = sp_spec(pieces, scores);
    spec.charsmap = small_map(bytes);
    struct built b = build(&spec);
    ENCODES(b.t, "AbA", "4 11 12");
    ENCODES(b.t,
            "A\xCC\x81"
            "b",
            "4 11"); /* the shortest key stands for the whole cluster */
    ENCODES(b.t,
            "A\xCC\x81\xCC\x81\xCC\x81"
            "b",
            "4 12 3 13"); /* 7 bytes: character by character */
    built_clear(&b);
    /* Any cut or change of the map is refused or harmless. */
    for (size_t n = 0; n < spec.charsmap.len; n += 7) {
        struct tokenizer_spec cut = spec;
        struct buf block;
        buf_init(&block, MEM_MISC);
        cut.charsmap.len = n;
        rag_code rc = tokenizer_build(&cut, &block, NULL);
        CHECK(rc == (n == 0 || n >= 1028 ? RAG_OK : RAG_EFORMAT));
        buf_clear(&block);
    }
}

/* ---- refusals --------------------------------------------------------------------------------------------- */
TEST(build_refuses_what_is_no_vocabulary)
{
    struct str pieces[N_BERT];
    struct rag_err err;
    struct buf block;
    char longest[TOKENIZER_MAX_PIECE + 1];
    memset(longest, 'x', sizeof longest);
    const struct str bad[] = {STR_LIT("hello"), STR_LIT("\xFF"), STR_LIT("a\0b"),
                              str_make(longest, sizeof longest)};
    for (size_t i = 0; i < 4; i++) {
        struct tokenizer_spec spec = bert_spec(pieces);
        pieces[0] = bad[i];
        buf_init(&block, MEM_MISC);
        CHECK_EQ(tokenizer_build(&spec, &block, &err), RAG_EFORMAT);
        buf_clear(&block);
    }
    struct tokenizer_spec spec = bert_spec(pieces);
    spec.last = N_BERT;
    buf_init(&block, MEM_MISC);
    CHECK_EQ(tokenizer_build(&spec, &block, &err), RAG_EFORMAT);
    double scores[N_SP];
    struct tokenizer_spec sp = sp_spec(pieces, scores);
    scores[5] = HUGE_VAL;
    CHECK_EQ(tokenizer_build(&sp, &block, &err), RAG_EFORMAT);
    buf_clear(&block);
}

TEST(open_survives_damage)
{
    struct str pieces[N_BERT];
    struct tokenizer_spec spec = bert_spec(pieces);
    struct built b = build(&spec);
    struct tokenizer_scratch *s;
    struct tokenizer *t;
    struct buf ids;
    buf_init(&ids, MEM_MISC);
    CHECK_OK(tokenizer_scratch_new(&s));
    size_t n = b.block.len, opened = 0;
    char *copy = mem_alloc(MEM_MISC, n);
    uint32_t seed = 7;
    for (int round = 0; round < 3000; round++) {
        memcpy(copy, b.block.ptr, n);
        for (int k = 0; k < 3; k++) {
            seed = seed * 1664525u + 1013904223u;
            size_t at = round % 2 ? seed % sizeof(struct tok_header) : seed % n;
            copy[at] = (char)(seed >> 24);
        }
        if (tokenizer_open(str_make(copy, n), &t, NULL) != RAG_OK)
            continue;
        opened++;
        buf_reset(&ids);
        CHECK_OK(tokenizer_encode(t, s, STR_LIT("Hello unaffable caf\xC3\xA9 \xE4\xB8\xAD\xEA\xB0\x80 [SEP]"),
                                  &ids));
        for (uint32_t i = 0; i < tokenizer_vocabulary(t); i++)
            CHECK(tokenizer_piece(t, i).len <= n);
        tokenizer_close(t);
    }
    CHECK(opened > 0);
    for (size_t cut = 0; cut < n; cut += 997)
        CHECK_EQ(tokenizer_open(str_make(b.block.ptr, cut), &t, NULL), RAG_ECORRUPT);
    ((struct tok_header *)(void *)b.block.ptr)->version = 99;
    CHECK_EQ(tokenizer_open(buf_str(&b.block), &t, NULL), RAG_EVERSION);
    mem_free(MEM_MISC, copy);
    tokenizer_scratch_free(s);
    buf_clear(&ids);
    built_clear(&b);
}

TEST(build_survives_each_failed_allocation)
{
    struct str pieces[N_SP];
    double scores[N_SP];
    uint32_t bytes[260];
    struct tokenizer_spec spec = sp_spec(pieces, scores);
    spec.charsmap = small_map(bytes);
    int64_t before = mem_in_use(MEM_MODEL);
    bool fired = true;
    for (unsigned nth = 1; fired; nth++) {
        struct buf block;
        struct tokenizer *t = NULL;
        buf_init(&block, MEM_MISC);
        fault_arm_alloc(nth);
        rag_code rc = tokenizer_build(&spec, &block, NULL);
        if (!rc)
            rc = tokenizer_open(buf_str(&block), &t, NULL);
        fired = fault_disarm();
        CHECK_EQ(rc, fired ? RAG_ENOMEM : RAG_OK);
        tokenizer_close(t);
        buf_clear(&block);
    }
    CHECK_EQ(mem_in_use(MEM_MODEL), before);
}

TEST(encode_survives_each_failed_allocation)
{
    struct str pieces[N_SP];
    double scores[N_SP];
    struct tokenizer_spec spec = sp_spec(pieces, scores);
    spec.split_whitespace = true;
    struct built b = build(&spec);
    bool fired = true;
    for (unsigned nth = 1; fired; nth++) {
        struct tokenizer_scratch *s;
        struct buf ids;
        buf_init(&ids, MEM_MISC);
        fault_arm_alloc(nth);
        rag_code rc = tokenizer_scratch_new(&s);
        if (!rc)
            rc = tokenizer_encode(b.t, s, STR_LIT("hello  world hellohellohellohellohellohello"), &ids);
        fired = fault_disarm();
        CHECK_EQ(rc, fired ? RAG_ENOMEM : RAG_OK);
        tokenizer_scratch_free(s);
        buf_clear(&ids);
    }
    built_clear(&b);
}

/* A megabyte without a space must not cost more for each byte than a line does. */
TEST(encode_is_linear)
{
    struct str pieces[N_SP], words[N_BERT];
    double scores[N_SP];
    struct tokenizer_spec sp = sp_spec(pieces, scores), wp = bert_spec(words);
    struct built a = build(&sp), b = build(&wp);
    size_t n = 1 << 20;
    char *text = mem_alloc(MEM_MISC, n);
    memset(text, 'a', n);
    struct tokenizer_scratch *s;
    struct buf ids;
    buf_init(&ids, MEM_MISC);
    CHECK_OK(tokenizer_scratch_new(&s));
    CHECK_OK(tokenizer_encode(a.t, s, str_make(text, n), &ids));
    CHECK_EQ(ids.len / 4, n + 1);
    buf_reset(&ids);
    CHECK_OK(tokenizer_encode(b.t, s, str_make(text, n), &ids));
    CHECK_EQ(ids.len / 4, 1);
    tokenizer_scratch_free(s);
    buf_clear(&ids);
    mem_free(MEM_MISC, text);
    built_clear(&a);
    built_clear(&b);
}

/* ---- tokenizer.json --------------------------------------------------------------------------------------- */
#define BERT_HEAD                                                                                            \
    "{\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,"        \
    "\"strip_accents\":null,\"lowercase\":true},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
#define BERT_POST                                                                                            \
    "\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",3],\"cls\":[\"[CLS]\",2]},"
#define BERT_VOCAB                                                                                           \
    "\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":100,"         \
    "\"vocab\":{\"[PAD]\":0,\"[UNK]\":1,\"[CLS]\":2,\"[SEP]\":3,\"hello\":4,\"##s\":6}}}"
#define SP_HEAD(norm, pre) "{\"normalizer\":" norm ",\"pre_tokenizer\":" pre ","
#define SP_POST                                                                                                          \
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}}," \
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"</s>\",\"type_id\":0}}],"                   \
    "\"special_tokens\":{\"<s>\":{\"ids\":[0]},\"</s>\":{\"ids\":[1]}}},"
#define SP_VOCAB                                                                                             \
    "\"model\":{\"type\":\"Unigram\",\"unk_id\":2,\"vocab\":[[\"<s>\",0],[\"</s>\",0],[\"<unk>\",0.0],"      \
    "[\"\\u2581a\",-1.5],[\"a\",-2e0],[\"k\",-7.4715776443481445]]}}"
#define METASPACE "{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\",\"add_prefix_space\":true}"

static rag_code from_json(const char *json, struct buf *block)
{
    struct rag_err err = {0};
    buf_init(block, MEM_MISC);
    rag_code rc = tokenizer_from_json(str_of(json), block, &err);
    CHECK((rc != RAG_OK) == (err.msg[0] != 0));
    return rc;
}

TEST(json_describes_wordpiece)
{
    static const char *const files[] = {
        BERT_HEAD BERT_POST "\"model\":{\"type\":\"WordPiece\"," BERT_VOCAB,
        BERT_HEAD BERT_POST "\"model\":{" BERT_VOCAB, /* as old files are */
    };
    for (size_t i = 0; i < 2; i++) {
        struct buf block;
        struct tokenizer *t;
        CHECK_OK(from_json(files[i], &block));
        CHECK_OK(tokenizer_open(buf_str(&block), &t, NULL));
        CHECK_EQ(tokenizer_vocabulary(t), 7);
        CHECK_EQ(tokenizer_first(t), 2);
        CHECK_EQ(tokenizer_last(t), 3);
        ENCODES(t, "H\xC3\xA9llos", "4 6");
        tokenizer_close(t);
        buf_clear(&block);
    }
}

TEST(json_describes_unigram)
{
    static const char *const files[] = {
        SP_HEAD("null", METASPACE) SP_POST SP_VOCAB,
        SP_HEAD(
            "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Strip\"},{\"type\":\"Replace\",\"pattern\":{\"Regex\":"
            "\" {2,}\"},\"content\":\" \"}]}",
            "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"}," METASPACE "]}")
            SP_POST SP_VOCAB,
    };
    for (size_t i = 0; i < 2; i++) {
        struct buf block;
        struct tokenizer *t;
        CHECK_OK(from_json(files[i], &block));
        CHECK_OK(tokenizer_open(buf_str(&block), &t, NULL));
        CHECK_EQ(tokenizer_last(t), 1);
        ENCODES(t, "aa aax", "3 4 3 4 2");
        double k =
            t->scores[5]; /* one unit in the last place beside the nearest double: as the library reads it */
        CHECK(k == -7.471577644348144);
        tokenizer_close(t);
        buf_clear(&block);
    }
}

TEST(json_refuses_by_name)
{
    static const struct {
        const char *json;
        rag_code rc;
    } files[] = {
        {"", RAG_EFORMAT},
        {"[]", RAG_EFORMAT},
        {"{}", RAG_EFORMAT},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}}", RAG_EUNSUPPORTED},
        {"{\"model\":{\"vocab\":{\"a\":0},\"unk_token\":\"a\"}}", RAG_EUNSUPPORTED},   /* WordLevel */
        {BERT_HEAD "\"model\":{\"type\":\"WordPiece\"," BERT_VOCAB, RAG_EUNSUPPORTED}, /* no post_processor */
        {BERT_HEAD BERT_POST "\"model\":{\"type\":\"WordPiece\",\"vocab\":[]}}", RAG_EFORMAT},
        {BERT_HEAD BERT_POST "\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":4000000}}}", RAG_EFORMAT},
        {BERT_HEAD BERT_POST "\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":2000000}}}", RAG_EFORMAT},
        {BERT_HEAD BERT_POST "\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":1,\"b\":1}}}", RAG_EFORMAT},
        {BERT_HEAD BERT_POST "\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":-1}}}", RAG_EFORMAT},
        {BERT_HEAD BERT_POST "\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0.5}}}", RAG_EFORMAT},
        {SP_HEAD("null", "null") SP_POST SP_VOCAB, RAG_EUNSUPPORTED},
        {SP_HEAD("{\"type\":\"NFKC\"}", METASPACE) SP_POST SP_VOCAB, RAG_EUNSUPPORTED},
        {SP_HEAD("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"!!\"}", METASPACE) SP_POST SP_VOCAB,
         RAG_EFORMAT},
        {SP_HEAD("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAA\"}", METASPACE) SP_POST SP_VOCAB,
         RAG_EFORMAT},
        {SP_HEAD("null", METASPACE) SP_POST
         "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"byte_fallback\":true,\"vocab\":"
         "[[\"a\",0]]}}",
         RAG_EUNSUPPORTED},
        {SP_HEAD("null", METASPACE) SP_POST
         "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"a\"]]}}",
         RAG_EFORMAT},
        {SP_HEAD("null", METASPACE) SP_POST
         "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"a\",0],[\"a\",0]]}}",
         RAG_EFORMAT},
        {SP_HEAD("null", METASPACE) SP_POST
         "\"model\":{\"type\":\"Unigram\",\"unk_id\":7,\"vocab\":[[\"a\",0]]}}",
         RAG_EFORMAT},
        {SP_HEAD("null", METASPACE) SP_POST
         "\"added_tokens\":[{\"id\":3,\"content\":\"x\",\"special\":false}]," SP_VOCAB,
         RAG_EUNSUPPORTED},
        {SP_HEAD("null", METASPACE) SP_POST
         "\"added_tokens\":[{\"id\":3,\"content\":\"x\",\"special\":true}]," SP_VOCAB,
         RAG_EFORMAT},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct buf block;
        rag_code rc = from_json(files[i].json, &block);
        if (rc != files[i].rc)
            print_error("file %zu: %s\n", i, rag_code_name(rc));
        CHECK_EQ(rc, files[i].rc);
        buf_clear(&block);
    }
}
