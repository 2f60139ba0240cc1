/* sys/epoch.h - readers pin, writers retire: memory is freed when no pin is old enough to have seen it.
 *
 * One domain for the process. Readers never block and never allocate after their first pin. */
#ifndef RAGD_SYS_EPOCH_H
#define RAGD_SYS_EPOCH_H

/* What a pinned reader loads stays valid until its unpin. Pins nest. At most EPOCH_THREADS threads at a time
 * may ever hold a pin; one more stops the process (RAG_ASSERT). Load the shared pointer with seq_cst order. */
enum { EPOCH_THREADS = 512 };
void epoch_pin(void);
void epoch_unpin(void);

/* Calls free_fn(p) once no reader that pinned before this call is left; now or in a later retire or collect.
 * The pointer must already be unreachable for new readers (stored with seq_cst order). Any thread. When memory is
 * out it waits for those readers; a caller that holds a pin itself leaks p then. */
void epoch_retire(void *p, void (*free_fn)(void *));
/* Frees what can be freed. Returns how many wait. */
unsigned epoch_collect(void);

#endif
