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
    {"ndjson", FORMAT_JSONL},      {"xlsx", FORMAT_XLSX},
};

static const char *const names[] = {"unknown", "text", "markdown", "html", "csv", "json", "jsonl", "xlsx"};

enum extract_format extract_format_of(const char *filename)
{
    const char *slash = strrchr(filename, '/');
    const char *base = slash ? slash + 1 : filename;
    const char *dot = strrchr(base, '.');
    if (!dot || dot == base) /* ".md" is a hidden file without an extension */
        return FORMAT_UNKNOWN;
    for (size_t i = 0; i < sizeof extensions / sizeof *extensions; i++)
        if (strcasecmp(dot + 1, extensions[i].ext) == 0)
            return extensions[i].format;
    return FORMAT_UNKNOWN;
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

/* "dir/fees 2024.xlsx" gives "fees 2024". */
static struct str stem_of(const char *name)
{
    const char *slash = strrchr(name, '/');
    const char *base = slash ? slash + 1 : name;
    const char *dot = strrchr(base, '.');
    return str_make(base, dot && dot != base ? (size_t)(dot - base) : strlen(base));
}

static rag_code run(enum extract_format f, struct doc_writer *w, struct str s)
{
    switch (f) {
    case FORMAT_TEXT: return extract_text(w, s);
    case FORMAT_MARKDOWN: return extract_markdown(w, s);
    case FORMAT_HTML: return extract_html(w, s);
    case FORMAT_CSV: return extract_csv(w, s);
    case FORMAT_JSON: return extract_json(w, s);
    case FORMAT_JSONL: return extract_jsonl(w, s);
    case FORMAT_XLSX: return extract_xlsx(w, s);
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
    if (f != FORMAT_XLSX) {
        rc = charset_decode(bytes, f == FORMAT_HTML, &text, &why);
        if (rc)
            goto done;
        bytes = buf_slice(&text, 0, text.len);
    }
    rc = run(f, &w, bytes);
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
