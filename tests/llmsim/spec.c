#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define X(id, name) name,
const char *const fault_names[N_FAULTS] = {FAULTS(X)};
#undef X

/* Place of a word in a list that ends with NULL; -1: not there. */
static int choice(const char *word, const char *const *of)
{
    for (int i = 0; of[i]; i++)
        if (!strcmp(word, of[i]))
            return i;
    return -1;
}

static bool set_fail(struct spec *s, char *value)
{
    char *share = strchr(value, '@');
    double p = 1;
    if (share) {
        *share++ = 0;
        char *end;
        p = strtod(share, &end);
        if (end == share || *end || !(p >= 0 && p <= 1))
            return false;
    }
    for (int i = 1; i < N_FAULTS; i++)
        if (!strcmp(value, fault_names[i]) && s->n_fails < MAX_FAILS) {
            s->fails[s->n_fails].kind = (enum fault)i;
            s->fails[s->n_fails++].share = p;
            return true;
        }
    return false;
}

static bool set_word(struct spec *s, const char *key, char *value, bool *known)
{
    static const char *const usages[] = {"full", "none", "wrong", "cached", "cached_deepseek", NULL};
    static const char *const afters[] = {"both", "seconds", "ms", "date", NULL};
    static const char *const langs[] = {"zh", "en", NULL}, *const cites[] = {"0", "1", "bad", NULL};
    static const char *const cuts[] = {"fin", "rst", NULL};
    int i = 0;
    *known = true;
    if (!strcmp(key, "usage"))
        s->usage = (enum usage)(i = choice(value, usages));
    else if (!strcmp(key, "after_as"))
        s->after_as = (enum after_as)(i = choice(value, afters));
    else if (!strcmp(key, "lang"))
        s->english = (i = choice(value, langs)) == 1;
    else if (!strcmp(key, "cite"))
        s->cite = (enum cite)(i = choice(value, cites));
    else if (!strcmp(key, "cut"))
        s->reset = (i = choice(value, cuts)) == 1;
    else if (!strcmp(key, "text"))
        return snprintf(s->file, sizeof s->file, "%s", value) < (int)sizeof s->file;
    else if (!strcmp(key, "fail"))
        return set_fail(s, value);
    else
        *known = false;
    return i >= 0;
}

static bool set_number(struct spec *s, const char *key, const char *value)
{
    struct {
        const char *name;
        double *real;
        uint32_t *whole;
        double most;
    } const numbers[] = {
        {"ttft_ms", &s->ttft_ms, NULL, 3.6e6},    {"tps", &s->tps, NULL, 1e6},
        {"jitter_ms", &s->jitter_ms, NULL, 3.6e6}, {"fail_ms", &s->fail_ms, NULL, 3.6e6},
        {"drip_ms", &s->drip_ms, NULL, 3.6e6},     {"ping_ms", &s->ping_ms, NULL, 3.6e6},
        {"after", &s->after, NULL, 1e6},           {"tokens", NULL, &s->tokens, 1e6},
        {"over", NULL, &s->over, 1e9},             {"at", NULL, &s->at, 1e6},
        {"cached_pct", NULL, &s->cached_pct, 100},
    };
    char *end;
    double v = strtod(value, &end);
    if (end == value || *end || !(v >= 0))
        return false;
    if (!strcmp(key, "seed")) {
        s->random = strtoull(value, NULL, 10);
        return true;
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(key, numbers[i].name) || v > numbers[i].most)
            continue;
        if (numbers[i].real)
            *numbers[i].real = v;
        else
            *numbers[i].whole = (uint32_t)v;
        return true;
    }
    return false;
}

struct spec *spec_parse(const char *text, char why[200])
{
    struct spec *s = mem_get(sizeof *s);
    *s = (struct spec){.refs = 1, .ttft_ms = 20, .tps = 200, .tokens = 40, .at = 5, .after = 1, .drip_ms = 100,
                       .ping_ms = 100, .cached_pct = 50};
    char *copy = strdup(text), *rest = NULL;
    bool tokens_given = false;
    for (char *part = copy ? strtok_r(copy, ",", &rest) : NULL; part; part = strtok_r(NULL, ",", &rest)) {
        char *value = strchr(part, '=');
        bool known = false;
        snprintf(why, 200, "bad part of a spec: %.150s", part);
        if (!value)
            goto bad;
        *value++ = 0;
        if (!set_word(s, part, value, &known) || (!known && !set_number(s, part, value)))
            goto bad;
        tokens_given = tokens_given || !strcmp(part, "tokens");
    }
    if (!answer_make(s, !tokens_given)) {
        snprintf(why, 200, "cannot read %.150s", s->file);
        goto bad;
    }
    free(copy);
    return s;
bad:
    free(copy);
    spec_unref(s);
    return NULL;
}

void spec_unref(struct spec *s)
{
    if (!s || --s->refs)
        return;
    buf_free(&s->text);
    free(s->answer);
    free(s);
}

enum fault spec_draw(struct spec *s)
{
    double u = s->n_fails ? random_share(&s->random) : 0;
    for (uint32_t i = 0; i < s->n_fails; i++) {
        if (u < s->fails[i].share)
            return s->fails[i].kind;
        u -= s->fails[i].share;
    }
    return FAULT_NONE;
}
