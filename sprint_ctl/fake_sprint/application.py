"""Application: what every part of the stand-in shares: configuration, log, ends, misbehaviour.

The stand-in runs in one thread, as Sprint does. `CriticalError` unwinds to `main`, which ends the
process with status 1 after the usual finalisation of Python; inside a callback, where foreign
Python frames lie between, `leave` ends it at once. SystemExit of the embedded code passes through
everything, as PyErr_Print of the real one ends the process with that status.
"""

from __future__ import annotations

import atexit
import os
import signal
import time
from html import escape
from typing import TYPE_CHECKING, NoReturn

from sprintcache._configuration import Configuration

from .misbehaviour import Misbehaviour
from .streams import write_stream

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NAME", "Application", "CriticalError"]

NAME = "neural-network-trainer"


class CriticalError(Exception):
    """What Sprint ends with status 1 for."""


class Application:
    """One run of the stand-in.

    Attributes:
        config: the configuration at ``neural-network-trainer``.
        fake: the same at ``neural-network-trainer.fake``: what the real Sprint does not have.
        misbehaviour: what to do wrong, and where.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.config = Configuration.from_arguments(arguments, NAME)
        self.fake = self.config.select("fake")
        self.misbehaviour = Misbehaviour(
            self.fake.string("misbehave", ""), self.config.string("pymod-config", "")
        )
        self._log_file = self._target("log")
        self._seconds_per_frame = self.fake.real("seconds-per-frame", 0.0)

    def _target(self, channel: str) -> str:
        """Where a channel leads: stdout, stderr, nil, or the path of a log file."""
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
        """Writes a critical error, to the log file too where there is one."""
        for target in {"stderr", self._log_file} - {"stdout", "nil"}:
            self._write("critical-error", str(error), target)
        write_stream("stderr", "exiting...\n")

    # ---- ends

    def leave(self, status: int) -> NoReturn:
        """Ends the process from inside foreign frames, which must not go on."""
        atexit._run_exitfuncs()
        write_stream("stdout", "")
        write_stream("stderr", "")
        os._exit(status)

    def terminate(self, what: str) -> NoReturn:
        """What an uncaught C++ exception or a failed assertion does."""
        write_stream("stderr", f"terminate called after throwing an instance of '{what}'\n")
        self.misbehaviour.die(signal.SIGABRT)

    def work(self, num_frames: int) -> None:
        """Takes the time that ``fake.seconds-per-frame`` says."""
        if self._seconds_per_frame:
            time.sleep(num_frames * self._seconds_per_frame)
