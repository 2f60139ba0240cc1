#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

/* One code point of text that need not be valid: its length, and whether it is a CJK character. */
static size_t code_point(const unsigned char *p, size_t n, bool *cjk)
{
    uint32_t u = p[0];
    size_t len = u >= 0xf0 ? 4 : u >= 0xe0 ? 3 : u >= 0xc0 ? 2 : 1;
    *cjk = false;
    if (len > n)
        return n;
    if (len == 3)
        u = (u & 15) << 12 | (uint32_t)(p[1] & 63) << 6 | (p[2] & 63);
    else if (len == 4)
        u = (u & 7) << 18 | (uint32_t)(p[1] & 63) << 12 | (uint32_t)(p[2] & 63) << 6 | (p[3] & 63);
    *cjk = len >= 3 && ((u >= 0x3400 && u <= 0x4dbf) || (u >= 0x4e00 && u <= 0x9fff) || (u >= 0xf900 && u <= 0xfaff) ||
                        (u >= 0x20000 && u <= 0x3ffff));
    return len;
}

uint32_t count_tokens(const char *p, size_t n)
{
    size_t characters = 0, others = 0;
    bool cjk;
    for (size_t i = 0, len; i < n; i += len) {
        len = code_point((const unsigned char *)p + i, n - i, &cjk);
        if (cjk)
            characters++;
        else
            others += len;
    }
    return (uint32_t)(characters + (others + 3) / 4);
}

/* The piece at p: a citation mark, a wide character, or a word with the blank before it. */
static size_t piece(const char *p, size_t n)
{
    bool cjk;
    size_t len = code_point((const unsigned char *)p, n, &cjk);
    if (*p == '[') {
        const char *close = memchr(p, ']', n < 8 ? n : 8);
        return close ? (size_t)(close - p) + 1 : len;
    }
    if (len > 1)
        return len;
    while (len < n && p[len] > ' ' && p[len] < 0x7f && p[len] != '[')
        len++;
    return len;
}

static void add_token(struct spec *s, uint32_t *n, const char *p, size_t len)
{
    s->answer[*n].at = (uint32_t)s->text.len;
    buf_escape(&s->text, p, len);
    s->answer[*n].len = (uint32_t)s->text.len - s->answer[*n].at;
    ++*n;
}

static uint32_t split(struct spec *s, uint32_t n, const char *p, size_t len)
{
    for (size_t i = 0, step; i < len && n < s->tokens; i += step) {
        step = piece(p + i, len - i);
        add_token(s, &n, p + i, step);
    }
    return n;
}

static const char *const chinese[] = {
    "这张卡首年免年费", "刷卡满六次可以免次年年费", "账单日之后二十天内还款不收利息", "积分可以兑换里程或礼品",
    "境外消费按当日汇率入账", "挂失后的损失由银行承担", "额度可以在手机银行里申请调整", "分期手续费按期收取",
};
static const char *const english[] = {
    "The card has no annual fee in its first year", "Six purchases waive the fee of the next year",
    "Payments within twenty days carry no interest", "Points are worth miles or gifts",
    "Purchases abroad are booked at the rate of the day", "The limit can be changed in the app",
    "A lost card is blocked within a minute", "Instalments are billed once a month",
};

static uint32_t mark(struct spec *s, uint32_t n, uint32_t sentence)
{
    static const char *const bad[] = {"[9]", "[abc]", "[", "["};
    char good[16];
    snprintf(good, sizeof good, "[%u]", 1 + sentence % 3);
    if (s->cite == CITE_GOOD)
        return split(s, n, good, strlen(good));
    if (s->cite == CITE_NONE)
        return n;
    n = split(s, n, bad[sentence % 4], strlen(bad[sentence % 4]));
    if (sentence % 4 == 2) /* one mark in two pieces; the other bracket stays open */
        n = split(s, n, "1]", 2);
    return n;
}

static bool file_read(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    size_t got;
    do {
        buf_reserve(out, 1 << 16);
        got = fread(out->p + out->len, 1, 1 << 16, f);
        out->len += got;
    } while (got && out->len <= MAX_BODY);
    bool ok = !ferror(f) && out->len <= MAX_BODY;
    fclose(f);
    return ok;
}

bool answer_make(struct spec *s, bool all_of_file)
{
    struct buf file = {0};
    if (*s->file && !file_read(s->file, &file)) {
        buf_free(&file);
        return false;
    }
    if (*s->file && (all_of_file || s->tokens > file.len))
        s->tokens = (uint32_t)file.len; /* an upper bound: a piece is a byte at least */
    s->answer = mem_get(((size_t)s->tokens + 1) * sizeof *s->answer);
    uint32_t n = 0;
    if (*s->file)
        n = split(s, n, file.p, file.len);
    for (uint32_t i = 0; !*s->file && n < s->tokens; i++) {
        const char *sentence = s->english ? english[i % 8] : chinese[i % 8];
        if (s->english && i)
            n = split(s, n, " ", n < s->tokens ? 1 : 0);
        n = split(s, n, sentence, strlen(sentence));
        n = mark(s, n, i);
        n = split(s, n, s->english ? "." : "。", s->english ? 1 : 3);
    }
    s->tokens = n;
    buf_free(&file);
    return true;
}
