/* sys/file.h - whole files: reading, atomic replacement, mapping. Thread-safe for different files. */
#ifndef RAGD_SYS_FILE_H
#define RAGD_SYS_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/status.h"

/* Appends the file's bytes to out, which stays as it was on failure. RAG_ETOOBIG above max_bytes (checked while
 * reading), RAG_ENOTFOUND, ... */
RAG_MUST_CHECK rag_code file_read_all(const char *path, uint64_t max_bytes, struct buf *out,
                                      struct rag_err *err);
/* Writes dir/name so that after RAG_OK it is durable, and at any moment the old or the new one is whole:
 * temporary file, fsync, rename, fsync of the folder. */
RAG_MUST_CHECK rag_code file_write_atomic(const char *dir, const char *name, const void *bytes, size_t len,
                                          struct rag_err *err);
/* The same with the n parts one after another. */
RAG_MUST_CHECK rag_code file_write_atomic_parts(const char *dir, const char *name, const struct str *parts, size_t n,
                                                struct rag_err *err);
/* Read-only mapping. An empty file maps to ptr NULL, len 0. */
struct file_map {
    const void *ptr;
    size_t len;
};
RAG_MUST_CHECK rag_code file_map_open(struct file_map *m, const char *path);
void file_map_clear(struct file_map *m); /* a zeroed map is fine */
/* Creates path and its parents as needed; each new folder's parent is fsync'ed. */
RAG_MUST_CHECK rag_code file_mkdirs(const char *path, mode_t mode);
rag_code file_remove(const char *path); /* not there: RAG_OK */
RAG_MUST_CHECK rag_code file_sync_dir(const char *dir);

#endif
