/* Ledger files: any bytes are refused, or serve for opening, totals, a reservation, its settlement and a report. An input is
 * a whole file when it begins like one, else patches of a sound one: 4 bytes where, 1 byte xor; 4 bytes alone at the end cut
 * it there. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "llm/ledger.h"
#include "obs/log.h"
#include "sys/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64], path[128];
static struct buf sound;

static int64_t now_ms(void)
{
    return INT64_C(1795500000000);
}

struct waiter {
    pthread_mutex_t mu;
    pthread_cond_t cond;
    bool done;
    rag_code rc;
};

static void wake(void *ctx, struct reservation *r, rag_code rc)
{
    (void)r;
    struct waiter *w = ctx;
    pthread_mutex_lock(&w->mu);
    w->done = true;
    w->rc = rc;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->mu);
}

static void spend(struct ledger *l, const char *model)
{
    struct waiter w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, RAG_OK};
    struct reservation *r;
    struct reserve_options opt = {"llm", model, "key", 100 * NANO_PER_CNY, NANO_PER_CNY, wake, &w};
    if (ledger_reserve(l, &opt, &r))
        return;
    pthread_mutex_lock(&w.mu);
    while (!w.done)
        pthread_cond_wait(&w.cond, &w.mu);
    pthread_mutex_unlock(&w.mu);
    if (!w.rc)
        ledger_settle(l, r, &(struct settlement){.cost = NANO_PER_CNY, .prompt = 9, .outcome = "ok"});
}

static bool each(void *ctx, const struct ledger_row *row)
{
    *(size_t *)ctx += strlen(row->day) + strlen(row->service) + strlen(row->model) + strlen(row->key);
    return true;
}

static struct ledger_options options(void)
{
    return (struct ledger_options){.dir = dir,
                                   .daily = 1000 * NANO_PER_CNY,
                                   .warn = .8,
                                   .stop = .95,
                                   .timezone = "UTC",
                                   .now_ms = now_ms};
}

static void remove_files(void)
{
    static const char *const names[] = {"", "-wal", "-shm", "-journal"};
    char one[160];
    for (int i = 0; i < 4; i++) {
        snprintf(one, sizeof one, "%s%s", path, names[i]);
        unlink(one);
    }
}

static void remove_dir(void)
{
    remove_files();
    rmdir(dir);
}

static void prepare(void)
{
    struct ledger_options opt = options();
    struct ledger *l;
    strcpy(dir, access("/dev/shm", W_OK) == 0 ? "/dev/shm/ragd-fuzz-XXXXXX" : "/tmp/ragd-fuzz-XXXXXX");
    log_set_level(LOG_OFF);
    RAG_ASSERT(mkdtemp(dir));
    atexit(remove_dir);
    snprintf(path, sizeof path, "%s/ledger.db", dir);
    RAG_ASSERT(ledger_open(&opt, &l, NULL) == RAG_OK);
    for (int i = 0; i < 20; i++)
        spend(l, i % 2 ? "large" : "small");
    ledger_close(l);
    buf_init(&sound, MEM_MISC);
    RAG_ASSERT(file_read_all(path, 1 << 24, &sound, NULL) == RAG_OK);
}

static void write_file(const uint8_t *data, size_t size)
{
    FILE *f = fopen(path, "w");
    RAG_ASSERT(f);
    if (size >= 16 && memcmp(data, "SQLite format 3", 16) == 0) {
        fwrite(data, 1, size, f);
    } else {
        char *copy = mem_strndup(MEM_MISC, sound.ptr, sound.len);
        size_t len = sound.len;
        uint32_t where;
        for (size_t i = 0; i + 5 <= size; i += 5) {
            memcpy(&where, data + i, 4);
            copy[where % sound.len] ^= (char)data[i + 4];
        }
        if (size % 5 == 4) {
            memcpy(&where, data + size - 4, 4);
            len = where % sound.len;
        }
        fwrite(copy, 1, len, f);
        mem_free(MEM_MISC, copy);
    }
    fclose(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!sound.ptr)
        prepare();
    remove_files();
    write_file(data, size);
    struct ledger_options opt = options();
    struct ledger *l = NULL;
    struct rag_err err = {0};
    size_t sum = 0;
    if (ledger_open(&opt, &l, &err) == RAG_OK) {
        struct ledger_totals t;
        ledger_totals(l, &t);
        RAG_ASSERT(t.day_spent >= 0 && t.month_spent >= 0);
        sum += ledger_level(l, "key", NANO_PER_CNY);
        spend(l, "large");
        if (ledger_report(l, 0, INT64_MAX, each, &sum, &err))
            RAG_ASSERT(err.msg[0]);
        ledger_close(l);
    } else {
        RAG_ASSERT(err.msg[0]);
    }
    opt.read_only = true;
    if (ledger_open(&opt, &l, &err) == RAG_OK) {
        if (ledger_report(l, 0, INT64_MAX, each, &sum, &err))
            RAG_ASSERT(err.msg[0]);
        ledger_close(l);
    }
    __asm__ volatile("" : : "r"(sum)); /* keep the reads */
    return 0;
}
