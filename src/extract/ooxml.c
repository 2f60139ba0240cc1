/* Each part is unpacked as a stream into libxml2's push parser: neither the unpacked part nor a tree is ever in memory.
 *
 * Against bombs: bytes unpacked are counted over all parts, absolutely and relative to the file's size; a part with a
 * document type is refused there, before it can declare an entity (no Office file has one, ECMA-376 part 2, 8.1.4);
 * nesting, relations and zip entries have limits. Names of zip entries are only compared, never opened as files.
 * Each part is found by walking the directory again: cheap beside unpacking, as the zip reader seeks. */
#include "extract/ooxml.h"

#include <archive.h>
#include <archive_entry.h>
#include <libxml/parser.h>
#include <stdio.h>

enum {
    MAX_ENTRIES = 4096,
    MAX_RELATIONS = 65536, /* every link of a text is one */
    PIECE = 32 << 10,
    RATIO_FREE = 16 << 20, /* below this many bytes the ratio does not matter */
    MAX_RATIO = 200,       /* sheets pack 10 to 50 times; deflate's limit is 1032 */
};
static const uint64_t max_unpacked = (uint64_t)512 << 20;

struct relation {
    struct ooxml_span id, target, type;
};

void ooxml_init(struct ooxml *x, struct doc_writer *w, struct str zip, const char *what, unsigned max_depth)
{
    *x = (struct ooxml){.w = w, .zip = zip, .what = what, .max_depth = max_depth};
    buf_init(&x->names, MEM_EXTRACT);
    buf_init(&x->relations, MEM_EXTRACT);
}

void ooxml_clear(struct ooxml *x)
{
    buf_clear(&x->names);
    buf_clear(&x->relations);
}

/* SAX2 attributes come in fives: local name, prefix, URI, value, end of value. */
struct str ooxml_attribute(const struct ooxml_element *e, const char *name)
{
    for (int i = 0; i < e->n; i++)
        if (strcmp((const char *)e->atts[5 * i], name) == 0)
            return str_make((const char *)e->atts[5 * i + 3],
                            (size_t)(e->atts[5 * i + 4] - e->atts[5 * i + 3]));
    return str_make(NULL, 0);
}

bool ooxml_number(struct str s, uint32_t max, uint32_t *v)
{
    uint64_t n = 0;
    if (s.len == 0 || s.len > 10)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(s.ptr[i] - '0');
    }
    if (n > max)
        return false;
    *v = (uint32_t)n;
    return true;
}

struct ooxml_span ooxml_keep(struct ooxml *x, struct str s)
{
    size_t off = x->names.len;
    if (off > UINT32_MAX / 2)
        docw_fail(x->w, RAG_ETOOBIG, "too many names");
    for (size_t i = 0; i < s.len;) {
        if (s.len - i >= 5 && memcmp(s.ptr + i, "&#38;", 5) == 0) {
            buf_addc(&x->names, '&');
            i += 5;
        } else {
            buf_addc(&x->names, s.ptr[i++]);
        }
    }
    if (buf_failed(&x->names))
        docw_fail(x->w, RAG_ENOMEM, "out of memory");
    return (struct ooxml_span){(uint32_t)off, (uint32_t)(x->names.len - off)};
}

struct str ooxml_name(const struct ooxml *x, struct ooxml_span s)
{
    return buf_slice(&x->names, s.off, s.len);
}

void ooxml_add(struct ooxml *x, struct buf *list, const void *item, size_t size, size_t max, const char *what)
{
    if (list->len / size >= max)
        docw_fail(x->w, RAG_ETOOBIG, "more than %zu %s", max, what);
    else
        buf_add(list, item, size);
    if (buf_failed(list))
        docw_fail(x->w, RAG_ENOMEM, "out of memory");
}

/* --- one part --- */

struct parse {
    struct ooxml *x;
    const struct ooxml_reader *reader;
    void *ctx;
    xmlParserCtxtPtr parser;
    unsigned depth;
};

static void stop_if_failed(struct parse *p)
{
    if (p->x->w->rc)
        xmlStopParser(p->parser);
}

static void on_start(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri, int n_ns,
                     const xmlChar **ns, int n_atts, int n_default, const xmlChar **atts)
{
    struct parse *p = ctx;
    (void)prefix, (void)n_ns, (void)ns, (void)n_default;
    if (p->x->w->rc)
        return;
    struct ooxml_element e = {(const char *)name, uri ? (const char *)uri : "", ++p->depth, n_atts, atts};
    if (e.depth > p->x->max_depth)
        docw_fail(p->x->w, RAG_ETOOBIG, "XML nested deeper than %u", p->x->max_depth);
    else
        p->reader->start(p->ctx, &e);
    stop_if_failed(p);
}

static void on_end(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
    struct parse *p = ctx;
    (void)prefix;
    struct ooxml_element e = {(const char *)name, uri ? (const char *)uri : "", p->depth--, 0, NULL};
    if (p->x->w->rc || !p->reader->end)
        return;
    p->reader->end(p->ctx, &e);
    stop_if_failed(p);
}

static void on_text(void *ctx, const xmlChar *s, int len)
{
    struct parse *p = ctx;
    if (p->x->w->rc || len <= 0 || !p->reader->text)
        return;
    p->reader->text(p->ctx, str_make((const char *)s, (size_t)len));
    stop_if_failed(p);
}

static void on_document_type(void *ctx, const xmlChar *name, const xmlChar *pub, const xmlChar *sys)
{
    struct parse *p = ctx;
    (void)name, (void)pub, (void)sys;
    docw_fail(p->x->w, RAG_EFORMAT,
              "XML with a document type, which could declare entities: no Office file has one");
    stop_if_failed(p);
}

static const char *zip_error(struct archive *a)
{
    const char *s = a ? archive_error_string(a) : NULL;
    return s ? s : "?";
}

/* Opens the zip and moves to the entry called `path`; NULL when it is not there or the zip is damaged (w->rc). */
static struct archive *entry_open(struct ooxml *x, struct str path)
{
    struct archive_entry *e;
    struct archive *a = archive_read_new();
    if (!a || archive_read_support_format_zip_seekable(a) != ARCHIVE_OK ||
        archive_read_open_memory(a, x->zip.ptr, x->zip.len) != ARCHIVE_OK) {
        docw_fail(x->w, RAG_EFORMAT, "not %s: %s", x->what, zip_error(a));
        archive_read_free(a);
        return NULL;
    }
    for (int i = 0;; i++) {
        int r = archive_read_next_header(a, &e);
        if (r == ARCHIVE_EOF)
            break;
        if (i >= MAX_ENTRIES) {
            docw_fail(x->w, RAG_ETOOBIG, "more than %d files in the zip", MAX_ENTRIES);
            break;
        }
        if (r < ARCHIVE_WARN) {
            docw_fail(x->w, RAG_EFORMAT, "damaged zip: %s", zip_error(a));
            break;
        }
        const char *name = archive_entry_pathname(e);
        if (name && strlen(name) == path.len && strncasecmp(name, path.ptr, path.len) == 0)
            return a;
    }
    archive_read_free(a);
    return NULL;
}

static void unpack(struct ooxml *x, struct archive *a, xmlParserCtxtPtr parser)
{
    char piece[PIECE];
    for (;;) {
        la_ssize_t n = archive_read_data(a, piece, sizeof piece);
        if (n < 0) {
            docw_fail(x->w, RAG_EFORMAT, "damaged zip: %s", zip_error(a));
            return;
        }
        x->unpacked += (uint64_t)n;
        if (x->unpacked > max_unpacked ||
            (x->unpacked > RATIO_FREE && x->unpacked / MAX_RATIO > x->zip.len)) {
            docw_fail(x->w, RAG_ETOOBIG, "unpacks to more than %llu MiB from %zu KiB",
                      (unsigned long long)(x->unpacked >> 20), x->zip.len >> 10);
            return;
        }
        int bad = xmlParseChunk(parser, piece, (int)n, n == 0);
        if (x->w->rc)
            return;
        if (bad && parser->wellFormed == 0) {
            const xmlError *e = xmlCtxtGetLastError(parser);
            docw_fail(x->w, RAG_EFORMAT, "damaged XML at line %d", e ? e->line : 0);
            return;
        }
        if (n == 0)
            return;
    }
}

bool ooxml_read(struct ooxml *x, struct str path, const struct ooxml_reader *r, void *ctx)
{
    xmlSAXHandler sax = {
        .initialized = XML_SAX2_MAGIC,
        .startElementNs = on_start,
        .endElementNs = on_end,
        .characters = on_text,
        .cdataBlock = on_text,
        .internalSubset = on_document_type,
    };
    struct parse p = {.x = x, .reader = r, .ctx = ctx};
    if (x->w->rc)
        return false;
    struct archive *a = entry_open(x, path);
    if (!a)
        return false;
    p.parser = xmlCreatePushParserCtxt(&sax, &p, NULL, 0, NULL);
    if (p.parser) {
        xmlCtxtUseOptions(p.parser, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
        unpack(x, a, p.parser);
        xmlFreeDoc(p.parser->myDoc);
        xmlFreeParserCtxt(p.parser);
    } else {
        docw_fail(x->w, RAG_ENOMEM, "out of memory");
    }
    archive_read_free(a);
    return x->w->rc == RAG_OK;
}

/* --- relations --- */

static void relations_start(void *ctx, const struct ooxml_element *e)
{
    struct ooxml *x = ctx;
    if (strcmp(e->name, "Relationship") != 0)
        return;
    struct relation r = {
        .id = ooxml_keep(x, ooxml_attribute(e, "Id")),
        .target = ooxml_keep(x, ooxml_attribute(e, "Target")),
        .type = ooxml_keep(x, ooxml_attribute(e, "Type")),
    };
    ooxml_add(x, &x->relations, &r, sizeof r, MAX_RELATIONS, "relations");
}

static const struct ooxml_reader relations_reader = {.start = relations_start};

/* Bytes of the folder of a part, with its '/'. */
static int folder_len(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (int)(slash - path) + 1 : 0;
}

void ooxml_main_part(struct ooxml *x, const char *fallback, char path[OOXML_MAX_PATH])
{
    ooxml_read(x, STR_LIT("_rels/.rels"), &relations_reader, x);
    if (!ooxml_target(x, str_make(NULL, 0), "/officeDocument", "", path))
        snprintf(path, OOXML_MAX_PATH, "%s", fallback);
}

void ooxml_relations(struct ooxml *x, const char *path)
{
    char rels[OOXML_MAX_PATH + 16];
    int n = folder_len(path);
    snprintf(rels, sizeof rels, "%.*s_rels/%s.rels", n, path, path + n);
    buf_reset(&x->relations);
    ooxml_read(x, str_of(rels), &relations_reader, x);
}

static bool ends_with(struct str s, const char *z)
{
    size_t n = strlen(z);
    return s.len >= n && memcmp(s.ptr + s.len - n, z, n) == 0;
}

bool ooxml_target(const struct ooxml *x, struct str id, const char *type, const char *base,
                  char path[OOXML_MAX_PATH])
{
    const struct relation *r = (const struct relation *)(const void *)x->relations.ptr;
    for (size_t i = 0; i < x->relations.len / sizeof *r; i++) {
        if (id.len ? !str_eq(ooxml_name(x, r[i].id), id) : !ends_with(ooxml_name(x, r[i].type), type))
            continue;
        struct str t = ooxml_name(x, r[i].target);
        int n = folder_len(base);
        if (t.len && t.ptr[0] == '/') { /* from the root */
            t = str_make(t.ptr + 1, t.len - 1);
            n = 0;
        }
        while (t.len > 2 && memcmp(t.ptr, "./", 2) == 0)
            t = str_make(t.ptr + 2, t.len - 2);
        if (t.len >= OOXML_MAX_PATH)
            return false;
        return snprintf(path, OOXML_MAX_PATH, "%.*s%.*s", n, base, (int)t.len, t.len ? t.ptr : "") <
               OOXML_MAX_PATH;
    }
    return false;
}
