"""The resources of a SprintProcess: the process, its pipes, its stderr.

Separate from SprintProcess, so that a finalizer can hold them. See there for what a process
inherits, which thread may call what, and what happens after a fork.

Nothing is lost to an exception of a signal handler, Ctrl-C say, wherever it comes: the process is
started in a thread, where no handler runs, so its id is always known; `release` may be interrupted
and called again.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence

from sprint_ctl._pipe.deadline import deadline_after, poll_until, seconds_left
from sprint_ctl._pipe.descriptors import above_standard, is_inherited
from sprint_ctl._pipe.shared_memory import ArrayMemory
from sprint_ctl._pipe.wire import Wire
from sprint_ctl.errors import SprintError

from .forks import watch_forks
from .process_output import StderrReader
from .threads import start_threads

__all__ = ["ChildProcess"]

_TERMINATE_TIMEOUT = 1.0  # seconds between SIGTERM and SIGKILL
_GROUP_TIMEOUT = 1.0  # seconds for what the process has started, when it has ended by itself
_POLL_INTERVAL = 0.01  # seconds, where the system has nothing to wait for


class ChildProcess:
    """Acquires in two steps, `open_wire` and `start`; `release` gives up what was acquired.

    Attributes:
        owner: id of the process that may use it.
        pid: process id; 0 before `start`.
        returncode: exit status, or minus the number of a signal; None while the process runs, and
            where the system does not report it because SIGCHLD is ignored.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.pid = 0
        self.returncode: int | None = None
        self._lock = threading.RLock()  # of starting and ending
        self._is_released = False
        self._has_ended = False
        self._is_reaped = False
        self._popen: subprocess.Popen[bytes] | None = None
        self._spawn_error: BaseException | None = None
        self._stderr: StderrReader | None = None
        self._process_fd: int | None = None
        self._wire: Wire | None = None
        self._fds: list[int] = []  # our ends of the pipes, owned by the wire once it exists
        self._memories: list[ArrayMemory] = []  # likewise
        self._child_fds: list[int] = []  # closed once the process has them
        watch_forks(self)

    # ---- starting --------------------------------------------------------------------------

    def open_wire(self, shared_memory: bool) -> dict[str, int]:
        """Opens the pipes; returns the child's descriptors by their keys in the configuration."""
        from_child, c2p = _open_pipe()
        self._fds.append(from_child)
        self._child_fds.append(c2p)
        p2c, to_child = _open_pipe()
        self._fds.append(to_child)
        self._child_fds.append(p2c)
        child_fds = {"c2p_fd": c2p, "p2c_fd": p2c}
        if shared_memory:
            with contextlib.suppress(OSError):  # without: through the pipe
                for direction in ("c2p", "p2c"):
                    self._memories.append(ArrayMemory.create(f"sprint-{direction}"))
                read, write = (memory.fd for memory in self._memories)
                child_fds.update(c2p_memory_fd=read, p2c_memory_fd=write)
        return child_fds

    def start(
        self,
        command: Sequence[str],
        inherited: Sequence[int],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Starts the process with further `inherited` descriptors.

        `environment` is all of its environment variables; None: those of the trainer. Raises
        OSError if the program cannot be executed, or no thread can be started.
        """
        from_stderr, stderr = _open_pipe()
        self._child_fds.append(stderr)

        def spawn() -> None:
            try:
                self._spawn(command, inherited, stderr, environment)
            except BaseException as error:
                self._spawn_error = error

        self._stderr = StderrReader(from_stderr)
        thread = threading.Thread(target=spawn, name="start of Sprint", daemon=True)
        try:
            start_threads(self._stderr, thread)
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error)) from None
        thread.join()
        if self._spawn_error is not None:
            raise self._spawn_error
        memories = self._memories if len(self._memories) == 2 else (None, None)
        self._wire = Wire(
            *self._fds,
            read_memory=memories[0],
            write_memory=memories[1],
            process_fd=self._process_fd,
            is_alive=None if self._process_fd is not None else self.is_alive,
        )

    def _spawn(
        self,
        command: Sequence[str],
        inherited: Sequence[int],
        stderr: int,
        environment: Mapping[str, str] | None,
    ) -> None:
        with self._lock:
            if self._is_released:  # interrupted before this thread ran
                return
            try:
                self._popen = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=None if is_inherited(1) else subprocess.DEVNULL,
                    stderr=stderr,
                    env=environment,
                    pass_fds=inherited,
                    restore_signals=False,
                    start_new_session=True,
                )
                self.pid = self._popen.pid
                with contextlib.suppress(OSError, AttributeError):  # Linux before 5.3
                    self._process_fd = above_standard(os.pidfd_open(self.pid))
            finally:
                _close_all(self._child_fds)

    @property
    def wire(self) -> Wire:
        """Our end of the pipes, once the process is started."""
        if self._wire is None:
            raise SprintError("this Sprint was not started")
        return self._wire

    # ---- running ---------------------------------------------------------------------------

    def is_alive(self) -> bool:
        """Whether the process runs. One that has ended is not reaped, so its id stays reserved."""
        if not self._has_ended:
            try:
                info = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:  # SIGCHLD is ignored: the system has reaped it
                self._has_ended = True
            else:
                if info is not None:
                    exited = info.si_code == os.CLD_EXITED
                    self.returncode = info.si_status if exited else -info.si_status
                    self._has_ended = True
        return not self._has_ended

    def wait(self, deadline: float) -> None:
        """Waits until the process has ended, at most until the deadline."""
        if self._process_fd is not None:
            poller = select.poll()
            poller.register(self._process_fd, select.POLLIN)
            poll_until(poller, deadline)
        while self.is_alive() and seconds_left(deadline) > 0:
            time.sleep(min(_POLL_INTERVAL, seconds_left(deadline)))

    def stop_stderr(self) -> None:
        """Reads the rest of stderr and stops reading."""
        if self._stderr is not None:
            self._stderr.stop(1.0)

    def stderr_tail(self) -> str:
        """Returns the last 64 KiB of stderr."""
        return "" if self._stderr is None else self._stderr.tail()

    # ---- ending ----------------------------------------------------------------------------

    def release(self, exit_timeout: float) -> None:
        """Ends the process, at once for 0, and releases all resources. Idempotent."""
        if self.owner != os.getpid():
            return  # a fork of the trainer owns nothing of this
        with self._lock:
            self._is_released = True
            self._end(exit_timeout)
            self._end_group(exit_timeout)
            self.stop_stderr()
            self._close_fds()

    def end(self, exit_timeout: float) -> None:
        """Ends the process, at once for 0; keeps what another thread may be reading from."""
        if self.owner == os.getpid():
            with self._lock:
                self._end(exit_timeout)

    def _end(self, exit_timeout: float) -> None:
        if self._popen is None or self._is_reaped:
            return
        if exit_timeout > 0 and self._wire is not None and self.is_alive():
            deadline = deadline_after(exit_timeout)
            with contextlib.suppress(SprintError):
                self._wire.send(("exit",), deadline=deadline)
            self.wait(deadline)
        for number, timeout in ((signal.SIGTERM, _TERMINATE_TIMEOUT), (signal.SIGKILL, math.inf)):
            if self.is_alive():  # with its group: a wrapper script and its children
                self._signal_group(number)
                self._signal_group(signal.SIGCONT)  # one that was stopped ends as well
                self.wait(deadline_after(timeout))

    def _end_group(self, exit_timeout: float) -> None:
        """Reaps the process and ends its remaining children in the group."""
        if self._popen is None or self._is_reaped:
            return
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self._popen.returncode = 0  # keeps its destructor quiet
        # a group that has members keeps its number from being used again
        deadline = deadline_after(_GROUP_TIMEOUT if exit_timeout > 0 else 0)
        while self._signal_group(0) and seconds_left(deadline) > 0:
            time.sleep(_POLL_INTERVAL)
        self._signal_group(signal.SIGKILL)
        self._is_reaped = True

    def _signal_group(self, number: int) -> bool:
        """Sends a signal to the group; False if it has no members."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def _close_fds(self) -> None:
        _close_all(self._child_fds)
        if self._wire is not None:
            self._wire.close()
        else:
            _close_all(self._fds)
            while self._memories:
                self._memories.pop().close()
        process_fd, self._process_fd = self._process_fd, None
        if process_fd is not None:
            os.close(process_fd)

    def after_fork(self) -> None:
        """Closes the copies of a fork, so that the end of the trainer reaches Sprint."""
        with contextlib.suppress(OSError):
            self._close_fds()
        if self._stderr is not None:
            self._stderr.after_fork()
        if self._popen is not None:
            self._popen.returncode = 0  # not a child of this process


def _open_pipe() -> tuple[int, int]:
    """Returns both ends of a pipe, above the descriptors of stdin, stdout and stderr."""
    read_fd, write_fd = os.pipe()
    return above_standard(read_fd), above_standard(write_fd)


def _close_all(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())
