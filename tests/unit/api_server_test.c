#include "test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/api_int.h"
#include "obs/log.h"

/* A server over a real data folder. */
struct world {
    char dir[64];
    struct analyzer *analyzer;
    struct knowledge *knowledge;
    struct pipeline pipeline;
    struct api_options opt;
    struct api *api;
    int64_t mem_before;
};

static void world_open(struct world *w)
{
    *w = (struct world){.dir = "/tmp/ragd-api-test-XXXXXX"};
    w->mem_before = mem_in_use(MEM_API);
    signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_OFF);
    CHECK(mkdtemp(w->dir) != NULL);
    CHECK_OK(analyzer_new(NULL, 0, &w->analyzer, NULL));
    struct knowledge_options ko = {.dir = w->dir,
                                   .chunker = {.size_tokens = 200, .overlap_tokens = 20},
                                   .analyzer = w->analyzer,
                                   .wait_ready = true};
    CHECK_OK(knowledge_open(&ko, &w->knowledge, NULL));
    w->pipeline =
        (struct pipeline){.knowledge = w->knowledge, .analyzer = w->analyzer, .profile = profile_balanced};
    w->opt = (struct api_options){
        .host = "127.0.0.1", .pipeline = &w->pipeline, .version = "test", .io_threads = 2};
}

static void world_start(struct world *w)
{
    struct rag_err err = {0};
    CHECK_OK(api_start(&w->opt, &w->api, &err));
    CHECK(api_port(w->api) != 0);
}

static void world_close(struct world *w)
{
    api_stop(w->api, 2000);
    knowledge_close(w->knowledge);
    analyzer_free(w->analyzer);
    char cmd[96];
    snprintf(cmd, sizeof cmd, "rm -rf %s", w->dir);
    CHECK_EQ(system(cmd), 0);
    CHECK_EQ(mem_in_use(MEM_API), w->mem_before);
}

static int dial(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval t = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    if (connect(fd, (struct sockaddr *)&a, sizeof a)) {
        close(fd);
        return -1;
    }
    return fd;
}

struct reply {
    int status;
    char text[1 << 16]; /* head and body */
    const char *body;
};

static void read_reply(int fd, struct reply *r)
{
    size_t n = 0;
    ssize_t got;
    while (n < sizeof r->text - 1 && (got = read(fd, r->text + n, sizeof r->text - 1 - n)) > 0)
        n += (size_t)got;
    r->text[n] = 0;
    r->status = n > 12 ? atoi(r->text + 9) : 0;
    char *end = strstr(r->text, "\r\n\r\n");
    r->body = end ? end + 4 : "";
}

/* One request on a connection of its own. `headers`: lines with \r\n, or "". */
static void ask_bytes(const struct world *w, const char *method, const char *path, const char *headers,
                      struct str body, struct reply *r)
{
    struct buf b;
    buf_init(&b, MEM_MISC);
    buf_addf(&b, "%s %s HTTP/1.1\r\n%sConnection: close\r\n%s", method, path,
             strstr(headers, "Host:") ? "" : "Host: 127.0.0.1\r\n", headers);
    if (body.ptr)
        buf_addf(&b, "Content-Length: %zu\r\n", body.len);
    buf_addz(&b, "\r\n");
    buf_adds(&b, body);
    int fd = dial(api_port(w->api));
    CHECK(fd >= 0);
    for (size_t i = 0; i < b.len;) {
        ssize_t n = write(fd, b.ptr + i, b.len - i);
        if (n <= 0)
            break;
        i += (size_t)n;
    }
    read_reply(fd, r);
    close(fd);
    buf_clear(&b);
}

#define JSON "Content-Type: application/json\r\n"
static int ask(const struct world *w, const char *method, const char *path, const char *headers,
               const char *body, struct reply *r)
{
    ask_bytes(w, method, path, headers, str_of(body), r);
    return r->status;
}

static void check_has(const struct reply *r, const char *part)
{
    if (!strstr(r->text, part)) {
        print_error("no \"%s\" in:\n%s\n", part, r->text);
        fail();
    }
}

#define DOCS "/v1/collections/default/documents"

/* Other documents around the one that is asked for: a word of every chunk says nothing. */
static void add_fillers(const struct world *w)
{
    static struct reply r;
    struct buf b;
    buf_init(&b, MEM_MISC);
    buf_addz(&b, "{\"documents\":[");
    for (int i = 0; i < 40; i++)
        buf_addf(&b, "%s{\"id\":\"f%d\",\"text\":\"The weather of day %d was fine. 第%d天下雨。\"}",
                 i ? "," : "", i, i, i);
    buf_addz(&b, "]}");
    buf_addc(&b, 0);
    CHECK_EQ(ask(w, "POST", DOCS, JSON, b.ptr, &r), 200);
    buf_clear(&b);
}

TEST(a_document_is_written_found_cited_and_deleted)
{
    static struct world w;
    static struct reply r;
    world_open(&w);
    world_start(&w);
    const char *id = DOCS "/%E8%B4%B9%2F1%3F%23%25";
    CHECK_EQ(ask(&w, "POST", "/v1/query", JSON, "{\"query\":\"年费\"}", &r), 200);
    check_has(&r, "\"found\":false");
    add_fillers(&w);
    CHECK_EQ(
        ask(&w, "POST", DOCS, JSON,
            "{\"id\":\"费/1?#%\",\"title\":\"白金卡\",\"text\":\"白金卡的年费是3600元。\",\"metadata\":{\"region\":\"bj\"}}",
            &r),
        201);
    check_has(&r, "{\"id\":\"费/1?#%\",\"version\":1,\"status\":\"added\",\"chunks\":1}");
    CHECK_EQ(
        ask(&w, "POST", DOCS, JSON,
            "{\"id\":\"费/1?#%\",\"title\":\"白金卡\",\"text\":\"白金卡的年费是3600元。\",\"metadata\":{\"region\":\"bj\"}}",
            &r),
        200);
    check_has(&r, "\"status\":\"unchanged\"");
    CHECK_EQ(ask(&w, "POST", "/v1/query", JSON, "{\"query\":\"白金卡年费多少？\",\"explain\":true}", &r),
             200);
    check_has(&r, "\"found\":true");
    check_has(&r, "3600元");
    check_has(
        &r,
        "\"n\":1,\"document_id\":\"费/1?#%\",\"version\":1,\"chunk_id\":\"费/1?#%#0\",\"title\":\"白金卡\",\"heading_path\":[]");
    check_has(&r, "\"timings_ms\":{\"total\":");
    check_has(&r, "\"explain\":{\"analysis\":");
    CHECK_EQ(ask(&w, "POST", "/v1/search", JSON, "{\"query\":\"年费\",\"filters\":{\"region\":\"sh\"}}", &r),
             200);
    check_has(&r, "\"hits\":[]");
    CHECK_EQ(ask(&w, "POST", "/v1/search", JSON, "{\"filters\":{\"region\":\"bj\"}}", &r), 200);
    check_has(&r, "\"text\":\"白金卡的年费是3600元。\"");
    CHECK_EQ(ask(&w, "GET", id, "", NULL, &r), 200);
    check_has(&r, "\"text\":\"白金卡的年费是3600元。\"");
    CHECK_EQ(ask(&w, "POST", DOCS, JSON, "{\"id\":\"费/1?#%\",\"text\":\"年费是5000元。\"}", &r), 200);
    check_has(&r, "\"version\":2,\"status\":\"updated\"");
    CHECK_EQ(
        ask(&w, "GET", "/v1/collections/default/documents/%E8%B4%B9%2F1%3F%23%25/versions", "", NULL, &r),
        200);
    check_has(&r, "\"versions\":[{\"id\":\"费/1?#%\",\"version\":2");
    CHECK_EQ(
        ask(&w, "GET", "/v1/collections/default/documents/%E8%B4%B9%2F1%3F%23%25?version=1", "", NULL, &r),
        200);
    check_has(&r, "3600元");
    CHECK_EQ(
        ask(&w, "GET", "/v1/collections/default/documents/%E8%B4%B9%2F1%3F%23%25?version=9", "", NULL, &r),
        404);
    CHECK_EQ(ask(&w, "DELETE", id, "", NULL, &r), 200);
    CHECK_EQ(ask(&w, "DELETE", id, "", NULL, &r), 404);
    CHECK_EQ(ask(&w, "GET", id, "", NULL, &r), 404);
    world_close(&w);
}

TEST(batches_report_each_document_and_lists_have_pages)
{
    static struct world w;
    static struct reply r;
    world_open(&w);
    world_start(&w);
    CHECK_EQ(ask(&w, "PUT", "/v1/collections/faq", JSON, "{\"settings\":{\"lang\":\"zh\"}}", &r), 201);
    CHECK_EQ(ask(&w, "PUT", "/v1/collections/faq", "", NULL, &r), 200);
    CHECK_EQ(
        ask(&w, "POST", "/v1/collections/faq/documents", JSON,
            "{\"documents\":[{\"id\":\"a\",\"text\":\"one\",\"metadata\":{\"k\":1}},{\"id\":\"b\"},{\"id\":\"c\",\"text\":\"three\"},"
            "{\"id\":\"d\",\"text\":\"x\",\"format\":\"exe\"}]}",
            &r),
        200);
    check_has(
        &r,
        "{\"id\":\"a\",\"version\":1,\"status\":\"added\",\"chunks\":1},{\"id\":\"b\",\"status\":\"failed\",\"error\":{");
    check_has(&r, "\"added\":2,\"updated\":0,\"unchanged\":0,\"failed\":2");
    CHECK_EQ(ask(&w, "GET", "/v1/collections/faq/documents?limit=1", "", NULL, &r), 200);
    check_has(&r, "\"id\":\"a\"");
    check_has(&r, "\"has_more\":true,\"next\":\"a\"");
    CHECK_EQ(ask(&w, "GET", "/v1/collections/faq/documents?limit=1&after=a", "", NULL, &r), 200);
    check_has(&r, "\"id\":\"c\"");
    check_has(&r, "\"has_more\":false,\"next\":null");
    CHECK_EQ(ask(&w, "GET", "/v1/collections", "", NULL, &r), 200);
    check_has(&r, "{\"name\":\"faq\",\"documents\":2,\"chunks\":2");
    CHECK_EQ(ask(&w, "DELETE", "/v1/collections/faq/documents", JSON, "{\"filters\":{}}", &r), 400);
    CHECK_EQ(
        ask(&w, "DELETE", "/v1/collections/faq/documents", JSON, "{\"filters\":{\"k\":{\"gte\":1}}}", &r),
        200);
    check_has(&r, "{\"deleted\":1}");
    CHECK_EQ(ask(&w, "DELETE", "/v1/collections/faq", "", NULL, &r), 200);
    CHECK_EQ(ask(&w, "DELETE", "/v1/collections/faq", "", NULL, &r), 404);
    CHECK_EQ(ask(&w, "DELETE", "/v1/collections/default", "", NULL, &r), 409);
    static const char part[] =
        "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"说明.txt\"\r\n\r\nSilver card, no fee.\r\n"
        "--B\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n{\"k\":2}\r\n--B--\r\n";
    CHECK_EQ(ask(&w, "POST", DOCS, "Content-Type: multipart/form-data; boundary=B\r\n", part, &r), 201);
    CHECK_EQ(ask(&w, "POST", "/v1/search", JSON, "{\"query\":\"silver\"}", &r), 200);
    check_has(&r, "\"source\":\"说明.txt\",\"metadata\":{\"k\":2}");
    world_close(&w);
}

TEST(a_stream_has_context_tokens_and_done)
{
    static struct world w;
    static struct reply r;
    world_open(&w);
    world_start(&w);
    add_fillers(&w);
    CHECK_EQ(ask(&w, "POST", DOCS, JSON, "{\"id\":\"x\",\"text\":\"The silver card costs nothing.\"}", &r),
             201);
    for (int by_accept = 0; by_accept < 2; by_accept++) {
        CHECK_EQ(
            ask(&w, "POST", "/v1/query", by_accept ? JSON "Accept: text/event-stream\r\n" : JSON,
                by_accept ? "{\"query\":\"silver card\"}" : "{\"query\":\"silver card\",\"stream\":true}",
                &r),
            200);
        check_has(&r, "Content-Type: text/event-stream");
        check_has(&r, "\r\n\r\nevent: context\ndata: {\"contexts\":[{\"document_id\":\"x\"");
        check_has(&r, "\n\nevent: token\ndata: {\"text\":\"");
        check_has(&r, "\n\nevent: done\ndata: {\"id\":\"qry-");
        CHECK(strcmp(r.text + strlen(r.text) - 3, "}\n\n") == 0);
    }
    world_close(&w);
}

TEST(bad_input_has_the_right_status_and_the_server_goes_on)
{
    static const struct {
        int status;
        const char *method, *path, *headers, *body, *part;
    } cases[] = {
        {400, "POST", "/v1/query", JSON, "", "\"code\":\"invalid\""},
        {400, "POST", "/v1/query", JSON, "{\"query\":\"\"}", "\"param\":\"query\""},
        {400, "POST", "/v1/query", JSON, "{\"query\":\"\xff\"}", "line 1, column"},
        {400, "POST", "/v1/query", JSON, "{\"query\":\"a\\u0000\"}", ""},
        {400, "POST", "/v1/query", JSON, "{\"query\":\"a\",\"query\":\"b\"}", "duplicate"},
        {400, "POST", "/v1/query", JSON, "{\"query\":\"a\"} x", ""},
        {400, "POST", "/v1/query", JSON, "{\"query\":\"a\",\"cache\":true}", "\"param\":\"cache\""},
        {400, "POST", "/v1/query", JSON, "{\"query\":\"a\",\"filters\":{\"x\":{\"~\":1}}}",
         "\"param\":\"filters.x\""},
        {404, "POST", "/v1/query", JSON, "{\"query\":\"a\",\"collection\":\"../etc\"}",
         "\"code\":\"collection_not_found\""},
        {415, "POST", "/v1/query", "Content-Type: text/plain\r\n", "{\"query\":\"a\"}",
         "\"param\":\"Content-Type\""},
        {415, "POST", "/v1/query", "Content-Type: application/json; charset=gbk\r\n", "{\"query\":\"a\"}",
         ""},
        {400, "PUT", "/v1/collections/..%2f..%2fetc", "", NULL, "\"param\":\"collection\""},
        {400, "GET", "/v1/collections/%ff", "", NULL, "bad_path"},
        {400, "GET", "/v1/collections/a%00b", "", NULL, "bad_path"},
        {400, "GET", "/v1/collections/%zz", "", NULL, "bad_path"},
        {400, "GET", "/v1/collections?limit=0", "", NULL, "\"param\":\"limit\""},
        {400, "GET", "/v1/collections?nope=1", "", NULL, "\"param\":\"nope\""},
        {404, "POST", "/v1/collections/nope/documents", JSON, "{\"text\":\"a\"}", "collection_not_found"},
        {400, "POST", DOCS, JSON, "{\"text\":\"\"}", "\"param\":\"text\""},
        {400, "POST", DOCS, JSON, "{\"id\":\"a\\u0001\",\"text\":\"x\"}", "\"param\":\"id\""},
        {400, "POST", DOCS, "Content-Type: multipart/form-data; boundary=B\r\n", "--B\r\nbroken",
         "multipart"},
        {415, "POST", DOCS, JSON, "{\"text\":\"x\",\"format\":\"exe\"}", "\"param\":\"format\""},
        {404, "GET", "/nope", "", NULL, "unknown_route"},
        {404, "GET", "/health/", "", NULL, ""},
        {405, "GET", "/v1/query", "", NULL, "Allow: OPTIONS, POST"},
        {405, "PATCH", "/v1/collections/default", "", NULL, "Allow: OPTIONS, GET, HEAD, PUT, DELETE"},
        {204, "OPTIONS", "/v1/query", "", NULL, "Allow: OPTIONS, POST"},
        {200, "HEAD", "/health/live", "", NULL, "Content-Length: 15"},
        {403, "GET", "/health/live", "Host: evil.example\r\n", NULL, "foreign_host"},
        {403, "GET", "/health/live", "Host: 127.0.0.1.evil.example\r\n", NULL, "foreign_host"},
        {403, "GET", "/health/live", "Origin: http://evil.example\r\n", NULL, "foreign_origin"},
        {403, "GET", "/health/live", "Origin: null\r\n", NULL, "foreign_origin"},
        {200, "GET", "/health/live", "Host: localhost:9\r\nOrigin: http://localhost:9\r\n", NULL, ""},
        {200, "GET", "/health/live", "Host: [::1]:80\r\n", NULL, ""},
    };
    static struct world w;
    static struct reply r;
    world_open(&w);
    world_start(&w);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int got = ask(&w, cases[i].method, cases[i].path, cases[i].headers, cases[i].body, &r);
        if (got != cases[i].status)
            print_error("case %zu %s %s: %d\n%s\n", i, cases[i].method, cases[i].path, got, r.text);
        CHECK_EQ(got, cases[i].status);
        check_has(&r, cases[i].part);
        check_has(&r, "X-Request-Id: ");
    }
    char *big = malloc(1 << 20);
    memset(big, 'a', 1 << 20);
    memcpy(big, "{\"query\":\"", 10);
    memcpy(big + (1 << 20) - 2, "\"}", 2);
    ask_bytes(&w, "POST", "/v1/query", JSON, str_make(big, 1 << 20), &r);
    CHECK_EQ(r.status, 413);
    memset(big, '[', 5000);
    ask_bytes(&w, "POST", "/v1/query", JSON, str_make(big, 5000), &r);
    CHECK_EQ(r.status, 400);
    free(big);
    CHECK_EQ(ask(&w, "GET", "/health", "", NULL, &r), 200);
    world_close(&w);
}

TEST(keys_have_scopes_collections_and_rates)
{
    static const char *const only[] = {"faq"};
    static const struct api_key keys[] = {
        {.name = "reader",
         .secret = "r-secret",
         .scopes = SCOPE_QUERY,
         .collections = only,
         .n_collections = 1},
        {.name = "slow", .secret = "s-secret", .scopes = SCOPE_QUERY | SCOPE_INGEST, .rate_per_s = 0.01},
        {.name = "root", .secret = "a-secret", .scopes = SCOPE_ADMIN},
    };
    static struct world w;
    static struct reply r;
    world_open(&w);
    w.opt.keys = keys;
    w.opt.n_keys = 3;
    w.opt.local_token = "token-of-the-lock";
    world_start(&w);
    const char *q = "{\"query\":\"a\"}", *faq = "{\"query\":\"a\",\"collection\":\"faq\"}";
    CHECK_EQ(ask(&w, "POST", "/v1/query", JSON, q, &r), 401);
    check_has(&r, "WWW-Authenticate: Bearer");
    check_has(&r, "\"type\":\"authentication_error\"");
    CHECK_EQ(ask(&w, "POST", "/v1/query", JSON "X-API-Key: nope\r\n", q, &r), 401);
    CHECK_EQ(ask(&w, "PUT", "/v1/collections/faq", "Authorization: Bearer a-secret\r\n", NULL, &r), 201);
    CHECK_EQ(ask(&w, "POST", "/v1/query", JSON "X-API-Key: r-secret\r\n", q, &r), 403);
    check_has(&r, "collection_forbidden");
    CHECK_EQ(ask(&w, "POST", "/v1/query", JSON "Authorization: bearer r-secret\r\n", faq, &r), 200);
    CHECK_EQ(ask(&w, "POST", "/v1/collections/faq/documents", JSON "X-API-Key: r-secret\r\n",
                 "{\"text\":\"a\"}", &r),
             403);
    check_has(&r, "scope_missing");
    CHECK_EQ(ask(&w, "GET", "/v1/collections", "X-API-Key: r-secret\r\n", NULL, &r), 200);
    CHECK(strstr(r.text, "\"faq\"") && !strstr(r.text, "\"default\""));
    CHECK_EQ(ask(&w, "GET", "/v1/config", "X-API-Key: r-secret\r\n", NULL, &r), 403);
    CHECK_EQ(ask(&w, "GET", "/v1/config", "X-API-Key: token-of-the-lock\r\n", NULL, &r), 200);
    CHECK_EQ(ask(&w, "POST", "/v1/query", JSON "X-API-Key: s-secret\r\n", q, &r), 200);
    check_has(&r, "X-RateLimit-Limit: 1\r\n");
    check_has(&r, "X-RateLimit-Remaining: 0\r\n");
    CHECK_EQ(ask(&w, "POST", "/v1/query", JSON "X-API-Key: s-secret\r\n", q, &r), 429);
    check_has(&r, "Retry-After: ");
    check_has(&r, "\"type\":\"rate_limit_error\"");
    CHECK_EQ(ask(&w, "GET", "/health/ready", "Host: rag.example\r\n", NULL, &r),
             200); /* with keys any name is fine */
    CHECK_EQ(ask(&w, "GET", "/metrics", "", NULL, &r), 200);
    CHECK_EQ(ask(&w, "GET", "/", "", NULL, &r), 200);
    check_has(&r, "Content-Security-Policy: default-src 'none'");
    world_close(&w);
}

TEST(cors_and_trace_headers_are_answered)
{
    static const char *const origins[] = {"https://app.example"};
    static struct world w;
    static struct reply r;
    world_open(&w);
    w.opt.cors_origins = origins;
    w.opt.n_cors_origins = 1;
    world_start(&w);
    CHECK_EQ(ask(&w, "OPTIONS", "/v1/query",
                 "Origin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n", NULL, &r),
             204);
    check_has(&r, "Access-Control-Allow-Origin: https://app.example");
    check_has(&r, "Access-Control-Allow-Headers: Authorization");
    CHECK_EQ(ask(&w, "GET", "/health/live",
                 "Origin: https://app.example\r\nX-Request-Id: my-id.1\r\n"
                 "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
                 NULL, &r),
             200);
    check_has(&r, "Access-Control-Expose-Headers: X-Request-Id");
    check_has(&r, "X-Request-Id: my-id.1\r\n");
    check_has(&r, "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n");
    CHECK_EQ(ask(&w, "GET", "/health/live", "X-Request-Id: a b\r\ntraceparent: 00-x\r\n", NULL, &r), 200);
    CHECK(!strstr(r.text, "a b") && !strstr(r.text, "traceparent"));
    world_close(&w);
}

TEST(without_keys_only_loopback_is_listened_on)
{
    static struct world w;
    struct rag_err err = {0};
    struct api *api;
    world_open(&w);
    world_start(&w);
    struct api_options o = w.opt;
    o.host = "0.0.0.0";
    CHECK_EQ(api_start(&o, &api, &err), RAG_EINVAL);
    CHECK_STR(str_of(err.param), "listen");
    o.host = "127.0.0.1";
    o.port = api_port(w.api);
    CHECK_EQ(api_start(&o, &api, &err), RAG_ECONFLICT);
    o.host = "no such host";
    CHECK_EQ(api_start(&o, &api, &err), RAG_EINVAL);
    CHECK(api == NULL);
    world_close(&w);
}

TEST(too_many_queries_and_connections_get_503)
{
    static struct world w;
    static struct reply r;
    int fd[40];
    world_open(&w);
    w.opt.max_concurrent_queries = 3;
    w.opt.max_connections = 20;
    world_start(&w);
    gauge_add(w.api->m.concurrent, 3); /* as if three were running */
    CHECK_EQ(ask(&w, "POST", "/v1/query", JSON, "{\"query\":\"a\"}", &r), 503);
    check_has(&r, "Retry-After: 1");
    check_has(&r, "\"type\":\"overloaded_error\"");
    gauge_add(w.api->m.concurrent, -3);
    CHECK_EQ(ask(&w, "POST", "/v1/query", JSON, "{\"query\":\"a\"}", &r), 200);
    for (int i = 0; i < 40; i++)
        fd[i] = dial(api_port(w.api));
    for (int tries = 0; atomic_load(&w.api->n_connections) < 40 && tries < 200; tries++)
        usleep(10000);
    CHECK_EQ(ask(&w, "GET", "/health/live", "", NULL, &r), 503);
    check_has(&r, "too_many_connections");
    for (int i = 0; i < 40; i++)
        close(fd[i]);
    for (int tries = 0; atomic_load(&w.api->n_connections) > 0 && tries < 500; tries++)
        usleep(10000);
    CHECK_EQ(ask(&w, "GET", "/health/live", "", NULL, &r), 200);
    world_close(&w);
}

TEST(metrics_show_what_happened_in_both_formats)
{
    static struct world w;
    static struct reply r;
    world_open(&w);
    world_start(&w);
    CHECK_EQ(ask(&w, "POST", DOCS, JSON, "{\"id\":\"x\",\"text\":\"silver card\"}", &r), 201);
    CHECK_EQ(ask(&w, "POST", "/v1/query", JSON, "{\"query\":\"silver\"}", &r), 200);
    CHECK_EQ(ask(&w, "GET", "/metrics", "", NULL, &r), 200);
    check_has(&r, "Content-Type: text/plain; version=0.0.4");
    CHECK_EQ(ask(&w, "GET", "/metrics", "Accept: application/openmetrics-text\r\n", NULL, &r), 200);
    check_has(&r, "Content-Type: application/openmetrics-text");
    check_has(&r, "# TYPE production_rag_query counter\n");
    check_has(&r, "stage=\"total\",complexity=\"simple\",le=\"0.01\"}");
    check_has(&r, "ragd_index_documents 1\n");
    check_has(&r, "ragd_http_requests_total{route=\"/v1/query\",code=\"200\"} 1\n");
    CHECK(strcmp(r.text + strlen(r.text) - 6, "# EOF\n") == 0);
    CHECK_EQ(ask(&w, "GET", "/v1/stats", "", NULL, &r), 200);
    check_has(&r, "\"queries\":{\"ok\":1,");
    CHECK_EQ(ask(&w, "GET", "/v1/info", "", NULL, &r), 200);
    check_has(&r, "\"version\":\"test\"");
    world_close(&w);
}

struct client {
    const struct world *w;
    int n, ok;
    bool writes;
};

static void *client_run(void *arg)
{
    struct client *c = arg;
    struct reply *r = malloc(sizeof *r);
    for (int i = 0; i < c->n; i++) {
        char body[128];
        snprintf(body, sizeof body, "{\"id\":\"d%d\",\"text\":\"silver card number %d\"}", i % 7, i);
        int s = c->writes ? ask(c->w, "POST", DOCS, JSON, body, r)
                          : ask(c->w, "POST", "/v1/query", JSON, "{\"query\":\"silver card\"}", r);
        c->ok += s == 200 || s == 201;
    }
    free(r);
    return NULL;
}

TEST(searches_and_writes_run_side_by_side)
{
    static struct world w;
    pthread_t t[6];
    struct client c[6];
    world_open(&w);
    world_start(&w);
    for (int i = 0; i < 6; i++) {
        c[i] = (struct client){&w, 40, 0, i % 2 == 0};
        CHECK_EQ(pthread_create(&t[i], NULL, client_run, &c[i]), 0);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(t[i], NULL);
        CHECK_EQ(c[i].ok, 40);
    }
    world_close(&w);
}

struct stopper {
    struct world *w;
};

static void *stopper_run(void *arg)
{
    struct stopper *s = arg;
    api_stop(s->w->api, 5000);
    s->w->api = NULL;
    return NULL;
}

/* Half of a document has arrived when the server is told to stop: it is still taken, written and answered. */
TEST(stop_finishes_what_is_in_flight)
{
    static struct world w;
    static struct reply r;
    static const char body[] = "{\"id\":\"last\",\"text\":\"the last one\"}";
    char head[256];
    world_open(&w);
    world_start(&w);
    uint16_t port = api_port(w.api);
    int fd = dial(port), idle = dial(port);
    int n = snprintf(head, sizeof head,
                     "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%sContent-Length: %zu\r\n\r\n%.10s", DOCS, JSON,
                     sizeof body - 1, body);
    CHECK_EQ(write(fd, head, (size_t)n), n);
    bool there = false;
    for (int tries = 0; tries < 400 && !there; tries++) {
        pthread_mutex_lock(&w.api->mu);
        there = w.api->n_requests == 1;
        pthread_mutex_unlock(&w.api->mu);
        usleep(5000);
    }
    CHECK(there);
    pthread_t t;
    struct stopper s = {&w};
    CHECK_EQ(pthread_create(&t, NULL, stopper_run, &s), 0);
    usleep(200000);
    int late = dial(port); /* refused, or never answered */
    CHECK_EQ(write(fd, body + 10, sizeof body - 11), (ssize_t)sizeof body - 11);
    read_reply(fd, &r);
    CHECK_EQ(r.status, 201);
    check_has(&r, "Connection: close");
    pthread_join(t, NULL);
    close(fd);
    close(idle);
    if (late >= 0)
        close(late);
    const struct segment_list *l;
    CHECK_OK(knowledge_pin(w.knowledge, STR_LIT("default"), &l));
    CHECK_EQ(l->n_docs, 1);
    knowledge_unpin(w.knowledge);
    world_close(&w);
}
