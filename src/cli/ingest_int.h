/* cli/ingest_int.h - what the two ways of `ragd ingest` share: the queue, the results, one file's bytes and names. */
#ifndef RAGD_CLI_INGEST_INT_H
#define RAGD_CLI_INGEST_INT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/status.h"
#include "cli/cli.h"
#include "extract/extract.h"

enum {
    QUEUE_ITEMS = 512,
    BATCH_ITEMS = 256,
    BATCH_BYTES = 4 << 20,
    MAX_LINE = 64 << 20,
    MAX_INGEST_WORKERS = 8
};

struct item {
    const char *path;      /* of a file: the walk's; of a line: the item's own */
    const char *real_path; /* NULL: a line */
    char *line;
    size_t line_len;
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

/* ---- the two ways -------------------------------------------------------------------------------------- */
/* Makes the collection when it is missing. Returns -1 to go on, else the exit status (reported). */
int ingest_local_create(struct ingest *in);
int ingest_remote_create(struct ingest *in);
/* Makes the file a set of labelled questions. Returns the exit status (reported). */
int ingest_labelled(const struct cli_house *h, const char *name, const char *collection, const char *path, bool json);
/* A worker's life: takes items until the queue is closed and empty. */
void ingest_local_work(struct ingest *in);
void ingest_remote_work(struct ingest *in);

/* ---- what they share (any thread) ---------------------------------------------------------------------- */
void ingest_failed(struct ingest *in, const char *path, const char *reason);
void ingest_succeeded(struct ingest *in, enum store_put_result put, uint64_t chunks);
/* For a worker that cannot start: its share must not be lost silently. */
void ingest_fail_all(struct ingest *in);

struct batch_fill { /* how full a worker's batch is */
    uint32_t n;
    size_t bytes;
};
/* Gives every item to add, and calls flush when the batch is full or nothing waits in the queue. */
void ingest_batches(struct ingest *in, struct batch_fill *fill, void *worker,
                    void (*add)(void *worker, const struct item *item), void (*flush)(void *worker));

struct ingest_file {
    struct buf bytes, id, source; /* source: the real path as valid UTF-8 */
};
RAG_MUST_CHECK rag_code ingest_file_read(const struct ingest *in, const struct item *item,
                                         struct ingest_file *out, struct rag_err *err);
void ingest_file_clear(struct ingest_file *f); /* also after a failed read */

const char *ingest_base_name(const char *path);
/* The path as valid UTF-8: bad bytes become U+FFFD. */
void ingest_add_readable(struct buf *out, const char *path);
const char *ingest_reason(rag_code rc, const struct rag_err *err);

#endif
