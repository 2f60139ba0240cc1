/* Secrets: read from environment and files, kept in the config's arena, wiped when it is cleared. */
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "daemon/config_loader.h"
#include "sys/file.h"

enum { MAX_SECRET = 4096, MIN_API_KEY = 8 };

struct secret_source {
    const char *list, *name; /* "auth.keys", "crm": for messages */
    const char *env, *file;  /* one of them */
    size_t min;              /* shortest that is taken */
};

/* Why these bytes are no secret; NULL: they are one. It becomes a header line: no blanks, no control characters. */
static const char *why_bad(struct str s, size_t min)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= 0x20 || s.ptr[i] >= 0x7F)
            return "holds a blank or a character outside ASCII";
    if (s.len == 0)
        return "is empty";
    if (s.len > MAX_SECRET)
        return "is too long";
    return s.len < min ? "is shorter than 8 characters" : NULL;
}

/* NULL was reported. */
static const char *read_secret(struct loader *l, const struct secret_source *from,
                               const char *const *environment)
{
    const char *out = NULL, *env = from->env ? cfg_env(environment, from->env) : NULL;
    struct rag_err err = {0};
    struct buf b;
    buf_init(&b, MEM_MISC);
    if (from->env && !env) {
        cfg_complain(l, NULL, "%s: %s: the environment variable %s is not set: export it", from->list,
                     from->name, from->env);
    } else if (!from->env && file_read_all(from->file, MAX_SECRET, &b, &err)) {
        cfg_complain(l, NULL, "%s: %s: %s: check the file", from->list, from->name,
                     err.msg[0] ? err.msg : from->file);
    } else {
        struct str s = str_trim(env ? str_of(env) : buf_str(&b));
        const char *why = why_bad(s, from->min);
        if (why)
            cfg_complain(l, NULL, "%s: %s: the key in %s %s", from->list, from->name,
                         from->env ? from->env : from->file, why);
        else if (!(out = arena_strndup(&l->cfg->arena, s.ptr, s.len)))
            cfg_complain(l, NULL, "%s: %s: out of memory", from->list, from->name);
    }
    if (b.len)
        explicit_bzero(b.ptr, b.len);
    buf_clear(&b);
    return out;
}

static void resolve_key(struct loader *l, uint32_t i, const char *const *environment)
{
    struct config_keys *keys = &l->cfg->keys;
    struct config_key *k = &keys->items[i];
    k->secret = read_secret(
        l, &(struct secret_source){"auth.keys", k->name, k->key_env, k->key_file, MIN_API_KEY}, environment);
    for (uint32_t j = 0; j < i && k->secret; j++)
        if (keys->items[j].secret && strcmp(keys->items[j].secret, k->secret) == 0)
            cfg_complain(l, NULL, "auth.keys: %s and %s have the same key", keys->items[j].name, k->name);
}

static void resolve_upstream(struct loader *l, struct config_provider *p, const char *const *environment)
{
    const char *list = l->cfg->providers.n ? "llm.providers" : "llm", *name = p->provider.name;
    if (p->key_env || p->key_file)
        p->provider.key =
            read_secret(l, &(struct secret_source){list, name, p->key_env, p->key_file, 1}, environment);
    if (p->provider.ca_file && access(p->provider.ca_file, R_OK) != 0)
        cfg_complain(l, NULL, "%s: %s: ca_file %s: cannot read it", list, name, p->provider.ca_file);
}

rag_code config_resolve_keys(struct config *c, const char *const *environment, struct config_report *report)
{
    struct loader l = {.cfg = c, .report = report};
    for (uint32_t i = 0; i < c->keys.n; i++)
        resolve_key(&l, i, environment);
    for (uint32_t i = 0; i < c->upstreams.n && c->profile.stage_generation; i++)
        resolve_upstream(&l, &c->upstreams.items[i], environment);
    return report->n ? RAG_EINVAL : RAG_OK;
}

static void wipe(const char *secret)
{
    if (secret)
        explicit_bzero((char *)(uintptr_t)secret, strlen(secret));
}

void config_clear(struct config *c)
{
    for (uint32_t i = 0; i < c->keys.n; i++)
        wipe(c->keys.items[i].secret);
    for (uint32_t i = 0; i < c->upstreams.n; i++)
        wipe(c->upstreams.items[i].provider.key);
    buf_clear(&c->notes);
    arena_clear(&c->arena);
    *c = (struct config){0};
}
