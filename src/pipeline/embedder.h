/* pipeline/embedder.h - gives every chunk of a data folder its vector, in the background.
 *
 * Documents are searchable by words as soon as they are written; their vectors follow. The threads run at the lowest
 * priority, so questions keep the cores. What was embedded is durable: a restart goes on where it stopped. */
#ifndef RAGD_PIPELINE_EMBEDDER_H
#define RAGD_PIPELINE_EMBEDDER_H

#include "model/encoder_pool.h"
#include "pipeline/knowledge.h"
#include "pipeline/passage_tokens.h"

struct embedder;
struct embedder_options {
    struct knowledge *knowledge;  /* whose spaces[0] is the model's */
    struct encoder_pool *encoders;
    const struct vector_space *space; /* knowledge's spaces[0] */
    struct token_tools tokens;
    unsigned threads; /* 0: one a core */
};
RAG_MUST_CHECK rag_code embedder_start(const struct embedder_options *opt, struct embedder **out,
                                       struct rag_err *err);
/* Ends within a layer's time; before knowledge_close. NULL is fine. */
void embedder_stop(struct embedder *e);

struct embedder_stats {
    uint64_t embedded; /* passages since the start */
    uint64_t tokens;
    uint64_t failures;    /* batches given up; they are tried again */
    double passages_per_s; /* while there was work, over about the last ten seconds; 0: idle */
};
void embedder_stats(struct embedder *e, struct embedder_stats *out);

#endif
