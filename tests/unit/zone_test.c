#include "test.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "sys/zone.h"

static struct zone *zone(const char *name)
{
    struct zone *z = NULL;
    struct rag_err err = {0};
    rag_code rc = zone_open(name, &z, &err);
    if (rc)
        print_error("%s\n", err.msg);
    CHECK_OK(rc);
    return z;
}

TEST(the_calendar_agrees_with_timegm)
{
    for (int32_t day = -800000; day < 800000; day += 13) {
        time_t t = (time_t)day * 86400;
        struct tm tm;
        gmtime_r(&t, &tm);
        struct civil c = civil_of_day(day);
        CHECK_EQ(c.year, tm.tm_year + 1900);
        CHECK_EQ(c.month, tm.tm_mon + 1);
        CHECK_EQ(c.day, tm.tm_mday);
        CHECK_EQ(civil_to_day(c), day);
    }
    CHECK_EQ(civil_to_day((struct civil){-9999, 1, 1}), civil_to_day((struct civil){-10001, 1, 1}));
    CHECK_EQ(civil_to_day((struct civil){9999, 12, 31}), civil_to_day((struct civil){12000, 1, 1}));
}

TEST(dates_are_read_strictly)
{
    int32_t day;
    char text[16];
    CHECK(civil_parse(STR_LIT("2024-02-29"), &day));
    civil_format(day, text);
    CHECK_STR(str_of(text), "2024-02-29");
    CHECK(civil_parse(STR_LIT("1970-01-01"), &day) && day == 0);
    static const char *const bad[] = {"",           "2023-02-29",  "2024-13-01", "2024-00-01",
                                      "2024-01-00", "2024-01-32",  "24-01-01",   "2024/01/01",
                                      "2024-01-1x", "2024-01-011", "-024-01-01"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!civil_parse(str_of(bad[i]), &day));
}

TEST(fixed_offsets_need_no_files)
{
    static const struct {
        const char *name;
        int32_t offset;
    } good[] = {
        {"UTC", 0}, {"+08:00", 28800}, {"-03:30", -12600}, {"Asia/Shanghai", 28800}, {"+14:00", 50400}};
    for (size_t i = 0; i < 5; i++) {
        struct zone *z = zone(good[i].name);
        CHECK_EQ(zone_offset_s(z, 1700000000), good[i].offset);
        zone_close(z);
    }
    static const char *const bad[] = {
        "",        "+8",          "+08:60",  "+15:00", "08:00", "+08:00x", "../etc/passwd",
        "Asia//X", "/etc/passwd", "No/Such", "Asia",   "a.b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct zone *z = NULL;
        struct rag_err err = {0};
        rag_code rc = zone_open(bad[i], &z, &err);
        CHECK(rc == RAG_EINVAL && !z && err.msg[0]);
    }
}

TEST(a_day_begins_at_midnight_of_the_zone)
{
    struct zone *z = zone("+08:00");
    const int64_t midnight = INT64_C(1764000000000); /* 2025-11-24T16:00Z = 2025-11-25 in +08:00 */
    int32_t day;
    CHECK(civil_parse(STR_LIT("2025-11-25"), &day));
    CHECK_EQ(zone_day(z, midnight), day);
    CHECK_EQ(zone_day(z, midnight - 1), day - 1);
    CHECK_EQ(zone_day_start_ms(z, day), midnight);
    CHECK_EQ(zone_day(z, -1), 0);
    CHECK_EQ(zone_day(z, -28800001), -1);
    CHECK(zone_day(z, INT64_MAX) > 0 && zone_day(z, INT64_MIN) < 0);
    zone_close(z);
}

static void add_be(struct buf *b, uint64_t v, int bytes)
{
    while (bytes--)
        buf_addc(b, (char)(v >> (8 * bytes)));
}

static void add_block(struct buf *b, int time_size, uint32_t n, const int64_t *at, const char *types)
{
    static const int32_t offsets[] = {3600, 7200};
    buf_addz(b, "TZif2");
    add_be(b, 0, 8);
    add_be(b, 0, 7);
    const uint32_t counts[] = {0, 0, 0, n, 2, 4};
    for (int i = 0; i < 6; i++)
        add_be(b, counts[i], 4);
    for (uint32_t i = 0; i < n; i++)
        add_be(b, (uint64_t)at[i], time_size);
    buf_add(b, types, n);
    for (int i = 0; i < 2; i++) {
        add_be(b, (uint32_t)offsets[i], 4);
        add_be(b, 0, 2);
    }
    buf_add(b, "ABC", 4);
}

static void make_file(struct buf *b, const char *footer)
{
    static const int64_t at[] = {1000, 2000, 3000};
    buf_init(b, MEM_MISC);
    add_block(b, 4, 0, NULL, "");
    add_block(b, 8, 3, at, "\1\0\1");
    buf_addz(b, footer);
}

TEST(transitions_hold_from_their_second_on)
{
    struct buf b;
    struct zone *z;
    make_file(&b, "\nXXX-1XXY,J60,J300\n"); /* a form that is not read: the last offset stays */
    CHECK_OK(zone_parse(buf_str(&b), &z));
    CHECK_EQ(zone_offset_s(z, 999), 3600);
    CHECK_EQ(zone_offset_s(z, 1000), 7200);
    CHECK_EQ(zone_offset_s(z, 2000), 3600);
    CHECK_EQ(zone_offset_s(z, 3000), 7200);
    CHECK_EQ(zone_offset_s(z, 1700000000), 7200);
    zone_close(z);
    buf_clear(&b);
}

TEST(the_footer_rules_the_future)
{
    struct buf b;
    struct zone *z;
    make_file(&b, "\nCET-1CEST,M3.5.0,M10.5.0/3\n");
    CHECK_OK(zone_parse(buf_str(&b), &z));
    int64_t spring =
        (int64_t)civil_to_day((struct civil){2040, 3, 25}) * 86400 + 3600; /* the last Sundays, 01:00 UTC */
    int64_t autumn = (int64_t)civil_to_day((struct civil){2040, 10, 28}) * 86400 + 3600;
    CHECK_EQ(zone_offset_s(z, spring - 1), 3600);
    CHECK_EQ(zone_offset_s(z, spring), 7200);
    CHECK_EQ(zone_offset_s(z, autumn - 1), 7200);
    CHECK_EQ(zone_offset_s(z, autumn), 3600);
    zone_close(z);
    buf_clear(&b);
    make_file(&b, "\n<+0530>-5:30\n");
    CHECK_OK(zone_parse(buf_str(&b), &z));
    CHECK_EQ(zone_offset_s(z, 4000), 19800);
    zone_close(z);
    buf_clear(&b);
}

TEST(cut_and_changed_files_are_refused_or_read)
{
    struct buf b;
    make_file(&b, "\nCET-1CEST,M3.5.0,M10.5.0/3\n");
    for (size_t n = 0; n < b.len; n++) { /* exact copies: a sanitizer sees a read behind the end */
        char *copy = mem_strndup(MEM_MISC, b.ptr, b.len);
        char *cut = mem_alloc(MEM_MISC, n);
        memcpy(cut, copy, n);
        struct zone *z = NULL;
        if (zone_parse(str_make(cut, n), &z) == RAG_OK)
            zone_offset_s(z, 1700000000);
        zone_close(z);
        for (int x = 1; x < 256; x *= 3) {
            copy[n] ^= (char)x;
            z = NULL;
            if (zone_parse(str_make(copy, b.len), &z) == RAG_OK)
                for (int64_t t = -4000000000; t < 8000000000; t += 999999999)
                    zone_day_start_ms(z, zone_day(z, t * 1000));
            zone_close(z);
        }
        mem_free(MEM_MISC, cut);
        mem_free(MEM_MISC, copy);
    }
    CHECK_EQ(zone_parse(STR_LIT(""), &(struct zone *){0}), RAG_EFORMAT);
    buf_clear(&b);
}

/* Every zone of this machine against the C library, which reads the same files; the process has one thread here. */
TEST(zones_agree_with_the_c_library)
{
    static const char *const names[] = {"Europe/Berlin",       "America/New_York", "America/St_Johns",
                                        "Australia/Lord_Howe", "Asia/Kolkata",     "Europe/Dublin",
                                        "America/Santiago",    "Pacific/Apia"};
    if (access("/usr/share/zoneinfo/Europe/Berlin", R_OK) != 0) {
        print_message("no tzdata on this machine: not compared\n");
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct zone *z = zone(names[i]);
        setenv("TZ", names[i], 1);
        tzset();
        for (int64_t t = -2000000000; t < 4000000000; t += 35717) {
            time_t tt = (time_t)t;
            struct tm tm;
            localtime_r(&tt, &tm);
            if (zone_offset_s(z, t) != tm.tm_gmtoff) {
                print_error("%s at %lld: %d, not %ld\n", names[i], (long long)t, zone_offset_s(z, t),
                            tm.tm_gmtoff);
                fail();
            }
        }
        zone_close(z);
    }
    unsetenv("TZ");
}
