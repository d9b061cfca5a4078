# Blocks and packets of Flow caches (archive format, section 6): walk, count, copy features.
# Needs: externs, faults, cursor, alignment_items.

# Blocks and packets of Flow caches (archive format, section 6): walk, count, gather features.

cdef struct BlockHead:
    const sc_datatype *type
    uint32_t count


cdef enum:
    MAX_NAME = 255              # of a datatype; the known ones have up to 30 bytes
    MAX_NESTED = 16             # aggregates in each other


cdef int take_block(Cursor *c, BlockHead *block, Fault *f) noexcept nogil:
    """The head of a block: string datatype, u32 count, which the bytes left must be able to hold."""
    cdef const uint8_t *name = NULL
    cdef uint32_t size = 0
    cdef int64_t at = offset(c)
    if not take_string(c, &name, &size):
        if at == 0 and size > MAX_NAME:     # a text, a lattice: not a cut block
            return fault_text(f, NO_FLOW_ENTRY, at, c.at, min(left(c), 16))
        return fault(f, HEAD_CUT, at)
    block.type = sc_find_datatype(name, size)
    if block.type == NULL:
        return fault_text(f, UNKNOWN_DATATYPE, at, name, size)
    if not take_u32(c, &block.count):
        return fault(f, HEAD_CUT, at)
    return check_count(c, block.type, block.count, f)


cdef int check_count(Cursor *c, const sc_datatype *type, uint32_t count, Fault *f) noexcept nogil:
    if <uint64_t>count * type.least > left(c):
        return fault_text(f, BAD_COUNT, offset(c) - 4, <const uint8_t *>type.name, type.name_size,
                          count, type.least, <int64_t>left(c))
    return NO_FAULT


cdef inline int packet_cut(Cursor *c, const sc_datatype *type, int64_t index,
                           Fault *f) noexcept nogil:
    return fault_text(f, PACKET_CUT, offset(c), <const uint8_t *>type.name, type.name_size, index)


cdef inline bint skip_elements(Cursor *c, uint64_t count, uint64_t size) noexcept nogil:
    cdef const uint8_t *at = NULL
    return take_span(c, count * size, &at)


cdef int skip_packet(Cursor *c, const sc_datatype *type, int64_t index, int depth, double *start,
                     double *end, Fault *f) noexcept nogil:
    """Skips one packet of any datatype and returns its times."""
    cdef uint32_t size = 0, columns = 0, again = 0, i
    cdef uint8_t same = 0
    cdef double inner = 0
    cdef BlockHead block
    cdef AlignmentHead head
    cdef int code
    if type.layout == SC_AGGREGATE and depth >= MAX_NESTED:
        return fault(f, TOO_DEEP, offset(c))
    if type.layout == SC_SCALAR:
        if not skip_elements(c, 1, type.element_size):
            return packet_cut(c, type, index, f)
    elif type.layout == SC_VECTOR or type.layout == SC_STRING:
        if not (take_u32(c, &size) and skip_elements(c, size, type.element_size)):
            return packet_cut(c, type, index, f)
    elif type.layout == SC_COEFFICIENTS:
        if not (skip_elements(c, 1, 4) and take_u32(c, &size) and skip_elements(c, size, 4)):
            return packet_cut(c, type, index, f)
    elif type.layout == SC_FIR:
        if not (take_u32(c, &size) and skip_elements(c, size, 16)):
            return packet_cut(c, type, index, f)
        return NO_FAULT
    elif type.layout == SC_MATRIX:
        if not (take_u32(c, &size) and take_u32(c, &columns) and take_u32(c, &again)):
            return packet_cut(c, type, index, f)
        if again != size:
            return fault(f, BAD_MATRIX, offset(c) - 4, True, size, again)
        for i in range(size):
            if not take_u32(c, &again):
                return packet_cut(c, type, index, f)
            if again != columns:
                return fault(f, BAD_MATRIX, offset(c) - 4, True, columns, again)
            if not skip_elements(c, columns, type.element_size):
                return packet_cut(c, type, index, f)
    elif type.layout == SC_ALIGNMENT:
        code = take_alignment(c, &head, NULL, NULL, NULL, 0, f)
        if code != NO_FAULT:
            return code
    elif type.layout == SC_AGGREGATE or type.layout == SC_VECTORS_AFTER:
        if type.layout == SC_AGGREGATE and not take_u8(c, &same):
            return packet_cut(c, type, index, f)
        if not (take_f64(c, start) and take_f64(c, end)):
            return packet_cut(c, type, index, f)
        if type.layout == SC_VECTORS_AFTER or same:
            block.type = &sc_datatypes[0]
            if type.layout == SC_VECTORS_AFTER:
                if not take_u32(c, &block.count):
                    return packet_cut(c, type, index, f)
                code = check_count(c, block.type, block.count, f)
            else:
                code = take_block(c, &block, f)
            if code != NO_FAULT:
                return code
            for i in range(block.count):
                code = skip_packet(c, block.type, i, depth + 1, &inner, &inner, f)
                if code != NO_FAULT:
                    return code
        else:
            if not take_u32(c, &size):
                return packet_cut(c, type, index, f)
            for i in range(size):
                code = take_type(c, &block.type, f)
                if code == NO_FAULT:
                    code = skip_packet(c, block.type, i, depth + 1, &inner, &inner, f)
                if code != NO_FAULT:
                    return code
        return NO_FAULT
    elif type.layout == SC_VECTORS:
        if not take_u32(c, &size):
            return packet_cut(c, type, index, f)
        for i in range(size):
            code = skip_packet(c, &sc_datatypes[0], i, depth + 1, &inner, &inner, f)
            if code != NO_FAULT:
                return code
    if not (take_f64(c, start) and take_f64(c, end)):
        return packet_cut(c, type, index, f)
    return NO_FAULT


cdef int take_type(Cursor *c, const sc_datatype **type, Fault *f) noexcept nogil:
    """The datatype name before each packet of a mixed aggregate."""
    cdef const uint8_t *name = NULL
    cdef uint32_t size = 0
    cdef int64_t at = offset(c)
    if not take_string(c, &name, &size):
        return fault(f, HEAD_CUT, at)
    type[0] = sc_find_datatype(name, size)
    if type[0] == NULL:
        return fault_text(f, UNKNOWN_DATATYPE, at, name, size)
    return NO_FAULT


cdef inline bint is_numeric(const sc_datatype *type) noexcept nogil:
    return ((type.layout == SC_SCALAR or type.layout == SC_VECTOR)
            and type.element != SC_C64 and type.element != SC_C128)


cdef inline uint64_t frame_head(const sc_datatype *type) noexcept nogil:
    """Bytes before the values of a frame: the u32 size of a vector, nothing for a scalar."""
    return 4 if type.layout == SC_VECTOR else 0


cdef inline uint64_t frame_bytes(const sc_datatype *type, uint32_t dim) noexcept nogil:
    return frame_head(type) + <uint64_t>dim * type.element_size + SC_TIMES


cdef inline bint take_packets(Cursor *c, uint64_t count, uint64_t stride,
                              const uint8_t **at) noexcept nogil:
    """`count` packets of equal size; the product cannot wrap."""
    return stride <= left(c) // count and take_span(c, count * stride, at)


cdef inline bint peek_dim(const Cursor *c, const sc_datatype *type, uint32_t *dim) noexcept nogil:
    """Values per frame according to the next packet; the cursor does not move."""
    cdef Cursor ahead = c[0]
    dim[0] = 1
    return type.layout == SC_SCALAR or take_u32(&ahead, dim)


cdef struct Shape:
    int64_t frames
    int64_t dim


cdef int measure_features(const uint8_t *payload, uint64_t size, uint64_t visible, Shape *shape,
                          Fault *f) noexcept nogil:
    """Frames and dimension from the heads of blocks and their first packets.

    Only `visible` bytes of the payload may be read; frames are -1 if that is not enough.
    copy_features checks the other packets.
    """
    cdef Cursor c = cursor_over(payload, visible)
    cdef BlockHead block
    cdef uint32_t dim = 0
    cdef uint64_t hidden = size - visible, stride
    cdef const uint8_t *packets = NULL
    cdef int code
    shape.frames = 0
    shape.dim = -1
    while left(&c) + hidden > 0:
        if hidden:
            if left(&c) < 128:      # no head, nor what a fault quotes of it, is longer
                shape.frames = -1
                return NO_FAULT
            c.end = payload + size  # the head is visible; extents are compared with the whole
        code = take_block(&c, &block, f)
        if code != NO_FAULT and shape.dim >= 0:     # sizes of packets before may be wrong
            if hidden:
                shape.frames = -1
                return NO_FAULT
            return explain_features(payload, size, f)
        if code != NO_FAULT:
            return code
        if not is_numeric(block.type):
            return fault_text(f, NO_FEATURES, 0, <const uint8_t *>block.type.name,
                              block.type.name_size)
        if block.count == 0:
            if hidden:
                c.end = payload + visible
            continue
        if not peek_dim(&c, block.type, &dim):
            return packet_cut(&c, block.type, 0, f)
        if shape.dim < 0:
            shape.dim = dim
        stride = frame_bytes(block.type, dim)
        if shape.dim != dim or not take_packets(&c, block.count, stride, &packets):
            if hidden:
                shape.frames = -1
                return NO_FAULT
            return explain_features(payload, size, f)
        shape.frames += block.count
        if hidden:
            if left(&c) == 0:
                break
            if c.at > payload + visible:
                shape.frames = -1
                return NO_FAULT
            c.end = payload + visible
    if shape.dim < 0:
        shape.dim = 0
    return NO_FAULT


cdef int explain_features(const uint8_t *payload, uint64_t size, Fault *f) noexcept nogil:
    """Finds the packet that is wrong in features that do not add up."""
    cdef int code = check_features(payload, size, f)
    return code if code != NO_FAULT else fault(f, FILE_CHANGED, -1, False)


cdef int check_features(const uint8_t *payload, uint64_t size, Fault *f) noexcept nogil:
    """Checks every packet."""
    cdef Cursor c = cursor_over(payload, size)
    cdef BlockHead block
    cdef uint32_t dim = 0, i
    cdef int64_t first = -1, frame = 0
    cdef double time = 0
    cdef int code
    while left(&c) > 0:
        code = take_block(&c, &block, f)
        if code != NO_FAULT:
            return code
        if not is_numeric(block.type):
            return fault_text(f, NO_FEATURES, 0, <const uint8_t *>block.type.name,
                              block.type.name_size)
        for i in range(block.count):
            if not peek_dim(&c, block.type, &dim):
                return packet_cut(&c, block.type, i, f)
            if first < 0:
                first = dim
            elif first != dim:
                return fault(f, FRAME_SIZES, offset(&c), True, frame, dim, 0, first)
            code = skip_packet(&c, block.type, i, 0, &time, &time, f)
            if code != NO_FAULT:
                return code
            frame += 1
    return NO_FAULT


cdef int copy_features(const uint8_t *payload, uint64_t size, Shape shape, float *out,
                         Fault *f) noexcept nogil:
    """Copies the values of every frame of a measured payload to `out`, (frames, dim)."""
    cdef Cursor c = cursor_over(payload, size)
    cdef BlockHead block
    cdef const uint8_t *packets = NULL
    cdef uint32_t dim = <uint32_t>shape.dim
    cdef int64_t frames = shape.frames
    cdef int code
    while left(&c) > 0:
        code = take_block(&c, &block, f)
        if code != NO_FAULT:
            return code
        if block.count == 0:
            continue
        frames -= block.count
        if frames < 0:                  # a mapped file was changed since it was measured
            return fault(f, FILE_CHANGED, -1, False)
        if not is_numeric(block.type):
            return explain_features(payload, size, f)
        if (not take_packets(&c, block.count, frame_bytes(block.type, dim), &packets)
                or not copy_packets(packets, block.type, block.count, dim, out)):
            return explain_features(payload, size, f)
        out += <uint64_t>block.count * dim
    return NO_FAULT


cdef bint copy_packets(const uint8_t *packets, const sc_datatype *type, int64_t count,
                       uint32_t dim, float *out) noexcept nogil:
    """Copies the values of numeric packets; returns whether all of them have `dim` values."""
    cdef uint64_t head = frame_head(type)
    cdef int64_t i
    if type.element == SC_F32:
        return sc_copy_frames(packets, <uint8_t *>out, count, dim, 4 * <uint64_t>dim,
                              head) == count
    for i in range(count):
        if head and not packet_has_dim(packets, dim):
            return False
        sc_to_float(type.element, packets + head, out + <uint64_t>i * dim, dim)
        packets += frame_bytes(type, dim)
    return True


cdef inline bint packet_has_dim(const uint8_t *packet, uint32_t dim) noexcept nogil:
    cdef Cursor c = cursor_over(packet, 4)
    cdef uint32_t size = 0
    return take_u32(&c, &size) and size == dim


cdef int count_packets(const uint8_t *payload, uint64_t size, double *times, int64_t room,
                       int64_t *count, Fault *f) noexcept nogil:
    """Counts the packets of all blocks; writes (start, end) pairs to `times` unless it is NULL."""
    cdef Cursor c = cursor_over(payload, size)
    cdef BlockHead block
    cdef uint32_t i
    cdef double start = 0, end = 0
    cdef int code
    count[0] = 0
    while left(&c) > 0:
        code = take_block(&c, &block, f)
        if code != NO_FAULT:
            return code
        if block.type.layout == SC_FIR and times != NULL:
            return fault_text(f, NO_TIMES, 0, <const uint8_t *>block.type.name,
                              block.type.name_size)
        for i in range(block.count):
            code = skip_packet(&c, block.type, i, 0, &start, &end, f)
            if code != NO_FAULT:
                return code
            if times != NULL and count[0] < room:
                times[2 * count[0]] = start
                times[2 * count[0] + 1] = end
            count[0] += 1
    return NO_FAULT
