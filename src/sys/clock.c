#include "sys/clock.h"

#include <time.h>

static int64_t now_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t clock_mono_ns(void)
{
    return now_ns(CLOCK_MONOTONIC);
}

int64_t clock_unix_ms(void)
{
    return now_ns(CLOCK_REALTIME) / 1000000;
}
