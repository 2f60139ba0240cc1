/* pipeline/labelled.h - labelled questions: what the console's Evaluate page and other tools measure retrieval with.
 *
 * A set is one file, DATA/labelled/NAME.json (docs/formats.md), written whole: durable when a function here says so, and at
 * any moment the old or the new one. Every function checks what it reads, from a client and from the file alike. Any
 * thread; changes exclude each other. */
#ifndef RAGD_PIPELINE_LABELLED_H
#define RAGD_PIPELINE_LABELLED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/status.h"
#include "base/str.h"

enum { LABELLED_MAX_BYTES = 8 << 20, LABELLED_MAX_QUESTIONS = 10000, LABELLED_MAX_SETS = 256, LABELLED_NAME_MAX = 64 };

struct labelled_set {
    struct str name, collection;
    uint32_t questions;
    int64_t updated_ms;
};

/* LABELLED_JSON: {"collection"?, "questions": [question ...]}. LABELLED_LINES: one question a line. A question is
 *   {"query" or "text", "relevant": [document or {"doc", "must_contain"?: [text ...]} ...], "need"?: "any" or "all",
 *    "answer"?: text or [text ...], "gist"?, "answerable"?, "id"?, "kind"?, "lang"?, "complexity"?}. */
enum labelled_form { LABELLED_JSON, LABELLED_LINES };

bool labelled_name_ok(struct str name); /* [A-Za-z0-9_.-]{1,64}, no dot first */

/* A set out of a request body. collection: where the body names none. *json is the file's content, set its description; the
 * strings of both live in the arena, name is the caller's. RAG_EINVAL names field or line; RAG_ETOOBIG; RAG_ENOMEM. */
RAG_MUST_CHECK rag_code labelled_parse(enum labelled_form form, struct str body, struct str collection, int64_t now_ms,
                                       struct arena *a, struct labelled_set *set, struct str *json, struct rag_err *err);
/* Stores it. *created: there was none of this name. RAG_ECONFLICT: too many sets; RAG_ENOSPC, RAG_EIO, ... */
RAG_MUST_CHECK rag_code labelled_put(const char *data, struct str name, struct str json, bool *created,
                                     struct rag_err *err);
/* All sets by name; one that cannot be read is left out. */
RAG_MUST_CHECK rag_code labelled_list(const char *data, struct arena *a, struct labelled_set **out, uint32_t *n,
                                      struct rag_err *err);
/* One description; json (may be NULL): the file's content too, as written by labelled_put. RAG_ENOTFOUND. RAG_ECORRUPT. */
RAG_MUST_CHECK rag_code labelled_get(const char *data, struct str name, struct arena *a, struct labelled_set *set,
                                     struct buf *json, struct rag_err *err);
RAG_MUST_CHECK rag_code labelled_delete(const char *data, struct str name, struct rag_err *err); /* RAG_ENOTFOUND */

#endif
