/* flock, not lock files: the kernel drops it with the process, however that ends. */
#include "store/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/file.h"
#include "sys/random.h"

static rag_code write_lock(struct data_lock *l, const char *address, struct rag_err *err)
{
    char text[512];
    int n = snprintf(text, sizeof text, "%ld\n%s\n%s\n", (long)getpid(), l->token, address);
    errno = 0;
    if (n >= (int)sizeof text)
        return rag_err_set(err, RAG_ETOOBIG, "LOCK: address too long");
    if (ftruncate(l->fd, 0) || pwrite(l->fd, text, (size_t)n, 0) != n) {
        int e = errno ? errno : ENOSPC; /* part of it written: no room for the rest */
        return rag_err_set(err, rag_code_from_errno(e), "LOCK: cannot write: %s", strerror(e));
    }
    return RAG_OK;
}

static void read_holder(int fd, struct data_lock_holder *h)
{
    char text[512] = {0};
    *h = (struct data_lock_holder){0};
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    if (n > 0 && sscanf(text, "%ld\n%64[0-9a-f]\n%255[^\n]", &h->pid, h->token, h->address) < 2)
        *h = (struct data_lock_holder){0};
}

rag_code data_lock_take(const char *dir, struct data_lock *out, struct data_lock_holder *holder,
                        struct rag_err *err)
{
    char path[4096];
    *out = (struct data_lock){.fd = -1};
    rag_code rc = file_mkdirs(dir, 0700);
    if (rc)
        return rag_err_set(err, rc, "data folder %s: cannot create: %s", dir, strerror(errno));
    if (snprintf(path, sizeof path, "%s/LOCK", dir) >= (int)sizeof path)
        return rag_err_set(err, RAG_ETOOBIG, "data folder: path too long");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return rag_err_set(err, rag_code_from_errno(errno), "data folder %s: cannot write: %s", dir,
                           strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        int e = errno;
        if (holder)
            read_holder(fd, holder);
        close(fd);
        if (e == EWOULDBLOCK)
            return rag_err_set(err, RAG_ECONFLICT, "data folder %s: in use by another ragd", dir);
        return rag_err_set(err, rag_code_from_errno(e), "data folder %s: cannot lock: %s", dir, strerror(e));
    }
    out->fd = fd;
    random_hex(out->token, 32);
    if (fchmod(fd, 0600)) /* before the token is in it: the file may come from a copy with other rights */
        rc = rag_err_set(err, rag_code_from_errno(errno), "data folder %s: LOCK: %s", dir, strerror(errno));
    else
        rc = write_lock(out, "", err);
    if (rc)
        data_lock_release(out);
    return rc;
}

rag_code data_lock_look(const char *dir, struct data_lock_holder *holder)
{
    char path[4096];
    *holder = (struct data_lock_holder){0};
    if (snprintf(path, sizeof path, "%s/LOCK", dir) >= (int)sizeof path)
        return RAG_ETOOBIG;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? RAG_OK : rag_code_from_errno(errno);
    rag_code rc = RAG_OK;
    if (flock(fd, LOCK_SH | LOCK_NB)) {
        rc = errno == EWOULDBLOCK ? RAG_ECONFLICT : rag_code_from_errno(errno);
        read_holder(fd, holder);
    }
    close(fd);
    return rc;
}

rag_code data_lock_announce(struct data_lock *l, const char *address, struct rag_err *err)
{
    return write_lock(l, address, err);
}

void data_lock_release(struct data_lock *l)
{
    if (l->fd < 0)
        return;
    if (ftruncate(l->fd, 0)) { /* a stale address misleads nobody who checks the flock */
    }
    close(l->fd);
    l->fd = -1;
}
