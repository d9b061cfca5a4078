"""Copies entries from one archive to another as stored: nothing is inflated or compressed.

Neighbors in a file are copied as one run. Their bytes are read into a buffer, tags and heads in it
are compared with the table, and then that buffer is written: the bytes that were checked are
copied, even if the file is changed meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sprintcache._reader import holds_entries
from sprintcache.errors import CorruptError, SprintCacheError, TruncatedError

from .archive_layout import END_TAG, entry_head, raw_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sprintcache.archive import Archive

    from .writer import ArchiveWriter

__all__ = ["Extents", "transfer"]

_BUFFER = 1 << 19  # bytes: stays in the processor's cache between reading and writing
_CHUNK = 1 << 16  # entries whose rows are looked up at a time


def transfer(
    archive: Archive,
    names: Iterable[str],
    writer: ArchiveWriter,
    *,
    new_name: Callable[[str], str] | None = None,
    replace: bool,
    on_damage: Callable[[str, SprintCacheError], None] | None = None,
    progress: Callable[[int], None] | None = None,
    extents: Extents | None = None,
) -> None:
    """Copies entries as they are stored, in this order.

    Checks tags, name, sizes and checksum field of an entry, not its data. Entries of a directory
    archive are files, which are read and stored, compressed if they were.

    Args:
        archive: the source.
        names: the entries; ".attribs" ones are entries like the others here.
        writer: the target.
        new_name: from the name of an entry to its new name; None if names are unchanged.
        replace: whether entries of these names in the target are replaced.
        on_damage: called with the name of a damaged entry and the error; the entry is skipped.
            None: the error is raised.
        progress: called with the number of entries since the last call.
        extents: bytes that were read of the archive before; None: none.

    Raises:
        EntryNotFoundError: if there is no entry of one of the names.
        FormatError: if an entry is damaged.
        ArchiveChangedError: if a file was changed after it was opened.
        SprintCacheError: if a file cannot be read.
        ValueError: if the writer has an entry of that name, and `replace` is False.
        OSError: if a file cannot be opened, or the archive not written.
    """
    copier = _Copier(archive, writer, new_name, replace, extents or Extents(archive))
    try:
        for run in _runs(archive, names):
            for name, error in copier.copy(run):
                if on_damage is None:
                    raise error
                on_damage(name, error)
            if progress is not None:
                progress(len(run.names))
        archive.check_unchanged()
    finally:
        copier.close()


class Extents:
    """Bytes that were read of each file of an archive.

    Entries that overlap could multiply a small file: together they must not be larger than it.
    """

    def __init__(self, archive: Archive) -> None:
        states = zip(archive.source_paths, archive.source_states, strict=True)
        self._left = {path: size for path, (size, _) in states}

    def add(self, path: str, entry: str, size: int) -> None:
        """Counts an entry; its `size` includes tags and head.

        Raises:
            CorruptError: if the entries of this file have more bytes than the file.
        """
        self._left[path] -= size
        if self._left[path] < 0:
            reason = "entries overlap: together they are larger than the file"
            raise CorruptError(reason, path=path, entry=entry)


class _EntryRun(NamedTuple):
    """Neighboring entries of a file, from its byte `begin` to byte `end`.

    Attributes:
        path: the file, or the folder of a directory archive, whose entries have no offsets (-1).
        names: of the entries.
        sizes, compressed_sizes: (N,) uint32 of each, as in the table.
    """

    path: str
    begin: int
    end: int
    names: list[str]
    sizes: NDArray[np.uint32]
    compressed_sizes: NDArray[np.uint32]

    def entries(self) -> Iterator[_Entry]:
        """The entries one by one."""
        begin = self.begin
        rows = zip(self.names, self.sizes.tolist(), self.compressed_sizes.tolist(), strict=True)
        for name, size, compressed_size in rows:
            entry = _Entry(name, size, compressed_size, begin)
            yield entry
            begin = entry.end


class _Entry(NamedTuple):
    """An entry of a run, from byte `begin` of the file on."""

    name: str
    size: int
    compressed_size: int
    begin: int

    @property
    def head(self) -> bytes:
        """The bytes before the payload (archive format, section 2.2)."""
        return entry_head(raw_name(self.name), self.size, self.compressed_size)

    @property
    def payload(self) -> int:
        """Offset of the payload."""
        return self.begin + 20 + len(raw_name(self.name))

    @property
    def end(self) -> int:
        """Offset of the end."""
        return self.payload + (self.compressed_size or self.size) + 4


def _runs(archive: Archive, names: Iterable[str]) -> Iterator[_EntryRun]:
    """Runs of neighbors that fit the buffer, or of one entry."""
    rest = iter(names)
    while chunk := list(islice(rest, _CHUNK)):
        sources, begins, ends, sizes, compressed_sizes = archive._rows_of(chunk)
        is_neighbor = (begins[1:] == ends[:-1]) & (sources[1:] == sources[:-1]) & (begins[1:] >= 0)
        boundaries = np.flatnonzero(~is_neighbor) + 1
        start = 0
        for stop in (*boundaries.tolist(), len(chunk)):
            while start < stop:
                begin = int(begins[start])
                fitting = int(np.searchsorted(ends[start:stop], begin + _BUFFER, "right"))
                last = stop if begin < 0 else start + max(fitting, 1)
                yield _EntryRun(
                    archive.source_paths[sources[start]],
                    begin,
                    int(ends[last - 1]),
                    chunk[start:last],
                    sizes[start:last],
                    compressed_sizes[start:last],
                )
                start = last


class _Copier:
    """Copies runs; owns the buffer and the open file of the last one."""

    def __init__(
        self,
        archive: Archive,
        writer: ArchiveWriter,
        new_name: Callable[[str], str] | None,
        replace: bool,
        extents: Extents,
    ) -> None:
        self._archive = archive
        self._extents = extents
        self._writer = writer
        self._renames = new_name is not None
        self._new_name = new_name or str
        self._replace = replace
        self._states = dict(zip(archive.source_paths, archive.source_states, strict=True))
        self._buffer = bytearray(_BUFFER)
        self._path = ""
        self._fd = -1

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def copy(self, run: _EntryRun) -> list[tuple[str, SprintCacheError]]:
        """Copies a run; returns names and errors of damaged entries, which were skipped."""
        if run.begin < 0:
            return self._one_by_one(run, self._copy_loose)
        try:
            self._extents.add(run.path, run.names[0], run.end - run.begin)
        except CorruptError as error:
            return [(name, error) for name in run.names]
        if run.path != self._path:
            self._open(run.path)
        if run.end - run.begin > len(self._buffer):
            return self._one_by_one(run, self._copy_large)
        data = memoryview(self._buffer)[: run.end - run.begin]
        self._read(data, run.begin)
        if self._can_run and holds_entries(data, run.names, run.sizes, run.compressed_sizes):
            self._writer.add_run(run.names, run.sizes, run.compressed_sizes, [data])
            return []
        return self._one_by_one(run, self._copy_small)

    def _open(self, path: str) -> None:
        """Opens the file, which must be the one that the archive opened."""
        self.close()
        self._fd, self._path = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), path
        status = os.fstat(self._fd)
        if (status.st_size, status.st_mtime_ns) != self._states[path]:
            self._archive.check_unchanged()

    @property
    def _can_run(self) -> bool:
        return not self._renames and not self._replace and self._writer.can_run

    def _one_by_one(
        self, run: _EntryRun, copy: Callable[[_EntryRun, _Entry], None]
    ) -> list[tuple[str, SprintCacheError]]:
        damaged = []
        for entry in run.entries():
            try:
                copy(run, entry)
            except SprintCacheError as error:
                damaged.append((entry.name, error))
        return damaged

    def _copy_loose(self, run: _EntryRun, entry: _Entry) -> None:
        """An entry of a directory."""
        name = entry.name
        packed = self._archive.entry(name).compressed_size > 0
        data = self._archive.read_bytes(name)
        self._writer.add_bytes(self._new_name(name), data, compress=packed, replace=self._replace)

    def _copy_small(self, run: _EntryRun, entry: _Entry) -> None:
        """An entry in the buffer."""
        payload, end = entry.payload - run.begin, entry.end - run.begin - 4
        starts_with = self._buffer.startswith
        if not (starts_with(entry.head, entry.begin - run.begin) and starts_with(END_TAG, end)):
            raise self._damage(entry)
        self._put(entry, memoryview(self._buffer)[payload:end])

    def _copy_large(self, run: _EntryRun, entry: _Entry) -> None:
        """An entry that does not fit the buffer, alone in its run."""
        head = entry.head
        around = memoryview(bytearray(len(head) + 4))
        self._read(around[:-4], entry.begin)
        self._read(around[-4:], entry.end - 4)
        if around != head + END_TAG:
            raise self._damage(entry)
        if self._can_run:
            data = self._chunks(entry.begin, entry.end)
            self._writer.add_run(run.names, run.sizes, run.compressed_sizes, data)
        else:
            payload = memoryview(bytearray(entry.end - 4 - entry.payload))
            self._read(payload, entry.payload)
            self._put(entry, payload)

    def _put(self, entry: _Entry, data: memoryview) -> None:
        name, size, compressed_size, _ = entry
        name = self._new_name(name)
        self._writer.add_stored(name, size, compressed_size, [data], self._replace)

    def _chunks(self, start: int, end: int) -> Iterator[memoryview]:
        """A range of the file, a buffer at a time."""
        for at in range(start, end, len(self._buffer)):
            view = memoryview(self._buffer)[: end - at]
            self._read(view, at)
            yield view

    def _read(self, view: memoryview, offset: int) -> None:
        """Fills the view from the file."""
        while len(view):
            try:
                count = os.preadv(self._fd, [view], offset)
            except OSError as error:
                reason = f"it cannot be read: {error.strerror}"
                raise SprintCacheError(reason, path=self._path, offset=offset) from error
            if not count:
                raise TruncatedError("the file ends here", path=self._path, offset=offset)
            view, offset = view[count:], offset + count

    def _damage(self, entry: _Entry) -> SprintCacheError:
        """The error of a damaged entry, from the reader if it raises one."""
        try:
            self._archive.read_bytes(entry.name)
        except SprintCacheError as error:
            return error
        reason = "tags or head of the entry differ from the table"
        return CorruptError(reason, path=self._path, entry=entry.name, offset=entry.begin)
