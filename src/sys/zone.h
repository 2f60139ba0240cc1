/* sys/zone.h - civil dates in a time zone. Immutable once open: any thread. No TZ, no localtime: those are the process's.
 *
 * Days are counted from 1970-01-01 in the zone, which is day 0. */
#ifndef RAGD_SYS_ZONE_H
#define RAGD_SYS_ZONE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"

struct zone;
/* "UTC"; "+08:00" or "-03:30", up to 14 hours; or an IANA name, read from /usr/share/zoneinfo. "Asia/Shanghai" is built in
 * as +08:00, true since 1992, so it needs no files. RAG_EINVAL: no such zone; RAG_EFORMAT: its file is damaged. */
RAG_MUST_CHECK rag_code zone_open(const char *name, struct zone **out, struct rag_err *err);
void zone_close(struct zone *z); /* NULL is fine */
/* The same from the bytes of a TZif file, version 2 or later (RFC 8536). */
RAG_MUST_CHECK rag_code zone_parse(struct str bytes, struct zone **out);

/* Seconds to add to UTC. After the file's last transition its rule for the future holds, if it names days as "the n-th
 * weekday of a month" (all zones that change clocks today do, but for a few of changing law); else the last offset. */
int32_t zone_offset_s(const struct zone *z, int64_t unix_s);

int32_t zone_day(const struct zone *z, int64_t unix_ms);
int64_t zone_day_start_ms(const struct zone *z, int32_t day); /* its first millisecond, Unix ms */

struct civil {
    int32_t year;
    uint32_t month, day; /* 1..12, 1..31 */
};
/* Proleptic Gregorian calendar. Days of the years -9999 to 9999; others are cut to this range. */
struct civil civil_of_day(int32_t day);
int32_t civil_to_day(struct civil c);
void civil_format(int32_t day, char out[16]);         /* "2026-11-24" */
bool civil_parse(struct str text, int32_t *day);      /* exactly YYYY-MM-DD, a day that exists */

#endif
