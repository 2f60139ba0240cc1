/* Greedy packing in document order. A block becomes units (sentences, lines, a whole code block), and a unit joins the
 * open chunk while the chunk stays within the size; otherwise the chunk is closed and the next one begins, with as
 * many whole sentences of the closed one as fit in the overlap. A chunk is always one span of the document: a
 * citation is two offsets.
 *
 * A block that would fit in a chunk of its own but not in what is left of the open one starts a new chunk when it is
 * a table or code, or when the open chunk is at least half full: a paragraph cut in two is worse than a short chunk.
 *
 * Invariants
 *  1. units come in order and do not overlap; so chunks are ordered by start, and only overlap makes two share bytes
 *  2. a chunk never holds part of a UTF-8 sequence: units end at sentence_len, line ends, or piece_len, which steps
 *     by characters
 *  3. a chunk without text is never written */
#include "text/chunker.h"

#include <stdbool.h>
#include <stdio.h>

#include "text/sentence.h"
#include "text/utf8.h"

enum {
    MAX_LEVEL = 9,
    RECENT = 64,         /* units remembered for the overlap */
    ELEMENT_BYTES = 240, /* longest element of a heading path */
    RECORD_SIZES = 4,    /* a record longer than this many sizes is split */
    DEFAULT_SIZE = 256,
};

struct unit {
    uint32_t start, tokens;
    bool sentence; /* prose: may be repeated as overlap */
};

struct chunker {
    const struct text_doc *doc;
    struct str text;
    uint32_t size, overlap;
    struct text_chunks *out;
    /* the open chunk */
    bool open;
    uint32_t start, end, tokens;
    struct unit recent[RECENT];
    uint32_t n_recent;
    uint32_t path_off, path_len; /* its heading path */
    unsigned path_level;         /* level of the innermost heading when it was opened */
    /* where we are */
    struct span {
        uint32_t start, end;
    } heading[MAX_LEVEL + 1]; /* by level; end 0: none */
    unsigned level;           /* of the innermost heading, 0 before the first */
    bool path_fresh;          /* section_off/len are the path of the headings above */
    uint32_t section_off, section_len;
    uint32_t lead; /* start of a heading that nothing stands below yet, or UINT32_MAX */
};

void text_doc_init(struct text_doc *d)
{
    buf_init(&d->text, MEM_TEXT);
    buf_init(&d->blocks, MEM_TEXT);
    buf_init(&d->labels, MEM_TEXT);
    buf_init(&d->title, MEM_TEXT);
}

void text_doc_clear(struct text_doc *d)
{
    buf_clear(&d->text);
    buf_clear(&d->blocks);
    buf_clear(&d->labels);
    buf_clear(&d->title);
}

void text_chunks_init(struct text_chunks *c)
{
    buf_init(&c->chunks, MEM_TEXT);
    buf_init(&c->headings, MEM_TEXT);
}

void text_chunks_clear(struct text_chunks *c)
{
    buf_clear(&c->chunks);
    buf_clear(&c->headings);
}

static struct str slice(const struct chunker *c, uint32_t start, uint32_t end)
{
    return str_make(c->text.ptr + start, end - start);
}

static bool is_space(char ch)
{
    return ch == ' ' || (ch >= 9 && ch <= 13);
}

/* --- heading paths --- */

/* Appends one element, cut to a sane length, without line ends and separators inside. */
static void path_add(struct chunker *c, uint32_t off, struct str s)
{
    struct buf *h = &c->out->headings;
    s = str_trim(s);
    if (s.len > ELEMENT_BYTES)
        s.len = utf8_floor(s, ELEMENT_BYTES);
    if (s.len == 0)
        return;
    if (h->len > off)
        buf_addc(h, '\x1f');
    for (size_t i = 0; i < s.len; i++)
        buf_addc(h, (unsigned char)s.ptr[i] < 0x20 ? ' ' : s.ptr[i]);
}

static void section_path(struct chunker *c)
{
    if (c->path_fresh)
        return;
    c->section_off = (uint32_t)c->out->headings.len;
    for (unsigned l = 1; l <= MAX_LEVEL; l++)
        if (c->heading[l].end)
            path_add(c, c->section_off, slice(c, c->heading[l].start, c->heading[l].end));
    c->section_len = (uint32_t)c->out->headings.len - c->section_off;
    c->path_fresh = true;
}

static void heading_enter(struct chunker *c, const struct text_block *b)
{
    unsigned l = b->level < 1 ? 1 : b->level > MAX_LEVEL ? MAX_LEVEL : b->level;
    for (unsigned k = l; k <= MAX_LEVEL; k++)
        c->heading[k].end = 0;
    c->heading[l] = (struct span){b->start, b->end};
    c->level = l;
    c->path_fresh = false;
}

/* --- the open chunk --- */

static void chunk_write(struct chunker *c, uint32_t start, uint32_t end, uint32_t path_off, uint32_t path_len)
{
    while (start < end && is_space(c->text.ptr[start]))
        start++;
    while (end > start && is_space(c->text.ptr[end - 1]))
        end--;
    if (start >= end)
        return;
    struct text_chunk ch = {
        .start = start, .end = end, .heading_off = path_len ? path_off : 0, .heading_len = path_len};
    buf_add(&c->out->chunks, &ch, sizeof ch);
}

static void chunk_close(struct chunker *c)
{
    if (c->open)
        chunk_write(c, c->start, c->end, c->path_off, c->path_len);
    c->open = false;
    c->n_recent = 0;
    c->tokens = 0;
}

static void chunk_open(struct chunker *c, uint32_t start)
{
    section_path(c);
    c->open = true;
    c->start = c->end = start;
    c->tokens = 0;
    c->path_off = c->section_off;
    c->path_len = c->section_len;
    c->path_level = c->level;
    if (c->lead != UINT32_MAX) { /* the heading's own line, when text follows it directly */
        c->start = c->lead;
        c->tokens = (uint32_t)text_token_count(slice(c, c->lead, start));
        c->lead = UINT32_MAX;
    }
    while (c->start < c->text.len &&
           is_space(c->text.ptr[c->start])) /* so that overlap never goes back to it */
        c->start++;
}

/* Closes the chunk and opens the next with the last sentences that fit in the overlap and leave room for `tokens`. */
static void chunk_continue(struct chunker *c, uint32_t start, uint32_t tokens)
{
    uint32_t from = start, carried = 0, k = c->n_recent;
    while (k > 0 && c->recent[k - 1].sentence && carried + c->recent[k - 1].tokens <= c->overlap &&
           carried + c->recent[k - 1].tokens + tokens <= c->size && c->recent[k - 1].start > c->start) {
        carried += c->recent[--k].tokens;
        from = c->recent[k].start;
    }
    uint32_t n = c->n_recent - k;
    struct unit kept[RECENT];
    if (n)
        memcpy(kept, c->recent + k, n * sizeof *kept);
    chunk_close(c);
    chunk_open(c, from);
    if (n)
        memcpy(c->recent, kept, n * sizeof *kept);
    c->n_recent = n;
    c->tokens += carried;
}

static void unit_add(struct chunker *c, uint32_t start, uint32_t end, uint32_t tokens, bool sentence)
{
    if (!c->open)
        chunk_open(c, start);
    else if (c->tokens && c->tokens + tokens > c->size && c->end > c->start)
        chunk_continue(c, start, tokens);
    if (c->n_recent == RECENT) {
        memmove(c->recent, c->recent + RECENT / 2, RECENT / 2 * sizeof *c->recent);
        c->n_recent = RECENT / 2;
    }
    if (c->lead != UINT32_MAX) { /* a heading between this unit and the one before */
        c->tokens += (uint32_t)text_token_count(slice(c, c->lead, start));
        c->lead = UINT32_MAX;
    }
    c->recent[c->n_recent++] = (struct unit){start, tokens, sentence};
    c->end = end;
    c->tokens += tokens;
}

/* --- blocks to units --- */

static bool clause_end(uint32_t cp)
{
    switch (cp) {
    case ',':
    case ';':
    case ':':
    case 0xFF0C:
    case 0xFF1B:
    case 0xFF1A:
    case 0x3001:
    case 0x3002:
    case 0x2014: return true;
    default: return false;
    }
}

/* Bytes of s that make a piece of at most `max` tokens: up to the last clause end in its second half, else the last
 * white space there, else the last character that fits. At least one character. */
static size_t piece_len(struct str s, uint32_t max)
{
    size_t i = 0, clause = 0, space = 0;
    uint64_t cjk = 0, other = 0;
    while (i < s.len) {
        size_t at = i;
        uint32_t cp = utf8_next(s, &i);
        if (utf8_is_cjk(cp))
            cjk++;
        else
            other += i - at;
        uint64_t tokens = cjk + (other + 3) / 4;
        if (tokens > max && at > 0)
            return clause ? clause : space ? space : at;
        if (tokens * 2 < max)
            continue;
        if (clause_end(cp))
            clause = i;
        else if (cp == ' ' || cp == '\n' || cp == '\t')
            space = i;
    }
    return s.len;
}

/* One unit, or its pieces when it is longer than a chunk. */
static void put_unit(struct chunker *c, uint32_t start, uint32_t end, bool sentence)
{
    size_t tokens = text_token_count(slice(c, start, end));
    if (tokens <= c->size) {
        unit_add(c, start, end, (uint32_t)tokens, sentence);
        return;
    }
    while (start < end) {
        struct str s = slice(c, start, end);
        s.len = piece_len(s, c->size);
        unit_add(c, start, start + (uint32_t)s.len, (uint32_t)text_token_count(s), false);
        start += (uint32_t)s.len;
    }
}

static void put_sentences(struct chunker *c, uint32_t start, uint32_t end)
{
    while (start < end) {
        size_t n = sentence_len(slice(c, start, end));
        RAG_ASSERT(n > 0 && n <= end - start);
        put_unit(c, start, start + (uint32_t)n, true);
        start += (uint32_t)n;
    }
}

static uint32_t line_end(const struct chunker *c, uint32_t start, uint32_t end)
{
    const char *nl = memchr(c->text.ptr + start, '\n', end - start);
    return nl ? (uint32_t)(nl - c->text.ptr) + 1 : end;
}

static void put_lines(struct chunker *c, uint32_t start, uint32_t end)
{
    while (start < end) {
        uint32_t stop = line_end(c, start, end);
        put_unit(c, start, stop, false);
        start = stop;
    }
}

/* A block that fits whole in a chunk but not in this one. */
static void make_room(struct chunker *c, const struct text_block *b, size_t tokens)
{
    bool whole = b->kind == BLOCK_TABLE || b->kind == BLOCK_CODE;
    if (c->open && tokens <= c->size && c->tokens + tokens > c->size && (whole || c->tokens * 2 >= c->size))
        chunk_continue(c, b->start, (uint32_t)tokens);
}

/* A table longer than a chunk: the chunks after the first carry its header line in their path. */
static void put_long_table(struct chunker *c, const struct text_block *b)
{
    uint32_t head = line_end(c, b->start, b->end);
    size_t first_chunk = c->out->chunks.len / sizeof(struct text_chunk);
    put_lines(c, b->start, b->end);
    chunk_close(c);
    section_path(c);
    uint32_t off = 0, len = 0;
    for (size_t i = first_chunk; i < c->out->chunks.len / sizeof(struct text_chunk); i++) {
        struct text_chunk *ch = (struct text_chunk *)(void *)c->out->chunks.ptr + i;
        if (ch->start < head)
            continue;
        if (len == 0) {
            struct buf *h = &c->out->headings;
            off = (uint32_t)h->len;
            if (!buf_reserve(h, c->section_len))
                return;
            if (c->section_len)
                buf_add(h, h->ptr + c->section_off, c->section_len);
            path_add(c, off, slice(c, b->start, head));
            len = (uint32_t)h->len - off;
        }
        ch->heading_off = off;
        ch->heading_len = len;
    }
}

static void put_prose(struct chunker *c, const struct text_block *b)
{
    size_t tokens = text_token_count(slice(c, b->start, b->end));
    bool fits = tokens <= c->size;
    make_room(c, b, tokens);
    switch (b->kind) {
    case BLOCK_CODE:
        if (fits)
            put_unit(c, b->start, b->end, false);
        else
            put_lines(c, b->start, b->end);
        break;
    case BLOCK_TABLE:
        if (fits)
            put_lines(c, b->start, b->end);
        else
            put_long_table(c, b);
        break;
    case BLOCK_LIST_ITEM:
        if (fits)
            put_unit(c, b->start, b->end, true);
        else
            put_sentences(c, b->start, b->end);
        break;
    default: put_sentences(c, b->start, b->end); break;
    }
}

static void put_record(struct chunker *c, const struct text_block *b)
{
    char row[32];
    chunk_close(c);
    c->lead = UINT32_MAX;
    uint32_t off = (uint32_t)c->out->headings.len;
    path_add(c, off, b->label_len ? str_make(c->doc->labels.ptr + b->label_off, b->label_len) : STR_LIT(""));
    if (b->row) {
        int n = snprintf(row, sizeof row, "row %u", b->row);
        path_add(c, off, str_make(row, (size_t)n));
    }
    uint32_t len = (uint32_t)c->out->headings.len - off;
    size_t tokens = text_token_count(slice(c, b->start, b->end));
    if (tokens <= (uint64_t)c->size * RECORD_SIZES) {
        chunk_write(c, b->start, b->end, off, len);
        return;
    }
    c->section_off = off; /* its pieces are ordinary chunks under the record's path */
    c->section_len = len;
    c->path_fresh = true;
    put_lines(c, b->start, b->end);
    chunk_close(c);
    c->path_fresh = false;
}

static void put_heading(struct chunker *c, const struct text_block *b)
{
    unsigned l = b->level < 1 ? 1 : b->level;
    /* A few words before a deeper heading (an introduction) stay with its section. */
    bool goes_on = c->open && c->tokens * 8 < c->size && l > c->path_level;
    if (!goes_on)
        chunk_close(c);
    c->n_recent = 0; /* nothing is repeated across a heading */
    heading_enter(c, b);
    c->lead = b->start;
}

static bool on_boundary(struct str s, uint32_t i)
{
    return i >= s.len || ((unsigned char)s.ptr[i] & 0xC0) != 0x80;
}

static rag_code validate(const struct text_doc *d)
{
    const struct text_block *b = (const struct text_block *)(const void *)d->blocks.ptr;
    struct str text = buf_str(&d->text);
    uint32_t from = 0;
    if (d->text.len > UINT32_MAX)
        return RAG_ETOOBIG;
    if (d->blocks.len % sizeof *b)
        return RAG_EFORMAT;
    for (size_t i = 0; i < d->blocks.len / sizeof *b; i++) {
        if (b[i].start < from || b[i].end <= b[i].start || b[i].end > text.len || b[i].kind >= BLOCK_KINDS)
            return RAG_EFORMAT;
        if (!on_boundary(text, b[i].start) || !on_boundary(text, b[i].end))
            return RAG_EFORMAT;
        if ((uint64_t)b[i].label_off + b[i].label_len > d->labels.len)
            return RAG_EFORMAT;
        from = b[i].end;
    }
    return RAG_OK;
}

/* A chunk stands on the page of the block that holds its first byte; both are in order. */
static void put_pages(const struct text_doc *doc, struct text_chunks *out)
{
    const struct text_block *b = (const struct text_block *)(const void *)doc->blocks.ptr;
    struct text_chunk *ch = (struct text_chunk *)(void *)out->chunks.ptr;
    size_t n_blocks = doc->blocks.len / sizeof *b, n_chunks = out->chunks.len / sizeof *ch;
    for (size_t i = 0, k = 0; i < n_chunks; i++) {
        while (k + 1 < n_blocks && b[k + 1].start <= ch[i].start)
            k++;
        ch[i].page = b[k].page;
    }
}

rag_code chunker_run(const struct text_doc *doc, const struct chunker_options *opt, struct text_chunks *out)
{
    struct chunker c = {
        .doc = doc,
        .text = buf_str(&doc->text),
        .size = opt->size_tokens ? opt->size_tokens : DEFAULT_SIZE,
        .overlap = opt->overlap_tokens,
        .out = out,
        .lead = UINT32_MAX,
    };
    if (c.size > UINT32_MAX / 16)
        c.size = UINT32_MAX / 16;
    buf_reset(&out->chunks);
    buf_reset(&out->headings);
    rag_code rc = validate(doc);
    if (rc)
        return rc;
    const struct text_block *b = (const struct text_block *)(const void *)doc->blocks.ptr;
    for (size_t i = 0; i < doc->blocks.len / sizeof *b; i++) {
        if (b[i].kind == BLOCK_HEADING)
            put_heading(&c, b + i);
        else if (b[i].kind == BLOCK_RECORD)
            put_record(&c, b + i);
        else
            put_prose(&c, b + i);
        if (buf_failed(&out->chunks) || buf_failed(&out->headings))
            return RAG_ENOMEM;
        if (out->headings.len > UINT32_MAX / 2)
            return RAG_ETOOBIG;
    }
    chunk_close(&c);
    if (buf_failed(&out->chunks) || buf_failed(&out->headings))
        return RAG_ENOMEM;
    put_pages(doc, out);
    return RAG_OK;
}
