/* wire/json_in.h - JSON from a client, strictly RFC 8259.
 *
 * Refused, with line and column: duplicate keys, NUL (raw or \u0000), invalid UTF-8, lone surrogates, numbers that
 * overflow, trailing bytes, nesting over JSON_MAX_DEPTH, bodies over the given size. */
#ifndef RAGD_WIRE_JSON_IN_H
#define RAGD_WIRE_JSON_IN_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/status.h"
#include "base/str.h"

enum { JSON_MAX_DEPTH = 64 };

/* Parses one value. RAG_ETOOBIG: more than max_bytes. RAG_EINVAL: not such JSON. RAG_ENOMEM. *out is the caller's
 * (json_decref), NULL on failure. */
RAG_MUST_CHECK rag_code json_in_parse(struct str body, size_t max_bytes, json_t **out, struct rag_err *err);

/* The string's bytes; borrowed from `v`, which must be a string. */
static inline struct str json_in_str(const json_t *v)
{
    return str_make(json_string_value(v), json_string_length(v));
}
/* Appends `v` as compact JSON, keys in their order. */
void json_in_print(struct buf *out, const json_t *v);

#endif
