/* wire/sse_read.h - server-sent events as they arrive, in pieces of any size (WHATWG HTML, section 9.2). */
#ifndef RAGD_WIRE_SSE_READ_H
#define RAGD_WIRE_SSE_READ_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/status.h"
#include "base/str.h"

enum { SSE_MAX_EVENT_BYTES = 1 << 20 };

/* LF, CR and CRLF end lines, also when a piece ends between CR and LF; a byte order mark at the start is skipped; comments,
 * ids and retry are read over; `data` lines of one event are joined by LF. A zeroed reader is ready. */
struct sse_reader {
    struct buf line, data, event;
    bool started, after_cr, has_data;
};
void sse_reader_clear(struct sse_reader *r);
/* Calls `each` for every event that is complete; `name` is "message" when none was given; both spans are valid within the
 * call only. `each` returns false to stop: what follows in `bytes` is then forgotten (feed returns RAG_ECANCELED).
 * RAG_ETOOBIG: an event over SSE_MAX_EVENT_BYTES. RAG_ENOMEM. After a failure the reader is of no use. An event that is
 * not ended by an empty line is never delivered. */
RAG_MUST_CHECK rag_code sse_reader_feed(struct sse_reader *r, struct str bytes,
                                        bool (*each)(void *ctx, struct str name, struct str data), void *ctx);

#endif
