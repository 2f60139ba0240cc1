/* Phase one of the extract: which chunks are looked at, and the units they fall into.
 *
 * Terms of the question are bits, heaviest first, so that coverage is a mask. Chunks are analysed again here instead of
 * keeping term offsets in the segment: a dozen chunks cost about as much as reading them, offsets would double the index. */
#include "stages/generation/extract_int.h"
#include "text/sentence.h"
#include "text/utf8.h"

enum {
    BYTES_A_CANDIDATE =
        400, /* of chunk text looked at; 15 candidates: 6 KB, about 250 us at the analyser's 25 MB/s */
    CHUNKS_AT_LEAST = 3,
    WITNESSES = 24, /* further chunks that are read for the names of things */
    UNITS_A_CHUNK = 256, /* a longer chunk is read up to here */
    FILTER_BITS = 4096,
    MAX_PARTS = 32,
};
static const float RANK_AT_LEAST = 0.35F; /* of the best chunk's BM25 */

/* ---- terms of the question ---- */

static uint32_t find_qterm(const struct extract *x, struct str t)
{
    for (uint32_t i = 0; i < x->n_terms; i++)
        if (str_eq(x->terms[i].text, t))
            return i;
    return MAX_QTERMS;
}

/* A whole word or identifier that is not a stop word. */
static bool carries_meaning(const struct query_analysis *qa, struct str t)
{
    for (uint32_t i = 0; i < qa->terms.n; i++) {
        const struct term *w = &qa->terms.items[i];
        if ((w->kind == TERM_WORD || w->kind == TERM_WHOLE) && w->weight >= 0.9F &&
            str_eq(term_text(&qa->terms, i), t))
            return true;
    }
    return false;
}

/* The terms that the collection has, the 64 heaviest of them. */
static rag_code gather_terms(struct extract *x)
{
    x->terms = arena_array(x->arena, MAX_QTERMS, sizeof *x->terms);
    if (!x->terms)
        return RAG_ENOMEM;
    float sum = 0, most = 0;
    for (uint32_t i = 0; i < x->h->n_terms; i++) {
        const struct bm25_term *t = &x->h->terms[i];
        if (!t->known || !(t->impact > 0))
            continue;
        uint32_t at = x->n_terms;
        if (at == MAX_QTERMS) {
            at = 0;
            for (uint32_t j = 1; j < MAX_QTERMS; j++)
                at = x->terms[j].weight < x->terms[at].weight ? j : at;
            if (x->terms[at].weight >= t->impact)
                continue;
        } else {
            x->n_terms++;
        }
        x->terms[at] =
            (struct qterm){.text = t->text, .weight = t->impact, .key = carries_meaning(x->qa, t->text)};
    }
    for (uint32_t i = 0; i < x->n_terms; i++) {
        sum += x->terms[i].weight;
        most = x->terms[i].weight > most ? x->terms[i].weight : most;
    }
    for (uint32_t i = 0; i < x->n_terms; i++) {
        x->terms[i].key = x->terms[i].key && x->terms[i].weight >= 0.3F * most;
        x->has_keys = x->has_keys || x->terms[i].key;
        x->terms[i].weight /= sum;
    }
    return RAG_OK;
}

/* Most terms of a chunk are not in the question: one bit says so for nearly all of them. */
struct term_filter {
    uint64_t bits[FILTER_BITS / 64];
};

static uint32_t filter_key(struct str t)
{
    uint32_t h = (uint32_t)t.len * 31 + (unsigned char)t.ptr[t.len - 1];
    for (size_t i = 0; i < t.len && i < 6; i++)
        h = h * 131 + (unsigned char)t.ptr[i];
    return h;
}

static uint64_t term_bit(const struct extract *x, const struct term_filter *f, struct str t, uint32_t key)
{
    uint32_t k = key % FILTER_BITS;
    if (!(f->bits[k / 64] >> (k % 64) & 1))
        return 0;
    uint32_t i = find_qterm(x, t);
    return i < MAX_QTERMS ? (uint64_t)1 << i : 0;
}

/* ---- units ---- */

static struct str line_at(struct str s, size_t from)
{
    const char *nl = from < s.len ? memchr(s.ptr + from, '\n', s.len - from) : NULL;
    return str_make(s.ptr + from, (nl ? (size_t)(nl - s.ptr) : s.len) - from);
}

static bool is_row(struct str line)
{
    return line.len > 3 && memmem(line.ptr, line.len, " | ", 3) != NULL;
}

uint32_t extract_cells(struct str line, struct str *out, uint32_t most)
{
    uint32_t n = 0;
    size_t i = 0;
    line = str_trim(line);
    if (line.len && line.ptr[0] == '|')
        i = 1;
    while (i <= line.len && n < most) {
        const char *bar = i < line.len ? memchr(line.ptr + i, '|', line.len - i) : NULL;
        size_t end = bar ? (size_t)(bar - line.ptr) : line.len;
        struct str cell = str_trim(str_make(line.ptr + i, end - i));
        if (bar || cell.len)
            out[n++] = cell;
        i = end + 1;
    }
    return n;
}

bool extract_pair(struct str line, struct str *key, struct str *value)
{
    uint32_t chars = 0;
    for (size_t i = 0; i < line.len && chars < 60; chars++) {
        size_t at = i;
        uint32_t cp = utf8_next(line, &i);
        if (cp == '\n')
            return false;
        if ((cp == ':' && (i == line.len || line.ptr[i] == ' ')) || cp == 0xFF1A) {
            *key = str_trim(str_make(line.ptr, at));
            *value = str_trim(str_make(line.ptr + i, line.len - i));
            return key->len > 0;
        }
    }
    return false;
}

uint32_t extract_parts(struct str line, struct str *out, uint32_t most)
{
    uint32_t n = 0;
    struct str key, value;
    line = str_trim(line);
    for (size_t i = 0; i < line.len;) {
        const char *sep = memmem(line.ptr + i, line.len - i, "; ", 2);
        size_t end = sep ? (size_t)(sep - line.ptr) : line.len;
        struct str part = str_trim(str_make(line.ptr + i, end - i));
        bool pair = extract_pair(part, &key, &value);
        if ((!pair && n == 1 && i) || n == most)
            return 0;
        if (!pair && n > 1) /* a value with a semicolon in it */
            out[n - 1].len = (size_t)(part.ptr + part.len - out[n - 1].ptr);
        else
            out[n++] = part;
        i = end + 2;
    }
    return n >= 2 && extract_pair(out[n - 1], &key, &value) ? n : 0;
}

static bool ends_as_question(struct str s)
{
    static const struct str marks[] = {STR_LIT("?"), STR_LIT("？"), STR_LIT("?\""), STR_LIT("？”"),
                                       STR_LIT("？」")};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (s.len >= marks[i].len && memcmp(s.ptr + s.len - marks[i].len, marks[i].ptr, marks[i].len) == 0)
            return true;
    return false;
}

static bool is_item(struct str s)
{
    static const struct str marks[] = {STR_LIT("- "), STR_LIT("* "), STR_LIT("+ "), STR_LIT("• "),
                                       STR_LIT("· ")};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (s.len > marks[i].len && memcmp(s.ptr, marks[i].ptr, marks[i].len) == 0)
            return true;
    size_t d = 0;
    while (d < s.len && d < 3 && s.ptr[d] >= '0' && s.ptr[d] <= '9')
        d++;
    return d > 0 && d + 1 < s.len && (s.ptr[d] == '.' || s.ptr[d] == ')') && s.ptr[d + 1] == ' ';
}

static rag_code add_unit(struct extract *x, struct unit u)
{
    if (x->n_units == x->cap_units) {
        uint32_t cap = x->cap_units ? x->cap_units * 2 : 128;
        struct unit *grown = arena_alloc(x->arena, (size_t)cap * sizeof *grown);
        if (!grown)
            return RAG_ENOMEM;
        if (x->n_units)
            memcpy(grown, x->units, x->n_units * sizeof *grown);
        x->units = grown;
        x->cap_units = cap;
    }
    u.first_at = UINT32_MAX;
    x->units[x->n_units++] = u;
    return RAG_OK;
}

/* A line on its own that the chunk's path or title repeats, or a short one that ends like no sentence. */
static bool is_heading(const struct extract_chunk *c, struct str s, size_t to)
{
    enum { LONG_LINE = 90 /* bytes */ };
    if (to >= c->text.len || memchr(s.ptr, '\n', s.len)) /* nothing follows that it could stand over */
        return false;
    if (str_eq(s, c->view.title))
        return true;
    for (struct str path = c->view.heading_path; path.len;)
        if (str_eq(s, path_next(&path)))
            return true;
    bool line_end = false;
    for (size_t i = (size_t)(s.ptr + s.len - c->text.ptr); i < to; i++)
        line_end = line_end || c->text.ptr[i] == '\n';
    if (!line_end || s.len > LONG_LINE || is_item(s))
        return false;
    size_t i = utf8_floor(s, s.len - 1);
    uint32_t last = utf8_next(s, &i);
    return (last < 128 ? strchr(".!?;:,\")", (int)last) == NULL : (last >= 0x3041 && last <= 0x9FFF));
}

static struct unit trimmed(const struct extract_chunk *c, uint32_t chunk, size_t from, size_t to)
{
    struct str s = str_trim(str_make(c->text.ptr + from, to - from));
    uint32_t start = (uint32_t)(s.ptr - c->text.ptr);
    bool heading = s.len && is_heading(c, s, to);
    return (struct unit){.chunk = chunk,
                         .start = start,
                         .end = start + (uint32_t)s.len,
                         .kind = heading      ? UNIT_HEADING
                                 : is_item(s) ? UNIT_ITEM
                                              : UNIT_SENTENCE,
                         .question = ends_as_question(s),
                         .head_row = NO_UNIT};
}

/* The fields of a record: a line without a key of its own goes on with the field before it. */
static rag_code cut_record(struct extract *x, uint32_t chunk)
{
    const struct extract_chunk *c = &x->chunks[chunk];
    struct str key, value;
    for (size_t from = 0; from < c->text.len && x->n_units - c->first_unit < UNITS_A_CHUNK;) {
        size_t to = from + line_at(c->text, from).len;
        while (to < c->text.len && !extract_pair(line_at(c->text, to + 1), &key, &value))
            to += 1 + line_at(c->text, to + 1).len;
        if (to > c->text.len)
            to = c->text.len;
        struct unit u = trimmed(c, chunk, from, to);
        u.kind = UNIT_FIELD;
        rag_code rc = u.end > u.start ? add_unit(x, u) : RAG_OK;
        if (rc)
            return rc;
        from = to + 1;
    }
    return RAG_OK;
}

/* Sentences of text[from, to), which holds no table row. */
static rag_code cut_prose(struct extract *x, uint32_t chunk, size_t from, size_t to)
{
    const struct extract_chunk *c = &x->chunks[chunk];
    struct str parts[MAX_PARTS];
    while (from < to) {
        struct str line = line_at(str_make(c->text.ptr, to), from);
        bool row = extract_parts(line, parts, MAX_PARTS) > 0;
        size_t n =
            row ? line.len + (from + line.len < to) : sentence_len(str_make(c->text.ptr + from, to - from));
        struct unit u = trimmed(c, chunk, from, from + n);
        u.kind = row ? UNIT_ROW : u.kind;
        rag_code rc = u.end > u.start ? add_unit(x, u) : RAG_OK;
        if (rc)
            return rc;
        from += n;
    }
    return RAG_OK;
}

static rag_code cut_text(struct extract *x, uint32_t chunk)
{
    const struct extract_chunk *c = &x->chunks[chunk];
    uint32_t head = NO_UNIT;
    size_t from = 0, at = 0;
    rag_code rc = RAG_OK;
    while (!rc && at < c->text.len && x->n_units - c->first_unit < UNITS_A_CHUNK) {
        struct str line = line_at(c->text, at);
        size_t next = at + line.len + 1;
        if (is_row(line)) {
            rc = cut_prose(x, chunk, from, at);
            struct unit u = trimmed(c, chunk, at, at + line.len);
            struct str after = line_at(c->text, next < c->text.len ? next : c->text.len), parts[MAX_PARTS];
            bool first = head == NO_UNIT && (is_row(after) || extract_parts(after, parts, MAX_PARTS) > 0);
            u.kind = first ? UNIT_HEADING : UNIT_ROW;
            u.head_row = head;
            if (first)
                head = x->n_units;
            if (!rc)
                rc = add_unit(x, u);
            from = next < c->text.len ? next : c->text.len;
        } else if (str_trim(line).len) {
            head = NO_UNIT;
        }
        at = next;
    }
    if (!rc)
        rc = cut_prose(x, chunk, from, at < c->text.len ? at : c->text.len);
    return rc;
}

/* ---- terms of units ---- */

static void mark_term(struct unit *u, const struct term *t, uint32_t key, uint64_t bit)
{
    u->signature[key / 64 % SIGNATURE_WORDS] |= (uint64_t)1 << (key % 64);
    if (!bit)
        return;
    u->own |= bit;
    u->whole |= t->kind == TERM_SUBWORD ? 0 : bit;
    u->first_at = t->start < u->first_at ? t->start : u->first_at;
    if (t->end > u->last_at) {
        u->matched += t->end - (t->start > u->last_at ? t->start : u->last_at);
        u->last_at = t->end;
    }
}

static rag_code mark_units(struct extract *x, struct extract_chunk *c, const struct term_filter *f,
                           struct term_list *l)
{
    rag_code rc = analyzer_run(x->an, c->text, ANALYZE_DOCUMENT, l);
    struct unit *u = x->units + c->first_unit, *end = u + c->n_units;
    for (uint32_t i = 0; !rc && i < l->n && u < end; i++) {
        const struct term *t = &l->items[i];
        while (u < end && t->start >= u->end)
            u++;
        if (u == end || t->start < u->start)
            continue;
        struct str text = term_text(l, i);
        uint32_t key = filter_key(text);
        mark_term(u, t, key, term_bit(x, f, text, key));
    }
    return rc;
}

static rag_code mark_heading(struct extract *x, struct extract_chunk *c, const struct term_filter *f,
                             struct term_list *l)
{
    struct str part = c->view.title, path = c->view.heading_path;
    rag_code rc = RAG_OK;
    do {
        rc = analyzer_run(x->an, part, ANALYZE_DOCUMENT, l);
        c->innermost = 0;
        for (uint32_t i = 0; !rc && i < l->n; i++) {
            uint64_t bit = term_bit(x, f, term_text(l, i), filter_key(term_text(l, i)));
            c->heading |= bit;
            c->innermost |= bit;
            c->heading_whole |= l->items[i].kind == TERM_SUBWORD ? 0 : bit;
        }
        part = path_next(&path);
    } while (!rc && part.len);
    return rc;
}

/* What a unit stands under: title and path, the heading lines before it, the table's head, the question it answers. */
static void set_context(struct extract *x, const struct extract_chunk *c)
{
    uint64_t asked = 0, over = 0;
    bool fresh = false; /* the unit before was a heading */
    for (uint32_t i = c->first_unit; i < c->first_unit + c->n_units; i++) {
        struct unit *u = &x->units[i];
        if (u->kind == UNIT_HEADING) {
            over = fresh ? over | u->own : u->own;
            asked = 0;
        }
        fresh = u->kind == UNIT_HEADING;
        u->context = c->heading | asked | over;
        u->whole |= c->heading_whole;
        if (u->head_row != NO_UNIT)
            u->context |= x->units[u->head_row].own;
        asked = u->kind == UNIT_FIELD ? 0 : u->question ? u->own : asked;
    }
}

/* The unit that stands for a row; its fields stay in front of it. */
static rag_code add_record(struct extract *x, const struct extract_chunk *c)
{
    struct unit row = x->units[c->first_unit];
    for (uint32_t i = 1; i < c->n_units; i++) {
        const struct unit *u = &x->units[c->first_unit + i];
        row.end = u->end;
        row.own |= u->own;
        row.whole |= u->whole;
        row.matched += u->matched;
        row.first_at = u->first_at < row.first_at ? u->first_at : row.first_at;
        row.last_at = u->own ? u->last_at : row.last_at;
        for (int k = 0; k < SIGNATURE_WORDS; k++)
            row.signature[k] |= u->signature[k];
    }
    uint32_t first_at = row.first_at;
    row.kind = UNIT_RECORD;
    row.question = false;
    rag_code rc = add_unit(x, row);
    if (!rc)
        x->units[x->n_units - 1].first_at = first_at;
    return rc;
}

static bool is_record(struct str path)
{
    struct str last = str_make(NULL, 0);
    while (path.len)
        last = path_next(&path);
    return last.len > 4 && memcmp(last.ptr, "row ", 4) == 0;
}

static bool has_table(const struct extract_chunk *c)
{
    return is_row(c->text) || is_row(c->view.heading_path);
}

/* Reads a chunk and cuts it into units; of a witness only rows matter. */
static rag_code add_chunk(struct extract *x, uint32_t hit, bool witness, struct extract_chunk **out)
{
    rag_code rc = RAG_OK;
    struct chunk_ref ref = x->h->items[hit].ref;
    const struct segment *s = x->h->list->e[ref.entry].segment;
    struct extract_chunk *c = &x->chunks[x->n_chunks];
    *c = (struct extract_chunk){.hit = hit, .witness = witness, .first_unit = x->n_units};
    segment_chunk(s, ref.chunk, &c->view);
    c->text = segment_chunk_text(s, ref.chunk, x->arena);
    c->record = is_record(c->view.heading_path);
    if (c->record)
        rc = cut_record(x, x->n_chunks);
    else if (!witness || has_table(c))
        rc = cut_text(x, x->n_chunks);
    c->n_units = x->n_units - c->first_unit;
    x->n_chunks++;
    *out = c;
    return rc;
}

/* Is an earlier chunk, which may be quoted, of the same document? */
static bool is_of_quoted_doc(const struct extract *x, const struct extract_chunk *c)
{
    for (uint32_t i = 0; i < x->n_chunks; i++) {
        const struct extract_chunk *d = &x->chunks[i];
        if (!d->witness && d->view.seq == c->view.seq && str_eq(d->view.document_id, c->view.document_id))
            return true;
    }
    return false;
}

static rag_code mark_chunks(struct extract *x, uint32_t candidates, const struct term_filter *f, struct term_list *l)
{
    float best = x->h->items[0].fused;
    size_t bytes = 0;
    uint32_t witnesses = 0;
    rag_code rc = RAG_OK;
    for (uint32_t i = 0; i < x->h->n && i < candidates + WITNESSES && witnesses < WITNESSES && !rc; i++) {
        struct extract_chunk *c;
        float rank = best > 0 ? x->h->items[i].fused / best : 1;
        bool enough = bytes >= (size_t)candidates * BYTES_A_CANDIDATE || rank < RANK_AT_LEAST;
        bool witness = i >= candidates || (x->n_chunks >= CHUNKS_AT_LEAST && enough);
        rc = add_chunk(x, i, witness, &c);
        c->rank = rank;
        witnesses += witness;
        bytes += witness ? 0 : c->text.len;
        if (!rc && !witness)
            rc = mark_units(x, c, f, l);
        if (!rc && (!witness || is_of_quoted_doc(x, c)))
            rc = mark_heading(x, c, f, l);
    }
    return rc;
}

rag_code extract_gather(struct extract *x, uint32_t candidates)
{
    struct term_filter f = {{0}};
    struct term_list l;
    rag_code rc = gather_terms(x);
    uint32_t most = candidates + WITNESSES;
    x->chunks = arena_array(x->arena, x->h->n < most ? x->h->n : most, sizeof *x->chunks);
    if (rc || !x->chunks)
        return RAG_ENOMEM;
    for (uint32_t i = 0; i < x->n_terms; i++) {
        uint32_t k = filter_key(x->terms[i].text) % FILTER_BITS;
        f.bits[k / 64] |= (uint64_t)1 << (k % 64);
    }
    term_list_init(&l);
    rc = mark_chunks(x, candidates, &f, &l);
    term_list_clear(&l);
    if (!rc)
        rc = extract_limit_headings(x);
    for (uint32_t i = 0; i < x->n_chunks && !rc; i++) {
        set_context(x, &x->chunks[i]);
        if (x->chunks[i].record && x->chunks[i].n_units)
            rc = add_record(x, &x->chunks[i]);
    }
    return rc ? rc : extract_find_subjects(x);
}
