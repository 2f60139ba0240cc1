/* The bytes as a workbook and, since a zip's checksums stop most changed ones early, as a part of a sound workbook:
 * the first byte chooses which. */
#include <archive.h>
#include <archive_entry.h>

#include "extract_fuzz.h"

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
        {"xl/worksheets/sheet1.xml",
         "<x><row><c t='s' s='1'><v>0</v></c><c s='1'><v>45306.5</v></c></row></x>"},
        {"xl/sharedStrings.xml", "<x><si><t>name</t></si><si><t>fee</t></si></x>"},
        {"xl/styles.xml", "<x><cellXfs><xf numFmtId='0'/><xf numFmtId='14'/></cellXfs></x>"},
        {"xl/workbook.xml", "<x><sheet name='S' id='a'/></x>"},
        {"xl/_rels/workbook.xml.rels",
         "<x><Relationship Id='a' Target='worksheets/sheet1.xml'/><Relationship "
         "Type='/sharedStrings' Target='sharedStrings.xml'/><Relationship Type='/styles' "
         "Target='styles.xml'/></x>"},
    };
    enum { N = sizeof parts / sizeof *parts };
    static char zip[1 << 17];
    size_t used = 0;
    extract_fuzz(FORMAT_XLSX, data, size);
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
    extract_fuzz(FORMAT_XLSX, (const uint8_t *)zip, used);
    return 0;
}
