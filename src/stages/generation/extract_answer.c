/* The answer without a model, in phases: gather (chunks to units: sentences, list items, table rows, fields of a
 * record), select (score, then greedily the unit that adds most), front (the few words
 * that answer by themselves, if any are sure enough), write (reading order, citations, where a stream may
 * cut). It invents nothing: every word but the heading in front of an opaque sentence is quoted. */
#include "stages/generation/extract_int.h"

#include "text/utf8.h"

static bool reads_chinese(struct str s)
{
    for (size_t i = 0; i < s.len;)
        if (utf8_is_cjk(utf8_next(s, &i)))
            return true;
    return false;
}

struct str answer_not_found(struct str question)
{
    return reads_chinese(question) ? STR_LIT("现有文档中没有找到这个问题的答案。")
                                   : STR_LIT("The documents do not answer this question.");
}

static rag_code say_not_found(const struct query *q, struct arena *a, struct answer *out)
{
    struct str text = answer_not_found(q->text);
    out->found = false;
    out->text = text;
    out->n_pieces = 1;
    out->pieces = arena_array(a, 2, sizeof *out->pieces);
    if (!out->pieces)
        return RAG_ENOMEM;
    out->pieces[1] = (uint32_t)text.len;
    return RAG_OK;
}

rag_code extract_answer(const struct analyzer *an, const struct query *q, const struct query_analysis *qa,
                        const struct hits *h, float confidence, const struct profile *p, struct arena *a,
                        struct answer *out)
{
    *out = (struct answer){.confidence = confidence, .source = SOURCE_EXTRACT};
    if (h->n == 0 || !(confidence >= h->floor))
        return say_not_found(q, a, out);
    enum complexity c = qa->complexity < COMPLEXITY_UNKNOWN ? qa->complexity : COMPLEXITY_MEDIUM;
    struct extract x = {.an = an, .q = q, .qa = qa, .h = h, .confidence = confidence, .arena = a};
    rag_code rc = extract_gather(&x, p->rerank_candidates[c]);
    if (!rc)
        rc = extract_select(&x, p->answer_sentences[c]);
    if (rc)
        return rc;
    if (x.n_chosen == 0)
        return say_not_found(q, a, out);
    out->found = true;
    return extract_write(&x, out);
}
