#include "test.h"

#include "wire/json_in.h"
#include "wire/json_out.h"
#include "wire/sse.h"

static void check_escape(struct str in, const char *want)
{
    struct buf b;
    char back[64];
    buf_init(&b, MEM_MISC);
    json_escape(&b, in);
    CHECK_STR(buf_str(&b), want);
    size_t n = json_unescape(buf_str(&b), back);
    CHECK(str_eq(str_make(back, n), in));
    buf_clear(&b);
}

TEST(escape_takes_what_json_forbids_and_nothing_else)
{
    check_escape(STR_LIT("plain 年费 ok"), "plain 年费 ok");
    check_escape(STR_LIT("a\"b\\c\n\t\r"), "a\\\"b\\\\c\\n\\t\\r");
    check_escape(STR_LIT("\x01\x1f\x7f"), "\\u0001\\u001f\\u007f");
    check_escape(STR_LIT(""), "");
}

TEST(escape_is_right_at_every_place_of_a_word)
{
    static const char bad[] = {'"', '\\', '\n', 0x1f, 0x7f};
    for (size_t at = 0; at < 20; at++)
        for (size_t k = 0; k < sizeof bad; k++) {
            char text[20], back[20];
            struct buf b;
            memset(text, 'x', sizeof text);
            text[at] = bad[k];
            if (at)
                text[at - 1] = (char)0xe5; /* high bytes beside it must not hide it */
            buf_init(&b, MEM_MISC);
            json_escape(&b, str_make(text, sizeof text));
            CHECK(b.len == sizeof text + (bad[k] < 0x20 && bad[k] != '\n' ? 5 : bad[k] == 0x7f ? 5 : 1));
            CHECK_EQ(json_unescape(buf_str(&b), back), sizeof text);
            CHECK(memcmp(back, text, sizeof text) == 0);
            buf_clear(&b);
        }
}

TEST(writer_puts_commas_where_they_are_due)
{
    struct buf b;
    buf_init(&b, MEM_MISC);
    json_add_open(&b, '{');
    json_add_key(&b, "a");
    json_add_open(&b, '[');
    json_add_u64(&b, 0);
    json_add_u64(&b, UINT64_MAX);
    json_add_string(&b, STR_LIT("{"));
    json_add_open(&b, '{');
    json_add_close(&b, '}');
    json_add_null(&b);
    json_add_close(&b, ']');
    json_add_key(&b, "b");
    json_add_bool(&b, true);
    json_add_raw(&b, STR_LIT("\"c\":1"));
    json_add_key(&b, "t");
    json_add_time_ms(&b, 1767225600123);
    json_add_close(&b, '}');
    CHECK_STR(
        buf_str(&b),
        "{\"a\":[0,18446744073709551615,\"{\",{},null],\"b\":true,\"c\":1,\"t\":\"2026-01-01T00:00:00.123Z\"}");
    buf_clear(&b);
}

TEST(numbers_print_short_and_right)
{
    static const struct {
        double v;
        unsigned decimals;
        const char *want;
    } fixed[] = {{0, 4, "0"},          {1, 4, "1"},       {0.5, 4, "0.5"}, {0.12345, 4, "0.1235"},
                 {-0.25, 2, "-0.25"},  {-0.0001, 2, "0"}, {1e300, 3, "0"}, {(double)NAN, 3, "0"},
                 {12.999999, 3, "13"}, {3.01, 2, "3.01"}};
    struct buf b;
    buf_init(&b, MEM_MISC);
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        buf_reset(&b);
        json_add_fixed(&b, fixed[i].v, fixed[i].decimals);
        CHECK_STR(buf_str(&b), fixed[i].want);
    }
    buf_reset(&b);
    json_add_open(&b, '[');
    json_add_double(&b, 0.1);
    json_add_double(&b, 2.5);
    json_add_double(&b, 1e21);
    CHECK_STR(buf_str(&b), "[0.1,2.5,1e+21");
    buf_clear(&b);
}

TEST(event_is_one_line_of_json)
{
    struct buf b;
    buf_init(&b, MEM_MISC);
    sse_begin(&b, "token");
    json_add_open(&b, '{');
    json_add_key(&b, "text");
    json_add_string(&b, STR_LIT("a\nb"));
    json_add_close(&b, '}');
    sse_end(&b);
    CHECK_STR(buf_str(&b), "event: token\ndata: {\"text\":\"a\\nb\"}\n\n");
    buf_clear(&b);
}

static rag_code parse(struct str s)
{
    json_t *v;
    struct rag_err err = {0};
    rag_code rc = json_in_parse(s, 1000, &v, &err);
    CHECK((v == NULL) == (rc != RAG_OK));
    CHECK((rc == RAG_OK) == (err.msg[0] == 0));
    json_decref(v);
    return rc;
}

TEST(parser_refuses_what_rfc_8259_does_not_know)
{
    static const char *const bad[] = {"",
                                      "  ",
                                      "{",
                                      "{\"a\":1}x",
                                      "{\"a\":1,\"a\":2}",
                                      "{'a':1}",
                                      "[1,]",
                                      "01",
                                      "+1",
                                      ".5",
                                      "NaN",
                                      "Infinity",
                                      "1e999",
                                      "99999999999999999999",
                                      "\"\\u0000\"",
                                      "\"\\ud800\"",
                                      "\"\xff\"",
                                      "\"\xc0\x80\"",
                                      "\"a\nb\"",
                                      "[1]//c",
                                      "{\"\\u0000\":1}",
                                      "\xef\xbb\xbf{}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_EQ(parse(str_of(bad[i])), RAG_EINVAL);
    CHECK_EQ(parse(str_make("{\"a\":\0}", 7)), RAG_EINVAL);
    CHECK_OK(parse(STR_LIT("{\"a\":[1,2.5,true,null,\"年\\n\"]}")));
    CHECK_OK(parse(STR_LIT(" 3 ")));
}

TEST(parser_bounds_depth_and_size)
{
    char deep[400];
    for (int n = 63; n <= 66; n++) {
        memset(deep, '[', (size_t)n);
        memset(deep + n, ']', (size_t)n);
        CHECK_EQ(parse(str_make(deep, 2 * (size_t)n)), n <= JSON_MAX_DEPTH ? RAG_OK : RAG_EINVAL);
    }
    memset(deep, '[', sizeof deep);
    deep[0] = '"';
    deep[sizeof deep - 1] = '"';
    CHECK_OK(parse(str_make(deep, sizeof deep))); /* brackets in a string are text */
    char big[1001];
    memset(big, ' ', sizeof big);
    big[0] = '1';
    CHECK_EQ(parse(str_make(big, 1001)), RAG_ETOOBIG);
    CHECK_OK(parse(str_make(big, 1000)));
}

TEST(print_gives_back_what_was_parsed)
{
    static const char text[] =
        "{\"b\":[1,-2,2.5,true,false,null,\"x\\\"y\"],\"a\":{\"n\":-9223372036854775808},\"e\":[],\"o\":{}}";
    json_t *v;
    struct buf b;
    buf_init(&b, MEM_MISC);
    CHECK_OK(json_in_parse(str_of(text), 1000, &v, NULL));
    json_in_print(&b, v);
    CHECK_STR(buf_str(&b), text);
    json_decref(v);
    buf_clear(&b);
}
