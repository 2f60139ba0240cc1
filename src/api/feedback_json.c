#include "api/feedback_json.h"

#include "wire/json_in.h"

static rag_code wrong(struct rag_err *err, const char *field, const char *want)
{
    return rag_err_param(err, RAG_EINVAL, field, "%s must be %s", field, want);
}

static rag_code check_fields(const json_t *root, struct rag_err *err)
{
    static const char *const known[] = {"query_id", "type", "chunk_id", "chunk_ids", "rating", "comment", "user_id"};
    const char *key;
    json_t *v;
    if (!json_is_object(root))
        return rag_err_set(err, RAG_EINVAL, "the body must be a JSON object");
    json_object_foreach((json_t *)(uintptr_t)root, key, v)
    {
        bool ok = false;
        for (size_t i = 0; i < sizeof known / sizeof *known && !ok; i++)
            ok = strcmp(known[i], key) == 0;
        if (!ok)
            return rag_err_param(err, RAG_EINVAL, key, "unknown field %s", key);
    }
    return RAG_OK;
}

static const json_t *field(const json_t *root, const char *name)
{
    const json_t *v = json_object_get(root, name);
    return json_is_null(v) ? NULL : v;
}

/* An id: one line. */
static rag_code check_id(struct str s, const char *name, struct rag_err *err)
{
    if (s.len == 0)
        return rag_err_param(err, RAG_EINVAL, name, "%s is empty", name);
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
            return rag_err_param(err, RAG_EINVAL, name, "%s holds a control character", name);
    return RAG_OK;
}

static rag_code copy_string(const json_t *v, const char *name, size_t max, bool id, struct arena *a, struct str *out,
                            struct rag_err *err)
{
    if (!json_is_string(v))
        return wrong(err, name, "a string");
    struct str s = json_in_str(v);
    if (s.len > max)
        return rag_err_param(err, RAG_ETOOBIG, name, "%s has %zu bytes, the limit is %zu", name, s.len, max);
    rag_code rc = id ? check_id(s, name, err) : RAG_OK;
    if (rc)
        return rc;
    char *p = arena_strndup(a, s.ptr, s.len);
    if (!p)
        return RAG_ENOMEM;
    *out = str_make(p, s.len);
    return RAG_OK;
}

static rag_code take_string(const json_t *root, const char *name, size_t max, bool id, struct arena *a, struct str *out,
                            struct rag_err *err)
{
    const json_t *v = field(root, name);
    return v ? copy_string(v, name, max, id, a, out, err) : RAG_OK;
}

static rag_code take_type(const json_t *root, struct history_feedback *out, struct rag_err *err)
{
    const json_t *v = field(root, "type");
    if (!v)
        return rag_err_param(err, RAG_EINVAL, "type", "type is missing");
    for (int t = FEEDBACK_UP; t <= FEEDBACK_RATING && json_is_string(v); t++)
        if (str_eqz(json_in_str(v), feedback_type_name((enum feedback_type)t))) {
            out->type = (enum feedback_type)t;
            return RAG_OK;
        }
    return wrong(err, "type", "thumbs_up, thumbs_down, clicked, skipped or rating");
}

static rag_code take_rating(const json_t *root, struct history_feedback *out, struct rag_err *err)
{
    const json_t *v = field(root, "rating");
    if (!v)
        return out->type == FEEDBACK_RATING ? rag_err_param(err, RAG_EINVAL, "rating", "rating is missing") : RAG_OK;
    if (out->type != FEEDBACK_RATING)
        return rag_err_param(err, RAG_EINVAL, "rating", "rating goes with the type rating only");
    if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > 5)
        return wrong(err, "rating", "an integer from 1 to 5");
    out->rating = (uint32_t)json_integer_value(v);
    return RAG_OK;
}

static rag_code add_chunk(const json_t *v, const char *name, struct arena *a, struct str *ids, uint32_t *n,
                          struct rag_err *err)
{
    rag_code rc = copy_string(v, name, FEEDBACK_CHUNK_ID_MAX, true, a, &ids[*n], err);
    for (uint32_t i = 0; i < *n && !rc; i++)
        if (str_eq(ids[i], ids[*n]))
            return RAG_OK;
    *n += !rc;
    return rc;
}

static rag_code take_chunks(const json_t *root, struct arena *a, struct history_feedback *out, struct rag_err *err)
{
    const json_t *one = field(root, "chunk_id"), *list = field(root, "chunk_ids");
    size_t n = list ? json_array_size(list) : 0;
    if (list && !json_is_array(list))
        return wrong(err, "chunk_ids", "a list of strings");
    if (n > FEEDBACK_CHUNKS_MAX)
        return rag_err_param(err, RAG_ETOOBIG, "chunk_ids", "chunk_ids has %zu items, the limit is %d", n,
                             FEEDBACK_CHUNKS_MAX);
    struct str *ids = arena_array(a, n + 1, sizeof *ids);
    if (!ids)
        return RAG_ENOMEM;
    rag_code rc = one ? add_chunk(one, "chunk_id", a, ids, &out->n_chunk_ids, err) : RAG_OK;
    for (size_t i = 0; i < n && !rc; i++)
        rc = add_chunk(json_array_get(list, i), "chunk_ids", a, ids, &out->n_chunk_ids, err);
    out->chunk_ids = ids;
    return rc;
}

static rag_code check_chunks(const struct history_feedback *f, struct rag_err *err)
{
    if (f->n_chunk_ids || (f->type != FEEDBACK_CLICKED && f->type != FEEDBACK_SKIPPED))
        return RAG_OK;
    return rag_err_param(err, RAG_EINVAL, "chunk_ids", "%s needs chunk_id or chunk_ids", feedback_type_name(f->type));
}

static rag_code take_fields(const json_t *root, struct arena *a, struct history_feedback *out, struct rag_err *err)
{
    rag_code rc = check_fields(root, err);
    if (!rc && !field(root, "query_id"))
        rc = rag_err_param(err, RAG_EINVAL, "query_id", "query_id is missing");
    if (!rc)
        rc = take_string(root, "query_id", FEEDBACK_ID_MAX, true, a, &out->query_id, err);
    if (!rc)
        rc = take_type(root, out, err);
    if (!rc)
        rc = take_rating(root, out, err);
    if (!rc)
        rc = take_chunks(root, a, out, err);
    if (!rc)
        rc = check_chunks(out, err);
    if (!rc)
        rc = take_string(root, "comment", FEEDBACK_COMMENT_MAX, false, a, &out->comment, err);
    if (!rc)
        rc = take_string(root, "user_id", FEEDBACK_ID_MAX, true, a, &out->user_id, err);
    return rc;
}

rag_code feedback_from_json(struct str body, size_t max_bytes, struct arena *a, struct history_feedback *out,
                            const char **chunk_field, struct rag_err *err)
{
    json_t *root;
    rag_code rc = json_in_parse(body, max_bytes, &root, err);
    *chunk_field = "chunk_ids";
    if (!rc)
        rc = take_fields(root, a, out, err);
    if (!rc && !field(root, "chunk_ids") && field(root, "chunk_id"))
        *chunk_field = "chunk_id";
    json_decref(root);
    if (rc == RAG_ENOMEM && err && !err->msg[0])
        rag_err_set(err, rc, "out of memory");
    return rc;
}
