/* cli/verify.h - checks of a data folder's segment files as they lie, with or without a server at work on them. */
#ifndef RAGD_CLI_VERIFY_H
#define RAGD_CLI_VERIFY_H

#include <stdint.h>

#include "text/analyzer.h"

/* Something is wrong with the file `what`. */
typedef void verify_found(void *ctx, const char *what, const char *why);

/* That the manifest can be read and the files that it names are there. */
void verify_manifest(const char *data, verify_found *report, void *ctx);
/* Maps every segment file with all its checks, checksums among them. Returns how many are fine. */
uint32_t verify_segments(const char *data, const struct analyzer *an, verify_found *report, void *ctx);

#endif
