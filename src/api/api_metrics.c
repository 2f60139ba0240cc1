#include <stdio.h>

#include "api/api_int.h"

static const unsigned statuses[N_STATUSES] = {200, 201, 204, 304, 400, 401, 403, 404, 405, 409,
                                              413, 415, 422, 429, 500, 503, 504, 507};
static const char *const complexities[4] = {"simple", "medium", "complex", "unknown"};
static const char *const query_statuses[4] = {"ok", "degraded", "rejected", "error"};

static void render_index(void *ctx)
{
    struct api *api = ctx;
    struct metrics *m = api->metrics;
    struct knowledge_stats s;
    knowledge_stats(api->opt.pipeline->knowledge, &s);
    gauge_set(metrics_gauge(m, "ragd_index_documents", "Searchable documents.", 1, NULL, 0),
              (int64_t)s.documents);
    gauge_set(metrics_gauge(m, "ragd_index_chunks", "Searchable chunks.", 1, NULL, 0), (int64_t)s.chunks);
    gauge_set(metrics_gauge(m, "ragd_segments", "Segments of all collections.", 1, NULL, 0),
              (int64_t)s.segments);
    gauge_set(metrics_gauge(m, "ragd_segment_bytes", "Bytes of all segments.", 1, NULL, 0),
              (int64_t)s.segment_bytes);
    gauge_set(metrics_gauge(m, "ragd_pending_documents", "Stored documents that are not searchable yet.", 1,
                            NULL, 0),
              (int64_t)s.pending_rebuild);
    gauge_set(metrics_gauge(m, "ragd_writer_queue", "Changes waiting for the writer.", 1, NULL, 0),
              s.queue_len);
    gauge_set(metrics_gauge(m, "ragd_vectors", "Searchable chunks that have a vector.", 1, NULL, 0),
              (int64_t)s.vectors);
    gauge_set(metrics_gauge(m, "ragd_vectors_missing", "Searchable chunks that wait for their vector.", 1, NULL, 0),
              (int64_t)s.vectors_missing);
    counter_set(metrics_counter(m, "ragd_merges_total", "Segment merges.", 1, NULL, 0), s.merges);
    for (int t = 0; t < MEM_TAGS; t++)
        gauge_set(metrics_gauge(m, "ragd_mem_bytes", "Memory in use by purpose.", 1,
                                METRIC_LABELS({"tag", mem_tag_name((enum mem_tag)t)})),
                  mem_in_use((enum mem_tag)t));
}

/* Series that can exist already are shown from the start, at 0: a rate over them needs no first event. */
void api_metrics_init(struct api *api)
{
    struct metrics *m = api->metrics;
    struct api_metrics *a = &api->m;
    for (int s = 0; s < 4; s++)
        for (int c = 0; c < 4; c++)
            a->queries[s][c] =
                    metrics_counter(m, "production_rag_query_total", "Queries by outcome.", 1,
                                    METRIC_LABELS({"status", query_statuses[s]},
                                                  {"complexity", complexities[c]}, {"cache_hit", "none"}));
    for (int st = 0; st < STAGES + 2; st++)
        for (int c = 0; c < 4; c++)
            a->latency[st][c] = metrics_histogram(
                m, "production_rag_latency_seconds", "Time of a query by stage.",
                METRIC_LABELS({"stage", st == LATENCY_TOTAL       ? "total"
                                        : st == LATENCY_ADMISSION ? "admission"
                                                                  : stage_name((enum stage)st)},
                              {"complexity", complexities[c]}));
    a->concurrent =
        metrics_gauge(m, "production_rag_concurrent_queries", "Queries being answered.", 1, NULL, 0);
    a->connections = metrics_gauge(m, "ragd_http_connections", "Open HTTP connections.", 1, NULL, 0);
    metrics_on_render(m, render_index, api);
    metrics_add_process(m);
}

void api_metrics_clear(struct api *api)
{
    if (api->metrics)
        metrics_off_render(api->metrics, render_index, api);
    metrics_free(api->own_metrics);
}

void api_count_http(struct request *rq, unsigned status)
{
    struct api *api = rq->api;
    size_t route = rq->route ? (size_t)(rq->route - api_routes) : N_ROUTES, i = 0;
    while (i < N_STATUSES - 1 && statuses[i] && statuses[i] != status)
        i++;
    struct counter *_Atomic *slot = &api->m.http[route][i];
    struct counter *c = atomic_load_explicit(slot, memory_order_acquire); /* pairs with the store below */
    if (!c) {
        char code[12];
        snprintf(code, sizeof code, "%u", status);
        c = metrics_counter(
            api->metrics, "ragd_http_requests_total", "HTTP requests by route and status.", 1,
            METRIC_LABELS({"route", rq->route ? rq->route->pattern : "other"}, {"code", code}));
        atomic_store_explicit(slot, c, memory_order_release); /* two threads store the same pointer */
    }
    counter_add(c, 1);
}

void api_count_error(struct api *api, const char *type, const char *component)
{
    counter_add(metrics_counter(api->metrics, "production_rag_errors_total", "Errors by type and component.",
                                1, METRIC_LABELS({"error_type", type}, {"component", component})),
                1);
}
