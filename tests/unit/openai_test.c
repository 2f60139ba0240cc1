#include "test.h"

#include "wire/json_in.h"
#include "wire/openai_int.h"
#include "wire/sse_read.h"

static struct arena arena;

static struct chat_chunk parse(const char *json)
{
    struct chat_chunk c;
    CHECK_OK(openai_chunk_parse(str_of(json), &arena, &c));
    return c;
}

static void check_same(const struct chat_chunk *a, const struct chat_chunk *b)
{
    CHECK(str_eq(a->content, b->content) && str_eq(a->finish, b->finish) && str_eq(a->error, b->error));
    CHECK_EQ(a->reasoning, b->reasoning);
    CHECK_EQ(a->is_error, b->is_error);
    CHECK_EQ(a->usage.given, b->usage.given);
    CHECK_EQ(a->usage.prompt, b->usage.prompt);
    CHECK_EQ(a->usage.cached, b->usage.cached);
    CHECK_EQ(a->usage.completion, b->usage.completion);
}

/* One that the scan has to take, and as the tree does. */
static struct chat_chunk scan(const char *json)
{
    struct chat_chunk a, b;
    CHECK_OK(openai_chunk_scan(str_of(json), &arena, &a));
    CHECK_OK(openai_chunk_tree(str_of(json), &arena, &b));
    check_same(&a, &b);
    return a;
}

/* One that the scan has to leave to the tree. */
static struct chat_chunk tree(const char *json)
{
    struct chat_chunk c;
    CHECK_EQ(openai_chunk_scan(str_of(json), &arena, &c), RAG_EUNSUPPORTED);
    return parse(json);
}

static void check_usage(const struct chat_chunk *c, uint32_t prompt, uint32_t cached, uint32_t completion)
{
    CHECK(c->usage.given);
    CHECK_EQ(c->usage.prompt, prompt);
    CHECK_EQ(c->usage.cached, cached);
    CHECK_EQ(c->usage.completion, completion);
}

#define DELTA(d)   "{\"choices\":[{\"index\":0,\"delta\":" d ",\"finish_reason\":null}]}"
#define CONTENT(s) DELTA("{\"content\":\"" s "\"}")

TEST(usual_chunks_are_scanned)
{
    struct chat_chunk c = scan(
        "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-4o-mini\","
        "\"service_tier\":\"default\",\"system_fingerprint\":\"fp_1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":"
        "\"assistant\",\"content\":\"\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null,"
        "\"obfuscation\":\"x1\"}");
    CHECK_EQ(c.content.len + c.finish.len, 0);
    CHECK(!c.usage.given && !c.reasoning && !c.done && !c.is_error);

    c = scan("{\"id\": \"1\", \"object\": \"chat.completion.chunk\", \"choices\": [{\"index\": 0, \"delta\": "
             "{\"content\": \"年费\"}, \"finish_reason\": \"stop\", \"stop_reason\": null}], \"usage\": "
             "{\"prompt_tokens\": 10, \"total_tokens\": 12, \"completion_tokens\": 2}}");
    CHECK_STR(c.content, "年费");
    CHECK_STR(c.finish, "stop");
    check_usage(&c, 10, 0, 2);

    c = scan("{\"choices\":[],\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":7,\"total_tokens\":107,"
             "\"prompt_tokens_details\":{\"cached_tokens\":64},\"prompt_cache_hit_tokens\":64,"
             "\"prompt_cache_miss_tokens\":36,\"completion_tokens_details\":{\"reasoning_tokens\":3}}}");
    check_usage(&c, 100, 64, 7);
}

TEST(what_is_read_over_may_be_empty_but_not_full)
{
    CHECK_STR(
        scan("{\"choices\":[{\"content_filter_results\":{},\"logprobs\":null,\"delta\":{\"tool_calls\":[ ],"
             "\"content\":\"a\"}}],\"input_sensitive\":false}")
            .content,
        "a");
    CHECK_STR(tree("{\"choices\":[{\"content_filter_results\":{\"hate\":{}},\"delta\":{\"content\":\"a\"}}]}")
                  .content,
              "a");
    CHECK_STR(tree("{\"choices\":[{\"delta\":{\"tool_calls\":[7],\"content\":\"a\"}}]}").content, "a");
}

TEST(reasoning_is_told_from_text)
{
    CHECK(scan(DELTA("{\"content\":null,\"reasoning_content\":\"\\n嗯\"}")).reasoning);
    CHECK(scan(DELTA("{\"role\":\"assistant\",\"content\":\"\",\"reasoning\":\"hm\"}")).reasoning);
    CHECK(!scan(DELTA("{\"content\":null,\"reasoning_content\":\"\"}")).reasoning);
    CHECK(!scan(DELTA("{\"content\":\"a\",\"reasoning_content\":null}")).reasoning);
    CHECK(!scan(DELTA("{\"content\":\"a\",\"reasoning_content\":\"b\"}")).reasoning);
}

TEST(text_is_unescaped)
{
    CHECK_STR(scan(CONTENT("a\\n\\t\\r\\b\\f\\/\\\\\\\"b")).content, "a\n\t\r\b\f/\\\"b");
    CHECK_STR(scan(CONTENT("\\u0041\\u00e9\\u5e74\\uD83D\\uDE00")).content, "A\u00e9\u5e74\U0001F600");
    CHECK_STR(scan(CONTENT("\\u007F\\u0080\\u07FF\\u0800\\uFFFF\\uDBFF\\uDFFF")).content,
              "\x7f\xC2\x80\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF\xF4\x8F\xBF\xBF");
}

TEST(bad_text_costs_characters_not_the_stream)
{
    CHECK_STR(tree(CONTENT("a\\uD83Db")).content, "a\uFFFDb");
    CHECK_STR(tree(CONTENT("\\uDE00\\uD83D")).content, "\uFFFD\uFFFD");
    CHECK_STR(tree(CONTENT("\\uD83D\\uD83D\\uDE00")).content, "\uFFFD\U0001F600");
    CHECK_STR(tree(CONTENT("a\\u0000b")).content, "a\uFFFDb");
    CHECK_STR(tree(CONTENT("a\xff\x80z\xE5\xB9")).content, "a\uFFFDz\uFFFD");
    CHECK_STR(tree(CONTENT("\xED\xA0\x80\xC0\xAF\xF4\x90\x80\x80")).content, "\uFFFD\uFFFD\uFFFD");
    CHECK_STR(scan(CONTENT("\\\\u0000\\\\uD83D")).content, "\\u0000\\uD83D");
}

TEST(rare_shapes_are_read_as_well)
{
    CHECK_STR(
        tree(DELTA("{\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"},7]}"))
            .content,
        "ab");
    CHECK(tree(DELTA("{\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"text\":\"a\"}]}]}")).reasoning);
    CHECK_STR(tree("{\"choices\":[{\"message\":{\"content\":\"whole\"}}]}").content, "whole");
    CHECK_STR(tree("{\"choices\":[{\"text\":\"old\",\"finish_reason\":\"length\"}]}").content, "old");
    CHECK_STR(tree("{\"choices\":[{\"delta\":null,\"finish_reason\":\"stop\"}]}").finish, "stop");
    CHECK_STR(tree("{\"choices\":[{\"delta\":{\"content\":\"a\"}},{\"delta\":{\"content\":\"b\"}}]}").content,
              "a");
    CHECK_EQ(tree(DELTA("{\"content\":7}")).content.len, 0);
    CHECK_EQ(tree("{\"id\":\"1\",\"object\":\"chat.completion.chunk\"}").content.len, 0);
    CHECK_EQ(tree("{\"id\":\"1\",\"choices\":null}").content.len, 0);
    struct chat_chunk c =
        tree("{\"choices\":[{\"finish_reason\":\"stop\",\"index\":0,\"delta\":{}}],\"model\":\"m\","
             "\"usage\":{\"completion_tokens\":5,\"prompt_tokens\":9,\"total_tokens\":14},"
             "\"timings\":{\"cache_n\":0,\"prompt_n\":9,\"prompt_ms\":1.25e2}}");
    check_usage(&c, 9, 0, 5);
    c = tree(
        "{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\",\"usage\":{\"prompt_tokens\":3,"
        "\"completion_tokens\":4,\"cached_tokens\":2}}]}");
    check_usage(&c, 3, 2, 4);
}

TEST(done_and_blank_data_are_no_errors)
{
    CHECK(parse("[DONE]").done);
    CHECK(parse(" [DONE] ").done);
    CHECK(!parse("").done);
    CHECK(!parse("  ").done);
    struct chat_chunk c;
    CHECK_OK(openai_chunk_parse((struct str){0}, &arena, &c));
}

TEST(counts_are_believed_only_when_they_can_be_meant)
{
    struct chat_chunk c =
        tree("{\"choices\":[],\"usage\":{\"prompt_tokens\":12.0,\"completion_tokens\":1e1}}");
    check_usage(&c, 12, 0, 10);
    c = scan(
        "{\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1,\"cached_tokens\":900}}");
    check_usage(&c, 5, 5, 1);
    c = scan("{\"choices\":[],\"usage\":{\"prompt_tokens\":1000000000,\"completion_tokens\":0,"
             "\"prompt_tokens_details\":null}}");
    check_usage(&c, 1000000000, 0, 0);
    static const char *const bad[] = {
        "{\"prompt_tokens\":-1,\"completion_tokens\":1}",
        "{\"prompt_tokens\":1.5,\"completion_tokens\":1}",
        "{\"prompt_tokens\":\"1\",\"completion_tokens\":1}",
        "{\"prompt_tokens\":1000000001,\"completion_tokens\":1}",
        "{\"prompt_tokens\":1}",
        "{}",
        "{\"prompt_tokens\":1,\"completion_tokens\":null}",
        "{\"prompt_tokens\":1e300,\"completion_tokens\":1}",
        "7",
        "{\"prompt_tokens\":999999999999999999,\"completion_tokens\":1}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char json[200];
        snprintf(json, sizeof json, "{\"choices\":[],\"usage\":%s}", bad[i]);
        CHECK(!parse(json).usage.given);
    }
}

TEST(errors_within_a_stream_are_seen)
{
    static const struct {
        const char *json, *message;
    } t[] = {
        {"{\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\",\"code\":503}}", "overloaded"},
        {"{\"error\":\"out of memory\"}", "out of memory"},
        {"{\"error\":{\"code\":\"busy\"}}", "busy"},
        {"{\"error\":{}}", ""},
        {"{\"object\":\"error\",\"message\":\"too long\",\"code\":400}", "too long"},
        {"{\"code\":50505,\"message\":\"Model service overloaded.\",\"data\":null}",
         "Model service overloaded."},
        {"{\"id\":\"1\",\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"error\":{\"message\":\"gone\"}}",
         "gone"},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct chat_chunk c = tree(t[i].json);
        CHECK(c.is_error);
        CHECK_STR(c.error, t[i].message);
    }
    CHECK(!tree("{\"choices\":[],\"error\":null}").is_error);
    CHECK(!tree("{\"choices\":[],\"error\":\"\"}").is_error);
    CHECK(!tree("{\"choices\":[],\"message\":\"hello\"}").is_error);
}

TEST(what_is_no_chunk_is_refused)
{
    static const char *const bad[] = {
        "7",
        "[]",
        "\"a\"",
        "null",
        "{}",
        "{\"a\":1}",
        "{\"choices\":7}",
        "{\"choices\":{}}",
        "{\"choices\":[7]}",
        "{\"choices\":[null]}",
        "{\"choices\":[]",
        "{\"choices\":[]}x",
        "{\"choices\":[],}",
        "{\"choices\":[],\"id\":01}",
        "{\"choices\":[],\"id\":\"\\x\"}",
        "{\"choices\":[],\"id\":\"a\tb\"}",
        "{\"choices\":[],\"id\":nul}",
        "{\"choices\":[],\"choices\":[]}",
        "{\"choices\":[{\"delta\":{\"content\":\"a",
        "{\"choices\":[],\"id\":\"\\u00g0\"}",
        "\xff{\"choices\":[]}",
        "{\"choices\":[],\"created\":1e999}",
        "[DONE",
    };
    struct chat_chunk c;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_EQ(openai_chunk_parse(str_of(bad[i]), &arena, &c), RAG_EFORMAT);
}

TEST(every_cut_of_a_chunk_is_refused)
{
    static const char json[] =
        "{\"id\":\"a\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"年\\u5e74\\n\"}}]}";
    struct chat_chunk c;
    for (size_t n = 1; n < sizeof json - 1; n++) {
        char *copy = mem_strndup(MEM_MISC, json, n);
        CHECK_EQ(openai_chunk_parse(str_make(copy, n), &arena, &c), RAG_EFORMAT);
        mem_free(MEM_MISC, copy);
    }
}

TEST(depth_and_size_are_bounded)
{
    struct buf b = {0};
    struct chat_chunk c;
    buf_addz(&b, "{\"choices\":[],\"x\":");
    for (int i = 0; i < 100000; i++)
        buf_addc(&b, '[');
    CHECK_EQ(openai_chunk_parse(buf_str(&b), &arena, &c), RAG_EFORMAT);
    buf_reset(&b);
    buf_addz(&b, "{\"choices\":[],\"id\":\"");
    while (b.len < SSE_MAX_EVENT_BYTES)
        buf_addc(&b, 'x');
    buf_addz(&b, "\"}");
    CHECK_EQ(openai_chunk_parse(buf_str(&b), &arena, &c), RAG_EFORMAT);
    buf_clear(&b);
}

TEST(a_failed_allocation_is_told)
{
    static const char *const chunks[] = {CONTENT("a"), DELTA("{\"content\":[{\"text\":\"b\"}]}"),
                                         "{\"error\":\"e\"}"};
    for (size_t i = 0; i < 3; i++) {
        bool fired = true;
        for (unsigned nth = 1; fired; nth++) {
            struct arena a = {0};
            struct chat_chunk c;
            fault_arm_alloc(nth);
            rag_code rc = openai_chunk_parse(str_of(chunks[i]), &a, &c);
            fired = fault_disarm();
            CHECK_EQ(rc, fired ? RAG_ENOMEM : RAG_OK);
            arena_clear(&a);
        }
    }
}

TEST(the_request_is_what_the_protocol_asks)
{
    struct chat_message m[] = {{"system", STR_LIT("rules \"1\"")}, {"user", STR_LIT("年费\n?")}};
    struct chat_request r = {
        .model = "m/1", .messages = m, .n_messages = 2, .max_tokens = 300, .temperature = 0.3f};
    struct buf b = {0};
    openai_request_write(&b, &r);
    CHECK_STR(buf_str(&b),
              "{\"model\":\"m/1\",\"messages\":[{\"role\":\"system\",\"content\":\"rules \\\"1\\\"\"},"
              "{\"role\":\"user\",\"content\":\"年费\\n?\"}],\"stream\":true,\"stream_options\":"
              "{\"include_usage\":true},\"max_tokens\":300,\"temperature\":0.3}");
    buf_reset(&b);
    r.cache_control = true;
    r.temperature = -1;
    r.max_tokens = 0;
    openai_request_write(&b, &r);
    CHECK_STR(
        buf_str(&b),
        "{\"model\":\"m/1\",\"messages\":[{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":"
        "\"rules \\\"1\\\"\",\"cache_control\":{\"type\":\"ephemeral\"}}]},{\"role\":\"user\","
        "\"content\":\"年费\\n?\"}],\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
    json_t *root;
    CHECK_OK(json_in_parse(buf_str(&b), 4096, &root, NULL));
    json_decref(root);
    buf_clear(&b);
}

TEST(error_bodies_are_understood)
{
    static const struct {
        long status;
        const char *body;
        enum chat_error meaning;
        const char *message;
    } t[] = {
        {429,
         "{\"error\":{\"message\":\"You exceeded your current quota, please check your plan and billing details.\","
         "\"type\":\"insufficient_quota\",\"param\":null,\"code\":\"insufficient_quota\"}}",
         CHAT_ERROR_QUOTA, "You exceeded your current quota, please check your plan and billing details."},
        {402, "{\"error\":{\"message\":\"Insufficient Balance\",\"type\":\"unknown_error\"}}",
         CHAT_ERROR_QUOTA, "Insufficient Balance"},
        {402, "", CHAT_ERROR_QUOTA, ""},
        {403, "{\"code\":30001,\"message\":\"Sorry, your account balance is insufficient\",\"data\":null}",
         CHAT_ERROR_QUOTA, "Sorry, your account balance is insufficient"},
        {429, "{\"error\":{\"code\":\"1113\",\"message\":\"您的账户已欠费，请充值后重试\"}}",
         CHAT_ERROR_QUOTA, "您的账户已欠费，请充值后重试"},
        {400, "{\"error\":{\"code\":\"Arrearage\",\"message\":\"Access denied.\"}}", CHAT_ERROR_QUOTA,
         "Access denied."},
        {403, "{\"message\":\"余额不足\"}", CHAT_ERROR_QUOTA, "余额不足"},
        {0, "{\"error\":{\"code\":402,\"message\":\"no\"}}", CHAT_ERROR_QUOTA, "no"},
        {429, "{\"error\":{\"message\":\"Rate limit reached: too many tokens per min\"}}", CHAT_ERROR_RATE,
         "Rate limit reached: too many tokens per min"},
        {429, "", CHAT_ERROR_RATE, ""},
        {200, "{\"error\":{\"code\":\"429\",\"message\":\"slow down\"}}", CHAT_ERROR_RATE, "slow down"},
        {400,
         "{\"error\":{\"message\":\"This model's maximum context length is 8192 tokens.\","
         "\"code\":\"context_length_exceeded\"}}",
         CHAT_ERROR_CONTEXT, "This model's maximum context length is 8192 tokens."},
        {400,
         "{\"error\":{\"code\":400,\"message\":\"the request exceeds the available context size\",\"type\":"
         "\"exceed_context_size_error\"}}",
         CHAT_ERROR_CONTEXT, "the request exceeds the available context size"},
        {400, "{\"object\":\"error\",\"message\":\"prompt is too long: 9000\",\"code\":400}",
         CHAT_ERROR_CONTEXT, "prompt is too long: 9000"},
        {400, "{\"error\":{\"code\":\"1261\",\"message\":\"Prompt 超长\"}}", CHAT_ERROR_CONTEXT,
         "Prompt 超长"},
        {500, "{\"error\":\"boom\"}", CHAT_ERROR_OTHER, "boom"},
        {422, "{\"detail\":[{\"loc\":[\"body\"],\"msg\":\"field required\"}]}", CHAT_ERROR_OTHER,
         "field required"},
        {404, "{\"detail\":\"Not Found\"}", CHAT_ERROR_OTHER, "Not Found"},
        {400, "[{\"error\":{\"message\":\"in a list\"}}]", CHAT_ERROR_OTHER, "in a list"},
        {503, "no healthy upstream\r\n\tload  balancer \x01", CHAT_ERROR_OTHER,
         "no healthy upstream load balancer"},
        {400, "blocked: what is the balance of my card", CHAT_ERROR_OTHER,
         "blocked: what is the balance of my card"},
        {503, "load balancer has insufficient hosts", CHAT_ERROR_OTHER,
         "load balancer has insufficient hosts"},
        {400, "the load balancer is unbalanced", CHAT_ERROR_OTHER, "the load balancer is unbalanced"},
        {500, "\"just text\"", CHAT_ERROR_OTHER, "just text"},
        {500, "{\"error\":{\"code\":\"E1\"}}", CHAT_ERROR_OTHER, "E1"},
        {500, "{}", CHAT_ERROR_OTHER, ""},
        {502,
         "a\xff\xfe"
         "b",
         CHAT_ERROR_OTHER, "a\uFFFD\uFFFDb"},
        {500, "{\"error\":{\"message\":\"a\\nb\\u0000\"}}", CHAT_ERROR_OTHER, "a b\uFFFD"},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        char message[256];
        enum chat_error got = openai_error_parse(t[i].status, str_of(t[i].body), message);
        if (got != t[i].meaning)
            print_error("body %zu\n", i);
        CHECK_EQ(got, t[i].meaning);
        CHECK_STR(str_of(message), t[i].message);
    }
}

TEST(a_long_message_ends_at_a_character)
{
    char message[256], body[3001];
    for (size_t i = 0; i < 3000; i += 3)
        memcpy(body + i, "年", 3);
    body[3000] = 0;
    CHECK_EQ(openai_error_parse(500, str_make(body, 3000), message), CHAT_ERROR_OTHER);
    CHECK_EQ(strlen(message), 198);
    CHECK_EQ(openai_error_parse(500, str_make(body + 1, 2999), message), CHAT_ERROR_OTHER);
    CHECK_EQ(strlen(message), 198); /* one replacement, 65 whole ones */
    CHECK_EQ(openai_error_parse(429, (struct str){0}, message), CHAT_ERROR_RATE);
    CHECK_EQ(message[0], 0);
}

TEST(the_arena_is_given_back) /* the last one */
{
    arena_clear(&arena);
}
