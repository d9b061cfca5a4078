# Sources: the files of an archive, how they are opened, mapped, read and checked for changes.
# Needs: externs, faults.

cdef enum SourceKind:
    SOURCE_FILE
    SOURCE_DIRECTORY


cdef struct Source:
    int kind
    bint mapped
    int fd                      # while it is opened, else -1
    sc_descriptor descriptor    # after that, where the file is not mapped
    char *path                  # absolute
    const uint8_t *map          # the whole file, or NULL
    uint64_t size
    dev_t device
    ino_t inode
    int64_t mtime               # nanoseconds
    uint8_t *own_table          # rows in memory of the source; NULL: in the mapping
    const uint8_t *table        # `count` rows: string name, u64 position, u32 size, u32 compressed
    const uint8_t *table_end
    uint32_t count


cdef int pread_all(int fd, void *to, uint64_t size, uint64_t at, Fault *f) noexcept nogil:
    """Reads exactly `size` bytes; goes on after short reads and interrupts."""
    cdef ssize_t n
    cdef uint64_t done = 0
    while done < size:
        n = pread(fd, <uint8_t *>to + done, size - done, <off_t>(at + done))
        if n < 0 and errno == EINTR:
            continue
        if n < 0:
            return fault(f, OS_FAILED, -1, False, errno)
        if n == 0:
            return fault(f, SHORT_READ, <int64_t>(at + done), False, <int64_t>size, <int64_t>done)
        done += n
    return NO_FAULT


cdef int source_read(const Source *s, void *to, uint64_t size, uint64_t at,
                     Fault *f) noexcept nogil:
    """Reads from the mapping, or from the file while it is opened."""
    if s.map == NULL:
        return pread_all(s.fd, to, size, at, f)
    memcpy(to, s.map + at, size)
    return NO_FAULT


cdef bint same_file(const Source *s) noexcept nogil:
    """Is the file at the source's path still the one that was opened?"""
    cdef struct_stat now
    return stat(s.path, &now) == 0 and same_status(s, &now)


cdef inline bint same_status(const Source *s, const struct_stat *now) noexcept nogil:
    """Is this the file that was opened? Files may come and go in a directory archive."""
    if now.st_dev != s.device or now.st_ino != s.inode:
        return False
    return (s.kind == SOURCE_DIRECTORY
            or (<uint64_t>now.st_size == s.size and mtime_of(now) == s.mtime))


cdef inline int64_t mtime_of(const struct_stat *status) noexcept nogil:
    return <int64_t>status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec


cdef int open_source(Source *s, Fault *f) noexcept nogil:
    """Opens the file or folder at the source's path and records its identity."""
    cdef struct_stat status
    s.fd = sc_open(AT_FDCWD, s.path, O_DIRECTORY if s.kind == SOURCE_DIRECTORY else 0)
    if s.fd < 0 or fstat(s.fd, &status) != 0:
        return fault(f, OS_FAILED, -1, False, errno)
    if s.kind == SOURCE_FILE and not is_regular(status.st_mode):
        return fault(f, NOT_REGULAR, -1, False, status.st_mode)
    s.device = status.st_dev
    s.inode = status.st_ino
    if s.kind == SOURCE_FILE:
        s.size = <uint64_t>status.st_size
        s.mtime = mtime_of(&status)
    return NO_FAULT


cdef void leave_open(Source *s) noexcept nogil:
    """Ends the opening: the file may be closed and opened again from now on."""
    if s.fd >= 0:
        sc_drop(&s.descriptor, sc_keep(&s.descriptor, s.fd))
        s.fd = -1


cdef int take_file(Source *s, bint check, Fault *f) noexcept nogil:
    """A descriptor of the source, opened again if need be, to be dropped after use; -1: a fault.

    With `check`, the file at the source's path must be the one that was opened.
    """
    cdef struct_stat status
    cdef int fd = sc_take(&s.descriptor)
    if fd >= 0:
        if not check or same_file(s):
            return fd
        sc_drop(&s.descriptor, fd)
        fault(f, FILE_CHANGED, -1, False)
        return -1
    fd = sc_open(AT_FDCWD, s.path, O_DIRECTORY if s.kind == SOURCE_DIRECTORY else 0)
    if fd < 0:
        return cannot_open(f)
    if fstat(fd, &status) != 0 or not same_status(s, &status):
        close(fd)
        fault(f, FILE_CHANGED, -1, False)
        return -1
    return sc_keep(&s.descriptor, fd)


cdef int cannot_open(Fault *f) noexcept nogil:
    """The fault of a file that was there when the archive was opened; returns -1."""
    cdef int error = errno
    fault(f, FILE_CHANGED if error == ENOENT or error == ENOTDIR else OS_FAILED, -1, False, error)
    return -1


cdef int map_source(Source *s, Fault *f) noexcept nogil:
    cdef void *at = mmap(NULL, s.size, PROT_READ, MAP_SHARED, s.fd, 0)
    if at == MAP_FAILED:
        return fault(f, OS_FAILED, -1, False, errno)
    s.map = <const uint8_t *>at
    close(s.fd)                 # the mapping holds the file
    s.fd = -1
    return NO_FAULT


cdef void release_source(Source *s) noexcept nogil:
    if s.map != NULL:
        munmap(<void *>s.map, s.size)
    if s.fd >= 0:
        close(s.fd)
    sc_forget(&s.descriptor)
    free(s.own_table)
    free(s.path)
    s.map = NULL
    s.fd = -1
    s.own_table = NULL
    s.path = NULL
