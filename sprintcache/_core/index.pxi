# Index: from names to entries, an open-addressing table of 8-byte slots over rows in place.
# Needs: externs, sources, tables.
#
# A slot holds 32 bits of the hash and the entry's number + 1. For a million entries: 16 MiB of
# slots and 8 MiB of row pointers; the names stay in the file.

cdef struct Index:
    uint64_t *slots
    uint64_t mask
    uint64_t bytes
    uint64_t key
    const Source *sources
    const uint8_t **rows        # entry -> its row
    uint32_t *source_of         # entry -> its source; NULL with one source
    uint32_t count
    uint32_t *segments          # segment -> entry; NULL where each entry is one
    uint32_t segment_count


cdef enum:
    PREFETCHED_SLOTS = 16


cdef inline TableRow indexed_row(const Index *index, int64_t entry) noexcept nogil:
    cdef const Source *s = index.sources
    if index.source_of != NULL:
        s += index.source_of[entry]
    return row_at(index.rows[entry], s)


cdef inline uint64_t find_slot(const Index *index, const uint8_t *name, uint32_t size,
                               uint64_t hash) noexcept nogil:
    """The slot of this name, or the empty slot for it."""
    cdef uint64_t at = hash & index.mask, slot
    cdef TableRow row
    while True:
        slot = index.slots[at]
        if slot == 0:
            return at
        if slot >> 32 == hash >> 32:
            row = indexed_row(index, <uint32_t>slot - 1)
            if row.name_size == size and memcmp(row.name, name, size) == 0:
                return at
        at = (at + 1) & index.mask


cdef inline int64_t find_entry(const Index *index, const uint8_t *name,
                               uint64_t size) noexcept nogil:
    """Number of the entry of this name, or -1."""
    cdef uint64_t slot
    if size > UINT32_MAX:
        return -1
    slot = index.slots[find_slot(index, name, <uint32_t>size, sc_hash(name, size, index.key))]
    return <int64_t><uint32_t>slot - 1


cdef struct NameQuery:          # a name to look up
    const uint8_t *name
    Py_ssize_t size
    uint64_t hash


cdef void find_entries(const Index *index, NameQuery *queries, int64_t *entries,
                       int64_t count) noexcept nogil:
    """Looks up many names. Each is a chain of cache misses: slot, row pointer, row; so all chains
    advance together, a link at a time."""
    cdef int64_t i
    cdef uint64_t slot
    for i in range(count):
        if queries[i].size < 0:
            queries[i].name = <const uint8_t *>b""       # the empty name: no entry has it
            queries[i].size = 0
        queries[i].hash = sc_hash(queries[i].name, queries[i].size, index.key)
        prefetch(&index.slots[queries[i].hash & index.mask])
    for i in range(count):
        slot = index.slots[queries[i].hash & index.mask]
        if slot:
            prefetch(&index.rows[<uint32_t>slot - 1])
    for i in range(count):
        slot = index.slots[queries[i].hash & index.mask]
        if slot:
            prefetch(index.rows[<uint32_t>slot - 1])
            prefetch(index.rows[<uint32_t>slot - 1] + 63)
    for i in range(count):
        slot = index.slots[find_slot(index, queries[i].name, <uint32_t>queries[i].size,
                                     queries[i].hash)]
        entries[i] = <int64_t><uint32_t>slot - 1


cdef bint is_attributes(const TableRow *row) noexcept nogil:
    return row.name_size >= 8 and memcmp(row.name + row.name_size - 8, b".attribs", 8) == 0


cdef int build_index(Index *index, const Source *sources, uint32_t count) noexcept nogil:
    """Fills the index from the checked rows of all sources; -1: out of memory.

    First duplicate wins within a source, last source wins across them; entries are in the order in
    which their names occur first. The slots of the next rows are prefetched, since each is a cache miss.
    """
    cdef uint64_t total = 0, room = 16, slot
    cdef uint64_t hashes[PREFETCHED_SLOTS]
    cdef const uint8_t *starts[PREFETCHED_SLOTS]
    cdef const uint8_t *names[PREFETCHED_SLOTS]
    cdef uint32_t sizes[PREFETCHED_SLOTS]
    cdef uint32_t i, n, k, entry, attributes = 0
    cdef Cursor c
    cdef TableRow row
    cdef void *memory
    for i in range(count):
        total += sources[i].count
    if total >= UINT32_MAX:
        return -1
    while room < total + total // 3:
        room *= 2
    index.sources = sources
    index.bytes = room * sizeof(uint64_t)
    memory = mmap(NULL, index.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if memory == MAP_FAILED:
        return -1
    if index.bytes >= 1 << 21:
        madvise(memory, index.bytes, MADV_HUGEPAGE)
    index.slots = <uint64_t *>memory
    index.mask = room - 1
    index.rows = <const uint8_t **>malloc((total + 1) * sizeof(void *))
    if index.rows == NULL:
        return -1
    if count > 1:
        index.source_of = <uint32_t *>malloc((total + 1) * sizeof(uint32_t))
        if index.source_of == NULL:
            return -1
    for i in range(count):
        c = cursor_over(sources[i].table, <uint64_t>(sources[i].table_end - sources[i].table))
        n = sources[i].count
        while n:
            k = 0
            while k < n and k < PREFETCHED_SLOTS:
                starts[k] = c.at
                take_row(&c, &row)
                names[k] = row.name
                sizes[k] = row.name_size
                hashes[k] = sc_hash(row.name, row.name_size, index.key)
                prefetch(&index.slots[hashes[k] & index.mask])
                k += 1
            n -= k
            for entry in range(k):
                slot = find_slot(index, names[entry], sizes[entry], hashes[entry])
                if index.slots[slot] == 0:
                    index.rows[index.count] = starts[entry]
                    if index.source_of != NULL:
                        index.source_of[index.count] = i
                    index.count += 1
                    index.slots[slot] = (hashes[entry] >> 32 << 32) | index.count
                    row.name = names[entry]
                    row.name_size = sizes[entry]
                    attributes += is_attributes(&row)
                elif index.source_of != NULL:
                    override(index, <uint32_t>index.slots[slot] - 1, i, starts[entry])
    index.segment_count = index.count - attributes
    if attributes:
        index.segments = <uint32_t *>malloc((index.segment_count + 1) * sizeof(uint32_t))
        if index.segments == NULL:
            return -1
        k = 0
        for entry in range(index.count):
            row = indexed_row(index, entry)
            if not is_attributes(&row):
                index.segments[k] = entry
                k += 1
    return 0


cdef inline void override(Index *index, uint32_t entry, uint32_t source,
                            const uint8_t *row) noexcept nogil:
    """A later archive of a bundle has the name too: its entry counts."""
    if index.source_of[entry] != source:
        index.source_of[entry] = source
        index.rows[entry] = row


cdef void release_index(Index *index) noexcept nogil:
    if index.slots != NULL:
        munmap(index.slots, index.bytes)
    free(index.rows)
    free(index.source_of)
    free(index.segments)
    memset(index, 0, sizeof(Index))
