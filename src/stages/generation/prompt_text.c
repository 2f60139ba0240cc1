/* Foreign text on its way into a prompt, in two passes: first what a reader cannot see goes, then what a machine would
 * take for structure is broken by a space. The order matters: "<\u200B|im_end|>" becomes dangerous only when the first
 * pass is done. The words are never touched: "ignore all rules" is what a passage says, and the rules say that it is a
 * quotation (Hines et al. 2024, arXiv:2403.14720: marks around data, unguessable ones). */
#include "stages/generation/prompt_int.h"

#include <strings.h>

#include "llm/catalogue.h"
#include "text/sentence.h"
#include "text/utf8.h"

/* Zero width, direction marks, tags: text that only a model would read. Joiners (200C, 200D) are spelling. */
static bool is_unseen(uint32_t cp)
{
    return cp == 0xAD || cp == 0x200B || cp == 0x200E || cp == 0x200F || (cp >= 0x202A && cp <= 0x202E) ||
           (cp >= 0x2060 && cp <= 0x206F) || cp == 0xFEFF || (cp >= 0xE0000 && cp <= 0xE0FFF);
}

static bool is_control(uint32_t cp, bool one_line)
{
    return cp == '\n' ? one_line : cp < 0x20 || (cp >= 0x7F && cp <= 0x9F) || cp == 0x2028 || cp == 0x2029;
}

static size_t drop_unseen(struct str s, bool one_line, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len;) {
        uint32_t cp = utf8_next(s, &i);
        if (is_control(cp, one_line))
            out[n++] = ' ';
        else if (!is_unseen(cp))
            n += utf8_encode(cp, out + n);
    }
    return n;
}

/* What chat templates are made of (ChatML, DeepSeek, Llama, Mistral, Gemma), and our own marks. */
static bool is_structure(struct str s)
{
    static const struct str starts[] = {STR_LIT("<|"),
                                        STR_LIT("<｜"),
                                        STR_LIT("<s>"),
                                        STR_LIT("</s>"),
                                        STR_LIT("<<SYS"),
                                        STR_LIT("<</SYS"),
                                        STR_LIT("<start_of_turn"),
                                        STR_LIT("<end_of_turn"),
                                        STR_LIT("[INST"),
                                        STR_LIT("[/INST"),
                                        STR_LIT("<" PROMPT_MARK),
                                        STR_LIT("</" PROMPT_MARK)};
    for (size_t k = 0; k < sizeof starts / sizeof *starts; k++)
        if (s.len >= starts[k].len && strncasecmp(s.ptr, starts[k].ptr, starts[k].len) == 0)
            return true;
    return false;
}

static bool is_opening(uint32_t cp)
{
    return cp == '[' || cp == 0xFF3B || cp == 0x3010;
}

static bool is_closing(uint32_t cp)
{
    return cp == ']' || cp == 0xFF3D || cp == 0x3011;
}

/* Stands between the numbers of one mark: spaces, commas, dashes. */
static bool is_between(uint32_t cp)
{
    return cp == ' ' || cp == '\n' || cp == 0xA0 || cp == 0x3000 || cp == ',' || cp == ';' || cp == 0xFF0C ||
           cp == 0x3001 || cp == 0xFF1B || cp == '-' || cp == '~' || (cp >= 0x2010 && cp <= 0x2015) ||
           cp == 0xFF0D || cp == 0xFF5E || cp == 0x301C;
}

/* s begins with an opening bracket: bytes of what citations.c could take for a mark, "[3]", "[1, 2]", "【4】"; or 0. */
static size_t mark_len(struct str s)
{
    enum { MAX_DIGITS = 3 }; /* "[2023]" is none */
    bool any = false;
    size_t i = 0;
    utf8_next(s, &i);
    for (int chars = 0, digits = 0; i < s.len && chars < CITATIONS_HOLD_CHARS; chars++) {
        uint32_t cp = utf8_next(s, &i);
        if (is_closing(cp))
            return any ? i : 0;
        bool digit = (cp >= '0' && cp <= '9') || (cp >= 0xFF10 && cp <= 0xFF19);
        any |= digit;
        digits = digit ? digits + 1 : 0;
        if (digits > MAX_DIGITS || (!digit && !is_between(cp)))
            return 0;
    }
    return 0;
}

static size_t put(char *out, size_t n, struct str s)
{
    memcpy(out + n, s.ptr, s.len);
    return n + s.len;
}

/* "[2]" to "(2)": the brackets are the first and the last character. */
static size_t put_mark(char *out, size_t n, struct str mark)
{
    size_t open = 0, close = utf8_floor(mark, mark.len - 1);
    utf8_next(mark, &open);
    out[n++] = '(';
    n = put(out, n, str_make(mark.ptr + open, close - open));
    out[n++] = ')';
    return n;
}

/* s is valid UTF-8; only '<' and the first bytes of brackets are looked at. */
static size_t break_structure(struct str s, bool marks, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len;) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c != '<' && c != '[' && c != 0xE3 && c != 0xEF) {
            out[n++] = s.ptr[i++];
            continue;
        }
        struct str rest = str_make(s.ptr + i, s.len - i);
        size_t len = 0;
        uint32_t cp = utf8_next(rest, &len);
        size_t mark = marks && is_opening(cp) ? mark_len(rest) : 0;
        if (mark) {
            n = put_mark(out, n, str_make(rest.ptr, mark));
        } else {
            n = put(out, n, str_make(rest.ptr, len));
            if ((cp == '<' || cp == '[') && is_structure(rest))
                out[n++] = ' ';
        }
        i += mark ? mark : len;
    }
    return n;
}

struct str prompt_clean(struct str s, enum prompt_clean how, struct arena *a)
{
    size_t cap; /* a bad byte becomes U+FFFD, three bytes; a broken '<' two */
    if (!size_mul_ok(s.len, 3, &cap))
        return (struct str){0};
    char *seen = arena_alloc(a, cap);
    if (!seen)
        return (struct str){0};
    struct str t = str_trim(str_make(seen, drop_unseen(s, how == CLEAN_LINE, seen)));
    char *out = arena_alloc(a, t.len * 2);
    if (!out)
        return (struct str){0};
    return str_trim(str_make(out, break_structure(t, how != CLEAN_QUESTION, out)));
}

size_t prompt_fit(struct str text, uint32_t tokens)
{
    size_t cjk = 0, other = 0, fits = 0;
    for (size_t i = 0; i < text.len; fits = i) { /* counts as text_token_count does */
        size_t was = i;
        if (utf8_is_cjk(utf8_next(text, &i)))
            cjk++;
        else
            other += i - was;
        if (cjk + (other + 3) / 4 > tokens)
            break;
    }
    return fits;
}

size_t prompt_fit_sentences(struct str text, uint32_t tokens)
{
    size_t most = prompt_fit(text, tokens), fits = 0;
    for (size_t at = 0; at < text.len;) {
        struct str s = str_make(text.ptr + at, text.len - at);
        s.len = sentence_len(s);
        at += s.len;
        s = str_trim(s);
        size_t end = (size_t)(s.ptr + s.len - text.ptr);
        if (end > most)
            break;
        fits = s.len ? end : fits;
    }
    return fits;
}
