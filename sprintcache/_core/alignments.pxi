# Entries with one alignment.
# Needs: externs, faults, cursor, alignment_items, packets.

cdef int only_alignment(Cursor *c, int64_t *at, Fault *f) noexcept nogil:
    """Moves the cursor to the one alignment of an entry; `at` is its offset.

    after_alignment checks what follows it.
    """
    cdef BlockHead block
    cdef int code
    while left(c) > 0:
        code = take_block(c, &block, f)
        if code != NO_FAULT:
            return code
        if block.count and block.type.layout != SC_ALIGNMENT:
            return fault_text(f, NO_ALIGNMENT, 0, <const uint8_t *>block.type.name,
                              block.type.name_size)
        if block.count > 1:
            return fault(f, SEVERAL_ALIGNMENTS, 0, True, block.count)
        if block.count == 1:
            at[0] = offset(c)
            return NO_FAULT
    return fault(f, NO_ALIGNMENT_AT_ALL, 0)


cdef int after_alignment(Cursor *c, double *start, double *end, Fault *f) noexcept nogil:
    """The times after the alignment; checks that only empty blocks follow."""
    cdef BlockHead block
    cdef int code
    if not (take_f64(c, start) and take_f64(c, end)):
        return packet_cut(c, &sc_datatypes[1], 0, f)
    while left(c) > 0:
        code = take_block(c, &block, f)
        if code != NO_FAULT:
            return code
        if block.count and block.type.layout != SC_ALIGNMENT:
            return fault_text(f, NO_ALIGNMENT, offset(c), <const uint8_t *>block.type.name,
                              block.type.name_size)
        if block.count:
            return fault(f, SEVERAL_ALIGNMENTS, 0, True, 1 + <int64_t>block.count)
    return NO_FAULT


cdef int measure_alignment(const uint8_t *payload, uint64_t size, uint64_t visible,
                           int64_t *items, Fault *f) noexcept nogil:
    """Items of the one alignment of an entry, from its head; -1 if `visible` is not enough."""
    cdef Cursor c = cursor_over(payload, size)
    cdef AlignmentHead head
    cdef BlockHead block
    cdef int64_t at = 0
    cdef int code
    items[0] = -1
    if visible == size:
        code = only_alignment(&c, &at, f)
    elif visible < 128:                 # no head, nor what a fault quotes of it, is longer
        return NO_FAULT
    else:
        code = take_block(&c, &block, f)
        if code == NO_FAULT and (block.type.layout != SC_ALIGNMENT or block.count != 1):
            return NO_FAULT             # unusual: needs the whole entry
    if code == NO_FAULT:
        code = take_alignment_head(&c, &head, f)
    if code == NO_FAULT:
        items[0] = head.items
    return code
