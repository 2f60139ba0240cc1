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

static bool has(const struct buf *b, const char *what)
{
    return memmem(b->ptr ? b->ptr : "", b->len, what, strlen(what)) != NULL;
}

static bool said(const char *what)
{
    return has(&report.lines, what);
}

static bool noted(const char *what)
{
    return has(&cfg.notes, what);
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

TEST(the_overlap_follows_the_size_until_it_is_set)
{
    const char *env[] = {"RAGD_CHUNKING_SIZE_TOKENS=100", NULL};
    CHECK_OK(load("", no_env, (struct config_source){0}));
    CHECK_EQ(cfg.chunk_overlap_tokens, 64);
    CHECK_EQ(cfg.chunk_overlap_tokens * 4, cfg.chunk_size_tokens); /* --print-default says what an empty file does */
    done();
    CHECK_OK(load("", env, (struct config_source){0}));
    CHECK_EQ(cfg.chunk_overlap_tokens, 25);
    done();
    CHECK_OK(load("chunking:\n  overlap_tokens: 50\n", env, (struct config_source){0}));
    CHECK_EQ(cfg.chunk_overlap_tokens, 50);
    done();
    CHECK_EQ(load("chunking:\n  overlap_tokens: 51\n", env, (struct config_source){0}), RAG_EINVAL);
    CHECK(said("more than half of chunking.size_tokens (100)"));
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
                  "  base_url: ftp://x\n"
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
    CHECK(said(":8:13: llm.base_url: wants http:// or https://"));
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
                                        "cache: {ttl_s: 5}",
                                        "tracing: {sample: 0.1}",
                                        "reranking: {provider: model}",
                                        "reranking: {provider: http}",
                                        "retrieval: {dimensions: [1,2,3]}",
                                        "timeouts: {retrieval_ms: 50}",
                                        "llm: {models: [{name: a, passthrough: true}]}"};
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        CHECK_EQ(load(later[i], NULL, (struct config_source){0}), RAG_EINVAL);
        CHECK_EQ(report.n, 1);
        CHECK(said("not yet supported") && said(":1:"));
        done();
    }
    const char *env[] = {"RAGD_CACHE_TTL_S=5", NULL};
    CHECK_EQ(load(NULL, env, (struct config_source){0}), RAG_EINVAL);
    CHECK(said("RAGD_CACHE_TTL_S") && said("not yet supported"));
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
        "    - {name: crm, key_env: CRM_KEY, scopes: [query, ingest], collections: [sales], rate_per_s: 50, daily_cny: 20.5}\n"
        "    - {name: ro, key_env: RO_KEY}\n";
    const char *env[] = {"CRM_KEY=0123456789", "RO_KEY=abcdefghij", NULL};
    CHECK_OK(load(yaml, env, (struct config_source){.listen = "0.0.0.0:1"}));
    CHECK_EQ(cfg.keys.n, 2);
    CHECK_EQ(cfg.keys.items[0].scopes, SCOPE_QUERY | SCOPE_INGEST);
    CHECK_EQ(cfg.keys.items[1].scopes, SCOPE_QUERY);
    CHECK(cfg.keys.items[0].daily == 20500 * (NANO_PER_CNY / 1000) && cfg.keys.items[1].daily == 0);
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
            "{name: d, key_env: X, daily_cny: -1}, 7, {name: e, key_env: Z, rate: 5}]}",
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

/* ---- the LLM half ---------------------------------------------------------------------------------------- */
TEST(without_an_upstream_there_is_no_llm)
{
    CHECK_OK(load(NULL, NULL, (struct config_source){0}));
    CHECK_EQ(cfg.catalogue.n, 0);
    CHECK(cfg.profile.stage_generation && cfg.history_enabled);
    CHECK_EQ(cfg.history_days, 30);
    CHECK_EQ(cfg.llm_connect_ms, 1000);
    CHECK_EQ(cfg.llm_first_token_ms, 8000);
    CHECK_EQ(cfg.llm_inter_token_ms, 5000);
    CHECK_EQ(cfg.llm_answer_ms, 20000);
    CHECK_EQ(cfg.llm_hedge_ms, 0);
    CHECK_EQ(cfg.retry_attempts, 3);
    CHECK_EQ(cfg.retry_initial_ms, 1000);
    CHECK_EQ(cfg.retry_max_ms, 10000);
    CHECK(cfg.retry_factor == 2 && cfg.retry_budget == 0.2);
    CHECK_EQ(cfg.breaker_failures, 5);
    CHECK_EQ(cfg.breaker_open_s, 60);
    CHECK_EQ(cfg.breaker_successes, 2);
    CHECK(cfg.budget_daily == 100 * NANO_PER_CNY && cfg.budget_monthly == 2000 * NANO_PER_CNY);
    CHECK(cfg.budget_warn == 0.8 && cfg.budget_stop == 0.95);
    CHECK(strcmp(cfg.budget_timezone, "Asia/Shanghai") == 0);
    CHECK_EQ(cfg.max_generations, 50);
    CHECK(strcmp(cfg.system_prompt, "") == 0);
    done();
}

TEST(profiles_fill_the_llm_half)
{
    static const struct {
        const char *profile;
        uint32_t generations, first_token, answer, context, passages, idle;
    } want[] = {{"balanced", 50, 8000, 20000, 1200, 4, 20},
                {"latency", 50, 4000, 10000, 1200, 4, 20},
                {"throughput", 100, 8000, 20000, 1200, 4, 50},
                {"cost", 50, 8000, 20000, 800, 4, 10}};
    for (size_t i = 0; i < 4; i++) {
        CHECK_OK(load(NULL, NULL, (struct config_source){.profile = want[i].profile}));
        CHECK_EQ(cfg.max_generations, want[i].generations);
        CHECK_EQ(cfg.llm_first_token_ms, want[i].first_token);
        CHECK_EQ(cfg.llm_answer_ms, want[i].answer);
        CHECK_EQ(cfg.profile.context_tokens[1], want[i].context);
        CHECK_EQ(cfg.profile.passages[1], want[i].passages);
        CHECK_EQ(cfg.profile.model_class[1], i == 3 ? CLASS_SMALL : CLASS_MEDIUM);
        CHECK_EQ(cfg.llm_idle_connections, want[i].idle);
        done();
    }
}

TEST(one_upstream_and_one_model_are_two_lines)
{
    const char *env[] = {"RAGD_LLM_BASE_URL=http://127.0.0.1:9000/v1/", "RAGD_LLM_MODEL=qwen/small", NULL};
    CHECK_OK(load(NULL, env, (struct config_source){0}));
    CHECK_EQ(cfg.catalogue.n, 1);
    const struct llm_model *m = cfg.catalogue.models;
    CHECK(strcmp(m->name, "qwen/small") == 0 && strcmp(m->model, "qwen/small") == 0);
    CHECK(strcmp(m->provider->base_url, "http://127.0.0.1:9000/v1") == 0);
    CHECK(m->class == CLASS_MEDIUM && m->price.input == 0 && m->price.output == 0);
    CHECK(!m->provider->key && !m->provider->ca_file && !m->provider->cache_control);
    CHECK_EQ(cfg.n_notes, 0);
    CHECK_OK(config_resolve_keys(&cfg, env, &report));
    done();
}

TEST(a_catalogue_is_read_whole_and_exactly)
{
    CHECK_OK(load("llm:\n"
                  "  models:\n"
                  "    - {name: large, provider: b, model: v/large, class: large, context: 32768,"
                  " aliases: [gpt-4o, best], price: {input: 1.4, cached_input: 0.000001, output: 2.8}}\n"
                  "    - {name: small, provider: a, class: small, price: {input: 0.2, output: 0.400000}}\n"
                  "  providers:\n"
                  "    - {name: a, base_url: 'http://localhost:1/v1'}\n"
                  "    - {name: b, base_url: https://b.example.com/v1, api_key_env: B_KEY, ca_file: /ca.pem,"
                  " cache_control: true}\n",
                  NULL, (struct config_source){0}));
    CHECK_EQ(cfg.catalogue.n, 2);
    const struct llm_model *m = cfg.catalogue.models;
    CHECK(strcmp(m[0].name, "large") == 0 && strcmp(m[0].model, "v/large") == 0 && m[0].class == CLASS_LARGE);
    CHECK(m[0].context == 32768 && m[0].n_aliases == 2 && strcmp(m[0].aliases[1], "best") == 0);
    CHECK(m[0].price.input == 1400000000 && m[0].price.cached_input == 1000 && m[0].price.output == 2800000000);
    CHECK(strcmp(m[0].provider->name, "b") == 0 && m[0].provider->cache_control);
    CHECK(strcmp(m[0].provider->ca_file, "/ca.pem") == 0);
    CHECK(strcmp(m[1].model, "small") == 0 && strcmp(m[1].provider->name, "a") == 0);
    CHECK(m[1].price.input == 200000000 && m[1].price.cached_input == 200000000 && m[1].price.output == 400000000);
    done();
}

TEST(money_is_exact_or_refused)
{
    static const struct {
        const char *text;
        int64_t nano; /* -1: refused */
    } cases[] = {{"0", 0},           {"0.1", 100000000},   {"100.000000001", 100000000001}, {"12.50", 12500000000},
                 {"1000000000", INT64_C(1000000000000000000)}, {"0.0000000001", -1}, {"1000000000.1", -1},
                 {"99999999999999999999", -1}, {"-1", -1}, {"1e3", -1}, {"1.", -1}, {".5", -1}, {"1.5.0", -1},
                 {"'5'", -1}, {"five", -1}, {"[5]", -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char yaml[96];
        snprintf(yaml, sizeof yaml, "budget: {daily_cny: %s}", cases[i].text);
        rag_code rc = load(yaml, NULL, (struct config_source){0});
        CHECK_EQ(rc, cases[i].nano < 0 ? RAG_EINVAL : RAG_OK);
        if (cases[i].nano < 0)
            CHECK(said(":1:21: budget.daily_cny: wants an amount in CNY"));
        else
            CHECK(cfg.budget_daily == cases[i].nano);
        done();
    }
    struct buf b;
    buf_init(&b, MEM_MISC);
    config_add_cny(&b, 0);
    config_add_cny(&b, 12500000000);
    config_add_cny(&b, 1);
    CHECK_STR(buf_str(&b), "012.50.000000001");
    buf_clear(&b);
}

/* One error each, with its place and what it is about. */
TEST(what_does_not_fit_together_is_refused)
{
    static const struct {
        const char *yaml, *says;
    } cases[] = {
        {"llm: {base_url: 'https://a/v1'}", ":1:17: llm.base_url: no model is named: set llm.model or llm.models"},
        {"llm: {models: [{name: a}]}", ":1:15: llm.models: there is nothing to ask it from: set llm.base_url or"},
        {"llm: {model: a}", ":1:14: llm.model: there is nothing to ask it from"},
        {"llm: {providers: [{name: p, base_url: 'http://a'}]}", ":1:18: llm.providers: no model is named"},
        {"llm: {base_url: 'http://a', model: a, models: [{name: b}]}", ":1:36: llm.model: llm.models is there too"},
        {"llm: {base_url: 'http://a', model: a, providers: [{name: b, base_url: 'http://b'}]}",
         ":1:17: llm.base_url: llm.providers is there too"},
        {"llm: {base_url: 'http://a', model: a, api_key_env: K, api_key_file: /k}", "llm.api_key_file: llm.api_key_env"},
        {"llm: {api_key_env: K, model: a, providers: [{name: b, base_url: 'http://b'}]}",
         ":1:20: llm.api_key_env: belongs to llm.base_url"},
        {"llm: {base_url: 'http://a', models: [{name: b, provider: x}]}",
         ":1:38: llm.models: b: provider: 'x' is none of llm.providers"},
        {"llm:\n  providers: [{name: p, base_url: 'http://a'}, {name: q, base_url: 'http://b'}]\n"
         "  models:\n  - {name: b}",
         ":4:5: llm.models: b: provider: is missing: there are 2"},
        {"llm: {base_url: 'http://a', models: [{name: a, aliases: [b]}, {name: b}]}",
         ":1:63: llm.models[1]: 'b' is the name or alias of two models"},
        {"llm: {base_url: 'http://a', models: [{name: a, aliases: [x, x]}]}", "'x' is the name or alias of two models"},
        {"llm: {base_url: 'http://a', models: [{name: a}, {name: a}]}", "'a' is the name or alias of two models"},
        {"llm: {base_url: 'http://a', models: [{name: a, name: b}]}", ":1:48: llm.models[0].name: is there twice"},
        {"llm: {base_url: 'http://a', models: [{name: ragd/x}]}", "is the API's own name"},
        {"llm: {base_url: 'http://a', models: [{name: 'a b'}]}", "llm.models[0].name: wants 1 to 128 of"},
        {"llm: {base_url: 'http://a', models: [{model: a}]}", "llm.models[0].name: is missing"},
        {"llm: {base_url: 'http://a', models: [{name: a, class: huge}]}", "'huge' is not one of: small medium large"},
        {"llm: {base_url: 'http://a', models: [{name: a, price: {input: 1}}]}", "price: wants input and output"},
        {"llm: {base_url: 'http://a', models: [{name: a, price: {input: 1, output: -1}}]}", "price.output: wants an amount"},
        {"llm: {base_url: 'http://a', models: [{name: a, prize: {}}]}", "unknown key: did you mean 'price'?"},
        {"llm: {base_url: 'http://a', models: [7]}", ":1:38: llm.models[0]: wants {name: ..., class: ..., price: ...}"},
        {"llm: {base_url: 'http://a', models: {}}", "llm.models: wants a list, this is a mapping"},
        {"llm: {models: [], providers: [{name: p}], model: a}", "llm.providers[0].base_url: is missing"},
        {"llm: {model: a, providers: [{name: p, base_url: 'http://a', api_key: hunter22}]}",
         ":1:61: llm.providers[0].api_key: a key must not stand in the file"},
        {"llm: {model: a, providers: [{name: p, base_url: 'http://a', api_key_env: A, api_key_file: B}]}", "not both"},
        {"llm: {base_url: 'http://a', model: a, api_key_env: sk-hunter22}",
         ":1:52: llm.api_key_env: wants the name of an environment variable"},
        {"llm: {base_url: 'http://u:hunter22@a/v1', model: a}", ":1:17: llm.base_url: a user or password must not stand"},
        {"llm: {base_url: 'http://a/v1/chat/completions/', model: a}", "leave out /chat/completions"},
        {"llm: {base_url: 'http://a/v1?key=hunter22', model: a}", "wants http:// or https://"},
        {"llm: {base_url: 'http://', model: a}", "wants http:// or https://"},
        {"llm: {base_url: 'http://:80', model: a}", "wants http:// or https://"},
        {"llm: {base_url: 'http://a:0', model: a}", "wants http:// or https://"},
        {"llm: {base_url: 'http://a:99999/', model: a}", "wants http:// or https://"},
        {"llm: {base_url: 'http://[::1', model: a}", "wants http:// or https://"},
        {"llm: {base_url: 'http://a b/', model: a}", "wants http:// or https://"},
        {"llm: {base_url: 'file:///etc/passwd', model: a}", "wants http:// or https://"},
        {"budget: {warn: 0.96}", ":1:16: budget.warn: 0.96 is above budget.stop (0.95)"},
        {"retry: {initial_ms: 20000}", ":1:21: retry.initial_ms: 20000 is above retry.max_ms"},
        {"retry: {attempts: 11}", "retry.attempts: 11 is out of range: use 1 to 10"},
        {"budget: {timezone: Mars/Olympus}", ":1:20: budget.timezone: "},
        {"generation: {classes: [small, medium]}", "wants three classes [simple, medium, complex], this list has 2"},
        {"generation: {classes: [small, medium, 7]}", ":1:39: generation.classes: '7' is not one of"},
        {"generation: {temperature: 3}", "generation.temperature: 3 is out of range: use 0 to 2"},
        {"generation: {system_prompt: \"a\\ab\"}", "generation.system_prompt: has a control character"},
        {"history: {days: 0}", "history.days: 0 is out of range"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rag_code rc = load(cases[i].yaml, NULL, (struct config_source){0});
        if (rc != RAG_EINVAL || report.n != 1 || !said(cases[i].says))
            fail_msg("%s: %s: %.*s", cases[i].yaml, rag_code_name(rc), (int)report.lines.len, report.lines.ptr);
        CHECK(!said("hunter22"));
        done();
    }
}

TEST(the_generation_keys_are_read)
{
    const char *env[] = {"RAGD_GENERATION_CLASSES=small,small,large", "RAGD_GENERATION_PASSAGES=4",
                         "RAGD_GENERATION_SYSTEM_PROMPT=你是一名银行客服。\n: {", NULL};
    CHECK_OK(load("generation:\n  output_tokens: [1, 2, 3]\n  class_down_above: 1\n  temperature: 0\n"
                  "stages: {generation: false}\nhistory: {enabled: false}\n",
                  env, (struct config_source){0}));
    CHECK(cfg.profile.model_class[0] == 0 && cfg.profile.model_class[1] == 0 && cfg.profile.model_class[2] == 2);
    CHECK(cfg.profile.passages[0] == 4 && cfg.profile.passages[2] == 4 && cfg.profile.output_tokens[2] == 3);
    CHECK(cfg.profile.class_down_above == 1 && cfg.profile.temperature == 0);
    CHECK(strcmp(cfg.system_prompt, "你是一名银行客服。\n: {") == 0);
    CHECK(!cfg.profile.stage_generation && !cfg.history_enabled);
    done();
    CHECK_OK(load("generation:\n  classes: large\n  system_prompt: |\n    one\n    two\n", NULL, (struct config_source){0}));
    CHECK(cfg.profile.model_class[0] == 2 && strcmp(cfg.system_prompt, "one\ntwo\n") == 0);
    done();
}

TEST(first_adopters_upstreams_are_used_when_ours_are_not_set)
{
    const char *sf[] = {"SILICONFLOW_API_KEY=sk-hunter22", "OPENAI_API_KEY=sk-other", "OPENAI_BASE_URL=https://o.example/v1",
                        "RAGD_LLM_MODEL=qwen", "DAILY_BUDGET_CNY=12.5", NULL};
    CHECK_OK(load(NULL, sf, (struct config_source){0}));
    CHECK(strcmp(cfg.llm_base_url, "https://api.siliconflow.cn/v1") == 0);
    CHECK(strcmp(cfg.llm_key_env, "SILICONFLOW_API_KEY") == 0 && cfg.budget_daily == 12500000000);
    CHECK(noted("environment OPENAI_API_KEY: not used") && noted("environment OPENAI_BASE_URL: not used"));
    CHECK_OK(config_resolve_keys(&cfg, sf, &report));
    CHECK(strcmp(cfg.catalogue.models[0].provider->key, "sk-hunter22") == 0);
    struct buf out;
    buf_init(&out, MEM_MISC);
    config_json(&cfg, &out);
    config_print_effective(&cfg, &out);
    CHECK(!has(&out, "hunter22") && has(&out, "environment SILICONFLOW_API_KEY") && has(&out, "environment DAILY_BUDGET_CNY"));
    buf_clear(&out);
    done();

    const char *both[] = {"OPENAI_API_KEY=k", "OPENAI_BASE_URL=http://localhost:1/v1", "RAGD_LLM_MODEL=m", NULL};
    CHECK_OK(load(NULL, both, (struct config_source){0}));
    CHECK(strcmp(cfg.catalogue.models[0].provider->base_url, "http://localhost:1/v1") == 0);
    CHECK_EQ(cfg.n_notes, 0);
    done();

    const char *no_model[] = {"SILICONFLOW_API_KEY=k", NULL};
    CHECK_OK(load(NULL, no_model, (struct config_source){0}));
    CHECK_EQ(cfg.catalogue.n, 0);
    CHECK(noted("environment SILICONFLOW_API_KEY: not used: no model is named: set llm.model or llm.models"));
    done();

    /* a file's upstream is ours: neither their address nor their key gets into it */
    CHECK_OK(load("llm: {base_url: 'http://127.0.0.1:5/v1', model: m}", both, (struct config_source){0}));
    CHECK(strcmp(cfg.catalogue.models[0].provider->base_url, "http://127.0.0.1:5/v1") == 0 && !cfg.llm_key_env[0]);
    CHECK_EQ(cfg.n_notes, 2);
    done();
    CHECK_OK(load("llm: {base_url: ''}", no_model, (struct config_source){0})); /* no LLM, said plainly */
    CHECK_EQ(cfg.catalogue.n, 0);
    done();

    /* a key of ours does not go to their address */
    const char *mixed[] = {"SILICONFLOW_API_KEY=k", "OPENAI_API_KEY=k2", "RAGD_LLM_API_KEY_ENV=OPENAI_API_KEY",
                           "RAGD_LLM_MODEL=m", NULL};
    CHECK_OK(load(NULL, mixed, (struct config_source){0}));
    CHECK(strcmp(cfg.llm_base_url, "https://api.openai.com/v1") == 0);
    CHECK(noted("SILICONFLOW_API_KEY: not used") && !noted("OPENAI_API_KEY: not used"));
    done();

    const char *bad[] = {"OPENAI_BASE_URL=http://u:hunter22@a", "OPENAI_API_KEY=k", "RAGD_LLM_MODEL=m", NULL};
    CHECK_EQ(load(NULL, bad, (struct config_source){0}), RAG_EINVAL); /* theirs: a note; our model has no upstream then */
    CHECK(noted("environment OPENAI_BASE_URL: llm.base_url: a user or password") && !noted("hunter22"));
    CHECK(said("RAGD_LLM_MODEL: llm.model: there is nothing to ask it from"));
    done();
}

TEST(upstream_secrets_come_from_environment_and_files)
{
    char path[] = "/tmp/ragd-secret-XXXXXX", yaml[512];
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, "  file-secret\n", 14) == 14);
    close(fd);
    snprintf(yaml, sizeof yaml,
             "llm:\n  model: m\n  models: []\n  providers:\n  - {name: a, base_url: 'http://h', api_key_file: %s}\n", path);
    CHECK_OK(load(yaml, NULL, (struct config_source){0}));
    CHECK(noted("provider a: http sends its key") && noted("model m: has no price"));
    CHECK(!cfg.catalogue.models[0].provider->key);
    CHECK_OK(config_resolve_keys(&cfg, no_env, &report));
    CHECK(strcmp(cfg.catalogue.models[0].provider->key, "file-secret") == 0);
    done();
    unlink(path);
    CHECK_OK(load(yaml, NULL, (struct config_source){0}));
    CHECK_EQ(config_resolve_keys(&cfg, no_env, &report), RAG_EINVAL);
    CHECK(said("llm.providers: a: ") && said(path));
    done();

    const char *one = "llm: {base_url: 'https://h/v1', model: m, api_key_env: MY_KEY, ca_file: /nonexistent/ca.pem}";
    static const char *const values[] = {NULL, "MY_KEY=two words", "MY_KEY=a\nX-Other: b", "MY_KEY=\xE4\xBD\xA0"};
    for (size_t i = 0; i < 4; i++) {
        const char *env[] = {values[i], NULL};
        CHECK_OK(load(one, NULL, (struct config_source){0}));
        CHECK_EQ(config_resolve_keys(&cfg, env, &report), RAG_EINVAL);
        CHECK_EQ(report.n, 2);
        CHECK(said("llm: default: ") && said("MY_KEY") && said("ca_file /nonexistent/ca.pem: cannot read it"));
        CHECK(!said("words") && !said("X-Other") && !cfg.catalogue.models[0].provider->key);
        done();
    }
    char *huge = malloc(6000);
    CHECK(huge);
    memset(huge, 'k', 5999);
    memcpy(huge, "MY_KEY=", 7);
    huge[5999] = 0;
    const char *env[] = {huge, NULL};
    CHECK_OK(load(one, NULL, (struct config_source){0}));
    CHECK_EQ(config_resolve_keys(&cfg, env, &report), RAG_EINVAL);
    CHECK(said("MY_KEY is too long"));
    done();
    free(huge);
    CHECK_OK(load("llm: {base_url: 'https://h/v1', model: m, api_key_env: MY_KEY}\nstages: {generation: false}", NULL,
                  (struct config_source){0}));
    CHECK_OK(config_resolve_keys(&cfg, no_env, &report)); /* not used: not missing */
    done();
}

/* What the template shows as an example is one: the lines of a comment that begin a list. */
TEST(the_templates_examples_are_right)
{
    struct buf t, y;
    buf_init(&t, MEM_MISC);
    buf_init(&y, MEM_MISC);
    config_print_default(&t);
    buf_addc(&t, 0);
    const char *part[] = {"# Several upstreams", "# The models, in the order"}, *head[] = {"llm:\n  providers:\n", "  models:\n"};
    for (size_t p = 0; p < 2; p++) {
        const char *at = strstr(t.ptr, part[p]);
        CHECK(at);
        buf_addz(&y, head[p]);
        for (const char *line = strchr(at, '#'); line && strncmp(line, "# models:", 9) && strncmp(line, "# providers:", 12);
             line = strchr(line + 1, '#'))
            if (strncmp(line, "#   - ", 6) == 0)
                buf_addf(&y, "    %.*s\n", (int)strcspn(line + 4, "\n"), line + 4);
    }
    buf_addc(&y, 0);
    CHECK_EQ(load(y.ptr, NULL, (struct config_source){0}), RAG_EINVAL); /* two upstreams: each model must say which */
    CHECK_EQ(report.n, 3);
    CHECK(said("large: provider: is missing: there are 2") && said("small: provider: is missing"));
    CHECK_EQ(cfg.models.n, 3);
    CHECK(cfg.models.items[0].model.price.input == 1400000000 && cfg.models.items[2].model.price.output == 400000000);
    done();
    buf_clear(&t);
    buf_clear(&y);
}

/* The effective configuration, read again, is the same one. */
TEST(what_show_prints_can_be_read_again)
{
    const char *yaml = "budget: {daily_cny: 0.000000001}\ngeneration: {classes: [large, small, small], system_prompt: \"a\\nb\"}\n"
                       "auth: {keys: [{name: k, key_env: K, daily_cny: 1.25}]}\n"
                       "llm:\n  providers: [{name: p, base_url: 'https://p/v1', api_key_env: P_KEY, cache_control: true}]\n"
                       "  models: [{name: m, provider: p, aliases: [n], class: small, context: 9, price: {input: 0.1, output: 0.7}}]\n";
    struct buf first;
    buf_init(&first, MEM_MISC);
    CHECK_OK(load(yaml, NULL, (struct config_source){0}));
    config_print_effective(&cfg, &first);
    CHECK(has(&first, "\"provider\": \"p\""));
    buf_addc(&first, 0);
    done();
    CHECK_OK(load(first.ptr, NULL, (struct config_source){0}));
    struct config again = cfg;
    cfg = (struct config){0};
    config_report_clear(&report);
    CHECK_OK(load(yaml, NULL, (struct config_source){0}));
    CHECK(config_same_but_live(&cfg, &again));
    CHECK_EQ(again.catalogue.n, 1);
    config_clear(&again);
    done();
    buf_clear(&first);
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

static struct rag_err why;

static rag_code override(const char *json, struct profile *out)
{
    why = (struct rag_err){0};
    return config_override(&cfg, str_of(json), out, &why);
}

TEST(a_question_sets_rows_of_the_table_for_itself)
{
    struct profile p;
    CHECK_OK(load(NULL, NULL, (struct config_source){0}));
    CHECK_OK(override("{}", &p));
    CHECK_EQ(memcmp(&p, &cfg.profile, sizeof p), 0);
    CHECK_OK(override("{\"stages\":{\"dense\":false},\"retrieval\":{\"bm25\":{\"k1\":1.5},\"lexical_candidates\":100},"
                      "\"fusion\":{\"method\":\"rrf\",\"dense_weight\":[0,0.5,1]},"
                      "\"reranking\":{\"candidates\":7},\"generation\":{\"classes\":\"small\",\"output_tokens\":50}}",
                      &p));
    CHECK(!p.stage_dense && p.stage_generation && p.fusion_method == FUSION_RRF);
    CHECK_NEAR(p.bm25_k1, 1.5, 1e-6);
    CHECK_EQ(p.retrieve_lexical, 100);
    CHECK_NEAR(p.dense_weight[1], 0.5, 1e-6);
    CHECK_EQ(p.rerank_candidates[2], 7);
    CHECK_EQ(p.model_class[2], 0);
    CHECK_EQ(p.output_tokens[0], 50);
    CHECK_OK(override("{\"stages\":{\"reranking\":false},\"reranking\":{\"features\":false},\"timeouts\":{\"rerank_ms\":5}}", &p));
    CHECK(!p.stage_reranking && !p.rerank_features && p.rerank_late);
    CHECK_EQ(p.rerank_timeout_ms, 5);
    CHECK_EQ(memcmp(&cfg.profile, &profile_balanced, sizeof cfg.profile), 0); /* its own only */
    done();
}

TEST(a_question_is_told_which_key_is_wrong)
{
    static const struct {
        const char *json, *param, *says;
    } bad[] = {
        {"{\"retrieval\":{\"bm25\":{\"b\":2}}}", "overrides.retrieval.bm25.b", "out of range"},
        {"{\"retrieval\":{\"bm25\":{\"b\":\"0.5\"}}}", "overrides.retrieval.bm25.b", "wants a number"},
        {"{\"retrieval\":{\"bm25\":{\"q\":1}}}", "overrides.retrieval.bm25.q", "unknown key"},
        {"{\"retrieval\":5}", "overrides.retrieval", "wants keys below it"},
        {"{\"stages\":{\"dense\":1}}", "overrides.stages.dense", "true or false"},
        {"{\"fusion\":{\"method\":\"magic\"}}", "overrides.fusion.method", "not one of"},
        {"{\"reranking\":{\"candidates\":[1,2]}}", "overrides.reranking.candidates", "this list has 2"},
        {"{\"profile\":\"fast\"}", "overrides.profile", "not one of"},
        {"{\"listen\":\"0.0.0.0:1\"}", "overrides.listen", "no setting of one question"},
        {"{\"auth\":{\"keys\":[]}}", "overrides.auth.keys", "no setting of one question"},
        {"{\"llm\":{\"base_url\":\"http://x\"}}", "overrides.llm.base_url", "no setting of one question"},
        {"{\"generation\":{\"system_prompt\":\"x\"}}", "overrides.generation.system_prompt", "no setting"},
        {"{\"budget\":{\"daily_cny\":1}}", "overrides.budget.daily_cny", "no setting of one question"},
        {"{\"\":1}", "overrides", "must be a word"},
    };
    struct profile p;
    CHECK_OK(load(NULL, NULL, (struct config_source){0}));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_EQ(override(bad[i].json, &p), RAG_EINVAL);
        CHECK_STR(str_of(why.param), bad[i].param);
        CHECK(strstr(why.msg, bad[i].says) != NULL);
        CHECK(strncmp(why.msg, "overrides", 9) == 0);
    }
    done();
}

TEST(a_question_never_costs_more_than_is_configured)
{
    static const char *const more[] = {
        "{\"generation\":{\"output_tokens\":[100,300,801]}}", "{\"generation\":{\"context_tokens\":2400}}",
        "{\"generation\":{\"passages\":[4,4,6]}}",           "{\"generation\":{\"classes\":\"medium\"}}",
        "{\"generation\":{\"class_down_above\":0.6}}",       "{\"timeouts\":{\"query_ms\":201}}",
        "{\"timeouts\":{\"rerank_ms\":51}}",
    };
    struct profile p;
    CHECK_OK(load(NULL, NULL, (struct config_source){0}));
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        CHECK_EQ(override(more[i], &p), RAG_EINVAL);
        CHECK(strstr(why.msg, "lower") != NULL);
    }
    done();
}

TEST(a_question_may_name_a_profile)
{
    struct profile p;
    CHECK_OK(load("generation: {passages: [1, 1, 1]}\n", NULL, (struct config_source){.profile = "balanced"}));
    CHECK_OK(override("{\"profile\":\"cost\",\"reranking\":{\"candidates\":50}}", &p));
    CHECK_EQ(p.context_tokens[0], 400);
    CHECK_EQ(p.model_class[1], 0);
    CHECK_EQ(p.passages[0], 1);            /* the configuration set it by itself */
    CHECK_EQ(p.rerank_candidates[0], 50);  /* and so did the question */
    done();
    CHECK_OK(load(NULL, NULL, (struct config_source){.profile = "cost"}));
    CHECK_OK(override("{\"profile\":\"balanced_optimized\"}", &p));
    CHECK_EQ(p.rerank_candidates[0], 10);
    CHECK_EQ(p.context_tokens[0], 400); /* not raised */
    CHECK_EQ(p.model_class[2], 1);
    done();
}

TEST(overrides_survive_each_failed_allocation)
{
    bool fired = true;
    struct profile p;
    CHECK_OK(load(NULL, NULL, (struct config_source){0}));
    for (unsigned nth = 1; fired && nth < 100; nth++) {
        fault_arm_alloc(nth);
        rag_code rc = override("{\"profile\":\"cost\",\"fusion\":{\"method\":\"rrf\"}}", &p);
        fired = fault_disarm();
        CHECK(fired ? rc != RAG_OK : rc == RAG_OK);
    }
    done();
}

TEST(load_survives_each_failed_allocation)
{
    bool fired = true;
    for (unsigned nth = 1; fired && nth < 200; nth++) {
        const char *env[] = {"RAGD_LLM_MODEL=m", "OPENAI_BASE_URL=https://o.example/v1", NULL};
        struct config_source src = {.listen = "127.0.0.1:1", .environment = env};
        fault_arm_alloc(nth);
        config_report_init(&report);
        rag_code rc = config_load(&src, &cfg, &report);
        fired = fault_disarm();
        CHECK(fired || rc == RAG_OK);
        done();
    }
    CHECK(!fired);
}
