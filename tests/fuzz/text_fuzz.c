/* Any bytes through the normaliser, the analyser in both modes and the sentence splitter, with the promises of
 * their headers checked. The first byte chooses whether user words are cut from the input. */
#include <stddef.h>
#include <stdint.h>

#include "text/analyzer.h"
#include "text/normalize.h"
#include "text/sentence.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_normalize(struct str s)
{
    struct norm_text t;
    norm_text_init(&t);
    RAG_ASSERT(normalize_run(s, &t) == RAG_OK);
    RAG_ASSERT(utf8_valid(buf_str(&t.text)));
    const uint32_t *start = (const void *)t.start.ptr, *end = (const void *)t.end.ptr;
    for (size_t i = 0; i < t.text.len; i++) {
        RAG_ASSERT(start[i] < end[i] && end[i] <= s.len);
        RAG_ASSERT(i == 0 || (start[i - 1] <= start[i] && end[i - 1] <= end[i]));
    }
    norm_text_clear(&t);
}

static void check_terms(const struct analyzer *a, struct str s)
{
    struct term_list l;
    term_list_init(&l);
    for (int mode = ANALYZE_DOCUMENT; mode <= ANALYZE_QUERY; mode++) {
        RAG_ASSERT(analyzer_run(a, s, (enum analyze_mode)mode, &l) == RAG_OK);
        for (uint32_t i = 0; i < l.n; i++) {
            const struct term *t = &l.items[i];
            RAG_ASSERT(t->start < t->end && t->end <= s.len && t->weight > 0 && t->weight <= 1);
            RAG_ASSERT(i == 0 || l.items[i - 1].start <= t->start);
            RAG_ASSERT(t->text_len > 0 && utf8_valid(term_text(&l, i)));
            RAG_ASSERT(!utf8_valid(s) ||
                       (utf8_floor(s, t->start) == t->start && utf8_floor(s, t->end) == t->end));
        }
    }
    term_list_clear(&l);
}

static void check_sentences(struct str s)
{
    while (s.len) {
        size_t n = sentence_len(s);
        RAG_ASSERT(n > 0 && n <= s.len);
        RAG_ASSERT(!utf8_valid(s) || utf8_floor(s, n) == n);
        s = str_make(s.ptr + n, s.len - n);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct analyzer *plain;
    if (!plain)
        RAG_ASSERT(analyzer_new(NULL, 0, &plain, NULL) == RAG_OK);
    if (!size)
        return 0;
    struct str s = str_make((const char *)data + 1, size - 1);
    check_normalize(s);
    check_sentences(s);
    (void)text_token_count(s);
    check_terms(plain, s);
    if (data[0] % 4 == 0 && s.len) {
        struct str words[2] = {str_make(s.ptr, data[0] % s.len),
                               str_make(s.ptr + s.len / 2, data[0] % (s.len - s.len / 2))};
        struct analyzer *a;
        rag_code rc = analyzer_new(words, 2, &a, NULL);
        if (!rc)
            check_terms(a, s);
        RAG_ASSERT(rc == RAG_OK || rc == RAG_EINVAL);
        analyzer_free(a);
    }
    return 0;
}
