/* tests/fuzz/extract_fuzz.h - what every extractor promises for any bytes: an error, or a document that the chunker
 * takes, with clean text and blocks that touch nothing but it. */
#ifndef RAGD_EXTRACT_FUZZ_H
#define RAGD_EXTRACT_FUZZ_H

#include "extract/extract.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void extract_fuzz(enum extract_format f, const uint8_t *data, size_t size)
{
    struct text_doc doc;
    struct text_chunks chunks;
    struct rag_err err = {0};
    struct extract_limits lim = extract_default_limits;
    lim.max_output_bytes = 4 << 20;
    text_doc_init(&doc);
    text_chunks_init(&chunks);
    rag_code rc = extract_bytes(f, str_make((const char *)data, size), "fuzz.bin", &lim, &doc, &err);
    RAG_ASSERT(rc == RAG_OK || rc == RAG_EFORMAT || rc == RAG_ETOOBIG);
    RAG_ASSERT(rc == RAG_OK || err.msg[0]);
    if (rc == RAG_OK) {
        RAG_ASSERT(utf8_valid(buf_str(&doc.text)) && utf8_valid(buf_str(&doc.title)) &&
                   utf8_valid(buf_str(&doc.labels)));
        for (size_t i = 0; i < doc.text.len; i++)
            RAG_ASSERT((unsigned char)doc.text.ptr[i] >= 0x20 || doc.text.ptr[i] == '\n' ||
                       doc.text.ptr[i] == '\t');
        RAG_ASSERT(chunker_run(&doc, &(struct chunker_options){64, 16}, &chunks) == RAG_OK);
    }
    text_doc_clear(&doc);
    text_chunks_clear(&chunks);
}

#endif
