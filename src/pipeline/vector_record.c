#include "pipeline/vector_record.h"

#include <string.h>

#include "base/half.h"
#include "index/token_code.h"

void vector_record_write(const struct vector_space *space, const float *v, struct str codes, struct buf *out)
{
    for (uint32_t d = 0; d < space->dims; d++) {
        uint16_t h = float_to_half(v[d]);
        buf_add(out, &h, sizeof h);
    }
    if (!space->token_rules)
        return;
    buf_addc(out, (char)space->token_rules);
    if (codes.len)
        buf_adds(out, codes);
}

bool vector_record_read(const struct vector_space *space, struct str record, float *v, struct str *codes)
{
    size_t vector = space->dims * sizeof(uint16_t);
    bool with_tokens = record.len > vector;
    if (record.len < vector)
        return false;
    if (with_tokens ? (record.len - vector - 1) % token_code_bytes(space->dims) != 0 : space->token_rules != 0)
        return false;
    if (space->token_rules && (uint8_t)record.ptr[vector] != space->token_rules)
        return false;
    for (uint32_t d = 0; d < space->dims; d++) {
        uint16_t h;
        memcpy(&h, record.ptr + d * sizeof h, sizeof h);
        v[d] = half_to_float(h);
    }
    *codes = space->token_rules ? str_make(record.ptr + vector + 1, record.len - vector - 1) : str_make(NULL, 0);
    return true;
}
