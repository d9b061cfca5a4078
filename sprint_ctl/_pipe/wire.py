"""Wire: messages over two pipes, used by both ends.

A message is a tuple of plain values: None, bool, int, float, str, bytes, tuple, list, dict, arrays
and scalars of numpy of plain kinds. There are two framings; either end can read both at any time,
and writes the pickle framing until ``version`` is set to 2:

1. pickle framing, RETURNN's (sprint-interface.md, section 10): length as signed 32-bit
   little-endian number, then a pickle (`sprint_ctl._pipe.pickle_framing`).
2. JSON framing: ``SPR2``, then as little-endian unsigned numbers the length of a JSON text (32
   bit), the request id and the size of the arrays that follow the text (64 bit each), then the text
   and the arrays (`sprint_ctl._pipe.json_framing`). Arrays are written from their own memory and
   read into the final array; with memory files (`sprint_ctl._pipe.shared_memory`) they do not go
   through the pipe at all. Request id 0 is for messages that answer no request.

``_wait`` does all waiting: until the pipe is ready, the deadline has passed, or the watched process
has ended. Deadlines are times of ``time.monotonic()``; None waits for ever.
Going to sleep and waking up takes longer than a quick answer. So if the last message arrived within
0.2 ms, the thread polls that long for the next one, yielding the processor, before it sleeps;
otherwise it sleeps at once.
Each direction of a Wire may be used by one thread at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from sprint_ctl.errors import PipeClosedError, SprintProtocolError, SprintTimeoutError

from . import pickle_framing
from .deadline import deadline_after, poll_milliseconds, seconds_left
from .descriptors import close_all
from .foreign_errors import is_foreign
from .json_framing import Packer, Unpacker

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .shared_memory import ArrayMemory

__all__ = ["Wire"]

_MAGIC = b"SPR2"
_HEADER = struct.Struct("<4sIQQ")  # magic, size of the text, request id, size of the arrays
_LENGTH = struct.Struct("<i")
_MAX_TEXT = 1 << 26
_MAX_PAYLOAD = 1 << 36
_AHEAD = 1 << 12  # bytes read at the start of a message; most messages fit
_CHUNK = 1 << 16  # first allocation for a body whose length is only declared
_PIPE_SIZE = 1 << 20  # the default maximum without privileges
_SET_PIPE_SIZE = 1031  # fcntl.F_SETPIPE_SZ, named from Python 3.10 on
_MAX_PARTS = 1024  # IOV_MAX
_POLL_INTERVAL = 0.1  # seconds, of a process without a descriptor
_SPIN_SECONDS = 2e-4  # for a message that may come soon
_PICKLE_START = b"\x80"


class Wire:
    """One end of a pair of pipes. Owns its descriptors.

    Attributes:
        version: the framing it writes, 1 or 2.
        received_id: request id of the message received last; None in the pickle framing.
    """

    def __init__(
        self,
        read_fd: int,
        write_fd: int,
        *,
        read_memory: ArrayMemory | None = None,
        write_memory: ArrayMemory | None = None,
        process_fd: int | None = None,
        is_alive: Callable[[], bool] | None = None,
    ) -> None:
        """Takes ownership of the pipe ends, which become non-blocking.

        Args:
            read_fd, write_fd: ends of two pipes.
            read_memory, write_memory: memory files of the two directions.
            process_fd: becomes readable when the watched process ends; not owned.
            is_alive: called instead every 0.1 s of waiting, without such a descriptor.
        """
        self.version = 1
        self.received_id: int | None = None
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._fds = [read_fd, write_fd]  # empty once closed
        self._memories = read_memory, write_memory
        self._unpacker = Unpacker(read_memory)
        self._packer = Packer(write_memory)
        self._process_fd = process_fd
        self._is_alive = is_alive
        self._ahead = b""  # bytes of the next message
        self._was_soon = False  # whether the last message arrived within _SPIN_SECONDS
        self._pollers = {}
        for fd, event in ((read_fd, select.POLLIN), (write_fd, select.POLLOUT)):
            os.set_blocking(fd, False)
            with contextlib.suppress(OSError):  # above the limit of the system: only slower
                fcntl.fcntl(fd, _SET_PIPE_SIZE, _PIPE_SIZE)
            self._pollers[fd] = poller = select.poll()
            poller.register(fd, event)
            if process_fd is not None:
                poller.register(process_fd, select.POLLIN)

    # ---- messages --------------------------------------------------------------------------

    def send(
        self, message: tuple[Any, ...], *, request_id: int = 0, deadline: float | None = None
    ) -> None:
        """Sends a message; returns when all of it is in the pipe.

        Raises:
            TypeError, ValueError: a value that is not plain; nothing was sent.
            PipeClosedError: the other end is closed.
            SprintTimeoutError: the deadline has passed; part of the message may be sent.
        """
        if self.version == 1:
            body = pickle_framing.dumps(message)
            if len(body) >= 1 << 31:
                raise ValueError(
                    f"a message of {len(body)} bytes: the pickle framing ends at 2 GiB"
                )
            self._write([memoryview(_LENGTH.pack(len(body))), memoryview(body)], deadline)
            return
        text, arrays = self._packer.pack(message)
        if len(text) > _MAX_TEXT:
            raise ValueError(f"a message with a text of {len(text)} bytes: at most {_MAX_TEXT}")
        bodies = [_as_bytes(array) for array in arrays if array.nbytes]
        head = _HEADER.pack(_MAGIC, len(text), request_id, sum(map(len, bodies))) + text
        self._write([memoryview(head), *bodies], deadline)

    def receive(self, *, deadline: float | None = None) -> tuple[Any, ...]:
        """The next message. Arrays in the memory file are views, valid until the next call.

        Raises:
            PipeClosedError: the other end has closed the pipe, or its process has ended.
            SprintProtocolError: not a message.
            SprintTimeoutError: the deadline has passed.
        """
        self._read_ahead(4, deadline)
        if not self._ahead.startswith(_MAGIC):
            return self._receive_pickle(self._take(4), deadline)
        if len(self._ahead) < _HEADER.size:
            self._read_ahead(_HEADER.size, deadline)
        return self._receive_json(deadline)

    def _receive_pickle(self, head: bytes, deadline: float | None) -> tuple[Any, ...]:
        (size,) = _LENGTH.unpack(head)
        if size <= 0:
            raise SprintProtocolError(
                "not a message", expected="its length", found=f"{size} ({head!r})"
            )
        body = self._read_growing(size, deadline, first=_PICKLE_START)
        self.received_id = None
        return pickle_framing.loads(body, deadline)

    def _receive_json(self, deadline: float | None) -> tuple[Any, ...]:
        _, text_size, request_id, payload = _HEADER.unpack_from(self._ahead)
        if text_size > _MAX_TEXT or payload > _MAX_PAYLOAD:
            raise SprintProtocolError(
                "the declared length of a message exceeds the limit",
                expected=f"at most {_MAX_TEXT} bytes of text, {_MAX_PAYLOAD} of arrays",
                found=f"{text_size} and {payload}",
            )
        end = _HEADER.size + text_size
        if end <= len(self._ahead):
            text, self._ahead = self._ahead[_HEADER.size : end], self._ahead[end:]
        else:
            self._take(_HEADER.size)
            text = self._read_growing(text_size, deadline)
        message, arrays = self._unpacker.unpack(text, payload)
        for array in arrays:
            if array.nbytes:
                self._read(_as_bytes(array), deadline, at_least=array.nbytes)
        self.received_id = request_id
        return message

    def has_data(self) -> bool:
        """Whether at least the beginning of a message, or the end of the pipe, can be read."""
        if self._ahead:
            return True
        poller = select.poll()
        poller.register(self._read_fd, select.POLLIN)
        return bool(poller.poll(0))

    def wait(self, seconds: float) -> bool:
        """Waits until `receive` will not wait long; False if that takes more than these seconds.

        That is when a short message has arrived completely, the beginning of a long one, something
        that is not a message, or the end of the pipe or process.
        """
        deadline = deadline_after(seconds)
        try:
            while len(self._ahead) < self._size_ahead():
                self._read_ahead(self._size_ahead(), deadline)
        except (SprintTimeoutError, PipeClosedError) as error:
            if is_foreign(error):
                raise
            return isinstance(error, PipeClosedError)  # which `receive` raises again
        return True

    def _size_ahead(self) -> int:
        """Size of the next message as far as it is known, at most `_AHEAD`."""
        ahead = self._ahead
        if len(ahead) < _LENGTH.size:
            return _LENGTH.size
        if ahead.startswith(_MAGIC):
            if len(ahead) < _HEADER.size:
                return _HEADER.size
            _, text_size, _, payload = _HEADER.unpack_from(ahead)
            return min(_HEADER.size + int(text_size) + int(payload), _AHEAD)
        (size,) = _LENGTH.unpack_from(ahead)
        if size <= 0 or ahead[_LENGTH.size : _LENGTH.size + 1] not in (b"", _PICKLE_START):
            return 0  # not a message
        return min(_LENGTH.size + int(size), _AHEAD)

    def close(self) -> None:
        """Closes the pipe ends and memory files. Idempotent."""
        close_all(self._fds)
        for memory in self._memories:
            if memory is not None:
                memory.close()

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return not self._fds

    # ---- bytes -----------------------------------------------------------------------------

    def _read_ahead(self, size: int, deadline: float | None) -> None:
        """Reads the beginning of the next message: at least ``size`` bytes."""
        while len(self._ahead) < size:
            # the pipe is usually empty, and reading an empty pipe costs more than polling
            begin = time.monotonic()
            ready = self._was_soon and self._spin(begin + _SPIN_SECONDS)
            if not ready:
                self._wait(self._read_fd, deadline, (len(self._ahead), size))
            self._was_soon = time.monotonic() - begin < _SPIN_SECONDS
            try:
                chunk = os.read(self._read_fd, _AHEAD)
            except BlockingIOError as error:
                if is_foreign(error):
                    raise
                continue
            if not chunk:
                raise _closed("the other end has closed the pipe", (len(self._ahead), size))
            self._ahead += chunk

    def _take(self, size: int) -> bytes:
        taken, self._ahead = self._ahead[:size], self._ahead[size:]
        return taken

    def _read(
        self,
        view: memoryview,
        deadline: float | None,
        *,
        at_least: int,
        progress: tuple[int, int] = (0, 0),
    ) -> int:
        """Fills the beginning of a view; returns the number of bytes, ``at_least`` or more."""
        got = 0
        if self._ahead:
            got = min(len(self._ahead), len(view))
            view[:got] = self._ahead[:got]
            self._ahead = self._ahead[got:]
        while got < at_least:
            try:
                count = os.readv(self._read_fd, [view[got:]])
            except BlockingIOError as error:
                if is_foreign(error):
                    raise
                reached = progress[0] + got, max(progress[1], at_least)
                self._wait(self._read_fd, deadline, reached)
                continue
            if count == 0:
                reached = progress[0] + got, max(progress[1], at_least)
                raise _closed("the other end has closed the pipe", reached)
            got += count
        return got

    def _read_growing(self, size: int, deadline: float | None, first: bytes | None = None) -> bytes:
        """Reads ``size`` bytes, and allocates as they arrive, since the size is only declared."""
        body = bytearray(min(size, _CHUNK))
        got = 0
        while got < size:
            if got == len(body):
                body += bytes(min(size - got, got))
            with memoryview(body) as view:
                got += self._read(view[got:], deadline, at_least=1, progress=(got, size))
            if first is not None and body[:1] != first:
                raise SprintProtocolError(
                    "not a message",
                    expected="a pickle",
                    found=repr(bytes(body[: min(got, 60)])),
                )
        return bytes(body)

    def _write(self, parts: list[memoryview], deadline: float | None) -> None:
        sent = 0
        while parts:
            try:
                count = os.writev(self._write_fd, parts[:_MAX_PARTS])
            except (BlockingIOError, BrokenPipeError) as error:
                if is_foreign(error):
                    raise
                reached = sent, sent + sum(map(len, parts))
                if isinstance(error, BrokenPipeError):
                    raise _closed("the other end has closed the pipe", reached) from None
                self._wait(self._write_fd, deadline, reached)
                continue
            sent += count
            while parts and count >= len(parts[0]):
                count -= len(parts.pop(0))
            if count:
                parts[0] = parts[0][count:]

    def _spin(self, until: float) -> bool:
        """Whether the pipe can be read by then; does not sleep."""
        poller = self._pollers[self._read_fd]
        while time.monotonic() < until:
            for ready_fd, _ in poller.poll(0):
                return ready_fd == self._read_fd
            os.sched_yield()
        return False

    def _wait(self, fd: int, deadline: float | None, progress: tuple[int, int]) -> None:
        """Returns when a descriptor is ready; raises PipeClosedError, SprintTimeoutError."""
        poller = self._pollers[fd]
        while True:
            alive = self._is_alive is None or self._is_alive()
            left = seconds_left(deadline)
            ready = poller.poll(
                poll_milliseconds(left if self._is_alive is None else min(left, _POLL_INTERVAL))
            )
            for ready_fd, _ in ready:
                if ready_fd == fd:
                    return
            if ready or not alive:
                # what it wrote before it ended is in the pipe already: poll once more
                if any(ready_fd == fd for ready_fd, _ in poller.poll(0)):
                    return
                raise _closed("the process at the other end has ended", progress)
            if left <= 0:
                done, size = progress
                raise SprintTimeoutError(
                    "nothing arrived over the pipe in time",
                    expected=f"{size} bytes",
                    found=f"{done} bytes",
                )


def _closed(reason: str, progress: tuple[int, int]) -> PipeClosedError:
    done, size = progress
    if done == 0:
        return PipeClosedError(reason)
    return PipeClosedError(
        f"{reason} in the middle of a message",
        expected=f"{size} bytes",
        found=f"{done} bytes",
    )


def _as_bytes(array: NDArray[Any]) -> memoryview:
    """The bytes of a contiguous array, to be read or filled."""
    flat: Any = array.reshape(-1).view(np.uint8)
    return memoryview(flat)
