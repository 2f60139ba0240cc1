#include "obs/log.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static _Atomic int min_level = LOG_INFO;
static _Thread_local char request_id[LOG_REQUEST_ID_MAX + 1];
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

/* Bytes of the well-formed UTF-8 sequence at s[i], 0 when there is none. */
static size_t sequence_len(struct str s, size_t i)
{
    unsigned char c = (unsigned char)s.ptr[i];
    size_t n = c < 0x80                 ? 1
               : c >= 0xc2 && c <= 0xdf ? 2
               : (c & 0xf0) == 0xe0     ? 3
               : c >= 0xf0 && c <= 0xf4 ? 4
                                        : 0;
    if (n == 0 || s.len - i < n)
        return 0;
    for (size_t k = 1; k < n; k++)
        if ((s.ptr[i + k] & 0xc0) != 0x80)
            return 0;
    unsigned char d = n > 2 ? (unsigned char)s.ptr[i + 1] : 0;
    bool bad = (c == 0xe0 && d < 0xa0) || (c == 0xed && d > 0x9f) || (c == 0xf0 && d < 0x90) ||
               (c == 0xf4 && d > 0x8f);
    return bad ? 0 : n;
}

/* Values come from anywhere: what is not UTF-8 shows as '?', so the line is always valid JSON. */
static void add_string(struct line *l, struct str s)
{
    add_raw(l, "\"", 1);
    for (size_t i = 0; i < s.len && l->len < sizeof l->text - 128;) {
        unsigned char c = (unsigned char)s.ptr[i];
        size_t n = sequence_len(s, i);
        if (n == 0) {
            add_raw(l, "?", 1);
            n = 1;
        } else if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f) {
            char esc[8];
            int m = snprintf(esc, sizeof esc, "\\u%04x", c);
            add_raw(l, esc, (size_t)m);
        } else {
            add_raw(l, s.ptr + i, n);
        }
        i += n;
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
    int m = snprintf(stamp, sizeof stamp, ".%03ldZ\",\"level\":\"%s\",\"msg\":", t.tv_nsec / 1000000,
                     level_names[level]);
    add_raw(&l, stamp, (size_t)m);
    add_string(&l, str_of(msg));
    if (request_id[0])
        add_field(&l, &LOG_STR("request_id", request_id));
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

void log_set_request_id(const char *id)
{
    snprintf(request_id, sizeof request_id, "%s", id ? id : "");
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&min_level, memory_order_relaxed);
}
