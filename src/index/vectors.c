/* Vector blocks: filling, copying, writing, mapping. Memory and file have one layout: a block is written as it is.
 *
 * Why two planes: the first pass of a search reads only the upper 4 bits of every row, which is half the memory
 * traffic of int8 and the wall of a scan; the lower plane is read for the few rows that are scored exactly.
 *
 * Why `alongs`: a question points mostly along the mean (cosine .9), so most of its product with the rounding errors
 * of a row comes from there. The row's true component along the mean is kept (4 bytes), and only the rest of the
 * question meets the rounded row. Measured on crud-news-100k (multilingual-e5-small, 384 dimensions, 300
 * questions, against exact float, copies counted as different): recall@10 of int8 .977 without and .987 with it, and
 * the upper plane needs half the candidates. Tried there and not worth their code: a random rotation (.988), a
 * least-squares scale (.986); a scale clipped at .9 of the largest component loses (.975).
 *
 * Invariants: 1. a row's bytes are written before its bit in `present` (release) and never after; 2. bits behind
 * the last row are never set; 3. a mapped block is not written. */
#include "index/vectors_int.h"

#include <math.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/hash.h"
#include "base/mem.h"
#include "index/token_code.h"

/* No unit vector minus the mean of unit vectors has a longer component; files are held to it. */
static const float MOST = 4;

static bool section(size_t *at, size_t n, size_t size, size_t *off)
{
    size_t bytes;
    *off = *at;
    if (!size_mul_ok(n, size, &bytes) || !size_add_ok(bytes, VECTORS_ALIGN - 1, &bytes))
        return false;
    return size_add_ok(*at, bytes / VECTORS_ALIGN * VECTORS_ALIGN, at);
}

bool vectors_layout(uint32_t dims, uint32_t rows, struct vec_layout *out)
{
    size_t at = sizeof(struct vec_header);
    out->row_bytes = ((size_t)dims + 2 * VECTORS_ALIGN - 1) / (2 * VECTORS_ALIGN) * VECTORS_ALIGN;
    bool fits =
        section(&at, bitmap_words(rows), sizeof(uint64_t), &out->present) &&
        section(&at, rows, sizeof(float), &out->scales) && section(&at, rows, sizeof(float), &out->alongs) &&
        section(&at, rows, out->row_bytes, &out->upper) && section(&at, rows, out->row_bytes, &out->lower) &&
        section(&at, rows, sizeof(uint64_t), &out->token_ends);
    out->bytes = at;
    return fits;
}

uint64_t vectors_checksum(const char *base, size_t len)
{
    struct vec_header h;
    memcpy(&h, base, sizeof h);
    h.checksum = 0;
    return hash_bytes(base + sizeof h, len - sizeof h, hash_bytes(&h, sizeof h, 0));
}

uint64_t vectors_mean_hash(const struct vector_space *space)
{
    return hash_bytes(space->mean, (size_t)space->dims * sizeof *space->mean, 0);
}

/* Points into the bytes; the header's sizes have been checked. */
static struct vector_block *block_alloc(const char *base, const struct vec_layout *l,
                                        const struct vector_space *space)
{
    struct vector_block *b = mem_zalloc(MEM_INDEX, sizeof *b);
    if (!b)
        return NULL;
    atomic_init(&b->refs, 1);
    b->base = base;
    b->len = l->bytes;
    b->token_ends = (const void *)(base + l->token_ends);
    b->row_bytes = l->row_bytes;
    b->space = *space;
    b->h = (const void *)base;
    b->present = (const void *)(base + l->present);
    b->scales = (const void *)(base + l->scales);
    b->alongs = (const void *)(base + l->alongs);
    b->upper = (const void *)(base + l->upper);
    b->lower = (const void *)(base + l->lower);
    double sum = 0;
    for (uint32_t i = 0; i < space->dims; i++)
        sum += (double)space->mean[i] * (double)space->mean[i];
    b->mean_norm = sqrt(sum);
    atomic_init(&b->n_present, b->h->present);
    return b;
}

/* Memory for len bytes on a 64-byte boundary inside *owned. NULL when out of memory. */
static char *aligned_alloc_in(size_t len, char **owned)
{
    size_t n;
    *owned = size_add_ok(len, VECTORS_ALIGN - 1, &n) ? mem_zalloc(MEM_INDEX, n) : NULL;
    if (!*owned)
        return NULL;
    return *owned + (VECTORS_ALIGN - (uintptr_t)*owned % VECTORS_ALIGN) % VECTORS_ALIGN;
}

rag_code vector_block_new(const struct vector_space *space, uint32_t n_rows, struct vector_block **out)
{
    struct vec_layout l;
    char *owned;
    if (space->dims == 0 || space->dims > VECTOR_MAX_DIMS)
        return RAG_EINVAL;
    char *base = vectors_layout(space->dims, n_rows, &l) ? aligned_alloc_in(l.bytes, &owned) : NULL;
    if (!base)
        return RAG_ENOMEM;
    struct vec_header h = {.version = VECTORS_VERSION,
                           .header_bytes = sizeof h,
                           .file_bytes = l.bytes,
                           .mean_hash = vectors_mean_hash(space),
                           .dims = space->dims,
                           .rows = n_rows};
    memcpy(h.magic, VECTORS_MAGIC, sizeof h.magic);
    memcpy(h.digest, space->digest, sizeof h.digest);
    memcpy(base, &h, sizeof h);
    struct vector_block *b = block_alloc(base, &l, space);
    if (!b) {
        mem_free(MEM_INDEX, owned);
        return RAG_ENOMEM;
    }
    b->owned = owned;
    *out = b;
    size_t rows_bytes = 0;
    if (space->token_rules && (!size_mul_ok((size_t)n_rows + 1, sizeof *b->tokens, &rows_bytes) ||
                               !(b->tokens = mem_zalloc(MEM_INDEX, rows_bytes)))) {
        vector_block_unref(b);
        return RAG_ENOMEM;
    }
    return RAG_OK;
}

struct vector_block *vector_block_ref(struct vector_block *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

static void run_unref(struct token_run *r)
{
    if (r && atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) == 1)
        mem_free(MEM_INDEX, r);
}

void vector_block_unref(struct vector_block *b)
{
    if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < b->h->rows && b->tokens; i++)
        run_unref(b->tokens[i].run);
    mem_free(MEM_INDEX, b->tokens);
    for (uint32_t i = 0; i < b->n_sources; i++)
        vector_block_unref(b->sources[i]);
    mem_free(MEM_INDEX, b->sources);
    file_map_clear(&b->map);
    mem_free(MEM_INDEX, b->owned);
    mem_free(MEM_INDEX, b);
}

/* ---- rows ------------------------------------------------------------------------------------------------ */

/* The place of a section's bytes in a block's own memory. */
static void *own(struct vector_block *b, const void *in)
{
    return b->owned + ((const char *)in - b->owned);
}

static void row_is_there(struct vector_block *b, uint32_t row)
{
    _Atomic uint64_t *word = own(b, (const void *)(b->present + row / 64));
    atomic_fetch_or_explicit(word, (uint64_t)1 << (row % 64), memory_order_release);
    atomic_fetch_add_explicit(&b->n_present, 1, memory_order_relaxed);
}

static uint32_t quantised(float x)
{
    float v = x < 0 ? x - .5f : x + .5f; /* half away from zero */
    return (uint32_t)((v > 127 ? 127 : v < -127 ? -127 : (int)v) + 128);
}

static void put_tokens(struct vector_block *b, uint32_t row, struct str codes)
{
    size_t size = token_code_bytes(b->space.dims);
    if (!b->tokens || codes.len == 0 || codes.len % size || codes.len / size > VECTOR_MAX_TOKENS)
        return;
    struct token_run *r = mem_alloc(MEM_INDEX, sizeof *r + codes.len);
    if (!r)
        return;
    atomic_init(&r->refs, 1);
    memcpy(r->bytes, codes.ptr, codes.len);
    b->tokens[row] = (struct token_row){str_make(r->bytes, codes.len), r};
    atomic_fetch_add_explicit(&b->token_bytes, codes.len, memory_order_relaxed);
}

/* Keeps `from` as long as b. */
static bool hold_source(struct vector_block *b, const struct vector_block *from)
{
    for (uint32_t i = 0; i < b->n_sources; i++)
        if (b->sources[i] == from)
            return true;
    struct vector_block **more = mem_realloc(MEM_INDEX, b->sources, (b->n_sources + 1) * sizeof *more);
    if (!more)
        return false;
    b->sources = more;
    more[b->n_sources++] = vector_block_ref((struct vector_block *)(uintptr_t)from);
    return true;
}

static void share_tokens(struct vector_block *b, uint32_t row, const struct vector_block *from, uint32_t from_row)
{
    if (!b->tokens) /* and `from` may be being sealed on another thread */
        return;
    struct str codes = vector_block_tokens(from, from_row);
    if (codes.len == 0)
        return;
    struct token_run *run = from->tokens ? from->tokens[from_row].run : NULL;
    if (run) {
        atomic_fetch_add_explicit(&run->refs, 1, memory_order_relaxed);
    } else { /* in a file: that of `from`, or the one that `from` has them from */
        const struct vector_block *in = from;
        for (uint32_t i = 0; i < from->n_sources; i++)
            if (codes.ptr >= (const char *)from->sources[i]->map.ptr &&
                codes.ptr < (const char *)from->sources[i]->map.ptr + from->sources[i]->map.len)
                in = from->sources[i];
        if (!hold_source(b, in))
            return;
    }
    b->tokens[row] = (struct token_row){codes, run};
    atomic_fetch_add_explicit(&b->token_bytes, codes.len, memory_order_relaxed);
}

struct str vector_block_tokens(const struct vector_block *b, uint32_t row)
{
    if (b->tokens)
        return b->tokens[row].codes;
    if (!b->h->token_bytes)
        return str_make(NULL, 0);
    uint64_t from = row ? b->token_ends[row - 1] : 0;
    return str_make(b->base + b->len + from, (size_t)(b->token_ends[row] - from));
}

void vector_block_put(struct vector_block *b, uint32_t row, const float *v, struct str tokens)
{
    RAG_ASSERT(b->owned && row < b->h->rows && !vector_block_has(b, row));
    uint32_t dims = b->space.dims;
    const float *mean = b->space.mean;
    float most = 0;
    double along = 0, sum = 0;
    for (uint32_t i = 0; i < dims; i++) {
        float r = v[i] - mean[i];
        most = fabsf(r) > most ? fabsf(r) : most;
        along += (double)r * (double)mean[i];
        sum += (double)v[i];
    }
    along = b->mean_norm > 0 ? along / b->mean_norm : 0;
    bool sane =
        isfinite(sum) && most < MOST && fabs(along) < (double)MOST; /* a NaN would slip through `most` */
    float scale = sane ? most / 127 : 0, inverse = scale > 0x1p-60f ? 1 / scale : 0;
    uint8_t *upper = own(b, b->upper + row * b->row_bytes), *lower = own(b, b->lower + row * b->row_bytes);
    memset(upper, 8 << 4 | 8, b->row_bytes); /* zeros: 128 = 16 * 8 + 0 */
    memset(lower, 0, b->row_bytes);
    for (uint32_t i = 0; i < dims && inverse > 0; i++) {
        uint32_t q = quantised((v[i] - mean[i]) * inverse);
        size_t j = i % b->row_bytes;
        unsigned shift = i < b->row_bytes ? 0 : 4;
        upper[j] = (uint8_t)((upper[j] & 0xf0u >> shift) | q >> 4 << shift);
        lower[j] = (uint8_t)(lower[j] | (q & 15) << shift);
    }
    *(float *)own(b, b->scales + row) = inverse > 0 ? scale : 0;
    *(float *)own(b, b->alongs + row) = sane ? (float)along : 0;
    put_tokens(b, row, tokens);
    row_is_there(b, row);
}

void vector_block_copy(struct vector_block *b, uint32_t row, const struct vector_block *from,
                       uint32_t from_row)
{
    RAG_ASSERT(b->owned && row < b->h->rows && !vector_block_has(b, row) && vector_block_has(from, from_row));
    RAG_ASSERT(b->space.dims == from->space.dims && b->h->mean_hash == from->h->mean_hash);
    memcpy(own(b, b->upper + row * b->row_bytes), from->upper + from_row * b->row_bytes, b->row_bytes);
    memcpy(own(b, b->lower + row * b->row_bytes), from->lower + from_row * b->row_bytes, b->row_bytes);
    *(float *)own(b, b->scales + row) = from->scales[from_row];
    *(float *)own(b, b->alongs + row) = from->alongs[from_row];
    share_tokens(b, row, from, from_row);
    row_is_there(b, row);
}

bool vector_block_has(const struct vector_block *b, uint32_t row)
{
    return row < b->h->rows &&
           (atomic_load_explicit(&b->present[row / 64], memory_order_acquire) >> (row % 64) & 1);
}

uint32_t vector_block_missing(const struct vector_block *b, const uint64_t *live)
{
    uint32_t n = 0;
    for (size_t i = 0; i < bitmap_words(b->h->rows); i++)
        n += (uint32_t)__builtin_popcountll(live[i] &
                                            ~atomic_load_explicit(&b->present[i], memory_order_acquire));
    return n;
}

uint32_t vector_block_rows(const struct vector_block *b)
{
    return b->h->rows;
}

uint32_t vector_block_present(const struct vector_block *b)
{
    return atomic_load_explicit(&b->n_present, memory_order_relaxed);
}

uint64_t vector_block_bytes(const struct vector_block *b)
{
    return b->len;
}

uint64_t vector_block_token_bytes(const struct vector_block *b)
{
    return b->tokens ? atomic_load_explicit(&b->token_bytes, memory_order_relaxed) : b->h->token_bytes;
}

bool vector_block_is_file(const struct vector_block *b)
{
    return b->map.ptr != NULL;
}

/* ---- files ----------------------------------------------------------------------------------------------- */

/* Fills token_ends and the header of a block in memory, which readers never look at; parts[1 ..] become the rows' codes. */
static void seal(const struct vector_block *b, struct str *parts)
{
    struct vec_header *h = (struct vec_header *)(void *)(b->owned + (b->base - b->owned));
    uint64_t *ends = (uint64_t *)(void *)(b->owned + ((const char *)b->token_ends - b->owned)), end = 0, sum = 0;
    for (uint32_t r = 0; r < h->rows; r++) {
        struct str codes = vector_block_has(b, r) ? vector_block_tokens(b, r) : str_make(NULL, 0);
        parts[1 + r] = codes;
        end += codes.len;
        ends[r] = end;
        sum = codes.len ? hash_bytes(codes.ptr, codes.len, sum) : sum;
    }
    h->token_rules = b->space.token_rules;
    h->token_bytes = end;
    h->tokens_checksum = sum;
    h->file_bytes = b->len + end;
    h->present = vector_block_present(b);
    h->checksum = vectors_checksum(b->base, b->len);
}

rag_code vector_block_write(const struct vector_block *b, const char *dir, const char *name,
                            struct vector_block **out, struct rag_err *err)
{
    size_t n = 1 + (b->owned ? b->h->rows : 0);
    struct str *parts = mem_zalloc(MEM_INDEX, n * sizeof *parts);
    if (!parts)
        return rag_err_set(err, RAG_ENOMEM, "vectors %s: out of memory", name);
    if (b->owned)
        seal(b, parts);
    parts[0] = b->owned ? str_make(b->base, b->len) : str_make(b->map.ptr, b->map.len);
    rag_code rc = file_write_atomic_parts(dir, name, parts, n, err);
    mem_free(MEM_INDEX, parts);
    if (rc)
        return rc;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return vector_block_open(path, &b->space, b->h->rows, out, err);
}

/* Header and size; *l is what they say. */
static rag_code header_check(const char *base, size_t len, const char *name, struct vec_layout *l,
                             struct rag_err *err)
{
    const struct vec_header *h = (const void *)base;
    if (len < sizeof *h || memcmp(h->magic, VECTORS_MAGIC, sizeof h->magic) != 0)
        return rag_err_set(err, RAG_ECORRUPT, "vectors %s: not a vector file", name);
    if (h->version > VECTORS_VERSION)
        return rag_err_set(err, RAG_EVERSION, "vectors %s: format %u is newer than this ragd reads (%d)",
                           name, h->version, VECTORS_VERSION);
    if (h->version < VECTORS_VERSION)
        return rag_err_set(err, RAG_EVERSION, "vectors %s: format %u of an older ragd", name, h->version);
    if (h->header_bytes != sizeof *h || h->file_bytes != len || h->dims == 0 || h->dims > VECTOR_MAX_DIMS ||
        !vectors_layout(h->dims, h->rows, l) || l->bytes > len || h->token_bytes != len - l->bytes)
        return rag_err_set(err, RAG_ECORRUPT, "vectors %s: truncated or damaged header", name);
    if (h->checksum != vectors_checksum(base, l->bytes))
        return rag_err_set(err, RAG_ECORRUPT, "vectors %s: checksum does not match", name);
    return RAG_OK;
}

/* What a search relies on: no row beyond the last, and numbers that stay finite in every score. */
static bool rows_ok(const char *base, const struct vec_layout *l)
{
    const struct vec_header *h = (const void *)base;
    const uint64_t *present = (const void *)(base + l->present);
    const float *scales = (const void *)(base + l->scales), *alongs = (const void *)(base + l->alongs);
    size_t count = bitmap_count(present, h->rows);
    if (count != h->present || (h->rows % 64 && present[h->rows / 64] >> (h->rows % 64)))
        return false;
    for (uint32_t i = 0; i < h->rows; i++)
        if (!(scales[i] >= 0 && scales[i] < MOST) || !(fabsf(alongs[i]) < MOST))
            return false;
    const uint64_t *ends = (const void *)(base + l->token_ends);
    size_t code = token_code_bytes(h->dims);
    for (uint32_t i = 0; i < h->rows; i++) {
        uint64_t from = i ? ends[i - 1] : 0;
        if (ends[i] < from || ends[i] > h->token_bytes || (ends[i] - from) % code ||
            (ends[i] - from) / code > VECTOR_MAX_TOKENS)
            return false;
    }
    return h->rows ? ends[h->rows - 1] == h->token_bytes : h->token_bytes == 0;
}

rag_code vector_file_verify(const char *path, struct rag_err *err)
{
    struct file_map map = {0};
    struct vec_layout l;
    rag_code rc = file_map_open(&map, path);
    if (rc)
        return rag_err_set(err, rc, "vectors %s: cannot map", path);
    const struct vec_header *h = map.ptr;
    rc = header_check(map.ptr, map.len, path, &l, err);
    if (!rc && !rows_ok(map.ptr, &l))
        rc = rag_err_set(err, RAG_ECORRUPT, "vectors %s: values out of range", path);
    const char *codes = rc ? NULL : (const char *)map.ptr + l.bytes;
    const uint64_t *ends = rc ? NULL : (const void *)((const char *)map.ptr + l.token_ends);
    uint64_t sum = 0, from = 0;
    for (uint32_t r = 0; !rc && r < h->rows; from = ends[r++])
        sum = ends[r] > from ? hash_bytes(codes + from, ends[r] - from, sum) : sum;
    if (!rc && sum != h->tokens_checksum)
        rc = rag_err_set(err, RAG_ECORRUPT, "vectors %s: the checksum of the tokens does not match", path);
    file_map_clear(&map);
    return rc;
}

static rag_code block_check(const char *base, size_t len, const struct vector_space *space, uint32_t n_rows,
                            const char *name, struct vec_layout *l, struct rag_err *err)
{
    rag_code rc = header_check(base, len, name, l, err);
    if (rc)
        return rc;
    const struct vec_header *h = (const void *)base;
    if (!rows_ok(base, l))
        return rag_err_set(err, RAG_ECORRUPT, "vectors %s: values out of range", name);
    if (memcmp(h->digest, space->digest, sizeof h->digest) != 0 || h->dims != space->dims ||
        h->mean_hash != vectors_mean_hash(space))
        return rag_err_set(err, RAG_ECONFLICT, "vectors %s: made by another model", name);
    if (h->rows != n_rows)
        return rag_err_set(err, RAG_ECONFLICT, "vectors %s: of another segment", name);
    if (space->token_rules && h->token_rules != space->token_rules)
        return rag_err_set(err, RAG_ECONFLICT, "vectors %s: without the tokens that reranking wants", name);
    return RAG_OK;
}

/* The check touched every page. A search reads the upper plane whole: it may stay; the lower one is counted again
 * only as rows of it are used. */
static void forget_lower(const char *base, const struct vec_layout *l)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), from = (l->lower + page - 1) / page * page;
    if (from < l->bytes)
        madvise((void *)(uintptr_t)(base + from), l->bytes - from, MADV_DONTNEED);
}

rag_code vector_block_open(const char *path, const struct vector_space *space, uint32_t n_rows,
                           struct vector_block **out, struct rag_err *err)
{
    struct file_map map = {0};
    struct vec_layout l;
    rag_code rc = file_map_open(&map, path);
    if (rc)
        return rag_err_set(err, rc, "vectors %s: cannot map", path);
    rc = block_check(map.ptr, map.len, space, n_rows, path, &l, err);
    struct vector_block *b = rc ? NULL : block_alloc(map.ptr, &l, space);
    if (!rc && !b)
        rc = rag_err_set(err, RAG_ENOMEM, "vectors %s: out of memory", path);
    if (rc) {
        file_map_clear(&map);
        return rc;
    }
    forget_lower(map.ptr, &l);
    b->map = map;
    *out = b;
    return RAG_OK;
}

rag_code vector_block_open_bytes(struct str bytes, const struct vector_space *space, uint32_t n_rows,
                                 struct vector_block **out, struct rag_err *err)
{
    struct vec_layout l;
    char *owned, *base = aligned_alloc_in(bytes.len, &owned);
    if (!base)
        return RAG_ENOMEM;
    if (bytes.len)
        memcpy(base, bytes.ptr, bytes.len);
    rag_code rc = block_check(base, bytes.len, space, n_rows, "(memory)", &l, err);
    struct vector_block *b = rc ? NULL : block_alloc(base, &l, space);
    if (!rc && !b)
        rc = RAG_ENOMEM;
    if (rc) {
        mem_free(MEM_INDEX, owned);
        return rc;
    }
    b->owned = owned;
    *out = b;
    return RAG_OK;
}
