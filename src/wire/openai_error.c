/* Providers say the same three things in many words; the words are from their documentation and from their answers. */
#include <stdlib.h>

#include "wire/json_in.h"
#include "wire/openai_int.h"

enum { MESSAGE_BYTES = 200, TEXT_BYTES = 4096 /* of a part, searched */ };

static const char *const quota_words[] = {
    "insufficient_quota",
    "insufficient quota",
    "insufficient_user_quota",
    "insufficient credit",
    "exceeded your current quota",
    "exceeded_current_quota",
    "arrearage",
    "accountoverdue",
    "overdue-payment",
    "billing details",
    "billing_hard_limit",
    "billing_not_active",
    "payment required",
    "in good standing",
    "余额不足",
    "余额为",
    "账户余额",
    "欠费",
    "充值",
    "额度不足",
    "额度已用",
    "配额不足",
    "配额已用",
};
static const char *const context_words[] = {
    "context_length",
    "context length",
    "context window",
    "context size",
    "exceed_context_size",
    "too many tokens",
    "prompt is too long",
    "input is too long",
    "prompt too long",
    "input too long",
    "maximum prompt length",
    "range of input length",
    "max_prompt_tokens",
    "string_above_max_length",
    "reduce the length",
    "上下文长度",
    "超长",
    "输入过长",
    "长度超",
    "超出最大长度",
};
static const char *const rate_words[] = {
    "rate limit", "rate_limit", "ratelimit", "rate-limit", "too many requests", "throttl", "请求过于频繁",
    "请求频率",   "速率限制",   "限流",      "并发数",
};

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 32) : c;
}

/* Where `word` (lower case) is in s, without regard to ASCII case; NULL: nowhere. */
static const char *find(struct str s, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= s.len; i++) {
        size_t k = 0;
        while (k < n && lower(s.ptr[i + k]) == word[k])
            k++;
        if (k == n)
            return s.ptr + i;
    }
    return NULL;
}

static bool has_any(struct str s, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (find(s, words[i]))
            return true;
    return false;
}
#define HAS_ANY(s, words) has_any((s), (words), sizeof(words) / sizeof *(words))

static const char *const lack_words[] = {"insufficient", "not enough", "too low",    "recharge",    "top up",
                                         "negative",     "exhausted",  "no balance", "balance is 0"};

/* "balance", but no load balancer and nothing balanced, and too little of it: a message may quote the prompt of a bank. */
static bool lacks_balance(struct str s)
{
    bool lacks = HAS_ANY(s, lack_words);
    for (const char *p; (p = find(s, "balance")) != NULL;) {
        s = str_make(p + 7, s.len - (size_t)(p + 7 - s.ptr));
        char next = s.len ? lower(s.ptr[0]) : ' ';
        if (next < 'a' || next > 'z')
            return lacks;
    }
    return false;
}

static enum chat_error meaning(long status, struct str text)
{
    if (status == 402 || HAS_ANY(text, quota_words) || lacks_balance(text))
        return CHAT_ERROR_QUOTA;
    if (status == 429) /* before the context: "too many tokens" is also said of a minute's */
        return CHAT_ERROR_RATE;
    if (HAS_ANY(text, rate_words))
        return CHAT_ERROR_RATE;
    return HAS_ANY(text, context_words) ? CHAT_ERROR_CONTEXT : CHAT_ERROR_OTHER;
}

static const json_t *string_member(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_string(v) && json_string_length(v) ? v : NULL;
}

/* {"detail": "..."}, or the list of {"msg"} that a validator sends. */
static const json_t *detail_of(const json_t *o)
{
    const json_t *list = json_object_get(o, "detail");
    return json_is_array(list) ? string_member(json_array_get(list, 0), "msg") : string_member(o, "detail");
}

static const json_t *message_of(const json_t *o)
{
    static const char *const keys[] = {"message", "msg", "error_msg"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *v = string_member(o, keys[i]);
        if (v)
            return v;
    }
    return detail_of(o);
}

void openai_error_parts(const json_t *root, struct openai_error_parts *out)
{
    *out = (struct openai_error_parts){0};
    const json_t *e = json_object_get(root, "error"), *o = json_is_object(e) ? e : root;
    out->message = json_is_string(e) ? string_member(root, "error") : message_of(o);
    out->is_error = json_is_string(e) ? out->message != NULL : e && !json_is_null(e) && !json_is_false(e);
    if (!out->message)
        out->message = message_of(root);
    out->type = string_member(o, "type");
    out->code = json_object_get(o, "code");
}

/* The status that the body itself tells, for errors within a stream; 0: none. */
static long status_in(const json_t *code)
{
    long v = json_is_integer(code) ? (long)json_integer_value(code) : 0;
    if (json_is_string(code) && json_string_length(code) == 3)
        v = strtol(json_string_value(code), NULL, 10);
    return v >= 400 && v < 600 ? v : 0;
}

/* Only the beginning is searched: a body can be a megabyte. */
static void add_part(struct buf *b, struct str s)
{
    buf_addc(b, '\n');
    openai_add_valid(b, str_make(s.ptr, s.len < TEXT_BYTES ? s.len : TEXT_BYTES));
}

static struct str string_of(const json_t *v)
{
    return json_is_string(v) ? json_in_str(v) : (struct str){0};
}

/* One line: runs of white space and control characters become one space. `text` is valid UTF-8. */
static void fill_message(char message[256], struct str text)
{
    size_t n = 0;
    bool gap = false;
    for (size_t i = 0, len; i < text.len; i += len) {
        len = openai_utf8_len(text.ptr + i, text.len - i);
        unsigned char c = (unsigned char)text.ptr[i];
        if (c <= ' ' || c == 0x7f) {
            gap = n > 0;
            continue;
        }
        if (n + gap + len > MESSAGE_BYTES)
            break;
        if (gap)
            message[n++] = ' ';
        memcpy(message + n, text.ptr + i, len);
        n += len;
        gap = false;
    }
    message[n] = 0;
}

enum chat_error openai_error_parse(long status, struct str body, char message[256])
{
    struct openai_error_parts p = {0};
    struct buf text;
    json_t *root = NULL;
    buf_init(&text, MEM_REQUEST);
    bool parsed = openai_json(body, &root) == RAG_OK;
    const json_t *first = json_is_array(root) ? json_array_get(root, 0) : root;
    if (parsed && json_is_object(first)) {
        openai_error_parts(first, &p);
        add_part(&text, string_of(p.message));
        add_part(&text, string_of(p.code));
        add_part(&text, string_of(p.type));
        status = status >= 400 || !status_in(p.code) ? status : status_in(p.code);
    } else if (json_is_string(root)) {
        add_part(&text, json_in_str(root));
    } else {
        add_part(&text, body);
    }
    if (buf_failed(&text))
        buf_clear(&text);
    const json_t *shown = p.message ? p.message : json_is_string(p.code) ? p.code : p.type;
    fill_message(message, shown ? json_in_str(shown) : buf_str(&text));
    enum chat_error e = meaning(status, buf_str(&text));
    buf_clear(&text);
    json_decref(root);
    return e;
}
