/* One process owns a data folder. */
#include "store/lock.h"

#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char *new_dir(void)
{
    static char dir[64];
    strcpy(dir, "/tmp/ragd-lock-XXXXXX");
    assert_non_null(mkdtemp(dir));
    return dir;
}

static void remove_dir(const char *dir)
{
    char cmd[128];
    snprintf(cmd, sizeof cmd, "chmod -R u+rwx %s; rm -rf %s", dir, dir);
    CHECK_EQ(system(cmd), 0);
}

TEST(the_second_is_told_who_holds_it)
{
    char *dir = new_dir(), path[128];
    struct data_lock a, b;
    struct data_lock_holder h;
    struct rag_err err = {0};
    CHECK_OK(data_lock_take(dir, &a, &h, NULL));
    CHECK_EQ(strlen(a.token), 64);
    snprintf(path, sizeof path, "%s/LOCK", dir);
    struct stat st;
    CHECK_EQ(stat(path, &st), 0);
    CHECK_EQ(st.st_mode & 0777, 0600);

    CHECK_EQ(data_lock_take(dir, &b, &h, &err), RAG_ECONFLICT);
    CHECK_EQ(b.fd, -1);
    CHECK_EQ(h.pid, getpid());
    CHECK(strcmp(h.token, a.token) == 0);
    CHECK(h.address[0] == 0); /* does not serve yet */
    CHECK(strstr(err.msg, dir) != NULL);
    CHECK_OK(data_lock_announce(&a, "http://127.0.0.1:8001", NULL));
    CHECK_EQ(data_lock_take(dir, &b, &h, NULL), RAG_ECONFLICT);
    CHECK(strcmp(h.address, "http://127.0.0.1:8001") == 0);
    CHECK(strcmp(h.token, a.token) == 0);
    CHECK_EQ(data_lock_take(dir, &b, NULL, NULL), RAG_ECONFLICT);

    char first[65];
    strcpy(first, a.token);
    data_lock_release(&a);
    data_lock_release(&a); /* again: fine */
    CHECK_OK(data_lock_take(dir, &b, &h, NULL));
    CHECK(strcmp(first, b.token) != 0); /* a token is good for one start */
    data_lock_release(&b);
    remove_dir(dir);
}

TEST(who_looks_takes_nothing)
{
    char *dir = new_dir(), path[128];
    struct data_lock a;
    struct data_lock_holder h;
    snprintf(path, sizeof path, "%s/LOCK", dir);
    CHECK_OK(data_lock_look(dir, &h)); /* no LOCK yet, and none made */
    CHECK(access(path, F_OK) != 0);
    CHECK_OK(data_lock_take(dir, &a, &h, NULL));
    CHECK_OK(data_lock_announce(&a, "http://127.0.0.1:8001", NULL));
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(data_lock_look(dir, &h), RAG_ECONFLICT);
        CHECK_EQ(h.pid, getpid());
        CHECK(strcmp(h.token, a.token) == 0);
        CHECK(strcmp(h.address, "http://127.0.0.1:8001") == 0);
    }
    data_lock_release(&a);
    CHECK_OK(data_lock_look(dir, &h));
    CHECK_EQ(h.pid, 0);
    CHECK_OK(data_lock_take(dir, &a, &h, NULL)); /* looking left nothing behind */
    data_lock_release(&a);
    remove_dir(dir);
}

TEST(it_goes_with_the_process)
{
    char *dir = new_dir();
    struct data_lock l;
    int ready[2];
    char c;
    CHECK_EQ(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        if (data_lock_take(dir, &l, NULL, NULL) == RAG_OK && write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    CHECK_EQ(read(ready[0], &c, 1), 1);
    struct data_lock_holder h;
    CHECK_EQ(data_lock_take(dir, &l, &h, NULL), RAG_ECONFLICT);
    CHECK_EQ(h.pid, child);
    kill(child, SIGKILL);
    CHECK_EQ(waitpid(child, NULL, 0), child);
    CHECK_OK(data_lock_take(dir, &l, &h, NULL)); /* its remains are written over */
    data_lock_release(&l);
    close(ready[0]);
    close(ready[1]);
    remove_dir(dir);
}

TEST(a_missing_folder_is_made_and_a_loose_LOCK_is_tightened)
{
    char *dir = new_dir(), path[128];
    struct data_lock l;
    struct stat st;
    snprintf(path, sizeof path, "%s/new/data", dir);
    CHECK_OK(data_lock_take(path, &l, NULL, NULL));
    CHECK_EQ(stat(path, &st), 0);
    CHECK_EQ(st.st_mode & 0777, 0700);
    data_lock_release(&l);

    snprintf(path, sizeof path, "%s/LOCK", dir);
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    CHECK(fd >= 0 && fchmod(fd, 0644) == 0 && write(fd, "garbage", 7) == 7);
    close(fd);
    CHECK_OK(data_lock_take(dir, &l, NULL, NULL));
    CHECK_EQ(stat(path, &st), 0);
    CHECK_EQ(st.st_mode & 0777, 0600);
    data_lock_release(&l);
    remove_dir(dir);
}

TEST(garbage_in_LOCK_names_no_holder)
{
    char *dir = new_dir(), path[128];
    struct data_lock l, b;
    struct data_lock_holder h;
    CHECK_OK(data_lock_take(dir, &l, NULL, NULL));
    CHECK_EQ(ftruncate(l.fd, 0), 0);
    CHECK_EQ(pwrite(l.fd, "\xff\xfe nothing", 10, 0), 10);
    CHECK_EQ(data_lock_take(dir, &b, &h, NULL), RAG_ECONFLICT);
    CHECK(h.pid == 0 && !h.token[0] && !h.address[0]);
    data_lock_release(&l);
    snprintf(path, sizeof path, "%s/LOCK/below", dir); /* LOCK is a file */
    CHECK_EQ(data_lock_take(path, &l, NULL, NULL), RAG_ENOTFOUND);
    CHECK_EQ(l.fd, -1);
    remove_dir(dir);
}

TEST(a_read_only_folder_is_said_to_be_one)
{
    char *dir = new_dir();
    CHECK_EQ(chmod(dir, 0555), 0);
    pid_t child = fork();
    if (child == 0) { /* root may write anywhere */
        if (getuid() == 0 && setuid(65534))
            _exit(2);
        struct data_lock l;
        struct rag_err err = {0};
        _exit(data_lock_take(dir, &l, NULL, &err) == RAG_EREADONLY && err.msg[0] ? 0 : 1);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    remove_dir(dir);
}
