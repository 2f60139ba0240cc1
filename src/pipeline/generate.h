/* pipeline/generate.h - the rest of the generation stage: the model's answer, or the extract that stands in for it.
 *
 * ask_run leaves an ask with a prompt; from there on a generation lives by itself (it copies what it needs, the ask may
 * end) and tells its owner on the net thread. */
#ifndef RAGD_PIPELINE_GENERATE_H
#define RAGD_PIPELINE_GENERATE_H

#include <stdbool.h>
#include <stdint.h>

#include "pipeline/ask.h"

struct generation_outcome {
    bool canceled;             /* nothing below counts */
    enum answer_source source; /* PRIMARY, FALLBACK: the model's whole text; EXTRACT: it stands in */
    bool degraded;             /* the extract stands in */
    const char *reason;        /* why; NULL when not degraded */
    struct str text;           /* the whole answer */
    bool found, supported;     /* supported: it cites a passage, or says that there is nothing */
    const uint32_t *cited;     /* the model's: numbers of passages in order of first mention */
    uint32_t n_cited;
    uint32_t n_dropped;        /* marks that named no passage */
    const struct llm_result *llm;
};
/* On the net thread; end comes once, and last. Everything given is valid within the call only. */
struct generation_events {
    void (*text)(void *ctx, struct str piece); /* checked text, to be shown at once */
    void (*end)(void *ctx, const struct generation_outcome *o);
};
struct generation_options {
    const char *key; /* name of the API key; "" */
    nano_cny key_daily;
    const char *request_id, *traceparent;
    struct generation_events events;
    void *ctx;
};
struct generation;
/* The ask has a prompt. The model is asked at once; what may stand in for it is made meanwhile. No event comes before
 * generation_go: what the model says until then is kept. The caller owes one generation_go and one generation_free.
 * RAG_ENOMEM. */
RAG_MUST_CHECK rag_code generation_start(const struct pipeline *p, const struct ask *k, const struct generation_options *opt,
                                         struct generation **out);
/* Before generation_go: a copy of the ask's extract (ask_extract). Without it the stand-in says that nothing was found. */
void generation_stand_in(struct generation *g, const struct ask *k);
void generation_go(struct generation *g); /* events may come from here on, and end it: g is theirs */
void generation_cancel(struct generation *g); /* any thread */
void generation_pause(struct generation *g, bool paused); /* backpressure; any thread */
void generation_free(struct generation *g);   /* after or within end, when nobody else uses it any more */
/* Members of explain's "generation" object. */
void generation_explain(const struct generation *g, const struct generation_outcome *o, struct buf *out);

#endif
