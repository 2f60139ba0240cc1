/* Stretches of a sentence by their form: amounts, dates, names in capitals, names with a middle dot, enumerations. */
#include "stages/generation/answer_span_int.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

struct out {
    struct stretch *items;
    uint32_t n, most;
};

static void put(struct out *o, size_t start, size_t end, enum span_kind kind)
{
    if (o->n < o->most && end > start)
        o->items[o->n++] = (struct stretch){.start = (uint32_t)start, .end = (uint32_t)end, .kind = (uint8_t)kind};
}

static bool word_start(struct str s, size_t i)
{
    return i == 0 || !(span_letter(s, i - 1) || span_digit(s, i - 1));
}

static size_t skip_space(struct str s, size_t i)
{
    return i < s.len && s.ptr[i] == ' ' ? i + 1 : i;
}

/* ---- amounts ---- */

static size_t digits(struct str s, size_t i)
{
    size_t end = i;
    while (span_digit(s, end) || (end > i && end < s.len && (s.ptr[end] == '.' || s.ptr[end] == ',') && span_digit(s, end + 1)))
        end++;
    return end;
}

static size_t chinese_digits(struct str s, size_t i)
{
    static const char *const words[] = {"零", "〇", "一", "二", "三", "四", "五", "六", "七", "八",
                                        "九", "十", "百", "千", "万", "亿", "两", "半"};
    size_t which, n;
    while ((n = span_longest(s, i, words, COUNT(words), &which)))
        i += n;
    return i;
}

/* After digits: 5万5千, 1.3 million. */
static size_t scale(struct str s, size_t i)
{
    static const char *const zh[] = {"十", "百", "千", "万", "亿", "余", "多"};
    static const char *const en[] = {"hundred", "thousand", "million", "billion", "trillion", "m", "bn", "k"};
    size_t which, n;
    while ((n = span_longest(s, i, zh, COUNT(zh), &which)))
        i = digits(s, i + n);
    n = span_longest(s, skip_space(s, i), en, COUNT(en), &which);
    return n ? skip_space(s, i) + n : i;
}

static size_t unit(struct str s, size_t i, uint8_t *class)
{
    /* clang-format off */
    static const char *const money[] = {"元", "美元", "港元", "日元", "欧元", "英镑", "人民币", "港币", "新台币", "美金", "块", "块钱",
        "法郎", "日圆", "卢比", "dollars", "dollar", "yuan", "pounds", "euros", "cents", "usd", "cny", "rmb"};
    static const char *const percent[] = {"%", "percent", "per cent", "percentage points", "‰"};
    static const char *const time[] = {"年", "个月", "月", "个星期", "星期", "周", "天", "日", "小时", "个小时", "分钟", "秒", "秒钟",
        "个工作日", "工作日", "世纪", "个世纪", "期", "分", "years", "year", "months", "month", "weeks", "week", "days", "day", "hours",
        "hour", "minutes", "minute", "seconds", "working days", "business days", "centuries", "decades", "年前", "years ago"};
    static const char *const other[] = {"个", "人", "名", "位", "次", "张", "公里", "千米", "米", "厘米", "毫米", "公尺", "公分", "英里",
        "英尺", "平方公里", "平方米", "平方千米", "公顷", "亩", "立方米", "公斤", "千克", "克", "吨", "度", "摄氏度", "°c", "岁", "座",
        "条", "部", "家", "所", "篇", "种", "届", "层", "间", "本", "首", "只", "头", "支", "艘", "架", "辆", "台", "套", "份", "件",
        "项", "章", "集", "期", "卷", "户", "积分", "公里/小时", "千瓦", "兆瓦", "升", "毫升", "号", "级", "里", "点", "点数", "倍",
        "场", "枚", "门", "颗", "根", "站", "线", "票", "字", "处", "类", "组", "队", "支队", "平方英里", "海里", "吋", "英寸", "呎",
        "people", "persons", "inhabitants", "km", "m", "miles", "mile", "metres", "meters", "feet", "ft", "inches", "kg", "tons",
        "tonnes", "square miles", "square kilometres", "acres", "times", "points", "visits", "guests", "°f", "students", "members",
        "seats", "volumes", "species", "residents", "cities", "counties"};
    /* clang-format on */
    const struct {
        const char *const *words;
        size_t n;
        uint8_t class;
    } lists[] = {{money, COUNT(money), UNIT_CLASS_MONEY},
                 {percent, COUNT(percent), UNIT_CLASS_PERCENT},
                 {time, COUNT(time), UNIT_CLASS_TIME},
                 {other, COUNT(other), UNIT_CLASS_OTHER}};
    size_t best = 0, at = skip_space(s, i), which;
    for (size_t k = 0; k < COUNT(lists); k++) {
        size_t n = span_longest(s, at, lists[k].words, lists[k].n, &which);
        if (n > best) {
            best = n;
            *class = lists[k].class;
        }
    }
    return best ? at + best : i;
}

static size_t currency(struct str s, size_t i)
{
    static const char *const signs[] = {"¥", "$", "£", "€", "us$", "hk$", "nt$", "人民币", "美元", "rmb ", "cny "};
    size_t which;
    return span_longest(s, i, signs, COUNT(signs), &which);
}

/* An amount at i: its end, or i. */
static size_t amount(const struct span_question *q, struct str s, size_t i, struct stretch *out)
{
    size_t sign = currency(s, i), at = i + sign, end = digits(s, at);
    bool written = end == at;
    uint8_t class = sign ? UNIT_CLASS_MONEY : UNIT_CLASS_NONE;
    end = written ? chinese_digits(s, at) : scale(s, end);
    if (end == at || (!written && !sign && !word_start(s, i)))
        return i;
    *out = (struct stretch){.start = (uint32_t)i, .number_end = (uint32_t)end};
    size_t after = unit(s, end, &class);
    if (after == end && q->noun.len && span_at(s, skip_space(s, end), q->noun)) {
        after = skip_space(s, end) + q->noun.len;
        class = UNIT_CLASS_OTHER;
    }
    if (written && after == end)
        return i;
    if (span_digit(s, at) && after == end && span_letter(s, end)) /* a part of a name: 3D */
        return i;
    out->end = (uint32_t)after;
    out->unit = class;
    return after;
}

static bool is_ordinal(struct str s, size_t i)
{
    return i >= 3 && span_at(s, i - 3, STR_LIT("第"));
}

/* 400-000-1800: groups of three digits and more. */
static size_t telephone(struct str s, size_t i)
{
    size_t end = i;
    for (int groups = 0;; groups++) {
        size_t n = end;
        while (span_digit(s, n))
            n++;
        bool joined = n < s.len && s.ptr[n] == '-' && span_digit(s, n + 1);
        if (n - end < 3)
            return i;
        if (!joined)
            return groups ? n : i;
        end = n + 1;
    }
}

/* "200米至1,800米", "5-7 days" are one. */
static size_t range(const struct span_question *q, struct str s, size_t end, struct stretch *out)
{
    static const char *const joins[] = {"-", "–", "~", "—", "至", "到", " to ", " – ", " - ", "–"};
    size_t which, n = span_longest(s, end, joins, COUNT(joins), &which);
    struct stretch second;
    size_t to = n ? amount(q, s, end + n, &second) : end;
    if (!n || to == end + n)
        return end;
    out->end = (uint32_t)to;
    out->unit = second.unit ? second.unit : out->unit;
    return to;
}

static enum span_kind kind_of(const struct stretch *a)
{
    switch (a->unit) {
    case UNIT_CLASS_MONEY: return SPAN_MONEY;
    case UNIT_CLASS_PERCENT: return SPAN_PERCENT;
    case UNIT_CLASS_TIME: return SPAN_DURATION;
    default: return SPAN_NUMBER;
    }
}

static void scan_amounts(const struct span_question *q, struct str s, struct out *o)
{
    for (size_t i = 0; i < s.len;) {
        struct stretch a;
        size_t end = telephone(s, i);
        if (end > i) {
            put(o, i, end, SPAN_NUMBER);
            i = end;
            continue;
        }
        end = amount(q, s, i, &a);
        if (end == i) {
            if (span_digit(s, i))
                i = digits(s, i);
            else
                i = span_next(s, i);
            continue;
        }
        end = range(q, s, end, &a);
        if (!is_ordinal(s, i) && o->n < o->most) {
            a.kind = (uint8_t)kind_of(&a);
            o->items[o->n++] = a;
        }
        i = end;
    }
}

/* ---- dates ---- */

static size_t either_digits(struct str s, size_t i)
{
    size_t end = i;
    while (span_digit(s, end))
        end++;
    return end > i ? end : chinese_digits(s, i);
}

/* 月 and 日 after a year or alone: end, or i. */
static size_t month_day(struct str s, size_t i)
{
    size_t n = either_digits(s, i), end = i;
    if (n > i && span_at(s, n, STR_LIT("月"))) {
        end = n + 3;
        size_t d = either_digits(s, end);
        if (d > end && (span_at(s, d, STR_LIT("日")) || span_at(s, d, STR_LIT("号"))))
            end = d + 3;
        else if (span_at(s, end, STR_LIT("份")))
            end += 3;
    }
    return end;
}

static bool looks_like_year(struct str s, size_t i, size_t end)
{
    size_t n = end - i;
    return span_digit(s, i) && n >= 3 && n <= 4;
}

/* A reign's name before a year counted in it: 元熙元年, 乾隆四十八年. */
static size_t reign(struct str s, size_t i)
{
    size_t at = i;
    for (int k = 0; k < 2; k++) {
        size_t before = at ? span_before(s, at) : at, next = before;
        if (before == at || !utf8_is_cjk(utf8_next(s, &next)))
            return i;
        at = before;
    }
    return at;
}

static size_t chinese_date(struct str s, size_t i, size_t *start)
{
    static const char *const eras[] = {"公元前", "公元", "西元前", "西元", "民国"};
    static const char *const ends[] = {"初", "底", "末", "代", "代初", "代末", "春", "夏", "秋", "冬", "间", "代中期"};
    size_t which, era = span_longest(s, i, eras, COUNT(eras), &which), at = i + era, n = either_digits(s, at);
    *start = i;
    if (n == at && span_at(s, at, STR_LIT("元年")))
        n = at + 3;
    if (n > at && span_at(s, n, STR_LIT("年"))) {
        bool year = era || looks_like_year(s, at, n), counted = !span_digit(s, at);
        if (!year && counted)
            *start = reign(s, i);
        if (!year && *start == i)
            return i;
        size_t end = month_day(s, n + 3);
        return end > n + 3 ? end : n + 3 + span_longest(s, n + 3, ends, COUNT(ends), &which);
    }
    if (n > at && span_at(s, n, STR_LIT("世纪"))) {
        static const char *const parts[] = {"初", "末", "中叶", "初期", "中期", "末期", "后期", "以后", "前"};
        return n + 6 + span_longest(s, n + 6, parts, COUNT(parts), &which);
    }
    return era ? i : month_day(s, i);
}

static size_t english_month(struct str s, size_t i)
{
    static const char *const names[] = {"january",   "february", "march",    "april",    "may",    "june",   "july",
                                        "august",    "september", "october", "november", "december", "spring", "summer",
                                        "autumn",    "winter",   "fall"};
    size_t which;
    return span_letter(s, i) && word_start(s, i) ? i + span_longest(s, i, names, COUNT(names), &which) : i;
}

static size_t plain_year(struct str s, size_t i)
{
    size_t end = i;
    while (span_digit(s, end))
        end++;
    bool year = end - i == 4 && (s.ptr[i] == '1' || (s.ptr[i] == '2' && s.ptr[i + 1] == '0'));
    if (!year || !word_start(s, i) || (i && (s.ptr[i - 1] == '.' || s.ptr[i - 1] == ',' || s.ptr[i - 1] == '$')) ||
        (end < s.len && (s.ptr[end] == '%' || (s.ptr[end] == ',' && span_digit(s, end + 1)) ||
                         (s.ptr[end] == '.' && span_digit(s, end + 1)))))
        return i;
    if (end < s.len && s.ptr[end] == 's')
        end++;
    else if (span_letter(s, end))
        return i;
    return end;
}

/* "8 July 1905", "19th century", 10:30, from a number of one or two digits that ends at d; i when it is none of them. */
static size_t from_day(struct str s, size_t i, size_t d)
{
    static const char *const centuries[] = {"st century", "nd century", "rd century", "th century", "th centuries"};
    size_t which, m = d < s.len && s.ptr[d] == ' ' ? english_month(s, d + 1) : d + 1;
    if (m > d + 1) {
        size_t y = skip_space(s, m), to = plain_year(s, y);
        return to > y ? to : m;
    }
    size_t c = span_longest(s, d, centuries, COUNT(centuries), &which);
    if (c)
        return d + c;
    return d + 3 <= s.len && s.ptr[d] == ':' && span_digit(s, d + 1) && span_digit(s, d + 2) ? d + 3 : i;
}

/* "July 8, 1905", "autumn 1347", "October", from a month's name that ends at m; i when it may be another word. */
static size_t from_month(struct str s, size_t i, size_t m)
{
    static const char *const other_words[] = {"may", "march", "fall", "spring"};
    size_t at = skip_space(s, m), day = at, which;
    while (span_digit(s, day) && day - at < 2)
        day++;
    bool has_day = day > at && !span_digit(s, day);
    size_t end = has_day ? day : m;
    size_t y = skip_space(s, has_day && day < s.len && s.ptr[day] == ',' ? day + 1 : end), to = plain_year(s, y);
    if (to > y)
        return to;
    return has_day || !span_longest(s, i, other_words, COUNT(other_words), &which) ? end : i;
}

/* A date as English writes it, a year, "300 BC", 2026-06-30: its end, or i. */
static size_t english_date(struct str s, size_t i)
{
    static const char *const eras[] = {" bc", " ad", " bce", " ce"};
    size_t which, d = i, m = english_month(s, i);
    if (m > i)
        return from_month(s, i, m);
    while (span_digit(s, d))
        d++;
    if (d == i || !word_start(s, i))
        return i;
    size_t end = d - i <= 2 ? from_day(s, i, d) : i;
    if (end == i)
        end = plain_year(s, i);
    if (end > i && end + 5 < s.len && s.ptr[end] == '-' && span_digit(s, end + 1) && span_digit(s, end + 2) &&
        s.ptr[end + 3] == '-' && span_digit(s, end + 4))
        return digits(s, end + 4);
    size_t era = end == i ? span_longest(s, d, eras, COUNT(eras), &which) : 0;
    return era ? d + era : end;
}

static void scan_dates(struct str s, struct out *o)
{
    size_t last = 0; /* end of the stretch before */
    for (size_t i = 0; i < s.len;) {
        size_t start = i, end = chinese_date(s, i, &start);
        if (end == i)
            end = english_date(s, start = i);
        if (end == i) {
            i = span_next(s, i);
            continue;
        }
        put(o, start < last ? i : start, end, SPAN_TIME);
        last = i = end;
    }
}

/* ---- names ---- */

static bool is_capital(const struct span_text *t, size_t i)
{
    char c = t->source.ptr[t->from[i]];
    return c >= 'A' && c <= 'Z' && word_start(t->s, i);
}

static size_t word_end(struct str s, size_t i)
{
    while (i < s.len && (span_letter(s, i) || span_digit(s, i) || (unsigned char)s.ptr[i] >= 0x80 || s.ptr[i] == '\'' ||
                         (s.ptr[i] == '-' && span_letter(s, i + 1)) ||
                         (s.ptr[i] == '.' && i && span_letter(s, i - 1) && (i < 2 || !span_letter(s, i - 2)))))
        i++;
    return i;
}

/* Capitals that follow one another, "of" and "the" between them included. */
static size_t capitals(const struct span_text *t, size_t i)
{
    static const char *const links[] = {"of", "the", "de", "von", "van", "der", "of the", "for", "and", "&", "la", "di", "du"};
    size_t end = word_end(t->s, i), which;
    for (;;) {
        size_t next = skip_space(t->s, end);
        if (next == end || next >= t->s.len)
            return end;
        size_t n = span_longest(t->s, next, links, COUNT(links), &which);
        bool and = n == 3 && t->s.ptr[next] == 'a'; /* joins two names as often as the words of one */
        if (n && !and && next + n < t->s.len)
            next = skip_space(t->s, next + n);
        if (next >= t->s.len || !is_capital(t, next))
            return end;
        end = word_end(t->s, next);
    }
}

static void scan_capitals(const struct span_text *t, enum span_kind kind, struct out *o)
{
    static const char *const starts[] = {"the", "in", "on", "at", "by", "for", "from", "as", "after", "before", "during", "it", "its", "he",
                                         "she", "they", "this", "these", "that", "when", "while", "although", "however", "a", "an",
                                         "since", "of", "to", "with", "his", "her", "their", "there", "some", "many", "most", "if",
                                         "but", "and", "or", "i", "we", "you", "not", "no", "all", "one", "two", "both", "other", "under", "between", "among", "such", "another", "according", "every", "january", "february", "march", "april", "may",
                                         "june", "july", "august", "september", "october", "november", "december"};
    for (size_t i = 0; i < t->s.len;) {
        size_t which;
        if (!is_capital(t, i) || span_longest(t->s, i, starts, COUNT(starts), &which)) {
            i = span_next(t->s, i);
            continue;
        }
        size_t end = capitals(t, i);
        bool lone_start = i == 0 && !memchr(t->s.ptr, ' ', end) && t->s.len > end; /* any word begins a sentence so */
        if (!lone_start)
            put(o, i, end, kind);
        i = end > i ? end : i + 1;
    }
}

/* 马克·拉瓦卢马纳纳: ideographs around a middle dot. */
static void scan_dotted(struct str s, struct out *o)
{
    static const struct str dot = STR_LIT("·");
    for (size_t i = 0; i < s.len; i = span_next(s, i)) {
        if (!span_at(s, i, dot))
            continue;
        size_t start = i, end = i + dot.len, next;
        while (start > 0 && (next = span_before(s, start), utf8_is_cjk(utf8_next(s, &next))))
            start = span_before(s, start);
        while (end < s.len && (next = end, utf8_is_cjk(utf8_next(s, &next)) || span_at(s, end, dot)))
            end = span_next(s, end);
        put(o, start, end, SPAN_PERSON);
        i = end - 1 < s.len ? span_before(s, end) : i;
    }
}

/* ---- enumerations ---- */

static bool is_bound(struct str s, size_t i)
{
    char c = s.ptr[i];
    return c == ',' || c == ';' || c == ':' || c == '!' || c == '?' || c == '(' || span_at(s, i, STR_LIT("。"));
}

/* Start of the first item: after a bound or a word that leads a list. */
static size_t list_start(struct str s, size_t i)
{
    static const char *const leads[] = {"包括", "包含", "有", "是", "为", "如", "即", "在", "由", "及", "至", "于", "含", "与"};
    for (int chars = 0; i > 0 && chars < 60; chars++) {
        size_t before = span_before(s, i), which;
        if (is_bound(s, before))
            return i;
        for (size_t k = 0; k < COUNT(leads); k++) {
            struct str w = str_of(leads[k]);
            if (i >= w.len && span_longest(s, i - w.len, &leads[k], 1, &which))
                return i;
        }
        i = before;
    }
    return i;
}

static void scan_lists(struct str s, struct out *o)
{
    static const struct str mark = STR_LIT("、");
    for (size_t i = 0; i < s.len;) {
        if (!span_at(s, i, mark)) {
            i = span_next(s, i);
            continue;
        }
        size_t end = i;
        while (end < s.len && !is_bound(s, end) && !span_at(s, end, STR_LIT("等")))
            end = span_next(s, end);
        put(o, list_start(s, i), end, SPAN_LIST);
        i = end < s.len ? span_next(s, end) : end;
    }
}

uint32_t span_scan(const struct span_question *q, const struct span_text *t, struct stretch *out, uint32_t most)
{
    struct out o = {.items = out, .most = most};
    switch (q->kind) {
    case SPAN_NUMBER:
    case SPAN_MONEY:
    case SPAN_PERCENT:
    case SPAN_DURATION: scan_amounts(q, t->s, &o); break;
    case SPAN_TIME: scan_dates(t->s, &o); break;
    case SPAN_PERSON:
        scan_dotted(t->s, &o);
        scan_capitals(t, SPAN_PERSON, &o);
        break;
    case SPAN_PLACE: scan_capitals(t, SPAN_PLACE, &o); break;
    case SPAN_NAME:
        if (!q->zh)
            scan_capitals(t, SPAN_NAME, &o);
        break;
    case SPAN_LIST: scan_lists(t->s, &o); break;
    case SPAN_NONE: break;
    }
    return o.n;
}
