# Sources: the files behind an archive. Open, check, read the table, or scan where there is none
# (archive format, sections 2.2 to 2.6).

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
    uint8_t *own_table          # rows that are not in the mapping, or NULL
    const uint8_t *table        # `count` rows: string name, u64 position, u32 size, u32 compressed
    const uint8_t *table_end
    uint32_t count


cdef struct Row:
    const uint8_t *name
    uint32_t name_size
    uint64_t position           # of the entry's size field
    uint32_t size
    uint32_t compressed


cdef uint32_t START_TAG = 0xAA55AA55
cdef uint32_t END_TAG = 0x55AA55AA
cdef uint64_t HEADER = 9        # magic and flag
cdef uint64_t ROW_LEAST = 20    # a table row with an empty name


cdef inline bint take_row(Cursor *c, Row *row) noexcept nogil:
    return (take_string(c, &row.name, &row.name_size) and take_u64(c, &row.position)
            and take_u32(c, &row.size) and take_u32(c, &row.compressed))


cdef inline Row row_at(const uint8_t *at, const Source *s) noexcept nogil:
    """A row that was checked when the archive was opened; a mapped one may have been overwritten
    since (Sprint appends on top of the table), then its position is 0."""
    cdef Row row = Row(at, 0, 0, 0, 0)
    cdef Cursor c = cursor_over(at, <uint64_t>(s.table_end - at))
    if not take_row(&c, &row):
        row = Row(at, 0, 0, 0, 0)
    return row


cdef inline uint64_t stored_size(const Row *row) noexcept nogil:
    return row.compressed if row.compressed else row.size


cdef inline uint64_t entry_begin(const Row *row) noexcept nogil:
    """Where the entry's start tag stands."""
    return row.position - 8 - row.name_size


cdef inline uint64_t entry_head(const Row *row) noexcept nogil:
    """Bytes of the entry before its payload: tag, name, sizes, checksum."""
    return 8 + <uint64_t>row.name_size + 12


cdef inline uint64_t entry_extent(const Row *row) noexcept nogil:
    """Bytes of the whole entry."""
    return entry_head(row) + stored_size(row) + 4


cdef inline bint row_fits(const Row *row, uint64_t end) noexcept nogil:
    """Does the entry lie between the archive's header and `end`?"""
    return (row.name_size > 0 and row.position <= end
            and row.position >= HEADER + 8 + row.name_size
            and end - row.position >= 12 + stored_size(row) + 4)


cdef int pread_all(int fd, void *to, uint64_t size, uint64_t at, Fault *f) noexcept nogil:
    """Exactly `size` bytes; short reads go on, interrupted ones start again."""
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
    """The same from the mapping, where there is one."""
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


cdef int map_source(Source *s, Fault *f) noexcept nogil:
    cdef void *at = mmap(NULL, s.size, PROT_READ, MAP_SHARED, s.fd, 0)
    if at == MAP_FAILED:
        return fault(f, OS_FAILED, -1, False, errno)
    s.map = <const uint8_t *>at
    close(s.fd)                 # the mapping holds the file
    s.fd = -1
    return NO_FAULT


cdef str load_table(Source *s, Fault *f):
    """Reads and checks the table of an archive whose flag says it has one.

    Gives None, or in words why the table cannot be right (then the archive is scanned). Where the
    file is not mapped, memory for rows grows only as fast as rows prove sound.
    """
    cdef uint64_t trailer[2]
    cdef uint64_t at, size, have, n = 0
    cdef Cursor c
    cdef uint32_t count = 0, holes = 0
    cdef uint8_t *longer
    if s.size < HEADER + 20:
        return f"{s.size} bytes are too few for a table"
    if source_read(s, trailer, 16, s.size - 16, f) != NO_FAULT:
        return ""
    at = trailer[1]
    if at < HEADER or at > s.size - 20:
        return f"the trailer says the table is at {at}, in a file of {s.size} bytes"
    size = have = s.size - 16 - at
    if s.map != NULL:
        s.table = s.map + at
        advise_table(s, at, MADV_WILLNEED)
    else:
        have = 0
    c = cursor_over(s.table, 0)
    while True:
        if s.map == NULL:
            n = min(max(2 * have, <uint64_t>1 << 20), size)
            longer = <uint8_t *>realloc(s.own_table, n)
            if longer == NULL:
                raise MemoryError(f"table of {n} bytes")
            s.own_table = longer
            s.table = longer
            if pread_all(s.fd, longer + have, n - have, at + have, f) != NO_FAULT:
                return ""
            have = n
        n = offset(&c)
        c = cursor_over(s.table, have)
        c.at += n
        if n == 0:
            take_u32(&c, &count)
            if count > size // ROW_LEAST:
                return f"{size} bytes cannot hold the {count} rows that the table declares"
        with nogil:
            sound = take_rows(&c, count, at, &s.count)
        if not sound or (s.count < count and have == size):
            return f"row {s.count} of the table does not fit the file"
        if s.count == count and (have == size or left(&c) >= 4):
            break
    s.table_end = c.at
    s.table += 4
    # RETURNN's writer leaves out the count of holes and their position
    have = size - <uint64_t>offset(&c)
    if have == 0 and trailer[0] != 0:
        return "there is no list of holes"
    if have and not (take_u32(&c, &holes) and have == 4 + <uint64_t>holes * 12):
        return "the list of holes does not end at the trailer"
    return None


cdef bint take_rows(Cursor *c, uint32_t count, uint64_t end, uint32_t *done) noexcept nogil:
    """Checks rows until `count` are done or the next one is cut; False: a bad row."""
    cdef Row row
    cdef Cursor before
    while done[0] < count:
        before = c[0]
        if not take_row(c, &row):
            c[0] = before
            if take_u32(c, &row.name_size) and row.name_size > end:
                return False            # no name is longer than all that stands before the table
            c[0] = before
            return True
        if not row_fits(&row, end):
            return False
        done[0] += 1
    return True


cdef void advise_table(const Source *s, uint64_t at, int advice) noexcept nogil:
    cdef uint64_t page = at & ~<uint64_t>4095
    madvise(<void *>(s.map + page), s.size - page, advice)


cdef void forget_table(const Source *s) noexcept nogil:
    """Lets go of the pages that indexing touched: the page cache keeps them, a lookup maps the few
    that it needs again, and many workers do not each seem to own the table."""
    if s.map != NULL and s.own_table == NULL and s.count:
        advise_table(s, <uint64_t>(s.table - s.map), MADV_DONTNEED)


# ---- scan

cdef struct Found:
    uint8_t *rows
    uint64_t size
    uint64_t room
    uint32_t count


cdef int add_row(Found *found, const Row *row, const Source *s, Fault *f) noexcept nogil:
    """Appends a row as a table would hold it; without row.name it is read from the entry."""
    cdef uint64_t need = found.size + ROW_LEAST + row.name_size, room
    cdef uint8_t *at
    cdef int code
    if need > found.room:
        room = max(2 * found.room, need, <uint64_t>4096)
        at = <uint8_t *>realloc(found.rows, room)
        if at == NULL:
            return fault(f, NO_MEMORY, -1, False)
        found.rows = at
        found.room = room
    at = found.rows + found.size
    memcpy(at, &row.name_size, 4)
    if row.name != NULL:
        memcpy(at + 4, row.name, row.name_size)
    else:
        code = source_read(s, at + 4, row.name_size, row.position - row.name_size, f)
        if code != NO_FAULT:
            return code
    at += 4 + row.name_size
    memcpy(at, &row.position, 8)
    memcpy(at + 8, &row.size, 4)
    memcpy(at + 12, &row.compressed, 4)
    found.size = need
    found.count += 1
    return NO_FAULT


cdef enum EntryState:
    ENTRY_WHOLE
    ENTRY_NO_TAG
    ENTRY_HEAD_CUT
    ENTRY_PAYLOAD_CUT
    ENTRY_NO_END
    ENTRY_CHECKSUM
    ENTRY_UNREADABLE


cdef int try_entry(const Source *s, uint64_t at, Row *row, uint64_t *end,
                   Fault *f) noexcept nogil:
    """Is there a whole entry or hole at this offset?"""
    cdef uint32_t head[2]
    cdef uint32_t sizes[3]
    cdef uint32_t tag = 0
    if s.size - at < 8:
        return ENTRY_NO_TAG
    if source_read(s, head, 8, at, f) != NO_FAULT:
        return ENTRY_UNREADABLE
    if head[0] != START_TAG:
        return ENTRY_NO_TAG
    row.name = NULL
    row.name_size = head[1]
    if s.size - at - 8 < <uint64_t>row.name_size + 12:
        return ENTRY_HEAD_CUT
    row.position = at + 8 + row.name_size
    if source_read(s, sizes, 12, row.position, f) != NO_FAULT:
        return ENTRY_UNREADABLE
    row.size = sizes[0]
    row.compressed = sizes[1]
    if s.size - row.position - 12 < stored_size(row) + 4:
        return ENTRY_PAYLOAD_CUT
    end[0] = row.position + 12 + stored_size(row)
    if source_read(s, &tag, 4, end[0], f) != NO_FAULT:
        return ENTRY_UNREADABLE
    end[0] += 4
    if tag != END_TAG:
        return ENTRY_NO_END
    return ENTRY_CHECKSUM if sizes[2] else ENTRY_WHOLE


cdef struct Window:             # a part of a file that is not mapped
    uint8_t *bytes
    uint64_t room
    uint64_t begin
    uint64_t end


cdef int next_tag(const Source *s, uint64_t at, Window *w, uint64_t *found,
                  Fault *f) noexcept nogil:
    """The next offset >= at with the bytes of a start tag; the file's size if there is none."""
    cdef uint64_t end
    cdef const uint8_t *hit
    cdef const uint8_t *where
    while at + 4 <= s.size:
        if s.map != NULL:
            end = s.size
            where = s.map + at
        else:
            if at < w.begin or w.end < min(at + 4, s.size) or w.end == 0:
                w.begin = at
                w.end = min(at + w.room, s.size)
                if pread_all(s.fd, w.bytes, w.end - at, at, f) != NO_FAULT:
                    return f.code
            end = w.end
            where = w.bytes + (at - w.begin)
        hit = <const uint8_t *>memmem(where, end - at, &START_TAG, 4)
        if hit != NULL:
            found[0] = at + <uint64_t>(hit - where)
            return NO_FAULT
        at = end - 3
    found[0] = s.size
    return NO_FAULT


cdef int64_t scan_source(Source *s, list skipped, Fault *f) except -2:
    """Finds every whole entry, byte by byte where one is damaged; fills the source's rows.

    Appends (offset, bytes, reason) to `skipped` for whatever is between whole entries, and gives
    the number of holes; -1 on a fault.
    """
    cdef Found found = Found(NULL, 0, 0, 0)
    cdef uint64_t at = HEADER, end = 0, damaged = 0, holes = 0, resume
    cdef Row row
    cdef int state
    cdef Window window = Window(NULL, 1 << 20, 0, 0)
    cdef str reason = ""
    free(s.own_table)
    s.own_table = NULL
    s.count = 0
    if s.map == NULL:
        window.bytes = <uint8_t *>malloc(window.room)
        if window.bytes == NULL:
            raise MemoryError()
    try:
        while at < s.size:
            with nogil:
                while at < s.size:
                    state = try_entry(s, at, &row, &end, f)
                    if state != ENTRY_WHOLE:
                        break
                    if damaged:
                        break
                    if row.name_size == 0:
                        holes += 1
                    elif add_row(&found, &row, s, f) != NO_FAULT:
                        state = ENTRY_UNREADABLE
                        break
                    at = end
            if at >= s.size:
                break
            if state == ENTRY_UNREADABLE:
                return -1
            if state == ENTRY_WHOLE:        # sound again: close the damaged range
                if at < damaged:
                    reason = "the end tag of an entry runs into the next entry"
                skipped.append((min(at, damaged), max(at, damaged) - damaged, reason))
                damaged = 0
                continue
            resume = at + 1
            if not damaged:
                damaged = at
                reason = _damage(s, state, at, &row)
                # tags overlap: an end tag that lost bytes was closed by the next start tag
                resume = max(at - 3, HEADER)
            if next_tag(s, resume, &window, &at, f) != NO_FAULT:
                return -1
        if damaged:
            skipped.append((damaged, s.size - damaged, reason))
        s.own_table = found.rows
        found.rows = NULL
        s.table = s.own_table
        s.table_end = s.own_table + found.size
        s.count = found.count
        return holes
    finally:
        free(window.bytes)
        free(found.rows)


cdef str _damage(const Source *s, int state, uint64_t at, const Row *row):
    """Why no whole entry stands at an offset."""
    cdef Fault f
    cdef uint8_t name[256]
    cdef uint64_t n
    cdef str what = "a hole"
    if state == ENTRY_NO_TAG:
        return "no start tag"
    if state == ENTRY_HEAD_CUT:
        return "an entry's head is cut by the end of the file, or its name length is damaged"
    if row.name_size:
        n = min(row.name_size, <uint64_t>sizeof(name))
        if source_read(s, name, n, at + 8, &f) == NO_FAULT:
            what = f"entry {_name(name, n)!r}"
    if state == ENTRY_PAYLOAD_CUT:
        return (f"{what} is cut: {stored_size(row) + 4} bytes up to its end,"
                f" {s.size - row.position - 12} left in the file")
    if state == ENTRY_CHECKSUM:
        return f"{what} has a checksum field that is not 0"
    return f"{what} has no end tag where its size puts it"
