/* daemon/serve.h - the server's life: start order, signals, stop order. */
#ifndef RAGD_DAEMON_SERVE_H
#define RAGD_DAEMON_SERVE_H

#include "daemon/config.h"

struct serve_options {
    struct config_source source; /* read again on SIGHUP */
    const char *self_exe, *version;
};
/* Runs until SIGTERM or SIGINT, then finishes what is in flight. `cfg` is loaded and outlives the call; its keys
 * are resolved here. RAG_OK: ended as asked. Else err says what failed. Main thread only: blocks the signals for
 * the whole process. */
RAG_MUST_CHECK rag_code serve_run(struct config *cfg, const struct serve_options *opt, struct rag_err *err);

#endif
