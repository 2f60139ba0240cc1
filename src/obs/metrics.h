/* obs/metrics.h - counters, gauges and histograms, and their text for Prometheus.
 *
 * Series are looked up once, by name and labels, and then used through their pointer: recording is a relaxed
 * atomic add, no lock. Series live as long as their registry. Units: seconds and bytes outside, integers inside. */
#ifndef RAGD_OBS_METRICS_H
#define RAGD_OBS_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "base/str.h"

struct metrics;

/* Own cache lines: series written by different threads do not share one. */
struct counter {
    _Alignas(64) _Atomic uint64_t n;
};
struct gauge {
    _Alignas(64) _Atomic int64_t n;
};
/* Latency buckets in nanoseconds, 0.1 ms to 10 s; the last one is +Inf. */
enum { HISTOGRAM_BOUNDS = 16 };
struct histogram {
    _Alignas(64) _Atomic uint64_t bucket[HISTOGRAM_BOUNDS + 1];
    _Atomic uint64_t sum_ns;
};

struct metric_label {
    const char *name, *value;
};
#define METRIC_MAX_LABELS 4

struct metrics *metrics_new(void); /* NULL when out of memory */
void metrics_free(struct metrics *m);

/* The series `name{labels}`, made on the first call. `name` and label names must be literals that outlive the
 * registry (`help` and `scale` of the first call hold); values are copied. A shown value is n * scale: 1 for counts and
 * bytes, 1e-9 for seconds kept in ns. Never NULL: without memory the series is a shared one that is not shown. Any thread. */
struct counter *metrics_counter(struct metrics *m, const char *name, const char *help, double scale,
                                const struct metric_label *labels, uint32_t n_labels);
struct gauge *metrics_gauge(struct metrics *m, const char *name, const char *help, double scale,
                            const struct metric_label *labels, uint32_t n_labels);
struct histogram *metrics_histogram(struct metrics *m, const char *name, const char *help,
                                    const struct metric_label *labels, uint32_t n_labels);
#define METRIC_LABELS(...)                                                                                   \
    (const struct metric_label[]){__VA_ARGS__},                                                              \
        sizeof((const struct metric_label[]){__VA_ARGS__}) / sizeof(struct metric_label)

static inline void counter_add(struct counter *c, uint64_t n)
{
    atomic_fetch_add_explicit(&c->n, n, memory_order_relaxed);
}
static inline void counter_set(struct counter *c, uint64_t n) /* for counts that are kept elsewhere */
{
    atomic_store_explicit(&c->n, n, memory_order_relaxed);
}
static inline uint64_t counter_get(const struct counter *c)
{
    return atomic_load_explicit(&c->n, memory_order_relaxed);
}
static inline void gauge_set(struct gauge *g, int64_t n)
{
    atomic_store_explicit(&g->n, n, memory_order_relaxed);
}
static inline int64_t gauge_add(struct gauge *g, int64_t n) /* the value after it */
{
    return atomic_fetch_add_explicit(&g->n, n, memory_order_relaxed) + n;
}
static inline int64_t gauge_get(const struct gauge *g)
{
    return atomic_load_explicit(&g->n, memory_order_relaxed);
}
void histogram_observe(struct histogram *h, int64_t ns);
/* The q-quantile (0..1) over n histograms together, in ns, interpolated inside its bucket; 0 without values. */
double histogram_quantile(const struct histogram *const *h, uint32_t n, double q);

/* Called at the start of each metrics_render, to set what is only read then. At most 8. Before threads start. */
void metrics_on_render(struct metrics *m, void (*fn)(void *ctx), void *ctx);
void metrics_off_render(struct metrics *m, void (*fn)(void *ctx), void *ctx); /* after the last render */
/* Adds process_* (resident and virtual memory, CPU time, descriptors, threads, start time), read from /proc.
 * Once, however often it is called. */
void metrics_add_process(struct metrics *m);

enum metrics_format { METRICS_PROMETHEUS, METRICS_OPENMETRICS };
/* What an Accept header asks for: OpenMetrics only when it is named. */
enum metrics_format metrics_accept(struct str accept);
const char *metrics_content_type(enum metrics_format f);
/* Text 0.0.4, or OpenMetrics 1.0 with its # EOF. Any thread. */
void metrics_render(struct metrics *m, enum metrics_format f, struct buf *out);

#endif
