/* pipeline/ask.h - one question through the stages. */
#ifndef RAGD_PIPELINE_ASK_H
#define RAGD_PIPELINE_ASK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/status.h"
#include "flow/answer.h"
#include "flow/hits.h"
#include "flow/profile.h"
#include "flow/query.h"
#include "flow/qvec.h"
#include "llm/llm.h"
#include "model/encoder_pool.h"
#include "pipeline/knowledge.h"
#include "pipeline/passage_tokens.h"
#include "stages/generation/prompt.h"
#include "stages/reranking/reranking.h"

enum stage { STAGE_ANALYSIS, STAGE_EMBEDDING, STAGE_RETRIEVAL, STAGE_FUSION, STAGE_RERANKING, STAGE_GENERATION, STAGES };
const char *
stage_name(enum stage s); /* "analysis", ...: also the metric's label and the folder under stages/ */

/* What every question of this process shares; immutable while questions run. */
struct pipeline {
    struct knowledge *knowledge;
    const struct analyzer *analyzer;
    struct profile profile;
    /* By the slot of the vectors they make: [0] the configured model's, [1] the one it replaces. NULL: the dense leg is
     * off, for the reason given. */
    struct encoder_pool *encoders[VECTOR_SLOTS];
    const char *why_no_encoder;
    struct token_tools tokens; /* of slot 0's model; NULLs: no late interaction */
    struct llm *llm;          /* NULL: answers are cited extracts */
    struct str system_prompt; /* of collections that have none of their own; may be empty */
    uint64_t nonce_key;       /* struct prompt_options */
};

struct ask {
    struct arena *arena; /* the caller's; everything below lives in it */
    struct query query;  /* in: filled by the caller */
    bool search_only;    /* in: stop after retrieval (/v1/search) */
    bool listing;        /* in: with search_only and empty text: list by filter */
    const struct profile *profile; /* in: its own, as long as the ask; NULL: the pipeline's */
    struct query_analysis analysis;
    struct qvec qvec;
    struct hits hits;
    struct rerank_report rerank;
    float confidence;
    struct answer answer; /* the extract; with a prompt only after ask_extract */
    struct route route;
    struct prompt *prompt; /* a model is wanted: pipeline/generate.h goes on; NULL: the extract is the answer */
    int64_t arrived_ns;       /* in: monotonic, when its time began to run; 0: when the stages begin */
    int64_t deadline_ns;      /* monotonic; 0: from the profile, by complexity */
    int64_t stage_ns[STAGES]; /* time taken; -1: did not run */
    int64_t total_ns;
    const char *cut_short; /* name of the stage that ran out of time, else NULL */
    struct buf explain;    /* JSON object per stage, comma-separated, when query.explain */
    bool pinned;
};

/* Runs the stages. The list stays pinned so that hits can be read: ask_end must follow on the same thread.
 * RAG_ENOTFOUND: unknown collection. RAG_EINVAL: empty question. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code ask_run(const struct pipeline *p, struct ask *ask, struct rag_err *err);
/* The same for n questions that wait at the same time, up to ASK_BATCH: what is cheaper together runs together. Each is
 * its own success or failure: rc[i], err[i]. */
enum { ASK_BATCH = 16 };
void ask_run_batch(const struct pipeline *p, struct ask *const *asks, uint32_t n, rag_code *rc, struct rag_err *err);
/* Whether questions take long enough (an encoder runs) to be worth a thread of their own. */
bool ask_is_heavy(const struct pipeline *p);
/* Makes the extract of an ask that has a prompt: what stands in for the model's answer. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code ask_extract(const struct pipeline *p, struct ask *k);
void ask_end(const struct pipeline *p, struct ask *ask);

#endif
