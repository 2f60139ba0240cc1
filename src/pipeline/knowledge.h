/* pipeline/knowledge.h - the data folder at work: collections, their segment lists, the writer, the merges.
 *
 * One struct knowledge per data folder and process. Its threads: one writer (owns SQLite writes, rebuilds what no segment
 * holds, publishes segment lists), one background (big merges). Readers pin lists and never block. Vectors come from
 * outside (pipeline/embedder.h). */
#ifndef RAGD_PIPELINE_KNOWLEDGE_H
#define RAGD_PIPELINE_KNOWLEDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/str.h"
#include "index/list.h"
#include "store/store.h"
#include "text/analyzer.h"
#include "text/chunker.h"

struct knowledge;

struct knowledge_options {
    const char *dir; /* data folder, locked by the caller */
    struct chunker_options chunker;
    const struct analyzer *analyzer; /* outlives it */
    uint32_t flush_chunks;           /* an in-memory segment this large becomes a file; 0: 4096 */
    /* Vectors: [0] of the model that new ones are made with, [1] of the one that it replaces and that serves until
     * every chunk has its new vector. NULL: none. They outlive the knowledge. */
    const struct vector_space *spaces[VECTOR_SLOTS];
    const char *model_name; /* of spaces[0] */
    bool wait_ready;                 /* return only when every document is searchable (commands, tests) */
};
/* Opens the store, maps the manifest's segments, starts the threads. Documents of damaged or missing segments
 * are rebuilt in the background while others are served; knowledge_ready() turns true when done. */
RAG_MUST_CHECK rag_code knowledge_open(const struct knowledge_options *opt, struct knowledge **out,
                                       struct rag_err *err);
/* Finishes queued jobs, writes in-memory segments to files, closes. NULL is fine. */
void knowledge_close(struct knowledge *k);
bool knowledge_ready(const struct knowledge *k);

/* ---- reading (any thread) ------------------------------------------------------------------------------ */
/* Pins the current list of a collection until knowledge_unpin: RAG_ENOTFOUND for an unknown name. Pins nest
 * per thread and must be short (a request). */
RAG_MUST_CHECK rag_code knowledge_pin(struct knowledge *k, struct str collection,
                                      const struct segment_list **list);
void knowledge_unpin(struct knowledge *k);
/* "system_prompt" of the collection's settings; empty: none. Valid while the caller holds a pin. */
struct str knowledge_system_prompt(struct knowledge *k, struct str collection);
/* A read-only store connection of the calling thread's own: borrow, use, give back (pooled). */
RAG_MUST_CHECK rag_code knowledge_reader(struct knowledge *k, struct store_reader **r, struct rag_err *err);
void knowledge_reader_give(struct knowledge *k, struct store_reader *r);
/* Store id of a collection name; 0 when unknown. */
int64_t knowledge_collection_id(struct knowledge *k, struct str name);

/* ---- writing (any thread; the work happens on the writer) ----------------------------------------------- */
struct doc_input {
    struct str id;                    /* empty: derived from the content hash */
    struct str title;                 /* empty: the document's own title */
    struct str source, metadata_json; /* metadata_json empty: "{}" */
    struct text_doc doc;              /* moved from by knowledge_submit */
};
struct doc_result {
    rag_code code; /* of this document alone */
    enum store_put_result put;
    char id[513];
    uint32_t version, n_chunks;
    struct rag_err err;
};

enum job_kind {
    JOB_PUT,
    JOB_DELETE,
    JOB_DELETE_FILTER,
    JOB_COLLECTION_ADD,
    JOB_COLLECTION_SET,
    JOB_COLLECTION_DELETE,
    JOB_VECTORS,       /* rows: vectors of chunks */
    JOB_DROP_REPLACED, /* the vectors of slot 1, and a slice of what the store has of other models */
};
/* The vector of one chunk: dims floats of unit length. */
struct vector_row {
    int64_t seq;
    uint32_t ordinal;
    bool stored; /* it comes from the store */
    const float *vector;
    struct str tokens; /* codes of its tokens; empty: none are kept */
};
/* A change. Built by the caller, owned by the writer from knowledge_submit until `done` is called. */
struct job {
    enum job_kind kind;
    struct str collection;
    struct doc_input *docs;     /* JOB_PUT: n docs; JOB_DELETE: ids only */
    struct doc_result *results; /* n, filled */
    uint32_t n;
    struct filter filter; /* JOB_DELETE_FILTER */
    struct str settings;  /* JOB_COLLECTION_*: JSON */
    const struct vector_row *rows; /* JOB_VECTORS: n of them, for slot 0 */
    uint64_t n_affected;  /* out: documents deleted; chunks written */
    bool created;         /* out: JOB_COLLECTION_SET created it */
    rag_code code;        /* out: of the whole job */
    struct rag_err err;   /* out */
    void (*done)(
        struct job *j); /* on the writer thread, after the change is durable and visible (or failed) */
    void *ctx;          /* the caller's */
    struct job *next;   /* queue's */
};
/* Gives the job to the writer. RAG_EBUSY: queue full or closing; the job is still the caller's. */
RAG_MUST_CHECK rag_code knowledge_submit(struct knowledge *k, struct job *j);
/* The same, waiting for the end on the calling thread (done is set by this function). Returns j->code. */
RAG_MUST_CHECK rag_code knowledge_apply(struct knowledge *k, struct job *j);

/* ---- vectors (knowledge_vectors.c) ---------------------------------------------------------------------- */
/* Chunks without a vector in slot 0, to be embedded. Strings live in the arena given. */
struct missing_vector {
    int64_t seq;
    uint32_t ordinal;
    struct str title, heading_path, text;
};
enum { MISSING_MOST = 64 };
struct missing_vectors {
    char collection[65];
    int64_t model; /* store's id */
    struct missing_vector items[MISSING_MOST];
    uint32_t n;
};
/* Claims chunks of one collection, at most MISSING_MOST and about max_bytes of text (at least one chunk), for the
 * caller to embed; n 0: none are missing, or all that are belong to others. Any thread. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code knowledge_vectors_claim(struct knowledge *k, uint32_t max_bytes, struct arena *a,
                                                struct missing_vectors *out);
/* Ends the claim, after the vectors were applied (JOB_VECTORS) or given up for now. */
void knowledge_vectors_release(struct knowledge *k, const struct missing_vectors *m);
/* Waits until documents were written after `seen` was read, at most timeout_ms. */
uint64_t knowledge_vectors_seen(struct knowledge *k);
void knowledge_vectors_wait(struct knowledge *k, uint64_t seen, unsigned timeout_ms);
/* Wakes those who wait. */
void knowledge_vectors_notify(struct knowledge *k);
/* The slot that questions are answered from. */
uint32_t knowledge_dense_slot(const struct knowledge *k);
/* Whether the folder has vectors of other models: JOB_DROP_REPLACED, again while n_affected is not 0, drops them. */
bool knowledge_has_replaced(const struct knowledge *k);

struct knowledge_stats {
    uint64_t collections, documents, chunks, segments, segments_in_memory, segment_bytes;
    uint64_t pending_rebuild; /* documents not yet searchable */
    uint64_t merges, rebuilt_documents, damaged_segments;
    uint64_t vectors, vectors_missing, vector_bytes; /* of slot 0; missing: live chunks without one */
    uint32_t queue_len;
};
void knowledge_stats(struct knowledge *k, struct knowledge_stats *out);

#endif
