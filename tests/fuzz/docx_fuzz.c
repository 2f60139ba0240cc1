/* The bytes as a Word document and, since a zip's checksums stop most changed ones early, as a part of a sound one:
 * the first byte chooses which. */
#include <archive.h>
#include <archive_entry.h>

#include "extract_fuzz.h"

#define W "xmlns:w='http://schemas.openxmlformats.org/wordprocessingml/2006/main'"

static void add(struct archive *a, const char *name, const void *p, size_t n)
{
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, name);
    archive_entry_set_size(e, (la_int64_t)n);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_write_header(a, e);
    archive_write_data(a, p, n);
    archive_entry_free(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct {
        const char *name, *text;
    } parts[] = {
        {"word/document.xml",
         "<w:document " W "><w:body><w:p><w:pPr><w:pStyle w:val='1'/></w:pPr><w:r><w:t>h</w:t></w:r></w:p>"
         "<w:p><w:pPr><w:numPr><w:ilvl w:val='0'/><w:numId w:val='1'/></w:numPr></w:pPr><w:r><w:t>x</w:t>"
         "<w:footnoteReference w:id='2'/></w:r></w:p></w:body></w:document>"},
        {"word/styles.xml",
         "<w:styles " W "><w:style w:styleId='1'><w:name w:val='heading 1'/></w:style></w:styles>"},
        {"word/numbering.xml",
         "<w:numbering " W
         "><w:abstractNum w:abstractNumId='0'><w:lvl w:ilvl='0'><w:numFmt w:val='decimal'/><w:lvlText "
         "w:val='%1.'/></w:lvl></w:abstractNum><w:num w:numId='1'><w:abstractNumId w:val='0'/></w:num></w:numbering>"},
        {"word/footnotes.xml",
         "<w:footnotes " W
         "><w:footnote w:id='2'><w:p><w:r><w:t>n</w:t></w:r></w:p></w:footnote></w:footnotes>"},
        {"word/_rels/document.xml.rels",
         "<x><Relationship Type='/styles' Target='styles.xml'/><Relationship Type='/numbering' "
         "Target='numbering.xml'/><Relationship Type='/footnotes' Target='footnotes.xml'/></x>"},
    };
    enum { N = sizeof parts / sizeof *parts };
    static char zip[1 << 17];
    size_t used = 0;
    extract_fuzz(FORMAT_DOCX, data, size);
    if (size == 0 || size > 1 << 16)
        return 0;
    struct archive *a = archive_write_new();
    archive_write_set_format_zip(a);
    archive_write_zip_set_compression_store(a);
    archive_write_open_memory(a, zip, sizeof zip, &used);
    for (unsigned i = 0; i < N; i++)
        if (i == data[0] % N)
            add(a, parts[i].name, data + 1, size - 1);
        else
            add(a, parts[i].name, parts[i].text, strlen(parts[i].text));
    archive_write_free(a);
    extract_fuzz(FORMAT_DOCX, (const uint8_t *)zip, used);
    return 0;
}
