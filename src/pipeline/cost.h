/* pipeline/cost.h - what questions cost: each runs through the stages, and its prompt and answer are priced.
 *
 * There is no cache: every question is paid for. How often each is asked is a matter of weights afterwards. One thread at a
 * time. */
#ifndef RAGD_PIPELINE_COST_H
#define RAGD_PIPELINE_COST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"
#include "llm/catalogue.h"
#include "pipeline/ask.h"

enum {
    COST_BASELINE_CHUNKS = 5, /* in full, whatever the question is */
    COST_MIX = 1000,          /* questions of the mix that costs are promised for */
    COST_SHORT_PROMPT = 200   /* tokens of the short prompt that costs are promised for */
};

struct cost_options {
    const struct pipeline *pipeline; /* with an llm: prompts are made for its models */
    struct str collection;
    bool baseline; /* the best COST_BASELINE_CHUNKS chunks to a large model, always */
    bool call;     /* the models are asked; false: the length of their answers is assumed, nothing is sent */
    uint32_t answer_tokens; /* without call; 0: as long as the extract. Never above the output budget */
    void (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *ctx;
};
struct cost_question {
    bool asked;    /* false: nothing was retrieved, so there is no prompt: everything below is 0 */
    bool one_down; /* one class less was enough */
    bool fallback,
        degraded;           /* call: another model answered; none did (then cost is what the attempts cost) */
    enum model_class class; /* of the model that answers */
    uint32_t prompt, answer; /* tokens */
    uint32_t rules;          /* of the prompt: what stands in every prompt */
    uint32_t shortest;       /* of the shortest prompt that can be made: one passage, PROMPT_LEAST_CONTEXT */
    nano_cny cost, cost_shortest,
        cost_short; /* with this prompt, with the shortest, with COST_SHORT_PROMPT tokens */
};
/* out: struct cost_question[n]. A question has all the time it needs. Codes of ask_run; RAG_EUNSUPPORTED: no model can take
 * such a prompt. After a failure no call is at work any more. */
RAG_MUST_CHECK rag_code cost_run(const struct cost_options *opt, const struct str *questions, uint32_t n,
                                 struct cost_question *out, struct rag_err *err);

/* w: double[n], sum 1: how often each question is asked when Zipf's law, rank^-s, holds for max(n, COST_MIX) ranks. Fewer
 * questions stand for several ranks each: the ranks are filled with one shuffle of them after the other. The same seed
 * gives the same weights. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code cost_zipf(double s, uint64_t seed, double *w, uint32_t n);
struct cost_spread {
    double mean, p50, p95;
};
/* Of uint32_t members of n cost_questions, `offset` into each; those not asked count as 0. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code cost_spread(const struct cost_question *q, const double *w, uint32_t n, size_t offset,
                                    struct cost_spread *out);

#endif
