/* Numbered rules; the tests cite them.
 * 1. closed: `failures` failures in a row, in the order of their starts, open it; a success or an attempt that is still out
 *    ends a row, one that is ignored does not.
 * 2. open: nobody enters for open_ns; the first to ask afterwards is the first probe of half-open.
 * 3. half-open: one probe at a time; `successes` of them close it, one failure opens it.
 * 4. Each change of state is a new generation. A ticket of an earlier one changes nothing: while a probe is out, only its
 *    own report can change the state, so a probe's ticket is never stale. */
#include "llm/breaker.h"

enum outcome { OUT, FAILED, SUCCEEDED, IGNORED };

const char *breaker_state_name(enum breaker_state s)
{
    static const char *const names[] = {"closed", "half_open", "open"};
    return names[s];
}

static void change(struct breaker *b, enum breaker_state to)
{
    b->state = to;
    b->generation++;
    b->failures = b->successes = 0;
    b->started = 0;
    b->probing = false;
}

static void trip(struct breaker *b, int64_t now_ns)
{
    change(b, BREAKER_OPEN);
    b->opened_ns = now_ns;
    b->times_opened++;
}

bool breaker_allows(const struct breaker *b, const struct breaker_rules *r, int64_t now_ns)
{
    switch (b->state) {
    case BREAKER_OPEN: return now_ns - b->opened_ns >= r->open_ns;
    case BREAKER_HALF_OPEN: return !b->probing;
    default: return true;
    }
}

bool breaker_enter(struct breaker *b, const struct breaker_rules *r, int64_t now_ns,
                   struct breaker_ticket *out)
{
    if (!breaker_allows(b, r, now_ns)) {
        b->refused++;
        return false;
    }
    if (b->state == BREAKER_OPEN)
        change(b, BREAKER_HALF_OPEN);
    b->probing = b->state == BREAKER_HALF_OPEN;
    *out = (struct breaker_ticket){b->generation, b->started, b->probing};
    b->outcome[b->started++ % BREAKER_WINDOW] = OUT;
    return true;
}

/* An attempt is back. False: a stale ticket. */
static bool arrive(struct breaker *b, struct breaker_ticket t, enum outcome o)
{
    if (t.generation != b->generation)
        return false;
    if (t.probe)
        b->probing = false;
    if (b->started - t.number <= BREAKER_WINDOW)
        b->outcome[t.number % BREAKER_WINDOW] = (uint8_t)o;
    return true;
}

/* Failures in a row around number i, at most `most`. */
static uint32_t row(const struct breaker *b, uint64_t i, uint32_t most)
{
    uint64_t first = b->started > BREAKER_WINDOW ? b->started - BREAKER_WINDOW : 0;
    uint32_t n = 0;
    for (uint64_t k = i + 1; k-- > first && n < most; n += b->outcome[k % BREAKER_WINDOW] == FAILED)
        if (b->outcome[k % BREAKER_WINDOW] == OUT || b->outcome[k % BREAKER_WINDOW] == SUCCEEDED)
            break;
    for (uint64_t k = i + 1; k < b->started && n < most; n += b->outcome[k % BREAKER_WINDOW] == FAILED, k++)
        if (b->outcome[k % BREAKER_WINDOW] == OUT || b->outcome[k % BREAKER_WINDOW] == SUCCEEDED)
            break;
    return n;
}

void breaker_succeed(struct breaker *b, const struct breaker_rules *r, int64_t now_ns,
                     struct breaker_ticket t)
{
    (void)now_ns;
    if (!arrive(b, t, SUCCEEDED))
        return;
    if (b->state == BREAKER_CLOSED)
        b->failures = 0;
    else if (++b->successes >= r->successes)
        change(b, BREAKER_CLOSED);
}

void breaker_fail(struct breaker *b, const struct breaker_rules *r, int64_t now_ns, struct breaker_ticket t)
{
    if (!arrive(b, t, FAILED) || b->started - t.number > BREAKER_WINDOW)
        return;
    b->failures = row(b, t.number, r->failures);
    if (b->state == BREAKER_HALF_OPEN || b->failures >= r->failures)
        trip(b, now_ns);
}

void breaker_ignore(struct breaker *b, struct breaker_ticket t)
{
    (void)arrive(b, t, IGNORED);
}

int64_t breaker_retry_in_ns(const struct breaker *b, const struct breaker_rules *r, int64_t now_ns)
{
    int64_t gone = now_ns - b->opened_ns;
    return b->state == BREAKER_OPEN && gone < r->open_ns ? r->open_ns - gone : 0;
}
