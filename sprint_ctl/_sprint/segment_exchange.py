"""SegmentExchange: the request under way, between its arrival and the answer.

One request is under way at a time: read from the pipe, put here, filled with loss and error signal
by what Sprint calls, removed when both are known. Without a thread that reads the pipe, the side
of Sprint removes the finished request. With one (``is_threaded``), that thread waits for it;
``cond`` guards what both touch. Waiting ends with the answer, the next request, or ``end``; the
trainer limits the time of a segment.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from sprint_ctl.errors import SprintError

from .log import log

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .segment_request import SegmentRequest

__all__ = ["SegmentExchange"]


class SegmentExchange:
    """The request under way, or None; ``has_ended``: no more requests will come."""

    def __init__(self) -> None:
        self.cond = threading.Condition(threading.RLock())
        self.is_threaded = False
        self.has_ended = False
        self.request: SegmentRequest | None = None

    # ---- the side of the trainer -----------------------------------------------------------

    def put(self, request: SegmentRequest) -> None:
        """Accepts a request."""
        with self.cond:
            self.request = request
            self.cond.notify_all()

    def wait_done(self, name: str) -> tuple[float | None, NDArray[np.float32] | None]:
        """Waits for loss and error signal of the request under way, and removes it."""
        with self.cond:
            request = self.request
            if request is None:
                raise SprintError(f"segment {name!r} is not under way")
            request.check(name)
            self.cond.wait_for(lambda: request.is_done or self.has_ended)
            self.request = None
            request.skip()
            if request.error is not None:
                raise request.error
            return request.loss, request.error_signal

    def end(self) -> None:
        """Declares that no more requests will come."""
        with self.cond:
            self.has_ended = True
            self.cond.notify_all()

    # ---- the side of Sprint ----------------------------------------------------------------

    def wait_next(self, last: SegmentRequest | None = None) -> None:
        """Waits until another thread has put a request other than the last one, or the end."""
        with self.cond:
            self.cond.wait_for(lambda: self.has_ended or self.request not in (None, last))

    def refuse(self, error: Exception) -> None:
        """Lets the request under way be answered with an exception, once Sprint has finished it."""
        request = self.request
        if request is not None and request.error is None:
            request.error = error

    def record(
        self,
        *,
        loss: float | None = None,
        error_signal: NDArray[Any] | None = None,
        name: str | None = None,
        length: int | None = None,
    ) -> SegmentRequest | None:
        """Records loss or error signal, (time, label), of the request under way, if there is one.

        Returns the request if it is to be answered now. Raises SprintError if `name` or `length`,
        of Sprint's segment, are those of another one.
        """
        request = self.request
        if request is None:  # answered already
            return None
        refused = request.error is not None
        request.check(name, None if refused else length)
        with self.cond:
            if loss is not None:
                request.loss = float(loss)
            if error_signal is not None:
                if not refused and error_signal.shape != request.log_posteriors.shape:
                    raise SprintError(
                        f"segment {request.name!r}: error signal and posteriors differ in shape",
                        expected=request.log_posteriors.shape,
                        found=error_signal.shape,
                    )
                request.error_signal = np.asarray(error_signal, np.float32)
        return self._take_finished(request)

    def leave(self, request: SegmentRequest) -> SegmentRequest | None:
        """Fills in what Sprint did not provide; returns a request that is to be answered now."""
        with self.cond:
            if self.request is not request or self.has_ended:
                return None
            if not request.is_done:
                log(f"Sprint has skipped segment {request.name!r}")
                request.skip()
        return self._take_finished(request)

    def _take_finished(self, request: SegmentRequest) -> SegmentRequest | None:
        with self.cond:
            if not request.is_done or self.request is not request:
                return None
            if self.is_threaded:
                self.cond.notify_all()
                return None
            self.request = None
        return request
