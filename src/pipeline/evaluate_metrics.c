#include <math.h>
#include <stdlib.h>

#include "pipeline/evaluate.h"

enum { RESAMPLES = 2000 };

const char *const eval_metric_names[EVAL_METRICS] = {"recall@1",  "recall@5", "recall@10",
                                                     "recall@30", "mrr@10",   "ndcg@10"};

static double recall(const uint32_t *grades, uint32_t n, uint32_t k, uint32_t n_ideal)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < n && i < k; i++)
        found += grades[i] > 0;
    return (double)found / n_ideal;
}

static double dcg(const uint32_t *grades, uint32_t n, uint32_t k)
{
    double sum = 0;
    for (uint32_t i = 0; i < n && i < k; i++)
        sum += grades[i] / log2((double)i + 2);
    return sum;
}

/* The k largest grades, in order: all that the ideal ranking needs. */
static uint32_t top_grades(const uint32_t *ideal, uint32_t n, uint32_t *top, uint32_t k)
{
    uint32_t m = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = m < k ? m++ : k - 1;
        if (at == k - 1 && m == k && i >= k && ideal[i] <= top[at])
            continue;
        for (; at > 0 && top[at - 1] < ideal[i]; at--)
            top[at] = top[at - 1];
        top[at] = ideal[i];
    }
    return m;
}

void eval_measure(const uint32_t *grades, uint32_t n, const uint32_t *ideal, uint32_t n_ideal,
                  double out[EVAL_METRICS])
{
    out[EVAL_R1] = recall(grades, n, 1, n_ideal);
    out[EVAL_R5] = recall(grades, n, 5, n_ideal);
    out[EVAL_R10] = recall(grades, n, 10, n_ideal);
    out[EVAL_R30] = recall(grades, n, 30, n_ideal);
    out[EVAL_MRR10] = 0;
    for (uint32_t i = 0; i < n && i < 10; i++)
        if (grades[i]) {
            out[EVAL_MRR10] = 1.0 / (i + 1);
            break;
        }
    uint32_t top[10], m = top_grades(ideal, n_ideal, top, 10);
    out[EVAL_NDCG10] = dcg(grades, n, 10) / dcg(top, m, 10);
}

/* SplitMix64 (Steele, Lea & Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15U;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9U;
    z = (z ^ z >> 27) * 0x94D049BB133111EBU;
    return z ^ z >> 31;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void eval_interval(const double *values, uint32_t n, double *mean, double *lo, double *hi)
{
    *mean = *lo = *hi = 0;
    if (n == 0)
        return;
    double sum = 0, means[RESAMPLES];
    for (uint32_t i = 0; i < n; i++)
        sum += values[i];
    *mean = sum / n;
    uint64_t state = 20240601;
    for (uint32_t r = 0; r < RESAMPLES; r++) {
        sum = 0;
        for (uint32_t i = 0; i < n; i++)
            sum += values[(next_random(&state) >> 32) * n >> 32];
        means[r] = sum / n;
    }
    qsort(means, RESAMPLES, sizeof *means, by_value);
    *lo = means[RESAMPLES * 25 / 1000];
    *hi = means[RESAMPLES * 975 / 1000 - 1];
}
