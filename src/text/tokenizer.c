/* Opening and reading tokenizer blocks. Invariant: once tokenizer_open passed, no reader leaves the block, whatever its
 * bytes are. The trie's values are looked at when they are met (an id beyond the vocabulary counts as no piece); all
 * else is checked here, in one pass without random reads. */
#include "text/tokenizer_int.h"

static bool sections_ok(struct tokenizer *t, struct str bytes)
{
    const struct tok_header *h = t->h;
    for (int i = 0; i < TOK_SECTIONS; i++)
        if (h->sec[i].off % 8 || h->sec[i].off < sizeof *h || h->sec[i].off > bytes.len ||
            h->sec[i].len > bytes.len - h->sec[i].off)
            return false;
#define SEC(i)             ((const void *)(bytes.ptr + h->sec[i].off))
#define SEC_IS(i, n, size) (h->sec[i].len == (uint64_t)(n) * (size))
    t->pages = SEC(TOK_PAGES);
    t->chars = SEC(TOK_CHARS);
    t->pool_words = SEC(TOK_POOL);
    t->pool_bytes = SEC(TOK_POOL);
    t->trie = SEC(TOK_TRIE);
    t->piece_off = SEC(TOK_PIECE_OFF);
    t->piece_bytes = SEC(TOK_PIECE_BYTES);
    t->scores = SEC(TOK_SCORES);
    uint32_t n = h->n_pieces;
    return SEC_IS(TOK_PAGES, TOKENIZER_PAGES, sizeof(uint16_t)) &&
           h->sec[TOK_CHARS].len % (256 * sizeof(uint32_t)) == 0 &&
           h->sec[TOK_TRIE].len % sizeof(uint32_t) == 0 &&
           SEC_IS(TOK_PIECE_OFF, (uint64_t)n + 1, sizeof(uint32_t)) &&
           SEC_IS(TOK_SCORES, h->kind == TOKENIZER_UNIGRAM ? n : 0, sizeof(double));
#undef SEC_IS
#undef SEC
}

static bool header_ok(const struct tok_header *h)
{
    bool wordpiece = h->kind == TOKENIZER_WORDPIECE;
    return (wordpiece || h->kind == TOKENIZER_UNIGRAM) && h->n_pieces >= 1 &&
           h->n_pieces <= TOKENIZER_MAX_PIECES && h->unk < h->n_pieces && h->first < h->n_pieces &&
           h->last < h->n_pieces && h->flags <= TOK_FLAGS && h->max_piece <= TOKENIZER_MAX_PIECE &&
           (!wordpiece || (h->max_word_chars >= 1 && h->max_word_chars <= TOKENIZER_MAX_WORD));
}

static bool chars_ok(const struct tokenizer *t)
{
    const struct tok_header *h = t->h;
    uint64_t n = h->sec[TOK_CHARS].len / sizeof(uint32_t), pool = h->sec[TOK_POOL].len;
    bool ok = true;
    for (uint32_t i = 0; i < TOKENIZER_PAGES; i++)
        ok &= ((uint64_t)t->pages[i] + 1) * 256 <= n;
    if (h->kind == TOKENIZER_UNIGRAM) {
        for (uint64_t i = 0; i < n; i++)
            ok &= !(t->chars[i] & UNI_MAPPED) ||
                  (t->chars[i] >> 12) + (uint64_t)(t->chars[i] >> 6 & 63) <= pool;
        return ok;
    }
    ok &= pool % sizeof(uint32_t) == 0;
    pool /= sizeof(uint32_t);
    for (uint64_t i = 0; i < n; i++) {
        uint32_t v = t->chars[i], class = v & 15;
        ok &= class < WP_CLASSES && (class != WP_BYTE || (v >> 8) < 0x80);
        if (class == WP_MAPPED || class == WP_HAN_MAPPED)
            ok &= (v >> 10) + (uint64_t)(v >> 4 & 63) <= pool;
    }
    for (uint64_t i = 0; i < pool; i++)
        ok &= (t->pool_words[i] & 0x1FFFFF) <= 0x10FFFF && (t->pool_words[i] >> 21 & 7) < WP_ITEM_CLASSES;
    return ok;
}

static bool pieces_ok(const struct tokenizer *t)
{
    const struct tok_header *h = t->h;
    bool ok = t->piece_off[0] == 0 && t->piece_off[h->n_pieces] == h->sec[TOK_PIECE_BYTES].len;
    for (uint32_t i = 0; i < h->n_pieces; i++)
        ok &= t->piece_off[i] <= t->piece_off[i + 1];
    return ok;
}

static bool charsmap_ok(struct tokenizer *t, struct str bytes)
{
    t->n_charsmap = 0;
    struct str map = str_make(bytes.ptr + t->h->sec[TOK_CHARSMAP].off, (size_t)t->h->sec[TOK_CHARSMAP].len);
    if (map.len == 0)
        return true;
    t->charsmap = (const uint32_t *)(const void *)(map.ptr + sizeof(uint32_t));
    return uni_charsmap_split(map, &t->n_charsmap, &t->charsmap_text);
}

static bool block_ok(struct tokenizer *t, struct str bytes)
{
    if (!header_ok(t->h) || !sections_ok(t, bytes))
        return false;
    uint64_t n_units = t->h->sec[TOK_TRIE].len / sizeof(uint32_t);
    return chars_ok(t) && pieces_ok(t) && charsmap_ok(t, bytes) && trie_check(t->trie, n_units) &&
           (t->h->continuing == UINT32_MAX || t->h->continuing < n_units);
}

rag_code tokenizer_open(struct str bytes, struct tokenizer **out, struct rag_err *err)
{
    const struct tok_header *h = (const void *)bytes.ptr;
    *out = NULL;
    if (bytes.len < sizeof *h || memcmp(h->magic, TOKENIZER_MAGIC, sizeof h->magic) != 0)
        return rag_err_set(err, RAG_ECORRUPT, "tokenizer: not a tokenizer block");
    RAG_ASSERT((uintptr_t)bytes.ptr % 8 == 0);
    if (h->version > TOKENIZER_VERSION)
        return rag_err_set(err, RAG_EVERSION, "tokenizer: format %u is newer than this ragd reads (%d)",
                           h->version, TOKENIZER_VERSION);
    if (h->version != TOKENIZER_VERSION || h->bytes != bytes.len)
        return rag_err_set(err, RAG_ECORRUPT, "tokenizer: truncated or damaged header");
    struct tokenizer *t = mem_zalloc(MEM_MODEL, sizeof *t);
    if (!t)
        return rag_err_set(err, RAG_ENOMEM, "out of memory");
    t->h = h;
    if (!block_ok(t, bytes)) {
        mem_free(MEM_MODEL, t);
        return rag_err_set(err, RAG_ECORRUPT, "tokenizer: an offset points outside the block");
    }
    *out = t;
    return RAG_OK;
}

void tokenizer_close(struct tokenizer *t)
{
    mem_free(MEM_MODEL, t);
}

uint32_t tokenizer_vocabulary(const struct tokenizer *t)
{
    return t->h->n_pieces;
}

uint32_t tokenizer_first(const struct tokenizer *t)
{
    return t->h->first;
}

uint32_t tokenizer_last(const struct tokenizer *t)
{
    return t->h->last;
}

struct str tokenizer_piece(const struct tokenizer *t, uint32_t id)
{
    if (id >= t->h->n_pieces)
        return str_make(NULL, 0);
    return str_make(t->piece_bytes + t->piece_off[id], t->piece_off[id + 1] - t->piece_off[id]);
}

double tokenizer_log_probability(const struct tokenizer *t, uint32_t id)
{
    return t->scores && id < t->h->n_pieces ? t->scores[id] : 0;
}

rag_code tokenizer_scratch_new(struct tokenizer_scratch **out)
{
    struct tokenizer_scratch *s = mem_zalloc(MEM_MODEL, sizeof *s);
    *out = s;
    if (!s)
        return RAG_ENOMEM;
    buf_init(&s->normal, MEM_MODEL);
    buf_init(&s->tidied, MEM_MODEL);
    buf_init(&s->sentence, MEM_MODEL);
    return RAG_OK;
}

void tokenizer_scratch_free(struct tokenizer_scratch *s)
{
    if (!s)
        return;
    buf_clear(&s->normal);
    buf_clear(&s->tidied);
    buf_clear(&s->sentence);
    mem_free(MEM_MODEL, s->nodes);
    mem_free(MEM_MODEL, s);
}

rag_code tokenizer_encode(const struct tokenizer *t, struct tokenizer_scratch *s, struct str text,
                          struct buf *ids)
{
    return t->h->kind == TOKENIZER_WORDPIECE ? wordpiece_encode(t, s, text, ids)
                                             : unigram_encode(t, s, text, ids);
}
