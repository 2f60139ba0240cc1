/* Loading: each source assigns to rows of the table, a later source over an earlier one; rows that no source
 * set get their default, which may depend on the profile. Errors are collected, never the first only, so that a
 * file is repaired in one go. A row is assigned only by a value that is right: after errors the struct is not
 * used, but printing it is safe. */
#include "daemon/config.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "daemon/config_loader.h"
#include "sys/file.h"
#include "sys/zone.h"
#include "text/utf8.h"

enum { MAX_CONFIG_BYTES = 1 << 20 };

/* Origins are compared as bytes with what browsers send: scheme://host[:port], lower case, no path. */
static bool check_origins(struct loader *l, const yaml_node_t *n, const struct config_strings *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        const char *o = s->items[i];
        size_t scheme = strncmp(o, "https://", 8) == 0 ? 8 : strncmp(o, "http://", 7) == 0 ? 7 : 0;
        if (strcmp(o, "*") == 0)
            continue;
        bool ok = scheme && o[scheme] && !strpbrk(o + scheme, "/?#@ \\*");
        for (const char *p = o; *p && ok; p++)
            ok = !isupper((unsigned char)*p);
        if (!ok) {
            cfg_complain(
                l, cfg_item(l, n, i),
                "cors_origins: '%s' is no origin: write it as the browser sends it, like https://crm.example.com",
                o);
            return false;
        }
    }
    return true;
}

static bool check_zone(struct loader *l, const yaml_node_t *n, const char *name)
{
    struct zone *z;
    struct rag_err err = {0};
    if (zone_open(name, &z, &err)) {
        cfg_complain(l, n, "budget.timezone: %s", err.msg[0] ? err.msg : "no such time zone");
        return false;
    }
    zone_close(z);
    return true;
}

static bool check_string(struct loader *l, const char *path, const yaml_node_t *n, const char *v)
{
    char host[256];
    uint16_t port;
    if (strcmp(path, "listen") == 0 && !config_split_listen(v, host, sizeof host, &port)) {
        cfg_complain(l, n, "listen: '%s' is not HOST:PORT: write it like 127.0.0.1:8001 or [::1]:8001", v);
        return false;
    }
    if (strcmp(path, "budget.timezone") == 0)
        return check_zone(l, n, v);
    if (strcmp(path, "llm.base_url") == 0)
        return !*v || cfg_check_url(l, path, n, v);
    if (strcmp(path, "llm.api_key_env") == 0)
        return !*v || cfg_check_env_name(l, path, n, v);
    if (strcmp(path, "llm.model") == 0)
        return !*v || cfg_check_model_name(l, path, n, v);
    return true;
}

static bool assign_string(struct loader *l, const struct config_row *row, const yaml_node_t *n,
                          const char **at)
{
    const char *s = row->type == CFG_TEXT ? cfg_lines(l, row->path, n, (size_t)row->max)
                                          : cfg_string(l, row->path, n, (size_t)row->min, (size_t)row->max);
    bool ok = s && check_string(l, row->path, n, s);
    if (ok)
        *at = s;
    return ok;
}

static bool assign_strings(struct loader *l, const struct config_row *row, const yaml_node_t *n,
                           struct config_strings *at)
{
    struct config_strings s;
    bool ok = cfg_strings(l, row->path, n, (uint32_t)row->max, &s) && check_origins(l, n, &s);
    if (ok)
        *at = s;
    return ok;
}

static bool assign_f32(struct loader *l, const struct config_row *row, const yaml_node_t *n, float *at)
{
    double v;
    bool ok = cfg_f64(l, row->path, n, row->min, row->max, &v);
    if (ok)
        *at = (float)v;
    return ok;
}

static void assign(struct loader *l, uint32_t r, const yaml_node_t *n)
{
    const struct config_row *row = &config_rows[r];
    void *at = (char *)l->cfg + row->offset;
    bool ok = false;
    switch (row->type) {
    case CFG_STR:
    case CFG_TEXT: ok = assign_string(l, row, n, at); break;
    case CFG_ENUM: ok = cfg_enum(l, row, n, at); break;
    case CFG_U32: ok = cfg_u32(l, row->path, n, row->min, row->max, at); break;
    case CFG_F32: ok = assign_f32(l, row, n, at); break;
    case CFG_F64: ok = cfg_f64(l, row->path, n, row->min, row->max, at); break;
    case CFG_CNY: ok = cfg_cny(l, row->path, n, row->max, at); break;
    case CFG_BOOL: ok = cfg_bool(l, row->path, n, at); break;
    case CFG_U32X3: ok = cfg_u32x3(l, row, n, at); break;
    case CFG_F32X3: ok = cfg_f32x3(l, row, n, at); break;
    case CFG_CLASSX3: ok = cfg_classx3(l, row, n, at); break;
    case CFG_STRS: ok = assign_strings(l, row, n, at); break;
    case CFG_KEYS: ok = cfg_keys(l, row, n, at); break;
    case CFG_PROVIDERS: ok = cfg_providers(l, row, n, at); break;
    case CFG_MODELS: ok = cfg_models(l, row, n, at); break;
    case CFG_LATER: break;
    }
    if (ok)
        l->cfg->origin[r] = cfg_origin(l, n);
}

/* ---- keys ------------------------------------------------------------------------------------------------ */
static void refuse_later(struct loader *l, const char *path, const struct config_row *row,
                         const yaml_node_t *at)
{
    cfg_complain(l, at, "%s: not yet supported (%s): leave it out", path, row->help);
}

/* The deepest keys that are set below a part that does not exist yet, named one by one. An empty mapping sets
 * nothing. Aliases may make a document deep or cyclic: the depth is bounded. */
static void refuse_below(struct loader *l, const char *path, const struct config_row *row,
                         const yaml_node_t *key, const yaml_node_t *value, int depth)
{
    if (value->type != YAML_MAPPING_NODE || depth >= 3) {
        refuse_later(l, path, row, key);
        return;
    }
    for (yaml_node_pair_t *p = value->data.mapping.pairs.start; p < value->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = yaml_document_get_node(l->doc, p->key),
                          *v = yaml_document_get_node(l->doc, p->value);
        if (k->type != YAML_SCALAR_NODE || cfg_absent(v))
            continue;
        char full[192];
        snprintf(full, sizeof full, "%.120s.%.60s", path, (const char *)k->data.scalar.value);
        refuse_below(l, full, row, k, v, depth + 1);
    }
}

static void walk(struct loader *l, const char *prefix, const yaml_node_t *map)
{
    yaml_node_pair_t *pairs = map->data.mapping.pairs.start;
    for (yaml_node_pair_t *p = pairs; p < map->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = yaml_document_get_node(l->doc, p->key),
                          *v = yaml_document_get_node(l->doc, p->value);
        if (k->type != YAML_SCALAR_NODE || k->data.scalar.length == 0 || k->data.scalar.length > 60 ||
            strlen((const char *)k->data.scalar.value) != k->data.scalar.length) {
            cfg_complain(l, k, "%s%sa key must be a word", prefix, *prefix ? ": " : "");
            continue;
        }
        const char *word = (const char *)k->data.scalar.value;
        char path[192], near[192];
        snprintf(path, sizeof path, "%.120s%s%s", prefix, *prefix ? "." : "", word);
        bool twice = false;
        for (yaml_node_pair_t *q = pairs; q < p && !twice; q++) {
            const yaml_node_t *other = yaml_document_get_node(l->doc, q->key);
            twice = other->type == YAML_SCALAR_NODE && str_eq(cfg_text(other), cfg_text(k));
        }
        uint32_t r = config_find_row(path);
        if (twice)
            cfg_complain(l, k, "%s: is there twice", path);
        else if (r == UINT32_MAX && !cfg_is_group(path) && cfg_suggest_path(prefix, word, near, sizeof near))
            cfg_complain(l, k, "%s: unknown key: did you mean '%s'?", path, near);
        else if (r == UINT32_MAX && !cfg_is_group(path))
            cfg_complain(l, k, "%s: unknown key: see ragd config --print-default", path);
        else if (cfg_absent(v))
            continue;
        else if (r != UINT32_MAX && l->for_question && !(config_rows[r].flags & (CFG_ASK | CFG_ASK_LESS)))
            cfg_complain(l, k, "%s: is no setting of one question: it belongs into the configuration", path);
        else if (r == UINT32_MAX && v->type != YAML_MAPPING_NODE)
            cfg_complain(l, v, "%s: wants keys below it, this is %s", path, cfg_kind(v));
        else if (r == UINT32_MAX)
            walk(l, path, v);
        else if (config_rows[r].type == CFG_LATER)
            refuse_below(l, path, &config_rows[r], k, v, 0);
        else
            assign(l, r, v);
    }
}

/* ---- sources --------------------------------------------------------------------------------------------- */
static void complain_yaml(struct loader *l, const yaml_parser_t *y)
{
    char where[512];
    snprintf(where, sizeof where, "%s:%zu:%zu: ", l->place.file, y->problem_mark.line + 1,
             y->problem_mark.column + 1);
    buf_addz(&l->report->lines, l->place.origin.kind == ORIGIN_FILE ? where : "");
    buf_addf(&l->report->lines, "not valid YAML: %s%s%s\n", y->problem ? y->problem : "unreadable",
             y->context ? ", " : "", y->context ? y->context : "");
    l->report->n++;
}

static rag_code load_file(struct loader *l, const char *path)
{
    struct buf bytes;
    buf_init(&bytes, MEM_MISC);
    struct rag_err err = {0};
    l->place = (struct place){.origin = {.kind = ORIGIN_FILE}, .file = path};
    rag_code rc = file_read_all(path, MAX_CONFIG_BYTES, &bytes, &err);
    if (rc) {
        size_t n = strlen(path); /* the place in front says the path already */
        const char *why = err.msg[0] ? err.msg : rag_code_name(rc);
        why += strncmp(why, path, n) == 0 && strncmp(why + n, ": ", 2) == 0 ? n + 2 : 0;
        cfg_complain(l, NULL, "%s: check --config", why);
        buf_clear(&bytes);
        return rc;
    }
    rc = cfg_read_yaml(l, buf_str(&bytes));
    buf_clear(&bytes);
    return rc;
}

rag_code cfg_read_yaml(struct loader *l, struct str yaml)
{
    yaml_parser_t y;
    yaml_document_t doc;
    if (!yaml_parser_initialize(&y))
        return RAG_ENOMEM;
    yaml_parser_set_input_string(&y, (const unsigned char *)(yaml.len ? yaml.ptr : ""), yaml.len);
    if (!yaml_parser_load(&y, &doc)) {
        complain_yaml(l, &y);
    } else {
        l->doc = &doc;
        const yaml_node_t *root = yaml_document_get_root_node(&doc);
        if (root && root->type == YAML_MAPPING_NODE && l->for_question)
            cfg_question_profile(l, root);
        if (root && root->type == YAML_MAPPING_NODE)
            walk(l, "", root);
        else if (root && !cfg_absent(root))
            cfg_complain(l, root, "wants `key: value` lines, this is %s", cfg_kind(root));
        yaml_document_delete(&doc);
        if (root) { /* the stream must end here */
            if (!yaml_parser_load(&y, &doc)) {
                complain_yaml(l, &y);
            } else {
                root = yaml_document_get_root_node(&doc);
                if (root)
                    cfg_complain(l, root, "a second document: only one is read");
                yaml_document_delete(&doc);
            }
        }
    }
    l->doc = NULL;
    yaml_parser_delete(&y);
    return RAG_OK;
}

static bool takes_list(enum config_type t, const char *text)
{
    bool three = t == CFG_U32X3 || t == CFG_F32X3 || t == CFG_CLASSX3;
    return t == CFG_STRS || t == CFG_KEYS || t == CFG_PROVIDERS || t == CFG_MODELS ||
           (three && strchr(text, ','));
}

/* A value outside a file: strings as they are, everything else as YAML; lists may come without brackets. */
void cfg_assign_text(struct loader *l, uint32_t r, const char *text)
{
    const struct config_row *row = &config_rows[r];
    yaml_document_t doc;
    if (row->type == CFG_STR || row->type == CFG_TEXT || row->type == CFG_ENUM) {
        if (!yaml_document_initialize(&doc, NULL, NULL, NULL, 1, 1))
            return;
        int id = utf8_valid(str_of(text))
                     ? yaml_document_add_scalar(&doc, NULL, (const yaml_char_t *)text,
                                                (int)strnlen(text, 65536), YAML_PLAIN_SCALAR_STYLE)
                     : 0;
        l->doc = &doc;
        if (id)
            assign(l, r, yaml_document_get_node(&doc, id));
        else
            cfg_complain(l, NULL, "%s: is not valid UTF-8", row->path);
        yaml_document_delete(&doc);
        l->doc = NULL;
        return;
    }
    struct buf b;
    buf_init(&b, MEM_MISC);
    bool list = takes_list(row->type, text);
    bool bare = list && text[strspn(text, " ")] != '[';
    if (bare && row->type == CFG_STRS) { /* quoted: an origin holds colons */
        buf_addc(&b, '[');
        for (const char *p = text; *p;) {
            size_t n = strcspn(p, ",");
            struct str item = str_trim(str_make(p, n));
            if (item.len)
                buf_addf(&b, "'%.*s',", (int)item.len, item.ptr);
            p += n + (p[n] == ',');
        }
        buf_addc(&b, ']');
    } else {
        buf_addf(&b, bare ? "[%s]" : "%s", text);
    }
    yaml_parser_t y;
    if (buf_failed(&b) || !yaml_parser_initialize(&y)) {
        buf_clear(&b);
        return;
    }
    yaml_parser_set_input_string(&y, (const unsigned char *)b.ptr, b.len);
    const yaml_node_t *root = NULL;
    bool parsed = yaml_parser_load(&y, &doc) != 0;
    if (parsed)
        root = yaml_document_get_root_node(&doc);
    l->doc = &doc;
    if (root)
        assign(l, r, root);
    else
        cfg_complain(l, NULL, "%s: cannot be read: write it as in the file", row->path);
    l->doc = NULL;
    if (parsed)
        yaml_document_delete(&doc);
    yaml_parser_delete(&y);
    buf_clear(&b);
}

/* An empty variable is as good as none (compose files pass them). */
const char *cfg_env(const char *const *environment, const char *name)
{
    size_t n = strlen(name);
    for (; environment && *environment; environment++)
        if (strncmp(*environment, name, n) == 0 && (*environment)[n] == '=' && (*environment)[n + 1])
            return *environment + n + 1;
    return NULL;
}

static void load_foreign(struct loader *l, const char *const *environment)
{
    for (uint32_t i = 0; i < config_n_foreign; i++) {
        const struct config_foreign_env *f = &config_foreign[i];
        const char *text = cfg_env(environment, f->name);
        if (!text)
            continue;
        if (!f->path) {
            cfg_note(l->cfg, "environment %s: not used: the part it configures is not yet supported",
                     f->name);
            continue;
        }
        char ours[128];
        config_env_name(f->path, ours, sizeof ours);
        if (cfg_env(environment, ours))
            continue;
        l->place = (struct place){.origin = {.kind = ORIGIN_ENV, .name = f->name}};
        l->lenient = true;
        cfg_assign_text(l, config_find_row(f->path), text);
        l->lenient = false;
    }
}

static void load_environment(struct loader *l, const char *const *environment)
{
    load_foreign(l, environment);
    for (uint32_t r = 0; r < config_n_rows; r++) {
        char name[128];
        config_env_name(config_rows[r].path, name, sizeof name);
        l->place = (struct place){
            .origin = {.kind = ORIGIN_ENV, .name = arena_strndup(&l->cfg->arena, name, strlen(name))}};
        if (config_rows[r].type != CFG_LATER) {
            const char *text = cfg_env(environment, name);
            if (text)
                cfg_assign_text(l, r, text);
            continue;
        }
        size_t n = strlen(name);
        for (const char *const *e = environment; e && *e; e++) {
            const char *eq = strchr(*e, '=');
            if (!eq || !eq[1] || strncmp(*e, name, n) != 0 || ((*e)[n] != '=' && (*e)[n] != '_'))
                continue;
            l->place.origin.name = arena_strndup(&l->cfg->arena, *e, (size_t)(eq - *e));
            cfg_complain(l, NULL, "not yet supported (%s): unset it", config_rows[r].help);
        }
    }
}

static void load_flag(struct loader *l, const char *flag, const char *path, const char *text)
{
    if (!text)
        return;
    l->place = (struct place){.origin = {.kind = ORIGIN_FLAG, .name = flag}};
    cfg_assign_text(l, config_find_row(path), text);
}

uint32_t cfg_profile_index(const char *name)
{
    uint32_t p = 0;
    while (p < 3 && strcmp(config_profiles[p], name) != 0)
        p++;
    return p;
}

static void load_defaults(struct loader *l)
{
    for (uint32_t pass = 0; pass < 2; pass++) /* `profile` itself first */
        for (uint32_t r = 0; r < config_n_rows; r++) {
            const struct config_row *row = &config_rows[r];
            if (l->cfg->origin[r].kind != ORIGIN_UNSET || row->type == CFG_LATER || (pass == 0 && !row->def))
                continue;
            uint32_t p = pass ? cfg_profile_index(l->cfg->profile_name) : 0;
            l->place = (struct place){.origin = {.kind = row->def ? ORIGIN_DEFAULT : ORIGIN_PROFILE}};
            cfg_assign_text(l, r,
                            row->def ? (strcmp(row->def, "\"\"") == 0 ? "" : row->def) : row->by_profile[p]);
        }
}

/* Defaults that depend on another key. */
static void derive_defaults(struct config *c)
{
    if (c->origin[config_find_row("chunking.overlap_tokens")].kind == ORIGIN_DEFAULT)
        c->chunk_overlap_tokens = c->chunk_size_tokens / 4;
}

static void check_together(struct loader *l)
{
    struct config *c = l->cfg;
    char host[256] = "";
    uint16_t port;
    l->place = (struct place){0};
    if (c->chunk_overlap_tokens * 2 > c->chunk_size_tokens)
        cfg_complain(l, NULL,
                     "chunking.overlap_tokens: %u is more than half of chunking.size_tokens (%u): lower it",
                     c->chunk_overlap_tokens, c->chunk_size_tokens);
    if (c->budget_warn > c->budget_stop)
        cfg_complain_at(l, &c->origin[config_find_row("budget.warn")],
                        "budget.warn: %g is above budget.stop (%g): lower it", c->budget_warn,
                        c->budget_stop);
    if (c->retry_initial_ms > c->retry_max_ms)
        cfg_complain_at(l, &c->origin[config_find_row("retry.initial_ms")],
                        "retry.initial_ms: %u is above retry.max_ms (%u): lower it", c->retry_initial_ms,
                        c->retry_max_ms);
    for (uint32_t i = 0; i < c->cors_origins.n && c->keys.n == 0; i++)
        if (strcmp(c->cors_origins.items[i], "*") == 0)
            cfg_complain(
                l, NULL,
                "cors_origins: '*' without a key lets every web page read the documents: name the origins or add auth.keys");
    if (c->keys.n == 0 && config_split_listen(c->listen, host, sizeof host, &port) &&
        !config_is_loopback(host))
        cfg_complain(
            l, NULL,
            "listen: %s is beyond loopback and there is no key: add auth.keys or listen on 127.0.0.1",
            c->listen);
}

rag_code config_load(const struct config_source *src, struct config *out, struct config_report *report)
{
    *out = (struct config){0};
    buf_init(&out->notes, MEM_MISC);
    struct loader l = {.cfg = out, .report = report};
    rag_code rc = RAG_OK;
    if (src->file) {
        out->file = arena_strndup(&out->arena, src->file, strlen(src->file));
        rc = out->file ? load_file(&l, out->file) : RAG_ENOMEM;
    }
    load_environment(&l, src->environment);
    load_flag(&l, "--listen", "listen", src->listen);
    load_flag(&l, "--data", "data", src->data);
    load_flag(&l, "--profile", "profile", src->profile);
    cfg_foreign_llm(&l, src->environment);
    load_defaults(&l);
    for (uint32_t r = 0; r < config_n_rows; r++)
        if (config_rows[r].type != CFG_LATER && out->origin[r].kind == ORIGIN_UNSET)
            return rc ? rc : report->n ? RAG_EINVAL : RAG_ENOMEM; /* no default took hold: out of memory */
    derive_defaults(out);
    if (report->n == 0)
        check_together(&l);
    if (report->n == 0)
        rc = cfg_build_catalogue(&l);
    return rc ? rc : report->n ? RAG_EINVAL : RAG_OK;
}
