#include "sys/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static rag_code fail(struct rag_err *err, int e, const char *what, const char *path)
{
    return rag_err_set(err, rag_code_from_errno(e), "%s: cannot %s: %s", path, what, strerror(e));
}

rag_code file_read_all(const char *path, uint64_t max_bytes, struct buf *out, struct rag_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return fail(err, errno, "open", path);
    rag_code rc = RAG_OK;
    uint64_t total = 0;
    size_t before = out->len;
    for (;;) {
        if (!buf_reserve(out, 64 << 10)) {
            rc = rag_err_set(err, RAG_ENOMEM, "%s: out of memory", path);
            break;
        }
        ssize_t n = read(fd, out->ptr + out->len, out->cap - out->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            rc = fail(err, errno, "read", path);
            break;
        }
        if (n == 0)
            break;
        out->len += (size_t)n;
        total += (uint64_t)n;
        if (total > max_bytes) {
            rc = rag_err_set(err, RAG_ETOOBIG, "%s: larger than %llu bytes", path,
                             (unsigned long long)max_bytes);
            break;
        }
    }
    close(fd);
    if (rc)
        out->len = before;
    return rc;
}

static int write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return errno;
        p += w;
        n -= (size_t)w;
    }
    return 0;
}

rag_code file_sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return rag_code_from_errno(errno);
    int e = fsync(fd) ? errno : 0;
    close(fd);
    return rag_code_from_errno(e);
}

rag_code file_write_atomic_parts(const char *dir, const char *name, const struct str *parts, size_t n,
                                 struct rag_err *err)
{
    char path[4096], temp[4096];
    int a = snprintf(path, sizeof path, "%s/%s", dir, name),
        b = snprintf(temp, sizeof temp, "%s/%s.tmp", dir, name);
    if (a < 0 || b < 0 || (size_t)b >= sizeof temp)
        return rag_err_set(err, RAG_ETOOBIG, "%s: path too long", name);
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(err, errno, "create", temp);
    int e = 0;
    for (size_t i = 0; i < n && !e; i++)
        e = write_all(fd, parts[i].ptr, parts[i].len);
    if (!e && fsync(fd))
        e = errno;
    if (close(fd) && !e)
        e = errno;
    if (!e && rename(temp, path))
        e = errno;
    if (e) {
        unlink(temp);
        return fail(err, e, "write", path);
    }
    rag_code rc = file_sync_dir(dir);
    return rc ? rag_err_set(err, rc, "%s: cannot sync the folder", dir) : RAG_OK;
}

rag_code file_write_atomic(const char *dir, const char *name, const void *bytes, size_t len, struct rag_err *err)
{
    return file_write_atomic_parts(dir, name, &(struct str){bytes, len}, 1, err);
}

rag_code file_map_open(struct file_map *m, const char *path)
{
    *m = (struct file_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return rag_code_from_errno(errno);
    struct stat st;
    rag_code rc = fstat(fd, &st) ? rag_code_from_errno(errno) : S_ISREG(st.st_mode) ? RAG_OK : RAG_EINVAL;
    if (!rc && st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
            rc = rag_code_from_errno(errno);
        else
            *m = (struct file_map){p, (size_t)st.st_size};
    }
    close(fd);
    return rc;
}

void file_map_clear(struct file_map *m)
{
    if (m->len)
        munmap((void *)(uintptr_t)m->ptr, m->len);
    *m = (struct file_map){0};
}

rag_code file_mkdirs(const char *path, mode_t mode)
{
    char part[4096];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part)
        return RAG_EINVAL;
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != 0)
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        if (mkdir(part, mode) == 0) {
            char *slash = strrchr(part, '/');
            if (slash == part)
                slash[1] = 0;
            else if (slash)
                *slash = 0;
            rag_code rc = file_sync_dir(slash ? part : ".");
            if (rc)
                return rc;
        } else if (errno != EEXIST) {
            return rag_code_from_errno(errno);
        }
    }
    struct stat st;
    return stat(path, &st) ? rag_code_from_errno(errno) : S_ISDIR(st.st_mode) ? RAG_OK : RAG_EINVAL;
}

rag_code file_remove(const char *path)
{
    return unlink(path) && errno != ENOENT ? rag_code_from_errno(errno) : RAG_OK;
}
