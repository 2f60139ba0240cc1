#include "test.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "pipeline/labelled.h"
#include "sys/file.h"
#include "temp_dir.h"

static struct arena arena;
static struct rag_err err;
static struct labelled_set set;
static struct str json;

static rag_code parse(enum labelled_form form, const char *body)
{
    err = (struct rag_err){0};
    return labelled_parse(form, str_of(body), STR_LIT("default"), 1234, &arena, &set, &json, &err);
}

TEST(lines_of_the_sample_become_a_set)
{
    CHECK_OK(parse(LABELLED_LINES, "{\"id\":\"q1\",\"text\":\" 年费？ \",\"lang\":\"zh\",\"kind\":\"plain\",\"complexity\":\"simple\","
                                   "\"relevant\":[{\"doc\":\"zh/a.md\",\"must_contain\":[\"3600元\"]},\"b.md\"],\"answer\":\"3600元\"}\r\n"
                                   "\n"
                                   "{\"text\":\"q\",\"relevant\":[],\"answer\":\"\",\"need\":\"all\"}"));
    CHECK_EQ(set.questions, 2);
    CHECK_STR(json, "{\"collection\":\"default\",\"count\":2,\"updated_ms\":1234,\"questions\":["
                    "{\"query\":\"年费？\",\"relevant\":[{\"doc\":\"zh/a.md\",\"must_contain\":[\"3600元\"]},{\"doc\":\"b.md\"}],"
                    "\"answerable\":true,\"answer\":\"3600元\",\"id\":\"q1\",\"kind\":\"plain\",\"lang\":\"zh\",\"complexity\":\"simple\"},"
                    "{\"query\":\"q\",\"relevant\":[],\"answerable\":false,\"need\":\"all\"}]}\n");
    arena_clear(&arena);
}

TEST(an_object_names_its_collection)
{
    CHECK_OK(parse(LABELLED_JSON, "{\"collection\":\"cards\",\"questions\":[{\"query\":\"q\",\"answer\":[\"a\",\"b\"],\"answerable\":true}]}"));
    CHECK_STR(set.collection, "cards");
    CHECK_OK(parse(LABELLED_JSON, "{\"questions\":[{\"query\":\"q\"}]}"));
    CHECK_STR(set.collection, "default");
    arena_clear(&arena);
}

TEST(what_is_wrong_is_named)
{
    static const struct {
        enum labelled_form form;
        const char *body, *param;
    } bad[] = {
        {LABELLED_JSON, "[]", ""},
        {LABELLED_JSON, "{}", "questions"},
        {LABELLED_JSON, "{\"questions\":[]}", "questions"},
        {LABELLED_JSON, "{\"questions\":{}}", "questions"},
        {LABELLED_JSON, "{\"questions\":[{\"query\":\"a\"}],\"name\":\"x\"}", "name"},
        {LABELLED_JSON, "{\"questions\":[{\"query\":\"a\"}],\"collection\":\"a/b\"}", "collection"},
        {LABELLED_JSON, "{\"questions\":[{\"query\":\"a\"},7]}", "questions[1]"},
        {LABELLED_JSON, "{\"questions\":[{\"query\":\" \"}]}", "questions[0].query"},
        {LABELLED_JSON, "{\"questions\":[{\"query\":\"a\",\"text\":\"b\"}]}", "questions[0].text"},
        {LABELLED_JSON, "{\"questions\":[{\"relevant\":[]}]}", "questions[0].query"},
        {LABELLED_JSON, "{\"questions\":[{\"query\":\"a\",\"relevent\":[]}]}", "questions[0]"},
        {LABELLED_JSON, "{\"questions\":[{\"query\":\"a\",\"relevant\":\"d\"}]}", "questions[0].relevant"},
        {LABELLED_JSON, "{\"questions\":[{\"query\":\"a\",\"relevant\":[{\"must_contain\":[]}]}]}", "questions[0].relevant.doc"},
        {LABELLED_JSON, "{\"questions\":[{\"query\":\"a\",\"relevant\":[{\"doc\":\"d\",\"x\":1}]}]}", "questions[0].relevant"},
        {LABELLED_JSON, "{\"questions\":[{\"query\":\"a\",\"relevant\":[\"d\"],\"answerable\":false}]}", "questions[0].answerable"},
        {LABELLED_JSON, "{\"questions\":[{\"query\":\"a\",\"need\":\"some\"}]}", "questions[0].need"},
        {LABELLED_JSON, "{\"questions\":[{\"query\":\"a\\u0007\"}]}", "questions[0].query"},
        {LABELLED_LINES, "{\"query\":\"a\"}\n{\"query\":", "line 2"},
        {LABELLED_LINES, "\n\n[1]", "line 3"},
        {LABELLED_LINES, "{\"query\":\"a\",\"kind\":5}", "line 1.kind"},
        {LABELLED_LINES, " \n", "questions"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_EQ(parse(bad[i].form, bad[i].body), RAG_EINVAL);
        CHECK_STR(str_of(err.param), bad[i].param);
        CHECK(err.msg[0]);
    }
    arena_clear(&arena);
}

TEST(sizes_are_bounded)
{
    struct buf b;
    buf_init(&b, MEM_MISC);
    for (int i = 0; i <= LABELLED_MAX_QUESTIONS; i++)
        buf_addz(&b, "{\"query\":\"q\"}\n");
    CHECK_EQ(labelled_parse(LABELLED_LINES, buf_str(&b), STR_LIT("default"), 1, &arena, &set, &json, &err), RAG_ETOOBIG);
    b.len -= strlen("{\"query\":\"q\"}\n");
    CHECK_OK(labelled_parse(LABELLED_LINES, buf_str(&b), STR_LIT("default"), 1, &arena, &set, &json, &err));
    while (b.len <= LABELLED_MAX_BYTES)
        buf_addz(&b, "                                                                \n");
    CHECK_EQ(labelled_parse(LABELLED_LINES, buf_str(&b), STR_LIT("default"), 1, &arena, &set, &json, &err), RAG_ETOOBIG);
    CHECK_EQ(labelled_parse(LABELLED_JSON, buf_str(&b), STR_LIT("default"), 1, &arena, &set, &json, &err), RAG_ETOOBIG);
    buf_clear(&b);
    arena_clear(&arena);
}

TEST(names_are_safe_file_names)
{
    static const char *const bad[] = {"", ".", "..", ".a", "a/b", "../a", "a b", "年", "a\\b", "%2e", "a\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!labelled_name_ok(str_of(bad[i])));
    CHECK(labelled_name_ok(STR_LIT("A-z_0.9")));
    char name[66];
    memset(name, 'a', sizeof name);
    CHECK(labelled_name_ok(str_make(name, 64)));
    CHECK(!labelled_name_ok(str_make(name, 65)));
}

TEST(a_set_is_stored_listed_read_replaced_and_deleted)
{
    bool created;
    struct labelled_set *sets, got;
    uint32_t n;
    struct buf text;
    buf_init(&text, MEM_MISC);
    temp_dir_make();
    CHECK_OK(labelled_list(dir, &arena, &sets, &n, &err));
    CHECK_EQ(n, 0);
    CHECK_EQ(labelled_get(dir, STR_LIT("b"), &arena, &got, &text, &err), RAG_ENOTFOUND);
    CHECK_EQ(labelled_delete(dir, STR_LIT("b"), &err), RAG_ENOTFOUND);
    CHECK_OK(parse(LABELLED_JSON, "{\"questions\":[{\"query\":\"q\"}]}"));
    CHECK_OK(labelled_put(dir, STR_LIT("b"), json, &created, &err));
    CHECK(created);
    CHECK_OK(labelled_put(dir, STR_LIT("a"), json, &created, &err));
    CHECK_OK(labelled_put(dir, STR_LIT("b"), json, &created, &err));
    CHECK(!created);
    CHECK_OK(labelled_list(dir, &arena, &sets, &n, &err));
    CHECK_EQ(n, 2);
    CHECK_STR(sets[0].name, "a");
    CHECK_STR(sets[1].collection, "default");
    CHECK_EQ(sets[1].questions, 1);
    CHECK_EQ(sets[1].updated_ms, 1234);
    CHECK_OK(labelled_get(dir, STR_LIT("a"), &arena, &got, &text, &err));
    CHECK_EQ(text.len, json.len - 1);
    CHECK_OK(labelled_delete(dir, STR_LIT("a"), &err));
    CHECK_OK(labelled_list(dir, &arena, &sets, &n, &err));
    CHECK_EQ(n, 1);
    buf_clear(&text);
    temp_dir_drop();
    arena_clear(&arena);
}

TEST(a_damaged_file_is_left_out_and_said)
{
    static const char *const broken[] = {
        "", "{", "{\"collection\":\"default\",\"count\":1,\"updated_ms\":1,\"questions\":[{]}",
        "{\"collection\":\"../x\",\"count\":1,\"updated_ms\":1,\"questions\":[]}",
        "{\"collection\":\"default\",\"count\":-1,\"updated_ms\":1,\"questions\":[]}",
    };
    struct labelled_set got;
    struct buf text;
    char folder[128];
    buf_init(&text, MEM_MISC);
    temp_dir_make();
    snprintf(folder, sizeof folder, "%s/labelled", dir);
    CHECK_OK(file_mkdirs(folder, 0700));
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        CHECK_OK(file_write_atomic(folder, "x.json", broken[i], strlen(broken[i]), &err));
        CHECK_EQ(labelled_get(dir, STR_LIT("x"), &arena, &got, &text, &err), RAG_ECORRUPT);
    }
    bool created;
    CHECK_OK(parse(LABELLED_JSON, "{\"questions\":[{\"query\":\"q\"}]}"));
    CHECK_OK(labelled_put(dir, STR_LIT("x"), json, &created, &err)); /* putting it again repairs it */
    CHECK_OK(labelled_get(dir, STR_LIT("x"), &arena, &got, &text, &err));
    buf_clear(&text);
    temp_dir_drop();
    arena_clear(&arena);
}

TEST(there_are_at_most_so_many_sets)
{
    bool created;
    char name[16];
    struct labelled_set *sets;
    uint32_t n;
    temp_dir_make();
    CHECK_OK(parse(LABELLED_JSON, "{\"questions\":[{\"query\":\"q\"}]}"));
    for (int i = 0; i < LABELLED_MAX_SETS; i++) {
        snprintf(name, sizeof name, "s%d", i);
        CHECK_OK(labelled_put(dir, str_of(name), json, &created, &err));
    }
    CHECK_EQ(labelled_put(dir, STR_LIT("more"), json, &created, &err), RAG_ECONFLICT);
    CHECK_OK(labelled_put(dir, STR_LIT("s7"), json, &created, &err)); /* one that is there */
    CHECK_OK(labelled_list(dir, &arena, &sets, &n, &err));
    CHECK_EQ(n, LABELLED_MAX_SETS);
    temp_dir_drop();
    arena_clear(&arena);
}

TEST(parsing_survives_each_failed_allocation)
{
    bool fired = true;
    for (unsigned nth = 1; fired && nth < 200; nth++) {
        fault_arm_alloc(nth);
        rag_code rc = parse(LABELLED_JSON, "{\"collection\":\"c\",\"questions\":[{\"query\":\"q\",\"relevant\":[\"a\"]}]}");
        fired = fault_disarm();
        CHECK_EQ(rc, fired ? RAG_ENOMEM : RAG_OK);
        arena_clear(&arena);
    }
    CHECK(!fired);
}
