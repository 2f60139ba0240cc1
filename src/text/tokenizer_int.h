/* text/tokenizer_int.h - the bytes of a tokenizer block, shared by its builder and its readers; docs/formats.md has
 * the same in words. Little-endian; sections start on 8-byte boundaries. */
#ifndef RAGD_TEXT_TOKENIZER_INT_H
#define RAGD_TEXT_TOKENIZER_INT_H

#include "text/tokenizer.h"
#include "text/tokenizer_trie.h"

#define TOKENIZER_MAGIC "RAGDTOK\n"
enum {
    TOKENIZER_VERSION = 1,
    TOKENIZER_MAX_PIECES = 1 << 21,
    TOKENIZER_MAX_PIECE = 1024, /* bytes */
    TOKENIZER_MAX_WORD = 1000,  /* characters of max_word_chars */
    TOKENIZER_PAGES = 0x110000 / 256
};

enum tok_section {
    TOK_PAGES,       /* uint16_t[TOKENIZER_PAGES]: page of `chars` for each 256 code points */
    TOK_CHARS,       /* uint32_t[pages][256]: what happens to a character */
    TOK_POOL,        /* WORDPIECE: uint32_t[], UNIGRAM: bytes; what characters become */
    TOK_TRIE,        /* uint32_t[]: piece to id */
    TOK_PIECE_OFF,   /* uint32_t[n_pieces + 1]: piece id is bytes [id] to [id + 1] */
    TOK_PIECE_BYTES, /* the pieces back to back */
    TOK_SCORES,      /* UNIGRAM: double[n_pieces] */
    TOK_CHARSMAP,    /* UNIGRAM: Precompiled's map as it came, for clusters of several characters */
    TOK_SECTIONS
};
enum tok_flag {
    TOK_STRIP_LEFT = 1,
    TOK_STRIP_RIGHT = 2,
    TOK_COLLAPSE = 4,
    TOK_COLLAPSE_METASPACE = 8,
    TOK_SPLIT_WHITESPACE = 16,
    TOK_PREPEND = 32,
    TOK_WHOLE = 64,
    TOK_NO_METASPACE = 128,
    TOK_FLAGS = 255
};
struct tok_header {
    char magic[8];
    uint32_t version, kind; /* enum tokenizer_kind */
    uint64_t bytes;         /* of the block */
    uint32_t n_pieces, unk, first, last;
    uint32_t max_word_chars; /* WORDPIECE */
    uint32_t
        continuing; /* WORDPIECE: place of the trie's node after the continuing prefix; UINT32_MAX: no piece
                                continues a word */
    uint32_t flags; /* UNIGRAM: enum tok_flag */
    uint32_t max_piece; /* bytes of the longest piece */
    double unk_score;   /* UNIGRAM */
    struct {
        uint64_t off, len; /* bytes of the block */
    } sec[TOK_SECTIONS];
};

struct tokenizer {
    const struct tok_header *h;
    const uint16_t *pages;
    const uint32_t *chars;
    const uint32_t *pool_words; /* WORDPIECE */
    const char *pool_bytes;     /* UNIGRAM */
    const uint32_t *trie;
    const uint32_t *piece_off;
    const char *piece_bytes;
    const double *scores;
    const uint32_t *charsmap; /* units of the map; n_charsmap 0: no map */
    uint32_t n_charsmap;
    struct str charsmap_text; /* its replacements, each ended by NUL */
};

static inline uint32_t tok_char(const struct tokenizer *t, uint32_t cp)
{
    return t->chars[(uint32_t)t->pages[cp >> 8] * 256 + (cp & 255)];
}

/* ---- WordPiece: what happens to a character ---------------------------------------------------------------- *
 * BertNormalizer and BertPreTokenizer in one step. WP_MAPPED and WP_HAN_MAPPED become 0 to 63 items of the pool:
 * count << 4, first item << 10. An item is code point | class << 21 | combining class << 24. */
enum wp_class {
    WP_WORD,    /* itself */
    WP_PUNCT,   /* itself, a word of its own */
    WP_SPACE,   /* ends a word */
    WP_KEEP,    /* itself, may change place with its neighbours: combining class << 8 (NFD sorts by it) */
    WP_BARRIER, /* nothing, but characters do not change place across it */
    WP_ITEM_CLASSES,
    WP_DROP = WP_ITEM_CLASSES, /* nothing at all */
    WP_BYTE,                   /* the word character byte << 8 */
    WP_HAN,                    /* itself, with spaces around */
    WP_MAPPED,
    WP_HAN_MAPPED, /* with spaces around */
    WP_HANGUL,     /* a syllable, becomes its letters */
    WP_CLASSES
};
enum { WP_MAX_ITEMS = 63, WP_MAX_POOL = 1 << 22 };
static inline enum wp_class wp_class_of(uint32_t v)
{
    return (enum wp_class)(v & 15);
}
static inline uint32_t wp_item(uint32_t cp, enum wp_class class, uint32_t ccc)
{
    return cp | (uint32_t) class << 21 | ccc << 24;
}

/* ---- Unigram: what happens to a character ------------------------------------------------------------------ *
 * Bits 0 to 4: its class for grapheme clusters. Bit 5: the map knows it; then bits 6 to 11 are the length and 12 to 31
 * the place of what it becomes (bytes of the pool). */
enum uni_class {
    UNI_OTHER,
    UNI_CR,
    UNI_LF,
    UNI_CONTROL,
    UNI_EXTEND,
    UNI_LINKER, /* extends, and joins Indic consonants */
    UNI_JOINER, /* U+200D */
    UNI_SPACING,
    UNI_PREPEND,
    UNI_FLAG, /* regional indicator */
    UNI_PICTURE,
    UNI_CONSONANT,
    UNI_L,
    UNI_V,
    UNI_T,
    UNI_LV,
    UNI_LVT
};
enum { UNI_CLASS_MASK = 31, UNI_MAPPED = 32, UNI_MAX_MAPPED = 63, UNI_MAX_POOL = 1 << 20 };
static inline struct str uni_mapped(const struct tokenizer *t, uint32_t v)
{
    return str_make(t->pool_bytes + (v >> 12), v >> 6 & 63);
}

/* Replacement of the shortest prefix of `key` that the map has; the whole of the library's rule. */
bool uni_charsmap_find(const uint32_t *units, uint32_t n_units, struct str text, struct str key,
                       struct str *found);
/* Splits the bytes of Precompiled's map; false when they are none. The units must be 4-byte aligned when read. */
bool uni_charsmap_split(struct str bytes, uint32_t *n_units, struct str *text);

bool tok_is_space(uint32_t cp); /* Unicode's White_Space */

/* Character tables: fills pages[TOKENIZER_PAGES], appends to chars and pool (empty before). RAG_ENOMEM, RAG_EFORMAT. */
RAG_MUST_CHECK rag_code tok_chars_build(const struct tokenizer_spec *spec, uint16_t *pages, struct buf *chars,
                                        struct buf *pool, struct rag_err *err);

struct uni_node {
    double score;
    uint32_t start, id; /* best last piece ending here: where it starts; TOK_NOWHERE */
};
#define TOK_NOWHERE UINT32_MAX

/* One thread's memory. WordPiece has bounds for its own; Unigram's grows with the text. */
struct tokenizer_scratch {
    /* WORDPIECE: the word that is being read */
    char word[(TOKENIZER_MAX_WORD + 1) * 4];
    uint32_t word_len, n_chars;
    struct wp_pending {
        uint32_t cp, ccc;
    } pending[TOKENIZER_MAX_WORD + 1];
    uint32_t n_pending;
    /* UNIGRAM */
    struct buf normal, tidied, sentence; /* the text after the map; after Strip and Replace; one pre-token */
    struct uni_node *nodes;
    size_t cap_nodes;
};

rag_code wordpiece_encode(const struct tokenizer *t, struct tokenizer_scratch *s, struct str text,
                          struct buf *ids);
rag_code unigram_encode(const struct tokenizer *t, struct tokenizer_scratch *s, struct str text,
                        struct buf *ids);

#endif
