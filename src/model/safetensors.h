/* model/safetensors.h - reader of the safetensors format: named tensors in one mapped file.
 *
 * A file is u64 header length, a JSON object {"name": {"dtype", "shape", "data_offsets": [begin, end]}, ...}, the
 * data. Immutable once open; every function is safe from any thread. Source: the format's description in
 * huggingface/safetensors. */
#ifndef RAGD_MODEL_SAFETENSORS_H
#define RAGD_MODEL_SAFETENSORS_H

#include <stdint.h>

#include "base/status.h"
#include "base/str.h"

enum { SAFETENSORS_MAX_DIMS = 8, SAFETENSORS_MAX_TENSORS = 1 << 16, SAFETENSORS_MAX_HEADER = 100000000 };

enum safetensor_type { SAFETENSOR_F32, SAFETENSOR_F16, SAFETENSOR_BF16, SAFETENSOR_OTHER };

struct safetensor {
    const char *name; /* NUL-terminated */
    enum safetensor_type type;
    char type_name[16]; /* as the file says */
    uint32_t n_dims;
    uint64_t shape[SAFETENSORS_MAX_DIMS];
    uint64_t n;       /* elements */
    const void *data; /* no alignment; n * size of the type bytes (OTHER: whatever the file says) */
    uint64_t off;     /* of the data within the file */
};

struct safetensors;
/* Maps the file and checks its header: sizes that fit, offsets inside the file, no overlap, no name twice.
 * RAG_ENOTFOUND, RAG_EFORMAT (why, and which tensor), RAG_ETOOBIG, RAG_ENOMEM. */
RAG_MUST_CHECK rag_code safetensors_open(const char *path, struct safetensors **out, struct rag_err *err);
/* The same on bytes that outlive it. */
RAG_MUST_CHECK rag_code safetensors_open_bytes(struct str bytes, struct safetensors **out, struct rag_err *err);
void safetensors_close(struct safetensors *st); /* NULL is fine */

uint32_t safetensors_count(const struct safetensors *st);
const struct safetensor *safetensors_at(const struct safetensors *st, uint32_t i); /* ascending by place in the file */
const struct safetensor *safetensors_find(const struct safetensors *st, const char *name); /* NULL: none */

/* Elements [first, first + n), which must exist, as f32. The type is not OTHER. */
void safetensor_read(const struct safetensor *t, uint64_t first, uint64_t n, float *out);
/* Lets go of the memory that reading took: the pages stay the file's, and come back when read again. */
void safetensors_release(const struct safetensors *st);

#endif
