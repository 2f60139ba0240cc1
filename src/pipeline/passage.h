/* pipeline/passage.h - what of a chunk the encoder reads. */
#ifndef RAGD_PIPELINE_PASSAGE_H
#define RAGD_PIPELINE_PASSAGE_H

#include "base/buf.h"
#include "base/str.h"

/* Appends title, headings and text, separated by spaces; what repeats the part before it is left out. */
void passage_text(struct str title, struct str heading_path, struct str text, struct buf *out);

#endif
