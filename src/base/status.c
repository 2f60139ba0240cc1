#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[RAG_CODE_COUNT] = {
    [RAG_OK] = "ok",
    [RAG_EINVAL] = "invalid",
    [RAG_ENOTFOUND] = "not_found",
    [RAG_ECONFLICT] = "conflict",
    [RAG_ETOOBIG] = "too_large",
    [RAG_EUNSUPPORTED] = "unsupported",
    [RAG_EFORMAT] = "bad_content",
    [RAG_EUNAUTH] = "unauthorized",
    [RAG_EFORBIDDEN] = "forbidden",
    [RAG_ERATE] = "rate_limited",
    [RAG_EBUSY] = "busy",
    [RAG_ETIMEOUT] = "timeout",
    [RAG_ECANCELED] = "canceled",
    [RAG_ENOMEM] = "out_of_memory",
    [RAG_EIO] = "io_error",
    [RAG_ENOSPC] = "disk_full",
    [RAG_EVERSION] = "newer_version",
    [RAG_ECORRUPT] = "corrupt",
    [RAG_EREADONLY] = "read_only",
};

const char *rag_code_name(rag_code rc)
{
    return (unsigned)rc < RAG_CODE_COUNT ? names[rc] : "unknown";
}

RAG_PRINTF(4, 0)
static void err_vset(struct rag_err *err, rag_code rc, const char *param, const char *fmt, va_list ap)
{
    err->code = rc;
    snprintf(err->param, sizeof err->param, "%s", param);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
}

rag_code rag_err_set(struct rag_err *err, rag_code rc, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        err_vset(err, rc, "", fmt, ap);
        va_end(ap);
    }
    return rc;
}

rag_code rag_err_param(struct rag_err *err, rag_code rc, const char *param, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        err_vset(err, rc, param, fmt, ap);
        va_end(ap);
    }
    return rc;
}

rag_code rag_code_from_errno(int e)
{
    switch (e) {
    case 0: return RAG_OK;
    case ENOENT:
    case ENOTDIR: return RAG_ENOTFOUND;
    case ENOMEM: return RAG_ENOMEM;
    case ENOSPC:
    case EDQUOT: return RAG_ENOSPC;
    case EROFS:
    case EACCES:
    case EPERM: return RAG_EREADONLY;
    case EFBIG:
    case ENAMETOOLONG: return RAG_ETOOBIG;
    case ETIMEDOUT: return RAG_ETIMEOUT;
    case EINVAL: return RAG_EINVAL;
    default: return RAG_EIO;
    }
}

_Noreturn void rag_assert_failed(const char *expr, const char *file, int line)
{
    fprintf(stderr, "ragd: broken invariant at %s:%d: %s\n", file, line, expr);
    abort();
}
