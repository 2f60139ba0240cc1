/* Any passages, headings and question, as prompts: valid UTF-8, the budget kept, as many marks as passages, a nonce that
 * no text holds. The input: a byte of flags, a byte of budget, the question, then the chunks; 0xFF parts texts, and the first
 * two of each chunk's three are title and path. The store holds valid UTF-8 only: bad bytes are replaced first for all but
 * the question. */
#include <stdio.h>

#include "index/list_edit.h"
#include "llm/catalogue.h"
#include "stages/generation/prompt_int.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_CHUNKS = 12, MOST_BYTES = 16384 };

static struct str next_part(struct str *s)
{
    const char *end = s->len ? memchr(s->ptr, 0xFF, s->len) : NULL;
    struct str part = str_make(s->ptr, end ? (size_t)(end - s->ptr) : s->len);
    size_t skip = part.len + (end != NULL);
    *s = str_make(s->ptr + skip, s->len - skip);
    return part;
}

static struct str made_valid(struct str s, struct arena *a)
{
    char *out = arena_alloc(a, s.len * 3);
    size_t n = 0;
    for (size_t i = 0; i < s.len;)
        n += utf8_encode(utf8_next(s, &i), out + n);
    return str_make(out, n);
}

static uint32_t count(struct str s, const char *words)
{
    uint32_t n = 0;
    for (const char *at = s.ptr; (at = memmem(at, (size_t)(s.ptr + s.len - at), words, strlen(words))); at++)
        n++;
    return n;
}

static struct segment *make_segment(struct str s, bool one_doc, struct arena *a, uint32_t *n)
{
    struct segment_builder *b;
    struct segment *seg;
    struct term_list none;
    term_list_init(&none);
    RAG_ASSERT(segment_builder_new(1, &b) == RAG_OK);
    for (*n = 0; s.len && *n < MOST_CHUNKS; (*n)++) {
        struct str title = made_valid(next_part(&s), a), path = made_valid(next_part(&s), a);
        struct str text = made_valid(next_part(&s), a);
        struct segment_doc_in d = {
            .id = STR_LIT("d"), .title = title, .metadata_json = STR_LIT("{}"), .seq = *n + 1};
        if (*n == 0 || !one_doc)
            RAG_ASSERT(segment_builder_doc(b, &d) == RAG_OK);
        uint32_t start = *n * 20;
        struct segment_chunk_in c = {.text = text,
                                     .heading_path = path,
                                     .start = start,
                                     .end = start + (uint32_t)utf8_count(text),
                                     .terms = &none};
        RAG_ASSERT(segment_builder_chunk(b, &c) == RAG_OK);
    }
    RAG_ASSERT(segment_builder_finish(b, &seg) == RAG_OK);
    segment_builder_free(b);
    term_list_clear(&none);
    return seg;
}

static void check(const struct prompt *p, const struct route *r, uint32_t n_hits)
{
    char mark[32];
    struct str user = p->messages[1].content;
    RAG_ASSERT(utf8_valid(p->messages[0].content) && utf8_valid(user));
    RAG_ASSERT(memchr(user.ptr, 0, user.len) == NULL);
    RAG_ASSERT(p->n_passages >= 1 && p->n_passages <= CITATIONS_MAX_PASSAGES && p->n_passages <= n_hits);
    RAG_ASSERT(count(user, "<doc ") == p->n_passages && count(user, "</doc ") == p->n_passages);
    snprintf(mark, sizeof mark, "%.8s", user.ptr + strlen("<doc "));
    RAG_ASSERT(count(user, mark) == 2 * p->n_passages);
    snprintf(mark, sizeof mark, "</doc %.8s>\n", user.ptr + strlen("<doc "));
    size_t end = 0;
    for (const char *at = user.ptr; (at = memmem(at, (size_t)(user.ptr + user.len - at), mark, strlen(mark)));
         at++)
        end = (size_t)(at - user.ptr) + strlen(mark);
    uint32_t budget = r->context_tokens > PROMPT_LEAST_CONTEXT ? r->context_tokens : PROMPT_LEAST_CONTEXT;
    RAG_ASSERT(llm_count_tokens(str_make(user.ptr, end)) <= budget);
    for (uint32_t i = 0; i < p->n_passages; i++)
        RAG_ASSERT(p->passages[i].hit < n_hits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3 || size > MOST_BYTES)
        return 0;
    struct arena a = {0};
    struct str s = str_make((const char *)data + 2, size - 2);
    struct query q = {.text = next_part(&s)};
    struct query_analysis qa = {.language = data[0] & 3,
                                .kind = data[0] & 4 ? QUERY_UTTERANCE : QUERY_QUESTION,
                                .has_comparison = data[0] & 8};
    struct route r = {.context_tokens = data[1] * 8u, .passages = data[0] >> 5};
    struct prompt_options opt = {.system_prompt = data[0] & 16 ? q.text : STR_LIT(""), .nonce_key = data[1]};
    struct hit items[MOST_CHUNKS];
    struct hits h = {.items = items};
    struct segment *seg = make_segment(s, data[1] & 1, &a, &h.n);
    struct segment_list *empty = list_new_empty(), *list;
    RAG_ASSERT(list_edit(empty, &(struct list_change){.add = seg}, &list) == RAG_OK);
    for (uint32_t i = 0; i < h.n; i++)
        items[i] = (struct hit){.ref = {0, i}};
    h.list = list;
    struct prompt p, again;
    rag_code rc = prompt_build(&opt, &q, &qa, &h, &r, &a, &p);
    RAG_ASSERT(rc == RAG_OK || rc == RAG_ENOTFOUND);
    if (!rc) {
        check(&p, &r, h.n);
        RAG_ASSERT(prompt_build(&opt, &q, &qa, &h, &r, &a, &again) == RAG_OK);
        RAG_ASSERT(str_eq(p.messages[1].content, again.messages[1].content));
    }
    list_free(list);
    list_free(empty);
    segment_unref(seg);
    arena_clear(&a);
    return 0;
}
