"""Errors between a trainer and its Sprint processes.

* ``SprintError``: the root; catch this to catch everything below

  * ``SprintStartError``: a Sprint did not start, or ended or failed before it was ready
  * ``SprintDiedError`` (also ``EOFError``): a Sprint that was ready has ended
  * ``SprintTimeoutError`` (also ``TimeoutError``): no answer before the deadline
  * ``SprintProtocolError``: a malformed or unexpected message

    * ``PipeClosedError`` (also ``EOFError``): the other end closed the pipe
    * ``SprintAutomatonError``: an automaton that is malformed; Sprint keeps running

  * ``SprintRequestError``: Sprint answered with an exception and keeps running

Every error keeps its facts as attributes and survives pickling. A wrong argument is a plain
``TypeError`` or ``ValueError``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

__all__ = [
    "PipeClosedError",
    "SprintAutomatonError",
    "SprintDiedError",
    "SprintError",
    "SprintProtocolError",
    "SprintRequestError",
    "SprintStartError",
    "SprintTimeoutError",
]


class SprintError(Exception):
    """Root of all errors of this package.

    Attributes:
        reason: the error in words.
        expected: the value or state that was expected, or None.
        found: the value or state that was found, or None.
        request: name of the request under way, or None.
        segment: name of the segment under way, or None.
        command: command line of the process, or None where no process is known.
        pid: its process id, or None.
        returncode: exit status, or minus the number of the signal that ended it; None while it
            runs, or where that is not known.
        signal: name of that signal ("SIGKILL"), or None.
        has_ended: whether the process had ended when the error was raised.
        stderr_tail: the end of its stderr ("" for nothing).
        log_tail: the end of its log file, "" where none is configured or readable.
        remote: text of the exception inside Sprint, with its traceback, or None.
    """

    def __init__(
        self,
        reason: str,
        *,
        expected: object = None,
        found: object = None,
        request: str | None = None,
        segment: str | None = None,
        remote: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.expected = expected
        self.found = found
        self.request = request
        self.segment = segment
        self.remote = remote
        self.command: Sequence[str] | None = None
        self.pid: int | None = None
        self.returncode: int | None = None
        self.signal: str | None = None
        self.has_ended = False
        self.stderr_tail = ""
        self.log_tail = ""

    def __str__(self) -> str:
        text = self.reason
        facts = ("expected", self.expected), ("found", self.found)
        known = [f"{name} {fact}" for name, fact in facts if fact is not None]
        if known:
            text += f": {', '.join(known)}"
        lines = [text]
        if self.request is not None:
            of = "" if self.segment is None else f" for segment {self.segment!r}"
            lines.append(f"  during {self.request}{of}")
        elif self.segment is not None:
            lines.append(f"  segment {self.segment!r}")
        if self.pid is not None:
            lines.append(f"  process {self.pid}, {self._last_state()}")
        if self.command is not None:
            lines += _wrapped_command(self.command)
        quoted = (
            ("exception inside Sprint", self.remote),
            ("last lines of stderr", self.stderr_tail),
            ("last lines of the log file", self.log_tail),
        )
        for title, quote in quoted:
            if quote and quote.strip():
                lines.append(f"  {title}:")
                lines += [f"    {line}" for line in _without_noise(quote)[-_LINES:]]
        return "\n".join(lines)

    def _last_state(self) -> str:
        if self.returncode is None and not self.has_ended:
            return "still running when this was written"
        if self.returncode is None:
            return "ended with an unknown exit status"
        if self.signal is not None:
            return f"ended by {self.signal}"
        return f"ended with exit status {self.returncode}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason,), self.__dict__.copy()


_LINES = 25  # of each quotation; the attributes keep more
_WIDTH = 96  # of lines of a command
_MAX_WIDTH = 300  # of quoted lines
_OMITTED = "..."
# addresses in a stack trace of Sprint, and its list of modules after a failed import: long, and
# after the line with the reason
_NOISE = re.compile(r"#\d+:?\s.*|\s+at: .*|.*\[0x[0-9a-f]+\]|.*': <module '.*")


def _without_noise(text: str) -> list[str]:
    """Returns the lines of a quotation without stack addresses, long lines cut."""
    lines: list[str] = []
    for line in text.strip().splitlines():
        if not _NOISE.fullmatch(line):
            lines.append(line if len(line) <= _MAX_WIDTH else f"{line[:_MAX_WIDTH]} {_OMITTED}")
        elif lines[-1:] != [_OMITTED]:
            lines.append(_OMITTED)
    return lines


def _wrapped_command(command: Sequence[str]) -> list[str]:
    """Returns the lines of a command that can be pasted into a shell."""
    lines = ["  command:"]
    for word in map(shlex.quote, command):
        if len(lines[-1]) + len(word) > _WIDTH and lines[-1].strip() != "command:":
            lines[-1] += " \\"
            lines.append("     ")
        lines[-1] += f" {word}"
    return lines


class SprintStartError(SprintError):
    """Raised when a Sprint did not start, or ended or failed before it was ready."""


class SprintDiedError(SprintError, EOFError):
    """Raised when a Sprint that was ready has ended."""


class SprintTimeoutError(SprintError, TimeoutError):
    """Raised when no answer arrives before the deadline."""


class SprintProtocolError(SprintError):
    """Raised when bytes from the pipe are not a message, or not the expected one."""


class PipeClosedError(SprintProtocolError, EOFError):
    """Raised when the other end has closed the pipe."""


class SprintAutomatonError(SprintProtocolError):
    """Raised when an automaton of Sprint is malformed, or has no path to its final state."""


class SprintRequestError(SprintError):
    """Raised when Sprint answered a request with an exception; it keeps running."""
