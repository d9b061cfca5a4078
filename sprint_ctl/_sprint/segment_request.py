"""A request for loss and error signal of one segment, while Sprint works on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sprint_ctl.errors import SprintError

from .criterion import skipped

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ProbeRequest", "SegmentRequest"]


class SegmentRequest:
    """A request, and the parts of its answer that are known.

    Attributes:
        name: of the segment, exactly a str.
        log_posteriors: (time, label) float32.
        request_id: id of the answer.
        loss: None until known.
        error_signal: (time, label) float32, None until known.
        error: answers the request instead of loss and error signal; or None.
    """

    error: Exception | None = None

    def __init__(self, request_id: int, seg_name: Any, seg_len: Any, posteriors: Any) -> None:
        """Checks a request. Raises ValueError."""
        self.name = segment_name(seg_name)
        self.log_posteriors: NDArray[np.float32] = np.asarray(posteriors, np.float32)
        shape = self.log_posteriors.shape
        if len(shape) != 2 or shape[0] != seg_len or shape[0] == 0:
            raise ValueError(
                f"segment {self.name!r}: posteriors of shape {shape} for {seg_len} frames,"
                " expected (time, label) and at least one frame"
            )
        self.request_id = request_id
        self.loss: float | None = None
        self.error_signal: NDArray[np.float32] | None = None

    @property
    def is_done(self) -> bool:
        """Whether loss and error signal are known."""
        return self.loss is not None and self.error_signal is not None

    def skip(self) -> None:
        """Fills in what Sprint did not provide."""
        loss, error_signal = skipped(self.log_posteriors)
        self.loss = loss if self.loss is None else self.loss
        self.error_signal = error_signal if self.error_signal is None else self.error_signal

    def fit(self, length: int | None = None, labels: int | None = None) -> None:
        """Accepts the sizes of Sprint, where known; only a probe adapts to them."""

    def check(self, name: str | None = None, length: int | None = None) -> None:
        """Raises SprintError if Sprint works on another segment; None is not checked."""
        if name is not None and name != self.name:
            raise SprintError(
                "Sprint visits a segment that the trainer did not ask for, see"
                " --*.python-segment-order",
                expected=repr(self.name),
                found=repr(name),
            )
        if length is not None and length != len(self.log_posteriors):
            raise SprintError(
                f"segment {self.name!r} differs in length between Sprint and the trainer",
                expected=f"{len(self.log_posteriors)} frames",
                found=length,
            )


class ProbeRequest(SegmentRequest):
    """A request with uniform posteriors, of the sizes that Sprint has."""

    def __init__(self, request_id: int, seg_name: Any, seg_len: int, labels: int) -> None:
        """Accepts sizes for the case that Sprint does not know them; 0: not known."""
        self.name = segment_name(seg_name)
        self.request_id = request_id
        self.loss = None
        self.error_signal = None
        self.log_posteriors = _uniform(seg_len, labels)

    def fit(self, length: int | None = None, labels: int | None = None) -> None:
        """Adopts the sizes of Sprint."""
        ours = self.log_posteriors.shape
        self.log_posteriors = _uniform(length or ours[0], labels or ours[1])


def _uniform(length: int, labels: int) -> NDArray[np.float32]:
    return np.full((length, labels), -np.log(max(labels, 1)), np.float32)


def segment_name(name: Any) -> str:
    """An exact str, as Sprint requires, of a str or bytes."""
    return name.decode("utf-8") if isinstance(name, bytes) else str(name)
