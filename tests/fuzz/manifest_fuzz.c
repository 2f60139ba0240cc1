#include "index/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct manifest m;
    struct rag_err err;
    manifest_init(&m);
    rag_code rc = manifest_parse(str_make((const char *)data, size), &m, &err);
    if (!rc) {
        struct buf b;
        buf_init(&b, MEM_MISC);
        manifest_format(&m, &b);
        struct manifest again;
        manifest_init(&again);
        RAG_ASSERT(manifest_parse(buf_str(&b), &again, &err) == RAG_OK && again.entries.len == m.entries.len);
        manifest_clear(&again);
        buf_clear(&b);
    }
    manifest_clear(&m);
    return 0;
}
