/* Importing a model folder: read the plan, pack the tensors, open the result, average vectors of our own texts, seal.
 *
 * The file is built under its name with ".tmp" behind, locked, and renamed when it is whole and on the disk. A second
 * import of the same name meets the lock; what a killed one left is overwritten. The space is taken first, so that a
 * full disk says so before the work is done.
 *
 * The mean vector. Vectors of one encoder share a large part whatever the text; the index subtracts it before it
 * quantises and adds it back exactly, so any mean is correct and a good one costs fewer bits. It is computed here, over
 * texts that belong to the program. Kernels of different CPUs round differently on the way, so an import on another kind
 * of CPU gives a slightly other mean. The model's digest leaves it out: the vectors are the same, and what was quantised
 * with another mean (vector companions) is made again from the vectors of record.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/encoder.h"
#include "model/import_int.h"
#include "model/model_int.h"
#include "model/tokenizer_json.h"
#include "sys/file.h"

enum { TEXT_BATCH = 16 };

/* ---- inputs --------------------------------------------------------------------------------------------- */
static bool exists(const char *dir, const char *file)
{
    char path[4096];
    struct stat st;
    return !import_path(path, dir, file, NULL) && stat(path, &st) == 0;
}

static rag_code open_tensors(const char *dir, char *path, struct safetensors **out, struct rag_err *err)
{
    rag_code rc = import_path(path, dir, "model.safetensors", err);
    if (rc)
        return rc;
    if (exists(dir, "model.safetensors"))
        return safetensors_open(path, out, err);
    static const char again[] = "save it again with transformers: "
                                "AutoModel.from_pretrained(DIR).save_pretrained(NEW, max_shard_size='100GB')";
    if (exists(dir, "model.safetensors.index.json"))
        return rag_err_set(err, RAG_EUNSUPPORTED, "%s: the weights are in several files: %s", dir, again);
    if (exists(dir, "pytorch_model.bin") || exists(dir, "pytorch_model.bin.index.json"))
        return rag_err_set(err, RAG_EUNSUPPORTED, "%s: only pytorch_model.bin, which can run code when it is read: %s", dir,
                           again);
    return rag_err_set(err, RAG_ENOTFOUND, "%s: missing", path);
}

static rag_code read_tokenizer(const char *dir, uint32_t vocabulary, struct buf *block, struct rag_err *err)
{
    char path[4096];
    struct buf json;
    struct rag_err why = {0};
    struct tokenizer *t = NULL;
    struct stat st;
    rag_code rc = import_path(path, dir, "tokenizer.json", err);
    if (rc)
        return rc;
    if (stat(path, &st) != 0)
        return rag_err_set(err, RAG_ENOTFOUND,
                           "%s: missing: save it with transformers: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)",
                           path);
    if (!S_ISREG(st.st_mode))
        return rag_err_set(err, RAG_EFORMAT, "%s: not a file", path);
    buf_init(&json, MEM_MODEL);
    rc = file_read_all(path, TOKENIZER_JSON_MAX, &json, err);
    if (!rc) {
        rc = tokenizer_from_json(buf_str(&json), block, &why);
        if (!rc)
            rc = tokenizer_open(buf_str(block), &t, &why);
        static const char said[] = "tokenizer.json: "; /* the path says it already */
        const char *msg = why.msg + (strncmp(why.msg, said, sizeof said - 1) == 0 ? sizeof said - 1 : 0);
        if (rc)
            rag_err_set(err, rc, "%s: %s", path, msg[0] ? msg : rag_code_name(rc));
    }
    if (!rc && tokenizer_vocabulary(t) > vocabulary)
        rc = rag_err_set(err, RAG_EFORMAT, "%s: %u ids, but config.json has a vocab_size of %u", path,
                         tokenizer_vocabulary(t), vocabulary);
    tokenizer_close(t);
    buf_clear(&json);
    return rc;
}

/* ---- the file ------------------------------------------------------------------------------------------- */
static rag_code disk_error(struct rag_err *err, int e, const char *path, uint64_t bytes)
{
    if (e == ENOSPC || e == EDQUOT)
        return rag_err_set(err, RAG_ENOSPC, "%s: disk full: it needs %llu MB", path,
                           (unsigned long long)(bytes >> 20) + 1);
    return rag_err_set(err, rag_code_from_errno(e), "%s: cannot write: %s", path, strerror(e));
}

/* Opens and locks the temporary file. The lock is on the inode: when the file was renamed or removed between open and
 * lock, it is another's result by now, and the next attempt makes a new one. */
static rag_code open_temp(const char *path, uint64_t bytes, int *out, struct rag_err *err)
{
    for (int attempt = 0; attempt < 100; attempt++) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
            return disk_error(err, errno, path, bytes);
        struct stat a, b;
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            close(fd);
            return rag_err_set(err, RAG_ECONFLICT, "%s: another import is writing it: wait until it has ended", path);
        }
        if (fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev) {
            int e = ftruncate(fd, 0) ? errno : 0;
            if (!e && fallocate(fd, 0, 0, (off_t)bytes) != 0 && errno != EOPNOTSUPP && errno != ENOSYS)
                e = errno;
            if (!e && ftruncate(fd, (off_t)bytes) != 0)
                e = errno;
            if (e) {
                unlink(path);
                close(fd);
                return disk_error(err, e, path, bytes);
            }
            *out = fd;
            return RAG_OK;
        }
        close(fd);
    }
    return rag_err_set(err, RAG_ECONFLICT, "%s: other imports keep replacing it", path);
}

/* ---- the mean ------------------------------------------------------------------------------------------- */
/* Passage i: each sentence alone, then each with one some places further on of the same half of the list. */
static void make_text(uint32_t i, struct buf *out)
{
    uint32_t n = import_n_texts, a = i % n, half = n / 2;
    buf_reset(out);
    buf_addz(out, import_texts[a]);
    if (i < n)
        return;
    uint32_t first = a < half ? 0 : half, b = first + (a - first + 7) % half;
    buf_addc(out, ' ');
    buf_addz(out, import_texts[b]);
}

static rag_code encode_batch(struct encoder *e, uint32_t first, uint32_t n, struct buf *texts, float *v, double *sum,
                             uint32_t dims)
{
    struct str s[TEXT_BATCH];
    for (uint32_t i = 0; i < n; i++) {
        make_text(first + i, &texts[i]);
        s[i] = buf_str(&texts[i]);
        if (buf_failed(&texts[i]))
            return RAG_ENOMEM;
    }
    rag_code rc = encoder_run(e, ENCODE_PASSAGE, s, n, NULL, v, NULL);
    for (size_t i = 0; !rc && i < (size_t)n * dims; i++)
        sum[i % dims] += (double)v[i];
    return rc;
}

static rag_code compute_mean(const struct model *m, const struct model_import_options *opt, float *mean,
                             struct rag_err *err)
{
    uint32_t dims = model_info(m)->dims, n = 2 * import_n_texts;
    struct buf texts[TEXT_BATCH];
    struct encoder *e = NULL;
    float *v = mem_alloc(MEM_MODEL, (size_t)TEXT_BATCH * dims * sizeof *v);
    double *sum = mem_zalloc(MEM_MODEL, dims * sizeof *sum);
    for (int i = 0; i < TEXT_BATCH; i++)
        buf_init(&texts[i], MEM_MODEL);
    rag_code rc = v && sum ? encoder_new(m, &e) : RAG_ENOMEM;
    for (uint32_t i = 0; i < n && !rc; i += TEXT_BATCH) {
        import_progress(opt, "averaging vectors", i, n);
        rc = encode_batch(e, i, n - i < TEXT_BATCH ? n - i : TEXT_BATCH, texts, v, sum, dims);
    }
    for (uint32_t d = 0; d < dims && !rc; d++) {
        mean[d] = (float)(sum[d] / n);
        if (!(fabsf(mean[d]) <= MODEL_MAX_STORED))
            rc = rag_err_set(err, RAG_EFORMAT, "the model's vectors are not finite: its weights are damaged");
    }
    if (rc == RAG_ENOMEM)
        rag_err_set(err, rc, "out of memory");
    else if (rc && rc != RAG_EFORMAT)
        rag_err_set(err, rc, "cannot encode: %s", rag_code_name(rc));
    for (int i = 0; i < TEXT_BATCH; i++)
        buf_clear(&texts[i]);
    encoder_free(e);
    mem_free(MEM_MODEL, sum);
    mem_free(MEM_MODEL, v);
    return rc;
}

/* ---- all of it ------------------------------------------------------------------------------------------ */
/* The packed file is complete but for the mean, digest and checksum, which come from the file itself. */
static rag_code seal(struct import_file *f, struct model_header *h, struct rag_err *err)
{
    struct model *m = NULL;
    rag_code rc = model_open(f->path, false, &m, err);
    if (rc)
        return rc;
    float *mean = mem_zalloc(MEM_MODEL, f->sections[0].len);
    rc = mean ? compute_mean(m, f->opt, mean, err) : rag_err_set(err, RAG_ENOMEM, "%s: out of memory", f->path);
    if (!rc)
        rc = import_write(f, f->sections[0].off, mean, f->sections[0].len, err);
    import_progress(f->opt, "checking", 0, 1);
    if (!rc && !model_digest(m->bytes.ptr, h->digest)) /* the mapping shows what was written */
        rc = rag_err_set(err, RAG_EIO, "%s: cannot compute its digest", f->path);
    if (!rc)
        rc = import_write(f, 0, h, sizeof *h, err);
    if (!rc) {
        h->checksum = model_checksum(m->bytes.ptr, m->bytes.len);
        rc = import_write(f, 0, h, sizeof *h, err);
    }
    mem_free(MEM_MODEL, mean);
    model_close(m);
    return rc;
}

static rag_code fill(struct import_file *f, struct model_header *h, struct str tokenizer, struct rag_err *err)
{
    rag_code rc = import_write(f, 0, h, sizeof *h, err);
    if (!rc)
        rc = import_write(f, sizeof *h, f->sections, f->n_sections * sizeof *f->sections, err);
    if (!rc)
        rc = import_write(f, f->sections[f->n_sections - 3].off, tokenizer.ptr, tokenizer.len, err);
    if (!rc)
        rc = import_pack(f, err);
    return rc ? rc : seal(f, h, err);
}

/* Durable under its name, or gone. */
static rag_code publish(const struct import_file *f, const char *path, struct rag_err *err)
{
    char dir[4096];
    if (fsync(f->fd) || rename(f->path, path))
        return disk_error(err, errno, path, f->sections[f->n_sections - 1].off);
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir] = 0;
    rag_code rc = file_sync_dir(slash ? dir : ".");
    return rc ? rag_err_set(err, rc, "%s: cannot sync the folder", path) : RAG_OK;
}

static rag_code write_file(struct import_file *f, const struct import_plan *plan, struct str tokenizer,
                           const char *path, struct rag_err *err)
{
    struct model_section sections[MODEL_SECTIONS_MAX];
    struct model_header h = {.magic = MODEL_MAGIC, .version = MODEL_VERSION, .header_bytes = sizeof h};
    char temp[4096];
    memcpy(h.name, plan->name, strlen(plan->name));
    h.shape = plan->shape;
    h.n_sections = model_layout(&plan->shape, tokenizer.len, sections, &h.file_bytes);
    if (snprintf(temp, sizeof temp, "%s.tmp", path) >= (int)sizeof temp)
        return rag_err_set(err, RAG_ETOOBIG, "%.100s...: path too long", path);
    rag_code rc = open_temp(temp, h.file_bytes, &f->fd, err);
    if (rc)
        return rc;
    f->path = temp;
    f->plan = plan;
    f->sections = sections;
    f->n_sections = h.n_sections;
    rc = fill(f, &h, tokenizer, err);
    if (!rc)
        rc = publish(f, path, err);
    if (rc == RAG_ENOSPC)
        disk_error(err, ENOSPC, path, h.file_bytes);
    if (rc)
        unlink(temp); /* while the lock is held: it is ours */
    close(f->fd);
    return rc;
}

static rag_code check_folder(const char *dir, const char *name, struct rag_err *err)
{
    struct stat st;
    if (name && !model_name_ok(name))
        return rag_err_param(err, RAG_EINVAL, "name", "model name %.80s: not 1 to 64 of A-Z a-z 0-9 _ . -", name);
    if (stat(dir, &st) != 0)
        return rag_err_set(err, rag_code_from_errno(errno), "%s: %s", dir, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return rag_err_set(err, RAG_EFORMAT, "%s: not a folder: name the one that holds config.json", dir);
    return RAG_OK;
}

rag_code model_import_name(const char *dir, const char *name, char out[65], struct rag_err *err)
{
    struct import_plan plan;
    rag_code rc = check_folder(dir, name, err);
    if (!rc)
        rc = import_plan(dir, name, MODEL_INT8, &plan, err);
    if (!rc)
        memcpy(out, plan.name, sizeof plan.name);
    return rc;
}

rag_code model_import(const char *dir, const struct model_import_options *opt, const char *path, struct rag_err *err)
{
    static const struct model_import_options defaults = {.weights = MODEL_INT8};
    struct import_plan plan;
    struct safetensors *tensors = NULL;
    struct buf tokenizer;
    char tensors_path[4096];
    opt = opt ? opt : &defaults;
    rag_code rc = check_folder(dir, opt->name, err);
    if (rc)
        return rc;
    import_progress(opt, "reading", 0, 1);
    buf_init(&tokenizer, MEM_MODEL);
    rc = import_plan(dir, opt->name, opt->weights, &plan, err);
    if (!rc && !model_shape_ok(&plan.shape))
        rc = rag_err_set(err, RAG_EFORMAT, "%s/config.json: sizes out of range", dir);
    if (!rc)
        rc = open_tensors(dir, tensors_path, &tensors, err);
    struct import_file f = {.opt = opt, .tensors = tensors, .tensors_path = tensors_path};
    if (!rc)
        rc = import_find_prefix(&f, err);
    if (!rc)
        rc = read_tokenizer(dir, plan.shape.vocabulary, &tokenizer, err);
    if (!rc)
        rc = write_file(&f, &plan, buf_str(&tokenizer), path, err);
    if (!rc)
        import_progress(opt, "done", 1, 1);
    safetensors_close(tensors);
    buf_clear(&tokenizer);
    return rc;
}
