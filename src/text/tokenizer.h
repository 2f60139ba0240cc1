/* text/tokenizer.h - model tokenisers: the ids that an encoder reads.
 *
 * A tokenizer is an immutable, position-independent block of bytes (docs/formats.md), made once when a model is
 * imported and mapped at run time. WordPiece and Unigram, with the normalisers and pre-tokenisers that BERT, MiniLM
 * and XLM-R use; ids are those of the Hugging Face `tokenizers` library with encode_special_tokens on: "[SEP]" in a
 * text is ordinary characters, since texts are never trusted; only a vocabulary that has "</s>" among its pieces gives
 * that piece, as the library does. */
#ifndef RAGD_TEXT_TOKENIZER_H
#define RAGD_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "base/str.h"

enum tokenizer_kind { TOKENIZER_WORDPIECE, TOKENIZER_UNIGRAM };

/* What a tokenizer is made from; model/tokenizer_json fills it from a tokenizer.json. */
struct tokenizer_spec {
    enum tokenizer_kind kind;
    const struct str *pieces; /* n_pieces, by id */
    const double *scores;     /* UNIGRAM: log probabilities, by id */
    uint32_t n_pieces;
    uint32_t unk;
    uint32_t first, last; /* ids around a sequence: [CLS] and [SEP], <s> and </s> */

    /* WORDPIECE: BertNormalizer and BertPreTokenizer */
    bool clean_text, chinese_chars, strip_accents, lowercase;
    struct str continuing_prefix; /* "##" */
    uint32_t max_word_chars;      /* longer words become unk; 100 */

    /* UNIGRAM: SentencePiece's */
    struct str charsmap;          /* bytes of Precompiled's map; empty: none */
    bool strip_left, strip_right; /* Strip after the map */
    bool collapse_spaces;         /* Replace " {2,}" by " " after that */
    bool collapse_to_metaspace;   /* by U+2581 instead; needs collapse_spaces */
    bool split_whitespace;        /* WhitespaceSplit before Metaspace */
    bool metaspace_prepend;       /* prepend_scheme "always" or add_prefix_space */
    bool metaspace_whole;         /* Metaspace does not split */
    bool metaspace_off;           /* WhitespaceSplit alone, no Metaspace */
};

/* Appends the block to `out`. RAG_EFORMAT with the reason: what the spec asks for is not possible; RAG_ENOMEM. */
RAG_MUST_CHECK rag_code tokenizer_build(const struct tokenizer_spec *spec, struct buf *out,
                                        struct rag_err *err);

struct tokenizer;
/* Opens a block, which must stay valid and 8-byte aligned. Every offset is checked: hostile bytes give RAG_ECORRUPT
 * (RAG_EVERSION when newer). Allocates little, copies nothing large. */
RAG_MUST_CHECK rag_code tokenizer_open(struct str bytes, struct tokenizer **out, struct rag_err *err);
void tokenizer_close(struct tokenizer *t); /* NULL is fine */

uint32_t tokenizer_vocabulary(const struct tokenizer *t); /* every id is below it */
uint32_t tokenizer_first(const struct tokenizer *t);
uint32_t tokenizer_last(const struct tokenizer *t);
/* Piece of an id; empty when there is none. For display. */
struct str tokenizer_piece(const struct tokenizer *t, uint32_t id);

/* Natural logarithm of how probable the piece is in the text that a UNIGRAM tokenizer was made from; 0 where that is not
 * known. */
double tokenizer_log_probability(const struct tokenizer *t, uint32_t id);

/* Scratch of one thread, reused over calls. */
struct tokenizer_scratch;
RAG_MUST_CHECK rag_code tokenizer_scratch_new(struct tokenizer_scratch **out);
void tokenizer_scratch_free(struct tokenizer_scratch *s); /* NULL is fine */

/* Appends the ids (uint32_t) of `text`, valid UTF-8 or not (bad bytes count as U+FFFD), without the first and last
 * one. Linear in the text's length. RAG_ENOMEM. Thread-safe with a scratch for each thread. */
RAG_MUST_CHECK rag_code tokenizer_encode(const struct tokenizer *t, struct tokenizer_scratch *s,
                                         struct str text, struct buf *ids);

#endif
