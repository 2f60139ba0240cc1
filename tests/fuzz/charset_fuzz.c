/* Any bytes: decoding gives valid UTF-8 without control characters, and decoding the result changes nothing. */
#include "extract/extract_int.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf once, twice;
    buf_init(&once, MEM_TEXT);
    buf_init(&twice, MEM_TEXT);
    if (charset_decode(str_make((const char *)data, size), size & 1, &once, NULL) == RAG_OK) {
        RAG_ASSERT(utf8_valid(buf_str(&once)));
        for (size_t i = 0; i < once.len; i++)
            RAG_ASSERT((unsigned char)once.ptr[i] >= 0x20 || once.ptr[i] == '\n' || once.ptr[i] == '\t');
        text_clean(&twice, buf_str(&once));
        RAG_ASSERT(str_eq(buf_str(&once), buf_str(&twice)));
    }
    buf_clear(&once);
    buf_clear(&twice);
    return 0;
}
