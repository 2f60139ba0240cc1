/* Where models are. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "model/import_int.h"
#include "sys/file.h"

rag_code model_cache_dir(char *out, size_t size, struct rag_err *err)
{
    static const struct {
        const char *variable, *below;
    } places[] = {{"RAGD_MODELS", ""}, {"XDG_CACHE_HOME", "/ragd/models"}, {"HOME", "/.cache/ragd/models"}};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *value = getenv(places[i].variable);
        if (!value || !value[0] || (i == 1 && value[0] != '/')) /* a relative XDG_CACHE_HOME is to be ignored */
            continue;
        int n = snprintf(out, size, "%s%s", value, places[i].below);
        if (n < 0 || (size_t)n >= size)
            return rag_err_set(err, RAG_ETOOBIG, "%s: path too long", places[i].variable);
        return RAG_OK;
    }
    return rag_err_set(err, RAG_ENOTFOUND, "no folder for models: set RAGD_MODELS or HOME");
}

/* What the vectors of a folder depend on: its JSON files and its weights. */
static rag_code folder_hash(const char *dir, uint64_t *out, struct rag_err *err)
{
    static const char *const files[] = {"config.json",
                                        "tokenizer.json",
                                        "modules.json",
                                        "1_Pooling/config.json",
                                        "sentence_bert_config.json",
                                        "config_sentence_transformers.json",
                                        "ragd.json",
                                        "model.safetensors"};
    uint64_t h = MODEL_VERSION;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[4096];
        struct file_map map;
        struct stat st;
        rag_code rc = import_path(path, dir, files[i], err);
        if (!rc && stat(path, &st) == 0 && !S_ISREG(st.st_mode))
            rc = rag_err_set(err, RAG_EFORMAT, "%s: not a file", path);
        if (rc)
            return rc;
        rc = file_map_open(&map, path);
        if (rc && rc != RAG_ENOTFOUND)
            return rag_err_set(err, rc, "%s: cannot read: %s", path, rag_code_name(rc));
        h = hash_bytes(map.ptr, map.len, h + i + (rc == RAG_OK ? 1000 : 0));
        file_map_clear(&map);
    }
    *out = h;
    return RAG_OK;
}

/* A folder is packed into the cache once: the file is named by what the folder holds. */
static rag_code resolve_folder(const char *dir, char *path, size_t size, struct rag_err *err)
{
    char cache[3900], name[65];
    uint64_t h = 0;
    struct stat st;
    rag_code rc = model_cache_dir(cache, sizeof cache, err);
    if (!rc)
        rc = folder_hash(dir, &h, err);
    if (rc)
        return rc;
    import_folder_name(dir, name);
    int n = snprintf(path, size, "%s/%.47s-%016llx.ragm", cache, name, (unsigned long long)h);
    if (n < 0 || (size_t)n >= size)
        return rag_err_set(err, RAG_ETOOBIG, "%.100s...: path too long", cache);
    if (stat(path, &st) == 0)
        return RAG_OK;
    rc = file_mkdirs(cache, 0700);
    if (rc)
        return rag_err_set(err, rc, "folder of models %s: cannot create: %s", cache, rag_code_name(rc));
    struct model_import_options opt = {.weights = MODEL_INT8};
    return model_import(dir, &opt, path, err);
}

rag_code model_resolve(const char *name, char *path, size_t size, struct rag_err *err)
{
    char cache[3900];
    struct stat st;
    size_t len = strlen(name);
    bool is_path = strchr(name, '/') || (len > 5 && strcmp(name + len - 5, ".ragm") == 0);
    if (is_path) {
        if (stat(name, &st) != 0)
            return rag_err_set(err, rag_code_from_errno(errno), "model %s: %s: see ragd model list", name,
                               strerror(errno));
        if (S_ISDIR(st.st_mode))
            return resolve_folder(name, path, size, err);
        if (len >= size)
            return rag_err_set(err, RAG_ETOOBIG, "model %.100s...: path too long", name);
        memcpy(path, name, len + 1);
        return RAG_OK;
    }
    if (!model_name_ok(name))
        return rag_err_set(err, RAG_EINVAL, "model %.80s: a name is 1 to 64 of A-Z a-z 0-9 _ . -; a folder has a / in it",
                           name);
    rag_code rc = model_cache_dir(cache, sizeof cache, err);
    if (rc)
        return rc;
    int n = snprintf(path, size, "%s/%s.ragm", cache, name);
    if (n < 0 || (size_t)n >= size)
        return rag_err_set(err, RAG_ETOOBIG, "%.100s...: path too long", cache);
    if (stat(path, &st) == 0)
        return RAG_OK;
    if (stat(name, &st) == 0 && S_ISDIR(st.st_mode)) /* a folder right here, named without a slash */
        return resolve_folder(name, path, size, err);
    return rag_err_set(err, RAG_ENOTFOUND,
                       "model %s: not in %s: get its folder (ragd model list says where), then run ragd model import DIR --name %s",
                       name, cache, name);
}
