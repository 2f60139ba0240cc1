/* A PDF is read by two programs one after the other, both with limits: this one runs in the extracting child and
 * starts pdftotext (poppler) in a child of its own, whose layout of the pages (words with their places) comes back
 * over a pipe. pdf_layout.c reads that, pdf_page.c and pdf_columns.c see what is where on a page, pdf_blocks.c makes
 * blocks. So neither the file nor what poppler made of it is in the server's memory before it is checked text.
 *
 * pdftotext's exit status says little and its messages are for people, so the file itself is asked first: is it a PDF,
 * is its end there. Poppler repairs what it can: of a file without its end it would give the first part without a
 * word, which is why that is refused here. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "extract/pdf_int.h"
#include "sys/child.h"

enum {
    HEAD_BYTES = 1024,          /* Acrobat takes "%PDF-" anywhere in them */
    TAIL_BYTES = 2048,          /* and "%%EOF" in the last 1024 */
    MAX_LAYOUT_BYTES = 256 << 20, /* about 100 bytes a word */
    READER_WALL_MS = 25000,     /* less than the 30 s of the child around it, so that the reason is told */
};

static bool has(struct str s, const char *z)
{
    return s.len && memmem(s.ptr, s.len, z, strlen(z));
}

static struct str tail_of(struct str s)
{
    while (s.len && strchr(" \t\r\n", s.ptr[s.len - 1])) /* also NUL, which fills up sectors */
        s.len--;
    size_t n = s.len < TAIL_BYTES ? s.len : TAIL_BYTES;
    return n ? str_make(s.ptr + s.len - n, n) : STR_LIT("");
}

static rag_code check_file(struct doc_writer *w, struct str bytes)
{
    const char *kind = extract_kind_of(bytes);
    if (!has(str_make(bytes.ptr, bytes.len < HEAD_BYTES ? bytes.len : HEAD_BYTES), "%PDF-"))
        return kind ? docw_fail(w, RAG_EFORMAT, "is %s, not a PDF", kind)
                    : docw_fail(w, RAG_EFORMAT, "is not a PDF: no %%PDF- in its first %d bytes", HEAD_BYTES);
    if (!has(tail_of(bytes), "%%EOF"))
        return docw_fail(w, RAG_EFORMAT, "truncated: the end of the PDF is missing");
    return RAG_OK;
}

static rag_code why_it_ended(struct doc_writer *w, const struct child_result *res, struct str bytes)
{
    switch (res->end) {
    case CHILD_TIMEOUT: return docw_fail(w, RAG_ETOOBIG, "takes longer than %d s to read", READER_WALL_MS / 1000);
    case CHILD_OUTPUT:
        return docw_fail(w, RAG_ETOOBIG, "more text than is taken: over %d MiB with its layout",
                         MAX_LAYOUT_BYTES >> 20);
    case CHILD_SIGNALED:
        if (res->status == SIGXCPU || res->status == SIGKILL)
            return docw_fail(w, RAG_ETOOBIG, "takes too much CPU time to read");
        if (res->status == SIGABRT) /* what poppler does when an allocation fails */
            return docw_fail(w, RAG_ETOOBIG, "needs too much memory to read");
        return docw_fail(w, RAG_EFORMAT, "damaged: pdftotext died of signal %d", res->status);
    case CHILD_EXITED: break;
    }
    if (res->status == 0)
        return RAG_OK;
    if (res->status == 1 && has(bytes, "/Encrypt"))
        return docw_fail(w, RAG_EFORMAT, "encrypted: a password is needed to read it; save it without one");
    if (res->status == 3)
        return docw_fail(w, RAG_EFORMAT, "encrypted: its permissions forbid taking text out");
    return docw_fail(w, RAG_EFORMAT, "damaged: not readable as a PDF");
}

static rag_code lay_out(struct doc_writer *w, struct str bytes, const struct extract_limits *lim, struct buf *out)
{
    static const char *const places[] = {"/usr/bin/pdftotext", "/usr/local/bin/pdftotext", NULL};
    static const char *const envp[] = {"LC_ALL=C.UTF-8", NULL};
    const char *named[] = {getenv("RAGD_PDFTOTEXT"), NULL};
    char last_page[16];
    struct child_result res;
    struct child_limits cl = {
        .memory_bytes = lim->max_memory_bytes,
        .output_bytes = MAX_LAYOUT_BYTES,
        .files = 16,
        .cpu_s = lim->cpu_s,
        .wall_ms = lim->wall_ms && lim->wall_ms < READER_WALL_MS ? lim->wall_ms : READER_WALL_MS,
    };
    rag_code rc = RAG_ENOTFOUND;
    snprintf(last_page, sizeof last_page, "%d", PDF_MAX_PAGES + 1);
    for (const char *const *p = named[0] ? named : places; *p && rc == RAG_ENOTFOUND; p++) {
        const char *argv[] = {*p, "-bbox-layout", "-enc", "UTF-8", "-l", last_page, "-q", "-", "-", NULL};
        rc = child_run(argv, envp, bytes, &cl, out, &res);
    }
    if (rc == RAG_ENOTFOUND)
        return docw_fail(w, RAG_EUNSUPPORTED,
                         "PDF needs the program pdftotext: install the package poppler-utils (and poppler-data for "
                         "Chinese)");
    if (rc)
        return docw_fail(w, rc == RAG_ENOMEM ? RAG_ENOMEM : RAG_EIO, "cannot run pdftotext: %s", rag_code_name(rc));
    return why_it_ended(w, &res, bytes);
}

rag_code pdf_text(struct doc_writer *w, struct str layout)
{
    struct pdf_layout l;
    pdf_layout_init(&l);
    pdf_layout_parse(&l, w, layout);
    if (!w->rc)
        pdf_pages_tidy(&l, w);
    if (!w->rc)
        pdf_columns_order(&l, w);
    if (!w->rc)
        pdf_blocks_write(&l, w);
    pdf_layout_clear(&l);
    return w->rc;
}

rag_code extract_pdf(struct doc_writer *w, struct str bytes, const struct extract_limits *lim)
{
    struct buf layout;
    buf_init(&layout, MEM_EXTRACT);
    if (!check_file(w, bytes) && !lay_out(w, bytes, lim, &layout))
        pdf_text(w, buf_str(&layout));
    buf_clear(&layout);
    return w->rc;
}
