/* Whole files, clocks, random bytes. */
#include "sys/file.h"

#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "sys/clock.h"
#include "sys/random.h"

static char dir[64];

static const char *in_dir(const char *name)
{
    static char path[4][256];
    static int next;
    if (!dir[0]) {
        strcpy(dir, "/tmp/ragd-file-XXXXXX");
        assert_non_null(mkdtemp(dir));
    }
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s%s%s", dir, *name ? "/" : "", name);
    return p;
}

static void check_content(const char *path, const char *want, size_t n)
{
    struct buf b;
    buf_init(&b, MEM_MISC);
    CHECK_OK(file_read_all(path, 1 << 20, &b, NULL));
    CHECK_EQ(b.len, n);
    CHECK(n == 0 || memcmp(b.ptr, want, n) == 0);
    buf_clear(&b);
}

TEST(an_atomic_write_replaces_and_leaves_no_temporary)
{
    CHECK_OK(file_write_atomic(in_dir(""), "a", "first", 5, NULL));
    check_content(in_dir("a"), "first", 5);
    CHECK_OK(file_write_atomic(in_dir(""), "a", "se\0cond", 7, NULL));
    check_content(in_dir("a"), "se\0cond", 7);
    CHECK_OK(file_write_atomic(in_dir(""), "a", NULL, 0, NULL));
    check_content(in_dir("a"), "", 0);
    CHECK(access(in_dir("a.tmp"), F_OK) != 0);
    struct stat st;
    CHECK_EQ(stat(in_dir("a"), &st), 0);
    CHECK_EQ(st.st_mode & 0777, 0600);
}

TEST(a_write_that_cannot_finish_leaves_the_old_file)
{
    CHECK_OK(file_write_atomic(in_dir(""), "kept", "old", 3, NULL));
    static char big[100000];
    pid_t child = fork();
    if (child == 0) { /* a limit on file size stands for a full disk */
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){4096, 4096});
        struct rag_err err = {0};
        _exit(file_write_atomic(dir, "kept", big, sizeof big, &err) == RAG_ETOOBIG && err.msg[0] ? 0 : 1);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    check_content(in_dir("kept"), "old", 3);
    CHECK(access(in_dir("kept.tmp"), F_OK) != 0);
    CHECK_EQ(file_write_atomic("/nonexistent/folder", "x", "y", 1, NULL), RAG_ENOTFOUND);
    char name[5000];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    CHECK_EQ(file_write_atomic(in_dir(""), name, "y", 1, NULL), RAG_ETOOBIG);
}

TEST(reading_is_bounded_and_appends)
{
    struct rag_err err = {0};
    struct buf b;
    buf_init(&b, MEM_MISC);
    CHECK_OK(file_write_atomic(in_dir(""), "ten", "0123456789", 10, NULL));
    buf_addz(&b, "so: ");
    CHECK_EQ(file_read_all(in_dir("ten"), 9, &b, &err), RAG_ETOOBIG);
    CHECK(strstr(err.msg, "ten") != NULL);
    CHECK_STR(buf_str(&b), "so: ");
    CHECK_OK(file_read_all(in_dir("ten"), 10, &b, NULL));
    CHECK_STR(buf_str(&b), "so: 0123456789");
    CHECK_EQ(file_read_all(in_dir("none"), 10, &b, NULL), RAG_ENOTFOUND);
    CHECK_EQ(file_read_all(in_dir(""), 10, &b, NULL), RAG_EIO); /* a folder */
    CHECK_STR(buf_str(&b), "so: 0123456789");
    bool fired = true;
    for (unsigned nth = 1; fired; nth++) {
        buf_clear(&b);
        fault_arm_alloc(nth);
        rag_code rc = file_read_all(in_dir("ten"), 10, &b, NULL);
        fired = fault_disarm();
        CHECK_EQ(rc, fired ? RAG_ENOMEM : RAG_OK);
    }
    buf_clear(&b);
}

TEST(a_map_shows_the_bytes)
{
    struct file_map m;
    CHECK_OK(file_write_atomic(in_dir(""), "m", "mapped", 6, NULL));
    CHECK_OK(file_map_open(&m, in_dir("m")));
    CHECK_EQ(m.len, 6);
    CHECK(memcmp(m.ptr, "mapped", 6) == 0);
    CHECK_OK(file_write_atomic(in_dir(""), "m", "later", 5, NULL)); /* a replaced file stays mapped */
    CHECK(memcmp(m.ptr, "mapped", 6) == 0);
    CHECK_OK(file_remove(in_dir("m")));
    CHECK(memcmp(m.ptr, "mapped", 6) == 0);
    file_map_clear(&m);
    CHECK(m.ptr == NULL && m.len == 0);
    file_map_clear(&m);
    CHECK_EQ(file_map_open(&m, in_dir("m")), RAG_ENOTFOUND);
    CHECK_OK(file_write_atomic(in_dir(""), "empty", "", 0, NULL));
    CHECK_OK(file_map_open(&m, in_dir("empty")));
    CHECK(m.ptr == NULL && m.len == 0);
    CHECK_EQ(file_map_open(&m, in_dir("")), RAG_EINVAL);
    file_map_clear(&m);
}

TEST(folders_are_made_with_their_parents)
{
    struct stat st;
    CHECK_OK(file_mkdirs(in_dir("x/y//z/"), 0700));
    CHECK_EQ(stat(in_dir("x/y/z"), &st), 0);
    CHECK_EQ(st.st_mode & 0777, 0700);
    CHECK_OK(file_mkdirs(in_dir("x/y/z"), 0700)); /* again */
    CHECK_OK(file_write_atomic(in_dir(""), "file", "", 0, NULL));
    CHECK(file_mkdirs(in_dir("file"), 0700) == RAG_EINVAL);
    CHECK(file_mkdirs(in_dir("file/below"), 0700) == RAG_ENOTFOUND);
    CHECK_EQ(file_mkdirs("", 0700), RAG_EINVAL);
    CHECK_EQ(chdir(dir), 0);
    CHECK_OK(file_mkdirs("relative/one", 0700));
    CHECK_EQ(stat(in_dir("relative/one"), &st), 0);
    CHECK_EQ(chdir("/"), 0);
}

TEST(removing_what_is_not_there_is_fine)
{
    CHECK_OK(file_write_atomic(in_dir(""), "gone", "", 0, NULL));
    CHECK_OK(file_remove(in_dir("gone")));
    CHECK_OK(file_remove(in_dir("gone")));
    CHECK(file_remove(in_dir("")) != RAG_OK);
}

TEST(clocks_and_random_bytes)
{
    int64_t a = clock_mono_ns(), b = clock_mono_ns();
    CHECK(b >= a && a > 0);
    CHECK(clock_unix_ms() > 1600000000000);
    unsigned char p[64] = {0}, q[64] = {0};
    random_bytes(p, sizeof p);
    random_bytes(q, sizeof q);
    CHECK(memcmp(p, q, sizeof p) != 0);
    char hex[33];
    random_hex(hex, 16);
    CHECK_EQ(strlen(hex), 32);
    CHECK_EQ(strspn(hex, "0123456789abcdef"), 32);
}

TEST(zz_clean_up)
{
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf %s", in_dir(""));
    CHECK_EQ(system(cmd), 0);
}
