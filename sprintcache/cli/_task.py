"""Tasks that Ctrl-C stops between two entries, never within one."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from sprintcache.errors import SprintCacheError

from ._console import report
from ._progress import Progress

__all__ = ["Task"]


class Task:
    """Work on many entries: a context manager, and the callable (done, total) of its progress.

    The first Ctrl-C takes effect at the next progress call, so no entry is left incomplete; a
    second one ends the work at once. Both raise KeyboardInterrupt, which leaves the block after its
    clean-up and after the state was reported.

    Args:
        title: what is going on, for the terminal.
        state: describes what (done, total) entries leave.
    """

    def __init__(self, title: str, state: Callable[[int, int], str]) -> None:
        self._progress = Progress(title, sys.stderr)
        self._state = state
        self._interrupted = False
        self._previous_handler: Any = None
        self._done = self._total = 0

    def __enter__(self) -> Task:
        self._progress.__enter__()
        # only the main thread can set handlers; where SIGINT is ignored, as by nohup, it stays so
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._previous_handler = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.__exit__(kind, error, trace)
        if self._previous_handler is not None:
            signal.signal(signal.SIGINT, self._previous_handler)
        if isinstance(error, KeyboardInterrupt):
            report(f"interrupted: {self._state(self._done, self._total)}")
        elif isinstance(error, SprintCacheError) and self._done:
            report(f"stopped: {self._state(self._done, self._total)}")

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True

    def __call__(self, done: int, total: int) -> None:
        """Records the progress.

        Raises:
            KeyboardInterrupt: after a Ctrl-C.
        """
        self._done, self._total = done, total
        self._progress(done, total)
        if self._interrupted:
            raise KeyboardInterrupt
