# Index files: an index that processes share (docs/reference/index-format.md).
# Needs: externs, faults, sources, tables.
#
# The file is mapped. Its header, the checksums of its blocks and its sources are checked when it is
# opened; a block is checked at its first use, so that opening takes no pass over the file.

cdef enum:
    INDEX_VERSION = 1
    INDEX_BLOCK = 4096          # a page; sections begin at multiples of it
    IDENTITY_PART = 4096        # of the head and of the tail of a table
    IDENTITY_BYTES = 8256       # two parts, magic and flag, trailer: filled up to a multiple of 64
    CHECKSUM_PART = 1 << 16     # of the section of checksums, read at a time
    MIN_SLOTS = 16


cdef const char *INDEX_MAGIC = b"SPCINDEX"
cdef uint32_t UNKNOWN_FRAMES = UINT32_MAX   # the archive itself must be asked


cdef struct IndexHeader:        # the first bytes of the file, little endian; zeros follow
    uint8_t magic[8]
    uint32_t version
    uint32_t block
    uint64_t size               # of the file
    uint64_t key                # of the hash of names
    uint64_t num_slots          # a power of 2
    uint32_t num_entries
    uint32_t num_segments
    uint32_t num_sources
    uint32_t unused
    # offsets of the sections; 0: there is no such section
    uint64_t slots              # u64 each
    uint64_t row_offsets        # u64 each: from the beginning of the rows of its source
    uint64_t source_numbers     # u32 for each entry; none with one source
    uint64_t segments           # u32 each: the entry; none where each entry is a segment
    uint64_t frames             # u32 for each segment
    uint64_t dims               # u32 for each segment
    uint64_t rows               # rows of tables as in archives
    uint64_t rows_size
    uint64_t sources            # an IndexedSource each
    uint64_t checksums          # u64 for each block from the second on; the end of the file
    uint64_t checksum           # of the section of checksums


cdef struct IndexedSource:
    uint64_t size
    int64_t mtime
    uint64_t identity           # hash of parts of the archive: `source_identity`
    uint64_t rows_offset        # in the section of rows
    uint64_t rows_size
    uint32_t num_rows
    uint32_t unused


cdef struct IndexFile:
    const uint8_t *map
    uint64_t size
    IndexHeader header
    uint32_t *checked           # a bit for each block from the second on
    int64_t damaged             # offset of a damaged block, or -1


cdef inline bint is_checked(const IndexFile *file, uint64_t block) noexcept nogil:
    return (load_bits(&file.checked[block >> 5]) >> (block & 31)) & 1


cdef bint check_block(IndexFile *file, uint64_t block) noexcept nogil:
    """Compares a block, counted from the second of the file, with its checksum."""
    cdef uint64_t at = (block + 1) * INDEX_BLOCK
    cdef const uint64_t *checksums = <const uint64_t *>(file.map + file.header.checksums)
    if sc_checksum(file.map + at, INDEX_BLOCK, block + 1) != checksums[block]:
        store_offset(&file.damaged, <int64_t>at)
        return False
    set_bits(&file.checked[block >> 5], <uint32_t>1 << (block & 31))
    return True


cdef inline bint is_sound(IndexFile *file, const void *at, uint64_t size) noexcept nogil:
    """Are these bytes, which are between header and checksums, undamaged?"""
    cdef uint64_t begin = <uint64_t>(<const uint8_t *>at - file.map) - INDEX_BLOCK
    cdef uint64_t block = begin // INDEX_BLOCK
    cdef uint64_t last = (begin + size - 1) // INDEX_BLOCK
    while True:
        if not is_checked(file, block) and not check_block(file, block):
            return False
        if block == last:
            return True
        block += 1


cdef uint64_t chain_checksums(const uint8_t *at, uint64_t size, uint64_t checksum) noexcept nogil:
    """Checksum of the section of checksums: of its parts, each with that before as the key."""
    cdef uint8_t rest[64]
    cdef uint64_t done = 0, n
    while done < size:
        n = min(size - done, <uint64_t>CHECKSUM_PART)
        checksum = sc_checksum(at + done, n & ~<uint64_t>63, checksum)
        if n % 64:
            memset(rest, 0, 64)
            memcpy(rest, at + done + n - n % 64, n % 64)
            checksum = sc_checksum(rest, 64, checksum)
        done += n
    return checksum


cdef int source_identity(const Source *s, int fd, uint64_t *identity, Fault *f) noexcept nogil:
    """Hash of the magic, the flag, the trailer, and the head and tail of the table of an archive.

    0 for an archive without a table.
    """
    cdef uint8_t part[IDENTITY_BYTES]
    cdef uint64_t trailer[2]
    cdef uint64_t at, size
    cdef int code
    memset(part, 0, IDENTITY_BYTES)
    identity[0] = 0
    if s.size < HEADER + 20:
        return NO_FAULT
    code = pread_all(fd, part, HEADER, 0, f)
    if code == NO_FAULT:
        code = pread_all(fd, trailer, 16, s.size - 16, f)
    if code != NO_FAULT:
        return code
    at = trailer[1]
    if part[HEADER - 1] == 0 or at < HEADER or at > s.size - 20:
        return NO_FAULT
    memcpy(part + HEADER, trailer, 16)
    size = min(s.size - 16 - at, <uint64_t>IDENTITY_PART)
    code = pread_all(fd, part + 32, size, at, f)
    if code == NO_FAULT:
        code = pread_all(fd, part + 32 + IDENTITY_PART, size, s.size - 16 - size, f)
    if code == NO_FAULT:
        identity[0] = sc_checksum(part, IDENTITY_BYTES, 0) | 1
    return code


cdef inline bint section_fits(const IndexHeader *h, uint64_t at, uint64_t count,
                              uint64_t size) noexcept nogil:
    """Is the section between header and checksums?"""
    return (at % INDEX_BLOCK == 0 and INDEX_BLOCK <= at <= h.checksums
            and count <= (h.checksums - at) // size)


cdef bint header_fits(const IndexHeader *h) noexcept nogil:
    """Do the sections fit the file, and each other?"""
    cdef uint64_t blocks
    if h.checksums % INDEX_BLOCK or not INDEX_BLOCK <= h.checksums <= h.size:
        return False
    blocks = h.checksums // INDEX_BLOCK - 1
    return ((h.size - h.checksums) % 8 == 0 and (h.size - h.checksums) // 8 == blocks
            and h.num_slots >= MIN_SLOTS and h.num_slots & (h.num_slots - 1) == 0
            and h.num_entries < h.num_slots and h.num_segments <= h.num_entries
            and h.num_sources > 0
            and section_fits(h, h.slots, h.num_slots, 8)
            and section_fits(h, h.row_offsets, h.num_entries, 8)
            and (section_fits(h, h.source_numbers, h.num_entries, 4) if h.source_numbers
                 else h.num_sources == 1)
            and (section_fits(h, h.segments, h.num_segments, 4) if h.segments
                 else h.num_segments == h.num_entries)
            and section_fits(h, h.frames, h.num_segments, 4)
            and section_fits(h, h.dims, h.num_segments, 4)
            and section_fits(h, h.rows, h.rows_size, 1)
            and section_fits(h, h.sources, h.num_sources, sizeof(IndexedSource)))


cdef str open_index_file(IndexFile *file, str path, bint remote):
    """Maps an index file and checks all but its blocks; returns what is wrong with it.

    Without `remote`, files of network file systems are not mapped: if another machine replaces one,
    its pages are lost, which ends this process.
    """
    cdef Fault f
    cdef struct_stat status
    cdef uint8_t head[INDEX_BLOCK]
    cdef uint64_t checksum
    cdef bytes encoded = os.fsencode(path)
    cdef const char *text = encoded
    cdef void *map
    cdef int fd, code
    file.damaged = -1
    fd = sc_open(AT_FDCWD, text, 0)
    if fd < 0 or fstat(fd, &status) != 0:
        reason = strerror(errno).decode("utf-8", "replace")
        if fd >= 0:
            close(fd)
        return f"it cannot be opened: {reason}"
    try:
        if not is_regular(status.st_mode):
            return "it is not a regular file"
        if not (remote or is_local(fd)):
            return ("it is on a network file system, where it is used only with io='mmap', or if it"
                    " is given by its path")
        file.size = <uint64_t>status.st_size
        if file.size < INDEX_BLOCK:
            return f"it is cut off: {file.size} bytes"
        with nogil:
            code = pread_all(fd, head, INDEX_BLOCK, 0, &f)
        if code != NO_FAULT:
            return "it cannot be read"
        memcpy(&file.header, head, sizeof(IndexHeader))
        if memcmp(file.header.magic, INDEX_MAGIC, 8) != 0:
            return "it is not an index"
        if file.header.version != INDEX_VERSION:
            return f"it has version {file.header.version}, not {INDEX_VERSION}"
        if file.header.block != INDEX_BLOCK:
            return f"it has blocks of {file.header.block} bytes, not {INDEX_BLOCK}"
        memcpy(&checksum, head + INDEX_BLOCK - 8, 8)
        memset(head + INDEX_BLOCK - 8, 0, 8)
        if sc_checksum(head, INDEX_BLOCK, 0) != checksum:
            return "it is damaged: header"
        if file.header.size != file.size:
            return f"it is damaged: {file.size} bytes, not {file.header.size}"
        if not header_fits(&file.header):
            return "it is damaged: its sections do not fit"
        with nogil:
            code = check_checksums(file, fd)
        if code == NO_MEMORY:
            raise MemoryError(path)
        if code != NO_FAULT:
            return "it is damaged: checksums"
        map = mmap(NULL, file.size, PROT_READ, MAP_SHARED, fd, 0)
        if map == MAP_FAILED:
            return "it cannot be mapped"
        file.map = <const uint8_t *>map
    finally:
        close(fd)
    file.checked = <uint32_t *>calloc(file.header.checksums // INDEX_BLOCK // 32 + 1, 4)
    if file.checked == NULL:
        raise MemoryError(path)
    if not is_sound(file, file.map + file.header.sources,
                    <uint64_t>file.header.num_sources * sizeof(IndexedSource)):
        return "it is damaged: sources"
    return None


cdef int check_checksums(const IndexFile *file, int fd) noexcept nogil:
    """Compares the section of checksums with its own; read, so that it is not mapped."""
    cdef Fault f
    cdef uint64_t at = file.header.checksums, size, checksum = 0
    cdef uint8_t *part = <uint8_t *>malloc(CHECKSUM_PART)
    cdef int code = NO_FAULT
    if part == NULL:
        return NO_MEMORY
    while at < file.size and code == NO_FAULT:
        size = min(file.size - at, <uint64_t>CHECKSUM_PART)
        code = pread_all(fd, part, size, at, &f)
        checksum = chain_checksums(part, size, checksum)
        at += size
    if code == NO_FAULT and checksum != file.header.checksum:
        code = INDEX_DAMAGED
    free(part)
    return code


cdef inline IndexedSource indexed_source(const IndexFile *file, uint32_t number) noexcept nogil:
    return (<const IndexedSource *>(file.map + file.header.sources))[number]


cdef str match_source(IndexFile *file, uint32_t number, Source *s):
    """Lets an opened source use its rows in the index; returns why it is not the indexed one."""
    cdef Fault f
    cdef uint64_t identity = 0
    cdef IndexedSource indexed = indexed_source(file, number)
    cdef const IndexHeader *h = &file.header
    cdef int code
    if indexed.size != s.size:
        return f"the archive has {s.size} bytes, and had {indexed.size}"
    if indexed.mtime != s.mtime:
        return f"the archive was changed at {s.mtime} ns, before at {indexed.mtime} ns"
    with nogil:
        code = source_identity(s, s.fd, &identity, &f)
    if code != NO_FAULT or identity == 0 or identity != indexed.identity:
        return "the table of the archive is another one"
    if indexed.rows_offset > h.rows_size or indexed.rows_size > h.rows_size - indexed.rows_offset:
        return "it is damaged: sources"
    s.table = file.map + h.rows + indexed.rows_offset
    s.table_end = s.table + indexed.rows_size
    return None


cdef void release_index_file(IndexFile *file) noexcept nogil:
    if file.map != NULL:
        munmap(<void *>file.map, file.size)
    free(file.checked)
    file.map = NULL
    file.checked = NULL
