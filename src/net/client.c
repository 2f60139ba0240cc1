/* One thread turns in a loop: descriptors that are ready, timers that are due, curl when it wants to be called. Posted
 * tasks come through an eventfd like any other descriptor. epoll waits whole milliseconds, rounded up: nothing here needs
 * more, and a timer is never early.
 *
 * A callback may stop a watch, and its owner close the descriptor, while an event for it waits later in the same batch of
 * epoll: net_watch_stop strikes such events out. */
#include "net/client.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/client_int.h"
#include "sys/clock.h"

static _Thread_local const struct net_client *this_client;

bool net_on_thread(const struct net_client *c)
{
    return this_client == c;
}

/* ---- posting ------------------------------------------------------------------------------------------------ */
static void wake_up(struct net_client *c)
{
    uint64_t one = 1;
    while (write(c->wake, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void net_post(struct net_client *c, struct net_task *t)
{
    struct net_task *first = atomic_load_explicit(&c->posted, memory_order_relaxed);
    do
        t->next = first;
    while (!atomic_compare_exchange_weak_explicit(&c->posted, &first, t,
                                                  memory_order_release, /* pairs with run_posted */
                                                  memory_order_relaxed));
    if (!first)
        wake_up(c);
}

static bool run_posted(struct net_client *c)
{
    struct net_task *latest = atomic_exchange_explicit(&c->posted, NULL, memory_order_acquire), *t = NULL;
    bool some = latest != NULL;
    while (latest) { /* turn the order round */
        struct net_task *next = latest->next;
        latest->next = t;
        t = latest;
        latest = next;
    }
    while (t) {
        struct net_task *next = t->next; /* run may free it */
        t->run(t);
        t = next;
    }
    return some;
}

/* ---- timers ------------------------------------------------------------------------------------------------- */
bool net_timer_set(struct net_client *c, struct net_timer *t, int64_t due_ns)
{
    RAG_DEBUG_ASSERT(net_on_thread(c));
    return timer_heap_set(&c->timers, t, due_ns);
}

void net_timer_stop(struct net_client *c, struct net_timer *t)
{
    RAG_DEBUG_ASSERT(net_on_thread(c));
    timer_heap_stop(&c->timers, t);
}

/* As many as were set at the start at most: one that sets itself again for now must not keep the sockets waiting. */
static void fire_due(struct net_client *c)
{
    int64_t now = clock_mono_ns();
    for (uint32_t left = c->timers.n; left && c->timers.n && c->timers.at[0]->due_ns <= now; left--) {
        struct net_timer *t = c->timers.at[0];
        timer_heap_stop(&c->timers, t);
        t->fire(t);
    }
    if (c->curl_due_ns <= now)
        calls_on_time(c);
}

static int wait_ms(const struct net_client *c)
{
    int64_t due = c->curl_due_ns;
    if (c->timers.n && c->timers.at[0]->due_ns < due)
        due = c->timers.at[0]->due_ns;
    if (due == INT64_MAX)
        return -1;
    int64_t now = clock_mono_ns();
    if (due <= now)
        return 0;
    int64_t ms = (due - now - 1) / 1000000 + 1;
    return ms > 3600000 ? 3600000 : (int)ms;
}

/* ---- watches ------------------------------------------------------------------------------------------------ */
bool net_watch_start(struct net_client *c, struct net_watch *w)
{
    RAG_DEBUG_ASSERT(net_on_thread(c) && !w->on);
    struct epoll_event ev = {.events = EPOLLRDHUP,
                             .data.u64 = (uintptr_t)w}; /* EPOLLHUP and EPOLLERR always come */
    w->on = epoll_ctl(c->epoll, EPOLL_CTL_ADD, w->fd, &ev) == 0;
    return w->on;
}

void net_watch_stop(struct net_client *c, struct net_watch *w)
{
    RAG_DEBUG_ASSERT(net_on_thread(c));
    if (!w->on)
        return;
    w->on = false;
    epoll_ctl(c->epoll, EPOLL_CTL_DEL, w->fd, NULL);
    for (int i = c->batch_at; i < c->batch_n; i++)
        if (c->batch[i].data.u64 == (uintptr_t)w)
            c->batch[i].events = 0;
}

/* ---- the loop ----------------------------------------------------------------------------------------------- */
static void serve(struct net_client *c, const struct epoll_event *ev)
{
    uint64_t id = ev->data.u64, count;
    if (!ev->events)
        return; /* struck out */
    if (!id) {
        if (read(c->wake, &count, sizeof count) == sizeof count)
            run_posted(c);
    } else if (id & 1) {
        calls_on_socket(c, (int)(id >> 1), ev->events);
    } else {
        struct net_watch *w = (struct net_watch *)(uintptr_t)id;
        net_watch_stop(c, w);
        w->gone(w);
    }
}

static void *loop(void *arg)
{
    struct net_client *c = arg;
    this_client = c;
    pthread_setname_np(pthread_self(), "net");
    while (!c->stopping) {
        int n = epoll_wait(c->epoll, c->batch, NET_BATCH, wait_ms(c));
        c->batch_n = n > 0 ? n : 0;
        for (c->batch_at = 0; c->batch_at < c->batch_n;)
            serve(c, &c->batch[c->batch_at++]);
        fire_due(c);
        calls_tell(c);
    }
    do /* what ends now may post, what is posted may start calls */
        calls_end_all(c, NET_STOPPED, "the server is stopping");
    while (run_posted(c));
    return NULL;
}

static void stop_now(struct net_task *t)
{
    struct net_client *c = (struct net_client *)((char *)t - offsetof(struct net_client, stop_task));
    c->stopping = true;
}

/* ---- start and stop ----------------------------------------------------------------------------------------- */
static void client_free(struct net_client *c)
{
    calls_clear(c);
    timer_heap_clear(&c->timers);
    if (c->epoll >= 0)
        close(c->epoll);
    if (c->wake >= 0)
        close(c->wake);
    mem_free(MEM_MISC, c);
}

/* With all signals blocked, which the threads of the resolver inherit. */
static int start_thread(struct net_client *c)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int e = pthread_create(&c->thread, NULL, loop, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return e;
}

rag_code net_client_start(const struct net_client_options *opt, struct net_client **out, struct rag_err *err)
{
    struct net_client *c = mem_zalloc(MEM_MISC, sizeof *c);
    if (!c)
        return rag_err_set(err, RAG_ENOMEM, "HTTP client: out of memory");
    c->idle_connections = opt->idle_connections ? opt->idle_connections : 20;
    c->stop_task.run = stop_now;
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event ev = {.events = EPOLLIN};
    rag_code rc = RAG_EIO;
    if (c->epoll < 0 || c->wake < 0 || epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->wake, &ev) != 0) {
        rag_err_set(err, rc, "HTTP client: no descriptors: errno %d", errno);
        goto failed;
    }
    rc = calls_init(c);
    if (rc) {
        rag_err_set(err, rc, "HTTP client: libcurl does not start");
        goto failed;
    }
    int e = start_thread(c);
    if (e) {
        rc = rag_err_set(err, RAG_EIO, "HTTP client: no thread: errno %d", e);
        goto failed;
    }
    *out = c;
    return RAG_OK;
failed:
    client_free(c);
    return rc;
}

void net_client_stop(struct net_client *c)
{
    if (!c)
        return;
    net_post(c, &c->stop_task);
    pthread_join(c->thread, NULL);
    client_free(c);
}
