/* model/import_int.h - what the steps of an import share: the plan that the folder's JSON files make, the tensors
 * that are packed after it, the texts whose vectors are averaged. */
#ifndef RAGD_MODEL_IMPORT_INT_H
#define RAGD_MODEL_IMPORT_INT_H

#include "base/buf.h"
#include "model/model.h"
#include "model/model_format.h"
#include "model/safetensors.h"

struct import_plan {
    char name[65];
    struct model_shape shape;
    uint32_t position_rows;   /* of the folder's position table */
    uint32_t position_offset; /* rows of it before the first place: XLM-R's padding_idx + 1, else 0 */
    uint32_t type_rows;       /* of the token type table */
};

/* Reads config.json, the files of sentence-transformers and ragd.json. name: NULL or what the user asked for. */
RAG_MUST_CHECK rag_code import_plan(const char *dir, const char *name, enum model_weights weights,
                                    struct import_plan *out, struct rag_err *err);

/* Joins into out[4096]; RAG_ETOOBIG. */
RAG_MUST_CHECK rag_code import_path(char *out, const char *dir, const char *file, struct rag_err *err);
/* The folder's own name, with '-' for what no name may hold: out[65]. */
void import_folder_name(const char *dir, char *out);

/* ---- import_pack.c ---------------------------------------------------------------------------------------- */
struct import_file {
    int fd;
    const char *path; /* of the temporary file, for messages */
    const struct import_plan *plan;
    const struct model_section *sections;
    uint32_t n_sections;
    const struct safetensors *tensors;
    const char *tensors_path;
    const struct model_import_options *opt;
    const char *prefix; /* of the tensors' names */
};
/* Finds the prefix of the names; RAG_EFORMAT when no known one fits. */
RAG_MUST_CHECK rag_code import_find_prefix(struct import_file *f, struct rag_err *err);
/* Writes every section that comes from tensors, one tensor (or one matrix of three) in memory at a time. */
RAG_MUST_CHECK rag_code import_pack(struct import_file *f, struct rag_err *err);
RAG_MUST_CHECK rag_code import_write(const struct import_file *f, uint64_t off, const void *bytes, uint64_t len,
                                     struct rag_err *err);
void import_progress(const struct model_import_options *opt, const char *step, unsigned done, unsigned total);

/* ---- import_texts.c --------------------------------------------------------------------------------------- */
extern const char *const import_texts[]; /* sentences of our own, Chinese and English, on many subjects */
extern const uint32_t import_n_texts;

#endif
