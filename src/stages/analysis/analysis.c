/* Rules on the normalised question: word lists, counted. A cue is matched as a substring in Chinese and as whole
 * words in English. Chinese words that merely contain a cue (比如, 比较贵, 和平) are taken out first. */
#include "stages/analysis/analysis.h"

#include <string.h>

#include "text/normalize.h"
#include "text/utf8.h"

typedef const char *const cue_list[];

static cue_list not_cues = {"比如", "比较贵", "比较高", "比较低", "比较多", "比较少", "比较好", "比较大", "比较小", "不同意", "还是算了", "什么的",
                            "怎么样", "几乎", "多少有点", NULL};
static cue_list comparison = {"对比", "比较", "相比", "比起", "区别", "差别", "差异", "不同", "哪个好", "哪个更", "哪个高", "哪个低", "哪张更",
                              "哪种更", "谁更", "优劣", "还是", "compare", "compared", "comparison", "difference", "differences",
                              "differ", "versus", "vs", "better than", "which is better", "which one is", NULL};
static cue_list condition = {"如果", "假如", "要是", "假设", "的情况下", "除非", "只要", "的话", "if", "unless", "provided", "in case",
                             "assuming", "suppose", NULL};
static cue_list aggregation = {"一共", "总共", "合计", "总计", "加起来", "平均", "所有", "全部", "列出", "汇总", "总结", "归纳", "排名", "最高", "最低",
                               "最贵", "最便宜", "算一下", "计算", "算算", "total", "sum", "average", "list all", "all the", "overall",
                               "calculate", "highest", "lowest", "cheapest", "most expensive", "summarize", "summarise",
                               "each of", "altogether", NULL};
static cue_list procedure = {"怎么", "如何", "怎样", "流程", "步骤", "办理", "应对", "处理", "话术", "回应", "回复", "介绍", "how do", "how to",
                             "how can", "how should", "how does", "how would", "how is", "steps", "process", "walk me through",
                             "respond", "handle", "procedure", NULL};
static cue_list reason = {"为什么", "为何", "原因", "为啥", "凭什么", "解释", "说明", "why", "reason", "explain", "what happens", NULL};
static cue_list requirement = {"条件", "要求", "资格", "需要什么", "需要哪些", "requirement", "requirements", "eligible", "eligibility",
                               "qualify", "what do i need", NULL};
static cue_list utterance = {"客户说", "客户觉得", "客户问", "客户表示", "客户嫌", "客户抱怨", "客户担心", "顾客说", "客人说", "对方说", "用户说", "他说", "她说",
                             "太贵了", "考虑考虑", "再考虑", "不需要了", "我已经有", "没时间", "不感兴趣", "customer says", "customer said",
                             "client says", "client said", "prospect says", "he says", "she says", "they say", "too expensive",
                             "already have a", "not interested", "let me think", "think about it", NULL};
static cue_list question_words = {"多少", "什么", "怎么", "如何", "怎样", "为什么", "为何", "哪", "谁", "几", "吗", "呢", "能不能", "可不可以", "是否",
                                  "有没有", "多久", "how", "what", "why", "when", "where", "who", "which", "can", "could", "do",
                                  "does", "is", "are", "should", "will", NULL};
static cue_list number_cues = {"多少", "几", "额度", "费率", "利率", "多高", "how much", "how many", "rate", "limit", "cost", "fee", "price", NULL};
static cue_list time_cues = {"什么时候", "何时", "多久", "几天", "多长时间", "哪天", "哪年", "几点", "when", "how long", "what year", "what time", NULL};
static cue_list person_cues = {"谁", "哪位", "who", "whom", "whose", NULL};
static cue_list place_cues = {"哪里", "在哪", "哪儿", "何处", "哪个城市", "where", NULL};
static cue_list yes_no_cues = {"吗", "能不能", "可不可以", "是不是", "是否", "有没有", NULL};
static cue_list list_cues = {"哪些", "有什么", "列出", "哪几", "what are", "which", "list", NULL};
static cue_list joiners = {"以及", "并且", "另外", "还有", "同时", "分别", "and also", "as well as", "and what", "and how", "and which",
                           "and when", "and is", "and does", "and can", NULL};

static bool is_word_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '\'';
}

/* Place of the next occurrence from `at` on, or len. */
static size_t find_cue(struct str s, size_t at, const char *cue)
{
    size_t n = strlen(cue);
    bool latin = is_word_byte(cue[0]);
    for (size_t i = at; i + n <= s.len; i++) {
        if (s.ptr[i] != cue[0] || memcmp(s.ptr + i, cue, n) != 0)
            continue;
        if (!latin || ((i == 0 || !is_word_byte(s.ptr[i - 1])) && (i + n == s.len || !is_word_byte(s.ptr[i + n]))))
            return i;
    }
    return s.len;
}

static uint32_t count_cues(struct str s, cue_list list)
{
    uint32_t n = 0;
    for (size_t i = 0; list[i]; i++)
        for (size_t at = find_cue(s, 0, list[i]); at < s.len; at = find_cue(s, at + strlen(list[i]), list[i]))
            n++;
    return n;
}

static void blank_not_cues(char *p, size_t len)
{
    for (size_t i = 0; not_cues[i]; i++) {
        size_t n = strlen(not_cues[i]);
        for (size_t at = find_cue(str_make(p, len), 0, not_cues[i]); at < len;
             at = find_cue(str_make(p, len), at + n, not_cues[i]))
            memset(p + at, ' ', n);
    }
}

static void detect_language(struct str s, struct query_analysis *out, uint32_t *n_units)
{
    uint32_t cjk = 0, words = 0;
    bool in_word = false;
    for (size_t i = 0; i < s.len;) {
        size_t at = i;
        uint32_t cp = utf8_next(s, &i);
        bool letter = cp < 128 ? is_word_byte(s.ptr[at]) && !(s.ptr[at] >= '0' && s.ptr[at] <= '9') : cp < 0x250 && cp >= 0xc0;
        words += letter && !in_word;
        in_word = letter;
        cjk += utf8_is_cjk(cp);
    }
    *n_units = cjk + words * 2;
    out->language = cjk && words > 1 ? LANGUAGE_MIXED : cjk ? LANGUAGE_ZH : words ? LANGUAGE_EN : LANGUAGE_OTHER;
}

/* Clauses that ask: pieces between sentence ends (or commas) with a question word of their own. */
static uint32_t count_asks(struct str s)
{
    uint32_t asks = 0;
    size_t from = 0;
    for (size_t i = 0; i <= s.len;) {
        size_t at = i;
        uint32_t cp = i < s.len ? utf8_next(s, &i) : '?';
        if (at == s.len)
            i++;
        if (cp != '?' && cp != ';' && cp != '!' && cp != ',' && cp != 0x3002 && cp != 0x3001 && cp != '\n')
            continue;
        asks += count_cues(str_make(s.ptr + from, at - from), question_words) > 0;
        from = i < s.len ? i : s.len;
    }
    asks += count_cues(s, joiners) > 0 && count_cues(s, question_words) > 0;
    return asks ? asks : 1;
}

static enum answer_type answer_type_of(struct str s)
{
    static const struct {
        const char *const *cues;
        enum answer_type type;
    } order[] = {{time_cues, ANSWER_TIME},     {reason, ANSWER_REASON},       {person_cues, ANSWER_PERSON},
                 {place_cues, ANSWER_PLACE},   {number_cues, ANSWER_NUMBER},  {procedure, ANSWER_PROCEDURE},
                 {list_cues, ANSWER_LIST},     {yes_no_cues, ANSWER_YES_NO}};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (count_cues(s, order[i].cues))
            return order[i].type;
    return ANSWER_ANY;
}

static void judge(struct str s, uint32_t n_units, struct query_analysis *out)
{
    uint32_t compare = count_cues(s, comparison), ifs = count_cues(s, condition), sums = count_cues(s, aggregation);
    uint32_t explain = count_cues(s, procedure) + count_cues(s, reason) + count_cues(s, requirement);
    uint32_t says = count_cues(s, utterance), asks = count_cues(s, question_words);
    out->n_asks = count_asks(s);
    out->has_comparison = compare > 0;
    out->has_condition = ifs > 0;
    out->has_aggregation = sums > 0;
    out->answer_type = answer_type_of(s);
    out->kind = says ? QUERY_UTTERANCE : asks || find_cue(s, 0, "?") < s.len ? QUERY_QUESTION : QUERY_KEYWORDS;
    uint32_t strong = compare + sums + (out->n_asks > 1) * (out->n_asks - 1) + (ifs > 1);
    uint32_t weak = explain + says + ifs + (n_units > 30);
    out->complexity = strong ? COMPLEXITY_COMPLEX : weak ? COMPLEXITY_MEDIUM : COMPLEXITY_SIMPLE;
    uint32_t votes = strong ? strong : weak ? weak : 1 + (n_units < 12);
    out->confidence = votes > 2 ? 0.95F : votes > 1 ? 0.85F : 0.7F;
}

rag_code analysis_run(const struct analyzer *an, const struct query *q, struct query_analysis *out)
{
    struct norm_text norm;
    uint32_t n_units;
    norm_text_init(&norm);
    rag_code rc = normalize_run(q->text, &norm);
    if (!rc)
        rc = analyzer_run(an, q->text, ANALYZE_QUERY, &out->terms);
    if (!rc) {
        struct str s = buf_str(&norm.text);
        detect_language(s, out, &n_units);
        blank_not_cues(norm.text.ptr, norm.text.len);
        judge(s, n_units, out);
        for (uint32_t i = 0; i < out->terms.n; i++) {
            struct str t = term_text(&out->terms, i);
            bool digit = false, letter = false;
            for (size_t j = 0; j < t.len; j++) {
                digit |= t.ptr[j] >= '0' && t.ptr[j] <= '9';
                letter |= t.ptr[j] >= 'a' && t.ptr[j] <= 'z';
            }
            out->has_number |= digit;
            out->has_identifier |= digit && letter && out->terms.items[i].kind == TERM_WHOLE;
        }
    }
    norm_text_clear(&norm);
    return rc;
}
