/* index/manifest.h - which segment files make up the data folder: DATA/segments/MANIFEST, replaced atomically. */
#ifndef RAGD_INDEX_MANIFEST_H
#define RAGD_INDEX_MANIFEST_H

#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "base/str.h"

#define MANIFEST_MAX_FILE                                                                                    \
    (INT64_C(1) << 62) /* next_file stays below: room to count on, and JSON integers are signed */

struct manifest_entry {
    int64_t collection; /* store id */
    char file[32];      /* "0000000001.seg": digits and ".seg" only */
};
struct manifest {
    uint64_t next_file; /* number for the next segment file */
    struct buf entries; /* struct manifest_entry[] */
};
void manifest_init(struct manifest *m);
void manifest_clear(struct manifest *m);
/* RAG_ECORRUPT: not ours or damaged. RAG_EVERSION: newer. File names are checked: no path leaves the folder. */
RAG_MUST_CHECK rag_code manifest_parse(struct str bytes, struct manifest *out, struct rag_err *err);
/* The file's bytes: one JSON object. */
void manifest_format(const struct manifest *m, struct buf *out);

#endif
