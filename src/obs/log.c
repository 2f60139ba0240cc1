#include "obs/log.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static _Atomic int min_level = LOG_INFO;
static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

/* A line is built on the stack; what does not fit is cut, the line stays valid JSON. */
struct line {
    char text[4096];
    size_t len;
};

static void add_raw(struct line *l, const char *s, size_t n)
{
    if (n > sizeof l->text - 64 - l->len)
        n = l->len < sizeof l->text - 64 ? sizeof l->text - 64 - l->len : 0;
    memcpy(l->text + l->len, s, n);
    l->len += n;
}

static void add_string(struct line *l, struct str s)
{
    add_raw(l, "\"", 1);
    for (size_t i = 0; i < s.len && l->len < sizeof l->text - 128; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        char esc[8];
        if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f) {
            int n = snprintf(esc, sizeof esc, "\\u%04x", c);
            add_raw(l, esc, (size_t)n);
        } else {
            add_raw(l, s.ptr + i, 1);
        }
    }
    l->text[l->len++] = '"';
}

static void add_field(struct line *l, const struct log_field *f)
{
    char num[40];
    int n = 0;
    if (l->len > sizeof l->text - 256)
        return;
    add_raw(l, ",", 1);
    add_string(l, str_of(f->key));
    add_raw(l, ":", 1);
    switch (f->type) {
    case LOG_FIELD_STR: add_string(l, f->str); return;
    case LOG_FIELD_INT: n = snprintf(num, sizeof num, "%lld", (long long)f->num); break;
    case LOG_FIELD_NUM: n = snprintf(num, sizeof num, "%.6g", f->real); break;
    case LOG_FIELD_BOOL: n = snprintf(num, sizeof num, "%s", f->num ? "true" : "false"); break;
    }
    add_raw(l, num, (size_t)n);
}

void log_write(enum log_level level, const char *msg, const struct log_field *fields)
{
    if ((int)level < atomic_load_explicit(&min_level, memory_order_relaxed))
        return;
    struct line l = {.len = 0};
    struct timespec t;
    struct tm tm;
    char stamp[96];
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &tm);
    size_t n = strftime(stamp, sizeof stamp, "{\"ts\":\"%Y-%m-%dT%H:%M:%S", &tm);
    add_raw(&l, stamp, n);
    int m = snprintf(stamp, sizeof stamp, ".%03ldZ\",\"level\":\"%s\",\"msg\":", t.tv_nsec / 1000000, level_names[level]);
    add_raw(&l, stamp, (size_t)m);
    add_string(&l, str_of(msg));
    for (; fields->key; fields++)
        add_field(&l, fields);
    memcpy(l.text + l.len, "}\n", 2);
    ssize_t w = write(STDERR_FILENO, l.text, l.len + 2);
    (void)w; /* nowhere left to complain */
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&min_level, (int)level, memory_order_relaxed);
}

bool log_level_parse(const char *name, enum log_level *out)
{
    for (int i = 0; i <= LOG_OFF; i++)
        if (strcmp(name, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    return false;
}
