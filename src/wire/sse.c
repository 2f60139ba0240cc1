#include "wire/sse.h"

void sse_begin(struct buf *out, const char *event)
{
    buf_addz(out, "event: ");
    buf_addz(out, event);
    buf_addz(out, "\ndata: ");
}

void sse_end(struct buf *out)
{
    buf_addz(out, "\n\n");
}
