/* The upstreams and models of llm.*: the first adopter's variables, what must fit together, the catalogue. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "daemon/config_loader.h"

static bool given(const char *s)
{
    return s && *s;
}

static const struct config_origin *set_at(const struct config *c, const char *path)
{
    return &c->origin[config_find_row(path)];
}

static bool is_set(const struct config *c, const char *path)
{
    return set_at(c, path)->kind != ORIGIN_UNSET;
}

/* ---- the first adopter's variables ----------------------------------------------------------------------- */
/* Why a pair of theirs does not count; NULL: it does. A key of theirs goes to no address of ours, and the reverse. */
static const char *why_not(const struct config *c, const struct config_foreign_llm *f)
{
    if (is_set(c, "llm.base_url") || c->providers.n)
        return "llm.base_url or llm.providers is set: name its key there";
    if (given(c->llm_key_file) || (given(c->llm_key_env) && strcmp(c->llm_key_env, f->api_key) != 0))
        return "llm.api_key_env or llm.api_key_file is set: set llm.base_url as well";
    if (!given(c->llm_model) && c->models.n == 0)
        return "no model is named: set llm.model or llm.models";
    return NULL;
}

static void take_text(struct loader *l, const char *path, const char *variable, const char *text)
{
    l->place = (struct place){.origin = {.kind = ORIGIN_ENV, .name = variable}};
    l->lenient = true;
    cfg_assign_text(l, config_find_row(path), text);
    l->lenient = false;
}

void cfg_foreign_llm(struct loader *l, const char *const *environment)
{
    struct config *c = l->cfg;
    for (uint32_t i = 0; i < config_n_foreign_llm; i++) {
        const struct config_foreign_llm *f = &config_foreign_llm[i];
        const char *url = cfg_env(environment, f->base_url), *key = cfg_env(environment, f->api_key);
        const char *why = why_not(c, f);
        if (url && why)
            cfg_note(c, "environment %s: not used: %s", f->base_url, why);
        if (key && why && !(given(c->llm_key_env) && strcmp(c->llm_key_env, f->api_key) == 0))
            cfg_note(c, "environment %s: not used: %s", f->api_key, why);
        if (why || (!url && !key))
            continue;
        take_text(l, "llm.base_url", url ? f->base_url : f->api_key, url ? url : f->default_url);
        if (key && is_set(c, "llm.base_url") && !given(c->llm_key_env))
            take_text(l, "llm.api_key_env", f->api_key, f->api_key);
    }
}

/* ---- what must fit together ------------------------------------------------------------------------------ */
/* True: there is an upstream and at least one model. */
static bool check_llm(struct loader *l)
{
    const struct config *c = l->cfg;
    static const char *const paths[] = {"llm.api_key_env", "llm.api_key_file", "llm.ca_file"};
    const char *const values[] = {c->llm_key_env, c->llm_key_file, c->llm_ca_file};
    bool url = given(c->llm_base_url), model = given(c->llm_model);
    uint32_t errors = l->report->n;
    if (url && c->providers.n)
        cfg_complain_at(l, set_at(c, "llm.base_url"),
                        "llm.base_url: llm.providers is there too: leave out one of them");
    if (model && c->models.n)
        cfg_complain_at(l, set_at(c, "llm.model"),
                        "llm.model: llm.models is there too: leave out one of them");
    if (given(c->llm_key_env) && given(c->llm_key_file))
        cfg_complain_at(l, set_at(c, "llm.api_key_file"),
                        "llm.api_key_file: llm.api_key_env is there too: leave out one of them");
    for (uint32_t i = 0; i < 3 && !url; i++)
        if (given(values[i]) && c->providers.n)
            cfg_complain_at(l, set_at(c, paths[i]),
                            "%s: belongs to llm.base_url: give it to one of llm.providers", paths[i]);
        else if (given(values[i]))
            cfg_note(l->cfg, "%s: not used: there is no llm.base_url", paths[i]);
    bool upstream = url || c->providers.n, any = model || c->models.n;
    if (!upstream && any) {
        const char *path = model ? "llm.model" : "llm.models";
        cfg_complain_at(l, set_at(c, path),
                        "%s: there is nothing to ask it from: set llm.base_url or llm.providers", path);
    }
    if (upstream && !any) {
        const char *path = url ? "llm.base_url" : "llm.providers";
        cfg_complain_at(l, set_at(c, path), "%s: no model is named: set llm.model or llm.models", path);
    }
    return upstream && any && l->report->n == errors;
}

/* ---- the catalogue --------------------------------------------------------------------------------------- */
/* "/chat/completions" will follow. */
static const char *without_slash(struct loader *l, const char *url)
{
    size_t n = strlen(url);
    while (n && url[n - 1] == '/')
        n--;
    return arena_strndup(&l->cfg->arena, url, n);
}

static rag_code build_upstreams(struct loader *l)
{
    struct config *c = l->cfg;
    struct config_provider one = {
        .provider = {.name = "default",
                     .base_url = c->llm_base_url,
                     .ca_file = given(c->llm_ca_file) ? c->llm_ca_file : NULL},
        .key_env = given(c->llm_key_env) ? c->llm_key_env : NULL,
        .key_file = given(c->llm_key_file) ? c->llm_key_file : NULL,
    };
    const struct config_provider *from = c->providers.n ? c->providers.items : &one;
    uint32_t n = c->providers.n ? c->providers.n : 1;
    struct config_provider *items = arena_array(&c->arena, n, sizeof *items);
    if (!items)
        return RAG_ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        items[i] = from[i];
        items[i].provider.base_url = without_slash(l, from[i].provider.base_url);
        if (!items[i].provider.base_url)
            return RAG_ENOMEM;
        bool open = strncasecmp(items[i].provider.base_url, "http://", 7) == 0 &&
                    !cfg_url_is_local(items[i].provider.base_url);
        if (open && (items[i].key_env || items[i].key_file))
            cfg_note(
                c,
                "llm: provider %s: http sends its key and all texts unencrypted over the network: use https",
                items[i].provider.name);
    }
    c->upstreams = (struct config_providers){items, n};
    return RAG_OK;
}

static const struct llm_provider *find_upstream(struct loader *l, const struct config_model *m)
{
    const struct config_providers *u = &l->cfg->upstreams;
    if (!m->provider && u->n == 1)
        return &u->items[0].provider;
    for (uint32_t i = 0; m->provider && i < u->n; i++)
        if (strcmp(u->items[i].provider.name, m->provider) == 0)
            return &u->items[i].provider;
    if (m->provider)
        cfg_complain_at(l, &m->at, "llm.models: %s: provider: '%s' is none of llm.providers", m->model.name,
                        m->provider);
    else
        cfg_complain_at(l, &m->at, "llm.models: %s: provider: is missing: there are %u", m->model.name, u->n);
    return NULL;
}

rag_code cfg_build_catalogue(struct loader *l)
{
    struct config *c = l->cfg;
    if (!check_llm(l))
        return RAG_OK;
    rag_code rc = build_upstreams(l);
    if (rc)
        return rc;
    struct config_model one = {.model = {.name = c->llm_model, .model = c->llm_model, .class = CLASS_MEDIUM},
                               .at = *set_at(c, "llm.model")};
    const struct config_model *from = c->models.n ? c->models.items : &one;
    uint32_t n = c->models.n ? c->models.n : 1, good = 0;
    struct llm_model *models = arena_array(&c->arena, n, sizeof *models);
    if (!models)
        return RAG_ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        models[i] = from[i].model;
        models[i].provider = find_upstream(l, &from[i]);
        good += models[i].provider != NULL;
        if (models[i].provider && !from[i].priced && !cfg_url_is_local(models[i].provider->base_url))
            cfg_note(c, "llm: model %s: has no price: the budget does not count it", models[i].name);
    }
    if (good == n)
        c->catalogue = (struct llm_catalogue){models, n};
    return RAG_OK;
}
