#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

extern char **environ;

static int print(struct buf *b)
{
    bool ok = !buf_failed(b) && fwrite(b->ptr, 1, b->len, stdout) == b->len;
    buf_clear(b);
    return ok ? EXIT_OK : cli_fail(EXIT_FAIL, "config: cannot write the output");
}

static int check(const char *file, const struct cli_common *common)
{
    struct config cfg;
    struct cli_common c = *common;
    c.config = file;
    int status = cli_load_config("config", &c, &cfg);
    if (status >= 0)
        return EXIT_FAIL;
    struct config_report report; /* keys may be set elsewhere than here: worth a word, no error */
    config_report_init(&report);
    if (config_resolve_keys(&cfg, (const char *const *)environ, &report))
        fprintf(stderr, "%.*s", (int)report.lines.len, report.lines.ptr);
    if (cfg.n_notes)
        fprintf(stderr, "%.*s", (int)cfg.notes.len, cfg.notes.ptr);
    printf("%s: fine\n", file);
    config_report_clear(&report);
    config_clear(&cfg);
    return EXIT_OK;
}

int cmd_config(int argc, char **argv)
{
    struct cli_common common = {0};
    bool print_default = false, show = false, json = false;
    const char *check_file = NULL;
    const struct cli_option options[] = {CLI_COMMON_OPTIONS(&common),
                                         {"--listen", &common.listen, NULL},
                                         {"--profile", &common.profile, NULL},
                                         {"--print-default", NULL, &print_default},
                                         {"--check", &check_file, NULL},
                                         {"--show", NULL, &show},
                                         {"--json", NULL, &json},
                                         {0}};
    int n, status = cli_parse("config", argc, argv, options, &n);
    if (status >= 0)
        return status;
    if (n || print_default + show + (check_file != NULL) > 1)
        return cli_fail(EXIT_USAGE,
                        "config: one of --print-default, --check FILE, --show: see ragd help config");
    struct buf b;
    buf_init(&b, MEM_MISC);
    if (print_default) {
        config_print_default(&b);
        return print(&b);
    }
    if (check_file)
        return check(check_file, &common);
    struct config cfg; /* --show, and the plain `ragd config` */
    status = cli_load_config("config", &common, &cfg);
    if (status >= 0)
        return status;
    if (json) {
        config_json(&cfg, &b);
        buf_addc(&b, '\n');
    } else {
        config_print_effective(&cfg, &b);
    }
    config_clear(&cfg);
    return print(&b);
}
