/* From named tensors to the sections of a packed file. Memory: one matrix in f32 and packed at a time (of q, k and v
 * the three together); tables go through in runs of rows. */
#include "model/import_int.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "kernel/gemm.h"

enum { NAME_BYTES = 160, RUN_BYTES = 1 << 20 };

void import_progress(const struct model_import_options *opt, const char *step, unsigned done, unsigned total)
{
    if (opt->progress)
        opt->progress(opt->ctx, step, done, total);
}

rag_code import_write(const struct import_file *f, uint64_t off, const void *bytes, uint64_t len, struct rag_err *err)
{
    const char *p = bytes;
    while (len) {
        ssize_t n = pwrite(f->fd, p, len, (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return rag_err_set(err, rag_code_from_errno(errno), "%s: cannot write: %s", f->path, strerror(errno));
        p += n;
        off += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return RAG_OK;
}

static rag_code out_of_memory(const struct import_file *f, struct rag_err *err)
{
    return rag_err_set(err, RAG_ENOMEM, "%s: out of memory", f->tensors_path);
}

/* ---- tensors -------------------------------------------------------------------------------------------- */
rag_code import_find_prefix(struct import_file *f, struct rag_err *err)
{
    static const char *const prefixes[] = {"", "bert.", "roberta.", "0.auto_model.", "0.model.", "model."};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "%sembeddings.word_embeddings.weight", prefixes[i]);
        if (safetensors_find(f->tensors, name)) {
            f->prefix = prefixes[i];
            return RAG_OK;
        }
    }
    return rag_err_set(err, RAG_EFORMAT, "%s: no tensor embeddings.word_embeddings.weight: not the weights of such a model",
                       f->tensors_path);
}

/* The tensor of a name, which must be [rows][columns], or [columns] when rows is 0. */
RAG_PRINTF(6, 7)
static rag_code find(const struct import_file *f, uint64_t rows, uint64_t columns, const struct safetensor **out,
                     struct rag_err *err, const char *fmt, ...)
{
    char name[NAME_BYTES];
    va_list ap;
    int n = snprintf(name, sizeof name, "%s", f->prefix);
    va_start(ap, fmt);
    vsnprintf(name + n, sizeof name - (size_t)n, fmt, ap);
    va_end(ap);
    const struct safetensor *t = safetensors_find(f->tensors, name);
    if (!t)
        return rag_err_set(err, RAG_EFORMAT, "%s: tensor %s: missing", f->tensors_path, name);
    if (t->type == SAFETENSOR_OTHER)
        return rag_err_set(err, RAG_EUNSUPPORTED, "%s: tensor %s: %s: only F32, F16 and BF16 are supported: save it again as float32",
                           f->tensors_path, name, t->type_name);
    bool fits = rows ? t->n_dims == 2 && t->shape[0] == rows && t->shape[1] == columns
                     : t->n_dims == 1 && t->shape[0] == columns;
    if (!fits && rows)
        return rag_err_set(err, RAG_EFORMAT, "%s: tensor %s: shape %llu x %llu (%u dimensions), config.json says %llu x %llu",
                           f->tensors_path, name, (unsigned long long)(t->n_dims ? t->shape[0] : 0),
                           (unsigned long long)(t->n_dims > 1 ? t->shape[1] : 0), t->n_dims,
                           (unsigned long long)rows, (unsigned long long)columns);
    if (!fits)
        return rag_err_set(err, RAG_EFORMAT, "%s: tensor %s: shape %llu (%u dimensions), config.json says %llu",
                           f->tensors_path, name, (unsigned long long)(t->n_dims ? t->shape[0] : 0), t->n_dims,
                           (unsigned long long)columns);
    *out = t;
    return RAG_OK;
}

/* Elements as f32, every one a number of this world. */
static rag_code read_floats(const struct import_file *f, const struct safetensor *t, uint64_t first, uint64_t n,
                            float *out, struct rag_err *err)
{
    safetensor_read(t, first, n, out);
    uint64_t wild = model_first_wild(out, n, MODEL_MAX_WEIGHT);
    if (wild < n)
        return rag_err_set(err, RAG_EFORMAT, "%s: tensor %s: element %llu is %g: the weights are damaged", f->tensors_path,
                           t->name, (unsigned long long)(first + wild), (double)out[wild]);
    return RAG_OK;
}

static const struct model_section *section(const struct import_file *f, uint32_t kind, uint32_t layer)
{
    uint32_t i = 0;
    while (i < f->n_sections && (f->sections[i].kind != kind || f->sections[i].layer != layer))
        i++;
    RAG_ASSERT(i < f->n_sections); /* every kind is in the layout */
    return &f->sections[i];
}

/* ---- matrices ------------------------------------------------------------------------------------------- */
struct matrix_source {
    const struct safetensor *w[3], *b[3]; /* stacked: outputs of w[0], of w[1], ... */
    uint32_t n_parts, n_each, k;          /* outputs and inputs of a part */
};

static rag_code pack_matrix(const struct import_file *f, const struct matrix_source *m, const struct model_section *sec,
                            struct rag_err *err)
{
    uint32_t n = m->n_parts * m->n_each, pn = gemm_pad_n(n), k = m->k;
    size_t weights = (size_t)pn * gemm_pad_k(k); /* bytes of the packed ones */
    float *w = mem_alloc(MEM_MODEL, (size_t)n * k * sizeof *w);
    char *packed = mem_zalloc(MEM_MODEL, sec->len);
    rag_code rc = w && packed ? RAG_OK : out_of_memory(f, err);
    float *bias = packed ? (float *)(void *)(packed + sec->len - (size_t)pn * sizeof *bias) : NULL;
    for (uint32_t i = 0; i < m->n_parts && !rc; i++) {
        rc = read_floats(f, m->w[i], 0, (uint64_t)m->n_each * k, w + (size_t)i * m->n_each * k, err);
        if (!rc)
            rc = read_floats(f, m->b[i], 0, m->n_each, bias + (size_t)i * m->n_each, err);
    }
    if (!rc && f->plan->shape.weights == MODEL_F32)
        gemm_pack_f32(w, n, k, (float *)(void *)packed);
    else if (!rc)
        gemm_pack(w, n, k, (int8_t *)packed, (float *)(void *)(packed + weights),
                  (int32_t *)(void *)(packed + weights + (size_t)pn * 4));
    if (!rc)
        rc = import_write(f, sec->off, packed, sec->len, err);
    mem_free(MEM_MODEL, packed);
    mem_free(MEM_MODEL, w);
    return rc;
}

/* A matrix of one weight and one bias named encoder.layer.N.NAME. */
static rag_code pack_dense(const struct import_file *f, uint32_t layer, const char *name, uint32_t kind, uint32_t n,
                           uint32_t k, struct rag_err *err)
{
    struct matrix_source m = {.n_parts = 1, .n_each = n, .k = k};
    rag_code rc = find(f, n, k, &m.w[0], err, "encoder.layer.%u.%s.weight", layer, name);
    if (!rc)
        rc = find(f, 0, n, &m.b[0], err, "encoder.layer.%u.%s.bias", layer, name);
    return rc ? rc : pack_matrix(f, &m, section(f, kind, layer), err);
}

static rag_code pack_qkv(const struct import_file *f, uint32_t layer, struct rag_err *err)
{
    static const char *const parts[] = {"query", "key", "value"};
    uint32_t hidden = f->plan->shape.hidden;
    struct matrix_source m = {.n_parts = 3, .n_each = hidden, .k = hidden};
    rag_code rc = RAG_OK;
    for (int i = 0; i < 3 && !rc; i++) {
        rc = find(f, hidden, hidden, &m.w[i], err, "encoder.layer.%u.attention.self.%s.weight", layer, parts[i]);
        if (!rc)
            rc = find(f, 0, hidden, &m.b[i], err, "encoder.layer.%u.attention.self.%s.bias", layer, parts[i]);
    }
    return rc ? rc : pack_matrix(f, &m, section(f, MODEL_SEC_QKV, layer), err);
}

static rag_code pack_norm(const struct import_file *f, const char *name, uint32_t kind, uint32_t layer,
                          struct rag_err *err)
{
    uint32_t hidden = f->plan->shape.hidden;
    const struct model_section *sec = section(f, kind, layer);
    const struct safetensor *gamma, *beta;
    rag_code rc = find(f, 0, hidden, &gamma, err, "%s.LayerNorm.weight", name);
    if (!rc)
        rc = find(f, 0, hidden, &beta, err, "%s.LayerNorm.bias", name);
    if (rc)
        return rc;
    float *both = mem_zalloc(MEM_MODEL, sec->len);
    if (!both)
        return out_of_memory(f, err);
    rc = read_floats(f, gamma, 0, hidden, both, err);
    if (!rc)
        rc = read_floats(f, beta, 0, hidden, both + gemm_pad_n(hidden), err);
    if (!rc)
        rc = import_write(f, sec->off, both, sec->len, err);
    mem_free(MEM_MODEL, both);
    return rc;
}

static rag_code pack_layer(const struct import_file *f, uint32_t i, struct rag_err *err)
{
    uint32_t hidden = f->plan->shape.hidden, inner = f->plan->shape.intermediate;
    char name[64];
    rag_code rc = pack_qkv(f, i, err);
    if (!rc)
        rc = pack_dense(f, i, "attention.output.dense", MODEL_SEC_ATTENTION_OUT, hidden, hidden, err);
    snprintf(name, sizeof name, "encoder.layer.%u.attention.output", i);
    if (!rc)
        rc = pack_norm(f, name, MODEL_SEC_ATTENTION_NORM, i, err);
    if (!rc)
        rc = pack_dense(f, i, "intermediate.dense", MODEL_SEC_FFN_IN, inner, hidden, err);
    if (!rc)
        rc = pack_dense(f, i, "output.dense", MODEL_SEC_FFN_OUT, hidden, inner, err);
    snprintf(name, sizeof name, "encoder.layer.%u.output", i);
    return rc ? rc : pack_norm(f, name, MODEL_SEC_FFN_NORM, i, err);
}

/* ---- tables --------------------------------------------------------------------------------------------- */
/* Row r of the section is place r of a window: the offset's rows are left out, token type 0 is added in. */
static rag_code pack_positions(const struct import_file *f, struct rag_err *err)
{
    const struct import_plan *p = f->plan;
    uint32_t hidden = p->shape.hidden, rows = p->shape.max_tokens;
    const struct model_section *sec = section(f, MODEL_SEC_POSITIONS, 0);
    const struct safetensor *table, *types;
    rag_code rc = find(f, p->position_rows, hidden, &table, err, "embeddings.position_embeddings.weight");
    if (!rc)
        rc = find(f, p->type_rows, hidden, &types, err, "embeddings.token_type_embeddings.weight");
    if (rc)
        return rc;
    float *v = mem_alloc(MEM_MODEL, sec->len), *type = mem_alloc(MEM_MODEL, hidden * sizeof *type);
    rc = v && type ? RAG_OK : out_of_memory(f, err);
    if (!rc)
        rc = read_floats(f, types, 0, hidden, type, err);
    if (!rc)
        rc = read_floats(f, table, (uint64_t)p->position_offset * hidden, (uint64_t)rows * hidden, v, err);
    for (size_t i = 0; !rc && i < (size_t)rows * hidden; i++)
        v[i] += type[i % hidden];
    if (!rc)
        rc = import_write(f, sec->off, v, sec->len, err);
    mem_free(MEM_MODEL, type);
    mem_free(MEM_MODEL, v);
    return rc;
}

/* Symmetric, to nearest: value = scale * row; a row of zeros has scale 0. */
static float quantise_row(const float *v, uint32_t n, int8_t *out)
{
    float most = 0;
    for (uint32_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(v[i]));
    float scale = most / 127, inverse = most > 1e-30F ? 127 / most : 0;
    for (uint32_t i = 0; i < n; i++)
        out[i] = (int8_t)lrintf(v[i] * inverse);
    return inverse > 0 ? scale : 0;
}

static rag_code pack_words(const struct import_file *f, struct rag_err *err)
{
    const struct model_shape *s = &f->plan->shape;
    uint32_t hidden = s->hidden, run = RUN_BYTES / (hidden * 4), n_words = s->vocabulary;
    const struct model_section *sec = section(f, MODEL_SEC_WORD, 0), *scales = section(f, MODEL_SEC_WORD_SCALE, 0);
    bool f32 = s->weights == MODEL_F32;
    const struct safetensor *t;
    rag_code rc = find(f, n_words, hidden, &t, err, "embeddings.word_embeddings.weight");
    if (rc)
        return rc;
    float *v = mem_alloc(MEM_MODEL, (size_t)run * hidden * sizeof *v);
    int8_t *q = mem_alloc(MEM_MODEL, (size_t)run * hidden);
    float *scale = mem_zalloc(MEM_MODEL, (size_t)n_words * sizeof *scale);
    rc = v && q && scale ? RAG_OK : out_of_memory(f, err);
    for (uint32_t i = 0; i < n_words && !rc; i += run) {
        uint32_t n = n_words - i < run ? n_words - i : run;
        rc = read_floats(f, t, (uint64_t)i * hidden, (uint64_t)n * hidden, v, err);
        for (uint32_t r = 0; r < n && !rc && !f32; r++)
            scale[i + r] = quantise_row(v + (size_t)r * hidden, hidden, q + (size_t)r * hidden);
        uint64_t at = (uint64_t)i * hidden, bytes = (uint64_t)n * hidden;
        if (!rc)
            rc = f32 ? import_write(f, sec->off + at * 4, v, bytes * 4, err) : import_write(f, sec->off + at, q, bytes, err);
        safetensors_release(f->tensors);
    }
    if (!rc)
        rc = import_write(f, scales->off, scale, scales->len, err);
    mem_free(MEM_MODEL, scale);
    mem_free(MEM_MODEL, q);
    mem_free(MEM_MODEL, v);
    return rc;
}

rag_code import_pack(struct import_file *f, struct rag_err *err)
{
    uint32_t layers = f->plan->shape.layers;
    rag_code rc = pack_positions(f, err);
    if (!rc)
        rc = pack_norm(f, "embeddings", MODEL_SEC_NORM, 0, err);
    for (uint32_t i = 0; i < layers && !rc; i++) {
        import_progress(f->opt, "packing layers", i, layers);
        rc = pack_layer(f, i, err);
        safetensors_release(f->tensors);
    }
    if (!rc) {
        import_progress(f->opt, "packing words", 0, 1);
        rc = pack_words(f, err);
    }
    return rc;
}
