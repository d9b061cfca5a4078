# Everything, in file order.

cdef enum:
    CHUNK = 1 << 20             # read at a time: what stays in a core's own cache
    FIRST_WINDOW = 1 << 21


cdef class Pass:
    """Iterator over all segments in file order, with read-ahead; one thread at a time.

    Gives (name, features), (name, labels) or (name, None) for `kind` "features", "labels" or
    "names". Files are read from front to back, a chunk at a time, and not through the mapping:
    for a page that is used once, reading is cheaper than a page fault. The kernel is asked for the
    bytes up to `prefetch` ahead of the current entry, a quarter of them at a time; asking does not
    wait for the disk.
    """

    cdef Reader reader
    cdef np.ndarray order
    cdef str kind
    cdef LabelTable table
    cdef bint check_alphabet
    cdef int64_t place
    cdef int busy
    cdef Worker *worker
    # the source that is read now
    cdef uint32_t source
    cdef uint8_t *chunk
    cdef uint64_t chunk_room
    cdef uint64_t chunk_begin
    cdef uint64_t chunk_end
    # what the kernel was asked to read, counted over all sources, and where that ends
    cdef uint64_t prefetch
    cdef uint64_t asked
    cdef uint32_t asked_source
    cdef uint64_t asked_at
    cdef uint64_t before        # bytes of the `counted` sources that lie behind
    cdef uint32_t counted

    def __cinit__(self, *args, **kwargs):
        self.source = UINT32_MAX

    def __init__(self, Reader reader, str kind, prefetch: int, LabelTable table=None,
                 bint check_alphabet=True):
        if self.order is not None:
            raise ValueError("this pass has begun")
        if prefetch < 0:
            raise ValueError(f"prefetch must not be negative: {prefetch}")
        reader.check_unchanged()
        reader._enter()
        try:
            self.order = reader._file_order()
        finally:
            reader._leave()
        self.reader = reader
        self.kind = kind
        self.table = table
        self.check_alphabet = check_alphabet
        self.prefetch = prefetch
        if self.worker == NULL:
            self.worker = reader._worker()

    def __dealloc__(self):
        free(self.chunk)
        if self.worker != NULL:
            release_worker(self.worker)

    def __iter__(self):
        return self

    def __length_hint__(self):
        return 0 if self.order is None else self.order.shape[0] - self.place

    def __next__(self):
        if not mark_once(&self.busy):
            raise ValueError("another thread is in this iterator")
        try:
            return self._next()
        finally:
            unmark(&self.busy)

    cdef object _next(self):
        cdef int64_t entry
        cdef Reader reader = self.reader
        cdef Payload p
        cdef Shape shape
        cdef Fault f
        cdef int code
        if self.order is None or self.place >= self.order.shape[0]:
            raise StopIteration
        entry = (<int64_t *>np.PyArray_DATA(self.order))[self.place]
        self.place += 1
        reader._enter()
        try:
            name = reader._name_at(entry)
            if self.kind == "names":
                return name, None
            with nogil:
                code = self._fetch(&reader.core, entry, &p, &f)
            if code == NO_FAULT and self.kind == "labels":
                return name, reader._labelled(entry, &p, self.worker, self.table,
                                              self.check_alphabet)
            if code == NO_FAULT:
                code = measure_features(p.at, p.size, p.size, &shape, &f)
            if code != NO_FAULT:
                raise reader._error(entry, &f, self.table)
            return name, reader._gathered(entry, &p, shape, None)
        finally:
            reader._leave()

    cdef int _fetch(self, Core *core, int64_t entry, Payload *p, Fault *f) noexcept nogil:
        """The payload of the next entry, from the current chunk or the one after it."""
        cdef Source *s = source_of(core, entry)
        cdef Row row = row_of(core, entry)
        cdef uint64_t begin = entry_begin(&row)
        cdef uint64_t extent = entry_extent(&row)
        cdef const uint8_t *at
        cdef int code
        if s.kind == SOURCE_DIRECTORY:
            return fetch(core, entry, self.worker, WHOLE, True, p, f)
        if not row_fits(&row, s.size):
            return fault(f, FILE_CHANGED, -1, False)
        if core.sources + self.source != s:
            self.source = <uint32_t>(s - core.sources)
            self.chunk_begin = self.chunk_end = 0
        if self.prefetch:
            self._ask(core, begin)
        if begin < self.chunk_begin or begin + extent > self.chunk_end:
            code = self._read_chunk(s, begin, extent, f)
            if code != NO_FAULT:
                return code
        at = self.chunk + (begin - self.chunk_begin)
        return unwrap(at, extent, at + extent - 4, &row, self.worker, WHOLE, p, f)

    cdef int _read_chunk(self, Source *s, uint64_t begin, uint64_t extent,
                         Fault *f) noexcept nogil:
        """Moves on to the chunk that begins with this entry; keeps what is here of it."""
        cdef uint64_t want = min(max(extent, <uint64_t>CHUNK), s.size - begin), kept = 0
        cdef uint8_t *longer
        cdef int code, fd
        if self.chunk_begin <= begin < self.chunk_end:
            kept = self.chunk_end - begin
            memmove(self.chunk, self.chunk + (begin - self.chunk_begin), kept)
        if want > self.chunk_room:
            longer = <uint8_t *>realloc(self.chunk, want)
            if longer == NULL:
                return fault(f, NO_MEMORY, -1, False)
            self.chunk = longer
            self.chunk_room = want
        self.chunk_begin = self.chunk_end = begin
        fd = take_file(s, True, f)
        if fd < 0:
            return f.code
        code = pread_all(fd, self.chunk + kept, want - kept, begin + kept, f)
        sc_drop(&s.descriptor, fd)
        if code == NO_FAULT:
            self.chunk_end = begin + want
        return code

    cdef void _ask(self, const Core *core, uint64_t at) noexcept nogil:
        """Has the kernel read on, over the ends of sources, if less than three quarters of the
        window are ahead."""
        cdef Source *s
        cdef Fault unused
        cdef uint64_t now, window, want, page
        cdef int fd
        while self.counted < self.source:
            self.before += core.sources[self.counted].size
            self.counted += 1
        now = self.before + at
        # a small window at first, so that the first entry does not wait for all of a large one
        window = min(self.prefetch, FIRST_WINDOW + 2 * now)
        if self.asked >= now + window // 4 * 3:
            return
        while self.asked < now + window and self.asked_source < core.count:
            s = core.sources + self.asked_source
            want = min(s.size - self.asked_at, now + window - self.asked)
            if want and self.asked + want > now:
                page = self.asked_at & ~<uint64_t>4095
                if s.map != NULL:
                    madvise(<void *>(s.map + page), want + self.asked_at - page, MADV_WILLNEED)
                elif s.kind == SOURCE_FILE:
                    fd = take_file(s, False, &unused)
                    if fd >= 0:
                        posix_fadvise(fd, <off_t>self.asked_at, <off_t>want, POSIX_FADV_WILLNEED)
                        sc_drop(&s.descriptor, fd)
            self.asked += want
            self.asked_at += want
            if self.asked_at >= s.size:
                self.asked_source += 1
                self.asked_at = 0
