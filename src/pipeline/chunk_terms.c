#include "pipeline/chunk_terms.h"

void chunk_terms_init(struct chunk_terms *c)
{
    buf_init(&c->text, MEM_TEXT);
    term_list_init(&c->terms);
    c->length = 0;
}

void chunk_terms_clear(struct chunk_terms *c)
{
    buf_clear(&c->text);
    term_list_clear(&c->terms);
}

rag_code chunk_terms_run(struct chunk_terms *c, const struct analyzer *an, struct str title,
                         struct str heading_path, struct str text)
{
    buf_reset(&c->text);
    buf_adds(&c->text, title);
    buf_addc(&c->text, '\n');
    while (heading_path.len) {
        const char *sep = memchr(heading_path.ptr, '\x1f', heading_path.len);
        struct str part =
            str_make(heading_path.ptr, sep ? (size_t)(sep - heading_path.ptr) : heading_path.len);
        if (!str_eq(part, title)) {
            buf_adds(&c->text, part);
            buf_addc(&c->text, '\n');
        }
        size_t skip = part.len + (sep ? 1 : 0);
        heading_path = str_make(heading_path.ptr + skip, heading_path.len - skip);
    }
    buf_adds(&c->text, text);
    if (buf_failed(&c->text))
        return RAG_ENOMEM;
    rag_code rc = analyzer_run(an, buf_str(&c->text), ANALYZE_DOCUMENT, &c->terms);
    c->length = rc ? 0 : c->terms.n;
    return rc;
}
