# Iteration over all segments in file order, with read-ahead.
# Needs: externs, faults, sources, tables, fetch, packets, store, and Reader of _reader.pyx.

cdef enum:
    CHUNK = 1 << 20             # read at a time: fits the cache of a core
    FIRST_WINDOW = 1 << 21


@cython.no_gc_clear
cdef class FileOrderIterator:
    """Iterator over all segments in file order, with read-ahead; one thread at a time.

    Yields (name, features), (name, labels) or (name, None) for `kind` "features", "labels" or
    "names". Files are read from front to back, a chunk at a time, and not through the mapping:
    for a page that is used once, reading is cheaper than a page fault. Read-ahead is requested for
    `prefetch` bytes after the current entry, a quarter of them at a time, without waiting.
    """

    cdef Reader reader
    cdef np.ndarray order
    cdef str kind
    cdef LabelTable table
    cdef bint check_alphabet
    cdef int64_t index          # of the next entry in `order`
    cdef int busy
    cdef Worker *worker
    # the current source and the chunk of it in memory
    cdef uint32_t source
    cdef uint8_t *chunk
    cdef uint64_t chunk_room
    cdef uint64_t chunk_begin
    cdef uint64_t chunk_end
    # read-ahead: bytes over all sources, and the source and offset where it ends
    cdef uint64_t prefetch
    cdef uint64_t requested
    cdef uint32_t requested_source
    cdef uint64_t requested_at
    cdef uint64_t before        # bytes of the `counted` sources that were read
    cdef uint32_t counted

    def __cinit__(self, *args, **kwargs):
        self.source = UINT32_MAX

    def __init__(self, Reader reader, str kind, prefetch: int, LabelTable table=None,
                 bint check_alphabet=True):
        if self.order is not None:
            raise ValueError("the iterator was initialized before")
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
            self.worker = reader._take_worker()

    def __dealloc__(self):
        self._close_source()            # no_gc_clear: the reader is still there
        free(self.chunk)
        if self.worker != NULL:
            release_worker(self.worker)

    def __iter__(self):
        return self

    def __length_hint__(self):
        return 0 if self.order is None else self.order.shape[0] - self.index

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
        if self.order is None or self.index >= self.order.shape[0]:
            self._close_source()
            raise StopIteration
        entry = (<int64_t *>np.PyArray_DATA(self.order))[self.index]
        self.index += 1
        reader._enter()
        try:
            name = reader._name_at(entry)
            if self.kind == "names":
                return name, None
            with nogil:
                code = self._fetch(&reader.core, entry, &p, &f)
            if code == NO_FAULT and self.kind == "labels":
                return name, reader._label_array(entry, &p, self.worker, self.table,
                                              self.check_alphabet)
            if code == NO_FAULT:
                code = measure_features(p.at, p.size, p.size, &shape, &f)
            if code != NO_FAULT:
                raise reader._error(entry, &f, self.table)
            return name, reader._feature_array(entry, &p, shape, None)
        finally:
            reader._leave()

    cdef void _close_source(self) noexcept:
        """Leaves the current source, unless the archive was closed."""
        if self.reader is not None and self.reader._try_enter():
            self._leave_source(&self.reader.core)
            self.reader._leave()

    cdef void _leave_source(self, Core *core) noexcept nogil:
        """Closes the file of a mapped source, which other reads do not need."""
        if self.source != UINT32_MAX and core.sources[self.source].map != NULL:
            sc_forget(&core.sources[self.source].descriptor)
        self.source = UINT32_MAX

    cdef int _fetch(self, Core *core, int64_t entry, Payload *p, Fault *f) noexcept nogil:
        """The payload of the next entry, from the current chunk or the next one."""
        cdef Source *s = source_of(core, entry)
        cdef TableRow row = row_of(core, entry)
        cdef uint64_t begin = entry_begin(&row)
        cdef uint64_t extent = entry_extent(&row)
        cdef const uint8_t *at
        cdef int code
        if s.kind == SOURCE_DIRECTORY:
            return fetch(core, entry, self.worker, WHOLE, True, p, f)
        if not row_fits(&row, s.size):
            return bad_row(core, f)
        if self.source != <uint32_t>(s - core.sources):
            self._leave_source(core)
            self.source = <uint32_t>(s - core.sources)
            self.chunk_begin = self.chunk_end = 0
        if self.prefetch:
            self._read_ahead(core, begin)
        if begin < self.chunk_begin or begin + extent > self.chunk_end:
            code = self._read_chunk(s, begin, extent, f)
            if code != NO_FAULT:
                return code
        at = self.chunk + (begin - self.chunk_begin)
        return unwrap(at, extent, at + extent - 4, &row, self.worker, WHOLE, p, f)

    cdef int _read_chunk(self, Source *s, uint64_t begin, uint64_t extent,
                         Fault *f) noexcept nogil:
        """Reads the chunk that begins with this entry; keeps what was read of it."""
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

    cdef void _read_ahead(self, const Core *core, uint64_t at) noexcept nogil:
        """Issues read-ahead across source boundaries if less than three quarters of the window are
        left."""
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
        if self.requested >= now + window // 4 * 3:
            return
        while self.requested < now + window and self.requested_source < core.count:
            s = core.sources + self.requested_source
            want = min(s.size - self.requested_at, now + window - self.requested)
            if want and self.requested + want > now:
                page = self.requested_at & ~<uint64_t>4095
                if s.map != NULL:
                    madvise(<void *>(s.map + page), want + self.requested_at - page, MADV_WILLNEED)
                elif s.kind == SOURCE_FILE:
                    fd = take_file(s, False, &unused)
                    if fd >= 0:
                        posix_fadvise(fd, <off_t>self.requested_at, <off_t>want, POSIX_FADV_WILLNEED)
                        sc_drop(&s.descriptor, fd)
            self.requested += want
            self.requested_at += want
            if self.requested_at >= s.size:
                self.requested_source += 1
                self.requested_at = 0
