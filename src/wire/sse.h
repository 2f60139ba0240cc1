/* wire/sse.h - server-sent events (WHATWG HTML, section 9.2): an event is a name and one line of JSON. */
#ifndef RAGD_WIRE_SSE_H
#define RAGD_WIRE_SSE_H

#include "base/buf.h"

#define SSE_CONTENT_TYPE "text/event-stream; charset=utf-8"

void sse_begin(struct buf *out, const char *event); /* then the JSON value, which holds no raw line end */
void sse_end(struct buf *out);

#endif
