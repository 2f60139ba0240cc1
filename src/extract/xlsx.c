/* A workbook is a zip of XML parts. Each part we need is unpacked as a stream into libxml2's push parser: neither the
 * unpacked part nor a tree is ever in memory. In this order, since the zip may have them in any:
 *
 *   _rels/.rels -> the workbook; workbook.xml -> sheets, their state, 1904 dates; its .rels -> where the parts are;
 *   styles -> number formats; shared strings; then sheet by sheet into a grid (grid.c finds headers and makes records)
 *
 * Against bombs: bytes unpacked are counted over all parts, absolutely and relative to the file's size; a part that
 * declares entities is refused at the declaration; cells, shared strings, sheets and zip entries have limits.
 * Each part is found by walking the directory again: cheap beside unpacking, as the zip reader seeks. */
#include <archive.h>
#include <archive_entry.h>
#include <libxml/parser.h>
#include <stdio.h>
#include <stdlib.h>

#include "extract/grid.h"
#include "extract/number_format.h"

enum {
    MAX_ENTRIES = 4096,
    MAX_SHEETS = 256,
    MAX_STYLES = 65536,
    MAX_FORMATS = 4096,
    MAX_STRINGS = 4 << 20,
    PIECE = 32 << 10,
    RATIO_FREE = 16 << 20, /* below this many bytes the ratio does not matter */
    MAX_RATIO = 200,       /* sheets pack 10 to 50 times; deflate's limit is 1032 */
};
static const uint64_t max_unpacked = (uint64_t)512 << 20;

struct span {
    uint32_t off, len; /* in book.names or book.strings */
};
struct sheet {
    struct span name, rel_id;
    bool hidden;
};
struct relation {
    struct span id, target, type;
};
struct custom_format {
    uint32_t id;
    struct span code;
};

struct cell_style {
    uint32_t format_id;
    struct span code; /* of a custom format, see styles_resolve; len 0: built in */
};

struct book {
    struct doc_writer *w;
    struct str zip;
    uint64_t unpacked;
    bool date1904;
    struct buf names;                 /* bytes of spans other than shared strings */
    struct buf sheets;                /* struct sheet[] */
    struct buf relations;             /* struct relation[]: of the part read last */
    struct buf formats;               /* struct custom_format[] */
    struct buf styles;                /* struct cell_style[] */
    struct buf string_bytes, strings; /* struct span[] */
    struct grid grid;
    uint32_t cells; /* of the sheets before */
};

/* One part being parsed. */
struct part {
    struct book *b;
    xmlParserCtxtPtr ctxt;
    unsigned depth;
    bool in_cell_xfs, collect, phonetic;
    struct buf text; /* characters of the element being collected */
    size_t string_start;
    uint32_t row, col, next_col, style; /* of the open cell; rows from 1 */
    char type[12];
};

static void part_stop(struct part *p)
{
    if (p->b->w->rc && p->ctxt)
        xmlStopParser(p->ctxt);
}

typedef void (*start_fn)(struct part *p, const char *name, int n_atts, const xmlChar **atts);
typedef void (*end_fn)(struct part *p, const char *name);

struct part_kind {
    start_fn start;
    end_fn end;
};

/* SAX2 attributes come in fives: local name, prefix, URI, value, end of value. */
static struct str attribute(int n, const xmlChar **atts, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp((const char *)atts[5 * i], name) == 0)
            return str_make((const char *)atts[5 * i + 3], (size_t)(atts[5 * i + 4] - atts[5 * i + 3]));
    return str_make(NULL, 0);
}

static bool number_of(struct str s, uint32_t max, uint32_t *v)
{
    uint64_t n = 0;
    if (s.len == 0 || s.len > 10)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(s.ptr[i] - '0');
    }
    *v = (uint32_t)n;
    return n <= max;
}

/* Attribute values reach SAX2 with & and < still escaped as character references only; names need &amp; undone. */
static struct span keep(struct book *b, struct str s)
{
    size_t off = b->names.len;
    if (off > UINT32_MAX / 2)
        docw_fail(b->w, RAG_ETOOBIG, "too many names");
    for (size_t i = 0; i < s.len;) {
        if (s.len - i >= 5 && memcmp(s.ptr + i, "&#38;", 5) == 0) {
            buf_addc(&b->names, '&');
            i += 5;
        } else {
            buf_addc(&b->names, s.ptr[i++]);
        }
    }
    if (buf_failed(&b->names))
        docw_fail(b->w, RAG_ENOMEM, "out of memory");
    return (struct span){(uint32_t)off, (uint32_t)(b->names.len - off)};
}

static struct str name_of(const struct book *b, struct span s)
{
    return buf_slice(&b->names, s.off, s.len);
}

static void add_item(struct book *b, struct buf *list, const void *item, size_t size, size_t max,
                     const char *what)
{
    if (list->len / size >= max)
        docw_fail(b->w, RAG_ETOOBIG, "more than %zu %s", max, what);
    else
        buf_add(list, item, size);
    if (buf_failed(list))
        docw_fail(b->w, RAG_ENOMEM, "out of memory");
}

/* --- the parts --- */

static void rels_start(struct part *p, const char *name, int n, const xmlChar **atts)
{
    if (strcmp(name, "Relationship") != 0)
        return;
    struct relation r = {
        .id = keep(p->b, attribute(n, atts, "Id")),
        .target = keep(p->b, attribute(n, atts, "Target")),
        .type = keep(p->b, attribute(n, atts, "Type")),
    };
    add_item(p->b, &p->b->relations, &r, sizeof r, MAX_ENTRIES, "relations");
}

static void workbook_start(struct part *p, const char *name, int n, const xmlChar **atts)
{
    if (strcmp(name, "workbookPr") == 0) {
        struct str v = attribute(n, atts, "date1904");
        p->b->date1904 = str_eqz(v, "1") || str_eqz(v, "true");
    }
    if (strcmp(name, "sheet") != 0)
        return;
    struct str state = attribute(n, atts, "state");
    struct sheet s = {.hidden = state.len && !str_eqz(state, "visible")};
    s.name = keep(p->b, attribute(n, atts, "name"));
    s.rel_id = keep(p->b, attribute(n, atts, "id"));
    add_item(p->b, &p->b->sheets, &s, sizeof s, MAX_SHEETS, "sheets");
}

static void styles_start(struct part *p, const char *name, int n, const xmlChar **atts)
{
    uint32_t id = 0;
    bool has_id = number_of(attribute(n, atts, "numFmtId"), UINT32_MAX, &id);
    if (strcmp(name, "cellXfs") == 0) {
        p->in_cell_xfs = true;
    } else if (strcmp(name, "numFmt") == 0 && has_id) {
        struct custom_format f = {id, keep(p->b, attribute(n, atts, "formatCode"))};
        add_item(p->b, &p->b->formats, &f, sizeof f, MAX_FORMATS, "number formats");
    } else if (strcmp(name, "xf") == 0 && p->in_cell_xfs) {
        struct cell_style st = {.format_id = id};
        add_item(p->b, &p->b->styles, &st, sizeof st, MAX_STYLES, "cell styles");
    }
}

static void styles_end(struct part *p, const char *name)
{
    if (strcmp(name, "cellXfs") == 0)
        p->in_cell_xfs = false;
}

static void strings_start(struct part *p, const char *name, int n, const xmlChar **atts)
{
    (void)n;
    (void)atts;
    if (strcmp(name, "si") == 0)
        buf_reset(&p->text);
    else if (strcmp(name, "rPh") == 0) /* how to read it aloud */
        p->phonetic = true;
    else if (strcmp(name, "t") == 0)
        p->collect = !p->phonetic;
}

static void strings_end(struct part *p, const char *name)
{
    struct book *b = p->b;
    if (strcmp(name, "t") == 0)
        p->collect = false;
    else if (strcmp(name, "rPh") == 0)
        p->phonetic = false;
    if (strcmp(name, "si") != 0)
        return;
    struct span s = {(uint32_t)b->string_bytes.len, (uint32_t)p->text.len};
    buf_adds(&b->string_bytes, buf_str(&p->text));
    if (b->string_bytes.len > 2 * b->w->max_bytes || b->string_bytes.len > UINT32_MAX / 2)
        docw_fail(b->w, RAG_ETOOBIG, "shared strings too large");
    if (buf_failed(&b->string_bytes))
        docw_fail(b->w, RAG_ENOMEM, "out of memory");
    add_item(b, &b->strings, &s, sizeof s, MAX_STRINGS, "shared strings");
}

/* "AB12": column 27, row 12. */
static bool reference(struct str s, uint32_t *row, uint32_t *col)
{
    uint32_t c = 0;
    size_t i = 0;
    for (; i < s.len && i < 4 && s.ptr[i] >= 'A' && s.ptr[i] <= 'Z'; i++)
        c = c * 26 + (uint32_t)(s.ptr[i] - 'A' + 1);
    if (c == 0 || !number_of(str_make(s.ptr + i, s.len - i), EXTRACT_MAX_ROWS, row))
        return false;
    *col = c - 1;
    return *row > 0 && c <= EXTRACT_MAX_COLUMNS;
}

/* Once, when styles and formats are both known: cells then find their format at once. */
static void styles_resolve(struct book *b)
{
    struct cell_style *st = (struct cell_style *)(void *)b->styles.ptr;
    const struct custom_format *f = (const struct custom_format *)(const void *)b->formats.ptr;
    for (size_t i = 0; i < b->styles.len / sizeof *st; i++)
        for (size_t k = 0; k < b->formats.len / sizeof *f; k++)
            if (f[k].id == st[i].format_id) {
                st[i].code = f[k].code;
                break;
            }
}

static struct str format_of(const struct book *b, uint32_t style)
{
    const struct cell_style *st = (const struct cell_style *)(const void *)b->styles.ptr;
    if (style >= b->styles.len / sizeof *st)
        return str_make(NULL, 0);
    return st[style].code.len ? name_of(b, st[style].code) : number_format_builtin(st[style].format_id);
}

static void cell_number(struct part *p)
{
    char text[64], *end;
    struct book *b = p->b;
    struct str s = str_trim(buf_str(&p->text));
    if (s.len == 0 || s.len >= sizeof text)
        return;
    memcpy(text, s.ptr, s.len);
    text[s.len] = 0;
    double v = strtod(text, &end);
    if (*end) {
        grid_add(&b->grid, b->w, p->row, p->col, CELL_TEXT, s);
        return;
    }
    struct buf shown;
    buf_init(&shown, MEM_EXTRACT);
    number_format(&shown, v, format_of(b, p->style), b->date1904);
    if (buf_failed(&shown))
        docw_fail(b->w, RAG_ENOMEM, "out of memory");
    grid_add(&b->grid, b->w, p->row, p->col, CELL_NUMBER, buf_str(&shown));
    buf_clear(&shown);
}

static void cell_end(struct part *p)
{
    struct book *b = p->b;
    uint32_t i;
    struct str s = str_trim(buf_str(&p->text));
    if (s.len == 0)
        return;
    if (strcmp(p->type, "s") == 0) {
        const struct span *strings = (const struct span *)(const void *)b->strings.ptr;
        if (!number_of(s, UINT32_MAX, &i) || i >= b->strings.len / sizeof *strings)
            docw_fail(b->w, RAG_EFORMAT, "row %u: no such shared string", p->row);
        else
            grid_add(&b->grid, b->w, p->row, p->col, CELL_TEXT,
                     buf_slice(&b->string_bytes, strings[i].off, strings[i].len));
    } else if (strcmp(p->type, "b") == 0) {
        grid_add(&b->grid, b->w, p->row, p->col, CELL_NUMBER, str_of(str_eqz(s, "1") ? "TRUE" : "FALSE"));
    } else if (strcmp(p->type, "str") == 0 || strcmp(p->type, "inlineStr") == 0) {
        grid_add(&b->grid, b->w, p->row, p->col, CELL_TEXT, s);
    } else if (strcmp(p->type, "d") == 0) {
        grid_add(&b->grid, b->w, p->row, p->col, CELL_NUMBER, s);
    } else if (strcmp(p->type, "e") != 0) { /* #N/A and the like say nothing */
        cell_number(p);
    }
}

static void sheet_start(struct part *p, const char *name, int n, const xmlChar **atts)
{
    uint32_t v;
    if (strcmp(name, "c") == 0) {
        struct str t = attribute(n, atts, "t"), ref = attribute(n, atts, "r");
        p->col = p->next_col;
        if (ref.len && !reference(ref, &p->row, &p->col))
            docw_fail(p->b->w, RAG_EFORMAT, "a cell with a wrong reference");
        p->next_col = p->col + 1;
        p->style = number_of(attribute(n, atts, "s"), MAX_STYLES, &v) ? v : 0;
        snprintf(p->type, sizeof p->type, "%.*s", (int)(t.len < 11 ? t.len : 11), t.len ? t.ptr : "");
        buf_reset(&p->text);
    } else if (strcmp(name, "v") == 0 || strcmp(name, "t") == 0) {
        p->collect = !p->phonetic;
    } else if (strcmp(name, "rPh") == 0) {
        p->phonetic = true;
    } else if (strcmp(name, "row") == 0) {
        p->row = number_of(attribute(n, atts, "r"), EXTRACT_MAX_ROWS, &v) ? v : p->row + 1;
        p->next_col = 0;
    } else if (strcmp(name, "mergeCell") == 0) {
        struct str ref = attribute(n, atts, "ref");
        const char *colon = ref.len ? memchr(ref.ptr, ':', ref.len) : NULL;
        struct grid_merge m;
        if (colon && reference(str_make(ref.ptr, (size_t)(colon - ref.ptr)), &m.r1, &m.c1) &&
            reference(str_make(colon + 1, ref.len - (size_t)(colon - ref.ptr) - 1), &m.r2, &m.c2))
            grid_merge(&p->b->grid, p->b->w, m);
    }
}

static void sheet_end(struct part *p, const char *name)
{
    if (strcmp(name, "v") == 0 || strcmp(name, "t") == 0)
        p->collect = false;
    else if (strcmp(name, "rPh") == 0)
        p->phonetic = false;
    else if (strcmp(name, "c") == 0)
        cell_end(p);
}

/* --- unpacking and parsing --- */

struct sax_context {
    struct part part;
    const struct part_kind *kind;
};

static void on_start(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri, int n_ns,
                     const xmlChar **ns, int n_atts, int n_default, const xmlChar **atts)
{
    struct sax_context *c = ctx;
    (void)prefix, (void)uri, (void)n_ns, (void)ns, (void)n_default;
    if (c->part.b->w->rc)
        return;
    if (++c->part.depth > EXTRACT_MAX_DEPTH)
        docw_fail(c->part.b->w, RAG_ETOOBIG, "XML nested deeper than %d", EXTRACT_MAX_DEPTH);
    else
        c->kind->start(&c->part, (const char *)name, n_atts, atts);
    part_stop(&c->part);
}

static void on_end(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
    struct sax_context *c = ctx;
    (void)prefix, (void)uri;
    c->part.depth--;
    if (c->part.b->w->rc || !c->kind->end)
        return;
    c->kind->end(&c->part, (const char *)name);
    part_stop(&c->part);
}

static void on_text(void *ctx, const xmlChar *s, int len)
{
    struct sax_context *c = ctx;
    if (!c->part.collect || len <= 0)
        return;
    buf_add(&c->part.text, s, (size_t)len);
    if (buf_failed(&c->part.text))
        docw_fail(c->part.b->w, RAG_ENOMEM, "out of memory");
    else if (c->part.text.len > 1 << 20) /* a cell holds at most 32,767 characters */
        docw_fail(c->part.b->w, RAG_ETOOBIG, "a cell of more than 1 MiB");
    part_stop(&c->part);
}

static void on_entity(void *ctx, const xmlChar *name, int type, const xmlChar *pub, const xmlChar *sys,
                      xmlChar *content)
{
    struct sax_context *c = ctx;
    (void)name, (void)type, (void)pub, (void)sys, (void)content;
    docw_fail(c->part.b->w, RAG_ETOOBIG, "XML that declares entities, which could expand without bound");
    part_stop(&c->part);
}

/* Opens the zip and moves to the entry called `path`; NULL when it is not there or the zip is damaged (w->rc). */
static struct archive *entry_open(struct book *b, struct str path)
{
    struct archive_entry *e;
    struct archive *a = archive_read_new();
    if (!a || archive_read_support_format_zip_seekable(a) != ARCHIVE_OK ||
        archive_read_open_memory(a, b->zip.ptr, b->zip.len) != ARCHIVE_OK) {
        docw_fail(b->w, RAG_EFORMAT, "not a workbook: %s",
                  a && archive_error_string(a) ? archive_error_string(a) : "?");
        archive_read_free(a);
        return NULL;
    }
    for (int i = 0;; i++) {
        int r = archive_read_next_header(a, &e);
        if (r == ARCHIVE_EOF)
            break;
        if (i >= MAX_ENTRIES) {
            docw_fail(b->w, RAG_ETOOBIG, "more than %d files in the zip", MAX_ENTRIES);
            break;
        }
        if (r < ARCHIVE_WARN) {
            docw_fail(b->w, RAG_EFORMAT, "damaged zip: %s",
                      archive_error_string(a) ? archive_error_string(a) : "?");
            break;
        }
        const char *name = archive_entry_pathname(e);
        if (name && strlen(name) == path.len && strncasecmp(name, path.ptr, path.len) == 0)
            return a;
    }
    archive_read_free(a);
    return NULL;
}

static void unpack(struct book *b, struct archive *a, xmlParserCtxtPtr ctxt)
{
    char piece[PIECE];
    for (;;) {
        la_ssize_t n = archive_read_data(a, piece, sizeof piece);
        if (n < 0) {
            docw_fail(b->w, RAG_EFORMAT, "damaged zip: %s",
                      archive_error_string(a) ? archive_error_string(a) : "?");
            return;
        }
        b->unpacked += (uint64_t)n;
        if (b->unpacked > max_unpacked ||
            (b->unpacked > RATIO_FREE && b->unpacked / MAX_RATIO > b->zip.len)) {
            docw_fail(b->w, RAG_ETOOBIG, "unpacks to more than %llu MiB from %zu KiB",
                      (unsigned long long)(b->unpacked >> 20), b->zip.len >> 10);
            return;
        }
        int bad = xmlParseChunk(ctxt, piece, (int)n, n == 0);
        if (b->w->rc)
            return;
        if (bad && ctxt->wellFormed == 0) {
            const xmlError *e = xmlCtxtGetLastError(ctxt);
            docw_fail(b->w, RAG_EFORMAT, "damaged XML at line %d", e ? e->line : 0);
            return;
        }
        if (n == 0)
            return;
    }
}

/* Parses the part `path`. False when the zip has none such or w has failed. */
static bool part_read(struct book *b, struct str path, const struct part_kind *kind)
{
    xmlSAXHandler sax = {
        .initialized = XML_SAX2_MAGIC,
        .startElementNs = on_start,
        .endElementNs = on_end,
        .characters = on_text,
        .cdataBlock = on_text,
        .entityDecl = on_entity,
    };
    struct sax_context c = {.part = {.b = b}, .kind = kind};
    if (b->w->rc)
        return false;
    struct archive *a = entry_open(b, path);
    if (!a)
        return false;
    buf_init(&c.part.text, MEM_EXTRACT);
    c.part.ctxt = xmlCreatePushParserCtxt(&sax, &c, NULL, 0, NULL);
    if (c.part.ctxt) {
        xmlCtxtUseOptions(c.part.ctxt, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
        unpack(b, a, c.part.ctxt);
        xmlFreeDoc(c.part.ctxt->myDoc);
        xmlFreeParserCtxt(c.part.ctxt);
    } else {
        docw_fail(b->w, RAG_ENOMEM, "out of memory");
    }
    buf_clear(&c.part.text);
    archive_read_free(a);
    return b->w->rc == RAG_OK;
}

static bool ends_with(struct str s, const char *z)
{
    size_t n = strlen(z);
    return s.len >= n && memcmp(s.ptr + s.len - n, z, n) == 0;
}

/* The target of the first relation with this id or, id.len 0, whose type ends with `type`; relative to `base`, the
 * folder of the part that has the relation ("xl/"). Into path; false when there is none. */
static bool target_of(const struct book *b, struct str id, const char *type, struct str base, char *path,
                      size_t cap)
{
    const struct relation *r = (const struct relation *)(const void *)b->relations.ptr;
    for (size_t i = 0; i < b->relations.len / sizeof *r; i++) {
        if (id.len ? !str_eq(name_of(b, r[i].id), id) : !ends_with(name_of(b, r[i].type), type))
            continue;
        struct str t = name_of(b, r[i].target);
        if (t.len && t.ptr[0] == '/')
            return (size_t)snprintf(path, cap, "%.*s", (int)t.len - 1, t.ptr + 1) < cap;
        while (t.len > 2 && memcmp(t.ptr, "./", 2) == 0)
            t = str_make(t.ptr + 2, t.len - 2);
        return (size_t)snprintf(path, cap, "%.*s%.*s", (int)base.len, base.ptr, (int)t.len, t.ptr) < cap;
    }
    return false;
}

static void sheets_read(struct book *b, struct str base)
{
    static const struct part_kind kind = {sheet_start, sheet_end};
    char path[512];
    size_t n = b->sheets.len / sizeof(struct sheet);
    for (size_t i = 0; i < n && !b->w->rc; i++) {
        const struct sheet *s = (const struct sheet *)(const void *)b->sheets.ptr + i;
        if (s->hidden || !target_of(b, name_of(b, s->rel_id), "", base, path, sizeof path) ||
            strstr(path, "chartsheets/"))
            continue;
        grid_reset(&b->grid);
        b->grid.max_cells = EXTRACT_MAX_CELLS - b->cells;
        if (part_read(b, str_of(path), &kind))
            grid_emit_records(&b->grid, b->w, name_of(b, s->name));
        else
            docw_fail(b->w, RAG_EFORMAT, "sheet %zu is missing", i + 1);
        b->cells += (uint32_t)grid_cell_count(&b->grid);
    }
}

static void book_read(struct book *b)
{
    static const struct part_kind rels = {rels_start, NULL}, workbook = {workbook_start, NULL},
                                  styles = {styles_start, styles_end}, strings = {strings_start, strings_end};
    char path[512], book_path[512] = "xl/workbook.xml", rels_path[600];
    part_read(b, STR_LIT("_rels/.rels"), &rels);
    if (!target_of(b, str_make(NULL, 0), "/officeDocument", STR_LIT(""), book_path, sizeof book_path))
        snprintf(book_path, sizeof book_path, "xl/workbook.xml");
    if (b->w->rc || !part_read(b, str_of(book_path), &workbook)) {
        docw_fail(b->w, RAG_EFORMAT, "a zip without a workbook");
        return;
    }
    const char *slash = strrchr(book_path, '/');
    struct str base = str_make(book_path, slash ? (size_t)(slash - book_path) + 1 : 0);
    snprintf(rels_path, sizeof rels_path, "%.*s_rels/%s.rels", (int)base.len, base.ptr, book_path + base.len);
    buf_reset(&b->relations);
    part_read(b, str_of(rels_path), &rels);
    if (target_of(b, str_make(NULL, 0), "/styles", base, path, sizeof path))
        part_read(b, str_of(path), &styles);
    styles_resolve(b);
    if (target_of(b, str_make(NULL, 0), "/sharedStrings", base, path, sizeof path))
        part_read(b, str_of(path), &strings);
    sheets_read(b, base);
}

rag_code extract_xlsx(struct doc_writer *w, struct str bytes)
{
    struct book b = {.w = w, .zip = bytes};
    struct buf *const bufs[] = {&b.names,  &b.sheets,       &b.relations, &b.formats,
                                &b.styles, &b.string_bytes, &b.strings};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_init(bufs[i], MEM_EXTRACT);
    grid_init(&b.grid, EXTRACT_MAX_CELLS);
    if (bytes.len < 4 || memcmp(bytes.ptr, "PK", 2) != 0)
        docw_fail(w, RAG_EFORMAT, "not a workbook (an old .xls, or protected by a password?)");
    else
        book_read(&b);
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        buf_clear(bufs[i]);
    grid_clear(&b.grid);
    return w->rc;
}
