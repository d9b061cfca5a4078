"""The command `sprintcache`: its arguments, its output, its exit status.

Exit status: 0, 1 for problems and errors, 2 for wrong usage, 130 after Ctrl-C. Errors are one line
on standard error. The arguments stand in `arguments`, what the subcommands do in `commands`.
"""

from __future__ import annotations

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from sprintcache.errors import SprintCacheError

from . import arguments
from .wording import in_words

__all__ = ["main"]

_TELLING = ("info", "verify", "recover", "bundle")  # what the library warns of is their result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: arguments; None: those of the process.

    Returns:
        the exit status.
    """
    # names are printed as the bytes they are in the archive, whatever the locale
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors=errors)
    command = ""
    try:
        try:
            parsed = arguments.parse(argv)
        except SystemExit as stop:  # --help and --version
            _flush()
            return int(stop.code or 0)
        command = parsed.command
        with _warnings_on_stderr(quiet=command in _TELLING):
            status = _run(parsed)
        _flush()
        return status
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        _drop_output()
        return 1 if command == "verify" else 0
    except KeyboardInterrupt:
        _flush_or_drop()
        return 130
    except arguments.UsageError as error:
        _complain(f"{error} (see {error.program or f'sprintcache {command}'} --help)")
        return 2
    except (SprintCacheError, ImportError, MemoryError, OSError, ValueError) as error:
        _flush_or_drop()
        _complain(in_words(error))
        return 1


def _run(parsed: Namespace) -> int:
    # not before the arguments are read: help must not wait for numpy
    from . import commands

    status: int = getattr(commands, parsed.command)(parsed, _say, _complain)
    return status


def _say(line: str) -> None:
    print(line)


def _complain(line: str) -> None:
    if sys.stderr is not None:
        with suppress(OSError):  # nobody may be listening
            print("sprintcache: " + line.replace("\n", "\\n"), file=sys.stderr, flush=True)


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _flush_or_drop() -> None:
    """Writes what is left where that is possible; this comes on the way out."""
    try:
        _flush()
    except (OSError, ValueError):
        _drop_output()


def _drop_output() -> None:
    """Keeps the interpreter from writing what is left to a place that takes no more."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        return


class _Warnings(logging.Handler):
    """Says each thing once, however often a file is opened."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.levelname.lower()}: {record.getMessage()}"
        if text not in self._said:
            self._said.add(text)
            _complain(text)


@contextmanager
def _warnings_on_stderr(quiet: bool) -> Iterator[None]:
    """The library's log as lines on standard error; quiet where the result says the same."""
    handler = _Warnings(logging.ERROR if quiet else logging.WARNING)
    logger = logging.getLogger("sprintcache")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
