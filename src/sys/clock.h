/* sys/clock.h - the two clocks. Thread-safe. */
#ifndef RAGD_SYS_CLOCK_H
#define RAGD_SYS_CLOCK_H

#include <stdint.h>

int64_t clock_mono_ns(void); /* monotonic, nanoseconds: deadlines and durations */
int64_t clock_unix_ms(void); /* wall clock, milliseconds since 1970 UTC */

#endif
