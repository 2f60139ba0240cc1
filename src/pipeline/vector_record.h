/* pipeline/vector_record.h - a chunk's vector of record: what the store and the folder of an evaluation keep.
 *
 * Bytes: dims half floats; then, when tokens were kept, one byte with their rules and the codes (index/token_code.h). */
#ifndef RAGD_PIPELINE_VECTOR_RECORD_H
#define RAGD_PIPELINE_VECTOR_RECORD_H

#include "base/buf.h"
#include "base/str.h"
#include "index/vectors.h"

/* Appends the record. codes are left out when the space keeps none. */
void vector_record_write(const struct vector_space *space, const float *v, struct str codes, struct buf *out);
/* v[dims] and the codes in the record's bytes (any alignment). False: not a record of this space, or one without the
 * tokens that the space wants. */
bool vector_record_read(const struct vector_space *space, struct str record, float *v, struct str *codes);

#endif
