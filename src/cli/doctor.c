#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/doctor_int.h"
#include "model/encoder.h"
#include "obs/log.h"
#include "sys/child.h"
#include "sys/cpu.h"
#include "sys/zone.h"
#include "text/utf8.h"
#include "wire/json_out.h"

extern char **environ;

/* Beside connections: those in excess that get a refusal, files, threads' pipes. */
enum { OTHER_DESCRIPTORS = 1280 };
/* No clock that is right shows an earlier time: 2025-01-01. */
static const time_t earliest = 1735689600;

static const char *const statuses[DOCTOR_STATUSES] = {"ok", "warning", "problem"};

/* ---- findings -------------------------------------------------------------------------------------------- */

static void add_json(struct buf *out, const char *status, const char *check, const char *advice, const char *message)
{
    const struct {
        const char *key, *value;
    } fields[] = {{"check", check}, {"status", status}, {"message", message}, {"advice", advice}};
    json_add_open(out, '{');
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        json_add_key(out, fields[i].key);
        if (fields[i].value)
            json_add_string(out, str_of(fields[i].value));
        else
            json_add_null(out);
    }
    json_add_close(out, '}');
}

/* A name of a file may be no UTF-8, and a message may be cut within a character. */
static void make_utf8(char *message)
{
    struct str s = str_of(message);
    for (size_t i = 0, at = 0; i < s.len; at = i) {
        (void)utf8_next(s, &i);
        if (!utf8_valid(str_make(s.ptr + at, i - at)))
            memset(message + at, '?', i - at);
    }
}

void doctor_say(struct doctor *d, enum doctor_status status, const char *check, const char *advice, const char *fmt, ...)
{
    char message[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    make_utf8(message);
    d->n[status]++;
    if (d->json) {
        add_json(&d->out, statuses[status], check, advice, message);
        return;
    }
    printf("%-8s %-14s %s\n", statuses[status], check, message);
    if (advice)
        printf("%-8s %-14s   -> %s\n", "", "", advice);
    fflush(stdout);
}

static void say_lines(struct doctor *d, enum doctor_status status, const char *check, struct str lines)
{
    while (lines.len) {
        const char *nl = memchr(lines.ptr, '\n', lines.len);
        size_t n = nl ? (size_t)(nl - lines.ptr) : lines.len;
        doctor_say(d, status, check, NULL, "%.*s", (int)n, lines.ptr);
        lines = str_make(lines.ptr + n + (nl != NULL), lines.len - n - (nl != NULL));
    }
}

/* ---- configuration --------------------------------------------------------------------------------------- */

static void check_mode(struct doctor *d, const char *file, mode_t forbidden, const char *advice, const char *what)
{
    struct stat st;
    if (file && stat(file, &st) == 0 && st.st_mode & forbidden)
        doctor_say(d, DOCTOR_WARNING, "file modes", advice, "%s: others may %s (mode %03o)", file, what,
                   (unsigned)st.st_mode & 0777);
}

static void check_secrets(struct doctor *d)
{
    struct config *c = &d->cfg;
    struct config_report report;
    config_report_init(&report);
    if (config_resolve_keys(c, (const char *const *)environ, &report))
        say_lines(d, DOCTOR_PROBLEM, "keys", buf_str(&report.lines));
    else
        doctor_say(d, DOCTOR_OK, "keys", NULL, c->keys.n ? "all %u are there" : "none: the server is open, on loopback only",
                   c->keys.n);
    config_report_clear(&report);
    check_mode(d, c->file, 022, "chmod go-w on it", "change the configuration");
    for (uint32_t i = 0; i < c->keys.n; i++)
        check_mode(d, c->keys.items[i].key_file, 077, "chmod 600 on it", "read the key");
    for (uint32_t i = 0; i < c->upstreams.n; i++)
        check_mode(d, c->upstreams.items[i].key_file, 077, "chmod 600 on it", "read the key");
}

/* False: it cannot be used, so nothing that hangs on it can be checked. */
static bool check_config(struct doctor *d, const struct cli_common *common)
{
    struct config_source src = {.file = common->config,
                                .environment = (const char *const *)environ,
                                .listen = common->listen,
                                .data = common->data,
                                .profile = common->profile};
    struct config_report report;
    config_report_init(&report);
    rag_code rc = config_load(&src, &d->cfg, &report);
    say_lines(d, DOCTOR_PROBLEM, "configuration", buf_str(&report.lines));
    if (rc && report.n == 0)
        doctor_say(d, DOCTOR_PROBLEM, "configuration", NULL, "%s", rag_code_name(rc));
    config_report_clear(&report);
    if (rc)
        return false;
    doctor_say(d, DOCTOR_OK, "configuration", NULL, "%s: no errors; profile %s",
               d->cfg.file ? d->cfg.file : "defaults and environment", d->cfg.profile_name);
    say_lines(d, DOCTOR_WARNING, "configuration", buf_str(&d->cfg.notes));
    check_secrets(d);
    return true;
}

/* ---- this machine ---------------------------------------------------------------------------------------- */

static void check_cpu(struct doctor *d)
{
    const char *features = cpu_feature_list();
    bool plain = strcmp(features, "baseline") == 0;
    doctor_say(d, plain ? DOCTOR_WARNING : DOCTOR_OK, "cpu",
               plain ? "expect slow vectors: they want AVX2 or NEON; under a hypervisor, pass the host's CPU through" : NULL,
               "%u cores, %s: %s", cpu_count(), cpu_name(), features);
}

static void check_clock(struct doctor *d)
{
    struct zone *z = NULL;
    struct rag_err err = {0};
    time_t now = time(NULL);
    if (zone_open(d->cfg.budget_timezone, &z, &err)) {
        doctor_say(d, DOCTOR_PROBLEM, "time zone", "install tzdata, or correct budget.timezone", "%s", err.msg);
        return;
    }
    int32_t offset = zone_offset_s(z, now);
    char day[16];
    civil_format(zone_day(z, (int64_t)now * 1000), day);
    zone_close(z);
    if (now < earliest)
        doctor_say(d, DOCTOR_PROBLEM, "clock", "set the clock: certificates, budgets and the history go by it",
                   "it shows %s, which is past", day);
    else
        doctor_say(d, DOCTOR_OK, "clock", NULL, "the budget's day is %s, %s (UTC%+.4g h)", day, d->cfg.budget_timezone,
                   offset / 3600.0);
}

static void check_limits(struct doctor *d)
{
    struct rlimit r;
    uint64_t want = (uint64_t)config_connections(&d->cfg) + d->cfg.max_generations + d->cfg.max_queries + OTHER_DESCRIPTORS;
    if (getrlimit(RLIMIT_NOFILE, &r))
        return;
    if (r.rlim_max < want)
        doctor_say(d, DOCTOR_WARNING, "descriptors", "raise ulimit -Hn (LimitNOFILE in systemd), or lower limits.connections",
                   "at most %llu, and %u connections want %llu: the server takes fewer", (unsigned long long)r.rlim_max,
                   config_connections(&d->cfg), (unsigned long long)want);
    else
        doctor_say(d, DOCTOR_OK, "descriptors", NULL, "%llu wanted for %u connections, and allowed", (unsigned long long)want,
                   config_connections(&d->cfg));
}

static void check_pdftotext(struct doctor *d)
{
    const char *named = getenv("RAGD_PDFTOTEXT"), *path = named ? named : "/usr/bin/pdftotext"; /* as extract/pdf.c */
    if (!named && access(path, X_OK) != 0)
        path = "/usr/local/bin/pdftotext";
    if (access(path, X_OK) != 0) {
        doctor_say(d, DOCTOR_WARNING, "pdf", "install poppler-utils (and poppler-data for Chinese)",
                   "no pdftotext: PDF files are refused");
        return;
    }
    const char *const argv[] = {"/bin/sh", "-c", "exec \"$0\" -v 2>&1", path, NULL}; /* it says its version on stderr */
    struct child_limits lim = {.output_bytes = 4096, .files = 16, .cpu_s = 5, .wall_ms = 5000};
    struct child_result res = {0};
    struct buf out;
    buf_init(&out, MEM_MISC);
    rag_code rc = child_run(argv, NULL, (struct str){0}, &lim, &out, &res);
    const char *nl = out.len ? memchr(out.ptr, '\n', out.len) : NULL;
    if (!rc && res.end == CHILD_EXITED && nl)
        doctor_say(d, DOCTOR_OK, "pdf", NULL, "%s: %.*s", path, (int)(nl - out.ptr), out.ptr);
    else
        doctor_say(d, DOCTOR_WARNING, "pdf", "install poppler-utils again", "%s: does not run: PDF files are refused", path);
    buf_clear(&out);
}

/* ---- the model ------------------------------------------------------------------------------------------- */

static rag_code encode_one(const struct model *m, double *norm)
{
    const struct str text = STR_LIT("白金卡年费 annual fee");
    struct encoder *e = NULL;
    uint32_t dims = model_info(m)->dims;
    float *v = mem_zalloc(MEM_MODEL, dims * sizeof *v);
    rag_code rc = v ? encoder_new(m, &e) : RAG_ENOMEM;
    if (!rc)
        rc = encoder_run(e, ENCODE_QUERY, &text, 1, NULL, v, NULL);
    double sum = 0;
    for (uint32_t i = 0; i < dims && !rc; i++)
        sum += (double)v[i] * (double)v[i];
    *norm = sqrt(sum);
    encoder_free(e);
    mem_free(MEM_MODEL, v);
    return rc;
}

/* Its digest into `digest`; false: there is none that can be used. */
static bool check_model(struct doctor *d, uint8_t digest[32])
{
    char path[4096];
    struct model *m = NULL;
    struct rag_err err = {0};
    double norm = 0;
    if (!d->cfg.profile.stage_dense || strcmp(d->cfg.embedding_provider, "none") == 0) {
        doctor_say(d, DOCTOR_OK, "model", NULL, "off: search goes by words");
        return false;
    }
    rag_code rc = model_resolve(d->cfg.embedding_model, path, sizeof path, &err);
    if (rc == RAG_ENOTFOUND) {
        doctor_say(d, DOCTOR_WARNING, "model", "make model gets the default one; until then search goes by words", "%s",
                   err.msg);
        return false;
    }
    if (!rc)
        rc = model_open(path, true, &m, &err);
    if (rc) {
        doctor_say(d, DOCTOR_PROBLEM, "model", "get it again: remove the file, then make model or ragd model import", "%s",
                   err.msg[0] ? err.msg : rag_code_name(rc));
        return false;
    }
    const struct model_info *info = model_info(m);
    rc = encode_one(m, &norm);
    bool fine = !rc && info->normalize && fabs(norm - 1) < 1e-3;
    doctor_say(d, fine ? DOCTOR_OK : DOCTOR_PROBLEM, "model", fine ? NULL : "use another model: cosines need unit vectors",
               "%s: %s; every byte verified, vectors of %u numbers, length %.4f, kernels %s", info->name, path, info->dims, norm,
               encoder_kernels());
    memcpy(digest, info->digest, 32);
    model_close(m);
    return fine;
}

/* ---- the command ----------------------------------------------------------------------------------------- */

static void check_all(struct doctor *d, const struct cli_common *common)
{
    uint8_t digest[32];
    bool usable = check_config(d, common);
    check_cpu(d);
    check_pdftotext(d);
    if (!usable)
        return;
    check_limits(d);
    check_clock(d);
    doctor_check_folder(d);
    doctor_check_databases(d);
    doctor_check_segments(d);
    bool model = check_model(d, digest);
    doctor_check_vectors(d, model ? digest : NULL);
    doctor_check_listen(d);
    doctor_check_server(d);
    doctor_check_budget(d);
    doctor_check_upstreams(d);
}

static void print_sum(const struct doctor *d)
{
    unsigned problems = d->n[DOCTOR_PROBLEM], warnings = d->n[DOCTOR_WARNING];
    if (d->json)
        printf("{\"ok\":%s,\"problems\":%u,\"warnings\":%u,\"checks\":[%.*s]}\n", problems ? "false" : "true", problems,
               warnings, (int)d->out.len, d->out.ptr ? d->out.ptr : "");
    else
        printf("\n%u problem%s, %u warning%s\n", problems, problems == 1 ? "" : "s", warnings, warnings == 1 ? "" : "s");
}

int cmd_doctor(int argc, char **argv)
{
    struct cli_common common = {0};
    struct doctor d = {0};
    const struct cli_option options[] = {CLI_COMMON_OPTIONS(&common),
                                         {"--listen", &common.listen, NULL},
                                         {"--profile", &common.profile, NULL},
                                         {"--json", NULL, &d.json},
                                         {0}};
    int n, status = cli_parse("doctor", argc, argv, options, &n);
    if (status >= 0)
        return status;
    if (n)
        return cli_fail(EXIT_USAGE, "doctor: %s: takes no argument: see ragd help doctor", argv[0]);
    log_set_level(LOG_OFF); /* what is wrong is a finding */
    if (http_client_global_init())
        return cli_fail(EXIT_FAIL, "doctor: out of memory");
    buf_init(&d.out, MEM_MISC);
    check_all(&d, &common);
    bool cut = buf_failed(&d.out);
    if (!cut)
        print_sum(&d);
    buf_clear(&d.out);
    config_clear(&d.cfg);
    return cut ? cli_fail(EXIT_FAIL, "doctor: out of memory") : d.n[DOCTOR_PROBLEM] ? EXIT_FAIL : EXIT_OK;
}
