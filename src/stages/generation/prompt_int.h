/* stages/generation/prompt_int.h - what the parts of the prompt share: text made harmless, passages compared, passages
 * chosen. Everything lives in the prompt's arena; NULL pointers mean out of memory. */
#ifndef RAGD_STAGES_PROMPT_INT_H
#define RAGD_STAGES_PROMPT_INT_H

#include "stages/generation/prompt.h"

#define PROMPT_MARK      "doc" /* "<doc 0a1b2c3d>" ... "</doc 0a1b2c3d>" */
#define PROMPT_NONCE_HEX 8
#define PROMPT_ELLIPSIS  STR_LIT("…")

/* ---- prompt_text.c ---- */
enum prompt_clean {
    CLEAN_QUESTION, /* line breaks stay */
    CLEAN_PASSAGE,  /* ... and "[1]" becomes "(1)": only the prompt numbers passages */
    CLEAN_LINE,     /* a passage's heading: one line */
};
/* The text as it may stand in a prompt: valid UTF-8, trimmed, without control characters and characters that nobody sees,
 * and without what a chat template or our marks would be read as. ptr is NULL when out of memory. */
struct str prompt_clean(struct str s, enum prompt_clean how, struct arena *a);
/* Bytes of the longest start of `text` of at most `tokens`, on a character boundary. */
size_t prompt_fit(struct str text, uint32_t tokens);
/* The same, but at the end of a sentence; 0: not even the first fits. */
size_t prompt_fit_sentences(struct str text, uint32_t tokens);

/* ---- prompt_same.c ---- */
enum { PRINT_BINS = 256 };
struct prompt_print {
    struct str letters; /* letters and digits, folded; signs only inside numbers */
    uint32_t n_chars;
    uint64_t numbers;           /* hash of the numbers in order */
    uint32_t least[PRINT_BINS]; /* least hash of the shingles in each bin; 0: none */
};
enum prompt_same {
    SAME_NOT,
    SAME_REPEATS,  /* b says nothing that a does not */
    SAME_CONTAINS, /* b holds all of a, and more */
};
RAG_MUST_CHECK rag_code prompt_print(struct str text, struct arena *a, struct prompt_print *out);
enum prompt_same prompt_same(const struct prompt_print *a, const struct prompt_print *b);

/* ---- prompt_pack.c ---- */
struct packed {
    uint32_t hit;
    struct chunk_view view;
    struct str raw;    /* the chunk's text */
    struct str header; /* title and headings, one line; may be empty */
    struct str text;
    struct prompt_print *print; /* of text */
    uint32_t tokens;            /* of all that is written for it */
    bool cut;
};
struct pack {
    const struct hits *h;
    struct arena *a;
    uint32_t budget, used; /* tokens */
    uint32_t most;         /* passages */
    bool careful;          /* things are compared or counted: what is said of two of them is said twice */
    struct packed items[CITATIONS_MAX_PASSAGES];
    uint32_t n, n_duplicates;
};
/* Fills items. RAG_ENOTFOUND: none. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code prompt_pack(struct pack *p);

#endif
