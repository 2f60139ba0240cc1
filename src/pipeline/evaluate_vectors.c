/* Passage vectors of an evaluation, kept in a file by model and text, so that a second run embeds nothing.
 *
 * DIR/<first 16 hex digits of the model's digest>.vectors: "RAGDVEC2", the model's digest (32 bytes), dims (u32), rules of
 * the tokens (u32); then records: SHA-256 of the passage's text (first 16 bytes), length (u32), a vector record
 * (pipeline/vector_record.h). Records are appended; half a record at the end (a run that was cut off) is cut away. */
#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "index/list_edit.h"
#include "pipeline/evaluate.h"
#include "pipeline/passage.h"
#include "pipeline/vector_record.h"
#include "sys/cpu.h"
#include "sys/file.h"

enum { KEY = 16, HEAD = KEY + 4, HEADER = 48, STEP = 32, MOST_THREADS = 64 };

struct vector_file {
    char path[4096];
    FILE *f; /* appends; NULL: nothing is kept */
    struct buf bytes;
    struct strset keys; /* id = record, for those that were loaded */
    struct buf at;      /* size_t[]: where their heads are in bytes */
};

static void text_key(struct str text, char key[KEY])
{
    unsigned char md[32];
    unsigned n = 0;
    RAG_ASSERT(EVP_Digest(text.ptr ? text.ptr : "", text.len, md, &n, EVP_sha256(), NULL));
    memcpy(key, md, KEY);
}

static void header_of(const struct model_info *m, uint32_t token_rules, char out[HEADER])
{
    uint32_t dims[2] = {m->dims, token_rules};
    memcpy(out, "RAGDVEC2", 8);
    memcpy(out + 8, m->digest, 32);
    memcpy(out + 40, dims, sizeof dims);
}

static rag_code file_open(struct vector_file *v, const char *dir, const struct model_info *m, uint32_t token_rules,
                          struct rag_err *err)
{
    char want[HEADER], name[17];
    for (int i = 0; i < 8; i++)
        snprintf(name + 2 * i, 3, "%02x", m->digest[i]);
    if (snprintf(v->path, sizeof v->path, "%s/%s.vectors", dir, name) >= (int)sizeof v->path)
        return rag_err_set(err, RAG_ETOOBIG, "%s: path too long", dir);
    rag_code rc = file_mkdirs(dir, 0755);
    if (rc)
        return rag_err_set(err, rc, "%s: cannot create: %s", dir, strerror(errno));
    header_of(m, token_rules, want);
    rc = file_read_all(v->path, (uint64_t)64 << 30, &v->bytes, err);
    if (rc == RAG_ENOTFOUND) {
        buf_add(&v->bytes, want, HEADER);
        rc = buf_failed(&v->bytes) ? RAG_ENOMEM : file_write_atomic(dir, strrchr(v->path, '/') + 1, want, HEADER, err);
    }
    if (!rc && (v->bytes.len < HEADER || memcmp(v->bytes.ptr, want, HEADER) != 0))
        rc = rag_err_set(err, RAG_ECONFLICT, "%s: vectors of another model or other rules, or no vector file: remove it", v->path);
    if (rc)
        return rc;
    size_t end = HEADER;
    for (uint32_t len, n = 0; v->bytes.len - end >= HEAD && !rc; n++) {
        uint32_t id;
        memcpy(&len, v->bytes.ptr + end + KEY, sizeof len);
        if (len > v->bytes.len - end - HEAD)
            break;
        rc = strset_add(&v->keys, str_make(v->bytes.ptr + end, KEY), &id);
        if (!rc && id != n) /* written by two runs at once: numbers and records no longer agree */
            rc = rag_err_set(err, RAG_ECORRUPT, "%s: the same passage twice: remove it", v->path);
        buf_add(&v->at, &end, sizeof end);
        end += HEAD + len;
    }
    if (!rc && buf_failed(&v->at))
        rc = RAG_ENOMEM;
    if (!rc && truncate(v->path, (off_t)end) != 0)
        rc = rag_err_set(err, rag_code_from_errno(errno), "%s: %s", v->path, strerror(errno));
    if (!rc && !(v->f = fopen(v->path, "abe")))
        rc = rag_err_set(err, rag_code_from_errno(errno), "%s: %s", v->path, strerror(errno));
    return rc;
}

static rag_code file_close(struct vector_file *v, struct rag_err *err)
{
    rag_code rc = RAG_OK;
    if (v->f && (ferror(v->f) | fclose(v->f)))
        rc = rag_err_set(err, RAG_EIO, "%s: cannot write", v->path);
    v->f = NULL;
    buf_clear(&v->bytes);
    buf_clear(&v->at);
    strset_clear(&v->keys);
    return rc;
}

static bool file_find(const struct vector_file *v, const char key[KEY], const struct vector_space *space, float *out,
                      struct str *codes)
{
    uint32_t id = v->f ? strset_find(&v->keys, str_make(key, KEY)) : STRSET_NONE, len;
    size_t at;
    if (id == STRSET_NONE || id >= v->at.len / sizeof at)
        return false;
    memcpy(&at, v->at.ptr + id * sizeof at, sizeof at);
    memcpy(&len, v->bytes.ptr + at + KEY, sizeof len);
    return vector_record_read(space, str_make(v->bytes.ptr + at + HEAD, len), out, codes);
}

static void file_add(struct vector_file *v, const char key[KEY], const struct vector_space *space, const float *vec,
                     struct str codes)
{
    struct buf record;
    if (!v->f)
        return;
    buf_init(&record, MEM_INDEX);
    vector_record_write(space, vec, codes, &record);
    uint32_t len = (uint32_t)record.len;
    if (!buf_failed(&record)) {
        fwrite(key, 1, KEY, v->f);
        fwrite(&len, sizeof len, 1, v->f);
        fwrite(record.ptr, 1, record.len, v->f);
    }
    buf_clear(&record);
}

/* ---- embedding a list ---------------------------------------------------------------------------------- */

struct embedding {
    struct encoder_pool *encoders;
    const struct vector_space *space;
    struct token_tools tokens;
    struct segment_list *list;
    struct vector_file file;
    pthread_mutex_t mu; /* all below, and the file */
    uint32_t entry, chunk; /* the next one */
    uint64_t done, embedded, total;
    rag_code code;
    eval_progress *progress;
    void *ctx;
};

struct piece {
    uint32_t entry, chunk;
    struct str text;
    char key[KEY];
};

/* The next chunks whose vectors are not in the file; those that are, are put at once. Under mu. */
static uint32_t take(struct embedding *e, struct arena *a, struct piece *out)
{
    uint32_t n = 0;
    float v[4096];
    while (n < STEP && e->entry < e->list->n && !e->code) {
        const struct list_entry *le = &e->list->e[e->entry];
        if (e->chunk == segment_n_chunks(le->segment)) {
            e->entry++;
            e->chunk = 0;
            continue;
        }
        struct chunk_view view;
        struct buf b;
        buf_init(&b, MEM_TEXT);
        segment_chunk(le->segment, e->chunk, &view);
        struct str text = segment_chunk_text(le->segment, e->chunk, a);
        passage_text(view.title, view.heading_path, text, &b);
        char *copy = buf_failed(&b) || !text.ptr ? NULL : arena_strndup(a, b.ptr ? b.ptr : "", b.len);
        struct piece p = {e->entry, e->chunk, str_make(copy, b.len), {0}};
        buf_clear(&b);
        if (!copy) {
            e->code = RAG_ENOMEM;
            break;
        }
        struct str codes;
        text_key(p.text, p.key);
        if (file_find(&e->file, p.key, e->space, v, &codes)) {
            vector_block_put(le->vectors[0], e->chunk, v, codes);
            e->done++;
        } else {
            out[n++] = p;
        }
        e->chunk++;
    }
    return n;
}

static void *embed_some(void *arg)
{
    struct embedding *e = arg;
    struct arena a = {0};
    struct piece pieces[STEP];
    struct str texts[STEP];
    struct buf codes[STEP];
    struct passage_tokens tokens = {e->tokens, codes};
    struct token_sink sink = passage_tokens_sink(&tokens);
    for (uint32_t i = 0; i < STEP; i++)
        buf_init(&codes[i], MEM_INDEX);
    float *out = mem_alloc(MEM_MODEL, (size_t)STEP * e->space->dims * sizeof *out);
    for (;;) {
        arena_reset(&a);
        pthread_mutex_lock(&e->mu);
        uint32_t n = out ? take(e, &a, pieces) : 0;
        pthread_mutex_unlock(&e->mu);
        if (n == 0)
            break;
        for (uint32_t i = 0; i < n; i++)
            texts[i] = pieces[i].text;
        for (uint32_t i = 0; i < n; i++)
            buf_reset(&codes[i]);
        rag_code rc = encoder_pool_run(e->encoders, ENCODE_PASSAGE, texts, n, NULL, sink.take ? &sink : NULL, out, NULL);
        for (uint32_t i = 0; i < n; i++)
            rc = !rc && buf_failed(&codes[i]) ? RAG_ENOMEM : rc;
        pthread_mutex_lock(&e->mu);
        for (uint32_t i = 0; i < n && !rc; i++) {
            const float *v = out + (size_t)i * e->space->dims;
            struct vector_block *b = e->list->e[pieces[i].entry].vectors[0];
            if (!vector_block_has(b, pieces[i].chunk))
                vector_block_put(b, pieces[i].chunk, v, buf_str(&codes[i]));
            uint32_t id, before = e->file.keys.n;
            if (e->file.f && (rc = strset_add(&e->file.keys, str_make(pieces[i].key, KEY), &id)))
                break;
            if (e->file.keys.n > before)
                file_add(&e->file, pieces[i].key, e->space, v, buf_str(&codes[i]));
        }
        e->code = rc ? rc : e->code;
        e->done += n;
        e->embedded += n;
        if (e->progress)
            e->progress(e->ctx, e->done, e->total);
        pthread_mutex_unlock(&e->mu);
    }
    if (!out) {
        pthread_mutex_lock(&e->mu);
        e->code = RAG_ENOMEM;
        pthread_mutex_unlock(&e->mu);
    }
    for (uint32_t i = 0; i < STEP; i++)
        buf_clear(&codes[i]);
    mem_free(MEM_MODEL, out);
    arena_clear(&a);
    return NULL;
}

/* The same list with empty blocks in slot 0. */
static rag_code add_blocks(struct segment_list **list, const struct vector_space *space)
{
    struct segment_list *next = NULL;
    struct vectors_set *set = mem_alloc(MEM_INDEX, ((size_t)(*list)->n + 1) * sizeof *set);
    rag_code rc = set ? RAG_OK : RAG_ENOMEM;
    uint32_t n = 0;
    for (; n < (*list)->n && !rc; n++) {
        set[n] = (struct vectors_set){.segment = (*list)->e[n].segment, .slot = 0};
        rc = vector_block_new(space, segment_n_chunks(set[n].segment), &set[n].block);
    }
    if (!rc)
        rc = list_edit(*list, &(struct list_change){.set = set, .n_set = n}, &next);
    for (uint32_t i = 0; i < n && set; i++)
        vector_block_unref(set[i].block);
    mem_free(MEM_INDEX, set);
    if (rc)
        return rc;
    list_free(*list);
    *list = next;
    return RAG_OK;
}

rag_code eval_embed(struct segment_list **list, struct encoder_pool *encoders, const struct vector_space *space,
                    struct token_tools tokens, const char *dir, eval_progress *progress, void *ctx, uint64_t *embedded, struct rag_err *err)
{
    struct embedding e = {.encoders = encoders, .space = space, .tokens = tokens, .progress = progress, .ctx = ctx};
    pthread_t threads[MOST_THREADS];
    unsigned n = 0, want = cpu_count();
    buf_init(&e.file.bytes, MEM_INDEX);
    buf_init(&e.file.at, MEM_INDEX);
    strset_init(&e.file.keys, MEM_INDEX, 0);
    rag_code rc = add_blocks(list, space);
    if (!rc && dir)
        rc = file_open(&e.file, dir, model_info(encoder_pool_model(encoders)), space->token_rules, err);
    pthread_mutex_init(&e.mu, NULL);
    e.list = *list;
    e.total = (*list)->n_chunks;
    for (; n < want && n < MOST_THREADS && !rc; n++)
        if (pthread_create(&threads[n], NULL, embed_some, &e))
            break;
    if (!rc && n == 0)
        embed_some(&e);
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&e.mu);
    *embedded = e.embedded;
    rag_code closed = file_close(&e.file, err);
    rc = rc ? rc : e.code ? e.code : closed;
    if (rc && !err->msg[0])
        rag_err_set(err, rc, "embedding: %s", rag_code_name(rc));
    return rc;
}
