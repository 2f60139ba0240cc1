/* The part of cmocka that tests/unit/test.h uses, for a machine that cmocka is not built for. The first failure ends the
 * program. */
#ifndef RAGD_NEON_CMOCKA_H
#define RAGD_NEON_CMOCKA_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct CMUnitTest {
    const char *name;
    void (*test)(void **state);
    int (*setup)(void **state), (*teardown)(void **state);
    void *initial_state;
};

static inline void neon_check(int ok, const char *what, const char *file, int line)
{
    if (!ok) {
        printf("[  ERROR   ] --- %s\n[   LINE   ] --- %s:%d\n[  FAILED  ] 1 test(s)\n", what, file, line);
        exit(1);
    }
}
#define assert_true(x)         neon_check(!!(x), #x, __FILE__, __LINE__)
#define assert_int_equal(a, b) neon_check((long long)(a) == (long long)(b), #a " == " #b, __FILE__, __LINE__)
#define fail()                 neon_check(0, "fail()", __FILE__, __LINE__)
#define print_error(...)       printf(__VA_ARGS__)
#define print_message(...)     printf(__VA_ARGS__)
#define skip()                 return

static inline int _cmocka_run_group_tests(const char *group, const struct CMUnitTest *tests, size_t n, void *setup,
                                          void *teardown)
{
    (void)group, (void)setup, (void)teardown;
    for (size_t i = 0; i < n; i++) {
        printf("[ RUN      ] %s\n", tests[i].name);
        tests[i].test(NULL);
        printf("[       OK ] %s\n", tests[i].name);
    }
    printf("[  PASSED  ] %zu test(s).\n", n);
    return 0;
}

#endif
