/* Style inheritance and list counters (ECMA-376 part 1, 17.7 and 17.9). Inheritance is resolved once, after reading,
 * over a bounded number of steps, so that a circle of styles ends too. Lists that share an abstract list share its
 * counters; a list that overrides a start does so at its first paragraph. */
#include "extract/docx_styles.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum {
    MAX_STYLES = 8192,
    MAX_LISTS = 65536,
    MAX_ABSTRACTS = 8192,
    MAX_INHERITANCE = 32,
    MAX_NUMBER = 1 << 20,
};

enum number_kind {
    NUMBER_DECIMAL,
    NUMBER_ZERO, /* 01 */
    NUMBER_LOWER_LETTER,
    NUMBER_UPPER_LETTER,
    NUMBER_LOWER_ROMAN,
    NUMBER_UPPER_ROMAN,
    NUMBER_CHINESE,
    NUMBER_CHINESE_LEGAL,
    NUMBER_CHINESE_DIGITS,
    NUMBER_CIRCLED,
    NUMBER_BULLET,
    NUMBER_NONE,
};

static const struct {
    const char *name;
    enum number_kind kind;
} number_kinds[] = {
    {"decimalZero", NUMBER_ZERO},
    {"lowerLetter", NUMBER_LOWER_LETTER},
    {"upperLetter", NUMBER_UPPER_LETTER},
    {"lowerRoman", NUMBER_LOWER_ROMAN},
    {"upperRoman", NUMBER_UPPER_ROMAN},
    {"chineseCounting", NUMBER_CHINESE},
    {"chineseCountingThousand", NUMBER_CHINESE},
    {"taiwaneseCounting", NUMBER_CHINESE},
    {"taiwaneseCountingThousand", NUMBER_CHINESE},
    {"japaneseCounting", NUMBER_CHINESE},
    {"chineseLegalSimplified", NUMBER_CHINESE_LEGAL},
    {"ideographDigital", NUMBER_CHINESE_DIGITS},
    {"japaneseDigitalTenThousand", NUMBER_CHINESE_DIGITS},
    {"taiwaneseDigital", NUMBER_CHINESE_DIGITS},
    {"decimalEnclosedCircle", NUMBER_CIRCLED},
    {"decimalEnclosedCircleChinese", NUMBER_CIRCLED},
    {"bullet", NUMBER_BULLET},
    {"none", NUMBER_NONE},
};

struct list_level {
    struct ooxml_span text; /* "第%1条": %1 is the number of level 0 */
    uint32_t start;
    uint8_t kind;
    bool decimal; /* numbers of the levels above are shown as decimals */
};
struct abstract_list {
    uint32_t id;
    uint32_t next[DOCX_LIST_LEVELS]; /* one more than the last number; 0: not begun */
    struct list_level level[DOCX_LIST_LEVELS];
};
struct list {
    uint32_t id, abstract_id;
    uint32_t start[DOCX_LIST_LEVELS]; /* in place of the abstract list's, see restarts */
    uint16_t restarts;                /* bit: the level has such a start, and it is still to come */
};

void docx_styles_init(struct docx_styles *s)
{
    buf_init(&s->styles, MEM_EXTRACT);
    buf_init(&s->abstracts, MEM_EXTRACT);
    buf_init(&s->lists, MEM_EXTRACT);
}

void docx_styles_clear(struct docx_styles *s)
{
    buf_clear(&s->styles);
    buf_clear(&s->abstracts);
    buf_clear(&s->lists);
}

/* --- styles --- */

static bool starts_with(struct str s, const char *z)
{
    size_t n = strlen(z);
    return s.len >= n && strncasecmp(s.ptr, z, n) == 0;
}

int docx_heading_of_name(struct str name)
{
    static const char *const words[] = {"heading",     "标题",  "標題",   "見出し",
                                        "Überschrift", "Titre", "Título", "Заголовок"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i]);
        if (!starts_with(name, words[i]))
            continue;
        while (n < name.len && name.ptr[n] == ' ')
            n++;
        if (n + 1 == name.len && name.ptr[n] >= '1' && name.ptr[n] <= '9')
            return name.ptr[n] - '1';
    }
    return -1;
}

static bool is_title_name(struct str name)
{
    static const char *const names[] = {"Title", "标题", "標題", "表題", "Titel"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (name.len == strlen(names[i]) && starts_with(name, names[i]))
            return true;
    return false;
}

struct styles_reading {
    struct ooxml *x;
    struct docx_styles *s;
    struct docx_style cur;
    bool open;
    unsigned skip; /* depth of an element that holds old or conditional formatting; 0: none */
};

static void style_property(struct docx_style *c, const struct ooxml_element *e)
{
    uint32_t v;
    struct str val = ooxml_attribute(e, "val");
    bool number = ooxml_number(val, INT32_MAX, &v);
    if (strcmp(e->name, "outlineLvl") == 0 && number && v <= DOCX_BODY_LEVEL)
        c->outline = (int8_t)v;
    else if (strcmp(e->name, "numId") == 0 && number)
        c->list = (int32_t)v;
    else if (strcmp(e->name, "ilvl") == 0 && number && v < DOCX_LIST_LEVELS)
        c->list_level = (int8_t)v;
    else if (strcmp(e->name, "vanish") == 0)
        c->hidden = !(str_eqz(val, "0") || str_eqz(val, "false") || str_eqz(val, "off"));
}

static void styles_start(void *ctx, const struct ooxml_element *e)
{
    struct styles_reading *r = ctx;
    struct docx_style *c = &r->cur;
    if (r->skip)
        return;
    size_t n = strlen(e->name);
    if (strcmp(e->name, "tblStylePr") == 0 || (n > 6 && strcmp(e->name + n - 6, "Change") == 0)) {
        r->skip = e->depth;
    } else if (strcmp(e->name, "style") == 0) {
        *c = (struct docx_style){.outline = -1, .hidden = -1, .list_level = -1, .list = -1};
        c->id = ooxml_keep(r->x, ooxml_attribute(e, "styleId"));
        r->open = true;
    } else if (!r->open) {
        return; /* defaults of the document */
    } else if (strcmp(e->name, "name") == 0) {
        c->name = ooxml_keep(r->x, ooxml_attribute(e, "val"));
    } else if (strcmp(e->name, "basedOn") == 0) {
        c->based_on = ooxml_keep(r->x, ooxml_attribute(e, "val"));
    } else {
        style_property(c, e);
    }
}

static void styles_end(void *ctx, const struct ooxml_element *e)
{
    struct styles_reading *r = ctx;
    if (r->skip) {
        if (e->depth <= r->skip)
            r->skip = 0;
        return;
    }
    if (strcmp(e->name, "style") != 0 || !r->open)
        return;
    struct str name = ooxml_name(r->x, r->cur.name);
    if (r->cur.outline < 0)
        r->cur.outline = (int8_t)docx_heading_of_name(name);
    r->cur.title = is_title_name(name);
    r->cur.contents = starts_with(name, "toc ") || starts_with(name, "目录 ");
    ooxml_add(r->x, &r->s->styles, &r->cur, sizeof r->cur, MAX_STYLES, "styles");
    r->open = false;
}

static int by_style_id(const void *a, const void *b, void *x)
{
    const struct docx_style *p = a, *q = b;
    return str_cmp(ooxml_name(x, p->id), ooxml_name(x, q->id));
}

static void inherit(struct docx_style *c, const struct docx_style *from)
{
    if (c->outline < 0)
        c->outline = from->outline;
    if (c->hidden < 0)
        c->hidden = from->hidden;
    if (c->list < 0)
        c->list = from->list;
    if (c->list_level < 0)
        c->list_level = from->list_level;
}

void docx_styles_read(struct docx_styles *s, struct ooxml *x, const char *path)
{
    static const struct ooxml_reader reader = {styles_start, styles_end, NULL};
    struct styles_reading r = {.x = x, .s = s};
    if (!ooxml_read(x, str_of(path), &reader, &r))
        return;
    struct docx_style *all = (struct docx_style *)(void *)s->styles.ptr;
    size_t n = s->styles.len / sizeof *all;
    if (n)
        qsort_r(all, n, sizeof *all, by_style_id, x);
    for (size_t i = 0; i < n; i++) {
        const struct docx_style *from = all + i;
        for (int step = 0; step < MAX_INHERITANCE && from && from->based_on.len; step++) {
            from = docx_style_find(s, x, ooxml_name(x, from->based_on));
            if (from)
                inherit(all + i, from);
        }
    }
}

const struct docx_style *docx_style_find(const struct docx_styles *s, const struct ooxml *x, struct str id)
{
    const struct docx_style *all = (const struct docx_style *)(const void *)s->styles.ptr;
    size_t lo = 0, hi = s->styles.len / sizeof *all;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = str_cmp(ooxml_name(x, all[mid].id), id);
        if (c == 0)
            return all + mid;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

/* --- lists --- */

struct lists_reading {
    struct ooxml *x;
    struct docx_styles *s;
    struct abstract_list abstract;
    struct list list;
    uint32_t level; /* of the open <lvl> or <lvlOverride>; DOCX_LIST_LEVELS: none */
    bool in_abstract, in_list;
};

static uint8_t number_kind_of(struct str name)
{
    for (size_t i = 0; i < sizeof number_kinds / sizeof *number_kinds; i++)
        if (str_eqz(name, number_kinds[i].name))
            return (uint8_t)number_kinds[i].kind;
    return NUMBER_DECIMAL;
}

static uint32_t level_of(const struct ooxml_element *e)
{
    uint32_t v;
    return ooxml_number(ooxml_attribute(e, "ilvl"), DOCX_LIST_LEVELS - 1, &v) ? v : DOCX_LIST_LEVELS;
}

static void abstract_property(struct lists_reading *r, const struct ooxml_element *e)
{
    struct str val = ooxml_attribute(e, "val");
    if (strcmp(e->name, "lvl") == 0)
        r->level = level_of(e);
    if (r->level >= DOCX_LIST_LEVELS)
        return;
    struct list_level *l = r->abstract.level + r->level;
    if (strcmp(e->name, "start") == 0)
        (void)ooxml_number(val, MAX_NUMBER, &l->start);
    else if (strcmp(e->name, "numFmt") == 0)
        l->kind = number_kind_of(val);
    else if (strcmp(e->name, "lvlText") == 0)
        l->text = ooxml_keep(r->x, val);
    else if (strcmp(e->name, "isLgl") == 0)
        l->decimal = !str_eqz(val, "0") && !str_eqz(val, "false");
}

static void lists_start(void *ctx, const struct ooxml_element *e)
{
    struct lists_reading *r = ctx;
    struct str val = ooxml_attribute(e, "val");
    if (strcmp(e->name, "abstractNum") == 0) {
        r->abstract = (struct abstract_list){0};
        for (int i = 0; i < DOCX_LIST_LEVELS; i++)
            r->abstract.level[i].start = 1;
        r->in_abstract = ooxml_number(ooxml_attribute(e, "abstractNumId"), UINT32_MAX, &r->abstract.id);
        r->level = DOCX_LIST_LEVELS;
    } else if (strcmp(e->name, "num") == 0) {
        r->list = (struct list){0};
        r->in_list = ooxml_number(ooxml_attribute(e, "numId"), UINT32_MAX, &r->list.id);
        r->level = DOCX_LIST_LEVELS;
    } else if (r->in_abstract) {
        abstract_property(r, e);
    } else if (r->in_list && strcmp(e->name, "abstractNumId") == 0) {
        (void)ooxml_number(val, UINT32_MAX, &r->list.abstract_id);
    } else if (r->in_list && strcmp(e->name, "lvlOverride") == 0) {
        r->level = level_of(e);
    } else if (r->in_list && strcmp(e->name, "startOverride") == 0 && r->level < DOCX_LIST_LEVELS &&
               ooxml_number(val, MAX_NUMBER, &r->list.start[r->level])) {
        r->list.restarts |= (uint16_t)(1u << r->level);
    }
}

static void lists_end(void *ctx, const struct ooxml_element *e)
{
    struct lists_reading *r = ctx;
    if (r->in_abstract && strcmp(e->name, "abstractNum") == 0) {
        ooxml_add(r->x, &r->s->abstracts, &r->abstract, sizeof r->abstract, MAX_ABSTRACTS, "lists");
        r->in_abstract = false;
    } else if (r->in_list && strcmp(e->name, "num") == 0) {
        ooxml_add(r->x, &r->s->lists, &r->list, sizeof r->list, MAX_LISTS, "lists");
        r->in_list = false;
    } else if (strcmp(e->name, "lvl") == 0 || strcmp(e->name, "lvlOverride") == 0) {
        r->level = DOCX_LIST_LEVELS;
    }
}

/* Both kinds of lists begin with their id. */
static int by_id(const void *a, const void *b)
{
    uint32_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static void *find(struct buf *all, size_t size, uint32_t id)
{
    return all->len ? bsearch(&id, all->ptr, all->len / size, size, by_id) : NULL;
}

void docx_lists_read(struct docx_styles *s, struct ooxml *x, const char *path)
{
    static const struct ooxml_reader reader = {lists_start, lists_end, NULL};
    struct lists_reading r = {.x = x, .s = s, .level = DOCX_LIST_LEVELS};
    if (!ooxml_read(x, str_of(path), &reader, &r))
        return;
    if (s->abstracts.len)
        qsort(s->abstracts.ptr, s->abstracts.len / sizeof r.abstract, sizeof r.abstract, by_id);
    if (s->lists.len)
        qsort(s->lists.ptr, s->lists.len / sizeof r.list, sizeof r.list, by_id);
}

static void put_letters(struct buf *out, uint32_t n, char first)
{
    uint32_t times = (n - 1) / 26 + 1; /* a, ..., z, aa, bb, ... */
    for (uint32_t i = 0; i < times && i < 8; i++)
        buf_addc(out, (char)(first + (char)((n - 1) % 26)));
}

static void put_roman(struct buf *out, uint32_t n, bool upper)
{
    static const struct {
        uint32_t v;
        const char *s;
    } parts[] = {{1000, "m"}, {900, "cm"}, {500, "d"}, {400, "cd"}, {100, "c"}, {90, "xc"}, {50, "l"},
                 {40, "xl"},  {10, "x"},   {9, "ix"},  {5, "v"},    {4, "iv"},  {1, "i"}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        for (; n >= parts[i].v; n -= parts[i].v)
            for (const char *c = parts[i].s; *c; c++)
                buf_addc(out, upper ? (char)(*c - 'a' + 'A') : *c);
}

/* 1..9999: 二十三, 一百零五; legal: 贰拾叁, 壹佰零伍. */
static void put_chinese(struct buf *out, uint32_t n, bool legal)
{
    static const char *const digits[2][10] = {{"零", "一", "二", "三", "四", "五", "六", "七", "八", "九"},
                                              {"零", "壹", "贰", "叁", "肆", "伍", "陆", "柒", "捌", "玖"}};
    static const char *const units[2][4] = {{"", "十", "百", "千"}, {"", "拾", "佰", "仟"}};
    bool begun = false, gap = false;
    for (int p = 3; p >= 0; p--) {
        uint32_t d = n / (uint32_t[]){1, 10, 100, 1000}[p] % 10;
        if (d == 0) {
            gap = begun;
            continue;
        }
        if (gap)
            buf_addz(out, digits[legal][0]);
        if (legal || begun || p != 1 || d != 1) /* 十二, not 一十二 */
            buf_addz(out, digits[legal][d]);
        buf_addz(out, units[legal][p]);
        begun = true;
        gap = false;
    }
}

static void put_chinese_digits(struct buf *out, uint32_t n)
{
    static const char *const digits[] = {"〇", "一", "二", "三", "四", "五", "六", "七", "八", "九"};
    char text[12];
    snprintf(text, sizeof text, "%u", n);
    for (const char *c = text; *c; c++)
        buf_addz(out, digits[*c - '0']);
}

static void put_number(struct buf *out, uint32_t n, uint8_t kind)
{
    if (kind >= NUMBER_LOWER_LETTER && kind <= NUMBER_CIRCLED && (n == 0 || n > 9999))
        kind = NUMBER_DECIMAL;
    switch (kind) {
    case NUMBER_ZERO: buf_addf(out, "%02u", n); break;
    case NUMBER_LOWER_LETTER: put_letters(out, n, 'a'); break;
    case NUMBER_UPPER_LETTER: put_letters(out, n, 'A'); break;
    case NUMBER_LOWER_ROMAN:
    case NUMBER_UPPER_ROMAN: put_roman(out, n, kind == NUMBER_UPPER_ROMAN); break;
    case NUMBER_CHINESE:
    case NUMBER_CHINESE_LEGAL: put_chinese(out, n, kind == NUMBER_CHINESE_LEGAL); break;
    case NUMBER_CHINESE_DIGITS: put_chinese_digits(out, n); break;
    case NUMBER_CIRCLED:
        if (n <= 20)
            buf_add(out, (char[]){'\xE2', (char)(0x91), (char)(0x9F + n)}, 3); /* from U+2460 */
        else
            buf_addf(out, "%u", n);
        break;
    case NUMBER_NONE: break;
    default: buf_addf(out, "%u", n);
    }
}

static void count(struct abstract_list *a, struct list *l, uint32_t level)
{
    if (l->restarts & 1u << level) {
        a->next[level] = l->start[level];
        l->restarts &= (uint16_t) ~(1u << level);
    } else if (a->next[level] == 0) {
        a->next[level] = a->level[level].start;
    }
    a->next[level]++;
    for (uint32_t k = level + 1; k < DOCX_LIST_LEVELS; k++)
        a->next[k] = 0;
}

void docx_list_label(struct docx_styles *s, const struct ooxml *x, uint32_t list, uint32_t level,
                     struct buf *out)
{
    struct list *l = find(&s->lists, sizeof *l, list);
    struct abstract_list *a = l ? find(&s->abstracts, sizeof *a, l->abstract_id) : NULL;
    if (!a || level >= DOCX_LIST_LEVELS)
        return;
    const struct list_level *v = a->level + level;
    size_t before = out->len;
    count(a, l, level);
    if (v->kind == NUMBER_BULLET) {
        buf_addz(out, "- ");
        return;
    }
    struct str t = ooxml_name(x, v->text);
    for (size_t i = 0; i < t.len; i++) {
        uint32_t k = t.ptr[i] == '%' && i + 1 < t.len ? (uint32_t)(t.ptr[i + 1] - '1') : DOCX_LIST_LEVELS;
        if (k >= DOCX_LIST_LEVELS) {
            buf_addc(out, t.ptr[i]);
            continue;
        }
        put_number(out, a->next[k] ? a->next[k] - 1 : a->level[k].start,
                   v->decimal && a->level[k].kind != NUMBER_ZERO ? NUMBER_DECIMAL : a->level[k].kind);
        i++;
    }
    if (out->len > before)
        buf_addc(out, ' ');
}
