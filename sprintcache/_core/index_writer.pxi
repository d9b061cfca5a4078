# Writing an index file: lengths of all segments, then the arrays of a private index, block by block.
# Needs: externs, faults, sources, index_file, index, fetch, batch_tasks.

cdef enum:
    SURVEYED = 1 << 12          # segments at a time
    SURVEY_PREFETCH = 8         # entries ahead of the one that is measured
    STREAM_ROOM = 1 << 20


cdef struct Survey:             # what is asked of all segments
    Core *core
    uint32_t *frames
    uint32_t *dims


cdef int survey_task(void *job, int64_t item, Worker *w, Fault *f) noexcept nogil:
    """Frames and dimensions of some segments; UNKNOWN_FRAMES where an entry has none or a fault."""
    cdef Survey *s = <Survey *>job
    cdef int64_t segment, last, count = s.core.index.segment_count
    cdef Shape shape
    cdef int code
    last = min((item + 1) * SURVEYED, count)
    for segment in range(item * SURVEYED, last):
        if segment + SURVEY_PREFETCH < count:
            prefetch_entry(s.core, segment_entry(&s.core.index, segment + SURVEY_PREFETCH), 64)
        code = count_frames(s.core, segment_entry(&s.core.index, segment), w, False, &shape, f)
        if code == NO_FAULT and 0 <= shape.frames < UNKNOWN_FRAMES:
            s.frames[segment] = <uint32_t>shape.frames
            s.dims[segment] = <uint32_t>shape.dim
        else:
            s.frames[segment] = UNKNOWN_FRAMES
            s.dims[segment] = 0
        f.code = NO_FAULT       # the archive itself reports it, when these frames are asked for
    return NO_FAULT


cdef struct BlockStream:        # blocks of a file that is written from the second one on
    int fd
    uint64_t at                 # file offset of the buffer
    uint64_t filled             # bytes in the buffer
    uint8_t *buffer
    uint64_t *checksums


cdef int flush_blocks(BlockStream *to, const uint8_t *blocks, uint64_t size, Fault *f) noexcept nogil:
    """Writes whole blocks and records their checksums."""
    cdef uint64_t block = to.at // INDEX_BLOCK, i
    cdef int code
    for i in range(size // INDEX_BLOCK):
        to.checksums[block - 1 + i] = sc_checksum(blocks + i * INDEX_BLOCK, INDEX_BLOCK, block + i)
    code = pwrite_all(to.fd, blocks, size, to.at, f)
    to.at += size
    return code


cdef int pwrite_all(int fd, const void *data, uint64_t size, uint64_t at, Fault *f) noexcept nogil:
    cdef ssize_t n
    cdef uint64_t done = 0
    while done < size:
        n = pwrite(fd, <const uint8_t *>data + done, size - done, <off_t>(at + done))
        if n < 0 and errno == EINTR:
            continue
        if n <= 0:
            return fault(f, OS_FAILED, -1, False, errno if n < 0 else EIO)
        done += n
    return NO_FAULT


cdef int stream(BlockStream *to, const void *data, uint64_t size, Fault *f) noexcept nogil:
    """Appends bytes."""
    cdef const uint8_t *at = <const uint8_t *>data
    cdef uint64_t n
    cdef int code = NO_FAULT
    while size and code == NO_FAULT:
        if to.filled == 0 and size >= INDEX_BLOCK:      # straight from the source
            n = min(size, <uint64_t>STREAM_ROOM) // INDEX_BLOCK * INDEX_BLOCK
            code = flush_blocks(to, at, n, f)
        else:
            n = min(size, STREAM_ROOM - to.filled)
            memcpy(to.buffer + to.filled, at, n)
            to.filled += n
            if to.filled == STREAM_ROOM:
                to.filled = 0
                code = flush_blocks(to, to.buffer, STREAM_ROOM, f)
        at += n
        size -= n
    return code


cdef int end_section(BlockStream *to, Fault *f) noexcept nogil:
    """Fills the last block with zeros."""
    cdef uint64_t size = blocks_of(to.filled) * INDEX_BLOCK
    memset(to.buffer + to.filled, 0, size - to.filled)
    to.filled = 0
    return flush_blocks(to, to.buffer, size, f) if size else NO_FAULT


cdef inline uint64_t blocks_of(uint64_t size) noexcept nogil:
    return (size + INDEX_BLOCK - 1) // INDEX_BLOCK


cdef void lay_out_index(const Core *core, IndexHeader *h) noexcept nogil:
    """Fills the header: counts and offsets."""
    cdef uint64_t at = INDEX_BLOCK
    cdef const Index *index = &core.index
    cdef uint32_t i
    memset(h, 0, sizeof(IndexHeader))
    memcpy(h.magic, INDEX_MAGIC, 8)
    h.version = INDEX_VERSION
    h.block = INDEX_BLOCK
    h.key = index.key
    h.num_slots = index.mask + 1
    h.num_entries = index.count
    h.num_segments = index.segment_count
    h.num_sources = core.count
    for i in range(core.count):
        h.rows_size += <uint64_t>(core.sources[i].table_end - core.sources[i].table)
    h.slots = reserve_section(&at, h.num_slots * 8)
    h.row_offsets = reserve_section(&at, <uint64_t>h.num_entries * 8)
    if index.source_of != NULL:
        h.source_numbers = reserve_section(&at, <uint64_t>h.num_entries * 4)
    if index.segments != NULL:
        h.segments = reserve_section(&at, <uint64_t>h.num_segments * 4)
    h.frames = reserve_section(&at, <uint64_t>h.num_segments * 4)
    h.dims = reserve_section(&at, <uint64_t>h.num_segments * 4)
    h.rows = reserve_section(&at, h.rows_size)
    h.sources = reserve_section(&at, h.num_sources * sizeof(IndexedSource))
    h.checksums = at
    h.size = at + (at // INDEX_BLOCK - 1) * 8


cdef inline uint64_t reserve_section(uint64_t *at, uint64_t size) noexcept nogil:
    cdef uint64_t begin = at[0]
    at[0] += blocks_of(size) * INDEX_BLOCK
    return begin


cdef int describe_sources(Core *core, IndexedSource *sources, Fault *f) noexcept nogil:
    """Fills what the file says of each archive."""
    cdef uint64_t rows_offset = 0
    cdef Source *s
    cdef uint32_t i
    cdef int fd, code
    for i in range(core.count):
        s = core.sources + i
        sources[i].size = s.size
        sources[i].mtime = s.mtime
        sources[i].rows_offset = rows_offset
        sources[i].rows_size = <uint64_t>(s.table_end - s.table)
        sources[i].num_rows = s.count
        rows_offset += sources[i].rows_size
        fd = take_file(s, True, f)
        if fd < 0:
            return f.code
        code = source_identity(s, fd, &sources[i].identity, f)
        sc_drop(&s.descriptor, fd)
        if code != NO_FAULT:
            return code
    return NO_FAULT


cdef int write_index_file(Core *core, int fd, const Survey *survey, const IndexedSource *sources,
                          Fault *f) noexcept nogil:
    """Writes a private index to an empty file; the header last, which makes it valid."""
    cdef const Index *index = &core.index
    cdef IndexHeader h
    cdef BlockStream to = BlockStream(fd, INDEX_BLOCK, 0, NULL, NULL)
    cdef int code = NO_FAULT
    cdef uint32_t i
    lay_out_index(core, &h)
    to.buffer = <uint8_t *>malloc(STREAM_ROOM)
    to.checksums = <uint64_t *>calloc(h.checksums // INDEX_BLOCK, 8)
    if to.buffer == NULL or to.checksums == NULL:
        code = fault(f, NO_MEMORY, -1, False)
    if code == NO_FAULT:
        code = write_section(&to, index.slots, h.num_slots * 8, f)
    if code == NO_FAULT:
        code = write_section(&to, index.row_offsets, <uint64_t>h.num_entries * 8, f)
    if code == NO_FAULT and index.source_of != NULL:
        code = write_section(&to, index.source_of, <uint64_t>h.num_entries * 4, f)
    if code == NO_FAULT and index.segments != NULL:
        code = write_section(&to, index.segments, <uint64_t>h.num_segments * 4, f)
    if code == NO_FAULT:
        code = write_section(&to, survey.frames, <uint64_t>h.num_segments * 4, f)
    if code == NO_FAULT:
        code = write_section(&to, survey.dims, <uint64_t>h.num_segments * 4, f)
    for i in range(core.count):
        if code == NO_FAULT:
            code = stream(&to, core.sources[i].table,
                          <uint64_t>(core.sources[i].table_end - core.sources[i].table), f)
    if code == NO_FAULT:
        code = end_section(&to, f)
    if code == NO_FAULT:
        code = write_section(&to, sources, h.num_sources * sizeof(IndexedSource), f)
    if code == NO_FAULT:
        h.checksum = chain_checksums(<uint8_t *>to.checksums, h.size - h.checksums, 0)
        code = pwrite_all(fd, to.checksums, h.size - h.checksums, h.checksums, f)
    if code == NO_FAULT:
        code = write_header(&to, &h, f)
    free(to.buffer)
    free(to.checksums)
    return code


cdef int write_section(BlockStream *to, const void *data, uint64_t size, Fault *f) noexcept nogil:
    cdef int code = stream(to, data, size, f)
    return code if code != NO_FAULT else end_section(to, f)


cdef int write_header(BlockStream *to, const IndexHeader *h, Fault *f) noexcept nogil:
    cdef uint64_t checksum
    memset(to.buffer, 0, INDEX_BLOCK)
    memcpy(to.buffer, h, sizeof(IndexHeader))
    checksum = sc_checksum(to.buffer, INDEX_BLOCK, 0)
    memcpy(to.buffer + INDEX_BLOCK - 8, &checksum, 8)
    return pwrite_all(to.fd, to.buffer, INDEX_BLOCK, 0, f)
