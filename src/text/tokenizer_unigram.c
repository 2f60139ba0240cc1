/* Unigram: the text goes through the character map, then it is cut at white space and at Metaspace's mark, and each
 * piece gets its most probable segmentation (Viterbi, bounded by the longest piece of the vocabulary).
 *
 * The map is asked by grapheme clusters (UAX #29): one below 6 bytes is looked up whole, and what its shortest known
 * prefix becomes stands for all of it; else each character stands for itself. The table has every single character's
 * replacement, so that the map itself is only read for clusters of several characters. */
#include "text/tokenizer_int.h"
#include "text/utf8.h"

enum { WHOLE_CLUSTER = 6, KEEP_NODES = 1 << 16 };
static const char mark[3] = {(char)0xE2, (char)0x96, (char)0x81}; /* U+2581 */

/* ---- the character map ------------------------------------------------------------------------------------ */
bool uni_charsmap_split(struct str bytes, uint32_t *n_units, struct str *text)
{
    uint32_t size;
    if (bytes.len < sizeof size)
        return false;
    memcpy(&size, bytes.ptr, sizeof size);
    if (size == 0 || size % 4 || size > bytes.len - sizeof size)
        return false;
    *n_units = size / 4;
    *text = str_make(bytes.ptr + sizeof size + size, bytes.len - sizeof size - size);
    return true;
}

/* Darts-clone: offset << 10, or in steps of 256 << 9; has a value << 8; label. A value is a unit with bit 31 set. */
static uint32_t darts_offset(uint32_t unit)
{
    return unit >> 10 << ((unit & 0x200) >> 6);
}

bool uni_charsmap_find(const uint32_t *units, uint32_t n_units, struct str text, struct str key,
                       struct str *found)
{
    if (n_units == 0)
        return false;
    uint32_t at = darts_offset(units[0]);
    for (size_t i = 0; i < key.len; i++) {
        unsigned char c = (unsigned char)key.ptr[i];
        at ^= c;
        if (c == 0 || at >= n_units || (units[at] & 0x800000FF) != c)
            return false;
        uint32_t unit = units[at];
        at ^= darts_offset(unit);
        if (!(unit & 0x100))
            continue;
        uint32_t from = at < n_units ? units[at] & 0x7FFFFFFF : UINT32_MAX;
        if (from >= text.len || ((unsigned char)text.ptr[from] & 0xC0) == 0x80)
            return false;
        const char *end = memchr(text.ptr + from, 0, text.len - from);
        *found = str_make(text.ptr + from, end ? (size_t)(end - (text.ptr + from)) : text.len - from);
        return true;
    }
    return false;
}

/* ---- clusters --------------------------------------------------------------------------------------------- */
/* What decides whether the next character belongs to the cluster, besides the last one's class. */
struct cluster {
    enum uni_class last;
    bool picture;          /* GB11: so far a picture, extends, at most one joiner */
    bool odd_flag;         /* GB12 */
    bool conjunct, linked; /* GB9c: consonant and no more than extends and linkers; one of them a linker */
};

static bool extends(enum uni_class c)
{
    return c == UNI_EXTEND || c == UNI_LINKER || c == UNI_JOINER;
}

static bool joins(const struct cluster *k, enum uni_class c)
{
    enum uni_class a = k->last;
    if (a == UNI_CR)
        return c == UNI_LF;
    if (a == UNI_LF || a == UNI_CONTROL || c == UNI_CR || c == UNI_LF || c == UNI_CONTROL)
        return false;
    if (extends(c) || c == UNI_SPACING || a == UNI_PREPEND)
        return true;
    if (a == UNI_L)
        return c == UNI_L || c == UNI_V || c == UNI_LV || c == UNI_LVT;
    if (a == UNI_LV || a == UNI_V)
        return c == UNI_V || c == UNI_T;
    if (a == UNI_LVT || a == UNI_T)
        return c == UNI_T;
    if (c == UNI_PICTURE)
        return k->picture && a == UNI_JOINER;
    if (c == UNI_FLAG)
        return a == UNI_FLAG && k->odd_flag;
    return c == UNI_CONSONANT && k->conjunct && k->linked;
}

static void cluster_add(struct cluster *k, enum uni_class c)
{
    k->picture = c == UNI_PICTURE || (k->picture && extends(c) && k->last != UNI_JOINER);
    k->odd_flag = c == UNI_FLAG && !(k->last == UNI_FLAG && k->odd_flag);
    if (c == UNI_CONSONANT) {
        k->conjunct = true;
        k->linked = false;
    } else if (extends(c)) {
        k->linked |= c == UNI_LINKER;
    } else {
        k->conjunct = false;
    }
    k->last = c;
}

static void put_char(const struct tokenizer *t, struct buf *out, uint32_t cp)
{
    uint32_t v = tok_char(t, cp);
    char bytes[4];
    if (v & UNI_MAPPED)
        buf_adds(out, uni_mapped(t, v));
    else
        buf_add(out, bytes, utf8_encode(cp, bytes));
}

/* The cluster at text[i], normalised; where the next one begins. */
static size_t put_cluster(const struct tokenizer *t, struct buf *out, struct str text, size_t i)
{
    char whole[WHOLE_CLUSTER + 4], bytes[4];
    struct cluster k = {.last = UNI_OTHER};
    struct str found;
    size_t from = i, len = 0;
    bool first = true, alone = true;
    while (i < text.len) {
        size_t next = i;
        uint32_t cp = utf8_next(text, &next);
        enum uni_class class = (enum uni_class)(tok_char(t, cp) & UNI_CLASS_MASK);
        if (!first && !joins(&k, class))
            break;
        cluster_add(&k, class);
        alone = first;
        first = false;
        size_t n = utf8_encode(cp, bytes);
        if (len < WHOLE_CLUSTER)
            memcpy(whole + len, bytes, n);
        len += n;
        i = next;
    }
    if (!alone && len < WHOLE_CLUSTER &&
        uni_charsmap_find(t->charsmap, t->n_charsmap, t->charsmap_text, str_make(whole, len), &found)) {
        buf_adds(out, found);
        return i;
    }
    while (from < i)
        put_char(t, out, utf8_next(text, &from));
    return i;
}

static void normalise(const struct tokenizer *t, struct buf *out, struct str text)
{
    const uint32_t *ascii = t->chars + (uint32_t)t->pages[0] * 256;
    buf_reserve(out, text.len + 16);
    for (size_t i = 0; i < text.len && !buf_failed(out);) {
        unsigned char c = (unsigned char)text.ptr[i];
        /* ASCII before ASCII is a cluster, but for CR LF. */
        if (c < 0x80 && c != '\r' && (i + 1 == text.len || (unsigned char)text.ptr[i + 1] < 0x80)) {
            if (ascii[c] & UNI_MAPPED)
                buf_adds(out, uni_mapped(t, ascii[c]));
            else
                buf_addc(out, (char)c);
            i++;
        } else {
            i = put_cluster(t, out, text, i);
        }
    }
}

/* ---- Viterbi ---------------------------------------------------------------------------------------------- */
static size_t char_bytes(unsigned char lead)
{
    return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

static bool nodes_reserve(struct tokenizer_scratch *s, size_t n)
{
    if (n <= s->cap_nodes)
        return true;
    size_t cap = n + n / 2, bytes;
    if (cap >= UINT32_MAX || !size_mul_ok(cap, sizeof *s->nodes, &bytes))
        return false;
    struct uni_node *p = mem_realloc(MEM_MODEL, s->nodes, bytes);
    if (!p)
        return false;
    s->nodes = p;
    s->cap_nodes = cap;
    return true;
}

static inline void offer(struct uni_node *to, double score, uint32_t start, uint32_t id)
{
    if (to->start == TOK_NOWHERE || score > to->score)
        *to = (struct uni_node){score, start, id};
}

/* Best way to every character boundary of p[0..n). */
static void forward(const struct tokenizer *t, struct uni_node *nodes, const char *p, size_t n)
{
    for (size_t i = 1; i <= n; i++)
        nodes[i].start = TOK_NOWHERE;
    nodes[0] = (struct uni_node){0, 0, 0};
    for (size_t at = 0, step; at < n; at += step) {
        double here = nodes[at].score;
        step = char_bytes((unsigned char)p[at]);
        step = step < n - at ? step : n - at; /* a hostile block's replacements may end in a character */
        size_t end = n - at < t->h->max_piece ? n : at + t->h->max_piece;
        bool single = false;
        uint32_t node = t->trie[0];
        for (size_t i = at; i < end && trie_step(t->trie, &node, (unsigned char)p[i]); i++) {
            if (!(node & TRIE_VALUE))
                continue;
            uint32_t id = trie_value(t->trie, node);
            if (id >= t->h->n_pieces)
                continue;
            offer(&nodes[i + 1], here + t->scores[id], (uint32_t)at, id);
            single |= i + 1 - at == step;
        }
        if (!single)
            offer(&nodes[at + step], here + t->h->unk_score, (uint32_t)at, t->h->unk);
    }
}

/* Id of a run of unknown characters: the library asks the vocabulary for the whole run. */
static uint32_t run_id(const struct tokenizer *t, const char *p, size_t n)
{
    uint32_t node = t->trie[0], id = t->h->unk;
    for (size_t i = 0; i < n; i++)
        if (!trie_step(t->trie, &node, (unsigned char)p[i]))
            return id;
    if (node & TRIE_VALUE && trie_value(t->trie, node) < t->h->n_pieces)
        id = trie_value(t->trie, node);
    return id;
}

/* From the end to the beginning; the ids come out in reverse and are turned round. */
static void backward(const struct tokenizer *t, const struct uni_node *nodes, const char *p, size_t n,
                     struct buf *ids)
{
    size_t from = ids->len;
    for (size_t end = n; end > 0;) {
        size_t start = nodes[end].start;
        uint32_t id = nodes[end].id;
        if (id == t->h->unk) {
            while (start > 0 && nodes[start].id == id)
                start = nodes[start].start;
            id = run_id(t, p + start, end - start);
        }
        BUF_ADD_VALUE(ids, id);
        end = start;
    }
    if (buf_failed(ids))
        return;
    for (size_t i = from, k = ids->len; i + 4 < k; i += 4) {
        uint32_t a, b;
        k -= 4;
        memcpy(&a, ids->ptr + i, 4);
        memcpy(&b, ids->ptr + k, 4);
        memcpy(ids->ptr + i, &b, 4);
        memcpy(ids->ptr + k, &a, 4);
    }
}

static rag_code segment(const struct tokenizer *t, struct tokenizer_scratch *s, const char *p, size_t n,
                        struct buf *ids)
{
    if (n == 0)
        return RAG_OK;
    if (!nodes_reserve(s, n + 1))
        return RAG_ENOMEM;
    forward(t, s->nodes, p, n);
    backward(t, s->nodes, p, n, ids);
    return buf_failed(ids) ? RAG_ENOMEM : RAG_OK;
}

/* ---- pre-tokens ------------------------------------------------------------------------------------------- */
static bool begins_with_mark(const char *p, size_t n)
{
    return n >= sizeof mark && memcmp(p, mark, sizeof mark) == 0;
}

/* Bytes of the white space at p[0..n), 0 when there is none. */
static size_t space_at(const char *p, size_t n)
{
    unsigned char c = (unsigned char)*p;
    if (c < 0x80)
        return c == ' ' || (c >= 9 && c <= 13);
    if (c != 0xC2 && c != 0xE1 && c != 0xE2 && c != 0xE3)
        return 0;
    size_t i = 0;
    return tok_is_space(utf8_next(str_make(p, n), &i)) ? i : 0;
}

/* Metaspace over one split: spaces become marks, one is put before, each mark begins a new pre-token. */
static rag_code metaspace(const struct tokenizer *t, struct tokenizer_scratch *s, const char *p, size_t n,
                          struct buf *ids)
{
    uint32_t flags = t->h->flags;
    rag_code rc = RAG_OK;
    if (n == 0)
        return RAG_OK;
    if (flags & TOK_NO_METASPACE)
        return segment(t, s, p, n, ids);
    buf_reset(&s->sentence);
    if (flags & TOK_PREPEND && *p != ' ' && !begins_with_mark(p, n))
        buf_add(&s->sentence, mark, sizeof mark);
    for (size_t i = 0; i < n && !rc;) {
        bool space = p[i] == ' ', is_mark = space || begins_with_mark(p + i, n - i);
        if (is_mark && i > 0 && !(flags & TOK_WHOLE)) {
            if (buf_failed(&s->sentence))
                return RAG_ENOMEM;
            rc = segment(t, s, s->sentence.ptr, s->sentence.len, ids);
            buf_reset(&s->sentence);
        }
        if (is_mark) {
            buf_add(&s->sentence, mark, sizeof mark);
            i += space ? 1 : sizeof mark;
        } else {
            buf_addc(&s->sentence, p[i++]);
        }
    }
    if (buf_failed(&s->sentence))
        return RAG_ENOMEM;
    return rc ? rc : segment(t, s, s->sentence.ptr, s->sentence.len, ids);
}

/* Strip, then Replace " {2,}": a part of `s`, or what is written to `spare`. */
static struct str tidy(const struct tokenizer *t, struct str s, struct buf *spare)
{
    uint32_t flags = t->h->flags;
    size_t space;
    while (flags & TOK_STRIP_LEFT && s.len && (space = space_at(s.ptr, s.len)) > 0)
        s = str_make(s.ptr + space, s.len - space);
    while (flags & TOK_STRIP_RIGHT && s.len) {
        size_t last = s.len - 1;
        while (last > 0 && ((unsigned char)s.ptr[last] & 0xC0) == 0x80)
            last--;
        if (space_at(s.ptr + last, s.len - last) != s.len - last)
            break;
        s.len = last;
    }
    if (!(flags & TOK_COLLAPSE) || !memmem(s.ptr, s.len, "  ", 2))
        return s;
    for (size_t i = 0; i < s.len;) {
        size_t n = 0;
        while (i + n < s.len && s.ptr[i + n] == ' ')
            n++;
        if (n >= 2 && flags & TOK_COLLAPSE_METASPACE)
            buf_add(spare, mark, sizeof mark);
        else
            buf_addc(spare, s.ptr[i]);
        i += n ? n : 1;
    }
    return buf_str(spare);
}

static rag_code encode(const struct tokenizer *t, struct tokenizer_scratch *s, struct str text,
                       struct buf *ids)
{
    if (!(t->h->flags & TOK_SPLIT_WHITESPACE))
        return metaspace(t, s, text.ptr, text.len, ids);
    rag_code rc = RAG_OK;
    size_t from = 0;
    for (size_t i = 0; i < text.len && !rc;) {
        size_t space = space_at(text.ptr + i, text.len - i);
        if (space) {
            rc = metaspace(t, s, text.ptr + from, i - from, ids);
            from = i + space;
        }
        i += space ? space : 1;
    }
    return rc ? rc : metaspace(t, s, text.ptr + from, text.len - from, ids);
}

rag_code unigram_encode(const struct tokenizer *t, struct tokenizer_scratch *s, struct str text,
                        struct buf *ids)
{
    buf_reset(&s->normal);
    normalise(t, &s->normal, text);
    if (buf_failed(&s->normal))
        return RAG_ENOMEM;
    buf_reset(&s->tidied);
    struct str text_left = tidy(t, buf_str(&s->normal), &s->tidied);
    rag_code rc = buf_failed(&s->tidied) ? RAG_ENOMEM : encode(t, s, text_left, ids);
    if (s->cap_nodes > KEEP_NODES) { /* one huge text must not stay in every worker's memory */
        mem_free(MEM_MODEL, s->nodes);
        s->nodes = NULL;
        s->cap_nodes = 0;
    }
    return rc;
}
