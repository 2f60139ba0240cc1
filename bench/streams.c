/* bench/streams.c - a load client for streamed answers: many at once on one thread, with epoll and nothing but libc.
 *
 *   streams [OPTION...] HOST:PORT            HOST is an IPv4 address
 *     --streams N [1]     connections at once; each asks again when its answer is complete, until
 *     --requests N [= streams]  so many were asked
 *     --direct            POST /v1/chat/completions as an OpenAI client would; else ragd's POST /v1/query
 *     --path P            another path        --header "Name: value"   up to 8 more
 *     --model M [large]   of --direct         --query TEXT
 *     --ramp-ms N [0]     the connections open over so long
 *     --timeout-s N [120] for the whole run; what is left then counts as failed
 *     --watch PID         memory and CPU time of a process: before, every 50 ms, at the end
 *     --samples FILE      a line for each answer: first byte, context, first token, end, in ms
 *
 * Prints one JSON object and ends by itself: 0 when every answer is complete, 1 otherwise, 2 for wrong usage. Times of an
 * answer count from the sending of its request (the connection stands then) to a read that saw the event; a gap is the time
 * between the reads that saw two tokens. An answer is complete when its last event came (`done` with "degraded":false, or
 * [DONE]) and the response ended as HTTP says. `late_ms` is how long this client itself was busy before it looked again:
 * gaps cannot be read more finely. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_HEADERS = 8,
    HEAD_BYTES = 8192,
    READ_BYTES = 64 << 10,
    MAX_LINE = 4 << 20,
    MAX_STREAMS = 20000,
    WATCH_MS = 50
};

struct floats {
    float *at;
    size_t n, cap;
};

/* One answer's times, ns; 0: did not come. */
struct answer {
    int64_t sent, byte, context, token, last_token;
    uint32_t tokens;
    double largest_gap_ms;
    bool done, degraded;
};

enum http_state {
    HTTP_HEAD,
    HTTP_SIZE,
    HTTP_DATA,
    HTTP_DATA_END,
    HTTP_TRAILER,
    HTTP_LENGTH,
    HTTP_UNTIL_CLOSE,
    HTTP_END
};

struct stream {
    int fd;
    bool connected;
    size_t sent; /* of the request */
    enum http_state http;
    char head[HEAD_BYTES + 1];
    size_t head_len;
    int status;
    bool close;
    uint64_t left; /* bytes of the chunk, or of the body */
    size_t trailer_len;
    char *line;
    size_t line_len, line_cap;
    char event[16];
    struct answer a;
};

static struct {
    struct sockaddr_in addr;
    bool direct;
    const char *path, *model, *query, *samples, *headers[MAX_HEADERS];
    unsigned n_headers;
    long streams, requests, ramp_ms, timeout_s, watch;
    char *request;
    size_t request_len;
    int epoll;

    long open, asked, complete, degraded; /* connections; answers */
    char why[200];                        /* the first failure */
    uint32_t least_tokens, most_tokens;
    uint64_t tokens;
    struct floats byte, context, token, total, gap, largest;
    double late_ms;
    FILE *sample_file;
} g = {.path = "",
       .model = "large",
       .query = "白金卡年费多少？",
       .streams = 1,
       .timeout_s = 120,
       .least_tokens = UINT32_MAX};

static struct {
    struct floats rss_kb; /* while every stream has its first token and none has ended */
    long before_kb, most_kb;
    double user_before, sys_before, user, sys;
    long streaming;
} w;

static void die(const char *what)
{
    fprintf(stderr, "streams: %s\n", what);
    exit(2);
}

static void *grow(void *p, size_t n)
{
    p = realloc(p, n);
    if (!p)
        die("out of memory");
    return p;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static double ms(int64_t ns)
{
    return (double)ns / 1e6;
}

static void add(struct floats *f, double x)
{
    if (f->n == f->cap) {
        f->cap = f->cap ? 2 * f->cap : 1024;
        f->at = grow(f->at, f->cap * sizeof *f->at);
    }
    f->at[f->n++] = (float)x;
}

/* ---- the watched process ----------------------------------------------------------------------------------- */

static long rss_kb(void)
{
    char path[64];
    long pages = 0;
    snprintf(path, sizeof path, "/proc/%ld/statm", g.watch);
    FILE *f = fopen(path, "r");
    if (!f || fscanf(f, "%*s %ld", &pages) != 1)
        die("--watch: no such process");
    fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void cpu_s(double *user, double *sys)
{
    char path[64], text[1024];
    unsigned long u = 0, s = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", g.watch);
    FILE *f = fopen(path, "r");
    if (!f || !fgets(text, sizeof text, f))
        die("--watch: no such process");
    fclose(f);
    const char *after = strrchr(text, ')'); /* the name may hold anything */
    if (!after || sscanf(after, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &u, &s) != 2)
        die("--watch: cannot read its times");
    double tick = (double)sysconf(_SC_CLK_TCK);
    *user = (double)u / tick;
    *sys = (double)s / tick;
}

static void watch_now(void)
{
    if (!g.watch)
        return;
    long kb = rss_kb();
    w.most_kb = kb > w.most_kb ? kb : w.most_kb;
    if (w.streaming == g.streams)
        add(&w.rss_kb, (double)kb);
}

/* ---- requests ---------------------------------------------------------------------------------------------- */

static void add_text(const char *text)
{
    size_t n = strlen(text);
    g.request = grow(g.request, g.request_len + n + 1);
    memcpy(g.request + g.request_len, text, n + 1);
    g.request_len += n;
}

/* text must need no escapes in JSON. */
static void build_request(void)
{
    if (strpbrk(g.query, "\"\\\n\r\t") || strpbrk(g.model, "\"\\\n\r\t"))
        die("--query and --model: no quotes, backslashes or control characters");
    char body[4096], head[512];
    int n =
        g.direct
            ? snprintf(
                  body, sizeof body,
                  "{\"model\":\"%s\",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"messages\":["
                  "{\"role\":\"user\",\"content\":\"%s\"}]}",
                  g.model, g.query)
            : snprintf(body, sizeof body, "{\"query\":\"%s\",\"stream\":true}", g.query);
    if (n < 0 || (size_t)n >= sizeof body)
        die("--query: too long");
    const char *path = *g.path ? g.path : g.direct ? "/v1/chat/completions" : "/v1/query";
    char host[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &g.addr.sin_addr, host, sizeof host);
    n = snprintf(
        head, sizeof head,
        "POST %s HTTP/1.1\r\nHost: %s:%u\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", path,
        host, (unsigned)ntohs(g.addr.sin_port), n);
    if (n < 0 || (size_t)n >= sizeof head)
        die("--path: too long");
    add_text(head);
    for (unsigned i = 0; i < g.n_headers; i++) {
        add_text(g.headers[i]);
        add_text("\r\n");
    }
    add_text("\r\n");
    add_text(body);
}

static void want(struct stream *s, uint32_t events, int op)
{
    struct epoll_event e = {.events = events, .data.ptr = s};
    if (epoll_ctl(g.epoll, op, s->fd, &e))
        die("epoll_ctl");
}

static void hang_up(struct stream *s)
{
    close(s->fd);
    s->fd = -1;
    s->connected = false;
    g.open--;
}

/* Its connection asks no more. */
static void fail(struct stream *s, const char *why)
{
    if (s->a.token)
        w.streaming--;
    if (!*g.why)
        snprintf(g.why, sizeof g.why, "%s (HTTP %d, %u tokens): %.80s", why, s->status, s->a.tokens,
                 s->line_len ? s->line : "");
    hang_up(s);
}

static void send_rest(struct stream *s)
{
    while (s->sent < g.request_len) {
        ssize_t n = send(s->fd, g.request + s->sent, g.request_len - s->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            want(s, EPOLLOUT, EPOLL_CTL_MOD);
            return;
        }
        if (n < 0) {
            fail(s, strerror(errno));
            return;
        }
        s->sent += (size_t)n;
    }
    want(s, EPOLLIN, EPOLL_CTL_MOD);
}

static void open_connection(struct stream *s)
{
    int on = 1;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        die("socket: raise ulimit -n");
    g.open++;
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    want(s, EPOLLOUT, EPOLL_CTL_ADD);
    if (connect(s->fd, (struct sockaddr *)&g.addr, sizeof g.addr) && errno != EINPROGRESS)
        fail(s, strerror(errno));
}

/* Sends the next request, on a new connection where there is none. */
static void ask(struct stream *s)
{
    if (g.asked == g.requests) {
        if (s->fd >= 0)
            hang_up(s);
        return;
    }
    g.asked++;
    s->a = (struct answer){0};
    s->http = HTTP_HEAD;
    s->head_len = s->line_len = s->sent = s->trailer_len = 0;
    s->status = 0;
    s->close = false;
    *s->event = 0;
    if (!s->connected) {
        open_connection(s);
        return;
    }
    s->a.sent = now_ns();
    send_rest(s);
}

static void on_connected(struct stream *s)
{
    int e = 0;
    socklen_t len = sizeof e;
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &e, &len) || e) {
        fail(s, strerror(e ? e : errno));
        return;
    }
    s->connected = true;
    s->a.sent = now_ns();
    send_rest(s);
}

/* ---- answers ----------------------------------------------------------------------------------------------- */

static void on_token(struct answer *a, int64_t now)
{
    if (a->last_token) {
        double gap = ms(now - a->last_token);
        add(&g.gap, gap);
        if (gap > a->largest_gap_ms)
            a->largest_gap_ms = gap;
    } else {
        a->token = now;
        w.streaming++;
    }
    a->last_token = now;
    a->tokens++;
}

/* "content" with at least one character, blanks after the colon or not. */
static bool has_content(const char *line)
{
    const char *c = strstr(line, "\"content\":");
    if (!c)
        return false;
    c += strlen("\"content\":");
    c += strspn(c, " ");
    return c[0] == '"' && c[1] != '"';
}

static void on_data(struct stream *s, int64_t now)
{
    struct answer *a = &s->a;
    const char *data = s->line + strlen("data:");
    data += *data == ' ';
    if (g.direct) {
        if (strcmp(data, "[DONE]") == 0)
            a->done = true;
        else if (has_content(data))
            on_token(a, now);
        else if (strstr(data, "\"error\":"))
            a->degraded = true;
    } else if (strcmp(s->event, "token") == 0) {
        on_token(a, now);
    } else if (strcmp(s->event, "context") == 0) {
        a->context = now;
    } else if (strcmp(s->event, "done") == 0) {
        a->done = true;
        a->degraded = !strstr(data, "\"degraded\":false");
    }
}

static void on_line(struct stream *s, int64_t now)
{
    if (s->line_len && s->line[s->line_len - 1] == '\r')
        s->line_len--;
    s->line[s->line_len] = 0;
    if (strncmp(s->line, "event: ", 7) == 0)
        snprintf(s->event, sizeof s->event, "%s", s->line + 7);
    else if (strncmp(s->line, "data:", 5) == 0)
        on_data(s, now);
    else if (!s->line_len)
        *s->event = 0;
}

/* Lines of the body; false: one has no end. */
static bool on_body(struct stream *s, const char *p, size_t n, int64_t now)
{
    while (n) {
        const char *end = memchr(p, '\n', n);
        size_t part = end ? (size_t)(end - p) : n;
        if (s->line_len + part + 1 > s->line_cap) {
            if (s->line_len + part + 1 > MAX_LINE)
                return false;
            s->line_cap = 2 * (s->line_len + part + 1);
            s->line = grow(s->line, s->line_cap);
        }
        memcpy(s->line + s->line_len, p, part);
        s->line_len += part;
        s->line[s->line_len] = 0;
        if (!end)
            return true;
        on_line(s, now);
        s->line_len = 0;
        p += part + 1;
        n -= part + 1;
    }
    return true;
}

/* The value of a header in the head, or NULL. */
static const char *header(const struct stream *s, const char *name)
{
    size_t n = strlen(name);
    for (const char *l = strchr(s->head, '\n'); l; l = strchr(l, '\n')) {
        l++;
        if (strncasecmp(l, name, n) == 0 && l[n] == ':')
            return l + n + 1 + strspn(l + n + 1, " ");
    }
    return NULL;
}

static bool head_over(struct stream *s)
{
    if (sscanf(s->head, "HTTP/1.%*d %d", &s->status) != 1)
        return false;
    const char *v = header(s, "Connection");
    s->close = v && strncasecmp(v, "close", 5) == 0;
    v = header(s, "Transfer-Encoding");
    if (v && strncasecmp(v, "chunked", 7) == 0) {
        s->http = HTTP_SIZE;
        s->left = 0;
    } else if ((v = header(s, "Content-Length"))) {
        s->left = strtoull(v, NULL, 10);
        s->http = s->left ? HTTP_LENGTH : HTTP_END;
    } else {
        s->http = HTTP_UNTIL_CLOSE;
    }
    return true;
}

/* One byte that is not of the body; false: not HTTP. */
static bool on_frame_byte(struct stream *s, char c)
{
    switch (s->http) {
    case HTTP_HEAD:
        if (s->head_len == HEAD_BYTES)
            return false;
        s->head[s->head_len++] = c;
        s->head[s->head_len] = 0;
        return s->head_len < 4 || memcmp(s->head + s->head_len - 4, "\r\n\r\n", 4) != 0 || head_over(s);
    case HTTP_SIZE:
        if (c == '\n') {
            s->http = s->left ? HTTP_DATA : HTTP_TRAILER;
        } else if (c != '\r') {
            const char *digits = "0123456789abcdef", *d = strchr(digits, c | 32);
            if (!c || !d || s->left >> 32)
                return false;
            s->left = s->left * 16 + (uint64_t)(d - digits);
        }
        return true;
    case HTTP_DATA_END:
        if (c == '\n') {
            s->http = HTTP_SIZE;
            s->left = 0;
        }
        return c == '\n' || c == '\r';
    case HTTP_TRAILER:
        if (c == '\n' && !s->trailer_len)
            s->http = HTTP_END;
        else if (c != '\r')
            s->trailer_len = c == '\n' ? 0 : s->trailer_len + 1;
        return true;
    default: return false;
    }
}

static bool on_bytes(struct stream *s, const char *p, size_t n, int64_t now)
{
    while (n) {
        if (s->http != HTTP_DATA && s->http != HTTP_LENGTH && s->http != HTTP_UNTIL_CLOSE) {
            if (!on_frame_byte(s, *p))
                return false;
            p++, n--;
            continue;
        }
        size_t part = s->http != HTTP_UNTIL_CLOSE && s->left < n ? (size_t)s->left : n;
        if (!on_body(s, p, part, now))
            return false;
        p += part, n -= part, s->left -= part;
        if (!s->left && s->http != HTTP_UNTIL_CLOSE)
            s->http = s->http == HTTP_DATA ? HTTP_DATA_END : HTTP_END;
    }
    return true;
}

static void on_end(struct stream *s, int64_t now)
{
    struct answer *a = &s->a;
    if (s->status != 200 || !a->done) {
        fail(s, a->done ? "not 200" : "the last event is missing");
        return;
    }
    if (a->degraded)
        g.degraded++;
    else
        g.complete++;
    if (a->token)
        w.streaming--;
    g.tokens += a->tokens;
    g.least_tokens = a->tokens < g.least_tokens ? a->tokens : g.least_tokens;
    g.most_tokens = a->tokens > g.most_tokens ? a->tokens : g.most_tokens;
    add(&g.byte, ms(a->byte - a->sent));
    if (a->context)
        add(&g.context, ms(a->context - a->sent));
    if (a->token)
        add(&g.token, ms(a->token - a->sent));
    add(&g.total, ms(now - a->sent));
    add(&g.largest, a->largest_gap_ms);
    if (g.sample_file)
        fprintf(g.sample_file, "%.4f %.4f %.4f %.4f\n", ms(a->byte - a->sent),
                a->context ? ms(a->context - a->sent) : 0, a->token ? ms(a->token - a->sent) : 0,
                ms(now - a->sent));
    if (s->close || s->http == HTTP_UNTIL_CLOSE)
        hang_up(s);
    ask(s);
}

static void on_readable(struct stream *s)
{
    static char bytes[READ_BYTES];
    ssize_t n = recv(s->fd, bytes, sizeof bytes, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    int64_t now = now_ns();
    if (n <= 0) {
        if (n == 0 && s->http == HTTP_UNTIL_CLOSE)
            on_end(s, now);
        else
            fail(s, n ? strerror(errno) : "closed too early");
        return;
    }
    if (!s->a.byte)
        s->a.byte = now;
    if (!on_bytes(s, bytes, (size_t)n, now))
        fail(s, "not HTTP, or a line without end");
    else if (s->http == HTTP_END)
        on_end(s, now);
}

static void on_event(struct stream *s, uint32_t events)
{
    if (s->fd < 0)
        return;
    if (!s->connected)
        on_connected(s);
    else if (s->sent < g.request_len && (events & EPOLLOUT))
        send_rest(s);
    else
        on_readable(s);
}

/* ---- the run ----------------------------------------------------------------------------------------------- */

static void run(struct stream *all, int64_t start)
{
    int64_t end = start + g.timeout_s * 1000000000, next_watch = start, before = start;
    long opened = 0;
    while ((g.open || opened < g.streams) && before < end) {
        int64_t now = now_ns();
        long due =
            g.ramp_ms ? (long)((double)g.streams * ms(now - start) / (double)g.ramp_ms) + 1 : g.streams;
        for (; opened < g.streams && opened < due; opened++)
            ask(&all[opened]);
        if (now >= next_watch) {
            watch_now();
            next_watch = now + WATCH_MS * 1000000;
        }
        struct epoll_event e[256];
        double busy = ms(now_ns() - before);
        if (busy > g.late_ms)
            g.late_ms = busy;
        int n = epoll_wait(g.epoll, e, 256, opened < g.streams ? 1 : WATCH_MS);
        before = now_ns();
        for (int i = 0; i < n; i++)
            on_event(e[i].data.ptr, e[i].events);
    }
    for (long i = 0; i < opened; i++)
        if (all[i].fd >= 0)
            fail(&all[i], "time is up");
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double pct(const struct floats *f, double p)
{
    size_t i = (size_t)(p * (double)f->n);
    return f->n ? (double)f->at[i < f->n ? i : f->n - 1] : 0;
}

static void sort(struct floats *f)
{
    if (f->n)
        qsort(f->at, f->n, sizeof *f->at, by_value);
}

static void print_times(const char *name, struct floats *f)
{
    sort(f);
    printf(",\"%s\":{\"n\":%zu,\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,\"p999\":%.3f,\"max\":%.3f}", name,
           f->n, pct(f, .5), pct(f, .9), pct(f, .99), pct(f, .999), pct(f, 1));
}

static void report(double seconds)
{
    size_t stalls = 0;
    for (size_t i = 0; i < g.gap.n; i++)
        stalls += g.gap.at[i] > 200;
    printf(
        "{\"streams\":%ld,\"requests\":%ld,\"complete\":%ld,\"degraded\":%ld,\"failed\":%ld,\"first_failure\":\"",
        g.streams, g.requests, g.complete, g.degraded, g.requests - g.complete - g.degraded);
    for (const char *c = g.why; *c; c++)
        putchar(*c == '"' || *c == '\\' || (unsigned char)*c < 32 ? '\'' : *c);
    printf("\",\"seconds\":%.3f,\"tokens\":{\"total\":%" PRIu64 ",\"least\":%u,\"most\":%u},\"late_ms\":%.3f",
           seconds, g.tokens, g.most_tokens ? g.least_tokens : 0, g.most_tokens, g.late_ms);
    print_times("first_byte_ms", &g.byte);
    print_times("context_ms", &g.context);
    print_times("first_token_ms", &g.token);
    print_times("total_ms", &g.total);
    print_times("gap_ms", &g.gap);
    print_times("largest_gap_ms", &g.largest);
    printf(",\"gaps_over_200_ms\":%zu", stalls);
    if (g.watch) {
        sort(&w.rss_kb);
        printf(
            ",\"watched\":{\"rss_kb_before\":%ld,\"rss_kb_streaming\":%.0f,\"rss_kb_most\":%ld,\"kb_a_stream\":%.1f,"
            "\"cpu_user_s\":%.2f,\"cpu_sys_s\":%.2f}",
            w.before_kb, pct(&w.rss_kb, .5), w.most_kb,
            w.rss_kb.n ? (pct(&w.rss_kb, .5) - (double)w.before_kb) / (double)g.streams : 0,
            w.user - w.user_before, w.sys - w.sys_before);
    }
    printf("}\n");
}

/* ---- arguments --------------------------------------------------------------------------------------------- */

static long number(const char *name, const char *text, long least, long most)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (*end || end == text || n < least || n > most) {
        fprintf(stderr, "streams: %s: a whole number from %ld to %ld\n", name, least, most);
        exit(2);
    }
    return n;
}

static void option(const char *name, const char *v)
{
    if (!v)
        die("an option without its value, or an unknown one");
    if (strcmp(name, "--streams") == 0)
        g.streams = number(name, v, 1, MAX_STREAMS);
    else if (strcmp(name, "--requests") == 0)
        g.requests = number(name, v, 1, 10000000);
    else if (strcmp(name, "--ramp-ms") == 0)
        g.ramp_ms = number(name, v, 0, 600000);
    else if (strcmp(name, "--timeout-s") == 0)
        g.timeout_s = number(name, v, 1, 86400);
    else if (strcmp(name, "--watch") == 0)
        g.watch = number(name, v, 1, INT32_MAX);
    else if (strcmp(name, "--path") == 0)
        g.path = v;
    else if (strcmp(name, "--model") == 0)
        g.model = v;
    else if (strcmp(name, "--query") == 0)
        g.query = v;
    else if (strcmp(name, "--samples") == 0)
        g.samples = v;
    else if (strcmp(name, "--header") == 0 && g.n_headers < MAX_HEADERS)
        g.headers[g.n_headers++] = v;
    else
        die("an unknown option, or a ninth header");
}

static void address(const char *text)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof host)
        die("HOST:PORT");
    snprintf(host, sizeof host, "%.*s", (int)(colon - text), text);
    g.addr.sin_family = AF_INET;
    g.addr.sin_port = htons((uint16_t)number("PORT", colon + 1, 1, 65535));
    if (inet_pton(AF_INET, host, &g.addr.sin_addr) != 1)
        die("HOST: an IPv4 address");
}

int main(int argc, char **argv)
{
    int i = 1;
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        if (strcmp(argv[i], "--direct") == 0) {
            g.direct = true;
            continue;
        }
        option(argv[i], i + 1 < argc ? argv[i + 1] : NULL);
        i++;
    }
    if (i + 1 != argc)
        die("usage: streams [OPTION...] HOST:PORT; the head of bench/streams.c explains");
    address(argv[i]);
    if (!g.requests)
        g.requests = g.streams;
    build_request();
    g.epoll = epoll_create1(EPOLL_CLOEXEC);
    struct stream *all = calloc((size_t)g.streams, sizeof *all);
    if (g.epoll < 0 || !all)
        die("out of memory");
    if (g.samples && !(g.sample_file = fopen(g.samples, "w")))
        die("--samples: cannot write");
    for (long k = 0; k < g.streams; k++)
        all[k].fd = -1;
    if (g.watch) {
        w.before_kb = w.most_kb = rss_kb();
        cpu_s(&w.user_before, &w.sys_before);
    }
    int64_t start = now_ns();
    run(all, start);
    double seconds = (double)(now_ns() - start) / 1e9;
    if (g.watch)
        cpu_s(&w.user, &w.sys);
    report(seconds);
    if (g.sample_file && fclose(g.sample_file))
        die("--samples: cannot write");
    for (long k = 0; k < g.streams; k++)
        free(all[k].line);
    struct floats *lists[] = {&g.byte, &g.context, &g.token, &g.total, &g.gap, &g.largest, &w.rss_kb};
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++)
        free(lists[k]->at);
    free(all);
    free(g.request);
    return g.complete == g.requests ? 0 : 1;
}
