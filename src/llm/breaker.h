/* llm/breaker.h - the circuit breaker of one model at one upstream. No lock: the net thread's. Times: clock_mono_ns.
 *
 * closed --failures in a row--> open --open_s--> half-open, one probe at a time --successes--> closed; one failure there
 * --> open again. An answer that was already on its way when the breaker opened counts for nothing but its own sake. */
#ifndef RAGD_LLM_BREAKER_H
#define RAGD_LLM_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

struct breaker_rules {
    uint32_t failures, successes;
    int64_t open_ns;
};
enum breaker_state { BREAKER_CLOSED, BREAKER_HALF_OPEN, BREAKER_OPEN };
const char *breaker_state_name(enum breaker_state s); /* "closed", "half_open", "open" */

/* Attempts that start within the same moment do not end in that order: failures are quick, and of a hundred at once the
 * failed tenth comes back first. "In a row" is therefore the order of their starts. Of so many the outcome is kept; an
 * attempt that is still out when that many others have started counts as no failure. */
enum { BREAKER_WINDOW = 2048 };
struct breaker { /* zeroed: closed */
    enum breaker_state state;
    uint32_t failures;  /* in a row around the last one, while closed */
    uint32_t successes; /* while half-open */
    bool probing;       /* half-open: the probe is out */
    int64_t opened_ns;
    uint64_t generation; /* grows with each change of state: an attempt remembers it */
    uint64_t times_opened, refused;
    uint64_t started;                /* attempts of this generation */
    uint8_t outcome[BREAKER_WINDOW]; /* ring by number of start */
};
/* What an attempt keeps between enter and report. */
struct breaker_ticket {
    uint64_t generation;
    uint64_t number; /* of its start, in its generation */
    bool probe;
};
/* May an attempt start now? Takes the probe's place when half-open. */
bool breaker_enter(struct breaker *b, const struct breaker_rules *r, int64_t now_ns, struct breaker_ticket *out);
/* Exactly one of these for each attempt that entered; ignore: it says nothing about the upstream (cancelled, a 4xx). */
void breaker_succeed(struct breaker *b, const struct breaker_rules *r, int64_t now_ns, struct breaker_ticket t);
void breaker_fail(struct breaker *b, const struct breaker_rules *r, int64_t now_ns, struct breaker_ticket t);
void breaker_ignore(struct breaker *b, struct breaker_ticket t);
/* Would breaker_enter say yes? Changes nothing. */
bool breaker_allows(const struct breaker *b, const struct breaker_rules *r, int64_t now_ns);
int64_t breaker_retry_in_ns(const struct breaker *b, const struct breaker_rules *r, int64_t now_ns); /* 0: now, or
                                                                  when the probe that is out comes back */

#endif
