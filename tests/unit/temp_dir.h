/* tests/unit/temp_dir.h - a folder for one test: temp_dir_make() names it in `dir`, temp_dir_drop() removes it with all that
 * is in it. */
#ifndef RAGD_TEST_TEMP_DIR_H
#define RAGD_TEST_TEMP_DIR_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char dir[64];

static int temp_dir_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline void temp_dir_make(void)
{
    strcpy(dir, "/tmp/ragd-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
}

static inline void temp_dir_drop(void)
{
    nftw(dir, temp_dir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
