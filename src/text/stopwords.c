#include "text/stopwords.h"

#include <stdlib.h>

/* In memcmp order (a unit test checks it). English: articles, pronouns, auxiliaries, prepositions,
 * conjunctions, question words. Chinese: particles, pronouns, question words, politeness. */
static const char *const words[] = {
#include "text/stopwords.inc"
};

static int order(const void *key, const void *elem)
{
    return str_cmp(*(const struct str *)key, str_of(*(const char *const *)elem));
}

bool stopword_is(struct str w)
{
    return bsearch(&w, words, sizeof words / sizeof words[0], sizeof words[0], order) != NULL;
}
