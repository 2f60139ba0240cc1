/* model/model.h - a packed encoder: one checksummed, versioned, memory-mapped file (docs/formats.md).
 *
 * Immutable; every function is safe from any thread. */
#ifndef RAGD_MODEL_MODEL_H
#define RAGD_MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"
#include "text/tokenizer.h"

struct model;

enum model_arch { MODEL_BERT, MODEL_XLMR }; /* XLM-R: position ids start at padding_idx + 1 */
enum model_pooling { MODEL_POOL_MEAN, MODEL_POOL_CLS };
enum model_weights { MODEL_INT8, MODEL_F32 };

struct model_info {
    char name[65];      /* [A-Za-z0-9_.-] */
    uint8_t digest[32]; /* SHA-256 of the packed content: the identity of the vectors it makes */
    enum model_arch arch;
    enum model_pooling pooling;
    enum model_weights weights;
    bool normalize;      /* vectors of unit length */
    uint32_t dims;       /* of a vector = hidden */
    uint32_t layers, heads, hidden, intermediate, vocabulary;
    uint32_t max_tokens; /* of a window, the first and last id included */
    float layer_norm_eps;
    char query_prefix[256], passage_prefix[256]; /* "query: ", an instruction, or empty */
    const float *mean;   /* dims: mean vector of varied text, computed at import; vectors share much of it */
};

/* Maps and checks everything, the checksum included when `verify` (the start skips it: 120 MB cost 100 ms).
 * RAG_ENOTFOUND, RAG_ECORRUPT, RAG_EVERSION. */
RAG_MUST_CHECK rag_code model_open(const char *path, bool verify, struct model **out, struct rag_err *err);
void model_close(struct model *m); /* NULL is fine */
const struct model_info *model_info(const struct model *m);
const struct tokenizer *model_tokenizer(const struct model *m);
uint64_t model_bytes(const struct model *m); /* of the file */

/* ---- importing ------------------------------------------------------------------------------------------- */
struct model_import_options {
    const char *name;            /* NULL: the folder's */
    enum model_weights weights;  /* MODEL_INT8 is what serves; MODEL_F32 for comparisons */
    void (*progress)(void *ctx, const char *step, unsigned done, unsigned total); /* NULL: none */
    void *ctx;
};
/* Packs a model folder in the Hugging Face layout into `path` (atomically: the old file or the whole new one).
 * RAG_EFORMAT, RAG_EUNSUPPORTED, RAG_ETOOBIG, RAG_ENOTFOUND, RAG_ENOSPC: err says which file, which tensor and why. */
RAG_MUST_CHECK rag_code model_import(const char *dir, const struct model_import_options *opt, const char *path,
                                     struct rag_err *err);
/* The name that it would give: `name` when not NULL, else ragd.json's, else the folder's. Reads the folder's small
 * files, with the errors of model_import. */
RAG_MUST_CHECK rag_code model_import_name(const char *dir, const char *name, char out[65], struct rag_err *err);

/* ---- finding ---------------------------------------------------------------------------------------------- */
/* Folder of packed models: $RAGD_MODELS, else $XDG_CACHE_HOME/ragd/models, else ~/.cache/ragd/models. */
RAG_MUST_CHECK rag_code model_cache_dir(char *out, size_t size, struct rag_err *err);
/* The packed file of `embedding.model`: CACHE/NAME.ragm for a name; a path to a .ragm file is itself; a folder in the
 * Hugging Face layout is packed into the cache first (named by its content, so that it happens once).
 * RAG_ENOTFOUND says what to run. */
RAG_MUST_CHECK rag_code model_resolve(const char *name, char *path, size_t size, struct rag_err *err);

#endif
