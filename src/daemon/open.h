/* daemon/open.h - from a configuration to the parts that server and commands share. */
#ifndef RAGD_DAEMON_OPEN_H
#define RAGD_DAEMON_OPEN_H

#include <stdbool.h>

#include "daemon/config.h"
#include "extract/extract.h"
#include "pipeline/knowledge.h"
#include "text/analyzer.h"

/* The analyser with the words of text.user_words_file. RAG_EINVAL names file, line and word. */
RAG_MUST_CHECK rag_code open_analyzer(const struct config *c, struct analyzer **out, struct rag_err *err);
/* RAG_EINVAL: the data folder is there, but is no folder. */
RAG_MUST_CHECK rag_code open_check_data(const struct config *c, struct rag_err *err);
/* The knowledge in the data folder, which the caller has locked. */
RAG_MUST_CHECK rag_code open_knowledge(const struct config *c, const struct analyzer *an, bool wait_ready,
                                       struct knowledge **out, struct rag_err *err);
struct extract_limits open_extract_limits(const struct config *c);

#endif
