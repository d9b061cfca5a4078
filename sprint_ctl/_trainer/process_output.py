"""Output of a process and its last state: exit status, stderr, log file."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import threading
from collections.abc import Sequence

from sprint_ctl._pipe.descriptors import above_standard, close_all, is_inherited
from sprint_ctl._pipe.foreign_errors import is_foreign
from sprintcache._interrupts import ServiceThread
from sprintcache._text_file import open_regular
from sprintcache.errors import FormatError

__all__ = ["StderrReader", "describe_end", "log_file", "signal_name", "tail_of"]

_KEPT = 1 << 16  # bytes of stderr
_LOG_TAIL = 1 << 12
# --*.log-channel.file=..., --*.nn-trainer.error-channel.file=..., --*.LOGFILE=...
_LOG_OPTION = re.compile(r"--(?:[^=]*\.)?(?:[\w-]*channel\.file|logfile)=(.+)", re.IGNORECASE)


def signal_name(returncode: int | None) -> str | None:
    """Returns the name of the signal that ended a process, or None."""
    if returncode is None or returncode >= 0:
        return None
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def describe_end(returncode: int | None) -> str:
    """Returns how a process ended, in words; None: the system does not report it."""
    if returncode is None:
        return "ended; its exit status is not known: SIGCHLD is ignored, or its handler took it"
    name = signal_name(returncode)
    if name is not None:
        return f"ended by {name}"
    text = f"ended with exit status {returncode}"
    if returncode > 128 and signal_name(128 - returncode) is not None:
        text += f" (a shell's status for {signal_name(128 - returncode)})"
    return text


def log_file(arguments: Sequence[str]) -> str | None:
    """Returns the log file that a command line configures, or None."""
    path = None
    for argument in arguments:
        match = _LOG_OPTION.fullmatch(argument)
        if match and match[1] not in ("stdout", "stderr", "nil"):
            path = match[1]
    return path


def tail_of(path: str | None) -> str:
    """Returns the last lines of a text file, "" if it is missing or compressed."""
    if path is None:
        return ""
    try:
        with open_regular(path) as file:
            if file.read(2) == b"\x1f\x8b":
                return ""
            file.seek(max(os.fstat(file.fileno()).st_size - _LOG_TAIL, 0))
            return file.read(_LOG_TAIL).decode("utf-8", "replace")
    except (OSError, FormatError) as error:
        if is_foreign(error):
            raise
        return ""


class StderrReader(ServiceThread):
    """Passes the stderr of a process on to ours and keeps the last 64 KiB.

    The thread owns the descriptor. It ends with the last writer of the pipe, or when ``stop`` is
    called: a process that Sprint has started and that still runs must not keep it.
    """

    def __init__(self, fd: int) -> None:
        super().__init__("stderr of Sprint")
        # without: descriptor 2 is, or will be, some other file
        self._passes_on = sys.__stderr__ is not None and is_inherited(2)
        os.set_blocking(fd, False)
        self._fd = fd
        try:
            self._stop_fd = above_standard(os.eventfd(0, os.EFD_CLOEXEC))
        except BaseException:
            os.close(fd)
            raise
        self._fds = [fd, self._stop_fd]  # empty once closed
        self._lock = threading.Lock()  # guards the descriptors and the text
        self._kept = bytearray()

    def serve(self) -> None:
        """Reads until the end of the pipe, or until ``stop``."""
        poller = select.poll()
        with self._lock:
            if not self._fds:
                return
            for fd in self._fds:
                poller.register(fd, select.POLLIN)
        try:
            while self._pass_on() and self._stop_fd not in dict(poller.poll()):
                pass
            self._pass_on()
        finally:
            self._close()

    def _pass_on(self) -> bool:
        """Reads what has arrived; False at the end."""
        while True:
            try:
                chunk = os.read(self._fd, _KEPT)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            with self._lock:
                self._kept += chunk
                del self._kept[:-_KEPT]
            if self._passes_on:
                with contextlib.suppress(OSError):
                    os.write(2, chunk)

    def _close(self) -> None:
        with self._lock:
            close_all(self._fds)

    def stop(self, timeout: float) -> None:
        """Reads what has arrived and ends the thread. Idempotent."""
        with self._lock:
            if self._fds:
                os.eventfd_write(self._stop_fd, 1)
        if self.wait(timeout):  # it may not have run
            self._close()

    def after_fork(self) -> None:
        """Closes the copies of a fork, where the thread does not run."""
        close_all(self._fds)

    def tail(self) -> str:
        """Returns the last 64 KiB."""
        with self._lock:
            return self._kept.decode("utf-8", "replace")
