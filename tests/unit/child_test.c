#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "sys/child.h"
#include "test.h"

static const struct child_limits usual = {
    .memory_bytes = (uint64_t)1 << 30, .output_bytes = 64 << 20, .files = 16, .cpu_s = 5, .wall_ms = 10000};

static rag_code sh(const char *script, struct str in, const struct child_limits *lim, struct buf *out,
                   struct child_result *res)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    const char *const envp[] = {"PATH=/usr/bin:/bin", NULL};
    return child_run(argv, envp, in, lim, out, res);
}

TEST(bytes_go_through_both_ways_at_once)
{
    struct buf in, out;
    struct child_result res;
    buf_init(&in, MEM_MISC);
    buf_init(&out, MEM_MISC);
    for (int i = 0; i < 500000; i++) /* far more than two pipes hold */
        buf_addf(&in, "%d\n", i);
    CHECK_OK(sh("cat", buf_str(&in), &usual, &out, &res));
    CHECK_EQ(res.end, CHILD_EXITED);
    CHECK_EQ(res.status, 0);
    CHECK(str_eq(buf_str(&in), buf_str(&out)));
    buf_clear(&in);
    buf_clear(&out);
}

static void check_ends(const char *script, enum child_end end, int status, const struct child_limits *lim)
{
    struct buf out;
    struct child_result res;
    buf_init(&out, MEM_MISC);
    CHECK_OK(sh(script, STR_LIT("x"), lim, &out, &res));
    CHECK_EQ(res.end, end);
    CHECK_EQ(res.status, status);
    buf_clear(&out);
}

TEST(every_end_is_told_apart)
{
    struct child_limits quick = usual;
    quick.wall_ms = 200;
    quick.output_bytes = 1000;
    check_ends("exit 3", CHILD_EXITED, 3, &usual);
    check_ends("kill -SEGV $$", CHILD_SIGNALED, SIGSEGV, &usual);
    check_ends("sleep 20", CHILD_TIMEOUT, 0, &quick);
    check_ends("exec >&-; sleep 20", CHILD_TIMEOUT, 0, &quick); /* closes its output and stays */
    check_ends("sleep 20 & exit 0", CHILD_TIMEOUT, 0, &quick);  /* leaves somebody who holds the pipe */
    check_ends("cat /dev/zero", CHILD_OUTPUT, 0, &quick);
}

TEST(a_child_that_does_not_read_is_no_error)
{
    struct buf in, out;
    struct child_result res;
    buf_init(&in, MEM_MISC);
    buf_init(&out, MEM_MISC);
    CHECK(buf_reserve(&in, 1 << 20));
    memset(in.ptr, 'x', 1 << 20);
    in.len = 1 << 20;
    for (int i = 0; i < 20; i++) { /* a SIGPIPE would kill this test */
        CHECK_OK(sh("exec <&-; echo ok; sleep 0.01", buf_str(&in), &usual, &out, &res));
        CHECK_EQ(res.end, CHILD_EXITED);
    }
    sigset_t pending;
    sigpending(&pending);
    CHECK(!sigismember(&pending, SIGPIPE));
    buf_clear(&in);
    buf_clear(&out);
}

TEST(limits_hold)
{
    struct buf out;
    struct child_result res;
    struct child_limits lim = usual;
    buf_init(&out, MEM_MISC);
    lim.cpu_s = 1;
    CHECK_OK(sh("while :; do :; done", STR_LIT(""), &lim, &out, &res));
    CHECK_EQ(res.end, CHILD_SIGNALED);
    CHECK_EQ(res.status, SIGXCPU);
    CHECK_OK(sh("echo x > /tmp/ragd_child_test.$$; s=$?; rm -f /tmp/ragd_child_test.$$; exit $s", STR_LIT(""),
                &usual, &out, &res)); /* FSIZE 0 */
#ifndef __SANITIZE_THREAD__           /* its runtime writes files: the limit is not set there */
    CHECK(res.end == CHILD_SIGNALED || res.status != 0);
#endif
    buf_reset(&out);
    CHECK_OK(sh("ulimit -n; ulimit -c; grep NoNewPrivs /proc/self/status; ls /proc/self/fd | wc -l",
                STR_LIT(""), &usual, &out, &res));
    CHECK_STR(buf_str(&out), "16\n0\nNoNewPrivs:\t1\n4\n"); /* 0, 1, 2 and the folder that ls reads */
    buf_clear(&out);
}

TEST(nothing_is_inherited)
{
    struct buf out;
    struct child_result res;
    buf_init(&out, MEM_MISC);
    setenv("RAGD_TEST_SECRET", "s3cret", 1);
    signal(SIGUSR1, SIG_IGN);
    const char *const argv[] = {"/bin/sh", "-c",
                                "set | /bin/grep -c SECRET; /bin/grep SigIgn /proc/self/status", NULL};
    CHECK_OK(child_run(argv, NULL, STR_LIT(""), &usual, &out, &res));
    buf_addc(&out, 0);
    unsigned long long ignored = ~0ULL;
    CHECK_EQ(sscanf(out.ptr, "0\nSigIgn: %llx", &ignored), 1);
    CHECK_EQ(ignored & ~0x180000000ULL, 0); /* 32 and 33 are the C library's: no program can set them */
    signal(SIGUSR1, SIG_DFL);
    buf_clear(&out);
}

TEST(a_missing_program_is_an_error)
{
    struct buf out;
    struct child_result res;
    buf_init(&out, MEM_MISC);
    const char *const argv[] = {"/nonexistent/program", NULL};
    CHECK_EQ(child_run(argv, NULL, STR_LIT("x"), &usual, &out, &res), RAG_ENOTFOUND);
    buf_clear(&out);
}

static void *many(void *arg)
{
    for (int i = 0; i < 20; i++) {
        struct buf out;
        struct child_result res;
        buf_init(&out, MEM_MISC);
        if (sh("cat; ls /proc/self/fd | wc -l", STR_LIT("a\n"), &usual, &out, &res) ||
            res.end != CHILD_EXITED || !str_eqz(buf_str(&out), "a\n4\n"))
            *(int *)arg = 1;
        buf_clear(&out);
    }
    return NULL;
}

TEST(threads_do_not_leak_descriptors_into_each_other)
{
    pthread_t t[4];
    int failed[4] = {0};
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(t + i, NULL, many, failed + i), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        CHECK_EQ(failed[i], 0);
    }
}
