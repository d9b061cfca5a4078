"""Application: configuration, log, exits and misbehavior, shared by all parts of the stand-in.

The stand-in runs in one thread, as Sprint does. `CriticalError` unwinds to `main`, which ends the
process with status 1 after the usual finalization of Python; inside a callback, below frames of
embedded code, `leave` ends it at once. SystemExit of the embedded code propagates to the top: in
the real Sprint, PyErr_Print ends the process with that status.
"""

from __future__ import annotations

import atexit
import os
import signal
import time
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, NoReturn

from sprintcache._configuration import Configuration
from sprintcache.errors import SprintCacheError

from .misbehavior import Misbehavior
from .streams import write_stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["NAME", "Application", "CriticalError", "critical"]

NAME = "neural-network-trainer"


class CriticalError(Exception):
    """An error that ends Sprint with status 1."""


@contextmanager
def critical(label: str) -> Iterator[None]:
    """Errors of files and of this package as a CriticalError, after a label."""
    try:
        yield
    except (OSError, SprintCacheError) as error:
        raise CriticalError(f"{label}: {error}") from error


class Application:
    """One run of the stand-in.

    Attributes:
        config: the configuration at ``neural-network-trainer``.
        fake: the same at ``neural-network-trainer.fake``: options of the stand-in.
        misbehavior: the faults to inject.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.config = Configuration.from_arguments(arguments, NAME)
        self.fake = self.config.select("fake")
        self.misbehavior = Misbehavior(
            self.fake.string("misbehave", ""), self.config.string("pymod-config", "")
        )
        self._log_file = self._target("log")
        self._seconds_per_frame = self.fake.real("seconds-per-frame", 0.0)

    def _target(self, channel: str) -> str:
        """The target of a channel: stdout, stderr, nil, or the path of a log file."""
        target = self.config.select(channel).string("channel", "stdout")
        if target in ("stdout", "stderr", "nil"):
            return target
        return self.config.select(target).string("file", "") or "nil"

    # ---- log

    def log(self, text: str) -> None:
        self._write("information", text, self._log_file)

    def warning(self, text: str) -> None:
        self._write("warning", text, self._log_file)

    def _write(self, kind: str, text: str, target: str) -> None:
        line = f'<{kind} component="{NAME}">{escape(text, quote=False)}</{kind}>\n'
        if target == "nil":
            return
        if target in ("stdout", "stderr"):
            write_stream(target, line)
            return
        with open(target, "a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(line)

    def report(self, error: BaseException) -> None:
        """Writes a critical error to stderr, and to the log file if there is one."""
        for target in {"stderr", self._log_file} - {"stdout", "nil"}:
            self._write("critical-error", str(error), target)
        write_stream("stderr", "exiting...\n")

    # ---- exits

    def leave(self, status: int) -> NoReturn:
        """Ends the process below frames of embedded code, which must not continue."""
        atexit._run_exitfuncs()
        write_stream("stdout", "")
        write_stream("stderr", "")
        os._exit(status)

    def terminate(self, exception: str) -> NoReturn:
        """Ends the process as an uncaught C++ exception or a failed assertion does."""
        write_stream("stderr", f"terminate called after throwing an instance of '{exception}'\n")
        self.misbehavior.die(signal.SIGABRT)

    def work(self, num_frames: int) -> None:
        """Sleeps as long as ``fake.seconds-per-frame`` says."""
        if self._seconds_per_frame:
            time.sleep(num_frames * self._seconds_per_frame)
