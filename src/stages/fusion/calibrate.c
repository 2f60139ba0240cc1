/* From raw retrieval numbers to probabilities: small logistic models over features that do not grow with the collection,
 * all weights positive, so that a chunk which holds more of the question, or is nearer to it, never scores less. `asked` is
 * the IDF mass of the question; a term that no chunk has counts half: a customer's word for what the documents call
 * otherwise is as unknown as a word from another world.
 *
 *   coverage  share of `asked` that the chunk holds
 *   ratio     BM25 over `asked`: what all terms at once in an average chunk would give
 *   standout  by how much the chunk's cosine stands out from the candidates behind the first ten, in spreads of unrelated
 *             chunks: where nothing answers, the best of the candidates is one among many. Models and collections differ
 *             in what unrelated texts have in common, so the cosine itself says little. Its weight is shrunk: the training
 *             collections change the subject with every paragraph, real ones do not
 *   mass      ln(1 + IDF mass that the chunk holds): a long question is answered at less coverage than a short one
 *
 * The share of terms that the collection knows was tried as a feature and left out: fitted, its weight is negative, which
 * helps on the training sets and makes no sense. */
#include <math.h>
#include <stdlib.h>

#include "stages/fusion/fusion.h"

struct model {
    float bias, coverage, ratio, standout, mass;
};
struct calibration {
    struct model answerable; /* the best hit: do the documents answer? */
    struct model relevant;   /* any hit: is the chunk relevant? */
    float floor;             /* of answerable: 5 % of the answerable training questions lie below */
};

/* tools/calibrate.py --data $DATASETS --limit 1500, without and with --model and --vectors: training questions of cmrc2018,
 * drcd, squad and scifact, whole and in collections of 60 paragraphs; tables in docs/quality.md. */
static const struct calibration words = {{-6.278F, 5.106F, 3.173F, 0, 0.627F}, {-3.042F, 0, 4.437F, 0, 0}, 0.217F};
static const struct calibration both = {
    {-5.590F, 4.646F, 2.596F, 1.080F, 0.497F}, {-2.634F, 0, 3.217F, 1.643F, 0}, 0.238F};

static const float UNKNOWN_SHARE = 0.5F; /* more lets more near misses through, less more far ones */
static const float MOST_RATIO = 1.5F, MOST_SPREADS = 4, LEAST_SPREADS = -2;
enum { IN_FRONT = 10, TAIL_END = 30, MOST_COSINES = 256 };

static int falling(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x > y ? -1 : x < y;
}

/* Mean of the candidates' cosines from the eleventh to the thirtieth; the background's when there are none. */
static float tail_cosine(const struct hits *h)
{
    float c[MOST_COSINES];
    uint32_t n = 0;
    for (uint32_t i = 0; i < h->n && n < MOST_COSINES; i++)
        if (h->items[i].has_cosine)
            c[n++] = h->items[i].cosine;
    qsort(c, n, sizeof *c, falling);
    if (n > TAIL_END)
        n = TAIL_END;
    double sum = 0;
    for (uint32_t i = IN_FRONT; i < n; i++)
        sum += (double)c[i];
    return n > IN_FRONT ? (float)(sum / (n - IN_FRONT)) : h->background_median;
}

static float standout(const struct hits *h, const struct hit *hit, float tail)
{
    if (!hit->has_cosine || !(h->background_spread > 0))
        return 0;
    return fmaxf(LEAST_SPREADS, fminf((hit->cosine - tail) / h->background_spread, MOST_SPREADS)) / MOST_SPREADS;
}

static float probability(const struct model *m, const struct hits *h, const struct hit *hit, float tail)
{
    float asked = h->known_mass + UNKNOWN_SHARE * (h->idf_mass - h->known_mass);
    float held = hit->coverage * h->idf_mass, coverage = asked > 0 ? held / asked : 0,
          ratio = asked > 0 ? fminf(hit->bm25 / asked, MOST_RATIO) : 0;
    if (!(asked > 0) && !h->dense)
        return 0;
    float z = m->bias + m->coverage * coverage + m->ratio * ratio + m->standout * standout(h, hit, tail) +
              m->mass * log1pf(held);
    return 1 / (1 + expf(-z));
}

float calibrate_hits(const struct query_analysis *qa, struct hits *h)
{
    (void)qa;
    const struct calibration *c = h->dense ? &both : &words;
    h->floor = c->floor;
    if (h->n == 0)
        return 0;
    h->tail_cosine = tail_cosine(h);
    for (uint32_t i = h->n; i-- > 0;) {
        struct hit *x = &h->items[i];
        x->score = probability(&c->relevant, h, x, h->tail_cosine);
        if (i + 1 < h->n && x->score < h->items[i + 1].score)
            x->score = h->items[i + 1].score; /* never against the order of the hits, which knows more */
    }
    return probability(&c->answerable, h, &h->items[0], h->tail_cosine);
}
