/* net/client_int.h - what the files of the HTTP client share. Everything here belongs to the client's thread, but for
 * `posted` and `wake`. */
#ifndef RAGD_NET_CLIENT_INT_H
#define RAGD_NET_CLIENT_INT_H

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/buf.h"
#include "net/client.h"

enum { NET_BATCH = 64 }; /* descriptors served between two looks at the timers */

/* A binary heap, the earliest first. */
struct timer_heap {
    struct net_timer **at;
    uint32_t n, cap;
};
bool timer_heap_set(struct timer_heap *h, struct net_timer *t, int64_t due_ns);
void timer_heap_stop(struct timer_heap *h, struct net_timer *t);
void timer_heap_clear(struct timer_heap *h); /* its timers are not set any more */

struct net_client {
    int epoll, wake; /* wake: eventfd, written when `posted` was empty */
    pthread_t thread;
    _Atomic(struct net_task *) posted; /* the latest first */
    struct net_task stop_task;
    bool stopping;

    struct timer_heap timers;
    struct epoll_event batch[NET_BATCH]; /* at work: batch[batch_at..batch_n) */
    int batch_at, batch_n;

    CURLM *multi;
    int64_t curl_due_ns; /* when curl wants to be called; INT64_MAX: not by time */
    uint32_t idle_connections;
    uint32_t n_calls;
    struct net_call *calls, *gone;
    struct buf inbox, outbox; /* records: what curl handed over, what is being told */
};

/* Descriptors of curl carry their number, shifted, and a low 1; those of watches the watch; `wake` carries 0. */
rag_code calls_init(struct net_client *c);
void calls_clear(struct net_client *c);
void calls_on_socket(struct net_client *c, int fd, uint32_t epoll_events);
void calls_on_time(struct net_client *c); /* curl_due_ns has come */
void calls_tell(struct net_client *c);    /* events that wait; frees what is gone */
void calls_end_all(struct net_client *c, enum net_result r, const char *why);

#endif
