#include "extract/html_content.h"

#include <string.h>

static struct text_block *blocks_of(const struct text_doc *d, size_t *n)
{
    *n = d->blocks.len / sizeof(struct text_block);
    return (struct text_block *)(void *)d->blocks.ptr;
}

/* Several blocks in a row that are links are a menu, whatever element they are in. */
static void find_link_runs(uint8_t *place, size_t n)
{
    for (size_t i = 0, end; i < n; i = end + 1) {
        for (end = i; end < n && place[end] & IS_LINK; end++)
            ;
        for (size_t k = i; k < end && end - i >= HTML_LINK_RUN; k++)
            place[k] |= IN_LINKS;
    }
}

static bool is_kept(uint8_t place, unsigned drop, unsigned need)
{
    return !(place & drop) && (!need || place & need);
}

static size_t bytes_kept(const struct text_doc *d, const uint8_t *places, unsigned drop, unsigned need)
{
    size_t n, sum = 0;
    const struct text_block *b = blocks_of(d, &n);
    for (size_t i = 0; i < n; i++)
        if (is_kept(places[i], drop, need))
            sum += b[i].end - b[i].start;
    return sum;
}

/* Moves the blocks that stay together. Their separators never need more room than what was between them. */
static void keep(struct text_doc *d, const uint8_t *places, unsigned drop, unsigned need)
{
    size_t n, to = 0;
    struct text_block *b = blocks_of(d, &n);
    struct buf *text = &d->text;
    uint32_t end = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_kept(places[i], drop, need))
            continue;
        struct text_block k = b[i];
        uint32_t len = k.end - k.start;
        if (to) {
            text->ptr[end++] = '\n';
            if (k.kind != BLOCK_LIST_ITEM || b[to - 1].kind != BLOCK_LIST_ITEM)
                text->ptr[end++] = '\n';
        }
        memmove(text->ptr + end, text->ptr + k.start, len);
        k.start = end;
        k.end = end += len;
        b[to++] = k;
    }
    text->len = end;
    d->blocks.len = to * sizeof *b;
}

void html_keep_content(struct text_doc *d, uint8_t *places)
{
    static const struct {
        unsigned drop;
        bool inside; /* <main>, or <article> where there is none */
    } steps[] = {
        {IN_MENU | IN_CHROME | IN_FORM | IN_HIDDEN | IN_LINKS, true},
        {IN_MENU | IN_CHROME | IN_FORM | IN_HIDDEN | IN_LINKS, false},
        {IN_MENU | IN_CHROME | IN_HIDDEN, false},
        {IN_MENU, false},
        {0, false},
    };
    size_t n, i = 0, all = bytes_kept(d, places, IN_MENU, 0);
    unsigned inside = bytes_kept(d, places, 0, IN_MAIN)      ? IN_MAIN
                      : bytes_kept(d, places, 0, IN_ARTICLE) ? IN_ARTICLE
                                                             : 0;
    (void)blocks_of(d, &n);
    find_link_runs(places, n);
    for (; i + 1 < sizeof steps / sizeof *steps; i++) {
        size_t kept = bytes_kept(d, places, steps[i].drop, steps[i].inside ? inside : 0);
        if (kept && kept * 4 >= all)
            break;
    }
    keep(d, places, steps[i].drop, steps[i].inside ? inside : 0);
}
