"""Ctrl-C between two entries, and never in the middle of one."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from sprintcache.errors import SprintCacheError

from .progress import Progress

__all__ = ["Work"]


class Work:
    """Work on many entries: a context manager, and the callable (done, total) of its progress.

    The first Ctrl-C is noticed when the progress is told next, so that no entry is half done; a
    second one, where that does not come, ends the work at once. Both raise KeyboardInterrupt, which
    goes on when the block has cleaned up and it was said what is left.

    Args:
        title: what is going on, for the terminal.
        note: takes a line.
        left: says what is left after (done, total) entries.
    """

    def __init__(
        self, title: str, note: Callable[[str], None], left: Callable[[int, int], str]
    ) -> None:
        self._progress = Progress(title, sys.stderr)
        self._note = note
        self._left = left
        self._asked = False
        self._before: Any = None
        self._done = self._total = 0

    def __enter__(self) -> Work:
        self._progress.__enter__()
        # only the main thread may; and whoever ignores Ctrl-C, as nohup does, has a reason
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.__exit__(kind, error, trace)
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
        if isinstance(error, KeyboardInterrupt):
            self._note(f"interrupted: {self._left(self._done, self._total)}")
        elif isinstance(error, SprintCacheError) and self._done:
            self._note(f"stopped: {self._left(self._done, self._total)}")

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def __call__(self, done: int, total: int) -> None:
        """Takes note of the progress.

        Raises:
            KeyboardInterrupt: if there was a Ctrl-C.
        """
        self._done, self._total = done, total
        self._progress(done, total)
        if self._asked:
            raise KeyboardInterrupt
