#include "index/filter_eval.h"

#include "base/bitmap.h"
#include "index/segment_int.h"

static int compare(const struct value *a, enum value_type type, double number, struct str string)
{
    if (a->type != type)
        return type < a->type ? -1 : 1; /* order of the column: type first */
    if (type == VALUE_STRING)
        return str_cmp(string, a->string);
    return (number > a->number) - (number < a->number);
}

static int compare_stored(const struct segment *s, const struct value *a, const struct seg_value *v)
{
    return compare(a, v->type, v->number, seg_str(s, v->string));
}

/* Does a stored value, at `order` (<0, 0, >0) to the clause's value and of the same type, satisfy op? */
static bool op_holds(enum filter_op op, int order)
{
    switch (op) {
    case FILTER_ANY_OF:
    case FILTER_NE: return order == 0; /* NE: complemented by the caller */
    case FILTER_GT: return order > 0;
    case FILTER_GTE: return order >= 0;
    case FILTER_LT: return order < 0;
    case FILTER_LTE: return order <= 0;
    case FILTER_EXISTS:
    case FILTER_MISSING: return true;
    }
    return false;
}

/* First value of the field that is not below `a` in column order. */
static uint32_t lower_bound(const struct segment *s, const struct seg_field *f, const struct value *a)
{
    uint32_t lo = f->first_value, hi = f->first_value + f->n_values;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (compare_stored(s, a, &s->values[mid]) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void set_docs(const struct segment *s, const struct seg_value *v, uint64_t *bits)
{
    for (uint32_t i = 0; i < v->n_docs; i++)
        bitmap_set(bits, s->value_docs[v->first_doc + i]);
}

static void column_match(const struct segment *s, const struct seg_field *f, const struct filter_clause *c,
                         uint64_t *bits)
{
    uint32_t end = f->first_value + f->n_values;
    if (c->op == FILTER_EXISTS || c->op == FILTER_MISSING) {
        for (uint32_t v = f->first_value; v < end; v++)
            set_docs(s, &s->values[v], bits);
        return;
    }
    for (uint32_t i = 0; i < c->n_values; i++) {
        const struct value *a = &c->values[i];
        bool below = c->op == FILTER_LT || c->op == FILTER_LTE;
        for (uint32_t v = below ? f->first_value : lower_bound(s, f, a); v < end; v++) {
            if (s->values[v].type != a->type) {
                if (s->values[v].type > a->type)
                    break;
                continue;
            }
            int order = compare_stored(s, a, &s->values[v]);
            if (op_holds(c->op, order))
                set_docs(s, &s->values[v], bits);
            else if (order > 0)
                break;
        }
    }
}

static struct str builtin_field(const struct segment *s, struct str field, uint32_t doc)
{
    const struct seg_doc *d = &s->docs[doc];
    return seg_str(s, field.ptr[0] == 'd' ? d->id : field.ptr[0] == 't' ? d->title : d->source);
}

static void builtin_match(const struct segment *s, const struct filter_clause *c, uint64_t *bits)
{
    for (uint32_t d = 0; d < s->h->n_docs; d++) {
        struct str have = builtin_field(s, c->field, d);
        bool hit = false;
        if (c->op == FILTER_EXISTS || c->op == FILTER_MISSING)
            hit = have.len > 0;
        for (uint32_t i = 0; i < c->n_values && !hit; i++)
            hit = c->values[i].type == VALUE_STRING && op_holds(c->op, str_cmp(have, c->values[i].string));
        if (hit)
            bitmap_set(bits, d);
    }
}

static const struct seg_field *find_field(const struct segment *s, struct str name)
{
    for (uint32_t i = 0; i < s->n_fields; i++)
        if (str_eq(seg_str(s, s->fields[i].name), name))
            return &s->fields[i];
    return NULL;
}

rag_code filter_docs(const struct segment *s, const struct filter *f, struct arena *a, uint64_t **out)
{
    *out = NULL;
    if (f->n == 0)
        return RAG_OK;
    size_t words = bitmap_words(s->h->n_docs);
    uint64_t *all = arena_array(a, words + 1, sizeof *all), *one = arena_array(a, words + 1, sizeof *one);
    if (!all || !one)
        return RAG_ENOMEM;
    bitmap_fill(all, s->h->n_docs);
    for (uint32_t i = 0; i < f->n; i++) {
        const struct filter_clause *c = &f->clauses[i];
        memset(one, 0, words * sizeof *one);
        if (str_eqz(c->field, "document_id") || str_eqz(c->field, "title") || str_eqz(c->field, "source")) {
            builtin_match(s, c, one);
        } else {
            const struct seg_field *field = find_field(s, c->field);
            if (field)
                column_match(s, field, c, one);
        }
        bool complement = c->op == FILTER_NE || c->op == FILTER_MISSING;
        for (size_t w = 0; w < words; w++)
            all[w] &= complement ? ~one[w] : one[w];
    }
    *out = all;
    return RAG_OK;
}
