#include "model/encoder_int.h"

#include <string.h>

enum { MAX_WINDOWS = 64 }; /* of one text */

rag_code encoder_new(const struct model *m, struct encoder **out)
{
    *out = NULL;
    if (m->info.max_tokens < 3)
        return RAG_EINVAL;
    struct encoder *e = mem_zalloc(MEM_MODEL, sizeof *e);
    if (!e)
        return RAG_ENOMEM;
    e->model = m;
    e->gemm = gemm_kernel();
    e->vec = vec_kernel();
    buf_init(&e->text, MEM_MODEL);
    buf_init(&e->ids, MEM_MODEL);
    buf_init(&e->prefix, MEM_MODEL);
    rag_code rc = tokenizer_scratch_new(&e->tokenizer);
    if (rc) {
        encoder_free(e);
        return rc;
    }
    *out = e;
    return RAG_OK;
}

void encoder_free(struct encoder *e)
{
    if (!e)
        return;
    tokenizer_scratch_free(e->tokenizer);
    buf_clear(&e->text);
    buf_clear(&e->ids);
    buf_clear(&e->prefix);
    mem_free(MEM_MODEL, e->memory);
    mem_free(MEM_MODEL, e);
}

const char *encoder_kernels(void)
{
    return gemm_kernel()->name;
}

/* ---- windows -------------------------------------------------------------------------------------------------
 * ids = prefix, content. Each window is first, prefix, a part of the content, last; the parts overlap by an eighth, and
 * the last one ends with the text and is as long as the others. */
struct plan {
    const uint32_t *prefix, *content;
    uint32_t n_prefix, n_content, room; /* room: content of a window */
    uint32_t windows;
};

static struct plan plan_text(const struct encoder *e)
{
    const uint32_t *ids = (const uint32_t *)(const void *)e->ids.ptr;
    size_t n = e->ids.len / sizeof *ids, n_prefix = e->prefix.len / sizeof *ids;
    uint32_t room = e->model->info.max_tokens - 2;
    /* A prefix that melts into the text, or fills half a window, is only read once. */
    if (n_prefix > room / 2 || n_prefix > n || (n_prefix && memcmp(e->prefix.ptr, ids, e->prefix.len) != 0))
        n_prefix = 0;
    room -= (uint32_t)n_prefix;
    size_t step = room - room / 8, content = n - n_prefix, windows = 1;
    if (content > room)
        windows += (content - room + step - 1) / step;
    if (windows > MAX_WINDOWS) {
        windows = MAX_WINDOWS;
        content = room + (MAX_WINDOWS - 1) * step;
    }
    return (struct plan){.prefix = ids,
                         .content = content ? ids + n_prefix : ids,
                         .n_prefix = (uint32_t)n_prefix,
                         .n_content = (uint32_t)content,
                         .room = room,
                         .windows = (uint32_t)windows};
}

static void add_ids(struct encoder *e, const uint32_t *ids, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        e->tokens[e->n_tokens++] = ids[i] < e->model->info.vocabulary ? ids[i] : 0;
}

static rag_code run_step(struct encoder *e, const atomic_bool *cancel, float *out, uint64_t *n_tokens)
{
    *n_tokens += e->n_tokens;
    rag_code rc = e->n_windows ? encoder_forward(e, cancel, out) : RAG_OK;
    e->n_windows = e->n_tokens = 0;
    return rc;
}

static rag_code add_text(struct encoder *e, uint32_t text, const atomic_bool *cancel, float *out, uint64_t *n_tokens)
{
    struct plan p = plan_text(e);
    uint32_t first = tokenizer_first(e->model->tokenizer), last = tokenizer_last(e->model->tokenizer);
    uint32_t step = p.room - p.room / 8, end = 0;
    for (uint32_t w = 0; w < p.windows; w++) {
        uint32_t before = end, n = p.n_content < p.room ? p.n_content : p.room;
        end = w + 1 < p.windows ? w * step + n : p.n_content;
        uint32_t all = n + p.n_prefix + 2;
        rag_code rc = RAG_OK;
        if (e->n_tokens && (e->n_tokens + all > STEP_TOKENS || e->n_windows == STEP_WINDOWS))
            rc = run_step(e, cancel, out, n_tokens);
        if (!rc)
            rc = encoder_reserve(e, e->n_tokens + all);
        if (rc)
            return rc;
        e->windows[e->n_windows++] = (struct window){
            .first = e->n_tokens,
            .n = all,
            .text = text,
            .weight = p.n_content ? (float)(end - before) / (float)p.n_content : 1,
            .new_from = all - 1 - (end - before)};
        add_ids(e, &first, 1);
        add_ids(e, p.prefix, p.n_prefix);
        if (n)
            add_ids(e, p.content + (end - n), n);
        add_ids(e, &last, 1);
    }
    return RAG_OK;
}

static rag_code tokenize(struct encoder *e, const char *prefix, struct str text)
{
    buf_reset(&e->text);
    buf_reset(&e->ids);
    buf_addz(&e->text, prefix);
    if (text.len)
        buf_adds(&e->text, text);
    if (buf_failed(&e->text))
        return RAG_ENOMEM;
    return tokenizer_encode(e->model->tokenizer, e->tokenizer, buf_str(&e->text), &e->ids);
}

static rag_code run(struct encoder *e, const char *prefix, const struct str *texts, uint32_t n,
                    const atomic_bool *cancel, float *out, uint64_t *n_tokens)
{
    rag_code rc = RAG_OK;
    buf_reset(&e->prefix);
    if (*prefix)
        rc = tokenizer_encode(e->model->tokenizer, e->tokenizer, str_make(prefix, strlen(prefix)), &e->prefix);
    for (uint32_t i = 0; i < n && !rc; i++) {
        rc = tokenize(e, prefix, texts[i]);
        if (!rc)
            rc = add_text(e, i, cancel, out, n_tokens);
    }
    return rc ? rc : run_step(e, cancel, out, n_tokens);
}

rag_code encoder_run_tokens(struct encoder *e, enum encode_kind kind, const struct str *texts, uint32_t n,
                            const atomic_bool *cancel, const struct token_sink *sink, float *out, uint64_t *n_tokens)
{
    const struct model_info *info = &e->model->info;
    const char *prefix = kind == ENCODE_QUERY     ? info->query_prefix
                         : kind == ENCODE_PASSAGE ? info->passage_prefix
                                                  : "";
    uint64_t counted = 0;
    e->sink = sink;
    if (n)
        memset(out, 0, (size_t)n * info->dims * sizeof *out);
    rag_code rc = run(e, prefix, texts, n, cancel, out, &counted);
    e->n_windows = e->n_tokens = 0; /* after an error the step is thrown away */
    if (buf_failed(&e->text) || buf_failed(&e->ids) || buf_failed(&e->prefix)) { /* sticky: start afresh */
        buf_clear(&e->text);
        buf_clear(&e->ids);
        buf_clear(&e->prefix);
    }
    for (uint32_t i = 0; i < n && !rc && info->normalize; i++)
        encoder_normalize(out + (size_t)i * info->dims, info->dims);
    if (n_tokens)
        *n_tokens = counted;
    return rc;
}

rag_code encoder_run(struct encoder *e, enum encode_kind kind, const struct str *texts, uint32_t n,
                     const atomic_bool *cancel, float *out, uint64_t *n_tokens)
{
    return encoder_run_tokens(e, kind, texts, n, cancel, NULL, out, n_tokens);
}
