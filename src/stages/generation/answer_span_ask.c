/* What a question asks for, from its question word: the longest of a table, at its first place. What follows may say more:
 * "哪个国家" asks for a place, "what year" for a time, "多少公里" for kilometres. */
#include "stages/generation/answer_span_int.h"

#include "text/normalize.h"

struct asker {
    const char *word;
    uint8_t kind;
    bool noun; /* the words after it say what is counted or named */
};
/* clang-format off */
static const struct asker zh_askers[] = {
    {"什么是", SPAN_NONE, false}, {"为什么", SPAN_NONE, false}, {"为何", SPAN_NONE, false}, {"为啥", SPAN_NONE, false}, {"怎么", SPAN_NONE, false},
    {"怎样", SPAN_NONE, false}, {"如何", SPAN_NONE, false}, {"什么样", SPAN_NONE, false}, {"怎么样", SPAN_NONE, false},
    {"什么原因", SPAN_NONE, false}, {"什么意思", SPAN_NONE, false}, {"什么区别", SPAN_NONE, false},
    {"什么不同", SPAN_NONE, false}, {"没什么", SPAN_NONE, false}, {"是否", SPAN_NONE, false},
    {"多少", SPAN_NUMBER, true}, {"多少钱", SPAN_MONEY, false}, {"百分之几", SPAN_PERCENT, false},
    {"百分之多少", SPAN_PERCENT, false}, {"多大比例", SPAN_PERCENT, false}, {"多少比例", SPAN_PERCENT, false},
    {"多大", SPAN_NUMBER, false}, {"多高", SPAN_NUMBER, false}, {"多长", SPAN_NUMBER, false}, {"多远", SPAN_NUMBER, false},
    {"多重", SPAN_NUMBER, false}, {"多宽", SPAN_NUMBER, false}, {"多深", SPAN_NUMBER, false}, {"多快", SPAN_NUMBER, false},
    {"多贵", SPAN_MONEY, false}, {"多久", SPAN_DURATION, false}, {"多长时间", SPAN_DURATION, false},
    {"多少时间", SPAN_DURATION, false}, {"多少天", SPAN_DURATION, false}, {"几", SPAN_NUMBER, true}, {"几天", SPAN_DURATION, false},
    {"几个月", SPAN_DURATION, false}, {"几个小时", SPAN_DURATION, false}, {"几小时", SPAN_DURATION, false},
    {"几年", SPAN_TIME, false}, {"几月", SPAN_TIME, false}, {"几号", SPAN_TIME, false}, {"几点", SPAN_TIME, false},
    {"几时", SPAN_TIME, false}, {"几岁", SPAN_NUMBER, true}, {"什么时候", SPAN_TIME, false}, {"啥时候", SPAN_TIME, false},
    {"什么时间", SPAN_TIME, false}, {"什么时期", SPAN_TIME, false}, {"什么年代", SPAN_TIME, false}, {"何时", SPAN_TIME, false},
    {"何年", SPAN_TIME, false}, {"何月", SPAN_TIME, false}, {"哪年", SPAN_TIME, false}, {"哪天", SPAN_TIME, false},
    {"哪一年", SPAN_TIME, false}, {"哪一天", SPAN_TIME, false}, {"哪个世纪", SPAN_TIME, false},
    {"哪一个世纪", SPAN_TIME, false}, {"哪个年代", SPAN_TIME, false}, {"哪个时期", SPAN_TIME, false},
    {"哪一年代", SPAN_TIME, false}, {"哪几年", SPAN_TIME, false}, {"谁", SPAN_PERSON, false}, {"何人", SPAN_PERSON, false},
    {"什么人", SPAN_PERSON, false}, {"哪位", SPAN_PERSON, true}, {"哪一位", SPAN_PERSON, true}, {"哪个人", SPAN_PERSON, false},
    {"哪一个人", SPAN_PERSON, false}, {"哪里", SPAN_PLACE, false}, {"哪儿", SPAN_PLACE, false}, {"哪边", SPAN_PLACE, false},
    {"何处", SPAN_PLACE, false}, {"何地", SPAN_PLACE, false}, {"什么地方", SPAN_PLACE, false}, {"什么地区", SPAN_PLACE, false},
    {"什么位置", SPAN_PLACE, false}, {"哪国", SPAN_PLACE, false}, {"哪一国", SPAN_PLACE, false},
    {"哪个地方", SPAN_PLACE, false}, {"哪个国家", SPAN_PLACE, false}, {"哪个城市", SPAN_PLACE, false},
    {"哪一个国家", SPAN_PLACE, false}, {"哪一个城市", SPAN_PLACE, false}, {"哪一个地方", SPAN_PLACE, false},
    {"哪些", SPAN_LIST, true}, {"哪几", SPAN_LIST, true}, {"哪两", SPAN_LIST, true}, {"哪三", SPAN_LIST, true},
    {"哪四", SPAN_LIST, true}, {"哪五", SPAN_LIST, true}, {"哪", SPAN_NAME, true}, {"何种", SPAN_NAME, true},
    {"什么", SPAN_NAME, true}, {"甚么", SPAN_NAME, true}, {"何", SPAN_NAME, true},
    /* not questions */
    {"几乎", SPAN_NONE, false}, {"几何", SPAN_NONE, false}, {"几率", SPAN_NONE, false}, {"任何", SPAN_NONE, false},
};
static const struct asker en_askers[] = {
    {"how much", SPAN_NUMBER, true}, {"how many", SPAN_NUMBER, true}, {"how long", SPAN_DURATION, false},
    {"how far", SPAN_NUMBER, false}, {"how old", SPAN_NUMBER, false}, {"how tall", SPAN_NUMBER, false},
    {"how high", SPAN_NUMBER, false}, {"how wide", SPAN_NUMBER, false}, {"how deep", SPAN_NUMBER, false},
    {"how large", SPAN_NUMBER, false}, {"how big", SPAN_NUMBER, false}, {"how fast", SPAN_NUMBER, false},
    {"how often", SPAN_NONE, false}, {"how soon", SPAN_DURATION, false}, {"how quickly", SPAN_DURATION, false},
    {"how", SPAN_NONE, false}, {"why", SPAN_NONE, false}, {"when", SPAN_TIME, false}, {"where", SPAN_PLACE, false},
    {"who", SPAN_PERSON, false}, {"whom", SPAN_PERSON, false}, {"whose", SPAN_PERSON, false},
    {"what", SPAN_NAME, true}, {"which", SPAN_NAME, true},
};
struct noun_kind {
    const char *noun;
    uint8_t kind;
};
static const struct noun_kind noun_kinds[] = {
    {"国家", SPAN_PLACE}, {"城市", SPAN_PLACE}, {"地区", SPAN_PLACE}, {"地方", SPAN_PLACE}, {"省", SPAN_PLACE}, {"市", SPAN_PLACE},
    {"县", SPAN_PLACE}, {"州", SPAN_PLACE}, {"岛", SPAN_PLACE}, {"洲", SPAN_PLACE}, {"国", SPAN_PLACE}, {"人物", SPAN_PERSON},
    {"作家", SPAN_PERSON}, {"导演", SPAN_PERSON}, {"皇帝", SPAN_PERSON}, {"歌手", SPAN_PERSON}, {"演员", SPAN_PERSON},
    {"球员", SPAN_PERSON}, {"选手", SPAN_PERSON}, {"学者", SPAN_PERSON}, {"总统", SPAN_PERSON}, {"国王", SPAN_PERSON},
    {"世纪", SPAN_TIME}, {"年", SPAN_TIME}, {"月", SPAN_TIME}, {"日期", SPAN_TIME}, {"时期", SPAN_TIME}, {"时间", SPAN_TIME},
    {"钱", SPAN_MONEY}, {"元", SPAN_MONEY}, {"万元", SPAN_MONEY}, {"亿元", SPAN_MONEY}, {"美元", SPAN_MONEY},
    {"比例", SPAN_PERCENT}, {"country", SPAN_PLACE}, {"countries", SPAN_PLACE}, {"city", SPAN_PLACE}, {"state", SPAN_PLACE},
    {"town", SPAN_PLACE}, {"continent", SPAN_PLACE}, {"region", SPAN_PLACE}, {"river", SPAN_PLACE}, {"nation", SPAN_PLACE},
    {"ocean", SPAN_PLACE}, {"sea", SPAN_PLACE}, {"year", SPAN_TIME}, {"years", SPAN_TIME}, {"century", SPAN_TIME},
    {"decade", SPAN_TIME}, {"month", SPAN_TIME}, {"date", SPAN_TIME}, {"day", SPAN_TIME}, {"percentage", SPAN_PERCENT},
    {"percent", SPAN_PERCENT}, {"proportion", SPAN_PERCENT}, {"person", SPAN_PERSON}, {"author", SPAN_PERSON},
    {"king", SPAN_PERSON}, {"president", SPAN_PERSON}, {"scientist", SPAN_PERSON}, {"actor", SPAN_PERSON},
    {"money", SPAN_MONEY}, {"number", SPAN_NUMBER}, {"population", SPAN_NUMBER}, {"height", SPAN_NUMBER},
    {"length", SPAN_NUMBER}, {"temperature", SPAN_NUMBER}, {"speed", SPAN_NUMBER}, {"size", SPAN_NUMBER}, {"cost", SPAN_MONEY},
    {"price", SPAN_MONEY}, {"period of time", SPAN_DURATION},
};
/* clang-format on */
/* What "多少" or "how much" alone asks for, by a word of the question. */
static const char *const money_words[] = {"费", "价", "钱", "花", "收入", "利润", "投资", "成本", "金额", "奖金", "cost", "fee", "fees",
                                          "price", "pay", "paid", "spend", "charge", "worth", "revenue"};
static const char *const percent_words[] = {"率", "比例", "占"};

#define COUNT(a) (sizeof(a) / sizeof *(a))

static bool holds(struct str s, const char *const *words, size_t n)
{
    size_t which;
    for (size_t i = 0; i < s.len; i = span_next(s, i))
        if (!(i && span_letter(s, i) && span_letter(s, i - 1)) && span_longest(s, i, words, n, &which))
            return true;
    return false;
}

static const struct asker *longest_at(struct str s, size_t i)
{
    const struct asker *best = NULL;
    bool latin = span_letter(s, i);
    const struct asker *list = latin ? en_askers : zh_askers;
    for (size_t k = 0, n = latin ? COUNT(en_askers) : COUNT(zh_askers); k < n; k++) {
        struct str w = str_of(list[k].word);
        if (span_at(s, i, w) && !(latin && span_letter(s, i + w.len)) && (!best || w.len > strlen(best->word)))
            best = &list[k];
    }
    return best;
}

/* The first question word; one that asks for no few words decides only when there is no other. */
static const struct asker *find_asker(struct str s, size_t *at)
{
    static const struct str tens[] = {STR_LIT("十"), STR_LIT("好"), STR_LIT("这"), STR_LIT("这里"), STR_LIT("前")};
    for (size_t i = 0; i < s.len;) {
        const struct asker *a = i && span_letter(s, i) && span_letter(s, i - 1) ? NULL : longest_at(s, i);
        bool some = false; /* 十几, 好几: some, not how many */
        for (size_t k = 0; a && str_eqz(STR_LIT("几"), a->word) && k < COUNT(tens); k++)
            some = some || (i >= tens[k].len && span_at(s, i - tens[k].len, tens[k]));
        if (a && !some && strcmp(a->word, "几乎") != 0 && strcmp(a->word, "任何") != 0) {
            *at = i;
            return a;
        }
        i = a ? i + strlen(a->word) : span_next(s, i);
    }
    return NULL;
}

static bool ends_clause(struct str s, size_t i)
{
    char c = s.ptr[i];
    return c == ',' || c == ';' || c == '?' || c == '!' || span_at(s, i, STR_LIT("。")) ||
           (c == '.' && (i + 1 == s.len || s.ptr[i + 1] == ' '));
}

/* Measure words between 哪 or 几 and the noun: 哪一个国家. */
static size_t skip_measure(struct str s, size_t i)
{
    static const char *const words[] = {"一个", "一种", "一家", "一座", "一条", "一部", "一所", "一项", "一本", "一场", "一支", "一门",
                                        "一款", "一张", "一类", "一间", "一", "个", "种", "家", "座", "条", "部", "所", "项", "本",
                                        "场", "支", "门", "款", "张", "类", "间", "两个", "三个", "四个", "五个"};
    size_t which, n = span_longest(s, i, words, COUNT(words), &which);
    return i + n;
}

static struct str noun_after(const struct span_question *q, size_t i, bool named)
{
    struct str s = q->text;
    if (!q->zh) {
        static const char *const skipped[] = {"is", "was", "are", "were", "the", "a", "an", "other", "two", "three", "maximum",
                                              "minimum", "total", "average", "annual", "typical", "current", "kind of", "type of",
                                              "name of", "names of"};
        for (size_t n = 1, which; n;) {
            while (i < s.len && s.ptr[i] == ' ')
                i++;
            n = named ? span_longest(s, i, skipped, COUNT(skipped), &which) : 0;
            i += n;
        }
        size_t end = i;
        while (span_letter(s, end))
            end++;
        return str_make(s.ptr + i, end - i);
    }
    i = named ? skip_measure(s, i) : i;
    size_t end = i;
    static const char *const stops[] = {"的", "是", "在", "为", "被", "有", "了", "和", "以", "使", "而", "才", "会", "能", "可", "上"};
    for (uint32_t chars = 0; end < s.len && chars < 5; chars++) {
        size_t next = end, which;
        if (!utf8_is_cjk(utf8_next(s, &next)) || span_longest(s, end, stops, COUNT(stops), &which))
            break;
        end = next;
    }
    return str_make(s.ptr + i, end - i);
}

static void refine(struct span_question *q)
{
    for (size_t k = 0; k < COUNT(noun_kinds); k++) {
        struct str w = str_of(noun_kinds[k].noun);
        bool is = q->zh ? w.len <= q->noun.len && memcmp(q->noun.ptr, w.ptr, w.len) == 0 : str_eq(w, q->noun);
        if (is && q->noun.len && (q->kind == SPAN_NAME || noun_kinds[k].kind == SPAN_MONEY || noun_kinds[k].kind == SPAN_PERCENT)) {
            q->kind = noun_kinds[k].kind;
            return;
        }
    }
    static const char *const fees[] = {"fee", "fees", "limit", "cost", "price"};
    static const char *const rates[] = {"rate", "percentage", "percent", "apr"};
    if (q->kind == SPAN_NAME && !q->zh && holds(q->text, fees, COUNT(fees)))
        q->kind = SPAN_MONEY;
    else if (q->kind == SPAN_NAME && !q->zh && holds(q->text, rates, COUNT(rates)))
        q->kind = SPAN_PERCENT;
    bool counted = q->zh ? q->noun.len > 0 : false;
    if (q->kind == SPAN_NUMBER && !counted && holds(q->zh ? q->left : q->text, money_words, COUNT(money_words)))
        q->kind = SPAN_MONEY;
    else if (q->kind == SPAN_NUMBER && !counted && q->zh && holds(q->left, percent_words, COUNT(percent_words)))
        q->kind = SPAN_PERCENT;
}

rag_code span_question_read(struct str question, struct arena *a, struct span_question *out)
{
    enum { LOOKED_AT = 600 /* bytes of a longer question */ };
    struct norm_text t;
    *out = (struct span_question){.kind = SPAN_NONE};
    norm_text_init(&t);
    size_t look = question.len > LOOKED_AT ? utf8_floor(question, LOOKED_AT) : question.len;
    rag_code rc = normalize_run(str_make(question.ptr, look), &t);
    char *copy = rc ? NULL : arena_strndup(a, t.text.ptr, t.text.len);
    out->text = str_make(copy, copy ? t.text.len : 0);
    norm_text_clear(&t);
    if (!copy)
        return rc ? rc : RAG_ENOMEM;
    struct str s = out->text;
    size_t at = 0, start, end;
    const struct asker *asker = find_asker(s, &at);
    if (!asker)
        return RAG_OK;
    size_t after = at + strlen(asker->word);
    out->kind = asker->kind;
    out->zh = !span_letter(s, at);
    if (asker->noun)
        out->noun = noun_after(out, after, asker->kind == SPAN_NAME || asker->kind == SPAN_LIST || asker->kind == SPAN_PERSON);
    for (start = at; start > 0 && !ends_clause(s, span_before(s, start));)
        start = span_before(s, start);
    size_t from = out->noun.len ? (size_t)(out->noun.ptr + out->noun.len - s.ptr) : after;
    for (end = from; end < s.len && !ends_clause(s, end);)
        end++;
    out->left = str_trim(str_make(s.ptr + start, at - start));
    out->right = str_trim(str_make(s.ptr + from, end - from));
    refine(out);
    struct str is = STR_LIT("是");
    bool defines = out->kind == SPAN_NAME && out->zh && !out->noun.len && !out->right.len && out->left.len >= is.len &&
                   memcmp(out->left.ptr + out->left.len - is.len, is.ptr, is.len) == 0 &&
                   !memmem(out->left.ptr, out->left.len, "的", 3);
    if (defines) /* X是什么: a sentence answers */
        out->kind = SPAN_NONE;
    static const char *const years[] = {"年", "year"};
    static const char *const days[] = {"日", "号", "天", "day", "date"};
    struct str asked = str_make(s.ptr + at, (out->noun.len ? (size_t)(out->noun.ptr + out->noun.len - s.ptr) : after) - at);
    out->year = out->kind == SPAN_TIME && holds(asked, years, COUNT(years));
    out->day = out->kind == SPAN_TIME && (holds(asked, days, COUNT(days)) || holds(out->right, days, 2));
    return RAG_OK;
}
