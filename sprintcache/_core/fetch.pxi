# From an entry to the bytes of its payload: find, check, inflate. One Worker a thread at a time.

cdef struct Worker:
    uint8_t *raw                # an entry as stored, where it is not mapped
    uint64_t raw_room
    uint8_t *inflated
    uint64_t inflated_room
    void *inflater
    sc_used used


cdef struct Payload:
    const uint8_t *at
    uint64_t size
    uint64_t visible            # bytes of it that are here; all but for a peek


cdef enum Portion:
    WHOLE
    HEAD                        # the first PEEK bytes of the payload; the end tag is checked
    HEAD_ALONE                  # the same without the end tag, before all is fetched


cdef enum:
    PEEK = 512                  # enough for the head of any block
    KEEP = 1 << 24              # a worker that rests keeps buffers up to this size


cdef int make_room(uint8_t **buffer, uint64_t *room, uint64_t need, Fault *f) noexcept nogil:
    cdef uint8_t *at
    if need <= room[0]:
        return NO_FAULT
    free(buffer[0])
    room[0] = 0
    at = <uint8_t *>malloc(need)
    buffer[0] = at
    if at == NULL:
        return fault(f, NO_MEMORY, -1, False)
    room[0] = need
    return NO_FAULT


cdef void release_worker(Worker *w) noexcept nogil:
    free(w.raw)
    free(w.inflated)
    free(w.used.stamps)
    sc_inflate_free(w.inflater)
    free(w)


cdef int check_entry(const uint8_t *entry, uint64_t have, const uint8_t *end_tag, const Row *row,
                     Fault *f) noexcept nogil:
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


# Sprint writes this gzip header and no other (section 3)
cdef uint8_t[10] SPRINT_GZIP = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3]


cdef bint skip_gzip_header(Cursor *c, bint strict) noexcept nogil:
    """Passes over a gzip header (RFC 1952). In an archive (strict), one that differs from Sprint's
    in a single bit of a field that says nothing about the data (time, level, system) is damage."""
    cdef const uint8_t *head = NULL
    cdef const uint8_t *skipped = NULL
    cdef uint8_t low = 0, high = 0, byte = 1
    cdef uint32_t size
    cdef int bits = 0, i
    if not take_span(c, 10, &head):
        return False
    if head[0] != 0x1F or head[1] != 0x8B or head[2] != 8 or head[3] & 0xE0:
        return False
    for i in range(10):
        bits += popcount(head[i] ^ SPRINT_GZIP[i])
    if strict and bits == 1 and head[3] & ~1 == 0:
        return False
    if head[3] & 4:
        if not (take_u8(c, &low) and take_u8(c, &high)):
            return False
        size = low + 256 * <uint32_t>high
        if not take_span(c, size, &skipped):
            return False
    for i in range(2):              # file name, comment
        if head[3] & (8 << i):
            byte = 1
            while byte:
                if not take_u8(c, &byte):
                    return False
    if head[3] & 2:
        size = sc_crc32(head, <size_t>(c.at - head)) & 0xFFFF
        if not (take_u8(c, &low) and take_u8(c, &high)):
            return False
        if not SC_INFLATE_PYTHON and size != low + 256 * <uint32_t>high:
            return False
    return True


cdef int inflate_member(Worker *w, const uint8_t *member, uint64_t stored, uint64_t size,
                        bint strict, Fault *f) noexcept nogil:
    """One gzip member of exactly `stored` bytes into w.inflated, `size` bytes; all of it checked.

    Stops at the declared size, and refuses one that deflate cannot reach.
    """
    cdef Cursor c = cursor_over(member, stored)
    cdef size_t used = 0, made = 0
    cdef uint32_t crc = 0, isize = 0, computed = 0
    cdef int code
    if not skip_gzip_header(&c, strict):
        return fault(f, BAD_GZIP_HEADER, -1)
    code = make_room(&w.inflated, &w.inflated_room, size + 1, f)
    if code != NO_FAULT:
        return code
    if SC_INFLATE_PYTHON:
        with gil:
            code = python_inflate(c.at, left(&c), w.inflated, size, &used, &made, &computed)
    else:
        code = sc_inflate(&w.inflater, c.at, left(&c), w.inflated, size, &used, &made)
    if code == SC_INFLATE_MEMORY:
        return fault(f, NO_MEMORY, -1, False)
    if code == SC_INFLATE_LONG:
        return fault(f, BAD_INFLATED_SIZE, -1, True, <int64_t>size, -1)
    if code != SC_INFLATE_OK:
        return fault(f, BAD_DEFLATE, -1)
    if made != size:
        return fault(f, BAD_INFLATED_SIZE, -1, True, <int64_t>size, <int64_t>made)
    c.at += used
    if left(&c) != 8:
        return fault(f, BAD_MEMBER_END, -1, True, 8, <int64_t>left(&c))
    take_u32(&c, &crc)
    take_u32(&c, &isize)
    if not SC_INFLATE_PYTHON:
        computed = sc_crc32(w.inflated, size)
    if crc != computed:
        return fault(f, BAD_CRC, -1, True, crc, computed)
    if isize != <uint32_t>size:
        return fault(f, BAD_ISIZE, -1, True, <int64_t>size, isize)
    return NO_FAULT


cdef int python_inflate(const uint8_t *data, uint64_t stored, uint8_t *to, uint64_t size,
                        size_t *used, size_t *made, uint32_t *crc) noexcept:
    """The same work by Python's zlib module, for builds that found neither C library."""
    try:
        import zlib
        inflater = zlib.decompressobj(-15)
        inflated = inflater.decompress((<char *>data)[:stored], size + 1)
        if len(inflated) > size:
            return SC_INFLATE_LONG
        if not inflater.eof:
            return SC_INFLATE_BAD
        memcpy(to, <char *>inflated, len(inflated))
        used[0] = stored - len(inflater.unused_data)
        made[0] = len(inflated)
        crc[0] = zlib.crc32(inflated)
        return SC_INFLATE_OK
    except MemoryError:
        return SC_INFLATE_MEMORY
    except Exception:
        return SC_INFLATE_BAD


cdef int fetch_file(Source *s, const Row *row, Worker *w, Portion portion, bint check,
                    Payload *p, Fault *f) noexcept nogil:
    """The payload of an entry of a file archive; valid until the worker's next fetch.

    Both ways of reading decode the same bytes, so they give the same answers.
    """
    cdef uint64_t begin = entry_begin(row), extent = entry_extent(row), have = extent
    cdef const uint8_t *entry
    cdef const uint8_t *end_tag = NULL
    cdef int code
    if portion != WHOLE:
        have = min(extent, entry_head(row) + PEEK)
    if s.map != NULL:
        entry = s.map + begin
        end_tag = entry + extent - 4
    else:
        code = read_entry(s, begin, have, extent, w, portion, check, f)
        if code != NO_FAULT:
            return code
        entry = w.raw
        end_tag = entry + have - 4 if have == extent else entry + have
    if portion == HEAD_ALONE:
        end_tag = NULL
    return unwrap(entry, have, end_tag, row, w, portion, p, f)


cdef int read_entry(Source *s, uint64_t begin, uint64_t have, uint64_t extent, Worker *w,
                    Portion portion, bint check, Fault *f) noexcept nogil:
    """Reads the first `have` bytes of an entry into w.raw, and its end tag after these."""
    cdef int fd, code = make_room(&w.raw, &w.raw_room, have + 4, f)
    if code != NO_FAULT:
        return code
    fd = take_file(s, check, f)
    if fd < 0:
        return f.code
    code = pread_all(fd, w.raw, have, begin, f)
    if code == NO_FAULT and have < extent and portion == HEAD:
        code = pread_all(fd, w.raw + have, 4, begin + extent - 4, f)
    sc_drop(&s.descriptor, fd)
    return code


cdef int unwrap(const uint8_t *entry, uint64_t have, const uint8_t *end_tag, const Row *row,
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


cdef int unpack(Worker *w, Payload *p, uint64_t size, bint strict, Portion portion,
                Fault *f) noexcept nogil:
    """Replaces a stored gzip member by its data, or for a peek by its beginning."""
    cdef Cursor c
    cdef int64_t made = -1
    cdef int code
    if size > 1032 * p.size:
        return fault(f, BAD_RATIO, -1, True, <int64_t>size, <int64_t>p.size,
                     <int64_t>(1032 * p.size))
    if portion != WHOLE and SC_INFLATE_PREFIX and size > PEEK:
        c = cursor_over(p.at, p.visible)
        if not skip_gzip_header(&c, strict):
            if p.visible == p.size:
                return fault(f, BAD_GZIP_HEADER, -1)
            p.size = size               # perhaps it is just longer than what is here
            p.visible = 0
            return NO_FAULT
        code = make_room(&w.inflated, &w.inflated_room, PEEK, f)
        if code != NO_FAULT:
            return code
        made = sc_inflate_prefix(c.at, left(&c), w.inflated, PEEK)
        if made < 0:
            return fault(f, BAD_DEFLATE, -1)
        p.at = w.inflated
        p.size = size
        p.visible = <uint64_t>made
        return NO_FAULT
    if p.visible < p.size:
        p.size = max(size, <uint64_t>1)
        p.visible = 0               # the peek did not bring enough to inflate it all
        return NO_FAULT
    code = inflate_member(w, p.at, p.size, size, strict, f)
    p.at = w.inflated
    p.size = p.visible = size
    return code


cdef int open_loose(Source *s, const Row *row, uint64_t *size, Fault *f) noexcept nogil:
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


cdef int loose_sizes(Source *s, const Row *row, uint64_t *file_size, uint64_t *size,
                     bint *gzip, Fault *f) noexcept nogil:
    """Bytes of such a file, and of its data: a gzip file says so in its last four bytes."""
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


cdef int fetch_loose(Source *s, const Row *row, Worker *w, Portion portion, Payload *p,
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


# ---- work shared between threads

cdef enum:
    MOST_THREADS = 64

ctypedef int (*Task)(void *job, int64_t item, Worker *w, Fault *f) noexcept nogil

cdef struct Job:
    Task task
    void *arguments
    int64_t items
    int64_t next                # taken with an atomic add
    Fault *faults               # one for each item


cdef struct Hand:
    Job *job
    Worker *worker


cdef void *work(void *hand_) noexcept nogil:
    cdef Hand *hand = <Hand *>hand_
    cdef Job *job = hand.job
    cdef int64_t item
    while True:
        item = fetch_add(&job.next, 1)
        if item >= job.items:
            return NULL
        job.task(job.arguments, item, hand.worker, &job.faults[item])


cdef void share(Job *job, Hand *hands, int num_threads) noexcept nogil:
    """Does all items with up to num_threads threads, this one included; they end here.

    Threads live for one call only, so that nothing is left for a fork to lose.
    """
    cdef pthread_t threads[MOST_THREADS]
    cdef int i, started = 0
    for i in range(1, num_threads):
        if pthread_create(&threads[started], NULL, work, &hands[i]) != 0:
            break
        started += 1
    work(&hands[0])
    for i in range(started):
        pthread_join(threads[i], NULL)
