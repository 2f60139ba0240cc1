/* cli/cli.h - what the subcommands share: arguments, errors, the opened data folder or the server that holds it. */
#ifndef RAGD_CLI_CLI_H
#define RAGD_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"
#include "daemon/config.h"
#include "daemon/open.h"
#include "net/http_client.h"
#include "store/lock.h"

enum { EXIT_OK = 0, EXIT_FAIL = 1, EXIT_USAGE = 2 };

#ifndef RAGD_VERSION
#define RAGD_VERSION "0.1.0"
#endif

struct cli_command {
    const char *name, *arguments, *summary;
    const char *help;                  /* options, examples */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns the exit status */
    bool hidden;
};
extern const struct cli_command cli_commands[]; /* ends with name NULL */
const struct cli_command *cli_find(const char *name);
void cli_print_help(const struct cli_command *c);

int cmd_serve(int argc, char **argv);
int cmd_ingest(int argc, char **argv);
int cmd_query(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_config(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_model(int argc, char **argv);
int cmd_version(int argc, char **argv);
int cmd_help(int argc, char **argv);

/* "ragd: " and the message on stderr; returns the status, so `return cli_fail(...)` works. */
int cli_fail(int status, const char *fmt, ...) RAG_PRINTF(2, 3);

/* ---- arguments ----------------------------------------------------------------------------------------- */
struct cli_option {
    const char *name;   /* "--collection"; NULL ends the list */
    const char **value; /* takes an argument; last one wins */
    bool *flag;         /* or is a switch */
};
/* Takes options out of argv (--name value, --name=value; after `--` everything is positional) and leaves the
 * positional arguments in argv[0 .. *n_positional). Returns -1 to go on, else the exit status (--help was
 * printed, or a usage error). */
int cli_parse(const char *command, int argc, char **argv, const struct cli_option *options,
              int *n_positional);

struct cli_common { /* options of every command that touches a data folder */
    const char *config, *data, *listen, *profile;
};
#define CLI_COMMON_OPTIONS(c)                                                                                \
    {"--config", &(c)->config, NULL},                                                                        \
    {                                                                                                        \
        "--data", &(c)->data, NULL                                                                           \
    }

/* Loads the configuration, printing every error. Returns -1 to go on, else the exit status. */
int cli_load_config(const char *command, const struct cli_common *common, struct config *out);

/* Reads the secrets that the configuration names; reports what is missing. */
rag_code cli_resolve_keys(const char *command, struct config *cfg);

/* Folder or server. */
struct cli_house {
    struct config cfg;
    struct data_lock lock;
    struct data_lock_holder holder;
    bool remote;               /* a server holds the folder: talk to it */
    struct analyzer *analyzer; /* else these are open */
    struct open_models models;
    struct knowledge *knowledge;
};
/* Returns -1 to go on, else the exit status (reported). must_exist: a missing folder is an error. */
int cli_house_open(const char *command, const struct cli_common *common, bool must_exist,
                   struct cli_house *out);
void cli_house_close(struct cli_house *h);

/* The message of an error answer ({"error":{"message":..}}), else "HTTP STATUS". */
void cli_reply_message(const struct http_reply *r, char *out, size_t size);

const char *cli_self_exe(void); /* path of this program; main thread only */

/* ---- progress ------------------------------------------------------------------------------------------ */
/* A bar on stderr when it is a terminal and the work takes over a second; else nothing. One thread. */
struct cli_progress {
    const char *what;
    int64_t start_ns, last_ns;
    bool shown, tty;
};
void cli_progress_start(struct cli_progress *p, const char *what);
void cli_progress_step(struct cli_progress *p, uint64_t done, uint64_t total /* 0: unknown */);
void cli_progress_end(struct cli_progress *p);

/* ---- ids ----------------------------------------------------------------------------------------------- */
/* Appends the document id of a file: its real path with ':' for each '/', the first one dropped. ':' and '=' of
 * the path, control characters and bytes that are not UTF-8 become =xx (hex), so two files never share an id.
 * A path whose id would pass 512 bytes is "=#" + 16 hex digits of its hash + ':' + its tail. */
void cli_document_id(struct buf *out, const char *real_path);

#endif
