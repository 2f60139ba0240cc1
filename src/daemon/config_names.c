/* Words near to what was typed. */
#include <stdio.h>
#include <string.h>

#include "daemon/config_loader.h"

/* Edits (insert, delete, replace) between a and b; anything over 32 characters counts as far away. */
static unsigned edit_distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    unsigned row[33];
    if (n > 32 || m > 32)
        return 99;
    for (unsigned j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        unsigned diag = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned best = diag + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diag = row[j];
            row[j] = best;
        }
    }
    return row[m];
}

static bool near_enough(const char *typed, unsigned distance)
{
    return distance <= 1 + strlen(typed) / 4;
}

const char *cfg_suggest_word(const char *const *words, uint32_t n, const char *typed)
{
    const char *best = NULL;
    unsigned best_d = 99;
    for (uint32_t i = 0; i < n; i++) {
        unsigned d = edit_distance(words[i], typed);
        if (d < best_d) {
            best_d = d;
            best = words[i];
        }
    }
    return best && near_enough(typed, best_d) ? best : NULL;
}

/* The path that was meant by the unknown key `word` below `prefix`: a misspelt neighbour, else a key of that
 * name elsewhere. False: no idea. */
bool cfg_suggest_path(const char *prefix, const char *word, char *out, size_t size)
{
    size_t plen = strlen(prefix);
    unsigned best = 99;
    for (uint32_t i = 0; i < config_n_rows; i++) {
        const char *path = config_rows[i].path;
        if (plen && (strncmp(path, prefix, plen) != 0 || path[plen] != '.'))
            continue;
        const char *rest = path + plen + (plen ? 1 : 0);
        char sibling[64];
        snprintf(sibling, sizeof sibling, "%.*s", (int)strcspn(rest, "."), rest);
        unsigned d = edit_distance(sibling, word);
        if (d < best) {
            best = d;
            snprintf(out, size, "%s%s%s", prefix, plen ? "." : "", sibling);
        }
    }
    if (near_enough(word, best))
        return true;
    for (uint32_t i = 0; i < config_n_rows; i++) {
        const char *dot = strrchr(config_rows[i].path, '.');
        if (config_rows[i].type != CFG_LATER &&
            edit_distance(dot ? dot + 1 : config_rows[i].path, word) <= 1) {
            snprintf(out, size, "%s", config_rows[i].path);
            return true;
        }
    }
    return false;
}

bool cfg_is_group(const char *path)
{
    size_t n = strlen(path);
    for (uint32_t i = 0; i < config_n_rows; i++)
        if (strncmp(config_rows[i].path, path, n) == 0 && config_rows[i].path[n] == '.')
            return true;
    return false;
}
