/* pipeline/evaluate.h - retrieval measured on a judged data set in BEIR form, in memory. One thread at a time. */
#ifndef RAGD_PIPELINE_EVALUATE_H
#define RAGD_PIPELINE_EVALUATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/status.h"
#include "flow/profile.h"
#include "flow/qvec.h"
#include "index/list.h"
#include "model/encoder_pool.h"
#include "pipeline/passage_tokens.h"
#include "stages/reranking/reranking.h"
#include "text/analyzer.h"
#include "text/chunker.h"

/* ---- data (evaluate_data.c) ----------------------------------------------------------------------------- */
struct eval_doc {
    struct str id, title, text;
};
struct eval_judgment {
    uint32_t doc;   /* EVAL_ABSENT: judged, but not in the corpus; it still counts as relevant */
    uint32_t grade; /* > 0 */
};
#define EVAL_ABSENT UINT32_MAX
struct eval_query {
    struct str id, text;
    struct eval_judgment *judged; /* relevant ones only */
    uint32_t n_judged;
};
struct eval_data {
    struct arena arena;
    struct strset doc_ids; /* number = index into docs */
    struct buf docs;       /* struct eval_doc[] */
    struct buf queries;    /* struct eval_query[]: those with something relevant, in file order */
    uint32_t n_unjudged;   /* queries left out */
};
struct eval_files {
    const char *dir, *corpus, *queries, *qrels; /* names; NULL: corpus.jsonl, queries.jsonl, qrels.tsv */
};
/* Reads the three files; NAME or NAME.gz, and qrels/test.tsv where qrels.tsv is missing. RAG_ENOTFOUND; RAG_EFORMAT
 * with file and line; RAG_ENOMEM. `out` must be cleared in every case. */
RAG_MUST_CHECK rag_code eval_data_load(const struct eval_files *f, struct eval_data *out,
                                       struct rag_err *err);
void eval_data_clear(struct eval_data *d);
/* A text file, plain or compressed (gzip, xz, zstd by content), at most 4 GiB unpacked, appended to out. */
RAG_MUST_CHECK rag_code eval_read_file(const char *path, struct buf *out, struct rag_err *err);

/* ---- numbers (evaluate_metrics.c) ----------------------------------------------------------------------- */
enum eval_metric { EVAL_R1, EVAL_R5, EVAL_R10, EVAL_R30, EVAL_MRR10, EVAL_NDCG10, EVAL_METRICS };
extern const char *const eval_metric_names[EVAL_METRICS]; /* "recall@1", ... */

/* One ranking: grades[i] of the document at rank i + 1 (0: not relevant), all relevant grades in `ideal`.
 *   recall@k  relevant in the first k / relevant
 *   mrr@10    1 / rank of the first relevant one within 10, else 0
 *   ndcg@10   sum of grade / log2(rank + 1), over the same of the ideal order (linear gain, as trec_eval)
 * n_ideal > 0. Source: trec_eval 9; Jarvelin & Kekalainen 2002. */
void eval_measure(const uint32_t *grades, uint32_t n, const uint32_t *ideal, uint32_t n_ideal,
                  double out[EVAL_METRICS]);

/* 95 % interval of the mean: percentiles of 2,000 bootstrap means, resampled by a generator with a fixed seed, so
 * the same values give the same interval. n 0: zeros. Source: Efron 1979. */
void eval_interval(const double *values, uint32_t n, double *mean, double *lo, double *hi);

/* ---- runs (evaluate.c) ---------------------------------------------------------------------------------- */
typedef void eval_progress(void *ctx, uint64_t done, uint64_t total);

struct eval_cut {
    struct chunker_options size; /* overlap < size */
    bool windows;                /* by eval_windows; else by chunker_run, as `ingest` cuts */
};
/* The corpus as one searchable list. cut NULL: each document whole as one chunk; else a document whose id ends like the
 * name of a Markdown or HTML file is read as one, others as plain text. Freed by list_free. */
RAG_MUST_CHECK rag_code eval_index(const struct eval_data *d, const struct analyzer *an, const struct eval_cut *cut,
                                   eval_progress *progress, void *ctx, struct segment_list **out, struct rag_err *err);

/* What chunker_run is measured against: runs of size tokens that begin size - overlap tokens apart, whatever stands at
 * their borders, without headings. RAG_ETOOBIG, RAG_ENOMEM. */
RAG_MUST_CHECK rag_code eval_windows(const struct text_doc *doc, const struct chunker_options *opt, struct text_chunks *out);

/* Vectors for every chunk of the list, on all cores; *list is replaced. dir (NULL: none) keeps them by model and text, so
 * that a second run embeds nothing; *embedded counts what was not there. RAG_ECONFLICT: dir has another model's. */
RAG_MUST_CHECK rag_code eval_embed(struct segment_list **list, struct encoder_pool *encoders,
                                   const struct vector_space *space, struct token_tools tokens, const char *dir,
                                   eval_progress *progress,
                                   void *ctx, uint64_t *embedded, struct rag_err *err);

/* The questions' vectors and tokens (weights NULL: none), one at a time as online, in `a`, and the milliseconds of each. */
struct eval_questions {
    const struct qvec *vectors; /* NULL: no dense leg */
    const double *ms;
    const struct token_coder *coder; /* NULL: no late interaction */
};
RAG_MUST_CHECK rag_code eval_embed_questions(const struct eval_data *d, struct encoder_pool *encoders,
                                             struct token_tools tokens, struct arena *a, struct eval_questions *out);

struct eval_setting {
    struct profile profile;
    bool lexical, dense; /* the legs that run */
    uint32_t depth;     /* documents retrieved; each by its best chunk */
    bool equal_weights; /* every term of a question weighs the same */
};
struct eval_ranked {
    uint32_t doc;
    float score;
};
/* What one query found; called after it. */
struct eval_seen {
    const struct eval_ranked *ranked;
    uint32_t n;
    const struct hits *hits;
    const struct rerank_report *rerank; /* rows of the first hits */
};
typedef void eval_each(void *ctx, uint32_t query, const struct eval_seen *seen);

enum { EVAL_ANALYSIS, EVAL_EMBEDDING, EVAL_RETRIEVAL, EVAL_FUSION, EVAL_RERANKING, EVAL_STAGES };
struct eval_result {
    uint32_t n;
    double *per_query[EVAL_METRICS]; /* n values each */
    double *ms[EVAL_STAGES];         /* n values each */
    struct arena arena;
};
/* v: for settings with a dense leg. */
RAG_MUST_CHECK rag_code eval_run(const struct eval_data *d, const struct segment_list *list,
                                 const struct analyzer *an, const struct eval_questions *v, const struct eval_setting *s, eval_each *each,
                                 void *ctx, struct eval_result *out, struct rag_err *err);
void eval_result_clear(struct eval_result *r);

#endif
