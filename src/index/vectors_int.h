/* index/vectors_int.h - the bytes of a vector block, shared by vectors.c and dense.c. docs/formats.md has the same in
 * words. Little-endian; sections start on 64-byte boundaries, in the order of struct vec_layout.
 *
 * A row r (a vector minus the mean of its space) is int8: r[i] is about scale * v[i], v[i] = 16 * (U[i] - 8) + L[i],
 * with U (upper plane) and L (lower plane) in 0..15. Byte j of a row's plane holds dimension j in its lower half and
 * dimension row_bytes + j in its upper half.
 *
 * Tokens: codes of row r are bytes [token_ends[r - 1], token_ends[r]) behind the last section. In memory they are runs of
 * their own, one a row, and the section is only filled when the block is written. */
#ifndef RAGD_INDEX_VECTORS_INT_H
#define RAGD_INDEX_VECTORS_INT_H

#include <stdatomic.h>

#include "index/vectors.h"
#include "sys/file.h"

#define VECTORS_MAGIC "RAGDVEC\n"
enum { VECTORS_VERSION = 2, VECTORS_ALIGN = 64 };

struct vec_header {
    char magic[8];
    uint32_t version, header_bytes;
    uint64_t file_bytes;
    uint64_t
        checksum; /* as in a segment: of the header with this field zero, then with that as seed of the rest */
    uint8_t digest[32];
    uint64_t mean_hash; /* XXH3-64, seed 0, of the space's mean: float[dims] */
    uint32_t dims, rows, present;
    uint32_t token_rules;     /* of the codes; 0: none */
    uint64_t token_bytes;     /* behind the sections */
    uint64_t tokens_checksum; /* of them, row by row: each with the one before as seed */
    uint32_t reserved[6];     /* 0 */
};
_Static_assert(sizeof(struct vec_header) == 128, "the format says so");

/* Where the sections are: bytes from the header's first. */
struct vec_layout {
    size_t present; /* uint64_t[]: bit per row */
    size_t scales;  /* float[rows] */
    size_t alongs;  /* float[rows]: r times the mean's direction, before quantising */
    size_t upper;   /* uint8_t[rows][row_bytes] */
    size_t lower;   /* uint8_t[rows][row_bytes] */
    size_t token_ends; /* uint64_t[rows] */
    size_t bytes;   /* of all sections */
    size_t row_bytes;
};

struct vector_block {
    _Atomic uint32_t refs;
    _Atomic uint32_t n_present;
    const char *base; /* the bytes; 64-byte aligned */
    size_t len;
    struct file_map map; /* base is map.ptr when mapped */
    char *owned;         /* holds base when in memory */
    struct vector_space space;
    double mean_norm; /* length of the mean */
    size_t row_bytes;
    const struct vec_header *h;
    /* The sections. A row's bits may be read once its bit in `present` was seen (acquire). */
    const _Atomic uint64_t *present;
    const float *scales, *alongs;
    const uint8_t *upper, *lower;
    const uint64_t *token_ends;
    /* In memory only: the rows' codes, and the mapped blocks that some of them lie in. */
    struct token_row *tokens;
    struct vector_block **sources;
    uint32_t n_sources;
    _Atomic uint64_t token_bytes;
};

/* Codes in memory of their own, shared by the blocks they were copied to. */
struct token_run {
    _Atomic uint32_t refs;
    _Alignas(8) char bytes[];
};
struct token_row {
    struct str codes;
    struct token_run *run; /* that holds them; NULL: a source does, or there are none */
};

/* False when the sizes do not fit into memory. 1 <= dims <= VECTOR_MAX_DIMS. */
bool vectors_layout(uint32_t dims, uint32_t rows, struct vec_layout *out);
/* header.checksum of these bytes; len >= sizeof(struct vec_header). */
uint64_t vectors_checksum(const char *base, size_t len);
/* header.mean_hash */
uint64_t vectors_mean_hash(const struct vector_space *space);

#endif
