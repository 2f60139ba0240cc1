#include "test.h"

#include <stdlib.h>
#include <unistd.h>

#include "daemon/config_int.h"

static struct config cfg;
static struct config_report report;
static const char *const no_env[] = {NULL};

static rag_code load(const char *yaml, const char *const *env, struct config_source src)
{
    char path[] = "/tmp/ragd-config-XXXXXX";
    if (yaml) {
        int fd = mkstemp(path);
        CHECK(fd >= 0 && write(fd, yaml, strlen(yaml)) == (ssize_t)strlen(yaml));
        close(fd);
        src.file = path;
    }
    src.environment = env ? env : no_env;
    config_report_init(&report);
    rag_code rc = config_load(&src, &cfg, &report);
    if (yaml)
        unlink(path);
    return rc;
}

static void done(void)
{
    config_clear(&cfg);
    config_report_clear(&report);
}

static bool said(const char *what)
{
    return memmem(report.lines.ptr ? report.lines.ptr : "", report.lines.len, what, strlen(what)) != NULL;
}

TEST(defaults_are_the_balanced_profile)
{
    CHECK_OK(load(NULL, NULL, (struct config_source){0}));
    CHECK_EQ(memcmp(&cfg.profile, &profile_balanced, sizeof cfg.profile), 0);
    CHECK(strcmp(cfg.listen, "127.0.0.1:8001") == 0);
    CHECK_EQ(cfg.max_queries, 1000);
    CHECK_EQ(config_connections(&cfg), 4000);
    done();
}

TEST(profiles_fill_what_is_not_set)
{
    CHECK_OK(load("profile: latency_optimized\nlimits: {queries: 7}\n", NULL, (struct config_source){0}));
    CHECK(strcmp(cfg.profile_name, "latency") == 0);
    CHECK_EQ(cfg.profile.query_timeout_ms[2], 1500);
    CHECK_EQ(cfg.max_queries, 7);
    done();
    CHECK_OK(load("reranking:\n  candidates: 9\n", NULL, (struct config_source){.profile = "cost"}));
    CHECK_EQ(cfg.profile.rerank_candidates[0], 9);
    CHECK_EQ(cfg.profile.rerank_candidates[2], 9);
    CHECK_EQ(cfg.max_queries, 500);
    done();
}

TEST(the_last_source_wins_and_origins_say_which)
{
    const char *env[] = {"RAGD_LISTEN=127.0.0.1:2", "RAGD_CHUNKING_SIZE_TOKENS=300", "RAGD_DATA=", NULL};
    CHECK_OK(load("listen: 127.0.0.1:1\ndata: here\n\nchunking:\n  size_tokens: 200\n", env,
                  (struct config_source){.listen = "127.0.0.1:3"}));
    CHECK(strcmp(cfg.listen, "127.0.0.1:3") == 0);
    CHECK(strcmp(cfg.data, "here") == 0); /* an empty variable is none */
    CHECK_EQ(cfg.chunk_size_tokens, 300);
    CHECK_EQ(cfg.origin[0].kind, ORIGIN_FLAG);
    CHECK_EQ(cfg.origin[1].kind, ORIGIN_FILE);
    CHECK_EQ(cfg.origin[1].line, 2);
    CHECK_EQ(cfg.origin[1].column, 7);
    done();
}

TEST(every_error_is_reported_with_its_place)
{
    CHECK_EQ(load("listen: nonsense\n"
                  "retreival: {}\n"
                  "retrieval:\n"
                  "  bm25: {k1: 99, b: high}\n"
                  "  lexical_candidates: '30'\n"
                  "chunking: [1]\n"
                  "llm:\n"
                  "  base_url: http://x\n"
                  "timeouts: {query_ms: [1, 2]}\n"
                  "log: {level: loud}\n"
                  "k1: 2\n"
                  "listen: 127.0.0.1:1\n",
                  NULL, (struct config_source){0}),
             RAG_EINVAL);
    CHECK_EQ(report.n, 11);
    CHECK(said(":1:9: listen: 'nonsense' is not HOST:PORT"));
    CHECK(said(":2:1: retreival: unknown key: did you mean 'retrieval'?"));
    CHECK(said(":4:14: retrieval.bm25.k1: 99 is out of range"));
    CHECK(said(":4:21: retrieval.bm25.b: wants a number"));
    CHECK(said(":5:23: retrieval.lexical_candidates: wants a whole number, this is a quoted string"));
    CHECK(said(":6:11: chunking: wants keys below it, this is a list"));
    CHECK(said(":8:3: llm.base_url: not yet supported"));
    CHECK(said(":9:22: timeouts.query_ms: wants three numbers"));
    CHECK(said(":10:14: log.level: 'loud' is not one of: debug info warn error off"));
    CHECK(said(":11:1: k1: unknown key: did you mean 'retrieval.bm25.k1'?"));
    CHECK(said(":12:1: listen: is there twice"));
    done();
}

TEST(broken_yaml_is_one_error_with_its_place)
{
    CHECK_EQ(load("listen: [1\ndata: x\n", NULL, (struct config_source){0}), RAG_EINVAL);
    CHECK(said(":2:5: not valid YAML") || said(":2:1: not valid YAML"));
    done();
    CHECK_EQ(load("a: 1\n---\nb: 2\n", NULL, (struct config_source){0}), RAG_EINVAL);
    CHECK(said("a second document"));
    done();
    CHECK_EQ(load("- 1\n", NULL, (struct config_source){0}), RAG_EINVAL);
    done();
    CHECK_OK(load("", NULL, (struct config_source){0}));
    done();
    CHECK_OK(load("retrieval:\n  # bm25:\nlog: ~\nllm: {}\n", NULL,
                  (struct config_source){0})); /* nothing is set */
    done();
    CHECK_EQ(load("llm: &a\n  x: *a\n", NULL, (struct config_source){0}),
             RAG_EINVAL); /* a document that holds itself */
    done();
}

TEST(parts_that_do_not_exist_yet_are_refused)
{
    static const char *const later[] = {"embedding: {provider: openai}",
                                        "stages: {cache: true}",
                                        "vector_store: {provider: embedded}",
                                        "retry: {attempts: 3}",
                                        "breaker: {failures: 5}",
                                        "budget: {daily_cny: 1}",
                                        "cache: {ttl_s: 5}",
                                        "tracing: {sample: 0.1}",
                                        "reranking: {provider: model}",
                                        "reranking: {provider: http}",
                                        "limits: {generations: 5}",
                                        "retrieval: {dimensions: [1,2,3]}",
                                        "timeouts: {rerank_ms: 50}",
                                        "llm: {models: []}"};
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        CHECK_EQ(load(later[i], NULL, (struct config_source){0}), RAG_EINVAL);
        CHECK_EQ(report.n, 1);
        CHECK(said("not yet supported") && said(":1:"));
        done();
    }
    const char *env[] = {"RAGD_LLM_BASE_URL=http://x", NULL};
    CHECK_EQ(load(NULL, env, (struct config_source){0}), RAG_EINVAL);
    CHECK(said("RAGD_LLM_BASE_URL") && said("not yet supported"));
    done();
}

TEST(first_adopters_environment_is_understood)
{
    const char *env[] = {"OPENAI_API_KEY=x", "REDIS_URL=redis://x", "LOG_LEVEL=WARNING",
                         "CORS_ORIGINS=http://localhost:5173,https://crm.example.com", NULL};
    CHECK_OK(load(NULL, env, (struct config_source){0}));
    CHECK_EQ(cfg.n_notes, 2);
    CHECK(strcmp(cfg.log_level, "warn") == 0);
    CHECK_EQ(cfg.cors_origins.n, 2);
    CHECK(strcmp(cfg.cors_origins.items[1], "https://crm.example.com") == 0);
    done();
    const char *both[] = {"LOG_LEVEL=debug", "RAGD_LOG_LEVEL=error", "CORS_ORIGINS=[\"http://a\"]", NULL};
    CHECK_OK(load(NULL, both, (struct config_source){0}));
    CHECK(strcmp(cfg.log_level, "error") == 0);
    CHECK(strcmp(cfg.cors_origins.items[0], "http://a") == 0);
    done();
    const char *strange[] = {"LOG_LEVEL=TRACE", NULL}; /* theirs, not ours: a note, and our default */
    CHECK_OK(load(NULL, strange, (struct config_source){0}));
    CHECK(strcmp(cfg.log_level, "info") == 0);
    CHECK_EQ(cfg.n_notes, 1);
    done();
}

TEST(keys_are_read_whole_or_refused)
{
    const char *yaml =
        "auth:\n  keys:\n"
        "    - {name: crm, key_env: CRM_KEY, scopes: [query, ingest], collections: [sales], rate_per_s: 50}\n"
        "    - {name: ro, key_env: RO_KEY}\n";
    const char *env[] = {"CRM_KEY=0123456789", "RO_KEY=abcdefghij", NULL};
    CHECK_OK(load(yaml, env, (struct config_source){.listen = "0.0.0.0:1"}));
    CHECK_EQ(cfg.keys.n, 2);
    CHECK_EQ(cfg.keys.items[0].scopes, SCOPE_QUERY | SCOPE_INGEST);
    CHECK_EQ(cfg.keys.items[1].scopes, SCOPE_QUERY);
    CHECK_OK(config_resolve_keys(&cfg, env, &report));
    CHECK(strcmp(cfg.keys.items[0].secret, "0123456789") == 0);
    struct buf out;
    buf_init(&out, MEM_MISC);
    config_json(&cfg, &out);
    config_print_effective(&cfg, &out);
    CHECK(memmem(out.ptr, out.len, "0123456789", 10) == NULL);
    buf_clear(&out);
    done();
    CHECK_OK(load(yaml, NULL, (struct config_source){0}));
    CHECK_EQ(config_resolve_keys(&cfg, no_env, &report), RAG_EINVAL);
    CHECK_EQ(report.n, 2);
    done();
    CHECK_EQ(
        load(
            "auth: {keys: [{name: a, key: sekrit}, {name: b}, {name: c, key_env: X, scopes: [root]}, {key_env: Y}, "
            "{name: d, key_env: X, daily_cny: 20}, 7, {name: e, key_env: Z, rate: 5}]}",
            NULL, (struct config_source){0}),
        RAG_EINVAL);
    CHECK_EQ(report.n, 7);
    CHECK(!said("sekrit"));
    CHECK(said("rate: unknown key") && said("auth.keys[6]"));
    done();
}

TEST(beyond_loopback_needs_a_key)
{
    CHECK_EQ(load(NULL, NULL, (struct config_source){.listen = "0.0.0.0:8001"}), RAG_EINVAL);
    CHECK(said("beyond loopback"));
    done();
    CHECK_OK(load(NULL, NULL, (struct config_source){.listen = "[::1]:8001"}));
    done();
    CHECK_OK(load(NULL, NULL, (struct config_source){.listen = "localhost:0"}));
    done();
}

TEST(listen_is_split)
{
    char host[64];
    uint16_t port;
    CHECK(config_split_listen("[::1]:80", host, sizeof host, &port) && strcmp(host, "::1") == 0 &&
          port == 80);
    CHECK(config_split_listen("h:65535", host, sizeof host, &port) && port == 65535);
    static const char *const bad[] = {"",       ":80",     "h:", "h:65536", "h:8x",
                                      "::1:80", "[::1]80", "h",  "[]:1",    "h:999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!config_split_listen(bad[i], host, sizeof host, &port));
}

/* The template uncommented is the default configuration: what it shows is what is. */
TEST(the_template_is_true)
{
    struct buf t, y;
    buf_init(&t, MEM_MISC);
    buf_init(&y, MEM_MISC);
    config_print_default(&t);
    for (size_t i = 0; i < t.len;) {
        size_t n = (size_t)((const char *)memchr(t.ptr + i, '\n', t.len - i) - (t.ptr + i)) + 1;
        const char *line = t.ptr + i;
        size_t indent = strspn(line, " ");
        const char *key = line + indent + 2;
        size_t word = line[indent] == '#' ? strspn(key, "abcdefghijklmnopqrstuvwxyz_0123456789") : 0;
        bool value = word && key[word] == ':' && key[word + 1] == ' ';
        if (value)
            buf_addf(&y, "%*s%.*s", (int)indent, "", (int)(n - indent - 2), key);
        else if (line[indent] != '#')
            buf_add(&y, line, n);
        i += n;
    }
    buf_addc(&y, 0);
    CHECK_OK(load(y.ptr, NULL, (struct config_source){0}));
    for (uint32_t r = 0; r < config_n_rows; r++)
        if (config_rows[r].type != CFG_LATER)
            CHECK_EQ(cfg.origin[r].kind, ORIGIN_FILE);
    CHECK_EQ(memcmp(&cfg.profile, &profile_balanced, sizeof cfg.profile), 0);
    done();
    buf_clear(&t);
    buf_clear(&y);
}

TEST(load_survives_each_failed_allocation)
{
    bool fired = true;
    for (unsigned nth = 1; fired && nth < 200; nth++) {
        struct config_source src = {.listen = "127.0.0.1:1"};
        fault_arm_alloc(nth);
        config_report_init(&report);
        rag_code rc = config_load(&src, &cfg, &report);
        fired = fault_disarm();
        CHECK(fired || rc == RAG_OK);
        done();
    }
    CHECK(!fired);
}
