#include "cli/walk.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "extract/extract.h"

void walk_init(struct walk *w)
{
    *w = (struct walk){0};
    buf_init(&w->items, MEM_MISC);
    strset_init(&w->seen, MEM_MISC, 0);
}

void walk_clear(struct walk *w)
{
    buf_clear(&w->items);
    strset_clear(&w->seen);
    arena_clear(&w->arena);
}

static rag_code add(struct walk *w, const char *path, const char *real_path, const char *reason)
{
    struct walk_item item = {
        .path = arena_strndup(&w->arena, path, strlen(path)),
        .real_path = real_path ? arena_strndup(&w->arena, real_path, strlen(real_path)) : NULL,
        .reason = reason ? arena_strndup(&w->arena, reason, strlen(reason)) : NULL,
    };
    if (!item.path || (real_path && !item.real_path) || (reason && !item.reason))
        return RAG_ENOMEM;
    BUF_ADD_VALUE(&w->items, item);
    return buf_failed(&w->items) ? RAG_ENOMEM : RAG_OK;
}

static rag_code add_one(struct walk *w, const char *path, bool named);

static int visible(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static rag_code add_folder(struct walk *w, const char *path)
{
    struct dirent **names;
    int n = scandir(path, &names, visible, alphasort);
    if (n < 0)
        return add(w, path, NULL, strerror(errno));
    rag_code rc = RAG_OK;
    size_t len = strlen(path);
    bool slash = len && path[len - 1] == '/';
    for (int i = 0; i < n; i++) {
        char below[PATH_MAX];
        if (snprintf(below, sizeof below, "%s%s%s", path, slash ? "" : "/", names[i]->d_name) >=
            (int)sizeof below)
            w->n_skipped++; /* cannot be opened either */
        else if (!rc)
            rc = add_one(w, below, false);
        free(names[i]);
    }
    free(names);
    return rc;
}

static rag_code add_one(struct walk *w, const char *path, bool named)
{
    struct stat st;
    char real_path[PATH_MAX];
    if (stat(path, &st) || !realpath(path, real_path)) {
        bool typo = named && errno == ENOENT;
        return add(w, path, NULL, typo ? "No such file or directory: check the path" : strerror(errno));
    }
    bool folder = S_ISDIR(st.st_mode);
    if (!folder && !S_ISREG(st.st_mode)) {
        if (named)
            return add(w, path, NULL, "neither a file nor a folder");
        w->n_skipped++;
        return RAG_OK;
    }
    if (!folder && extract_format_of(path) == FORMAT_UNKNOWN) {
        if (named)
            return add(w, path, NULL, extract_advice(path));
        w->n_skipped++;
        return RAG_OK;
    }
    uint32_t before = w->seen.n, id;
    rag_code rc = strset_add(&w->seen, str_of(real_path), &id);
    if (rc || w->seen.n == before)
        return rc;
    return folder ? add_folder(w, path) : add(w, path, real_path, NULL);
}

rag_code walk_add(struct walk *w, const char *path)
{
    return add_one(w, path, true);
}
