/* The header is parsed once into an array of tensors, sorted by place; a second array of indexes is sorted by name.
 * Nothing of the data is touched before safetensor_read. Sizes in the header are claims of a stranger: products are
 * checked for overflow, and compared with the bytes that are really there, before anything believes them. */
#include "model/safetensors.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/half.h"
#include "base/mem.h"
#include "sys/file.h"

struct safetensors {
    struct file_map map;
    struct safetensor *tensors; /* n, ascending by off */
    struct safetensor **by_name;
    uint32_t n;
    json_t *root; /* owns the names */
};

static size_t type_bytes(const char *name, enum safetensor_type *type)
{
    static const struct {
        char name[8];
        enum safetensor_type type;
        size_t bytes;
    } types[] = {
        {"F32", SAFETENSOR_F32, 4},   {"F16", SAFETENSOR_F16, 2},   {"BF16", SAFETENSOR_BF16, 2},
        {"F64", SAFETENSOR_OTHER, 8}, {"I64", SAFETENSOR_OTHER, 8}, {"U64", SAFETENSOR_OTHER, 8},
        {"I32", SAFETENSOR_OTHER, 4}, {"U32", SAFETENSOR_OTHER, 4}, {"I16", SAFETENSOR_OTHER, 2},
        {"U16", SAFETENSOR_OTHER, 2}, {"I8", SAFETENSOR_OTHER, 1},  {"U8", SAFETENSOR_OTHER, 1},
        {"BOOL", SAFETENSOR_OTHER, 1},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, name) == 0) {
            *type = types[i].type;
            return types[i].bytes;
        }
    *type = SAFETENSOR_OTHER;
    return 0; /* a type of tomorrow, such as F8_E4M3: its size is not ours to check */
}

static bool as_u64(const json_t *v, uint64_t *out)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static rag_code bad(struct rag_err *err, const char *name, const char *why)
{
    return rag_err_set(err, RAG_EFORMAT, "tensor %.100s: %s", name, why);
}

/* data: the bytes after the header; data_off: their place in the file. */
static rag_code tensor_parse(const char *name, json_t *v, struct str data, uint64_t data_off, struct safetensor *t,
                             struct rag_err *err)
{
    const char *type = json_string_value(json_object_get(v, "dtype"));
    json_t *shape = json_object_get(v, "shape"), *offsets = json_object_get(v, "data_offsets");
    if (!type || !json_is_array(shape) || !json_is_array(offsets) || json_array_size(offsets) != 2)
        return bad(err, name, "no dtype, shape or data_offsets");
    *t = (struct safetensor){.name = name};
    if (snprintf(t->type_name, sizeof t->type_name, "%s", type) >= (int)sizeof t->type_name)
        return bad(err, name, "a dtype of no known kind");
    if (json_array_size(shape) > SAFETENSORS_MAX_DIMS)
        return bad(err, name, "more than 8 dimensions");
    size_t n = 1, bytes, size = type_bytes(type, &t->type);
    t->n_dims = (uint32_t)json_array_size(shape);
    for (uint32_t d = 0; d < t->n_dims; d++)
        if (!as_u64(json_array_get(shape, d), &t->shape[d]) || !size_mul_ok(n, t->shape[d], &n))
            return bad(err, name, "its shape is no size of this world");
    uint64_t begin, end;
    if (!as_u64(json_array_get(offsets, 0), &begin) || !as_u64(json_array_get(offsets, 1), &end) || begin > end ||
        end > data.len)
        return bad(err, name, "its data_offsets are outside the file: truncated download?");
    if (size && (!size_mul_ok(n, size, &bytes) || bytes != end - begin))
        return bad(err, name, "its shape does not match its data_offsets");
    t->n = n;
    t->data = data.ptr + begin;
    t->off = data_off + begin;
    return RAG_OK;
}

static int by_place(const void *a, const void *b)
{
    const struct safetensor *x = a, *y = b;
    return (x->off > y->off) - (x->off < y->off);
}

static int by_name(const void *a, const void *b)
{
    const struct safetensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static uint64_t end_of(const struct safetensors *st, uint32_t i)
{
    enum safetensor_type type;
    size_t size = type_bytes(st->tensors[i].type_name, &type);
    return st->tensors[i].off + st->tensors[i].n * size; /* of no size: counts as a point */
}

static rag_code header_parse(struct safetensors *st, struct str data, uint64_t data_off, struct rag_err *err)
{
    size_t most = json_object_size(st->root);
    if (most > SAFETENSORS_MAX_TENSORS)
        return rag_err_set(err, RAG_ETOOBIG, "%zu tensors, more than %d", most, SAFETENSORS_MAX_TENSORS);
    st->tensors = mem_zalloc(MEM_MODEL, most * sizeof *st->tensors);
    st->by_name = mem_zalloc(MEM_MODEL, most * sizeof *st->by_name);
    if (!st->tensors || !st->by_name)
        return rag_err_set(err, RAG_ENOMEM, "out of memory");
    const char *name;
    json_t *v;
    json_object_foreach(st->root, name, v)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        rag_code rc = tensor_parse(name, v, data, data_off, &st->tensors[st->n], err);
        if (rc)
            return rc;
        st->n++;
    }
    if (st->n)
        qsort(st->tensors, st->n, sizeof *st->tensors, by_place);
    uint64_t end = 0;
    for (uint32_t i = 0; i < st->n; i++) {
        if (st->tensors[i].n && st->tensors[i].off < end)
            return bad(err, st->tensors[i].name, "its bytes are those of another tensor too");
        if (end_of(st, i) > end)
            end = end_of(st, i);
        st->by_name[i] = &st->tensors[i];
    }
    if (st->n)
        qsort(st->by_name, st->n, sizeof *st->by_name, by_name);
    return RAG_OK;
}

rag_code safetensors_open_bytes(struct str bytes, struct safetensors **out, struct rag_err *err)
{
    uint64_t len;
    if (bytes.len < sizeof len)
        return rag_err_set(err, RAG_EFORMAT, "not a safetensors file: %zu bytes", bytes.len);
    memcpy(&len, bytes.ptr, sizeof len);
    if (len > SAFETENSORS_MAX_HEADER)
        return rag_err_set(err, RAG_EFORMAT, "not a safetensors file: a header of %llu bytes", (unsigned long long)len);
    if (len > bytes.len - sizeof len)
        return rag_err_set(err, RAG_EFORMAT, "the header ends outside the file: truncated download?");
    struct safetensors *st = mem_zalloc(MEM_MODEL, sizeof *st);
    if (!st)
        return rag_err_set(err, RAG_ENOMEM, "out of memory");
    json_error_t why;
    st->root = json_loadb(bytes.ptr + sizeof len, len, JSON_REJECT_DUPLICATES, &why);
    struct str data = str_make(bytes.ptr + sizeof len + len, bytes.len - sizeof len - len);
    rag_code rc;
    if (!json_is_object(st->root))
        rc = rag_err_set(err, RAG_EFORMAT, "its header is not a JSON object: %s", st->root ? "another value" : why.text);
    else
        rc = header_parse(st, data, sizeof len + len, err);
    if (rc) {
        safetensors_close(st);
        return rc;
    }
    *out = st;
    return RAG_OK;
}

rag_code safetensors_open(const char *path, struct safetensors **out, struct rag_err *err)
{
    struct file_map map = {0};
    struct rag_err why = {0};
    rag_code rc = file_map_open(&map, path);
    if (rc)
        return rag_err_set(err, rc, "%s: cannot map: %s", path, rag_code_name(rc));
    rc = safetensors_open_bytes(str_make(map.ptr, map.len), out, &why);
    if (rc) {
        file_map_clear(&map);
        return rag_err_set(err, rc, "%s: %s", path, why.msg);
    }
    (*out)->map = map;
    return RAG_OK;
}

void safetensors_close(struct safetensors *st)
{
    if (!st)
        return;
    mem_free(MEM_MODEL, st->tensors);
    mem_free(MEM_MODEL, st->by_name);
    json_decref(st->root);
    file_map_clear(&st->map);
    mem_free(MEM_MODEL, st);
}

uint32_t safetensors_count(const struct safetensors *st)
{
    return st->n;
}

const struct safetensor *safetensors_at(const struct safetensors *st, uint32_t i)
{
    RAG_ASSERT(i < st->n);
    return &st->tensors[i];
}

const struct safetensor *safetensors_find(const struct safetensors *st, const char *name)
{
    struct safetensor key = {.name = name}, *p = &key;
    struct safetensor *const *hit = st->n ? bsearch(&p, st->by_name, st->n, sizeof *st->by_name, by_name) : NULL;
    return hit ? *hit : NULL;
}

void safetensor_read(const struct safetensor *t, uint64_t first, uint64_t n, float *out)
{
    RAG_ASSERT(t->type != SAFETENSOR_OTHER && first <= t->n && n <= t->n - first);
    if (t->type == SAFETENSOR_F32) {
        memcpy(out, (const char *)t->data + first * 4, n * 4);
        return;
    }
    const char *p = (const char *)t->data + first * 2;
    for (uint64_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + i * 2, sizeof h);
        uint32_t bits = (uint32_t)h << 16; /* a bfloat16 is the upper half of an f32 */
        if (t->type == SAFETENSOR_F16)
            out[i] = half_to_float(h);
        else
            memcpy(&out[i], &bits, sizeof bits);
    }
}

void safetensors_release(const struct safetensors *st)
{
    if (st->map.len)
        madvise((void *)(uintptr_t)st->map.ptr, st->map.len, MADV_DONTNEED);
}
