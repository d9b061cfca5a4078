"""The resources of a SprintProcess: the process, its pipes, its stderr.

Separate from SprintProcess, so that a finalizer can hold them. See there for what a process
inherits, which thread may call what, and what happens after a fork.

Nothing is lost to an exception of a signal handler, Ctrl-C say, wherever it comes: everything is
acquired where no handler runs, so it is always known here; `release` may be interrupted and called
again.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from sprint_ctl._pipe.deadline import deadline_after, poll_until, seconds_left
from sprint_ctl._pipe.descriptors import above_standard, close_all, is_inherited, open_pipe
from sprint_ctl._pipe.foreign_errors import is_foreign
from sprint_ctl._pipe.shared_memory import ArrayMemory
from sprint_ctl._pipe.wire import Wire
from sprint_ctl.errors import SprintError, SprintStartError
from sprintcache._interrupts import NoThreadError, start_threads, uninterrupted

from .forks import watch_forks
from .lifeline import Lifeline
from .process_output import StderrReader

__all__ = ["ChildProcess"]

_TERMINATE_TIMEOUT = 1.0  # seconds between SIGTERM and SIGKILL
_GROUP_TIMEOUT = 1.0  # seconds for what the process has started, when it has ended by itself
_POLL_INTERVAL = 0.01  # seconds, where the system has nothing to wait for


class ChildProcess:
    """`start` acquires, `release` gives up what was acquired.

    Attributes:
        owner: id of the process that may use it.
        command: its command line; empty before `start`.
        pid: process id; 0 before `start`.
        returncode: exit status, or minus the number of a signal; None while the process runs, and
            where it is not known, because SIGCHLD is ignored or its handler has waited for it.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.command: Sequence[str] = ()
        self.pid = 0
        self._is_ready = False
        self.returncode: int | None = None
        self._lock = threading.RLock()  # of starting and ending
        self._is_released = False
        self._has_ended = False
        self._is_reaped = False
        self._popen: subprocess.Popen[bytes] | None = None
        self._stderr: StderrReader | None = None
        self._lifeline: Lifeline | None = None
        self._process_fd: int | None = None
        self._wire: Wire | None = None
        self._fds: list[int] = []  # of the process; our ends of the pipes until the wire has them
        self._memories: list[ArrayMemory] = []  # until the wire has them
        self._child_fds: list[int] = []  # closed once the process has them
        watch_forks(self)

    # ---- starting --------------------------------------------------------------------------

    def start(
        self,
        command: Callable[[Mapping[str, int]], Sequence[str]],
        *,
        inherited: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
        shared_memory: bool = True,
    ) -> None:
        """Starts the process.

        Args:
            command: called, in another thread, with the process's descriptors by their keys in the
                configuration; returns its command line.
            inherited: further descriptors for the process; they stay open here.
            environment: all of its environment variables; None: those of the trainer.
            shared_memory: open memory files for arrays.

        Raises:
            SprintStartError: the program cannot be executed, or the system lacks descriptors or
                threads.
        """

        def acquire() -> None:
            with self._lock:
                if not self._is_released:  # by a second interrupt, before this thread ran
                    child_fds = self._open_wire(shared_memory)
                    self.command = command(child_fds)
                    self._spawn([*child_fds.values(), *inherited], environment)
                    self._make_wire()

        try:
            uninterrupted(acquire)
        except NoThreadError as error:
            raise SprintStartError(f"Sprint cannot be started: {error}") from None

    def _open_wire(self, shared_memory: bool) -> dict[str, int]:
        """Opens the pipes; returns the child's descriptors by their keys in the configuration."""
        try:
            from_child, c2p = open_pipe()
            self._fds.append(from_child)
            self._child_fds.append(c2p)
            p2c, to_child = open_pipe()
            self._fds.append(to_child)
            self._child_fds.append(p2c)
            self._lifeline = Lifeline()
        except OSError as error:
            raise SprintStartError(f"Sprint cannot be started: {error}") from None
        child_fds = {"c2p_fd": c2p, "p2c_fd": p2c}
        if shared_memory:
            with contextlib.suppress(OSError):  # without: through the pipe
                for direction in ("c2p", "p2c"):
                    self._memories.append(ArrayMemory.create(f"sprint-{direction}"))
                read, write = (memory.fd for memory in self._memories)
                child_fds.update(c2p_memory_fd=read, p2c_memory_fd=write)
        return child_fds

    def _spawn(self, inherited: Sequence[int], environment: Mapping[str, str] | None) -> None:
        """Executes the program, with a thread that reads its stderr."""
        lifeline = self._lifeline
        ties = [] if lifeline is None else [lifeline.inherited]
        try:
            from_stderr, stderr = open_pipe()
            self._child_fds.append(stderr)
            self._stderr = StderrReader(from_stderr)
            start_threads(self._stderr)
            self._popen = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=None if is_inherited(1) else subprocess.DEVNULL,
                stderr=stderr,
                env=environment,
                pass_fds=[*inherited, *ties],
                restore_signals=False,
                start_new_session=True,
            )
        except OSError as error:
            raise SprintStartError(f"Sprint cannot be started: {error}") from None
        self.pid = self._popen.pid
        if lifeline is not None:
            lifeline.tie(self.pid)
        with contextlib.suppress(OSError, AttributeError):  # Linux before 5.3
            self._process_fd = above_standard(os.pidfd_open(self.pid))
            self._fds.append(self._process_fd)
        close_all(self._child_fds)

    def _make_wire(self) -> None:
        """Gives our ends of the pipes and the memory files to a wire."""
        memories = self._memories if len(self._memories) == 2 else (None, None)
        self._wire = Wire(
            *self._fds[:2],
            read_memory=memories[0],
            write_memory=memories[1],
            process_fd=self._process_fd,
            is_alive=None if self._process_fd is not None else self.is_alive,
        )
        del self._fds[:2]
        if memories is self._memories:
            self._memories = []

    @property
    def wire(self) -> Wire:
        """Our end of the pipes, once the process is started."""
        if self._wire is None:
            raise SprintError("this Sprint was not started")
        return self._wire

    @property
    def is_ready(self) -> bool:
        """Whether the process has answered; set by the user, unties it from the trainer's end."""
        return self._is_ready

    @is_ready.setter
    def is_ready(self, value: bool) -> None:
        self._is_ready = value
        if value and self._lifeline is not None:
            self._lifeline.cut()

    # ---- running ---------------------------------------------------------------------------

    def is_alive(self) -> bool:
        """Whether the process runs. One that has ended is not reaped, so its id stays reserved."""
        if not self._has_ended:
            try:
                info = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError as error:  # reaped: SIGCHLD is ignored, or by other code
                if is_foreign(error):
                    raise
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

    def finalize(self, exit_timeout: float) -> None:
        """Ends the process as `release` does; one that is not ready is not asked to end."""
        self.release(exit_timeout if self._is_ready else 0)

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
            try:
                self._wire.send(("exit",), deadline=deadline)
            except SprintError as error:
                if is_foreign(error):
                    raise
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
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError as error:
            if is_foreign(error):
                raise
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
        except (ProcessLookupError, PermissionError) as error:
            if is_foreign(error):
                raise
            return False
        return True

    def _close_fds(self) -> None:
        self._process_fd = None
        if self._lifeline is not None:
            self._lifeline.close()
        close_all(self._child_fds)
        if self._wire is not None:
            self._wire.close()
        close_all(self._fds)
        for memory in self._memories:
            memory.close()

    def after_fork(self) -> None:
        """Closes the copies of a fork, so that the end of the trainer reaches Sprint."""
        with contextlib.suppress(OSError):
            self._close_fds()
        if self._stderr is not None:
            self._stderr.after_fork()
        if self._popen is not None:
            self._popen.returncode = 0  # not a child of this process
