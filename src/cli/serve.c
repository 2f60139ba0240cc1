#include "daemon/serve.h"

#include "cli/cli.h"

extern char **environ;

int cmd_serve(int argc, char **argv)
{
    struct cli_common common = {0};
    const struct cli_option options[] = {CLI_COMMON_OPTIONS(&common),
                                         {"--listen", &common.listen, NULL},
                                         {"--profile", &common.profile, NULL},
                                         {0}};
    int n, status = cli_parse("serve", argc, argv, options, &n);
    if (status >= 0)
        return status;
    if (n)
        return cli_fail(EXIT_USAGE, "serve: unexpected argument %s: see ragd help serve", argv[0]);
    struct config cfg;
    status = cli_load_config("serve", &common, &cfg);
    if (status >= 0)
        return status;
    struct serve_options opt = {
        .source = {.file = common.config,
                   .environment = (const char *const *)environ,
                   .listen = common.listen,
                   .data = common.data,
                   .profile = common.profile},
        .self_exe = cli_self_exe(),
        .version = RAGD_VERSION,
    };
    struct rag_err err = {0};
    rag_code rc = serve_run(&cfg, &opt, &err);
    config_clear(&cfg);
    if (rc)
        return cli_fail(EXIT_FAIL, "serve: %s", err.msg[0] ? err.msg : rag_code_name(rc));
    return EXIT_OK;
}
