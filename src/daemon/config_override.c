/* What one question sets for itself: a copy of the configuration is loaded once more with the question's keys on top, so
 * that names, types, ranges and messages are the table's. Of the copy only the profile is kept. */
#include <stdio.h>
#include <string.h>

#include "daemon/config_loader.h"
#include "daemon/open.h"

static const yaml_node_t *find_key(const struct loader *l, const yaml_node_t *map, const char *name)
{
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        const yaml_node_t *k = yaml_document_get_node(l->doc, p->key), *v = yaml_document_get_node(l->doc, p->value);
        if (k->type == YAML_SCALAR_NODE && str_eqz(cfg_text(k), name) && !cfg_absent(v))
            return v;
    }
    return NULL;
}

/* The numbers of a row that may only be lowered. */
static uint32_t numbers(const struct config *c, const struct config_row *row, double out[3])
{
    const char *at = (const char *)c + row->offset;
    if (row->type == CFG_F32) {
        float v;
        memcpy(&v, at, sizeof v);
        out[0] = (double)v;
        return 1;
    }
    RAG_ASSERT(row->type == CFG_U32 || row->type == CFG_U32X3 || row->type == CFG_CLASSX3);
    uint32_t v[3], n = row->type == CFG_U32 ? 1 : 3;
    memcpy(v, at, n * sizeof *v);
    for (uint32_t i = 0; i < n; i++)
        out[i] = v[i];
    return n;
}

static bool is_raised(const struct config *from, const struct config *to, const struct config_row *row)
{
    double was[3], is[3];
    uint32_t n = numbers(from, row, was);
    bool raised = false;
    numbers(to, row, is);
    for (uint32_t i = 0; i < n; i++)
        raised |= is[i] > was[i];
    return raised;
}

static void lower(const struct config *from, struct config *to, const struct config_row *row)
{
    char *at = (char *)to + row->offset;
    double was[3], is[3];
    uint32_t n = numbers(from, row, was);
    numbers(to, row, is);
    for (uint32_t i = 0; i < n; i++) {
        double low = is[i] < was[i] ? is[i] : was[i];
        if (row->type == CFG_F32)
            memcpy(at, &(float){(float)low}, sizeof(float));
        else
            memcpy(at + i * sizeof(uint32_t), &(uint32_t){(uint32_t)low}, sizeof(uint32_t));
    }
}

void cfg_question_profile(struct loader *l, const yaml_node_t *root)
{
    const struct config was = *l->cfg;
    const yaml_node_t *v = find_key(l, root, "profile");
    yaml_document_t *doc = l->doc;
    uint32_t row = config_find_row("profile");
    if (!v || !cfg_enum(l, &config_rows[row], v, &l->cfg->profile_name))
        return; /* its error is reported once, here or by the walk */
    uint32_t p = cfg_profile_index(l->cfg->profile_name);
    for (uint32_t r = 0; r < config_n_rows; r++)
        if (config_rows[r].by_profile[0] && config_rows[r].flags & (CFG_ASK | CFG_ASK_LESS) &&
            was.origin[r].kind == ORIGIN_PROFILE) {
            l->cfg->origin[r].kind = ORIGIN_UNSET;
            cfg_assign_text(l, r, config_rows[r].by_profile[p]);
            if (l->cfg->origin[r].kind == ORIGIN_UNSET)
                cfg_complain(l, NULL, "%s: out of memory", config_rows[r].path);
            if (config_rows[r].flags & CFG_ASK_LESS)
                lower(&was, l->cfg, &config_rows[r]);
        }
    l->doc = doc;
}

/* The first line of the report, as an error about its key. */
static rag_code refuse(struct str lines, struct rag_err *err)
{
    char param[64] = "overrides";
    const char *nl = memchr(lines.ptr, '\n', lines.len);
    int n = (int)(nl ? (size_t)(nl - lines.ptr) : lines.len), key = 0;
    while (key < n && lines.ptr[key] != ':' && lines.ptr[key] != ' ')
        key++;
    if (key < n && lines.ptr[key] == ':') {
        snprintf(param, sizeof param, "overrides.%.*s", key, lines.ptr);
        return rag_err_param(err, RAG_EINVAL, param, "overrides.%.*s", n, lines.ptr);
    }
    return rag_err_param(err, RAG_EINVAL, param, "overrides: %.*s", n, lines.ptr);
}

rag_code config_override(const struct config *c, struct str json, struct profile *out, struct rag_err *err)
{
    struct config own = *c;
    struct config_report report;
    own.arena = (struct arena){0};
    buf_init(&own.notes, MEM_MISC);
    config_report_init(&report);
    struct loader l = {
        .cfg = &own, .report = &report, .place.origin.kind = ORIGIN_PROFILE, .for_question = true};
    rag_code rc = cfg_read_yaml(&l, json); /* JSON is YAML */
    for (uint32_t r = 0; r < config_n_rows && !rc && report.n == 0; r++)
        if (config_rows[r].flags & CFG_ASK_LESS && is_raised(c, &own, &config_rows[r]))
            cfg_complain(&l, NULL, "%s: a question may lower what is configured, not raise it", config_rows[r].path);
    if (!rc && report.n)
        rc = refuse(buf_str(&report.lines), err);
    if (!rc)
        *out = open_profile(&own);
    config_report_clear(&report);
    buf_clear(&own.notes);
    arena_clear(&own.arena);
    return rc;
}
