/* cli/walk.h - the files below the paths that a user names. */
#ifndef RAGD_CLI_WALK_H
#define RAGD_CLI_WALK_H

#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/status.h"

struct walk_item {
    const char *path;      /* below what the user named, for messages */
    const char *real_path; /* NULL with a reason */
    const char *reason;    /* why it cannot be taken; NULL: take it */
};
struct walk {
    struct arena arena;
    struct buf items;   /* struct walk_item[] */
    struct strset seen; /* real paths: a file or folder that is reached twice is taken once */
    uint64_t n_skipped; /* in folders: types we do not take, things that are no files */
};
void walk_init(struct walk *w);
void walk_clear(struct walk *w);

/* Adds a file, or the files of a folder and its folders in the order of their names; names that begin with a
 * dot are left out. Symbolic links are followed; loops end because a folder is entered once. What is wrong with one
 * path is an item with a reason. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code walk_add(struct walk *w, const char *path);

#endif
