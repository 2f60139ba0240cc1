/* From raw retrieval numbers to probabilities. One logistic for both uses: for the best hit it says whether the
 * documents answer at all, for any hit whether it is relevant. Features lie in 0..1 and do not grow with the
 * collection: */
#include <math.h>

#include "stages/generation/extract_answer.h"

struct features {
    float coverage; /* idf mass of the question that the chunk holds */
    float strength; /* BM25 over its upper limit for the question, idf mass x (k1 + 1) */
    float known;    /* idf mass of the terms that some chunk has: low when the collection speaks of other things */
};

/* Fitted by tools/calibrate.py on training questions only (docs/quality.md says which). */
static const float weight[4] = {-4.0F, 6.0F, 2.0F, 1.0F};

static float logistic(struct features f)
{
    float x = weight[0] + weight[1] * f.coverage + weight[2] * f.strength + weight[3] * f.known;
    return 1 / (1 + expf(-x));
}

float calibrate_hits(const struct query_analysis *qa, struct hits *h)
{
    (void)qa;
    if (h->n == 0 || !(h->idf_mass > 0))
        return 0;
    for (uint32_t i = 0; i < h->n; i++) {
        struct hit *x = &h->items[i];
        float upper = h->idf_mass * 1.9F; /* k1 + 1 at the default k1; a scale, not a bound */
        x->score = logistic((struct features){x->coverage, x->bm25 / upper, h->known_mass / h->idf_mass});
        if (i && x->score > h->items[i - 1].score)
            x->score = h->items[i - 1].score; /* never against the order of the hits */
    }
    return h->items[0].score;
}
