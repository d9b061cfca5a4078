# Index: from names to entries, an open-addressing table of 8-byte slots over rows in place.
# Needs: externs, sources, tables, index_file.
#
# A slot holds 32 bits of the hash and the entry's number + 1. An index is private memory
# (private_index.pxi) or a mapped file; both have the same arrays, and the functions here serve both.
# What a file says is checked at its use: a block against its checksum at first, a number against
# its range always. So a damaged file gives no wrong answer, and a forged one no read out of bounds.

cdef struct Index:
    const uint64_t *slots
    uint64_t mask
    uint64_t bytes              # of private slots
    uint64_t key
    const Source *sources
    uint32_t source_count
    const uint64_t *row_offsets # entry -> its row, from the first one of its source
    const uint32_t *source_of   # entry -> its source; NULL with one source
    uint32_t count
    const uint32_t *segments    # segment -> entry; NULL where each entry is one
    uint32_t segment_count
    const uint32_t *frames      # of each segment; NULL: not known
    const uint32_t *dims
    IndexFile *file             # NULL: private


cdef enum:
    NO_ENTRY = -1
    DAMAGED_INDEX = -2


cdef uint64_t DAMAGED_SLOT = UINT64_MAX


cdef inline int64_t damaged(const Index *index, const void *at) noexcept nogil:
    """Records where an index file says something that cannot be."""
    if index.file != NULL:
        store_offset(&index.file.damaged, <const uint8_t *>at - index.file.map)
    return DAMAGED_INDEX


cdef inline uint32_t source_number(const Index *index, int64_t entry) noexcept nogil:
    """Source of an entry; 0 if a damaged file says another number, then its row is empty."""
    cdef uint32_t number = 0 if index.source_of == NULL else index.source_of[entry]
    return number if number < index.source_count else 0


cdef inline const uint8_t *row_address(const Index *index, uint64_t entry) noexcept nogil:
    """Where the row of an entry begins; NULL: outside of the rows of its source."""
    cdef const Source *s
    if entry >= index.count:
        return NULL
    s = index.sources + source_number(index, entry)
    if index.row_offsets[entry] >= <uint64_t>(s.table_end - s.table):
        return NULL
    return s.table + index.row_offsets[entry]


cdef inline TableRow indexed_row(const Index *index, int64_t entry) noexcept nogil:
    """The row of an entry; with an empty name if it was overwritten, or the index is damaged."""
    cdef const uint8_t *at
    if index.file != NULL:
        return mapped_row(index, entry)
    at = row_address(index, entry)
    return row_at(at, index.sources + source_number(index, entry))


cdef TableRow mapped_row(const Index *index, int64_t entry) noexcept nogil:
    cdef TableRow row = TableRow(index.file.map, 0, 0, 0, 0)
    cdef const Source *s
    cdef const uint8_t *at
    if not is_sound(index.file, &index.row_offsets[entry], 8):
        return row
    if index.source_of != NULL and not is_sound(index.file, &index.source_of[entry], 4):
        return row
    s = index.sources + source_number(index, entry)
    at = row_address(index, entry)
    if at == NULL or s.table_end - at < <int64_t>MIN_ROW:
        damaged(index, &index.row_offsets[entry])
    elif is_sound(index.file, at, MIN_ROW):
        row = row_at(at, s)
        if row.name_size == 0:
            damaged(index, at)
        elif not is_sound(index.file, at, MIN_ROW + row.name_size):
            row = TableRow(index.file.map, 0, 0, 0, 0)
    return row


cdef inline int64_t segment_entry(const Index *index, int64_t segment) noexcept nogil:
    """Entry of a segment, or DAMAGED_INDEX."""
    cdef uint32_t entry
    if index.segments == NULL:
        return segment
    if index.file != NULL and not is_sound(index.file, &index.segments[segment], 4):
        return DAMAGED_INDEX
    entry = index.segments[segment]
    return entry if entry < index.count else damaged(index, &index.segments[segment])


cdef int64_t indexed_shape(const Index *index, int64_t segment, bint want_dim) noexcept nogil:
    """Frames or dimension of a segment by an index file; NO_ENTRY: unknown."""
    if not (is_sound(index.file, &index.frames[segment], 4)
            and is_sound(index.file, &index.dims[segment], 4)):
        return DAMAGED_INDEX
    if index.frames[segment] == UNKNOWN_FRAMES:
        return NO_ENTRY
    return index.dims[segment] if want_dim else index.frames[segment]


cdef inline uint64_t find_slot(const Index *index, const uint8_t *name, uint32_t size,
                               uint64_t hash) noexcept nogil:
    """The slot of this name, or the empty slot for it, or DAMAGED_SLOT."""
    cdef uint64_t at = hash & index.mask, slot, probes = 0
    cdef TableRow row
    while probes <= index.mask:
        if index.file != NULL and not is_sound(index.file, &index.slots[at], 8):
            return DAMAGED_SLOT
        slot = index.slots[at]
        if slot == 0:
            return at
        if slot >> 32 == hash >> 32:
            if <uint32_t>slot > index.count:
                break
            row = indexed_row(index, <uint32_t>slot - 1)
            if row.name_size == size and memcmp(row.name, name, size) == 0:
                return at
            if row.name_size == 0 and index.file != NULL:
                return DAMAGED_SLOT
        at = (at + 1) & index.mask
        probes += 1
    damaged(index, &index.slots[at])
    return DAMAGED_SLOT


cdef inline int64_t slot_entry(const Index *index, uint64_t slot) noexcept nogil:
    return DAMAGED_INDEX if slot == DAMAGED_SLOT else <int64_t><uint32_t>index.slots[slot] - 1


cdef inline int64_t find_entry(const Index *index, const uint8_t *name,
                               uint64_t size) noexcept nogil:
    """Number of the entry of this name, NO_ENTRY or DAMAGED_INDEX."""
    if size > UINT32_MAX:
        return NO_ENTRY
    return slot_entry(index, find_slot(index, name, <uint32_t>size,
                                       sc_hash(name, size, index.key)))


cdef struct NameQuery:          # a name to look up
    const uint8_t *name
    Py_ssize_t size
    uint64_t hash


cdef enum:
    ROW_PREFETCH = 63           # most rows end in the cache line of their beginning or in the next


cdef void find_entries(const Index *index, NameQuery *queries, int64_t *entries,
                       int64_t count) noexcept nogil:
    """Looks up many names. Each is a chain of cache misses: slot, row offset, row; so all chains
    advance together, a link at a time."""
    cdef int64_t i
    cdef uint64_t slot
    cdef const uint8_t *row
    for i in range(count):
        if queries[i].size < 0:
            queries[i].name = <const uint8_t *>b""       # the empty name: no entry has it
            queries[i].size = 0
        queries[i].hash = sc_hash(queries[i].name, queries[i].size, index.key)
        prefetch(&index.slots[queries[i].hash & index.mask])
    for i in range(count):
        slot = index.slots[queries[i].hash & index.mask]
        if slot:
            prefetch(&index.row_offsets[<uint32_t>slot - 1])
    for i in range(count):
        slot = index.slots[queries[i].hash & index.mask]
        row = row_address(index, <uint32_t>slot - 1) if slot else NULL
        if row != NULL:
            prefetch(row)
            prefetch(row + ROW_PREFETCH)
    for i in range(count):
        entries[i] = slot_entry(index, find_slot(index, queries[i].name,
                                                 <uint32_t>queries[i].size, queries[i].hash))


cdef void use_index_file(Index *index, IndexFile *file, const Source *sources) noexcept nogil:
    """Lets an index use the arrays of an opened file, which its sources match."""
    cdef const IndexHeader *h = &file.header
    index.file = file
    index.key = h.key
    index.mask = h.num_slots - 1
    index.sources = sources
    index.source_count = h.num_sources
    index.count = h.num_entries
    index.segment_count = h.num_segments
    index.slots = <const uint64_t *>(file.map + h.slots)
    index.row_offsets = <const uint64_t *>(file.map + h.row_offsets)
    if h.source_numbers:
        index.source_of = <const uint32_t *>(file.map + h.source_numbers)
    if h.segments:
        index.segments = <const uint32_t *>(file.map + h.segments)
    index.frames = <const uint32_t *>(file.map + h.frames)
    index.dims = <const uint32_t *>(file.map + h.dims)


cdef void release_index(Index *index) noexcept nogil:
    if index.file != NULL:
        release_index_file(index.file)
        free(index.file)
    else:
        if index.slots != NULL:
            munmap(<void *>index.slots, index.bytes)
        free(<void *>index.row_offsets)
        free(<void *>index.source_of)
        free(<void *>index.segments)
    memset(index, 0, sizeof(Index))
