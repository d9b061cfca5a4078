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
include "_core/entry_reader.pxi"
include "_core/batch_reader.pxi"


cdef class Reader(BatchReader):
    """Everything that reads entries, and their rows; `Archive` is its public face."""

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

    def _rows_of(self, names=None) -> tuple[np.ndarray, ...]:
        """Rows of some entries, None: of all, as columns.

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
            entries = (np.arange(self.core.index.count, dtype=np.int64) if names is None
                       else self._named_entries(names))
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
            UnsupportedError: if a source is a directory, or has no valid table.
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
                        "only archives with a valid table can have an index",
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


include "_core/file_order.pxi"
