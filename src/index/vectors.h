/* index/vectors.h - the dense side of a segment: one vector a chunk, int8 in two planes of 4 bits, and the codes of its
 * tokens for late interaction (index/token_code.h).
 *
 * A block belongs to one segment and one model. While embedding goes on it is in memory and filled row by row, by one
 * thread, under the eyes of readers; when complete it is written as a companion file of the segment and mapped.
 * Layout: docs/formats.md. */
#ifndef RAGD_INDEX_VECTORS_H
#define RAGD_INDEX_VECTORS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"

enum { VECTOR_MAX_DIMS = 4096, VECTOR_MAX_TOKENS = 1 << 16 };

/* Which model made the vectors. Real vectors share a large mean: it is subtracted before quantising, and added
 * back exactly to every score. A mean of other text, or of zeros, is right too, only less exact. */
struct vector_space {
    uint8_t digest[32];
    uint32_t dims;     /* 1 .. VECTOR_MAX_DIMS */
    const float *mean; /* dims, finite; outlives the blocks of the space */
    uint32_t token_rules; /* TOKEN_RULES when the chunks' tokens are kept too; 0: vectors alone */
};

struct vector_block;
/* Empty block of n_rows, in memory, one reference. RAG_ENOMEM; RAG_EINVAL: dims out of range. */
RAG_MUST_CHECK rag_code vector_block_new(const struct vector_space *space, uint32_t n_rows,
                                         struct vector_block **out);
struct vector_block *vector_block_ref(struct vector_block *b);
void vector_block_unref(struct vector_block *b); /* NULL is fine */

/* Sets a row (dims floats, unit length) that has none yet, of a block in memory; readers see it whole or not at all.
 * One thread at a time puts, copies to or writes a block, beside any number of readers. What is not finite or far
 * from unit length (a broken model) becomes the mean, not undefined behaviour. tokens: codes of token_code_bytes(dims)
 * each, copied; left out when they are of another size, more than VECTOR_MAX_TOKENS, or memory is short. */
void vector_block_put(struct vector_block *b, uint32_t row, const float *v, struct str tokens);
/* The same with the row of another block of the same space, which has it. The tokens are shared, not copied: they and a
 * mapped file stay as long as either block. */
void vector_block_copy(struct vector_block *b, uint32_t row, const struct vector_block *from,
                       uint32_t from_row);
bool vector_block_has(const struct vector_block *b, uint32_t row);
/* Rows that are set in `live` (a bit a row) and have no vector; 0: every live chunk has one. */
uint32_t vector_block_missing(const struct vector_block *b, const uint64_t *live);
/* The codes of a row that vector_block_has; empty when it has none. Valid while the block is referenced; 8-byte aligned. */
struct str vector_block_tokens(const struct vector_block *b, uint32_t row);
uint32_t vector_block_rows(const struct vector_block *b);
uint32_t vector_block_present(const struct vector_block *b); /* rows that are set */
uint64_t vector_block_bytes(const struct vector_block *b); /* without the tokens */
uint64_t vector_block_token_bytes(const struct vector_block *b);
bool vector_block_is_file(const struct vector_block *b);

/* Writes dir/name atomically and durably; *out is the same block mapped. A row that is put later is not in it. */
RAG_MUST_CHECK rag_code vector_block_write(const struct vector_block *b, const char *dir, const char *name,
                                           struct vector_block **out, struct rag_err *err);
/* Maps and checks: magic, version (RAG_EVERSION), sizes and checksum (RAG_ECORRUPT); another model, mean, number of rows
 * or, when the space wants tokens, rules of tokens: RAG_ECONFLICT. The tokens' own checksum is not looked at: it would
 * read the whole file, and wrong bits only spoil an order (vector_file_verify). */
RAG_MUST_CHECK rag_code vector_block_open(const char *path, const struct vector_space *space, uint32_t n_rows,
                                          struct vector_block **out, struct rag_err *err);
/* The same on bytes in memory (copied), for fuzzing. */
RAG_MUST_CHECK rag_code vector_block_open_bytes(struct str bytes, const struct vector_space *space,
                                                uint32_t n_rows, struct vector_block **out,
                                                struct rag_err *err);

/* Whether a file is what was written, tokens and all; of whatever model and segment. Reads it whole. RAG_EVERSION,
 * RAG_ECORRUPT; RAG_ENOTFOUND. */
RAG_MUST_CHECK rag_code vector_file_verify(const char *path, struct rag_err *err);

#endif
