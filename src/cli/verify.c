#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/verify.h"
#include "daemon/open.h"
#include "index/manifest.h"
#include "index/segment.h"
#include "index/vectors.h"
#include "sys/file.h"
#include "wire/json_out.h"

struct findings {
    struct buf json; /* items of the JSON list */
    uint32_t n, segments;
    bool print;
};

static void found(void *ctx, const char *what, const char *why)
{
    struct findings *f = ctx;
    buf_addz(&f->json, f->n++ ? ",{\"what\":\"" : "{\"what\":\"");
    json_escape(&f->json, str_of(what));
    buf_addz(&f->json, "\",\"why\":\"");
    json_escape(&f->json, str_of(why));
    buf_addz(&f->json, "\"}");
    if (f->print)
        printf("%s: %s\n", what, why);
}

static bool has_file(const char *dir, const char *file)
{
    char path[4500];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", dir, file);
    return stat(path, &st) == 0;
}

static rag_code read_manifest(const char *path, struct manifest *m, struct rag_err *err)
{
    struct buf bytes;
    buf_init(&bytes, MEM_INDEX);
    rag_code rc = file_read_all(path, 64 << 20, &bytes, err);
    if (!rc)
        rc = manifest_parse(buf_str(&bytes), m, err);
    buf_clear(&bytes);
    return rc;
}

static bool names_file(const struct manifest *m, const char *file)
{
    const struct manifest_entry *e = (const void *)m->entries.ptr;
    for (size_t i = 0; i < m->entries.len / sizeof *e; i++)
        if (strcmp(e[i].file, file) == 0)
            return true;
    return false;
}

/* The manifest and the files that it names. A merge replaces the manifest before it removes files, so a file that is
 * missing is a finding only when the manifest, read again, still names it. */
void verify_manifest(const char *data, verify_found *report, void *ctx)
{
    char dir[4200], path[4500];
    snprintf(dir, sizeof dir, "%s/segments", data);
    snprintf(path, sizeof path, "%s/MANIFEST", dir);
    struct manifest m, again;
    struct rag_err err = {0};
    manifest_init(&m);
    manifest_init(&again);
    rag_code rc = read_manifest(path, &m, &err);
    const struct manifest_entry *e = (const void *)m.entries.ptr;
    bool missing = false;
    for (size_t i = 0; !rc && i < m.entries.len / sizeof *e; i++)
        missing |= !has_file(dir, e[i].file);
    if (missing)
        rc = read_manifest(path, &again, &err);
    if (rc && rc != RAG_ENOTFOUND) /* not there: none yet, or everything is rebuilt */
        report(ctx, path, err.msg[0] ? err.msg : rag_code_name(rc));
    for (size_t i = 0; !rc && missing && i < m.entries.len / sizeof *e; i++)
        if (names_file(&again, e[i].file) && !has_file(dir, e[i].file)) {
            snprintf(path, sizeof path, "%s/%s", dir, e[i].file);
            report(ctx, path, "named by MANIFEST, but missing");
        }
    manifest_clear(&again);
    manifest_clear(&m);
}

/* One built with other analyser rules is fine: it is rebuilt. */
uint32_t verify_segments(const char *data, const struct analyzer *an, verify_found *report, void *ctx)
{
    char dir[4200], path[4500];
    snprintf(dir, sizeof dir, "%s/segments", data);
    DIR *d = opendir(dir);
    uint32_t fine = 0;
    if (!d)
        return 0; /* none yet */
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        size_t n = strlen(e->d_name);
        if (n < 5 || strcmp(e->d_name + n - 4, ".seg") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        struct segment *s = NULL;
        struct rag_err err = {0};
        rag_code rc = segment_open(path, analyzer_fingerprint(an), &s, &err);
        if (rc == RAG_OK || rc == RAG_ECONFLICT)
            fine++;
        else if (rc != RAG_ENOTFOUND)
            report(ctx, path, err.msg[0] ? err.msg : rag_code_name(rc));
        segment_unref(s);
    }
    closedir(d);
    return fine;
}

/* An older format is fine: what it held is read from the database. */
static void verify_vectors(const char *data, struct findings *f)
{
    char dir[4200], path[4500];
    snprintf(dir, sizeof dir, "%s/segments", data);
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        size_t n = strlen(e->d_name);
        if (n < 5 || strcmp(e->d_name + n - 4, ".vec") != 0)
            continue;
        struct rag_err err = {0};
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        rag_code rc = vector_file_verify(path, &err);
        if (rc && rc != RAG_ENOTFOUND && rc != RAG_EVERSION)
            found(f, path, err.msg[0] ? err.msg : rag_code_name(rc));
    }
    if (d)
        closedir(d);
}

static int verify_database(const char *data, struct findings *f, struct store_counts *counts)
{
    struct store_reader *r = NULL;
    struct rag_err err = {0};
    struct store_options opt = {.dir = data, .read_only = true};
    rag_code rc = store_reader_open(&opt, &r, &err);
    uint32_t n = 0;
    if (!rc)
        rc = store_verify(r, &n, &err);
    if (rc)
        found(f, "database", err.msg[0] ? err.msg : rag_code_name(rc));
    for (uint32_t i = 1; i < n; i++)
        f->n++;
    if (!rc)
        rc = store_count(r, 0, counts, &err);
    store_reader_close(r);
    return rc ? EXIT_FAIL : EXIT_OK;
}

/* The folder is checked as it lies, with or without a server at work on it: readers disturb nobody. Segment files
 * that a merge deletes meanwhile are no finding. */
int cmd_verify(int argc, char **argv)
{
    struct cli_common common = {0};
    bool json = false;
    const struct cli_option options[] = {CLI_COMMON_OPTIONS(&common), {"--json", NULL, &json}, {0}};
    int n, status = cli_parse("verify", argc, argv, options, &n);
    if (status >= 0)
        return status;
    if (n)
        return cli_fail(EXIT_USAGE,
                        "verify: %s: backup files are not yet supported: give a folder with --data", argv[0]);
    struct config cfg;
    status = cli_load_config("verify", &common, &cfg);
    if (status >= 0)
        return status;
    struct stat st;
    char db[4200];
    snprintf(db, sizeof db, "%s/ragd.db", cfg.data);
    if (stat(db, &st) != 0) {
        status = cli_fail(EXIT_FAIL, "verify: %s: %s: name the data folder with --data", db, strerror(errno));
        config_clear(&cfg);
        return status;
    }
    struct analyzer *an = NULL;
    struct rag_err err = {0};
    if (open_analyzer(&cfg, &an, &err)) {
        config_clear(&cfg);
        return cli_fail(EXIT_FAIL, "verify: %s", err.msg);
    }
    struct findings f = {.print = !json};
    struct store_counts counts = {0};
    buf_init(&f.json, MEM_MISC);
    verify_database(cfg.data, &f, &counts);
    verify_manifest(cfg.data, found, &f);
    f.segments = verify_segments(cfg.data, an, found, &f);
    verify_vectors(cfg.data, &f);
    if (json)
        printf(
            "{\"ok\":%s,\"collections\":%llu,\"documents\":%llu,\"chunks\":%llu,\"segment_files\":%u,\"findings\":[%.*s]}\n",
            f.n ? "false" : "true", (unsigned long long)counts.collections,
            (unsigned long long)counts.documents, (unsigned long long)counts.chunks, f.segments,
            (int)f.json.len, f.json.ptr ? f.json.ptr : "");
    else if (f.n == 0)
        printf("%s: fine: %llu documents, %llu chunks in %llu collections, %u segment files\n", cfg.data,
               (unsigned long long)counts.documents, (unsigned long long)counts.chunks,
               (unsigned long long)counts.collections, f.segments);
    if (f.n)
        cli_fail(
            0,
            "verify: %s: %u findings: segment and vector files are rebuilt by ragd serve; restore a damaged database from a copy",
            cfg.data, f.n);
    status = f.n ? EXIT_FAIL : EXIT_OK;
    buf_clear(&f.json);
    analyzer_free(an);
    config_clear(&cfg);
    return status;
}
