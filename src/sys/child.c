/* The child is made by vfork: the server may have hundreds of megabytes mapped, and fork would copy its page
 * tables for nothing. Until execve the child therefore shares our memory and may only make system calls on
 * values prepared before (child_become): no allocation, no stdio, no locks. All signals are blocked around it,
 * so that no handler of ours runs in the child; it sets them to default before it unblocks them.
 *
 * A failed execve is reported through a close-on-exec pipe: end of file means that it worked.
 *
 * Writing to a pipe whose reader is gone raises SIGPIPE in the writing thread. We block it in this thread, and
 * take a pending one away before restoring the mask, so that the process's disposition does not matter. */
#include "sys/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CHILD_HUGE_SHADOW 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define CHILD_HUGE_SHADOW 1
#endif
#endif
#ifndef CHILD_HUGE_SHADOW
#define CHILD_HUGE_SHADOW 0
#endif
/* The thread sanitizer's runtime writes a file of its own. */
#if defined(__SANITIZE_THREAD__)
#define CHILD_WRITES_FILES 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CHILD_WRITES_FILES 1
#endif
#endif
#ifndef CHILD_WRITES_FILES
#define CHILD_WRITES_FILES 0
#endif

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

enum { READ_PIECE = 64 << 10 };

struct launch { /* everything the child needs, prepared before vfork */
    char *const *argv;
    char *const *envp;
    int in, out, err; /* err: the exec report */
    pid_t parent;
    const struct child_limits *lim;
};

static void limit_set(__rlimit_resource_t what, uint64_t soft, uint64_t hard)
{
    struct rlimit r = {.rlim_cur = (rlim_t)soft, .rlim_max = (rlim_t)hard};
    struct rlimit now;
    if (getrlimit(what, &now) == 0 && now.rlim_max != RLIM_INFINITY) { /* never raise what we were given */
        if (r.rlim_max > now.rlim_max)
            r.rlim_max = now.rlim_max;
        if (r.rlim_cur > r.rlim_max)
            r.rlim_cur = r.rlim_max;
    }
    (void)setrlimit(what, &r);
}

static void descriptors_close_on_exec(void)
{
    if (close_range(3, ~0U, (int)CLOSE_RANGE_CLOEXEC) == 0)
        return;
    struct rlimit r; /* a kernel before 5.11 */
    int n = getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < (1 << 20) ? (int)r.rlim_cur : 1 << 20;
    for (int fd = 3; fd < n; fd++)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* In the child, sharing memory with the suspended parent thread. */
_Noreturn static void child_become(const struct launch *l)
{
    int null_fd = -1, e;
    (void)setpgid(0, 0);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        goto failed;
    if (getppid() != l->parent) /* it died before the line above */
        _exit(127);
    null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null_fd < 0 || dup2(l->in, 0) < 0 || dup2(l->out, 1) < 0 || dup2(null_fd, 2) < 0)
        goto failed;
    descriptors_close_on_exec();

    struct sigaction sa = {.sa_handler = SIG_DFL};
    for (int s = 1; s < NSIG; s++)
        (void)sigaction(s, &sa, NULL);
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);

    limit_set(RLIMIT_CORE, 0, 0);
    if (!CHILD_WRITES_FILES)
        limit_set(RLIMIT_FSIZE, l->lim->file_bytes, l->lim->file_bytes);
    if (l->lim->memory_bytes && !CHILD_HUGE_SHADOW)
        limit_set(RLIMIT_AS, l->lim->memory_bytes, l->lim->memory_bytes);
    if (l->lim->cpu_s)
        limit_set(RLIMIT_CPU, l->lim->cpu_s, (uint64_t)l->lim->cpu_s + 1);
    limit_set(RLIMIT_NOFILE, l->lim->files, l->lim->files);
    execve(l->argv[0], l->argv, l->envp);
failed:
    e = errno;
    ssize_t n;
    do
        n = write(l->err, &e, sizeof e);
    while (n < 0 && errno == EINTR);
    _exit(127);
}

/* Its own frame: nothing else of the caller lives in registers that the child could disturb. */
__attribute__((noinline)) static pid_t child_fork(const struct launch *l)
{
    pid_t pid = vfork();
    if (pid == 0)
        child_become(l);
    return pid;
}

static void fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Both ends close-on-exec and above 2, so that dup2 onto 0..2 in the child never clobbers one. */
static rag_code pipe_open(int p[2])
{
    if (pipe2(p, O_CLOEXEC) != 0) {
        p[0] = p[1] = -1;
        return rag_code_from_errno(errno);
    }
    for (int i = 0; i < 2; i++) {
        if (p[i] > 2)
            continue;
        int fd = fcntl(p[i], F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
            return rag_code_from_errno(errno);
        close(p[i]);
        p[i] = fd;
    }
    return RAG_OK;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void child_kill(pid_t pid)
{
    (void)kill(-pid, SIGKILL);
    (void)kill(pid, SIGKILL); /* in case it died before setpgid */
}

/* What is left of wall_ms for poll; 0 when it is over, -1 without a limit. */
static int ms_left(int64_t end_ms)
{
    if (end_ms < 0)
        return -1;
    int64_t left = end_ms - now_ms();
    return left <= 0 ? 0 : left > 1000000 ? 1000000 : (int)left;
}

/* Reads what there is. *fd is closed at the end of the stream. */
static rag_code drain(int *fd, uint64_t cap, struct buf *out, size_t base, bool *too_much)
{
    if (!buf_reserve(out, READ_PIECE))
        return RAG_ENOMEM;
    ssize_t n = read(*fd, out->ptr + out->len, READ_PIECE);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN ? RAG_OK : RAG_EIO;
    if (n == 0)
        fd_close(fd);
    out->len += (size_t)n;
    *too_much = cap && out->len - base > cap;
    return RAG_OK;
}

/* Feeds and reads until the child closes its stdout. A closed stdin is its choice. */
static rag_code exchange(int *to, int *from, struct str input, const struct child_limits *lim, int64_t end_ms,
                         struct buf *out, struct child_result *res, bool *kill_it)
{
    size_t base = out->len;
    if (input.len == 0)
        fd_close(to);
    while (*from >= 0) {
        struct pollfd p[2] = {{.fd = *from, .events = POLLIN}, {.fd = *to, .events = POLLOUT}};
        int wait_ms = ms_left(end_ms);
        if (wait_ms == 0) {
            res->end = CHILD_TIMEOUT;
            *kill_it = true;
            return RAG_OK;
        }
        if (poll(p, 2, wait_ms) < 0 && errno != EINTR)
            return RAG_EIO;
        if (p[1].revents) {
            ssize_t n = write(*to, input.ptr, input.len);
            if (n > 0) {
                input.ptr += n;
                input.len -= (size_t)n;
            }
            if (input.len == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
                fd_close(to);
        }
        if (p[0].revents) {
            bool too_much = false;
            rag_code rc = drain(from, lim->output_bytes, out, base, &too_much);
            if (rc)
                return rc;
            if (too_much) {
                res->end = CHILD_OUTPUT;
                *kill_it = true;
                return RAG_OK;
            }
        }
    }
    return RAG_OK;
}

/* Waits for the child's end and reaps it; kills it first when asked or when the time is over. The group is killed
 * while the dead leader still holds its number: afterwards it may be somebody else's. */
static void reap(pid_t pid, int64_t end_ms, bool kill_it, struct child_result *res)
{
    int st = 0;
    long nap_ns = 100000;
    if (kill_it)
        child_kill(pid);
    for (;;) {
        siginfo_t si = {0};
        int r = waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT | (kill_it ? 0 : WNOHANG));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0 || si.si_pid == pid)
            break;
        if (ms_left(end_ms) == 0) {
            res->end = CHILD_TIMEOUT;
            kill_it = true;
            child_kill(pid);
            continue;
        }
        nanosleep(&(struct timespec){.tv_nsec = nap_ns}, NULL);
        nap_ns = nap_ns < 8000000 ? nap_ns * 2 : nap_ns;
    }
    (void)kill(-pid, SIGKILL); /* what it may have started and left in its group */
    while (waitpid(pid, &st, 0) < 0 && errno == EINTR)
        ;
    if (res->end == CHILD_TIMEOUT || res->end == CHILD_OUTPUT)
        return;
    res->end = WIFSIGNALED(st) ? CHILD_SIGNALED : CHILD_EXITED;
    res->status = WIFSIGNALED(st) ? WTERMSIG(st) : WEXITSTATUS(st);
}

/* EPIPE left a SIGPIPE pending for this thread: take it away unless it was there before. */
static void sigpipe_restore(const sigset_t *before, bool was_pending)
{
    sigset_t pipe_only, pending;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    if (!was_pending && sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1)
        while (sigtimedwait(&pipe_only, NULL, &(struct timespec){0}) < 0 && errno == EINTR)
            ;
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

static rag_code exec_report(int fd)
{
    int e = 0;
    ssize_t n;
    do
        n = read(fd, &e, sizeof e);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof e ? rag_code_from_errno(e) : RAG_OK;
}

rag_code child_run(const char *const argv[], const char *const envp[], struct str input,
                   const struct child_limits *lim, struct buf *out, struct child_result *res)
{
    static const char *const no_env[] = {NULL};
    int in[2] = {-1, -1}, back[2] = {-1, -1}, report[2] = {-1, -1};
    bool kill_it = false;
    *res = (struct child_result){CHILD_EXITED, 0};

    sigset_t pipe_only, all, before, pending;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    bool was_pending = sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_only, &before);

    rag_code rc = pipe_open(in);
    if (!rc)
        rc = pipe_open(back);
    if (!rc)
        rc = pipe_open(report);
    if (rc)
        goto done;
    /* Only our ends: the child's share no file description with them. */
    if (fcntl(in[1], F_SETFL, O_NONBLOCK) < 0 || fcntl(back[0], F_SETFL, O_NONBLOCK) < 0) {
        rc = RAG_EIO;
        goto done;
    }

    struct launch l = {
        .argv = (char *const *)argv, /* execve's prototype predates const; it does not write */
        .envp = (char *const *)(envp ? envp : no_env),
        .in = in[0],
        .out = back[1],
        .err = report[1],
        .parent = getpid(),
        .lim = lim,
    };
    int64_t end_ms = lim->wall_ms ? now_ms() + lim->wall_ms : -1;
    sigset_t mine;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mine);
    pid_t pid = child_fork(&l);
    int fork_errno = errno;
    pthread_sigmask(SIG_SETMASK, &mine, NULL);
    if (pid < 0) {
        rc = rag_code_from_errno(fork_errno);
        goto done;
    }
    fd_close(&in[0]);
    fd_close(&back[1]);
    fd_close(&report[1]);
    rc = exec_report(report[0]);
    if (!rc)
        rc = exchange(&in[1], &back[0], input, lim, end_ms, out, res, &kill_it);
    fd_close(&in[1]);
    fd_close(&back[0]);
    reap(pid, end_ms, kill_it || rc, res);
done:
    for (int i = 0; i < 2; i++) {
        fd_close(&in[i]);
        fd_close(&back[i]);
        fd_close(&report[i]);
    }
    sigpipe_restore(&before, was_pending);
    return rc;
}
