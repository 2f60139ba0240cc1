#include "pipeline/evaluate.h"
#include "text/utf8.h"

/* Bytes at the start of s that are at most `max` tokens; at least one character. */
static size_t tokens_len(struct str s, uint32_t max)
{
    uint64_t cjk = 0, other = 0;
    size_t i = 0;
    while (i < s.len) {
        size_t at = i;
        if (utf8_is_cjk(utf8_next(s, &i)))
            cjk++;
        else
            other += i - at;
        if (cjk + (other + 3) / 4 > max && at > 0)
            return at;
    }
    return s.len;
}

rag_code eval_windows(const struct text_doc *doc, const struct chunker_options *opt, struct text_chunks *out)
{
    RAG_ASSERT(opt->overlap_tokens < opt->size_tokens);
    struct str text = buf_str(&doc->text);
    buf_reset(&out->chunks);
    buf_reset(&out->headings);
    if (text.len > UINT32_MAX)
        return RAG_ETOOBIG;
    for (size_t start = 0, end = 0; end < text.len;) {
        struct str rest = str_make(text.ptr + start, text.len - start);
        end = start + tokens_len(rest, opt->size_tokens);
        struct str window = str_trim(str_make(rest.ptr, end - start));
        uint32_t from = (uint32_t)(window.ptr - text.ptr);
        struct text_chunk c = {.start = from, .end = from + (uint32_t)window.len};
        if (window.len)
            buf_add(&out->chunks, &c, sizeof c);
        start += tokens_len(rest, opt->size_tokens - opt->overlap_tokens);
    }
    return buf_failed(&out->chunks) ? RAG_ENOMEM : RAG_OK;
}
