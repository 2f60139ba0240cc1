/* api/answering.h - an answer that a model is writing: from the generation's events (net thread) to the client.
 *
 * A client that did not ask for a stream stays suspended until the whole is there. A stream is a response whose bytes come
 * from a buffer that the net thread fills and the I/O thread empties; the connection is suspended while it is empty, the
 * upstream is paused while it is full. A client that hangs up ends the generation, also while it waits. */
#ifndef RAGD_API_ANSWERING_H
#define RAGD_API_ANSWERING_H

#include "api/api_int.h"
#include "pipeline/generate.h"

/* A question between admission and its answer: rq->state. */
struct question {
    struct ask ask;
    struct arena scratch; /* of the ask, when a model may go on with it: nothing of it is kept then */
    struct rag_err err;
    char id[64]; /* of the answer */
    int64_t admission_ns;
    bool stream;
};

/* Goes on with a question whose ask has a prompt, on a suspended request; ends the ask. From RAG_OK on the request is the
 * answering's. RAG_ENOMEM, RAG_EIO: still the caller's, the ask too. */
RAG_MUST_CHECK rag_code answering_start(struct request *rq, struct question *q);
/* A `token` event. */
void answering_add_token(struct buf *out, struct str text);
/* What reply_send makes of rq->stream. NULL: out of memory, it is gone. */
struct MHD_Response *answering_response(struct answering *a);
void answering_drop(struct answering *a); /* rq->stream of a request that ended before its reply */

/* Of a query that was answered also its times: STAGES of stage_ns, -1 for one that did not run. */
void count_query(struct api *api, enum query_status status, enum complexity c, const int64_t *stage_ns, int64_t total_ns,
                 int64_t admission_ns);

#endif
