"""Entries from one archive to another, as they are stored: nothing is inflated or compressed.

Neighbours in a file go together. Their bytes are read into a buffer, tags and heads there are
compared with the table, and then that same buffer is written: what was checked is what is copied,
whatever happens to the file meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from sprintcache.errors import CorruptError, SprintCacheError, TruncatedError

from .archive_layout import END_TAG, entry_head, raw_name

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
    prefix: str = "",
    replace: bool = False,
    on_damage: Callable[[str, SprintCacheError], None] | None = None,
    progress: Callable[[int], None] | None = None,
    extents: Extents | None = None,
) -> None:
    """Copies entries as they are stored, in this order.

    Of an entry are checked: tags, name, sizes, checksum field; not what it holds. Entries of a
    directory archive are files, which are read and stored anew, compressed if they were.

    Args:
        archive: where they are.
        names: the entries; ".attribs" ones are entries like the others here.
        writer: where they go.
        prefix: is put before every name.
        replace: whether entries of these names there may give way.
        on_damage: called with the name of an entry that is damaged and what is wrong; it is left
            out then. None: the error is raised.
        progress: called with the number of entries dealt with since the last time.
        extents: what was read of the archive before; None: nothing.

    Raises:
        EntryNotFoundError: if there is no entry of one of the names.
        FormatError: if an entry is damaged.
        ArchiveChangedError: if a file was changed after it was opened.
        SprintCacheError: if a file cannot be read.
        ValueError: if the writer has an entry of that name, and `replace` is False.
        OSError: if a file cannot be opened, or the archive not written.
    """
    copier = _Copier(archive, writer, prefix, replace, extents or Extents(archive))
    try:
        for batch in _batches(archive, names):
            for name, error in copier.copy(batch):
                if on_damage is None:
                    raise error
                on_damage(name, error)
            if progress is not None:
                progress(len(batch.entries))
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


class _Batch:
    """Entries that follow each other in a file, from byte `begin` to byte `end` of it.

    Attributes:
        path: the file, or the folder of a directory archive; there, entries have no place.
        entries: name, size, compressed size.
        heads: what stands before the payload of each (archive format, section 2.2).
        starts: where each starts in the file.
    """

    __slots__ = ("begin", "end", "entries", "heads", "path", "starts")

    def __init__(self, path: str, begin: int) -> None:
        self.path = path
        self.begin = self.end = begin
        self.entries: list[tuple[str, int, int]] = []
        self.heads: list[bytes] = []
        self.starts: list[int] = []


def _batches(archive: Archive, names: Iterable[str]) -> Iterator[_Batch]:
    """Neighbours together, as many as fit the buffer; at least one."""
    batch = _Batch("", -1)
    for name in names:
        _, position, size, compressed_size, path = archive.entry(name)
        raw = raw_name(name)
        start = position - 8 - len(raw)
        end = position + 16 + (compressed_size or size)
        if start != batch.end or end - batch.begin > _BUFFER or path != batch.path or not position:
            if batch.entries:
                yield batch
            batch = _Batch(path, start)
        batch.end = end
        batch.entries.append((name, size, compressed_size))
        batch.starts.append(start)
        batch.heads.append(entry_head(raw, size, compressed_size))
    if batch.entries:
        yield batch


class _Copier:
    """Copies batches; has the file of the last one open, and the buffer."""

    def __init__(
        self,
        archive: Archive,
        writer: ArchiveWriter,
        prefix: str,
        replace: bool,
        extents: Extents,
    ) -> None:
        self._archive = archive
        self._extents = extents
        self._writer = writer
        self._prefix = prefix
        self._replace = replace
        self._states = dict(zip(archive.source_paths, archive.source_states, strict=True))
        self._buffer = bytearray(_BUFFER)
        self._path = ""
        self._fd = -1

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def copy(self, batch: _Batch) -> list[tuple[str, SprintCacheError]]:
        """Copies a batch; gives names and errors of what is damaged and was left out."""
        if batch.begin < 0:
            return self._one_by_one(batch, self._copy_loose)
        try:
            self._extents.add(batch.path, batch.entries[0][0], batch.end - batch.begin)
        except CorruptError as error:
            return [(name, error) for name, *_ in batch.entries]
        if batch.path != self._path:
            self._open(batch.path)
        if batch.end - batch.begin > len(self._buffer):
            return self._one_by_one(batch, self._copy_large)
        data = memoryview(self._buffer)[: batch.end - batch.begin]
        self._read(data, batch.begin)
        if self._can_run and self._is_sound(batch):
            self._writer.add_run(batch.entries, [data])
            return []
        return self._one_by_one(batch, self._copy_small)

    def _open(self, path: str) -> None:
        """Opens the file that the archive was made of, and no other."""
        self.close()
        self._fd, self._path = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), path
        status = os.fstat(self._fd)
        if (status.st_size, status.st_mtime_ns) != self._states[path]:
            self._archive.check_unchanged()

    @property
    def _can_run(self) -> bool:
        return not self._prefix and not self._replace and self._writer.can_run

    def _is_sound(self, batch: _Batch) -> bool:
        """Whether all tags and heads are in the buffer where they belong."""
        starts_with, begin = self._buffer.startswith, batch.begin
        for head, start in zip(batch.heads, batch.starts, strict=True):
            if not starts_with(head, start - begin):
                return False
            if start > begin and not starts_with(END_TAG, start - begin - 4):
                return False
        return starts_with(END_TAG, batch.end - begin - 4)

    def _one_by_one(
        self, batch: _Batch, copy: Callable[[_Batch, int], None]
    ) -> list[tuple[str, SprintCacheError]]:
        damaged = []
        for at, (name, *_) in enumerate(batch.entries):
            try:
                copy(batch, at)
            except SprintCacheError as error:
                damaged.append((name, error))
        return damaged

    def _copy_loose(self, batch: _Batch, at: int) -> None:
        """An entry of a directory."""
        name, _, compressed_size = batch.entries[at]
        data, packed = self._archive.read_bytes(name), compressed_size > 0
        self._writer.add_bytes(self._prefix + name, data, compress=packed, replace=self._replace)

    def _copy_small(self, batch: _Batch, at: int) -> None:
        """An entry in the buffer."""
        name, size, compressed_size = batch.entries[at]
        head, begin = batch.heads[at], batch.starts[at] - batch.begin
        payload = begin + len(head)
        end = payload + (compressed_size or size)
        if not (self._buffer.startswith(head, begin) and self._buffer.startswith(END_TAG, end)):
            raise self._damage(name, batch.starts[at])
        self._put(batch.entries[at], memoryview(self._buffer)[payload:end])

    def _copy_large(self, batch: _Batch, at: int) -> None:
        """An entry that does not fit the buffer, alone in its batch."""
        head, payload = batch.heads[at], batch.begin + len(batch.heads[at])
        found = memoryview(bytearray(len(head) + 4))
        self._read(found[:-4], batch.begin)
        self._read(found[-4:], batch.end - 4)
        if found != head + END_TAG:
            raise self._damage(batch.entries[at][0], batch.begin)
        if self._can_run:
            self._writer.add_run(batch.entries, self._chunks(batch.begin, batch.end))
        else:
            data = memoryview(bytearray(batch.end - 4 - payload))
            self._read(data, payload)
            self._put(batch.entries[at], data)

    def _put(self, entry: tuple[str, int, int], data: memoryview) -> None:
        name, size, compressed_size = entry
        name = self._prefix + name
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
        """What is wrong with an entry, in the words of the reader if it finds it too."""
        try:
            self._archive.read_bytes(name)
        except SprintCacheError as error:
            return error
        reason = "what stands around the entry is not what the table says"
        return CorruptError(reason, path=self._path, entry=name, offset=start)
