/* model/tokenizer_json.h - a Hugging Face tokenizer.json as a tokenizer block. */
#ifndef RAGD_MODEL_TOKENIZER_JSON_H
#define RAGD_MODEL_TOKENIZER_JSON_H

#include "base/buf.h"
#include "base/status.h"
#include "base/str.h"

enum { TOKENIZER_JSON_MAX = 64 << 20 }; /* bytes of a tokenizer.json */

/* Appends the block (text/tokenizer.h) that a tokenizer.json describes: WordPiece with BertNormalizer and
 * BertPreTokenizer, or Unigram with Precompiled, Strip, Replace " {2,}", WhitespaceSplit and Metaspace, and one special
 * id on each side of a sequence. Truncation, padding and the decoder are not looked at.
 * RAG_EUNSUPPORTED names what is used and what is possible instead; RAG_EFORMAT says what is missing or wrong;
 * RAG_ETOOBIG: over TOKENIZER_JSON_MAX; RAG_ENOMEM. Any bytes are fine. Thread-safe. */
RAG_MUST_CHECK rag_code tokenizer_from_json(struct str json, struct buf *block, struct rag_err *err);

#endif
