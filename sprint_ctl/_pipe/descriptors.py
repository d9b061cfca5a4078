"""Descriptors that a child process inherits by number, and closing of descriptors."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import deque
from collections.abc import Iterator
from itertools import repeat

__all__ = ["above_standard", "close_all", "is_inherited", "open_pipe", "standard_reserved"]

_FIRST_FD = 3  # above stdin, stdout and stderr, which may be closed


def above_standard(fd: int) -> int:
    """Moves a descriptor above those of stdin, stdout and stderr, which a child replaces.

    Args:
        fd: the descriptor, closed if it is one of them.

    Returns:
        `fd`, or its copy, which is not inherited unless it is passed on.
    """
    if fd >= _FIRST_FD:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FD)
    finally:
        os.close(fd)


@contextlib.contextmanager
def standard_reserved() -> Iterator[None]:
    """Keeps the numbers of stdin, stdout and stderr that are closed from other descriptors.

    For what duplicates a descriptor by itself, as `mmap` does.
    """
    reserved: list[int] = []
    try:
        for fd in range(_FIRST_FD):
            if not _is_open(fd):
                reserved.append(os.open(os.devnull, os.O_RDWR))
        yield
    finally:
        close_all(reserved)


def _is_open(fd: int) -> bool:
    try:
        os.get_inheritable(fd)
    except OSError:
        return False
    return True


def open_pipe() -> tuple[int, int]:
    """Returns both ends of a pipe, above the descriptors of stdin, stdout and stderr."""
    read_fd, write_fd = os.pipe()
    try:
        read_fd = above_standard(read_fd)
    except BaseException:
        os.close(write_fd)
        raise
    try:
        return read_fd, above_standard(write_fd)
    except BaseException:
        os.close(read_fd)
        raise


def close_all(fds: list[int]) -> None:
    """Closes descriptors and removes them from their list, the last one first.

    No signal handler runs between the two: an exception of one would leave a descriptor open, or
    let a later call close one that has the same number by then.
    """
    deque(map(os.close, map(fds.pop, repeat(-1, len(fds)))), maxlen=0)


def is_inherited(fd: int) -> bool:
    """Whether a standard descriptor is open and inherited.

    Where it was closed, the next file that is opened gets its number; Python's are not inherited.
    """
    return _is_open(fd) and os.get_inheritable(fd)
