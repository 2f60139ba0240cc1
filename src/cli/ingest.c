/* Producer and workers: the main thread walks folders or reads lines into a bounded queue; each worker reads and
 * extracts files and hands them on in batches, to the writer of the folder or as requests to the server that holds
 * it. A batch is as large as what is waiting, so that one commit pays for many files and a slow pipe is not held up. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/request_json.h"
#include "cli/cli.h"
#include "cli/walk.h"
#include "daemon/open.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "text/utf8.h"
#include "wire/json_in.h"
#include "wire/json_out.h"

enum {
    QUEUE_ITEMS = 512,
    QUEUE_BYTES = 32 << 20,
    BATCH_ITEMS = 256,
    BATCH_BYTES = 4 << 20,
    MAX_LINE = 64 << 20,
    SEND_TIMEOUT_MS = 600000,
    MAX_INGEST_WORKERS = 8,
    REMOTE_WORKERS = 4
};

struct item {
    const char *path;      /* of a file: the walk's; of a line: the item's own */
    const char *real_path; /* NULL: a line */
    char *line;
    size_t line_len;
};

struct failure {
    const char *path, *reason;
};

struct ingest {
    struct cli_house *house;
    const char *collection, *self_exe;
    struct extract_limits limits;

    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t more, room;
    struct item queue[QUEUE_ITEMS];
    uint32_t at, n;
    size_t bytes;
    bool closed;

    uint64_t total, done, added, updated, unchanged, failed, chunks;
    struct arena arena;
    struct buf failures; /* struct failure[] */
};

/* ---- results ------------------------------------------------------------------------------------------- */
static void failed(struct ingest *in, const char *path, const char *reason)
{
    pthread_mutex_lock(&in->mu);
    in->failed++;
    in->done++;
    struct failure f = {arena_strndup(&in->arena, path, strlen(path)),
                        arena_strndup(&in->arena, reason, strlen(reason))};
    if (f.path && f.reason)
        BUF_ADD_VALUE(&in->failures, f);
    pthread_mutex_unlock(&in->mu);
}

static void succeeded(struct ingest *in, enum store_put_result put, uint64_t chunks)
{
    pthread_mutex_lock(&in->mu);
    in->done++;
    in->added += put == STORE_ADDED;
    in->updated += put == STORE_UPDATED;
    in->unchanged += put == STORE_UNCHANGED;
    in->chunks += put == STORE_UNCHANGED ? 0 : chunks;
    pthread_mutex_unlock(&in->mu);
}

/* ---- the queue ----------------------------------------------------------------------------------------- */
static void queue_put(struct ingest *in, const struct item *item)
{
    pthread_mutex_lock(&in->mu);
    while (in->n == QUEUE_ITEMS || (in->n && in->bytes + item->line_len > QUEUE_BYTES))
        pthread_cond_wait(&in->room, &in->mu);
    in->queue[(in->at + in->n++) % QUEUE_ITEMS] = *item;
    in->bytes += item->line_len;
    pthread_cond_signal(&in->more);
    pthread_mutex_unlock(&in->mu);
}

static void queue_close(struct ingest *in)
{
    pthread_mutex_lock(&in->mu);
    in->closed = true;
    pthread_cond_broadcast(&in->more);
    pthread_mutex_unlock(&in->mu);
}

/* 1: *item is the next; 0: none now (wait false) ; -1: closed and empty. */
static int queue_take(struct ingest *in, bool wait, struct item *item)
{
    int got = 0;
    pthread_mutex_lock(&in->mu);
    while (wait && in->n == 0 && !in->closed)
        pthread_cond_wait(&in->more, &in->mu);
    if (in->n) {
        *item = in->queue[in->at];
        in->at = (in->at + 1) % QUEUE_ITEMS;
        in->n--;
        in->bytes -= item->line_len;
        got = 1;
        pthread_cond_signal(&in->room);
    } else if (in->closed) {
        got = -1;
    }
    pthread_mutex_unlock(&in->mu);
    return got;
}

static void item_clear(struct item *item)
{
    if (!item->line)
        return;
    free(item->line);
    mem_free(MEM_MISC, (char *)(uintptr_t)item->path);
}

/* For a worker that cannot start: its share must not be lost silently. */
static void fail_all(struct ingest *in)
{
    struct item item;
    while (queue_take(in, true, &item) > 0) {
        failed(in, item.path, "out of memory");
        item_clear(&item);
    }
}

/* ---- into the folder ----------------------------------------------------------------------------------- */
struct batch {
    struct arena arena; /* strings of docs */
    struct doc_input docs[BATCH_ITEMS];
    struct doc_result results[BATCH_ITEMS];
    const char *paths[BATCH_ITEMS];
    uint32_t n;
    size_t bytes;
};

static void batch_apply(struct ingest *in, struct batch *b)
{
    if (b->n == 0)
        return;
    struct job job = {.kind = JOB_PUT,
                      .collection = str_of(in->collection),
                      .docs = b->docs,
                      .results = b->results,
                      .n = b->n};
    rag_code rc;
    while ((rc = knowledge_apply(in->house->knowledge, &job)) == RAG_EBUSY)
        usleep(10000);
    for (uint32_t i = 0; i < b->n; i++) {
        const struct doc_result *r = &b->results[i];
        const struct rag_err *e = rc ? &job.err : &r->err;
        rag_code code = rc ? rc : r->code;
        if (code)
            failed(in, b->paths[i], e->msg[0] ? e->msg : rag_code_name(code));
        else
            succeeded(in, r->put, r->n_chunks);
        text_doc_clear(&b->docs[i].doc);
    }
    arena_reset(&b->arena);
    b->n = 0;
    b->bytes = 0;
}

static struct str copy(struct arena *a, struct str s)
{
    return str_make(arena_strndup(a, s.len ? s.ptr : "", s.len), s.len);
}

/* The next free slot, its strings empty. The caller counts it by ++b->n once it is good. */
static struct doc_input *batch_slot(struct batch *b, const char *path)
{
    struct doc_input *d = &b->docs[b->n];
    *d = (struct doc_input){0};
    b->results[b->n] = (struct doc_result){0};
    b->paths[b->n] = copy(&b->arena, str_of(path)).ptr;
    if (!b->paths[b->n])
        b->paths[b->n] = "?";
    text_doc_init(&d->doc);
    return d;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The path as valid UTF-8: bad bytes become U+FFFD. */
static void add_readable(struct buf *out, const char *path)
{
    struct str s = str_of(path);
    for (size_t i = 0; i < s.len;) {
        char enc[4];
        buf_add(out, enc, utf8_encode(utf8_next(s, &i), enc));
    }
}

/* Plain text is not parsed, so it needs no child; the server does the same. */
static rag_code extract(struct ingest *in, enum extract_format f, struct str bytes, const char *name,
                        struct text_doc *out, struct rag_err *err)
{
    return f == FORMAT_TEXT ? extract_bytes(f, bytes, name, &in->limits, out, err)
                            : extract_in_child(in->self_exe, f, bytes, name, &in->limits, out, err);
}

static void file_into_batch(struct ingest *in, const struct item *item, struct batch *b)
{
    struct buf bytes, id, source;
    struct rag_err err = {0};
    buf_init(&bytes, MEM_EXTRACT);
    buf_init(&id, MEM_MISC);
    buf_init(&source, MEM_MISC);
    struct doc_input *d = batch_slot(b, item->path);
    cli_document_id(&id, item->real_path);
    add_readable(&source, item->real_path);
    rag_code rc = file_read_all(item->real_path, in->limits.max_input_bytes, &bytes, &err);
    if (!rc)
        rc =
            extract(in, extract_format_of(item->path), buf_str(&bytes), base_name(item->path), &d->doc, &err);
    d->id = copy(&b->arena, buf_str(&id));
    d->source = copy(&b->arena, buf_str(&source));
    if (!rc && (!d->id.ptr || !d->source.ptr || buf_failed(&id) || buf_failed(&source)))
        rc = RAG_ENOMEM;
    if (rc) {
        failed(in, item->path, err.msg[0] ? err.msg : rag_code_name(rc));
        text_doc_clear(&d->doc);
    } else {
        b->bytes += d->doc.text.len;
        b->n++;
    }
    buf_clear(&source);
    buf_clear(&id);
    buf_clear(&bytes);
}

/* A line as POST .../documents takes it, checked by the same code. Strings live in `a`. */
static rag_code line_to_doc(struct ingest *in, struct str line, struct arena *a, struct doc_input *d,
                            struct rag_err *err)
{
    struct document_in *doc = NULL;
    uint32_t n;
    bool batch;
    rag_code rc = documents_from_json(line, MAX_LINE, a, &doc, &n, &batch, err);
    if (rc)
        return rc;
    if (batch)
        return rag_err_set(err, RAG_EINVAL, "one document a line, not {\"documents\": [...]}");
    if (doc->code) {
        *err = doc->err;
        return doc->code;
    }
    enum extract_format f = doc->format.len ? extract_format_by_name(doc->format) : FORMAT_TEXT;
    if (f == FORMAT_UNKNOWN)
        return rag_err_param(err, RAG_EUNSUPPORTED, "format", "unknown format %.*s", (int)doc->format.len,
                             doc->format.ptr);
    d->id = doc->id;
    d->title = doc->title;
    d->source = doc->source;
    d->metadata_json = doc->metadata_json;
    return extract(in, f, doc->text, "", &d->doc, err);
}

static void line_into_batch(struct ingest *in, const struct item *item, struct batch *b)
{
    struct rag_err err = {0};
    struct doc_input *d = batch_slot(b, item->path);
    rag_code rc = line_to_doc(in, str_make(item->line, item->line_len), &b->arena, d, &err);
    if (rc) {
        failed(in, item->path, err.msg[0] ? err.msg : rag_code_name(rc));
        text_doc_clear(&d->doc);
    } else {
        b->bytes += d->doc.text.len;
        b->n++;
    }
}

static void work_local(struct ingest *in)
{
    struct batch *b = mem_zalloc(MEM_MISC, sizeof *b);
    struct item item;
    if (!b) {
        fail_all(in);
        return;
    }
    for (int got; (got = queue_take(in, b->n == 0, &item)) >= 0 || b->n;) {
        if (got > 0) {
            if (item.real_path)
                file_into_batch(in, &item, b);
            else
                line_into_batch(in, &item, b);
            item_clear(&item);
        }
        if (got <= 0 || b->n == BATCH_ITEMS || b->bytes >= BATCH_BYTES)
            batch_apply(in, b);
    }
    arena_clear(&b->arena);
    mem_free(MEM_MISC, b);
}

/* ---- to the server ------------------------------------------------------------------------------------- */
struct remote {
    struct ingest *in;
    struct http_client *client;
    struct http_reply reply;
    char url[128];
    struct buf body;             /* {"documents":[line,line */
    char paths[BATCH_ITEMS][32]; /* of the lines */
    uint32_t n;
};

/* One document's result: {"status", "chunks"} or {"status":"failed","error"}. */
static void take_result(struct ingest *in, const char *path, const json_t *o, const char *otherwise)
{
    const char *status = json_string_value(json_object_get(o, "status"));
    const char *why = json_string_value(json_object_get(json_object_get(o, "error"), "message"));
    uint64_t chunks = (uint64_t)json_integer_value(json_object_get(o, "chunks"));
    if (status && strcmp(status, "added") == 0)
        succeeded(in, STORE_ADDED, chunks);
    else if (status && strcmp(status, "updated") == 0)
        succeeded(in, STORE_UPDATED, chunks);
    else if (status && strcmp(status, "unchanged") == 0)
        succeeded(in, STORE_UNCHANGED, chunks);
    else
        failed(in, path, why ? why : otherwise);
}

/* Sends until the answer is not 503: the server is at its limit and says so, and nothing is lost by asking again. */
static rag_code send_patiently(struct remote *r, const struct http_part *parts, uint32_t n_parts,
                               struct rag_err *err)
{
    rag_code rc;
    for (unsigned tries = 0;; tries++) {
        if (tries)
            usleep(200000U * tries);
        rc = parts ? http_client_upload(r->client, r->url, parts, n_parts, SEND_TIMEOUT_MS, &r->reply, err)
                   : http_client_send(r->client, "POST", r->url, "application/json", buf_str(&r->body),
                                      SEND_TIMEOUT_MS, &r->reply, err);
        if (rc || r->reply.status != 503 || tries == 9)
            return rc;
    }
}

static void reason_of(const struct remote *r, rag_code rc, const struct rag_err *err, char *why, size_t size)
{
    if (rc)
        snprintf(why, size, "%s", err->msg[0] ? err->msg : rag_code_name(rc));
    else
        cli_reply_message(&r->reply, why, size);
}

static void send_lines(struct remote *r)
{
    if (r->n == 0)
        return;
    struct rag_err err = {0};
    char why[512];
    buf_addz(&r->body, "]}");
    rag_code rc = buf_failed(&r->body) ? RAG_ENOMEM : send_patiently(r, NULL, 0, &err);
    reason_of(r, rc, &err, why, sizeof why);
    json_t *o =
        !rc && r->reply.status == 200 ? json_loadb(r->reply.body.ptr, r->reply.body.len, 0, NULL) : NULL;
    const json_t *results = json_object_get(o, "results");
    for (uint32_t i = 0; i < r->n; i++)
        take_result(r->in, r->paths[i], json_array_get(results, i), why);
    json_decref(o);
    r->n = 0;
    buf_clear(&r->body);
}

/* Only whole JSON goes into a batch, so that a bad line is its own failure. */
static void add_line(struct remote *r, const struct item *item)
{
    struct rag_err err = {0};
    json_t *o = NULL;
    rag_code rc = json_in_parse(str_make(item->line, item->line_len), MAX_LINE, &o, &err);
    json_decref(o);
    if (rc) {
        failed(r->in, item->path, err.msg[0] ? err.msg : rag_code_name(rc));
        return;
    }
    buf_addz(&r->body, r->n ? "," : "{\"documents\":[");
    buf_add(&r->body, item->line, item->line_len);
    snprintf(r->paths[r->n++], sizeof r->paths[0], "%s", item->path);
}

static void send_file(struct remote *r, const struct item *item)
{
    struct buf bytes, id, source, name;
    struct rag_err err = {0};
    char why[512];
    buf_init(&bytes, MEM_EXTRACT);
    buf_init(&id, MEM_MISC);
    buf_init(&source, MEM_MISC);
    buf_init(&name, MEM_MISC);
    cli_document_id(&id, item->real_path);
    add_readable(&source, item->real_path);
    add_readable(&name, base_name(item->path));
    buf_addc(&name, 0);
    rag_code rc = file_read_all(item->real_path, r->in->limits.max_input_bytes, &bytes, &err);
    if (!rc && (buf_failed(&id) || buf_failed(&source) || buf_failed(&name)))
        rc = RAG_ENOMEM;
    struct http_part parts[] = {
        {"id", NULL, buf_str(&id)}, {"source", NULL, buf_str(&source)}, {"file", name.ptr, buf_str(&bytes)}};
    if (!rc)
        rc = send_patiently(r, parts, 3, &err);
    reason_of(r, rc, &err, why, sizeof why);
    bool ok = !rc && (r->reply.status == 200 || r->reply.status == 201);
    json_t *o = ok ? json_loadb(r->reply.body.ptr, r->reply.body.len, 0, NULL) : NULL;
    take_result(r->in, item->path, o, why);
    json_decref(o);
    buf_clear(&name);
    buf_clear(&source);
    buf_clear(&id);
    buf_clear(&bytes);
}

static void work_remote(struct ingest *in)
{
    struct remote r = {.in = in};
    struct item item;
    http_reply_init(&r.reply);
    buf_init(&r.body, MEM_MISC);
    snprintf(r.url, sizeof r.url, "/v1/collections/%s/documents", in->collection);
    if (http_client_new(in->house->holder.address, in->house->holder.token, &r.client)) {
        fail_all(in);
        return;
    }
    for (int got; (got = queue_take(in, r.n == 0, &item)) >= 0 || r.n;) {
        if (got > 0) {
            if (item.real_path)
                send_file(&r, &item);
            else
                add_line(&r, &item);
            item_clear(&item);
        }
        if (got <= 0 || r.n == BATCH_ITEMS || r.body.len >= BATCH_BYTES)
            send_lines(&r);
    }
    http_reply_clear(&r.reply);
    buf_clear(&r.body);
    http_client_free(r.client);
}

static void *worker(void *ctx)
{
    struct ingest *in = ctx;
    if (in->house->remote)
        work_remote(in);
    else
        work_local(in);
    return NULL;
}

/* ---- the collection ------------------------------------------------------------------------------------ */
static int create_remote(struct ingest *in)
{
    struct http_client *c = NULL;
    struct http_reply reply;
    struct rag_err err = {0};
    char url[128], why[512];
    http_reply_init(&reply);
    snprintf(url, sizeof url, "/v1/collections/%s", in->collection);
    rag_code rc = http_client_new(in->house->holder.address, in->house->holder.token, &c);
    if (!rc)
        rc = http_client_send(c, "GET", url, NULL, str_make(NULL, 0), SEND_TIMEOUT_MS, &reply, &err);
    if (!rc && reply.status == 404)
        rc =
            http_client_send(c, "PUT", url, "application/json", STR_LIT("{}"), SEND_TIMEOUT_MS, &reply, &err);
    int status = -1;
    if (rc) {
        status = cli_fail(EXIT_FAIL, "ingest: %s: is the server still up?",
                          err.msg[0] ? err.msg : rag_code_name(rc));
    } else if (reply.status >= 300) {
        cli_reply_message(&reply, why, sizeof why);
        status = cli_fail(EXIT_FAIL, "ingest: collection %s: %s", in->collection, why);
    }
    http_client_free(c);
    http_reply_clear(&reply);
    return status;
}

static int create_local(struct ingest *in)
{
    if (knowledge_collection_id(in->house->knowledge, str_of(in->collection)))
        return -1;
    struct job job = {
        .kind = JOB_COLLECTION_ADD, .collection = str_of(in->collection), .settings = STR_LIT("{}")};
    rag_code rc = knowledge_apply(in->house->knowledge, &job);
    if (rc && rc != RAG_ECONFLICT)
        return cli_fail(EXIT_FAIL, "ingest: collection %s: %s", in->collection,
                        job.err.msg[0] ? job.err.msg : rag_code_name(rc));
    return -1;
}

/* ---- producing ----------------------------------------------------------------------------------------- */
static void show(struct ingest *in, struct cli_progress *p)
{
    if (!p->tty)
        return;
    pthread_mutex_lock(&in->mu);
    uint64_t done = in->done, total = in->total;
    pthread_mutex_unlock(&in->mu);
    cli_progress_step(p, done, total);
}

static void produce_lines(struct ingest *in, struct cli_progress *p)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    for (uint64_t number = 1; (n = getline(&line, &cap, stdin)) >= 0; number++) {
        struct str s = str_trim(str_make(line, (size_t)n));
        if (s.len == 0)
            continue;
        char path[40];
        snprintf(path, sizeof path, "stdin:%llu", (unsigned long long)number);
        if (s.len > MAX_LINE) {
            failed(in, path, "line over 64 MiB");
            continue;
        }
        struct item item = {
            .path = mem_strndup(MEM_MISC, path, strlen(path)), .line = malloc(s.len + 1), .line_len = s.len};
        if (!item.path || !item.line) {
            free(item.line);
            mem_free(MEM_MISC, (char *)(uintptr_t)item.path);
            failed(in, path, "out of memory");
            continue;
        }
        memcpy(item.line, s.ptr, s.len);
        queue_put(in, &item);
        show(in, p);
    }
    if (ferror(stdin))
        failed(in, "stdin", strerror(errno));
    free(line);
}

static void produce(struct ingest *in, struct walk *w, bool lines, struct cli_progress *p)
{
    const struct walk_item *items = (const struct walk_item *)(const void *)w->items.ptr;
    for (size_t i = 0; i < w->items.len / sizeof *items; i++) {
        if (items[i].reason) {
            failed(in, items[i].path, items[i].reason);
        } else {
            struct item item = {.path = items[i].path, .real_path = items[i].real_path};
            queue_put(in, &item);
        }
        show(in, p);
    }
    if (lines)
        produce_lines(in, p);
    queue_close(in);
}

static void wait_for_workers(struct ingest *in, pthread_t *threads, uint32_t n, struct cli_progress *p)
{
    for (uint32_t i = 0; i < n; i++)
        for (;;) {
            struct timespec until;
            clock_gettime(CLOCK_REALTIME, &until);
            until.tv_nsec += 100000000;
            until.tv_sec += until.tv_nsec / 1000000000;
            until.tv_nsec %= 1000000000;
            if (pthread_timedjoin_np(threads[i], NULL, &until) == 0)
                break;
            show(in, p);
        }
}

/* ---- output -------------------------------------------------------------------------------------------- */
static void add_json_string(struct buf *out, const char *z)
{
    struct buf valid;
    buf_init(&valid, MEM_MISC);
    add_readable(&valid, z);
    buf_addc(out, '"');
    json_escape(out, buf_str(&valid));
    buf_addc(out, '"');
    buf_clear(&valid);
}

static void report_json(const struct ingest *in, uint64_t skipped)
{
    struct buf b;
    buf_init(&b, MEM_MISC);
    buf_addf(
        &b,
        "{\"added\":%llu,\"updated\":%llu,\"unchanged\":%llu,\"failed\":%llu,\"skipped\":%llu,\"chunks\":%llu,\"errors\":[",
        (unsigned long long)in->added, (unsigned long long)in->updated, (unsigned long long)in->unchanged,
        (unsigned long long)in->failed, (unsigned long long)skipped, (unsigned long long)in->chunks);
    const struct failure *f = (const struct failure *)(const void *)in->failures.ptr;
    for (size_t i = 0; i < in->failures.len / sizeof *f; i++) {
        buf_addz(&b, i ? ",{\"path\":" : "{\"path\":");
        add_json_string(&b, f[i].path);
        buf_addz(&b, ",\"reason\":");
        add_json_string(&b, f[i].reason);
        buf_addc(&b, '}');
    }
    buf_addz(&b, "]}\n");
    fwrite(b.ptr, 1, b.len, stdout);
    buf_clear(&b);
}

static void report_text(const struct ingest *in, uint64_t skipped, int64_t took_ns)
{
    const struct failure *f = (const struct failure *)(const void *)in->failures.ptr;
    for (size_t i = 0; i < in->failures.len / sizeof *f; i++)
        cli_fail(0, "ingest: %s: %s", f[i].path, f[i].reason);
    printf("%s: added %llu, updated %llu, unchanged %llu, failed %llu", in->collection,
           (unsigned long long)in->added, (unsigned long long)in->updated, (unsigned long long)in->unchanged,
           (unsigned long long)in->failed);
    if (skipped)
        printf(", skipped %llu of other types", (unsigned long long)skipped);
    printf(" (%llu chunks written, %.1f s)\n", (unsigned long long)in->chunks, (double)took_ns / 1e9);
}

/* Lines keep their order, so that the last line of an id stands: one worker. */
static uint32_t worker_count(bool remote, bool lines)
{
    if (lines)
        return 1;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (remote)
        return REMOTE_WORKERS;
    return cores < 2 ? 2 : cores > MAX_INGEST_WORKERS ? MAX_INGEST_WORKERS : (uint32_t)cores;
}

static int run(struct ingest *in, struct walk *w, bool lines, bool json)
{
    int64_t start = clock_mono_ns();
    struct cli_progress progress;
    cli_progress_start(&progress, "ingest");
    in->total = lines ? 0 : w->items.len / sizeof(struct walk_item);
    in->limits = open_extract_limits(&in->house->cfg);
    in->self_exe = cli_self_exe();
    pthread_t threads[MAX_INGEST_WORKERS];
    uint32_t n = 0, want = worker_count(in->house->remote, lines);
    while (n < want && pthread_create(&threads[n], NULL, worker, in) == 0)
        n++;
    if (n == 0)
        return cli_fail(EXIT_FAIL, "ingest: cannot start a thread");
    produce(in, w, lines, &progress);
    wait_for_workers(in, threads, n, &progress);
    cli_progress_end(&progress);
    if (json)
        report_json(in, w->n_skipped);
    else
        report_text(in, w->n_skipped, clock_mono_ns() - start);
    return in->failed ? EXIT_FAIL : EXIT_OK;
}

int cmd_ingest(int argc, char **argv)
{
    struct cli_common common = {0};
    const char *collection = "default";
    bool json = false, lines = false;
    const struct cli_option options[] = {
        CLI_COMMON_OPTIONS(&common), {"--collection", &collection, NULL}, {"--json", NULL, &json}, {0}};
    int n, status = cli_parse("ingest", argc, argv, options, &n);
    if (status >= 0)
        return status;
    if (n == 0)
        return cli_fail(EXIT_USAGE, "ingest: no path: name files or folders, or - for JSON lines on stdin");
    if (!collection_name_ok(str_of(collection)))
        return cli_fail(EXIT_USAGE, "ingest: --collection %s: use 1 to 64 of A-Z a-z 0-9 _ . -", collection);
    struct cli_house house;
    status = cli_house_open("ingest", &common, false, &house);
    if (status >= 0)
        return status;
    struct walk w;
    walk_init(&w);
    rag_code rc = http_client_global_init();
    for (int i = 0; i < n && !rc; i++)
        if (strcmp(argv[i], "-") == 0)
            lines = true;
        else
            rc = walk_add(&w, argv[i]);
    struct ingest in = {.house = &house,
                        .collection = collection,
                        .mu = PTHREAD_MUTEX_INITIALIZER,
                        .more = PTHREAD_COND_INITIALIZER,
                        .room = PTHREAD_COND_INITIALIZER};
    buf_init(&in.failures, MEM_MISC);
    if (rc)
        status = cli_fail(EXIT_FAIL, "ingest: out of memory");
    else
        status = house.remote ? create_remote(&in) : create_local(&in);
    if (status < 0)
        status = run(&in, &w, lines, json);
    buf_clear(&in.failures);
    arena_clear(&in.arena);
    walk_clear(&w);
    cli_house_close(&house);
    return status;
}
