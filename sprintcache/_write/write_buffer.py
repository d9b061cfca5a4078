"""WriteBuffer: writes to a file at once or a mebibyte at a time.

Large writes that end at page boundaries cost the system much less than small ones, and reused
memory costs no page faults; so entries that may wait are buffered. The caller holds the lock of the
writer. After an exception at any moment, such as Ctrl-C, writing continues with the same bytes at
the same offsets.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from sprintcache._files import Part, write_all
from sprintcache._reader import Packets, reserve, start_writing

__all__ = ["WriteBuffer"]

_MAX_BUFFERED = 1 << 20  # bytes
_ALIGNED = 1 << 16  # offsets in the file between whole pages, which can be large ones
_STRIDE = 4 << 20  # the disk is kept busy while we encode, so that the last fsync is short
_AHEAD = 16 << 20  # room reserved for a growing file: pages then cost the file system less


class WriteBuffer:
    """Writes to an open file.

    Args:
        fd: the file; the caller closes it.

    All methods raise OSError if the system fails.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._started = os.fstat(fd).st_size  # writing to the disk has started up to this offset
        self._reserved: int | None = 0  # up to this offset; None: the file system cannot
        self._buffer = memoryview(b"")
        # the buffered range of the file: begin, end, and the index of its begin in the buffer
        self._buffered = (0, 0, 0)

    def write(self, parts: Sequence[Part], at: int) -> None:
        """Writes parts in sequence, after the buffered bytes."""
        self.drain()
        self._write(parts, at)

    def write_buffered(self, parts: Sequence[Part], at: int) -> None:
        """Writes parts in sequence before `drain` returns."""
        size = sum(map(len, parts))
        if size > _MAX_BUFFERED - _ALIGNED:
            self.write(parts, at)
            return
        begin, end, index = self._buffered
        if at != end:
            self.drain()
            self._buffer = self._buffer or memoryview(bytearray(_MAX_BUFFERED))
            begin, end, index = at, at, 0
        elif index + end + size - begin > _MAX_BUFFERED:
            begin, end, index = self._write_aligned()
        to = index + end - begin
        for part in parts:
            if isinstance(part, Packets):
                part.pack_into(self._buffer[to : to + len(part)])
            else:
                self._buffer[to : to + len(part)] = part
            to += len(part)
        self._buffered = begin, begin + to - index, index

    def drain(self) -> None:
        """Writes the buffered bytes."""
        begin, end, index = self._buffered
        if end > begin:
            self._write([self._buffer[index : index + end - begin]], begin)
            self._buffered = end, end, 0

    def _write_aligned(self) -> tuple[int, int, int]:
        """Writes the buffered whole pages; moves the rest to the front of the buffer."""
        begin, end, index = self._buffered
        cut = end - end % _ALIGNED
        if cut - begin < end - cut:  # the rest would overlap its new position
            self.drain()
            return self._buffered
        at = index + cut - begin
        self._write([self._buffer[index:at]], begin)
        self._buffered = cut, end, at
        self._buffer[: end - cut] = self._buffer[at : at + end - cut]
        self._buffered = cut, end, 0
        return self._buffered

    def _write(self, parts: Sequence[Part], at: int) -> None:
        write_all(self._fd, parts, at)
        end = at + sum(map(len, parts))
        if end - self._started >= _STRIDE:
            start_writing(self._fd, self._started, end - self._started)
            self._started = end
            if self._reserved is not None and self._reserved < end + _STRIDE:
                is_reserved = reserve(self._fd, end, _AHEAD)
                self._reserved = end + _AHEAD if is_reserved else None
