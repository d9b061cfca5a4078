"""What a process that has ended tells about its end: exit status, stderr, log file."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import threading
from collections.abc import Sequence

__all__ = ["StderrReader", "describe_end", "log_file", "signal_name", "tail_of"]

_KEPT = 1 << 16  # bytes of stderr
_LOG_TAIL = 1 << 12
# --*.log-channel.file=..., --*.nn-trainer.error-channel.file=..., --*.LOGFILE=...
_LOG_OPTION = re.compile(r"--(?:[^=]*\.)?(?:[\w-]*channel\.file|logfile)=(.+)", re.IGNORECASE)


def signal_name(returncode: int | None) -> str | None:
    """Name of the signal that ended a process, or None."""
    if returncode is None or returncode >= 0:
        return None
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def describe_end(returncode: int) -> str:
    """How a process ended, in words."""
    name = signal_name(returncode)
    if name is not None:
        return f"ended by {name}"
    text = f"ended with exit status {returncode}"
    if returncode > 128 and signal_name(128 - returncode) is not None:
        text += f" (what a shell says for {signal_name(128 - returncode)})"
    return text


def log_file(arguments: Sequence[str]) -> str | None:
    """The log file that a command line configures, or None."""
    found = None
    for argument in arguments:
        match = _LOG_OPTION.fullmatch(argument)
        if match and match[1] not in ("stdout", "stderr", "nil"):
            found = match[1]
    return found


def tail_of(path: str | None) -> str:
    """The last lines of a text file, "" where there is none or it is compressed."""
    if path is None:
        return ""
    try:
        with open(path, "rb") as file:
            if file.read(2) == b"\x1f\x8b":
                return ""
            file.seek(max(os.fstat(file.fileno()).st_size - _LOG_TAIL, 0))
            return file.read(_LOG_TAIL).decode("utf-8", "replace")
    except OSError:
        return ""


class StderrReader(threading.Thread):
    """Passes the stderr of a process through to our own and keeps its end.

    The thread owns the descriptor. It ends with the last writer of the pipe, or when ``stop`` is
    called: a process of Sprint's own that lives on must not keep it.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(name="stderr of Sprint", daemon=True)
        os.set_blocking(fd, False)
        self._fd = fd
        self._stop_fd = os.eventfd(0, os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._kept = bytearray()

    def run(self) -> None:
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        poller.register(self._stop_fd, select.POLLIN)
        try:
            while self._pass_on() and self._stop_fd not in dict(poller.poll()):
                pass
            self._pass_on()
        finally:
            os.close(self._fd)
            with self._lock:
                os.close(self._stop_fd)
                self._stop_fd = -1

    def _pass_on(self) -> bool:
        """Reads what is there; False at the end."""
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
            with contextlib.suppress(OSError):
                os.write(2, chunk)

    def stop(self, timeout: float) -> None:
        """Lets it read what is there, and end."""
        with self._lock:
            if self._stop_fd >= 0:
                os.eventfd_write(self._stop_fd, 1)
        self.join(timeout)

    def tail(self) -> str:
        """The last 64 KiB that came."""
        with self._lock:
            return self._kept.decode("utf-8", "replace")
