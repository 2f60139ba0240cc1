/* daemon/config.h - one table of fields: file, environment and flags become a struct config.
 *
 * Everything about a field (default, range, help, environment name, where it shows) comes from its row in
 * config_table.c. Precedence: default of the profile < file < first adopter's environment names < RAGD_...
 * environment < flags; the first adopter's upstream counts only where neither llm.base_url nor llm.providers is set.
 * Not thread-safe; a loaded config is immutable and may be read by any thread. */
#ifndef RAGD_DAEMON_CONFIG_H
#define RAGD_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/server.h" /* enum api_scope */
#include "base/arena.h"
#include "base/buf.h"
#include "base/status.h"
#include "base/str.h"
#include "flow/profile.h"
#include "llm/catalogue.h"

struct config_strings {
    const char **items; /* NUL-terminated */
    uint32_t n;
};

struct config_key {
    const char *name;
    const char *key_env, *key_file;    /* exactly one */
    const char *secret;                /* NULL until config_resolve_keys */
    uint32_t scopes;                   /* enum api_scope */
    struct config_strings collections; /* none: all */
    double rate_per_s;                 /* 0: no limit */
    nano_cny daily;                    /* 0: no limit of its own */
};
struct config_keys {
    struct config_key *items;
    uint32_t n;
};

enum { CONFIG_MAX_FIELDS = 128 };
enum config_origin_kind {
    ORIGIN_UNSET,
    ORIGIN_DEFAULT,
    ORIGIN_PROFILE,
    ORIGIN_FILE,
    ORIGIN_ENV,
    ORIGIN_FLAG
};
struct config_origin {
    enum config_origin_kind kind;
    uint32_t line, column; /* ORIGIN_FILE, from 1 */
    const char *name;      /* ORIGIN_ENV: the variable; ORIGIN_FLAG: the flag */
};

struct config_provider {
    struct llm_provider provider;   /* its key: NULL until config_resolve_keys */
    const char *key_env, *key_file; /* one of them, or none: no key */
};
struct config_providers {
    struct config_provider *items;
    uint32_t n;
};
struct config_model {
    struct llm_model model;  /* its provider: NULL, the catalogue's has one */
    const char *provider;    /* by name; NULL: the only one */
    bool priced;             /* a price was given */
    struct config_origin at; /* for messages */
};
struct config_models {
    struct config_model *items;
    uint32_t n;
};

struct config {
    struct arena arena; /* every string below */
    const char *file;   /* NULL: none was read */
    const char *listen, *data, *profile_name, *log_level;
    struct config_strings cors_origins;
    struct config_keys keys;
    uint32_t max_queries;
    uint32_t max_connections; /* 0: config_connections() decides */
    struct profile profile;
    const char *embedding_provider, *embedding_model, *query_encoder;
    uint32_t embedding_threads;
    const char *fusion_method;
    const char *rerank_provider;
    uint32_t chunk_size_tokens, chunk_overlap_tokens;
    const char *user_words_file; /* "": none */
    const char *system_prompt; /* "": none */
    const char *llm_base_url, *llm_key_env, *llm_key_file, *llm_ca_file, *llm_model; /* "": not set */
    struct config_providers providers;                                             /* llm.providers */
    struct config_models models;                                                   /* llm.models */
    struct config_providers upstreams; /* those that are used: llm.providers, or the one of llm.base_url */
    struct llm_catalogue catalogue;    /* of upstreams; n 0: no LLM, answers are cited extracts */
    uint32_t llm_connect_ms, llm_first_token_ms, llm_inter_token_ms, llm_answer_ms, llm_hedge_ms;
    uint32_t llm_idle_connections;
    uint32_t max_generations;
    uint32_t retry_attempts, retry_initial_ms, retry_max_ms;
    double retry_factor, retry_budget;
    uint32_t breaker_failures, breaker_open_s, breaker_successes;
    nano_cny budget_daily, budget_monthly; /* 0: no limit */
    double budget_warn, budget_stop;       /* warn <= stop */
    const char *budget_timezone;
    bool history_enabled;
    uint32_t history_days;
    uint32_t ingest_file_mb, ingest_text_mb, ingest_memory_mb, ingest_cpu_s, ingest_wall_ms;
    struct config_origin origin[CONFIG_MAX_FIELDS]; /* by row of the table */
    struct buf notes; /* lines: what is set but not used, and what is worth a warning */
    uint32_t n_notes;
};

struct config_source {
    const char *file;                    /* NULL: none */
    const char *const *environment;      /* "NAME=value", NULL-terminated; NULL: none */
    const char *listen, *data, *profile; /* flags; NULL: not given */
};

/* Lines that say what is wrong: "FILE:LINE:COLUMN: path: why: what to do". */
struct config_report {
    struct buf lines;
    uint32_t n;
};
void config_report_init(struct config_report *r);
void config_report_clear(struct config_report *r);

/* Reads everything and reports every error at once. RAG_EINVAL: report has them. RAG_ENOTFOUND, RAG_EIO: the
 * file cannot be read (reported too). RAG_ENOMEM. `out` must be cleared in every case. */
RAG_MUST_CHECK rag_code config_load(const struct config_source *src, struct config *out,
                                    struct config_report *report);
void config_clear(struct config *c); /* a zeroed config is fine */

/* Reads the secrets of auth.keys and, with stages.generation, of the upstreams from their environment variables or
 * files; the catalogue has them then. RAG_EINVAL: reported, names what is missing, never a secret. */
RAG_MUST_CHECK rag_code config_resolve_keys(struct config *c, const char *const *environment,
                                            struct config_report *report);

/* "HOST:PORT" or "[V6]:PORT" in parts. False: not of that form. */
bool config_split_listen(const char *listen, char *host, size_t host_size, uint16_t *port);
bool config_is_loopback(const char *host);
/* Are all values equal, those that SIGHUP takes over left out? */
bool config_same_but_live(const struct config *a, const struct config *b);
uint32_t config_connections(const struct config *c); /* what the server accepts at most */

/* The profile of one question: the configuration's, changed by `json`, an object of configuration keys (nested, as in
 * the file). `profile` in it stands for the defaults of that profile; what the configuration sets by itself stays. Time,
 * tokens and model classes may only be lowered. Any thread. RAG_EINVAL: err names the first key that is wrong, as
 * "overrides.KEY". RAG_ENOMEM. */
RAG_MUST_CHECK rag_code config_override(const struct config *c, struct str json, struct profile *out,
                                        struct rag_err *err);

/* Output. */
void config_print_default(struct buf *out); /* commented YAML template */
void config_print_effective(const struct config *c,
                            struct buf *out); /* YAML with the origin of every value */
/* {"file":..., "values":{path:{"value":..,"origin":..,"reloadable":..}}, "notes":[..]}. No secrets. */
void config_json(const struct config *c, struct buf *out);

#endif
