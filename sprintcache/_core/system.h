/* Calls of Linux, and the atomic operations of the reader's life cycle. */
#ifndef SPRINTCACHE_SYSTEM_H
#define SPRINTCACHE_SYSTEM_H

#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static inline int64_t sc_fetch_add(int64_t *counter, int64_t change) {
    return __atomic_fetch_add(counter, change, __ATOMIC_RELAXED);
}

/* One user more, unless the last one is gone: then what the users did has happened before. */
static inline int sc_count_in(int64_t *users) {
    int64_t now = __atomic_load_n(users, __ATOMIC_ACQUIRE);
    while (now > 0)
        if (__atomic_compare_exchange_n(users, &now, now + 1, 1, __ATOMIC_ACQUIRE,
                                        __ATOMIC_ACQUIRE))
            return 1;
    return 0;
}

/* One user less; true for the last one, which must clean up. */
static inline int sc_count_out(int64_t *users) {
    return __atomic_fetch_sub(users, 1, __ATOMIC_ACQ_REL) == 1;
}

static inline void *sc_exchange(void **slot, void *value) {
    return __atomic_exchange_n(slot, value, __ATOMIC_ACQ_REL);
}

static inline void sc_unmark(int *mark) { __atomic_store_n(mark, 0, __ATOMIC_RELEASE); }

/* True for the one caller that sets the mark. */
static inline int sc_mark_once(int *mark) {
    return __atomic_exchange_n(mark, 1, __ATOMIC_ACQ_REL) == 0;
}

/* Bits that threads set in any order. */
static inline uint32_t sc_load_bits(const uint32_t *bits) {
    return __atomic_load_n(bits, __ATOMIC_RELAXED);
}

static inline void sc_set_bits(uint32_t *bits, uint32_t mask) {
    __atomic_fetch_or(bits, mask, __ATOMIC_RELAXED);
}

static inline void sc_store_offset(int64_t *offset, int64_t value) {
    __atomic_store_n(offset, value, __ATOMIC_RELAXED);
}

static inline int64_t sc_load_offset(const int64_t *offset) {
    return __atomic_load_n(offset, __ATOMIC_RELAXED);
}

/* Is the file on a local file system? Unknown ones count as remote. */
static inline int sc_is_local(int fd) {
    struct statfs fs;
    if (fstatfs(fd, &fs) != 0) return 0;
    switch ((uint32_t)fs.f_type) {
    case 0x0000EF53u: /* ext2, ext3, ext4 */
    case 0x58465342u: /* xfs */
    case 0x9123683Eu: /* btrfs */
    case 0x01021994u: /* tmpfs */
    case 0x858458F6u: /* ramfs */
    case 0x794C7630u: /* overlayfs */
    case 0xF2F52010u: /* f2fs */
    case 0x2FC12FC1u: /* zfs */
    case 0xCA451A4Eu: /* bcachefs */
    case 0x73717368u: /* squashfs */
    case 0x00009660u: /* iso9660 */
        return 1;
    default: return 0;
    }
}

/* Starts writing dirty pages to the disk; a hint. */
static inline void sc_start_writing(int fd, int64_t offset, int64_t size) {
    (void)sync_file_range(fd, offset, size, SYNC_FILE_RANGE_WRITE);
}

/* Reserves room beyond the end of the file; 0 on success. In memory (tmpfs) that would only fill the
   pages twice. */
static inline int sc_reserve(int fd, int64_t offset, int64_t size) {
    struct statfs status;
    if (fstatfs(fd, &status) != 0 || status.f_type == 0x01021994) return -1;
    return fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, size);
}

#endif
