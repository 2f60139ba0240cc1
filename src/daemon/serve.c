/* Start: signals blocked (every thread inherits that), descriptors, lock, analyser, models, knowledge, embedding, history,
 * language models, HTTP, address into LOCK. Stop: HTTP drains before the rest closes, the lock goes last. Signals are taken
 * synchronously by the main thread, which does nothing else. */
#include "daemon/serve.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/server.h"
#include "daemon/open.h"
#include "obs/log.h"
#include "pipeline/embedder.h"
#include "store/lock.h"

enum { DRAIN_MS = 20000, SPARE_DESCRIPTORS = 512 };

static void want_descriptors(const struct config *cfg)
{
    struct rlimit r;
    rlim_t want = (rlim_t)config_connections(cfg) + SPARE_DESCRIPTORS;
    if (getrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur >= want)
        return;
    struct rlimit more = {.rlim_cur = want, .rlim_max = r.rlim_max < want ? want : r.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &more) == 0) /* past the hard limit only with the right to */
        return;
    more = (struct rlimit){.rlim_cur = r.rlim_max < want ? r.rlim_max : want, .rlim_max = r.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &more) || more.rlim_cur < want)
        log_warn("fewer descriptors than limits.connections asks for", LOG_INT("have", more.rlim_cur),
                 LOG_INT("want", want), LOG_STR("hint", "raise ulimit -n (LimitNOFILE in systemd)"), LOG_END);
}

static void log_lines(const char *msg, struct str lines)
{
    while (lines.len) {
        const char *nl = memchr(lines.ptr, '\n', lines.len);
        size_t n = nl ? (size_t)(nl - lines.ptr) : lines.len;
        log_info(msg, LOG_SPAN("detail", str_make(lines.ptr, n)), LOG_END);
        lines = str_make(lines.ptr + n + (nl != NULL), lines.len - n - (nl != NULL));
    }
}

/* Takes over what may change while serving; everything else needs a restart, which the log says. */
static void reload(struct config *cfg, const struct serve_options *opt)
{
    struct config next;
    struct config_report report;
    config_report_init(&report);
    enum log_level level;
    if (config_load(&opt->source, &next, &report)) {
        log_lines("configuration not reloaded", buf_str(&report.lines));
    } else if (log_level_parse(next.log_level, &level)) {
        log_set_level(level);
        log_info("configuration reloaded", LOG_STR("log.level", next.log_level),
                 LOG_BOOL("restart_needed", !config_same_but_live(cfg, &next)), LOG_END);
    }
    config_clear(&next);
    config_report_clear(&report);
}

static rag_code map_keys(struct config *cfg, struct api_key **out)
{
    struct api_key *keys = arena_array(&cfg->arena, cfg->keys.n + 1, sizeof *keys);
    if (!keys)
        return RAG_ENOMEM;
    for (uint32_t i = 0; i < cfg->keys.n; i++) {
        const struct config_key *k = &cfg->keys.items[i];
        keys[i] = (struct api_key){.name = k->name,
                                   .secret = k->secret,
                                   .scopes = k->scopes,
                                   .collections = k->collections.items,
                                   .n_collections = k->collections.n,
                                   .rate_per_s = k->rate_per_s,
                                   .daily = k->daily};
    }
    *out = keys;
    return RAG_OK;
}

static void config_answer(void *ctx, struct buf *out)
{
    config_json(ctx, out);
}

static rag_code override_answer(void *ctx, struct str json, struct profile *out, struct rag_err *err)
{
    return config_override(ctx, json, out, err);
}

/* What start_api needs of what was opened before. */
struct parts {
    struct pipeline pipeline;
    struct embedder *embedder;
    struct history *history;
    struct metrics *metrics;
};

static rag_code start_api(struct config *cfg, const struct serve_options *opt, const struct parts *parts,
                          const char *token, struct api **out, char *address, size_t address_size, struct rag_err *err)
{
    char host[256];
    uint16_t port;
    if (!config_split_listen(cfg->listen, host, sizeof host, &port))
        return rag_err_param(err, RAG_EINVAL, "listen", "listen: %s is not HOST:PORT", cfg->listen);
    struct api_key *keys;
    rag_code rc = map_keys(cfg, &keys);
    if (rc)
        return rag_err_set(err, rc, "out of memory");
    struct extract_limits *limits = arena_array(&cfg->arena, 1, sizeof *limits); /* as long as the server */
    if (!limits)
        return rag_err_set(err, RAG_ENOMEM, "out of memory");
    *limits = open_extract_limits(cfg);
    struct api_options api_opt = {
        .host = host,
        .port = port,
        .pipeline = &parts->pipeline,
        .embedder = parts->embedder,
        .data = cfg->data,
        .history = parts->history,
        .metrics = parts->metrics,
        .keys = keys,
        .n_keys = cfg->keys.n,
        .cors_origins = cfg->cors_origins.items,
        .n_cors_origins = cfg->cors_origins.n,
        .local_token = token,
        .max_concurrent_queries = cfg->max_queries,
        .max_connections = config_connections(cfg),
        .max_generations = cfg->max_generations,
        .max_body_bytes =
            ((uint64_t)cfg->ingest_file_mb << 20) + (1 << 20), /* a whole file and its form around it */
        .self_exe = opt->self_exe,
        .extract_limits = limits,
        .version = opt->version,
        .profile = cfg->profile_name,
        .config_json = config_answer,
        .override = override_answer,
        .config_ctx = cfg,
    };
    rc = api_start(&api_opt, out, err);
    if (rc)
        return rc;
    bool any = strcmp(host, "0.0.0.0") == 0, any6 = strcmp(host, "::") == 0; /* no address to connect to */
    const char *reach = any ? "127.0.0.1" : any6 ? "::1" : host;
    snprintf(address, address_size, strchr(reach, ':') ? "http://[%s]:%u" : "http://%s:%u", reach,
             (unsigned)api_port(*out));
    return RAG_OK;
}

static void wait_for_end(struct config *cfg, const struct serve_options *opt, const sigset_t *signals)
{
    for (;;) {
        int sig = sigwaitinfo(signals, NULL);
        if (sig == SIGHUP)
            reload(cfg, opt);
        else if (sig > 0) {
            log_info("stopping", LOG_STR("signal", sig == SIGTERM ? "SIGTERM" : "SIGINT"), LOG_END);
            return;
        }
    }
}

rag_code serve_run(struct config *cfg, const struct serve_options *opt, struct rag_err *err)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    umask(077); /* the data folder is the owner's alone */

    struct data_lock lock = {.fd = -1};
    struct data_lock_holder holder = {0};
    struct analyzer *analyzer = NULL;
    struct knowledge *knowledge = NULL;
    struct open_models models = {0};
    struct parts parts = {0};
    struct open_llm llm = {0};
    struct api *api = NULL;
    char address[320];
    struct config_report report;
    config_report_init(&report);

    rag_code rc = config_resolve_keys(cfg, opt->source.environment, &report);
    if (rc) {
        struct str l = buf_str(&report.lines);
        rag_err_set(err, rc, "%.*s", (int)(l.len ? l.len - 1 : 0), l.ptr ? l.ptr : "");
        goto done;
    }
    log_lines("configuration note", buf_str(&cfg->notes));
    want_descriptors(cfg);
    if ((rc = open_check_data(cfg, err)) != RAG_OK)
        goto done;
    rc = data_lock_take(cfg->data, &lock, &holder, err);
    if (rc == RAG_ECONFLICT)
        rag_err_set(err, rc,
                    "data folder %s: in use by process %ld%s%s: stop it or choose another with --data",
                    cfg->data, holder.pid, holder.address[0] ? " at " : "", holder.address);
    if (rc)
        goto done;
    if ((rc = open_analyzer(cfg, &analyzer, err)) != RAG_OK)
        goto done;
    if ((rc = open_models(cfg, cfg->data, &models)) != RAG_OK) {
        rag_err_set(err, rc, "model: out of memory");
        goto done;
    }
    if (models.why_not[0] && strcmp(models.why_not, "off") != 0)
        log_warn("no model: search goes by words only", LOG_STR("why", models.why_not), LOG_END);
    if ((rc = open_knowledge(cfg, analyzer, &models, false, &knowledge, err)) != RAG_OK)
        goto done;
    struct embedder_options eo = {knowledge, models.encoders[0], &models.space[0], models.tokens,
                                  cfg->embedding_threads};
    if (models.encoders[0] && (rc = embedder_start(&eo, &parts.embedder, err)) != RAG_OK)
        goto done;
    if (!(parts.metrics = metrics_new())) {
        rc = rag_err_set(err, RAG_ENOMEM, "out of memory");
        goto done;
    }
    struct history_options ho = {.dir = cfg->data, .keep_days = cfg->history_days, .metrics = parts.metrics};
    if (cfg->history_enabled && (rc = history_open(&ho, &parts.history, err)) != RAG_OK)
        goto done;
    if ((rc = open_llm(cfg, parts.metrics, &llm, err)) != RAG_OK)
        goto done;
    parts.pipeline = open_pipeline(cfg, analyzer, &models, knowledge, llm.llm);
    rc = start_api(cfg, opt, &parts, lock.token, &api, address, sizeof address, err);
    if (rc)
        goto done;
    if ((rc = data_lock_announce(&lock, address, err)) != RAG_OK)
        goto done;
    log_info("serving", LOG_STR("url", address), LOG_STR("data", cfg->data),
             LOG_STR("profile", cfg->profile_name), LOG_INT("pid", getpid()), LOG_END);
    wait_for_end(cfg, opt, &signals);
    rc = RAG_OK;
done:
    api_stop(api, DRAIN_MS);
    open_llm_close(&llm);
    history_close(parts.history);
    metrics_free(parts.metrics);
    embedder_stop(parts.embedder);
    knowledge_close(knowledge);
    open_models_close(&models);
    analyzer_free(analyzer);
    data_lock_release(&lock);
    config_report_clear(&report);
    if (api)
        log_info("stopped", LOG_END);
    return rc;
}
