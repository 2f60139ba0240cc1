#include "test.h"

#include <pthread.h>
#include <unistd.h>

#include "obs/log.h"
#include "obs/metrics.h"

static bool shows(struct metrics *m, enum metrics_format f, const char *line)
{
    struct buf b;
    buf_init(&b, MEM_MISC);
    metrics_render(m, f, &b);
    buf_addc(&b, 0);
    bool found = strstr(b.ptr, line) != NULL;
    if (!found)
        print_error("no \"%s\" in:\n%s\n", line, b.ptr);
    buf_clear(&b);
    return found;
}

TEST(the_same_name_and_labels_are_one_series)
{
    struct metrics *m = metrics_new();
    struct counter *a = metrics_counter(m, "x_total", "X.", 1, METRIC_LABELS({"k", "1"}));
    struct counter *b = metrics_counter(m, "x_total", "X.", 1, METRIC_LABELS({"k", "2"}));
    CHECK(a != b);
    CHECK(a == metrics_counter(m, "x_total", "X.", 1, METRIC_LABELS({"k", "1"})));
    counter_add(a, 2);
    counter_add(b, 40);
    CHECK(shows(m, METRICS_PROMETHEUS,
                "# HELP x_total X.\n# TYPE x_total counter\nx_total{k=\"1\"} 2\nx_total{k=\"2\"} 40\n"));
    CHECK(shows(m, METRICS_OPENMETRICS, "# HELP x X.\n# TYPE x counter\nx_total{k=\"1\"} 2\n"));
    CHECK(shows(m, METRICS_OPENMETRICS, "# EOF\n"));
    metrics_free(m);
}

TEST(label_values_are_escaped)
{
    struct metrics *m = metrics_new();
    gauge_set(metrics_gauge(m, "g", "G.", 1, METRIC_LABELS({"k", "a\"b\\c\nd"})), -3);
    CHECK(shows(m, METRICS_PROMETHEUS, "g{k=\"a\\\"b\\\\c\\nd\"} -3\n"));
    metrics_free(m);
}

TEST(histogram_bounds_belong_to_their_bucket)
{
    struct metrics *m = metrics_new();
    struct histogram *h = metrics_histogram(m, "h_seconds", "H.", METRIC_LABELS({"s", "t"}));
    histogram_observe(h, -5);
    histogram_observe(h, 100000); /* 0.1 ms, the first bound */
    histogram_observe(h, 100001);
    histogram_observe(h, 1000000000);  /* 1 s */
    histogram_observe(h, 99000000000); /* over all */
    CHECK(shows(m, METRICS_PROMETHEUS,
                "h_seconds_bucket{s=\"t\",le=\"0.0001\"} 2\nh_seconds_bucket{s=\"t\",le=\"0.0002\"} 3\n"));
    CHECK(shows(m, METRICS_PROMETHEUS, "h_seconds_bucket{s=\"t\",le=\"1\"} 4\n"));
    CHECK(shows(m, METRICS_OPENMETRICS, "h_seconds_bucket{s=\"t\",le=\"1.0\"} 4\n"));
    CHECK(shows(
        m, METRICS_PROMETHEUS,
        "h_seconds_bucket{s=\"t\",le=\"+Inf\"} 5\nh_seconds_sum{s=\"t\"} 100.000200001\nh_seconds_count{s=\"t\"} 5\n"));
    metrics_free(m);
}

TEST(quantile_lies_in_the_right_bucket)
{
    struct metrics *m = metrics_new();
    const struct histogram *h[1];
    struct histogram *w = metrics_histogram(m, "h_seconds", "H.", NULL, 0);
    h[0] = w;
    CHECK(histogram_quantile(h, 1, 0.5) <= 0);
    for (int i = 0; i < 99; i++)
        histogram_observe(w, 1500000);
    histogram_observe(w, 60000000);
    double p50 = histogram_quantile(h, 1, 0.5), p995 = histogram_quantile(h, 1, 0.995);
    CHECK(p50 > 1e6 && p50 <= 2e6);
    CHECK(p995 > 5e7 && p995 <= 1e8);
    metrics_free(m);
}

static void *add_many(void *arg)
{
    struct metrics *m = arg;
    for (int i = 0; i < 20000; i++) {
        counter_add(metrics_counter(m, "n_total", "N.", 1, METRIC_LABELS({"t", i & 1 ? "a" : "b"})), 1);
        histogram_observe(metrics_histogram(m, "l_seconds", "L.", NULL, 0), i);
    }
    return NULL;
}

TEST(threads_lose_nothing)
{
    struct metrics *m = metrics_new();
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, add_many, m), 0);
    for (int i = 0; i < 20; i++) {
        struct buf b;
        buf_init(&b, MEM_MISC);
        metrics_render(m, METRICS_PROMETHEUS, &b);
        buf_clear(&b);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    CHECK(shows(m, METRICS_PROMETHEUS, "n_total{t=\"a\"} 40000\n"));
    CHECK(shows(m, METRICS_PROMETHEUS, "l_seconds_count 80000\n"));
    metrics_free(m);
}

TEST(process_series_are_there_and_sane)
{
    struct metrics *m = metrics_new();
    metrics_add_process(m);
    metrics_add_process(m);
    CHECK(shows(m, METRICS_PROMETHEUS, "process_resident_memory_bytes "));
    CHECK(gauge_get(metrics_gauge(m, "process_resident_memory_bytes", "", 1, NULL, 0)) > 1 << 20);
    CHECK(gauge_get(metrics_gauge(m, "process_open_fds", "", 1, NULL, 0)) >= 3);
    CHECK(gauge_get(metrics_gauge(m, "process_start_time_seconds", "", 1, NULL, 0)) > 1000000000000);
    metrics_free(m);
}

TEST(accept_header_picks_the_format)
{
    CHECK_EQ(metrics_accept(STR_LIT("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")),
             METRICS_OPENMETRICS);
    CHECK_EQ(metrics_accept(STR_LIT("text/plain")), METRICS_PROMETHEUS);
    CHECK_EQ(metrics_accept(str_of(NULL)), METRICS_PROMETHEUS);
}

TEST(each_failed_allocation_leaves_a_usable_registry)
{
    bool fired = true;
    for (unsigned nth = 1; fired; nth++) {
        fault_arm_alloc(nth);
        struct metrics *m = metrics_new();
        if (m) {
            counter_add(metrics_counter(m, "x_total", "X.", 1, METRIC_LABELS({"k", "v"})), 1);
            histogram_observe(metrics_histogram(m, "h_seconds", "H.", NULL, 0), 1);
        }
        fired = fault_disarm();
        metrics_free(m);
    }
}

TEST(log_line_is_one_json_object_whatever_the_values)
{
    int fd[2], keep = dup(STDERR_FILENO);
    char line[8192], big[6000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    CHECK_EQ(pipe(fd), 0);
    dup2(fd[1], STDERR_FILENO);
    log_set_request_id("rid-1");
    log_warn("a \"quoted\" message", LOG_STR("bad", "x\xff\x01年"), LOG_INT("n", -5), LOG_BOOL("b", true),
             LOG_STR("big", big), LOG_END);
    log_set_request_id(NULL);
    log_debug("not shown", LOG_END);
    dup2(keep, STDERR_FILENO);
    close(keep);
    close(fd[1]);
    ssize_t n = read(fd[0], line, sizeof line - 1);
    close(fd[0]);
    CHECK(n > 0);
    line[n] = 0;
    CHECK(strstr(
        line,
        "\"level\":\"warn\",\"msg\":\"a \\u0022quoted\\u0022 message\",\"request_id\":\"rid-1\",\"bad\":\"x?\\u0001年\",\"n\":-5,\"b\":true,"));
    CHECK(strcmp(line + n - 3, "\"}\n") == 0);
    CHECK(strchr(line, '\n') == line + n - 1);
}
