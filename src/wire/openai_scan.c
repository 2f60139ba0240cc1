/* A chunk of the usual shape, read in one pass.
 *
 * A scan is only worth its bytes when it can never say something else than the tree. So it knows the members that
 * providers send, by name and in any order, and gives up (RAG_EUNSUPPORTED) at the first surprise: another name, a name
 * twice, a value of another kind, bad UTF-8 or an odd escape in the text. What it reads over it still checks by the
 * grammar. */
#include "wire/openai_int.h"
#include "wire/sse_read.h"

struct scan {
    const char *p, *end;
    struct arena *a;
    struct chat_chunk *out;
    int64_t prompt, completion, cached; /* tokens; -1: not said */
    bool no_memory, has_choices, has_reasoning;
};
/* Each reads one value and stands behind it; false: give up. */
typedef bool read_fn(struct scan *s);
struct member {
    const char *name;
    read_fn *read;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_space(struct scan *s)
{
    while (s->p < s->end && is_space(*s->p))
        s->p++;
}

static bool take(struct scan *s, char c)
{
    skip_space(s);
    if (s->p == s->end || *s->p != c)
        return false;
    s->p++;
    return true;
}

static bool take_word(struct scan *s, struct str w)
{
    if ((size_t)(s->end - s->p) < w.len || memcmp(s->p, w.ptr, w.len) != 0)
        return false;
    s->p += w.len;
    return true;
}

/* The bytes between the quotes, as they stand. *plain: no escape and no byte over 0x7f. */
static bool take_raw_string(struct scan *s, struct str *out, bool *plain)
{
    unsigned char high = 0;
    bool escapes = false;
    if (!take(s, '"'))
        return false;
    const char *from = s->p, *p = from;
    for (; p < s->end && *p != '"'; p++) {
        unsigned char c = (unsigned char)*p;
        high |= c;
        if (c < 0x20)
            return false;
        if (c != '\\')
            continue;
        escapes = true;
        if (++p == s->end || !memchr("\"\\/bfnrtu", *p, 9))
            return false;
        if (*p == 'u' && openai_hex4(p + 1, (size_t)(s->end - p - 1)) < 0)
            return false;
    }
    if (p == s->end)
        return false;
    *out = str_make(from, (size_t)(p - from));
    *plain = !escapes && high < 0x80;
    s->p = p + 1;
    return true;
}

/* Reads the escape at *p; 0: one that the tree has to look at. Its four digits are hex: take_raw_string saw them. */
static uint32_t take_escape(const char **p, const char *end)
{
    const char *at = *p;
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    *p = at + 2;
    if (at[1] != 'u')
        return (unsigned char)values[strchr(names, at[1]) - names];
    uint32_t v = (uint32_t)openai_hex4(at + 2, 4);
    *p = at + 6;
    if (v < 0xD800 || v > 0xDFFF)
        return v;
    if (v > 0xDBFF || end - *p < 6 || at[6] != '\\' || at[7] != 'u')
        return 0;
    uint32_t low = (uint32_t)openai_hex4(at + 8, 4);
    *p = at + 12;
    return low >= 0xDC00 && low <= 0xDFFF ? 0x10000 + (v - 0xD800) * 0x400 + (low - 0xDC00) : 0;
}

static char *put_utf8(char *w, uint32_t cp)
{
    if (cp < 0x80) {
        *w++ = (char)cp;
        return w;
    }
    unsigned more = cp < 0x800 ? 1 : cp < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xC0, 0xE0, 0xF0};
    *w++ = (char)(lead[more] | cp >> (6 * more));
    while (more--)
        *w++ = (char)(0x80 | (cp >> (6 * more) & 0x3F));
    return w;
}

/* Decodes raw into the arena: no escape is shorter than what it stands for. */
static bool decode(struct scan *s, struct str raw, bool plain, struct str *out)
{
    char *to = raw.len ? arena_alloc(s->a, raw.len) : NULL, *w = to;
    const char *p = raw.ptr, *end = p + raw.len;
    *out = str_make(NULL, 0);
    s->no_memory |= raw.len && !to;
    if (!to)
        return !raw.len;
    if (plain) {
        memcpy(to, p, raw.len);
        p = end;
        w += raw.len;
    }
    while (p < end) {
        if (*p == '\\') {
            uint32_t cp = take_escape(&p, end);
            if (!cp)
                return false;
            w = put_utf8(w, cp);
            continue;
        }
        size_t n = openai_utf8_len(p, (size_t)(end - p));
        if (!n)
            return false;
        memcpy(w, p, n);
        w += n;
        p += n;
    }
    *out = str_make(to, (size_t)(w - to));
    return true;
}

static bool take_string(struct scan *s, struct str *out)
{
    struct str raw;
    bool plain;
    return take_raw_string(s, &raw, &plain) && decode(s, raw, plain, out);
}

/* Digits only, as a count of tokens is written. */
static bool take_integer(struct scan *s, int64_t *out)
{
    skip_space(s);
    const char *from = s->p;
    int64_t v = 0;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9' && s->p - from < 18)
        v = v * 10 + (*s->p++ - '0');
    size_t n = (size_t)(s->p - from);
    *out = v;
    return n && (n == 1 || *from != '0'); /* a point, an exponent or more digits fail at what has to follow */
}

static bool read_null(struct scan *s)
{
    skip_space(s);
    return take_word(s, STR_LIT("null"));
}

static bool at_null(struct scan *s)
{
    skip_space(s);
    return s->p < s->end && *s->p == 'n';
}

/* A value that is read over: any but fractions, and objects and lists that hold something. */
static bool read_over(struct scan *s)
{
    struct str raw;
    bool plain;
    int64_t n;
    skip_space(s);
    char c = s->p < s->end ? *s->p : 0;
    if (c == '"')
        return take_raw_string(s, &raw, &plain);
    if (c >= '0' && c <= '9')
        return take_integer(s, &n);
    if (c == '{' || c == '[')
        return take(s, c) && take(s, c == '{' ? '}' : ']');
    return take_word(s, STR_LIT("null")) || take_word(s, STR_LIT("true")) || take_word(s, STR_LIT("false"));
}

/* The member that a name belongs to, searched from where the last one was: senders keep one order. */
static size_t find_member(const struct member *table, size_t n, struct str name, size_t from)
{
    for (size_t k = 0, i = from; k < n; k++, i++) {
        i = i == n ? 0 : i;
        if (strncmp(table[i].name, name.ptr, name.len) == 0 && !table[i].name[name.len])
            return i;
    }
    return n;
}

static bool read_object(struct scan *s, const struct member *table, size_t n)
{
    RAG_DEBUG_ASSERT(n <= 32);
    uint32_t seen = 0;
    size_t at = 0;
    if (!take(s, '{'))
        return false;
    if (take(s, '}'))
        return true;
    do {
        struct str name;
        bool plain;
        if (!take_raw_string(s, &name, &plain) || !plain || !take(s, ':'))
            return false;
        at = find_member(table, n, name, at);
        if (at == n || seen >> at & 1 || !table[at].read(s))
            return false;
        seen |= 1u << at;
        at = at + 1 == n ? 0 : at + 1;
    } while (take(s, ','));
    return take(s, '}');
}
#define READ_OBJECT(s, table) read_object((s), (table), sizeof(table) / sizeof *(table))

static bool read_prompt(struct scan *s)
{
    return take_integer(s, &s->prompt);
}
static bool read_completion(struct scan *s)
{
    return take_integer(s, &s->completion);
}
static bool read_cached(struct scan *s)
{
    int64_t n;
    if (at_null(s))
        return read_null(s);
    bool ok = take_integer(s, &n);
    if (n > s->cached && n <= OPENAI_MAX_TOKENS)
        s->cached = n;
    return ok;
}
static const struct member prompt_details[] = {
    {"cached_tokens", read_cached},
    {"audio_tokens", read_over},
    {"text_tokens", read_over},
    {"image_tokens", read_over},
};
static bool read_prompt_details(struct scan *s)
{
    return at_null(s) ? read_null(s) : READ_OBJECT(s, prompt_details);
}
static const struct member completion_details[] = {
    {"reasoning_tokens", read_over},
    {"audio_tokens", read_over},
    {"accepted_prediction_tokens", read_over},
    {"rejected_prediction_tokens", read_over},
    {"text_tokens", read_over},
};
static bool read_completion_details(struct scan *s)
{
    return at_null(s) ? read_null(s) : READ_OBJECT(s, completion_details);
}
static const struct member usage_members[] = {
    {"prompt_tokens", read_prompt},
    {"completion_tokens", read_completion},
    {"total_tokens", read_over},
    {"prompt_tokens_details", read_prompt_details},
    {"completion_tokens_details", read_completion_details},
    {"prompt_cache_hit_tokens", read_cached},
    {"prompt_cache_miss_tokens", read_over},
    {"cached_tokens", read_cached},
};
static bool read_usage(struct scan *s)
{
    if (at_null(s))
        return read_null(s);
    s->prompt = s->completion = -1;
    if (!READ_OBJECT(s, usage_members))
        return false;
    if (s->prompt < 0 || s->completion < 0 || s->prompt > OPENAI_MAX_TOKENS ||
        s->completion > OPENAI_MAX_TOKENS)
        return true;
    s->out->usage = (struct chat_usage){.given = true,
                                        .prompt = (uint32_t)s->prompt,
                                        .cached = (uint32_t)(s->cached < s->prompt ? s->cached : s->prompt),
                                        .completion = (uint32_t)s->completion};
    return true;
}

static bool read_content(struct scan *s)
{
    return at_null(s) ? read_null(s) : take_string(s, &s->out->content);
}
static bool read_reasoning(struct scan *s)
{
    struct str raw;
    bool plain;
    if (at_null(s))
        return read_null(s);
    bool ok = take_raw_string(s, &raw, &plain);
    s->has_reasoning |= ok && raw.len;
    return ok;
}
static const struct member delta_members[] = {
    {"role", read_over},          {"content", read_content},     {"reasoning_content", read_reasoning},
    {"refusal", read_over},       {"reasoning", read_reasoning}, {"reasoning_details", read_over},
    {"function_call", read_over}, {"tool_calls", read_over},     {"name", read_over},
    {"audio_content", read_over},
};
static bool read_delta(struct scan *s)
{
    return READ_OBJECT(s, delta_members);
}
static bool read_finish(struct scan *s)
{
    return at_null(s) ? read_null(s) : take_string(s, &s->out->finish);
}
static const struct member choice_members[] = {
    {"index", read_over},
    {"delta", read_delta},
    {"logprobs", read_over},
    {"finish_reason", read_finish},
    {"native_finish_reason", read_over},
    {"stop_reason", read_over},
    {"matched_stop", read_over},
    {"token_ids", read_over},
    {"content_filter_results", read_over},
    {"moderation_hit_type", read_over},
};
/* None or one; the tree takes the first of several. */
static bool read_choices(struct scan *s)
{
    s->has_choices = true;
    if (!take(s, '['))
        return false;
    return take(s, ']') || (READ_OBJECT(s, choice_members) && take(s, ']'));
}

static const struct member chunk_members[] = {
    {"id", read_over},
    {"object", read_over},
    {"created", read_over},
    {"model", read_over},
    {"service_tier", read_over},
    {"system_fingerprint", read_over},
    {"choices", read_choices},
    {"usage", read_usage},
    {"provider", read_over},
    {"obfuscation", read_over},
    {"prompt_filter_results", read_over},
    {"prompt_token_ids", read_over},
    {"input_sensitive", read_over},
    {"output_sensitive", read_over},
    {"input_sensitive_type", read_over},
    {"output_sensitive_type", read_over},
    {"output_sensitive_int", read_over},
};

rag_code openai_chunk_scan(struct str data, struct arena *a, struct chat_chunk *out)
{
    struct scan s = {.p = data.ptr, .end = data.ptr + data.len, .a = a, .out = out};
    *out = (struct chat_chunk){0};
    if (data.len > SSE_MAX_EVENT_BYTES)
        return RAG_EUNSUPPORTED;
    bool ok = READ_OBJECT(&s, chunk_members);
    skip_space(&s);
    if (s.no_memory)
        return RAG_ENOMEM;
    if (!ok || s.p != s.end || !s.has_choices)
        return RAG_EUNSUPPORTED;
    out->reasoning = s.has_reasoning && !out->content.len;
    return RAG_OK;
}
