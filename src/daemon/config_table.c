#include <ctype.h>
#include <stdio.h>

#include "daemon/config_int.h"

#define AT(member) offsetof(struct config, member)

const char *const config_profiles[4] = {"balanced", "latency", "throughput", "cost"};

/* clang-format off */
const struct config_row config_rows[] = {
    {"listen", CFG_STR, AT(listen), "127.0.0.1:8001", {0}, 1, 255, 0, NULL,
     "Address and port of the HTTP server. Beyond loopback only with auth.keys. Port 0 picks a free one."},
    {"data", CFG_STR, AT(data), "./data", {0}, 1, 3000, 0, NULL, "Data folder: database, segment files, lock."},
    {"profile", CFG_ENUM, AT(profile_name), "balanced", {0}, 0, 0, 0, "balanced|latency|throughput|cost",
     "Defaults of the keys below that depend on it; each of them can be set by itself."},
    {"cors_origins", CFG_STRS, AT(cors_origins), "[]", {0}, 0, 64, 0, NULL,
     "Origins whose pages may call the API from a browser, such as https://crm.example.com."},
    {"auth.keys", CFG_KEYS, AT(keys), "[]", {0}, 0, 256, 0, NULL,
     "API keys: [{name: crm, key_env: CRM_KEY, scopes: [query, ingest, admin], collections: [], rate_per_s: 50}].\n"
     "key_env names an environment variable, key_file a file; never the key itself. No collections: all of them."},
    {"limits.queries", CFG_U32, AT(max_queries), NULL, {"1000", "500", "2000", "500"}, 1, 100000, 0, NULL,
     "Queries at work at once; one more gets 503 with Retry-After."},
    {"limits.connections", CFG_U32, AT(max_connections), "0", {0}, 0, 500000, 0, NULL,
     "Open connections; 0: twice limits.queries and 2000 more."},
    {"timeouts.query_ms", CFG_U32X3, AT(profile.query_timeout_ms), NULL,
     {"[200, 500, 2000]", "[150, 400, 1500]", "[200, 500, 2000]", "[200, 500, 2000]"}, 1, 600000, 0, NULL,
     "Time for everything before generation: [simple, medium, complex]. A stage that runs out hands on what it has."},
    {"stages.dense", CFG_BOOL, AT(stage_dense), "true", {0}, 0, 0, 0, NULL,
     "Search by meaning beside search by words. Needs the model."},
    {"embedding.provider", CFG_ENUM, AT(embedding_provider), "local", {0}, 0, 0, 0, "local|none||openai",
     "What makes vectors. none: search by words only."},
    {"embedding.model", CFG_STR, AT(embedding_model), "multilingual-e5-small", {0}, 1, 3000, 0, NULL,
     "A model of the cache (ragd model list), a .ragm file, or a folder in the Hugging Face layout. After a change\n"
     "every chunk is embedded again in the background; the old model serves until that is done."},
    {"embedding.query_encoder", CFG_ENUM, AT(query_encoder), "full", {0}, 0, 0, 0, "full||adaptive|light",
     "What turns questions into vectors."},
    {"embedding.threads", CFG_U32, AT(embedding_threads), "0", {0}, 0, 64, 0, NULL,
     "Threads that embed documents, at the lowest priority; 0: one a core."},
    {"retrieval.lexical_candidates", CFG_U32, AT(profile.retrieve_lexical), "30", {0}, 1, 1000, 0, NULL,
     "Candidates of the lexical leg."},
    {"retrieval.dense_candidates", CFG_U32, AT(profile.retrieve_dense), "30", {0}, 1, 1000, 0, NULL,
     "Candidates of the dense leg."},
    {"retrieval.bm25.k1", CFG_F32, AT(profile.bm25_k1), "0.9", {0}, 0, 10, 0, NULL,
     "BM25: how fast repeated terms stop counting."},
    {"retrieval.bm25.b", CFG_F32, AT(profile.bm25_b), "0.4", {0}, 0, 1, 0, NULL,
     "BM25: how much long chunks are held back."},
    {"fusion.method", CFG_ENUM, AT(fusion_method), "convex", {0}, 0, 0, 0, "convex|rrf",
     "How the two legs become one order. convex: weighted sum of scores brought to 0..1; rrf: reciprocal ranks."},
    {"fusion.dense_weight", CFG_F32X3, AT(profile.dense_weight), "[0.6, 0.6, 0.6]", {0}, 0, 1, 0, NULL,
     "Convex: share of the dense leg, for [question, keywords, utterance]."},
    {"fusion.rrf.k", CFG_F32, AT(profile.rrf_k), "60", {0}, 0, 10000, 0, NULL, "RRF: how slowly later ranks lose."},
    {"fusion.rrf.lexical", CFG_F32, AT(profile.rrf_weights[0]), "0.4", {0}, 0.01, 100, 0, NULL, "RRF: weight of the lexical leg."},
    {"fusion.rrf.dense", CFG_F32, AT(profile.rrf_weights[1]), "0.6", {0}, 0.01, 100, 0, NULL, "RRF: weight of the dense leg."},
    {"reranking.provider", CFG_ENUM, AT(rerank_provider), "features", {0}, 0, 0, 0, "features||model|http",
     "What orders the candidates before the answer is made."},
    {"reranking.candidates", CFG_U32X3, AT(profile.rerank_candidates), NULL,
     {"[10, 15, 20]", "[10, 15, 20]", "[10, 15, 20]", "[5, 10, 15]"}, 1, 100, 0, NULL,
     "Candidates that the answer is made from: [simple, medium, complex]."},
    {"generation.extract_sentences", CFG_U32X3, AT(profile.answer_sentences), "[2, 4, 6]", {0}, 1, 20, 0, NULL,
     "Most sentences of an extracted answer: [simple, medium, complex]."},
    {"chunking.size_tokens", CFG_U32, AT(chunk_size_tokens), "256", {0}, 32, 4096, 0, NULL,
     "Target size of a chunk: a CJK character is one token, other text one for each 4 bytes. Applies to documents\n"
     "written from then on."},
    {"chunking.overlap_tokens", CFG_U32, AT(chunk_overlap_tokens), "32", {0}, 0, 1024, 0, NULL,
     "Whole sentences repeated from the chunk before, at most this many tokens."},
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
    {"stages.reranking", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "reranking"},
    {"stages.generation", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "answers by a language model"},
    {"embedding.base_url", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "remote embeddings"},
    {"embedding.api_key_env", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "remote embeddings"},
    {"vector_store", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "other vector stores"},
    {"retrieval.dimensions", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "vectors by their first dimensions"},
    {"llm", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "answers by a language model"},
    {"retry", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "answers by a language model"},
    {"breaker", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "answers by a language model"},
    {"budget", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "spending limits"},
    {"cache", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "the answer cache"},
    {"tracing", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "trace export"},
    {"limits.retrievals", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "limits by stage"},
    {"limits.generations", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "limits by stage"},
    {"timeouts.retrieval_ms", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "timeouts by stage"},
    {"timeouts.rerank_ms", CFG_LATER, 0, NULL, {0}, 0, 0, 0, NULL, "timeouts by stage"},
};
/* clang-format on */
const uint32_t config_n_rows = sizeof config_rows / sizeof *config_rows;
_Static_assert(sizeof config_rows / sizeof *config_rows <= CONFIG_MAX_FIELDS, "origin[] is too small");

const struct config_foreign_env config_foreign[] = {
    {"CORS_ORIGINS", "cors_origins"},
    {"LOG_LEVEL", "log.level"},
    {"SILICONFLOW_API_KEY", NULL},
    {"SILICONFLOW_BASE_URL", NULL},
    {"OPENAI_API_KEY", NULL},
    {"OPENAI_BASE_URL", NULL},
    {"REDIS_URL", NULL},
    {"DATABASE_URL", NULL},
    {"QDRANT_URL", NULL},
    {"DAILY_BUDGET_CNY", NULL},
    {"SEMANTIC_CACHE_THRESHOLD", NULL},
};
const uint32_t config_n_foreign = sizeof config_foreign / sizeof *config_foreign;

void config_env_name(const char *path, char *out, size_t size)
{
    snprintf(out, size, "RAGD_%s", path);
    for (char *p = out; *p; p++)
        *p = *p == '.' ? '_' : (char)toupper((unsigned char)*p);
}
