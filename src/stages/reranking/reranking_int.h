/* stages/reranking/reranking_int.h - texts as folded characters, and what of the question stands in them. */
#ifndef RAGD_STAGES_RERANKING_INT_H
#define RAGD_STAGES_RERANKING_INT_H

#include "stages/reranking/reranking.h"

enum { RERANK_TERMS = 64 /* bits of a mask */, RERANK_TEXT = 4096 /* characters looked at */, RERANK_QUESTION = 96 };

/* Characters folded as the index folds them (NFKC, case, traditional to simplified, accents off), one each; what is not one
 * letter, digit or ideograph is 0. */
struct folded {
    uint16_t *c;
    uint32_t n;
};
/* At most `most` characters of s. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code fold_text(struct str s, uint32_t most, struct arena *a, struct folded *out);

struct matcher_term {
    uint16_t c[24]; /* folded; longer terms are cut */
    uint8_t n;
    bool exact;  /* no letters may follow: numbers, identifiers, ideographs */
    bool number; /* has a digit */
    float mass;  /* share of the question's IDF mass */
    uint16_t at; /* place in the question, for nearness */
    uint8_t next; /* term with the same first character modulo 256, UINT8_MAX: none */
};
struct matcher {
    struct matcher_term terms[RERANK_TERMS];
    uint32_t n;
    uint8_t first[256]; /* by the low byte of the first character */
    struct folded question;
    uint8_t run_first[256], run_next[RERANK_QUESTION]; /* places of the question by the hash of two characters */
    uint64_t numbers; /* terms with a digit */
};
RAG_MUST_CHECK rag_code matcher_init(struct matcher *m, const struct query *q, const struct query_analysis *qa,
                                     const struct hits *h, struct arena *a);
/* Fills x from the chunk. */
RAG_MUST_CHECK rag_code matcher_features(const struct matcher *m, const struct chunk_view *view, struct str text,
                                         struct arena *a, float x[RERANK_FEATURES]);

#endif
