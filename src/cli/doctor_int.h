/* cli/doctor_int.h - what the files of `ragd doctor` share: a list of findings, and the checks that add to it. */
#ifndef RAGD_CLI_DOCTOR_INT_H
#define RAGD_CLI_DOCTOR_INT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "daemon/config.h"
#include "store/lock.h"

enum doctor_status { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_PROBLEM, DOCTOR_STATUSES };

struct doctor {
    struct config cfg;
    bool json;
    struct buf out; /* with json: the items of the list; else everything is printed at once */
    unsigned n[DOCTOR_STATUSES];
    bool have_data, readable_data;  /* the folder is there; its files may be read */
    struct data_lock_holder holder; /* pid 0: nobody */
};

/* One finding of the check `check`. advice: what to do; NULL: nothing, or the message says it. Main thread. */
void doctor_say(struct doctor *d, enum doctor_status status, const char *check, const char *advice, const char *fmt, ...)
    RAG_PRINTF(5, 6);

/* Each says at least one finding, and looks without changing anything. Main thread. */
void doctor_check_folder(struct doctor *d); /* fills have_data, readable_data, holder */
void doctor_check_databases(struct doctor *d);
void doctor_check_segments(struct doctor *d);
void doctor_check_vectors(struct doctor *d, const uint8_t *digest); /* of the configured model; NULL: none */
void doctor_check_budget(struct doctor *d);
void doctor_check_listen(struct doctor *d);
void doctor_check_server(struct doctor *d); /* the one that holds the folder, if any */
void doctor_check_upstreams(struct doctor *d);

#endif
