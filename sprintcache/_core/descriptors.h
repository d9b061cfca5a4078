/* Open files of all archives of the process, within one budget derived from RLIMIT_NOFILE.
 *
 * A source owns an sc_descriptor. Taking one that is open costs two atomic operations. The cache
 * is one user of each open descriptor; to evict the least recently used one, it drops that user. The
 * last user closes the file. Files are opened outside of the lock. */
#ifndef SPRINTCACHE_DESCRIPTORS_H
#define SPRINTCACHE_DESCRIPTORS_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

#include "system.h"

#define SC_MAX_OPEN 512 /* whatever the limit is: an open file costs the system memory */

typedef struct {
    int fd;        /* valid while users > 0 */
    int index;     /* in sc_open_files, while the cache is a user */
    int64_t users; /* the cache and the reads in progress; 0: closed */
} sc_descriptor;

static sc_descriptor *sc_open_files[SC_MAX_OPEN];
static uint64_t sc_stamps[SC_MAX_OPEN]; /* of their last uses, apart, so that a search is short */
static int sc_num_open = 0;
static uint64_t sc_last_stamp = 0;
static pthread_mutex_t sc_open_lock = PTHREAD_MUTEX_INITIALIZER;

static void sc_lock_open_files(void) { pthread_mutex_lock(&sc_open_lock); }
static void sc_unlock_open_files(void) { pthread_mutex_unlock(&sc_open_lock); }

/* Once, at import: a child must not inherit the lock from a thread that it does not have. */
static int sc_prepare_descriptors(void) {
    return pthread_atfork(sc_lock_open_files, sc_unlock_open_files, sc_unlock_open_files);
}

/* Half of the files that the process may open now; the other half is left to the program. */
static int sc_open_budget(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur / 2 > SC_MAX_OPEN)
        return SC_MAX_OPEN;
    return limit.rlim_cur < 2 ? 1 : (int)(limit.rlim_cur / 2);
}

/* Stamps are read and written without the lock too. */
static inline uint64_t sc_stamp_of(int index) {
    return __atomic_load_n(&sc_stamps[index], __ATOMIC_RELAXED);
}

static inline void sc_set_stamp(int index, uint64_t stamp) {
    __atomic_store_n(&sc_stamps[index], stamp, __ATOMIC_RELAXED);
}

static inline uint64_t sc_next_stamp(void) {
    uint64_t stamp = __atomic_load_n(&sc_last_stamp, __ATOMIC_RELAXED) + 1;
    __atomic_store_n(&sc_last_stamp, stamp, __ATOMIC_RELAXED); /* ties do no harm */
    return stamp;
}

/* Ends a use; the last user closes the file. */
static void sc_drop(sc_descriptor *d, int fd) {
    if (sc_count_out(&d->users)) close(fd);
}

/* Under the lock: removes a file from the cache. */
static void sc_evict(int index) {
    sc_descriptor *d = sc_open_files[index];
    sc_num_open--;
    sc_open_files[index] = sc_open_files[sc_num_open];
    sc_set_stamp(index, sc_stamp_of(sc_num_open));
    __atomic_store_n(&sc_open_files[index]->index, index, __ATOMIC_RELAXED);
    sc_drop(d, d->fd);
}

/* Under the lock. */
static void sc_evict_oldest(void) {
    int oldest = 0;
    for (int i = 1; i < sc_num_open; i++)
        if (sc_stamp_of(i) < sc_stamp_of(oldest)) oldest = i;
    sc_evict(oldest);
}

/* openat that never waits for a pipe; evicts files of the cache while the process has too many. */
static int sc_open(int folder, const char *path, int flags) {
    for (;;) {
        int fd = openat(folder, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags);
        if (fd >= 0) return fd;
        if (errno == EINTR) continue;
        if (errno != EMFILE && errno != ENFILE) return -1;
        int error = errno, evicted = 0;
        sc_lock_open_files();
        if (sc_num_open > 0) {
            sc_evict_oldest();
            evicted = 1;
        }
        sc_unlock_open_files();
        if (!evicted) {
            errno = error;
            return -1;
        }
    }
}

/* The file of an open descriptor, to be dropped after use, or -1. */
static inline int sc_take(sc_descriptor *d) {
    if (!sc_count_in(&d->users)) return -1;
    uint64_t stamp = sc_next_stamp();
    /* the stamp of another file, while that moves, does no harm either */
    sc_set_stamp(__atomic_load_n(&d->index, __ATOMIC_RELAXED), stamp);
    return d->fd;
}

/* Takes a file that was just opened into the cache; returns the one to use, to be dropped. */
static int sc_keep(sc_descriptor *d, int fd) {
    sc_lock_open_files();
    int other = sc_take(d);
    if (other >= 0) { /* another thread was faster */
        sc_unlock_open_files();
        close(fd);
        return other;
    }
    int budget = sc_open_budget();
    while (sc_num_open >= budget) sc_evict_oldest();
    d->fd = fd;
    __atomic_store_n(&d->index, sc_num_open, __ATOMIC_RELAXED);
    sc_set_stamp(sc_num_open, sc_next_stamp());
    sc_open_files[sc_num_open++] = d;
    __atomic_store_n(&d->users, 2, __ATOMIC_RELEASE); /* the cache and the caller */
    sc_unlock_open_files();
    return fd;
}

/* Closes the file before the descriptor goes away; no read may be in progress. */
static void sc_forget(sc_descriptor *d) {
    sc_lock_open_files();
    if (d->index < sc_num_open && sc_open_files[d->index] == d) sc_evict(d->index);
    sc_unlock_open_files();
}

#endif
