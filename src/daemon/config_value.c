/* Values out of YAML nodes, and the messages about them. */
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "daemon/config_loader.h"
#include "text/utf8.h"

/* ---- messages -------------------------------------------------------------------------------------------- */
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

/* FILE:LINE:COLUMN, or the name of the variable or flag. */
static void add_place(struct loader *l, const struct config_origin *o, const char *file, const char *fmt,
                      va_list ap) RAG_PRINTF(4, 0);
static void add_place(struct loader *l, const struct config_origin *o, const char *file, const char *fmt,
                      va_list ap)
{
    char where[512] = "";
    if (o->kind == ORIGIN_FILE && o->line)
        snprintf(where, sizeof where, "%s:%u:%u: ", file, o->line, o->column);
    else if (o->kind == ORIGIN_FILE)
        snprintf(where, sizeof where, "%s: ", file);
    else if (o->kind == ORIGIN_ENV)
        snprintf(where, sizeof where, "environment %s: ", o->name);
    else if (o->kind == ORIGIN_FLAG)
        snprintf(where, sizeof where, "flag %s: ", o->name);
    add_line(l->lenient ? &l->cfg->notes : &l->report->lines, where, fmt, ap);
    if (l->lenient)
        l->cfg->n_notes++;
    else
        l->report->n++;
}

struct config_origin cfg_origin(const struct loader *l, const yaml_node_t *n)
{
    struct config_origin o = l->place.origin;
    if (o.kind == ORIGIN_FILE && n) {
        o.line = (uint32_t)n->start_mark.line + 1;
        o.column = (uint32_t)n->start_mark.column + 1;
    }
    return o;
}

void cfg_complain(struct loader *l, const yaml_node_t *node, const char *fmt, ...)
{
    struct config_origin o = cfg_origin(l, node);
    va_list ap;
    va_start(ap, fmt);
    add_place(l, &o, l->place.file, fmt, ap);
    va_end(ap);
}

void cfg_complain_at(struct loader *l, const struct config_origin *at, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add_place(l, at, l->cfg->file, fmt, ap);
    va_end(ap);
}

void cfg_note(struct config *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add_line(&c->notes, "", fmt, ap);
    va_end(ap);
    c->n_notes++;
}

/* ---- nodes ----------------------------------------------------------------------------------------------- */
const char *cfg_kind(const yaml_node_t *n)
{
    if (n->type == YAML_MAPPING_NODE)
        return "a mapping";
    if (n->type == YAML_SEQUENCE_NODE)
        return "a list";
    return n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? "a plain value" : "a quoted string";
}

struct str cfg_text(const yaml_node_t *n)
{
    return str_make((const char *)n->data.scalar.value, n->data.scalar.length);
}

/* An empty value, `~` or `null`: as if the key were not there. */
bool cfg_absent(const yaml_node_t *n)
{
    struct str s = cfg_text(n);
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

/* ---- values ---------------------------------------------------------------------------------------------- */
bool cfg_f64(struct loader *l, const char *what, const yaml_node_t *n, double min, double max, double *out)
{
    double v;
    if (!node_number(n, &v)) {
        cfg_complain(l, n, "%s: wants a number, this is %s", what, cfg_kind(n));
        return false;
    }
    if (v < min || v > max) {
        cfg_complain(l, n, "%s: %s is out of range: use %g to %.10g", what,
                     (const char *)n->data.scalar.value, min, max);
        return false;
    }
    *out = v;
    return true;
}

bool cfg_u32(struct loader *l, const char *what, const yaml_node_t *n, double min, double max, uint32_t *out)
{
    double v;
    if (!node_number(n, &v) || v != floor(v)) {
        cfg_complain(l, n, "%s: wants a whole number, this is %s", what, cfg_kind(n));
        return false;
    }
    if (!cfg_f64(l, what, n, min, max, &v))
        return false;
    *out = (uint32_t)v;
    return true;
}

/* Whole part and up to 9 decimals, nothing else: doubles would not be exact. max in CNY, at most 1e9. */
static bool parse_cny(struct str s, int64_t max, nano_cny *out)
{
    int64_t whole = 0, part = 0;
    size_t i = 0, dot;
    for (; i < s.len && isdigit((unsigned char)s.ptr[i]) && whole <= max; i++)
        whole = whole * 10 + (s.ptr[i] - '0');
    if (i == 0 || whole > max)
        return false;
    dot = i;
    if (i < s.len && s.ptr[i] == '.')
        for (int64_t unit = NANO_PER_CNY / 10; ++i < s.len && isdigit((unsigned char)s.ptr[i]) && unit;
             unit /= 10)
            part += (s.ptr[i] - '0') * unit;
    *out = whole * NANO_PER_CNY + part;
    return i == s.len && i != dot + 1 && *out <= max * NANO_PER_CNY;
}

bool cfg_cny(struct loader *l, const char *what, const yaml_node_t *n, double max, nano_cny *out)
{
    nano_cny v = 0;
    bool plain = n->type == YAML_SCALAR_NODE && n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (!plain || !parse_cny(cfg_text(n), (int64_t)max, &v)) {
        cfg_complain(l, n, "%s: wants an amount in CNY from 0 to %.10g with at most 9 decimals", what, max);
        return false;
    }
    *out = v;
    return true;
}

static const char *copy_string(struct loader *l, const char *what, const yaml_node_t *n, size_t min,
                               size_t max, const char *controls)
{
    if (n->type != YAML_SCALAR_NODE) {
        cfg_complain(l, n, "%s: wants a string, this is %s", what, cfg_kind(n));
        return NULL;
    }
    struct str s = cfg_text(n);
    if (s.len < min || s.len > max) {
        cfg_complain(l, n, "%s: %s", what, s.len < min ? "must not be empty" : "too long");
        return NULL;
    }
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] == 0x7F ||
            ((unsigned char)s.ptr[i] < 0x20 && (!s.ptr[i] || !strchr(controls, s.ptr[i])))) {
            cfg_complain(l, n, "%s: has a control character", what);
            return NULL;
        }
    const char *copy = arena_strndup(&l->cfg->arena, s.ptr, s.len);
    if (!copy)
        cfg_complain(l, n, "%s: out of memory", what);
    return copy;
}

const char *cfg_string(struct loader *l, const char *what, const yaml_node_t *n, size_t min, size_t max)
{
    return copy_string(l, what, n, min, max, "");
}

const char *cfg_lines(struct loader *l, const char *what, const yaml_node_t *n, size_t max)
{
    return copy_string(l, what, n, 0, max, "\n\t");
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

bool cfg_enum(struct loader *l, const struct config_row *row, const yaml_node_t *n, const char **out)
{
    const char *v = cfg_string(l, row->path, n, 1, 64);
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
        cfg_complain(l, n, "%s: '%s' is not yet supported: leave it out or use %.*s", row->path, v,
                     (int)now_len, row->choices);
        return false;
    }
    if (!choice_has(row->choices, now_len, v)) {
        char all[128];
        snprintf(all, sizeof all, "%.*s", (int)now_len, row->choices);
        for (char *p = all; *p; p++)
            if (*p == '|')
                *p = ' ';
        cfg_complain(l, n, "%s: '%s' is not one of: %s", row->path, v, all);
        return false;
    }
    *out = v;
    return true;
}

const yaml_node_t *cfg_item(struct loader *l, const yaml_node_t *seq, uint32_t i)
{
    return yaml_document_get_node(l->doc, seq->data.sequence.items.start[i]);
}

uint32_t cfg_count(const yaml_node_t *seq)
{
    return (uint32_t)(seq->data.sequence.items.top - seq->data.sequence.items.start);
}

bool cfg_bool(struct loader *l, const char *what, const yaml_node_t *n, bool *out)
{
    struct str s = n->type == YAML_SCALAR_NODE ? cfg_text(n) : str_make(NULL, 0);
    bool yes = str_eqz(s, "true"), no = str_eqz(s, "false");
    if (!yes && !no)
        cfg_complain(l, n, "%s: wants true or false", what);
    else
        *out = yes;
    return yes || no;
}

bool cfg_class(struct loader *l, const char *what, const yaml_node_t *n, uint32_t *out)
{
    const char *v = cfg_string(l, what, n, 1, 64);
    for (uint32_t c = 0; v && c < CLASSES; c++)
        if (strcmp(v, model_class_name(c)) == 0) {
            *out = c;
            return true;
        }
    if (v)
        cfg_complain(l, n, "%s: '%s' is not one of: small medium large", what, v);
    return false;
}

/* The three nodes of a list of three, or one that stands for all. */
static bool three(struct loader *l, const char *what, const yaml_node_t *n, const char *wants,
                  const yaml_node_t *out[3])
{
    if (n->type == YAML_MAPPING_NODE)
        cfg_complain(l, n, "%s: wants %s, this is a mapping", what, wants);
    else if (n->type == YAML_SEQUENCE_NODE && cfg_count(n) != 3)
        cfg_complain(l, n, "%s: wants %s, this list has %u", what, wants, cfg_count(n));
    else {
        for (uint32_t i = 0; i < 3; i++)
            out[i] = n->type == YAML_SEQUENCE_NODE ? cfg_item(l, n, i) : n;
        return true;
    }
    return false;
}

bool cfg_u32x3(struct loader *l, const struct config_row *row, const yaml_node_t *n, uint32_t *out)
{
    const yaml_node_t *item[3];
    uint32_t v[3];
    bool list = n->type == YAML_SEQUENCE_NODE, ok = true;
    if (!three(l, row->path, n, "three numbers [simple, medium, complex]", item))
        return false;
    for (uint32_t i = 0; i < (list ? 3 : 1); i++)
        ok &= cfg_u32(l, row->path, item[i], row->min, row->max, &v[i]);
    for (uint32_t i = 0; i < 3 && ok; i++)
        out[i] = v[list ? i : 0];
    return ok;
}

bool cfg_f32x3(struct loader *l, const struct config_row *row, const yaml_node_t *n, float *out)
{
    const yaml_node_t *item[3];
    double v[3];
    bool list = n->type == YAML_SEQUENCE_NODE, ok = true;
    if (!three(l, row->path, n, "one number or three: [question, keywords, utterance]", item))
        return false;
    for (uint32_t i = 0; i < (list ? 3 : 1); i++)
        ok &= cfg_f64(l, row->path, item[i], row->min, row->max, &v[i]);
    for (uint32_t i = 0; i < 3 && ok; i++)
        out[i] = (float)v[list ? i : 0];
    return ok;
}

bool cfg_classx3(struct loader *l, const struct config_row *row, const yaml_node_t *n, uint32_t *out)
{
    const yaml_node_t *item[3];
    uint32_t v[3];
    bool list = n->type == YAML_SEQUENCE_NODE, ok = true;
    if (!three(l, row->path, n, "three classes [simple, medium, complex]", item))
        return false;
    for (uint32_t i = 0; i < (list ? 3 : 1); i++)
        ok &= cfg_class(l, row->path, item[i], &v[i]);
    for (uint32_t i = 0; i < 3 && ok; i++)
        out[i] = v[list ? i : 0];
    return ok;
}

bool cfg_strings(struct loader *l, const char *what, const yaml_node_t *n, uint32_t max,
                 struct config_strings *out)
{
    if (n->type != YAML_SEQUENCE_NODE) {
        cfg_complain(l, n, "%s: wants a list, this is %s", what, cfg_kind(n));
        return false;
    }
    uint32_t count = cfg_count(n);
    if (count > max) {
        cfg_complain(l, n, "%s: has %u items, at most %u", what, count, max);
        return false;
    }
    struct config_strings v = {arena_array(&l->cfg->arena, count + 1, sizeof(char *)), 0};
    bool ok = v.items != NULL;
    for (uint32_t i = 0; i < count && v.items; i++) {
        const char *s = cfg_string(l, what, cfg_item(l, n, i), 1, 512);
        ok &= s != NULL;
        v.items[v.n++] = s;
    }
    if (ok)
        *out = v;
    return ok;
}
