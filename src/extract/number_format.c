/* A format code has up to four sections (positive; negative; zero; text). A section is literals around one digit
 * pattern, or literals between date parts. Numbers are rounded in decimal from 15 significant digits, as spreadsheets
 * do: printf would show 1.005 as 1.00 where the sheet shows 1.01. */
#include "extract/number_format.h"

#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <strings.h>

enum { DIGITS = 15 };

struct str number_format_builtin(unsigned id)
{
    switch (id) {
    case 1: return STR_LIT("0");
    case 2: return STR_LIT("0.00");
    case 3: return STR_LIT("#,##0");
    case 4: return STR_LIT("#,##0.00");
    case 5:
    case 6: return STR_LIT("¥#,##0;¥-#,##0");
    case 7:
    case 8: return STR_LIT("¥#,##0.00;¥-#,##0.00");
    case 9: return STR_LIT("0%");
    case 10: return STR_LIT("0.00%");
    case 11: return STR_LIT("0.00E+00");
    case 14:
    case 30: return STR_LIT("yyyy-mm-dd"); /* the reader's own order; this one is unambiguous */
    case 15: return STR_LIT("d-mmm-yy");
    case 16: return STR_LIT("d-mmm");
    case 17: return STR_LIT("mmm-yy");
    case 18: return STR_LIT("h:mm AM/PM");
    case 19: return STR_LIT("h:mm:ss AM/PM");
    case 20:
    case 32: return STR_LIT("h:mm");
    case 21:
    case 33: return STR_LIT("h:mm:ss");
    case 22: return STR_LIT("yyyy-mm-dd h:mm");
    case 27:
    case 36:
    case 50:
    case 52:
    case 57: return STR_LIT("yyyy\"年\"m\"月\"");
    case 28:
    case 29:
    case 51:
    case 53:
    case 54:
    case 58: return STR_LIT("m\"月\"d\"日\"");
    case 31: return STR_LIT("yyyy\"年\"m\"月\"d\"日\"");
    case 34:
    case 55: return STR_LIT("h\"时\"mm\"分\"");
    case 35:
    case 56: return STR_LIT("h\"时\"mm\"分\"ss\"秒\"");
    case 37:
    case 38: return STR_LIT("#,##0;-#,##0");
    case 39:
    case 40: return STR_LIT("#,##0.00;-#,##0.00");
    case 41:
    case 42: return STR_LIT("#,##0");
    case 43:
    case 44: return STR_LIT("#,##0.00");
    case 45: return STR_LIT("mm:ss");
    case 46: return STR_LIT("[h]:mm:ss");
    case 47: return STR_LIT("mm:ss.0");
    case 48: return STR_LIT("0.0E+0");
    case 49: return STR_LIT("@");
    default: return str_make(NULL, 0);
    }
}

static void general(struct buf *out, double v)
{
    if (fabs(v) < 1e15 && floor(v) >= v)
        buf_addf(out, "%.0f", v + 0.0); /* whole: ids and phone numbers stay readable */
    else
        buf_addf(out, "%.11g", v);
}

/* Length of the item of the code at i: an escaped or quoted literal, a bracket, or one character. */
static size_t item_len(struct str c, size_t i)
{
    const char *e = NULL;
    switch (c.ptr[i]) {
    case '"': e = memchr(c.ptr + i + 1, '"', c.len - i - 1); break;
    case '[': e = memchr(c.ptr + i + 1, ']', c.len - i - 1); break;
    case '\\':
    case '_':
    case '*':
    case '!': {
        size_t n = 2; /* and the rest of a UTF-8 sequence */
        while (i + n < c.len && ((unsigned char)c.ptr[i + n] & 0xC0) == 0x80)
            n++;
        return i + n <= c.len ? n : c.len - i;
    }
    default: return 1;
    }
    return e ? (size_t)(e - (c.ptr + i)) + 1 : c.len - i;
}

/* Appends the literal that the item is; false when it is a letter with a meaning. */
static void literal(struct buf *out, struct str c, size_t i, size_t n)
{
    char k = c.ptr[i];
    if (k == '"') {
        buf_add(out, c.ptr + i + 1, n >= 2 && c.ptr[i + n - 1] == '"' ? n - 2 : n - 1);
    } else if (k == '\\' || k == '!') {
        buf_add(out, c.ptr + i + 1, n - 1);
    } else if (k == '_') {
        buf_addc(out, ' ');
    } else if (k == '[' && n > 3 && c.ptr[i + 1] == '$') { /* [$¥-804] */
        const char *dash = memchr(c.ptr + i + 2, '-', n - 3);
        buf_add(out, c.ptr + i + 2, dash ? (size_t)(dash - (c.ptr + i + 2)) : n - 3);
    } else if (k != '[' && k != '*') {
        buf_add(out, c.ptr + i, n);
    }
}

/* The section for v; *negate: the section stands for negative numbers and writes its own sign. */
static struct str section_for(struct str code, double v, bool *own_sign)
{
    struct str s[4];
    size_t n = 0, from = 0;
    for (size_t i = 0; i <= code.len && n < 4;) {
        if (i == code.len || code.ptr[i] == ';') {
            s[n++] = str_make(code.ptr + from, i - from);
            from = ++i;
            continue;
        }
        i += item_len(code, i);
    }
    *own_sign = n >= 2 && v < 0;
    if (n == 0)
        return code;
    if (v < 0 && n >= 2)
        return s[1];
    return v > 0 || v < 0 || n < 3 ? s[0] : s[2];
}

static bool is_elapsed(struct str c, size_t i, size_t n) /* [h], [mm], [ss] */
{
    return c.ptr[i] == '[' && n >= 3 && strchr("hmsHMS", c.ptr[i + 1]) && c.ptr[i + n - 1] == ']' &&
           tolower((unsigned char)c.ptr[i + n - 2]) == tolower((unsigned char)c.ptr[i + 1]);
}

static bool is_general(struct str c, size_t i)
{
    return c.len - i >= 7 && strncasecmp(c.ptr + i, "General", 7) == 0;
}

static bool is_date(struct str c)
{
    for (size_t i = 0, n; i < c.len; i += n) {
        n = item_len(c, i);
        if (is_elapsed(c, i, n))
            return true;
        if (n == 1 && is_general(c, i))
            return false;
        if (n == 1 && strchr("ymdhsYMDHS", c.ptr[i]))
            return true;
    }
    return false;
}

struct when {
    int64_t year;
    unsigned month, day, hour, minute, second, ms;
    int64_t total_s;
};

/* Civil date of a day count, days 0 = 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms"). */
static void civil(int64_t z, struct when *t)
{
    z += 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    t->day = (unsigned)(doy - (153 * mp + 2) / 5 + 1);
    t->month = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
    t->year = yoe + era * 400 + (t->month <= 2);
}

static bool when_of(double v, bool date1904, struct when *t)
{
    if (!(v >= 0) || v >= 2958466) /* 9999-12-31 is the last day */
        return false;
    int64_t ms = (int64_t)(v * 86400000.0 + 0.5), day = ms / 86400000;
    ms -= day * 86400000;
    t->total_s = day * 86400 + ms / 1000;
    t->hour = (unsigned)(ms / 3600000);
    t->minute = (unsigned)(ms / 60000 % 60);
    t->second = (unsigned)(ms / 1000 % 60);
    t->ms = (unsigned)(ms % 1000);
    if (date1904)
        civil(day - 24107, t);
    else /* day 60 is 1900-02-29, which never was; below it the count is one off */
        civil(day - (day < 60 ? 25568 : 25569), t);
    return true;
}

/* 'm' is minutes after h or before s. */
static bool m_is_minute(struct str c, size_t i, size_t n, char last)
{
    if (last == 'h')
        return true;
    for (size_t k = i + n; k < c.len; k += item_len(c, k)) {
        char x = (char)tolower((unsigned char)c.ptr[k]);
        if (x == 's' || (c.ptr[k] == '[' && k + 1 < c.len && tolower((unsigned char)c.ptr[k + 1]) == 's'))
            return true;
        if (strchr("ymdh", x))
            return false;
    }
    return false;
}

static void date_part(struct buf *out, char k, size_t n, const struct when *t, bool minute, bool half_day)
{
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    static const char *const weekdays[] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
    unsigned hour = half_day ? (t->hour + 11) % 12 + 1 : t->hour;
    int width = n >= 2 ? 2 : 1;
    switch (k) {
    case 'y':
        if (n <= 2)
            buf_addf(out, "%02d", (int)(t->year % 100));
        else
            buf_addf(out, "%04d", (int)t->year);
        break;
    case 'm':
        if (minute)
            buf_addf(out, "%0*u", width, t->minute);
        else if (n >= 3)
            buf_addz(out, months[(t->month + 11) % 12]);
        else
            buf_addf(out, "%0*u", width, t->month);
        break;
    case 'd':
        if (n >= 3)
            buf_addz(out, weekdays[(t->total_s / 86400 + 5) % 7]); /* serial 2 (1900-01-02) shows Monday */
        else
            buf_addf(out, "%0*u", width, t->day);
        break;
    case 'h': buf_addf(out, "%0*u", width, hour); break;
    case 's': buf_addf(out, "%0*u", width, t->second); break;
    default: break;
    }
}

static bool half_day_mark(struct str c, size_t i, size_t *n)
{
    static const char *const marks[] = {"AM/PM", "A/P", "上午/下午"};
    for (size_t k = 0; k < 3; k++) {
        *n = strlen(marks[k]);
        if (c.len - i >= *n && strncasecmp(c.ptr + i, marks[k], *n) == 0)
            return true;
    }
    return false;
}

static void show_date(struct buf *out, struct str c, const struct when *t)
{
    bool half_day = false;
    char last = 0;
    size_t n;
    for (size_t i = 0; i < c.len && !half_day; i += item_len(c, i))
        half_day = half_day_mark(c, i, &n);
    for (size_t i = 0; i < c.len; i += n) {
        char k = (char)tolower((unsigned char)c.ptr[i]);
        if (half_day_mark(c, i, &n)) {
            if (n > 5)
                buf_addz(out, t->hour < 12 ? "上午" : "下午");
            else
                buf_addz(out, t->hour < 12 ? "AM" : "PM");
            continue;
        }
        n = item_len(c, i);
        if (is_elapsed(c, i, n)) {
            k = (char)tolower((unsigned char)c.ptr[i + 1]);
            buf_addf(out, "%lld",
                     (long long)(k == 'h'   ? t->total_s / 3600
                                 : k == 'm' ? t->total_s / 60
                                            : t->total_s));
            last = k;
        } else if (n == 1 && strchr("ymdhs", k)) {
            while (i + n < c.len && tolower((unsigned char)c.ptr[i + n]) == k)
                n++;
            date_part(out, k, n, t, k == 'm' && m_is_minute(c, i, n, last), half_day);
            last = k;
        } else if (n == 1 && c.ptr[i] == '.' && i + 1 < c.len && c.ptr[i + 1] == '0') { /* ss.000 */
            while (i + n < c.len && c.ptr[i + n] == '0')
                n++;
            buf_addf(out, ".%0*u", n > 3 ? 3 : (int)n - 1,
                     n == 2   ? t->ms / 100
                     : n == 3 ? t->ms / 10
                              : t->ms);
        } else if (n == 1 && c.ptr[i] == '@') {
            continue;
        } else {
            literal(out, c, i, n);
        }
    }
}

/* A digit pattern: "#,##0.00" and what follows it directly. */
struct pattern {
    size_t start, end;                           /* in the section */
    unsigned min_int, min_frac, max_frac, scale; /* scale: trailing commas */
    bool group;
    unsigned percent;  /* signs anywhere in the section */
    unsigned exponent; /* zeros after E+, 0: none */
    bool fraction;
};

static bool pattern_find(struct str c, struct pattern *p)
{
    bool in = false, point = false, after = false;
    *p = (struct pattern){0};
    for (size_t i = 0, n; i < c.len; i += n) {
        n = item_len(c, i);
        char k = n == 1 ? c.ptr[i] : 0;
        if (k == '%')
            p->percent++;
        if (k == '/' && in)
            p->fraction = true;
        bool digit = k == '0' || k == '#' || k == '?';
        if (after || !(digit || (k == '.' && !point) || (k == ',' && in) || (k == 'E' && in))) {
            after = in;
            if (digit && after)
                p->end = i + n; /* "0!.0": one number in two pieces is not for us; shown by the first piece */
            continue;
        }
        if (!in)
            p->start = i;
        in = true;
        p->end = i + n;
        if (k == 'E' && i + 2 < c.len) {
            for (n = 2; i + n < c.len && c.ptr[i + n] == '0'; n++)
                p->exponent++;
            p->end = i + n;
        } else if (k == '.') {
            point = true;
        } else if (k == ',') {
            p->scale++;
        } else if (point) {
            p->max_frac++;
            if (k == '0')
                p->min_frac = p->max_frac;
        } else {
            p->group |= p->scale > 0;
            p->scale = 0;
            p->min_int += k == '0';
        }
    }
    return in;
}

/* |v| to decimal: digits d (d[0] != 0 unless zero) with value 0.d0d1d2... * 10^*point. */
static void decimal(double v, char d[DIGITS + 1], int *point)
{
    char b[40];
    snprintf(b, sizeof b, "%.*e", DIGITS - 1, fabs(v));
    d[0] = b[0];
    memcpy(d + 1, b + 2, DIGITS - 1);
    d[DIGITS] = 0;
    int e = 0;
    sscanf(b + 2 + DIGITS - 1, "e%d", &e);
    *point = d[0] == '0' ? 0 : e + 1;
}

/* Keeps the digits before position `keep`, rounding half away from zero. May grow by one digit to the left. */
static void round_at(char d[DIGITS + 1], int *point, int keep)
{
    if (keep >= DIGITS)
        return;
    bool up = keep >= 0 && d[keep] >= '5';
    for (int i = keep < 0 ? 0 : keep; i < DIGITS; i++)
        d[i] = '0';
    for (int i = keep - 1; up && i >= 0; i--) {
        up = d[i] == '9';
        d[i] = up ? '0' : (char)(d[i] + 1);
    }
    if (up) {
        memmove(d + 1, d, DIGITS - 1);
        d[0] = '1';
        ++*point;
    }
}

static char digit_at(const char *d, int i)
{
    return i >= 0 && i < DIGITS ? d[i] : '0';
}

static void show_digits(struct buf *out, double v, const struct pattern *p)
{
    char d[DIGITS + 1];
    int point;
    unsigned max_frac = p->max_frac > 20 ? 20 : p->max_frac;
    decimal(v, d, &point);
    if (d[0] != '0')
        point += 2 * (int)p->percent - 3 * (int)p->scale;
    round_at(d, &point, point + (int)max_frac);
    int n_int = point > (int)p->min_int ? point : (int)p->min_int;
    for (int i = 0; i < n_int; i++) {
        int left = n_int - i; /* digits from here to the point */
        if (p->group && i > 0 && left % 3 == 0)
            buf_addc(out, ',');
        buf_addc(out, digit_at(d, point - left));
    }
    unsigned frac = max_frac;
    while (frac > p->min_frac && digit_at(d, point + (int)frac - 1) == '0')
        frac--;
    if (frac)
        buf_addc(out, '.');
    for (unsigned i = 0; i < frac; i++)
        buf_addc(out, digit_at(d, point + (int)i));
}

static void show_number(struct buf *out, struct str c, double v, bool own_sign)
{
    struct pattern p;
    bool has = pattern_find(c, &p), done = false;
    if (p.fraction || p.scale > 20 || p.percent > 4) {
        general(out, v);
        return;
    }
    if (v < 0 && !own_sign && has)
        buf_addc(out, '-');
    for (size_t i = 0, n; i < c.len; i += n) {
        n = item_len(c, i);
        if (has && i == p.start) {
            if (p.exponent)
                buf_addf(out, "%.*E", (int)(p.max_frac > 15 ? 15 : p.max_frac), fabs(v));
            else
                show_digits(out, v, &p);
            n = p.end - p.start;
            done = true;
        } else if (!done && n == 1 && (is_general(c, i) || c.ptr[i] == '@')) {
            general(out, own_sign ? fabs(v) : v);
            n = c.ptr[i] == '@' ? 1 : 7;
            done = true;
        } else {
            literal(out, c, i, n);
        }
    }
}

void number_format(struct buf *out, double v, struct str code, bool date1904)
{
    struct when t;
    bool own_sign;
    if (code.len == 0 || code.len > 1024 || !isfinite(v)) {
        general(out, v);
        return;
    }
    struct str c = section_for(code, v, &own_sign);
    if (c.len == 0 && code.len) /* ";;;" hides the number; a search should still find it */
        general(out, v);
    else if (!is_date(c))
        show_number(out, c, v, own_sign);
    else if (when_of(v, date1904, &t))
        show_date(out, c, &t);
    else
        general(out, v);
}
