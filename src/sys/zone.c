/* A zone is a list of transitions, read from a TZif file's 64-bit block, and the rule of its footer for what comes after
 * them. Fixed offsets are a zone without transitions. The file is checked as input from outside: every count against the
 * bytes that are there. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "sys/file.h"
#include "sys/zone.h"

enum {
    FILE_MAX = 256 << 10, /* the largest of tzdata has 4 KiB */
    DAY_S = 86400,
    OFFSET_MAX = 26 * 3600, /* RFC 8536: -25 h to 26 h */
    DAY_MIN = -4371587,     /* -9999-01-01 */
    DAY_MAX = 2932896       /* 9999-12-31 */
};

struct rule { /* "M3.5.0/2": the week-th (5: last) weekday of the month, at time_s local */
    uint32_t month, week, weekday;
    int32_t time_s;
};
struct transition {
    int64_t at;
    int32_t offset_s;
};
struct zone {
    int32_t first_s; /* before the first transition */
    int32_t std_s, dst_s;
    bool has_footer, has_dst;
    struct rule start, end; /* of daylight saving */
    uint32_t n;
    struct transition t[];
};

/* ---- the calendar ---------------------------------------------------------------------------------------- */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Eras of 400 years, years from March on: Howard Hinnant, "chrono-compatible low-level date algorithms" (2021). */
int32_t civil_to_day(struct civil c)
{
    int64_t y = (int64_t)c.year - (c.month <= 2), era = floor_div(y, 400), of_era = y - era * 400;
    int64_t of_year = (153 * (int64_t)(c.month > 2 ? c.month - 3 : c.month + 9) + 2) / 5 + c.day - 1;
    int64_t n = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
    return n < DAY_MIN ? DAY_MIN : n > DAY_MAX ? DAY_MAX : (int32_t)n;
}

struct civil civil_of_day(int32_t day)
{
    int64_t z = (day < DAY_MIN ? DAY_MIN : day > DAY_MAX ? DAY_MAX : day) + INT64_C(719468);
    int64_t era = floor_div(z, 146097), of_era = z - era * 146097;
    int64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * y + y / 4 - y / 100), m = (5 * of_year + 2) / 153;
    struct civil c = {.day = (uint32_t)(of_year - (153 * m + 2) / 5 + 1),
                      .month = (uint32_t)(m < 10 ? m + 3 : m - 9)};
    c.year = (int32_t)(y + era * 400 + (c.month <= 2));
    return c;
}

void civil_format(int32_t day, char out[16])
{
    struct civil c = civil_of_day(day);
    snprintf(out, 16, "%04d-%02u-%02u", c.year, c.month % 100, c.day % 100);
}

bool civil_parse(struct str text, int32_t *day)
{
    uint32_t part[3] = {0};
    if (text.len != 10)
        return false;
    for (size_t i = 0, p = 0; i < 10; i++) {
        if (i == 4 || i == 7) {
            if (text.ptr[i] != '-')
                return false;
            p++;
        } else if (text.ptr[i] >= '0' && text.ptr[i] <= '9') {
            part[p] = part[p] * 10 + (uint32_t)(text.ptr[i] - '0');
        } else {
            return false;
        }
    }
    struct civil c = {(int32_t)part[0], part[1], part[2]};
    if (c.month < 1 || c.month > 12 || c.day < 1 || c.day > 31)
        return false;
    *day = civil_to_day(c);
    return civil_of_day(*day).day == c.day; /* not the 31st of a short month */
}

/* ---- the rule of the future: "CET-1CEST,M3.5.0,M10.5.0/3" ------------------------------------------------- */

static bool take(struct str *s, char c)
{
    if (s->len == 0 || *s->ptr != c)
        return false;
    s->ptr++;
    s->len--;
    return true;
}

static bool take_number(struct str *s, uint32_t max, uint32_t *out)
{
    size_t n = 0;
    for (*out = 0; n < s->len && n < 3 && isdigit((unsigned char)s->ptr[n]); n++)
        *out = *out * 10 + (uint32_t)(s->ptr[n] - '0');
    *s = str_make(s->ptr + n, s->len - n);
    return n > 0 && *out <= max;
}

/* [+-]hh[:mm[:ss]] */
static bool take_time(struct str *s, int32_t *out)
{
    bool minus = take(s, '-');
    uint32_t h, m = 0, sec = 0;
    if (!minus)
        take(s, '+');
    if (!take_number(s, 167, &h) ||
        (take(s, ':') && (!take_number(s, 59, &m) || (take(s, ':') && !take_number(s, 59, &sec)))))
        return false;
    int32_t n = (int32_t)(h * 3600 + m * 60 + sec);
    *out = minus ? -n : n;
    return true;
}

static bool take_name(struct str *s)
{
    size_t n = 0;
    if (take(s, '<')) {
        while (n < s->len && s->ptr[n] != '>')
            n++;
        *s = str_make(s->ptr + n, s->len - n);
        return take(s, '>');
    }
    while (n < s->len && isalpha((unsigned char)s->ptr[n]))
        n++;
    *s = str_make(s->ptr + n, s->len - n);
    return n >= 3;
}

static bool take_rule(struct str *s, struct rule *r)
{
    r->time_s = 7200;
    return take(s, ',') && take(s, 'M') && take_number(s, 12, &r->month) && r->month && take(s, '.') &&
           take_number(s, 5, &r->week) && r->week && take(s, '.') && take_number(s, 6, &r->weekday) &&
           (!take(s, '/') || take_time(s, &r->time_s));
}

/* Without one, or with rules of another form: the last offset stays. */
static void parse_footer(struct zone *z, struct str s)
{
    int32_t west;
    if (!take_name(&s) || !take_time(&s, &west) || west > OFFSET_MAX || west < -OFFSET_MAX)
        return;
    z->std_s = -west;
    z->dst_s = z->std_s + 3600;
    if (s.len) {
        if (!take_name(&s))
            return;
        if (s.len && *s.ptr != ',') {
            if (!take_time(&s, &west) || west > OFFSET_MAX || west < -OFFSET_MAX)
                return;
            z->dst_s = -west;
        }
        if (!take_rule(&s, &z->start) || !take_rule(&s, &z->end) || s.len)
            return;
        z->has_dst = true;
    }
    z->has_footer = true;
}

/* The rule's moment in a year, in seconds of local time since 1970. */
static int64_t rule_at(const struct rule *r, int32_t year)
{
    int32_t first = civil_to_day((struct civil){year, r->month, 1});
    int32_t next = civil_to_day((struct civil){r->month == 12 ? year + 1 : year, r->month % 12 + 1, 1});
    uint32_t weekday = (uint32_t)(((int64_t)first + 4) % 7 + 7) % 7; /* 1970-01-01 was a Thursday */
    int32_t day = first + (int32_t)((r->weekday + 7 - weekday) % 7 + (r->week - 1) * 7);
    while (day >= next)
        day -= 7;
    return (int64_t)day * DAY_S + r->time_s;
}

static int64_t clamp_s(int64_t unix_s)
{
    const int64_t lo = (int64_t)DAY_MIN * DAY_S, hi = (int64_t)DAY_MAX * DAY_S;
    return unix_s < lo ? lo : unix_s > hi ? hi : unix_s;
}

static int32_t footer_offset(const struct zone *z, int64_t unix_s)
{
    if (!z->has_dst)
        return z->std_s;
    int32_t year = civil_of_day((int32_t)floor_div(unix_s + z->std_s, DAY_S)).year;
    int64_t start = rule_at(&z->start, year) - z->std_s, end = rule_at(&z->end, year) - z->dst_s;
    bool dst = start < end ? unix_s >= start && unix_s < end : unix_s >= start || unix_s < end;
    return dst ? z->dst_s : z->std_s;
}

int32_t zone_offset_s(const struct zone *z, int64_t unix_s)
{
    unix_s = clamp_s(unix_s);
    uint32_t lo = 0, hi = z->n; /* transitions that have happened */
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (z->t[mid].at <= unix_s)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == z->n && z->has_footer)
        return footer_offset(z, unix_s);
    return lo ? z->t[lo - 1].offset_s : z->first_s;
}

int32_t zone_day(const struct zone *z, int64_t unix_ms)
{
    int64_t s = clamp_s(floor_div(unix_ms, 1000));
    return (int32_t)floor_div(s + zone_offset_s(z, s), DAY_S);
}

int64_t zone_day_start_ms(const struct zone *z, int32_t day)
{
    /* Zones are within 26 hours of UTC, and days grow with time but for a changed offset, which the search survives: it
     * finds a second at which the day begins. */
    int64_t lo = (int64_t)day * DAY_S - 2 * DAY_S, hi = (int64_t)day * DAY_S + 2 * DAY_S;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (zone_day(z, mid * 1000) >= day)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo * 1000;
}

/* ---- TZif ------------------------------------------------------------------------------------------------ */

static uint32_t be32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static int64_t be64(const char *p)
{
    return (int64_t)((uint64_t)be32(p) << 32 | be32(p + 4));
}

struct counts {
    uint32_t isut, isstd, leap, time, type, chars;
    uint64_t bytes; /* of the block behind the header */
};
enum { HEADER = 44 };

static bool read_header(struct str s, uint32_t time_size, struct counts *c)
{
    if (s.len < HEADER || memcmp(s.ptr, "TZif", 4) != 0 || s.ptr[4] < '2')
        return false;
    uint32_t *part[] = {&c->isut, &c->isstd, &c->leap, &c->time, &c->type, &c->chars};
    for (int i = 0; i < 6; i++)
        *part[i] = be32(s.ptr + 20 + 4 * i);
    c->bytes = (uint64_t)c->time * (time_size + 1) + (uint64_t)c->type * 6 + c->chars +
               (uint64_t)c->leap * (time_size + 4) + c->isstd + c->isut;
    return s.len - HEADER >= c->bytes;
}

/* types: the local time types, 6 bytes each, the first 4 the offset. */
static bool read_transitions(struct zone *z, const char *times, const char *indices, const char *types,
                             uint32_t n_types)
{
    for (uint32_t i = 0; i < z->n; i++) {
        uint32_t type = (unsigned char)indices[i];
        if (type >= n_types)
            return false;
        z->t[i] = (struct transition){be64(times + 8 * (size_t)i), (int32_t)be32(types + 6 * (size_t)type)};
        if (z->t[i].offset_s > OFFSET_MAX || z->t[i].offset_s < -OFFSET_MAX ||
            (i && z->t[i].at <= z->t[i - 1].at))
            return false;
    }
    z->first_s = (int32_t)be32(types);
    return z->first_s <= OFFSET_MAX && z->first_s >= -OFFSET_MAX;
}

rag_code zone_parse(struct str s, struct zone **out)
{
    struct counts c;
    if (!read_header(s, 4, &c))
        return RAG_EFORMAT;
    s = str_make(s.ptr + HEADER + c.bytes, s.len - HEADER - (size_t)c.bytes);
    if (!read_header(s, 8, &c) || c.type == 0 || c.type > 256)
        return RAG_EFORMAT;
    struct zone *z =
        mem_zalloc(MEM_MISC, sizeof *z + c.time * sizeof z->t[0]); /* the bytes are there: 9 for each */
    if (!z)
        return RAG_ENOMEM;
    z->n = c.time;
    const char *times = s.ptr + HEADER, *indices = times + 8 * (size_t)c.time;
    if (!read_transitions(z, times, indices, indices + c.time, c.type)) {
        zone_close(z);
        return RAG_EFORMAT;
    }
    s = str_make(times + c.bytes, s.len - HEADER - (size_t)c.bytes);
    if (s.len >= 2 && s.ptr[0] == '\n' && s.ptr[s.len - 1] == '\n')
        parse_footer(z, str_make(s.ptr + 1, s.len - 2));
    *out = z;
    return RAG_OK;
}

/* ---- opening --------------------------------------------------------------------------------------------- */

static bool fixed_offset(const char *name, int32_t *out)
{
    struct str s = str_of(name);
    if (strcmp(name, "UTC") == 0) {
        *out = 0;
        return true;
    }
    if (strcmp(name, "Asia/Shanghai") == 0) {
        *out = 8 * 3600;
        return true;
    }
    return s.len == 6 && (s.ptr[0] == '+' || s.ptr[0] == '-') && s.ptr[3] == ':' && take_time(&s, out) &&
           s.len == 0 && *out <= 14 * 3600 && *out >= -14 * 3600;
}

static bool name_ok(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > 64 || !isalpha((unsigned char)name[0]) || strstr(name, "//"))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("/_+-", name[i]))
            return false;
    return true;
}

rag_code zone_open(const char *name, struct zone **out, struct rag_err *err)
{
    int32_t fixed;
    char path[128];
    if (fixed_offset(name, &fixed)) {
        struct zone *z = mem_zalloc(MEM_MISC, sizeof *z);
        if (!z)
            return rag_err_set(err, RAG_ENOMEM, "time zone %s: out of memory", name);
        z->first_s = fixed;
        *out = z;
        return RAG_OK;
    }
    if (!name_ok(name))
        return rag_err_set(err, RAG_EINVAL,
                           "time zone \"%.64s\": give a name like Asia/Shanghai, +08:00 or UTC", name);
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", name);
    struct buf bytes;
    buf_init(&bytes, MEM_MISC);
    rag_code rc = file_read_all(path, FILE_MAX, &bytes, NULL);
    if (rc)
        rc = rag_err_set(err, rc == RAG_ENOMEM ? rc : RAG_EINVAL,
                         "time zone %s: %s: %s: is tzdata installed? An offset like +08:00 needs no files",
                         name, path, rag_code_name(rc));
    else if ((rc = zone_parse(buf_str(&bytes), out)) != 0)
        rag_err_set(err, rc, "time zone %s: %s: %s", name, path, rag_code_name(rc));
    buf_clear(&bytes);
    return rc;
}

void zone_close(struct zone *z)
{
    mem_free(MEM_MISC, z);
}
