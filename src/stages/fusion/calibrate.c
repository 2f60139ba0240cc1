/* From raw retrieval numbers to probabilities: two small logistic models over features that do not grow with the
 * collection, all weights positive, so that a chunk which holds more of the question never scores less. `asked` is the
 * IDF mass of the question; a term that no chunk has counts half: a customer's word for what the documents call
 * otherwise is as unknown as a word from another world.
 *
 *   coverage  share of `asked` that the chunk holds
 *   ratio     BM25 over `asked`: what all terms at once in an average chunk would give
 *   mass      ln(1 + IDF mass that the chunk holds): a long question is answered at less coverage than a short one
 *
 * The share of terms that the collection knows was tried as a feature and left out: fitted, its weight is negative, which
 * helps on the training sets and makes no sense. */
#include <math.h>

#include "stages/fusion/fusion.h"

struct model {
    float bias, coverage, ratio, mass;
};

/* tools/calibrate.py --data $DATASETS --limit 1500: training questions of cmrc2018, drcd, squad and scifact, whole and in
 * collections of 60 paragraphs; tables in docs/quality.md. */
static const struct model answerable = {-6.278F, 5.106F, 3.173F,
                                        0.627F};              /* the best hit: do the documents answer? */
static const struct model relevant = {-3.042F, 0, 4.437F, 0}; /* any hit: is the chunk relevant? */
static const float UNKNOWN_SHARE = 0.5F; /* more lets more near misses through, less more far ones */
static const float MOST_RATIO = 1.5F;

static float probability(const struct model *m, const struct hits *h, const struct hit *hit)
{
    float asked = h->known_mass + UNKNOWN_SHARE * (h->idf_mass - h->known_mass);
    if (!(asked > 0))
        return 0;
    float held = hit->coverage * h->idf_mass;
    float z = m->bias + m->coverage * held / asked + m->ratio * fminf(hit->bm25 / asked, MOST_RATIO) +
              m->mass * log1pf(held);
    return 1 / (1 + expf(-z));
}

float calibrate_hits(const struct query_analysis *qa, struct hits *h)
{
    (void)qa;
    if (h->n == 0)
        return 0;
    for (uint32_t i = 0; i < h->n; i++) {
        struct hit *x = &h->items[i];
        x->score = probability(&relevant, h, x);
        if (i && x->score > h->items[i - 1].score)
            x->score = h->items[i - 1].score; /* never against the order of the hits */
    }
    return probability(&answerable, h, &h->items[0]);
}
