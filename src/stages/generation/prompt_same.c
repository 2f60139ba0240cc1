/* When two passages say the same. Letters and digits alone are compared, folded as the index folds them. Nearly the same
 * is: shingles of five characters with a Jaccard share of 0.8, and equal numbers, because texts made from one template
 * ("annual fee 300" and "annual fee 3600") are what a knowledge base is full of. The share is estimated by one permutation
 * with 256 bins (Li, Owen & Zhang 2012, arXiv:1208.1259): standard deviation 0.025 at 0.8, exact for short texts but for
 * shingles that meet in a bin. */
#include "stages/generation/prompt_int.h"

#include "text/chartab.h"
#include "text/utf8.h"

enum { SHINGLE = 5, SAME_PERCENT = 80, NO_HASH = 0 };

static bool is_digit(uint32_t cp)
{
    return cp >= '0' && cp <= '9';
}

static uint64_t mix(uint64_t h)
{
    h ^= h >> 31;
    h *= 0x9E3779B97F4A7C15u;
    h ^= h >> 29;
    h *= 0xBF58476D1CE4E5B9u;
    return h ^ h >> 32;
}

struct printer {
    struct prompt_print *out;
    char *ptr;
    size_t len;
    uint32_t last[SHINGLE]; /* ring */
    uint32_t sign;          /* after a digit, before what follows is known */
    bool after_digit;
};

static void put_char(struct printer *p, uint32_t cp)
{
    struct prompt_print *o = p->out;
    p->len += utf8_encode(cp, p->ptr + p->len);
    p->last[o->n_chars++ % SHINGLE] = cp;
    if (o->n_chars < SHINGLE)
        return;
    uint64_t h = 0;
    for (uint32_t i = 0; i < SHINGLE; i++)
        h = (h + p->last[(o->n_chars + i) % SHINGLE]) * 0x100000001B3u;
    h = mix(h);
    uint32_t *least = &o->least[h % PRINT_BINS], value = (uint32_t)(h >> 32) | 1;
    if (*least == NO_HASH || value < *least)
        *least = value;
}

static void put_number_char(struct printer *p, uint32_t cp)
{
    p->out->numbers = mix(p->out->numbers * 31 + cp);
}

static void take_char(struct printer *p, const struct chartab *t, uint32_t cp)
{
    if (cp < 0x10000 && (t->info[cp] & CHAR_SINGLE))
        cp = t->fold[cp];
    bool digit = is_digit(cp);
    if (chartab_class(t, cp) == CLASS_OTHER) {
        p->sign = p->after_digit && (cp == '.' || cp == '-' || cp == '/' || cp == ':') ? cp : 0;
        if (p->after_digit && !p->sign)
            put_number_char(p, ' ');
        p->after_digit = false;
        return;
    }
    if (p->sign && digit) { /* 3.5 is not 35 */
        put_char(p, p->sign);
        put_number_char(p, p->sign);
    } else if (p->sign || (p->after_digit && !digit)) {
        put_number_char(p, ' ');
    }
    p->sign = 0;
    p->after_digit = digit;
    put_char(p, cp);
    if (digit)
        put_number_char(p, cp);
}

rag_code prompt_print(struct str text, struct arena *a, struct prompt_print *out)
{
    size_t cap;
    if (!size_mul_ok(text.len, 4, &cap))
        return RAG_ENOMEM;
    *out = (struct prompt_print){0};
    struct printer p = {.out = out, .ptr = arena_alloc(a, cap)};
    if (!p.ptr)
        return RAG_ENOMEM;
    const struct chartab *t = chartab_get();
    for (size_t i = 0; i < text.len;)
        take_char(&p, t, utf8_next(text, &i));
    if (p.after_digit || p.sign)
        put_number_char(&p, ' ');
    out->letters = str_make(p.ptr, p.len);
    return RAG_OK;
}

static bool holds(struct str a, struct str b)
{
    return a.len >= b.len && (b.len == 0 || memmem(a.ptr, a.len, b.ptr, b.len) != NULL);
}

static bool nearly(const struct prompt_print *a, const struct prompt_print *b)
{
    if (a->numbers != b->numbers || a->n_chars < SHINGLE || b->n_chars < SHINGLE)
        return false;
    uint32_t either = 0, equal = 0;
    for (uint32_t i = 0; i < PRINT_BINS; i++) {
        either += a->least[i] != NO_HASH || b->least[i] != NO_HASH;
        equal += a->least[i] != NO_HASH && a->least[i] == b->least[i];
    }
    return equal * 100 >= either * SAME_PERCENT;
}

enum prompt_same prompt_same(const struct prompt_print *a, const struct prompt_print *b)
{
    if (holds(a->letters, b->letters) || nearly(a, b))
        return SAME_REPEATS;
    return holds(b->letters, a->letters) ? SAME_CONTAINS : SAME_NOT;
}
