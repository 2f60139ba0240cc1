#include "wire/json_in.h"

#include "wire/json_out.h"

/* The parser recurses, so depth is bounded before it runs. Brackets inside strings do not count. */
static bool depth_ok(struct str s)
{
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > JSON_MAX_DEPTH)
                return false;
        } else if ((c == ']' || c == '}') && depth) {
            depth--;
        }
    }
    return true;
}

/* The parser's own text may quote the input; only printable ASCII of it goes back to the client. */
static void clean(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7f)
            *text = '?';
}

rag_code json_in_parse(struct str body, size_t max_bytes, json_t **out, struct rag_err *err)
{
    json_error_t e;
    *out = NULL;
    if (body.len > max_bytes)
        return rag_err_set(err, RAG_ETOOBIG, "the JSON has %zu bytes, the limit is %zu", body.len, max_bytes);
    if (str_trim(body).len == 0)
        return rag_err_set(err, RAG_EINVAL, "the body is empty, a JSON object is expected");
    if (memchr(body.ptr, 0, body.len))
        return rag_err_set(err, RAG_EINVAL, "the JSON holds a NUL byte");
    if (!depth_ok(body))
        return rag_err_set(err, RAG_EINVAL, "the JSON is nested more than %d levels deep", JSON_MAX_DEPTH);
    *out = json_loadb(body.ptr, body.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (*out)
        return RAG_OK;
    if (json_error_code(&e) == json_error_out_of_memory)
        return rag_err_set(err, RAG_ENOMEM, "out of memory");
    clean(e.text);
    return rag_err_set(err, RAG_EINVAL, "not valid JSON at line %d, column %d: %s", e.line, e.column, e.text);
}

void json_in_print(struct buf *out, const json_t *v)
{
    const char *key;
    json_t *item;
    size_t i;
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        json_add_open(out, '{');
        json_object_foreach((json_t *)(uintptr_t)v, key, item)
        {
            json_add_string(out, str_of(key)); /* keys hold no NUL: the parser refuses them */
            buf_addc(out, ':');
            json_in_print(out, item);
        }
        json_add_close(out, '}');
        break;
    case JSON_ARRAY:
        json_add_open(out, '[');
        json_array_foreach(v, i, item) json_in_print(out, item);
        json_add_close(out, ']');
        break;
    case JSON_STRING: json_add_string(out, json_in_str(v)); break;
    case JSON_INTEGER: {
        json_int_t n = json_integer_value(v);
        if (n < 0) {
            json_add_raw(out, STR_LIT("-"));
            buf_addf(out, "%llu", 0ull - (unsigned long long)n);
        } else {
            json_add_u64(out, (uint64_t)n);
        }
        break;
    }
    case JSON_REAL: json_add_double(out, json_real_value(v)); break;
    case JSON_TRUE: json_add_bool(out, true); break;
    case JSON_FALSE: json_add_bool(out, false); break;
    case JSON_NULL: json_add_null(out); break;
    }
}
