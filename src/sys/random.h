/* sys/random.h - the kernel's random bytes. Thread-safe. */
#ifndef RAGD_SYS_RANDOM_H
#define RAGD_SYS_RANDOM_H

#include <stddef.h>

void random_bytes(void *p, size_t n);
/* 2 * n_bytes hex digits and a NUL into out. */
void random_hex(char *out, size_t n_bytes);

#endif
