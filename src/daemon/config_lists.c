/* Lists of mappings: auth.keys, llm.providers, llm.models. Each kind of item is a table of fields. */
#include <stdio.h>
#include <string.h>

#include "daemon/config_loader.h"

struct field {
    const char *name;
    bool (*parse)(struct loader *l, const char *what, const yaml_node_t *v, void *item);
    const char *refuse; /* instead of parse: why it must not be there */
};
enum { MAX_FIELDS = 16 };

static const struct field *find_field(const struct field *fields, uint32_t n, const char *name)
{
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(fields[i].name, name) == 0)
            return &fields[i];
    return NULL;
}

static void complain_unknown(struct loader *l, const char *path, const char *name, const yaml_node_t *at,
                             const struct field *fields, uint32_t n)
{
    const char *words[MAX_FIELDS];
    uint32_t n_words = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!fields[i].refuse)
            words[n_words++] = fields[i].name;
    const char *near = cfg_suggest_word(words, n_words, name);
    cfg_complain(l, at, "%s: unknown key%s%s%s", path, near ? ": did you mean '" : "", near ? near : "",
                 near ? "'?" : "");
}

/* Reads the fields that are there; the item's defaults were set before. */
static bool parse_fields(struct loader *l, const char *what, const yaml_node_t *map,
                         const struct field *fields, uint32_t n, void *item)
{
    bool ok = true;
    uint32_t seen = 0;
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = yaml_document_get_node(l->doc, p->key),
                          *v = yaml_document_get_node(l->doc, p->value);
        if (k->type != YAML_SCALAR_NODE) {
            cfg_complain(l, k, "%s: a key must be a word", what);
            ok = false;
            continue;
        }
        char path[192];
        const char *name = (const char *)k->data.scalar.value;
        snprintf(path, sizeof path, "%.120s.%.60s", what, name);
        const struct field *f = find_field(fields, n, name);
        bool twice = f && seen >> (f - fields) & 1;
        if (f)
            seen |= 1U << (f - fields);
        if (!f)
            complain_unknown(l, path, name, k, fields, n);
        else if (twice)
            cfg_complain(l, k, "%s: is there twice", path);
        else if (cfg_absent(v))
            continue;
        else if (f->refuse)
            cfg_complain(l, k, "%s: %s", path, f->refuse);
        else if (f->parse(l, path, v, item))
            continue;
        ok = false;
    }
    return ok;
}
#define FIELDS(f) (f), (uint32_t)(sizeof(f) / sizeof *(f))

/* Storage for a list of the row; NULL was reported. */
static void *new_items(struct loader *l, const struct config_row *row, const yaml_node_t *n, size_t size)
{
    if (n->type != YAML_SEQUENCE_NODE) {
        cfg_complain(l, n, "%s: wants a list, this is %s", row->path, cfg_kind(n));
        return NULL;
    }
    if (cfg_count(n) > (uint32_t)row->max) {
        cfg_complain(l, n, "%s: has %u items, at most %u", row->path, cfg_count(n), (uint32_t)row->max);
        return NULL;
    }
    return arena_array(&l->cfg->arena, cfg_count(n) + 1, size);
}

static bool is_mapping(struct loader *l, const char *what, const yaml_node_t *n, const char *wants)
{
    if (n->type != YAML_MAPPING_NODE)
        cfg_complain(l, n, "%s: wants %s, this is %s", what, wants, cfg_kind(n));
    return n->type == YAML_MAPPING_NODE;
}

static const char *parse_env_name(struct loader *l, const char *what, const yaml_node_t *v)
{
    const char *s = cfg_string(l, what, v, 1, 3000);
    return s && cfg_check_env_name(l, what, v, s) ? s : NULL;
}

/* ---- auth.keys ------------------------------------------------------------------------------------------- */
static bool key_name(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    return (((struct config_key *)item)->name = cfg_string(l, what, v, 1, 64)) != NULL;
}

static bool key_env(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    return (((struct config_key *)item)->key_env = parse_env_name(l, what, v)) != NULL;
}

static bool key_file(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    return (((struct config_key *)item)->key_file = cfg_string(l, what, v, 1, 3000)) != NULL;
}

static bool key_scopes(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    static const char *const names[] = {"query", "ingest", "admin"}; /* bits of enum api_scope, in order */
    struct config_strings s;
    uint32_t scopes = 0;
    if (!cfg_strings(l, what, v, 8, &s))
        return false;
    for (uint32_t i = 0; i < s.n; i++) {
        uint32_t b = 0;
        while (b < 3 && strcmp(s.items[i], names[b]) != 0)
            b++;
        if (b == 3) {
            cfg_complain(l, cfg_item(l, v, i), "%s: '%s' is not one of: query ingest admin", what,
                         s.items[i]);
            return false;
        }
        scopes |= 1U << b;
    }
    ((struct config_key *)item)->scopes = scopes;
    return true;
}

static bool key_collections(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    struct config_strings s;
    if (!cfg_strings(l, what, v, 256, &s))
        return false;
    for (uint32_t i = 0; i < s.n; i++)
        if (!cfg_is_name(s.items[i])) {
            cfg_complain(l, cfg_item(l, v, i), "%s: '%s' is no collection name", what, s.items[i]);
            return false;
        }
    ((struct config_key *)item)->collections = s;
    return true;
}

static bool key_rate(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    return cfg_f64(l, what, v, 0, 1e6, &((struct config_key *)item)->rate_per_s);
}

static bool key_daily(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    return cfg_cny(l, what, v, 1e9, &((struct config_key *)item)->daily);
}

static const char no_key[] =
    "a key must not stand in the file: name its variable with key_env or its file with key_file";
static const struct field key_fields[] = {
    {"name", key_name, NULL},
    {"key_env", key_env, NULL},
    {"key_file", key_file, NULL},
    {"scopes", key_scopes, NULL},
    {"collections", key_collections, NULL},
    {"rate_per_s", key_rate, NULL},
    {"daily_cny", key_daily, NULL},
    {"key", NULL, no_key},
    {"secret", NULL, no_key},
};

static bool parse_key(struct loader *l, const char *what, const yaml_node_t *n, struct config_key *key)
{
    *key = (struct config_key){.scopes = SCOPE_QUERY};
    if (!is_mapping(l, what, n, "{name: ..., key_env: ...}") ||
        !parse_fields(l, what, n, FIELDS(key_fields), key))
        return false;
    if (!key->name || !cfg_is_name(key->name))
        cfg_complain(l, n, "%s.name: wants 1 to 64 of A-Z a-z 0-9 _ . -", what);
    else if (!key->key_env == !key->key_file)
        cfg_complain(l, n, "%s: wants key_env or key_file (one of them)", what);
    else if (key->scopes == 0)
        cfg_complain(l, n, "%s.scopes: is empty: such a key may do nothing", what);
    else
        return true;
    return false;
}

bool cfg_keys(struct loader *l, const struct config_row *row, const yaml_node_t *n, struct config_keys *out)
{
    struct config_keys v = {new_items(l, row, n, sizeof *v.items), 0};
    bool ok = v.items != NULL;
    for (uint32_t i = 0; v.items && i < cfg_count(n); i++) {
        char what[64];
        snprintf(what, sizeof what, "%s[%u]", row->path, i);
        bool good = parse_key(l, what, cfg_item(l, n, i), &v.items[v.n]);
        for (uint32_t j = 0; good && j < v.n; j++)
            if (strcmp(v.items[j].name, v.items[v.n].name) == 0) {
                cfg_complain(l, cfg_item(l, n, i), "%s.name: '%s' is there twice", what, v.items[j].name);
                good = false;
            }
        v.n += good;
        ok &= good;
    }
    if (ok)
        *out = v;
    return ok;
}

/* ---- llm.providers --------------------------------------------------------------------------------------- */
static bool provider_name(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    return (((struct config_provider *)item)->provider.name = cfg_string(l, what, v, 1, 64)) != NULL;
}

static bool provider_url(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    const char *s = cfg_string(l, what, v, 1, 2000);
    ((struct config_provider *)item)->provider.base_url = s;
    return s && cfg_check_url(l, what, v, s);
}

static bool provider_key_env(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    return (((struct config_provider *)item)->key_env = parse_env_name(l, what, v)) != NULL;
}

static bool provider_key_file(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    return (((struct config_provider *)item)->key_file = cfg_string(l, what, v, 1, 3000)) != NULL;
}

static bool provider_ca_file(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    return (((struct config_provider *)item)->provider.ca_file = cfg_string(l, what, v, 1, 3000)) != NULL;
}

static bool provider_cache_control(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    return cfg_bool(l, what, v, &((struct config_provider *)item)->provider.cache_control);
}

static const char no_api_key[] =
    "a key must not stand in the file: name its variable with api_key_env or its file with api_key_file";
static const struct field provider_fields[] = {
    {"name", provider_name, NULL},           {"base_url", provider_url, NULL},
    {"api_key_env", provider_key_env, NULL}, {"api_key_file", provider_key_file, NULL},
    {"ca_file", provider_ca_file, NULL},     {"cache_control", provider_cache_control, NULL},
    {"api_key", NULL, no_api_key},           {"key", NULL, no_api_key},
};

static bool parse_provider(struct loader *l, const char *what, const yaml_node_t *n,
                           struct config_provider *p)
{
    *p = (struct config_provider){0};
    if (!is_mapping(l, what, n, "{name: ..., base_url: ..., api_key_env: ...}") ||
        !parse_fields(l, what, n, FIELDS(provider_fields), p))
        return false;
    if (!p->provider.name || !cfg_is_name(p->provider.name))
        cfg_complain(l, n, "%s.name: wants 1 to 64 of A-Z a-z 0-9 _ . -", what);
    else if (!p->provider.base_url)
        cfg_complain(l, n, "%s.base_url: is missing", what);
    else if (p->key_env && p->key_file)
        cfg_complain(l, n, "%s: wants api_key_env or api_key_file, not both", what);
    else
        return true;
    return false;
}

bool cfg_providers(struct loader *l, const struct config_row *row, const yaml_node_t *n,
                   struct config_providers *out)
{
    struct config_providers v = {new_items(l, row, n, sizeof *v.items), 0};
    bool ok = v.items != NULL;
    for (uint32_t i = 0; v.items && i < cfg_count(n); i++) {
        char what[64];
        snprintf(what, sizeof what, "%s[%u]", row->path, i);
        bool good = parse_provider(l, what, cfg_item(l, n, i), &v.items[v.n]);
        for (uint32_t j = 0; good && j < v.n; j++)
            if (strcmp(v.items[j].provider.name, v.items[v.n].provider.name) == 0) {
                cfg_complain(l, cfg_item(l, n, i), "%s.name: '%s' is there twice", what,
                             v.items[j].provider.name);
                good = false;
            }
        v.n += good;
        ok &= good;
    }
    if (ok)
        *out = v;
    return ok;
}

/* ---- llm.models ------------------------------------------------------------------------------------------ */
enum { MAX_PRICE_CNY = 1000000, MAX_ALIASES = 16 };

static bool model_name(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    const char *s = cfg_string(l, what, v, 1, 3000);
    ((struct config_model *)item)->model.name = s;
    return s && cfg_check_model_name(l, what, v, s);
}

static bool model_provider(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    return (((struct config_model *)item)->provider = cfg_string(l, what, v, 1, 64)) != NULL;
}

static bool model_model(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    return (((struct config_model *)item)->model.model = cfg_string(l, what, v, 1, 256)) != NULL;
}

static bool model_aliases(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    struct config_strings s;
    if (!cfg_strings(l, what, v, MAX_ALIASES, &s))
        return false;
    for (uint32_t i = 0; i < s.n; i++)
        if (!cfg_check_model_name(l, what, cfg_item(l, v, i), s.items[i]))
            return false;
    ((struct config_model *)item)->model.aliases = s.items;
    ((struct config_model *)item)->model.n_aliases = s.n;
    return true;
}

static bool model_class(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    uint32_t class;
    if (!cfg_class(l, what, v, &class))
        return false;
    ((struct config_model *)item)->model.class = class;
    return true;
}

static bool model_context(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    return cfg_u32(l, what, v, 0, 100000000, &((struct config_model *)item)->model.context);
}

static bool model_passthrough(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    bool *on = &((struct config_model *)item)->model.passthrough;
    if (!cfg_bool(l, what, v, on))
        return false;
    if (*on)
        cfg_complain(l, v, "%s: true is not yet supported: leave it out", what);
    return !*on;
}

static bool price_input(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    return cfg_cny(l, what, v, MAX_PRICE_CNY, &((struct llm_price *)item)->input);
}

static bool price_cached(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    return cfg_cny(l, what, v, MAX_PRICE_CNY, &((struct llm_price *)item)->cached_input);
}

static bool price_output(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    return cfg_cny(l, what, v, MAX_PRICE_CNY, &((struct llm_price *)item)->output);
}

static const struct field price_fields[] = {
    {"input", price_input, NULL},
    {"cached_input", price_cached, NULL},
    {"output", price_output, NULL},
};

static bool model_price(struct loader *l, const char *what, const yaml_node_t *v, void *item)
{
    struct llm_price p = {-1, -1, -1}; /* -1: not given */
    if (!is_mapping(l, what, v, "{input: ..., output: ...}") ||
        !parse_fields(l, what, v, FIELDS(price_fields), &p))
        return false;
    if (p.input < 0 || p.output < 0) { /* a forgotten price would pass every budget */
        cfg_complain(l, v, "%s: wants input and output, in CNY per million tokens", what);
        return false;
    }
    if (p.cached_input < 0)
        p.cached_input = p.input;
    ((struct config_model *)item)->model.price = p;
    ((struct config_model *)item)->priced = true;
    return true;
}

static const struct field model_fields[] = {
    {"name", model_name, NULL},
    {"provider", model_provider, NULL},
    {"model", model_model, NULL},
    {"aliases", model_aliases, NULL},
    {"class", model_class, NULL},
    {"context", model_context, NULL},
    {"passthrough", model_passthrough, NULL},
    {"price", model_price, NULL},
};

static bool parse_model(struct loader *l, const char *what, const yaml_node_t *n, struct config_model *m)
{
    *m = (struct config_model){.model.class = CLASS_MEDIUM, .at = cfg_origin(l, n)};
    if (!is_mapping(l, what, n, "{name: ..., class: ..., price: ...}") ||
        !parse_fields(l, what, n, FIELDS(model_fields), m))
        return false;
    if (!m->model.name) {
        cfg_complain(l, n, "%s.name: is missing", what);
        return false;
    }
    if (!m->model.model)
        m->model.model = m->model.name;
    return true;
}

static bool answers_to(const struct llm_model *m, const char *name)
{
    bool yes = strcmp(m->name, name) == 0;
    for (uint32_t i = 0; i < m->n_aliases && !yes; i++)
        yes = strcmp(m->aliases[i], name) == 0;
    return yes;
}

/* The name or alias of m that one of the n models before it, or m itself, has already; NULL: none. */
static const char *taken_name(const struct config_model *before, uint32_t n, const struct llm_model *m)
{
    for (uint32_t a = 0; a <= m->n_aliases; a++) {
        const char *name = a ? m->aliases[a - 1] : m->name;
        struct llm_model so_far = *m; /* the name and the aliases before this one */
        so_far.n_aliases = a ? a - 1 : 0;
        if (a && answers_to(&so_far, name))
            return name;
        for (uint32_t i = 0; i < n; i++)
            if (answers_to(&before[i].model, name))
                return name;
    }
    return NULL;
}

bool cfg_models(struct loader *l, const struct config_row *row, const yaml_node_t *n,
                struct config_models *out)
{
    struct config_models v = {new_items(l, row, n, sizeof *v.items), 0};
    bool ok = v.items != NULL;
    for (uint32_t i = 0; v.items && i < cfg_count(n); i++) {
        char what[64];
        snprintf(what, sizeof what, "%s[%u]", row->path, i);
        bool good = parse_model(l, what, cfg_item(l, n, i), &v.items[v.n]);
        const char *twice = good ? taken_name(v.items, v.n, &v.items[v.n].model) : NULL;
        if (twice)
            cfg_complain(l, cfg_item(l, n, i), "%s: '%s' is the name or alias of two models", what, twice);
        good = good && !twice;
        v.n += good;
        ok &= good;
    }
    if (ok)
        *out = v;
    return ok;
}
