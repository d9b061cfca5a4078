"""Progress of long work on a terminal: tqdm where it is installed, else a line of our own."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, TextIO

__all__ = ["Progress"]

_DELAY = 1.0  # seconds before anything is shown: short work needs no bar
_PAUSE = 0.2  # seconds between two updates
_MOST = 79  # characters that surely fit a line


class Progress:
    """A callable (done, total), and a context manager that clears the line at the end.

    Args:
        title: what is going on.
        stream: standard error; nothing is shown unless it is a terminal.
    """

    def __init__(self, title: str, stream: TextIO | None) -> None:
        self._title = title
        self._stream = stream if stream is not None and stream.isatty() else None
        self._started = time.monotonic()
        self._next = self._started + _DELAY
        self._width = 0
        self._bar: Any = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._width and self._stream is not None:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()

    def __call__(self, done: int, total: int) -> None:
        """Shows how far the work is, if some time has passed since it was last shown."""
        now = time.monotonic()
        if self._stream is None or now < self._next:
            return
        self._next = now + _PAUSE
        if self._bar is None and not self._width:
            self._bar = _tqdm(self._title, self._stream, total)
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(done - self._bar.n)
            return
        left = (now - self._started) * (total - done) / max(done, 1)
        text = f"{self._title}: {100 * done // max(total, 1)} %, {done} of {total}"
        text += f", {left:.0f} s left" if done else ""
        text = text[:_MOST]
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = max(self._width, len(text))


def _tqdm(title: str, stream: TextIO, total: int) -> Any:
    """tqdm's bar, or None where tqdm (extra `cli`) is not installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(desc=title, file=stream, total=total, leave=False, dynamic_ncols=True)
