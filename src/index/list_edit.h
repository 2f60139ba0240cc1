/* index/list_edit.h - the next list of a collection, made from the current one. Only the writer edits. */
#ifndef RAGD_INDEX_LIST_EDIT_H
#define RAGD_INDEX_LIST_EDIT_H

#include "index/list.h"

/* An empty list. NULL when out of memory. Lists are immutable once published and freed with list_free, which
 * drops their references to segments and live bitmaps. */
struct segment_list *list_new_empty(void);
void list_free(void *list); /* struct segment_list; NULL is fine */

/* The next list: the entries of `cur` but those in `drop` (segments, n_drop), without the documents whose seq
 * is in `dead` (n_dead), plus `add` (a reference is taken; NULL: none) with the live bits `add_live` (copied;
 * NULL: all live). Entries without a live chunk are left out. RAG_ENOMEM. */
struct list_change {
    struct segment *const *drop;
    uint32_t n_drop;
    const int64_t *dead;
    uint32_t n_dead;
    struct segment *add;
    const uint64_t *add_live;
    struct vector_block *add_vectors[VECTOR_SLOTS]; /* of `add`; a reference each is taken; NULL: none */
    /* Entries whose block of a slot is another from now on (a reference is taken): n_set. */
    const struct vectors_set {
        const struct segment *segment;
        uint32_t slot;
        struct vector_block *block; /* NULL: none any more */
    } *set;
    uint32_t n_set;
};
RAG_MUST_CHECK rag_code list_edit(const struct segment_list *cur, const struct list_change *c,
                                  struct segment_list **out);

#endif
