/* POST /v1/embeddings, in OpenAI's shape. Lists run on a thread of their own, so that they never stand before a question; a
 * server that stops ends them between two layers. */
#include <math.h>
#include <openssl/evp.h>

#include "api/api_int.h"
#include "obs/log.h"
#include "wire/json_in.h"
#include "wire/json_out.h"

enum { INPUTS_MAX = 2048, SLICE = 32, INPUT_BYTES_MAX = 64 << 10, TOTAL_BYTES_MAX = 1 << 20 };

struct embeddings {
    struct str *texts;
    uint32_t n;
    size_t bytes;
    enum encode_kind kind;
    uint32_t dims; /* of the answer */
    bool base64;
    float *vectors; /* n x the model's dims */
    uint64_t tokens;
};

static struct encoder_pool *encoders(const struct api *api)
{
    return api->opt.pipeline->encoders[0];
}

static bool bad(struct request *rq, const char *param, const char *message)
{
    reply_error(rq, 400, "invalid_request", param, message);
    return false;
}

static bool take_text(struct request *rq, struct embeddings *e, const json_t *v)
{
    if (json_is_integer(v) || json_is_array(v))
        return bad(rq, "input", "token ids are not taken: send the text");
    if (!json_is_string(v))
        return bad(rq, "input", "input must be a string or a list of strings");
    struct str s = json_in_str(v);
    if (s.len == 0)
        return bad(rq, "input", "an input is empty");
    if (s.len > INPUT_BYTES_MAX)
        return bad(rq, "input", "an input is longer than 65536 bytes");
    e->bytes += s.len;
    if (e->bytes > TOTAL_BYTES_MAX) {
        reply_error(rq, 413, "too_large", "input", "the inputs are longer than 1 MiB together: send fewer at a time");
        return false;
    }
    char *copy = arena_strndup(&rq->arena, s.ptr, s.len);
    if (!copy) {
        reply_error(rq, 503, "out_of_memory", NULL, "out of memory");
        return false;
    }
    e->texts[e->n++] = str_make(copy, s.len);
    return true;
}

static bool take_inputs(struct request *rq, struct embeddings *e, const json_t *input)
{
    if (!input)
        return bad(rq, "input", "input is missing");
    size_t n = json_is_array(input) ? json_array_size(input) : 1;
    if (n == 0)
        return bad(rq, "input", "input is an empty list");
    if (n > INPUTS_MAX)
        return bad(rq, "input", "more than 2048 inputs");
    e->texts = arena_array(&rq->arena, n, sizeof *e->texts);
    if (!e->texts) {
        reply_error(rq, 503, "out_of_memory", NULL, "out of memory");
        return false;
    }
    if (!json_is_array(input))
        return take_text(rq, e, input);
    for (size_t i = 0; i < n; i++)
        if (!take_text(rq, e, json_array_get(input, i)))
            return false;
    return true;
}

static bool take_options(struct request *rq, struct embeddings *e, const json_t *root)
{
    const struct model_info *m = model_info(encoder_pool_model(encoders(rq->api)));
    const json_t *dims = json_object_get(root, "dimensions"), *format = json_object_get(root, "encoding_format"),
                 *type = json_object_get(root, "input_type"), *name = json_object_get(root, "model");
    e->dims = m->dims;
    if (dims && !json_is_null(dims)) {
        if (!json_is_integer(dims) || json_integer_value(dims) < 1 || json_integer_value(dims) > m->dims)
            return bad(rq, "dimensions", "dimensions must be a whole number from 1 to the model's");
        e->dims = (uint32_t)json_integer_value(dims);
    }
    if (format && !json_is_null(format)) {
        struct str s = json_is_string(format) ? json_in_str(format) : str_make(NULL, 0);
        e->base64 = str_eqz(s, "base64");
        if (!e->base64 && !str_eqz(s, "float"))
            return bad(rq, "encoding_format", "encoding_format must be float or base64");
    }
    if (type && !json_is_null(type)) {
        struct str s = json_is_string(type) ? json_in_str(type) : str_make(NULL, 0);
        if (str_eqz(s, "query"))
            e->kind = ENCODE_QUERY;
        else if (str_eqz(s, "passage") || str_eqz(s, "document"))
            e->kind = ENCODE_PASSAGE;
        else
            return bad(rq, "input_type", "input_type must be query or passage");
    }
    if (name && !json_is_null(name)) {
        struct str s = json_is_string(name) ? json_in_str(name) : str_make(NULL, 0);
        if (!str_eqz(s, m->name)) {
            reply_error(rq, 404, "model_not_found", "model", "there is no such model: leave it out or name ours");
            return false;
        }
    }
    return true;
}

static bool parse(struct request *rq, struct embeddings *e)
{
    struct rag_err err = {0};
    json_t *root;
    rag_code rc = json_in_parse(buf_str(&rq->body), TOTAL_BYTES_MAX * 4, &root, &err); /* escapes grow */
    if (rc) {
        reply_rc(rq, rc, &err, "admission");
        return false;
    }
    bool ok = json_is_object(root) ? take_options(rq, e, root) && take_inputs(rq, e, json_object_get(root, "input"))
                                   : bad(rq, NULL, "the body must be a JSON object");
    json_decref(root);
    return ok;
}

/* The first `dims` of the vector, of unit length again. */
static void shorten(float *v, uint32_t dims)
{
    double sum = 0;
    for (uint32_t i = 0; i < dims; i++)
        sum += (double)v[i] * (double)v[i];
    float scale = sum > 0 ? (float)(1 / sqrt(sum)) : 0;
    for (uint32_t i = 0; i < dims; i++)
        v[i] *= scale;
}

static void add_base64(struct buf *out, const float *v, uint32_t n)
{
    size_t bytes = n * sizeof *v;
    json_add_open(out, '"');
    if (buf_reserve(out, bytes / 3 * 4 + 8)) /* little-endian f32, as OpenAI's */
        out->len += (size_t)EVP_EncodeBlock((unsigned char *)out->ptr + out->len, (const unsigned char *)v, (int)bytes);
    buf_addc(out, '"');
}

static void add_floats(struct buf *out, const float *v, uint32_t n)
{
    json_add_open(out, '[');
    for (uint32_t i = 0; i < n; i++)
        buf_addf(out, i ? ",%.9g" : "%.9g", (double)v[i]);
    json_add_close(out, ']');
}

static void write_answer(struct request *rq)
{
    struct embeddings *e = rq->state;
    const struct model_info *m = model_info(encoder_pool_model(encoders(rq->api)));
    struct buf *out = &rq->out;
    json_add_open(out, '{');
    json_add_key(out, "object");
    json_add_string(out, STR_LIT("list"));
    json_add_key(out, "data");
    json_add_open(out, '[');
    for (uint32_t i = 0; i < e->n; i++) {
        float *v = e->vectors + (size_t)i * m->dims;
        if (e->dims < m->dims)
            shorten(v, e->dims);
        json_add_open(out, '{');
        json_add_key(out, "object");
        json_add_string(out, STR_LIT("embedding"));
        json_add_key(out, "index");
        json_add_u64(out, i);
        json_add_key(out, "embedding");
        if (e->base64)
            add_base64(out, v, e->dims);
        else
            add_floats(out, v, e->dims);
        json_add_close(out, '}');
    }
    json_add_close(out, ']');
    json_add_key(out, "model");
    json_add_string(out, str_of(m->name));
    json_add_key(out, "usage");
    json_add_open(out, '{');
    json_add_key(out, "prompt_tokens");
    json_add_u64(out, e->tokens);
    json_add_key(out, "total_tokens");
    json_add_u64(out, e->tokens);
    json_add_close(out, '}');
    json_add_close(out, '}');
    reply_json(rq, 200);
}

static void embed(struct request *rq)
{
    struct api *api = rq->api;
    struct embeddings *e = rq->state;
    struct encoder_pool *p = encoders(api);
    uint32_t dims = model_info(encoder_pool_model(p))->dims;
    rag_code rc = RAG_OK;
    for (uint32_t done = 0; done < e->n && !rc; done += SLICE) {
        uint32_t n = e->n - done < SLICE ? e->n - done : SLICE;
        uint64_t tokens = 0;
        rc = encoder_pool_run(p, e->kind, e->texts + done, n, &api->abandoned, NULL, e->vectors + (size_t)done * dims, &tokens);
        e->tokens += tokens;
    }
    if (rc == RAG_ECANCELED)
        reply_error(rq, 503, "shutting_down", NULL, "the server is stopping");
    else if (rc)
        reply_rc(rq, rc, NULL, "embedding");
    else
        write_answer(rq);
}

void embeddings_work(struct request *const *rqs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        log_set_request_id(rqs[i]->id);
        embed(rqs[i]);
        log_set_request_id(NULL);
        gauge_add(rqs[i]->api->m.concurrent, -1);
        request_resume(rqs[i], NULL);
    }
}

void route_embeddings(struct request *rq)
{
    struct api *api = rq->api;
    struct embeddings *e = arena_zalloc(&rq->arena, sizeof *e);
    if (!request_is_json(rq))
        return;
    if (!encoders(api)) {
        reply_error(rq, 503, "no_model", NULL, "no model is loaded: make model, or ragd model import");
        return;
    }
    if (!e) {
        reply_error(rq, 503, "out_of_memory", NULL, "out of memory");
        return;
    }
    if (!parse(rq, e))
        return;
    size_t dims = model_info(encoder_pool_model(encoders(api)))->dims;
    e->vectors = arena_array(&rq->arena, e->n * dims, sizeof *e->vectors);
    rq->state = e;
    if (!e->vectors) {
        reply_error(rq, 503, "out_of_memory", NULL, "out of memory");
    } else if (gauge_add(api->m.concurrent, 1) > (int64_t)api->opt.max_concurrent_queries) {
        reply_error(rq, 503, "too_many_queries", NULL, "too many queries at a time; try again");
        gauge_add(api->m.concurrent, -1);
    } else if (!work_submit(&api->embeddings, rq)) {
        gauge_add(api->m.concurrent, -1);
    }
}
