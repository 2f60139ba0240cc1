/* The web console: the files of console/, linked in as they are. They hold no data, so they need no key; what a page
 * shows it asks for like any other client. The policy lets the pages load these files and nothing else, and nothing
 * written inside a page can run. */
#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <strings.h>

#include "api/api_int.h"

#define EMBED(symbol, path)                      \
    __asm__(".section .rodata\n"                 \
            ".type console_" #symbol ", @object\n" \
            "console_" #symbol ":\n"             \
            ".incbin \"" path "\"\n"             \
            "console_" #symbol "_end:\n"         \
            ".byte 0\n"                          \
            ".size console_" #symbol ", . - console_" #symbol "\n" \
            ".previous\n");                      \
    extern const char console_##symbol[], console_##symbol##_end[]

EMBED(index_html, "console/index.html");
EMBED(style_css, "console/style.css");
EMBED(pages_css, "console/pages.css");
EMBED(frame_js, "console/frame.js");
EMBED(ask_js, "console/ask.js");
EMBED(documents_js, "console/documents.js");
EMBED(try_js, "console/try.js");
EMBED(evaluate_js, "console/evaluate.js");
EMBED(metrics_js, "console/metrics.js");
EMBED(health_js, "console/health.js");

#define HTML "text/html; charset=utf-8"
#define CSS "text/css; charset=utf-8"
#define JS "text/javascript; charset=utf-8"

static const struct console_file {
    const char *name, *type, *bytes, *end;
} files[CONSOLE_FILES] = {
    {"index.html", HTML, console_index_html, console_index_html_end},
    {"style.css", CSS, console_style_css, console_style_css_end},
    {"pages.css", CSS, console_pages_css, console_pages_css_end},
    {"frame.js", JS, console_frame_js, console_frame_js_end},
    {"ask.js", JS, console_ask_js, console_ask_js_end},
    {"documents.js", JS, console_documents_js, console_documents_js_end},
    {"try.js", JS, console_try_js, console_try_js_end},
    {"evaluate.js", JS, console_evaluate_js, console_evaluate_js_end},
    {"metrics.js", JS, console_metrics_js, console_metrics_js_end},
    {"health.js", JS, console_health_js, console_health_js_end},
};

static const char policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static struct str bytes_of(uint32_t i)
{
    return str_make(files[i].bytes, (size_t)(files[i].end - files[i].bytes));
}

/* ---- compressed once, at the start ------------------------------------------------------------------------ */

static la_ssize_t keep(struct archive *a, void *ctx, const void *bytes, size_t n)
{
    struct buf *out = ctx;
    (void)a;
    buf_add(out, bytes, n);
    return buf_failed(out) ? -1 : (la_ssize_t)n;
}

/* False: libarchive cannot do it, or memory is short. */
static bool compress(struct str bytes, struct buf *out)
{
    struct archive *a = archive_write_new();
    struct archive_entry *e = archive_entry_new();
    bool ok = a && e && archive_write_set_format_raw(a) == ARCHIVE_OK &&
              archive_write_add_filter_gzip(a) == ARCHIVE_OK &&
              archive_write_set_options(a, "gzip:!timestamp,gzip:compression-level=9") == ARCHIVE_OK &&
              archive_write_set_bytes_in_last_block(a, 1) == ARCHIVE_OK && /* no padding */
              archive_write_open(a, out, NULL, keep, NULL) == ARCHIVE_OK;
    if (ok) {
        archive_entry_set_filetype(e, AE_IFREG);
        ok = archive_write_header(a, e) == ARCHIVE_OK &&
             archive_write_data(a, bytes.ptr, bytes.len) == (la_ssize_t)bytes.len &&
             archive_write_close(a) == ARCHIVE_OK;
    }
    archive_entry_free(e);
    archive_write_free(a);
    return ok;
}

void console_init(struct api *api)
{
    for (uint32_t i = 0; i < CONSOLE_FILES; i++) {
        struct buf *packed = &api->console_gzip[i];
        buf_init(packed, MEM_API);
        if (!compress(bytes_of(i), packed))
            buf_clear(packed);
        etag_make(bytes_of(i), api->console_etags[i][0]);
        etag_make(buf_str(packed), api->console_etags[i][1]);
    }
}

void console_clear(struct api *api)
{
    for (uint32_t i = 0; i < CONSOLE_FILES; i++)
        buf_clear(&api->console_gzip[i]);
}

/* ---- serving ---------------------------------------------------------------------------------------------- */

/* Accept-Encoding names gzip, not with a weight of 0. */
static bool takes_gzip(struct request *rq)
{
    const char *p = request_header(rq, "Accept-Encoding");
    for (; p && *p; p += *p == ',') {
        size_t n = strcspn(p, ",");
        struct str coding = str_trim(str_make(p, strcspn(p, ";,")));
        const char *weight = memmem(p, n, "q=", 2);
        p += n;
        if (coding.len == 4 && strncasecmp(coding.ptr, "gzip", 4) == 0)
            return !weight || strtod(weight + 2, NULL) > 0;
    }
    return false;
}

static void reply_file(struct request *rq, uint32_t i)
{
    const struct buf *packed = &rq->api->console_gzip[i];
    bool gzip = packed->len && takes_gzip(rq);
    rq->csp = policy;
    rq->content_encoding = gzip ? "gzip" : "";
    reply_embedded(rq, gzip ? buf_str(packed) : bytes_of(i), files[i].type, rq->api->console_etags[i][gzip]);
}

void route_page(struct request *rq)
{
    reply_file(rq, 0);
}

void route_console_file(struct request *rq)
{
    for (uint32_t i = 0; i < CONSOLE_FILES; i++)
        if (str_eqz(rq->path[1], files[i].name)) {
            reply_file(rq, i);
            return;
        }
    reply_error(rq, 404, "not_found", NULL, "the console has no such file");
}
