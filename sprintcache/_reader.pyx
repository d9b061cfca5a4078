"""The compiled core: maps files, indexes names, decodes payloads without the GIL.

Ownership. A Reader owns its sources (mappings or descriptors), the index over their tables, and
some idle Workers (buffers). After opening only the idle workers change, which are taken and
returned by atomic exchanges, so any number of threads may read at once, with or without a GIL. A
read counts itself in before it touches anything and out when it is done; `close` marks the reader
closed and drops its own count, and the last one out frees everything. No thread outlives a call, so
a fork loses nothing; a forked child reads the same mapping, or the same descriptors with `pread`,
which has no position to share.

Faults. A function without the GIL returns a code; for any other than NO_FAULT it has filled a
Fault. `fault_error` turns a Fault into an exception, and nothing else does. A function that returns
an object returns None and leaves the code in the Fault.

Bytes of a file are read by the functions of `_core/cursor.pxd` only; the copy loops in
`_core/kernels.h` work on ranges that it has checked. The parts below share one namespace and are
included in the order of their needs; the top of each says what these are.
"""

cimport cython
cimport numpy as np
from cpython.buffer cimport PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.errno cimport EINTR, EIO, ENOENT, ENOTDIR, errno
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memcmp, memcpy, memmove, memset, strerror, strlen

from sprintcache._core.cursor cimport *

import os
from operator import index

import numpy as np

from sprintcache import errors
from sprintcache._packing import packed_offsets
from sprintcache._text_file import not_regular
from sprintcache.alignment import Alignment
from sprintcache.entries import Block, EntryInfo, ScanReport, SkippedRange

np.import_array()

include "_core/externs.pxi"
include "_core/faults.pxi"
# files
include "_core/sources.pxi"
include "_core/tables.pxi"
include "_core/scan.pxi"
include "_core/index_file.pxi"
include "_core/index.pxi"
include "_core/private_index.pxi"
# payloads
include "_core/workers.pxi"
include "_core/inflate.pxi"
include "_core/fetch.pxi"
# what payloads hold
include "_core/alignment_items.pxi"
include "_core/packets.pxi"
include "_core/alignments.pxi"
include "_core/labels.pxi"
include "_core/ranges.pxi"
include "_core/blocks.pxi"
# many entries
include "_core/parallel.pxi"
include "_core/batch_tasks.pxi"
include "_core/index_writer.pxi"
include "_core/soundness.pxi"
include "_core/store.pxi"
include "_core/copying.pxi"

sc_choose_kernels()
if sc_prepare_descriptors() != 0:
    raise MemoryError("pthread_atfork")


def build_info() -> dict[str, str]:
    """How this build inflates ("inflate": libdeflate, zlib or python) and copies ("gather")."""
    return {"inflate": SC_INFLATE_BACKEND.decode(), "gather": sc_kernel_name.decode()}


def use_kernel(name: str) -> bool:
    """For tests and benchmarks: selects the copy loop "plain", "avx2" or "avx512" if possible."""
    return bool(sc_use_kernel(name.encode()))


def check_threads(num_threads):
    """The number of threads as an int from 1 to 64."""
    num_threads = index(num_threads)
    if num_threads < 1:
        raise ValueError(f"num_threads must be at least 1, not {num_threads}")
    return min(num_threads, MAX_THREADS)


def check_out(out: np.ndarray, ndim: int, dtype: str) -> None:
    """Checks an array to read into.

    Raises:
        ValueError: if it has another dtype, number of dimensions or layout, or is read-only.
    """
    if out.ndim != ndim or out.dtype != dtype or not np.PyArray_ISCARRAY(out):
        raise ValueError(f"out must be a writable C-contiguous {dtype} array of {ndim}"
                         f" dimensions, not {_describe(out)}")


cdef str _describe(object out):
    return f"{out.dtype} of shape {out.shape}{'' if out.flags.c_contiguous else ', strided'}" \
           f"{'' if out.flags.writeable else ', read-only'}"


_MAX_FRAMES = np.iinfo(np.int64).max

include "_core/packing.pxi"


cdef struct EntryRead:          # one entry that is being read
    int64_t entry
    Worker *worker


cdef class Reader(Store):
    """Everything that reads entries; `Archive` is its public face."""

    # ---- one entry

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
            (T, D) float32, or ``out[:T]``; T is the number of frames in the range. Scalars give D = 1; other numeric datatypes are
            converted. An entry without packets gives (0, 0).

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

    # ---- many entries

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
                room = _room(out, (b.count, b.longest, b.dim), "float32")
                b.stride = room.shape[1] * b.dim
            else:
                offsets = packed_offsets(lengths, *layout)
                b.offsets = <int64_t *>np.PyArray_DATA(offsets)
                room = _room(out, (offsets[b.count], b.dim), "float32")
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
                room = _room(out, (b.count, b.longest), "int32")
                b.stride = room.shape[1]
            else:
                offsets = packed_offsets(lengths, *layout)
                b.offsets = <int64_t *>np.PyArray_DATA(offsets)
                room = _room(out, (offsets[b.count],), "int32")
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

    def _sound_entries(self, start: int, stop: int) -> np.ndarray:
        """Decodes entries from start to stop completely: features, and plain attributes.

        Returns:
            (stop - start,) int64: bytes of the payload, inflated; -1 for other entries, those that
            are empty or damaged, and files of a directory.
        """
        cdef int64_t first = start, count = stop - start, i
        cdef np.ndarray sizes = np.empty(max(count, 0), np.int64)
        cdef int64_t *size = <int64_t *>np.PyArray_DATA(sizes)
        cdef Worker *w
        self._enter()
        try:
            if not 0 <= first <= first + count <= self.core.index.count:
                raise IndexError(f"entries {start} to {stop} of {self.core.index.count}")
            w = self._take_worker()
            with nogil:
                for i in range(count):
                    if not is_sound_entry(&self.core, first + i, w, &size[i]):
                        size[i] = -1
            self._return_worker(w)
            return sizes
        finally:
            self._leave()

    def _extents(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Source, begin and end offset of every entry: (N,) uint32, (N,) int64, (N,) int64.

        Offsets are -1 for files of a directory.
        """
        cdef int64_t i
        cdef np.ndarray sources, begins, ends
        cdef uint32_t *source
        cdef int64_t *begin
        cdef int64_t *end
        self._enter()
        try:
            sources = np.empty(self.core.index.count, np.uint32)
            begins = np.empty(self.core.index.count, np.int64)
            ends = np.empty(self.core.index.count, np.int64)
            source = <uint32_t *>np.PyArray_DATA(sources)
            begin = <int64_t *>np.PyArray_DATA(begins)
            end = <int64_t *>np.PyArray_DATA(ends)
            with nogil:
                for i in range(self.core.index.count):
                    source[i] = source_number(&self.core.index, i)
                    extent_of(&self.core, i, &begin[i], &end[i])
            return sources, begins, ends
        finally:
            self._leave()

    def _attributes_alone(self) -> list[str]:
        """The names of segments of which there are attributes only."""
        cdef int64_t i
        cdef TableRow row
        cdef list names = []
        self._enter()
        try:
            self._check_names()
            for i in range(self.core.index.count):
                row = row_of(&self.core, i)
                if (is_attributes(&row)
                        and self._checked(find_entry(&self.core.index, row.name,
                                                     row.name_size - 8)) < 0):
                    names.append(_name(row.name, row.name_size - 8))
            return names
        finally:
            self._leave()

    def _rows_of(self, names) -> tuple[np.ndarray, ...]:
        """Rows of some entries, as columns.

        Returns:
            (B,) uint32 source; (B,) int64 offsets of begin and end, -1 for files of a directory;
            (B,) uint32 size and compressed size.

        Raises:
            EntryNotFoundError: if there is no entry of one of the names.
        """
        cdef np.ndarray entries, sources, begins, ends, sizes, compressed
        cdef int64_t *entry
        cdef TableRow row
        cdef Py_ssize_t i
        self._enter()
        try:
            entries = self._named_entries(names)
            entry = <int64_t *>np.PyArray_DATA(entries)
            sources = np.empty(entries.shape[0], np.uint32)
            begins = np.empty(entries.shape[0], np.int64)
            ends = np.empty(entries.shape[0], np.int64)
            sizes = np.empty(entries.shape[0], np.uint32)
            compressed = np.empty(entries.shape[0], np.uint32)
            for i in range(entries.shape[0]):
                (<uint32_t *>np.PyArray_DATA(sources))[i] = source_number(&self.core.index, entry[i])
                extent_of(&self.core, entry[i], <int64_t *>np.PyArray_DATA(begins) + i,
                          <int64_t *>np.PyArray_DATA(ends) + i)
                row = row_of(&self.core, entry[i])
                (<uint32_t *>np.PyArray_DATA(sizes))[i] = row.size
                (<uint32_t *>np.PyArray_DATA(compressed))[i] = row.compressed
            return sources, begins, ends, sizes, compressed
        finally:
            self._leave()

    def _write_index(self, fd: int, str path, num_threads: int) -> None:
        """Writes an index file of this archive to an empty file; `path` is for errors.

        Raises:
            UnsupportedError: if a source is a directory, or has no sound table.
            ArchiveChangedError: if a file was changed after opening.
            ValueError: if this archive itself was opened with an index file.
        """
        cdef Survey survey
        cdef Fault f
        cdef Fault *faults = NULL
        cdef IndexedSource *sources = NULL
        cdef int64_t items
        cdef uint32_t i
        cdef int descriptor = fd, code
        num_threads = check_threads(num_threads)
        self.check_unchanged()
        self._enter()
        try:
            if self.core.index.file != NULL:
                raise ValueError(f"{self.path} was opened with the index {self.index_path}")
            for i in range(self.core.count):
                if self.scan_reports[i] is not None or self.core.sources[i].kind != SOURCE_FILE:
                    raise errors.UnsupportedError(
                        "only archives with a sound table can have an index",
                        path=self.source_paths[i])
            survey.core = &self.core
            survey.frames = <uint32_t *>malloc(4 * <uint64_t>self.core.index.segment_count + 1)
            survey.dims = <uint32_t *>malloc(4 * <uint64_t>self.core.index.segment_count + 1)
            items = (self.core.index.segment_count + SURVEYED - 1) // SURVEYED
            faults = <Fault *>calloc(items + 1, sizeof(Fault))
            sources = <IndexedSource *>calloc(self.core.count, sizeof(IndexedSource))
            try:
                if not (survey.frames and survey.dims and faults and sources):
                    raise MemoryError()
                self._run_tasks(survey_task, &survey, items, faults, num_threads)
                with nogil:
                    code = describe_sources(&self.core, sources, &f)
                if code != NO_FAULT:
                    raise fault_error(&f, self.path, None, -1, False, None)
                with nogil:
                    code = write_index_file(&self.core, descriptor, &survey, sources, &f)
                if code != NO_FAULT:
                    raise fault_error(&f, path, None, -1, False, None)
            finally:
                free(survey.frames)
                free(survey.dims)
                free(faults)
                free(sources)
            for i in range(self.core.count):
                release_table_pages(&self.core.sources[i])
        finally:
            self._leave()
        self.check_unchanged()

    def _damaged_block(self) -> int | None:
        """Checks all blocks of the index file; returns the offset of a damaged one."""
        cdef uint64_t block
        cdef bint sound = True
        self._enter()
        try:
            if self.core.index.file == NULL:
                return None
            with nogil:
                for block in range(self.core.index.file.header.checksums // INDEX_BLOCK - 1):
                    sound = sound and check_block(self.core.index.file, block)
            return None if sound else load_offset(&self.core.index.file.damaged)
        finally:
            self._leave()

    cdef np.ndarray _file_order(self):
        """(segments,) int64 entry numbers of the segments, in the order of their offsets."""
        cdef int64_t count = self.core.index.segment_count, i
        cdef np.ndarray entries = np.arange(count, dtype=np.int64)
        cdef np.ndarray offsets = np.empty(count, np.uint64)
        cdef np.ndarray sources = np.zeros(count, np.uint32)
        cdef int64_t *entry = <int64_t *>np.PyArray_DATA(entries)
        cdef uint64_t *offset_of = <uint64_t *>np.PyArray_DATA(offsets)
        cdef uint32_t *source = <uint32_t *>np.PyArray_DATA(sources)
        cdef bint ordered = True
        for i in range(count):
            entry[i] = self._segment(i)
        with nogil:
            for i in range(count):
                offset_of[i] = row_of(&self.core, entry[i]).position
                source[i] = source_number(&self.core.index, entry[i])
                if i and (source[i] < source[i - 1]
                          or (source[i] == source[i - 1] and offset_of[i] < offset_of[i - 1])):
                    ordered = False
        return entries if ordered else entries[np.lexsort((offsets, sources))]


cdef np.ndarray _room(object out, tuple shape, str dtype):
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


include "_core/file_order.pxi"
