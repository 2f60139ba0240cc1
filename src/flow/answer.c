#include "flow/answer.h"

const char *answer_source_name(enum answer_source s)
{
    static const char *const n[] = {"primary", "fallback", "extract", "cache"};
    return n[s];
}
