"""Output: bytes on their way into a file, at once or a mebibyte at a time.

Large writes that end where pages end cost the system much less than small ones, and memory that is
used again costs no page faults; so what may wait is gathered. Who calls holds the lock of the
writer. Whatever moment an exception such as Ctrl-C comes at, the same bytes go to the same place
when writing goes on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from sprintcache._files import Part, write_all
from sprintcache._reader import Packets, reserve, start_writing

__all__ = ["Output"]

_GATHERED = 1 << 20  # bytes that wait for more, at most
_ALIGNED = 1 << 16  # in the file: the pages between are whole, and can be large ones
_STRIDE = 4 << 20  # the disk is kept busy while we encode, so that the last fsync is short
_AHEAD = 16 << 20  # room set aside for a file that grows: pages then cost the file system less


class Output:
    """Writes to an open file.

    Args:
        fd: the file; it stays the caller's.

    All methods raise OSError if the system fails.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._on_its_way = os.fstat(fd).st_size  # to the disk, up to here
        self._reserved: int | None = 0  # up to here; None: the file system does not
        self._buffer = memoryview(b"")
        # of the file, from where to where it is gathered; where in the buffer that begins
        self._gathered = (0, 0, 0)

    def write(self, parts: Sequence[Part], at: int) -> None:
        """Writes parts that follow each other, after what was gathered."""
        self.drain()
        self._write(parts, at)

    def gather(self, parts: Sequence[Part], at: int) -> None:
        """The same, but some time before `drain` returns."""
        size = sum(map(len, parts))
        if size > _GATHERED - _ALIGNED:
            self.write(parts, at)
            return
        begin, end, place = self._gathered
        if at != end:
            self.drain()
            self._buffer = self._buffer or memoryview(bytearray(_GATHERED))
            begin, end, place = at, at, 0
        elif place + end + size - begin > _GATHERED:
            begin, end, place = self._write_aligned()
        to = place + end - begin
        for part in parts:
            if isinstance(part, Packets):
                part.pack_into(self._buffer[to : to + len(part)])
            else:
                self._buffer[to : to + len(part)] = part
            to += len(part)
        self._gathered = begin, begin + to - place, place

    def drain(self) -> None:
        """Writes what was gathered."""
        begin, end, place = self._gathered
        if end > begin:
            self._write([self._buffer[place : place + end - begin]], begin)
            self._gathered = end, end, 0

    def _write_aligned(self) -> tuple[int, int, int]:
        """Writes what was gathered but for its end, which goes to the front of the buffer."""
        begin, end, place = self._gathered
        cut = end - end % _ALIGNED
        if cut - begin < end - cut:  # so little that its end would be moved over itself
            self.drain()
            return self._gathered
        at = place + cut - begin
        self._write([self._buffer[place:at]], begin)
        self._gathered = cut, end, at
        self._buffer[: end - cut] = self._buffer[at : at + end - cut]
        self._gathered = cut, end, 0
        return self._gathered

    def _write(self, parts: Sequence[Part], at: int) -> None:
        write_all(self._fd, parts, at)
        end = at + sum(map(len, parts))
        if end - self._on_its_way >= _STRIDE:
            start_writing(self._fd, self._on_its_way, end - self._on_its_way)
            self._on_its_way = end
            if self._reserved is not None and self._reserved < end + _STRIDE:
                is_reserved = reserve(self._fd, end, _AHEAD)
                self._reserved = end + _AHEAD if is_reserved else None
