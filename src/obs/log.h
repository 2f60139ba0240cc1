/* obs/log.h - structured log lines: one JSON object per line on stderr. Thread-safe; a line is one write.
 *
 *   log_warn("segment unusable", LOG_STR("file", name), LOG_INT("bytes", n), LOG_END);
 *   {"ts":"2026-01-01T00:00:00.000Z","level":"warn","msg":"segment unusable","file":"...","bytes":12} */
#ifndef RAGD_OBS_LOG_H
#define RAGD_OBS_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };

struct log_field {
    const char *key; /* NULL ends the list */
    enum { LOG_FIELD_STR, LOG_FIELD_INT, LOG_FIELD_NUM, LOG_FIELD_BOOL } type;
    struct str str;
    int64_t num;
    double real;
};
#define LOG_STR(k, z)  ((struct log_field){.key = (k), .type = LOG_FIELD_STR, .str = str_of(z)})
#define LOG_SPAN(k, s) ((struct log_field){.key = (k), .type = LOG_FIELD_STR, .str = (s)})
#define LOG_INT(k, n)  ((struct log_field){.key = (k), .type = LOG_FIELD_INT, .num = (int64_t)(n)})
#define LOG_NUM(k, x)  ((struct log_field){.key = (k), .type = LOG_FIELD_NUM, .real = (double)(x)})
#define LOG_BOOL(k, b) ((struct log_field){.key = (k), .type = LOG_FIELD_BOOL, .num = (b)})
#define LOG_END        ((struct log_field){0})

void log_write(enum log_level level, const char *msg, const struct log_field *fields);
#define log_debug(msg, ...) log_write(LOG_DEBUG, msg, (const struct log_field[]){__VA_ARGS__})
#define log_info(msg, ...)  log_write(LOG_INFO, msg, (const struct log_field[]){__VA_ARGS__})
#define log_warn(msg, ...)  log_write(LOG_WARN, msg, (const struct log_field[]){__VA_ARGS__})
#define log_error(msg, ...) log_write(LOG_ERROR, msg, (const struct log_field[]){__VA_ARGS__})

/* Lines below the level are dropped. Default: info. Any thread, any time. */
void log_set_level(enum log_level level);
bool log_level_parse(const char *name, enum log_level *out); /* debug, info, warn, error, off */
bool log_enabled(enum log_level level);

/* Lines of the calling thread carry this request_id from now on; NULL: none. Copied, cut at the limit. */
enum { LOG_REQUEST_ID_MAX = 128 };
void log_set_request_id(const char *id);

#endif
