/* What a question sets for itself: any JSON object beside a configuration of defaults. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "daemon/config.h"
#include "wire/json_in.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct config *defaults(void)
{
    static struct config c;
    static const char *const none[] = {NULL};
    if (!c.listen) {
        struct config_report report;
        config_report_init(&report);
        RAG_ASSERT(config_load(&(struct config_source){.environment = none}, &c, &report) == RAG_OK);
        config_report_clear(&report);
    }
    return &c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *root = NULL;
    struct rag_err err = {0};
    struct buf text;
    struct profile p;
    const struct config *c = defaults();
    if (json_in_parse(str_make((const char *)data, size), 4096, &root, &err) || !json_is_object(root)) {
        json_decref(root);
        return 0;
    }
    buf_init(&text, MEM_MISC);
    json_in_print(&text, root);
    err = (struct rag_err){0};
    rag_code rc = config_override(c, buf_str(&text), &p, &err);
    RAG_ASSERT(rc == RAG_OK || (rc == RAG_EINVAL && err.msg[0] && strncmp(err.param, "overrides", 9) == 0));
    for (int i = 0; i < 3 && !rc; i++) {
        RAG_ASSERT(p.output_tokens[i] <= c->profile.output_tokens[i] && p.context_tokens[i] <= c->profile.context_tokens[i]);
        RAG_ASSERT(p.model_class[i] <= c->profile.model_class[i] && p.passages[i] <= c->profile.passages[i]);
        RAG_ASSERT(p.query_timeout_ms[i] <= c->profile.query_timeout_ms[i]);
        RAG_ASSERT(p.rerank_candidates[i] >= 1 && p.rerank_candidates[i] <= 100);
        RAG_ASSERT(p.dense_weight[i] >= 0 && p.dense_weight[i] <= 1);
    }
    RAG_ASSERT(rc || (p.class_down_above <= c->profile.class_down_above && p.bm25_b >= 0 && p.bm25_b <= 1));
    buf_clear(&text);
    json_decref(root);
    return 0;
}
