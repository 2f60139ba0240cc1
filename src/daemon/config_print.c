/* What the table says, in three forms: template, effective values, JSON. */
#include <stdio.h>
#include <string.h>

#include "daemon/config_int.h"
#include "wire/json_out.h"

static void quoted(struct buf *out, const char *s)
{
    buf_addc(out, '"');
    json_escape(out, str_of(s)); /* YAML's double quotes take what JSON's take */
    buf_addc(out, '"');
}

static void strings(struct buf *out, const struct config_strings *s)
{
    buf_addc(out, '[');
    for (uint32_t i = 0; i < s->n; i++) {
        buf_addz(out, i ? ", " : "");
        quoted(out, s->items[i]);
    }
    buf_addc(out, ']');
}

static void keys(struct buf *out, const struct config_keys *k)
{
    buf_addc(out, '[');
    for (uint32_t i = 0; i < k->n; i++) {
        const struct config_key *key = &k->items[i];
        static const char *const names[] = {"query", "ingest", "admin"};
        struct config_strings scopes = {(const char *[3]){0}, 0};
        for (unsigned b = 0; b < 3; b++)
            if (key->scopes >> b & 1)
                scopes.items[scopes.n++] = names[b];
        buf_addz(out, i ? ", {\"name\": " : "{\"name\": ");
        quoted(out, key->name);
        buf_addz(out, key->key_env ? ", \"key_env\": " : ", \"key_file\": ");
        quoted(out, key->key_env ? key->key_env : key->key_file);
        buf_addz(out, ", \"scopes\": ");
        strings(out, &scopes);
        buf_addz(out, ", \"collections\": ");
        strings(out, &key->collections);
        buf_addf(out, ", \"rate_per_s\": %g, \"daily_cny\": ", key->rate_per_s);
        config_add_cny(out, key->daily);
        buf_addc(out, '}');
    }
    buf_addc(out, ']');
}

void config_add_cny(struct buf *out, nano_cny v)
{
    char part[16];
    int n = snprintf(part, sizeof part, "%09lld", (long long)(v % NANO_PER_CNY));
    while (n && part[n - 1] == '0')
        n--;
    buf_addf(out, "%lld%s%.*s", (long long)(v / NANO_PER_CNY), n ? "." : "", n, part);
}

static void field(struct buf *out, const char *name, const char *value)
{
    if (!value)
        return;
    buf_addf(out, ", \"%s\": ", name);
    quoted(out, value);
}

static void providers(struct buf *out, const struct config_providers *p)
{
    buf_addc(out, '[');
    for (uint32_t i = 0; i < p->n; i++) {
        const struct config_provider *item = &p->items[i];
        buf_addz(out, i ? ", {\"name\": " : "{\"name\": ");
        quoted(out, item->provider.name);
        field(out, "base_url", item->provider.base_url);
        field(out, "api_key_env", item->key_env);
        field(out, "api_key_file", item->key_file);
        field(out, "ca_file", item->provider.ca_file);
        buf_addf(out, ", \"cache_control\": %s}", item->provider.cache_control ? "true" : "false");
    }
    buf_addc(out, ']');
}

static void price(struct buf *out, const struct llm_price *p)
{
    buf_addz(out, ", \"price\": {\"input\": ");
    config_add_cny(out, p->input);
    buf_addz(out, ", \"cached_input\": ");
    config_add_cny(out, p->cached_input);
    buf_addz(out, ", \"output\": ");
    config_add_cny(out, p->output);
    buf_addc(out, '}');
}

static void models(struct buf *out, const struct config_models *m)
{
    buf_addc(out, '[');
    for (uint32_t i = 0; i < m->n; i++) {
        const struct llm_model *item = &m->items[i].model;
        buf_addz(out, i ? ", {\"name\": " : "{\"name\": ");
        quoted(out, item->name);
        field(out, "provider", m->items[i].provider);
        field(out, "model", item->model);
        buf_addz(out, ", \"aliases\": [");
        for (uint32_t a = 0; a < item->n_aliases; a++) {
            buf_addz(out, a ? ", " : "");
            quoted(out, item->aliases[a]);
        }
        buf_addc(out, ']');
        field(out, "class", model_class_name(item->class));
        buf_addf(out, ", \"context\": %u", item->context);
        price(out, &item->price);
        buf_addc(out, '}');
    }
    buf_addc(out, ']');
}

/* The value as JSON, which is YAML too. */
static void value(struct buf *out, const struct config *c, const struct config_row *row)
{
    const void *at = (const char *)c + row->offset;
    const uint32_t *u = at;
    switch (row->type) {
    case CFG_STR:
    case CFG_TEXT:
    case CFG_ENUM: quoted(out, *(const char *const *)at); break;
    case CFG_U32: buf_addf(out, "%u", *u); break;
    case CFG_F32: buf_addf(out, "%g", (double)*(const float *)at); break;
    case CFG_F64: buf_addf(out, "%.10g", *(const double *)at); break;
    case CFG_CNY: config_add_cny(out, *(const nano_cny *)at); break;
    case CFG_F32X3: {
        const float *f = at;
        buf_addf(out, "[%g, %g, %g]", (double)f[0], (double)f[1], (double)f[2]);
        break;
    }
    case CFG_BOOL: buf_addz(out, *(const bool *)at ? "true" : "false"); break;
    case CFG_U32X3: buf_addf(out, "[%u, %u, %u]", u[0], u[1], u[2]); break;
    case CFG_CLASSX3:
        buf_addf(out, "[\"%s\", \"%s\", \"%s\"]", model_class_name(u[0]), model_class_name(u[1]),
                 model_class_name(u[2]));
        break;
    case CFG_STRS: strings(out, at); break;
    case CFG_KEYS: keys(out, at); break;
    case CFG_PROVIDERS: providers(out, at); break;
    case CFG_MODELS: models(out, at); break;
    case CFG_LATER: break;
    }
}

/* Opens the groups of `path` that the row before did not have open; returns the depth of the last word. */
static unsigned open_groups(struct buf *out, const char *path, const char *before)
{
    unsigned depth = 0;
    bool same = true;
    for (const char *dot; (dot = strchr(path, '.')) != NULL; path = dot + 1, depth++) {
        size_t n = (size_t)(dot - path);
        same = same && strncmp(before, path, n + 1) == 0;
        if (same)
            before += n + 1;
        else
            buf_addf(out, "%*s%.*s:\n", (int)depth * 2, "", (int)n, path);
    }
    return depth;
}

static const char *last_word(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

static void comment(struct buf *out, unsigned indent, const char *text)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        buf_addf(out, "%*s# %.*s\n", (int)indent, "", (int)n, text);
        text += n + (text[n] == '\n');
    }
}

static void choices_line(struct buf *out, unsigned indent, const struct config_row *row)
{
    const char *end = strstr(row->choices, "||");
    buf_addf(out, "%*s# One of:", (int)indent, "");
    for (const char *p = row->choices; *p && p != end;) {
        size_t n = strcspn(p, "|");
        buf_addf(out, " %.*s", (int)n, p);
        p += n;
        if (*p == '|' && p != end)
            p++;
    }
    buf_addc(out, '\n');
}

static void range_line(struct buf *out, unsigned indent, const struct config_row *row)
{
    char env[128];
    config_env_name(row->path, env, sizeof env);
    buf_addf(out, "%*s# ", (int)indent, "");
    if (row->type == CFG_U32 || row->type == CFG_F32 || row->type == CFG_F64 || row->type == CFG_CNY ||
        row->type == CFG_U32X3 || row->type == CFG_F32X3)
        buf_addf(out, "%g to %.10g. ", row->min, row->max);
    if (row->by_profile[0]) {
        buf_addz(out, "By profile:");
        for (unsigned p = 0; p < 4; p++)
            buf_addf(out, " %s %s%s", config_profiles[p], row->by_profile[p], p < 3 ? "," : ". ");
    }
    buf_addf(out, "Environment: %s%s\n", env, row->flags & CFG_LIVE ? ". Re-read on SIGHUP" : "");
}

void config_print_default(struct buf *out)
{
    buf_addz(
        out,
        "# ragd configuration. Every line shows its default: remove the # of what you change.\n"
        "# Order: this file, then the environment, then flags; the last wins. Check it: ragd config --check FILE\n");
    const char *before = "";
    for (uint32_t r = 0; r < config_n_rows; r++) {
        const struct config_row *row = &config_rows[r];
        if (row->type == CFG_LATER)
            continue;
        buf_addc(out, '\n');
        unsigned indent = open_groups(out, row->path, before) * 2;
        comment(out, indent, row->help);
        if (row->choices)
            choices_line(out, indent, row);
        range_line(out, indent, row);
        buf_addf(out, "%*s# %s: %s\n", (int)indent, "", last_word(row->path),
                 row->def ? row->def : row->by_profile[0]);
        before = row->path;
    }
    buf_addz(out, "\n# Not yet supported, refused when set:");
    unsigned n = 0;
    for (uint32_t r = 0; r < config_n_rows; r++)
        if (config_rows[r].type == CFG_LATER)
            buf_addf(out, "%s%s", n++ % 8 ? ", " : "\n#   ", config_rows[r].path);
    buf_addc(out, '\n');
}

static void origin(struct buf *out, const struct config *c, uint32_t r)
{
    const struct config_origin *o = &c->origin[r];
    switch (o->kind) {
    case ORIGIN_FILE: buf_addf(out, "%s:%u", c->file, o->line); break;
    case ORIGIN_ENV: buf_addf(out, "environment %s", o->name); break;
    case ORIGIN_FLAG: buf_addf(out, "flag %s", o->name); break;
    case ORIGIN_PROFILE: buf_addf(out, "profile %s", c->profile_name); break;
    case ORIGIN_DEFAULT:
    case ORIGIN_UNSET: buf_addz(out, "default"); break;
    }
}

void config_print_effective(const struct config *c, struct buf *out)
{
    const char *before = "";
    for (uint32_t r = 0; r < config_n_rows; r++) {
        const struct config_row *row = &config_rows[r];
        if (row->type == CFG_LATER)
            continue;
        unsigned indent = open_groups(out, row->path, before) * 2;
        size_t from = out->len;
        buf_addf(out, "%*s%s: ", (int)indent, "", last_word(row->path));
        value(out, c, row);
        buf_addf(out, "%*s  # ", out->len - from < 40 ? (int)(40 - (out->len - from)) : 0, "");
        origin(out, c, r);
        buf_addc(out, '\n');
        before = row->path;
    }
    struct str notes = buf_str(&c->notes);
    while (notes.len) {
        const char *nl = memchr(notes.ptr, '\n', notes.len);
        size_t n = nl ? (size_t)(nl - notes.ptr) : notes.len;
        buf_addf(out, "# %.*s\n", (int)n, notes.ptr);
        notes = str_make(notes.ptr + n + (nl ? 1 : 0), notes.len - n - (nl ? 1 : 0));
    }
}

void config_json(const struct config *c, struct buf *out)
{
    buf_addz(out, "{\"file\":");
    if (c->file)
        quoted(out, c->file);
    else
        buf_addz(out, "null");
    buf_addz(out, ",\"values\":{");
    bool first = true;
    for (uint32_t r = 0; r < config_n_rows; r++) {
        const struct config_row *row = &config_rows[r];
        if (row->type == CFG_LATER)
            continue;
        buf_addf(out, "%s\"%s\":{\"value\":", first ? "" : ",", row->path);
        value(out, c, row);
        struct buf o;
        buf_init(&o, MEM_MISC);
        origin(&o, c, r);
        buf_addz(out, ",\"origin\":\"");
        json_escape(out, buf_str(&o));
        buf_addf(out, "\",\"reloadable\":%s}", row->flags & CFG_LIVE ? "true" : "false");
        buf_clear(&o);
        first = false;
    }
    buf_addz(out, "},\"notes\":[");
    struct str notes = buf_str(&c->notes);
    for (first = true; notes.len; first = false) {
        const char *nl = memchr(notes.ptr, '\n', notes.len);
        size_t n = nl ? (size_t)(nl - notes.ptr) : notes.len;
        buf_addz(out, first ? "\"" : ",\"");
        json_escape(out, str_make(notes.ptr, n));
        buf_addc(out, '"');
        notes = str_make(notes.ptr + n + (nl ? 1 : 0), notes.len - n - (nl ? 1 : 0));
    }
    buf_addz(out, "]}");
}

bool config_same_but_live(const struct config *a, const struct config *b)
{
    struct buf x, y;
    buf_init(&x, MEM_MISC);
    buf_init(&y, MEM_MISC);
    for (uint32_t r = 0; r < config_n_rows; r++)
        if (!(config_rows[r].flags & CFG_LIVE)) {
            value(&x, a, &config_rows[r]);
            value(&y, b, &config_rows[r]);
        }
    bool same = str_eq(buf_str(&x), buf_str(&y));
    buf_clear(&x);
    buf_clear(&y);
    return same;
}
