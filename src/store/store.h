/* store/store.h - the durable truth: SQLite. Everything a query reads is derived from it and can be rebuilt. */
#ifndef RAGD_STORE_STORE_H
#define RAGD_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/str.h"

#define STORE_SCHEMA_VERSION 3
#define STORE_KEEP_VERSIONS  10 /* versions of a document whose text is kept */
#define STORE_MAX_ID_BYTES   512
#define STORE_MAX_TEXT_BYTES (512 << 20) /* of one document; SQLite's rows end at 1e9 bytes */

/* One open database, DATA/ragd.db: one read-write connection. Only the writer thread calls functions
 * that take a non-const store; store_reader gives other threads read-only connections of their own. */
struct store;
struct store_reader;

struct store_options {
    const char *dir; /* data folder; must exist */
    bool read_only;  /* open without writing anything (verify, eval of a foreign folder) */
};

/* Creates or migrates the database. WAL, synchronous=FULL, foreign keys on, one writing and checkpointing
 * connection. RAG_EVERSION: written by a newer ragd. RAG_ECORRUPT: not a database or damaged.
 * RAG_ENOTFOUND: no folder, or read_only and no database. RAG_EREADONLY, RAG_ENOSPC, RAG_EIO. *out is NULL then. */
RAG_MUST_CHECK rag_code store_open(const struct store_options *opt, struct store **out, struct rag_err *err);
void store_close(struct store *s); /* checkpoints; NULL is fine */

/* ---- write transactions: begin, any number of changes, commit ------------------------------------- */
/* store_put and store_delete assert that one is open. */
RAG_MUST_CHECK rag_code store_begin(struct store *s, struct rag_err *err);
/* Durable when RAG_OK. On any error everything since begin is rolled back. */
RAG_MUST_CHECK rag_code store_commit(struct store *s, struct rag_err *err);
void store_rollback(struct store *s);
/* Savepoint around one document of a batch: a failure undoes this document alone. When the failure ended the
 * whole transaction (disk full), every call after it fails with its code until commit or rollback. */
RAG_MUST_CHECK rag_code store_savepoint(struct store *s, struct rag_err *err);
RAG_MUST_CHECK rag_code store_release(struct store *s, struct rag_err *err);
void store_rollback_to_savepoint(struct store *s);

/* ---- collections ----------------------------------------------------------------------------------- */
struct store_collection {
    int64_t id;
    struct str name;     /* [A-Za-z0-9_.-]{1,64}, not "." or ".."; others: RAG_EINVAL */
    struct str settings; /* JSON object, "{}" by default */
    int64_t created_ms;  /* Unix milliseconds */
};
/* `default` is created by store_open. RAG_ECONFLICT when it exists (id is then the existing one). */
RAG_MUST_CHECK rag_code store_collection_add(struct store *s, struct str name, struct str settings,
                                             int64_t now_ms, int64_t *id, struct rag_err *err);
RAG_MUST_CHECK rag_code store_collection_set(struct store *s, int64_t id, struct str settings,
                                             struct rag_err *err);
/* Deletes it with every document. RAG_ENOTFOUND. */
RAG_MUST_CHECK rag_code store_collection_delete(struct store *s, int64_t id, struct rag_err *err);

/* ---- documents ------------------------------------------------------------------------------------- */
struct store_chunk {
    uint32_t start, end;           /* bytes of the document's text */
    uint32_t char_start, char_end; /* the same in code points */
    struct str heading_path;       /* elements joined by '\x1f' */
    uint32_t page;                 /* that it starts on, from 1; 0: none */
};
struct store_document {
    int64_t collection;
    struct str id;                      /* unique in its collection, 1..512 bytes */
    uint32_t version;                   /* from 1 */
    int64_t seq;                        /* unique over the store, grows with each version written */
    struct str title, source, metadata; /* metadata: JSON object of scalars and lists of scalars */
    struct str text;                    /* the extracted text */
    uint8_t content_hash[32];           /* SHA-256 over everything that makes a version: caller computes */
    int64_t created_ms, updated_ms;
    const struct store_chunk *chunks;
    uint32_t n_chunks;
};
enum store_put_result { STORE_ADDED, STORE_UPDATED, STORE_UNCHANGED };
/* Inserts or replaces by (collection, id). Unchanged when content_hash equals the current version's: then
 * nothing is written. Fills doc->version, seq, created_ms; *old_seq is the seq it replaced, 0 when new.
 * RAG_ENOTFOUND: no such collection. RAG_EINVAL, RAG_ETOOBIG: id, chunk spans or sizes.
 * Older versions keep their text up to STORE_KEEP_VERSIONS, beyond it only their row. */
RAG_MUST_CHECK rag_code store_put(struct store *s, struct store_document *doc, enum store_put_result *result,
                                  int64_t *old_seq, struct rag_err *err);
/* Deletes a document, its versions and chunks. *seq is the removed one. RAG_ENOTFOUND. */
RAG_MUST_CHECK rag_code store_delete(struct store *s, int64_t collection, struct str id, int64_t *seq,
                                     struct rag_err *err);

/* ---- vectors of record (store_vectors.c) ------------------------------------------------------------ */
/* A model that vectors are of; `digest` is its identity, `name` for people. */
struct store_model {
    int64_t id;
    uint8_t digest[32];
    struct str name;
    uint32_t dims;
};
/* The id of the model with this digest, added when new; m->id. Within a transaction. */
RAG_MUST_CHECK rag_code store_model_add(struct store *s, struct store_model *m, struct rag_err *err);
/* Keeps the vector of a chunk: dims half floats. A chunk that is gone meanwhile is skipped. Within a transaction. */
RAG_MUST_CHECK rag_code store_vector_put(struct store *s, int64_t model, int64_t seq, uint32_t ordinal,
                                         struct str vector, struct rag_err *err);
/* Drops the vectors of other models than `keep` of a thousand versions from *seq on (0: the first); *seq: where to go on,
 * 0 when all are done: the other models are gone then, too. Within a transaction. */
RAG_MUST_CHECK rag_code store_models_prune(struct store *s, int64_t keep, int64_t *seq, struct rag_err *err);

/* ---- reading: any thread, a reader each ------------------------------------------------------------- */
/* The database must exist (RAG_ENOTFOUND) and be of this version (RAG_EVERSION: of a newer ragd, or of an older
 * one that must be migrated first). RAG_ECORRUPT: not ragd's. read_only also opens a folder that cannot be
 * written, when no unfinished -wal lies in it (else RAG_EREADONLY). */
RAG_MUST_CHECK rag_code store_reader_open(const struct store_options *opt, struct store_reader **out,
                                          struct rag_err *err);
void store_reader_close(struct store_reader *r);

/* Strings of results live in `a`. */
RAG_MUST_CHECK rag_code store_collections(struct store_reader *r, struct arena *a,
                                          struct store_collection **out, uint32_t *n, struct rag_err *err);
/* version 0: the current one. Chunks only for the current version (n_chunks 0 otherwise). RAG_ENOTFOUND; a
 * version whose text is gone has text.ptr NULL. */
RAG_MUST_CHECK rag_code store_get(struct store_reader *r, int64_t collection, struct str id, uint32_t version,
                                  struct arena *a, struct store_document *out, struct rag_err *err);
/* Current version by seq, with chunks: what rebuilding a segment reads. */
RAG_MUST_CHECK rag_code store_get_by_seq(struct store_reader *r, int64_t seq, struct arena *a,
                                         struct store_document *out, struct rag_err *err);
/* Documents by id order after `after` (empty: from the start), at most limit; text and chunks not loaded,
 * n_chunks is. */
RAG_MUST_CHECK rag_code store_list(struct store_reader *r, int64_t collection, struct str after,
                                   uint32_t limit, struct arena *a, struct store_document **out, uint32_t *n,
                                   struct rag_err *err);
/* All versions of a document, newest first, text not loaded (text.len is its length, ptr NULL when gone). */
RAG_MUST_CHECK rag_code store_versions(struct store_reader *r, int64_t collection, struct str id,
                                       struct arena *a, struct store_document **out, uint32_t *n,
                                       struct rag_err *err);
/* Every current document's (collection, seq), ascending by seq: calls `each` until it returns nonzero. */
RAG_MUST_CHECK rag_code store_each_seq(struct store_reader *r,
                                       rag_code (*each)(void *ctx, int64_t collection, int64_t seq),
                                       void *ctx, struct rag_err *err);
/* The highest seq ever given out, also to what is deleted meanwhile; 0: none yet. */
RAG_MUST_CHECK rag_code store_last_seq(struct store_reader *r, int64_t *out, struct rag_err *err);
struct store_counts {
    uint64_t collections, documents, chunks;
};
RAG_MUST_CHECK rag_code store_count(struct store_reader *r, int64_t collection /* 0: all */,
                                    struct store_counts *out, struct rag_err *err);
RAG_MUST_CHECK rag_code store_models(struct store_reader *r, struct arena *a, struct store_model **out,
                                     uint32_t *n, struct rag_err *err);
/* How many vectors the model has: reads them all. */
RAG_MUST_CHECK rag_code store_vector_count(struct store_reader *r, int64_t model, uint64_t *n, struct rag_err *err);
/* Every vector that the model has of a version's chunks `first` to `last`, by ordinal: calls `each` until it returns
 * nonzero. */
RAG_MUST_CHECK rag_code store_vectors(struct store_reader *r, int64_t model, int64_t seq, uint32_t first, uint32_t last,
                                      rag_code (*each)(void *ctx, uint32_t ordinal, struct str vector), void *ctx,
                                      struct rag_err *err);
/* How many chunks of the collection's current documents have no vector of the model. */
RAG_MUST_CHECK rag_code store_vectors_missing(struct store_reader *r, int64_t model, int64_t collection, uint64_t *n,
                                              struct rag_err *err);
/* PRAGMA quick_check: the file's structure, without what it means. RAG_ECORRUPT with the first finding. */
RAG_MUST_CHECK rag_code store_quick_check(struct store_reader *r, struct rag_err *err);
/* Integrity: PRAGMA integrity_check, foreign keys, chunk offsets within texts and on character boundaries,
 * content rows without parents. RAG_ECORRUPT with the first finding; *n_findings counts all. */
RAG_MUST_CHECK rag_code store_verify(struct store_reader *r, uint32_t *n_findings, struct rag_err *err);

#endif
