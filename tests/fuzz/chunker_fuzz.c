/* The input is a document: for each block a byte of kind and level, a length, text. A second run takes the raw bytes
 * as blocks, which must be refused or chunked within range. */
#include "text/chunker.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct text_doc *d, const struct chunker_options *o, bool all)
{
    struct text_chunks c;
    text_chunks_init(&c);
    rag_code rc = chunker_run(d, o, &c);
    RAG_ASSERT(rc == RAG_OK || (!all && rc == RAG_EFORMAT));
    const struct text_chunk *k = (const struct text_chunk *)(const void *)c.chunks.ptr;
    for (size_t i = 0; i < c.chunks.len / sizeof *k; i++) {
        RAG_ASSERT(k[i].start < k[i].end && k[i].end <= d->text.len);
        RAG_ASSERT((uint64_t)k[i].heading_off + k[i].heading_len <= c.headings.len);
        RAG_ASSERT(!all || utf8_valid(str_make(d->text.ptr + k[i].start, k[i].end - k[i].start)));
    }
    text_chunks_clear(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text_doc d;
    if (size < 2)
        return 0;
    struct chunker_options o = {1 + data[0], data[1] % 64};
    text_doc_init(&d);
    for (size_t i = 2; i + 2 < size;) {
        size_t n = data[i + 1];
        n = n < size - i - 2 ? n : size - i - 2;
        struct text_block b = {.kind = data[i] % BLOCK_KINDS, .level = data[i] / 16 % 10, .row = data[i]};
        i += 2;
        if (d.text.len)
            buf_addc(&d.text, '\n');
        b.start = (uint32_t)d.text.len;
        struct str s = str_make((const char *)data + i, n);
        for (size_t k = 0; k < s.len;) {
            char u[4];
            uint32_t cp = utf8_next(s, &k);
            buf_add(&d.text, u, utf8_encode(cp ? cp : ' ', u));
        }
        b.end = (uint32_t)d.text.len;
        i += n;
        if (b.end > b.start)
            buf_add(&d.blocks, &b, sizeof b);
    }
    check(&d, &o, true);
    buf_reset(&d.blocks);
    buf_add(&d.blocks, data, size / sizeof(struct text_block) * sizeof(struct text_block));
    check(&d, &o, false);
    text_doc_clear(&d);
    return 0;
}
