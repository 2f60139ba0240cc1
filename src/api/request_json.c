#include "api/request_json.h"

#include <stdio.h>

#include "text/utf8.h"
#include "wire/json_in.h"
#include "wire/json_out.h"

enum { MAX_SYSTEM_PROMPT = 16 << 10 };

enum {
    FILTER_MAX_CLAUSES = 64,
    FILTER_MAX_VALUES = 1000,
    METADATA_MAX_KEYS = 256,
    TITLE_MAX = 1024,
    SOURCE_MAX = 4096
};

/* ---- pieces -------------------------------------------------------------------------------------------- */

static rag_code wrong_type(struct rag_err *err, const char *field, const char *want)
{
    return rag_err_param(err, RAG_EINVAL, field, "%s must be %s", field, want);
}

/* A field is refused by the name of the first that is neither wanted nor null. */
static rag_code check_fields(const json_t *object, const char *const *known, const char *const *later,
                             struct rag_err *err)
{
    const char *key;
    json_t *v;
    if (!json_is_object(object))
        return rag_err_set(err, RAG_EINVAL, "the body must be a JSON object");
    json_object_foreach((json_t *)(uintptr_t)object, key, v)
    {
        bool ok = false;
        for (size_t i = 0; known[i] && !ok; i++)
            ok = strcmp(known[i], key) == 0;
        for (size_t i = 0; later && later[i] && !ok; i++)
            if (strcmp(later[i], key) == 0) {
                if (!json_is_null(v))
                    return rag_err_param(err, RAG_EINVAL, key, "%s is not supported yet", key);
                ok = true;
            }
        if (!ok)
            return rag_err_param(err, RAG_EINVAL, key, "unknown field %s", key);
    }
    return RAG_OK;
}

static const json_t *field(const json_t *object, const char *name)
{
    const json_t *v = json_object_get(object, name);
    return json_is_null(v) ? NULL : v;
}

static rag_code copy_str(struct arena *a, struct str s, struct str *out)
{
    char *p = arena_strndup(a, s.ptr, s.len);
    if (!p)
        return RAG_ENOMEM;
    *out = str_make(p, s.len);
    return RAG_OK;
}

static bool has_control(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
            return true;
    return false;
}

/* An optional string field; *out stays as it is when absent. */
static rag_code take_str(const json_t *object, const char *name, size_t max, bool plain, struct arena *a,
                         struct str *out, struct rag_err *err)
{
    const json_t *v = field(object, name);
    if (!v)
        return RAG_OK;
    if (!json_is_string(v))
        return wrong_type(err, name, "a string");
    struct str s = json_in_str(v);
    if (s.len > max)
        return rag_err_param(err, RAG_ETOOBIG, name, "%s has %zu bytes, the limit is %zu", name, s.len, max);
    if (plain && has_control(s))
        return rag_err_param(err, RAG_EINVAL, name, "%s holds a control character", name);
    return copy_str(a, s, out);
}

static rag_code take_bool(const json_t *object, const char *name, bool *out, struct rag_err *err)
{
    const json_t *v = field(object, name);
    if (v && !json_is_boolean(v))
        return wrong_type(err, name, "true or false");
    if (v)
        *out = json_is_true(v);
    return RAG_OK;
}

bool collection_name_ok(struct str name)
{
    if (name.len == 0 || name.len > COLLECTION_NAME_MAX || str_eqz(name, ".") || str_eqz(name, ".."))
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
              c == '.' || c == '-'))
            return false;
    }
    return true;
}

rag_code document_id_check(struct str id, struct rag_err *err)
{
    if (id.len == 0 || id.len > DOCUMENT_ID_MAX)
        return rag_err_param(err, RAG_EINVAL, "id", "id must have 1 to %d bytes", DOCUMENT_ID_MAX);
    if (has_control(id) || !utf8_valid(id))
        return rag_err_param(err, RAG_EINVAL, "id", "id must be UTF-8 without control characters");
    return RAG_OK;
}

/* ---- filters ------------------------------------------------------------------------------------------- */

struct filter_parse {
    struct arena *a;
    struct filter_clause *clauses;
    uint32_t n;
    struct rag_err *err;
};

static rag_code filter_error(struct filter_parse *p, const char *name, const char *why)
{
    char param[64];
    snprintf(param, sizeof param, "filters.%s", name);
    return rag_err_param(p->err, RAG_EINVAL, param, "filters.%s: %s", name, why);
}

static rag_code take_value(struct filter_parse *p, const char *name, const json_t *v, struct value *out)
{
    switch (json_typeof(v)) {
    case JSON_STRING: out->type = VALUE_STRING; return copy_str(p->a, json_in_str(v), &out->string);
    case JSON_INTEGER:
    case JSON_REAL:
        *out = (struct value){.type = VALUE_NUMBER, .number = json_number_value(v)};
        return RAG_OK;
    case JSON_TRUE:
    case JSON_FALSE: *out = (struct value){.type = VALUE_BOOL, .number = json_is_true(v)}; return RAG_OK;
    default: return filter_error(p, name, "a value must be a string, a number, true or false");
    }
}

static rag_code add_clause(struct filter_parse *p, const char *name, enum filter_op op, const json_t *v)
{
    bool list = json_is_array(v);
    size_t n = op == FILTER_EXISTS || op == FILTER_MISSING ? 0 : list ? json_array_size(v) : 1;
    struct str fname;
    if (p->n == FILTER_MAX_CLAUSES)
        return rag_err_param(p->err, RAG_EINVAL, "filters", "filters: more than %d conditions",
                             FILTER_MAX_CLAUSES);
    if (list && n == 0)
        return filter_error(p, name, "an empty list matches nothing");
    if (n > FILTER_MAX_VALUES)
        return filter_error(p, name, "more than 1000 values");
    struct value *values = arena_array(p->a, n + 1, sizeof *values);
    if (!values || copy_str(p->a, str_of(name), &fname))
        return RAG_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        rag_code rc = take_value(p, name, list ? json_array_get(v, i) : v, &values[i]);
        if (rc)
            return rc;
    }
    p->clauses[p->n++] =
        (struct filter_clause){.field = fname, .op = op, .values = values, .n_values = (uint32_t)n};
    return RAG_OK;
}

static rag_code add_operator(struct filter_parse *p, const char *name, const char *op, const json_t *v)
{
    static const struct {
        const char *name;
        enum filter_op op;
    } ops[] = {{"gt", FILTER_GT}, {"gte", FILTER_GTE}, {"lt", FILTER_LT}, {"lte", FILTER_LTE}};
    if (strcmp(op, "exists") == 0) {
        if (!json_is_boolean(v))
            return filter_error(p, name, "exists takes true or false");
        return add_clause(p, name, json_is_true(v) ? FILTER_EXISTS : FILTER_MISSING, v);
    }
    if (strcmp(op, "ne") == 0) {
        if (json_is_array(v))
            return filter_error(p, name, "ne takes one value");
        return add_clause(p, name, FILTER_NE, v);
    }
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (strcmp(op, ops[i].name) == 0) {
            if (!json_is_number(v) && !json_is_string(v))
                return filter_error(p, name, "gt, gte, lt, lte take a number or a string");
            return add_clause(p, name, ops[i].op, v);
        }
    return filter_error(p, name, "unknown operator: gt, gte, lt, lte, ne, exists");
}

rag_code filter_from_json(const json_t *v, struct arena *a, struct filter *out, struct rag_err *err)
{
    struct filter_parse p = {.a = a, .err = err};
    const char *name, *op;
    json_t *cond, *arg;
    rag_code rc = RAG_OK;
    *out = (struct filter){0};
    if (!json_is_object(v))
        return wrong_type(err, "filters", "an object");
    p.clauses = arena_array(a, FILTER_MAX_CLAUSES, sizeof *p.clauses);
    if (!p.clauses)
        return RAG_ENOMEM;
    json_object_foreach((json_t *)(uintptr_t)v, name, cond)
    {
        if (!json_is_object(cond)) {
            rc = add_clause(&p, name, FILTER_ANY_OF, cond);
        } else if (json_object_size(cond) == 0) {
            rc = filter_error(&p, name, "an operator is missing");
        } else {
            json_object_foreach(cond, op, arg) if (!rc) rc = add_operator(&p, name, op, arg);
        }
        if (rc)
            return rc;
    }
    out->clauses = p.clauses;
    out->n = p.n;
    return RAG_OK;
}

/* ---- queries ------------------------------------------------------------------------------------------- */

static rag_code take_query_text(const json_t *root, bool search, struct arena *a, struct query *q,
                                bool *listing, struct rag_err *err)
{
    const json_t *v = field(root, "query");
    *listing = false;
    if (v && !json_is_string(v))
        return wrong_type(err, "query", "a string");
    struct str s = v ? str_trim(json_in_str(v)) : (struct str){0};
    if (s.len == 0) {
        if (!search)
            return rag_err_param(err, RAG_EINVAL, "query", v ? "query is empty" : "query is missing");
        *listing = true;
        return RAG_OK;
    }
    if (s.len > QUERY_TEXT_MAX)
        return rag_err_param(err, RAG_ETOOBIG, "query", "query has %zu bytes, the limit is %d", s.len,
                             QUERY_TEXT_MAX);
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if ((c < 0x20 && !(c >= '\t' && c <= '\r')) || c == 0x7f) /* white space of every kind is fine */
            return rag_err_param(err, RAG_EINVAL, "query", "query holds the control character U+%04X", c);
    }
    return copy_str(a, s, &q->text);
}

static rag_code take_numbers(const json_t *root, struct query *q, struct rag_err *err)
{
    const json_t *v = field(root, "top_k");
    if (v) {
        if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > 100)
            return wrong_type(err, "top_k", "an integer from 1 to 100");
        q->top_k = (uint32_t)json_integer_value(v);
    }
    v = field(root, "min_score");
    if (v) {
        if (!json_is_number(v) || json_number_value(v) < 0 || json_number_value(v) > 1)
            return wrong_type(err, "min_score", "a number from 0 to 1");
        q->min_score = json_number_value(v);
    }
    return RAG_OK;
}

static rag_code take_overrides(const json_t *v, struct arena *a, struct str *out, struct rag_err *err)
{
    struct buf text;
    if (!json_is_object(v))
        return wrong_type(err, "overrides", "an object of configuration keys");
    if (json_object_size(v) == 0)
        return RAG_OK;
    buf_init(&text, MEM_REQUEST);
    json_in_print(&text, v);
    rag_code rc = buf_failed(&text)          ? RAG_ENOMEM
                  : text.len > OVERRIDES_MAX ? rag_err_param(err, RAG_EINVAL, "overrides", "overrides has more than %d bytes",
                                                             OVERRIDES_MAX)
                                             : copy_str(a, buf_str(&text), out);
    buf_clear(&text);
    return rc;
}

static rag_code query_fields(const json_t *root, bool search, struct arena *a, struct query *q, bool *listing,
                             struct rag_err *err)
{
    static const char *const for_query[] = {"query",   "collection", "user_id", "top_k", "min_score",
                                            "filters", "overrides",  "stream",  "explain", NULL};
    static const char *const for_search[] = {"query",     "collection", "user_id", "top_k",
                                             "min_score", "filters",    "overrides", "explain", NULL};
    static const char *const later[] = {"cache", NULL};
    rag_code rc = check_fields(root, search ? for_search : for_query, later, err);
    if (!rc)
        rc = take_query_text(root, search, a, q, listing, err);
    if (!rc)
        rc = take_str(root, "collection", 1024, false, a, &q->collection, err);
    if (!rc)
        rc = take_str(root, "user_id", 256, true, a, &q->user_id, err);
    if (!rc)
        rc = take_numbers(root, q, err);
    if (!rc)
        rc = take_bool(root, "stream", &q->stream, err);
    q->no_stream = json_is_false(field(root, "stream"));
    if (!rc)
        rc = take_bool(root, "explain", &q->explain, err);
    if (!rc && field(root, "filters"))
        rc = filter_from_json(field(root, "filters"), a, &q->filter, err);
    if (!rc && field(root, "overrides"))
        rc = take_overrides(field(root, "overrides"), a, &q->overrides, err);
    return rc;
}

/* The two codes that come without a message get one. */
static rag_code finish(rag_code rc, struct rag_err *err)
{
    if (rc == RAG_ENOMEM && err && !err->msg[0])
        rag_err_set(err, rc, "out of memory");
    return rc;
}

rag_code query_from_json(struct str body, size_t max_bytes, bool search, struct arena *a, struct query *out,
                         bool *listing, struct rag_err *err)
{
    json_t *root;
    *out = (struct query){.collection = STR_LIT("default"), .top_k = search ? 10 : 5};
    rag_code rc = json_in_parse(body, max_bytes, &root, err);
    if (!rc)
        rc = query_fields(root, search, a, out, listing, err);
    json_decref(root);
    return finish(rc, err);
}

rag_code delete_from_json(struct str body, size_t max_bytes, struct arena *a, struct filter *out,
                          struct rag_err *err)
{
    static const char *const known[] = {"filters", NULL};
    json_t *root;
    *out = (struct filter){0};
    rag_code rc = json_in_parse(body, max_bytes, &root, err);
    if (!rc)
        rc = check_fields(root, known, NULL, err);
    if (!rc && !field(root, "filters"))
        rc = rag_err_param(err, RAG_EINVAL, "filters", "filters is missing");
    if (!rc)
        rc = filter_from_json(field(root, "filters"), a, out, err);
    if (!rc && out->n == 0)
        rc = rag_err_param(err, RAG_EINVAL, "filters",
                           "filters is empty: that would delete everything; delete the collection for that");
    json_decref(root);
    return finish(rc, err);
}

rag_code collection_from_json(struct str body, size_t max_bytes, struct arena *a, struct str *settings,
                              struct rag_err *err)
{
    static const char *const known[] = {"settings", NULL};
    json_t *root = NULL;
    rag_code rc = RAG_OK;
    *settings = STR_LIT("{}");
    if (str_trim(body).len == 0)
        return RAG_OK;
    rc = json_in_parse(body, max_bytes, &root, err);
    if (!rc)
        rc = check_fields(root, known, NULL, err);
    const json_t *v = rc ? NULL : field(root, "settings");
    const json_t *prompt = v ? field(v, "system_prompt") : NULL;
    if (v && !json_is_object(v)) {
        rc = wrong_type(err, "settings", "an object");
    } else if (prompt && !json_is_string(prompt)) {
        rc = wrong_type(err, "settings.system_prompt", "a string");
    } else if (prompt && json_string_length(prompt) > MAX_SYSTEM_PROMPT) {
        rc = rag_err_param(err, RAG_EINVAL, "settings.system_prompt", "settings.system_prompt is longer than %d bytes",
                           MAX_SYSTEM_PROMPT);
    } else if (v) {
        struct buf text;
        buf_init(&text, MEM_REQUEST);
        json_in_print(&text, v);
        rc = buf_failed(&text) ? RAG_ENOMEM : copy_str(a, buf_str(&text), settings);
        buf_clear(&text);
    }
    json_decref(root);
    return finish(rc, err);
}

/* ---- documents ----------------------------------------------------------------------------------------- */

static rag_code metadata_error(struct rag_err *err, const char *key, const char *why)
{
    char param[64];
    snprintf(param, sizeof param, "metadata.%s", key);
    return rag_err_param(err, RAG_EINVAL, param, "metadata.%s %s", key, why);
}

static bool is_scalar(const json_t *v)
{
    return json_is_string(v) || json_is_number(v) || json_is_boolean(v);
}

static rag_code print_metadata(const json_t *v, struct buf *out, struct rag_err *err)
{
    const char *key;
    json_t *item, *e;
    size_t i;
    if (!json_is_object(v))
        return wrong_type(err, "metadata", "an object");
    if (json_object_size(v) > METADATA_MAX_KEYS)
        return rag_err_param(err, RAG_ETOOBIG, "metadata", "metadata has more than %d keys",
                             METADATA_MAX_KEYS);
    json_add_open(out, '{');
    json_object_foreach((json_t *)(uintptr_t)v, key, item)
    {
        if (json_is_null(item))
            continue;
        if (!is_scalar(item) && !json_is_array(item))
            return metadata_error(err, key, "must be a string, a number, true, false or a list of these");
        json_array_foreach(item, i, e) if (!is_scalar(e)) return metadata_error(
            err, key, "must be a list of strings, numbers, true or false");
        json_add_string(out, str_of(key));
        buf_addc(out, ':');
        json_in_print(out, item);
    }
    json_add_close(out, '}');
    if (out->len > METADATA_MAX)
        return rag_err_param(err, RAG_ETOOBIG, "metadata", "metadata has %zu bytes, the limit is %d",
                             out->len, METADATA_MAX);
    return RAG_OK;
}

static rag_code take_metadata(const json_t *v, struct arena *a, struct str *out, struct rag_err *err)
{
    struct buf text;
    buf_init(&text, MEM_REQUEST);
    rag_code rc = print_metadata(v, &text, err);
    if (!rc)
        rc = buf_failed(&text) ? RAG_ENOMEM : copy_str(a, buf_str(&text), out);
    buf_clear(&text);
    return rc;
}

rag_code metadata_from_text(struct str text, struct arena *a, struct str *out, struct rag_err *err)
{
    json_t *v = NULL;
    rag_code rc = RAG_OK;
    *out = STR_LIT("{}");
    if (str_trim(text).len == 0)
        return RAG_OK;
    rc = json_in_parse(text, 4 * METADATA_MAX, &v, err);
    if (!rc)
        rc = take_metadata(v, a, out, err);
    else if (err)
        snprintf(err->param, sizeof err->param, "metadata");
    json_decref(v);
    return finish(rc, err);
}

static rag_code document_fields(const json_t *v, struct arena *a, struct document_in *d, struct rag_err *err)
{
    static const char *const known[] = {"id", "title", "text", "source", "metadata", "format", NULL};
    if (!json_is_object(v))
        return rag_err_set(err, RAG_EINVAL, "a document must be a JSON object");
    rag_code rc = check_fields(v, known, NULL, err);
    if (!rc)
        rc = take_str(v, "id", SIZE_MAX, false, a, &d->id, err);
    if (!rc && field(v, "id"))
        rc = document_id_check(d->id, err);
    if (!rc)
        rc = take_str(v, "title", TITLE_MAX, true, a, &d->title, err);
    if (!rc)
        rc = take_str(v, "source", SOURCE_MAX, true, a, &d->source, err);
    if (!rc)
        rc = take_str(v, "format", 32, true, a, &d->format, err);
    if (!rc && !field(v, "text"))
        rc = rag_err_param(err, RAG_EINVAL, "text", "text is missing");
    if (!rc)
        rc = take_str(v, "text", SIZE_MAX, false, a, &d->text, err);
    if (!rc && str_trim(d->text).len == 0)
        rc = rag_err_param(err, RAG_EINVAL, "text", "text is empty");
    if (!rc && field(v, "metadata"))
        rc = take_metadata(field(v, "metadata"), a, &d->metadata_json, err);
    return rc;
}

static rag_code batch_fields(const json_t *root, struct arena *a, struct document_in **out, uint32_t *n,
                             struct rag_err *err)
{
    static const char *const known[] = {"documents", NULL};
    const json_t *list = json_object_get(root, "documents");
    rag_code rc = check_fields(root, known, NULL, err);
    if (rc)
        return rc;
    if (!json_is_array(list) || json_array_size(list) == 0)
        return wrong_type(err, "documents", "a list of 1 to 1000 documents");
    if (json_array_size(list) > BATCH_MAX)
        return rag_err_param(err, RAG_ETOOBIG, "documents", "documents has %zu items, the limit is %d",
                             json_array_size(list), BATCH_MAX);
    *n = (uint32_t)json_array_size(list);
    *out = arena_array(a, *n, sizeof **out);
    if (!*out)
        return RAG_ENOMEM;
    for (uint32_t i = 0; i < *n; i++) {
        struct document_in *d = &(*out)[i];
        d->code = document_fields(json_array_get(list, i), a, d, &d->err);
        if (d->code == RAG_ENOMEM)
            return RAG_ENOMEM;
    }
    return RAG_OK;
}

rag_code documents_from_json(struct str body, size_t max_bytes, struct arena *a, struct document_in **out,
                             uint32_t *n, bool *batch, struct rag_err *err)
{
    json_t *root;
    *out = NULL;
    *n = 0;
    rag_code rc = json_in_parse(body, max_bytes, &root, err);
    *batch = !rc && json_is_object(root) && json_object_get(root, "documents");
    if (!rc && *batch) {
        rc = batch_fields(root, a, out, n, err);
    } else if (!rc) {
        *out = arena_array(a, 1, sizeof **out);
        *n = 1;
        rc = *out ? document_fields(root, a, *out, err) : RAG_ENOMEM;
    }
    json_decref(root);
    return finish(rc, err);
}
