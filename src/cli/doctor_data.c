/* The data folder as it lies. Readers disturb no server that is at work on it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/doctor_int.h"
#include "cli/verify.h"
#include "llm/ledger.h"
#include "store/history.h"
#include "store/store.h"

enum { SPACE_PROBLEM_MB = 64, SPACE_WARNING_MB = 1024 };

static const char restore[] = "stop the server, keep a copy of the folder, and restore the file from a backup";

/* ---- the folder ------------------------------------------------------------------------------------------ */

static void check_rights(struct doctor *d, const struct stat *st)
{
    const char *data = d->cfg.data;
    d->readable_data = access(data, R_OK | X_OK) == 0;
    if (!d->readable_data || access(data, W_OK) != 0)
        doctor_say(d, DOCTOR_PROBLEM, "data folder", "run ragd as its owner, or change the owner or the mode",
                   "%s: cannot be %s: it belongs to user %u and has mode %03o, and this is user %u", data,
                   d->readable_data ? "written" : "read", (unsigned)st->st_uid, (unsigned)st->st_mode & 0777,
                   (unsigned)geteuid());
    else if (st->st_mode & 022)
        doctor_say(d, DOCTOR_WARNING, "data folder", "chmod go-w on it", "%s: others may write into it (mode %03o)", data,
                   (unsigned)st->st_mode & 0777);
    else
        doctor_say(d, DOCTOR_OK, "data folder", NULL, "%s: mode %03o, can be written", data, (unsigned)st->st_mode & 0777);
}

static void check_space(struct doctor *d)
{
    struct statvfs v;
    if (statvfs(d->cfg.data, &v) != 0)
        return;
    uint64_t mb = (uint64_t)v.f_bavail * v.f_frsize >> 20;
    if (v.f_flag & ST_RDONLY)
        doctor_say(d, DOCTOR_PROBLEM, "disk", "mount it for writing", "%s: the file system is read-only", d->cfg.data);
    else if (mb < SPACE_WARNING_MB)
        doctor_say(d, mb < SPACE_PROBLEM_MB ? DOCTOR_PROBLEM : DOCTOR_WARNING, "disk",
                   "make room: on a full disk documents are refused, with status 507", "%llu MB free", (unsigned long long)mb);
    else
        doctor_say(d, DOCTOR_OK, "disk", NULL, "%.1f GB free", (double)mb / 1024);
}

static void check_holder(struct doctor *d)
{
    rag_code rc = data_lock_look(d->cfg.data, &d->holder);
    if (rc == RAG_OK)
        doctor_say(d, DOCTOR_OK, "lock", NULL, "nobody holds the folder");
    else if (rc != RAG_ECONFLICT)
        doctor_say(d, DOCTOR_PROBLEM, "lock", "run as the owner of the folder", "%s/LOCK: cannot be read", d->cfg.data);
    else if (d->holder.address[0])
        doctor_say(d, DOCTOR_OK, "lock", NULL, "held by the server at %s, process %ld", d->holder.address, d->holder.pid);
    else
        doctor_say(d, DOCTOR_WARNING, "lock", "wait until it has ended",
                   "held by process %ld, which does not serve: another command is at work", d->holder.pid);
}

void doctor_check_folder(struct doctor *d)
{
    struct stat st;
    const char *data = d->cfg.data;
    if (stat(data, &st) != 0) {
        if (errno == ENOENT)
            doctor_say(d, DOCTOR_OK, "data folder", NULL, "%s: not there yet: the first ragd ingest or ragd serve makes it",
                       data);
        else
            doctor_say(d, DOCTOR_PROBLEM, "data folder", "check the path and the rights on it", "%s: %s", data,
                       strerror(errno));
    } else if (!S_ISDIR(st.st_mode)) {
        doctor_say(d, DOCTOR_PROBLEM, "data folder", "name another with --data", "%s: not a folder", data);
    } else {
        d->have_data = true;
        check_rights(d, &st);
        check_space(d);
        check_holder(d);
    }
}

/* ---- databases ------------------------------------------------------------------------------------------- */

/* False: it is not there. */
static bool file_there(const struct doctor *d, const char *name, struct stat *st)
{
    char path[4200];
    return snprintf(path, sizeof path, "%s/%s", d->cfg.data, name) < (int)sizeof path && stat(path, st) == 0;
}

static void say_database(struct doctor *d, const char *file, rag_code rc, const struct rag_err *err, const struct stat *st)
{
    const char *why = err->msg[0] ? err->msg : rag_code_name(rc);
    if (rc == RAG_OK || rc == RAG_ENOTFOUND)
        doctor_say(d, DOCTOR_OK, "database", NULL, "%s: sound, %.1f MB", file, (double)st->st_size / (1 << 20));
    else if (rc == RAG_EVERSION)
        doctor_say(d, DOCTOR_PROBLEM, "database", "use the ragd that wrote the folder, or a newer one", "%s: %s", file, why);
    else if (rc == RAG_ECORRUPT)
        doctor_say(d, DOCTOR_PROBLEM, "database", restore, "%s: damaged, or encrypted: %s", file, why);
    else if (rc == RAG_EREADONLY)
        doctor_say(d, DOCTOR_PROBLEM, "database", "give this user the right to read and write it", "%s: %s", file, why);
    else
        doctor_say(d, DOCTOR_PROBLEM, "database", NULL, "%s: %s", file, why);
}

/* SQLite's user_version, where its file format keeps it; -1: cannot be read. */
static long schema_of(const struct doctor *d)
{
    char path[4200];
    unsigned char head[64];
    snprintf(path, sizeof path, "%s/ragd.db", d->cfg.data);
    FILE *f = fopen(path, "rbe");
    size_t n = f ? fread(head, 1, sizeof head, f) : 0;
    if (f)
        fclose(f);
    if (n < sizeof head)
        return -1;
    return (long)((uint32_t)head[60] << 24 | (uint32_t)head[61] << 16 | (uint32_t)head[62] << 8 | head[63]);
}

static void check_store(struct doctor *d)
{
    struct stat st;
    struct rag_err err = {0};
    struct store_reader *r = NULL;
    if (!file_there(d, "ragd.db", &st)) {
        doctor_say(d, DOCTOR_OK, "database", NULL, "ragd.db: not there yet: no document was added");
        return;
    }
    rag_code rc = store_reader_open(&(struct store_options){.dir = d->cfg.data, .read_only = true}, &r, &err);
    if (rc == RAG_EVERSION && schema_of(d) < STORE_SCHEMA_VERSION) {
        doctor_say(d, DOCTOR_OK, "database", NULL, "ragd.db: of an older ragd: ragd serve brings it up to date");
        return;
    }
    if (!rc)
        rc = store_quick_check(r, &err);
    store_reader_close(r);
    say_database(d, "ragd.db", rc, &err, &st);
}

static void check_history(struct doctor *d)
{
    struct stat st;
    struct rag_err err = {0};
    struct history *h = NULL;
    if (!file_there(d, "history.db", &st))
        return;
    rag_code rc = history_open(&(struct history_options){.dir = d->cfg.data, .read_only = true}, &h, &err);
    history_close(h);
    say_database(d, "history.db", rc, &err, &st);
}

/* A file from the future: the clock was set back since, or is wrong now. */
static void check_times(struct doctor *d)
{
    struct stat st;
    time_t now = time(NULL);
    if (file_there(d, "ragd.db", &st) && st.st_mtime > now + 300)
        doctor_say(d, DOCTOR_WARNING, "clock", "check the clock: budgets and the history go by it",
                   "ragd.db was written %ld s from now", (long)(st.st_mtime - now));
}

void doctor_check_databases(struct doctor *d)
{
    if (!d->readable_data)
        return;
    check_store(d);
    check_history(d);
    check_times(d);
}

/* ---- segments -------------------------------------------------------------------------------------------- */

struct damage {
    struct doctor *d;
    unsigned n;
};

static void damaged(void *ctx, const char *what, const char *why)
{
    struct damage *m = ctx;
    m->n++;
    doctor_say(m->d, DOCTOR_PROBLEM, "segments", "nothing is lost: the next start of ragd serve rebuilds it from the database",
               "%s: %s", what, why);
}

void doctor_check_segments(struct doctor *d)
{
    struct analyzer *an = NULL;
    struct rag_err err = {0};
    struct damage m = {d, 0};
    if (open_analyzer(&d->cfg, &an, &err)) {
        doctor_say(d, DOCTOR_PROBLEM, "user words", "correct the file of text.user_words_file", "%s", err.msg);
        return;
    }
    if (d->readable_data) {
        verify_manifest(d->cfg.data, damaged, &m);
        uint32_t fine = verify_segments(d->cfg.data, an, damaged, &m);
        if (m.n == 0)
            doctor_say(d, DOCTOR_OK, "segments", NULL, "%u files, every checksum right", fine);
    }
    analyzer_free(an);
}

/* ---- vectors --------------------------------------------------------------------------------------------- */

static rag_code find_model(struct store_reader *r, struct arena *a, const uint8_t *digest, int64_t *id, struct rag_err *err)
{
    struct store_model *models;
    uint32_t n;
    rag_code rc = store_models(r, a, &models, &n, err);
    *id = 0; /* no model has it: every vector is missing */
    for (uint32_t i = 0; i < n && !rc; i++)
        if (memcmp(models[i].digest, digest, 32) == 0)
            *id = models[i].id;
    return rc;
}

static rag_code say_missing(struct doctor *d, struct store_reader *r, struct arena *a, const uint8_t *digest,
                            struct rag_err *err)
{
    struct store_collection *c;
    uint32_t n = 0, behind = 0;
    int64_t model;
    rag_code rc = find_model(r, a, digest, &model, err);
    if (!rc)
        rc = store_collections(r, a, &c, &n, err);
    for (uint32_t i = 0; i < n && !rc; i++) {
        uint64_t missing = 0;
        rc = store_vectors_missing(r, model, c[i].id, &missing, err);
        if (rc || missing == 0)
            continue;
        behind++;
        doctor_say(d, DOCTOR_WARNING, "vectors",
                   d->holder.address[0] ? "wait: the server makes them in the background"
                                        : "run ragd serve: it makes them in the background; until then search goes by words",
                   "collection %.*s: %llu chunks have none of this model", (int)c[i].name.len, c[i].name.ptr,
                   (unsigned long long)missing);
    }
    if (!rc && behind == 0)
        doctor_say(d, DOCTOR_OK, "vectors", NULL, "every chunk of %u collections has one", n);
    return rc;
}

void doctor_check_vectors(struct doctor *d, const uint8_t *digest)
{
    struct store_reader *r = NULL;
    struct arena a = {0};
    struct rag_err err = {0};
    struct stat st;
    if (!digest || !d->readable_data || !file_there(d, "ragd.db", &st) ||
        store_reader_open(&(struct store_options){.dir = d->cfg.data, .read_only = true}, &r, &err))
        return; /* the check of the database says why */
    rag_code rc = say_missing(d, r, &a, digest, &err);
    if (rc)
        doctor_say(d, DOCTOR_PROBLEM, "vectors", NULL, "%s", err.msg[0] ? err.msg : rag_code_name(rc));
    store_reader_close(r);
    arena_clear(&a);
}

/* ---- budget ---------------------------------------------------------------------------------------------- */

static void say_budget(struct doctor *d, const char *period, nano_cny spent, nano_cny limit)
{
    double share = limit > 0 ? (double)spent / (double)limit : 0, cny = 1.0 / (double)NANO_PER_CNY;
    enum doctor_status s = DOCTOR_OK;
    const char *advice = NULL;
    if (share >= d->cfg.budget_stop) {
        s = DOCTOR_PROBLEM;
        advice = "raise the budget or wait: until then no model is asked and answers are extracts";
    } else if (share >= d->cfg.budget_warn) {
        s = DOCTOR_WARNING;
        advice = "the cheapest models answer from here on";
    }
    if (limit > 0)
        doctor_say(d, s, "budget", advice, "this %s: %.2f of %.2f CNY (%.0f %%)", period, (double)spent * cny,
                   (double)limit * cny, share * 100);
    else
        doctor_say(d, s, "budget", NULL, "this %s: %.2f CNY, without a limit", period, (double)spent * cny);
}

void doctor_check_budget(struct doctor *d)
{
    const struct config *c = &d->cfg;
    struct ledger_options opt = {.dir = c->data,
                                 .daily = c->budget_daily,
                                 .monthly = c->budget_monthly,
                                 .warn = c->budget_warn,
                                 .stop = c->budget_stop,
                                 .timezone = c->budget_timezone,
                                 .read_only = true};
    struct ledger *l = NULL;
    struct rag_err err = {0};
    struct ledger_totals t;
    struct stat st;
    if (!d->readable_data || !file_there(d, "ledger.db", &st))
        return;
    rag_code rc = ledger_open(&opt, &l, &err);
    say_database(d, "ledger.db", rc, &err, &st);
    if (!rc) {
        ledger_totals(l, &t);
        say_budget(d, "day", t.day_spent + t.day_open, t.day_limit);
        say_budget(d, "month", t.month_spent + t.month_open, t.month_limit);
    }
    ledger_close(l);
}
