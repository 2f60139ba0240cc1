/* Loading: each source assigns to rows of the table, a later source over an earlier one; rows that no source
 * set get their default, which may depend on the profile. Errors are collected, never the first only, so that a
 * file is repaired in one go. A row is assigned only by a value that is right: after errors the struct is not
 * used, but printing it is safe. */
#include "daemon/config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#include "base/str.h"
#include "daemon/config_int.h"
#include "sys/file.h"
#include "text/utf8.h"

enum { MAX_CONFIG_BYTES = 1 << 20, MIN_SECRET = 8 };

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
};

void config_report_init(struct config_report *r)
{
    buf_init(&r->lines, MEM_MISC);
    r->n = 0;
}

void config_report_clear(struct config_report *r)
{
    buf_clear(&r->lines);
}

static void add_line(struct buf *b, const char *where, const char *fmt, va_list ap) RAG_PRINTF(3, 0);
static void add_line(struct buf *b, const char *where, const char *fmt, va_list ap)
{
    char msg[1024];
    vsnprintf(msg, sizeof msg, fmt, ap);
    size_t n = utf8_floor(str_of(msg), strlen(msg)); /* snprintf may have cut a character */
    buf_addz(b, where);
    buf_add(b, msg, n);
    buf_addc(b, '\n');
}

static void complain(struct loader *l, const yaml_node_t *node, const char *fmt, ...) RAG_PRINTF(3, 4);
static void complain(struct loader *l, const yaml_node_t *node, const char *fmt, ...)
{
    char where[512] = "";
    switch (l->place.origin.kind) {
    case ORIGIN_FILE:
        if (node)
            snprintf(where, sizeof where, "%s:%zu:%zu: ", l->place.file, node->start_mark.line + 1,
                     node->start_mark.column + 1);
        else
            snprintf(where, sizeof where, "%s: ", l->place.file);
        break;
    case ORIGIN_ENV: snprintf(where, sizeof where, "environment %s: ", l->place.origin.name); break;
    case ORIGIN_FLAG: snprintf(where, sizeof where, "flag %s: ", l->place.origin.name); break;
    default: break;
    }
    va_list ap;
    va_start(ap, fmt);
    add_line(l->lenient ? &l->cfg->notes : &l->report->lines, where, fmt, ap);
    va_end(ap);
    if (l->lenient)
        l->cfg->n_notes++;
    else
        l->report->n++;
}

/* ---- values -------------------------------------------------------------------------------------------- */
static const char *node_kind(const yaml_node_t *n)
{
    if (n->type == YAML_MAPPING_NODE)
        return "a mapping";
    if (n->type == YAML_SEQUENCE_NODE)
        return "a list";
    return n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? "a plain value" : "a quoted string";
}

static struct str node_text(const yaml_node_t *n)
{
    return str_make((const char *)n->data.scalar.value, n->data.scalar.length);
}

/* An empty value, `~` or `null`: as if the key were not there. */
static bool node_absent(const yaml_node_t *n)
{
    struct str s = node_text(n);
    return n->type == YAML_SCALAR_NODE && n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (s.len == 0 || str_eqz(s, "~") || str_eqz(s, "null"));
}

static bool node_number(const yaml_node_t *n, double *out)
{
    if (n->type != YAML_SCALAR_NODE || n->data.scalar.style != YAML_PLAIN_SCALAR_STYLE ||
        n->data.scalar.length == 0 || n->data.scalar.length > 40)
        return false;
    const char *s = (const char *)n->data.scalar.value;
    if (s[strspn(s, "0123456789.eE+-")] || strlen(s) != n->data.scalar.length)
        return false;
    char *end;
    *out = strtod(s, &end);
    return *end == 0 && isfinite(*out);
}

static bool check_range(struct loader *l, const struct config_row *row, const yaml_node_t *n, double v)
{
    if (v >= row->min && v <= row->max)
        return true;
    complain(l, n, "%s: %s is out of range: use %g to %.10g", row->path, (const char *)n->data.scalar.value,
             row->min, row->max);
    return false;
}

static bool parse_u32(struct loader *l, const struct config_row *row, const yaml_node_t *n, uint32_t *out)
{
    double v;
    if (!node_number(n, &v) || v != floor(v)) {
        complain(l, n, "%s: wants a whole number, this is %s", row->path, node_kind(n));
        return false;
    }
    if (!check_range(l, row, n, v))
        return false;
    *out = (uint32_t)v;
    return true;
}

/* A copy in the config's arena; NULL was reported. Control characters have no place in any of our strings. */
static const char *parse_string(struct loader *l, const char *what, const yaml_node_t *n, size_t min,
                                size_t max)
{
    if (n->type != YAML_SCALAR_NODE) {
        complain(l, n, "%s: wants a string, this is %s", what, node_kind(n));
        return NULL;
    }
    struct str s = node_text(n);
    if (s.len < min || s.len > max) {
        complain(l, n, "%s: %s", what, s.len < min ? "must not be empty" : "too long");
        return NULL;
    }
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7F) {
            complain(l, n, "%s: has a control character", what);
            return NULL;
        }
    const char *copy = arena_strndup(&l->cfg->arena, s.ptr, s.len);
    if (!copy)
        complain(l, n, "%s: out of memory", what);
    return copy;
}

/* Is `word` one of "a|b|c"? */
static bool choice_has(const char *choices, size_t len, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = choices; p < choices + len;) {
        const char *bar = memchr(p, '|', (size_t)(choices + len - p));
        size_t w = bar ? (size_t)(bar - p) : (size_t)(choices + len - p);
        if (w == n && memcmp(p, word, n) == 0)
            return true;
        p += w + 1;
    }
    return false;
}

static bool parse_enum(struct loader *l, const struct config_row *row, const yaml_node_t *n, const char **out)
{
    const char *v = parse_string(l, row->path, n, 1, 64);
    if (!v)
        return false;
    size_t len = strlen(v);
    static const char suffix[] = "_optimized";
    if (strcmp(row->path, "profile") == 0 && len > sizeof suffix - 1 &&
        strcmp(v + len - (sizeof suffix - 1), suffix) == 0)
        v = arena_strndup(&l->cfg->arena, v, len - (sizeof suffix - 1));
    if (strcmp(row->path, "log.level") == 0 &&
        l->place.origin.kind == ORIGIN_ENV) { /* LOG_LEVEL=WARNING is a habit */
        if (strcasecmp(v, "warning") == 0)
            v = "warn";
        else if (strcasecmp(v, "critical") == 0)
            v = "error";
        char *low = arena_strndup(&l->cfg->arena, v, strlen(v));
        for (char *p = low; p && *p; p++)
            *p = (char)tolower((unsigned char)*p);
        v = low;
    }
    if (!v)
        return false;
    const char *later = strstr(row->choices, "||");
    size_t now_len = later ? (size_t)(later - row->choices) : strlen(row->choices);
    if (later && choice_has(later + 2, strlen(later + 2), v)) {
        complain(l, n, "%s: '%s' is not yet supported: leave it out or use %.*s", row->path, v, (int)now_len,
                 row->choices);
        return false;
    }
    if (!choice_has(row->choices, now_len, v)) {
        char all[128];
        snprintf(all, sizeof all, "%.*s", (int)now_len, row->choices);
        for (char *p = all; *p; p++)
            if (*p == '|')
                *p = ' ';
        complain(l, n, "%s: '%s' is not one of: %s", row->path, v, all);
        return false;
    }
    *out = v;
    return true;
}

static const yaml_node_t *item_at(struct loader *l, const yaml_node_t *seq, uint32_t i)
{
    return yaml_document_get_node(l->doc, seq->data.sequence.items.start[i]);
}

static uint32_t item_count(const yaml_node_t *seq)
{
    return (uint32_t)(seq->data.sequence.items.top - seq->data.sequence.items.start);
}

static bool parse_u32x3(struct loader *l, const struct config_row *row, const yaml_node_t *n, uint32_t *out)
{
    if (n->type == YAML_SEQUENCE_NODE) {
        if (item_count(n) != 3) {
            complain(l, n, "%s: wants three numbers [simple, medium, complex], this list has %u", row->path,
                     item_count(n));
            return false;
        }
        bool ok = true;
        uint32_t v[3];
        for (uint32_t i = 0; i < 3; i++)
            ok &= parse_u32(l, row, item_at(l, n, i), &v[i]);
        if (ok)
            memcpy(out, v, sizeof v);
        return ok;
    }
    uint32_t one;
    if (n->type == YAML_MAPPING_NODE) {
        complain(l, n, "%s: wants three numbers [simple, medium, complex], this is a mapping", row->path);
        return false;
    }
    if (!parse_u32(l, row, n, &one))
        return false;
    out[0] = out[1] = out[2] = one;
    return true;
}

static bool parse_strings(struct loader *l, const char *what, const yaml_node_t *n, uint32_t max,
                          struct config_strings *out)
{
    if (n->type != YAML_SEQUENCE_NODE) {
        complain(l, n, "%s: wants a list, this is %s", what, node_kind(n));
        return false;
    }
    uint32_t count = item_count(n);
    if (count > max) {
        complain(l, n, "%s: has %u items, at most %u", what, count, max);
        return false;
    }
    struct config_strings v = {arena_array(&l->cfg->arena, count + 1, sizeof(char *)), 0};
    bool ok = v.items != NULL;
    for (uint32_t i = 0; i < count && v.items; i++) {
        const char *s = parse_string(l, what, item_at(l, n, i), 1, 512);
        ok &= s != NULL;
        v.items[v.n++] = s;
    }
    if (ok)
        *out = v;
    return ok;
}

static bool is_name(const char *s)
{
    size_t n = strlen(s);
    return n >= 1 && n <= 64 &&
           s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")] == 0 &&
           strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}

static bool parse_scopes(struct loader *l, const char *what, const yaml_node_t *n, uint32_t *out)
{
    struct config_strings s;
    if (!parse_strings(l, what, n, 8, &s))
        return false;
    bool ok = true;
    *out = 0;
    for (uint32_t i = 0; i < s.n; i++) {
        if (strcmp(s.items[i], "query") == 0)
            *out |= SCOPE_QUERY;
        else if (strcmp(s.items[i], "ingest") == 0)
            *out |= SCOPE_INGEST;
        else if (strcmp(s.items[i], "admin") == 0)
            *out |= SCOPE_ADMIN;
        else {
            complain(l, item_at(l, n, i), "%s: '%s' is not one of: query ingest admin", what, s.items[i]);
            ok = false;
        }
    }
    return ok;
}

static const char *suggest_word(const char *const *words, uint32_t n, const char *typed);

static bool parse_key_field(struct loader *l, const char *what, const char *field, const yaml_node_t *v,
                            const yaml_node_t *at, struct config_key *key)
{
    char path[128];
    snprintf(path, sizeof path, "%s.%.60s", what, field);
    if (strcmp(field, "name") == 0)
        return (key->name = parse_string(l, path, v, 1, 64)) != NULL;
    if (strcmp(field, "key_env") == 0)
        return (key->key_env = parse_string(l, path, v, 1, 256)) != NULL;
    if (strcmp(field, "key_file") == 0)
        return (key->key_file = parse_string(l, path, v, 1, 3000)) != NULL;
    if (strcmp(field, "scopes") == 0)
        return parse_scopes(l, path, v, &key->scopes);
    if (strcmp(field, "collections") == 0) {
        if (!parse_strings(l, path, v, 256, &key->collections))
            return false;
        for (uint32_t i = 0; i < key->collections.n; i++)
            if (!is_name(key->collections.items[i])) {
                complain(l, item_at(l, v, i), "%s: '%s' is no collection name", path,
                         key->collections.items[i]);
                return false;
            }
        return true;
    }
    if (strcmp(field, "rate_per_s") == 0) {
        if (!node_number(v, &key->rate_per_s) || key->rate_per_s < 0 || key->rate_per_s > 1e6) {
            complain(l, v, "%s: wants a number from 0 to 1000000 (0: no limit)", path);
            return false;
        }
        return true;
    }
    if (strcmp(field, "daily_cny") == 0) {
        complain(l, at, "%s: not yet supported (spending limits): leave it out", path);
        return false;
    }
    if (strcmp(field, "key") == 0 || strcmp(field, "secret") == 0) {
        complain(
            l, at,
            "%s: a key must not stand in the file: name its variable with key_env or its file with key_file",
            path);
        return false;
    }
    static const char *const fields[] = {"name",   "key_env",     "key_file",
                                         "scopes", "collections", "rate_per_s"};
    const char *near = suggest_word(fields, 6, field);
    complain(l, at, "%s: unknown key%s%s%s", path, near ? ": did you mean '" : "", near ? near : "",
             near ? "'?" : "");
    return false;
}

static bool parse_key(struct loader *l, const char *what, const yaml_node_t *n, struct config_key *key)
{
    if (n->type != YAML_MAPPING_NODE) {
        complain(l, n, "%s: wants {name: ..., key_env: ...}, this is %s", what, node_kind(n));
        return false;
    }
    *key = (struct config_key){.scopes = SCOPE_QUERY};
    bool ok = true;
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = yaml_document_get_node(l->doc, p->key),
                          *v = yaml_document_get_node(l->doc, p->value);
        if (k->type != YAML_SCALAR_NODE) {
            complain(l, k, "%s: a key must be a word", what);
            ok = false;
        } else if (!node_absent(v)) {
            ok &= parse_key_field(l, what, (const char *)k->data.scalar.value, v, k, key);
        }
    }
    if (ok && (!key->name || !is_name(key->name))) {
        complain(l, n, "%s.name: wants 1 to 64 of A-Z a-z 0-9 _ . -", what);
        ok = false;
    }
    if (ok && !key->key_env == !key->key_file) {
        complain(l, n, "%s: wants key_env or key_file (one of them)", what);
        ok = false;
    }
    if (ok && key->scopes == 0) {
        complain(l, n, "%s.scopes: is empty: such a key may do nothing", what);
        ok = false;
    }
    return ok;
}

static bool parse_keys(struct loader *l, const struct config_row *row, const yaml_node_t *n,
                       struct config_keys *out)
{
    if (n->type != YAML_SEQUENCE_NODE) {
        complain(l, n, "%s: wants a list of keys, this is %s", row->path, node_kind(n));
        return false;
    }
    uint32_t count = item_count(n);
    if (count > (uint32_t)row->max) {
        complain(l, n, "%s: has %u items, at most %u", row->path, count, (uint32_t)row->max);
        return false;
    }
    struct config_keys v = {arena_array(&l->cfg->arena, count + 1, sizeof *v.items), 0};
    bool ok = v.items != NULL;
    for (uint32_t i = 0; i < count && v.items; i++) {
        char what[64];
        snprintf(what, sizeof what, "auth.keys[%u]", i);
        bool good = parse_key(l, what, item_at(l, n, i), &v.items[v.n]);
        for (uint32_t j = 0; good && j < v.n; j++)
            if (strcmp(v.items[j].name, v.items[v.n].name) == 0) {
                complain(l, item_at(l, n, i), "%s.name: '%s' is there twice", what, v.items[j].name);
                good = false;
            }
        v.n += good;
        ok &= good;
    }
    if (ok)
        *out = v;
    return ok;
}

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
            complain(
                l, item_at(l, n, i),
                "cors_origins: '%s' is no origin: write it as the browser sends it, like https://crm.example.com",
                o);
            return false;
        }
    }
    return true;
}

static bool check_string(struct loader *l, const struct config_row *row, const yaml_node_t *n, const char *v)
{
    char host[256];
    uint16_t port;
    if (strcmp(row->path, "listen") == 0 && !config_split_listen(v, host, sizeof host, &port)) {
        complain(l, n, "listen: '%s' is not HOST:PORT: write it like 127.0.0.1:8001 or [::1]:8001", v);
        return false;
    }
    return true;
}

static bool parse_f32(struct loader *l, const struct config_row *row, const yaml_node_t *n, float *out)
{
    double v;
    if (!node_number(n, &v)) {
        complain(l, n, "%s: wants a number, this is %s", row->path, node_kind(n));
        return false;
    }
    if (!check_range(l, row, n, v))
        return false;
    *out = (float)v;
    return true;
}

static bool parse_f32x3(struct loader *l, const struct config_row *row, const yaml_node_t *n, float *out)
{
    float v[3];
    bool ok = true;
    if (n->type == YAML_SEQUENCE_NODE && item_count(n) == 3) {
        for (uint32_t i = 0; i < 3; i++)
            ok &= parse_f32(l, row, item_at(l, n, i), &v[i]);
    } else if (n->type == YAML_SCALAR_NODE) {
        ok = parse_f32(l, row, n, &v[0]);
        v[1] = v[2] = v[0];
    } else {
        complain(l, n, "%s: wants one number or three: [question, keywords, utterance]", row->path);
        return false;
    }
    if (ok)
        memcpy(out, v, sizeof v);
    return ok;
}

static bool parse_bool(struct loader *l, const struct config_row *row, const yaml_node_t *n, bool *out)
{
    struct str s = n->type == YAML_SCALAR_NODE ? node_text(n) : str_make(NULL, 0);
    bool yes = str_eqz(s, "true"), no = str_eqz(s, "false");
    if (!yes && !no)
        complain(l, n, "%s: wants true or false", row->path);
    else
        *out = yes;
    return yes || no;
}

static void assign(struct loader *l, uint32_t r, const yaml_node_t *n)
{
    const struct config_row *row = &config_rows[r];
    void *at = (char *)l->cfg + row->offset;
    bool ok = false;
    switch (row->type) {
    case CFG_STR: {
        const char *s = parse_string(l, row->path, n, (size_t)row->min, (size_t)row->max);
        ok = s && check_string(l, row, n, s);
        if (ok)
            memcpy(at, &s, sizeof s);
        break;
    }
    case CFG_ENUM: ok = parse_enum(l, row, n, at); break;
    case CFG_U32: ok = parse_u32(l, row, n, at); break;
    case CFG_U32X3: ok = parse_u32x3(l, row, n, at); break;
    case CFG_F32: ok = parse_f32(l, row, n, at); break;
    case CFG_F32X3: ok = parse_f32x3(l, row, n, at); break;
    case CFG_BOOL: ok = parse_bool(l, row, n, at); break;
    case CFG_STRS: {
        struct config_strings s;
        ok = parse_strings(l, row->path, n, (uint32_t)row->max, &s) && check_origins(l, n, &s);
        if (ok)
            memcpy(at, &s, sizeof s);
        break;
    }
    case CFG_KEYS: ok = parse_keys(l, row, n, at); break;
    case CFG_LATER: break;
    }
    if (!ok)
        return;
    l->cfg->origin[r] = l->place.origin;
    if (l->place.origin.kind == ORIGIN_FILE) {
        l->cfg->origin[r].line = (uint32_t)n->start_mark.line + 1;
        l->cfg->origin[r].column = (uint32_t)n->start_mark.column + 1;
    }
}

/* ---- keys ---------------------------------------------------------------------------------------------- */
/* Edits (insert, delete, replace) between a and b; anything over 32 characters counts as far away. */
static unsigned edit_distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    unsigned row[33];
    if (n > 32 || m > 32)
        return 99;
    for (unsigned j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        unsigned diag = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned best = diag + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diag = row[j];
            row[j] = best;
        }
    }
    return row[m];
}

static bool near_enough(const char *typed, unsigned distance)
{
    return distance <= 1 + strlen(typed) / 4;
}

static const char *suggest_word(const char *const *words, uint32_t n, const char *typed)
{
    const char *best = NULL;
    unsigned best_d = 99;
    for (uint32_t i = 0; i < n; i++) {
        unsigned d = edit_distance(words[i], typed);
        if (d < best_d) {
            best_d = d;
            best = words[i];
        }
    }
    return best && near_enough(typed, best_d) ? best : NULL;
}

/* The path that was meant by the unknown key `word` below `prefix`: a misspelt neighbour, else a key of that
 * name elsewhere. False: no idea. */
static bool suggest_path(const char *prefix, const char *word, char *out, size_t size)
{
    size_t plen = strlen(prefix);
    unsigned best = 99;
    for (uint32_t i = 0; i < config_n_rows; i++) {
        const char *path = config_rows[i].path;
        if (plen && (strncmp(path, prefix, plen) != 0 || path[plen] != '.'))
            continue;
        const char *rest = path + plen + (plen ? 1 : 0);
        char sibling[64];
        snprintf(sibling, sizeof sibling, "%.*s", (int)strcspn(rest, "."), rest);
        unsigned d = edit_distance(sibling, word);
        if (d < best) {
            best = d;
            snprintf(out, size, "%s%s%s", prefix, plen ? "." : "", sibling);
        }
    }
    if (near_enough(word, best))
        return true;
    for (uint32_t i = 0; i < config_n_rows; i++) {
        const char *dot = strrchr(config_rows[i].path, '.');
        if (config_rows[i].type != CFG_LATER &&
            edit_distance(dot ? dot + 1 : config_rows[i].path, word) <= 1) {
            snprintf(out, size, "%s", config_rows[i].path);
            return true;
        }
    }
    return false;
}

static uint32_t find_row(const char *path)
{
    for (uint32_t i = 0; i < config_n_rows; i++)
        if (strcmp(config_rows[i].path, path) == 0)
            return i;
    return UINT32_MAX;
}

static bool is_group(const char *path)
{
    size_t n = strlen(path);
    for (uint32_t i = 0; i < config_n_rows; i++)
        if (strncmp(config_rows[i].path, path, n) == 0 && config_rows[i].path[n] == '.')
            return true;
    return false;
}

static void refuse_later(struct loader *l, const char *path, const struct config_row *row,
                         const yaml_node_t *at)
{
    complain(l, at, "%s: not yet supported (%s): leave it out", path, row->help);
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
        if (k->type != YAML_SCALAR_NODE || node_absent(v))
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
            complain(l, k, "%s%sa key must be a word", prefix, *prefix ? ": " : "");
            continue;
        }
        const char *word = (const char *)k->data.scalar.value;
        char path[192], near[192];
        snprintf(path, sizeof path, "%.120s%s%s", prefix, *prefix ? "." : "", word);
        bool twice = false;
        for (yaml_node_pair_t *q = pairs; q < p && !twice; q++) {
            const yaml_node_t *other = yaml_document_get_node(l->doc, q->key);
            twice = other->type == YAML_SCALAR_NODE && str_eq(node_text(other), node_text(k));
        }
        uint32_t r = find_row(path);
        if (twice)
            complain(l, k, "%s: is there twice", path);
        else if (r == UINT32_MAX && !is_group(path) && suggest_path(prefix, word, near, sizeof near))
            complain(l, k, "%s: unknown key: did you mean '%s'?", path, near);
        else if (r == UINT32_MAX && !is_group(path))
            complain(l, k, "%s: unknown key: see ragd config --print-default", path);
        else if (node_absent(v))
            continue;
        else if (r == UINT32_MAX && v->type != YAML_MAPPING_NODE)
            complain(l, v, "%s: wants keys below it, this is %s", path, node_kind(v));
        else if (r == UINT32_MAX)
            walk(l, path, v);
        else if (config_rows[r].type == CFG_LATER)
            refuse_below(l, path, &config_rows[r], k, v, 0);
        else
            assign(l, r, v);
    }
}

/* ---- sources ------------------------------------------------------------------------------------------- */
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
        complain(l, NULL, "%s: check --config", why);
        buf_clear(&bytes);
        return rc;
    }
    yaml_parser_t y;
    yaml_document_t doc;
    if (!yaml_parser_initialize(&y)) {
        buf_clear(&bytes);
        return RAG_ENOMEM;
    }
    yaml_parser_set_input_string(&y, (const unsigned char *)(bytes.len ? bytes.ptr : ""), bytes.len);
    if (!yaml_parser_load(&y, &doc)) {
        complain_yaml(l, &y);
    } else {
        l->doc = &doc;
        const yaml_node_t *root = yaml_document_get_root_node(&doc);
        if (root && root->type == YAML_MAPPING_NODE)
            walk(l, "", root);
        else if (root && !node_absent(root))
            complain(l, root, "wants `key: value` lines, this is %s", node_kind(root));
        yaml_document_delete(&doc);
        if (root) { /* the stream must end here */
            if (!yaml_parser_load(&y, &doc)) {
                complain_yaml(l, &y);
            } else {
                root = yaml_document_get_root_node(&doc);
                if (root)
                    complain(l, root, "a second document: only one is read");
                yaml_document_delete(&doc);
            }
        }
    }
    l->doc = NULL;
    yaml_parser_delete(&y);
    buf_clear(&bytes);
    return RAG_OK;
}

/* A value outside a file: strings as they are, everything else as YAML; lists may come without brackets. */
static void assign_text(struct loader *l, uint32_t r, const char *text)
{
    const struct config_row *row = &config_rows[r];
    yaml_document_t doc;
    if (row->type == CFG_STR || row->type == CFG_ENUM) {
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
            complain(l, NULL, "%s: is not valid UTF-8", row->path);
        yaml_document_delete(&doc);
        l->doc = NULL;
        return;
    }
    struct buf b;
    buf_init(&b, MEM_MISC);
    bool list =
        row->type == CFG_STRS || ((row->type == CFG_U32X3 || row->type == CFG_F32X3) && strchr(text, ',')) || row->type == CFG_KEYS;
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
        complain(l, NULL, "%s: cannot be read: write it as in the file", row->path);
    l->doc = NULL;
    if (parsed)
        yaml_document_delete(&doc);
    yaml_parser_delete(&y);
    buf_clear(&b);
}

/* An empty variable is as good as none (compose files pass them). */
static const char *env_get(const char *const *environment, const char *name)
{
    size_t n = strlen(name);
    for (; environment && *environment; environment++)
        if (strncmp(*environment, name, n) == 0 && (*environment)[n] == '=' && (*environment)[n + 1])
            return *environment + n + 1;
    return NULL;
}

static void note(struct config *c, const char *fmt, ...) RAG_PRINTF(2, 3);
static void note(struct config *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add_line(&c->notes, "", fmt, ap);
    va_end(ap);
    c->n_notes++;
}

static void load_foreign(struct loader *l, const char *const *environment)
{
    for (uint32_t i = 0; i < config_n_foreign; i++) {
        const struct config_foreign_env *f = &config_foreign[i];
        const char *text = env_get(environment, f->name);
        if (!text)
            continue;
        if (!f->path) {
            note(l->cfg, "environment %s: not used: the part it configures is not yet supported", f->name);
            continue;
        }
        char ours[128];
        config_env_name(f->path, ours, sizeof ours);
        if (env_get(environment, ours))
            continue;
        l->place = (struct place){.origin = {.kind = ORIGIN_ENV, .name = f->name}};
        l->lenient = true;
        assign_text(l, find_row(f->path), text);
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
            const char *text = env_get(environment, name);
            if (text)
                assign_text(l, r, text);
            continue;
        }
        size_t n = strlen(name);
        for (const char *const *e = environment; e && *e; e++) {
            const char *eq = strchr(*e, '=');
            if (!eq || !eq[1] || strncmp(*e, name, n) != 0 || ((*e)[n] != '=' && (*e)[n] != '_'))
                continue;
            l->place.origin.name = arena_strndup(&l->cfg->arena, *e, (size_t)(eq - *e));
            complain(l, NULL, "not yet supported (%s): unset it", config_rows[r].help);
        }
    }
}

static void load_flag(struct loader *l, const char *flag, const char *path, const char *text)
{
    if (!text)
        return;
    l->place = (struct place){.origin = {.kind = ORIGIN_FLAG, .name = flag}};
    assign_text(l, find_row(path), text);
}

static void load_defaults(struct loader *l)
{
    for (uint32_t pass = 0; pass < 2; pass++) /* `profile` itself first */
        for (uint32_t r = 0; r < config_n_rows; r++) {
            const struct config_row *row = &config_rows[r];
            if (l->cfg->origin[r].kind != ORIGIN_UNSET || row->type == CFG_LATER || (pass == 0 && !row->def))
                continue;
            uint32_t p = 0;
            while (pass && p < 3 && strcmp(config_profiles[p], l->cfg->profile_name) != 0)
                p++;
            l->place = (struct place){.origin = {.kind = row->def ? ORIGIN_DEFAULT : ORIGIN_PROFILE}};
            assign_text(l, r,
                        row->def ? (strcmp(row->def, "\"\"") == 0 ? "" : row->def) : row->by_profile[p]);
        }
}

static void check_together(struct loader *l)
{
    struct config *c = l->cfg;
    char host[256] = "";
    uint16_t port;
    l->place = (struct place){0};
    if (c->chunk_overlap_tokens * 2 > c->chunk_size_tokens)
        complain(l, NULL,
                 "chunking.overlap_tokens: %u is more than half of chunking.size_tokens (%u): lower it",
                 c->chunk_overlap_tokens, c->chunk_size_tokens);
    for (uint32_t i = 0; i < c->cors_origins.n && c->keys.n == 0; i++)
        if (strcmp(c->cors_origins.items[i], "*") == 0)
            complain(
                l, NULL,
                "cors_origins: '*' without a key lets every web page read the documents: name the origins or add auth.keys");
    if (c->keys.n == 0 && config_split_listen(c->listen, host, sizeof host, &port) &&
        !config_is_loopback(host))
        complain(l, NULL,
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
    load_defaults(&l);
    for (uint32_t r = 0; r < config_n_rows; r++)
        if (config_rows[r].type != CFG_LATER && out->origin[r].kind == ORIGIN_UNSET)
            return rc ? rc : report->n ? RAG_EINVAL : RAG_ENOMEM; /* no default took hold: out of memory */
    if (report->n == 0)
        check_together(&l);
    return rc ? rc : report->n ? RAG_EINVAL : RAG_OK;
}

void config_clear(struct config *c)
{
    for (uint32_t i = 0; i < c->keys.n; i++)
        if (c->keys.items[i].secret)
            explicit_bzero((char *)(uintptr_t)c->keys.items[i].secret, strlen(c->keys.items[i].secret));
    buf_clear(&c->notes);
    arena_clear(&c->arena);
    *c = (struct config){0};
}

/* ---- keys' secrets ------------------------------------------------------------------------------------- */
rag_code config_resolve_keys(struct config *c, const char *const *environment, struct config_report *report)
{
    struct loader l = {.cfg = c, .report = report};
    for (uint32_t i = 0; i < c->keys.n; i++) {
        struct config_key *k = &c->keys.items[i];
        struct buf b;
        buf_init(&b, MEM_MISC);
        struct rag_err err = {0};
        const char *env = k->key_env ? env_get(environment, k->key_env) : NULL;
        if (k->key_env && !env)
            complain(&l, NULL, "auth.keys: %s: the environment variable %s is not set: export it", k->name,
                     k->key_env);
        else if (k->key_file && file_read_all(k->key_file, 4096, &b, &err))
            complain(&l, NULL, "auth.keys: %s: %s: %s: check key_file", k->name, k->key_file,
                     err.msg[0] ? err.msg : "cannot read");
        else {
            struct str s = str_trim(env ? str_of(env) : buf_str(&b));
            bool printable = true;
            for (size_t j = 0; j < s.len; j++)
                printable &= s.ptr[j] > 0x20 && s.ptr[j] < 0x7F;
            if (s.len < MIN_SECRET || !printable)
                complain(&l, NULL, "auth.keys: %s: the key in %s %s", k->name,
                         k->key_env ? k->key_env : k->key_file,
                         printable ? "is shorter than 8 characters"
                                   : "holds a blank or a character outside ASCII");
            else
                k->secret = arena_strndup(&c->arena, s.ptr, s.len);
            for (uint32_t j = 0; j < i && k->secret; j++)
                if (c->keys.items[j].secret && strcmp(c->keys.items[j].secret, k->secret) == 0)
                    complain(&l, NULL, "auth.keys: %s and %s have the same key", c->keys.items[j].name,
                             k->name);
        }
        if (b.len)
            explicit_bzero(b.ptr, b.len);
        buf_clear(&b);
    }
    return report->n ? RAG_EINVAL : RAG_OK;
}

/* ---- addresses ----------------------------------------------------------------------------------------- */
bool config_split_listen(const char *listen, char *host, size_t host_size, uint16_t *port)
{
    const char *colon = strrchr(listen, ':'), *from = listen, *to = colon;
    if (!colon || colon == listen)
        return false;
    if (*listen == '[') {
        if (colon[-1] != ']')
            return false;
        from++;
        to--;
    } else if (memchr(listen, ':', (size_t)(colon - listen))) {
        return false;
    }
    size_t n = (size_t)(to - from), digits = strspn(colon + 1, "0123456789");
    if (n == 0 || n >= host_size || digits == 0 || digits > 5 || colon[1 + digits])
        return false;
    long p = strtol(colon + 1, NULL, 10);
    if (p > 65535)
        return false;
    memcpy(host, from, n);
    host[n] = 0;
    *port = (uint16_t)p;
    return true;
}

bool config_is_loopback(const char *host)
{
    struct in_addr a4;
    struct in6_addr a6;
    if (strcasecmp(host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host, &a4) == 1)
        return ntohl(a4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, host, &a6) == 1 && IN6_IS_ADDR_LOOPBACK(&a6);
}

uint32_t config_connections(const struct config *c)
{
    return c->max_connections ? c->max_connections : c->max_queries * 2 + 2000;
}
