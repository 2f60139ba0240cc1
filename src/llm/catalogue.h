/* llm/catalogue.h - the models that may answer, what they cost, and the order in which they are tried. */
#ifndef RAGD_LLM_CATALOGUE_H
#define RAGD_LLM_CATALOGUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

/* Money is whole nano-CNY (1e-9 CNY) everywhere; 9.2e9 CNY fit. */
typedef int64_t nano_cny;
#define NANO_PER_CNY INT64_C(1000000000)

enum model_class { CLASS_SMALL, CLASS_MEDIUM, CLASS_LARGE, CLASSES };
const char *model_class_name(enum model_class c);

struct llm_price { /* nano-CNY per million tokens, 0 .. 1e15 */
    nano_cny input, cached_input, output;
};
struct llm_provider {
    const char *name;
    const char *base_url; /* "https://host/v1": "/chat/completions" follows */
    const char *key;      /* secret; NULL: none */
    const char *ca_file;  /* NULL: the system's roots */
    bool cache_control;   /* takes Anthropic's cache_control marks */
};
struct llm_model {
    const char *name; /* ours: unique, in answers, metrics, the ledger */
    const struct llm_provider *provider;
    const char *model; /* the provider's name for it */
    const char *const *aliases;
    uint32_t n_aliases;
    enum model_class class;
    uint32_t context; /* tokens of prompt and answer together; 0: unknown */
    bool passthrough;
    struct llm_price price;
};
/* In the order of the configuration. Everything lives as long as the llm. */
struct llm_catalogue {
    const struct llm_model *models;
    uint32_t n;
};
enum { LLM_MAX_MODELS = 64 };

/* The tokens' price, each part rounded up; saturates. cached is a part of prompt. */
nano_cny llm_cost(const struct llm_price *p, uint32_t prompt, uint32_t cached, uint32_t completion);
/* The most that a call can cost: (prompt bytes + 64 for each message) x the dearer input price + max_tokens x output
 * price; never below llm_cost of what such a call uses. Saturates. */
nano_cny llm_upper_bound(const struct llm_price *p, uint64_t prompt_bytes, uint32_t n_messages, uint32_t max_tokens);
/* Indices of models to try, best first: those of `want` in configured order, then of the nearest classes (the cheaper
 * first); cheapest: small, medium, large whatever is wanted. Models whose context is shorter than `tokens` are left out.
 * Returns how many. */
uint32_t llm_plan(const struct llm_catalogue *c, enum model_class want, bool cheapest, uint32_t tokens,
                  uint32_t order[LLM_MAX_MODELS]);
/* Tokens of a text when nobody says: a CJK character is one, other text one for each 4 bytes, rounded up. */
uint32_t llm_count_tokens(struct str text);

#endif
