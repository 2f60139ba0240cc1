#include <jansson.h>
#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

#include "api/api_int.h"
#include "pipeline/embedder.h"
#include "sys/cpu.h"
#include "sys/clock.h"
#include "wire/json_out.h"

/* ---- health -------------------------------------------------------------------------------------------- */

/* Ready from the first moment that every stored document was searchable; a later rebuild is no reason to leave. */
static bool is_ready(struct api *api)
{
    if (!atomic_load(&api->was_ready) && knowledge_ready(api->opt.pipeline->knowledge))
        atomic_store(&api->was_ready, true);
    return atomic_load(&api->was_ready);
}

/* By model. An open one is no reason to be taken out of service: extracts answer. */
static void add_breakers(struct buf *out, struct llm *llm)
{
    struct llm_health h[LLM_MAX_MODELS];
    uint32_t n = llm ? llm_models(llm)->n : 0;
    if (llm)
        llm_health(llm, h);
    json_add_open(out, '{');
    for (uint32_t i = 0; i < n; i++) {
        json_add_key(out, h[i].model->name);
        json_add_open(out, '{');
        json_add_key(out, "state");
        json_add_string(out, str_of(breaker_state_name(h[i].state)));
        json_add_key(out, "failures");
        json_add_u64(out, h[i].failures);
        json_add_key(out, "times_opened");
        json_add_u64(out, h[i].times_opened);
        json_add_key(out, "retry_in_ms");
        json_add_u64(out, (uint64_t)h[i].retry_in_ms);
        json_add_close(out, '}');
    }
    json_add_close(out, '}');
}

static void add_llm_health(struct buf *out, struct llm *llm)
{
    struct llm_health h[LLM_MAX_MODELS];
    uint32_t n = llm ? llm_models(llm)->n : 0, open = 0;
    if (llm)
        llm_health(llm, h);
    for (uint32_t i = 0; i < n; i++)
        open += h[i].state == BREAKER_OPEN;
    json_add_open(out, '{');
    json_add_key(out, "status");
    json_add_string(out, str_of(!llm ? "off" : open == n ? "down" : open ? "partial" : "ok"));
    if (llm) {
        json_add_key(out, "models");
        json_add_u64(out, n);
        json_add_key(out, "at_work");
        json_add_u64(out, llm_at_work(llm));
        json_add_key(out, "budget");
        enum budget_level level = ledger_level(llm_ledger(llm), "", 0);
        json_add_string(out, str_of(level == BUDGET_STOP ? "exceeded" : level == BUDGET_WARN ? "warning" : "ok"));
    }
    json_add_close(out, '}');
}

static void reply_health(struct request *rq, bool ok, const char *status)
{
    struct api *api = rq->api;
    struct buf *out = &rq->out;
    struct knowledge_stats s;
    knowledge_stats(api->opt.pipeline->knowledge, &s);
    json_add_open(out, '{');
    json_add_key(out, "status");
    json_add_string(out, str_of(status));
    json_add_key(out, "version");
    json_add_string(out, str_of(api->opt.version));
    json_add_key(out, "uptime_s");
    json_add_fixed(out, (double)(clock_mono_ns() - api->started_ns) / 1e9, 3);
    json_add_key(out, "dependencies");
    json_add_open(out, '{');
    json_add_key(out, "index");
    json_add_open(out, '{');
    json_add_key(out, "status");
    json_add_string(out, str_of(s.pending_rebuild ? "rebuilding" : "ok"));
    json_add_key(out, "pending_documents");
    json_add_u64(out, s.pending_rebuild);
    json_add_key(out, "damaged_segments");
    json_add_u64(out, s.damaged_segments);
    json_add_close(out, '}');
    json_add_key(out, "encoder");
    json_add_open(out, '{');
    json_add_key(out, "status");
    if (api->opt.pipeline->encoders[0]) {
        json_add_string(out, s.vectors_missing ? STR_LIT("embedding") : STR_LIT("ok"));
        json_add_key(out, "model");
        json_add_string(out, str_of(model_info(encoder_pool_model(api->opt.pipeline->encoders[0]))->name));
        json_add_key(out, "vectors_missing");
        json_add_u64(out, s.vectors_missing);
    } else { /* search goes by words: no reason to be taken out of service */
        const char *why = api->opt.pipeline->why_no_encoder;
        json_add_string(out, str_of(why ? why : "off"));
    }
    json_add_close(out, '}');
    json_add_key(out, "llm");
    add_llm_health(out, api->opt.pipeline->llm);
    json_add_key(out, "writer");
    json_add_open(out, '{');
    json_add_key(out, "status");
    json_add_string(out, STR_LIT("ok"));
    json_add_key(out, "queue");
    json_add_u64(out, s.queue_len);
    json_add_close(out, '}');
    json_add_close(out, '}');
    json_add_key(out, "breakers");
    add_breakers(out, api->opt.pipeline->llm);
    json_add_close(out, '}');
    if (!ok)
        rq->retry_after_s = 1;
    reply_json(rq, ok ? 200 : 503);
}

void route_ready(struct request *rq)
{
    bool draining = atomic_load(&rq->api->draining), ready = is_ready(rq->api);
    reply_health(rq, ready && !draining, draining ? "stopping" : ready ? "ok" : "starting");
}

void route_health(struct request *rq)
{
    route_ready(rq);
}

void route_startup(struct request *rq)
{
    bool ready = is_ready(rq->api);
    reply_health(rq, ready, ready ? "ok" : "starting");
}

void route_live(struct request *rq)
{
    buf_addz(&rq->out, "{\"status\":\"ok\"}");
    reply_json(rq, 200);
}

/* ---- metrics, info, stats, config ------------------------------------------------------------------------- */

void route_metrics(struct request *rq)
{
    enum metrics_format f = metrics_accept(str_of(request_header(rq, "Accept")));
    metrics_render(rq->api->metrics, f, &rq->out);
    rq->status = 200;
    rq->content_type = metrics_content_type(f);
}

static void add_text(struct buf *out, const char *key, const char *value)
{
    json_add_key(out, key);
    json_add_string(out, str_of(value));
}

static void add_count(struct buf *out, const char *key, uint64_t value)
{
    json_add_key(out, key);
    json_add_u64(out, value);
}

static void add_model(struct buf *out, const struct model_info *m, bool current)
{
    char digest[65];
    for (int i = 0; i < 32; i++)
        snprintf(digest + 2 * i, 3, "%02x", m->digest[i]);
    json_add_open(out, '{');
    add_text(out, "name", m->name);
    add_text(out, "digest", digest);
    add_text(out, "role", current ? "current" : "replaced");
    add_count(out, "dimensions", m->dims);
    add_count(out, "layers", m->layers);
    add_count(out, "max_tokens", m->max_tokens);
    add_text(out, "kernels", encoder_kernels());
    json_add_close(out, '}');
}

void route_info(struct request *rq)
{
    struct api *api = rq->api;
    struct buf *out = &rq->out;
    json_add_open(out, '{');
    add_text(out, "name", "ragd");
    add_text(out, "version", api->opt.version);
    json_add_key(out, "build");
    json_add_open(out, '{');
#if defined(__clang__)
    add_text(out, "compiler", "clang " __clang_version__);
#else
    add_text(out, "compiler", "gcc " __VERSION__);
#endif
    json_add_close(out, '}');
    json_add_key(out, "libraries");
    json_add_open(out, '{');
    add_text(out, "libmicrohttpd", MHD_get_version());
    add_text(out, "jansson", jansson_version_str());
    add_text(out, "sqlite", sqlite3_libversion());
    json_add_close(out, '}');
    json_add_key(out, "cpu");
    json_add_open(out, '{');
    add_count(out, "cores", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
    add_text(out, "name", cpu_name());
    add_text(out, "features", cpu_feature_list());
    json_add_close(out, '}');
    json_add_key(out, "models");
    json_add_open(out, '[');
    for (uint32_t s = 0; s < VECTOR_SLOTS; s++)
        if (api->opt.pipeline->encoders[s])
            add_model(out, model_info(encoder_pool_model(api->opt.pipeline->encoders[s])), s == 0);
    json_add_close(out, ']');
    add_text(out, "profile", api->opt.profile);
    json_add_key(out, "started_at");
    json_add_time_ms(out, api->started_ms);
    json_add_close(out, '}');
    reply_json(rq, 200);
}

static double cny(nano_cny n)
{
    return (double)n / (double)NANO_PER_CNY;
}

static void add_spending(struct buf *out, struct llm *llm)
{
    struct ledger_totals t;
    json_add_key(out, "llm");
    json_add_open(out, '{');
    if (llm) {
        ledger_totals(llm_ledger(llm), &t);
        add_count(out, "at_work", llm_at_work(llm));
        const struct {
            const char *key;
            nano_cny v;
        } money[] = {{"day_spent_cny", t.day_spent},     {"day_open_cny", t.day_open},     {"day_limit_cny", t.day_limit},
                     {"month_spent_cny", t.month_spent}, {"month_open_cny", t.month_open}, {"month_limit_cny", t.month_limit}};
        for (size_t i = 0; i < sizeof money / sizeof *money; i++) {
            json_add_key(out, money[i].key);
            json_add_double(out, cny(money[i].v));
        }
    }
    json_add_close(out, '}');
}

static uint64_t sum_queries(const struct api *api, enum query_status s)
{
    uint64_t n = 0;
    for (int c = 0; c < 4; c++)
        n += api->m.queries[s][c] ? counter_get(api->m.queries[s][c]) : 0;
    return n;
}

static void add_queries(struct buf *out, struct api *api)
{
    const struct histogram *total[4];
    for (int c = 0; c < 4; c++)
        total[c] = api->m.latency[LATENCY_TOTAL][c];
    json_add_key(out, "queries");
    json_add_open(out, '{');
    add_count(out, "ok", sum_queries(api, QUERY_OK));
    add_count(out, "degraded", sum_queries(api, QUERY_DEGRADED));
    add_count(out, "rejected", sum_queries(api, QUERY_REJECTED));
    add_count(out, "error", sum_queries(api, QUERY_ERROR));
    add_count(out, "concurrent", (uint64_t)gauge_get(api->m.concurrent));
    add_count(out, "max_concurrent", api->opt.max_concurrent_queries);
    json_add_close(out, '}');
    json_add_key(out, "latency_ms");
    json_add_open(out, '{');
    json_add_key(out, "p50");
    json_add_fixed(out, histogram_quantile(total, 4, 0.50) / 1e6, 3);
    json_add_key(out, "p95");
    json_add_fixed(out, histogram_quantile(total, 4, 0.95) / 1e6, 3);
    json_add_key(out, "p99");
    json_add_fixed(out, histogram_quantile(total, 4, 0.99) / 1e6, 3);
    json_add_close(out, '}');
}

void route_stats(struct request *rq)
{
    struct api *api = rq->api;
    struct buf *out = &rq->out;
    struct knowledge_stats s;
    knowledge_stats(api->opt.pipeline->knowledge, &s);
    json_add_open(out, '{');
    json_add_key(out, "uptime_s");
    json_add_fixed(out, (double)(clock_mono_ns() - api->started_ns) / 1e9, 3);
    add_queries(out, api);
    json_add_key(out, "index");
    json_add_open(out, '{');
    add_count(out, "collections", s.collections);
    add_count(out, "documents", s.documents);
    add_count(out, "chunks", s.chunks);
    add_count(out, "segments", s.segments);
    add_count(out, "segments_in_memory", s.segments_in_memory);
    add_count(out, "segment_bytes", s.segment_bytes);
    add_count(out, "pending_documents", s.pending_rebuild);
    add_count(out, "merges", s.merges);
    add_count(out, "rebuilt_documents", s.rebuilt_documents);
    add_count(out, "damaged_segments", s.damaged_segments);
    add_count(out, "writer_queue", s.queue_len);
    json_add_close(out, '}');
    json_add_key(out, "embedding");
    json_add_open(out, '{');
    add_count(out, "vectors", s.vectors);
    add_count(out, "missing", s.vectors_missing);
    add_count(out, "vector_bytes", s.vector_bytes);
    if (api->opt.embedder) {
        struct embedder_stats es;
        embedder_stats(api->opt.embedder, &es);
        add_count(out, "embedded", es.embedded);
        add_count(out, "tokens", es.tokens);
        add_count(out, "failures", es.failures);
        json_add_key(out, "passages_per_s");
        json_add_fixed(out, es.passages_per_s, 1);
    }
    json_add_close(out, '}');
    add_spending(out, api->opt.pipeline->llm);
    json_add_key(out, "memory_bytes");
    json_add_open(out, '{');
    for (int t = 0; t < MEM_TAGS; t++) {
        int64_t n = mem_in_use((enum mem_tag)t);
        add_count(out, mem_tag_name((enum mem_tag)t), n > 0 ? (uint64_t)n : 0);
    }
    json_add_close(out, '}');
    add_count(out, "connections", (uint64_t)gauge_get(api->m.connections));
    json_add_close(out, '}');
    reply_json(rq, 200);
}

void route_config(struct request *rq)
{
    if (rq->api->opt.config_json)
        rq->api->opt.config_json(rq->api->opt.config_ctx, &rq->out);
    else
        buf_addz(&rq->out, "{}");
    reply_json(rq, 200);
}
