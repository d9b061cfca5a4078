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
    """Magic and number of items; the number is checked against what the bytes left can hold."""
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
    """One alignment up to its alphabet, without the times behind it.

    The items go to the three arrays of `room` items each, or nowhere if these are NULL.
    """
    cdef int code = take_alignment_head(c, head, f)
    if code != NO_FAULT:
        return code
    if time != NULL and head.items > room:  # a mapped file that was changed since
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
    if clock[0] > UINT32_MAX:
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


cdef int only_alignment(Cursor *c, int64_t *at, Fault *f) noexcept nogil:
    """Where the one alignment of an entry begins; the entry's blocks must hold no other.

    The cursor is left there. What follows the alignment is looked at by after_alignment.
    """
    cdef Block_ block
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
    """The times behind the alignment, and that nothing but empty blocks follows."""
    cdef Block_ block
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
    """Items of the entry's one alignment, from its head; -1 where `visible` is not enough."""
    cdef Cursor c = cursor_over(payload, size)
    cdef AlignmentHead head
    cdef Block_ block
    cdef int64_t at = 0
    cdef int code
    items[0] = -1
    if visible == size:
        code = only_alignment(&c, &at, f)
    elif visible < 128:                 # no head is longer, nor what a fault quotes of it
        return NO_FAULT
    else:
        code = take_block(&c, &block, f)
        if code == NO_FAULT and (block.type.layout != SC_ALIGNMENT or block.count != 1):
            return NO_FAULT             # unusual: look at all of it
    if code == NO_FAULT:
        code = take_alignment_head(&c, &head, f)
    if code == NO_FAULT:
        items[0] = head.items
    return code


# ---- labels

cdef int begin_used(sc_used *used, const sc_labels *labels, Fault *f) noexcept nogil:
    """Makes the stamps ready for another alignment; only now and then are they cleared."""
    cdef uint64_t need = <uint64_t>labels.states * labels.allophones + 1
    if need > used.room or used.stamp > 0xFFFFFFF0u:
        free(used.stamps)
        used.room = 0
        used.stamp = 0
        used.stamps = <uint32_t *>calloc(need, sizeof(uint32_t))
        if used.stamps == NULL:
            return fault(f, NO_MEMORY, -1, False)
        used.room = need
    used.stamp += 2
    used.count = 0
    return NO_FAULT


cdef int no_label(const sc_labels *labels, uint32_t id, int64_t frame, int64_t at,
                  Fault *f) noexcept nogil:
    if id & ~(ALLOPHONE_MASK | STATE_MASK):
        return fault(f, BAD_STATE_ID, at, True, id, frame)
    if id & ALLOPHONE_MASK >= labels.allophones:
        return fault(f, NO_ALLOPHONE, at, True, id, frame, labels.allophones)
    return fault(f, NO_LABEL, at, True, id, frame)


cdef inline int label_for(const sc_labels *labels, sc_used *used, uint32_t id, int64_t frame,
                          int64_t at, int32_t *label, Fault *f) noexcept nogil:
    """Label of an id; without `labels` the id is the label."""
    if labels == NULL:
        if id > 0x7FFFFFFF:
            return fault(f, BIG_EMISSION, at, True, id, frame)
        label[0] = <int32_t>id
        return NO_FAULT
    label[0] = sc_label(labels, used, id)
    return NO_FAULT if label[0] >= 0 else no_label(labels, id, frame, at, f)


cdef int wrong_time(uint64_t time, uint64_t frame, int64_t at, Fault *f) noexcept nogil:
    if time < frame:
        return fault(f, SEVERAL_ITEMS, at, True, <int64_t>time)
    if frame == 0:
        return fault(f, STARTS_LATE, at, True, <int64_t>time)
    return fault(f, TIME_GAP, at, True, <int64_t>frame, <int64_t>time)


cdef int label_runs(Cursor *c, AlignmentHead *head, const sc_labels *labels, sc_used *used,
                    int32_t *out, Fault *f) noexcept nogil:
    """Labels of run-length items; the kernel does most, this loop what is unusual or last."""
    cdef int8_t run = 0
    cdef uint32_t word = 0
    cdef uint64_t done = 0, clock, count, i
    cdef int code
    if labels != NULL:
        c.at = sc_label_runs(c.at, c.end, labels, used, out, &done, head.items)
    clock = done
    while done < head.items:
        if not (take_s8(c, &run) and take_u32(c, &word)):
            return fault(f, ITEMS_CUT, offset(c), True, head.items, <int64_t>done)
        if run == 0:
            clock = word
            continue
        if clock != done:
            return wrong_time(clock, done, offset(c) - 5, f)
        count = <uint64_t>run if run > 0 else <uint64_t>(-<int>run)
        if count > head.items - done:
            return fault(f, RUN_TOO_LONG, offset(c) - 5, True, head.items,
                         <int64_t>(done + count))
        for i in range(count):
            if run > 0 and i > 0 and not take_u32(c, &word):
                return fault(f, ITEMS_CUT, offset(c), True, head.items, <int64_t>(done + i))
            code = label_for(labels, used, word, <int64_t>(done + i), offset(c) - 4,
                             out + done + i, f)
            if code != NO_FAULT:
                return code
        done += count
        clock = done
    return NO_FAULT


cdef int label_weighted(Cursor *c, AlignmentHead *head, const sc_labels *labels, sc_used *used,
                        int32_t *out, Fault *f) noexcept nogil:
    cdef uint32_t count = 0, id = 0
    cdef uint64_t clock = 0, done = 0
    cdef int64_t at
    cdef float weight = 0
    cdef int code, packed
    while done < head.items:
        at = offset(c)
        code = take_frame(c, head, done, &clock, &count, f)
        if code != NO_FAULT:
            return code
        if count > 1:
            return fault(f, SEVERAL_ITEMS, at, True, <int64_t>clock)
        if count == 1:
            if clock != done:
                return wrong_time(clock, done, at, f)
            packed = take_packed(c, &id)
            if packed <= 0:
                return bad_packed(c, packed, head, done, f)
            if not take_weight(c, head.version, &weight):
                return fault(f, ITEMS_CUT, offset(c), True, head.items, <int64_t>done)
            code = label_for(labels, used, id, <int64_t>done, at, out + done, f)
            if code != NO_FAULT:
                return code
            done += 1
        clock += 1
    return NO_FAULT


cdef inline bint same_symbol(const sc_labels *labels, uint32_t id, const uint8_t *symbol,
                             uint32_t size) noexcept nogil:
    """Is this symbol what the allophone file gives for the id: allophone, dot, state?"""
    cdef uint32_t allophone = id & ALLOPHONE_MASK, state = id >> STATE_SHIFT, at, n
    if state > 15 or allophone >= labels.allophones:
        return False
    at = labels.symbol_at[allophone]
    n = labels.symbol_at[allophone + 1] - at
    if state < 10:
        return (size == n + 2 and symbol[n] == c'.' and symbol[n + 1] == 48 + state
                and memcmp(symbol, labels.symbols + at, n) == 0)
    return (size == n + 3 and symbol[n] == c'.' and symbol[n + 1] == 49
            and symbol[n + 2] == 38 + state and memcmp(symbol, labels.symbols + at, n) == 0)


cdef int check_alphabet(Cursor *c, const sc_labels *labels, sc_used *used, Fault *f) noexcept nogil:
    """Every symbol must be the allophone file's, and every id in use must have one."""
    cdef uint32_t count = 0, id = 0, size = 0, i
    cdef uint32_t found = 0
    cdef size_t place
    cdef const uint8_t *symbol = NULL
    cdef int code = take_alphabet_count(c, &count, f)
    if code != NO_FAULT:
        return code
    for i in range(count):
        code = take_symbol(c, &id, &symbol, &size, f)
        if code != NO_FAULT:
            return code
        if not same_symbol(labels, id, symbol, size):
            return fault_text(f, OTHER_SYMBOL, offset(c) - size, symbol, size, id)
        if id >> STATE_SHIFT < labels.states:
            place = <size_t>(id >> STATE_SHIFT) * labels.allophones + (id & ALLOPHONE_MASK)
            if used.stamps[place] == used.stamp + 1:
                return fault(f, ALPHABET_TWICE, offset(c), True, id)
            if used.stamps[place] == used.stamp:
                used.stamps[place] = used.stamp + 1
                found += 1
    if found != used.count:
        return fault(f, NO_SYMBOL, offset(c), True, used.count, found)
    return NO_FAULT


cdef int gather_labels(const uint8_t *payload, uint64_t size, const sc_labels *labels,
                       sc_used *alphabet_used, int32_t *out, int64_t room, Fault *f) noexcept nogil:
    """Labels of the one alignment of an entry; `out` holds as many as measure_alignment said.

    With `alphabet_used` the alignment's own alphabet is held to the allophone file.
    """
    cdef Cursor c = cursor_over(payload, size)
    cdef AlignmentHead head
    cdef sc_used *used = NULL
    cdef int64_t at = 0
    cdef double time = 0
    cdef int code = only_alignment(&c, &at, f)
    if code == NO_FAULT:
        code = take_alignment_head(&c, &head, f)
    if code != NO_FAULT:
        return code
    if <int64_t>head.items > room:
        return fault(f, FILE_CHANGED, -1, False)
    if head.emissions:
        labels = NULL
    elif labels == NULL:
        return fault(f, NO_LABELING, at)
    if head.alphabet and alphabet_used != NULL:
        used = alphabet_used
        code = begin_used(used, labels, f)
        if code != NO_FAULT:
            return code
    if head.weighted:
        code = label_weighted(&c, &head, labels, used, out, f)
    else:
        code = label_runs(&c, &head, labels, used, out, f)
    if code == NO_FAULT and used != NULL:
        code = check_alphabet(&c, labels, used, f)
    elif code == NO_FAULT and head.alphabet:
        code = skip_alphabet(&c, f)
    return code if code != NO_FAULT else after_alignment(&c, &time, &time, f)
