/* Opening and checking packed models.
 *
 * The file is mapped and used where it lies; opening copies a few hundred bytes. Invariants:
 *  1. once model_open_bytes passed, no accessor and no encoder can leave the bytes, whatever they hold: the section
 *     table equals the one that model_layout computes from the (bounded) shape, and every id of the tokenizer is a
 *     row of the word table;
 *  2. every f32 that an encoder multiplies with is finite and within MODEL_MAX_STORED, so hostile numbers cannot turn
 *     into undefined conversions. F32 models have their matrices and words looked at only with `verify`: they
 *     multiply without ever converting to integers.
 * Damage is found by the checksum, which reads everything; the start leaves it to `ragd model verify`. */
#include "model/model_format.h"

#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/hash.h"
#include "model/model_int.h"
#include "text/utf8.h"

_Static_assert(sizeof(struct model_header) == 704, "the header is part of the format");
_Static_assert(sizeof(struct model_section) == 24, "the section table is part of the format");

/* ---- layout --------------------------------------------------------------------------------------------- */
static bool prefix_ok(const char p[MODEL_PREFIX_BYTES])
{
    size_t n = strnlen(p, MODEL_PREFIX_BYTES);
    if (n == MODEL_PREFIX_BYTES || !utf8_valid(str_make(p, n)))
        return false;
    while (n < MODEL_PREFIX_BYTES && p[n] == 0)
        n++;
    return n == MODEL_PREFIX_BYTES;
}

bool model_shape_ok(const struct model_shape *s)
{
    return s->arch <= MODEL_XLMR && s->pooling <= MODEL_POOL_CLS && s->weights <= MODEL_F32 && s->normalize <= 1 &&
           s->hidden >= 1 && s->hidden <= MODEL_MAX_HIDDEN && s->layers >= 1 && s->layers <= MODEL_MAX_LAYERS &&
           s->heads >= 1 && s->heads <= s->hidden && s->hidden % s->heads == 0 && s->intermediate >= 1 &&
           s->intermediate <= MODEL_MAX_INTERMEDIATE && s->vocabulary >= 1 &&
           s->vocabulary <= MODEL_MAX_VOCABULARY && s->max_tokens >= MODEL_MIN_TOKENS &&
           s->max_tokens <= MODEL_MAX_TOKENS && s->layer_norm_eps >= 1e-15F && s->layer_norm_eps <= 0.1F &&
           s->reserved == 0 && prefix_ok(s->query_prefix) && prefix_ok(s->passage_prefix);
}

static uint64_t matrix_bytes(const struct model_shape *s, uint32_t n, uint32_t k)
{
    uint64_t pn = gemm_pad_n(n);
    return s->weights == MODEL_F32 ? pn * k * 4 + pn * 4 : pn * gemm_pad_k(k) + pn * 12;
}

uint32_t model_layout(const struct model_shape *s, uint64_t tokenizer_bytes, struct model_section *out,
                      uint64_t *file_bytes)
{
    uint64_t norm = (uint64_t)gemm_pad_n(s->hidden) * 8, words = (uint64_t)s->vocabulary * s->hidden;
    bool f32 = s->weights == MODEL_F32;
    uint32_t n = 0;
#define SECTION(KIND, LAYER, LEN) out[n++] = (struct model_section){(KIND), (LAYER), 0, (LEN)}
    SECTION(MODEL_SEC_MEAN, 0, (uint64_t)s->hidden * 4);
    SECTION(MODEL_SEC_POSITIONS, 0, (uint64_t)s->max_tokens * s->hidden * 4);
    SECTION(MODEL_SEC_NORM, 0, norm);
    for (uint32_t i = 0; i < s->layers; i++) {
        SECTION(MODEL_SEC_QKV, i, matrix_bytes(s, 3 * s->hidden, s->hidden));
        SECTION(MODEL_SEC_ATTENTION_OUT, i, matrix_bytes(s, s->hidden, s->hidden));
        SECTION(MODEL_SEC_ATTENTION_NORM, i, norm);
        SECTION(MODEL_SEC_FFN_IN, i, matrix_bytes(s, s->intermediate, s->hidden));
        SECTION(MODEL_SEC_FFN_OUT, i, matrix_bytes(s, s->hidden, s->intermediate));
        SECTION(MODEL_SEC_FFN_NORM, i, norm);
    }
    SECTION(MODEL_SEC_TOKENIZER, 0, tokenizer_bytes);
    SECTION(MODEL_SEC_WORD_SCALE, 0, f32 ? 0 : (uint64_t)s->vocabulary * 4);
    SECTION(MODEL_SEC_WORD, 0, f32 ? words * 4 : words);
#undef SECTION
    uint64_t off = sizeof(struct model_header) + n * sizeof *out;
    for (uint32_t i = 0; i < n; i++) {
        off = (off + MODEL_ALIGN - 1) / MODEL_ALIGN * MODEL_ALIGN;
        out[i].off = off;
        off += out[i].len;
    }
    *file_bytes = off;
    return n;
}

/* ---- identity ------------------------------------------------------------------------------------------- */
uint64_t model_checksum(const void *bytes, uint64_t len)
{
    struct model_header h;
    memcpy(&h, bytes, sizeof h);
    h.checksum = 0;
    return hash_bytes((const char *)bytes + sizeof h, len - sizeof h, hash_bytes(&h, sizeof h, 0));
}

bool model_digest(const void *bytes, uint8_t digest[32])
{
    const struct model_header *h = bytes;
    const struct model_section *sec = (const void *)((const char *)bytes + sizeof *h);
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool ok = c && EVP_DigestInit_ex(c, EVP_sha256(), NULL) && EVP_DigestUpdate(c, &h->shape, sizeof h->shape);
    for (uint32_t i = 0; ok && i < h->n_sections; i++)
        ok = sec[i].kind == MODEL_SEC_MEAN || /* measured: a few bits of it differ by the kind of CPU */
             (EVP_DigestUpdate(c, &sec[i].kind, sizeof sec[i].kind) &&
              EVP_DigestUpdate(c, &sec[i].layer, sizeof sec[i].layer) &&
              EVP_DigestUpdate(c, &sec[i].len, sizeof sec[i].len) &&
              EVP_DigestUpdate(c, (const char *)bytes + sec[i].off, sec[i].len));
    ok = ok && EVP_DigestFinal_ex(c, digest, NULL);
    EVP_MD_CTX_free(c);
    return ok;
}

bool model_name_ok(const char *name)
{
    size_t n = strlen(name);
    return n >= 1 && n <= 64 && name[0] != '.' && name[0] != '-' &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == n;
}

/* ---- checks --------------------------------------------------------------------------------------------- */
uint64_t model_first_wild(const float *v, uint64_t n, float limit)
{
    for (uint64_t i = 0; i < n; i += 1024) {
        uint64_t end = n - i < 1024 ? n : i + 1024;
        unsigned wild = 0;
        for (uint64_t j = i; j < end; j++)
            wild |= !(fabsf(v[j]) <= limit); /* NaN too */
        for (uint64_t j = i; wild && j < end; j++)
            if (!(fabsf(v[j]) <= limit))
                return j;
    }
    return n;
}

static bool tame(const float *v, uint64_t n)
{
    return model_first_wild(v, n, MODEL_MAX_STORED) == n;
}

static bool norm_ok(const struct layer_norm *x, uint32_t hidden)
{
    return tame(x->gamma, hidden) && tame(x->beta, hidden);
}

/* Sums bounded as real sums are, so that 32-bit accumulators cannot overflow. */
static bool matrix_ok(const struct gemm_matrix *m, bool verify)
{
    uint64_t pn = gemm_pad_n(m->n), pk = gemm_pad_k(m->k);
    if (!tame(m->bias, pn))
        return false;
    if (m->wf)
        return !verify || tame(m->wf, pn * m->k);
    if (!tame(m->scale, pn))
        return false;
    int64_t most = (int64_t)pk * GEMM_WEIGHT_MAX;
    for (uint64_t i = 0; i < pn; i++)
        if (m->sum[i] > most || m->sum[i] < -most)
            return false;
    unsigned wild = 0;
    for (uint64_t i = 0; verify && i < pn * pk; i++)
        wild |= abs(m->w[i]) > GEMM_WEIGHT_MAX;
    return !wild;
}

static bool numbers_ok(const struct model *m, bool verify)
{
    const struct model_info *in = &m->info;
    bool ok = tame(in->mean, in->hidden) && tame(m->position, (uint64_t)in->max_tokens * in->hidden) &&
              norm_ok(&m->embedding_norm, in->hidden) &&
              (m->word ? tame(m->word_scale, in->vocabulary)
                       : !verify || tame(m->word_f32, (uint64_t)in->vocabulary * in->hidden));
    for (uint32_t i = 0; ok && i < in->layers; i++) {
        const struct encoder_layer *l = &m->layers[i];
        ok = matrix_ok(&l->qkv, verify) && matrix_ok(&l->attention_out, verify) &&
             norm_ok(&l->attention_norm, in->hidden) && matrix_ok(&l->ffn_in, verify) &&
             matrix_ok(&l->ffn_out, verify) && norm_ok(&l->ffn_norm, in->hidden);
    }
    return ok;
}

/* Header and section table, before anything else is believed. */
static rag_code header_check(struct str bytes, const char *what, bool verify, struct rag_err *err)
{
    const struct model_header *h = (const void *)bytes.ptr;
    if (bytes.len < sizeof *h || memcmp(h->magic, MODEL_MAGIC, 8) != 0)
        return rag_err_set(err, RAG_ECORRUPT, "model %s: not a packed model: make one with ragd model import", what);
    if (h->version > MODEL_VERSION)
        return rag_err_set(err, RAG_EVERSION, "model %s: format %u is newer than this ragd reads (%d): upgrade ragd",
                           what, h->version, MODEL_VERSION);
    if (h->version != MODEL_VERSION || h->header_bytes != sizeof *h || h->file_bytes != bytes.len)
        return rag_err_set(err, RAG_ECORRUPT, "model %s: truncated or damaged header: import it again", what);
    if (verify && h->checksum != model_checksum(bytes.ptr, bytes.len))
        return rag_err_set(err, RAG_ECORRUPT, "model %s: checksum does not match: import it again", what);
    if (!model_shape_ok(&h->shape) || h->reserved || strnlen(h->name, sizeof h->name) > 64 ||
        !model_name_ok(h->name))
        return rag_err_set(err, RAG_ECORRUPT, "model %s: sizes out of range", what);
    struct model_section want[MODEL_SECTIONS_MAX];
    const struct model_section *got = (const void *)(bytes.ptr + sizeof *h);
    uint32_t n = 6 + MODEL_LAYER_SECTIONS * h->shape.layers;
    uint64_t file_bytes;
    bool ok = h->n_sections == n && bytes.len - sizeof *h >= n * sizeof *got;
    if (ok && got[n - 3].len <= bytes.len) {
        model_layout(&h->shape, got[n - 3].len, want, &file_bytes);
        ok = file_bytes == bytes.len && memcmp(want, got, n * sizeof *got) == 0;
    } else {
        ok = false;
    }
    if (!ok)
        return rag_err_set(err, RAG_ECORRUPT, "model %s: sections out of range", what);
    uint8_t digest[32];
    if (verify && (!model_digest(bytes.ptr, digest) || memcmp(digest, h->digest, sizeof digest) != 0))
        return rag_err_set(err, RAG_ECORRUPT, "model %s: digest does not match: import it again", what);
    return RAG_OK;
}

/* ---- opening -------------------------------------------------------------------------------------------- */
static struct gemm_matrix matrix_at(const char *p, uint32_t n, uint32_t k, bool f32)
{
    struct gemm_matrix m = {.n = n, .k = k};
    size_t pn = gemm_pad_n(n), pk = gemm_pad_k(k);
    if (f32) {
        m.wf = (const void *)p;
        m.bias = (const void *)(p + pn * k * 4);
    } else {
        m.w = (const void *)p;
        m.scale = (const void *)(p + pn * pk);
        m.sum = (const void *)(p + pn * pk + pn * 4);
        m.bias = (const void *)(p + pn * pk + pn * 8);
    }
    return m;
}

static struct layer_norm norm_at(const char *p, uint32_t hidden)
{
    const float *f = (const void *)p;
    return (struct layer_norm){f, f + gemm_pad_n(hidden)};
}

static void point_at_sections(struct model *m, const struct model_header *h)
{
    const struct model_section *sec = (const void *)(m->bytes.ptr + sizeof *h);
    const char *base = m->bytes.ptr;
    uint32_t hidden = h->shape.hidden, inner = h->shape.intermediate, n = h->n_sections;
    bool f32 = h->shape.weights == MODEL_F32;
    m->info.mean = (const void *)(base + sec[0].off);
    m->position = (const void *)(base + sec[1].off);
    m->embedding_norm = norm_at(base + sec[2].off, hidden);
    for (uint32_t i = 0; i < h->shape.layers; i++) {
        const struct model_section *s = sec + 3 + i * MODEL_LAYER_SECTIONS;
        m->layers[i] = (struct encoder_layer){
            .qkv = matrix_at(base + s[0].off, 3 * hidden, hidden, f32),
            .attention_out = matrix_at(base + s[1].off, hidden, hidden, f32),
            .attention_norm = norm_at(base + s[2].off, hidden),
            .ffn_in = matrix_at(base + s[3].off, inner, hidden, f32),
            .ffn_out = matrix_at(base + s[4].off, hidden, inner, f32),
            .ffn_norm = norm_at(base + s[5].off, hidden),
        };
    }
    m->word_scale = f32 ? NULL : (const void *)(base + sec[n - 2].off);
    m->word = f32 ? NULL : (const void *)(base + sec[n - 1].off);
    m->word_f32 = f32 ? (const void *)(base + sec[n - 1].off) : NULL;
}

static void fill_info(struct model_info *in, const struct model_header *h)
{
    const struct model_shape *s = &h->shape;
    *in = (struct model_info){
        .arch = s->arch,
        .pooling = s->pooling,
        .weights = s->weights,
        .normalize = s->normalize != 0,
        .dims = s->hidden,
        .layers = s->layers,
        .heads = s->heads,
        .hidden = s->hidden,
        .intermediate = s->intermediate,
        .vocabulary = s->vocabulary,
        .max_tokens = s->max_tokens,
        .layer_norm_eps = s->layer_norm_eps,
    };
    memcpy(in->name, h->name, sizeof in->name);
    memcpy(in->digest, h->digest, sizeof in->digest);
    memcpy(in->query_prefix, s->query_prefix, sizeof in->query_prefix);
    memcpy(in->passage_prefix, s->passage_prefix, sizeof in->passage_prefix);
}

static rag_code tokenizer_check(struct model *m, const struct model_header *h, const char *what, struct rag_err *err)
{
    const struct model_section *t = (const struct model_section *)(const void *)(m->bytes.ptr + sizeof *h) +
                                    h->n_sections - 3;
    struct rag_err why = {0};
    rag_code rc = tokenizer_open(str_make(m->bytes.ptr + t->off, t->len), &m->tokenizer, &why);
    if (rc)
        return rag_err_set(err, rc, "model %s: tokenizer: %s", what, why.msg[0] ? why.msg : rag_code_name(rc));
    if (tokenizer_vocabulary(m->tokenizer) > h->shape.vocabulary)
        return rag_err_set(err, RAG_ECORRUPT, "model %s: the tokenizer has %u ids, the word table %u rows", what,
                           tokenizer_vocabulary(m->tokenizer), h->shape.vocabulary);
    if (tokenizer_first(m->tokenizer) >= h->shape.vocabulary || tokenizer_last(m->tokenizer) >= h->shape.vocabulary)
        return rag_err_set(err, RAG_ECORRUPT, "model %s: first or last id outside the word table", what);
    return RAG_OK;
}

rag_code model_open_bytes(struct str bytes, const char *what, bool verify, struct model **out, struct rag_err *err)
{
    RAG_ASSERT((uintptr_t)bytes.ptr % MODEL_ALIGN == 0);
    rag_code rc = header_check(bytes, what, verify, err);
    if (rc)
        return rc;
    const struct model_header *h = (const void *)bytes.ptr;
    struct model *m = mem_zalloc(MEM_MODEL, sizeof *m);
    if (m)
        m->layers = mem_zalloc(MEM_MODEL, h->shape.layers * sizeof *m->layers);
    if (!m || !m->layers) {
        model_close(m);
        return rag_err_set(err, RAG_ENOMEM, "model %s: out of memory", what);
    }
    m->bytes = bytes;
    fill_info(&m->info, h);
    point_at_sections(m, h);
    rc = numbers_ok(m, verify) ? tokenizer_check(m, h, what, err)
                               : rag_err_set(err, RAG_ECORRUPT, "model %s: numbers out of range: import it again", what);
    if (rc) {
        model_close(m);
        return rc;
    }
    *out = m;
    return RAG_OK;
}

/* Every text runs through the layers, so they are read ahead; of the word table it touches a row for each token,
 * and reading around those would fill memory with rows of other words. */
static void advise(const struct model *m)
{
    const struct model_header *h = (const void *)m->bytes.ptr;
    const struct model_section *sec = (const void *)(m->bytes.ptr + sizeof *h);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), layers = sec[h->n_sections - 3].off;
    uint64_t words = (sec[h->n_sections - 2].off + page - 1) / page * page;
    char *base = (char *)(uintptr_t)m->map.ptr;
    madvise(base, layers, MADV_WILLNEED);
    if (words < m->map.len)
        madvise(base + words, m->map.len - words, MADV_RANDOM);
}

rag_code model_open(const char *path, bool verify, struct model **out, struct rag_err *err)
{
    struct file_map map = {0};
    rag_code rc = file_map_open(&map, path);
    if (rc == RAG_EINVAL)
        return rag_err_set(err, RAG_ECORRUPT, "model %s: not a file", path);
    if (rc)
        return rag_err_set(err, rc, "model %s: cannot map: %s", path,
                           rc == RAG_ENOTFOUND ? "no such file: see ragd model list" : rag_code_name(rc));
    struct model *m = NULL;
    rc = model_open_bytes(str_make(map.ptr, map.len), path, verify, &m, err);
    if (rc) {
        file_map_clear(&map);
        return rc;
    }
    m->map = map;
    /* A check touched every page; let them be counted again only as texts use them. */
    if (verify)
        madvise((void *)(uintptr_t)map.ptr, map.len, MADV_DONTNEED);
    advise(m);
    *out = m;
    return RAG_OK;
}

void model_close(struct model *m)
{
    if (!m)
        return;
    tokenizer_close(m->tokenizer);
    mem_free(MEM_MODEL, m->layers);
    file_map_clear(&m->map);
    mem_free(MEM_MODEL, m);
}

const struct model_info *model_info(const struct model *m)
{
    return &m->info;
}

const struct tokenizer *model_tokenizer(const struct model *m)
{
    return m->tokenizer;
}

uint64_t model_bytes(const struct model *m)
{
    return m->bytes.len;
}
