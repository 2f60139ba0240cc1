/* index/filter.h - metadata filters of a query: AND over fields, pushed down into the segments. */
#ifndef RAGD_INDEX_FILTER_H
#define RAGD_INDEX_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

/* A scalar of metadata. Strings compare bytewise, numbers as doubles, bools equal bools only. A list in the
 * metadata matches when any of its items does. Order between a string and a number: never matches. */
enum value_type { VALUE_BOOL, VALUE_NUMBER, VALUE_STRING };
struct value {
    enum value_type type;
    double number; /* VALUE_NUMBER; VALUE_BOOL: 0 or 1 */
    struct str string;
};

enum filter_op {
    FILTER_ANY_OF,
    FILTER_NE,
    FILTER_GT,
    FILTER_GTE,
    FILTER_LT,
    FILTER_LTE,
    FILTER_EXISTS,
    FILTER_MISSING
};
struct filter_clause {
    struct str field;           /* metadata key, or document_id, title, source */
    enum filter_op op;          /* NE also matches documents without the field */
    const struct value *values; /* ANY_OF: n_values; EXISTS, MISSING: none; else one */
    uint32_t n_values;
};
/* All clauses must hold. n 0: everything matches. Storage is the caller's (the request's arena). */
struct filter {
    const struct filter_clause *clauses;
    uint32_t n;
};

#endif
