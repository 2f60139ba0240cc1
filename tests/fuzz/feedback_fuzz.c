/* The body of POST /v1/feedback: any bytes are refused with a reason, or make a feedback within its limits. */
#include "api/feedback_json.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(struct str s, size_t max)
{
    RAG_ASSERT(s.len <= max && utf8_valid(s) && (s.len == 0 || !memchr(s.ptr, 0, s.len)));
}

static void check_feedback(const struct history_feedback *f)
{
    bool needs_chunks = f->type == FEEDBACK_CLICKED || f->type == FEEDBACK_SKIPPED;
    RAG_ASSERT(f->query_id.len && f->type <= FEEDBACK_RATING);
    RAG_ASSERT(f->type == FEEDBACK_RATING ? f->rating >= 1 && f->rating <= 5 : f->rating == 0);
    RAG_ASSERT(f->n_chunk_ids <= FEEDBACK_CHUNKS_MAX + 1 && (f->n_chunk_ids || !needs_chunks));
    check_text(f->query_id, FEEDBACK_ID_MAX);
    check_text(f->user_id, FEEDBACK_ID_MAX);
    check_text(f->comment, FEEDBACK_COMMENT_MAX);
    for (uint32_t i = 0; i < f->n_chunk_ids; i++) {
        RAG_ASSERT(f->chunk_ids[i].len);
        check_text(f->chunk_ids[i], FEEDBACK_CHUNK_ID_MAX);
        for (uint32_t k = 0; k < i; k++)
            RAG_ASSERT(!str_eq(f->chunk_ids[i], f->chunk_ids[k]));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a = {0};
    struct rag_err err = {0};
    struct history_feedback f = {0};
    const char *chunk_field;
    rag_code rc = feedback_from_json(str_make((const char *)data, size), 1 << 18, &a, &f, &chunk_field, &err);
    RAG_ASSERT((rc != RAG_OK) == (err.msg[0] != 0)); /* every refusal says why */
    if (!rc)
        check_feedback(&f);
    arena_clear(&a);
    return 0;
}
