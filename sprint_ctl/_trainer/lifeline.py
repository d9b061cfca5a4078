"""Lifeline: ends a process that is starting together with its trainer, however that ends.

Once our module inside Sprint is loaded it watches the trainer itself (`sprint_ctl._sprint.orphan`).
Before that, a process that hangs would survive a trainer that is killed. So it inherits one end of
a pipe that carries no data, and the kernel kills its group when the other end, ours, is closed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal

from sprint_ctl._pipe.descriptors import close_all, open_pipe

__all__ = ["Lifeline"]


class Lifeline:
    """Holds both ends of the pipe until `cut`."""

    def __init__(self) -> None:
        """Raises OSError for want of descriptors."""
        self._fds = [*open_pipe()]

    @property
    def inherited(self) -> int:
        """The descriptor that the process inherits."""
        return self._fds[0]

    def tie(self, pid: int) -> None:
        """Ties the group of a process, which leads it, to the existence of this one."""
        fd = self._fds[0]
        with contextlib.suppress(OSError):  # without: only our module ends it
            fcntl.fcntl(fd, fcntl.F_SETOWN, -pid)
            fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)

    def cut(self) -> None:
        """Releases the process, which may outlive this one, and the descriptors. Idempotent."""
        if self._fds:
            fd = self._fds[0]
            flags = fcntl.fcntl(fd, fcntl.F_GETFL)
            fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_ASYNC)
            self.close()

    def close(self) -> None:
        """Closes the descriptors: in a fork, or when the process has ended. Idempotent."""
        close_all(self._fds)
