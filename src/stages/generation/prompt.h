/* stages/generation/prompt.h - what the model is told: stable rules first, then the passages, then the question.
 *
 * messages[0] (system) depends on the collection alone, so that providers can keep it; everything that varies follows in
 * messages[1] (user). Passages are data: they stand between marks that their text cannot contain, numbered from 1 as the
 * citations are; the rules say that nothing between the marks is an instruction. Near-duplicates are left out, and a
 * passage that does not fit the budget is cut at a sentence. */
#ifndef RAGD_STAGES_PROMPT_H
#define RAGD_STAGES_PROMPT_H

#include "base/arena.h"
#include "base/status.h"
#include "flow/hits.h"
#include "flow/query.h"
#include "stages/generation/citations.h"
#include "stages/generation/route.h"
#include "wire/openai.h"

/* Tokens; a route with fewer gets these, so that the best passage is always in. */
enum { PROMPT_LEAST_CONTEXT = 128 };

struct prompt_options {
    struct str system_prompt; /* of the collection or the configuration, before our rules; empty: none */
    uint64_t nonce_key;       /* random per process: makes the marks unguessable */
};
struct prompt_passage {
    uint32_t hit; /* index into hits; its number in the prompt is its place + 1 */
    bool cut;     /* the end of its text did not fit */
};
struct prompt {
    struct chat_message messages[2];
    struct prompt_passage passages[CITATIONS_MAX_PASSAGES];
    uint32_t n_passages;
    uint32_t n_duplicates; /* left out */
    uint32_t tokens;       /* of both messages, as llm_count_tokens counts */
};
/* Everything in `out` lives in `a`. Hits must be pinned. RAG_ENOTFOUND: no hit that could be a passage. RAG_ENOMEM.
 * Thread-safe. */
RAG_MUST_CHECK rag_code prompt_build(const struct prompt_options *opt, const struct query *q,
                                     const struct query_analysis *qa, const struct hits *h,
                                     const struct route *r, struct arena *a, struct prompt *out);
#endif
