/* stages/reranking/reranking.h - a second, closer look at the first candidates. */
#ifndef RAGD_STAGES_RERANKING_H
#define RAGD_STAGES_RERANKING_H

#include "base/arena.h"
#include "base/status.h"
#include "flow/hits.h"
#include "flow/profile.h"
#include "flow/query.h"
#include "flow/qvec.h"
#include "index/token_code.h"

/* What part (a) sees of a candidate, each 0..1. */
enum rerank_feature {
    RERANK_COVERAGE, /* share of the question's IDF mass that stands in text, title or headings */
    RERANK_SENTENCE, /* the most of it that stands in one sentence */
    RERANK_NEARNESS, /* how close terms that the question has side by side are in the text */
    RERANK_PHRASE,   /* longest run of characters that question and text have in common, over the question's length */
    RERANK_HEADING,  /* share of the IDF mass that stands in title and headings */
    RERANK_NAME,     /* longest common run of question and the last heading or the title, over the longer of both */
    RERANK_NUMBERS,  /* share of the question's numbers and identifiers in the text; 0 when it has none */
    RERANK_LENGTH,   /* logarithm of the text's length, 1 at 4096 characters */
    RERANK_FEATURES
};
const char *rerank_feature_name(enum rerank_feature f);

struct rerank_row {
    float x[RERANK_FEATURES];
    float late;    /* MaxSim, about -1..1 */
    bool has_late; /* question and chunk have tokens */
    float gain;    /* what was added to `fused` */
};
struct rerank_report {
    struct rerank_row *rows; /* of the first n hits, in their final order; in the arena */
    uint32_t n;
    bool features, late;     /* the parts that ran */
    const char *skipped;     /* why the order stands: "off", "the first is clear", ...; NULL: reranked */
    uint32_t moved;          /* hits that stand elsewhere than before */
};

/* Orders the first `candidates` hits anew by fused + gain, and sets `reranked` of each; the rest keeps its order behind
 * them. Without `coder`, the question's tokens or a chunk's, that part is left out, for the chunk with the mean of the
 * others. RAG_ETIMEOUT: deadline_ns (monotonic, 0: none) passed. RAG_ENOMEM. After either the fused order stands and
 * out->skipped says why. Thread-safe. */
RAG_MUST_CHECK rag_code rerank_run(const struct query *q, const struct query_analysis *qa, const struct qvec *v,
                                   const struct token_coder *coder, const struct profile *p, int64_t deadline_ns,
                                   struct arena *a, struct hits *h, struct rerank_report *out);

#endif
