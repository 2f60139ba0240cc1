#include "wire/openai.h"

#include <math.h>

#include "wire/json_in.h"
#include "wire/json_out.h"
#include "wire/openai_int.h"
#include "wire/sse_read.h"

/* ---- request ---- */

/* Providers that keep prefixes on demand take the mark on a part of the content, not on a plain string. */
static void add_marked_content(struct buf *out, struct str text)
{
    json_add_open(out, '[');
    json_add_open(out, '{');
    json_add_key(out, "type");
    json_add_string(out, STR_LIT("text"));
    json_add_key(out, "text");
    json_add_string(out, text);
    json_add_key(out, "cache_control");
    json_add_raw(out, STR_LIT("{\"type\":\"ephemeral\"}"));
    json_add_close(out, '}');
    json_add_close(out, ']');
}

static void add_message(struct buf *out, const struct chat_message *m, bool marked)
{
    json_add_open(out, '{');
    json_add_key(out, "role");
    json_add_string(out, str_of(m->role));
    json_add_key(out, "content");
    if (marked)
        add_marked_content(out, m->content);
    else
        json_add_string(out, m->content);
    json_add_close(out, '}');
}

void openai_request_write(struct buf *out, const struct chat_request *r)
{
    json_add_open(out, '{');
    json_add_key(out, "model");
    json_add_string(out, str_of(r->model));
    json_add_key(out, "messages");
    json_add_open(out, '[');
    for (uint32_t i = 0; i < r->n_messages; i++)
        add_message(out, &r->messages[i], r->cache_control && i == 0);
    json_add_close(out, ']');
    json_add_key(out, "stream");
    json_add_bool(out, true);
    json_add_key(out, "stream_options");
    json_add_raw(out, STR_LIT("{\"include_usage\":true}"));
    if (r->max_tokens) {
        json_add_key(out, "max_tokens");
        json_add_u64(out, r->max_tokens);
    }
    if (r->temperature >= 0) {
        json_add_key(out, "temperature");
        json_add_fixed(out, (double)r->temperature, 3);
    }
    json_add_close(out, '}');
}

/* ---- one chunk, as a tree ---- */

static bool copy(struct arena *a, struct str s, struct str *out)
{
    char *p = s.len ? arena_strndup(a, s.ptr, s.len) : NULL;
    *out = str_make(p, p ? s.len : 0);
    return p || !s.len;
}

static struct str string_of(const json_t *v)
{
    return json_is_string(v) ? json_in_str(v) : (struct str){0};
}

/* A list of parts: the text of those that have one. Some providers put the reasoning into parts of another type. */
static bool join_parts(const json_t *parts, struct arena *a, struct str *out, bool *reasoning)
{
    const json_t *part;
    size_t i, len = 0;
    json_array_foreach(parts, i, part) len += string_of(json_object_get(part, "text")).len;
    char *p = len ? arena_alloc(a, len) : NULL;
    if (len && !p)
        return false;
    *out = str_make(p, len);
    json_array_foreach(parts, i, part)
    {
        struct str text = string_of(json_object_get(part, "text"));
        if (text.len)
            memcpy(p, text.ptr, text.len);
        p = text.len ? p + text.len : p;
        *reasoning |= json_is_array(json_object_get(part, "thinking"));
    }
    return true;
}

static bool read_choice(const json_t *choice, struct arena *a, struct chat_chunk *out)
{
    const json_t *delta = json_object_get(choice, "delta");
    if (!json_is_object(delta))
        delta = json_object_get(choice, "message");
    const json_t *content = json_object_get(delta, "content");
    if (!content)
        content = json_object_get(choice, "text");
    bool reasoning = string_of(json_object_get(delta, "reasoning_content")).len > 0 ||
                     string_of(json_object_get(delta, "reasoning")).len > 0;
    bool ok = json_is_array(content) ? join_parts(content, a, &out->content, &reasoning)
                                     : copy(a, string_of(content), &out->content);
    out->reasoning = reasoning && !out->content.len;
    return ok && copy(a, string_of(json_object_get(choice, "finish_reason")), &out->finish);
}

/* A count, also written as 12.0. -1: none, or none that can be meant. */
static int64_t count_of(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    double d = json_number_value(v); /* 0 for what is no number */
    if (!json_is_number(v) || !(d >= 0 && d <= OPENAI_MAX_TOKENS) || d != floor(d))
        return -1;
    return (int64_t)d;
}

static void read_usage(const json_t *u, struct chat_usage *out)
{
    int64_t prompt = count_of(u, "prompt_tokens"), completion = count_of(u, "completion_tokens");
    if (prompt < 0 || completion < 0)
        return; /* half a bill is none */
    const int64_t cached[] = {count_of(json_object_get(u, "prompt_tokens_details"), "cached_tokens"),
                              count_of(u, "prompt_cache_hit_tokens"), count_of(u, "cached_tokens")};
    int64_t most = 0;
    for (size_t i = 0; i < sizeof cached / sizeof *cached; i++)
        most = cached[i] > most ? cached[i] : most;
    *out = (struct chat_usage){.given = true,
                               .prompt = (uint32_t)prompt,
                               .cached = (uint32_t)(most < prompt ? most : prompt),
                               .completion = (uint32_t)completion};
}

static bool read_error(const struct openai_error_parts *p, struct arena *a, struct chat_chunk *out)
{
    struct str text = string_of(p->message);
    if (!text.len)
        text = string_of(p->code);
    if (!text.len)
        text = string_of(p->type);
    out->is_error = true;
    return copy(a, text, &out->error);
}

/* Without choices it still is one when it says so in some way: the usage of the end, an opening without text. */
static bool is_chunk(const json_t *root)
{
    return json_is_object(json_object_get(root, "usage")) || json_is_string(json_object_get(root, "id")) ||
           json_is_string(json_object_get(root, "object")) || json_is_string(json_object_get(root, "model"));
}

static rag_code read_root(const json_t *root, struct arena *a, struct chat_chunk *out)
{
    const json_t *choices = json_object_get(root, "choices"), *first = json_array_get(choices, 0);
    struct openai_error_parts parts;
    openai_error_parts(root, &parts);
    if (parts.is_error || (parts.message && !json_is_array(choices)))
        return read_error(&parts, a, out) ? RAG_OK : RAG_ENOMEM;
    bool missing = !choices || json_is_null(choices);
    if (missing ? !is_chunk(root) : !json_is_array(choices) || (first && !json_is_object(first)))
        return RAG_EFORMAT;
    read_usage(json_object_get(first, "usage"), &out->usage); /* one provider puts it there */
    read_usage(json_object_get(root, "usage"), &out->usage);
    return !first || read_choice(first, a, out) ? RAG_OK : RAG_ENOMEM;
}

rag_code openai_chunk_tree(struct str data, struct arena *a, struct chat_chunk *out)
{
    json_t *root;
    *out = (struct chat_chunk){0};
    rag_code rc = openai_json(data, &root);
    if (rc)
        return rc;
    rc = json_is_object(root) ? read_root(root, a, out) : RAG_EFORMAT;
    json_decref(root);
    return rc;
}

rag_code openai_chunk_parse(struct str data, struct arena *a, struct chat_chunk *out)
{
    struct str text = str_trim(data);
    *out = (struct chat_chunk){.done = str_eqz(text, "[DONE]")};
    if (out->done || !text.len) /* a blank one only keeps the connection open */
        return RAG_OK;
    rag_code rc = openai_chunk_scan(data, a, out);
    return rc == RAG_EUNSUPPORTED ? openai_chunk_tree(data, a, out) : rc;
}
