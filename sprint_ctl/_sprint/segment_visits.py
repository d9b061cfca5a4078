"""SegmentVisits: brings Sprint's visits to its segments and the trainer's requests together.

A request comes from the `RequestHandler`, waits in its exchange for what Sprint calls here, and
goes back to the handler as an answer when loss and error signal are known. Without a thread that
reads requests, they are read here, where Sprint waits for the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .criterion import loss_by_callback, skipped

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from .request_handler import RequestHandler
    from .segment_request import SegmentRequest

__all__ = ["SegmentVisits"]


class SegmentVisits:
    """The calls of Sprint about single segments."""

    def __init__(self, requests: RequestHandler) -> None:
        self._requests = requests
        self._exchange = requests.exchange
        self._output_dim: int | None = None

    # ---- requests --------------------------------------------------------------------------

    def names(self) -> Iterator[str]:
        """Names of the segments that the trainer asks for, until it ends."""
        request = self._next()
        while request is not None:
            yield request.name
            self._answer(self._exchange.leave(request))
            request = self._next(request)

    def current(self) -> SegmentRequest:
        """The request that Sprint works on; waits for one if there is none.

        If the trainer has ended while Sprint is inside of its corpus, Sprint ends with status 0.
        """
        request = self._exchange.request or self._next()
        if request is None:
            raise SystemExit(0)
        return request

    def _next(self, last: SegmentRequest | None = None) -> SegmentRequest | None:
        """Waits for a request other than the last one; None when there are no more."""
        exchange = self._exchange
        if exchange.is_threaded:
            exchange.wait_next(last)
        else:
            while exchange.request is None and not exchange.has_ended:
                self._requests.handle_next()
        return None if exchange.has_ended else exchange.request

    def _answer(self, finished: SegmentRequest | None) -> None:
        if finished is not None:
            self._requests.answer(finished)

    # ---- what Sprint provides ----------------------------------------------------------------

    def begin(self, output_dim: int | None) -> None:
        """Sprint begins to iterate over its corpus; SprintError if it has passed no callback."""
        self._output_dim = output_dim if output_dim and output_dim > 0 else None
        self._requests.state.criterion_callback()

    def process(
        self,
        name: str,
        orthography: str | bytes | None,
        features: NDArray[Any] | None,
        alignment: NDArray[Any] | None,
    ) -> None:
        """Asks Sprint for loss and error signal of a segment, and answers the request."""
        request = self.current()
        request.check(name)
        frames = alignment if alignment is not None else features
        request.fit(None if frames is None else frames.shape[-1], self._output_dim)
        if not request.log_posteriors.size:
            return  # a probe, of sizes that are not known
        state = self._requests.state
        callback = state.criterion_callback()
        try:
            loss, error_signal = loss_by_callback(
                callback,
                name,
                request.log_posteriors,
                orthography=orthography,
                alignment=alignment,
                criterion=state.criterion,
            )
        except Exception as error:  # concerns this segment only
            self.refuse(error)
            loss, error_signal = skipped(request.log_posteriors)
        self.record(loss=loss, error_signal=error_signal)

    def record(self, **values: Any) -> None:
        """Records loss or error signal, see `SegmentExchange.record`, and answers with both."""
        self._answer(self._exchange.record(**values))

    def refuse(self, error: Exception) -> None:
        """Lets the request under way be answered with an exception; Sprint continues."""
        self._exchange.refuse(error)

    def posteriors(self, length: int) -> NDArray[np.float32]:
        """Log posteriors of the request under way, (time, label), which has that length."""
        request = self.current()
        request.check(length=length)
        return request.log_posteriors
