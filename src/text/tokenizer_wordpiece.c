/* WordPiece: characters go through the table into a word, words through the trie, longest piece first. A word longer
 * than max_word_chars is the unknown piece, so no more of it is kept and all memory is bounded. */
#include "text/tokenizer_int.h"
#include "text/utf8.h"

struct reader {
    const struct tokenizer *t;
    struct tokenizer_scratch *s;
    struct buf *ids;
};

static void add_id(struct buf *ids, uint32_t id)
{
    if (ids->cap - ids->len >= sizeof id) {
        memcpy(ids->ptr + ids->len, &id, sizeof id);
        ids->len += sizeof id;
    } else {
        BUF_ADD_VALUE(ids, id);
    }
}

static void put_char(struct reader *r, uint32_t cp)
{
    struct tokenizer_scratch *s = r->s;
    if (++s->n_chars <= r->t->h->max_word_chars)
        s->word_len += (uint32_t)utf8_encode(cp, s->word + s->word_len);
    else
        s->n_chars = r->t->h->max_word_chars + 1; /* never wraps */
}

/* Canonical order: stable by combining class. A word that is too long is unknown in any order. */
static void flush_pending(struct reader *r)
{
    struct tokenizer_scratch *s = r->s;
    for (uint32_t i = 1; i < s->n_pending; i++)
        for (uint32_t k = i; k > 0 && s->pending[k - 1].ccc > s->pending[k].ccc; k--) {
            struct wp_pending p = s->pending[k];
            s->pending[k] = s->pending[k - 1];
            s->pending[k - 1] = p;
        }
    for (uint32_t i = 0; i < s->n_pending; i++)
        put_char(r, s->pending[i].cp);
    s->n_pending = 0;
}

static void keep(struct reader *r, uint32_t cp, uint32_t ccc)
{
    struct tokenizer_scratch *s = r->s;
    if (s->n_chars > r->t->h->max_word_chars)
        return;
    if (s->n_pending > r->t->h->max_word_chars) { /* too long already: their order does not matter */
        s->n_chars = r->t->h->max_word_chars + 1;
        s->n_pending = 0;
        return;
    }
    s->pending[s->n_pending++] = (struct wp_pending){cp, ccc};
}

/* Longest piece at the beginning of p[0..n) from a node; its length, 0 when there is none. */
static uint32_t longest(const struct tokenizer *t, uint32_t node, const char *p, uint32_t n, uint32_t *id)
{
    uint32_t len = 0;
    for (uint32_t i = 0; i < n && trie_step(t->trie, &node, (unsigned char)p[i]); i++)
        if (node & TRIE_VALUE) {
            uint32_t v = trie_value(t->trie, node);
            if (v < t->h->n_pieces) {
                *id = v;
                len = i + 1;
            }
        }
    return len;
}

static void split_word(struct reader *r)
{
    const struct tokenizer *t = r->t;
    struct tokenizer_scratch *s = r->s;
    size_t was = r->ids->len;
    uint32_t node = t->trie[0], at = 0;
    while (at < s->word_len) {
        uint32_t id, len = longest(t, node, s->word + at, s->word_len - at, &id);
        if (len == 0 || (at + len < s->word_len && t->h->continuing == UINT32_MAX)) {
            r->ids->len = was;
            add_id(r->ids, t->h->unk);
            return;
        }
        add_id(r->ids, id);
        at += len;
        if (at < s->word_len)
            node = t->trie[t->h->continuing];
    }
}

static void end_word(struct reader *r)
{
    struct tokenizer_scratch *s = r->s;
    if (s->n_pending)
        flush_pending(r);
    if (s->n_chars == 0)
        return;
    if (s->n_chars > r->t->h->max_word_chars)
        add_id(r->ids, r->t->h->unk);
    else
        split_word(r);
    s->word_len = s->n_chars = 0;
}

static void put_item(struct reader *r, uint32_t cp, enum wp_class class, uint32_t ccc)
{
    if (class == WP_KEEP && ccc) {
        keep(r, cp, ccc);
        return;
    }
    if (class == WP_SPACE || class == WP_PUNCT)
        end_word(r);
    if (r->s->n_pending)
        flush_pending(r);
    if (class == WP_WORD || class == WP_KEEP || class == WP_PUNCT)
        put_char(r, cp);
    if (class == WP_PUNCT)
        end_word(r);
}

static void put_mapped(struct reader *r, uint32_t v)
{
    const uint32_t *item = r->t->pool_words + (v >> 10);
    for (uint32_t n = v >> 4 & 63; n > 0; n--, item++)
        put_item(r, *item & 0x1FFFFF, (enum wp_class)(*item >> 21 & 7), *item >> 24);
}

/* Unicode, section 3.12: Hangul syllable decomposition. */
static void put_hangul(struct reader *r, uint32_t cp)
{
    uint32_t s = cp - 0xAC00;
    put_item(r, 0x1100 + s / 588, WP_WORD, 0);
    put_item(r, 0x1161 + s % 588 / 28, WP_WORD, 0);
    if (s % 28)
        put_item(r, 0x11A7 + s % 28, WP_WORD, 0);
}

static void put(struct reader *r, uint32_t cp)
{
    uint32_t v = tok_char(r->t, cp);
    enum wp_class class = wp_class_of(v);
    switch (class) {
    case WP_WORD:
    case WP_PUNCT:
    case WP_SPACE:
    case WP_BARRIER: put_item(r, cp, class, 0); break;
    case WP_KEEP: put_item(r, cp, class, v >> 8 & 255); break;
    case WP_BYTE: put_item(r, v >> 8 & 127, WP_WORD, 0); break;
    case WP_MAPPED: put_mapped(r, v); break;
    case WP_HANGUL:
        if (cp >= 0xAC00 && cp <= 0xD7A3)
            put_hangul(r, cp);
        break;
    case WP_HAN:
    case WP_HAN_MAPPED:
        end_word(r);
        if (class == WP_HAN)
            put_item(r, cp, WP_WORD, 0);
        else
            put_mapped(r, v);
        end_word(r);
        break;
    case WP_DROP:
    default: break;
    }
}

/* ASCII letters and digits, the many: straight into the word while there is nothing to sort. */
static size_t put_ascii_run(struct reader *r, struct str text, size_t i, const uint32_t *ascii)
{
    struct tokenizer_scratch *s = r->s;
    uint32_t most = r->t->h->max_word_chars;
    for (; i < text.len && (unsigned char)text.ptr[i] < 0x80 && s->n_chars < most; i++) {
        uint32_t v = ascii[(unsigned char)text.ptr[i]];
        if (wp_class_of(v) == WP_WORD)
            s->word[s->word_len++] = text.ptr[i];
        else if (wp_class_of(v) == WP_BYTE)
            s->word[s->word_len++] = (char)(v >> 8 & 127);
        else
            break;
        s->n_chars++;
    }
    return i;
}

rag_code wordpiece_encode(const struct tokenizer *t, struct tokenizer_scratch *s, struct str text,
                          struct buf *ids)
{
    struct reader r = {t, s, ids};
    const uint32_t *ascii = t->chars + (uint32_t)t->pages[0] * 256;
    s->word_len = s->n_chars = s->n_pending = 0;
    for (size_t i = 0; i < text.len && !buf_failed(ids);) {
        if (s->n_pending == 0)
            i = put_ascii_run(&r, text, i, ascii);
        if (i < text.len)
            put(&r, utf8_next(text, &i));
    }
    end_word(&r);
    return buf_failed(ids) ? RAG_ENOMEM : RAG_OK;
}
