/* stages/generation/extract_int.h - what the phases of the extractive answer share: question terms as bits, chunks
 * cut into units, units chosen. All of it lives in the answer's arena. */
#ifndef RAGD_STAGES_EXTRACT_INT_H
#define RAGD_STAGES_EXTRACT_INT_H

#include "stages/generation/answer_span.h"
#include "stages/generation/extract_answer.h"

enum { MAX_QTERMS = 64 /* bits of a term mask */, SIGNATURE_WORDS = 4 };

/* A distinct term of the question; weights sum to 1. */
struct qterm {
    struct str text;
    float weight;
    bool key; /* a whole word or identifier that carries meaning: must not be missing from a comparison */
};

enum unit_kind {
    UNIT_SENTENCE,
    UNIT_ITEM,    /* of a list */
    UNIT_ROW,     /* of a table: "cell | cell", or "column: cell; column: cell" */
    UNIT_HEADING, /* stands over what follows; never quoted */
    UNIT_FIELD,   /* of a record; quoted through its record only */
    UNIT_RECORD,  /* a row of a sheet */
};

/* The smallest piece that an answer quotes. Offsets are bytes of the chunk's text, white space trimmed. */
struct unit {
    uint32_t chunk; /* index into extract.chunks */
    uint32_t start, end;
    uint8_t kind;
    bool question;      /* ends with a question mark: asks, does not answer */
    bool other_subject; /* is about another thing than the one that the question names */
    uint32_t head_row;  /* UNIT_ROW: unit that names the columns, or NO_UNIT */
    uint64_t own;      /* terms of the question in it */
    uint64_t whole;    /* of own and context: not only as part of a longer word (金卡 in 白金卡) */
    uint64_t context;  /* ... in title, headings, table head, or the question it answers */
    uint32_t first_at, last_at;          /* bytes from the first to the last match */
    uint32_t matched;                    /* bytes of matches */
    uint64_t signature[SIGNATURE_WORDS]; /* bits of all its terms: how much two units repeat each other */
    float score;
};
#define NO_UNIT UINT32_MAX

struct extract_chunk {
    uint32_t hit;
    struct chunk_view view;
    struct str text;
    uint64_t heading_whole;
    uint64_t heading;   /* terms of the question in title and heading path, as far as they are about it */
    uint64_t innermost; /* ... in the last heading of the path */
    bool witness;     /* only shows what things of one kind are called; nothing of it is quoted */
    bool dialogue;    /* speakers stand before what they say */
    bool record;      /* a row of a sheet: its units are fields, and a UNIT_RECORD after them */
    float rank;       /* its BM25 over the best chunk's */
    uint32_t first_unit, n_units;
};

struct extract {
    const struct analyzer *an;
    const struct query *q;
    const struct query_analysis *qa;
    const struct hits *h;
    float confidence; /* that the documents answer */
    struct arena *arena;
    struct qterm *terms;
    uint32_t n_terms;
    bool has_keys; /* some term is a key */
    struct extract_chunk *chunks;
    uint32_t n_chunks;
    struct unit *units;
    uint32_t n_units, cap_units;
    uint32_t *chosen; /* unit numbers, in the order of the text */
    uint32_t n_chosen;
    struct str front;    /* words of front_unit that answer by themselves; empty: none is sure enough */
    uint32_t front_unit; /* comes first; NO_UNIT */
};

static inline float mask_weight(const struct extract *x, uint64_t mask)
{
    float w = 0;
    for (; mask; mask &= mask - 1)
        w += x->terms[__builtin_ctzll(mask)].weight;
    return w;
}
static inline struct str unit_text(const struct extract *x, const struct unit *u)
{
    return str_make(x->chunks[u->chunk].text.ptr + u->start, u->end - u->start);
}

/* extract_units.c: fills terms, chunks and units. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code extract_gather(struct extract *x, uint32_t candidates);
/* extract_subject.c: takes terms off the headings of a chunk that belong to other sections of its document. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code extract_limit_headings(struct extract *x);
/* ... marks units that are about something else. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code extract_find_subjects(struct extract *x);
/* extract_select.c: scores units and fills chosen, in reading order. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code extract_select(struct extract *x, uint32_t most);
/* extract_front.c: fills front and front_unit. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code extract_find_front(struct extract *x);
/* Candidates of a unit's text; worth: its score over the best unit's. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code extract_unit_spans(const struct extract *x, const struct unit *u, float worth,
                                           const struct span_question *q, struct span_candidate *out, uint32_t *n_out);
/* The units of most score that do not ask, best first, at most `most`; returns their number. */
uint32_t extract_best_units(const struct extract *x, uint32_t *out, uint32_t most);
/* extract_write.c: the text, its citations and pieces. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code extract_write(const struct extract *x, struct answer *out);

/* A row, cut at its columns; key is empty where the column has no name. At most `most`. */
struct cell {
    struct str key, value;
};
uint32_t extract_row_cells(const struct extract *x, const struct unit *u, struct cell *out, uint32_t most);
/* Does the unit hold what such a question asks for: a digit, a date, "because"? */
bool extract_answers_type(enum answer_type t, const struct unit *u, struct str s);
/* Which fields of a row are quoted, as bits from its first: the asked ones and those that say which row it is (the first
 * column, and values that the question names). All of a short row when the question singles out none. */
uint64_t extract_fields(const struct extract *x, const struct extract_chunk *c);

/* Cells of a table line, without the bars; at most `most`. */
uint32_t extract_cells(struct str line, struct str *out, uint32_t most);
/* Parts of "column: cell; column: cell", at most `most`; 0 when the line is not such a row. A first part without a column
 * names the row. */
uint32_t extract_parts(struct str line, struct str *out, uint32_t most);
/* "key: value" cut at its colon; false when the line has none near its start. */
bool extract_pair(struct str line, struct str *key, struct str *value);
static inline struct str path_next(struct str *path)
{
    const char *sep = path->len ? memchr(path->ptr, '\x1f', path->len) : NULL;
    struct str e = str_make(path->ptr, sep ? (size_t)(sep - path->ptr) : path->len);
    size_t skip = e.len + (sep ? 1 : 0);
    *path = str_make(skip ? path->ptr + skip : path->ptr, path->len - skip);
    return e;
}

#endif
