/* Making a tokenizer block from a spec. */
#include "text/tokenizer_int.h"

#include <math.h>
#include <stdlib.h>

#include "text/utf8.h"

static const double UNK_PENALTY = 10; /* below the worst piece; SentencePiece's kUnkPenalty */

static rag_code spec_check(const struct tokenizer_spec *spec, struct rag_err *err)
{
    uint32_t n = spec->n_pieces;
    if (spec->kind != TOKENIZER_WORDPIECE && spec->kind != TOKENIZER_UNIGRAM)
        return rag_err_set(err, RAG_EFORMAT, "tokenizer: unknown kind");
    if (n == 0 || n > TOKENIZER_MAX_PIECES)
        return rag_err_set(err, RAG_EFORMAT, "tokenizer: %u pieces, 1 to %d are possible", n,
                           TOKENIZER_MAX_PIECES);
    if (spec->unk >= n || spec->first >= n || spec->last >= n)
        return rag_err_set(err, RAG_EFORMAT,
                           "tokenizer: the ids %u (unknown), %u (first), %u (last) are not all below %u",
                           spec->unk, spec->first, spec->last, n);
    if (spec->kind == TOKENIZER_WORDPIECE &&
        (spec->max_word_chars < 1 || spec->max_word_chars > TOKENIZER_MAX_WORD))
        return rag_err_set(err, RAG_EFORMAT, "tokenizer: words of %u characters, 1 to %d are possible",
                           spec->max_word_chars, TOKENIZER_MAX_WORD);
    for (uint32_t i = 0; i < n; i++) {
        struct str p = spec->pieces[i];
        if (p.len > TOKENIZER_MAX_PIECE)
            return rag_err_set(err, RAG_EFORMAT, "tokenizer: piece %u has %zu bytes, the limit is %d", i,
                               p.len, TOKENIZER_MAX_PIECE);
        if (!utf8_valid(p) || (p.len && memchr(p.ptr, 0, p.len)))
            return rag_err_set(err, RAG_EFORMAT, "tokenizer: piece %u is not text", i);
        if (spec->kind == TOKENIZER_UNIGRAM && !isfinite(spec->scores[i]))
            return rag_err_set(err, RAG_EFORMAT, "tokenizer: the score of piece %u is not a number", i);
    }
    return RAG_OK;
}

static int by_bytes(const void *a, const void *b)
{
    const struct trie_key *x = a, *y = b;
    return str_cmp(x->bytes, y->bytes);
}

/* Pieces as a trie; empty ones are ids without a piece. */
static rag_code add_trie(const struct tokenizer_spec *spec, struct buf *out, struct rag_err *err)
{
    struct trie_key *keys = mem_alloc(MEM_MODEL, (size_t)spec->n_pieces * sizeof *keys);
    uint32_t n = 0;
    if (!keys)
        return rag_err_set(err, RAG_ENOMEM, "out of memory");
    for (uint32_t i = 0; i < spec->n_pieces; i++)
        if (spec->pieces[i].len)
            keys[n++] = (struct trie_key){spec->pieces[i], i};
    qsort(keys, n, sizeof *keys, by_bytes);
    rag_code rc = RAG_OK;
    for (uint32_t i = 1; i < n && !rc; i++)
        if (str_eq(keys[i - 1].bytes, keys[i].bytes))
            rc = rag_err_set(err, RAG_EFORMAT, "tokenizer: pieces %u and %u are the same", keys[i - 1].value,
                             keys[i].value);
    if (!rc) {
        rc = trie_build(keys, n, out);
        if (rc == RAG_ETOOBIG)
            rc = rag_err_set(err, RAG_EFORMAT, "tokenizer: the pieces have too many bytes");
        else if (rc)
            rag_err_set(err, rc, "out of memory");
    }
    mem_free(MEM_MODEL, keys);
    return rc;
}

/* Place of the node after `prefix`; UINT32_MAX when no piece begins with it. */
static uint32_t trie_place(const uint32_t *units, struct str prefix)
{
    uint32_t at = 0;
    for (size_t i = 0; i < prefix.len; i++) {
        uint32_t node = units[at];
        unsigned char c = (unsigned char)prefix.ptr[i];
        at = (node >> TRIE_BASE_SHIFT) ^ c;
        if (!trie_step(units, &node, c))
            return UINT32_MAX;
    }
    return at;
}

static uint32_t flags_of(const struct tokenizer_spec *spec)
{
    if (spec->kind == TOKENIZER_WORDPIECE)
        return 0;
    uint32_t f = 0;
    f |= spec->strip_left ? TOK_STRIP_LEFT : 0u;
    f |= spec->strip_right ? TOK_STRIP_RIGHT : 0u;
    f |= spec->collapse_spaces ? TOK_COLLAPSE : 0u;
    f |= spec->collapse_to_metaspace ? TOK_COLLAPSE_METASPACE : 0u;
    f |= spec->split_whitespace ? TOK_SPLIT_WHITESPACE : 0u;
    f |= spec->metaspace_prepend ? TOK_PREPEND : 0u;
    f |= spec->metaspace_whole ? TOK_WHOLE : 0u;
    f |= spec->metaspace_off ? TOK_NO_METASPACE : 0u;
    return f;
}

struct sections {
    struct buf b[TOK_SECTIONS];
};

static rag_code add_pieces(const struct tokenizer_spec *spec, struct sections *s, struct tok_header *h,
                           struct rag_err *err)
{
    double worst = HUGE_VAL;
    uint32_t off = 0;
    BUF_ADD_VALUE(&s->b[TOK_PIECE_OFF], off);
    for (uint32_t i = 0; i < spec->n_pieces; i++) {
        struct str p = spec->pieces[i];
        buf_adds(&s->b[TOK_PIECE_BYTES], p);
        off += (uint32_t)p.len; /* 2^21 pieces of 2^10 bytes at most */
        BUF_ADD_VALUE(&s->b[TOK_PIECE_OFF], off);
        h->max_piece = p.len > h->max_piece ? (uint32_t)p.len : h->max_piece;
        if (spec->kind == TOKENIZER_UNIGRAM)
            worst = spec->scores[i] < worst ? spec->scores[i] : worst;
    }
    if (spec->kind == TOKENIZER_UNIGRAM) {
        buf_add(&s->b[TOK_SCORES], spec->scores, (size_t)spec->n_pieces * sizeof *spec->scores);
        h->unk_score = worst - UNK_PENALTY;
    }
    return add_trie(spec, &s->b[TOK_TRIE], err);
}

static rag_code add_chars(const struct tokenizer_spec *spec, struct sections *s, struct rag_err *err)
{
    struct buf *pages = &s->b[TOK_PAGES];
    if (!buf_reserve(pages, TOKENIZER_PAGES * sizeof(uint16_t)))
        return rag_err_set(err, RAG_ENOMEM, "out of memory");
    pages->len = TOKENIZER_PAGES * sizeof(uint16_t);
    if (spec->kind == TOKENIZER_UNIGRAM)
        buf_adds(&s->b[TOK_CHARSMAP], spec->charsmap);
    return tok_chars_build(spec, (uint16_t *)(void *)pages->ptr, &s->b[TOK_CHARS], &s->b[TOK_POOL], err);
}

static rag_code join(struct sections *s, struct tok_header *h, struct buf *out, struct rag_err *err)
{
    uint64_t at = sizeof *h;
    bool failed = false;
    for (int i = 0; i < TOK_SECTIONS; i++) {
        static const char zeros[8];
        buf_add(&s->b[i], zeros, -s->b[i].len % 8);
        failed |= buf_failed(&s->b[i]);
        h->sec[i].off = at;
        at += s->b[i].len;
    }
    h->bytes = at;
    BUF_ADD_VALUE(out, *h);
    for (int i = 0; i < TOK_SECTIONS; i++)
        buf_adds(out, buf_str(&s->b[i]));
    return failed || buf_failed(out) ? rag_err_set(err, RAG_ENOMEM, "out of memory") : RAG_OK;
}

rag_code tokenizer_build(const struct tokenizer_spec *spec, struct buf *out, struct rag_err *err)
{
    rag_code rc = spec_check(spec, err);
    if (rc)
        return rc;
    struct tok_header h = {.version = TOKENIZER_VERSION,
                           .kind = spec->kind,
                           .n_pieces = spec->n_pieces,
                           .unk = spec->unk,
                           .first = spec->first,
                           .last = spec->last,
                           .continuing = UINT32_MAX,
                           .flags = flags_of(spec)};
    memcpy(h.magic, TOKENIZER_MAGIC, sizeof h.magic);
    struct sections s;
    for (int i = 0; i < TOK_SECTIONS; i++)
        buf_init(&s.b[i], MEM_MODEL);
    rc = add_pieces(spec, &s, &h, err);
    if (!rc)
        rc = add_chars(spec, &s, err);
    if (!rc && spec->kind == TOKENIZER_WORDPIECE) {
        h.max_word_chars = spec->max_word_chars;
        h.continuing = trie_place((const uint32_t *)(void *)s.b[TOK_TRIE].ptr, spec->continuing_prefix);
    }
    for (int i = 0; i < TOK_SECTIONS; i++)
        h.sec[i].len = s.b[i].len;
    if (!rc)
        rc = join(&s, &h, out, err);
    for (int i = 0; i < TOK_SECTIONS; i++)
        buf_clear(&s.b[i]);
    return rc;
}
