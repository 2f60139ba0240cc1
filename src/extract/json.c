/* JSON by shape. A list of objects is a table: one record each. An object is a document: its plain members first,
 * then a section for each member that is an object; a member that is a list of objects is a table named by its key.
 * Inside a record or section nested values are lines with a path: `fees.extra[0].amount: 300`. */
#include <jansson.h>
#include <stdio.h>

#include "extract/extract_int.h"

/* Before jansson builds anything: nesting and the number of values, which bound its memory. */
static rag_code json_measure(struct doc_writer *w, struct str s)
{
    unsigned depth = 0;
    size_t values = 0;
    for (size_t i = 0; i < s.len; i++) {
        switch (s.ptr[i]) {
        case '"':
            for (i++; i < s.len && s.ptr[i] != '"'; i++)
                if (s.ptr[i] == '\\')
                    i++;
            break;
        case '[':
        case '{':
            values++;
            if (++depth > EXTRACT_MAX_DEPTH)
                return docw_fail(w, RAG_ETOOBIG, "nested deeper than %d", EXTRACT_MAX_DEPTH);
            break;
        case ']':
        case '}': depth -= depth > 0; break;
        case ',': values++; break;
        default: break;
        }
    }
    if (values > EXTRACT_MAX_JSON_VALUES)
        return docw_fail(w, RAG_ETOOBIG, "more than %d values", EXTRACT_MAX_JSON_VALUES);
    return RAG_OK;
}

/* NULL: w has failed. `line` is 0 or the line of a jsonl file. */
static json_t *json_read(struct doc_writer *w, struct str s, unsigned line)
{
    json_error_t e;
    if (json_measure(w, s))
        return NULL;
    json_t *j = json_loadb(s.ptr, s.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    if (!j && json_error_code(&e) == json_error_numeric_overflow)
        j = json_loadb(s.ptr, s.len, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &e);
    if (j)
        return j;
    if (json_error_code(&e) == json_error_out_of_memory)
        docw_fail(w, RAG_ENOMEM, "out of memory");
    else
        docw_fail(w, RAG_EFORMAT, "line %d, column %d: %s", line ? (int)line : e.line, e.column, e.text);
    return NULL;
}

static void put_number(struct doc_writer *w, const json_t *j)
{
    char b[64];
    int n;
    if (json_is_integer(j)) {
        n = snprintf(b, sizeof b, "%" JSON_INTEGER_FORMAT, json_integer_value(j));
    } else {
        double v = json_real_value(j), again = 0;
        n = snprintf(b, sizeof b, "%.15g", v); /* as people write it, unless digits would be lost */
        if (sscanf(b, "%lf", &again) != 1 || again < v || again > v)
            n = snprintf(b, sizeof b, "%.17g", v);
    }
    docw_text(w, str_make(b, (size_t)n));
}

static bool is_blank(const json_t *j)
{
    switch (json_typeof(j)) {
    case JSON_NULL: return true;
    case JSON_STRING: return str_trim(str_make(json_string_value(j), json_string_length(j))).len == 0;
    case JSON_ARRAY: return json_array_size(j) == 0;
    case JSON_OBJECT: return json_object_size(j) == 0;
    case JSON_TRUE:
    case JSON_FALSE:
    case JSON_INTEGER:
    case JSON_REAL: break;
    }
    return false;
}

static void put_scalar(struct doc_writer *w, const json_t *j, bool one_line)
{
    if (json_is_string(j)) {
        struct str s = str_make(json_string_value(j), json_string_length(j));
        if (one_line)
            docw_line(w, s);
        else
            docw_text(w, s);
    } else if (json_is_boolean(j)) {
        docw_text(w, str_of(json_is_true(j) ? "true" : "false"));
    } else if (json_is_number(j)) {
        put_number(w, j);
    }
}

static bool all_scalars(const json_t *list)
{
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) if (json_is_array(v) || json_is_object(v)) return false;
    return true;
}

static bool all_objects(const json_t *list)
{
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) if (!json_is_object(v)) return false;
    return json_array_size(list) > 0;
}

static void put_list(struct doc_writer *w, const json_t *list)
{
    size_t i;
    json_t *v;
    bool first = true;
    json_array_foreach(list, i, v)
    {
        if (is_blank(v))
            continue;
        if (!first)
            docw_text(w, STR_LIT(", "));
        first = false;
        put_scalar(w, v, true);
    }
}

/* `path: value` lines of j and all below it. Depth is bounded by json_measure. The path grows and shrinks in place. */
static void put_lines(struct doc_writer *w, struct buf *path, json_t *j)
{
    size_t len = path->len, i;
    const char *key;
    json_t *v;
    if (w->rc || is_blank(j))
        return;
    if (buf_failed(path)) {
        docw_fail(w, RAG_ENOMEM, "out of memory");
        return;
    }
    if (json_is_object(j)) {
        size_t key_len;
        json_object_keylen_foreach(j, key, key_len, v)
        {
            if (len)
                buf_addc(path, '.');
            text_squeeze(path, str_make(key, key_len));
            put_lines(w, path, v);
            path->len = len;
        }
    } else if (json_is_array(j) && !all_scalars(j)) {
        json_array_foreach(j, i, v)
        {
            buf_addf(path, "[%zu]", i);
            put_lines(w, path, v);
            path->len = len;
        }
    } else {
        docw_text(w, buf_str(path));
        docw_text(w, str_of(len ? ": " : ""));
        if (json_is_array(j))
            put_list(w, j);
        else
            put_scalar(w, j, true);
        docw_text(w, STR_LIT("\n"));
    }
}

static void put_record(struct doc_writer *w, struct buf *path, uint32_t row, uint32_t label_off,
                       uint32_t label_len, json_t *j)
{
    docw_begin_record(w, row, label_off, label_len);
    put_lines(w, path, j);
    docw_end(w);
}

static void put_table(struct doc_writer *w, struct buf *path, struct str name, const json_t *list)
{
    size_t i;
    json_t *v;
    uint32_t label_off, label_len;
    docw_label(w, name, &label_off, &label_len);
    json_array_foreach(list, i, v) put_record(w, path, (uint32_t)i + 1, label_off, label_len, v);
}

static bool is_section(const json_t *j)
{
    return json_is_object(j) || (json_is_array(j) && !all_scalars(j));
}

static void put_object(struct doc_writer *w, struct buf *path, json_t *j)
{
    const char *key;
    size_t key_len;
    json_t *v, *title = json_object_get(j, "title");
    if (json_is_string(title))
        docw_title(w, str_make(json_string_value(title), json_string_length(title)));
    docw_begin(w, BLOCK_PARAGRAPH, 0);
    json_object_keylen_foreach(j, key, key_len, v)
    {
        if (is_section(v))
            continue;
        text_squeeze(path, str_make(key, key_len));
        put_lines(w, path, v);
        path->len = 0;
    }
    docw_end(w);
    json_object_keylen_foreach(j, key, key_len, v)
    {
        struct str name = str_make(key, key_len);
        if (!is_section(v) || is_blank(v))
            continue;
        if (json_is_array(v) && all_objects(v)) {
            put_table(w, path, name, v);
            continue;
        }
        docw_block(w, BLOCK_HEADING, 1, name);
        docw_begin(w, BLOCK_PARAGRAPH, 0);
        text_squeeze(path, name);
        put_lines(w, path, v);
        path->len = 0;
        docw_end(w);
    }
}

rag_code extract_json(struct doc_writer *w, struct str s)
{
    struct buf path;
    if (str_trim(s).len == 0)
        return docw_fail(w, RAG_EFORMAT, "empty");
    json_t *j = json_read(w, s, 0);
    if (!j)
        return w->rc;
    buf_init(&path, MEM_EXTRACT);
    if (json_is_object(j)) {
        put_object(w, &path, j);
    } else if (json_is_array(j)) {
        put_table(w, &path, str_make(NULL, 0), j);
    } else {
        docw_begin(w, BLOCK_PARAGRAPH, 0);
        put_scalar(w, j, false);
        docw_end(w);
    }
    buf_clear(&path);
    json_decref(j);
    return w->rc;
}

rag_code extract_jsonl(struct doc_writer *w, struct str s)
{
    struct buf path;
    buf_init(&path, MEM_EXTRACT);
    uint32_t row = 0;
    for (size_t i = 0; i < s.len && !w->rc;) {
        const char *nl = memchr(s.ptr + i, '\n', s.len - i);
        size_t end = nl ? (size_t)(nl - s.ptr) : s.len;
        struct str line = str_trim(str_make(s.ptr + i, end - i));
        i = end + 1;
        row++;
        if (line.len == 0)
            continue;
        json_t *j = json_read(w, line, row);
        if (j)
            put_record(w, &path, row, 0, 0, j);
        json_decref(j);
    }
    buf_clear(&path);
    return w->rc;
}
