/* tests/unit/zip_writer.h - a zip in memory, for tests that write Office files. */
#ifndef RAGD_ZIP_WRITER_H
#define RAGD_ZIP_WRITER_H

#include <archive.h>
#include <archive_entry.h>

#include "base/buf.h"
#include "test.h"

/* *used grows to the size of the zip, complete after archive_write_free. */
static inline struct archive *zip_start(struct buf *out, size_t cap, size_t *used)
{
    struct archive *a = archive_write_new();
    CHECK_OK(archive_write_set_format_zip(a));
    CHECK(buf_reserve(out, cap));
    CHECK_OK(archive_write_open_memory(a, out->ptr, cap, used));
    return a;
}

static inline void zip_add(struct archive *a, const char *name, const char *s, size_t n, size_t times)
{
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, name);
    archive_entry_set_size(e, (la_int64_t)(n * times));
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0644);
    CHECK_OK(archive_write_header(a, e));
    for (size_t i = 0; i < times; i++)
        CHECK_EQ(archive_write_data(a, s, n), n);
    archive_entry_free(e);
}

static inline void zip_addz(struct archive *a, const char *name, const char *s)
{
    zip_add(a, name, s, strlen(s), 1);
}

#endif
