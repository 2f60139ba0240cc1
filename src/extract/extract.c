#include "extract/extract.h"

#include <strings.h>

#include "extract/extract_int.h"

const struct extract_limits extract_default_limits = {
    .max_input_bytes = 64u << 20,
    .max_output_bytes = 64u << 20,
    .max_memory_bytes = 1u << 30,
    .cpu_s = 20,
    .wall_ms = 30000,
};

static const struct {
    const char *ext;
    enum extract_format format;
} extensions[] = {
    {"txt", FORMAT_TEXT},          {"text", FORMAT_TEXT}, {"log", FORMAT_TEXT},  {"md", FORMAT_MARKDOWN},
    {"markdown", FORMAT_MARKDOWN}, {"html", FORMAT_HTML}, {"htm", FORMAT_HTML},  {"xhtml", FORMAT_HTML},
    {"csv", FORMAT_CSV},           {"tsv", FORMAT_CSV},   {"json", FORMAT_JSON}, {"jsonl", FORMAT_JSONL},
    {"ndjson", FORMAT_JSONL},      {"xlsx", FORMAT_XLSX}, {"docx", FORMAT_DOCX},
    {"pdf", FORMAT_PDF},
};

static const char *const names[] = {"unknown", "text", "markdown", "html", "csv", "json", "jsonl", "xlsx", "docx", "pdf"};

/* Of a file name without its folders; NULL: none. ".md" is a hidden file without an extension. */
static const char *extension_of(const char *filename)
{
    const char *slash = strrchr(filename, '/');
    const char *base = slash ? slash + 1 : filename;
    const char *dot = strrchr(base, '.');
    return dot && dot != base ? dot + 1 : NULL;
}

enum extract_format extract_format_of(const char *filename)
{
    const char *ext = extension_of(filename);
    for (size_t i = 0; ext && i < sizeof extensions / sizeof *extensions; i++)
        if (strcasecmp(ext, extensions[i].ext) == 0)
            return extensions[i].format;
    return FORMAT_UNKNOWN;
}

const char *extract_advice(const char *filename)
{
    static const struct {
        const char *ext, *advice;
    } known[] = {
        {"docm", "a document with macros is not taken: save it as docx"},
        {"dotm", "a template with macros is not taken: save it as docx"},
        {"doc", "an old Word file is not taken: save it as docx"},
        {"wps", "a WPS file is not taken: save it as docx"},
        {"xlsm", "a workbook with macros is not taken: save it as xlsx"},
        {"xls", "an old Excel file is not taken: save it as xlsx"},
        {"et", "a WPS file is not taken: save it as xlsx"},
    };
    const char *ext = extension_of(filename);
    for (size_t i = 0; ext && i < sizeof known / sizeof *known; i++)
        if (strcasecmp(ext, known[i].ext) == 0)
            return known[i].advice;
    return "this type is not supported: use txt, md, html, csv, tsv, json, jsonl, xlsx, docx or pdf";
}

enum extract_format extract_format_by_name(struct str name)
{
    for (size_t i = 1; i < sizeof names / sizeof *names; i++)
        if (str_eqz(name, names[i]))
            return (enum extract_format)i;
    return FORMAT_UNKNOWN;
}

const char *extract_format_name(enum extract_format f)
{
    return (size_t)f < sizeof names / sizeof *names ? names[f] : names[0];
}

const char *extract_kind_of(struct str bytes)
{
    static const struct {
        const char *magic, *kind;
    } kinds[] = {
        {"%PDF-", "a PDF"},        {"\x89PNG", "a PNG image"},          {"\xFF\xD8\xFF", "a JPEG image"},
        {"GIF8", "a GIF image"},   {"PK\3\4", "a zip or Office file"},  {"\xD0\xCF\x11\xE0", "an old Office file"},
        {"\x7F""ELF", "a program"}, {"\x1F\x8B", "a gzip file"},        {"Rar!\x1A", "a RAR archive"},
        {"7z\xBC\xAF", "a 7z archive"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t n = strlen(kinds[i].magic);
        if (bytes.len >= n && memcmp(bytes.ptr, kinds[i].magic, n) == 0)
            return kinds[i].kind;
    }
    return NULL;
}

/* "dir/fees 2024.xlsx" gives "fees 2024"; also from a name with a Windows path. */
static struct str stem_of(const char *name)
{
    const char *base = name;
    for (const char *c = name; *c; c++)
        if (*c == '/' || *c == '\\')
            base = c + 1;
    const char *dot = strrchr(base, '.');
    return str_make(base, dot && dot != base ? (size_t)(dot - base) : strlen(base));
}

static rag_code run(enum extract_format f, struct doc_writer *w, struct str s, const struct extract_limits *lim)
{
    switch (f) {
    case FORMAT_TEXT: return extract_text(w, s);
    case FORMAT_MARKDOWN: return extract_markdown(w, s);
    case FORMAT_HTML: return extract_html(w, s);
    case FORMAT_CSV: return extract_csv(w, s);
    case FORMAT_JSON: return extract_json(w, s);
    case FORMAT_JSONL: return extract_jsonl(w, s);
    case FORMAT_XLSX: return extract_xlsx(w, s);
    case FORMAT_DOCX: return extract_docx(w, s);
    case FORMAT_PDF: return extract_pdf(w, s, lim);
    case FORMAT_UNKNOWN: break;
    }
    return docw_fail(w, RAG_EUNSUPPORTED, "format not supported");
}

/* The first heading of level 1 before any deeper choice; empty when there is none. */
static struct str first_h1(const struct text_doc *d)
{
    const struct text_block *b = (const struct text_block *)(const void *)d->blocks.ptr;
    for (size_t i = 0; i < d->blocks.len / sizeof *b; i++)
        if (b[i].kind == BLOCK_HEADING && b[i].level == 1)
            return str_make(d->text.ptr + b[i].start, b[i].end - b[i].start);
    return str_make(NULL, 0);
}

rag_code extract_bytes(enum extract_format f, struct str bytes, const char *name,
                       const struct extract_limits *lim, struct text_doc *out, struct rag_err *err)
{
    struct doc_writer w;
    struct buf text;
    struct rag_err why = {0};
    rag_code rc = RAG_OK;
    buf_init(&text, MEM_EXTRACT);
    text_doc_clear(out);
    docw_init(&w, out, lim, &why);
    if (lim->max_input_bytes && bytes.len > lim->max_input_bytes) {
        rc = rag_err_set(&why, RAG_ETOOBIG, "%zu bytes, the limit is %llu", bytes.len,
                         (unsigned long long)lim->max_input_bytes);
        goto done;
    }
    if (f != FORMAT_XLSX && f != FORMAT_DOCX && f != FORMAT_PDF) {
        const char *kind = extract_kind_of(bytes);
        if (kind) {
            rc = rag_err_set(&why, RAG_EFORMAT, "is %s, not %s", kind, extract_format_name(f));
            goto done;
        }
        rc = charset_decode(bytes, f == FORMAT_HTML, &text, &why);
        if (rc)
            goto done;
        bytes = buf_slice(&text, 0, text.len);
    }
    rc = run(f, &w, bytes, lim);
    docw_title(&w, first_h1(out));
    docw_title(&w, stem_of(name ? name : ""));
    if (!rc)
        rc = w.rc;
done:
    if (rc) {
        rag_err_set(err, rc, "%s: %s", name ? name : "input", why.msg[0] ? why.msg : rag_code_name(rc));
        text_doc_clear(out);
    }
    buf_clear(&text);
    return rc;
}
