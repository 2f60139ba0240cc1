/* cli/model_int.h - what the files of `ragd model` share. */
#ifndef RAGD_CLI_MODEL_INT_H
#define RAGD_CLI_MODEL_INT_H

#include "base/buf.h"
#include "model/model.h"

/* Models that are known to work, ends with name NULL. */
struct model_known {
    const char *name, *source, *licence, *languages;
    uint32_t dims, layers;
};
extern const struct model_known model_catalogue[];

/* Resolves and opens a name or file. Returns -1 to go on, else the exit status (reported). */
int model_cli_open(const char *what, const char *name, bool verify, struct model **out);
/* Prints the buffer and frees it; the exit status. */
int model_cli_print(struct buf *b);
void model_cli_hex(const uint8_t *bytes, size_t n, char *out /* 2 * n + 1 */);

int model_bench(const struct model *m, bool json);

#endif
