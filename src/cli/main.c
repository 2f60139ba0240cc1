/* ragd: the subcommands. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "extract/extract.h"

static int cmd_extract_child(int argc, char **argv)
{
    return extract_child_main(argc, argv);
}

static const char common_help[] = "  --config FILE   configuration (see ragd config --print-default)\n"
                                  "  --data DIR      data folder (default ./data)\n";

const struct cli_command cli_commands[] = {
    {"serve", "[--config FILE] [--data DIR] [--listen HOST:PORT] [--profile NAME]", "run the server",
     "  --listen HOST:PORT  address (default 127.0.0.1:8001)\n"
     "  --profile NAME      balanced, latency, throughput or cost\n"
     "SIGTERM and SIGINT finish what is in flight and end; SIGHUP re-reads log.level.\n",
     cmd_serve, false},
    {"ingest", "[--collection C] [--labelled NAME] [--json] [--no-embed] PATH...", "add files, folders, or JSON lines from - (stdin)",
     "  --collection C  where to (default: default; created when missing)\n"
     "  --json          end with one JSON object on one line\n"
     "  --labelled NAME the one PATH holds labelled questions, as JSON lines or as the .json of GET /v1/labelled/NAME:\n"
     "                  they become the set NAME of the console's Evaluate page\n"
     "  --no-embed      leave the vectors to the next server or ingest: search goes by words until then\n"
     "Takes txt, md, html, csv, json, jsonl, xlsx, docx and pdf. Folders are read recursively; hidden files and types we do not\n"
     "take are skipped. A file is one document whose id is its real path with ':' for '/'. A line of JSON is\n"
     "{\"id\", \"title\", \"text\", \"source\", \"metadata\"}; only text is needed. What did not change is not written\n"
     "again. Exit status 1 when any file failed.\n",
     cmd_ingest, false},
    {"query", "[--collection C] [--explain] [--json] TEXT", "ask one question",
     "  --collection C  default: default\n"
     "  --explain       what each stage saw, decided and took\n"
     "  --json          the answer as POST /v1/query gives it\n",
     cmd_query, false},
    {"eval", "--dataset DIR [options]", "measure retrieval on a judged data set in BEIR form",
     "  --dataset DIR   folder with corpus.jsonl, queries.jsonl and qrels.tsv (each also as .gz)\n"
     "  --corpus NAME, --queries NAME, --qrels NAME   other files in it\n"
     "  --legs LEGS     bm25, dense, hybrid or full (default: the pipeline as configured, without a language model)\n"
     "  --vectors DIR   keeps passage vectors by model and text: a second run embeds nothing\n"
     "  --chunk         cut corpus lines into chunks as ingest does (default: a line is one chunk)\n"
     "  --chunk-style headings|windows   with --chunk: as ingest does, or windows of a fixed size, to compare\n"
     "  --ablation      one row for each pipeline configuration\n"
     "  --run FILE      write a TREC run file, 100 a query\n"
     "  --rerank-rows FILE   write what the reranker sees of its candidates, a line each\n"
     "  --hits FILE     write the first 64 chunks of each query, a JSON line a query\n"
     "  --json          the numbers as one JSON object\n",
     cmd_eval, false},
    {"config", "[--print-default | --check FILE | --show] [--json]", "print or check the configuration",
     "  --print-default  commented template\n"
     "  --check FILE     every error with its line and column; exit status 1 when there is one\n"
     "  --show           the values in effect and where each comes from; with --json as GET /v1/config\n",
     cmd_config, false},
    {"bench", "cost [--questions FILE] [--collection C] [--upstream URL | --output-tokens simulated|N] [--json]",
     "what questions cost, by profile",
     "  cost                  CNY per 1,000 questions by profile, beside every question to a large model with 5 chunks\n"
     "  --questions FILE      JSON lines with \"text\", or a question a line (default sample/questions.jsonl)\n"
     "  --collection C        default: default\n"
     "  --upstream URL        ask models small, medium and large there (no key is sent)\n"
     "  --output-tokens N     assume answers of N tokens; simulated: as long as the extract (default without a model)\n"
     "  --json                one JSON object\n"
     "A configured model is really asked, 5 calls a question, and paid for, unless --output-tokens is given.\n",
     cmd_bench, false},
    {"report", "[--since T] [--until T] [--json]", "what was asked and spent: costs, tokens, questions without an answer",
     "  --since T  a day (2026-11-24), or 7d or 24h before now; default: 7 days before --until\n"
     "  --until T  the last day that counts, or so long before now; default: now\n"
     "  --json     one JSON object\n"
     "Reads ledger.db and history.db of the data folder, also while a server runs. Days are those of budget.timezone.\n",
     cmd_report, false},
    {"verify", "[--json]", "check the integrity of the stored data",
     "Checks the database, the segment manifest and every segment file. A damaged segment file loses nothing: the server rebuilds it.\n",
     cmd_verify, false},
    {"doctor", "[--json]", "check everything that answering depends on, and say what to do",
     "  --listen HOST:PORT, --profile NAME   as ragd serve would get them\n"
     "  --json                               one JSON object\n"
     "Looks at the configuration, keys, the data folder, databases, segment files, the model, the address, descriptors,\n"
     "clock, budget, and each upstream of language models (GET /models: free of charge). Changes nothing, and may run beside\n"
     "a server. Exit status 1 when there is a problem; warnings alone are 0.\n",
     cmd_doctor, false},
    {"model", "import|list|info|verify|bench|embed|tokens ...", "packed models for search by meaning",
     "  import DIR [--name N] [--weights int8|f32] [--out FILE]\n"
     "                         pack a model folder in the Hugging Face layout (default: into the models' folder)\n"
     "  list                   packed models, and known ones with their licence and where they are\n"
     "  info NAME|FILE         what a packed model is\n"
     "  verify NAME|FILE       check every byte, and that a vector comes out right\n"
     "  bench NAME|FILE        questions and passages a second on this machine\n"
     "  embed NAME|FILE [--as query|passage|plain]\n"
     "                         a line of stdin in, its vector as a JSON list out\n"
     "  tokens NAME|FILE       a line of stdin in, its token ids as a JSON list out, without the ids around\n"
     "  --json                 one JSON object (import, list, info, verify, bench)\n"
     "The models' folder is $RAGD_MODELS, else $XDG_CACHE_HOME/ragd/models, else ~/.cache/ragd/models. A folder works\n"
     "as NAME too, with a / in it: it is packed first, once.\n",
     cmd_model, false},
    {"version", "", "print the version (also --version)", NULL, cmd_version, false},
    {"help", "[COMMAND]", "explain a command", NULL, cmd_help, false},
    {"extract-child", "FORMAT NAME", "internal: read one file, with limits", NULL, cmd_extract_child, true},
    {NULL, NULL, NULL, NULL, NULL, false},
};

const struct cli_command *cli_find(const char *name)
{
    for (const struct cli_command *c = cli_commands; c->name; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

void cli_print_help(const struct cli_command *c)
{
    printf("usage: ragd %s%s%s\n%s\n", c->name, c->arguments[0] ? " " : "", c->arguments, c->summary);
    if (c->help)
        printf("\n%s", c->help);
    if (c->help && strcmp(c->name, "config") != 0 && strcmp(c->name, "model") != 0)
        fputs(common_help, stdout);
}

static void print_commands(FILE *f)
{
    fputs("usage: ragd COMMAND [options]\n\n", f);
    for (const struct cli_command *c = cli_commands; c->name; c++)
        if (!c->hidden)
            fprintf(f, "  %-8s %s\n", c->name, c->summary);
    fputs("\nragd help COMMAND explains one. Start with: ragd ingest DIR && ragd serve\n", f);
}

/* Commands that share the start or most letters with what was typed. */
static const char *nearest(const char *typed)
{
    const char *best = NULL;
    size_t best_score = 0;
    for (const struct cli_command *c = cli_commands; c->name; c++) {
        size_t same = 0, common = 0, n = strlen(typed), m = strlen(c->name);
        while (same < n && same < m && typed[same] == c->name[same])
            same++;
        for (const char *p = typed; *p; p++)
            common += strchr(c->name, *p) != NULL;
        size_t far = n > m ? n - m : m - n, score = 2 * same + common;
        if (!c->hidden && far <= 2 && common * 3 >= n * 2 && score > best_score) {
            best_score = score;
            best = c->name;
        }
    }
    return best;
}

static int unknown(const char *name)
{
    const char *near = nearest(name);
    if (near)
        return cli_fail(EXIT_USAGE, "%s: no such command: did you mean '%s'? See ragd help", name, near);
    return cli_fail(EXIT_USAGE, "%s: no such command: see ragd help", name);
}

int cmd_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("ragd %s\n", RAGD_VERSION);
    return EXIT_OK;
}

int cmd_help(int argc, char **argv)
{
    if (argc < 2) {
        print_commands(stdout);
        return EXIT_OK;
    }
    const struct cli_command *c = cli_find(argv[1]);
    if (!c)
        return unknown(argv[1]);
    cli_print_help(c);
    return EXIT_OK;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_commands(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        name = "version";
    else if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    const struct cli_command *c = cli_find(name);
    if (!c)
        return unknown(argv[1]);
    int status = c->run(argc - 1, argv + 1);
    if (fflush(stdout) != 0 && status == EXIT_OK)
        status = cli_fail(EXIT_FAIL, "%s: cannot write the output", name);
    return status;
}
