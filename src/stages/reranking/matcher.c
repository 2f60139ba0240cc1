/* Part (a): what question and candidate have in common, word for word. One pass over the folded text finds the question's
 * terms; everything else is counted from where they are. English terms are stems: a word that begins with one and has at
 * most a few more letters holds it. */
#include <math.h>
#include <string.h>

#include "stages/reranking/reranking_int.h"
#include "text/chartab.h"
#include "text/utf8.h"

enum { SUFFIX = 4 /* letters that may follow a stem */, NEAR = 12 /* characters between two terms at which nearness is half */ };

rag_code fold_text(struct str s, uint32_t most, struct arena *a, struct folded *out)
{
    const struct chartab *t = chartab_get();
    uint32_t room = s.len < most ? (uint32_t)s.len : most;
    *out = (struct folded){arena_alloc(a, ((size_t)room + 1) * sizeof *out->c), 0};
    if (!out->c)
        return RAG_ENOMEM;
    for (size_t i = 0; i < s.len && out->n < room;) {
        uint32_t cp = (unsigned char)s.ptr[i];
        if (cp < 0x80)
            i++;
        else
            cp = utf8_next(s, &i);
        uint16_t c = cp < 0x10000 ? t->fold[cp] : 0;
        enum char_class class = (enum char_class)(t->info[c] & CHAR_CLASS);
        if (class == CLASS_MARK)
            continue;
        if (c >= 0x80 && c < CHAR_ACCENTED && t->latin[c])
            c = t->latin[c];
        out->c[out->n++] = class == CLASS_OTHER ? 0 : c;
    }
    return RAG_OK;
}

static bool is_word(const struct chartab *t, uint16_t c)
{
    enum char_class class = (enum char_class)(t->info[c] & CHAR_CLASS);
    return c && (class == CLASS_LETTER || class == CLASS_DIGIT);
}

static bool is_digit(const struct chartab *t, uint16_t c)
{
    return (t->info[c] & CHAR_CLASS) == CLASS_DIGIT;
}

/* ---- the question ---------------------------------------------------------------------------------------- */

static void add_term(struct matcher *m, const struct chartab *t, const struct folded *f, float mass, uint32_t at)
{
    struct matcher_term *x = &m->terms[m->n];
    *x = (struct matcher_term){.mass = mass, .at = (uint16_t)(at < UINT16_MAX ? at : UINT16_MAX)};
    bool letters = true;
    for (uint32_t i = 0; i < f->n && x->n < sizeof x->c / sizeof *x->c; i++) {
        x->c[x->n++] = f->c[i];
        x->number |= is_digit(t, f->c[i]);
        letters &= is_word(t, f->c[i]) && !is_digit(t, f->c[i]);
    }
    if (x->n == 0 || !x->c[0])
        return;
    x->exact = !letters;
    uint8_t *head = &m->first[x->c[0] & 255];
    x->next = *head;
    *head = (uint8_t)m->n;
    m->numbers |= (uint64_t)x->number << m->n;
    m->n++;
}

static uint8_t two(const uint16_t *c)
{
    return (uint8_t)(c[0] * 37 + c[1] * 11);
}

static void index_runs(struct matcher *m)
{
    memset(m->run_first, UINT8_MAX, sizeof m->run_first);
    for (uint32_t i = m->question.n < 2 ? 0 : m->question.n - 1; i-- > 0;) {
        uint8_t *head = &m->run_first[two(m->question.c + i)];
        m->run_next[i] = *head;
        *head = (uint8_t)i;
    }
}

/* Byte offset of the question's first use of a term; its end when it is not found. */
static uint32_t place_of(const struct query_analysis *qa, struct str text)
{
    for (uint32_t i = 0; i < qa->terms.n; i++)
        if (str_eq(term_text(&qa->terms, i), text))
            return qa->terms.items[i].start;
    return UINT16_MAX;
}

rag_code matcher_init(struct matcher *m, const struct query *q, const struct query_analysis *qa, const struct hits *h,
                      struct arena *a)
{
    const struct chartab *t = chartab_get();
    float all = 0;
    *m = (struct matcher){0};
    memset(m->first, UINT8_MAX, sizeof m->first);
    for (uint32_t i = 0; i < h->n_terms; i++)
        all += h->terms[i].impact;
    rag_code rc = fold_text(q->text, RERANK_QUESTION, a, &m->question);
    if (!rc)
        index_runs(m);
    for (uint32_t i = 0; i < h->n_terms && m->n < RERANK_TERMS && all > 0 && !rc; i++) {
        struct folded f;
        rc = fold_text(h->terms[i].text, RERANK_QUESTION, a, &f);
        if (!rc)
            add_term(m, t, &f, h->terms[i].impact / all, place_of(qa, h->terms[i].text));
    }
    return rc;
}

/* ---- a text ---------------------------------------------------------------------------------------------- */

struct sighting {
    uint32_t at;
    uint8_t term;
};
struct sightings {
    struct sighting *items; /* by place */
    uint32_t n, cap;
    uint64_t seen; /* terms */
};

static bool term_here(const struct chartab *t, const struct matcher_term *x, const struct folded *f, uint32_t at)
{
    uint32_t last = x->n - 1;
    if (f->n - at < x->n || memcmp(f->c + at, x->c, last * sizeof *x->c) != 0)
        return false;
    uint16_t c = f->c[at + last];
    if (c != x->c[last] && !(c == 'y' && x->c[last] == 'i' && !x->exact)) /* the stem of "country" is "countri" */
        return false;
    uint32_t end = at + x->n, most = x->exact ? end : end + SUFFIX;
    if (x->exact && !is_word(t, x->c[x->n - 1]))
        return true; /* ideographs: no word boundaries */
    while (end < f->n && is_word(t, f->c[end]))
        if (++end > most)
            return false;
    return true;
}

static void find_terms(const struct matcher *m, const struct folded *f, struct sightings *s)
{
    const struct chartab *t = chartab_get();
    bool inside = false; /* of a word: nothing begins here */
    for (uint32_t i = 0; i < f->n; i++) {
        bool word = is_word(t, f->c[i]);
        if (!(word && inside) && f->c[i])
            for (uint8_t k = m->first[f->c[i] & 255]; k != UINT8_MAX; k = m->terms[k].next)
                if (term_here(t, &m->terms[k], f, i)) {
                    s->seen |= (uint64_t)1 << k;
                    if (s->n < s->cap)
                        s->items[s->n++] = (struct sighting){i, k};
                }
        inside = word;
    }
}

static float mass_of(const struct matcher *m, uint64_t terms)
{
    float sum = 0;
    for (; terms; terms &= terms - 1)
        sum += m->terms[__builtin_ctzll(terms)].mass;
    return fminf(sum, 1);
}

/* The most mass between two sentence ends. */
static float best_sentence(const struct matcher *m, const struct sightings *s, const uint32_t *ends, uint32_t n_ends)
{
    float best = 0;
    uint64_t here = 0;
    for (uint32_t i = 0, e = 0; i <= s->n; i++) {
        bool over = i == s->n;
        while (!over && e < n_ends && ends[e] <= s->items[i].at) {
            e++;
            over = true;
        }
        if (over && here) {
            best = fmaxf(best, mass_of(m, here));
            here = 0;
        }
        if (i < s->n)
            here |= (uint64_t)1 << s->items[i].term;
    }
    return best;
}

/* Mass of neighbours: two different terms that follow each other in question and text, the less the further apart. */
static float nearness(const struct matcher *m, const struct sightings *s)
{
    float best[RERANK_TERMS] = {0}, sum = 0;
    for (uint32_t i = 1; i < s->n; i++) {
        const struct sighting *x = &s->items[i - 1], *y = &s->items[i];
        const struct matcher_term *a = &m->terms[x->term], *b = &m->terms[y->term];
        if (x->term == y->term || a->at >= b->at)
            continue;
        uint32_t end = x->at + a->n, gap = y->at > end ? y->at - end : 0;
        float near = fminf(a->mass, b->mass) / (1 + (float)gap / NEAR);
        best[y->term] = fmaxf(best[y->term], near);
    }
    for (uint32_t i = 0; i < m->n; i++)
        sum += best[i];
    return fminf(sum, 1);
}

/* Length of the longest run of two or more characters that question and text have in common. Runs are found by the first
 * two characters; a place whose predecessors are equal too belongs to a run that was measured already. */
static uint32_t common_run(const struct matcher *m, const struct folded *f)
{
    const uint16_t *q = m->question.c;
    uint32_t best = 0;
    for (uint32_t j = 0; j + 1 < f->n; j++)
        for (uint8_t i = m->run_first[two(f->c + j)]; i != UINT8_MAX; i = m->run_next[i]) {
            if (q[i] != f->c[j] || (i && j && q[i - 1] == f->c[j - 1]))
                continue;
            uint32_t n = 1, most = m->question.n - i < f->n - j ? m->question.n - i : f->n - j;
            while (n < most && q[i + n] == f->c[j + n])
                n++;
            best = n > 1 && n > best ? n : best;
        }
    return best;
}

static struct str last_name(const struct chunk_view *v)
{
    struct str path = v->heading_path;
    if (!path.len)
        return v->title;
    const char *sep = memrchr(path.ptr, '\x1f', path.len);
    return sep ? str_make(sep + 1, path.len - (size_t)(sep + 1 - path.ptr)) : path;
}

/* Where sentences end: after 。！？；, line breaks, and . ! ? before a blank. */
static uint32_t find_ends(struct str s, uint32_t most, uint32_t *ends)
{
    uint32_t n = 0, at = 0;
    for (size_t i = 0; i < s.len && at < most;) {
        uint32_t cp = utf8_next(s, &i);
        at++;
        bool stop = cp == '\n' || cp == 0x3002 || cp == 0xFF01 || cp == 0xFF1F || cp == 0xFF1B;
        if ((cp == '.' || cp == '!' || cp == '?') && i < s.len && (s.ptr[i] == ' ' || s.ptr[i] == '\n'))
            stop = true;
        if (stop)
            ends[n++] = at;
    }
    return n;
}

rag_code matcher_features(const struct matcher *m, const struct chunk_view *view, struct str text, struct arena *a,
                          float x[RERANK_FEATURES])
{
    struct folded body, name, title, path;
    rag_code rc = fold_text(text, RERANK_TEXT, a, &body);
    if (!rc)
        rc = fold_text(last_name(view), RERANK_TEXT, a, &name);
    if (!rc)
        rc = fold_text(view->title, RERANK_TEXT, a, &title);
    if (!rc)
        rc = fold_text(view->heading_path, RERANK_TEXT, a, &path);
    uint32_t cap = body.n;
    struct sightings in = {0}, over = {0};
    uint32_t *ends = rc ? NULL : arena_alloc(a, ((size_t)body.n + 1) * sizeof *ends);
    in.items = rc ? NULL : arena_alloc(a, ((size_t)cap + 1) * sizeof *in.items);
    if (!ends || !in.items)
        return RAG_ENOMEM;
    in.cap = cap;
    find_terms(m, &body, &in);
    find_terms(m, &title, &over);
    find_terms(m, &path, &over);
    float length = (float)(m->question.n ? m->question.n : 1), longer = (float)name.n > length ? (float)name.n : length;
    uint64_t numbers = m->numbers;
    x[RERANK_COVERAGE] = mass_of(m, in.seen | over.seen);
    x[RERANK_SENTENCE] = best_sentence(m, &in, ends, find_ends(text, body.n, ends));
    x[RERANK_NEARNESS] = nearness(m, &in);
    x[RERANK_PHRASE] = (float)common_run(m, &body) / length;
    x[RERANK_HEADING] = mass_of(m, over.seen);
    x[RERANK_NAME] = (float)common_run(m, &name) / longer;
    x[RERANK_NUMBERS] = numbers ? (float)__builtin_popcountll(numbers & (in.seen | over.seen)) /
                                      (float)__builtin_popcountll(numbers)
                                : 0;
    x[RERANK_LENGTH] = logf(1 + (float)body.n) / logf(1 + RERANK_TEXT);
    return RAG_OK;
}
