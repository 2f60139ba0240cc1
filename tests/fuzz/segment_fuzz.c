/* Segment files: any bytes are refused or readable to the last chunk. The checksum is made right first, so that
 * the offset checks are what is tested. */
#include "base/arena.h"
#include "index/filter_eval.h"
#include "index/segment_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct segment *s;
    struct rag_err err;
    char *copy = mem_strndup(MEM_MISC, (const char *)data, size);
    if (size >= sizeof(struct seg_header)) {
        struct seg_header *h = (struct seg_header *)(void *)copy;
        h->file_bytes = size;
        h->checksum = segment_checksum(copy, size);
        if (segment_open_bytes(str_make(copy, size), h->analyzer, &s, &err) == RAG_OK) {
            struct arena a = {0};
            struct chunk_view v;
            uint64_t *bits;
            size_t sum = 0;
            for (uint32_t c = 0; c < segment_n_chunks(s); c++) {
                segment_chunk(s, c, &v);
                sum += v.document_id.len + segment_chunk_text(s, c, &a).len;
            }
            for (uint32_t t = 0; t < s->h->n_terms; t++) {
                struct str term = seg_term_str(s, t);
                sum += segment_find_term(s, term);
            }
            struct value x = {VALUE_STRING, 0, STR_LIT("m")};
            struct filter_clause cl = {STR_LIT("k"), FILTER_GTE, &x, 1};
            if (filter_docs(s, &(struct filter){&cl, 1}, &a, &bits) == RAG_OK)
                sum += bits[0];
            __asm__ volatile("" : : "r"(sum)); /* keep the reads */
            arena_clear(&a);
            segment_unref(s);
        }
    }
    mem_free(MEM_MISC, copy);
    return 0;
}
