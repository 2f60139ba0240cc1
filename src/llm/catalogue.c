#include "llm/catalogue.h"
#include "text/utf8.h"

enum {
    TOKENS_PER_PRICE = 1000000,
    MESSAGE_TOKENS = 64
}; /* role marks and templates: 3 to 7 tokens a message, with room */

__extension__ typedef unsigned __int128 wide;

const char *model_class_name(enum model_class c)
{
    static const char *const names[CLASSES] = {"small", "medium", "large"};
    return names[c];
}

static nano_cny price_of(wide tokens, nano_cny per_million)
{
    wide n = per_million > 0 ? (tokens * (wide)per_million + TOKENS_PER_PRICE - 1) / TOKENS_PER_PRICE : 0;
    return n > INT64_MAX ? INT64_MAX : (nano_cny)n;
}

static nano_cny add(nano_cny a, nano_cny b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

nano_cny llm_cost(const struct llm_price *p, uint32_t prompt, uint32_t cached, uint32_t completion)
{
    if (cached > prompt) /* an upstream that cannot count */
        cached = prompt;
    nano_cny input = add(price_of(prompt - cached, p->input), price_of(cached, p->cached_input));
    return add(input, price_of(completion, p->output));
}

nano_cny llm_upper_bound(const struct llm_price *p, uint64_t prompt_bytes, uint32_t n_messages,
                         uint32_t max_tokens)
{
    wide prompt = (wide)prompt_bytes + (wide)n_messages * MESSAGE_TOKENS; /* a token has at least one byte */
    nano_cny input = price_of(prompt, p->input > p->cached_input ? p->input : p->cached_input);
    input = add(input, input > 0); /* llm_cost rounds its two parts up */
    return add(input, price_of(max_tokens, p->output));
}

static uint32_t add_class(const struct llm_catalogue *c, enum model_class class, uint32_t tokens,
                          uint32_t *order, uint32_t n)
{
    for (uint32_t i = 0; i < c->n && n < LLM_MAX_MODELS; i++)
        if (c->models[i].class == class && (c->models[i].context == 0 || c->models[i].context >= tokens))
            order[n++] = i;
    return n;
}

uint32_t llm_plan(const struct llm_catalogue *c, enum model_class want, bool cheapest, uint32_t tokens,
                  uint32_t order[LLM_MAX_MODELS])
{
    static const enum model_class near[CLASSES][CLASSES] = {
        [CLASS_SMALL] = {CLASS_SMALL, CLASS_MEDIUM, CLASS_LARGE},
        [CLASS_MEDIUM] = {CLASS_MEDIUM, CLASS_SMALL, CLASS_LARGE},
        [CLASS_LARGE] = {CLASS_LARGE, CLASS_MEDIUM, CLASS_SMALL},
    };
    uint32_t n = 0;
    for (uint32_t i = 0; i < CLASSES; i++)
        n = add_class(c, near[cheapest ? CLASS_SMALL : want][i], tokens, order, n);
    return n;
}

uint32_t llm_count_tokens(struct str text)
{
    size_t n = text_token_count(text);
    return n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}
