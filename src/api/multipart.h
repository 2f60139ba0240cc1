/* api/multipart.h - multipart/form-data (RFC 7578) of a body that is all there. */
#ifndef RAGD_API_MULTIPART_H
#define RAGD_API_MULTIPART_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/str.h"

enum { MULTIPART_MAX_PARTS = 32 };
struct multipart_part {
    struct str name;     /* of the field */
    struct str filename; /* ptr NULL when the part has none */
    struct str value;    /* points into the body */
};

/* The Content-Type is multipart/form-data. */
bool multipart_is(const char *content_type);
/* Cuts the body at the boundary that the Content-Type names. RAG_EINVAL: no boundary, cut off, a part without a
 * name; RAG_ETOOBIG: too many parts. RAG_ENOMEM. Names are copied into `a`. */
RAG_MUST_CHECK rag_code multipart_parse(const char *content_type, struct str body, struct arena *a,
                                        struct multipart_part **out, uint32_t *n, struct rag_err *err);

#endif
