/* wire/json_out.h - JSON strings, appended and taken back. */
#ifndef RAGD_WIRE_JSON_OUT_H
#define RAGD_WIRE_JSON_OUT_H

#include "base/buf.h"
#include "base/str.h"

/* Appends s (valid UTF-8) escaped for a JSON string, without the quotes: ", \, controls and U+007F. */
void json_escape(struct buf *out, struct str s);
/* The opposite for what json_escape wrote: writes at most s.len bytes to out, returns how many. */
size_t json_unescape(struct str s, char *out);

#endif
