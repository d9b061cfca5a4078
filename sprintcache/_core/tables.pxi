# Tables: rows of entries, and their order and bounds (archive format, sections 2.2 to 2.5).
# Needs: externs, faults, cursor, sources.

cdef struct TableRow:
    const uint8_t *name
    uint32_t name_size
    uint64_t position           # of the entry's size field
    uint32_t size
    uint32_t compressed


cdef uint64_t HEADER = 9        # magic and flag
cdef uint64_t MIN_ROW = 20      # a table row with an empty name
cdef uint32_t START_TAG = 0xAA55AA55
cdef uint32_t END_TAG = 0x55AA55AA


cdef inline bint take_row(Cursor *c, TableRow *row) noexcept nogil:
    return (take_string(c, &row.name, &row.name_size) and take_u64(c, &row.position)
            and take_u32(c, &row.size) and take_u32(c, &row.compressed))


cdef inline TableRow row_at(const uint8_t *at, const Source *s) noexcept nogil:
    """A row that was checked when the archive was opened; a mapped one may have been overwritten
    since (Sprint appends on top of the table), then its position is 0."""
    cdef TableRow row = TableRow(at, 0, 0, 0, 0)
    cdef Cursor c = cursor_over(at, <uint64_t>(s.table_end - at))
    if not take_row(&c, &row):
        row = TableRow(at, 0, 0, 0, 0)
    return row


cdef inline uint64_t stored_size(const TableRow *row) noexcept nogil:
    return row.compressed if row.compressed else row.size


cdef inline uint64_t entry_begin(const TableRow *row) noexcept nogil:
    """Offset of the entry's start tag."""
    return row.position - 8 - row.name_size


cdef inline uint64_t entry_head(const TableRow *row) noexcept nogil:
    """Bytes of the entry before its payload: tag, name, sizes, checksum."""
    return 8 + <uint64_t>row.name_size + 12


cdef inline uint64_t entry_extent(const TableRow *row) noexcept nogil:
    """Bytes of the whole entry."""
    return entry_head(row) + stored_size(row) + 4


cdef inline bint row_fits(const TableRow *row, uint64_t end) noexcept nogil:
    """Is the entry between the archive's header and `end`?"""
    return (row.name_size > 0 and row.position <= end
            and row.position >= HEADER + 8 + row.name_size
            and end - row.position >= 12 + stored_size(row) + 4)


cdef str load_table(Source *s, Fault *f):
    """Reads and checks the table of an archive whose flag says it has one.

    Returns None, or why the table cannot be right (then the archive is scanned). If the file is not
    mapped, memory for rows grows only as fast as rows prove sound.
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
            if count > size // MIN_ROW:
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
    cdef TableRow row
    cdef Cursor before
    while done[0] < count:
        before = c[0]
        if not take_row(c, &row):
            c[0] = before
            if take_u32(c, &row.name_size) and row.name_size > end:
                return False            # no name is longer than all before the table
            c[0] = before
            return True
        if not row_fits(&row, end):
            return False
        done[0] += 1
    return True


cdef void advise_table(const Source *s, uint64_t at, int advice) noexcept nogil:
    cdef uint64_t page = at & ~<uint64_t>4095
    madvise(<void *>(s.map + page), s.size - page, advice)


cdef void release_table_pages(const Source *s) noexcept nogil:
    """Unmaps the pages that indexing touched. The page cache keeps them, a lookup maps the few that
    it needs, and the table does not count as memory of each worker process."""
    if s.map != NULL and s.own_table == NULL and s.count:
        advise_table(s, <uint64_t>(s.table - s.map), MADV_DONTNEED)
