/* What tokenisers do to each character, computed once when a block is built.
 *
 * The ids must be those of the Hugging Face library, which carries its own tables. We probed its 0.23.3 with every
 * code point (tools/tokenizer_parity.py --probe repeats that) against ICU 72: it behaves as if its categories were
 * those of Unicode 8.0, its canonical decompositions and orders those of 9.0, its lowercase and its clusters those of
 * 17.0. So a character that is younger than the table has no category, the few whose category changed since are named
 * below, and so is what Unicode 16 and 17 added. Made this way the tables do not depend on which ICU builds them, as
 * long as it knows Unicode 15.
 */
#include <unicode/uchar.h>
#include <unicode/unorm2.h>
#include <unicode/ustring.h>

#include "base/hash.h"
#include "text/tokenizer_int.h"
#include "text/utf8.h"

enum { CATEGORY_AGE = 8, DECOMPOSITION_AGE = 9 };

bool tok_is_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || cp == ' ' || cp == 0x85 || cp == 0xA0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F ||
           cp == 0x3000;
}

static bool not_younger(uint32_t cp, unsigned version)
{
    UVersionInfo age;
    u_charAge((UChar32)cp, age);
    return age[0] != 0 && age[0] <= version;
}

static bool in_category(uint32_t cp, uint32_t mask)
{
    return (U_MASK(u_charType((UChar32)cp)) & mask) && not_younger(cp, CATEGORY_AGE);
}

/* Cc, Cf and Co: what clean_text drops, besides U+0000 and U+FFFD. */
static bool is_dropped(uint32_t cp)
{
    if (cp == '\t' || cp == '\n' || cp == '\r')
        return false;
    return cp == 0 || cp == 0xFFFD || in_category(cp, U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK);
}

static bool is_punctuation(uint32_t cp)
{
    if (cp < 0x80)
        return (cp > ' ' && cp < '0') || (cp > '9' && cp < 'A') || (cp > 'Z' && cp < 'a') ||
               (cp > 'z' && cp < 0x7F);
    return in_category(cp, U_GC_P_MASK) || cp == 0x166D || cp == 0x111C9; /* So and Mn since */
}

static bool is_nonspacing(uint32_t cp)
{
    if (cp == 0x1734) /* Mc since */
        return true;
    return in_category(cp, U_GC_MN_MASK) && cp != 0x1885 && cp != 0x1886 && cp != 0xA9BD && cp != 0x111C9;
}

/* The ranges of BERT's tokenization.py. */
static bool is_chinese(uint32_t cp)
{
    return (cp >= 0x4E00 && cp <= 0x9FFF) || (cp >= 0x3400 && cp <= 0x4DBF) ||
           (cp >= 0x20000 && cp <= 0x2A6DF) || (cp >= 0x2A700 && cp <= 0x2B81F) ||
           (cp >= 0x2B920 && cp <= 0x2CEAF) || (cp >= 0xF900 && cp <= 0xFAFF) ||
           (cp >= 0x2F800 && cp <= 0x2FA1F);
}

/* Letters that got a lowercase in Unicode 16 and 17. */
static uint32_t young_lowercase(uint32_t cp)
{
    if (cp >= 0x10D50 && cp <= 0x10D65)
        return cp + 0x20;
    if (cp >= 0x16EA0 && cp <= 0x16EB8)
        return cp + 0x1B;
    switch (cp) {
    case 0xA7CB: return 0x264;
    case 0xA7DC: return 0x19B;
    case 0x1C89:
    case 0xA7CC:
    case 0xA7CE:
    case 0xA7D2:
    case 0xA7D4:
    case 0xA7DA: return cp + 1;
    default: return cp;
    }
}

/* Without context, as Rust's char::to_lowercase: U+0130 alone becomes two. */
static unsigned lowercase(uint32_t cp, uint32_t out[2])
{
    out[0] = young_lowercase(cp);
    if (out[0] != cp)
        return 1;
    if (cp == 0x130) {
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    out[0] = (uint32_t)u_tolower((UChar32)cp);
    return 1;
}

/* ---- WordPiece -------------------------------------------------------------------------------------------- */
struct items {
    uint32_t v[WP_MAX_ITEMS];
    unsigned n;
};

static void add_lowered(const struct tokenizer_spec *spec, struct items *to, uint32_t cp, uint32_t ccc)
{
    uint32_t low[2] = {cp, 0};
    unsigned n = spec->lowercase ? lowercase(cp, low) : 1;
    for (unsigned i = 0; i < n && to->n < WP_MAX_ITEMS; i++) {
        enum wp_class class = is_punctuation(low[i]) ? WP_PUNCT : tok_is_space(low[i]) ? WP_SPACE : WP_WORD;
        to->v[to->n++] = wp_item(low[i], ccc && class == WP_WORD ? WP_KEEP : class, ccc);
    }
}

/* NFD without Mn, then lowercase. Marks that go still keep their neighbours apart when their class is 0. */
static void add_stripped(const struct tokenizer_spec *spec, const UNormalizer2 *nfd, struct items *to,
                         uint32_t cp)
{
    UErrorCode e = U_ZERO_ERROR;
    UChar text[64];
    int32_t len = -1;
    if (not_younger(cp, DECOMPOSITION_AGE))
        len = unorm2_getDecomposition(nfd, (UChar32)cp, text, 64, &e);
    if (len < 0 || U_FAILURE(e)) {
        len = 0;
        U16_APPEND_UNSAFE(text, len, (UChar32)cp);
    }
    for (int32_t i = 0; i < len;) {
        UChar32 d;
        U16_NEXT(text, i, len, d);
        uint32_t ccc = not_younger((uint32_t)d, DECOMPOSITION_AGE) ? u_getCombiningClass(d) : 0u;
        if (!is_nonspacing((uint32_t)d))
            add_lowered(spec, to, (uint32_t)d, ccc);
        else if (ccc == 0 && to->n < WP_MAX_ITEMS)
            to->v[to->n++] = wp_item((uint32_t)d, WP_BARRIER, 0);
    }
}

static uint32_t wordpiece_char(const struct tokenizer_spec *spec, const UNormalizer2 *nfd, struct buf *pool,
                               uint32_t cp)
{
    if (spec->clean_text && is_dropped(cp))
        return WP_DROP;
    if (tok_is_space(cp))
        return WP_SPACE;
    if (spec->strip_accents && cp >= 0xAC00 && cp <= 0xD7A3)
        return WP_HANGUL;
    struct items to = {.n = 0};
    if (spec->strip_accents)
        add_stripped(spec, nfd, &to, cp);
    else
        add_lowered(spec, &to, cp, 0);

    bool han = spec->chinese_chars && is_chinese(cp);
    uint32_t become = to.n ? to.v[0] & 0x1FFFFF : 0;
    enum wp_class class = to.n ? (enum wp_class)(to.v[0] >> 21 & 7) : WP_DROP;
    if (to.n == 0 && !han)
        return WP_DROP;
    if (to.n == 1 && han && become == cp && class == WP_WORD)
        return WP_HAN;
    if (to.n == 1 && !han && class == WP_BARRIER)
        return WP_BARRIER;
    if (to.n == 1 && !han && become == cp)
        return class == WP_KEEP ? (uint32_t)WP_KEEP | to.v[0] >> 24 << 8 : (uint32_t) class;
    if (to.n == 1 && !han && become < 0x80 && class == WP_WORD)
        return (uint32_t)WP_BYTE | become << 8;
    uint32_t first = (uint32_t)(pool->len / sizeof *to.v);
    buf_add(pool, to.v, to.n * sizeof *to.v);
    return (uint32_t)(han ? WP_HAN_MAPPED : WP_MAPPED) | to.n << 4 | first << 10;
}

/* ---- Unigram ---------------------------------------------------------------------------------------------- */
static bool is_indic_linker(uint32_t cp)
{
    return cp == 0x94D || cp == 0x9CD || cp == 0xACD || cp == 0xB4D || cp == 0xC4D || cp == 0xD4D;
}

/* InCB=Consonant of Unicode 15.1. */
static bool is_indic_consonant(uint32_t cp)
{
    static const uint16_t ranges[][2] = {
        {0x915, 0x939}, {0x958, 0x95F}, {0x978, 0x97F}, {0x995, 0x9A8}, {0x9AA, 0x9B0}, {0x9B2, 0x9B2},
        {0x9B6, 0x9B9}, {0x9DC, 0x9DD}, {0x9DF, 0x9DF}, {0x9F0, 0x9F1}, {0xA95, 0xAA8}, {0xAAA, 0xAB0},
        {0xAB2, 0xAB3}, {0xAB5, 0xAB9}, {0xAF9, 0xAF9}, {0xB15, 0xB28}, {0xB2A, 0xB30}, {0xB32, 0xB33},
        {0xB35, 0xB39}, {0xB5C, 0xB5D}, {0xB5F, 0xB5F}, {0xB71, 0xB71}, {0xC15, 0xC28}, {0xC2A, 0xC39},
        {0xC58, 0xC5A}, {0xD15, 0xD3A}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (cp >= ranges[i][0] && cp <= ranges[i][1])
            return true;
    return false;
}

/* Marks of Unicode 16 and 17, which the library knows and ICU 72 does not. */
static bool is_young_mark(uint32_t cp)
{
    static const uint32_t ranges[][2] = {
        {0x897, 0x897},     {0x1ACF, 0x1ADD},   {0x1AE0, 0x1AEB},   {0x10D69, 0x10D6D}, {0x10EFA, 0x10EFC},
        {0x113B8, 0x113C0}, {0x113C2, 0x113C2}, {0x113C5, 0x113C5}, {0x113C7, 0x113CA}, {0x113CC, 0x113D0},
        {0x113D2, 0x113D2}, {0x113E1, 0x113E2}, {0x11B60, 0x11B67}, {0x11F5A, 0x11F5A}, {0x1611E, 0x1612F},
        {0x1E5EE, 0x1E5EF}, {0x1E6E3, 0x1E6E3}, {0x1E6E6, 0x1E6E6}, {0x1E6EE, 0x1E6EF}, {0x1E6F5, 0x1E6F5}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (cp >= ranges[i][0] && cp <= ranges[i][1])
            return true;
    return false;
}

static enum uni_class cluster_class(uint32_t cp)
{
    if (is_young_mark(cp))
        return UNI_EXTEND;
    if (cp == 0x113D1 || cp == 0x11A3A) /* Prepend since 16, no longer so */
        return cp == 0x113D1 ? UNI_PREPEND : UNI_OTHER;
    if (is_indic_linker(cp))
        return UNI_LINKER;
    if (is_indic_consonant(cp))
        return UNI_CONSONANT;
    switch (u_getIntPropertyValue((UChar32)cp, UCHAR_GRAPHEME_CLUSTER_BREAK)) {
    case U_GCB_CR: return UNI_CR;
    case U_GCB_LF: return UNI_LF;
    case U_GCB_CONTROL: return UNI_CONTROL;
    case U_GCB_EXTEND: return UNI_EXTEND;
    case U_GCB_ZWJ: return UNI_JOINER;
    case U_GCB_SPACING_MARK: return UNI_SPACING;
    case U_GCB_PREPEND: return UNI_PREPEND;
    case U_GCB_REGIONAL_INDICATOR: return UNI_FLAG;
    case U_GCB_L: return UNI_L;
    case U_GCB_V: return UNI_V;
    case U_GCB_T: return UNI_T;
    case U_GCB_LV: return UNI_LV;
    case U_GCB_LVT: return UNI_LVT;
    default: return u_hasBinaryProperty((UChar32)cp, UCHAR_EXTENDED_PICTOGRAPHIC) ? UNI_PICTURE : UNI_OTHER;
    }
}

struct charsmap {
    uint32_t *units;
    uint32_t n_units;
    struct str text;
};

static rag_code unigram_char(const struct charsmap *map, struct buf *pool, uint32_t cp, uint32_t *v,
                             struct rag_err *err)
{
    char key[4];
    struct str found;
    *v = cluster_class(cp);
    if (cp >= 0xD800 && cp <= 0xDFFF)
        return RAG_OK;
    if (!uni_charsmap_find(map->units, map->n_units, map->text, str_make(key, utf8_encode(cp, key)), &found))
        return RAG_OK;
    if (found.len > UNI_MAX_MAPPED)
        return rag_err_set(err, RAG_EFORMAT,
                           "precompiled_charsmap: U+%04X becomes %zu bytes, the limit is %d", cp, found.len,
                           UNI_MAX_MAPPED);
    *v |= UNI_MAPPED | (uint32_t)found.len << 6 | (uint32_t)pool->len << 12;
    buf_adds(pool, found);
    if (pool->len >= UNI_MAX_POOL)
        return rag_err_set(err, RAG_EFORMAT, "precompiled_charsmap: the replacements have over %d bytes",
                           UNI_MAX_POOL);
    return RAG_OK;
}

/* ---- both ------------------------------------------------------------------------------------------------- */
static rag_code chars_page(const struct tokenizer_spec *spec, const UNormalizer2 *nfd,
                           const struct charsmap *map, uint32_t page, uint32_t *v, struct buf *pool,
                           struct rag_err *err)
{
    for (uint32_t i = 0; i < 256; i++) {
        rag_code rc = RAG_OK;
        if (spec->kind == TOKENIZER_WORDPIECE)
            v[i] = wordpiece_char(spec, nfd, pool, page * 256 + i);
        else
            rc = unigram_char(map, pool, page * 256 + i, &v[i], err);
        if (rc)
            return rc;
    }
    return buf_failed(pool) ? rag_err_set(err, RAG_ENOMEM, "out of memory") : RAG_OK;
}

static rag_code charsmap_load(struct charsmap *map, struct str bytes, struct rag_err *err)
{
    if (bytes.len == 0)
        return RAG_OK;
    if (!uni_charsmap_split(bytes, &map->n_units, &map->text))
        return rag_err_set(err, RAG_EFORMAT, "precompiled_charsmap: its sizes do not fit its %zu bytes",
                           bytes.len);
    if (!utf8_valid(map->text))
        return rag_err_set(err, RAG_EFORMAT, "precompiled_charsmap: the replacements are not UTF-8");
    map->units = mem_alloc(MEM_MODEL, (size_t)map->n_units * sizeof *map->units);
    if (!map->units)
        return rag_err_set(err, RAG_ENOMEM, "out of memory");
    memcpy(map->units, bytes.ptr + sizeof(uint32_t), (size_t)map->n_units * sizeof *map->units);
    return RAG_OK;
}

rag_code tok_chars_build(const struct tokenizer_spec *spec, uint16_t *pages, struct buf *chars,
                         struct buf *pool, struct rag_err *err)
{
    UErrorCode e = U_ZERO_ERROR;
    const UNormalizer2 *nfd = unorm2_getNFDInstance(&e);
    if (U_FAILURE(e))
        return rag_err_set(err, RAG_EIO, "ICU cannot load its data: %s", u_errorName(e));
    struct charsmap map = {0};
    struct strset distinct;
    strset_init(&distinct, MEM_MODEL, 0);
    rag_code rc = charsmap_load(&map, spec->charsmap, err);
    for (uint32_t page = 0; page < TOKENIZER_PAGES && !rc; page++) {
        uint32_t v[256], id = 0;
        rc = chars_page(spec, nfd, &map, page, v, pool, err);
        if (!rc && (rc = strset_add(&distinct, str_make((const char *)v, sizeof v), &id)))
            rag_err_set(err, rc, "out of memory");
        pages[page] = (uint16_t)id;
    }
    if (!rc) {
        buf_adds(chars, buf_str(&distinct.bytes));
        if (buf_failed(chars))
            rc = rag_err_set(err, RAG_ENOMEM, "out of memory");
    }
    strset_clear(&distinct);
    mem_free(MEM_MODEL, map.units);
    return rc;
}
