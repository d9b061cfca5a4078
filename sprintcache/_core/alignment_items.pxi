# Items of one alignment (archive format, section 7): three magics, run-length and weighted code,
# alphabets.
# Needs: externs, faults, cursor.

# Alignments (archive format, section 7): three magics, run-length and weighted items, alphabets.

cdef extern from *:
    """
    #define SC_STATE_MASK 0x3C000000u
    #define SC_WEIGHTED 0x80000000u
    """
    const uint32_t STATE_MASK "SC_STATE_MASK"
    const uint32_t WEIGHTED "SC_WEIGHTED"


cdef struct AlignmentHead:
    bint emissions          # ALIGNEMI: ids after state tying
    bint alphabet           # AALPHRLE: the symbols of the ids follow the items
    bint weighted
    uint32_t version
    uint32_t items
    int64_t num_frames      # last time + 1; filled by take_alignment
    const uint8_t *alphabet_at
    const uint8_t *alphabet_end


cdef int take_alignment_head(Cursor *c, AlignmentHead *head, Fault *f) noexcept nogil:
    """Magic and number of items, which the bytes left must be able to hold."""
    cdef const uint8_t *magic = NULL
    cdef uint32_t size = 0
    cdef int packed
    cdef int64_t at = offset(c)
    if not take_span(c, 8, &magic):
        return fault(f, ITEMS_CUT, at)
    if memcmp(magic, b"ALIGNRLE", 8) == 0:
        head.emissions = head.alphabet = False
    elif memcmp(magic, b"AALPHRLE", 8) == 0:
        head.emissions = False
        head.alphabet = True
    elif memcmp(magic, b"ALIGNEMI", 8) == 0:
        head.emissions = True
        head.alphabet = False
    else:
        return fault_text(f, BAD_MAGIC, at, magic, 8)
    if not take_u32(c, &size):
        return fault(f, ITEMS_CUT, at)
    head.weighted = size & WEIGHTED != 0
    head.version = size & ~WEIGHTED
    head.items = size
    head.num_frames = 0
    head.alphabet_at = head.alphabet_end = NULL
    if not head.weighted:
        if size > 128 * (left(c) // 5):     # 128 items per 5 bytes: a repeat code and its id
            return fault(f, TOO_MANY_ITEMS, at + 8, True, size, <int64_t>left(c),
                         128 * (left(c) // 5))
        return NO_FAULT
    if head.version > 2:
        return fault(f, BAD_VERSION, at + 8, True, head.version)
    packed = take_packed(c, &head.items)
    if packed <= 0:
        return fault(f, BAD_PACKED if packed < 0 else ITEMS_CUT, at + 12, True)
    if head.items > left(c):                # one item per byte: a packed id, no weight
        return fault(f, TOO_MANY_ITEMS, at + 12, True, head.items, <int64_t>left(c),
                     <int64_t>left(c))
    return NO_FAULT


cdef int take_alignment(Cursor *c, AlignmentHead *head, uint32_t *time, uint32_t *emission,
                        float *weight, uint32_t room, Fault *f) noexcept nogil:
    """One alignment with its alphabet, without the times after it.

    Writes the items to three arrays of `room` items each, unless these are NULL.
    """
    cdef int code = take_alignment_head(c, head, f)
    if code != NO_FAULT:
        return code
    if time != NULL and head.items > room:  # a mapped file was changed since
        return fault(f, FILE_CHANGED, -1, False)
    if head.weighted:
        code = take_weighted(c, head, time, emission, weight, f)
    else:
        code = take_runs(c, head, time, emission, weight, f)
    if code != NO_FAULT or not head.alphabet:
        return code
    head.alphabet_at = c.at
    code = skip_alphabet(c, f)
    head.alphabet_end = c.at
    return code


cdef int take_runs(Cursor *c, AlignmentHead *head, uint32_t *time, uint32_t *emission,
                   float *weight, Fault *f) noexcept nogil:
    cdef int8_t run = 0
    cdef uint32_t id = 0, marker = 0
    cdef uint64_t clock = 0, done = 0, count, i
    while done < head.items:
        if not take_s8(c, &run):
            return fault(f, ITEMS_CUT, offset(c), True, head.items, <int64_t>done)
        if run == 0:
            if not take_u32(c, &marker):
                return fault(f, ITEMS_CUT, offset(c), True, head.items, <int64_t>done)
            clock = marker
            continue
        count = <uint64_t>run if run > 0 else <uint64_t>(-<int>run)
        if done + count > head.items:
            return fault(f, RUN_TOO_LONG, offset(c) - 1, True, head.items, <int64_t>(done + count))
        if clock + count > <uint64_t>0x100000000:
            return fault(f, TIME_TOO_LARGE, offset(c) - 1)
        for i in range(count):
            if (run > 0 or i == 0) and not take_u32(c, &id):
                return fault(f, ITEMS_CUT, offset(c), True, head.items, <int64_t>(done + i))
            if time != NULL:
                time[done + i] = <uint32_t>(clock + i)
                emission[done + i] = id
                weight[done + i] = 1
        clock += count
        done += count
        if <int64_t>clock > head.num_frames:
            head.num_frames = <int64_t>clock
    return NO_FAULT


cdef inline int take_weight(Cursor *c, uint32_t version, float *weight) noexcept nogil:
    cdef uint8_t low = 0, high = 0
    if version == 2:
        return take_f32(c, weight)
    if version == 0:
        weight[0] = 0
        return True
    if not (take_u8(c, &low) and take_u8(c, &high)):
        return False
    weight[0] = <float>((low + 256 * high) / <double>65535)
    return True


cdef inline int bad_packed(Cursor *c, int packed, AlignmentHead *head, uint64_t done,
                           Fault *f) noexcept nogil:
    return fault(f, BAD_PACKED if packed < 0 else ITEMS_CUT, offset(c), True, head.items,
                 <int64_t>done)


cdef int take_frame(Cursor *c, AlignmentHead *head, uint64_t done, uint64_t *clock,
                    uint32_t *count, Fault *f) noexcept nogil:
    """The head of one frame of a weighted alignment: its number of items and its time."""
    cdef uint32_t first = 0, time = 0
    cdef int packed = take_packed(c, &first)
    if packed <= 0:
        return bad_packed(c, packed, head, done, f)
    if first & 1:
        packed = take_packed(c, &time)
        if packed <= 0:
            return bad_packed(c, packed, head, done, f)
        clock[0] = time
    count[0] = first >> 1
    if done + count[0] > head.items:
        return fault(f, RUN_TOO_LONG, offset(c), True, head.items, <int64_t>(done + count[0]))
    if count[0] and clock[0] > UINT32_MAX:
        return fault(f, TIME_TOO_LARGE, offset(c))
    return NO_FAULT


cdef int take_weighted(Cursor *c, AlignmentHead *head, uint32_t *time, uint32_t *emission,
                       float *weight, Fault *f) noexcept nogil:
    cdef uint32_t count = 0, id = 0, i
    cdef uint64_t clock = 0, done = 0
    cdef float w = 0
    cdef int code, packed
    while done < head.items:
        code = take_frame(c, head, done, &clock, &count, f)
        if code != NO_FAULT:
            return code
        for i in range(count):
            packed = take_packed(c, &id)
            if packed <= 0:
                return bad_packed(c, packed, head, done, f)
            if not take_weight(c, head.version, &w):
                return fault(f, ITEMS_CUT, offset(c), True, head.items, <int64_t>done)
            if time != NULL:
                time[done] = <uint32_t>clock
                emission[done] = id
                weight[done] = w
            done += 1
        clock += 1
        if count and <int64_t>clock > head.num_frames:
            head.num_frames = <int64_t>clock
    return NO_FAULT


cdef int take_symbol(Cursor *c, uint32_t *id, const uint8_t **symbol, uint32_t *size,
                     Fault *f) noexcept nogil:
    cdef int packed = take_packed(c, id)
    if packed < 0:
        return fault(f, BAD_PACKED, offset(c))
    if packed == 0 or not take_string(c, symbol, size):
        return fault(f, ALPHABET_CUT, offset(c))
    return NO_FAULT


cdef int take_alphabet_count(Cursor *c, uint32_t *count, Fault *f) noexcept nogil:
    cdef int packed = take_packed(c, count)
    if packed < 0:
        return fault(f, BAD_PACKED, offset(c))
    if packed == 0 or <uint64_t>count[0] * 5 > left(c):
        return fault(f, ALPHABET_CUT, offset(c))
    return NO_FAULT


cdef int skip_alphabet(Cursor *c, Fault *f) noexcept nogil:
    cdef uint32_t count = 0, id = 0, size = 0, i
    cdef const uint8_t *symbol = NULL
    cdef int code = take_alphabet_count(c, &count, f)
    if code != NO_FAULT:
        return code
    for i in range(count):
        code = take_symbol(c, &id, &symbol, &size, f)
        if code != NO_FAULT:
            return code
    return NO_FAULT
