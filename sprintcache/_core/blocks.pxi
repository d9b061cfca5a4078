# Blocks as Python objects: every datatype, with the GIL.
# Needs: externs, faults, cursor, workers, alignment_items, packets, alignments.

# Blocks as Python objects: every datatype, with the GIL.

cdef tuple _ELEMENTS = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.float32, np.float64,
                        np.bool_, np.complex64, np.complex128)


cdef object _elements(const uint8_t *at, uint64_t count, const sc_datatype *type):
    """A new 1-D array of the stored dtype."""
    cdef np.ndarray array = np.empty(<Py_ssize_t>count, _ELEMENTS[type.element])
    memcpy(np.PyArray_DATA(array), at, count * type.element_size)
    if type.element == SC_BOOL:         # any byte but 0 is true; numpy knows only 0 and 1
        array = np.asarray(array.view(np.uint8) != 0)
    return array


cdef object _alignment(Cursor *c, Fault *f):
    """The alignment at the cursor, without its times; None on a fault."""
    cdef Cursor begin = c[0]
    cdef AlignmentHead head
    cdef np.ndarray time, emission, weight
    cdef int code
    if take_alignment_head(c, &head, f) != NO_FAULT:
        return None
    time = np.empty(head.items, np.uint32)
    emission = np.empty(head.items, np.uint32)
    weight = np.empty(head.items, np.float32)
    c[0] = begin
    cdef uint32_t items = head.items
    cdef uint32_t *times = <uint32_t *>np.PyArray_DATA(time)
    cdef uint32_t *emissions = <uint32_t *>np.PyArray_DATA(emission)
    cdef float *weights = <float *>np.PyArray_DATA(weight)
    with nogil:
        code = take_alignment(c, &head, times, emissions, weights, items, f)
    if code != NO_FAULT:
        return None
    alphabet = _alphabet(&head, c, f) if head.alphabet else None
    if f.code != NO_FAULT:
        return None
    return Alignment(
        time, emission, weight, alphabet=alphabet,
        label_type="emission" if head.emissions else "allophone-state",
        weighted=head.weighted)


cdef object read_one_alignment(const Payload *p, Fault *f):
    """The one alignment of an entry, with its times; None on a fault."""
    cdef Cursor c = cursor_over(p.at, p.size)
    cdef int64_t at = 0
    cdef double start = 0, end = 0
    if only_alignment(&c, &at, f) != NO_FAULT:
        return None
    alignment = _alignment(&c, f)
    if f.code != NO_FAULT or after_alignment(&c, &start, &end, f) != NO_FAULT:
        return None
    alignment.start = start
    alignment.end = end
    return alignment


cdef object _alphabet(AlignmentHead *head, Cursor *whole, Fault *f):
    """Symbols by id; the bytes were checked before."""
    cdef Cursor c = cursor_over(whole.start, <uint64_t>(head.alphabet_end - whole.start))
    cdef uint32_t count = 0, id = 0, size = 0, i
    cdef const uint8_t *symbol = NULL
    c.at = head.alphabet_at
    alphabet = {}
    if take_alphabet_count(&c, &count, f) != NO_FAULT:
        return None
    for i in range(count):
        if take_symbol(&c, &id, &symbol, &size, f) != NO_FAULT:
            return None
        if id in alphabet:
            fault(f, ALPHABET_TWICE, offset(&c), True, id)
            return None
        alphabet[id] = _name(symbol, size)
    return alphabet


cdef object _packet(Cursor *c, const sc_datatype *type, int64_t index, int depth, double *times,
                    Fault *f):
    """The data of one packet of any datatype but a plain vector or scalar; None on a fault."""
    cdef uint32_t size = 0, columns = 0, again = 0, i
    cdef const uint8_t *at = NULL
    cdef uint8_t same = 0
    cdef BlockHead block
    cdef np.ndarray array
    data = None
    if type.layout == SC_AGGREGATE and depth >= MAX_NESTED:
        fault(f, TOO_DEEP, offset(c))
        return None
    if type.layout == SC_AGGREGATE and not take_u8(c, &same):
        packet_cut(c, type, index, f)
        return None
    if type.layout == SC_AGGREGATE or type.layout == SC_VECTORS_AFTER:
        if not (take_f64(c, times) and take_f64(c, times + 1)):
            packet_cut(c, type, index, f)
            return None
    if type.layout == SC_TIMESTAMP:
        data = ()
    elif type.layout == SC_ALIGNMENT:
        data = _alignment(c, f)
    elif type.layout == SC_AGGREGATE and same:
        if take_block(c, &block, f) != NO_FAULT:
            return None
        data = _block(c, &block, depth + 1, f)
    elif type.layout == SC_AGGREGATE:
        if not take_u32(c, &size):
            packet_cut(c, type, index, f)
            return None
        data = []
        for i in range(size):
            block.count = 1
            if (take_type(c, &block.type, f) != NO_FAULT
                    or check_count(c, block.type, 1, f) != NO_FAULT):
                return None
            data.append(_block(c, &block, depth + 1, f))
            if f.code != NO_FAULT:
                return None
        return data
    elif not take_u32(c, &size):
        packet_cut(c, type, index, f)
    elif type.layout == SC_STRING:
        if not take_span(c, size, &at):
            packet_cut(c, type, index, f)
            return None
        data = _name(at, size)
    elif type.layout == SC_VECTORS or type.layout == SC_VECTORS_AFTER:
        block.type = &sc_datatypes[0]
        block.count = size
        if check_count(c, block.type, size, f) != NO_FAULT:
            return None
        data = _block(c, &block, depth + 1, f)
    elif type.layout == SC_COEFFICIENTS:
        c.at -= 4                       # the gain, then its u32 size
        if not (take_span(c, 4, &at) and take_u32(c, &size)
                and <uint64_t>size * 4 <= left(c)):
            packet_cut(c, type, index, f)
            return None
        array = np.empty(size + 1, np.float32)
        memcpy(np.PyArray_DATA(array), at, 4)
        take(c, <char *>np.PyArray_DATA(array) + 4, <uint64_t>size * 4)
        data = array
    elif type.layout == SC_FIR:
        if not take_span(c, <uint64_t>size * 16, &at):
            packet_cut(c, type, index, f)
            return None
        return _elements(at, 2 * <uint64_t>size, type).reshape(-1, 2)
    elif type.layout == SC_MATRIX:
        if not (take_u32(c, &columns) and take_u32(c, &again)):
            packet_cut(c, type, index, f)
            return None
        if again != size:
            fault(f, BAD_MATRIX, offset(c) - 4, True, size, again)
            return None
        if size and 4 + <uint64_t>columns * type.element_size > left(c) // size:
            packet_cut(c, type, index, f)
            return None
        array = np.empty((size, columns), _ELEMENTS[type.element])
        for i in range(size):
            if not take_u32(c, &again) or again != columns:
                fault(f, BAD_MATRIX, offset(c) - 4, True, columns, again)
                return None
            take(c, <char *>np.PyArray_DATA(array)
                 + <uint64_t>i * columns * type.element_size,
                 <uint64_t>columns * type.element_size)
        data = array
    if f.code != NO_FAULT:
        return None
    if type.layout != SC_AGGREGATE and type.layout != SC_VECTORS_AFTER:
        if not (take_f64(c, times) and take_f64(c, times + 1)):
            packet_cut(c, type, index, f)
            return None
    if type.layout == SC_ALIGNMENT:
        data.start = times[0]
        data.end = times[1]
    return data


cdef object _block(Cursor *c, BlockHead *block, int depth, Fault *f):
    """All packets of a block whose head was taken; None on a fault."""
    cdef const sc_datatype *type = block.type
    cdef uint32_t count = block.count, i
    cdef np.ndarray times = np.empty((count, 2), np.float64)
    cdef double *time = <double *>np.PyArray_DATA(times)
    cdef double unused[2]
    cdef bint timed = type.layout != SC_FIR
    name = type.name.decode("ascii")
    if type.layout == SC_SCALAR or type.layout == SC_VECTOR:
        data = _vectors(c, type, count, time, f)
    else:
        data = []
        for i in range(count):
            data.append(_packet(c, type, i, depth, time + 2 * i if timed else unused, f))
            if f.code != NO_FAULT:
                return None
        if type.layout == SC_TIMESTAMP:
            data = np.empty((count, 0), np.float32)
    if f.code != NO_FAULT:
        return None
    return Block(name, times if timed else None, data)


cdef object _vectors(Cursor *c, const sc_datatype *type, uint32_t count, double *times, Fault *f):
    """Scalars (N,), vectors of one size (N, D), vectors of several sizes as a list."""
    cdef Cursor ahead = c[0]
    cdef const uint8_t *at = NULL
    cdef uint32_t dim = 0, size = 1, i
    cdef bint even = True
    cdef np.ndarray array
    cdef uint8_t *to
    cdef uint64_t width
    for i in range(count):              # sizes and times first: nothing is allocated before
        if type.layout == SC_VECTOR and not take_u32(&ahead, &size):
            packet_cut(&ahead, type, i, f)
            return None
        if i == 0:
            dim = size
        even = even and size == dim
        if not (skip_elements(&ahead, size, type.element_size) and take_f64(&ahead, times + 2 * i)
                and take_f64(&ahead, times + 2 * i + 1)):
            packet_cut(&ahead, type, i, f)
            return None
    if not even:
        data = []
        for i in range(count):
            if not (take_u32(c, &size) and take_span(c, <uint64_t>size * type.element_size, &at)
                    and skip_elements(c, 1, SC_TIMES)):
                packet_cut(c, type, i, f)
                return None
            data.append(_elements(at, size, type))
        return data
    if type.layout == SC_SCALAR:
        array = np.empty(count, _ELEMENTS[type.element])
    else:
        array = np.empty((count, dim), _ELEMENTS[type.element])
    to = <uint8_t *>np.PyArray_DATA(array)
    width = <uint64_t>dim * type.element_size
    with nogil:
        sc_copy_frames(c.at, to, count, dim, width, frame_head(type))
    c[0] = ahead
    if type.element == SC_BOOL:
        array = np.asarray(array.view(np.uint8) != 0)
    return array


cdef object read_all_blocks(const Payload *p, Fault *f):
    """list[Block] of a payload; None on a fault."""
    cdef Cursor c = cursor_over(p.at, p.size)
    cdef BlockHead block
    blocks = []
    while left(&c) > 0:
        if take_block(&c, &block, f) != NO_FAULT:
            return None
        blocks.append(_block(&c, &block, 0, f))
        if f.code != NO_FAULT:
            return None
    return blocks
