/* flow/query.h - the question as asked, and what the analyser made of it. */
#ifndef RAGD_FLOW_QUERY_H
#define RAGD_FLOW_QUERY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "index/filter.h"
#include "text/analyzer.h"

enum complexity { COMPLEXITY_SIMPLE, COMPLEXITY_MEDIUM, COMPLEXITY_COMPLEX, COMPLEXITY_UNKNOWN };
enum language { LANGUAGE_ZH, LANGUAGE_EN, LANGUAGE_MIXED, LANGUAGE_OTHER };
enum query_kind { QUERY_QUESTION, QUERY_KEYWORDS, QUERY_UTTERANCE };
/* What kind of answer the question wants: picks sentences in the extract. */
enum answer_type {
    ANSWER_ANY,
    ANSWER_NUMBER,
    ANSWER_PERSON,
    ANSWER_TIME,
    ANSWER_PLACE,
    ANSWER_PROCEDURE,
    ANSWER_REASON,
    ANSWER_YES_NO,
    ANSWER_LIST
};

const char *complexity_name(enum complexity c);
const char *language_name(enum language l);
const char *query_kind_name(enum query_kind k);
const char *answer_type_name(enum answer_type t);

/* The request, validated. Strings live in the ask's arena. */
struct query {
    struct str text;       /* valid UTF-8, 1 .. 8192 bytes after trimming */
    struct str collection; /* "default" when not given */
    struct str user_id;
    uint32_t top_k;   /* 1..100; contexts or hits wanted */
    double min_score; /* 0..1 */
    struct filter filter;
    struct str overrides; /* JSON object of what it sets for itself; len 0: nothing */
    bool explain, stream, no_stream; /* no_stream: it says "stream": false */
};

/* The analyser's verdict. */
struct query_analysis {
    enum language language;
    enum complexity complexity;
    enum query_kind kind;
    enum answer_type answer_type;
    float confidence; /* 0..1 */
    uint32_t n_asks;  /* >= 1 */
    bool has_comparison, has_condition, has_aggregation, has_number, has_identifier;
    struct term_list terms; /* ANALYZE_QUERY */
};

#endif
