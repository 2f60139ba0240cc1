/* api/request_json.h - request bodies to structs: strict, every field named when it is wrong.
 *
 * Unknown fields are refused, those of later versions too (cache: "not supported yet"). null counts as
 * absent. Strings are copied into the arena. RAG_EINVAL names the field in err->param; RAG_ETOOBIG; RAG_ENOMEM. */
#ifndef RAGD_API_REQUEST_JSON_H
#define RAGD_API_REQUEST_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/str.h"
#include "flow/query.h"

enum {
    QUERY_TEXT_MAX = 8192,
    DOCUMENT_ID_MAX = 512,
    COLLECTION_NAME_MAX = 64,
    BATCH_MAX = 1000,
    METADATA_MAX = 64 << 10,
    OVERRIDES_MAX = 4096
};

/* POST /v1/query, or /v1/search when `search`: there the query may be missing or empty (*listing). What is in `overrides`
 * is not looked at. */
RAG_MUST_CHECK rag_code query_from_json(struct str body, size_t max_bytes, bool search, struct arena *a,
                                        struct query *out, bool *listing, struct rag_err *err);
/* `filters` of contract section 2. */
RAG_MUST_CHECK rag_code filter_from_json(const json_t *v, struct arena *a, struct filter *out,
                                         struct rag_err *err);
/* {"filters": {...}}, which must not be empty: what DELETE .../documents takes. */
RAG_MUST_CHECK rag_code delete_from_json(struct str body, size_t max_bytes, struct arena *a,
                                         struct filter *out, struct rag_err *err);
/* {"settings": {...}}; an empty body is {}. *settings is a JSON object. */
RAG_MUST_CHECK rag_code collection_from_json(struct str body, size_t max_bytes, struct arena *a,
                                             struct str *settings, struct rag_err *err);

/* A document as the client sent it. */
struct document_in {
    struct str id, title, text, source;
    struct str metadata_json; /* checked: an object of scalars and lists of scalars, nulls dropped */
    struct str format;        /* "" when not given */
    struct str filename;      /* of a multipart upload */
    rag_code code;            /* of this document of a batch; the rest goes on */
    struct rag_err err;
};
/* One document, or {"documents": [...]} (*batch). In a batch a bad document has its own code. */
RAG_MUST_CHECK rag_code documents_from_json(struct str body, size_t max_bytes, struct arena *a,
                                            struct document_in **out, uint32_t *n, bool *batch,
                                            struct rag_err *err);
/* `metadata` as JSON text, checked and printed again. Empty text: {}. */
RAG_MUST_CHECK rag_code metadata_from_text(struct str text, struct arena *a, struct str *out,
                                           struct rag_err *err);
/* id 1..512 bytes, valid UTF-8, no control characters. */
RAG_MUST_CHECK rag_code document_id_check(struct str id, struct rag_err *err);
bool collection_name_ok(struct str name); /* [A-Za-z0-9_.-]{1,64}, not "." or ".." */

#endif
