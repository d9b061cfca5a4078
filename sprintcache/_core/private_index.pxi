# Private index: the arrays of an index in memory, made of the tables of all sources.
# Needs: externs, sources, tables, index.
#
# For a million entries: 16 MiB of slots and 8 MiB of row offsets; the names stay in the file.

cdef enum:
    PREFETCHED_SLOTS = 16


cdef struct IndexArrays:        # those of an Index, while they are filled
    uint64_t *slots
    uint64_t *row_offsets
    uint32_t *source_of
    uint32_t *segments


cdef bint is_attributes(const TableRow *row) noexcept nogil:
    return row.name_size >= 8 and memcmp(row.name + row.name_size - 8, b".attribs", 8) == 0


cdef int build_index(Index *index, const Source *sources, uint32_t count) noexcept nogil:
    """Fills the index from the checked rows of all sources; -1: out of memory.

    First duplicate wins within a source, last source wins across them; entries are in the order in
    which their names occur first. The slots of the next rows are prefetched, since each is a cache miss.
    """
    cdef uint64_t total = 0, slot
    cdef uint64_t hashes[PREFETCHED_SLOTS]
    cdef uint64_t offsets[PREFETCHED_SLOTS]
    cdef const uint8_t *names[PREFETCHED_SLOTS]
    cdef uint32_t sizes[PREFETCHED_SLOTS]
    cdef uint32_t i, n, k, entry, attributes = 0
    cdef IndexArrays to
    cdef Cursor c
    cdef TableRow row
    for i in range(count):
        total += sources[i].count
    if total >= UINT32_MAX or allocate_index(index, &to, total, count) != 0:
        return -1
    index.sources = sources
    index.source_count = count
    for i in range(count):
        c = cursor_over(sources[i].table, <uint64_t>(sources[i].table_end - sources[i].table))
        n = sources[i].count
        while n:
            k = 0
            while k < n and k < PREFETCHED_SLOTS:
                offsets[k] = <uint64_t>offset(&c)
                take_row(&c, &row)
                names[k] = row.name
                sizes[k] = row.name_size
                hashes[k] = sc_hash(row.name, row.name_size, index.key)
                prefetch(&to.slots[hashes[k] & index.mask])
                k += 1
            n -= k
            for entry in range(k):
                slot = find_slot(index, names[entry], sizes[entry], hashes[entry])
                if to.slots[slot] == 0:
                    to.row_offsets[index.count] = offsets[entry]
                    if to.source_of != NULL:
                        to.source_of[index.count] = i
                    index.count += 1
                    to.slots[slot] = (hashes[entry] >> 32 << 32) | index.count
                    row.name = names[entry]
                    row.name_size = sizes[entry]
                    attributes += is_attributes(&row)
                elif to.source_of != NULL:
                    override(&to, <uint32_t>to.slots[slot] - 1, i, offsets[entry])
    index.segment_count = index.count - attributes
    return list_segments(index, &to) if attributes else 0


cdef int allocate_index(Index *index, IndexArrays *to, uint64_t total,
                        uint32_t num_sources) noexcept nogil:
    cdef uint64_t room = MIN_SLOTS
    cdef void *memory
    memset(to, 0, sizeof(IndexArrays))
    while room < total + total // 3:
        room *= 2
    index.bytes = room * sizeof(uint64_t)
    memory = mmap(NULL, index.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if memory == MAP_FAILED:
        return -1
    if index.bytes >= 1 << 21:
        madvise(memory, index.bytes, MADV_HUGEPAGE)
    index.slots = to.slots = <uint64_t *>memory
    index.mask = room - 1
    index.row_offsets = to.row_offsets = <uint64_t *>malloc((total + 1) * sizeof(uint64_t))
    if to.row_offsets == NULL:
        return -1
    if num_sources > 1:
        index.source_of = to.source_of = <uint32_t *>malloc((total + 1) * sizeof(uint32_t))
        if to.source_of == NULL:
            return -1
    return 0


cdef inline void override(IndexArrays *to, uint32_t entry, uint32_t source,
                          uint64_t row_offset) noexcept nogil:
    """A later archive of a bundle has the name too: its entry counts."""
    if to.source_of[entry] != source:
        to.source_of[entry] = source
        to.row_offsets[entry] = row_offset


cdef int list_segments(Index *index, IndexArrays *to) noexcept nogil:
    """Lists the entries whose names do not end in ".attribs"; -1: out of memory."""
    cdef uint32_t entry, k = 0
    cdef TableRow row
    index.segments = to.segments = <uint32_t *>malloc((index.segment_count + 1) * sizeof(uint32_t))
    if to.segments == NULL:
        return -1
    for entry in range(index.count):
        row = indexed_row(index, entry)
        if not is_attributes(&row):
            to.segments[k] = entry
            k += 1
    return 0
