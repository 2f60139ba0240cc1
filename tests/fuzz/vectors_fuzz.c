/* Vector files: any bytes are refused or can be searched to the last row. Header fields that would only say "no" are
 * made right first, the checksum last, so that the sizes and the sections are what is tested. */
#include <math.h>

#include "index/vectors_int.h"
#include "kernel/scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all_of(const struct vector_block *b)
{
    float est[SCAN_RUN], sum = 0;
    static _Alignas(64) int8_t q8[VECTOR_MAX_DIMS];
    static _Alignas(64) int16_t q16[VECTOR_MAX_DIMS];
    for (size_t i = 0; i < 2 * b->row_bytes; i++)
        q8[i] = (int8_t)(q16[i] = (int16_t)(i % 255 - 127));
    struct scan_question q = {q8, q16, b->row_bytes, .9f, .8f, .01f, -7};
    for (uint32_t r = 0; r < b->h->rows; r += SCAN_RUN) {
        uint32_t n = b->h->rows - r < SCAN_RUN ? b->h->rows - r : SCAN_RUN;
        scan_kernel()->run(&q, b->upper + r * b->row_bytes, b->scales + r, b->alongs + r, n, 0, est);
        for (uint32_t i = 0; i < n; i++) {
            RAG_ASSERT(isfinite(est[i]));
            sum += vector_block_has(b, r + i) ? est[i] : 0;
            sum += (float)scan_kernel()->exact(&q, b->upper + (r + i) * b->row_bytes,
                                               b->lower + (r + i) * b->row_bytes);
        }
    }
    __asm__ volatile("" : : "r"(&sum) : "memory"); /* keep the reads */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static float mean[VECTOR_MAX_DIMS];
    struct vector_block *b, *copy;
    struct rag_err err;
    struct vec_header h;
    if (size < sizeof h)
        return 0;
    char *bytes = mem_strndup(MEM_MISC, (const char *)data, size);
    RAG_ASSERT(bytes != NULL);
    memcpy(&h, bytes, sizeof h);
    struct vector_space space = {.dims = h.dims, .mean = mean};
    for (uint32_t i = 0; i < VECTOR_MAX_DIMS; i++)
        mean[i] = (float)(i % 5) / 50;
    memcpy(space.digest, h.digest, sizeof h.digest);
    h.file_bytes = size;
    if (h.dims <= VECTOR_MAX_DIMS)
        h.mean_hash = vectors_mean_hash(&space);
    memcpy(bytes, &h, sizeof h);
    h.checksum = vectors_checksum(bytes, size);
    memcpy(bytes, &h, sizeof h);
    if (vector_block_open_bytes(str_make(bytes, size), &space, h.rows, &b, &err) == RAG_OK) {
        read_all_of(b);
        uint32_t row = 0;
        while (row < h.rows && !vector_block_has(b, row))
            row++;
        if (row < h.rows && vector_block_new(&space, 1, &copy) == RAG_OK) {
            vector_block_copy(copy, 0, b, row);
            read_all_of(copy);
            vector_block_unref(copy);
        }
        vector_block_unref(b);
    }
    mem_free(MEM_MISC, bytes);
    return 0;
}
