# Fetch: from the number of an entry to the bytes of its payload, checked and inflated.
# Needs: externs, faults, cursor, sources, tables, index, workers, inflate.

cdef struct Core:
    Source *sources
    uint32_t count
    Index index


cdef inline Source *source_of(Core *core, int64_t entry) noexcept nogil:
    return core.sources + source_number(&core.index, entry)


cdef inline TableRow row_of(const Core *core, int64_t entry) noexcept nogil:
    return indexed_row(&core.index, entry)


cdef int bad_row(const Core *core, Fault *f) noexcept nogil:
    """The fault of a row that does not fit its file, although it did when it was indexed."""
    return fault(f, FILE_CHANGED if core.index.file == NULL else INDEX_DAMAGED, -1, False)


cdef int fetch(Core *core, int64_t entry, Worker *w, Portion portion, bint check, Payload *p,
               Fault *f) noexcept nogil:
    """The payload of an entry; with `check`, a file read by pread must still be the same."""
    cdef Source *s = source_of(core, entry)
    cdef TableRow row = row_of(core, entry)
    if s.kind == SOURCE_DIRECTORY:
        return fetch_loose(s, &row, w, portion, p, f)
    if not row_fits(&row, s.size):
        return bad_row(core, f)
    return fetch_file(s, &row, w, portion, check, p, f)


cdef void prefetch_entry(const Core *core, int64_t entry, uint64_t limit) noexcept nogil:
    """Prefetches the beginning and end of a mapped entry while others are decoded."""
    cdef const Source *s = core.sources + source_number(&core.index, entry)
    cdef TableRow row = row_of(core, entry)
    cdef uint64_t begin = entry_begin(&row), at
    if s.map != NULL and row_fits(&row, s.size):
        prefetch(s.map + begin + entry_extent(&row) - 4)
        for at in range(0, min(stored_size(&row) + 64, limit), 64):
            prefetch(s.map + begin + at)


cdef int check_entry(const uint8_t *entry, uint64_t have, const uint8_t *end_tag,
                     const TableRow *row, Fault *f) noexcept nogil:
    """Compares an entry with the table: tags, name, sizes, checksum field."""
    cdef Cursor c = cursor_over(entry, have)
    cdef uint32_t tag = 0, size = 0, compressed = 0, checksum = 0, end = 0
    cdef const uint8_t *name = NULL
    cdef uint32_t name_size = 0
    cdef uint64_t at = entry_begin(row)
    if not take_u32(&c, &tag) or tag != START_TAG:
        return fault(f, BAD_START_TAG, <int64_t>at, False, tag)
    if (not take_string(&c, &name, &name_size) or name_size != row.name_size
            or memcmp(name, row.name, name_size) != 0):
        return fault(f, BAD_ENTRY_NAME, <int64_t>at + 4, False)
    at = row.position
    take_u32(&c, &size)
    take_u32(&c, &compressed)
    take_u32(&c, &checksum)
    if size != row.size:
        return fault(f, BAD_ENTRY_SIZE, <int64_t>at, False, row.size, size)
    if compressed != row.compressed:
        return fault(f, BAD_ENTRY_COMPRESSED, <int64_t>at + 4, False, row.compressed, compressed)
    if checksum != 0:
        return fault(f, BAD_CHECKSUM, <int64_t>at + 8, False, checksum)
    if end_tag != NULL:
        c = cursor_over(end_tag, 4)
        if not take_u32(&c, &end) or end != END_TAG:
            return fault(f, BAD_END_TAG, <int64_t>(at + 12 + stored_size(row)), False, end)
    return NO_FAULT


cdef int fetch_file(Source *s, const TableRow *row, Worker *w, Portion portion, bint check,
                    Payload *p, Fault *f) noexcept nogil:
    """The payload of an entry of a file archive; valid until the worker's next fetch.

    Both ways of reading decode the same bytes, so they give the same answers.
    """
    cdef uint64_t begin = entry_begin(row), extent = entry_extent(row), have = extent
    cdef const uint8_t *entry
    cdef const uint8_t *end_tag = NULL
    cdef int code
    if portion == HEAD or portion == HEAD_ALONE:
        have = min(extent, entry_head(row) + PEEK)
    if s.map != NULL:
        entry = s.map + begin
        end_tag = entry + extent - 4
    else:
        code = read_entry(s, begin, have, extent, w, portion, check, &end_tag, f)
        if code != NO_FAULT:
            return code
        entry = w.raw
    if portion == HEAD_ALONE:
        end_tag = NULL
    return unwrap(entry, have, end_tag, row, w, portion, p, f)


cdef int read_entry(Source *s, uint64_t begin, uint64_t have, uint64_t extent, Worker *w,
                    Portion portion, bint check, const uint8_t **end_tag, Fault *f) noexcept nogil:
    """Reads at least the first `have` bytes of an entry into w.raw, and its end tag.

    A batch, which does not `check`, reads the next head together with an end tag.
    """
    cdef int fd, code
    cdef uint64_t end = begin + extent
    if portion == HEAD and extent <= ONE_READ:
        have = extent
    code = make_room(&w.raw, &w.raw_room, have, f)
    if code != NO_FAULT:
        return code
    fd = take_file(s, check, f)
    if fd < 0:
        return f.code
    if (not check and w.ahead_source == s and begin >= w.ahead_begin
            and begin + have <= w.ahead_begin + w.ahead_size):
        memcpy(w.raw, w.ahead + (begin - w.ahead_begin), have)
    else:
        code = pread_all(fd, w.raw, have, begin, f)
    end_tag[0] = w.raw + extent - 4
    if code == NO_FAULT and have < extent and portion == HEAD:
        w.ahead_begin = end - 4
        w.ahead_size = 4 if check else min(AHEAD, s.size - w.ahead_begin)
        code = pread_all(fd, w.ahead, w.ahead_size, w.ahead_begin, f)
        w.ahead_source = s if code == NO_FAULT else NULL
        end_tag[0] = w.ahead
    sc_drop(&s.descriptor, fd)
    return code


cdef int unwrap(const uint8_t *entry, uint64_t have, const uint8_t *end_tag, const TableRow *row,
                Worker *w, Portion portion, Payload *p, Fault *f) noexcept nogil:
    """The payload of an entry of which the first `have` bytes are given."""
    cdef uint64_t head = entry_head(row), stored = stored_size(row)
    cdef int code = check_entry(entry, have, end_tag, row, f)
    if code != NO_FAULT:
        return code
    p.at = entry + head
    p.size = stored
    p.visible = min(have - head, stored)
    if row.compressed:
        return unpack(w, p, row.size, True, portion, f)
    return NO_FAULT


cdef int open_loose(Source *s, const TableRow *row, uint64_t *size, Fault *f) noexcept nogil:
    """A descriptor of an entry of a directory archive, and the size of the file; or -1."""
    cdef struct_stat status
    cdef int fd, folder
    cdef char *name = <char *>malloc(<uint64_t>row.name_size + 1)
    if name == NULL:
        fault(f, NO_MEMORY, -1, False)
        return -1
    memcpy(name, row.name, row.name_size)
    name[row.name_size] = 0
    folder = take_file(s, False, f)
    if folder < 0:
        free(name)
        return -1
    fd = sc_open(folder, name, 0)
    if fd < 0:
        cannot_open(f)
    sc_drop(&s.descriptor, folder)
    free(name)
    if fd < 0:
        return -1
    if fstat(fd, &status) != 0 or not is_regular(status.st_mode):
        fault(f, FILE_CHANGED, -1, False)
        close(fd)
        return -1
    size[0] = <uint64_t>status.st_size
    return fd


cdef int loose_sizes(Source *s, const TableRow *row, uint64_t *file_size, uint64_t *size,
                     bint *gzip, Fault *f) noexcept nogil:
    """Bytes of such a file and of its data; a gzip file has the latter in its last four bytes."""
    cdef uint8_t magic[2]
    cdef uint32_t isize = 0
    cdef int fd = open_loose(s, row, file_size, f)
    gzip[0] = False
    if fd < 0:
        return f.code
    size[0] = file_size[0]
    if (file_size[0] >= 18 and pread_all(fd, magic, 2, 0, f) == NO_FAULT
            and magic[0] == 0x1F and magic[1] == 0x8B
            and pread_all(fd, &isize, 4, file_size[0] - 4, f) == NO_FAULT):
        gzip[0] = True
        size[0] = isize
    close(fd)
    return NO_FAULT


cdef int fetch_loose(Source *s, const TableRow *row, Worker *w, Portion portion, Payload *p,
                     Fault *f) noexcept nogil:
    """The payload of an entry of a directory archive: a file, plain or gzip (section 5)."""
    cdef uint64_t have = 0
    cdef uint32_t size = 0
    cdef Cursor c
    cdef int code, fd = open_loose(s, row, &have, f)
    if fd < 0:
        return f.code
    code = make_room(&w.raw, &w.raw_room, have + 1, f)
    if code == NO_FAULT:
        code = pread_all(fd, w.raw, have, 0, f)
    close(fd)
    if code != NO_FAULT:
        return code
    p.at = w.raw
    p.size = p.visible = have
    if have < 18 or w.raw[0] != 0x1F or w.raw[1] != 0x8B:
        return NO_FAULT
    c = cursor_over(w.raw + have - 4, 4)
    take_u32(&c, &size)
    return unpack(w, p, size, False, portion, f)
