"""TrainerProcess: notices the end of the trainer even while another process holds the pipes open.

A fork of the trainer that Python does not know of, made by a library in C, inherits the trainer's
pipe ends. When the trainer is killed the pipes then stay open, and only the process itself shows
that it has ended.
"""

from __future__ import annotations

import contextlib
import os

from sprint_ctl._pipe.descriptors import above_standard

__all__ = ["TrainerProcess"]


class TrainerProcess:
    """The trainer, watched by its process id.

    ``fd`` becomes readable when it ends; None where the system has no such descriptor, or the id is
    not that of an ancestor: it may belong to another container.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._is_parent = pid == os.getppid()
        self.fd: int | None = None
        if self._is_parent or _is_ancestor(pid):
            with contextlib.suppress(OSError, AttributeError):  # Linux 5.3, Python 3.9
                self.fd = above_standard(os.pidfd_open(pid))

    @property
    def needs_polling(self) -> bool:
        """Whether `is_alive` must be called from time to time, for lack of a descriptor."""
        return self._is_parent and self.fd is None

    def is_alive(self) -> bool:
        """Whether the trainer may still run; only the end of a direct parent is noticed."""
        return not self._is_parent or os.getppid() == self._pid

    def close(self) -> None:
        """Closes the descriptor."""
        fd, self.fd = self.fd, None
        if fd is not None:
            os.close(fd)


def _is_ancestor(pid: int) -> bool:
    """Whether a process is a parent, grandparent, ... of this one."""
    ancestor = os.getppid()
    while ancestor > 1 and ancestor != pid:
        try:
            with open(f"/proc/{ancestor}/stat", "rb") as file:
                # the name in parentheses may hold anything; the parent is the second field after it
                ancestor = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return False
    return ancestor == pid
