#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "daemon/open.h"
#include "index/segment.h"
#include "wire/json_out.h"

struct findings {
    struct buf json; /* items of the JSON list */
    uint32_t n, segments;
    bool print;
};

static void found(struct findings *f, const char *what, const char *why)
{
    buf_addz(&f->json, f->n++ ? ",{\"what\":\"" : "{\"what\":\"");
    json_escape(&f->json, str_of(what));
    buf_addz(&f->json, "\",\"why\":\"");
    json_escape(&f->json, str_of(why));
    buf_addz(&f->json, "\"}");
    if (f->print)
        printf("%s: %s\n", what, why);
}

/* Maps every segment file with all its checks. One built with other analyser rules is fine: it is rebuilt. */
static void verify_segments(const char *data, const struct analyzer *an, struct findings *f)
{
    char dir[4200], path[4500];
    snprintf(dir, sizeof dir, "%s/segments", data);
    DIR *d = opendir(dir);
    if (!d)
        return; /* none yet */
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        size_t n = strlen(e->d_name);
        if (n < 5 || strcmp(e->d_name + n - 4, ".seg") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        struct segment *s = NULL;
        struct rag_err err = {0};
        rag_code rc = segment_open(path, analyzer_fingerprint(an), &s, &err);
        if (rc == RAG_OK || rc == RAG_ECONFLICT)
            f->segments++;
        else if (rc != RAG_ENOTFOUND)
            found(f, path, err.msg[0] ? err.msg : rag_code_name(rc));
        segment_unref(s);
    }
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
    verify_segments(cfg.data, an, &f);
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
            "verify: %s: %u findings: segment files are rebuilt by ragd serve; restore a damaged database from a copy",
            cfg.data, f.n);
    status = f.n ? EXIT_FAIL : EXIT_OK;
    buf_clear(&f.json);
    analyzer_free(an);
    config_clear(&cfg);
    return status;
}
