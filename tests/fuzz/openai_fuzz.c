/* A chunk that the scan takes, the tree takes, and says the same; strings are valid UTF-8. Any bytes make an error
 * message of one line. */
#include <stdint.h>

#include "wire/json_in.h"
#include "wire/openai_int.h"
#include "wire/sse_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(struct str s)
{
    for (size_t i = 0; i < s.len;) {
        size_t n = openai_utf8_len(s.ptr + i, s.len - i);
        RAG_ASSERT(n > 0 && s.ptr[i] != 0);
        i += n;
    }
}

static void check_same(const struct chat_chunk *a, const struct chat_chunk *b)
{
    RAG_ASSERT(str_eq(a->content, b->content) && str_eq(a->finish, b->finish) && str_eq(a->error, b->error));
    RAG_ASSERT(a->done == b->done && a->reasoning == b->reasoning && a->is_error == b->is_error);
    RAG_ASSERT(a->usage.given == b->usage.given && a->usage.prompt == b->usage.prompt &&
               a->usage.cached == b->usage.cached && a->usage.completion == b->usage.completion);
}

static void check_chunk(struct str s)
{
    struct arena a = {0};
    struct chat_chunk fast, slow, got;
    rag_code f = openai_chunk_scan(s, &a, &fast), t = openai_chunk_tree(s, &a, &slow);
    RAG_ASSERT(f == RAG_OK || f == RAG_EUNSUPPORTED);
    RAG_ASSERT(t == RAG_OK || t == RAG_EFORMAT);
    if (!f) {
        RAG_ASSERT(!t);
        check_same(&fast, &slow);
    }
    rag_code rc = openai_chunk_parse(s, &a, &got);
    if (!rc) {
        check_text(got.content);
        check_text(got.finish);
        check_text(got.error);
        RAG_ASSERT(got.usage.cached <= got.usage.prompt && !(got.reasoning && got.content.len));
    }
    if (!t) {
        RAG_ASSERT(!rc);
        check_same(&got, &slow);
    }
    arena_clear(&a);
}

static void check_error(long status, struct str s)
{
    char message[256];
    memset(message, 'x', sizeof message);
    (void)openai_error_parse(status, s, message);
    RAG_ASSERT(memchr(message, 0, 201) && !strpbrk(message, "\r\n\t"));
    check_text(str_of(message));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const long statuses[] = {0, 200, 400, 402, 429, 503};
    char *copy = mem_strndup(MEM_MISC, (const char *)data, size); /* the byte behind it is not ours */
    check_chunk(str_make(copy, size));
    check_error(statuses[size % 6], str_make(copy, size));
    mem_free(MEM_MISC, copy);
    return 0;
}
