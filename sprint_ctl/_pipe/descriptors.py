"""Descriptors that a child process inherits by number."""

from __future__ import annotations

import fcntl
import os

__all__ = ["above_standard", "is_inherited"]

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


def is_inherited(fd: int) -> bool:
    """Whether a standard descriptor is open and inherited.

    Where it was closed, the next file that is opened gets its number; Python's are not inherited.
    """
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False
