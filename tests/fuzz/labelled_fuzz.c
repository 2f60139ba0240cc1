/* Sets of labelled questions. The first byte picks the form; the rest is the body. What is taken is taken again. */
#include <stddef.h>
#include <stdint.h>

#include "pipeline/labelled.h"
#include "wire/json_in.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct str parse(enum labelled_form form, struct str body, struct arena *a, struct labelled_set *set)
{
    struct rag_err err = {0};
    struct str json;
    rag_code rc = labelled_parse(form, body, STR_LIT("default"), 1, a, set, &json, &err);
    RAG_ASSERT((rc != RAG_OK) == (err.msg[0] != 0)); /* every refusal says why */
    return rc ? (struct str){0} : json;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a = {0};
    struct labelled_set set, twin;
    if (size == 0)
        return 0;
    struct str body = str_make((const char *)data + 1, size - 1);
    struct str file = parse(data[0] == 'j' ? LABELLED_JSON : LABELLED_LINES, body, &a, &set);
    if (file.len) {
        json_t *root = NULL;
        struct rag_err err;
        RAG_ASSERT(json_in_parse(file, file.len, &root, &err) == RAG_OK);
        RAG_ASSERT(json_array_size(json_object_get(root, "questions")) == set.questions && set.questions > 0);
        json_object_del(root, "count");
        json_object_del(root, "updated_ms");
        struct buf again;
        buf_init(&again, MEM_MISC);
        json_in_print(&again, root);
        struct str second = parse(LABELLED_JSON, buf_str(&again), &a, &twin);
        RAG_ASSERT(again.len > LABELLED_MAX_BYTES || str_eq(file, second));
        buf_clear(&again);
        json_decref(root);
    }
    arena_clear(&a);
    return 0;
}
