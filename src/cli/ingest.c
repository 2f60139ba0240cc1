/* Producer and workers: the main thread walks folders or reads lines into a bounded queue; each worker reads and
 * extracts files and hands them on in batches, to the writer of the folder or as requests to the server that holds
 * it. A batch is as large as what is waiting, so that one commit pays for many files and a slow pipe is not held up. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/request_json.h"
#include "cli/ingest_int.h"
#include "pipeline/embedder.h"
#include "pipeline/labelled.h"
#include "cli/walk.h"
#include "daemon/open.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "text/utf8.h"
#include "wire/json_out.h"

enum { QUEUE_BYTES = 32 << 20, REMOTE_WORKERS = 4 };

struct failure {
    const char *path, *reason;
};

/* ---- results ------------------------------------------------------------------------------------------- */
void ingest_failed(struct ingest *in, const char *path, const char *reason)
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

void ingest_succeeded(struct ingest *in, enum store_put_result put, uint64_t chunks)
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

void ingest_fail_all(struct ingest *in)
{
    struct item item;
    while (queue_take(in, true, &item) > 0) {
        ingest_failed(in, item.path, "out of memory");
        item_clear(&item);
    }
}

void ingest_batches(struct ingest *in, struct batch_fill *fill, void *worker,
                    void (*add)(void *worker, const struct item *item), void (*flush)(void *worker))
{
    struct item item;
    for (int got; (got = queue_take(in, fill->n == 0, &item)) >= 0 || fill->n;) {
        if (got > 0) {
            add(worker, &item);
            item_clear(&item);
        }
        if (fill->n && (got <= 0 || fill->n == BATCH_ITEMS || fill->bytes >= BATCH_BYTES))
            flush(worker);
    }
}

/* ---- a file -------------------------------------------------------------------------------------------- */
const char *ingest_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

void ingest_add_readable(struct buf *out, const char *path)
{
    struct str s = str_of(path);
    for (size_t i = 0; i < s.len;) {
        char enc[4];
        buf_add(out, enc, utf8_encode(utf8_next(s, &i), enc));
    }
}

const char *ingest_reason(rag_code rc, const struct rag_err *err)
{
    return err->msg[0] ? err->msg : rag_code_name(rc);
}

rag_code ingest_file_read(const struct ingest *in, const struct item *item, struct ingest_file *out,
                          struct rag_err *err)
{
    buf_init(&out->bytes, MEM_EXTRACT);
    buf_init(&out->id, MEM_MISC);
    buf_init(&out->source, MEM_MISC);
    cli_document_id(&out->id, item->real_path);
    ingest_add_readable(&out->source, item->real_path);
    rag_code rc = file_read_all(item->real_path, in->limits.max_input_bytes, &out->bytes, err);
    return !rc && (buf_failed(&out->id) || buf_failed(&out->source)) ? RAG_ENOMEM : rc;
}

void ingest_file_clear(struct ingest_file *f)
{
    buf_clear(&f->source);
    buf_clear(&f->id);
    buf_clear(&f->bytes);
}

/* ---- running ------------------------------------------------------------------------------------------- */
static void *worker(void *ctx)
{
    struct ingest *in = ctx;
    if (in->house->remote)
        ingest_remote_work(in);
    else
        ingest_local_work(in);
    return NULL;
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
            ingest_failed(in, path, "line over 64 MiB");
            continue;
        }
        struct item item = {
            .path = mem_strndup(MEM_MISC, path, strlen(path)), .line = malloc(s.len + 1), .line_len = s.len};
        if (!item.path || !item.line) {
            free(item.line);
            mem_free(MEM_MISC, (char *)(uintptr_t)item.path);
            ingest_failed(in, path, "out of memory");
            continue;
        }
        memcpy(item.line, s.ptr, s.len);
        queue_put(in, &item);
        show(in, p);
    }
    if (ferror(stdin))
        ingest_failed(in, "stdin", strerror(errno));
    free(line);
}

static void produce(struct ingest *in, struct walk *w, bool lines, struct cli_progress *p)
{
    const struct walk_item *items = (const struct walk_item *)(const void *)w->items.ptr;
    for (size_t i = 0; i < w->items.len / sizeof *items; i++) {
        if (items[i].reason) {
            ingest_failed(in, items[i].path, items[i].reason);
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
    ingest_add_readable(&valid, z);
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

enum { MOST_FAILURES = 4 }; /* batches; each is tried again */

/* Vectors for what this folder still lacks. Ended half-way, the next command or server goes on from there. */
static int embed_all(struct ingest *in, bool quiet)
{
    struct knowledge *k = in->house->knowledge;
    struct embedder *e = NULL;
    struct knowledge_stats s;
    struct rag_err err = {0};
    struct embedder_options opt = {k, in->house->models.encoders[0], &in->house->models.space[0],
                                   in->house->models.tokens, in->house->cfg.embedding_threads};
    knowledge_stats(k, &s);
    uint64_t before = s.vectors, missing = s.vectors_missing;
    if (!missing)
        return EXIT_OK;
    if (embedder_start(&opt, &e, &err))
        return cli_fail(EXIT_FAIL, "ingest: %s", err.msg);
    int64_t start = clock_mono_ns();
    struct cli_progress progress;
    struct embedder_stats es = {0};
    cli_progress_start(&progress, "embed");
    while (s.vectors_missing && es.failures < MOST_FAILURES) {
        knowledge_vectors_wait(k, knowledge_vectors_seen(k), 200);
        knowledge_stats(k, &s);
        embedder_stats(e, &es);
        cli_progress_step(&progress, s.vectors - before, missing);
    }
    cli_progress_end(&progress);
    embedder_stop(e);
    double took = (double)(clock_mono_ns() - start) / 1e9;
    if (!quiet)
        printf("%llu chunks embedded (%.1f s, %.0f/s)\n", (unsigned long long)(s.vectors - before), took,
               (double)(s.vectors - before) / took);
    return s.vectors_missing ? cli_fail(EXIT_FAIL, "ingest: %llu chunks not embedded: see the log above: run it again",
                                        (unsigned long long)s.vectors_missing)
                             : EXIT_OK;
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
    const char *collection = "default", *labelled = NULL;
    bool json = false, lines = false, no_embed = false;
    const struct cli_option options[] = {CLI_COMMON_OPTIONS(&common),
                                         {"--collection", &collection, NULL},
                                         {"--labelled", &labelled, NULL},
                                         {"--json", NULL, &json},
                                         {"--no-embed", NULL, &no_embed},
                                         {0}};
    int n, status = cli_parse("ingest", argc, argv, options, &n);
    if (status >= 0)
        return status;
    if (n == 0)
        return cli_fail(EXIT_USAGE, "ingest: no path: name files or folders, or - for JSON lines on stdin");
    if (!collection_name_ok(str_of(collection)))
        return cli_fail(EXIT_USAGE, "ingest: --collection %s: use 1 to 64 of A-Z a-z 0-9 _ . -", collection);
    if (labelled && !labelled_name_ok(str_of(labelled)))
        return cli_fail(EXIT_USAGE, "ingest: --labelled %s: use 1 to 64 of A-Z a-z 0-9 _ . -, no dot first", labelled);
    if (labelled && (n != 1 || strcmp(argv[0], "-") == 0))
        return cli_fail(EXIT_USAGE, "ingest: --labelled takes one file");
    struct cli_house house;
    status = cli_house_open("ingest", &common, false, &house);
    if (status >= 0)
        return status;
    rag_code rc = http_client_global_init();
    if (labelled) {
        status = rc ? cli_fail(EXIT_FAIL, "ingest: out of memory")
                    : ingest_labelled(&house, labelled, collection, argv[0], json);
        cli_house_close(&house);
        return status;
    }
    struct walk w;
    walk_init(&w);
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
        status = house.remote ? ingest_remote_create(&in) : ingest_local_create(&in);
    if (status < 0)
        status = run(&in, &w, lines, json);
    if (!house.remote && house.models.encoders[0] && !no_embed && status >= EXIT_OK && house.knowledge) {
        int embedded = embed_all(&in, json);
        status = status ? status : embedded;
    }
    buf_clear(&in.failures);
    arena_clear(&in.arena);
    walk_clear(&w);
    cli_house_close(&house);
    return status;
}
