/* base/status.h - result codes and the one error message that a boundary shows. */
#ifndef RAGD_BASE_STATUS_H
#define RAGD_BASE_STATUS_H

#include <stddef.h>

#define RAG_MUST_CHECK   __attribute__((warn_unused_result))
#define RAG_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* 0 is fine. Each code has its own HTTP status (api/) and metric label (rag_code_name). */
typedef enum {
    RAG_OK = 0,
    RAG_EINVAL,       /* bad argument or bad input of a client            400, exit 2 for flags */
    RAG_ENOTFOUND,    /* no such collection, document, file               404 */
    RAG_ECONFLICT,    /* exists, locked by another process, wrong state   409 */
    RAG_ETOOBIG,      /* a size, count or depth above its limit           413 */
    RAG_EUNSUPPORTED, /* a type or format we do not take                  415 */
    RAG_EFORMAT,      /* damaged or wrong content of the right type       422 */
    RAG_EUNAUTH,      /* no or wrong key                                  401 */
    RAG_EFORBIDDEN,   /* key lacks the scope                              403 */
    RAG_ERATE,        /* rate limit of a key                              429 */
    RAG_EBUSY,        /* queue full, shutting down, over capacity         503 */
    RAG_ETIMEOUT,     /* deadline passed                                  504 */
    RAG_ECANCELED,    /* the caller went away */
    RAG_ENOMEM,       /* allocation failed                                503 */
    RAG_EIO,          /* disk or socket error                             500 */
    RAG_ENOSPC,       /* disk full                                        507 */
    RAG_EVERSION,     /* a file or database of a newer version            exit 1 */
    RAG_ECORRUPT,     /* checksum or invariant of stored data broken      500 */
    RAG_EREADONLY,    /* data folder or database cannot be written        500 */
    RAG_CODE_COUNT
} rag_code;

/* Short lower-case name ("not_found"), stable: used as metric label and error `code`. */
const char *rag_code_name(rag_code rc);

struct rag_err {
    rag_code code;
    char param[64]; /* the offending field or key, "" when none */
    char msg[448];  /* what failed: why */
};

/* Fills `err` (ignored when NULL) and returns rc, so `return rag_err_set(...)` works. */
rag_code rag_err_set(struct rag_err *err, rag_code rc, const char *fmt, ...) RAG_PRINTF(3, 4);
/* The same with the name of the offending field. */
rag_code rag_err_param(struct rag_err *err, rag_code rc, const char *param, const char *fmt, ...)
    RAG_PRINTF(4, 5);
/* errno of the last system call as a code (ENOSPC, ENOENT, EROFS, ... else RAG_EIO). */
rag_code rag_code_from_errno(int e);

/* Broken invariants stop the process in every build. */
#define RAG_ASSERT(x) ((x) ? (void)0 : rag_assert_failed(#x, __FILE__, __LINE__))
#ifdef NDEBUG
#define RAG_DEBUG_ASSERT(x) ((void)0)
#else
#define RAG_DEBUG_ASSERT(x) RAG_ASSERT(x)
#endif
_Noreturn void rag_assert_failed(const char *expr, const char *file, int line);

#endif
