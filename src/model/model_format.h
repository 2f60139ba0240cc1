/* model/model_format.h - the bytes of a packed model, shared by the one who writes it and the one who maps it.
 * docs/formats.md has the same in words. Little-endian.
 *
 *   header | section table | mean | positions | embedding norm | layer 0: 6 sections | layer 1 ... | tokenizer |
 *   word scales | word rows
 *
 * Every section starts on a 64-byte boundary. Its place follows from the header and the tokenizer's length alone:
 * model_layout computes the table, a reader compares. What each text needs (positions, layers) lies in front in one
 * piece; what it needs a few rows of (the word table, most of the file) lies at the end. */
#ifndef RAGD_MODEL_MODEL_FORMAT_H
#define RAGD_MODEL_MODEL_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#define MODEL_MAGIC "RAGDMDL\n"
enum {
    MODEL_VERSION = 1,
    MODEL_ALIGN = 64,
    /* Bounds: a product of any of them fits 64 bits, and every published encoder of this kind is far inside. */
    MODEL_MAX_HIDDEN = 4096,
    MODEL_MAX_INTERMEDIATE = 16384,
    MODEL_MAX_LAYERS = 48,
    MODEL_MAX_VOCABULARY = 1 << 21,
    MODEL_MAX_TOKENS = 8192,
    MODEL_MIN_TOKENS = 8,
    MODEL_PREFIX_BYTES = 256, /* with the NUL at the end */
};
/* No weight of a trained encoder comes near; beyond it f32 arithmetic could overflow. */
#define MODEL_MAX_WEIGHT 1e4F
/* Sums of two weights (a position and a token type), and everything else that is stored as f32. */
#define MODEL_MAX_STORED 1e5F

enum model_section_kind {
    MODEL_SEC_MEAN,      /* f32[hidden] */
    MODEL_SEC_POSITIONS, /* f32[max_tokens][hidden], token type 0 added in */
    MODEL_SEC_NORM,      /* of the embeddings: f32 gamma, f32 beta, each padded to gemm_pad_n(hidden) */
    MODEL_SEC_QKV,       /* matrices: int8 w, f32 scale, i32 sum, f32 bias of the sizes in kernel/gemm.h; f32 models: */
    MODEL_SEC_ATTENTION_OUT, /* f32 weights, f32 bias */
    MODEL_SEC_ATTENTION_NORM,
    MODEL_SEC_FFN_IN,
    MODEL_SEC_FFN_OUT,
    MODEL_SEC_FFN_NORM,
    MODEL_SEC_TOKENIZER,  /* text/tokenizer.h */
    MODEL_SEC_WORD_SCALE, /* f32[vocabulary]; empty in f32 models */
    MODEL_SEC_WORD,       /* int8[vocabulary][hidden], value = scale * row; or f32 */
};
enum { MODEL_LAYER_SECTIONS = 6, MODEL_SECTIONS_MAX = 6 + MODEL_LAYER_SECTIONS * MODEL_MAX_LAYERS };

struct model_section {
    uint32_t kind, layer; /* layer 0 where there is none */
    uint64_t off, len;    /* bytes of the file */
};

/* Everything outside the sections that decides what a vector is. */
struct model_shape {
    uint32_t arch, pooling, weights, normalize; /* the enums of model/model.h; 0 or 1 */
    uint32_t hidden, layers, heads, intermediate, vocabulary, max_tokens;
    float layer_norm_eps;
    uint32_t reserved; /* 0 */
    char query_prefix[MODEL_PREFIX_BYTES], passage_prefix[MODEL_PREFIX_BYTES]; /* UTF-8, zeros to the end */
};

struct model_header {
    char magic[8];
    uint32_t version, header_bytes;
    uint64_t file_bytes;
    uint64_t checksum;  /* XXH3-64, seed 0, of the header with this field zero, then with that as seed of the rest */
    uint8_t digest[32]; /* SHA-256 of the shape, then of each section's kind, layer, len and bytes, the mean left out: the
                         * model's identity, which another name, or a mean measured on another kind of CPU, does not change */
    char name[72];      /* zeros to the end */
    struct model_shape shape;
    uint32_t n_sections, reserved;
};

/* Sizes and enums inside the bounds above. */
bool model_shape_ok(const struct model_shape *s);
/* Fills `out` (MODEL_SECTIONS_MAX) for a shape that is ok; returns how many. *file_bytes: of the whole. */
uint32_t model_layout(const struct model_shape *s, uint64_t tokenizer_bytes, struct model_section *out,
                      uint64_t *file_bytes);
uint64_t model_checksum(const void *bytes, uint64_t len);
/* RAG_OK of libcrypto's SHA-256: false when it refuses. The section table must have been checked. */
bool model_digest(const void *bytes, uint8_t digest[32]);
/* 1..64 of [A-Za-z0-9_.-], not starting with '.' or '-'. */
bool model_name_ok(const char *name);
/* NaN, infinity or beyond the limit: the index of the first one; n when all are fine. */
uint64_t model_first_wild(const float *v, uint64_t n, float limit);

#endif
