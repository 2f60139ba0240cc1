/* wire/json_out.h - JSON, appended to a buffer and taken back.
 *
 * The writer has no state: whether a comma is due is read from the last byte, so pieces that are JSON already (a
 * chunk's stored text) are simply appended between. A failed allocation is the buffer's (buf_failed). */
#ifndef RAGD_WIRE_JSON_OUT_H
#define RAGD_WIRE_JSON_OUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

/* Appends s (valid UTF-8) escaped for a JSON string, without the quotes: ", \, controls and U+007F. */
void json_escape(struct buf *out, struct str s);
/* The opposite for what json_escape wrote: writes at most s.len bytes to out, returns how many. */
size_t json_unescape(struct str s, char *out);

/* A value, with the comma before it when one is due. After json_add_key the value follows. */
void json_add_key(struct buf *out, const char *key); /* key: plain ASCII */
void json_add_open(struct buf *out, char bracket);   /* '{' or '[' */
void json_add_close(struct buf *out, char bracket);  /* '}' or ']' */
void json_add_string(struct buf *out, struct str s);
void json_add_u64(struct buf *out, uint64_t v);
void json_add_bool(struct buf *out, bool v);
void json_add_null(struct buf *out);
void json_add_raw(struct buf *out, struct str json); /* a whole JSON value */
/* Rounded to `decimals` (0..6) digits, without trailing zeros; |v| < 1e12, others and NaN print as 0. */
void json_add_fixed(struct buf *out, double v, unsigned decimals);
/* The shortest text that reads back as the same double; v is finite. */
void json_add_double(struct buf *out, double v);
/* Unix milliseconds as "2026-01-01T00:00:00.000Z". */
void json_add_time_ms(struct buf *out, int64_t ms);

#endif
