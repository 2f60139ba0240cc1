/* The answer of the child, in memory order (both ends are the same program):
 *
 *   "RGX1"  u32 code  u32 message bytes  u32 0  u64 text bytes  u64 block bytes  u64 label bytes  u64 title bytes
 *   message, text, blocks, labels, title
 *
 * The child may have been taken over by the file that it read, so the parent believes nothing: sizes must add up
 * to what arrived, text is valid UTF-8 without control characters, blocks are in order, in range, on character
 * boundaries, of known kinds. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "extract/extract_int.h"
#include "sys/child.h"
#include "text/utf8.h"

struct reply_head {
    char magic[4];
    uint32_t code, msg_len, zero;
    uint64_t text_len, blocks_len, labels_len, title_len;
};
_Static_assert(sizeof(struct reply_head) == 48, "written as it lies in memory");

static const char magic[4] = {'R', 'G', 'X', '1'};

/* --- the child --- */

static rag_code read_all(int fd, uint64_t max, struct buf *b)
{
    for (;;) {
        if (!buf_reserve(b, 1 << 16))
            return RAG_ENOMEM;
        ssize_t n = read(fd, b->ptr + b->len, 1 << 16);
        if (n == 0)
            return RAG_OK;
        if (n < 0 && errno != EINTR)
            return RAG_EIO;
        if (n > 0)
            b->len += (size_t)n;
        if (b->len > max)
            return RAG_ETOOBIG;
    }
}

static bool write_all(int fd, const void *p, size_t n)
{
    const char *c = p;
    while (n) {
        ssize_t k = write(fd, c, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return false;
        c += k;
        n -= (size_t)k;
    }
    return true;
}

static bool limit_arg(const char *s, uint64_t *v)
{
    char *end;
    errno = 0;
    *v = strtoull(s, &end, 10);
    return errno == 0 && *s >= '0' && *s <= '9' && *end == 0 && *v > 0;
}

int extract_child_main(int argc, char **argv)
{
    struct extract_limits lim = extract_default_limits;
    if (argc > 1 && strcmp(argv[1], "extract-child") == 0) { /* called with the program's own argv */
        argc--;
        argv++;
    }
    if (argc < 3 || (argc > 3 && !limit_arg(argv[3], &lim.max_input_bytes)) ||
        (argc > 4 && !limit_arg(argv[4], &lim.max_output_bytes))) {
        fputs("usage: ragd extract-child FORMAT NAME [MAX_INPUT_BYTES [MAX_OUTPUT_BYTES]]\n", stderr);
        return 2;
    }
    struct buf in;
    struct text_doc doc;
    struct rag_err err = {0};
    buf_init(&in, MEM_EXTRACT);
    text_doc_init(&doc);
    rag_code rc = read_all(STDIN_FILENO, lim.max_input_bytes, &in);
    if (rc)
        rag_err_set(&err, rc, "%s: cannot take the input", argv[2]);
    else
        rc = extract_bytes(extract_format_by_name(str_of(argv[1])), buf_str(&in), argv[2], &lim, &doc, &err);
    struct reply_head h = {
        .code = (uint32_t)rc,
        .msg_len = rc ? (uint32_t)strlen(err.msg) : 0,
        .text_len = doc.text.len,
        .blocks_len = doc.blocks.len,
        .labels_len = doc.labels.len,
        .title_len = doc.title.len,
    };
    memcpy(h.magic, magic, sizeof magic);
    bool ok = write_all(STDOUT_FILENO, &h, sizeof h) && write_all(STDOUT_FILENO, err.msg, h.msg_len) &&
              write_all(STDOUT_FILENO, doc.text.ptr, doc.text.len) &&
              write_all(STDOUT_FILENO, doc.blocks.ptr, doc.blocks.len) &&
              write_all(STDOUT_FILENO, doc.labels.ptr, doc.labels.len) &&
              write_all(STDOUT_FILENO, doc.title.ptr, doc.title.len);
    buf_clear(&in);
    text_doc_clear(&doc);
    return ok ? 0 : 1;
}

/* --- the parent --- */

static bool clean_text(struct str s, bool lines)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if ((c < 0x20 && !(lines && (c == '\n' || c == '\t'))) || c == 0x7F)
            return false;
    }
    return utf8_valid(s);
}

static bool on_boundary(const struct buf *b, uint64_t i)
{
    return i == b->len || (i < b->len && ((unsigned char)b->ptr[i] & 0xC0) != 0x80);
}

static bool block_ok(const struct text_doc *d, const struct text_block *b, uint32_t from)
{
    if (b->start < from || b->start >= b->end || b->end > d->text.len || b->kind >= BLOCK_KINDS ||
        b->level > 9)
        return false;
    if (b->kind == BLOCK_HEADING ? b->level == 0 : b->level != 0)
        return false;
    if (b->kind != BLOCK_RECORD && (b->row || b->label_off || b->label_len))
        return false;
    uint64_t label_end = (uint64_t)b->label_off + b->label_len;
    return on_boundary(&d->text, b->start) && on_boundary(&d->text, b->end) && label_end <= d->labels.len &&
           on_boundary(&d->labels, b->label_off) && on_boundary(&d->labels, label_end);
}

static bool doc_ok(const struct text_doc *d)
{
    if (d->text.len > UINT32_MAX || d->blocks.len % sizeof(struct text_block) ||
        !clean_text(buf_str(&d->text), true) || !clean_text(buf_str(&d->labels), false) ||
        !clean_text(buf_str(&d->title), false))
        return false;
    const struct text_block *b = (const struct text_block *)(const void *)d->blocks.ptr;
    uint32_t from = 0;
    for (size_t i = 0; i < d->blocks.len / sizeof *b; i++) {
        if (!block_ok(d, b + i, from))
            return false;
        from = b[i].end;
    }
    return true;
}

/* The next n bytes of the reply, or false. */
static bool take(struct str *s, uint64_t n, struct str *out)
{
    if (n > s->len)
        return false;
    *out = str_make(s->ptr, (size_t)n);
    s->ptr += n;
    s->len -= (size_t)n;
    return true;
}

static rag_code reply_parse(struct str s, const char *name, struct text_doc *out, struct rag_err *err)
{
    struct reply_head h;
    struct str msg, text, blocks, labels, title;
    if (s.len < sizeof h)
        goto nonsense;
    memcpy(&h, s.ptr, sizeof h);
    s.ptr += sizeof h;
    s.len -= sizeof h;
    if (memcmp(h.magic, magic, sizeof magic) != 0 || h.code >= RAG_CODE_COUNT || h.zero ||
        !take(&s, h.msg_len, &msg) || !take(&s, h.text_len, &text) || !take(&s, h.blocks_len, &blocks) ||
        !take(&s, h.labels_len, &labels) || !take(&s, h.title_len, &title) || s.len)
        goto nonsense;
    if (h.code) {
        bool fine = msg.len && msg.len < sizeof err->msg && clean_text(msg, false);
        if (!fine)
            return rag_err_set(err, (rag_code)h.code, "%s: extraction failed", name);
        if (h.code == RAG_ENOMEM) /* of its limit: trying again would not help */
            return rag_err_set(err, RAG_ETOOBIG, "%s: needs too much memory to read", name);
        return rag_err_set(err, (rag_code)h.code, "%.*s", (int)msg.len, msg.ptr);
    }
    buf_adds(&out->text, text);
    buf_adds(&out->blocks, blocks);
    buf_adds(&out->labels, labels);
    buf_adds(&out->title, title);
    if (buf_failed(&out->text) || buf_failed(&out->blocks) || buf_failed(&out->labels) ||
        buf_failed(&out->title))
        return rag_err_set(err, RAG_ENOMEM, "%s: out of memory", name);
    if (doc_ok(out))
        return RAG_OK;
nonsense:
    return rag_err_set(err, RAG_EFORMAT, "%s: the extractor gave no valid answer", name);
}

/* Variables that the loader, the sanitizers and extract_pdf read; nothing else of ours (keys, tokens) reaches the child. */
static void environment_pick(const char **envp, size_t cap)
{
    static const char *const keep[] = {
        "LD_LIBRARY_PATH=", "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "TSAN_OPTIONS=", "RAGD_PDFTOTEXT="};
    size_t n = 0;
    envp[n++] = "LC_ALL=C.UTF-8";
    for (char **e = environ; e && *e; e++)
        for (size_t i = 0; i < sizeof keep / sizeof *keep && n + 1 < cap; i++)
            if (strncmp(*e, keep[i], strlen(keep[i])) == 0)
                envp[n++] = *e;
    envp[n] = NULL;
}

static rag_code end_of(const struct child_result *r, const char *name, struct rag_err *err)
{
    switch (r->end) {
    case CHILD_TIMEOUT: return rag_err_set(err, RAG_ETIMEOUT, "%s: extraction took too long", name);
    case CHILD_OUTPUT: return rag_err_set(err, RAG_ETOOBIG, "%s: too much text", name);
    case CHILD_SIGNALED:
        if (r->status == SIGXCPU)
            return rag_err_set(err, RAG_ETIMEOUT, "%s: extraction took too much CPU time", name);
        return rag_err_set(err, RAG_EFORMAT, "%s: the extractor died of signal %d", name, r->status);
    case CHILD_EXITED: break;
    }
    return r->status == 0
               ? RAG_OK
               : rag_err_set(err, RAG_EFORMAT, "%s: the extractor exited with %d", name, r->status);
}

rag_code extract_in_child(const char *self_exe, enum extract_format f, struct str bytes, const char *name,
                          const struct extract_limits *lim, struct text_doc *out, struct rag_err *err)
{
    char short_name[256], max_in[24], max_out[24];
    const char *envp[16];
    struct buf reply;
    struct child_result res;
    buf_init(&reply, MEM_EXTRACT);
    text_doc_clear(out);
    struct str n = str_of(name ? name : "input");
    n.len = n.len < sizeof short_name ? n.len : utf8_floor(n, sizeof short_name - 1);
    snprintf(short_name, sizeof short_name, "%.*s", (int)n.len, n.ptr);
    if (lim->max_input_bytes && bytes.len > lim->max_input_bytes)
        return rag_err_set(err, RAG_ETOOBIG, "%s: %zu bytes, the limit is %llu", short_name, bytes.len,
                           (unsigned long long)lim->max_input_bytes);
    snprintf(max_in, sizeof max_in, "%llu",
             (unsigned long long)(lim->max_input_bytes ? lim->max_input_bytes : INT64_MAX));
    snprintf(max_out, sizeof max_out, "%llu",
             (unsigned long long)(lim->max_output_bytes ? lim->max_output_bytes : UINT32_MAX / 2));
    environment_pick(envp, sizeof envp / sizeof *envp);
    const char *argv[] = {self_exe, "extract-child", extract_format_name(f), short_name, max_in, max_out,
                          NULL};
    struct child_limits cl = {
        .memory_bytes = lim->max_memory_bytes,
        .output_bytes = lim->max_output_bytes ? lim->max_output_bytes + sizeof(struct reply_head) + 4096 : 0,
        .files = 16,
        .cpu_s = lim->cpu_s,
        .wall_ms = lim->wall_ms,
    };
    rag_code rc = child_run(argv, envp, bytes, &cl, &reply, &res);
    if (rc)
        rag_err_set(err, rc, "%s: cannot run the extractor %s", short_name, self_exe);
    else
        rc = end_of(&res, short_name, err);
    if (!rc)
        rc = reply_parse(buf_str(&reply), short_name, out, err);
    if (rc)
        text_doc_clear(out);
    buf_clear(&reply);
    return rc;
}
