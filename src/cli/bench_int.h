/* cli/bench_int.h - the modes of `ragd bench`. */
#ifndef RAGD_CLI_BENCH_INT_H
#define RAGD_CLI_BENCH_INT_H

#include "base/buf.h"
#include "llm/catalogue.h"
#include "pipeline/cost.h"

int bench_cost(int argc, char **argv);

/* ---- what `bench cost` found ---------------------------------------------------------------------------- */
enum cost_answers { ANSWERS_EXTRACT, ANSWERS_FIXED, ANSWERS_CALLED };
enum cost_row { ROW_BASELINE, ROW_BALANCED, ROW_LATENCY, ROW_THROUGHPUT, ROW_COST, COST_ROWS };
extern const char *const cost_row_names[COST_ROWS]; /* of the profiles; the baseline's is "baseline" */

struct cost_report {
    const char *file; /* of the questions */
    uint32_t n;
    const struct cost_question *rows[COST_ROWS]; /* n each */
    const struct llm_catalogue *models;
    bool priced;   /* the prices are of the configuration, not those that costs are promised for */
    bool promised; /* the prices are those that costs are promised for */
    enum cost_answers answers;
    uint32_t answer_tokens; /* ANSWERS_FIXED */
};
extern const struct llm_price cost_promised_prices[CLASSES];
/* Appends the report. RAG_ENOMEM. */
RAG_MUST_CHECK rag_code bench_cost_print(const struct cost_report *r, bool json, struct buf *out);

#endif
