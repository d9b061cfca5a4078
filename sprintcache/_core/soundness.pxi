# Soundness: decodes runs of feature entries completely, for `verify`, and where all entries are.
# Needs: externs, faults, sources, tables, index, private_index, fetch, packets, store.

cdef bint has_sound_features(Core *core, int64_t entry, Worker *w, int64_t *size) noexcept nogil:
    """Whether an entry of a file is features, not empty, and all of it is as it must be."""
    cdef Fault unused
    cdef Payload p
    cdef TableRow row = row_of(core, entry)
    if source_of(core, entry).kind == SOURCE_DIRECTORY or is_attributes(&row):
        return False
    size[0] = row.size
    return (fetch(core, entry, w, WHOLE, False, &p, &unused) == NO_FAULT and p.size > 0
            and check_features(p.at, p.size, &unused) == NO_FAULT)


cdef void extent_of(Core *core, int64_t entry, int64_t *begin, int64_t *end) noexcept nogil:
    """Offsets of an entry in its file; -1 in a directory, and if the row was overwritten."""
    cdef Source *s = source_of(core, entry)
    cdef TableRow row = row_of(core, entry)
    begin[0] = end[0] = -1
    if s.kind == SOURCE_FILE and row_fits(&row, s.size):
        begin[0] = <int64_t>entry_begin(&row)
        end[0] = begin[0] + <int64_t>entry_extent(&row)
