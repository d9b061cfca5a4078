"""The compiled core: map files, index names, decode payloads without the GIL.

Who owns what. A Reader owns its sources (mappings or descriptors), the index over their tables,
and some resting Workers (buffers). After opening nothing of it changes but the resting workers,
which are taken and put back with atomic exchanges; so any number of threads may read at once, with
or without a GIL. A read counts itself in before it touches anything and out when it is done;
``close`` marks the reader closed and counts its owner out, and whoever is last frees everything.
No thread outlives a call, so a fork loses nothing; a forked child reads the same mapping, or the
same descriptors with ``pread``, which has no position to share.

Code inside ``nogil`` gives a code and fills a Fault; `fault_error` is the one place that makes an
exception of it. Bytes of a file are read through `_core/cursor.pxd` only; the copy loops in
`_core/kernels.h` work on ranges that it has checked.
"""

cimport numpy as np
from cpython.buffer cimport PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.errno cimport EINTR, ENOENT, ENOTDIR, errno
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove, memset, strerror, strlen

from sprintcache._core.cursor cimport *

import os
from operator import index

import numpy as np

from sprintcache import errors
from sprintcache._text_file import not_regular
from sprintcache.alignment import Alignment
from sprintcache.entries import Block, EntryInfo, ScanReport, SkippedRange

np.import_array()

include "_core/externs.pxi"
include "_core/faults.pxi"
include "_core/packets.pxi"
include "_core/alignments.pxi"
include "_core/sources.pxi"
include "_core/index.pxi"
include "_core/fetch.pxi"
include "_core/blocks.pxi"
include "_core/labels.pxi"
include "_core/tasks.pxi"
include "_core/store.pxi"

sc_choose_kernels()
if sc_prepare_descriptors() != 0:
    raise MemoryError("pthread_atfork")

def build_info() -> dict[str, str]:
    """What this build uses: "inflate" (libdeflate, zlib or python) and "gather" (instructions)."""
    return {"inflate": SC_INFLATE_BACKEND.decode(), "gather": sc_gather_name.decode()}


def use_kernel(name: str) -> bool:
    """For tests and benchmarks: takes the copy loop "plain", "avx2" or "avx512", if possible."""
    return bool(sc_use_kernel(name.encode()))


def check_threads(num_threads):
    """Number of threads as an int from 1 to 64."""
    num_threads = index(num_threads)
    if num_threads < 1:
        raise ValueError(f"num_threads must be at least 1, not {num_threads}")
    return min(num_threads, MOST_THREADS)


def check_out(out: np.ndarray, ndim: int, dtype: str) -> None:
    """Is this an array to read into?

    Raises:
        ValueError: if it has another dtype, number of dimensions or layout, or is read-only.
    """
    if out.ndim != ndim or out.dtype != dtype or not np.PyArray_ISCARRAY(out):
        raise ValueError(f"out must be a writable C-contiguous {dtype} array of {ndim}"
                         f" dimensions, not {_describe(out)}")


cdef str _describe(object out):
    return f"{out.dtype} of shape {out.shape}{'' if out.flags.c_contiguous else ', strided'}" \
           f"{'' if out.flags.writeable else ', read-only'}"


include "_core/writing.pxi"


cdef class Reader(Store):
    """Everything that reads entries; `Archive` is its public face."""

    # ---- one entry

    def read_bytes(self, name) -> bytes:
        """The payload of an entry as it is, inflated where it was compressed.

        Raises:
            EntryNotFoundError: if there is no entry of that name.
            FormatError: if the entry is damaged.
        """
        return self._read(name, False)

    def read_blocks(self, name) -> list[Block]:
        """All blocks of a Flow cache entry, each packet as it is stored (format, section 6).

        Raises:
            EntryNotFoundError: if there is no entry of that name.
            FormatError: if the entry is damaged, or is no Flow cache entry (UnsupportedError).
        """
        return self._read(name, True)

    cdef object _read(self, object name, bint blocks):
        cdef Payload p
        cdef Fault f
        cdef int64_t entry
        cdef Worker *w
        memset(&f, 0, sizeof(f))
        self._enter()
        try:
            entry = self._entry(name)
            w = self._worker()
            try:
                with nogil:
                    fetch(&self.core, entry, w, WHOLE, True, &p, &f)
                if f.code == NO_FAULT and not blocks:
                    return PyBytes_FromStringAndSize(<char *>p.at, <Py_ssize_t>p.size)
                data = read_all_blocks(&p, &f) if f.code == NO_FAULT else None
                if f.code != NO_FAULT:
                    raise self._error(entry, &f)
                return data
            finally:
                self._rest(w)
        finally:
            self._leave()

    def read_features(self, name, np.ndarray out=None) -> np.ndarray:
        """Features of all blocks of an entry.

        Args:
            name: the entry.
            out: C-contiguous float32 array of at least (T, D) to read into.

        Returns:
            (T, D) float32, or ``out[:T]``. Scalars give D = 1; other numeric datatypes are
            converted. An entry without packets gives (0, 0).

        Raises:
            EntryNotFoundError: if there is no entry of that name.
            FormatError: if the entry is damaged, if its frames differ in size, or if it holds no
                numbers (UnsupportedError); `read_blocks` reads the latter two.
            ValueError: if `out` does not fit; nothing is written then.
        """
        self._enter()
        try:
            return self._features(self._entry(name), out)
        finally:
            self._leave()

    cdef object _features(self, int64_t entry, np.ndarray out):
        cdef Payload p
        cdef Fault f
        cdef Shape shape
        cdef int code
        cdef Worker *w = self._worker()
        try:
            with nogil:
                code = fetch_features(&self.core, entry, w, WHOLE, True, &p, &shape, &f)
            if code != NO_FAULT:
                raise self._error(entry, &f)
            return self._gathered(entry, &p, shape, out)
        finally:
            self._rest(w)

    cdef object _gathered(self, int64_t entry, Payload *p, Shape shape, np.ndarray out):
        """The features of a measured payload, in a new array or in `out`."""
        cdef Fault f
        cdef np.npy_intp dims[2]
        cdef np.ndarray array
        cdef float *to
        cdef int code
        if out is None:
            dims[0] = shape.frames
            dims[1] = shape.dim
            array = np.PyArray_SimpleNew(2, dims, np.NPY_FLOAT32)
        else:
            check_out(out, 2, "float32")
            if shape.frames > out.shape[0] or (shape.frames and shape.dim != out.shape[1]):
                raise ValueError(f"out of shape {(out.shape[0], out.shape[1])} cannot hold"
                                 f" {shape.frames} frames of {shape.dim} values")
            array = out if out.shape[0] == shape.frames else out[:shape.frames]
        to = <float *>np.PyArray_DATA(array)
        with nogil:
            code = gather_features(p.at, p.size, shape, to, &f)
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
        cdef Payload p
        cdef Fault f
        cdef int64_t entry, count = 0
        cdef np.ndarray array
        cdef double *times
        cdef Worker *w
        memset(&f, 0, sizeof(f))
        self._enter()
        try:
            entry = self._entry(name)
            w = self._worker()
            try:
                with nogil:
                    if fetch(&self.core, entry, w, WHOLE, True, &p, &f) == NO_FAULT:
                        count_packets(p.at, p.size, NULL, 0, &count, &f)
                if f.code == NO_FAULT:
                    array = np.empty((count, 2), np.float64)
                    times = <double *>np.PyArray_DATA(array)
                    with nogil:
                        count_packets(p.at, p.size, times, count, &count, &f)
                if f.code != NO_FAULT:
                    raise self._error(entry, &f)
                return array
            finally:
                self._rest(w)
        finally:
            self._leave()

    def read_alignment(self, name) -> Alignment:
        """The one alignment of an entry.

        Raises:
            EntryNotFoundError: if there is no entry of that name.
            FormatError: if the entry is damaged, holds something else or several alignments
                (UnsupportedError; `read_blocks` reads these), or none (TruncatedError).
        """
        cdef Payload p
        cdef Fault f
        cdef Cursor c
        cdef int64_t entry, at = 0
        cdef double start = 0, end = 0
        cdef Worker *w
        memset(&f, 0, sizeof(f))
        self._enter()
        try:
            entry = self._entry(name)
            w = self._worker()
            try:
                with nogil:
                    if fetch(&self.core, entry, w, WHOLE, True, &p, &f) == NO_FAULT:
                        c = cursor_over(p.at, p.size)
                        only_alignment(&c, &at, &f)
                if f.code == NO_FAULT:
                    alignment = _alignment(&c, &f)
                if f.code == NO_FAULT:
                    after_alignment(&c, &start, &end, &f)
                if f.code != NO_FAULT:
                    raise self._error(entry, &f)
                alignment.start = start
                alignment.end = end
                return alignment
            finally:
                self._rest(w)
        finally:
            self._leave()

    def _read_labels(self, name, LabelTable table, bint check_alphabet) -> np.ndarray:
        """(T,) int32 labels; see `Archive.read_labels`."""
        self._enter()
        try:
            return self._labels(self._entry(name), table, check_alphabet)
        finally:
            self._leave()

    cdef object _labels(self, int64_t entry, LabelTable table, bint check_alphabet):
        cdef Payload p
        cdef Fault f
        cdef int code
        cdef Worker *w = self._worker()
        try:
            with nogil:
                code = fetch(&self.core, entry, w, WHOLE, True, &p, &f)
            if code != NO_FAULT:
                raise self._error(entry, &f, table)
            return self._labelled(entry, &p, w, table, check_alphabet)
        finally:
            self._rest(w)

    cdef object _labelled(self, int64_t entry, Payload *p, Worker *w, LabelTable table,
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
                code = gather_labels(p.at, p.size, labels,
                                     &w.used if check_alphabet else NULL, out, items, &f)
        if code != NO_FAULT:
            raise self._error(entry, &f, table)
        return array

    def num_frames(self, name) -> int:
        """Frames of an entry: of an alignment its last time + 1, else its packets.

        Of plain features only the heads of blocks are looked at.

        Raises:
            EntryNotFoundError: if there is no entry of that name.
            FormatError: if the entry is damaged or no Flow cache entry.
        """
        cdef Fault f
        cdef int64_t entry, frames = 0
        cdef Worker *w
        memset(&f, 0, sizeof(f))
        self._enter()
        try:
            entry = self._entry(name)
            w = self._worker()
            try:
                with nogil:
                    count_frames(&self.core, entry, w, True, &frames, &f)
                if f.code != NO_FAULT:
                    raise self._error(entry, &f)
                return frames
            finally:
                self._rest(w)
        finally:
            self._leave()

    # ---- many entries

    cdef int _share(self, Task task, Batch *batch, int64_t items, int num_threads,
                    LabelTable labels) except -1:
        """Runs a task for every item of a batch; raises the error of the first item that failed.

        The caller has counted itself in.
        """
        cdef Job job
        cdef Hand hands[MOST_THREADS]
        cdef int i, ready = 0
        cdef int64_t item
        job.task = task
        job.arguments = batch
        job.items = items
        job.next = 0
        num_threads = <int>min(<int64_t>num_threads, max(items, 1))
        job.faults = <Fault *>calloc(items + 1, sizeof(Fault))
        if job.faults == NULL:
            raise MemoryError()
        try:
            for i in range(num_threads):
                hands[i].job = &job
                hands[i].worker = self._worker()
                ready += 1
            with nogil:
                share(&job, hands, num_threads)
            for item in range(items):
                if job.faults[item].code != NO_FAULT:
                    raise self._error(batch.entries[item], &job.faults[item], labels)
        finally:
            for i in range(ready):
                self._rest(hands[i].worker)
            free(job.faults)
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
                source = self.core.index.source_of[entries[i]]
                if not seen[source]:
                    seen[source] = 1
                    self._check_source(source)
        with nogil:
            for i in range(count):
                touch_entry(&self.core, entries[i], 192)
        return array

    cdef np.ndarray _numbered_entries(self, np.ndarray numbers):
        """Replaces segment numbers by entry numbers, in place."""
        cdef int64_t *entries = <int64_t *>np.PyArray_DATA(numbers)
        cdef int64_t segments = self.core.index.segment_count
        cdef Py_ssize_t i
        for i in range(numbers.shape[0]):
            if not 0 <= entries[i] < segments:
                raise IndexError(f"segment {entries[i]} of {segments}")
            if self.core.index.segments != NULL:
                entries[i] = self.core.index.segments[entries[i]]
        return numbers

    cdef np.ndarray _named_entries(self, names):
        if isinstance(names, (str, bytes)):
            raise TypeError("names must be several names, not one")
        cdef list listed = list(names)
        cdef Py_ssize_t count = len(listed), i
        cdef np.ndarray array = np.empty(count, np.int64)
        cdef int64_t *entries = <int64_t *>np.PyArray_DATA(array)
        cdef Wanted *wanted = <Wanted *>malloc((count + 1) * sizeof(Wanted))
        if wanted == NULL:
            raise MemoryError()
        try:
            for i in range(count):
                listed[i] = _utf8(listed[i], &wanted[i].name, &wanted[i].size)
            with nogil:
                find_entries(&self.core.index, wanted, entries, count)
        finally:
            free(wanted)
        for i in range(count):
            if entries[i] < 0:
                raise self._missing(listed[i])
        return array

    cdef int _useful_threads(self, np.ndarray entries, bint heads, int num_threads):
        """How many of the threads the work is worth: a thread costs as much to start and to wait
        for as the copy of some hundred kilobytes. With `heads` only the heads are looked at."""
        cdef int64_t *entry = <int64_t *>np.PyArray_DATA(entries)
        cdef Row row
        cdef Py_ssize_t i
        cdef uint64_t work = 0          # in bytes copied
        for i in range(entries.shape[0]):
            row = row_of(&self.core, entry[i])
            if heads:
                work += 1 << 16 if row.compressed else 0
            else:
                work += 32 * <uint64_t>row.size if row.compressed else row.size
            if not source_of(&self.core, entry[i]).mapped:
                work += 1 << 16         # a system call, perhaps a disk
        return <int>min(<uint64_t>num_threads, 1 + work // WORTH_A_THREAD)

    def read_features_batch(self, names, out=None, num_threads: int = 1):
        """Features of many entries, padded with zeros.

        Args:
            names: B entries, in the order of the batch; duplicates are allowed. An array of
                integers selects by number, as an index into `segments`.
            out: C-contiguous float32 array of at least (B, Tmax, D) to read into; memory beyond
                B and Tmax is not written. Or a function of that shape that returns the array.
            num_threads: threads to decode with, this one included.

        Returns:
            (B, Tmax, D) float32, or ``out[:B, :Tmax]``; and the lengths, (B,) int64.

        Raises:
            EntryNotFoundError: if a name has no entry.
            FormatError: as for `read_features`, or if entries differ in D.
            ArchiveChangedError: if a file was changed after opening.
            ValueError: if `out` does not fit; nothing is written then.
        """
        cdef Batch batch
        cdef np.ndarray entries, lengths, dims, array, room
        cdef int64_t dim = -1, longest = 0, i, first = 0
        cdef int64_t *length
        num_threads = check_threads(num_threads)
        self._enter()
        try:
            entries = self._entries(names)
            count = entries.shape[0]
            lengths = np.zeros(count, np.int64)
            dims = np.empty(count, np.int64)
            memset(&batch, 0, sizeof(batch))
            batch.core = &self.core
            batch.entries = <int64_t *>np.PyArray_DATA(entries)
            batch.count = entries.shape[0]
            batch.lengths = length = <int64_t *>np.PyArray_DATA(lengths)
            batch.dims = <int64_t *>np.PyArray_DATA(dims)
            self._share(measure_task, &batch, count,
                        self._useful_threads(entries, True, num_threads), None)
            for i in range(count):
                longest = max(longest, length[i])
                if batch.dims[i] < 0:
                    continue
                if dim < 0:
                    dim = batch.dims[i]
                    first = i
                elif batch.dims[i] != dim:
                    raise errors.FormatError(
                        f"dimension differs from entry {self._name_at(batch.entries[first])!r}"
                        " of the batch", path=self._path_of(batch.entries[i]),
                        entry=self._name_at(batch.entries[i]), expected=dim, found=batch.dims[i])
            if dim < 0:
                dim = out.shape[2] if isinstance(out, np.ndarray) and out.ndim == 3 else 0
            for i in range(count):
                batch.dims[i] = dim
            if out is None:
                array = room = np.empty((count, longest, dim), np.float32)
            else:
                room = out((count, longest, dim)) if callable(out) else out
                check_out(room, 3, "float32")
                if room.shape[0] < count or room.shape[1] < longest or room.shape[2] != dim:
                    raise ValueError(
                        f"out of shape {(room.shape[0], room.shape[1], room.shape[2])} cannot hold"
                        f" a batch of shape {(count, longest, dim)}")
                array = room[:count, :longest]
            batch.features = <float *>np.PyArray_DATA(room)
            batch.stride = room.shape[1] * dim
            batch.longest = longest
            self._share(features_task, &batch, count,
                        self._useful_threads(entries, False, num_threads), None)
            return array, lengths
        finally:
            self._leave()

    def _read_labels_batch(self, names, LabelTable table, int pad, out,
                           num_threads: int, bint check_alphabet):
        """((B, Tmax) int32, (B,) int64 lengths); see `Archive.read_labels_batch`."""
        cdef Batch batch
        cdef np.ndarray entries, lengths, array, room
        cdef int64_t longest = 0, i
        num_threads = check_threads(num_threads)
        self._enter()
        try:
            entries = self._entries(names)
            count = entries.shape[0]
            lengths = np.zeros(count, np.int64)
            memset(&batch, 0, sizeof(batch))
            batch.core = &self.core
            batch.entries = <int64_t *>np.PyArray_DATA(entries)
            batch.count = entries.shape[0]
            batch.lengths = <int64_t *>np.PyArray_DATA(lengths)
            batch.table = label_pointer(table)
            batch.check_alphabet = check_alphabet
            batch.pad = pad
            self._share(items_task, &batch, count,
                        self._useful_threads(entries, True, num_threads), table)
            for i in range(count):
                longest = max(longest, batch.lengths[i])
            if out is None:
                array = room = np.empty((count, longest), np.int32)
            else:
                room = out((count, longest)) if callable(out) else out
                check_out(room, 2, "int32")
                if room.shape[0] < count or room.shape[1] < longest:
                    raise ValueError(f"out of shape {(room.shape[0], room.shape[1])} cannot hold a"
                                     f" batch of shape {(count, longest)}")
                array = room[:count, :longest]
            batch.labels = <int32_t *>np.PyArray_DATA(room)
            batch.stride = room.shape[1]
            batch.longest = longest
            self._share(labels_task, &batch, count,
                        self._useful_threads(entries, False, num_threads), table)
            return array, lengths
        finally:
            self._leave()

    def num_frames_all(self, num_threads: int = 1) -> np.ndarray:
        """Frames of every segment, in the order of `segments`: see `num_frames`.

        Returns:
            (len(segments),) int64.

        Raises:
            FormatError: for the first segment that is damaged or no Flow cache entry.
            ArchiveChangedError: if a file was changed after opening.
        """
        cdef Batch batch
        cdef np.ndarray entries, frames
        cdef int64_t i
        num_threads = check_threads(num_threads)
        self.check_unchanged()
        self._enter()
        try:
            entries = np.arange(self.core.index.segment_count, dtype=np.int64)
            frames = np.zeros(entries.shape[0], np.int64)
            memset(&batch, 0, sizeof(batch))
            batch.core = &self.core
            batch.entries = <int64_t *>np.PyArray_DATA(entries)
            batch.count = entries.shape[0]
            batch.lengths = <int64_t *>np.PyArray_DATA(frames)
            if self.core.index.segments != NULL:
                for i in range(entries.shape[0]):
                    (<int64_t *>batch.entries)[i] = self.core.index.segments[i]
            self._share(frames_task, &batch, entries.shape[0], num_threads, None)
            return frames
        finally:
            self._leave()

    def _datatype(self, name) -> str | None:
        """The datatype that an entry begins with; None where it is no Flow cache entry."""
        cdef Payload p
        cdef Fault f
        cdef Cursor c
        cdef const uint8_t *text = NULL
        cdef uint32_t size = 0
        cdef int64_t entry
        cdef const sc_datatype *datatype = NULL
        cdef Worker *w
        memset(&f, 0, sizeof(f))
        self._enter()
        try:
            entry = self._entry(name)
            w = self._worker()
            try:
                with nogil:
                    if fetch(&self.core, entry, w, HEAD, True, &p, &f) == NO_FAULT:
                        if p.visible < min(p.size, <uint64_t>64):
                            fetch(&self.core, entry, w, WHOLE, True, &p, &f)
                if f.code != NO_FAULT:
                    raise self._error(entry, &f)
                c = cursor_over(p.at, p.visible)
                if take_string(&c, &text, &size):
                    datatype = sc_find_datatype(text, size)
                return None if datatype == NULL else datatype.name.decode("ascii")
            finally:
                self._rest(w)
        finally:
            self._leave()

    cdef np.ndarray _file_order(self):
        """(segments,) int64 numbers of the segments' entries, as they lie in the files."""
        cdef int64_t count = self.core.index.segment_count, i
        cdef np.ndarray entries = np.arange(count, dtype=np.int64)
        cdef np.ndarray places = np.empty(count, np.uint64)
        cdef np.ndarray sources = np.zeros(count, np.uint32)
        cdef int64_t *entry = <int64_t *>np.PyArray_DATA(entries)
        cdef uint64_t *place = <uint64_t *>np.PyArray_DATA(places)
        cdef uint32_t *source = <uint32_t *>np.PyArray_DATA(sources)
        cdef bint ordered = True
        with nogil:
            for i in range(count):
                if self.core.index.segments != NULL:
                    entry[i] = self.core.index.segments[i]
                place[i] = row_of(&self.core, entry[i]).position
                if self.core.index.source_of != NULL:
                    source[i] = self.core.index.source_of[entry[i]]
                if i and (source[i] < source[i - 1]
                          or (source[i] == source[i - 1] and place[i] < place[i - 1])):
                    ordered = False
        return entries if ordered else entries[np.lexsort((places, sources))]


include "_core/pass.pxi"
