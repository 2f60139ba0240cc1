#include "cli/cli.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "daemon/open.h"
#include "obs/log.h"
#include "sys/clock.h"
#include "text/utf8.h"

extern char **environ;

int cli_fail(int status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    flockfile(stderr);
    fputs("ragd: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    funlockfile(stderr);
    va_end(ap);
    return status;
}

/* ---- arguments ----------------------------------------------------------------------------------------- */
int cli_parse(const char *command, int argc, char **argv, const struct cli_option *options, int *n_positional)
{
    int n = 0;
    bool rest = false;
    for (int i = 1; i < argc; i++) {
        char *arg = argv[i];
        if (rest || arg[0] != '-' || strcmp(arg, "-") == 0) {
            argv[n++] = arg;
            continue;
        }
        if (strcmp(arg, "--") == 0) {
            rest = true;
            continue;
        }
        if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            cli_print_help(cli_find(command));
            return EXIT_OK;
        }
        size_t name_len = strcspn(arg, "=");
        const struct cli_option *o = options;
        while (o->name && (strncmp(o->name, arg, name_len) != 0 || o->name[name_len]))
            o++;
        if (!o->name)
            return cli_fail(EXIT_USAGE, "%s: unknown option %.*s: see ragd help %s", command, (int)name_len,
                            arg, command);
        if (o->flag && arg[name_len])
            return cli_fail(EXIT_USAGE, "%s: %s takes no value: see ragd help %s", command, o->name, command);
        if (o->flag) {
            *o->flag = true;
        } else if (arg[name_len]) {
            *o->value = arg + name_len + 1;
        } else if (i + 1 < argc) {
            *o->value = argv[++i];
        } else {
            return cli_fail(EXIT_USAGE, "%s: %s wants a value: see ragd help %s", command, o->name, command);
        }
    }
    *n_positional = n;
    return -1;
}

/* ---- configuration and data folder ---------------------------------------------------------------------- */
int cli_load_config(const char *command, const struct cli_common *common, struct config *out)
{
    (void)command;
    struct config_report report;
    config_report_init(&report);
    struct config_source src = {
        .file = common->config,
        .environment = (const char *const *)environ,
        .listen = common->listen,
        .data = common->data,
        .profile = common->profile,
    };
    rag_code rc = config_load(&src, out, &report);
    struct str lines = buf_str(&report.lines);
    while (lines.len) {
        const char *nl = memchr(lines.ptr, '\n', lines.len);
        size_t n = nl ? (size_t)(nl - lines.ptr) : lines.len;
        cli_fail(0, "config: %.*s", (int)n, lines.ptr);
        lines = str_make(lines.ptr + n + (nl != NULL), lines.len - n - (nl != NULL));
    }
    if (rc && report.n == 0)
        cli_fail(0, "config: %s", rag_code_name(rc));
    bool flags = rc == RAG_EINVAL && !common->config;
    config_report_clear(&report);
    if (rc) {
        config_clear(out);
        return flags ? EXIT_USAGE : EXIT_FAIL;
    }
    enum log_level level;
    if (log_level_parse(out->log_level, &level))
        log_set_level(level);
    return -1;
}

static int open_folder(const char *command, struct cli_house *h)
{
    enum log_level level; /* a command's own output is enough: only what is wrong is logged beside it */
    if (log_level_parse(h->cfg.log_level, &level) && level == LOG_INFO)
        log_set_level(LOG_WARN);
    struct rag_err err = {0};
    rag_code rc = open_analyzer(&h->cfg, &h->analyzer, &err);
    if (!rc)
        rc = open_models(&h->cfg, h->cfg.data, &h->models);
    if (!rc)
        rc = open_knowledge(&h->cfg, h->analyzer, &h->models, true, &h->knowledge, &err);
    if (rc)
        return cli_fail(EXIT_FAIL, "%s: %s", command, err.msg[0] ? err.msg : rag_code_name(rc));
    return -1;
}

rag_code cli_resolve_keys(const char *command, struct config *cfg)
{
    struct config_report report;
    config_report_init(&report);
    rag_code rc = config_resolve_keys(cfg, (const char *const *)environ, &report);
    struct str l = buf_str(&report.lines);
    if (rc)
        cli_fail(EXIT_FAIL, "%s: %.*s", command, (int)(l.len ? l.len - 1 : 0), l.ptr ? l.ptr : "");
    config_report_clear(&report);
    return rc;
}

int cli_house_open(const char *command, const struct cli_common *common, bool must_exist, struct cli_house *h)
{
    *h = (struct cli_house){.lock = {.fd = -1}};
    int status = cli_load_config(command, common, &h->cfg);
    if (status >= 0)
        return status;
    struct stat st;
    if (must_exist && stat(h->cfg.data, &st) != 0) {
        status = cli_fail(EXIT_FAIL,
                          "%s: data folder %s: %s: fill it with ragd ingest or name another with --data",
                          command, h->cfg.data, strerror(errno));
        cli_house_close(h);
        return status;
    }
    struct rag_err err = {0};
    rag_code rc = open_check_data(&h->cfg, &err);
    if (!rc)
        rc = data_lock_take(h->cfg.data, &h->lock, &h->holder, &err);
    for (int i = 0; rc == RAG_ECONFLICT && !h->holder.address[0] && i < 50; i++) {
        /* A server about to listen has no address yet; a short command is soon gone. flock has no wait with a limit,
         * and nobody signals another process's LOCK, so it is looked at ten times a second, for 5 s. */
        usleep(100000);
        rc = data_lock_take(h->cfg.data, &h->lock, &h->holder, &err);
    }
    if (rc == RAG_ECONFLICT && h->holder.address[0]) {
        h->remote = true;
        h->lock.fd = -1;
        return -1;
    }
    if (rc == RAG_ECONFLICT)
        status = cli_fail(EXIT_FAIL, "%s: data folder %s: in use by process %ld: wait until it has ended",
                          command, h->cfg.data, h->holder.pid);
    else if (rc)
        status = cli_fail(EXIT_FAIL, "%s: %s", command, err.msg[0] ? err.msg : rag_code_name(rc));
    else
        status = open_folder(command, h);
    if (status >= 0)
        cli_house_close(h);
    return status;
}

void cli_house_close(struct cli_house *h)
{
    knowledge_close(h->knowledge);
    open_models_close(&h->models);
    analyzer_free(h->analyzer);
    if (h->lock.fd >= 0)
        data_lock_release(&h->lock);
    config_clear(&h->cfg);
    *h = (struct cli_house){.lock = {.fd = -1}};
}

void cli_reply_message(const struct http_reply *r, char *out, size_t size)
{
    json_t *root = json_loadb(r->body.ptr ? r->body.ptr : "", r->body.len, 0, NULL);
    const char *msg = json_string_value(json_object_get(json_object_get(root, "error"), "message"));
    if (msg)
        snprintf(out, size, "%s", msg);
    else
        snprintf(out, size, "the server answered HTTP %ld", r->status);
    json_decref(root);
}

const char *cli_self_exe(void)
{
    static char path[PATH_MAX];
    if (!path[0]) {
        ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
        snprintf(path + (n > 0 ? n : 0), sizeof path - (size_t)(n > 0 ? n : 0), "%s", n > 0 ? "" : "ragd");
    }
    return path;
}

/* ---- progress ------------------------------------------------------------------------------------------ */
void cli_progress_start(struct cli_progress *p, const char *what)
{
    *p = (struct cli_progress){.what = what, .start_ns = clock_mono_ns(), .tty = isatty(STDERR_FILENO) == 1};
}

void cli_progress_step(struct cli_progress *p, uint64_t done, uint64_t total)
{
    int64_t now = p->tty ? clock_mono_ns() : 0;
    if (!p->tty || now - p->start_ns < 1000000000 || now - p->last_ns < 100000000)
        return;
    p->last_ns = now;
    p->shown = true;
    double s = (double)(now - p->start_ns) / 1e9, rate = (double)done / s;
    if (!total) {
        fprintf(stderr, "\r\033[K%s: %llu (%.0f/s)", p->what, (unsigned long long)done, rate);
        return;
    }
    enum { WIDTH = 30 };
    static const char bar[] = "##############################";
    int filled = (int)(done * WIDTH / total);
    fprintf(stderr, "\r\033[K%s [%.*s%*s] %llu/%llu", p->what, filled, bar, WIDTH - filled, "",
            (unsigned long long)done, (unsigned long long)total);
    if (done && done < total)
        fprintf(stderr, ", %.0f s left", (double)(total - done) / rate);
}

void cli_progress_end(struct cli_progress *p)
{
    if (p->shown)
        fputs("\r\033[K", stderr);
    p->shown = false;
}

/* ---- ids ----------------------------------------------------------------------------------------------- */
void cli_document_id(struct buf *out, const char *real_path)
{
    struct str s = str_of(*real_path == '/' ? real_path + 1 : real_path);
    size_t from = out->len;
    for (size_t i = 0; i < s.len;) {
        size_t at = i;
        uint32_t cp = utf8_next(s, &i);
        bool bad = !utf8_valid(str_make(s.ptr + at, i - at));
        if (cp == '/')
            buf_addc(out, ':');
        else if (bad || cp < 0x20 || cp == 0x7F || cp == ':' || cp == '=')
            for (size_t j = at; j < i; j++)
                buf_addf(out, "=%02x", (unsigned char)s.ptr[j]);
        else
            buf_add(out, s.ptr + at, i - at);
    }
    if (out->len - from <= 512 || buf_failed(out))
        return;
    char head[24];
    int n = snprintf(head, sizeof head,
                     "=#%016llx:", (unsigned long long)hash_bytes(real_path, strlen(real_path), 0));
    size_t keep = 512 - (size_t)n, tail = out->len - keep;
    while (tail < out->len && ((unsigned char)out->ptr[tail] & 0xC0) == 0x80)
        tail++;
    keep = out->len - tail;
    memmove(out->ptr + from + n, out->ptr + tail, keep); /* n + keep <= 512: within what is there */
    memcpy(out->ptr + from, head, (size_t)n);
    out->len = from + (size_t)n + keep;
}
