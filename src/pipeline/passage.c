#include "pipeline/passage.h"

static void add_part(struct buf *out, struct str part, struct str before)
{
    if (part.len == 0 || (before.len && str_eq(part, before)))
        return;
    buf_adds(out, part);
    buf_addc(out, ' ');
}

void passage_text(struct str title, struct str heading_path, struct str text, struct buf *out)
{
    struct str before = title;
    add_part(out, title, str_make(NULL, 0));
    while (heading_path.len) {
        const char *sep = memchr(heading_path.ptr, '\x1f', heading_path.len);
        size_t n = sep ? (size_t)(sep - heading_path.ptr) : heading_path.len;
        struct str part = str_make(heading_path.ptr, n);
        add_part(out, part, before);
        before = part;
        heading_path = sep ? str_make(heading_path.ptr + n + 1, heading_path.len - n - 1) : (struct str){0};
    }
    buf_adds(out, text);
}
