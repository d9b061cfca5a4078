"""Hands a request from where it is read to where Sprint works on its segment, and back.

One request is under way at a time. It is put by whoever reads the pipe and taken by what Sprint
calls. Without a thread that reads, the side of Sprint reads itself whenever it needs a request, and
answers itself as soon as loss and error signal are there. With one (``is_threaded``), that thread
waits for the two and answers; ``cond`` guards what both touch. Waiting ends with the answer, the
next request, or ``end``; how long a segment may take is for the trainer to say.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from sprint_ctl.errors import SprintError

from .log import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .segment_request import SegmentRequest

__all__ = ["SegmentExchange"]


class SegmentExchange:
    """The request under way.

    Attributes:
        cond: guards it.
        is_threaded: whether a thread of its own reads the pipe.
        has_ended: no more requests will come.
    """

    def __init__(self, read: Callable[[], None], answer: Callable[[SegmentRequest], None]) -> None:
        """Begins without a request.

        Args:
            read: reads one message and handles it, which may put a request or end all.
            answer: sends loss and error signal of a request.
        """
        self._lock = threading.RLock()
        self.cond = threading.Condition(self._lock)
        self.is_threaded = False
        self.has_ended = False
        self._read = read
        self._answer = answer
        self._request: SegmentRequest | None = None

    # ---- the side of the trainer -----------------------------------------------------------

    def put(self, request: SegmentRequest) -> None:
        """A request has come."""
        with self.cond:
            self._request = request
            self.cond.notify_all()

    def wait_done(self, name: str) -> tuple[float | None, NDArray[np.float32] | None]:
        """Loss and error signal of the request under way, for the thread that reads.

        Raises:
            SprintError: no request for this segment is under way.
        """
        with self.cond:
            request = self._request
            if request is None:
                raise SprintError(f"segment {name!r} is not under way")
            request.check(name)
            self.cond.wait_for(lambda: request.is_done or self.has_ended)
            self._request = None
            request.skip()
            if request.error is not None:
                raise request.error
            return request.loss, request.error_signal

    def end(self) -> None:
        """No more requests will come."""
        with self.cond:
            self.has_ended = True
            self.cond.notify_all()

    # ---- the side of Sprint ----------------------------------------------------------------

    def next(self, last: SegmentRequest | None = None) -> SegmentRequest | None:
        """Waits for a request other than the last one; None when there are no more."""
        if self.is_threaded:
            with self.cond:
                self.cond.wait_for(
                    lambda: self.has_ended or self._request not in (None, last),
                )
        else:
            while self._request is None and not self.has_ended:
                self._read()
        return None if self.has_ended else self._request

    def current(self) -> SegmentRequest:
        """The request that Sprint works on; waits for one if there is none.

        Raises:
            SystemExit: the trainer has had enough while Sprint is inside of its corpus; Sprint ends
                with status 0.
        """
        request = self._request or self.next()
        if request is None:
            raise SystemExit(0)
        return request

    def refuse(self, error: Exception) -> None:
        """The request under way is answered with an exception; Sprint goes on with the segment.

        The answer waits until Sprint is through, as every answer does.
        """
        request = self._request
        if request is not None and request.error is None:
            request.error = error

    def give(
        self,
        *,
        loss: float | None = None,
        error_signal: NDArray[Any] | None = None,
        name: str | None = None,
        length: int | None = None,
    ) -> None:
        """Takes loss or error signal, (time, label), of the request under way, if there is one.

        Args:
            loss: of the whole segment.
            error_signal: of the shape of the posteriors.
            name, length: of the segment, for checking.

        Raises:
            SprintError: it is of another segment.
        """
        request = self._request
        if request is None:  # answered already
            return
        refused = request.error is not None
        request.check(name, None if refused else length)
        with self._lock:
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
        self._answer_if_done(request)

    def leave(self, request: SegmentRequest) -> None:
        """Sprint has left the segment: what is not known by now stays unknown."""
        with self._lock:
            if self._request is not request or self.has_ended:
                return
            if not request.is_done:
                log(f"Sprint has skipped segment {request.name!r}")
                request.skip()
        self._answer_if_done(request)

    def _answer_if_done(self, request: SegmentRequest) -> None:
        with self._lock:
            if not request.is_done or self._request is not request:
                return
            if self.is_threaded:
                self.cond.notify_all()
                return
            self._request = None
        self._answer(request)
