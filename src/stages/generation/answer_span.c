/* The candidates of a sentence and how likely each answers: by their form (answer_span_scan.c) or by their place
 * (answer_span_place.c), weighed by a small logistic model. */
#include <math.h>

#include "stages/generation/answer_span_int.h"
#include "text/normalize.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
enum { LOOKED_AT = 1500 /* bytes of a longer sentence */ };

/* ---- features ---- */

/* Closeness of the terms, each where it is nearest, at about ten characters half. */
static float proximity(const struct span_finder *f, uint32_t from, uint32_t to)
{
    float best[64] = {0}, sum = 0;
    for (uint32_t i = 0; i < f->n_terms; i++) {
        const struct span_term *t = &f->terms[i];
        if (t->term >= 64 || (t->start < to && t->end > from))
            continue;
        uint32_t gap = t->end <= from ? from - t->end : t->start - to;
        float w = t->weight * 30 / (30 + (float)gap);
        best[t->term] = w > best[t->term] ? w : best[t->term];
    }
    for (int i = 0; i < 64; i++)
        sum += best[i];
    return sum;
}

static float mass_between(const struct span_finder *f, uint32_t from, uint32_t to)
{
    uint64_t seen = 0;
    float sum = 0;
    for (uint32_t i = 0; i < f->n_terms; i++) {
        const struct span_term *t = &f->terms[i];
        if (t->term < 64 && t->start >= from && t->end <= to && !(seen >> t->term & 1)) {
            seen |= (uint64_t)1 << t->term;
            sum += t->weight;
        }
    }
    return sum;
}

static float aligned(const struct span_anchors *a, size_t at, bool left)
{
    uint32_t best = 0;
    for (uint32_t i = 0; i < a->n; i++) {
        const struct span_anchor *x = &a->items[i];
        size_t lo = left ? x->at : at, hi = left ? at : x->at;
        size_t reach = left ? (size_t)(x->begin - x->at) + 6 : 6;
        if (hi >= lo && hi - lo <= reach && x->chars > best)
            best = x->chars;
    }
    return (float)(best > 6 ? 6 : best) / 6;
}

static bool noun_follows(const struct span_finder *f, const struct stretch *c)
{
    struct str s = f->t.s, noun = f->q->noun;
    size_t first = noun.len ? span_next(noun, 0) : 0;
    if (!noun.len || !c->number_end)
        return false;
    if (f->q->zh)
        return span_at(s, c->number_end, str_make(noun.ptr, first)) || span_at(s, c->end, str_make(noun.ptr, first));
    size_t stem = noun.len > 4 ? noun.len - 1 : noun.len;
    const char *end = s.ptr + (c->number_end + 30 < s.len ? c->number_end + 30 : s.len);
    return memmem(s.ptr + c->number_end, (size_t)(end - s.ptr) - c->number_end, noun.ptr, stem) != NULL;
}

static bool ends_with_noun(const struct span_finder *f, const struct stretch *c)
{
    struct str noun = f->q->noun;
    return f->q->zh && f->q->kind == SPAN_NAME && noun.len && c->end >= noun.len && span_at(f->t.s, c->end - noun.len, noun);
}

/* A date with the part that was asked for. */
static bool has_part(const struct span_finder *f, const struct stretch *c, bool day)
{
    struct str s = str_make(f->t.s.ptr + c->start, c->end - c->start);
    bool four = false;
    for (size_t i = 0; i + 4 <= s.len; i++)
        four = four || (span_digit(s, i) && span_digit(s, i + 1) && span_digit(s, i + 2) && span_digit(s, i + 3));
    if (!day)
        return four || memmem(s.ptr, s.len, "年", 3);
    bool any = false;
    for (size_t i = 0; i < s.len; i++)
        any = any || (span_digit(s, i) && !span_digit(s, i + 1) && (i < 2 || !span_digit(s, i - 2)));
    return memmem(s.ptr, s.len, "日", 3) || memmem(s.ptr, s.len, "号", 3) || (!f->q->zh && any);
}

static void unit_features(const struct span_finder *f, const struct stretch *c, float *match, float *conflict)
{
    if (f->q->kind == SPAN_TIME) {
        bool asked = f->q->year || f->q->day, has = asked && has_part(f, c, f->q->day);
        *match = has;
        *conflict = asked && !has;
        return;
    }
    bool fits = noun_follows(f, c) || (f->q->kind == SPAN_MONEY && c->unit == UNIT_CLASS_MONEY) ||
                (f->q->kind == SPAN_PERCENT && c->unit == UNIT_CLASS_PERCENT) ||
                (f->q->kind == SPAN_DURATION && c->unit == UNIT_CLASS_TIME);
    bool rate = f->q->kind == SPAN_MONEY && c->unit == UNIT_CLASS_PERCENT; /* a fee may be a share */
    bool strict = f->q->kind != SPAN_NUMBER || f->q->noun.len;
    *match = fits;
    *conflict = c->number_end && !fits && strict && !rate;
}

static bool in_question(const struct span_finder *f, const struct stretch *c)
{
    struct str q = f->q->text;
    return memmem(q.ptr, q.len, f->t.s.ptr + c->start, c->end - c->start) != NULL;
}

static bool is_place(const struct span_finder *f, const struct stretch *c)
{
    static const char *const ends[] = {"国", "省", "市", "县", "区", "州", "岛", "镇", "乡", "村", "山", "河", "湖", "洋", "洲", "路", "街",
                                       "城", "港", "湾", "岛上", "盆地", "平原", "高原", "山脉", "一带", "地区", "境内", "机场", "大学", "站", "寺"};
    static const char *const names[] = {
        "中国", "美国", "英国", "法国", "德国", "日本", "韩国", "朝鲜", "印度", "俄罗斯", "苏联", "加拿大", "澳大利亚", "巴西", "意大利",
        "西班牙", "葡萄牙", "荷兰", "比利时", "瑞士", "瑞典", "挪威", "芬兰", "丹麦", "波兰", "希腊", "土耳其", "埃及", "南非", "墨西哥",
        "阿根廷", "越南", "泰国", "缅甸", "老挝", "柬埔寨", "马来西亚", "新加坡", "印尼", "印度尼西亚", "菲律宾", "伊朗", "伊拉克",
        "以色列", "奥地利", "匈牙利", "捷克", "爱尔兰", "新西兰", "台湾", "香港", "澳门", "北京", "上海", "天津", "重庆", "广州", "深圳",
        "南京", "杭州", "成都", "武汉", "西安", "台北", "高雄", "东京", "大阪", "京都", "巴黎", "伦敦", "柏林", "罗马", "纽约", "洛杉矶",
        "莫斯科", "维也纳", "河北", "河南", "山东", "山西", "江苏", "江西", "浙江", "安徽", "福建", "广东", "广西", "湖南", "湖北", "四川",
        "云南", "贵州", "陕西", "甘肃", "青海", "新疆", "西藏", "宁夏", "内蒙古", "辽宁", "吉林", "黑龙江", "海南", "欧洲", "亚洲", "非洲",
        "北美", "南美", "东南亚", "南亚", "西亚", "中东", "太平洋", "大西洋", "印度洋"};
    struct str s = str_make(f->t.s.ptr + c->start, c->end - c->start);
    size_t which;
    return span_word_of(s, ends, COUNT(ends), true) || span_longest(s, 0, names, COUNT(names), &which);
}

/* Not what the question says itself, and a place only where it reads like one or stands between both anchors. */
static bool is_possible(const struct span_finder *f, const struct stretch *c, bool formed)
{
    if (in_question(f, c))
        return false;
    bool between = aligned(&f->left, c->start, true) > 0 && aligned(&f->right, c->end, false) > 0;
    return f->q->kind != SPAN_PLACE || formed || between || is_place(f, c);
}

static void features(const struct span_finder *f, const struct stretch *c, bool formed, uint32_t n, struct span_candidate *out)
{
    struct str s = f->t.s;
    size_t from = c->start, to = span_bound_after(s, c->end);
    while (from > 0 && !span_is_bound(s, span_before(s, from)))
        from = span_before(s, from);
    uint32_t a = f->t.from[c->start], b = f->t.to[c->end - 1];
    float match, conflict;
    unit_features(f, c, &match, &conflict);
    out->at = (struct answer_span){.start = a, .end = b};
    float left = aligned(&f->left, c->start, true), right = aligned(&f->right, c->end, false);
    enum span_kind kind = f->q->kind;
    float x[SPAN_FEATURES] = {
        1,
        f->worth,
        proximity(f, a, b),
        mass_between(f, f->t.from[from], to ? f->t.to[to - 1] : 0),
        left,
        right,
        match,
        conflict,
        logf(1 + (float)(c->end - c->start)) / 4,
        1 / (float)n,
        formed && kind < SPAN_TIME,
        kind == SPAN_TIME,
        formed && (kind == SPAN_PERSON || kind == SPAN_PLACE),
        kind == SPAN_PLACE && f->q->zh && is_place(f, c),
        kind == SPAN_LIST,
        !formed && left <= 0 && right <= 0,
        ends_with_noun(f, c),
        0, /* SPAN_LEAD, when all candidates are known */
    };
    memcpy(out->features, x, sizeof x);
}

/* By how much more of the question stands near and in its clause than by the best other candidate. */
static float lead(const struct span_candidate *c, uint32_t n, uint32_t which)
{
    float mine = c[which].features[SPAN_NEAR] + c[which].features[SPAN_IN_CLAUSE], most = 0;
    for (uint32_t i = 0; i < n; i++) {
        bool apart = c[i].at.end <= c[which].at.start || c[i].at.start >= c[which].at.end;
        float x = c[i].features[SPAN_NEAR] + c[i].features[SPAN_IN_CLAUSE];
        most = apart && x > most ? x : most;
    }
    return mine - most;
}

/* tools/answer_quality.py --split train --answers DIR --fit: the candidates of 367 training questions of cmrc2018, drcd and
 * squad, whose answers were written by hand; in the order of features(). */
static const float weights[SPAN_FEATURES] = {-6.49F, 4.37F, 1.56F, 0.04F, 0.69F, 0.68F, 0.46F, -1.26F, -0.27F,
                                             0.86F,  0.43F, 0.82F, 0.62F, 0.52F, 0.52F, 0.45F, 0.79F,  1.24F};

static float probability(const float *x)
{
    float z = 0;
    for (int i = 0; i < SPAN_FEATURES; i++)
        z += weights[i] * x[i];
    return 1 / (1 + expf(-z));
}

/* ---- the whole ---- */

static rag_code read_text(struct str sentence, struct arena *a, struct span_text *out)
{
    struct norm_text t;
    norm_text_init(&t);
    size_t look = sentence.len > LOOKED_AT ? utf8_floor(sentence, LOOKED_AT) : sentence.len;
    rag_code rc = normalize_run(str_make(sentence.ptr, look), &t);
    if (!rc) {
        char *text = arena_strndup(a, t.text.ptr, t.text.len);
        void *from = arena_alloc(a, t.start.len + 1), *to = arena_alloc(a, t.end.len + 1);
        rc = text && from && to ? RAG_OK : RAG_ENOMEM;
        if (!rc && t.text.len) {
            memcpy(from, t.start.ptr, t.start.len);
            memcpy(to, t.end.ptr, t.end.len);
        }
        *out = (struct span_text){.s = str_make(text, t.text.len), .source = sentence, .from = from, .to = to};
    }
    norm_text_clear(&t);
    return rc;
}

rag_code span_candidates(const struct span_question *q, struct str sentence, float worth, const struct span_term *terms,
                         uint32_t n_terms, struct arena *a, struct span_candidate *out, uint32_t *n_out)
{
    struct span_finder f = {.q = q, .terms = terms, .n_terms = n_terms, .worth = worth};
    *n_out = 0;
    if (q->kind == SPAN_NONE || !sentence.len)
        return RAG_OK;
    rag_code rc = read_text(sentence, a, &f.t);
    if (rc || !f.t.s.len)
        return rc;
    f.n = span_scan(q, &f.t, f.found, SPAN_CANDIDATES);
    uint32_t formed = f.n;
    span_by_place(&f);
    uint32_t n = 0;
    for (uint32_t i = 0; i < f.n; i++)
        n += is_possible(&f, &f.found[i], i < formed);
    for (uint32_t i = 0; i < f.n; i++)
        if (is_possible(&f, &f.found[i], i < formed))
            features(&f, &f.found[i], i < formed, n, &out[(*n_out)++]);
    for (uint32_t i = 0; i < *n_out; i++)
        out[i].features[SPAN_LEAD] = lead(out, *n_out, i);
    for (uint32_t i = 0; i < *n_out; i++)
        out[i].at.probability = probability(out[i].features);
    return RAG_OK;
}
