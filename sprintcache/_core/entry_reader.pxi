# Reading one entry: its bytes, blocks, features, times, alignment and labels.
# Needs: externs, faults, tables, fetch, alignments, labels, ranges, blocks, store, packing.

cdef struct EntryRead:          # one entry that is being read
    int64_t entry
    Worker *worker


cdef class EntryReader(Store):
    """Reads one entry at a time."""

    cdef int _begin(self, object name, EntryRead *r) except -1:
        """Counts the read in, looks up its entry and takes a worker; `_end` undoes it."""
        self._enter()
        try:
            r.entry = self._entry(name)
            r.worker = self._take_worker()
        except:
            self._leave()
            raise
        return 0

    cdef void _end(self, EntryRead *r) noexcept:
        self._return_worker(r.worker)
        self._leave()

    cdef int _fetch(self, EntryRead *r, Portion portion, Payload *p) except -1:
        cdef Fault f
        cdef int code
        with nogil:
            code = fetch(&self.core, r.entry, r.worker, portion, True, p, &f)
        if code != NO_FAULT:
            raise self._error(r.entry, &f)
        return 0

    def read_bytes(self, name) -> bytes:
        """The payload of an entry as it is, inflated if it was compressed.

        Raises:
            EntryNotFoundError: if there is no entry of that name.
            FormatError: if the entry is damaged.
        """
        cdef EntryRead r
        cdef Payload p
        self._begin(name, &r)
        try:
            self._fetch(&r, WHOLE, &p)
            return PyBytes_FromStringAndSize(<char *>p.at, <Py_ssize_t>p.size)
        finally:
            self._end(&r)

    def read_blocks(self, name) -> list[Block]:
        """All blocks of a Flow cache entry, each packet as it is stored (format, section 6).

        Raises:
            EntryNotFoundError: if there is no entry of that name.
            FormatError: if the entry is damaged or not a Flow cache entry (UnsupportedError).
        """
        cdef EntryRead r
        cdef Payload p
        cdef Fault f
        f.code = NO_FAULT
        self._begin(name, &r)
        try:
            self._fetch(&r, WHOLE, &p)
            blocks = read_all_blocks(&p, &f)
            if f.code != NO_FAULT:
                raise self._error(r.entry, &f)
            return blocks
        finally:
            self._end(&r)

    def read_features(self, name, np.ndarray out=None, *, start=0, stop=None) -> np.ndarray:
        """Features of all blocks of an entry, or a range of its frames.

        Args:
            name: the entry.
            out: C-contiguous float32 array of at least (T, D) to read into.
            start, stop: the range of frames, as in ``[start:stop]`` but not negative; None: to the
                end. Other frames are neither read nor checked, with two exceptions: of a compressed
                entry, all up to `stop` is inflated, and its checksum is not compared; of an entry
                of several blocks that is compressed or read by pread, all is read.

        Returns:
            (T, D) float32, or ``out[:T]``; T is the number of frames in the range. D is 1 for
            scalars; other numeric datatypes are converted. (0, 0) for an entry without packets.

        Raises:
            EntryNotFoundError: if there is no entry of that name.
            FormatError: if the entry is damaged, if its frames differ in size, or if it holds no
                numbers (UnsupportedError); `read_blocks` reads the latter two.
            ValueError: if `out` does not fit, or the range is not one; nothing is written then.
        """
        cdef EntryRead r
        cdef Payload p
        cdef Fault f
        cdef Shape shape
        cdef bint whole = start == 0 and stop is None
        cdef int code
        if not whole:
            start, stop = _range(start, stop)
        self._begin(name, &r)
        try:
            with nogil:
                code = fetch_features(&self.core, r.entry, r.worker, WHOLE if whole else HEAD, True,
                                      &p, &shape, &f)
            if code != NO_FAULT:
                raise self._error(r.entry, &f)
            if whole:
                return self._feature_array(r.entry, &p, shape, out)
            return self._feature_range(&r, find_block(&p), shape, start, stop, out)
        finally:
            self._end(&r)

    cdef object _feature_range(self, EntryRead *r, OneBlock block, Shape shape, int64_t start,
                               int64_t stop, np.ndarray out):
        """A range of frames of a measured entry."""
        cdef np.ndarray array
        cdef Fault f
        cdef float *to
        cdef int code
        start = min(start, shape.frames)
        shape.frames = min(stop, shape.frames) - start
        array = _feature_room(shape, out)
        to = <float *>np.PyArray_DATA(array)
        with nogil:
            code = copy_range(&self.core, r.entry, r.worker, &block, start, shape.frames, shape.dim,
                              to, &f)
        if code != NO_FAULT:
            raise self._error(r.entry, &f)
        return array

    cdef object _feature_array(self, int64_t entry, Payload *p, Shape shape, np.ndarray out):
        """The features of a measured payload, in a new array or in `out`."""
        cdef Fault f
        cdef np.ndarray array = _feature_room(shape, out)
        cdef float *to = <float *>np.PyArray_DATA(array)
        cdef int code
        with nogil:
            code = copy_features(p.at, p.size, shape, to, &f)
        if code != NO_FAULT:
            raise self._error(entry, &f)
        return array

    def read_times(self, name) -> np.ndarray:
        """Start and end of every packet of an entry, in seconds.

        Returns:
            (T, 2) float64.

        Raises:
            EntryNotFoundError: if there is no entry of that name.
            FormatError: if the entry is damaged or its datatype has no times.
        """
        cdef EntryRead r
        cdef Payload p
        cdef Fault f
        cdef int64_t count = 0
        cdef np.ndarray array
        cdef double *times
        cdef int code
        self._begin(name, &r)
        try:
            self._fetch(&r, WHOLE, &p)
            with nogil:
                code = count_packets(p.at, p.size, NULL, 0, &count, &f)
            if code == NO_FAULT:
                array = np.empty((count, 2), np.float64)
                times = <double *>np.PyArray_DATA(array)
                with nogil:
                    code = count_packets(p.at, p.size, times, count, &count, &f)
            if code != NO_FAULT:
                raise self._error(r.entry, &f)
            return array
        finally:
            self._end(&r)

    def read_alignment(self, name) -> Alignment:
        """The one alignment of an entry.

        Raises:
            EntryNotFoundError: if there is no entry of that name.
            FormatError: if the entry is damaged, holds something else or several alignments
                (UnsupportedError; `read_blocks` reads these), or none (TruncatedError).
        """
        cdef EntryRead r
        cdef Payload p
        cdef Fault f
        self._begin(name, &r)
        try:
            self._fetch(&r, WHOLE, &p)
            f.code = NO_FAULT
            alignment = read_one_alignment(&p, &f)
            if f.code != NO_FAULT:
                raise self._error(r.entry, &f)
            return alignment
        finally:
            self._end(&r)

    def _read_labels(self, name, LabelTable table, bint check_alphabet) -> np.ndarray:
        """(T,) int32 labels; see `Archive.read_labels`."""
        cdef EntryRead r
        cdef Payload p
        self._begin(name, &r)
        try:
            self._fetch(&r, WHOLE, &p)
            return self._label_array(r.entry, &p, r.worker, table, check_alphabet)
        finally:
            self._end(&r)

    cdef object _label_array(self, int64_t entry, Payload *p, Worker *w, LabelTable table,
                             bint check_alphabet):
        """The labels of a payload, in a new array."""
        cdef Fault f
        cdef int64_t items = 0
        cdef np.npy_intp dims[1]
        cdef np.ndarray array
        cdef int32_t *out
        cdef const sc_labels *labels = label_pointer(table)
        cdef int code
        with nogil:
            code = measure_alignment(p.at, p.size, p.size, &items, &f)
        if code == NO_FAULT:
            dims[0] = items
            array = np.PyArray_SimpleNew(1, dims, np.NPY_INT32)
            out = <int32_t *>np.PyArray_DATA(array)
            with nogil:
                code = decode_labels(p.at, p.size, labels,
                                     &w.used if check_alphabet else NULL, out, items, &f)
        if code != NO_FAULT:
            raise self._error(entry, &f, table)
        return array

    def num_frames(self, name) -> int:
        """Frames of an entry: of an alignment its last time + 1, else its packets.

        Of plain features only the heads of blocks are read.

        Raises:
            EntryNotFoundError: if there is no entry of that name.
            FormatError: if the entry is damaged or not a Flow cache entry.
        """
        cdef EntryRead r
        cdef Fault f
        cdef Shape shape
        cdef int code
        self._begin(name, &r)
        try:
            with nogil:
                code = count_frames(&self.core, r.entry, r.worker, True, &shape, &f)
            if code != NO_FAULT:
                raise self._error(r.entry, &f)
            return shape.frames
        finally:
            self._end(&r)

    def _datatype(self, name) -> str | None:
        """The datatype that an entry begins with; None if it is not a Flow cache entry."""
        cdef EntryRead r
        cdef Payload p
        cdef Cursor c
        cdef const uint8_t *text = NULL
        cdef uint32_t size = 0
        cdef const sc_datatype *datatype = NULL
        self._begin(name, &r)
        try:
            self._fetch(&r, HEAD, &p)
            if p.visible < min(p.size, <uint64_t>64):
                self._fetch(&r, WHOLE, &p)
            c = cursor_over(p.at, p.visible)
            if take_string(&c, &text, &size):
                datatype = sc_find_datatype(text, size)
            return None if datatype == NULL else datatype.name.decode("ascii")
        finally:
            self._end(&r)


cdef np.ndarray _feature_room(Shape shape, np.ndarray out):
    """A new array for the features of one entry, or the part of `out`."""
    cdef np.npy_intp dims[2]
    if out is None:
        dims[0] = shape.frames
        dims[1] = shape.dim
        return np.PyArray_SimpleNew(2, dims, np.NPY_FLOAT32)
    check_out(out, 2, "float32")
    if shape.frames > out.shape[0] or (shape.frames and shape.dim != out.shape[1]):
        raise ValueError(f"out of shape {(out.shape[0], out.shape[1])} cannot hold"
                         f" {shape.frames} frames of {shape.dim} values")
    return out if out.shape[0] == shape.frames else out[:shape.frames]


cdef tuple _range(start, stop):
    """A range of frames, checked."""
    start, stop = index(start), _MAX_FRAMES if stop is None else index(stop)
    if not 0 <= start <= stop:
        raise ValueError(f"not a range of frames: {start} to {stop}")
    return start, min(stop, _MAX_FRAMES)
