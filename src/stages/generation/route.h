/* stages/generation/route.h - how much a question is worth: the class of model, the length of answer and context. */
#ifndef RAGD_STAGES_ROUTE_H
#define RAGD_STAGES_ROUTE_H

#include "flow/profile.h"
#include "flow/query.h"
#include "llm/catalogue.h"

struct route {
    enum model_class class;
    bool one_down;                     /* the retrieval is so sure that a smaller model is enough */
    uint32_t output_tokens;            /* max_tokens */
    uint32_t context_tokens, passages; /* at most, in the prompt */
};
/* By complexity and by how sure the retrieval is (calibrated confidence, 0..1). */
struct route route_choose(const struct query_analysis *qa, float confidence, const struct profile *p);

#endif
