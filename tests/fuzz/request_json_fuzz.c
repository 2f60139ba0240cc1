/* Every body parser of the API. The first byte picks one; the rest is the body. */
#include <stddef.h>
#include <stdint.h>

#include "api/multipart.h"
#include "api/request_json.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_message(rag_code rc, const struct rag_err *err)
{
    RAG_ASSERT((rc != RAG_OK) == (err->msg[0] != 0)); /* every refusal says why */
}

static void fuzz_query(struct str body, bool search, struct arena *a)
{
    struct query q;
    bool listing;
    struct rag_err err = {0};
    rag_code rc = query_from_json(body, 1 << 18, search, a, &q, &listing, &err);
    check_message(rc, &err);
    if (rc)
        return;
    RAG_ASSERT(utf8_valid(q.text) && q.text.len <= QUERY_TEXT_MAX && (q.text.len || (search && listing)));
    RAG_ASSERT(q.top_k >= 1 && q.top_k <= 100 && q.min_score >= 0 && q.min_score <= 1);
    for (uint32_t i = 0; i < q.filter.n; i++)
        RAG_ASSERT(q.filter.clauses[i].field.ptr && utf8_valid(q.filter.clauses[i].field));
}

static void fuzz_documents(struct str body, struct arena *a)
{
    struct document_in *d;
    uint32_t n;
    bool batch;
    struct rag_err err = {0};
    rag_code rc = documents_from_json(body, 1 << 20, a, &d, &n, &batch, &err);
    check_message(rc, &err);
    for (uint32_t i = 0; i < n && !rc; i++) {
        if (d[i].code)
            continue;
        struct str again;
        RAG_ASSERT(d[i].text.len && utf8_valid(d[i].text));
        RAG_ASSERT(metadata_from_text(d[i].metadata_json, a, &again, NULL) ==
                   RAG_OK); /* what we print we take */
    }
}

static void fuzz_multipart(struct str body, struct arena *a)
{
    struct multipart_part *p;
    uint32_t n;
    struct rag_err err = {0};
    size_t line = 0; /* the first line is the Content-Type */
    while (line < body.len && body.ptr[line] != '\n')
        line++;
    char *type = arena_strndup(a, body.ptr, line);
    if (!type || line == body.len)
        return;
    struct str rest = str_make(body.ptr + line + 1, body.len - line - 1);
    rag_code rc = multipart_parse(type, rest, a, &p, &n, &err);
    check_message(rc, &err);
    for (uint32_t i = 0; i < n && !rc; i++)
        RAG_ASSERT(p[i].name.len && p[i].value.ptr >= rest.ptr &&
                   p[i].value.ptr + p[i].value.len <= rest.ptr + rest.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a = {0};
    struct rag_err err = {0};
    struct filter f;
    struct str out;
    if (size == 0)
        return 0;
    struct str body = str_make((const char *)data + 1, size - 1);
    switch (data[0]) {
    case 'q': fuzz_query(body, false, &a); break;
    case 's': fuzz_query(body, true, &a); break;
    case 'd': fuzz_documents(body, &a); break;
    case 'f': check_message(delete_from_json(body, 1 << 18, &a, &f, &err), &err); break;
    case 'c': check_message(collection_from_json(body, 1 << 18, &a, &out, &err), &err); break;
    case 'm': fuzz_multipart(body, &a); break;
    default: check_message(metadata_from_text(body, &a, &out, &err), &err); break;
    }
    arena_clear(&a);
    return 0;
}
