/* store/lock.h - one process owns a data folder: DATA/LOCK, mode 0600, flock'ed. */
#ifndef RAGD_STORE_LOCK_H
#define RAGD_STORE_LOCK_H

#include "base/status.h"

struct data_lock {
    int fd;         /* -1: not held */
    char token[65]; /* random hex of this start: a command that can read LOCK acts as admin */
};
struct data_lock_holder {
    char address[256]; /* "http://127.0.0.1:8001"; empty when the holder does not serve (a command at work) */
    char token[65];
    long pid;
};

/* Takes the lock and writes pid and a fresh token. RAG_ECONFLICT: held, *holder filled as far as readable.
 * Creates the folder (0700) when it is missing. RAG_EREADONLY, RAG_ENOSPC, RAG_EIO. */
RAG_MUST_CHECK rag_code data_lock_take(const char *dir, struct data_lock *out,
                                       struct data_lock_holder *holder, struct rag_err *err);
/* Who holds the folder, without taking it or writing anything. RAG_OK: nobody. RAG_ECONFLICT: held, *holder filled as far as
 * readable. RAG_EREADONLY: LOCK may not be read. RAG_EIO. A lock taken in the same instant may be refused once. */
RAG_MUST_CHECK rag_code data_lock_look(const char *dir, struct data_lock_holder *holder);
/* Records the address once the server listens. */
RAG_MUST_CHECK rag_code data_lock_announce(struct data_lock *l, const char *address, struct rag_err *err);
void data_lock_release(struct data_lock *l);

#endif
