#include "test.h"

#include "api/multipart.h"
#include "api/request_json.h"

static struct arena arena;
static struct rag_err err;

static rag_code query(const char *body, bool search, struct query *q, bool *listing)
{
    err = (struct rag_err){0};
    rag_code rc = query_from_json(str_of(body), 1 << 18, search, &arena, q, listing, &err);
    CHECK((rc == RAG_OK) == (err.msg[0] == 0));
    return rc;
}

TEST(query_takes_its_fields_and_defaults)
{
    struct query q;
    bool listing;
    CHECK_OK(query("{\"query\":\"  年费 \"}", false, &q, &listing));
    CHECK_STR(q.text, "年费");
    CHECK_STR(q.collection, "default");
    CHECK_EQ(q.top_k, 5);
    CHECK(!listing && !q.stream && !q.explain && q.filter.n == 0);
    CHECK_OK(query(
        "{\"query\":\"a\\tb\",\"collection\":\"c\",\"user_id\":\"u\",\"top_k\":100,\"min_score\":0.5,\"stream\":true,"
        "\"explain\":true,\"cache\":null,\"filters\":null}",
        false, &q, &listing));
    CHECK_STR(q.collection, "c");
    CHECK_STR(q.user_id, "u");
    CHECK_EQ(q.top_k, 100);
    CHECK_NEAR(q.min_score, 0.5, 1e-9);
    CHECK(q.stream && q.explain);
    CHECK_OK(query("{}", true, &q, &listing));
    CHECK(listing);
    arena_clear(&arena);
}

TEST(query_names_the_field_that_is_wrong)
{
    static const struct {
        const char *body, *param;
        rag_code rc;
    } cases[] = {
        {"[]", "", RAG_EINVAL},
        {"{}", "query", RAG_EINVAL},
        {"{\"query\":null}", "query", RAG_EINVAL},
        {"{\"query\":\" \\n \"}", "query", RAG_EINVAL},
        {"{\"query\":5}", "query", RAG_EINVAL},
        {"{\"query\":\"a\\u0001\"}", "query", RAG_EINVAL},
        {"{\"QUERY\":\"a\"}", "QUERY", RAG_EINVAL},
        {"{\"query\":\"a\",\"x\":1}", "x", RAG_EINVAL},
        {"{\"query\":\"a\",\"cache\":false}", "cache", RAG_EINVAL},
        {"{\"query\":\"a\",\"overrides\":[]}", "overrides", RAG_EINVAL},
        {"{\"query\":\"a\",\"top_k\":0}", "top_k", RAG_EINVAL},
        {"{\"query\":\"a\",\"top_k\":101}", "top_k", RAG_EINVAL},
        {"{\"query\":\"a\",\"top_k\":1.5}", "top_k", RAG_EINVAL},
        {"{\"query\":\"a\",\"top_k\":\"5\"}", "top_k", RAG_EINVAL},
        {"{\"query\":\"a\",\"min_score\":-0.1}", "min_score", RAG_EINVAL},
        {"{\"query\":\"a\",\"min_score\":1.1}", "min_score", RAG_EINVAL},
        {"{\"query\":\"a\",\"stream\":1}", "stream", RAG_EINVAL},
        {"{\"query\":\"a\",\"collection\":7}", "collection", RAG_EINVAL},
        {"{\"query\":\"a\",\"filters\":[]}", "filters", RAG_EINVAL},
        {"{\"query\":\"a\",\"filters\":{\"f\":null}}", "filters.f", RAG_EINVAL},
        {"{\"query\":\"a\",\"filters\":{\"f\":[]}}", "filters.f", RAG_EINVAL},
        {"{\"query\":\"a\",\"filters\":{\"f\":[[1]]}}", "filters.f", RAG_EINVAL},
        {"{\"query\":\"a\",\"filters\":{\"f\":{}}}", "filters.f", RAG_EINVAL},
        {"{\"query\":\"a\",\"filters\":{\"f\":{\"like\":1}}}", "filters.f", RAG_EINVAL},
        {"{\"query\":\"a\",\"filters\":{\"f\":{\"gt\":true}}}", "filters.f", RAG_EINVAL},
        {"{\"query\":\"a\",\"filters\":{\"f\":{\"exists\":1}}}", "filters.f", RAG_EINVAL},
        {"{\"query\":\"a\",\"filters\":{\"f\":{\"ne\":[1]}}}", "filters.f", RAG_EINVAL},
    };
    struct query q;
    bool listing;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_EQ(query(cases[i].body, false, &q, &listing), cases[i].rc);
        CHECK_STR(str_of(err.param), cases[i].param);
    }
    CHECK_EQ(query("{\"query\":\"a\",\"stream\":true}", true, &q, &listing),
             RAG_EINVAL); /* search does not stream */
    char big[9000];
    memset(big, 'a', sizeof big);
    memcpy(big, "{\"query\":\"", 10);
    strcpy(big + sizeof big - 3, "\"}");
    CHECK_EQ(query(big, false, &q, &listing), RAG_ETOOBIG);
    arena_clear(&arena);
}

TEST(filters_become_clauses)
{
    struct query q;
    bool listing;
    CHECK_OK(query(
        "{\"query\":\"a\",\"filters\":{\"region\":[\"bj\",\"sh\"],\"fee\":{\"gte\":100,\"lt\":2.5e3},\"vip\":true,"
        "\"old\":{\"exists\":false},\"new\":{\"exists\":true},\"s\":{\"ne\":\"x\"}}}",
        false, &q, &listing));
    const struct filter_clause *c = q.filter.clauses;
    CHECK_EQ(q.filter.n, 7);
    CHECK(c[0].op == FILTER_ANY_OF && c[0].n_values == 2);
    CHECK_STR(c[0].values[1].string, "sh");
    CHECK(c[1].op == FILTER_GTE && c[2].op == FILTER_LT);
    CHECK_STR(c[2].field, "fee");
    CHECK_NEAR(c[2].values[0].number, 2500, 1e-9);
    CHECK(c[3].op == FILTER_ANY_OF && c[3].values[0].type == VALUE_BOOL);
    CHECK(c[4].op == FILTER_MISSING && c[4].n_values == 0);
    CHECK(c[5].op == FILTER_EXISTS);
    CHECK(c[6].op == FILTER_NE);
    arena_clear(&arena);
}

TEST(delete_needs_a_condition)
{
    struct filter f;
    CHECK_EQ(delete_from_json(STR_LIT("{\"filters\":{}}"), 1000, &arena, &f, &err), RAG_EINVAL);
    CHECK_EQ(delete_from_json(STR_LIT("{}"), 1000, &arena, &f, &err), RAG_EINVAL);
    CHECK_EQ(delete_from_json(STR_LIT(""), 1000, &arena, &f, &err), RAG_EINVAL);
    CHECK_OK(delete_from_json(STR_LIT("{\"filters\":{\"a\":1}}"), 1000, &arena, &f, &err));
    CHECK_EQ(f.n, 1);
    arena_clear(&arena);
}

TEST(documents_come_alone_or_in_a_batch)
{
    struct document_in *d;
    uint32_t n;
    bool batch;
    CHECK_OK(documents_from_json(
        STR_LIT(
            "{\"id\":\"a/1?#%\",\"text\":\"t\",\"metadata\":{\"k\":[1,\"x\",true],\"z\":null,\"f\":0.1}}"),
        1000, &arena, &d, &n, &batch, &err));
    CHECK(!batch && n == 1);
    CHECK_STR(d[0].id, "a/1?#%");
    CHECK_STR(d[0].metadata_json, "{\"k\":[1,\"x\",true],\"f\":0.1}");
    CHECK_OK(documents_from_json(
        STR_LIT(
            "{\"documents\":[{\"text\":\"t\"},{\"id\":\"x\"},7,{\"text\":\"t\",\"metadata\":{\"a\":{}}}]}"),
        1000, &arena, &d, &n, &batch, &err));
    CHECK(batch && n == 4);
    CHECK_OK(d[0].code);
    CHECK_EQ(d[1].code, RAG_EINVAL);
    CHECK_STR(str_of(d[1].err.param), "text");
    CHECK_EQ(d[2].code, RAG_EINVAL);
    CHECK_STR(str_of(d[3].err.param), "metadata.a");
    CHECK_EQ(documents_from_json(STR_LIT("{\"documents\":[]}"), 1000, &arena, &d, &n, &batch, &err),
             RAG_EINVAL);
    CHECK_EQ(documents_from_json(STR_LIT("{\"documents\":5}"), 1000, &arena, &d, &n, &batch, &err),
             RAG_EINVAL);
    CHECK_EQ(documents_from_json(STR_LIT("{\"documents\":[{}],\"x\":1}"), 1000, &arena, &d, &n, &batch, &err),
             RAG_EINVAL);
    CHECK_EQ(documents_from_json(STR_LIT("{\"text\":\"t\",\"id\":\"\"}"), 1000, &arena, &d, &n, &batch, &err),
             RAG_EINVAL);
    CHECK_EQ(
        documents_from_json(STR_LIT("{\"text\":\"t\",\"id\":\"a\\nb\"}"), 1000, &arena, &d, &n, &batch, &err),
        RAG_EINVAL);
    CHECK_EQ(documents_from_json(STR_LIT("{\"text\":\" \"}"), 1000, &arena, &d, &n, &batch, &err),
             RAG_EINVAL);
    arena_clear(&arena);
}

TEST(collection_names_hold_no_path_tricks)
{
    static const char *const bad[] = {"", ".", "..", "a/b", "a b", "年", "../x", "a\\b", "%2e"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!collection_name_ok(str_of(bad[i])));
    char name[66];
    memset(name, 'a', sizeof name);
    CHECK(collection_name_ok(str_make(name, 64)));
    CHECK(!collection_name_ok(str_make(name, 65)));
    CHECK(collection_name_ok(STR_LIT("A-z_0.9")));
}

TEST(query_survives_each_failed_allocation)
{
    bool fired = true;
    for (unsigned nth = 1; fired; nth++) {
        struct arena a = {0};
        struct query q;
        bool listing;
        fault_arm_alloc(nth);
        rag_code rc = query_from_json(STR_LIT("{\"query\":\"a\",\"filters\":{\"a\":[1,2],\"b\":{\"gt\":1}}}"),
                                      1000, false, &a, &q, &listing, &err);
        fired = fault_disarm();
        CHECK_EQ(rc, fired ? RAG_ENOMEM : RAG_OK);
        arena_clear(&a);
    }
}

static rag_code multipart(const char *type, struct str body, struct multipart_part **p, uint32_t *n)
{
    return multipart_parse(type, body, &arena, p, n, &err);
}

TEST(multipart_gives_the_bytes_of_each_part)
{
    static const char body[] =
        "preamble\r\n--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a \\\"b;c.csv\"\r\n"
        "Content-Type: text/csv\r\n\r\na,b\r\n--X\r\n1,2\r\n\r\n--XX\r\ncontent-disposition: form-data; name=id\r\n\r\n"
        "\r\n--XX--\r\nepilogue";
    struct multipart_part *p;
    uint32_t n;
    CHECK_OK(multipart("multipart/form-data; charset=utf-8; boundary=\"XX\"", str_make(body, sizeof body - 1),
                       &p, &n));
    CHECK_EQ(n, 2);
    CHECK_STR(p[0].name, "file");
    CHECK_STR(p[0].filename, "a \"b;c.csv");
    CHECK_STR(p[0].value, "a,b\r\n--X\r\n1,2\r\n");
    CHECK_STR(p[1].name, "id");
    CHECK_STR(p[1].value, "");
    CHECK(p[1].filename.ptr == NULL);
    for (size_t cut = 0; cut < sizeof body - 13;
         cut++) /* every cut before the end mark is an error, none a crash */
        CHECK_EQ(multipart("multipart/form-data; boundary=XX", str_make(body, cut), &p, &n), RAG_EINVAL);
    CHECK_EQ(multipart("multipart/form-data", str_of(body), &p, &n), RAG_EINVAL);
    CHECK_EQ(multipart("multipart/form-data; boundary=", str_of(body), &p, &n), RAG_EINVAL);
    CHECK_EQ(multipart("multipart/form-data; boundary=YY", str_of(body), &p, &n), RAG_EINVAL);
    CHECK_EQ(multipart("multipart/form-data; boundary=XX",
                       STR_LIT("--XX\r\nContent-Disposition: form-data\r\n\r\n\r\n--XX--"), &p, &n),
             RAG_EINVAL);
    arena_clear(&arena);
}
