/* Candidates by their place: what stands in the sentence where the question word stands in the question. The words around
 * the question word are looked for in the sentence: of "桥以 什么 为名" the longest end of the left side and the
 * longest beginning of the right side. They are the anchors; candidates
 * come from them in Chinese only, since English moves its words when it asks. */
#include "stages/generation/answer_span_int.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
enum { ANCHOR_CHARS = 12 /* of a side of the question */ };

bool span_is_bound(struct str s, size_t i)
{
    char c = s.ptr[i];
    return c == ',' || c == ';' || c == ':' || c == '!' || c == '?' || c == '(' || c == ')' || c == '\n' ||
           span_at(s, i, STR_LIT("。")) || (c == '.' && (i + 1 == s.len || s.ptr[i + 1] == ' '));
}

static uint32_t chars_of(struct str s)
{
    return (uint32_t)utf8_count(s);
}

/* ---- anchors ---- */

static size_t skip_links(struct str s, size_t i)
{
    static const char *const zh[] = {"是",   "为",   "在",   "于",   "达",   "达到", "约",   "约为", "大约", "大概",
                                     "只有", "有",   "即",   "指",   "叫",   "叫做", "称为", "名为", "共",   "仅",
                                     "了",   "则为", "则是", "每年", "共有", "高达", "最多", "至少", "最低", ":"};
    static const char *const en[] = {"is", "was", "are", "were", "the", "a", "an", "about", "of", "by", "approximately"};
    for (int k = 0; k < 3; k++) {
        size_t which, at = i < s.len && s.ptr[i] == ' ' ? i + 1 : i;
        const char *closed = at < s.len && s.ptr[at] == '(' ? memchr(s.ptr + at, ')', s.len - at) : NULL;
        if (closed) { /* what stands in brackets after a name */
            i = (size_t)(closed - s.ptr) + 1;
            continue;
        }
        size_t n = span_longest(s, at, zh, COUNT(zh), &which);
        if (!n)
            n = span_longest(s, at, en, COUNT(en), &which);
        if (!n)
            return at;
        i = at + n;
    }
    return i;
}

/* Is the piece enough to find a place by: two ideographs, or two words, or one long word. */
static bool is_telling(struct str s)
{
    uint32_t chars = chars_of(s);
    size_t i = 0;
    uint32_t first = s.len ? utf8_next(s, &i) : 0;
    return utf8_is_cjk(first) ? chars >= 2 : chars >= 6;
}

static bool at_word_edge(struct str s, size_t i)
{
    return i == 0 || i >= s.len || !(span_letter(s, i - 1) && span_letter(s, i));
}

static bool look_for(const struct span_finder *f, struct str piece, bool left, struct span_anchors *out)
{
    struct str s = f->t.s;
    const char *p = s.ptr;
    out->n = 0;
    while (out->n < SPAN_ANCHORS && (p = memmem(p, (size_t)(s.ptr + s.len - p), piece.ptr, piece.len)) != NULL) {
        size_t at = (size_t)(p - s.ptr);
        p += piece.len;
        if (!at_word_edge(s, at) || !at_word_edge(s, at + piece.len))
            continue;
        size_t end = left ? at + piece.len : at;
        out->items[out->n++] = (struct span_anchor){.at = (uint32_t)end,
                                               .end = (uint32_t)(at + piece.len),
                                               .begin = (uint32_t)(left ? skip_links(s, end) : end),
                                               .chars = chars_of(piece)};
    }
    return out->n > 0;
}

size_t span_word_of(struct str s, const char *const *words, size_t n, bool at_end)
{
    for (size_t k = 0; k < n; k++) {
        struct str w = str_of(words[k]);
        if (w.len <= s.len && memcmp(at_end ? s.ptr + s.len - w.len : s.ptr, w.ptr, w.len) == 0)
            return w.len;
    }
    return 0;
}

/* The longest end of the question's left side that the sentence has. Without what links it to the question word, when it
 * is not found with it. */
static void find_left(struct span_finder *f)
{
    static const char *const links[] = {"一共", "总共", "大概", "大约", "是",  "为",   "在",   "于",   "有",   "了",  "的",
                                        "约",   "共",   "达",   "要",   "能",  "由",   "从",   "到",   "需要", " is", " was",
                                        " are", " were", " did", " do", " does", " the", " in"};
    struct str side = f->q->left;
    for (int tries = 0; tries < 4 && side.len; tries++) {
        size_t i = 0;
        for (uint32_t chars = chars_of(side); chars > ANCHOR_CHARS; chars--)
            i = span_next(side, i);
        for (; i < side.len; i = span_next(side, i)) {
            struct str piece = str_make(side.ptr + i, side.len - i);
            if (at_word_edge(side, i) && is_telling(piece) && look_for(f, piece, true, &f->left))
                return;
        }
        size_t cut = span_word_of(side, links, COUNT(links), true);
        if (!cut)
            return;
        side = str_trim(str_make(side.ptr, side.len - cut));
    }
}

static void find_right(struct span_finder *f)
{
    static const char *const links[] = {"的", "了", "是", "所", "来", "中", "is ", "was ", "are ", "were ", "did ", "do ", "does "};
    struct str side = f->q->right;
    for (int tries = 0; tries < 3 && side.len; tries++) {
        size_t end = 0, stops[ANCHOR_CHARS * 3];
        uint32_t n = 0;
        while (end < side.len && n < (f->q->zh ? ANCHOR_CHARS : COUNT(stops)))
            stops[n++] = end = span_next(side, end);
        for (; n > 0; n--) {
            struct str piece = str_make(side.ptr, stops[n - 1]);
            if (at_word_edge(side, piece.len) && is_telling(piece) && look_for(f, piece, false, &f->right))
                return;
        }
        size_t cut = span_word_of(side, links, COUNT(links), false);
        if (!cut)
            return;
        side = str_trim(str_make(side.ptr + cut, side.len - cut));
    }
}

/* ---- candidates by place ---- */

static bool has_word(struct str s)
{
    for (size_t i = 0; i < s.len;) {
        uint32_t cp = utf8_next(s, &i);
        if (utf8_is_cjk(cp) || (cp >= 'a' && cp <= 'z') || (cp >= '0' && cp <= '9') || (cp >= 0xC0 && cp < 0x2000))
            return true;
    }
    return false;
}

/* A quotation mark without its other half. */
static bool is_torn(struct str s)
{
    static const struct str pairs[][2] = {{STR_LIT("《"), STR_LIT("》")}, {STR_LIT("「"), STR_LIT("」")}, {STR_LIT("“"), STR_LIT("”")}};
    for (size_t k = 0; k < COUNT(pairs); k++)
        if ((memmem(s.ptr, s.len, pairs[k][0].ptr, pairs[k][0].len) != NULL) !=
            (memmem(s.ptr, s.len, pairs[k][1].ptr, pairs[k][1].len) != NULL))
            return true;
    return false;
}

static void add(struct span_finder *f, size_t start, size_t end)
{
    static const char *const tails[] = {"的", "所", "来", "等", "而", "并", "也", "就", "是", "为", "在", "了", "都", "则"};
    static const char *const heads[] = {"是", "为", "由", "被", "在", "于", "了", "即", "就", "也", "而", "的", "一个", "一种",
                                        "一位", "一名", "一部", "一家", "\""};
    struct str s = f->t.s, piece = str_trim(str_make(s.ptr + start, end > start ? end - start : 0));
    for (size_t cut; (cut = span_word_of(piece, heads, COUNT(heads), false));)
        piece = str_make(piece.ptr + cut, piece.len - cut);
    for (size_t cut; (cut = span_word_of(piece, tails, COUNT(tails), true));)
        piece.len -= cut;
    static const char *const going_on[] = {"这",   "该", "其", "皆", "都", "更", "及", "而", "但", "因", "当", "已", "曾", "他", "她", "它",
                                           "此",   "各", "并", "且", "受到", "下辖", "开始", "也", "还", "又", "才", "却", "若", "如", "地区", "所有"};
    if (span_word_of(piece, going_on, COUNT(going_on), false) || is_torn(piece)) /* no name begins so */
        return;
    if (f->q->kind == SPAN_LIST) {
        const char *rest = memmem(piece.ptr, piece.len, "等", 3);
        piece.len = rest ? (size_t)(rest - piece.ptr) : piece.len;
    }
    uint32_t chars = chars_of(piece), most = f->q->kind == SPAN_LIST ? 60 : 24;
    if (chars == 0 || chars > most || f->n == SPAN_CANDIDATES || !has_word(piece) || (chars < 2 && f->q->kind != SPAN_NAME))
        return;
    size_t from = (size_t)(piece.ptr - s.ptr), to = from + piece.len;
    for (uint32_t i = 0; i < f->n; i++)
        if (f->found[i].start == from && f->found[i].end == to)
            return;
    f->found[f->n++] = (struct stretch){.start = (uint32_t)from, .end = (uint32_t)to, .kind = (uint8_t)f->q->kind};
}

size_t span_bound_after(struct str s, size_t i)
{
    while (i < s.len && !span_is_bound(s, i))
        i = span_next(s, i);
    return i;
}

/* Back from a right anchor to a bound, or to a word that what is asked for follows. */
static size_t bound_before(const struct span_finder *f, size_t i)
{
    static const char *const zh[] = {"由", "被", "与", "和", "以", "是", "为", "因", "从", "在", "于", "对", "将", "把", "受", "年", "月", "日", "时"};
    struct str s = f->t.s;
    for (int chars = 0; i > 0 && chars < 60; chars++) {
        size_t before = span_before(s, i);
        if (span_is_bound(s, before))
            return i;
        for (size_t k = 0; chars >= 2 && k < COUNT(zh); k++)
            if (i >= 3 && span_at(s, i - 3, str_of(zh[k])))
                return i;
        i = before;
    }
    return i;
}

/* Of what is listed, described or goes on: its first part too. */
static void first_part(struct span_finder *f, size_t start, size_t end)
{
    static const char *const marks[] = {"、", "的", "在", "于", "就", "也", "与", "和", "及"};
    struct str s = f->t.s;
    size_t mark = start, which;
    if (f->q->kind == SPAN_LIST)
        return;
    while (mark < end && !span_longest(s, mark, marks, COUNT(marks), &which))
        mark = span_next(s, mark);
    if (mark < end)
        add(f, start, mark);
}

static void by_anchors(struct span_finder *f)
{
    struct str s = f->t.s;
    for (uint32_t i = 0; i < f->left.n; i++) {
        const struct span_anchor *l = &f->left.items[i];
        size_t end = span_bound_after(s, l->begin);
        for (uint32_t k = 0; k < f->right.n; k++)
            if (f->right.items[k].at > l->begin && f->right.items[k].at < end)
                end = f->right.items[k].at;
        add(f, l->begin, end);
        first_part(f, l->begin, end);
    }
    for (uint32_t k = 0; k < f->right.n; k++) {
        size_t end = f->right.items[k].at, start = bound_before(f, end);
        add(f, start, end);
        first_part(f, start, end);
    }
}

/* The other way round: of "波兰的首都是哪个城市" what stands before "是…首都", of "谁配音" what stands after "配音的是". */
static void inverted(struct span_finder *f)
{
    static const char *const is[] = {"是", "为"};
    static const char *const goes_on[] = {"的是", "者是", "者为", "的为", "是", "者"};
    struct str s = f->t.s;
    size_t which;
    for (uint32_t i = 0; i < f->left.n; i++) {
        size_t at = f->left.items[i].at;
        for (int chars = 0; at > 0 && chars < 16 && !span_is_bound(s, span_before(s, at)); chars++) {
            at = span_before(s, at);
            if (chars && span_longest(s, at, is, COUNT(is), &which)) {
                add(f, bound_before(f, at), at);
                break;
            }
        }
    }
    for (uint32_t i = 0; i < f->right.n; i++) {
        size_t at = f->right.items[i].end, n = at < s.len ? span_longest(s, at, goes_on, COUNT(goes_on), &which) : 0;
        if (n)
            add(f, at + n, span_bound_after(s, at + n));
    }
}

static bool is_function_char(struct str s, size_t i)
{
    static const char *const words[] = {"的", "是", "在", "和", "与", "为", "被", "由", "于", "了", "及", "等", "其", "之", "一",
                                        "这", "那", "该", "从", "以", "到", "作", "称", "受", "对", "将", "把", "但", "而", "也",
                                        "就", "都", "又", "、", "有", "年", "月", "日", "所", "当", "入", "至", "或", "向", "自", "某", "各", "每", "个", "种", "条", "座", "出"};
    size_t which;
    return span_longest(s, i, words, COUNT(words), &which) > 0;
}

/* 哪个学院: names that end with the noun, or with its last character. */
static void by_noun(struct span_finder *f)
{
    struct str s = f->t.s, noun = f->q->noun;
    uint32_t chars = noun.len ? chars_of(noun) : 0;
    if (chars == 0 || chars > 4)
        return;
    for (size_t i = 0; i + noun.len <= s.len; i = span_next(s, i)) {
        if (!span_at(s, i, noun))
            continue;
        size_t start = i;
        for (int n = 0; start > 0 && n < 10; n++) {
            size_t before = span_before(s, start), next = before;
            if (!utf8_is_cjk(utf8_next(s, &next)) || is_function_char(s, before))
                break;
            start = before;
        }
        if (start < i)
            add(f, start, i + noun.len);
    }
}

/* 位于, 出生于: a place follows. */
static void by_lead(struct span_finder *f)
{
    static const char *const leads[] = {"位于", "坐落于", "坐落在", "地处", "出生于", "生于", "来自", "产于", "分布于", "分布在", "发源于", "设在",
                                        "设于", "生存于", "葬于", "迁至", "迁往"};
    static const char *const ends[] = {"的", "举行", "成立", "出生", "去世", "上", "中", "内", "签", "发现"};
    struct str s = f->t.s;
    for (size_t i = 0; i < s.len;) {
        size_t which, n = span_longest(s, i, leads, COUNT(leads), &which);
        if (!n) {
            i = span_next(s, i);
            continue;
        }
        size_t end = i + n;
        while (end < s.len && !span_is_bound(s, end) && !span_longest(s, end, ends, COUNT(ends), &which))
            end = span_next(s, end);
        add(f, i + n, end);
        i += n;
    }
}

void span_by_place(struct span_finder *f)
{
    find_left(f);
    find_right(f);
    if (!f->q->zh || f->q->kind < SPAN_PERSON)
        return;
    by_anchors(f);
    inverted(f);
    by_noun(f);
    if (f->q->kind == SPAN_PLACE)
        by_lead(f);
}
