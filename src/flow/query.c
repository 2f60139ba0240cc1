#include "flow/query.h"

const char *complexity_name(enum complexity c)
{
    static const char *const n[] = {"simple", "medium", "complex", "unknown"};
    return n[c];
}

const char *language_name(enum language l)
{
    static const char *const n[] = {"zh", "en", "mixed", "other"};
    return n[l];
}

const char *query_kind_name(enum query_kind k)
{
    static const char *const n[] = {"question", "keywords", "utterance"};
    return n[k];
}

const char *answer_type_name(enum answer_type t)
{
    static const char *const n[] = {"any",       "number", "person", "time", "place",
                                    "procedure", "reason", "yes_no", "list"};
    return n[t];
}
