/* pipeline/knowledge.h - the data folder at work: collections, their segment lists, the writer, the merges.
 *
 * One struct knowledge per data folder and process. Its threads: one writer (owns SQLite writes and publishes
 * segment lists), one background (big merges, rebuilds). Readers pin lists and never block. */
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
    JOB_COLLECTION_DELETE
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

struct knowledge_stats {
    uint64_t collections, documents, chunks, segments, segments_in_memory, segment_bytes;
    uint64_t pending_rebuild; /* documents not yet searchable */
    uint64_t merges, rebuilt_documents, damaged_segments;
    uint32_t queue_len;
};
void knowledge_stats(struct knowledge *k, struct knowledge_stats *out);

#endif
