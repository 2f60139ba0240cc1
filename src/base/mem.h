/* base/mem.h - the process allocator: counted per tag, and able to fail on demand in tests.
 * Thread-safe. Every function returns NULL when memory is out; callers map it to RAG_ENOMEM. */
#ifndef RAGD_BASE_MEM_H
#define RAGD_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mem_tag {
    MEM_MISC,
    MEM_REQUEST,
    MEM_TEXT,
    MEM_INDEX,
    MEM_STORE,
    MEM_EXTRACT,
    MEM_API,
    MEM_MODEL,
    MEM_TAGS
};

void *mem_alloc(enum mem_tag tag, size_t n);            /* uninitialised; n == 0 gives a valid pointer */
void *mem_zalloc(enum mem_tag tag, size_t n);           /* zeroed */
void *mem_realloc(enum mem_tag tag, void *p, size_t n); /* p may be NULL; on failure p stays valid */
char *mem_strndup(enum mem_tag tag, const char *s, size_t n); /* NUL-terminated copy */
void mem_free(enum mem_tag tag, void *p); /* NULL is fine; the tag it was allocated with */

int64_t mem_in_use(enum mem_tag tag); /* bytes, as the C library rounds them */
const char *mem_tag_name(enum mem_tag tag);

/* Tests: the nth allocation (1-based) from now on returns NULL, once. disarm says whether it fired. */
void fault_arm_alloc(unsigned nth);
bool fault_disarm(void);

/* Checked size arithmetic for sizes that come from outside. */
static inline bool size_mul_ok(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool size_add_ok(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

#endif
