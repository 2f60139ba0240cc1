/* flow/profile.h - the numbers of a profile that one question runs under (contract, section 4). */
#ifndef RAGD_FLOW_PROFILE_H
#define RAGD_FLOW_PROFILE_H

#include <stdbool.h>
#include <stdint.h>

enum fusion_method { FUSION_CONVEX, FUSION_RRF };

/* Arrays are [simple, medium, complex]. */
struct profile {
    bool stage_dense, stage_reranking, stage_generation; /* off: left out, even where its model is there */
    uint32_t query_timeout_ms[3];
    uint32_t rerank_candidates[3]; /* chunks that the reranker orders anew and the extract looks at */
    uint32_t rerank_timeout_ms;
    bool rerank_features, rerank_late; /* the reranker's two parts */
    float rerank_skip_above; /* gap of the fused scores of the first two above which the order stands; 1: never */
    uint32_t retrieve_lexical, retrieve_dense; /* candidates of each leg */
    enum fusion_method fusion_method;
    float dense_weight[3];         /* of the convex fusion, 0..1: [question, keywords, utterance] */
    float rrf_k, rrf_weights[2];   /* [lexical, dense] */
    float bm25_k1, bm25_b;
    uint32_t answer_sentences[3]; /* upper bound of sentences in an extract */
    uint32_t output_tokens[3];    /* most tokens of a model's answer */
    uint32_t context_tokens[3];   /* most tokens of passages in its prompt */
    uint32_t passages[3];         /* most passages in its prompt */
    uint32_t model_class[3];      /* enum model_class (llm/catalogue.h) */
    float class_down_above;       /* confidence of the retrieval above which one class less is enough; 1: never */
    float temperature;            /* of the model */
};
extern const struct profile profile_balanced;

#endif
