/* api/answer_json.h - an answer as JSON: the object of /v1/query, the events of its stream, the hits of /v1/search.
 *
 * Names of chunks come from pinned segments; an answer that a model is still writing has them rendered before
 * (struct answer_parts), and its text, source and cost join them at the end. */
#ifndef RAGD_API_ANSWER_JSON_H
#define RAGD_API_ANSWER_JSON_H

#include "base/buf.h"
#include "pipeline/ask.h"
#include "wire/openai.h"

struct answer_parts {
    struct str id;
    struct str text;
    bool found, supported;
    float confidence;
    struct str citations; /* JSON list */
    enum complexity complexity;
    const char *model; /* NULL: none */
    enum answer_source source;
    const char *degraded_reason; /* NULL: not degraded */
    nano_cny cost;
    struct chat_usage usage;
    const int64_t *stage_ns; /* STAGES of them; -1: did not run */
    int64_t admission_ns, total_ns;
    struct str explain; /* members of the object; ptr NULL: not asked for */
};
/* The members of an answer, without braces. */
void answer_json_add(struct buf *out, const struct answer_parts *a);

/* Rendered while the hits are pinned. */
void answer_json_contexts(struct buf *out, const struct ask *k);  /* list: the first top_k hits, and what is cited or in the prompt */
void answer_json_chunk_ids(struct buf *out, const struct ask *k); /* list: the ids of the same chunks */
void answer_json_citations(struct buf *out, const struct ask *k); /* list: of the extract */
/* One citation of prompt passage `i` (from 0), its whole chunk. */
void answer_json_passage(struct buf *out, const struct ask *k, uint32_t i);
void answer_json_timings(struct buf *out, const int64_t *stage_ns, int64_t admission_ns, int64_t total_ns);
/* List: the elements of a chunk's heading path. */
void answer_json_heading_path(struct buf *out, struct str path);
/* Members of explain as far as the stages went; cut_short and the question's overrides included. */
void answer_json_explain(struct buf *out, const struct ask *k);

#endif
