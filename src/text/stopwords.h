/* text/stopwords.h - words that say little about what a question is about. They are indexed; questions weigh
 * them low. */
#ifndef RAGD_TEXT_STOPWORDS_H
#define RAGD_TEXT_STOPWORDS_H

#include <stdbool.h>

#include "base/str.h"

bool stopword_is(
    struct str normalised); /* simplified Chinese or unstemmed English, lower case. Thread-safe */

#endif
