/* daemon/config_int.h - the table and what config*.c share. */
#ifndef RAGD_DAEMON_CONFIG_INT_H
#define RAGD_DAEMON_CONFIG_INT_H

#include "daemon/config.h"

enum config_type {
    CFG_STR,
    CFG_TEXT, /* CFG_STR of several lines */
    CFG_ENUM, /* CFG_STR out of `choices` */
    CFG_U32,
    CFG_F32,
    CFG_F64,
    CFG_CNY, /* nano_cny; written in CNY, exact */
    CFG_F32X3, /* [question, keywords, utterance]; one number stands for all three */
    CFG_BOOL,
    CFG_U32X3, /* [simple, medium, complex]; one number stands for all three */
    CFG_CLASSX3, /* the same of model classes by name, into uint32_t[3] */
    CFG_STRS,
    CFG_KEYS,
    CFG_PROVIDERS,
    CFG_MODELS,
    CFG_LATER, /* a part that does not exist yet: setting it, or anything below it, is refused */
};
enum config_flags {
    CFG_LIVE = 1,     /* re-read on SIGHUP */
    CFG_ASK = 2,      /* a question may set it for itself (config_override) */
    CFG_ASK_LESS = 4, /* or only lower it: what it may cost and how long it may take is the configuration's */
};

struct config_row {
    const char *path;
    enum config_type type;
    size_t offset;             /* in struct config */
    const char *def;           /* YAML text; NULL with by_profile */
    const char *by_profile[4]; /* balanced, latency, throughput, cost */
    double min, max;
    unsigned flags;
    const char *choices; /* CFG_ENUM: "a|b|c"; after a second bar pair "||": known but not yet supported */
    const char *help;
};
extern const struct config_row config_rows[];
extern const uint32_t config_n_rows;

extern const char *const config_profiles[4];

/* Environment names of the first adopter. */
struct config_foreign_env {
    const char *name;
    const char *path; /* NULL: of a part that does not exist yet */
};
/* Their upstreams, see config_llm.c: the first one whose key or address is set counts. */
struct config_foreign_llm {
    const char *base_url, *api_key; /* names of variables */
    const char *default_url;        /* with a key and no address */
};
extern const struct config_foreign_llm config_foreign_llm[];
extern const uint32_t config_n_foreign_llm;
extern const struct config_foreign_env config_foreign[];
extern const uint32_t config_n_foreign;

/* The row of a path; UINT32_MAX: none. */
uint32_t config_find_row(const char *path);
/* "12.5": exact, without zeros at the end. */
void config_add_cny(struct buf *out, nano_cny v);
/* "RAGD_" and the path upper-cased, dots to underscores. */
void config_env_name(const char *path, char *out, size_t size);

#endif
