/* llmsim - an upstream by script: speaks OpenAI's chat protocol on 127.0.0.1 and fails as it is told. For tests and load.
 *
 *   llmsim [--port N] [--stdin-guard] [--keep-bodies] [--models "NAME=SPEC" ...]
 *
 * Prints `llmsim listening on 127.0.0.1:PORT` (--port 0, the default, takes a free one) and serves until SIGTERM or SIGINT;
 * with --stdin-guard also until its standard input closes. It needs nothing but libc and shares no code with ragd.
 *
 * Routes: POST /v1/chat/completions (stream with stream_options.include_usage, or whole; max_tokens is obeyed),
 * GET /v1/models, and
 *   POST /sim/set {"model": "X", "spec": "..."}   a new SPEC for X from its next call on; "default" is every other name
 *   POST /sim/reset                               counters to 0
 *   GET  /sim/stats                               {connections, connections_open, last_request, total, models: {X: ...}}
 *   GET  /sim/bodies                              {"bodies": [...]}: the last 100 requests, with --keep-bodies
 * HTTP/1.1 with keep-alive; requests up to 4 MB, with Content-Length.
 *
 * A SPEC is key=value,key=value; what is not named has the default in brackets.
 *   ttft_ms [20]  tps [200]     piece i is sent at the request's arrival + ttft_ms + i/tps, each as an event and a write of
 *                               its own; tps=0: all at once. A late wake sends what is due
 *   jitter_ms [0]               up to so much is added to each time; the order stays
 *   tokens [40]                 pieces of the answer: a Chinese character, or a word with its blank
 *   lang [zh], zh|en            text=FILE: the answer is the file's (all of it unless tokens is given)
 *   cite [0], 1: sentences end with [1] [2] [3]; bad: with [9], [abc], "[" and "1]" in two pieces, "["
 *   usage [full]                full | none | cached (prompt_tokens_details.cached_tokens) | cached_deepseek
 *                               (prompt_cache_hit_tokens) | wrong (twice the truth + 100)
 *   cached_pct [50]             part of the prompt that is cached
 *   over [0]                    usage says max_tokens + over (without max_tokens: sent + over)
 *   seed [0]                    of the draws of faults and jitter
 *   fail=KIND@P                 with probability P (1 without @P); up to 8, their P add up; the rest answers well
 *
 * KINDs before any byte of an answer, fail_ms [0] after the request came:
 *   http_500 http_503 http_429 http_400 http_401 http_402   in OpenAI's error shape
 *   http_429_after              Retry-After of `after` [1] seconds; after_as [both] seconds|ms|date|both (both: seconds and
 *                               retry-after-ms)
 *   quota                       429 insufficient_quota           context    400 context_length_exceeded
 *   refuse                      the request is read, then an RST   garbage    bytes that are no HTTP, then the end
 *   html                        200 with a page of text/html     no_headers never anything
 * KINDs of an answer; `at` [5] pieces come first where it says so:
 *   stall                       at pieces, then silence          cut        at pieces, then cut [fin] fin|rst
 *   error_in_stream             at pieces, data: {"error":...}   bad_json   at pieces, then data: lines that are no JSON
 *   huge                        piece `at` is 2 MB in one event  drip       a byte each drip_ms [100] after the headers
 *   comments_only               ": ping" each ping_ms [100] for ever
 *   no_done                     no finish_reason, no [DONE]      empty      finishes without content
 *   slow_headers                headers come with the first piece, not at once
 * Without a stream: stall and comments_only send half of the body and wait, cut closes there, bad_json is half of it as if
 * it were all, drip sends its bytes one by one, error_in_stream is 200 with {"error":...}, no_done has finish_reason null.
 *
 * Headers and the first event (role, empty content) of a stream are sent at once. Tokens: a CJK character is one, other
 * text one for each 4 bytes rounded up, over all message contents; of the answer, its pieces.
 *
 * Counters, in total and by model: requests, faults {KIND: n}, completed (sent to its end, however wrong), client_closed
 * with close_ms_last and close_ms_worst (from the last piece, or the request, to the client's closing), tokens_sent (for a
 * whole answer when it is sent), calls_billed and billed_prompt/_cached/_completion (what usage said; where it was not
 * said or the call ended early: the prompt and the pieces sent; nothing before the headers), open, most_open,
 * worst_late_ms of a piece (a client that does not read is not counted). */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sim.h"

static int fail(const char *what)
{
    fprintf(stderr, "llmsim: %s: %s\n", what, strerror(errno));
    return 1;
}

static int usage_error(const char *why)
{
    fprintf(stderr, "llmsim: %s\nusage: llmsim [--port N] [--stdin-guard] [--keep-bodies] [--models NAME=SPEC ...]\n",
            why);
    return 2;
}

static bool listen_on(struct sim *s, uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int on = 1;
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->listener < 0)
        return false;
    setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(s->listener, (struct sockaddr *)&a, len) || listen(s->listener, 4096) ||
        getsockname(s->listener, (struct sockaddr *)&a, &len))
        return false;
    printf("llmsim listening on 127.0.0.1:%u\n", (unsigned)ntohs(a.sin_port));
    return !fflush(stdout);
}

static int signals_open(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static bool watch(struct sim *s, int fd, void *mark)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = mark};
    return !epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e);
}

static bool stdin_closed(void)
{
    char bytes[256];
    return read(STDIN_FILENO, bytes, sizeof bytes) <= 0;
}

/* Until the next timer, rounded up to a millisecond: tokens that are due together cost one wake. */
static int wait_ms(const struct sim *s)
{
    if (!s->n_heap)
        return -1;
    int64_t left = s->heap[1]->due_ns - now_ns();
    return left <= 0 ? 0 : left > 60 * NS_PER_S ? 60000 : (int)((left + NS_PER_MS - 1) / NS_PER_MS);
}

static void serve(struct sim *s, void *listener, void *guard, void *signals)
{
    struct epoll_event events[256];
    for (;;) {
        int n = epoll_wait(s->epoll, events, 256, wait_ms(s));
        conn_timers(s, now_ns());
        for (int i = 0; i < n; i++) {
            void *p = events[i].data.ptr;
            if (p == signals || (p == guard && stdin_closed()))
                return;
            if (p == listener)
                conn_accept(s);
            else if (p != guard)
                conn_event(p, events[i].events);
        }
        conn_bury(s);
    }
}

static bool add_model(struct sim *s, const char *text, char why[200])
{
    char name[128];
    const char *eq = strchr(text, '=');
    if (!eq || (size_t)(eq - text) >= sizeof name) {
        snprintf(why, 200, "--models takes NAME=SPEC, not %.150s", text);
        return false;
    }
    memcpy(name, text, (size_t)(eq - text));
    name[eq - text] = 0;
    return sim_set(s, name, eq + 1, why);
}

static bool options(struct sim *s, int argc, char **argv, uint16_t *port, bool *guard, char why[200])
{
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--stdin-guard")) {
            *guard = true;
        } else if (!strcmp(argv[i], "--keep-bodies")) {
            s->keep_bodies = true;
        } else if (!strcmp(argv[i], "--port") && i + 1 < argc) {
            *port = (uint16_t)strtoul(argv[++i], NULL, 10);
        } else if (!strcmp(argv[i], "--models")) {
            while (i + 1 < argc && strncmp(argv[i + 1], "--", 2))
                if (!add_model(s, argv[++i], why))
                    return false;
        } else {
            snprintf(why, 200, "unknown option %.150s", argv[i]);
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    static struct sim s;
    static char listener, guard, signals; /* what epoll names them by */
    uint16_t port = 0;
    bool guarded = false;
    char why[200] = "";
    if (!sim_set(&s, "default", "", why) || !options(&s, argc, argv, &port, &guarded, why))
        return usage_error(why);

    struct rlimit files;
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    s.epoll = epoll_create1(EPOLL_CLOEXEC);
    int sig = signals_open();
    if (s.epoll < 0 || sig < 0 || !watch(&s, sig, &signals))
        return fail("epoll");
    if (guarded && !watch(&s, STDIN_FILENO, &guard))
        return fail("--stdin-guard needs a pipe as standard input");
    if (!listen_on(&s, port) || !watch(&s, s.listener, &listener))
        return fail("listen");
    serve(&s, &listener, &guard, &signals);
    return 0;
}
