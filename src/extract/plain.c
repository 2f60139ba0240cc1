/* Plain text: paragraphs between blank lines. A short line of its own that is numbered the way Chinese and English
 * documents number their sections is a heading. */
#include "extract/extract_int.h"
#include "text/utf8.h"

enum { HEADING_CHARS = 40 };

static bool has_prefix(struct str s, const char *z, size_t *i)
{
    size_t n = strlen(z);
    if (s.len - *i < n || memcmp(s.ptr + *i, z, n) != 0)
        return false;
    *i += n;
    return true;
}

/* Chinese numerals or digits from *i on; false when there is none. */
static bool numeral(struct str s, size_t *i)
{
    static const char *const digits[] = {"一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "百"};
    size_t start = *i;
    for (bool found = true; found && *i < s.len;) {
        found = s.ptr[*i] >= '0' && s.ptr[*i] <= '9';
        *i += found;
        for (size_t k = 0; !found && k < sizeof digits / sizeof *digits; k++)
            found = has_prefix(s, digits[k], i);
    }
    return *i > start;
}

/* 1 for "第一章 ...", 2 for "第二节" and "一、...", 3 for "（一）..."; 0: no heading. */
static unsigned heading_level(struct str s)
{
    static const char *const sentence_ends[] = {"。", "；", "，", "：", "？", "！", ".", ";", ",", ":"};
    size_t i = 0;
    if (s.len == 0 || utf8_count(s) > HEADING_CHARS || memchr(s.ptr, '\n', s.len))
        return 0;
    for (size_t k = 0; k < sizeof sentence_ends / sizeof *sentence_ends; k++) {
        size_t n = strlen(sentence_ends[k]);
        if (s.len >= n && memcmp(s.ptr + s.len - n, sentence_ends[k], n) == 0)
            return 0;
    }
    if (has_prefix(s, "第", &i) && numeral(s, &i)) {
        if (has_prefix(s, "章", &i) || has_prefix(s, "篇", &i) || has_prefix(s, "部分", &i))
            return 1;
        return has_prefix(s, "节", &i) ? 2 : 0;
    }
    i = 0;
    if (has_prefix(s, "（", &i))
        return numeral(s, &i) && has_prefix(s, "）", &i) ? 3 : 0;
    i = 0;
    if ((unsigned char)s.ptr[0] >= 0x80 && numeral(s, &i) && has_prefix(s, "、", &i))
        return 2;
    i = 0;
    if (has_prefix(s, "Chapter ", &i))
        return 1;
    return 0;
}

rag_code extract_text(struct doc_writer *w, struct str s)
{
    size_t start = 0; /* of the paragraph */
    for (size_t i = 0; i <= s.len && !w->rc;) {
        const char *nl = i < s.len ? memchr(s.ptr + i, '\n', s.len - i) : NULL;
        size_t end = nl ? (size_t)(nl - s.ptr) : s.len;
        struct str line = str_trim(str_make(s.ptr + i, end - i));
        unsigned level = heading_level(line);
        if (line.len == 0 || level) {
            docw_block(w, BLOCK_PARAGRAPH, 0, str_make(s.ptr + start, i - start));
            if (level)
                docw_block(w, BLOCK_HEADING, level, line);
            start = end < s.len ? end + 1 : s.len;
        }
        if (!nl)
            break;
        i = end + 1;
    }
    docw_block(w, BLOCK_PARAGRAPH, 0, str_make(s.ptr + start, s.len - start));
    return w->rc;
}
