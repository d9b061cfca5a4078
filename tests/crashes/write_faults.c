/* A preload library: kills the process at the n-th call that changes a file below a folder, lets such
 * calls fail, or records them. Compiled by the tests. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum mode { COUNT, KILL_BEFORE, KILL_AFTER, KILL_HALFWAY, FAIL_ONCE, FAIL_FROM_THERE, SHORT, INTERRUPT };
enum kind { CREATE, WRITE, TRUNCATE, SYNC, LINK, RENAME, UNLINK, MODE, SYNC_FOLDER };

static char folder[PATH_MAX];
static int armed, mode, error_number, log_fd = -1;
static long chosen, count;

void faults_arm(const char *path, int new_mode, long index, int error, int log) {
    snprintf(folder, sizeof folder, "%s/", path);
    mode = new_mode;
    chosen = index;
    error_number = error;
    log_fd = log;
    count = 0;
    armed = 1;
}

long faults_count(void) {
    armed = 0;
    return count;
}

#define REAL(name) ((__typeof__(&name))real_function(#name))

static void *real_function(const char *name) { return dlsym(RTLD_NEXT, name); }

static int is_below(const char *path) {
    return path[0] != '/' || strncmp(path, folder, strlen(folder)) == 0;
}

static int is_counted(int fd) {
    char link[64], path[PATH_MAX];
    struct stat status;
    if (!armed || fd == log_fd || syscall(SYS_fstat, fd, &status) != 0) return 0;
    if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = syscall(SYS_readlink, link, path, sizeof path - 2);
    if (size <= 0) return 0;
    strcpy(path + size, "/");
    return is_below(path);
}

static long inode_of(int fd) {
    struct stat status;
    return syscall(SYS_fstat, fd, &status) == 0 ? (long)status.st_ino : -1;
}

static long inode_at(const char *path) {
    struct stat status;
    return syscall(SYS_stat, path, &status) == 0 ? (long)status.st_ino : -1;
}

static void record(int kind, long inode, long offset, const char *first, const char *second,
                   const void *data, size_t size) {
    int64_t head[6] = {kind, inode, offset, (int64_t)strlen(first), (int64_t)strlen(second),
                       (int64_t)size};
    if (log_fd < 0) return;
    syscall(SYS_write, log_fd, head, sizeof head);
    syscall(SYS_write, log_fd, first, strlen(first));
    syscall(SYS_write, log_fd, second, strlen(second));
    if (data != NULL) syscall(SYS_write, log_fd, data, size);
}

static void die(void) {
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    for (;;) pause();
}

enum effect { NAMES, WAITS, NEEDS_ROOM }; /* what a call may fail for; the last two may be interrupted */

/* Counts a call in; 1: it must fail with errno set. */
static int begins(enum effect effect) {
    long index = count++;
    if (mode == FAIL_FROM_THERE && index >= chosen && effect == NEEDS_ROOM) {
        errno = error_number;
        return 1;
    }
    if (index != chosen) return 0;
    if (mode == KILL_BEFORE) die();
    if (mode == FAIL_ONCE || (mode == INTERRUPT && effect != NAMES)) {
        errno = mode == INTERRUPT ? EINTR : error_number;
        return 1;
    }
    return 0;
}

static int is_chosen(int of_mode) { return mode == of_mode && count - 1 == chosen; }

static ssize_t write_all_of(int fd, const struct iovec *parts, int number, off_t at) {
    ssize_t total = 0, limit;
    for (int i = 0; i < number; i++) total += (ssize_t)parts[i].iov_len;
    if (begins(NEEDS_ROOM)) return -1;
    limit = is_chosen(KILL_HALFWAY) || is_chosen(SHORT) ? total / 2 : total;
    if (limit == 0) limit = total;
    total = 0;
    off_t begin = at >= 0 ? at : lseek(fd, 0, SEEK_CUR);
    for (int i = 0; i < number && total < limit; i++) {
        size_t size = parts[i].iov_len;
        if ((ssize_t)size > limit - total) size = (size_t)(limit - total);
        ssize_t done = syscall(SYS_pwrite64, fd, parts[i].iov_base, size, begin + total);
        if (done < 0) return total ? total : -1;
        record(WRITE, inode_of(fd), begin + total, "", "", parts[i].iov_base, (size_t)done);
        total += done;
        if ((size_t)done < size) break;
    }
    if (at < 0) lseek(fd, begin + total, SEEK_SET);
    if (is_chosen(KILL_HALFWAY) || is_chosen(KILL_AFTER)) die();
    return total;
}

ssize_t write(int fd, const void *data, size_t size) {
    struct iovec part = {(void *)data, size};
    if (!is_counted(fd)) return syscall(SYS_write, fd, data, size);
    return write_all_of(fd, &part, 1, -1);
}

ssize_t writev(int fd, const struct iovec *parts, int number) {
    if (!is_counted(fd)) return syscall(SYS_writev, fd, parts, number);
    return write_all_of(fd, parts, number, -1);
}

#define POSITIONED(NAME, OFFSET)                                                  \
    ssize_t NAME(int fd, const void *data, size_t size, OFFSET at) {              \
        struct iovec part = {(void *)data, size};                                 \
        if (!is_counted(fd)) return syscall(SYS_pwrite64, fd, data, size, at);    \
        return write_all_of(fd, &part, 1, at);                                    \
    }
POSITIONED(pwrite, off_t)
POSITIONED(pwrite64, off64_t)

#define POSITIONED_PARTS(NAME, OFFSET)                                            \
    ssize_t NAME(int fd, const struct iovec *parts, int number, OFFSET at) {      \
        if (!is_counted(fd)) return REAL(NAME)(fd, parts, number, at);            \
        return write_all_of(fd, parts, number, at);                               \
    }
POSITIONED_PARTS(pwritev, off_t)
POSITIONED_PARTS(pwritev64, off64_t)

#define POSITIONED_FLAGS(NAME, OFFSET)                                            \
    ssize_t NAME(int fd, const struct iovec *parts, int number, OFFSET at, int flags) { \
        if (!is_counted(fd)) return REAL(NAME)(fd, parts, number, at, flags);     \
        return write_all_of(fd, parts, number, at);                               \
    }
POSITIONED_FLAGS(pwritev2, off_t)
POSITIONED_FLAGS(pwritev64v2, off64_t)

#define TRUNCATING(NAME, OFFSET)                                                  \
    int NAME(int fd, OFFSET size) {                                               \
        if (!is_counted(fd)) return (int)syscall(SYS_ftruncate, fd, size);        \
        if (begins(WAITS)) return -1;                                                 \
        int result = (int)syscall(SYS_ftruncate, fd, size);                       \
        record(TRUNCATE, inode_of(fd), size, "", "", NULL, 0);                    \
        if (is_chosen(KILL_AFTER)) die();                                         \
        return result;                                                            \
    }
TRUNCATING(ftruncate, off_t)
TRUNCATING(ftruncate64, off64_t)

#define SYNCING(NAME, NUMBER)                                                     \
    int NAME(int fd) {                                                            \
        char link[64], path[PATH_MAX];                                            \
        struct stat status;                                                       \
        if (!is_counted(fd)) return (int)syscall(NUMBER, fd);                     \
        if (begins(WAITS)) return -1;                                                 \
        syscall(SYS_fstat, fd, &status);                                          \
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);                      \
        ssize_t size = syscall(SYS_readlink, link, path, sizeof path - 1);        \
        path[size > 0 ? size : 0] = 0;                                            \
        record(S_ISDIR(status.st_mode) ? SYNC_FOLDER : SYNC, (long)status.st_ino, 0, path, "",    \
               NULL, 0);                                                          \
        if (is_chosen(KILL_AFTER)) die();                                         \
        return 0; /* nothing here needs the disk */                               \
    }
SYNCING(fsync, SYS_fsync)
SYNCING(fdatasync, SYS_fdatasync)

#define TWO_PATHS(NAME, KIND, NUMBER)                                             \
    int NAME(const char *from, const char *to) {                                  \
        if (!armed || !is_below(to)) return (int)syscall(NUMBER, from, to);       \
        if (begins(NAMES)) return -1;                                                 \
        int result = (int)syscall(NUMBER, from, to);                              \
        if (result == 0) record(KIND, inode_at(to), 0, from, to, NULL, 0);        \
        if (is_chosen(KILL_AFTER)) die();                                         \
        return result;                                                            \
    }
TWO_PATHS(rename, RENAME, SYS_rename)
TWO_PATHS(link, LINK, SYS_link)

int unlink(const char *path) {
    if (!armed || !is_below(path)) return (int)syscall(SYS_unlink, path);
    if (begins(NAMES)) return -1;
    int result = (int)syscall(SYS_unlink, path);
    if (result == 0) record(UNLINK, -1, 0, path, "", NULL, 0);
    if (is_chosen(KILL_AFTER)) die();
    return result;
}

int fchmod(int fd, mode_t permissions) {
    if (!is_counted(fd)) return (int)syscall(SYS_fchmod, fd, permissions);
    if (begins(NAMES)) return -1;
    int result = (int)syscall(SYS_fchmod, fd, permissions);
    record(MODE, inode_of(fd), 0, "", "", NULL, 0);
    if (is_chosen(KILL_AFTER)) die();
    return result;
}

static int open_counted(int at, const char *path, int flags, mode_t permissions) {
    int changes = armed && (flags & (O_CREAT | O_TRUNC)) && is_below(path);
    int is_new = changes && inode_at(path) < 0;
    if (changes && !is_new && !(flags & O_TRUNC)) changes = 0;
    if (changes && begins(NEEDS_ROOM)) return -1;
    int fd = (int)syscall(SYS_openat, at, path, flags, permissions);
    if (fd < 0 || !changes) return fd;
    if (is_new)
        record(CREATE, inode_of(fd), 0, path, "", NULL, 0);
    else
        record(TRUNCATE, inode_of(fd), 0, "", "", NULL, 0);
    if (is_chosen(KILL_AFTER)) die();
    return fd;
}

#define OPENING(NAME)                                                             \
    int NAME(const char *path, int flags, ...) {                                  \
        va_list rest;                                                             \
        va_start(rest, flags);                                                    \
        mode_t permissions = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;        \
        va_end(rest);                                                             \
        return open_counted(AT_FDCWD, path, flags, permissions);                  \
    }
OPENING(open)
OPENING(open64)
