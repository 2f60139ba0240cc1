/* text/chartab.h - one table row per BMP character: what it folds to and what it is. Built once, at first use. */
#ifndef RAGD_TEXT_CHARTAB_H
#define RAGD_TEXT_CHARTAB_H

#include <stdbool.h>
#include <stdint.h>

enum char_class {
    CLASS_OTHER, /* separates terms */
    CLASS_LETTER,
    CLASS_MARK, /* combining: continues a word, never begins one */
    CLASS_DIGIT,
    CLASS_HAN,
    CLASS_SYLLABLE, /* kana, bopomofo, hangul */
};

#define CHAR_CLASS    0x0F
#define CHAR_BOUNDARY 0x10   /* normalisation never joins it to what stands before */
#define CHAR_SINGLE   0x20   /* alone it folds to the one BMP character fold[c] */
#define CHAR_ACCENTED 0x2000 /* latin[] covers code points below this */

struct chartab {
    uint16_t fold[0x10000]; /* NFKC_Casefold, then traditional to simplified */
    uint8_t info[0x10000];
    uint8_t
        latin[CHAR_ACCENTED]; /* ASCII letter under the accents, 0 when it is not a Latin letter with some */
};

const struct chartab *chartab_get(void); /* thread-safe */

uint32_t chartab_simplify(uint32_t cp); /* traditional to simplified; other characters as they are */
enum char_class chartab_class(const struct chartab *t, uint32_t cp);

#endif
