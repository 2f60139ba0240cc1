#include "model/tokenizer_json.h"

#include <stdio.h>
#include <stdlib.h>

#include "text/tokenizer.h"
#include "wire/json_in.h"

/* A tokenizer is right only as a whole: each part of the file is either understood exactly or refused by name. */

enum { MAX_ID = (1 << 21) - 1, MAX_GAP = 1024 };

struct source {
    struct str text;
    const json_t *root, *model;
    struct tokenizer_spec spec;
    struct str *pieces;
    double *scores;
    char *charsmap;
    struct rag_err *err;
};

#define FORMAT(s, ...)      rag_err_set((s)->err, RAG_EFORMAT, "tokenizer.json: " __VA_ARGS__)
#define UNSUPPORTED(s, ...) rag_err_set((s)->err, RAG_EUNSUPPORTED, "tokenizer.json: " __VA_ARGS__)

/* ---- reading members -------------------------------------------------------------------------------------- */
/* The "type" of an object, "" when it has none. */
static const char *type_of(const json_t *o)
{
    const json_t *v = json_object_get(o, "type");
    return json_is_string(v) ? json_string_value(v) : "";
}

static bool is_type(const json_t *o, const char *type)
{
    return strcmp(type_of(o), type) == 0;
}

/* A truth value; `missing` when absent or null. */
static rag_code get_bool(struct source *s, const json_t *o, const char *key, bool missing, bool *out)
{
    const json_t *v = json_object_get(o, key);
    *out = missing;
    if (!v || json_is_null(v))
        return RAG_OK;
    if (!json_is_boolean(v))
        return FORMAT(s, "%s of %s is not true or false", key, type_of(o));
    *out = json_is_true(v);
    return RAG_OK;
}

static rag_code get_id(struct source *s, const json_t *v, const char *what, uint32_t *out)
{
    json_int_t n = json_is_integer(v) ? json_integer_value(v) : -1;
    if (n < 0 || n > MAX_ID)
        return FORMAT(s, "%s is not a number from 0 to %d", what, MAX_ID);
    *out = (uint32_t)n;
    return RAG_OK;
}

static rag_code get_string(struct source *s, const json_t *o, const char *key, struct str *out)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_string(v))
        return FORMAT(s, "%s of %s is missing or not text", key, *type_of(o) ? type_of(o) : "the model");
    *out = json_in_str(v);
    return RAG_OK;
}

/* Members of a Sequence, or the thing itself as the only one. */
static const json_t *steps_of(const json_t *o, const char *list, size_t *n)
{
    const json_t *steps = is_type(o, "Sequence") ? json_object_get(o, list) : NULL;
    *n = steps ? json_array_size(steps) : 1;
    return steps;
}

static const json_t *step_at(const json_t *o, const json_t *steps, size_t i)
{
    return steps ? json_array_get(steps, i) : o;
}

/* ---- models ----------------------------------------------------------------------------------------------- */
static rag_code pieces_alloc(struct source *s, uint32_t n)
{
    s->pieces = mem_zalloc(MEM_MODEL, (size_t)n * sizeof *s->pieces);
    s->scores = mem_zalloc(MEM_MODEL, (size_t)n * sizeof *s->scores);
    if (!s->pieces || !s->scores)
        return rag_err_set(s->err, RAG_ENOMEM, "out of memory");
    s->spec.pieces = s->pieces;
    s->spec.scores = s->scores;
    s->spec.n_pieces = n;
    return RAG_OK;
}

static rag_code read_wordpiece_vocabulary(struct source *s, const json_t *vocabulary)
{
    const char *piece;
    json_t *v;
    uint32_t most = 0, id = 0;
    size_t n = json_object_size(vocabulary);
    json_object_foreach((json_t *)(uintptr_t)vocabulary, piece, v)
    {
        rag_code rc = get_id(s, v, "an id of the vocabulary", &id);
        if (rc)
            return rc;
        most = id > most ? id : most;
    }
    if (n == 0 || most >= 2 * n + MAX_GAP)
        return FORMAT(s, "the vocabulary has %zu pieces with ids up to %u", n, most);
    rag_code rc = pieces_alloc(s, most + 1);
    if (rc)
        return rc;
    json_object_foreach((json_t *)(uintptr_t)vocabulary, piece, v)
    {
        struct str *p = &s->pieces[json_integer_value(v)];
        if (p->len)
            return FORMAT(s, "two pieces have the id %u", (uint32_t)json_integer_value(v));
        *p = str_of(piece); /* keys hold no NUL */
    }
    return RAG_OK;
}

static rag_code find_piece(struct source *s, struct str piece, const char *what, uint32_t *id)
{
    for (uint32_t i = 0; i < s->spec.n_pieces; i++)
        if (s->pieces[i].len && str_eq(s->pieces[i], piece)) {
            *id = i;
            return RAG_OK;
        }
    return FORMAT(s, "%s is not in the vocabulary", what);
}

static rag_code read_wordpiece(struct source *s)
{
    struct str unk;
    const json_t *words = json_object_get(s->model, "max_input_chars_per_word");
    s->spec.kind = TOKENIZER_WORDPIECE;
    rag_code rc = read_wordpiece_vocabulary(s, json_object_get(s->model, "vocab"));
    if (!rc)
        rc = get_string(s, s->model, "unk_token", &unk);
    if (!rc)
        rc = find_piece(s, unk, "unk_token", &s->spec.unk);
    if (!rc)
        rc = get_string(s, s->model, "continuing_subword_prefix", &s->spec.continuing_prefix);
    s->spec.max_word_chars = 100;
    if (!rc && words)
        rc = get_id(s, words, "max_input_chars_per_word", &s->spec.max_word_chars);
    return rc;
}

/* Scores as the library reads them. Its JSON parser takes all digits as an integer and divides once, which is up to a
 * unit in the last place beside the nearest double; long runs of one letter have so many segmentations of almost the
 * same score that this decides. So the digits are read again here, from JSON that is known to be valid. */
struct scan {
    const char *p, *end;
};

static char scan_peek(struct scan *c)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || *c->p == '\n' || *c->p == '\r'))
        c->p++;
    return c->p < c->end ? *c->p : 0;
}

static struct str scan_string(struct scan *c)
{
    const char *from = ++c->p;
    while (c->p < c->end && *c->p != '"')
        c->p += *c->p == '\\' && c->end - c->p > 1 ? 2 : 1;
    struct str s = str_make(from, (size_t)(c->p - from));
    c->p += c->p < c->end;
    return s;
}

static void scan_skip(struct scan *c)
{
    unsigned depth = 0;
    do {
        char k = scan_peek(c);
        if (k == '"') {
            scan_string(c);
            continue;
        }
        depth += k == '[' || k == '{';
        depth -= depth && (k == ']' || k == '}');
        c->p += c->p < c->end;
        if (depth == 0 && k != ']' && k != '}') /* a number or a word */
            while (c->p < c->end && !strchr(",]} \t\n\r", *c->p))
                c->p++;
    } while (depth && c->p < c->end);
}

/* Before the value of a member of the object at c; false when it has none of that very spelling. */
static bool scan_member(struct scan *c, const char *key)
{
    if (scan_peek(c) != '{')
        return false;
    c->p++;
    while (scan_peek(c) == '"') {
        bool found = str_eqz(scan_string(c), key);
        if (scan_peek(c) == ':')
            c->p++;
        if (found)
            return true;
        scan_skip(c);
        if (scan_peek(c) == ',')
            c->p++;
    }
    return false;
}

static double scan_score(struct scan *c)
{
    bool negative = scan_peek(c) == '-', fraction = false, full = false;
    uint64_t digits = 0, next;
    int exponent = 0, power = 0, sign = 1;
    for (c->p += negative; c->p < c->end && ((*c->p >= '0' && *c->p <= '9') || *c->p == '.'); c->p++) {
        if (*c->p == '.') {
            fraction = true;
            continue;
        }
        full = full || __builtin_mul_overflow(digits, 10u, &next) ||
               __builtin_add_overflow(next, (uint64_t)(*c->p - '0'), &next);
        if (!full) /* digits beyond 64 bits are left out */
            digits = next;
        exponent += full ? !fraction : fraction ? -1 : 0;
    }
    if (c->p < c->end && (*c->p == 'e' || *c->p == 'E')) {
        c->p++;
        if (c->p < c->end && (*c->p == '+' || *c->p == '-'))
            sign = *c->p++ == '-' ? -1 : 1;
        for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++)
            power = power < 100000 ? power * 10 + (*c->p - '0') : power;
    }
    exponent += sign * power;
    double v = (double)digits;
    for (; exponent < -308 && v != 0; exponent += 308)
        v /= 1e308;
    char text[16];
    snprintf(text, sizeof text, "1e%d", exponent < 0 ? -exponent : exponent);
    if (v != 0)
        v = exponent < 0 ? v / strtod(text, NULL) : v * strtod(text, NULL);
    return negative ? -v : v;
}

static void read_scores(struct source *s)
{
    struct scan c = {s->text.ptr, s->text.ptr + s->text.len};
    if (!scan_member(&c, "model") || !scan_member(&c, "vocab") || scan_peek(&c) != '[')
        return; /* escapes in the keys: what jansson read will do */
    c.p++;
    for (uint32_t i = 0; i < s->spec.n_pieces && scan_peek(&c) == '['; i++) {
        c.p++;
        if (scan_peek(&c) == '"')
            scan_string(&c);
        if (scan_peek(&c) == ',')
            c.p++;
        s->scores[i] = scan_score(&c);
        if (scan_peek(&c) == ']')
            c.p++;
        if (scan_peek(&c) == ',')
            c.p++;
    }
}

static rag_code read_unigram(struct source *s)
{
    const json_t *vocabulary = json_object_get(s->model, "vocab"), *unk = json_object_get(s->model, "unk_id");
    size_t n = json_array_size(vocabulary);
    bool byte_fallback = false;
    s->spec.kind = TOKENIZER_UNIGRAM;
    rag_code rc = get_bool(s, s->model, "byte_fallback", false, &byte_fallback);
    if (rc)
        return rc;
    if (byte_fallback)
        return UNSUPPORTED(s, "Unigram with byte_fallback; without it is supported");
    if (n == 0 || n > (size_t)MAX_ID + 1)
        return FORMAT(s, "the vocabulary has %zu pieces, 1 to %d are possible", n, MAX_ID + 1);
    if (!unk || json_is_null(unk))
        return UNSUPPORTED(s, "Unigram without unk_id");
    rc = get_id(s, unk, "unk_id", &s->spec.unk);
    if (!rc)
        rc = pieces_alloc(s, (uint32_t)n);
    for (size_t i = 0; i < n && !rc; i++) {
        const json_t *pair = json_array_get(vocabulary, i), *piece = json_array_get(pair, 0);
        const json_t *score = json_array_get(pair, 1);
        if (json_array_size(pair) != 2 || !json_is_string(piece) || !json_is_number(score))
            return FORMAT(s, "piece %zu of the vocabulary is not a pair of a text and a score", i);
        s->pieces[i] = json_in_str(piece);
        s->scores[i] = json_number_value(score);
        if (s->pieces[i].len == 0)
            return FORMAT(s, "piece %zu of the vocabulary is empty", i);
    }
    if (!rc)
        read_scores(s);
    return rc;
}

static rag_code read_model(struct source *s)
{
    s->model = json_object_get(s->root, "model");
    if (!json_is_object(s->model))
        return FORMAT(s, "there is no model");
    const json_t *vocabulary = json_object_get(s->model, "vocab");
    bool untyped =
        !json_object_get(s->model, "type"); /* old files: told apart by their members, as the library does */
    bool merges = json_object_get(s->model, "merges") != NULL;
    if (is_type(s->model, "WordPiece") || (untyped && !merges && json_is_object(vocabulary) &&
                                           json_object_get(s->model, "continuing_subword_prefix"))) {
        if (!json_is_object(vocabulary))
            return FORMAT(s, "the vocabulary of WordPiece is not an object");
        return read_wordpiece(s);
    }
    if (is_type(s->model, "Unigram") || (untyped && json_is_array(vocabulary))) {
        if (!json_is_array(vocabulary))
            return FORMAT(s, "the vocabulary of Unigram is not a list");
        return read_unigram(s);
    }
    return UNSUPPORTED(s, "model %.60s; WordPiece and Unigram are supported",
                       !untyped ? type_of(s->model)
                       : merges ? "BPE"
                                : "WordLevel");
}

/* ---- normalisers ------------------------------------------------------------------------------------------ */
static rag_code read_bert_normalizer(struct source *s, const json_t *o)
{
    struct tokenizer_spec *spec = &s->spec;
    rag_code rc = get_bool(s, o, "clean_text", true, &spec->clean_text);
    if (!rc)
        rc = get_bool(s, o, "handle_chinese_chars", true, &spec->chinese_chars);
    if (!rc)
        rc = get_bool(s, o, "lowercase", true, &spec->lowercase);
    if (!rc)
        rc = get_bool(s, o, "strip_accents", spec->lowercase, &spec->strip_accents);
    return rc;
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static rag_code read_charsmap(struct source *s, const json_t *o)
{
    const json_t *v = json_object_get(o, "precompiled_charsmap");
    struct str text = json_is_string(v) ? json_in_str(v) : str_make(NULL, 0);
    if (json_is_null(v) || (json_is_string(v) && text.len == 0))
        return RAG_OK;
    if (!json_is_string(v))
        return FORMAT(s, "precompiled_charsmap is missing or not text");
    while (text.len && text.ptr[text.len - 1] == '=')
        text.len--;
    s->charsmap = mem_alloc(MEM_MODEL, text.len);
    if (!s->charsmap)
        return rag_err_set(s->err, RAG_ENOMEM, "out of memory");
    size_t n = 0;
    uint32_t bits = 0;
    for (size_t i = 0; i < text.len; i++) {
        int d = base64_digit(text.ptr[i]);
        if (d < 0)
            return FORMAT(s, "precompiled_charsmap is not base64");
        bits = bits << 6 | (uint32_t)d;
        if (i % 4 != 0)
            s->charsmap[n++] = (char)(bits >> (6 - i % 4 * 2) & 255);
    }
    s->spec.charsmap = str_make(s->charsmap, n);
    return RAG_OK;
}

static rag_code read_strip(struct source *s, const json_t *o)
{
    rag_code rc = get_bool(s, o, "strip_left", true, &s->spec.strip_left);
    return rc ? rc : get_bool(s, o, "strip_right", true, &s->spec.strip_right);
}

static rag_code read_replace(struct source *s, const json_t *o)
{
    const json_t *regex = json_object_get(json_object_get(o, "pattern"), "Regex");
    struct str content;
    rag_code rc = get_string(s, o, "content", &content);
    if (rc)
        return rc;
    bool mark = str_eqz(content, "\xE2\x96\x81");
    if (!json_is_string(regex) || !str_eqz(json_in_str(regex), " {2,}") || (!mark && !str_eqz(content, " ")))
        return UNSUPPORTED(s, "a Replace other than of the regex \" {2,}\" by a space or U+2581");
    s->spec.collapse_spaces = true;
    s->spec.collapse_to_metaspace = mark;
    return RAG_OK;
}

static rag_code read_unigram_normalizer(struct source *s, const json_t *o)
{
    static const char *const order[] = {"Precompiled", "Strip", "Replace"};
    static rag_code (*const read[])(struct source *, const json_t *) = {read_charsmap, read_strip,
                                                                        read_replace};
    size_t n, next = 0;
    const json_t *steps = steps_of(o, "normalizers", &n);
    for (size_t i = 0; i < n; i++) {
        const json_t *step = step_at(o, steps, i);
        size_t k = next;
        while (k < 3 && !is_type(step, order[k]))
            k++;
        if (k == 3)
            return UNSUPPORTED(
                s,
                "normalizer %.60s at place %zu; Unigram takes Precompiled, Strip and Replace, once each "
                "and in this order",
                type_of(step), i + 1);
        rag_code rc = read[k](s, step);
        if (rc)
            return rc;
        next = k + 1;
    }
    return RAG_OK;
}

static rag_code read_normalizer(struct source *s)
{
    const json_t *o = json_object_get(s->root, "normalizer");
    if (!o || json_is_null(o))
        return RAG_OK;
    if (!json_is_object(o))
        return FORMAT(s, "the normalizer is not an object");
    if (s->spec.kind == TOKENIZER_UNIGRAM)
        return read_unigram_normalizer(s, o);
    size_t n;
    const json_t *steps = steps_of(o, "normalizers", &n), *only = step_at(o, steps, 0);
    if (n != 1 || !is_type(only, "BertNormalizer"))
        return UNSUPPORTED(s, "normalizer %.60s; WordPiece takes BertNormalizer or none",
                           type_of(n == 1 ? only : o));
    return read_bert_normalizer(s, only);
}

/* ---- pre-tokenisers --------------------------------------------------------------------------------------- */
static rag_code read_metaspace(struct source *s, const json_t *o)
{
    struct str mark = STR_LIT("\xE2\x96\x81");
    const json_t *v = json_object_get(o, "prepend_scheme");
    bool prepend = true, split = true;
    rag_code rc = RAG_OK;
    if (json_object_get(o, "replacement"))
        rc = get_string(s, o, "replacement", &mark);
    if (!rc)
        rc = get_bool(s, o, "add_prefix_space", true, &prepend);
    if (!rc)
        rc = get_bool(s, o, "split", true, &split);
    if (rc)
        return rc;
    if (!str_eqz(mark, "\xE2\x96\x81"))
        return UNSUPPORTED(s, "Metaspace with another replacement than U+2581");
    struct str scheme = !v || json_is_null(v) ? STR_LIT("always")
                        : json_is_string(v)   ? json_in_str(v)
                                              : STR_LIT("");
    bool first = str_eqz(scheme, "first"), never = str_eqz(scheme, "never");
    if (!first && !never && !str_eqz(scheme, "always"))
        return FORMAT(s, "prepend_scheme is not always, first or never");
    if (!prepend && !never)
        return FORMAT(s, "add_prefix_space is false and prepend_scheme is not never");
    const json_t *normalizer = json_object_get(s->root, "normalizer");
    if (first && (s->spec.split_whitespace || (normalizer && !json_is_null(normalizer))))
        return UNSUPPORTED(
            s, "prepend_scheme first after a normalizer or WhitespaceSplit; always and never are supported");
    s->spec.metaspace_prepend = !never; /* a text is one split and its first */
    s->spec.metaspace_whole = !split;
    return RAG_OK;
}

static rag_code read_unigram_pre_tokenizer(struct source *s, const json_t *o)
{
    size_t n;
    const json_t *steps = steps_of(o, "pretokenizers", &n);
    const json_t *first = step_at(o, steps, 0), *last = step_at(o, steps, n ? n - 1 : 0);
    bool split = n && is_type(first, "WhitespaceSplit"), space = n && is_type(last, "Metaspace");
    if (n == 0 || n > 2 || (!split && !space) || (n == 2 && !(split && space)))
        return UNSUPPORTED(
            s,
            "pre_tokenizer %.60s of %zu steps; Unigram takes WhitespaceSplit, Metaspace, or the one and "
            "then the other",
            type_of(n == 1 ? first : o), n);
    s->spec.split_whitespace = split;
    s->spec.metaspace_off = !space;
    return space ? read_metaspace(s, last) : RAG_OK;
}

static rag_code read_pre_tokenizer(struct source *s)
{
    const json_t *o = json_object_get(s->root, "pre_tokenizer");
    if (!json_is_object(o))
        return UNSUPPORTED(s, "no pre_tokenizer; %s is supported",
                           s->spec.kind == TOKENIZER_WORDPIECE ? "BertPreTokenizer" : "Metaspace");
    if (s->spec.kind == TOKENIZER_UNIGRAM)
        return read_unigram_pre_tokenizer(s, o);
    size_t n;
    const json_t *steps = steps_of(o, "pretokenizers", &n), *only = step_at(o, steps, 0);
    if (n != 1 || !is_type(only, "BertPreTokenizer"))
        return UNSUPPORTED(s, "pre_tokenizer %.60s; WordPiece takes BertPreTokenizer",
                           type_of(n == 1 ? only : o));
    return RAG_OK;
}

/* ---- ids around a sequence -------------------------------------------------------------------------------- */
/* {"sep": ["</s>", 2], "cls": ["<s>", 0]} */
static rag_code read_pair(struct source *s, const json_t *o, const char *key, uint32_t *id)
{
    return get_id(s, json_array_get(json_object_get(o, key), 1), key, id);
}

/* An item of a template: its special token, "" for the sequence A, NULL for anything else. */
static const char *template_item(const json_t *item)
{
    const json_t *special = json_object_get(json_object_get(item, "SpecialToken"), "id");
    const json_t *sequence = json_object_get(json_object_get(item, "Sequence"), "id");
    if (json_is_string(special) && json_string_length(special))
        return json_string_value(special);
    return json_is_string(sequence) && str_eqz(json_in_str(sequence), "A") ? "" : NULL;
}

static rag_code read_special(struct source *s, const json_t *o, const char *token, uint32_t *id)
{
    const json_t *ids = json_object_get(json_object_get(json_object_get(o, "special_tokens"), token), "ids");
    if (json_array_size(ids) > 1)
        return UNSUPPORTED(s, "a special token of %zu ids; of one is supported", json_array_size(ids));
    return get_id(s, json_array_get(ids, 0), "the id of a special token", id);
}

static rag_code read_template(struct source *s, const json_t *o)
{
    const json_t *single = json_object_get(o, "single");
    const char *item[3] = {NULL, NULL, NULL};
    if (!json_is_array(single))
        return FORMAT(s, "the template has no single");
    for (size_t i = 0; i < 3; i++)
        item[i] = template_item(json_array_get(single, i));
    if (json_array_size(single) != 3 || !item[0] || !*item[0] || !item[1] || *item[1] || !item[2] ||
        !*item[2])
        return UNSUPPORTED(
            s, "a template of %zu items; a special token, the sequence and a special token is supported",
            json_array_size(single));
    rag_code rc = read_special(s, o, item[0], &s->spec.first);
    return rc ? rc : read_special(s, o, item[2], &s->spec.last);
}

static rag_code read_post_processor(struct source *s)
{
    const json_t *o = json_object_get(s->root, "post_processor");
    size_t n;
    const json_t *steps = steps_of(o, "processors", &n);
    if (n == 1)
        o = step_at(o, steps, 0);
    if (is_type(o, "TemplateProcessing"))
        return read_template(s, o);
    if (is_type(o, "BertProcessing") || is_type(o, "RobertaProcessing")) {
        rag_code rc = read_pair(s, o, "cls", &s->spec.first);
        return rc ? rc : read_pair(s, o, "sep", &s->spec.last);
    }
    return UNSUPPORTED(
        s, "post_processor %.60s; TemplateProcessing, BertProcessing and RobertaProcessing are supported",
        json_is_object(o) ? type_of(o) : "none");
}

/* Special tokens in a text are ordinary characters, so all that matters is that the file is of one piece. Others are
 * cut out of the text before everything else: refused. */
static rag_code check_added(struct source *s)
{
    const json_t *list = json_object_get(s->root, "added_tokens"), *v;
    size_t i;
    if (!list || json_is_null(list))
        return RAG_OK;
    if (!json_is_array(list))
        return FORMAT(s, "added_tokens is not a list");
    json_array_foreach(list, i, v)
    {
        uint32_t id = 0;
        bool special = false;
        struct str content;
        rag_code rc = get_id(s, json_object_get(v, "id"), "the id of an added token", &id);
        if (!rc)
            rc = get_bool(s, v, "special", false, &special);
        if (!rc)
            rc = get_string(s, v, "content", &content);
        if (rc)
            return rc;
        if (!special)
            return UNSUPPORTED(s, "the added token %u is not special; only special ones are supported", id);
        if (id < s->spec.n_pieces && s->pieces[id].len && !str_eq(s->pieces[id], content))
            return FORMAT(s, "the added token %u is another piece in the vocabulary", id);
    }
    return RAG_OK;
}

static rag_code read_all(struct source *s)
{
    if (!json_is_object(s->root))
        return FORMAT(s, "not an object");
    rag_code rc = read_model(s);
    if (!rc)
        rc = read_normalizer(s);
    if (!rc)
        rc = read_pre_tokenizer(s);
    if (!rc)
        rc = read_post_processor(s);
    return rc ? rc : check_added(s);
}

rag_code tokenizer_from_json(struct str json, struct buf *block, struct rag_err *err)
{
    json_t *root;
    struct rag_err why = {0};
    rag_code rc = json_in_parse(json, TOKENIZER_JSON_MAX, &root, &why);
    if (rc)
        return rag_err_set(err, rc == RAG_EINVAL ? RAG_EFORMAT : rc, "tokenizer.json: %s", why.msg);
    struct source s = {.text = json, .root = root, .err = err};
    rc = read_all(&s);
    if (!rc)
        rc = tokenizer_build(&s.spec, block, err);
    mem_free(MEM_MODEL, s.pieces);
    mem_free(MEM_MODEL, s.scores);
    mem_free(MEM_MODEL, s.charsmap);
    json_decref(root);
    return rc;
}
