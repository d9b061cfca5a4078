# Reading many entries: padded and packed batches, and the shapes of all segments.
# Needs: parallel, batch_tasks, store, entry_reader.

cdef class BatchReader(EntryReader):
    """Reads many entries in threads."""

    cdef np.ndarray _begin_batch(self, BatchJob *b, np.ndarray entries):
        """Fills a batch for these entries; returns its lengths, (B,) int64."""
        cdef np.ndarray lengths = np.zeros(entries.shape[0], np.int64)
        memset(b, 0, sizeof(BatchJob))
        b.core = &self.core
        b.entries = <int64_t *>np.PyArray_DATA(entries)
        b.count = entries.shape[0]
        b.lengths = <int64_t *>np.PyArray_DATA(lengths)
        return lengths

    cdef int _run_batch(self, Task task, BatchJob *b, int num_threads, LabelTable labels) except -1:
        """Runs a task for every entry of a batch; raises the error of the first that failed.

        The caller has counted itself in.
        """
        cdef int64_t item
        cdef Fault *faults = <Fault *>calloc(b.count + 1, sizeof(Fault))
        if faults == NULL:
            raise MemoryError()
        try:
            self._run_tasks(task, b, b.count, faults, num_threads)
            for item in range(b.count):
                if faults[item].code != NO_FAULT:
                    raise self._error(b.entries[item], &faults[item], labels)
        finally:
            free(faults)
        return 0

    cdef int _run_tasks(self, Task task, void *arguments, int64_t count, Fault *faults,
                        int num_threads) except -1:
        """Runs a task for `count` items, each of which has a fault."""
        cdef ParallelJob job = ParallelJob(task, arguments, count, 0, faults)
        cdef ThreadArg args[MAX_THREADS]
        cdef int i, ready = 0
        num_threads = <int>min(<int64_t>num_threads, max(count, 1))
        try:
            for i in range(num_threads):
                args[i].job = &job
                args[i].worker = self._take_worker()
                ready += 1
            with nogil:
                parallel_for(&job, args, num_threads)
        finally:
            for i in range(ready):
                self._return_worker(args[i].worker)
        return 0

    cdef np.ndarray _entries(self, names):
        """(B,) int64 numbers of the entries, by name or by segment number; checks their files."""
        cdef np.ndarray array
        cdef int64_t *entries
        cdef Py_ssize_t count, i
        cdef bytearray seen
        if isinstance(names, np.ndarray) and names.dtype.kind in "iu":
            array = self._numbered_entries(np.array(names, np.int64, ndmin=1))
        else:
            array = self._named_entries(names)
        entries = <int64_t *>np.PyArray_DATA(array)
        count = array.shape[0]
        if self.core.count == 1:
            self._check_source(0)
        else:
            seen = bytearray(self.core.count)
            for i in range(count):
                source = source_number(&self.core.index, entries[i])
                if not seen[source]:
                    seen[source] = 1
                    self._check_source(source)
        with nogil:
            for i in range(count):
                prefetch_entry(&self.core, entries[i], 192)
        return array

    cdef np.ndarray _numbered_entries(self, np.ndarray numbers):
        """Replaces segment numbers by entry numbers, in place."""
        cdef int64_t *entries = <int64_t *>np.PyArray_DATA(numbers)
        cdef int64_t segments = self.core.index.segment_count
        cdef Py_ssize_t i
        for i in range(numbers.shape[0]):
            if not 0 <= entries[i] < segments:
                raise IndexError(f"segment {entries[i]} of {segments}")
            entries[i] = self._segment(entries[i])
        return numbers

    cdef np.ndarray _named_entries(self, names):
        if isinstance(names, (str, bytes)):
            raise TypeError("names must be several names, not one")
        cdef list listed = list(names)
        cdef Py_ssize_t count = len(listed), i
        cdef np.ndarray array = np.empty(count, np.int64)
        cdef int64_t *entries = <int64_t *>np.PyArray_DATA(array)
        cdef NameQuery *queries = <NameQuery *>malloc((count + 1) * sizeof(NameQuery))
        if queries == NULL:
            raise MemoryError()
        try:
            for i in range(count):
                listed[i] = _utf8(listed[i], &queries[i].name, &queries[i].size)
            with nogil:
                find_entries(&self.core.index, queries, entries, count)
        finally:
            free(queries)
        for i in range(count):
            if self._checked(entries[i]) < 0:
                raise self._missing(listed[i])
        return array

    cdef int _useful_threads(self, np.ndarray entries, bint heads, int num_threads):
        """The number of threads that pays off: to start one and wait for it costs as much as to
        copy some hundred kilobytes. With `heads` only the heads are read."""
        cdef int64_t *entry = <int64_t *>np.PyArray_DATA(entries)
        cdef TableRow row
        cdef Py_ssize_t i
        cdef uint64_t work = 0          # in bytes to copy
        for i in range(entries.shape[0]):
            row = row_of(&self.core, entry[i])
            if heads:
                work += 1 << 16 if row.compressed else 0
            else:
                work += 1 << 12         # its look-up and its checks
                work += 32 * <uint64_t>row.size if row.compressed else row.size
            if not source_of(&self.core, entry[i]).mapped:
                work += 1 << 16         # a system call, perhaps a disk
        return <int>min(<uint64_t>num_threads, 1 + work // MIN_BYTES_PER_THREAD)

    cdef tuple _begin_ranges(self, BatchJob *b, starts, stops):
        """Sets the ranges of frames of a batch; returns the arrays that it points to."""
        if starts is None and stops is None:
            return ()
        cdef np.ndarray firsts = _range_ends("starts", 0 if starts is None else starts, b.count)
        cdef np.ndarray blocks
        cdef np.ndarray ends = _range_ends("stops", _MAX_FRAMES if stops is None else stops, b.count)
        cdef int64_t i
        b.firsts = <int64_t *>np.PyArray_DATA(firsts)
        b.stops = <int64_t *>np.PyArray_DATA(ends)
        for i in range(b.count):
            if b.firsts[i] > b.stops[i]:
                raise ValueError("a range that ends before it starts")
        blocks = np.zeros(b.count * sizeof(OneBlock), np.uint8)
        b.blocks = <OneBlock *>np.PyArray_DATA(blocks)
        return firsts, ends, blocks

    cdef void _clip(self, BatchJob *b) noexcept:
        """From the frames of the entries to those of the ranges."""
        cdef int64_t i
        for i in range(b.count):
            if b.firsts != NULL:
                b.firsts[i] = min(b.firsts[i], b.lengths[i])
                b.lengths[i] = min(b.stops[i], b.lengths[i]) - b.firsts[i]
            b.longest = max(b.longest, b.lengths[i])

    def read_features_batch(self, names, out=None, num_threads: int = 1, *, starts=None,
                            stops=None):
        """Features of many entries, padded with zeros.

        Args:
            names: B entries, in the order of the batch; duplicates are allowed. An array of
                integers selects by number, as an index into `segments`.
            out: C-contiguous float32 array of at least (B, Tmax, D) to read into; memory beyond
                B and Tmax is not written. Or a function of that shape that returns the array.
            num_threads: threads to decode with, this one included.
            starts, stops: ranges of frames as for `read_features`: (B,) integers, or one for all;
                None: from the first frame, to the last one.

        Returns:
            (B, Tmax, D) float32, or ``out[:B, :Tmax]``; and the lengths, (B,) int64.

        Raises:
            EntryNotFoundError: if a name has no entry.
            FormatError: as for `read_features`, or if entries differ in D.
            ArchiveChangedError: if a file was changed after opening.
            ValueError: if `out` does not fit; nothing is written then.
        """
        room, _, lengths = self._read_features(names, out, num_threads, starts, stops, None)
        return room, lengths

    def read_features_packed(self, names, out=None, num_threads: int = 1, *, gap: int = 0,
                             align: int = 1, starts=None, stops=None):
        """Features of many entries one after the other, without padding.

        Args:
            names, num_threads, starts, stops: as for `read_features_batch`.
            out: C-contiguous float32 array of at least (N, D) to read into, or a function of that
                shape that returns the array.
            gap: frames of zeros after each entry, at least.
            align: an entry and its gap take a multiple of this number of frames.

        Returns:
            (N, D) float32, or ``out[:N]``; where each entry begins, (B + 1,) int64, the last one
            being N (without gap: ``cu_seqlens``); and the lengths, (B,) int64.

        Raises:
            EntryNotFoundError, FormatError, ArchiveChangedError: as for `read_features_batch`.
            ValueError: if `out` does not fit, `gap` is negative, or `align` below 1.
        """
        return self._read_features(names, out, num_threads, starts, stops, (gap, align))

    cdef tuple _read_features(self, names, out, num_threads, starts, stops, tuple layout):
        """(array, offsets, lengths); padded without offsets, or packed with gap and alignment."""
        cdef BatchJob b
        cdef np.ndarray entries, lengths, dims, room, offsets = None
        cdef tuple ranges
        num_threads = check_threads(num_threads)
        self._enter()
        try:
            entries = self._entries(names)
            lengths = self._begin_batch(&b, entries)
            ranges = self._begin_ranges(&b, starts, stops)
            dims = np.empty(b.count, np.int64)
            b.dims = <int64_t *>np.PyArray_DATA(dims)
            self._run_batch(measure_task, &b, self._useful_threads(entries, True, num_threads), None)
            b.dim = self._common_dim(&b)
            if b.dim < 0:
                b.dim = out.shape[out.ndim - 1] if isinstance(out, np.ndarray) and out.ndim else 0
            self._clip(&b)
            if layout is None:
                room = batch_room(out, (b.count, b.longest, b.dim), "float32")
                b.stride = room.shape[1] * b.dim
            else:
                offsets = packed_offsets(lengths, *layout)
                b.offsets = <int64_t *>np.PyArray_DATA(offsets)
                room = batch_room(out, (offsets[b.count], b.dim), "float32")
            b.features = <float *>np.PyArray_DATA(room)
            self._run_batch(features_task, &b, self._useful_threads(entries, False, num_threads),
                            None)
        finally:
            self._leave()
        return _filled(room, out, &b, offsets), offsets, lengths

    cdef int64_t _common_dim(self, BatchJob *b) except -2:
        """The dimension of all entries that have frames; -1 if none has."""
        cdef int64_t i, first = -1
        for i in range(b.count):
            if b.dims[i] < 0:
                continue
            if first < 0:
                first = i
            elif b.dims[i] != b.dims[first]:
                raise errors.FormatError(
                    f"dimension differs from entry {self._name_at(b.entries[first])!r} of the"
                    " batch", path=self._path_of(b.entries[i]), entry=self._name_at(b.entries[i]),
                    expected=b.dims[first], found=b.dims[i])
        return -1 if first < 0 else b.dims[first]

    def _read_labels_batch(self, names, LabelTable table, int pad, out, num_threads: int,
                           bint check_alphabet, starts, stops, tuple layout):
        """(array, offsets, lengths); see `Archive.read_labels_batch` and `read_features_packed`."""
        cdef BatchJob b
        cdef np.ndarray entries, lengths, room, offsets = None
        cdef tuple ranges
        num_threads = check_threads(num_threads)
        self._enter()
        try:
            entries = self._entries(names)
            lengths = self._begin_batch(&b, entries)
            ranges = self._begin_ranges(&b, starts, stops)
            b.table = label_pointer(table)
            b.check_alphabet = check_alphabet
            b.pad = pad
            self._run_batch(items_task, &b, self._useful_threads(entries, True, num_threads), table)
            self._clip(&b)
            if layout is None:
                room = batch_room(out, (b.count, b.longest), "int32")
                b.stride = room.shape[1]
            else:
                offsets = packed_offsets(lengths, *layout)
                b.offsets = <int64_t *>np.PyArray_DATA(offsets)
                room = batch_room(out, (offsets[b.count],), "int32")
            b.labels = <int32_t *>np.PyArray_DATA(room)
            self._run_batch(labels_task, &b, self._useful_threads(entries, False, num_threads),
                            table)
        finally:
            self._leave()
        return _filled(room, out, &b, offsets), offsets, lengths

    def num_frames_all(self, num_threads: int = 1) -> np.ndarray:
        """Frames of every segment, in the order of `segments`: see `num_frames`.

        Returns:
            (len(segments),) int64.

        Raises:
            FormatError: for the first segment that is damaged or not a Flow cache entry.
            ArchiveChangedError: if a file was changed after opening.
        """
        return self._shapes_all(False, num_threads)

    def feature_dims_all(self, num_threads: int = 1) -> np.ndarray:
        """Values per frame of every segment, in the order of `segments`.

        Returns:
            (len(segments),) int64; 0 for segments without frames, or of another datatype than
            numbers.

        Raises:
            FormatError, ArchiveChangedError: as for `num_frames_all`.
        """
        return self._shapes_all(True, num_threads)

    cdef np.ndarray _shapes_all(self, bint want_dims, object num_threads):
        """Frames or dimension of every segment: from the index file, or by reading the heads."""
        cdef BatchJob b
        cdef Index *index = &self.core.index
        cdef np.ndarray values, some, frames, segments, entries
        cdef int64_t *value
        cdef int64_t i
        num_threads = check_threads(num_threads)
        self.check_unchanged()
        self._enter()
        try:
            segments = np.arange(index.segment_count, dtype=np.int64)
            values = np.empty(index.segment_count, np.int64)
            value = <int64_t *>np.PyArray_DATA(values)
            if index.frames != NULL:
                for i in range(index.segment_count):
                    value[i] = self._checked(indexed_shape(index, i, want_dims))
                segments = segments[values == NO_ENTRY]
            if not segments.shape[0]:
                return values
            entries = self._numbered_entries(segments.copy())
            frames = self._begin_batch(&b, entries)
            some = np.empty(b.count, np.int64) if want_dims else frames
            if want_dims:
                b.dims = <int64_t *>np.PyArray_DATA(some)
            self._run_batch(frames_task, &b, num_threads, None)
            if index.frames == NULL:
                return some
            values[segments] = some
            return values
        finally:
            self._leave()


def batch_room(out, tuple shape, str dtype) -> np.ndarray:
    """The array of a batch: a new one, `out`, or what the function `out` returns for the shape.

    The last axis of features must fit; it may be larger elsewhere.
    """
    if out is None:
        return np.empty(shape, dtype)
    array = out(shape) if callable(out) else out
    check_out(array, len(shape), dtype)
    axes = len(shape) - (dtype == "float32")
    if any(array.shape[i] < shape[i] for i in range(axes)) or array.shape[axes:] != shape[axes:]:
        raise ValueError(f"out of shape {array.shape} cannot hold a batch of shape {shape}")
    return array


cdef object _filled(np.ndarray room, object out, const BatchJob *b, np.ndarray offsets):
    """The part of the array that the batch fills."""
    if out is None:
        return room
    return room[:b.count, :b.longest] if offsets is None else room[:offsets[b.count]]


cdef np.ndarray _range_ends(str name, value, int64_t count):
    """(count,) int64 ends of ranges, a copy."""
    cdef np.ndarray array = np.asarray(value), ends = np.empty(count, np.int64)
    cdef const int64_t *end = <const int64_t *>np.PyArray_DATA(ends)
    cdef bint is_valid = (array.dtype.kind in "iu"
                          and (array.ndim == 0 or array.ndim == 1 and array.shape[0] == count))
    cdef int64_t i
    if is_valid:
        ends[...] = array
        for i in range(count):
            is_valid = is_valid and end[i] >= 0
    if not is_valid:
        raise ValueError(f"{name} must be {count} frame numbers or one, not {value!r:.80}")
    return ends
