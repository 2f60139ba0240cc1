#include "model/token_weight.h"

#include <math.h>
#include <unicode/uchar.h>

#include "base/mem.h"
#include "text/utf8.h"

/* Nats: no vocabulary has a piece so rare, but a file may say anything. */
static const double MOST = 64;

struct token_weights {
    uint32_t n;
    float weight[];
};

/* Whether a piece has a letter, a digit or another sign that can mean something. */
static bool has_word(struct str piece)
{
    static const uint32_t marks = U_GC_P_MASK | U_GC_Z_MASK | U_GC_C_MASK | U_GC_S_MASK;
    for (size_t i = 0; i < piece.len;) {
        uint32_t cp = utf8_next(piece, &i);
        if (cp != 0x2581 && !(U_GET_GC_MASK((UChar32)cp) & marks)) /* U+2581: where Unigram pieces write a blank */
            return true;
    }
    return false;
}

/* A rare piece says more: its information in nats, in place of its IDF in a collection. */
static float weight_of(struct str piece, double log_probability)
{
    if (!has_word(piece))
        return 0;
    return log_probability < 0 ? (float)fmin(-log_probability, MOST) : 1; /* 1: WordPiece does not know */
}

rag_code token_weights_new(const struct tokenizer *t, struct token_weights **out)
{
    uint32_t n = tokenizer_vocabulary(t);
    struct token_weights *w = mem_zalloc(MEM_MODEL, sizeof *w + n * sizeof *w->weight);
    if (!w)
        return RAG_ENOMEM;
    w->n = n;
    for (uint32_t id = 0; id < n; id++)
        w->weight[id] = weight_of(tokenizer_piece(t, id), tokenizer_log_probability(t, id));
    *out = w;
    return RAG_OK;
}

void token_weights_free(struct token_weights *w)
{
    mem_free(MEM_MODEL, w);
}

float token_weight(const struct token_weights *w, uint32_t id)
{
    return id < w->n ? w->weight[id] : 0;
}
