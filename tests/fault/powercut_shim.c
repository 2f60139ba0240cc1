/* tests/fault/powercut_shim.c - LD_PRELOAD library that records what reaches the kernel for files below
 * POWERCUT_DIR: creations, writes, truncations, syncs, renames, unlinks, in order, into POWERCUT_LOG.
 * tests/fault/powercut.py replays the record up to any point and keeps only what was synced by then.
 *
 * Record: u8 op, u32 path length, u32 second length, u64 number, path, second (bytes written, or new name). */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { OP_CREATE = 1, OP_WRITE, OP_TRUNCATE, OP_SYNC, OP_RENAME, OP_UNLINK, OP_MKDIR };

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static const char *root;
static size_t root_len;

#define REAL(name, type)                                                                                     \
    static type real;                                                                                        \
    if (!real)                                                                                               \
    real = (type)dlsym(RTLD_NEXT, name)

typedef ssize_t (*write_fn)(int, const void *, size_t);
typedef int (*open_fn)(const char *, int, ...);
typedef int (*rename_fn)(const char *, const char *);
typedef int (*unlink_fn)(const char *);
typedef int (*mkdir_fn)(const char *, mode_t);

static void start(void)
{
    if (log_fd != -1)
        return;
    root = getenv("POWERCUT_DIR");
    const char *log = getenv("POWERCUT_LOG");
    root_len = root ? strlen(root) : 0;
    REAL("open64", open_fn);
    log_fd = root && log ? real(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -2;
}

static int ours(const char *path)
{
    size_t n = strlen(path);
    return root && strncmp(path, root, root_len) == 0 && !(n > 4 && strcmp(path + n - 4, "-shm") == 0) &&
           !(n > 5 && strcmp(path + n - 5, "/LOCK") == 0);
}

/* Called with mu held, after the operation: what the log shows happened before anything after it. */
static void record(int op, const char *path, const void *second, size_t n, uint64_t number)
{
    REAL("write", write_fn);
    size_t plen = strlen(path);
    char head[17];
    uint32_t a = (uint32_t)plen, b = (uint32_t)n;
    head[0] = (char)op;
    memcpy(head + 1, &a, 4);
    memcpy(head + 5, &b, 4);
    memcpy(head + 9, &number, 8);
    char *all = malloc(sizeof head + plen + n);
    memcpy(all, head, sizeof head);
    memcpy(all + sizeof head, path, plen);
    if (n)
        memcpy(all + sizeof head + plen, second, n);
    if (real(log_fd, all, sizeof head + plen + n) < 0)
        abort();
    free(all);
}

static int path_of(int fd, char path[4096])
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, 4095);
    path[n > 0 ? n : 0] = 0;
    return n > 0 && ours(path);
}

static int open_common(open_fn real, const char *path, int flags, mode_t mode)
{
    pthread_mutex_lock(&mu);
    start();
    int mine = log_fd >= 0 && ours(path), existed = mine && access(path, F_OK) == 0;
    int fd = real(path, flags, mode);
    if (mine && fd >= 0) {
        if (!existed)
            record(OP_CREATE, path, NULL, 0, 0);
        else if (flags & O_TRUNC)
            record(OP_TRUNCATE, path, NULL, 0, 0);
    }
    pthread_mutex_unlock(&mu);
    return fd;
}

#define OPEN(name)                                                                                           \
    int name(const char *path, int flags, ...)                                                               \
    {                                                                                                        \
        mode_t mode = 0;                                                                                     \
        if (flags & O_CREAT) {                                                                               \
            va_list ap;                                                                                      \
            va_start(ap, flags);                                                                             \
            mode = (mode_t)va_arg(ap, int);                                                                  \
            va_end(ap);                                                                                      \
        }                                                                                                    \
        REAL(#name, open_fn);                                                                                \
        return open_common(real, path, flags, mode);                                                         \
    }
int open(const char *path, int flags, ...);
int open64(const char *path, int flags, ...);
OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *p, size_t n)
{
    char path[4096];
    REAL("write", write_fn);
    pthread_mutex_lock(&mu);
    start();
    int mine = log_fd >= 0 && fd != log_fd && path_of(fd, path);
    off_t at = mine ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t w = real(fd, p, n);
    if (mine && w > 0)
        record(OP_WRITE, path, p, (size_t)w, (uint64_t)at);
    pthread_mutex_unlock(&mu);
    return w;
}

typedef ssize_t (*pwrite_fn)(int, const void *, size_t, off_t);
#define PWRITE(name)                                                                                         \
    ssize_t name(int fd, const void *p, size_t n, off_t at)                                                  \
    {                                                                                                        \
        char path[4096];                                                                                     \
        REAL(#name, pwrite_fn);                                                                              \
        pthread_mutex_lock(&mu);                                                                             \
        start();                                                                                             \
        ssize_t w = real(fd, p, n, at);                                                                      \
        if (w > 0 && log_fd >= 0 && path_of(fd, path))                                                       \
            record(OP_WRITE, path, p, (size_t)w, (uint64_t)at);                                              \
        pthread_mutex_unlock(&mu);                                                                           \
        return w;                                                                                            \
    }
ssize_t pwrite64(int fd, const void *p, size_t n, off_t at);
PWRITE(pwrite)
PWRITE(pwrite64)

typedef int (*truncate_fn)(int, off_t);
#define TRUNCATE(name)                                                                                       \
    int name(int fd, off_t len)                                                                              \
    {                                                                                                        \
        char path[4096];                                                                                     \
        REAL(#name, truncate_fn);                                                                            \
        pthread_mutex_lock(&mu);                                                                             \
        start();                                                                                             \
        int rc = real(fd, len);                                                                              \
        if (rc == 0 && log_fd >= 0 && path_of(fd, path))                                                     \
            record(OP_TRUNCATE, path, NULL, 0, (uint64_t)len);                                               \
        pthread_mutex_unlock(&mu);                                                                           \
        return rc;                                                                                           \
    }
int ftruncate64(int fd, off_t len);
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

typedef int (*sync_fn)(int);
#define SYNC(name)                                                                                           \
    int name(int fd)                                                                                         \
    {                                                                                                        \
        char path[4096];                                                                                     \
        REAL(#name, sync_fn);                                                                                \
        pthread_mutex_lock(&mu);                                                                             \
        start();                                                                                             \
        int rc = real(fd);                                                                                   \
        if (rc == 0 && log_fd >= 0 && path_of(fd, path))                                                     \
            record(OP_SYNC, path, NULL, 0, 0);                                                               \
        pthread_mutex_unlock(&mu);                                                                           \
        return rc;                                                                                           \
    }
SYNC(fsync)
SYNC(fdatasync)

int rename(const char *from, const char *to)
{
    REAL("rename", rename_fn);
    pthread_mutex_lock(&mu);
    start();
    int rc = real(from, to);
    if (rc == 0 && log_fd >= 0 && ours(from))
        record(OP_RENAME, from, to, strlen(to), 0);
    pthread_mutex_unlock(&mu);
    return rc;
}

int unlink(const char *path)
{
    REAL("unlink", unlink_fn);
    pthread_mutex_lock(&mu);
    start();
    int rc = real(path);
    if (rc == 0 && log_fd >= 0 && ours(path))
        record(OP_UNLINK, path, NULL, 0, 0);
    pthread_mutex_unlock(&mu);
    return rc;
}

int mkdir(const char *path, mode_t mode)
{
    REAL("mkdir", mkdir_fn);
    pthread_mutex_lock(&mu);
    start();
    int rc = real(path, mode);
    if (rc == 0 && log_fd >= 0 && ours(path))
        record(OP_MKDIR, path, NULL, 0, 0);
    pthread_mutex_unlock(&mu);
    return rc;
}
