#include "extract_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    extract_fuzz(FORMAT_MARKDOWN, data, size);
    return 0;
}
