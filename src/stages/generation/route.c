#include "stages/generation/route.h"

/* One fact, found: what even a small model only has to copy. */
static bool is_lookup(const struct query_analysis *qa)
{
    return qa->kind != QUERY_UTTERANCE && qa->n_asks <= 1 && !qa->has_comparison && !qa->has_aggregation;
}

struct route route_choose(const struct query_analysis *qa, float confidence, const struct profile *p)
{
    enum complexity c = qa->complexity < COMPLEXITY_UNKNOWN ? qa->complexity : COMPLEXITY_MEDIUM;
    uint32_t class = p->model_class[c] < CLASSES ? p->model_class[c] : CLASSES - 1;
    bool down = class > CLASS_SMALL && confidence > p->class_down_above && is_lookup(qa);
    return (struct route){.class = (enum model_class)(class - down),
                          .one_down = down,
                          .output_tokens = p->output_tokens[c],
                          .context_tokens = p->context_tokens[c],
                          .passages = p->passages[c]};
}
