"""ArchiveLayout: the table of an archive file, its holes; appending, replacing, removing entries.

Entries that are added at the end may be buffered (`sprintcache._write.write_buffer`). Everything
else is written at once, after the buffered bytes.

Entries are placed as by Sprint (archive format, section 2.5): in the first hole of exactly their
size, else at the end. They overwrite old bytes in an order in which a partial entry is never valid,
and from the first change to the new table the file is marked as having none; so whenever the
process dies, a scan finds every complete entry.
"""

from __future__ import annotations

import bisect
import logging
import os
import struct
from collections.abc import Iterable, Iterator, KeysView, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from sprintcache._files import Part
from sprintcache._reader import table_rows
from sprintcache.errors import CorruptError

from .write_buffer import WriteBuffer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "END_TAG",
    "HEADER",
    "START_TAG",
    "ArchiveLayout",
    "EntryRow",
    "entry_head",
    "overlaps",
    "raw_name",
]

logger = logging.getLogger(__name__)

HEADER = b"SP_ARC1\0\0"
START_TAG = struct.pack("<I", 0xAA55AA55)
END_TAG = struct.pack("<I", 0x55AA55AA)
_FLAG_AT = 8  # in the header: whether there is a table
_OVERHEAD = 24  # bytes of an entry without name and data
_TABLE_PIECE = 1 << 20  # bytes of the table that are written at a time

_pack_size = struct.Struct("<I").pack
_pack_sizes = struct.Struct("<III").pack
_pack_position = struct.Struct("<QII").pack


class EntryRow(NamedTuple):
    """A row of the table: offset of the entry's size field, its sizes."""

    position: int
    size: int
    compressed_size: int

    @property
    def stored(self) -> int:
        """Bytes of the data as stored."""
        return self.compressed_size or self.size

    @property
    def end(self) -> int:
        """Offset of the end of the entry."""
        return self.position + 16 + (self.compressed_size or self.size)

    def start(self, raw: bytes) -> int:
        """Offset of the start of the entry, which has this name."""
        return self.position - 8 - len(raw)


class _RunRows(NamedTuple):
    """Rows of a run, as columns: small entries would feel the time for an object each."""

    begin: int
    names: list[str]
    sizes: NDArray[np.uint32]
    compressed_sizes: NDArray[np.uint32]

    @property
    def stored(self) -> bytes:
        """The rows as stored."""
        return table_rows(self.names, self.sizes, self.compressed_sizes, self.begin)[0]

    @property
    def positions(self) -> NDArray[np.int64]:
        """(N,) positions of the entries."""
        return table_rows(self.names, self.sizes, self.compressed_sizes, self.begin)[1]


def raw_name(name: str) -> bytes:
    """A name as stored: UTF-8, surrogates as their bytes."""
    return name.encode("utf-8", "surrogateescape")


def _stored_row(item: tuple[str, EntryRow]) -> bytes:
    """A row of the table as stored (archive format, section 2.2)."""
    raw = raw_name(item[0])
    return _pack_size(len(raw)) + raw + _pack_position(*item[1])


def entry_head(raw: bytes, size: int, compressed_size: int) -> bytes:
    """The bytes of an entry before its data (archive format, section 2.2)."""
    return START_TAG + _pack_size(len(raw)) + raw + _pack_sizes(size, compressed_size, 0)


def overlaps(rows: Mapping[str, EntryRow]) -> dict[str, str]:
    """Entries that share bytes with one that starts before them: name to the name of that one."""
    shared: dict[str, str] = {}
    end, owner = 0, ""
    for start, name in sorted((row.start(raw_name(name)), name) for name, row in rows.items()):
        if start < end:
            shared[name] = owner
        else:
            end, owner = rows[name].end, name
    return shared


class ArchiveLayout:
    """The entries of an open archive file; the caller holds the lock on the file.

    Args:
        fd: the file, open for writing; the caller closes it.
        path: its name, for errors.

    Attributes:
        holes: size of each hole by the position of its size field, in the order of the table.
        end: offset of the end of the last entry.

    All methods raise OSError if the system fails; then the file can be recovered, but not written.
    """

    def __init__(self, fd: int, path: str) -> None:
        self.path = path
        self._rows: dict[str, EntryRow | None] = {}
        self._runs: list[_RunRows] = []  # of which the rows are None yet
        self.holes: dict[int, int] = {}
        self.end = len(HEADER)
        self.changed = False
        self._fd = fd
        self._holes_of: dict[int, list[int]] = {}  # size -> positions
        self._dirty_end = os.fstat(fd).st_size  # old bytes may be left up to this offset
        self._out = WriteBuffer(fd)

    @property
    def names(self) -> KeysView[str]:
        """The names of the entries, in the order of the table."""
        return self._rows.keys()

    @property
    def rows(self) -> dict[str, EntryRow]:
        """The entries by name, in the order of the table."""
        for run in self._runs:
            columns = run.positions, run.sizes, run.compressed_sizes
            rows = zip(*(column.tolist() for column in columns), strict=True)
            self._rows.update(zip(run.names, map(EntryRow._make, rows), strict=True))
        self._runs.clear()
        return cast("dict[str, EntryRow]", self._rows)

    def begin(self) -> None:
        """Writes the header to an empty file."""
        self._out.write([HEADER], 0)
        self._dirty_end = len(HEADER)
        self.changed = True

    def load_holes(self) -> None:
        """Reads the end of the entries and the holes from the table.

        Holes that share bytes with an entry are ignored: to fill them would overwrite it.

        Raises:
            CorruptError: if entries share bytes with each other.
        """
        for name, owner in overlaps(self.rows).items():
            raise CorruptError(
                f"it overlaps entry {owner!r}; sprintcache.recover mends the table, then the"
                " archive can be appended to",
                path=self.path,
                entry=name,
                offset=self.rows[name].start(raw_name(name)),
            )
        size = self._dirty_end
        holes_at, self.end = struct.unpack("<QQ", os.pread(self._fd, 16, size - 16))
        tail_size = size - 16 - holes_at
        tail = os.pread(self._fd, tail_size, holes_at) if holes_at and tail_size > 0 else b""
        if len(tail) >= 4 and 4 + 12 * int.from_bytes(tail[:4], "little") == len(tail):
            spans = sorted((row.start(raw_name(name)), row.end) for name, row in self.rows.items())
            for position, size in struct.iter_unpack("<QI", tail[4:]):
                start, end = position - 8, position + 16 + size
                before = bisect.bisect_left(spans, (end,)) - 1  # the last that starts before `end`
                is_free = before < 0 or spans[before][1] <= start
                if start >= len(HEADER) and end <= self.end and is_free:
                    self._add_hole(position, size)
                else:
                    logger.warning(
                        "%s: ignored a hole at %d that is part of an entry", self.path, position
                    )

    def find_holes(self) -> None:
        """Computes the end from the rows, and reads the holes between them from the file."""
        self.end = max((row.end for row in self.rows.values()), default=len(HEADER))
        starts = {row.start(raw_name(name)) for name, row in self.rows.items()}
        for at in (len(HEADER), *sorted(row.end for row in self.rows.values())):
            while at < self.end and at not in starts:
                tag, name_size, size, compressed, checksum = struct.unpack(
                    "<4sIIII", os.pread(self._fd, 20, at).ljust(20, b"\0")
                )
                known = tag == START_TAG and not (name_size or compressed or checksum)
                if not known or at + _OVERHEAD + size > self.end:
                    break
                self._add_hole(at + 8, size)
                at += _OVERHEAD + size

    def put(
        self,
        name: str,
        size: int,
        compressed_size: int,
        parts: Sequence[Part],
        buffered: bool = False,
    ) -> None:
        """Writes an entry that is given as stored; drops the row of that name.

        Args:
            name: the entry.
            size, compressed_size: as in the table; the second is 0 if it is not compressed.
            parts: the data in sequence.
            buffered: whether they may be written later, by `sync` or `finish` at the latest.
        """
        raw = raw_name(name)
        self._touch()
        hole = self._hole(len(raw) + (compressed_size or size)) if self._holes_of else None
        start = self.end if hole is None else hole - 8
        row = EntryRow(start + 8 + len(raw), size, compressed_size)
        self._write(raw, row, parts, buffered)
        if hole is None:
            self.end = row.end
        else:
            self._holes_of[self.holes.pop(hole)].remove(hole)
        self.rows.pop(name, None)  # a replaced one goes to the end of the table
        self.rows[name] = row

    @property
    def can_run(self) -> bool:
        """Whether `put_run` is allowed: there is nothing to fill or to overwrite."""
        return not self.holes and (not self.changed or self.end >= self._dirty_end)

    def put_run(
        self,
        names: list[str],
        sizes: NDArray[np.uint32],
        compressed_sizes: NDArray[np.uint32],
        data: Iterable[Part],
    ) -> None:
        """Appends complete entries with their tags and heads.

        Args:
            names: of the entries, which are new.
            sizes, compressed_sizes: (N,) of each.
            data: their bytes; each part is written before the next one is requested.
        """
        self._touch()
        at = self.end
        for part in data:
            self._dirty_end = at + len(part)
            self._out.write([part], at)
            at += len(part)
        # also after Ctrl-C: no row may be beyond the end, and each name has a row or a run
        begin, self.end = self.end, at
        self._runs.append(_RunRows(begin, names, sizes, compressed_sizes))
        self._rows.update(dict.fromkeys(names))

    def replace(self, name: str, size: int, compressed_size: int, parts: Sequence[Part]) -> None:
        """Replaces an entry; whenever it is interrupted, the old or the new entry is whole.

        The new one is synced before the old one is overwritten.

        Raises:
            CorruptError: if the old entry is not where the table has it.
        """
        old, raw = self._stored_row(name), raw_name(name)
        new = EntryRow(old.position, size, compressed_size)
        in_place = new.stored == old.stored or old.end == self.end
        if not in_place or self._hole(len(raw) + new.stored) is not None:
            self.put(name, size, compressed_size, parts)
            self.sync()  # a power loss may keep later writes only
            self._make_hole(raw, old)
            self._cut()
            return
        copy = new._replace(position=max(self.end, new.end) + 8 + len(raw))
        self._touch()
        self._write(raw, copy, parts)  # so that one is always whole
        self.sync()
        try:
            self._take_out(name)
            self.put(name, size, compressed_size, parts)
            self.sync()
        except BaseException:  # such as Ctrl-C: the archive may be finished, with the copy
            self.rows[name], self.end = copy, copy.end
            raise
        self._out.write([bytes(4)], copy.start(raw))

    def remove(self, name: str) -> None:
        """Makes a hole of an entry, or moves the end of the archive back if it is the last.

        Raises:
            CorruptError: if it is not where the table has it.
        """
        self._take_out(name)
        self._cut()

    def sync(self) -> None:
        """Writes all entries to the disk."""
        self._out.drain()
        os.fsync(self._fd)

    def finish(self) -> None:
        """Table, trailer, then flag 1 (archive format, section 2.2), all of it on the disk."""
        self._out.write([b"\0"], _FLAG_AT)
        at = self.end
        for data in self._table():
            self._out.write([data], at)
            at += len(data)
        data = struct.pack("<I", len(self.holes))
        data += b"".join(struct.pack("<QI", *hole) for hole in self.holes.items())
        data += struct.pack("<QQ", at, self.end)
        self._out.write([data], at)
        os.ftruncate(self._fd, at + len(data))  # also releases reserved room
        os.fsync(self._fd)
        self._out.write([b"\1"], _FLAG_AT)
        os.fsync(self._fd)

    def _table(self) -> Iterator[bytes]:
        """The number of rows and the rows as stored, in pieces."""
        rows: Iterator[bytes]
        if sum(len(run.names) for run in self._runs) == len(self._rows):
            rows = (run.stored for run in self._runs)
        else:
            rows = map(_stored_row, self.rows.items())
        piece = bytearray(_pack_size(len(self._rows)))
        for row in rows:
            piece += row
            if len(piece) >= _TABLE_PIECE:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece)

    def _write(
        self, raw: bytes, row: EntryRow, parts: Sequence[Part], buffered: bool = False
    ) -> None:
        """The bytes of an entry; over old bytes, its first four come last."""
        start = row.start(raw)
        head = entry_head(raw, row.size, row.compressed_size)
        if start >= self._dirty_end:
            self._dirty_end = row.end
            write = self._out.write_buffered if buffered else self._out.write
            write([head, *parts, END_TAG], start)
            return
        self._out.write([bytes(4)], start)
        self._dirty_end = max(self._dirty_end, row.end)
        self._out.write([head[4:], *parts, END_TAG], start + 4)
        self._out.write([START_TAG], start)

    def _touch(self) -> None:
        """Marks the file as having no table, before its first change."""
        if not self.changed:
            self._out.write([b"\0"], _FLAG_AT)
            os.ftruncate(self._fd, self.end)
            self._dirty_end = self.end
            self.changed = True

    def _hole(self, size: int) -> int | None:
        """The first hole of this size that the file has as well."""
        for position in self._holes_of.get(size, ()):
            head = entry_head(b"", size, 0)
            if os.pread(self._fd, 20, position - 8) == head:
                return position
        return None

    def _stored_row(self, name: str) -> EntryRow:
        """The row of an entry, which the file must have there."""
        self._out.drain()
        raw, row = raw_name(name), self.rows[name]
        head = entry_head(raw, row.size, row.compressed_size)
        start = row.start(raw)
        stored = os.pread(self._fd, len(head), start)
        if stored != head or os.pread(self._fd, 4, row.end - 4) != END_TAG:
            raise CorruptError(
                "the entry is not where the table has it",
                path=self.path,
                entry=name,
                offset=start,
                expected=head[:40],
                found=stored[:40],
            )
        return row

    def _take_out(self, name: str) -> None:
        row = self._stored_row(name)
        self._touch()
        del self.rows[name]
        self._make_hole(raw_name(name), row)

    def _cut(self) -> None:
        """Truncates entries that were removed from the end: a scan would restore them."""
        if self._dirty_end > self.end:
            os.ftruncate(self._fd, self.end)
            self._dirty_end = self.end

    def _make_hole(self, raw: bytes, row: EntryRow) -> None:
        start = row.start(raw)
        size = row.end - start - _OVERHEAD
        if row.end == self.end:
            self.end = start
            return
        self._out.write([entry_head(b"", size, 0)], start)
        self._add_hole(start + 8, size)

    def _add_hole(self, position: int, size: int) -> None:
        if position not in self.holes:
            self.holes[position] = size
            self._holes_of.setdefault(size, []).append(position)
