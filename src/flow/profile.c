#include "flow/profile.h"

const struct profile profile_balanced = {
    .query_timeout_ms = {200, 500, 2000},
    .rerank_candidates = {10, 15, 20},
    .retrieve_lexical = 30,
    .bm25_k1 = 0.9F, /* chosen on training questions: docs/quality.md */
    .bm25_b = 0.4F,
    .answer_sentences = {2, 4, 6},
};
