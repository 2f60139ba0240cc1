#include "flow/profile.h"

const struct profile profile_balanced = {
    .stage_dense = true,
    .stage_reranking = true,
    .stage_generation = true,
    .query_timeout_ms = {200, 500, 2000},
    .rerank_candidates = {10, 15, 20},
    .rerank_timeout_ms = 50,
    .rerank_features = true,
    .rerank_late = true,
    .rerank_skip_above = 0.3F,
    .retrieve_lexical = 30,
    .retrieve_dense = 30,
    .fusion_method = FUSION_CONVEX,
    .dense_weight = {0.6F, 0.6F, 0.6F},
    .rrf_k = 60,
    .rrf_weights = {0.4F, 0.6F},
    .bm25_k1 = 0.9F, /* chosen on training questions: docs/quality.md */
    .bm25_b = 0.4F,
    .answer_sentences = {2, 4, 6},
    .output_tokens = {100, 300, 800},
    .context_tokens = {600, 1200, 2400},
    .passages = {3, 4, 6},
    .model_class = {0, 1, 2},
    .class_down_above = 0.5F,
    .temperature = 0.2F,
};
