/* What pdftotext may say about a hostile PDF: any bytes give an error, or a document that the chunker takes. The first
 * byte says whether the rest is a layout as it stands, or lines of numbers and letters that a well-formed one is made
 * of: places and texts then vary without the form being lost. */
#include "extract/pdf_int.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct str layout)
{
    struct text_doc doc;
    struct text_chunks chunks;
    struct rag_err err = {0};
    struct doc_writer w;
    struct extract_limits lim = extract_default_limits;
    lim.max_output_bytes = 4 << 20;
    text_doc_init(&doc);
    text_chunks_init(&chunks);
    docw_init(&w, &doc, &lim, &err);
    rag_code rc = pdf_text(&w, layout);
    RAG_ASSERT(rc == RAG_OK || rc == RAG_EFORMAT || rc == RAG_ETOOBIG);
    RAG_ASSERT(rc == RAG_OK || err.msg[0]);
    if (rc == RAG_OK) {
        RAG_ASSERT(utf8_valid(buf_str(&doc.text)) && utf8_valid(buf_str(&doc.title)));
        const struct text_block *b = (const struct text_block *)(const void *)doc.blocks.ptr;
        for (size_t i = 0; i < doc.blocks.len / sizeof *b; i++)
            RAG_ASSERT(b[i].page >= 1 && b[i].page <= PDF_MAX_PAGES);
        RAG_ASSERT(chunker_run(&doc, &(struct chunker_options){64, 16}, &chunks) == RAG_OK);
    }
    text_doc_clear(&doc);
    text_chunks_clear(&chunks);
}

/* Seven bytes a word: what comes before it, its place and size, which letters. */
static void build(struct buf *b, const uint8_t *data, size_t size)
{
    static const char *const words[] = {"fee", "1.2", "3)", "Card", "年费", "第三章", "-", "\xE2\x80\xA2", "ends.", "exam-", "。", "2024"};
    buf_addz(b, "<title>t</title><doc><page height=\"842\"><line>");
    for (size_t i = 0; i + 7 <= size; i += 7) {
        const uint8_t *d = data + i;
        if (d[0] < 32)
            buf_addz(b, "</line></page><page height=\"842\"><line>");
        else if (d[0] < 200)
            buf_addz(b, "</line><line>");
        int x = d[1] * 3, y = d[2] * 4, size_pt = 4 + d[3] % 24;
        const char *word = words[d[5] % (sizeof words / sizeof *words)];
        buf_addf(b, "<word xMin=\"%d.%d\" yMin=\"%d\" xMax=\"%d\" yMax=\"%d\">%s</word>", x, d[4] % 10, y,
                 x + 1 + d[6], y + size_pt, word);
    }
    buf_addz(b, "</line></page></doc>");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] == '<') {
        check(str_make((const char *)data, size));
        return 0;
    }
    struct buf b;
    buf_init(&b, MEM_MISC);
    build(&b, data + 1, size - 1);
    check(buf_str(&b));
    buf_clear(&b);
    return 0;
}
