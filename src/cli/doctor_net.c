/* What can be asked over the network: our own address, the server that holds the folder, the upstreams of the language
 * models. Upstreams are asked for their list of models, which costs nothing, several at a time, each within a few seconds. */
#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/doctor_int.h"

enum { LOCAL_MS = 3000, UPSTREAM_MS = 6000, AT_ONCE = 16, CERTIFICATE_DAYS = 21 };

static const char *text_of(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

/* ---- our address ----------------------------------------------------------------------------------------- */

/* 0: free; else the errno of bind, or EINVAL for a name that does not resolve. */
static int try_bind(const char *host, uint16_t port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *ai = NULL;
    char service[8];
    int on = 1, e = 0;
    snprintf(service, sizeof service, "%u", port);
    if (getaddrinfo(host, service, &hints, &ai))
        return EINVAL;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) || bind(fd, ai->ai_addr, ai->ai_addrlen) ||
        listen(fd, 1)) /* what has the port already may show only here */
        e = errno;
    if (fd >= 0)
        close(fd);
    freeaddrinfo(ai);
    return e;
}

/* GET of a path of a server of ours. NULL: no answer of that kind. */
static json_t *ask(const char *base_url, const char *token, const char *path, long *status)
{
    struct http_client *c = NULL;
    struct http_reply reply;
    struct rag_err err = {0};
    json_t *root = NULL;
    http_reply_init(&reply);
    if (http_client_new(base_url, token, &c) == RAG_OK &&
        http_client_send(c, "GET", path, NULL, (struct str){0}, LOCAL_MS, &reply, &err) == RAG_OK)
        root = json_loadb(reply.body.ptr ? reply.body.ptr : "", reply.body.len, 0, NULL);
    *status = reply.status;
    http_reply_clear(&reply);
    http_client_free(c);
    return root;
}

static void say_taken(struct doctor *d, const char *host, uint16_t port)
{
    char url[300];
    long status;
    bool v6 = strchr(host, ':') != NULL;
    snprintf(url, sizeof url, "http://%s%s%s:%u", v6 ? "[" : "", host, v6 ? "]" : "", port);
    json_t *health = ask(url, NULL, "/health", &status);
    bool ours = json_object_get(health, "dependencies") != NULL;
    doctor_say(d, DOCTOR_PROBLEM, "address", "end it, or choose another address with listen or --listen HOST:PORT",
               "%s: %s has this port", d->cfg.listen, ours ? "another ragd, with another data folder," : "another program");
    json_decref(health);
}

void doctor_check_listen(struct doctor *d)
{
    char host[256];
    uint16_t port;
    const char *listen = d->cfg.listen;
    if (d->holder.address[0])
        return;
    if (!config_split_listen(listen, host, sizeof host, &port)) {
        doctor_say(d, DOCTOR_PROBLEM, "address", "write listen: HOST:PORT", "%s: not HOST:PORT", listen);
        return;
    }
    int e = try_bind(host, port);
    if (e == EADDRINUSE)
        say_taken(d, host, port);
    else if (e)
        doctor_say(d, DOCTOR_PROBLEM, "address", "choose another with listen or --listen HOST:PORT", "%s: %s", listen,
                   e == EACCES          ? "no right to this port"
                   : e == EADDRNOTAVAIL ? "not an address of this machine"
                   : e == EINVAL        ? "no such host"
                                        : strerror(e));
    else
        doctor_say(d, DOCTOR_OK, "address", NULL, "%s is free", listen);
}

/* ---- the server that holds the folder -------------------------------------------------------------------- */

static void say_breakers(struct doctor *d, json_t *breakers)
{
    const char *model;
    json_t *b;
    json_object_foreach(breakers, model, b) if (strcmp(text_of(b, "state"), "closed") != 0)
        doctor_say(d, DOCTOR_WARNING, "server", "see the check of its upstream, and the server's log",
                   "breaker of the model %s: %s after %lld failures", model, text_of(b, "state"),
                   (long long)json_integer_value(json_object_get(b, "failures")));
}

static void say_health(struct doctor *d, long status, json_t *health)
{
    json_t *parts = json_object_get(health, "dependencies");
    const char *version = text_of(health, "version");
    doctor_say(d, status == 200 ? DOCTOR_OK : DOCTOR_WARNING, "server", status == 200 ? NULL : "wait: it may still be starting",
               "%s: %s, version %s; index %s, encoder %s, llm %s", d->holder.address, text_of(health, "status"), version,
               text_of(json_object_get(parts, "index"), "status"), text_of(json_object_get(parts, "encoder"), "status"),
               text_of(json_object_get(parts, "llm"), "status"));
    if (strcmp(version, RAGD_VERSION) != 0)
        doctor_say(d, DOCTOR_WARNING, "server", "restart it to use the version installed",
                   "it runs version %s, this is %s", version, RAGD_VERSION);
    say_breakers(d, json_object_get(health, "breakers"));
}

void doctor_check_server(struct doctor *d)
{
    long status;
    if (!d->holder.address[0])
        return;
    json_t *health = ask(d->holder.address, d->holder.token, "/health", &status);
    if (json_object_get(health, "dependencies"))
        say_health(d, status, health);
    else
        doctor_say(d, DOCTOR_PROBLEM, "server", "look into its log; restart it when it hangs", "%s: no answer of ragd's",
                   d->holder.address);
    json_decref(health);
}

/* ---- upstreams ------------------------------------------------------------------------------------------- */

struct probe {
    const struct llm_provider *provider;
    rag_code rc;
    struct rag_err err;
    struct http_reply reply;
    pthread_t thread;
    bool started;
};

static void *run_probe(void *arg)
{
    struct probe *p = arg;
    struct http_client *c = NULL;
    p->rc = http_client_new(p->provider->base_url, p->provider->key, &c);
    if (!p->rc) {
        http_client_trust(c, p->provider->ca_file);
        p->rc = http_client_send(c, "GET", "/models", NULL, (struct str){0}, UPSTREAM_MS, &p->reply, &p->err);
    }
    http_client_free(c);
    return NULL;
}

static void say_unreached(struct doctor *d, const struct probe *p)
{
    static const struct {
        const char *what, *advice;
    } steps[] = {
        [HTTP_DONE] = {"no answer", NULL},
        [HTTP_NAME] = {"the name does not resolve", "check base_url and this machine's DNS"},
        [HTTP_CONNECT] = {"no connection", "check base_url, the port, and the firewall"},
        [HTTP_TLS] = {"TLS failed", "check the certificate; for one of your own, name its root in ca_file"},
        [HTTP_ANSWER] = {"no answer to GET /models", "see whether the provider has an outage; try again"},
    };
    enum http_step s = p->reply.failed_at;
    doctor_say(d, DOCTOR_PROBLEM, "upstream", steps[s].advice, "%s: %s: %s", p->provider->name, steps[s].what,
               p->err.msg[0] ? p->err.msg : rag_code_name(p->rc));
}

static bool lists(json_t *data, const char *model)
{
    size_t i;
    json_t *m;
    json_array_foreach(data, i, m) if (strcmp(text_of(m, "id"), model) == 0) return true;
    return false;
}

/* Whether the models that we ask of this provider are in its list. */
static void say_models(struct doctor *d, const struct probe *p)
{
    json_t *root = json_loadb(p->reply.body.ptr ? p->reply.body.ptr : "", p->reply.body.len, 0, NULL);
    json_t *data = json_object_get(root, "data");
    uint32_t n = 0, missing = 0;
    for (uint32_t i = 0; i < d->cfg.catalogue.n; i++) {
        const struct llm_model *m = &d->cfg.catalogue.models[i];
        if (m->provider != p->provider)
            continue;
        n++;
        if (!json_is_array(data) || lists(data, m->model))
            continue;
        missing++;
        doctor_say(d, DOCTOR_WARNING, "upstream", "check the model's name; some providers do not list every model",
                   "%s: its list has no model %s", p->provider->name, m->model);
    }
    if (json_is_array(data) && missing == 0)
        doctor_say(d, DOCTOR_OK, "upstream", NULL, "%s: answers, takes the key, and has the %u models that are configured",
                   p->provider->name, n);
    else if (!json_is_array(data))
        doctor_say(d, DOCTOR_WARNING, "upstream", "check base_url: it usually ends in /v1",
                   "%s: GET /models gave something else than a list of models", p->provider->name);
    json_decref(root);
}

static void say_status(struct doctor *d, const struct probe *p)
{
    const char *name = p->provider->name;
    long s = p->reply.status;
    if (s == 200)
        say_models(d, p);
    else if (s == 401 || s == 403)
        doctor_say(d, DOCTOR_PROBLEM, "upstream", "check the key: the variable or file, and the provider's console",
                   "%s: HTTP %ld: the key is not accepted", name, s);
    else if (s == 404 || s == 405)
        doctor_say(d, DOCTOR_WARNING, "upstream", "check base_url: it usually ends in /v1; a few providers have no such list",
                   "%s: HTTP %ld for GET /models", name, s);
    else if (s == 402 || s == 429)
        doctor_say(d, DOCTOR_WARNING, "upstream", "check the balance and the limits in the provider's console",
                   "%s: HTTP %ld: over a limit", name, s);
    else
        doctor_say(d, DOCTOR_PROBLEM, "upstream", "see whether the provider has an outage", "%s: HTTP %ld for GET /models",
                   name, s);
}

static void say_certificate(struct doctor *d, const struct probe *p)
{
    if (!p->reply.certificate_end_s)
        return;
    long days = (long)((p->reply.certificate_end_s - (int64_t)time(NULL)) / 86400);
    if (days < CERTIFICATE_DAYS)
        doctor_say(d, DOCTOR_WARNING, "certificate", "have it renewed", "%s: ends in %ld days", p->provider->name, days);
    else
        doctor_say(d, DOCTOR_OK, "certificate", NULL, "%s: good for %ld days", p->provider->name, days);
}

/* A key that is configured and not there was said already, and asking without it tells nothing. */
static bool lacks_key(const struct config_provider *p)
{
    return (p->key_env || p->key_file) && !p->provider.key;
}

static void probe_some(struct doctor *d, struct probe *probes, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct probe *p = &probes[i];
        http_reply_init(&p->reply);
        p->started = pthread_create(&p->thread, NULL, run_probe, p) == 0;
        if (!p->started)
            run_probe(p);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct probe *p = &probes[i];
        if (p->started)
            pthread_join(p->thread, NULL);
        if (p->rc) {
            say_unreached(d, p);
        } else {
            say_status(d, p);
            say_certificate(d, p);
        }
        http_reply_clear(&p->reply);
    }
}

void doctor_check_upstreams(struct doctor *d)
{
    const struct config *c = &d->cfg;
    struct probe probes[AT_ONCE];
    uint32_t n = 0;
    if (c->catalogue.n == 0 || !c->profile.stage_generation) {
        doctor_say(d, DOCTOR_OK, "upstream", NULL, "no language model is configured: answers are cited extracts");
        return;
    }
    for (uint32_t i = 0; i < c->upstreams.n; i++) {
        if (lacks_key(&c->upstreams.items[i]))
            continue;
        probes[n++] = (struct probe){.provider = &c->upstreams.items[i].provider};
        if (n == AT_ONCE) {
            probe_some(d, probes, n);
            n = 0;
        }
    }
    probe_some(d, probes, n);
}
