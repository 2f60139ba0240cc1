/* daemon/config_loader.h - what the files that read a configuration share. Every reader of a value returns whether it
 * was right; what was not is reported, and the target keeps what it had. */
#ifndef RAGD_DAEMON_CONFIG_LOADER_H
#define RAGD_DAEMON_CONFIG_LOADER_H

#include <yaml.h>

#include "daemon/config_int.h"

/* Where a value comes from, for messages and for `origin`. */
struct place {
    struct config_origin origin;
    const char *file;
};

struct loader {
    struct config *cfg;
    struct config_report *report;
    yaml_document_t *doc;
    struct place place;
    bool lenient; /* a first adopter's variable: a value that we do not understand is a note */
    bool for_question; /* only what a question may set for itself */
};

/* ---- messages (config_value.c) ---------------------------------------------------------------------------- */
/* The place is that of `node`; NULL: of the loader. */
void cfg_complain(struct loader *l, const yaml_node_t *node, const char *fmt, ...) RAG_PRINTF(3, 4);
/* The place is where a value was set. */
void cfg_complain_at(struct loader *l, const struct config_origin *at, const char *fmt, ...) RAG_PRINTF(3, 4);
void cfg_note(struct config *c, const char *fmt, ...) RAG_PRINTF(2, 3);

/* ---- nodes ----------------------------------------------------------------------------------------------- */
const char *cfg_kind(const yaml_node_t *n); /* "a mapping", ... */
struct str cfg_text(const yaml_node_t *n);  /* of a scalar */
bool cfg_absent(const yaml_node_t *n);      /* an empty value, `~` or `null`: as if the key were not there */
const yaml_node_t *cfg_item(struct loader *l, const yaml_node_t *seq, uint32_t i);
uint32_t cfg_count(const yaml_node_t *seq);
struct config_origin cfg_origin(const struct loader *l, const yaml_node_t *n);

/* ---- values; `what` is the path in messages ---------------------------------------------------------------- */
bool cfg_u32(struct loader *l, const char *what, const yaml_node_t *n, double min, double max, uint32_t *out);
bool cfg_f64(struct loader *l, const char *what, const yaml_node_t *n, double min, double max, double *out);
bool cfg_bool(struct loader *l, const char *what, const yaml_node_t *n, bool *out);
/* A plain decimal number of CNY, at most 9 decimals: exact. */
bool cfg_cny(struct loader *l, const char *what, const yaml_node_t *n, double max, nano_cny *out);
bool cfg_class(struct loader *l, const char *what, const yaml_node_t *n, uint32_t *out);
/* A copy in the config's arena; NULL was reported. Control characters are refused. */
const char *cfg_string(struct loader *l, const char *what, const yaml_node_t *n, size_t min, size_t max);
const char *cfg_lines(struct loader *l, const char *what, const yaml_node_t *n,
                      size_t max); /* takes \n and \t */
bool cfg_strings(struct loader *l, const char *what, const yaml_node_t *n, uint32_t max,
                 struct config_strings *out);
bool cfg_enum(struct loader *l, const struct config_row *row, const yaml_node_t *n, const char **out);
bool cfg_u32x3(struct loader *l, const struct config_row *row, const yaml_node_t *n, uint32_t *out);
bool cfg_f32x3(struct loader *l, const struct config_row *row, const yaml_node_t *n, float *out);
bool cfg_classx3(struct loader *l, const struct config_row *row, const yaml_node_t *n, uint32_t *out);

/* ---- strings with a form (config_form.c); the messages never repeat what may hold a secret --------------------------------- */
bool cfg_is_name(const char *s); /* of a key, collection, provider */
bool cfg_check_env_name(struct loader *l, const char *what, const yaml_node_t *n, const char *s);
bool cfg_url_is_local(const char *url); /* to a loopback host */
bool cfg_check_url(struct loader *l, const char *what, const yaml_node_t *n, const char *s);
bool cfg_check_model_name(struct loader *l, const char *what, const yaml_node_t *n, const char *s);

/* ---- lists of mappings (config_lists.c) ------------------------------------------------------------------- */
bool cfg_keys(struct loader *l, const struct config_row *row, const yaml_node_t *n, struct config_keys *out);
bool cfg_providers(struct loader *l, const struct config_row *row, const yaml_node_t *n,
                   struct config_providers *out);
bool cfg_models(struct loader *l, const struct config_row *row, const yaml_node_t *n,
                struct config_models *out);

/* ---- names (config_names.c) ------------------------------------------------------------------------------- */
/* A word near to a typed one; NULL: none. */
const char *cfg_suggest_word(const char *const *words, uint32_t n, const char *typed);
/* The path that was meant by the unknown key `word` below `prefix`: a misspelt neighbour, else a key of that name
 * elsewhere. False: no idea. */
bool cfg_suggest_path(const char *prefix, const char *word, char *out, size_t size);
bool cfg_is_group(const char *path);

/* ---- sources (config.c) ----------------------------------------------------------------------------------- */
/* A value outside a file, read as row r's. */
void cfg_assign_text(struct loader *l, uint32_t r, const char *text);
/* The keys of a YAML text; its errors are reported. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code cfg_read_yaml(struct loader *l, struct str yaml);
/* A profile that a question names (config_override.c): before its other keys. */
void cfg_question_profile(struct loader *l, const yaml_node_t *root);
/* The place of a profile in by_profile of the rows. */
uint32_t cfg_profile_index(const char *name);
/* NULL: not set or empty (compose files pass such). */
const char *cfg_env(const char *const *environment, const char *name);

/* ---- upstreams (config_llm.c) ------------------------------------------------------------------------------ */
/* The first adopter's variables, when nothing of ours names an upstream. After the other sources, before defaults. */
void cfg_foreign_llm(struct loader *l, const char *const *environment);
/* Checks llm.* together and makes upstreams and catalogue. RAG_ENOMEM; errors are reported. */
RAG_MUST_CHECK rag_code cfg_build_catalogue(struct loader *l);

#endif
