/* api/feedback_json.h - the body of POST /v1/feedback to a struct: strict, like request_json.h. */
#ifndef RAGD_API_FEEDBACK_JSON_H
#define RAGD_API_FEEDBACK_JSON_H

#include "base/arena.h"
#include "base/status.h"
#include "base/str.h"
#include "store/history.h"

enum {
    FEEDBACK_ID_MAX = 512,                   /* bytes of query_id and user_id */
    FEEDBACK_CHUNK_ID_MAX = 512 + 1 + 10,    /* a document's id, '#', the number of the chunk */
    FEEDBACK_CHUNKS_MAX = 100,
    FEEDBACK_COMMENT_MAX = 4096
};

/* chunk_id and chunk_ids together become out->chunk_ids, each once; *chunk_field: which of the two a message names. at_ms
 * and key are left alone. Strings are copied into the arena. RAG_EINVAL names the field in err->param; RAG_ETOOBIG;
 * RAG_ENOMEM. */
RAG_MUST_CHECK rag_code feedback_from_json(struct str body, size_t max_bytes, struct arena *a,
                                           struct history_feedback *out, const char **chunk_field, struct rag_err *err);

#endif
