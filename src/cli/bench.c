/* ragd bench: measurements of the product at work. */
#include <string.h>

#include "cli/bench_int.h"
#include "cli/cli.h"

int cmd_bench(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } modes[] = {{"cost", bench_cost}};
    if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        cli_print_help(cli_find("bench"));
        return EXIT_OK;
    }
    for (size_t i = 0; argc >= 2 && i < sizeof modes / sizeof *modes; i++)
        if (strcmp(argv[1], modes[i].name) == 0)
            return modes[i].run(argc - 1, argv + 1);
    if (argc >= 2)
        return cli_fail(EXIT_USAGE, "bench %s: no such mode: there is cost: see ragd help bench", argv[1]);
    return cli_fail(EXIT_USAGE, "bench: which? There is cost: see ragd help bench");
}
