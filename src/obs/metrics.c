/* A registry is a list of families, each a list of series. Both only grow, under `mu`; rendering takes `mu` too, so
 * the lists are stable while they are printed, and recording never needs it. The registry is small (a few hundred
 * series), looked up at start and then used through pointers, so a linear search is enough. */
#include "obs/metrics.h"

#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum kind { KIND_COUNTER, KIND_GAUGE, KIND_HISTOGRAM };
static const char *const kind_names[] = {"counter", "gauge", "histogram"};

static const uint64_t bounds_ns[HISTOGRAM_BOUNDS] = {
    100000,   200000,    500000,    1000000,   2000000,    5000000,    10000000,   20000000,
    50000000, 100000000, 200000000, 500000000, 1000000000, 2000000000, 5000000000, 10000000000};

struct series {
    struct series *next;
    void *value;   /* struct counter, gauge or histogram by the family's kind */
    char labels[]; /* a="b",c="d" */
};
struct family {
    struct family *next;
    const char *name, *help;
    enum kind kind;
    double scale;
    struct series *first, **end;
};
struct metrics {
    pthread_mutex_t mu;
    struct family *first, **end;
    struct {
        void (*fn)(void *);
        void *ctx;
    } hooks[8];
    uint32_t n_hooks;
};

/* Where records go when a series could not be made. */
static struct counter lost_counter;
static struct gauge lost_gauge;
static struct histogram lost_histogram;

struct metrics *metrics_new(void)
{
    struct metrics *m = mem_zalloc(MEM_MISC, sizeof *m);
    if (m) {
        pthread_mutex_init(&m->mu, NULL);
        m->end = &m->first;
    }
    return m;
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    for (struct family *f = m->first, *fn; f; f = fn) {
        fn = f->next;
        for (struct series *s = f->first, *sn; s; s = sn) {
            sn = s->next;
            free(s->value);
            mem_free(MEM_MISC, s);
        }
        mem_free(MEM_MISC, f);
    }
    pthread_mutex_destroy(&m->mu);
    mem_free(MEM_MISC, m);
}

static void print_labels(struct buf *b, const struct metric_label *labels, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        buf_addf(b, "%s%s=\"", i ? "," : "", labels[i].name);
        for (const char *p = labels[i].value; *p; p++) {
            if (*p == '"' || *p == '\\')
                buf_addc(b, '\\');
            if (*p == '\n')
                buf_addz(b, "\\n");
            else
                buf_addc(b, *p);
        }
        buf_addc(b, '"');
    }
}

static struct family *family_get(struct metrics *m, const char *name, const char *help, enum kind kind,
                                 double scale)
{
    for (struct family *f = m->first; f; f = f->next)
        if (strcmp(f->name, name) == 0) {
            RAG_ASSERT(f->kind == kind);
            return f;
        }
    struct family *f = mem_zalloc(MEM_MISC, sizeof *f);
    if (!f)
        return NULL;
    f->name = name;
    f->help = help;
    f->kind = kind;
    f->scale = scale;
    f->end = &f->first;
    *m->end = f;
    m->end = &f->next;
    return f;
}

static size_t value_size(enum kind kind)
{
    return kind == KIND_COUNTER ? sizeof(struct counter)
           : kind == KIND_GAUGE ? sizeof(struct gauge)
                                : sizeof(struct histogram);
}

static void *series_add(struct family *f, struct str labels)
{
    size_t size = value_size(f->kind);
    struct series *s = mem_alloc(MEM_MISC, sizeof *s + labels.len + 1);
    void *value = aligned_alloc(64, (size + 63) & ~(size_t)63); /* mem_alloc does not align to a cache line */
    if (!s || !value) {
        mem_free(MEM_MISC, s);
        free(value);
        return NULL;
    }
    memset(value, 0, size);
    s->next = NULL;
    s->value = value;
    if (labels.len)
        memcpy(s->labels, labels.ptr, labels.len);
    s->labels[labels.len] = 0;
    *f->end = s;
    f->end = &s->next;
    return value;
}

static void *series_get(struct metrics *m, const char *name, const char *help, enum kind kind, double scale,
                        const struct metric_label *labels, uint32_t n_labels)
{
    struct buf text;
    void *value = NULL;
    buf_init(&text, MEM_MISC);
    print_labels(&text, labels, n_labels);
    pthread_mutex_lock(&m->mu);
    struct family *f = buf_failed(&text) ? NULL : family_get(m, name, help, kind, scale);
    if (f) {
        for (struct series *s = f->first; s && !value; s = s->next)
            if (str_eqz(buf_str(&text), s->labels))
                value = s->value;
        if (!value)
            value = series_add(f, buf_str(&text));
    }
    pthread_mutex_unlock(&m->mu);
    buf_clear(&text);
    return value;
}

struct counter *metrics_counter(struct metrics *m, const char *name, const char *help, double scale,
                                const struct metric_label *labels, uint32_t n_labels)
{
    void *v = series_get(m, name, help, KIND_COUNTER, scale, labels, n_labels);
    return v ? v : &lost_counter;
}

struct gauge *metrics_gauge(struct metrics *m, const char *name, const char *help, double scale,
                            const struct metric_label *labels, uint32_t n_labels)
{
    void *v = series_get(m, name, help, KIND_GAUGE, scale, labels, n_labels);
    return v ? v : &lost_gauge;
}

struct histogram *metrics_histogram(struct metrics *m, const char *name, const char *help,
                                    const struct metric_label *labels, uint32_t n_labels)
{
    void *v = series_get(m, name, help, KIND_HISTOGRAM, 1e-9, labels, n_labels);
    return v ? v : &lost_histogram;
}

void histogram_observe(struct histogram *h, int64_t ns)
{
    uint64_t v = ns > 0 ? (uint64_t)ns : 0;
    unsigned i = 0;
    while (i < HISTOGRAM_BOUNDS && v > bounds_ns[i]) /* le: the bound belongs to the bucket */
        i++;
    atomic_fetch_add_explicit(&h->bucket[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_ns, v, memory_order_relaxed);
}

double histogram_quantile(const struct histogram *const *h, uint32_t n, double q)
{
    uint64_t count[HISTOGRAM_BOUNDS + 1] = {0}, total = 0;
    for (uint32_t k = 0; k < n; k++)
        for (unsigned i = 0; i <= HISTOGRAM_BOUNDS; i++)
            count[i] += atomic_load_explicit(&h[k]->bucket[i], memory_order_relaxed);
    for (unsigned i = 0; i <= HISTOGRAM_BOUNDS; i++)
        total += count[i];
    double rank = q * (double)total, below = 0;
    for (unsigned i = 0; i < HISTOGRAM_BOUNDS && total; i++) {
        double here = (double)count[i], lo = i ? (double)bounds_ns[i - 1] : 0.0;
        if (here > 0 && below + here >= rank)
            return lo + ((double)bounds_ns[i] - lo) * (rank - below) / here;
        below += here;
    }
    return total ? (double)bounds_ns[HISTOGRAM_BOUNDS - 1] : 0.0;
}

void metrics_on_render(struct metrics *m, void (*fn)(void *ctx), void *ctx)
{
    RAG_ASSERT(m->n_hooks < sizeof m->hooks / sizeof *m->hooks);
    m->hooks[m->n_hooks].fn = fn;
    m->hooks[m->n_hooks++].ctx = ctx;
}

void metrics_off_render(struct metrics *m, void (*fn)(void *ctx), void *ctx)
{
    for (uint32_t i = 0; i < m->n_hooks; i++)
        if (m->hooks[i].fn == fn && m->hooks[i].ctx == ctx) {
            m->hooks[i] = m->hooks[--m->n_hooks];
            return;
        }
}

/* ---- text ---------------------------------------------------------------------------------------------- */

enum metrics_format metrics_accept(struct str accept)
{
    static const char want[] = "application/openmetrics-text";
    return accept.len && memmem(accept.ptr, accept.len, want, sizeof want - 1) ? METRICS_OPENMETRICS
                                                                               : METRICS_PROMETHEUS;
}

const char *metrics_content_type(enum metrics_format f)
{
    return f == METRICS_OPENMETRICS ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                    : "text/plain; version=0.0.4; charset=utf-8";
}

static void print_value(struct buf *out, double x)
{
    if (fabs(x) < 1e15 && x == floor(x))
        buf_addf(out, "%.0f\n", x);
    else
        buf_addf(out, "%.14g\n", x);
}

static void print_histogram(struct buf *out, const char *name, const char *labels, const struct histogram *h,
                            enum metrics_format f)
{
    const char *comma = labels[0] ? "," : "";
    uint64_t n = 0;
    for (unsigned i = 0; i <= HISTOGRAM_BOUNDS; i++) {
        n += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
        buf_addf(out, "%s_bucket{%s%sle=\"", name, labels, comma);
        if (i == HISTOGRAM_BOUNDS)
            buf_addz(out, "+Inf");
        else /* OpenMetrics wants a float: 1.0 */
            buf_addf(out, "%g%s", (double)bounds_ns[i] / 1e9,
                     f == METRICS_OPENMETRICS && bounds_ns[i] % 1000000000 == 0 ? ".0" : "");
        buf_addf(out, "\"} %llu\n", (unsigned long long)n);
    }
    const char *open = labels[0] ? "{" : "", *close = labels[0] ? "}" : "";
    buf_addf(out, "%s_sum%s%s%s %.9f\n", name, open, labels, close,
             (double)atomic_load_explicit(&h->sum_ns, memory_order_relaxed) / 1e9);
    buf_addf(out, "%s_count%s%s%s %llu\n", name, open, labels, close, (unsigned long long)n);
}

static void print_family(struct buf *out, const struct family *fam, enum metrics_format f)
{
    size_t len = strlen(fam->name);
    /* OpenMetrics names a counter's family without the _total of its samples. */
    if (f == METRICS_OPENMETRICS && fam->kind == KIND_COUNTER && len > 6 &&
        strcmp(fam->name + len - 6, "_total") == 0)
        len -= 6;
    buf_addf(out, "# HELP %.*s %s\n# TYPE %.*s %s\n", (int)len, fam->name, fam->help, (int)len, fam->name,
             kind_names[fam->kind]);
    for (const struct series *s = fam->first; s; s = s->next) {
        if (fam->kind == KIND_HISTOGRAM) {
            print_histogram(out, fam->name, s->labels, s->value, f);
            continue;
        }
        buf_addf(out, s->labels[0] ? "%s{%s} " : "%s%s ", fam->name, s->labels);
        double v = fam->kind == KIND_COUNTER ? (double)counter_get(s->value) : (double)gauge_get(s->value);
        print_value(out, v * fam->scale);
    }
}

void metrics_render(struct metrics *m, enum metrics_format f, struct buf *out)
{
    for (uint32_t i = 0; i < m->n_hooks; i++) /* before the lock: hooks may make series */
        m->hooks[i].fn(m->hooks[i].ctx);
    pthread_mutex_lock(&m->mu);
    for (const struct family *fam = m->first; fam; fam = fam->next)
        print_family(out, fam, f);
    pthread_mutex_unlock(&m->mu);
    if (f == METRICS_OPENMETRICS)
        buf_addz(out, "# EOF\n");
}

/* ---- process_* ----------------------------------------------------------------------------------------- */

/* Fields of /proc/self/stat after the command name, which may hold blanks: field[0] is the state (proc(5) no. 3). */
static int read_stat(unsigned long long field[22])
{
    char text[1024];
    FILE *f = fopen("/proc/self/stat", "re");
    if (!f)
        return 0;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    char *p = strrchr(text, ')');
    int got = 0;
    if (!p)
        return 0;
    p += 2;
    for (; got < 22 && *p; got++) {
        field[got] = strtoull(p, NULL, 10);
        p = strchr(p, ' ');
        if (!p)
            break;
        p++;
    }
    return got;
}

static int64_t count_fds(void)
{
    int64_t n = 0;
    DIR *d = opendir("/proc/self/fd");
    if (!d)
        return 0;
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n - 1; /* the folder itself */
}

static int64_t boot_time_s(void)
{
    char line[256];
    long long t = 0;
    FILE *f = fopen("/proc/stat", "re");
    if (!f)
        return 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "btime %lld", &t) == 1)
            break;
    fclose(f);
    return t;
}

static void process_render(void *ctx)
{
    struct metrics *m = ctx;
    unsigned long long v[22] = {0};
    struct rlimit lim = {0};
    if (read_stat(v) == 22) {
        gauge_set(metrics_gauge(m, "process_resident_memory_bytes", "Resident memory.", 1, NULL, 0),
                  (int64_t)v[21] * sysconf(_SC_PAGESIZE));
        gauge_set(metrics_gauge(m, "process_virtual_memory_bytes", "Virtual memory.", 1, NULL, 0),
                  (int64_t)v[20]);
        gauge_set(metrics_gauge(m, "process_threads", "Threads.", 1, NULL, 0), (int64_t)v[17]);
        int64_t ticks = sysconf(_SC_CLK_TCK);
        gauge_set(
            metrics_gauge(m, "process_start_time_seconds", "Start of the process, Unix time.", 1e-3, NULL, 0),
            boot_time_s() * 1000 + (int64_t)v[19] * 1000 / ticks);
    }
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    counter_set(metrics_counter(m, "process_cpu_seconds_total", "User and system CPU time.", 1e-9, NULL, 0),
                (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec);
    gauge_set(metrics_gauge(m, "process_open_fds", "Open descriptors.", 1, NULL, 0), count_fds());
    if (getrlimit(RLIMIT_NOFILE, &lim) == 0)
        gauge_set(metrics_gauge(m, "process_max_fds", "Limit of open descriptors.", 1, NULL, 0),
                  (int64_t)lim.rlim_cur);
}

void metrics_add_process(struct metrics *m)
{
    metrics_off_render(m, process_render, m);
    metrics_on_render(m, process_render, m);
}
