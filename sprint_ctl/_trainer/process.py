"""SprintProcess: a Sprint process from its start to its end, and the errors that describe its end.

Starting. The process inherits stdin from /dev/null, our stdout, a pipe as stderr, its ends of the
two pipes, of the memory files and of the lifeline, and nothing else: every other descriptor is
closed, ours are close-on-exec. No Python runs between fork and exec, so threads of the trainer are
no danger. It starts a new session, so that Ctrl-C at a terminal reaches the trainer alone, and so
that a wrapper script ends together with its children.

SIGPIPE stays ignored in the process, as Python sets it: a child whose trainer is gone gets an error
from the pipe and can end in order.

Modules. ``pymod-path`` is a folder of this package (`MODULE_PATH`) with our two packages in it: no
file is made for a process, so none can be left.

Ownership. The SprintProcess owns the process, its group, the pipe ends and the thread that reads
stderr. ``close`` releases them, also when the object is dropped or the interpreter exits. One
thread at a time may send and receive; ``close``, ``end`` and ``poll`` may come from any, but
``close`` only while no other thread receives. After a fork of the trainer the child process closes
its copies of the pipe ends at once, so that the end of the trainer reaches Sprint as the end of the
pipe.

Parents that die. A trainer that is killed closes its pipe ends; the code inside Sprint sees that
and ends the process within about a second, with exit status 0 between two requests and with status
3 in the middle of one (`sprint_ctl._sprint.orphan`). Until the process has answered, and that code
may not be there yet, the kernel kills it (`sprint_ctl._trainer.lifeline`).
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import sprint_ctl
from sprint_ctl._pipe.deadline import deadline_after
from sprint_ctl._pipe.foreign_errors import is_foreign
from sprint_ctl._pipe.wire import Wire
from sprint_ctl.command import CommandLine, find_executable
from sprint_ctl.config import format_config
from sprint_ctl.errors import (
    PipeClosedError,
    SprintDiedError,
    SprintError,
    SprintStartError,
    SprintTimeoutError,
)

from .child_process import ChildProcess
from .process_output import describe_end, log_file, signal_name, tail_of

__all__ = ["MODULE_PATH", "SprintProcess", "segment_order_options"]

MODULE_PATH = str(Path(sprint_ctl.__path__[0]).absolute() / "_sprint" / "pymod_path")
_LAST_WORDS_TIMEOUT = 1.0  # seconds for a process whose pipe has closed to end


def segment_order_options(module: str, config: str, modules: str) -> list[str]:
    """Arguments with which Sprint asks our module for the order of segments."""
    return [
        "--*.python-segment-order=true",
        f"--*.python-segment-order-pymod-path={modules}",
        f"--*.python-segment-order-pymod-name={module}",
        f"--*.python-segment-order-config={config}",
        "--*.python-segment-order-allow-copy=false",
    ]


class SprintProcess:
    """A running Sprint and the wire to it."""

    def __init__(
        self,
        executable: CommandLine,
        arguments: Callable[[str, str], list[str]],
        *,
        config: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        inherited: Sequence[int] = (),
        shared_memory: bool = True,
        exit_timeout: float = 5.0,
    ) -> None:
        """Starts Sprint.

        Args:
            executable: the program, see `find_executable`.
            arguments: called, in another thread, with the configuration string and the folder for
                ``pymod-path``; returns the arguments of the program.
            config: further pairs of the configuration string; they override ours.
            environment: variables that the process has in addition to those of the trainer.
            inherited: further descriptors for the process; they stay open here.
            shared_memory: offer memory files for arrays.
            exit_timeout: seconds that ``close`` leaves it to end when asked.

        Raises:
            SprintStartError: it cannot be started.
            ValueError: a configuration that cannot be written.
        """
        self.exit_timeout = exit_timeout
        words = find_executable(executable)
        self._child = child = ChildProcess()
        self._finalizer = weakref.finalize(self, child.finalize, exit_timeout)

        def command(child_fds: Mapping[str, int]) -> list[str]:
            pairs = {"wire": 2, "parent_pid": child.owner, **child_fds, **(config or {})}
            return words + arguments(format_config(pairs), MODULE_PATH)

        try:
            child.start(
                command,
                inherited=inherited,
                environment={**os.environ, **environment} if environment else None,
                shared_memory=shared_memory,
            )
        except BaseException:
            self._release(0)
            raise

    @property
    def is_ready(self) -> bool:
        """Whether the process has answered; set by the user, decides which error its end is."""
        return self._child.is_ready

    @is_ready.setter
    def is_ready(self, value: bool) -> None:
        self._child.is_ready = value

    @property
    def command(self) -> Sequence[str]:
        """Its command line."""
        return self._child.command

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def wire(self) -> Wire:
        """Our end of the wire. ``send`` and ``receive`` name what goes wrong; this does not."""
        return self._child.wire

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called, or an error has closed it."""
        return not self._finalizer.alive

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self._child.is_alive()

    def poll(self) -> int | None:
        """Its return code; None while it runs, or where the system does not report it."""
        self._child.is_alive()
        return self._child.returncode

    def send(
        self,
        message: tuple[Any, ...],
        *,
        request_id: int = 0,
        deadline: float | None,
        segment: str | None = None,
    ) -> None:
        """Sends a request. After an error other than TypeError or ValueError it is closed."""
        self._check_open()
        try:
            self.wire.send(message, request_id=request_id, deadline=deadline)
        except SprintError as error:
            if is_foreign(error):
                raise
            self.fail(error, request=str(message[0]), segment=segment)

    def receive(
        self, *, deadline: float | None, request: str | None = None, segment: str | None = None
    ) -> tuple[Any, ...]:
        """The next message. After any error it is closed.

        Raises SprintStartError, SprintDiedError if it ended before or after it was ready, and what
        `Wire.receive` raises.
        """
        self._check_open()
        try:
            return self.wire.receive(deadline=deadline)
        except SprintError as error:
            if is_foreign(error):
                raise
            self.fail(error, request=request, segment=segment)

    def wait(self, seconds: float) -> bool:
        """Waits until `receive` will not wait long; False after these seconds, see `Wire.wait`."""
        self._check_open()
        return self.wire.wait(seconds) or not self.is_running

    def fail(
        self, error: SprintError, *, request: str | None = None, segment: str | None = None
    ) -> NoReturn:
        """Ends the process and raises the error with all that is known about it."""
        if isinstance(error, PipeClosedError) and not self.is_closed:
            error = self._end_of_pipe(error)
        elif isinstance(error, SprintTimeoutError) and not self.is_ready:
            error.reason = "Sprint is not ready in time"
        error.request = request
        error.segment = segment
        self.explain(error)
        self.close(ask=False)
        raise error from None

    def explain(self, error: SprintError) -> None:
        """Writes what is known about the process into an error."""
        error.command = self.command
        error.pid = self.pid
        error.has_ended = not self.is_running
        error.returncode = self.poll()
        error.signal = signal_name(error.returncode)
        if error.has_ended:
            self._child.stop_stderr()
        error.stderr_tail = self._child.stderr_tail()
        error.log_tail = tail_of(log_file(self.command))

    def died(self, remote: str) -> SprintError:
        """The error for a process that has said it will end, with its last words."""
        self._child.wait(deadline_after(_LAST_WORDS_TIMEOUT))
        return self._death(PipeClosedError(""), remote)

    def _end_of_pipe(self, error: PipeClosedError) -> SprintError:
        remote = self._last_words()
        self._child.wait(deadline_after(_LAST_WORDS_TIMEOUT))
        return self._death(error, remote)

    def _death(self, error: PipeClosedError, remote: str | None) -> SprintError:
        has_ended, returncode = not self.is_running, self.poll()
        kind = SprintDiedError if self.is_ready else SprintStartError
        when = "" if self.is_ready else " before it was ready"
        if has_ended:
            reason = f"Sprint {describe_end(returncode)}{when}"
        elif remote is not None:
            reason = f"Sprint failed{when}"
        else:
            error.reason = "Sprint has closed its pipe but still runs"
            return error
        return kind(reason, expected=error.expected, found=error.found, remote=remote)

    def _last_words(self) -> str | None:
        """The text of an exception that Sprint has sent before it closed the pipe."""
        deadline = deadline_after(_LAST_WORDS_TIMEOUT)
        try:
            while True:
                message = self.wire.receive(deadline=deadline)
                if message[:1] == ("exception",) and len(message) == 2:
                    return str(message[1])
        except SprintError as error:
            if is_foreign(error):
                raise
        return None

    def _check_open(self) -> None:
        if self._child.owner != os.getpid():
            raise SprintError(f"this Sprint belongs to process {self._child.owner}")
        if self.is_closed:
            error = SprintDiedError("this Sprint was ended before")
            self.explain(error)
            raise error

    def end(self, *, ask: bool = True) -> None:
        """Ends the process as `close` does, and keeps what another thread may be reading from."""
        if not self.is_closed:
            self._child.end(self.exit_timeout if ask else 0)

    def close(self, *, ask: bool = True) -> int | None:
        """Ends the process: asks if `ask`, waits, terminates, kills, reaps. Idempotent.

        Returns its return code; other than 0 is no error: in some modes Sprint aborts while it
        exits.
        """
        if not self.is_closed:
            self._release(self.exit_timeout if ask else 0)
        return self.poll() if self._child.owner == os.getpid() else None

    def _release(self, exit_timeout: float) -> None:
        self._child.release(exit_timeout)
        self._finalizer.detach()  # not before: if interrupted, it runs again
