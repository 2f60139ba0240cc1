#include "index/manifest.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

enum { MANIFEST_VERSION = 1 };

void manifest_init(struct manifest *m)
{
    *m = (struct manifest){.next_file = 1};
    buf_init(&m->entries, MEM_INDEX);
}

void manifest_clear(struct manifest *m)
{
    buf_clear(&m->entries);
}

static bool file_name_ok(const char *s)
{
    size_t digits = strspn(s, "0123456789");
    return digits > 0 && digits <= 20 && strcmp(s + digits, ".seg") == 0;
}

static rag_code parse_entries(const json_t *list, struct manifest *out)
{
    size_t i;
    json_t *e;
    json_array_foreach(list, i, e)
    {
        const char *file = json_string_value(json_object_get(e, "file"));
        const json_t *coll = json_object_get(e, "collection");
        if (!file || !file_name_ok(file) || !json_is_integer(coll))
            return RAG_ECORRUPT;
        struct manifest_entry m = {.collection = json_integer_value(coll)};
        snprintf(m.file, sizeof m.file, "%s", file);
        BUF_ADD_VALUE(&out->entries, m);
        if (buf_failed(&out->entries))
            return RAG_ENOMEM;
    }
    return RAG_OK;
}

rag_code manifest_parse(struct str bytes, struct manifest *out, struct rag_err *err)
{
    json_error_t why;
    json_t *root = json_loadb(bytes.ptr, bytes.len, JSON_REJECT_DUPLICATES, &why);
    if (!root)
        return rag_err_set(err, RAG_ECORRUPT, "manifest: %s", why.text);
    rag_code rc = RAG_ECORRUPT;
    const json_t *version = json_object_get(root, "ragd_manifest"),
                 *next = json_object_get(root, "next_file");
    const json_t *list = json_object_get(root, "segments");
    if (json_is_integer(version) && json_integer_value(version) > MANIFEST_VERSION) {
        rc = rag_err_set(err, RAG_EVERSION,
                         "manifest: version %" JSON_INTEGER_FORMAT " is newer than this ragd reads",
                         json_integer_value(version));
    } else if (!json_is_integer(version) || json_integer_value(version) < 1 || !json_is_integer(next) ||
               json_integer_value(next) < 1 || json_integer_value(next) >= MANIFEST_MAX_FILE ||
               !json_is_array(list)) {
        rag_err_set(err, rc, "manifest: fields missing");
    } else {
        out->next_file = (uint64_t)json_integer_value(next);
        rc = parse_entries(list, out);
        if (rc)
            rag_err_set(err, rc, "manifest: bad segment entry");
    }
    json_decref(root);
    return rc;
}

void manifest_format(const struct manifest *m, struct buf *out)
{
    const struct manifest_entry *e = (const void *)m->entries.ptr;
    buf_addf(out, "{\"ragd_manifest\":%d,\"next_file\":%" PRIu64 ",\"segments\":[", MANIFEST_VERSION,
             m->next_file);
    for (size_t i = 0; i < m->entries.len / sizeof *e; i++)
        buf_addf(out, "%s{\"collection\":%" PRId64 ",\"file\":\"%s\"}", i ? "," : "", e[i].collection,
                 e[i].file);
    buf_addz(out, "]}\n");
}
