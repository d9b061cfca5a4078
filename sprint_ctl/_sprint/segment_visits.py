"""What Sprint calls for each segment, whichever way it comes to one.

Names and keywords are Sprint's (interface facts, sections 1.3 and 1.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sprint_ctl.errors import SprintError

from .criterion import loss_by_callback, skipped
from .log import is_verbose, log
from .reporting import reported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from .segment_exchange import SegmentExchange

__all__ = ["SegmentVisits"]


class SegmentVisits:
    """The part of PythonControl that brings requests and segments together.

    Attributes:
        sprint_callback: Sprint's callback, or None.
        criterion: the one of the configuration, or None.
    """

    sprint_callback: Callable[..., Any] | None
    criterion: str | None
    _exchange: SegmentExchange
    _output_dim: int | None = None

    def report(self, text: str) -> None:
        """Tells the trainer of an exception that will end Sprint."""
        raise NotImplementedError

    def segment_list_iterator(self) -> Iterator[str]:
        """Names of the segments the trainer asks for, until it has had enough."""
        request = self._exchange.next()
        while request is not None:
            yield request.name
            self._exchange.leave(request)
            request = self._exchange.next(request)

    @reported
    def init_processing(
        self, input_dim: int | None = None, output_dim: int | None = None, **_: Any
    ) -> None:
        """Called by Sprint before the first segment when it iterates over the corpus.

        Args:
            input_dim: of the features, -1 if none are extracted.
            output_dim: number of classes, -1 without alignments.
        """
        log("init_processing", input_dim, output_dim)
        self._output_dim = output_dim if output_dim and output_dim > 0 else None
        self._criterion_callback()

    @reported
    def process_segment(
        self,
        name: str,
        orthography: str | bytes | None = None,
        features: NDArray[Any] | None = None,
        alignment: NDArray[Any] | None = None,
        soft_alignment: Any = None,
        **_: Any,
    ) -> None:
        """Called by Sprint for each segment when it iterates over the corpus.

        Args:
            name: full name of the segment.
            orthography: bytes (UTF-8) from Sprint; None for other than speech segments.
            features: only their number counts, and only for a probe.
            soft_alignment: not used.
            alignment: (time,) uint32 class of each frame, or None.
        """
        request = self._exchange.current()
        request.check(name)
        frames = alignment if alignment is not None else features
        request.fit(None if frames is None else frames.shape[-1], self._output_dim)
        if not request.log_posteriors.size:
            return  # a probe, and nobody knows the sizes
        callback = self._criterion_callback()
        try:
            loss, error_signal = loss_by_callback(
                callback,
                name,
                request.log_posteriors,
                orthography=orthography,
                alignment=alignment,
                criterion=self.criterion,
            )
        except Exception as error:  # of this segment: the next one may be sound
            self._exchange.refuse(error)
            loss, error_signal = skipped(request.log_posteriors)
        self._exchange.give(loss=loss, error_signal=error_signal)

    @reported
    def init_segment(self, segment_name: str | None = None, **_: Any) -> None:
        """Called by Sprint's trainers at the start of a segment; None where they do not know it."""
        if is_verbose():
            log("init_segment", segment_name)
        self._exchange.current().check(segment_name)

    @reported
    def notify_segment_loss(
        self, segment_name: str | None = None, loss: float = 0, **_: Any
    ) -> None:
        """Called by Sprint's trainers with the loss of a segment, whose name may be None."""
        self.set_current_seg_loss(segment_name, loss)

    def refuse_current_seg(self, error: Exception) -> None:
        """Has the request under way answered with an exception; Sprint goes on."""
        self._exchange.refuse(error)

    def fit_current_seg(self, seg_len: int, labels: int | None) -> None:
        """Tells the request under way the sizes that Sprint has, which a probe takes over."""
        self._exchange.current().fit(seg_len, labels)

    def get_current_seg_posteriors(self, seg_len: int) -> NDArray[np.float32]:
        """Log posteriors of the segment under way, (time, label).

        Args:
            seg_len: its length in Sprint, for checking.
        """
        request = self._exchange.current()
        request.check(length=seg_len)
        return request.log_posteriors

    def set_current_seg_error_signal(self, seg_len: int, error_signal: NDArray[Any]) -> None:
        """Takes the error signal of the segment under way.

        Args:
            seg_len: its length in Sprint, for checking.
            error_signal: (time, label) float.
        """
        self._exchange.give(error_signal=error_signal, length=seg_len)

    def set_current_seg_loss(self, seg_name: str | None, loss: float) -> None:
        """Takes the loss of the segment under way.

        Args:
            seg_name: its name, for checking, or None.
            loss: of the whole segment.
        """
        self._exchange.give(loss=loss, name=seg_name)

    def _criterion_callback(self) -> Callable[..., Any]:
        if self.sprint_callback is None:
            raise SprintError("Sprint has handed no callback, which the criterion needs")
        return self.sprint_callback
