/* store/commit_queue.h - one SQLite file, one thread that writes it, one commit for everything that waits meanwhile. */
#ifndef RAGD_STORE_COMMIT_QUEUE_H
#define RAGD_STORE_COMMIT_QUEUE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

/* In the submitter's memory until done ran; done may free it. */
struct commit_job {
    /* Within the transaction, on the queue's thread. A failure undoes this job alone (savepoint) and is handed to done,
     * unless it made SQLite give up the whole transaction (disk full, out of memory): then the batch fails with it. */
    rag_code (*apply)(struct commit_job *j, sqlite3 *db);
    /* After the commit, on the queue's thread, in order of submission. rc: apply's, else the commit's. */
    void (*done)(struct commit_job *j, rag_code rc);
    bool lazy; /* needs no commit of its own: waits up to linger_ms for one. A batch of nothing else is not synced to the
                  disk: a power cut may lose it, until the next batch that is */
    struct commit_job *next; /* the queue's, like rc */
    rag_code rc;
};

struct commit_queue;
struct commit_options {
    const char *path;       /* made when missing, mode 0600 */
    const char *name;       /* for messages: "ledger" */
    uint32_t application_id; /* of the file: another one is RAG_ECORRUPT */
    uint32_t version;       /* user_version: a higher one is RAG_EVERSION */
    /* Brings an open file from user_version `from` (0: new, empty) to `version`, within a transaction. */
    rag_code (*migrate)(sqlite3 *db, uint32_t from, struct rag_err *err);
    uint32_t linger_ms;     /* so long a lazy job waits for company */
    bool read_only;         /* for reports: no thread, submit must not be called */
    bool unchecked;         /* no quick_check: the file is open here already, or was just now */
};
/* WAL; PRAGMA quick_check on opening: a damaged file is RAG_ECORRUPT and says which. RAG_EIO, RAG_ENOSPC, RAG_ENOMEM,
 * RAG_EREADONLY. Read-only: RAG_ENOTFOUND when there is no file, or nothing in it yet. */
RAG_MUST_CHECK rag_code commit_queue_open(const struct commit_options *opt, struct commit_queue **out, struct rag_err *err);
/* Never fails, never waits for the disk. Any thread; once close was called only done may. */
void commit_queue_submit(struct commit_queue *q, struct commit_job *j);
/* The connection, before the first submit (to read what is there) or of a read-only queue. Statements prepared on it,
 * there or in apply, may be kept until close, which finalizes them. */
sqlite3 *commit_queue_db(struct commit_queue *q);
/* What the last SQLite call on a connection of ours failed with, for apply, migrate and readers: SQLITE_FULL is
 * RAG_ENOSPC and so on. Never RAG_OK. */
rag_code commit_queue_code(sqlite3 *db);
/* Everything submitted is applied, committed and done; checkpoints; joins. NULL is fine. */
void commit_queue_close(struct commit_queue *q);

#endif
