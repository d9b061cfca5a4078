/* Calls of the fuzzed reader that fail on purpose; included after all other headers, which must not
 * see these names.
 *
 * `failing_calls` counts down; at 0 one call fails, as the system's would, and is counted. A read that
 * is short or interrupted must do no harm, so it does not count. */
#ifndef SPRINTCACHE_FUZZ_FAILING_CALLS_H
#define SPRINTCACHE_FUZZ_FAILING_CALLS_H

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_FAILS, READ_IS_INTERRUPTED, READ_IS_SHORT, READ_ENDS, WAYS_TO_FAIL };

static int64_t failing_calls = -1; /* calls until the one that fails; below 0: none fails */
static int64_t failed_calls = 0;
static int failing_read = READ_FAILS;

static inline int call_fails(void) {
    if (failing_calls < 0 || failing_calls-- > 0) return 0;
    failed_calls++;
    return 1;
}

static inline void *failing_malloc(size_t size) { return call_fails() ? NULL : malloc(size); }

static inline void *failing_calloc(size_t count, size_t size) {
    return call_fails() ? NULL : calloc(count, size);
}

static inline void *failing_realloc(void *at, size_t size) {
    return call_fails() ? NULL : realloc(at, size);
}

static inline ssize_t failing_pread(int fd, void *to, size_t size, off_t at) {
    if (!call_fails()) return pread(fd, to, size, at);
    if (failing_read == READ_ENDS) return 0;
    errno = failing_read == READ_FAILS ? EIO : EINTR;
    if (failing_read == READ_FAILS) return -1;
    failed_calls--;
    return failing_read == READ_IS_SHORT && size > 1 ? pread(fd, to, size / 2, at) : -1;
}

static inline int failing_fstat(int fd, struct stat *status) {
    if (!call_fails()) return fstat(fd, status);
    errno = EIO;
    return -1;
}

static inline int failing_stat(const char *path, struct stat *status) {
    if (!call_fails()) return stat(path, status);
    errno = EACCES;
    return -1;
}

enum { HEAP_ALIGNMENT = 16, PAGE_MASK = 4095 };

/* Anonymous memory comes from the heap, without a call of the system. It never begins at a page border,
 * as mappings do; the address to free precedes it. */
static inline void *failing_mmap(void *at, size_t size, int protection, int flags, int fd,
                                 off_t offset) {
    if (call_fails()) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    if (fd >= 0) return mmap(at, size, protection, flags, fd, offset);
    char *base = calloc(1, size + 2 * HEAP_ALIGNMENT), *memory = base + HEAP_ALIGNMENT;
    if (base == NULL) return MAP_FAILED;
    if (((uintptr_t)memory & PAGE_MASK) == 0) memory += HEAP_ALIGNMENT;
    ((void **)memory)[-1] = base;
    return memory;
}

static inline int heap_munmap(void *at, size_t size) {
    if (((uintptr_t)at & PAGE_MASK) == 0) return munmap(at, size);
    free(((void **)at)[-1]);
    return 0;
}

#define malloc failing_malloc
#define calloc failing_calloc
#define realloc failing_realloc
#define pread failing_pread
#define stat(path, status) failing_stat(path, status) /* and not `struct stat` */
#define fstat(fd, status) failing_fstat(fd, status)
#define mmap failing_mmap
#define munmap heap_munmap

#endif
