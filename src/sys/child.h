/* sys/child.h - one child process with limits: bytes in, bytes out, dead at the end. */
#ifndef RAGD_SYS_CHILD_H
#define RAGD_SYS_CHILD_H

#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "base/str.h"

/* 0 means no limit, except files and file_bytes, which are taken as they are. */
struct child_limits {
    uint64_t memory_bytes; /* address space; not set in sanitizer builds, whose shadow alone is terabytes */
    uint64_t file_bytes;   /* largest file it may write (pipes are not files) */
    uint64_t output_bytes; /* more on stdout: killed */
    uint32_t files;        /* descriptors; the loader needs a few to start: use >= 8 */
    uint32_t cpu_s;
    uint32_t wall_ms;
};

enum child_end {
    CHILD_EXITED,   /* status is its exit status */
    CHILD_SIGNALED, /* status is the signal; SIGXCPU and SIGKILL after cpu_s */
    CHILD_TIMEOUT,  /* wall_ms passed, killed */
    CHILD_OUTPUT,   /* wrote more than output_bytes, killed */
};
struct child_result {
    enum child_end end;
    int status;
};

/* Runs argv[0] (a path, no search) with `envp` (NULL: empty), feeds `input` to its stdin and appends its stdout
 * to `out` at the same time; stderr is discarded. The child leads a process group of its own, which is killed
 * as a whole; it has no core file, no new privileges, no descriptor above 2, default signal dispositions, and
 * dies with the calling thread. It may stop reading its input early: no error, no SIGPIPE.
 * RAG_OK: it ran, `res` says how it ended. RAG_ENOTFOUND, RAG_EIO: it could not be started. RAG_ENOMEM.
 * Safe from any thread; blocks until the child is dead and reaped. SIGCHLD must not be ignored. */
RAG_MUST_CHECK
rag_code child_run(const char *const argv[], const char *const envp[], struct str input,
                   const struct child_limits *lim, struct buf *out, struct child_result *res);

#endif
