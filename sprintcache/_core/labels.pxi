# Labels of allophone states: their table, and from alignments to labels.
# Needs: externs, faults, cursor, alignment_items, alignments.

cdef class LabelTable:
    """Labels of all allophone states as one array, and the symbols of the allophones; immutable.

    Args:
        allophones: the allophone symbols in index order, all different.
        table: (states, allophones) int32, the label of a state of an allophone, -1 for none.

    Raises:
        ValueError: if the table does not fit the allophones.
    """

    cdef readonly object allophones
    cdef readonly object table
    cdef bytes _symbols
    cdef object _offsets
    cdef sc_labels labels

    def __init__(self, allophones, table):
        cdef list symbols = [a.encode("utf-8", "surrogateescape") for a in allophones]
        table = np.ascontiguousarray(table, np.int32)
        if table.ndim != 2 or table.shape[1] != len(symbols) or table.shape[0] > 16:
            raise ValueError(f"table of shape {table.shape} for {len(symbols)} allophones;"
                             " expected (states up to 16, allophones)")
        self.allophones = allophones
        self.table = table
        self._symbols = b"".join(symbols)
        offsets = np.zeros(len(symbols) + 1, np.uint64)
        np.cumsum([len(s) for s in symbols], out=offsets[1:])
        if offsets[-1] > 0xFFFFFFFF:
            raise ValueError("more than 4 GiB of allophone symbols")
        self._offsets = offsets.astype(np.uint32)
        self.labels.table = <const int32_t *>np.PyArray_DATA(table)
        self.labels.allophones = <uint32_t>table.shape[1]
        self.labels.states = <uint32_t>table.shape[0]
        self.labels.symbols = <const uint8_t *><char *>self._symbols
        self.labels.symbol_at = <const uint32_t *>np.PyArray_DATA(self._offsets)

    def __reduce__(self):
        return LabelTable, (self.allophones, self.table)

    def symbol(self, id: int) -> str:
        """``a{b+c}@i.1`` for an allophone-state id, or the numbers if it is unknown."""
        allophone, state = id & ALLOPHONE_MASK, id >> STATE_SHIFT
        if not 0 <= state < 16:
            return f"0x{id:08x} (no state)"
        if allophone < len(self.allophones):
            return f"{self.allophones[allophone]}.{state}"
        return f"allophone {allophone} state {state}"


cdef const sc_labels *label_pointer(LabelTable table) noexcept:
    return NULL if table is None else &table.labels


# ---- labels

cdef int begin_used(sc_used *used, const sc_labels *labels, Fault *f) noexcept nogil:
    """Prepares the stamps for another alignment; they are rarely cleared."""
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
    """Labels of run-length items: most by the kernel, the unusual and the last ones here."""
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
    """Is this the symbol of the id by the allophone file: allophone, dot, state?"""
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
    cdef uint32_t num_used = 0
    cdef size_t index
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
            index = <size_t>(id >> STATE_SHIFT) * labels.allophones + (id & ALLOPHONE_MASK)
            if used.stamps[index] == used.stamp + 1:
                return fault(f, ALPHABET_TWICE, offset(c), True, id)
            if used.stamps[index] == used.stamp:
                used.stamps[index] = used.stamp + 1
                num_used += 1
    if num_used != used.count:
        return fault(f, NO_SYMBOL, offset(c), True, used.count, num_used)
    return NO_FAULT


cdef int decode_labels(const uint8_t *payload, uint64_t size, const sc_labels *labels,
                       sc_used *alphabet_used, int32_t *out, int64_t room, Fault *f) noexcept nogil:
    """Labels of the one alignment of an entry; `out` has room for what measure_alignment counted.

    With `alphabet_used`, the alphabet of the alignment must agree with the allophone file.
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
