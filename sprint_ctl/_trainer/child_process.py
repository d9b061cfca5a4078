"""What a SprintProcess owns: the process, its pipes, its stderr, its folder of modules.

Apart from SprintProcess, so that a finalizer can hold it and give everything back. See there for
what a process inherits, who may call what, and what happens after a fork.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
import weakref

from sprint_ctl._pipe.shared_memory import ArrayMemory
from sprint_ctl._pipe.wire import Wire
from sprint_ctl.errors import SprintError

from .modules import make_module_folder, remove_module_folder
from .process_output import StderrReader

__all__ = ["ChildProcess"]

_TERMINATE_TIMEOUT = 1.0


class ChildProcess:
    """Made in steps: `open_wire`, `make_folder`, `start`; `release` undoes those that were made.

    Attributes:
        owner: the process that may use it.
        popen: the process, once started.
        wire: our end of the pipes, once started.
    """

    popen: subprocess.Popen[bytes]
    wire: Wire

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._lock = threading.Lock()
        self._folder: str | None = None
        self._stderr: StderrReader | None = None
        self._process_fd: int | None = None
        self._fds: list[int] = []  # opened, and not yet given to anybody
        self._memories: tuple[ArrayMemory | None, ArrayMemory | None] = (None, None)
        self._children: list[int] = []  # closed once the process has them
        _watch_forks(self)

    def open_wire(self, shared_memory: bool) -> dict[str, int]:
        """Makes the pipes; descriptors for the child by the names of the configuration string."""
        from_child, c2p = os.pipe()
        self._fds = [from_child]
        self._children = [c2p]
        p2c, to_child = os.pipe()
        self._fds.append(to_child)
        self._children.append(p2c)
        theirs = {"c2p_fd": c2p, "p2c_fd": p2c}
        if shared_memory:
            with contextlib.suppress(OSError):  # without: through the pipe
                read = ArrayMemory.create("sprint-c2p")
                self._memories = read, None
                write = ArrayMemory.create("sprint-p2c")
                self._memories = read, write
                theirs.update(c2p_memory_fd=read.fd, p2c_memory_fd=write.fd)
        return theirs

    def make_folder(self) -> str:
        """Makes the folder for ``pymod-path``."""
        self._folder = make_module_folder()
        return self._folder

    def start(self, command: list[str], inherited: list[int]) -> None:
        """Starts the process with those descriptors. Raises OSError."""
        ours, theirs = os.pipe()
        try:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stderr=theirs,
                pass_fds=inherited,
                restore_signals=False,
                start_new_session=True,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
            for fd in self._children:
                os.close(fd)
            self._children = []
        self._stderr = StderrReader(ours)
        self._stderr.start()
        with contextlib.suppress(OSError, AttributeError):  # Linux before 5.3
            self._process_fd = os.pidfd_open(self.popen.pid)
        read_fd, write_fd = self._fds
        self.wire = Wire(
            read_fd,
            write_fd,
            read_memory=self._memories[0],
            write_memory=self._memories[1],
            process_fd=self._process_fd,
            is_alive=None if self._process_fd is not None else self.is_alive,
        )
        self._fds, self._memories = [], (None, None)

    def is_alive(self) -> bool:
        """Whether it runs; reaps it if not."""
        return self.popen.poll() is None

    def wait(self, timeout: float) -> None:
        """Until the process has ended, at most so long."""
        if self._process_fd is not None:
            poller = select.poll()
            poller.register(self._process_fd, select.POLLIN)
            poller.poll(timeout * 1000)
            self.popen.poll()
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(timeout)

    def stop_stderr(self) -> None:
        """Reads what is left of stderr, no more after that."""
        if self._stderr is not None and self._stderr.is_alive():
            self._stderr.stop(1.0)

    def stderr_tail(self) -> str:
        """The last 64 KiB of stderr."""
        return "" if self._stderr is None else self._stderr.tail()

    def release(self, exit_timeout: float) -> None:
        """Ends the process, 0 without asking it, and gives everything back."""
        if self.owner != os.getpid():
            return  # a fork of the trainer: nothing of this is its own
        with self._lock:
            if hasattr(self, "popen"):
                self._end(exit_timeout)
                self.stop_stderr()
                if self._process_fd is not None:
                    os.close(self._process_fd)
                    self._process_fd = None
            self.close_fds()
            if self._folder is not None:
                remove_module_folder(self._folder)

    def end(self, exit_timeout: float) -> None:
        """Ends the process, 0 without asking it."""
        if self.owner == os.getpid():
            with self._lock:
                self._end(exit_timeout)

    def _end(self, exit_timeout: float) -> None:
        deadline = time.monotonic() + exit_timeout
        if exit_timeout > 0 and self.is_alive():
            with contextlib.suppress(SprintError):
                self.wire.send(("exit",), deadline=deadline)
            self.wait(max(deadline - time.monotonic(), 0))
        for number, timeout in ((signal.SIGTERM, _TERMINATE_TIMEOUT), (signal.SIGKILL, None)):
            if not self.is_alive():
                return
            # its group: a wrapper script and what it started; not reaped, so the id is its own
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.popen.pid, number)
            if timeout is None:
                self.popen.wait()
            else:
                self.wait(timeout)

    def close_fds(self) -> None:
        """Closes the pipe ends and memory files, whoever holds them now."""
        for fd in self._fds + self._children:
            os.close(fd)
        for memory in self._memories:
            if memory is not None:
                memory.close()
        self._fds, self._children, self._memories = [], [], (None, None)
        if hasattr(self, "wire"):
            self.wire.close()


_running: weakref.WeakSet[ChildProcess] = weakref.WeakSet()
_watching: list[int] = []  # not empty once forks are watched


def _watch_forks(owned: ChildProcess) -> None:
    _running.add(owned)
    if not _watching:
        _watching.append(os.getpid())
        os.register_at_fork(after_in_child=_leave_to_parent)


def _leave_to_parent() -> None:
    for owned in list(_running):
        with contextlib.suppress(OSError):
            owned.close_fds()
        if hasattr(owned, "popen"):
            owned.popen.returncode = 0  # not ours to reap; keeps its destructor quiet
    _running.clear()
