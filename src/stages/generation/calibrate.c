/* From raw retrieval numbers to probabilities: two small logistic models over features that do not grow with the
 * collection, all weights positive, so that a chunk which holds more of the question never scores less.
 *
 *   coverage  share of the question's IDF mass that the chunk holds
 *   ratio     BM25 over the question's IDF mass: what all terms at once in an average chunk would give
 *   mass      ln(1 + IDF mass that the chunk holds): a long question is answered at less coverage than a short one
 *
 * The share of terms that the collection knows was tried and left out: fitted, its weight is negative (a question whose
 * unknown word is covered by nothing scores higher), which helps on the training sets and makes no sense. */
#include <math.h>

#include "stages/generation/extract_answer.h"

struct model {
    float bias, coverage, ratio, mass;
};

/* tools/calibrate.py --data $DATASETS --limit 3000: training questions of cmrc2018, drcd, squad and scifact, whole and in
 * collections of 60 paragraphs; tables in docs/quality.md. */
static const struct model answerable = {-5.983F, 4.200F, 3.098F, 0.778F}; /* the best hit: do the documents answer? */
static const struct model relevant = {-2.930F, 0, 4.344F, 0};              /* any hit: is the chunk relevant? */
static const float MOST_RATIO = 1.5F;

static float probability(const struct model *m, const struct hits *h, const struct hit *hit)
{
    float ratio = fminf(hit->bm25 / h->idf_mass, MOST_RATIO);
    float z = m->bias + m->coverage * hit->coverage + m->ratio * ratio + m->mass * log1pf(hit->coverage * h->idf_mass);
    return 1 / (1 + expf(-z));
}

float calibrate_hits(const struct query_analysis *qa, struct hits *h)
{
    (void)qa;
    if (h->n == 0)
        return 0;
    for (uint32_t i = 0; i < h->n; i++) {
        struct hit *x = &h->items[i];
        x->score = h->idf_mass > 0 ? probability(&relevant, h, x) : 0;
        if (i && x->score > h->items[i - 1].score)
            x->score = h->items[i - 1].score; /* never against the order of the hits */
    }
    return h->idf_mass > 0 ? probability(&answerable, h, &h->items[0]) : 0;
}
