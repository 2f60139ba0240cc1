#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "daemon/config_int.h"

#define AT(member) offsetof(struct config, member)

const char *const config_profiles[4] = {"balanced", "latency", "throughput", "cost"};

/* clang-format off */
const struct config_row config_rows[] = {
    {"listen", CFG_STR, AT(listen), "127.0.0.1:8001", {0}, 1, 255, 0, NULL,
     "Address and port of the HTTP server. Beyond loopback only with auth.keys. Port 0 picks a free one."},
    {"data", CFG_STR, AT(data), "./data", {0}, 1, 3000, 0, NULL, "Data folder: database, segment files, lock."},
    {"profile", CFG_ENUM, AT(profile_name), "balanced", {0}, 0, 0, CFG_ASK, "balanced|latency|throughput|cost",
     "Defaults of the keys below that depend on it; each of them can be set by itself."},
    {"cors_origins", CFG_STRS, AT(cors_origins), "[]", {0}, 0, 64, 0, NULL,
     "Origins whose pages may call the API from a browser, such as https://crm.example.com."},
    {"auth.keys", CFG_KEYS, AT(keys), "[]", {0}, 0, 256, 0, NULL,
     "API keys:\n"
     "  - {name: crm, key_env: CRM_KEY, scopes: [query, ingest, admin], collections: [], rate_per_s: 50, daily_cny: 20}\n"
     "key_env names an environment variable, key_file a file; never the key itself. No collections: all of them.\n"
     "What a key's questions may cost a day is daily_cny; 0 or left out: no limit of its own."},
    {"limits.queries", CFG_U32, AT(max_queries), NULL, {"1000", "500", "2000", "500"}, 1, 100000, 0, NULL,
     "Queries at work at once; one more gets 503 with Retry-After."},
    {"limits.generations", CFG_U32, AT(max_generations), NULL, {"50", "50", "100", "50"}, 1, 10000, 0, NULL,
     "Answers by a model at work at once; more wait their turn within llm.timeouts.answer_ms."},
    {"limits.connections", CFG_U32, AT(max_connections), "0", {0}, 0, 500000, 0, NULL,
     "Open connections; 0: twice limits.queries and 2000 more."},
    {"timeouts.query_ms", CFG_U32X3, AT(profile.query_timeout_ms), NULL,
     {"[200, 500, 2000]", "[150, 400, 1500]", "[200, 500, 2000]", "[200, 500, 2000]"}, 1, 600000, CFG_ASK_LESS, NULL,
     "Time for everything before generation: [simple, medium, complex]. A stage that runs out hands on what it has."},
    {"timeouts.rerank_ms", CFG_U32, AT(profile.rerank_timeout_ms), "50", {0}, 1, 10000, CFG_ASK_LESS, NULL,
     "Time for reranking; candidates that it does not reach keep their place."},
    {"stages.dense", CFG_BOOL, AT(profile.stage_dense), "true", {0}, 0, 0, CFG_ASK, NULL,
     "Search by meaning beside search by words. Needs the model."},
    {"stages.reranking", CFG_BOOL, AT(profile.stage_reranking), "true", {0}, 0, 0, CFG_ASK, NULL,
     "A second, closer look at the first candidates, which puts them into their final order."},
    {"stages.generation", CFG_BOOL, AT(profile.stage_generation), "true", {0}, 0, 0, CFG_ASK, NULL,
     "Answers by a language model. Needs llm.base_url or llm.providers; without them answers are cited extracts."},
    {"embedding.provider", CFG_ENUM, AT(embedding_provider), "local", {0}, 0, 0, 0, "local|none||openai",
     "What makes vectors. none: search by words only."},
    {"embedding.model", CFG_STR, AT(embedding_model), "multilingual-e5-small", {0}, 1, 3000, 0, NULL,
     "A model of the cache (ragd model list), a .ragm file, or a folder in the Hugging Face layout. After a change\n"
     "every chunk is embedded again in the background; the old model serves until that is done."},
    {"embedding.query_encoder", CFG_ENUM, AT(query_encoder), "full", {0}, 0, 0, 0, "full||adaptive|light",
     "What turns questions into vectors."},
    {"embedding.threads", CFG_U32, AT(embedding_threads), "0", {0}, 0, 64, 0, NULL,
     "Threads that embed documents, at the lowest priority; 0: one a core."},
    {"retrieval.lexical_candidates", CFG_U32, AT(profile.retrieve_lexical), "30", {0}, 1, 1000, CFG_ASK, NULL,
     "Candidates of the lexical leg."},
    {"retrieval.dense_candidates", CFG_U32, AT(profile.retrieve_dense), "30", {0}, 1, 1000, CFG_ASK, NULL,
     "Candidates of the dense leg."},
    {"retrieval.bm25.k1", CFG_F32, AT(profile.bm25_k1), "0.9", {0}, 0, 10, CFG_ASK, NULL,
     "BM25: how fast repeated terms stop counting."},
    {"retrieval.bm25.b", CFG_F32, AT(profile.bm25_b), "0.4", {0}, 0, 1, CFG_ASK, NULL,
     "BM25: how much long chunks are held back."},
    {"fusion.method", CFG_ENUM, AT(fusion_method), "convex", {0}, 0, 0, CFG_ASK, "convex|rrf",
     "How the two legs become one order. convex: weighted sum of scores brought to 0..1; rrf: reciprocal ranks."},
    {"fusion.dense_weight", CFG_F32X3, AT(profile.dense_weight), "[0.6, 0.6, 0.6]", {0}, 0, 1, CFG_ASK, NULL,
     "Convex: share of the dense leg, for [question, keywords, utterance]."},
    {"fusion.rrf.k", CFG_F32, AT(profile.rrf_k), "60", {0}, 0, 10000, CFG_ASK, NULL, "RRF: how slowly later ranks lose."},
    {"fusion.rrf.lexical", CFG_F32, AT(profile.rrf_weights[0]), "0.4", {0}, 0.01, 100, CFG_ASK, NULL, "RRF: weight of the lexical leg."},
    {"fusion.rrf.dense", CFG_F32, AT(profile.rrf_weights[1]), "0.6", {0}, 0.01, 100, CFG_ASK, NULL, "RRF: weight of the dense leg."},
    {"reranking.provider", CFG_ENUM, AT(rerank_provider), "features", {0}, 0, 0, 0, "features||model|http",
     "What orders the candidates before the answer is made."},
    {"reranking.candidates", CFG_U32X3, AT(profile.rerank_candidates), NULL,
     {"[10, 15, 20]", "[10, 15, 20]", "[10, 15, 20]", "[5, 10, 15]"}, 1, 100, CFG_ASK, NULL,
     "Candidates that the answer is made from: [simple, medium, complex]."},
    {"reranking.features", CFG_BOOL, AT(profile.rerank_features), "true", {0}, 0, 0, CFG_ASK, NULL,
     "Rerank by what the words of question and candidate have in common: coverage, nearness, phrases, headings, numbers."},
    {"reranking.late_interaction", CFG_BOOL, AT(profile.rerank_late), "true", {0}, 0, 0, CFG_ASK, NULL,
     "Rerank by the meaning of single words in their context. Keeps 1 bit a dimension of every token (48 bytes with the\n"
     "default model, some kilobytes a chunk). Off in the configuration: none are kept; on again: they are made again."},
    {"reranking.skip_above", CFG_F32, AT(profile.rerank_skip_above), "0.3", {0}, 0, 1, CFG_ASK, NULL,
     "Where the first candidate's fused score (0 to 1) leads the second's by more than this, the order stands; 1: never."},
    {"generation.extract_sentences", CFG_U32X3, AT(profile.answer_sentences), "[2, 4, 6]", {0}, 1, 20, CFG_ASK, NULL,
     "Most sentences of an extracted answer: [simple, medium, complex]."},
    {"generation.output_tokens", CFG_U32X3, AT(profile.output_tokens), "[100, 300, 800]", {0}, 1, 32768, CFG_ASK_LESS, NULL,
     "Most tokens of a model's answer: [simple, medium, complex]."},
    {"generation.context_tokens", CFG_U32X3, AT(profile.context_tokens), NULL,
     {"[600, 1200, 2400]", "[600, 1200, 2400]", "[600, 1200, 2400]", "[400, 800, 1600]"}, 50, 200000, CFG_ASK_LESS, NULL,
     "Most tokens of passages in the prompt: [simple, medium, complex]."},
    {"generation.passages", CFG_U32X3, AT(profile.passages), NULL,
     {"[3, 4, 6]", "[3, 4, 6]", "[3, 4, 6]", "[2, 4, 6]"}, 1, 50, CFG_ASK_LESS, NULL,
     "Most passages in the prompt: [simple, medium, complex]."},
    {"generation.classes", CFG_CLASSX3, AT(profile.model_class), NULL,
     {"[small, medium, large]", "[small, medium, large]", "[small, medium, large]", "[small, small, medium]"}, 0, 0, CFG_ASK_LESS, NULL,
     "Class of the model that is asked first, small, medium or large: [simple, medium, complex]."},
    {"generation.class_down_above", CFG_F32, AT(profile.class_down_above), "0.5", {0}, 0, 1, CFG_ASK_LESS, NULL,
     "Confidence of the retrieval above which one class less is asked; 1: never."},
    {"generation.temperature", CFG_F32, AT(profile.temperature), "0.2", {0}, 0, 2, CFG_ASK, NULL,
     "Temperature sent to the model."},
    {"generation.system_prompt", CFG_TEXT, AT(system_prompt), "\"\"", {0}, 0, 16000, 0, NULL,
     "Put before the rules that every prompt begins with: who answers, for whom, in which tone."},
    {"llm.base_url", CFG_STR, AT(llm_base_url), "\"\"", {0}, 0, 2000, 0, NULL,
     "An upstream that speaks the OpenAI protocol, such as https://api.example.com/v1: short for one provider.\n"
     "Without it and without providers answers are cited extracts."},
    {"llm.api_key_env", CFG_STR, AT(llm_key_env), "\"\"", {0}, 0, 64, 0, NULL,
     "Name of the environment variable that holds its key; never the key itself."},
    {"llm.api_key_file", CFG_STR, AT(llm_key_file), "\"\"", {0}, 0, 3000, 0, NULL,
     "Or the file that holds it."},
    {"llm.ca_file", CFG_STR, AT(llm_ca_file), "\"\"", {0}, 0, 3000, 0, NULL,
     "PEM file of the roots that its certificate is checked with, instead of the system's."},
    {"llm.model", CFG_STR, AT(llm_model), "\"\"", {0}, 0, 128, 0, NULL,
     "The one model for every question (class medium, price 0: the budget does not count it). Instead of llm.models."},
    {"llm.providers", CFG_PROVIDERS, AT(providers), "[]", {0}, 0, 64, 0, NULL,
     "Several upstreams, instead of llm.base_url:\n"
     "  - {name: main, base_url: \"https://api.example.com/v1\", api_key_env: MAIN_KEY}\n"
     "  - {name: own, base_url: \"https://llm.internal/v1\", api_key_file: /etc/ragd/key, ca_file: /etc/ragd/ca.pem}\n"
     "One that takes Anthropic's cache_control marks has cache_control: true."},
    {"llm.models", CFG_MODELS, AT(models), "[]", {0}, 0, LLM_MAX_MODELS, 0, NULL,
     "The models, in the order in which those of a class are tried. An example; a price is CNY per million tokens,\n"
     "today's is on the provider's page:\n"
     "  - {name: large, model: vendor/large-chat, class: large, context: 32768, price: {input: 1.4, output: 2.8}}\n"
     "  - {name: medium, model: vendor/medium-chat, class: medium, context: 32768, price: {input: 0.7, output: 1.4}}\n"
     "  - {name: small, model: vendor/small-chat, class: small, aliases: [mini], price: {input: 0.2, output: 0.4}}\n"
     "The name is ours; model is the provider's name for it (left out: the same). A provider must be named when there are\n"
     "several. Left out, class is medium, context (tokens of prompt and answer together) unknown, cached_input as input;\n"
     "without a price the budget does not count the model."},
    {"llm.timeouts.connect_ms", CFG_U32, AT(llm_connect_ms), "1000", {0}, 1, 600000, 0, NULL,
     "Time for a connection, TLS included."},
    {"llm.timeouts.first_token_ms", CFG_U32, AT(llm_first_token_ms), NULL, {"8000", "4000", "8000", "8000"}, 1, 600000, 0,
     NULL, "Time to the first token of one attempt; then the next model is asked."},
    {"llm.timeouts.inter_token_ms", CFG_U32, AT(llm_inter_token_ms), "5000", {0}, 1, 600000, 0, NULL,
     "Longest silence between two tokens; then the answer counts as cut."},
    {"llm.timeouts.answer_ms", CFG_U32, AT(llm_answer_ms), NULL, {"20000", "10000", "20000", "20000"}, 1, 600000, 0, NULL,
     "Time to the first token over all attempts and models; then the answer is a cited extract."},
    {"llm.hedge_ms", CFG_U32, AT(llm_hedge_ms), "0", {0}, 0, 600000, 0, NULL,
     "No first token after so long: the next model is asked as well and the first token wins; 0: never. Costs more."},
    {"llm.idle_connections", CFG_U32, AT(llm_idle_connections), NULL, {"20", "20", "50", "10"}, 1, 1000, 0, NULL,
     "Connections to upstreams that are kept open for later calls."},
    {"retry.attempts", CFG_U32, AT(retry_attempts), "3", {0}, 1, 10, 0, NULL,
     "Attempts of one model for one answer, the first included; only what may succeed the second time is repeated."},
    {"retry.initial_ms", CFG_U32, AT(retry_initial_ms), "1000", {0}, 1, 600000, 0, NULL,
     "Wait before the second attempt: a random time up to this."},
    {"retry.factor", CFG_F64, AT(retry_factor), "2", {0}, 1, 10, 0, NULL, "How much longer each further wait may be."},
    {"retry.max_ms", CFG_U32, AT(retry_max_ms), "10000", {0}, 1, 600000, 0, NULL, "No wait may be longer."},
    {"retry.budget", CFG_F64, AT(retry_budget), "0.2", {0}, 0, 1, 0, NULL,
     "Most retries as a share of calls, so that a sick upstream is not flooded; 0: none."},
    {"breaker.failures", CFG_U32, AT(breaker_failures), "5", {0}, 1, 1000, 0, NULL,
     "Failed attempts of a model in a row after which it is left alone (its breaker opens)."},
    {"breaker.open_s", CFG_U32, AT(breaker_open_s), "60", {0}, 1, 86400, 0, NULL,
     "How long; then one attempt at a time probes it."},
    {"breaker.successes", CFG_U32, AT(breaker_successes), "2", {0}, 1, 100, 0, NULL,
     "Probes in a row that must succeed before it is used as before."},
    {"budget.daily_cny", CFG_CNY, AT(budget_daily), "100", {0}, 0, 1e9, 0, NULL,
     "Most that models may cost a day, in CNY; 0: no limit."},
    {"budget.monthly_cny", CFG_CNY, AT(budget_monthly), "2000", {0}, 0, 1e9, 0, NULL, "The same for a calendar month."},
    {"budget.warn", CFG_F64, AT(budget_warn), "0.8", {0}, 0.01, 1, 0, NULL,
     "Share of a limit from which on only the cheapest models are asked."},
    {"budget.stop", CFG_F64, AT(budget_stop), "0.95", {0}, 0.01, 1, 0, NULL,
     "Share of a limit from which on no model is asked: answers are cited extracts."},
    {"budget.timezone", CFG_STR, AT(budget_timezone), "Asia/Shanghai", {0}, 1, 64, 0, NULL,
     "Where days and months begin: a name such as Asia/Shanghai, or an offset such as +08:00."},
    {"history.enabled", CFG_BOOL, AT(history_enabled), "true", {0}, 0, 0, 0, NULL,
     "Keep questions and answers in the data folder, for ragd report and feedback."},
    {"history.days", CFG_U32, AT(history_days), "30", {0}, 1, 3650, 0, NULL, "For so many days."},
    {"chunking.size_tokens", CFG_U32, AT(chunk_size_tokens), "256", {0}, 32, 4096, 0, NULL,
     "Target size of a chunk: a CJK character is one token, other text one for each 4 bytes. Applies to documents\n"
     "written from then on."},
    {"chunking.overlap_tokens", CFG_U32, AT(chunk_overlap_tokens), "64", {0}, 0, 1024, 0, NULL,
     "Whole sentences repeated from the chunk before, at most this many tokens. Unset: a quarter of the size."},
    {"text.user_words_file", CFG_STR, AT(user_words_file), "\"\"", {0}, 0, 3000, 0, NULL,
     "UTF-8 file of words to keep whole, one a line (# starts a comment): product names, house terms. A change\n"
     "rebuilds the index at the next start."},
    {"ingest.max_file_mb", CFG_U32, AT(ingest_file_mb), "64", {0}, 1, 1024, 0, NULL, "Largest file taken."},
    {"ingest.max_text_mb", CFG_U32, AT(ingest_text_mb), "64", {0}, 1, 1024, 0, NULL,
     "Most text taken out of one file (zip bombs end here)."},
    {"ingest.memory_mb", CFG_U32, AT(ingest_memory_mb), "1024", {0}, 64, 65536, 0, NULL,
     "Address space of the process that reads one file."},
    {"ingest.cpu_s", CFG_U32, AT(ingest_cpu_s), "20", {0}, 1, 3600, 0, NULL, "CPU time of the same."},
    {"ingest.timeout_ms", CFG_U32, AT(ingest_wall_ms), "30000", {0}, 100, 3600000, 0, NULL, "Wall time of the same."},
    {"log.level", CFG_ENUM, AT(log_level), "info", {0}, 0, 0, CFG_LIVE, "debug|info|warn|error|off",
     "Log lines (JSON, on stderr) below this level are dropped."},

    {"stages.cache", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "the answer cache"},
    {"stages.variants", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "rewritten questions"},
    {"embedding.base_url", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "remote embeddings"},
    {"embedding.api_key_env", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "remote embeddings"},
    {"vector_store", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "other vector stores"},
    {"retrieval.dimensions", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "vectors by their first dimensions"},
    {"cache", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "the answer cache"},
    {"tracing", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "trace export"},
    {"limits.retrievals", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "limits by stage"},
    {"timeouts.retrieval_ms", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "timeouts by stage"},
};
/* clang-format on */
const uint32_t config_n_rows = sizeof config_rows / sizeof *config_rows;
_Static_assert(sizeof config_rows / sizeof *config_rows <= CONFIG_MAX_FIELDS, "origin[] is too small");

const struct config_foreign_env config_foreign[] = {
    {"CORS_ORIGINS", "cors_origins"},
    {"LOG_LEVEL", "log.level"},
    {"REDIS_URL", NULL},
    {"DATABASE_URL", NULL},
    {"QDRANT_URL", NULL},
    {"DAILY_BUDGET_CNY", "budget.daily_cny"},
    {"SEMANTIC_CACHE_THRESHOLD", NULL},
};
const uint32_t config_n_foreign = sizeof config_foreign / sizeof *config_foreign;

const struct config_foreign_llm config_foreign_llm[] = {
    {"SILICONFLOW_BASE_URL", "SILICONFLOW_API_KEY", "https://api.siliconflow.cn/v1"},
    {"OPENAI_BASE_URL", "OPENAI_API_KEY", "https://api.openai.com/v1"},
};
const uint32_t config_n_foreign_llm = sizeof config_foreign_llm / sizeof *config_foreign_llm;

uint32_t config_find_row(const char *path)
{
    for (uint32_t i = 0; i < config_n_rows; i++)
        if (strcmp(config_rows[i].path, path) == 0)
            return i;
    return UINT32_MAX;
}

void config_env_name(const char *path, char *out, size_t size)
{
    snprintf(out, size, "RAGD_%s", path);
    for (char *p = out; *p; p++)
        *p = *p == '.' ? '_' : (char)toupper((unsigned char)*p);
}
