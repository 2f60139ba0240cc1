/* The page at /: console/index.html, linked in as it is. Its script may run and no other: the policy names the
 * script's hash, so the page stays one file without a build step. */
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "api/api_int.h"

__asm__(".section .rodata\n"
        ".global console_html\n"
        ".type console_html, @object\n"
        "console_html:\n"
        ".incbin \"console/index.html\"\n"
        "console_html_end:\n"
        ".byte 0\n"
        ".size console_html, . - console_html\n"
        ".global console_html_len\n"
        ".type console_html_len, @object\n"
        ".balign 8\n"
        "console_html_len:\n"
        ".quad console_html_end - console_html\n"
        ".size console_html_len, 8\n"
        ".previous\n");
extern const char console_html[];
extern const uint64_t console_html_len;

/* ' 'sha256-...'' for the text of each <script>. */
static void add_script_hashes(struct buf *out)
{
    static const char open[] = "<script>", close[] = "</script>";
    const char *p = console_html, *end = console_html + console_html_len;
    while ((p = memmem(p, (size_t)(end - p), open, sizeof open - 1))) {
        unsigned char digest[32], text[48];
        p += sizeof open - 1;
        const char *stop = memmem(p, (size_t)(end - p), close, sizeof close - 1);
        if (!stop)
            return;
        SHA256((const unsigned char *)p, (size_t)(stop - p), digest);
        EVP_EncodeBlock(text, digest, sizeof digest);
        buf_addf(out, " 'sha256-%s'", (const char *)text);
        p = stop;
    }
}

rag_code console_csp(struct buf *out)
{
    buf_addz(out, "default-src 'none'; connect-src 'self'; img-src 'self' data:; style-src 'unsafe-inline'; "
                  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; script-src");
    add_script_hashes(out);
    buf_addc(out, 0);
    return buf_failed(out) ? RAG_ENOMEM : RAG_OK;
}

void route_page(struct request *rq)
{
    buf_add(&rq->out, console_html, console_html_len);
    rq->status = 200;
    rq->content_type = "text/html; charset=utf-8";
    rq->csp = rq->api->console_csp.ptr;
}
