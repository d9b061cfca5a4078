# Scan: complete entries of a file without a valid table (archive format, section 2.6).
# Needs: externs, faults, sources, tables.

cdef struct RowBuffer:          # rows as in a table
    uint8_t *bytes
    uint64_t size
    uint64_t room
    uint32_t count


cdef int add_row(RowBuffer *rows, const TableRow *row, const Source *s, Fault *f) noexcept nogil:
    """Appends a row; without row.name, the name is read from the entry."""
    cdef uint64_t need = rows.size + MIN_ROW + row.name_size, room
    cdef uint8_t *at
    cdef int code
    if need > rows.room:
        room = max(2 * rows.room, need, <uint64_t>4096)
        at = <uint8_t *>realloc(rows.bytes, room)
        if at == NULL:
            return fault(f, NO_MEMORY, -1, False)
        rows.bytes = at
        rows.room = room
    at = rows.bytes + rows.size
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
    rows.size = need
    rows.count += 1
    return NO_FAULT


cdef void keep_rows(Source *s, RowBuffer *rows) noexcept nogil:
    """Makes the rows the table of the source, which owns them from now on."""
    s.own_table = rows.bytes
    s.table = rows.bytes
    s.table_end = rows.bytes + rows.size if rows.size else rows.bytes
    s.count = rows.count
    rows.bytes = NULL


cdef enum EntryState:
    ENTRY_WHOLE
    ENTRY_NO_TAG
    ENTRY_HEAD_CUT
    ENTRY_PAYLOAD_CUT
    ENTRY_NO_END
    ENTRY_CHECKSUM
    ENTRY_UNREADABLE


cdef int try_entry(const Source *s, uint64_t at, TableRow *row, uint64_t *end,
                   Fault *f) noexcept nogil:
    """Is there a complete entry or hole at this offset?"""
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


cdef int next_tag(const Source *s, uint64_t at, Window *w, uint64_t *tag_offset,
                  Fault *f) noexcept nogil:
    """The next offset >= at with the bytes of a start tag, or else the size of the file."""
    cdef uint64_t end
    cdef const uint8_t *hit
    cdef const uint8_t *begin
    while at + 4 <= s.size:
        if s.map != NULL:
            end = s.size
            begin = s.map + at
        else:
            if at < w.begin or w.end < min(at + 4, s.size) or w.end == 0:
                w.begin = at
                w.end = min(at + w.room, s.size)
                if pread_all(s.fd, w.bytes, w.end - at, at, f) != NO_FAULT:
                    return f.code
            end = w.end
            begin = w.bytes + (at - w.begin)
        hit = <const uint8_t *>memmem(begin, end - at, &START_TAG, 4)
        if hit != NULL:
            tag_offset[0] = at + <uint64_t>(hit - begin)
            return NO_FAULT
        at = end - 3
    tag_offset[0] = s.size
    return NO_FAULT


cdef int64_t scan_source(Source *s, list skipped, Fault *f) except -2:
    """Collects the rows of all complete entries, trying every byte after a damaged one.

    Appends (offset, bytes, reason) to `skipped` for what is between complete entries. Returns the
    number of holes, or -1 on a fault.
    """
    cdef RowBuffer rows = RowBuffer(NULL, 0, 0, 0)
    cdef uint64_t at = HEADER, end = 0, damaged = 0, holes = 0, resume
    cdef TableRow row
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
                    elif add_row(&rows, &row, s, f) != NO_FAULT:
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
        keep_rows(s, &rows)
        return holes
    finally:
        free(window.bytes)
        free(rows.bytes)


cdef str _damage(const Source *s, int state, uint64_t at, const TableRow *row):
    """Why there is no complete entry at an offset."""
    cdef Fault f
    cdef uint8_t name[256]
    cdef uint64_t n
    cdef str label = "a hole"
    if state == ENTRY_NO_TAG:
        return "no start tag"
    if state == ENTRY_HEAD_CUT:
        return "an entry's head is cut by the end of the file, or its name length is damaged"
    if row.name_size:
        n = min(row.name_size, <uint64_t>sizeof(name))
        if source_read(s, name, n, at + 8, &f) == NO_FAULT:
            label = f"entry {_name(name, n)!r}"
    if state == ENTRY_PAYLOAD_CUT:
        return (f"{label} is cut: {stored_size(row) + 4} bytes up to its end,"
                f" {s.size - row.position - 12} left in the file")
    if state == ENTRY_CHECKSUM:
        return f"{label} has a checksum field that is not 0"
    return f"{label} has no end tag at the offset that its size gives"
