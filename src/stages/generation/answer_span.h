/* stages/generation/answer_span.h - the few words of a sentence that answer the question by themselves.
 *
 * Rules, no model: what the question asks for is read from its question word ("多少公里", "what year", "谁"), candidates are
 * amounts, dates, names in capitals, enumerations, cells of a table, and what stands in the sentence where the question
 * word stands in the question. A small logistic model (answer_span.c) says how likely each is the answer. */
#ifndef RAGD_STAGES_ANSWER_SPAN_H
#define RAGD_STAGES_ANSWER_SPAN_H

#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/str.h"

enum span_kind {
    SPAN_NONE, /* a reason, a procedure, yes or no: no few words answer it */
    SPAN_NUMBER,
    SPAN_MONEY,
    SPAN_PERCENT,
    SPAN_DURATION,
    SPAN_TIME,
    SPAN_PERSON,
    SPAN_PLACE,
    SPAN_LIST,
    SPAN_NAME, /* "which company", 什么, 哪一种: anything else that has a name */
};

/* The question, read once; strings live in the arena. */
struct span_question {
    enum span_kind kind;
    bool year, day;          /* SPAN_TIME: a year, a day is asked for */
    bool zh;                 /* asked with a Chinese question word */
    struct str text;         /* normalised */
    struct str left, right;  /* normalised: the clause before and after the question word */
    struct str noun;         /* what is counted or named, after the question word: 公里, "country"; may be empty */
};
/* RAG_ENOMEM. */
RAG_MUST_CHECK rag_code span_question_read(struct str question, struct arena *a, struct span_question *out);

/* A term of the question in a sentence. */
struct span_term {
    uint32_t start, end; /* bytes of the sentence */
    uint8_t term;        /* which, < 64 */
    float weight;        /* of all terms of the question, which sum to 1 */
};
struct answer_span {
    uint32_t start, end; /* bytes of the sentence, on character boundaries, start < end */
    float probability;   /* that it is the answer, 0..1, if the sentence holds the answer */
};
enum { SPAN_FEATURES = 18, SPAN_CANDIDATES = 24 };
/* Features that have a name; features() in answer_span.c says what all of them are. */
enum { SPAN_NEAR = 2, SPAN_IN_CLAUSE = 3, SPAN_UNIT_FITS = 6, SPAN_UNIT_DIFFERS = 7, SPAN_LEAD = SPAN_FEATURES - 1 };
struct span_candidate {
    struct answer_span at;
    float features[SPAN_FEATURES];
};

/* Candidates of a sentence, as written in the text, at most SPAN_CANDIDATES. worth: of the sentence over the best one,
 * 0..1. Memory for a while is the arena's. RAG_ENOMEM. Thread-safe. */
RAG_MUST_CHECK rag_code span_candidates(const struct span_question *q, struct str sentence, float worth,
                                        const struct span_term *terms, uint32_t n_terms, struct arena *a,
                                        struct span_candidate *out, uint32_t *n_out);

#endif
