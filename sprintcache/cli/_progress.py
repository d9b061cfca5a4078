"""Progress of long work on a terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TextIO

__all__ = ["Progress"]

_DELAY = 1.0  # seconds before the line appears; short work shows none
_INTERVAL = 0.2  # seconds between two updates
_MAX_WIDTH = 79  # characters of a line


class Progress:
    """A callable (done, total), and a context manager that clears the line at the end.

    Args:
        title: what is going on.
        stream: standard error; nothing is shown unless it is a terminal.
    """

    def __init__(self, title: str, stream: TextIO | None) -> None:
        self._title = title
        self._stream = stream if stream is not None and stream.isatty() else None
        self._start = time.monotonic()
        self._next_update = self._start + _DELAY
        self._width = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._width and self._stream is not None:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()

    def __call__(self, done: int, total: int) -> None:
        """Updates the line, at most five times a second."""
        now = time.monotonic()
        if self._stream is None or now < self._next_update:
            return
        self._next_update = now + _INTERVAL
        remaining = (now - self._start) * (total - done) / max(done, 1)
        text = f"{self._title}: {100 * done // max(total, 1)} %, {done} of {total}"
        text += f", {remaining:.0f} s left" if done else ""
        text = text[:_MAX_WIDTH]
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = max(self._width, len(text))
