/* pipeline/knowledge_int.h - the state shared by knowledge*.c.
 *
 * Who owns what:
 *   writer thread      store, files, manifest, rebuild list, every publication of a list or of the catalog
 *   background thread  the merge task between `running` and `done`
 *   any thread         queue and reader pool under their mutexes; lists and catalog under an epoch pin
 * Lock order: none nests in another. */
#ifndef RAGD_PIPELINE_KNOWLEDGE_INT_H
#define RAGD_PIPELINE_KNOWLEDGE_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "index/list_edit.h"
#include "pipeline/chunk_terms.h"
#include "pipeline/knowledge.h"

struct collection {
    int64_t id;
    char name[65];
    _Atomic(struct segment_list *) list; /* stored seq_cst by the writer, loaded under a pin */
    _Atomic(char *) system_prompt;       /* the same; NULL: none */
};
struct catalog { /* immutable once published; sorted by name */
    uint32_t n;
    struct collection *c[];
};

/* A segment that has a file. */
struct segment_file {
    struct segment *segment; /* referenced */
    int64_t collection;
    char file[32];
};
struct pending_doc {
    int64_t collection, seq;
};

enum {
    MERGE_FACTOR = 4,
    MERGE_MOST = 64,
    MAX_SEGMENT_CHUNKS = 65536,
    QUEUE_MAX = 1024,
    BATCH_DOCS = 256,
    BATCH_BYTES = 64 << 20, /* of text; one job may hold more */
    BATCH_COLLECTIONS = 16,
    REBUILD_DOCS = 256,
    READER_POOL = 16
};

/* Merges `n` segments of one collection into one file. */
struct merge_task {
    enum { MERGE_IDLE, MERGE_RUNNING, MERGE_DONE } state; /* under task_mu */
    int64_t collection;
    uint32_t n;
    struct list_entry source[MERGE_MOST]; /* segment and vectors referenced; live is not theirs */
    uint64_t *live[MERGE_MOST];           /* copies, as of the start */
    char file[32];
    struct segment *result; /* NULL: failed */
    struct vector_block *vectors[VECTOR_SLOTS]; /* of result */
    struct rag_err err;
};

struct knowledge {
    struct knowledge_options opt;
    char dir[1024], segment_dir[1040];
    struct store *store;
    _Atomic(struct catalog *) catalog;

    pthread_mutex_t queue_mu;
    pthread_cond_t queue_cv; /* work for the writer: a job, a finished merge, closing */
    pthread_cond_t ready_cv; /* the last pending document is searchable */
    struct job *head, *tail;
    uint32_t queue_len;
    bool closing;

    pthread_t writer, background;
    bool writer_started, background_started;
    struct merge_task task;
    pthread_mutex_t task_mu;
    pthread_cond_t task_cv; /* work for the background thread */
    bool task_stop;

    /* the writer's */
    struct buf files; /* struct segment_file[] */
    uint64_t next_file;
    struct buf pending; /* struct pending_doc[] */
    size_t pending_at;
    size_t rebuild_alone; /* up to here in pending, one document at a time: a batch of them failed */
    struct chunk_terms terms;
    struct text_chunks chunks;
    int64_t merge_retry_ns; /* after a failed merge: not before this time */

    pthread_mutex_t reader_mu;
    struct store_reader *readers[READER_POOL];
    uint32_t n_readers;

    /* vectors */
    _Atomic int64_t model_id; /* store's id of spaces[0]; 0: it has no vector of it yet */
    int64_t model_new;        /* the writer's: the same inside a transaction */
    int64_t prune_seq;        /* the writer's: where store_models_prune goes on */
    int64_t companion_retry_ns;
    _Atomic uint32_t dense_slot;
    atomic_bool has_replaced; /* the store has vectors of other models */
    pthread_mutex_t claim_mu;
    struct buf claims; /* struct claim[], under claim_mu */
    pthread_mutex_t wait_mu;
    pthread_cond_t wait_cv; /* documents were published */
    uint64_t publications;  /* under wait_mu */

    atomic_bool ready;
    _Atomic uint64_t n_pending, merges, rebuilt, damaged;
};

/* knowledge_write.c */
void *knowledge_writer_main(void *k);
struct collection *knowledge_find(struct catalog *cat, struct str name);
struct collection *knowledge_find_id(struct catalog *cat, int64_t id);
/* Publishes `next` (list_edit's result, which becomes the collection's) and retires the old list. */
void knowledge_publish(struct collection *c, struct segment_list *next);
/* Makes a collection of the store visible with `list` (taken). */
rag_code knowledge_collection_publish(struct knowledge *k, struct str name, int64_t id, struct str settings,
                                      struct segment_list *list);

/* knowledge_vectors.c */
/* Registers the models of the spaces in the store. */
rag_code knowledge_models_open(struct knowledge *k, struct rag_err *err);
/* Blocks of a new segment: empty ones where vectors are wanted. A reference each in out. */
rag_code knowledge_blocks_new(struct knowledge *k, uint32_t n_chunks, struct vector_block *out[VECTOR_SLOTS]);
/* Blocks of a segment that was merged from `n` others: row i of the live ones in order. */
rag_code knowledge_blocks_merge(struct knowledge *k, const struct list_entry *const *e, uint64_t *const *live,
                                uint32_t n, uint32_t n_chunks, struct vector_block *out[VECTOR_SLOTS]);
/* Copies the rows that `out` does not have yet, by the same rule. */
void knowledge_blocks_copy(const struct list_entry *const *e, uint64_t *const *live, uint32_t n,
                           struct vector_block *const out[VECTOR_SLOTS]);
/* Blocks of a mapped segment, from its companions. */
rag_code knowledge_blocks_open(struct knowledge *k, const char *file, uint32_t n_chunks, const uint64_t *live,
                               struct vector_block *out[VECTOR_SLOTS]);
void knowledge_blocks_unref(struct vector_block *blocks[VECTOR_SLOTS]);
/* Writes the companions that a segment file of this name should have; *blocks become mapped ones. Failures are logged:
 * the vectors of record are in the store. */
void knowledge_blocks_write(struct knowledge *k, const char *file, struct vector_block *blocks[VECTOR_SLOTS]);
/* Companion file of a segment file for a slot. */
void knowledge_companion_name(const struct knowledge *k, uint32_t slot, const char *file, char out[64]);
/* Writes what vectors a segment file has in memory, complete or not. */
void knowledge_flush_companion(struct knowledge *k, const struct segment_file *f);
void knowledge_vectors_job(struct knowledge *k, struct job *j);
/* Writes one companion that is complete and not yet a file. False: there was none. Writer only. */
bool knowledge_companion_step(struct knowledge *k);

/* knowledge_merge.c */
void *knowledge_background_main(void *k);
/* Merges small in-memory segments of *list at once; it is replaced by merged versions (the old freed). A merge
 * that fails is left for later. */
void knowledge_merge_small(struct knowledge *k, struct segment_list **list);
/* Starts a background merge when one is due and none runs; takes in a finished one. Writer only. */
void knowledge_merge_step(struct knowledge *k);
/* Writes what is only in memory to files and the manifest. Writer only, at the end. */
void knowledge_flush(struct knowledge *k);
rag_code knowledge_write_manifest(struct knowledge *k, struct rag_err *err);
bool knowledge_add_file(struct knowledge *k, int64_t collection, struct segment *s, const char *file);
/* Drops the files of a collection whose segments are in no list any more: `list` is its current one, NULL when
 * the collection is gone. */
void knowledge_forget_files(struct knowledge *k, int64_t collection, const struct segment_list *list);

#endif
