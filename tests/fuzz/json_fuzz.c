#include "extract_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    extract_fuzz(FORMAT_JSON, data, size);
    extract_fuzz(FORMAT_JSONL, data, size);
    return 0;
}
