/* The text is taken in windows of WINDOW bytes, cut at a line end or space where there is one, so that memory
 * does not grow with the document. A window is normalised to code points; then each run of one kind of script
 * becomes terms:
 *
 *   CJK      words of the most probable path (WORD, CHAR), the dictionary words inside them (SUBWORD), and every
 *            other pair of neighbours (BIGRAM). A two-character string is the same term whatever its kind, so a
 *            document and a question that were cut differently still meet in it.
 *   letters  a word: accents removed from Latin letters, English stemmed (Snowball).
 *   others   letters, digits and the marks that join them ("ds-2024-01", "3.5%", "c++"): WHOLE, and its PARTs.
 *
 * Invariants: terms are in order of start; 0 < weight <= 1; a term's span is not empty; terms of one start differ
 * in text. Positions: one for each CJK character and for each joined piece of other text.
 *
 * Scratch memory and the stemmer are per thread, kept between calls and freed when the thread ends. */
#include "text/analyzer.h"

#include <libstemmer.h>
#include <pthread.h>
#include <unicode/uchar.h>

#include "base/hash.h"
#include "text/chartab.h"
#include "text/lexicon.h"
#include "text/normalize_int.h"
#include "text/segment.h"
#include "text/stopwords.h"
#include "text/utf8.h"

#define RULES_VERSION 1 /* raise it with every change of the terms that some text gives */
#define MAX_SOURCE    ((size_t)256 << 20)
#define WINDOW        ((size_t)16 << 10)
#define MAX_TOKEN     128 /* characters of one non-CJK term; longer runs are cut */
#define MAX_BYTES     (MAX_TOKEN * 4)
#define MAX_STEM      64 /* bytes; nothing longer is an English word */
#define MAX_USER      100000

/* What a question's terms weigh: the means of nDCG@10 over training questions of cmrc2018, drcd, squad and scifact
 * are flat (within .2 point) for a factor of 1.5 around each of these; without bigrams they lose .6. */
struct query_weights {
    float kind[6];       /* by enum term_kind */
    float stop_word;     /* factor for stop words: English */
    float stop_zh;       /* ... Chinese */
    float compound;      /* TERM_WHOLE of plain words: "state-of-the-art" */
    float bigram_inside; /* factor for a bigram inside a dictionary word */
    float bigram_stop;   /* factor for a bigram with one character of a stop word */
};
static const struct query_weights weights = {
    /*       word  sub  bigram char whole part */
    .kind = {1.0F, .4F, .5F, .5F, 1.0F, .8F},
    .stop_word = .4F,
    .stop_zh = .4F,
    .compound = .5F,
    .bigram_inside = .5F,
    .bigram_stop = .5F,
};

struct analyzer {
    struct lexicon user;
    void *user_block; /* NULL without user words */
    uint64_t fingerprint;
};

struct scratch {
    struct sb_stemmer *english;
    struct norm_cp *text;
    uint8_t *class;
    uint8_t *stop; /* character belongs to a stop word */
    struct segment seg;
    size_t cap; /* characters; seg.best has one more */
};

struct run {
    const struct analyzer *a;
    const struct chartab *tab;
    struct scratch *s;
    struct term_list *out;
    uint32_t n;    /* characters in the window */
    uint32_t base; /* source offset of the window */
    uint32_t pos;
    uint32_t same; /* first term of the current start */
    bool query;
    bool failed;
};

/* ---- per-thread scratch ---- */

static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;

static void scratch_free(void *p)
{
    struct scratch *s = p;
    sb_stemmer_delete(s->english);
    mem_free(MEM_TEXT, s->text);
    mem_free(MEM_TEXT, s->class);
    mem_free(MEM_TEXT, s->stop);
    mem_free(MEM_TEXT, s->seg.words);
    mem_free(MEM_TEXT, s->seg.next);
    mem_free(MEM_TEXT, s->seg.mixed);
    mem_free(MEM_TEXT, s->seg.best);
    mem_free(MEM_TEXT, s);
}

static void scratch_key_new(void)
{
    RAG_ASSERT(pthread_key_create(&scratch_key, scratch_free) == 0);
}

static struct scratch *scratch_get(void)
{
    pthread_once(&scratch_once, scratch_key_new);
    struct scratch *s = pthread_getspecific(scratch_key);
    if (s)
        return s;
    s = mem_zalloc(MEM_TEXT, sizeof *s);
    if (!s)
        return NULL;
    s->english = sb_stemmer_new("english", NULL);
    if (!s->english || pthread_setspecific(scratch_key, s)) {
        scratch_free(s);
        return NULL;
    }
    return s;
}

/* Arrays that grew before one that could not stay as they are; cap then still tells the smaller size. */
static bool scratch_reserve(struct scratch *s, size_t cap)
{
    if (cap <= s->cap)
        return true;
#define GROW(array, n)                                                                                       \
    do {                                                                                                     \
        void *p_ = mem_realloc(MEM_TEXT, (array), (n) * sizeof *(array));                                    \
        if (!p_)                                                                                             \
            return false;                                                                                    \
        (array) = p_;                                                                                        \
    } while (0)
    GROW(s->text, cap);
    GROW(s->class, cap);
    GROW(s->stop, cap);
    GROW(s->seg.words, cap);
    GROW(s->seg.next, cap);
    GROW(s->seg.mixed, cap);
    GROW(s->seg.best, cap + 1);
#undef GROW
    s->cap = cap;
    return true;
}

/* ---- output ---- */

void term_list_init(struct term_list *l)
{
    *l = (struct term_list){0};
    buf_init(&l->bytes, MEM_TEXT);
}

void term_list_clear(struct term_list *l)
{
    mem_free(MEM_TEXT, l->items);
    buf_clear(&l->bytes);
    term_list_init(l);
}

/* Adds the term `text` over characters [from, to) of the window, unless it is there already. */
static void emit(struct run *r, enum term_kind kind, struct str text, uint32_t from, uint32_t to,
                 uint32_t pos, float weight)
{
    struct term_list *l = r->out;
    uint32_t start = r->base + r->s->text[from].start, end = r->base + r->s->text[to - 1].end;
    if (!text.len || r->failed)
        return;
    if (r->same < l->n && l->items[r->same].start != start)
        r->same = l->n;
    for (uint32_t i = r->same; i < l->n; i++)
        if (l->items[i].end == end && str_eq(term_text(l, i), text))
            return;
    if (l->n == l->cap) {
        uint32_t cap = l->cap ? l->cap * 2 : 64;
        struct term *items = mem_realloc(MEM_TEXT, l->items, cap * sizeof *items);
        if (!items) {
            r->failed = true;
            return;
        }
        l->items = items;
        l->cap = cap;
    }
    l->items[l->n++] = (struct term){(uint32_t)l->bytes.len,   (uint32_t)text.len, start, end, pos,
                                     r->query ? weight : 1.0F, (uint8_t)kind};
    buf_adds(&l->bytes, text);
    r->failed = buf_failed(&l->bytes);
}

/* Characters [from, to) as bytes. */
static struct str spell(const struct run *r, uint32_t from, uint32_t to, char out[MAX_BYTES])
{
    size_t n = 0;
    for (uint32_t i = from; i < to && i - from < MAX_TOKEN; i++)
        n += utf8_encode(r->s->text[i].cp, out + n);
    return str_make(out, n);
}

static void emit_span(struct run *r, enum term_kind kind, uint32_t from, uint32_t to, uint32_t pos,
                      float weight)
{
    char bytes[MAX_BYTES];
    emit(r, kind, spell(r, from, to, bytes), from, to, pos, weight);
}

/* ---- CJK ---- */

/* Units that make "3600元" one term. In length order: the longest match wins. */
static uint32_t unit_len(const struct run *r, uint32_t at)
{
    static const char *const units[] = {
        "个工作日", "平方米", "个百分点", "个小时", "公里", "分钟", "小时", "万元", "亿元", "美元", "港元",
        "欧元",     "日元",   "个月",     "积分",   "千米", "公斤", "毫米", "厘米", "元",   "块",   "年",
        "月",       "日",     "号",       "天",     "时",   "分",   "秒",   "岁",   "次",   "张",   "万",
        "亿",       "千",     "百",       "折",     "倍",   "期",   "笔",   "米",   "克",   "度",   "点",
        "页",       "章",     "条",       "级",     "届",   "人",   "名",   "个",   "位"};
    for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
        struct str unit = str_of(units[u]);
        uint32_t k = 0;
        size_t i = 0;
        while (i < unit.len && at + k < r->n && utf8_next(unit, &i) == r->s->text[at + k].cp)
            k++;
        if (i == unit.len && utf8_count(unit) == k)
            return k;
    }
    return 0;
}

/* Marks the characters of the path's stop words. */
static void mark_stops(struct run *r, uint32_t from, uint32_t to)
{
    struct scratch *s = r->s;
    char bytes[MAX_BYTES];
    for (uint32_t i = from; i < to; i += s->seg.next[i]) {
        bool stop = stopword_is(spell(r, i, i + s->seg.next[i], bytes));
        memset(s->stop + i, stop, s->seg.next[i]);
    }
}

static void run_cjk(struct run *r, uint32_t from, uint32_t to, uint32_t unit)
{
    struct scratch *s = r->s;
    struct segment *g = &s->seg;
    segment_run(r->a->user_block ? &r->a->user : NULL, s->text, from, to, r->n, unit, g);
    if (r->query)
        mark_stops(r, from, to);
    uint32_t word = from, word_end = from; /* the path's word around i */
    for (uint32_t i = from; i < to; i++) {
        uint32_t pos = r->pos + (i - from), len = 0;
        if (i == word_end) {
            word = i;
            len = g->next[i];
            word_end = i + len;
        }
        float stop = r->query && s->stop[i] ? weights.stop_zh : 1.0F;
        if (g->mixed[i])
            emit_span(r, TERM_WORD, i, i + g->mixed[i], pos, 1.0F);
        if (len > 1)
            emit_span(r, TERM_WORD, i, i + len, pos, weights.kind[TERM_WORD] * stop);
        uint32_t inner = g->words[i] & ~(uint32_t)1;
        for (uint32_t l = 2; l <= LEXICON_MAX_WORD && inner >> (l - 1); l++) {
            if (!(inner >> (l - 1) & 1) || i + l > word_end || (i == word && i + l == word_end))
                continue;
            emit_span(r, TERM_SUBWORD, i, i + l, pos, weights.kind[TERM_SUBWORD] * stop);
        }
        if (len == 1 && (s->class[i] == CLASS_HAN || to - from == 1))
            emit_span(r, TERM_CHAR, i, i + 1, pos, weights.kind[TERM_CHAR] * stop);
        bool word2 = (g->words[i] & 2) && i + 2 <= word_end;
        if (i + 1 < to && !word2) {
            float w = weights.kind[TERM_BIGRAM];
            if (i + 2 <= word_end)
                w *= weights.bigram_inside;
            if (r->query && (s->stop[i] || s->stop[i + 1]))
                w *= s->stop[i] && s->stop[i + 1] ? weights.stop_zh : weights.bigram_stop;
            emit_span(r, TERM_BIGRAM, i, i + 2, pos, w);
        }
    }
    r->pos += to - from;
}

/* ---- letters, digits and what joins them ---- */

static bool is_class(const struct run *r, uint32_t i, enum char_class c)
{
    return i < r->n && r->s->class[i] == c;
}

static bool is_word_char(const struct run *r, uint32_t i)
{
    return i < r->n &&
           (r->s->class[i] == CLASS_LETTER || r->s->class[i] == CLASS_DIGIT || r->s->class[i] == CLASS_MARK);
}

static uint32_t cp_at(const struct run *r, uint32_t i)
{
    return i < r->n ? r->s->text[i].cp : 0;
}

static bool is_apostrophe(uint32_t cp)
{
    return cp == '\'' || cp == 0x2019 || cp == 0x02BC;
}

static bool is_hyphen(uint32_t cp)
{
    return cp == '-' || cp == 0x2010 || cp == 0x2011;
}

/* Does the mark at i join the characters around it into one token? */
static bool joins(const struct run *r, uint32_t i)
{
    uint32_t cp = cp_at(r, i);
    bool left_digit = is_class(r, i - 1, CLASS_DIGIT), right_digit = is_class(r, i + 1, CLASS_DIGIT);
    if (!is_word_char(r, i + 1) || is_class(r, i + 1, CLASS_MARK))
        return false;
    if (is_apostrophe(cp))
        return !left_digit && !right_digit;
    if (cp == ',') /* 1,000 */
        return left_digit && right_digit && is_class(r, i + 2, CLASS_DIGIT) &&
               is_class(r, i + 3, CLASS_DIGIT) && !is_word_char(r, i + 4);
    if (cp == '/' || cp == ':')
        return left_digit && right_digit;
    return is_hyphen(cp) || cp == '.' || cp == '_' || cp == '@' || cp == '&';
}

struct token {
    uint32_t from, to; /* without suffix */
    uint32_t end;      /* with: "%", "++", "#" */
    uint32_t dots, joints, digits, letters;
    bool commas;
};

static struct token token_at(const struct run *r, uint32_t i)
{
    struct token t = {.from = i};
    while (i - t.from < MAX_TOKEN - 4) {
        if (is_word_char(r, i)) {
            t.digits += is_class(r, i, CLASS_DIGIT);
            t.letters += !is_class(r, i, CLASS_DIGIT);
        } else if (i < r->n && joins(r, i)) {
            t.commas = t.commas || cp_at(r, i) == ',';
            t.dots += cp_at(r, i) == '.';
            t.joints += cp_at(r, i) != ',' && !is_apostrophe(cp_at(r, i));
        } else {
            break;
        }
        i++;
    }
    while (i > t.from + 1 && !is_word_char(r, i - 1)) /* cut at its greatest length, behind a mark */
        i--;
    t.to = t.end = i;
    uint32_t cp = cp_at(r, i);
    if (is_class(r, i - 1, CLASS_DIGIT) && (cp == '%' || cp == 0x2030)) {
        t.end = i + 1;
    } else if (is_class(r, i - 1, CLASS_LETTER) && (cp == '+' || cp == '#')) {
        uint32_t e = cp_at(r, i + 1) == cp ? i + 2 : i + 1;
        if (!is_word_char(r, e))
            t.end = e;
    }
    return t;
}

/* A word of letters: accents off, apostrophes straight, English stemmed. */
static void emit_word(struct run *r, enum term_kind kind, uint32_t from, uint32_t to, uint32_t pos)
{
    char bytes[MAX_BYTES];
    size_t n = 0;
    bool ascii = true;
    for (uint32_t i = from; i < to && i - from < MAX_TOKEN; i++) {
        uint32_t cp = r->s->text[i].cp;
        if (is_apostrophe(cp))
            cp = '\'';
        else if (cp >= 0x80 && cp < CHAR_ACCENTED && r->tab->latin[cp])
            cp = r->tab->latin[cp];
        ascii = ascii && cp < 0x80;
        n += utf8_encode(cp, bytes + n);
    }
    struct str word = str_make(bytes, n);
    float weight = weights.kind[kind];
    if (r->query && stopword_is(word))
        weight *= weights.stop_word;
    if (ascii && n <= MAX_STEM) {
        const sb_symbol *st = sb_stemmer_stem(r->s->english, (const sb_symbol *)bytes, (int)n);
        if (!st) {
            r->failed = true;
            return;
        }
        word = str_make((const char *)st, (size_t)sb_stemmer_length(r->s->english));
    }
    emit(r, kind, word, from, to, pos, weight);
}

/* Digits without the commas, then the suffix. */
static struct str spell_number(const struct run *r, uint32_t from, uint32_t to, char out[MAX_BYTES])
{
    size_t n = 0;
    for (uint32_t i = from; i < to; i++) {
        uint32_t cp = r->s->text[i].cp;
        int32_t digit = u_charDigitValue((UChar32)cp);
        if (cp == ',')
            continue;
        n += utf8_encode(digit >= 0 ? (uint32_t)('0' + digit) : cp, out + n);
    }
    return str_make(out, n);
}

/* "3600", "1,000", "3.5%", and with the unit that follows "3600元". Length of the unit. */
static uint32_t run_number(struct run *r, const struct token *t)
{
    char bytes[MAX_BYTES + 64];
    struct str plain = spell_number(r, t->from, t->to, bytes);
    uint32_t unit = t->end == t->to && is_class(r, t->to, CLASS_HAN) ? unit_len(r, t->to) : 0;
    uint32_t whole_end = unit ? t->to + unit : t->end;
    if (whole_end > t->to) {
        char whole[MAX_BYTES + 64];
        struct str w = spell_number(r, t->from, whole_end, whole);
        emit(r, TERM_WHOLE, w, t->from, whole_end, r->pos, weights.kind[TERM_WHOLE]);
        emit(r, TERM_PART, plain, t->from, t->to, r->pos, weights.kind[TERM_PART]);
    } else {
        emit(r, TERM_WHOLE, plain, t->from, t->to, r->pos, weights.kind[TERM_WHOLE]);
    }
    r->pos++;
    return unit;
}

/* A piece without joining marks, or digits joined by dots: its own term, and letters and digits apart. */
static void run_piece(struct run *r, uint32_t from, uint32_t to, enum term_kind kind)
{
    uint32_t digits = 0, changes = 0;
    for (uint32_t i = from; i < to; i++) {
        digits += is_class(r, i, CLASS_DIGIT);
        changes += i > from && is_class(r, i, CLASS_DIGIT) != is_class(r, i - 1, CLASS_DIGIT) &&
                   cp_at(r, i) != '.' && cp_at(r, i - 1) != '.';
    }
    if (!digits) {
        emit_word(r, kind, from, to, r->pos);
        return;
    }
    emit_span(r, TERM_PART, from, to, r->pos, weights.kind[TERM_PART]);
    for (uint32_t i = from; changes && i < to;) {
        bool digit = is_class(r, i, CLASS_DIGIT);
        uint32_t j = i + 1;
        while (j < to && (cp_at(r, j) == '.' || is_class(r, j, CLASS_DIGIT) == digit))
            j++;
        if (!digit && j - i > 1)
            emit_word(r, TERM_PART, i, j, r->pos);
        else if (digit && (j - i > 1 || changes == 1))
            emit_span(r, TERM_PART, i, j, r->pos, weights.kind[TERM_PART]);
        i = j;
    }
}

static void run_compound(struct run *r, const struct token *t)
{
    uint32_t first = r->pos;
    bool words = !t->digits && t->end == t->to; /* "state-of-the-art": each is a word of the language */
    char bytes[MAX_BYTES];
    size_t n = 0;
    for (uint32_t i = t->from; i < t->end; i++) {
        uint32_t cp = cp_at(r, i);
        n += utf8_encode(is_hyphen(cp) ? '-' : is_apostrophe(cp) ? '\'' : cp, bytes + n);
    }
    emit(r, TERM_WHOLE, str_make(bytes, n), t->from, t->end, first,
         words ? weights.compound : weights.kind[TERM_WHOLE]);
    for (uint32_t i = t->from; i < t->to;) {
        uint32_t j = i + 1;
        while (j < t->to &&
               (is_word_char(r, j) || is_apostrophe(cp_at(r, j)) || cp_at(r, j) == ',' ||
                (cp_at(r, j) == '.' && is_class(r, j - 1, CLASS_DIGIT) && is_class(r, j + 1, CLASS_DIGIT))))
            j++;
        run_piece(r, i, j, words ? TERM_WORD : TERM_PART);
        r->pos++;
        i = j + 1;
    }
}

/* One token at i; where the next begins. *unit is the length of the unit of measure that begins there. */
static uint32_t run_token(struct run *r, uint32_t i, uint32_t *unit)
{
    struct token t = token_at(r, i);
    uint32_t mixed = segment_longest(r->a->user_block ? &r->a->user : NULL, r->s->text, i, r->n);
    if (mixed)
        emit_span(r, TERM_WORD, i, i + mixed, r->pos, 1.0F);
    *unit = 0;
    if (!t.letters && t.joints == t.dots && t.dots <= 1) {
        *unit = run_number(r, &t);
    } else if (!t.digits && !t.joints && t.end == t.to) {
        emit_word(r, TERM_WORD, t.from, t.to, r->pos);
        r->pos++;
    } else {
        run_compound(r, &t);
    }
    return t.end;
}

/* ---- the whole text ---- */

static void run_window(struct run *r)
{
    uint32_t unit = 0;
    for (uint32_t i = 0; i < r->n && !r->failed;) {
        enum char_class c = r->s->class[i];
        if (c == CLASS_HAN || c == CLASS_SYLLABLE) {
            uint32_t j = i + 1;
            while (is_class(r, j, CLASS_HAN) || is_class(r, j, CLASS_SYLLABLE))
                j++;
            run_cjk(r, i, j, unit);
            i = j;
            unit = 0;
        } else if (c == CLASS_LETTER || c == CLASS_DIGIT) {
            i = run_token(r, i, &unit);
        } else {
            i++;
            unit = 0;
        }
    }
}

/* Where to end the window that begins at `from`. */
static size_t window_end(struct str text, size_t from)
{
    if (text.len - from <= WINDOW)
        return text.len;
    size_t end = from + WINDOW;
    for (const char *sep = "\n "; *sep; sep++) {
        const char *p = memrchr(text.ptr + from + WINDOW / 2, *sep, WINDOW / 2);
        if (p)
            return (size_t)(p - text.ptr) + 1;
    }
    end = utf8_floor(text, end);
    return end > from ? end : from + WINDOW;
}

static bool normalise_window(struct run *r, struct str window)
{
    size_t n = 0;
    for (size_t i = 0; i < window.len;) {
        if (!scratch_reserve(r->s, n + NORM_STEP_MIN + (window.len - i < WINDOW ? window.len - i : WINDOW)))
            return false;
        n += normalize_step(window, &i, r->s->text + n, r->s->cap - n);
    }
    for (size_t i = 0; i < n; i++)
        r->s->class[i] = (uint8_t)chartab_class(r->tab, r->s->text[i].cp);
    r->n = (uint32_t)n;
    return true;
}

rag_code analyzer_run(const struct analyzer *a, struct str text, enum analyze_mode mode,
                      struct term_list *out)
{
    out->n = 0;
    buf_reset(&out->bytes);
    if (text.len > MAX_SOURCE)
        return RAG_ETOOBIG;
    struct run r = {
        .a = a, .tab = chartab_get(), .s = scratch_get(), .out = out, .query = mode == ANALYZE_QUERY};
    if (!r.s)
        return RAG_ENOMEM;
    for (size_t from = 0; from < text.len;) {
        size_t end = window_end(text, from);
        r.base = (uint32_t)from;
        if (!normalise_window(&r, str_make(text.ptr + from, end - from)))
            return RAG_ENOMEM;
        run_window(&r);
        if (r.failed)
            return RAG_ENOMEM;
        from = end;
    }
    return RAG_OK;
}

/* ---- user words ---- */

/* Appends the labels of one normalised user word; its length, 0 when it is empty or too long. */
static uint16_t add_labels(struct buf *labels, struct str word)
{
    struct norm_cp cps[2 * NORM_STEP_MIN];
    size_t i = 0, n = normalize_step(word, &i, cps, 2 * NORM_STEP_MIN), from = 0;
    while (from < n && cps[from].cp == ' ')
        from++;
    while (n > from && cps[n - 1].cp == ' ')
        n--;
    if (i < word.len || n == from || n - from > LEXICON_MAX_WORD)
        return 0;
    for (size_t k = from; k < n; k++) {
        uint16_t label = lexicon_label(cps[k].cp);
        BUF_ADD_VALUE(labels, label);
    }
    return (uint16_t)(n - from);
}

static rag_code user_build(struct analyzer *a, const struct str *words, uint32_t n, struct rag_err *err)
{
    rag_code rc = RAG_ENOMEM;
    struct buf labels;
    buf_init(&labels, MEM_TEXT);
    struct lexicon_word *list = mem_alloc(MEM_TEXT, n * sizeof *list);
    if (!list)
        goto done;
    for (uint32_t i = 0; i < n; i++) {
        uint16_t len = utf8_valid(words[i]) ? add_labels(&labels, words[i]) : 0;
        if (!len) {
            rc = rag_err_set(err, RAG_EINVAL, "user word %u \"%.*s\": not 1 to %d characters of UTF-8", i + 1,
                             (int)(words[i].len < 60 ? words[i].len : 60), words[i].ptr ? words[i].ptr : "",
                             LEXICON_MAX_WORD);
            goto done;
        }
        list[i] = (struct lexicon_word){NULL, len, 1};
    }
    if (buf_failed(&labels))
        goto done;
    const uint16_t *at = (const uint16_t *)(const void *)labels.ptr;
    for (uint32_t i = 0; i < n; i++) {
        list[i].labels = at;
        at += list[i].len;
    }
    rc = lexicon_build(list, n, &a->user, &a->user_block);
    for (uint32_t i = 0; !rc && i < n; i++) { /* sorted: the order they were given in does not matter */
        a->fingerprint = hash_bytes(&list[i].len, sizeof list[i].len, a->fingerprint);
        a->fingerprint = hash_bytes(list[i].labels, list[i].len * sizeof *list[i].labels, a->fingerprint);
    }
done:
    mem_free(MEM_TEXT, list);
    buf_clear(&labels);
    return rc;
}

rag_code analyzer_new(const struct str *user_words, uint32_t n, struct analyzer **out, struct rag_err *err)
{
    *out = NULL;
    if (n > MAX_USER)
        return rag_err_set(err, RAG_EINVAL, "%u user words: more than %d", n, MAX_USER);
    struct analyzer *a = mem_zalloc(MEM_TEXT, sizeof *a);
    if (!a)
        return rag_err_set(err, RAG_ENOMEM, "analyzer: out of memory");
    (void)chartab_get(); /* the tables are built now, not in the first question */
    UVersionInfo version = {0};
    u_getUnicodeVersion(version);
    a->fingerprint = hash_bytes(version, sizeof version, lexicon_builtin_hash() + RULES_VERSION);
    rag_code rc = n ? user_build(a, user_words, n, err) : RAG_OK;
    if (rc) {
        if (rc == RAG_ENOMEM)
            rag_err_set(err, rc, "analyzer: out of memory");
        analyzer_free(a);
        return rc;
    }
    *out = a;
    return RAG_OK;
}

void analyzer_free(struct analyzer *a)
{
    if (!a)
        return;
    mem_free(MEM_TEXT, a->user_block);
    mem_free(MEM_TEXT, a);
}

uint64_t analyzer_fingerprint(const struct analyzer *a)
{
    return a->fingerprint;
}
