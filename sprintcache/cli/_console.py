"""Streams of the command: results on standard output, messages on standard error."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = [
    "configure_streams",
    "discard_output",
    "flush",
    "flush_or_discard",
    "log_messages",
    "report",
    "write_line",
]


def configure_streams() -> None:
    """Prints names as the bytes that the archive stores, in any locale."""
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors=errors)


def write_line(line: str) -> None:
    """Writes a line of the result."""
    print(line)


def report(message: str) -> None:
    """Writes a message: an error, or how much was done."""
    if sys.stderr is not None:
        with suppress(OSError):  # standard error may be closed
            print("sprintcache: " + message.replace("\n", "\\n"), file=sys.stderr, flush=True)


def flush() -> None:
    """Flushes standard output, if there is one."""
    if sys.stdout is not None:
        sys.stdout.flush()


def flush_or_discard() -> None:
    """Flushes what can be written; called on the way out of an error."""
    try:
        flush()
    except (OSError, ValueError):
        discard_output()


def discard_output() -> None:
    """Keeps the interpreter from flushing to a closed pipe at exit."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError):
        return


class _LogHandler(logging.Handler):
    """Reports each message once, however often a file is opened."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._reported: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = f"{record.levelname.lower()}: {record.getMessage()}"
        if message not in self._reported:
            self._reported.add(message)
            report(message)


@contextmanager
def log_messages(errors_only: bool) -> Iterator[None]:
    """Reports the library's log within the block: warnings and errors, or errors only."""
    handler = _LogHandler(logging.ERROR if errors_only else logging.WARNING)
    logger = logging.getLogger("sprintcache")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
