/* tests/unit/test.h - TEST(name) { CHECK(...); } on cmocka: tests register themselves, main() runs them. */
#ifndef RAGD_TEST_H
#define RAGD_TEST_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static struct CMUnitTest test_list[256];
static size_t test_count;

#define TEST(name)                                                                                           \
    static void name(void **state);                                                                          \
    __attribute__((constructor)) static void name##_register(void)                                           \
    {                                                                                                        \
        test_list[test_count++] = (struct CMUnitTest){#name, name, NULL, NULL, NULL};                        \
    }                                                                                                        \
    static void name(void **state __attribute__((unused)))

#define CHECK(x)            assert_true(x)
#define CHECK_EQ(a, b)      assert_int_equal((a), (b))
#define CHECK_OK(rc)        assert_int_equal((rc), 0)
#define CHECK_STR(s, z)     test_check_str((s).ptr, (s).len, (z), __FILE__, __LINE__)
#define CHECK_NEAR(a, b, e) assert_true(fabs((double)(a) - (double)(b)) <= (double)(e))

static inline void test_check_str(const char *p, size_t n, const char *z, const char *file, int line)
{
    if (n != strlen(z) || (n && memcmp(p, z, n) != 0)) {
        print_error("%s:%d: got \"%.*s\", want \"%s\"\n", file, line, (int)n, p ? p : "", z);
        fail();
    }
}

int main(void)
{
    return _cmocka_run_group_tests(__FILE__, test_list, test_count, NULL, NULL);
}

#endif
