"""Copies entries from one archive to another as stored: nothing is inflated or compressed.

Neighbors in a file are copied as one run. Their bytes are read into a buffer, tags and heads in it
are compared with the table, and then that buffer is written: the bytes that were checked are
copied, even if the file is changed meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from sprintcache.errors import CorruptError, SprintCacheError, TruncatedError

from .archive_layout import END_TAG, entry_head

if TYPE_CHECKING:
    from sprintcache.archive import Archive

    from .writer import ArchiveWriter

__all__ = ["Extents", "transfer"]

_BUFFER = 1 << 19  # bytes: stays in the processor's cache between reading and writing


def transfer(
    archive: Archive,
    names: Iterable[str],
    writer: ArchiveWriter,
    *,
    new_name: Callable[[str], str] | None = None,
    replace: bool = False,
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
                progress(len(run.entries))
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


class _EntryRun:
    """Neighboring entries of a file, from its byte `begin` to byte `end`.

    Attributes:
        path: the file, or the folder of a directory archive, whose entries have no offsets.
        entries: name, size, compressed size.
        heads: bytes before the payload of each (archive format, section 2.2).
        starts: offset of each.
    """

    __slots__ = ("begin", "end", "entries", "heads", "path", "starts")

    def __init__(self, path: str, begin: int) -> None:
        self.path = path
        self.begin = self.end = begin
        self.entries: list[tuple[str, int, int]] = []
        self.heads: list[bytes] = []
        self.starts: list[int] = []


def _runs(archive: Archive, names: Iterable[str]) -> Iterator[_EntryRun]:
    """Runs of neighbors that fit the buffer, or of one entry."""
    run = _EntryRun("", -1)
    begin = run_end = -1
    run_path, entries, starts, heads = run.path, run.entries, run.starts, run.heads
    for name, position, size, compressed_size, path in map(archive.entry, names):
        raw = name.encode("utf-8", "surrogateescape")
        start = position - 8 - len(raw)
        end = position + 16 + (compressed_size or size)
        if start != run_end or end - begin > _BUFFER or path != run_path or not position:
            if entries:
                run.end = run_end
                yield run
            run = _EntryRun(path, start)
            begin, run_path = start, path
            entries, starts, heads = run.entries, run.starts, run.heads
        run_end = end
        entries.append((name, size, compressed_size))
        starts.append(start)
        heads.append(entry_head(raw, size, compressed_size))
    run.end = run_end
    if entries:
        yield run


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
            self._extents.add(run.path, run.entries[0][0], run.end - run.begin)
        except CorruptError as error:
            return [(name, error) for name, *_ in run.entries]
        if run.path != self._path:
            self._open(run.path)
        if run.end - run.begin > len(self._buffer):
            return self._one_by_one(run, self._copy_large)
        data = memoryview(self._buffer)[: run.end - run.begin]
        self._read(data, run.begin)
        if self._can_run and self._is_sound(run):
            self._writer.add_run(run.entries, [data])
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

    def _is_sound(self, run: _EntryRun) -> bool:
        """Whether all tags and heads in the buffer agree with the table."""
        starts_with, begin = self._buffer.startswith, run.begin
        for head, start in zip(run.heads, run.starts, strict=True):
            if not starts_with(head, start - begin):
                return False
            if start > begin and not starts_with(END_TAG, start - begin - 4):
                return False
        return starts_with(END_TAG, run.end - begin - 4)

    def _one_by_one(
        self, run: _EntryRun, copy: Callable[[_EntryRun, int], None]
    ) -> list[tuple[str, SprintCacheError]]:
        damaged = []
        for index, (name, *_) in enumerate(run.entries):
            try:
                copy(run, index)
            except SprintCacheError as error:
                damaged.append((name, error))
        return damaged

    def _copy_loose(self, run: _EntryRun, index: int) -> None:
        """An entry of a directory."""
        name, _, compressed_size = run.entries[index]
        data, packed = self._archive.read_bytes(name), compressed_size > 0
        self._writer.add_bytes(self._new_name(name), data, compress=packed, replace=self._replace)

    def _copy_small(self, run: _EntryRun, index: int) -> None:
        """An entry in the buffer."""
        name, size, compressed_size = run.entries[index]
        head, begin = run.heads[index], run.starts[index] - run.begin
        payload = begin + len(head)
        end = payload + (compressed_size or size)
        if not (self._buffer.startswith(head, begin) and self._buffer.startswith(END_TAG, end)):
            raise self._damage(name, run.starts[index])
        self._put(run.entries[index], memoryview(self._buffer)[payload:end])

    def _copy_large(self, run: _EntryRun, index: int) -> None:
        """An entry that does not fit the buffer, alone in its run."""
        head, payload = run.heads[index], run.begin + len(run.heads[index])
        around = memoryview(bytearray(len(head) + 4))
        self._read(around[:-4], run.begin)
        self._read(around[-4:], run.end - 4)
        if around != head + END_TAG:
            raise self._damage(run.entries[index][0], run.begin)
        if self._can_run:
            self._writer.add_run(run.entries, self._chunks(run.begin, run.end))
        else:
            data = memoryview(bytearray(run.end - 4 - payload))
            self._read(data, payload)
            self._put(run.entries[index], data)

    def _put(self, entry: tuple[str, int, int], data: memoryview) -> None:
        name, size, compressed_size = entry
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

    def _damage(self, name: str, start: int) -> SprintCacheError:
        """The error of a damaged entry, from the reader if it raises one."""
        try:
            self._archive.read_bytes(name)
        except SprintCacheError as error:
            return error
        reason = "tags or head of the entry differ from the table"
        return CorruptError(reason, path=self._path, entry=name, offset=start)
