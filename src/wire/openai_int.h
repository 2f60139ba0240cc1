/* wire/openai_int.h - what the files of the OpenAI client share. */
#ifndef RAGD_WIRE_OPENAI_INT_H
#define RAGD_WIRE_OPENAI_INT_H

#include <jansson.h>

#include "wire/openai.h"

enum { OPENAI_MAX_TOKENS = 1000000000 }; /* a count above it is an error of its sender */

/* The chunk by a scanner of the usual shape, without building a tree. RAG_EUNSUPPORTED: not that shape, `out` is then
 * undefined and the arena may have grown; else exactly what openai_chunk_tree says. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code openai_chunk_scan(struct str data, struct arena *a, struct chat_chunk *out);
/* The same of any shape; the specification of the two. */
RAG_MUST_CHECK rag_code openai_chunk_tree(struct str data, struct arena *a, struct chat_chunk *out);

/* Parses JSON that may hold bad UTF-8, lone surrogates and \u0000 in its strings: each becomes U+FFFD. RAG_EFORMAT,
 * RAG_ENOMEM. *out is the caller's (json_decref), NULL on failure. */
RAG_MUST_CHECK rag_code openai_json(struct str data, json_t **out);
/* Appends s; each bad sequence as one U+FFFD, with the stray continuation bytes after it. */
void openai_add_valid(struct buf *out, struct str s);
/* Bytes of the UTF-8 character (RFC 3629) that p[0..left) begins with, 0 when it is not one; left > 0. */
size_t openai_utf8_len(const char *p, size_t left);
/* Four hex digits as a number, -1 when they are not. */
int openai_hex4(const char *p, size_t left);

/* The parts of an error body; NULL for what it lacks. Borrowed from `root`. */
struct openai_error_parts {
    bool is_error; /* it has an "error"; without one, a message alone may mean the same */
    const json_t *message, *type, *code;
};
void openai_error_parts(const json_t *root, struct openai_error_parts *out);

#endif
