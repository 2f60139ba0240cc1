/* daemon/open.h - from a configuration to the parts that server and commands share. */
#ifndef RAGD_DAEMON_OPEN_H
#define RAGD_DAEMON_OPEN_H

#include <stdbool.h>

#include "daemon/config.h"
#include "extract/extract.h"
#include "llm/llm.h"
#include "pipeline/ask.h"
#include "pipeline/passage_tokens.h"
#include "text/analyzer.h"

/* The analyser with the words of text.user_words_file. RAG_EINVAL names file, line and word. */
RAG_MUST_CHECK rag_code open_analyzer(const struct config *c, struct analyzer **out, struct rag_err *err);
/* RAG_EINVAL: the data folder is there, but is no folder. */
RAG_MUST_CHECK rag_code open_check_data(const struct config *c, struct rag_err *err);
/* The encoders by slot: [0] the configured model, [1] the one whose vectors the data folder has, when it is another one
 * and its file is still there. */
struct open_models {
    struct model *model[VECTOR_SLOTS];
    struct encoder_pool *encoders[VECTOR_SLOTS];
    struct vector_space space[VECTOR_SLOTS];
    struct token_tools tokens; /* of model[0]; NULLs when reranking.late_interaction is off */
    char why_not[512]; /* why there is no model[0]; "" when there is one */
};
/* A model that is missing or unusable is no failure: why_not says so, and search goes by words. data: the folder whose
 * vectors may be of another model; NULL: none. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code open_models(const struct config *c, const char *data, struct open_models *out);
void open_models_close(struct open_models *m); /* a zeroed one is fine */

/* The knowledge in the data folder, which the caller has locked. */
RAG_MUST_CHECK rag_code open_knowledge(const struct config *c, const struct analyzer *an,
                                       const struct open_models *models, bool wait_ready, struct knowledge **out,
                                       struct rag_err *err);
/* The numbers that questions run under. */
struct profile open_profile(const struct config *c);
/* What questions need; it refers to its arguments. llm may be NULL. */
struct pipeline open_pipeline(const struct config *c, const struct analyzer *an, const struct open_models *models,
                              struct knowledge *k, struct llm *llm);
struct extract_limits open_extract_limits(const struct config *c);

/* What answers by a model need. All NULL: there is no model, or stages.generation is off. */
struct open_llm {
    struct net_client *net;
    struct ledger *ledger;
    struct llm *llm;
};
/* Opens DATA/ledger.db, so the data folder exists and is locked; the secrets are resolved (config_resolve_keys). `c` and
 * metrics (NULL: none) outlive it. Starts the client's thread, so signals are blocked before. On failure nothing is open;
 * codes are those of ledger_open, net_client_start and llm_open. */
RAG_MUST_CHECK rag_code open_llm(const struct config *c, struct metrics *metrics, struct open_llm *out, struct rag_err *err);
/* After the last call was released. A zeroed one is fine. */
void open_llm_close(struct open_llm *o);

#endif
